"""Rows of another platform, mapped to those of the contract."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraty_admin._bulk._mapping import make_mapping, parse_map
from kraty_admin._bulk._options import ReadOptions
from kraty_admin._bulk._rows import Kind, LeftOut, Read, Row, Unreadable
from kraty_admin._bulk._source import open_source
from kraty_admin._bulk._validate import problem
from kraty_server_api import checks

WALLET = {"externalPlayerId": "id", "economyKey": "=gold", "amount": "amount"}


def mapped(
    kind: Kind,
    source: dict[str, Any],
    columns: Mapping[str, str] | None = None,
    preset: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return what one row is mapped to."""
    [item] = make_mapping(kind, columns, preset, ReadOptions(**options))(Row(7, source, 3))
    assert isinstance(item, Row)
    assert (7, 3) == (item.number, item.source)
    return item.row


def refused(kind: Kind, source: dict[str, Any], **options: Any) -> Unreadable:
    """Return the failure of one row that is not sent."""
    [item] = make_mapping(kind, options=ReadOptions(**options))(Row(7, source, 3))
    assert isinstance(item, Unreadable)
    assert (7, 3, "validation_failed") == (item.number, item.source, item.code)
    return item


def test_a_file_becomes_rows_of_the_contract(tmp_path: Path) -> None:
    """Columns of a file are renamed, and their cells get the types of the contract."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"PlayFabId,GC,Name\n00123, 5 ,x\n00124,7\n0125,-3,y\n")
    mapping = make_mapping(
        "wallet", {"externalPlayerId": "PlayFabId", "economyKey": "=gold", "amount": "GC"}
    )
    items = [each for item in open_source(path) for each in mapping(item)]
    assert [item.number for item in items] == [2, 3, 4]
    assert Row(2, {"externalPlayerId": "00123", "economyKey": "gold", "amount": 5}, 1) == items[0]
    assert isinstance(items[1], Unreadable)
    assert Row(4, {"externalPlayerId": "0125", "economyKey": "gold", "amount": -3}, 3) == items[2]


def test_what_is_unreadable_is_passed_on() -> None:
    """A mapping passes unreadable lines on unchanged."""
    bad: Read = Unreadable(3, "unreadable_row", "no", "text")
    for mapping in (make_mapping("wallet"), make_mapping("wallet", WALLET)):
        assert mapping(bad) == [bad]
    # It is not the first row, either: the columns are looked up in the next one.
    mapping = make_mapping("wallet", WALLET)
    mapping(bad)
    with pytest.raises(ValueError, match="Column 'id' not found"):
        mapping(Row(4, {"x": 1}))


# Columns


def test_a_path_goes_into_objects() -> None:
    """A dotted name reads a value inside nested objects."""
    columns = WALLET | {"amount": "VirtualCurrency.GC"}
    found: list[object] = [{"GC": 5}, '{"GC": 5}', ' {"GC": "5"}']
    for currency in found:
        source = {"id": "a", "VirtualCurrency": currency}
        assert mapped("wallet", source, columns)["amount"] == 5
    missed: list[object] = [{"XX": 5}, None, "text", "{broken", 7, [5]]
    for currency in missed:
        source = {"id": "a", "VirtualCurrency": currency}
        assert "amount" not in mapped("wallet", source, columns)


def test_a_column_of_that_very_name_comes_before_the_path() -> None:
    """A column whose name has a dot is preferred to a path."""
    columns = WALLET | {"amount": "a.b.c"}
    nested = {"a": {"b": {"c": 1}}}
    assert mapped("wallet", {"id": "x", **nested}, columns)["amount"] == 1
    assert mapped("wallet", {"id": "x", **nested, "a.b": {"c": 2}}, columns)["amount"] == 2
    assert mapped("wallet", {"id": "x", **nested, "a.b.c": 3}, columns)["amount"] == 3
    assert mapped("wallet", {"id": "x", "a": {"b.c": 4}}, columns)["amount"] == 4
    assert mapped("wallet", {"id": "x", **nested, "a.b": {}}, columns)["amount"] == 1


def test_constants_stand_on_every_row() -> None:
    """A constant is set on every row."""
    row = mapped("wallet", {"id": "a"}, WALLET | {"amount": "=5", "reason": "==x"})
    assert row == {"externalPlayerId": "a", "economyKey": "gold", "amount": 5, "reason": "=x"}


def test_members_build_their_object() -> None:
    """Several columns can fill the members of one object."""
    columns = {
        "externalPlayerId": "id",
        "contextSnapshot.country": "land",
        "contextSnapshot.device.os": "os",
        "contextSnapshot.device.version": "version",
    }
    source = {"id": "a", "land": "PT", "os": "ios", "version": ""}
    assert mapped("players", source, columns) == {
        "externalPlayerId": "a",
        "contextSnapshot": {"country": "PT", "device": {"os": "ios"}},
    }
    empty = {"id": "a", "land": "", "os": None, "version": ""}
    assert mapped("players", empty, columns) == {"externalPlayerId": "a"}


def test_columns_that_are_not_named_are_ignored() -> None:
    """Columns that the mapping does not name are ignored."""
    row = mapped("players", {"id": "a", "email": "a@b.c"}, {"externalPlayerId": "id"})
    assert row == {"externalPlayerId": "a"}


def test_a_wrong_column_is_reported_with_the_existing_ones() -> None:
    """The error for an unknown column lists the columns of the file."""
    mapping = make_mapping("players", {"externalPlayerId": "PlayFabID"})
    with pytest.raises(ValueError, match=r"^Column 'PlayFabID' not found") as caught:
        mapping(Row(2, {"PlayFabId": "a", "Name": "b"}))
    assert "The source has PlayFabId, Name." in str(caught.value)
    assert "--map externalPlayerId=PlayFabId" in str(caught.value)
    mapping = make_mapping("wallet", WALLET | {"amount": "Currency.GC"})
    with pytest.raises(ValueError, match=r"^Column 'Currency\.GC' not found. The source has id\.$"):
        mapping(Row(2, {"id": "a"}))


def test_a_required_field_that_no_column_holds_is_one_error() -> None:
    """Without a mapping, columns with other names raise one error that suggests `--map` options."""
    mapping = make_mapping("wallet")
    with pytest.raises(
        ValueError, match=r"^wallet rows need externalPlayerId and amount"
    ) as caught:
        mapping(Row(2, {"User ID": "a", "economyKey": "gold", "coins": "5"}))
    assert "The source has User ID, economyKey, coins." in str(caught.value)
    assert "--map 'externalPlayerId=User ID' --map amount=coins" in str(caught.value)


@pytest.mark.parametrize("columns", [None, WALLET])
def test_a_wrong_delimiter_is_one_error(columns: dict[str, str] | None) -> None:
    """If the only column's name holds delimiters, the error suggests the option for them."""
    with pytest.raises(ValueError, match=r"pass delimiter=';' \(--delimiter ';'\)"):
        make_mapping("wallet", columns)(Row(2, {"id;amount": "a;5"}))


