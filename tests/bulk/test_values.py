"""Values that JSON lacks: converted to what they mean, or refused."""

from __future__ import annotations

import enum
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from math import inf, nan
from typing import Any

import pytest

from kraty_admin._bulk._values import plain


class Colour(enum.Enum):
    RED = "red"


class Endless:
    """A scalar that Python has no type for, such as numpy's long double."""

    ndim = 0

    def item(self) -> Endless:
        return self


class Integer:
    """An integer of another library."""

    def __index__(self) -> int:
        return 5


class Scalar:
    """A scalar as numpy has it."""

    ndim = 0

    def __init__(self, value: object, kind: str = "i") -> None:
        self.value = value
        self.dtype = type("dtype", (), {"kind": kind})

    def item(self) -> object:
        return self.value

    def astype(self, unit: str) -> Scalar:
        assert "datetime64[us]" == unit
        return Scalar(datetime(2024, 1, 2, tzinfo=timezone.utc))


class Name(str):
    """Text of a class of its own, which another library may write in another way."""

    __slots__ = ()


class NAType:
    """As pandas.NA, which cannot be compared."""

    def __ne__(self, other: object) -> bool:
        raise TypeError


NOON = datetime(2024, 5, 6, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("x", "x", id="text"),
        pytest.param(Name("x"), "x", id="text of another class"),
        pytest.param(2**70, 2**70, id="integer"),
        pytest.param(True, True, id="bool"),
        pytest.param(5.5, 5.5, id="float"),
        pytest.param(nan, None, id="NaN"),
        pytest.param(NAType(), None, id="pandas.NA"),
        pytest.param(Decimal("5.00"), 5, id="whole decimal"),
        pytest.param(Decimal("5.50"), "5.50", id="decimal"),
        pytest.param(uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005", id="UUID"),
        pytest.param(NOON, "2024-05-06T12:00:00Z", id="datetime"),
        pytest.param(NOON.replace(tzinfo=None), "2024-05-06T12:00:00Z", id="datetime in no zone"),
        pytest.param(date(2024, 1, 2), "2024-01-02", id="date"),
        pytest.param(time(1, 2), "01:02:00", id="time"),
        pytest.param("é".encode(), "é", id="bytes"),
        pytest.param(Colour.RED, "red", id="enum"),
        pytest.param(Integer(), 5, id="index"),
        pytest.param(Scalar(7), 7, id="numpy integer"),
        pytest.param(Scalar(7**20, "M"), "2024-01-02T00:00:00Z", id="numpy datetime"),
        pytest.param({"a": [Decimal(1), (NOON,)]}, {"a": [1, ["2024-05-06T12:00:00Z"]]}, id="deep"),
    ],
)
def test_values_become_what_they_mean(value: object, expected: object) -> None:
    """A value becomes one that JSON has, with the same meaning."""
    made = plain(value)
    assert (expected, type(expected)) == (made, type(made))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param(inf, "an infinite number", id="infinity"),
        pytest.param(Decimal("NaN"), "a decimal that is not a finite number", id="decimal"),
        pytest.param(Decimal("1E+500"), "too many digits", id="digits"),
        pytest.param(b"\xff", "bytes that are not UTF-8", id="bytes"),
        pytest.param(timedelta(1), "a value of type timedelta", id="duration"),
        pytest.param({1: 2}, "a name of type int", id="name"),
        pytest.param(object(), "a value of type object", id="object"),
        pytest.param(Endless(), "a value of type Endless", id="scalar without a plain value"),
        pytest.param([{1, 2}], "a value of type set", id="set"),
    ],
)
def test_other_values_are_refused(value: Any, problem: str) -> None:
    """A value that JSON cannot hold is refused, and never printed."""
    with pytest.raises(ValueError, match=problem):
        plain(value)
