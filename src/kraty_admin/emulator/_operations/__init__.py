"""The operations of the contract: a module for each resource, and one table of all of them.

A new operation needs a row in the table, a handler and, if it stores something, a database table.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final, Literal

import attrs

from kraty_server_api.lifetimes import KEY_LIFETIMES
from kraty_server_api.operation import KeyLifetime
from kraty_server_api.operations import NAMES

from ._assets import CURRENCY, ITEM, adjust
from ._call import Call, Context, Handler, Outcome, WebhookEvent
from ._events import finish_attempt, report_progress
from ._gdpr import delete_player, export_player
from ._grants import ack_grant, create_grant
from ._health import ping
from ._leaderboards import submit_score
from ._lobbies import push_lobby, read_lobby
from ._merging import merge_players
from ._migration import Holdings, Players, migrate
from ._players import ban_player, get_player, unban_player
from ._social import list_blocks, list_friend_requests, list_friends, set_identity

__all__ = ["OPERATIONS", "Call", "Context", "Operation", "Outcome", "WebhookEvent"]


@attrs.frozen
class Operation:
    """What the emulator does for an operation of the contract."""

    handler: Handler
    replay: Literal["unapplied", "as first"] | None = None
    """How a repeat under the same key is answered: with the first answer, unchanged or with
    `applied: false`. `None`: the handler itself recognises a repeat, by the state or the key."""
    key: KeyLifetime | None = None
    """How long the platform keeps its key, according to the documents; `None` for reads."""

    @property
    def remembered_ms(self) -> int | None:
        """How long the answer to a key is kept, in milliseconds; `None` for not at all."""
        if self.replay is None or self.key is None or self.key.repeat_within_hours is None:
            return None
        return self.key.repeat_within_hours * 60 * 60 * 1000


def _table(operations: Mapping[str, Operation]) -> dict[str, Operation]:
    """Add to each operation how long its key is kept."""
    return {
        operation_id: attrs.evolve(operation, key=KEY_LIFETIMES.get(NAMES[operation_id]))
        for operation_id, operation in operations.items()
    }


OPERATIONS: Final[Mapping[str, Operation]] = _table(
    {
        "ping": Operation(ping),
        "createGrant": Operation(create_grant),
        "ackGrant": Operation(ack_grant),
        "pushLobby": Operation(push_lobby),
        "readLobby": Operation(read_lobby),
        "getPlayer": Operation(get_player),
        "banPlayer": Operation(ban_player),
        "unbanPlayer": Operation(unban_player),
        "mergePlayers": Operation(merge_players),
        "grantItem": Operation(functools.partial(adjust, ITEM, 1), replay="unapplied"),
        "revokeItem": Operation(functools.partial(adjust, ITEM, -1), replay="unapplied"),
        "creditWallet": Operation(functools.partial(adjust, CURRENCY, 1), replay="unapplied"),
        "debitWallet": Operation(functools.partial(adjust, CURRENCY, -1), replay="unapplied"),
        "migratePlayers": Operation(functools.partial(migrate, Players)),
        "migrateWallet": Operation(
            functools.partial(migrate, functools.partial(Holdings, CURRENCY))
        ),
        "migrateInventory": Operation(
            functools.partial(migrate, functools.partial(Holdings, ITEM))
        ),
        "deletePlayer": Operation(delete_player),
        "exportPlayer": Operation(export_player),
        "submitScore": Operation(submit_score, replay="as first"),
        "reportProgress": Operation(report_progress, replay="as first"),
        "finishAttempt": Operation(finish_attempt),
        "setIdentity": Operation(set_identity, replay="as first"),
        "listFriends": Operation(list_friends),
        "listFriendRequests": Operation(list_friend_requests),
        "listBlocks": Operation(list_blocks),
    }
)
"""The row of each operation, by its id in the contract."""
