"""The arguments and the result of a handler.

A handler is called with a valid call and its context. It runs inside a transaction: if it raises,
everything it did is rolled back. It does not deal with HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

import attrs

from .._errors import Problem
from .._state import State
from .._world import ApiKey, Game

__all__ = ["Call", "Context", "Data", "Handler", "Outcome", "WebhookEvent"]

Data: TypeAlias = dict[str, Any]
"""A JSON object of the API."""


@attrs.frozen(kw_only=True)
class Call:
    """A call that is valid according to the contract."""

    operation_id: str
    """The contract's operation."""
    name: str
    """The SDK's name of the operation, such as `wallet.credit`."""
    key: ApiKey
    """The API key of the caller."""
    game: Game
    """The game of the key."""
    path: Mapping[str, str]
    """The path's parameters, decoded."""
    query: Mapping[str, Any]
    """The query's parameters."""
    body: Data
    """The body; empty if none was sent."""
    fingerprint: str
    """Hash of path, query and body, to recognise another request under the same key."""
    row_problems: Callable[[Sequence[Any]], Mapping[int, Sequence[Problem]]]
    """Checks the rows of a batch against the contract; returns the problems by row."""


@attrs.frozen(kw_only=True)
class Context:
    """The tools of a handler."""

    state: State
    now: int
    """The time, in milliseconds since the epoch."""
    new_uuid: Callable[[], UUID]
    """Creates the random part of ids."""

    def new_id(self, prefix: str) -> str:
        """Create an id, such as `grt_...`."""
        return f"{prefix}_{self.new_uuid().hex}"


@attrs.frozen(kw_only=True)
class WebhookEvent:
    """An event to send to webhooks."""

    name: str
    """The name, such as `wallet.changed`."""
    data: Data
    """The envelope's `data`. The platform's format is not published, so this one is a guess."""


@attrs.frozen
class Outcome:
    """The outcome of a call."""

    status: int
    """The HTTP status: 200, 201, or 204 for an answer without a body."""
    data: Data
    """The result; without the envelope."""
    events: Sequence[WebhookEvent] = ()
    """The webhook events, in order. They are recorded in the call's transaction."""
    is_replay: bool = False
    """Whether an earlier call with the same key took effect, and this one changed nothing."""


Handler: TypeAlias = Callable[[Call, Context], Outcome]
