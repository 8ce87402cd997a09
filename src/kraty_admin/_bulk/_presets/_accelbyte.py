"""AccelByte: wallets and entitlements, as lists of its platform service.

Verified against AccelByte/accelbyte-csharp-sdk: WalletInfo.cs (`userId`, `currencyCode`, `balance`,
`status`) and EntitlementInfo.cs (`userId`, `itemId`, `useCount`, `endDate`, `status`). From
documentation only: `walletInfos` with `totalTimeLimitedBalance` (accelbyte-typescript-sdk), and the
list `data` around the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from ._base import (
    Left,
    Made,
    Preset,
    Source,
    as_list,
    balance,
    first_of,
    holding,
    is_zero,
    required,
)

__all__ = ["ACCELBYTE"]

_IDS: Final = ("userId",)
_MARKS: Final = frozenset({"currencyCode", "itemId"})


def _inactive(source: Source, include: AbstractSet[str]) -> Left | None:
    status = first_of(source, "status")
    if status in (None, "ACTIVE") or "disabled" in include:
        return None
    return Left("disabled", f"its status is {status!r}")


def _wallet(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    key, amount = required(source, "currencyCode"), required(source, "balance")
    inactive = _inactive(source, include)
    if inactive is not None:
        yield inactive
        return
    limited = [first_of(each, "totalTimeLimitedBalance") for each in as_list(source, "walletInfos")]
    expiring = [part for part in limited if part is not None and not is_zero(part)]
    if expiring and "expiring" not in include:
        if not all(isinstance(number, int) for number in (amount, *expiring)):
            raise ValueError("totalTimeLimitedBalance is not a whole number")
        yield Left("expiring", f"a part of {key!r} expires")
        amount -= sum(expiring)
    yield balance(player, key, amount)


def _inventory(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    key, uses = required(source, "itemId"), first_of(source, "useCount")
    inactive = _inactive(source, include)
    if inactive is not None:
        yield inactive
    elif first_of(source, "endDate") is not None and "expiring" not in include:
        yield Left("expiring", f"the item {key!r} expires")
    else:
        instance = ("accelbyte", first_of(source, "id"))
        yield holding(player, key, 1 if uses is None else uses, instance=instance)


ACCELBYTE: Final = {
    kind: Preset("accelbyte", _IDS, _MARKS, convert, includes=frozenset({"disabled", "expiring"}))
    for kind, convert in (("wallet", _wallet), ("inventory", _inventory))
}
