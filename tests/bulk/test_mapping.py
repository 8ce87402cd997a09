"""Rows of another platform, turned into the contract's."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraty_admin._bulk._mapping import make_mapping, parse_map
from kraty_admin._bulk._readers import read_file
from kraty_admin._bulk._rows import Kind, Read, Row, Unreadable
from kraty_admin._bulk._validate import problem

WALLET = {"externalPlayerId": "id", "economyKey": "=gold", "amount": "amount"}


def mapped(
    kind: Kind,
    source: dict[str, Any],
    columns: Mapping[str, str] | None = None,
    preset: str | None = None,
) -> dict[str, Any]:
    """What one row becomes."""
    [item] = make_mapping(kind, columns, preset)(Row(7, source))
    assert isinstance(item, Row)
    assert item.number == 7
    return item.row


def test_a_file_becomes_rows_of_the_contract(tmp_path: Path) -> None:
    """Columns of a file are renamed and typed as the contract says."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"PlayFabId,GC,Name\n00123, 5 ,x\n00124,7\n0125,-3,y\n")
    mapping = make_mapping(
        "wallet", {"externalPlayerId": "PlayFabId", "economyKey": "=gold", "amount": "GC"}
    )
    items = [each for item in read_file(path) for each in mapping(item)]
    assert [item.number for item in items] == [2, 3, 4]
    assert items[0] == Row(2, {"externalPlayerId": "00123", "economyKey": "gold", "amount": 5})
    assert isinstance(items[1], Unreadable)
    assert items[2] == Row(4, {"externalPlayerId": "0125", "economyKey": "gold", "amount": -3})


def test_what_is_unreadable_is_passed_on() -> None:
    """A mapping passes unreadable lines on unchanged."""
    bad: Read = Unreadable(3, "unreadable_row", "no", "text")
    for mapping in (make_mapping("wallet"), make_mapping("wallet", WALLET)):
        assert mapping(bad) == [bad]
    # It is not the first row, either: the columns are looked up in the next one.
    mapping = make_mapping("wallet", WALLET)
    mapping(bad)
    with pytest.raises(ValueError, match="no column"):
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
    with pytest.raises(ValueError, match=r"^no column 'PlayFabID': there are PlayFabId, Name$"):
        mapping(Row(2, {"PlayFabId": "a", "Name": "b"}))
    mapping = make_mapping("wallet", WALLET | {"amount": "Currency.GC"})
    with pytest.raises(ValueError, match=r"^no column 'Currency\.GC': there are id$"):
        mapping(Row(2, {"id": "a"}))


def test_a_column_that_a_later_row_lacks_is_left_out() -> None:
    """A row that lacks a column is sent without its field."""
    mapping = make_mapping("wallet", WALLET)
    assert mapping(Row(1, {"id": "a", "amount": 1}))
    assert mapping(Row(2, {"id": "b"})) == [Row(2, {"externalPlayerId": "b", "economyKey": "gold"})]


@pytest.mark.parametrize(
    ("kind", "columns", "message"),
    [
        (
            "wallet",
            {"currency": "x"},
            "wallet rows have no field 'currency': there are externalPlayerId, economyKey, amount,"
            " reason, idempotencyKey",
        ),
        (
            "players",
            {"country": "x"},
            "players rows have no field 'country': there are externalPlayerId, contextSnapshot (or"
            " contextSnapshot.<member>), idempotencyKey",
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
        ("gold", None, "'gold' is no kind of row: there are players, wallet, inventory"),
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
    """An amount in text or as a float becomes an integer."""
    for kind, name in (("wallet", "amount"), ("inventory", "quantity")):
        made = mapped(cast("Kind", kind), {name: value})[name]
        assert (made, type(made)) == (whole, int)


@pytest.mark.parametrize(
    "value",
    [
        *("", "5.0", "1e3", "1,000", "1_000", "\u0665", "5 5", "--5", "0x5", "9" * 401),
        *(5.5, float(2**53), float("inf"), True, None, [5], {"a": 5}),
    ],
)
def test_a_bad_amount_is_kept_for_validation(value: object) -> None:
    """A value that is no amount is kept, so that validation rejects it."""
    row = mapped("wallet", {"externalPlayerId": "a", "economyKey": "b", "amount": value})
    assert row["amount"] is value
    assert problem("wallet", row) is not None


@pytest.mark.parametrize("name", ["externalPlayerId", "economyKey", "idempotencyKey"])
def test_ids_stay_as_they_are(name: str) -> None:
    """An id keeps its text, with zeros and spaces."""
    for value in ("00123", " 5 ", "5.0", "é", "=x"):
        assert mapped("wallet", {name: value})[name] == value
    assert mapped("wallet", {name: 123})[name] == "123"
    assert mapped("wallet", {name: -(10**20)})[name] == "-100000000000000000000"
    for odd in (True, 5.0, [1], 10**5000):
        assert mapped("wallet", {name: odd})[name] is odd


def test_text_becomes_an_object_where_it_is_one() -> None:
    """Text that holds a JSON object becomes that object."""
    row = {"externalPlayerId": "a", "contextSnapshot": ' {"country": "PT"} '}
    assert mapped("players", row)["contextSnapshot"] == {"country": "PT"}
    for text in ("[1]", "PT", "{broken", '{"a": NaN}', '{"a": 1, "a": 2}'):
        made = mapped("players", row | {"contextSnapshot": text})
        assert made["contextSnapshot"] == text
        assert problem("players", made) is not None


def test_what_is_optional_is_left_out_where_it_is_empty() -> None:
    """An optional field with an empty value is left out."""
    row: dict[str, Any] = {"externalPlayerId": "", "itemKey": None, "quantity": ""}
    empty: dict[str, Any] = {"parameters": "", "reason": None, "idempotencyKey": ""}
    assert mapped("inventory", row | empty) == row


def test_without_columns_other_fields_stay() -> None:
    """Without a mapping, a row keeps its other fields."""
    row = {"externalPlayerId": "a", "note": "", "level": "5", "more": None}
    assert mapped("players", row) == row


ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(ids, ids, st.integers(1, 2**53 - 1)), min_size=1, max_size=5))
def test_from_csv_ids_and_amounts_are_exact(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]]
) -> None:
    """Ids and amounts from CSV arrive without a change."""
    path = tmp_path_factory.getbasetemp() / "exact.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("id", "key", "amount"), *rows])
    columns = {"externalPlayerId": "id", "economyKey": "key", "amount": "amount"}
    mapping = make_mapping("wallet", columns)
    made = [each for item in read_file(path) for each in mapping(item)]
    assert [item.row for item in made if isinstance(item, Row)] == [
        {"externalPlayerId": player, "economyKey": key, "amount": amount}
        for player, key, amount in rows
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
    message = f"^{re.escape(repr(pair))} is no mapping: write field=column, such as"
    with pytest.raises(ValueError, match=message):
        parse_map([pair])


def test_a_field_is_mapped_once() -> None:
    """A field that is mapped twice is refused."""
    with pytest.raises(ValueError, match=r"^'amount=b' maps amount again: it is 'a' already$"):
        parse_map(["amount=a", "amount=b"])
