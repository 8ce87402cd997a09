"""The operations of the contract: a module for each resource, and one table of them all.

A new operation needs a row in the table, a handler and, if it stores something, a table.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final, Literal

import attrs

from kraty_server_api.lifetimes import DAY, KEY_LIFETIMES
from kraty_server_api.operations import NAMES

from ._assets import CURRENCY, ITEM, adjust
from ._call import Call, Context, Handler, Outcome, WebhookEvent
from ._gdpr import delete_player, export_player
from ._grants import ack_grant, create_grant
from ._health import ping
from ._lobbies import push_lobby, read_lobby
from ._merging import merge_players
from ._migration import import_holding, import_player, migrate
from ._players import ban_player, get_player, unban_player

__all__ = ["OPERATIONS", "Call", "Context", "Operation", "Outcome", "WebhookEvent"]


@attrs.frozen
class Operation:
    """What the emulator does for an operation of the contract."""

    handler: Handler
    replay: Literal["first answer", "not applied"] | None = None
    """What a repeat under the same key returns: the first answer, or that answer with
    `applied: false`. `None`: the handler does not depend on the key, or keeps it itself."""
    remembered_ms: int = 0
    """How long the first answer is kept."""


def _table(operations: Mapping[str, Operation]) -> dict[str, Operation]:
    """Add to each operation how long the contract's documents keep its key."""
    return {
        operation_id: attrs.evolve(operation, remembered_ms=_remembered_ms(NAMES[operation_id]))
        for operation_id, operation in operations.items()
    }


def _remembered_ms(name: str) -> int:
    lifetime = KEY_LIFETIMES.get(name, DAY)
    return (lifetime.repeat_within_hours or 24) * 60 * 60 * 1000


OPERATIONS: Final[Mapping[str, Operation]] = _table(
    {
        "ping": Operation(ping),
        "createGrant": Operation(create_grant),
        "ackGrant": Operation(ack_grant, "first answer"),
        "pushLobby": Operation(push_lobby, "first answer"),
        "readLobby": Operation(read_lobby),
        "getPlayer": Operation(get_player),
        "banPlayer": Operation(ban_player, "first answer"),
        "unbanPlayer": Operation(unban_player, "first answer"),
        "mergePlayers": Operation(merge_players, "first answer"),
        "grantItem": Operation(functools.partial(adjust, ITEM, 1), "not applied"),
        "revokeItem": Operation(functools.partial(adjust, ITEM, -1), "not applied"),
        "creditWallet": Operation(functools.partial(adjust, CURRENCY, 1), "not applied"),
        "debitWallet": Operation(functools.partial(adjust, CURRENCY, -1), "not applied"),
        "migratePlayers": Operation(functools.partial(migrate, import_player)),
        "migrateWallet": Operation(
            functools.partial(migrate, functools.partial(import_holding, CURRENCY))
        ),
        "migrateInventory": Operation(
            functools.partial(migrate, functools.partial(import_holding, ITEM))
        ),
        "deletePlayer": Operation(delete_player, "first answer"),
        "exportPlayer": Operation(export_player),
    }
)
"""The row of each operation, by its id in the contract."""
