"""Whole calls, through both clients: what reaches the server, and what reaches the caller."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from math import inf, nan
from typing import Any, Final, Literal

import httpx
import pytest

from kraty_admin import (
    KratyAdminAsync,
    KratyError,
    KratyNetworkError,
    KratyResponseError,
    KratyServerError,
    RequestInfo,
    RetryConfig,
    derive_key,
    fulfil_once,
)
from loopback import ASYNC, AT_ONCE, SYNC, Driver, Seen, Server, response

Handler = Callable[[httpx.Request], httpx.Response]

GOOD: Final = {"data": {"economyKey": "gold", "balance": 500, "applied": True}}


@pytest.fixture(params=[pytest.param(SYNC, id="sync"), pytest.param(ASYNC, id="async")])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Return a maker of clients of one kind, and close them afterwards."""
    made = Driver(request.param)
    yield made
    made.close()


class Script:
    """A handler that gives scripted answers and then successes, and records requests."""

    def __init__(self, *answers: httpx.Response | Exception | int) -> None:
        self._answers = deque(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self._answers.popleft() if self._answers else httpx.Response(200, json=GOOD)
        if isinstance(answer, int):
            return httpx.Response(answer)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def bodies(self) -> list[bytes]:
        return [request.content for request in self.requests]

    @property
    def keys(self) -> list[str]:
        return [json.loads(body)["idempotencyKey"] for body in self.bodies]


def refusal(status: int, code: str, **extra: Any) -> httpx.Response:
    headers = extra.pop("headers", {})
    error = {"code": code, "message": "why", **extra}
    return httpx.Response(status, json={"error": error}, headers=headers)


def credit(client: Any, **options: Any) -> Any:
    return client.wallet.credit("player_42", "gold", amount=500, **options)


class TestOneKeyOneBody:
    """All attempts of a call send the same bytes, under one key."""

    def test_caller_changes_its_dicts(self, driver: Driver) -> None:
        """Changing an argument between attempts does not change the request."""
        entry: dict[str, Any] = {"type": "currency", "currencyKey": "gold", "amount": 5}
        metadata: dict[str, Any] = {"receipt": {"id": "r"}}
        script = Script(503, httpx.ReadError("dropped"), 429)

        def spoil(request: httpx.Request) -> httpx.Response:
            entry["amount"] += 1
            metadata["receipt"]["id"] += "!"
            metadata["more"] = 1
            return script(request)

        driver.wait(
            driver.client(spoil).grants.create(
                "p", idempotency_key="k", entries=[entry], metadata=metadata
            )
        )
        sent = (
            b'{"idempotencyKey":"k","kind":"reward",'
            b'"entries":[{"type":"currency","currencyKey":"gold","amount":5}],'
            b'"sourceKind":"api","metadata":{"receipt":{"id":"r"}}}'
        )
        assert [sent] * 4 == script.bodies

    @pytest.mark.parametrize("resource", ["players", "wallet", "inventory"])
    def test_caller_changes_its_rows(self, driver: Driver, resource: str) -> None:
        """Changing the rows of an import between attempts does not change what is sent."""
        rows: list[Any] = [{"externalPlayerId": "p", "idempotencyKey": "row_1"}]
        outcome: dict[str, Any] = {
            "data": {"applied": 1, "skipped": 0, "failed": 0, "failures": []}
        }
        script = Script(503, 503, httpx.Response(200, json=outcome))

        def spoil(request: httpx.Request) -> httpx.Response:
            rows[0]["externalPlayerId"] += "!"
            rows.append(dict(rows[0]))
            return script(request)

        migrate = getattr(driver.client(spoil).migrate, resource)
        driver.wait(migrate(rows, idempotency_key="k"))
        row = b'{"externalPlayerId":"p","idempotencyKey":"row_1"}'
        assert [b'{"rows":[' + row + b'],"idempotencyKey":"k"}'] * 3 == script.bodies

    def test_caller_changes_a_raw_body(self, driver: Driver) -> None:
        """Changing the body of a raw request between attempts does not change what is sent."""
        body: dict[str, Any] = {"value": [1]}
        script = Script(503)

        def spoil(request: httpx.Request) -> httpx.Response:
            body["value"].append(2)
            return script(request)

        driver.wait(driver.client(spoil).request("POST", "/x", body=body, idempotency_key="k"))
        assert [b'{"value":[1],"idempotencyKey":"k"}'] * 2 == script.bodies

    def test_minted_once(self, driver: Driver) -> None:
        """A key is generated once per call, not per attempt, and each call has its own."""
        minted: list[str] = []

        def mint() -> str:
            minted.append(f"key_{len(minted) + 1}")
            return minted[-1]

        script = Script(503, 502, 500, 200, 503)
        client = driver.client(script, generate_idempotency_key=mint)
        with pytest.raises(KratyServerError):
            driver.wait(credit(client, idempotency_key="mine"))  # 503, 502, 500, an empty 200
        driver.wait(credit(client))  # 503, success
        driver.wait(credit(client))
        assert (["mine"] * 4 + ["key_1"] * 2 + ["key_2"], ["key_1", "key_2"]) == (
            script.keys,
            minted,
        )

    def test_default_keys_differ(self, driver: Driver) -> None:
        """Two calls without a generator have different keys, and each keeps its own in all
        attempts."""
        script = Script(503, httpx.Response(200, json=GOOD), 503)
        client = driver.client(script)
        first, second = driver.wait(credit(client)), driver.wait(credit(client))
        one, other = first.http.idempotency_key, second.http.idempotency_key
        assert [one, one, other, other] == script.keys
        assert one != other

    def test_reads_have_none(self, driver: Driver) -> None:
        """A read carries no key and no body, and generates no key."""

        def never() -> str:
            raise AssertionError("no key was needed")

        script = Script(503, httpx.Response(200, json={"ok": True}))
        result = driver.wait(driver.client(script, generate_idempotency_key=never).health.ping())
        assert ([b"", b""], None, 2) == (
            script.bodies,
            result.http.idempotency_key,
            result.http.attempts,
        )

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            pytest.param("", ValueError, id="empty"),
            pytest.param("\ud800", ValueError, id="surrogate"),
            pytest.param(None, TypeError, id="None"),
            pytest.param(7, TypeError, id="int"),
            pytest.param(b"k", TypeError, id="bytes"),
        ],
    )
    def test_bad_generator(self, driver: Driver, value: Any, error: type[Exception]) -> None:
        """A generator that returns no key fails the call before anything is sent."""
        script = Script()
        client = driver.client(script, generate_idempotency_key=lambda: value)
        with pytest.raises(error):
            driver.wait(credit(client))
        assert [] == script.requests

    def test_generator_that_raises(self, driver: Driver) -> None:
        """An exception of a generator propagates before anything is sent."""

        def fail() -> str:
            raise LookupError("no key today")

        script = Script()
        with pytest.raises(LookupError, match="no key today"):
            driver.wait(credit(driver.client(script, generate_idempotency_key=fail)))
        assert [] == script.requests


