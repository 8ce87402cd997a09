"""Read an OpenAPI document: follow its `$ref`s, list its operations, and locate its values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeGuard
from urllib.parse import unquote

import attrs

Json = dict[str, Any]

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


_NUMBER: Final = (int, float)
KEYWORDS: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), _NUMBER),
    **dict.fromkeys(("minLength", "minItems", "minProperties"), _NUMBER),
    **dict.fromkeys(("maxLength", "maxItems", "maxProperties"), _NUMBER),
    # In OpenAPI 3.0, these are booleans.
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), (*_NUMBER, bool)),
    "uniqueItems": (bool,),
    **dict.fromkeys(("pattern", "format", "$ref"), (str,)),
    **dict.fromkeys(("enum", "required", "allOf", "oneOf", "anyOf"), (list,)),
    **dict.fromkeys(("properties", "patternProperties", "discriminator"), (dict,)),
    "type": (str, list),
}
"""The types of the keywords of a schema. OpenAPI's own schema does not check them."""


def misused(schema: Json) -> Iterator[str]:
    """Yield the keywords of a schema whose values have the wrong type."""
    for keyword, kinds in KEYWORDS.items():
        value = schema.get(keyword)
        if keyword in schema and (
            not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        ):
            yield keyword
    for keyword in ("required", "type"):
        listed = schema.get(keyword)
        if is_array(listed) and not all(isinstance(each, str) for each in listed):
            yield keyword


class RefError(ValueError):
    """A `$ref` that cannot be followed."""


def is_object(value: object) -> TypeGuard[Json]:
    """Return whether this is a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Return whether this is a JSON array."""
    return isinstance(value, list)


def step(name: object) -> str:
    """Return one step of a JSON pointer, with its slash."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


def look_up(document: Json, ref: str) -> object:
    """Return the value that a local `$ref` points at.

    Raises:
        RefError: The `$ref` points at nothing, or outside the document.
    """
    start, *steps = unquote(ref).split("/")
    found: Any = document if start == "#" else None
    try:
        for name in steps:
            key = name.replace("~1", "/").replace("~0", "~")
            found = found[int(key) if is_array(found) else key]
    except (LookupError, TypeError, ValueError):
        found = None
    if found is None:
        raise RefError(f"$ref {ref} points at nothing in the contract")
    return found


class RefusedError(Exception):
    """A place in the document that the build step cannot use, and what to change."""

    def __init__(self, place: str, problem: str, fix: str) -> None:
        self.place = place
        self.problem = problem
        self.fix = fix
        super().__init__(f"{place}: {problem}. {fix}")


@attrs.frozen
class Node:
    """A value of the document, and its location."""

    document: Json
    value: Any
    place: str = "#"
    """The JSON pointer to the value, in the form of a `$ref`."""

    def refuse(self, problem: str, fix: str) -> RefusedError:
        """Return an exception about a problem at this place."""
        return RefusedError(self.place, problem, fix)

    def child(self, name: str | int) -> Node:
        """Return a value inside this one. It must exist."""
        return Node(self.document, self.value[name], self.place + step(name))

    def get(self, name: str, default: object = None) -> Any:
        """Return a plain value inside this object."""
        return self.value.get(name, default) if is_object(self.value) else default

    def __contains__(self, name: str) -> bool:
        return is_object(self.value) and name in self.value

    def target(self, ref: str) -> Node:
        """Return what a `$ref` in this value points at.

        Raises:
            RefusedError: It points at nothing, or outside the document.
        """
        try:
            return Node(self.document, look_up(self.document, ref), ref)
        except RefError as error:
            fix = "Define it, or bundle the files into one document."
            raise self.refuse(str(error), fix) from None

    def at(self, name: str) -> Node:
        """Return an object inside this one, with its `$ref` followed; an empty one if absent."""
        return self.child(name).follow() if name in self else Node(self.document, {}, self.place)

    def entries(self, name: str) -> Iterator[tuple[str, Node]]:
        """Yield the members of an object inside this one; nothing if it is absent.

        Raises:
            RefusedError: The inner value is not an object.
        """
        if name not in self:
            return
        inner = self.child(name)
        if not is_object(inner.value):
            raise inner.refuse("an object is expected here", "Write an object.")
        for key in inner.value:
            yield key, inner.child(key)

    def items(self, name: str) -> Iterator[Node]:
        """Yield the items of an array inside this one; nothing if it is absent.

        Raises:
            RefusedError: The inner value is not an array.
        """
        if name not in self:
            return
        inner = self.child(name)
        if not is_array(inner.value):
            raise inner.refuse("an array is expected here", "Write an array.")
        for index in range(len(inner.value)):
            yield inner.child(index)

    def follow(self) -> Node:
        """Return the object, or the target of its `$ref`s merged with the members beside them.

        Raises:
            RefusedError: A `$ref` leads nowhere or back to itself, or the target is not an object.
        """
        found, beside, seen = self, Json(), set[str]()
        while is_object(found.value) and isinstance(found.value.get("$ref"), str):
            ref = found.value["$ref"]
            if ref in seen:
                raise self.refuse(f"$ref {ref} leads back to itself", "Break the cycle.")
            seen.add(ref)
            beside = {**{k: v for k, v in found.value.items() if k != "$ref"}, **beside}
            found = self.target(ref)
        if not is_object(found.value):
            raise found.refuse("an object is expected here", "Write an object.")
        return attrs.evolve(found, value={**found.value, **beside}) if beside else found


@attrs.frozen
class RawOperation:
    """An operation of the document."""

    method: str
    path: str
    item: Node
    """Its path item."""
    node: Node

    @property
    def label(self) -> str:
        """The name of the operation in messages."""
        name = self.node.get("operationId")
        return f"{name} ({self.call})" if name else self.call

    @property
    def call(self) -> str:
        """Its method and path."""
        return f"{self.method.upper()} {self.path}"

    def parameters(self) -> Iterator[Node]:
        """Yield the parameters; an operation's own replace those of its path item.

        Raises:
            RefusedError: One of them cannot be read.
        """
        found: dict[tuple[str, str], Node] = {}
        for owner in (self.item, self.node):
            own: dict[tuple[str, str], Node] = {}
            for listed in owner.items("parameters"):
                parameter = listed.follow()
                location, name = str(parameter.get("in")), str(parameter.get("name"))
                # The names of headers are case-insensitive.
                key = location, name.lower() if location == "header" else name
                if key in own:
                    raise listed.refuse(
                        f"the {location} parameter {name} is listed twice", "Remove one of them."
                    )
                own[key] = parameter
            found |= own
        yield from found.values()


def path_items(document: Json, section: str = "paths") -> Iterator[tuple[str, Node]]:
    """Yield the path items of `paths` or `webhooks`, in the document's order.

    Raises:
        RefusedError: The section is not an object.
    """
    yield from Node(document, document).entries(section)


def operations_of(path: str, entry: Node) -> Iterator[RawOperation]:
    """Yield the operations of a path item.

    Raises:
        RefusedError: The item or an operation cannot be read.
    """
    item = entry.follow()
    for method in METHODS:
        if method in item:
            yield RawOperation(method, path, item, item.child(method).follow())


def operations(document: Json) -> Iterator[RawOperation]:
    """Yield the operations of a document that is known to be readable."""
    for path, entry in path_items(document):
        yield from operations_of(path, entry)
