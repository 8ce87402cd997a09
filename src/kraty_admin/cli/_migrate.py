"""`kraty-admin migrate`: bring players, balances and items in from a file."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice
from math import inf
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from kraty_admin import KratyAdmin

from ._failures import FAILED, INTERRUPTED, SOME_FAILED, CommandError, failure_of
from ._output import Output, console_on, is_terminal, to_json, write_in_handler
from ._state import State, common

if TYPE_CHECKING:
    from types import FrameType

    from kraty_admin._bulk._rows import Kind
    from kraty_admin.bulk import ImportReport, ImportStoppedError

__all__ = ["migrate"]


class Importer(Protocol):
    """`import_players` and its like."""

    def __call__(
        self,
        rows: Path,
        *,
        mapping: Mapping[str, str] | None,
        preset: str | None,
        failures: Path,
        journal: Path,
        resume: bool,
        in_flight: int,
        chunk_size: int,
        on_progress: Callable[[ImportReport], object],
    ) -> ImportReport: ...


_EVERY: Final = 3.0
"""Seconds between two lines of progress where there is no terminal."""

_SHOWN: Final = 10
"""How many rows, and how many problems, a dry run shows to people."""

_PART: Final = 1 << 20
"""How many bytes of a file are read at a time."""

_SHOW_CURSOR: Final = "\x1b[?25h"


@click.command()
@click.argument("kind", type=click.Choice(["players", "wallet", "inventory"]))
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--map",
    "pairs",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="Which column holds a field: --map externalPlayerId=PlayFabId. Repeat it for each.",
)
@click.option(
    "--preset",
    type=click.Choice(["playfab", "firebase", "lootlocker"]),
    help="Read what this platform exports.",
)
@click.option(
    "--failures",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where rows that fail are written to. Default: beside SOURCE, as NAME.failures.jsonl.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Progress file, needed by --resume. Default: SOURCE.journal.",
)
@click.option("--resume", is_flag=True, help="Continue an import that was stopped.")
@click.option(
    "--in-flight", type=int, default=4, show_default=True, metavar="N", help="Calls at a time."
)
@click.option(
    "--chunk-size", type=int, default=1000, show_default=True, metavar="N", help="Rows per call."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing: show what would be sent, and what is wrong with it. Needs no key.",
)
@common
@click.pass_obj
def migrate(
    state: State,
    kind: Kind,
    source: Path,
    pairs: tuple[str, ...],
    preset: str | None,
    failures: Path | None,
    journal: Path | None,
    resume: bool,
    in_flight: int,
    chunk_size: int,
    dry_run: bool,
) -> None:
    """Import players, balances (wallet) or items (inventory) from SOURCE.

    Stop with Ctrl-C at any time; continue with --resume. Failed rows are written to a file: fix
    them there and import that file. The exit status is then 6.

    Each row has an idempotency key. How long the platform keeps the keys of rows is not
    documented. Do not rely on them more than 24 hours after the first run: later, a second
    import of the same rows may apply them again. --resume skips the chunks whose outcome is
    known at any time, but sends the few in doubt again, so resume within 23 hours too.
    """
    from kraty_admin.bulk import ImportStoppedError, parse_map

    mapping = parse_map(pairs) if pairs else None
    if dry_run:
        _dry_run(state, kind, source, mapping=mapping, preset=preset, failures=failures)
        return
    with state.client() as kraty:
        count = _rows_in(source)
        about = "" if count is None else f", about {count:,} rows"
        state.confirm(kraty, f"Import {kind} from {str(source)!r}{about}")
        failures = failures or source.with_suffix(".failures.jsonl")
        again = _resume_command(state.arguments)
        with _interruptible(again) as stop, _progress(state.out, count) as show:
            last: list[ImportReport] = []

            def on_progress(report: ImportReport) -> None:
                last[:] = [report]
                show(report)
                stop.check()

            try:
                report = _importer(kraty, kind)(
                    source,
                    mapping=mapping,
                    preset=preset,
                    failures=failures,
                    journal=journal or source.with_name(f"{source.name}.journal"),
                    resume=resume,
                    in_flight=in_flight,
                    chunk_size=chunk_size,
                    on_progress=on_progress,
                )
            except ImportStoppedError as error:
                raise _stopped(error, again) from error
            except (OSError, ValueError, sqlite3.Error) as error:
                if isinstance(error, ValueError) and not last:
                    raise  # an argument does not fit
                raise CommandError(
                    f"a file of the import cannot be used: {error}",
                    code="os_error",
                    exit_status=FAILED,
                    advice=_to_go_on(again),
                ) from error
            except KeyboardInterrupt:
                rows = last[0].rows if last else 0
                raise CommandError(
                    f"interrupted after {rows:,} rows. {_to_go_on(again)}",
                    code="interrupted",
                    exit_status=INTERRUPTED,
                ) from None
    _finish(state, kind, report)


def _importer(kraty: KratyAdmin, kind: Kind) -> Importer:
    if kind == "players":
        return kraty.migrate.import_players
    if kind == "wallet":
        return kraty.migrate.import_wallet
    return kraty.migrate.import_inventory


def _stopped(error: ImportStoppedError, again: str) -> CommandError:
    """What ends an import that cannot go on: the status of its cause, and how to go on."""
    cause = error.__cause__
    advice = _to_go_on(again)
    status = FAILED
    if cause is not None:
        why = failure_of(cause, key=None, key_given=False)
        status = why.exit_status
        advice = "\n".join(filter(None, [why.why, advice]))
    return CommandError(error.message, code="import_stopped", exit_status=status, advice=advice)


def _finish(state: State, kind: Kind, report: ImportReport) -> None:
    """Print what became of the import, and what to do about the rows that failed."""
    state.out.result(asdict(report))
    left = report.failed + report.duplicates
    if left and report.failures is not None:
        again = shlex.join(["kraty-admin", "migrate", kind, report.failures])
        state.out.say(
            f"Not imported: {left:,}. {report.failures} holds these rows, and why. "
            f"Mend them there, and bring them in without --map and --preset: {again}"
        )
    if report.failed:
        click.get_current_context().exit(SOME_FAILED)


def _resume_command(arguments: Sequence[str]) -> str:
    """The command that goes on with this import."""
    words = [word for word in arguments if word != "--resume"]
    # What follows a -- is no option.
    words.insert(words.index("--") if "--" in words else len(words), "--resume")
    return shlex.join(["kraty-admin", *words])


def _to_go_on(again: str) -> str:
    """Advise how to continue, and until when."""
    # Later, the chunks in doubt may be applied a second time.
    return f"To continue, within 23 hours: {again}"


class _Stop:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.asked = False
        self._raised = False

    def check(self) -> None:
        """Called between chunks.

        An exception in a signal handler could strike anywhere, in the midst of a commit too.

        Raises:
            KeyboardInterrupt: It was pressed; the importer lets the calls in flight finish then.
        """
        if self.asked and not self._raised:
            self._raised = True
            raise KeyboardInterrupt


@contextmanager
def _interruptible(again: str) -> Generator[_Stop, None, None]:
    """Have the first Ctrl-C end the import in an orderly way, and a second one at once.

    Args:
        again: The command that goes on with the import.
    """
    stop = _Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if not stop.asked:
            stop.asked = True
            write_in_handler("\nStopping: the calls in flight finish. Ctrl-C again ends at once.\n")
            return
        if is_terminal(sys.stderr):
            write_in_handler(_SHOW_CURSOR)
        write_in_handler(
            f"\nEnded at once; the journal knows what is in doubt. {_to_go_on(again)}\n"
        )
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress(
    out: Output, total: int | None
) -> Generator[Callable[[ImportReport], None], None, None]:
    """Shows how far the import is: a bar on terminals, a line every few seconds elsewhere."""
    if not is_terminal(sys.stderr):
        shown_at = -inf

        def say(report: ImportReport) -> None:
            nonlocal shown_at
            now = time.monotonic()
            if now - shown_at >= _EVERY:
                shown_at = now
                out.say(_line(report))

        yield say
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console_on(sys.stderr)) as progress:
        task = progress.add_task("starting", total=total)

        def show(report: ImportReport) -> None:
            progress.update(task, completed=report.rows, description=_line(report))

        yield show


def _line(report: ImportReport) -> str:
    return f"{report.rows:,} rows, {report.rows_per_second:,.0f} rows/s, {report.failed:,} failed"


def _rows_in(source: Path) -> int | None:
    """About how many rows a file has; `None` if only reading all of it could tell."""
    header = {".csv": 1, ".tsv": 1, ".jsonl": 0, ".ndjson": 0}.get(source.suffix.lower())
    if header is None:
        return None
    lines = 0
    with source.open("rb") as file:
        while part := file.read(_PART):
            lines += part.count(b"\n")
    return max(lines - header, 1)


def _dry_run(
    state: State,
    kind: Kind,
    source: Path,
    *,
    mapping: Mapping[str, str] | None,
    preset: str | None,
    failures: Path | None,
) -> None:
    """Show what would be sent, and what is wrong with the rest."""
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
            kind, source, mapping=mapping, preset=preset, failures=problems, on_row=on_row
        )
        if failures is None:
            report = replace(report, failures=None)
        rows.seek(0)
        if state.out.as_json:
            with problems.open("rb") as lines:
                state.out.parts(_document(rows, lines, report))
        else:
            with problems.open("rb") as lines:
                few = [json.loads(line) for line in islice(lines, _SHOWN)]
            told = [{"row": each["number"], "problem": each["message"]} for each in few]
            sent = json.loads(b"[" + rows.read() + b"]")
            state.out.result({"sent": sent, "problems": told})
            _say_rest(state.out, count, report)
    if report.failed:
        click.get_current_context().exit(SOME_FAILED)


def _document(rows: IO[bytes], lines: IO[bytes], report: ImportReport) -> Iterator[bytes]:
    """All of a dry run as one document of JSON, piece by piece."""
    yield b'{"rows": ['
    while part := rows.read(_PART):
        yield part
    yield b'], "problems": ['
    for number, line in enumerate(lines):
        yield (b", " if number else b"") + line.strip()
    yield b'], "report": ' + to_json(asdict(report)) + b"}\n"


def _say_rest(out: Output, count: int, report: ImportReport) -> None:
    wrong = report.failed + report.duplicates
    out.say(
        f"Nothing was sent. Rows that would be: {count:,}, shown: {min(count, _SHOWN)}. "
        f"Rows that would not: {wrong:,}, shown: {min(wrong, _SHOWN)}."
    )
