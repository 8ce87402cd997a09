"""The public surface: which method each operation becomes, as `surface.yaml` says."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from document import Json, RawOperation, is_array, is_object

# The methods whose bodies carry an idempotency key.
WRITES: Final = frozenset({"post", "put", "patch"})

Kinds = Mapping[str, tuple[type, ...]]

SETTINGS: Final[Kinds] = {
    "arguments": (dict,),
    "players": (list,),
    "resources": (dict,),
    "key_lifetimes": (dict,),
    "operations": (dict,),
}
ROW_SETTINGS: Final[Kinds] = {
    "method": (str,),
    "alias": (str,),
    "positional": (list,),
    "order": (list,),
    "names": (dict,),
    "unwrap": (str,),
    "cli": (dict,),
    "defaults": (dict,),
    "replayed": (str,),
    "timeout": (int, float),
    "key": (str,),
    "imports": (dict,),
    "players": (str,),
}
CLI_SETTINGS: Final[Kinds] = {
    "group": (str,),
    "command": (str,),
    "help": (str,),
    "examples": (list,),
    "positional": (list,),
    "names": (dict,),
    "defaults": (dict,),
    "confirm": (str,),
}
IMPORT_SETTINGS: Final[Kinds] = {"rows": (str,), "key": (str,)}
LIFETIME_SETTINGS: Final[Kinds] = {"repeat_within_hours": (int,), "doc": (str,)}

ONE_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "replayed": ("status", "applied"),
    "players": ("none",),
    "confirm": ("never", "live", "always"),
}

WORDS: Final[Mapping[type, str]] = {
    dict: "a map",
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
}


@attrs.frozen
class KeyLifetimeView:
    name: str
    constant: str
    repeat_within_hours: int | None
    doc: str


@attrs.frozen
class Row:
    """What the surface says about one operation."""

    operation_id: str
    resource: str
    method: str
    alias: str | None = None
    positional: Sequence[str] = ()
    order: Sequence[str] = ()
    names: Mapping[str, str] = attrs.field(factory=dict[str, str])
    unwrap: str | None = None
    cli: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """The settings of the command; see `CLI_SETTINGS`."""
    defaults: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    replayed: str | None = None
    timeout: float | None = None
    key_lifetime: KeyLifetimeView | None = None
    imports: Mapping[str, str] | None = None
    names_no_player: bool = False


@attrs.frozen
class Surface:
    arguments: Mapping[str, str]
    """The names of arguments, by their wire names."""
    players: list[str]
    resources: Mapping[str, str]
    key_lifetimes: Mapping[str, KeyLifetimeView]
    rows: Mapping[str, Row]


def _wrong(where: str, node: Json, kinds: Kinds) -> Iterator[str]:
    where = f"{where}: " if where else ""
    for key, value in node.items():
        allowed = kinds.get(key)
        if allowed is None:
            yield f"{where}unknown setting {key}; known are {', '.join(kinds)}"
        elif not isinstance(value, allowed) or isinstance(value, bool):
            yield f"{where}{key} must be {WORDS[allowed[-1]]}, not {value!r}"
        elif key in ONE_OF and isinstance(value, str) and value not in ONE_OF[key]:
            yield f"{where}{key} must be {' or '.join(ONE_OF[key])}, not {value}"


def _missing(where: str, node: Json, *needed: str) -> Iterator[str]:
    for key in needed:
        if key not in node:
            yield f"{where}: {key} is missing"


def check(surface: object) -> list[str]:
    """Return the problems of the file as a whole, one line per cause."""
    if not is_object(surface):
        return ["surface.yaml: it must be a map with resources and operations"]
    causes = [
        *_wrong("surface.yaml", surface, SETTINGS),
        *_missing("surface.yaml", surface, "resources", "operations"),
    ]
    if causes:
        return causes
    for name, lifetime in surface.get("key_lifetimes", {}).items():
        where = f"surface.yaml: key_lifetimes: {name}"
        if is_object(lifetime):
            causes += [*_wrong(where, lifetime, LIFETIME_SETTINGS)]
            causes += [*_missing(where, lifetime, "doc")]
        else:
            causes.append(f"{where}: it must be a map with a doc")
    return causes


def check_rows(surface: Json, operations: Mapping[str, RawOperation]) -> Iterator[tuple[str, str]]:
    """Yield the problems of rows, one line per cause, with the operationId.

    Args:
        surface: The parsed file, in which `check` has found nothing.
        operations: The operations of the contract, by their operationId.
    """
    rows: dict[str, object] = surface["operations"]
    lifetimes: Json = surface.get("key_lifetimes", {})
    for name, raw in operations.items():
        if name not in rows:
            yield (
                name,
                f"{raw.label}, {raw.node.place}: it has no row in surface.yaml. Add "
                f"`{name}: {{method: <resource>.<method>}}`.",
            )
    taken: dict[str, str] = {}
    for name, row in rows.items():
        if name not in operations:
            yield name, f"surface.yaml: row {name} has no operation. Remove it."
        elif not is_object(row):
            yield name, f"surface.yaml: {name}: it must be a map with a method"
        else:
            for cause in [
                *_wrong_method(row, surface["resources"], taken),
                *_wrong("", row, ROW_SETTINGS),
                *_wrong_for_operation(row, operations[name], lifetimes),
            ]:
                yield name, f"surface.yaml: {name}: {cause}"
            taken.setdefault(str(row.get("method")), name)


def _wrong_method(row: Json, resources: Json, taken: Mapping[str, str]) -> Iterator[str]:
    method = str(row.get("method"))
    resource = method.partition(".")[0]
    if re.fullmatch(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*", method) is None:
        yield f"method must be <resource>.<method>, not {method}"
    elif resource not in resources:
        yield f"no such resource: {resource}"
    elif method in taken:
        yield f"{method} is already used by {taken[method]}"


def _wrong_for_operation(row: Json, raw: RawOperation, lifetimes: Json) -> Iterator[str]:
    """Yield the problems of settings that depend on the operation or on each other."""
    key, imports = row.get("key"), row.get("imports")
    if raw.method in WRITES:
        if key not in lifetimes:
            yield f"key must be one of {', '.join(lifetimes)}, not {key}"
    elif key is not None:
        yield "key must be left out, since this is not a write"
    if is_object(imports):
        yield from _wrong("imports", imports, IMPORT_SETTINGS)
    if is_object(row.get("cli")):
        yield from _wrong("cli", row["cli"], CLI_SETTINGS)
        examples = row["cli"].get("examples", [])
        if is_array(examples) and not all(isinstance(each, str) for each in examples):
            yield f"cli: examples must be a list of texts, not {examples!r}"
    if "order" in row and "positional" in row:
        yield "order says which arguments are positional; leave positional out"
    if "unwrap" in row and raw.method in WRITES:
        yield "unwrap is for reads only, since an outbox keeps the whole answer of a write"
    if re.fullmatch(r"[a-z][a-z0-9_]*", str(row.get("alias", "a"))) is None:
        yield f"alias must be the name of a method, not {row['alias']}"


def read(surface: Json, broken: Collection[str]) -> Surface:
    """Return the surface.

    Args:
        surface: The parsed file.
        broken: The rows in which `check_rows` found something, which are left out.
    """
    lifetimes = {
        name: KeyLifetimeView(
            name=json.dumps(name),
            constant=name.upper(),
            repeat_within_hours=row.get("repeat_within_hours"),
            doc=row["doc"],
        )
        for name, row in surface.get("key_lifetimes", {}).items()
    }
    return Surface(
        arguments=surface.get("arguments", {}),
        players=[str(entry) for entry in surface.get("players", [])],
        resources={name: str(doc) for name, doc in surface["resources"].items()},
        key_lifetimes=lifetimes,
        rows={
            name: _row(name, row, lifetimes)
            for name, row in surface["operations"].items()
            if name not in broken
        },
    )


def _row(name: str, row: Json, lifetimes: Mapping[str, KeyLifetimeView]) -> Row:
    resource, _, method = str(row["method"]).partition(".")
    return Row(
        operation_id=name,
        resource=resource,
        method=method,
        alias=row.get("alias"),
        positional=row.get("positional", []),
        order=row.get("order", []),
        names=row.get("names", {}),
        unwrap=row.get("unwrap"),
        cli=row.get("cli", {}),
        defaults=row.get("defaults", {}),
        replayed=row.get("replayed"),
        timeout=row.get("timeout"),
        key_lifetime=lifetimes.get(row.get("key", "")),
        imports=row.get("imports"),
        names_no_player=row.get("players") == "none",
    )
