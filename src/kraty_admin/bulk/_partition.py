"""The import of one file of many: a plain function for whatever runs functions on many machines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._bulk._plan import LARGEST
from .._bulk._report import ImportReport
from .._bulk._rows import Kind
from .._bulk._validate import fields
from .._call._limiter import Limiter
from .._client import KratyAdmin

__all__ = ["import_partition"]


def import_partition(
    path: str | os.PathLike[str],
    *,
    kind: Kind,
    client_options: Mapping[str, Any],
    mapping: Mapping[str, str] | None = None,
    preset: str | None = None,
    failures: str | os.PathLike[str] | None = None,
    journal: str | os.PathLike[str] | None = None,
    in_flight: int = 4,
    chunk_size: int = LARGEST,
    share: int = 1,
) -> ImportReport:
    """Import one file, as a task of dask, Celery, Airflow, Spark or the like.

    You can run it again within 23 hours, after it has ended as well as after it was killed.
    If its journal exists, it resumes there. Without a journal it sends all rows, and the
    platform skips those whose keys it has seen. How long the platform keeps the keys of
    rows is not documented: a run more than 24 hours after the first may apply rows again.

    Args:
        path: A file as `import_players` takes it, readable where this runs.
        kind: `players`, `wallet` or `inventory`.
        client_options: What the client is made with, such as `{"base_url": ...}`. Leave
            `api_key` out, and let `KRATY_SERVER_KEY` be set where this runs: a key that is
            an argument of a task passes through schedulers, brokers and their logs.
        mapping: Which column each field is taken from; see `import_players`.
        preset: The columns of a platform's export; see `import_players`.
        failures: A file to be written, of rows that failed. One that is there is taken to
            be of an earlier run, and is written anew.
        journal: A file to be written, and gone on with where it is there. It has to be on
            a disk of the machine that this runs on, or on one that locks files well.
        in_flight: How many chunks are sent at a time.
        chunk_size: How many rows are sent together.
        share: How many of these run at a time under one key. Each uses so large a part of
            what the server says is left of the key's rate limit.

    Returns:
        `ImportReport`: What became of the rows of this file.

    Raises:
        TypeError, ValueError: An argument does not fit; see also `import_players`.
        OSError: A file cannot be read or written.
        ImportStoppedError: The server refused or failed, or could not be reached.
    """
    fields(kind)  # whether there is such a kind
    if not isinstance(share, int) or isinstance(share, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers err
        raise TypeError(f"share must be an int, not {type(share).__name__}")
    if share < 1:
        raise ValueError("share must be 1 or more")
    for written in (failures, journal):
        if written is not None:
            Path(written).parent.mkdir(parents=True, exist_ok=True)
    if failures is not None and journal is None:
        Path(failures).unlink(missing_ok=True)
    with KratyAdmin(**client_options) as client:
        client._limiter = Limiter(share)  # pyright: ignore[reportPrivateUsage]  # no option of clients
        imports = {
            "players": client.migrate.import_players,
            "wallet": client.migrate.import_wallet,
            "inventory": client.migrate.import_inventory,
        }
        return imports[kind](
            path,
            mapping=mapping,
            preset=preset,
            failures=failures,
            journal=journal,
            resume=journal is not None,
            in_flight=in_flight,
            chunk_size=chunk_size,
        )
