"""What the outbox costs: beside the plain call, with more workers, and with a million rows.

    python -m proofs.costs [WORD ...]

A responder answers at once, and no commit waits for a disk, so these are figures of processors.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy import event

from kraty_admin import KratyAdmin, outbox
from postgres import MISSING, postgres

from .figures import Figure
from .local import Options
from .programs.answering import answer
from .programs.selling import connect

__all__ = ["PROOFS", "prove_postgresql", "prove_sqlite"]

_CONTEXT: Final = get_context("forkserver")

_PATIENCE: Final = 120.0
"""Seconds until something is taken to hang."""

_PLAYERS: Final = 50_000
_IN_FLIGHT: Final = 4
_ROUNDS: Final = 7
_RATE_ROUNDS: Final = 3

_NUMBERS: Final = count(1)

_BEFORE: Final = -2_000_000
"""What is added to the ids of finished rows: they are lower than all others."""


@attrs.frozen
class Costs:
    """What was measured with so many finished rows."""

    recording: float
    """Processor time of recording an intent, as a multiple of that of the plain call."""
    draining: float
    """Processor time of sending it, likewise."""
    statements: tuple[int, int]
    """For recording an intent, and for sending it."""
    rates: Mapping[int, float]
    """Intents per second, by how many workers send them."""


def prove_sqlite(folder: Path, *, finished: int, calls: int) -> list[Figure]:
    """Measure the outbox with SQLite."""
    return _prove(f"sqlite:///{folder / 'studio.sqlite3'}", finished, calls)


def prove_postgresql(folder: Path, *, finished: int, calls: int) -> list[Figure]:
    """Measure the outbox with PostgreSQL, whose own processes are not counted."""
    with postgres() as url:
        if url is None:
            return [Figure(f"SKIPPED: {MISSING}", 0)]
        return _prove(url, finished, calls)


def _prove(url: str, finished: int, calls: int) -> list[Figure]:
    engine = connect(url)
    try:
        with _responder() as options, KratyAdmin(**options, retry_budget=None) as kraty:
            outbox.set_up(engine, kraty)
            few = _measure(engine, url, options, kraty, calls)
            _add_finished(engine, finished)
            many = _measure(engine, url, options, kraty, calls)
    finally:
        engine.dispose()
    return [
        *_figures("few rows", few),
        *_figures(f"{finished:,} finished rows", many),
        Figure("processor time with them, beside without", _total(many) / _total(few), at_most=2),
    ]


def _total(costs: Costs) -> float:
    return costs.recording + costs.draining


def _figures(where: str, costs: Costs) -> list[Figure]:
    return [
        Figure(f"{where}: processor time to record, in plain calls", costs.recording),
        Figure(f"{where}: processor time to send, in plain calls", costs.draining),
        Figure(f"{where}: statements to record", costs.statements[0], 3),
        Figure(f"{where}: statements to send", costs.statements[1], 3),
        *(
            Figure(f"{where}: intents per second, workers: {workers}", rate)
            for workers, rate in costs.rates.items()
        ),
    ]


@contextmanager
def _responder() -> Generator[Options]:
    """Run the responder in a process of its own."""
    here, there = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=answer, args=(there,))
    process.start()
    try:
        if not here.poll(_PATIENCE):
            raise TimeoutError("the responder does not begin")
        yield {"base_url": f"http://127.0.0.1:{here.recv()}", "api_key": "bench.secret"}
    finally:
        process.kill()
        process.join(_PATIENCE)


def _measure(engine: sa.Engine, url: str, options: Options, kraty: KratyAdmin, calls: int) -> Costs:
    times = [
        (
            _processor_time(partial(_call, kraty, calls)),
            _processor_time(partial(_record, engine, calls)),
            _processor_time(partial(_drain, kraty, engine, calls)),
        )
        for _ in range(_ROUNDS)
    ]
    statements = (
        _statements(engine, partial(_record, engine, calls)),
        _statements(engine, partial(_drain, kraty, engine, calls)),
    )
    return Costs(
        recording=median(recording / plain for plain, recording, _ in times),
        draining=median(draining / plain for plain, _, draining in times),
        statements=(round(statements[0] / calls), round(statements[1] / calls)),
        rates={
            workers: median(
                _rate(engine, url, options, workers, 2 * calls) for _ in range(_RATE_ROUNDS)
            )
            for workers in (1, 4)
        },
    )


def _processor_time(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _statements(engine: sa.Engine, work: Callable[[], object]) -> int:
    """Count the statements, without those that begin and end a transaction."""
    seen = 0

    def see(connection: object, cursor: object, statement: str, *rest: object) -> None:
        nonlocal seen
        seen += not statement.startswith(("BEGIN", "COMMIT", "ROLLBACK"))

    event.listen(engine, "before_cursor_execute", see)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", see)
    return seen


def _call(kraty: KratyAdmin, calls: int) -> None:
    for _ in range(calls):
        number = next(_NUMBERS)
        kraty.wallet.credit(
            f"player_{number % _PLAYERS}", "gold", amount=500, idempotency_key=f"plain_{number}"
        )


def _record(engine: sa.Engine, calls: int) -> None:
    for _ in range(calls):
        number = next(_NUMBERS)
        with engine.begin() as connection:
            outbox.into(connection).wallet.credit(
                f"player_{number % _PLAYERS}", "gold", amount=500, idempotency_key=f"new_{number}"
            )


def _drain(kraty: KratyAdmin, engine: sa.Engine, calls: int) -> None:
    report = outbox.drain(kraty, engine, seconds=None)
    if report.done != calls:
        raise RuntimeError(f"{calls} intents should be done: {report}")


def _rate(engine: sa.Engine, url: str, options: Options, workers: int, intents: int) -> float:
    """Let workers send intents; return how many they send in a second."""
    _record(engine, intents)
    start = _CONTEXT.Barrier(workers + 1)
    pipes = [_CONTEXT.Pipe(duplex=False) for _ in range(workers)]
    processes = [
        _CONTEXT.Process(target=_work, args=(url, options, start, there)) for _, there in pipes
    ]
    for process in processes:
        process.start()
    try:
        start.wait(_PATIENCE)
        begun = time.monotonic()
        done = 0
        for here, _ in pipes:
            if not here.poll(_PATIENCE):
                raise TimeoutError("a worker does not end")
            done += here.recv()
        seconds = time.monotonic() - begun
    finally:
        for process in processes:
            process.kill()
            process.join(_PATIENCE)
    if done != intents:
        raise RuntimeError(f"of {intents} intents, {done} are done")
    return intents / seconds


def _work(url: str, options: Options, start: Barrier, there: Connection) -> None:
    """Send intents as a worker until none is left."""
    engine = connect(url)
    with KratyAdmin(**options) as kraty, engine.connect():
        start.wait(_PATIENCE)
        report = outbox.drain(kraty, engine, in_flight=_IN_FLIGHT, seconds=None)
        there.send(report.done)


def _add_finished(engine: sa.Engine, rows: int) -> None:
    """Add so many intents that were done long ago, as if by workers."""
    tables = outbox.Tables()
    if engine.dialect.name == "postgresql":
        number: sa.ColumnElement[int] = sa.func.generate_series(1, rows).column_valued("n")
    else:
        numbers = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
        numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n < rows))
        number = numbers.c.n
    name = sa.cast(number, sa.Text)
    intent: dict[str, sa.ColumnElement[Any]] = {
        "id": number + _BEFORE,
        "target_id": sa.literal(1),
        "operation": sa.literal("wallet.credit"),
        "idempotency_key": sa.literal("old_").concat(name),
        "request_hash": sa.literal("0" * 64),
        "path": sa.literal("/server/v1/players/player_42/wallet/gold/credit"),
        "body": sa.literal('{"amount":500,"idempotencyKey":"old"}'),
        "state": sa.literal("done"),
        "attempts": sa.literal(1),
        "created_ms": number,
        "due_ms": number,
        "first_sent_ms": number,
        "stopped_ms": number,
        "result": sa.literal('{"economyKey":"gold","balance":500,"applied":true}'),
    }
    player: dict[str, sa.ColumnElement[Any]] = {
        "intent_id": number + _BEFORE,
        "player": sa.literal("player_").concat(sa.cast(number % _PLAYERS, sa.Text)),
        "target_id": sa.literal(1),
    }
    with engine.begin() as connection:
        for table, values in ((tables.intents, intent), (tables.players, player)):
            rows_of = sa.select(*values.values())
            connection.execute(table.insert().from_select(list(values), rows_of))
    if engine.dialect.name == "postgresql":
        # Which its own process does after a while.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("ANALYZE"))


PROOFS: Final[Mapping[str, Callable[[Path], list[Figure]]]] = {
    "What the outbox costs on SQLite": partial(prove_sqlite, finished=1_000_000, calls=200),
    "What the outbox costs on PostgreSQL": partial(prove_postgresql, finished=1_000_000, calls=200),
}

if __name__ == "__main__":
    from .__main__ import main

    sys.exit(main(sys.argv[1:], PROOFS))
