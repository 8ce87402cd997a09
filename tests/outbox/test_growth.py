"""What the outbox's statements cost with many rows, in instructions of SQLite's virtual machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import pytest
import sqlalchemy as sa

from kraty_admin import outbox
from kraty_admin.outbox import _store  # pyright: ignore[reportPrivateUsage]  # under test
from kraty_admin.outbox._life import Settlement
from kraty_admin.outbox._tables import TABLES

_TARGET: Final = outbox.Target("http://127.0.0.1:1", "studio_1", "game_1", "live")

Work = Callable[[sa.Connection], object]


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    """Connect to a database with the tables."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        _store.upgrade(connection, TABLES)
        _store.register(connection, TABLES, _TARGET, add=False)
        yield connection
    engine.dispose()


def steps(connection: sa.Connection, work: Work) -> int:
    """Count the instructions of SQLite's virtual machine, in tens."""
    driver: Any = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    driver.set_progress_handler(step, 10)
    try:
        work(connection)
    finally:
        driver.set_progress_handler(None, 10)
    return count


def record(connection: sa.Connection, number: int) -> None:
    """Record an intent of a new player."""
    outbox.into(connection).wallet.credit(
        f"player_{number}", "gold", amount=1, idempotency_key=f"key_{number}"
    )


def multiply(connection: sa.Connection, times: int) -> None:
    """Copy the intents and their players this many times, with new ids."""
    for table in (TABLES.intents, TABLES.players):
        number = table.c[0]  # the intent's
        last = connection.execute(sa.select(sa.func.max(number))).scalar_one()
        for copy in range(1, times):
            copied = number + copy * last
            name = sa.literal("copy_").concat(sa.cast(copied, sa.Text))
            other = {number.name: copied, "idempotency_key": name, "player": name}
            columns = [other.get(column.name, column) for column in table.c]
            rows = sa.select(*columns).where(number <= last)
            connection.execute(table.insert().from_select([*table.c.keys()], rows))


def finish(connection: sa.Connection) -> None:
    """Let all intents be done, as workers would leave them."""
    intents, players = TABLES.intents, TABLES.players
    connection.execute(intents.update().values(state="done", stopped_ms=intents.c.id))
    connection.execute(players.update().values(waiting=None))


def claim(connection: sa.Connection) -> None:
    """Claim an intent."""
    assert _store.claim(connection, TABLES, 1, lease_ms=60_000) is not None


def claim_and_settle(connection: sa.Connection) -> None:
    """Claim an intent, and settle it."""
    claimed = _store.claim(connection, TABLES, 1, lease_ms=60_000)
    assert claimed is not None
    settlement = Settlement("done", claimed.first_sent_ms, result="{}")
    assert _store.settle(connection, TABLES, claimed, settlement)


def test_a_claim_costs_the_same_however_many_wait(connection: sa.Connection) -> None:
    """A claim costs the same with fifty times as many pending intents."""
    for number in range(10):
        record(connection, number)
    few = steps(connection, claim)
    multiply(connection, 50)
    assert steps(connection, claim) <= few * 1.5 + 1


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(claim_and_settle, id="drain"),
        pytest.param(partial(record, number=100), id="record"),
        pytest.param(partial(_store.expire, tables=TABLES, target_id=1, limit=100), id="expire"),
        pytest.param(partial(_store.has_any_in_doubt, tables=TABLES, target_id=1), id="in doubt"),
        pytest.param(partial(_store.find, tables=TABLES, state="unknown", limit=100), id="unknown"),
        pytest.param(partial(_store.find, tables=TABLES, state="done", limit=10), id="done"),
        pytest.param(partial(_store.find, tables=TABLES, player="player_1", limit=10), id="player"),
        pytest.param(partial(_store.purge, tables=TABLES, older_than_ms=0, limit=10), id="purge"),
    ],
)
def test_finished_rows_cost_nothing(connection: sa.Connection, work: Work) -> None:
    """Each statement costs the same with fifty times as many finished intents."""
    for number in range(20):
        record(connection, number)
    finish(connection)
    multiply(connection, 2)
    record(connection, 20)
    with connection.begin_nested() as trial:
        few = steps(connection, work)
        trial.rollback()
    finish(connection)
    multiply(connection, 50)
    record(connection, 21)
    assert steps(connection, work) <= few * 1.5 + 1
