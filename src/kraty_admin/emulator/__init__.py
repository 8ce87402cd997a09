"""A local Kraty for tests and development.

    from kraty_admin.emulator import Emulator

    with Emulator() as kraty:
        print(kraty.base_url, kraty.api_key)

It serves every operation of the contract, keeps ledgers and idempotency keys in
SQLite, and rejects requests that violate the contract. `python -m kraty_admin.emulator`
runs one from the command line. It needs the extra `kraty-admin[emulator]`.

It is written from the public documents, not from the platform's code. Where they do not
say how the platform behaves, the emulator makes a choice. docs/emulator.md lists every
choice ("What it cannot know").
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._extra import MissingExtraError

if TYPE_CHECKING:
    from ._clock import Clock
    from ._faults import Fault, FaultKind, FaultRule, Faults
    from ._game_client import GameClient
    from ._platform import SeenRequest
    from ._server import Emulator
    from ._session import Difference
    from ._state import Delivery, DeliveryAttempt, LedgerEntry
    from ._webhooks import Webhooks
    from ._world import DEFAULT_WORLD, ApiKey, Endpoint, Event, Game, Leaderboard, World

__all__ = [
    "DEFAULT_WORLD",
    "ApiKey",
    "Clock",
    "Delivery",
    "DeliveryAttempt",
    "Difference",
    "Emulator",
    "Endpoint",
    "Event",
    "Fault",
    "FaultKind",
    "FaultRule",
    "Faults",
    "Game",
    "GameClient",
    "Leaderboard",
    "LedgerEntry",
    "SeenRequest",
    "Webhooks",
    "World",
]

# Loaded on first use, so that modules that do not need the extra, such as the table of
# handlers, can be imported without it.
_HOMES = {
    "DEFAULT_WORLD": "_world",
    "ApiKey": "_world",
    "Clock": "_clock",
    "Delivery": "_state",
    "DeliveryAttempt": "_state",
    "Difference": "_session",
    "Emulator": "_server",
    "Endpoint": "_world",
    "Event": "_world",
    "Fault": "_faults",
    "FaultKind": "_faults",
    "FaultRule": "_faults",
    "Faults": "_faults",
    "Game": "_world",
    "GameClient": "_game_client",
    "Leaderboard": "_world",
    "LedgerEntry": "_state",
    "SeenRequest": "_platform",
    "Webhooks": "_webhooks",
    "World": "_world",
}


if not TYPE_CHECKING:
    # Hidden from type checkers: with it, they would not report names that do not exist.
    def __getattr__(name):
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return getattr(import_module(f"{__name__}.{home}"), name)
        except ModuleNotFoundError as missing:
            raise MissingExtraError.of(missing) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
