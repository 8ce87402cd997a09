"""`make prove`: every proof in its whole size, and a table of the figures for each."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from . import chaos, crash, deliveries, forks, kills, model, outage, shop
from .figures import Figure, table

Proof = Callable[[Path], list[Figure]]


def _contract(folder: Path) -> list[Figure]:
    if sys.version_info < (3, 11):
        return [Figure("SKIPPED: schemathesis needs Python 3.11", 0)]
    from . import contract

    figures: list[Figure] = contract.prove(folder, examples=100, chains=60)
    return figures


PROOFS: Final[Mapping[str, Proof]] = {
    "Money calls from 32 threads, three in ten struck by a fault": partial(
        chaos.prove_threads, calls=20_000, threads=32
    ),
    "Money calls from 500 tasks, three in ten struck by a fault": partial(
        chaos.prove_tasks, calls=20_000, tasks=500
    ),
    "Workers killed, their receipts driven again": partial(kills.prove, kills=100),
    "Forks: by hand, gunicorn, Celery": partial(forks.prove, calls=500, requests=250, jobs=150),
    "The platform killed under load": partial(crash.prove, kills=10, calls=500),
    "An outage": partial(outage.prove, seconds=60, workers=50),
    "A shop with an outbox on SQLite": partial(shop.prove_sqlite, kills=200),
    "A shop with an outbox on PostgreSQL": partial(shop.prove_postgresql, kills=200),
    "The order of each player's purchases": partial(shop.prove_order, workers=4, sales=500),
    "Webhooks at the README's receiver": partial(deliveries.prove, events=5_000),
    "The emulator against the contract": _contract,
    "The emulator against a plain model": partial(model.prove, examples=500),
}


def main(wanted: Sequence[str], proofs: Mapping[str, Proof] = PROOFS) -> int:
    """Prove all, or only those whose titles contain a given word; return the exit status."""
    failed: list[str] = []
    begun = time.monotonic()
    for title, prove in proofs.items():
        if wanted and not any(word.lower() in title.lower() for word in wanted):
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            figures = prove(Path(folder))
        figures.append(Figure("seconds", round(time.monotonic() - started, 1)))
        print(table(title, figures), end="\n\n", flush=True)
        if not all(figure.holds for figure in figures):
            failed.append(title)
    print(f"{time.monotonic() - begun:.0f} seconds in all.")
    for title in failed:
        print(f"FAILED: {title}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
