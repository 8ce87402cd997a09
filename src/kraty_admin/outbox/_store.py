"""The SQL of the outbox. Each function runs in a transaction that its caller began."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from kraty_server_api.intent import Intent, IntentState
from kraty_server_api.models import WebhookEvent
from kraty_server_api.operation import Operation
from kraty_server_api.outbox import REBUILD

from .._call._idempotency import stamp
from .._call._json import encode
from . import _clock
from ._connection import Connection
from ._errors import OutboxConflictError, OutboxError, OutboxTargetError
from ._life import Claim, Settlement, limits_of_repeats
from ._tables import VERSION, Tables

__all__ = [
    "PORTION",
    "Action",
    "OutboxStatus",
    "Target",
    "claim",
    "expire",
    "find",
    "find_target",
    "forget_player",
    "has_any_in_doubt",
    "in_transaction",
    "insert_if_new",
    "moment_or_none",
    "purge",
    "record",
    "register",
    "remember",
    "resolve",
    "retry",
    "settle",
    "status",
    "upgrade",
]

T = TypeVar("T")
R = TypeVar("R")

Action: TypeAlias = Literal["applied", "send-again", "abandon"]
"""What a person may decide about an intent whose outcome is unknown."""

PORTION: Final = 500
"""How many intents to change in a transaction, or to name in a statement."""


class Target(NamedTuple):
    """Which game of which server an intent is for."""

    origin: str
    """The URL of the server, without `/server/v1`."""
    studio_id: str
    """The studio that owns the game."""
    game_id: str
    """The game that the API key is for."""
    environment: str
    """`live` or `test`."""

    def __str__(self) -> str:
        return f"game {self.game_id or '?'} ({self.environment or '?'}) at {self.origin}"


class OutboxStatus(NamedTuple):
    """How many intents wait, for monitoring."""

    counts: Mapping[IntentState, int]
    """How many intents there are in each state; those without any are left out."""
    oldest_open: datetime | None
    """When the oldest intent was recorded that is still to be sent."""
    oldest_unknown: datetime | None
    """When the oldest intent stopped that waits for a person."""


def in_transaction(
    connection: sa.Connection, work: Callable[[sa.Connection], R], *, writes: bool = True
) -> R:
    """Run work in a transaction of its own, on a connection that has none yet."""
    if connection.dialect.name != "sqlite":
        with connection.execution_options(isolation_level="READ COMMITTED").begin():
            return work(connection)
    driver: Any = connection.connection.driver_connection
    # In Python's mode `autocommit=False`, a transaction is always open.
    if driver.in_transaction and getattr(driver, "autocommit", None) is not False:
        raise OutboxError(
            "the database connection is in another transaction: end that first, or use an "
            "engine that gives each its own connection, as one of a file does"
        )
    with connection.begin():
        if writes and driver.in_transaction:
            # The engine begins by itself, without the lock. It has read nothing yet.
            connection.exec_driver_sql("ROLLBACK")
        if writes:
            # Python's sqlite3 begins a transaction at the first change, where it can be too
            # late to wait for another writer. So begin with the lock.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        return work(connection)


def insert_if_new(
    connection: Connection,
    table: sa.Table,
    values: Mapping[str, Any],
    *returning: sa.Column[Any],
) -> Any:
    """Insert a row, and return its columns; `None` if a row with such a key exists."""
    match connection.dialect.name:
        case "postgresql":
            statement: Any = postgresql.insert(table).on_conflict_do_nothing()
        case "sqlite":
            statement = sqlite.insert(table).on_conflict_do_nothing()
        case name:
            raise OutboxError(f"an outbox needs PostgreSQL or SQLite, not {name}")
    return connection.execute(statement.values(values).returning(*returning)).first()


_SET_UP_LOCK: Final = 0x6B72617479
"""The number of the lock under which tables are created, the same for all processes."""


def upgrade(connection: sa.Connection, tables: Tables) -> None:
    """Create the tables, or bring those of an earlier version up to date.

    Raises:
        OutboxError: A later version of the SDK has written them.
    """
    if connection.dialect.name == "postgresql":
        # Several instances of a service may start at the same time.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SET_UP_LOCK)))
    tables.metadata.create_all(connection, tables=list(tables.all), checkfirst=True)
    if _version(connection, tables) is None:
        connection.execute(tables.version.insert().values(version=VERSION))


def _version(connection: sa.Connection, tables: Tables) -> int | None:
    """Return the version of the tables; `None` if nothing was recorded in them yet."""
    found: int | None = connection.scalar(sa.select(sa.func.max(tables.version.c.version)))
    if found not in (None, VERSION):
        raise OutboxError(
            f"the tables of the outbox have version {found}, and this SDK knows version {VERSION}: "
            "use the version of the SDK that wrote them, or a later one"
        )
    return found


def _targets(connection: Connection, tables: Tables) -> dict[Target, int]:
    table = tables.targets
    rows = connection.execute(
        sa.select(
            table.c.id, table.c.origin, table.c.studio_id, table.c.game_id, table.c.environment
        )
    )
    return {Target(*row[1:]): row[0] for row in rows}


def register(connection: sa.Connection, tables: Tables, target: Target, *, add: bool) -> None:
    """Record that intents of this database are for a target.

    Raises:
        OutboxTargetError: The database has another target, and `add` is false.
    """
    known = _targets(connection, tables)
    if known and target not in known and not add:
        raise OutboxTargetError(
            f"this database's outbox is for {_named(known)}, and the client calls {target}. Use "
            "the database of that environment, or pass add_target=True if it serves both"
        )
    insert_if_new(connection, tables.targets, target._asdict(), tables.targets.c.id)


def find_target(connection: sa.Connection, tables: Tables, target: Target) -> int:
    """Return the id of a target.

    Raises:
        OutboxTargetError: It has not been registered.
        OutboxError: A later version of the SDK has written the tables.
    """
    _version(connection, tables)
    known = _targets(connection, tables)
    if target not in known:
        what = f"is for {_named(known)}" if known else "has no target yet: call outbox.set_up once"
        raise OutboxTargetError(
            f"the client calls {target}, and this database's outbox {what}. Nothing was sent"
        )
    return known[target]


def _only_target(connection: Connection, tables: Tables, game_id: str | None) -> int:
    """Return the id of the target of new intents."""
    known = _targets(connection, tables)
    chosen = [number for target, number in known.items() if game_id in (None, target.game_id)]
    if len(chosen) == 1:
        return chosen[0]
    if not known:
        raise OutboxTargetError(
            "this database's outbox has no target yet: call outbox.set_up(engine, kraty) once, "
            "when you deploy"
        )
    raise OutboxTargetError(
        f"this database's outbox is for {_named(known)}: pass game_id to outbox.into to name one"
        if chosen or game_id is None
        else f"this database's outbox is for {_named(known)}, not for game {game_id!r}"
    )


def _named(targets: Iterable[Target]) -> str:
    return " and ".join(str(target) for target in targets)


def _request_hash(operation: Operation[Any], body: Mapping[str, Any] | None) -> str:
    """Hash what a key stands for. The order of an object's fields does not count."""
    what = [operation.name, operation.path, body]
    text = json.dumps(what, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def record(
    connection: Connection,
    tables: Tables,
    operation: Operation[T],
    game_id: str | None,
    generate_key: Callable[[], str],
) -> Intent[T]:
    """Record an operation, or find the intent that holds its key.

    Raises:
        OutboxConflictError: The key is that of another operation or body.
        OutboxTargetError: It is not known which game it is for.
        TypeError, ValueError: The body holds a value that JSON lacks.
    """
    target_id = _only_target(connection, tables, game_id)
    body, key = stamp(operation.method, operation.body, generate_key)
    data = encode(body or {}).decode()
    # Parsed again, so that what is compared is what is sent.
    request_hash = _request_hash(operation, json.loads(data))
    table = tables.intents
    now = _clock.now_ms()
    row = insert_if_new(
        connection,
        table,
        {
            "target_id": target_id,
            "operation": operation.name,
            "idempotency_key": key,
            "request_hash": request_hash,
            "path": operation.path,
            "body": data,
            "state": "pending",
            "attempts": 0,
            "created_ms": now,
            "due_ms": now,
        },
        *table.c,
    )
    if row is not None:
        players = list(dict.fromkeys(operation.players))
        if players:
            connection.execute(
                tables.players.insert(),
                [
                    {"intent_id": row.id, "player": player, "target_id": target_id, "waiting": 1}
                    for player in players
                ],
            )
        return _intent(row, players, operation.result, is_new=True)
    row = connection.execute(
        table.select().where(table.c.target_id == target_id, table.c.idempotency_key == key)
    ).one()
    if row.request_hash != request_hash:
        raise OutboxConflictError(
            f"intent {row.id}, {row.operation}, already holds this idempotency key, with another "
            f"call or body than this {operation.name}. Nothing was recorded",
            intent_id=row.id,
            idempotency_key=row.idempotency_key,
        )
    return _intent(row, _players_of(connection, tables, row.id), operation.result)


def _players_of(connection: Connection, tables: Tables, intent_id: int) -> list[str]:
    players = tables.players
    names = sa.select(players.c.player).where(players.c.intent_id == intent_id)
    return list(connection.execute(names.order_by(players.c.player)).scalars())


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, timezone.utc)


