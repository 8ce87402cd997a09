"""Checking rows against the contract, without a server."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import SCHEMAS
from kraty_admin._bulk._rows import Kind
from kraty_admin._bulk._validate import are_plain, fields, identities, problem

KINDS: tuple[Kind, ...] = get_args(Kind)
GOOD: Mapping[Kind, dict[str, Any]] = {
    "players": {"externalPlayerId": "p"},
    "wallet": {"externalPlayerId": "p", "economyKey": "gold", "amount": 1},
    "inventory": {"externalPlayerId": "p", "itemKey": "sword", "quantity": 2**53 - 1},
}
FULL: Mapping[Kind, dict[str, Any]] = {
    "players": {"contextSnapshot": {"country": "PT", "deep": [{}]}, "idempotencyKey": "k"},
    "wallet": {"reason": "", "idempotencyKey": "k"},
    "inventory": {"parameters": {}, "reason": "é", "idempotencyKey": "k"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_the_contract_pass(kind: Kind) -> None:
    """A row as the contract defines it has no errors."""
    assert problem(kind, GOOD[kind]) is None
    assert problem(kind, GOOD[kind] | FULL[kind]) is None
    assert problem(kind, GOOD[kind] | {"more": [1.5, None, True, "x", {"y": "é"}]}) is None


@pytest.mark.parametrize("key", ["k ", " k"])
def test_a_key_with_white_space_among_others(key: str) -> None:
    """A chunk of rows with a key that begins or ends with a blank is not called valid."""
    rows = [GOOD["wallet"] | {"idempotencyKey": each} for each in ("a", key, "b c")]
    assert not are_plain("wallet", rows)
    assert are_plain("wallet", [rows[0], rows[2]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_is_required_is_missed(kind: Kind) -> None:
    """A missing required field is an error."""
    for name in GOOD[kind]:
        row = {key: value for key, value in GOOD[kind].items() if key != name}
        found = problem(kind, row)
        assert found is not None
        assert found.startswith(f"{name} is missing; it must be ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"externalPlayerId": ""}, "externalPlayerId is empty; it must be text of at least 1"),
        ({"externalPlayerId": 5}, "externalPlayerId is a whole number; it must be text of"),
        ({"externalPlayerId": None}, "externalPlayerId is null; it must be text of at least 1"),
        ({"economyKey": b"x"}, "economyKey is of type bytes; it must be text of at least 1"),
        ({"economyKey": "\ud800"}, "economyKey holds a lone surrogate, which UTF-8 cannot hold"),
        ({"idempotencyKey": ""}, "idempotencyKey is empty; it must be text of at least 1"),
        ({"idempotencyKey": None}, "idempotencyKey is null; it must be text of at least 1"),
        ({"idempotencyKey": "k "}, "idempotencyKey begins or ends with white space"),
        ({"idempotencyKey": "\xa0k"}, "idempotencyKey begins or ends with white space"),
        ({"reason": 5}, "reason is a whole number; it must be text"),
        ({"amount": "5"}, "amount is text; it must be a whole number from 1 to 9007199254740991"),
        ({"amount": ""}, "amount is empty; it must be a whole number from 1 to 9007199254740991"),
        ({"amount": True}, "amount is true or false; it must be a whole number from 1 to"),
        ({"amount": 5.0}, "amount is a number with a decimal point; it must be a whole number"),
        ({"amount": 0}, "amount is out of range; it must be a whole number from 1 to"),
        ({"amount": -1}, "amount is out of range; it must be a whole number from 1 to"),
        ({"amount": 2**53}, "amount is out of range; it must be a whole number from 1 to"),
        ({"more": {1, 2}}, "'more' holds a value that JSON cannot hold"),
        ({"more": float("nan")}, "'more' holds a value that JSON cannot hold"),
        ({"more\udc80": 1}, r"the name of the field 'more\udc80' holds a lone surrogate"),
        ({5: 1}, "a field's name is a whole number; it must be text"),
    ],
)
def test_a_wrong_value_is_reported(change: dict[str, Any], message: str) -> None:
    """A wrong value is an error that says what would be right."""
    found = problem("wallet", GOOD["wallet"] | change)
    assert found is not None
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{}", "contextSnapshot is text; it must be an object"),
        ([], "contextSnapshot is a list; it must be an object"),
        (None, "contextSnapshot is null; it must be an object"),
        (
            {"a": float("inf")},
            "contextSnapshot holds a value that JSON cannot hold; it must be an object of",
        ),
        (
            {"a": {1: 2}},
            "contextSnapshot holds a value that JSON cannot hold; it must be an object of",
        ),
        (
            {"a": ["\udfff"]},
            "contextSnapshot holds a value that JSON cannot hold; it must be an object of",
        ),
    ],
)
def test_an_object_must_be_one(value: object, message: str) -> None:
    """A field that holds an object accepts nothing else."""
    found = problem("players", GOOD["players"] | {"contextSnapshot": value})
    assert found is not None
    assert found.startswith(message)


@pytest.mark.parametrize("kind", KINDS)
def test_no_message_holds_a_value(kind: Kind) -> None:
    """No message contains a value of the row."""
    secret = "s3cr3t"
    for name in fields(kind):
        for value in (secret, [secret], {secret: {1: secret}}, secret.encode(), {secret}):
            assert secret not in str(problem(kind, GOOD[kind] | {name: value}))
    assert secret not in str(problem(kind, GOOD[kind] | {"more": {secret}}))


# The contract


ROW_KEYWORDS = {"type", "description", "required", "properties"}
FIELD_KEYWORDS = {
    "string": {"type", "description", "minLength"},
    "integer": {"type", "description", "minimum", "maximum"},
    "object": {"type", "description", "additionalProperties"},
}
"""What `problem` heeds of a schema of JSON."""


def ignored(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keywords of a row's schema that `problem` would ignore."""
    yield from sorted(schema.keys() - ROW_KEYWORDS)
    if schema.get("type") != "object":
        yield "type"
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in properties:
            yield f"required {name}"
    for name, each in properties.items():
        known = FIELD_KEYWORDS.get(each.get("type", ""))
        if known is None:
            yield f"{name}.type"
            continue
        yield from (f"{name}.{keyword}" for keyword in sorted(each.keys() - known))
        if each.get("additionalProperties", True) is not True:
            yield f"{name}.additionalProperties"


