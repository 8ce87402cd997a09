"""Calls that end with an exception of another library still report their key."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kraty_admin import CallInfo, KratyAdmin, KratyNetworkError, RequestInfo, RetryConfig
from kraty_admin._transport import _own
from loopback import (
    AT_ONCE,
    CANARY,
    SYNC,
    Seen,
    Twin,
    credited,
    response,
    serving,
    settled,
    twins,
)


class SoftTimeLimitExceeded(Exception):  # noqa: N818 -- Celery calls its own exception so
    """An exception that the caller's signal handler raises."""


class Stubborn(BaseException):
    """An exception that takes no attributes."""

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("__"):
            raise AttributeError(name)
        super().__setattr__(name, value)


def call_of(error: BaseException | None) -> CallInfo:
    """Return the facts that an exception carries, or the one that it came from."""
    assert error is not None
    found: CallInfo | None = getattr(error, "kraty_call", None)
    # On Python 3.10, awaiting a cancelled task makes a second CancelledError.
    return call_of(error.__cause__ or error.__context__) if found is None else found


class Interrupter:
    """Raises an exception in the main thread, as a signal handler does."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __enter__(self) -> Interrupter:
        self._before = signal.signal(signal.SIGUSR1, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGUSR1, self._before)

    def _handle(self, *_: object) -> None:
        raise self._error

    def strike(self) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


needs_signals = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="this system has no signals for threads"
)


@needs_signals
@pytest.mark.parametrize("own", [True, False], ids=["own connections", "http_client"])
@pytest.mark.parametrize("kind", [SoftTimeLimitExceeded, KeyboardInterrupt, Stubborn])
def test_a_signal_handler_raises(kind: type[BaseException], own: bool) -> None:
    """An exception of a signal handler propagates unchanged with the call's facts, after the hook
    got them."""
    reported: list[RequestInfo] = []
    error = kind()
    with Interrupter(error) as interrupter:

        def strike(seen: Seen) -> None:
            interrupter.strike()
            server.over.wait()

        with serving(strike) as server, httpx.Client() as lent:
            http_client = None if own else lent
            with (
                SYNC.client(
                    base_url=server.url, http_client=http_client, on_request=reported.append
                ) as kraty,
                pytest.raises(kind) as raised,
            ):
                kraty.wallet.credit("p", "gold", amount=5)
            server.over.set()
    call = call_of(raised.value)
    assert raised.value is error
    assert [(call.idempotency_key, None, False, kind.__name__, False)] == [
        (info.idempotency_key, info.status, info.ok, info.error, info.will_retry)
        for info in reported
    ]
    assert (True, 1, "wallet.credit", reported[0].first_sent_at) == (
        call.ambiguous,
        call.attempts,
        call.operation,
        call.first_sent_at,
    )
    assert server.seen[0].body.decode().endswith(f'"idempotencyKey":"{call.idempotency_key}"}}')
    if sys.version_info >= (3, 11):
        (note,) = raised.value.__notes__
        assert (
            f"wallet.credit, may have taken effect, idempotency key '{call.idempotency_key}'"
            in note
        )
        assert CANARY not in note


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No garbage is collected meanwhile: its callbacks would take the exception of a thread."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("own", [True, False], ids=["own connections", "http_client"])
def test_another_thread_raises(own: bool) -> None:
    """An exception that another thread raises in this one ends the call, which is not retried."""
    # RQ's timer and gevent's timeouts also raise it where no code of the caller's runs.
    raise_in: Any = ctypes.pythonapi.PyThreadState_SetAsyncExc
    main = ctypes.c_ulong(threading.get_ident())

    def strike(seen: Seen) -> bytes:
        raise_in(main, ctypes.py_object(SoftTimeLimitExceeded))
        return response(503, b"{}")

    with serving(strike) as server, httpx.Client() as lent:
        client = SYNC.client(base_url=server.url, http_client=None if own else lent)
        with client as kraty, pytest.raises(SoftTimeLimitExceeded) as raised:
            kraty.wallet.credit("p", "gold", amount=5)
    call = call_of(raised.value)
    assert (True, 1, 1) == (call.ambiguous, call.attempts, len(server.seen))


@pytest.mark.parametrize("own", [True, False], ids=["own connections", "http_client"])
def test_a_task_is_cancelled(own: bool) -> None:
    """A cancelled call reports its key to the hook and on the `CancelledError`."""
    reported: list[RequestInfo] = []

    async def main(url: str) -> BaseException:
        from kraty_admin import KratyAdminAsync

        async with httpx.AsyncClient() as lent:
            http_client = None if own else lent
            async with KratyAdminAsync(
                api_key="a.b", base_url=url, http_client=http_client, on_request=reported.append
            ) as kraty:
                call = asyncio.ensure_future(kraty.wallet.credit("p", "gold", amount=5))
                await asyncio.to_thread(arrived.wait)
                call.cancel()
                with pytest.raises(asyncio.CancelledError) as raised:
                    await call
                return raised.value

    arrived = threading.Event()

    def wait(seen: Seen) -> None:
        arrived.set()
        server.over.wait()

    with serving(wait) as server:
        call = call_of(asyncio.run(main(server.url)))
        server.over.set()
    assert [(call.idempotency_key, "CancelledError")] == [
        (info.idempotency_key, info.error) for info in reported
    ]
    assert call.ambiguous


def test_a_task_is_cancelled_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call cancelled while it waits for a connection is not ambiguous."""
    monkeypatch.setattr(_own, "CONNECTIONS", 1)

    async def main(url: str) -> CallInfo:
        from kraty_admin import KratyAdminAsync

        async with KratyAdminAsync(api_key="a.b", base_url=url) as kraty:
            first = asyncio.ensure_future(kraty.wallet.credit("p", "gold", amount=5))
            await asyncio.to_thread(arrived.wait)
            second = asyncio.ensure_future(kraty.wallet.credit("p", "gold", amount=5))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for each in (second, first):
                each.cancel()
            with pytest.raises(asyncio.CancelledError) as raised:
                await second
            with pytest.raises(asyncio.CancelledError):
                await first
            return call_of(raised.value)

    arrived = threading.Event()

    def wait(seen: Seen) -> None:
        arrived.set()
        server.over.wait()

    with serving(wait) as server:
        call = asyncio.run(main(server.url))
        server.over.set()
    assert (False, 1, 1) == (call.ambiguous, call.attempts, len(server.seen))


