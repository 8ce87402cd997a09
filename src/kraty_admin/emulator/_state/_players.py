"""Players, including those that were erased or merged."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from ._database import Database

__all__ = ["NewPlayer", "Player", "Players"]


class NewPlayer(NamedTuple):
    """A player to create."""

    id: str
    game_id: str
    external_id: str
    created_at: int
    updated_at: int
    seen_at: int
    context: str | None = None
    """The context snapshot as JSON."""


class Player(NamedTuple):
    """A row of the table."""

    id: str
    external_id: str
    """The studio's id, or a placeholder once the player is retired."""
    created_at: int
    updated_at: int
    seen_at: int
    context: str | None
    """The context snapshot as JSON."""
    banned_at: int | None
    retired_at: int | None
    """When the player was erased or merged."""
    merged_into: str | None
    """The id of the player that a merged player was merged into."""


_COLUMNS: Final = ", ".join(Player._fields)


class Players:
    """The table of players."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def find(self, game_id: str, external_id: str) -> Player | None:
        """Return the live player with this id."""
        row = self._db.one(
            f"SELECT {_COLUMNS} FROM players"  # noqa: S608
            " WHERE game_id = ? AND external_id = ? AND retired_at IS NULL",
            game_id,
            external_id,
        )
        return None if row is None else Player(*row)

    def former(self, game_id: str, external_id: str) -> Player | None:
        """Return the player who had this id last and was erased or merged."""
        row = self._db.one(
            f"SELECT {_COLUMNS} FROM players WHERE game_id = ? AND former_hash = ?"  # noqa: S608
            " AND retired_at IS NOT NULL ORDER BY rowid DESC LIMIT 1",
            game_id,
            _id_hash(external_id),
        )
        return None if row is None else Player(*row)

    def page(self, game_id: str, prefix: str = "", *, after: str = "", limit: int) -> list[Player]:
        """Return some of the game's live players, in the order of their ids.

        Args:
            prefix: Only players whose external id begins with this.
            after: The external id of the last player of the page before.
            limit: How many players to return at most.
        """
        # SQLite searches an index with only one lower bound, so it gets the higher one.
        compare, low = (">", after) if after >= prefix else (">=", prefix)
        rows = self._db.all(
            f"SELECT {_COLUMNS} FROM players WHERE game_id = ? AND retired_at IS NULL"  # noqa: S608
            # No text contains the byte FF, so all ids with the prefix are one range of the index.
            f" AND external_id {compare} ? AND external_id < ? || CAST(x'FF' AS TEXT)"
            " ORDER BY external_id LIMIT ?",
            game_id,
            low,
            prefix,
            limit,
        )
        return [Player(*row) for row in rows]

    def see(self, game_id: str, external_id: str, now: int) -> Player | None:
        """Record that the live player with this id was seen; return the player, if any."""
        row = self._db.one(
            "UPDATE players SET seen_at = ?"  # noqa: S608
            " WHERE game_id = ? AND external_id = ? AND retired_at IS NULL"
            f" RETURNING {_COLUMNS}",
            now,
            game_id,
            external_id,
        )
        return None if row is None else Player(*row)

    def add(self, player_id: str, game_id: str, external_id: str, now: int) -> Player:
        """Create a player."""
        self.add_all([NewPlayer(player_id, game_id, external_id, now, now, now)])
        return Player(player_id, external_id, now, now, now, None, None, None, None)

    def ids(self, game_id: str, external_ids: Collection[str]) -> dict[str, str]:
        """Return the ids of the live players among these, by external id."""
        return dict(
            self._db.among(
                "SELECT external_id, id FROM players WHERE game_id = ? AND retired_at IS NULL"
                " AND external_id IN",
                game_id,
                values=external_ids,
            )
        )

    def add_all(self, players: Iterable[NewPlayer]) -> None:
        """Create players."""
        self._db.run_many(
            "INSERT INTO players (id, game_id, external_id, created_at, updated_at, seen_at,"
            " context) VALUES (?, ?, ?, ?, ?, ?, ?)",
            players,
        )

    def see_all(self, player_ids: Iterable[str], now: int) -> None:
        """Record that players were seen."""
        self._db.run_many(
            "UPDATE players SET seen_at = ? WHERE id = ?",
            [(now, player_id) for player_id in player_ids],
        )

    def set_context(self, player_id: str, context: str | None, now: int) -> None:
        """Store a context snapshot, as JSON."""
        self._db.run(
            "UPDATE players SET context = ?, updated_at = ? WHERE id = ?", context, now, player_id
        )

    def set_ban(self, player_id: str, banned_at: int | None, reason: str | None, now: int) -> None:
        """Ban the player, or lift the ban with `None`."""
        self._db.run(
            "UPDATE players SET banned_at = ?, ban_reason = ?, updated_at = ? WHERE id = ?",
            banned_at,
            reason,
            now,
            player_id,
        )

    def retire(
        self,
        player: Player,
        placeholder: str,
        now: int,
        *,
        merged_into: str | None = None,
        deletion_reason: str | None = None,
    ) -> None:
        """Make the row anonymous and free its external id."""
        self._db.run(
            "UPDATE players SET external_id = ?, former_hash = ?, retired_at = ?,"
            " merged_into = ?, deletion_reason = ?, updated_at = ?,"
            " context = NULL, banned_at = NULL, ban_reason = NULL WHERE id = ?",
            placeholder,
            _id_hash(player.external_id),
            now,
            merged_into,
            deletion_reason,
            now,
            player.id,
        )


def _id_hash(external_id: str) -> str:
    # The hash recognises a former id without keeping it.
    return hashlib.sha256(external_id.encode()).hexdigest()