class TestIdempotencyConflict:
    """Keys that were used for another body."""

    @pytest.mark.parametrize("status", [409, 429, 503])
    def test_never_retried(self, driver: Driver, status: int) -> None:
        """A conflict of keys ends the call at once, and is distinguished from other conflicts."""
        script = Script(*[refusal(status, "idempotency_conflict") for _ in range(4)])
        with pytest.raises(KratyServerError) as caught:
            driver.wait(credit(driver.client(script), idempotency_key="k"))
        assert (1, 1, "k", True, False) == (
            len(script.requests),
            caught.value.attempts,
            caught.value.idempotency_key,
            caught.value.is_idempotency_conflict,
            caught.value.is_conflict,
        )

    def test_other_conflicts(self, driver: Driver) -> None:
        """A lack of balance is another kind of conflict, and its text says what is lacking."""
        script = Script(refusal(409, "conflict", details={"required": 500, "available": 12}))
        with pytest.raises(KratyServerError) as caught:
            driver.wait(
                driver.client(script).wallet.debit("p", "gold", amount=500, idempotency_key="k")
            )
        assert (False, True, False) == (
            caught.value.is_idempotency_conflict,
            caught.value.is_conflict,
            caught.value.ambiguous,
        )
        assert (
            "409 conflict: why (wallet.debit, idempotency key 'k'): "
            '{"required": 500, "available": 12}'
        ) == str(caught.value)

    def test_alert(self, driver: Driver) -> None:
        """`fulfil_once` reports a conflict and raises it again, around a plain or an awaited
        call."""
        alerts: list[KratyServerError] = []
        script = Script(refusal(409, "idempotency_conflict"))
        client = driver.client(script)

        async def fulfil_async() -> Any:
            with fulfil_once("iap", "r", on_conflict=alerts.append) as key:
                return await credit(client, idempotency_key=key)

        def fulfil() -> Any:
            with fulfil_once("iap", "r", on_conflict=alerts.append) as key:
                return credit(client, idempotency_key=key)

        with pytest.raises(KratyServerError) as caught:
            driver.wait(fulfil_async() if driver.twin.is_async else fulfil())
        assert ([caught.value], [derive_key("iap", "r")]) == (alerts, script.keys)

    def test_behind_a_hook_of_the_http_client(self, driver: Driver) -> None:
        """A hook that raises for error statuses does not hide a conflict."""
        script = Script(*[refusal(409, "idempotency_conflict") for _ in range(4)])

        def check(response: httpx.Response) -> None:
            response.read()
            response.raise_for_status()

        async def check_async(response: httpx.Response) -> None:
            await response.aread()
            response.raise_for_status()

        hook = check_async if driver.twin.is_async else check
        http_client = driver.twin.mocked(script, event_hooks={"response": [hook]})
        with pytest.raises(KratyServerError) as caught:
            driver.wait(credit(driver.client(http_client=http_client)))
        driver.wait(http_client.aclose() if driver.twin.is_async else http_client.close())
        assert (True, 1) == (caught.value.is_idempotency_conflict, len(script.requests))


