"""The bytes on the wire, where they go, and how long calls may take."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import product
from pathlib import Path
from shutil import which
from typing import Any, Final
from urllib.parse import unquote

import httpcore
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraty_admin import KratyAdmin, KratyNetworkError, KratyServerError, RetryConfig
from kraty_admin._call._exchange import Limits
from kraty_admin._transport._async_backend import AsyncTLSStream
from kraty_admin._transport._backend import Stream, TLSStream, Watch
from kraty_admin._transport._layer import Layer
from kraty_admin._transport._lent import Phases
from kraty_admin._transport._proxy import proxy_for
from loopback import (
    ASYNC,
    AT_ONCE,
    CANARY,
    KEY,
    ONCE,
    SYNC,
    Seen,
    Twin,
    always,
    credited,
    mock_own_connections,
    response,
    serving,
    settled,
    twins,
)


def redirected(location: str, status: int) -> Callable[[Seen], bytes]:
    """Return a handler that redirects to this location."""

    def answer(seen: Seen) -> bytes:
        return response(status, {}, location=location)

    return answer


class Captured:
    """Records the requests that our own transport gets, and answers them without a network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[httpx.Request] = []
        self.phases: list[dict[str, float | None]] = []

        def handle(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            self.phases.append(dict(request.extensions["timeout"]))
            return httpx.Response(200, json={"data": {"applied": 1, "skipped": 0, "failed": 0}})

        mock_own_connections(monkeypatch, handle)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Captured:
    return Captured(monkeypatch)


# What is left of a path when its ids are taken out, and how to call with one id.
PLACES: Final[dict[str, tuple[str, str, Callable[[Any, Any], Any]]]] = {
    "wallet.credit, player": (
        "/server/v1/players/",
        "/wallet/gold/credit",
        lambda kraty, id_: kraty.wallet.credit(id_, "gold", amount=1),
    ),
    "wallet.credit, currency": (
        "/server/v1/players/player_42/wallet/",
        "/credit",
        lambda kraty, id_: kraty.wallet.credit("player_42", id_, amount=1),
    ),
    "inventory.revoke, item": (
        "/server/v1/players/player_42/inventory/",
        "/revoke",
        lambda kraty, id_: kraty.inventory.revoke("player_42", id_, quantity=1),
    ),
    "grants.ack, grant": (
        "/server/v1/players/player_42/grants/",
        "/ack",
        lambda kraty, id_: kraty.grants.ack("player_42", id_),
    ),
    "players.get, player": ("/server/v1/players/", "", lambda kraty, id_: kraty.players.get(id_)),
    "lobbies.read, lobby": (
        "/server/v1/games/arena/lobbies/",
        "",
        lambda kraty, id_: kraty.lobbies.read("arena", id_),
    ),
    "players.merge, source": (
        "/server/v1/players/",
        "/merge-into/player_42",
        lambda kraty, id_: kraty.players.merge(id_, "player_42"),
    ),
}

places: Final = pytest.mark.parametrize(
    "place", [pytest.param(name, id=name.replace(", ", "-")) for name in PLACES]
)


def id_in(target: str, prefix: str, suffix: str) -> str:
    """Return the id that a target names; it must not have changed the path around it."""
    assert target.startswith(prefix)
    assert target.endswith(suffix)
    segment = target[len(prefix) : len(target) - len(suffix)]
    assert prefix.count("/") + suffix.count("/") == target.count("/")
    assert segment.isascii()
    assert not set("?#\\ ") & set(target)
    return unquote(segment, errors="strict")


def random_ids(count: int, seed: int) -> Generator[str, None, None]:
    """Yield ids of all kinds of characters, many of which have a meaning in a URL."""
    source = random.Random(seed)
    telling = "/\\?#%&=+:;@!$'()*,.~-_ [](){}|^`\"<>abc019"
    while count:
        characters = [
            source.choice(telling) if source.random() < 0.6 else chr(source.randrange(0x110000))
            for _ in range(source.randrange(1, 12))
        ]
        id_ = "".join(c for c in characters if not 0xD800 <= ord(c) < 0xE000 and _is_printable(c))
        if id_ not in ("", ".", ".."):
            count -= 1
            yield id_


def _is_printable(character: str) -> bool:
    return not (ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0)


class TestIds:
    """Ids in paths: refused, or escaped so that they stay one segment."""

    @pytest.mark.parametrize(
        ("id_", "error"),
        [
            pytest.param("", ValueError, id="empty"),
            pytest.param(".", ValueError, id="dot"),
            pytest.param("..", ValueError, id="dot-dot"),
            pytest.param("a\x00b", ValueError, id="NUL"),
            pytest.param("a\nb", ValueError, id="line-feed"),
            pytest.param("a\r\nX-Other: 1", ValueError, id="header-injection"),
            pytest.param("a\tb", ValueError, id="tab"),
            pytest.param("\x1f", ValueError, id="last-C0-control"),
            pytest.param("\x7f", ValueError, id="DEL"),
            pytest.param("\x80", ValueError, id="first-C1-control"),
            pytest.param("\x9f", ValueError, id="last-C1-control"),
            pytest.param("\ud83d", ValueError, id="lone-high-surrogate"),
            pytest.param("a\udc00b", ValueError, id="lone-low-surrogate"),
            pytest.param(None, TypeError, id="None"),
            pytest.param(42, TypeError, id="int"),
            pytest.param(True, TypeError, id="bool"),
            pytest.param(b"player_42", TypeError, id="bytes"),
            pytest.param(["player_42"], TypeError, id="list"),
        ],
    )
    @twins
    def test_refused(self, twin: Twin, id_: object, error: type[Exception]) -> None:
        """An id that could name another endpoint, or is not text, is refused and nothing is
        sent."""
        sent: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            sent.append(request)
            return httpx.Response(200, json={"data": {}})

        async def scenario(kraty: Any) -> None:
            for _, _, call in PLACES.values():
                with pytest.raises(error, match=r"^\w+ (must|holds)") as raised:
                    await settled(call(kraty, id_))
                assert error is type(raised.value)

        twin.run(scenario, http_client=twin.mocked(answer))
        assert [] == sent

    @pytest.mark.parametrize(
        ("id_", "segment"),
        [
            pytest.param("a/b", "a%2Fb", id="slash"),
            pytest.param("../admin", "..%2Fadmin", id="dot-dot-slash"),
            pytest.param("a?b#c", "a%3Fb%23c", id="query-and-fragment"),
            pytest.param("%2e%2e", "%252e%252e", id="escaped-already"),
            pytest.param("...", "...", id="three-dots"),
            pytest.param("a b+c", "a%20b%2Bc", id="space-and-plus"),
            pytest.param("\\", "%5C", id="backslash"),
            pytest.param("-_.!~*'()", "-_.!~*'()", id="what-stays"),
            pytest.param("é😀", "%C3%A9%F0%9F%98%80", id="beyond-ASCII"),
            pytest.param("\xa0", "%C2%A0", id="no-break-space"),
        ],
    )
    @twins
    def test_escaped(self, twin: Twin, id_: str, segment: str) -> None:
        """Other ids are escaped as `encodeURIComponent` does, and arrive unchanged."""
        with serving() as server:
            assert id_ == twin.credit(id_, base_url=server.url)["player"]
        assert f"/server/v1/players/{segment}/wallet/gold/credit" == server.seen[0].target

    @places
    @given(id_=st.text(min_size=1))
    @settings(max_examples=60, deadline=None)
    def test_any_text(self, place: str, id_: str) -> None:
        """Any text as an id is either refused or stays one segment of the path."""
        prefix, suffix, call = PLACES[place]
        targets: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            targets.append(request.url.raw_path.decode("ascii"))
            return httpx.Response(200, json={"data": {}})

        with KratyAdmin(api_key=KEY, http_client=SYNC.mocked(answer)) as kraty:
            if id_ in (".", "..") or not all(map(_is_printable, id_)):
                with pytest.raises(ValueError, match=r"must not"):
                    call(kraty, id_)
                assert [] == targets
            else:
                call(kraty, id_)
                assert [id_] == [id_in(target, prefix, suffix) for target in targets]

    def test_many_ids(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """5,000 random ids reach httpcore unchanged in one segment of each path."""
        import httpcore

        targets: list[str] = []

        def handle(connection: object, request: httpcore.Request) -> httpcore.Response:
            targets.append(request.url.target.decode("ascii"))
            return httpcore.Response(200, content=b'{"data":{}}')

        monkeypatch.setattr(httpcore.HTTPConnection, "handle_request", handle)
        ids = list(random_ids(5_000, seed=25))
        kinds = list(PLACES.values())
        with SYNC.client(base_url="https://gw.example/kraty/") as kraty:
            for number, id_ in enumerate(ids):
                kinds[number % len(kinds)][2](kraty, id_)
        arrived = [
            id_in(target, f"/kraty{kinds[number % len(kinds)][0]}", kinds[number % len(kinds)][1])
            for number, target in enumerate(targets)
        ]
        assert ids == arrived

    @twins
    def test_many_ids_over_sockets(self, twin: Twin) -> None:
        """300 random ids reach a server unchanged in one segment of the path."""
        ids = list(random_ids(300, seed=26))

        async def scenario(kraty: Any) -> None:
            for id_ in ids:
                await settled(kraty.players.get(id_))

        with serving() as server:
            twin.run(scenario, base_url=server.url)
        assert ids == [id_in(seen.target, "/server/v1/players/", "") for seen in server.seen]


class TestPaths:
    """Where below `base_url` calls go."""

    @pytest.mark.parametrize("slash", ["", "/", "//"], ids=["none", "one", "two"])
    @pytest.mark.parametrize("prefix", ["", "/kraty", "/a/b%20c"], ids=["root", "path", "paths"])
    @twins
    def test_prefix(self, twin: Twin, prefix: str, slash: str) -> None:
        """The path of `base_url` precedes that of the call, with or without slashes at its end."""
        with serving() as server:
            twin.credit(base_url=f"{server.url}{prefix}{slash}")
        target = f"{prefix}/server/v1/players/player_42/wallet/gold/credit"
        assert [target] == [seen.target for seen in server.seen]

    @twins
    def test_bytes_of_a_request(self, twin: Twin) -> None:
        """A request has each header once, `Host` first, and the body."""
        with serving() as server:
            twin.credit(base_url=server.url, generate_idempotency_key=lambda: "k")
        (seen,) = server.seen
        names = [line.split(b":")[0].lower() for line in seen.head.split(b"\r\n")[1:-2]]
        expected = [
            b"host",
            b"accept",
            b"authorization",
            b"user-agent",
            b"x-kraty-sdk",
            b"content-type",
            b"content-length",
        ]
        assert expected == names
        assert f"127.0.0.1:{server.port}" == seen.headers["host"]
        assert b'{"amount":500,"idempotencyKey":"k"}' == seen.body

    @twins
    def test_bytes_of_a_read(self, twin: Twin) -> None:
        """A read has no body and no header about one."""

        async def scenario(kraty: Any) -> None:
            await settled(kraty.players.get("player_42"))

        with serving() as server:
            twin.run(scenario, base_url=server.url)
        (seen,) = server.seen
        assert ("GET", b"") == (seen.method, seen.body)
        assert set() == {"content-length", "content-type", "transfer-encoding"} & set(seen.headers)

    @twins
    def test_no_cookies(self, twin: Twin) -> None:
        """A cookie that the server sets is not sent back."""

        async def scenario(kraty: Any) -> None:
            for _ in range(2):
                await settled(kraty.players.get("player_42"))

        def answer(seen: Seen) -> bytes:
            return response(200, {"data": {}}, set_cookie="session=1; Path=/")

        with serving(answer) as server:
            twin.run(scenario, base_url=server.url)
        assert [False, False] == ["cookie" in seen.headers for seen in server.seen]

    @twins
    def test_one_connection(self, twin: Twin) -> None:
        """Consecutive calls use one connection."""

        async def scenario(kraty: Any) -> None:
            for _ in range(20):
                await settled(kraty.players.get("player_42"))

        with serving() as server:
            twin.run(scenario, base_url=server.url)
        assert {1} == {seen.connection for seen in server.seen}

    @twins
    def test_compressed_answer(self, twin: Twin) -> None:
        """A compressed answer is read although none was requested."""

        def answer(seen: Seen) -> bytes:
            body = gzip.compress(b'{"data":{"balance":7}}')
            head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}"
            return head.encode() + b"\r\n\r\n" + body

        with serving(answer) as server:
            assert {"balance": 7} == twin.credit(base_url=server.url)


@pytest.mark.parametrize(
    "player", [pytest.param("p" * 40_000, id="long"), pytest.param("é" * 10_000, id="escaped")]
)
@twins
def test_an_id_that_is_too_long(twin: Twin, player: str, captured: Captured) -> None:
    """An id that httpx could not put into a URL is refused, and nothing is sent."""

    async def scenario(kraty: Any) -> None:
        with pytest.raises(ValueError, match=r"query of wallet\.credit is too long"):
            await settled(kraty.wallet.credit(player, "gold", amount=1))

    twin.run(scenario)
    assert [] == captured.requests


class TestRawPaths:
    """`request()`, whose caller writes the path."""

    @pytest.mark.parametrize(
        "path",
        [
            pytest.param("", id="empty"),
            pytest.param("players", id="no-slash"),
            pytest.param("//evil.example/x", id="another-host"),
            pytest.param("/a//b", id="empty-segment"),
            pytest.param("https://evil.example/", id="a-URL"),
            pytest.param("/../admin", id="dot-dot"),
            pytest.param("/a/..", id="dot-dot-at-the-end"),
            pytest.param("/a/./b", id="dot"),
            pytest.param("/%2e%2e/admin", id="escaped-dot-dot"),
            pytest.param("/.%2E/admin", id="half-escaped-dot-dot"),
            pytest.param("/a?b=1", id="query"),
            pytest.param("/a#b", id="fragment"),
            pytest.param("/a b", id="space"),
            pytest.param("/é", id="not-ASCII"),
            pytest.param("/a\r\nX-Other: 1", id="header-injection"),
            pytest.param("/\ud800", id="lone-surrogate"),
            pytest.param("/" + "p" * 70_000, id="too-long"),
        ],
    )
    @twins
    def test_refused(self, twin: Twin, path: str, captured: Captured) -> None:
        """A path that could lead elsewhere is refused, and nothing is sent."""

        async def scenario(kraty: Any) -> None:
            with pytest.raises(ValueError, match=r"^path "):
                await settled(kraty.request("GET", path))

        twin.run(scenario)
        assert [] == captured.requests

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            pytest.param(None, "", id="none"),
            pytest.param({}, "", id="empty"),
            pytest.param({"a": None}, "", id="only-None"),
            pytest.param(
                {"q": "ü&=?#", "n": 7, "f": 1.5, "b": True, "x": None},
                "?q=%C3%BC%26%3D%3F%23&n=7&f=1.5&b=true",
                id="all-kinds",
            ),
        ],
    )
    @twins
    def test_query(self, twin: Twin, query: Any, expected: str) -> None:
        """Parameters are escaped, and those that are `None` are left out."""

        async def scenario(kraty: Any) -> Any:
            return await settled(kraty.request("GET", "/lobbies/weekly%2F1", query=query))

        def answer(seen: Seen) -> bytes:
            return response(200, {"data": seen.target})

        with serving(answer) as server:
            target = twin.run(scenario, base_url=server.url)
        assert f"/server/v1/lobbies/weekly%2F1{expected}" == target

    @pytest.mark.parametrize(
        "query",
        [
            pytest.param("a=b", id="str"),
            pytest.param([("a", "b")], id="pairs"),
            pytest.param({"a": ["b"]}, id="list-in-it"),
            pytest.param({"a": b"b"}, id="bytes-in-it"),
            pytest.param({7: "b"}, id="int-for-a-name"),
            pytest.param({"a": float("nan")}, id="NaN-in-it"),
        ],
    )
    @twins
    def test_bad_query(self, twin: Twin, query: Any, captured: Captured) -> None:
        """Parameters that no query can hold are refused, and nothing is sent."""

        async def scenario(kraty: Any) -> None:
            with pytest.raises((TypeError, ValueError), match=r"^query"):
                await settled(kraty.request("GET", "/lobbies/x", query=query))

        twin.run(scenario)
        assert [] == captured.requests


