"""GameSparks: players of its data export and its API.

From documentation only (docs.gamesparks.com): the names of `AccountDetailsResponse`, with
`currencies`, `currency1` to `currency6`, `reservedCurrencies` and `virtualGoods`. This preset
assumes that the exported collection of players has the same names. It was not checked with an
export, because the service has ended. Numbers and ids are in MongoDB Extended JSON (`$oid`,
`$numberLong`, `$date`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, cast

from ._base import (
    Left,
    Made,
    Preset,
    Source,
    as_mapping,
    balance,
    holding,
    is_zero,
    of_map,
    player_row,
    text_of,
)

__all__ = ["GAMESPARKS"]

_IDS: Final = ("userId", "_id")
_NUMBERED: Final = tuple(f"currency{number}" for number in range(1, 7))
_MARKS: Final = frozenset({"currencies", "virtualGoods", "displayName", *_NUMBERED})
_WHOLE: Final = re.compile(r"-?[0-9]{1,19}")


def _unwrap(source: Source) -> Source:
    return {name: _of_extended(value) for name, value in source.items()}


def _of_extended(value: object) -> Any:
    """Return a value of MongoDB Extended JSON as plain JSON."""
    if not isinstance(value, Mapping):
        return value
    members = cast("Source", value)
    if len(members) == 1:
        ((name, inner),) = members.items()
        if name in ("$oid", "$date", "$numberDecimal"):
            return _of_extended(inner)
        if name in ("$numberLong", "$numberInt", "$numberDouble") and isinstance(inner, str):
            # A double may end in .0 or not. Any other text stays text, so its row fails alone.
            whole = inner.removesuffix(".0")
            return int(whole) if _WHOLE.fullmatch(whole) else inner
    return {name: _of_extended(inner) for name, inner in members.items()}


def _players(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    location = as_mapping(source.get("location")) or {}
    yield player_row(player, country=text_of(location, "country"))


def _wallet(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    numbered = [name for name in _NUMBERED if name in source]
    if not numbered or "currencies" in source:
        for key, amount in of_map(source, "currencies"):
            yield balance(player, key, amount)
    for name in numbered:
        yield balance(player, name, source[name])
    for key, amount in (as_mapping(source.get("reservedCurrencies")) or {}).items():
        if not is_zero(amount):
            yield Left("reserved", f"an amount of {key!r} is reserved")


def _inventory(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    for key, quantity in of_map(source, "virtualGoods"):
        yield holding(player, key, quantity)


GAMESPARKS: Final = {
    kind: Preset("gamesparks", _IDS, _MARKS, convert, unwrap=_unwrap)
    for kind, convert in (("players", _players), ("wallet", _wallet), ("inventory", _inventory))
}
