"""Django's database connections, for the SQL of the outbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import sqlalchemy as sa
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError
from django.utils.asyncio import async_unsafe
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.sql import ClauseElement

from kraty_admin.outbox import OutboxError

__all__ = ["DjangoConnection", "in_atomic", "make_engine"]


def _make_dialect(url: str) -> sa.Dialect:
    dialect = cast("Callable[..., sa.Dialect]", sa.make_url(url).get_dialect())
    # Not SQLite's own `?`: Django's cursors take `%(name)s` for every database.
    return dialect(paramstyle="pyformat")


_DIALECTS: Final[Mapping[str, sa.Dialect]] = {
    "postgresql": _make_dialect("postgresql+psycopg://"),
    "sqlite": _make_dialect("sqlite://"),
}


class DjangoConnection:
    """Executes SQLAlchemy's statements on one of Django's connections.

    The statements go through Django's cursors. So they belong to Django's transaction, appear in
    its logs, and raise its errors.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self.dialect: sa.Dialect = _dialect(connection)

    def execute(
        self, statement: sa.Executable, parameters: Sequence[Mapping[str, Any]] | None = None, /
    ) -> IteratorResult[Any]:
        """Execute a statement; with several sets of parameters, once for each."""
        compiled = cast("ClauseElement", statement).compile(
            dialect=self.dialect,
            column_keys=None if parameters is None else list(parameters[0]),
            compile_kwargs={"render_postcompile": True},
        )
        sql = str(compiled)
        with self._connection.cursor() as cursor:
            if parameters is None:
                cursor.execute(sql, compiled.params)
            else:
                for each in parameters:
                    cursor.execute(sql, each)
            columns: list[str] = [column[0] for column in cursor.description or ()]
            rows: list[tuple[Any, ...]] = cursor.fetchall() if columns else []
        return IteratorResult(SimpleResultMetaData(columns), iter(rows))

    def create(self, table: sa.Table) -> list[str]:
        """Return the statements that create a table and its indexes."""
        elements: list[ClauseElement] = [
            sa.schema.CreateTable(table),
            *(
                sa.schema.CreateIndex(index)
                for index in sorted(table.indexes, key=lambda index: str(index.name))
            ),
        ]
        return [str(element.compile(dialect=self.dialect)).strip() for element in elements]


def _dialect(connection: BaseDatabaseWrapper) -> sa.Dialect:
    dialect = _DIALECTS.get(connection.vendor)
    if dialect is None:
        raise OutboxError(
            f"an outbox needs PostgreSQL or SQLite, but the database {connection.alias!r} is "
            f"{connection.display_name}"
        )
    return dialect


@async_unsafe(
    "this needs Django's transaction, which asynchronous code cannot have: move the atomic() "
    "block into a function, and await sync_to_async(function)(...)"
)
def in_atomic(using: str, what: str) -> DjangoConnection:
    """Return the connection of a database, which must be in an `atomic()` block.

    Args:
        using: The alias of the database.
        what: Names the caller in the error's message.

    Raises:
        TransactionManagementError: No `atomic()` block of this database is open. The blocks that
            `TestCase` puts around a test do not count, because they exist only in tests.
        SynchronousOnlyOperation: An event loop runs in this thread.
        OutboxError: The database is neither PostgreSQL nor SQLite.
    """
    connection = connections[using]
    blocks = cast("list[object]", getattr(connection, "atomic_blocks", []))
    if not any(not getattr(block, "_from_testcase", False) for block in blocks):
        raise TransactionManagementError(
            f"{what} needs the transaction of your own change, but none is open: call it inside "
            f"`with transaction.atomic({'' if using == DEFAULT_DB_ALIAS else f'using={using!r}'}):`"
        )
    return DjangoConnection(connection)


_SQLITE_WAIT: Final = 30
"""Seconds to wait for another writer of an SQLite file, if the settings leave it out."""


def make_engine(using: str) -> sa.Engine:
    """Return an engine of SQLAlchemy for one of Django's databases; see `outbox.engine`."""
    # A copy, with settings of its own, because a Django connection belongs to its thread. Django's
    # own code connects, so all options in the settings apply.
    wrapper = connections[using].copy()
    _dialect(wrapper)
    options = wrapper.settings_dict["OPTIONS"]
    # Each call in flight may need a connection.
    pool = {"max_overflow": -1}
    if wrapper.vendor == "sqlite":
        options.setdefault("timeout", _SQLITE_WAIT)
        url = "sqlite://"
        if cast("Any", wrapper).is_in_memory_db():
            # A test's database. Its connections share one memory, and do not wait for locks.
            pool = {"pool_size": 1, "max_overflow": 0}
    else:
        options.pop("pool", None)  # the engine has its own
        driver: str = cast("Any", wrapper).Database.__name__  # not in the stubs
        url = f"postgresql+{driver}://"
    role: str | None = options.get("assume_role")

    def connect() -> Any:
        connection = wrapper.get_new_connection(wrapper.get_connection_params())
        if role is not None:
            with connection.cursor() as cursor:
                cursor.execute(f"SET ROLE {wrapper.ops.quote_name(role)}")
            connection.commit()
        return connection

    return sa.create_engine(
        url,
        creator=connect,
        poolclass=sa.QueuePool,
        pool_pre_ping=True,
        **pool,
    )