@pytest.mark.parametrize("name", ["MigratePlayerRow", "MigrateWalletRow", "MigrateInventoryRow"])
def test_everything_that_the_contract_says_is_heeded(name: str) -> None:
    """The checks know every keyword in the contract's schemas of rows."""
    assert [] == list(ignored(SCHEMAS[name]))


def test_what_a_later_contract_may_say_is_seen() -> None:
    """A keyword that the checks would ignore is found."""
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["a", "gone"],
        "minProperties": 1,
        "properties": {
            "a": {"type": "string", "pattern": "x", "minLength": 1},
            "b": {"type": "integer", "multipleOf": 5, "minLength": 1},
            "c": {"type": "object", "additionalProperties": False},
            "d": {"type": "array"},
            "e": {"$ref": "#/x"},
        },
    }
    assert list(ignored(schema)) == [
        "minProperties",
        "required gone",
        "a.pattern",
        "b.minLength",
        "b.multipleOf",
        "c.additionalProperties",
        "d.type",
        "e.type",
    ]
    assert list(ignored({})) == ["type"]


def test_the_fields_are_the_contracts() -> None:
    """The known fields are those of the contract."""
    raw = (files("kraty_server_api") / "openapi.server.json").read_bytes()
    schemas = json.loads(raw)["components"]["schemas"]
    requests = {
        "players": "MigratePlayersRequest",
        "wallet": "MigrateWalletRequest",
        "inventory": "MigrateInventoryRequest",
    }
    for kind in KINDS:
        items = schemas[requests[kind]]["properties"]["rows"]["items"]["$ref"]
        schema = schemas[items.rpartition("/")[2]]
        assert list(fields(kind)) == list(schema["properties"])
        needed = [name for name, field in fields(kind).items() if field.required]
        assert needed == [name for name in schema["required"] if name != "idempotencyKey"]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**54) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def _is_id(value: object) -> bool:
    """Return whether other calls of the SDK take an id; the contract does not say."""
    return isinstance(value, str) and value not in (".", "..") and not any(map(_is_control, value))


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_it_agrees_with_a_validator_of_the_contract(kind: Kind, data: st.DataObject) -> None:
    """The checks agree with a JSON Schema validator."""
    validators = pytest.importorskip("jsonschema_rs")
    raw = (files("kraty_server_api") / "openapi.server.json").read_bytes()
    name = {"players": "Player", "wallet": "Wallet", "inventory": "Inventory"}[kind]
    schema = json.loads(raw)["components"]["schemas"][f"Migrate{name}Row"]
    row = GOOD[kind] | {"idempotencyKey": "k"}
    changed = st.dictionaries(st.sampled_from(list(fields(kind))), json_values, max_size=2)
    row |= data.draw(changed)
    try:
        json.dumps(row, allow_nan=False)
    except ValueError:
        assert problem(kind, row) is not None
        return
    valid = validators.validator_for(schema).is_valid(row)
    # 5.0 is whole to JSON Schema; servers in other languages may not take it.
    numbers = (row.get("amount"), row.get("quantity"))
    if not any(isinstance(number, float) for number in numbers):
        assert (problem(kind, row) is None) is (
            valid and all(map(_is_id, next(iter(identities(kind, [row])))))
        )


