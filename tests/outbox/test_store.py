"""The SQL on both databases: tables, transactions, many rows, and unusual engines."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from kraty_admin import KratyAdmin, inbox, outbox
from kraty_admin.emulator import DEFAULT_WORLD, Emulator
from kraty_admin.models import WebhookEvent
from kraty_admin.outbox import _store  # pyright: ignore[reportPrivateUsage]
from kraty_admin.outbox._clock import now_ms
from kraty_admin.outbox._tables import TABLES, VERSION

from .testkit import Database, Studio, Time

MANY: Final = 1_100
"""More than are changed in one transaction."""


def test_set_up_may_be_repeated(empty: Database, emulator: Emulator) -> None:
    """`set_up` may be called again for the same game; another game needs `add_target`."""
    kraty = emulator.client()
    first = outbox.set_up(empty.engine, kraty)
    assert ("game_1", "test") == (first.game_id, first.environment)
    assert first == outbox.set_up(empty.engine, kraty)
    other = DEFAULT_WORLD.keys[2]
    with KratyAdmin(api_key=other.token, base_url=emulator.base_url) as second:
        with pytest.raises(outbox.OutboxTargetError, match=r"game_1 .*game_2 "):
            outbox.set_up(empty.engine, second)
        assert "game_2" == outbox.set_up(empty.engine, second, add_target=True).game_id


def test_set_up_with_an_asynchronous_engine(empty: Database, emulator: Emulator) -> None:
    """`set_up_async` creates the same tables and finds the same game."""

    async def main() -> outbox.Target:
        async with emulator.async_client() as kraty:
            return await outbox.set_up_async(empty.async_engine, kraty)

    assert asyncio.run(main()) == outbox.set_up(empty.engine, emulator.client())


def test_instances_set_up_at_the_same_time(empty: Database, emulator: Emulator) -> None:
    """Four calls of `set_up` at the same time create the tables once."""
    kraty = emulator.client()
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def set_up() -> None:
        barrier.wait(10)
        try:
            outbox.set_up(empty.engine, kraty)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=set_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == failures
    with empty.engine.connect() as connection:
        assert [(VERSION,)] == list(connection.execute(sa.select(TABLES.version)))


@pytest.mark.parametrize("schema", [None, "kraty"], ids=["prefix", "schema"])
def test_tables_of_the_callers_metadata(
    empty: Database, emulator: Emulator, schema: str | None
) -> None:
    """The outbox works with tables that the caller's metadata created, with a prefix and in a
    schema."""
    if schema is not None and empty.name == "sqlite":
        pytest.skip("SQLite has no schemas")
    if schema is not None:
        schema = f"{empty.engine.url.query['options'][-6:]}_kraty".replace("=", "_")
        with empty.engine.begin() as connection:
            connection.execute(sa.schema.CreateSchema(schema))
    metadata = sa.MetaData()
    tables = outbox.Tables(metadata=metadata, prefix="shop_", schema=schema)
    metadata.create_all(empty.engine)
    outbox.set_up(empty.engine, emulator.client(), tables=tables)
    with Session(empty.engine) as session, session.begin():
        outbox.into(session, tables=tables).wallet.credit("a", "gold", amount=1)
    assert 1 == outbox.drain(emulator.client(), empty.engine, tables=tables).done
    assert {"done": 1} == outbox.status(empty.engine, tables=tables).counts
    names = sa.inspect(empty.engine).get_table_names(schema=schema)
    assert {table.name for table in tables.all} == set(names)
    assert all(name.startswith("shop_") for name in names)
    if schema is not None:
        with empty.engine.begin() as connection:
            connection.execute(sa.schema.DropSchema(schema, cascade=True))


def test_tables_without_their_constraints(empty: Database, emulator: Emulator) -> None:
    """Tables that would let a key or an event in twice are refused, and nothing is recorded."""
    tables = outbox.Tables()
    tables.intents.constraints = {tables.intents.primary_key}
    with empty.engine.begin() as connection:
        text = "CREATE TABLE kraty_inbox (event_id TEXT, event_name TEXT, received_ms BIGINT)"
        connection.execute(sa.text(text))
        tables.metadata.create_all(connection)
    outbox.set_up(empty.engine, emulator.client())
    with Session(empty.engine) as session, pytest.raises(DBAPIError, match="ON CONFLICT"):
        outbox.into(session).wallet.credit("a", "gold", amount=1)
    with Session(empty.engine) as session, pytest.raises(DBAPIError, match="ON CONFLICT"):
        inbox.once(session, WebhookEvent({"id": "evt_1"}))


def test_tables_of_a_later_version(shop: Studio) -> None:
    """Tables of a later version are refused, in `set_up` and in a worker, and nothing is sent."""
    shop.credit("k")
    version = TABLES.version
    with shop.engine.begin() as connection:
        connection.execute(version.update().values(version=VERSION + 1))
    try:
        for use in (shop.set_up, shop.drain):
            with pytest.raises(outbox.OutboxError, match=f"version {VERSION + 1}"):
                use()
    finally:
        with shop.engine.begin() as connection:
            connection.execute(version.update().values(version=VERSION))
    assert [] == shop.sent()


def test_the_clock_of_the_database(shop: Studio) -> None:
    """The clock of the database counts milliseconds in UTC, and runs on within a transaction."""
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    with shop.engine.begin() as connection:
        first = connection.execute(sa.select(now_ms())).scalar_one()
        while first == (second := connection.execute(sa.select(now_ms())).scalar_one()):
            pass
    assert before < datetime.fromtimestamp(first / 1000, timezone.utc)
    assert first < second < first + 10_000


def insert_many(shop: Studio, **values: object) -> None:
    """Insert `MANY` intents of one player, all in the same state."""
    target = {"target_id": sa.select(TABLES.targets.c.id).scalar_subquery()}
    first = {"operation": "wallet.credit", "request_hash": "", "path": "/", "body": "{}"}
    times = {"attempts": 1, "created_ms": 1, "due_ms": 1}
    numbers = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n < MANY))
    constants = {**target, **first, **times, **values}
    columns = {**constants, "idempotency_key": sa.cast(numbers.c.n, sa.Text)}
    chosen: list[sa.ColumnElement[Any]] = [
        value if isinstance(value, sa.ColumnElement) else sa.literal(value)
        for value in columns.values()
    ]
    rows = sa.select(*chosen).select_from(numbers)
    waiting = None if values.get("stopped_ms") else 1
    with shop.engine.begin() as connection:
        connection.execute(TABLES.intents.insert().from_select(list(columns), rows))
        connection.execute(
            TABLES.players.insert().from_select(
                ["intent_id", "player", "target_id", "waiting"],
                sa.select(
                    TABLES.intents.c.id,
                    sa.literal("a"),
                    TABLES.intents.c.target_id,
                    sa.cast(sa.literal(waiting), sa.Integer),
                ),
            )
        )


@pytest.fixture
def parameters(shop: Studio) -> Iterator[list[int]]:
    """Record how many parameters each statement has. A database allows some thousands."""
    counts: list[int] = []

    def count(conn: object, cursor: object, statement: str, values: Any, *_: object) -> None:
        counts.append(len(values))

    event.listen(shop.engine, "before_cursor_execute", count)
    yield counts
    event.remove(shop.engine, "before_cursor_execute", count)


@pytest.mark.parametrize(
    ("only_in_doubt", "order"),
    [pytest.param(False, [2, 1, 3], id="all"), pytest.param(True, [2, 3], id="in doubt")],
)
def test_which_intents_are_claimed(shop: Studio, only_in_doubt: bool, order: list[int]) -> None:
    """Intents of the worker's target are claimed by the time at which they are due, and never one
    in doubt whose key is too old, even before it has become unknown. An intent in doubt keeps its
    error while it is sent."""
    recorded = [shop.credit(str(number), f"p{number}") for number in range(6)]
    far = 4_000_000_000_000
    rows: list[dict[str, Any]] = [
        {"due_ms": 1, "first_sent_ms": 1},
        {"due_ms": 3},
        {"due_ms": 2, "first_sent_ms": far, "error": '{"message": "lost"}'},
        {"due_ms": 4, "first_sent_ms": far, "state": "sending"},
        {"due_ms": far},
        {"due_ms": 1, "first_sent_ms": far, "state": "done", "stopped_ms": 2},
    ]
    table = TABLES.intents
    with shop.engine.begin() as connection:
        for intent, row in zip(recorded, rows, strict=True):
            connection.execute(table.update().where(table.c.id == intent.id).values(row))
        target = connection.scalar(sa.select(TABLES.targets.c.id)) or 0
        assert _store.claim(connection, TABLES, target + 1, lease_ms=1000) is None
        claims = [
            _store.claim(connection, TABLES, target, lease_ms=10_000, only_in_doubt=only_in_doubt)
            for _ in range(4)
        ]
    claimed = [claim.id for claim in claims if claim is not None]
    assert [recorded[number].id for number in order] == claimed
    assert {"message": "lost"} == shop.intent(recorded[2].id).error


def test_what_is_in_doubt(shop: Studio) -> None:
    """Only open intents of the worker's target that were sent before are in doubt."""
    recorded = [shop.credit(str(number), f"p{number}") for number in range(2)]
    table = TABLES.intents
    with shop.engine.begin() as connection:
        target = connection.scalar(sa.select(TABLES.targets.c.id)) or 0
        done = table.update().where(table.c.id == recorded[0].id)
        connection.execute(done.values(state="done", first_sent_ms=1, stopped_ms=2))
        assert not _store.has_any_in_doubt(connection, TABLES, target)
        lost = table.update().where(table.c.id == recorded[1].id)
        connection.execute(lost.values(first_sent_ms=1))
        assert _store.has_any_in_doubt(connection, TABLES, target)
        assert not _store.has_any_in_doubt(connection, TABLES, target + 1)


