"""The comparison of two contracts lists each change and whether it breaks callers."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compare import RULES, ContractError, compare
from compare import schemas as compare_schemas
from compare.__main__ import main
from compare.schemas import PRESENCE, Schemas

CODEGEN = Path(__file__).parents[2] / "codegen"

Node = dict[str, Any]

SENT = "BREAKS", "ok    "
READ = "ok    ", "BREAKS"
BOTH = "BREAKS", "BREAKS"
NONE = "ok    ", "ok    "


def ref(name: str) -> Node:
    return {"$ref": f"#/components/schemas/{name}"}


def json_body(schema: object, **more: object) -> Node:
    return {"content": {"application/json": {"schema": schema}}, **more}


def contract(operation: Node | None = None, *, path: str = "/things", **more: object) -> Node:
    """Return a contract of one operation, `POST /things`."""
    post = {"operationId": "make", **(operation or {})}
    return {"openapi": "3.1.0", "paths": {path: {"post": post}}, **more}


def exchanging(schema: object, **components: object) -> Node:
    """Return a contract that both takes and returns the schema as field `x`."""
    body = json_body({"type": "object", "properties": {"x": schema}})
    operation = {"requestBody": body, "responses": {"200": body}}
    return contract(operation, components={"schemas": components})


def lines(old: Node, new: Node) -> list[str]:
    return [str(change) for change in compare(old, new)]


@attrs.frozen
class Case:
    """An edit of a schema; `changes` are (verdicts, step below `x`, message)."""

    id: str
    old: object
    new: object
    changes: list[tuple[tuple[str, str], str, str]]
    components: Node = attrs.Factory(dict[str, Any])
    new_components: Node | None = None

    @property
    def pair(self) -> tuple[Node, Node]:
        after = self.components if self.new_components is None else self.new_components
        return exchanging(self.old, **self.components), exchanging(self.new, **after)


def bound(keyword: str, old: object, new: object, tight: str, loose: str) -> list[Case]:
    """Return two cases: a bound is tightened, and it is loosened."""
    less = {"type": "string"} if old is None else {"type": "string", keyword: old}
    more = {"type": "string", keyword: new}
    return [
        Case(f"{keyword} tightened", less, more, [(SENT, "", f"{keyword} {tight}")]),
        Case(f"{keyword} loosened", more, less, [(NONE, "", f"{keyword} {loose}")]),
    ]


def fields(*required: str, **properties: object) -> Node:
    return {"type": "object", "properties": properties, "required": list(required)}


def tagged(tag: str, **properties: object) -> Node:
    return fields("kind", kind={"const": tag}, **properties)


INT: Node = {"type": "integer"}
TEXT: Node = {"type": "string"}
COIN, ITEM = tagged("coin", n=INT), tagged("item", n=INT)
LIMITED: Node = {"type": "integer", "maximum": 5}
TAGS = {"coin": "#/components/schemas/Coin", "item": "Item"}
PLAIN_TAG = fields("kind", kind=TEXT, n=INT)


def union(*options: object, word: str = "oneOf", mapping: object = None) -> Node:
    discriminator = {"discriminator": {"propertyName": "kind", "mapping": mapping}}
    return {word: list(options), **(discriminator if mapping else {})}


CASES = [
    # Fields.
    Case("field added", fields(), fields(a=INT), [(NONE, ".a", "added")]),
    Case("field removed", fields(a=INT), fields(), [(BOTH, ".a", "removed")]),
    Case(
        "required field added", fields(), fields("a", a=INT), [(SENT, ".a", "added and required")]
    ),
    Case("required field removed", fields("a", a=INT), fields(), [(BOTH, ".a", "removed")]),
    Case("became required", fields(a=INT), fields("a", a=INT), [(SENT, ".a", "became required")]),
    Case("became optional", fields("a", a=INT), fields(a=INT), [(READ, ".a", "became optional")]),
    Case(
        "required without a property",
        fields(),
        {"type": "object", "required": ["a"]},
        [(SENT, ".a", "added and required")],
    ),
    Case(
        "became read-only",
        fields(a=INT),
        fields(a={**INT, "readOnly": True}),
        [(("BREAKS", ""), ".a", "removed")],
    ),
    Case(
        "became write-only",
        fields(a=INT),
        fields(a={**INT, "writeOnly": True}),
        [(("", "BREAKS"), ".a", "removed")],
    ),
    # Types.
    Case("widened", INT, {"type": "number"}, [(READ, "", "type widened from integer to number")]),
    Case("narrowed", {"type": "number"}, INT, [(SENT, "", "type narrowed from number to integer")]),
    Case("another type", TEXT, LIMITED, [(BOTH, "", "type changed from string to integer")]),
    Case(
        "type added to a list",
        {"type": ["string"]},
        {"type": ["integer", "string"]},
        [(READ, "", "type widened from string to integer or string")],
    ),
    Case("type given", {}, INT, [(SENT, "", "type narrowed from anything to integer")]),
    Case("type dropped", INT, {}, [(READ, "", "type widened from integer to anything")]),
    Case("null added", TEXT, {"type": ["string", "null"]}, [(READ, "", "became nullable")]),
    Case("null removed", {"type": ["string", "null"]}, TEXT, [(SENT, "", "no longer nullable")]),
    Case(
        "null added by oneOf", TEXT, union(TEXT, {"type": "null"}), [(READ, "", "became nullable")]
    ),
    Case(
        "null added by anyOf",
        ref("Coin"),
        union(ref("Coin"), {"type": "null"}, word="anyOf"),
        [(READ, "", "became nullable")],
        {"Coin": COIN},
    ),
    Case("null written otherwise", {"type": ["string", "null"]}, union(TEXT, {"type": "null"}), []),
    Case(
        "only null",
        {"type": "null"},
        TEXT,
        [(SENT, "", "no longer nullable"), (READ, "", "type widened from null to string")],
    ),
    Case(
        "date-time is a type",
        {"type": "string", "format": "date-time"},
        TEXT,
        [(READ, "", "type widened from date-time to string")],
    ),
    Case(
        "date-time demanded",
        TEXT,
        {"type": "string", "format": "date-time"},
        [(SENT, "", "type narrowed from string to date-time")],
    ),
    Case(
        "date-time became a date",
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "date"},
        [(BOTH, "", "type changed from date-time to date")],
    ),
    Case(
        "date became a uuid",
        {"type": "string", "format": "date"},
        {"type": "string", "format": "uuid"},
        [(SENT, "", 'format "uuid" added'), (READ, "", "type widened from date to string")],
    ),
    Case("type left out", {"properties": {"a": INT}}, fields(a=INT), []),
    Case("array left out", {"items": INT}, {"type": "array", "items": INT}, []),
    # Values.
    Case(
        "enum value added",
        {"enum": ["a"]},
        {"enum": ["a", "b"]},
        [(NONE, "", 'enum value "b" added')],
    ),
    Case(
        "enum value removed",
        {"enum": ["a", "b"]},
        {"enum": ["b"]},
        [(SENT, "", 'enum value "a" removed')],
    ),
    Case(
        "enum value renamed",
        {"enum": ["a", "b", "c"]},
        {"enum": ["b", "d", "e"]},
        [
            (BOTH, "", 'enum value "a" removed, and "d", "e" added'),
            (BOTH, "", 'enum value "c" removed, and "d", "e" added'),
        ],
    ),
    Case("enum reordered", {"enum": ["a", "b"]}, {"enum": ["b", "a"]}, []),
    Case("enum added", TEXT, {**TEXT, "enum": ["a", "b"]}, [(SENT, "", 'limited to "a", "b"')]),
    Case("enum dropped", {**TEXT, "enum": ["a"]}, TEXT, [(NONE, "", 'no longer limited to "a"')]),
    Case(
        "const changed", {"const": 1}, {"const": 2}, [(BOTH, "", "only value changed from 1 to 2")]
    ),
    Case("const became an enum", {"const": "a"}, {"enum": ["a"]}, []),
    Case(
        "true is not 1",
        {"enum": [1, True]},
        {"enum": [1]},
        [
            (SENT, "", "enum value true removed"),
            (SENT, "", "type narrowed from boolean or integer to integer"),
        ],
    ),
    Case(
        "default changed",
        {**INT, "default": 1},
        {**INT, "default": 2},
        [(NONE, "", "default changed from 1 to 2")],
    ),
    Case(
        "default added", INT, {**INT, "default": 1}, [(NONE, "", "default changed from null to 1")]
    ),
    Case("deprecated", INT, {**INT, "deprecated": True}, [(NONE, "", "deprecated")]),
    Case("undeprecated", {**INT, "deprecated": True}, INT, [(NONE, "", "no longer deprecated")]),
    Case("wording", {**INT, "description": "a"}, {**INT, "title": "b", "examples": [1]}, []),
    Case(
        "null is no enum value",
        {"enum": ["a", None]},
        {"enum": ["a"]},
        [(SENT, "", "no longer nullable")],
    ),
    # Bounds.
    *bound("minimum", 1, 2, "raised from 1 to 2", "lowered from 2 to 1"),
    *bound("maximum", 2, 1, "lowered from 2 to 1", "raised from 1 to 2"),
    *bound("exclusiveMinimum", 0, 0.5, "raised from 0 to 0.5", "lowered from 0.5 to 0"),
    *bound("exclusiveMaximum", 2, 1, "lowered from 2 to 1", "raised from 1 to 2"),
    *bound("minLength", None, 1, "raised from 0 to 1", "lowered from 1 to 0"),
    *bound("maxLength", None, 9, "9 added", "9 removed"),
    *bound("minItems", 1, 2, "raised from 1 to 2", "lowered from 2 to 1"),
    *bound("maxItems", 1000, 10, "lowered from 1000 to 10", "raised from 10 to 1000"),
    *bound("minProperties", 1, 2, "raised from 1 to 2", "lowered from 2 to 1"),
    *bound("maxProperties", 2, 1, "lowered from 2 to 1", "raised from 1 to 2"),
    *bound("multipleOf", 0.1, 0.5, "raised from 0.1 to 0.5", "lowered from 0.5 to 0.1"),
    *bound(
        "uniqueItems",
        None,
        True,
        "changed from false to true",
        "changed from true to false",
    ),
    *bound("pattern", None, "^a$", '"^a$" added', '"^a$" removed'),
    *bound("format", None, "uuid", '"uuid" added', '"uuid" removed'),
    Case(
        "other pattern",
        {**TEXT, "pattern": "a"},
        {**TEXT, "pattern": "b"},
        [(SENT, "", 'pattern changed from "a" to "b"')],
    ),
    Case(
        "other format",
        {**TEXT, "format": "uri"},
        {**TEXT, "format": "uuid"},
        [(SENT, "", 'format changed from "uri" to "uuid"')],
    ),
    Case(
        "other multiple",
        {**INT, "multipleOf": 3},
        {**INT, "multipleOf": 2},
        [(SENT, "", "multipleOf lowered from 3 to 2")],
    ),
    Case("zero is the default", TEXT, {**TEXT, "minLength": 0}, []),
    # Containers.
    Case(
        "items",
        {"type": "array", "items": INT},
        {"type": "array", "items": LIMITED},
        [(SENT, "[]", "maximum 5 added")],
    ),
    Case(
        "items given",
        {"type": "array"},
        {"type": "array", "items": INT},
        [(SENT, "[]", "type narrowed from anything to integer")],
    ),
    Case(
        "map",
        {"additionalProperties": INT},
        {"additionalProperties": LIMITED},
        [(SENT, ".*", "maximum 5 added")],
    ),
    Case(
        "map gone",
        {"additionalProperties": INT},
        {"additionalProperties": False},
        [(BOTH, ".*", "removed")],
    ),
    Case(
        "closed",
        fields(),
        {**fields(), "additionalProperties": False},
        [(SENT, "", "fields other than the listed ones forbidden")],
    ),
    Case(
        "closed late",
        fields(),
        {**fields(), "unevaluatedProperties": False},
        [(SENT, "", "fields other than the listed ones forbidden")],
    ),
    Case(
        "opened",
        {**fields(), "additionalProperties": False},
        fields(),
        [(NONE, "", "fields other than the listed ones allowed")],
    ),
    Case("open said twice", fields(), {**fields(), "additionalProperties": {}}, []),
    Case(
        "unanalysed keyword",
        INT,
        {**INT, "not": {"const": 3}},
        [(BOTH, "", "not changed, which has to be judged by hand")],
    ),
    Case(
        "nothing is allowed", {}, False, [(BOTH, "", "not changed, which has to be judged by hand")]
    ),
    # Unions.
    Case(
        "branch added",
        union(ref("Coin")),
        union(ref("Coin"), ref("Item")),
        [(NONE, "<Item>", "alternative added")],
        {"Coin": COIN, "Item": ITEM},
    ),
    Case(
        "branch removed",
        union(ref("Coin"), ref("Item")),
        union(ref("Item")),
        [(SENT, "<Coin>", "alternative removed")],
        {"Coin": COIN, "Item": ITEM},
    ),
    Case(
        "branches reordered",
        union(ref("Coin"), ref("Item")),
        union(ref("Item"), ref("Coin")),
        [],
        {"Coin": COIN, "Item": ITEM},
    ),
    Case(
        "scalar branch added",
        TEXT,
        union(TEXT, INT, word="anyOf"),
        [(READ, "<#1>", "type widened from string to integer or string")],
    ),
    Case(
        "shape became a union",
        ref("Coin"),
        union(ref("Coin"), ref("Item")),
        [(READ, "<Item>", "alternative added to what was a single shape")],
        {"Coin": COIN, "Item": ITEM},
    ),
    Case(
        "paired by tag",
        union(ref("Coin"), ref("Item"), mapping=TAGS),
        union(ref("Item"), ref("Money"), mapping={"coin": "Money", "item": "Item"}),
        [(SENT, "<coin>.n", "maximum 5 added")],
        {"Coin": PLAIN_TAG, "Item": PLAIN_TAG, "Money": fields("kind", kind=TEXT, n=LIMITED)},
    ),
    Case(
        "tag changed",
        union(ref("Coin"), ref("Item"), mapping=TAGS),
        union(ref("Coin"), ref("Item"), mapping={"gold": "Coin", "item": "Item"}),
        [(BOTH, "<gold>.kind", 'only value changed from "coin" to "gold"')],
        {"Coin": PLAIN_TAG, "Item": PLAIN_TAG},
    ),
    Case(
        "paired by component",
        union(ref("Coin"), ref("Item")),
        union(ref("Item"), ref("Coin")),
        [(SENT, "<Coin>.n", "maximum 5 added")],
        {"Coin": fields(n=INT), "Item": ITEM},
        {"Coin": fields(n=LIMITED), "Item": ITEM},
    ),
    Case(
        "paired by constant",
        union(COIN, ITEM),
        union(ITEM, tagged("coin", n=LIMITED)),
        [(SENT, "<coin>.n", "maximum 5 added")],
    ),
    Case(
        "paired by equality",
        union(fields(a=INT), fields(b=INT)),
        union(fields(b=INT), fields(a=INT), fields(c=INT)),
        [(NONE, "<#2>", "alternative added")],
    ),
    Case(
        "paired by type",
        union(TEXT, INT),
        union(LIMITED, {**TEXT, "maxLength": 3}),
        [(SENT, "<#0>", "maximum 5 added"), (SENT, "<#1>", "maxLength 3 added")],
    ),
    Case(
        "paired by position",
        union(INT, TEXT),
        union({"type": "number"}, {"type": "string"}),
        [(READ, "<#0>", "type widened from integer to number")],
    ),
    Case(
        "another tag is another branch",
        union(COIN, ITEM),
        union(COIN, tagged("crate", n=INT)),
        [(NONE, "<crate>", "alternative added"), (SENT, "<item>", "alternative removed")],
    ),
    Case("union of one is the schema", TEXT, union(TEXT), []),
    Case(
        "what stands around a union",
        {**union(COIN, ITEM), "properties": {"a": INT}},
        {**union(COIN, ITEM), "properties": {"a": LIMITED}},
        [(SENT, "<coin>.a", "maximum 5 added"), (SENT, "<item>.a", "maximum 5 added")],
    ),
    Case(
        "nullable shape became a union",
        union(ref("Coin"), {"type": "null"}),
        union(ref("Coin"), ref("Item"), {"type": "null"}),
        [(READ, "<Item>", "alternative added to what was a single shape")],
        {"Coin": COIN, "Item": ITEM},
    ),
    Case(
        "scalar of two patterns",
        TEXT,
        union({**TEXT, "pattern": "a"}, {**TEXT, "pattern": "b"}),
        [
            (SENT, "", "values of several alternatives are no longer accepted"),
            (SENT, "<#0>", 'pattern "a" added'),
            (NONE, "<#1>", "alternative added"),
        ],
    ),
    Case(
        "several tags of one branch",
        union(ref("Coin"), ref("Item"), mapping={"coin": "Coin", "gold": "Coin", "item": "Item"}),
        union(
            ref("Money"), ref("Item"), mapping={"gold": "Money", "coin": "Money", "item": "Item"}
        ),
        [(SENT, "<coin/gold>.n", "maximum 5 added")],
        {"Coin": PLAIN_TAG, "Item": PLAIN_TAG, "Money": fields("kind", kind=TEXT, n=LIMITED)},
    ),
    Case(
        "tags left to the names",
        {**union(ref("Coin"), ref("Item")), "discriminator": {"propertyName": "kind"}},
        union(ref("Coin"), ref("Item")),
        [],
        {"Coin": PLAIN_TAG, "Item": PLAIN_TAG},
    ),
    Case(
        "an enum is no tag",
        union(fields(k={"enum": ["a", "b"]}, n=INT), TEXT),
        union(fields(k={"enum": ["a", "b"]}, n=LIMITED), TEXT),
        [(SENT, "<#0>.n", "maximum 5 added")],
    ),
    Case(
        "union became exclusive",
        union(fields("a", a=INT), fields("b", b=INT), word="anyOf"),
        union(fields("a", a=INT), fields("b", b=INT)),
        [(SENT, "", "values of several alternatives are no longer accepted")],
    ),
    Case(
        "union no longer exclusive",
        union(fields("a", a=INT), fields("b", b=INT)),
        union(fields("a", a=INT), fields("b", b=INT), word="anyOf"),
        [(NONE, "", "values of several alternatives are accepted")],
    ),
    Case(
        "what was required together is exclusive",
        {**fields(a=INT, b=INT), "required": ["a", "b"]},
        {**fields(a=INT, b=INT), "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        [
            (SENT, "", "values of several alternatives are no longer accepted"),
            (READ, "<#0>.b", "became optional"),
            (READ, "<#1>", "alternative added to what was a single shape"),
        ],
    ),
    Case("exclusive, but apart", union(COIN, ITEM, word="anyOf"), union(COIN, ITEM), []),
    Case(
        "discriminator renamed",
        {**union(ref("Coin"), ref("Item")), "discriminator": {"propertyName": "kind"}},
        {**union(ref("Coin"), ref("Item")), "discriminator": {"propertyName": "type"}},
        [
            (BOTH, "<Coin>", "discriminator renamed from kind to type"),
            (BOTH, "<Item>", "discriminator renamed from kind to type"),
        ],
        {"Coin": PLAIN_TAG, "Item": PLAIN_TAG},
    ),
    Case(
        "a branch that extends its union",
        ref("Pet"),
        ref("Pet"),
        [(SENT, "<Cat>.n", "maximum 5 added")],
        {
            "Pet": {**union(ref("Cat"), ref("Dog")), "properties": {"name": TEXT}},
            "Cat": {"allOf": [ref("Pet"), fields(n=INT)]},
            "Dog": {"allOf": [ref("Pet"), fields(m=INT)]},
        },
        {
            "Pet": {**union(ref("Cat"), ref("Dog")), "properties": {"name": TEXT}},
            "Cat": {"allOf": [ref("Pet"), fields(n=LIMITED)]},
            "Dog": {"allOf": [ref("Pet"), fields(m=INT)]},
        },
    ),
    Case(
        "read-only behind a reference",
        fields(a=ref("Id")),
        fields(a=ref("Id")),
        [(("BREAKS", ""), ".a", "removed")],
        {"Id": TEXT},
        {"Id": {**TEXT, "readOnly": True}},
    ),
    Case(
        "write-only in a part",
        fields(a={"allOf": [ref("Id")]}),
        fields(a={"allOf": [ref("Id")]}),
        [(("", "BREAKS"), ".a", "removed")],
        {"Id": TEXT},
        {"Id": {**TEXT, "writeOnly": True}},
    ),
    Case(
        "words inside a keyword that is judged by hand",
        {**INT, "not": {"const": 1}},
        {**INT, "not": {"const": 1, "description": "No one."}},
        [],
    ),
    Case(
        "a field called title inside such a keyword",
        {**fields(), "dependentRequired": {"title": ["a"]}},
        {**fields(), "dependentRequired": {"title": ["b"]}},
        [(BOTH, "", "dependentRequired changed, which has to be judged by hand")],
    ),
    Case(
        "patterns removed",
        {**fields(a={**TEXT, "pattern": "^a"}), "patternProperties": {"^x": INT}},
        fields(a=TEXT),
        [(NONE, "", "patternProperties removed"), (NONE, ".a", 'pattern "^a" removed')],
    ),
    # References and allOf.
    Case("component moved inline", ref("Coin"), COIN, [], {"Coin": COIN}),
    Case("component renamed", ref("Coin"), ref("Money"), [], {"Coin": COIN, "Money": COIN}),
    Case(
        "component changed",
        ref("Coin"),
        ref("Coin"),
        [(SENT, ".n", "maximum 5 added")],
        {"Coin": COIN},
        {"Coin": tagged("coin", n=LIMITED)},
    ),
    Case("reference to a reference", ref("Alias"), COIN, [], {"Coin": COIN, "Alias": ref("Coin")}),
    Case(
        "words beside a reference",
        ref("Coin"),
        {**ref("Coin"), "required": ["n"]},
        [(SENT, ".n", "became required")],
        {"Coin": COIN},
    ),
    Case(
        "allOf is its merge",
        {"allOf": [fields("a", a=INT), fields(b=TEXT), {"maxProperties": 3}]},
        {**fields("a", a=INT, b=TEXT), "maxProperties": 3},
        [],
    ),
    Case(
        "allOf takes what all allow",
        {
            "allOf": [
                {
                    "type": ["integer", "null"],
                    "maximum": 5,
                    "minimum": 1,
                    "enum": [1, 2],
                    "not": {"const": 7},
                },
                {
                    "type": ["number", "string"],
                    "maximum": 9,
                    "minimum": 2,
                    "enum": [2, 3],
                    "not": {"const": 7},
                },
            ]
        },
        {"type": "integer", "maximum": 5, "minimum": 2, "enum": [2], "not": {"const": 7}},
        [],
    ),
    Case(
        "allOf of one field",
        {"allOf": [fields(a={"minimum": 1}), fields(a=INT), fields(a=INT)]},
        fields(a={"type": "integer", "minimum": 1}),
        [],
    ),
    Case(
        "allOf closes",
        {"allOf": [fields(a=INT), {"additionalProperties": False}]},
        {**fields(a=INT), "additionalProperties": False},
        [],
    ),
    Case(
        "allOf closes a map",
        {"allOf": [{"additionalProperties": INT}, {"additionalProperties": False}]},
        {"additionalProperties": False},
        [],
    ),
    Case(
        "allOf part added",
        {"allOf": [ref("Coin")]},
        {"allOf": [ref("Coin"), fields("m", m=INT)]},
        [(SENT, ".m", "added and required")],
        {"Coin": COIN},
    ),
]

SIDES = [pytest.param(0, id="sent"), pytest.param(1, id="read")]
ROOTS = "request body.x", "response 200.x"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_schema(case: Case, side: int) -> None:
    """An edit of a schema breaks callers or not by what they do with the value: send or read."""
    expected = [
        f"{verdicts[side]}  make  {ROOTS[side]}{step}  {message}"
        for verdicts, step, message in case.changes
        if verdicts[side]
    ]
    found = [line for line in lines(*case.pair) if f"  {ROOTS[side]}" in line]
    assert sorted(expected) == sorted(found)


SCHEMES: Node = {"components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}}
BASIC: Node = {"components": {"securitySchemes": {"key": {"type": "http", "scheme": "basic"}}}}
KEY: Node = {"security": [{"key": []}]}


def parameter(where: str = "query", name: str = "limit", **more: object) -> Node:
    return {"parameters": [{"in": where, "name": name, "schema": INT, **more}]}


def answering(**responses: object) -> Node:
    return contract(
        {"responses": {name.removeprefix("_"): each for name, each in responses.items()}}
    )


def delivering(*names: str, body: object = True, headers: object = None) -> Node:
    post: Node = {"requestBody": json_body(body, required=True)}
    if headers is not None:
        post["parameters"] = headers
    return {"webhooks": {name: {"post": post} for name in names}}


def with_headers(**headers: object) -> Node:
    return answering(_200={"headers": headers})


OK_200: Node = {"description": "fine"}
TWO_PATHS: Node = {
    "paths": {
        "/a": {"get": {"operationId": "get_a"}},
        "/b": {"delete": {}},
    }
}
ONE_PATH: Node = {"paths": {"/a": {"get": {"operationId": "get_a"}}}}

LIST: Node = {"type": "array", "items": TEXT}


def oauth(**scopes: str) -> Node:
    flow = {"tokenUrl": "https://a.example", "scopes": scopes}
    scheme = {"type": "oauth2", "flows": {"clientCredentials": flow}}
    return {"components": {"securitySchemes": {"key": scheme}}}


def form(**encoding: object) -> Node:
    body = {"schema": fields(a=LIST), "encoding": encoding}
    return contract({"requestBody": {"content": {"multipart/form-data": body}}})


def serving(*values: str) -> Node:
    server = {"url": "https://{where}.example", "variables": {"where": {"enum": list(values)}}}
    return contract(servers=[server])


OPERATIONS: dict[str, tuple[Node, Node, list[str]]] = {
    # How values are written.
    "explode": (
        contract(parameter(schema=LIST)),
        contract(parameter(schema=LIST, explode=False)),
        ["BREAKS  make  request query.limit  written as form instead of form, exploded"],
    ),
    "style": (
        contract(parameter(schema=LIST, explode=False)),
        contract(parameter(schema=LIST, style="pipeDelimited")),
        ["BREAKS  make  request query.limit  written as pipeDelimited instead of form"],
    ),
    "explode of a scalar": (contract(parameter()), contract(parameter(explode=False)), []),
    "style of a scalar in the path": (
        contract(parameter("path", "id"), path="/{id}"),
        contract(parameter("path", "id", style="matrix"), path="/{id}"),
        ["BREAKS  make  request path.id  written as matrix instead of simple"],
    ),
    "explode of a header": (
        with_headers(X={"schema": LIST}),
        with_headers(X={"schema": fields(a=INT), "explode": True}),
        [
            "BREAKS  make  response 200 header.x  written as simple, exploded instead of simple",
            "BREAKS  make  response 200 header.x  type changed from array to object",
        ],
    ),
    "reserved characters": (
        contract(parameter(allowReserved=True, allowEmptyValue=False)),
        contract(parameter(allowReserved=False, allowEmptyValue=True)),
        [
            "ok      make  request query.limit  allowEmptyValue allowed",
            "BREAKS  make  request query.limit  allowReserved no longer allowed",
        ],
    ),
    "schema became content": (
        contract(parameter()),
        contract({"parameters": [{"in": "query", "name": "limit", **json_body(INT)}]}),
        ["BREAKS  make  request query.limit  written as application/json instead of form"],
    ),
    "encoding of a form": (
        form(),
        form(a={"contentType": "text/csv"}),
        [
            "BREAKS  make  request body (multipart/form-data).a  written as text/csv instead of "
            "the default"
        ],
    ),
    # What is not on the wire.
    "operationId": (
        {"paths": {"/a/{id}": {"get": {"operationId": "a"}}}},
        {"paths": {"/a/{key}": {"get": {"operationId": "b"}}}},
        [
            "ok      a  operation  renamed from a to b",
            "ok      a  request path.id  placeholder renamed from id to key",
        ],
    ),
    "placeholder without an operationId": (
        {"paths": {"/a/{id}": {"get": {}}}},
        {"paths": {"/a/{key}": {"get": {}}}},
        ["ok      GET /a/{id}  request path.id  placeholder renamed from id to key"],
    ),
    "words of a scheme": (
        oauth(read="Read."),
        oauth(read="Read all.", write="Write."),
        ["ok      (contract)  security scheme key  scope clientCredentials write added"],
    ),
    "scope of a scheme removed": (
        oauth(read="Read."),
        oauth(),
        ["BREAKS  (contract)  security scheme key  scope clientCredentials read removed"],
    ),
    "scheme renamed": (
        contract(KEY, **SCHEMES),
        contract(
            {"security": [{"token": []}]},
            components={
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "x-a": 1}
                }
            },
        ),
        [
            "ok      (contract)  security scheme key  removed",
            "ok      (contract)  security scheme token  added",
        ],
    ),
    "range of statuses": (
        answering(_200=json_body(INT), _201=json_body(INT)),
        answering(_2XX=json_body(TEXT)),
        [
            "BREAKS  make  response 200  type changed from integer to string",
            "BREAKS  make  response 201  type changed from integer to string",
        ],
    ),
    "one of a range": (answering(_2XX=json_body(INT)), answering(_200=json_body(INT)), []),
    "success as default": (
        answering(default=json_body(INT)),
        answering(_204=OK_200),
        ["BREAKS  make  response default (application/json)  media type removed"],
    ),
    "success as default removed": (
        answering(default=OK_200),
        answering(_404=OK_200),
        [
            "ok      make  response 404  added",
            "BREAKS  make  response default  removed",
        ],
    ),
    "media type of an error": (
        answering(_404=json_body(INT)),
        answering(_404=OK_200),
        ["ok      make  response 404 (application/json)  media type removed"],
    ),
    "variable of a server": (
        serving("eu", "us"),
        serving("eu", "asia"),
        [
            'ok      (contract)  server https://{where}.example where  value "asia" added',
            'BREAKS  (contract)  server https://{where}.example where  value "us" removed',
        ],
    ),
    "removed": (TWO_PATHS, ONE_PATH, ["BREAKS  DELETE /b  operation  removed (DELETE /b)"]),
    "added": (ONE_PATH, TWO_PATHS, ["ok      DELETE /b  operation  added (DELETE /b)"]),
    "method and path": (
        {"paths": {"/a": {"put": {"operationId": "a"}}}},
        {"paths": {"/b": {"post": {"operationId": "a"}}}},
        [
            "BREAKS  a  operation  method changed from PUT to POST",
            "BREAKS  a  operation  path changed from /a to /b",
        ],
    ),
    "placeholder": (
        contract(parameter("path", "id"), path="/things/{id}"),
        contract(parameter("path", "thing"), path="/things/{thing}"),
        ["ok      make  request path.id  placeholder renamed from id to thing"],
    ),
    "wording": (
        contract({"summary": "a", "tags": ["a"], "x-a": 1}),
        contract({"description": "b", "tags": ["b"]}),
        [],
    ),
    "deprecated": (
        contract(),
        contract({"deprecated": True}),
        ["ok      make  operation  deprecated"],
    ),
    # Arguments.
    "argument added": (
        contract(),
        contract(parameter()),
        ["ok      make  request query.limit  added"],
    ),
    "required argument added": (
        contract(),
        contract(parameter(required=True)),
        ["BREAKS  make  request query.limit  added and required"],
    ),
    "argument removed": (
        contract(parameter()),
        contract(),
        ["BREAKS  make  request query.limit  removed"],
    ),
    "argument became required": (
        contract(parameter("header", "X-Key")),
        contract(parameter("header", "x-key", required=True)),
        ["BREAKS  make  request header.x-key  became required"],
    ),
    "argument became optional": (
        contract(parameter(required=True)),
        contract(parameter()),
        ["ok      make  request query.limit  became optional"],
    ),
    "path arguments are always required": (
        contract(parameter("path", "id"), path="/{id}"),
        contract(parameter("path", "id", schema=LIMITED, required=True), path="/{id}"),
        ["BREAKS  make  request path.id  maximum 5 added"],
    ),
    "argument deprecated": (
        contract(parameter()),
        contract(parameter(deprecated=True)),
        ["ok      make  request query.limit  deprecated"],
    ),
    "argument with content": (
        contract({"parameters": [{"in": "query", "name": "a", **json_body(INT)}]}),
        contract({"parameters": [{"in": "query", "name": "a", **json_body(TEXT)}]}),
        ["BREAKS  make  request query.a  type changed from integer to string"],
    ),
    "argument behind a reference": (
        contract(
            {"parameters": [{"$ref": "#/components/parameters/Limit"}]},
            components={"parameters": {"Limit": parameter()["parameters"][0]}},
        ),
        contract(parameter()),
        [],
    ),
    "operation overrides its path item": (
        {"paths": {"/a": {**parameter(schema=TEXT), "get": parameter()}}},
        {"paths": {"/a": {**parameter(), "get": {}}}},
        [],
    ),
    "path item behind a reference": (
        {
            "paths": {"/a": {"$ref": "#/components/pathItems/A"}},
            "components": {"pathItems": {"A": {"get": {}}}},
        },
        {"paths": {"/a": {"get": {}}}},
        [],
    ),
    # Bodies.
    "body added": (
        contract(),
        contract({"requestBody": json_body(INT)}),
        ["ok      make  request body  added"],
    ),
    "required body added": (
        contract(),
        contract({"requestBody": json_body(INT, required=True)}),
        ["BREAKS  make  request body  added and required"],
    ),
    "body became required": (
        contract({"requestBody": json_body(INT)}),
        contract({"requestBody": json_body(INT, required=True)}),
        ["BREAKS  make  request body  became required"],
    ),
    "body became optional": (
        contract({"requestBody": json_body(INT, required=True)}),
        contract({"requestBody": json_body(INT)}),
        ["ok      make  request body  became optional"],
    ),
    "body removed": (
        contract({"requestBody": json_body(INT)}),
        contract(),
        ["BREAKS  make  request body  removed"],
    ),
    "media type sent": (
        contract({"requestBody": {"content": {"text/csv": {}}}}),
        contract({"requestBody": {"content": {"application/json; charset=utf-8": {}}}}),
        [
            "ok      make  request body (application/json)  media type added",
            "BREAKS  make  request body (text/csv)  media type removed",
        ],
    ),
    "media type read": (
        answering(_200={"content": {"Text/CSV": {"schema": INT}, "application/json": {}}}),
        answering(_200={"content": {"text/csv": {"schema": TEXT}, "text/html": {}}}),
        [
            "BREAKS  make  response 200 (application/json)  media type removed",
            "BREAKS  make  response 200 (text/csv)  type changed from integer to string",
            "ok      make  response 200 (text/html)  media type added",
        ],
    ),
    "body behind a reference": (
        contract(
            {"requestBody": {"$ref": "#/components/requestBodies/B"}},
            components={"requestBodies": {"B": json_body(INT)}},
        ),
        contract({"requestBody": json_body(INT)}),
        [],
    ),
    # Responses.
    "statuses": (
        answering(_200=OK_200, _404=OK_200),
        answering(_201=OK_200),
        [
            "BREAKS  make  response 200  removed",
            "ok      make  response 201  added",
            "ok      make  response 404  removed",
        ],
    ),
    "header added": (
        with_headers(),
        with_headers(Total={"schema": INT}),
        ["ok      make  response 200 header.total  added"],
    ),
    "header removed": (
        with_headers(Total={"schema": INT}),
        with_headers(),
        ["BREAKS  make  response 200 header.total  removed"],
    ),
    "header changed": (
        with_headers(Total={"schema": INT, "required": True}),
        with_headers(total={"schema": {"type": "number"}}),
        [
            "BREAKS  make  response 200 header.total  became optional",
            "BREAKS  make  response 200 header.total  type widened from integer to number",
        ],
    ),
    "response behind a reference": (
        contract(
            {"responses": {"200": {"$ref": "#/components/responses/R"}}},
            components={"responses": {"R": json_body(INT)}},
        ),
        answering(_200=json_body(TEXT)),
        ["BREAKS  make  response 200  type changed from integer to string"],
    ),
    "envelope dropped": (
        answering(_200=json_body(fields("data", data={"type": "array", "items": fields(a=INT)}))),
        answering(_200=json_body({"type": "array", "items": fields(a=INT)})),
        ["BREAKS  make  response 200  type changed from object to array"],
    ),
    "place inside an envelope": (
        answering(_200=json_body(fields("data", data={"type": "array", "items": fields(a=INT)}))),
        answering(_200=json_body(fields("data", data={"type": "array", "items": fields()}))),
        ["BREAKS  make  response 200.data[].a  removed"],
    ),
    "envelope extended": (
        answering(_200=json_body(fields("data", data=INT))),
        answering(_200=json_body(fields("data", data=INT, next=TEXT))),
        [
            "BREAKS  make  response 200  no longer holds only `data`, which methods return",
            "ok      make  response 200.next  added",
        ],
    ),
    "success added": (
        answering(_200=json_body(fields(a=INT))),
        answering(
            _200=json_body(fields(a=INT)),
            _201={"description": "Made.", **json_body(fields(a=INT))},
            _202=json_body(fields(b=INT)),
            _204={"description": "Nothing."},
            _402=json_body(fields(b=INT)),
        ),
        [
            "ok      make  response 201  added",
            "BREAKS  make  response 202  added, with another body than the other successes",
            "BREAKS  make  response 204  added, with another body than the other successes",
            "ok      make  response 402  added",
        ],
    ),
    # Webhooks.
    "webhook removed": (
        delivering("a", "b"),
        delivering("b"),
        ["BREAKS  webhook a  operation  removed (POST a)"],
    ),
    "webhook added": (
        delivering(),
        delivering("a"),
        ["ok      webhook a  operation  added (POST a)"],
    ),
    "webhook payload is read": (
        delivering("a", body=fields("n", n=INT)),
        delivering("a", body=fields(n=LIMITED, m=INT)),
        [
            "ok      webhook a  delivery body.m  added",
            "BREAKS  webhook a  delivery body.n  became optional",
            "ok      webhook a  delivery body.n  maximum 5 added",
        ],
    ),
    "webhook header is read": (
        delivering("a", headers=parameter("header", "X-Signature")["parameters"]),
        delivering("a", headers=[]),
        ["BREAKS  webhook a  delivery header.x-signature  removed"],
    ),
    # Security and servers.
    "security added": (
        contract(),
        contract(KEY),
        ['BREAKS  make  operation  security changed from [{}] to [{"key": []}]'],
    ),
    "security dropped": (
        contract(**KEY),
        contract({"security": []}, **KEY),
        ['ok      make  operation  security changed from [{"key": []}] to [{}]'],
    ),
    "security alternative added": (
        contract(KEY),
        contract({"security": [{"key": []}, {"other": []}]}),
        [
            "ok      make  operation  security changed from "
            '[{"key": []}] to [{"key": []}, {"other": []}]'
        ],
    ),
    "scope added": (
        contract({"security": [{"key": ["read"]}]}),
        contract({"security": [{"key": ["read", "write"]}]}),
        [
            "BREAKS  make  operation  security changed from "
            '[{"key": ["read"]}] to [{"key": ["read", "write"]}]'
        ],
    ),
    "security alternative dropped": (
        contract({"security": [{"key": []}, {"other": []}]}),
        contract(KEY),
        [
            "BREAKS  make  operation  security changed from "
            '[{"key": []}, {"other": []}] to [{"key": []}]'
        ],
    ),
    "security of the whole contract": (contract(KEY), contract(**KEY), []),
    "scheme added": (
        contract(),
        contract(**SCHEMES),
        ["ok      (contract)  security scheme key  added"],
    ),
    "scheme removed": (
        contract(**SCHEMES),
        contract(),
        ["ok      (contract)  security scheme key  removed"],
    ),
    "scheme changed": (
        contract(**SCHEMES),
        contract(**BASIC),
        ["BREAKS  (contract)  security scheme key  changed"],
    ),
    "servers": (
        contract(servers=[{"url": "https://a.example"}, {"url": "https://b.example"}]),
        contract(servers=[{"url": "https://b.example"}, {"url": "https://c.example"}]),
        [
            "BREAKS  (contract)  server https://a.example  removed",
            "ok      (contract)  server https://c.example  added",
        ],
    ),
    "scheme described": (
        contract(components={"securitySchemes": {"key": {"type": "http"}}}),
        contract(components={"securitySchemes": {"key": {"type": "http", "description": "a"}}}),
        [],
    ),
    "server left out": (contract(), contract(servers=[{"url": "/"}]), []),
    "servers of a path item": (
        {"paths": {"/a": {"get": {}}}},
        {"paths": {"/a": {"get": {}, "servers": [{"url": "/v2"}]}}},
        ["BREAKS  GET /a  server /  removed", "ok      GET /a  server /v2  added"],
    ),
    "servers of an operation": (
        contract(servers=[{"url": "https://a.example"}]),
        contract(
            {"servers": [{"url": "https://b.example"}]}, servers=[{"url": "https://a.example"}]
        ),
        [
            "BREAKS  make  server https://a.example  removed",
            "ok      make  server https://b.example  added",
        ],
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), OPERATIONS.values(), ids=OPERATIONS)
def test_operation(old: Node, new: Node, expected: list[str]) -> None:
    """A change outside the schemas is listed at its operation, or at the contract."""
    assert expected == lines(old, new)


def crowded() -> tuple[Node, Node]:
    """Return two contracts: several operations reach the same schemas, and one reaches more."""
    pair: list[Node] = []
    for leaf, same in ((INT, INT), (LIMITED, {"type": ["integer"]})):
        last = fields(v=leaf, s=ref("S0"), t=ref("Same"))
        schemas = {**ring(3, INT), "Same": fields(v=same), "Last": last}
        schemas["S2"]["properties"]["v"] = leaf
        uses = {"/a": ref("S0"), "/b": ref("S1"), "/c": ref("Same"), "/d": ref("Same")}
        uses |= {"/e": ref("Last"), "/f": INT}
        paths: Node = {}
        for path, schema in uses.items():
            body = json_body(fields(x=schema))
            paths[path] = {"post": {"requestBody": body, "responses": {"200": body}}}
        pair.append({"openapi": "3.1.0", "paths": paths, "components": {"schemas": schemas}})
    return pair[0], pair[1]


def test_schemas_that_too_many_operations_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of steps, one operation lists a schema's change and the others refer to
    it."""
    elsewhere = {
        "BREAKS": "uses schemas that break it; other operations list how",
        "ok    ": "uses schemas that changed; other operations list how",
    }
    whole = lines(*crowded())
    monkeypatch.setattr(compare_schemas, "STEPS", 0)
    assert not [line for line in whole if "other operations" in line]
    expected = [line for line in whole if "POST /a" in line or "x.v  maximum" in line]
    for name, step in (("/b", ".x"), ("/e", ".x.s")):
        for verdict, place in (("BREAKS", "request body"), ("ok    ", "response 200")):
            expected.append(f"{verdict}  POST {name}  {place}{step}  {elsewhere[verdict]}")
    assert sorted(expected) == sorted(lines(*crowded()))
    assert 8 == len(whole)


