"""Presets for the exports of other platforms, in the shapes that their documentation shows."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from kraty_admin._bulk._mapping import make_mapping
from kraty_admin._bulk._options import ReadOptions
from kraty_admin._bulk._presets import PRESETS
from kraty_admin._bulk._rows import Item, Kind, Layout, LeftOut, Row, Unreadable
from kraty_admin._bulk._source import open_source
from kraty_admin._bulk._validate import problem

PERSONAL: Final = (
    "ana@example.com",
    "Ana Silva",
    "+351",
    "h4sh",
    "s4lt",
    "photo.png",
    "203.0.113.7",
)

PLAYFAB_PROFILE: Final[dict[str, Any]] = {
    "PublisherId": "B1A5",
    "TitleId": "ABCD",
    "PlayerId": "00E8F3B1C2D4A596",
    "Created": "2023-04-05T06:07:08.900Z",
    "Origination": "Steam",
    "LastLogin": "2024-01-02T03:04:05Z",
    "DisplayName": "Ana Silva",
    "ContactEmailAddresses": [{"EmailAddress": "ana@example.com"}],
    "LinkedAccounts": [{"Platform": "PlayFab", "Email": "ana@example.com"}],
    "Locations": {
        "LastLogin": {
            "ContinentCode": "EU",
            "CountryCode": "PT",
            "City": "Lisboa",
            "Latitude": 38.7,
            "IPAddress": "203.0.113.7",
        }
    },
    "VirtualCurrencyBalances": {"GC": 100, "RB": 0, "XP": 7},
}
PLAYFAB_INVENTORY: Final[dict[str, Any]] = {
    "PlayFabId": "00E8F3B1C2D4A596",
    "Inventory": [
        {
            "ItemId": "sword",
            "ItemInstanceId": "1A2B",
            "ItemClass": "weapon",
            "PurchaseDate": "2023-04-05T06:07:08.900Z",
            "CatalogVersion": "1",
            "DisplayName": "Sword",
            "UnitPrice": 0,
            "CustomData": {"level": "4"},
        },
        {"ItemId": "sword", "ItemInstanceId": "1A2C", "RemainingUses": None},
        {"ItemId": "potion", "ItemInstanceId": "1A2D", "RemainingUses": 12},
        {"ItemId": "elixir", "ItemInstanceId": "1A2E", "RemainingUses": 0},
    ],
    "VirtualCurrency": {"GC": 100},
    "VirtualCurrencyRechargeTimes": {},
}
FIREBASE_EXPORT: Final[dict[str, Any]] = {
    "users": [
        {
            "localId": "uid_1",
            "email": "ana@example.com",
            "emailVerified": True,
            "passwordHash": "h4sh",
            "salt": "s4lt",
            "displayName": "Ana Silva",
            "photoUrl": "https://example.com/photo.png",
            "phoneNumber": "+351910000000",
            "createdAt": "1680674828900",
            "lastSignedInAt": "1704164645000",
            "customAttributes": '{"country":"PT","email":"ana@example.com"}',
            "providerUserInfo": [
                {"providerId": "google.com", "rawId": "1", "email": "ana@example.com"}
            ],
        },
        {"localId": "uid_2", "createdAt": "soon", "providerUserInfo": []},
    ]
}
LOOTLOCKER_BALANCES: Final[dict[str, Any]] = {
    "player_id": 1701237,
    "public_uid": "MKHVVAM7",
    "balances": [
        {
            "amount": "100",
            "currency": {"id": "01H", "name": "Gold", "code": "gld"},
            "wallet_id": "01W",
            "created_at": "2023-04-05T06:07:08Z",
        },
        {"amount": "0", "currency": {"id": "01I", "name": "Gems", "code": "gem"}},
    ],
}


def written(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def items_of(
    kind: Kind, preset: str, *sources: dict[str, Any], columns: dict[str, str] | None = None
) -> list[Item]:
    mapping = make_mapping(kind, columns, preset)
    return [each for n, source in enumerate(sources, 1) for each in mapping(Row(n, source))]


def rows_of(
    kind: Kind, preset: str, *sources: dict[str, Any], columns: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return the rows, after checking that the contract accepts each; some may be left out."""
    items = items_of(kind, preset, *sources, columns=columns)
    rows = [item.row for item in items if isinstance(item, Row)]
    assert not [item for item in items if isinstance(item, Unreadable)]
    assert [problem(kind, row) for row in rows] == [None] * len(rows)
    assert not [each for each in PERSONAL if each in json.dumps(rows)]
    return rows


