"""The state of one call, without I/O: attempts, their outcomes, and what to do next.

A sender asks `begin()` for the limits of an attempt, performs the attempt and passes the
outcome to `advance()`. Then it does what `advance()` returned: sleep and begin again, return,
or raise. Clock and randomness are passed in, so that a test can call these methods directly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from math import inf
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import httpx

from kraty_server_api.decoding import is_array, is_object
from kraty_server_api.model import Model, ResponseInfo, attach
from kraty_server_api.operation import Operation

from ..errors import (
    CallInfo,
    KratyError,
    KratyNetworkError,
    KratyResponseError,
    KratyServerError,
)
from ..telemetry import RequestInfo
from ._idempotency import KEY_TRUSTED_FOR
from ._retry import YEAR, RetryBudget, RetryConfig, backoff, retry_after

__all__ = [
    "Done",
    "Exchange",
    "Failure",
    "Limits",
    "Outcome",
    "Raise",
    "Reply",
    "Sleep",
    "Step",
    "is_ambiguous",
]

T = TypeVar("T")


class Reply(NamedTuple):
    """The answer to an attempt."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Failure(NamedTuple):
    """An attempt without a complete answer."""

    cause: Exception
    was_sent: bool | None = None
    """Whether part of the request may have been sent; `None` to decide by `cause`."""
    was_tried: bool = True
    """Whether a connection was attempted. If not, the failure put no load on the server."""


Outcome: TypeAlias = Reply | Failure


class Limits(NamedTuple):
    """How long an attempt may take."""

    timeout: Mapping[str, float | None]
    """Seconds for `connect`, `read`, `write` and `pool`, as httpx names them."""
    ends_at: float
    """The call's deadline, on the clock of `begin`."""
    wall_ends_at: float = inf
    """From when nothing is sent, in seconds since the epoch. The other clock may stop while the
    machine sleeps."""

    def is_over(self, now: float, wall: float) -> bool:
        """Return whether a request must not be sent any more."""
        return now >= self.ends_at or wall >= self.wall_ends_at

    def remaining(self, phase: str, now: float) -> float:
        """Return how many seconds a phase that begins now may take."""
        left = max(self.ends_at - now, _SHORTEST)
        seconds = self.timeout[phase]
        return min(left, YEAR if seconds is None else seconds)


class Sleep(NamedTuple):
    """Wait, then begin another attempt."""

    seconds: float


class Done(Generic[T]):
    """The call has a result."""

    def __init__(self, result: T) -> None:
        self.result = result


class Raise(NamedTuple):
    """The call has failed and is not retried."""

    error: KratyServerError | KratyNetworkError


Step: TypeAlias = Sleep | Done[T] | Raise

# Raised before anything is sent, so the attempt had no effect.
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.InvalidURL,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)

# A phase that begins after the deadline still needs a timeout above zero.
_SHORTEST: Final = 0.001

_LONGEST_LOCATION: Final = 300

_NOT_KRATYS: Final = "internal_error"
"""The code of an answer without Kraty's error envelope."""

_NOT_PASSED_ON: Final = frozenset({401, 425, 429})
"""The statuses with which a proxy refuses to pass a request on. None puts them in the place of
Kraty's answer."""

# How deeply an error's details may be nested. Far deeper ones can be parsed, but an error
# that holds them cannot be pickled or copied.
_DEEPEST: Final = 50


def is_ambiguous(error: KratyError) -> bool:
    """Return whether the call that raised this error may have taken effect.

    A call raises a `KratyError` of another class before it sends anything.
    """
    return isinstance(error, KratyServerError | KratyNetworkError) and error.ambiguous


