"""When to try again, and after how long. Clock and randomness come from outside."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Final

__all__ = [
    "YEAR",
    "RetryBudget",
    "RetryConfig",
    "backoff",
    "rate_limit",
    "retry_after",
]

YEAR: Final = 86_400.0 * 365
"""Seconds that stand for never: sleeps and sockets take neither infinity nor centuries."""


@dataclass(frozen=True)
class RetryConfig:
    """How a failed call is retried.

    The SDK retries errors that are `retryable`: 408, 425, 429 and 5xx answers, answers that
    cannot be read, and network errors. It never retries an idempotency conflict, nor after
    a cancellation.
    The wait before attempt n+1 is `initial_delay * 2 ** (n - 1)` seconds, at most
    `max_delay`, spread by `jitter`, and never shorter than the server asks. If a 429 asks
    for a wait that cannot be read, the call waits `max_delay`.
    """

    attempts: int = 4
    """How often a call is tried at most, the first time included; 1 for never again."""
    initial_delay: float = 0.2
    """Seconds before the second attempt."""
    max_delay: float = 10.0
    """Seconds that a wait grows to at most, unless the server asks for more."""
    jitter: float = 0.2
    """How far a wait is spread, as a part of itself: 0.2 for 80 % to 120 %."""
    max_retry_after: float = 60.0
    """Seconds that the server may ask to wait; beyond, the error is raised at once."""

    def __post_init__(self) -> None:
        _check_count("attempts", self.attempts)
        _check_seconds("initial_delay", self.initial_delay)
        _check_seconds("max_delay", self.max_delay)
        _check_share("jitter", self.jitter)
        _check_seconds("max_retry_after", self.max_retry_after)


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, the first call included")


def _check_seconds(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not 0 <= value <= YEAR:
        raise ValueError(f"{name} must be from 0 seconds to a year")


def _check_share(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1")


def backoff(config: RetryConfig, attempt: int, random: Callable[[], float]) -> float:
    """Seconds to wait after this attempt, counted from 1.

    Args:
        config: The caller's wishes.
        attempt: The attempt that failed.
        random: Draws from 0 to 1.
    """
    # The exponent is bounded because a float is not: 2.0 ** 1024 overflows.
    delay = min(config.initial_delay * 2.0 ** min(attempt - 1, 64), config.max_delay)
    return delay * (1 - config.jitter + 2 * config.jitter * random())


# Not float() alone: that also takes "1_0", "inf" and digits of other scripts.
_NUMBER: Final = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")

_COUNT: Final = re.compile(r"[0-9]{1,9}")

# HTTP joins equal headers with commas, as when a proxy adds its own. The comma within a
# date is followed by the day and the month.
_COMMA: Final = re.compile(r",(?!\s*[0-9]{1,2}[ -][A-Za-z])")


def retry_after(
    status: int, headers: Mapping[str, str], wall: float, *, unreadable: float
) -> float | None:
    """How many seconds the server asks to wait; `None` if it does not.

    Args:
        status: The answer's status.
        headers: The answer's headers, names in lower case.
        wall: Seconds since the epoch, for dates in an answer that has no date of its own.
        unreadable: The seconds to wait if a 429 asks for a wait that cannot be read.
    """
    # The server's own clock, if the answer has a date: ours may be wrong.
    now = _date(headers.get("date", ""))
    now = wall if now is None else now
    after = headers.get("retry-after", "")
    asked = _wait(after, now)
    if asked is None and status == 429:
        # Only here: elsewhere the window's end says nothing about when to try again.
        reset = headers.get("ratelimit-reset", "")
        asked = _wait(reset, now)
        if asked is None and (after.strip() or reset.strip()):
            asked = unreadable
    return asked


def rate_limit(headers: Mapping[str, str], wall: float) -> tuple[int | None, float | None]:
    """How many requests the server still takes in this window, and for how many seconds.

    Args:
        headers: The answer's headers, names in lower case.
        wall: Seconds since the epoch.
    """
    values = map(str.strip, headers.get("ratelimit-remaining", "").split(","))
    left = min((int(value) for value in values if _COUNT.fullmatch(value)), default=None)
    return left, _wait(headers.get("ratelimit-reset", ""), wall)


def _wait(value: str, now: float) -> float | None:
    """The wait that a header asks for: the longest, if it asks for several."""
    waits = (_single_wait(part.strip(), now) for part in _COMMA.split(value))
    return max((wait for wait in waits if wait is not None), default=None)


def _single_wait(value: str, now: float) -> float | None:
    if _NUMBER.fullmatch(value):
        # Infinite for digits without end, which is longer than anybody waits.
        return float(value)
    moment = _date(value)
    return None if moment is None else max(0.0, moment - now)


def _date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        # A zone of -0000 is UTC too, but comes without one.
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


class RetryBudget:
    """How many retries a client may spend, so that an outage does not multiply its load.

    A retry costs one, a call that succeeds gives one back. When nothing is left, calls
    still are tried once, and the first successes refill the budget.
    """

    # Threads share it without a lock. A fork could inherit a lock that is held, and then
    # no call of the child would ever return. A deque's own steps are atomic; threads that
    # collide over the last retry may both go without, and never spend it twice.

    def __init__(self, capacity: int | None) -> None:
        self._capacity = capacity
        self._spent: deque[None] = deque()

    def take(self) -> bool:
        """Whether another retry may be spent, and if so, spends it."""
        if not self._capacity:
            return self._capacity is None
        self._spent.append(None)
        if len(self._spent) > self._capacity:
            self.give_back()
            return False
        return True

    def refilled(self) -> RetryBudget:
        """Return a budget of the same size of which nothing is spent."""
        return RetryBudget(self._capacity)

    def give_back(self) -> None:
        """A call has succeeded."""
        if self._spent:
            with suppress(IndexError):  # another thread was quicker
                self._spent.pop()
