"""Players' attempts at events."""

from __future__ import annotations

from typing import Final, NamedTuple

from ._database import Database

__all__ = ["Attempt", "Attempts"]


class Attempt(NamedTuple):
    """A row of the table."""

    id: str
    event_key: str
    player_id: str
    started_at: int
    ends_at: int
    completed_at: int | None
    metrics: str
    """A JSON object of numbers."""


_COLUMNS: Final = ", ".join(Attempt._fields)


class Attempts:
    """The table of attempts."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, attempt: Attempt) -> None:
        """Create an attempt."""
        self._db.insert("event_attempts", attempt._asdict())

    def find(self, player_id: str, event_key: str, attempt_id: str) -> Attempt | None:
        """Return the player's attempt at the event with this id."""
        row = self._db.one(
            f"SELECT {_COLUMNS} FROM event_attempts"  # noqa: S608
            " WHERE id = ? AND player_id = ? AND event_key = ?",
            attempt_id,
            player_id,
            event_key,
        )
        return None if row is None else Attempt(*row)

    def of_player(self, player_id: str, limit: int) -> list[Attempt]:
        """Return the player's newest attempts, newest first."""
        rows = self._db.all(
            f"SELECT {_COLUMNS} FROM event_attempts"  # noqa: S608
            " WHERE player_id = ? ORDER BY number DESC LIMIT ?",
            player_id,
            limit,
        )
        return [Attempt(*row) for row in rows]

    def count(self, player_id: str) -> int:
        """Return how many attempts the player has."""
        number: int = self._db.one(
            "SELECT COUNT(*) FROM event_attempts WHERE player_id = ?", player_id
        )[0]
        return number

    def set_metrics(self, attempt_id: str, metrics: str) -> None:
        """Replace the metrics, as a JSON object."""
        self._db.run("UPDATE event_attempts SET metrics = ? WHERE id = ?", metrics, attempt_id)

    def complete(self, attempt_id: str, now: int) -> None:
        """Record that the attempt was finished."""
        self._db.run("UPDATE event_attempts SET completed_at = ? WHERE id = ?", now, attempt_id)

    def move(self, source_id: str, target_id: str) -> int:
        """Give one player's attempts to another; return how many."""
        return self._db.run(
            "UPDATE event_attempts SET player_id = ? WHERE player_id = ?", target_id, source_id
        )
