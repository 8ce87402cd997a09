"""The errors that the SDK raises.

    KratyError
    ├── KratyServerError            the server answered, but not with a result
    │   └── KratyResponseError      it answered 2xx with a body that is not a result
    ├── KratyNetworkError           no complete answer arrived
    ├── KratyKeyExpiredError        the platform may have forgotten the key; nothing was sent
    ├── KratyClosedError            the client was used after close()
    └── WebhookVerificationError    a webhook failed verification, or is not an event

`kraty_admin.outbox` and `kraty_admin.bulk` add `OutboxError`, its subclasses, and
`ImportStoppedError`, which are `KratyError`s too.

Bad arguments raise `TypeError` or `ValueError` before anything is sent.

Errors are plain values: they pickle and copy with all their fields. They hold no
connection, request or response, so sending one to another process does not send the API
key with it.

Other exceptions pass through a call unchanged: a cancellation, an exception of your own from a
signal handler, or a bug in your own hook. Each then has the attribute `kraty_call`, a `CallInfo`,
and on Python 3.11 and later a note that says the same in words.

Some tools keep only an error's class and its `args`, as JSON: Celery's result backends do.
So `args` holds the message and a dict of facts, and each class can be called with them:
`type(error)(*error.args)` has the same code, status, idempotency key and `ambiguous`. If the
facts are missing, `ambiguous` is true.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeVar

from kraty_server_api.errors import ErrorCodeProperties

__all__ = [
    "CallInfo",
    "KratyClosedError",
    "KratyError",
    "KratyKeyExpiredError",
    "KratyNetworkError",
    "KratyResponseError",
    "KratyServerError",
    "WebhookVerificationError",
    "WebhookVerificationReason",
]

_E = TypeVar("_E", bound="KratyError")

RAW_BODY_LIMIT: Final = 8192
"""How many bytes of a body an error keeps: enough for the start of an HTML error page."""


DETAILS_LIMIT: Final = 300
"""How many characters of the server's details an error's text shows; `details` holds all."""


class KratyError(Exception):
    """Base class of the SDK's errors."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        """What went wrong, without any secret."""

    @property
    def retryable(self) -> bool:
        """Whether repeating the call later may help.

        It does not say whether a repeat is harmless: repeat a write only under its
        `idempotency_key`, and only while the platform keeps that key.
        """
        return False

    @property
    def first_sent_at(self) -> datetime | None:
        """When the first attempt of the call began, in UTC; `None` if none was made.

        Store it with the key: the platform keeps most keys for 24 hours from then.
        """
        return None

    def __str__(self) -> str:
        return self.message

    def _set_facts(self, **facts: object) -> None:
        """Add the facts to `args` as JSON values, so that a copy can be made from `args`."""
        Exception.__init__(self, self.message, facts)

    def __reduce__(self) -> tuple[Callable[..., KratyError], tuple[object, ...]]:
        # The default calls the class with `self.args`, which cannot hold
        # keyword-only fields.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[_E], args: tuple[object, ...], fields: dict[str, object]) -> _E:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class KratyClosedError(KratyError):
    """The client was used after it had been closed."""


class KratyKeyExpiredError(KratyError):
    """The platform may have forgotten the idempotency key, so nothing was sent.

    A repeat could take effect a second time. Check the player's balance or your webhooks to
    find out whether the first call took effect, then correct any difference under another key.
    """

    def __init__(
        self,
        message: str,
        facts: Mapping[str, Any] | None = None,
        *,
        operation: str = "",
        idempotency_key: str = "",
        first_tried_at: datetime | None = None,
    ) -> None:
        super().__init__(message)
        facts = facts or {}
        self.operation: str = operation or facts.get("operation", "")
        """The method that would have been called, such as `wallet.credit`."""
        self.idempotency_key: str = idempotency_key or facts.get("idempotency_key", "")
        """The key that may have expired."""
        self.first_tried_at: datetime | None = first_tried_at or moment(facts.get("first_tried_at"))
        """When the call was first tried, as the caller recorded it."""
        self._set_facts(
            operation=self.operation,
            idempotency_key=self.idempotency_key,
            first_tried_at=self.first_tried_at and self.first_tried_at.isoformat(),
        )


