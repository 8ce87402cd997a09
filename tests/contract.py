"""The contract, as tests read it: its operations, and values that its schemas allow."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from kraty_server_api.decoding import is_object

__all__ = ["CONTRACT", "OPERATIONS", "SCHEMAS", "arguments", "operation_of", "resolved", "sample"]

CONTRACT: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "openapi.server.json").read_text(encoding="utf-8")
)
SCHEMAS: Final[dict[str, dict[str, Any]]] = CONTRACT["components"]["schemas"]
OPERATIONS: Final[dict[str, dict[str, Any]]] = {
    operation["operationId"]: operation
    for item in CONTRACT["paths"].values()
    for operation in item.values()
    if "operationId" in operation  # an item may hold parameters too
}
"""The operations, by their ids."""

_PLAIN: Final[dict[str, Any]] = {"string": "x", "integer": 3, "number": 12.5, "boolean": True}


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Return a part of the contract, or the one that it refers to."""
    while "$ref" in node:
        target: Any = CONTRACT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def sample(schema: dict[str, Any]) -> Any:
    """Return a value that a schema allows, with every member that it names and no null."""
    schema = resolved(schema)
    if "enum" in schema:
        return schema["enum"][0]
    for choices in ("anyOf", "oneOf"):
        if choices in schema:
            return sample(next(each for each in schema[choices] if each.get("type") != "null"))
    kinds: str | list[str] = schema["type"]
    kind = kinds if isinstance(kinds, str) else next(each for each in kinds if each != "null")
    if kind == "array":
        return [sample(schema["items"])]
    if kind == "object":
        others: object = schema.get("additionalProperties")
        members = {name: sample(each) for name, each in schema.get("properties", {}).items()}
        return members or {"k": sample(others) if is_object(others) else 1}
    return "2026-06-08T12:00:00.000Z" if schema.get("format") == "date-time" else _PLAIN[kind]


def arguments(operation_id: str, method: Callable[..., Any]) -> dict[str, Any]:
    """Return values for the arguments of a method that have no default."""
    body = OPERATIONS[operation_id].get("requestBody")
    members: dict[str, Any] = (
        {} if body is None else sample(body["content"]["application/json"]["schema"])
    )
    by_name = {
        re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower(): v for name, v in members.items()
    }
    return {
        name: by_name.get(name, "x")
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is parameter.empty
    }


def operation_of(kraty: object, name: str) -> Any:
    """Return the method of a client that is called `name`, such as `wallet.credit`."""
    return attrgetter(name)(kraty)
