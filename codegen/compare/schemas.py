"""Compare schemas. Each pair is compared once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any, Final, cast

import attrs

from .contract import (
    ANY_TYPE,
    BOUND_DEFAULTS,
    RESTRICTIONS,
    TIGHTENS,
    TYPE_FORMATS,
    UNANALYSED,
    Branch,
    Contract,
    Member,
    Node,
    Style,
    array,
    covers,
    is_wording,
    mapping,
    schema_of,
    show,
    show_types,
    without_wording,
)
from .rules import SENDS, Caller, Change, ContractError, Place

TYPE_CHANGES: dict[tuple[bool, bool], str] = {
    # Key: whether the new types cover the old ones, and whether the old ones cover the new.
    (True, False): "type-widened",
    (False, True): "type-narrowed",
    (False, False): "type-changed",
}

PRESENCE: dict[tuple[bool | None, bool | None], str] = {
    # Key: old and new. `None` means absent; a bool means present, and whether it is required.
    (None, False): "added",
    (None, True): "added-required",
    (False, None): "removed",
    (True, None): "removed",
    (False, True): "became-required",
    (True, False): "became-optional",
}


@attrs.define(eq=False)
class Pair:
    """Two schemas to compare once, and what callers do with their values.

    There is one object for each pair, so that pairs can be compared quickly by identity.
    """

    caller: Caller
    old: object
    new: object
    component: str
    """The name of the new component; empty if the new schema is not a component."""
    findings: list[Finding] | None = None
    """The differences, without those of inner pairs; `None` before the comparison."""


@attrs.frozen
class Use:
    """A place that uses a pair of schemas."""

    place: Place
    pair: Pair


Finding = Change | Use

STEPS: Final = 20_000_000
"""How many uses of schemas to follow before each schema is listed at only one operation. For 600
operations that all reach 900 schemas, a third of it is needed, and it takes 2 seconds."""

UNCHANGED, CHANGED, BREAKS = range(3)


def _is_reference(schema: object) -> bool:
    """Return whether a schema is a `$ref` without other relevant keywords."""
    node = schema_of(schema)
    return "$ref" in node and all(
        key in ("$ref", "readOnly", "writeOnly") or is_wording(key) for key in node
    )


def _unwrapped(schema: object) -> tuple[object, bool]:
    """Return the schema in a union with null or an allOf of one, and whether null is allowed."""
    node = schema_of(schema)
    words = [key for key in node if key not in ("readOnly", "writeOnly") and not is_wording(key)]
    if words in (["oneOf"], ["anyOf"]):
        options = array(node, words[0])
        others = [option for option in options if option != {"type": "null"}]
        if len(others) == 1 < len(options):
            return others[0], True
    if words == ["allOf"] and len(array(node, "allOf")) == 1:
        return _unwrapped(node["allOf"][0])
    return schema, False


def references(value: object) -> Iterator[str]:
    """Yield all references inside a value."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            node = cast("Node", each)
            ref = node.get("$ref")
            if isinstance(ref, str):
                yield ref
            todo.extend(node.values())
        elif isinstance(each, list):
            todo.extend(cast("list[object]", each))


