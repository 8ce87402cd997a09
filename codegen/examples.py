"""Examples of JSON bodies: find missing ones, and derive them from the schemas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import jsonschema_rs

from document import Json, Node, RawOperation, RefusedError, is_array, operations
from media import json_media

__all__ = ["add", "missing"]

_FORMATS: Final = {
    "date-time": "2026-06-08T12:00:00.000Z",
    "date": "2026-06-08",
    "uuid": "5b0f6c5e-2d0c-4f0e-9f0a-3c1d2e4f5a6b",
    "uri": "https://example.com/",
}
_DEEPEST: Final = 8
"""How deep an example may be nested, so that a schema that contains itself ends."""


def missing(contract: Json) -> Iterator[str]:
    """Yield each JSON body without an example, one line per cause."""
    for raw in operations(contract):
        for media in _bodies(raw):
            if "example" not in media:
                yield (
                    f"{raw.label}, {media.place}: it has no example. Add `example`, which tests"
                    " compare with the schema."
                )


def add(contract: Json) -> None:
    """Add an example to each JSON body that has none, if its schema is enough to derive one.

    The first of several `examples` becomes the `example`, since OpenAPI does not allow both.
    """
    for raw in operations(contract):
        for media in _bodies(raw):
            named = [each.follow().get("value") for _, each in media.entries("examples")]
            if named and named[0] is not None:
                media.value["example"] = named[0]
                del media.value["examples"]
            elif "example" not in media and "schema" in media:
                schema = media.at("schema")
                derived = _sample(schema, _DEEPEST)
                if derived is not None and _fits(derived, schema):
                    media.value["example"] = derived


def _bodies(raw: RawOperation) -> Iterator[Node]:
    """Yield the JSON bodies of a request and of its successful answers."""
    holders = [raw.node.at("requestBody")] if "requestBody" in raw.node else []
    holders += [
        response.follow()
        for status, response in raw.node.entries("responses")
        if str(status).startswith("2")
    ]
    for holder in holders:
        media = json_media(holder)
        if media is not None:
            yield media.node


def _fits(value: object, schema: Node) -> bool:
    """Return whether the schema allows a value, with the keywords that `_sample` does not read."""
    whole = {"allOf": [schema.value], "components": schema.document.get("components", {})}
    try:
        return jsonschema_rs.validator_for(whole, validate_formats=True).is_valid(value)
    except ValueError:  # a schema of OpenAPI 3.0 may be none of JSON Schema
        return False


def _sample(schema: Node, depth: int) -> Any:
    """Return a value that the schema is likely to allow; `None` if it is too complicated."""
    if depth == 0 or "pattern" in schema or "allOf" in schema:
        return None
    if "example" in schema or "const" in schema:
        return schema.get("example", schema.get("const"))
    if "enum" in schema:
        return next((each for each in schema.get("enum") if each is not None), None)
    for choices in ("oneOf", "anyOf"):
        if choices in schema:
            options = (each.follow() for each in schema.items(choices))
            return next(
                (v for each in options if (v := _sample(each, depth - 1)) is not None), None
            )
    kinds: object = schema.get("type")
    if is_array(kinds):
        kinds = next((kind for kind in kinds if kind != "null"), None)
    if kinds == "object":
        return _object(schema, depth)
    if kinds == "array":
        item = _sample(schema.at("items"), depth - 1) if "items" in schema else None
        return [] if item is None else [item] * max(1, schema.get("minItems", 1))
    if kinds == "string":
        text = _FORMATS.get(str(schema.get("format")), "x")
        return text if "format" in schema else text * max(1, schema.get("minLength", 1))
    if kinds in ("integer", "number"):
        return schema.get("minimum", schema.get("maximum", 1))
    return True if kinds == "boolean" else None


def _object(schema: Node, depth: int) -> Json | None:
    """Return an object with all members that can be derived; `None` if a required one cannot."""
    members = {
        name: value
        for name, member in schema.entries("properties")
        if (value := _sample(_followed(member), depth - 1)) is not None
    }
    required: object = schema.get("required", [])
    lacking = set(required) - members.keys() if is_array(required) else set[Any]()
    return None if lacking else members


def _followed(node: Node) -> Node:
    try:
        return node.follow()
    except RefusedError:  # such as a schema that is `true`
        return Node(node.document, {}, node.place)
