"""Compare the parts around the schemas: operations, parameters, responses, security."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import cast

import attrs

from .contract import (
    PLACEHOLDER,
    USUAL,
    Contract,
    Endpoint,
    Node,
    array,
    as_object,
    mapping,
    show,
    without_wording,
)
from .rules import ANYBODY, READS, SENDS, Change, ContractError, Place
from .schemas import Finding, Pair, Schemas, deprecation, presence, serialisation
from .validity import check


def compare(old: Node, new: Node) -> list[Change]:
    """List the changes from one OpenAPI 3.1 contract to another, in a stable order.

    Args:
        old: The contract that callers were built against, as parsed JSON.
        new: The contract that will replace it.

    Raises:
        ContractError: A contract is malformed.
    """
    for document in (old, new):
        check(document)
    changes = set(_Comparison(Contract(old), Contract(new)).changes())
    return sorted(changes, key=attrgetter("operation", "location", "kind", "message", "breaking"))


def _matched(
    old: list[Endpoint], new: list[Endpoint]
) -> Iterator[tuple[Endpoint | None, Endpoint | None]]:
    """Match operations by their operationId, and the rest by method and path."""
    by_name = {each.name: each for each in new}
    rest: dict[tuple[str, str], Endpoint] = {}
    for a in old:
        b = by_name.pop(a.name, None)
        if b is None:
            rest[a.call] = a
        else:
            yield a, b
    for b in by_name.values():
        yield rest.pop(b.call, None), b
    for a in rest.values():
        yield a, None


def _statuses(old: Node, new: Node) -> Iterator[tuple[str | None, str | None]]:
    """Match responses by their status, and `default` and `2XX` with the statuses they cover."""
    left, right = old.keys() - new.keys(), new.keys() - old.keys()
    for a in old:
        for b in new:
            other = a in left or b in right
            if a == b or (other and _stands_for(a, b, old, new)):
                yield a, b
                left, right = left - {a}, right - {b}
    yield from ((a, None) for a in left)
    yield from ((None, b) for b in right)


def _stands_for(a: str, b: str, old: Node, new: Node) -> bool:
    """Return whether an old response corresponds to a new one with another status."""
    ranges = a[1:].upper() == "XX" or b[1:].upper() == "XX"
    if ranges and a[:1] == b[:1]:
        return True
    return "default" in (a, b) and _is_success(a, old) and _is_success(b, new)


def _is_success(status: str, responses: Node) -> bool:
    if status == "default":
        return not any(each.startswith("2") for each in responses)
    return status.startswith("2")


class _Comparison:
    def __init__(self, old: Contract, new: Contract) -> None:
        self.old = old
        self.new = new
        self.schemas = Schemas(old, new)

    def changes(self) -> Iterator[Change]:
        self.schemas.prepare()
        whole = Place("(contract)", ANYBODY, "")
        yield from _servers(whole, self.old.document, self.new.document)
        yield from self.schemes(whole)
        for section, caller, root in (("paths", SENDS, "request"), ("webhooks", READS, "delivery")):
            for a, b in _matched(self.old.endpoints(section), self.new.endpoints(section)):
                if a and b:
                    yield from self.operation(Place(a.name, ANYBODY, "operation"), a, b)
                    yield from self.once(Place(a.name, caller, root), a, b)
                elif a:
                    here = Place(a.name, ANYBODY, "operation")
                    yield here.change("operation-removed", call=f"{a.method} {a.path}")
                elif b:
                    here = Place(b.name, ANYBODY, "operation")
                    yield here.change("operation-added", call=f"{b.method} {b.path}")

    def once(self, place: Place, a: Endpoint, b: Endpoint) -> Iterator[Change]:
        """Yield the changes of an operation's schemas; each component once per direction."""
        seen: set[Pair] = set()
        try:
            yield from self.schemas.changes(self.request(place, a, b), seen)
            if place.caller is SENDS:
                answers = self.responses(Place(a.name, READS, "response "), a, b)
                yield from self.schemas.changes(answers, seen)
        except ContractError as error:
            text = str(error)
            raise ContractError(text if ", at " in text else f"{text}, at {a.name}") from None

    def schemes(self, place: Place) -> Iterator[Change]:
        before, after = self.old.schemes(), self.new.schemes()
        yield from _unshared(place, "security-scheme", before, after, "security scheme {}")
        for name in before.keys() & after.keys():
            here = place.down(f"security scheme {name}")
            a, b = (_scheme(c, name) for c in (self.old, self.new))
            if {**a, "scopes": ()} != {**b, "scopes": ()}:
                yield here.change("security-scheme-changed")
            was, is_ = cast("set[str]", a["scopes"]), cast("set[str]", b["scopes"])
            for scope in was - is_:
                yield here.change("scope-removed", old=scope)
            for scope in is_ - was:
                yield here.change("scope-added", new=scope)

    def operation(self, place: Place, old: Endpoint, new: Endpoint) -> Iterator[Change]:
        ids = [each.operation.get("operationId") for each in (old, new)]
        if place.location == "operation" and ids[0] != ids[1] and None not in ids:
            yield place.change("operation-renamed", old=ids[0], new=ids[1])
        if old.method != new.method:
            yield place.change("method-changed", old=old.method, new=new.method)
        if PLACEHOLDER.sub("{}", old.path) != PLACEHOLDER.sub("{}", new.path):
            yield place.change("path-changed", old=old.path, new=new.path)
        yield from deprecation(place, old.operation, new.operation)
        before, after = self.old.security(old.operation), self.new.security(new.operation)
        had = {_demands(self.old, each) for each in before}
        asked = {_demands(self.new, each) for each in after}
        if had != asked:
            # All credentials that were enough must still be enough.
            welcome = all(any(less <= credentials for less in asked) for credentials in had)
            kind = "security-loosened" if welcome else "security-tightened"
            yield place.change(kind, old=show(before), new=show(after))
        if "servers" in old.operation or "servers" in new.operation:
            a = {**self.old.document, **old.operation}
            b = {**self.new.document, **new.operation}
            yield from _servers(attrs.evolve(place, location=""), a, b)

    def request(self, place: Place, old: Endpoint, new: Endpoint) -> Iterator[Finding]:
        names, former = PLACEHOLDER.findall(new.path), PLACEHOLDER.findall(old.path)
        moved = PLACEHOLDER.sub("{}", old.path) != PLACEHOLDER.sub("{}", new.path)
        renamed = {} if moved else dict(zip(names, former, strict=True))
        for name, was in renamed.items():
            if name != was:
                here = place.down(f" path.{was}")
                yield here.change("placeholder-renamed", old=was, new=name)
        before = self.old.arguments(old.operation["parameters"], {})
        after = self.new.arguments(new.operation["parameters"], renamed)
        yield from self.schemas.members(place, before, after)

        a = self.old.follow(mapping(old.operation, "requestBody"))
        b = self.new.follow(mapping(new.operation, "requestBody"))
        # An empty object means that there is no body.
        required = [node.get("required") is True if node else None for node in (a, b)]
        yield from presence(place.down(" body"), *required)
        if a and b:
            yield from self.bodies(place.down(" body"), a, b)

    def responses(self, place: Place, old: Endpoint, new: Endpoint) -> Iterator[Finding]:
        before, after = (mapping(each.operation, "responses") for each in (old, new))
        for was, is_ in sorted(_statuses(before, after), key=str):
            here = place.down(was or str(is_))
            if was is None:
                yield here.change(f"{self.added(str(is_), before, after)}status-added")
            elif is_ is None:
                outcome = "success" if _is_success(was, before) else "error"
                yield here.change(f"{outcome}-status-removed")
            else:
                a, b = self.old.follow(before[was]), self.new.follow(after[is_])
                error = not _is_success(was, before)
                if not error and _fields(self.old, a) == {".data"} < _fields(self.new, b):
                    yield here.change("envelope-extended")
                yield from self.schemas.members(here, self.old.headers(a), self.new.headers(b))
                yield from self.bodies(here, a, b, "error-media-type" if error else "media-type")

    def added(self, status: str, before: Node, after: Node) -> str:
        """Return `success-` if a status is a success, and no other success has its body."""
        known = [self.old.follow(before[each]) for each in before if _is_success(each, before)]
        body = self.new.content(self.new.follow(after[status]))
        is_known = any(
            show(without_wording(self.old.content(each))) == show(without_wording(body))
            for each in known
        )
        return "success-" if known and _is_success(status, after) and not is_known else ""

    def bodies(
        self, place: Place, old: Node, new: Node, what: str = "media-type"
    ) -> Iterator[Finding]:
        before, after = self.old.content(old), self.new.content(new)
        for each in _unshared(place, "media-type", before, after, " ({})"):
            removed = each.kind == "media-type-removed"
            here = Place(each.operation, place.caller, each.location)
            yield here.change(f"{what}-removed") if removed else each
        for media in before.keys() & after.keys():
            here = place if media == "application/json" else place.down(f" ({media})")
            a, b = before[media], after[media]
            was, is_ = self.old.fields_of_form(a), self.new.fields_of_form(b)
            for step in was.keys() | is_.keys():
                styles = was.get(step, USUAL), is_.get(step, USUAL)
                yield from serialisation(here.down(step), *styles, frozenset({"array"}))
            yield from self.schemas.schema(here, a.get("schema", {}), b.get("schema", {}))


