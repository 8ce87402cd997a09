"""The platform as an ASGI application, and what goes wrong between it and a client."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Final, cast

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ._faults import Fault
from ._platform import Answer, Platform, Received, Request

__all__ = ["Connections", "build_app"]

_PIECES: Final = 20
"""How many pieces an answer drips in."""

_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""To linger for no time is to reset: C's `struct linger`, which is on and lasts 0 s."""


class Connections:
    """The transports of the open connections, by the address of their clients.

    ASGI knows messages only; a connection that breaks needs what is below.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], asyncio.Transport] = {}
        self._cuttable: set[asyncio.Task[Any]] = set()

    def of(self, scope: Scope) -> asyncio.Transport | None:
        """The transport of the connection that a request came over, if it is still open."""
        return self._open.get(tuple(scope["client"]))

    def protocol(self) -> type[asyncio.Protocol]:
        """Uvicorn's protocol, the connections of which are registered here."""
        connections = self._open

        class Protocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
                self._peer = transport.get_extra_info("peername")
                connections[self._peer] = transport
                super().connection_made(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                # The address may be another connection's already.
                if connections.get(self._peer) is self.transport:
                    del connections[self._peer]
                super().connection_lost(exc)

        return Protocol

    async def cuttable(self, scope: Scope, receive: Receive, work: Awaitable[None]) -> None:
        """Do this to the end, or until all is cut."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._cuttable.add(task)
        try:
            await work
        except asyncio.CancelledError:
            if (transport := self.of(scope)) is not None:
                transport.abort()
                await _gone(receive)
        finally:
            self._cuttable.discard(task)

    def cut(self) -> None:
        """Break off all requests that something goes wrong with: who waits, commits no more."""
        for task in self._cuttable:
            task.cancel()

    def close(self) -> None:
        """Close all connections, with what is under way on them."""
        self.cut()
        for transport in self._open.values():
            transport.close()


def build_app(platform: Platform, connections: Connections, control: ASGIApp) -> ASGIApp:
    """An application that passes every request to the platform, or to its control.

    It is no `Starlette`, whose router works on decoded paths: there, a slash in a
    player's id cannot be told from one that separates segments.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/_emulator/"):
            await control(scope, receive, send)
            return
        http = HttpRequest(scope, receive)
        try:
            body = await http.body()
        except ClientDisconnect:
            return
        received = platform.receive(
            Request(
                method=http.method,
                path=scope["raw_path"],
                query=scope["query_string"].decode("latin-1"),
                authorization=http.headers.get("authorization", ""),
                body=body,
            )
        )
        work = answer(received, scope, receive, send)
        await (work if received.fault is None else connections.cuttable(scope, receive, work))

    async def answer(received: Received, scope: Scope, receive: Receive, send: Send) -> None:
        fault = received.fault
        delay = fault if fault is not None and fault.kind == "delay" else None
        if delay is not None and delay.when == "before":
            # To the end, also when nobody waits for the answer any more.
            await asyncio.sleep(delay.seconds)
        answer = platform.perform(received)
        if delay is not None and delay.when == "after":
            await asyncio.sleep(delay.seconds)
        if answer.breaks is not None:
            await _break(connections.of(scope), receive, answer, answer.breaks)
            return
        response = Response(
            answer.body, answer.status, dict(answer.headers), media_type="application/json"
        )
        await response(scope, receive, send)

    return app


async def _break(
    transport: asyncio.Transport | None, receive: Receive, answer: Answer, fault: Fault
) -> None:
    """Do to a connection what the fault says, and leave it closed."""
    if transport is None:
        return
    if fault.kind == "stall":
        await _pause(receive, fault.seconds)
    elif fault.kind == "truncate":
        transport.write(_head(answer) + answer.body[: len(answer.body) // 2])
    elif fault.kind == "drip":
        await _drip(transport, receive, _head(answer) + answer.body, fault.seconds)
    if fault.kind == "reset":
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        transport.abort()
    else:
        transport.close()
    # An application that ends before the connection does owes an answer.
    await _gone(receive)


async def _drip(transport: asyncio.Transport, receive: Receive, raw: bytes, seconds: float) -> None:
    size = -(-len(raw) // _PIECES)
    for start in range(0, len(raw), size):
        transport.write(raw[start : start + size])
        if await _pause(receive, seconds / _PIECES):
            return


async def _pause(receive: Receive, seconds: float) -> bool:
    """Wait so long, or until the client has gone; says whether it has."""
    gone = asyncio.ensure_future(_gone(receive))
    try:
        done, _ = await asyncio.wait({gone}, timeout=seconds)
    finally:
        gone.cancel()
    return bool(done)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _head(answer: Answer) -> bytes:
    """An answer's first line and headers, which promise the whole of its body."""
    headers = {
        **answer.headers,
        "Content-Length": str(len(answer.body)),
        "Content-Type": "application/json",
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
