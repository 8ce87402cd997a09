"""Handle each webhook once: remember handled events in your own database.

    event = construct_event(raw_body=body, signature_header=signature, secret=secret)
    with Session(engine) as session, session.begin():
        if inbox.once(session, event):
            session.add(...)  # the effect: committed with the event's id, or not at all

Kraty repeats a delivery if your server does not answer it with a 2xx in time. So an event that you
have handled can arrive again, for example because your answer was lost.

This module needs the extra `outbox`. Its table is one of `outbox.Tables`; `outbox.set_up`
creates it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

try:
    import sqlalchemy as sa
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "kraty_admin.inbox needs sqlalchemy: pip install 'kraty-admin[outbox]'", name=_missing.name
    ) from None
from sqlalchemy.orm import Session, scoped_session

from kraty_server_api.models import WebhookEvent

from .outbox import Tables
from .outbox._clock import now_ms
from .outbox._store import age_ms, in_transaction, remember
from .outbox._tables import TABLES

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

__all__ = ["once", "once_async", "purge"]


def once(
    session: Session | scoped_session[Any] | sa.Connection,
    event: WebhookEvent,
    *,
    tables: Tables = TABLES,
) -> bool:
    """Return whether an event is new, and remember it in your transaction.

    If two deliveries of one event arrive together, the second waits for the first one's
    transaction. If that is rolled back, the event is still new. With `AUTOCOMMIT`, or if SQLite's
    transaction began with a `begin_nested()`, a rollback does not undo the record: an event whose
    handling failed would be lost.

    Run a statement that may fail in a savepoint (`session.begin_nested()`). If you catch a
    database error without one, the commit stores nothing, and usually raises nothing. The event
    is lost if you then answer with a 2xx.

    Two receivers of the same events need an inbox each: pass other `tables` to one of them.
    Otherwise, an event is handled by only one of the two.

    Args:
        session: A `Session` or a `Connection` of SQLAlchemy. If a session has several engines,
            pass the connection that your changes use, or the two are not in one transaction.
        event: The event that `construct_event` returned.
        tables: The tables to use. Default: those that `outbox.set_up` creates by default.

    Returns:
        True the first time; handle the event in the same transaction. False if this event was
        handled before.

    Raises:
        TypeError: `session` is asynchronous; use `once_async`.
        ValueError: The event has no id.
        OutboxError: The database is neither PostgreSQL nor SQLite.
    """
    if isinstance(session, sa.Connection):
        return remember(session, tables, event)
    if not isinstance(session, Session | scoped_session):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
        raise TypeError(
            "session must be a Session or Connection of SQLAlchemy, not "
            f"{type(session).__name__}; once_async takes asynchronous ones"
        )
    return remember(session.connection(), tables, event)


async def once_async(
    session: AsyncSession | async_scoped_session[Any] | AsyncConnection,
    event: WebhookEvent,
    *,
    tables: Tables = TABLES,
) -> bool:
    """Return whether an event is new, and remember it in your transaction; see `once`.

    Raises:
        TypeError: `session` is synchronous; use `once`.
        ValueError: The event has no id.
        OutboxError: The database is neither PostgreSQL nor SQLite.
    """
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

    if isinstance(session, AsyncConnection):
        connection = session
    elif isinstance(session, AsyncSession | async_scoped_session):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
        connection = await session.connection()
    else:
        raise TypeError(
            "session must be an AsyncSession or AsyncConnection of SQLAlchemy, not "
            f"{type(session).__name__}; once takes synchronous ones"
        )
    return await connection.run_sync(remember, tables, event)


def purge(
    engine: sa.Engine,
    *,
    older_than: timedelta = timedelta(days=30),
    tables: Tables = TABLES,
) -> int:
    """Delete the records of events that arrived long ago.

    If such an event is delivered again, it counts as new. Kraty does not document for how long
    it repeats a delivery.

    Args:
        engine: Your database.
        older_than: Delete the records of events that arrived longer ago than this.
        tables: The tables to use. Default: those that `outbox.set_up` creates by default.

    Returns:
        How many records were deleted.

    Raises:
        ValueError: `older_than` is negative.
    """
    ms = age_ms(older_than)
    old = tables.inbox.delete().where(tables.inbox.c.received_ms < now_ms() - ms)
    with engine.connect() as connection:
        return in_transaction(connection, lambda c: c.execute(old).rowcount)
