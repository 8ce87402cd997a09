"""The network below asynchronous connections. The twin of `_backend`.

It uses asyncio itself, not anyio, whose streams yield to the event loop several times for
each read and write.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

import anyio
import httpcore

from ._backend import READ_SIZE, SOCKS_ENDED, Watch, is_readable, shares_of
from ._layer import Exchanged, Layer
from ._tunnel import Tunnel, socks5

__all__ = ["AsyncBackend"]

T = TypeVar("T")

_ENOUGH: Final = 262_144
"""How many received bytes may wait to be read before receiving is paused."""


class Socket(asyncio.Protocol):
    """Records what a transport reports about its socket, and waits for the next report."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.has_ended = False
        self.error: Exception | None = None
        self.is_full = False
        """Whether the send buffer is full, so that a writer has to wait."""
        self.transport: asyncio.Transport
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.chunks.append(data)
        self._size += len(data)
        if self._size > _ENOUGH:
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self.has_ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.has_ended = True
        self.error = exc
        self._wake()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._wake()

    def take(self, max_bytes: int) -> bytes:
        """Return some of the bytes that were received; there must be some."""
        data = self.chunks.popleft()
        if len(data) > max_bytes:
            self.chunks.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        if self._size > _ENOUGH >= self._size - len(data) and not self.transport.is_closing():
            self.transport.resume_reading()
        self._size -= len(data)
        return data

    async def wait(self, seconds: float, late: type[Exception]) -> None:
        """Wait for the next report; raise `late` if none comes in time."""
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(seconds, _expire, waiter, late)
        try:
            await waiter
        finally:
            self._waiter = None
            timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _expire(waiter: asyncio.Future[None], late: type[Exception]) -> None:
    if not waiter.done():
        waiter.set_exception(late("the time is up"))


