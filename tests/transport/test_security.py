"""The API key appears nowhere but on the wire."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import os
import pickle
import pprint
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Any, Final

import httpx
import pytest

from kraty_admin import KratyAdmin, KratyAdminAsync, KratyError, RequestInfo
from kraty_admin._transport._secret import Secret
from loopback import (
    ASYNC,
    AT_ONCE,
    CANARY,
    KEY,
    ONCE,
    SYNC,
    Seen,
    Server,
    Twin,
    always,
    closed,
    credited,
    response,
    serving,
    settled,
    twins,
)

HUGE: Final = "x" * 8_000_000
"""More than sockets buffer, so that sending it does not end."""


def frames_of(error: BaseException) -> Generator[tuple[str, dict[str, Any]], None, None]:
    """Yield the module and the locals of each frame that an exception, or its cause or context,
    refers to."""
    seen: set[int] = set()
    found: list[BaseException | None] = [error]
    while found:
        link = found.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        found += [link.__cause__, link.__context__]
        step: TracebackType | None = link.__traceback__
        while step is not None:
            yield str(step.tb_frame.f_globals.get("__name__")), dict(step.tb_frame.f_locals)
            step = step.tb_next


def shown_by(error: BaseException) -> str:
    """Return everything that loggers, error trackers and debuggers show of an exception."""
    texts = [str(error), repr(error), repr(error.args), repr(vars(error))]
    texts += traceback.format_exception(type(error), error, error.__traceback__)
    texts += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    for _, variables in frames_of(error):
        for name, value in variables.items():
            texts.append(f"{name}={value!r}")
            if type(value).__module__.startswith("kraty"):
                texts += [repr(getattr(value, "__dict__", None)), str(value)]
    return "\n".join(texts)


def assert_silent(error: BaseException) -> None:
    """Check that an exception holds neither the key nor the locals of a library's frame."""
    assert CANARY not in shown_by(error)
    for module, variables in frames_of(error):
        if module.split(".")[0] in ("httpx", "httpcore", "h11", "anyio", "asyncio", "ssl"):
            assert {} == variables
    try:
        pickled = pickle.dumps(error)
    except TypeError:
        return  # an exception of the caller's own need not
    assert CANARY.encode() not in pickled
    assert CANARY.encode() not in pickle.dumps(copy.copy(error))


@contextmanager
def deaf() -> Generator[str, None, None]:
    """Yield the URL of a peer that accepts connections and reads no bytes."""
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class TestReprs:
    """The parts of a client, as debuggers and loggers print them."""

    @twins
    def test_every_part(self, twin: Twin) -> None:
        """No part of a client that has made calls shows the key in its repr or fields."""
        texts: list[str] = []

        async def scenario(kraty: Any) -> None:
            await settled(kraty.wallet.credit("p", "gold", amount=1))
            await settled(kraty.health.ping())
            channel = kraty._sender.channel
            pool = channel.pools.get()
            connection = pool.take()
            pool.give_back(connection)
            parts = [kraty, kraty.with_options(timeout=1.0), kraty.wallet, kraty._access]
            parts += [kraty._settings, kraty._budget, kraty._sender, channel, vars(channel)]
            parts += [
                kraty._access.prepared,
                kraty._access.prepared_whole,
                channel._endpoint,
                channel._endpoint.url,
            ]
            parts += [kraty._access.prepared.headers(body) for body in (None, b"")]
            parts += [pool, pool.gate, connection, vars(connection), connection._http._connection]
            for part in parts:
                texts.extend([repr(part), str(part), f"{part}", pprint.pformat(part)])
                if not isinstance(part, httpx.Headers):
                    texts.append(repr(getattr(part, "__dict__", None)))
                    texts.append(pprint.pformat(getattr(part, "__dict__", None)))

        with serving() as server:
            twin.run(scenario, base_url=server.url)
        assert f"Bearer {KEY}" == server.seen[0].headers["authorization"]
        assert CANARY not in "\n".join(texts)

    @twins
    def test_the_prefix_is_shown(self, twin: Twin) -> None:
        """The repr of a client shows the prefix of its key, to distinguish clients."""
        assert "key=kraty_live_7f3a.***" in repr(twin.client())

    @pytest.mark.parametrize("part", ["_access", "secret"])
    def test_no_pickle(self, part: str) -> None:
        """Objects that hold the key can be neither pickled nor copied."""
        holder = Secret(KEY) if part == "secret" else SYNC.client()._access
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=r"secret.* cannot be pickled$"):
                attempt(holder)

    @pytest.mark.parametrize("client", ["KratyAdmin", "KratyAdminAsync"])
    def test_help(self, client: str) -> None:
        """Signatures and help do not show a key that is in the environment at import."""
        program = f"import kraty_admin; help(kraty_admin.{client})"
        shown = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "KRATY_SERVER_KEY": KEY},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        assert "api_key" in shown
        assert CANARY not in shown


