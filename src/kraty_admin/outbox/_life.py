"""The states of an intent, without I/O: what follows from an answer, and when to send again.

    pending ── claimed ──> sending ──┬─> done       it took effect
       ^                             ├─> refused    the platform rejected it
       └──── no definite answer ─────┤
                                     └─> unknown    no definite answer, and the key is too old

A person may `resolve` an unknown intent: it becomes done, abandoned, or pending again. A person
may `retry` a refused one: it becomes pending again. An unknown intent also becomes done if a worker
that was suspended while it sent the intent still receives a success.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from kraty_server_api.intent import IntentState
from kraty_server_api.lifetimes import KEY_LIFETIMES

from .._call._exchange import is_ambiguous
from .._call._idempotency import trusted_for
from .._call._retry import RetryConfig, backoff, growing
from ..errors import KratyError, KratyNetworkError, KratyServerError

__all__ = [
    "Claim",
    "Health",
    "Settlement",
    "asked_to_wait",
    "denies_key",
    "limits_of_repeats",
    "settle",
]

_REPEATS: Final = RetryConfig(initial_delay=1.0, max_delay=300.0, jitter=0.2)
"""The waits between the calls of one intent. The number of calls has no limit."""

# Limits what a server asks for, because a proxy may ask for any number of seconds.
_LONGEST_ASKED: Final = 3600.0

_SILENT_AT_MOST: Final = 3
"""After this many calls in a row without a definite answer, no new intent is begun."""

_FIRST_PING_DELAY: Final = 1.0
_LONGEST_PING_DELAY: Final = 60.0
_FIRST_PROBE: Final = 300.0
_LONGEST_PROBE: Final = 3600.0

_ERASES: Final = "players.delete"


class Claim(NamedTuple):
    """An intent that a worker is about to send."""

    id: int
    operation: str
    idempotency_key: str
    path: str
    body: str
    attempts: int
    """How often it was claimed, including this time."""
    claimed_ms: int
    first_sent_ms: int
    """When the first call that may have taken effect began. This one, if it is `claimed_ms`."""

    @property
    def was_in_doubt(self) -> bool:
        """Whether an earlier call may have taken effect."""
        return self.first_sent_ms != self.claimed_ms


class Settlement(NamedTuple):
    """What happens to an intent after it was sent."""

    state: IntentState
    first_sent_ms: int | None
    wait_ms: int | None = None
    """How long to wait before sending it again; `None` if it is not sent again."""
    result: str | None = None
    error: str | None = None
    erases_players: bool = False
    """Whether to remove the content of all finished intents of its players, too."""


def settle(
    claim: Claim,
    outcome: Mapping[str, Any] | KratyError,
    *,
    key_works: bool,
    random: Callable[[], float],
) -> Settlement:
    """Decide what happens to an intent after it was sent.

    Args:
        claim: The intent, as it was claimed.
        outcome: The result, or the error that the call raised.
        key_works: Whether the client's API key is known to be accepted, so that a 403 is
            about this call.
        random: Returns a number from 0 to 1, to spread the repeats.
    """
    if not isinstance(outcome, KratyError):
        return Settlement(
            "done",
            claim.first_sent_ms,
            # As ASCII: a database may reject a lone surrogate, such as half of an emoji.
            result=json.dumps(outcome, separators=(",", ":")),
            erases_players=claim.operation == _ERASES,
        )
    in_doubt = claim.was_in_doubt or is_ambiguous(outcome)
    error = json.dumps(_facts(outcome, in_doubt), default=str)
    # If no call can have taken effect, the time of the key has not started.
    first_sent = claim.first_sent_ms if in_doubt else None
    if is_refusal(outcome) and (key_works or not denies_key(outcome)):
        return Settlement("refused", first_sent, error=error)
    wait = max(backoff(_REPEATS, claim.attempts, random), asked_to_wait(outcome))
    return Settlement("pending", first_sent, wait_ms=round(wait * 1000), error=error)


def asked_to_wait(error: KratyError) -> float:
    """Return how many seconds the server asks to wait, at most an hour; 0 if it does not ask."""
    asked = error.retry_after if isinstance(error, KratyServerError) else None
    return min(asked or 0.0, _LONGEST_ASKED)


def is_refusal(error: KratyError) -> bool:
    """Return whether Kraty itself rejected the call, with an error that is not worth retrying.

    A 4xx without Kraty's envelope has the code `internal_error`. It comes from something in
    between, such as a firewall, and says nothing about the call. A 401 is about the API key.
    """
    return (
        isinstance(error, KratyServerError)
        and 400 <= error.status <= 499
        and error.status != 401
        and not error.retryable
        and not error.is_code("internal_error")
    )


def denies_key(error: KratyError) -> bool:
    """Return whether the server may have rejected the client's API key rather than the call."""
    return isinstance(error, KratyServerError) and (
        error.status == 401 or (error.status == 403 and error.is_forbidden)
    )


