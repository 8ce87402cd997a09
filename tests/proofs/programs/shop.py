"""Purchases whose answers are known beforehand, so that somebody else's is noticed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, overload

import attrs

from kraty_admin import KratyAdmin, KratyAdminAsync, derive_key
from kraty_admin.models import Grant, ItemAdjustment, WalletAdjustment

if TYPE_CHECKING:
    from kraty_admin.outbox import Intent, OutboxResources

__all__ = ["STEPS", "Answer", "Posting", "Purchase", "Tally", "purchases", "shop", "warm"]

Posting: TypeAlias = tuple[str, str, int]
"""A row of the ledger: player, key and delta."""

Answer: TypeAlias = WalletAdjustment | ItemAdjustment | Grant

Step: TypeAlias = Literal["credit", "grant", "debit", "revoke", "mixed"]

STEPS: Final[Sequence[Step]] = ("credit", "grant", "debit", "revoke", "mixed")
"""What a player goes through, over and over. Each turn leaves more than it found."""

_UNIT: Final = 1_000
"""What all amounts are multiples of, but for the first ones.

Those add the player's number, so the last three digits of each balance show whose it is.
"""

_CONNECTIONS: Final = 16


@attrs.frozen
class Purchase:
    """One receipt: a call, what its answer has to hold, and what it posts."""

    player: str
    reference: str
    step: Step
    amount: int
    answer: Mapping[str, object]
    postings: Sequence[Posting]

    @property
    def key(self) -> str:
        """The idempotency key, the same on every run."""
        return derive_key("proof", self.reference)

    @overload
    def buy(self, kraty: KratyAdmin, key: str | None) -> Answer: ...

    @overload
    def buy(self, kraty: KratyAdminAsync, key: str | None) -> Awaitable[Answer]: ...

    @overload
    def buy(self, kraty: OutboxResources, key: str | None) -> Intent[Any]: ...

    def buy(
        self, kraty: KratyAdmin | KratyAdminAsync | OutboxResources, key: str | None
    ) -> Answer | Awaitable[Answer] | Intent[Any]:
        """Make or record the call, under this key or one that is generated.

        A grant is never made without a key of the caller's.
        """
        player, amount, reference = self.player, self.amount, self.reference
        if self.step == "credit":
            return kraty.wallet.credit(
                player, "gold", amount=amount, source_ref_id=reference, idempotency_key=key
            )
        if self.step == "debit":
            return kraty.wallet.debit(
                player, "gold", amount=amount, source_ref_id=reference, idempotency_key=key
            )
        if self.step == "grant":
            return kraty.inventory.grant(
                player, "health_potion", quantity=amount, reason=reference, idempotency_key=key
            )
        if self.step == "revoke":
            return kraty.inventory.revoke(
                player, "health_potion", quantity=amount, reason=reference, idempotency_key=key
            )
        return kraty.grants.create(
            player,
            entries=_entries(amount),
            source_ref_id=reference,
            idempotency_key=key or self.key,
        )

    def owns(self, answer: Mapping[str, object]) -> bool:
        """Return whether an answer belongs to this purchase, and not to another."""
        return {name: answer.get(name) for name in self.answer} == self.answer


@attrs.define
class Tally:
    """What came of some purchases, as JSON from one process to another."""

    process: int = attrs.field(factory=os.getpid)
    player: int = -1
    fresh: int = 0
    """Calls that took effect."""
    replayed: int = 0
    """Calls that had taken effect before."""
    crossed: int = 0
    """Calls with somebody else's answer."""
    retried: int = 0
    """Calls that took more than one attempt."""
    trouble: str = ""
    """The first thing that went wrong, for people."""

    @property
    def made(self) -> int:
        """Calls that were answered."""
        return self.fresh + self.replayed + self.crossed

    def add(
        self,
        purchase: Purchase,
        answer: Mapping[str, object],
        *,
        replayed: bool | None,
        attempts: int,
    ) -> None:
        """Count a call by its answer."""
        self.retried += attempts > 1
        if not purchase.owns(answer):
            self.crossed += 1
            self.trouble = self.trouble or f"{purchase.answer} expected, got {answer}"[:500]
        elif replayed:
            self.replayed += 1
        else:
            self.fresh += 1


def warm(kraty: KratyAdmin) -> None:
    """Open more connections than are in use at a fork, so that idle ones are inherited."""
    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        for ping in [threads.submit(kraty.health.ping) for _ in range(10 * _CONNECTIONS)]:
            ping.result()


def purchases(number: int) -> Iterator[Purchase]:
    """Yield purchases of the player with this number, of three digits at most, without end."""
    player = f"player-{number}"
    held: Counter[str] = Counter()
    for turn in count():
        for step in STEPS:
            reference = f"{player}/{turn}/{step}"
            amount = _UNIT * (5 if step in ("credit", "grant") else 1)
            if turn == 0 and step in ("credit", "grant"):
                amount += number
            changes = _changes(step, amount)
            held.update(changes)
            yield Purchase(
                player=player,
                reference=reference,
                step=step,
                amount=amount,
                answer=_answer(step, amount, reference, held),
                postings=[(player, what, delta) for what, delta in changes.items()],
            )


def _changes(step: Step, amount: int) -> dict[str, int]:
    if step == "credit":
        return {"gold": amount}
    if step == "debit":
        return {"gold": -amount}
    if step == "grant":
        return {"health_potion": amount}
    if step == "revoke":
        return {"health_potion": -amount}
    return {"gold": amount, "health_potion": amount, "legendary_box": 1}


def _answer(step: Step, amount: int, reference: str, held: Counter[str]) -> dict[str, object]:
    if step in ("credit", "debit"):
        return {"economyKey": "gold", "balance": held["gold"]}
    if step in ("grant", "revoke"):
        return {"itemKey": "health_potion", "quantity": held["health_potion"]}
    return {"sourceRefId": reference, "contents": {"entries": _entries(amount)}}


def _entries(amount: int) -> list[dict[str, object]]:
    return [
        {"type": "currency", "currencyKey": "gold", "amount": amount},
        {"type": "item", "itemKey": "health_potion", "quantity": amount},
        {"type": "crate", "crateItemKey": "legendary_box", "quantity": 1},
    ]


def shop(kraty: KratyAdmin, player: int, wanted: Iterable[Purchase]) -> Tally:
    """Buy one after the other, and see whether each answer is the right one."""
    tally = Tally(player=player)
    for purchase in wanted:
        try:
            answer = purchase.buy(kraty, purchase.key)
        except Exception as error:
            # What comes after it has other balances to expect.
            tally.trouble = tally.trouble or f"{type(error).__name__}: {error}"[:500]
            break
        tally.add(purchase, answer, replayed=answer.replayed, attempts=answer.http.attempts)
    return tally
