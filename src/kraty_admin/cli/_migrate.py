"""`kraty-admin migrate`: import players, balances and items from a file."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from io import BytesIO
from itertools import islice
from math import inf
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

import click
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from kraty_admin import KratyAdmin
from kraty_admin._call._idempotency import KEY_FIELD
from kraty_admin._signals import handling, terminations, write_in_handler

from ._failures import (
    FAILED,
    INTERRUPTED,
    SOME_FAILED,
    Advice,
    CommandError,
    command_line,
    failure_of,
    refusal,
)
from ._help import Command
from ._output import (
    Output,
    clean,
    console_on,
    is_terminal,
    shell_line,
    to_json,
)
from ._state import State, json_option, standard_input, verbose_option, yes_option

if TYPE_CHECKING:
    from types import FrameType

    from kraty_admin._bulk._rows import Kind
    from kraty_admin.bulk import ImportReport, ImportStoppedError, ReadOptions

__all__ = ["migrate"]


_F = TypeVar("_F", bound=Callable[..., Any])


Rows: TypeAlias = Path | IO[bytes] | Iterator[dict[str, Any]]
"""A file, standard input, or the rows of a query."""


class Importer(Protocol):
    """`import_players`, `import_wallet` or `import_inventory`."""

    def __call__(
        self,
        rows: Rows,
        *,
        mapping: Mapping[str, str] | None,
        preset: str | None,
        read_options: ReadOptions,
        sum_duplicates: bool,
        failures: Path,
        journal: Path,
        resume: bool,
        in_flight: int,
        chunk_size: int,
        patience: float,
        on_progress: Callable[[ImportReport], object],
    ) -> ImportReport: ...


_EVERY: Final = 3.0
"""Seconds between two lines of progress where there is no terminal."""

_SHOWN: Final = 10
"""How many valid rows, and how many invalid ones, a dry run shows to people."""

_PART: Final = 1 << 20
"""How many bytes of a file are read at a time."""

_STDIN: Final = Path("-")

_REFRESHED: Final = 0.1
"""Seconds between two updates of the bar."""

_ERASE_BAR: Final = "\r\x1b[2K"

_SHOW_CURSOR: Final = "\x1b[?25h"


def _reading(command: _F) -> _F:
    """Add the options that say how to read SOURCE."""
    for option in reversed(_READING):
        command = option(command)
    return command


_READING: Final = (
    click.option(
        "--format",
        type=click.Choice(["csv", "tsv", "jsonl", "json", "parquet"]),
        help="Format of SOURCE. Default: according to its suffix.",
    ),
    click.option(
        "--delimiter",
        metavar="CHAR",
        help="The character that separates cells. Default: a comma, or a tab in TSV.",
    ),
    click.option(
        "--encoding",
        metavar="NAME",
        help="Encoding of the text. Default: according to its byte order mark, or else UTF-8.",
    ),
    click.option(
        "--quoting",
        type=click.Choice(["csv", "none"]),
        help="Whether quotes enclose cells (csv) or are plain characters (none).",
    ),
    click.option(
        "--multiline",
        is_flag=True,
        help="Allow quoted cells to contain lines that look like rows.",
    ),
    click.option(
        "--rows",
        metavar="PATH",
        help="Path to the rows in a JSON file, such as data.PlayerProfiles.",
    ),
    click.option("--id-column", metavar="NAME", help="The column that holds the players' ids."),
    click.option(
        "--allow-odd-ids",
        is_flag=True,
        help="Accept ids that look like mistakes, such as NULL or 7.65612E+16.",
    ),
    click.option(
        "--rename",
        multiple=True,
        metavar="OLD=NEW",
        help="Rename a currency or an item. Repeat the option for each.",
    ),
    click.option(
        "--only",
        multiple=True,
        metavar="KEY",
        help="Import only this currency or item, as SOURCE names it. Repeat the option for each.",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="WHAT",
        help="Also import rows of this kind, which the preset leaves out, such as expiring or "
        "banned. Repeat the option for each.",
    ),
    click.option("--skip-zero", is_flag=True, help="Leave out amounts and quantities of zero."),
    click.option("--limit", type=int, metavar="N", help="Read only the first N rows."),
)


def _read_options(*, rename: tuple[str, ...], only: tuple[str, ...], **others: Any) -> ReadOptions:
    from kraty_admin.bulk import ReadOptions

    names: dict[str, str] = {}
    for pair in rename:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise ValueError(f"--rename must be OLD=NEW, such as GO=gold, not {pair!r}")
        if old in names:
            raise ValueError(f"--rename names {old!r} twice")
        names[old] = new
    return ReadOptions(rename=names, only=only or None, **others)


@click.command(
    cls=Command,
    section="imports",
    short_help="Import players, balances or items from a file.",
    examples=[
        "kraty-admin migrate wallet users.csv --map externalPlayerId=PlayFabId --map amount=Gold "
        "--map economyKey==gold --dry-run",
        "kraty-admin migrate players users.jsonl --resume",
    ],
)
@click.argument("kind", type=click.Choice(["players", "wallet", "inventory"]))
@click.argument(
    "source",
    required=False,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
@click.option(
    "--sql",
    metavar="QUERY",
    help="Import the rows of this query instead of SOURCE. It needs ORDER BY.",
)
@click.option(
    "--sql-url-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with the URL of the database for --sql. Default: the variable KRATY_SQL_URL.",
)
@click.option(
    "--map",
    "pairs",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="The column that holds a field: --map externalPlayerId=PlayFabId. With two =, every row "
    "gets the same text: --map economyKey==gold. Repeat the option for each field.",
)
@click.option(
    "--preset",
    metavar="PLATFORM",
    help="Read an export of this platform, such as playfab, firebase or lootlocker.",
)
@_reading
@click.option(
    "--sum-duplicates",
    is_flag=True,
    help="Add up rows that differ only in the amount or quantity. Otherwise only the first row for "
    "a player and currency or item is imported.",
)
@click.option(
    "--failures",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File for the rows that fail. Default: SOURCE.KIND.failures.jsonl; none for a dry run.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Progress file, needed by --resume. Default: SOURCE.KIND.journal.",
)
@click.option("--resume", is_flag=True, help="Continue an import that was stopped.")
@click.option(
    "--in-flight",
    type=int,
    default=4,
    show_default=True,
    metavar="N",
    help="How many calls to send at a time.",
)
@click.option(
    "--chunk-size", type=int, default=1000, show_default=True, metavar="N", help="Rows per call."
)
@click.option(
    "--patience",
    type=float,
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to keep trying when the server fails or does not answer.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing. Show which rows are valid and which are not. This needs no API key.",
)
@verbose_option
@json_option
@yes_option
@click.pass_obj
def migrate(
    state: State,
    /,
    kind: Kind,
    source: Path | None,
    sql: str | None,
    sql_url_file: Path | None,
    pairs: tuple[str, ...],
    preset: str | None,
    sum_duplicates: bool,
    failures: Path | None,
    journal: Path | None,
    resume: bool,
    in_flight: int,
    chunk_size: int,
    patience: float,
    dry_run: bool,
    **reading: Any,
) -> None:
    """Import players, balances (wallet) or items (inventory) from SOURCE.

    SOURCE is a file, or - for standard input, which needs --format. With --sql, the rows come
    from a database query. The URL of the database may hold a password, so it comes from a file or
    a variable.

    Stop with Ctrl-C at any time; continue with --resume. Failed rows are written to a file: fix
    them there and import that file. The exit status is 6 if a row failed or was a duplicate. Rows
    that the preset or an option leaves out are counted, but do not change the status.

    Each row has an idempotency key. How long the platform keeps the keys of rows is not
    documented. Do not rely on them more than 24 hours after the first run: later, a second
    import of the same rows may apply them again.

    --resume does not repeat rows whose outcome is known. It sends the few rows in doubt again, if
    their first try was less than 23 hours ago. Otherwise it reports them as failed.

    \b
    Fields for --map:
      players    externalPlayerId, contextSnapshot, idempotencyKey
      wallet     externalPlayerId, economyKey, amount, reason, idempotencyKey
      inventory  externalPlayerId, itemKey, quantity, parameters, reason, idempotencyKey
    """
    from kraty_admin.bulk import ImportStoppedError, parse_map

    mapping = parse_map(pairs) if pairs else None
    read_options = _read_options(**reading)
    if (source is None) == (sql is None):
        raise refusal("pass either SOURCE or --sql")
    if dry_run:
        _dry_run(
            state,
            kind,
            _rows(source, sql, sql_url_file),
            mapping=mapping,
            preset=preset,
            read_options=read_options,
            sum_duplicates=sum_duplicates,
            failures=failures,
        )
        return
    beside = Path("stdin") if source == _STDIN else source or Path("sql")
    if journal is None:
        journal = beside.with_name(f"{beside.name}.{kind}.journal")
        earlier = beside.with_name(f"{beside.name}.journal")
        if earlier.exists() and not journal.exists():
            # The journal of an import with 0.1.0. It is refused, because that import may have
            # applied these rows.
            journal = earlier
    if resume and not journal.exists():
        raise refusal(f"there is no journal {journal}: nothing to resume")
    with state.client() as kraty:
        state.confirm(kraty, f"Import {kind} from {_named(source)}")
        failures = failures or beside.with_name(f"{beside.name}.{kind}.failures.jsonl")
        again = command_line([each for each in state.arguments if each != "--resume"], "--resume")
        with _interruptible(again) as stop, _progress(state.out) as show:
            last: list[ImportReport] = []

            def on_progress(report: ImportReport) -> None:
                last[:] = [report]
                show(report)
                stop.check()

            try:
                report = _importer(kraty, kind)(
                    _rows(source, sql, sql_url_file),
                    mapping=mapping,
                    preset=preset,
                    read_options=read_options,
                    sum_duplicates=sum_duplicates,
                    failures=failures,
                    journal=journal,
                    resume=resume,
                    in_flight=in_flight,
                    chunk_size=chunk_size,
                    patience=patience,
                    on_progress=on_progress,
                )
            except ImportStoppedError as error:
                raise _stopped(error, again) from error
            except (OSError, ValueError, sqlite3.Error) as error:
                if isinstance(error, ValueError) and not last:
                    raise  # an argument is invalid
                raise CommandError(
                    f"a file of the import cannot be used: {error}",
                    code="os_error",
                    exit_status=FAILED,
                    advice=Advice(_TO_CONTINUE, again),
                ) from error
            except KeyboardInterrupt:
                rows = last[0].rows if last else 0
                raise CommandError(
                    f"interrupted after {rows:,} rows",
                    code="interrupted",
                    exit_status=INTERRUPTED,
                    advice=Advice(_TO_CONTINUE, again),
                ) from None
    _finish(state, kind, pairs, report)


def _rows(source: Path | None, sql: str | None, url_file: Path | None) -> Rows:
    if sql is not None:
        from kraty_admin._bulk._database import database_url, query

        return query(sql, database_url(url_file, os.environ))
    return source if source is not None and source != _STDIN else standard_input()


def _named(source: Path | None) -> str:
    """Name the source, for people."""
    if source is None:
        return "a query"
    return "standard input" if source == _STDIN else f"{str(source)!r}{_size(source)}"


def _size(source: Path) -> str:
    """Return the size of a file, for people; nothing for a pipe or an empty file."""
    size = source.stat().st_size if source.is_file() else 0
    if not size:
        return ""
    return f" ({size / 1e6:,.1f} MB)" if size >= 100_000 else f" ({size:,} bytes)"


def _importer(kraty: KratyAdmin, kind: Kind) -> Importer:
    if kind == "players":
        return kraty.migrate.import_players
    if kind == "wallet":
        return kraty.migrate.import_wallet
    return kraty.migrate.import_inventory


def _stopped(error: ImportStoppedError, again: Sequence[str]) -> CommandError:
    """Return the error of an import that stopped, with its cause's status and how to continue."""
    cause = error.__cause__
    message, why, status = error.message, "", FAILED
    if cause is not None:
        failure = failure_of(cause, None)
        why, status = failure.why, failure.exit_status
        if failure.facts:  # they are shown on their own lines, so not in the message
            message = f"the import stopped after {error.report.rows:,} rows: {failure.message}"
    return CommandError(
        message,
        code="import_stopped",
        exit_status=status,
        why=why,
        advice=Advice(_TO_CONTINUE, again),
        cause=cause,
    )


