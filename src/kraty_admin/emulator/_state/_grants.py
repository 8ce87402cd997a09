"""Grants. Their idempotency keys are kept permanently."""

from __future__ import annotations

from typing import Final, NamedTuple

from ._database import Database
from ._paging import page_end

__all__ = ["Grant", "Grants"]


class Grant(NamedTuple):
    """A row of the table."""

    id: str
    studio_id: str
    game_id: str
    idempotency_key: str
    fingerprint: str
    """Hash of the request that created it."""
    player_id: str
    kind: str
    entries: str
    """A JSON array."""
    source_kind: str
    source_ref_id: str | None
    metadata: str | None
    """A JSON object."""
    created_at: int
    expires_at: int | None
    claimed_at: int | None = None
    acked_by: str | None = None


_COLUMNS: Final = ", ".join(Grant._fields)


class Grants:
    """The table of grants."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, grant: Grant) -> None:
        """Create a grant."""
        self._db.insert("grants", grant._asdict())

    def find(self, grant_id: str) -> Grant | None:
        """Return the grant with this id."""
        return self._find("id = ?", grant_id)

    def find_by_key(self, studio_id: str, game_id: str, idempotency_key: str) -> Grant | None:
        """Return the grant that was created under this key."""
        return self._find(
            "studio_id = ? AND game_id = ? AND idempotency_key = ?",
            studio_id,
            game_id,
            idempotency_key,
        )

    def of_player(self, player_id: str, limit: int) -> list[Grant]:
        """Return the player's newest grants, newest first."""
        rows = self._db.all(
            f"SELECT {_COLUMNS} FROM grants"  # noqa: S608
            " WHERE player_id = ? ORDER BY number DESC LIMIT ?",
            player_id,
            limit,
        )
        return [Grant(*row) for row in rows]

    def page(self, *, after: int = 0, limit: int) -> list[tuple[int, str, Grant]]:
        """Return some grants of all games, newest first: number, player's external id, grant.

        Args:
            after: The number of the last grant of the page before.
            limit: How many grants to return at most.
        """
        end, *values = page_end("number", after, limit, newest=True)
        columns = ", ".join(f"grants.{name}" for name in Grant._fields)
        rows = self._db.all(
            f"SELECT number, external_id, {columns} FROM grants"  # noqa: S608
            f" JOIN players ON players.id = player_id WHERE {end}",
            *values,
        )
        return [(number, external_id, Grant(*row)) for number, external_id, *row in rows]

    def count(self, player_id: str) -> int:
        """Return how many grants the player has."""
        number: int = self._db.one("SELECT COUNT(*) FROM grants WHERE player_id = ?", player_id)[0]
        return number

    def claim(self, grant_id: str, acked_by: str, now: int) -> None:
        """Record the claim."""
        self._db.run(
            "UPDATE grants SET claimed_at = ?, acked_by = ? WHERE id = ?", now, acked_by, grant_id
        )

    def move(self, source_id: str, target_id: str) -> int:
        """Give one player's grants to another; return how many."""
        return self._db.run(
            "UPDATE grants SET player_id = ? WHERE player_id = ?", target_id, source_id
        )

    def _find(self, condition: str, *values: str) -> Grant | None:
        row = self._db.one(f"SELECT {_COLUMNS} FROM grants WHERE {condition}", *values)  # noqa: S608
        return None if row is None else Grant(*row)
