"""What the emulator remembers, in SQLite.

One connection serves everyone, one transaction at a time. All that a call changes,
the idempotency key with it, commits at once: a process that is killed has either
done the whole call or none of it. A file is in WAL mode with `synchronous=NORMAL`:
what was committed has been handed to the operating system, so it outlives the
process, though not a power cut, which no test needs.

This module knows rows and no rules. Times are milliseconds since the epoch.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, Final, Literal

import attrs

__all__ = [
    "Delivery",
    "DeliveryAttempt",
    "DeliveryStatus",
    "Due",
    "Kind",
    "LedgerEntry",
    "MergeCounts",
    "State",
]

Kind = Literal["currency", "item"]

_LAYOUT: Final = 2
"""Goes up when the tables change: a file of another layout is refused, not guessed at."""

_SCHEMA: Final = """
CREATE TABLE players (
    id TEXT PRIMARY KEY,
    game_id TEXT NOT NULL,
    external_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    context TEXT,
    banned_at INTEGER,
    ban_reason TEXT,
    -- A retired player is erased or merged. The hash tells that an id was theirs,
    -- without keeping the id.
    retired_at INTEGER,
    former_hash TEXT,
    merged_into TEXT REFERENCES players,
    deletion_reason TEXT
);
CREATE UNIQUE INDEX live_players ON players (game_id, external_id) WHERE retired_at IS NULL;
CREATE INDEX retired_players ON players (game_id, former_hash) WHERE retired_at IS NOT NULL;

CREATE TABLE holdings (
    player_id TEXT NOT NULL REFERENCES players,
    kind TEXT NOT NULL CHECK (kind IN ('currency', 'item')),
    key TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (player_id, kind, key)
) WITHOUT ROWID;

CREATE TABLE ledger (
    number INTEGER PRIMARY KEY,
    player_id TEXT NOT NULL REFERENCES players,
    kind TEXT NOT NULL CHECK (kind IN ('currency', 'item')),
    key TEXT NOT NULL,
    delta INTEGER NOT NULL CHECK (delta <> 0),
    operation TEXT NOT NULL,
    reason TEXT,
    source_ref_id TEXT,
    idempotency_key TEXT,
    parameters TEXT,
    at INTEGER NOT NULL
);
CREATE INDEX ledger_of_player ON ledger (player_id, kind, key);
CREATE TRIGGER ledger_keeps_rows BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
-- A merge moves rows to another player; nothing else about them ever changes.
CREATE TRIGGER ledger_keeps_values
    BEFORE UPDATE OF number, kind, key, delta, operation, reason, source_ref_id,
        idempotency_key, parameters, at ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

CREATE TABLE grants (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    studio_id TEXT NOT NULL,
    game_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    player_id TEXT NOT NULL REFERENCES players,
    kind TEXT NOT NULL,
    entries TEXT NOT NULL,
    source_kind TEXT NOT NULL,
    source_ref_id TEXT,
    metadata TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    claimed_at INTEGER,
    acked_by TEXT,
    UNIQUE (studio_id, game_id, idempotency_key)
);
CREATE INDEX grants_of_player ON grants (player_id);

CREATE TABLE lobbies (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    game_id TEXT NOT NULL,
    event_key TEXT NOT NULL,
    external_key TEXT NOT NULL,
    leaderboard_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    capacity INTEGER NOT NULL,
    bot_slots INTEGER NOT NULL,
    metadata TEXT,
    created_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    UNIQUE (game_id, event_key, external_key)
);
CREATE TABLE participants (
    lobby_id TEXT NOT NULL,
    player_id TEXT NOT NULL REFERENCES players,
    PRIMARY KEY (lobby_id, player_id)
) WITHOUT ROWID;
CREATE INDEX lobbies_of_player ON participants (player_id);

CREATE TABLE answers (
    game_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    data TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (game_id, operation, idempotency_key)
) WITHOUT ROWID;
CREATE INDEX answers_by_age ON answers (expires_at);

CREATE TABLE migrated_rows (
    game_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (game_id, operation, idempotency_key)
) WITHOUT ROWID;

