"""Read the contract's schemas: which values they allow, and their Python types."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import ceil, floor
from typing import Any, Final, TypeAlias

import attrs

from document import Json, Node, is_object, misused, step

from .causes import Causes, Owner
from .names import class_name, pascal_case


def literal(value: object) -> str:
    """Return a JSON scalar as Python source."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


# The kinds of values, apart from null.


@attrs.frozen
class Text:
    format: str | None = None
    """`date-time`, `date`, or `None` for text that stays text."""
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None


@attrs.frozen
class Number:
    is_integer: bool
    minimum: float | None = None
    maximum: float | None = None


@attrs.frozen
class Flag:
    pass


@attrs.frozen
class Choice:
    """One of several scalars."""

    values: tuple[str | int | float | bool, ...]
    name: str | None = None
    """The name of its type; `None` for a single constant."""

    @property
    def kind(self) -> str:
        """The Python type of all values; `Any` if they differ."""
        kinds = {type(value).__name__ for value in self.values}
        return kinds.pop() if len(kinds) == 1 else "Any"


@attrs.frozen
class Items:
    item: Value
    min_items: int | None = None
    max_items: int | None = None


@attrs.frozen
class Entries:
    """An object without listed fields, whose values have the same type."""

    value: Value


@attrs.frozen
class Object:
    """An object with listed fields. Its fields are in `Schemas.objects`."""

    name: str


@attrs.frozen
class Alternatives:
    branches: tuple[Value, ...]
    tag: str | None = None
    """The field whose value selects a branch, if there is one."""
    models: Mapping[str, str] = attrs.field(factory=dict[str, str], hash=False)
    """The models by the values of the tag."""


@attrs.frozen
class Anything:
    pass


@attrs.frozen
class Null:
    pass


Kind: TypeAlias = (
    Text | Number | Flag | Choice | Items | Entries | Object | Alternatives | Anything | Null
)


@attrs.frozen
class Value:
    """What the contract says about a value."""

    kind: Kind
    nullable: bool = False
    doc: str = ""
    read_only: bool = False
    write_only: bool = False
    deprecated: bool = False

    @property
    def words(self) -> str:
        """Its description, and whether it is deprecated."""
        return f"{self.doc} Deprecated." if self.deprecated else self.doc


@attrs.frozen
class Field:
    wire: str
    value: Value
    required: bool
    node: Node


@attrs.define
class ObjectSchema:
    name: str
    doc: str
    fields: list[Field]
    extra: Value | None
    """The type of fields that are not listed; `None` if the contract does not say."""
    is_closed: bool
    """Whether there must be no other fields."""
    node: Node


@attrs.frozen
class ChoiceSchema:
    name: str
    doc: str
    values: tuple[str | int | float | bool, ...]
    place: str


ANYTHING: Final = Value(Anything(), nullable=True)

# Keywords that do not restrict which values are allowed.
_ANNOTATIONS: Final = frozenset(
    [
        *("title", "description", "deprecated", "readOnly", "writeOnly", "default"),
        *("example", "examples", "externalDocs", "xml", "$comment", "summary"),
    ]
)
_SCALARS: Final = (str, int, float, bool)


def _constrains(keyword: str) -> bool:
    return keyword not in _ANNOTATIONS and not keyword.startswith("x-")


