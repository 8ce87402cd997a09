"""Small contracts of our own, and what the build step makes of them."""

from __future__ import annotations

from typing import Any

from views import PackageView, SurfaceError, package_view

Node = dict[str, Any]

OBJECT: Node = {"type": "object", "properties": {"a": {"type": "string"}}}
TEXT: Node = {"type": "string"}


def ref(name: str) -> Node:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_body(schema: object, media: str = "application/json", **more: object) -> Node:
    """Return a body or an answer of one media type."""
    return {"description": "A body.", "content": {media: {"schema": schema}}, **more}


def answering(schema: object = OBJECT) -> Node:
    """Return the answers of an operation that succeeds with a body of this schema."""
    return {"responses": {"200": json_body(schema)}}


def parameter(location: str, name: str = "p", **more: object) -> Node:
    """Return a parameter."""
    return {
        "in": location,
        "name": name,
        **({"required": True} if location == "path" else {}),
        **({} if "content" in more else {"schema": TEXT}),
        **more,
    }


def operation(name: str = "doIt", **more: object) -> Node:
    """Return an operation."""
    return {"operationId": name, "tags": ["Things"], **answering(), **more}


def contract(paths: Node, **components: object) -> Node:
    """Return a contract of these paths."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Small", "version": "1"},
        "paths": paths,
        "components": components,
    }


def sending(schema: object, **schemas: object) -> Node:
    """Return a contract with one write, whose body has this schema."""
    post = operation(requestBody=json_body(schema, required=True))
    return contract({"/t": {"post": post}}, schemas=schemas)


def taking(*parameters: Node, path: str = "/t", **components: object) -> Node:
    """Return a contract with one read that takes these parameters."""
    return contract({path: {"get": operation(parameters=list(parameters))}}, **components)


def reading(schema: object, **schemas: object) -> Node:
    """Return a contract with one read, whose answer has this schema."""
    return contract({"/t": {"get": operation(**answering(schema))}}, schemas=schemas)


def surface(document: Node, **rows: Node) -> Node:
    """Return a surface in which every operation of the contract is a method of `things`."""
    found: Node = {}
    for item in document.get("paths", {}).values():
        for method, node in item.items():
            if method in ("get", "post", "put", "patch", "delete", "head"):
                name = str(node.get("operationId"))
                row: Node = {"method": f"things.{name.lower()}"}
                if "operationId" not in node:
                    continue
                if method in ("post", "put", "patch"):
                    row |= {"key": "day", "players": "none"}
                found[name] = row
    for name, row in rows.items():
        found[name] = {**found[name], **row}
    lifetimes = {"day": {"repeat_within_hours": 24, "doc": "Kept for 24 hours."}}
    return {"resources": {"things": "Things."}, "key_lifetimes": lifetimes, "operations": found}


def build(document: Node, **rows: Node) -> PackageView:
    """Return what the templates get for a contract."""
    return package_view(document, surface(document, **rows))


def causes(document: Node, **rows: Node) -> list[str]:
    """Return the reasons why a contract is refused, or an empty list."""
    try:
        build(document, **rows)
    except SurfaceError as error:
        return error.causes
    return []
