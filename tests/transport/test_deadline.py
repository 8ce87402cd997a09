"""The deadline in every step of an attempt."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import pytest

from kraty_admin import KratyNetworkError
from loopback import ONCE, Twin, serving, settled, twins

channels: Final = pytest.mark.parametrize("own", [True, False], ids=["own", "http_client"])


def failing(
    twin: Twin, own: bool, *, reason: str | None = None, **options: Any
) -> tuple[KratyNetworkError, float]:
    """Return the error of one credit, and how many seconds it took."""

    async def scenario(kraty: Any) -> tuple[KratyNetworkError, float]:
        started = time.monotonic()
        with pytest.raises(KratyNetworkError) as raised:
            await settled(kraty.wallet.credit("p", "gold", amount=1, reason=reason))
        return raised.value, time.monotonic() - started

    http_client = None if own else twin.http_client(trust_env=False)
    return twin.run(scenario, http_client=http_client, retry=ONCE, **options)


@contextmanager
def dead_addresses(count: int, port: int = 0) -> Generator[tuple[list[str], int], None, None]:
    """Yield addresses of this machine that accept no connection, since their queues are full."""
    with ExitStack() as stack:
        hosts: list[str] = []
        for number in range(count):
            hosts.append(f"127.0.0.{20 + number}")
            listener = stack.enter_context(socket.socket())
            listener.bind((hosts[-1], port))
            port = listener.getsockname()[1]
            listener.listen(0)
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((hosts[-1], port))
        yield hosts, port


def resolve_to(monkeypatch: pytest.MonkeyPatch, hosts: list[str]) -> None:
    """Have `localhost` resolve to these addresses."""

    def getaddrinfo(host: object, port: int, *args: object, **kwargs: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a full backlog hang")
class TestAddresses:
    """Hosts with several addresses."""

    @twins
    def test_all_dead(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """Six dead addresses together take no longer than the connect timeout of one."""
        with dead_addresses(6) as (hosts, port):
            resolve_to(monkeypatch, hosts)
            url = f"http://localhost:{port}"
            error, took = failing(twin, True, base_url=url, timeout=0.5, deadline=3)
        assert ("ConnectTimeout", False) == (error.cause_name, error.ambiguous)
        assert 0.4 < took < 1.5

    @twins
    def test_one_alive(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """A dead first address leaves time for the second."""
        with serving() as server, dead_addresses(1, server.port) as (hosts, port):
            resolve_to(monkeypatch, [*hosts, "127.0.0.1"])
            result = twin.credit(base_url=f"http://localhost:{port}", deadline=2, retry=ONCE)
        assert 500 == result["balance"]


class TestResolver:
    """A resolver that takes longer than the deadline."""

    @pytest.fixture
    def slow(self, monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
        resolve, over = socket.getaddrinfo, threading.Event()

        def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
            over.wait(0.6)
            return resolve(*args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield
        over.set()

    @pytest.mark.usefixtures("slow")
    @channels
    @twins
    def test_nothing_is_sent(self, twin: Twin, own: bool) -> None:
        """A call whose resolver is too slow raises, in asyncio in time, and sends nothing."""
        with serving() as server:
            url = f"http://localhost:{server.port}"
            error, took = failing(twin, own, base_url=url, deadline=0.3)
        assert ("ConnectTimeout", False, []) == (error.cause_name, error.ambiguous, server.seen)
        assert took < (0.6 if twin.is_async and own else 2)


class TestSending:
    """A server that takes the request slowly but steadily."""

    @twins
    def test_slow_reader(self, twin: Twin) -> None:
        """A server that reads slowly does not extend the deadline."""
        over = threading.Event()

        def drain(accepted: socket.socket) -> None:
            with accepted:
                while not over.wait(0.01) and accepted.recv(65_536):
                    pass

        with socket.create_server(("127.0.0.1", 0)) as listener:

            def accept() -> None:
                drain(listener.accept()[0])

            thread = threading.Thread(target=accept, daemon=True)
            thread.start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            error, took = failing(twin, True, base_url=url, deadline=1.0, reason="x" * 32_000_000)
            over.set()
            thread.join(10)
        assert ("WriteTimeout", True) == (error.cause_name, error.ambiguous)
        assert took < 3


class TestHandshakes:
    """Peers that are slow before the request can be sent."""

    @twins
    def test_tls(self, twin: Twin) -> None:
        """A server that never completes the TLS handshake does not extend the deadline."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"https://127.0.0.1:{listener.getsockname()[1]}"
            error, took = failing(twin, True, base_url=url, deadline=0.3)
        assert ("ConnectTimeout", False) == (error.cause_name, error.ambiguous)
        assert took < 2

    @pytest.mark.parametrize("scheme", ["http", "socks5"])
    @twins
    def test_proxy(self, twin: Twin, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy that answers byte by byte does not extend the deadline."""
        over = threading.Event()
        reply = b"HTTP/1.1 200 OK\r\nx: " if scheme == "http" else b"\5\0\5\0\0\3\xff"

        def drip(listener: socket.socket) -> None:
            accepted, _ = listener.accept()
            with accepted:
                for byte in reply + b"a" * 100:
                    if over.wait(0.02):
                        return
                    accepted.sendall(bytes([byte]))

        for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=drip, args=[listener], daemon=True)
            thread.start()
            proxy = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            error, took = failing(twin, True, base_url="https://api.kraty.test", deadline=0.5)
            over.set()
            thread.join(10)
        assert ("ReadTimeout", False) == (error.cause_name, error.ambiguous)
        assert took < 2


@channels
@twins
def test_a_machine_that_sleeps_while_connecting(
    twin: Twin, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent if the deadline passed while the machine slept, although the clock that
    deadlines are measured on stopped."""
    clock, resolve, slept = time.time, socket.getaddrinfo, [0.0]

    def sleep(*arguments: Any, **options: Any) -> None:
        slept[0] = 25 * 3600

    def resolve_and_sleep(*arguments: Any, **options: Any) -> Any:
        sleep()
        return resolve(*arguments, **options)

    with serving() as server:
        monkeypatch.setattr(time, "time", lambda: clock() + slept[0])
        if own:
            http_client = None
            monkeypatch.setattr(socket, "getaddrinfo", resolve_and_sleep)
        else:
            hooks = {"request": [twin.hook(sleep)]}
            http_client = twin.http_client(trust_env=False, event_hooks=hooks)
        with pytest.raises(KratyNetworkError) as raised:
            twin.credit(base_url=server.url, http_client=http_client, retry=ONCE)
    assert ([], False) == (server.seen, raised.value.ambiguous)
