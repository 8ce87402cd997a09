"""OpenTelemetry: spans and metrics for a client's calls, and metrics for an outbox.

    from kraty_admin.contrib.otel import instrument

    kraty = KratyAdmin()
    instrument(kraty)

Each call is a span, such as `wallet.credit`. Its parent is the span that is current where the
call is made. Each attempt is a child of it, with the standard attributes of an HTTP request.
docs/observability.md lists the attributes and metrics.

No span and no metric holds the API key, a body, or an idempotency key. Spans hold a hash of the
idempotency key; `hash_key` returns it. `url.full` can hold ids of players; it has no query.

This module needs the extra `otel`: `pip install 'kraty-admin[otel]'`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from contextvars import Token
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args
from urllib.parse import urlsplit

try:
    from opentelemetry import context, metrics, trace
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "kraty_admin.contrib.otel needs opentelemetry-api: pip install 'kraty-admin[otel]'",
        name=_missing.name,
    ) from None
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from .._call._exchange import Exchange, is_ambiguous
from .._client import KratyAdmin, KratyAdminAsync
from .._version import __version__
from ..errors import CallInfo, KratyError, KratyNetworkError, KratyServerError
from ..telemetry import RequestInfo

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ..outbox import OutboxStatus, Tables

__all__ = ["hash_key", "instrument", "observe_outbox", "uninstrument"]

_NAME: Final = "kraty_admin"
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.23.1"
# The bounds that the semantic conventions advise for HTTP. A call with its waits can take longer.
_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_CALL_BOUNDS: Final = (*_BOUNDS, 30, 60, 120)

_Value: TypeAlias = str | int | bool


def instrument(
    client: KratyAdmin | KratyAdminAsync,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Report the calls of a client, and of all clients that share its connections.

    These are the clients that its `with_options` returns, before or after this call. Calling
    this again replaces the providers; nothing is reported twice.

    Args:
        client: The client.
        tracer_provider: Receives the spans. Default: the global provider.
        meter_provider: Receives the metrics. Default: the global provider.

    Raises:
        TypeError: `client` is not a client.
    """
    _checked(client)._sender.observer = _Observer(tracer_provider, meter_provider)  # pyright: ignore[reportPrivateUsage]  # ours


def uninstrument(client: KratyAdmin | KratyAdminAsync) -> None:
    """Stop reporting the calls of a client, and of all clients that share its connections.

    Calls in progress are still reported. Calling this again changes nothing.

    Args:
        client: The client.

    Raises:
        TypeError: `client` is not a client.
    """
    _checked(client)._sender.observer = None  # pyright: ignore[reportPrivateUsage]  # ours


