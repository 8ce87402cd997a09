"""Durable fulfilment: record a call in your own transaction, and let a worker send it.

    with Session(engine) as session, session.begin():
        session.add(Purchase(receipt_id=receipt.id, player="player_42"))
        outbox.into(session).wallet.credit(
            "player_42", "gold", amount=500, idempotency_key=derive_key("iap", receipt.id)
        )

    outbox.drain(kraty, engine)

The purchase and its fulfilment are stored together or not at all. A recorded call is an
*intent*: a row in your database. A worker sends it under its own key until there is a definite
answer. If the platform may have forgotten the key before that, no worker sends the intent again,
and a person decides. The same key is never recorded twice, so a receipt that returns after a year
does not pay out again.

This module needs the extra `outbox`: `pip install 'kraty-admin[outbox]'`. It works with
PostgreSQL and SQLite.
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

# Make tracebacks, reprs and pickles name the public module.
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
    """Create the tables if they are missing, and record which game they are for.

    Call it when you deploy. It makes one call to Kraty, which says which game the key belongs
    to. If everything is in place, it changes nothing.

    Args:
        engine: Your database.
        kraty: A client of the game.
        tables: The tables to use. Tables that Alembic has created are kept as they are.
        add_target: Allow this game in a database that already has intents of another game.
            Then `into` needs a `game_id`.

    Returns:
        The server, the studio, the game and the environment.

    Raises:
        OutboxTargetError: The database is for another game, environment or server, and
            `add_target` is false.
        OutboxError: Another version of the SDK has created the tables, or the database is
            neither PostgreSQL nor SQLite.
        KratyServerError, KratyNetworkError: The call to Kraty failed.
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

    Run a statement that may fail in a savepoint (`session.begin_nested()`). If you catch a
    database error without one, the commit stores nothing, and usually raises nothing.

    A method raises `OutboxConflictError` if another call is recorded under its key. It raises
    `OutboxTargetError` if `set_up` has not been called, or if `game_id` does not select one game.

    Args:
        session: A `Session` or a `Connection` of SQLAlchemy, or an asynchronous one: then
            await the methods. If a session has several engines, pass the connection that your
            purchase uses, or the two are not in one transaction.
        game_id: The game, if the database has intents of several games.
        tables: The tables to use.

    Raises:
        TypeError: `session` is of another type.
    """
    if isinstance(session, Session | scoped_session | sa.Connection):

        def record(operation: Operation[T], /) -> Intent[T]:
            connection = session if isinstance(session, sa.Connection) else session.connection()
            return _store.record(connection, tables, operation, game_id, _new_key)

        return OutboxResources(record)
    # Imported here because greenlet, which it needs, may not be installed.
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
    """Send the intents that are due, and return when none are due any more.

    Any number of workers may run at the same time. If a worker is killed, no intent is lost:
    its lease ends a minute after the call's deadline, and then another worker repeats the call
    under the same key. After a call without an answer, a worker sends no further intent until the
    platform answers a ping.

    Args:
        kraty: A client of the game. Its deadline must be at most 1,800 s.
        engine: Your database. Each call in flight needs a connection from its pool at times.
        in_flight: How many intents to send at a time, at least 1. More than one uses threads.
        limit: The most intents to send, at least 1; `None` for no limit.
        seconds: Start no call after this many seconds; `None` for no limit. A call in progress
            may last until its deadline.
        stop: Once it is set, no call starts; calls in progress are finished.
        on_refused: Called with each intent that the platform rejected, after that was stored. It
            is not called if the process ends in between. `find(engine, state="refused")` lists
            these intents.
        on_unknown: Called in the same way with each intent that a person has to decide about,
            because it may have taken effect and the platform may have forgotten its key.
            `find(engine, state="unknown")` lists these intents.
        tables: The tables to use.

    Returns:
        How many intents were done, refused and so on, and why the worker ended.

    Raises:
        OutboxTargetError: The client calls another game than the intents are for.
        KratyServerError: The platform does not accept the client's API key, or the call that
            asks which game the client calls failed. The intents stay as they are.
        KratyNetworkError: The call that asks which game the client calls got no answer.
        KratyClosedError: The client was closed.
        sqlalchemy.exc.SQLAlchemyError: The database failed. No intent is lost: if one was sent
            but its outcome was not stored, it is sent again under the same key.
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
    """Send intents until `stop` is set: like `drain`, but as a service.

    Args:
        kraty: A client of the game; see `drain` for this and the other arguments.
        engine: Your database.
        stop: Set it to end, for example in a handler of SIGTERM. If this runs in a thread of a
            service, set it when the service ends: Python does not exit before.
        poll: How many seconds to wait when nothing is due, above 0.
        in_flight: How many intents to send at a time, at least 1.
        on_refused: Called with each intent that the platform rejected.
        on_unknown: Called with each intent that a person has to decide about.
        tables: The tables to use.

    Returns:
        How many intents were done, refused and so on.

    Raises:
        TypeError, ValueError: An argument is invalid. The other errors are those of `drain`.
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
    """Send the intents that are due, and return when none are due any more; see `drain`.

    The callbacks are plain functions. If this function is cancelled during a call, another
    worker repeats that call under the same key when the lease has ended.
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
    """Count the intents by state, for monitoring.

    Args:
        engine: Your database.
        tables: The tables to use.

    Returns:
        The counts, and since when the oldest intents wait.
    """
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
        state: Only intents in this state.
        player: Only intents that name this player, by your own id.
        limit: The most intents to return; `None` for all.
        tables: The tables to use.

    Raises:
        ValueError: There is no such state.
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
            second time.** The platform may have forgotten the key, so it would not recognise
            the repeat. The outbox then counts the age of the key from the new call.
        by: Who decided. Stored with the intent.
        why: The reason for the decision. Stored with the intent.
        tables: The tables to use.

    Returns:
        The intent after the decision.

    Raises:
        OutboxError: There is no such intent, or its state is not `unknown`.
        ValueError: An argument is invalid.
    """
    return _transact(engine, lambda c: _store.resolve(c, tables, intent_id, action, by=by, why=why))


def retry(
    engine: sa.Engine, intent_id: int, *, by: str, why: str, tables: Tables = TABLES
) -> Intent[Any]:
    """Send a refused intent again, once the reason for the refusal is gone.

    The intent keeps its key and its content. If `error["ambiguous"]` is true, an earlier attempt
    may have taken effect. Then the time for which its key counts as valid does not start again:
    if it is over, the intent becomes `unknown` instead of being sent.

    Args:
        engine: Your database.
        intent_id: The intent.
        by: Who decided. Stored with the intent.
        why: The reason for the decision. Stored with the intent.
        tables: The tables to use.

    Returns:
        The intent after the decision.

    Raises:
        OutboxError: There is no such intent, it is not `refused`, or its content was purged.
        ValueError: An argument is invalid.
    """
    return _transact(engine, lambda c: _store.retry(c, tables, intent_id, by=by, why=why))


def purge(
    engine: sa.Engine,
    *,
    older_than: timedelta = timedelta(days=400),
    tables: Tables = TABLES,
) -> int:
    """Remove the content of intents that ended long ago.

    Each keeps its key, a hash of its content, its operation, its state, its notes and its
    times: enough to recognise the same purchase later. Intents that are open or
    `unknown` keep their content. No worker purges by age. When a worker has erased a player, it
    removes the content of that player's finished intents: see `forget_player`.

    Args:
        engine: Your database.
        older_than: Purge intents that ended longer ago than this.
        tables: The tables to use.

    Returns:
        How many intents were purged.

    Raises:
        ValueError: `older_than` is negative.
    """
    ms = _store.age_ms(older_than)
    total = 0
    # In portions, so that no transaction locks many rows.
    while count := _transact(
        engine, lambda connection: _store.purge(connection, tables, ms, limit=_store.PORTION)
    ):
        total += count
    return total


def forget_player(session: Session | sa.Connection, player: str, *, tables: Tables = TABLES) -> int:
    """Remove the content of a player's finished intents, in your transaction.

    When an intent of `players.delete` is done, the worker does this itself. Call this if you
    erase a player without the outbox. The keys are still recognised, as after `purge`. Intents
    that are open or `unknown` keep their content: call this again when they have ended.

    Args:
        session: A `Session` or a `Connection` of SQLAlchemy.
        player: Your own id of the player.
        tables: The tables to use.

    Returns:
        How many intents lost their content.
    """
    connection = session if isinstance(session, sa.Connection) else session.connection()
    return _store.forget_player(connection, tables, player)


def _transact(engine: sa.Engine, work: Callable[[sa.Connection], R]) -> R:
    with engine.connect() as connection:
        return _store.in_transaction(connection, work)


def _read(engine: sa.Engine, work: Callable[[sa.Connection], R]) -> R:
    # Without the lock with which SQLite would block other writers.
    with engine.connect() as connection:
        return _store.in_transaction(connection, work, writes=False)
