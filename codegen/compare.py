"""List what changed between two contracts, and which of it breaks a caller.

    python codegen/compare.py OLD NEW [--json]

Exit status: 0 when nothing breaks, 1 when something does, 2 when the arguments
or the files cannot be used.

A change is judged by what the caller does with the value. Callers *send*
parameters and request bodies: they break when less is accepted than before.
They *read* responses and webhook deliveries: they break when less is promised
than before. So one edit to a shared schema may break its senders and suit its
readers, and it is reported at each place that reaches it. `RULES` is the whole
policy, a row per kind of change.

A reader is taken to be this SDK, which passes unknown enum values, fields and
union tags through; new ones are therefore listed and break nobody. Wording
(titles, descriptions, examples, tags, extensions) is not compared at all, nor
are callbacks, links and what a webhook's receiver answers.
"""

from __future__ import annotations

import argparse
import enum
import json
import operator
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import unquote

import attrs

Node = dict[str, Any]


class ContractError(Exception):
    """A contract, or the command line, that cannot be made sense of."""


class Caller(enum.Flag):
    """What callers do with a value; a rule names those whom it breaks."""

    NOBODY = 0
    SENDS = 1
    READS = 2
    ANYBODY = 3


NOBODY, SENDS, READS, ANYBODY = Caller.NOBODY, Caller.SENDS, Caller.READS, Caller.ANYBODY

RULES: dict[str, tuple[Caller, str]] = {
    # The contract as a whole.
    "server-added": (NOBODY, "added"),
    "server-removed": (ANYBODY, "removed"),
    "security-scheme-added": (NOBODY, "added"),
    # Its removal shows as security-tightened wherever it was in use.
    "security-scheme-removed": (NOBODY, "removed"),
    "security-scheme-changed": (ANYBODY, "changed"),
    # Operations.
    "operation-added": (NOBODY, "added ({call})"),
    "operation-removed": (ANYBODY, "removed ({call})"),
    "method-changed": (ANYBODY, "method changed from {old} to {new}"),
    "path-changed": (ANYBODY, "path changed from {old} to {new}"),
    # Placeholder names never reach the wire; values are matched by position.
    "placeholder-renamed": (NOBODY, "placeholder renamed from {old} to {new}"),
    "security-tightened": (ANYBODY, "security changed from {old} to {new}"),
    "security-loosened": (NOBODY, "security changed from {old} to {new}"),
    "status-added": (NOBODY, "added"),
    "success-status-removed": (ANYBODY, "removed"),
    "error-status-removed": (NOBODY, "removed"),
    "media-type-added": (NOBODY, "media type added"),
    "media-type-removed": (ANYBODY, "media type removed"),
    # Parameters, headers, bodies and fields.
    "added": (NOBODY, "added"),
    "added-required": (SENDS, "added and required"),
    "removed": (ANYBODY, "removed"),
    "became-required": (SENDS, "became required"),
    "became-optional": (READS, "became optional"),
    "deprecated": (NOBODY, "deprecated"),
    "undeprecated": (NOBODY, "no longer deprecated"),
    # Values.
    "type-narrowed": (SENDS, "type narrowed from {old} to {new}"),
    "type-widened": (READS, "type widened from {old} to {new}"),
    "type-changed": (ANYBODY, "type changed from {old} to {new}"),
    "null-added": (READS, "became nullable"),
    "null-removed": (SENDS, "no longer nullable"),
    "enum-added": (SENDS, "limited to {new}"),
    "enum-removed": (NOBODY, "no longer limited to {old}"),
    "enum-value-added": (NOBODY, "enum value {new} added"),
    "enum-value-removed": (SENDS, "enum value {old} removed"),
    "const-changed": (ANYBODY, "only value changed from {old} to {new}"),
    "bound-tightened": (SENDS, "{keyword} {how}"),
    "bound-loosened": (NOBODY, "{keyword} {how}"),
    "branch-added": (NOBODY, "alternative added"),
    # A reader of one shape, unlike a reader of a union, has no fallback.
    "became-union": (READS, "alternative added to what was a single shape"),
    "branch-removed": (SENDS, "alternative removed"),
    "extra-fields-forbidden": (SENDS, "fields other than the listed ones forbidden"),
    "extra-fields-allowed": (NOBODY, "fields other than the listed ones allowed"),
    # It alters what an omitted argument does, without any caller noticing.
    "default-changed": (NOBODY, "default changed from {old} to {new}"),
    # Too rare to be analysed; better a false alarm than a missed break.
    "keyword-changed": (ANYBODY, "{keyword} changed, which has to be judged by hand"),
}

