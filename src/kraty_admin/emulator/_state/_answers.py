"""Idempotency keys: the answers of calls, and the rows that were imported."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from ._database import Database

__all__ = ["Answers", "KeyedAnswer"]

_SWEEP_EVERY: Final = 1000
"""Expired answers are deleted once for this many new ones."""


class KeyedAnswer(NamedTuple):
    """The first answer to a key."""

    fingerprint: str
    """Hash of the request."""
    status: int
    data: str
    """The result, as JSON."""


class Answers:
    """The tables of idempotency keys. A key belongs to a game and an operation."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._added = 0

    def find(self, game_id: str, operation: str, key: str, now: int) -> KeyedAnswer | None:
        """Return the first answer to this key, unless the key has expired."""
        row = self._db.one(
            "SELECT fingerprint, status, data FROM answers WHERE game_id = ? AND operation = ?"
            " AND idempotency_key = ? AND expires_at > ?",
            game_id,
            operation,
            key,
            now,
        )
        return None if row is None else KeyedAnswer(*row)

    def add(
        self,
        game_id: str,
        operation: str,
        key: str,
        answer: KeyedAnswer,
        *,
        now: int,
        expires_at: int,
    ) -> None:
        """Remember an answer, and replace one that has expired."""
        self._db.run(
            "INSERT OR REPLACE INTO answers (game_id, operation, idempotency_key, fingerprint,"
            " status, data, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            game_id,
            operation,
            key,
            answer.fingerprint,
            answer.status,
            answer.data,
            expires_at,
        )
        self._added += 1
        if self._added % _SWEEP_EVERY == 0:
            self._db.run("DELETE FROM answers WHERE expires_at <= ?", now)

    def migrated(
        self, game_id: str, operation: str, keys: Collection[str], now: int
    ) -> dict[str, str]:
        """Return the fingerprints of rows that were imported under keys that have not expired."""
        return dict(
            self._db.among(
                "SELECT idempotency_key, fingerprint FROM migrated_rows"
                " WHERE game_id = ? AND operation = ? AND expires_at > ? AND idempotency_key IN",
                game_id,
                operation,
                now,
                values=keys,
            )
        )

    def add_migrated(
        self, game_id: str, operation: str, rows: Mapping[str, str], expires_at: int
    ) -> None:
        """Remember imported rows: the fingerprint of each, by its key."""
        self._db.run_many(
            "INSERT OR REPLACE INTO migrated_rows (game_id, operation, idempotency_key,"
            " fingerprint, expires_at) VALUES (?, ?, ?, ?, ?)",
            [
                (game_id, operation, key, print_of_row, expires_at)
                for key, print_of_row in rows.items()
            ],
        )
