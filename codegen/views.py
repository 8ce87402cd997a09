"""Turn the parsed contract and the surface into plain values for the templates.

Everything here is pure. openapi-python-client parses and names the schemas. Its parser
drops bounds, key order, discriminators and descriptions; they come from the raw contract.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeGuard

import attrs
from openapi_python_client.parser import GeneratorData
from openapi_python_client.parser.openapi import Endpoint
from openapi_python_client.parser.properties import (
    AnyProperty,
    LiteralEnumProperty,
    ModelProperty,
)
from openapi_python_client.parser.properties.boolean import BooleanProperty
from openapi_python_client.parser.properties.const import ConstProperty
from openapi_python_client.parser.properties.date import DateProperty
from openapi_python_client.parser.properties.datetime import DateTimeProperty
from openapi_python_client.parser.properties.float import FloatProperty
from openapi_python_client.parser.properties.int import IntProperty
from openapi_python_client.parser.properties.list_property import ListProperty
from openapi_python_client.parser.properties.none import NoneProperty
from openapi_python_client.parser.properties.protocol import PropertyProtocol as Property
from openapi_python_client.parser.properties.union import UnionProperty
from openapi_python_client.strings import PythonIdentifier, snake_case

Json = dict[str, Any]


class SurfaceError(Exception):
    """The contract and the surface do not match; one line per cause."""

    def __init__(self, causes: Iterable[str]) -> None:
        self.causes = list(causes)
        super().__init__("\n".join(self.causes))


# Names that a property must not have: Python's keywords, those of the base class, and those
# that annotations and decorators in the class body use.
RESERVED: Final = frozenset(
    [
        *keyword.kwlist,
        *dir(dict),
        *("http", "replayed", "property", "decoding"),
        *("str", "int", "float", "bool", "list", "dict", "date", "datetime"),
    ]
)


@attrs.frozen
class EnumView:
    name: str
    values: list[str]
    doc: str


@attrs.frozen
class FieldView:
    name: str
    wire: str
    annotation: str
    doc: str
    required: bool = True
    decoder: str = ""
    is_union: bool = False
    is_identifier: bool = True


@attrs.frozen
class ModelView:
    name: str
    doc: str
    fields: list[FieldView]


@attrs.frozen
class ParamsView:
    name: str
    doc: str
    required: list[FieldView]
    optional: list[FieldView]


@attrs.frozen
class ArgumentView:
    name: str
    wire: str
    annotation: str
    check: str
    doc: str
    default: str | None
    keyword: bool
    nullable: bool
    first_keyword: bool = False


@attrs.frozen
class KeyLifetimeView:
    name: str
    constant: str
    repeat_within_hours: int | None
    doc: str


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
    body: list[ArgumentView] | None
    result: str
    result_doc: str
    errors_doc: str
    enveloped: bool
    replayed: str | None
    timeout: float | None
    key_lifetime: KeyLifetimeView | None
    imports: ImportView | None
    players: str
    """A Python expression: the ids of the players that the call names, as a tuple."""


@attrs.frozen
class ResourceView:
    name: str
    class_name: str
    doc: str
    tags: list[str]
    operations: list[OperationView]
    has_imports: bool
    has_writes: bool


@attrs.frozen
class PackageView:
    title: str
    enums: list[EnumView]
    models: list[ModelView]
    params: list[ParamsView]
    params_enums: list[str]
    key_lifetimes: list[KeyLifetimeView]
    operations: list[OperationView]
    resources: list[ResourceView]
    error_codes: list[str]
    error_codes_doc: str


def _is_object(node: object) -> TypeGuard[Json]:
    return isinstance(node, dict)


def _is_array(node: object) -> TypeGuard[list[Any]]:
    return isinstance(node, list)


def literal(value: object) -> str:
    """Return a JSON scalar as Python source."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def resolve(contract: Json, node: Json) -> Json:
    """Return the node itself, or the target of its `$ref`."""
    while "$ref" in node:
        target: Any = contract
        for part in str(node["$ref"]).removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def raw_operations(contract: Json) -> Iterator[tuple[str, str, Json]]:
    """Yield each operation with its method and path, in the contract's order."""
    methods = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
    for path, item in contract["paths"].items():
        for method in methods:
            if method in item:
                yield method, path, item[method]


