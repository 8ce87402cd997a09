"""Django's migration creates the outbox's tables, and its models describe them."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from io import StringIO
from typing import Any, cast

import pytest
import sqlalchemy as sa
from django.apps import apps
from django.core.management import call_command
from django.db import connections
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.test import override_settings

from kraty_admin import outbox
from kraty_admin.contrib.django._connection import DjangoConnection
from kraty_admin.contrib.django._tables import CreateTables
from kraty_admin.outbox._tables import TABLES, VERSION

MODELS = {model._meta.db_table: model for model in apps.get_app_config("kraty").get_models()}


def description(engine: sa.Engine, schema: str | None = None) -> dict[str, Any]:
    """Return what the database reports about each table of the outbox."""
    found = sa.inspect(engine)
    return {
        table.name: {
            "columns": [_plain(each) for each in found.get_columns(table.name, schema)],
            "primary key": _plain(found.get_pk_constraint(table.name, schema)),
            "unique": [_plain(each) for each in found.get_unique_constraints(table.name, schema)],
            "indexes": [_plain(each) for each in found.get_indexes(table.name, schema)],
        }
        for table in TABLES.all
    }


def _plain(facts: Any) -> dict[str, Any]:
    """Return facts with SQL as text, and with sequences without their schema."""
    return {
        name: _plain(value) if isinstance(value, dict) else re.sub(r"'\w+\.", "'", str(value))
        for name, value in facts.items()
    }


def test_the_migration_makes_the_tables_of_the_outbox(
    using: str, new_engine: Callable[[str], sa.Engine]
) -> None:
    """The migration creates the same columns, types, keys and indexes as the outbox, on each
    database."""
    engine = new_engine(using)
    with plain_tables(engine) as (plain, schema):
        expected = description(plain, schema)
    assert expected == description(engine)
    assert expected["kraty_outbox_intents"]["indexes"]
    with engine.connect() as connection:
        assert connection.scalar(sa.select(TABLES.version.c.version)) == VERSION


@contextmanager
def plain_tables(engine: sa.Engine) -> Generator[tuple[sa.Engine, str | None]]:
    """Yield an engine and the schema where the outbox has created its tables without Django."""
    if engine.dialect.name == "sqlite":
        plain = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
        TABLES.metadata.create_all(plain)
        yield plain, None
        plain.dispose()
        return
    tables = outbox.Tables(schema="plain")
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema("plain"))
        tables.metadata.create_all(connection)
    yield engine, "plain"
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema("plain", cascade=True))


@pytest.mark.parametrize("table", [pytest.param(table, id=table.name) for table in TABLES.all])
def test_the_models_have_the_columns(using: str, table: sa.Table) -> None:
    """Each model has the names, types, primary key and nullability of the outbox's columns."""
    connection = connections[using]
    dialect = DjangoConnection(connection).dialect

    def plain(type_: str | None) -> str:
        # SQLite has one type of integers, by whatever name.
        name = str(type_).lower()
        return name.replace("bigint", "integer") if dialect.name == "sqlite" else name

    expected = [(c.name, plain(c.type.compile(dialect)), c.nullable) for c in table.columns]
    options = MODELS[table.name]._meta
    fields = options.concrete_fields
    assert sorted(expected) == sorted(
        (f.column, plain(f.db_type(connection)), f.null) for f in fields
    )
    key: Any = cast("Any", options).pk
    assert [c.name for c in table.primary_key] == list(getattr(key, "columns", [key.column]))


def test_no_migration_is_missing(sqlite: str) -> None:
    """Models and migrations agree, and the last migration is for the current version of the
    tables."""
    call_command("makemigrations", "kraty", check=True, dry_run=True, stdout=StringIO())
    loader = MigrationLoader(connections[sqlite])
    name = loader.graph.leaf_nodes("kraty")[0][1]
    migration = import_module(f"kraty_admin.contrib.django.migrations.{name}").Migration
    made = migration.operations[0].database_operations
    assert [VERSION] == [each.version for each in made if isinstance(each, CreateTables)]


def test_tables_that_exist(using: str) -> None:
    """The migration leaves existing tables as they are."""
    connection = connections[using]
    state = MigrationExecutor(connection).loader.project_state()
    with connection.schema_editor() as editor:
        CreateTables(VERSION).database_forwards("kraty", editor, state, state)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kraty_outbox_version")
        assert cursor.fetchone() == (1,)


def test_the_migration_is_not_reversed(default: str) -> None:
    """Reversing the migration, which would lose which receipts were paid, is refused."""
    with pytest.raises(IrreversibleError):
        call_command("migrate", "kraty", "zero", database=default, verbosity=0)
    assert "kraty_outbox_intents" in connections[default].introspection.table_names()


def test_the_statements_can_be_read(default: str) -> None:
    """`sqlmigrate` shows the migration's statements."""
    out = StringIO()
    call_command("sqlmigrate", "kraty", "0001", database=default, stdout=out)
    assert "INSERT INTO kraty_outbox_version" in out.getvalue()


class OnlyOther:
    """A router that allows the app's tables only in another database."""

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        """Return whether an app has tables in a database."""
        return app_label != "kraty" or db == "other"


def test_a_router_decides(default: str) -> None:
    """The migration creates nothing where the router does not allow the app."""
    connection = connections[default]
    state = MigrationExecutor(connection).loader.project_state()
    with (
        override_settings(DATABASE_ROUTERS=[OnlyOther()]),
        connection.schema_editor(collect_sql=True, atomic=False) as editor,
    ):
        CreateTables(VERSION).database_forwards("kraty", editor, state, state)
        assert editor.collected_sql == []


def test_a_database_of_another_kind(default: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for an unsupported database names it."""
    monkeypatch.setattr(type(connections[default]), "vendor", "mysql")
    monkeypatch.setattr(type(connections[default]), "display_name", "MySQL")
    with pytest.raises(outbox.OutboxError, match="'default' is MySQL"):
        DjangoConnection(connections[default])
