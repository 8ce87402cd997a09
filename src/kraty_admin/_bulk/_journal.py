"""The journal of an import: a file that records its progress, so that it can be resumed.

It holds one entry for each *chunk*, the rows that are sent together. It does not hold the keys
that have been seen: a resumed import reads its source from the beginning and sees them again.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from ._tally import Tally, from_json, to_json

__all__ = ["Entry", "FailuresFile", "ImportTarget", "Journal", "create_private"]

_VERSION: Final = 2
_IN_MEMORY: Final = ":memory:"

_SCHEMA: Final = """
CREATE TABLE import (
    version INTEGER, kind TEXT, chunk_size INTEGER, salt TEXT,
    -- Null until the server was asked.
    server TEXT, game TEXT
);
CREATE TABLE chunk (
    number INTEGER PRIMARY KEY,
    first_row INTEGER NOT NULL,
    hash BLOB NOT NULL,
    -- When it was about to be sent for the first time, in seconds since 1970.
    begun_at REAL NOT NULL,
    -- Null until its outcome is known.
    tally TEXT
);
-- The failures file after the last recorded outcome.
CREATE TABLE failures_file (end INTEGER NOT NULL, hash BLOB NOT NULL);
"""


class ImportTarget(NamedTuple):
    """Where an import sends its rows."""

    server: str
    """The base URL."""
    game: str
    """The game, as text for people. If the server names none, the API key's public part."""

    def __str__(self) -> str:
        return f"{self.game} at {self.server}"


class Entry(NamedTuple):
    """The record of a chunk."""

    first_row: int
    hash: bytes
    begun_at: float
    """When it was about to be sent for the first time, in seconds since 1970."""
    tally: Tally | None
    """Its outcome; `None` if the chunk may have been sent and its outcome is not known."""


class FailuresFile(NamedTuple):
    """The state of the failures file after the last recorded outcome."""

    end: int
    """Its length in bytes."""
    hash: bytes
    """The SHA-256 of its content up to that length."""


