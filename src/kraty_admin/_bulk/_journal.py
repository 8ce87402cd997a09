"""What an import has done, kept in a file, so that a kill at any instant loses nothing."""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Counts", "Entry", "Journal"]

_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE import (version INTEGER, kind TEXT, chunk_size INTEGER, salt TEXT);
CREATE TABLE chunk (
    number INTEGER PRIMARY KEY,
    first_row INTEGER NOT NULL,
    hash BLOB NOT NULL,
    -- All that follow are null until its outcome is known.
    rows INTEGER, applied INTEGER, skipped INTEGER, failed INTEGER, duplicates INTEGER,
    -- How long the file of failures was, with those of this chunk.
    failures_end INTEGER
);
CREATE TABLE seen (key BLOB PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID;
"""


class Counts(NamedTuple):
    """What became of some rows."""

    rows: int = 0
    applied: int = 0
    skipped: int = 0
    failed: int = 0
    duplicates: int = 0

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(*map(sum, zip(self, other, strict=True)))


class Entry(NamedTuple):
    """What is known of a chunk."""

    first_row: int
    hash: bytes
    counts: Counts | None
    """`None` if it may have been sent, and its outcome is not known."""


class Journal:
    """The journal of one import, in a file of its own.

    Without a path it is a temporary one, which serves to find duplicates and vanishes.

    Raises:
        ValueError: The file is of another import, of another version or in use, or is
            there although nothing is to be resumed.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, *, kind: str, chunk_size: int, resume: bool
    ) -> None:
        self._path = "" if path is None else os.fspath(path)
        there = Path(self._path)
        if path is not None and not resume and there.exists() and there.stat().st_size:
            raise ValueError(
                f"journal {self._path} is there already: resume the import, or remove the file"
            )
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=0)
        except sqlite3.Error as error:
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
        # Held until the end, so that no second import can write to it.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        # What is committed outlives the process, and that is what is promised.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("BEGIN EXCLUSIVE")
        if not self._db.execute("SELECT 1 FROM sqlite_master").fetchall():
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            row = (_VERSION, kind, chunk_size, secrets.token_hex(16))
            self._db.execute("INSERT INTO import VALUES (?, ?, ?, ?)", row)
        query = "SELECT version, kind, chunk_size, salt FROM import"
        found = self._db.execute(query).fetchone()
        self._db.execute("COMMIT")
        if found[0] != _VERSION:
            raise ValueError(f"journal {self._path} is of another version of this library")
        self.salt = str(found[3])
        """What tells the calls of this import from those of others."""
        if found[1:3] != (kind, chunk_size):
            raise ValueError(
                f"journal {self._path} is of an import of {found[1]} in chunks of {found[2]}, "
                f"not of {kind} in chunks of {chunk_size}"
            )

    @contextmanager
    def _writing(self) -> Generator[None, None, None]:
        """Tell of a full disk and its like as of any other file's."""
        try:
            yield
        except sqlite3.Error as error:
            raise OSError(self._problem(error)) from None

    def _problem(self, error: sqlite3.Error) -> str:
        if "locked" in str(error):
            return f"journal {self._path} is in use by another import"
        return f"journal {self._path} cannot be used: {error}"

    def entry(self, number: int) -> Entry | None:
        """A chunk's entry, if there is one."""
        found = self._db.execute(
            "SELECT first_row, hash, rows, applied, skipped, failed, duplicates"
            " FROM chunk WHERE number = ?",
            (number,),
        ).fetchone()
        if found is None:
            return None
        return Entry(found[0], found[1], None if found[2] is None else Counts(*found[2:]))

    def failures_end(self) -> int:
        """How long the file of failures was after the last outcome."""
        found = self._db.execute("SELECT max(failures_end) FROM chunk").fetchone()[0]
        return 0 if found is None else int(found)

    def begin(
        self, number: int, first_row: int, content: bytes, keys: Sequence[tuple[str | None, int]]
    ) -> dict[int, int]:
        """Note a chunk before it is sent.

        Args:
            number: The chunk's number.
            first_row: The number of its first row.
            content: The hash of all that it holds.
            keys: The keys of what is sent, `None` for none, and the rows' numbers.

        Returns:
            The places, from 0, whose key another row had before, with that row's number.
        """
        with self._writing():
            self._db.execute("BEGIN")
            self._db.execute(
                "INSERT OR IGNORE INTO chunk (number, first_row, hash) VALUES (?, ?, ?)",
                (number, first_row, content),
            )
            duplicates = self._remember(keys)
            self._db.execute("COMMIT")
            return duplicates

    def _remember(self, keys: Sequence[tuple[str | None, int]]) -> dict[int, int]:
        rows = [(_digest(key), row) for key, row in keys if key is not None]
        added = self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", rows).rowcount
        if added == len(rows):
            return {}
        duplicates: dict[int, int] = {}
        query = "SELECT row FROM seen WHERE key = ?"
        for place, (key, row) in enumerate(keys):
            if key is None:
                continue
            first = self._db.execute(query, (_digest(key),)).fetchone()[0]
            # A chunk that is sent again meets its own rows.
            if first != row:
                duplicates[place] = first
        return duplicates

    def finish(self, number: int, counts: Counts, failures_end: int) -> None:
        """Note the outcome of a chunk."""
        with self._writing():
            self._db.execute(
                "UPDATE chunk SET rows = ?, applied = ?, skipped = ?, failed = ?, duplicates = ?,"
                " failures_end = ? WHERE number = ?",
                (*counts, failures_end, number),
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _digest(key: str) -> bytes:
    """Enough of a hash to tell millions of keys apart."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()[:16]
