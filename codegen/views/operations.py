"""Turn the contract's operations into methods: arguments, body, result."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from document import Node, RawOperation, RefusedError
from media import JSON

from .annotations import argument
from .causes import Causes
from .checks import bounds_doc, check, compiles, form_doc
from .commands import KEY, CommandView, MethodArgument, command_view
from .inputs import EXTRA, IN_JSON, Input, body_of, key_of, parameters
from .models import reachable
from .names import (
    TYPE_NAMES,
    argument_name,
    function_name,
    identifier,
    module_name,
    pascal_case,
)
from .results import Result, result_of, unwrapped
from .surface import WRITES, KeyLifetimeView, Row, Surface
from .types import (
    Alternatives,
    Choice,
    Flag,
    Items,
    Kind,
    Number,
    ObjectSchema,
    Schemas,
    Text,
    literal,
)

SENT: Final = ("get", "put", "post", "delete", "patch")
"""The methods that the client sends."""

KEYS: Final = ("0b8e9f8e-5d4c-4c3e-8a55-3f0c0d7a1e42", "9f" * 32)
"""Idempotency keys as the client makes them: a random one, and a derived one."""

RESERVED_METHODS: Final = frozenset(
    [*keyword.kwlist, *(TYPE_NAMES - {"list", "dict", "tuple"}), "object"]
)
"""Names that annotations in the classes of resources use."""


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
        found.inputs += parameters(raw, name, schemas, causes)
    with causes.collected():
        found.body, found.media, inputs = body_of(raw, name, schemas)
        found.inputs += _with_key(raw, found.body, inputs) if raw.method in WRITES else inputs
        found.has_body = "requestBody" in raw.node or raw.method in WRITES
    with causes.collected():
        _check_place_of_key(raw, found.inputs)
    with causes.collected():
        result = found.result = unwrapped(result_of(raw, name, schemas), row, schemas)
        _check_replayed(raw, row, result, schemas)
        if not causes.has(causes.owner):
            found.view = _view(found, result, surface)
    return found


def _check_call(raw: RawOperation) -> None:
    if raw.method not in SENT:
        raise raw.node.refuse(
            f"the client does not send {raw.method.upper()}", "Leave the operation out."
        )
    fixed = re.sub(r"\{[^}]*\}", "", raw.path)
    if re.fullmatch(r"[!-~]*", fixed) is None or not {*"?#"}.isdisjoint(fixed):
        raise raw.item.refuse(
            "the path has characters that must not be in one",
            "Percent-encode them, and declare what follows `?` as parameters.",
        )
    common = raw.node.document.get("servers")
    for owner in (raw.node, raw.item):
        if "servers" in owner and owner.value["servers"] != common:
            raise owner.child("servers").refuse(
                "servers of its own are not supported, because the client has one address",
                "Leave them out, if the server of the whole contract serves this too.",
            )
    _check_security(raw)


def _check_security(raw: RawOperation) -> None:
    """Check that the key is enough, as the client sends it: `Authorization: Bearer`."""
    contract = Node(raw.node.document, raw.node.document)
    schemes = contract.at("components").at("securitySchemes")
    owner = raw.node if "security" in raw.node else contract
    # Any of these is enough, but each needs all of its schemes.
    options = [option.value for option in owner.items("security")]
    if options and not any(all(_is_bearer(schemes.at(name)) for name in each) for each in options):
        raise owner.child("security").refuse(
            "the client sends its key as `Authorization: Bearer` and no other credentials, and "
            "that is not enough here",
            "Let a scheme of the type http with the scheme bearer be enough.",
        )


def _is_bearer(scheme: Node) -> bool:
    return scheme.get("type") == "http" and str(scheme.get("scheme")).lower() == "bearer"


def _check_replayed(raw: RawOperation, row: Row, result: Result, schemas: Schemas) -> None:
    """Check that the answers show a repeat in the way that the row says."""
    fields = schemas.objects[result.model].fields if result.is_object else []
    shown = {
        None: True,
        "status": {"200", "201"} <= {status for status, _ in raw.node.entries("responses")},
        "applied": any(each.wire == "applied" for each in fields),
    }
    if not shown[row.replayed]:
        needed = "the answers 200 and 201" if row.replayed == "status" else "a field `applied`"
        raise RefusedError(
            "surface.yaml",
            f"replayed: {row.replayed} needs {needed}, which the operation does not have",
            "Leave `replayed` out, if its answer does not show a repeat.",
        )


def _with_key(raw: RawOperation, body: ObjectSchema | None, inputs: list[Input]) -> list[Input]:
    """Return the inputs of a write, with one for the idempotency key, which the client always adds.

    Raises:
        RefusedError: The contract does not allow the keys that the client makes.
    """
    found: list[Input] = []
    for each in inputs:
        if each.wire == KEY:
            _check_key(each)
            # For a null, the client sends a random key.
            each = attrs.evolve(each, value=attrs.evolve(each.value, nullable=False))
        found.append(each)
    if all(each.wire != KEY for each in inputs):
        if body is not None and body.is_closed:
            raise body.node.refuse(
                f"the body forbids {KEY}, which the client adds to each write",
                "List it, or allow fields that are not listed.",
            )
        found.append(key_of(raw))
    return found


def _check_place_of_key(raw: RawOperation, inputs: list[Input]) -> None:
    for each in inputs:
        if each.wire == KEY and (each.location != "body" or raw.method not in WRITES):
            raise RefusedError(
                each.place,
                "the client sends idempotency keys only in the bodies of POST, PUT and PATCH",
                "Leave it out, or use such a method and list the key in its body.",
            )


def _check_key(each: Input) -> None:
    kind = each.value.kind
    if not isinstance(kind, Text) or kind.format is not None:
        raise RefusedError(
            each.place,
            "the idempotency key is not plain text, and the client sends nothing else",
            "Give it the type string.",
        )
    pattern = kind.pattern if kind.pattern and compiles(kind.pattern) else ""
    for key in KEYS:
        if len(key) > (kind.max_length or len(key)) or not re.search(pattern, key):
            raise RefusedError(
                each.place,
                f"it does not allow {key}, and the client makes such keys",
                "Allow random UUIDs, and 64 hexadecimal digits.",
            )


def _view(operation: Operation, result: Result, surface: Surface) -> OperationView:
    raw, row, inputs = operation.raw, operation.row, operation.inputs
    _check_row(row, inputs)
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


def _check_row(row: Row, inputs: list[Input]) -> None:
    """Check that the settings of a row fit the arguments of its operation."""
    kinds = {each.wire: each.value.kind for each in inputs}
    places = {f"{each.location}.{each.wire}" for each in inputs}
    for setting, names, known in (
        ("positional", row.positional, {*kinds}),
        ("names", row.names, {*kinds, *places}),
        ("defaults", row.defaults, {*kinds}),
    ):
        for name in names:
            if name not in known:
                raise RefusedError(
                    "surface.yaml",
                    f"{setting} names {name}, but the arguments are {', '.join(kinds)}",
                    "Correct it.",
                )
    for name, default in row.defaults.items():
        if not _allows(kinds[name], default):
            raise RefusedError(
                "surface.yaml",
                f"the contract does not allow the default {default!r} of {name}",
                "Correct it.",
            )


def _allows(kind: Kind, default: object) -> bool:
    """Return whether a default has the right type, or is one of the values of a choice."""
    match kind:
        case Choice(values=values):
            return default in values
        case Text():
            return isinstance(default, str)
        case Flag():
            return isinstance(default, bool)
        case Number():
            return isinstance(default, int | float) and not isinstance(default, bool)
        case _:
            return True


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
            # It checks that the id is text and not empty; most ids have no other bounds.
            is_usual = kind in (Text(), Text(min_length=1))
            return f"_checks.path_segment({label}, {name if is_usual else expression})"
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
        missing = f"{view.name} is None"
        if view.omitted == "UNSET":
            missing = f"{view.name} is UNSET or {missing}"
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
