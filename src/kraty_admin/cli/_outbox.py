"""`kraty-admin outbox`: run a worker, list intents, and decide about those in doubt."""

from __future__ import annotations

import getpass
import importlib
import logging
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args
from urllib.parse import quote

import attrs
import click

from kraty_admin._call._idempotency import KEY_FIELD
from kraty_admin._signals import stop_on_signals
from kraty_server_api.intent import IntentState

from ._failures import (
    CONFLICT,
    FAILED,
    NOT_FOUND,
    SOME_FAILED,
    CommandError,
    refusal,
)
from ._files import cannot_read
from ._help import Group
from ._output import Output
from ._state import State, json_option, verbose_option, yes_option

if TYPE_CHECKING:
    import sqlalchemy as sa

    from kraty_admin.outbox import Intent, OutboxStatus, Tables
    from kraty_admin.outbox._store import Action

__all__ = ["outbox_group"]

# SQLAlchemy and `kraty_admin.outbox` are imported in functions only: they are an extra, and the
# other commands need neither.

F = TypeVar("F", bound=Callable[..., Any])

_VARIABLE: Final = "KRATY_OUTBOX_URL"

_HOW: Final = f"set {_VARIABLE}, or pass --database-url-file"

_FORMS: Final = "postgresql+psycopg://user:password@host/database or sqlite:///shop.sqlite3"

_SQLITE_WAIT: Final = 30
"""Seconds to wait for another writer of an SQLite file."""


@attrs.frozen
class Database:
    """The tables of an outbox, and an engine for their database."""

    engine: sa.Engine
    tables: Tables


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value is not None:
        context.meta[f"{__name__}.{parameter.name}"] = value


def _kept(name: str) -> Any:
    return click.get_current_context().meta.get(f"{__name__}.{name}")


def _in_database(function: F) -> F:
    """Add the options of every subcommand."""
    return _database_options(json_option(function))


