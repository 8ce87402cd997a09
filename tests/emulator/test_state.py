"""The state: all or nothing, and durable."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from kraty_admin.emulator._platform import Platform
from kraty_admin.emulator._state import LedgerRow, State
from kraty_admin.emulator._state._database import LAYOUT, _run_script  # pyright: ignore[reportPrivateUsage]

from .testkit import Api, StoppedClock, dump

CALLS = [
    pytest.param(
        "/players/carol/wallet/gold/credit", {"amount": 5, "idempotencyKey": "k"}, id="credit"
    ),
    pytest.param(
        "/players/alice/wallet/gold/debit", {"amount": 5, "idempotencyKey": "k"}, id="debit"
    ),
    pytest.param(
        "/players/carol/grants",
        {
            "idempotencyKey": "k",
            "entries": [
                {"type": "currency", "currencyKey": "gold", "amount": 5},
                {"type": "item", "itemKey": "health_potion", "quantity": 5},
            ],
        },
        id="grant",
    ),
    pytest.param("/players/bob/merge-into/alice", {"idempotencyKey": "k"}, id="merge"),
    pytest.param("/players/alice/delete", {"idempotencyKey": "k"}, id="delete"),
    pytest.param("/players/alice/ban", {"reason": "x", "idempotencyKey": "k"}, id="ban"),
    pytest.param(
        "/games/game_1/events/quick_brawl/lobbies",
        {"key": "m", "externalPlayerIds": ["carol", "dave"], "idempotencyKey": "k"},
        id="push",
    ),
    pytest.param(
        "/migrate/wallet",
        {
            "rows": [
                {
                    "externalPlayerId": name,
                    "economyKey": "gold",
                    "amount": 5,
                    "idempotencyKey": name,
                }
                for name in ("carol", "dave")
            ]
        },
        id="migrate",
    ),
]


class Brittle:
    """A connection that fails at one of its statements."""

    def __init__(self, connection: sqlite3.Connection, breaks_at: int) -> None:
        self._connection = connection
        self._left = breaks_at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self._count(sql)
        return self._connection.execute(sql, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self._count(sql)
        return self._connection.executemany(sql, *parameters)

    def _count(self, sql: str) -> None:
        # Undoing is what is tested, so it works.
        if not sql.startswith(("ROLLBACK", "RELEASE")):
            self._left -= 1
            if self._left == 0:
                raise sqlite3.OperationalError("by design")


def people(api: Api) -> None:
    for name in ("alice", "bob"):
        assert api.post(f"/players/{name}/wallet/gold/credit", {"amount": 100}).status == 200


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_a_call_that_breaks_anywhere_leaves_nothing(
    api: Api, path: str, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that fails at any of its statements, even `COMMIT`, changes nothing and sends no
    event."""
    people(api)
    api.new_events()
    state = api.platform.state
    connection = state.database.connection
    untouched = dump(state)
    breaks = 0
    status = 500
    while status == 500:
        assert dump(state) == untouched
        assert api.new_events() == []
        breaks += 1
        monkeypatch.setattr(state.database, "connection", Brittle(connection, breaks))
        status = api.platform.answer(api.request("POST", path, body)).status
        monkeypatch.setattr(state.database, "connection", connection)
    assert status in (200, 201)
    assert breaks > 6
    assert dump(state) != untouched


def test_a_credit_takes_few_statements(api: Api) -> None:
    """A keyed credit of a known player takes nine statements."""
    people(api)
    connection = api.platform.state.database.connection
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    body = {"amount": 5, "idempotencyKey": "k"}
    api.platform.answer(api.request("POST", "/players/alice/wallet/gold/credit", body))
    connection.set_trace_callback(None)
    assert 9 == len(statements), statements


def test_a_batch_takes_few_statements(api: Api) -> None:
    """A batch takes one insert per row and table, and at most five other statements."""
    connection = api.platform.state.database.connection
    statements: list[str] = []
    rows = [
        {"externalPlayerId": f"p{n}", "economyKey": "gold", "amount": 1, "idempotencyKey": f"k{n}"}
        for n in range(100)
    ]
    connection.set_trace_callback(statements.append)
    api.platform.answer(api.request("POST", "/migrate/wallet", {"rows": rows}))
    connection.set_trace_callback(None)
    inserted = [each.split(" INTO ")[1].split()[0] for each in statements if " INTO " in each]
    assert dict.fromkeys(("players", "holdings", "ledger", "migrated_rows"), 100) == Counter(
        inserted
    )
    assert 5 >= len(statements) - len(inserted), "begin, three reads, commit"