class Exchange(Generic[T]):
    """State machine of one call: attempts, retries, result."""

    def __init__(
        self,
        operation: Operation[T],
        *,
        url: str,
        body: bytes | None,
        idempotency_key: str | None,
        retry: RetryConfig,
        budget: RetryBudget,
        timeout: Mapping[str, float | None],
        ends_at: float,
        random: Callable[[], float],
    ) -> None:
        self.operation = operation.name
        """The method that was called, such as `wallet.credit`."""
        self.idempotency_key = idempotency_key
        """The key of a write."""
        self.method = operation.method
        self.path = operation.path
        self.headers = operation.headers
        self.url = url
        self.body = body
        self._description = operation
        self._retry = retry
        self._budget = budget
        self._timeout = timeout
        self._ends_at = ends_at
        self._random = random
        self._attempts = 0
        self._first_sent_at: float | None = None
        self._wall_ends_at = inf
        self._ambiguous = False
        self._problem: str | None = None
        self._request_id: str | None = None
        self.error: KratyServerError | KratyNetworkError | None = None
        """The error of the last attempt that failed."""
        self._began_at = 0.0
        self._is_under_way = False
        self.in_doubt = False
        """Whether this attempt's request may have been sent and may still take effect. The
        channel sets it; a failed outcome clears it."""

    @property
    def retries_left(self) -> int | None:
        """How many retries the client's budget has left; `None` if it has no limit."""
        return self._budget.left

    def begin(self, now: float, wall: float) -> Limits:
        """Count an attempt and return its limits.

        Args:
            now: Seconds on a monotonic clock.
            wall: Seconds since the epoch.

        Raises:
            KratyServerError, KratyNetworkError: The error of the previous attempt, because
                this attempt would begin too late. Either the wait outlasted the deadline, for
                example because the process was suspended: a request sent now could take
                effect after the caller has given up. Or the platform may have forgotten the
                idempotency key, for example because the machine slept during a call without
                a deadline: a request sent now could take effect a second time.
        """
        if self._first_sent_at is None:
            self._first_sent_at = wall
            if self.method != "GET":
                self._ends_at = min(self._ends_at, now + KEY_TRUSTED_FOR)
                # Both clocks count: the first may stop while the machine sleeps, and the second
                # may be set back.
                self._wall_ends_at = wall + self._ends_at - now
        limits = Limits(self._timeout, self._ends_at, self._wall_ends_at)
        if self.error is not None and limits.is_over(now, wall):
            raise self.error
        self._attempts += 1
        self._began_at = now
        self._is_under_way = True
        return limits

    def advance(self, outcome: Outcome, *, now: float, wall: float) -> Step[T]:
        """Decide what to do after an attempt.

        Args:
            outcome: How the attempt ended.
            now: Seconds on the clock of `begin`.
            wall: Seconds since the epoch.
        """
        self._is_under_way = False
        if isinstance(outcome, Failure):
            return self._after_failure(outcome, now)
        self._request_id = outcome.headers.get("x-request-id")
        if 200 <= outcome.status <= 299:
            try:
                result = self._result(outcome)
            except (ValueError, RecursionError) as problem:
                # The call has most likely taken effect. A retry with the same key
                # returns its result.
                self._ambiguous = True
                error = self._response_error(outcome, str(problem))
                return self._retry_or_raise(error, now, server_wait=None)
            self._budget.give_back()
            return Done(result)
        return self._after_refusal(outcome, now, wall)

    def describe(self, outcome: Outcome, step: Step[T], now: float) -> RequestInfo:
        """Describe an attempt that ended at `now`, for the telemetry hook."""
        reply = outcome if isinstance(outcome, Reply) else None
        return RequestInfo(
            method=self.method,
            url=self.url,
            attempt=self._attempts,
            idempotency_key=self.idempotency_key,
            duration_ms=(now - self._began_at) * 1000,
            status=reply.status if reply else None,
            ok=isinstance(step, Done),
            operation=self.operation,
            error=None if isinstance(step, Done) else self._problem,
            will_retry=isinstance(step, Sleep),
            retry_in=step.seconds if isinstance(step, Sleep) else None,
            request_id=reply.headers.get("x-request-id") if reply else None,
            first_sent_at=self._when_first_sent(),
        )

    def interrupt(self) -> CallInfo:
        """Return what is known about a call that was interrupted."""
        self._ambiguous |= self.in_doubt
        return self._call()

    def after_other_call(self, other: KratyError) -> KratyNetworkError:
        """Return the error of a call that the error of another call has ended.

        The other error names its own key, and says whether the other call took effect.
        """
        return KratyNetworkError(
            f"another call failed during this one: {type(other).__name__}: {other}",
            original_cause=other,
            call=self._call(),
        )

    def describe_interruption(self, interruption: BaseException, now: float) -> RequestInfo | None:
        """Describe the attempt that was interrupted, for the telemetry hook.

        Returns:
            `None` if no attempt was in progress.
        """
        if not self._is_under_way:
            return None
        return RequestInfo(
            method=self.method,
            url=self.url,
            attempt=self._attempts,
            idempotency_key=self.idempotency_key,
            duration_ms=(now - self._began_at) * 1000,
            status=None,
            ok=False,
            operation=self.operation,
            error=type(interruption).__name__,
            first_sent_at=self._when_first_sent(),
        )

    def describe_retry(self, step: Sleep) -> str:
        """Describe a failed attempt and the wait before the next one, for the log."""
        return (
            f"{self.operation}: attempt {self._attempts} of {self._retry.attempts} failed: "
            f"{self._problem}; retrying in {step.seconds:.2f} s"
        )

    def _when_first_sent(self) -> datetime | None:
        wall = self._first_sent_at
        return None if wall is None else datetime.fromtimestamp(wall, timezone.utc)

    def _after_failure(self, failure: Failure, now: float) -> Step[T]:
        cause = failure.cause
        was_sent = failure.was_sent
        if was_sent is None:
            was_sent = not isinstance(cause, _NOT_SENT)
        self._ambiguous |= was_sent
        self.in_doubt = False
        detached = _detached(cause)
        error = KratyNetworkError(
            f"no answer from {self._host()}: {type(cause).__name__}: {cause}".rstrip(": "),
            original_cause=detached,
            call=self._call(),
        )
        error.__cause__ = detached
        return self._retry_or_raise(error, now, server_wait=None, is_free=not failure.was_tried)

    def _after_refusal(self, reply: Reply, now: float, wall: float) -> Step[T]:
        self.in_doubt = False
        # Not `max_delay` alone: a wait above `max_retry_after` would rule out a retry.
        unreadable = min(self._retry.max_delay, self._retry.max_retry_after)
        server_wait = retry_after(reply.status, reply.headers, wall, unreadable=unreadable)
        payload = _parse(reply.body)
        code = _code(payload)
        self._ambiguous |= not _is_definite(reply.status, code)
        envelope: Mapping[str, Any] = payload["error"] if code is not None else {}
        details = envelope.get("details")
        error = KratyServerError(
            _message_without_envelope(reply)
            if code is None
            else _envelope_message(envelope, reply),
            code=code or _NOT_KRATYS,
            status=reply.status,
            details=details if _is_shallow(details, _DEEPEST) else None,
            headers=reply.headers,
            raw_body=reply.body,
            retry_after=server_wait,
            call=self._call(),
        )
        if not error.retryable:
            self._problem = error.code
            self.error = error
            return Raise(error)
        return self._retry_or_raise(error, now, server_wait=server_wait)

    def _retry_or_raise(
        self,
        error: KratyServerError | KratyNetworkError,
        now: float,
        *,
        server_wait: float | None,
        is_free: bool = False,
    ) -> Step[T]:
        """Retry the call, or raise the error.

        Args:
            error: The error to raise if the call is not retried.
            now: Seconds on the clock of `begin`.
            server_wait: How many seconds the server asked to wait.
            is_free: The attempt put no load on the server, so the budget is not charged.
        """
        self._problem = error.code if isinstance(error, KratyServerError) else error.cause_name
        self.error = error
        if self._attempts >= self._retry.attempts:
            return Raise(error)
        if server_wait is not None and server_wait > self._retry.max_retry_after:
            return Raise(error)
        wait = max(backoff(self._retry, self._attempts, self._random), server_wait or 0.0)
        if now + wait >= self._ends_at or not (is_free or self._budget.take()):
            return Raise(error)
        return Sleep(wait)

    def _result(self, reply: Reply) -> T:
        operation = self._description
        is_empty = operation.may_be_empty and not reply.body.strip()
        payload: object = {} if is_empty else json.loads(reply.body)
        if operation.enveloped and not is_empty:
            payload = payload.get("data") if is_object(payload) else None
        if operation.is_object and not is_object(payload):
            raise ValueError("it is not an object")
        result = operation.result(payload)
        if isinstance(result, Model) and is_object(payload):
            replayed = operation.replayed(reply.status, payload)
            if replayed and self._ambiguous:
                # The call that was replayed may have been our own earlier attempt.
                replayed = None
            attach(result, self._info(reply), replayed)
        return result

    def _info(self, reply: Reply) -> ResponseInfo:
        return ResponseInfo(
            status=reply.status,
            headers=reply.headers,
            request_id=reply.headers.get("x-request-id"),
            attempts=self._attempts,
            idempotency_key=self.idempotency_key,
        )

    def _host(self) -> str:
        # Not the whole URL, because its path contains ids.
        return httpx.URL(self.url).netloc.decode("ascii")

    def _call(self) -> CallInfo:
        return CallInfo(
            operation=self.operation,
            method=self.method,
            url=self.url,
            idempotency_key=self.idempotency_key,
            attempts=self._attempts,
            # A read has no effect.
            ambiguous=self._ambiguous and self.method != "GET",
            request_id=self._request_id,
            first_sent_at=self._when_first_sent(),
        )

    def _response_error(self, reply: Reply, problem: str) -> KratyResponseError:
        return KratyResponseError(
            f"the server answered {reply.status} with a body that is not a result: {problem}",
            code="invalid_response",
            status=reply.status,
            headers=reply.headers,
            raw_body=reply.body,
            call=self._call(),
        )


