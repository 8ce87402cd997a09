"""Turn the contract and the surface into plain values for the templates.

Everything here is pure. If the contract has something that the templates cannot express, the
errors name all such places in one run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from document import Json, Node, RawOperation, RefusedError, is_object, operations_of, path_items
from media import json_media

from . import operations, surface
from .causes import Causes, Owner, SurfaceError
from .models import (
    EnumView,
    ModelView,
    ParamsView,
    enum_view,
    model_view,
    params_view,
    reachable,
)
from .names import class_name, function_name, pascal_case, python_name, snake_case
from .operations import Operation, OperationView
from .surface import KeyLifetimeView, Row, Surface
from .types import Alternatives, Choice, Object, Schemas, Value, literal

__all__ = ["PackageView", "ResourceView", "SurfaceError", "package_view", "python_name"]


# Names that the modules of resources import or define.
RESOURCE_IMPORTS: Final = (
    *("Any", "AsyncCall", "AsyncImportRows", "AsyncRecord", "AsyncResources", "AsyncSource"),
    *("Call", "Callable", "Final", "ImportOptions", "ImportReport", "ImportRows", "Intent"),
    *("Literal", "Mapping", "Operation", "Record", "Resources", "Sequence", "Source", "T"),
    *("OutboxResources", "ReadOptions", "AsyncOutboxResources", "TypeVar", "Unset"),
)


@attrs.frozen
class ResourceView:
    name: str
    class_name: str
    doc: str
    tags: list[str]
    operations: list[OperationView]
    has_imports: bool
    in_outbox: bool
    """Whether an outbox has any of its methods."""

    @property
    def methods(self) -> list[str]:
        """The names of its methods."""
        return [name for each in self.operations for name in each.methods]


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


def package_view(contract: Json, settings: object) -> PackageView:
    """Return everything that the templates need.

    Args:
        contract: The parsed contract, which is a valid OpenAPI document.
        settings: The parsed `surface.yaml`.

    Raises:
        SurfaceError: The surface and the contract do not match, or the contract uses
            something that the templates do not support.
    """
    wrong = surface.check(settings)
    if wrong or not is_object(settings):
        raise SurfaceError(wrong)
    causes = Causes()
    by_id, by_function = _operations(contract, causes)
    in_rows = list(surface.check_rows(settings, by_id))
    table = surface.read(settings, {name for name, _ in in_rows})
    schemas = Schemas(contract, causes)
    read: list[Operation] = []
    for each in by_function.values():
        name = each.node.get("operationId")
        with causes.of(Owner(each.label)):
            # An operation without a row is read too, to find all causes in one run.
            row = table.rows.get(name) or Row(name, "", name)
            read.append(operations.read(each, row, table, schemas, causes))
    payloads = _payloads(contract, schemas, causes)
    codes = Choice(()), ""
    with causes.collected():
        codes = _error_codes(contract, schemas)
    schemas.finish()
    view = _package(contract, table, read, payloads, codes, schemas)
    with causes.collected():
        _check_names(view)
    lines = [cause for _, cause in in_rows] + causes.lines(_users(read, schemas))
    if lines:
        raise SurfaceError(lines)
    return view


def _users(read: list[Operation], schemas: Schemas) -> dict[str, list[str]]:
    """Return the operations that use each object."""
    users: dict[str, list[str]] = {}
    for each in read:
        for name in each.schemas(schemas):
            users.setdefault(name, []).append(each.raw.label)
    return users


def _operations(
    contract: Json, causes: Causes
) -> tuple[dict[str, RawOperation], dict[str, RawOperation]]:
    """Return the operations by their operationId and by their function's name.

    Problems with the names are collected in `causes`.
    """
    found: dict[str, RawOperation] = {}
    functions: dict[str, RawOperation] = {}
    with causes.collected():
        for path, entry in path_items(contract):
            with causes.collected():
                for raw in operations_of(path, entry):
                    with causes.of(Owner(raw.label)), causes.collected():
                        name = raw.node.get("operationId")
                        if not isinstance(name, str):
                            raise raw.node.refuse("it has no operationId", "Give it one.")
                        found.setdefault(name, raw)
                        function = function_name(name)
                        other = functions.setdefault(function, raw)
                        if other is not raw:
                            raise raw.node.refuse(
                                f"it would be the function {function}, like {other.label}",
                                "Rename one of the operationIds.",
                            )
    return found, functions


def _payloads(contract: Json, schemas: Schemas, causes: Causes) -> list[Value]:
    """Return the payloads of webhooks."""
    found: list[Value] = []
    with causes.collected():
        for name, entry in path_items(contract, "webhooks"):
            for raw in operations_of(name, entry):
                with causes.of(Owner(f"webhook {name}")), causes.collected():
                    media = json_media(raw.node.at("requestBody"))
                    if media is not None and "schema" in media.node:
                        payload = f"{pascal_case(name)}Payload"
                        found.append(schemas.read(media.node.child("schema"), payload))
    return found


def _error_codes(contract: Json, schemas: Schemas) -> tuple[Choice, str]:
    """Return the error codes and their description; none if the contract has no `ErrorCode`."""
    components = Node(contract, contract).at("components")
    if "ErrorCode" not in components.at("schemas"):
        return Choice(()), ""
    here = "#/components/schemas/ErrorCode"
    value = schemas.read(Node(contract, {"$ref": here}, here), "ErrorCode")
    # `anyOf` an enumeration and any text says that there may be other codes.
    branches = value.kind.branches if isinstance(value.kind, Alternatives) else (value,)
    for branch in branches:
        if isinstance(branch.kind, Choice):
            return branch.kind, value.doc
    raise RefusedError(here, "it lists no error codes", "List them in an `enum`.")


def _package(
    contract: Json,
    table: Surface,
    read: list[Operation],
    payloads: list[Value],
    codes: tuple[Choice, str],
    schemas: Schemas,
) -> PackageView:
    results = [value for each in read if each.result for value in each.result.roots]
    sent = [each.value for operation in read for each in operation.inputs]
    models, result_enums = reachable([*results, *payloads], schemas, sent=False)
    dicts, sent_enums = reachable(sent, schemas, sent=True)
    wanted = result_enums | sent_enums
    ordered = _in_order(contract, schemas.objects)
    params = [schemas.objects[name] for name in ordered if name in dicts]
    inside = [Value(Object(schema.name)) for schema in params]
    choice, codes_doc = codes
    views = [each.view for each in read if each.view is not None]
    order = {row.operation_id: index for index, row in enumerate(table.rows.values())}

    def resource(name: str, doc: str) -> ResourceView:
        rows = [view for view in views if view.resource == name]
        rows.sort(key=lambda view: order[view.operation_id])
        return ResourceView(
            name=name,
            class_name="".join(word.capitalize() for word in name.split("_")),
            doc=doc,
            tags=sorted({view.tag for view in rows}),
            operations=rows,
            has_imports=any(view.imports for view in rows),
            in_outbox=any(view.in_outbox for view in rows),
        )

    return PackageView(
        title=contract["info"]["title"],
        enums=[
            enum_view(schemas.choices[name])
            for name in _in_order(contract, schemas.choices)
            if name in wanted
        ],
        models=[model_view(schemas.objects[name], schemas) for name in ordered if name in models],
        params=[params_view(schema) for schema in params],
        params_enums=sorted(reachable(inside, schemas, sent=True)[1]),
        key_lifetimes=list(table.key_lifetimes.values()),
        operations=views,
        resources=[resource(name, doc) for name, doc in table.resources.items()],
        error_codes=[literal(code) for code in choice.values if isinstance(code, str)],
        error_codes_doc=codes_doc,
    )


def _in_order(contract: Json, names: Iterable[str]) -> list[str]:
    """Return names of classes in the order of the components, and the others after them."""
    components = Node(contract, contract).at("components").entries("schemas")
    order = {class_name(name): index for index, (name, _) in enumerate(components)}
    return sorted(names, key=lambda name: order.get(name, len(order)))


def _check_names(view: PackageView) -> None:
    """Check that no two definitions have the same name, and none the name of an import.

    Raises:
        RefusedError: A name is used twice.
    """
    for what, fix, pairs in (
        (
            "method",
            "Rename one of them in surface.yaml.",
            [
                (f"{resource.name}.{method}", f"{method} of {each.operation_id}")
                for resource in view.resources
                for each in resource.operations
                for method in each.methods
            ],
        ),
        (
            "command",
            "Rename one of them with `cli: {command: ...}` in surface.yaml.",
            [(" ".join(each.command.path), each.operation_id) for each in view.operations],
        ),
        (
            "class",
            "Rename the resource in surface.yaml.",
            [
                *((name, f"an import called {name}") for name in RESOURCE_IMPORTS),
                *(
                    (prefix + resource.class_name, f"resource {resource.name}")
                    for resource in view.resources
                    for prefix in ("", "Async", "Outbox", "AsyncOutbox")
                ),
            ],
        ),
        (
            "property",
            "Rename one of the error codes in the contract.",
            [
                ("is_code", "the method is_code"),
                *(
                    (f"is_{snake_case(code[1:-1])}", f"error code {code}")
                    for code in view.error_codes
                ),
            ],
        ),
        (
            "type",
            "Rename one of the schemas in the contract.",
            [
                *((each.name, f"the dict {each.name}") for each in view.params),
                *((name, f"the enumeration {name}") for name in view.params_enums),
            ],
        ),
    ):
        taken: dict[str, str] = {}
        for name, owner in pairs:
            if taken.setdefault(name, owner) != owner:
                raise RefusedError(
                    "surface.yaml" if "surface" in fix else "#/components/schemas",
                    f"{taken[name]} and {owner} would both be the {what} {name}",
                    fix,
                )
