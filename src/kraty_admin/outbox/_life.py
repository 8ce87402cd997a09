"""The life of an intent, without I/O: what an answer makes of it, and when to send it again.

    pending ── claimed ──> sending ──┬─> done       it took effect
       ^                             ├─> refused    the platform rejected it: no effect
       └──── no definite answer ─────┤
                                     └─> unknown    no definite answer, and the key is too old

A person may `resolve` what is unknown: it becomes done, abandoned, or pending again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from kraty_server_api.intent import IntentState
from kraty_server_api.lifetimes import KEY_LIFETIMES

from .._call._idempotency import trusted_for
from ..errors import KratyError, KratyNetworkError, KratyServerError
from ._errors import OutboxError

__all__ = ["Claim", "Health", "Settlement", "denies_key", "limits_of_repeats", "settle"]

_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 300.0
_JITTER: Final = 0.2

_SILENT_AT_MOST: Final = 3
"""How many calls in a row may end without a definite answer before no new one is begun."""

_ERASES: Final = "players.delete"


class Claim(NamedTuple):
    """An intent that a worker is about to send."""

    id: int
    operation: str
    idempotency_key: str
    path: str
    body: str
    attempts: int
    """How often it was claimed, this time included."""
    claimed_ms: int
    first_sent_ms: int
    """When it was first sent: this time, if it equals `claimed_ms`."""


class Settlement(NamedTuple):
    """What becomes of an intent after it was sent."""

    state: IntentState
    first_sent_ms: int | None
    wait_ms: int | None = None
    """How long to wait before sending it again; `None` if it is not sent again."""
    result: str | None = None
    error: str | None = None
    erases_players: bool = False
    """Whether what the tables hold about its players has to go too."""


def settle(
    claim: Claim,
    outcome: Mapping[str, Any] | KratyError,
    *,
    key_works: bool,
    random: Callable[[], float],
) -> Settlement:
    """Decide what becomes of an intent.

    Args:
        claim: The intent, as it was claimed.
        outcome: The result, or the error that the call raised.
        key_works: Whether the client's key is known to be good, so that a 403 is about
            this call.
        random: Returns a number from 0 to 1, to spread the repeats.
    """
    if not isinstance(outcome, KratyError):
        return Settlement(
            "done",
            claim.first_sent_ms,
            result=json.dumps(outcome, ensure_ascii=False, separators=(",", ":")),
            erases_players=claim.operation == _ERASES,
        )
    was_in_doubt = claim.first_sent_ms != claim.claimed_ms
    error = json.dumps(_facts(outcome, was_in_doubt), ensure_ascii=False, default=str)
    if is_refusal(outcome) and (key_works or not denies_key(outcome)):
        return Settlement("refused", claim.first_sent_ms, error=error)
    first_sent: int | None = claim.first_sent_ms
    if not is_ambiguous(outcome) and not was_in_doubt:
        # The call is known to have had no effect, so the key's time has not begun.
        first_sent = None
    delay = min(_FIRST_DELAY * 2.0 ** min(claim.attempts - 1, 20), _LONGEST_DELAY)
    delay *= 1 + _JITTER * (2 * random() - 1)
    asked = outcome.retry_after if isinstance(outcome, KratyServerError) else None
    wait = max(delay, asked or 0.0)
    return Settlement("pending", first_sent, wait_ms=round(wait * 1000), error=error)


def is_ambiguous(error: KratyError) -> bool:
    """Return whether the call may have taken effect."""
    if isinstance(error, KratyServerError | KratyNetworkError):
        return error.ambiguous
    # Nothing was sent where the outbox itself could not send it.
    return not isinstance(error, OutboxError)


def is_refusal(error: KratyError) -> bool:
    """Return whether Kraty itself rejected the call for good.

    A 4xx without Kraty's envelope has the code `internal_error`. It comes from something in
    between, such as a firewall, and says nothing about the call.
    """
    return (
        isinstance(error, KratyServerError)
        and 400 <= error.status <= 499
        and not error.retryable
        and not error.is_code("internal_error")
    )


def denies_key(error: KratyError) -> bool:
    """Return whether the server may have rejected the client's key rather than the call."""
    return isinstance(error, KratyServerError) and (
        error.status == 401 or (error.status == 403 and error.is_forbidden)
    )


def _facts(error: KratyError, was_in_doubt: bool) -> dict[str, Any]:
    ambiguous = was_in_doubt or is_ambiguous(error)
    facts: dict[str, Any] = {"message": error.message, "ambiguous": ambiguous}
    if isinstance(error, KratyServerError):
        facts |= {"code": error.code, "status": error.status, "details": error.details}
    if isinstance(error, KratyServerError | KratyNetworkError):
        facts["request_id"] = error.request_id
    return facts


def limits_of_repeats() -> dict[int | None, list[str]]:
    """Return the operations by how many milliseconds after the first send they are repeated.

    `None` is for those that are repeated without limit. An operation that this version does
    not know is in no group, so it is never repeated.
    """
    groups: dict[int | None, list[str]] = {}
    for name, lifetime in KEY_LIFETIMES.items():
        trusted = trusted_for(lifetime)
        ms = None if trusted is None else round(trusted.total_seconds() * 1000)
        groups.setdefault(ms, []).append(name)
    return groups


class Health:
    """Whether a worker may begin new intents, judged by how its last calls ended.

    In an outage, each intent that is begun may end in doubt. So after a call without a
    definite answer, the worker pings the platform before it claims anything. After
    three such calls in a row, it claims only intents that are in doubt anyway, until one of
    them gets an answer: the platform may answer pings and still fail at everything else.
    """

    def __init__(self) -> None:
        self._silent = 0
        self._pings = 0
        self.must_ping = False
        """Whether to ping before the next claim."""

    @property
    def only_in_doubt(self) -> bool:
        """Whether to claim only intents that have been sent before."""
        return self._silent >= _SILENT_AT_MOST

    def ended(self, outcome: Mapping[str, Any] | KratyError) -> None:
        """Take note of how a call ended."""
        if isinstance(outcome, OutboxError):
            return
        if isinstance(outcome, KratyServerError) and not outcome.ambiguous:
            self._silent = 0
        elif isinstance(outcome, KratyError):
            self._silent += is_ambiguous(outcome)
            self.must_ping = True
        else:
            self._silent = 0

    def answered_ping(self) -> None:
        """Take note that the platform answers again."""
        self.must_ping = False
        self._pings = 0

    def nothing_in_doubt(self) -> None:
        """Take note that no intent is in doubt any more: allow one new one, to find out."""
        self._silent = min(self._silent, _SILENT_AT_MOST - 1)

    def ping_delay(self) -> float:
        """Return how many seconds to wait after a ping that failed."""
        self._pings += 1
        return min(2.0 ** (self._pings - 1), 60.0)