@attrs.define
class Schemas:
    """The schemas of the contract, read when they are first used."""

    document: Json
    causes: Causes
    objects: dict[str, ObjectSchema] = attrs.field(factory=dict[str, ObjectSchema])
    choices: dict[str, ChoiceSchema] = attrs.field(factory=dict[str, ChoiceSchema])
    tagged: dict[frozenset[str], Alternatives] = attrs.field(
        factory=dict[frozenset[str], Alternatives]
    )
    """The unions with a discriminator, by the names of their models."""
    _names: dict[str, str] = attrs.field(factory=dict[str, str])
    """The name of the class of each place."""
    _places: dict[str, str] = attrs.field(factory=dict[str, str])
    """The place of each class, by its name."""
    _known: dict[str, Value | None] = attrs.field(factory=dict[str, Value | None])
    """The values behind `$ref`s; `None` while one is read."""
    _merging: set[int] = attrs.field(factory=set[int])
    """The schemas with several parts that are currently being read."""
    _queue: list[ObjectSchema] = attrs.field(factory=list[ObjectSchema])
    """Objects whose fields have not been read yet. A queue, because objects may nest deeply."""

    @property
    def _is_30(self) -> bool:
        return str(self.document.get("openapi")).startswith("3.0")

    def read(self, node: Node, name: str) -> Value:
        """Return what a schema allows.

        Args:
            node: The schema.
            name: What to call its class, if it needs one and is not a component.

        Raises:
            RefusedError: It cannot be read.
        """
        if node.value is True:
            return ANYTHING
        if node.value is False:
            raise node.refuse("this schema allows no value", "Remove it.")
        if not is_object(node.value):
            raise node.refuse("a schema is expected here", "Write an object.")
        _check_keywords(node)
        ref = node.get("$ref")
        if isinstance(ref, str):
            beside = {key: each for key, each in node.value.items() if key != "$ref"}
            if not self._is_30 and any(map(_constrains, beside)):
                return self._merged_value(node, name)
            value = self._behind(node, ref, name)
            return self._annotated(value, Node(node.document, beside, node.place))
        return self._annotated(self._plain(node, name), node)

    def _behind(self, node: Node, ref: str, name: str) -> Value:
        if ref in self._known:
            # If it is being read, the schema contains itself without an object in between, like a
            # schema of any JSON value.
            return self._known[ref] or ANYTHING
        self._known[ref] = None
        try:
            start, _, component = ref.rpartition("/")
            target = node.target(ref)
            if start == "#/components/schemas":
                name = class_name(component.replace("~1", "/").replace("~0", "~"))
            value = self._known[ref] = self.read(target, name)
        finally:
            if self._known[ref] is None:
                del self._known[ref]
        return value

    @staticmethod
    def _annotated(value: Value, node: Node) -> Value:
        return attrs.evolve(
            value,
            doc=str(node.get("description") or value.doc),
            read_only=node.get("readOnly") is True or value.read_only,
            write_only=node.get("writeOnly") is True or value.write_only,
            deprecated=node.get("deprecated") is True or value.deprecated,
        )

    def _plain(self, node: Node, name: str) -> Value:
        if "allOf" in node:
            return self._all_of(node, name)
        nullable = self._nullable(node)
        value = self._union(node, name) if self._is_union(node) else self._single(node, name)
        return attrs.evolve(value, nullable=value.nullable or nullable)

    def _nullable(self, node: Node) -> bool:
        found = node.get("nullable") is True
        if found and not self._is_30:
            raise node.refuse(
                "nullable is a keyword of OpenAPI 3.0, and later versions ignore it",
                "Allow the type null instead.",
            )
        return found

    def _is_union(self, node: Node) -> bool:
        return "properties" not in node and bool(node.get("oneOf") or node.get("anyOf"))

    def _all_of(self, node: Node, name: str) -> Value:
        parts = list(node.items("allOf"))
        beside = {key: each for key, each in node.value.items() if key != "allOf"}
        if len(parts) == 1 and not any(_constrains(key) for key in beside if key != "nullable"):
            value = self.read(parts[0], name)
            return attrs.evolve(value, nullable=value.nullable or self._nullable(node))
        return self._merged_value(node, name)

    def _merged_value(self, node: Node, name: str) -> Value:
        # Not with the place, because a merged schema has no place of its own.
        if id(node.value) in self._merging:
            return ANYTHING  # it contains itself without an object in between
        self._merging.add(id(node.value))
        try:
            merged = Node(node.document, self.merged(node), node.place)
            return self._annotated(self._plain(merged, name), merged)
        finally:
            self._merging.remove(id(node.value))

    def merged(self, node: Node) -> Json:
        """Return one schema without `allOf` and `$ref`s for a schema that has them.

        Raises:
            RefusedError: The parts contradict each other, or a `$ref` cannot be followed.
        """
        found = Json()
        for part in self._parts(node, []):
            for keyword, value in part.value.items():
                # As references, so that messages name the place of each.
                inner = part.place + step(keyword)
                if keyword == "properties":
                    value = {name: {"$ref": inner + step(name)} for name in value}
                elif keyword == "items" and is_object(value):
                    value = {"$ref": inner}
                if keyword not in found:
                    found[keyword] = value
                elif found[keyword] != value and _constrains(keyword):
                    found[keyword] = _both(node, keyword, found[keyword], value)
                elif keyword == "description":
                    found[keyword] = value
        return found

    def _parts(self, node: Node, inside: list[str]) -> Iterator[Node]:
        if not is_object(node.value):
            return  # `true` adds nothing
        _check_keywords(node)
        ref = node.get("$ref")
        # A union's branch may extend the union itself.
        if isinstance(ref, str) and ref not in inside:
            yield from self._parts(node.target(ref), [*inside, ref])
        for part in node.items("allOf"):
            yield from self._parts(part, inside)
        own = {key: each for key, each in node.value.items() if key not in ("allOf", "$ref")}
        if inside and "discriminator" in own:
            # It extends the common part of the union, not one of its branches.
            own = {key: own[key] for key in own if key not in ("oneOf", "anyOf", "discriminator")}
        yield Node(node.document, own, node.place)

    def _union(self, node: Node, name: str) -> Value:
        word = "oneOf" if node.get("oneOf") else "anyOf"
        options = list(node.items(word))
        alone = len(options) == 1 or _is_open(options)
        values = [
            self.read(option, name if alone else f"{name}{pascal_case(word)}{index}")
            for index, option in enumerate(options)
        ]
        nullable = any(value.nullable or isinstance(value.kind, Null) for value in values)
        # A branch that is anything stays a branch of a union.
        branches = tuple(value for value in values if not isinstance(value.kind, Null))
        union = Alternatives(branches)
        if "discriminator" in node:
            union = self._discriminated(node, options, branches)
        if len(branches) == 1:
            return attrs.evolve(branches[0], nullable=nullable)
        return Value(union, nullable) if branches else Value(Null(), nullable=True)

    def _discriminated(
        self, node: Node, options: list[Node], branches: tuple[Value, ...]
    ) -> Alternatives:
        names = [branch.kind.name for branch in branches if isinstance(branch.kind, Object)]
        refs = [str(option.get("$ref", "")).rpartition("/")[2] for option in options]
        by_ref = dict(zip([ref for ref in refs if ref], names, strict=False))
        if len(names) < len(branches) or len(by_ref) < len(branches):
            return Alternatives(branches)  # it may select a schema without a name
        discriminator = node.child("discriminator")
        mapping = discriminator.get("mapping") or {ref: ref for ref in by_ref}
        models: dict[str, str] = {}
        for tag, target in mapping.items():
            component = str(target).rpartition("/")[2]
            if component not in by_ref:
                raise discriminator.refuse(
                    f"the tag {tag} selects {component}, which is not one of the alternatives",
                    "Add it to them, or remove the tag.",
                )
            models[str(tag)] = by_ref[component]
        union = Alternatives(branches, str(discriminator.get("propertyName")), models)
        self.tagged[frozenset(names)] = union
        return union

    def _single(self, node: Node, name: str) -> Value:
        if "const" in node or "enum" in node:
            return self._choice(node, name)
        stated = node.get("type")
        words = [stated] if isinstance(stated, str) else list(stated or [])
        nullable = "null" in words
        kinds = [self._typed(str(word), node, name) for word in words if word != "null"]
        if not words:
            return self._untyped(node, name)
        if not kinds:
            return Value(Null(), nullable=True)
        if len(kinds) == 1:
            return Value(kinds[0], nullable)
        return Value(Alternatives(tuple(map(Value, kinds))), nullable)

    def _untyped(self, node: Node, name: str) -> Value:
        if any(key in node for key in ("properties", "additionalProperties", "patternProperties")):
            return Value(self._typed("object", node, name))
        if "items" in node or "prefixItems" in node:
            return Value(self._typed("array", node, name))
        return ANYTHING

    def _typed(self, word: str, node: Node, name: str) -> Kind:
        match word:
            case "string":
                kind = node.get("format")
                return Text(
                    kind if kind in ("date-time", "date") else None,
                    node.get("minLength"),
                    node.get("maxLength"),
                    node.get("pattern"),
                )
            case "integer":
                return Number(True, _least(node), _most(node))
            case "number":
                # A bound that is exclusive is left to the server.
                return Number(False, node.get("minimum"), node.get("maximum"))
            case "boolean":
                return Flag()
            case "array":
                item = ANYTHING
                if "items" in node and "prefixItems" not in node:
                    item = self.read(node.child("items"), f"{name}Item")
                return Items(item, node.get("minItems"), node.get("maxItems"))
            case "object":
                return self._object(node, name)
            case _:
                raise node.refuse(f"there is no type {word}", "Use a type of JSON Schema.")

    def _choice(self, node: Node, name: str) -> Value:
        values: list[Any] = [node.value["const"]] if "const" in node else node.value["enum"]
        scalars = tuple(value for value in values if value is not None)
        nullable = len(scalars) < len(values)
        if not all(isinstance(value, _SCALARS) for value in scalars):
            raise node.refuse(
                "an enumeration of arrays or objects is not supported", "List scalars only."
            )
        if not scalars:
            return Value(Null(), nullable=True)
        # JSON has one kind of number.
        stated = node.get("type")
        if stated == "number" or (stated is None and any(isinstance(v, float) for v in scalars)):
            scalars = tuple(
                float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in scalars
            )
        choice = Choice(scalars)
        # Python's `Literal` has no floats, and a constant needs no name.
        if "enum" in node and not any(isinstance(value, float) for value in scalars):
            name = self._name(name, node)
            choice = Choice(scalars, name)
            doc = str(node.get("description", ""))
            self.choices[name] = ChoiceSchema(name, doc, scalars, node.place)
        return Value(choice, nullable)

    def _name(self, name: str, node: Node) -> str:
        if node.place in self._names:
            return self._names[node.place]
        if name in self._places:
            raise node.refuse(
                f"it would be the class {name}, which {self._places[name]} is too",
                "Rename one of them.",
            )
        self._names[node.place], self._places[name] = name, node.place
        return name

    def _object(self, node: Node, name: str) -> Kind:
        if not node.get("properties"):
            return Entries(self._extra(node, name) or ANYTHING)
        name = self._name(name, node)
        if name not in self.objects:
            closed = node.get("additionalProperties"), node.get("unevaluatedProperties")
            doc = str(node.get("description", ""))
            schema = ObjectSchema(name, doc, [], None, False in closed, node)
            self.objects[name] = schema
            self._queue.append(schema)
        return Object(name)

    def finish(self) -> None:
        """Read the fields of all objects that have been found so far."""
        while self._queue:
            schema = self._queue.pop(0)
            with self.causes.of(Owner(schema.name, is_schema=True)):
                with self.causes.collected():
                    schema.fields.extend(self._fields(schema.node, schema.name))
                with self.causes.collected():
                    schema.extra = self._extra(schema.node, schema.name)

    def _fields(self, node: Node, name: str) -> list[Field]:
        required = node.get("required", [])
        fields: list[Field] = []
        for wire, inner in node.entries("properties"):
            with self.causes.collected():
                value = self.read(inner, name + (pascal_case(wire) or "Field"))
                fields.append(Field(wire, value, wire in required, inner))
        listed = node.value["properties"]
        return fields + [Field(w, ANYTHING, True, node) for w in required if w not in listed]

    def _extra(self, node: Node, name: str) -> Value | None:
        if node.get("patternProperties"):
            return ANYTHING
        stated = node.get("additionalProperties")
        if stated is True or is_object(stated):
            return self.read(node.child("additionalProperties"), f"{name}Value")
        return None