Fault = Literal[
    "answer",
    "drop",  # read the request, then close
    "commit-then-drop",
    "commit-then-half",  # half of the answer, then close
    "commit-then-garble",  # 200 and HTML
    "answer-then-close",  # an idle connection that is closed by the server
    "hang",
    "trickle",
]


class LedgerServer(Server):
    """A server with a ledger by idempotency key, which fails as scripted."""

    def __init__(self, *script: Fault) -> None:
        self._script = deque(script)
        self.ledger: dict[str, int] = {}
        self.reached = threading.Event()
        super().__init__(self._perform)

    @property
    def requests(self) -> int:
        """Return how many requests have arrived."""
        return len(self.seen)

    def _perform(self, seen: Seen) -> bytes | Iterable[bytes] | None:
        fault = self._script.popleft() if self._script else "answer"
        self.reached.set()
        if fault == "drop":
            return None
        if fault == "hang":
            self.over.wait(10)
            return None
        if fault == "trickle":
            return self._trickle()
        body = json.loads(seen.body)
        applied = body["idempotencyKey"] not in self.ledger
        self.ledger.setdefault(body["idempotencyKey"], body["amount"])
        balance = sum(self.ledger.values())
        data = {"economyKey": "gold", "balance": balance, "applied": applied}
        answer = response(200, {"data": data}, x_request_id=f"req_{self.requests}")
        if fault == "commit-then-drop":
            return None
        if fault == "commit-then-half":
            return [answer[:-10]]
        if fault == "commit-then-garble":
            return response(200, b"<html>", x_request_id=f"req_{self.requests}")
        return [answer] if fault == "answer-then-close" else answer

    def _trickle(self) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        for _ in range(160):
            if self.over.wait(0.05):
                return
            yield b" "


class TestLedger:
    """One receipt, one payout, over real connections."""

    @pytest.mark.parametrize(
        "faults",
        [
            pytest.param(["drop"], id="dropped"),
            pytest.param(["commit-then-drop"], id="committed"),
            pytest.param(["commit-then-half"], id="half-an-answer"),
            pytest.param(["commit-then-garble"], id="garbled"),
            pytest.param(["drop", "commit-then-drop", "commit-then-half"], id="one-after-another"),
        ],
    )
    def test_within_a_call(self, driver: Driver, faults: list[Fault]) -> None:
        """A call whose connection breaks is retried under its key, and pays once."""
        with LedgerServer(*faults) as server:
            result = driver.wait(credit(driver.client(base_url=server.url), idempotency_key="r"))
            driver.close()
        assert ({"r": 500}, 500, len(faults) + 1) == (
            server.ledger,
            result.balance,
            result.http.attempts,
        )
        # A commit whose answer was lost may have been this call's own.
        assert (None if faults != ["drop"] else False) is result.replayed

    @pytest.mark.parametrize(
        ("fault", "kind", "request_id"),
        [
            ("commit-then-drop", KratyNetworkError, None),
            ("commit-then-half", KratyNetworkError, None),
            ("commit-then-garble", KratyResponseError, "req_4"),
        ],
    )
    @pytest.mark.parametrize("given", ["receipt_1", None], ids=["own-key", "minted-key"])
    def test_over_two_calls(
        self,
        driver: Driver,
        fault: Fault,
        kind: type[KratyServerError | KratyNetworkError],
        request_id: str | None,
        given: str | None,
    ) -> None:
        """A call that is repeated with the key of its error leaves one ledger entry."""
        with LedgerServer(fault, fault, fault, fault) as server:
            client = driver.client(base_url=server.url)
            with pytest.raises(kind) as caught:
                driver.wait(credit(client, idempotency_key=given))
            key = caught.value.idempotency_key
            result = driver.wait(credit(client, idempotency_key=key))
            driver.close()
        assert (4, True, request_id) == (
            caught.value.attempts,
            caught.value.ambiguous,
            caught.value.request_id,
        )
        assert ({given or key: 500}, True, 5) == (server.ledger, result.replayed, server.requests)

    def test_job_that_runs_again(self, driver: Driver) -> None:
        """A job that runs twice with a derived key pays once."""

        def job() -> None:
            client = driver.client(base_url=server.url)
            driver.wait(credit(client, idempotency_key=derive_key("iap", "receipt_1")))

        with LedgerServer("answer", "commit-then-drop") as server:
            job()
            job()
            driver.close()
        assert {derive_key("iap", "receipt_1"): 500} == server.ledger

    def test_idle_connection_is_closed(self, driver: Driver) -> None:
        """A call after the server closed the idle connection succeeds."""
        with LedgerServer("answer-then-close", "answer-then-close") as server:
            client = driver.client(base_url=server.url)
            results = [driver.wait(credit(client, idempotency_key=key)) for key in "abc"]
            driver.close()
        assert {"a": 500, "b": 500, "c": 500} == server.ledger
        assert 1500 == results[-1].balance

    def test_idle_connection_is_closed_at_the_wrong_moment(self, driver: Driver) -> None:
        """A call whose connection is closed as the request arrives is retried."""
        reported: list[RequestInfo] = []
        with LedgerServer("answer", "drop") as server:
            client = driver.client(base_url=server.url, on_request=reported.append)
            for key in "ab":
                driver.wait(credit(client, idempotency_key=key))
            driver.close()
        assert [(1, None), (1, "RemoteProtocolError"), (2, None)] == [
            (info.attempt, info.error) for info in reported
        ]
        assert {"a": 500, "b": 500} == server.ledger


