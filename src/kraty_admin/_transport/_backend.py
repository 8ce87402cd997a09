"""The network below the SDK's own connections: sockets on which no step outlasts the call.

httpcore passes the timeout of a phase to each step of the phase. So each partial `send`, each
address of a host and each piece of a response could take that long. Here, a step also gets no
more than the time left until the call's deadline.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeVar

import httpcore

from .._call._exchange import Limits
from .._call._retry import YEAR
from ._layer import Exchanged, Layer
from ._tunnel import Tunnel, socks5

__all__ = ["READ_SIZE", "SOCKS_ENDED", "Backend", "Watch", "is_readable", "shares_of"]

T = TypeVar("T")

READ_SIZE: Final = 65_536

SOCKS_ENDED: Final = "the SOCKS proxy closed the connection"

_SHORTEST: Final = 0.001
"""At least so many seconds for each address: a timeout of 0 would make its socket non-blocking."""


class Watch:
    """The attempt that uses a connection: its deadline, and how far it has got."""

    def __init__(self) -> None:
        self.begin(Limits({}, math.inf), is_open=False)

    def begin(self, limits: Limits, *, is_open: bool) -> None:
        """Start an attempt.

        Args:
            limits: The attempt's limits.
            is_open: Whether the connection is open from an earlier call.
        """
        self._limits = limits
        self.was_tried = is_open
        """Whether connecting was tried, or the connection was open before."""
        self.was_sent = False
        """Whether part of the request may have been sent."""
        self.reads = 0
        """How often the response was read from the network."""

    def connected(self) -> None:
        """Forget what was sent and read while connecting, for example to a proxy."""
        self.was_sent = False
        self.reads = 0

    def left(self, timeout: float | None, late: type[Exception]) -> float:
        """Return how many seconds a step may take that begins now.

        Args:
            timeout: What the phase allows it.
            late: What to raise when the deadline has passed.
        """
        now = time.monotonic()
        left = self._limits.ends_at - now
        # If the machine slept after the request was sent, its answer may still be read.
        if left <= 0 or (not self.was_sent and self._limits.is_over(now, time.time())):
            raise late("the deadline passed")
        return min(left, YEAR if timeout is None else timeout)


class Stream(httpcore.NetworkStream):
    """A socket that keeps the deadline of the attempt that uses it."""

    def __init__(self, sock: socket.socket, watch: Watch) -> None:
        self._sock = sock
        self._watch = watch
        self._held = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            self.write(b"", timeout)
        self._watch.reads += 1
        try:
            self._sock.settimeout(self._watch.left(timeout, httpcore.ReadTimeout))
            return self._sock.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not (buffer or self._held):
            # httpcore ends a body with an empty write. Sending nothing would consume a reset
            # of the connection, and the next read would report a regular end instead.
            return
        if not (self._watch.was_sent or self._held):
            # httpcore writes a request's head first, then its body. The head waits for the
            # next write or read, so that both go out in one packet and one system call.
            self._held = buffer
            return
        left = self._watch.left(timeout, httpcore.WriteTimeout)
        buffer, self._held = self._held + buffer, b""
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
                layer = Layer(ssl_context, server_hostname)
                stream = TLSStream(self, layer)
                stream.drive(layer.handshake(), timeout)
                return stream
            # The socket's timeout limits the handshake as a whole.
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
            return is_readable(self._sock)
        if info == "ssl_object" and isinstance(self._sock, ssl.SSLSocket):
            return self._sock
        return None


class TLSStream(httpcore.NetworkStream):
    """TLS to the server within TLS to a proxy, which `wrap_socket` cannot do."""

    def __init__(self, below: Stream, layer: Layer) -> None:
        self._below = below
        self._layer = layer

    def drive(self, steps: Generator[Exchanged, bytes, T], timeout: float | None) -> T:
        """Do the network's part of an operation of the layer."""
        received: bytes | None = None
        try:
            while True:
                data, wants_more = steps.send(received) if received is not None else next(steps)
                if data:
                    self._below.write(data, timeout)
                received = self._below.read(READ_SIZE, timeout) if wants_more else b""
        except StopIteration as done:
            result: T = done.value
            return result

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.drive(self._layer.read(max_bytes), timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.drive(self._layer.write(buffer), timeout)

    def close(self) -> None:
        self._below.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._layer.object
        if info == "is_readable" and self._layer.holds_more:
            return True
        return self._below.get_extra_info(info)


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
                        raise httpcore.ProxyError(SOCKS_ENDED)
                    reply += data
                data, count = talk.send(reply)

    def _connect(self, host: str, port: int, timeout: float | None) -> Stream:
        watch = self._watch
        try:
            addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        # The phase begins here, because nothing can limit the time that the resolver takes.
        shares = shares_of(watch.left(timeout, httpcore.ConnectTimeout), len(addresses))
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


def shares_of(seconds: float, count: int) -> Iterator[float]:
    """Yield the seconds for each address: an equal share of the time left when it is tried."""
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


def is_readable(sock: socket.socket) -> bool:
    """Return whether an idle connection has received something: data, or its end."""
    if sock.fileno() < 0:
        return True
    if not hasattr(select, "poll"):  # pragma: no cover: such as on Windows
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