TYPE_CHANGES: dict[tuple[bool, bool], str] = {
    # Whether the new types cover the old ones, and the old ones the new.
    (True, False): "type-widened",
    (False, True): "type-narrowed",
    (False, False): "type-changed",
}

PRESENCE: dict[tuple[bool | None, bool | None], str] = {
    # Absent is None; otherwise whether it is required.
    (None, False): "added",
    (None, True): "added-required",
    (False, None): "removed",
    (True, None): "removed",
    (False, True): "became-required",
    (True, False): "became-optional",
}


# keyword -> does going from the first value to the second tighten it?
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

# What a keyword may hold; a contract that has something else there is refused.
EXPECTED: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(TIGHTENS, (int, float)),
    **dict.fromkeys(("pattern", "format"), (str,)),
    **dict.fromkeys(("enum", "required"), (list,)),
    "properties": (dict,),
    "type": (str, list),
}

UNANALYSED = (
    *("not", "if", "then", "else", "patternProperties", "propertyNames", "prefixItems"),
    *("contains", "minContains", "maxContains", "dependentRequired", "dependentSchemas"),
    *("unevaluatedItems", "contentEncoding", "contentMediaType", "contentSchema"),
)
COMPOSITION = ("$ref", "allOf", "oneOf", "anyOf", "discriminator", "const")

ANY_TYPE = frozenset({"boolean", "number", "string", "array", "object"})
# The SDK reads these formats as values of another Python type, so that losing
# one is a change of type. Other formats only restrict the string.
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

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


@attrs.frozen(order=True)
class Change:
    """One difference between two contracts; they sort as they are listed."""

    operation: str
    """The operationId, `webhook <name>`, or `(contract)`."""
    location: str
    """The place inside the operation, such as `response 200.data.wallet[].balance`."""
    kind: str
    """A key of `RULES`, stable for scripts."""
    message: str
    breaking: bool

    def __str__(self) -> str:
        verdict = "BREAKS" if self.breaking else "ok    "
        return f"{verdict}  {self.operation}  {self.location}  {self.message}"


@attrs.frozen
class Place:
    """Where a change is found, and what callers do with the value there."""

    operation: str
    caller: Caller
    location: str
    inside: frozenset[str] = frozenset()
    """The pairs of schemas around it, at which recursion ends."""

    def down(self, step: str) -> Place:
        """Return a place further inside."""
        return attrs.evolve(self, location=self.location + step)

    def change(self, kind: str, **values: object) -> Change:
        """Return a change of this kind, judged by its rule."""
        breaks, message = RULES[kind]
        text = message.format(**values)
        return Change(self.operation, self.location, kind, text, bool(breaks & self.caller))


@attrs.frozen
class Member:
    """A parameter, header or field: something that has a name and a schema."""

    required: bool
    schema: object


@attrs.frozen
class Endpoint:
    """An operation with the parameters and servers of its path item."""

    method: str
    path: str
    operation: Node