CREATE TABLE endpoints (
    url TEXT PRIMARY KEY,
    secret TEXT NOT NULL,
    -- A JSON array of names; NULL for all.
    events TEXT
) WITHOUT ROWID;
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    studio_id TEXT NOT NULL,
    game_id TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    data TEXT NOT NULL
);
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL REFERENCES events (id),
    url TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    UNIQUE (event_id, url)
);
CREATE INDEX due_deliveries ON deliveries (due_at, number) WHERE status = 'pending';
CREATE TABLE attempts (
    number INTEGER PRIMARY KEY,
    delivery INTEGER NOT NULL REFERENCES deliveries,
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,
    status INTEGER,
    error TEXT
);
CREATE INDEX attempts_of_delivery ON attempts (delivery);
"""


@attrs.frozen(kw_only=True)
class LedgerEntry:
    """A change of a balance or of a holding. Entries are added, never changed."""

    external_player_id: str
    """Whose it is; a placeholder once the player is erased."""
    kind: Kind
    """Which ledger it stands in: that of currencies or that of items."""
    key: str
    """Key of the currency or of the item."""
    delta: int
    """What was added; negative for what was taken away."""
    operation: str
    """What made it, such as `wallet.credit`."""
    reason: str | None
    """The caller's words for why."""
    source_ref_id: str | None
    """The caller's reference for the cause."""
    idempotency_key: str | None
    """The key that it was made under."""


DeliveryStatus = Literal["pending", "delivered", "failed"]


@attrs.frozen(kw_only=True)
class DeliveryAttempt:
    """One time that an event was sent to an endpoint."""

    attempt: int
    """Its `deliveryAttempt`, counted from 1."""
    at: datetime
    """When it was over, by the emulator's clock."""
    status: int | None
    """What the endpoint answered; `None` if no answer came."""
    error: str | None
    """Why it does not count as delivered, where the status does not tell."""


@attrs.frozen(kw_only=True)
class Delivery:
    """An event on its way to an endpoint."""

    event_id: str
    """The envelope's `id`, the same for each attempt."""
    event_name: str
    """Such as `wallet.changed`."""
    data: Mapping[str, Any]
    """The envelope's `data`."""
    url: str
    """The endpoint."""
    status: DeliveryStatus
    """What has become of it; `failed` once it is given up."""
    due_at: datetime
    """When the next attempt is due, or the last one was."""
    attempts: Sequence[DeliveryAttempt]
    """All attempts so far."""


@attrs.frozen(kw_only=True)
class Due:
    """A delivery that is to be tried now."""

    number: int
    url: str
    secret: str
    attempt: int
    """Which one this is, counted from 1."""
    event_id: str
    event_name: str
    studio_id: str
    game_id: str
    occurred_at: int
    data: str
    """As JSON."""


@attrs.frozen(kw_only=True)
class MergeCounts:
    """What a merge moved."""

    grants: int = 0
    lobbies: int = 0
    items: int = 0
    item_ledger_rows: int = 0
    wallets: int = 0
    wallet_ledger_rows: int = 0


