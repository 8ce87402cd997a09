# Copied by `make regen` from codegen/runtime/checks.py.
# Do not edit: change that file instead.
"""Check arguments against the contract before anything is sent.

Each check returns the value to send, or raises `TypeError` or `ValueError`. The message names the
argument, what is wrong and what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timezone
from math import isfinite
from typing import Any, TypeGuard
from urllib.parse import quote

from .decoding import as_datetime

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _kind(value: object) -> str:
    return type(value).__name__


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Return whether this can be sent as a JSON array. Text and bytes cannot."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether this can be sent as a JSON object."""
    # A `dict` is a `Mapping` too, but checking for it first halves the time for rows of a batch.
    return isinstance(value, (dict, Mapping))


def string(
    name: str,
    value: object,
    *,
    min_length: int = 0,
    max_length: int | None = None,
    pattern: str | None = None,
) -> str:
    """Return a `str` that UTF-8 can encode and whose length is within the bounds."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {_kind(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} holds a lone surrogate, which UTF-8 cannot hold") from None
    if len(value) < min_length:
        least = "be empty" if min_length == 1 else f"have fewer than {min_length} characters"
        raise ValueError(f"{name} must not {least}")
    if max_length is not None and len(value) > max_length:
        raise ValueError(f"{name} must have at most {max_length} characters, not {len(value)}")
    if pattern is not None and re.search(pattern, value) is None:
        raise ValueError(f"{name} must match {pattern!r}")
    return value


def path_segment(name: str, value: object) -> str:
    """Return an id, escaped as `encodeURIComponent` escapes it."""
    # Fast path: most ids need no escaping. A subclass may change what it is added to.
    if type(value) is str and _PLAIN.fullmatch(value):
        return value
    return escaped(identifier(name, value))


def escaped(part: str) -> str:
    """Escape a part of a URL as ECMAScript's `encodeURIComponent` does."""
    # It escapes neither these characters nor letters and digits.
    return quote(part, safe="-_.!~*'()")


def identifier(name: str, value: object) -> str:
    """Return an id that can be part of a path, as every id of the API must be."""
    text = string(name, value, min_length=1)
    if text in (".", ".."):
        # URL normalisation would turn it into another endpoint, even if it is escaped.
        raise ValueError(f"{name} must not be {text!r}")
    if CONTROL.search(text):
        raise ValueError(f"{name} must not hold control characters")
    return text


def query(parameters: Mapping[str, str | int | float | bool | None], *others: str) -> str:
    """Return the query string with its question mark, without parameters that are `None`.

    Args:
        parameters: Scalars by the names of the parameters.
        others: Lists and objects, encoded by `styles`.
    """
    pairs = [
        f"{escaped(key)}={escaped(text(value))}"
        for key, value in parameters.items()
        if value is not None
    ]
    pairs += [other for other in others if other]
    return "?" + "&".join(pairs) if pairs else ""


def text(value: str | int | float | bool) -> str:
    """Return a scalar as text for a URL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    # Not `str()`, which returns the name of a member of an enumeration instead of its value.
    if isinstance(value, str):
        return str.__str__(value)
    return int.__repr__(value) if isinstance(value, int) else float.__repr__(value)


def _bounds(minimum: float | None, maximum: float | None) -> str:
    if minimum is None:
        return f"at most {maximum}"
    return f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"


def integer(
    name: str, value: object, *, minimum: int | None = None, maximum: int | None = None
) -> int:
    """Return an `int` within the bounds. A `bool` or `float` is rejected."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {_kind(value)}")
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} must be {_bounds(minimum, maximum)}; this int is too small")
    if maximum is not None and value > maximum:
        raise ValueError(f"{name} must be {_bounds(minimum, maximum)}; this int is too large")
    return value


def number(
    name: str, value: object, *, minimum: float | None = None, maximum: float | None = None
) -> float:
    """Return a finite `int` or `float` within the bounds. A `bool` is rejected."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int or a float, not {_kind(value)}")
    _finite(name, value)
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} must be {_bounds(minimum, maximum)}; this number is too small")
    if maximum is not None and value > maximum:
        raise ValueError(f"{name} must be {_bounds(minimum, maximum)}; this number is too large")
    return value


def boolean(name: str, value: object) -> bool:
    """Return a `bool`."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {_kind(value)}")
    return value