@attrs.define(eq=False)
class Schemas:
    """Compares the schemas of two contracts."""

    old: Contract
    new: Contract
    _clean: dict[str, bool] = attrs.field(factory=dict[str, bool], init=False)
    """Whether nothing that is reached from a reference differs."""
    _pairs: dict[tuple[Caller, str, str], Pair] = attrs.field(
        factory=dict[tuple[Caller, str, str], Pair], init=False
    )
    _steps: int = attrs.field(factory=lambda: STEPS, init=False)
    """How many more uses to follow before each schema is listed only once."""
    _listed: set[Pair] = attrs.field(factory=set[Pair], init=False)
    _outcomes: dict[Pair, int] = attrs.field(factory=dict[Pair, int], init=False)
    """The worst outcome of pairs and all inner pairs: `UNCHANGED`, `CHANGED` or `BREAKS`."""

    def prepare(self) -> None:
        """Find the references from which a difference is reached."""
        users: dict[str, set[str]] = {}
        unclean: list[str] = []
        todo, seen = [*references(self.old.document)], set[str]()
        while todo:
            ref = todo.pop()
            if ref in seen:
                continue
            seen.add(ref)
            self._clean[ref] = True
            try:
                same = self.old.text(ref) == self.new.text(ref)
                target = self.old.look_up(ref)
            except ContractError:
                unclean.append(ref)
                continue
            if not same:
                unclean.append(ref)
            for used in references(target):
                users.setdefault(used, set()).add(ref)
                todo.append(used)
        while unclean:
            ref = unclean.pop()
            if self._clean.get(ref):
                self._clean[ref] = False
                unclean.extend(users.get(ref, ()))

    def is_equal(self, old: object, new: object) -> bool:
        """Return whether two schemas are equal, including everything that they refer to."""
        # JSON's 1 and true are equal in Python, so the text decides. References are compared
        # often, and have no such values.
        if old != new or (not _is_reference(old) and show(old) != show(new)):
            return False
        return all(self._clean.get(ref, False) for ref in references(old))

    def changes(self, findings: Iterable[Finding], seen: set[Pair]) -> Iterator[Change]:
        """Yield changes, and those of the pairs in use that were not seen yet.

        The search is breadth first, so that each change is listed at the shortest path to it.
        """
        queue = deque[tuple[str, str, Pair, str, str]]()
        elsewhere: list[tuple[Place, Pair]] = []
        for each in findings:
            if isinstance(each, Change):
                yield each
            elif each.pair not in seen:
                seen.add(each.pair)
                place = each.place
                queue.append((place.operation, place.location, each.pair, each.pair.component, ""))
        while queue:
            operation, location, pair, schema, step = queue.popleft()
            if self._steps < 0 and pair in self._listed:
                elsewhere.append((Place(operation, pair.caller, location), pair))
                continue
            self._listed.add(pair)
            inside = self._inside(pair, operation, location)
            self._steps -= 1 + len(inside)
            for each in inside:
                if isinstance(each, Change):
                    yield Change(
                        operation,
                        location + each.location,
                        each.kind,
                        each.message,
                        each.breaking,
                        schema,
                        step + each.location if schema else "",
                    )
                elif each.pair not in seen:
                    seen.add(each.pair)
                    inner = each.place.location
                    name, way = each.pair.component, ""
                    if not name:
                        name, way = schema, step + inner
                    queue.append((operation, location + inner, each.pair, name, way))
        yield from self._summary(elsewhere)

    def _summary(self, skipped: list[tuple[Place, Pair]]) -> Iterator[Change]:
        """Yield one change for the pairs that an operation shares with others."""
        outcomes = [self._outcome(pair, place) for place, pair in skipped]
        worst = max(outcomes, default=UNCHANGED)
        if worst != UNCHANGED:
            place, _ = skipped[outcomes.index(worst)]
            kind = "breaks-elsewhere" if worst == BREAKS else "changed-elsewhere"
            yield place.change(kind)

    def _outcome(self, pair: Pair, place: Place) -> int:
        """Return the worst outcome of a pair and all inner pairs."""
        users: dict[Pair, list[Pair]] = {}
        todo = [pair]
        while todo:
            each = todo.pop()
            if each in self._outcomes:
                continue
            inside = self._inside(each, place.operation, place.location)
            breaking = [found.breaking for found in inside if isinstance(found, Change)]
            self._outcomes[each] = (BREAKS if any(breaking) else CHANGED) if breaking else UNCHANGED
            for found in inside:
                if isinstance(found, Use):
                    users.setdefault(found.pair, []).append(each)
                    todo.append(found.pair)
        # A pair's outcome is at least that of the pairs inside it.
        todo = [*users]
        while todo:
            each = todo.pop()
            for user in users.get(each, ()):
                if self._outcomes[user] < self._outcomes[each]:
                    self._outcomes[user] = self._outcomes[each]
                    todo.append(user)
        return self._outcomes[pair]

    def _inside(self, pair: Pair, operation: str, location: str) -> list[Finding]:
        """Return the differences between the schemas of a pair, without those of inner pairs."""
        if pair.findings is None:
            try:
                here = Place("", pair.caller, "")
                pair.findings = list(self.difference(here, pair.old, pair.new))
            except ContractError as error:
                raise ContractError(f"{error}, at {operation} {location}") from None
        return pair.findings

    def pair(self, place: Place, old: object, new: object) -> Use:
        """Return the use of two schemas."""
        keys: list[str] = []
        targets: list[object] = []
        component = ""
        for contract, schema in ((self.old, old), (self.new, new)):
            target, key = schema, ""
            if _is_reference(schema):
                key = str(schema_of(schema)["$ref"])
                target = contract.look_up(key)
            component = key.rpartition("/")[2] if key.startswith("#/components/") else ""
            keys.append(key or show(schema))
            targets.append(target)
        both = place.caller, keys[0], keys[1]
        found = self._pairs.get(both)
        if found is None:
            found = self._pairs[both] = Pair(place.caller, targets[0], targets[1], component)
        return Use(place, found)

    def schema(self, place: Place, old: object, new: object) -> Iterator[Finding]:
        """Yield the differences between two schemas. Schemas that may be recursive are a `Use`."""
        if self.is_equal(old, new):
            return
        (ours, was), (theirs, is_) = _unwrapped(old), _unwrapped(new)
        sides = (self.old, ours), (self.new, theirs)
        if (was or is_) and not any(self._nullable(*side) for side in sides):
            if was is not is_ and ANY_TYPE not in [self._types(*side) for side in sides]:
                yield place.change("null-added" if is_ else "null-removed")
            yield from self.schema(place, ours, theirs)
        elif not (was or is_) and (ours is not old or theirs is not new):
            yield from self.schema(place, ours, theirs)
        elif any(_refers(each) for each in (old, new)):
            yield self.pair(place, old, new)
        else:
            yield from self.difference(place, old, new)

    @staticmethod
    def _nullable(contract: Contract, schema: object) -> bool:
        return any(branch.nullable for branch in contract.branches(schema))

    @staticmethod
    def _types(contract: Contract, schema: object) -> frozenset[str]:
        return _types(contract.branches(schema))

    def difference(self, place: Place, old: object, new: object) -> Iterator[Finding]:
        """Yield the differences between two schemas."""
        before, had = self.old.alternatives(old)
        after, has = self.new.alternatives(new)
        was, is_ = _types(before), _types(after)
        if had is not has and ANY_TYPE not in (was, is_):
            yield place.change("null-added" if has else "null-removed")
        yield from _exclusivity(place, before, after)
        union = max(len(before), len(after)) > 1
        for step, a, b in _pairs(before, after):
            here = place.down(step) if union else place
            if a and b:
                yield from self.both(here, a, b)
            elif a:
                yield here.change("branch-removed")
            elif b and not covers(was, b.types):
                wider = show_types(was | b.types)
                yield here.change("type-widened", old=show_types(was), new=wider)
            elif b:
                alone = "object" in b.types and not any(each.union for each in before)
                yield here.change("became-union" if alone else "branch-added")

    def both(self, place: Place, a: Branch, b: Branch) -> Iterator[Finding]:
        """Yield the differences between two alternatives. Components are a `Use`."""
        if a.tag and b.tag and a.tag != b.tag:
            yield place.change("discriminator-renamed", old=a.tag, new=b.tag)
        tagged = a.tagged(), b.tagged()
        if a.origin is None or b.origin is None:
            yield from self.branch(place, *tagged)
            return
        if a.tag == b.tag and a.tags != b.tags:
            fields = (mapping(each.schema, "properties").get(a.tag, True) for each in tagged)
            yield from self.schema(place.down(f".{a.tag}"), *fields)
        old, new = {"$ref": a.origin}, {"$ref": b.origin}
        if not self.is_equal(old, new):
            yield self.pair(place, old, new)

    def branch(self, place: Place, a: Branch, b: Branch) -> Iterator[Finding]:
        """Yield the differences between two alternatives."""
        was, is_ = a.types, b.types
        if was != is_:
            kind = TYPE_CHANGES[covers(is_, was), covers(was, is_)]
            yield place.change(kind, old=show_types(was), new=show_types(is_))
            if kind == "type-changed":
                return  # Other differences follow from the new type.
        yield from _values(place, a, b)
        yield from _bounds(place, a, b)
        yield from deprecation(place, a.schema, b.schema)
        old, new = show(a.schema.get("default")), show(b.schema.get("default"))
        if old != new:
            yield place.change("default-changed", old=old, new=new)
        yield from _unanalysed(place, a.schema, b.schema)
        hidden = "readOnly" if place.caller is SENDS else "writeOnly"
        yield from self.members(place, self.old.fields(a, hidden), self.new.fields(b, hidden))
        yield from self.extra_fields(place, a.schema, b.schema)
        items = a.schema.get("items", True), b.schema.get("items", True)
        if items != (True, True):
            yield from self.schema(place.down("[]"), *items)

    def members(
        self, place: Place, old: Mapping[str, Member], new: Mapping[str, Member]
    ) -> Iterator[Finding]:
        """Yield the differences between parameters, headers or fields."""
        for step in sorted(old.keys() | new.keys()):
            here, a, b = place.down(step), old.get(step), new.get(step)
            yield from presence(here, a.required if a else None, b.required if b else None)
            if a and b:
                if a.style and b.style:
                    shapes = self._types(self.old, a.schema) | self._types(self.new, b.schema)
                    yield from serialisation(here, a.style, b.style, shapes)
                yield from self.schema(here, a.schema, b.schema)

    def extra_fields(self, place: Place, old: Node, new: Node) -> Iterator[Finding]:
        """Compare the schemas of fields that are not listed."""
        a, b = (
            node.get("additionalProperties", node.get("unevaluatedProperties", True))
            for node in (old, new)
        )
        if a is not False and b is not False and (a, b) != (True, True):
            yield from self.schema(place.down(".*"), a, b)
        elif a not in (True, False, {}):
            yield place.down(".*").change("removed")  # A map without entries is useless.
        elif b is False and a is not False:
            yield place.change("extra-fields-forbidden")
        elif a is False and b is not False:
            yield place.change("extra-fields-allowed")


