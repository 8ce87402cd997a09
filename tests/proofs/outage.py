"""An outage: the retry budget keeps the load near what it was, and recovery is quick."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from kraty_admin import KratyAdmin, KratyServerError, RequestInfo

from .figures import Figure
from .local import local

__all__ = ["prove"]

_PACE: Final = 0.25
"""Seconds between the calls of a worker."""

_PATIENCE: Final = 60.0
"""Seconds until something is taken to hang."""

_BUDGET: Final = 100
"""Retries that a client may spend, by default."""

_LONGEST_WAIT: Final = 0.2 * 2**2 * 1.2
"""Seconds before the last attempt of a call, by default."""


class Workers:
    """Threads that call, pause and call again until `stop` is called."""

    def __init__(self) -> None:
        self.calls = self.retries = self.passed = 0
        """Calls and retries that met the outage, and calls that passed."""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._progress = threading.Condition(self._lock)
        self._well: dict[int, float] = {}

    def seen(self, info: RequestInfo) -> None:
        """Count an attempt that is over."""
        with self._lock:
            if info.status == 503:
                self.calls += info.attempt == 1
                self.retries += info.attempt > 1

    def run(self, client: KratyAdmin, worker: int) -> None:
        """Call, pause and call again until `stop` is called."""
        while not self._over.is_set():
            try:
                client.wallet.credit(f"player_{worker}", "gold", amount=1)
            except KratyServerError:
                with self._lock:
                    self._well.pop(worker, None)
            else:
                with self._progress:
                    self.passed += 1
                    self._well.setdefault(worker, time.monotonic())
                    self._progress.notify_all()
            self._over.wait(_PACE)

    def wait_until_well(self, workers: int) -> float:
        """Wait until the last call of each worker has passed; return since when."""
        with self._progress:
            if not self._progress.wait_for(lambda: len(self._well) == workers, _PATIENCE):
                raise TimeoutError("not everybody has recovered")
            return max(self._well.values())

    def last(self, seconds: float) -> None:
        """Let the workers go on for a number of seconds."""
        self._over.wait(seconds)

    def stop(self) -> None:
        """Let the workers make no more calls."""
        self._over.set()


def prove(folder: Path, *, seconds: float, workers: int) -> list[Figure]:
    """Answer 503 to the workers for a time, then recover."""
    load = Workers()
    with (
        local(folder) as kraty,
        KratyAdmin(**kraty.options, on_request=load.seen) as client,
        ThreadPoolExecutor(workers) as pool,
    ):
        threads = [pool.submit(load.run, client, worker) for worker in range(workers)]
        try:
            load.wait_until_well(workers)
            outage = {"kind": "status", "status": 503, "when": "before"}
            kraty.control("faults", {"faults": [outage], "times": None})
            load.last(seconds)
            kraty.clear_faults()
            cleared = time.monotonic()
            recovered = load.wait_until_well(workers) - cleared
        finally:
            load.stop()
        for thread in threads:
            thread.result(_PATIENCE)
        refused = kraty.look("faults")["struck"]["status 503, before the commit"]
        return [
            Figure("workers", workers),
            Figure("seconds of outage", seconds),
            Figure("calls during the outage", load.calls),
            Figure("retries during the outage", load.retries, at_most=_BUDGET),
            Figure("attempts, as the platform counts them", refused, load.calls + load.retries),
            Figure("attempts for each call", round(refused / load.calls, 3)),
            Figure("seconds until every worker is well", recovered, at_most=_PACE + _LONGEST_WAIT),
            Figure("receipts in the ledger", len(kraty.ledger()), load.passed),
        ]