def test_every_rule_is_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cases above produce each kind of change that has a rule, and no other kind."""
    pairs = [case.pair for case in CASES] + [(old, new) for old, new, _ in OPERATIONS.values()]
    found = {change.kind for old, new in pairs for change in compare(old, new)}
    monkeypatch.setattr(compare_schemas, "STEPS", 0)
    found |= {change.kind for change in compare(*crowded())}
    assert set(RULES) == found
    assert set(PRESENCE.values()) <= set(RULES)


def test_shared_schema_is_listed_once() -> None:
    """A shared component is listed once per direction, at the shortest way to it."""
    pair = [
        exchanging(fields(a=ref("Money"), b={"type": "array", "items": ref("Money")}), Money=money)
        for money in (fields(n=INT), fields(n=LIMITED))
    ]
    expected = [
        "BREAKS  make  request body.x.a.n  maximum 5 added",
        "ok      make  response 200.x.a.n  maximum 5 added",
    ]
    assert expected == lines(*pair)


def ring(size: int, leaf: Node, reach: int | None = None) -> Node:
    """Return schemas in a ring, each of which refers to the next `reach`, or to all others."""
    steps = range(1, (reach or size - 1) + 1)
    return {
        f"S{i}": fields(v=leaf, **{f"r{j}": ref(f"S{(i + j) % size}") for j in steps})
        for i in range(size)
    }


def test_a_ring_is_listed_once() -> None:
    """Each schema of a ring is listed once per direction, at the shortest way to it."""
    old, new = (exchanging(ref("S0"), **ring(20, leaf)) for leaf in (INT, LIMITED))
    expected = [f"request body.x.r{j}.v" for j in range(1, 20)] + ["request body.x.v"]
    found = [change for change in compare(old, new) if change.breaking]
    assert sorted(expected) == [change.location for change in found]
    assert {f"S{i}" for i in range(20)} == {change.schema for change in found}


def test_a_deep_ring_is_followed_to_its_end() -> None:
    """A chain of references longer than Python's recursion limit is followed to its end."""
    size = 2 * sys.getrecursionlimit()
    old, new = (exchanging(ref("S0"), **ring(size, INT, 1)) for _ in range(2))
    new["components"]["schemas"][f"S{size - 1}"]["properties"]["v"] = LIMITED
    (change,) = [change for change in compare(old, new) if change.breaking]
    assert f"request body.x{'.r1' * (size - 1)}.v" == change.location