class AsyncStream(httpcore.AsyncNetworkStream):
    """A socket that keeps the deadline of the attempt that uses it. The twin of `Stream`."""

    def __init__(self, below: Socket, watch: Watch) -> None:
        self._socket = below
        self._watch = watch
        self._held = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            await self.write(b"", timeout)
        below = self._socket
        self._watch.reads += 1
        while True:
            left = self._watch.left(timeout, httpcore.ReadTimeout)
            if below.chunks:
                return below.take(max_bytes)
            if below.has_ended:
                if below.error is not None:
                    raise httpcore.ReadError(str(below.error))
                return b""
            await below.wait(left, httpcore.ReadTimeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not (buffer or self._held):
            return
        if not (self._watch.was_sent or self._held):
            self._held = buffer
            return
        below = self._socket
        left = self._watch.left(timeout, httpcore.WriteTimeout)
        if below.transport.is_closing():
            raise httpcore.WriteError("the connection was closed")
        buffer, self._held = self._held + buffer, b""
        self._watch.was_sent = True
        below.transport.write(buffer)
        while below.is_full and not below.has_ended:
            await below.wait(left, httpcore.WriteTimeout)
            left = self._watch.left(timeout, httpcore.WriteTimeout)
        if below.error is not None:
            raise httpcore.WriteError(str(below.error))

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return await _secured(self, self._watch, ssl_context, server_hostname, timeout)

    async def aclose(self) -> None:
        # Unsent data is dropped, because it could be sent after the deadline.
        self._socket.transport.abort()
        await asyncio.sleep(0)  # the transport closes its socket in the loop's next round

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":
            return None
        below = self._socket
        sock: socket.socket | None = below.transport.get_extra_info("socket")
        return bool(below.chunks) or below.has_ended or sock is None or is_readable(sock)


class AsyncTLSStream(httpcore.AsyncNetworkStream):
    """TLS on another stream, which may itself be TLS to a proxy. The twin of `TLSStream`."""

    def __init__(self, below: httpcore.AsyncNetworkStream, watch: Watch, layer: Layer) -> None:
        self._below = below
        self._watch = watch
        self._layer = layer

    async def drive(self, steps: Generator[Exchanged, bytes, T], timeout: float | None) -> T:
        """Do the network's part of an operation of the layer."""
        received: bytes | None = None
        while True:
            try:
                data, wants_more = steps.send(received) if received is not None else next(steps)
            except StopIteration as done:
                result: T = done.value
                return result
            if data:
                await self._below.write(data, timeout)
            received = await self._below.read(READ_SIZE, timeout) if wants_more else b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self.drive(self._layer.read(max_bytes), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self.drive(self._layer.write(buffer), timeout)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return await _secured(self, self._watch, ssl_context, server_hostname, timeout)

    async def aclose(self) -> None:
        await self._below.aclose()

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._layer.object
        if info == "is_readable" and self._layer.holds_more:
            return True
        return self._below.get_extra_info(info)


async def _secured(
    below: httpcore.AsyncNetworkStream,
    watch: Watch,
    ssl_context: ssl.SSLContext,
    server_hostname: str | None,
    timeout: float | None,
) -> AsyncTLSStream:
    layer = Layer(ssl_context, server_hostname)
    stream = AsyncTLSStream(below, watch, layer)
    seconds = watch.left(timeout, httpcore.ConnectTimeout)
    try:
        with anyio.fail_after(seconds):
            await stream.drive(layer.handshake(), timeout)
    except (TimeoutError, httpcore.ReadTimeout, httpcore.WriteTimeout):
        await below.aclose()
        raise httpcore.ConnectTimeout("the TLS handshake took too long") from None
    except (httpcore.ReadError, httpcore.WriteError) as error:
        await below.aclose()
        raise httpcore.ConnectError(str(error)) from error
    except BaseException:
        await below.aclose()
        raise
    finally:
        watch.connected()
    return stream


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """Connects to a server, through a proxy if there is one. The twin of `Backend`."""

    def __init__(self, watch: Watch, tunnel: Tunnel | None) -> None:
        self.stream: AsyncStream | None = None
        """The open stream, to close it whatever state httpcore is in."""
        self._watch = watch
        self._tunnel = tunnel

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        tunnel = self._tunnel
        if tunnel is None:
            return await self._connect(host, port, timeout)
        stream: httpcore.AsyncNetworkStream = await self._connect(tunnel.host, tunnel.port, timeout)
        try:
            if tunnel.ssl_context is not None:
                stream = await stream.start_tls(tunnel.ssl_context, tunnel.host, timeout)
            if tunnel.is_socks:
                await self._ask_socks(stream, tunnel, host, port, timeout)
            else:
                connection = httpcore.AsyncHTTP11Connection(tunnel.origin, stream)
                request = tunnel.request(host, port, timeout)
                tunnel.check(await connection.handle_async_request(request))
        except BaseException:
            await stream.aclose()
            raise
        finally:
            self._watch.connected()
        return stream

    async def _ask_socks(
        self,
        stream: httpcore.AsyncNetworkStream,
        tunnel: Tunnel,
        host: str,
        port: int,
        timeout: float | None,
    ) -> None:
        talk = socks5(host, port, tunnel.auth)
        with suppress(StopIteration):
            data, count = next(talk)
            while True:
                await stream.write(data, timeout)
                reply = b""
                while len(reply) < count:
                    data = await stream.read(count - len(reply), timeout)
                    if not data:
                        raise httpcore.ProxyError(SOCKS_ENDED)
                    reply += data
                data, count = talk.send(reply)

    async def _connect(self, host: str, port: int, timeout: float | None) -> AsyncStream:
        watch = self._watch
        seconds = watch.left(timeout, httpcore.ConnectTimeout)
        ends_at = time.monotonic() + seconds
        addresses = await _resolved(host, port, seconds)
        shares = shares_of(ends_at - time.monotonic(), len(addresses))
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for (family, kind, protocol, _, address), share in zip(addresses, shares, strict=True):
            try:
                below = await _connected(family, kind, protocol, address, share, watch)
            except TimeoutError:
                failure = httpcore.ConnectTimeout("the host did not answer")
            except OSError as error:
                failure = httpcore.ConnectError(str(error))
            else:
                self.stream = AsyncStream(below, watch)
                return self.stream
        raise failure


async def _resolved(host: str, port: int, seconds: float) -> list[Any]:
    """Return the addresses of a host. A resolver that takes longer than `seconds` is ignored."""
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)  # which does not wait
    try:
        with anyio.fail_after(seconds):
            return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpcore.ConnectTimeout("resolving the host's name took too long") from None
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error


async def _connected(
    family: int, kind: int, protocol: int, address: Any, seconds: float, watch: Watch
) -> Socket:
    sock = socket.socket(family, kind, protocol)
    try:
        watch.was_tried = True
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        with anyio.fail_after(seconds):
            await loop.sock_connect(sock, address)
        _, below = await loop.create_connection(Socket, sock=sock)
    except BaseException:
        sock.close()
        raise
    return below
