"""The network below own connections: sockets on which no step outlasts the call.

httpcore passes the timeout of a phase to each step of the phase. Each partial `send`, each
address of a host and each piece of a response would get the whole of it. Here each step
also gets no more than what is left until the call's deadline.
"""

from __future__ import annotations

import errno
import ipaddress
import math
import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

import httpcore

from .._retry import YEAR
from ._tunnel import Tunnel, socks5

__all__ = ["AsyncBackend", "Backend", "Watch"]

_READ_SIZE: Final = 65_536

_SOCKS_ENDED: Final = "the SOCKS proxy closed the connection"

_SHORTEST: Final = 0.001
"""Seconds that an address gets at least: a socket takes a timeout of 0 for "do not wait"."""


class Watch:
    """The attempt that uses a connection: its deadline, and how far it has come."""

    def __init__(self) -> None:
        self.begin(math.inf, is_open=False)

    def begin(self, ends_at: float, *, is_open: bool) -> None:
        """Start an attempt.

        Args:
            ends_at: The deadline, on the monotonic clock.
            is_open: Whether the connection is open from an earlier call.
        """
        self._ends_at = ends_at
        self.was_tried = is_open
        """Whether connecting was tried, or the connection was open before."""
        self.was_sent = False
        """Whether some of the request may have been sent."""
        self.reads = 0
        """How often the response was read from the network."""

    def connected(self) -> None:
        """Forget what was sent and read while connecting, as to a proxy."""
        self.was_sent = False
        self.reads = 0

    def left(self, timeout: float | None, late: type[Exception]) -> float:
        """How many seconds a step may take that begins now.

        Args:
            timeout: What the phase allows it.
            late: What to raise when the deadline has passed.
        """
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise late("the deadline passed")
        return min(left, YEAR if timeout is None else timeout)


class Stream(httpcore.NetworkStream):
    """A socket that keeps the deadline of the attempt that uses it."""

    def __init__(self, sock: socket.socket, watch: Watch) -> None:
        self._sock = sock
        self._watch = watch

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._watch.reads += 1
        try:
            self._sock.settimeout(self._watch.left(timeout, httpcore.ReadTimeout))
            return self._sock.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = self._watch.left(timeout, httpcore.WriteTimeout)
        try:
            self._watch.was_sent = True
            while True:
                self._sock.settimeout(left)
                sent = self._sock.send(buffer)
                if sent == len(buffer):
                    return
                buffer = buffer[sent:]
                left = self._watch.left(timeout, httpcore.WriteTimeout)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            if isinstance(self._sock, ssl.SSLSocket):
                return _TLSInTLS(self, ssl_context, server_hostname, timeout)
            # The handshake as a whole takes no longer than the socket's timeout.
            self._sock.settimeout(self._watch.left(timeout, httpcore.ConnectTimeout))
            self._sock = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname)
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error
        except BaseException:
            self.close()
            raise
        finally:
            self._watch.connected()
        return self

    def close(self) -> None:
        self._sock.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return _is_readable(self._sock)
        if info == "ssl_object" and isinstance(self._sock, ssl.SSLSocket):
            return self._sock
        return None


class _TLSInTLS(httpcore.NetworkStream):
    """TLS to the server within TLS to a proxy, which `wrap_socket` cannot do."""

    def __init__(
        self,
        below: Stream,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None,
        timeout: float | None,
    ) -> None:
        self._below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = ssl_context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )
        while not self._flush_after_handshake(timeout):
            self._receive(timeout)

    def _flush_after_handshake(self, timeout: float | None) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._flush(timeout)
        return True

    def _flush(self, timeout: float | None) -> None:
        if data := self._outgoing.read():
            self._below.write(data, timeout)

    def _receive(self, timeout: float | None) -> None:
        if data := self._below.read(_READ_SIZE, timeout):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while True:
            try:
                return self._object.read(max_bytes)
            except ssl.SSLWantReadError:
                self._receive(timeout)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # A memory BIO takes everything, so nothing is left over.
        self._object.write(buffer)
        self._flush(timeout)

    def close(self) -> None:
        self._below.close()

    def get_extra_info(self, info: str) -> Any:
        return self._object if info == "ssl_object" else self._below.get_extra_info(info)


