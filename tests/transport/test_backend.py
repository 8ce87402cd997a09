"""The sockets below own connections, and TLS without a socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

import httpcore
import pytest

from kraty_admin._call._exchange import Limits
from kraty_admin._transport import _async_backend
from kraty_admin._transport._async_backend import AsyncStream
from kraty_admin._transport._backend import Stream, TLSStream, Watch
from kraty_admin._transport._layer import Layer

T = TypeVar("T")

LARGE: Final = 4_000_000
"""Bytes that no socket takes at once."""
PATIENCE: Final = 20


@contextmanager
def connected() -> Generator[tuple[Stream, socket.socket], None, None]:
    """Yield a stream that has begun a request, and the socket of its peer."""
    ours, peer = socket.socketpair()
    with ours, peer:
        stream = Stream(ours, Watch())
        stream.write(b"head")
        stream.write(b"body")
        assert b"headbody" == peer.recv(100)
        yield stream, peer


def run(scenario: Callable[[AsyncStream, socket.socket], Awaitable[T]]) -> T:
    """Run a scenario with a stream that has begun a request and with its peer; return its
    result."""

    async def main() -> T:
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        with ours, peer:
            loop = asyncio.get_running_loop()
            _, below = await loop.create_connection(_async_backend.Socket, sock=ours)
            stream = AsyncStream(below, Watch())
            await stream.write(b"head")
            await stream.write(b"body")
            assert b"headbody" == peer.recv(100)
            try:
                return await asyncio.wait_for(scenario(stream, peer), PATIENCE)
            finally:
                await stream.aclose()

    return asyncio.run(main())


def watch_of(stream: Stream | AsyncStream) -> Watch:
    """Return the attempt that uses a stream."""
    return stream._watch  # pyright: ignore[reportPrivateUsage]


def socket_of(stream: AsyncStream) -> _async_backend.Socket:
    """Return the socket of a stream, which knows what the loop reports."""
    return stream._socket  # pyright: ignore[reportPrivateUsage]


async def becomes_true(condition: Callable[[], bool]) -> None:
    """Let the loop run until a condition holds."""
    while not condition():  # noqa: ASYNC110  # a socket has no event for it
        await asyncio.sleep(0)


def received(peer: socket.socket, count: int) -> int:
    """Receive this many bytes, or until the end; return how many came."""
    size = 0
    while size < count and (data := peer.recv(1_000_000)):
        size += len(data)
    return size


def test_a_large_response_is_not_received_ahead() -> None:
    """The loop receives little more of a response than is read, until more is read."""
    body = bytes(range(250)) * (LARGE // 250)

    async def scenario(stream: AsyncStream, peer: socket.socket) -> tuple[int, bytes]:
        below = socket_of(stream)
        sending = asyncio.create_task(asyncio.to_thread(peer.sendall, body))
        await becomes_true(lambda: not below.transport.is_reading())
        ahead = sum(map(len, below.chunks))
        read = b""
        while len(read) < LARGE:
            read += await stream.read(100_000)
        await sending
        return ahead, read

    ahead, read = run(scenario)
    # The loop itself receives up to 256 KiB at a time.
    enough = _async_backend._ENOUGH  # pyright: ignore[reportPrivateUsage]
    assert enough < ahead <= 2 * enough
    assert body == read


def test_a_large_request_waits_for_the_peer() -> None:
    """A write ends when the peer has taken most of what it writes."""

    async def scenario(stream: AsyncStream, peer: socket.socket) -> tuple[bool, int]:
        writing = asyncio.create_task(stream.write(bytes(LARGE)))
        await becomes_true(lambda: socket_of(stream).is_full)
        was_done = writing.done()
        receiving = asyncio.create_task(asyncio.to_thread(received, peer, LARGE))
        await writing
        return was_done, await receiving

    assert (False, LARGE) == run(scenario)


def test_a_peer_that_leaves_during_a_write() -> None:
    """A write whose peer leaves before taking all of it raises `WriteError`, with both clients."""

    async def scenario(stream: AsyncStream, peer: socket.socket) -> None:
        writing = asyncio.create_task(stream.write(bytes(LARGE)))
        await becomes_true(lambda: socket_of(stream).is_full)
        peer.close()
        with pytest.raises(httpcore.WriteError):
            await writing

    run(scenario)
    with connected() as (stream, peer):
        peer.close()
        with pytest.raises(httpcore.WriteError):
            stream.write(bytes(LARGE))


def test_a_peer_that_sends_instead_of_receiving() -> None:
    """A write ends at the deadline, even if each byte that the peer sends ends one of its waits."""

    async def scenario(stream: AsyncStream, peer: socket.socket) -> None:
        writing = asyncio.create_task(stream.write(bytes(LARGE)))
        await becomes_true(lambda: socket_of(stream).is_full)
        watch_of(stream).begin(Limits({}, time.monotonic()), is_open=True)
        peer.sendall(b"x")
        with pytest.raises(httpcore.WriteTimeout):
            await writing

    run(scenario)


def test_bytes_that_arrive_as_the_time_is_up() -> None:
    """A read whose bytes and whose timeout come in the same pass of the loop returns the bytes."""

    async def scenario(stream: AsyncStream, peer: socket.socket) -> None:
        raised: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
        reading = asyncio.ensure_future(stream.read(100, timeout=0.01))
        await asyncio.sleep(0)
        peer.sendall(b"in time")
        time.sleep(0.02)  # noqa: ASYNC251  # the loop stands still, so both wait for it
        assert b"in time" == await reading
        assert [] == raised

    run(scenario)


def test_a_closed_stream() -> None:
    """A closed stream sends nothing more, and counts as readable, so that no call uses it."""

    async def scenario(stream: AsyncStream, peer: socket.socket) -> None:
        await stream.aclose()
        with pytest.raises(httpcore.WriteError, match="closed"):
            await stream.write(b"more")
        assert b"" == peer.recv(100)
        assert stream.get_extra_info("is_readable")

    run(scenario)
    with connected() as (stream, peer):
        stream.close()
        with pytest.raises(httpcore.WriteError):
            stream.write(b"more")
        assert b"" == peer.recv(100)
        assert stream.get_extra_info("is_readable")


def test_tls_within_tls_closes_the_socket() -> None:
    """Closing the inner layer closes the connection to the proxy."""
    with connected() as (stream, peer):
        TLSStream(stream, Layer(ssl.create_default_context(), "api.kraty.test")).close()
        assert b"" == peer.recv(100)


def test_no_time_is_left_for_a_handshake() -> None:
    """A handshake after the deadline is not begun, and the socket is closed."""
    ours, peer = socket.socketpair()
    watch = Watch()
    watch.begin(Limits({}, time.monotonic() - 1), is_open=False)
    with peer, pytest.raises(httpcore.ConnectTimeout):
        Stream(ours, watch).start_tls(ssl.create_default_context(), "api.kraty.test")
    assert -1 == ours.fileno()


def test_a_step_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step begins at the deadline: a socket whose timeout is 0 would not wait at all."""
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    watch = Watch()
    watch.begin(Limits({}, 5.0), is_open=True)
    watch.was_sent = True
    with pytest.raises(httpcore.ReadTimeout):
        watch.left(None, httpcore.ReadTimeout)


