"""Helpers of the outbox's tests: databases, clocks, and both flavours used alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from kraty_admin import KratyAdmin, KratyAdminAsync, RetryConfig, outbox
from kraty_admin.emulator import Emulator
from kraty_admin.outbox import _clock, _store  # pyright: ignore[reportPrivateUsage]
from kraty_admin.outbox._tables import TABLES

T = TypeVar("T")
Box = Any
"""The resources of an outbox, of either flavour."""

ONCE: Final = RetryConfig(attempts=1)
DAY: Final = timedelta(hours=24)
TRUSTED: Final = timedelta(hours=23)
LEASE: Final = timedelta(seconds=120 + 60)
"""By how much a claim outlasts its worker: the default deadline, and a minute."""


PURCHASES: Final = sa.Table("purchases", sa.MetaData(), sa.Column("receipt", sa.Text))


class Database:
    """A database, and the engines for it."""

    def __init__(self, name: str, url: str, async_url: str) -> None:
        self.name = name
        self.url = url
        self.engine = sa.create_engine(url)
        # Without a pool, since each scenario runs in a loop of its own.
        self.async_engine = create_async_engine(async_url, poolclass=NullPool)

    def new_engine(self, **options: Any) -> sa.Engine:
        """Return a new engine, which the caller disposes of."""
        return sa.create_engine(self.url, **options)

    def create(self) -> None:
        """Create all tables."""
        with self.engine.connect() as connection:
            _store.in_transaction(connection, lambda c: _store.upgrade(c, outbox.Tables()))
        PURCHASES.create(self.engine)

    def clear(self) -> None:
        """Delete all rows, which is much quicker than new tables."""
        with self.engine.begin() as connection:
            for table in (*TABLES.all, PURCHASES):
                if table is not TABLES.version:
                    connection.execute(table.delete())

    def register(self, target: outbox.Target) -> None:
        """Set the target that the intents are for."""
        with self.engine.connect() as connection:
            _store.in_transaction(
                connection, lambda c: _store.register(c, TABLES, target, add=False)
            )


class Time:
    """The clocks of the database and of the emulator, which tests advance."""

    def __init__(self, patch: pytest.MonkeyPatch, emulator: Emulator) -> None:
        self._emulator = emulator
        self._ahead_ms = 0
        real = _clock.now_ms
        patch.setattr(_clock, "now_ms", lambda: real() + self._ahead_ms)

    def advance(self, by: timedelta | float) -> None:
        """Advance both clocks."""
        by = by if isinstance(by, timedelta) else timedelta(seconds=by)
        self._ahead_ms += round(by.total_seconds() * 1000)
        self._emulator.clock.advance(by)


class Studio:
    """A studio with a database and a game, which calls either flavour of the outbox."""

    def __init__(self, database: Database, emulator: Emulator, *, is_async: bool) -> None:
        self.database = database
        self.emulator = emulator
        self.is_async = is_async
        self.engine = database.engine
        database.register(outbox.Target(emulator.base_url, "studio_1", "game_1", "test"))

    def set_up(self, **options: Any) -> outbox.Target:
        """Create the tables for the emulator's game."""
        if not self.is_async:
            return outbox.set_up(self.engine, self.emulator.client(), **options)

        async def scenario(kraty: KratyAdminAsync, engine: AsyncEngine) -> outbox.Target:
            return await outbox.set_up_async(engine, kraty, **options)

        return self.run(scenario)

    def record(self, *calls: Callable[[Box], Any], fail: bool = False) -> list[outbox.Intent[Any]]:
        """Record calls in one transaction, along with a purchase.

        Args:
            calls: Each calls a method of the resources that it gets.
            fail: Raise at the end, so that the transaction is rolled back.
        """
        purchase = PURCHASES.insert().values(receipt="r")
        if not self.is_async:
            with Session(self.engine) as session, session.begin():
                session.execute(purchase)
                intents = [call(outbox.into(session)) for call in calls]
                if fail:
                    raise RolledBackError
            return intents

        async def scenario(_: KratyAdminAsync, engine: AsyncEngine) -> list[outbox.Intent[Any]]:
            async with AsyncSession(engine) as session, session.begin():
                await session.execute(purchase)
                intents = [await call(outbox.into(session)) for call in calls]
                if fail:
                    raise RolledBackError
            return intents

        return self.run(scenario)

    def credit(self, key: str, player: str = "player_42", amount: int = 500) -> outbox.Intent[Any]:
        """Record a credit."""
        return self.record(
            lambda box: box.wallet.credit(player, "gold", amount=amount, idempotency_key=key)
        )[0]

    def drain(
        self, client: KratyAdmin | None = None, *, stop: bool = False, **options: Any
    ) -> outbox.DrainReport:
        """Drain the outbox with a client that tries each call once.

        Args:
            client: Another client; for the synchronous flavour only.
            stop: Stop before the first intent.
            options: Those of `outbox.drain`; `retry` is the client's.
        """
        retry = options.pop("retry", ONCE)
        if not self.is_async:
            event = threading.Event()
            if stop:
                event.set()
            kraty = client or self.emulator.client(retry=retry)
            return outbox.drain(kraty, self.engine, stop=event, **options)

        async def scenario(kraty: KratyAdminAsync, engine: AsyncEngine) -> outbox.DrainReport:
            over = asyncio.Event()
            if stop:
                over.set()
            return await outbox.drain_async(kraty, engine, stop=over, **options)

        return self.run(scenario, retry=retry)

    def own_client(self) -> KratyAdmin:
        """Return a client that stays open when the emulator is closed."""
        emulator = self.emulator
        return KratyAdmin(api_key=emulator.api_key, base_url=emulator.base_url, retry=ONCE)

    def run(
        self,
        scenario: Callable[[KratyAdminAsync, AsyncEngine], Coroutine[Any, Any, T]],
        retry: RetryConfig | None = None,
    ) -> T:
        """Run a coroutine with an asynchronous client and engine, and return its result."""

        async def main() -> T:
            async with self.emulator.async_client(retry=retry) as kraty:
                return await scenario(kraty, self.database.async_engine)

        return asyncio.run(main())

    def intent(self, intent_id: int) -> outbox.Intent[Any]:
        """Return an intent in its present state."""
        return outbox.find(self.engine, intent_id=intent_id)[0]

    def states(self) -> list[str]:
        """Return the states of all intents, in the order in which they were recorded."""
        return [intent.state for intent in reversed(outbox.find(self.engine, limit=None))]

    def sent(self) -> list[tuple[str, str | None]]:
        """Return the operation and the key of each write that the emulator received, in order."""
        return [
            (seen.operation or "", seen.idempotency_key)
            for seen in self.emulator.requests
            if seen.method == "POST"
        ]

    def count_purchases(self) -> int:
        """Return how many purchases are committed."""
        with self.engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(PURCHASES)) or 0


class RolledBackError(Exception):
    """Rolls a transaction back."""
