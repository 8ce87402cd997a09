"""The emulator's SQLite database: one connection, one transaction at a time.

All changes of a call and its idempotency key are committed together. So if the process is killed,
either the whole call took effect or nothing of it. A file is in WAL mode with
`synchronous=NORMAL`: commits survive a killed process, but the last ones may be lost in a
power cut.
"""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

__all__ = ["Database", "SqlValue", "prepare"]

SqlValue = str | int | float | None
"""The types of columns."""

_SCHEMA: Final = Path(__file__).with_name("schema.sql")

LAYOUT: Final = 5
"""The version of the tables in schema.sql."""

_MIGRATIONS: Final[Mapping[int, str]] = {
    2: """
        CREATE INDEX placeholders ON players (game_id, external_id) WHERE retired_at IS NOT NULL;
        DROP INDEX ledger_of_player;
        CREATE INDEX ledger_of_player ON ledger (player_id);
    """,
    3: """
        DROP TRIGGER ledger_keeps_rows;
        DROP TRIGGER ledger_keeps_values;
        DROP INDEX ledger_of_player;
        ALTER TABLE ledger RENAME TO older_ledger;
        CREATE TABLE ledger (
            number INTEGER PRIMARY KEY,
            game_id TEXT NOT NULL,
            player_id TEXT NOT NULL REFERENCES players,
            kind TEXT NOT NULL CHECK (kind IN ('currency', 'item')),
            key TEXT NOT NULL,
            delta INTEGER NOT NULL CHECK (delta <> 0),
            operation TEXT NOT NULL,
            reason TEXT,
            source_ref_id TEXT,
            idempotency_key TEXT,
            parameters TEXT,
            at INTEGER NOT NULL
        );
        INSERT INTO ledger
            SELECT number, (SELECT game_id FROM players WHERE id = player_id), player_id, kind, key,
                delta, operation, reason, source_ref_id, idempotency_key, parameters, at
            FROM older_ledger;
        DROP TABLE older_ledger;
        CREATE INDEX ledger_of_game ON ledger (game_id);
        CREATE INDEX ledger_of_player ON ledger (player_id);
        CREATE TRIGGER ledger_keeps_rows BEFORE DELETE ON ledger
            BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
        CREATE TRIGGER ledger_keeps_values
            BEFORE UPDATE OF number, game_id, kind, key, delta, operation, reason, source_ref_id,
                idempotency_key, parameters, at ON ledger
            BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
        CREATE TABLE scores (
            game_id TEXT NOT NULL,
            leaderboard_key TEXT NOT NULL,
            segment TEXT NOT NULL,
            player_id TEXT NOT NULL REFERENCES players,
            score REAL NOT NULL,
            PRIMARY KEY (game_id, leaderboard_key, segment, player_id)
        ) WITHOUT ROWID;
        CREATE INDEX ranks ON scores (game_id, leaderboard_key, segment, score);
        CREATE INDEX scores_of_player ON scores (player_id);
        CREATE TABLE event_attempts (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            event_key TEXT NOT NULL,
            player_id TEXT NOT NULL REFERENCES players,
            started_at INTEGER NOT NULL,
            ends_at INTEGER NOT NULL,
            completed_at INTEGER,
            metrics TEXT NOT NULL
        );
        CREATE INDEX attempts_of_player ON event_attempts (player_id);
        CREATE TABLE identities (
            player_id TEXT PRIMARY KEY REFERENCES players,
            name TEXT NOT NULL,
            avatar TEXT
        ) WITHOUT ROWID;
        CREATE TABLE friendships (
            player_id TEXT NOT NULL REFERENCES players,
            friend_id TEXT NOT NULL REFERENCES players,
            since INTEGER NOT NULL,
            PRIMARY KEY (player_id, friend_id)
        ) WITHOUT ROWID;
        CREATE TABLE friend_requests (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            sender_id TEXT NOT NULL REFERENCES players,
            receiver_id TEXT NOT NULL REFERENCES players,
            created_at INTEGER NOT NULL
        );
        CREATE INDEX requests_of_sender ON friend_requests (sender_id);
        CREATE INDEX requests_of_receiver ON friend_requests (receiver_id);
        CREATE TABLE blocks (
            player_id TEXT NOT NULL REFERENCES players,
            blocked_id TEXT NOT NULL REFERENCES players,
            since INTEGER NOT NULL,
            PRIMARY KEY (player_id, blocked_id)
        ) WITHOUT ROWID;
    """,
    # Nobody knows the age of the older rows, so their keys stay.
    4: """
        ALTER TABLE migrated_rows RENAME TO older_migrated_rows;
        CREATE TABLE migrated_rows (
            game_id TEXT NOT NULL,
            operation TEXT NOT NULL,
            idempotency_key TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            expires_at INTEGER NOT NULL,
            PRIMARY KEY (game_id, operation, idempotency_key)
        ) WITHOUT ROWID;
        INSERT INTO migrated_rows
            SELECT game_id, operation, idempotency_key, fingerprint, 9223372036854775807
            FROM older_migrated_rows;
        DROP TABLE older_migrated_rows;
    """,
}
"""The script that turns each older layout into the next. Layout 2 is that of release 0.1.0."""

