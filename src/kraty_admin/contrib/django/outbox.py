"""The outbox in Django's databases.

`into` records calls in Django's own transaction. `engine` returns the engine to pass to the
functions of `kraty_admin.outbox`.
"""

from __future__ import annotations

from typing import TypeVar

import sqlalchemy as sa
from django.db import DEFAULT_DB_ALIAS

from kraty_admin.outbox import Intent, OutboxResources
from kraty_admin.outbox._store import forget_player as _forget_player
from kraty_admin.outbox._store import record as _record
from kraty_admin.outbox._tables import TABLES
from kraty_server_api.operation import Operation

from ..._call._idempotency import random_keys
from ._connection import in_atomic, make_engine

__all__ = ["engine", "forget_player", "into"]

T = TypeVar("T")

_new_key = random_keys()


def into(using: str = DEFAULT_DB_ALIAS, *, game_id: str | None = None) -> OutboxResources:
    """Return the resources of a client, whose methods record their calls in Django's transaction.

    Nothing is stored until the `atomic()` block around it commits, and nothing is sent before
    that. Pass an `idempotency_key` that you derive from what you fulfil: by this key, the outbox
    recognises the same purchase when it returns. Without one, each call is a new intent.

    Run a statement that may fail in an `atomic()` block of its own. If you catch a database error
    without one, Django or PostgreSQL rolls everything back at the end, and raises nothing.

    A method raises `OutboxConflictError` if another call is recorded under its key. It raises
    `OutboxTargetError` if `kraty_outbox set-up` has not been run, or if `game_id` does not select
    one game.

    Args:
        using: The alias of the database that your purchase is written to.
        game_id: The game, if the database has intents of several games.

    Raises:
        TransactionManagementError: No `atomic()` block of that database is open, now or when a
            method is called. The ones that `TestCase` puts around a test do not count.
        SynchronousOnlyOperation: An event loop runs in this thread.
        OutboxError: The database is neither PostgreSQL nor SQLite.
    """
    in_atomic(using, "outbox.into()")

    def record(operation: Operation[T], /) -> Intent[T]:
        connection = in_atomic(using, "recording a call")
        return _record(connection, TABLES, operation, game_id, _new_key)

    return OutboxResources(record)


def forget_player(player: str, using: str = DEFAULT_DB_ALIAS) -> int:
    """Remove the content of a player's finished intents, in Django's transaction.

    When an intent of `players.delete` is done, the worker does this itself. Call this if you
    erase a player without the outbox. The keys are still recognised, as after `purge`. Intents
    that are open or `unknown` keep their content: call this again when they have ended.

    Args:
        player: Your own id of the player.
        using: The alias of the database.

    Returns:
        How many intents lost their content.

    Raises:
        TransactionManagementError, SynchronousOnlyOperation, OutboxError: See `into`.
    """
    return _forget_player(in_atomic(using, "outbox.forget_player()"), TABLES, player)


def engine(using: str = DEFAULT_DB_ALIAS) -> sa.Engine:
    """Return an engine of SQLAlchemy for one of Django's databases.

    Pass it to the functions of `kraty_admin.outbox` that take an engine, such as `status`, `find`,
    `drain` and `purge`. It connects as Django does, but over its own connections. So it does not
    see uncommitted changes of a Django transaction. Call its `dispose()` when done. Do not use it
    in a process that was forked after this call.

    Args:
        using: The alias of the database.

    Raises:
        OutboxError: The database is neither PostgreSQL nor SQLite.
    """
    return make_engine(using)