def without_keys(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name != "idempotencyKey"} for row in rows]


def test_every_platform_has_every_kind() -> None:
    """Each platform has presets for the kinds of rows that it can export."""
    every: tuple[str, ...] = get_args(Kind)
    held = ("wallet", "inventory")
    assert dict.fromkeys(("playfab", "firebase", "lootlocker", "gamesparks"), every) | {
        "nakama": ("players", "wallet"),
        "unity": held,
        "accelbyte": held,
    } == {name: tuple(kinds) for name, kinds in PRESETS.items()}


# PlayFab


def test_playfab_players() -> None:
    """PlayFab's players become rows of players."""
    player = {
        "externalPlayerId": "00E8F3B1C2D4A596",
        "contextSnapshot": {
            "country": "PT",
            "platform": "Steam",
            "createdAt": "2023-04-05T06:07:08.900Z",
            "lastLoginAt": "2024-01-02T03:04:05Z",
        },
    }
    assert rows_of("players", "playfab", PLAYFAB_PROFILE) == [player]
    places = [{"CountryCode": "DE"}, {"CountryCode": "PT", "City": "Lisboa"}]
    assert rows_of("players", "playfab", PLAYFAB_PROFILE | {"Locations": places}) == [player]
    assert rows_of("players", "playfab", {"PlayFabId": "A"}) == [{"externalPlayerId": "A"}]


def test_playfab_balances() -> None:
    """PlayFab's virtual currencies become rows of balances."""
    balances = [("GC", 100), ("XP", 7)]
    assert rows_of("wallet", "playfab", PLAYFAB_PROFILE) == [
        {"externalPlayerId": "00E8F3B1C2D4A596", "economyKey": key, "amount": amount}
        for key, amount in balances
    ]
    assert [row["amount"] for row in rows_of("wallet", "playfab", PLAYFAB_INVENTORY)] == [100]
    assert rows_of("wallet", "playfab", {"PlayFabId": "A", "VirtualCurrency": {}}) == []


def test_playfab_items() -> None:
    """PlayFab's items become rows of items."""
    rows = rows_of("inventory", "playfab", PLAYFAB_INVENTORY)
    player = {"externalPlayerId": "00E8F3B1C2D4A596"}
    assert without_keys(rows) == [
        player | {"itemKey": "sword", "quantity": 1, "parameters": {"level": "4"}},
        player | {"itemKey": "sword", "quantity": 1},
        player | {"itemKey": "potion", "quantity": 12},
    ]
    assert len({row["idempotencyKey"] for row in rows}) == 3
    # One instance a line gives the same rows, under the same keys.
    flat = [player | item for item in PLAYFAB_INVENTORY["Inventory"]]
    single = [{"PlayFabId": row.pop("externalPlayerId"), **row} for row in flat]
    assert rows_of("inventory", "playfab", *single) == rows


def test_playfab_from_csv(tmp_path: Path) -> None:
    """PlayFab's exports can also be read from CSV."""
    path = tmp_path / "segment.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(PLAYFAB_PROFILE)
        writer.writerow(
            value if isinstance(value, str) else json.dumps(value)
            for value in PLAYFAB_PROFILE.values()
        )
    sources = [item.row for item in open_source(path) if isinstance(item, Row)]
    for kind in ("players", "wallet"):
        assert rows_of(kind, "playfab", *sources) == rows_of(kind, "playfab", PLAYFAB_PROFILE)


