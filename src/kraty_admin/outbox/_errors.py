"""The errors of the outbox, in addition to those of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import KratyError

__all__ = ["OutboxConflictError", "OutboxError", "OutboxTargetError"]


class OutboxError(KratyError):
    """The outbox cannot do what was asked, for example because an intent is in another state."""


class OutboxTargetError(OutboxError):
    """The intents are for another game, environment or server, or no single game is selected."""


class OutboxConflictError(OutboxError):
    """Another call has been recorded under this idempotency key.

    It differs in the method, the path or the body. Nothing was recorded. A retry cannot fix this:
    find out which of the two calls is right.
    """

    def __init__(
        self,
        message: str,
        facts: Mapping[str, Any] | None = None,
        *,
        intent_id: int = 0,
        idempotency_key: str = "",
    ) -> None:
        super().__init__(message)
        facts = facts or {}
        self.intent_id: int = intent_id or facts.get("intent_id", 0)
        """The id of the intent that holds the key."""
        self.idempotency_key: str = idempotency_key or facts.get("idempotency_key", "")
        """The key that was used twice."""
        self._set_facts(intent_id=self.intent_id, idempotency_key=self.idempotency_key)
