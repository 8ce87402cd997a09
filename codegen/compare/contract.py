"""Read a contract: its operations, and its schemas as plain lists of alternatives."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, cast

import attrs

from document import METHODS, Json, RefError, look_up

from .rules import ContractError

Node = Json

# For each keyword: returns whether a change from the first value to the second tightens it.
TIGHTENS: dict[str, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum"), operator.lt),
    **dict.fromkeys(("minLength", "minItems", "minProperties"), operator.lt),
    **dict.fromkeys(("maximum", "exclusiveMaximum"), operator.gt),
    **dict.fromkeys(("maxLength", "maxItems", "maxProperties"), operator.gt),
    "uniqueItems": operator.lt,
    "multipleOf": lambda old, new: bool(Decimal(str(old)) % Decimal(str(new or 1))),
    "pattern": operator.ne,
    "format": operator.ne,
}
BOUND_DEFAULTS = {"minLength": 0, "minItems": 0, "minProperties": 0, "uniqueItems": False}

UNANALYSED = (
    *("not", "if", "then", "else", "patternProperties", "propertyNames", "prefixItems"),
    *("contains", "minContains", "maxContains", "dependentRequired", "dependentSchemas"),
    *("unevaluatedItems", "contentEncoding", "contentMediaType", "contentSchema"),
)
# Keywords that can only forbid values, so that removing them breaks no caller.
RESTRICTIONS = frozenset(
    [
        *("not", "if", "then", "else", "patternProperties", "propertyNames", "contains"),
        *("minContains", "maxContains", "dependentRequired", "dependentSchemas"),
        "unevaluatedItems",
    ]
)
COMPOSITION = ("$ref", "allOf", "oneOf", "anyOf", "discriminator", "const")

ANY_TYPE = frozenset({"boolean", "number", "string", "array", "object"})
# The SDK reads these formats as values of another Python type, so removing one is a change of
# type. Other formats only restrict the string.
TYPE_FORMATS = ("date-time", "date")
PLACEHOLDER = re.compile(r"\{([^}]*)\}")
PART_OF = {"integer": "number", **dict.fromkeys(TYPE_FORMATS, "string")}

JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}

_WORDING = frozenset(
    ["title", "description", "summary", "example", "examples", "externalDocs", "$comment", "xml"]
)
_DATA = frozenset(["enum", "const", "default"])
_NAMES = frozenset(["properties", "patternProperties", "dependentSchemas", "dependentRequired"])
"""Keywords whose values have names as keys, not keywords."""


def is_wording(keyword: str) -> bool:
    """Return whether a keyword is only for people."""
    return keyword in _WORDING or keyword.startswith("x-")


def without_wording(value: object, *, names: bool = False) -> object:
    """Return a value without the keywords that are only for people.

    Args:
        value: A schema, or a part of one.
        names: Whether its keys are names rather than keywords.
    """
    if isinstance(value, list):
        return [without_wording(each) for each in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    return {
        key: each if key in _DATA and not names else without_wording(each, names=key in _NAMES)
        for key, each in cast("Node", value).items()
        if names or not is_wording(key)
    }


@attrs.frozen
class Member:
    """A parameter, header or field: it has a name and a schema."""

    required: bool
    schema: object
    style: Style | None = None


@attrs.frozen
class Style:
    """How a parameter, a header or a field of a form is serialised."""

    of_scalars: str
    of_others: str
    """The style of arrays and objects."""
    allows: frozenset[str] = frozenset()


USUAL = Style("the default", "the default")


@attrs.frozen
class Endpoint:
    """An operation with the parameters and servers of its path item."""

    name: str
    """The operationId, `GET /path` if it has none, or `webhook <name>`."""
    method: str
    path: str
    operation: Node

    @property
    def call(self) -> tuple[str, str]:
        """The method and path, without the names of placeholders."""
        return self.method, PLACEHOLDER.sub("{}", self.path)


@attrs.frozen
class Branch:
    """One alternative of a schema: plain keywords, without references."""

    schema: Node
    name: str | None = None
    """The component that it comes from."""
    origin: str | None = None
    """The `$ref` to a component that is exactly this alternative."""
    tag: str = ""
    """The discriminator's field."""
    tags: tuple[str, ...] = ()
    """The discriminator's values that select it."""
    constants: tuple[str, ...] = ()
    """The values of its fields that allow only one value."""
    union: bool = False
    """Whether callers know that there may be other alternatives."""
    exclusive: bool = False
    """Whether a value that fits this and another alternative is rejected."""

    def both(self, other: Branch) -> Branch:
        """Return the branch of the values that satisfy this one and the other."""
        if not self.schema or not other.schema:
            most = self if self.schema else other
            return attrs.evolve(
                most,
                union=self.union or other.union,
                exclusive=self.exclusive or other.exclusive,
                tag=other.tag or self.tag,
                tags=other.tags or self.tags,
            )
        schema = {**self.schema, **other.schema}
        for keyword in self.schema.keys() & other.schema.keys():
            schema[keyword] = _combine(keyword, self.schema[keyword], other.schema[keyword])
        return Branch(
            schema,
            other.name or self.name,
            tag=other.tag or self.tag,
            tags=other.tags or self.tags,
            union=self.union or other.union,
            exclusive=self.exclusive or other.exclusive,
        )

    def tagged(self) -> Branch:
        """Return the branch with its tags as the enum of the tag's field.

        So the rules for enums find a changed tag, even if the field is declared as a plain
        string.
        """
        if not self.tags or self.tag not in mapping(self.schema, "properties"):
            return self
        return self.both(Branch({"properties": {self.tag: {"enum": list(self.tags)}}}))

    @property
    def label(self) -> str:
        """The text that identifies it in a union; empty if there is none."""
        return "/".join(self.tags) or self.name or "/".join(self.constants)

    @property
    def values(self) -> list[str] | None:
        """The enum as JSON, without null, which counts as a type."""
        if "enum" not in self.schema:
            return None
        return [show(value) for value in array(self.schema, "enum") if value is not None]

    @property
    def nullable(self) -> bool:
        """Whether null is among the values."""
        return "null" in self._json_types

    @property
    def types(self) -> frozenset[str]:
        """The types that it allows, without null. A date is a separate type."""
        types = self._json_types - {"null"}
        if "string" in types and self.schema.get("format") in TYPE_FORMATS:
            types = types - {"string"} | {str(self.schema["format"])}
        return types

    @property
    def _json_types(self) -> frozenset[str]:
        schema = self.schema
        if "type" in schema:
            return frozenset(type_names(schema["type"]))
        if "enum" in schema:
            return frozenset(JSON_TYPES[type(value)] for value in array(schema, "enum"))
        if "properties" in schema or "items" in schema:
            return frozenset({"object" if "properties" in schema else "array"})
        return ANY_TYPE | {"null"}


