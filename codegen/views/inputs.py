"""What a caller passes to a method: the parameters of its operation, and the fields of its body."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import attrs

from document import Node, RawOperation, is_object
from media import JSON, json_media

from .causes import Causes
from .commands import KEY
from .names import pascal_case
from .types import (
    Alternatives,
    Choice,
    Entries,
    Flag,
    Items,
    Number,
    Object,
    ObjectSchema,
    Schemas,
    Text,
    Value,
    literal,
)

# The client writes these headers itself, and OpenAPI says to ignore them as parameters.
IGNORED_HEADERS: Final = frozenset({"accept", "content-type", "authorization"})

# The client writes these too, or they belong to the connection. A parameter could change the
# meaning of other headers, or the identity of the caller.
OWN_HEADERS: Final = frozenset(
    [
        *("accept-encoding", "connection", "content-encoding", "content-length", "cookie"),
        *("expect", "host", "idempotency-key", "keep-alive", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
        "x-kraty-sdk",
    ]
)


@attrs.frozen
class Input:
    """A value that the caller passes: a parameter, or a field of the body."""

    location: str
    """`path`, `query`, `header` or `body`."""
    wire: str
    value: Value
    required: bool
    doc: str
    place: str
    style: str = ""
    """How it is written by `styles`: the last arguments; empty for a scalar of the usual style;
    `IN_JSON` for a parameter with `content`."""


IN_JSON: Final = "json"

EXTRA: Final = "*"
"""The wire name of the fields that a body does not list."""


def parameters(raw: RawOperation, name: str, schemas: Schemas, causes: Causes) -> Iterator[Input]:
    """Yield the parameters of an operation. Problems of single ones are collected in `causes`."""
    placeholders = re.findall(r"\{([^}]*)\}", raw.path)
    found: list[str] = []
    for node in raw.parameters():
        wire, location = str(node.get("name")), str(node.get("in"))
        if location == "path":
            found.append(wire)
        if location == "header" and wire.lower() in IGNORED_HEADERS:
            continue
        with causes.collected():
            yield _parameter(node, wire, location, name, placeholders, schemas)
    for wire in placeholders:
        if wire not in found:
            raise raw.node.refuse(
                f"the path has {{{wire}}}, and there is no such path parameter", "Declare it."
            )


def _parameter(
    node: Node, wire: str, location: str, name: str, placeholders: list[str], schemas: Schemas
) -> Input:
    if location not in ("path", "query", "header"):
        raise node.refuse(
            f"the {location} parameter {wire} is not supported",
            "Leave it out, if calls without it are right.",
        )
    if location == "header":
        _check_header(node, wire)
    if location == "path" and wire not in placeholders:
        raise node.refuse(f"the path has no {{{wire}}}", "Remove the parameter.")
    if node.get("allowReserved") is True:
        raise node.refuse(
            f"allowReserved of the {location} parameter {wire} is not supported",
            "Leave it out, if the server accepts escaped characters.",
        )
    if "schema" in node:
        value = schemas.read(node.child("schema"), name + pascal_case(wire))
        written = _style(node, wire, location, _shape(value, schemas))
    else:
        value, written = _json_value(node, wire, location, name, schemas), IN_JSON
    doc = str(node.get("description", "")) or value.doc
    if node.get("deprecated") is True or value.deprecated:
        doc += " Deprecated."
    required = node.get("required") is True or location == "path"
    return Input(location, wire, value, required, doc, node.place, written)


def _check_header(node: Node, wire: str) -> None:
    if re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", wire) is None:
        raise node.refuse(f"no header can be called {json.dumps(wire)}", "Correct its name.")
    if wire.lower() in OWN_HEADERS:
        raise node.refuse(
            f"the header parameter {wire} is not supported, because the client writes it",
            "Leave it out, if calls without it are right.",
        )


def _style(node: Node, wire: str, location: str, shape: str) -> str:
    """Return `Input.style` of a parameter with a schema."""
    style = str(node.get("style", "form" if location == "query" else "simple"))
    explode = node.get("explode", style == "form") is True
    write = {"path": _in_path, "query": _in_query, "header": _in_header}[location]
    written = write(shape, style, explode)
    if written is None:
        raise node.refuse(
            f"the {location} parameter {wire} is {SHAPES[shape]} of the style {style}"
            f"{', exploded,' if explode else ''} and that is not supported",
            "Use a scalar, a list of scalars or an object of scalars, in a style that OpenAPI "
            "has for it.",
        )
    return written


def _json_value(node: Node, wire: str, location: str, name: str, schemas: Schemas) -> Value:
    """Return the value of a parameter with `content`."""
    media = json_media(node)
    if media is None:
        kinds = ", ".join(node.get("content", {})) or "no media type"
        raise node.refuse(
            f"the {location} parameter {wire} with {kinds} is not supported",
            f"Describe it with {JSON}, or give it a `schema` if it is plain text.",
        )
    if "schema" not in media.node:
        raise media.node.refuse(f"the {location} parameter {wire} has no schema", "Give it one.")
    return schemas.read(media.node.child("schema"), name + pascal_case(wire))


SHAPES: Final = {
    "scalar": "a scalar",
    "list": "a list",
    "object": "an object",
    "": "neither a scalar nor a list or an object of scalars, and",
}


def _shape(value: Value, schemas: Schemas) -> str:
    """Return the shape of a parameter: a key of `SHAPES`."""
    match value.kind:
        case Items(item=item):
            return "list" if _is_scalar(item) else ""
        case Entries(value=inner):
            return "object" if _is_scalar(inner) else ""
        case Object(name=name):
            schemas.finish()
            fields = schemas.objects[name].fields
            return "object" if all(_is_scalar(field.value) for field in fields) else ""
        case _:
            return "scalar" if _is_scalar(value) else ""


def _in_path(shape: str, style: str, explode: bool) -> str | None:
    """Return the last arguments of `styles.in_path`.

    Returns:
        The empty text for a plain segment; `None` if OpenAPI has no such style.
    """
    if not shape or style not in ("simple", "label", "matrix"):
        return None
    if shape == "scalar" and style == "simple":
        return ""
    return f"{literal(style)}, explode={explode}"


def _in_query(shape: str, style: str, explode: bool) -> str | None:
    """Return how a parameter of the query is serialised.

    Returns:
        The empty text for a scalar; the last argument of `styles.query_list` or
        `styles.query_object`; `None` if OpenAPI has no such style.
    """
    delimiters = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}
    match shape:
        case "scalar":
            return "" if style == "form" else None
        case "list" if style in delimiters and not explode:
            return literal(delimiters[style])
        case "list" if style == "form":
            return "None"
        case "object" if style == "form" and explode:
            return literal("exploded")
        # OpenAPI does not say what `explode` changes for deepObject.
        case "object" if style == "deepObject" or (style in delimiters and not explode):
            return literal(style)
        case _:
            return None


def _in_header(shape: str, style: str, explode: bool) -> str | None:
    """Return the last argument of `styles.in_header`; `None` if OpenAPI has no such style."""
    return f"explode={explode}" if shape and style == "simple" else None


def _is_scalar(value: Value) -> bool:
    if isinstance(value.kind, Alternatives):
        return all(map(_is_scalar, value.kind.branches))
    return isinstance(value.kind, Text | Number | Flag | Choice)


def body_of(
    raw: RawOperation, name: str, schemas: Schemas
) -> tuple[ObjectSchema | None, str, list[Input]]:
    """Return the parts of the body: its object with the listed properties, media type, inputs."""
    if "requestBody" not in raw.node:
        return None, JSON, []
    request = raw.node.at("requestBody")
    if raw.method == "get":
        raise request.refuse("a GET with a body is not supported", "Use another method.")
    media = json_media(request)
    if media is None:
        kinds = ", ".join(request.get("content", {})) or "no media type"
        raise request.refuse(f"a body of {kinds} is not supported", f"Offer {JSON} as well.")
    if "schema" not in media.node:
        raise media.node.refuse("the body has no schema", "Give it one.")
    schema = media.node.child("schema")
    value = schemas.read(schema, f"{name}Body")
    if isinstance(value.kind, Entries):
        required = request.get("required") is True
        doc = value.doc or "The fields of the body."
        return None, media.sent, [Input("body", EXTRA, value, required, doc, schema.place)]
    if not isinstance(value.kind, Object):
        raise schema.refuse(
            "the body is not one object, which is not supported", "Wrap it in an object."
        )
    schemas.finish()
    body = schemas.objects[value.kind.name]
    unlisted = set(_conditional(body.node)) - {field.wire for field in body.fields}
    if unlisted:
        raise body.node.refuse(
            f"only some alternatives of the body have {', '.join(sorted(unlisted))}",
            "List all properties of the body beside each other.",
        )
    inputs = list(_body_fields(body))
    if body.extra is not None:
        extra = Value(Entries(body.extra))
        doc = "More fields of the body, which the contract does not list."
        inputs.append(Input("body", EXTRA, extra, False, doc, body.node.place))
    return body, media.sent, inputs


def _conditional(node: Node) -> Iterator[str]:
    """Yield the properties that only alternatives or conditions of an object list."""
    parts = [*node.items("oneOf"), *node.items("anyOf")]
    parts += [node.child(word) for word in ("then", "else") if word in node]
    parts += [part for _, part in node.entries("dependentSchemas")]
    for part in parts:
        if is_object(part.value):
            yield from part.follow().get("properties", {})


def _body_fields(body: ObjectSchema) -> Iterator[Input]:
    for field in body.fields:
        if not field.value.read_only:
            value = field.value
            yield Input("body", field.wire, value, field.required, value.words, field.node.place)


def key_of(raw: RawOperation) -> Input:
    """Return the argument for the idempotency key of a write whose contract does not list it."""
    doc = "Identifies this call: repeat it under the same key. Default: a new random key."
    return Input("body", KEY, Value(Text(min_length=1)), False, doc, raw.node.place)
