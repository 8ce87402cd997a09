"""The exports of other platforms, as their documentation shows them.

A preset makes rows of what an export says of a player. It takes no personal data along:
of a profile only the country, the platform, the way of signing in and dates.

Balances and quantities of zero make no row: there is nothing to bring in. What is not
of the documented shape is refused rather than passed over. Where two holdings are of the same
item, each row gets an idempotency key of its own from the platform's id of the holding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from datetime import datetime, timezone
from typing import Any, Final, NamedTuple, cast

from kraty_admin._call._idempotency import derive_key_of_any

from ._readers import parse_json
from ._rows import Kind

__all__ = ["PRESETS", "Preset", "preset_for"]

_Source = Mapping[str, Any]
_Wire = dict[str, Any]


class Preset(NamedTuple):
    """How the exports of one platform are read, for one kind of row."""

    name: str
    ids: tuple[str, ...]
    """The columns that may hold the player's id; the first of them that does counts."""
    convert: Callable[[_Source, object], list[_Wire]]

    def check(self, source: _Source, mapped: Set[str] = frozenset()) -> None:
        """Raise a `ValueError` if a first row does not look like this platform's."""
        if "externalPlayerId" in mapped or any(name in source for name in self.ids):
            return
        raise ValueError(
            f"no column for the player's id: the preset {self.name} looks for"
            f" {', '.join(self.ids)}; there are {', '.join(map(str, source))}"
        )

    def rows(self, source: _Source) -> list[_Wire]:
        """The rows that a source's row makes.

        Raises:
            ValueError: It is not of the documented shape.
        """
        return self.convert(source, _value(source, *self.ids))


def preset_for(name: str, kind: Kind) -> Preset:
    """The preset of a platform for a kind of row.

    Raises:
        ValueError: There is none.
    """
    presets = PRESETS.get(name)
    if presets is None:
        raise ValueError(f"no preset {name!r}: there are {', '.join(PRESETS)}")
    if kind not in presets:
        raise ValueError(f"the preset {name} has no {kind}: there are {', '.join(presets)}")
    return presets[kind]


# PlayFab


def _playfab_player(source: _Source, player: object) -> list[_Wire]:
    """A player profile, as segments are exported and `GetPlayerProfile` returns it.

    `PlayerId` or `PlayFabId`, `Created` or `CreatedAt`, `LastLogin`, `Origination` and
    `Locations`, which is a list or an object of places with a `CountryCode`.
    """
    return [
        _player(
            player,
            country=_playfab_country(source),
            platform=_text(source, "Origination", "Platform"),
            createdAt=_text(source, "Created", "CreatedAt"),
            lastLoginAt=_text(source, "LastLogin"),
        )
    ]


def _playfab_country(source: _Source) -> str | None:
    locations = _parsed(_value(source, "Locations"))
    places: Iterable[object] = []
    if isinstance(locations, dict):
        members = cast("dict[str, object]", locations)
        places = [members["LastLogin"]] if "LastLogin" in members else members.values()
    elif isinstance(locations, list):
        places = reversed(cast("list[object]", locations))  # the latest comes last
    for place in places:
        if isinstance(place, dict):
            return _text(cast("dict[str, Any]", place), "CountryCode")
    return None


def _playfab_wallet(source: _Source, player: object) -> list[_Wire]:
    """A player with balances by currency code, or one balance.

    `VirtualCurrencyBalances` as in a profile, or `VirtualCurrency` as `GetUserInventory`
    returns it: `{"GC": 100, "RB": 5}`.
    """
    return _balances(player, source, "VirtualCurrencyBalances", "VirtualCurrency")


def _playfab_inventory(source: _Source, player: object) -> list[_Wire]:
    """A player with `Inventory`, as `GetUserInventory` returns it, or one instance of it.

    Each with `ItemId`, `ItemInstanceId`, `RemainingUses` and `CustomData`. Without
    `RemainingUses` it is one item; so it is for items that are not used up.
    """
    return [
        _holding(
            player,
            key=_value(item, "ItemId"),
            quantity=_or_one(item, "RemainingUses"),
            parameters=_value(item, "CustomData"),
            instance=("playfab", _value(item, "ItemInstanceId")),
        )
        for item in _holdings(source, "Inventory", "ItemId")
        if not _is_zero(_value(item, "RemainingUses"))
    ]


