"""Checks of the blocks of observability.md."""

from __future__ import annotations

import logging
import re
from unittest.mock import patch

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kraty_admin import RetryConfig
from kraty_admin.emulator import Fault
from pages import Block

from ..testkit import Reader, Recorder, checks, record, shop_with_outbox


@checks("observability.md", "Logs 1")
def _(reader: Reader, block: Block) -> None:
    logger = logging.getLogger("kraty_admin")
    try:
        reader.run(block)
        assert logger.isEnabledFor(logging.INFO)
    finally:
        logger.setLevel(logging.NOTSET)


@checks("observability.md", "Hooks 1")
def _(reader: Reader, block: Block) -> None:
    kraty = reader.run(block)["kraty"]
    reader.emulator.faults.add(Fault("status", status=503), operation="health.ping")
    with patch.object(reader.names["log"], "log") as log:
        kraty.with_options(retry=RetryConfig(initial_delay=0)).health.ping()
    assert [(each.args[0], each.args[1] % each.args[2:]) for each in log.mock_calls] == [
        (logging.WARNING, "health.ping, attempt 1: 503 internal_error"),
        (logging.DEBUG, "health.ping, attempt 2: 200"),
    ]


@checks("observability.md", "OpenTelemetry 1")
def _(reader: Reader, block: Block) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with patch("opentelemetry.trace.get_tracer_provider", return_value=provider):
        kraty = reader.run(block)["kraty"]
    kraty.health.ping()
    assert [span.name for span in exporter.get_finished_spans()] == ["GET", "health.ping"]


@checks("observability.md", "OpenTelemetry 2")
def _(reader: Reader, block: Block) -> None:
    lines = reader.names["print"] = Recorder()
    reader.run(block)
    ((_, (printed,), _),) = lines.calls
    assert re.fullmatch("[0-9a-f]{32}", printed)


@checks("observability.md", "The outbox 1")
def _(reader: Reader, block: Block) -> None:
    reading = InMemoryMetricReader()
    provider = MeterProvider([reading], shutdown_on_exit=False)
    with shop_with_outbox(reader) as engine:
        record(engine)
        with patch("opentelemetry.metrics._internal.get_meter_provider", return_value=provider):
            reader.run(block)
        data = reading.get_metrics_data()
    assert data is not None
    assert '"kraty.outbox.state": "pending"' in data.to_json()
