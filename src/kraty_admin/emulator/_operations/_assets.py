"""Currencies and items, for `wallet`, `inventory` and the payouts of grants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from .._errors import EmulatedError
from .._json import MAX_SAFE_INTEGER, dump_text
from .._state import Holding, Kind, LedgerRow, Player
from .._times import iso
from .._world import Game
from ._call import Call, Context, Data, Outcome, WebhookEvent
from ._upsert import upsert_player

__all__ = [
    "CURRENCY",
    "ITEM",
    "Asset",
    "adjust",
    "changed",
    "check_catalog",
    "check_total",
    "holdings_view",
    "move",
]


@attrs.frozen
class Asset:
    """The differences between currencies and items."""

    kind: Kind
    key_field: str
    """The name of its key in paths, rows and results."""
    change_field: str
    """The name of an amount of it in requests."""
    total_field: str
    """The name of the total in results."""
    event: str
    """The webhook event of a change."""
    unknown_code: str
    """The error code of a migrated row whose key is not in the catalog."""

    def keys(self, game: Game) -> Sequence[str]:
        """Return the keys of the game's catalog."""
        return game.currencies if self.kind == "currency" else game.items


CURRENCY: Final = Asset(
    "currency", "economyKey", "amount", "balance", "wallet.changed", "invalid_metric"
)
ITEM: Final = Asset("item", "itemKey", "quantity", "quantity", "inventory.changed", "unknown_item")


def adjust(asset: Asset, sign: int, call: Call, context: Context) -> Outcome:
    """Credit or debit a currency; grant or revoke an item."""
    key = call.path[asset.key_field]
    check_catalog(call.game, asset, key, asset.key_field)
    player, registered = upsert_player(call, context, call.path["externalId"])
    delta = sign * call.body[asset.change_field]
    total = move(call, context, player, asset, key, delta, cause=call.body)
    return Outcome(
        200,
        {asset.key_field: key, asset.total_field: total, "applied": True},
        [*registered, changed(player, asset, key, delta, total, cause=call.body)],
    )


def move(
    call: Call,
    context: Context,
    player: Player,
    asset: Asset,
    key: str,
    delta: int,
    *,
    cause: Mapping[str, Any],
    parameters: Data | None = None,
) -> int:
    """Add an entry to the ledger and to the holding; return the new total.

    Args:
        cause: The body or row that has the reason, the reference and the idempotency key.
        parameters: Members to merge into the holding's metadata.

    Raises:
        EmulatedError: The total would be negative or above 2^53-1.
    """
    ledger, now = context.state.ledger, context.now
    total = ledger.change(player.id, asset.kind, key, delta, now)
    if total is None:
        return check_total(asset, key, ledger.amount(player.id, asset.kind, key), delta)
    if parameters:
        metadata = json.loads(ledger.metadata(player.id, asset.kind, key)) | parameters
        ledger.set_metadata(player.id, asset.kind, key, dump_text(metadata))
    ledger.append(
        LedgerRow(
            call.game.id,
            player.id,
            asset.kind,
            key,
            delta,
            call.name,
            cause.get("reason"),
            cause.get("sourceRefId"),
            cause.get("idempotencyKey"),
            None if parameters is None else dump_text(parameters),
            now,
        )
    )
    return total


def check_total(asset: Asset, key: str, before: int, delta: int) -> int:
    """Return the sum of both numbers.

    Raises:
        EmulatedError: The sum is negative or above 2^53-1.
    """
    if before + delta < 0:
        raise EmulatedError(
            "conflict",
            f"Insufficient {asset.total_field} of {key}.",
            {"available": before, "requested": -delta},
        )
    if before + delta > MAX_SAFE_INTEGER:
        raise EmulatedError(
            "conflict",
            f"The {asset.total_field} of {key} would exceed {MAX_SAFE_INTEGER}.",
            {asset.total_field: before, "requested": delta, "maximum": MAX_SAFE_INTEGER},
        )
    return before + delta


def changed(
    player: Player, asset: Asset, key: str, delta: int, total: int, *, cause: Mapping[str, Any]
) -> WebhookEvent:
    """Return the event of a change."""
    return WebhookEvent(
        name=asset.event,
        data={
            "playerId": player.id,
            "externalPlayerId": player.external_id,
            asset.key_field: key,
            asset.total_field: total,
            "delta": delta,
            "reason": cause.get("reason"),
            "sourceRefId": cause.get("sourceRefId"),
        },
    )


def check_catalog(game: Game, asset: Asset, key: str, field: str) -> None:
    """Reject a key that the game does not have.

    Raises:
        EmulatedError: The key is not in the catalog. `details` names the field.
    """
    if key not in asset.keys(game):
        raise EmulatedError(
            "invalid_metric",
            f"This game has no {asset.kind} {key}.",
            {"fields": [{"path": field, "message": "value is not in the catalog"}]},
        )


def holdings_view(asset: Asset, holdings: Sequence[Holding]) -> list[Data]:
    """Return holdings in the form of profiles and exports."""
    return [
        {
            asset.key_field: holding.key,
            asset.total_field: holding.amount,
            "metadata": json.loads(holding.metadata),
            "createdAt": iso(holding.created_at),
            "updatedAt": iso(holding.updated_at),
        }
        for holding in holdings
    ]
