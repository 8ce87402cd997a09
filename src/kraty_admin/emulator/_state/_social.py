"""Identities, friends, friend requests and blocks of players."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from ._database import Database

__all__ = ["Identity", "Other", "Social"]


class Identity(NamedTuple):
    """The name and the avatar that are shown for a player."""

    name: str
    avatar: str | None


class Other(NamedTuple):
    """Another player, and since when the relation between the two exists."""

    external_id: str
    seen_at: int
    name: str | None
    """`None` if the player has no identity."""
    avatar: str | None
    since: int
    request_id: str | None = None
    """The id of a friend request."""


_OTHER: Final = "external_id, seen_at, name, avatar"


class Social:
    """The tables of identities and of relations between players."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def identity(self, player_id: str) -> Identity | None:
        """Return the player's identity."""
        row = self._db.one("SELECT name, avatar FROM identities WHERE player_id = ?", player_id)
        return None if row is None else Identity(*row)

    def set_identity(self, player_id: str, identity: Identity) -> None:
        """Replace the player's identity."""
        self._db.run(
            "INSERT OR REPLACE INTO identities (player_id, name, avatar) VALUES (?, ?, ?)",
            player_id,
            *identity,
        )

    def befriend(self, player_id: str, other_id: str, now: int) -> None:
        """Make two players friends, and delete the friend requests between them."""
        self._db.run_many(
            "INSERT OR IGNORE INTO friendships (player_id, friend_id, since) VALUES (?, ?, ?)",
            [(player_id, other_id, now), (other_id, player_id, now)],
        )
        self._db.run_many(
            "DELETE FROM friend_requests WHERE sender_id = ? AND receiver_id = ?",
            [(player_id, other_id), (other_id, player_id)],
        )

    def ask(self, request_id: str, sender_id: str, receiver_id: str, now: int) -> None:
        """Record a friend request."""
        self._db.run(
            "INSERT INTO friend_requests (id, sender_id, receiver_id, created_at)"
            " VALUES (?, ?, ?, ?)",
            request_id,
            sender_id,
            receiver_id,
            now,
        )

    def block(self, player_id: str, other_id: str, now: int) -> None:
        """Record that a player has blocked another."""
        self._db.run(
            "INSERT OR IGNORE INTO blocks (player_id, blocked_id, since) VALUES (?, ?, ?)",
            player_id,
            other_id,
            now,
        )

    def friends(self, player_id: str) -> list[Other]:
        """Return the player's friends, the oldest friendship first."""
        return self._others("friendships", "friend_id", player_id)

    def blocked(self, player_id: str) -> list[Other]:
        """Return the players that the player has blocked, the oldest block first."""
        return self._others("blocks", "blocked_id", player_id)

    def requests(self, player_id: str, direction: Literal["incoming", "outgoing"]) -> list[Other]:
        """Return the player's friend requests, the oldest first."""
        mine, theirs = (
            ("receiver_id", "sender_id")
            if direction == "incoming"
            else ("sender_id", "receiver_id")
        )
        rows = self._db.all(
            f"SELECT {_OTHER}, friend_requests.created_at, friend_requests.id"  # noqa: S608
            f" FROM friend_requests JOIN players ON players.id = {theirs}"
            f" LEFT JOIN identities ON identities.player_id = {theirs}"
            f" WHERE {mine} = ? AND retired_at IS NULL ORDER BY number",
            player_id,
        )
        return [Other(*row) for row in rows]

    def forget(self, player_id: str) -> None:
        """Delete a player's identity, friendships, friend requests and blocks."""
        for table, columns in (
            ("identities", ["player_id"]),
            ("friendships", ["player_id", "friend_id"]),
            ("friend_requests", ["sender_id", "receiver_id"]),
            ("blocks", ["player_id", "blocked_id"]),
        ):
            for column in columns:
                self._db.run(f"DELETE FROM {table} WHERE {column} = ?", player_id)  # noqa: S608

    def _others(self, table: str, column: str, player_id: str) -> list[Other]:
        rows = self._db.all(
            f"SELECT {_OTHER}, since FROM {table} JOIN players ON players.id = {column}"  # noqa: S608
            f" LEFT JOIN identities ON identities.player_id = {column}"
            f" WHERE {table}.player_id = ? ORDER BY since, external_id",
            player_id,
        )
        return [Other(*row) for row in rows]