def _finish(state: State, kind: Kind, pairs: tuple[str, ...], report: ImportReport) -> None:
    """Print the result of the import, and what to do about the rows that failed."""
    state.effect = asdict(report)
    state.exit_status = 0 if report.complete else SOME_FAILED
    _show_report(state.out, report)
    if report.complete:
        return
    if report.failures is not None:
        # Most rows in it have the API's fields. A line that could not be parsed has the source's
        # columns, so it needs the mapping.
        maps = [word for pair in pairs for word in ("--map", pair)]
        # With the same profile, key file and server.
        before = state.arguments[: list(state.arguments).index("migrate")]
        again = shell_line(["kraty-admin", *before, "migrate", kind, report.failures, *maps])
        unknown = _holds_unknown(Path(report.failures))
        state.out.say(
            f"{'Failed' if unknown else 'Not imported'}: {report.failed + report.duplicates:,} of "
            f"{report.rows:,} rows. {report.failures} has these rows and the reasons. "
            f"{_FIRST if unknown else ''}Fix them there, then import that file:\n  {again}"
        )
    click.get_current_context().exit(SOME_FAILED)


_FIRST: Final = (
    "Those with the code outcome_unknown may have been imported: first do what their messages say. "
)


def _holds_unknown(failures: Path) -> bool:
    """Return whether a failures file has rows that may have been imported."""
    with failures.open("rb") as lines:
        return any(b'"code": "outcome_unknown"' in line for line in lines)


