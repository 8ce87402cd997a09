"""An import without a server: what would be sent, and what would be wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from kraty_server_api.imports import ImportOptions, Source

from ._mapping import make_mapping
from ._plan import LARGEST, Failure, Outcome
from ._report import ImportReport
from ._rows import Kind
from ._run import Run, Work
from ._source import items
from ._validate import problem

__all__ = ["dry_run"]


def dry_run(
    kind: Kind,
    rows: Source,
    *,
    mapping: Mapping[str, str] | None = None,
    preset: str | None = None,
    failures: str | os.PathLike[str] | None = None,
    on_row: Callable[[dict[str, Any]], object] | None = None,
) -> ImportReport:
    """Read, map and check all rows as an import would, and send nothing.

    What is checked is the contract: whether an item or a currency is known, only the
    server can tell.

    Args:
        kind: `players`, `wallet` or `inventory`.
        rows: What would be imported; see `import_players`, as for `mapping` and `preset`.
        mapping: Which column each field is taken from.
        preset: The columns of a platform's export.
        failures: A file to be written, of the rows that would fail.
        on_row: Called with each row that would be sent, with its key.

    Returns:
        `ImportReport`: In `applied` the rows that would be sent.

    Raises:
        TypeError, ValueError: As `import_players`.
        OSError: A file cannot be read or written.
    """
    options = ImportOptions(in_flight=1, chunk_size=LARGEST, failures=failures)
    with Run(kind, options, make_mapping(kind, mapping, preset)) as run:
        for work in run.work(items(rows)):
            run.settle(work, _outcome(kind, work, on_row))
        return run.report()


def _outcome(kind: Kind, work: Work, on_row: Callable[[dict[str, Any]], object] | None) -> Outcome:
    applied = 0
    failures: list[Failure] = []
    for sent, given in work.part.rows:
        why = problem(kind, sent.row)
        if why is not None:
            failures.append(Failure(given.number, "validation_failed", why, given.row))
            continue
        applied += 1
        if on_row is not None:
            on_row(sent.row)
    return Outcome(applied, 0, tuple(failures))
