"""The holdings of players, and the ledger of all their changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import attrs

from .._times import moment
from ._database import Database
from ._paging import page_end

__all__ = ["Holding", "HoldingRow", "Kind", "Ledger", "LedgerEntry", "LedgerRow"]

Kind = Literal["currency", "item"]


@attrs.frozen(kw_only=True)
class LedgerEntry:
    """One change of a balance or of an item count.

    An entry is never deleted. Only its player can change: by a merge or an erasure.
    """

    number: int
    """Its number in the ledger; later entries have higher numbers."""
    at: datetime
    """When it was made, by the emulator's clock."""
    game_id: str
    """The game of the player."""
    external_player_id: str
    """The player; a placeholder once the player is erased."""
    kind: Kind
    """Whether a currency or an item changed."""
    key: str
    """Key of the currency or of the item."""
    delta: int
    """The amount that was added; negative if it was taken away."""
    operation: str
    """The call that caused it, such as `wallet.credit`."""
    reason: str | None
    """The caller's reason."""
    source_ref_id: str | None
    """The caller's reference."""
    idempotency_key: str | None
    """The idempotency key of the call or of the imported row."""


class Holding(NamedTuple):
    """How much a player has of one currency or item."""

    key: str
    amount: int
    metadata: str
    """A JSON object."""
    created_at: int
    updated_at: int


class HoldingRow(NamedTuple):
    """A holding to create or to replace."""

    player_id: str
    kind: Kind
    key: str
    amount: int
    metadata: str
    created_at: int
    updated_at: int


class LedgerRow(NamedTuple):
    """An entry to add to the ledger."""

    game_id: str
    player_id: str
    kind: Kind
    key: str
    delta: int
    operation: str
    reason: str | None
    source_ref_id: str | None
    idempotency_key: str | None
    parameters: str | None
    """A JSON object."""
    at: int


_APPEND: Final = (
    f"INSERT INTO ledger ({', '.join(LedgerRow._fields)})"  # noqa: S608
    f" VALUES ({', '.join('?' * len(LedgerRow._fields))})"
)

_COLUMNS: Final = ", ".join(Holding._fields)


_PAGE: Final = (
    "SELECT number, at, ledger.game_id, external_id, kind, key, delta, operation, reason,"
    " source_ref_id, idempotency_key FROM ledger JOIN players ON players.id = player_id"
)


