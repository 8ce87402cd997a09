"""A call that an outbox has recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from .operation import Operation

__all__ = ["AsyncRecord", "Intent", "IntentState", "Record"]

T = TypeVar("T")

IntentState: TypeAlias = Literal["pending", "sending", "done", "refused", "unknown", "abandoned"]
"""What has become of an intent.

`pending`: it waits to be sent, for the first time or again. `sending`: a worker is sending
it. `done`: it took effect, or a person found that it had. `refused`: the platform rejected it;
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
        """Its number in the table. Of one player's intents, the lowest is sent first."""
        self.operation = operation
        """The method, such as `wallet.credit`."""
        self.idempotency_key = idempotency_key
        """The key under which it is sent, each time."""
        self.players = players
        """The ids of all players that it names. Empty after its content was purged."""
        self.path = path
        """The path of the call below `/server/v1`; `None` after its content was purged."""
        self.body = body
        """The JSON body of the call, with the API's names; `None` after its content was purged."""
        self.state: IntentState = state
        """What has become of it."""
        self.attempts = attempts
        """How often a worker began to send it."""
        self.created_at = created_at
        """When it was recorded, in UTC."""
        self.due_at = due_at
        """From when a worker may send it; while it is being sent, until when that worker
        has it to itself."""
        self.first_sent_at = first_sent_at
        """When the first call began that may have taken effect, in UTC; `None` if none may."""
        self.stopped_at = stopped_at
        """Since when no worker sends it any more, in UTC; `None` while it is open."""
        self.error = error
        """The last failure: `message`, `ambiguous`, and the facts of the error."""
        self.notes = notes
        """What people decided about it: `at`, `action`, `by` and `why`."""
        self.result = result
        """The result, once it is `done`; `None` before that, after its content was purged, or
        if a person declared it done."""
        self.is_new = is_new
        """Whether this very call recorded it, rather than finding it."""

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