def test_work_grows_with_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair of schemas is compared once per direction, however often it is reached."""
    compared: list[object] = []
    real = Schemas.difference

    def counted(self: Schemas, place: Any, old: object, new: object) -> Any:
        compared.append(old)
        return real(self, place, old, new)

    monkeypatch.setattr(Schemas, "difference", counted)
    old, new = (exchanging(ref("S0"), **ring(24, leaf)) for leaf in (INT, LIMITED))
    assert compare(old, new)
    # Each of the 24 schemas and its field `v`, and the body, for both directions.
    assert len(compared) == 2 * (24 * 2 + 1)
    compared.clear()
    assert not compare(old, old)
    assert not compared


RECURSIVE = [
    pytest.param({"Node": fields(n="LEAF", next=ref("Node"))}, ["n"], id="itself"),
    pytest.param(
        {
            "Node": fields(other=ref("Other"), list={"type": "array", "items": ref("Node")}),
            "Other": {**fields(n="LEAF"), "additionalProperties": ref("Node")},
        },
        ["other.n"],
        id="one another",
    ),
    pytest.param(
        {"Node": {"oneOf": [fields(n="LEAF", next=ref("Node")), {"type": "null"}]}},
        ["n"],
        id="through oneOf",
    ),
    pytest.param(
        {"Node": {"allOf": [fields(n="LEAF", next=ref("Node")), fields(next=ref("Node"))]}},
        ["n"],
        id="twice in allOf",
    ),
    pytest.param(
        {
            "Node": {"allOf": [ref("Left"), ref("Right")]},
            "Left": fields(n="LEAF", next=ref("Left")),
            "Right": fields(next=ref("Right"), back=ref("Node")),
        },
        ["n", "next.n"],
        id="through allOf",
    ),
]


@pytest.mark.parametrize(("components", "places"), RECURSIVE)
def test_recursion_ends(components: Node, places: list[str]) -> None:
    """A schema that contains itself is compared once along each way to it."""
    text = json.dumps(components)
    pair = [
        exchanging(ref("Node"), **json.loads(text.replace('"LEAF"', json.dumps(leaf))))
        for leaf in (INT, LIMITED)
    ]
    found = [change for change in compare(*pair) if change.breaking]
    assert [f"request body.x.{place}" for place in places] == [each.location for each in found]


BROKEN = [
    pytest.param(ref("Gone"), "$ref #/components/schemas/Gone points at nothing", id="nowhere"),
    pytest.param({"$ref": "other.json#/X"}, "$ref other.json#/X points at nothing", id="elsewhere"),
    pytest.param(ref("Loop"), "$ref #/components/schemas/Loop leads back to itself", id="loop"),
    pytest.param({"maximum": "5"}, 'maximum cannot be "5"', id="bound"),
    pytest.param({"enum": "a"}, 'enum cannot be "a"', id="enum"),
    pytest.param({"type": {}}, "type cannot be {}", id="type"),
    pytest.param({"oneOf": {}}, "oneOf cannot be {}", id="array"),
    pytest.param(7, "expected an object where there is 7", id="object"),
]


@pytest.mark.parametrize(("schema", "message"), BROKEN)
def test_malformed(schema: object, message: str) -> None:
    """A malformed part of a contract is an error that names the part and its place."""
    loops: Node = {"Loop": ref("Loop")} if schema == ref("Loop") else {}
    broken = exchanging(schema, **loops)
    with pytest.raises(ContractError) as caught:
        compare(broken, broken)
    assert message == str(caught.value)[: len(message)]
    assert ", at #/" in str(caught.value)


def test_looping_parameter() -> None:
    """A reference from a parameter to itself is an error."""
    loop = {"$ref": "#/components/parameters/A"}
    broken = contract({"parameters": [loop]}, components={"parameters": {"A": loop}})
    with pytest.raises(ContractError, match="leads back to itself"):
        compare(broken, broken)


def test_ambiguous_operation() -> None:
    """Two operations with the same operationId are an error."""
    same = {"operationId": "same"}
    with pytest.raises(ContractError, match="two operations are called 'same'"):
        compare({"paths": {"/a": {"get": same, "put": same}}}, {})


def test_pointer_escapes() -> None:
    """A reference with escaped characters finds the key that holds them."""
    plain = {**contract(parameter()), "x-odd": {"a/b~ c": parameter()["parameters"]}}
    odd = copy.deepcopy(plain)
    odd["paths"]["/things"]["post"]["parameters"] = [{"$ref": "#/x-odd/a~1b~0%20c/0"}]
    assert not compare(odd, plain)


def write(path: Path, document: object) -> str:
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


OLD, NEW, BAD = contract(parameter()), contract({"deprecated": True, **parameter()}), contract()


def test_cli_nothing_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For equal contracts the command prints only the summary, and its status is 0."""
    old = write(tmp_path / "old.json", OLD)
    expected = 0, "Nothing changed.\n"
    assert expected == (main([old, old]), capsys.readouterr().out)


