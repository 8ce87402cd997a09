# Copied by `make regen` from codegen/runtime/decoding.py.
# Do not edit: change that file instead.
"""Turn JSON values into Python values.

A value of an unexpected type is returned unchanged. Four decoders raise instead: `as_datetime` and
`as_date` for text that is not a time, `as_field` for a missing field, and `as_answer` for an answer
of another type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timezone
from typing import Any, TypeGuard, TypeVar, cast

from .model import Model

T = TypeVar("T")
M = TypeVar("M", bound=Model)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Return whether this is a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Return whether this is a JSON array."""
    return isinstance(value, list)


def as_any(value: Any) -> Any:
    """Return the value, whatever its type."""
    return value


def as_str(value: Any) -> str:
    """Return a string. It may be an enum value that this version does not know."""
    return cast("str", value)


def as_int(value: Any) -> int:
    """Return an integer."""
    return cast("int", value)


def as_float(value: Any) -> float:
    """Return a number."""
    return cast("float", value)


def as_bool(value: Any) -> bool:
    """Return a boolean."""
    return cast("bool", value)


def as_datetime(value: Any) -> datetime:
    """Parse an RFC 3339 time with any number of decimals, or a date. The default zone is UTC.

    Raises:
        TypeError: The value is not text.
        ValueError: The text is not a time.
    """
    # Imported here because most programs never read a date, and importing the parser is
    # slow.
    from dateutil.parser import isoparse

    if not isinstance(value, str):
        raise TypeError(f"expected an RFC 3339 time, not {type(value).__name__}")
    parsed = isoparse(value)
    if not parsed.utcoffset():
        return parsed.replace(tzinfo=timezone.utc)
    return parsed


def as_date(value: Any) -> date:
    """Parse an RFC 3339 date, or return the date of a time."""
    return as_datetime(value).date()


_UNCHANGED: frozenset[Callable[[Any], Any]] = frozenset({as_any, as_str, as_int, as_float, as_bool})
"""The decoders that return the value itself."""


def as_model(model: type[M]) -> Callable[[Any], M]:
    """Decode an object as a new model with the same members, so that the dict stays plain."""

    def decode(value: Any) -> M:
        if is_object(value) and not isinstance(value, model):
            return model(value)
        return cast("M", value)

    return decode


def as_tagged(tag: str, models: Mapping[str, type[Model]]) -> Callable[[Any], Any]:
    """Decode an object as the model that its tag names. With an unknown tag, it stays a dict."""

    def decode(value: Any) -> Any:
        name = value.get(tag) if is_object(value) else None
        model = models.get(name) if isinstance(name, str) else None
        return value if model is None else as_model(model)(value)

    return decode


def as_list(decode: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    """Decode a list into a new one. If its items need no decoding, return it unchanged."""
    if decode in _UNCHANGED:
        return as_any

    def decode_list(value: Any) -> list[T]:
        if not is_array(value):
            return cast("list[T]", value)
        return [cast("T", None) if item is None else decode(item) for item in value]

    return decode_list


def as_field(key: str, decode: Callable[[Any], T]) -> Callable[[Any], T]:
    """Decode an object as the value of one of its fields."""

    def decode_field(value: Any) -> T:
        if not is_object(value) or value.get(key) is None:
            raise ValueError(f"{key!r} is missing")
        return _decoded(value[key], decode)

    return decode_field


_WORDS: Mapping[type, str] = {list: "a list", str: "text", float: "a number", bool: "a boolean"}


def as_answer(kind: type, decode: Callable[[Any], T]) -> Callable[[Any], T]:
    """Decode an answer that is not an object.

    Args:
        kind: The type that it must have: `list`, `str`, `float` for any number, or `bool`.
        decode: Decodes the value.
    """

    def decode_answer(value: Any) -> T:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number if kind is float else isinstance(value, kind)):
            raise ValueError(f"it is not {_WORDS[kind]}")
        return _decoded(value, decode)

    return decode_answer


def _decoded(value: Any, decode: Callable[[Any], T]) -> T:
    # The client turns a ValueError into a KratyResponseError.
    try:
        return decode(value)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None


def as_map(decode: Callable[[Any], T]) -> Callable[[Any], dict[str, T]]:
    """Decode a map into a new one. If its values need no decoding, return it unchanged."""
    if decode in _UNCHANGED:
        return as_any

    def decode_map(value: Any) -> dict[str, T]:
        if not is_object(value):
            return cast("dict[str, T]", value)
        return {k: cast("T", None) if v is None else decode(v) for k, v in value.items()}

    return decode_map
