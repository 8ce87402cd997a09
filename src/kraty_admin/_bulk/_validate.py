"""Check rows offline, against the contract's schemas, before they are sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from operator import itemgetter
from typing import Any, Final, NamedTuple

from kraty_server_api.checks import path_segment

from .._call._idempotency import KEY_FIELD
from .._call._json import encode_any
from ._rows import Kind

__all__ = ["Field", "are_plain", "fields", "identities", "problem"]

_SCHEMAS: Final[Mapping[Kind, str]] = {
    "players": "MigratePlayerRow",
    "wallet": "MigrateWalletRow",
    "inventory": "MigrateInventoryRow",
}
_IDENTITIES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "players": ("externalPlayerId",),
    "wallet": ("externalPlayerId", "economyKey"),
    "inventory": ("externalPlayerId", "itemKey"),
}
_IDS: Final = frozenset(name for names in _IDENTITIES.values() for name in names)
_DOTS: Final = frozenset({".", ".."})
_WANTED: Final[Mapping[str, str]] = {
    "string": "text",
    "integer": "a whole number",
    "object": "an object",
}
_KINDS: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "true or false",
    int: "a whole number",
    float: "a number with a decimal point",
    str: "text",
    list: "a list",
    dict: "an object",
}


class Field(NamedTuple):
    """What the contract says about a field."""

    type: str
    required: bool
    """Whether a row needs it. False for the idempotency key, which the importer derives."""
    least: int | None
    """The length of the shortest text, or the smallest number."""
    most: int | None
    """The largest number."""


@cache
def fields(kind: Kind) -> Mapping[str, Field]:
    """Return the fields of a row, as the contract has them.

    Raises:
        ValueError: There is no such kind of rows.
    """
    if kind not in _SCHEMAS:
        raise ValueError(f"{kind!r} is not a kind of rows; the kinds are {', '.join(_SCHEMAS)}")
    schema = _contract()[_SCHEMAS[kind]]
    required: list[str] = schema["required"]
    return {
        name: Field(
            type=each["type"],
            # A row may lack its key, because the importer derives one.
            required=name in required and name != KEY_FIELD,
            least=each.get("minLength", each.get("minimum")),
            most=each.get("maximum"),
        )
        for name, each in schema["properties"].items()
    }


@cache
def _contract() -> dict[str, dict[str, Any]]:
    raw = (files("kraty_server_api") / "openapi.server.json").read_bytes()
    schemas: dict[str, dict[str, Any]] = json.loads(raw)["components"]["schemas"]
    return {name: schemas[name] for name in _SCHEMAS.values()}


def problem(kind: Kind, row: Mapping[str, Any]) -> str | None:
    """Return why the contract would reject a row; `None` if it would not.

    Args:
        kind: The kind of row.
        row: A row as it would be sent; it may lack its idempotency key.

    Returns:
        The first problem: the field, what kind of value it holds and what would be right. The
        value itself is not shown, because it may be personal data.
    """
    known = fields(kind)
    for name, field in known.items():
        if name in row:
            found = _field_problem(name, field, row[name])
            if found is not None:
                return found
        elif field.required:
            return f"{name} is missing; it must be {_wanted(field)}"
    for name, value in row.items():
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
            return f"a field's name is {_kind_of(name)}; it must be text"
        if name not in known:
            if not _is_sendable(name):
                return f"the name of the field {name!a} holds a lone surrogate"
            if not _is_sendable(value):
                return f"{name!a} holds a value that JSON cannot hold"
    return None


def are_plain(kind: Kind, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return true only if all rows are valid. If false, each row has to be checked.

    For most chunks this takes a fraction of the time of `problem`, because operations on a whole
    column run in C.
    """
    columns = set(map(tuple, rows))
    if len(columns) != 1:
        return not rows
    (names,) = columns
    known = fields(kind)
    if any(field.required and name not in names for name, field in known.items()):
        return False
    return all(
        name in known and _is_plain_column(name, known[name], list(map(itemgetter(name), rows)))
        for name in names
    )


def _is_plain_column(name: str, field: Field, values: list[Any]) -> bool:
    kinds = set(map(type, values))
    if field.type == "integer":
        return kinds == {int} and _within(min(values), field) and _within(max(values), field)
    if field.type != "string" or kinds != {str}:
        return False
    if field.least is not None and min(map(len, values)) < field.least:
        return False
    if name == KEY_FIELD and any(value.strip() != value for value in values):
        return False
    text = "".join(values)
    # A printable ASCII character is neither a surrogate nor a control character.
    return text.isascii() and text.isprintable() and (name not in _IDS or _DOTS.isdisjoint(values))


def _field_problem(name: str, field: Field, value: object) -> str | None:
    if field.type == "integer":
        if not isinstance(value, int) or isinstance(value, bool):
            return _wrong_kind(name, field, value)
        if _within(value, field):
            return None
        return f"{name} is out of range; it must be {_wanted(field)}"
    if field.type == "string":
        if not isinstance(value, str):
            return _wrong_kind(name, field, value)
        if len(value) < (field.least or 0):
            size = "empty" if not value else "too short"
            return f"{name} is {size}; it must be {_wanted(field)}"
        if not _is_sendable(value):
            return f"{name} holds a lone surrogate, which UTF-8 cannot hold"
        if name == KEY_FIELD and value.strip() != value:
            # As for the key of a call.
            return f"{name} begins or ends with white space, so one receipt could get two keys"
        return _id_problem(name, value) if name in _IDS else None
    if not isinstance(value, Mapping):
        return _wrong_kind(name, field, value)
    if not _is_sendable(value):  # pyright: ignore[reportUnknownArgumentType]  # of any type
        return (
            f"{name} holds a value that JSON cannot hold; it must be an object of plain JSON values"
        )
    return None


def _wrong_kind(name: str, field: Field, value: object) -> str:
    kind = "empty" if value == "" else _kind_of(value)
    return f"{name} is {kind}; it must be {_wanted(field)}"


def _id_problem(name: str, value: str) -> str | None:
    """Return why other methods refuse this id: such a player could not even be erased."""
    try:
        path_segment(name, value)
    except ValueError as error:
        return str(error)
    return None


def _within(value: int, field: Field) -> bool:
    if field.least is not None and value < field.least:
        return False
    return field.most is None or value <= field.most


def _wanted(field: Field) -> str:
    wanted = _WANTED[field.type]
    if field.type == "string":
        return wanted if not field.least else f"{wanted} of at least {_characters(field.least)}"
    if field.least is not None:
        wanted += f" from {field.least}" if field.most is not None else f" of {field.least} or more"
    if field.most is not None:
        wanted += f" to {field.most}" if field.least is not None else f" of {field.most} or less"
    return wanted


def _characters(count: int) -> str:
    return "1 character" if count == 1 else f"{count} characters"


def _kind_of(value: object) -> str:
    return _KINDS.get(type(value), f"of type {type(value).__name__}")


def _is_sendable(value: object) -> bool:
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, str) and value.isascii():
        return True
    try:
        encode_any({"": value})
    except (TypeError, ValueError):
        return False
    return True


def identities(kind: Kind, rows: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, ...]]:
    """Return the identities of valid rows: the ids of the player, and of the currency or item."""
    names = _IDENTITIES[kind]
    return zip(*(map(itemgetter(name), rows) for name in names), strict=True)
