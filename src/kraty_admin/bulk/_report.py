"""What an import tells."""

from __future__ import annotations

from kraty_server_api.imports import ImportReport

from ..errors import KratyError

__all__ = ["ImportReport", "ImportStoppedError"]


class ImportStoppedError(KratyError):
    """An import could not go on. What it had begun is in its journal, where it has one.

    The error that stopped it is its `__cause__`.
    """

    def __init__(self, message: str, *, report: ImportReport) -> None:
        super().__init__(message)
        self.report: ImportReport = report
        """What had become of it by then."""