def moment_or_none(ms: int | None) -> datetime | None:
    """Return the moment that a column of milliseconds holds; `None` for NULL."""
    return None if ms is None else _moment(ms)


def _intent(
    row: sa.Row[Any],
    players: Iterable[str],
    result: Callable[[dict[str, Any]], T],
    *,
    is_new: bool = False,
) -> Intent[T]:
    return Intent(
        id=row.id,
        operation=row.operation,
        idempotency_key=row.idempotency_key,
        players=tuple(players),
        path=row.path,
        body=None if row.body is None else json.loads(row.body),
        state=row.state,
        attempts=row.attempts,
        created_at=_moment(row.created_ms),
        due_at=_moment(row.due_ms),
        first_sent_at=moment_or_none(row.first_sent_ms),
        stopped_at=moment_or_none(row.stopped_ms),
        error=None if row.error is None else json.loads(row.error),
        notes=tuple(json.loads(row.notes or "[]")),
        result=None if row.result is None else result(json.loads(row.result)),
        is_new=is_new,
    )


def _may_repeat(intents: sa.FromClause) -> sa.ColumnElement[bool]:
    """Test whether the platform still has the key of an intent that was sent before."""
    conditions: list[sa.ColumnElement[bool]] = []
    for ms, names in limits_of_repeats().items():
        known = intents.c.operation.in_(names)
        fresh = None if ms is None else intents.c.first_sent_ms > _clock.now_ms() - ms
        conditions.append(known if fresh is None else sa.and_(known, fresh))
    return sa.or_(*conditions)


