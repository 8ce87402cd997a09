"""Sample data for webhook events that are triggered by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["sample"]


def sample(name: str, external_player_id: str, at: str) -> Mapping[str, Any]:
    """Return data with the members that the emulator sends for an event of this name.

    Args:
        name: One of `EVENT_NAMES`.
        external_player_id: The player in the data.
        at: The time in the data, as in JSON.
    """
    player = {"playerId": "ply_sample", "externalPlayerId": external_player_id}
    cause = {"reason": "sample", "sourceRefId": None}
    match name:
        case "player.banned":
            return {**player, "bannedAt": at, "reason": "sample"}
        case "player.deleted":
            return {**player, "deletedAt": at, "reason": "gdpr_erasure"}
        case "grant.created":
            return {**player, "grant": _grant(at)}
        case "wallet.changed":
            return {**player, "economyKey": "gold", "balance": 500, "delta": 500, **cause}
        case "inventory.changed":
            return {**player, "itemKey": "starter_chest", "quantity": 1, "delta": 1, **cause}
        case _:
            # player.registered, and event.completed, whose other fields are not documented.
            return player


def _grant(at: str) -> Mapping[str, Any]:
    return {
        "id": "grt_sample",
        "kind": "reward",
        "contents": {"entries": [{"type": "currency", "currencyKey": "gold", "amount": 500}]},
        "sourceKind": "api",
        "sourceRefId": None,
        "parentGrantId": None,
        "status": "pending",
        "rolledAt": None,
        "claimedAt": None,
        "expiresAt": None,
        "createdAt": at,
    }