def _refers(schema: object) -> bool:
    """Return whether a schema consists of others, so that it may be recursive."""
    node = schema_of(schema)
    return any(word in node for word in ("$ref", "allOf", "oneOf", "anyOf"))


def presence(place: Place, old: bool | None, new: bool | None) -> Iterator[Change]:
    """Compare whether something is present and required."""
    if old is not new:
        yield place.change(PRESENCE[old, new])


def deprecation(place: Place, old: Node, new: Node) -> Iterator[Change]:
    """Compare whether something is deprecated."""
    was, is_ = old.get("deprecated") is True, new.get("deprecated") is True
    if was is not is_:
        yield place.change("deprecated" if is_ else "undeprecated")


def serialisation(place: Place, old: Style, new: Style, types: frozenset[str]) -> Iterator[Change]:
    """Compare how a value of these types is serialised."""
    composite = not types.isdisjoint({"array", "object"})
    was, is_ = (each.of_others if composite else each.of_scalars for each in (old, new))
    if was != is_:
        yield place.change("serialisation-changed", old=was, new=is_)
    for keyword in sorted(old.allows - new.allows):
        yield place.change("serialisation-tightened", keyword=keyword)
    for keyword in sorted(new.allows - old.allows):
        yield place.change("serialisation-loosened", keyword=keyword)


