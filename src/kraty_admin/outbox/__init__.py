"""Durable fulfilment: record a call in your own transaction, and let a worker send it.

    with Session(engine) as session, session.begin():
        session.add(Purchase(receipt_id=receipt.id, player="player_42"))
        outbox.into(session).wallet.credit(
            "player_42", "gold", amount=500, idempotency_key=derive_key("iap", receipt.id)
        )

    outbox.drain(kraty, engine)

The purchase and its fulfilment are stored together or not at all. A recorded call is an
*intent*: a row in your database. A worker sends it under its own key until there is a definite
answer, or until the platform may have forgotten the key. Then it stops, and a person decides.
The same key is never recorded twice, so a receipt that returns after a year pays out nothing.

Needs the extra `outbox`: `pip install 'kraty-admin[outbox]'`. Works with PostgreSQL and SQLite.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

try:
    import sqlalchemy as sa
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "kraty_admin.outbox needs sqlalchemy: pip install 'kraty-admin[outbox]'", name=_missing.name
    ) from None
from sqlalchemy.orm import Session, scoped_session

from kraty_server_api.intent import Intent, IntentState
from kraty_server_api.operation import Operation
from kraty_server_api.outbox import AsyncOutboxResources, OutboxResources

from .._call._idempotency import random_keys
from .._client import KratyAdmin, KratyAdminAsync
from . import _store
from ._errors import OutboxConflictError, OutboxError, OutboxTargetError
from ._store import OutboxStatus, Target
from ._tables import TABLES, Tables
from ._worker import AsyncWorker, DrainReport, Work, Worker, target_of, target_of_async

if TYPE_CHECKING:
    import asyncio

    from sqlalchemy.ext.asyncio import (
        AsyncConnection,
        AsyncEngine,
        AsyncSession,
        async_scoped_session,
    )

    SyncTransaction: TypeAlias = Session | scoped_session[Any] | sa.Connection
    AsyncTransaction: TypeAlias = AsyncSession | async_scoped_session[Any] | AsyncConnection

__all__ = [
    "AsyncOutboxResources",
    "DrainReport",
    "Intent",
    "IntentState",
    "OutboxConflictError",
    "OutboxError",
    "OutboxResources",
    "OutboxStatus",
    "OutboxTargetError",
    "Tables",
    "Target",
    "drain",
    "drain_async",
    "find",
    "forget_player",
    "into",
    "purge",
    "resolve",
    "retry",
    "run",
    "run_async",
    "set_up",
    "set_up_async",
    "status",
]

T = TypeVar("T")
R = TypeVar("R")

# Tracebacks, reprs and pickles name what people import.
for _public in (
    AsyncOutboxResources,
    DrainReport,
    Intent,
    OutboxConflictError,
    OutboxError,
    OutboxResources,
    OutboxStatus,
    OutboxTargetError,
    Tables,
    Target,
):
    _public.__module__ = __name__

_new_key = random_keys()


def set_up(
    engine: sa.Engine,
    kraty: KratyAdmin,
    *,
    tables: Tables = TABLES,
    add_target: bool = False,
) -> Target:
    """Create the tables where they are missing, and record which game they are for.

    Call it when you deploy. It asks Kraty once which game the key belongs to, and changes
    nothing if all is in place.

    Args:
        engine: Your database.
        kraty: A client of the game.
        tables: Which tables. If Alembic creates them, they are found here.
        add_target: Allow intents of another game beside those that the database has. Then
            `into` needs a `game_id`.

    Returns:
        The server, the studio, the game and the environment.

    Raises:
        OutboxTargetError: The database is for another game, environment or server.
        OutboxError: A later version of the SDK has written the tables.
        KratyServerError, KratyNetworkError: Kraty could not be asked.
    """
    target = target_of(kraty)
    _transact(engine, lambda connection: _set_up(connection, tables, target, add_target))
    return target


async def set_up_async(
    engine: AsyncEngine,
    kraty: KratyAdminAsync,
    *,
    tables: Tables = TABLES,
    add_target: bool = False,
) -> Target:
    """Create the tables, and record which game they are for; see `set_up`."""
    target = await target_of_async(kraty)

    def work(connection: sa.Connection) -> None:
        _set_up(connection, tables, target, add_target)

    async with engine.connect() as connection:
        await connection.run_sync(_store.in_transaction, work)
    return target


def _set_up(connection: sa.Connection, tables: Tables, target: Target, add: bool) -> None:
    _store.upgrade(connection, tables)
    _store.register(connection, tables, target, add=add)


@overload
def into(
    session: SyncTransaction, *, game_id: str | None = None, tables: Tables = TABLES
) -> OutboxResources: ...
@overload
def into(
    session: AsyncTransaction, *, game_id: str | None = None, tables: Tables = TABLES
) -> AsyncOutboxResources: ...
def into(
    session: SyncTransaction | AsyncTransaction,
    *,
    game_id: str | None = None,
    tables: Tables = TABLES,
) -> OutboxResources | AsyncOutboxResources:
    """Return the resources of a client, whose methods record their calls in a transaction.

    Nothing is stored until you commit, and nothing is sent before that. Pass an
    `idempotency_key` that you derive from what you fulfil: by this key, the outbox recognises
    the same purchase when it returns. Without one, each call is a new intent.

    Args:
        session: A `Session` or a `Connection` of SQLAlchemy, or an asynchronous one: then
            await the methods.
        game_id: The game, if the database has intents of several.
        tables: Which tables.

    Raises:
        TypeError: `session` is none of these.
    """
    if isinstance(session, Session | scoped_session | sa.Connection):

        def record(operation: Operation[T], /) -> Intent[T]:
            connection = session if isinstance(session, sa.Connection) else session.connection()
            return _store.record(connection, tables, operation, game_id, _new_key)

        return OutboxResources(record)
    # Imported here because its extra, greenlet, is not always there.
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

    if not isinstance(session, AsyncSession | async_scoped_session | AsyncConnection):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
        raise TypeError(
            "session must be a Session or Connection of SQLAlchemy, or an AsyncSession or "
            f"AsyncConnection, not {type(session).__name__}"
        )

    async def record_async(operation: Operation[T], /) -> Intent[T]:
        if isinstance(session, AsyncConnection):
            connection = session
        else:
            connection = await session.connection()
        return await connection.run_sync(_store.record, tables, operation, game_id, _new_key)

    return AsyncOutboxResources(record_async)


def drain(
    kraty: KratyAdmin,
    engine: sa.Engine,
    *,
    in_flight: int = 1,
    limit: int | None = None,
    seconds: float | None = 300.0,
    stop: threading.Event | None = None,
    on_refused: Callable[[Intent[Any]], object] | None = None,
    on_unknown: Callable[[Intent[Any]], object] | None = None,
    tables: Tables = TABLES,
) -> DrainReport:
    """Send the intents that are due, and return when none is.

    Any number of workers may do this at a time. A worker that is killed loses nothing: when
    its lease ends, a minute after the call's deadline, another one repeats the call under
    the same key. While the platform does not answer, no new intent is begun.

    Args:
        kraty: A client of the game. Its deadline must be at most 1,800 s.
        engine: Your database. Each call in flight needs a connection of its pool at times.
        in_flight: How many intents to send at a time. More than one uses threads.
        limit: How many intents to send at most.
        seconds: Begin nothing after this time; `None` for no limit. A call in progress may
            last until its deadline.
        stop: When it is set, the calls in progress end, and nothing new begins.
        on_refused: Called with each intent that the platform rejected.
        on_unknown: Called with each intent that a person has to decide about, because it may
            have taken effect and the platform may have forgotten its key. It is
            called once, after that was stored. `find(engine, state="unknown")` lists them.
        tables: Which tables.

    Returns:
        How many intents were done, refused and so on, and why it ended.

    Raises:
        OutboxTargetError: The client calls another game than the intents are for.
        KratyServerError: The key of the client is not accepted. The intents stay as they are.
        KratyNetworkError: Kraty could not be asked which game the client calls.
        sqlalchemy.exc.SQLAlchemyError: The database failed. Nothing is lost: what was sent
            without a record is sent again under the same key.
        TypeError, ValueError: An argument is invalid.
    """
    work = Work(
        kraty,
        tables,
        in_flight=in_flight,
        limit=limit,
        seconds=seconds,
        on_refused=on_refused,
        on_unknown=on_unknown,
    )
    return Worker(kraty, engine, stop or threading.Event(), work).run()


def run(
    kraty: KratyAdmin,
    engine: sa.Engine,
    *,
    stop: threading.Event,
    poll: float = 1.0,
    in_flight: int = 4,
    on_refused: Callable[[Intent[Any]], object] | None = None,
    on_unknown: Callable[[Intent[Any]], object] | None = None,
    tables: Tables = TABLES,
) -> DrainReport:
    """Send intents until `stop` is set: `drain`, as a service.

    Args:
        kraty: A client of the game; see `drain` for this and the other arguments.
        engine: Your database.
        stop: Set it to end, for example in a handler of SIGTERM.
        poll: How many seconds to wait when nothing is due.
        in_flight: How many intents to send at a time.
        on_refused: Called with each intent that the platform rejected.
        on_unknown: Called with each intent that a person has to decide about.
        tables: Which tables.
    """
    work = Work(
        kraty,
        tables,
        in_flight=in_flight,
        poll=poll,
        on_refused=on_refused,
        on_unknown=on_unknown,
    )
    return Worker(kraty, engine, stop, work).run()


async def drain_async(
    kraty: KratyAdminAsync,
    engine: AsyncEngine,
    *,
    in_flight: int = 1,
    limit: int | None = None,
    seconds: float | None = 300.0,
    stop: asyncio.Event | None = None,
    on_refused: Callable[[Intent[Any]], object] | None = None,
    on_unknown: Callable[[Intent[Any]], object] | None = None,
    tables: Tables = TABLES,
) -> DrainReport:
    """Send the intents that are due, and return when none is; see `drain`.

    The callbacks are plain functions. If it is cancelled in a call, another worker repeats
    that call under the same key when the lease ends.
    """
    import asyncio

    work = Work(
        kraty,
        tables,
        in_flight=in_flight,
        limit=limit,
        seconds=seconds,
        on_refused=on_refused,
        on_unknown=on_unknown,
    )
    return await AsyncWorker(kraty, engine, stop or asyncio.Event(), work).run()


async def run_async(
    kraty: KratyAdminAsync,
    engine: AsyncEngine,
    *,
    stop: asyncio.Event,
    poll: float = 1.0,
    in_flight: int = 4,
    on_refused: Callable[[Intent[Any]], object] | None = None,
    on_unknown: Callable[[Intent[Any]], object] | None = None,
    tables: Tables = TABLES,
) -> DrainReport:
    """Send intents until `stop` is set; see `run`."""
    work = Work(
        kraty,
        tables,
        in_flight=in_flight,
        poll=poll,
        on_refused=on_refused,
        on_unknown=on_unknown,
    )
    return await AsyncWorker(kraty, engine, stop, work).run()


def status(engine: sa.Engine, *, tables: Tables = TABLES) -> OutboxStatus:
    """Count the intents by state, for monitoring."""
    return _read(engine, lambda connection: _store.status(connection, tables))


def find(
    engine: sa.Engine,
    *,
    intent_id: int | None = None,
    idempotency_key: str | None = None,
    state: IntentState | None = None,
    player: str | None = None,
    limit: int | None = 100,
    tables: Tables = TABLES,
) -> list[Intent[Any]]:
    """Return intents, the latest first.

    Args:
        engine: Your database.
        intent_id: Only the intent with this id.
        idempotency_key: Only the intent with this key.
        state: Only those in this state.
        player: Only those that name this player.
        limit: At most so many; `None` for all.
        tables: Which tables.
    """
    ids = None if intent_id is None else [intent_id]
    return _read(
        engine,
        lambda connection: _store.find(
            connection,
            tables,
            ids=ids,
            key=idempotency_key,
            state=state,
            player=player,
            limit=limit,
        ),
    )


def resolve(
    engine: sa.Engine,
    intent_id: int,
    action: Literal["applied", "send-again", "abandon"],
    *,
    by: str,
    why: str,
    tables: Tables = TABLES,
) -> Intent[Any]:
    """Decide about an intent whose outcome is `unknown`.

    Find out first whether it took effect: look at the player's balance, the ledger and your
    webhooks.

    Args:
        engine: Your database.
        intent_id: The intent.
        action: `applied`: it took effect, so it is done. `abandon`: do not send it.
            `send-again`: it had no effect, so send it. **If it did take effect, this pays out a
            second time.** The platform may have forgotten the key, so it does not recognise
            the repeat. A new 24 hours begin.
        by: Who decided. Stored with the intent.
        why: Why. Stored with the intent.
        tables: Which tables.

    Returns:
        The intent as it is now.

    Raises:
        OutboxError: There is no such intent, or its outcome is not `unknown`.
        ValueError: An argument is invalid.
    """
    return _transact(engine, lambda c: _store.resolve(c, tables, intent_id, action, by=by, why=why))


def retry(
    engine: sa.Engine, intent_id: int, *, by: str, why: str, tables: Tables = TABLES
) -> Intent[Any]:
    """Send an intent again that the platform refused, after its reason is gone.

    It keeps its key and its content. If `error["ambiguous"]` is true, an earlier call may have
    taken effect. Its 23 hours then continue: if they are over, the intent becomes `unknown`.

    Args:
        engine: Your database.
        intent_id: The intent.
        by: Who decided. Stored with the intent.
        why: Why. Stored with the intent.
        tables: Which tables.

    Returns:
        The intent as it is now.

    Raises:
        OutboxError: There is no such intent, or it is not `refused`.
        ValueError: An argument is invalid.
    """
    return _transact(engine, lambda c: _store.retry(c, tables, intent_id, by=by, why=why))


def purge(
    engine: sa.Engine,
    *,
    older_than: timedelta = timedelta(days=400),
    tables: Tables = TABLES,
) -> int:
    """Remove the content of intents that ended long ago, and return how many.

    What remains of each is its key, a hash of its content, its operation, its state and its
    times: enough to recognise the same purchase later. Intents that are open or
    `unknown` stay whole. Nothing is purged unless you call this.

    Args:
        engine: Your database.
        older_than: How long ago they must have ended.
        tables: Which tables.
    """
    ms = round(older_than.total_seconds() * 1000)
    if ms < 0:
        raise ValueError("older_than must not be negative")
    total = 0
    # In portions, so that no transaction holds many rows.
    while count := _transact(
        engine, lambda connection: _store.purge(connection, tables, ms, limit=_store.PORTION)
    ):
        total += count
    return total


def forget_player(session: Session | sa.Connection, player: str, *, tables: Tables = TABLES) -> int:
    """Remove the content of a player's finished intents, in your transaction.

    A worker does so by itself when an intent of `players.delete` is done. Call this if you
    erase a player without the outbox. The keys are still recognised, as after `purge`.

    Args:
        session: A `Session` or a `Connection`.
        player: Your own id of the player.
        tables: Which tables.

    Returns:
        How many intents lost their content.
    """
    connection = session if isinstance(session, sa.Connection) else session.connection()
    return _store.forget_player(connection, tables, player)


def _transact(engine: sa.Engine, work: Callable[[sa.Connection], R]) -> R:
    with engine.connect() as connection:
        return _store.in_transaction(connection, work)


def _read(engine: sa.Engine, work: Callable[[sa.Connection], R]) -> R:
    # Without the lock of SQLite that keeps others from writing.
    with engine.connect() as connection:
        return _store.in_transaction(connection, work, writes=False)
