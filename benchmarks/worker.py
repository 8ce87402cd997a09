"""A contender in its own process: it sets up, and makes as many calls as it is asked for.

    python benchmarks/worker.py NAME URL [IN_FLIGHT]

It says `ready`, or why it cannot run. Then it reads numbers of calls, a line each, and
answers each with what they took, as JSON: microseconds per call of its processor's time
and of the clock's, kilobytes of memory, and open files.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from contenders import ASYNC, SYNC, AsyncCall, Call
from others import OTHERS


def make_calls(call: Call, threads: int) -> Callable[[int], None]:
    """Make a number of calls in each of some threads."""
    if threads == 1:

        def run(calls: int) -> None:
            for _ in range(calls):
                call()

        return run
    pool = ThreadPoolExecutor(threads)

    def work(calls: int) -> None:
        for _ in range(calls):
            call()

    def spread(calls: int) -> None:
        list(pool.map(work, [calls // threads] * threads))

    return spread


def make_async_calls(call: AsyncCall, tasks: int) -> Callable[[int], None]:
    """Make a number of calls, with some tasks at a time."""
    loop = asyncio.new_event_loop()

    async def work(calls: int) -> None:
        for _ in range(calls):
            await call()

    async def spread(calls: int) -> None:
        await asyncio.gather(*(work(calls // tasks) for _ in range(tasks)))

    return lambda calls: loop.run_until_complete(spread(calls))


def resident() -> int:
    """Return the kilobytes of memory that this process has."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def open_files() -> int:
    """Return the number of files and sockets that this process has open."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def set_up(name: str, url: str, in_flight: int) -> Callable[[int], None]:
    """Return the function that makes a contender's calls."""
    if name in ASYNC:
        return make_async_calls(ASYNC[name](url), in_flight)
    return make_calls({**SYNC, **OTHERS}[name](url), in_flight)


def main(name: str, url: str, in_flight: int = 1) -> None:
    """Serve the orders on standard input."""
    try:
        run = set_up(name, url, in_flight)
        run(2 * in_flight)
        # Not before: a client may load at its making what another loads at its first call.
        idle = resident()
    except Exception as problem:
        print(f"cannot run: {type(problem).__name__}: {problem}".partition("\n")[0], flush=True)
        return
    print("ready", flush=True)
    for line in sys.stdin:
        calls = int(line)
        started, cpu = time.perf_counter(), time.process_time()
        run(calls)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - started
        taken = {
            "cpu": cpu / calls * 1e6,
            "wall": wall / calls * 1e6,
            "idle_kb": idle,
            "open_files": open_files(),
        }
        print(json.dumps(taken), flush=True)
    os._exit(0)  # what is open is not worth closing


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
