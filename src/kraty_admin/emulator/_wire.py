"""The platform as an ASGI application, with faults of its connections."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias, cast

from ._changes import Changes, Topic
from ._console import CONSOLE, serve_console
from ._errors import EmulatedError
from ._faults import Fault
from ._guard import check_content_type, check_source
from ._platform import Answer, Platform, Received, Request, refusal

__all__ = ["BODY_LIMIT", "CONTROL", "App", "Connections"]

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Responder: TypeAlias = Callable[[str, str, str, bytes], Answer]
"""Answers a request, from its method, path, query and body."""

BODY_LIMIT: Final = 8 * 1024 * 1024
"""The longest body in bytes. A batch of 1,000 rows has about 100 kB."""

CONTROL: Final = "/_emulator/"
"""The prefix of the paths that control the emulator."""

_STREAM: Final = f"{CONTROL}changes"
"""The path at which a page listens for changes."""

_GAP: Final = 0.1
"""Seconds between two messages of a stream. Changes in between become one message."""

_PIECES: Final = 20
"""How many pieces the fault `drip` divides an answer into."""

_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""C's `struct linger`: on, for 0 s. Closing a socket then resets the connection."""


class Connections:
    """The transports of the open connections, by the addresses of their clients.

    ASGI itself has only messages, but breaking a connection needs its transport.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], asyncio.Transport] = {}
        self._cuttable: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def of(self, scope: Scope) -> asyncio.Transport | None:
        """Return the transport of a request's connection, if it is still open."""
        return self._open.get(tuple(scope["client"]))

    def protocol(self) -> type[asyncio.Protocol]:
        """Return uvicorn's protocol, with its connections registered here."""
        owner, connections = self, self._open
        base = _http_protocol()

        class Protocol(base):  # type: ignore[valid-type,misc]  # which one is known at run time
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self._peer: tuple[str, int] = transport.get_extra_info("peername")
                self._transport = cast("asyncio.Transport", transport)
                connections[self._peer] = self._transport
                super().connection_made(transport)
                if owner._is_closed:
                    self._transport.close()

            def connection_lost(self, exc: Exception | None) -> None:
                # Another connection may already have the same address.
                if connections.get(self._peer) is self._transport:
                    del connections[self._peer]
                super().connection_lost(exc)

        return Protocol

    async def cuttable(self, scope: Scope, receive: Receive, work: Awaitable[None]) -> None:
        """Await `work`, or break the connection if `cut` is called in the meantime."""
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
        """Break the connections of all requests with a fault. A delayed one no longer commits."""
        for task in self._cuttable:
            task.cancel()

    def close(self) -> None:
        """Close all connections, even in the middle of a request, and all new ones.

        There can be new ones, because a page that listens reconnects at once.
        """
        self._is_closed = True
        self.cut()
        for transport in self._open.values():
            transport.close()


def _http_protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with httptools, or with h11 if httptools is not installed."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:  # pragma: no cover: the extra installs httptools
        from uvicorn.protocols.http.h11_impl import H11Protocol

        return H11Protocol
    return HttpToolsProtocol