def test_a_page_of_a_ledger_is_a_search(api: Api) -> None:
    """No page of a list reads or sorts a whole table."""
    people(api)
    database = api.platform.state.database
    statements: list[str] = []
    database.connection.set_trace_callback(statements.append)
    api.entries("alice")
    api.entries()
    state = api.platform.state
    state.deliveries.page(limit=10)
    state.deliveries.page(limit=10, newest=True)
    state.ledger.page(None, limit=10, newest=True)
    state.players.page("game_1", "a", limit=10)
    state.grants.page(limit=10)
    state.lobbies.page(limit=10)
    database.connection.set_trace_callback(None)
    selects = [each for each in statements if each.startswith("SELECT")]
    assert 12 == len(selects)
    steps = list[str]()
    for select in selects:
        plan = [row[3] for row in database.all(f"EXPLAIN QUERY PLAN {select}")]
        steps += plan
        if "attempts" not in select:
            assert not [step for step in plan if step.startswith("SCAN") or "TEMP" in step], plan
    # A page of a game does not read past the entries of other games.
    assert any("ledger_of_game (game_id=? AND rowid>?)" in step for step in steps), steps


def test_a_file_keeps_everything(tmp_path: Path, clock: StoppedClock) -> None:
    """A restart keeps ledgers, grants, lobbies and keys."""
    path = str(tmp_path / "kraty.sqlite3")
    credit: tuple[str, dict[str, Any]] = (
        "/players/alice/wallet/gold/credit",
        {"amount": 5, "idempotencyKey": "k"},
    )
    grant: tuple[str, dict[str, Any]] = (
        "/players/alice/grants",
        {
            "idempotencyKey": "k",
            "entries": [{"type": "currency", "currencyKey": "gold", "amount": 1}],
        },
    )
    lobby: tuple[str, dict[str, Any]] = (
        "/games/game_1/events/quick_brawl/lobbies",
        {"key": "m", "externalPlayerIds": ["alice"]},
    )
    first, second = State(path), None
    api = Api(Platform(first, clock=clock))
    made = [api.post(*call) for call in (credit, grant, lobby)]
    before = dump(first)
    first.close()
    first.close()
    try:
        second = State(path)
        assert dump(second) == before
        api = Api(Platform(second, clock=clock))
        assert api.post(*credit).data == {**made[0].data, "applied": False}
        assert api.post(*grant).status == 200
        assert api.post(*lobby).data == made[2].data
        assert api.balance("alice") == 6
    finally:
        if second is not None:
            second.close()


def test_the_ledger_is_append_only(api: Api) -> None:
    """The database refuses to change or delete a ledger row."""
    people(api)
    connection = api.platform.state.database.connection
    for sql in ("UPDATE ledger SET delta = 1", "DELETE FROM ledger"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(sql)


@pytest.mark.parametrize("amount", [-1, 2**53])
def test_a_holding_stays_in_bounds(api: Api, amount: int) -> None:
    """The database refuses an amount below zero or above 2^53-1."""
    people(api)
    connection = api.platform.state.database.connection
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        connection.execute("UPDATE holdings SET amount = ?", (amount,))


def test_a_change_that_breaks_another_rule_is_a_defect(api: Api) -> None:
    """A change that breaks a rule other than a bound raises the database's error."""
    people(api)
    ledger = api.platform.state.ledger
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        ledger.change("ply_1", "currency", cast("Any", None), 5, 0)


def test_reset_forgets_everything(api: Api, clock: StoppedClock) -> None:
    """After a reset, the state equals that of a new database."""
    fresh = dump(api.platform.state)
    people(api)
    api.post("/players/alice/wallet/gold/credit", {"amount": 1, "idempotencyKey": "k"})
    api.platform.reset()
    assert dump(api.platform.state) == fresh
    assert api.platform.seen() == []
    assert api.post(
        "/players/alice/wallet/gold/credit", {"amount": 1, "idempotencyKey": "k"}
    ).data == {"economyKey": "gold", "balance": 1, "applied": True}


@pytest.mark.parametrize("name", [":memory:", "kraty.sqlite3"])
def test_a_reset_takes_no_time_to_speak_of(tmp_path: Path, name: str) -> None:
    """A reset takes less than a tenth of the time that writing the rows took."""
    state = State(name if name == ":memory:" else str(tmp_path / name))
    try:
        wrote, forgot = list[float](), list[float]()
        for _ in range(3):
            started = time.perf_counter()
            with state.transaction():
                state.players.add("ply_1", "game_1", "alice", 0)
                for number in range(10_000):
                    key = f"receipt_{number}"
                    state.ledger.append(
                        LedgerRow(
                            "game_1", "ply_1", "currency", "gold", 1, "x", None, None, key, None, 0
                        )
                    )
            wrote.append(time.perf_counter() - started)
            started = time.perf_counter()
            state.reset()
            forgot.append(time.perf_counter() - started)
        assert [] == state.ledger.page("game_1", limit=-1)
        assert min(forgot) < min(wrote) / 10
    finally:
        state.close()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    """A database of another program is refused, and not a byte of it changes."""
    path = tmp_path / "theirs.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE players (id)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is not a database of this version"):
        State(str(path))
    assert path.read_bytes() == before


def test_a_file_serves_one_emulator(tmp_path: Path) -> None:
    """A second emulator on the same file is refused until the first closes; other programs may
    read."""
    path = str(tmp_path / "kraty.sqlite3")
    first = State(path)
    with pytest.raises(ValueError, match=r"kraty\.sqlite3 is used by another emulator"):
        State(path)
    with closing(sqlite3.connect(path)) as reader:
        assert [(0,)] == reader.execute("SELECT COUNT(*) FROM ledger").fetchall()
    first.close()
    State(path).close()
    assert ["kraty.sqlite3"] == [file.name for file in tmp_path.iterdir()]


