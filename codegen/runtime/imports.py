"""The types of imports: rows, options, the report, and the call that runs an import."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from .read_options import ReadOptions

__all__ = [
    "DUPLICATE",
    "AsyncImportRows",
    "AsyncSource",
    "ImportOptions",
    "ImportReport",
    "ImportRows",
    "ImportTotals",
    "Source",
]


class BinaryFile(Protocol):
    """A file that is open for reading bytes, such as `sys.stdin.buffer`."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""
        ...


class ArrowStream(Protocol):
    """A table with Arrow's interface, such as a data frame of pandas or polars."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a capsule with a stream of record batches."""
        ...


class Cursor(Protocol):
    """A cursor of the DB-API that has run a query."""

    @property
    def description(self) -> Any:
        """The columns; the first item of each is its name."""
        ...

    def fetchmany(self, size: int, /) -> Sequence[Any]:
        """Return the next `size` rows; none at the end."""
        ...


class QueryResult(Protocol):
    """A result of SQLAlchemy."""

    def mappings(self) -> Iterable[Mapping[Any, Any]]:
        """Return the rows as mappings from column names to values."""
        ...


Source: TypeAlias = (
    Iterable[Mapping[str, Any]]
    | str
    | os.PathLike[str]
    | BinaryFile
    | ArrowStream
    | Cursor
    | QueryResult
)
"""Rows, a path to a file of rows, an open file, a table, or the result of a query."""

AsyncSource: TypeAlias = Source | AsyncIterable[Mapping[str, Any]]
"""The same, or an asynchronous iterable of rows."""


@dataclass(frozen=True)
class ImportTotals:
    """The control totals of one currency or item: sums of amounts or quantities.

    `source` is the sum of the other three. Rows whose amount cannot be read are not included.
    """

    source: int = 0
    """The sum over all rows that were read, except those that a preset or an option left out."""
    imported: int = 0
    """The sum over the rows that are in Kraty now: applied by this import, or skipped."""
    left_out: int = 0
    """The sum over the rows that were left out as duplicates."""
    failed: int = 0
    """The sum over the rows that failed."""


@dataclass(frozen=True)
class ImportReport:
    """The result of an import, or its state so far.

    Every row ends in exactly one of four counts: `applied`, `skipped`, `left_out` or `failed`.
    """

    read: int = 0
    """How many rows of the source are finished, including those that cannot be read."""
    rows: int = 0
    """How many rows these became: at least one each, and more if a preset finds several balances
    or items in one. It is the sum of `applied`, `skipped`, `left_out` and `failed`."""
    applied: int = 0
    """Rows that took effect."""
    skipped: int = 0
    """Rows that the server had applied before, under the same key.

    They include rows of this import whose first answer was lost.
    """
    left_out: int = 0
    """Rows that were not sent because a rule of the preset or an option excludes them, or because
    an earlier row has the same key."""
    failed: int = 0
    """Rows that could not be read or are invalid, that the server rejected, or whose outcome is
    unknown."""
    left_out_reasons: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)
    """How many rows were left out for each reason. The reason of duplicates is `duplicate_row`."""
    totals: Mapping[str, ImportTotals] = field(default_factory=dict[str, ImportTotals], hash=False)
    """Control totals by currency or item; empty for players."""
    chunks: int = 0
    """How many chunks are finished."""
    resumed: int = 0
    """How many of these chunks an earlier run finished."""
    retries: int = 0
    """How often a call was retried."""
    seconds: float = 0.0
    """How long this run took, in seconds, rounded to milliseconds."""
    rows_per_second: float = 0.0
    """Rows that this run finished, divided by `seconds`, rounded to one decimal."""
    bytes_read: int = 0
    """How many bytes of the source file have been read; for a compressed file, compressed bytes."""
    bytes_total: int | None = None
    """The size of the source file in bytes; `None` if it is not known."""
    failures: str | None = None
    """The file with the failed rows and the duplicates, which you can fix and import again."""
    notes: tuple[str, ...] = ()
    """Notes about the source and the mapping, for people."""

    @property
    def duplicates(self) -> int:
        """Rows that were left out because an earlier row of the input has the same key."""
        return self.left_out_reasons.get(DUPLICATE, 0)

    @property
    def complete(self) -> bool:
        """Whether no row failed or is a duplicate.

        Rows that a documented rule of the preset or an option leaves out do not count.
        """
        return not self.failed and not self.duplicates

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A pickle of 0.1.0 has `duplicates`, which were not part of another count.
        duplicates = state.pop("duplicates", 0)
        if duplicates:
            state = {**state, "left_out": duplicates, "left_out_reasons": {DUPLICATE: duplicates}}
        self.__dict__.update({**vars(ImportReport(read=state["rows"])), **state})

    def __str__(self) -> str:
        """Return the counts as a sentence for people."""
        made = "" if self.rows == self.read else f", which make {self.rows:,}"
        reasons = ", ".join(f"{count:,} {name}" for name, count in self.left_out_reasons.items())
        return (
            f"{_count(self.read, 'row')} read{made}: {self.applied:,} applied, "
            f"{self.skipped:,} skipped, {self.left_out:,} left out"
            f"{f' ({reasons})' if reasons else ''}, {self.failed:,} failed, "
            f"in {_duration(self.seconds)} ({self.rows_per_second:,.0f} rows a second)"
        )


DUPLICATE: Final = "duplicate_row"
"""The reason for leaving out a row that has the key of an earlier row."""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


class ImportOptions(NamedTuple):
    """How to run an import; the docstring of `import_players` explains each option."""

    in_flight: int
    """How many calls to send at a time."""
    chunk_size: int
    """How many rows to send in one call."""
    failures: str | os.PathLike[str] | None = None
    """The file for failed rows."""
    journal: str | os.PathLike[str] | None = None
    """The progress file."""
    resume: bool = False
    """Whether to continue the import of the journal."""
    patience: float = 300.0
    """How many seconds to wait for a server that is unavailable."""
    on_progress: Callable[[ImportReport], object] | None = None
    """Called with a report after each chunk."""
    read_options: ReadOptions | None = None
    """How to read the source, and which of its rows to import."""
    sum_duplicates: bool = False
    """Whether to add up rows that differ only in the amount or quantity."""


class ImportRows(Protocol):
    """Runs an import. `kind` is the method that sends a batch of these rows."""

    def __call__(
        self,
        kind: str,
        rows: Source,
        mapping: Mapping[str, str] | None,
        preset: str | None,
        options: ImportOptions,
        /,
    ) -> ImportReport: ...


class AsyncImportRows(Protocol):
    """Runs an import, asynchronously."""

    def __call__(
        self,
        kind: str,
        rows: AsyncSource,
        mapping: Mapping[str, str] | None,
        preset: str | None,
        options: ImportOptions,
        /,
    ) -> Awaitable[ImportReport]: ...