def claim(
    connection: sa.Connection,
    tables: Tables,
    target_id: int,
    *,
    lease_ms: int,
    only_in_doubt: bool = False,
) -> Claim | None:
    """Take the next intent, and record durably that it is about to be sent.

    Args:
        connection: A connection; nothing else may use it.
        tables: The tables.
        target_id: Whose intents to take.
        lease_ms: For how long no other worker may take it.
        only_in_doubt: Take only an intent that has been sent before.
    """
    intents, now = tables.intents, _clock.now_ms()
    due = intents.alias("due")
    mine, earlier = tables.players.alias("mine"), tables.players.alias("earlier")
    # Not a join: SQLite would begin it with all that wait, for each intent.
    is_behind = (
        sa.select(sa.literal(1))
        .where(
            earlier.c.target_id == target_id,
            earlier.c.player == mine.c.player,
            earlier.c.intent_id < mine.c.intent_id,
            earlier.c.waiting.is_not(None),
        )
        .correlate(mine)
        .exists()
    )
    held_back = (
        sa.select(sa.literal(1)).where(mine.c.intent_id == due.c.id, is_behind).correlate(due)
    ).exists()
    may_repeat = _may_repeat(due)
    next_id = (
        sa.select(due.c.id)
        .where(
            due.c.target_id == target_id,
            due.c.stopped_ms.is_(None),
            due.c.due_ms <= now,
            sa.and_(due.c.first_sent_ms.is_not(None), may_repeat)
            if only_in_doubt
            else sa.or_(due.c.first_sent_ms.is_(None), may_repeat),
            ~held_back,
        )
        .order_by(due.c.due_ms, due.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=due)
        .scalar_subquery()
    )
    c = intents.c
    row = connection.execute(
        intents.update()
        .where(c.id == next_id)
        .values(
            state="sending",
            attempts=c.attempts + 1,
            due_ms=now + lease_ms,
            first_sent_ms=sa.func.coalesce(c.first_sent_ms, now),
            # That an earlier call had no effect does not hold for this one.
            error=sa.case((c.first_sent_ms.is_not(None), c.error)),
        )
        .returning(
            c.id,
            c.operation,
            c.idempotency_key,
            c.path,
            c.body,
            c.attempts,
            c.due_ms - lease_ms,
            c.first_sent_ms,
        )
    ).first()
    return None if row is None else Claim(*row)