def test_which_intents_expire(shop: Studio) -> None:
    """An intent in doubt with an old key expires, also while it waits, but not while a worker of
    its target sends it, and not for the worker of another target."""
    recorded = [shop.credit(str(number), f"p{number}") for number in range(4)]
    far = 4_000_000_000_000
    rows: list[dict[str, Any]] = [
        {"state": "pending", "first_sent_ms": 1, "due_ms": far},
        {"state": "sending", "first_sent_ms": 1, "due_ms": far},
        {"state": "sending", "first_sent_ms": 1, "due_ms": 2},
        {"state": "pending", "first_sent_ms": far, "due_ms": 2},
    ]
    table = TABLES.intents
    with shop.engine.begin() as connection:
        for intent, row in zip(recorded, rows, strict=True):
            connection.execute(table.update().where(table.c.id == intent.id).values(row))
        target = connection.scalar(sa.select(TABLES.targets.c.id)) or 0
        assert [] == _store.expire(connection, TABLES, target + 1, limit=9)
        expired = _store.expire(connection, TABLES, target, limit=9)
    assert [recorded[0].id, recorded[2].id] == expired
    assert ["unknown", "sending", "unknown", "pending"] == shop.states()
    stopped_at = shop.intent(expired[0]).stopped_at
    assert stopped_at is not None
    assert stopped_at >= recorded[0].created_at


