# Copied by `make regen` from codegen/runtime/intent.py.
# Do not edit: change that file instead.
"""A call that an outbox has recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from .operation import Operation

__all__ = ["AsyncRecord", "Intent", "IntentState", "Record"]

T = TypeVar("T")

IntentState: TypeAlias = Literal["pending", "sending", "done", "refused", "unknown", "abandoned"]
"""The state of an intent.

`pending`: it waits to be sent, for the first time or again. `sending`: a worker is sending
it. `done`: it took effect, or a person found that it did. `refused`: the platform rejected it;
if `error["ambiguous"]` is true, an earlier attempt may still have taken effect. `unknown`: it
may have taken effect, and the platform may have forgotten the key, so a person has to decide.
`abandoned`: a person decided not to send it again.
"""


class Intent(Generic[T]):
    """A call that an outbox has recorded, as it was when it was read."""

    def __init__(
        self,
        *,
        id: int,  # noqa: A002 -- the attribute's name
        operation: str,
        idempotency_key: str,
        players: tuple[str, ...],
        path: str | None,
        body: Mapping[str, Any] | None,
        state: IntentState,
        attempts: int,
        created_at: datetime,
        due_at: datetime,
        first_sent_at: datetime | None,
        stopped_at: datetime | None,
        error: Mapping[str, Any] | None,
        notes: tuple[Mapping[str, Any], ...],
        result: T | None,
        is_new: bool = False,
    ) -> None:
        self.id = id
        """Its number in the table. A player's intents are sent in order of this number."""
        self.operation = operation
        """The method, such as `wallet.credit`."""
        self.idempotency_key = idempotency_key
        """The key under which every attempt is sent."""
        self.players = players
        """The ids of all players that it names; empty after its content was purged."""
        self.path = path
        """The path of the call below `/server/v1`; `None` after its content was purged."""
        self.body = body
        """The JSON body of the call, with the API's names; `None` after its content was purged."""
        self.state: IntentState = state
        """The state of the intent."""
        self.attempts = attempts
        """How often a worker has claimed it in order to send it."""
        self.created_at = created_at
        """When it was recorded, in UTC."""
        self.due_at = due_at
        """When it is due, in UTC. While it is being sent, the end of the worker's lease."""
        self.first_sent_at = first_sent_at
        """When the first call that may have taken effect began, in UTC; `None` if none may."""
        self.stopped_at = stopped_at
        """When it stopped, so that no worker sends it, in UTC; `None` while it is open."""
        self.error = error
        """The last failure: `message`, `ambiguous`, and the facts of the error."""
        self.notes = notes
        """The decisions of people about it: `at`, `action`, `by` and `why`."""
        self.result = result
        """The result, once it is `done`; `None` before that, after its content was purged, or
        if a person marked it as done."""
        self.is_new = is_new
        """Whether this call recorded it. False if it was recorded before."""

    def __repr__(self) -> str:
        return (
            f"<Intent {self.id} {self.operation} {self.state} "
            f"idempotency_key={self.idempotency_key!r}>"
        )


class Record(Protocol):
    """Records an operation as an intent."""

    def __call__(self, operation: Operation[T], /) -> Intent[T]: ...


class AsyncRecord(Protocol):
    """Records an operation as an intent, asynchronously."""

    def __call__(self, operation: Operation[T], /) -> Awaitable[Intent[T]]: ...
