"""Spans and metrics of calls, as in-memory exporters receive them."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import sqlalchemy as sa
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from kraty_admin import (
    CallInfo,
    KratyError,
    KratyNetworkError,
    KratyServerError,
    RequestInfo,
    outbox,
)
from kraty_admin.contrib.otel import hash_key, instrument, observe_outbox, uninstrument
from kraty_admin.emulator import Emulator, Fault
from loopback import ASYNC, AT_ONCE, CANARY, KEY, ONCE, SYNC, Twin, settled

Answer = Callable[[httpx.Request], httpx.Response]
OK = {"data": {"economyKey": "gold", "balance": 500, "applied": True}}
SERVER = {"server.address": "kraty.test", "server.port": 8443}
CREDITED = "https://kraty.test:8443/server/v1/players/player_42/wallet/gold/credit"


@attrs.frozen
class Telemetry:
    """Providers of OpenTelemetry, and what they exported."""

    spans: TracerProvider
    meters: MeterProvider
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    @property
    def finished(self) -> list[ReadableSpan]:
        """Return all spans that have ended, in that order."""
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.finished if span.name == name]

    def points(self, name: str) -> dict[tuple[Any, ...], Any]:
        """Return a metric's counts or values by the attributes."""
        data = self.reader.get_metrics_data()
        found: dict[tuple[Any, ...], Any] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        for point in metric.data.data_points:
                            labels = tuple(sorted((point.attributes or {}).items()))
                            found[labels] = getattr(point, "count", getattr(point, "value", None))
        return found

    def instrument(self, client: Any) -> Any:
        instrument(client, tracer_provider=self.spans, meter_provider=self.meters)
        return client


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    spans, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader])
    spans.add_span_processor(SimpleSpanProcessor(exporter))
    yield Telemetry(spans, meters, exporter, reader)
    spans.shutdown()
    meters.shutdown()


@pytest.fixture(params=[pytest.param(SYNC, id="sync"), pytest.param(ASYNC, id="async")])
def twin(request: pytest.FixtureRequest) -> Twin:
    found: Twin = request.param
    return found


def answers(*statuses: int) -> Answer:
    """Answer with each status in turn, and with a result for 200."""
    left = iter(statuses)

    def answer(request: httpx.Request) -> httpx.Response:
        status = next(left)
        payload = OK if status == 200 else {"error": {"code": "conflict", "message": "no"}}
        return httpx.Response(status, json=payload, headers={"x-request-id": f"req_{status}"})

    return answer


def credit(
    twin: Twin, telemetry: Telemetry, answer: Answer, key: str = "receipt_1", **options: Any
) -> Any:
    """Make one credit with an instrumented client."""

    async def scenario(kraty: Any) -> Any:
        telemetry.instrument(kraty)
        return await settled(
            kraty.wallet.credit("player_42", "gold", amount=500, idempotency_key=key)
        )

    return twin.run(
        scenario,
        http_client=twin.mocked(answer),
        base_url="https://kraty.test:8443",
        **{"retry": AT_ONCE, **options},
    )


def test_a_call_and_its_attempts(twin: Twin, telemetry: Telemetry) -> None:
    """A call with one retry is a span with two children, with the standard attributes."""
    credit(twin, telemetry, answers(503, 200))
    first, second, call = telemetry.finished
    assert ["POST", "POST", "wallet.credit"] == [first.name, second.name, call.name]
    assert [SpanKind.CLIENT, SpanKind.CLIENT, SpanKind.INTERNAL] == [
        span.kind for span in (first, second, call)
    ]
    assert call.parent is None
    assert [call.context] * 2 == [first.parent, second.parent]
    request = {"http.request.method": "POST", "url.full": CREDITED, **SERVER}
    assert {
        **request,
        "http.response.status_code": 503,
        "error.type": "conflict",
        "kraty.request_id": "req_503",
    } == dict(first.attributes or {})
    assert {
        **request,
        "http.request.resend_count": 1,
        "http.response.status_code": 200,
        "kraty.request_id": "req_200",
    } == dict(second.attributes or {})
    assert {
        **SERVER,
        "kraty.operation": "wallet.credit",
        "kraty.idempotency_key.hash": hash_key("receipt_1"),
        "kraty.attempts": 2,
    } == dict(call.attributes or {})
    assert [StatusCode.ERROR, StatusCode.UNSET, StatusCode.UNSET] == [
        span.status.status_code for span in (first, second, call)
    ]