class CallInfo(NamedTuple):
    """Which call failed, and how far it got."""

    operation: str = ""
    """The method that was called, such as `wallet.credit`."""
    method: str = ""
    """The HTTP method."""
    url: str = ""
    """The URL, which never holds a secret."""
    idempotency_key: str | None = None
    """The key that every attempt carried; `None` if the call has none, such as a read."""
    attempts: int = 1
    """How many attempts were made."""
    ambiguous: bool = True
    """Whether the call may have taken effect although it failed; true if that is unknown."""
    request_id: str | None = None
    """The server's id of its last answer, if it sent one."""
    first_sent_at: datetime | None = None
    """When the first attempt began, in UTC; `None` if none was made."""


def describe(call: CallInfo) -> str:
    """Describe a call in words."""
    facts = [call.operation or f"{call.method} {call.url}".strip()]
    if call.attempts > 1:
        facts.append(f"{call.attempts} attempts")
    if call.ambiguous:
        facts.append("may have taken effect")
    if call.idempotency_key is not None:
        facts.append(f"idempotency key {call.idempotency_key!r}")
    if call.request_id is not None:
        facts.append(f"request id {call.request_id!r}")
    return ", ".join(filter(None, facts))


def _facts_of(call: CallInfo) -> dict[str, Any]:
    """Return a call's fields as JSON values."""
    facts = call._asdict()
    facts["first_sent_at"] = call.first_sent_at and call.first_sent_at.isoformat()
    return facts


def _call_of(facts: Mapping[str, Any]) -> CallInfo:
    """Rebuild the call from the result of `_facts_of`."""
    known = {name: facts[name] for name in CallInfo._fields if name in facts}
    known["first_sent_at"] = moment(known.get("first_sent_at"))
    return CallInfo(**known)


def moment(text: object) -> datetime | None:
    """Parse a fact as a time; return `None` for anything else."""
    # Building an error never fails, so damaged facts are left out.
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


class _CallError(KratyError):
    """Base class of `KratyServerError` and `KratyNetworkError`."""

    def __init__(
        self, message: str, facts: Mapping[str, Any] | None, call: CallInfo | None
    ) -> None:
        super().__init__(message)
        self.call: CallInfo = call or _call_of(facts or {})
        """Which call failed, and how far it got; the properties below read it."""

    def _set_facts(self, **facts: object) -> None:
        super()._set_facts(**_facts_of(self.call), **facts)

    @property
    def idempotency_key(self) -> str | None:
        """The key that every attempt carried; `None` if the call has none, such as a read.

        Repeat a failed call with this key, so that the platform can recognise it. It keeps
        most keys for 24 hours after `first_sent_at`; the method's documentation says how
        long. A later repeat can take effect a second time.
        """
        return self.call.idempotency_key

    @property
    def attempts(self) -> int:
        """How many attempts were made."""
        return self.call.attempts

    @property
    def ambiguous(self) -> bool:
        """Whether the call may have taken effect although it failed.

        True when any attempt ended without a definite answer: the connection broke after sending
        had begun, a 408 or 5xx came back, a 2xx could not be read, or a 3xx or 4xx other than 401,
        425 and 429 was not Kraty's: a proxy may have put it in the place of Kraty's answer. For a
        read, it is always false.

        Repeat such a call with `idempotency_key` until a repeat succeeds, or until the platform
        may have forgotten the key (see `first_sent_at`). A repeat that is rejected, by a 429 for
        example, had no effect. It does not tell you whether the first call took effect.
        """
        return self.call.ambiguous

    @property
    def request_id(self) -> str | None:
        """The server's id of its last answer, if it sent one."""
        return self.call.request_id

    @property
    def first_sent_at(self) -> datetime | None:
        """When the first attempt of the call began, in UTC; `None` if none was made.

        Store it with `idempotency_key`: the platform keeps most keys for 24 hours from then.
        """
        return self.call.first_sent_at

    def __str__(self) -> str:
        known = describe(self.call)
        return f"{self.message} ({known})" if known else self.message


class KratyNetworkError(_CallError):
    """No complete answer arrived: connecting, sending or receiving failed, or time ran out.

    It also ends a call during which your own code, such as a signal handler, made another call
    that failed.

    Args:
        message: What went wrong.
        facts: The facts from another error's `args`, to copy that error.
        original_cause: The underlying exception.
        call: Which call failed, and how far it got.
    """

    _copied_cause_name: str = ""  # a pickle of 0.1.0 does not have it

    def __init__(
        self,
        message: str,
        facts: Mapping[str, Any] | None = None,
        *,
        original_cause: BaseException | None = None,
        call: CallInfo | None = None,
    ) -> None:
        super().__init__(message, facts, call)
        self.original_cause = original_cause
        """The underlying exception, such as `httpx.ConnectTimeout`, without its
        request and traceback. `None` in a copy made from `args`."""
        self._copied_cause_name = (facts or {}).get("cause_name", "")
        self._set_facts(cause_name=self.cause_name)

    @property
    def retryable(self) -> bool:
        """True: a repeat may get an answer."""
        return True

    @property
    def cause_name(self) -> str:
        """The name of the underlying exception, for logs and metrics; empty if unknown."""
        cause = self.original_cause
        return self._copied_cause_name if cause is None else type(cause).__name__


