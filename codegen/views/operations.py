"""Turn the contract's operations into methods: arguments, body, result."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from document import Node, RawOperation, RefusedError, is_object
from media import JSON, json_media

from .annotations import answer, argument
from .causes import Causes
from .checks import bounds_doc, check, form_doc
from .commands import CommandView, MethodArgument, command_view
from .models import reachable
from .names import (
    TYPE_NAMES,
    argument_name,
    function_name,
    identifier,
    module_name,
    pascal_case,
)
from .surface import WRITES, KeyLifetimeView, Row, Surface
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

SENT: Final = ("get", "put", "post", "delete", "patch")
"""The methods that the client sends."""

RESERVED_METHODS: Final = frozenset(
    [*keyword.kwlist, *(TYPE_NAMES - {"list", "dict", "tuple"}), "object"]
)
"""Names that annotations in the classes of resources use."""

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
class ArgumentView:
    name: str
    wire: str
    annotation: str
    check: str
    doc: str
    default: str | None
    keyword: bool
    omitted: str | None
    """The value for which it is not sent; `None` if it is always sent."""
    is_composite: bool = False
    """Whether its check returns a part of the query, or fields of the body."""
    first_keyword: bool = False


@attrs.frozen
class ImportView:
    rows: str
    key: str
    largest: int


@attrs.frozen
class OperationView:
    operation_id: str
    function: str
    tag: str
    resource: str
    method_name: str
    http_method: str
    template: str
    path_expression: str
    summary: str
    description: str
    arguments: list[ArgumentView]
    query: list[ArgumentView]
    headers: list[ArgumentView]
    fixed_headers: list[tuple[str, str]]
    """Media types that replace those of the client, as Python source."""
    body: list[ArgumentView] | None
    deprecated: bool
    omits_body: bool
    """Whether there is no body if all its fields are left out."""
    alias: str | None
    result: str
    """The annotation of the result."""
    decode: str
    """The expression that decodes the result from the JSON value."""
    is_object: bool
    """Whether that value is an object."""
    result_doc: str
    errors_doc: str
    enveloped: bool
    may_be_empty: bool
    replayed: str | None
    timeout: float | None
    key_lifetime: KeyLifetimeView | None
    imports: ImportView | None
    players: str
    """A Python expression: the ids of the players that the call names, as a tuple."""
    command: CommandView

    @property
    def methods(self) -> list[str]:
        """The names of its methods."""
        imports = f"import_{self.method_name}" if self.imports else None
        return [name for name in (self.method_name, self.alias, imports) if name is not None]

    @property
    def in_outbox(self) -> bool:
        """Whether an outbox can record it. An outbox stores path and body, but no headers."""
        return self.key_lifetime is not None and not self.headers


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


@attrs.frozen
class Result:
    model: str
    doc: str
    enveloped: bool = False
    may_be_empty: bool = False
    is_object: bool = True
    """Whether the model is an object of the contract; `Model` is not."""
    annotation: str = ""
    """The annotation and decoder of a result that is not an object, or of the unwrapped field."""
    decode: str = ""
    plain: Value | None = None
    """What it is, if it is no object."""
    media: str = JSON
    """The value of `Accept`."""

    @property
    def roots(self) -> list[Value]:
        """What has to be generated for it."""
        if self.plain is not None:
            return [self.plain]
        return [Value(Object(self.model))] if self.is_object else []


@attrs.define
class Operation:
    """An operation, or the part of it that could be read."""

    raw: RawOperation
    row: Row
    inputs: list[Input] = attrs.field(factory=list[Input])
    body: ObjectSchema | None = None
    has_body: bool = False
    media: str = JSON
    """The `Content-Type` of the body."""
    result: Result | None = None
    view: OperationView | None = None
    """The view; `None` if a part of the operation was refused."""

    def schemas(self, schemas: Schemas) -> set[str]:
        """Return the names of the objects that it sends or reads."""
        sent = [each.value for each in self.inputs]
        found = reachable(sent, schemas, sent=True)[0]
        if self.body is not None:
            found.add(self.body.name)
        if self.result is not None:
            found |= reachable(self.result.roots, schemas, sent=False)[0]
        return found


def read(
    raw: RawOperation, row: Row, surface: Surface, schemas: Schemas, causes: Causes
) -> Operation:
    """Return an operation. Problems are collected in `causes`."""
    found = Operation(raw, row)
    name = pascal_case(row.operation_id)
    with causes.collected():
        _check_call(raw)
    with causes.collected():
        found.inputs += _parameters(raw, name, schemas, causes)
    with causes.collected():
        found.body, found.media, inputs = _body(raw, name, schemas)
        if "requestBody" not in raw.node and raw.method in WRITES:
            # The client adds the key to the body of every write, so there is one.
            inputs.append(_key(raw))
        found.inputs += inputs
        found.has_body = "requestBody" in raw.node or raw.method in WRITES
    with causes.collected():
        result = found.result = _unwrapped(_result(raw, name, schemas), row, schemas)
        if not causes.has(causes.owner):
            found.view = _view(found, result, surface)
    return found


def _check_call(raw: RawOperation) -> None:
    if raw.method not in SENT:
        raise raw.node.refuse(
            f"the client does not send {raw.method.upper()}", "Leave the operation out."
        )
    common = raw.node.document.get("servers")
    for owner in (raw.node, raw.item):
        if "servers" in owner and owner.value["servers"] != common:
            raise owner.child("servers").refuse(
                "servers of its own are not supported, because the client has one address",
                "Leave them out, if the server of the whole contract serves this too.",
            )


def _parameters(raw: RawOperation, name: str, schemas: Schemas, causes: Causes) -> Iterator[Input]:
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


def _body(
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


def _key(raw: RawOperation) -> Input:
    """Return the argument for the idempotency key of a write whose contract has no body."""
    doc = "Identifies this call: repeat it under the same key. Default: a new random key."
    return Input("body", "idempotencyKey", Value(Text(min_length=1)), False, doc, raw.node.place)


def _unwrapped(result: Result, row: Row, schemas: Schemas) -> Result:
    """Return the result, or the field that the row unwraps."""
    if row.unwrap is None:
        return result
    fields = schemas.objects[result.model].fields if result.is_object else []
    for field in fields:
        if field.wire == row.unwrap:
            annotation, decoder = answer(
                field.value, schemas, models="_models.", module="_decoding"
            )
            return attrs.evolve(
                result,
                doc=field.value.doc or result.doc,
                annotation=annotation,
                decode=f"_decoding.as_field({literal(field.wire)}, {decoder})",
            )
    raise RefusedError(
        "surface.yaml", f"the result has no field {row.unwrap} to unwrap", "Name one that it has."
    )


def _result(raw: RawOperation, name: str, schemas: Schemas) -> Result:
    responses = list(raw.node.entries("responses"))
    successes = [(status, node.follow()) for status, node in responses if status[:1] == "2"]
    if not successes:
        raise raw.node.refuse("no success is documented", "Document a 2xx response.")
    found: Result | None = None
    may_be_empty = False
    for status, response in successes:
        if not response.get("content"):
            may_be_empty = True
            continue
        result = _read_result(response, f"{name}Response{status}", schemas)
        if found is not None and result != found:
            raise response.refuse(
                f"this success is {result.model}, another is {found.model}",
                "Give all successes the same schema.",
            )
        found = result
    if found is None:
        doc = "`Model`: empty, with the details of the call in `http`."
        return Result("Model", doc, may_be_empty=True, is_object=False)
    if found.plain is not None and (may_be_empty or raw.method in WRITES):
        raise raw.node.refuse(
            "a success that is not an object is not supported for writes, whose results an "
            "outbox keeps, nor beside one without a body",
            "Wrap it in an object.",
        )
    return attrs.evolve(found, may_be_empty=may_be_empty)


def _read_result(response: Node, name: str, schemas: Schemas) -> Result:
    media = json_media(response)
    if media is None:
        kinds = ", ".join(response.get("content", {}))
        raise response.refuse(f"a success of {kinds} is not supported", f"Offer {JSON} as well.")
    if "schema" not in media.node:
        raise media.node.refuse("the success has no schema", "Give it one.")
    found = _read_schema(media.node.child("schema"), name, schemas)
    return attrs.evolve(found, media=media.name)


def _read_schema(schema: Node, name: str, schemas: Schemas) -> Result:
    value = schemas.read(schema, name)
    schemas.finish()
    enveloped = False
    if isinstance(value.kind, Object):
        fields = schemas.objects[value.kind.name].fields
        if [field.wire for field in fields] == ["data"]:
            value, enveloped = fields[0].value, True
    if isinstance(value.kind, Object):
        model = value.kind.name
        doc = schemas.objects[model].doc
        return Result(model, f"`{model}`: {doc}".rstrip(": "), enveloped)
    if isinstance(value.kind, Entries):
        doc = f"`Model`: {value.doc or 'An object.'}"
        return Result("Model", doc, enveloped, is_object=False)
    kind = _json_kind(value)
    if kind is None or value.nullable:
        raise schema.refuse(
            "a success of several kinds, or that may be null, is not supported",
            "Wrap it in an object.",
        )
    annotation, decoder = answer(value, schemas, models="_models.", module="_decoding")
    return Result(
        annotation,
        value.doc or "The answer.",
        enveloped,
        is_object=False,
        annotation=annotation,
        decode=f"_decoding.as_answer({kind}, {decoder})",
        plain=value,
    )


def _json_kind(value: Value) -> str | None:
    """Return the first argument of `decoding.as_answer`; `None` if the value has several kinds."""
    match value.kind:
        case Items():
            return "list"
        case Text():
            return "str"
        case Number():
            return "float"
        case Flag():
            return "bool"
        case Choice(kind="int"):
            return "float"
        case Choice(kind="str" | "float" | "bool" as kind):
            return kind
        case _:
            return None


def _view(operation: Operation, result: Result, surface: Surface) -> OperationView:
    raw, row, inputs = operation.raw, operation.row, operation.inputs
    listed = [each.wire for each in inputs if each.location == "body" and each.wire != EXTRA]
    views = [_argument(each, row, surface, listed) for each in inputs]
    _check_names(inputs, views)
    by_location = {
        location: [v for i, v in zip(inputs, views, strict=True) if i.location == location]
        for location in ("path", "query", "header", "body")
    }
    path, query, headers, body = by_location.values()
    tags: list[str] = raw.node.get("tags") or ["default"]
    answers = [(status, node.follow()) for status, node in raw.node.entries("responses")]
    return OperationView(
        operation_id=row.operation_id,
        function=function_name(row.operation_id),
        tag=module_name(str(tags[0])),
        resource=row.resource,
        method_name=identifier(row.method, "method", RESERVED_METHODS),
        http_method=raw.method.upper(),
        template=raw.path,
        path_expression=_path_expression(raw.path, {view.wire: view.check for view in path}),
        summary=str(raw.node.get("summary", row.operation_id)),
        description=str(raw.node.get("description", "")),
        arguments=(
            _in_order(row, inputs, views)
            if row.order
            else _ordered(path, [*body, *query, *headers])
        ),
        query=query,
        headers=headers,
        fixed_headers=list(_media_headers(operation, result)),
        body=body if operation.has_body else None,
        deprecated=raw.node.get("deprecated") is True,
        omits_body=raw.method not in WRITES and not raw.node.at("requestBody").get("required"),
        alias=row.alias,
        result=result.annotation or f"_models.{result.model}",
        decode=result.decode or f"_models.{result.model}",
        is_object=result.plain is None,
        result_doc=result.doc,
        errors_doc="The server rejected the call or failed. "
        + " ".join(f"{s}: {a.get('description')}" for s, a in answers if not s.startswith("2")),
        enveloped=result.enveloped,
        may_be_empty=result.may_be_empty,
        replayed=row.replayed,
        timeout=row.timeout,
        key_lifetime=row.key_lifetime,
        imports=_imports(row, inputs),
        players=_players(row, surface, inputs, views),
        command=_command(raw, row, inputs, views),
    )


def _command(
    raw: RawOperation, row: Row, inputs: list[Input], views: list[ArgumentView]
) -> CommandView:
    taken = [
        MethodArgument(
            wire=each.wire,
            location=each.location,
            name=view.name,
            value=each.value,
            doc=(each.doc + bounds_doc(each.value)).strip() or view.doc,
            required=each.required,
            nullable=view.omitted == "UNSET",
            default=row.defaults.get(each.wire),
        )
        for each, view in zip(inputs, views, strict=True)
    ]
    summary = str(raw.node.get("summary", row.operation_id))
    description = str(raw.node.get("description", ""))
    return command_view(row, summary, description, taken, writes=raw.method != "get")


def _argument(each: Input, row: Row, surface: Surface, listed: list[str]) -> ArgumentView:
    is_extra = each.location == "body" and each.wire == EXTRA
    renamed = "fields" if is_extra else None
    renamed = row.names.get(f"{each.location}.{each.wire}") or row.names.get(each.wire) or renamed
    name = renamed or surface.arguments.get(each.wire) or argument_name(each.wire)
    annotation = argument(each.value, models="_models.", params="_params.")
    expression = check(each.value, name, literal(name))
    if is_extra:
        expression = f"_checks.extra({literal(name)}, {name}, {listed!r})"
    # Only JSON can hold null.
    nullable = (each.location == "body" or each.style == IN_JSON) and each.value.nullable
    if nullable and annotation != "Any":
        expression = f"None if {name} is None else {expression}"
    if each.location != "body":
        expression = _written(each, name, expression)
    default: str | None = None
    omitted: str | None = None
    if each.wire in row.defaults:
        default = literal(row.defaults[each.wire])
    elif not each.required:
        default = omitted = "UNSET" if nullable else "None"
    if annotation != "Any":
        annotation += " | Unset" if omitted == "UNSET" else ""
        annotation += " | None" if nullable or omitted == "None" else ""
    doc = each.doc + form_doc(each.value) + bounds_doc(each.value)
    if omitted == "UNSET":
        doc += " Pass `None` to send null; leave it out to send nothing."
    return ArgumentView(
        name=name,
        wire=literal(each.wire),
        annotation=annotation,
        check=expression,
        doc=doc.strip() or f"The contract's `{each.wire}`.",
        default=default,
        keyword=each.location != "path" and each.wire not in row.positional,
        omitted=omitted,
        is_composite=is_extra or (each.location == "query" and each.style not in ("", IN_JSON)),
    )


def _written(each: Input, name: str, expression: str) -> str:
    """Return the expression for a parameter's value in the URL or in a header.

    Args:
        each: The parameter.
        name: The argument.
        expression: The checked value.
    """
    label, wire, kind = literal(name), literal(each.wire), each.value.kind
    if each.style == IN_JSON:
        expression = f"_styles.as_json({label}, {expression})"
    elif isinstance(kind, Alternatives):
        expression = f"_checks.scalar({label}, {name})"
    match each.location, each.style:
        case "path", "" if isinstance(kind, Text) and kind.format is None:
            return f"_checks.path_segment({label}, {name})"
        case "path", "":
            return f"_checks.path_segment({label}, _checks.text({expression}))"
        case "path", _ if each.style == IN_JSON:
            return f"_checks.path_segment({label}, {expression})"
        case "path", _:
            return f"_styles.in_path({label}, {wire}, {expression}, {each.style})"
        case "header", _ if each.style == IN_JSON:
            return f"_styles.in_header({label}, {expression}, explode=False)"
        case "header", _:
            return f"_styles.in_header({label}, {expression}, {each.style})"
        case _ if each.style in ("", IN_JSON):
            return expression
        case _:
            function = "query_list" if isinstance(kind, Items) else "query_object"
            part = f"_styles.{function}({label}, {wire}, {expression}, {each.style})"
            return f"_styles.not_empty({label}, {part})" if each.required else part


def _media_headers(operation: Operation, result: Result) -> Iterator[tuple[str, str]]:
    """Yield the headers of an operation whose media types are not those of the client."""
    if result.media != JSON:
        # Errors have the usual media type.
        yield literal("Accept"), literal(f"{result.media}, {JSON}")
    if operation.media != JSON:
        yield literal("Content-Type"), literal(operation.media)


def _check_names(inputs: list[Input], views: list[ArgumentView]) -> None:
    taken: dict[str, Input] = {}
    for each, view in zip(inputs, views, strict=True):
        other = taken.setdefault(view.name, each)
        if other is not each:
            raise RefusedError(
                each.place,
                f"the argument {view.name} would be both {other.location} {other.wire!r} and "
                f"{each.location} {each.wire!r}",
                f"Rename one with `names: {{{each.location}.{each.wire}: ...}}` in surface.yaml.",
            )


def _in_order(row: Row, inputs: list[Input], views: list[ArgumentView]) -> list[ArgumentView]:
    """Return the arguments in the order of the row; those after `*` are keyword-only."""
    wires = [each.wire for each in inputs]
    names = {
        (each.wire if wires.count(each.wire) == 1 else f"{each.location}.{each.wire}"): view
        for each, view in zip(inputs, views, strict=True)
    }
    listed = [name for name in row.order if name != "*"]
    if sorted(listed) != sorted(names) or row.order.count("*") > 1:
        raise RefusedError(
            "surface.yaml",
            f"order must name each of {', '.join(names)} once, and `*` before those that are "
            "keyword-only",
            "Correct it.",
        )
    split = row.order.index("*") if "*" in row.order else len(listed)
    ordered = [
        attrs.evolve(names[name], keyword=index >= split, first_keyword=index == split)
        for index, name in enumerate(listed)
    ]
    defaults = [each.default is not None for each in ordered[:split]]
    if sorted(defaults) != defaults:
        raise RefusedError(
            "surface.yaml",
            "order has an argument without a default after one that has a default",
            "Move it, or make the others keyword-only.",
        )
    return ordered


def _ordered(path: list[ArgumentView], others: list[ArgumentView]) -> list[ArgumentView]:
    # Python requires arguments without a default first.
    rest = [a for a in others if a.default is None] + [a for a in others if a.default is not None]
    positional = [*path, *(a for a in rest if not a.keyword)]
    keywords = [a for a in rest if a.keyword]
    if keywords:
        keywords[0] = attrs.evolve(keywords[0], first_keyword=True)
    return [*positional, *keywords]


def _path_expression(template: str, segments: Mapping[str, str]) -> str:
    pieces = re.split(r"\{([^}]*)\}", template)
    # Fixed text and parameter names alternate.
    texts = [literal(text) for text in pieces[::2]]
    checks = [segments[literal(name)] for name in pieces[1::2]]
    parts = [texts[0], *(part for pair in zip(checks, texts[1:], strict=True) for part in pair)]
    return " + ".join(part for part in parts if part != '""')


def _imports(row: Row, inputs: Iterable[Input]) -> ImportView | None:
    """Return the view of the method `import_<method>`; `None` if there is none.

    Raises:
        RefusedError: The operation has no list `rows` with `maxItems`, or settings are missing.
    """
    if row.imports is None:
        return None
    lists = {each.wire: each.value.kind for each in inputs if each.location == "body"}
    rows = lists.get("rows")
    largest = rows.max_items if isinstance(rows, Items) else None
    if largest is None or row.key_lifetime is None or set(row.imports) != {"rows", "key"}:
        raise RefusedError(
            "surface.yaml",
            "imports needs the settings rows and key, its row needs a key, and the operation needs "
            "a list `rows` with maxItems",
            "Add what is missing.",
        )
    return ImportView(row.imports["rows"], row.imports["key"], largest)


def _players(
    row: Row, surface: Surface, inputs: Iterable[Input], views: Iterable[ArgumentView]
) -> str:
    """Return a Python expression for the ids of the players that a write names, as a tuple.

    An outbox sends the writes of one player in order, so it has to know all of them.

    Raises:
        RefusedError: A write names no player, and its row does not say so.
    """
    if row.key_lifetime is None:
        return "()"
    found = {
        each.wire: (each, view)
        for each, view in zip(inputs, views, strict=True)
        if each.location in ("path", "body")
    }
    parts: list[str] = []
    for entry in surface.players:
        wire, _, field = entry.partition("[].")
        if wire not in found:
            continue
        each, view = found[wire]
        missing = {"UNSET": f"{view.name} is UNSET or {view.name} is None"}.get(
            str(view.omitted), f"{view.name} is None"
        )
        may_be_missing = view.omitted is not None or "| None" in view.annotation
        if field:
            parts.append(f"*_checks.each({view.name}, {literal(field)})")
        elif isinstance(each.value.kind, Items):
            parts.append(f"*({view.name} or ())" if may_be_missing else f"*{view.name}")
        elif may_be_missing:
            parts.append(f"*(() if {missing} else ({view.name},))")
        else:
            parts.append(view.name)
    if bool(parts) == row.names_no_player:
        raise RefusedError(
            "surface.yaml",
            "it is not clear which players it names",
            "Add the place of their ids to `players`, or set `players: none` if it names none.",
        )
    return f"({', '.join(parts)},)" if parts else "()"