def _types(branches: Iterable[Branch]) -> frozenset[str]:
    return frozenset[str]().union(*(branch.types for branch in branches))


def _exclusivity(place: Place, before: list[Branch], after: list[Branch]) -> Iterator[Change]:
    """Compare whether a value that fits two alternatives is accepted."""
    was, is_ = (
        any(
            a.exclusive and b.exclusive and not _apart(a.tagged(), b.tagged())
            for a, b in combinations(branches, 2)
        )
        for branches in (before, after)
    )
    if was is not is_:
        yield place.change("became-exclusive" if is_ else "no-longer-exclusive")


def _apart(a: Branch, b: Branch) -> bool:
    """Return true only if it is certain that no value fits both alternatives."""
    if not any(covers([x], [y]) or covers([y], [x]) for x in a.types for y in b.types):
        return True
    if a.values is not None and b.values is not None and not set(a.values) & set(b.values):
        return True
    if not a.types <= {"object"} or not b.types <= {"object"}:
        return False
    if set(a.constants) and set(b.constants) and not set(a.constants) & set(b.constants):
        return True
    for one, other in ((a, b), (b, a)):
        listed = mapping(one.schema, "properties")
        needed = array(other.schema, "required")
        if one.schema.get("additionalProperties") is False and not set(needed) <= set(listed):
            return True
    return False