class TestLogs:
    """Logs at the lowest level, of all libraries below."""

    @pytest.mark.parametrize("own", [True, False], ids=["own-transport", "http_client"])
    @twins
    def test_debug(self, twin: Twin, own: bool, caplog: pytest.LogCaptureFixture) -> None:
        """No record at level DEBUG holds the key, whether a call succeeds, is refused or breaks."""
        caplog.set_level(logging.DEBUG)

        def answer(seen: Seen) -> bytes | None:
            return {"ok": credited(seen), "refused": response(404, {}), "broken": None}[seen.player]

        def hook(info: RequestInfo) -> None:
            raise ZeroDivisionError(info.operation)

        async def scenario(kraty: Any) -> None:
            await settled(kraty.wallet.credit("ok", "gold", amount=1))
            for player in ("refused", "broken"):
                with pytest.raises(KratyError):
                    await settled(kraty.wallet.credit(player, "gold", amount=1))
            if not own:
                http_client = kraty._sender.channel._client
                await closed(http_client)

        with serving(answer) as server:
            http_client = None if own else twin.http_client()
            options = {"http_client": http_client, "on_request": hook, "retry": AT_ONCE}
            twin.run(scenario, base_url=server.url, **options)
        loggers = {record.name.split(".")[0] for record in caplog.records}
        assert {"httpcore", "kraty_admin"} <= loggers
        formatter = logging.Formatter("%(message)s %(args)s")
        assert CANARY not in "\n".join(map(formatter.format, caplog.records))
        assert CANARY not in repr([vars(record) for record in caplog.records])

    def test_hook_that_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log of a hook that raises has its traceback and no key."""

        def hook(info: RequestInfo) -> None:
            raise ZeroDivisionError

        with serving() as server:
            SYNC.credit(base_url=server.url, on_request=hook)
        (record,) = [record for record in caplog.records if record.name == "kraty_admin"]
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], ZeroDivisionError)
        assert_silent(record.exc_info[1])


# What to do with the request, and how to call so that it fails.
def garbled(seen: Seen) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{"


def truncated(seen: Seen) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{"


def nonsense(seen: Seen) -> bytes:
    return b"\x16\x03\x01nonsense\r\n\r\n"


def miscompressed(seen: Seen) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-encoding: gzip\r\n\r\n{}"


def dropped(seen: Seen) -> None:
    return None


ANSWERS: Final[dict[str, tuple[Callable[[Seen], bytes | None], str]]] = {
    "refused": (
        lambda _: response(404, {"error": {"code": "not_found", "message": "no"}}),
        "KratyServerError",
    ),
    "failing": (lambda _: response(503), "KratyServerError"),
    "conflict": (
        lambda _: response(409, {"error": {"code": "idempotency_conflict", "message": "no"}}),
        "KratyServerError",
    ),
    "redirected": (lambda _: response(307, location="https://evil.example"), "KratyServerError"),
    "garbled": (garbled, "KratyResponseError"),
    "truncated": (truncated, "KratyNetworkError"),
    "nonsense": (nonsense, "KratyNetworkError"),
    "miscompressed": (miscompressed, "KratyNetworkError"),
    "dropped": (dropped, "KratyNetworkError"),
}


class TestErrors:
    """Every error that leaves a call, and every frame that it refers to."""

    @pytest.mark.parametrize("kind", [pytest.param(kind, id=kind) for kind in ANSWERS])
    @pytest.mark.parametrize("own", [True, False], ids=["own-transport", "http_client"])
    @twins
    def test_answers(self, twin: Twin, own: bool, kind: str) -> None:
        """No answer of a server shows the key in an error."""
        answer, expected = ANSWERS[kind]
        with serving(answer) as server:
            error = self._error(twin, own, server.url)
        assert expected == type(error).__name__
        assert_silent(error)

    @pytest.mark.parametrize("own", [True, False], ids=["own-transport", "http_client"])
    @twins
    def test_connecting(self, twin: Twin, own: bool) -> None:
        """The error of a refused connection does not show the key."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            error = self._error(twin, own, f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert "KratyNetworkError" == type(error).__name__
        assert_silent(error)

    @pytest.mark.parametrize("own", [True, False], ids=["own-transport", "http_client"])
    @twins
    def test_receiving(self, twin: Twin, own: bool) -> None:
        """The error of a read timeout does not show the key."""

        def hang(seen: Seen) -> None:
            server.over.wait(60)

        with serving(hang) as server:
            timeout = httpx.Timeout(30.0, read=0.05)
            error = self._error(twin, own, server.url, timeout=timeout)
        assert "ReadTimeout" in str(error)
        assert_silent(error)

    @pytest.mark.parametrize("own", [True, False], ids=["own-transport", "http_client"])
    @twins
    def test_sending(self, twin: Twin, own: bool) -> None:
        """The error of a write timeout, whose frames held the request, does not show the key."""
        with deaf() as url:
            timeout = httpx.Timeout(30.0, write=0.05)
            error = self._error(twin, own, url, reason=HUGE, timeout=timeout)
        assert "WriteTimeout" in str(error)
        assert_silent(error)

    @twins
    def test_deeply(self, twin: Twin) -> None:
        """No object that a kept error leads to is a request, a response or a connection."""
        with serving(dropped) as server:
            error = self._error(twin, True, server.url)
        reached: dict[int, object] = {}
        todo: list[object] = [error]
        while todo:
            thing = todo.pop()
            if id(thing) in reached:
                continue
            reached[id(thing)] = thing
            if isinstance(thing, BaseException):
                todo += [value for _, variables in frames_of(thing) for value in variables.values()]
            if isinstance(thing, _OPEN) or type(thing).__module__ == "kraty_admin._call._exchange":
                todo += gc.get_referents(thing)
        found = {type(thing) for thing in reached.values()}
        assert {httpx.RemoteProtocolError} == {t for t in found if t.__module__ == "httpx"}
        assert set() == {t for t in found if t.__module__.split(".")[0] in ("httpcore", "h11")}

    def _error(self, twin: Twin, own: bool, url: str, **options: Any) -> BaseException:
        """Return the error of one credit that is not retried."""
        errors: list[BaseException] = []
        reason = options.pop("reason", None)

        async def scenario(kraty: Any) -> None:
            try:
                await settled(kraty.wallet.credit("p", "gold", amount=1, reason=reason))
            except KratyError as error:
                errors.append(error)
            if not own:
                http_client = kraty._sender.channel._client
                await closed(http_client)

        http_client = None if own else twin.http_client()
        twin.run(scenario, base_url=url, http_client=http_client, retry=ONCE, **options)
        (error,) = errors
        return error