class TestAnswersOfRequest:
    """The results and refusals of `request`."""

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            pytest.param({"data": {"a": 1}}, {"a": 1}, id="only-data"),
            pytest.param({"data": [1]}, [1], id="data-that-is-a-list"),
            pytest.param({"data": [1], "next": "c"}, {"data": [1], "next": "c"}, id="paged"),
            pytest.param({"ok": True}, {"ok": True}, id="no-data"),
        ],
    )
    @twins
    def test_unwrapped(self, twin: Twin, answer: Any, expected: Any) -> None:
        """`data` is unwrapped only if the answer holds nothing else, so that no cursor is lost."""

        async def scenario(kraty: Any) -> Any:
            return await settled(kraty.request("GET", "/lobbies"))

        assert expected == twin.run(scenario, http_client=twin.mocked(always(answer)))

    @pytest.mark.parametrize("key", [None, "", "other", 7], ids=["null", "empty", "other", "int"])
    @twins
    def test_another_key_in_the_body(self, twin: Twin, key: Any, captured: Captured) -> None:
        """A body whose `idempotencyKey` differs from the argument is refused, and nothing is
        sent."""

        async def scenario(kraty: Any) -> None:
            with pytest.raises(ValueError, match=r"^idempotency_key differs from the body's"):
                await settled(
                    kraty.request("POST", "/x", body={"idempotencyKey": key}, idempotency_key="k")
                )

        twin.run(scenario)
        assert [] == captured.requests


