"""How fast bulk work may call: a window of requests, as the server last told of it."""

from __future__ import annotations

from collections.abc import Mapping

from ._retry import rate_limit

__all__ = ["Limiter"]

_FEW = 8
"""How many calls must be left, besides those under way, to go at full speed."""


class Limiter:
    """Says when the next call may begin. All workers of a client share one.

    It counts what is under way against what the server says is left, so that it slows
    before it is told to, and when one is told to wait, all do.
    """

    # Without a lock, which a fork could inherit while it is held. Threads that collide
    # may send one call too many or too late, and the next answer puts that right.

    def __init__(self, share: int = 1) -> None:
        self._share = share
        self._flying = 0
        self._left: int | None = None
        self._resets_at = 0.0
        self._held_until = 0.0
        self._last = 0.0

    def take(self, now: float) -> float:
        """Take a place for a call; returns 0, or how many seconds to wait before asking again.

        Args:
            now: Seconds on a monotonic clock.
        """
        if now < self._held_until:
            return self._held_until - now
        if self._left is not None and now < self._resets_at:
            left = self._left // self._share - self._flying
            if left <= 0:
                return self._resets_at - now
            if left < _FEW:
                # What is left is spread over what is left of the window.
                wait = self._last + (self._resets_at - now) / left - now
                if wait > 0:
                    return wait
        self._flying += 1
        self._last = now
        return 0.0

    def done(self, headers: Mapping[str, str], now: float, wall: float) -> None:
        """A call that had a place has ended.

        Args:
            headers: The answer's headers, names in lower case; empty if there was none.
            now: Seconds on the clock that `take` was given.
            wall: Seconds since the epoch.
        """
        self._flying = max(self._flying - 1, 0)
        left, seconds = rate_limit(headers, wall)
        if left is not None and seconds is not None:
            self._left, self._resets_at = left, now + seconds

    def reset(self) -> None:
        """Forget what the server has said, because the next calls go to another server."""
        self._left = None
        self._held_until = 0.0

    def hold(self, seconds: float, now: float) -> None:
        """Nobody begins a call for so long: the server has asked one of them to wait."""
        self._held_until = max(self._held_until, now + seconds)
