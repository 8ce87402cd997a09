"""Connections: each serves one call at a time and one process, and their number is limited."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import httpx

if TYPE_CHECKING:
    # The asynchronous code imports it on first use: it would add a tenth to the package's
    # import time.
    import asyncio

__all__ = ["KEPT_FOR", "AsyncGate", "Gate", "Pool"]

C = TypeVar("C")
G = TypeVar("G")

KEPT_FOR: Final = 5.0
"""Seconds after which an idle connection is not used again, as in httpx."""

_NO_PLACE: Final = "no connection became free in time"


class Gate:
    """Lets a limited number of calls in; the others wait in line.

    A signal handler may raise between any two steps of Python code, even in a destructor.
    So no place may be taken or returned in Python code, or it could be lost. Instead, an
    object stands for a taken place. C code creates the object, and C code returns the place
    when nothing refers to the object any more.
    """

    # Not a threading.Semaphore: that is Python code, so a signal handler that raises in the
    # middle of it could leave it locked.

    def __init__(self, places: int) -> None:
        # Looked up here, not at the top: gevent replaces it, often after this import, and
        # the one it replaces would stop all greenlets of the thread.
        from queue import Empty, SimpleQueue

        self._empty = Empty
        self._free: SimpleQueue[tuple[()]] = SimpleQueue()
        for _ in range(places):
            self._free.put(())
        give_back = partial(self._free.put, ())

        class Place:
            """One of this gate's places, which returns to it when this object is freed."""

            __slots__ = ()
            # Not a Python function: a signal handler could raise at its first instruction.
            __del__ = staticmethod(give_back)

        self._place = Place

    def enter(self, seconds: float | None) -> object:
        """Wait for a place.

        Returns:
            The place. It is free again as soon as nothing refers to this object.

        Raises:
            httpx.PoolTimeout: No place became free within `seconds`.
        """
        # One step takes the free place and makes the object: `starmap` does both in C.
        places = starmap(self._place, iter(partial(self._free.get, timeout=seconds), None))
        try:
            return next(places)
        except self._empty:
            raise httpx.PoolTimeout(_NO_PLACE) from None


class AsyncGate:
    """Lets a limited number of calls in; the others wait in line. The twin of `Gate`."""

    # A signal handler that raises within the few steps that take or give back a place still
    # loses it, for as long as the client lives. What `Gate` does in C cannot wake a task.
    # Calls in line end by their deadline even then.

    def __init__(self, places: int) -> None:
        self._places = places
        self._line: deque[asyncio.Future[None]] = deque()

    async def enter(self, seconds: float | None) -> None:
        """Wait for a place.

        Raises:
            httpx.PoolTimeout: No place became free within `seconds`.
        """
        if self._places:
            self._places -= 1
            return
        import asyncio

        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        # Not `asyncio.wait_for`, which until 3.12 could lose a cancellation.
        timer = None if seconds is None else loop.call_later(seconds, self._expire, turn)
        try:
            self._line.append(turn)
            await turn
        except BaseException:
            # Not only if it is cancelled: a signal handler may raise here.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # the place was granted already: pass it on
            turn.cancel()  # so that no place is granted later
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def leave(self) -> None:
        """Give the place to the next in line."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._places += 1

    def _expire(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            turn.set_exception(httpx.PoolTimeout(_NO_PLACE))


class Pool(Generic[C, G]):
    """The idle connections. A call takes one and has it to itself.

    httpcore has a pool too, but it can lose a connection permanently when a call is cancelled,
    and it goes through all connections for each waiting call. Here, a failed call discards
    its connection, and taking one needs no search.
    """

    def __init__(self, make: Callable[[], C], gate: G) -> None:
        self.gate: Final = gate
        """The gate that a call has to enter before it takes a connection."""
        self._make = make
        # Threads share it without a lock, since each step on it is atomic.
        self._idle: deque[tuple[float, C]] = deque()

    def take(self) -> C:
        """Return the most recently used connection, which is most likely still open."""
        try:
            return self._idle.pop()[1]
        except IndexError:
            return self._make()

    def give_back(self, connection: C) -> None:
        """Keep a healthy connection."""
        self._idle.append((time.monotonic(), connection))

    def take_expired(self, seconds: float) -> Iterator[C]:
        """Remove and yield the connections that were idle that long; the caller closes them."""
        while self._idle:
            try:
                since, connection = self._idle.popleft()
            except IndexError:  # pragma: no cover: another thread has just taken it
                return
            if time.monotonic() - since < seconds:
                self._idle.appendleft((since, connection))
                return
            yield connection
