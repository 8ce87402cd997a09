"""Answers of LootLocker's server API. LootLocker documents no export.

Verified against the headers of lootlocker/unreal-server-sdk: balances
(LootLockerServerBalanceRequest.h, LootLockerServerCurrencyRequest.h), the asset inventory
(LootLockerServerPlayerInventoryRequest.h), items (`items`, with `player_id`, `item_template_id` and
`count`; its list is in PascalCase until LootLocker changes that) and players
(LootLockerServerPlayerRequest.h). From documentation only: `created_at` and `last_seen` of players.

A balance names the holder of its wallet (`holder_id`), whose id differs from the `player_id` of
players. The asset inventory names no player at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from ._base import (
    Left,
    Made,
    Preset,
    Source,
    as_list,
    as_mapping,
    balance,
    first_of,
    holding,
    iso,
    parsed,
    player_row,
    required,
    text_of,
)

__all__ = ["LOOTLOCKER"]

_IDS: Final = ("player_id", "public_uid", "player_public_uid", "ulid", "player_identifier")
_ITEM_IDS: Final = (*_IDS, "PlayerID", "PlayerId")
_ITEMS: Final = ("inventory", "items")
_ONE_ITEM: Final = ("asset_id", "instance_id", "item_template_id", "ItemTemplateID")
_MARKS: Final = frozenset(
    {*_ITEMS, *_ONE_ITEM, "balances", "currency", "asset", "platform", "last_active_platform"}
    | {"created_at", "last_seen"}
)


def _players(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    """Read a player."""
    yield player_row(
        player,
        country=text_of(source, "country", "country_code"),
        platform=text_of(source, "platform", "last_active_platform"),
        createdAt=iso(first_of(source, "created_at", "player_created_at")),
        lastLoginAt=iso(first_of(source, "last_seen")),
    )


def _wallet(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    """Read `balances` of a player, or one balance: a `currency` with a `code`, and an `amount`."""
    if "balances" not in source and "currency" not in source:
        raise ValueError("balances or currency is missing")
    for each in as_list(source, "balances") if "balances" in source else [source]:
        currency = parsed(required(each, "currency"))
        inner = as_mapping(currency)
        if inner is not None:
            currency = required(inner, "code")
        holder = first_of(each, "holder_type")
        if player is not None and first_of(each, "holder_id") == player and holder != "player":
            raise ValueError(f"the wallet belongs to a {holder or 'holder'}, not to a player")
        yield balance(player, currency, required(each, "amount"))


def _inventory(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    """Read `inventory` or `items` of a player, or one item."""
    name = next((name for name in _ITEMS if name in source), None)
    if name is None and not any(mark in source for mark in _ONE_ITEM):
        raise ValueError(f"{' or '.join((*_ITEMS, *_ONE_ITEM[:2]))} is missing")
    for item in [source] if name is None else as_list(source, name):
        yield _item(item, player, include)


def _item(item: Source, player: object, include: AbstractSet[str]) -> Made:
    key = first_of(item, "asset_id", "item_template_id", "ItemTemplateID")
    asset = as_mapping(item.get("asset"))
    if key is None and asset is not None:
        key = first_of(asset, "id")
    rental = as_mapping(item.get("rental")) or {}
    rented = rental.get("is_rental") in (True, "true")
    if (rented or first_of(item, "rental_option_id") is not None) and "rentals" not in include:
        return Left("rental", f"the item {key!r} is rented")
    quantity = first_of(item, "quantity", "count", "Count")
    instance = first_of(item, "instance_id", *(("id", "ID") if asset is None else ()))
    return holding(
        player,
        key,
        1 if quantity is None else quantity,
        instance=("lootlocker", instance),
    )


_WALLET_ADVICE: Final = (
    "A balance has the id of a wallet's holder, which differs from player_id: if your players were"
    " imported under that id, pass id_column='holder_id' (--id-column holder_id)"
)
_ITEM_ADVICE: Final = (
    "An inventory does not name its player: add a player_id to each answer, or map a constant"
    " (--map externalPlayerId==17)"
)

LOOTLOCKER: Final = {
    "players": Preset("lootlocker", _IDS, _MARKS, _players),
    "wallet": Preset("lootlocker", _IDS, _MARKS, _wallet, advice=_WALLET_ADVICE),
    "inventory": Preset(
        "lootlocker",
        _ITEM_IDS,
        _MARKS,
        _inventory,
        advice=_ITEM_ADVICE,
        includes=frozenset({"rentals"}),
    ),
}