def _database_options(function: F) -> F:
    """Add the options that name the database, which may stand before or after a subcommand."""
    options = [
        click.option(
            "--database-url",
            metavar="URL",
            expose_value=False,
            callback=_keep,
            help=f"URL of the database, if it has no password. Otherwise {_HOW}.",
        ),
        click.option(
            "--database-url-file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            expose_value=False,
            callback=_keep,
            help=f"Read the URL of the database from this file. Default: the variable {_VARIABLE}.",
        ),
        click.option(
            "--prefix",
            metavar="TEXT",
            expose_value=False,
            callback=_keep,
            help="Prefix of the names of the tables. Default: kraty_.",
        ),
        click.option(
            "--schema",
            metavar="NAME",
            expose_value=False,
            callback=_keep,
            help="The schema of the tables. Default: that of the connection.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@contextmanager
def _open(*, creates: bool = False) -> Generator[Database, None, None]:
    """Open the outbox that the options name, and report an error of the database in one line.

    Args:
        creates: Whether the tables may be missing.
    """
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    from kraty_admin.outbox import Tables

    url = _url()
    engine = _engine(url, creates=creates)
    prefix = _kept("prefix")
    tables = Tables(prefix="kraty_" if prefix is None else prefix, schema=_kept("schema"))
    try:
        if not creates:
            _check_tables(engine, tables)
        yield Database(engine, tables)
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise CommandError(
            f"the database failed: {_without_password(str(cause), url)}",
            code="database_error",
            exit_status=FAILED,
        ) from None
    finally:
        engine.dispose()


def _url() -> sa.URL:
    import sqlalchemy as sa
    from sqlalchemy.exc import ArgumentError

    given, file = _kept("database_url"), _kept("database_url_file")
    if given is not None and file is not None:
        raise refusal("pass --database-url or --database-url-file, not both")
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise cannot_read(file, error) from None
    else:
        text = given or os.environ.get(_VARIABLE, "")
    if not text:
        raise refusal(f"there is no database: {_HOW} (such as {_FORMS})")
    try:
        url = sa.make_url(text)
    except (ArgumentError, ValueError):
        # Not the error's text, which may contain the password.
        raise refusal(
            f"the URL of the database cannot be read. It has the form {_FORMS}; in a password, "
            "write @ as %40, / as %2F and : as %3A"
        ) from None
    if given is not None and _passwords(url):
        raise refusal(
            "everyone on the machine can read a command's options, so --database-url must not "
            f"contain a password: {_HOW}"
        )
    return url


def _engine(url: sa.URL, *, creates: bool) -> sa.Engine:
    """Return an engine that has not connected yet."""
    import sqlalchemy as sa
    from sqlalchemy.exc import NoSuchModuleError

    backend = url.get_backend_name()
    if backend not in ("postgresql", "sqlite"):
        raise refusal(f"an outbox needs PostgreSQL or SQLite, not {backend}")
    try:
        is_async = url.get_dialect().is_async
    except NoSuchModuleError:
        raise refusal(f"SQLAlchemy does not know the driver of {url.drivername}://") from None
    if is_async:
        sync = "sqlite" if backend == "sqlite" else "postgresql+psycopg"
        raise refusal(f"the command needs a synchronous driver: {sync}://, not {url.drivername}://")
    options: dict[str, Any] = {"pool_pre_ping": True}
    if backend == "sqlite":
        file = url.database or ":memory:"
        if ":memory:" in file or url.query.get("mode") == "memory":
            raise refusal("a database in memory is lost when the command ends; name a file")
        if not creates and not file.startswith("file:") and not Path(file).exists():
            raise refusal(f"there is no database file {file!r}; to create it: {_SET_UP}")
        if "timeout" not in url.query:
            options["connect_args"] = {"timeout": _SQLITE_WAIT}
    try:
        # Each call in flight may need a connection.
        return sa.create_engine(url, max_overflow=-1, **options)
    except ModuleNotFoundError as error:
        raise refusal(
            f"the database's driver is not installed: pip install {error.name}, or name another "
            "one in the URL, such as postgresql+psycopg://"
        ) from None
    except ImportError as error:  # such as psycopg's without libpq
        raise refusal(
            f"the database's driver cannot be loaded: {' '.join(str(error).split())}"
        ) from None


_SET_UP: Final = "kraty-admin outbox set-up"


def _check_tables(engine: sa.Engine, tables: Tables) -> None:
    import sqlalchemy as sa

    if not sa.inspect(engine).has_table(tables.version.name, schema=tables.schema):
        raise CommandError(
            f"this database has no table {tables.version.fullname}: run {_SET_UP} first, or pass "
            "the --prefix and --schema that you set it up with",
            code="not_set_up",
            exit_status=FAILED,
        )


def _passwords(url: sa.URL) -> set[str]:
    query = [url.query.get(name) for name in ("password", "sslpassword")]
    return {each for each in (url.password, *query) if isinstance(each, str) and each}


def _without_password(text: str, url: sa.URL) -> str:
    for password in _passwords(url):
        text = text.replace(password, "***").replace(quote(password, safe=""), "***")
    return " ".join(text.split())


# --- How intents and times are shown.


def _time(out: Output, moment: datetime | None) -> str | None:
    """Format a time: in UTC for programs, in the local zone for people."""
    if moment is None:
        return None
    if out.as_json:
        return moment.isoformat()
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def _facts(out: Output, intent: Intent[Any]) -> dict[str, Any]:
    """Return all facts about an intent, except its content."""
    return {
        "id": intent.id,
        "operation": intent.operation,
        "state": intent.state,
        "players": list(intent.players) if out.as_json else ", ".join(intent.players),
        "idempotency_key": intent.idempotency_key,
        "attempts": intent.attempts,
        "created_at": _time(out, intent.created_at),
        "due_at": _time(out, intent.due_at),
        "first_sent_at": _time(out, intent.first_sent_at),
        "stopped_at": _time(out, intent.stopped_at),
        "error": intent.error,
        "notes": [_note(out, note) for note in intent.notes],
        "result": intent.result,
    }


def _note(out: Output, note: Mapping[str, Any]) -> dict[str, Any]:
    return {**note, "at": _time(out, datetime.fromisoformat(note["at"]))}


def _row(out: Output, intent: Intent[Any]) -> dict[str, Any]:
    """Return the row of an intent in a table."""
    error = intent.error or {}
    return {
        "id": intent.id,
        "state": intent.state,
        "operation": intent.operation,
        "players": ", ".join(intent.players),
        "attempts": intent.attempts,
        "recorded": _time(out, intent.created_at),
        "last error": error.get("code") or error.get("message"),
    }


def _whole(out: Output, intent: Intent[Any]) -> dict[str, Any]:
    """Return all facts about an intent, with its content."""
    return {**_facts(out, intent), "request": _request(intent)}


def _request(intent: Intent[Any]) -> dict[str, Any] | None:
    """Return the path and body that an intent sends; `None` after its content was purged."""
    return None if intent.path is None else {"path": intent.path, "body": intent.body}


def _find(database: Database, intent_id: int) -> Intent[Any]:
    from kraty_admin.outbox import find

    found = find(database.engine, intent_id=intent_id, tables=database.tables)
    if not found:
        raise CommandError(
            f"there is no intent {intent_id}", code="not_found", exit_status=NOT_FOUND
        )
    return found[0]


# --- The commands.


@click.group(
    "outbox",
    cls=Group,
    section="outbox",
    short_help="Send recorded calls, and handle those that failed.",
)
@_database_options
def outbox_group() -> None:
    """Send the calls that your backend recorded in its database, and handle those that failed.

    The URL of the database comes from the variable KRATY_OUTBOX_URL.
    """
    try:
        importlib.import_module("kraty_admin.outbox")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sqlalchemy":
            raise
        raise refusal("the outbox is an extra: pip install 'kraty-admin[outbox]'") from None


@outbox_group.command(
    "set-up",
    short_help="Create the tables, and record their game.",
    examples=["kraty-admin outbox set-up"],
)
@click.option(
    "--add-target", is_flag=True, help="Add a game to a database that is set up for another one."
)
@_in_database
@click.pass_obj
def set_up(state: State, add_target: bool) -> None:
    """Create the tables if they are missing, and record which game they are for.

    Run it when you deploy. It asks Kraty which game the key is for. If everything is in place, it
    changes nothing.
    """
    with _open(creates=True) as database, state.client() as kraty:
        from kraty_admin import outbox

        target = outbox.set_up(
            database.engine, kraty, tables=database.tables, add_target=add_target
        )
    state.done(target._asdict())


@outbox_group.command("run", examples=["kraty-admin outbox run --once"])
@verbose_option
@click.option("--once", is_flag=True, help="Send the calls that are due, then exit; for cron.")
@click.option("--limit", type=int, metavar="N", help="With --once: send at most N calls.")
@click.option(
    "--seconds",
    type=float,
    metavar="SECONDS",
    help="With --once: start no call after this many seconds. Default: 300.",
)
@click.option(
    "--in-flight",
    type=int,
    default=4,
    show_default=True,
    metavar="N",
    help="How many calls to send at a time.",
)
@_in_database
@click.pass_obj
def run(state: State, once: bool, limit: int | None, seconds: float | None, in_flight: int) -> None:
    """Send recorded calls, as a service or with --once.

    On SIGTERM and Ctrl-C, the calls in flight finish, and the exit status is 0. With --once, the
    status is 6 if calls were refused or are unknown: see them with `kraty-admin outbox list`.
    """
    if not once and (limit is not None or seconds is not None):
        raise click.UsageError("--limit and --seconds need --once")
    from kraty_admin import outbox
    from kraty_admin.outbox._store import still_open

    drain = outbox.drain if seconds is None else partial(outbox.drain, seconds=seconds)
    with (
        _open() as database,
        state.client() as kraty,
        _log_to(state.out),
        stop_on_signals() as stop,
    ):
        if once:
            report = drain(
                kraty,
                database.engine,
                in_flight=in_flight,
                limit=limit,
                stop=stop,
                tables=database.tables,
            )
            if report.stopped_by == "empty":
                state.out.say(still_open(outbox.status(database.engine, tables=database.tables)))
        else:
            state.out.say("Sending recorded calls until SIGTERM or Ctrl-C.")
            report = outbox.run(
                kraty, database.engine, stop=stop, in_flight=in_flight, tables=database.tables
            )
    if once and (report.refused or report.unknown):
        state.exit_status = SOME_FAILED
    state.done(report._asdict())
    click.get_current_context().exit(state.exit_status)


class _Log(logging.Handler):
    """Writes records to standard error, without secrets."""

    def __init__(self, out: Output) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        at = datetime.fromtimestamp(record.created, timezone.utc).astimezone()
        moment = at.isoformat(sep=" ", timespec="seconds")
        self._out.say(f"{moment} {record.levelname} {self.format(record)}")


@contextmanager
def _log_to(out: Output) -> Generator[None, None, None]:
    """Show the worker's log."""

    handler, logger = _Log(out), logging.getLogger("kraty_admin")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@outbox_group.command(
    "status",
    short_help="Count the recorded calls by state.",
    examples=["kraty-admin outbox status --json"],
)
@_in_database
@click.pass_obj
def status(state: State) -> None:
    """Count the recorded calls by state, and show how long the oldest ones have waited.

    Raise an alarm if `unknown` is above 0, or if `oldest_open_seconds` grows.
    """
    from kraty_admin import outbox

    with _open() as database:
        found = outbox.status(database.engine, tables=database.tables)
    state.out.result(_status(state.out, found))


def _status(out: Output, found: OutboxStatus) -> dict[str, Any]:
    now = datetime.now(timezone.utc)

    def seconds(moment: datetime | None) -> int | None:
        return None if moment is None else max(round((now - moment).total_seconds()), 0)

    return {
        # All states, so that a monitor can rely on the names.
        "counts": {name: found.counts.get(name, 0) for name in get_args(IntentState)},
        "oldest_open": _time(out, found.oldest_open),
        "oldest_open_seconds": seconds(found.oldest_open),
        "oldest_unknown": _time(out, found.oldest_unknown),
        "oldest_unknown_seconds": seconds(found.oldest_unknown),
    }


@outbox_group.command("list", examples=["kraty-admin outbox list --state unknown"])
@click.option(
    "--state", "wanted", type=click.Choice(get_args(IntentState)), help="Only calls in this state."
)
@click.option("--player", metavar="ID", help="Only calls about this player.")
@click.option("--idempotency-key", "key", metavar="KEY", help="Only the call with this key.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Show at most N calls.",
)
@_in_database
@click.pass_obj
def list_intents(
    state: State, wanted: IntentState | None, player: str | None, key: str | None, limit: int
) -> None:
    """List recorded calls, the latest first."""
    from kraty_admin import outbox

    with _open() as database:
        found = outbox.find(
            database.engine,
            idempotency_key=key,
            state=wanted,
            player=player,
            limit=limit,
            tables=database.tables,
        )
    show = _facts if state.out.as_json else _row
    state.out.result({"intents": [show(state.out, intent) for intent in found]})
    if len(found) == limit:
        state.out.say(f"There may be more than {limit}; see --limit.")


@outbox_group.command("show", examples=["kraty-admin outbox show 7"])
@click.argument("intent", type=int)
@_in_database
@click.pass_obj
def show(state: State, intent: int) -> None:
    """Show everything about one recorded call. INTENT is its id in `outbox list`."""
    with _open() as database:
        found = _find(database, intent)
        state.out.result(_whole(state.out, found))
    if found.state == "unknown":
        state.out.say(
            "It may have taken effect. Find out whether it did, then run: "
            f"kraty-admin outbox resolve {intent}"
        )


_by = click.option(
    "--by", metavar="NAME", help="Who decides; it is recorded. Default: your login name."
)
_why = click.option("--why", required=True, metavar="TEXT", help="The reason; it is recorded.")


def _who(by: str | None) -> str:
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # for example in a container
        raise refusal("this process has no login name: pass --by") from None


@outbox_group.command("retry", examples=['kraty-admin outbox retry 7 --why "the item exists now"'])
@click.argument("intent", type=int)
@_why
@_by
@_in_database
@click.pass_obj
def retry(state: State, intent: int, why: str, by: str | None) -> None:
    """Send a refused call again, once its reason is fixed. Its key and content stay the same.

    INTENT is its id in `outbox list`.
    """
    from kraty_admin import outbox

    with _open() as database:
        found = _in_state(_find(database, intent), "refused")
        if (found.error or {}).get("ambiguous"):
            state.out.say(_STILL_IN_DOUBT)
        with _conflicts():
            done = outbox.retry(
                database.engine, intent, by=_who(by), why=why, tables=database.tables
            )
        state.done(_whole(state.out, done))


_STILL_IN_DOUBT: Final = (
    "An earlier attempt may have taken effect, so the call is sent again only while Kraty keeps "
    "its key. After that time, it becomes unknown instead."
)

_ACTIONS: Final[Mapping[Action, tuple[str, str]]] = {
    "applied": (
        "Mark {} as done",
        "It will not be sent again, even if its receipt arrives again. If it had no effect, the "
        "change is never made.",
    ),
    "send-again": (
        "Send {} again",
        "It may already have taken effect, in an attempt whose answer was lost, and Kraty may have "
        "forgotten its key. In that case, sending it again takes effect a second time: the player "
        "is paid, or charged, twice. Look at the player first.",
    ),
    "abandon": (
        "Abandon {}",
        "It will not be sent again, even if its receipt arrives again. If it had no effect, the "
        "change is never made. If it took effect, the change stays.",
    ),
}


@outbox_group.command("resolve", examples=['kraty-admin outbox resolve 7 --applied --why "seen"'])
@yes_option
@click.argument("intent", type=int)
@click.option("--applied", "action", flag_value="applied", help="It took effect: mark it as done.")
@click.option(
    "--send-again",
    "action",
    flag_value="send-again",
    help="It had no effect: send it. If that is wrong, the player is paid twice.",
)
@click.option("--abandon", "action", flag_value="abandon", help="Give up: do not send it.")
@_why
@_by
@_in_database
@click.pass_obj
def resolve(state: State, intent: int, action: Action | None, why: str, by: str | None) -> None:
    """Decide about a call whose outcome is unknown.

    INTENT is its id in `outbox list`. First find out whether it took effect: look at the player's
    balance, at the webhooks that you received, and at the player in Kraty's portal.
    """
    if action is None:
        raise click.UsageError("pass --applied, --send-again or --abandon")
    from kraty_admin import outbox

    with _open() as database:
        found = _in_state(_find(database, intent), "unknown")
        question, warning = _ACTIONS[action]
        state.out.say(warning)
        state.ask(question.format(_described(found)))
        with _conflicts():
            done = outbox.resolve(
                database.engine, intent, action, by=_who(by), why=why, tables=database.tables
            )
        state.done(_whole(state.out, done))


def _in_state(intent: Intent[Any], needed: IntentState) -> Intent[Any]:
    if intent.state != needed:
        raise CommandError(
            f"intent {intent.id} is {intent.state}, not {needed}; nothing was changed",
            code="conflict",
            exit_status=CONFLICT,
        )
    return intent


@contextmanager
def _conflicts() -> Generator[None, None, None]:
    """Report an intent that has changed in the meantime, or whose content was purged."""
    from kraty_admin.outbox import OutboxError

    try:
        yield
    except OutboxError as error:
        raise CommandError(error.message, code="conflict", exit_status=CONFLICT) from None


def _described(intent: Intent[Any]) -> str:
    """Describe an intent with its content, for a person who decides about it."""
    request = _request(intent)
    body: dict[str, object] = {} if request is None else request["body"]
    facts = ", ".join(f"{name} {value}" for name, value in body.items() if name != KEY_FIELD)
    where = "" if request is None else request["path"]
    text = f"intent {intent.id}: {intent.operation} {where}"
    return f"{text} ({facts})" if facts else text


@outbox_group.command("purge", examples=["kraty-admin outbox purge --days 90"])
@yes_option
@click.option(
    "--days",
    type=click.FloatRange(min=0),
    default=400,
    show_default=True,
    metavar="DAYS",
    help="Only calls that ended more than this many days ago.",
)
@click.option(
    "--inbox-days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Also delete the ids of webhooks that arrived more than this many days ago. Default: keep "
    "them.",
)
@_in_database
@click.pass_obj
def purge(state: State, days: float, inbox_days: float | None) -> None:
    """Remove the content of calls that ended long ago. It cannot be undone.

    Key, hash, operation, state, notes and times stay, so that a receipt that arrives again is
    recognised. Calls that are open or unknown keep their content.
    """
    from kraty_admin import inbox, outbox

    with _open() as database:
        what = f"the content of calls that ended over {days:g} days ago"
        if inbox_days is not None:
            what += f", and the ids of webhooks that arrived over {inbox_days:g} days ago"
        state.ask(f"Permanently remove {what}")
        purged = outbox.purge(
            database.engine, older_than=timedelta(days=days), tables=database.tables
        )
        counts = {"intents": purged}
        if inbox_days is not None:
            counts["events"] = inbox.purge(
                database.engine, older_than=timedelta(days=inbox_days), tables=database.tables
            )
    state.done(counts)
