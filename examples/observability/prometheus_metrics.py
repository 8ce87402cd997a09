from collections.abc import Iterator
from datetime import datetime, timezone
from typing import get_args

from prometheus_client import Counter, Histogram
from prometheus_client.core import REGISTRY, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from kraty_admin import KratyAdmin, RequestInfo, outbox

ATTEMPTS = Histogram("kraty_attempt_seconds", "Duration of attempts.", ["operation", "status"])
RETRIES = Counter("kraty_retries", "Attempts that are retried, by cause.", ["operation", "error"])
FAILURES = Counter("kraty_failures", "Calls that failed, by cause.", ["operation", "error"])


def on_request(info: RequestInfo) -> None:
    status = "none" if info.status is None else str(info.status)
    ATTEMPTS.labels(info.operation, status).observe((info.duration_ms or 0) / 1000)
    if not info.ok:
        counter = RETRIES if info.will_retry else FAILURES
        counter.labels(info.operation, info.error).inc()


class OutboxCollector(Collector):
    """A collector that asks the database at each scrape; register it once per outbox."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def collect(self) -> Iterator[Metric]:
        status = outbox.status(self.engine)
        intents = GaugeMetricFamily("kraty_outbox_intents", "Intents by state.", labels=["state"])
        for state in get_args(outbox.IntentState):
            intents.add_metric([state], status.counts.get(state, 0))
        yield intents
        now = datetime.now(timezone.utc)
        seconds = 0.0 if status.oldest_open is None else (now - status.oldest_open).total_seconds()
        yield GaugeMetricFamily("kraty_outbox_oldest_open_seconds", "Oldest open.", value=seconds)


def make_client() -> KratyAdmin:
    return KratyAdmin(on_request=on_request)


def watch_outbox(engine: Engine) -> None:
    REGISTRY.register(OutboxCollector(engine))
