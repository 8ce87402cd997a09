"""What the tests of the network share: servers on the loopback, and both clients as one.

The servers speak plain sockets, so that they see bytes as they come and can misbehave.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final, TypeVar, cast
from urllib.parse import unquote

import attrs
import httpcore
import httpx
import pytest

from kraty_admin import KratyAdmin, KratyAdminAsync, RetryConfig

T = TypeVar("T")
S = TypeVar("S", bound="Server")

KEY: Final = "kraty_live_7f3a.canary-Zx81qPw0"
"""A key whose secret part must never show up anywhere."""
CANARY: Final = "canary-Zx81qPw0"

ONCE: Final = RetryConfig(attempts=1)
AT_ONCE: Final = RetryConfig(initial_delay=0.0)
"""Four attempts without a wait."""


@attrs.frozen
class Seen:
    """A request as a server received it."""

    connection: int
    head: bytes
    body: bytes

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def player(self) -> str:
        """Return the player whom the path names, in `/server/v1/players/{id}/...`."""
        return unquote(self.target.partition("/players/")[2].split("/")[0])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode().split("\r\n")[1:]
        pairs = (line.split(": ", 1) for line in lines if line)
        return {name.lower(): value for name, value in pairs}


Answer = Callable[[Seen], bytes | Iterable[bytes] | None]


def response(status: int = 200, payload: object = b"", **headers: str) -> bytes:
    """Return the bytes of an answer whose body is empty, these bytes, or JSON."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def credited(seen: Seen) -> bytes:
    """Return a credit's result, with the player and the number of the connection added."""
    data = {"economyKey": "gold", "balance": 500, "applied": True}
    return response(200, {"data": {**data, "player": seen.player, "connection": seen.connection}})


class Server:
    """A server over plain sockets that records what it receives."""

    def __init__(
        self,
        answer: Answer,
        tls: ssl.SSLContext | None = None,
        tunnel: ssl.SSLContext | None = None,
    ) -> None:
        self.seen: list[Seen] = []
        self.over = threading.Event()
        """Set when the test is over; answers that hang wait for it."""
        self._answer = answer
        self._tls = tls
        self._tunnel = tunnel
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._start(self._accept)

    @property
    def connections(self) -> int:
        """Return how many connections the server has accepted."""
        return len(self._connections)

    def _start(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(accepted)
            self._start(self._serve, accepted, len(self._connections))

    def _serve(self, accepted: socket.socket, number: int) -> None:
        with suppress(OSError), accepted:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                self._converse(accepted, number)
            else:
                with self._tls.wrap_socket(accepted, server_side=True) as wrapped:
                    self._converse(wrapped, number)

    def _converse(self, connection: socket.socket, number: int) -> None:
        stream = connection.makefile("rb")
        with stream:
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = stream.readline()
                    if not line:
                        return
                    head += line
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                seen = Seen(number, head, stream.read(length))
                self.seen.append(seen)
                if len(seen.body) < length:
                    # The client has gone. An answer that parses the body would raise in
                    # this thread, and pytest could blame a later test.
                    return
                answer = self._answer(seen)
                if answer is None:
                    return
                if not isinstance(answer, bytes):
                    for piece in answer:
                        connection.sendall(piece)
                    return
                connection.sendall(answer)
                if b"connection: close" in answer.split(b"\r\n\r\n")[0]:
                    return
                if self._tunnel is not None and seen.method == "CONNECT":
                    with self._tunnel.wrap_socket(connection, server_side=True) as inside:
                        self._converse(inside, number)
                    return

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_left(self) -> bool:
        """Return whether all connections end within 10 s."""
        served = self._threads[1:]
        for thread in served:
            thread.join(10)
        return not any(thread.is_alive() for thread in served)

    def close(self) -> None:
        self.over.set()
        # Closing alone would leave the accepting thread where it waits.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(10)  # so that no connection is accepted after the next line
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)
            assert not thread.is_alive()


@contextmanager
def serving(
    answer: Answer = credited,
    *,
    tls: ssl.SSLContext | None = None,
    tunnel: ssl.SSLContext | None = None,
) -> Generator[Server, None, None]:
    """A server that answers so; `None` closes the connection, as do pieces after the last.

    Args:
        answer: Makes the bytes of an answer.
        tls: Speaks TLS from the start.
        tunnel: Is a proxy that speaks TLS once it has answered a CONNECT, as if it were
            the host behind.
    """
    with Server(answer, tls, tunnel) as server:
        yield server


