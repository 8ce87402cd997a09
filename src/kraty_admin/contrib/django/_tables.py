"""The migration operation that creates the tables as `kraty_admin.outbox` defines them."""

from __future__ import annotations

import sqlalchemy as sa
from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from kraty_admin.outbox._tables import TABLES

from ._connection import DjangoConnection

__all__ = ["CreateTables"]


class CreateTables(Operation):
    """Create the tables that are missing; leave those that `outbox.set_up` has created.

    It cannot be reversed: without these tables, a receipt that returns would be paid out again.

    Args:
        version: The version of the tables to create.
    """

    reversible = False

    def __init__(self, version: int) -> None:
        self.version = version

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Change nothing: the migration adds the models itself."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Create the tables."""
        connection = schema_editor.connection
        if not router.allow_migrate(connection.alias, app_label):
            return
        adapter = DjangoConnection(connection)
        existing = set(connection.introspection.table_names())
        for table in TABLES.all:
            if table.name in existing:
                continue
            for statement in adapter.create(table):
                schema_editor.execute(statement, None)
        versions = TABLES.version
        number = sa.select(sa.literal_column(str(self.version), sa.Integer))
        is_empty = ~sa.select(versions.c.version).exists()
        insert = versions.insert().from_select(["version"], number.where(is_empty))
        schema_editor.execute(str(insert.compile(dialect=adapter.dialect)), None)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Refuse to drop the tables."""
        raise IrreversibleError(
            "this migration does not drop the outbox's tables, because they record which receipts "
            "were paid. If you want to lose that, drop the tables yourself and fake this migration"
        )