def as_object(value: object) -> Node:
    if not isinstance(value, dict):
        raise ContractError(f"expected an object where there is {show(value)[:60]}")
    return cast("Node", value)


def mapping(node: Node, key: str) -> Node:
    return as_object(node.get(key, {}))


def array(node: Node, key: str) -> list[Any]:
    value: object = node.get(key, [])
    if isinstance(value, list):
        return cast("list[object]", value)
    raise ContractError(f"expected an array where there is {show(value)[:60]}")


def schema_of(value: object) -> Node:
    if isinstance(value, bool):
        return {} if value else {"not": {}}
    return as_object(value)


def show(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def show_types(types: Iterable[str]) -> str:
    return "anything" if ANY_TYPE.issubset(types) else " or ".join(sorted(types)) or "null"


def type_names(word: object) -> list[str]:
    return [word] if isinstance(word, str) else [str(each) for each in array({"": word}, "")]


def covers(wide: Iterable[str], narrow: Iterable[str]) -> bool:
    allowed = set(wide)
    return all(not allowed.isdisjoint({each, PART_OF.get(each, each)}) for each in narrow)


# Merging the parts of an allOf, and the keywords next to a $ref.


def _conjoin(old: object, new: object) -> object:
    """Return one schema for two. Merging them again gives the same schema.

    Parts are flattened and kept once; otherwise a recursive allOf would grow without end.
    """
    if old is False or new is False:
        return False
    parts: list[Any] = []
    for schema in (schema_of(old), schema_of(new)):
        for part in array(schema, "allOf") if list(schema) == ["allOf"] else [schema]:
            if part and part not in parts:
                parts.append(part)
    return {"allOf": parts} if len(parts) > 1 else parts[0] if parts else True


def _join_properties(old: Any, new: Any) -> Any:
    return {**old, **new, **{name: _conjoin(old[name], new[name]) for name in old if name in new}}


def _meet_types(old: object, new: object) -> list[str]:
    ours, theirs = type_names(old), type_names(new)
    return [t for t in (*ours, *theirs) if covers(ours, [t]) and covers(theirs, [t])]


COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "properties": _join_properties,
    "required": lambda old, new: [*old, *new],
    "type": _meet_types,
    "enum": lambda old, new: [value for value in old if value in new],
    **dict.fromkeys(("items", "additionalProperties", "unevaluatedProperties"), _conjoin),
    **dict.fromkeys(UNANALYSED, lambda old, new: old if old == new else [old, new]),
}