def has_any_in_doubt(connection: sa.Connection, tables: Tables, target_id: int) -> bool:
    """Return whether an open intent may have taken effect."""
    c = tables.intents.c
    found = sa.select(c.id).where(
        c.target_id == target_id, c.stopped_ms.is_(None), c.first_sent_ms.is_not(None)
    )
    return connection.execute(found.limit(1)).first() is not None


def settle(connection: sa.Connection, tables: Tables, claim: Claim, settlement: Settlement) -> bool:
    """Record what became of an intent. Return false if another worker has taken it over."""
    c, now = tables.intents.c, _clock.now_ms()
    is_open = settlement.wait_ms is not None
    changed = connection.execute(
        tables.intents.update()
        .where(c.id == claim.id, c.state == "sending", c.attempts == claim.attempts)
        .values(
            state=settlement.state,
            first_sent_ms=settlement.first_sent_ms,
            due_ms=now + (settlement.wait_ms or 0),
            stopped_ms=None if is_open else now,
            result=settlement.result,
            error=settlement.error,
        )
    )
    if changed.rowcount == 0:
        return False
    if not is_open:
        _release(connection, tables, [claim.id])
    if settlement.erases_players:
        row = connection.execute(sa.select(c.target_id).where(c.id == claim.id)).one()
        for player in _players_of(connection, tables, claim.id):
            forget_player(connection, tables, player, target_id=row.target_id)
    return True


def _release(connection: sa.Connection, tables: Tables, ids: list[int]) -> None:
    """Let intents hold back no others any more."""
    players = tables.players
    connection.execute(players.update().where(players.c.intent_id.in_(ids)).values(waiting=None))


