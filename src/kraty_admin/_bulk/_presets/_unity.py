"""Unity Gaming Services: answers of the Economy API.

From documentation only: the names `currencyId`, `balance`, `inventoryItemId`,
`playersInventoryItemId` and `instanceData`, and the list `results` around them. An answer does not
name the player, so add `playerId` to each. There is no export.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from ._base import Made, Preset, Source, as_list, balance, first_of, holding, required

__all__ = ["UNITY"]

_IDS: Final = ("playerId",)
_MARKS: Final = frozenset({"results", "currencyId", "inventoryItemId"})
_ADVICE: Final = (
    "An answer does not name its player: add a playerId to each, or map a constant"
    " (--map externalPlayerId==...)"
)


def _results(source: Source) -> Iterator[Source]:
    """Return the results of an answer, or the row itself if it is one of them."""
    return as_list(source, "results") if "results" in source else iter([source])


def _wallet(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    for each in _results(source):
        yield balance(player, required(each, "currencyId"), required(each, "balance"))


def _inventory(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    for each in _results(source):
        yield holding(
            player,
            required(each, "inventoryItemId"),
            1,
            parameters=first_of(each, "instanceData"),
            instance=("unity", first_of(each, "playersInventoryItemId")),
        )


UNITY: Final = {
    kind: Preset("unity", _IDS, _MARKS, convert, advice=_ADVICE)
    for kind, convert in (("wallet", _wallet), ("inventory", _inventory))
}