def test_a_lock_that_is_another_programs_file(tmp_path: Path) -> None:
    """Another program's file in place of the lock is refused, and stays as it is."""
    lock = tmp_path / "kraty.sqlite3-lock"
    lock.write_text("the notes of somebody" * 100)
    with pytest.raises(ValueError, match=r"kraty\.sqlite3: file is not a database"):
        State(str(tmp_path / "kraty.sqlite3"))
    assert [lock.name] == [file.name for file in tmp_path.iterdir()]
    assert lock.read_text().startswith("the notes of somebody")


def test_a_script_runs_whole_or_not_at_all(tmp_path: Path) -> None:
    """A database is left as it was by a migration that fails, also if it is locked."""
    path = tmp_path / "kraty.sqlite3"
    with (
        closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as database,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        with pytest.raises(sqlite3.OperationalError, match="syntax error"):
            _run_script(database, "CREATE TABLE a (x);\nnonsense")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            _run_script(database, "CREATE TABLE a (x)")
        other.execute("ROLLBACK")
        assert not database.in_transaction
        assert [] == database.execute("SELECT name FROM sqlite_master").fetchall()


def test_a_file_that_another_program_locks(tmp_path: Path, clock: StoppedClock) -> None:
    """While another program locks the file, a call is answered with 503 and has no effect."""
    path = str(tmp_path / "kraty.sqlite3")
    state = State(path)
    api = Api(Platform(state, clock=clock))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        request = api.request("POST", "/players/alice/wallet/gold/credit", {"amount": 5})
        assert 503 == api.platform.answer(request).status
        other.execute("ROLLBACK")
    assert 200 == api.platform.answer(request).status
    assert 5 == api.balance("alice")
    state.close()


def lines(state: State) -> set[str]:
    """Return the lines of a dump, without their indentation and without comments."""
    stripped = (line.strip() for line in dump(state).splitlines())
    return {line for line in stripped if not line.startswith("--")}


def test_a_file_of_release_0_1_0_is_migrated(tmp_path: Path, clock: StoppedClock) -> None:
    """A file of 0.1.0 gets this version's tables, and its rows are kept."""
    path = str(tmp_path / "kraty.sqlite3")
    state = State(path)
    api = Api(Platform(state, clock=clock))
    body = {"amount": 5, "idempotencyKey": "k"}
    api.post("/players/alice/wallet/gold/credit", body)
    row = {"externalPlayerId": "alice", "economyKey": "gold", "amount": 7, "idempotencyKey": "k"}
    api.post("/migrate/wallet", {"rows": [row]})
    state.database.run("UPDATE migrated_rows SET expires_at = 9223372036854775807")
    with state.transaction():
        state.players.add("ply_2", "game_2", "bob", 0)
        state.ledger.append(
            LedgerRow("game_2", "ply_2", "currency", "gold", 1, "x", None, None, "k", None, 0)
        )
    expected = lines(state)
    state.close()
    newer = ["scores", "event_attempts", "identities", "friendships", "friend_requests", "blocks"]
    with closing(sqlite3.connect(path)) as older:
        older.executescript(
            f"{' '.join(f'DROP TABLE {table};' for table in newer)}"
            "DROP INDEX placeholders; DROP INDEX ledger_of_player; DROP INDEX ledger_of_game;"
            "DROP TRIGGER ledger_keeps_values; ALTER TABLE ledger DROP COLUMN game_id;"
            "CREATE TRIGGER ledger_keeps_values BEFORE UPDATE OF delta ON ledger"
            " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
            "CREATE INDEX ledger_of_player ON ledger (player_id, kind, key);"
            "ALTER TABLE migrated_rows DROP COLUMN expires_at;"
            "PRAGMA user_version = 2;"
        )
    state = State(path)
    assert expected == lines(state)
    api = Api(Platform(state, clock=clock))
    assert api.post("/players/alice/wallet/gold/credit", body).data["applied"] is False
    assert 1 == api.post("/migrate/wallet", {"rows": [row]}).data["skipped"]
    state.close()
    State(path).close()


@pytest.mark.parametrize("layout", [1, LAYOUT + 1])
def test_a_file_of_another_version_is_refused(tmp_path: Path, layout: int) -> None:
    """A file of a version that cannot be migrated is refused and not changed."""
    path = tmp_path / "kraty.sqlite3"
    State(str(path)).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {layout}")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"kraty\.sqlite3 is not a database of this version"):
        State(str(path))
    assert before == path.read_bytes()


def test_a_file_that_lacks_a_table_is_refused(tmp_path: Path) -> None:
    """A file of this version that lacks a table is refused."""
    path = str(tmp_path / "kraty.sqlite3")
    State(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE answers")
    with pytest.raises(ValueError, match=r"kraty\.sqlite3 lacks tables"):
        State(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file that is not a database is refused."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be mistaken for one" * 10)
    with pytest.raises(ValueError, match=r"notes.txt: file is not a database"):
        State(str(path))