def always(status: int) -> Answer:
    """Return a handler that answers every request with this status."""
    return lambda request: answers(status)(request)


def timed_out(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("slow")


def unreadable(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, text="<html>")


@pytest.mark.parametrize(
    ("answer", "error", "kind", "is_ambiguous"),
    [
        pytest.param(always(409), KratyServerError, "conflict", False, id="refused"),
        pytest.param(always(503), KratyServerError, "conflict", True, id="failed"),
        pytest.param(unreadable, KratyServerError, "invalid_response", True, id="unreadable"),
        pytest.param(timed_out, KratyNetworkError, "ReadTimeout", True, id="no answer"),
    ],
)
def test_a_call_that_fails(
    twin: Twin,
    telemetry: Telemetry,
    answer: Answer,
    error: type[Exception],
    kind: str,
    is_ambiguous: bool,
) -> None:
    """The spans of a failed call and of its attempt have the error's type, but not its text."""
    with pytest.raises(error):
        credit(twin, telemetry, answer, retry=ONCE)
    attempt, call = telemetry.finished
    for span in (attempt, call):
        assert StatusCode.ERROR == span.status.status_code
        assert span.status.description is None
        assert () == tuple(span.events)
        assert kind == (span.attributes or {})["error.type"]
    assert is_ambiguous is (call.attributes or {})["kraty.ambiguous"]


def test_no_secrets(twin: Twin, telemetry: Telemetry) -> None:
    """Neither spans nor metrics hold the API key, the idempotency key or a query."""
    credit(twin, telemetry, answers(503, 200), key="receipt_canary")
    with pytest.raises(KratyServerError):
        credit(twin, telemetry, answers(409), key="receipt_canary")

    async def scenario(kraty: Any) -> None:
        telemetry.instrument(kraty)
        await settled(kraty.request("GET", "/things", query={"secret": "query_canary"}))

    twin.run(scenario, http_client=twin.mocked(answers(200)))
    everything = "".join(span.to_json() for span in telemetry.finished)
    data = telemetry.reader.get_metrics_data()
    assert data is not None
    everything += data.to_json()
    assert "wallet.credit" in everything
    for secret in (CANARY, KEY, "receipt_canary", "query_canary"):
        assert secret not in everything


def test_spans_nest(twin: Twin, telemetry: Telemetry) -> None:
    """A call is a child of the caller's span, and the attempt's span is current in the transport
    and the hook."""
    current: list[str] = []

    def name() -> str:
        return getattr(trace.get_current_span(), "name", "none")

    def answer(request: httpx.Request) -> httpx.Response:
        current.append(name())
        return answers(200)(request)

    def on_request(info: RequestInfo) -> None:
        current.append(f"{name()} in the hook")

    with telemetry.spans.get_tracer("shop").start_as_current_span("checkout"):
        credit(twin, telemetry, answer, on_request=on_request)
        current.append(name())
    assert ["POST", "POST in the hook", "checkout"] == current
    _, call, checkout = telemetry.finished
    assert call.parent == checkout.context


def test_tasks_and_threads(telemetry: Telemetry) -> None:
    """Each concurrent call is a child of the span of its own task or thread."""
    tracer = telemetry.spans.get_tracer("shop")

    async def in_task(kraty: Any, number: int) -> None:
        with tracer.start_as_current_span(f"task {number}"):
            await kraty.wallet.credit(f"player_{number}", "gold", amount=1)

    async def tasks(kraty: Any) -> None:
        telemetry.instrument(kraty)
        await asyncio.gather(*(in_task(kraty, number) for number in range(4)))

    def in_thread(kraty: Any, number: int) -> None:
        with tracer.start_as_current_span(f"thread {number}"):
            kraty.wallet.credit(f"player_{number}", "gold", amount=1)

    async def threads(kraty: Any) -> None:
        telemetry.instrument(kraty)
        started = [threading.Thread(target=in_thread, args=(kraty, each)) for each in range(4)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=OK)

    ASYNC.run(tasks, http_client=ASYNC.mocked(answer))
    SYNC.run(threads, http_client=SYNC.mocked(answer))
    parents = {
        span.context.span_id: span.name for span in telemetry.finished if span.context is not None
    }
    calls = telemetry.named("wallet.credit")
    found = sorted(parents[call.parent.span_id] for call in calls if call.parent)
    assert [f"{kind} {number}" for kind in ("task", "thread") for number in range(4)] == found
    for attempt in telemetry.named("POST"):
        assert attempt.parent is not None
        assert "wallet.credit" == parents[attempt.parent.span_id]


class Silent(httpx.AsyncBaseTransport):
    """A transport that never answers."""

    def __init__(self) -> None:
        self.received = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.received.set()
        await asyncio.Event().wait()
        raise AssertionError


def test_a_cancelled_call(telemetry: Telemetry) -> None:
    """A cancelled call ends its spans, leaves none current, and is reported as ambiguous."""

    async def scenario() -> None:
        transport = Silent()
        silent = httpx.AsyncClient(transport=transport)
        async with silent, ASYNC.client(http_client=silent) as kraty:
            telemetry.instrument(kraty)

            async def call() -> None:
                try:
                    await kraty.wallet.credit("player_42", "gold", amount=500)
                finally:
                    assert not trace.get_current_span().get_span_context().is_valid

            task = asyncio.create_task(call())
            await transport.received.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())
    attempt, span = telemetry.finished
    assert ["POST", "wallet.credit"] == [attempt.name, span.name]
    assert "CancelledError" == (attempt.attributes or {})["error.type"]
    assert "CancelledError" == (span.attributes or {})["error.type"]
    assert (span.attributes or {})["kraty.ambiguous"] is True