def _show_report(out: Output, report: ImportReport) -> None:
    """Print a report: as sentences with the control totals for people, or all of it as JSON."""
    if out.as_json:
        out.document(asdict(report))
        return
    out.line(clean(f"{report}."))
    for key, total in report.totals.items():
        others = [
            f"{amount:,} {name}"
            for amount, name in ((total.left_out, "left out"), (total.failed, "failed"))
            if amount
        ]
        out.line(
            clean(
                f"{key}: {total.source:,} in the source, {total.imported:,} imported"
                f"{''.join(f', {each}' for each in others)}."
            )
        )
    for note in report.notes:
        out.say(note)


# After that, rows in doubt are reported as failed.
_TO_CONTINUE: Final = "To continue, within 23 hours:"


class _Stop:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.asked = False
        self._raised = False

    def check(self) -> None:
        """Raise, between chunks, if Ctrl-C was pressed.

        The signal handler does not raise, because it could interrupt any code, even a commit.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed. The importer then lets the calls in flight end.
        """
        if self.asked and not self._raised:
            self._raised = True
            raise KeyboardInterrupt


@contextmanager
def _interruptible(again: Sequence[str]) -> Generator[_Stop, None, None]:
    """End the import in order at the first Ctrl-C, and at once at the second or at a termination.

    Args:
        again: The words of the command that continues the import.
    """
    stop = _Stop()
    command = shell_line(again)
    # The bar, and the ^C that the terminal shows in it, must not stay on the screen.
    erase, show_cursor = (_ERASE_BAR, _SHOW_CURSOR) if _has_bar() else ("\n", "")

    def on_signal(number: int, frame: FrameType | None) -> None:
        # After a termination no one may press Ctrl-C again if the calls or the source do not end.
        if number == signal.SIGINT and not stop.asked:
            stop.asked = True
            write_in_handler(
                f"{erase}Stopping after the calls in flight. Press Ctrl-C again to end at once.\n"
            )
            return
        write_in_handler(
            f"{erase}{show_cursor}Ended at once. The journal has the rows in doubt. "
            f"{_TO_CONTINUE}\n  {command}\n"
        )
        os._exit(INTERRUPTED)

    with handling(on_signal, [signal.SIGINT, *terminations()]):
        yield stop


