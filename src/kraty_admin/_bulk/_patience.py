"""How long an import waits for a server that is unavailable."""

from __future__ import annotations

import logging
from typing import Final

from .._call._retry import growing
from ..errors import KratyError, KratyServerError

__all__ = ["Patience"]

_log: Final = logging.getLogger("kraty_admin")

_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 60.0


class Patience:
    """Decides whether to repeat a call that failed after all its retries.

    All calls of an import share one. The time counts from the first failure since the last
    answer. Before the first answer nothing is repeated, because the address may be wrong.

    Args:
        seconds: How long to wait for an answer.
    """

    # No lock: threads that race may wait once more or once less, which does no harm.

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._reached = False
        self._failing_since: float | None = None

    def answered(self) -> None:
        """Record that the server has answered."""
        self._reached = True
        self._failing_since = None

    def delay(self, error: KratyError, failures: int, now: float) -> float | None:
        """Return the seconds to wait before repeating a call; `None` to give up.

        Args:
            error: Why the call failed.
            failures: How often this call has failed in a row.
            now: Seconds on a monotonic clock.
        """
        if not self._reached or not error.retryable:
            return None
        if self._failing_since is None:
            self._failing_since = now
        left = self._failing_since + self._seconds - now
        if left <= 0:
            return None
        wait = growing(_FIRST_DELAY, failures - 1, _LONGEST_DELAY)
        if isinstance(error, KratyServerError) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        if wait > left:
            if isinstance(error, KratyServerError) and error.retry_after is not None:
                return None  # never earlier than the server asks
            wait = left
        _log.warning(
            "an import waits for the server: %s. It tries again in %.0f s, and gives up in %.0f s",
            _why(error),
            wait,
            left,
        )
        return wait


def _why(error: KratyError) -> str:
    """Describe the failure without the server's message, which could control a terminal."""
    if isinstance(error, KratyServerError):
        return f"it answers with status {error.status}"
    return type(error).__name__
