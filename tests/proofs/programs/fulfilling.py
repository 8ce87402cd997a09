"""A worker that fulfils receipts, to be killed: it goes on where the one before was cut off.

It writes down which receipt it begins and which it has done, and nothing else survives it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import attrs

from kraty_admin import KratyAdmin, KratyNetworkError, KratyServerError, RetryConfig
from proofs.programs.shop import Answer, Purchase, purchases

__all__ = ["LANES", "Journal", "main"]

LANES: Final = 4
"""How many players are served at a time."""


@attrs.frozen
class Journal:
    """What a lane has begun and done, in a file that outlives its writers."""

    path: Path

    @property
    def begun(self) -> int:
        """How many receipts have been begun."""
        return len(set(self._lines("begin")))

    @property
    def done(self) -> int:
        """How many of them are known to be done."""
        return len(set(self._lines("done")))

    @property
    def replayed(self) -> int:
        """How many turned out to have been done by a worker that was killed before it knew."""
        return len(self._lines("replay"))

    def _lines(self, what: str) -> list[str]:
        if not self.path.exists():
            return []
        # A line that was cut off by the kill has no end.
        lines = self.path.read_text().rpartition("\n")[0].split("\n")
        return [line for line in lines if line.startswith(f"{what} ")]

    @contextmanager
    def writer(self) -> Generator[Writer]:
        """Add lines, each of which is with the system when the call returns."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            yield Writer(file)
        finally:
            os.close(file)


@attrs.frozen
class Writer:
    """Adds lines to a journal."""

    file: int

    def write(self, what: str, number: int) -> None:
        """Add a line."""
        os.write(self.file, f"{what} {number}\n".encode())


def fulfil(kraty: KratyAdmin, purchase: Purchase) -> Answer:
    """Fulfil one receipt, however often that takes."""
    while True:
        try:
            return purchase.buy(kraty, purchase.key)
        except (KratyNetworkError, KratyServerError):
            continue


def serve(kraty: KratyAdmin, lane: int, folder: Path, until: int | None) -> None:
    """Fulfil a player's receipts from the first that is not known to be done."""
    journal = Journal(folder / f"lane-{lane}")
    first, begun = journal.done, journal.begun
    with journal.writer() as writer:
        for number, purchase in enumerate(islice(purchases(lane), first, until), first):
            writer.write("begin", number)
            if number == first:
                print("begun", flush=True)  # the parent waits for it
            answer = fulfil(kraty, purchase)
            writer.write("done", number)
            if number < begun and answer.replayed and answer.http.attempts == 1:
                writer.write("replay", number)


def main(folder: Path, until: list[int] | None) -> None:
    """Serve all lanes, for ever or to where each is to end."""
    retry = RetryConfig(initial_delay=0.01)
    with KratyAdmin(retry=retry) as kraty, ThreadPoolExecutor(LANES) as threads:
        ends: list[int | None] = [*until] if until else [None] * LANES
        lanes = [threads.submit(serve, kraty, lane, folder, end) for lane, end in enumerate(ends)]
        for lane in lanes:
            lane.result()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(end) for end in sys.argv[2:]] or None)
