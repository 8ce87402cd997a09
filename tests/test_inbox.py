"""Webhooks are handled once, in the caller's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from kraty_admin import inbox, outbox
from kraty_admin.models import WebhookEvent

TABLES = outbox.Tables(prefix="hooks_")
EVENT = WebhookEvent({"id": "evt_1", "eventName": "grant.created", "data": {}})


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'studio.db'}")
    TABLES.metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_an_event_is_new_once(engine: sa.Engine) -> None:
    """A redelivery, in the same transaction or a later one, is not new."""
    with Session(engine) as session, session.begin():
        assert inbox.once(session, EVENT, tables=TABLES)
        assert not inbox.once(session, EVENT, tables=TABLES)
    with engine.begin() as connection:
        assert not inbox.once(connection, EVENT, tables=TABLES)
        assert ["grant.created"] == list(connection.scalars(sa.select(TABLES.inbox.c.event_name)))
        assert inbox.once(connection, WebhookEvent({"id": "evt_2"}), tables=TABLES)


def test_sessions_of_a_registry(engine: sa.Engine) -> None:
    """`once` and `once_async` also take the sessions that a registry keeps for each thread or
    task."""
    session = scoped_session(sessionmaker(engine))
    with session.begin():
        assert inbox.once(session, EVENT, tables=TABLES)
    session.remove()

    async def main() -> bool:
        engine_async = create_async_engine(f"sqlite+aiosqlite:///{engine.url.database}")
        session = async_scoped_session(async_sessionmaker(engine_async), asyncio.current_task)
        is_new = await inbox.once_async(session, EVENT, tables=TABLES)
        await session.remove()
        await engine_async.dispose()
        return is_new

    assert not asyncio.run(main())


def test_an_event_whose_effect_was_rolled_back(engine: sa.Engine) -> None:
    """An event whose transaction was rolled back is still new."""
    with Session(engine) as session:
        assert inbox.once(session, EVENT, tables=TABLES)
        session.rollback()
    with Session(engine) as session:
        assert inbox.once(session, EVENT, tables=TABLES)


def test_an_event_in_an_asynchronous_session(engine: sa.Engine) -> None:
    """`once_async` accepts an event once, in asynchronous sessions and connections."""

    async def main() -> list[bool]:
        engine_async = create_async_engine(f"sqlite+aiosqlite:///{engine.url.database}")
        async with AsyncSession(engine_async) as session, session.begin():
            first = await inbox.once_async(session, EVENT, tables=TABLES)
        async with engine_async.begin() as connection:
            second = await inbox.once_async(connection, EVENT, tables=TABLES)
        await engine_async.dispose()
        return [first, second]

    assert [True, False] == asyncio.run(main())


@pytest.mark.parametrize("event", [{}, {"id": ""}, {"id": 7}], ids=["none", "empty", "number"])
def test_an_event_without_an_id(engine: sa.Engine, event: dict[str, Any]) -> None:
    """An event without an id, which cannot be recognised again, is refused."""
    with engine.begin() as connection, pytest.raises(ValueError, match="no id"):
        inbox.once(connection, WebhookEvent(event), tables=TABLES)


def test_sessions_of_the_other_kind(engine: sa.Engine) -> None:
    """The error for a session of the other kind names the right function."""
    anything: Any = engine
    with pytest.raises(TypeError, match="once_async"):
        inbox.once(anything, EVENT)
    with pytest.raises(TypeError, match="once takes"):
        asyncio.run(inbox.once_async(anything, EVENT))


def test_old_events_are_purged(engine: sa.Engine) -> None:
    """A purge removes events of over 30 days ago, and a redelivery of one is new."""
    with engine.begin() as connection:
        inbox.once(connection, EVENT, tables=TABLES)
        received_ms = TABLES.inbox.c.received_ms - 31 * 24 * 3_600_000
        connection.execute(TABLES.inbox.update().values(received_ms=received_ms))
        inbox.once(connection, WebhookEvent({"id": "evt_2"}), tables=TABLES)
    assert 1 == inbox.purge(engine, tables=TABLES)
    with engine.begin() as connection:
        assert inbox.once(connection, EVENT, tables=TABLES)
        assert not inbox.once(connection, WebhookEvent({"id": "evt_2"}), tables=TABLES)


def test_a_negative_age_is_refused(engine: sa.Engine) -> None:
    """A negative age would remove each event, even one that has just arrived."""
    with pytest.raises(ValueError, match="older_than must not be negative"):
        inbox.purge(engine, older_than=timedelta(-1), tables=TABLES)
