"""Models of the outbox's and the inbox's tables, to read and to join.

Do not change rows through these models; only the outbox's functions and workers do that. The
package `kraty_admin.outbox` defines the tables, and the migrations create them from its
definition, with all indexes. So these models have only the fields that Django needs to read the
tables.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, get_args

from django.db import models

from kraty_admin.outbox._store import moment_or_none
from kraty_server_api.intent import IntentState

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager

__all__ = ["InboxEvent", "OutboxIntent", "OutboxPlayer", "OutboxTarget", "OutboxVersion"]

_STATES: Final = [(state, state) for state in get_args(IntentState)]


class OutboxVersion(models.Model):
    """The version of the tables."""

    version: models.IntegerField[int, int] = models.IntegerField(primary_key=True)

    class Meta:
        db_table = "kraty_outbox_version"


class OutboxTarget(models.Model):
    """A game that intents are for."""

    id: models.AutoField[int, int] = models.AutoField(primary_key=True)
    origin: models.TextField[str, str] = models.TextField()
    studio_id: models.TextField[str, str] = models.TextField()
    game_id: models.TextField[str, str] = models.TextField()
    environment: models.TextField[str, str] = models.TextField()

    class Meta:
        db_table = "kraty_outbox_targets"

    def __str__(self) -> str:
        return f"{self.game_id} ({self.environment}) at {self.origin}"


class OutboxIntent(models.Model):
    """A recorded call. Times are milliseconds since 1970, UTC, by the database's clock."""

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    target: models.ForeignKey[OutboxTarget, OutboxTarget] = models.ForeignKey(
        OutboxTarget, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    operation: models.TextField[str, str] = models.TextField()
    idempotency_key: models.TextField[str, str] = models.TextField()
    request_hash: models.CharField[str, str] = models.CharField(max_length=64)
    path: models.TextField[str | None, str | None] = models.TextField(null=True)
    body: models.TextField[str | None, str | None] = models.TextField(null=True)
    state: models.CharField[str, str] = models.CharField(max_length=16, choices=_STATES)
    attempts: models.IntegerField[int, int] = models.IntegerField()
    created_ms: models.BigIntegerField[int, int] = models.BigIntegerField()
    due_ms: models.BigIntegerField[int, int] = models.BigIntegerField()
    first_sent_ms: models.BigIntegerField[int | None, int | None] = models.BigIntegerField(
        null=True
    )
    stopped_ms: models.BigIntegerField[int | None, int | None] = models.BigIntegerField(null=True)
    result: models.TextField[str | None, str | None] = models.TextField(null=True)
    error: models.TextField[str | None, str | None] = models.TextField(null=True)
    notes: models.TextField[str | None, str | None] = models.TextField(null=True)
    players: RelatedManager[OutboxPlayer]

    class Meta:
        db_table = "kraty_outbox_intents"
        verbose_name = "intent"

    def __str__(self) -> str:
        return f"intent {self.pk}: {self.operation}"

    @property
    def created_at(self) -> datetime | None:
        """When the intent was recorded."""
        return moment_or_none(self.created_ms)

    @property
    def due_at(self) -> datetime | None:
        """When the intent is due. While it is being sent, the end of the worker's lease."""
        return moment_or_none(self.due_ms)

    @property
    def first_sent_at(self) -> datetime | None:
        """When the first attempt that may have taken effect began; `None` if there was none."""
        return moment_or_none(self.first_sent_ms)

    @property
    def stopped_at(self) -> datetime | None:
        """When the intent stopped; `None` while a worker may send it."""
        return moment_or_none(self.stopped_ms)

    @property
    def error_facts(self) -> dict[str, Any]:
        """The error of the last attempt; empty if there is none."""
        facts: dict[str, Any] = json.loads(self.error or "{}")
        return facts


class OutboxPlayer(models.Model):
    """A player that an intent names."""

    pk = models.CompositePrimaryKey("intent", "player")
    intent: models.ForeignKey[OutboxIntent, OutboxIntent] = models.ForeignKey(
        OutboxIntent, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="players"
    )
    player: models.TextField[str, str] = models.TextField()
    target: models.ForeignKey[OutboxTarget, OutboxTarget] = models.ForeignKey(
        OutboxTarget, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    waiting: models.IntegerField[int | None, int | None] = models.IntegerField(null=True)

    class Meta:
        db_table = "kraty_outbox_players"


class InboxEvent(models.Model):
    """A webhook that was handled."""

    event_id: models.TextField[str, str] = models.TextField(primary_key=True)
    event_name: models.TextField[str, str] = models.TextField()
    received_ms: models.BigIntegerField[int, int] = models.BigIntegerField()

    class Meta:
        db_table = "kraty_inbox"
        verbose_name = "handled webhook"

    def __str__(self) -> str:
        return self.event_id

    @property
    def received_at(self) -> datetime | None:
        """When the delivery arrived."""
        return moment_or_none(self.received_ms)