def test_cli_nothing_breaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command lists changes that break no caller, and its status is 0."""
    old, new = write(tmp_path / "old.json", OLD), write(tmp_path / "new.json", NEW)
    expected = "ok      make  operation  deprecated\n1 change, none breaks callers.\n"
    assert (0, expected) == (main([old, new]), capsys.readouterr().out)


def test_cli_something_breaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command's status is 1 if a change breaks callers."""
    old, new = write(tmp_path / "old.json", NEW), write(tmp_path / "new.json", BAD)
    expected = (
        "ok      make  operation  no longer deprecated\n"
        "BREAKS  make  request query.limit  removed\n"
        "2 changes, 1 of them breaks callers.\n"
    )
    assert (1, expected) == (main([old, new]), capsys.readouterr().out)


def shared_pair(tmp_path: Path) -> list[str]:
    """Write two contracts that differ in a shared schema and in an operation."""
    documents = [exchanging(ref("Money"), Money=fields(n=leaf)) for leaf in (INT, LIMITED)]
    documents[1]["paths"]["/more"] = {"get": {"operationId": "more"}}
    return [write(tmp_path / f"{i}.json", each) for i, each in enumerate(documents)]


def test_cli_groups_shared_schemas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command lists operations first, then each shared schema once, then the verdict."""
    expected = (
        "ok      more  operation  added (GET /more)\n"
        "BREAKS  schema Money  n maximum 5 added  (2 uses)\n"
        "3 changes, 1 of them breaks callers.\n"
    )
    assert (1, expected) == (main(shared_pair(tmp_path)), capsys.readouterr().out)


def test_cli_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--markdown` prints the changes under two headings: breaking ones first."""
    status = main([*shared_pair(tmp_path), "--markdown"])
    expected = (
        "3 changes, 1 of them breaks callers.\n"
        "\n### Breaks callers\n\n- schema `Money` (2 uses): n maximum 5 added\n"
        "\n### Breaks no callers\n\n- `more` operation: added (GET /more)\n"
    )
    assert (1, expected) == (status, capsys.readouterr().out)


