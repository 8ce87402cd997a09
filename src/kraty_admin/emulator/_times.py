"""Convert times: milliseconds since the epoch inside, RFC 3339 in UTC outside."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

from dateutil import parser

__all__ = ["iso", "milliseconds", "moment", "optional_iso"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def iso(at: int) -> str:
    """Return a time in the platform's format: `2026-06-08T12:00:00.000Z`."""
    time = _EPOCH + timedelta(milliseconds=at)
    # Not `strftime`, which on some systems writes the year 256 with three digits.
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def optional_iso(at: int | None) -> str | None:
    """Return the same, or `None` for no time."""
    return None if at is None else iso(at)


def milliseconds(text: str) -> int:
    """Parse an RFC 3339 time.

    Raises:
        ValueError: Python cannot represent it: a leap second, or the year 0 or 10000 in UTC.
    """
    try:
        time = parser.isoparse(text.upper()).astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError(str(error)) from None
    return (time - _EPOCH) // timedelta(milliseconds=1)


def moment(at: int) -> datetime:
    """Return a time as an aware `datetime` in UTC."""
    return datetime.fromtimestamp(at / 1000, timezone.utc)
