"""The only I/O of an import apart from its files: sending chunks, several at a time.

The synchronous and the asynchronous functions are written alike on purpose.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

from kraty_server_api.models import MigrateOutcome

from .._call._limiter import Limiter
from ..errors import KratyError, KratyServerError
from ..telemetry import RequestHook, RequestInfo
from ._patience import Patience
from ._plan import Outcome
from ._report import ImportReport, ImportStoppedError
from ._run import Run, Sending, Work

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncSend", "Send", "run_import", "run_import_async", "stopped_by", "watch"]


class Send(Protocol):
    """A call of `migrate.players` or its like."""

    def __call__(
        self, rows: list[dict[str, Any]], *, idempotency_key: str | None = None
    ) -> MigrateOutcome: ...


class AsyncSend(Protocol):
    """A call of `migrate.players` or its like, which must be awaited."""

    async def __call__(
        self, rows: list[dict[str, Any]], *, idempotency_key: str | None = None
    ) -> MigrateOutcome: ...


def watch(run: Run, limiter: Limiter, hook: RequestHook | None) -> RequestHook:
    """Return a hook for the calls of an import, which also calls the client's own hook."""

    def watched(info: RequestInfo) -> None:
        if info.will_retry:
            run.retried()
            if info.status == 429 and info.retry_in is not None:
                limiter.hold(info.retry_in, time.monotonic())
        if hook is not None:
            hook(info)

    return watched


def run_import(run: Run, send: Send, limiter: Limiter, patience: Patience) -> ImportReport:
    """Send all chunks of an import; see `import_players`."""
    pending: dict[Future[Outcome], Work] = {}
    stopped: list[KratyError] = []
    stopping = threading.Event()

    def collect(seconds: float | None) -> None:
        """Wait until at least one call has ended, and record the calls that have."""
        for future in wait(pending, timeout=seconds, return_when=FIRST_COMPLETED).done:
            work = pending.pop(future)
            try:
                outcome = future.result()
            except KratyError as error:
                stopped.append(error)
            else:
                run.settle(work, outcome)

    def drain() -> None:
        """Wait for all calls in flight and record them, even if `on_progress` raises."""
        try:
            while pending:
                collect(None)
        finally:
            if pending:
                drain()

    with ThreadPoolExecutor(run.in_flight, "kraty-import") as threads:
        try:
            for work in run.work():
                while not stopped:
                    if len(pending) >= run.in_flight:
                        collect(None)
                        continue
                    seconds = limiter.take(time.monotonic())
                    if not seconds:
                        break
                    if pending:
                        collect(seconds)
                    else:
                        time.sleep(seconds)
                if stopped:
                    break
                with _given_back_on_error(limiter):
                    run.begin(work)
                    call = threads.submit(
                        copy_context().run, _send, send, work, run.salt, limiter, patience, stopping
                    )
                pending[call] = work
            while pending and not stopped:
                collect(None)
        finally:
            # Even after an interruption or a failure of the source, let the calls in flight
            # finish, so that few chunks stay in doubt. Calls that wait for an unavailable
            # server give up.
            stopping.set()
            drain()
    if stopped:
        raise stopped_by(run, stopped[0]) from stopped[0]
    return run.report()


def _send(
    send: Send,
    work: Work,
    salt: str,
    limiter: Limiter,
    patience: Patience,
    stopping: threading.Event,
) -> Outcome:
    sending = Sending(work)
    headers: dict[str, str] = {}
    failures = 0
    try:
        while (part := sending.part(time.time())) is not None:
            try:
                answer = send(part.sent, idempotency_key=part.key(salt))
            except KratyError as error:
                if isinstance(error, KratyServerError):
                    headers = dict(error.headers)
                if sending.failed(error, time.time()):
                    patience.answered()
                    continue
                failures += 1
                seconds = patience.delay(error, failures, time.monotonic())
                if seconds is None or stopping.wait(seconds):
                    raise
            else:
                patience.answered()
                failures = 0
                headers = dict(answer.http.headers)
                sending.answered(answer, time.time())
    finally:
        limiter.done(headers, time.monotonic(), time.time())
    return sending.outcome


async def run_import_async(
    run: Run, send: AsyncSend, limiter: Limiter, patience: Patience
) -> ImportReport:
    """Send all chunks of an import; see `import_players`."""
    import asyncio

    pending: dict[asyncio.Task[Outcome], Work] = {}
    stopped: list[KratyError] = []
    stopping = asyncio.Event()

    async def collect(seconds: float | None) -> None:
        """Wait until at least one call has ended, and record the calls that have."""
        done, _ = await asyncio.wait(pending, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            work = pending.pop(task)
            try:
                outcome = task.result()
            except KratyError as error:
                stopped.append(error)
            else:
                run.settle(work, outcome)

    def record_rest() -> None:
        """Record the calls that were answered before they could be cancelled, even if `on_progress`
        raises."""
        try:
            while pending:
                task, work = pending.popitem()
                if not task.cancelled() and task.exception() is None:
                    run.settle(work, task.result())
        finally:
            if pending:
                record_rest()

    try:
        async for work in run.work_async():
            while not stopped:
                if len(pending) >= run.in_flight:
                    await collect(None)
                    continue
                seconds = limiter.take(time.monotonic())
                if not seconds:
                    break
                if pending:
                    await collect(seconds)
                else:
                    await asyncio.sleep(seconds)
            if stopped:
                break
            with _given_back_on_error(limiter):
                run.begin(work)
            call = _send_async(send, work, run.salt, limiter, patience, stopping)
            pending[asyncio.ensure_future(call)] = work
            # Let it begin: a task that is cancelled before that gives back nothing.
            await asyncio.sleep(0)
        while pending:
            if stopped:
                stopping.set()
            await collect(None)
    finally:
        # Calls remain only if the import was cancelled, or its source or `on_progress` failed.
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        record_rest()
    if stopped:
        raise stopped_by(run, stopped[0]) from stopped[0]
    return run.report()


async def _send_async(
    send: AsyncSend,
    work: Work,
    salt: str,
    limiter: Limiter,
    patience: Patience,
    stopping: asyncio.Event,
) -> Outcome:
    sending = Sending(work)
    headers: dict[str, str] = {}
    failures = 0
    try:
        while (part := sending.part(time.time())) is not None:
            try:
                answer = await send(part.sent, idempotency_key=part.key(salt))
            except KratyError as error:
                if isinstance(error, KratyServerError):
                    headers = dict(error.headers)
                if sending.failed(error, time.time()):
                    patience.answered()
                    continue
                failures += 1
                seconds = patience.delay(error, failures, time.monotonic())
                if seconds is None or await _is_set_within(stopping, seconds):
                    raise
            else:
                patience.answered()
                failures = 0
                headers = dict(answer.http.headers)
                sending.answered(answer, time.time())
    finally:
        limiter.done(headers, time.monotonic(), time.time())
    return sending.outcome


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    import asyncio

    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True


@contextmanager
def _given_back_on_error(limiter: Limiter) -> Generator[None, None, None]:
    """Give back the place of a call that cannot begin. Otherwise, later calls would wait for it."""
    try:
        yield
    except BaseException:
        limiter.done({}, time.monotonic(), time.time())
        raise


def stopped_by(run: Run, error: KratyError) -> ImportStoppedError:
    """Return the error of an import that a call has stopped."""
    report = run.report()
    return ImportStoppedError(
        f"the import stopped after {report.rows:,} rows: {error}", report=report, cause=error
    )