def always(payload: object) -> Callable[[httpx.Request], httpx.Response]:
    """Return a handler that answers every request with the same payload, without a network."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=payload)

    return answer


def mock_own_connections(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], httpx.Response]
) -> None:
    """Answer the requests of own connections, so that nothing reaches the network."""

    def handle(connection: object, request: httpcore.Request) -> httpcore.Response:
        url = httpx.URL(
            scheme=request.url.scheme.decode(),
            host=request.url.host.decode(),
            port=request.url.port,
            raw_path=request.url.target,
        )
        asked = httpx.Request(
            request.method.decode(),
            url,
            headers=request.headers,
            stream=cast("Any", request.stream),
            extensions=cast("Any", request).extensions,
        )
        if isinstance(asked.stream, httpx.SyncByteStream | Iterable):
            asked.read()
        answered = answer(asked)
        return httpcore.Response(
            answered.status_code, headers=answered.headers.raw, content=cast("Any", answered.stream)
        )

    async def handle_async(connection: object, request: httpcore.Request) -> httpcore.Response:
        return handle(connection, request)

    monkeypatch.setattr(httpcore.HTTPConnection, "handle_request", handle)
    monkeypatch.setattr(httpcore.AsyncHTTPConnection, "handle_async_request", handle_async)


async def settled(value: Any) -> Any:
    """Return the result of a call of either client."""
    return await value if inspect.isawaitable(value) else value


async def closed(client: Any) -> None:
    """Close a client, ours or the caller's."""
    await settled(client.aclose() if hasattr(client, "aclose") else client.close())


@attrs.frozen
class Twin:
    """One of the two clients, used in the same way as the other."""

    client_type: type[KratyAdmin] | type[KratyAdminAsync]
    http_client_type: type[httpx.Client] | type[httpx.AsyncClient]

    @property
    def is_async(self) -> bool:
        return self.client_type is KratyAdminAsync

    def client(self, **options: Any) -> Any:
        options.setdefault("api_key", KEY)
        return self.client_type(**options)

    def http_client(self, **options: Any) -> Any:
        return self.http_client_type(**options)

    def mocked(self, answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> Any:
        """Return a caller's client that reaches no network."""
        return self.http_client_type(transport=httpx.MockTransport(answer), **options)

    def run(self, scenario: Callable[[Any], Awaitable[T]], **options: Any) -> T:
        """Run a scenario with a new client, close it, and return the result."""

        async def main() -> T:
            kraty = self.client(**options)
            try:
                return await scenario(kraty)
            finally:
                await settled(kraty.close())

        return asyncio.run(main())

    def credit(self, player: str = "player_42", **options: Any) -> Any:
        """Return the result of one credit."""

        async def scenario(kraty: Any) -> Any:
            return await settled(kraty.wallet.credit(player, "gold", amount=500))

        return self.run(scenario, **options)

    def hook(self, function: Callable[[Any], object]) -> Callable[[Any], Any]:
        """Return an event hook for a caller's client."""

        async def hook(value: Any) -> None:
            function(value)

        return hook if self.is_async else function


class Driver:
    """Makes clients of one kind, and waits for their calls outside of any coroutine."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self._loop = asyncio.new_event_loop()
        self._stack = ExitStack()

    def client(
        self, answer: Callable[[httpx.Request], httpx.Response] | None = None, **options: Any
    ) -> Any:
        """Return a client that sends to `base_url`, or to a function that answers."""
        options.setdefault("retry", AT_ONCE)
        if answer is not None:
            options["http_client"] = self._kept(self.twin.mocked(answer))
        return self._kept(self.twin.client(**options))

    def _kept(self, client: Any) -> Any:
        self._stack.callback(lambda: self._loop.run_until_complete(closed(client)))
        return client

    def wait(self, result: Any) -> Any:
        """Return the result of a call; await it if necessary."""
        return self._loop.run_until_complete(result) if self.twin.is_async else result

    def close(self) -> None:
        """Close the clients, and the loop as `asyncio.run` does. Safe to repeat."""
        self._stack.close()
        if not self._loop.is_closed():
            for task in asyncio.all_tasks(self._loop):
                self._loop.run_until_complete(task)
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


SYNC: Final = Twin(KratyAdmin, httpx.Client)
ASYNC: Final = Twin(KratyAdminAsync, httpx.AsyncClient)

twins: Final = pytest.mark.parametrize(
    "twin", [pytest.param(SYNC, id="sync"), pytest.param(ASYNC, id="async")]
)
