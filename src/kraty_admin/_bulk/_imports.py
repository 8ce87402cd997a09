"""Set up and run an import with a client, for `migrate.import_players` and the like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

import attrs

from .._call._game import game_of
from .._call._limiter import Limiter
from ..errors import KratyError
from ..telemetry import RequestHook
from ._journal import ImportTarget
from ._patience import Patience
from ._run import open_run
from ._send import run_import, run_import_async, stopped_by, watch

if TYPE_CHECKING:
    from kraty_server_api.imports import AsyncSource, ImportOptions, ImportReport, Source
    from kraty_server_api.resources import AsyncResources, Resources

    from ._rows import Kind

__all__ = ["ImportClient", "import_rows", "import_rows_async"]

Wrap: TypeAlias = Callable[[RequestHook | None], RequestHook]
"""Wraps a client's hook, so that the import sees the attempts of its own calls."""

R = TypeVar("R", "Resources", "AsyncResources")


@attrs.frozen
class ImportClient(Generic[R]):
    """The parts of a client that an import needs."""

    hooked: Callable[[Wrap], R]
    """Returns the client, with its hook wrapped."""
    server: str
    """The base URL."""
    limiter: Limiter
    """Paces the calls of all imports of the client."""
    key_id: str
    """Identifies the API key without revealing it."""


def import_rows(
    client: ImportClient[Resources],
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
        mapping: The column of each field.
        preset: The columns of a platform's export.
        options: The other arguments.
    """
    known = cast("Kind", kind)  # the generated methods pass no other kind
    with open_run(known, rows, mapping, preset, options) as run:
        kraty = client.hooked(partial(watch, run, client.limiter))
        patience = Patience(options.patience)
        if run.journal.is_kept:
            try:
                answer = kraty.health.ping()
            except KratyError as error:
                raise stopped_by(run, error) from error
            run.journal.claim(_target(client.server, client.key_id, answer))
            patience.answered()
        calls = kraty.migrate
        send = {"players": calls.players, "wallet": calls.wallet, "inventory": calls.inventory}
        return run_import(run, send[kind], client.limiter, patience)


async def import_rows_async(
    client: ImportClient[AsyncResources],
    kind: str,
    rows: AsyncSource,
    mapping: Mapping[str, str] | None,
    preset: str | None,
    options: ImportOptions,
) -> ImportReport:
    """Import all rows; see `import_rows`."""
    known = cast("Kind", kind)  # the generated methods pass no other kind
    with open_run(known, rows, mapping, preset, options) as run:
        kraty = client.hooked(partial(watch, run, client.limiter))
        patience = Patience(options.patience)
        if run.journal.is_kept:
            try:
                answer = await kraty.health.ping()
            except KratyError as error:
                raise stopped_by(run, error) from error
            run.journal.claim(_target(client.server, client.key_id, answer))
            patience.answered()
        calls = kraty.migrate
        send = {"players": calls.players, "wallet": calls.wallet, "inventory": calls.inventory}
        return await run_import_async(run, send[kind], client.limiter, patience)


def _target(server: str, key_id: str, answer: Mapping[str, Any]) -> ImportTarget:
    """Return the server and game that a client sends rows to. All keys of a game share one."""
    game = game_of(answer)
    if game.studio_id is None and game.game_id is None:
        # The server does not name the game, so another key may be for another game.
        return ImportTarget(server, f"the game of the API key {key_id}")
    named = "all games" if game.game_id is None else f"game {game.game_id}"
    return ImportTarget(server, f"{named} of studio {game.studio_id} ({game.environment})")
