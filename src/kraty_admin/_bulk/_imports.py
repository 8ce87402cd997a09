"""What `migrate.import_players` and its like do: set an import up, and run it on a client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

import attrs

from kraty_server_api.decoding import is_object

from .._call._limiter import Limiter
from ..errors import KratyError
from ..telemetry import RequestHook
from ._journal import Target
from ._mapping import make_mapping
from ._options import ReadOptions
from ._patience import Patience
from ._run import Run
from ._send import run_import, run_import_async, stopped_by, watch
from ._source import open_source

if TYPE_CHECKING:
    from kraty_server_api.imports import AsyncSource, ImportOptions, ImportReport, Source

    from .._client import KratyAdmin, KratyAdminAsync
    from ._rows import Kind

__all__ = ["ImportClient", "import_rows", "import_rows_async"]

Wrap: TypeAlias = Callable[[RequestHook | None], RequestHook]
"""Wraps a client's hook, so that the import sees the attempts of its own calls."""

C = TypeVar("C", "KratyAdmin", "KratyAdminAsync")


@attrs.frozen
class ImportClient(Generic[C]):
    """What an import needs of a client."""

    hooked: Callable[[Wrap], C]
    """Returns the client, with its hook wrapped."""
    limiter: Limiter
    """Paces the calls of all imports of the client."""
    key_id: str
    """Tells the API key from others without showing it."""


def import_rows(
    client: ImportClient[KratyAdmin],
    kind: str,
    rows: Source,
    mapping: Mapping[str, str] | None,
    preset: str | None,
    options: ImportOptions,
) -> ImportReport:
    """Import all rows; see `import_players`.

    Args:
        client: The client.
        kind: The method of `migrate` that sends a batch of these rows.
        rows: The rows, or the path of a file.
        mapping: Which column each field is read from.
        preset: The columns of a platform's export.
        options: The other arguments.
    """
    with _open(kind, rows, mapping, preset, options) as run:
        kraty = client.hooked(partial(watch, run, client.limiter))
        patience = Patience(options.patience)
        if run.journal.is_kept:
            try:
                answer = kraty.health.ping()
            except KratyError as error:
                raise stopped_by(run, error) from error
            run.journal.claim(_target(kraty.base_url, client.key_id, answer))
            patience.answered()
        calls = kraty.migrate
        send = {"players": calls.players, "wallet": calls.wallet, "inventory": calls.inventory}
        return run_import(run, send[kind], client.limiter, patience)


async def import_rows_async(
    client: ImportClient[KratyAdminAsync],
    kind: str,
    rows: AsyncSource,
    mapping: Mapping[str, str] | None,
    preset: str | None,
    options: ImportOptions,
) -> ImportReport:
    """Import all rows; see `import_rows`."""
    with _open(kind, rows, mapping, preset, options) as run:
        kraty = client.hooked(partial(watch, run, client.limiter))
        patience = Patience(options.patience)
        if run.journal.is_kept:
            try:
                answer = await kraty.health.ping()
            except KratyError as error:
                raise stopped_by(run, error) from error
            run.journal.claim(_target(kraty.base_url, client.key_id, answer))
            patience.answered()
        calls = kraty.migrate
        send = {"players": calls.players, "wallet": calls.wallet, "inventory": calls.inventory}
        return await run_import_async(run, send[kind], client.limiter, patience)


def _open(
    kind: str,
    rows: AsyncSource,
    mapping: Mapping[str, str] | None,
    preset: str | None,
    options: ImportOptions,
) -> Run:
    known = cast("Kind", kind)  # the generated methods name no other
    read = options.read_options or ReadOptions()
    source = open_source(rows, read, kind=known, preset=preset)
    return Run(known, source, make_mapping(known, mapping, preset, read), options)


def _target(server: str, key_id: str, answer: Mapping[str, Any]) -> Target:
    """Return where a client sends rows. All keys of one game have the same target."""
    found: object = answer.get("apiKey")
    key = found if is_object(found) else {}
    parts = [key.get(name) for name in ("environment", "studioId", "gameId")]
    if parts[1] is None and parts[2] is None:
        # The server does not say. Another key may be for another game.
        return Target(server, f"the game of the API key {key_id}")
    environment, studio, game = parts
    named = "all games" if game is None else f"game {game}"
    return Target(server, f"{named} of studio {studio} ({environment})")