def expire(connection: sa.Connection, tables: Tables, target_id: int, *, limit: int) -> list[int]:
    """Stop intents in doubt whose keys may be forgotten, at most `limit`. Return their ids."""
    c, now = tables.intents.c, _clock.now_ms()
    too_old = (
        sa.select(c.id)
        .where(
            c.target_id == target_id,
            c.stopped_ms.is_(None),
            c.first_sent_ms.is_not(None),
            ~_may_repeat(tables.intents),
            # An intent that is being sent belongs to its worker until the lease ends.
            sa.or_(c.state == "pending", c.due_ms <= now),
        )
        .order_by(c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.scalars(too_old))
    if ids:
        connection.execute(
            tables.intents.update()
            .where(c.id.in_(ids))
            .values(state="unknown", stopped_ms=_clock.now_ms())
        )
        _release(connection, tables, ids)
    return ids


def find(
    connection: Connection,
    tables: Tables,
    *,
    ids: Iterable[int] | None = None,
    key: str | None = None,
    state: IntentState | None = None,
    player: str | None = None,
    limit: int | None = None,
) -> list[Intent[Any]]:
    """Return intents, the latest first."""
    table = tables.intents
    query = table.select().order_by(table.c.id.desc()).limit(limit)
    if key is not None:
        # The index begins with the target, so the query names all of them.
        targets = sa.select(tables.targets.c.id)
        query = query.where(table.c.target_id.in_(targets), table.c.idempotency_key == key)
    if ids is not None:
        query = query.where(table.c.id.in_(list(ids)))
    if state is not None:
        # The second condition lets the database use the index of those that stopped.
        is_open = table.c.stopped_ms.is_(None)
        query = query.where(
            table.c.state == state, is_open if state in ("pending", "sending") else ~is_open
        )
    if player is not None:
        players = tables.players
        named = sa.select(players.c.intent_id).where(players.c.player == player)
        query = query.where(table.c.id.in_(named))
    rows = connection.execute(query).all()
    names: dict[int, list[str]] = {row.id: [] for row in rows}
    players = tables.players
    for portion in _portions(list(names)):
        for number, name in connection.execute(
            sa.select(players.c.intent_id, players.c.player).where(players.c.intent_id.in_(portion))
        ):
            names[number].append(name)
    # Sorted here: for that order, PostgreSQL would read the index of all players.
    return [_intent(row, sorted(names[row.id]), _result_of(row.operation)) for row in rows]


def _portions(ids: list[int]) -> Iterable[list[int]]:
    """Cut a list: a statement may have only so many parameters."""
    return (ids[start : start + PORTION] for start in range(0, len(ids), PORTION))


def _result_of(operation: str) -> Callable[[dict[str, Any]], Any]:
    """Return what makes the result; a plain dict for a method that this version lacks."""
    rebuild = REBUILD.get(operation)
    return dict if rebuild is None else rebuild("", None).result


def status(connection: Connection, tables: Tables) -> OutboxStatus:
    """Count the intents."""
    c = tables.intents.c
    # Two queries, each with an index of its own: the finished rows may be many.
    open_ = connection.execute(
        sa.select(c.state, sa.func.count(), sa.func.min(c.created_ms))
        .where(c.stopped_ms.is_(None))
        .group_by(c.state)
    ).all()
    stopped = connection.execute(
        sa.select(c.state, sa.func.count(), sa.func.min(c.stopped_ms))
        .where(c.stopped_ms.is_not(None))
        .group_by(c.state)
    ).all()
    unknown = [oldest for state, _, oldest in stopped if state == "unknown"]
    return OutboxStatus(
        {row[0]: row[1] for row in [*open_, *stopped]},
        moment_or_none(min((row[2] for row in open_), default=None)),
        moment_or_none(min(unknown, default=None)),
    )


def resolve(
    connection: Connection, tables: Tables, intent_id: int, action: Action, *, by: str, why: str
) -> Intent[Any]:
    """Decide about an intent that is unknown; see `outbox.resolve`."""
    note = {"action": action, "by": _text("by", by), "why": _text("why", why)}
    stopped = {"stopped_ms": _clock.now_ms()}
    values: dict[str, Any]
    match action:
        case "applied":
            values = {"state": "done", **stopped}
        case "abandon":
            values = {"state": "abandoned", **stopped}
        case "send-again":
            # A person has found out that it had no effect, so the time of its key begins again.
            values = {**_reopened(), "first_sent_ms": None}
        case _:
            raise ValueError("action must be applied, send-again or abandon")
    return _decide(connection, tables, intent_id, values, note, "unknown", "`unknown`")


def retry(
    connection: Connection, tables: Tables, intent_id: int, *, by: str, why: str
) -> Intent[Any]:
    """Send an intent again that was refused; see `outbox.retry`.

    An earlier attempt of it may have taken effect. Then it stays in doubt, and the time of its
    key goes on.
    """
    note = {"action": "retry", "by": _text("by", by), "why": _text("why", why)}
    needed = "`refused`, with its content"
    return _decide(connection, tables, intent_id, _reopened(), note, "refused", needed)


def _reopened() -> dict[str, Any]:
    return {"state": "pending", "stopped_ms": None, "due_ms": _clock.now_ms()}


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a text that is not empty")
    return value


def _decide(
    connection: Connection,
    tables: Tables,
    intent_id: int,
    values: Mapping[str, Any],
    note: Mapping[str, str],
    state: IntentState,
    needed: str,
) -> Intent[Any]:
    c = tables.intents.c
    # A row without content cannot be sent any more.
    condition = sa.and_(c.id == intent_id, c.state == state, c.body.is_not(None))
    old = connection.execute(sa.select(c.notes).where(condition).with_for_update()).first()
    if old is not None:
        now: int = connection.execute(sa.select(_clock.now_ms())).one()[0]
        notes = [*json.loads(old.notes or "[]"), {"at": _moment(now).isoformat(), **note}]
        # Not with ensure_ascii=False here and elsewhere: a database may reject a lone surrogate.
        changed = {"notes": json.dumps(notes), **values}
        connection.execute(tables.intents.update().where(c.id == intent_id).values(changed))
        waiting = None if values["stopped_ms"] is not None else 1
        players = tables.players
        connection.execute(
            players.update().where(players.c.intent_id == intent_id).values(waiting=waiting)
        )
    found = find(connection, tables, ids=[intent_id])
    if not found:
        raise OutboxError(f"there is no intent {intent_id}")
    if old is None:
        raise OutboxError(f"intent {intent_id} is {found[0].state}; it must be {needed}")
    return found[0]


def purge(connection: sa.Connection, tables: Tables, older_than_ms: int, *, limit: int) -> int:
    """Remove the content of finished intents, at most `limit` of them. Return how many.

    What stays recognises a later repeat of the key: key, hash, operation, state and times.
    """
    c = tables.intents.c
    old = (
        sa.select(c.id)
        .where(
            # Not the states that it may have: SQLite would use the index of those, and sort.
            c.state != "unknown",
            c.stopped_ms.is_not(None),
            c.stopped_ms < _clock.now_ms() - older_than_ms,
            c.body.is_not(None),
        )
        .order_by(c.stopped_ms)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return _strip(connection, tables, list(connection.scalars(old)))


def forget_player(
    connection: Connection, tables: Tables, player: str, *, target_id: int | None = None
) -> int:
    """Remove the content of a player's finished intents. Return how many.

    Args:
        connection: A connection.
        tables: The tables.
        player: The caller's id of the player.
        target_id: Only intents of this target; `None` for all.
    """
    c, players = tables.intents.c, tables.players
    named = sa.select(players.c.intent_id).where(
        players.c.player == player, players.c.waiting.is_(None)
    )
    if target_id is not None:
        named = named.where(players.c.target_id == target_id)
    finished = sa.select(c.id).where(c.id.in_(named), c.state.in_(["done", "refused", "abandoned"]))
    # In one order, so that two of these do not wait for each other.
    ids = connection.execute(finished.order_by(c.id).with_for_update()).scalars()
    return _strip(connection, tables, list(ids))


def _strip(connection: Connection, tables: Tables, ids: list[int]) -> int:
    intents, players = tables.intents, tables.players
    content = {"path": None, "body": None, "result": None, "error": None}
    for portion in _portions(ids):
        connection.execute(intents.update().where(intents.c.id.in_(portion)).values(content))
        connection.execute(players.delete().where(players.c.intent_id.in_(portion)))
    return len(ids)


def remember(connection: Connection, tables: Tables, event: WebhookEvent) -> bool:
    """Store the id of a webhook's event. Return false if it is stored already.

    Raises:
        ValueError: The event has no id.
    """
    event_id = event.get("id")
    if not isinstance(event_id, str) or not event_id:
        raise ValueError("the event has no id, so a repeat of it cannot be recognised")
    values = {
        "event_id": event_id,
        "event_name": str(event.get("eventName", "")),
        "received_ms": _clock.now_ms(),
    }
    return insert_if_new(connection, tables.inbox, values, tables.inbox.c.event_id) is not None