# The settings that a row of the surface may have.
SETTINGS: Final = frozenset(
    {"method", "positional", "defaults", "replayed", "timeout", "key", "imports", "players"}
)

# The methods whose bodies carry an idempotency key.
WRITES: Final = frozenset({"post", "put", "patch"})


def check_surface(contract: Json, surface: Json) -> None:
    """Check that operations and rows match, and that each row is valid.

    Raises:
        SurfaceError: They do not match, or a row is invalid; one cause per mistake.
    """
    http_methods = {raw.get("operationId"): verb for verb, _, raw in raw_operations(contract)}
    known = list(http_methods)
    lifetimes = surface.get("key_lifetimes", {})
    rows = surface["operations"]
    causes = [f"operation {name} has no row in surface.yaml" for name in known if name not in rows]
    causes += [f"surface.yaml: row {name} has no operation" for name in rows if name not in known]
    methods: dict[str, str] = {}
    for name, row in rows.items():
        method = str(row.get("method"))
        resource = method.partition(".")[0]
        if re.fullmatch(r"[a-z_]+\.[a-z_]+", method) is None:
            causes.append(f"surface.yaml: {name}: method must be <resource>.<method>, not {method}")
        elif resource not in surface["resources"]:
            causes.append(f"surface.yaml: {name}: no such resource: {resource}")
        elif method in methods:
            causes.append(f"surface.yaml: {name}: {method} is already used by {methods[method]}")
        methods[method] = name
        key = row.get("key")
        if http_methods.get(name) in WRITES:
            if key not in lifetimes:
                causes.append(
                    f"surface.yaml: {name}: key must be one of {', '.join(lifetimes)}, not {key}"
                )
        elif key is not None:
            causes.append(f"surface.yaml: {name}: key must be left out, since this is not a write")
        unknown = set(row) - SETTINGS
        causes += [f"surface.yaml: {name}: unknown setting {key}" for key in sorted(unknown)]
    if causes:
        raise SurfaceError(causes)


def _wire(prop: Property) -> str:
    return prop.name.get_untrusted_value()


def _doc(prop: Property) -> str:
    return prop.description.get_untrusted_value() if prop.description else ""


def _fields(model: ModelProperty) -> list[Property]:
    fields = [*(model.required_properties or []), *(model.optional_properties or [])]
    order = {name.get_untrusted_value(): i for i, name in enumerate(model.data.properties or {})}
    return sorted(fields, key=lambda prop: order.get(_wire(prop), len(order)))


def _is_map(model: ModelProperty) -> bool:
    return not model.data.properties and not model.data.allOf


def python_name(wire: str, taken: Iterable[str]) -> str:
    """Return a wire name in snake_case, with an underscore if that name is taken."""
    name = snake_case(wire) or "field"
    if not name.isidentifier() and not keyword.iskeyword(name):
        name = f"field_{name}"
    while name in RESERVED or name in taken:
        name += "_"
    return name


def _split_null(prop: Property) -> tuple[list[Property], bool]:
    """Return a property's branches without `null`, and whether `null` was one."""
    if not isinstance(prop, UnionProperty):
        return [prop], isinstance(prop, NoneProperty)
    branches = [inner for inner in prop.inner_properties if not isinstance(inner, NoneProperty)]
    return branches, len(branches) < len(prop.inner_properties)