def test_a_signal_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that Ctrl-C ends while it connects is not ambiguous."""

    def resolve(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with KratyAdmin(api_key="a.b", base_url="http://localhost:9") as kraty:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        with pytest.raises(KeyboardInterrupt) as raised:
            kraty.wallet.credit("p", "gold", amount=5)
    call = call_of(raised.value)
    assert (False, 1, True) == (call.ambiguous, call.attempts, call.idempotency_key is not None)


def test_a_task_is_cancelled_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call cancelled while it connects is not ambiguous."""

    async def main() -> CallInfo:
        from kraty_admin import KratyAdminAsync

        asked = asyncio.Event()

        async def resolve(*arguments: object, **options: object) -> None:
            asked.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        async with KratyAdminAsync(api_key="a.b", base_url="http://localhost:9") as kraty:
            call = asyncio.ensure_future(kraty.wallet.credit("p", "gold", amount=5))
            await asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError) as raised:
                await call
            return call_of(raised.value)

    call = asyncio.run(main())
    assert (False, 1, True) == (call.ambiguous, call.attempts, call.idempotency_key is not None)


@twins
@pytest.mark.parametrize(
    ("status", "ambiguous"), [(503, True), (429, False)], ids=["after a 503", "after a 429"]
)
def test_between_attempts(
    twin: Twin, status: int, ambiguous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception during the wait for a retry is as ambiguous as the attempts before it."""
    reported: list[RequestInfo] = []

    def interrupt(seconds: float) -> None:
        raise SoftTimeLimitExceeded

    async def interrupt_async(seconds: float) -> None:
        raise SoftTimeLimitExceeded

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={})

    monkeypatch.setattr("time.sleep", interrupt)
    monkeypatch.setattr("asyncio.sleep", interrupt_async)
    with pytest.raises(SoftTimeLimitExceeded) as raised:
        twin.credit(http_client=twin.mocked(refuse), on_request=reported.append)
    call = call_of(raised.value)
    assert (ambiguous, 1) == (call.ambiguous, call.attempts)
    # The attempt was reported when it ended, with the same key.
    assert [(call.idempotency_key, status)] == [
        (each.idempotency_key, each.status) for each in reported
    ]


def call_of_another(error: type[Exception] | None = None) -> None:
    """Make a call that fails: with a refusal, or as the transport raises this error."""

    def refuse(request: httpx.Request) -> httpx.Response:
        if error is not None:
            raise error("no")
        return httpx.Response(404, json={"error": {"code": "not_found", "message": "m"}})

    client = SYNC.client(http_client=SYNC.mocked(refuse), retry=RetryConfig(attempts=1))
    client.wallet.credit("other", "gold", amount=1, idempotency_key="inner")


@twins
@pytest.mark.parametrize(
    ("status", "ambiguous"), [(503, True), (429, False)], ids=["after a 503", "after a 429"]
)
@pytest.mark.parametrize(
    "error",
    [pytest.param(None, id="refused"), pytest.param(httpx.ConnectError, id="not sent")],
)
def test_another_call_fails(
    twin: Twin,
    error: type[Exception] | None,
    status: int,
    ambiguous: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a signal handler makes another call that fails, this call ends with an error that names
    its own key."""
    reported: list[RequestInfo] = []

    def interrupt(seconds: float) -> None:
        call_of_another(error)

    async def interrupt_async(seconds: float) -> None:
        call_of_another(error)

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={})

    monkeypatch.setattr("time.sleep", interrupt)
    monkeypatch.setattr("asyncio.sleep", interrupt_async)
    with pytest.raises(KratyNetworkError, match="another call failed during this one") as raised:
        twin.credit(http_client=twin.mocked(refuse), on_request=reported.append)
    assert (reported[0].idempotency_key, ambiguous, 1) == (
        raised.value.idempotency_key,
        raised.value.ambiguous,
        raised.value.attempts,
    )
    assert raised.value.__cause__ is raised.value.original_cause


