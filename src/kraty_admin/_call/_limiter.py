"""Pace the calls of imports and outbox workers by the rate limit that the server last reported."""

from __future__ import annotations

from collections.abc import Mapping

from ._retry import rate_limit

__all__ = ["Limiter"]

_SLOW_BELOW = 8
"""Slow down when fewer calls than this remain, not counting those in flight."""


class Limiter:
    """Decides when the next call may begin. All workers of a client share one.

    It subtracts the calls in flight from those that the server says remain, and slows down
    before the limit is reached. When the server asks one worker to wait, all workers wait.
    """

    # No lock, because a fork could inherit one that is held. Threads that race may send one
    # call too many or too late; the next answer corrects that.

    def __init__(self, share: int = 1) -> None:
        self._share = share
        self._in_flight = 0
        self._remaining: int | None = None
        self._resets_at = 0.0
        self._blocked_until = 0.0
        self._last_began = 0.0

    def take(self, now: float) -> float:
        """Reserve a place for a call. Return 0, or the seconds to wait before trying again.

        Args:
            now: Seconds on a monotonic clock.
        """
        if now < self._blocked_until:
            return self._blocked_until - now
        if self._remaining is not None and now < self._resets_at:
            left = self._remaining // self._share - self._in_flight
            if left <= 0:
                return self._resets_at - now
            if left < _SLOW_BELOW:
                # Spread the remaining calls over the rest of the window.
                wait = self._last_began + (self._resets_at - now) / left - now
                if wait > 0:
                    return wait
        self._in_flight += 1
        self._last_began = now
        return 0.0

    def done(self, headers: Mapping[str, str], now: float, wall: float) -> None:
        """Release the place of a call that has ended.

        Args:
            headers: The answer's headers, names in lower case; empty if there was none.
            now: Seconds on the clock of `take`.
            wall: Seconds since the epoch.
        """
        self._in_flight = max(self._in_flight - 1, 0)
        left, seconds = rate_limit(headers, wall)
        if left is not None and seconds is not None:
            self._remaining, self._resets_at = left, now + seconds

    def reset(self) -> None:
        """Forget the server's limits, because the next calls go to another server."""
        self._remaining = None
        self._blocked_until = 0.0

    def hold(self, seconds: float, now: float) -> None:
        """Block new calls for `seconds`, after a `Retry-After`."""
        self._blocked_until = max(self._blocked_until, now + seconds)