def _is_open(options: list[Node]) -> bool:
    """Return whether this is an enumeration beside any text: there may be other values."""
    others = [option for option in options if "enum" not in option]
    is_text = all(option.get("type") in ("string", "null") for option in others)
    return len(others) == len(options) - 1 and is_text


def is_text(value: Value) -> bool:
    """Return whether a value is always text that stays text, apart from null."""
    match value.kind:
        case Text(format=None) | Choice(kind="str"):
            return True
        case Alternatives(branches=branches):
            return all(map(is_text, branches))
        case _:
            return False


def _least(node: Node) -> int | None:
    """Return the smallest integer that the bounds of a schema allow."""
    least, above = node.get("minimum"), node.get("exclusiveMinimum")
    if above is True:  # in OpenAPI 3.0
        least, above = None, least
    found = [] if least is None else [ceil(least)]
    if above is not None and above is not False:
        found.append(floor(above) + 1)
    return max(found, default=None)


def _most(node: Node) -> int | None:
    """Return the largest integer that the bounds of a schema allow."""
    most, below = node.get("maximum"), node.get("exclusiveMaximum")
    if below is True:
        most, below = None, most
    found = [] if most is None else [floor(most)]
    if below is not None and below is not False:
        found.append(ceil(below) - 1)
    return min(found, default=None)