HANGS: Final[list[Fault]] = ["hang"] * 20


class TestDeadline:
    """A call ends by its deadline, whatever the server does."""

    @pytest.mark.parametrize("fault", ["hang", "trickle"])
    def test_slow_server(self, driver: Driver, fault: Fault) -> None:
        """A call to a server that hangs or trickles its answer ends at the deadline."""
        with LedgerServer(fault, fault, fault, fault) as server:
            client = driver.client(base_url=server.url, deadline=0.3)
            started = time.monotonic()
            with pytest.raises(KratyNetworkError) as caught:
                driver.wait(credit(client, idempotency_key="k"))
            took = time.monotonic() - started
            driver.close()
        assert 0.2 < took < 5
        assert ("ReadTimeout", True, "k") == (
            caught.value.cause_name,
            caught.value.ambiguous,
            caught.value.idempotency_key,
        )

    def test_many_attempts(self, driver: Driver) -> None:
        """The deadline limits all attempts together."""
        retry = RetryConfig(attempts=1000, initial_delay=0.0)
        with LedgerServer(*HANGS) as server:
            client = driver.client(base_url=server.url, deadline=0.5, timeout=0.05, retry=retry)
            started = time.monotonic()
            with pytest.raises(KratyNetworkError) as caught:
                driver.wait(credit(client))
            took = time.monotonic() - started
            driver.close()
        assert 0.4 < took < 5
        assert 2 <= caught.value.attempts <= 10

    def test_waits_count(self, driver: Driver) -> None:
        """A wait that would pass the deadline is not begun."""
        script = Script(*[refusal(503, "x", headers={"Retry-After": "30"}) for _ in range(4)])
        client = driver.client(script, deadline=29.0)
        started = time.monotonic()
        with pytest.raises(KratyServerError) as caught:
            driver.wait(credit(client))
        assert time.monotonic() - started < 5
        assert (1, 30.0) == (caught.value.attempts, caught.value.retry_after)

    def test_without_one(self, driver: Driver) -> None:
        """A call without a deadline and without timeouts works over a real connection."""
        with LedgerServer("answer") as server:
            client = driver.client(base_url=server.url, deadline=inf, timeout=httpx.Timeout(None))
            result = driver.wait(credit(client))
            driver.close()
        assert 500 == result.balance


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the waits between attempts instead of sleeping."""
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr("asyncio.sleep", note)
    return waits


class TestRetryAfter:
    """Waits that the server asks for."""

    @pytest.mark.parametrize(
        "headers",
        [
            {"Retry-After": "7"},
            {"Retry-After": "6.5"},
            {"RateLimit-Reset": "7"},
            {
                "Retry-After": "Mon, 08 Jun 2026 12:00:07 GMT",
                "Date": "Mon, 08 Jun 2026 12:00:00 GMT",
            },
        ],
        ids=["seconds", "decimal", "reset", "date"],
    )
    def test_never_earlier(
        self, driver: Driver, slept: list[float], headers: dict[str, str]
    ) -> None:
        """Each wait is at least as long as the server asks, whatever the jitter."""
        answers = [refusal(429, "rate_limited", headers=headers) for _ in range(3)]
        retry = RetryConfig(initial_delay=6.4, max_delay=6.4, jitter=1.0)
        driver.wait(credit(driver.client(Script(*answers), retry=retry)))
        asked = 6.5 if headers.get("Retry-After") == "6.5" else 7.0
        assert 3 == len(slept)
        assert all(asked <= wait <= 12.8 for wait in slept)

    def test_above_the_cap(self, driver: Driver, slept: list[float]) -> None:
        """A requested wait above the cap raises at once, with the wait in `retry_after`."""
        script = Script(refusal(429, "rate_limited", headers={"Retry-After": "9999999999"}))
        with pytest.raises(KratyServerError) as caught:
            driver.wait(credit(driver.client(script)))
        assert ([], 1, 9999999999.0, True) == (
            slept,
            caught.value.attempts,
            caught.value.retry_after,
            caught.value.is_rate_limited,
        )

    def test_backoff(self, driver: Driver, slept: list[float]) -> None:
        """Waits that the server does not ask for double, and have jitter."""
        driver.wait(credit(driver.client(Script(503, 503, 503), retry=RetryConfig())))
        assert 3 == len(slept)
        for wait, middle in zip(slept, (0.2, 0.4, 0.8), strict=True):
            assert 0.8 * middle <= wait <= 1.2 * middle


class Interruption(Exception):  # noqa: N818 -- as celery's SoftTimeLimitExceeded is called
    """The exception of a job queue when a job takes too long."""


class TestCancellation:
    """A cancelled call makes no further attempt."""

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, Interruption])
    def test_during_an_attempt(self, driver: Driver, interruption: type[BaseException]) -> None:
        """An interruption of an attempt propagates, and no second attempt is made."""
        attempts: list[int] = []

        def interrupt(request: httpx.Request) -> httpx.Response:
            attempts.append(1)
            raise interruption

        client = driver.client(interrupt)
        with pytest.raises(interruption):
            driver.wait(credit(client))
        assert [1] == attempts

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, Interruption])
    def test_during_a_wait(
        self,
        driver: Driver,
        interruption: type[BaseException],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """An interruption of a wait propagates, and nothing more is sent."""

        def interrupt(seconds: float) -> None:
            raise interruption

        async def interrupt_async(seconds: float) -> None:
            raise interruption

        script = Script(503, 503)
        client = driver.client(script)
        monkeypatch.setattr("time.sleep", interrupt)
        monkeypatch.setattr("asyncio.sleep", interrupt_async)
        with pytest.raises(interruption):
            driver.wait(credit(client))
        assert 1 == len(script.requests)

    def cancelled(self, answer: Callable[[], httpx.Response] | None, how: str) -> int:
        """Return how many attempts a call makes that is cancelled while it hangs or waits."""
        attempts = 0

        async def main() -> None:
            reached = asyncio.Event()

            async def handle(request: httpx.Request) -> httpx.Response:
                nonlocal attempts
                attempts += 1
                reached.set()
                if answer is not None:
                    return answer()
                if attempts == 1:
                    await asyncio.Event().wait()
                return httpx.Response(200, json=GOOD)

            async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
                retry = RetryConfig(initial_delay=30.0) if answer is not None else AT_ONCE
                client = KratyAdminAsync(api_key="k.s", http_client=http, retry=retry)
                if how == "wait_for":
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(credit(client), 0.05)
                else:
                    task = asyncio.ensure_future(credit(client))
                    await reached.wait()
                    for _ in range(20):  # until it waits for the answer, or for its next attempt
                        await asyncio.sleep(0)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                for _ in range(20):
                    await asyncio.sleep(0)

        asyncio.run(main())
        return attempts

    @pytest.mark.parametrize("how", ["wait_for", "cancel"])
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(None, id="during-an-attempt"),
            pytest.param(lambda: httpx.Response(503), id="during-a-wait"),
        ],
    )
    def test_task(self, answer: Callable[[], httpx.Response] | None, how: str) -> None:
        """A task that is cancelled, or no longer waited for, makes one attempt."""
        assert 1 == self.cancelled(answer, how)

    def test_over_a_real_connection(self) -> None:
        """A call to a server that hangs makes one attempt when it is cancelled."""

        async def main() -> None:
            async with KratyAdminAsync(api_key="k.s", base_url=server.url, retry=AT_ONCE) as client:
                task = asyncio.ensure_future(credit(client))
                assert await asyncio.to_thread(server.reached.wait, 10)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        with LedgerServer("hang") as server:
            asyncio.run(main())
        assert 1 == server.requests


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks off, and records that it was closed."""

    def __init__(self, broken_by: BaseException | None) -> None:
        self._broken_by = broken_by
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield json.dumps(GOOD).encode()
        if self._broken_by is not None:
            raise self._broken_by

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