class State:
    """The tables, and every statement that touches them."""

    def __init__(self, database: str) -> None:
        """Open the database; `:memory:` keeps it in memory.

        Raises:
            ValueError: The file belongs to another program or another version.
            sqlite3.Error: The file cannot be opened.
        """
        self._lock = threading.RLock()
        # The lock does what the check would: one thread at a time.
        self._db = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        try:
            self._db.row_factory = sqlite3.Row
            is_new = self._is_new(database)
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            # Where this is on, a reset would write zeros over all that was there.
            self._db.execute("PRAGMA secure_delete = OFF")
            if is_new:
                with self.transaction():
                    self._create()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the database. A second time does nothing."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """All of the block, or none of it."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def savepoint(self) -> Generator[None, None, None]:
        """All of the block, or none of it, within a transaction."""
        self._db.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK TO part")
            raise
        finally:
            self._db.execute("RELEASE part")

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            # Dropping the tables, since the ledger lets no row be deleted, and without
            # looking in each row for references that are dropped as well.
            self._db.execute("PRAGMA foreign_keys = OFF")
            try:
                with self.transaction():
                    for row in self._all("SELECT name FROM sqlite_master WHERE type = 'table'"):
                        self._db.execute(f'DROP TABLE "{row["name"]}"')
                    self._create()
            finally:
                self._db.execute("PRAGMA foreign_keys = ON")

    # --- players -----------------------------------------------------------

    def player(self, game_id: str, external_id: str) -> sqlite3.Row | None:
        """The live player with this id."""
        return self._one(
            "SELECT * FROM players WHERE game_id = ? AND external_id = ? AND retired_at IS NULL",
            game_id,
            external_id,
        )

    def former_player(self, game_id: str, external_id: str) -> sqlite3.Row | None:
        """The player who had this id last and was erased or merged."""
        return self._one(
            "SELECT * FROM players WHERE game_id = ? AND former_hash = ?"
            " AND retired_at IS NOT NULL ORDER BY rowid DESC LIMIT 1",
            game_id,
            _id_hash(external_id),
        )

    def add_player(self, player_id: str, game_id: str, external_id: str, now: int) -> None:
        self._db.execute(
            "INSERT INTO players (id, game_id, external_id, created_at, updated_at, seen_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (player_id, game_id, external_id, now, now, now),
        )

    def see_player(self, player_id: str, now: int) -> None:
        self._db.execute("UPDATE players SET seen_at = ? WHERE id = ?", (now, player_id))

    def set_context(self, player_id: str, context: Mapping[str, Any], now: int) -> None:
        self._db.execute(
            "UPDATE players SET context = ?, updated_at = ? WHERE id = ?",
            (_pack(context), now, player_id),
        )

    def set_ban(self, player_id: str, banned_at: int | None, reason: str | None, now: int) -> None:
        self._db.execute(
            "UPDATE players SET banned_at = ?, ban_reason = ?, updated_at = ? WHERE id = ?",
            (banned_at, reason, now, player_id),
        )

    def retire_player(
        self,
        player: sqlite3.Row,
        placeholder: str,
        now: int,
        *,
        merged_into: str | None = None,
        deletion_reason: str | None = None,
    ) -> None:
        """Make the row anonymous, and its id free."""
        self._db.execute(
            "UPDATE players SET external_id = ?, former_hash = ?, retired_at = ?,"
            " merged_into = ?, deletion_reason = ?, updated_at = ?,"
            " context = NULL, banned_at = NULL, ban_reason = NULL WHERE id = ?",
            (
                placeholder,
                _id_hash(player["external_id"]),
                now,
                merged_into,
                deletion_reason,
                now,
                player["id"],
            ),
        )

    # --- ledgers -----------------------------------------------------------

    def amount(self, player_id: str, kind: Kind, key: str) -> int:
        """How much of it the player has."""
        row = self._one(
            "SELECT amount FROM holdings WHERE player_id = ? AND kind = ? AND key = ?",
            player_id,
            kind,
            key,
        )
        return 0 if row is None else row["amount"]

    def post(
        self,
        player_id: str,
        kind: Kind,
        key: str,
        delta: int,
        now: int,
        *,
        operation: str,
        reason: str | None = None,
        source_ref_id: str | None = None,
        idempotency_key: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a row to the ledger, and its amount to the holding."""
        self._db.execute(
            "INSERT INTO ledger (player_id, kind, key, delta, operation, reason,"
            " source_ref_id, idempotency_key, parameters, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                player_id,
                kind,
                key,
                delta,
                operation,
                reason,
                source_ref_id,
                idempotency_key,
                None if parameters is None else _pack(parameters),
                now,
            ),
        )
        self._hold(player_id, kind, key, delta, parameters or {}, now)

    def holdings(self, player_id: str, kind: Kind, limit: int = -1) -> list[dict[str, Any]]:
        """What the player has, in the order of its keys."""
        return [
            {**row, "metadata": json.loads(row["metadata"])}
            for row in self._all(
                "SELECT key, amount, metadata, created_at, updated_at FROM holdings"
                " WHERE player_id = ? AND kind = ? ORDER BY key LIMIT ?",
                player_id,
                kind,
                limit,
            )
        ]

    def ledger(self, game_id: str, external_id: str | None = None) -> list[LedgerEntry]:
        """The game's ledger rows, oldest first; those of one player if asked for."""
        return [
            LedgerEntry(**row)
            for row in self._all(
                "SELECT external_id AS external_player_id, kind, key, delta, operation,"
                " reason, source_ref_id, idempotency_key"
                " FROM ledger JOIN players ON players.id = player_id"
                " WHERE game_id = :game AND (:player IS NULL OR external_id = :player)"
                " ORDER BY number",
                game=game_id,
                player=external_id,
            )
        ]

    def merge_player(self, source_id: str, target_id: str, now: int) -> MergeCounts:
        """Move all that the source has to the target."""
        wallets = self.holdings(source_id, "currency")
        items = self.holdings(source_id, "item")
        kinds: tuple[tuple[Kind, list[dict[str, Any]]], ...] = (
            ("currency", wallets),
            ("item", items),
        )
        for kind, rows in kinds:
            for row in rows:
                self._hold(target_id, kind, row["key"], row["amount"], row["metadata"], now)
        self._db.execute("DELETE FROM holdings WHERE player_id = ?", (source_id,))
        self._db.execute(
            "UPDATE players SET updated_at = ?, context ="
            " COALESCE(context, (SELECT context FROM players WHERE id = ?)) WHERE id = ?",
            (now, source_id, target_id),
        )
        move = (target_id, source_id)
        self._db.execute(
            "INSERT OR IGNORE INTO participants (lobby_id, player_id)"
            " SELECT lobby_id, ? FROM participants WHERE player_id = ?",
            move,
        )
        return MergeCounts(
            lobbies=self._change("DELETE FROM participants WHERE player_id = ?", source_id),
            grants=self._change("UPDATE grants SET player_id = ? WHERE player_id = ?", *move),
            items=len(items),
            wallets=len(wallets),
            item_ledger_rows=self._move_ledger("item", *move),
            wallet_ledger_rows=self._move_ledger("currency", *move),
        )

    # --- grants ------------------------------------------------------------

    def add_grant(self, **columns: Any) -> None:
        self._insert("grants", {**columns, "entries": _pack(columns["entries"])})

    def grant(self, grant_id: str) -> dict[str, Any] | None:
        return _grant(self._one("SELECT * FROM grants WHERE id = ?", grant_id))

    def grant_by_key(
        self, studio_id: str, game_id: str, idempotency_key: str
    ) -> dict[str, Any] | None:
        return _grant(
            self._one(
                "SELECT * FROM grants WHERE studio_id = ? AND game_id = ? AND idempotency_key = ?",
                studio_id,
                game_id,
                idempotency_key,
            )
        )

    def grants(self, player_id: str, limit: int) -> list[dict[str, Any]]:
        """The player's newest grants, newest first."""
        rows = self._all(
            "SELECT * FROM grants WHERE player_id = ? ORDER BY number DESC LIMIT ?",
            player_id,
            limit,
        )
        return [grant for row in rows if (grant := _grant(row)) is not None]

    def claim_grant(self, grant_id: str, acked_by: str, now: int) -> None:
        self._db.execute(
            "UPDATE grants SET claimed_at = ?, acked_by = ? WHERE id = ?",
            (now, acked_by, grant_id),
        )

    # --- lobbies -----------------------------------------------------------

    def add_lobby(self, player_ids: list[str], **columns: Any) -> None:
        self._insert("lobbies", columns)
        self._db.executemany(
            "INSERT INTO participants (lobby_id, player_id) VALUES (?, ?)",
            [(columns["id"], player_id) for player_id in player_ids],
        )

    def lobby(self, game_id: str, lobby_id: str) -> sqlite3.Row | None:
        return self._one(f"{_LOBBIES} WHERE game_id = ? AND lobbies.id = ?", game_id, lobby_id)

    def lobby_by_key(self, game_id: str, event_key: str, key: str) -> sqlite3.Row | None:
        return self._one(
            f"{_LOBBIES} WHERE game_id = ? AND event_key = ? AND external_key = ?",
            game_id,
            event_key,
            key,
        )

    def lobbies(self, player_id: str, limit: int = -1) -> list[sqlite3.Row]:
        """The player's newest lobbies, newest first."""
        return self._all(
            f"{_LOBBIES} JOIN participants ON lobby_id = lobbies.id"
            " WHERE player_id = ? ORDER BY number DESC LIMIT ?",
            player_id,
            limit,
        )

    def count(self, table: Literal["grants", "participants"], player_id: str) -> int:
        """How many rows of a table are the player's."""
        row = self._one(f"SELECT COUNT(*) AS n FROM {table} WHERE player_id = ?", player_id)  # noqa: S608
        return 0 if row is None else row["n"]

    # --- idempotency -------------------------------------------------------

    def answer(
        self, game_id: str, operation: str, idempotency_key: str, now: int
    ) -> sqlite3.Row | None:
        """What was answered to this key, unless it has been forgotten."""
        return self._one(
            "SELECT * FROM answers WHERE game_id = ? AND operation = ?"
            " AND idempotency_key = ? AND expires_at > ?",
            game_id,
            operation,
            idempotency_key,
            now,
        )

    def remember_answer(self, *, now: int, **columns: Any) -> None:
        self._db.execute("DELETE FROM answers WHERE expires_at <= ?", (now,))
        self._insert("answers", columns)

    def migrated_fingerprint(
        self, game_id: str, operation: str, idempotency_key: str
    ) -> str | None:
        """The fingerprint of the row that was applied under this key."""
        row = self._one(
            "SELECT fingerprint FROM migrated_rows"
            " WHERE game_id = ? AND operation = ? AND idempotency_key = ?",
            game_id,
            operation,
            idempotency_key,
        )
        return None if row is None else row["fingerprint"]

    def remember_migrated(self, **columns: Any) -> None:
        self._insert("migrated_rows", columns)

    # --- webhooks ----------------------------------------------------------

    def set_endpoint(self, url: str, secret: str, events: Sequence[str] | None) -> None:
        """Tell this endpoint of what happens from now on."""
        self._db.execute(
            "INSERT OR REPLACE INTO endpoints (url, secret, events) VALUES (?, ?, ?)",
            (url, secret, None if events is None else _pack(list(events))),
        )

    def add_event(self, **columns: Any) -> None:
        """Record an event, and that each endpoint it concerns has to be told."""
        self._insert("events", columns)
        self._db.execute(
            "INSERT INTO deliveries (event_id, url, status, attempts, due_at)"
            " SELECT :id, url, 'pending', 0, :occurred_at FROM endpoints WHERE events IS NULL"
            " OR EXISTS (SELECT 1 FROM json_each(events) WHERE value = :name) ORDER BY url",
            columns,
        )

    def due_deliveries(self, now: int, limit: int) -> list[Due]:
        """Those that are to be tried now, the one that is due the longest first."""
        return [
            Due(**row)
            for row in self._all(
                "SELECT deliveries.number, url, secret, attempts + 1 AS attempt, event_id,"
                " name AS event_name, studio_id, game_id, occurred_at, data"
                " FROM deliveries JOIN events ON events.id = event_id JOIN endpoints USING (url)"
                " WHERE status = 'pending' AND due_at <= ? ORDER BY due_at, deliveries.number"
                " LIMIT ?",
                now,
                limit,
            )
        ]

    def next_due_after(self, now: int) -> int | None:
        """When the next delivery is due after this moment; `None` for never."""
        row = self._one(
            "SELECT MIN(due_at) AS at FROM deliveries WHERE status = 'pending' AND due_at > ?", now
        )
        return None if row is None else row["at"]

    def add_attempt(
        self,
        delivery: int,
        *,
        attempt: int,
        at: int,
        status: int | None,
        error: str | None,
        becomes: DeliveryStatus,
        due_at: int,
    ) -> None:
        """Record an attempt, and what becomes of the delivery after it."""
        with self.transaction():
            self._insert(
                "attempts",
                {
                    "delivery": delivery,
                    "attempt": attempt,
                    "at": at,
                    "status": status,
                    "error": error,
                },
            )
            self._db.execute(
                "UPDATE deliveries SET status = ?, attempts = ?, due_at = ? WHERE number = ?",
                (becomes, attempt, due_at, delivery),
            )

    def replay(self, event_id: str, now: int) -> int:
        """Have an event delivered once more; returns to how many endpoints."""
        with self.transaction():
            return self._change(
                "UPDATE deliveries SET status = 'pending', due_at = ? WHERE event_id = ?",
                now,
                event_id,
            )

    def deliveries(self) -> list[Delivery]:
        """All deliveries, in the order of their events."""
        attempts: dict[int, list[DeliveryAttempt]] = defaultdict(list)
        with self._lock:
            for row in self._all("SELECT * FROM attempts ORDER BY number"):
                attempts[row["delivery"]].append(
                    DeliveryAttempt(
                        attempt=row["attempt"],
                        at=_moment(row["at"]),
                        status=row["status"],
                        error=row["error"],
                    )
                )
            rows = self._all(
                "SELECT deliveries.number, event_id, name, data, url, status, due_at"
                " FROM deliveries JOIN events ON events.id = event_id ORDER BY deliveries.number"
            )
        return [
            Delivery(
                event_id=row["event_id"],
                event_name=row["name"],
                data=json.loads(row["data"]),
                url=row["url"],
                status=row["status"],
                due_at=_moment(row["due_at"]),
                attempts=attempts[row["number"]],
            )
            for row in rows
        ]

    # --- plumbing ----------------------------------------------------------

    def _is_new(self, database: str) -> bool:
        # Nothing is written to a file before it is known to be ours.
        layout = self._db.execute("PRAGMA user_version").fetchone()[0]
        is_empty = not self._all("SELECT name FROM sqlite_master LIMIT 1")
        if layout != (0 if is_empty else _LAYOUT):
            raise ValueError(f"{database} is not a database of this version of the emulator")
        return is_empty

    def _create(self) -> None:
        # Not `executescript`, which commits first.
        for statement in _statements(_SCHEMA):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version = {_LAYOUT}")

    def _hold(
        self,
        player_id: str,
        kind: Kind,
        key: str,
        delta: int,
        metadata: Mapping[str, Any],
        now: int,
    ) -> None:
        row = self._one(
            "SELECT metadata FROM holdings WHERE player_id = ? AND kind = ? AND key = ?",
            player_id,
            kind,
            key,
        )
        if row is None:
            self._db.execute(
                "INSERT INTO holdings (player_id, kind, key, amount, metadata, created_at,"
                " updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (player_id, kind, key, delta, _pack(metadata), now, now),
            )
        else:
            self._db.execute(
                "UPDATE holdings SET amount = amount + ?, metadata = ?, updated_at = ?"
                " WHERE player_id = ? AND kind = ? AND key = ?",
                (
                    delta,
                    _pack({**json.loads(row["metadata"]), **metadata}),
                    now,
                    player_id,
                    kind,
                    key,
                ),
            )

    def _move_ledger(self, kind: Kind, target_id: str, source_id: str) -> int:
        return self._change(
            "UPDATE ledger SET player_id = ? WHERE player_id = ? AND kind = ?",
            target_id,
            source_id,
            kind,
        )

    def _insert(self, table: str, columns: Mapping[str, Any]) -> None:
        names = ", ".join(columns)
        places = ", ".join("?" * len(columns))
        self._db.execute(
            f"INSERT INTO {table} ({names}) VALUES ({places})",  # noqa: S608
            tuple(columns.values()),
        )

    def _change(self, sql: str, *parameters: Any) -> int:
        return self._db.execute(sql, parameters).rowcount

    def _one(self, sql: str, *parameters: Any) -> sqlite3.Row | None:
        with self._lock:
            row: sqlite3.Row | None = self._db.execute(sql, parameters).fetchone()
            return row

    def _all(self, sql: str, *parameters: Any, **named: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, named or parameters).fetchall()


_LOBBIES: Final = (
    "SELECT lobbies.*, (SELECT COUNT(*) FROM participants WHERE lobby_id = lobbies.id)"
    " AS players FROM lobbies"
)


def _grant(row: sqlite3.Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {**row, "entries": json.loads(row["entries"])}


def _id_hash(external_id: str) -> str:
    return hashlib.sha256(external_id.encode()).hexdigest()


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def _pack(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