# Firebase


def _firebase_player(source: _Source, player: object) -> list[_Wire]:
    """A user of `firebase auth:export users.json`, which is `{"users": [...]}`.

    `localId`, `createdAt` and `lastSignedInAt` in milliseconds, `providerUserInfo`, and
    `customAttributes`, of which only `country` and `platform` are taken.
    """
    claims = _parsed(_value(source, "customAttributes"))
    attributes = cast("dict[str, Any]", claims) if isinstance(claims, dict) else {}
    providers = _parsed(_value(source, "providerUserInfo"))
    names = [
        _text(cast("dict[str, Any]", each), "providerId")
        for each in (cast("list[object]", providers) if isinstance(providers, list) else [])
        if isinstance(each, dict)
    ]
    return [
        _player(
            player,
            country=_text(attributes, "country"),
            platform=_text(attributes, "platform"),
            createdAt=_moment(source, "createdAt"),
            lastLoginAt=_moment(source, "lastSignedInAt"),
            providers=[name for name in names if name] or None,
        )
    ]


def _firebase_wallet(source: _Source, player: object) -> list[_Wire]:
    """A user's document of Firestore or the Realtime Database, one object for each user.

    Its id as `localId`, `uid`, `userId` or `id`, and a map from currency to balance
    as `wallet`, `balances` or `currencies`.
    """
    return _balances(player, source, "wallet", "balances", "currencies")


def _firebase_inventory(source: _Source, player: object) -> list[_Wire]:
    """As the wallet's document, with a map from item to quantity as `inventory` or `items`."""
    return [
        _holding(player, key=key, quantity=quantity)
        for key, quantity in _map(source, "inventory", "items")
    ]


# LootLocker


def _lootlocker_player(source: _Source, player: object) -> list[_Wire]:
    """A player as LootLocker's server API returns one.

    `player_id`, `public_uid` or `player_identifier`; `platform`, `country`,
    `created_at` or `player_created_at`, and `last_seen`.
    """
    return [
        _player(
            player,
            country=_text(source, "country", "country_code"),
            platform=_text(source, "platform"),
            createdAt=_text(source, "created_at", "player_created_at"),
            lastLoginAt=_text(source, "last_seen"),
        )
    ]


def _lootlocker_wallet(source: _Source, player: object) -> list[_Wire]:
    """A player with `balances`, as a wallet's balances are listed, or one balance.

    Each with `currency`, an object with a `code`, and `amount`, digits as text.
    """
    rows: list[_Wire] = []
    for balance in _holdings(source, "balances", "currency"):
        amount = _required(balance, "amount")
        if not _is_zero(amount):
            currency = _parsed(_required(balance, "currency"))
            if isinstance(currency, dict):
                currency = _required(cast("dict[str, Any]", currency), "code")
            rows.append(_balance(player, currency, amount))
    return rows


def _lootlocker_inventory(source: _Source, player: object) -> list[_Wire]:
    """A player with `inventory`, as it is listed, or one instance of it.

    Each with `asset_id` or `asset`, an object with an `id`; `instance_id`, and maybe
    `quantity`. Without one it is one item.
    """
    rows: list[_Wire] = []
    for item in _holdings(source, "inventory", "asset_id", "instance_id"):
        asset = _parsed(_value(item, "asset"))
        key = _value(item, "asset_id")
        if key is None and isinstance(asset, dict):
            key = _value(cast("dict[str, Any]", asset), "id")
        if not _is_zero(_value(item, "quantity")):
            instance = ("lootlocker", _value(item, "instance_id"))
            quantity = _or_one(item, "quantity")
            rows.append(_holding(player, key=key, quantity=quantity, instance=instance))
    return rows


# Rows


def _player(player: object, **snapshot: object) -> _Wire:
    known = {name: value for name, value in snapshot.items() if value is not None}
    return _of(player) | ({"contextSnapshot": known} if known else {})


def _balance(player: object, key: object, amount: object) -> _Wire:
    return _of(player) | {"economyKey": key, "amount": amount}