def test_a_wrong_delimiter_is_the_only_suggestion() -> None:
    """A column that was not separated is not suggested, even if its name is similar."""
    columns = {"externalPlayerId": "PlayFabId", "amount": "Gold", "economyKey": "=gold"}
    with pytest.raises(ValueError, match="pass delimiter") as caught:
        make_mapping("wallet", columns)(Row(2, {"PlayFabId;Gold": "a;5"}))
    assert "Try" not in str(caught.value)


def test_values_of_a_file_without_a_header_are_not_shown() -> None:
    """The error for a file without a header does not show the cells of its first line."""
    mapping = make_mapping("players", {"externalPlayerId": "id"})
    with pytest.raises(ValueError, match="2 columns, which look like values") as caught:
        mapping(Row(2, {"ana@example.test": "b", "h4sh": "c"}))
    assert "ana" not in str(caught.value)
    assert "h4sh" not in str(caught.value)


def test_a_column_that_a_later_row_lacks_is_left_out() -> None:
    """A row that lacks a column is sent without its field."""
    mapping = make_mapping("wallet", WALLET)
    assert mapping(Row(1, {"id": "a", "amount": 1}))
    row = {"externalPlayerId": "b", "economyKey": "gold"}
    assert [Row(2, row, 2)] == mapping(Row(2, {"id": "b"}, 2))


