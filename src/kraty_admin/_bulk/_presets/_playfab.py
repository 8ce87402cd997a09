"""PlayFab: its exports, and answers of its API.

Verified against documents and code of Microsoft:
- The TSV of "Export players in segment" with its 26 columns: playfab-docs,
  segmentation-export-players-in-a-segment.md and the picture in it. The picture shows only
  empty `VirtualCurrencyBalances`; this preset assumes that filled ones are JSON too.
- `GetPlayersInSegment`, `GetPlayerCombinedInfo`, `GetUserInventory` and their envelope
  (`code`, `status`, `data`): PlayFabServer.d.ts of PlayFab/NodeSDK.
- Economy v2 (`GetInventoryItems`): PlayFabEconomy.d.ts of the same. An answer does not name the
  player, so `PlayFabId` has to be added to each.
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
    of_map,
    player_row,
    text_of,
)

__all__ = ["PLAYFAB"]

_IDS: Final = ("PlayerId", "PlayFabId")
_BALANCES: Final = ("VirtualCurrencyBalances", "VirtualCurrency", "UserVirtualCurrency")
_ITEMS: Final = ("Inventory", "UserInventory", "Items")
_MARKS: Final = frozenset(
    {*_BALANCES, *_ITEMS, "InfoResultPayload", "ItemId", "Created", "CreatedAt", "LastLogin"}
)


def _unwrap(source: Source) -> Source:
    """Take `data` out of an answer, and merge the payload of `GetPlayerCombinedInfo` into it."""
    if "data" in source and not any(name in source for name in _IDS):
        source = as_mapping(source["data"]) or source
    payload = as_mapping(source.get("InfoResultPayload"))
    return source if payload is None else {**payload, **source}


def _banned(source: Source, player: object, include: AbstractSet[str]) -> Left | None:
    # A ban that has ended counts too: otherwise a resumed import could get another result.
    if first_of(source, "BannedUntil") is None or "banned" in include:
        return None
    return Left("banned", "BannedUntil is set")


def _players(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    """Read a player profile from a segment, `GetPlayerProfile`, or `GetPlayerCombinedInfo`."""
    yield player_row(
        player,
        country=text_of(source, "Locations_LastLogin_CountryCode") or _country(source),
        platform=text_of(source, "Origination", "Platform"),
        createdAt=iso(first_of(source, "Created", "CreatedAt")),
        lastLoginAt=iso(first_of(source, "LastLogin")),
    )


def _country(source: Source) -> str | None:
    """Return the country of `Locations`: an object of places by purpose, or a list of places."""
    locations = as_mapping(source.get("Locations"))
    if locations is None:
        try:
            places = list(as_list(source, "Locations"))
        except ValueError:
            return None
        return text_of(places[-1], "CountryCode") if places else None  # the latest comes last
    place = as_mapping(locations.get("LastLogin", next(iter(locations.values()), None)))
    return None if place is None else text_of(place, "CountryCode")


def _wallet(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    """Read balances by currency code, and the currencies among the items of Economy v2."""
    if "Items" not in source or any(name in source for name in _BALANCES):
        for key, amount in of_map(source, *_BALANCES):
            yield balance(player, key, amount)
    for item in as_list(source, "Items"):
        if item.get("Type") == "currency":
            yield balance(player, first_of(item, "Id"), first_of(item, "Amount"))


def _inventory(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    """Read all items of a player, or one instance of an item."""
    lists = [name for name in _ITEMS if name in source]
    if not lists and "ItemId" not in source:
        raise ValueError("Inventory or ItemId is missing")
    items = [item for name in lists for item in as_list(source, name)] if lists else [source]
    for item in items:
        if item.get("Type") != "currency":
            yield _item(item, player, include)


def _item(item: Source, player: object, include: AbstractSet[str]) -> Made:
    key = first_of(item, "ItemId", "Id")
    if first_of(item, "Expiration", "ExpirationDate") is not None and "expiring" not in include:
        return Left("expiring", f"the item {key!r} expires")
    quantity = first_of(item, "RemainingUses", "Amount")
    stack = first_of(item, "StackId")
    instance = first_of(item, "ItemInstanceId") or (stack and f"{key}/{stack}")
    return holding(
        player,
        key,
        1 if quantity is None else quantity,  # an item without uses counts as one
        parameters=first_of(item, "CustomData", "DisplayProperties"),
        instance=("playfab", instance),
    )


_ADVICE: Final = "Economy v2 does not name the player: add a PlayFabId to each answer."

_INCLUDES: Final = frozenset({"banned", "expiring"})

PLAYFAB: Final = {
    kind: Preset(
        "playfab",
        _IDS,
        _MARKS,
        convert,
        unwrap=_unwrap,
        leave_out=_banned,
        advice="" if kind == "players" else _ADVICE,
        includes=_INCLUDES,
    )
    for kind, convert in (("players", _players), ("wallet", _wallet), ("inventory", _inventory))
}
