"""The only I/O: performing an exchange over httpx, synchronously and asynchronously.

Both twins read alike, on purpose: what differs is `await`, and what event loops and the
cancelling of tasks ask for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

from ._address import Address
from ._exchange import Done, Exchange, Failure, Limits, Outcome, Reply, Sleep, Step
from ._pool import KEPT_FOR, AsyncPool, Owned, SyncPool, this_process
from .errors import KratyError
from .telemetry import RequestInfo

if TYPE_CHECKING:
    # At run time it is imported by what is asynchronous, when that is used: it would be
    # a tenth of the time that importing the package takes.
    import asyncio

__all__ = ["AsyncSender", "Hook", "Prepared", "Sender"]

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

Hook = Callable[[RequestInfo], object]

# What can go wrong between here and the server. Anything else, such as a cancellation
# or an exception of the caller's own transport, is not ours to interpret.
_FAILURES: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError)

_log: Final = logging.getLogger("kraty_admin")


class Prepared:
    """What requests have in common. The headers carry the key, so nothing shows them."""

    def __init__(
        self, root: httpx.URL, without_body: httpx.Headers, with_body: httpx.Headers
    ) -> None:
        self.root = root
        self._without_body = without_body
        self._with_body = with_body

    def headers(self, body: bytes | None) -> httpx.Headers:
        return self._without_body if body is None else self._with_body


class Phases(Mapping[str, float | None]):
    """The timeouts of an attempt, by phase. The transport asks for each as it begins.

    If they were fixed at the start, every phase could take as long as the whole call.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def __getitem__(self, phase: str) -> float | None:
        return self._limits.of(phase, time.monotonic())

    def __iter__(self) -> Iterator[str]:
        return iter(self._limits.timeout)

    def __len__(self) -> int:
        return len(self._limits.timeout)


class Body:
    """An answer's body as it comes in over a client of the caller's.

    A server that trickles its answer never runs into the read timeout, and so could
    outlast the deadline. A connection of ours sees to that itself.
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


class Departure:
    """Whether a request has left, over a client of the caller's.

    What is raised does not tell: a hook may have asked somebody else, or the transport
    may have tried another way after the first.
    """

    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self._has_left = False

    def note(self, event: str, info: Mapping[str, Any]) -> None:
        """Note an event of the `trace` extension."""
        if event.endswith(".send_request_headers.started"):
            self._has_left |= info["request"].method != b"CONNECT"

    async def note_async(self, event: str, info: Mapping[str, Any]) -> None:
        """Note an event of the `trace` extension."""
        self.note(event, info)

    def failure(self, cause: Exception) -> Failure:
        """The failure of the attempt."""
        if isinstance(cause, httpx.HTTPStatusError) and cause.response.request != self._request:
            # Somebody else's refusal, which says nothing about our request.
            cause = httpx.NetworkError(f"a hook of http_client raised {cause}")
        return Failure(_without_frames(cause), self._has_left)


class Sender:
    """Performs exchanges over a transport of its own, or over the caller's client."""

    def __init__(self, prepared: Prepared, over: Owned[SyncPool] | httpx.Client) -> None:
        self._prepared = prepared
        self._over = over
        self._closed = False
        self._process: tuple[int, int] | None = None

    @property
    def is_closed(self) -> bool:
        return self._closed or (isinstance(self._over, httpx.Client) and self._over.is_closed)

    def perform(self, exchange: Exchange[T], hook: Hook | None) -> T:
        while True:
            started = time.monotonic()
            limits = exchange.begin(started, time.time())
            outcome = self._attempt(exchange, limits)
            step = _settle(exchange, outcome, started, hook)
            if isinstance(step, Done):
                return step.result
            if not isinstance(step, Sleep):
                raise step.error
            time.sleep(step.seconds)

    def _attempt(self, exchange: Exchange[T], limits: Limits) -> Outcome:
        try:
            if isinstance(self._over, httpx.Client):
                return self._over_client(self._over, exchange, limits)
            return self._over_own(self._over, exchange, limits)
        except _FAILURES as cause:
            return Failure(_without_frames(cause))
        except (KeyboardInterrupt, SystemExit) as interruption:
            raise interruption.with_traceback(None) from None  # see _without_frames

    def _over_own(self, owned: Owned[SyncPool], exchange: Exchange[T], limits: Limits) -> Reply:
        request = _request(self._prepared, exchange, limits)
        pool = owned.get()
        pool.gate.enter(request.extensions["timeout"]["pool"])
        try:
            for expired in pool.idle(KEPT_FOR):
                expired.close()
            connection = pool.take()
            try:
                reply = connection.send(request, limits.ends_at)
            except _FAILURES:
                connection.close()
                raise
            except BaseException:
                connection.drop()
                raise
            pool.give_back(connection)
        finally:
            pool.gate.leave()
        if self._closed:
            self.close()
        return reply

    def _over_client(self, client: httpx.Client, exchange: Exchange[T], limits: Limits) -> Outcome:
        self._process = _still(self._process)
        if client.is_closed:
            raise httpx.ConnectError("http_client was closed")
        request = _request_of(client, self._prepared, exchange, limits)
        departure = Departure(request)
        request.extensions["trace"] = departure.note
        try:
            response = client.send(request, auth=None, follow_redirects=False, stream=True)
            return _read(response, limits)
        except _FAILURES as cause:
            return departure.failure(cause)

    def close(self) -> None:
        self._closed = True
        if not isinstance(self._over, httpx.Client):
            pool = self._over.peek()
            for connection in pool.idle(0.0) if pool is not None else ():
                connection.close()


