"""Time to import kraty_admin, compared with httpx alone.

    python benchmarks/imports.py [--rounds N] [--check RATIO]

Each import runs in an interpreter of its own, the two in turns, and tells the time
itself, so that starting Python does not count. What the developer's environment adds to
httpx (its command line) is left out, as it is in production. `--check 1.6` fails if our
import takes more than so many times that of httpx.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from statistics import median
from typing import Final

IMPORT: Final = """
import sys, time
sys.modules["click"] = None  # without it, httpx imports no command line
started = time.perf_counter()
import {module}
print(time.perf_counter() - started)
"""


def seconds(module: str) -> float:
    """How long an import takes in a fresh interpreter."""
    command = [sys.executable, "-c", IMPORT.format(module=module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=25, help="imports of each; default 25")
    parser.add_argument("--check", type=float, metavar="RATIO", help="fail above this ratio")
    options = parser.parse_args()
    modules = ("httpx", "kraty_admin")
    for module in modules:
        seconds(module)  # compiles what is not compiled yet
    times: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(options.rounds):
        for module in modules:
            times[module].append(seconds(module))
    httpx, ours = (median(times[module]) for module in modules)
    ratio = ours / httpx
    print("Time to import, of kraty_admin with httpx in it:")
    print(f"  httpx        {httpx * 1000:6.1f} ms")
    print(f"  kraty_admin  {ours * 1000:6.1f} ms {ratio:5.2f}")
    if options.check is not None and ratio > options.check:
        print(f"FAILED: the ratio is above {options.check:g}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