def _holding(
    player: object,
    *,
    key: object,
    quantity: object,
    parameters: object = None,
    instance: tuple[str, object] | None = None,
) -> _Wire:
    row = _of(player) | {"itemKey": key, "quantity": quantity}
    if parameters not in (None, {}):
        row["parameters"] = parameters
    if instance is not None and instance[1] is not None:
        # Without it a second holding of the same item would pass for a repeat of the first.
        ids = [str(part) for part in (player, instance[1]) if part is not None]
        row["idempotencyKey"] = derive_key_of_any(instance[0], *ids)
    return row


def _of(player: object) -> _Wire:
    # A row without a player is made all the same, for the checks to refuse it.
    return {} if player is None else {"externalPlayerId": player}


# Values


def _value(source: _Source, *names: str) -> Any:
    """The first of these that is there and holds something."""
    return next((source[name] for name in names if source.get(name) not in (None, "")), None)


def _required(source: _Source, name: str) -> Any:
    value = _value(source, name)
    if value is None:
        raise ValueError(f"{name} is missing")
    return value


def _text(source: _Source, *names: str) -> str | None:
    value = _value(source, *names)
    return value if isinstance(value, str) else None


def _moment(source: _Source, name: str) -> str | None:
    """A time in milliseconds since 1970, as RFC 3339 has it."""
    value = _value(source, name)
    try:
        seconds = int(value) // 1000
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _parsed(value: object) -> object:
    """A value, of the JSON that a cell holds."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return parse_json(value)
    except ValueError:
        return value


def _balances(player: object, source: _Source, *names: str) -> list[_Wire]:
    return [_balance(player, key, amount) for key, amount in _map(source, *names)]


def _map(source: _Source, *names: str) -> Iterator[tuple[str, Any]]:
    """The members of an object, without those that are zero."""
    name = next((name for name in names if name in source), None)
    if name is None:
        raise ValueError(f"{' or '.join(names)} is missing")
    value = _parsed(source[name])
    if value is None or value == "":
        return
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")
    for key, amount in cast("dict[str, Any]", value).items():
        if not _is_zero(amount):
            yield key, amount


def _holdings(source: _Source, name: str, *marks: str) -> Iterator[_Source]:
    """The objects of a list, or the row itself where it has a mark of one."""
    if name not in source:
        if not any(mark in source for mark in marks):
            raise ValueError(f"{' or '.join((name, *marks))} is missing")
        yield source
        return
    value = _parsed(source[name])
    if value is None or value == "":
        return
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")
    for each in cast("list[object]", value):
        if not isinstance(each, dict):
            raise ValueError(f"{name} holds what is not an object")
        yield cast("dict[str, Any]", each)


def _or_one(source: _Source, name: str) -> object:
    value = _value(source, name)
    return 1 if value is None else value


def _is_zero(value: object) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and not value.strip().strip("0")
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


_PLAYFAB_IDS: Final = ("PlayerId", "PlayFabId")
_FIREBASE_IDS: Final = ("localId", "uid", "userId", "id")
_LOOTLOCKER_IDS: Final = ("player_id", "public_uid", "player_identifier")

PRESETS: Final[Mapping[str, Mapping[Kind, Preset]]] = {
    "playfab": {
        "players": Preset("playfab", _PLAYFAB_IDS, _playfab_player),
        "wallet": Preset("playfab", _PLAYFAB_IDS, _playfab_wallet),
        "inventory": Preset("playfab", _PLAYFAB_IDS, _playfab_inventory),
    },
    "firebase": {
        "players": Preset("firebase", _FIREBASE_IDS, _firebase_player),
        "wallet": Preset("firebase", _FIREBASE_IDS, _firebase_wallet),
        "inventory": Preset("firebase", _FIREBASE_IDS, _firebase_inventory),
    },
    "lootlocker": {
        "players": Preset("lootlocker", _LOOTLOCKER_IDS, _lootlocker_player),
        "wallet": Preset("lootlocker", _LOOTLOCKER_IDS, _lootlocker_wallet),
        "inventory": Preset("lootlocker", _LOOTLOCKER_IDS, _lootlocker_inventory),
    },
}