class TestRedirects:
    """A redirect would send the key to a host that the caller did not choose, so it is an error."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("own", [True, False], ids=["own-transport", "follow_redirects=True"])
    @twins
    def test_raise(self, twin: Twin, own: bool, status: int) -> None:
        """A redirect raises at once, and its target gets no connection."""
        with serving() as second, ExitStack() as stack:
            location = f"{second.url}/server/v1/elsewhere"
            first = stack.enter_context(serving(redirected(location, status)))
            http_client = None if own else twin.http_client(follow_redirects=True)

            async def scenario(kraty: Any) -> KratyServerError:
                try:
                    with pytest.raises(KratyServerError) as raised:
                        await settled(kraty.wallet.credit("player_42", "gold", amount=1))
                finally:
                    if http_client is not None:
                        await settled(
                            http_client.aclose() if twin.is_async else http_client.close()
                        )
                return raised.value

            error = twin.run(scenario, base_url=first.url, http_client=http_client)
        assert (status, 1, location) == (error.status, error.attempts, error.headers["location"])
        assert 1 == len(first.seen)
        assert (0, []) == (second.connections, second.seen)


PHASES: Final = ("connect", "read", "write", "pool")


class TestTimeouts:
    """How long each phase of an attempt may take."""

    @pytest.mark.parametrize(
        ("timeout", "expected"),
        [
            pytest.param(None, {**dict.fromkeys(PHASES, 15.0), "pool": None}, id="default"),
            pytest.param(3, {**dict.fromkeys(PHASES, 3.0), "pool": None}, id="a-number"),
            pytest.param(
                httpx.Timeout(5.0, connect=1.0, read=2.0, write=3.0, pool=4.0),
                {"connect": 1.0, "read": 2.0, "write": 3.0, "pool": 4.0},
                id="phase-by-phase",
            ),
            pytest.param(
                httpx.Timeout(5.0, read=2.0), {**dict.fromkeys(PHASES, 5.0), "read": 2.0}, id="some"
            ),
        ],
    )
    @pytest.mark.parametrize("own", [True, False], ids=["own-transport", "http_client"])
    @twins
    def test_phases(
        self, twin: Twin, own: bool, timeout: Any, expected: dict[str, Any], captured: Captured
    ) -> None:
        """Each phase has its own timeout; one that is left out has the default's.

        Unless `timeout` names it, waiting for a connection may take until the deadline.
        """
        http_client = None if own else twin.http_client(timeout=99.0)
        twin.credit(timeout=timeout, http_client=http_client)
        (phases,) = captured.phases
        if expected["pool"] is None and not own:
            assert 110 < (phases["pool"] or 0) <= 120
            phases["pool"] = None
        assert expected == phases

    @pytest.mark.parametrize(
        ("timeout", "expected"),
        [pytest.param(None, 60.0, id="default"), pytest.param(3.0, 3.0, id="of-the-caller")],
    )
    @pytest.mark.parametrize("batch", ["players", "wallet", "inventory"])
    @twins
    def test_migrate(
        self, twin: Twin, batch: str, timeout: float | None, expected: float, captured: Captured
    ) -> None:
        """Batches have a longer default timeout, and the caller's timeout replaces it."""

        async def scenario(kraty: Any) -> None:
            row = {"externalPlayerId": "p", "idempotencyKey": "k"}
            await settled(getattr(kraty.migrate, batch)(rows=[row]))

        twin.run(scenario, timeout=timeout)
        assert [{**dict.fromkeys(PHASES, expected), "pool": None}] == captured.phases

    @twins
    def test_with_options(self, twin: Twin, captured: Captured) -> None:
        """A derived client's timeout does not change its parent's."""

        async def scenario(kraty: Any) -> None:
            await settled(kraty.with_options(timeout=2.0).health.ping())
            await settled(kraty.health.ping())

        twin.run(scenario, timeout=7.0)
        assert [2.0, 7.0] == [phases["read"] for phases in captured.phases]

    @pytest.mark.parametrize(
        "timeout",
        [pytest.param(None, id="default"), pytest.param(httpx.Timeout(None), id="none-at-all")],
    )
    @twins
    def test_deadline_caps_phases(self, twin: Twin, timeout: Any, captured: Captured) -> None:
        """Over `http_client`, no phase may take longer than the deadline, even without a
        timeout."""
        twin.credit(timeout=timeout, deadline=4.0, http_client=twin.http_client())
        (phases,) = captured.phases
        for seconds in phases.values():
            assert seconds is not None
            assert 0 < seconds <= 4.0

    def test_phases_shrink(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A phase that begins late has only the time left until the deadline."""
        phases = Phases(Limits(dict.fromkeys(PHASES, 5.0), ends_at=100.0))
        clock = iter([90.0, 95.0, 99.0, 99.75, 100.0, 150.0, 151.0])
        monkeypatch.setattr(time, "monotonic", clock.__next__)
        left = [phases.get("read") for _ in range(6)]
        assert [5.0, 5.0, 1.0, 0.25, 0.001, 0.001] == left
        assert (set(PHASES), 4) == (set(phases), len(phases))
        assert None is phases.get("other")

    @twins
    def test_read(self, twin: Twin) -> None:
        """A server that does not answer causes a read timeout, which is ambiguous."""

        def hang(seen: Seen) -> None:
            server.over.wait(60)

        with serving(hang) as server:
            timeout = httpx.Timeout(30.0, read=0.05)
            error = failing(twin, base_url=server.url, timeout=timeout)
        assert ("ReadTimeout", True) == (error.cause_name, error.ambiguous)

    @twins
    def test_deadline(self, twin: Twin) -> None:
        """A call to a server that does not answer ends at the deadline."""

        def hang(seen: Seen) -> None:
            server.over.wait(60)

        with serving(hang) as server:
            started = time.monotonic()
            error = failing(twin, base_url=server.url, deadline=0.5, retry=RetryConfig())
            took = time.monotonic() - started
        assert ("ReadTimeout", 1) == (error.cause_name, error.attempts)
        assert 0.5 <= took < 10

    @twins
    def test_write(self, twin: Twin) -> None:
        """A peer that takes no bytes causes a write timeout, which is ambiguous."""
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            error = failing(
                twin,
                base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
                timeout=httpx.Timeout(30.0, write=0.05),
                reason="x" * 32_000_000,  # more than any socket buffers
            )
        assert ("WriteTimeout", True) == (error.cause_name, error.ambiguous)

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a full backlog hang")
    @twins
    def test_connect(self, twin: Twin) -> None:
        """A host that accepts no connection causes a connect timeout, which is not ambiguous."""
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
            error = failing(
                twin,
                base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
                timeout=httpx.Timeout(30.0, connect=0.05),
            )
        assert ("ConnectTimeout", False) == (error.cause_name, error.ambiguous)

    @twins
    def test_pool(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call that gets no connection raises a pool timeout, which is not ambiguous."""
        monkeypatch.setattr("kraty_admin._transport._own.CONNECTIONS", 1)
        busy = threading.Event()

        def hang(seen: Seen) -> bytes:
            busy.set()
            server.over.wait(60)
            return credited(seen)

        async def scenario(kraty: Any) -> KratyNetworkError:
            def credit(client: Any) -> Any:
                return client.wallet.credit("player_42", "gold", amount=1)

            other = kraty.with_options(timeout=httpx.Timeout(30.0, pool=0.05), retry=ONCE)
            first = credit(kraty) if twin.is_async else asyncio.to_thread(credit, kraty)
            holding = asyncio.ensure_future(first)
            await asyncio.to_thread(busy.wait, 30)
            with pytest.raises(KratyNetworkError) as raised:
                await settled(credit(other))
            server.over.set()
            await holding
            return raised.value

        with serving(hang) as server:
            error = twin.run(scenario, base_url=server.url)
        assert ("PoolTimeout", False) == (error.cause_name, error.ambiguous)
        assert 1 == len(server.seen)


def failing(twin: Twin, reason: str | None = None, **options: Any) -> KratyNetworkError:
    """Return the error of one credit that is not retried."""

    async def scenario(kraty: Any) -> KratyNetworkError:
        with pytest.raises(KratyNetworkError) as raised:
            await settled(kraty.wallet.credit("player_42", "gold", amount=1, reason=reason))
        return raised.value

    options.setdefault("retry", ONCE)
    return twin.run(scenario, **options)


HOST: Final = "api.kraty.test"
"""A host that no name server knows."""


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a self-signed certificate for `HOST`, with its key beside it."""
    openssl = which("openssl")
    if openssl is None:
        pytest.skip("making a certificate needs the openssl command")
    folder = tmp_path_factory.mktemp("authority")
    made = [
        *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
        *("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"),
        *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
    ]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    return folder / "cert.pem"


def speaking_tls(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, authority.with_name("key.pem"))
    return context


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve `HOST` to this machine."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        named = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if named == HOST else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


class TestAuthorities:
    """Which certificates a client trusts."""

    @pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
    @pytest.mark.usefixtures("resolving")
    @twins
    def test_of_the_environment(
        self,
        twin: Twin,
        variable: str,
        authority: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A certificate that the environment names is trusted."""
        if variable == "SSL_CERT_FILE":
            monkeypatch.setenv(variable, str(authority))
        else:
            monkeypatch.setenv(variable, str(hashed(authority, tmp_path)))
        with serving(tls=speaking_tls(authority)) as server:
            result = twin.credit(base_url=f"https://{HOST}:{server.port}")
        assert 500 == result["balance"]

    @pytest.mark.usefixtures("resolving")
    @twins
    def test_unknown(self, twin: Twin, authority: Path) -> None:
        """A server with an unknown certificate gets no request."""
        with serving(tls=speaking_tls(authority)) as server:
            error = failing(twin, base_url=f"https://{HOST}:{server.port}")
        assert ("ConnectError", False, []) == (error.cause_name, error.ambiguous, server.seen)
        assert "CERTIFICATE_VERIFY_FAILED" in str(error)

    @twins
    def test_other_host(self, twin: Twin, authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A certificate of another host is not accepted."""
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with serving(tls=speaking_tls(authority)) as server:
            error = failing(twin, base_url=server.url)
        assert ("ConnectError", []) == (error.cause_name, server.seen)


def test_a_record_that_was_received_in_part(authority: Path) -> None:
    """A TLS stream that holds a part of another record is readable, so it is not used again."""
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = speaking_tls(authority).wrap_bio(received, sent, server_side=True)
    layer = Layer(ssl.create_default_context(cafile=authority), HOST)
    steps = layer.handshake()
    with suppress(StopIteration):
        data, wants_more = next(steps)
        while True:
            received.write(data)
            with suppress(ssl.SSLWantReadError):
                server.do_handshake()
            data, wants_more = steps.send(sent.read() if wants_more else b"")
    server.write(b"answer")
    first = sent.read()
    server.write(b"another")
    second = sent.read()

    def read(data: bytes) -> bytes:
        reading = layer.read(100)
        next(reading)
        with pytest.raises(StopIteration) as done:
            reading.send(data)
        value: bytes = done.value.value
        return value

    ours, peer = socket.socketpair()
    with ours, peer:
        streams = (
            TLSStream(Stream(ours, Watch()), layer),
            AsyncTLSStream(httpcore.AsyncMockStream([]), Watch(), layer),
        )
        readable: list[tuple[bytes, list[bool]]] = []
        for data in (first + second[:7], second[7:]):
            result = read(data)
            readable.append((result, [bool(s.get_extra_info("is_readable")) for s in streams]))
    assert [(b"answer", [True, True]), (b"another", [False, False])] == readable


@contextmanager
def ending(tls: ssl.SSLContext, how: str) -> Generator[int, None, None]:
    """Yield the port of a server that receives one request over TLS, and then ends TLS."""

    def serve() -> None:
        with suppress(OSError), tls.wrap_socket(listener.accept()[0], server_side=True) as client:
            head = b""
            while b"amount" not in head:
                head += client.recv(65_536)
            if how == "properly":
                client.unwrap()
            else:
                with socket.socket(fileno=client.detach()) as bare:
                    bare.sendall(b"HTTP/1.1 200 OK" if how == "with text" else b"")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


class TestEndsOfTLS:
    """Servers that end TLS instead of answering."""

    @pytest.mark.parametrize(
        ("how", "cause"),
        [
            pytest.param("properly", "RemoteProtocolError", id="properly"),
            pytest.param("by closing", "RemoteProtocolError", id="by-closing"),
            pytest.param("with text", "ReadError", id="with-text"),
        ],
    )
    @pytest.mark.usefixtures("resolving")
    @twins
    def test_are_ambiguous(
        self, twin: Twin, how: str, cause: str, authority: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A call whose server ends TLS instead of answering is ambiguous."""
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with ending(speaking_tls(authority), how) as port:
            error = failing(twin, base_url=f"https://{HOST}:{port}")
        assert (cause, True) == (error.cause_name, error.ambiguous)

    @pytest.mark.usefixtures("resolving")
    @twins
    def test_an_answer_that_ends_the_connection(
        self, twin: Twin, authority: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An answer that closes the connection counts, and the next call opens another."""
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))

        def answer(seen: Seen) -> bytes:
            return credited(seen).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)

        async def scenario(kraty: Any) -> list[int]:
            return [
                (await settled(kraty.wallet.credit("p", "gold", amount=1)))["connection"]
                for _ in range(2)
            ]

        with serving(answer, tls=speaking_tls(authority)) as server:
            numbers = twin.run(scenario, base_url=f"https://{HOST}:{server.port}", retry=ONCE)
        assert [1, 2] == numbers


def hashed(authority: Path, folder: Path) -> Path:
    """Return a directory with a certificate under the name that OpenSSL looks for."""
    openssl = which("openssl")
    assert openssl is not None
    command = [openssl, "x509", "-hash", "-noout", "-in", str(authority)]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    (folder / f"{run.stdout.strip()}.0").write_bytes(authority.read_bytes())
    return folder


def tunnelling(seen: Seen) -> bytes:
    """Answer a CONNECT as a proxy, and a request through the tunnel as a credit."""
    return b"HTTP/1.1 200 OK\r\n\r\n" if seen.method == "CONNECT" else credited(seen)


@contextmanager
def relaying(tls: ssl.SSLContext, port: int) -> Generator[tuple[int, list[bytes]], None, None]:
    """Yield the port of a proxy that speaks TLS and relays to `port`, and the heads that it
    received."""
    heads: list[bytes] = []

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError), tls.wrap_socket(listener.accept()[0], server_side=True) as client:
            heads.append(client.recv(65_536))
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(target=copy, args=[server, client], daemon=True)
                back.start()
                copy(client, server)
                back.join(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heads
        thread.join(10)


class TestProxies:
    """Proxies that the environment names."""

    @pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
    @pytest.mark.parametrize("scheme", ["http://", ""], ids=["URL", "host-and-port"])
    @twins
    def test_is_used(
        self,
        twin: Twin,
        scheme: str,
        variable: str,
        authority: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Calls go through the proxy, which sees the host but not the key."""
        with serving(tunnelling, tunnel=speaking_tls(authority)) as proxy:
            monkeypatch.setenv("SSL_CERT_FILE", str(authority))
            monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{proxy.port}")
            result = twin.credit(base_url=f"https://{HOST}")
        assert 500 == result["balance"]
        connect, credit = proxy.seen
        assert ("CONNECT", f"{HOST}:443") == (connect.method, connect.target)
        assert CANARY.encode() not in connect.head + connect.body
        assert f"Bearer {KEY}" == credit.headers["authorization"]

    @pytest.mark.usefixtures("resolving")
    @twins
    def test_over_tls(self, twin: Twin, authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Calls over TLS go through a proxy that is itself reached over TLS, on one connection."""
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with (
            serving(credited, tls=speaking_tls(authority)) as server,
            relaying(speaking_tls(authority), server.port) as (port, heads),
        ):
            monkeypatch.setenv("HTTPS_PROXY", f"https://user:pass@{HOST}:{port}")

            async def scenario(kraty: Any) -> list[Any]:
                # More than one record of TLS, and then the same connection again.
                reasons = ["x" * 200_000, "y"]
                return [
                    await settled(kraty.wallet.credit("p", "gold", amount=1, reason=reason))
                    for reason in reasons
                ]

            results = twin.run(scenario, base_url=f"https://{HOST}:{server.port}", retry=ONCE)
        assert [1, 1] == [result["connection"] for result in results]
        assert [200_000, 1] == [len(json.loads(seen.body)["reason"]) for seen in server.seen]
        (head,) = heads
        assert b"CONNECT" == head[:7]
        assert b"Basic dXNlcjpwYXNz" in head
        assert CANARY.encode() not in head

    @twins
    def test_credentials(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy's user and password are sent to the proxy."""

        def refuse(seen: Seen) -> bytes:
            return response(407)

        with serving(refuse) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass@127.0.0.1:{proxy.port}")
            error = failing(twin, base_url=f"https://{HOST}")
        assert "Basic dXNlcjpwYXNz" == proxy.seen[0].headers["proxy-authorization"]
        assert ("ProxyError", False) == (error.cause_name, error.ambiguous)

    @twins
    def test_loopback_goes_straight(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server on this machine is called without a proxy."""
        with serving() as proxy, serving() as server:
            for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(variable, proxy.url)
            twin.credit(base_url=server.url)
        assert (0, 1) == (proxy.connections, len(server.seen))

    @twins
    def test_is_read_once(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """The proxy is read from the environment when the client is created, not later."""

        async def scenario(kraty: Any) -> None:
            monkeypatch.delenv("HTTPS_PROXY")
            with pytest.raises(KratyNetworkError):
                await settled(kraty.health.ping())

        def refuse(seen: Seen) -> bytes:
            return response(403)

        with serving(refuse) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            twin.run(scenario, base_url=f"https://{HOST}", retry=ONCE)
        assert ["CONNECT"] == [seen.method for seen in proxy.seen]

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            pytest.param({}, None, id="none"),
            pytest.param({"HTTPS_PROXY": "http://p:1"}, "http://p:1", id="HTTPS_PROXY"),
            pytest.param({"https_proxy": "http://p:1"}, "http://p:1", id="https_proxy"),
            pytest.param({"ALL_PROXY": "http://p:1"}, "http://p:1", id="ALL_PROXY"),
            pytest.param({"HTTP_PROXY": "http://p:1"}, None, id="HTTP_PROXY-is-for-http"),
            pytest.param({"HTTPS_PROXY": ""}, None, id="empty"),
            pytest.param(
                {"HTTPS_PROXY": "http://p:1", "https_proxy": "http://q:1"},
                "http://q:1",
                id="lower-case-wins",
            ),
            pytest.param(
                {"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://q:1"},
                "http://p:1",
                id="the-scheme's-own-wins",
            ),
            *(
                pytest.param({"HTTPS_PROXY": "http://p:1", "NO_PROXY": value}, found, id=value)
                for value, found in [
                    ("api.kraty.test", None),
                    ("kraty.test", None),
                    (".kraty.test", None),
                    ("*", None),
                    ("api.kraty.test:443", None),
                    ("other.test, API.Kraty.Test", None),
                    ("api.kraty.test:8443", "http://p:1"),
                    ("aty.test", "http://p:1"),
                    ("other.test", "http://p:1"),
                ]
            ),
        ],
    )
    def test_which(
        self, variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The proxy of a host follows the usual environment variables."""
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        proxy = proxy_for(f"https://{HOST}")
        assert expected == (None if proxy is None else str(proxy.url))


class Refusal(Exception):  # noqa: N818 -- somebody's own
    """An exception of the caller's hook."""


class TestHttpClient:
    """A caller's own client, with its settings."""

    @twins
    def test_headers_and_parameters(self, twin: Twin) -> None:
        """The caller's headers, cookies and parameters are sent, but do not replace ours."""
        requests: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return httpx.Response(200, json={"data": {}})

        http_client = twin.mocked(
            answer,
            headers={"X-Trace": "t", "Authorization": "Bearer other", "Host": "inner.example"},
            params={"tenant": "a"},
            cookies={"route": "1"},
            base_url="https://other.example",
        )
        twin.credit(http_client=http_client, base_url="https://gw.example")
        (request,) = requests
        expected = {
            "x-trace": "t",
            "authorization": f"Bearer {KEY}",
            "host": "inner.example",
            "cookie": "route=1",
        }
        assert expected == {name: request.headers[name] for name in expected}
        assert "gw.example" == request.url.host
        assert {"tenant": "a"} == dict(request.url.params)

    @twins
    def test_mounts(self, twin: Twin) -> None:
        """A transport that the caller mounted for the host gets the calls."""
        mounted = httpx.MockTransport(always({"data": {"mounted": True}}))
        http_client = twin.http_client(mounts={"https://api.kraty.io": mounted})
        assert {"mounted": True} == twin.credit(http_client=http_client)

    @twins
    def test_hooks(self, twin: Twin) -> None:
        """The caller's event hooks see the request and the answer of every attempt."""
        reported: list[str] = []
        answers = iter([503, 200])

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(next(answers), json={"data": {}})

        def on_request(request: httpx.Request) -> None:
            request.headers["X-Signed"] = "yes"
            reported.append(request.method)

        def on_response(answered: httpx.Response) -> None:
            reported.append(f"{answered.status_code} {answered.request.headers['X-Signed']}")

        hooks = {"request": [twin.hook(on_request)], "response": [twin.hook(on_response)]}
        twin.credit(http_client=twin.mocked(answer, event_hooks=hooks), retry=AT_ONCE)
        assert ["POST", "503 yes", "POST", "200 yes"] == reported

    @pytest.mark.parametrize("moment", ["request", "response"])
    @twins
    def test_hook_that_raises(self, twin: Twin, moment: str) -> None:
        """An exception of the caller's hook propagates unchanged and ends the call."""
        refusal = Refusal("not today")
        reported: list[int] = []

        def refuse(_: object) -> None:
            reported.append(1)
            raise refusal

        hooks = {moment: [twin.hook(refuse)]}
        http_client = twin.mocked(always({"data": {}}), event_hooks=hooks)
        with pytest.raises(Refusal) as raised:
            twin.credit(http_client=http_client, retry=AT_ONCE)
        assert refusal is raised.value
        assert [1] == reported

    @pytest.mark.parametrize(("status", "attempts"), [(404, 1), (503, 4)])
    @twins
    def test_hook_that_raises_for_status(self, twin: Twin, status: int, attempts: int) -> None:
        """An error status that a hook raises is handled as a refusal, and retried if it can be."""

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(status, json={"error": {"code": "c", "message": "m"}})

        def raise_for_status(answered: httpx.Response) -> None:
            answered.raise_for_status()

        hooks = {"response": [twin.hook(raise_for_status)]}
        http_client = twin.mocked(answer, event_hooks=hooks)
        with pytest.raises(KratyServerError) as raised:
            twin.credit(http_client=http_client, retry=AT_ONCE)
        assert (status, attempts) == (raised.value.status, raised.value.attempts)

    @pytest.mark.parametrize("source", ["auth", "netrc"])
    @twins
    def test_authentication(self, twin: Twin, source: str, tmp_path: Path) -> None:
        """The caller's authentication, given or from a netrc file, does not replace the key."""
        requests: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return httpx.Response(200, json={"data": {}})

        if source == "auth":
            http_client = twin.mocked(answer, auth=("user", "pass"))
        else:
            netrc = tmp_path / "netrc"
            netrc.write_text("machine api.kraty.io login user password pass\n")
            http_client = twin.mocked(answer, auth=httpx.NetRCAuth(str(netrc)))
        twin.credit(http_client=http_client)
        assert f"Bearer {KEY}" == requests[0].headers["authorization"]

    @pytest.mark.parametrize(
        "failure",
        [
            pytest.param(httpx.ReadError("gone"), id="httpx"),
            pytest.param(httpx.InvalidURL("odd"), id="InvalidURL"),
            pytest.param(httpx.StreamClosed(), id="StreamError"),
            pytest.param(ConnectionResetError(104, "reset"), id="OSError"),
            pytest.param(TimeoutError("late"), id="TimeoutError"),
        ],
    )
    @twins
    def test_transport_that_fails(self, twin: Twin, failure: Exception) -> None:
        """Failures of the caller's transport are retried, and then raised as
        `KratyNetworkError`."""

        def answer(request: httpx.Request) -> httpx.Response:
            raise failure

        with pytest.raises(KratyNetworkError) as raised:
            twin.credit(http_client=twin.mocked(answer), retry=AT_ONCE)
        assert 4 == raised.value.attempts

    @twins
    def test_streamed_answers(self, twin: Twin) -> None:
        """An answer that arrives in pieces is put together."""

        def answer(request: httpx.Request) -> httpx.Response:
            pieces = [b'{"data": ', b'{"balance": ', b"7}}"]
            return httpx.Response(200, stream=Pieces(pieces))

        assert {"balance": 7} == twin.credit(http_client=twin.mocked(answer))


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces, for either client."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


@pytest.mark.parametrize(
    ("twin", "method"),
    [
        pytest.param(twin, method, id=f"{name}-{method}")
        for (name, twin), method in product(
            [("sync", SYNC), ("async", ASYNC)], ["GET", "POST", "PUT", "PATCH", "DELETE"]
        )
    ],
)
def test_methods(twin: Twin, method: str) -> None:
    """Each method is sent as given, and only writes have a key and a length."""

    async def scenario(kraty: Any) -> Any:
        return await settled(kraty.request(method, "/x"))

    with serving(lambda seen: response(200, {"data": seen.method})) as server:
        assert method == twin.run(scenario, base_url=server.url)
    (seen,) = server.seen
    is_write = method in ("POST", "PUT", "PATCH")
    assert is_write == (b'"idempotencyKey"' in seen.body)
    assert is_write == ("content-length" in seen.headers)