class KratyServerError(ErrorCodeProperties, _CallError):
    """The server answered with something other than a result.

    Every answer that is not 2xx raises this, documented or not. Test for a known
    code with its property (`err.is_not_found`), for any other with `err.is_code`.

    Args:
        message: The server's message.
        facts: The facts from another error's `args`, to copy that error.
        code: The error's code. Default: that of `facts`, or else `unknown`.
        status: The HTTP status. Default: that of `facts`, or else 0.
        details: The details of the server's error, as parsed JSON.
        headers: The answer's headers, with names in lower case.
        raw_body: The raw body, of which the error keeps the start.
        retry_after: Seconds that the server asked to wait.
        call: Which call failed, and how far it got.
    """

    def __init__(
        self,
        message: str,
        facts: Mapping[str, Any] | None = None,
        *,
        code: str | None = None,
        status: int | None = None,
        details: Any = None,
        headers: Mapping[str, str] | None = None,
        raw_body: bytes = b"",
        retry_after: float | None = None,
        call: CallInfo | None = None,
    ) -> None:
        super().__init__(message, facts, call)
        facts = facts or {}
        self.code: str = facts.get("code", "unknown") if code is None else code
        """The error's code, such as `not_found`. Codes that this version does
        not know are passed through unchanged."""
        self.status: int = facts.get("status", 0) if status is None else status
        """The HTTP status."""
        self.details = details
        """The details of the server's error, as parsed JSON. `None` if there are none, or if
        they are nested too deeply to be pickled."""
        self.headers: dict[str, str] = dict(headers or {})
        """The answer's headers, with names in lower case."""
        self.raw_body: bytes = raw_body[:RAW_BODY_LIMIT]
        """The start of the raw body."""
        self.retry_after: float | None = (
            facts.get("retry_after") if retry_after is None else retry_after
        )
        """How many seconds the server asked to wait; `None` if it did not ask.

        After a 429 whose `Retry-After` cannot be read, the wait that the SDK chose."""
        self._set_facts(code=self.code, status=self.status, retry_after=self.retry_after)

    @property
    def retryable(self) -> bool:
        """True for 408, 425, 429 and 5xx, but never for an idempotency conflict.

        The SDK's own retries follow the same rule.
        """
        if self.is_idempotency_conflict:
            return False
        return self.status in (408, 425, 429) or 500 <= self.status <= 599

    def __str__(self) -> str:
        text = f"{self.status} {self.code}: {super().__str__()}"
        if self.details is not None:
            # The details of a conflict say what is missing, and how much.
            text = f"{text}: {_excerpt(self.details)}"
        # Logs cannot encode a lone surrogate, such as half of an emoji.
        return text.encode(errors="backslashreplace").decode()


def _excerpt(details: object) -> str:
    """Return the start of an error's details, or their type if they are not JSON."""
    try:
        text = json.dumps(details, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return f"<{type(details).__name__}>"
    return text if len(text) <= DETAILS_LIMIT else f"{text[:DETAILS_LIMIT]}…"


class KratyResponseError(KratyServerError):
    """The server answered 2xx, but its body is not a valid result.

    A write has most likely taken effect, so `ambiguous` is always true for a write. Repeat the
    call with `idempotency_key` to learn the result, as long as the platform keeps that key.
    `code` is `invalid_response`.
    """

    @property
    def retryable(self) -> bool:
        """True: a repeat may get an answer that can be read."""
        return True


WebhookVerificationReason = Literal[
    "missing_header", "malformed_header", "no_match", "too_old", "too_new", "invalid_payload"
]
"""Why a webhook was rejected."""


class WebhookVerificationError(KratyError):
    """A webhook failed verification, or is not an event."""

    def __init__(
        self,
        message: str,
        facts: Mapping[str, Any] | None = None,
        *,
        reason: WebhookVerificationReason | None = None,
    ) -> None:
        super().__init__(message)
        self.reason: WebhookVerificationReason = (
            (facts or {}).get("reason", "invalid_payload") if reason is None else reason
        )
        """Why it was rejected, for logs and metrics. Answer the sender with a plain 401."""
        self._set_facts(reason=self.reason)