# Firebase


def test_firebase_players(tmp_path: Path) -> None:
    """Firebase's users become rows of players."""
    items = list(open_source(written(tmp_path / "users.json", FIREBASE_EXPORT)))
    sources = [item.row for item in items if isinstance(item, Row)]
    assert rows_of("players", "firebase", *sources) == [
        {
            "externalPlayerId": "uid_1",
            "contextSnapshot": {
                "country": "PT",
                "createdAt": "2023-04-05T06:07:08Z",
                "lastLoginAt": "2024-01-02T03:04:05Z",
                "providers": ["google.com"],
            },
        },
        {"externalPlayerId": "uid_2"},
    ]


def test_firebase_balances_and_items() -> None:
    """Firebase's documents become rows of balances and items."""
    user = {"uid": "uid_1", "wallet": {"gold": 5, "gems": 0}, "inventory": {"sword": 1, "bow": 2.0}}
    assert rows_of("wallet", "firebase", user) == [
        {"externalPlayerId": "uid_1", "economyKey": "gold", "amount": 5}
    ]
    assert rows_of("inventory", "firebase", user) == [
        {"externalPlayerId": "uid_1", "itemKey": "sword", "quantity": 1},
        {"externalPlayerId": "uid_1", "itemKey": "bow", "quantity": 2},
    ]


@pytest.mark.parametrize(
    ("kind", "preset", "source", "reason"),
    [
        pytest.param(
            "wallet",
            "firebase",
            {"uid": "u", "wallet": {"gold": 5}, "disabled": True},
            "disabled",
            id="balances of Firebase",
        ),
        pytest.param(
            "inventory",
            "firebase",
            {"uid": "u", "inventory": {"sword": 1}, "disabled": "true"},
            "disabled",
            id="items of Firebase",
        ),
        pytest.param(
            "inventory",
            "playfab",
            {**PLAYFAB_INVENTORY, "BannedUntil": "2099-01-01T00:00:00Z"},
            "banned",
            id="items of PlayFab",
        ),
    ],
)
def test_what_excluded_players_own_is_left_out(
    kind: Kind, preset: str, source: dict[str, Any], reason: str
) -> None:
    """Balances and items of an excluded player are left out with the reason."""
    (item,) = items_of(kind, preset, source)
    assert isinstance(item, LeftOut)
    assert reason == item.reason


# LootLocker


def test_lootlocker_players() -> None:
    """LootLocker's players become rows of players."""
    source = {
        "player_id": 1701237,
        "public_uid": "MKHVVAM7",
        "player_identifier": "ana@example.com",
        "player_name": "Ana Silva",
        "platform": "guest",
        "created_at": "2023-04-05T06:07:08Z",
        "last_seen": "2024-01-02T03:04:05Z",
    }
    assert rows_of("players", "lootlocker", source) == [
        {
            "externalPlayerId": "1701237",
            "contextSnapshot": {
                "platform": "guest",
                "createdAt": "2023-04-05T06:07:08Z",
                "lastLoginAt": "2024-01-02T03:04:05Z",
            },
        }
    ]
    assert rows_of("players", "lootlocker", {"public_uid": "M"}) == [{"externalPlayerId": "M"}]


def test_lootlocker_balances() -> None:
    """LootLocker's balances become rows of balances."""
    row = {"externalPlayerId": "1701237", "economyKey": "gld", "amount": 100}
    assert rows_of("wallet", "lootlocker", LOOTLOCKER_BALANCES) == [row]
    flat: dict[str, Any] = {"player_id": "1701237", "currency": '{"code": "gld"}', "amount": "100"}
    assert rows_of("wallet", "lootlocker", flat) == [row]
    assert rows_of("wallet", "lootlocker", flat | {"currency": "gld"}) == [row]


