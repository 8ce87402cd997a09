"""The recipes of docs/observability.md work with Prometheus's registry and Sentry's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_metrics
import pytest
import sentry_errors
import sentry_sdk
from prometheus_client import REGISTRY, generate_latest
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from sqlalchemy import create_engine

from kraty_admin import KratyServerError, RetryConfig, outbox
from kraty_admin.emulator import Emulator, Fault

AT_ONCE = RetryConfig(initial_delay=0)


def test_prometheus(kraty_emulator: Emulator, tmp_path: Path) -> None:
    """Prometheus scrapes the attempts, retries and failures of calls, and an outbox's states."""
    for status in (503, 409):
        kraty_emulator.faults.add(Fault("status", status=status), operation="wallet.credit")
    engine = create_engine(f"sqlite:///{tmp_path}/shop.sqlite3")
    with prometheus_metrics.make_client() as made:
        kraty = made.with_options(retry=AT_ONCE)
        with pytest.raises(KratyServerError):
            kraty.wallet.credit("player_42", "gold", amount=500)
        kraty.wallet.credit("player_42", "gold", amount=500)
        outbox.set_up(engine, kraty)
        with engine.begin() as connection:
            outbox.into(connection).wallet.credit("player_42", "gold", amount=5)
        prometheus_metrics.watch_outbox(engine)
        scraped = generate_latest(REGISTRY).decode()
    for line in (
        'kraty_attempt_seconds_count{operation="wallet.credit",status="503"} 1.0',
        'kraty_attempt_seconds_count{operation="wallet.credit",status="409"} 1.0',
        'kraty_attempt_seconds_count{operation="wallet.credit",status="200"} 1.0',
        'kraty_retries_total{error="internal_error",operation="wallet.credit"} 1.0',
        'kraty_failures_total{error="conflict",operation="wallet.credit"} 1.0',
        'kraty_outbox_intents{state="pending"} 1.0',
        'kraty_outbox_intents{state="unknown"} 0.0',
    ):
        assert line in scraped.splitlines(), scraped
    assert 0 < (REGISTRY.get_sample_value("kraty_outbox_oldest_open_seconds") or 0) < 60


class Kept(Transport):
    """A transport that keeps what would go to Sentry."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.items += [item.get_event() or item.get_transaction_event() for item in envelope.items]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Yield the list of what the recipe sends to Sentry, with every trace kept."""
    transport, init = Kept(), sentry_sdk.init

    def keep(**options: Any) -> None:
        assert 0 < options["traces_sample_rate"] <= 1
        init(
            dsn="https://key@sentry.invalid/1",
            transport=transport,
            **{**options, "traces_sample_rate": 1.0},
        )

    monkeypatch.setattr(sentry_sdk, "init", keep)
    yield transport.items
    sentry_sdk.get_client().close()


def test_sentry(kraty_emulator: Emulator, sent: list[Any]) -> None:
    """In Sentry, a failed call is an issue with tags, breadcrumbs and a span per attempt, no
    key."""
    kraty_emulator.faults.add(Fault("status", status=503), operation="wallet.credit")
    kraty_emulator.faults.add(Fault("status", status=409), operation="wallet.credit")
    with sentry_errors.set_up() as made, sentry_sdk.start_transaction(name="checkout"):
        kraty = made.with_options(retry=AT_ONCE)
        try:
            receipt = "_".join(["receipt", "in", "a", "variable"])  # source lines are sent, too
            kraty.wallet.credit("player_42", "gold", amount=500, source_ref_id=receipt)
        except KratyServerError as error:
            sentry_sdk.capture_exception(error)
    event, transaction = sent
    assert ["kraty", "wallet.credit", "conflict"] == event["fingerprint"]
    tags = {"operation": "wallet.credit", "cause": "conflict", "ambiguous": "True"}
    assert {f"kraty.{name}": value for name, value in tags.items()} == event["tags"]
    crumbs = [each for each in event["breadcrumbs"]["values"] if each["category"] == "kraty"]
    assert ["wallet.credit, attempt 1", "wallet.credit, attempt 2"] == [
        each["message"] for each in crumbs
    ]
    assert [503, 409] == [each["data"]["status_code"] for each in crumbs]
    spans = [span for span in transaction["spans"] if span["op"] == "http.client"]
    assert 2 == len(spans)
    everything = str(sent)
    assert kraty_emulator.api_key not in everything
    assert receipt not in everything


def test_no_tracing_headers(kraty_emulator: Emulator, sent: list[Any]) -> None:
    """The recipe sends none of Sentry's headers to Kraty."""
    seen: list[str] = []
    with sentry_errors.set_up() as kraty, sentry_sdk.start_transaction(name="checkout"):
        http_client: Any = kraty._http_client
        http_client.event_hooks = {"request": [lambda request: seen.extend(request.headers)]}
        kraty.health.ping()
    assert "authorization" in seen
    assert not {"sentry-trace", "baggage", "traceparent"} & set(seen)
