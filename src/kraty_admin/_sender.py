"""The only I/O: performing an exchange over httpx, synchronously and asynchronously.

Both twins read alike, on purpose: what differs is `await`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import attrs
import httpx

from ._exchange import Done, Exchange, Failure, Limits, Outcome, Reply, Sleep, Step
from .errors import KratyError
from .telemetry import RequestInfo

__all__ = ["AsyncSender", "Hook", "Sender"]

T = TypeVar("T")
C = TypeVar("C")

Hook = Callable[[RequestInfo], object]

# What can go wrong between here and the server. Anything else, such as a cancellation
# or an exception of the caller's own transport, is not ours to interpret.
_FAILURES: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError)

_log: Final = logging.getLogger("kraty_admin")


@attrs.frozen(repr=False)
class Headers:
    """The headers of every request. They carry the key, so nothing shows them."""

    without_body: httpx.Headers
    with_body: httpx.Headers

    def of(self, body: bytes | None) -> httpx.Headers:
        return self.without_body if body is None else self.with_body


class Body:
    """An answer's body as it comes in, for as long as the call may take.

    A server that trickles its answer never runs into the read timeout.
    """

    def __init__(self, ends_at: float) -> None:
        self._ends_at = ends_at
        self._chunks: list[bytes] = []
        self._late = False

    def add(self, chunk: bytes) -> None:
        if self._late:
            raise httpx.ReadTimeout("the deadline passed while the answer was coming in")
        self._chunks.append(chunk)
        # A chunk that comes late may be the last one, and then the answer is whole.
        self._late = time.monotonic() >= self._ends_at

    def whole(self) -> bytes:
        return b"".join(self._chunks)


class Owned(Generic[C]):
    """A transport that belongs to one process: a fork gets one of its own.

    Sharing a connection with the parent would cross answers between the two.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._transport = make()
        self._inherited: list[C] = []

    def get(self) -> C:
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    # Kept, not closed: the parent still speaks over these connections.
                    self._inherited.append(self._transport)
                    self._transport = self._make()
                    self._pid = os.getpid()
        return self._transport


class Sender:
    """Performs exchanges over a transport of its own, or over the caller's client."""

    def __init__(self, headers: Headers, over: Owned[httpx.HTTPTransport] | httpx.Client) -> None:
        self._headers = headers
        self._over = over

    def perform(self, exchange: Exchange[T], hook: Hook | None) -> T:
        while True:
            started = time.monotonic()
            limits = exchange.begin(started)
            outcome: Outcome
            try:
                outcome = self._attempt(exchange, limits)
            except _FAILURES as cause:
                outcome = Failure(cause)
            step = _settle(exchange, outcome, started, hook)
            if isinstance(step, Done):
                return step.result
            if not isinstance(step, Sleep):
                raise step.error
            time.sleep(step.seconds)

    def _attempt(self, exchange: Exchange[T], limits: Limits) -> Reply:
        if isinstance(self._over, httpx.Client):
            request = _request_of(self._over, self._headers, exchange, limits)
            response = self._over.send(request, auth=None, follow_redirects=False, stream=True)
        else:
            request = _request(self._headers, exchange, limits)
            response = self._over.get().handle_request(request)
        try:
            body = Body(limits.ends_at)
            for chunk in response.iter_bytes():
                body.add(chunk)
            return Reply(response.status_code, dict(response.headers), body.whole())
        finally:
            response.close()

    def close(self) -> None:
        if not isinstance(self._over, httpx.Client):
            self._over.get().close()


class AsyncSender:
    """Performs exchanges over a transport of its own, or over the caller's client."""

    def __init__(
        self, headers: Headers, over: Owned[httpx.AsyncHTTPTransport] | httpx.AsyncClient
    ) -> None:
        self._headers = headers
        self._over = over
        self._loop: asyncio.AbstractEventLoop | None = None

    async def perform(self, exchange: Exchange[T], hook: Hook | None) -> T:
        while True:
            started = time.monotonic()
            limits = exchange.begin(started)
            outcome: Outcome
            try:
                outcome = await self._attempt(exchange, limits)
            except _FAILURES as cause:
                outcome = Failure(cause)
            step = _settle(exchange, outcome, started, hook)
            if isinstance(step, Done):
                return step.result
            if not isinstance(step, Sleep):
                raise step.error
            await asyncio.sleep(step.seconds)

    async def _attempt(self, exchange: Exchange[T], limits: Limits) -> Reply:
        if isinstance(self._over, httpx.AsyncClient):
            request = _request_of(self._over, self._headers, exchange, limits)
            response = await self._over.send(
                request, auth=None, follow_redirects=False, stream=True
            )
        else:
            request = _request(self._headers, exchange, limits)
            response = await self._transport(self._over).handle_async_request(request)
        try:
            body = Body(limits.ends_at)
            async for chunk in response.aiter_bytes():
                body.add(chunk)
            return Reply(response.status_code, dict(response.headers), body.whole())
        finally:
            await response.aclose()

    def _transport(self, owned: Owned[httpx.AsyncHTTPTransport]) -> httpx.AsyncHTTPTransport:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            # Its connections live in the first loop and would hang or crash in this one.
            raise KratyError(
                "this KratyAdminAsync was first used in another event loop: make one per loop"
            )
        return owned.get()

    async def aclose(self) -> None:
        # In another loop its connections cannot be closed; they went with their own.
        if not isinstance(self._over, httpx.AsyncClient) and self._loop in (
            None,
            asyncio.get_running_loop(),
        ):
            await self._over.get().aclose()


def _request(headers: Headers, exchange: Exchange[T], limits: Limits) -> httpx.Request:
    return httpx.Request(
        exchange.method,
        exchange.url,
        headers=headers.of(exchange.body),
        content=exchange.body,
        extensions={"timeout": dict(limits.phases)},
    )


def _request_of(
    client: httpx.Client | httpx.AsyncClient,
    headers: Headers,
    exchange: Exchange[T],
    limits: Limits,
) -> httpx.Request:
    """The request as the caller's own client makes it, with its headers besides ours."""
    return client.build_request(
        exchange.method,
        exchange.url,
        headers=headers.of(exchange.body),
        content=exchange.body,
        extensions={"timeout": dict(limits.phases)},
    )


def _settle(exchange: Exchange[T], outcome: Outcome, started: float, hook: Hook | None) -> Step[T]:
    """What follows from an attempt, told to the hook."""
    now = time.monotonic()
    step = exchange.advance(outcome, now=now, wall=time.time())
    if hook is not None:
        try:
            hook(exchange.describe(outcome, step, (now - started) * 1000))
        except Exception:
            # The call has its own course, whatever becomes of its telemetry.
            _log.exception("on_request raised; the call goes on")
    return step