def test_many_keys_that_expire(shop: Studio, parameters: list[int]) -> None:
    """All intents with an expired key become unknown, in statements of a limited size."""
    insert_many(shop, state="pending", first_sent_ms=1)
    seen: list[int] = []

    def on_unknown(intent: outbox.Intent[Any]) -> None:
        seen.append(intent.id)

    report = shop.drain(on_unknown=on_unknown)
    assert (MANY, MANY) == (report.unknown, len(set(seen)))
    found = outbox.find(shop.engine, player="a", limit=None)
    assert [("a",)] * MANY == [intent.players for intent in found]
    assert max(parameters) < MANY


def test_many_rows_to_forget(shop: Studio, parameters: list[int]) -> None:
    """A long history is forgotten and purged in statements of a limited size."""
    insert_many(shop, state="done", stopped_ms=1)
    with shop.engine.connect() as connection, connection.begin() as transaction:
        assert MANY == outbox.forget_player(connection, "a")
        transaction.rollback()
    assert MANY == outbox.purge(shop.engine)
    assert max(parameters) < MANY


def explain(shop: Studio) -> str:
    """Return PostgreSQL's generic plan for claiming an intent."""
    statements: list[tuple[str, Any]] = []

    def keep(conn: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("UPDATE"):
            statements.append((statement, parameters))

    event.listen(shop.engine, "before_cursor_execute", keep)
    try:
        with shop.engine.connect() as connection:
            _store.in_transaction(connection, lambda c: _store.claim(c, TABLES, 1, lease_ms=1))
    finally:
        event.remove(shop.engine, "before_cursor_execute", keep)
    statement, parameters = statements[0]
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for number, name in enumerate(names, start=1):
        statement = statement.replace(f"%({name})s", f"${number}")
    with shop.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute("SET enable_seqscan = off")
        driver.execute("SET plan_cache_mode = force_generic_plan")
        statement = re.sub(r"::(VARCHAR|BIGINT|INTEGER)", "", statement)
        kinds = ", ".join(
            "text" if isinstance(parameters[name], str) else "bigint" for name in names
        )
        driver.execute(f"PREPARE claiming ({kinds}) AS {statement}")
        values = ", ".join(repr(parameters[name]) for name in names)
        rows = driver.execute(f"EXPLAIN EXECUTE claiming ({values})").fetchall()
        driver.execute("DEALLOCATE claiming")
    return "\n".join(row[0] for row in rows)


@pytest.mark.once
def test_claims_use_the_partial_indexes(postgresql: Database, emulator: Emulator) -> None:
    """A prepared claim uses the indexes that leave out finished intents and players."""
    shop = Studio(postgresql, emulator, is_async=False)
    plan = explain(shop)
    postgresql.clear()
    assert "kraty_outbox_intents_due" in plan
    assert "kraty_outbox_players_waiting" in plan


def engines(path: Path) -> dict[str, Callable[[], sa.Engine]]:
    """Return SQLite engines that begin transactions in different ways."""
    url = f"sqlite:///{path}"

    def begins_itself() -> sa.Engine:
        engine = sa.create_engine(url)

        @event.listens_for(engine, "connect")
        def connect(connection: Any, _: object) -> None:
            connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine

    def write_ahead() -> sa.Engine:
        engine = sa.create_engine(url, pool_size=1, max_overflow=0)

        @event.listens_for(engine, "connect")
        def connect(connection: Any, _: object) -> None:
            connection.execute("PRAGMA journal_mode = WAL")

        return engine

    return {
        "begins itself": begins_itself,
        "write-ahead": write_ahead,
        "autocommit": lambda: sa.create_engine(url, isolation_level="AUTOCOMMIT"),
        "in memory": lambda: sa.create_engine("sqlite://", poolclass=StaticPool),
        "PEP 249": lambda: sa.create_engine(url, connect_args={"autocommit": False}),
    }


@pytest.mark.parametrize("name", engines(Path()))
def test_engines_of_sqlite(name: str, tmp_path: Path, emulator: Emulator) -> None:
    """Each engine works, and its connections keep their isolation level."""
    if name == "PEP 249" and sys.version_info < (3, 12):
        pytest.skip("sqlite3 has no such mode before Python 3.12")
    engine = engines(tmp_path / "studio.db")[name]()
    kraty = emulator.client()
    outbox.set_up(engine, kraty)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        before = driver.isolation_level
    with Session(engine) as session, session.begin():
        outbox.into(session).wallet.credit("a", "gold", amount=1)
        outbox.into(session).wallet.credit("b", "gold", amount=1)
    with pytest.raises(RuntimeError, match="by design"), engine.connect() as connection:
        _store.in_transaction(connection, lambda c: fail(c))
    in_flight = 1 if name == "in memory" else 4
    assert 2 == outbox.drain(kraty, engine, in_flight=in_flight).done
    assert {"done": 2} == outbox.status(engine).counts
    with engine.connect() as connection:
        assert before == connection.connection.driver_connection.isolation_level  # type: ignore[union-attr]
    engine.dispose()


def fail(connection: sa.Connection) -> None:
    """Change something and raise: the change must be rolled back."""
    connection.execute(TABLES.intents.delete())
    raise RuntimeError("by design")


def test_a_connection_that_is_in_another_transaction(emulator: Emulator) -> None:
    """A worker refuses a connection with a transaction of the caller's, and does not commit it."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    kraty = emulator.client()
    outbox.set_up(engine, kraty)
    with Session(engine) as session:
        outbox.into(session).wallet.credit("a", "gold", amount=1)
        with pytest.raises(outbox.OutboxError, match="another transaction"):
            outbox.drain(kraty, engine)
    assert {} == outbox.status(engine).counts
    engine.dispose()


def test_another_writer_of_sqlite(sqlite: Database, emulator: Emulator) -> None:
    """A worker needs SQLite's write lock, and reading the status does not."""
    shop = Studio(sqlite, emulator, is_async=False)
    shop.credit("k")
    with sqlite3.connect(sqlite.engine.url.database or "", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert {"pending": 1} == outbox.status(shop.engine).counts
        impatient = sa.create_engine(sqlite.url, connect_args={"timeout": 0})
        with pytest.raises(OperationalError, match="locked"):
            outbox.drain(emulator.client(), impatient)
        impatient.dispose()
        other.execute("COMMIT")
    other.close()
    assert 1 == shop.drain().done
    sqlite.clear()


@pytest.mark.once
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"isolation_level": "SERIALIZABLE"}, id="serializable"),
        pytest.param({"isolation_level": "AUTOCOMMIT"}, id="autocommit"),
        pytest.param({"pool_size": 1, "max_overflow": 0}, id="pool of one"),
    ],
)
def test_engines_of_postgresql(
    postgresql: Database, emulator: Emulator, options: dict[str, Any]
) -> None:
    """Each engine works, and its connections keep their isolation level."""
    shop = Studio(postgresql, emulator, is_async=False)
    engine = postgresql.new_engine(**options)
    with engine.connect() as connection:
        before = connection.get_isolation_level()
    for number in range(8):
        shop.credit(str(number), player=f"p{number}")
    assert 8 == outbox.drain(emulator.client(), engine, in_flight=4).done
    with engine.connect() as connection:
        assert before == connection.get_isolation_level()
    engine.dispose()
    postgresql.clear()


def test_another_database() -> None:
    """A database that is neither PostgreSQL nor SQLite is refused by name, before it has tables."""
    statements: list[object] = []

    def execute(statement: object, *_: object) -> None:
        statements.append(statement)

    connection: Any = sa.create_mock_engine("mysql://", execute)
    with pytest.raises(outbox.OutboxError, match="PostgreSQL or SQLite, not mysql"):
        _store.insert_if_new(connection, TABLES.inbox, {})
    with pytest.raises(outbox.OutboxError, match="PostgreSQL or SQLite, not mysql"):
        _store.upgrade(connection, TABLES)
    assert [] == statements


def test_players_delete_of_a_player_with_intents_in_doubt(shop: Studio, time: Time) -> None:
    """An unknown intent keeps its content when its player is forgotten, since a person must still
    decide."""
    waiting = shop.credit("k", "a")
    with shop.engine.begin() as connection:
        connection.execute(
            TABLES.intents.update()
            .where(TABLES.intents.c.id == waiting.id)
            .values(state="unknown", stopped_ms=1)
        )
        connection.execute(TABLES.players.update().values(waiting=None))
        assert 0 == outbox.forget_player(connection, "a")
    assert ("a",) == shop.intent(waiting.id).players