@attrs.frozen
class Branch:
    """One alternative of a schema: plain keywords, nothing left to look up."""

    schema: Node
    name: str | None = None
    """The component that it was taken from."""
    tags: tuple[str, ...] = ()
    """The discriminator's values that select it."""
    constants: tuple[str, ...] = ()
    """The values of its fields that have only one."""
    union: bool = False
    """Whether callers know that there may be others."""

    def both(self, other: Branch) -> Branch:
        """Return the branch of the values that satisfy this one and the other."""
        schema = {**self.schema, **other.schema}
        for keyword in self.schema.keys() & other.schema.keys():
            schema[keyword] = _combine(keyword, self.schema[keyword], other.schema[keyword])
        union = self.union or other.union
        name, tags = other.name or self.name, other.tags or self.tags
        return Branch(schema, name, tags, union=union)

    @property
    def label(self) -> str:
        """What identifies it in a union; empty when nothing does."""
        return "/".join(self.tags) or self.name or "/".join(self.constants)

    @property
    def values(self) -> list[str] | None:
        """The enum as JSON, without null, which belongs to the types."""
        if "enum" not in self.schema:
            return None
        return [_show(value) for value in _array(self.schema, "enum") if value is not None]

    @property
    def nullable(self) -> bool:
        """Whether null is among the values."""
        return "null" in self._json_types

    @property
    def types(self) -> frozenset[str]:
        """The types that it allows, but null; a date is a type of its own."""
        types = self._json_types - {"null"}
        if "string" in types and self.schema.get("format") in TYPE_FORMATS:
            types = types - {"string"} | {str(self.schema["format"])}
        return types

    @property
    def _json_types(self) -> frozenset[str]:
        schema = self.schema
        if "type" in schema:
            return frozenset(_type_names(schema["type"]))
        if "enum" in schema:
            return frozenset(JSON_TYPES[type(value)] for value in _array(schema, "enum"))
        if "properties" in schema or "items" in schema:
            return frozenset({"object" if "properties" in schema else "array"})
        return ANY_TYPE | {"null"}


def _object(value: object) -> Node:
    if not isinstance(value, dict):
        raise ContractError(f"expected an object where there is {_show(value)[:60]}")
    return cast("Node", value)


def _mapping(node: Node, key: str) -> Node:
    return _object(node.get(key, {}))


def _array(node: Node, key: str) -> list[Any]:
    value: object = node.get(key, [])
    if isinstance(value, list):
        return cast("list[object]", value)
    raise ContractError(f"expected an array where there is {_show(value)[:60]}")


def _schema(value: object) -> Node:
    if isinstance(value, bool):
        return {} if value else {"not": {}}
    return _object(value)


