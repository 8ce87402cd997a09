"""Import one file of many: a plain function, to run as a task on any machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .._bulk._options import ReadOptions
from .._bulk._plan import LARGEST
from .._bulk._report import ImportReport
from .._bulk._rows import Kind
from .._bulk._validate import fields
from .._call._limiter import Limiter
from .._client import KratyAdmin

__all__ = ["PATIENCE", "import_partition"]

PATIENCE: Final = 300.0
"""The default of `patience`, in seconds."""


def import_partition(
    path: str | os.PathLike[str],
    *,
    kind: Kind,
    client_options: Mapping[str, Any],
    mapping: Mapping[str, str] | None = None,
    preset: str | None = None,
    read_options: ReadOptions | None = None,
    sum_duplicates: bool = False,
    failures: str | os.PathLike[str] | None = None,
    journal: str | os.PathLike[str] | None = None,
    in_flight: int = 4,
    chunk_size: int = LARGEST,
    patience: float = PATIENCE,
    share: int = 1,
) -> ImportReport:
    """Import one file, as a task of dask, Celery, Airflow, Spark or the like.

    You can run it again within 23 hours of the first run, whether it ended or was killed.
    If its journal exists, it resumes there. Without a journal it sends all rows, and the
    platform skips those whose keys it has seen. How long the platform keeps the keys of
    rows is not documented: a run more than 24 hours after the first may apply rows again.

    Args:
        path: A file that `import_players` accepts, readable where the task runs.
        kind: `players`, `wallet` or `inventory`.
        client_options: The client's arguments, such as `{"base_url": ...}`. Leave `api_key`
            out, and set `KRATY_SERVER_KEY` where the task runs: the arguments of tasks pass
            through schedulers, brokers and their logs.
        mapping: The column of each field; see `import_players`, also for the next three
            arguments.
        preset: The columns of a platform's export.
        read_options: How to read the file, and which of its rows to import.
        sum_duplicates: Whether to add up rows that differ only in the amount or quantity. Rows
            of the same player in another file have the same key, so the platform does not apply
            both sums: all rows of a player must be in one file.
        failures: A file for the rows that failed. If there is no journal yet, an existing
            file is taken for that of an earlier run, and is deleted.
        journal: Progress file; resumed if it exists. It must be on a local disk, or on a file
            system that locks files reliably. The journal of an import into another server or
            game is refused.
        in_flight: How many calls to send at a time, from 1 to 100.
        chunk_size: Rows per call, from 1 to 1,000.
        patience: How many seconds to wait for a server that is unavailable, up to 12 hours.
        share: How many of these tasks run at a time with one API key, at least 1. Each uses only
            its part of the rate limit that the server reports as remaining.

    Returns:
        `ImportReport`: How many rows of this file were applied, skipped, left out or failed.

    Raises:
        TypeError, ValueError: An argument is invalid; see also `import_players`.
        OSError: A file cannot be read or written.
        ImportStoppedError: The server rejected a call, failed, or could not be reached.
    """
    fields(kind)  # raises if there is no such kind
    if not isinstance(share, int) or isinstance(share, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
        raise TypeError(f"share must be an int, not {type(share).__name__}")
    if share < 1:
        raise ValueError("share must be 1 or more")
    for written in (failures, journal):
        if written is not None:
            Path(written).parent.mkdir(parents=True, exist_ok=True)
    if failures is not None and (journal is None or not Path(journal).exists()):
        Path(failures).unlink(missing_ok=True)
    with KratyAdmin(**client_options) as client:
        client._limiter = Limiter(share)  # pyright: ignore[reportPrivateUsage]  # clients have no such option
        imports = {
            "players": client.migrate.import_players,
            "wallet": client.migrate.import_wallet,
            "inventory": client.migrate.import_inventory,
        }
        return imports[kind](
            path,
            mapping=mapping,
            preset=preset,
            read_options=read_options,
            sum_duplicates=sum_duplicates,
            failures=failures,
            journal=journal,
            resume=journal is not None,
            in_flight=in_flight,
            chunk_size=chunk_size,
            patience=patience,
        )