# What the search goes into, in addition to the parts of an exchange.
_OPEN: Final = (BaseException, dict, list, tuple, set)


BROKEN_KEYS: Final[dict[str, Any]] = {
    "line-break": f"{KEY}\n",
    "not-ASCII": f"{KEY}é",
    "bytes": KEY.encode(),
    "list": [KEY],
}

BROKEN_CALLS: Final[dict[str, Callable[[Any], Any]]] = {
    "id": lambda kraty: kraty.players.get(".."),
    "amount": lambda kraty: kraty.wallet.credit("p", "gold", amount=0),
    "not-JSON": lambda kraty: kraty.request("POST", "/x", body={"a": object()}),
    "path": lambda kraty: kraty.request("GET", "x"),
    "with_options": lambda kraty: kraty.with_options(timeout=0),
}


class TestArguments:
    """Arguments that are refused in frames that hold the key."""

    @pytest.mark.parametrize(
        "options",
        [
            pytest.param({"base_url": "ftp://x"}, id="base_url"),
            pytest.param({"base_url": 7}, id="base_url-type"),
            pytest.param({"timeout": -1}, id="timeout"),
            pytest.param({"deadline": "1"}, id="deadline"),
            pytest.param({"retry": 3}, id="retry"),
            pytest.param({"retry_budget": -1}, id="retry_budget"),
            pytest.param({"on_request": 7}, id="on_request"),
            pytest.param({"http_client": 7}, id="http_client"),
            pytest.param({"generate_idempotency_key": 7}, id="generate_idempotency_key"),
        ],
    )
    @pytest.mark.parametrize("client", [KratyAdmin, KratyAdminAsync])
    def test_options(self, client: type[Any], options: dict[str, Any]) -> None:
        """The error for a refused option does not show the key."""
        with pytest.raises((TypeError, ValueError)) as raised:
            client(api_key=KEY, **options)
        assert_silent(raised.value)

    @pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in BROKEN_KEYS])
    @pytest.mark.parametrize("client", [KratyAdmin, KratyAdminAsync])
    def test_keys(self, client: type[Any], name: str) -> None:
        """The error for a refused key does not show it."""
        with pytest.raises((TypeError, ValueError)) as raised:
            client(api_key=BROKEN_KEYS[name])
        assert_silent(raised.value)

    @pytest.mark.parametrize("client", [KratyAdmin, KratyAdminAsync])
    def test_environment(self, client: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        """The error for a broken key or proxy in the environment does not show it."""
        monkeypatch.setenv("KRATY_SERVER_KEY", f"{KEY}\n")
        with pytest.raises(ValueError, match=r"^KRATY_SERVER_KEY") as first:
            client()
        monkeypatch.setenv("KRATY_SERVER_KEY", KEY)
        monkeypatch.setenv("HTTPS_PROXY", f"ftp://user:{CANARY}@proxy")
        with pytest.raises(ValueError, match=r"^https_proxy") as second:
            client()
        for raised in (first, second):
            assert_silent(raised.value)

    @pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in BROKEN_CALLS])
    @twins
    def test_calls(self, twin: Twin, name: str) -> None:
        """The error for a refused argument of a call does not show the key."""
        errors: list[BaseException] = []

        async def scenario(kraty: Any) -> None:
            try:
                await settled(BROKEN_CALLS[name](kraty))
            except (TypeError, ValueError) as error:
                errors.append(error)

        twin.run(scenario, http_client=twin.mocked(always({})))
        (error,) = errors
        assert_silent(error)

    @twins
    def test_closed(self, twin: Twin) -> None:
        """The error of a closed client does not show the key."""
        errors: list[BaseException] = []

        async def scenario(kraty: Any) -> None:
            await settled(kraty.close())
            try:
                await settled(kraty.health.ping())
            except KratyError as error:
                errors.append(error)

        twin.run(scenario)
        (error,) = errors
        assert_silent(error)


