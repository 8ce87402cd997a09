"""Connections: each call has one to itself, each process has its own, and there is a limit."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

import httpx

if TYPE_CHECKING:
    # At run time it is imported by what is asynchronous, when that is used: it would be
    # a tenth of the time that importing the package takes.
    import asyncio

__all__ = ["KEPT_FOR", "AsyncGate", "AsyncPool", "Gate", "Owned", "Pool", "SyncPool"]

C = TypeVar("C")
G = TypeVar("G")

KEPT_FOR: Final = 5.0
"""Seconds after which an idle connection is not used again, as in httpx."""


class Owned(Generic[C]):
    """What belongs to one process: a fork gets one of its own.

    Sharing a connection with the parent would cross answers between the two.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        # By process, without a lock: a fork could inherit it from a thread that holds it.
        # An ancestor's is kept, not closed: it still speaks over these connections.
        self._each: dict[int, C] = {os.getpid(): make()}

    def get(self) -> C:
        mine = self.peek()
        return self._each.setdefault(os.getpid(), self._make()) if mine is None else mine

    def peek(self) -> C | None:
        """This process's, if there is one yet."""
        return self._each.get(os.getpid())


class Gate:
    """Lets so many calls in at a time; the others wait in line."""

    def __init__(self, places: int) -> None:
        self._places = threading.Semaphore(places)

    def enter(self, seconds: float | None) -> None:
        if not self._places.acquire(timeout=seconds):
            raise httpx.PoolTimeout("no connection became free in time")

    def leave(self) -> None:
        self._places.release()


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


class Pool(Generic[C, G]):
    """Connections, each in a transport of its own, that one call has to itself at a time.

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

    def give_back(self, transport: C) -> None:
        """Keep one after a call that has left it as it should be."""
        self._idle.append((time.monotonic(), transport))

    def idle(self, seconds: float) -> Iterator[C]:
        """Those that nobody has used for so long, to be closed; they are no longer kept."""
        while self._idle:
            try:
                since, transport = self._idle.popleft()
            except IndexError:
                return
            if time.monotonic() - since < seconds:
                self._idle.appendleft((since, transport))
                return
            yield transport


SyncPool: TypeAlias = Pool[httpx.HTTPTransport, Gate]
AsyncPool: TypeAlias = Pool[httpx.AsyncHTTPTransport, AsyncGate]