def scalar(name: str, value: object) -> str | int | float | bool:
    """Return a `str`, a finite number or a `bool`."""
    if not isinstance(value, str | int | float):
        raise TypeError(f"{name} must be a str, a number or a bool, not {_kind(value)}")
    return string(name, value) if isinstance(value, str) else _finite(name, value)


def _finite(name: str, value: float) -> float:
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{name} must be finite")
    return value


def one_of(
    name: str, value: object, allowed: Sequence[str | int | float | bool]
) -> str | int | float | bool:
    """Return one of the contract's values. `True` is not 1."""
    kinds = {_json_type(each) for each in allowed}
    if not isinstance(value, str | int | float) or _json_type(value) not in kinds:
        raise TypeError(f"{name} must be one of {list(allowed)}, not {_kind(value)}")
    if not any(value == each and _json_type(value) is _json_type(each) for each in allowed):
        raise ValueError(f"{name} must be one of {list(allowed)}")
    return value


def _json_type(value: str | int | float | bool) -> type:
    if isinstance(value, str):
        return str
    return bool if isinstance(value, bool) else float


def timestamp(name: str, value: object) -> str:
    """Return an aware `datetime` as text in UTC, or an RFC 3339 string with an offset unchanged."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(
                f"{name} must be an aware datetime, such as datetime.now(timezone.utc)"
            )
        try:
            moment = value.astimezone(timezone.utc).replace(tzinfo=None)
        except OverflowError:
            raise ValueError(f"{name} lies outside the years 1 to 9999 in UTC") from None
        fraction = "microseconds" if moment.microsecond % 1000 else "milliseconds"
        return moment.isoformat(timespec=fraction) + "Z"
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a datetime or an RFC 3339 string, not {_kind(value)}")
    if _RFC_3339.fullmatch(value):
        try:
            as_datetime(value)
        except ValueError:
            pass
        else:
            return value
    raise ValueError(f"{name} must be an RFC 3339 time with an offset: '2026-06-08T12:00:00Z'")


def day(name: str, value: object) -> str:
    """Return a `date` as text, or a string such as `2026-06-08`."""
    if isinstance(value, datetime):
        raise TypeError(f"{name} must be a date, not {_kind(value)}")
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a date or a string, not {_kind(value)}")
    try:
        # From Python 3.11 on, it accepts other forms too, such as that of a week.
        is_date = date.fromisoformat(value).isoformat() == value
    except ValueError:
        is_date = False
    if not is_date:
        raise ValueError(f"{name} must be a date such as '2026-06-08'")
    return value


def array(
    name: str, value: object, *, min_items: int = 0, max_items: int | None = None
) -> list[Any]:
    """Return a sequence as a list of the same items. A `str` or `bytes` is rejected."""
    if not is_sequence(value):
        raise TypeError(f"{name} must be a list, not {_kind(value)}")
    items = list(value)
    if len(items) < min_items:
        least = "be empty" if min_items == 1 else f"hold fewer than {min_items} items"
        raise ValueError(f"{name} must not {least}")
    if max_items is not None and len(items) > max_items:
        raise ValueError(f"{name} must hold at most {max_items} items, not {len(items)}")
    return items


def mapping(name: str, value: object) -> Mapping[str, Any]:
    """Return a mapping, unchanged."""
    if not is_mapping(value):
        raise TypeError(f"{name} must be a dict, not {_kind(value)}")
    return value


def extra(name: str, value: object, listed: Sequence[str]) -> Mapping[str, Any]:
    """Return fields of a body that the contract does not list. Listed fields are rejected."""
    for key in mapping(name, value):
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
            raise TypeError(f"{name} must have keys of type str, not {_kind(key)}")
        if key in listed:
            raise ValueError(f"{name} must not hold {key!r}, which is an argument")
    return mapping(name, value)


def each(rows: Sequence[Any], field: str) -> list[str]:
    """Return a text field of each object in a list, skipping objects without it."""
    values = [row.get(field) for row in rows if is_mapping(row)]
    return [value for value in values if isinstance(value, str)]