class TestClosing:
    """Every response is closed, so that its connection returns to the pool."""

    @pytest.mark.parametrize("status", [200, 302, 404, 503])
    @pytest.mark.parametrize(
        "broken_by",
        [None, httpx.ReadError("dropped"), KeyboardInterrupt(), Interruption()],
        ids=["whole", "dropped", "interrupted", "foreign"],
    )
    def test_closed(self, driver: Driver, status: int, broken_by: BaseException | None) -> None:
        """A response is closed, whether it was read in full or broke off."""
        stream = Stream(broken_by)
        client = driver.client(
            lambda _: httpx.Response(status, stream=stream), retry=RetryConfig(attempts=1)
        )
        with contextlib.suppress(KratyError, KeyboardInterrupt, Interruption):
            driver.wait(credit(client))
        assert stream.closed >= 1


LARGEST: Final = 2**53 - 1

BAD_AMOUNTS: Final = [
    pytest.param(True, TypeError, id="bool"),
    pytest.param(False, TypeError, id="bool-false"),
    pytest.param(1.0, TypeError, id="float"),
    pytest.param(nan, TypeError, id="NaN"),
    pytest.param(inf, TypeError, id="infinity"),
    pytest.param("5", TypeError, id="str"),
    pytest.param(None, TypeError, id="None"),
    pytest.param(Decimal(5), TypeError, id="Decimal"),
    pytest.param(0, ValueError, id="zero"),
    pytest.param(-1, ValueError, id="negative"),
    pytest.param(LARGEST + 1, ValueError, id="too-large"),
    pytest.param(10**5000, ValueError, id="far-too-large"),
]