def test_lootlocker_items() -> None:
    """LootLocker's inventories become rows of items."""
    source: dict[str, Any] = {
        "player_id": 1701237,
        "inventory": [
            {"instance_id": 1, "asset_id": 900, "quantity": 3, "rental_option_id": None},
            {"instance_id": 2, "asset": {"id": 900, "name": "Bow"}},
            {"instance_id": 3, "asset_id": 901, "quantity": 0},
        ],
    }
    rows = rows_of("inventory", "lootlocker", source)
    assert without_keys(rows) == [
        {"externalPlayerId": "1701237", "itemKey": "900", "quantity": 3},
        {"externalPlayerId": "1701237", "itemKey": "900", "quantity": 1},
    ]
    assert rows[0]["idempotencyKey"] != rows[1]["idempotencyKey"]
    flat = {"player_id": 1, "asset_id": "900", "quantity": "3"}
    assert rows_of("inventory", "lootlocker", flat) == [
        {"externalPlayerId": "1", "itemKey": "900", "quantity": 3}
    ]


# Shapes that the files in cases/ do not have


def test_one_answer_of_playfab() -> None:
    """An answer of PlayFab is read from `data`, unless the player's id stands beside it."""
    answer = {"code": 200, "status": "OK", "data": PLAYFAB_INVENTORY}
    assert [100] == [row["amount"] for row in rows_of("wallet", "playfab", answer)]
    row = rows_of("players", "playfab", {"PlayFabId": "A", "Locations": {"LastLogin": {}}})
    assert [{"externalPlayerId": "A"}] == row
    row = rows_of("players", "playfab", {"PlayFabId": "A", "Locations": [5]})
    assert [{"externalPlayerId": "A"}] == row


def test_balances_of_playfab_that_stand_twice() -> None:
    """Balances that stand twice with the same amounts in a PlayFab export are read once."""
    amounts = {"GC": 100}
    source = {"PlayFabId": "A", "VirtualCurrency": amounts, "UserVirtualCurrency": {**amounts}}
    assert [100] == [row["amount"] for row in rows_of("wallet", "playfab", source)]


def test_a_later_line_of_firebase_that_is_cut_off(tmp_path: Path) -> None:
    """A line without the last columns of the CSV fails, and the other lines are read."""
    good = (Path(__file__).parent / "cases" / "firebase_users.csv").read_text().splitlines()[0]
    path = tmp_path / "users.csv"
    path.write_text(f"{good}\nu2,,false,cut\n{good.replace('u1', 'u3')}\n")
    items = list(open_source(path, kind="players", preset="firebase"))
    assert [Row, Unreadable, Row] == [type(item) for item in items]
    path.write_text("")
    with pytest.raises(ValueError, match="is empty: it lacks a header line"):
        list(open_source(path, kind="players", preset="firebase"))


def test_a_disabled_player_of_nakama_from_a_database() -> None:
    """A player of Nakama counts as disabled also if the time is a datetime and not text. The start
    of 1970 means that a player is not disabled, in the time zone of any database."""
    start = datetime(1970, 1, 1, tzinfo=timezone.utc)
    times = [
        start,
        start.astimezone(timezone(timedelta(hours=-8))),
        "1969-12-31 19:00:00-05",
        start.astimezone(timezone(timedelta(hours=9))),
        datetime(2024, 1, 1, tzinfo=timezone.utc),
    ]
    users = [
        {"id": str(number), "wallet": {"gold": 5}, "disable_time": moment}
        for number, moment in enumerate(times)
    ]
    *kept, last = items_of("wallet", "nakama", *users)
    assert [Row] * 4 == [type(item) for item in kept]
    assert isinstance(last, LeftOut)
    assert "disabled" == last.reason