# Ids


def test_what_a_row_is_about() -> None:
    """A row is identified by its player and its currency or item."""
    assert list(identities("players", [GOOD["players"]])) == [("p",)]
    assert list(identities("wallet", [GOOD["wallet"]])) == [("p", "gold")]
    assert list(identities("inventory", [GOOD["inventory"]])) == [("p", "sword")]


@pytest.mark.parametrize("odd", ["a\tb", "a\nb", ".", "..", "\x7f", "\x85", "a\x00b"])
def test_ids_that_other_calls_refuse(odd: str) -> None:
    """A player that no other call could name could not be erased, so its row fails."""
    why = problem("players", {"externalPlayerId": odd})
    assert why is not None
    assert why.startswith("externalPlayerId must not")
    assert problem("wallet", GOOD["wallet"] | {"economyKey": odd}) is not None
    assert problem("inventory", GOOD["inventory"] | {"itemKey": odd}) is not None


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_plain_rows_are_valid(kind: Kind, data: st.DataObject) -> None:
    """Rows that the fast check accepts are valid one by one."""
    row = GOOD[kind] | {"idempotencyKey": "k"}
    changed = st.dictionaries(st.sampled_from(list(fields(kind))), json_values, max_size=1)
    rows = [row, row | data.draw(changed)]
    if are_plain(kind, rows):
        assert [None, None] == [problem(kind, each) for each in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_usual_rows_are_plain(kind: Kind) -> None:
    """The fast check accepts ordinary rows, with or without keys, and no row with an empty id."""
    for row in (GOOD[kind], GOOD[kind] | {"idempotencyKey": "k"}):
        assert are_plain(kind, [row, row])
        assert not are_plain(kind, [row, row | {"externalPlayerId": ""}])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_all_lack_a_field_are_not_plain(kind: Kind) -> None:
    """A field that is required is missed, although all rows have the same fields."""
    row = {name: value for name, value in GOOD[kind].items() if name != "externalPlayerId"}
    assert not are_plain(kind, [row, row])


@pytest.mark.parametrize("value", [True, None])
def test_a_field_that_the_contract_does_not_know_may_hold(value: object) -> None:
    """A field that the contract does not know may hold any JSON value."""
    assert problem("wallet", GOOD["wallet"] | {"later": value}) is None
