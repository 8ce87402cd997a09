"""Connections: each call has one to itself, each process has its own, and there is a limit."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import httpx

from ._exchange import Reply

if TYPE_CHECKING:
    # At run time it is imported by what is asynchronous, when that is used: it would be
    # a tenth of the time that importing the package takes.
    import asyncio

__all__ = [
    "KEPT_FOR",
    "AsyncConnection",
    "AsyncGate",
    "AsyncPool",
    "Connection",
    "Gate",
    "Owned",
    "Pool",
    "SyncPool",
    "this_process",
]

C = TypeVar("C")
G = TypeVar("G")

KEPT_FOR: Final = 5.0
"""Seconds after which an idle connection is not used again, as in httpx."""


class _Descent:
    """How many forks lie between the first process and this one."""

    def __init__(self) -> None:
        self.forks = 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.forks += 1


_descent: Final = _Descent()


def this_process() -> tuple[int, int]:
    """What tells this process from those that it was forked from.

    Not its number alone: the first process of a container and its child in a container of
    its own both have number 1.
    """
    return os.getpid(), _descent.forks


class Owned(Generic[C]):
    """What belongs to one process: a fork gets one of its own.

    Sharing a connection with the parent would cross answers between the two.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        # By process, without a lock: a fork could inherit it from a thread that holds it.
        # An ancestor's is kept, not closed: it still speaks over these connections.
        self._each: dict[tuple[int, int], C] = {this_process(): make()}

    def get(self) -> C:
        mine = self.peek()
        return self._each.setdefault(this_process(), self._make()) if mine is None else mine

    def peek(self) -> C | None:
        """This process's, if there is one yet."""
        return self._each.get(this_process())


class Gate:
    """Lets so many calls in at a time; the others wait in line."""

    # Not a semaphore, whose steps are Python's: a signal handler that raises in the middle
    # of one would leave it locked for good.

    def __init__(self, places: int) -> None:
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(places):
            self._places.put(None)

    def enter(self, seconds: float | None) -> None:
        try:
            self._places.get(timeout=seconds)
        except Empty:
            raise httpx.PoolTimeout("no connection became free in time") from None

    def leave(self) -> None:
        self._places.put(None)