class Stopping(SpanProcessor):
    """Is interrupted when the span of a call ends."""

    def on_end(self, span: ReadableSpan) -> None:
        if span.kind is SpanKind.INTERNAL:
            raise KeyboardInterrupt


def test_a_call_that_was_not_sent(telemetry: Telemetry) -> None:
    """A call that the SDK refuses to send, such as in another event loop, is not ambiguous."""
    kraty = telemetry.instrument(ASYNC.client())

    async def enter() -> None:
        await kraty.__aenter__()

    async def call() -> None:
        with pytest.raises(KratyError, match="another event loop"):
            await kraty.wallet.credit("player_42", "gold", amount=500)

    asyncio.run(enter())
    asyncio.run(call())
    (span,) = telemetry.named("wallet.credit")
    facts = span.attributes or {}
    assert ("KratyError", False) == (facts["error.type"], facts["kraty.ambiguous"])


@pytest.mark.parametrize(
    ("status", "is_ambiguous"),
    [pytest.param(200, True, id="result"), pytest.param(409, False, id="refusal")],
)
def test_an_interruption_at_the_end(
    twin: Twin, telemetry: Telemetry, status: int, is_ambiguous: bool
) -> None:
    """An interruption while the span of a call ends carries the call's facts."""
    telemetry.spans.add_span_processor(Stopping())
    with pytest.raises(KeyboardInterrupt) as raised:
        credit(twin, telemetry, answers(status))
    call: CallInfo = vars(raised.value)["kraty_call"]
    assert ("receipt_1", is_ambiguous) == (call.idempotency_key, call.ambiguous)


