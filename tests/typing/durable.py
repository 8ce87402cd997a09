"""Programs that use the outbox: type-checked, never run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from kraty_admin import KratyAdmin, KratyAdminAsync, inbox, outbox
from kraty_admin.models import Grant, WalletAdjustment, WebhookEvent
from kraty_admin.outbox import AsyncOutboxResources, DrainReport, Intent, OutboxResources

if TYPE_CHECKING:
    from typing_extensions import assert_type


def recording(session: Session, connection: sa.Connection) -> None:
    """Record calls: an intent knows the type of its result."""
    assert_type(outbox.into(session), OutboxResources)
    assert_type(outbox.into(connection, game_id="g"), OutboxResources)
    intent = outbox.into(session).wallet.credit("p", "gold", amount=1)
    assert_type(intent, Intent[WalletAdjustment])
    assert_type(intent.result, WalletAdjustment | None)
    assert_type(intent.is_new, bool)
    assert_type(intent.first_sent_at, datetime | None)
    assert_type(intent.error, Mapping[str, Any] | None)
    assert_type(intent.players, tuple[str, ...])
    assert_type(outbox.into(session).grants.ack("p", "g"), Intent[Grant])


async def recording_awaited(session: AsyncSession) -> None:
    """Record calls asynchronously: an intent knows the type of its result."""
    box = outbox.into(session)
    assert_type(box, AsyncOutboxResources)
    assert_type(await box.wallet.credit("p", "gold", amount=1), Intent[WalletAdjustment])


def working(kraty: KratyAdmin, engine: sa.Engine, stop: threading.Event) -> None:
    """Run a worker: it returns a report, and callbacks get intents."""

    def on_unknown(intent: Intent[Any]) -> None:
        assert_type(intent.id, int)

    assert_type(outbox.drain(kraty, engine, on_unknown=on_unknown), DrainReport)
    assert_type(outbox.run(kraty, engine, stop=stop).done, int)
    assert_type(outbox.find(engine, state="unknown"), list[Intent[Any]])
    assert_type(outbox.resolve(engine, 1, "applied", by="a", why="b"), Intent[Any])


async def working_awaited(kraty: KratyAdminAsync, engine: AsyncEngine, stop: asyncio.Event) -> None:
    """Run an asynchronous worker: it returns a report, and callbacks get intents."""
    assert_type(await outbox.drain_async(kraty, engine), DrainReport)
    assert_type(await outbox.run_async(kraty, engine, stop=stop), DrainReport)


def receiving(session: Session, event: WebhookEvent) -> None:
    """Ask whether an event is new."""
    assert_type(inbox.once(session, event), bool)


def mistakes(session: Session, kraty: KratyAdmin, engine: sa.Engine) -> None:
    """Make mistakes with the outbox, to each of which every checker must object."""
    outbox.into(engine)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    outbox.into(session).wallet.credit("p", "gold")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    outbox.into(session).players.get("p")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    outbox.find(engine, state="lost")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    outbox.resolve(engine, 1, "forget", by="a", why="b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
