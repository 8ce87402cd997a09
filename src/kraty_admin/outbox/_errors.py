"""What an outbox raises besides the errors of a call."""

from __future__ import annotations

from ..errors import KratyError

__all__ = ["OutboxConflictError", "OutboxError", "OutboxTargetError"]


class OutboxError(KratyError):
    """The outbox cannot be used as it is."""


class OutboxTargetError(OutboxError):
    """The intents belong to another game, environment or server, or it is not known to which."""


class OutboxConflictError(OutboxError):
    """Another call has been recorded under this idempotency key.

    Kraty would answer such a call with `idempotency_conflict`. Nothing was recorded. A retry
    cannot fix this: find out which of the two calls is right.
    """

    def __init__(self, message: str, *, intent_id: int = 0, idempotency_key: str = "") -> None:
        super().__init__(message)
        self.intent_id = intent_id
        """The id of the intent that holds the key."""
        self.idempotency_key = idempotency_key
        """The key."""