@attrs.frozen
class Types:
    """Maps properties to Python types, for answers and for arguments."""

    discriminators: Mapping[frozenset[str], tuple[str, Mapping[str, str]]]

    @classmethod
    def of(cls, contract: Json) -> Types:
        found: dict[frozenset[str], tuple[str, Mapping[str, str]]] = {}
        nodes: list[Any] = [contract]
        while nodes:
            node = nodes.pop()
            if _is_array(node):
                nodes.extend(node)
            if not _is_object(node):
                continue
            nodes.extend(node.values())
            if "discriminator" in node and ("oneOf" in node or "anyOf" in node):
                branches: list[Json] = node.get("oneOf") or node["anyOf"]
                refs = [str(branch["$ref"]).rpartition("/")[2] for branch in branches]
                mapping = node["discriminator"].get("mapping") or {name: name for name in refs}
                tags = {tag: str(ref).rpartition("/")[2] for tag, ref in mapping.items()}
                found[frozenset(refs)] = (node["discriminator"]["propertyName"], tags)
        return cls(found)

    def answer(self, prop: Property) -> tuple[str, str]:
        """Return annotation and decoder of a value that the server sends, ignoring `null`."""
        branches, _ = _split_null(prop)
        if len(branches) != 1:
            return self._answer_union(branches)
        match branches[0]:
            case BooleanProperty():
                return "bool", "decoding.as_bool"
            case IntProperty():
                return "int", "decoding.as_int"
            case FloatProperty():
                return "float", "decoding.as_float"
            case DateTimeProperty():
                return "datetime", "decoding.as_datetime"
            case DateProperty():
                return "date", "decoding.as_date"
            case LiteralEnumProperty() as enum:
                kind = enum.value_type.__name__
                return f"{enum.class_info.name} | {kind}", f"decoding.as_{kind}"
            case ConstProperty() as const:
                kind = "int" if isinstance(const.value.raw_value, int) else "str"
                return kind, f"decoding.as_{kind}"
            case ListProperty() as array:
                inner, decoder = self.answer(array.inner_property)
                if _split_null(array.inner_property)[1] and inner != "Any":
                    inner = f"{inner} | None"
                return f"list[{inner}]", f"decoding.as_list({decoder})"
            case ModelProperty() as model if _is_map(model):
                inner, decoder = "Any", "decoding.as_any"
                if model.additional_properties is not None:
                    inner, decoder = self.answer(model.additional_properties)
                return f"dict[str, {inner}]", f"decoding.as_map({decoder})"
            case ModelProperty() as model:
                return model.class_info.name, f"decoding.as_model({model.class_info.name})"
            case AnyProperty():
                return "Any", "decoding.as_any"
            case _:
                return "str", "decoding.as_str"

    def _answer_union(self, branches: list[Property]) -> tuple[str, str]:
        names = [b.class_info.name for b in branches if isinstance(b, ModelProperty)]
        if len(names) == len(branches) and frozenset(names) in self.discriminators:
            tag, models = self.discriminators[frozenset(names)]
            table = ", ".join(f"{literal(value)}: {name}" for value, name in models.items())
            union = " | ".join([*names, "dict[str, Any]"])
            return union, f"decoding.as_tagged({literal(tag)}, {{{table}}})"
        return "Any", "decoding.as_any"

    def argument(self, prop: Property, *, models: str, params: str, nested: bool = False) -> str:
        """Return the annotation of a value that the caller passes.

        Args:
            prop: The property.
            models: Prefix of names from the models module.
            params: Prefix of names from the params module.
            nested: Whether it is inside a dict argument, which is sent unchanged.
        """
        branches, nullable = _split_null(prop)
        parts = [self._argument(b, models=models, params=params, nested=nested) for b in branches]
        if any(isinstance(branch, ModelProperty) for branch in branches):
            # Every object may also be a plain dict, which comes last.
            parts = [part.removesuffix(" | Mapping[str, Any]") for part in parts]
            parts.append("Mapping[str, Any]")
        if nullable and nested:
            parts.append("None")
        return " | ".join(dict.fromkeys(parts))

    def _argument(self, prop: Property, *, models: str, params: str, nested: bool) -> str:
        match prop:
            case BooleanProperty():
                return "bool"
            case IntProperty():
                return "int"
            case FloatProperty():
                return "float"
            case DateTimeProperty() | DateProperty() if nested:
                return "str"
            case DateTimeProperty():
                return "datetime | str"
            case DateProperty():
                return "date | str"
            case LiteralEnumProperty() as enum:
                return f"{models}{enum.class_info.name}"
            case ConstProperty() as const:
                return f"Literal[{literal(const.value.raw_value)}]"
            case ListProperty() as array:
                inner = self.argument(
                    array.inner_property, models=models, params=params, nested=True
                )
                return f"Sequence[{inner}]"
            case ModelProperty() as model if _is_map(model):
                inner = "Any"
                if model.additional_properties is not None:
                    inner = self.argument(
                        model.additional_properties, models=models, params=params, nested=True
                    )
                return f"Mapping[str, {inner}]"
            case ModelProperty() as model:
                return f"{params}{model.class_info.name}Param"
            case AnyProperty():
                return "Any"
            case _:
                return "str"


