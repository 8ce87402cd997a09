"""Workers that are killed at random moments: the next one drives their receipts again.

It derives the same keys, so what had been minted is not minted again, and what had not
been is not lost.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

from .chaos import audit
from .figures import Figure
from .local import Local, local
from .programs.fulfilling import LANES, Journal
from .programs.shop import purchases

__all__ = ["prove"]

_PATIENCE: Final = 60.0
"""Seconds until something is taken to hang."""

_TESTS: Final = Path(__file__).resolve().parent.parent


def prove(folder: Path, *, kills: int) -> list[Figure]:
    """Kill workers one after the other, and let a last one finish."""
    random = Random(7)
    journals = [Journal(folder / f"lane-{lane}") for lane in range(LANES)]
    cut_off = 0
    with local(folder) as kraty:
        # So that they are killed in the middle of retries as well.
        kraty.control("chaos", {"rate": 0.2, "seed": 1, "seconds": 0.02})
        for _ in range(kills):
            _kill_one(kraty, folder, random.uniform(0, 0.1))
            cut_off += sum(journal.begun > journal.done for journal in journals)
        begun = [journal.begun for journal in journals]
        with _worker(kraty, folder, begun) as worker:
            status = worker.wait(_PATIENCE)
        receipts = {
            purchase.key: purchase
            for lane, end in enumerate(begun)
            for purchase in islice(purchases(lane), end)
        }
        return [
            Figure("workers killed", kills, kills),
            Figure("calls that were cut off", cut_off),
            Figure(
                "of them, reported as having taken effect",
                sum(journal.replayed for journal in journals),
            ),
            Figure("exit status of the last worker", status, 0),
            Figure("receipts begun", sum(begun)),
            Figure("receipts done", sum(journal.done for journal in journals), sum(begun)),
            *audit(kraty.ledger(), receipts),
        ]


def _kill_one(kraty: Local, folder: Path, after: float) -> None:
    """Start a worker, and kill it so many seconds after its first call has begun."""
    with _worker(kraty, folder) as worker:
        assert worker.stdout is not None
        if not worker.stdout.readline():
            raise RuntimeError("a worker ended before it was killed")
        with suppress(subprocess.TimeoutExpired):
            worker.wait(after)
        worker.kill()
        if worker.wait(_PATIENCE) >= 0:
            raise RuntimeError("a worker ended before it was killed")


def _worker(kraty: Local, folder: Path, until: list[int] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "proofs.programs.fulfilling", str(folder)]
    return subprocess.Popen(
        [*command, *[str(end) for end in until or ()]],
        cwd=_TESTS,
        env={**os.environ, "KRATY_BASE_URL": kraty.base_url, "KRATY_SERVER_KEY": kraty.api_key},
        stdout=subprocess.PIPE,
        text=True,
    )
