"""A program that imports balances from a file, and goes on where an earlier one was ended.

    python importing.py SOURCE FOLDER KIND CHUNK_SIZE

The address and the key come from the environment. It says `begun` before it begins, and
at its end, as JSON, what became of the rows and how much memory it took.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from kraty_admin import KratyAdmin, RetryConfig


def memory(what: str) -> int:
    """Return how many kilobytes of memory this process has, or has had at most.

    Not from `getrusage`, whose maximum counts the process that this one was forked from.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1])


def main(source: str, folder: Path, kind: str, chunk_size: int) -> None:
    """Import all that is not imported yet."""
    with KratyAdmin(retry=RetryConfig(initial_delay=0.01)) as kraty:
        kraty.health.ping()
        idle = memory("VmRSS")
        imports = {
            "players": kraty.migrate.import_players,
            "wallet": kraty.migrate.import_wallet,
            "inventory": kraty.migrate.import_inventory,
        }
        print("begun", flush=True)
        report = imports[kind](
            source,
            journal=folder / f"{kind}.journal",
            failures=folder / f"{kind}.failures.jsonl",
            resume=True,
            chunk_size=chunk_size,
        )
    printed = {**asdict(report), "idle_kb": idle, "peak_kb": memory("VmHWM")}
    print(json.dumps(printed), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