@contextmanager
def _progress(out: Output) -> Generator[Callable[[ImportReport], None], None, None]:
    """Show the progress: a bar on terminals, a line every few seconds elsewhere."""
    if not _has_bar():
        shown_at = -inf

        def say(report: ImportReport) -> None:
            nonlocal shown_at
            now = time.monotonic()
            if now - shown_at >= _EVERY:
                shown_at = now
                out.say(_line(report))

        yield say
        return
    # One line, which Ctrl-C erases: rich must not fold it.
    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        BarColumn(),
    )
    # Drawn here, not by rich's thread, which could draw it again while the command ends.
    with Progress(
        *columns, console=console_on(sys.stderr), transient=True, auto_refresh=False
    ) as progress:
        task = progress.add_task("starting", total=None)
        drawn_at = -inf

        def show(report: ImportReport) -> None:
            nonlocal drawn_at
            now = time.monotonic()
            is_due = now - drawn_at >= _REFRESHED
            drawn_at = now if is_due else drawn_at
            progress.update(
                task,
                total=report.bytes_total,
                completed=report.bytes_read,
                description=_line(report),
                refresh=is_due,
            )

        yield show


def _has_bar() -> bool:
    """Return whether standard error is a terminal that can erase a line."""
    return is_terminal(sys.stderr) and not console_on(sys.stderr).is_dumb_terminal