def test_metrics(twin: Twin, telemetry: Telemetry) -> None:
    """Calls, attempts, retries and the retry budget are counted."""
    credit(twin, telemetry, answers(503, 503, 200), retry_budget=10)
    with pytest.raises(KratyServerError):
        credit(twin, telemetry, answers(409))
    operation = ("kraty.operation", "wallet.credit")
    server = tuple(SERVER.items())

    def labels(*more: tuple[str, object]) -> tuple[Any, ...]:
        return tuple(sorted((operation, *server, *more)))

    assert {
        labels(): 1,
        labels(("error.type", "conflict"), ("kraty.ambiguous", False)): 1,
    } == telemetry.points("kraty.client.call.duration")

    def attempt(status: int, *more: tuple[str, object]) -> tuple[Any, ...]:
        known = (("http.request.method", "POST"), ("http.response.status_code", status))
        return labels(*known, *more)

    assert {
        attempt(503, ("error.type", "conflict")): 2,
        attempt(200): 1,
        attempt(409, ("error.type", "conflict")): 1,
    } == telemetry.points("http.client.request.duration")
    assert {(("error.type", "conflict"), operation): 2} == telemetry.points("kraty.client.retries")


def test_the_retry_budget(twin: Twin, telemetry: Telemetry) -> None:
    """The gauge shows what is left of the retry budget, and is absent without a budget."""
    with pytest.raises(KratyServerError):
        credit(twin, telemetry, answers(503, 503, 503, 503), retry_budget=None)
    assert {} == telemetry.points("kraty.client.retry_budget")
    with pytest.raises(KratyServerError):
        credit(twin, telemetry, answers(503, 503, 503, 503), retry_budget=10)
    assert {tuple(SERVER.items()): 7} == telemetry.points("kraty.client.retry_budget")


def test_instrument_and_uninstrument(twin: Twin, telemetry: Telemetry) -> None:
    """Both functions can be repeated, and affect all clients that share connections."""
    counts: list[int] = []

    async def scenario(kraty: Any) -> None:
        async def calls() -> None:
            for client in (kraty, before, kraty.with_options(deadline=9)):
                await settled(client.health.ping())
            counts.append(len(telemetry.named("health.ping")))
            telemetry.exporter.clear()

        before = kraty.with_options(deadline=8)
        await calls()
        telemetry.instrument(before)
        telemetry.instrument(kraty)
        await calls()
        uninstrument(kraty)
        uninstrument(kraty)
        await calls()

    twin.run(scenario, http_client=twin.mocked(lambda _: httpx.Response(200, json={"ok": True})))
    assert [0, 3, 0] == counts


@pytest.mark.parametrize("function", [instrument, uninstrument])
def test_not_a_client(function: Callable[[Any], None]) -> None:
    """An object that is not a client is refused."""
    with pytest.raises(TypeError, match=r"client must be a KratyAdmin .*, not Engine"):
        function(sa.create_engine("sqlite://"))


class Broken(SpanProcessor):
    """A span processor that raises."""

    def __init__(self, moment: str) -> None:
        self._moment = moment

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        of_attempt = span.kind is trace.SpanKind.CLIENT
        if self._moment == "start" or (self._moment == "start of the attempt" and of_attempt):
            raise RuntimeError("broken")

    def on_end(self, span: ReadableSpan) -> None:
        if self._moment == "end":
            raise RuntimeError("broken")


