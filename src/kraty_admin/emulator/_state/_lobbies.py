"""Lobbies and their players."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ._database import Database
from ._paging import page_end

__all__ = ["Lobbies", "Lobby"]


class Lobby(NamedTuple):
    """A row of the table."""

    id: str
    game_id: str
    event_key: str
    external_key: str
    """The key under which it was pushed."""
    leaderboard_id: str
    mode: str
    capacity: int
    bot_slots: int
    metadata: str | None
    """A JSON object."""
    created_at: int
    ends_at: int


_COLUMNS: Final = ", ".join(f"lobbies.{name}" for name in Lobby._fields)


class Lobbies:
    """The tables of lobbies and of their players."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, lobby: Lobby, player_ids: Iterable[str]) -> None:
        """Create a lobby with these players."""
        self._db.insert("lobbies", lobby._asdict())
        self._db.run_many(
            "INSERT INTO participants (lobby_id, player_id) VALUES (?, ?)",
            [(lobby.id, player_id) for player_id in player_ids],
        )

    def find(self, game_id: str, lobby_id: str) -> Lobby | None:
        """Return the game's lobby with this id."""
        return self._find("game_id = ? AND id = ?", game_id, lobby_id)

    def find_by_key(self, game_id: str, event_key: str, key: str) -> Lobby | None:
        """Return the event's lobby that was pushed under this key."""
        return self._find(
            "game_id = ? AND event_key = ? AND external_key = ?", game_id, event_key, key
        )

    def of_player(self, player_id: str, limit: int) -> list[Lobby]:
        """Return the player's newest lobbies, newest first."""
        rows = self._db.all(
            f"SELECT {_COLUMNS} FROM participants JOIN lobbies ON lobbies.id = lobby_id"  # noqa: S608
            " WHERE player_id = ? ORDER BY number DESC LIMIT ?",
            player_id,
            limit,
        )
        return [Lobby(*row) for row in rows]

    def page(self, *, after: int = 0, limit: int) -> list[tuple[int, Lobby]]:
        """Return some lobbies of all games with their numbers, newest first.

        Args:
            after: The number of the last lobby of the page before.
            limit: How many lobbies to return at most.
        """
        end, *values = page_end("number", after, limit, newest=True)
        rows = self._db.all(f"SELECT number, {_COLUMNS} FROM lobbies WHERE {end}", *values)  # noqa: S608
        return [(number, Lobby(*row)) for number, *row in rows]

    def players(self, lobby_id: str, limit: int) -> list[str]:
        """Return the external ids of some players of a lobby."""
        rows = self._db.all(
            "SELECT external_id FROM participants JOIN players ON players.id = player_id"
            " WHERE lobby_id = ? LIMIT ?",
            lobby_id,
            limit,
        )
        return [external_id for (external_id,) in rows]

    def count_of_player(self, player_id: str) -> int:
        """Return how many lobbies the player is or was in."""
        return self._count("player_id", player_id)

    def count_players(self, lobby_id: str) -> int:
        """Return how many players a lobby has."""
        return self._count("lobby_id", lobby_id)

    def move(self, source_id: str, target_id: str) -> int:
        """Put one player in another's place; return in how many lobbies."""
        self._db.run(
            "INSERT OR IGNORE INTO participants (lobby_id, player_id)"
            " SELECT lobby_id, ? FROM participants WHERE player_id = ?",
            target_id,
            source_id,
        )
        return self._db.run("DELETE FROM participants WHERE player_id = ?", source_id)

    def _find(self, condition: str, *values: str) -> Lobby | None:
        row = self._db.one(f"SELECT {_COLUMNS} FROM lobbies WHERE {condition}", *values)  # noqa: S608
        return None if row is None else Lobby(*row)

    def _count(self, column: str, value: str) -> int:
        number: int = self._db.one(
            f"SELECT COUNT(*) FROM participants WHERE {column} = ?",  # noqa: S608
            value,
        )[0]
        return number
