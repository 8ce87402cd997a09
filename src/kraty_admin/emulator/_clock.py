"""The emulator's clock and its source of ids. Tests can control both."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Final
from uuid import UUID

__all__ = ["SEEDED_START", "Clock", "SeededIds", "ordered_uuid"]

SEEDED_START: Final = datetime(2026, 1, 1, tzinfo=timezone.utc)
"""The initial time of an emulator with a seed."""


class Clock:
    """The emulator's clock. Key expiry, grant expiry, rate limits and webhook retries follow it.

    It follows the machine's clock until you set it. From then on it stands still until you
    move it or let it `run`. Advancing it never sleeps.

    Args:
        at: The initial time, with a zone, at which it stands still. Default: it runs.

    Raises:
        ValueError: The time has no zone.
    """

    def __init__(self, at: datetime | None = None) -> None:
        self._first = None if at is None else _timestamp(at)
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], object]] = []
        self._ahead = 0.0
        self._standing = self._first

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.now.isoformat()}{' running' * self.is_running}>"

    def __call__(self) -> float:
        """Return the time in seconds since the epoch, as `time.time` does."""
        standing = self._standing
        return time.time() + self._ahead if standing is None else standing

    @property
    def now(self) -> datetime:
        """The current time of the clock, in UTC."""
        return datetime.fromtimestamp(self(), timezone.utc)

    @property
    def is_running(self) -> bool:
        """Whether the clock runs."""
        return self._standing is None

    def set(self, at: datetime) -> None:
        """Set the time, and stop the clock.

        Raises:
            ValueError: The time has no zone.
        """
        moment = _timestamp(at)
        with self._lock:
            self._standing = moment
        self._notify()

    def advance(self, by: float | timedelta) -> None:
        """Move the clock, whether it runs or not.

        Args:
            by: Seconds or a `timedelta`; negative to go back.

        Raises:
            ValueError: The new time is outside the range of Python's dates.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        with self._lock:
            try:
                datetime.fromtimestamp(self() + seconds, timezone.utc)
            except (OverflowError, OSError, ValueError):
                raise ValueError(f"the clock cannot move by {seconds} seconds") from None
            if self._standing is None:
                self._ahead += seconds
            else:
                self._standing += seconds
        self._notify()

    def run(self) -> None:
        """Let the clock run, from its current time."""
        with self._lock:
            if self._standing is not None:
                self._ahead = self._standing - time.time()
                self._standing = None
        self._notify()

    @property
    def setting(self) -> tuple[float, float | None]:
        """Seconds ahead of the machine's clock, and the time at which it stands or `None`."""
        with self._lock:
            return self._ahead, self._standing

    @setting.setter
    def setting(self, value: tuple[float, float | None]) -> None:
        with self._lock:
            self._ahead, self._standing = value
        self._notify()

    def reset(self) -> None:
        """Return to the initial time, and stand still or run as at first."""
        with self._lock:
            self._ahead, self._standing = 0.0, self._first
        self._notify()

    def listen(self, listener: Callable[[], object]) -> None:
        """Call `listener` each time the clock is moved, in the thread that moves it."""
        self._listeners.append(listener)

    def ignore(self, listener: Callable[[], object]) -> None:
        """Stop calling `listener`."""
        self._listeners.remove(listener)

    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()


def ordered_uuid() -> UUID:
    """Return a random UUID of version 7, which begins with the machine's time.

    Rows of the same time are then close together in the indexes. With UUIDs of version 4, an
    imported row costs twice as much in a large database.
    """
    bits = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    # Before Python 3.14, `UUID` itself sets only versions up to 5.
    bits = bits & ~(0xF << 76) | 7 << 76
    return UUID(int=bits & ~(0x3 << 62) | 0x2 << 62)


class SeededIds:
    """A source of ids that depend only on the seed and their order."""

    def __init__(self, seed: int) -> None:
        self.seed: Final = seed
        self.drawn = 0
        """How many ids were drawn."""
        self._random = Random(seed)  # noqa: S311  # ids of a test are not secret

    def __call__(self) -> UUID:
        self.drawn += 1
        return UUID(int=self._random.getrandbits(128), version=4)

    def reset(self) -> None:
        """Start again with the first id."""
        self._random.seed(self.seed)
        self.drawn = 0

    def skip(self, count: int) -> None:
        """Skip the next `count` ids."""
        for _ in range(count):
            self()


def _timestamp(at: datetime) -> float:
    if at.tzinfo is None:
        raise ValueError("the time needs a zone: datetime(..., tzinfo=timezone.utc)")
    return at.timestamp()