class Refusal(Exception):  # noqa: N818 -- somebody's own
    """An exception of the caller's hook."""


class TestInterruptions:
    """Exceptions from outside that end a call whose frames hold the request."""

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this platform")
    @pytest.mark.parametrize("phase", ["receiving", "sending"])
    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
    def test_signals(self, phase: str, interruption: type[BaseException]) -> None:
        """Ctrl-C and a worker's exit propagate without the locals of the frames that held the
        key."""

        def interrupt(*args: object) -> None:
            raise interruption

        def hang(seen: Seen) -> None:
            server.over.wait(60)

        caught: BaseException | None = None
        with serving(hang) as server, deaf() as url:
            url = server.url if phase == "receiving" else url
            reason = "x" if phase == "receiving" else HUGE
            before = signal.signal(signal.SIGALRM, interrupt)
            try:
                with SYNC.client(base_url=url, timeout=30.0) as kraty:
                    signal.setitimer(signal.ITIMER_REAL, 0.2)
                    kraty.wallet.credit("p", "gold", amount=1, reason=reason)
            except interruption as error:
                caught = error
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
        assert caught is not None
        assert_silent(caught)

    @pytest.mark.parametrize("phase", ["receiving", "sending"])
    @pytest.mark.parametrize("own", [True, False], ids=["own-transport", "http_client"])
    def test_cancellation(self, own: bool, phase: str) -> None:
        """A cancelled call raises `CancelledError` without the locals of the frames that held the
        key."""
        caught: list[BaseException] = []
        reason = "x" if phase == "receiving" else HUGE

        def hang(seen: Seen) -> None:
            server.over.wait(60)

        async def call(kraty: KratyAdminAsync) -> None:
            try:
                await kraty.wallet.credit("p", "gold", amount=1, reason=reason)
            except asyncio.CancelledError as error:
                caught.append(error)
                raise

        async def main(url: str) -> None:
            http_client = None if own else httpx.AsyncClient()
            async with KratyAdminAsync(api_key=KEY, base_url=url, http_client=http_client) as kraty:
                task = asyncio.ensure_future(call(kraty))
                done, _ = await asyncio.wait([task], timeout=0.2)
                assert set() == done
                task.cancel("enough")
                with pytest.raises(asyncio.CancelledError):
                    await task
            if http_client is not None:
                await http_client.aclose()

        with serving(hang) as server, deaf() as url:
            asyncio.run(main(server.url if phase == "receiving" else url))
        (error,) = caught
        assert ("enough",) == error.args
        assert_silent(error)

    @pytest.mark.parametrize("moment", ["request", "response"])
    @twins
    def test_hooks_of_the_caller(self, twin: Twin, moment: str) -> None:
        """An exception of the caller's hook keeps its traceback, which does not show the key."""
        errors: list[BaseException] = []

        def refuse(_: object) -> None:
            raise Refusal

        async def scenario(kraty: Any) -> None:
            try:
                await settled(kraty.wallet.credit("p", "gold", amount=1))
            except Refusal as error:
                errors.append(error)

        hooks = {moment: [twin.hook(refuse)]}
        http_client = twin.mocked(always({"data": {}}), event_hooks=hooks)
        twin.run(scenario, http_client=http_client)
        (error,) = errors
        assert "refuse" in traceback.format_tb(error.__traceback__)[-1]
        assert CANARY not in shown_by(error)

    @twins
    def test_context_of_the_caller(self, twin: Twin) -> None:
        """An exception that the caller was handling stays the error's context, with its
        traceback."""
        kept: list[BaseException] = []

        async def scenario(kraty: Any) -> None:
            try:
                try:
                    raise Refusal
                except Refusal:
                    await settled(kraty.wallet.credit("p", "gold", amount=1))
            except KratyError as error:
                kept.append(error)

        with serving(dropped) as server:
            twin.run(scenario, base_url=server.url, retry=ONCE)
        (error,) = kept
        assert isinstance(error.__context__, Refusal)
        assert error.__context__.__traceback__ is not None


