"""The build step derives examples of bodies from their schemas."""

from __future__ import annotations

import copy
import json
from typing import Any, Final

import jsonschema_rs
import pytest

import examples
from generate import KRATY

CONTRACT: Final[dict[str, Any]] = json.loads(KRATY.contract.read_bytes())


def without_examples() -> dict[str, Any]:
    """Return the contract without the examples of requests and successful answers."""
    contract = copy.deepcopy(CONTRACT)
    for item in contract["paths"].values():
        for operation in item.values():
            for media in bodies(operation):
                del media["example"]
    return contract


def bodies(operation: Any) -> list[dict[str, Any]]:
    """Return the JSON bodies of an operation that need an example."""
    if "responses" not in operation:
        return []  # the parameters of a path item
    holders = [operation["requestBody"]] if "requestBody" in operation else []
    holders += [each for status, each in operation["responses"].items() if status[0] == "2"]
    return [holder["content"]["application/json"] for holder in holders]


def test_each_missing_example_is_named() -> None:
    """Kraty's contract lacks no example; if all are removed, each body is named."""
    assert [] == list(examples.missing(CONTRACT))
    lines = list(examples.missing(without_examples()))
    expected = [
        body for item in CONTRACT["paths"].values() for op in item.values() for body in bodies(op)
    ]
    assert len(expected) == len(lines)
    assert lines[0].startswith("ping (GET /ping), #/paths/~1ping/get/responses/200/content/")


def test_the_first_of_several_examples_is_taken() -> None:
    """Named examples, which tests do not read, become one example."""
    contract = without_examples()
    credit = contract["paths"]["/players/{externalId}/wallet/{economyKey}/credit"]["post"]
    body = credit["requestBody"]["content"]["application/json"]
    body["examples"] = {"iap": {"value": {"amount": 7}}, "other": {"value": {"amount": 8}}}
    assert any(
        "creditWallet" in line and "requestBody" in line for line in examples.missing(contract)
    )
    examples.add(contract)
    assert [] == list(examples.missing(contract))
    assert ({"amount": 7}, False) == (body["example"], "examples" in body)


def test_a_derived_example_fits_its_schema() -> None:
    """For each body of Kraty's contract, an example is derived that fits the body's schema."""
    contract = without_examples()
    examples.add(contract)
    for item in contract["paths"].values():
        for operation in item.values():
            for media in bodies(operation):
                schema = {**media["schema"], "components": contract["components"]}
                jsonschema_rs.validator_for(schema, validate_formats=True).validate(
                    media["example"]
                )


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"type": "string", "pattern": "^a{3}$"}, id="pattern"),
        pytest.param({"allOf": [{"type": "object"}]}, id="allOf"),
        pytest.param(
            {"type": "object", "required": ["a"], "properties": {"a": {"pattern": "a"}}},
            id="required",
        ),
        pytest.param({}, id="anything"),
        pytest.param({"type": "integer", "exclusiveMinimum": 5}, id="exclusive bound"),
        pytest.param({"type": "integer", "exclusiveMinimum": True, "minimum": 5}, id="of 3.0"),
        pytest.param({"type": "number", "multipleOf": 7}, id="multiple"),
        pytest.param(
            {"type": "array", "items": {"type": "null"}, "minItems": 1}, id="items that are null"
        ),
        pytest.param(
            {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True},
            id="unique items",
        ),
    ],
)
def test_what_cannot_be_derived_is_left_out(schema: dict[str, Any]) -> None:
    """A schema from which no valid example can be derived gets none, and the body is named."""
    media = {"schema": schema}
    answer = {"200": {"description": "", "content": {"application/json": media}}}
    contract: dict[str, Any] = {"paths": {"/a": {"get": {"responses": answer}}}}
    examples.add(contract)
    assert "example" not in media
    assert 1 == len(list(examples.missing(contract)))
