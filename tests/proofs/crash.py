"""A platform that is killed under load and comes back: nothing it acknowledged is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from kraty_admin import KratyAdmin

from .chaos import Sold, audit, buy, outcomes
from .figures import Figure
from .local import local
from .programs.shop import Purchase, purchases

__all__ = ["prove"]

_THREADS: Final = 16

_PATIENCE: Final = 60.0
"""Seconds until something is taken to hang."""


class Load:
    """Threads that buy until `stop` is called."""

    def __init__(self, client: KratyAdmin) -> None:
        self._client = client
        self.sold = [Sold() for _ in range(_THREADS)]
        """What became of it, by thread."""
        self._over = False
        self._passed = threading.Condition()

    def run(self, worker: int) -> None:
        """Buy until `stop` is called."""
        sold = self.sold[worker]
        for purchase in self._wanted(worker):
            answer = buy(self._client, purchase, sold)
            with self._passed:
                sold.took(purchase, answer)
                self._passed.notify_all()

    def _wanted(self, worker: int) -> Iterator[Purchase]:
        for purchase in purchases(worker):
            if self._over:
                return
            yield purchase

    def stop(self) -> None:
        """Buy nothing more."""
        self._over = True

    @property
    def receipts(self) -> dict[str, Purchase]:
        """Return all receipts that have been acknowledged by now."""
        with self._passed:
            return {key: bought for each in self.sold for key, bought in each.receipts.items()}

    def wait_for(self, more: int) -> None:
        """Wait until a number of further calls have passed."""
        wanted = len(self.receipts) + more
        with self._passed:
            if not self._passed.wait_for(lambda: self._count() >= wanted, _PATIENCE):
                raise TimeoutError("the load has come to a halt")

    def _count(self) -> int:
        return sum(len(each.receipts) for each in self.sold)


def prove(folder: Path, *, kills: int, calls: int) -> list[Figure]:
    """Kill the platform repeatedly, each time after a number of further calls."""
    acknowledged = lost = 0
    with (
        local(folder) as kraty,
        # Everybody fails at once here, which is what the budget is to prevent.
        KratyAdmin(**kraty.options, retry_budget=None) as client,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        load = Load(client)
        threads = [pool.submit(load.run, worker) for worker in range(_THREADS)]
        try:
            for _ in range(kills):
                load.wait_for(calls)
                kraty.kill()
                # What was answered was answered before the kill.
                receipts = load.receipts
                acknowledged = len(receipts)
                lost += len(receipts.keys() - kraty.ledger().keys())
                kraty.start()
            load.wait_for(calls)
        finally:
            load.stop()
        for thread in threads:
            thread.result(_PATIENCE)
        return [
            Figure("kills of the platform", kills, kills),
            Figure("calls acknowledged up to the last kill", acknowledged),
            Figure("of them, lost", lost, 0),
            *outcomes(load.sold),
            *audit(kraty.ledger(), load.receipts),
        ]
