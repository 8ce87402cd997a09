"""One import: what is read, sent and noted, and in which order. Sending is the callers'."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NamedTuple

from kraty_server_api import checks
from kraty_server_api.imports import ImportOptions

from .._call._idempotency import FIELD
from ..errors import KratyServerError
from ._journal import Counts, Journal
from ._plan import LARGEST, Chunk, Failure, Outcome, Part, Planner, counts, duplicate, halves
from ._plan import outcome as outcome_of
from ._report import ImportReport
from ._rows import Item, Kind, Read, Row

__all__ = ["Run", "Sending", "Work", "check_options"]

_REFUSED: Final = frozenset({400, 413, 422})
"""The statuses that say that something is wrong with what was sent, not with who sends it."""


def check_options(options: ImportOptions) -> None:
    """Check the options before anything is read or sent.

    Raises:
        TypeError, ValueError: An option does not fit.
    """
    checks.integer("in_flight", options.in_flight, minimum=1, maximum=100)
    checks.integer("chunk_size", options.chunk_size, minimum=1, maximum=LARGEST)
    if options.on_progress is not None and not callable(options.on_progress):
        raise TypeError("on_progress must be callable")
    if options.resume and options.journal is None:
        raise ValueError("resume needs the journal of the import that is to be resumed")


class Work(NamedTuple):
    """A chunk that is to be sent."""

    chunk: Chunk
    part: Part
    duplicates: tuple[Failure, ...]


class Sending:
    """The calls for one chunk: one, or more where the server refuses it as a whole.

    A loop asks `part()` what to send, and hands the outcome or the error back.
    """

    def __init__(self, work: Work) -> None:
        self._parts = [work.part] if work.part.rows else []
        self.outcome = Outcome()
        """What has become of the rows so far."""

    def part(self) -> Part | None:
        """What to send next; `None` when all is sent."""
        return self._parts[-1] if self._parts else None

    def done(self, answer: Mapping[str, Any]) -> None:
        """The server took it."""
        self.outcome = self.outcome.plus(outcome_of(self._parts.pop().rows, answer))

    def refused(self, error: KratyServerError) -> bool:
        """The server did not; says whether the import can go on nevertheless."""
        if error.status not in _REFUSED:
            return False
        part = self._parts.pop()
        if len(part.rows) > 1:
            self._parts.extend(reversed(halves(part)))
            return True
        ((_, given),) = part.rows
        failure = Failure(given.number, error.code, error.message, given.row)
        self.outcome = self.outcome.plus(Outcome(failures=(failure,)))
        return True


class Run:
    """Keeps journal, file of failures and counts of an import."""

    def __init__(
        self, kind: Kind, options: ImportOptions, mapping: Callable[[Read], list[Item]]
    ) -> None:
        check_options(options)
        self._options = options
        self._mapping = mapping
        self._plan = Planner(kind, options.chunk_size)
        self._counts = Counts()
        self._before = Counts()
        self._chunks = self._resumed = self._retries = 0
        self._started = time.monotonic()
        self._journal = Journal(
            options.journal, kind=kind, chunk_size=options.chunk_size, resume=options.resume
        )
        self.salt = self._journal.salt
        self.in_flight = options.in_flight
        self._failures: IO[bytes] | None = None
        try:
            if options.failures is not None:
                end = self._journal.failures_end()
                self._failures = _open(options.failures, end, new=not options.resume)
        except BaseException:
            self._journal.close()
            raise

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._failures is not None:
            self._failures.close()
        self._journal.close()

    def work(self, items: Iterator[Read]) -> Generator[Work, None, None]:
        """What is to be sent of these rows."""
        for item in items:
            for mapped in self._mapping(item):
                yield from self._begin(self._plan.add(mapped))
        yield from self._end()

    async def work_async(self, items: AsyncIterator[Read]) -> AsyncIterator[Work]:
        """What is to be sent of these rows."""
        async for item in items:
            for mapped in self._mapping(item):
                for work in self._begin(self._plan.add(mapped)):
                    yield work
        for work in self._end():
            yield work

    def _end(self) -> Generator[Work, None, None]:
        yield from self._begin(self._plan.rest())
        missing = self._journal.entry(self._plan.chunks + 1)
        if missing is not None:
            raise ValueError(
                f"the input has changed since the import began: it ends before chunk "
                f"{self._plan.chunks + 1}, which began with row {missing.first_row}"
            )

    def _begin(self, chunk: Chunk | None) -> Generator[Work, None, None]:
        if chunk is None:
            return
        entry = self._journal.entry(chunk.number)
        if entry is not None and entry.hash != chunk.hash:
            raise ValueError(
                f"the input has changed since the import began: {chunk} is not what it was"
            )
        if entry is not None and entry.counts is not None:
            self._resumed += 1
            self._before = self._before.plus(entry.counts)
            self._add(entry.counts)
            return
        keys = [(_key(sent), sent.number) for sent, _ in chunk.rows]
        earlier = self._journal.begin(chunk.number, chunk.first_row, chunk.hash, keys)
        rows = chunk.rows
        if earlier:
            rows = [pair for place, pair in enumerate(rows) if place not in earlier]
        doubles = tuple(duplicate(chunk.rows[place][1], row) for place, row in earlier.items())
        yield Work(chunk, Part(rows, chunk.hash), doubles)

    def settle(self, work: Work, outcome: Outcome) -> None:
        """Note what has become of a chunk."""
        settled = counts(work.chunk, len(work.duplicates), outcome)
        end = 0
        if self._failures is not None:
            failures = (*work.chunk.failures, *work.duplicates, *outcome.failures)
            for failure in sorted(failures, key=lambda failure: failure.number):
                self._failures.write(failure.line().encode())
            # What the journal says of this file has to be in it.
            self._failures.flush()
            end = self._failures.tell()
        self._journal.finish(work.chunk.number, settled, end)
        self._add(settled)

    def _add(self, settled: Counts) -> None:
        self._chunks += 1
        self._counts = self._counts.plus(settled)
        if self._options.on_progress is not None:
            self._options.on_progress(self.report())

    def retried(self) -> None:
        """A call is tried again."""
        self._retries += 1

    def report(self) -> ImportReport:
        """What has become of the import so far."""
        seconds = time.monotonic() - self._started
        settled = self._counts.rows - self._before.rows
        failures = self._options.failures
        return ImportReport(
            *self._counts,
            chunks=self._chunks,
            resumed=self._resumed,
            retries=self._retries,
            seconds=seconds,
            rows_per_second=settled / seconds if seconds > 0 else 0.0,
            failures=None if failures is None else os.fspath(failures),
        )


def _key(sent: Row) -> str | None:
    key = sent.row.get(FIELD)
    return key if isinstance(key, str) else None


def _open(path: str | os.PathLike[str], end: int, *, new: bool) -> IO[bytes]:
    """The file of failures, as long as the journal knows it."""
    there = Path(path)
    if new and there.exists() and there.stat().st_size:
        raise ValueError(f"{there} is there already, and may hold rows to be mended")
    file = there.open("r+b" if end else "wb")
    # A kill may have come between the two.
    file.truncate(end)
    file.seek(end)
    return file
