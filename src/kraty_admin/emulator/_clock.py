"""The emulator's time and its ids, which tests can take into their own hands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Final
from uuid import UUID

__all__ = ["SEEDED_START", "Clock", "SeededIds"]

SEEDED_START: Final = datetime(2026, 1, 1, tzinfo=timezone.utc)
"""Where the clock of an emulator with a seed stands at first."""


class Clock:
    """Tells the emulator's time: when keys are forgotten, grants lapse and minutes end.

    It runs with the machine's until it is set; from then on it stands still, and moves
    when it is told to. What the machine sleeps, it never does.

    Args:
        at: Where it stands at first, with a zone. Default: it runs.
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
        """The time in seconds since the epoch, as `time.time` tells it."""
        standing = self._standing
        return time.time() + self._ahead if standing is None else standing

    @property
    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self(), timezone.utc)

    @property
    def is_running(self) -> bool:
        """Whether it moves by itself."""
        return self._standing is None

    def set(self, at: datetime) -> None:
        """Stand still at this moment.

        Raises:
            ValueError: The moment has no zone.
        """
        moment = _timestamp(at)
        with self._lock:
            self._standing = moment
        self._tell()

    def advance(self, by: float | timedelta) -> None:
        """Move on, standing or running.

        Args:
            by: Seconds or a `timedelta`; below zero for going back.

        Raises:
            ValueError: That is further than dates go.
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
        self._tell()

    def run(self) -> None:
        """Move by itself, from where it stands."""
        with self._lock:
            if self._standing is not None:
                self._ahead = self._standing - time.time()
                self._standing = None
        self._tell()

    def reset(self) -> None:
        """Be as at first."""
        with self._lock:
            self._ahead, self._standing = 0.0, self._first
        self._tell()

    def listen(self, listener: Callable[[], object]) -> None:
        """Call this, in whatever thread, each time that somebody moves the clock."""
        self._listeners.append(listener)

    def ignore(self, listener: Callable[[], object]) -> None:
        """Call this no more."""
        self._listeners.remove(listener)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()


class SeededIds:
    """A source of ids that gives the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = Random(seed)  # noqa: S311  # ids of a test are no secrets

    def __call__(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)

    def reset(self) -> None:
        """Begin again."""
        self._random.seed(self._seed)


def _timestamp(at: datetime) -> float:
    if at.tzinfo is None:
        raise ValueError("the moment needs a zone: datetime(..., tzinfo=timezone.utc)")
    return at.timestamp()
