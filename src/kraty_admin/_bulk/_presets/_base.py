"""The parts that the presets of all platforms share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timezone
from typing import Any, Final, NamedTuple, TypeAlias, cast

from ..._call._idempotency import derive_key_of_any
from .._delimited import Headerless
from .._json_rows import KEY, parse_json

__all__ = [
    "Left",
    "Made",
    "Preset",
    "Source",
    "Wire",
    "as_list",
    "as_mapping",
    "balance",
    "first_of",
    "holding",
    "is_zero",
    "iso",
    "milliseconds",
    "of_map",
    "parsed",
    "player_row",
    "required",
    "text_of",
]

Source: TypeAlias = Mapping[str, Any]
"""A row of another platform's export."""

Wire: TypeAlias = dict[str, Any]
"""A row of the contract, or a part of one."""


class Left(NamedTuple):
    """Replaces a row that is left out."""

    reason: str
    """The reason; see `LeftOut`."""
    message: str


Made: TypeAlias = Wire | Left


def _same(source: Source) -> Source:
    return source


def _nothing(source: Source, player: object, include: AbstractSet[str]) -> None:
    return None


class Preset(NamedTuple):
    """How to read the exports of one platform, for one kind of row."""

    name: str
    ids: tuple[str, ...]
    """The columns that may hold the player's id, the best first."""
    marks: frozenset[str]
    """Columns by which a row of this platform is recognised in a document."""
    convert: Callable[[Source, object, AbstractSet[str]], Iterable[Made]]
    """Turns a row of the platform into rows, unless `leave_out` returns a reason. See `made`."""
    unwrap: Callable[[Source], Source] = _same
    """Removes what a tool or an API's answer has put around a row."""
    leave_out: Callable[[Source, object, AbstractSet[str]], Left | None] = _nothing
    """Returns why nothing of a row is imported, such as a ban; `None` if the row is imported."""
    headerless: Headerless | None = None
    """The platform's format without a header, if it has one."""
    advice: str = ""
    """What to do if there is no column for the player's id."""
    includes: frozenset[str] = frozenset()
    """The kinds of rows that it leaves out unless the user includes them."""

    def fits(self, columns: AbstractSet[str], *, keyed: bool) -> bool:
        """Return whether rows with these columns look like this platform's.

        Args:
            columns: The columns.
            keyed: Whether the rows are members of an object, whose names are the ids.
        """
        named = KEY in self.ids if keyed else not columns.isdisjoint(self.ids)
        return named and not columns.isdisjoint(self.marks)

    def made(self, source: Source, player: object, include: AbstractSet[str]) -> list[Made]:
        """Turn a row of the platform into rows, or into one `Left` if nothing of it is imported.

        Args:
            source: The row.
            player: The player's id.
            include: The kinds of rows to import that are left out otherwise, such as "banned".

        Raises:
            ValueError: The row has an unknown format.
        """
        left = self.leave_out(source, player, include)
        return list(self.convert(source, player, include)) if left is None else [left]


# Rows


def player_row(player: object, **context: object) -> Wire:
    """Return a row for a player, with the known members of the context."""
    known = {name: value for name, value in context.items() if value is not None}
    return _of(player) | ({"contextSnapshot": known} if known else {})


def balance(player: object, key: object, amount: object) -> Made:
    """Return a row for a balance."""
    if is_zero(amount):
        return Left("zero", f"the balance of {_named(key)} is zero")
    return _of(player) | {"economyKey": key, "amount": amount}


def holding(
    player: object,
    key: object,
    quantity: object,
    *,
    parameters: object = None,
    instance: tuple[str, object] | None = None,
) -> Made:
    """Return a row for an item. Each instance gets its own key, so that none is a duplicate."""
    if is_zero(quantity):
        return Left("zero", f"the quantity of {_named(key)} is zero")
    row = _of(player) | {"itemKey": key, "quantity": quantity}
    if parameters is not None and parameters != {}:
        row["parameters"] = parameters
    if instance is not None and instance[1] is not None:
        ids = [str(part) for part in (player, instance[1]) if part is not None]
        row["idempotencyKey"] = derive_key_of_any(instance[0], *ids)
    return row


def _of(player: object) -> Wire:
    return {} if player is None else {"externalPlayerId": player}


def _named(key: object) -> str:
    return repr(key) if isinstance(key, str) else "an unnamed one"


# Values


def first_of(source: Source, *names: str) -> Any:
    """Return the first of these members that is not null or empty; `None` if there is none."""
    return next((source[name] for name in names if source.get(name) not in (None, "")), None)


def required(source: Source, name: str) -> Any:
    """Return a member that must exist.

    Raises:
        ValueError: It is missing or empty.
    """
    value = first_of(source, name)
    if value is None:
        raise ValueError(f"{name} is missing")
    return value


def text_of(source: Source, *names: str) -> str | None:
    """Return the first of these members that is not null or empty, if it is text."""
    value = first_of(source, *names)
    return value if isinstance(value, str) else None


def parsed(value: object) -> object:
    """Return a value. Text that holds a list or an object is parsed as JSON."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return parse_json(value)
    except ValueError:
        return value


def as_mapping(value: object) -> Source | None:
    """Return an object, parsed if it is JSON in a cell; `None` for anything else."""
    found = parsed(value)
    return cast("Source", found) if isinstance(found, Mapping) else None


def as_list(source: Source, name: str) -> Iterator[Source]:
    """Yield the objects of a list; nothing if it is missing or empty.

    Raises:
        ValueError: It is not a list, or holds other values than objects.
    """
    value = parsed(source.get(name))
    if value is None or value == "":
        return
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{name} is not a list")
    for each in cast("Sequence[object]", value):
        if not isinstance(each, Mapping):
            raise ValueError(f"{name} holds a value that is not an object")
        yield cast("Source", each)


def of_map(source: Source, *names: str) -> list[tuple[str, Any]]:
    """Return the members of the first object with one of these names that is not empty.

    Raises:
        ValueError: There is none of them, one is not an object, or two differ.
    """
    if not any(name in source for name in names):
        raise ValueError(f"{' or '.join(names)} is missing")
    found: list[tuple[str, Source]] = []
    for name in names:
        value = parsed(source.get(name))
        if value is None or value == "":
            continue
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} is not an object")
        if value:
            found.append((name, cast("Source", value)))
    for name, members in found[1:]:
        if members != found[0][1]:
            raise ValueError(f"{found[0][0]} and {name} are different")
    return list(found[0][1].items()) if found else []


def is_zero(value: object) -> bool:
    """Return whether an amount is zero, as a number or as text."""
    if isinstance(value, str):
        return bool(value.strip()) and not value.strip().strip("0")
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


_PLAIN_TIME: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2}) (\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?)\d*(?:([+-]\d{2})(?::?(\d{2}))?)?"
)


def iso(value: object) -> str | None:
    """Return a time in the format of RFC 3339, converted from a database's format if needed.

    A database's time without a zone is taken as UTC. `None` if the value is not text, or is empty.
    """
    if not isinstance(value, str) or not value:
        return None
    plain = _PLAIN_TIME.fullmatch(value)
    if plain is None:
        return value
    zone = f"{plain[3] or '+00'}:{plain[4] or '00'}"
    return f"{plain[1]}T{plain[2]}{'Z' if zone == '+00:00' else zone}"


def milliseconds(value: object) -> str | None:
    """Format a time in milliseconds since 1970 as RFC 3339; `None` if it is not one."""
    try:
        seconds = int(cast("Any", value)) // 1000
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")
    except (TypeError, ValueError, OverflowError, OSError):
        return None