def _combine(keyword: str, old: Any, new: Any) -> Any:
    if keyword in COMBINE:
        return COMBINE[keyword](old, new)
    if keyword in TIGHTENS:
        return new if TIGHTENS[keyword](old, new) else old
    return new


@attrs.frozen
class Contract:
    """One contract, which follows its `$ref`s when it is read."""

    document: Node
    _known: dict[str, list[Branch]] = attrs.field(factory=dict[str, "list[Branch]"], init=False)
    _targets: dict[str, object] = attrs.field(factory=dict[str, object], init=False)
    _flags: dict[tuple[str, str], bool] = attrs.field(
        factory=dict[tuple[str, str], bool], init=False
    )
    _texts: dict[str, str] = attrs.field(factory=dict[str, str], init=False)
    _constants: dict[str, tuple[str, ...]] = attrs.field(
        factory=dict[str, "tuple[str, ...]"], init=False
    )
    _circles: set[str] = attrs.field(factory=set[str], init=False)
    """The circular references at which the current expansion was cut off."""

    def look_up(self, ref: str, inside: Iterable[str] = ()) -> object:
        """Return the target of a local `$ref`.

        Args:
            ref: The reference.
            inside: The references that led to it.

        Raises:
            ContractError: It leads back to itself, or has no target.
        """
        if ref in inside:
            raise ContractError(f"$ref {ref} leads back to itself")
        found = self._targets.get(ref)
        if found is None:
            try:
                found = self._targets[ref] = look_up(self.document, ref)
            except RefError as error:
                raise ContractError(str(error)) from None
        return found

    def text(self, ref: str) -> str:
        """Return the target of a `$ref`, as JSON."""
        if ref not in self._texts:
            self._texts[ref] = show(self.look_up(ref))
        return self._texts[ref]

    def follow(self, value: object) -> Node:
        """Return the parameter, response or path item behind any `$ref`s."""
        node, seen = dict(as_object(value)), list[str]()
        while "$ref" in node:
            ref = str(node.pop("$ref"))
            node = {**as_object(self.look_up(ref, seen)), **node}
            seen.append(ref)
        return node

    def branches(self, schema: object, inside: tuple[str, ...] = ()) -> list[Branch]:
        """Return the alternatives of a schema, with references and allOf merged in.

        Keywords around a oneOf are merged into each of its alternatives, so that the list of
        alternatives is all there is to a schema.
        """
        node = schema_of(schema)
        if [*node] == ["$ref"]:
            # Fast path: there is nothing to merge, and unions of unions come here often.
            return self._behind(str(node["$ref"]), inside)
        parts: list[list[Branch]] = []
        if "$ref" in node:
            parts.append(self._behind(str(node["$ref"]), inside))
        for each in array(node, "allOf"):
            # A base's name does not identify a branch, because several branches may extend it.
            base = self._base(each, inside)
            parts.append(_named(self.branches(base, inside), None))
        for word in ("oneOf", "anyOf"):
            if options := self._options(node, word, inside):
                parts.append(self._union(node, options, word, inside))
        if "const" in node:
            parts.append([Branch({"enum": [node["const"]]})])
        own = {key: node[key] for key in node if key not in COMPOSITION and not is_wording(key)}
        parts.append([Branch(own)])
        merged = [Branch({})]
        for part in parts:
            merged = [ours.both(theirs) for ours in merged for theirs in part]
        return [branch for branch in merged if branch.types or branch.nullable]

    def _behind(self, ref: str, inside: tuple[str, ...]) -> list[Branch]:
        if ref in self._known and ref not in inside:
            return self._known[ref]
        if not inside:
            self._circles.clear()
        targets = self.branches(self.look_up(ref, inside), (*inside, ref))
        targets = _named(targets, ref.rpartition("/")[2])
        if len(targets) == 1:
            targets = [attrs.evolve(targets[0], origin=ref)]
        # Not stored if a union inside was cut off at a reference that led here.
        if self._circles.isdisjoint(inside):
            self._known[ref] = targets
        return targets

    def _base(self, part: object, inside: tuple[str, ...]) -> object:
        """Return a part of an allOf, without its union if that leads back here.

        A branch of a union may extend the union itself, to get the common part of all branches.
        """
        node = schema_of(part)
        if "$ref" not in node:
            return part
        target = self.look_up(str(node["$ref"]))
        options = {
            str(schema_of(option).get("$ref"))
            for word in ("oneOf", "anyOf")
            for option in array(schema_of(target), word)
        }
        back = {*options, str(node["$ref"])} & {*inside}
        if not back:
            return part
        self._circles.update(back)
        own = schema_of(target)
        return {key: own[key] for key in own if key not in ("oneOf", "anyOf", "discriminator")}

    def _options(self, node: Node, word: str, inside: tuple[str, ...]) -> list[Any]:
        """Return the options of a union, including those of unions inside it.

        If a union is one of its own options, that option is left out.
        """
        todo, seen, found = [*reversed(array(node, word))], set[str](), list[Any]()
        while todo:
            option = todo.pop()
            ref = schema_of(option).get("$ref")
            if not isinstance(ref, str):
                found.append(option)
            elif ref in inside:
                self._circles.add(ref)
            elif ref not in seen:
                seen.add(ref)
                target = schema_of(self.look_up(ref))
                if [*option] == ["$ref"] and [k for k in target if not is_wording(k)] == [word]:
                    todo += reversed(array(target, word))
                else:
                    found.append(option)
        return found

    def _union(
        self, node: Node, options: list[Any], word: str, inside: tuple[str, ...]
    ) -> list[Branch]:
        shapes = [option for option in options if option != {"type": "null"}]
        known = Branch(
            {},
            union=len(shapes) == len(options),
            exclusive=word == "oneOf" and len(shapes) > 1,
        )
        tag = mapping(node, "discriminator")
        return [
            _tagged(branch, option, tag).both(known)
            for option in options
            for branch in self.branches(option, inside)
        ]

    def alternatives(self, schema: object) -> tuple[list[Branch], bool]:
        """Return the branches of a schema other than null, and whether it may be null."""
        found = self.branches(schema)
        known = [branch for branch in found if branch.types]
        if len(known) > 1:
            # Constants are needed only to distinguish several alternatives.
            known = [attrs.evolve(each, constants=self.constants(each)) for each in known]
        return known, any(branch.nullable for branch in found)

    def constants(self, branch: Branch) -> tuple[str, ...]:
        """Return the values of the fields that allow only one value."""
        if branch.origin is None:
            return tuple(self._find_constants(branch))
        if branch.origin not in self._constants:
            self._constants[branch.origin] = tuple(self._find_constants(branch))
        return self._constants[branch.origin]

    def _find_constants(self, branch: Branch) -> Iterator[str]:
        for _, field in sorted(mapping(branch.schema, "properties").items()):
            options = self.branches(field)
            values = options[0].values if len(options) == 1 else None
            if values and len(values) == 1:
                yield values[0].strip('"')

    def has_flag(self, schema: object, flag: str) -> bool:
        """Return whether a schema or the target of its `$ref` is `readOnly` or `writeOnly`."""
        node = schema_of(schema)
        if node.get(flag) is True:
            return True
        if any(self.has_flag(part, flag) for part in array(node, "allOf")):
            return True
        ref = node.get("$ref")
        if not isinstance(ref, str):
            return False
        known = self._flags.get((ref, flag))
        if known is None:
            self._flags[ref, flag] = False  # for a schema that refers to itself
            known = self._flags[ref, flag] = self.has_flag(self.look_up(ref), flag)
        return known

    def endpoints(self, section: str) -> list[Endpoint]:
        """Return the operations of `paths` or `webhooks`."""
        found: dict[str, Endpoint] = {}
        for path, value in mapping(self.document, section).items():
            item = self.follow(value)
            for method in (each for each in METHODS if each in item):
                own = as_object(item[method])
                operation = {**item, **own}
                operation["parameters"] = [*array(item, "parameters"), *array(own, "parameters")]
                name = str(operation.get("operationId", f"{method.upper()} {path}"))
                name = f"webhook {path}" if section == "webhooks" else name
                if name in found:
                    raise ContractError(f"two operations are called {name!r}")
                found[name] = Endpoint(name, method.upper(), path, operation)
        return list(found.values())

    def arguments(self, listed: Iterable[object], renamed: Mapping[str, str]) -> dict[str, Member]:
        """Return parameters or headers; `renamed` maps placeholders."""
        found: dict[str, Member] = {}
        for node in map(self.follow, listed):
            where, name = str(node.get("in")), str(node.get("name"))
            name = renamed.get(name, name) if where == "path" else name
            name = name.lower() if where == "header" else name
            style = _style(node, where)
            for media in mapping(node, "content").values():
                node = {**as_object(media), **node}
            schema: object = node.get("schema", {})
            if node.get("deprecated") is True:
                schema = {"allOf": [schema], "deprecated": True}
            required = node.get("required") is True or where == "path"
            found[f" {where}.{name}"] = Member(required, schema, style)
        return found

    def headers(self, response: Node) -> dict[str, Member]:
        """Return the headers of a response, which are parameters that callers read."""
        listed = mapping(response, "headers").items()
        return self.arguments(
            ({**self.follow(node), "in": "header", "name": name} for name, node in listed), {}
        )

    def fields_of_form(self, media: Node) -> dict[str, Style]:
        """Return how the fields of a form are serialised, if the contract specifies it."""
        return {
            f".{name}": _style(as_object(node), "form")
            for name, node in mapping(media, "encoding").items()
        }

    def security(self, operation: Node) -> list[Node]:
        """Return the alternatives of credentials, any of which is enough."""
        owner = operation if "security" in operation else self.document
        return [as_object(each) for each in array(owner, "security")] or [{}]

    def schemes(self) -> Node:
        """Return the security schemes."""
        return mapping(mapping(self.document, "components"), "securitySchemes")

    def content(self, owner: Node) -> dict[str, Node]:
        """Return the media types of a body, without their parameters."""
        return {
            media.partition(";")[0].strip().lower(): as_object(node)
            for media, node in mapping(owner, "content").items()
        }

    def fields(self, branch: Branch, hidden: str) -> dict[str, Member]:
        """Return the properties of an object, without those with the flag `hidden`."""
        required = [str(each) for each in array(branch.schema, "required")]
        properties = {**dict.fromkeys(required, True), **mapping(branch.schema, "properties")}
        return {
            f".{name}": Member(name in required, schema)
            for name, schema in properties.items()
            if not self.has_flag(schema, hidden)
        }


