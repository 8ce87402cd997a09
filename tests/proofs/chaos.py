"""Money calls while three in ten fail: the ledger is the sum of the receipts, to the unit.

Half of the faults come after the commit, so that the caller cannot know. A call that
raises is repeated under the key that its error names, until it passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final

import attrs

from kraty_admin import (
    KratyAdmin,
    KratyAdminAsync,
    KratyNetworkError,
    KratyServerError,
    RetryConfig,
)

from .figures import Figure
from .local import Local, local
from .programs.shop import Answer, Purchase, purchases

__all__ = ["Sold", "audit", "buy", "outcomes", "prove_tasks", "prove_threads"]

_RATE: Final = 0.3
_SECONDS: Final = 0.3
"""How long a stall or a delay lasts; longer than the threads' timeout."""

# Fewer attempts than by default, so that many calls do fail and have to be repeated.
_RETRY: Final = RetryConfig(attempts=2, initial_delay=0.01)


@attrs.define
class Sold:
    """What became of the purchases of one worker."""

    receipts: dict[str, Purchase] = attrs.field(factory=dict[str, Purchase])
    """Each idempotency key with what was bought under it."""
    raised: int = 0
    """How often a call raised."""
    unclear: int = 0
    """How often it said that it might have taken effect."""
    retried: int = 0
    """How many calls that passed took more than one attempt."""
    replayed: int = 0
    """How many had taken effect before their answer came through."""
    crossed: int = 0
    """How many got somebody else's answer."""

    def took(self, purchase: Purchase, answer: Answer) -> None:
        """Record a call that has passed."""
        assert answer.http.idempotency_key is not None
        self.receipts[answer.http.idempotency_key] = purchase
        self.retried += answer.http.attempts > 1
        self.replayed += answer.replayed is True
        self.crossed += not purchase.owns(answer)

    def failed(self, error: KratyNetworkError | KratyServerError) -> str:
        """Count a call that raised, and return the key to repeat it with."""
        self.raised += 1
        self.unclear += error.ambiguous
        assert error.idempotency_key is not None
        return error.idempotency_key


def buy(client: KratyAdmin, purchase: Purchase, sold: Sold) -> Answer:
    """Make a call, and repeat it under its own key until it passes."""
    key: str | None = None
    while True:
        try:
            return purchase.buy(client, key)
        except (KratyNetworkError, KratyServerError) as error:
            key = sold.failed(error)


async def buy_async(client: KratyAdminAsync, purchase: Purchase, sold: Sold) -> Answer:
    """Make a call, and repeat it under its own key until it passes."""
    key: str | None = None
    while True:
        try:
            return await purchase.buy(client, key)
        except (KratyNetworkError, KratyServerError) as error:
            key = sold.failed(error)


def prove_threads(folder: Path, *, calls: int, threads: int) -> list[Figure]:
    """Prove it with one client, and this number of threads and calls."""

    def work(worker: int) -> Sold:
        sold = Sold()
        for purchase in islice(purchases(worker), calls // threads):
            sold.took(purchase, buy(client, purchase, sold))
        return sold

    with local(folder) as kraty, KratyAdmin(**kraty.options, retry=_RETRY, timeout=0.25) as client:
        return _measure(kraty, calls, lambda: _in_threads(work, threads))


def prove_tasks(folder: Path, *, calls: int, tasks: int) -> list[Figure]:
    """Prove it with one asynchronous client, and this number of tasks and calls."""

    async def work(client: KratyAdminAsync, worker: int) -> Sold:
        sold = Sold()
        for purchase in islice(purchases(worker), calls // tasks):
            sold.took(purchase, await buy_async(client, purchase, sold))
        return sold

    async def work_all() -> list[Sold]:
        # So many tasks at one small server wait for each other longer than for it.
        async with KratyAdminAsync(**kraty.options, retry=_RETRY, timeout=5) as client:
            return await asyncio.gather(*[work(client, worker) for worker in range(tasks)])

    with local(folder) as kraty:
        return _measure(kraty, calls, lambda: asyncio.run(work_all()))


def outcomes(sold: Sequence[Sold]) -> list[Figure]:
    """Return how the calls of all workers ended."""
    return [
        Figure("calls that passed after a retry of their own", sum(s.retried for s in sold)),
        Figure("calls that raised", sum(each.raised for each in sold)),
        Figure("of them, might have taken effect", sum(each.unclear for each in sold)),
        Figure("calls that were answered as replays", sum(each.replayed for each in sold)),
        Figure("crossed answers", sum(each.crossed for each in sold), 0),
    ]


def audit(
    ledger: Mapping[str, Sequence[tuple[str, str, int]]], receipts: Mapping[str, Purchase]
) -> list[Figure]:
    """Compare the ledger with the receipts, by their keys and by their sums."""
    wanted = {key: sorted(purchase.postings) for key, purchase in receipts.items()}
    found = {key: sorted(postings) for key, postings in ledger.items()}
    double = [key for key in wanted if len(found.get(key, [])) > len(wanted[key])]
    figures = [
        Figure("receipts in the ledger", len(found), len(wanted)),
        Figure("missing", len(wanted.keys() - found.keys()), 0),
        Figure("double", len(double), 0),
        Figure("unknown", len(found.keys() - wanted.keys()), 0),
        Figure("with other postings", sum(found.get(key) != wanted[key] for key in wanted), 0),
    ]
    for what in ("gold", "health_potion", "legendary_box"):
        figures.append(
            Figure(f"units of {what}", _units(found.values(), what), _units(wanted.values(), what))
        )
    return figures


def _units(postings: Iterable[Sequence[tuple[str, str, int]]], what: str) -> int:
    return sum(delta for each in postings for _, key, delta in each if key == what)


def _in_threads(work: Callable[[int], Sold], threads: int) -> list[Sold]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(threads)))


def _measure(kraty: Local, calls: int, run: Callable[[], list[Sold]]) -> list[Figure]:
    kraty.control("chaos", {"rate": _RATE, "seed": 1, "after": 0.5, "seconds": _SECONDS})
    sold = run()
    struck: Mapping[str, int] = kraty.look("faults")["struck"]
    before = sum(times for name, times in struck.items() if "before" in name)
    after = sum(struck.values()) - before
    receipts = {key: purchase for each in sold for key, purchase in each.receipts.items()}
    return [
        Figure("calls", sum(len(each.receipts) for each in sold), calls),
        Figure("faults before the commit", before),
        Figure("faults after the commit", after),
        Figure("kinds of faults", len(struck)),
        *outcomes(sold),
        *audit(kraty.ledger(), receipts),
    ]
