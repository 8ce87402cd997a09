# Copied by `make regen` from codegen/runtime/styles.py.
# Do not edit: change that file instead.
"""Encode values for paths, queries and headers, in the styles of OpenAPI.

Each function raises `TypeError` or `ValueError` for a value that the style cannot hold. Results
for paths and queries are percent-encoded.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

from . import checks

_LATIN_1 = re.compile(r"[\x00-\xff]*")


def in_path(label: str, name: str, value: object, style: str, *, explode: bool) -> str:
    """Return a value as a part of a path.

    Args:
        label: The argument.
        name: The parameter.
        value: A scalar, a list of scalars, or a dict of scalars; not empty.
        style: `simple` for `a,b`, `label` for `.a,b`, `matrix` for `;name=a,b`.
        explode: Whether items are separate: `.a.b`, `;name=a;name=b`, `R=1,G=2`.
    """
    key = checks.escaped(name)
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
    if style == "label" and explode and not isinstance(value, str | int | float):
        _check_apart(label, parts, ".")
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
        value: A list of scalars; an empty one is left out.
        delimiter: The text between two items. If it is `None`, each item repeats the name.
    """
    items = _items(label, value)
    key = checks.escaped(name)
    if delimiter is None:
        return "&".join(f"{key}={item}" for item in items)
    _check_apart(label, items, delimiter)
    return f"{key}={delimiter.join(items)}" if items else ""


def query_object(label: str, name: str, value: object, style: str) -> str:
    """Return an object of scalars as a part of a query.

    Args:
        label: The argument.
        name: The parameter.
        value: A dict of scalars; an empty one is left out.
        style: `deepObject` for `name[key]=value`, `exploded` for `key=value`, `form` for
            `name=key,value`, and `spaceDelimited` and `pipeDelimited` likewise.
    """
    fields = _fields(label, value)
    name = checks.escaped(name)
    if style == "deepObject":
        for bracket in ("%5B", "%5D"):
            _check_apart(label, [key for key, _ in fields], bracket)
        return "&".join(f"{name}%5B{key}%5D={each}" for key, each in fields)
    if style == "exploded":
        return "&".join(f"{key}={each}" for key, each in fields)
    delimiter = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}[style]
    parts = [part for f in fields for part in f]
    _check_apart(label, parts, delimiter)
    return f"{name}={delimiter.join(parts)}" if fields else ""


def not_empty(label: str, part: str) -> str:
    """Return a part of a query, or raise if it is empty: it must not be left out."""
    if not part:
        raise ValueError(f"{label} must not be empty")
    return part


def in_header(label: str, value: object, *, explode: bool) -> str:
    """Return a value for a header, in the style `simple`. Nothing is escaped.

    Args:
        label: The argument.
        value: A scalar, or a list or a dict of scalars. Servers split a list at its commas and
            strip white space. Values that a server would read differently are rejected.
        explode: Whether the fields of a dict are `R=1,G=2` instead of `R,1,G,2`.
    """
    if checks.is_mapping(value):
        between = "=" if explode else ","
        parts = [
            _header_part(f"a key of {label}", key, ",=" if explode else ",")
            + between
            + _header_part(f"{label}[{key!r}]", each, ",")
            for key, each in value.items()
        ]
    elif checks.is_sequence(value):
        parts = [_header_part(f"{label}[{i}]", each, ",") for i, each in enumerate(value)]
    else:
        return _header_text(label, value)
    if not parts:
        raise ValueError(f"{label} must not be empty")
    return ",".join(parts)


def _header_part(label: str, value: object, reserved: str) -> str:
    """Return a scalar inside a list or an object. Characters that would end it are rejected."""
    text = _header_text(label, value)
    if not text:
        raise ValueError(f"{label} must not be empty in a header")
    for character in reserved:
        if character in text:
            raise ValueError(f"{label} must not hold {character!r}, which ends it in a header")
    return text


def _header_text(label: str, value: object) -> str:
    text = checks.text(checks.scalar(label, value))
    if checks.CONTROL.search(text):
        # A line break would split the header in two.
        raise ValueError(f"{label} must not hold control characters, such as line breaks")
    if not _LATIN_1.fullmatch(text):
        raise ValueError(f"{label} must contain only characters of Latin-1, like all headers")
    if text.strip() != text:
        raise ValueError(f"{label} must not begin or end with white space, which servers strip")
    return text


def as_json(label: str, value: object) -> str:
    """Return a value as JSON in ASCII."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_as_json_type)
    except TypeError as error:
        raise TypeError(f"{label} cannot be written as JSON: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{label} cannot be written as JSON: {error}") from None


def _as_json_type(value: object) -> Any:
    if checks.is_mapping(value):
        return dict(value)
    if checks.is_sequence(value):
        return list(value)
    raise TypeError(f"it holds an object of type {type(value).__name__}")


def _check_apart(label: str, parts: list[str], delimiter: str) -> None:
    """Check that no escaped part holds the delimiter: the server would read two from it."""
    if any(delimiter in part for part in parts):
        raise ValueError(f"{label} must not hold {unquote(delimiter)!r}, which separates its parts")


def _items(label: str, value: object) -> list[str]:
    items = checks.array(label, value)
    return [_escaped(f"{label}[{index}]", item) for index, item in enumerate(items)]


def _fields(label: str, value: object) -> list[tuple[str, str]]:
    return [
        (_escaped(f"{label}'s key", key), _escaped(f"{label}[{key!r}]", each))
        for key, each in checks.mapping(label, value).items()
    ]


def _escaped(label: str, value: object) -> str:
    return checks.escaped(checks.text(checks.scalar(label, value)))