def _style(node: Node, where: str) -> Style:
    """Return how a parameter is serialised. Values of `style` without an effect are ignored."""
    allows = {word for word in ("allowReserved", "allowEmptyValue") if node.get(word) is True}
    if "content" in node:
        media = ", ".join(sorted(mapping(node, "content")))
        return Style(media, media, frozenset(allows))
    if where == "form" and "style" not in node and "explode" not in node:
        media = str(node.get("contentType", USUAL.of_others))
        return Style(media, media, frozenset(allows))
    usual = "simple" if where in ("path", "header") else "form"
    style = str(node.get("style", usual))
    exploded = node.get("explode", style == "form") is True
    others = f"{style}, exploded" if exploded else style
    # All styles of a query serialise a scalar alike.
    return Style(style if where == "path" else usual, others, frozenset(allows))


def _named(branches: list[Branch], name: str | None) -> list[Branch]:
    if len(branches) != 1:
        return branches
    return [attrs.evolve(branches[0], name=name, origin=branches[0].origin if name else None)]


def _tagged(branch: Branch, option: object, discriminator: Node) -> Branch:
    """Give a union's branch the tags that the discriminator maps to it."""
    ref = str(schema_of(option).get("$ref"))
    targets = mapping(discriminator, "mapping")
    tags = sorted(tag for tag, target in targets.items() if target in (ref, ref.rpartition("/")[2]))
    return attrs.evolve(branch, tag=str(discriminator.get("propertyName", "")), tags=tuple(tags))