def _parse(body: bytes) -> Any:
    """Parse an error's body as JSON; return `None` if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _code(payload: object) -> str | None:
    """Return the code of an error envelope, or `None` if this is not one."""
    error = payload.get("error") if is_object(payload) else None
    code = error.get("code") if is_object(error) else None
    return code if isinstance(code, str) and code else None


def _is_definite(status: int, code: str | None) -> bool:
    """Return whether a refusal shows that its attempt had no effect.

    One that is not Kraty's does not: something in between, such as a proxy that scans answers, may
    have put it in the place of Kraty's answer.
    """
    if status == 408 or status >= 500:
        return False
    return code not in (None, _NOT_KRATYS) or status in _NOT_PASSED_ON


def _envelope_message(envelope: Mapping[str, Any], reply: Reply) -> str:
    """Return the message of an error envelope."""
    message = envelope.get("message")
    if isinstance(message, str) and message:
        return message
    return f"the server answered {reply.status} without saying why"


def _message_without_envelope(reply: Reply) -> str:
    """Return a message for an error without an envelope."""
    # Without the query, which may contain a proxy's tokens.
    location = reply.headers.get("location", "").partition("?")[0][:_LONGEST_LOCATION]
    where = f" that points to {location}" if location and 300 <= reply.status <= 399 else ""
    return (
        f"a {reply.status}{where} without an error envelope: Kraty did not send it, but a proxy"
        " or another server did. Check base_url and any proxy in between"
    )


def _is_shallow(value: object, levels: int) -> bool:
    """Return whether the value's objects and arrays are nested at most `levels` deep."""
    if is_object(value):
        value = list(value.values())
    if not is_array(value):
        return True
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in value)


def _detached(cause: Exception) -> Exception:
    """Return a copy of the exception without request or traceback.

    An httpx exception holds its request, and its traceback holds frames that do. Both
    contain the key, and either may fail to pickle.
    """
    if isinstance(cause, OSError):
        kind = _nearest(cause, "builtins")
        if kind is type(cause) and isinstance(cause.errno, int):
            return kind(cause.errno, str(cause.strerror))
        # Without the errno, because those of ssl and socket mean something else.
        return kind(str(cause))
    if isinstance(cause, httpx.RequestError):
        return _nearest(cause, "httpx")(str(cause))
    return httpx.HTTPError(f"{type(cause).__name__}: {cause}")


def _nearest(cause: Exception, module: str) -> type[Exception]:
    """Return the most derived class of an exception that this module defines."""
    # A subclass's `__init__` may take other arguments.
    return next(kind for kind in type(cause).__mro__ if kind.__module__ == module)
