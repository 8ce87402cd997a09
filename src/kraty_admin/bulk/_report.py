"""What an import tells."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import KratyError

__all__ = ["ImportReport", "ImportStoppedError"]


@dataclass(frozen=True)
class ImportReport:
    """What became of an import, or has become of it so far."""

    rows: int = 0
    """Rows that are settled: `applied`, `skipped`, `failed` and `duplicates` together."""
    applied: int = 0
    """Rows that took effect."""
    skipped: int = 0
    """Rows that had taken effect before, under the same key."""
    failed: int = 0
    """Rows that could not be read, or were refused."""
    duplicates: int = 0
    """Rows that were not sent because an earlier row of the input has the same key."""
    chunks: int = 0
    """Chunks that are settled."""
    resumed: int = 0
    """How many of them an earlier run had settled."""
    retries: int = 0
    """How often a call was tried again."""
    seconds: float = 0.0
    """How long this run took."""
    rows_per_second: float = 0.0
    """Rows that this run settled, by its seconds."""
    failures: str | None = None
    """The file with the rows that failed and the duplicates, ready to be mended and fed back."""


class ImportStoppedError(KratyError):
    """An import could not go on. What it had begun is in its journal, where it has one.

    The error that stopped it is its `__cause__`.
    """

    def __init__(self, message: str, *, report: ImportReport) -> None:
        super().__init__(message)
        self.report: ImportReport = report
        """What had become of it by then."""
