"""Snapshots: copies of the state, in memory or in a file.

A snapshot contains what the platform would remember: the database, the clock, and how many ids
were drawn from the seed. It does not contain faults, the rate limit or the list of requests,
because they belong to a test, not to the state.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import attrs

from ._clock import Clock, SeededIds
from ._state import State
from ._state._database import prepare

__all__ = ["Snapshot"]

_TABLE = "saved_emulator"
"""A table that only saved files have, not the database of a running emulator."""


@attrs.frozen(kw_only=True)
class _Extras:
    """The parts of a saved file that are not in the database."""

    clock_ahead: float = 0.0
    """Seconds that a running clock is ahead of the machine's."""
    clock_stands_at: float | None = None
    """Seconds since the epoch at which the clock stands; `None` if it runs."""
    seed: int | None = None
    ids_drawn: int = 0


@attrs.frozen(eq=False)
class Snapshot:
    """A copy of the state of an emulator."""

    _database: sqlite3.Connection
    _extras: _Extras

    def close(self) -> None:
        """Free the copy. A second call does nothing."""
        self._database.close()

    @staticmethod
    def take(state: State, clock: Clock, ids: SeededIds | None) -> Snapshot:
        """Copy the state of an emulator."""
        ahead, stands_at = clock.setting
        extras = _Extras(
            clock_ahead=ahead,
            clock_stands_at=stands_at,
            seed=None if ids is None else ids.seed,
            ids_drawn=0 if ids is None else ids.drawn,
        )
        copy = _in_memory()
        state.database.copy_to(copy)
        return Snapshot(copy, extras)

    def apply(self, state: State, clock: Clock, ids: SeededIds | None) -> None:
        """Make this the state of an emulator that was just reset."""
        state.database.copy_from(self._database)
        extras = self._extras
        clock.setting = extras.clock_ahead, extras.clock_stands_at
        # Another seed gives other ids, which cannot collide with those of the snapshot.
        if ids is not None and ids.seed == extras.seed:
            ids.skip(extras.ids_drawn)

    def save(self, path: str) -> None:
        """Write the snapshot to a file that only its owner can read. Replace an existing file.

        Raises:
            OSError: The file cannot be written.
        """
        unfinished = Path(f"{path}.unfinished")
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with closing(sqlite3.connect(unfinished, isolation_level=None)) as file:
                self._database.backup(file)
                file.execute(f"CREATE TABLE {_TABLE} (extras TEXT NOT NULL)")
                file.execute(
                    f"INSERT INTO {_TABLE} VALUES (?)",  # noqa: S608
                    (json.dumps(attrs.asdict(self._extras)),),
                )
            unfinished.replace(path)
        except BaseException as error:
            with suppress(OSError):
                unfinished.unlink()
            if isinstance(error, sqlite3.Error):
                raise OSError(f"{path}: {error}") from None
            raise

    @staticmethod
    def load(path: str) -> Snapshot:
        """Read a saved file, or a database of an emulator. The file stays as it is.

        Raises:
            OSError: The file cannot be opened.
            ValueError: The file has no state that this version of the emulator can use. The
                message names the file.
        """
        with Path(path).open("rb"):
            pass  # raises the reason if it cannot be opened, which SQLite does not report
        copy = _in_memory()
        try:
            uri = f"{Path(path).absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=0.5)) as file:
                file.execute("SELECT * FROM sqlite_master LIMIT 1").fetchall()
                file.backup(copy)
            extras = _read_extras(copy)
            prepare(copy, path)
        except sqlite3.Error as error:
            copy.close()
            raise ValueError(f"{path}: {error}") from None
        except BaseException:
            copy.close()
            raise
        return Snapshot(copy, extras)


def _in_memory() -> sqlite3.Connection:
    # It is created in one thread and read in the server's, but never in both at a time.
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def _read_extras(database: sqlite3.Connection) -> _Extras:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if database.execute(query, (_TABLE,)).fetchone() is None:
        return _Extras()
    (text,) = database.execute(f"SELECT extras FROM {_TABLE}").fetchone()  # noqa: S608
    database.execute(f"DROP TABLE {_TABLE}")
    return _Extras(**json.loads(text))
