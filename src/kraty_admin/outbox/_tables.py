"""The tables of the outbox and the inbox."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

__all__ = ["TABLES", "VERSION", "Tables"]

VERSION: Final = 1
"""The version of the tables that this code reads and writes."""

# The platform's ids and keys have no documented limit, so neither do these columns.
_TEXT: Final = sa.Text
# SQLite numbers rows by itself only in a column of type INTEGER.
_NUMBER: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")
# Milliseconds since the epoch, by the database's clock.
_TIME: Final = sa.BigInteger


class Tables:
    """The tables of one outbox and its inbox.

    Args:
        prefix: The start of each table's name.
        schema: The schema that holds the tables, if the database has schemas.
        metadata: Add the tables to this metadata, for example that of your models, so that
            Alembic sees them. Default: a new `MetaData`.
    """

    def __init__(
        self,
        *,
        prefix: str = "kraty_",
        schema: str | None = None,
        metadata: sa.MetaData | None = None,
    ) -> None:
        self.prefix: str = prefix
        """The start of each table's name."""
        self.schema: str | None = schema
        """The schema that holds the tables; `None` for the default one."""
        self.metadata: sa.MetaData = sa.MetaData() if metadata is None else metadata
        """The metadata that Alembic and `create_all` read."""
        self.version: sa.Table = self._table(
            "outbox_version",
            sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        )
        """The version of these tables."""
        self.targets: sa.Table = self._table(
            "outbox_targets",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("origin", _TEXT, nullable=False),
            sa.Column("studio_id", _TEXT, nullable=False),
            sa.Column("game_id", _TEXT, nullable=False),
            sa.Column("environment", _TEXT, nullable=False),
            sa.UniqueConstraint("origin", "studio_id", "game_id", "environment"),
        )
        """The games that intents are for."""
        self.intents: sa.Table = self._table(
            "outbox_intents",
            sa.Column("id", _NUMBER, primary_key=True),
            sa.Column("target_id", sa.Integer, nullable=False),
            sa.Column("operation", _TEXT, nullable=False),
            sa.Column("idempotency_key", _TEXT, nullable=False),
            # Identifies the call under this key. It stays when the content is purged.
            sa.Column("request_hash", sa.String(64), nullable=False),
            sa.Column("path", _TEXT),
            sa.Column("body", _TEXT),
            sa.Column("state", sa.String(16), nullable=False),
            # Counts the claims. If a worker has lost its claim, the number differs from its own.
            sa.Column("attempts", sa.Integer, nullable=False),
            sa.Column("created_ms", _TIME, nullable=False),
            # From when it may be claimed; while it is being sent, the end of the lease.
            sa.Column("due_ms", _TIME, nullable=False),
            # When the first call that may have taken effect began; NULL if none may have.
            sa.Column("first_sent_ms", _TIME),
            # NULL while a worker may send it: the partial indexes hold only such rows.
            sa.Column("stopped_ms", _TIME),
            sa.Column("result", _TEXT),
            sa.Column("error", _TEXT),
            sa.Column("notes", _TEXT),
            sa.UniqueConstraint("target_id", "idempotency_key"),
        )
        """The intents: the calls to send, and their outcomes."""
        open_ = self.intents.c.stopped_ms.is_(None)
        sa.Index(
            f"{prefix}outbox_intents_due",
            self.intents.c.target_id,
            self.intents.c.due_ms,
            self.intents.c.id,
            postgresql_where=open_,
            sqlite_where=open_,
        )
        stopped = self.intents.c.stopped_ms.is_not(None)
        sa.Index(
            f"{prefix}outbox_intents_stopped",
            self.intents.c.state,
            self.intents.c.id,
            # Lets a count read only the index.
            self.intents.c.stopped_ms,
            postgresql_where=stopped,
            sqlite_where=stopped,
        )
        whole = sa.and_(stopped, self.intents.c.body.is_not(None))
        sa.Index(
            f"{prefix}outbox_intents_whole",
            self.intents.c.stopped_ms,
            postgresql_where=whole,
            sqlite_where=whole,
        )
        self.players: sa.Table = self._table(
            "outbox_players",
            sa.Column("intent_id", _NUMBER, primary_key=True, autoincrement=False),
            sa.Column("player", _TEXT, primary_key=True),
            sa.Column("target_id", sa.Integer, nullable=False),
            # NULL when the intent no longer holds back later intents of the player.
            sa.Column("waiting", sa.Integer),
        )
        """Which players each intent names."""
        waiting = self.players.c.waiting.is_not(None)
        sa.Index(
            f"{prefix}outbox_players_waiting",
            self.players.c.target_id,
            self.players.c.player,
            self.players.c.intent_id,
            postgresql_where=waiting,
            sqlite_where=waiting,
        )
        sa.Index(f"{prefix}outbox_players_player", self.players.c.player)
        self.inbox: sa.Table = self._table(
            "inbox",
            sa.Column("event_id", _TEXT, primary_key=True),
            sa.Column("event_name", _TEXT, nullable=False),
            sa.Column("received_ms", _TIME, nullable=False),
        )
        """The webhooks that have been handled."""
        sa.Index(f"{prefix}inbox_received", self.inbox.c.received_ms)

    @property
    def all(self) -> tuple[sa.Table, ...]:
        """All of the tables."""
        return (self.version, self.targets, self.intents, self.players, self.inbox)

    def _table(self, name: str, *items: sa.Column[object] | sa.Constraint) -> sa.Table:
        return sa.Table(f"{self.prefix}{name}", self.metadata, *items, schema=self.schema)

    def __repr__(self) -> str:
        return f"Tables(prefix={self.prefix!r}, schema={self.schema!r})"


TABLES: Final = Tables()
"""The default tables."""