def _servers(place: Place, old: Node, new: Node) -> Iterator[Change]:
    before, after = (
        {str(as_object(each).get("url")): as_object(each) for each in array(node, "servers")}
        or {"/": Node()}
        for node in (old, new)
    )
    yield from _unshared(place, "server", before, after, "server {}")
    for url in before.keys() & after.keys():
        variables = mapping(before[url], "variables"), mapping(after[url], "variables")
        for name in variables[0].keys() & variables[1].keys():
            here = place.down(f"server {url} {name}")
            was, is_ = (set(map(show, array(each[name], "enum"))) for each in variables)
            for value in sorted(was - is_) if is_ else ():
                yield here.change("server-value-removed", old=value)
            for value in sorted(is_ - was) if was else ():
                yield here.change("server-value-added", new=value)


def _fields(contract: Contract, response: Node) -> set[str]:
    """Return the fields of an answer, such as `.data`."""
    return {
        field
        for media in contract.content(response).values()
        for branch in contract.branches(media.get("schema", {}))
        for field in contract.fields(branch, "writeOnly")
    }


def _scheme(contract: Contract, name: str) -> Node:
    """Return the requirements of a security scheme, without wording, and with separate scopes."""
    node = as_object(without_wording(contract.follow(contract.schemes()[name])))
    flows = {
        flow: {key: value for key, value in as_object(each).items() if key != "scopes"}
        for flow, each in mapping(node, "flows").items()
    }
    scopes = {
        f"{flow} {scope}"
        for flow, each in mapping(contract.follow(contract.schemes()[name]), "flows").items()
        for scope in mapping(as_object(each), "scopes")
    }
    rest = {key: value for key, value in node.items() if key not in ("bearerFormat", "flows")}
    return {**rest, "flows": flows, "scopes": scopes}


def _demands(contract: Contract, credentials: Node) -> frozenset[str]:
    """Return the schemes and scopes that credentials consist of.

    The content of a scheme identifies it, because its name is not sent.
    """
    found: set[str] = set()
    schemes = contract.schemes()
    for name in credentials:
        what = name
        if name in schemes:
            what = show({**_scheme(contract, name), "scopes": None})
        found |= {what, *(f"{what} {scope}" for scope in array(credentials, name))}
    return frozenset(found)


def _unshared(
    place: Place, what: str, old: Iterable[str], new: Iterable[str], step: str
) -> Iterator[Change]:
    for name in set(old) ^ set(new):
        kind = f"{what}-removed" if name in old else f"{what}-added"
        yield place.down(step.format(name)).change(kind)
