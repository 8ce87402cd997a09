"""Own connections: limits, mocks, proxies and pools."""

from __future__ import annotations

import asyncio
import gc
import gzip
import importlib
import os
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import types
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpcore
import httpx
import pytest
import respx

import kraty_admin
import kraty_server_api
from kraty_admin import KratyError, KratyNetworkError, RetryConfig
from kraty_admin._call._exchange import Limits
from kraty_admin._transport import _async_backend, _backend, _body
from kraty_admin._transport._backend import Stream, Watch
from kraty_admin._transport._tunnel import _address  # pyright: ignore[reportPrivateUsage]
from loopback import (
    ASYNC,
    AT_ONCE,
    CANARY,
    KEY,
    ONCE,
    SYNC,
    Seen,
    Twin,
    credited,
    response,
    serving,
    settled,
    twins,
)

RESULT: Final = {"data": {"economyKey": "gold", "balance": 7, "applied": True}}
CREDIT: Final = "https://api.kraty.io/server/v1/players/player_42/wallet/gold/credit"


class TestRespx:
    """respx, with which users mock HTTP."""

    @pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:9", "socks5://127.0.0.1:9"])
    @twins
    def test_own(self, twin: Twin, proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        """respx sees and answers the request of an own connection, also behind a proxy."""
        if proxy is not None:
            monkeypatch.setenv("HTTPS_PROXY", proxy)
        requests: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return httpx.Response(200, json=RESULT)

        with respx.mock:
            respx.post(CREDIT).mock(side_effect=answer)
            assert 7 == twin.credit().balance
        (request,) = requests
        assert f"Bearer {KEY}" == request.headers["authorization"]
        assert b'"amount":500' in request.content

    @twins
    def test_http_client(self, twin: Twin) -> None:
        """respx also works with a caller's client."""
        with respx.mock:
            respx.post(CREDIT).respond(json=RESULT)
            client = twin.http_client()
            assert 7 == twin.credit(http_client=client).balance

    @pytest.mark.parametrize("own", [True, False], ids=["own", "http_client"])
    @pytest.mark.parametrize(
        ("failure", "ambiguous"), [(httpx.ReadTimeout, True), (httpx.ConnectError, False)]
    )
    @twins
    def test_failures(
        self, twin: Twin, failure: type[Exception], ambiguous: bool, own: bool
    ) -> None:
        """An exception from respx counts like a real failure, and the call is retried."""
        with respx.mock:
            route = respx.post(CREDIT).mock(side_effect=failure("no"))
            with pytest.raises(KratyNetworkError) as raised:
                twin.credit(retry=AT_ONCE, http_client=None if own else twin.http_client())
        assert (failure.__name__, ambiguous) == (raised.value.cause_name, raised.value.ambiguous)
        assert 4 == route.call_count

    @twins
    def test_of_the_test(self, twin: Twin) -> None:
        """An exception of the test's own code comes out unchanged, with the call's key."""
        failure = LookupError("in the test")
        with respx.mock:
            route = respx.post(CREDIT).mock(side_effect=failure)
            with pytest.raises(LookupError) as raised:
                twin.credit(retry=AT_ONCE)
        assert (failure, 1) == (raised.value, route.call_count)
        assert vars(failure)["kraty_call"].idempotency_key


def packed(body: bytes, encoding: str) -> Callable[[Seen], bytes]:
    """Return a handler whose answer has a body in this encoding."""
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {len(body)}\r\n\r\n"
    return lambda seen: head.encode() + body


def bare_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


GOOD: Final = b'{"data":{"economyKey":"gold","balance":7,"applied":true}}'


class TestBodies:
    """Bodies that are compressed or large."""

    @pytest.mark.parametrize(
        ("encoding", "body"),
        [
            pytest.param("gzip", gzip.compress(GOOD), id="gzip"),
            pytest.param("deflate", zlib.compress(GOOD), id="zlib"),
            pytest.param("deflate", bare_deflate(GOOD), id="bare-deflate"),
            pytest.param("gzip, deflate", zlib.compress(gzip.compress(GOOD)), id="both"),
            pytest.param("identity", GOOD, id="identity"),
        ],
    )
    @twins
    def test_unpacked(self, twin: Twin, encoding: str, body: bytes) -> None:
        """A body in an encoding that a proxy may apply is decoded."""
        with serving(packed(body, encoding)) as server:
            assert 7 == twin.credit(base_url=server.url).balance

    @pytest.mark.parametrize(
        "broken", [b"no gzip", gzip.compress(GOOD)[:-12]], ids=["no-gzip", "cut-off"]
    )
    @twins
    def test_broken(self, twin: Twin, broken: bytes) -> None:
        """A body that cannot be decompressed makes the call ambiguous."""
        with serving(packed(broken, "gzip")) as server, pytest.raises(KratyNetworkError) as raised:
            twin.credit(base_url=server.url, retry=ONCE)
        assert ("DecodingError", True) == (raised.value.cause_name, raised.value.ambiguous)

    @pytest.mark.parametrize("encoding", ["gzip", "identity"])
    @twins
    def test_too_large(self, twin: Twin, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A body beyond the limit, compressed or not, makes the call ambiguous."""
        monkeypatch.setattr("kraty_admin._transport._own.LIMIT", 100_000)
        monkeypatch.setattr(_body, "LIMIT", 100_000)
        body = b" " * 100_001
        packing = gzip.compress(body) if encoding == "gzip" else body
        with serving(packed(packing, encoding)) as server:
            with pytest.raises(KratyNetworkError, match="larger than") as raised:
                twin.credit(base_url=server.url, retry=ONCE)
            assert raised.value.ambiguous
            # One byte less is not too large: it is only no JSON.
            monkeypatch.setattr("kraty_admin._transport._own.LIMIT", 100_001)
            monkeypatch.setattr(_body, "LIMIT", 100_001)
            with pytest.raises(KratyError, match="not a result"):
                twin.credit(base_url=server.url, retry=ONCE)

    def test_a_bomb_is_not_unpacked_whole(self) -> None:
        """A body of 256 KiB that expands to 256 MiB is refused without being fully expanded."""
        packer = zlib.compressobj(wbits=31)
        first, later = (
            packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
        )
        # Later blocks are equal, so one is enough. The end, with the checksum, is never reached.
        bomb = first + 255 * later
        tracemalloc.start()
        try:
            with pytest.raises(httpx.DecodingError, match="64 MiB"):
                _body.unpack(bomb, "gzip")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 200 << 20


class TestContexts:
    """SSL contexts."""

    def test_are_shared(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Clients share an SSL context while the certificate files are the same and unchanged."""

        def context() -> ssl.SSLContext:
            found = SYNC.client()._sender.channel._endpoint.ssl_context()
            assert isinstance(found, ssl.SSLContext)
            return found

        first = context()
        assert first is context()
        import certifi

        copy = tmp_path / "authorities.pem"
        copy.write_bytes(Path(certifi.where()).read_bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(copy))
        other = context()
        assert other is not first
        assert other is context()
        os.utime(copy, (1, 1))
        assert other is not context()
        monkeypatch.delenv("SSL_CERT_FILE")
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        assert context() not in (first, other)


@contextmanager
def socks_proxy(
    replies: list[bytes], behind: Callable[[socket.socket], None] | None = None
) -> Generator[tuple[str, list[bytes]], None, None]:
    """Start a proxy that sends these replies, one for each message, and then runs `behind`."""
    received: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError), accepted:
                accepted.settimeout(20)
                for reply in replies:
                    received.append(accepted.recv(1000))
                    for byte in reply:
                        accepted.sendall(bytes([byte]))
                if behind is not None:
                    behind(accepted)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", received
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(20)


class TestSocks:
    """SOCKS proxies."""

    @pytest.mark.parametrize(
        ("host", "sent"),
        [
            pytest.param("127.0.0.1", b"\1\x7f\0\0\1", id="IPv4"),
            pytest.param("::1", b"\4" + bytes(15) + b"\1", id="IPv6"),
            pytest.param("vm", b"\3\2vm", id="name"),
        ],
    )
    def test_hosts(self, host: str, sent: bytes) -> None:
        """An address is sent to the proxy as such, and a name is left for it to resolve."""
        assert sent == _address(host)

    @pytest.mark.parametrize(
        "replies",
        [
            pytest.param([b""], id="closed"),
            pytest.param([b"\5\0", b""], id="closed-later"),
            pytest.param([b"HTTP/1.1 400 Bad Request\r\n\r\n"], id="HTTP"),
            pytest.param([b"\5\xff"], id="no-method"),
            pytest.param([b"\5\0", b"\5\5\0\1\0\0\0\0\0\0"], id="refused"),
        ],
    )
    @twins
    def test_that_fails(
        self, twin: Twin, replies: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A call that fails at the SOCKS proxy is retried, and is not ambiguous."""
        with socks_proxy(replies) as (address, _):
            monkeypatch.setenv("ALL_PROXY", f"socks5://{address}")
            with pytest.raises(KratyNetworkError) as raised:
                twin.credit(base_url="https://vm:1", retry=RetryConfig(attempts=2, initial_delay=0))
        assert ("ProxyError", False, 2) == (
            raised.value.cause_name,
            raised.value.ambiguous,
            raised.value.attempts,
        )

    @twins
    def test_wrong_password(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy that rejects user or password gets no further message."""
        with socks_proxy([b"\5\2", b"\1\1"]) as (address, received):
            monkeypatch.setenv("ALL_PROXY", f"socks5://user:pass@{address}")
            with pytest.raises(KratyNetworkError, match="password") as raised:
                twin.credit(base_url="https://api.kraty.test", retry=ONCE)
        assert ("ProxyError", False, 2) == (
            raised.value.cause_name,
            raised.value.ambiguous,
            len(received),
        )

    @pytest.mark.parametrize("user", [None, "user:pass"])
    @twins
    def test_that_connects(
        self, twin: Twin, user: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The proxy gets the host's name, and user and password if set; TLS follows."""
        spoken: list[bytes] = []

        def behind(accepted: socket.socket) -> None:
            spoken.append(accepted.recv(3))

        connected = b"\5\0\0\1\0\0\0\0\0\0"
        replies = [b"\5\0", connected] if user is None else [b"\5\2", b"\1\0", connected]
        with socks_proxy(replies, behind) as (address, received):
            monkeypatch.setenv("ALL_PROXY", f"socks5://{user + '@' if user else ''}{address}")
            with pytest.raises(KratyNetworkError) as raised:
                twin.credit(base_url="https://api.kraty.test", retry=ONCE)
        assert not raised.value.ambiguous
        assert b"\5\1\0\3\x0eapi.kraty.test\x01\xbb" == received[-1]
        if user is not None:
            assert b"\1\4user\4pass" == received[1]
        assert [b"\x16\x03\x01"] == spoken


class TestWaiting:
    """Calls that wait for a connection."""

    @twins
    def test_the_budget_is_not_charged(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call that only waited for a connection does not use the retry budget."""
        monkeypatch.setattr("kraty_admin._transport._own.CONNECTIONS", 1)
        busy = threading.Event()
        seen_first: list[Seen] = []

        def answer(seen: Seen) -> bytes:
            busy.set()
            if seen.player == "first" and not seen_first:
                seen_first.append(seen)
                release.wait(30)
                return response(503)
            return credited(seen)

        release = threading.Event()

        async def scenario(kraty: Any) -> tuple[Any, KratyNetworkError]:
            def credit(client: Any, player: str) -> Any:
                return client.wallet.credit(player, "gold", amount=1)

            impatient = kraty.with_options(timeout=httpx.Timeout(30, pool=0.02))
            first = (
                credit(kraty, "first")
                if twin.is_async
                else asyncio.to_thread(credit, kraty, "first")
            )
            holding = asyncio.ensure_future(first)
            await asyncio.to_thread(busy.wait, 30)
            with pytest.raises(KratyNetworkError) as raised:
                await settled(credit(impatient, "waiting"))
            release.set()
            return await holding, raised.value

        with serving(answer) as server:
            result, error = twin.run(scenario, base_url=server.url, retry=AT_ONCE, retry_budget=1)
        assert ("PoolTimeout", 4, False) == (error.cause_name, error.attempts, error.ambiguous)
        assert 2 == result.http.attempts

    @twins
    def test_a_refused_connection_is_charged(self, twin: Twin) -> None:
        """A refused connection uses the retry budget, since the server may be down."""
        with serving() as server:
            url = server.url
        with pytest.raises(KratyNetworkError) as raised:
            twin.credit(base_url=url, retry=AT_ONCE, retry_budget=1)
        assert ("ConnectError", 2) == (raised.value.cause_name, raised.value.attempts)

    @twins
    def test_a_mocked_failure_is_charged(self, twin: Twin) -> None:
        """A failure that respx raises uses the retry budget, as the real one would."""
        with respx.mock:
            respx.post(CREDIT).mock(side_effect=httpx.ReadTimeout("no"))
            with pytest.raises(KratyNetworkError) as raised:
                twin.credit(retry=AT_ONCE, retry_budget=1)
        assert 2 == raised.value.attempts

    @twins
    def test_until_the_deadline(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """Unless `timeout.pool` is set, a call may wait for a connection longer than its
        `timeout`."""
        monkeypatch.setattr("kraty_admin._transport._own.CONNECTIONS", 1)
        order: list[str] = []

        def answer(seen: Seen) -> bytes:
            order.append(seen.player)
            server.over.wait(0.25)
            return credited(seen)

        async def scenario(kraty: Any) -> None:
            def credit(player: str) -> Any:
                return kraty.wallet.credit(player, "gold", amount=1)

            names = [f"p{number}" for number in range(3)]
            await asyncio.gather(
                *(credit(n) if twin.is_async else asyncio.to_thread(credit, n) for n in names)
            )

        with serving(answer) as server:
            twin.run(scenario, base_url=server.url, timeout=0.4, retry=ONCE)
        assert ["p0", "p1", "p2"] == sorted(order)


OUT_OF_FILES = """
import asyncio, json, resource, sys
from kraty_admin import KratyAdmin, KratyAdminAsync, KratyNetworkError, RetryConfig

options = dict(api_key="a.b", base_url=sys.argv[1], retry=RetryConfig(attempts=2, initial_delay=0),
               retry_budget=1)

def fill():
    files = []
    try:
        while True:
            files.append(open("/dev/null"))
    except OSError:
        return files

def show(error, kraty):
    print(error.ambiguous, error.attempts, len(kraty._budget._spent))

async def main():
    async with KratyAdminAsync(**options) as kraty:
        await kraty.health.ping()
        kraty._sender.channel.pools.get()._idle.clear()
        files = fill()
        try:
            await kraty.wallet.credit("p", "gold", amount=1)
        except KratyNetworkError as error:
            del files
            show(error, kraty)

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
if sys.argv[2] == "async":
    asyncio.run(main())
else:
    with KratyAdmin(**options) as kraty:
        files = fill()
        try:
            kraty.wallet.credit("p", "gold", amount=1)
        except KratyNetworkError as error:
            del files
            show(error, kraty)
"""


def run_program(source: str, *arguments: str) -> str:
    """Return the output of a program, which must succeed and print no error."""
    done = subprocess.run(
        [sys.executable, "-c", source, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ("", 0) == (done.stderr, done.returncode)
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of open files")
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_out_of_file_descriptors(mode: str) -> None:
    """A call that finds no file descriptor is not ambiguous, and does not use the retry budget."""
    with serving() as server:
        assert "False 2 0\n" == run_program(OUT_OF_FILES, server.url, mode)


def received_after_a_head(is_async: bool, then: str) -> list[bytes]:
    """Return what a peer receives after a head is written, and after the next write or read."""
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    received: list[bytes] = []

    def note() -> None:
        try:
            received.append(peer.recv(100))
        except BlockingIOError:
            received.append(b"")

    async def converse_async() -> None:
        loop = asyncio.get_running_loop()
        ours.setblocking(False)
        _, below = await loop.create_connection(_async_backend.Socket, sock=ours)
        stream = _async_backend.AsyncStream(below, _backend.Watch())
        await stream.write(b"head ")
        note()
        if then == "write":
            await stream.write(b"body", 5)
        else:
            peer.send(b"answer")
            received.append(await stream.read(100, 5))
        note()
        await stream.aclose()

    def converse() -> None:
        stream = _backend.Stream(ours, _backend.Watch())
        stream.write(b"head ")
        note()
        if then == "write":
            stream.write(b"body", 5)
        else:
            peer.send(b"answer")
            received.append(stream.read(100, 5))
        note()
        stream.close()

    with peer:
        asyncio.run(converse_async()) if is_async else converse()
    return received


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_head_and_body_leave_together(is_async: bool) -> None:
    """A request's head is not sent before its body, or before the response is read."""
    assert [b"", b"head body"] == received_after_a_head(is_async, "write")
    assert [b"", b"answer", b"head "] == received_after_a_head(is_async, "read")


def test_entries_of_a_call() -> None:
    """A warm call enters at most 70 functions of the package."""
    folders = (*kraty_admin.__path__, *kraty_server_api.__path__)
    entries: list[str] = []

    def note(frame: types.FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(folders):
            entries.append(frame.f_code.co_name)

    with serving() as server, SYNC.client(base_url=server.url) as kraty:
        for _ in range(2):
            kraty.wallet.credit("p", "gold", amount=1)
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            kraty.wallet.credit("p", "gold", amount=1)
        finally:
            sys.setprofile(before)
    assert 40 < len(entries) <= 70, entries


GREENLETS = """
import sys
from kraty_admin import KratyAdmin
kraty = KratyAdmin(api_key="a.b", base_url=sys.argv[1], deadline=20)
from gevent import monkey
monkey.patch_all()
import gevent
done = []
def credit(number):
    kraty.wallet.credit(f"p{number}", "gold", amount=1)
    done.append(number)
gevent.joinall([gevent.spawn(credit, number) for number in range(150)], raise_error=True)
print(len(done))
"""


def test_imported_before_gevent_patched() -> None:
    """150 greenlets get their answers from a client that was created before gevent patched."""
    pytest.importorskip("gevent")
    with serving() as server:
        assert "150\n" == run_program(GREENLETS, server.url)


@pytest.mark.parametrize("own", [True, False], ids=["own", "http_client"])
def test_trio(own: bool) -> None:
    """Under trio, the first call raises an error that names asyncio, and nothing is sent."""
    trio = importlib.import_module("trio")
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=RESULT)

    async def main() -> None:
        http_client = None if own else ASYNC.mocked(answer)
        kraty = ASYNC.client(base_url="http://127.0.0.1:9", http_client=http_client)
        with pytest.raises(KratyError, match="asyncio") as raised:
            await kraty.wallet.credit("p", "gold", amount=1)
        assert KratyError is type(raised.value)

    trio.run(main)
    assert [] == sent


class Soft(Exception):  # noqa: N818 -- like Celery's SoftTimeLimitExceeded
    """An exception that the caller's signal handler raises."""


def values_in(error: BaseException | None) -> Iterable[str]:
    """Yield the repr of each local variable that an exception's frames still hold."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback = error.__traceback__
        while traceback is not None:
            frame: types.FrameType | None = traceback.tb_frame
            while frame is not None and id(frame) not in seen:
                seen.add(id(frame))
                if frame.f_code is test_interrupted_anywhere.__code__:
                    break
                yield from map(repr, list(frame.f_locals.values()))
                frame = frame.f_back
            traceback = traceback.tb_next
        error = error.__context__


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signals here")
# A socket that is cut off while Python makes it is closed when it is collected, and what
# is raised in a callback of the garbage collector goes nowhere.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("untraced")
def test_interrupted_anywhere() -> None:
    """After 2,000 calls that a signal handler interrupted, no frame shows the key, and no call
    hung."""
    is_armed = False

    def interrupt(*_: object) -> None:
        if is_armed:
            raise Soft

    calls, cuts, longest, shown = 0, 0, 0.0, 0
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with serving() as server, SYNC.client(base_url=server.url, deadline=2.0) as kraty:
            while cuts < 2_000:
                started = time.monotonic()
                calls += 1
                # From the first moment of a call to some time after its end. By the calls, not
                # the cuts: a delay that is longer than a call would be tried for ever.
                seconds = 0.00001 + 0.001 * (calls % 97) / 97
                try:
                    is_armed = True
                    signal.setitimer(signal.ITIMER_REAL, seconds)
                    try:
                        kraty.wallet.credit("p", "gold", amount=1, idempotency_key="k")
                    finally:
                        is_armed = False
                        signal.setitimer(signal.ITIMER_REAL, 0)
                except Soft as error:
                    cuts += 1
                    shown += any(CANARY in value for value in values_in(error))
                longest = max(longest, time.monotonic() - started)
            pool = kraty._sender.channel.pools.get()
            gc.collect()  # a place returns when nothing refers to it any more
            assert 100 == pool.gate._free.qsize()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # A call ends at its deadline of 2 s; on a busy machine that shows later.
    assert (0, True) == (shown, longest < 20)


def test_an_unknown_encoding() -> None:
    """A body in an unknown encoding stays as it came, even below a known one."""
    assert b"body" == _body.unpack(b"body", "br")
    assert b"body" == _body.unpack(gzip.compress(b"body"), "br, gzip")


def test_an_empty_write_hides_no_reset() -> None:
    """A reset that arrives before the last, empty piece of a body is read as a reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    watch = Watch()
    watch.begin(Limits({}, time.monotonic() + 10), is_open=True)
    stream = Stream(ours, watch)
    stream.write(b"head")
    stream.write(b"body")
    # Closing without lingering sends a reset.
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    assert select.select([ours], [], [], 10)[0]
    stream.write(b"")
    with pytest.raises(httpcore.ReadError):
        stream.read(100)
    stream.close()
