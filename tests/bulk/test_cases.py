"""Whole exports in the shapes that platforms write, each with its expected outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from kraty_admin._bulk._mapping import make_mapping
from kraty_admin._bulk._options import ReadOptions
from kraty_admin._bulk._rows import Kind, LeftOut, Row
from kraty_admin._bulk._source import open_source

CASES: Final = Path(__file__).parent / "cases"

Outcome = tuple[object, ...]


def outcome_of(
    name: str, kind: Kind, preset: str | None, columns: dict[str, str] | None = None, **options: Any
) -> tuple[list[Outcome], list[str]]:
    """Return each item of a file, as player and amount or as why it is no row, and the notes."""
    read = ReadOptions(**options)
    source = open_source(CASES / name, read, kind=kind, preset=preset)
    mapping = make_mapping(kind, columns, preset, read)
    items = [each for item in source for each in mapping(item)]
    # Every row of the source has at least one item, and none is made up.
    assert list(range(1, len({item.source for item in items}) + 1)) == sorted(
        {item.source for item in items}
    )
    return [_outcome(item) for item in items], source.notes + mapping.notes


def _outcome(item: object) -> Outcome:
    if isinstance(item, Row):
        named = ("externalPlayerId", "economyKey", "amount", "itemKey", "quantity")
        return tuple(item.row[name] for name in named if name in item.row)
    return ("left out", item.reason) if isinstance(item, LeftOut) else ("failed",)


GOLD: Final = {"externalPlayerId": "PlayFabId", "economyKey": "=gold", "amount": "gold"}


@pytest.mark.parametrize(
    ("name", "kind", "preset", "options", "expected"),
    [
        pytest.param(
            "quoted_names.tsv",
            "wallet",
            None,
            {"columns": GOLD},
            [("A1", "gold", 1), ("A2", "gold", 20), ("A3", "gold", 300), ("A4", "gold", 5)],
            id="names with quotes",
        ),
        pytest.param(
            "transactions.csv",
            "wallet",
            None,
            {"columns": GOLD | {"externalPlayerId": "id"}},
            [("p1", "gold", 100), ("p1", "gold", 50), ("p1", "gold", 25)],
            id="a log of transactions",
        ),
        pytest.param(
            "playfab_two_items.jsonl",
            "inventory",
            "playfab",
            {},
            [("A1", "potion", 1), ("A1", "potion", 1)],
            id="the same item twice",
        ),
        pytest.param(
            "playfab_two_currencies.jsonl",
            "wallet",
            "playfab",
            {},
            [("B1", "GE", 5), ("B1", "GO", 100)],
            id="two currencies",
        ),
        pytest.param(
            "playfab_two_currencies.jsonl",
            "wallet",
            "playfab",
            {"rename": {"GO": "gold"}, "only": {"GO"}},
            [("left out", "not_selected"), ("B1", "gold", 100)],
            id="one of two currencies",
        ),
        pytest.param(
            "playfab_segment.tsv",
            "players",
            "playfab",
            {},
            [("P1",), ("P2",), ("left out", "banned"), ("P4",)],
            id="PlayFab's segment, players",
        ),
        pytest.param(
            "playfab_segment.tsv",
            "players",
            "playfab",
            {"include": {"banned"}},
            [("P1",), ("P2",), ("P3",), ("P4",)],
            id="PlayFab's segment, banned players too",
        ),
        pytest.param(
            "playfab_segment.tsv",
            "wallet",
            "playfab",
            {},
            [
                ("P1", "GO", 100),
                ("left out", "zero"),
                ("left out", "nothing"),
                ("left out", "banned"),
                ("P4", "GO", 7),
            ],
            id="PlayFab's segment, balances",
        ),
        *(
            pytest.param(
                name, "wallet", "playfab", {}, [("P1", "gold", 100), ("left out", "zero")], id=name
            )
            for name in ("playfab_page.json", "playfab_profiles_answer.json")
        ),
        *(
            pytest.param(name, kind, "playfab", {}, expected, id=f"{name}, {kind}")
            for name in (
                "playfab_combined.jsonl",
                "playfab_combined_answer.json",
                "playfab_inventory.jsonl",
                "playfab_inventory_answer.json",
            )
            for kind, expected in (
                ("wallet", [("P1", "gold", 100)]),
                ("inventory", [("P1", "potion", 5), ("left out", "expiring")]),
            )
        ),
        pytest.param(
            "playfab_inventory.jsonl",
            "inventory",
            "playfab",
            {"include": {"expiring"}},
            [("P1", "potion", 5), ("P1", "chest", 1)],
            id="PlayFab's items, expiring ones too",
        ),
        pytest.param(
            "playfab_economy_v2.jsonl",
            "wallet",
            "playfab",
            {},
            [("P1", "gold", 900)],
            id="v2, balances",
        ),
        pytest.param(
            "playfab_economy_v2.jsonl",
            "inventory",
            "playfab",
            {},
            [("P1", "potion", 3), ("left out", "expiring")],
            id="v2, items",
        ),
        pytest.param(
            "playfab_both_balances.jsonl",
            "wallet",
            "playfab",
            {},
            [("P1", "gold", 100), ("P2", "gold", 100)],
            id="an empty map beside a full one",
        ),
        pytest.param(
            "firebase_users.json",
            "players",
            "firebase",
            {},
            [("u1",), ("left out", "disabled")],
            id="Firebase's users",
        ),
        pytest.param(
            "firebase_users.csv",
            "players",
            "firebase",
            {},
            [("u1",), ("u2",), ("u3",), ("left out", "disabled"), ("failed",)],
            id="Firebase's users without a header",
        ),
        *(
            pytest.param("firebase_tree.json", kind, "firebase", {}, expected, id=f"tree, {kind}")
            for kind, expected in (
                ("players", [("u1",), ("u2",)]),
                ("wallet", [("u1", "gold", 5), ("u1", "gems", 2), ("u2", "gold", 6)]),
                ("inventory", [("u1", "potion", 2), ("left out", "nothing")]),
            )
        ),
        pytest.param(
            "firebase_tree_with_list.json",
            "wallet",
            "firebase",
            {"rows": "*"},
            [("u1", "gold", 5), ("u2", "gold", 6), ("failed",)],
            id="a list beside users",
        ),
        pytest.param(
            "firebase_two_ids.jsonl",
            "wallet",
            "firebase",
            {},
            [("u1", "gold", 5), ("failed",)],
            id="two columns of ids",
        ),
        *(
            pytest.param(name, "wallet", "firebase", {}, [("u1", "gold", 5)], id=name)
            for name in (
                "firestore_backfire.ndjson",
                "firestore_bigquery.csv",
                "firestore_tree.json",
            )
        ),
        pytest.param(
            "lootlocker_two_wallets.jsonl",
            "wallet",
            "lootlocker",
            {},
            [("17", "gold", 100), ("17", "gold", 100)],
            id="two wallets",
        ),
        pytest.param(
            "lootlocker_balances.json",
            "wallet",
            "lootlocker",
            {"id_column": "holder_id"},
            [("H1", "gold", 100), ("failed",)],
            id="LootLocker's balances by holder",
        ),
        pytest.param(
            "lootlocker_inventory.json",
            "inventory",
            "lootlocker",
            {"columns": {"externalPlayerId": "=17"}},
            [("17", "900", 1), ("left out", "rental")],
            id="LootLocker's inventory of one player",
        ),
        pytest.param(
            "lootlocker_items.json",
            "inventory",
            "lootlocker",
            {},
            [("17", "01T", 3)],
            id="LootLocker's items",
        ),
        pytest.param(
            "lootlocker_players.json", "players", "lootlocker", {}, [("17",)], id="players"
        ),
        *(
            pytest.param("nakama_users.csv", kind, "nakama", {}, expected, id=f"Nakama's {kind}")
            for kind, expected in (
                ("players", [("left out", "system"), ("u1",), ("left out", "disabled")]),
                (
                    "wallet",
                    [
                        ("left out", "system"),
                        ("u1", "coins", 5),
                        ("left out", "zero"),
                        ("left out", "disabled"),
                    ],
                ),
            )
        ),
        pytest.param(
            "nakama_account.json",
            "wallet",
            "nakama",
            {"rows": "."},
            [("u1", "coins", 5)],
            id="Nakama's account",
        ),
        *(
            pytest.param("gamesparks_players.jsonl", kind, "gamesparks", {}, expected, id=kind)
            for kind, expected in (
                ("players", [("5b0f",)]),
                (
                    "wallet",
                    [
                        ("5b0f", "GOLD", 1100),
                        ("left out", "zero"),
                        ("5b0f", "currency2", 7),
                        ("left out", "reserved"),
                    ],
                ),
                ("inventory", [("5b0f", "SWORD", 2)]),
            )
        ),
        pytest.param(
            "unity_balances.json",
            "wallet",
            "unity",
            {},
            [("p1", "GOLD", 100), ("left out", "zero")],
            id="Unity's balances",
        ),
        pytest.param(
            "unity_inventory.jsonl",
            "inventory",
            "unity",
            {},
            [("p1", "SWORD", 1), ("p1", "SWORD", 1)],
            id="Unity's items",
        ),
        pytest.param(
            "accelbyte_wallets.json",
            "wallet",
            "accelbyte",
            {},
            [("left out", "expiring"), ("u1", "GOLD", 70), ("left out", "disabled")],
            id="AccelByte's wallets",
        ),
        pytest.param(
            "accelbyte_entitlements.json",
            "inventory",
            "accelbyte",
            {},
            [
                ("u1", "SWORD", 1),
                ("u1", "POTION", 4),
                ("left out", "expiring"),
                ("left out", "disabled"),
            ],
            id="AccelByte's entitlements",
        ),
    ],
)
def test_each_row_has_its_outcome(
    name: str, kind: Kind, preset: str | None, options: dict[str, Any], expected: list[Outcome]
) -> None:
    """Each row of an export is imported, left out with a reason, or fails."""
    found, _ = outcome_of(name, kind, preset, **options)
    assert expected == found


@pytest.mark.parametrize(
    ("name", "kind", "preset", "advice"),
    [
        pytest.param(
            "firebase_tree_with_list.json", "wallet", "firebase", "one of 'leaders', '*'", id="tree"
        ),
        pytest.param(
            "lootlocker_balances.json", "wallet", "lootlocker", "--id-column holder_id", id="holder"
        ),
        pytest.param(
            "lootlocker_inventory.json",
            "inventory",
            "lootlocker",
            "does not name its player",
            id="items",
        ),
    ],
)
def test_a_question_is_not_guessed(name: str, kind: Kind, preset: str, advice: str) -> None:
    """An export that is ambiguous is refused with the option that decides."""
    with pytest.raises(ValueError, match=r"[Pp]ass|[Nn]ame") as caught:
        outcome_of(name, kind, preset)
    assert advice in str(caught.value)


def test_what_a_segment_says_of_a_player() -> None:
    """Country, platform and dates of PlayFab's TSV become a player's context, with ISO times."""
    mapping = make_mapping("players", preset="playfab")
    [item, *_] = [
        each for item in open_source(CASES / "playfab_segment.tsv") for each in mapping(item)
    ]
    assert isinstance(item, Row)
    assert {
        "country": "US",
        "platform": "Custom",
        "createdAt": "2021-12-03T22:19:22.538271Z",
        "lastLoginAt": "2024-01-02T22:19:22.538271Z",
    } == item.row["contextSnapshot"]


def test_a_page_and_the_column_of_ids_are_reported() -> None:
    """Notes say that more pages follow, and which column holds the ids."""
    _, notes = outcome_of("playfab_page.json", "players", "playfab")
    page, column = notes
    assert page.startswith("ContinuationToken is set: this document is only one page")
    assert "the players' ids come from the column PlayerId" == column
    _, notes = outcome_of("lootlocker_players.json", "players", "lootlocker")
    assert "column player_id; player_public_uid, ulid could hold them too" in notes[0]
