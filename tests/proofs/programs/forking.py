"""Warms a client, and forks while threads use it: `forking CHILDREN THREADS CALLS`.

Prints what the children and the threads have made of it, as JSON.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final

import attrs

from kraty_admin import KratyAdmin

from .shop import Purchase, Tally, purchases, shop, warm

__all__ = ["main"]

_PATIENCE: Final = 60.0
"""Seconds until something is taken to hang."""

_LONGEST: Final = 50
"""How many times its calls a thread makes at most while it waits for the children."""


class Load:
    """Calls that go on in threads until it is said that they may end."""

    def __init__(self, kraty: KratyAdmin, calls: int) -> None:
        self.enough = threading.Event()
        self._kraty = kraty
        self._calls = calls
        self._made = threading.Semaphore(0)

    def run(self, player: int) -> Tally:
        """Buy for this player."""
        return shop(self._kraty, player, self._wanted(player))

    def await_calls(self, number: int) -> None:
        """Return once so many calls have been begun since."""
        for _ in range(number):
            if not self._made.acquire(timeout=_PATIENCE):
                raise TimeoutError("the threads make no calls")

    def _wanted(self, player: int) -> Iterator[Purchase]:
        for number, purchase in enumerate(islice(purchases(player), self._calls * _LONGEST)):
            if number >= self._calls and self.enough.is_set():
                return
            self._made.release()
            yield purchase


def in_child(kraty: KratyAdmin, player: int, calls: int) -> tuple[int, int]:
    """Fork a child that buys for this player; return its id, and where to read its tally."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python says that forking beside threads may deadlock; here is where it must not.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process:
        os.close(writer)
        return process, reader
    signal.alarm(int(2 * _PATIENCE))  # in case no process is left to end it
    tally = Tally(player=player, trouble="the child failed")
    try:
        tally = shop(kraty, player, islice(purchases(player), calls))
    finally:
        os.write(writer, json.dumps(attrs.asdict(tally)).encode())
        os._exit(0)


def tally_of(process: int, reader: int, until: float) -> Tally:
    """Return what a child has written; one that hangs is ended."""
    ready, _, _ = select.select([reader], [], [], max(until - time.monotonic(), 0.0))
    if not ready:
        os.kill(process, signal.SIGKILL)
    written = os.read(reader, 65_536)
    os.close(reader)
    os.waitpid(process, 0)
    return Tally(**json.loads(written)) if written else Tally(trouble=f"child {process} hung")


def main() -> None:
    """Fork, and print the tallies: the threads' are of players 0 and up, then the children's."""
    children, threads, calls = map(int, sys.argv[1:])
    kraty = KratyAdmin()
    warm(kraty)
    load = Load(kraty, calls)
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(load.run, player) for player in range(threads)]
        forked: list[tuple[int, int]] = []
        try:
            for player in range(threads, threads + children):
                # So that each fork comes upon other calls than the one before.
                load.await_calls(threads)
                forked.append(in_child(kraty, player, calls))
        finally:
            until = time.monotonic() + _PATIENCE
            tallies = [tally_of(process, reader, until) for process, reader in forked]
            load.enough.set()
        tallies = [thread.result() for thread in running] + tallies
    kraty.close()
    print(json.dumps([attrs.asdict(tally) for tally in tallies]))


if __name__ == "__main__":
    main()