class Journal:
    """The journal of one import, in a file. Without a path, it is in memory.

    Args:
        path: The file; created with mode 0600 if it does not exist.
        kind: The kind of rows.
        chunk_size: How many rows are sent together.
        resume: Whether the file may exist.

    Raises:
        ValueError: The file cannot be opened, belongs to another import or another version, is
            in use, or exists although `resume` is false.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, *, kind: str, chunk_size: int, resume: bool
    ) -> None:
        self._path = _IN_MEMORY if path is None else os.fspath(path)
        file = Path(self._path)
        if path is not None and not resume and file.exists() and file.stat().st_size:
            raise ValueError(
                f"journal {self._path} already exists: pass resume=True (--resume) to continue "
                "that import, or another journal (--journal) for other rows. Delete the file to "
                "start over, but only within 23 hours of the start of that import: later, Kraty "
                "may apply its rows again"
            )
        try:
            if path is not None:
                create_private(file)
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=0)
        except (OSError, sqlite3.Error) as error:
            raise ValueError(self._problem(error)) from None
        try:
            self._open(kind, chunk_size)
        except sqlite3.Error as error:
            self._db.close()
            raise ValueError(self._problem(error)) from None
        except BaseException:
            self._db.close()
            raise

    def _open(self, kind: str, chunk_size: int) -> None:
        # The lock is held until the end, so that no second import can write to the journal.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        # Not WAL: whoever copies the journal without its second file would lose what was sent.
        self._db.execute("PRAGMA journal_mode = DELETE")
        # Commits survive even a power cut. Otherwise a chunk that was sent could look new, and be
        # sent again after its keys have expired.
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN EXCLUSIVE")
        if not self._db.execute("SELECT 1 FROM sqlite_master").fetchall():
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            row = (_VERSION, kind, chunk_size, secrets.token_hex(16))
            insert = "INSERT INTO import (version, kind, chunk_size, salt) VALUES (?, ?, ?, ?)"
            self._db.execute(insert, row)
        query = "SELECT version, kind, chunk_size, salt FROM import"
        version, found_kind, found_size, salt = self._db.execute(query).fetchone()
        self._db.execute("COMMIT")
        if version == 1:
            raise ValueError(
                f"journal {self._path} was written by kraty-admin 0.1.0, which did not record the "
                "server and the game of an import. Finish that import with kraty-admin 0.1.0. Or "
                "delete the journal to start over, but only within 23 hours of the start of that "
                "import: later, Kraty may apply its rows again"
            )
        if version != _VERSION:
            raise ValueError(f"journal {self._path} was written by another version of kraty-admin")
        self.salt = str(salt)
        """Distinguishes the calls of this import from those of others."""
        if (found_kind, found_size) != (kind, chunk_size):
            raise ValueError(
                f"journal {self._path} belongs to an import of {found_kind} in chunks of "
                f"{found_size}, not of {kind} in chunks of {chunk_size}"
            )

    @property
    def is_kept(self) -> bool:
        """Whether the journal is in a file, so that the import can be resumed."""
        return self._path != _IN_MEMORY

    def claim(self, target: ImportTarget) -> None:
        """Record the target of the rows, or compare it with the recorded one.

        Raises:
            ValueError: The journal belongs to an import into another server or game.
        """
        with self._reported():
            self._db.execute(
                "UPDATE import SET server = ?, game = ? WHERE server IS NULL", tuple(target)
            )
            recorded = ImportTarget(*self._db.execute("SELECT server, game FROM import").fetchone())
        if recorded != target:
            raise ValueError(
                f"journal {self._path} belongs to an import into {recorded}, but this client's "
                f"target is {target}. Nothing was sent. Use another journal for this target"
            )

    @contextmanager
    def _reported(self) -> Generator[None, None, None]:
        """Report SQLite's errors, such as a full disk or a damaged file, as `OSError`."""
        try:
            yield
        except sqlite3.Error as error:
            raise OSError(self._problem(error)) from None

    def _problem(self, error: Exception) -> str:
        if "locked" in str(error):
            return f"journal {self._path} is in use by another import"
        return f"journal {self._path} cannot be used: {error}"

    def entry(self, number: int) -> Entry | None:
        """Return the entry of a chunk, if it has one."""
        query = "SELECT first_row, hash, begun_at, tally FROM chunk WHERE number = ?"
        with self._reported():
            found = self._db.execute(query, (number,)).fetchone()
        if found is None:
            return None
        first_row, content, begun_at, tally = found
        return Entry(first_row, content, begun_at, None if tally is None else from_json(tally))

    def failures_file(self) -> FailuresFile | None:
        """Return the recorded state of the failures file; `None` if none is recorded yet."""
        with self._reported():
            found = self._db.execute("SELECT end, hash FROM failures_file").fetchone()
        return None if found is None else FailuresFile(*found)

    def begin(self, number: int, first_row: int, content: bytes, now: float) -> None:
        """Record a chunk before it is sent.

        Args:
            number: The chunk's number.
            first_row: The number of its first row.
            content: The hash of everything in it.
            now: Seconds since 1970. The time of an earlier attempt is kept.
        """
        with self._reported():
            self._db.execute(
                "INSERT OR IGNORE INTO chunk (number, first_row, hash, begun_at)"
                " VALUES (?, ?, ?, ?)",
                (number, first_row, content, now),
            )

    def finish(self, number: int, tally: Tally, failures: FailuresFile | None) -> None:
        """Record the outcome of a chunk.

        Args:
            number: The chunk's number.
            tally: The outcome of its rows, as counts.
            failures: The failures file, with the failures of this chunk; `None` for no change.
        """
        with self._reported():
            self._db.execute("BEGIN")
            self._db.execute(
                "UPDATE chunk SET tally = ? WHERE number = ?", (to_json(tally), number)
            )
            if failures is not None:
                self._record(failures)
            self._db.execute("COMMIT")

    def record_failures_file(self, file: FailuresFile) -> None:
        """Record the state of the failures file before the first chunk is sent."""
        with self._reported():
            self._db.execute("BEGIN")
            self._record(file)
            self._db.execute("COMMIT")

    def _record(self, file: FailuresFile) -> None:
        self._db.execute("DELETE FROM failures_file")
        self._db.execute("INSERT INTO failures_file VALUES (?, ?)", file)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def create_private(path: Path) -> None:
    """Create a file that only its owner can read, if it does not exist."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