MINTING: Final = pytest.mark.parametrize(
    ("method", "argument"),
    [
        ("wallet.credit", "amount"),
        ("wallet.debit", "amount"),
        ("inventory.grant", "quantity"),
        ("inventory.revoke", "quantity"),
    ],
    ids=["credit", "debit", "grant", "revoke"],
)


def method_of(client: Any, name: str) -> Callable[..., Any]:
    resource, _, method = name.partition(".")
    found: Callable[..., Any] = getattr(getattr(client, resource), method)
    return found


class TestAmounts:
    """Amounts are whole numbers that every JSON reader reads alike."""

    @MINTING
    @pytest.mark.parametrize(("value", "error"), BAD_AMOUNTS)
    def test_bad(
        self, driver: Driver, method: str, argument: str, value: Any, error: type[Exception]
    ) -> None:
        """An amount that is not a whole number in range is refused by name, and nothing is sent."""
        script = Script()
        with pytest.raises(error, match=f"^{argument} must be"):
            driver.wait(method_of(driver.client(script), method)("p", "x", **{argument: value}))
        assert [] == script.requests

    @MINTING
    @pytest.mark.parametrize("value", [1, LARGEST], ids=["smallest", "largest"])
    def test_good(self, driver: Driver, method: str, argument: str, value: int) -> None:
        """An amount from 1 to 2**53 - 1 is sent and returned digit for digit."""
        sent: list[bytes] = []

        def echo(request: httpx.Request) -> httpx.Response:
            sent.append(request.content)
            amount = json.loads(request.content)[argument]
            return httpx.Response(
                200, json={"data": {"balance": amount, "quantity": amount, "applied": True}}
            )

        result = driver.wait(
            method_of(driver.client(echo), method)(
                "p", "x", idempotency_key="k", **{argument: value}
            )
        )
        assert [f'{{"{argument}":{value},"idempotencyKey":"k"}}'.encode()] == sent
        assert (value, value) == (result["balance"], result["quantity"])


class TestRetryBudget:
    """The budget that limits retries in an outage."""

    @pytest.mark.parametrize(
        ("options", "calls", "expected"),
        [
            pytest.param({"retry_budget": 5}, 10, 15, id="five"),
            pytest.param({"retry_budget": 0}, 10, 10, id="none-at-all"),
            pytest.param({"retry_budget": None}, 10, 40, id="turned-off"),
            pytest.param({}, 60, 160, id="default"),
        ],
    )
    def test_outage(
        self, driver: Driver, options: dict[str, Any], calls: int, expected: int
    ) -> None:
        """In an outage, each call is tried once, and all calls together are retried as often as the
        budget allows."""
        script = Script(*[503] * 1000)
        client = driver.client(script, **options)
        for _ in range(calls):
            with pytest.raises(KratyServerError):
                driver.wait(credit(client))
        assert expected == len(script.requests)

    def test_refilled(self, driver: Driver) -> None:
        """After an outage, each success gives one retry back."""
        good = [httpx.Response(200, json=GOOD) for _ in range(2)]
        script = Script(*[503] * 4, *good, *[503] * 4)
        client = driver.client(script, retry_budget=2)
        sent: list[int] = []
        for _ in range(6):
            before = len(script.requests)
            with contextlib.suppress(KratyServerError):
                driver.wait(credit(client))
            sent.append(len(script.requests) - before)
        # 503 three times, 503 once; two successes; 503 three times, 503 once.
        assert [3, 1, 1, 1, 3, 1] == sent

    def test_shared(self, driver: Driver) -> None:
        """Derived clients share their parent's budget."""
        script = Script(*[503] * 100)
        client = driver.client(script, retry_budget=3)
        other = client.with_options(timeout=5.0)
        for each in (client, other, client, other):
            with pytest.raises(KratyServerError):
                driver.wait(credit(each))
        assert 4 + 3 == len(script.requests)