def test_cli_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints the changes and the number of those that break callers."""
    old, new = write(tmp_path / "old.json", OLD), write(tmp_path / "new.json", BAD)
    change = {
        "operation": "make",
        "location": "request query.limit",
        "kind": "removed",
        "message": "removed",
        "breaking": True,
    }
    status = main([old, new, "--json"])
    expected = {"changes": [change], "breaking": 1}
    assert (1, expected) == (status, json.loads(capsys.readouterr().out))


UNUSABLE = [
    pytest.param([], "the following arguments are required: old, new", id="no arguments"),
    pytest.param(["a", "b", "--yaml"], "unrecognized arguments: --yaml", id="unknown option"),
    pytest.param(["gone.json", "gone.json"], "gone.json: No such file or directory", id="no file"),
    pytest.param([".", "."], ".: Is a directory", id="a directory"),
    pytest.param(["text.json", "ok.json"], "text.json: not JSON: ", id="not JSON"),
    pytest.param(["bytes.json", "ok.json"], "bytes.json: not JSON: ", id="not UTF-8"),
    pytest.param(
        ["ok.json", "list.json"], "list.json: not an OpenAPI 3.1 contract", id="not an object"
    ),
    pytest.param(
        ["v30.json", "ok.json"], "v30.json: not an OpenAPI 3.1 contract", id="OpenAPI 3.0"
    ),
    pytest.param(["ok.json", "broken.json"], "$ref #/x points at nothing", id="broken reference"),
    pytest.param(["deep.json", "deep.json"], "the contract is nested too deeply", id="too deep"),
]


@pytest.mark.parametrize(("argv", "message"), UNUSABLE)
def test_cli_unusable(
    argv: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """For arguments or files that it cannot use, the command prints one line, and its status is
    2."""
    monkeypatch.chdir(tmp_path)
    Path("text.json").write_text("{", encoding="utf-8")
    Path("bytes.json").write_bytes(b'{"openapi": "\xff"}')
    Path("deep.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000, encoding="utf-8")
    write(Path("ok.json"), OLD)
    write(Path("list.json"), [])
    write(Path("v30.json"), {**OLD, "openapi": "3.0.3"})
    write(Path("broken.json"), contract({"parameters": [{"$ref": "#/x"}]}))
    expected = f"compare: {message}"
    status, output = main(argv), capsys.readouterr()
    assert status == 2
    assert not output.out
    assert expected == output.err.splitlines()[0][: len(expected)]
    assert len(output.err.splitlines()) == 1


def test_cli_process(tmp_path: Path) -> None:
    """Run as a process, the command prints the changes and exits with its status."""
    old, new = write(tmp_path / "old.json", OLD), write(tmp_path / "new.json", BAD)
    command = [sys.executable, "-m", "compare", old, new]
    ran = subprocess.run(command, cwd=CODEGEN, capture_output=True, text=True, check=False)
    expected = "BREAKS  make  request query.limit  removed\n1 change, 1 of them breaks callers.\n"
    assert (1, expected, "") == (ran.returncode, ran.stdout, ran.stderr)


NAMES = st.sampled_from(["A", "B", "C"])
TYPES: st.SearchStrategy[object] = st.sampled_from(["string", "integer", ["integer", "null"]])
KEYWORDS: dict[str, st.SearchStrategy[object]] = {
    "maximum": st.integers(0, 9),
    "format": st.sampled_from(["date", "uuid"]),
    "enum": st.lists(st.sampled_from(["a", 1, None, True]), max_size=3),
    "default": st.none() | st.booleans(),
}


def typed(type_: object, keywords: Node) -> Node:
    return {"type": type_, **keywords}


def object_of(properties: Node, required: list[str]) -> Node:
    return fields(*[name for name in required if name in properties], **properties)


def objects(inner: st.SearchStrategy[object]) -> st.SearchStrategy[Node]:
    names = st.sampled_from("abc")
    properties = st.dictionaries(names, inner, max_size=3)
    return st.builds(object_of, properties, st.lists(names, unique=True))


def nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    unions = st.sampled_from(["oneOf", "anyOf"])
    return (
        inner
        | objects(inner)
        | st.fixed_dictionaries({"type": st.just("array"), "items": inner})
        | st.fixed_dictionaries({"type": st.just("object"), "additionalProperties": inner})
        | st.dictionaries(unions, st.lists(inner, min_size=1, max_size=3), min_size=1, max_size=1)
        | st.fixed_dictionaries({"allOf": st.lists(objects(inner), max_size=2)})
    )


SCALARS = st.builds(typed, TYPES, st.fixed_dictionaries({}, optional=KEYWORDS))
LEAVES: st.SearchStrategy[object] = SCALARS | SCALARS | NAMES.map(ref) | st.just(True)
SCHEMAS = nested(nested(LEAVES))
# Components are objects, since one that is nothing but itself is refused.
OBJECTS = objects(nested(LEAVES))
CONTRACTS = st.builds(exchanging, SCHEMAS, A=OBJECTS, B=OBJECTS, C=OBJECTS)


def reordered(value: object) -> Any:
    if isinstance(value, dict):
        pairs = cast("Node", value).items()
        return {key: reordered(each) for key, each in reversed(pairs)}
    return (
        [reordered(each) for each in cast("list[object]", value)]
        if isinstance(value, list)
        else value
    )


@settings(deadline=None)
@given(CONTRACTS)
def test_nothing_changed(document: Node) -> None:
    """A contract equals itself, whatever the order of its keys."""
    assert not compare(document, reordered(document))


@settings(deadline=None)
@given(CONTRACTS, NAMES, OBJECTS)
def test_change_is_seen_from_both_sides(old: Node, name: str, component: Node) -> None:
    """Two contracts differ in one direction of the comparison if they differ in the other."""
    new = copy.deepcopy(old)
    new["components"]["schemas"][name] = component
    assert bool(compare(old, new)) == bool(compare(new, old))


@settings(deadline=None)
@given(CONTRACTS, NAMES)
def test_added_field_is_removed_by_going_back(old: Node, name: str) -> None:
    """An optional field that is added breaks no caller; the reverse change breaks each place."""
    new = copy.deepcopy(old)
    new["components"]["schemas"][name]["properties"]["fresh"] = INT
    there, back = compare(old, new), compare(new, old)
    assert [
        attrs.evolve(change, kind="removed", message="removed", breaking=True) for change in there
    ] == back
    assert {(change.kind, change.breaking) for change in there} <= {("added", False)}