def _facts(error: KratyError, in_doubt: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {"message": error.message, "ambiguous": in_doubt}
    if isinstance(error, KratyServerError):
        facts |= {"code": error.code, "status": error.status, "details": error.details}
    if isinstance(error, KratyServerError | KratyNetworkError):
        facts["request_id"] = error.request_id
    return facts


@cache  # each claim asks for it
def limits_of_repeats() -> Mapping[int | None, Sequence[str]]:
    """Group the operations by how long after the first send they are repeated.

    The group's key is in milliseconds; `None` means without limit. An operation that this
    version does not know is in no group, so it is never repeated.
    """
    groups: dict[int | None, list[str]] = {}
    for name, lifetime in KEY_LIFETIMES.items():
        trusted = trusted_for(lifetime)
        ms = None if trusted is None else round(trusted.total_seconds() * 1000)
        groups.setdefault(ms, []).append(name)
    return groups


class Health:
    """Whether a worker may begin new intents, judged by how its last calls ended.

    During an outage, each intent that is sent may end in doubt. So after a call without a
    definite answer, the worker pings the platform before it claims anything. After three such
    calls in a row, it claims only intents that are in doubt already, until one of them gets an
    answer: the platform may answer pings and still fail at everything else. After five minutes,
    and then at longer intervals, it tries a new intent, because the platform may fail only at
    those few intents.

    Times are seconds on a monotonic clock.
    """

    def __init__(self) -> None:
        self._silent = 0
        self._pings = 0
        self._probes = 0
        self._probe_at = 0.0
        self.must_ping = False
        """Whether to ping before the next claim."""

    def only_in_doubt(self, now: float) -> bool:
        """Return whether to claim only intents that are in doubt already."""
        return self._silent >= _SILENT_AT_MOST and now < self._probe_at

    def _postpone(self, now: float) -> None:
        self._probe_at = now + growing(_FIRST_PROBE, self._probes, _LONGEST_PROBE)
        self._probes += 1

    def began(self, claim: Claim, now: float) -> None:
        """Record that an intent is about to be sent."""
        if self._silent >= _SILENT_AT_MOST and not claim.was_in_doubt:
            self._postpone(now)

    def ended(self, outcome: Mapping[str, Any] | KratyError, now: float) -> None:
        """Record how a call ended."""
        if not isinstance(outcome, KratyError):
            self._silent = self._probes = 0
        elif is_ambiguous(outcome):
            self.must_ping = True
            self._silent += 1
            if self._silent == _SILENT_AT_MOST:
                self._postpone(now)
        elif isinstance(outcome, KratyNetworkError):
            self.must_ping = True
        elif isinstance(outcome, KratyServerError):
            self._silent = self._probes = 0

    def answered_ping(self) -> None:
        """Record that the platform answers again."""
        self.must_ping = False
        self._pings = 0

    def nothing_in_doubt(self) -> None:
        """Record that no intent is in doubt any more, and allow one new intent as a test."""
        self._silent = min(self._silent, _SILENT_AT_MOST - 1)

    def ping_delay(self) -> float:
        """Return how many seconds to wait after a ping that failed."""
        self._pings += 1
        return growing(_FIRST_PING_DELAY, self._pings - 1, _LONGEST_PING_DELAY)
