"""One import: what to read, send and record, in which order. The caller does the sending."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Generator, Mapping
from types import TracebackType
from typing import Final, NamedTuple

from kraty_server_api import checks
from kraty_server_api.imports import AsyncSource, ImportOptions
from kraty_server_api.models import MigrateOutcome

from .._call._callbacks import check_plain
from .._call._exchange import is_ambiguous
from ..errors import KratyError, KratyServerError
from ._failures import FailuresWriter
from ._journal import Journal
from ._mapping import RowMapping, make_mapping
from ._options import ReadOptions
from ._plan import (
    LARGEST,
    Chunk,
    Failure,
    Outcome,
    Part,
    Planner,
    duplicate,
    halves,
    outcome,
    rejected,
    tally,
    too_late,
    unclear,
)
from ._report import ImportReport
from ._rows import Kind
from ._seen import SeenKeys
from ._source import OpenSource, open_source
from ._sums import Sums
from ._tally import Tally

__all__ = ["Run", "Sending", "Work", "check_options", "open_run"]

_REJECTED: Final = frozenset({400, 413, 422})
"""The statuses that reject the rows, rather than the API key or the rate of calls."""

_LONGEST_PATIENCE: Final = 12 * 3600


def check_options(options: ImportOptions) -> None:
    """Check the options before anything is read or sent.

    Raises:
        TypeError, ValueError: An option is invalid.
    """
    checks.integer("in_flight", options.in_flight, minimum=1, maximum=100)
    checks.integer("chunk_size", options.chunk_size, minimum=1, maximum=LARGEST)
    checks.number("patience", options.patience, minimum=0, maximum=_LONGEST_PATIENCE)
    if options.on_progress is not None:
        check_plain("on_progress", options.on_progress)
    if options.resume and options.journal is None:
        raise ValueError("resume needs the journal of the import to resume")


class Work(NamedTuple):
    """A chunk to send."""

    chunk: Chunk
    part: Part
    """Its rows, without the duplicates."""
    duplicates: tuple[Failure, ...]
    begun_at: float | None = None
    """When an earlier run was about to send it for the first time, in seconds since 1970."""


class Sending:
    """The calls for one chunk: one, or more if the server rejects the chunk as a whole.

    A loop asks `part()` for the rows to send, and passes the answer or the error back.
    """

    def __init__(self, work: Work) -> None:
        self._parts = [work.part] if work.part.sent else []
        self._in_doubt_since = work.begun_at
        self.outcome = Outcome()
        """The outcome of the rows so far."""

    def part(self, now: float) -> Part | None:
        """Return the rows to send next; `None` when none are left.

        If rows in doubt are too old to be sent again, none are left: their outcome is unknown.

        Args:
            now: Seconds since 1970.
        """
        # Checked before each call, because a run may wait for hours, and the machine may sleep.
        while self._parts and self._in_doubt_since is not None:
            unknown = too_late(self._parts[-1], self._in_doubt_since, now)
            if unknown is None:
                break
            self._parts.pop()
            self.outcome = self.outcome.plus(unknown)
        return self._parts[-1] if self._parts else None

    def answered(self, answer: MigrateOutcome, now: float) -> None:
        """Record an answer. `now` is in seconds since 1970."""
        self.outcome = self.outcome.plus(outcome(self._parts.pop(), answer, self._since(now)))

    def failed(self, error: KratyError, now: float) -> bool:
        """Record that a call failed. Return whether the server rejected its rows.

        Then the import continues with other rows. Otherwise the same rows may be sent again.

        Args:
            error: Why the call failed.
            now: Seconds since 1970.
        """
        in_doubt = is_ambiguous(error)
        if in_doubt and self._in_doubt_since is None and error.first_sent_at is not None:
            self._in_doubt_since = error.first_sent_at.timestamp()
        if not isinstance(error, KratyServerError) or error.status not in _REJECTED:
            return False
        part = self._parts.pop()
        if len(part.sent) > 1:
            self._parts.extend(reversed(halves(part)))
        elif in_doubt:
            why = f"the call got no clear answer: {error.message}"
            self.outcome = self.outcome.plus(unclear(part, why, self._since(now)))
        else:
            self.outcome = self.outcome.plus(rejected(part, error.code, error.message))
        return True

    def _since(self, now: float) -> float:
        return now if self._in_doubt_since is None else self._in_doubt_since


class Run:
    """Keeps the journal, the failures file and the counts of an import."""

    def __init__(
        self, kind: Kind, source: OpenSource, mapping: RowMapping, options: ImportOptions
    ) -> None:
        check_options(options)
        self._kind: Kind = kind
        self._source = source
        self._mapping = mapping
        self._options = options
        self._plan = Planner(kind, options.chunk_size)
        self._sums = Sums(kind) if options.sum_duplicates else None
        self._seen = SeenKeys()
        self._tally = Tally()
        self._rows_before = 0
        self._chunks = self._resumed = self._retries = 0
        self._started = time.monotonic()
        self.in_flight = options.in_flight
        self._failures: FailuresWriter | None = None
        self.journal = Journal(
            options.journal, kind=kind, chunk_size=options.chunk_size, resume=options.resume
        )
        self.salt = self.journal.salt
        try:
            if options.failures is not None:
                known = self.journal.failures_file()
                self._failures = FailuresWriter(options.failures, known, resume=options.resume)
                self.journal.record_failures_file(self._failures.write(()))
        except BaseException:
            self.journal.close()
            raise

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._seen.close()
        if self._sums is not None:
            self._sums.close()
        if self._failures is not None:
            self._failures.close()
        self.journal.close()

    def work(self) -> Generator[Work, None, None]:
        """Read the source, and yield the chunks to send."""
        add = self._plan.add if self._sums is None else self._sums.add
        for read in self._source:
            for item in self._mapping(read):
                chunk = add(item)
                if chunk is not None and (work := self._prepare(chunk)) is not None:
                    yield work
        yield from self._rest()

    async def work_async(self) -> AsyncIterator[Work]:
        """Read the source, and yield the chunks to send."""
        add = self._plan.add if self._sums is None else self._sums.add
        async for read in self._source:
            for item in self._mapping(read):
                chunk = add(item)
                if chunk is not None and (work := self._prepare(chunk)) is not None:
                    yield work
        for work in self._rest():
            yield work

    def _rest(self) -> Generator[Work, None, None]:
        if self._sums is not None:
            for item in self._sums.items():
                chunk = self._plan.add(item)
                if chunk is not None and (work := self._prepare(chunk)) is not None:
                    yield work
        chunk = self._plan.rest()
        if chunk is not None and (work := self._prepare(chunk)) is not None:
            yield work
        missing = self.journal.entry(self._plan.chunks + 1)
        if missing is not None:
            raise ValueError(
                f"{_CHANGED}: it now ends before chunk {self._plan.chunks + 1}, which began with "
                f"row {missing.first_row}"
            )

    def _prepare(self, chunk: Chunk) -> Work | None:
        """Return the rows of a chunk to send; `None` if its outcome is known already."""
        entry = self.journal.entry(chunk.number)
        if entry is not None and entry.hash != chunk.hash:
            raise ValueError(f"{_CHANGED}: {chunk} is different now")
        # Even for a finished chunk, because later rows may have the same keys.
        earlier = self._seen.add(chunk.keys(), [row.number for row in chunk.given])
        if entry is not None and entry.tally is not None:
            self._resumed += 1
            self._rows_before += entry.tally.rows
            self._add(entry.tally)
            return None
        return _work(chunk, earlier, None if entry is None else entry.begun_at)

    def begin(self, work: Work) -> None:
        """Record that a chunk is about to be sent."""
        chunk = work.chunk
        self.journal.begin(chunk.number, chunk.first_row, chunk.hash, time.time())

    def settle(self, work: Work, outcome: Outcome) -> None:
        """Record the outcome of a chunk."""
        settled = tally(self._kind, work.chunk, work.duplicates, work.part, outcome)
        file = None
        if self._failures is not None:
            failures = (*work.chunk.failures, *work.duplicates, *outcome.failures)
            file = self._failures.write(sorted(failures, key=lambda failure: failure.number))
        self.journal.finish(work.chunk.number, settled, file)
        self._add(settled)

    def _add(self, settled: Tally) -> None:
        self._chunks += 1
        self._tally = self._tally.plus(settled)
        if self._options.on_progress is not None:
            self._options.on_progress(self.report())

    def retried(self) -> None:
        """Count a retry of a call."""
        self._retries += 1

    def report(self) -> ImportReport:
        """Return the report of the import so far."""
        seconds = time.monotonic() - self._started
        done = self._tally
        return ImportReport(
            read=done.read,
            rows=done.rows,
            applied=done.applied,
            skipped=done.skipped,
            left_out=sum(done.left_out.values()),
            failed=done.failed,
            left_out_reasons=done.left_out,
            totals=done.totals,
            chunks=self._chunks,
            resumed=self._resumed,
            retries=self._retries,
            seconds=round(seconds, 3),
            rows_per_second=round((done.rows - self._rows_before) / max(seconds, 1e-9), 1),
            bytes_read=self._source.bytes_read,
            bytes_total=self._source.size,
            failures=None if self._failures is None else self._failures.path,
            notes=(*self._source.notes, *self._mapping.notes),
        )


def open_run(
    kind: Kind,
    rows: AsyncSource,
    mapping: Mapping[str, str] | None,
    preset: str | None,
    options: ImportOptions,
) -> Run:
    """Open the source, the journal and the failures file of an import or a dry run."""
    read = options.read_options or ReadOptions()
    source = open_source(rows, read, kind=kind, preset=preset)
    return Run(kind, source, make_mapping(kind, mapping, preset, read), options)


_CHANGED: Final = (
    "the input, an option that selects its rows, or the version of kraty-admin has changed since "
    "the import began"
)


def _work(chunk: Chunk, earlier: Mapping[int, int], begun_at: float | None) -> Work:
    if not earlier:
        return Work(chunk, Part(chunk.sent, chunk.given, chunk.hash), (), begun_at)
    others = [place for place in range(len(chunk.sent)) if place not in earlier]
    part = Part(
        [chunk.sent[place] for place in others],
        [chunk.given[place] for place in others],
        chunk.hash,
    )
    duplicates = tuple(duplicate(chunk.given[place], row) for place, row in earlier.items())
    return Work(chunk, part, duplicates, begun_at)
