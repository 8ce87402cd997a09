"""Convert values that JSON lacks, from databases, data frames and Parquet, to JSON's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timezone
from decimal import Decimal
from enum import Enum
from math import isinf
from operator import index
from typing import Any, Final, cast
from uuid import UUID

__all__ = ["SCALARS", "plain"]

_DIGITS: Final = 400

SCALARS: Final = frozenset({str, int, bool, type(None)})
"""The types that need no conversion to JSON."""


def plain(value: object) -> Any:
    """Convert a value to one of JSON's types, with the same meaning.

    Missing values (`None`, NaN, NaT) become `None`. A time without a zone is taken as UTC.

    Raises:
        ValueError: JSON has no such value. The message is to follow the name of the field.
    """
    if type(value) in SCALARS:
        return value
    if _is_missing(value):
        return None
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        if isinf(value):
            raise ValueError("holds an infinite number, which JSON lacks")
        return float(value)
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
        return moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        try:
            return value.decode()  # older Parquet writers do not mark text as text
        except UnicodeDecodeError:
            raise ValueError("holds bytes that are not UTF-8") from None
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        return {_name(name): plain(member) for name, member in members.items()}
    if isinstance(value, list | tuple):
        return [plain(member) for member in cast("list[object]", value)]
    return _of_number(value)


def _is_missing(value: object) -> bool:
    # pandas.NA cannot be compared, and NaN and NaT are not equal to themselves.
    if type(value).__name__ == "NAType":
        return True
    return isinstance(value, float | date) and value != value


def _of_decimal(value: Decimal) -> int | str:
    if not value.is_finite() or value.adjusted() > _DIGITS:
        raise ValueError("holds a decimal that is not a finite number, or has too many digits")
    return int(value) if value == value.to_integral_value() else str(value)


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"holds a name of type {type(name).__name__}; JSON has text only")
    return name


def _of_number(value: object) -> Any:
    """Convert a value of a library such as numpy, whose scalars have these attributes."""
    if getattr(value, "ndim", None) == 0:
        scalar = cast("Any", value)
        # A time in nanoseconds would become a plain number.
        inner = (scalar.astype("datetime64[us]") if _is_moment(scalar) else scalar).item()
        if type(inner) is not type(value):
            return plain(inner)
    try:
        return index(cast("Any", value))
    except TypeError:
        raise ValueError(
            f"holds a value of type {type(value).__name__}, which JSON lacks"
        ) from None


def _is_moment(scalar: Any) -> bool:
    return getattr(getattr(scalar, "dtype", None), "kind", None) == "M"
