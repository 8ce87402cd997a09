"""Write lists and objects into paths and queries, as the styles of OpenAPI say.

Each function returns percent-encoded text. It raises `TypeError` or `ValueError` for a value
that the style cannot hold.
"""

from __future__ import annotations

from urllib.parse import quote

from . import checks

# As in `checks`: what ECMAScript's encodeURIComponent does not escape.
_UNESCAPED = "-_.!~*'()"


def in_path(label: str, name: str, value: object, style: str, *, explode: bool) -> str:
    """Return a value as a part of a path.

    Args:
        label: The argument.
        name: The parameter.
        value: A scalar, a list of scalars, or a dict of scalars; not empty.
        style: `simple` for `a,b`, `label` for `.a,b`, `matrix` for `;name=a,b`.
        explode: Whether each item stands for itself: `.a.b`, `;name=a;name=b`, `R=1,G=2`.
    """
    key = quote(name, safe=_UNESCAPED)
    start, separator = {"simple": ("", ","), "label": (".", "."), "matrix": (";", ";")}[style]
    named = style == "matrix"
    if checks.is_mapping(value):
        fields = _fields(label, value)
        parts = [f"{k}={v}" for k, v in fields] if explode else [p for f in fields for p in f]
        named &= not explode
    elif checks.is_sequence(value):
        parts = _items(label, value)
        if named and explode:
            parts, named = [f"{key}={part}" for part in parts], False
    else:
        parts = [_escaped(label, value)]
    text = (separator if explode else ",").join(parts)
    if not text:
        raise ValueError(f"{label} must not be empty")
    found = f"{start}{key}={text}" if named else start + text
    if found in (".", ".."):
        # URL normalisation would turn it into another endpoint.
        raise ValueError(f"{label} must not be {found!r} in a path")
    return found


def query_list(label: str, name: str, value: object, delimiter: str | None) -> str:
    """Return a list as a part of a query.

    Args:
        label: The argument.
        name: The parameter.
        value: A list of scalars; an empty one is left out, like `None`.
        delimiter: What stands between the items; without one, each item repeats the name.
    """
    if value is None:
        return ""
    items = _items(label, value)
    key = quote(name, safe=_UNESCAPED)
    if delimiter is None:
        return "&".join(f"{key}={item}" for item in items)
    return f"{key}={delimiter.join(items)}" if items else ""


def query_object(label: str, name: str, value: object, style: str) -> str:
    """Return an object of scalars as a part of a query.

    Args:
        label: The argument.
        name: The parameter.
        value: A dict of scalars; an empty one is left out, like `None`.
        style: `deepObject` for `name[key]=value`, `exploded` for `key=value`, `form` for
            `name=key,value`, and `spaceDelimited` and `pipeDelimited` likewise.
    """
    if value is None:
        return ""
    fields = _fields(label, value)
    name = quote(name, safe=_UNESCAPED)
    if style == "deepObject":
        return "&".join(f"{name}%5B{key}%5D={each}" for key, each in fields)
    if style == "exploded":
        return "&".join(f"{key}={each}" for key, each in fields)
    delimiter = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}[style]
    return f"{name}={delimiter.join(part for f in fields for part in f)}" if fields else ""


def _items(label: str, value: object) -> list[str]:
    items = checks.array(label, value)
    return [_escaped(f"{label}[{index}]", item) for index, item in enumerate(items)]


def _fields(label: str, value: object) -> list[tuple[str, str]]:
    return [
        (_escaped(f"{label}'s key", key), _escaped(f"{label}[{key!r}]", each))
        for key, each in checks.mapping(label, value).items()
    ]


def _escaped(label: str, value: object) -> str:
    return quote(checks.text(checks.scalar(label, value)), safe=_UNESCAPED)