_OLDEST_SQLITE: Final = (3, 35)
"""The first version with RETURNING."""


class Database:
    """A connection that threads share."""

    def __init__(self, path: str) -> None:
        """Open the database; `:memory:` keeps it in memory.

        Raises:
            ValueError: The file cannot be opened, is used by another emulator, or belongs to
                another program or version. The message names the file.
        """
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:  # pragma: no cover: an old system
            raise ValueError(f"the emulator needs SQLite 3.35, not {sqlite3.sqlite_version}")
        if not path:
            raise ValueError("the name of the database must not be empty")
        self._lock = threading.RLock()
        self._owner = None if path == ":memory:" else _Owner(path)
        try:
            self.connection: sqlite3.Connection = self._open(path)
        except sqlite3.Error as error:
            self._release()
            raise ValueError(f"{path}: {error}") from None
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """Close the database. A second call does nothing."""
        with self._lock:
            self.connection.close()
            self._release()

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """Commit the block as a whole, or roll it back if it raises."""
        with self._lock:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                _roll_back(self.connection)
                raise

    def reset(self) -> None:
        """Delete everything."""
        with self._lock:
            tables = self.all("SELECT name FROM sqlite_master WHERE type = 'table'")
            # The tables are dropped, because the ledger's rows cannot be deleted. Without the
            # check of foreign keys, which is not needed because all tables are dropped.
            self.connection.execute("PRAGMA foreign_keys = OFF")
            try:
                drops = [f'DROP TABLE "{name}";' for (name,) in tables]
                _run_script(self.connection, "\n".join([*drops, _creation()]))
            finally:
                self.connection.execute("PRAGMA foreign_keys = ON")

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Replace everything in another database with a copy of this one."""
        with self._lock:
            self.connection.backup(target)

    def copy_from(self, source: sqlite3.Connection) -> None:
        """Replace everything with a copy of another database of this version."""
        with self._lock:
            source.backup(self.connection)

    def one(self, sql: str, *parameters: SqlValue) -> Any:
        """Return the first row, or `None`."""
        with self._lock:
            return self.connection.execute(sql, parameters).fetchone()

    def all(self, sql: str, *parameters: SqlValue) -> list[Any]:
        """Return all rows."""
        with self._lock:
            return self.connection.execute(sql, parameters).fetchall()

    def run(self, sql: str, *parameters: SqlValue) -> int:
        """Execute a statement; return the number of rows it changed."""
        return self.connection.execute(sql, parameters).rowcount

    def run_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> int:
        """Execute a statement once for each row of parameters; return how many rows changed."""
        return self.connection.executemany(sql, rows).rowcount

    def among(self, sql: str, *parameters: SqlValue, values: Collection[str]) -> list[Any]:
        """Return the rows of a query that ends in `IN`, for these values.

        The values are parameters, not JSON, because SQLite's JSON ends strings at a null character.
        """
        places = ", ".join("?" * len(values))
        return self.all(f"{sql} ({places})", *parameters, *values)

    def insert(self, table: str, columns: Mapping[str, SqlValue]) -> None:
        """Add a row."""
        names = ", ".join(columns)
        places = ", ".join("?" * len(columns))
        self.run(
            f"INSERT INTO {table} ({names}) VALUES ({places})",  # noqa: S608
            *columns.values(),
        )

    def _open(self, path: str) -> sqlite3.Connection:
        # Our lock allows one thread at a time, so sqlite3's own check is off. The timeout is
        # short, because the event loop waits while another program locks the file.
        connection = sqlite3.connect(
            path, timeout=0.5, isolation_level=None, check_same_thread=False
        )
        try:
            # Nothing is written to a file before it is known to be an emulator's.
            script = _preparation(connection, path)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            # 64 MiB: ids are random, so each row of a large file is on another page.
            connection.execute("PRAGMA cache_size = -65536")
            # Where this is on, a reset would overwrite all deleted rows with zeros.
            connection.execute("PRAGMA secure_delete = OFF")
            _make_current(connection, path, script)
        except BaseException:
            connection.close()
            raise
        return connection

    def _release(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.release()


class _Owner:
    """Marks a database file as used by this process.

    SQLite lets two processes share a file, but each emulator would deliver webhooks and count
    requests as if it were alone. The mark is a lock on a second file, so that other programs
    can still read the database. It is SQLite's lock, so that it ends with the process.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(f"{path}-lock")
        try:
            self._connection = sqlite3.connect(
                self._path, timeout=0, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise ValueError(f"{path}: {error}") from None
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._connection.close()
            if "locked" in str(error):
                raise ValueError(f"{path} is used by another emulator") from None
            raise ValueError(f"{path}: {error}") from None

    def release(self) -> None:
        # Deleted before the lock ends, so that it cannot be the file of the next emulator.
        with suppress(OSError):  # Windows keeps open files
            self._path.unlink()
        self._connection.close()


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Convert a copy of a database to this version.

    Raises:
        ValueError: It is not the database of an emulator, or has an unknown version. The
            message names `path`.
    """
    _make_current(connection, path, _preparation(connection, path))


def _make_current(connection: sqlite3.Connection, path: str, script: str) -> None:
    if script:
        _run_script(connection, script)
    if _shape(connection) != _expected_shape():
        raise ValueError(f"{path} lacks tables that the emulator needs, or has others")


def _preparation(connection: sqlite3.Connection, path: str) -> str:
    """Return the script that converts a database to this version; empty if it has it already."""
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    is_empty = not _shape(connection)
    if is_empty and layout == 0:
        return _creation()
    if layout == LAYOUT:
        return ""
    if layout in _MIGRATIONS:
        steps = [_MIGRATIONS[older] for older in range(layout, LAYOUT)]
        return "\n".join([*steps, f"PRAGMA user_version = {LAYOUT};"])
    raise ValueError(f"{path} is not a database of this version of the emulator")


def _creation() -> str:
    return f"{_SCHEMA.read_text(encoding='utf-8')}\nPRAGMA user_version = {LAYOUT};"


def _run_script(connection: sqlite3.Connection, script: str) -> None:
    """Run statements in one transaction."""
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nCOMMIT;")
    except BaseException:
        _roll_back(connection)
        raise


def _shape(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the kinds and names of everything that the schema has created."""
    rows = connection.execute(
        "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
    )
    return rows.fetchall()


@functools.cache
def _expected_shape() -> list[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(_creation())
        return _shape(connection)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
