"""When to retry, and how long to wait first. Callers pass in the clock and the randomness."""

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
    "growing",
    "rate_limit",
    "retry_after",
]

YEAR: Final = 86_400.0 * 365
"""The longest wait in seconds: sleeps and sockets reject infinity and centuries."""


@dataclass(frozen=True)
class RetryConfig:
    """How a failed call is retried.

    The SDK retries errors that are `retryable`: 408, 425, 429 and 5xx answers, answers that
    cannot be read, and network errors. It never retries an idempotency conflict, nor after
    a cancellation.

    The wait before attempt n+1 is `initial_delay * 2 ** (n - 1)` seconds, at most
    `max_delay`, spread by `jitter`. If the server asks for a longer wait, the SDK waits that
    long. If a 429 asks for a wait that cannot be read, the SDK takes it for `max_delay`, or
    for `max_retry_after` if that is shorter.

    Raises:
        TypeError: A value is not a number.
        ValueError: `attempts` is below 1, a wait is not from 0 seconds to a year, or `jitter` is
            not from 0 to 1.
    """

    attempts: int = 4
    """The most attempts of a call, including the first; 1 for no retries."""
    initial_delay: float = 0.2
    """Seconds to wait before the second attempt."""
    max_delay: float = 10.0
    """The longest wait in seconds, before `jitter` spreads it. The server may ask for more."""
    jitter: float = 0.2
    """The random spread of a wait, as a fraction of it: 0.2 for 80 % to 120 %."""
    max_retry_after: float = 60.0
    """The longest wait in seconds that the server may ask for.

    If it asks for more, the error is raised at once.
    """

    def __post_init__(self) -> None:
        _check_count("attempts", self.attempts)
        for name in ("initial_delay", "max_delay", "max_retry_after"):
            _check_number(name, getattr(self, name), YEAR, "from 0 seconds to a year")
        _check_number("jitter", self.jitter, 1, "from 0 to 1")


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, since it counts the first attempt")


def _check_number(name: str, value: object, most: float, bounds: str) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be {bounds}")


def backoff(config: RetryConfig, attempt: int, random: Callable[[], float]) -> float:
    """Return the seconds to wait after an attempt.

    Args:
        config: The retry configuration.
        attempt: The number of the attempt that failed, from 1.
        random: Returns a random number from 0 to 1.
    """
    delay = growing(config.initial_delay, attempt - 1, config.max_delay)
    return delay * (1 - config.jitter + 2 * config.jitter * random())


def growing(first: float, step: int, longest: float) -> float:
    """Return a delay that begins with `first` at step 0 and doubles with each step."""
    # The exponent is bounded because a float is not: 2.0 ** 1024 overflows.
    return min(first * 2.0 ** min(step, 64), longest)


# Patterns are compiled when they are used, not when the package is imported.

# Not float() alone, which also accepts "1_0", "inf" and digits of other scripts.
_NUMBER: Final = r"[0-9]+\.?[0-9]*|\.[0-9]+"

_COUNT: Final = r"[0-9]{1,9}"

# Repeated headers are joined with commas, for example if a proxy adds its own. The comma
# within a date is followed by the day and the month.
_COMMA: Final = r",(?!\s*[0-9]{1,2}[ -][A-Za-z])"


def retry_after(
    status: int, headers: Mapping[str, str], wall: float, *, unreadable: float
) -> float | None:
    """Return how many seconds the server asks to wait; `None` if it does not ask.

    Args:
        status: The answer's status.
        headers: The answer's headers, names in lower case.
        wall: Seconds since the epoch, for dates in an answer without a `Date` header.
        unreadable: The seconds to wait if a 429 asks for a wait that cannot be read.
    """
    # Prefer the server's clock, because ours may be wrong.
    now = _date(headers.get("date", ""))
    now = wall if now is None else now
    after = headers.get("retry-after", "")
    seconds = _wait(after, now)
    if seconds is None and status == 429:
        # Only for a 429: otherwise the window's end says nothing about when to retry.
        reset = headers.get("ratelimit-reset", "")
        seconds = _wait(reset, now)
        if seconds is None and (after.strip() or reset.strip()):
            seconds = unreadable
    return seconds


def rate_limit(headers: Mapping[str, str], wall: float) -> tuple[int | None, float | None]:
    """Return how many requests remain in the server's window, and its seconds left.

    Args:
        headers: The answer's headers, names in lower case.
        wall: Seconds since the epoch.
    """
    values = map(str.strip, headers.get("ratelimit-remaining", "").split(","))
    left = min((int(value) for value in values if re.fullmatch(_COUNT, value)), default=None)
    return left, _wait(headers.get("ratelimit-reset", ""), wall)


def _wait(value: str, now: float) -> float | None:
    """Return the wait that a header asks for, or the longest of several."""
    waits = (_single_wait(part.strip(), now) for part in re.split(_COMMA, value))
    return max((wait for wait in waits if wait is not None), default=None)


def _single_wait(value: str, now: float) -> float | None:
    if re.fullmatch(_NUMBER, value):
        # Overflows to inf, which is above any cap.
        return float(value)
    moment = _date(value)
    return None if moment is None else max(0.0, moment - now)


def _date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        # The zone -0000 means UTC, but is parsed as naive.
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


class RetryBudget:
    """Limits the retries of a client, so that they do not multiply the load during an outage.

    A retry takes one from the budget, and a successful call gives one back. When none is
    left, calls are still tried once, and successes refill the budget.
    """

    # No lock, although threads share it: a fork could inherit one that is held, and calls in
    # the child would hang. Operations on a deque are atomic. Threads that race for the last
    # retry may both be refused; the budget is never exceeded.

    def __init__(self, capacity: int | None) -> None:
        self._capacity = capacity
        self._spent: deque[None] = deque()

    def take(self) -> bool:
        """Spend a retry if one is left; return whether it was."""
        if not self._capacity:
            return self._capacity is None
        self._spent.append(None)
        if len(self._spent) > self._capacity:
            self.give_back()
            return False
        return True

    @property
    def left(self) -> int | None:
        """How many retries may still be spent; `None` for no limit."""
        return None if self._capacity is None else max(0, self._capacity - len(self._spent))

    def refilled(self) -> RetryBudget:
        """Return a full budget of the same size."""
        return RetryBudget(self._capacity)

    def give_back(self) -> None:
        """Give a retry back, because a call has succeeded."""
        if self._spent:
            with suppress(IndexError):  # another thread was quicker
                self._spent.pop()
