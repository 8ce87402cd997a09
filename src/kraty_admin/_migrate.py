"""What `migrate` has besides the contract's operations: imports of any length."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from kraty_server_api.resources import migrate as generated

if TYPE_CHECKING:
    from kraty_server_api.operation import AsyncCall, Call

    from ._limiter import Limiter
    from .bulk import ImportReport
    from .bulk._rows import Kind
    from .bulk._run import Options
    from .bulk._source import AsyncSource, Source
    from .telemetry import RequestHook

__all__ = ["AsyncMigrate", "Migrate"]


class Migrate(generated.Migrate):
    """Bulk import from other platforms, by the batch or as a whole."""

    def __init__(
        self,
        call: Call,
        limiter: Limiter,
        watched: Callable[[Callable[[RequestHook | None], RequestHook]], generated.Migrate],
    ) -> None:
        super().__init__(call)
        self._limiter = limiter
        self._watched = watched

    def import_players(
        self,
        rows: Source,
        *,
        mapping: Mapping[str, str] | None = None,
        preset: str | None = None,
        failures: str | os.PathLike[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
        resume: bool = False,
        in_flight: int = 4,
        chunk_size: int = 1000,
        on_progress: Callable[[ImportReport], object] | None = None,
    ) -> ImportReport:
        """Import any number of players from another platform.

        Reads as it goes, sends some chunks at a time, slows down as the server's rate
        limit is used up, and takes the same memory for any number of rows. A row without
        an `idempotencyKey` gets one that follows from the player, so the platform skips
        it in a second import of the same rows, as long as it keeps the key. How long it
        keeps the keys of rows is not documented: do not rely on them for more than 24
        hours. A row that cannot be read or is refused is a failure, and does not stop the
        others.

        Args:
            rows: The rows, as dicts in the contract's names; or the path of a CSV, TSV,
                JSONL, JSON or Parquet file, whose columns `mapping` and `preset` name.
            mapping: Which column or path each field is taken from, such as
                `{"externalPlayerId": "PlayFabId"}`; `"=gold"` stands for the text itself.
            preset: The columns of a platform's export: `playfab`, `firebase` or
                `lootlocker`.
            failures: A file to be written, of rows that failed and why, as JSONL. Mended,
                it can be imported itself. Without it they are only counted.
            journal: A file to be written, from which the import can be resumed after
                whatever has ended it.
            resume: Whether to go on with the import of that journal: chunks that are
                settled are skipped, those in doubt are sent again under their keys.
            in_flight: How many chunks are sent at a time, from 1 to 100.
            chunk_size: How many rows are sent together, from 1 to 1,000.
            on_progress: Called with a report after each chunk.

        Returns:
            `ImportReport`: What became of the rows.

        Raises:
            TypeError, ValueError: An argument does not fit, a column is not there, the
                file is empty, or what is resumed has another input than it had.
            OSError: A file cannot be read or written.
            ImportStoppedError: The server refused or failed, or could not be reached; what was
                done until then is in its `report` and in the journal.

        Source: `migratePlayers`, `POST /migrate/players`.
        """
        return self._import(
            "players",
            rows,
            mapping,
            preset,
            _options(failures, journal, resume, in_flight, chunk_size, on_progress),
        )

    def import_wallet(
        self,
        rows: Source,
        *,
        mapping: Mapping[str, str] | None = None,
        preset: str | None = None,
        failures: str | os.PathLike[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
        resume: bool = False,
        in_flight: int = 4,
        chunk_size: int = 1000,
        on_progress: Callable[[ImportReport], object] | None = None,
    ) -> ImportReport:
        """Import any number of balances from another platform.

        The arguments are those of `import_players`. A row without an `idempotencyKey` gets
        one that follows from player and currency, so the platform skips it in a second
        import of the same rows, as long as it keeps the key; for how long is not documented.

        Source: `migrateWallet`, `POST /migrate/wallet`.
        """
        return self._import(
            "wallet",
            rows,
            mapping,
            preset,
            _options(failures, journal, resume, in_flight, chunk_size, on_progress),
        )

    def import_inventory(
        self,
        rows: Source,
        *,
        mapping: Mapping[str, str] | None = None,
        preset: str | None = None,
        failures: str | os.PathLike[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
        resume: bool = False,
        in_flight: int = 4,
        chunk_size: int = 1000,
        on_progress: Callable[[ImportReport], object] | None = None,
    ) -> ImportReport:
        """Import any number of item holdings from another platform.

        The arguments are those of `import_players`. A row without an `idempotencyKey` gets
        one that follows from player and item, so the platform skips it in a second
        import of the same rows, as long as it keeps the key; for how long is not documented.

        Source: `migrateInventory`, `POST /migrate/inventory`.
        """
        return self._import(
            "inventory",
            rows,
            mapping,
            preset,
            _options(failures, journal, resume, in_flight, chunk_size, on_progress),
        )

    def _import(
        self,
        kind: Kind,
        rows: Source,
        mapping: Mapping[str, str] | None,
        preset: str | None,
        options: Options,
    ) -> ImportReport:
        from .bulk._mapping import make_mapping
        from .bulk._run import Run
        from .bulk._send import run_import, watch
        from .bulk._source import items

        with Run(kind, options, make_mapping(kind, mapping, preset)) as run:
            calls = self._watched(partial(watch, run, self._limiter))
            send = {
                "players": calls.players,
                "wallet": calls.wallet,
                "inventory": calls.inventory,
            }[kind]
            return run_import(run, send, items(rows), self._limiter)


class AsyncMigrate(generated.AsyncMigrate):
    """Bulk import from other platforms, by the batch or as a whole."""

    def __init__(
        self,
        call: AsyncCall,
        limiter: Limiter,
        watched: Callable[[Callable[[RequestHook | None], RequestHook]], generated.AsyncMigrate],
    ) -> None:
        super().__init__(call)
        self._limiter = limiter
        self._watched = watched

    async def import_players(
        self,
        rows: AsyncSource,
        *,
        mapping: Mapping[str, str] | None = None,
        preset: str | None = None,
        failures: str | os.PathLike[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
        resume: bool = False,
        in_flight: int = 4,
        chunk_size: int = 1000,
        on_progress: Callable[[ImportReport], object] | None = None,
    ) -> ImportReport:
        """Import any number of players from another platform.

        The twin of `Migrate.import_players`, to be awaited. `rows` may be an asynchronous
        iterable too. When it is cancelled, so are the calls that are under way; resumed,
        the import sends them again under their keys.

        Source: `migratePlayers`, `POST /migrate/players`.
        """
        return await self._import(
            "players",
            rows,
            mapping,
            preset,
            _options(failures, journal, resume, in_flight, chunk_size, on_progress),
        )

    async def import_wallet(
        self,
        rows: AsyncSource,
        *,
        mapping: Mapping[str, str] | None = None,
        preset: str | None = None,
        failures: str | os.PathLike[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
        resume: bool = False,
        in_flight: int = 4,
        chunk_size: int = 1000,
        on_progress: Callable[[ImportReport], object] | None = None,
    ) -> ImportReport:
        """Import any number of balances from another platform; see `import_players`.

        Source: `migrateWallet`, `POST /migrate/wallet`.
        """
        return await self._import(
            "wallet",
            rows,
            mapping,
            preset,
            _options(failures, journal, resume, in_flight, chunk_size, on_progress),
        )

    async def import_inventory(
        self,
        rows: AsyncSource,
        *,
        mapping: Mapping[str, str] | None = None,
        preset: str | None = None,
        failures: str | os.PathLike[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
        resume: bool = False,
        in_flight: int = 4,
        chunk_size: int = 1000,
        on_progress: Callable[[ImportReport], object] | None = None,
    ) -> ImportReport:
        """Import any number of item holdings from another platform; see `import_players`.

        Source: `migrateInventory`, `POST /migrate/inventory`.
        """
        return await self._import(
            "inventory",
            rows,
            mapping,
            preset,
            _options(failures, journal, resume, in_flight, chunk_size, on_progress),
        )

    async def _import(
        self,
        kind: Kind,
        rows: AsyncSource,
        mapping: Mapping[str, str] | None,
        preset: str | None,
        options: Options,
    ) -> ImportReport:
        from .bulk._mapping import make_mapping
        from .bulk._run import Run
        from .bulk._send import run_import_async, watch
        from .bulk._source import items_async

        with Run(kind, options, make_mapping(kind, mapping, preset)) as run:
            calls = self._watched(partial(watch, run, self._limiter))
            send = {
                "players": calls.players,
                "wallet": calls.wallet,
                "inventory": calls.inventory,
            }[kind]
            return await run_import_async(run, send, items_async(rows), self._limiter)


def _options(
    failures: str | os.PathLike[str] | None,
    journal: str | os.PathLike[str] | None,
    resume: bool,
    in_flight: int,
    chunk_size: int,
    on_progress: Callable[[ImportReport], object] | None,
) -> Options:
    from .bulk._run import Options

    return Options(failures, journal, resume, in_flight, chunk_size, on_progress)
