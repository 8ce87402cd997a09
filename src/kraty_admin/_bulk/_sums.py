"""Add up rows for the same player and currency or item, for `sum_duplicates`."""

from __future__ import annotations

import json
import pickle
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final

from .._call._idempotency import KEY_FIELD
from ._rows import AMOUNT_FIELDS, INVALID, Item, Kind, LeftOut, Row, Unreadable
from ._validate import problem

__all__ = ["ADDED_UP", "Sums"]

ADDED_UP: Final = "added_up"
"""The reason for leaving out a row whose amount was added to an earlier row."""

_MOST: Final = 2**53 - 1

_SCHEMA: Final = """
-- Pickled, because only this process writes and reads them.
CREATE TABLE item (place INTEGER PRIMARY KEY, item BLOB NOT NULL);
CREATE TABLE first (same TEXT PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID;
"""


class Sums:
    """Takes all rows of an input, then returns them with amounts added up.

    Rows are added up if they are equal except for the amount. Rows with their own
    `idempotencyKey` are not, because a repeated key means a repeated row. The sum takes the place
    of the first row; the others are left out with the reason `added_up`.

    The rows are kept in a temporary file, which disappears with the process.

    Args:
        kind: The kind of rows; `wallet` or `inventory`.

    Raises:
        ValueError: Rows of this kind have no amount.
    """

    def __init__(self, kind: Kind) -> None:
        if kind not in AMOUNT_FIELDS:
            raise ValueError(f"sum_duplicates is for wallet and inventory, not for {kind}")
        self._kind: Kind = kind
        self._amount = AMOUNT_FIELDS[kind][1]
        self._places = 0
        self._db = sqlite3.connect("", isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            self._db.execute(f"PRAGMA {setting}")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def add(self, item: Item) -> None:
        """Take a row.

        Raises:
            OSError: The temporary file cannot be written.
        """
        with _reported():
            self._places += 1
            self._put(self._places, self._added(item) if isinstance(item, Row) else item)

    def _added(self, row: Row) -> Item:
        """Add a row to an earlier one if possible. Return the item that replaces the row."""
        why = problem(self._kind, row.row)
        if why is not None:
            return _invalid(row, why)
        if KEY_FIELD in row.row:
            return row
        rest = {name: value for name, value in row.row.items() if name != self._amount}
        same = json.dumps(rest, sort_keys=True)
        insert = "INSERT OR IGNORE INTO first VALUES (?, ?)"
        if self._db.execute(insert, (same, self._places)).rowcount:
            return row
        (place,) = self._db.execute("SELECT place FROM first WHERE same = ?", (same,)).fetchone()
        first = self._get(place)
        total = first.row[self._amount] + row.row[self._amount]
        if total > _MOST:
            return row  # the planner reports it as a duplicate
        self._put(place, first._replace(row={**first.row, self._amount: total}))
        return LeftOut(row.number, ADDED_UP, f"added to row {first.number}", row.source)

    def _get(self, place: int) -> Row:
        (found,) = self._db.execute("SELECT item FROM item WHERE place = ?", (place,)).fetchone()
        row: Row = pickle.loads(found)  # noqa: S301  # written by this process
        return row

    def _put(self, place: int, item: Item) -> None:
        self._db.execute("INSERT OR REPLACE INTO item VALUES (?, ?)", (place, pickle.dumps(item)))

    def items(self) -> Iterator[Item]:
        """Yield all rows in their original order, with amounts added up."""
        for (found,) in self._db.execute("SELECT item FROM item ORDER BY place"):
            yield pickle.loads(found)  # noqa: S301  # written by this process

    def close(self) -> None:
        """Delete the temporary file."""
        self._db.close()


def _invalid(row: Row, why: str) -> Unreadable:
    kept: dict[str, Any] | None = row.row
    try:
        json.dumps(kept)
    except (TypeError, ValueError, RecursionError):
        kept = None  # perhaps it cannot be pickled either
    return Unreadable(row.number, INVALID, why, "", row.source, kept)


@contextmanager
def _reported() -> Generator[None, None, None]:
    """Report SQLite's errors, such as a full disk, as `OSError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"the temporary file for adding up rows cannot be used: {error}") from None