def _check_keywords(node: Node) -> None:
    for keyword in misused(node.value):
        shown = json.dumps(node.value[keyword])[:60]
        raise node.refuse(f"{keyword} cannot be {shown}", "Correct it.")


def _both(node: Node, keyword: str, old: Any, new: Any) -> Any:
    """Return a value of a keyword that satisfies both of two values."""
    match keyword:
        case "properties":
            joined = {name: {"allOf": [old[name], new[name]]} for name in old if name in new}
            same = {name: old[name] for name in joined if old[name] == new[name]}
            return {**old, **new, **joined, **same}
        case "items":
            return {"allOf": [old, new]}
        case "required":
            return [*old, *(each for each in new if each not in old)]
        case "enum":
            return [each for each in old if each in new]
        case "type":
            return _both_types(node, old, new)
        case "minimum" | "minLength" | "minItems" | "minProperties" | "exclusiveMinimum":
            return max(old, new)
        case "maximum" | "maxLength" | "maxItems" | "maxProperties" | "exclusiveMaximum":
            return min(old, new)
        case "additionalProperties" | "unevaluatedProperties":
            return False if False in (old, new) else new if old is True else old
        case "nullable":
            return old is True and new is True
        case _:
            raise node.refuse(
                f"its parts differ in {keyword}, and cannot be merged into one schema",
                f"State {keyword} once.",
            )


def _both_types(node: Node, old: Any, new: Any) -> Any:
    ours = [old] if isinstance(old, str) else old
    theirs = [new] if isinstance(new, str) else new
    both = [word for word in ours if word in theirs]
    both += [
        "integer"
        for a, b in ((ours, theirs), (theirs, ours))
        if "integer" in a and "number" in b and "integer" not in both
    ]
    if not both:
        raise node.refuse("its parts have no type in common", "Correct their types.")
    return both[0] if len(both) == 1 else both