class App:
    """The ASGI application: it passes requests to the platform, the control or the console.

    It uses no framework, because a framework's router works on decoded paths, where a slash in a
    player's id looks like a separator.
    """

    def __init__(
        self,
        platform: Platform,
        control: Responder,
        connections: Connections,
        changes: Changes,
        allowed_hosts: Collection[str],
    ) -> None:
        self._platform = platform
        self._control = control
        self._connections = connections
        self._changes = changes
        self._allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            body = await _read_body(receive)
            if body is None:
                return  # the client has gone
            _to_origin_form(scope, headers)
            check_source(headers, self._allowed_hosts)
            if body:
                check_content_type(headers)
            path = scope["raw_path"].decode("latin-1")
            if path in CONSOLE:
                await _send(send, serve_console(scope["method"], path))
                return
            if path == _STREAM and scope["method"] == "GET":
                await _stream(self._changes, receive, send)
                return
            if path.startswith(CONTROL):
                answer = self._control(
                    scope["method"],
                    path.removeprefix(CONTROL),
                    scope["query_string"].decode("latin-1"),
                    body,
                )
                await _send(send, answer)
                return
        except EmulatedError as error:
            await _send(send, refusal(error))
            return
        received = self._platform.receive(
            Request(
                method=scope["method"],
                path=scope["raw_path"],
                query=scope["query_string"].decode("latin-1"),
                authorization=headers.get(b"authorization", b"").decode("latin-1"),
                body=body,
            )
        )
        if received.fault is None:
            await _send(send, self._platform.perform(received))
        else:
            work = self._go_wrong(received, received.fault, scope, receive, send)
            await self._connections.cuttable(scope, receive, work)

    async def _go_wrong(
        self, received: Received, fault: Fault, scope: Scope, receive: Receive, send: Send
    ) -> None:
        is_delay = fault.kind == "delay"
        if is_delay and fault.when == "before":
            # To the end, even if the client gives up.
            await asyncio.sleep(fault.seconds)
        answer = self._platform.perform(received)
        if is_delay and fault.when == "after":
            await asyncio.sleep(fault.seconds)
        if answer.breaks is None:
            await _send(send, answer)
        else:
            await _break(self._connections.of(scope), receive, answer, answer.breaks)


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body, or `None` if the client has disconnected.

    Raises:
        EmulatedError: The body is longer than the limit. It is read to its end without being
            kept, because a client that is still sending would not read the answer.
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size <= BODY_LIMIT:
            pieces.append(piece)
        else:
            pieces.clear()
        if not message.get("more_body", False):
            break
    if size > BODY_LIMIT:
        raise EmulatedError(
            "validation_failed",
            f"The body has {size} bytes; the emulator accepts at most {BODY_LIMIT}.",
            status=413,
        )
    return b"".join(pieces)


def _to_origin_form(scope: Scope, headers: dict[bytes, bytes]) -> None:
    """Turn a proxy's request target `http://host/path` into `/path` and the host.

    httptools does this itself.
    """
    scheme, found, rest = scope["raw_path"].partition(b"://")
    if found and scheme.lower() == b"http":
        headers[b"host"], slash, path = rest.partition(b"/")
        scope["raw_path"] = slash + path


async def _stream(changes: Changes, receive: Receive, send: Send) -> None:
    """Send changes as server-sent events, until the client has disconnected.

    A slow client delays only its own events. They stay small, however much has changed in
    between.
    """
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    gone = asyncio.ensure_future(_gone(receive))
    news: asyncio.Future[list[Topic]] | None = None
    try:
        with changes.reader() as reader:
            # The client hears of every change from here on. If the emulator stops, the client
            # tries to connect again once a second.
            await _send_event(send, [], b"retry: 1000\n")
            while not gone.done():
                news = asyncio.ensure_future(reader.next())
                await asyncio.wait({gone, news}, return_when=asyncio.FIRST_COMPLETED)
                if news.done():
                    await _send_event(send, news.result())
                    await asyncio.wait({gone}, timeout=_GAP)
    finally:
        gone.cancel()
        if news is not None:
            news.cancel()


async def _send_event(send: Send, topics: list[Topic], before: bytes = b"") -> None:
    message = before + f"data: {json.dumps(topics)}\n\n".encode()
    await send({"type": "http.response.body", "body": message, "more_body": True})


async def _send(send: Send, answer: Answer) -> None:
    headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in _with_length(answer).items()
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _with_length(answer: Answer) -> dict[str, str]:
    return {
        "content-type": "application/json",
        **{name.lower(): value for name, value in answer.headers.items()},
        "content-length": str(len(answer.body)),
    }


async def _break(
    transport: asyncio.Transport | None, receive: Receive, answer: Answer, fault: Fault
) -> None:
    """Apply a fault to a connection, and close it."""
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
    # Uvicorn would send an error if the application ended before the connection.
    await _gone(receive)


async def _drip(transport: asyncio.Transport, receive: Receive, raw: bytes, seconds: float) -> None:
    size = -(-len(raw) // _PIECES)
    for start in range(0, len(raw), size):
        transport.write(raw[start : start + size])
        if await _pause(receive, seconds / _PIECES):
            return


async def _pause(receive: Receive, seconds: float) -> bool:
    """Wait until the time has passed or the client has disconnected; return whether it has."""
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
    """Return an answer's first line and headers, which promise its whole body."""
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    headers = {**_with_length(answer), "connection": "close"}
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
