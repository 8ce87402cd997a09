"""What a client reports after each attempt, for logs and metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, TypeAlias

__all__ = ["RequestHook", "RequestInfo"]


class RequestInfo(NamedTuple):
    """One attempt that has ended. The client passes it to `on_request`."""

    method: str
    """The HTTP method."""
    url: str
    """The full URL. Use `operation` for metric names, since it has fewer values."""
    attempt: int
    """Which attempt of the call this was, from 1."""
    idempotency_key: str | None
    """The key that was sent; `None` if the call has none, such as a read."""
    duration_ms: float | None
    """Milliseconds from sending to the complete answer or the failure."""
    status: int | None
    """The HTTP status; `None` if no answer came."""
    ok: bool
    """Whether this attempt returned the call's result."""
    operation: str = ""
    """The method that was called, such as `wallet.credit`."""
    error: str | None = None
    """The error's code, or the name of the network failure; `None` if `ok`."""
    will_retry: bool = False
    """Whether another attempt follows."""
    retry_in: float | None = None
    """Seconds until that attempt; `None` if there is none."""
    request_id: str | None = None
    """The server's id of the answer, if it sent one."""
    first_sent_at: datetime | None = None
    """When the first attempt of the call began, in UTC."""


RequestHook: TypeAlias = Callable[[RequestInfo], object]
"""The type of `on_request`: a function that is called with a `RequestInfo` after each attempt.

Its result is ignored.
"""