def observe_outbox(
    engine: sa.Engine,
    *,
    tables: Tables | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Report how many intents are in each state, and how long the oldest ones have waited.

    Each collection of metrics queries the database. Call this once, in one process per outbox:
    each process that calls it reports all intents, so they would be counted several times. It
    cannot be undone.

    Args:
        engine: Your database. Pass a synchronous engine, even if your code is asynchronous.
        tables: The tables to use. Default: the default tables.
        meter_provider: Receives the metrics. Default: the global provider.
    """
    from .. import outbox
    from ..outbox._tables import TABLES

    used = TABLES if tables is None else tables

    # Both gauges are collected one after the other, in this order, and share one query.
    shared: list[OutboxStatus] = []

    def intents(options: CallbackOptions) -> Iterable[Observation]:
        shared.clear()
        status = outbox.status(engine, tables=used)
        shared.append(status)
        # Report states without intents too: a series that ends looks like an outage.
        for state in get_args(outbox.IntentState):
            yield Observation(status.counts.get(state, 0), {"kraty.outbox.state": state})

    def waits(options: CallbackOptions) -> Iterable[Observation]:
        status = shared.pop() if shared else outbox.status(engine, tables=used)
        yield Observation(_age(status.oldest_open), {"kraty.outbox.wait": "open"})
        yield Observation(_age(status.oldest_unknown), {"kraty.outbox.wait": "unknown"})

    meter = metrics.get_meter(_NAME, __version__, meter_provider, _SCHEMA)
    meter.create_observable_gauge(
        "kraty.outbox.intents", [intents], "{intent}", "Intents in each state."
    )
    meter.create_observable_gauge(
        "kraty.outbox.oldest_age", [waits], "s", "How long the oldest intent has waited; 0 if none."
    )


def hash_key(idempotency_key: str) -> str:
    """Return the hash that spans hold in place of this idempotency key.

    Use it to search for the spans of a receipt. The hash hides a long random key. It does not
    hide a short or guessable one, which can be found by trying all candidates.

    Args:
        idempotency_key: The key that was sent.

    Returns:
        32 hexadecimal digits.
    """
    return hashlib.sha256(idempotency_key.encode()).hexdigest()[:32]


class _Observer:
    """Starts the span of each call of a sender."""

    def __init__(
        self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None
    ) -> None:
        meter = metrics.get_meter(_NAME, __version__, meter_provider, _SCHEMA)
        self.tracer = trace.get_tracer(_NAME, __version__, tracer_provider, _SCHEMA)
        self.calls = meter.create_histogram(
            "kraty.client.call.duration",
            "s",
            "Duration of calls, with all their attempts and waits.",
            explicit_bucket_boundaries_advisory=_CALL_BOUNDS,
        )
        self.attempts = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of attempts.",
            explicit_bucket_boundaries_advisory=_BOUNDS,
        )
        self.retries = meter.create_counter(
            "kraty.client.retries", "{retry}", "Retries, by the error of the attempt before."
        )
        self.budget = meter.create_gauge(
            "kraty.client.retry_budget",
            "{retry}",
            "Retries left in the budget when the latest call of the process ended.",
        )

    def call_began(self, exchange: Exchange[Any]) -> _Call:
        return _Call(self, exchange)


class _Call:
    """The open spans of one call."""

    def __init__(self, observer: _Observer, exchange: Exchange[Any]) -> None:
        self._observer = observer
        self._exchange = exchange
        url = urlsplit(exchange.url)
        self._url = f"{url.scheme}://{url.netloc}{url.path}"
        self._server: dict[str, _Value] = {
            "server.address": url.hostname or "",
            "server.port": url.port or (443 if url.scheme == "https" else 80),
        }
        self._attempts = 0
        self._attempt: _Current | None = None
        self._problem = ""
        attributes = {"kraty.operation": exchange.operation, **self._server}
        if exchange.idempotency_key is not None:
            attributes["kraty.idempotency_key.hash"] = hash_key(exchange.idempotency_key)
        self._began = time.perf_counter()
        self._span = _Current(
            observer.tracer.start_span(exchange.operation, None, SpanKind.INTERNAL, attributes)
        )

    def attempt_began(self) -> None:
        """Start the span of an attempt."""
        observer, exchange = self._observer, self._exchange
        attributes = {
            "http.request.method": exchange.method,
            "url.full": self._url,
            **self._server,
        }
        if self._attempts:
            attributes["http.request.resend_count"] = self._attempts
            observer.retries.add(
                1, {"kraty.operation": exchange.operation, "error.type": self._problem}
            )
        self._attempts += 1
        self._attempt = _Current(
            observer.tracer.start_span(exchange.method, None, SpanKind.CLIENT, attributes)
        )

    def attempt_ended(self, info: RequestInfo) -> None:
        """End the span of an attempt."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:  # an exception of the tracer prevented it
            return
        self._problem = info.error or ""
        facts: dict[str, _Value] = {}
        if info.status is not None:
            facts["http.response.status_code"] = info.status
        if not info.ok:
            facts["error.type"] = self._problem
        attempt.span.set_attributes(facts)
        if info.request_id is not None:
            attempt.span.set_attribute("kraty.request_id", info.request_id)
        attempt.end(is_error=not info.ok)
        measured = {"http.request.method": info.method, "kraty.operation": info.operation}
        self._observer.attempts.record(
            (info.duration_ms or 0.0) / 1000, {**measured, **self._server, **facts}
        )

    def call_ended(self, error: BaseException | None) -> None:
        """End the span of the call."""
        observer, span = self._observer, self._span.span
        seconds = time.perf_counter() - self._began
        facts: dict[str, _Value] = {}
        if error is not None:
            facts["error.type"] = _type_of(error)
            facts["kraty.ambiguous"] = _is_ambiguous(error)
        span.set_attributes({"kraty.attempts": self._attempts, **facts})
        self._span.end(is_error=error is not None)
        operation = {"kraty.operation": self._exchange.operation}
        observer.calls.record(seconds, {**operation, **self._server, **facts})
        left = self._exchange.retries_left
        if left is not None:
            observer.budget.set(left, self._server)


class _Current:
    """A span that is the current one until it ends."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self._token: Token[Context] = context.attach(trace.set_span_in_context(span))

    def end(self, *, is_error: bool) -> None:
        # No description and no exception event: messages of errors name the idempotency key.
        if is_error:
            self.span.set_status(Status(StatusCode.ERROR))
        context.detach(self._token)
        self.span.end()


def _type_of(error: BaseException) -> str:
    """Return the error's code, or the name of its class: one of few values."""
    if isinstance(error, KratyServerError):
        return error.code
    if isinstance(error, KratyNetworkError):
        return error.cause_name
    return type(error).__qualname__


def _is_ambiguous(error: BaseException) -> bool:
    """Return whether the call may have taken effect."""
    if isinstance(error, KratyError):
        return is_ambiguous(error)
    call = vars(error).get("kraty_call")  # the sender sets it on foreign exceptions
    return not isinstance(call, CallInfo) or call.ambiguous


def _age(since: datetime | None) -> float:
    return 0.0 if since is None else (datetime.now(timezone.utc) - since).total_seconds()


def _checked(client: KratyAdmin | KratyAdminAsync) -> KratyAdmin | KratyAdminAsync:
    if not isinstance(client, KratyAdmin | KratyAdminAsync):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
        raise TypeError(
            f"client must be a KratyAdmin or KratyAdminAsync, not {type(client).__name__}"
        )
    return client
