"""The emulator's SQLite database: one connection, one transaction at a time.

All changes of a call commit at once, its idempotency key with them, so a process that is
killed has done either the whole call or nothing. A file is in WAL mode with
`synchronous=NORMAL`: commits survive a killed process, but the last ones may be lost in a
power cut.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = ["Database", "SqlValue"]

SqlValue = str | int | None
"""What the columns hold."""

_SCHEMA: Final = Path(__file__).with_name("schema.sql")

LAYOUT: Final = 2
"""The version of the tables in schema.sql."""


class Database:
    """A connection that threads share."""

    def __init__(self, path: str) -> None:
        """Open the database; `:memory:` keeps it in memory.

        Raises:
            ValueError: The file belongs to another program or another version.
            sqlite3.Error: The file cannot be opened.
        """
        self._lock = threading.RLock()
        # The lock does what sqlite3's own check would: one thread at a time.
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            is_new = self._is_new(path)
            self.connection.execute("PRAGMA foreign_keys = ON")
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = NORMAL")
            # Where this is on, a reset would overwrite all deleted rows with zeros.
            self.connection.execute("PRAGMA secure_delete = OFF")
            if is_new:
                self._rebuild([])
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close the database. A second call does nothing."""
        with self._lock:
            self.connection.close()

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """Commit the block as a whole, or undo it if it raises."""
        with self._lock:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    @contextmanager
    def savepoint(self) -> Generator[None, None, None]:
        """Undo the block if it raises, within a transaction."""
        self.connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK TO part")
            raise
        finally:
            self.connection.execute("RELEASE part")

    def reset(self) -> None:
        """Delete everything."""
        with self._lock:
            tables = self.all("SELECT name FROM sqlite_master WHERE type = 'table'")
            # The tables are dropped, since the ledger lets no row be deleted. SQLite would
            # look for references in each row, but the tables that have them are dropped too.
            self.connection.execute("PRAGMA foreign_keys = OFF")
            try:
                self._rebuild([name for (name,) in tables])
            finally:
                self.connection.execute("PRAGMA foreign_keys = ON")

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

    def run_many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """Execute a statement once for each row of parameters."""
        self.connection.executemany(sql, rows)

    def insert(self, table: str, columns: Mapping[str, SqlValue]) -> None:
        """Add a row."""
        names = ", ".join(columns)
        places = ", ".join("?" * len(columns))
        self.run(
            f"INSERT INTO {table} ({names}) VALUES ({places})",  # noqa: S608
            *columns.values(),
        )

    def _is_new(self, path: str) -> bool:
        # Nothing is written to a file before it is known to be ours.
        (layout,) = self.one("PRAGMA user_version")
        is_empty = self.one("SELECT name FROM sqlite_master LIMIT 1") is None
        if layout != (0 if is_empty else LAYOUT):
            raise ValueError(f"{path} is not a database of this version of the emulator")
        return is_empty

    def _rebuild(self, old_tables: Iterable[str]) -> None:
        """Drop these tables and create all anew, in one transaction."""
        drops = [f'DROP TABLE "{name}";' for name in old_tables]
        schema = _SCHEMA.read_text(encoding="utf-8")
        version = f"PRAGMA user_version = {LAYOUT};"
        try:
            self.connection.executescript(
                "\n".join(["BEGIN IMMEDIATE;", *drops, schema, version, "COMMIT;"])
            )
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
