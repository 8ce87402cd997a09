"""The types of imports: rows, options, the report, and the call that runs an import."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

__all__ = [
    "AsyncImportRows",
    "AsyncSource",
    "ImportOptions",
    "ImportReport",
    "ImportRows",
    "Source",
]

Source: TypeAlias = Iterable[Mapping[str, Any]] | str | os.PathLike[str]
"""Rows, or a path to a file of rows."""

AsyncSource: TypeAlias = Source | AsyncIterable[Mapping[str, Any]]
"""The same, or rows that come asynchronously."""


@dataclass(frozen=True)
class ImportReport:
    """The result of an import, or its state so far."""

    rows: int = 0
    """Rows that are finished: `applied`, `skipped`, `failed` and `duplicates` together."""
    applied: int = 0
    """Rows that took effect."""
    skipped: int = 0
    """Rows that the server had applied before, under the same key.

    They include rows of this import whose first answer was lost.
    """
    failed: int = 0
    """Rows that could not be read, or that the server rejected."""
    duplicates: int = 0
    """Rows that were not sent because an earlier row of the input has the same key."""
    chunks: int = 0
    """Chunks that are finished."""
    resumed: int = 0
    """How many of these chunks an earlier run finished."""
    retries: int = 0
    """How often a call was retried."""
    seconds: float = 0.0
    """How long this run took."""
    rows_per_second: float = 0.0
    """Rows that this run finished, divided by `seconds`."""
    failures: str | None = None
    """The file with the failed rows and the duplicates, which you can fix and import again."""


class ImportOptions(NamedTuple):
    """How to run an import; the docstring of `import_players` explains each option."""

    in_flight: int
    """How many chunks are sent at a time."""
    chunk_size: int
    """How many rows are sent together."""
    failures: str | os.PathLike[str] | None = None
    """The file for failed rows."""
    journal: str | os.PathLike[str] | None = None
    """The progress file."""
    resume: bool = False
    """Whether to continue the import of the journal."""
    on_progress: Callable[[ImportReport], object] | None = None
    """Called with a report after each chunk."""


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
