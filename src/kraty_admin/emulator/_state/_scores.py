"""Scores on leaderboards."""

from __future__ import annotations

from ._database import Database

__all__ = ["Scores"]


class Scores:
    """The table of scores: a player has one on each segment of a leaderboard."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def raise_to(
        self, game_id: str, leaderboard: str, segment: str, player_id: str, score: float
    ) -> float:
        """Record a score, unless the player has a higher one; return the player's score."""
        best: float = self._db.one(
            "INSERT INTO scores (game_id, leaderboard_key, segment, player_id, score)"
            " VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (game_id, leaderboard_key, segment, player_id)"
            " DO UPDATE SET score = max(score, excluded.score) RETURNING score",
            game_id,
            leaderboard,
            segment,
            player_id,
            score,
        )[0]
        return best

    def count_above(self, game_id: str, leaderboard: str, segment: str, score: float) -> int:
        """Return how many players have a higher score."""
        count: int = self._db.one(
            "SELECT COUNT(*) FROM scores"
            " WHERE game_id = ? AND leaderboard_key = ? AND segment = ? AND score > ?",
            game_id,
            leaderboard,
            segment,
            score,
        )[0]
        return count

    def drop(self, player_id: str) -> int:
        """Delete a player's scores; return how many there were."""
        return self._db.run("DELETE FROM scores WHERE player_id = ?", player_id)