def test_numbers_of_gamesparks() -> None:
    """A whole number in MongoDB's notation is an amount, and a fraction fails the checks."""
    source = {
        "userId": "A",
        "currency1": {"$numberDouble": "5.0"},
        "currency2": {"$numberDouble": "1.5"},
        "location": {"country": "PT", "city": "Lisboa"},
        "reservedCurrencies": {"GOLD": 0},
    }
    first, second = items_of("wallet", "gamesparks", source)
    assert isinstance(first, Row)
    assert 5 == first.row["amount"]
    assert isinstance(second, Row)
    assert problem("wallet", second.row) is not None
    (player,) = rows_of("players", "gamesparks", source)
    assert {"country": "PT"} == player["contextSnapshot"]


@pytest.mark.parametrize(
    ("shown", "time"),
    [
        pytest.param("2023-04-05 06:07:08", "2023-04-05T06:07:08Z", id="no zone"),
        pytest.param("2023-04-05 06:07:08.5+00", "2023-04-05T06:07:08.5Z", id="UTC"),
        pytest.param("2023-04-05 06:07:08-08", "2023-04-05T06:07:08-08:00", id="west"),
        pytest.param("2023-04-05 06:07:08+05:30", "2023-04-05T06:07:08+05:30", id="east"),
        pytest.param("2023-04-05T06:07:08Z", "2023-04-05T06:07:08Z", id="RFC 3339"),
    ],
)
def test_times_of_a_database(shown: str, time: str) -> None:
    """A time keeps its zone, in the format of RFC 3339."""
    (row,) = rows_of("players", "nakama", {"id": "a", "create_time": shown})
    assert {"createdAt": time} == row["contextSnapshot"]


@pytest.mark.parametrize(
    ("number", "amount"),
    [
        pytest.param({"$numberDouble": "500"}, 500, id="double without decimals"),
        pytest.param({"$numberDouble": "500.0"}, 500, id="double"),
        pytest.param({"$numberDouble": "-5.0"}, -5, id="negative double"),
        pytest.param({"$numberDouble": "1e3"}, "1e3", id="exponent"),
        pytest.param({"$numberLong": "9007199254740991"}, 2**53 - 1, id="long"),
        pytest.param({"$numberLong": "--5"}, "--5", id="damaged"),
        pytest.param({"$numberInt": "9" * 5000}, "9" * 5000, id="too many digits"),
    ],
)
def test_whole_numbers_of_gamesparks(number: dict[str, str], amount: int | str) -> None:
    """A whole number in MongoDB's notation keeps its value. Any other text stays as it is, and
    fails its row alone."""
    (item,) = items_of("wallet", "gamesparks", {"userId": "A", "currencies": {"GOLD": number}})
    assert isinstance(item, Row)
    assert amount == item.row["amount"]


@pytest.mark.parametrize(
    ("preset", "row", "name"),
    [
        pytest.param(
            "gamesparks",
            {"userId": "A", "currencies": {"GOLD": 5}},
            "scriptData",
            id="before the row is read",
        ),
        pytest.param(
            "accelbyte",
            {"userId": "A", "currencyCode": "GOLD", "balance": 5},
            "status",
            id="in a message about it",
        ),
    ],
)
def test_a_row_that_is_nested_too_deeply(preset: str, row: dict[str, Any], name: str) -> None:
    """A row with a value that is nested too deeply fails alone, and shows nothing of itself."""
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    first, second = items_of("wallet", preset, {**row, name: deep}, row)
    assert isinstance(first, Unreadable)
    assert ("the row is nested too deeply", "", None) == (first.message, first.text, first.row)
    assert isinstance(second, Row)