def test_an_answer_that_arrived_while_the_machine_slept() -> None:
    """An answer is read even if the machine slept past the deadline after sending the request; a
    request is not sent after such a sleep."""
    slept = Limits({}, time.monotonic() + PATIENCE, wall_ends_at=time.time() - 1)
    with connected() as (stream, peer):
        watch = watch_of(stream)
        peer.sendall(b"answer")
        watch.begin(slept, is_open=True)
        watch.was_sent = True
        assert b"answer" == stream.read(100)
        watch.begin(slept, is_open=True)
        stream.write(b"head")
        with pytest.raises(httpcore.WriteTimeout):
            stream.write(b"body")


def test_a_handshake_within_tls_sends_no_request() -> None:
    """After a failed TLS handshake through a proxy with TLS, no part of a request was sent."""
    context = ssl.create_default_context()
    ours, peer = socket.socketpair()
    watch = Watch()
    outer = context.wrap_socket(ours, server_hostname="proxy.test", do_handshake_on_connect=False)
    peer.close()
    with pytest.raises(httpcore.WriteError):
        Stream(outer, watch).start_tls(context, "api.kraty.test")
    assert not watch.was_sent


def test_tls_that_has_failed() -> None:
    """After TLS has failed, the peer gets an alert, a write raises `WriteError` and a read finds
    the end."""
    layer = Layer(ssl.create_default_context(), "api.kraty.test")
    handshake = layer.handshake()
    hello, wants_more = next(handshake)
    assert (b"\x16\x03\x01", True) == (hello[:3], wants_more)
    alert, wants_more = handshake.send(b"\x16\x03\x03\x00\x04none")
    assert (b"\x15", False) == (alert[:1], wants_more)
    with pytest.raises(httpcore.ConnectError):
        next(handshake)
    with pytest.raises(httpcore.WriteError):
        next(layer.write(b"request"))
    with pytest.raises(StopIteration) as ended:
        next(layer.read(100))
    assert b"" == ended.value.value