@pytest.mark.parametrize("moment", ["start", "start of the attempt", "end"])
def test_broken_instrumentation(
    twin: Twin, telemetry: Telemetry, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    """An exception of the instrumentation is logged, and the call still returns its result."""
    telemetry.spans.add_span_processor(Broken(moment))
    with caplog.at_level(logging.ERROR, "kraty_admin"):
        assert 500 == credit(twin, telemetry, answers(200)).balance
    assert caplog.messages
    assert all("instrumentation raised" in message for message in caplog.messages)
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_broken_hook(twin: Twin, telemetry: Telemetry) -> None:
    """The span of an attempt ends even if `on_request` raises."""

    def on_request(info: RequestInfo) -> None:
        raise RuntimeError("broken")

    credit(twin, telemetry, answers(200), on_request=on_request)
    assert ["POST", "wallet.credit"] == [span.name for span in telemetry.finished]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


def test_an_outbox(telemetry: Telemetry, emulator: Emulator, tmp_path: Path) -> None:
    """Calls of a worker are reported as spans, and the outbox by its states."""
    emulator.reset()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    with emulator.client(retry=ONCE) as kraty:
        telemetry.instrument(kraty)
        outbox.set_up(engine, kraty)
        observe_outbox(engine, meter_provider=telemetry.meters)
        with engine.begin() as connection:
            for number in range(3):
                recorder = outbox.into(connection)
                recorder.wallet.credit(
                    f"player_{number}", "gold", amount=5, idempotency_key=f"receipt_{number}"
                )
        emulator.faults.add(Fault("status", status=409), operation="wallet.credit")
        outbox.drain(kraty, engine)
        points = telemetry.points("kraty.outbox.intents")
    engine.dispose()
    assert 3 == len(telemetry.named("wallet.credit"))
    states = {labels[0][1]: value for labels, value in points.items()}
    nothing = dict.fromkeys(("pending", "sending", "unknown", "abandoned"), 0)
    assert {**nothing, "done": 2, "refused": 1} == states


def test_an_outbox_is_asked_once_a_collection(
    telemetry: Telemetry, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both gauges share one query, which is made anew for each collection."""
    emulator.reset()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    observe_outbox(engine, meter_provider=telemetry.meters)
    with emulator.client() as kraty:
        outbox.set_up(engine, kraty)
    asked: list[outbox.OutboxStatus] = []
    status = outbox.status

    def counted(*args: Any, **options: Any) -> outbox.OutboxStatus:
        asked.append(status(*args, **options))
        return asked[-1]

    monkeypatch.setattr(outbox, "status", counted)
    nothing = {(("kraty.outbox.wait", wait),): 0.0 for wait in ("open", "unknown")}
    assert nothing == telemetry.points("kraty.outbox.oldest_age")
    with engine.begin() as connection:
        outbox.into(connection).wallet.credit("player_42", "gold", amount=5)
        intents = outbox.Tables().intents
        connection.execute(intents.update().values(created_ms=intents.c.created_ms - 100_000))
    ages = telemetry.points("kraty.outbox.oldest_age")
    engine.dispose()
    assert 2 == len(asked)
    assert 100 <= ages[("kraty.outbox.wait", "open"),] < 200
    assert 0 == ages[("kraty.outbox.wait", "unknown"),]


def test_an_import(telemetry: Telemetry, emulator: Emulator) -> None:
    """The chunks of an import are children of the span that started it, even from other threads."""
    emulator.reset()
    rows = [{"externalPlayerId": f"p{number}"} for number in range(4)]
    tracer = telemetry.spans.get_tracer("shop")
    with emulator.client() as kraty, tracer.start_as_current_span("import"):
        telemetry.instrument(kraty)
        kraty.migrate.import_players(rows, chunk_size=2)
    *_, started = telemetry.finished
    chunks = telemetry.named("migrate.players")
    assert [started.context] * 2 == [chunk.parent for chunk in chunks]


def test_captured_clients(telemetry: Telemetry, emulator: Emulator) -> None:
    """A client that the emulator captures stays instrumented."""
    with SYNC.client() as kraty:
        telemetry.instrument(kraty)
        with emulator.capture_clients():
            kraty.health.ping()
    assert 1 == len(telemetry.named("health.ping"))


def test_without_opentelemetry() -> None:
    """The package does not import OpenTelemetry, and `contrib.otel` says what to install."""
    code = """
import sys
import kraty_admin
kraty_admin.KratyAdmin(api_key="a.b").close()
print([name for name in sys.modules if name.startswith("opentelemetry")])
sys.modules["opentelemetry"] = None  # as if it were not installed
try:
    import kraty_admin.contrib.otel
except ModuleNotFoundError as error:
    print(error)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    needs = "kraty_admin.contrib.otel needs opentelemetry-api: pip install 'kraty-admin[otel]'"
    assert ["[]", needs] == done.stdout.splitlines()
