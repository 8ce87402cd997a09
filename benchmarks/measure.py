"""Measure contenders side by side: rounds that take turns, medians and spreads."""

from __future__ import annotations

import compileall
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from types import TracebackType

import attrs

__all__ = ["Contender", "Taken", "race", "ratio", "write_bytecode"]

_FOLDER = Path(__file__).resolve().parent


@attrs.frozen
class Taken:
    """What a contender's calls took."""

    cpu: float
    """Microseconds of the process's processor time per call; the median of the rounds."""
    wall: float
    """Microseconds of the clock per call; the median of the rounds."""
    spread: float
    """How far the middle half of the rounds lies apart in `cpu`, as a part of it."""
    idle_kb: int
    """Memory before the first call, in kilobytes."""
    open_files: int
    """Open files after the last call."""
    rounds: Sequence[float]
    """`cpu` of each round."""


def write_bytecode() -> None:
    """Compile the SDK beforehand, as installers compile the other packages.

    A process that compiles a package keeps some of the memory that it took, which would
    count as the client's.
    """
    for package in ("kraty_admin", "kraty_server_api"):
        spec = find_spec(package)
        assert spec is not None
        for folder in spec.submodule_search_locations or ():
            compileall.compile_dir(folder, quiet=1)


class Contender:
    """A contender in a process of its own."""

    def __init__(self, name: str, url: str, in_flight: int = 1) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, _FOLDER / "worker.py", name, url, str(in_flight)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        said = self._line()
        self.problem = None if said == "ready" else said or "it ended"

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(self, calls: int) -> dict[str, float]:
        """Let the contender make a number of calls."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        taken: dict[str, float] = json.loads(self._line())
        return taken


def race(contenders: Sequence[Contender], *, rounds: int, calls: int) -> dict[str, Taken | str]:
    """Let the contenders take turns; return what each took, or why it could not run."""
    taken: dict[str, list[dict[str, float]]] = {
        each.name: [] for each in contenders if each.problem is None
    }
    for each in contenders:
        if each.problem is None:
            each.run(calls)  # to warm up
    for _ in range(rounds):
        for each in contenders:
            if each.problem is None:
                taken[each.name].append(each.run(calls))
    return {
        each.name: _median(taken[each.name]) if each.problem is None else each.problem
        for each in contenders
    }


def _median(rounds: Sequence[dict[str, float]]) -> Taken:
    cpu = [each["cpu"] for each in rounds]
    low, _, high = quantiles(cpu, n=4)
    return Taken(
        cpu=median(cpu),
        wall=median(each["wall"] for each in rounds),
        spread=(high - low) / median(cpu),
        idle_kb=int(rounds[-1]["idle_kb"]),
        open_files=int(rounds[-1]["open_files"]),
        rounds=cpu,
    )


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the ratio of our times to theirs: the median of the ratios of the rounds.

    A machine that is slower for a minute is slower for both.
    """
    return median(our / their for our, their in zip(ours, theirs, strict=True))