def _reachable(
    roots: Iterable[Property], named: Mapping[str, ModelProperty]
) -> tuple[dict[str, ModelProperty], set[str]]:
    """Return the models and enum names that the roots refer to, directly or not."""
    models: dict[str, ModelProperty] = {}
    enums: set[str] = set()
    queue = list(roots)
    while queue:
        prop = queue.pop(0)
        match prop:
            case UnionProperty():
                queue.extend(prop.inner_properties)
            case ListProperty():
                queue.append(prop.inner_property)
            case LiteralEnumProperty():
                enums.add(prop.class_info.name)
            case ModelProperty() if prop.class_info.name not in models:
                # The parser may copy a model before reading its fields; `named` has complete ones.
                model = named[prop.class_info.name]
                models[prop.class_info.name] = model
                queue.extend(_fields(model))
                if model.additional_properties is not None:
                    queue.append(model.additional_properties)
            case _:
                pass
    return models, enums


def _bounds_doc(schema: Json) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    low = schema.get("minLength", schema.get("minItems", low))
    high = schema.get("maxLength", schema.get("maxItems", high))
    unit = {"string": " characters", "array": " items"}.get(str(schema.get("type")), "")
    shown = "2**53-1" if high == 2**53 - 1 else f"{high:,}" if high is not None else None
    if schema.get("type") in ("string", "array") and low == 1:
        return f" Not empty, at most {shown}{unit}." if shown else " Not empty."
    if low is not None and shown is not None:
        return f" From {low} to {shown}{unit}."
    if low is not None:
        return f" At least {low}{unit}."
    return f" At most {shown}{unit}." if shown is not None else ""


def _keywords(schema: Json, names: Mapping[str, str]) -> str:
    present = {ours: schema[theirs] for theirs, ours in names.items() if theirs in schema}
    return "".join(f", {name}={literal(value)}" for name, value in present.items())


