# Copied by `make regen` from codegen/runtime/operation.py.
# Do not edit: change that file instead.
"""The description of a call: what to send, and how to read the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

__all__ = [
    "LONGEST_PATH",
    "AsyncCall",
    "Call",
    "KeyLifetime",
    "Operation",
    "replayed_by_applied",
    "replayed_by_status",
    "replayed_unknown",
]

T = TypeVar("T")

LONGEST_PATH = 32_768
"""How many characters the path and query of a call may have. httpx cannot parse a URL of more than
65,536, and few servers accept a tenth of that. An error of httpx after the call would hide its
outcome."""


def replayed_by_status(status: int, data: Mapping[str, Any]) -> bool | None:
    """Return whether this is a repeat: a first call answers 201, a repeat 200.

    Another status, such as the 203 of a proxy that changed the answer, does not show it.
    """
    return {200: True, 201: False}.get(status)


def replayed_by_applied(status: int, data: Mapping[str, Any]) -> bool | None:
    """Return whether this is a repeat: a repeat answers with `applied: false`."""
    applied = data.get("applied")
    return not applied if isinstance(applied, bool) else None


def replayed_unknown(status: int, data: Mapping[str, Any]) -> bool | None:
    """Return `None`: the answer does not show whether this is a repeat."""
    return None


class KeyLifetime(NamedTuple):
    """How long the platform keeps the idempotency keys of an operation."""

    name: str
    """The name in the surface, such as `day`."""
    repeat_within_hours: int | None
    """For how many hours after the first call it may be repeated; `None` for no limit."""
    doc: str
    """The lifetime in words, and what a repeat does."""


class Operation(Generic[T]):
    """One call: what to send, and how to read the answer. The client performs it."""

    def __init__(
        self,
        *,
        name: str,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        result: Callable[[Any], T],
        is_object: bool = True,
        enveloped: bool = True,
        replayed: Callable[[int, Mapping[str, Any]], bool | None] = replayed_unknown,
        timeout: float | None = None,
        may_be_empty: bool = False,
        key_lifetime: KeyLifetime | None = None,
        players: tuple[str, ...] = (),
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        if len(path) > LONGEST_PATH:
            raise ValueError(
                f"an id or a query of {name.split()[0]} is too long: the path would have "
                f"{len(path):,} characters, but may have at most {LONGEST_PATH:,}"
            )
        self.name = name
        """The public method, such as `wallet.credit`."""
        self.method = method
        """The HTTP method."""
        self.path = path
        """Path and query, percent-encoded, below the API's root."""
        self.body = body
        """The JSON body in the contract's order; `None` for no body."""
        self.result = result
        """Builds the result from the JSON value."""
        self.is_object = is_object
        """Whether that value must be an object; if not, `result` checks its type."""
        self.enveloped = enveloped
        """Whether the result is wrapped as `{"data": ...}`."""
        self.replayed = replayed
        """Returns whether the key was used before, from the status and the JSON object."""
        self.timeout = timeout
        """Seconds per phase of an attempt, if the client's default is too short."""
        self.may_be_empty = may_be_empty
        """Whether an answer without a body counts as an empty object."""
        self.key_lifetime = key_lifetime
        """How long the platform keeps the key; `None` for a read, or if it is not known."""
        self.players = players
        """The ids of the players that the call names."""
        self.headers = headers
        """Headers in addition to the client's, as pairs of name and value in Latin-1. `Accept` and
        `Content-Type` replace the client's. The build step refuses all others that the client
        sends itself."""


class Call(Protocol):
    """Performs an operation."""

    def __call__(self, operation: Operation[T], /) -> T: ...


class AsyncCall(Protocol):
    """Performs an operation, asynchronously."""

    def __call__(self, operation: Operation[T], /) -> Awaitable[T]: ...