class AsyncSender:
    """Performs exchanges over a transport of its own, or over the caller's client."""

    def __init__(self, prepared: Prepared, over: Owned[AsyncPool] | httpx.AsyncClient) -> None:
        self._prepared = prepared
        self._over = over
        self._closed = False
        self._process: tuple[int, int] | None = None
        self._loops: dict[tuple[int, int], asyncio.AbstractEventLoop] = {}

    @property
    def is_closed(self) -> bool:
        return self._closed or (isinstance(self._over, httpx.AsyncClient) and self._over.is_closed)

    async def perform(self, exchange: Exchange[T], hook: Hook | None) -> T:
        import asyncio

        while True:
            started = time.monotonic()
            limits = exchange.begin(started, time.time())
            outcome = await self._attempt(exchange, limits)
            step = _settle(exchange, outcome, started, hook)
            if isinstance(step, Done):
                return step.result
            if not isinstance(step, Sleep):
                raise step.error
            await asyncio.sleep(step.seconds)

    async def _attempt(self, exchange: Exchange[T], limits: Limits) -> Outcome:
        import asyncio

        try:
            if isinstance(self._over, httpx.AsyncClient):
                return await self._over_client(self._over, exchange, limits)
            return await self._over_own(self._over, exchange, limits)
        except _FAILURES as cause:
            return Failure(_without_frames(cause))
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit) as interruption:
            raise interruption.with_traceback(None) from None  # see _without_frames

    async def _over_own(
        self, owned: Owned[AsyncPool], exchange: Exchange[T], limits: Limits
    ) -> Reply:
        if not self._is_at_home():
            # Its connections live in the first loop and would hang or crash in this one.
            raise KratyError(
                "this KratyAdminAsync was first used in another event loop: make one per loop"
            )
        request = _request(self._prepared, exchange, limits)
        pool = owned.get()
        await pool.gate.enter(request.extensions["timeout"]["pool"])
        try:
            for expired in pool.idle(KEPT_FOR):
                await expired.aclose()
            connection = pool.take()
            try:
                reply = await connection.send(request, limits.ends_at)
            except BaseException:
                await connection.aclose()
                raise
            pool.give_back(connection)
        finally:
            pool.gate.leave()
        if self._closed:
            await self.aclose()
        return reply

    async def _over_client(
        self, client: httpx.AsyncClient, exchange: Exchange[T], limits: Limits
    ) -> Outcome:
        self._process = _still(self._process)
        if client.is_closed:
            raise httpx.ConnectError("http_client was closed")
        request = _request_of(client, self._prepared, exchange, limits)
        departure = Departure(request)
        request.extensions["trace"] = departure.note_async
        at_home = self._is_at_home()
        try:
            response = await client.send(request, auth=None, follow_redirects=False, stream=True)
            return await _read_async(response, limits)
        except _FAILURES as cause:
            return departure.failure(cause)
        except RuntimeError as error:
            if at_home:
                raise
            # How a connection fails whose loop has ended, after it has sent the request.
            raise httpx.NetworkError(f"{error}; http_client was used in another loop") from None

    def _is_at_home(self) -> bool:
        """Whether this is the event loop that it was first used in."""
        import asyncio

        running = asyncio.get_running_loop()
        return self._loops.setdefault(this_process(), running) is running

    async def aclose(self) -> None:
        if isinstance(self._over, httpx.AsyncClient):
            self._closed = True
            return
        at_home = self._is_at_home()
        if not at_home and not self._loops[this_process()].is_closed():
            raise KratyError("close this KratyAdminAsync in the event loop that it was used in")
        self._closed = True
        pool = self._over.peek()
        for connection in pool.idle(0.0) if at_home and pool is not None else ():
            await connection.aclose()


def _request(prepared: Prepared, exchange: Exchange[T], limits: Limits) -> httpx.Request:
    """The request for a transport of our own, whose headers are whole but for the length.

    Given a whole URL, and `content` instead of a stream, httpx would work all of it out
    again, which is a fifth of what a call costs.
    """
    body = exchange.body
    request = httpx.Request(
        exchange.method,
        prepared.root,
        headers=prepared.headers(body),
        stream=httpx.ByteStream(body or b""),
        extensions={"timeout": Phases(limits)},
    )
    request.url = Address(prepared.root, exchange.path)
    if body is not None:
        request.headers["Content-Length"] = str(len(body))
    request.read()  # so that `content` is there for whoever looks in
    return request


def _request_of(
    client: httpx.Client | httpx.AsyncClient,
    prepared: Prepared,
    exchange: Exchange[T],
    limits: Limits,
) -> httpx.Request:
    """The request as the caller's own client makes it, with its headers besides ours."""
    return client.build_request(
        exchange.method,
        exchange.url,
        headers=prepared.headers(exchange.body),
        content=exchange.body,
        extensions={"timeout": Phases(limits)},
    )


def _read(response: httpx.Response, limits: Limits) -> Reply:
    try:
        body = Body(limits.ends_at)
        for chunk in response.iter_bytes():
            body.add(chunk)
        return Reply(response.status_code, dict(response.headers.items()), body.whole())
    finally:
        response.close()


async def _read_async(response: httpx.Response, limits: Limits) -> Reply:
    try:
        body = Body(limits.ends_at)
        async for chunk in response.aiter_bytes():
            body.add(chunk)
        return Reply(response.status_code, dict(response.headers.items()), body.whole())
    finally:
        await response.aclose()


def _still(first: tuple[int, int] | None) -> tuple[int, int]:
    """This process, which must be the first that has used the caller's client."""
    process = this_process()
    if first not in (None, process):
        raise KratyError(
            "http_client was first used in another process, and its connections would cross "
            "answers with that one's: make one per process"
        )
    return process


def _without_frames(error: E) -> E:
    """The same failure, but not where it was raised.

    Locals of the frames there hold the request as it is sent, with the key.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


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