def _show(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _show_types(types: Iterable[str]) -> str:
    return "anything" if ANY_TYPE.issubset(types) else " or ".join(sorted(types)) or "null"


def _type_names(word: object) -> list[str]:
    return [word] if isinstance(word, str) else [str(each) for each in _array({"": word}, "")]


def _covers(wide: Iterable[str], narrow: Iterable[str]) -> bool:
    allowed = set(wide)
    return all(not allowed.isdisjoint({each, PART_OF.get(each, each)}) for each in narrow)


# Merging what allOf, and keywords next to a $ref, demand together.


def _conjoin(old: object, new: object) -> object:
    """Return one schema for two, the same one however often they are merged.

    Parts are flattened and kept once; a recursive allOf would grow for ever otherwise.
    """
    if old is False or new is False:
        return False
    parts: list[Any] = []
    for schema in (_schema(old), _schema(new)):
        for part in _array(schema, "allOf") if list(schema) == ["allOf"] else [schema]:
            if part and part not in parts:
                parts.append(part)
    return {"allOf": parts} if len(parts) > 1 else parts[0] if parts else True


def _join_properties(old: Any, new: Any) -> Any:
    return {**old, **new, **{name: _conjoin(old[name], new[name]) for name in old if name in new}}


def _meet_types(old: object, new: object) -> list[str]:
    ours, theirs = _type_names(old), _type_names(new)
    return [t for t in (*ours, *theirs) if _covers(ours, [t]) and _covers(theirs, [t])]


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
    """One contract, read without its $refs getting in the way."""

    document: Node

    def look_up(self, ref: str, inside: Iterable[str]) -> object:
        """Return what a local `$ref` points at; `inside` are the ones that led to it."""
        if ref in inside:
            raise ContractError(f"$ref {ref} leads back to itself")
        start, *steps = unquote(ref).split("/")
        found: Any = self.document if start == "#" else None
        try:
            for step in steps:
                key = step.replace("~1", "/").replace("~0", "~")
                found = found[int(key) if isinstance(found, list) else key]
        except (LookupError, TypeError, ValueError):
            found = None
        if found is None:
            raise ContractError(f"$ref {ref} points at nothing in the contract")
        return cast("object", found)

    def follow(self, value: object) -> Node:
        """Return the parameter, response or path item behind any `$ref`s."""
        node, seen = dict(_object(value)), list[str]()
        while "$ref" in node:
            ref = str(node.pop("$ref"))
            node = {**_object(self.look_up(ref, seen)), **node}
            seen.append(ref)
        return node

    def branches(self, schema: object, inside: tuple[str, ...] = ()) -> list[Branch]:
        """Return the alternatives of a schema, with references and allOf merged in.

        What stands around a oneOf is merged into each of its alternatives, so
        that a schema is nothing but the list of them.
        """
        node = _schema(schema)
        for keyword, expected in EXPECTED.items():
            if keyword in node and not isinstance(node[keyword], expected):
                raise ContractError(f"{keyword} cannot be {_show(node[keyword])[:60]}")
        parts: list[list[Branch]] = []
        if "$ref" in node:
            ref = str(node["$ref"])
            targets = self.branches(self.look_up(ref, inside), (*inside, ref))
            parts.append(_named(targets, ref.rpartition("/")[2]))
        for each in _array(node, "allOf"):
            # A base that many share does not identify the one that extends it.
            parts.append(_named(self.branches(each, inside), None))
        for options in (_array(node, union) for union in ("oneOf", "anyOf") if union in node):
            known = Branch({}, union={"type": "null"} not in options)
            tag = _mapping(node, "discriminator")
            parts.append(
                [
                    _tagged(branch, option, tag).both(known)
                    for option in options
                    for branch in self.branches(option, inside)
                ]
            )
        if "const" in node:
            parts.append([Branch({"enum": [node["const"]]})])
        parts.append([Branch({key: node[key] for key in node if key not in COMPOSITION})])
        merged = [Branch({})]
        for part in parts:
            merged = [ours.both(theirs) for ours in merged for theirs in part]
        return [branch for branch in merged if branch.types or branch.nullable]

    def alternatives(self, schema: object) -> tuple[list[Branch], bool]:
        """Return the branches of a schema other than null, and whether it may be null."""
        found = self.branches(schema)
        known = [
            attrs.evolve(branch, constants=tuple(self.constants(branch)))
            for branch in found
            if branch.types
        ]
        return known, any(branch.nullable for branch in found)

    def constants(self, branch: Branch) -> Iterator[str]:
        """Find the values of the fields that have a single one."""
        for _, field in sorted(_mapping(branch.schema, "properties").items()):
            options = self.branches(field)
            values = options[0].values if len(options) == 1 else None
            if values and len(values) == 1:
                yield values[0].strip('"')

    def endpoints(self, section: str) -> dict[str, Endpoint]:
        """Return the operations of `paths` by operationId, of `webhooks` by name."""
        found: dict[str, Endpoint] = {}
        for path, value in _mapping(self.document, section).items():
            item = self.follow(value)
            for method in (each for each in METHODS if each in item):
                operation = {**item, **_object(item[method])}
                operation["parameters"] = [
                    *_array(item, "parameters"),
                    *_array(_object(item[method]), "parameters"),
                ]
                key = str(operation.get("operationId", f"{method.upper()} {path}"))
                key = f"webhook {path}" if section == "webhooks" else key
                if key in found:
                    raise ContractError(f"two operations are called {key!r}")
                found[key] = Endpoint(method.upper(), path, operation)
        return found

    def arguments(self, listed: Iterable[object], renamed: Mapping[str, str]) -> dict[str, Member]:
        """Return parameters or headers; `renamed` maps placeholders."""
        found: dict[str, Member] = {}
        for node in map(self.follow, listed):
            where, name = str(node.get("in")), str(node.get("name"))
            name = renamed.get(name, name) if where == "path" else name
            name = name.lower() if where == "header" else name
            for media in _mapping(node, "content").values():
                node = {**_object(media), **node}
            schema: object = node.get("schema", {})
            if node.get("deprecated") is True:
                schema = {"allOf": [schema], "deprecated": True}
            required = node.get("required") is True or where == "path"
            found[f" {where}.{name}"] = Member(required, schema)
        return found

    def headers(self, response: Node) -> dict[str, Member]:
        """Return the headers of a response, which are parameters that callers read."""
        listed = _mapping(response, "headers").items()
        return self.arguments(
            ({**self.follow(node), "in": "header", "name": name} for name, node in listed), {}
        )

    def security(self, operation: Node) -> list[Node]:
        """Return the alternatives of credentials that let a caller in."""
        owner = operation if "security" in operation else self.document
        return [_object(each) for each in _array(owner, "security")] or [{}]

    def content(self, owner: Node) -> dict[str, object]:
        """Return the schemas of a body by media type, without its parameters."""
        return {
            media.partition(";")[0].strip().lower(): _object(node).get("schema", {})
            for media, node in _mapping(owner, "content").items()
        }


def _named(branches: list[Branch], name: str | None) -> list[Branch]:
    return [attrs.evolve(branches[0], name=name)] if len(branches) == 1 else branches


def _tagged(branch: Branch, option: object, discriminator: Node) -> Branch:
    """Give a union's branch the tags that the discriminator maps to it.

    The tags become the enum of the tag field, so that a changed tag is found
    by the rules for enums also where the field is declared a plain string.
    """
    ref = str(_schema(option).get("$ref"))
    mapping = _mapping(discriminator, "mapping")
    tags = sorted(tag for tag, target in mapping.items() if target in (ref, ref.rpartition("/")[2]))
    field = str(discriminator.get("propertyName"))
    if not tags or field not in _mapping(branch.schema, "properties"):
        return branch
    return branch.both(Branch({"properties": {field: {"enum": tags}}}, tags=tuple(tags)))


def _fields(branch: Branch, caller: Caller) -> dict[str, Member]:
    """Return the properties of an object that exist in the caller's direction."""
    required = [str(each) for each in _array(branch.schema, "required")]
    properties = {**dict.fromkeys(required, True), **_mapping(branch.schema, "properties")}
    hidden = "readOnly" if caller is SENDS else "writeOnly"
    return {
        f".{name}": Member(name in required, schema)
        for name, schema in properties.items()
        if _schema(schema).get(hidden) is not True
    }


def compare(old: Node, new: Node) -> list[Change]:
    """List the changes from one OpenAPI 3.1 contract to another, in a stable order.

    Args:
        old: The contract that callers were built against, as parsed JSON.
        new: The contract that is to replace it.

    Raises:
        ContractError: One of them is malformed where it had to be read.
    """
    return sorted(set(_Comparison(Contract(old), Contract(new)).changes()))


@attrs.frozen
class _Comparison:
    old: Contract
    new: Contract

    def changes(self) -> Iterator[Change]:
        whole = Place("(contract)", ANYBODY, "")
        yield from _servers(whole, self.old.document, self.new.document)
        yield from self.schemes(whole)
        for section, caller, root in (("paths", SENDS, "request"), ("webhooks", READS, "delivery")):
            before, after = self.old.endpoints(section), self.new.endpoints(section)
            for key in before.keys() | after.keys():
                here = Place(key, ANYBODY, "operation")
                a, b = before.get(key), after.get(key)
                if a and b:
                    yield from self.operation(here, a, b)
                    yield from self.request(Place(key, caller, root), a, b)
                if a and b and section == "paths":
                    yield from self.responses(Place(key, READS, "response "), a, b)
                elif a and not b:
                    yield here.change("operation-removed", call=f"{a.method} {a.path}")
                elif b and not a:
                    yield here.change("operation-added", call=f"{b.method} {b.path}")

    def schemes(self, place: Place) -> Iterator[Change]:
        before, after = (
            _mapping(_mapping(each.document, "components"), "securitySchemes")
            for each in (self.old, self.new)
        )
        yield from _unshared(place, "security-scheme", before, after, "security scheme {}")
        for name in before.keys() & after.keys():
            a, b = self.old.follow(before[name]), self.new.follow(after[name])
            if {**a, "description": ""} != {**b, "description": ""}:
                yield place.down(f"security scheme {name}").change("security-scheme-changed")

    def operation(self, place: Place, old: Endpoint, new: Endpoint) -> Iterator[Change]:
        if old.method != new.method:
            yield place.change("method-changed", old=old.method, new=new.method)
        if PLACEHOLDER.sub("{}", old.path) != PLACEHOLDER.sub("{}", new.path):
            yield place.change("path-changed", old=old.path, new=new.path)
        yield from _deprecation(place, old.operation, new.operation)
        before, after = self.old.security(old.operation), self.new.security(new.operation)
        had, asked = set(map(_demands, before)), set(map(_demands, after))
        if had != asked:
            # Whoever got in with some credentials has to get in with the same ones.
            welcome = all(any(less <= credentials for less in asked) for credentials in had)
            kind = "security-loosened" if welcome else "security-tightened"
            yield place.change(kind, old=_show(before), new=_show(after))
        if "servers" in old.operation or "servers" in new.operation:
            a = {**self.old.document, **old.operation}
            b = {**self.new.document, **new.operation}
            yield from _servers(attrs.evolve(place, location=""), a, b)

    def request(self, place: Place, old: Endpoint, new: Endpoint) -> Iterator[Change]:
        names, former = PLACEHOLDER.findall(new.path), PLACEHOLDER.findall(old.path)
        moved = PLACEHOLDER.sub("{}", old.path) != PLACEHOLDER.sub("{}", new.path)
        renamed = {} if moved else dict(zip(names, former, strict=True))
        for name, was in renamed.items():
            if name != was:
                here = place.down(f" path.{was}")
                yield here.change("placeholder-renamed", old=was, new=name)
        before = self.old.arguments(old.operation["parameters"], {})
        after = self.new.arguments(new.operation["parameters"], renamed)
        yield from self.members(place, before, after)

        a = self.old.follow(_mapping(old.operation, "requestBody"))
        b = self.new.follow(_mapping(new.operation, "requestBody"))
        # An empty object is no body at all.
        required = [node.get("required") is True if node else None for node in (a, b)]
        yield from _presence(place.down(" body"), *required)
        if a and b:
            yield from self.bodies(place.down(" body"), a, b)

    def responses(self, place: Place, old: Endpoint, new: Endpoint) -> Iterator[Change]:
        before, after = (_mapping(each.operation, "responses") for each in (old, new))
        for status in before.keys() | after.keys():
            here = place.down(status)
            if status not in before:
                yield here.change("status-added")
            elif status not in after:
                outcome = "success" if status.startswith("2") else "error"
                yield here.change(f"{outcome}-status-removed")
            else:
                a, b = self.old.follow(before[status]), self.new.follow(after[status])
                yield from self.members(here, self.old.headers(a), self.new.headers(b))
                yield from self.bodies(here, a, b)

    def bodies(self, place: Place, old: Node, new: Node) -> Iterator[Change]:
        before, after = self.old.content(old), self.new.content(new)
        yield from _unshared(place, "media-type", before, after, " ({})")
        for media in before.keys() & after.keys():
            here = place if media == "application/json" else place.down(f" ({media})")
            yield from self.schema(here, before[media], after[media])

    def members(
        self, place: Place, old: Mapping[str, Member], new: Mapping[str, Member]
    ) -> Iterator[Change]:
        for step in old.keys() | new.keys():
            here, a, b = place.down(step), old.get(step), new.get(step)
            yield from _presence(here, a.required if a else None, b.required if b else None)
            if a and b:
                yield from self.schema(here, a.schema, b.schema)

    def schema(self, place: Place, old: object, new: object) -> Iterator[Change]:
        if (pair := _show([old, new])) in place.inside:
            return
        place = attrs.evolve(place, inside=place.inside | {pair})
        before, had = self.old.alternatives(old)
        after, has = self.new.alternatives(new)
        was, is_ = _types(before), _types(after)
        if had is not has and ANY_TYPE not in (was, is_):
            yield place.change("null-added" if has else "null-removed")
        union = max(len(before), len(after)) > 1
        for step, a, b in _pairs(before, after):
            here = place.down(step) if union else place
            if a and b:
                yield from self.branch(here, a, b)
            elif a:
                yield here.change("branch-removed")
            elif b and not _covers(was, b.types):
                wider = _show_types(was | b.types)
                yield here.change("type-widened", old=_show_types(was), new=wider)
            elif b:
                alone = "object" in b.types and not any(each.union for each in before)
                yield here.change("became-union" if alone else "branch-added")

    def branch(self, place: Place, a: Branch, b: Branch) -> Iterator[Change]:
        was, is_ = a.types, b.types
        if was != is_:
            kind = TYPE_CHANGES[_covers(is_, was), _covers(was, is_)]
            yield place.change(kind, old=_show_types(was), new=_show_types(is_))
            if kind == "type-changed":
                return  # The rest would only repeat that it is another thing now.
        yield from _values(place, a, b)
        yield from _bounds(place, a, b)
        yield from _deprecation(place, a.schema, b.schema)
        old, new = _show(a.schema.get("default")), _show(b.schema.get("default"))
        if old != new:
            yield place.change("default-changed", old=old, new=new)
        for keyword in UNANALYSED:
            if _show(a.schema.get(keyword)) != _show(b.schema.get(keyword)):
                yield place.change("keyword-changed", keyword=keyword)
        fields = _fields(a, place.caller), _fields(b, place.caller)
        yield from self.members(place, *fields)
        yield from self.extra_fields(place, a.schema, b.schema)
        items = a.schema.get("items", True), b.schema.get("items", True)
        if items != (True, True):
            yield from self.schema(place.down("[]"), *items)

    def extra_fields(self, place: Place, old: Node, new: Node) -> Iterator[Change]:
        """Compare what the fields that are not listed may be."""
        a, b = (
            node.get("additionalProperties", node.get("unevaluatedProperties", True))
            for node in (old, new)
        )
        if a is not False and b is not False and (a, b) != (True, True):
            yield from self.schema(place.down(".*"), a, b)
        elif a not in (True, False, {}):
            yield place.down(".*").change("removed")  # Its entries were the point of a map.
        elif b is False and a is not False:
            yield place.change("extra-fields-forbidden")
        elif a is False and b is not False:
            yield place.change("extra-fields-allowed")


def _servers(place: Place, old: Node, new: Node) -> Iterator[Change]:
    before, after = (
        {str(_object(each).get("url")): None for each in _array(node, "servers")} or {"/": None}
        for node in (old, new)
    )
    yield from _unshared(place, "server", before, after, "server {}")


def _demands(credentials: Node) -> frozenset[str]:
    scopes = [f"{name} {scope}" for name in credentials for scope in _array(credentials, name)]
    return frozenset([*credentials, *scopes])


def _unshared(
    place: Place, what: str, old: Iterable[str], new: Iterable[str], step: str
) -> Iterator[Change]:
    for name in set(old) ^ set(new):
        kind = f"{what}-removed" if name in old else f"{what}-added"
        yield place.down(step.format(name)).change(kind)


def _presence(place: Place, old: bool | None, new: bool | None) -> Iterator[Change]:
    if old is not new:
        yield place.change(PRESENCE[old, new])


def _deprecation(place: Place, old: Node, new: Node) -> Iterator[Change]:
    was, is_ = old.get("deprecated") is True, new.get("deprecated") is True
    if was is not is_:
        yield place.change("deprecated" if is_ else "undeprecated")


def _types(branches: Iterable[Branch]) -> frozenset[str]:
    return frozenset[str]().union(*(branch.types for branch in branches))


IDENTITIES: tuple[Callable[[Branch], object], ...] = (
    # What matches the alternatives of two unions, the surest first. A type or
    # a position only matches those that nothing identifies: two of different
    # names are two alternatives, not one that changed.
    lambda branch: branch.tags,
    lambda branch: branch.name,
    lambda branch: branch.constants,
    lambda branch: _show(branch.schema),
    lambda branch: not branch.label and branch.types,
    lambda branch: not branch.label,
)


def _pairs(
    old: list[Branch], new: list[Branch]
) -> Iterator[tuple[str, Branch | None, Branch | None]]:
    """Match the alternatives of two unions, with the step that names each."""
    left, right = dict(enumerate(old)), dict(enumerate(new))
    alone = len(old) == len(new) == 1
    for identity in IDENTITIES:
        for i, a in list(left.items()):
            for j, b in list(right.items()):
                if i in left and (alone or (identity(a) and identity(a) == identity(b))):
                    yield f"<{b.label or f'#{j}'}>", left.pop(i), right.pop(j)
    for i, a in left.items():
        yield f"<{a.label or f'#{i}'}>", a, None
    for j, b in right.items():
        yield f"<{b.label or f'#{j}'}>", None, b


def _values(place: Place, a: Branch, b: Branch) -> Iterator[Change]:
    before, after = a.values, b.values
    if before is None or after is None:
        if before is not None:
            yield place.change("enum-removed", old=", ".join(before))
        if after is not None:
            yield place.change("enum-added", new=", ".join(after))
    elif len(before) == len(after) == 1 and before != after:
        yield place.change("const-changed", old=before[0], new=after[0])
    else:
        for value in set(after) - set(before):
            yield place.change("enum-value-added", new=value)
        for value in set(before) - set(after):
            yield place.change("enum-value-removed", old=value)


def _bounds(place: Place, a: Branch, b: Branch) -> Iterator[Change]:
    for keyword, tightens in TIGHTENS.items():
        was, is_ = _bound(a.schema, keyword), _bound(b.schema, keyword)
        if was == is_:
            continue
        if was is None or is_ is None:
            tighter = was is None
            how = f"{_show(is_)} added" if tighter else f"{_show(was)} removed"
        else:
            tighter = tightens(was, is_)
            verb = "raised" if is_ > was else "lowered"
            verb = "changed" if isinstance(is_, (bool, str)) else verb
            how = f"{verb} from {_show(was)} to {_show(is_)}"
        kind = "bound-tightened" if tighter else "bound-loosened"
        yield place.change(kind, keyword=keyword, how=how)


def _bound(node: Node, keyword: str) -> Any:
    value = node.get(keyword, BOUND_DEFAULTS.get(keyword))
    return None if value in TYPE_FORMATS else value


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ContractError(message)


def _load(path: Path) -> Node:
    try:
        document: object = json.loads(path.read_bytes())
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ContractError(f"{path}: not JSON: {error}") from error
    contract = cast("Node", document) if isinstance(document, dict) else {}
    if not str(contract.get("openapi")).startswith("3.1."):
        raise ContractError(f"{path}: not an OpenAPI 3.1 contract")
    return contract


def _report(changes: list[Change], as_json: bool) -> str:
    breaking = sum(change.breaking for change in changes)
    if as_json:
        listed = [attrs.asdict(change) for change in changes]
        return json.dumps({"changes": listed, "breaking": breaking}, indent=2)
    summary = f"{len(changes)} changes, {breaking} break callers"
    return "\n".join([*map(str, changes), summary])


def main(argv: list[str]) -> int:
    """Print what changed between two contract files and return the exit status."""
    parser = _Parser("compare.py", description="List what changed between two contracts.")
    parser.add_argument("old", type=Path, help="the contract that callers were built against")
    parser.add_argument("new", type=Path, help="the contract that is to replace it")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    try:
        options = parser.parse_args(argv)
        changes = compare(_load(options.old), _load(options.new))
    except ContractError as error:
        sys.stderr.write(f"compare.py: {error}\n")
        return 2
    except RecursionError:
        sys.stderr.write("compare.py: the contract is nested too deeply\n")
        return 2
    sys.stdout.write(_report(changes, options.json) + "\n")
    return int(any(change.breaking for change in changes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