def _check(contract: Json, schema: Json, name: str, label: str) -> str:
    """Return the expression that checks an argument and gives its wire value."""
    schema = resolve(contract, schema)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    kind = kinds[0] if len(kinds) == 1 else None
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None:
        values = [literal(value) for value in allowed if value is not None]
        comma = "," if len(values) == 1 else ""
        return f"_checks.one_of({label}, {name}, ({', '.join(values)}{comma}))"
    match kind, schema.get("format"):
        case "string", "date-time":
            return f"_checks.timestamp({label}, {name})"
        case "string", "date":
            return f"_checks.day({label}, {name})"
        case "string", _:
            bounds = _keywords(
                schema, {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
            )
            return f"_checks.string({label}, {name}{bounds})"
        case (("integer" | "number"), _):
            function = "integer" if kind == "integer" else "number"
            bounds = _keywords(schema, {"minimum": "minimum", "maximum": "maximum"})
            return f"_checks.{function}({label}, {name}{bounds})"
        case "boolean", _:
            return f"_checks.boolean({label}, {name})"
        case "array", _:
            bounds = _keywords(schema, {"minItems": "min_items", "maxItems": "max_items"})
            array = f"_checks.array({label}, {name}{bounds})"
            items = resolve(contract, schema.get("items", {}))
            if items.get("type") == "string":
                # Strings in arrays are checked here, but dicts only by the server.
                item = _check(contract, items, "_item", f"f'{name}[{{_i}}]'")
                return f"[{item} for _i, _item in enumerate({array})]"
            return array
        case "object", _:
            return f"_checks.mapping({label}, {name})"
        case _:
            options: list[Json] = schema.get("oneOf") or schema.get("anyOf") or []
            branches = [resolve(contract, option) for option in options]
            if branches and all(branch.get("type") == "object" for branch in branches):
                return f"_checks.mapping({label}, {name})"
            return name


def _parameter_name(wire: str, surface: Json) -> str:
    renamed = surface.get("arguments", {}).get(wire)
    if renamed is not None:
        return str(renamed)
    name = snake_case(wire)
    return f"{name}_" if keyword.iskeyword(name) or name == "self" else name


def _argument(
    contract: Json,
    surface: Json,
    row: Json,
    prop: Property,
    schema: Json,
    *,
    location: str,
    types: Types,
    description: str,
) -> ArgumentView:
    wire = _wire(prop)
    name = _parameter_name(wire, surface)
    resolved = resolve(contract, schema)
    doc = (description or str(resolved.get("description", ""))) + _bounds_doc(resolved)
    annotation = types.argument(prop, models="_models.", params="_params.")
    defaults = row.get("defaults", {})
    default: str | None = None
    nullable = False
    if wire in defaults:
        default = literal(defaults[wire])
    elif not prop.required:
        default, nullable = "None", True
        annotation += " | None"
    if location == "path" and resolved.get("type") == "string":
        check = f"_checks.path_segment({literal(name)}, {name})"
    else:
        check = _check(contract, schema, name, literal(name))
    if location == "path" and resolved.get("type") != "string":
        check = f"_checks.path_segment({literal(name)}, str({check}))"
    return ArgumentView(
        name=name,
        wire=literal(wire),
        annotation=annotation,
        check=check,
        doc=doc.strip() or f"The contract's `{wire}`.",
        default=default,
        keyword=location != "path" and wire not in row.get("positional", []),
        nullable=nullable,
    )


def _path_expression(template: str, segments: Mapping[str, str]) -> str:
    pieces = re.split(r"\{([^}]*)\}", template)
    # Fixed text and parameter names alternate.
    texts = [literal(text) for text in pieces[::2]]
    checks = [segments[literal(name)] for name in pieces[1::2]]
    parts = [texts[0], *(part for pair in zip(checks, texts[1:], strict=True) for part in pair)]
    return " + ".join(part for part in parts if part != '""')


def _result(endpoint: Endpoint) -> tuple[ModelProperty, bool]:
    """Return the model of a call's result, and whether the answer wraps it in `data`."""
    for response in endpoint.responses.patterns:
        if not response.status_code.pattern.startswith("2"):
            continue
        if isinstance(response.prop, ModelProperty):
            fields = _fields(response.prop)
            if [_wire(field) for field in fields] == ["data"]:
                data = fields[0]
                if isinstance(data, ModelProperty) and not _is_map(data):
                    return data, True
            elif fields:
                return response.prop, False
    raise SurfaceError([f"operation {endpoint.name} has no success answer that is an object"])


def _key_lifetimes(surface: Json) -> dict[str, KeyLifetimeView]:
    return {
        name: KeyLifetimeView(
            name=literal(name),
            constant=name.upper(),
            repeat_within_hours=row.get("repeat_within_hours"),
            doc=str(row["doc"]),
        )
        for name, row in surface.get("key_lifetimes", {}).items()
    }


def _imports(contract: Json, row: Json, raw: Json) -> ImportView | None:
    """Return the view of the method `import_<method>`; `None` if there is none.

    Raises:
        SurfaceError: The operation has no list `rows` with `maxItems`, or settings are missing.
    """
    if "imports" not in row:
        return None
    content = resolve(contract, raw.get("requestBody", {})).get("content", {})
    body = resolve(contract, content.get("application/json", {}).get("schema", {}))
    largest = resolve(contract, body.get("properties", {}).get("rows", {})).get("maxItems")
    if not isinstance(largest, int) or "key" not in row or row["imports"].keys() != {"rows", "key"}:
        raise SurfaceError(
            [
                f"surface.yaml: {raw['operationId']}: imports needs rows and key, the row a key, "
                "and the operation a list of rows with maxItems"
            ]
        )
    return ImportView(str(row["imports"]["rows"]), str(row["imports"]["key"]), largest)


def _players(contract: Json, surface: Json, raw: Json, arguments: Iterable[ArgumentView]) -> str:
    """Return a Python expression for the ids of the players that a write names, as a tuple.

    An outbox sends the writes of one player in order, so it has to know all of them.

    Raises:
        SurfaceError: A write names no player, and its row does not say so.
    """
    operation_id = raw["operationId"]
    row = surface["operations"][operation_id]
    if "key" not in row:
        return "()"
    by_wire = {view.wire: view for view in arguments}
    content = resolve(contract, raw.get("requestBody", {})).get("content", {})
    schema = resolve(contract, content.get("application/json", {}).get("schema", {}))
    parts: list[str] = []
    for entry in surface.get("players", []):
        wire, _, field = str(entry).partition("[].")
        view = by_wire.get(literal(wire))
        if view is None:
            continue
        kind = resolve(contract, schema.get("properties", {}).get(wire, {})).get("type")
        if field:
            parts.append(f"*_checks.each({view.name}, {literal(field)})")
        elif kind == "array":
            parts.append(f"*({view.name} or ())" if view.nullable else f"*{view.name}")
        elif view.nullable:
            parts.append(f"*(() if {view.name} is None else ({view.name},))")
        else:
            parts.append(view.name)
    if bool(parts) == (row.get("players") == "none"):
        raise SurfaceError(
            [
                f"surface.yaml: {operation_id}: list in `players` where it names players, or set "
                "`players: none` if it names none"
            ]
        )
    return f"({', '.join(parts)},)" if parts else "()"


def _operation(
    contract: Json,
    surface: Json,
    endpoint: Endpoint,
    method: str,
    template: str,
    raw: Json,
    types: Types,
) -> OperationView:
    row = surface["operations"][raw["operationId"]]
    if endpoint.header_parameters or endpoint.cookie_parameters:
        raise SurfaceError([f"operation {raw['operationId']}: header parameters are not supported"])

    def argument(prop: Property, schema: Json, location: str, description: str) -> ArgumentView:
        return _argument(
            contract,
            surface,
            row,
            prop,
            schema,
            location=location,
            types=types,
            description=description,
        )

    parameters = [resolve(contract, node) for node in raw.get("parameters", [])]
    by_name = {node["name"]: node for node in parameters}

    def parameter(prop: Property, location: str) -> ArgumentView:
        node = by_name[_wire(prop)]
        return argument(prop, node["schema"], location, str(node.get("description", "")))

    path = [parameter(prop, "path") for prop in endpoint.path_parameters]
    query = [parameter(prop, "query") for prop in endpoint.query_parameters]
    body: list[ArgumentView] | None = None
    if endpoint.bodies:
        prop = endpoint.bodies[0].prop
        content = resolve(contract, raw["requestBody"])["content"]["application/json"]
        schema = resolve(contract, content["schema"])
        if not isinstance(prop, ModelProperty):
            raise SurfaceError([f"operation {raw['operationId']}: the body is not an object"])
        body = [
            argument(field, schema["properties"][_wire(field)], "body", _doc(field))
            for field in _fields(prop)
        ]

    # Python requires arguments without a default first.
    rest = [a for a in [*(body or []), *query] if a.default is None]
    rest += [a for a in [*(body or []), *query] if a.default is not None]
    positional = [*path, *(a for a in rest if not a.keyword)]
    keywords = [a for a in rest if a.keyword]
    if keywords:
        keywords[0] = attrs.evolve(keywords[0], first_keyword=True)

    result, enveloped = _result(endpoint)
    resource, _, method_name = str(row["method"]).partition(".")
    answers = [(status, resolve(contract, node)) for status, node in raw["responses"].items()]
    return OperationView(
        operation_id=raw["operationId"],
        function=str(endpoint.name),
        tag=str(endpoint.tags[0]),
        resource=resource,
        method_name=f"{method_name}_" if keyword.iskeyword(method_name) else method_name,
        http_method=method.upper(),
        template=template,
        path_expression=_path_expression(template, {view.wire: view.check for view in path}),
        summary=str(raw.get("summary", raw["operationId"])),
        description=str(raw.get("description", "")),
        arguments=[*positional, *keywords],
        query=query,
        body=body,
        result=result.class_info.name,
        result_doc=f"`{result.class_info.name}`: {_doc(result)}".rstrip(": "),
        errors_doc="The server rejected the call or failed. "
        + " ".join(f"{s}: {a['description']}" for s, a in answers if not s.startswith("2")),
        enveloped=enveloped,
        replayed=row.get("replayed"),
        timeout=row.get("timeout"),
        key_lifetime=_key_lifetimes(surface).get(row.get("key")),
        imports=_imports(contract, row, raw),
        players=_players(contract, surface, raw, [*path, *(body or [])]),
    )


def _model(model: ModelProperty, types: Types) -> ModelView:
    fields: list[FieldView] = []
    for prop in _fields(model):
        annotation, decoder = types.answer(prop)
        required = prop.required and not _split_null(prop)[1] and annotation != "Any"
        if not required and annotation != "Any":
            annotation += " | None"
        fields.append(
            FieldView(
                name=python_name(_wire(prop), [field.name for field in fields]),
                wire=literal(_wire(prop)),
                annotation=annotation,
                doc=_doc(prop) or f"The contract's `{_wire(prop)}`.",
                required=required,
                decoder=decoder,
                is_union=decoder.startswith("decoding.as_tagged"),
            )
        )
    return ModelView(model.class_info.name, _doc(model) or "An object of the contract.", fields)


def _params(model: ModelProperty, types: Types) -> ParamsView:
    fields = [
        FieldView(
            name=_wire(prop),
            wire=literal(_wire(prop)),
            annotation=types.argument(prop, models="", params="", nested=True),
            doc=_doc(prop) or f"The contract's `{_wire(prop)}`.",
            required=prop.required,
            is_identifier=_wire(prop).isidentifier() and not keyword.iskeyword(_wire(prop)),
        )
        for prop in _fields(model)
    ]
    return ParamsView(
        name=f"{model.class_info.name}Param",
        doc=_doc(model) or "An object of the contract.",
        required=[field for field in fields if field.required],
        optional=[field for field in fields if not field.required],
    )


def _webhook_models(contract: Json, data: GeneratorData) -> list[ModelProperty]:
    names: set[str] = set()
    for item in contract.get("webhooks", {}).values():
        for operation in item.values():
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            names.add(str(schema.get("$ref", "")).rpartition("/")[2])
    return [model for model in data.models if model.class_info.name in names]


def package_view(contract: Json, surface: Json, data: GeneratorData) -> PackageView:
    """Return everything that the templates need.

    Raises:
        SurfaceError: The surface and the contract do not match, or the contract uses
            something that the templates do not support.
    """
    check_surface(contract, surface)
    types = Types.of(contract)
    endpoints = {
        str(endpoint.name): endpoint
        for collection in data.endpoint_collections_by_tag.values()
        for endpoint in collection.endpoints
    }
    operations = [
        _operation(
            contract,
            surface,
            endpoints[PythonIdentifier(raw["operationId"], "field_")],
            method,
            path,
            raw,
            types,
        )
        for method, path, raw in raw_operations(contract)
    ]
    named = {str(model.class_info.name): model for model in data.models}
    results = [_result(endpoint)[0] for endpoint in endpoints.values()]
    bodies = [body.prop for endpoint in endpoints.values() for body in endpoint.bodies]
    fields = [f for body in bodies if isinstance(body, ModelProperty) for f in _fields(body)]
    models, result_enums = _reachable([*results, *_webhook_models(contract, data)], named)
    dicts, body_enums = _reachable(fields, named)
    params = [
        model for model in data.models if model.class_info.name in dicts and not _is_map(model)
    ]
    parameters = [
        prop for e in endpoints.values() for prop in [*e.query_parameters, *e.path_parameters]
    ]
    wanted = result_enums | body_enums | _reachable(parameters, named)[1]
    codes = contract["components"]["schemas"].get("ErrorCode", {})
    order = {str(row["method"]): i for i, row in enumerate(surface["operations"].values())}

    def resource(name: str, doc: str) -> ResourceView:
        rows = [operation for operation in operations if operation.resource == name]
        rows.sort(key=lambda view: order[f"{view.resource}.{view.method_name.rstrip('_')}"])
        return ResourceView(
            name=name,
            class_name="".join(word.capitalize() for word in name.split("_")),
            doc=doc,
            tags=sorted({operation.tag for operation in rows}),
            operations=rows,
            has_imports=any(operation.imports for operation in rows),
            has_writes=any(operation.key_lifetime for operation in rows),
        )

    return PackageView(
        title=contract["info"]["title"],
        enums=[
            EnumView(
                name=enum.class_info.name,
                values=sorted(literal(v) for v in enum.values),
                doc=_doc(enum) or "An enumeration of the contract.",
            )
            for enum in data.enums
            if isinstance(enum, LiteralEnumProperty) and enum.class_info.name in wanted
        ],
        models=[
            _model(model, types)
            for model in data.models
            if model.class_info.name in models and not _is_map(model)
        ],
        params=[_params(model, types) for model in params],
        params_enums=sorted(_reachable(params, named)[1]),
        key_lifetimes=list(_key_lifetimes(surface).values()),
        operations=operations,
        resources=[resource(name, str(doc)) for name, doc in surface["resources"].items()],
        error_codes=[literal(code) for code in codes.get("enum", [])],
        error_codes_doc=str(codes.get("description", "")),
    )