class AsyncGate:
    """Lets so many calls in at a time; the others wait in line."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._line: deque[asyncio.Future[None]] = deque()

    async def enter(self, seconds: float | None) -> None:
        if self._places:
            self._places -= 1
            return
        import asyncio

        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._line.append(turn)
        # Not `asyncio.wait_for`, which until 3.12 could lose a cancellation.
        timer = None if seconds is None else loop.call_later(seconds, self._expire, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # its turn had just come
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def leave(self) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._places += 1

    def _expire(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            turn.set_exception(httpx.PoolTimeout("no connection became free in time"))


class _Watch:
    """Watches what comes in on a connection.

    httpx renews the read timeout with every byte, and takes an answer that was there
    before the request for the answer to it. Here no read outlasts the call, and it is
    noticed where none was needed.
    """

    def __init__(self) -> None:
        self.stream: Any = None
        """The open stream, an `httpcore.NetworkStream`, as the transport tells of it."""
        self.begin(math.inf)

    def begin(self, ends_at: float) -> None:
        """A request is about to be sent, whose answer has until then."""
        self._ends_at = ends_at
        self._asked = False
        self._reads = 0

    def note(self, event: str, info: Mapping[str, Any]) -> bool:
        """Note one of the `_NOTED` events; says whether a stream has been opened."""
        if event.endswith(_SENDING):
            # What is mocked below the transport sends nothing.
            self._asked = True
            return False
        self.stream = info["return_value"]
        return True

    def left(self, timeout: float | None) -> float:
        """How long a read may take that would have so long."""
        self._reads += 1
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise httpx.ReadTimeout("the deadline passed while the answer was coming in")
        return left if timeout is None else min(timeout, left)

    @property
    def unasked(self) -> bool:
        """Whether an answer came without a read, and so was there before the request."""
        return self._asked and not self._reads


_SENDING: Final = "http11.send_request_headers.started"

_NOTED: Final = (
    _SENDING,
    ".connect_tcp.complete",
    ".connect_unix_socket.complete",
    ".start_tls.complete",
)
"""How those events of the `trace` extension end that are of interest here, out of twenty."""

_UNASKED: Final = "the connection held an answer before the request was sent"


class Connection:
    """A transport for one connection, and what watches it."""

    def __init__(self, transport: httpx.HTTPTransport) -> None:
        self._transport = transport
        self._watch = _Watch()

    def send(self, request: httpx.Request, ends_at: float) -> Reply:
        """Send a request, and read the whole answer. After a failure, it has to be closed."""
        self._watch.begin(ends_at)
        request.extensions["trace"] = self._trace
        response = self._transport.handle_request(request)
        if self._watch.unasked:
            raise httpx.RemoteProtocolError(_UNASKED)
        headers = dict(response.headers.items())
        if "content-encoding" in headers or not isinstance(response.stream, httpx.SyncByteStream):
            body = response.read()
        else:
            # What `read` does besides is for bodies that are encoded.
            body = b"".join(response.stream)
            response.close()
        return Reply(response.status_code, headers, body)

    def close(self) -> None:
        self._transport.close()

    def drop(self) -> None:
        """Close what is open, after something that may have left the transport locked."""
        if self._watch.stream is not None:
            self._watch.stream.close()

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(_NOTED) and self._watch.note(event, info):
            watch, read = self._watch, self._watch.stream.read

            def watched(max_bytes: int, timeout: float | None = None) -> object:
                return read(max_bytes, watch.left(timeout))

            self._watch.stream.read = watched


class AsyncConnection:
    """A transport for one connection, and what watches it."""

    def __init__(self, transport: httpx.AsyncHTTPTransport) -> None:
        self._transport = transport
        self._watch = _Watch()

    async def send(self, request: httpx.Request, ends_at: float) -> Reply:
        """Send a request, and read the whole answer. After a failure, it has to be closed."""
        self._watch.begin(ends_at)
        request.extensions["trace"] = self._trace
        response = await self._transport.handle_async_request(request)
        if self._watch.unasked:
            raise httpx.RemoteProtocolError(_UNASKED)
        headers = dict(response.headers.items())
        if "content-encoding" in headers or not isinstance(response.stream, httpx.AsyncByteStream):
            body = await response.aread()
        else:
            # What `aread` does besides is for bodies that are encoded.
            body = b"".join([chunk async for chunk in response.stream])
            await response.aclose()
        return Reply(response.status_code, headers, body)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(_NOTED) and self._watch.note(event, info):
            watch, read = self._watch, self._watch.stream.read

            async def watched(max_bytes: int, timeout: float | None = None) -> object:
                return await read(max_bytes, watch.left(timeout))

            self._watch.stream.read = watched


class Pool(Generic[C, G]):
    """Connections, each with a transport of its own, that one call has to itself at a time.

    One transport for all of them would do, but for what its pool does in httpcore: where
    a call is cancelled at the wrong moment, it loses a connection for good, and whenever
    a call comes or goes, it goes through all connections for each call that waits. Here
    whatever went wrong goes with its transport, and nobody searches.
    """

    def __init__(self, make: Callable[[], C], gate: G) -> None:
        self.gate = gate
        """What calls have to pass before they take one."""
        self._make = make
        # Threads share it without a lock, since all that they do to it is atomic. The
        # first is made at once, to find out whether it can be.
        self._idle = deque([(time.monotonic(), make())])

    def take(self) -> C:
        """One for a call: the last that was used, which the server is likeliest to have kept."""
        try:
            return self._idle.pop()[1]
        except IndexError:
            return self._make()

    def give_back(self, connection: C) -> None:
        """Keep one after a call that has left it as it should be."""
        self._idle.append((time.monotonic(), connection))

    def idle(self, seconds: float) -> Iterator[C]:
        """Those that nobody has used for so long, to be closed; they are no longer kept."""
        while self._idle:
            try:
                since, connection = self._idle.popleft()
            except IndexError:
                return
            if time.monotonic() - since < seconds:
                self._idle.appendleft((since, connection))
                return
            yield connection


SyncPool: TypeAlias = Pool[Connection, Gate]
AsyncPool: TypeAlias = Pool[AsyncConnection, AsyncGate]
