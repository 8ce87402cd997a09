"""What a client reports about the requests that it makes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, TypeAlias

__all__ = ["RequestHook", "RequestInfo"]


class RequestInfo(NamedTuple):
    """One attempt, after it has ended. `on_request` is called with it."""

    method: str
    """The HTTP method."""
    url: str
    """The whole URL; for names of metrics, `operation` has fewer values."""
    attempt: int
    """Which attempt of the call this was, from 1."""
    idempotency_key: str | None
    """The key that it carried; `None` for a read."""
    duration_ms: float | None
    """Milliseconds from sending to the whole answer or the failure."""
    status: int | None
    """The HTTP status; `None` if no answer came."""
    ok: bool
    """Whether it gave the call its result."""
    operation: str = ""
    """The method that was called, such as `wallet.credit`."""
    error: str | None = None
    """The error's code, or the name of the network failure; `None` if `ok`."""
    will_retry: bool = False
    """Whether another attempt follows."""
    retry_in: float | None = None
    """Seconds until then."""
    request_id: str | None = None
    """The server's id of the answer, where it sent one."""
    first_sent_at: datetime | None = None
    """When the first attempt of the call began, in UTC."""


RequestHook: TypeAlias = Callable[[RequestInfo], object]
"""What `on_request` takes: a function that is called with a `RequestInfo` after each attempt.

What it returns is ignored.
"""