class TestEveryStatus:
    """Every status other than 2xx raises."""

    def test_all(self, driver: Driver) -> None:
        """Each status from 300 to 599 raises an error with the body, headers and request id."""
        statuses: list[int] = []

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(statuses[-1], headers={"X-Request-ID": "r"}, text="as it came")

        client = driver.client(answer, retry=RetryConfig(attempts=2, initial_delay=0.0))
        client = client.with_options()
        for status in range(300, 600):
            statuses.append(status)
            with pytest.raises(KratyServerError) as caught:
                driver.wait(credit(client))
            error = caught.value
            assert ("internal_error", status, b"as it came", "r") == (
                error.code,
                error.status,
                error.raw_body,
                error.request_id,
            )
            assert "text/plain; charset=utf-8" == error.headers["content-type"]
        assert 300 == len(statuses)

    def test_redirects_are_not_followed(self, driver: Driver) -> None:
        """A redirect is an error, and its target gets no request."""
        script = Script(httpx.Response(307, headers={"Location": "https://evil.example/"}))
        with pytest.raises(KratyServerError) as caught:
            driver.wait(credit(driver.client(script)))
        assert (307, ["api.kraty.io"]) == (
            caught.value.status,
            [request.url.host for request in script.requests],
        )


def hostile_answer(draw: random.Random) -> httpx.Response:
    """Return a random status with a body as servers, proxies and accidents make them."""
    good = json.dumps(GOOD).encode()
    bodies: list[bytes] = [
        good,
        good[: draw.randrange(len(good))],
        b"",
        b"<html><h1>502 Bad Gateway</h1></html>",
        b"[]",
        b"null",
        b'{"data":null}',
        b'{"data":[]}',
        b'{"data":NaN}',
        b'{"error":{"code":7}}',
        b'{"error":[{"code":"conflict"}]}',
        b'{"error":{"code":"conflict","message":"m","details":' + b"[" * 300 + b"]" * 300 + b"}}",
        b'{"error":{"code":"\\ud800","message":"\\udfff"}}',
        b'{"data":{"balance":' + b"9" * draw.randrange(1, 9000) + b"}}",
        b"[" * draw.randrange(1, 50_000),
        draw.randbytes(draw.randrange(40)),
        good.replace(b'"data"', draw.choice([b'"Data"', b'"error"', b"data", b'"\xff"'])),
    ]
    header = draw.choice(
        [
            (b"Server", b"nginx"),
            (b"Retry-After", draw.choice([b"0", b"-1", b"NaN", b"soon", b"9999999999", b"\xb2"])),
            (b"Content-Type", b"text/html; charset=nonsense"),
            (b"X-Request-ID", b"\xe9"),
            (b"Content-Encoding", draw.choice([b"gzip", b"deflate", b"br", b"nonsense"])),
        ]
    )
    return httpx.Response(
        draw.choice([200, 200, 201, 204, 302, 400, 404, 409, 422, 429, 500, 502, 503, 599]),
        headers=[header],
        stream=httpx.ByteStream(draw.choice(bodies)),
    )


class TestHostileAnswers:
    """Hostile answers raise nothing but a `KratyError`."""

    def test_many(self, driver: Driver) -> None:
        """Each of 500 calls to a hostile server ends in a result or a `KratyError`."""
        draw = random.Random(7)
        client = driver.client(
            lambda _: hostile_answer(draw),
            # A 429 whose Retry-After cannot be read would wait `max_delay`.
            retry=RetryConfig(attempts=2, initial_delay=0.0, max_delay=0.0),
            retry_budget=None,
        )
        ends: dict[str, int] = {}
        call: Any
        for _ in range(500):
            try:
                result = driver.wait(credit(client, idempotency_key="k"))
            except KratyError as error:
                end, call = type(error).__name__, error
                str(error).encode()
            else:
                end, call = "result", result.http
            assert ("k", True) == (call.idempotency_key, call.attempts in (1, 2))
            ends[end] = ends.get(end, 0) + 1
        assert {"KratyServerError", "KratyResponseError", "KratyNetworkError", "result"} == {*ends}
        assert 500 == sum(ends.values())

    def test_broken_compression(self, driver: Driver) -> None:
        """An answer that cannot be decompressed makes the call ambiguous."""

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(
                200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip")
            )

        with pytest.raises(KratyNetworkError) as caught:
            driver.wait(credit(driver.client(answer)))
        assert ("DecodingError", True, 4) == (
            caught.value.cause_name,
            caught.value.ambiguous,
            caught.value.attempts,
        )


TRANSPORT_ERRORS: Final = [
    *(httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.ReadTimeout),
    *(httpx.WriteError, httpx.WriteTimeout, httpx.CloseError, httpx.PoolTimeout),
    *(httpx.RemoteProtocolError, httpx.LocalProtocolError, httpx.ProxyError),
    *(httpx.UnsupportedProtocol, httpx.TransportError, httpx.NetworkError, httpx.TimeoutException),
    *(ConnectionResetError, BrokenPipeError, TimeoutError, OSError),
]


