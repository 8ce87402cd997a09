"""The only I/O of an import besides its files: sending chunks, some at a time.

Both twins read alike, on purpose.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Protocol

from kraty_server_api.models import MigrateOutcome

from .._call._limiter import Limiter
from ..errors import KratyError, KratyServerError
from ..telemetry import RequestHook, RequestInfo
from ._plan import Outcome
from ._report import ImportReport, ImportStoppedError
from ._rows import Read
from ._run import Run, Sending, Work

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncSend", "Send", "run_import", "run_import_async", "watch"]


class Send(Protocol):
    """A call of `migrate.players` or its like."""

    def __call__(
        self, rows: list[dict[str, Any]], *, idempotency_key: str | None = None
    ) -> MigrateOutcome: ...


class AsyncSend(Protocol):
    """A call of `migrate.players` or its like, to be awaited."""

    async def __call__(
        self, rows: list[dict[str, Any]], *, idempotency_key: str | None = None
    ) -> MigrateOutcome: ...


def watch(run: Run, limiter: Limiter, hook: RequestHook | None) -> RequestHook:
    """A hook for the calls of an import, around that of the client."""

    def watched(info: RequestInfo) -> None:
        if info.will_retry:
            run.retried()
            if info.status == 429 and info.retry_in is not None:
                limiter.hold(info.retry_in, time.monotonic())
        if hook is not None:
            hook(info)

    return watched


def run_import(run: Run, send: Send, items: Iterator[Read], limiter: Limiter) -> ImportReport:
    """Import what there is to import; see `import_players`."""
    pending: dict[Future[Outcome], Work] = {}
    stopped: list[KratyError] = []

    def collect(seconds: float | None) -> None:
        """Note what has ended, once something has."""
        for future in wait(pending, timeout=seconds, return_when=FIRST_COMPLETED).done:
            work = pending.pop(future)
            try:
                outcome = future.result()
            except KratyError as error:
                stopped.append(error)
            else:
                run.settle(work, outcome)

    def drain() -> None:
        """Note all that is under way, even if it raises when some of it is told of."""
        try:
            while pending:
                collect(None)
        finally:
            if pending:
                drain()

    with ThreadPoolExecutor(run.in_flight, "kraty-import") as threads:
        try:
            for work in run.work(items):
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
                pending[threads.submit(_send, send, work, run.salt, limiter)] = work
        finally:
            # Also when it was interrupted, or its source has failed: what has been sent
            # is better known than in doubt.
            drain()
    if stopped:
        raise _stopped(run, stopped[0]) from stopped[0]
    return run.report()


def _send(send: Send, work: Work, salt: str, limiter: Limiter) -> Outcome:
    sending = Sending(work)
    headers: dict[str, str] = {}
    try:
        while (part := sending.part()) is not None:
            try:
                answer = send(part.body(), idempotency_key=part.key(salt))
            except KratyServerError as error:
                headers = dict(error.headers)
                if not sending.refused(error):
                    raise
            else:
                headers = dict(answer.http.headers)
                sending.done(answer)
    finally:
        limiter.done(headers, time.monotonic(), time.time())
    return sending.outcome


async def run_import_async(
    run: Run, send: AsyncSend, items: AsyncIterator[Read], limiter: Limiter
) -> ImportReport:
    """Import what there is to import; see `import_players`."""
    import asyncio

    pending: dict[asyncio.Task[Outcome], Work] = {}
    stopped: list[KratyError] = []

    async def collect(seconds: float | None) -> None:
        """Note what has ended, once something has."""
        done, _ = await asyncio.wait(pending, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            work = pending.pop(task)
            try:
                outcome = task.result()
            except KratyError as error:
                stopped.append(error)
            else:
                run.settle(work, outcome)

    try:
        async for work in run.work_async(items):
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
            call = _send_async(send, work, run.salt, limiter)
            pending[asyncio.ensure_future(call)] = work
        while pending:
            await collect(None)
    finally:
        # Only where it was cancelled, or its source has failed.
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    if stopped:
        raise _stopped(run, stopped[0]) from stopped[0]
    return run.report()


async def _send_async(send: AsyncSend, work: Work, salt: str, limiter: Limiter) -> Outcome:
    sending = Sending(work)
    headers: dict[str, str] = {}
    try:
        while (part := sending.part()) is not None:
            try:
                answer = await send(part.body(), idempotency_key=part.key(salt))
            except KratyServerError as error:
                headers = dict(error.headers)
                if not sending.refused(error):
                    raise
            else:
                headers = dict(answer.http.headers)
                sending.done(answer)
    finally:
        limiter.done(headers, time.monotonic(), time.time())
    return sending.outcome


def _stopped(run: Run, error: KratyError) -> ImportStoppedError:
    report = run.report()
    return ImportStoppedError(
        f"the import stopped after {report.rows} rows: {error}", report=report, cause=error
    )