def test_balances_of_accelbyte_that_expire() -> None:
    """The part of a balance that expires is left out, imported on request, or fails."""
    part: dict[str, Any] = {"totalTimeLimitedBalance": 30}
    wallet = {"userId": "A", "currencyCode": "GOLD", "balance": 100, "walletInfos": [part]}
    left, kept = items_of("wallet", "accelbyte", wallet)
    assert isinstance(left, LeftOut)
    assert isinstance(kept, Row)
    assert 70 == kept.row["amount"]
    options = ReadOptions(include={"expiring"})
    (whole,) = make_mapping("wallet", None, "accelbyte", options)(Row(1, wallet, 1))
    assert isinstance(whole, Row)
    assert 100 == whole.row["amount"]
    part["totalTimeLimitedBalance"] = "30"
    (failed,) = items_of("wallet", "accelbyte", wallet)
    assert isinstance(failed, Unreadable)
    assert "totalTimeLimitedBalance is not a whole number" == failed.message


# What is odd


@pytest.mark.parametrize("amount", [-5, "-5", 1.5, True, False, None, "many", [5]])
def test_a_bad_balance_is_kept_for_validation(amount: object) -> None:
    """A balance that is no number is kept, so that validation rejects it."""
    source = {"PlayFabId": "A", "VirtualCurrency": {"GC": amount}}
    [item] = items_of("wallet", "playfab", source)
    assert isinstance(item, Row)
    found = problem("wallet", item.row)
    assert found is not None
    assert found.startswith("amount is ")


@pytest.mark.parametrize(
    ("kind", "preset", "source", "message"),
    [
        (
            "wallet",
            "playfab",
            {},
            "VirtualCurrencyBalances or VirtualCurrency or UserVirtualCurrency is missing",
        ),
        ("wallet", "playfab", {"VirtualCurrency": [1]}, "VirtualCurrency is not an object"),
        ("wallet", "playfab", {"VirtualCurrency": "{broken"}, "VirtualCurrency is not an object"),
        (
            "wallet",
            "playfab",
            {"VirtualCurrency": {"a": 1}, "VirtualCurrencyBalances": {"a": 2}},
            "VirtualCurrencyBalances and VirtualCurrency are different",
        ),
        ("inventory", "playfab", {}, "Inventory or ItemId is missing"),
        ("inventory", "playfab", {"Inventory": {}}, "Inventory is not a list"),
        (
            "inventory",
            "playfab",
            {"Inventory": [1]},
            "Inventory holds a value that is not an object",
        ),
        ("wallet", "firebase", {}, "wallet or balances or currencies is missing"),
        ("wallet", "lootlocker", {}, "balances or currency is missing"),
        ("wallet", "lootlocker", {"balances": [{"currency": "g"}]}, "amount is missing"),
        ("wallet", "lootlocker", {"balances": [{"amount": "1"}]}, "currency is missing"),
        ("wallet", "lootlocker", {"currency": {}, "amount": "1"}, "code is missing"),
        ("inventory", "lootlocker", {}, "inventory or items or asset_id or instance_id is missing"),
    ],
)
def test_another_shape_fails_rather_than_vanishes(
    kind: Kind, preset: str, source: dict[str, Any], message: str
) -> None:
    """A record of another shape fails, and nothing of it but the id is kept."""
    player = {"PlayFabId": "A", "uid": "A", "player_id": "A"}
    [item] = items_of(kind, preset, player | source | {"email": "ana@example.com"})
    assert isinstance(item, Unreadable)
    assert (1, "validation_failed", message) == (item.number, item.code, item.message)
    assert ("", {"externalPlayerId": "A"}) == (item.text, item.row)


def test_a_row_without_a_player_fails() -> None:
    """A row without the player's id fails, and names the column that is empty."""
    source = {"PlayFabId": "", "VirtualCurrency": {"GC": 5}}
    [item] = items_of("wallet", "playfab", source)
    assert isinstance(item, Unreadable)
    assert "'PlayFabId', the column of the players' ids, is empty" == item.message


