"""The SQL of the outbox. Each function runs in a transaction that its caller began."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar, get_args

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
    "age_ms",
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
    "still_open",
    "upgrade",
]

T = TypeVar("T")
R = TypeVar("R")

Action: TypeAlias = Literal["applied", "send-again", "abandon"]
"""What a person may decide about an intent whose outcome is unknown."""

PORTION: Final = 500
"""The most intents to change in one transaction, or to name in one statement."""


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
    """How many intents there are in each state; a state without intents is left out."""
    oldest_open: datetime | None
    """When the oldest open intent (`pending` or `sending`) was recorded; `None` without one."""
    oldest_unknown: datetime | None
    """When the oldest `unknown` intent stopped; `None` without one."""


def still_open(status: OutboxStatus) -> str:
    """Say what is open after a worker found nothing due; empty if nothing is."""
    counts = [(state, status.counts.get(state, 0)) for state in ("pending", "sending")]
    words = ", ".join(f"{count} {state}" for state, count in counts if count)
    if not words:
        return ""
    if status.counts.get("sending"):
        words += ", by another worker or by one that was killed"
    return f"Open, but not due now: {words}."


def in_transaction(
    connection: sa.Connection, work: Callable[[sa.Connection], R], *, writes: bool = True
) -> R:
    """Run `work` in a new transaction, on a connection that is not in one."""
    if connection.dialect.name != "sqlite":
        with connection.execution_options(isolation_level="READ COMMITTED").begin():
            return work(connection)
    driver: Any = connection.connection.driver_connection
    # In Python's mode `autocommit=False`, a transaction is always open.
    if driver.in_transaction and getattr(driver, "autocommit", None) is not False:
        raise OutboxError(
            "the database connection is in another transaction: end that first, or use an "
            "engine that opens a connection for each, such as one for a database file"
        )
    with connection.begin():
        if writes and driver.in_transaction:
            # The engine or the driver has begun one without the lock. It has read nothing yet.
            connection.exec_driver_sql("ROLLBACK")
        if writes:
            # Python's sqlite3 begins a transaction at the first change. Then SQLite may refuse
            # to wait for another writer, because of what was read before. So begin with the
            # lock.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        return work(connection)


def insert_if_new(
    connection: Connection,
    table: sa.Table,
    values: Mapping[str, Any],
    *returning: sa.Column[Any],
) -> Any:
    """Insert a row and return the columns in `returning`; `None` if its key exists already."""
    insert: Any = postgresql.insert if _is_postgresql(connection) else sqlite.insert
    # Named, so that the database refuses the statement if the table lacks the constraint, for
    # example because someone has partitioned it. Without it, each repeat would be new.
    unique = (each for each in table.constraints if isinstance(each, sa.UniqueConstraint))
    key = next(unique, table.primary_key).columns
    statement = insert(table).on_conflict_do_nothing(index_elements=list(key))
    return connection.execute(statement.values(values).returning(*returning)).first()


def _is_postgresql(connection: Connection) -> bool:
    """Return whether the database is PostgreSQL, and not SQLite.

    Raises:
        OutboxError: It is neither.
    """
    name = connection.dialect.name
    if name not in ("postgresql", "sqlite"):
        raise OutboxError(f"an outbox needs PostgreSQL or SQLite, not {name}")
    return name == "postgresql"


_SET_UP_LOCK: Final = 0x6B72617479
"""The advisory lock under which tables are created. All processes use the same number."""


def upgrade(connection: sa.Connection, tables: Tables) -> None:
    """Create the tables that are missing, and record their version.

    Raises:
        OutboxError: The tables have a version that this SDK does not know, or the database is
            neither PostgreSQL nor SQLite.
    """
    if _is_postgresql(connection):
        # Several instances of a service may start at the same time.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SET_UP_LOCK)))
    tables.metadata.create_all(connection, tables=list(tables.all), checkfirst=True)
    if _version(connection, tables) is None:
        connection.execute(tables.version.insert().values(version=VERSION))


def _version(connection: sa.Connection, tables: Tables) -> int | None:
    """Return the version of the tables; `None` if none is recorded yet."""
    found: int | None = connection.scalar(sa.select(sa.func.max(tables.version.c.version)))
    if found not in (None, VERSION):
        raise OutboxError(
            f"the tables of the outbox have version {found}, but this SDK knows version {VERSION}: "
            "use the version of the SDK that created them, or a later one"
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
    """Record a target that the intents of this database are for.

    Raises:
        OutboxTargetError: The database has another target, and `add` is false.
    """
    known = _targets(connection, tables)
    if known and target not in known and not add:
        raise OutboxTargetError(
            f"this database's outbox is for {_named(known)}, but the client calls {target}. Use "
            "the database of that environment, or pass add_target=True if it serves both"
        )
    insert_if_new(connection, tables.targets, target._asdict(), tables.targets.c.id)


def find_target(connection: sa.Connection, tables: Tables, target: Target) -> int:
    """Return the id of a target.

    Raises:
        OutboxTargetError: It has not been registered.
        OutboxError: The tables have a version that this SDK does not know.
    """
    _version(connection, tables)
    known = _targets(connection, tables)
    if target not in known:
        what = f"is for {_named(known)}" if known else "has no target yet: call outbox.set_up once"
        raise OutboxTargetError(
            f"the client calls {target}, but this database's outbox {what}. Nothing was sent"
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
    """Hash a call, to compare it with others under its key. The order of fields is ignored."""
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
        OutboxConflictError: The key belongs to another operation or body.
        OutboxTargetError: It is not known which game the operation is for.
        TypeError, ValueError: The body holds a value that JSON lacks.
    """
    target_id = _only_target(connection, tables, game_id)
    body, key = stamp(operation.method, operation.body, generate_key)
    data = encode(body or {}).decode()
    # Parsed again, so that the hash covers exactly what will be sent.
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
            f"intent {row.id} ({row.operation}) already has this idempotency key, and differs "
            f"from this {operation.name} in the method, the path or the body. Nothing was recorded",
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
    """Convert a column of milliseconds to a time; `None` for NULL."""
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
    """Return a condition: the platform still keeps the key of an intent that was sent before."""
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
    """Take the next intent, and record that it is about to be sent; `None` if none is due.

    An intent waits for earlier open intents that name one of its players.

    Args:
        connection: A connection; nothing else may use it.
        tables: The tables.
        target_id: The target whose intents to take.
        lease_ms: For how many milliseconds no other worker may take the intent.
        only_in_doubt: Take only an intent that may have taken effect already.
    """
    intents, now = tables.intents, _clock.now_ms()
    due = intents.alias("due")
    mine, earlier = tables.players.alias("mine"), tables.players.alias("earlier")
    # Not a join: for each intent, SQLite would start from all players that wait.
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
            # Drop an error that says that there was no effect: this call may have one.
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
    """Return whether any open intent may have taken effect."""
    c = tables.intents.c
    found = sa.select(c.id).where(
        c.target_id == target_id, c.stopped_ms.is_(None), c.first_sent_ms.is_not(None)
    )
    return connection.execute(found.limit(1)).first() is not None