class TestResults:
    """The objects that a successful call leaves behind."""

    @twins
    def test_results_and_telemetry(self, twin: Twin) -> None:
        """Neither results, their HTTP details nor telemetry hold the key."""
        reported: list[RequestInfo] = []
        with serving() as server:
            result = twin.credit(base_url=server.url, on_request=reported.append)
        things: list[Any] = [result, result.http, reported[0], reported[0]._asdict()]
        texts = [repr(thing) for thing in things] + [str(thing) for thing in things]
        assert CANARY not in "\n".join(texts)
        for thing in things:
            assert CANARY.encode() not in pickle.dumps(thing)
            assert thing == pickle.loads(pickle.dumps(thing))

    @twins
    def test_the_wire(self, twin: Twin) -> None:
        """On the wire the key is in one header, and in neither the path nor the body."""
        with serving() as server:
            twin.credit(base_url=server.url)
        (seen,) = server.seen
        assert 1 == seen.head.count(CANARY.encode())
        assert CANARY not in seen.target
        assert CANARY.encode() not in seen.body

    @twins
    def test_environment_stays(self, twin: Twin) -> None:
        """A key that is passed is not put into the environment, which child processes inherit."""
        twin.client(http_client=twin.mocked(always({})))
        assert CANARY not in repr(dict(os.environ))


def test_server_sees_the_key() -> None:
    """The key that these tests look for is the one that is sent."""
    server: Server
    with serving() as server:
        ASYNC.credit(base_url=server.url)
    assert CANARY in server.seen[0].headers["authorization"]