@needs_signals
def test_another_call_fails_while_waiting_for_the_answer() -> None:
    """The error of a signal handler's call does not say that this call had no effect."""

    def handle(*_: object) -> None:
        call_of_another()

    before = signal.signal(signal.SIGUSR1, handle)

    def strike(seen: Seen) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        server.over.wait()

    try:
        with serving(strike) as server:
            with SYNC.client(base_url=server.url) as kraty, pytest.raises(KratyNetworkError) as it:
                kraty.wallet.credit("p", "gold", amount=5, idempotency_key="outer")
            server.over.set()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ("outer", True) == (it.value.idempotency_key, it.value.ambiguous)


@twins
def test_a_bug_in_a_hook_of_http_client(twin: Twin) -> None:
    """An exception of a response hook propagates unchanged, and carries the key."""
    reported: list[RequestInfo] = []

    def broken(answer: Any) -> None:
        int("x")

    http_client = twin.mocked(
        lambda request: httpx.Response(200, json={"data": {}}),
        event_hooks={"response": [twin.hook(broken)]},
    )
    with pytest.raises(ValueError, match="invalid literal") as raised:
        twin.credit(http_client=http_client, on_request=reported.append)
    call = call_of(raised.value)
    assert (True, "ValueError") == (call.ambiguous, reported[0].error)
    assert call.idempotency_key == reported[0].idempotency_key


@twins
def test_a_custom_transport_raises(twin: Twin) -> None:
    """An exception of a custom transport propagates unchanged, and the call is ambiguous."""

    def broken(request: httpx.Request) -> httpx.Response:
        raise LookupError("no route")

    with pytest.raises(LookupError) as raised:
        twin.credit(http_client=twin.mocked(broken))
    assert call_of(raised.value).ambiguous


@twins
def test_on_request_ends_the_process(twin: Twin) -> None:
    """If the hook exits after a success, the call is reported as ambiguous."""

    def leave(info: RequestInfo) -> None:
        raise SystemExit(3)

    with serving() as server, pytest.raises(SystemExit) as raised:
        twin.credit(base_url=server.url, on_request=leave)
    assert call_of(raised.value).ambiguous


@twins
def test_a_read(twin: Twin) -> None:
    """An interrupted read has no key and is not ambiguous."""

    def broken(request: httpx.Request) -> httpx.Response:
        raise LookupError("no route")

    async def ping(kraty: Any) -> None:
        await settled(kraty.health.ping())

    with pytest.raises(LookupError) as raised:
        twin.run(ping, http_client=twin.mocked(broken))
    call = call_of(raised.value)
    assert (False, None) == (call.ambiguous, call.idempotency_key)


@twins
def test_errors_of_ours_carry_their_own_facts(twin: Twin) -> None:
    """A KratyError has its facts in `call`, and no `kraty_call`."""
    with pytest.raises(KratyNetworkError) as raised:
        twin.credit(base_url="http://127.0.0.1:9", retry=RetryConfig(attempts=1))
    assert not hasattr(raised.value, "kraty_call")


@twins
def test_each_retry_is_logged(twin: Twin, caplog: pytest.LogCaptureFixture) -> None:
    """Each retry is logged with operation, attempt, cause and wait, and without the API key."""
    answers = iter([response(503), response(429, {"error": {"code": "rate_limited"}})])

    def answer(seen: Seen) -> bytes:
        return next(answers, None) or credited(seen)

    caplog.set_level(logging.INFO, "kraty_admin")
    with serving(answer) as server:
        twin.credit(base_url=server.url, retry=AT_ONCE)
    lines = [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "kraty_admin"
    ]
    assert [
        (
            "INFO",
            "wallet.credit: attempt 1 of 4 failed: internal_error; retrying in 0.00 s",
        ),
        ("INFO", "wallet.credit: attempt 2 of 4 failed: rate_limited; retrying in 0.00 s"),
    ] == lines
    assert CANARY not in caplog.text


def test_a_call_without_retry_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A call that succeeds at once logs nothing."""
    caplog.set_level(logging.DEBUG, "kraty_admin")
    with serving() as server, KratyAdmin(api_key="a.b", base_url=server.url) as kraty:
        kraty.wallet.credit("p", "gold", amount=5)
    assert [] == [record for record in caplog.records if record.name == "kraty_admin"]