def settle(connection: sa.Connection, tables: Tables, claim: Claim, settlement: Settlement) -> bool:
    """Record the outcome of an intent. Return false if another worker has taken it over."""
    c, now = tables.intents.c, _clock.now_ms()
    is_open = settlement.wait_ms is not None
    states = ["sending"]
    if settlement.state == "done":
        # While this worker was suspended, another one may have stopped the intent, and a person may
        # have reopened it. Nobody has sent it since, or `attempts` would differ.
        states += ["unknown", "pending"]
    changed = connection.execute(
        tables.intents.update()
        .where(c.id == claim.id, c.state.in_(states), c.attempts == claim.attempts)
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
    """Let later intents of the same players be sent."""
    players = tables.players
    connection.execute(players.update().where(players.c.intent_id.in_(ids)).values(waiting=None))


def expire(connection: sa.Connection, tables: Tables, target_id: int, *, limit: int) -> list[int]:
    """Stop at most `limit` intents in doubt whose keys may be forgotten. Return their ids."""
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
    """Return intents, the latest first.

    Raises:
        ValueError: There is no such state.
    """
    states = get_args(IntentState)
    if state is not None and state not in states:
        raise ValueError(f"state must be one of {', '.join(states)}, or None for all")
    table = tables.intents
    query = table.select().order_by(table.c.id.desc()).limit(limit)
    if key is not None:
        # The index begins with the target, so the query names all targets to use it.
        targets = sa.select(tables.targets.c.id)
        query = query.where(table.c.target_id.in_(targets), table.c.idempotency_key == key)
    if ids is not None:
        query = query.where(table.c.id.in_(list(ids)))
    if state is not None:
        # The second condition lets the database use one of the partial indexes.
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
    # Sorted here: with ORDER BY, PostgreSQL would read the index of all players.
    return [_intent(row, sorted(names[row.id]), _result_of(row.operation)) for row in rows]


def _portions(ids: list[int]) -> Iterable[list[int]]:
    """Split a list, because the number of parameters of a statement is limited."""
    return (ids[start : start + PORTION] for start in range(0, len(ids), PORTION))


def _result_of(operation: str) -> Callable[[dict[str, Any]], Any]:
    """Return the result's class; `dict` for a method that this version does not have."""
    rebuild = REBUILD.get(operation)
    return dict if rebuild is None else rebuild("", None).result


def status(connection: Connection, tables: Tables) -> OutboxStatus:
    """Count the intents by state."""
    c = tables.intents.c
    # Two queries, so that each uses its own index: there may be many finished rows.
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
            # A person decided that it had no effect, so the time of its key starts again.
            values = {**_reopened(), "first_sent_ms": None}
        case _:
            raise ValueError("action must be applied, send-again or abandon")
    return _decide(connection, tables, intent_id, values, note, "unknown", "`unknown`")


def retry(
    connection: Connection, tables: Tables, intent_id: int, *, by: str, why: str
) -> Intent[Any]:
    """Send a refused intent again; see `outbox.retry`.

    If an earlier attempt may have taken effect, the intent stays in doubt, and the time of its
    key does not start again.
    """
    note = {"action": "retry", "by": _text("by", by), "why": _text("why", why)}
    needed = "`refused`, and not purged"
    return _decide(connection, tables, intent_id, _reopened(), note, "refused", needed)


def _reopened() -> dict[str, Any]:
    return {"state": "pending", "stopped_ms": None, "due_ms": _clock.now_ms()}


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a str that is not blank")
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


def age_ms(older_than: timedelta) -> int:
    """Return an age in milliseconds, for a purge of what is older.

    Raises:
        ValueError: It is negative, so that a purge would take what has just been recorded.
    """
    ms = round(older_than.total_seconds() * 1000)
    if ms < 0:
        raise ValueError("older_than must not be negative")
    return ms


def purge(connection: sa.Connection, tables: Tables, older_than_ms: int, *, limit: int) -> int:
    """Remove the content of at most `limit` finished intents. Return how many were purged.

    Key, hash, operation, state, notes and times stay, to recognise a later repeat of the key.
    """
    c = tables.intents.c
    old = (
        sa.select(c.id)
        .where(
            # Not a list of the allowed states: SQLite would use their index, and sort.
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
    """Remove the content of a player's finished intents. Return how many there were.

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
    # Locked in order of id, so that two of these do not wait for each other.
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
