"""What `migrate.import_players` and its like do: set an import up, and run it on a client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, cast

from .._call._limiter import Limiter
from ..telemetry import RequestHook
from ._mapping import make_mapping
from ._run import Run
from ._send import run_import, run_import_async, watch
from ._source import items, items_async

if TYPE_CHECKING:
    from kraty_server_api.imports import AsyncSource, ImportOptions, ImportReport, Source
    from kraty_server_api.resources.migrate import AsyncMigrate, Migrate

    from ._rows import Kind

__all__ = ["import_rows", "import_rows_async"]

Watch: TypeAlias = Callable[[RequestHook | None], RequestHook]
"""Wraps a client's hook, so that the import sees the attempts of its own calls."""


def import_rows(
    watched: Callable[[Watch], Migrate],
    limiter: Limiter,
    kind: str,
    rows: Source,
    mapping: Mapping[str, str] | None,
    preset: str | None,
    options: ImportOptions,
) -> ImportReport:
    """Import all rows; see `import_players`.

    Args:
        watched: Returns the client's `migrate`, with its hook wrapped.
        limiter: Paces the calls of all imports of the client.
        kind: The method of `migrate` that sends a batch of these rows.
        rows: The rows, or the path of a file.
        mapping: Which column each field is read from.
        preset: The columns of a platform's export.
        options: The other arguments.
    """
    known = cast("Kind", kind)  # the generated methods name no other
    with Run(known, options, make_mapping(known, mapping, preset)) as run:
        calls = watched(partial(watch, run, limiter))
        send = {"players": calls.players, "wallet": calls.wallet, "inventory": calls.inventory}
        return run_import(run, send[known], items(rows), limiter)


async def import_rows_async(
    watched: Callable[[Watch], AsyncMigrate],
    limiter: Limiter,
    kind: str,
    rows: AsyncSource,
    mapping: Mapping[str, str] | None,
    preset: str | None,
    options: ImportOptions,
) -> ImportReport:
    """Import all rows; see `import_rows`."""
    known = cast("Kind", kind)
    with Run(known, options, make_mapping(known, mapping, preset)) as run:
        calls = watched(partial(watch, run, limiter))
        send = {"players": calls.players, "wallet": calls.wallet, "inventory": calls.inventory}
        return await run_import_async(run, send[known], items_async(rows), limiter)