def test_the_line_of_an_export_is_not_kept() -> None:
    """A failure does not hold the text of an unreadable line, which may be personal data."""
    layout = Layout((), ",", "csv")
    bad = Unreadable(3, "unreadable_row", "no", "ana@example.com", 2, layout=layout)
    mapping = make_mapping("players", preset="firebase")
    assert [Unreadable(3, "unreadable_row", "no", "", 2)] == mapping(bad)


def test_a_file_of_another_platform_is_refused_at_once() -> None:
    """A file of another platform is refused at its first row."""
    with pytest.raises(ValueError, match=r"^No column for the player's id") as caught:
        items_of("wallet", "playfab", {"uid": "A", "gold": 5})
    assert "playfab looks for PlayerId, PlayFabId. The source has uid, gold." in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "field"),
    [("wallet", "economyKey"), ("wallet", "amount"), ("inventory", "itemKey")],
)
def test_what_differs_within_a_player_cannot_be_overridden(kind: Kind, field: str) -> None:
    """A mapping that would stand in all balances of a player is refused."""
    with pytest.raises(ValueError, match=f"^{field} cannot be mapped.*--rename GO=gold"):
        make_mapping(kind, {field: "=gold"}, "playfab")


def test_one_column_holds_the_ids_of_all_rows() -> None:
    """All rows take their id from one column, and a row without it fails."""
    mapping = make_mapping("wallet", preset="firebase")
    rows = [{"uid": "u1", "id": 3, "wallet": {"gold": 5}}, {"id": 3, "wallet": {"gold": 6}}]
    items = [each for n, row in enumerate(rows, 1) for each in mapping(Row(n, row, n))]
    assert [Row, Unreadable] == [type(item) for item in items]
    [note] = mapping.notes
    assert note.startswith("the players' ids come from the column uid; id could hold them too")
    mapping = make_mapping("wallet", preset="firebase", options=ReadOptions(id_column="id"))
    items = [each for n, row in enumerate(rows, 1) for each in mapping(Row(n, row, n))]
    assert ["3", "3"] == [item.row["externalPlayerId"] for item in items if isinstance(item, Row)]


def test_columns_override_single_fields() -> None:
    """A mapping overrides single fields of a preset."""
    source = PLAYFAB_INVENTORY | {"account": "acc_1", "land": "PT"}
    columns = {"externalPlayerId": "account", "reason": "=moved"}
    rows = rows_of("inventory", "playfab", source, columns=columns)
    assert {row["externalPlayerId"] for row in rows} == {"acc_1"}
    assert {row["reason"] for row in rows} == {"moved"}
    assert [row["itemKey"] for row in rows] == ["sword", "sword", "potion"]
    before = json.dumps(source)
    columns = {"parameters.level": "land"}
    levels = [row["parameters"] for row in rows_of("inventory", "playfab", source, columns=columns)]
    assert levels == [{"level": "PT"}] * 3
    assert json.dumps(source) == before
    [row] = rows_of(
        "players", "playfab", PLAYFAB_PROFILE, columns={"contextSnapshot.country": "=ES"}
    )
    assert row["contextSnapshot"]["country"] == "ES"
    assert row["contextSnapshot"]["platform"] == "Steam"


def test_items_keep_their_own_keys_where_the_player_is_mapped() -> None:
    """Items keep their keys when the player's column is mapped."""
    source = {key: value for key, value in PLAYFAB_INVENTORY.items() if key != "PlayFabId"}
    columns = {"externalPlayerId": "account"}
    rows = rows_of("inventory", "playfab", source | {"account": "acc_1"}, columns=columns)
    assert len({row["idempotencyKey"] for row in rows}) == 3


def test_unknown_presets_are_refused() -> None:
    """An unknown preset is refused, and so is a kind that a platform does not document."""
    with pytest.raises(
        ValueError, match=r"^there is no preset 'steam'; the presets are playfab, firebase"
    ):
        make_mapping("players", preset="steam")
    with pytest.raises(ValueError, match=r"^the preset unity has no players, only wallet"):
        make_mapping("players", preset="unity")
