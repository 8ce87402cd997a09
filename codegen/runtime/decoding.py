"""Wire values to Python values. What does not have the documented shape comes through as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timezone
from typing import Any, TypeGuard, TypeVar, cast

from .model import Model

T = TypeVar("T")
M = TypeVar("M", bound=Model)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether JSON calls this an object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Whether JSON calls this an array."""
    return isinstance(value, list)


def as_any(value: Any) -> Any:
    """Anything."""
    return value


def as_str(value: Any) -> str:
    """A string; for enums also one that this version does not know."""
    return cast("str", value)


def as_int(value: Any) -> int:
    """A whole number."""
    return cast("int", value)


def as_float(value: Any) -> float:
    """A number."""
    return cast("float", value)


def as_bool(value: Any) -> bool:
    """A truth value."""
    return cast("bool", value)


def as_datetime(value: Any) -> datetime:
    """An RFC 3339 time of any fraction width, or a date; UTC where it names no offset."""
    # Imported here because most programs never read a date, and the parser is
    # a good part of the package's import time.
    from dateutil.parser import isoparse

    if not isinstance(value, str):
        raise TypeError(f"expected an RFC 3339 time, not {type(value).__name__}")
    parsed = isoparse(value)
    if not parsed.utcoffset():
        return parsed.replace(tzinfo=timezone.utc)
    return parsed


def as_date(value: Any) -> date:
    """An RFC 3339 date; of a time, its date."""
    return as_datetime(value).date()


_UNCHANGED: frozenset[Callable[[Any], Any]] = frozenset({as_any, as_str, as_int, as_float, as_bool})
"""The decoders that return the value itself."""


def as_model(model: type[M]) -> Callable[[Any], M]:
    """An object, as this model: a shallow copy, so that the dict stays plain."""

    def decode(value: Any) -> M:
        if is_object(value) and not isinstance(value, model):
            return model(value)
        return cast("M", value)

    return decode


def as_tagged(tag: str, models: Mapping[str, type[Model]]) -> Callable[[Any], Any]:
    """An object, as the model that its tag names; with an unknown tag, the plain dict."""

    def decode(value: Any) -> Any:
        name = value.get(tag) if is_object(value) else None
        model = models.get(name) if isinstance(name, str) else None
        return value if model is None else as_model(model)(value)

    return decode


def as_list(decode: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    """A list: a new one of decoded values, or the wire's own where there is nothing to decode."""
    if decode in _UNCHANGED:
        return as_any

    def decode_list(value: Any) -> list[T]:
        if not is_array(value):
            return cast("list[T]", value)
        return [cast("T", None) if item is None else decode(item) for item in value]

    return decode_list


def as_map(decode: Callable[[Any], T]) -> Callable[[Any], dict[str, T]]:
    """A map: a new one of decoded values, or the wire's own where there is nothing to decode."""
    if decode in _UNCHANGED:
        return as_any

    def decode_map(value: Any) -> dict[str, T]:
        if not is_object(value):
            return cast("dict[str, T]", value)
        return {k: cast("T", None) if v is None else decode(v) for k, v in value.items()}

    return decode_map
