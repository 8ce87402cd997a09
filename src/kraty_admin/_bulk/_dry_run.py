"""An import without a server: it checks which rows would be sent, and which would fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from kraty_server_api.imports import ImportOptions, Source

from .._call._callbacks import check_plain
from ._options import ReadOptions
from ._plan import LARGEST, Outcome
from ._report import ImportReport
from ._rows import Kind
from ._run import open_run

__all__ = ["dry_run"]


def dry_run(
    kind: Kind,
    rows: Source,
    *,
    mapping: Mapping[str, str] | None = None,
    preset: str | None = None,
    read_options: ReadOptions | None = None,
    sum_duplicates: bool = False,
    failures: str | os.PathLike[str] | None = None,
    on_row: Callable[[dict[str, Any]], object] | None = None,
) -> ImportReport:
    """Read, map and check all rows as an import would, and send nothing.

    A dry run checks rows against the API's description, with the code that imports use. It
    cannot check that currencies or items exist.

    Args:
        kind: `players`, `wallet` or `inventory`.
        rows: The rows to check; see `import_players`, also for the next four arguments.
        mapping: The column of each field.
        preset: The columns of a platform's export.
        read_options: How to read the source, and which of its rows to import.
        sum_duplicates: Whether to add up rows that differ only in the amount or quantity.
        failures: A file for the rows that would not be imported.
        on_row: Called with each row that would be sent, including its key.

    Returns:
        `ImportReport`: `applied` counts the rows that would be sent.

    Raises:
        TypeError, ValueError: See `import_players`.
        OSError: A file cannot be read or written.
    """
    if on_row is not None:
        check_plain("on_row", on_row)
    options = ImportOptions(
        in_flight=1,
        chunk_size=LARGEST,
        failures=failures,
        read_options=read_options,
        sum_duplicates=sum_duplicates,
    )
    with open_run(kind, rows, mapping, preset, options) as run:
        for work in run.work():
            if on_row is not None:
                for row in work.part.sent:
                    on_row(row)
            run.settle(work, Outcome(applied=len(work.part.sent)))
        return run.report()
