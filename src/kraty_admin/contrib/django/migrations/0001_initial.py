"""The tables of version 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from .._tables import CreateTables

__all__ = ["Migration"]

_STATES = [
    (state, state) for state in ("pending", "sending", "done", "refused", "unknown", "abandoned")
]

# Django's view of the tables. `CreateTables` creates the tables and their indexes.
_MODELS: list[Operation] = [
    migrations.CreateModel(
        name="InboxEvent",
        fields=[
            ("event_id", models.TextField(primary_key=True, serialize=False)),
            ("event_name", models.TextField()),
            ("received_ms", models.BigIntegerField()),
        ],
        options={
            "verbose_name": "handled webhook",
            "db_table": "kraty_inbox",
        },
    ),
    migrations.CreateModel(
        name="OutboxIntent",
        fields=[
            ("id", models.BigAutoField(primary_key=True, serialize=False)),
            ("operation", models.TextField()),
            ("idempotency_key", models.TextField()),
            ("request_hash", models.CharField(max_length=64)),
            ("path", models.TextField(null=True)),
            ("body", models.TextField(null=True)),
            (
                "state",
                models.CharField(
                    choices=_STATES,
                    max_length=16,
                ),
            ),
            ("attempts", models.IntegerField()),
            ("created_ms", models.BigIntegerField()),
            ("due_ms", models.BigIntegerField()),
            ("first_sent_ms", models.BigIntegerField(null=True)),
            ("stopped_ms", models.BigIntegerField(null=True)),
            ("result", models.TextField(null=True)),
            ("error", models.TextField(null=True)),
            ("notes", models.TextField(null=True)),
        ],
        options={
            "verbose_name": "intent",
            "db_table": "kraty_outbox_intents",
        },
    ),
    migrations.CreateModel(
        name="OutboxTarget",
        fields=[
            ("id", models.AutoField(primary_key=True, serialize=False)),
            ("origin", models.TextField()),
            ("studio_id", models.TextField()),
            ("game_id", models.TextField()),
            ("environment", models.TextField()),
        ],
        options={
            "db_table": "kraty_outbox_targets",
        },
    ),
    migrations.CreateModel(
        name="OutboxVersion",
        fields=[
            ("version", models.IntegerField(primary_key=True, serialize=False)),
        ],
        options={
            "db_table": "kraty_outbox_version",
        },
    ),
    migrations.CreateModel(
        name="OutboxPlayer",
        fields=[
            (
                "pk",
                models.CompositePrimaryKey(
                    "intent",
                    "player",
                    blank=True,
                    editable=False,
                    primary_key=True,
                    serialize=False,
                ),
            ),
            ("player", models.TextField()),
            ("waiting", models.IntegerField(null=True)),
            (
                "intent",
                models.ForeignKey(
                    db_constraint=False,
                    db_index=False,
                    on_delete=django.db.models.deletion.DO_NOTHING,
                    related_name="players",
                    to="kraty.outboxintent",
                ),
            ),
            (
                "target",
                models.ForeignKey(
                    db_constraint=False,
                    db_index=False,
                    on_delete=django.db.models.deletion.DO_NOTHING,
                    related_name="+",
                    to="kraty.outboxtarget",
                ),
            ),
        ],
        options={
            "db_table": "kraty_outbox_players",
        },
    ),
    migrations.AddField(
        model_name="outboxintent",
        name="target",
        field=models.ForeignKey(
            db_constraint=False,
            db_index=False,
            on_delete=django.db.models.deletion.DO_NOTHING,
            related_name="+",
            to="kraty.outboxtarget",
        ),
    ),
]


class Migration(migrations.Migration):
    """Creates the tables of the outbox and the inbox."""

    initial = True
    operations: ClassVar[Sequence[Operation]] = [
        migrations.SeparateDatabaseAndState(
            database_operations=[CreateTables(1)], state_operations=_MODELS
        )
    ]