class Ledger:
    """The ledger, and the holdings that it adds up to."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.appended: int = 0
        """How many entries were added, including those of transactions that were rolled back."""
        self._newest: int | None = None

    def amount(self, player_id: str, kind: Kind, key: str) -> int:
        """Return how much of it the player has."""
        row = self._db.one(
            "SELECT amount FROM holdings WHERE player_id = ? AND kind = ? AND key = ?",
            player_id,
            kind,
            key,
        )
        return 0 if row is None else row[0]

    def change(self, player_id: str, kind: Kind, key: str, delta: int, now: int) -> int | None:
        """Add to a holding.

        Returns:
            The new amount, or `None` if it would be negative or above 2^53-1; then nothing
            changes.
        """
        try:
            row = (self._add if delta >= 0 else self._take)(player_id, kind, key, delta, now)
        except sqlite3.IntegrityError as error:
            if "CHECK" not in str(error):
                raise
            return None
        return None if row is None else row[0]

    def metadata(self, player_id: str, kind: Kind, key: str) -> str:
        """Return the metadata of an existing holding, a JSON object."""
        text: str = self._db.one(
            "SELECT metadata FROM holdings WHERE player_id = ? AND kind = ? AND key = ?",
            player_id,
            kind,
            key,
        )[0]
        return text

    def set_metadata(self, player_id: str, kind: Kind, key: str, metadata: str) -> None:
        """Replace the metadata of an existing holding with this JSON object."""
        self._db.run(
            "UPDATE holdings SET metadata = ? WHERE player_id = ? AND kind = ? AND key = ?",
            metadata,
            player_id,
            kind,
            key,
        )

    def newest_numbers(self, count: int) -> range:
        """Return the numbers of this many entries, the last that were added."""
        if not count:
            return range(0)
        newest: int = self._newest or self._db.one("SELECT MAX(number) FROM ledger")[0]
        return range(newest + 1 - count, newest + 1)

    def append(self, entry: LedgerRow) -> None:
        """Add an entry to the ledger."""
        self.appended += 1
        self._newest = self._db.connection.execute(_APPEND, entry).lastrowid

    def append_all(self, entries: Iterable[LedgerRow]) -> None:
        """Add entries to the ledger."""
        self.appended += self._db.run_many(_APPEND, entries)
        self._newest = None  # SQLite reports the last rowid of a single INSERT only

    def set_holdings(self, holdings: Iterable[HoldingRow]) -> None:
        """Create holdings, or replace amount and metadata of those that exist."""
        self._db.run_many(
            "INSERT INTO holdings (player_id, kind, key, amount, metadata, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (player_id, kind, key) DO UPDATE"
            " SET amount = excluded.amount, metadata = excluded.metadata,"
            " updated_at = excluded.updated_at",
            holdings,
        )

    def holdings_of(
        self, player_ids: Collection[str], kind: Kind
    ) -> list[tuple[str, str, int, str]]:
        """Return what these players hold: player's id, key, amount and metadata."""
        if not player_ids:
            return []
        return self._db.among(
            "SELECT player_id, key, amount, metadata FROM holdings WHERE kind = ? AND player_id IN",
            kind,
            values=player_ids,
        )

    def holdings(self, player_id: str, kind: Kind, limit: int = -1) -> list[Holding]:
        """Return what the player has, in the order of its keys."""
        rows = self._db.all(
            f"SELECT {_COLUMNS} FROM holdings"  # noqa: S608
            " WHERE player_id = ? AND kind = ? ORDER BY key LIMIT ?",
            player_id,
            kind,
            limit,
        )
        return [Holding(*row) for row in rows]

    def drop_holdings(self, player_id: str) -> None:
        """Delete the holdings of a player whose ledger has moved to another player."""
        self._db.run("DELETE FROM holdings WHERE player_id = ?", player_id)

    def move(self, kind: Kind, source_id: str, target_id: str) -> int:
        """Give one player's entries to another; return how many."""
        return self._db.run(
            "UPDATE ledger SET player_id = ? WHERE player_id = ? AND kind = ?",
            target_id,
            source_id,
            kind,
        )

    def page(
        self,
        game_id: str | None,
        external_id: str | None = None,
        *,
        after: int = 0,
        limit: int,
        newest: bool = False,
    ) -> list[LedgerEntry]:
        """Return some of the entries.

        Args:
            game_id: The game; `None` for the entries of all games.
            external_id: Only entries of this player of the game, or of this placeholder.
            after: The number of the last entry of the page before.
            limit: How many entries to return at most.
            newest: Return the newest first. Otherwise the oldest come first.
        """
        end, *values = page_end("number", after, limit, newest=newest)
        if game_id is None:
            return _entries(self._db.all(f"{_PAGE} WHERE {end}", *values))
        if external_id is None:
            return _entries(
                self._db.all(f"{_PAGE} WHERE ledger.game_id = ? AND {end}", game_id, *values)
            )
        # One index holds the live players, another the retired ones.
        players = [
            player_id
            for state in ("IS NULL", "IS NOT NULL")
            for (player_id,) in self._db.all(
                "SELECT id FROM players WHERE game_id = ? AND external_id = ?"  # noqa: S608
                f" AND retired_at {state}",
                game_id,
                external_id,
            )
        ]
        places = ", ".join("?" * len(players))
        page = f"{_PAGE} WHERE player_id IN ({places}) AND {end}"
        return _entries(self._db.all(page, *players, *values))

    def _add(self, player_id: str, kind: Kind, key: str, delta: int, now: int) -> tuple[int] | None:
        row: tuple[int] | None = self._db.one(
            "INSERT INTO holdings (player_id, kind, key, amount, metadata, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, '{}', ?, ?) ON CONFLICT (player_id, kind, key) DO UPDATE"
            " SET amount = amount + excluded.amount, updated_at = excluded.updated_at"
            " RETURNING amount",
            player_id,
            kind,
            key,
            delta,
            now,
            now,
        )
        return row

    def _take(
        self, player_id: str, kind: Kind, key: str, delta: int, now: int
    ) -> tuple[int] | None:
        row: tuple[int] | None = self._db.one(
            "UPDATE holdings SET amount = amount + ?, updated_at = ?"
            " WHERE player_id = ? AND kind = ? AND key = ? RETURNING amount",
            delta,
            now,
            player_id,
            kind,
            key,
        )
        return row


def _entries(rows: Iterable[tuple[Any, ...]]) -> list[LedgerEntry]:
    names = [field.name for field in attrs.fields(LedgerEntry)]
    entries: list[LedgerEntry] = []
    for row in rows:
        members = dict(zip(names, row, strict=True))
        members["at"] = moment(members["at"])
        entries.append(LedgerEntry(**members))
    return entries