def _line(report: ImportReport) -> str:
    parts = [
        f"{report.rows:,} row{'' if report.rows == 1 else 's'}",
        f"{report.rows_per_second:,.0f} rows/s",
        f"{report.failed:,} failed",
    ]
    if report.bytes_total and report.bytes_read:
        share = min(report.bytes_read / report.bytes_total, 1.0)
        parts.insert(0, f"{share:.0%}")
        parts.append(f"{_duration(report.seconds * (1 - share) / share)} left")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _dry_run(
    state: State,
    kind: Kind,
    source: Rows,
    *,
    mapping: Mapping[str, str] | None,
    preset: str | None,
    read_options: ReadOptions,
    sum_duplicates: bool,
    failures: Path | None,
) -> None:
    """Show the rows that would be sent, and those that would fail."""
    from kraty_admin.bulk import dry_run

    # Kept in files: a source may have millions of rows.
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as rows:
        count = 0

        def on_row(row: dict[str, Any]) -> None:
            nonlocal count
            if state.out.as_json or count < _SHOWN:
                rows.write((b", " if count else b"") + to_json(row))
            count += 1

        problems = failures or Path(folder, "problems.jsonl")
        report = dry_run(
            kind,
            source,
            mapping=mapping,
            preset=preset,
            read_options=read_options,
            sum_duplicates=sum_duplicates,
            failures=problems,
            on_row=on_row,
        )
        if failures is None:
            report = replace(report, failures=None)
        rows.seek(0)
        with problems.open("rb") if problems.exists() else BytesIO() as lines:
            if state.out.as_json:
                state.out.parts(_document(rows, lines, report))
            else:
                few = [json.loads(line) for line in islice(lines, _SHOWN)]
                invalid = [{"row": each["number"], "problem": each["message"]} for each in few]
                # The idempotency key would fill most of a line.
                valid = [
                    {name: each for name, each in row.items() if name != KEY_FIELD}
                    for row in json.loads(b"[" + rows.read() + b"]")
                ]
                state.out.result({"valid": valid, "invalid": invalid})
                _show_rest(state.out, kind, report)
    if not report.complete:
        click.get_current_context().exit(SOME_FAILED)


def _document(rows: IO[bytes], lines: IO[bytes], report: ImportReport) -> Iterator[bytes]:
    """Yield a dry run as one JSON document, piece by piece."""
    yield b'{"rows": ['
    while part := rows.read(_PART):
        yield part
    yield b'], "problems": ['
    for number, line in enumerate(lines):
        yield (b", " if number else b"") + line.strip()
    yield b'], "report": ' + to_json(asdict(report)) + b"}\n"


_FOUND: Final[Mapping[Kind, str]] = {
    "players": "players",
    "wallet": "balances",
    "inventory": "items",
}
"""The things that one row of a source may hold several of."""


def _show_rest(out: Output, kind: Kind, report: ImportReport) -> None:
    reasons = ", ".join(f"{count:,} {name}" for name, count in report.left_out_reasons.items())
    found = "" if report.rows == report.read else f", with {report.rows:,} {_FOUND[kind]}"
    out.say(
        f"Dry run: {report.read:,} rows read{found}. "
        f"{report.applied:,} valid ({min(report.applied, _SHOWN)} shown), "
        f"{report.left_out:,} left out{f' ({reasons})' if reasons else ''}, "
        f"{report.failed:,} invalid ({min(report.failed, _SHOWN)} shown). Nothing was sent."
    )
    for key, total in report.totals.items():
        out.say(f"{key}: {total.source:,} in the source, {total.imported:,} would be imported.")
    for note in report.notes:
        out.say(note)