IDENTITIES: tuple[Callable[[Branch], object], ...] = (
    # How to match the alternatives of two unions, most reliable first. A type or a position
    # matches only alternatives without an identity: two with different names are two
    # alternatives, not one that changed.
    lambda branch: branch.tags,
    lambda branch: branch.name,
    lambda branch: branch.constants,
    lambda branch: show(branch.schema),
    lambda branch: not branch.label and branch.types,
    lambda branch: not branch.label,
)


def _pairs(
    old: list[Branch], new: list[Branch]
) -> Iterator[tuple[str, Branch | None, Branch | None]]:
    """Match the alternatives of two unions, and yield each pair with its step in a location."""
    left, right = dict(enumerate(old)), dict(enumerate(new))
    alone = len(old) == len(new) == 1
    for identity in IDENTITIES:
        keys = {j: identity(b) for j, b in right.items()}
        for i, a in list(left.items()):
            key = identity(a)
            for j, other in keys.items():
                if j in right and (alone or (key and key == other)):
                    b = right.pop(j)
                    yield f"<{b.label or f'#{j}'}>", left.pop(i), b
                    break
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
        gone, added = sorted(set(before) - set(after)), sorted(set(after) - set(before))
        for value in () if gone else added:
            yield place.change("enum-value-added", new=value)
        for value in gone:
            kind = "enum-value-replaced" if added else "enum-value-removed"
            yield place.change(kind, old=value, new=", ".join(added))


def _bounds(place: Place, a: Branch, b: Branch) -> Iterator[Change]:
    for keyword, tightens in TIGHTENS.items():
        was, is_ = _bound(a.schema, keyword), _bound(b.schema, keyword)
        if was == is_:
            continue
        if was is None or is_ is None:
            tighter = was is None
            how = f"{show(is_)} added" if tighter else f"{show(was)} removed"
        else:
            tighter = tightens(was, is_)
            verb = "raised" if is_ > was else "lowered"
            verb = "changed" if isinstance(is_, (bool, str)) else verb
            how = f"{verb} from {show(was)} to {show(is_)}"
        kind = "bound-tightened" if tighter else "bound-loosened"
        yield place.change(kind, keyword=keyword, how=how)


def _bound(node: Node, keyword: str) -> Any:
    value = node.get(keyword, BOUND_DEFAULTS.get(keyword))
    return None if value in TYPE_FORMATS else value


def _unanalysed(place: Place, old: Node, new: Node) -> Iterator[Change]:
    for keyword in UNANALYSED:
        if keyword not in old and keyword not in new:
            continue
        a, b = (show(without_wording({keyword: node.get(keyword)})) for node in (old, new))
        if a == b:
            continue
        gone = keyword in RESTRICTIONS and keyword not in new
        yield place.change("keyword-removed" if gone else "keyword-changed", keyword=keyword)