class Backend(httpcore.NetworkBackend):
    """Connects to a server, through a proxy if there is one."""

    def __init__(self, watch: Watch, tunnel: Tunnel | None) -> None:
        self.stream: Stream | None = None
        """The open stream, to close it whatever state httpcore is in."""
        self._watch = watch
        self._tunnel = tunnel

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        tunnel = self._tunnel
        if tunnel is None:
            return self._connect(host, port, timeout)
        stream = self._connect(tunnel.host, tunnel.port, timeout)
        try:
            if tunnel.ssl_context is not None:
                stream.start_tls(tunnel.ssl_context, tunnel.host, timeout)
            if tunnel.is_socks:
                self._ask_socks(stream, tunnel, host, port, timeout)
            else:
                connection = httpcore.HTTP11Connection(tunnel.origin, stream)
                tunnel.check(connection.handle_request(tunnel.request(host, port, timeout)))
        except BaseException:
            stream.close()
            raise
        finally:
            self._watch.connected()
        return stream

    def _ask_socks(
        self, stream: Stream, tunnel: Tunnel, host: str, port: int, timeout: float | None
    ) -> None:
        talk = socks5(host, port, tunnel.auth)
        with suppress(StopIteration):
            data, count = next(talk)
            while True:
                stream.write(data, timeout)
                reply = b""
                while len(reply) < count:
                    data = stream.read(count - len(reply), timeout)
                    if not data:
                        raise httpcore.ProxyError(_SOCKS_ENDED)
                    reply += data
                data, count = talk.send(reply)

    def _connect(self, host: str, port: int, timeout: float | None) -> Stream:
        watch = self._watch
        try:
            addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        # The phase begins here, since nothing can limit what the resolver takes.
        shares = _shares(watch.left(timeout, httpcore.ConnectTimeout), len(addresses))
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for (family, kind, protocol, _, address), share in zip(addresses, shares, strict=True):
            try:
                sock = _connected(family, kind, protocol, address, share, watch)
            except TimeoutError as error:
                failure = httpcore.ConnectTimeout(str(error))
            except OSError as error:
                failure = httpcore.ConnectError(str(error))
            else:
                self.stream = Stream(sock, watch)
                return self.stream
        raise failure


def _shares(seconds: float, count: int) -> Iterator[float]:
    """For each of several addresses, an equal share of the time that is left when it is tried."""
    ends_at = time.monotonic() + seconds
    for left in range(count, 0, -1):
        yield max((ends_at - time.monotonic()) / left, _SHORTEST)


def _connected(
    family: int, kind: int, protocol: int, address: Any, seconds: float, watch: Watch
) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        watch.was_tried = True
        sock.settimeout(seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_readable(sock: socket.socket) -> bool:
    """Whether an idle connection has received something, which is its end at best."""
    if sock.fileno() < 0:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class AsyncStream(httpcore.AsyncNetworkStream):
    """A stream that keeps the deadline of the attempt that uses it. The twin of `Stream`."""

    def __init__(self, below: httpcore.AsyncNetworkStream, watch: Watch) -> None:
        self._below = below
        self._watch = watch

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._watch.reads += 1
        return await self._below.read(max_bytes, self._watch.left(timeout, httpcore.ReadTimeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = self._watch.left(timeout, httpcore.WriteTimeout)
        self._watch.was_sent = True
        await self._below.write(buffer, left)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        left = self._watch.left(timeout, httpcore.ConnectTimeout)
        self._below = await self._below.start_tls(ssl_context, server_hostname, left)
        return self

    async def aclose(self) -> None:
        await self._below.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._below.get_extra_info(info)


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """Connects to a server, through a proxy if there is one. The twin of `Backend`."""

    def __init__(self, watch: Watch, tunnel: Tunnel | None) -> None:
        self.stream: AsyncStream | None = None
        """The open stream, to close it whatever state httpcore is in."""
        self._watch = watch
        self._tunnel = tunnel
        self._below = httpcore.AnyIOBackend()

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
        stream = await self._connect(tunnel.host, tunnel.port, timeout)
        try:
            if tunnel.ssl_context is not None:
                await stream.start_tls(tunnel.ssl_context, tunnel.host, timeout)
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
        self, stream: AsyncStream, tunnel: Tunnel, host: str, port: int, timeout: float | None
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
                        raise httpcore.ProxyError(_SOCKS_ENDED)
                    reply += data
                data, count = talk.send(reply)

    async def _connect(self, host: str, port: int, timeout: float | None) -> AsyncStream:
        watch = self._watch
        seconds = watch.left(timeout, httpcore.ConnectTimeout)
        ends_at = time.monotonic() + seconds
        addresses = await _resolved(host, port, seconds)
        shares = _shares(ends_at - time.monotonic(), len(addresses))
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for (address, own_port), share in zip(addresses, shares, strict=True):
            watch.was_tried = True
            try:
                below = await self._below.connect_tcp(address, own_port, share)
            except httpcore.ConnectTimeout as error:
                failure = error
            except httpcore.ConnectError as error:
                failure = error
                watch.was_tried = not _is_exhausted(error)
            else:
                self.stream = AsyncStream(below, watch)
                return self.stream
        raise failure


async def _resolved(host: str, port: int, seconds: float) -> list[tuple[str, int]]:
    """The addresses of a host. What the resolver does after the time is up has no effect."""
    import asyncio

    import anyio

    with suppress(ValueError):
        ipaddress.ip_address(host)
        return [(host, port)]
    loop = asyncio.get_running_loop()
    try:
        with anyio.fail_after(seconds):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpcore.ConnectTimeout("resolving the host's name took too long") from None
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    return [(str(address[0]), int(address[1])) for *_, address in found]


def _is_exhausted(error: BaseException | None) -> bool:
    """Whether this process, or the machine, had no file descriptor left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False