def test_a_column_that_a_later_row_lacks_is_not_filled_by_the_preset() -> None:
    """A player who has no id of the wanted kind fails, and gets no id of another kind."""
    mapping = make_mapping("players", {"externalPlayerId": "account"}, "playfab")
    first, second = {"PlayFabId": "A", "account": "a"}, {"PlayFabId": "B"}
    assert [Row(1, {"externalPlayerId": "a"}, 1)] == mapping(Row(1, first, 1))
    assert [Row(2, {}, 2)] == mapping(Row(2, second, 2))


def test_a_column_of_ids_that_does_not_exist_is_refused() -> None:
    """A column of ids that does not exist is refused with the names of those that do."""
    options = ReadOptions(id_column="account")
    mapping = make_mapping("wallet", preset="playfab", options=options)
    with pytest.raises(ValueError, match=r"^Column 'account' not found\. The source has PlayFabId"):
        mapping(Row(1, {"PlayFabId": "A", "VirtualCurrency": {}}, 1))


@pytest.mark.parametrize(
    ("kind", "columns", "message"),
    [
        (
            "wallet",
            {"currency": "x"},
            "wallet rows have no field 'currency'; the fields are externalPlayerId, economyKey,"
            " amount, reason, idempotencyKey",
        ),
        (
            "players",
            {"country": "x"},
            "players rows have no field 'country'; the fields are externalPlayerId, contextSnapshot"
            " (or contextSnapshot.<member>), idempotencyKey",
        ),
        ("wallet", {"amount.x": "x"}, "wallet rows have no field 'amount.x'"),
        ("players", {"contextSnapshot.": "x"}, "players rows have no field 'contextSnapshot.'"),
        ("players", {"externalPlayerId": ""}, "externalPlayerId is mapped to a column without a"),
        (
            "wallet",
            {"externalPlayerId": "id"},
            "wallet rows need economyKey and amount: map a column to each, or a constant such as"
            " economyKey==text",
        ),
        (
            "players",
            {"externalPlayerId": "i", "contextSnapshot": "c", "contextSnapshot.a": "d"},
            "contextSnapshot and contextSnapshot.a are both mapped: map one of them",
        ),
        ("gold", None, "'gold' is not a kind of rows; the kinds are players, wallet, inventory"),
    ],
)
def test_columns_that_make_no_sense_are_refused(
    kind: str, columns: dict[str, str] | None, message: str
) -> None:
    """A mapping with impossible columns is refused."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make_mapping(cast("Kind", kind), columns)


def test_the_source_is_left_as_it_is() -> None:
    """A mapping does not change the rows that it reads."""
    source: dict[str, Any] = {"localId": "a", "customAttributes": {"country": "PT"}, "x": {"y": 1}}
    before = json.dumps(source)
    columns = {"contextSnapshot.country": "=DE", "contextSnapshot.y": "x.y"}
    row = mapped("players", source, columns, "firebase")
    assert row["contextSnapshot"] == {"country": "DE", "y": 1}
    inner: dict[str, Any] = {"externalPlayerId": "a", "contextSnapshot": {"country": "PT"}}
    mapped("players", inner)
    assert json.dumps(source) == before


# Values


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        ("5", 5),
        (" 5\t", 5),
        ("+5", 5),
        ("-5", -5),
        ("007", 7),
        (str(2**64), 2**64),
        (5.0, 5),
        (float(2**53 - 1), 2**53 - 1),
        (-0.0, 0),
    ],
)
def test_amounts_become_whole_numbers(value: object, whole: int) -> None:
    """An amount that is text or a whole float becomes an integer."""
    for kind, name in (("wallet", "amount"), ("inventory", "quantity")):
        key = "economyKey" if kind == "wallet" else "itemKey"
        source = {"externalPlayerId": "a", key: "k", name: value}
        made = mapped(cast("Kind", kind), source)[name]
        assert (made, type(made)) == (whole, int)


@pytest.mark.parametrize(
    "value",
    [
        *("", "5.0", "1e3", "1,000", "1_000", "\u0665", "5 5", "--5", "0x5", "9" * 401),
        *(5.5, float(2**53), True, None, [5], {"a": 5}),
    ],
)
def test_a_bad_amount_is_kept_for_validation(value: object) -> None:
    """A value that is no amount is kept, so that validation rejects it."""
    row = mapped("wallet", {"externalPlayerId": "a", "economyKey": "b", "amount": value})
    assert (value, type(value)) == (row["amount"], type(row["amount"]))
    assert problem("wallet", row) is not None


ROW: Final[dict[str, Any]] = {"externalPlayerId": "a", "economyKey": "gold", "amount": 5}


@pytest.mark.parametrize("name", ["externalPlayerId", "economyKey", "idempotencyKey"])
def test_ids_stay_as_they_are(name: str) -> None:
    """An id keeps its text, with zeros and spaces; an integer becomes text, and other values
    stay."""
    for value in ("00123", " 5 ", "5.0", "é", "=x"):
        assert value == mapped("wallet", ROW | {name: value}, allow_odd_ids=True)[name]
    assert "123" == mapped("wallet", ROW | {name: 123})[name]
    assert "-100000000000000000000" == mapped("wallet", ROW | {name: -(10**20)})[name]
    for odd in (True, 5.0, [1], 10**5000):
        assert odd == mapped("wallet", ROW | {name: odd})[name]


def test_values_that_json_lacks_are_converted() -> None:
    """A value of a database or data frame is sent as what it means."""
    player = UUID(int=5)
    noon = datetime(2024, 5, 6, 12, tzinfo=timezone.utc)
    assert {"externalPlayerId": str(player), "economyKey": "gold", "amount": 5} == mapped(
        "wallet", {"externalPlayerId": player, "economyKey": "gold", "amount": Decimal("5.00")}
    )
    assert {"externalPlayerId": "a", "contextSnapshot": {"at": "2024-05-06T12:00:00Z"}} == mapped(
        "players", {"id": "a", "at": noon}, {"externalPlayerId": "id", "contextSnapshot.at": "at"}
    )


def test_a_value_that_is_nested_too_deeply_fails_alone() -> None:
    """A row with a value that is nested too deeply fails, and the import goes on."""
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    row = {"externalPlayerId": "a", "other": deep}
    (item,) = make_mapping("players")(Row(1, row, 1))
    assert isinstance(item, Unreadable)
    assert ("other is nested too deeply", None) == (item.message, item.row)


def test_a_value_without_meaning_in_json_fails_without_its_repr() -> None:
    """A value that JSON cannot hold fails its row, and the failure does not show the value."""
    item = refused("wallet", ROW | {"externalPlayerId": object()})
    assert "externalPlayerId holds a value of type object, which JSON lacks" == item.message
    assert (None, "") == (item.row, item.text)
    item = refused("players", {"externalPlayerId": "a", "contextSnapshot": {"x": [inf]}})
    assert "contextSnapshot holds an infinite number, which JSON lacks" == item.message
    # A column that is not mapped does not matter.
    assert {"externalPlayerId": "a"} == mapped(
        "players", {"id": "a", "x": object()}, {"externalPlayerId": "id"}
    )


@pytest.mark.parametrize(
    ("player", "why"),
    [
        pytest.param("NULL", "is a text that programs write for a missing value", id="NULL"),
        pytest.param("nan", "is a text that programs write for a missing value", id="nan"),
        pytest.param("#N/A", "is a text that programs write for a missing value", id="spreadsheet"),
        pytest.param("#NAME?", "is a text that programs write for a missing value", id="error"),
        pytest.param('="0012"', "is a formula of a spreadsheet", id="formula"),
        pytest.param("\\N", "is a text that programs write for a missing value", id="COPY"),
        pytest.param("7.65612E+16", "is a number in scientific notation", id="E+16"),
        pytest.param("7.6561198e+16", "is a number in scientific notation", id="e+16"),
        pytest.param("1e+16", "is a number in scientific notation", id="no point"),
        pytest.param("17.0", "is a number with a decimal point", id="float"),
        pytest.param("p2 ", "begins or ends with white space", id="blank"),
        pytest.param("\u00a0p2", "begins or ends with white space", id="no-break space"),
        pytest.param("\ufeffp2", "begins or ends with an invisible character", id="mark"),
        pytest.param("p2\u200b", "begins or ends with an invisible character", id="zero width"),
    ],
)
def test_ids_that_are_likely_mistakes_are_refused(player: str, why: str) -> None:
    """An id that an export has likely spoilt fails, unless the user allows it."""
    item = refused("wallet", ROW | {"externalPlayerId": player})
    assert item.message.startswith(f"externalPlayerId {why}")
    assert "--allow-odd-ids" in item.message
    assert ROW | {"externalPlayerId": player} == item.row
    allowed = mapped("wallet", ROW | {"externalPlayerId": player}, allow_odd_ids=True)
    assert player == allowed["externalPlayerId"]


@pytest.mark.parametrize(
    "player",
    [
        "12E4567890ABCDEF",
        "12E-5",
        "1E16",
        "nullable",
        "NaNa",
        "a b",
        "é",
        "1.5.2",
        "a/b",
        "x@y",
        "-1",
    ],
)
def test_other_ids_are_accepted(player: str) -> None:
    """An id that only resembles a mistake is accepted."""
    assert player == mapped("wallet", ROW | {"externalPlayerId": player})["externalPlayerId"]


@pytest.mark.parametrize("player", ["a\tb", "a\nb", ".", "..", "\x7f", "\x85", "a\x00b", ""])
def test_ids_that_no_call_can_name_are_refused(player: str) -> None:
    """An id that other calls refuse fails in imports too, whatever the options."""
    for allow in (False, True):
        item = refused("players", {"externalPlayerId": player}, allow_odd_ids=allow)
        assert item.message.startswith("externalPlayerId must not ")
    with pytest.raises(ValueError, match="externalPlayerId must not"):
        checks.path_segment("externalPlayerId", player)


def test_a_fixed_row_is_not_mapped_again() -> None:
    """A row of a failures file skips the mapping and the options, but not the checks."""
    options = ReadOptions(rename={"gold": "gems"}, skip_zero=True)
    mapping = make_mapping("wallet", WALLET, options=options)
    assert [Row(1, ROW, 1)] == mapping(Row(1, ROW, 1, mapped=True))
    [item] = mapping(Row(2, ROW | {"externalPlayerId": "NULL"}, 2, mapped=True))
    assert isinstance(item, Unreadable)


# Options


def test_keys_are_renamed_and_selected() -> None:
    """Keys are renamed or left out with a reason, and a name that no row has leaves a note."""
    options = ReadOptions(rename={"GO": "gold", "GX": "gas"}, only={"GO", "XP"}, skip_zero=True)
    mapping = make_mapping("wallet", options=options)
    rows = [("GO", 5), ("XP", "7"), ("GE", 9), ("GO", "0")]
    items = [
        each
        for n, (key, amount) in enumerate(rows, 1)
        for each in mapping(
            Row(n, {"externalPlayerId": "a", "economyKey": key, "amount": amount}, n)
        )
    ]
    assert [
        Row(1, ROW, 1),
        Row(2, ROW | {"economyKey": "XP", "amount": 7}, 2),
        LeftOut(3, "not_selected", "'GE' is not in only", 3),
        LeftOut(4, "zero", "amount is zero", 4),
    ] == items
    assert ["'GX' is in rename or only, but no row has it"] == mapping.notes


@pytest.mark.parametrize(
    ("kind", "columns", "preset", "options", "message"),
    [
        pytest.param("players", None, None, {"rename": {"a": "b"}}, "rename applies", id="rename"),
        pytest.param("wallet", None, None, {"id_column": "a"}, "id_column applies", id="id column"),
        pytest.param(
            "wallet",
            {"externalPlayerId": "a"},
            "playfab",
            {"id_column": "a"},
            "pass one of them",
            id="id column and mapping",
        ),
        pytest.param(
            "wallet", None, None, {"include": {"banned"}}, "only presets leave", id="include"
        ),
        pytest.param(
            "wallet",
            None,
            "firebase",
            {"include": {"banned"}},
            "the preset firebase leaves out no such rows",
            id="include of another platform",
        ),
    ],
)
def test_options_that_do_not_apply_are_refused(
    kind: Kind,
    columns: dict[str, str] | None,
    preset: str | None,
    options: dict[str, Any],
    message: str,
) -> None:
    """An option that would have no effect is refused."""
    with pytest.raises(ValueError, match=message):
        make_mapping(kind, columns, preset, ReadOptions(**options))


def test_text_becomes_an_object_where_it_is_one() -> None:
    """Text that holds a JSON object becomes that object; other text stays and fails the checks."""
    row = {"externalPlayerId": "a", "contextSnapshot": ' {"country": "PT"} '}
    assert mapped("players", row)["contextSnapshot"] == {"country": "PT"}
    for text in ("[1]", "PT", "{broken", '{"a": NaN}', '{"a": 1, "a": 2}'):
        made = mapped("players", row | {"contextSnapshot": text})
        assert made["contextSnapshot"] == text
        assert problem("players", made) is not None


def test_what_is_optional_is_left_out_where_it_is_empty() -> None:
    """An optional field with an empty value is left out."""
    row: dict[str, Any] = {"externalPlayerId": "a", "itemKey": None, "quantity": ""}
    empty: dict[str, Any] = {"parameters": "", "reason": None, "idempotencyKey": ""}
    assert mapped("inventory", row | empty) == row


def test_without_columns_other_fields_stay() -> None:
    """Without a mapping, a row keeps its other fields."""
    row = {"externalPlayerId": "a", "note": "", "level": "5", "more": None}
    assert mapped("players", row) == row


ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(ids, ids, st.integers(1, 2**53 - 1)), min_size=1, max_size=5))
def test_from_csv_ids_and_amounts_are_exact(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]]
) -> None:
    """Ids and amounts from CSV are mapped without a change."""
    path = tmp_path_factory.getbasetemp() / "exact.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("id", "key", "amount"), *rows])
    columns = {"externalPlayerId": "id", "economyKey": "key", "amount": "amount"}
    mapping = make_mapping("wallet", columns, options=ReadOptions(allow_odd_ids=True))
    made = [each for item in open_source(path) for each in mapping(item)]
    assert [item.row for item in made if isinstance(item, Row)] == [
        {"externalPlayerId": player, "economyKey": key, "amount": amount}
        for player, key, amount in rows
        if player not in (".", "..")
    ]


# The command line


def test_pairs_are_split_at_the_first_sign() -> None:
    """A `--map` pair is split at its first equals sign."""
    assert parse_map(
        ["externalPlayerId=a=b", "economyKey==gold", "amount=Virtual Currency.GC"]
    ) == {
        "externalPlayerId": "a=b",
        "economyKey": "=gold",
        "amount": "Virtual Currency.GC",
    }
    assert parse_map([]) == {}


@pytest.mark.parametrize("pair", ["amount", "=amount", "amount=", "", "="])
def test_a_pair_of_another_form_is_quoted(pair: str) -> None:
    """The error for a malformed pair quotes it."""
    message = f"^{re.escape(repr(pair))} is not a mapping: write field=column, such as"
    with pytest.raises(ValueError, match=message):
        parse_map([pair])


def test_a_field_is_mapped_once() -> None:
    """A field that is mapped twice is refused."""
    with pytest.raises(ValueError, match=r"^'amount=b' maps amount a second time, after 'a'$"):
        parse_map(["amount=a", "amount=b"])