class TestTransportErrors:
    """Failures of the connection, which are retried and then raised."""

    @pytest.mark.parametrize("kind", TRANSPORT_ERRORS, ids=lambda kind: kind.__name__)
    def test_raised(self, driver: Driver, kind: type[Exception]) -> None:
        """The error of a failed connection names its cause, which holds nothing of the request."""
        script = Script(*[kind("dropped") for _ in range(4)])
        with pytest.raises(KratyNetworkError) as caught:
            driver.wait(credit(driver.client(script), idempotency_key="k"))
        error = caught.value
        assert (4, "k", kind, None) == (
            error.attempts,
            error.idempotency_key,
            type(error.original_cause),
            error.__context__,
        )
        assert f"no answer from api.kraty.io: {kind.__name__}: dropped" == error.message

    @pytest.mark.parametrize("kind", TRANSPORT_ERRORS, ids=lambda kind: kind.__name__)
    def test_recovers(self, driver: Driver, kind: type[Exception]) -> None:
        """A call whose second attempt is answered returns the result."""
        result = driver.wait(credit(driver.client(Script(kind("dropped")))))
        assert (500, 2) == (result.balance, result.http.attempts)


class TestHook:
    """`on_request` is called for every attempt."""

    def test_every_field(self, driver: Driver, slept: list[float]) -> None:
        """Each attempt reports its call, status or cause, request id and next step."""
        asked = {"Retry-After": "3", "X-Request-ID": "req_2"}
        script = Script(
            httpx.ConnectTimeout("slow"),
            refusal(429, "rate_limited", headers=asked),
            httpx.Response(200, json=GOOD, headers={"X-Request-ID": "req_3"}),
        )
        reported: list[RequestInfo] = []
        before = datetime.now(timezone.utc)
        driver.wait(
            credit(
                driver.client(script, retry=RetryConfig(jitter=0.0), on_request=reported.append),
                idempotency_key="k",
            )
        )
        common: dict[str, Any] = {
            "method": "POST",
            "url": "https://api.kraty.io/server/v1/players/player_42/wallet/gold/credit",
            "idempotency_key": "k",
            "operation": "wallet.credit",
        }
        expected: list[dict[str, Any]] = [
            {
                **common,
                "attempt": 1,
                "status": None,
                "ok": False,
                "error": "ConnectTimeout",
                "will_retry": True,
                "retry_in": 0.2,
                "request_id": None,
            },
            {
                **common,
                "attempt": 2,
                "status": 429,
                "ok": False,
                "error": "rate_limited",
                "will_retry": True,
                "retry_in": 3.0,
                "request_id": "req_2",
            },
            {
                **common,
                "attempt": 3,
                "status": 200,
                "ok": True,
                "error": None,
                "will_retry": False,
                "retry_in": None,
                "request_id": "req_3",
            },
        ]
        actual = [info._asdict() for info in reported]
        durations = [info.pop("duration_ms") for info in actual]
        begun = {info.pop("first_sent_at") for info in actual}
        assert [True] == [before <= each <= datetime.now(timezone.utc) for each in begun]
        assert expected == actual
        assert all(0 <= duration < 60_000 for duration in durations)
        assert [0.2, 3.0] == slept

    def test_last_attempt(self, driver: Driver) -> None:
        """The hook learns that no attempt follows the last one."""
        reported: list[RequestInfo] = []
        client = driver.client(Script(*[503] * 4), on_request=reported.append)
        with pytest.raises(KratyServerError):
            driver.wait(credit(client))
        assert [(1, True), (2, True), (3, True), (4, False)] == [
            (info.attempt, info.will_retry) for info in reported
        ]
        assert {"internal_error"} == {info.error for info in reported}

    def test_hook_that_raises(self, driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
        """A hook's exception is logged with its traceback, and the call continues."""

        def fail(info: RequestInfo) -> None:
            raise LookupError("no such metric")

        with caplog.at_level(logging.DEBUG):
            result = driver.wait(credit(driver.client(Script(503), on_request=fail)))
        records = [record for record in caplog.records if record.name == "kraty_admin"]
        # The line between the two reports the retry.
        assert (2, ["ERROR", "INFO", "ERROR"]) == (
            result.http.attempts,
            [record.levelname for record in records],
        )
        assert "LookupError: no such metric" in caplog.text
        assert "secret" not in caplog.text

    def test_hook_that_raises_hides_no_error(self, driver: Driver) -> None:
        """The error of a call does not refer to an exception of the hook."""

        def fail(info: RequestInfo) -> None:
            raise LookupError("no such metric")

        with pytest.raises(KratyServerError) as caught:
            driver.wait(credit(driver.client(Script(404), on_request=fail)))
        assert (None, None) == (caught.value.__context__, caught.value.__cause__)

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
    def test_interrupted_hook(self, driver: Driver, interruption: type[BaseException]) -> None:
        """An interruption in the hook propagates and ends the call."""

        def interrupt(info: RequestInfo) -> None:
            raise interruption

        script = Script(503)
        with pytest.raises(interruption):
            driver.wait(credit(driver.client(script, on_request=interrupt)))
        assert 1 == len(script.requests)
