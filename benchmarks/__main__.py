"""`make bench`: all contenders side by side, as a table, as JSON and as a plot.

    python benchmarks [--rounds N] [--calls N] [--out FOLDER]

CPU is the client's own processor time, so that what the responder takes does not count.
Figures are only compared within one run: machines differ, and so do their hours.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import local_costs
from contenders import ROWS
from measure import Contender, Taken, race
from others import OTHERS
from plot import plot
from responder import responder

BY_HAND: Final = "httpx by hand"
FLOOR: Final = "httpx transport"
OURS: Final = "kraty-admin"
BY_HAND_ASYNC: Final = "httpx by hand, async"
OURS_ASYNC: Final = "kraty-admin, async"

THREADS: Final = (1, 4, 16, 64)
TASKS: Final = (1, 10, 100, 1000)
MODULES: Final = ("httpx", "kraty_admin", "stripe", "openai", "svix")

Results = Mapping[str, Taken | str]
Growth = dict[int, dict[str, float]]


@attrs.frozen
class Target:
    """A ratio that is to be kept."""

    what: str
    measured: float
    at_most: float

    def __str__(self) -> str:
        verdict = "kept" if self.measured <= self.at_most else "**missed**"
        return f"| {self.what} | {self.measured:.2f} | {self.at_most:.2f} | {verdict} |"


def compete(url: str, names: Sequence[str], rounds: int, calls: int, in_flight: int = 1) -> Results:
    """Race these against each other."""
    with ExitStack() as stack:
        contenders = [stack.enter_context(Contender(name, url, in_flight)) for name in names]
        return race(contenders, rounds=rounds, calls=calls)


def cpu(results: Results, name: str) -> float:
    """Microseconds per call; not a number if it could not run."""
    taken = results[name]
    return float("nan") if isinstance(taken, str) else taken.cpu


def table(title: str, results: Results, against: str) -> str:
    """A Markdown table."""
    lines = [f"### {title}", "", "| | CPU per call | spread | clock | of " + against + " |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for name, taken in results.items():
        if isinstance(taken, str):
            lines.append(f"| {name} | {taken} | | | |")
            continue
        ratio = taken.cpu / cpu(results, against)
        lines.append(
            f"| {name} | {taken.cpu:.0f} µs | ±{taken.spread / 2:.0%} |"
            f" {taken.wall:.0f} µs | {ratio:.2f} |"
        )
    return "\n".join(lines)


def growth_table(steps: Growth) -> str:
    """A Markdown table of how a cost grows."""
    columns = list(next(iter(steps.values())))
    lines = [f"| in flight | {' | '.join(columns)} |", "| ---: |" + " ---: |" * len(columns)]
    for step, figures in steps.items():
        lines.append(f"| {step:,} | {' | '.join(f'{each:,.0f}' for each in figures.values())} |")
    return "\n".join(lines)


def growth(url: str, name: str, steps: Sequence[int]) -> Growth:
    """How a contender's cost grows with how many calls are in flight."""
    found: Growth = {}
    for in_flight in steps:
        taken = compete(url, [name], 5, max(200, 2 * in_flight), in_flight)[name]
        if isinstance(taken, Taken):
            found[in_flight] = {"cpu": taken.cpu, "per second": 1e6 / taken.wall}
    return found


def growth_by_rows(url: str) -> Growth:
    """How the cost of a batch grows with its rows."""
    names = {count: f"{count:,} rows, {OURS}" for count in ROWS}
    results = compete(url, list(names.values()), 5, 40)
    return {count: {"cpu": cpu(results, name)} for count, name in names.items()}


def targets(races: Mapping[str, Results], imports: Mapping[str, float]) -> list[Target]:
    """The ratios that are to be kept."""
    sync, one, fifty, batch = races.values()
    raw = local_costs.export_bytes()
    lasting = races["One call at a time"]
    ours, by_hand = lasting[OURS], lasting[BY_HAND]
    assert isinstance(ours, Taken)
    assert isinstance(by_hand, Taken)
    load = partial(json.loads, raw)
    return [
        Target("credit, of httpx by hand", cpu(sync, OURS) / cpu(sync, BY_HAND), 0.80),
        Target("credit, of the httpx transport", cpu(sync, OURS) / cpu(sync, FLOOR), 1.20),
        Target(
            "async credit, 1 in flight, of httpx by hand",
            cpu(one, OURS_ASYNC) / cpu(one, BY_HAND_ASYNC),
            0.85,
        ),
        Target(
            "async credit, 50 in flight, of httpx by hand",
            cpu(fifty, OURS_ASYNC) / cpu(fifty, BY_HAND_ASYNC),
            0.85,
        ),
        Target("import, of httpx", imports["kraty_admin"] / imports["httpx"], 1.15),
        Target(
            "export of 5 x 1,000 rows, of json.loads",
            local_costs.ratio(partial(local_costs.typed_export, raw), load),
            1.05,
        ),
        Target(
            "the same and a date of each row, of json.loads",
            local_costs.ratio(partial(local_costs.typed_dates, raw), load),
            3.0,
        ),
        Target(
            "batch of 1,000 rows, of json.dumps and httpx by hand",
            cpu(batch, f"1,000 rows, {OURS}") / cpu(batch, "1,000 rows by hand"),
            1.10,
        ),
        Target("verify_webhook of 1 KB, of hmac.digest", local_costs.verifying(), 1.5),
        Target("memory of an idle client, MiB more", (ours.idle_kb - by_hand.idle_kb) / 1024, 2.0),
        Target("open files after all calls, more", ours.open_files - by_hand.open_files, 0.0),
    ]


def main() -> int:
    """Measure all; returns the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--rounds", type=int, default=25, help="default 25")
    parser.add_argument("--calls", type=int, default=100, help="calls per round; default 100")
    parser.add_argument("--out", type=Path, help="write bench.json and bench.svg there")
    options = parser.parse_args()
    rounds, calls = options.rounds, options.calls
    with responder() as url:
        races = {
            "One call at a time": compete(
                url, [BY_HAND, FLOOR, OURS, f"{OURS}, own http_client", *OTHERS], rounds, calls
            ),
            "asyncio, one call at a time": compete(url, [BY_HAND_ASYNC, OURS_ASYNC], rounds, calls),
            "asyncio, 50 calls in flight": compete(
                url, [BY_HAND_ASYNC, OURS_ASYNC], rounds, 4 * calls, 50
            ),
            "A batch of 1,000 rows": compete(
                url, ["1,000 rows by hand", f"1,000 rows, {OURS}"], rounds, max(10, calls // 4)
            ),
        }
        grown = {
            f"{what}, {name}": growth(url, name, steps)
            for what, name, steps in (
                ("threads", BY_HAND, THREADS),
                ("threads", OURS, THREADS),
                ("tasks", BY_HAND_ASYNC, TASKS),
                ("tasks", OURS_ASYNC, TASKS),
            )
        }
        grown[f"rows, {OURS}"] = growth_by_rows(url)
    for title, results in races.items():
        print(table(title, results, next(iter(results))), end="\n\n")
    imports = local_costs.import_times(MODULES, rounds)
    print("### Imports\n\n| | ms |\n| --- | ---: |")
    for module, milliseconds in imports.items():
        print(f"| {module} | {milliseconds:.0f} |")
    print("\n### Targets\n\n| ratio | measured | at most | |\n| --- | ---: | ---: | --- |")
    kept = targets(races, imports)
    for target in kept:
        print(target)
    for title, steps in grown.items():
        print(f"\n### {title}\n\n" + growth_table(steps))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        figures = {
            "races": {
                title: {n: t if isinstance(t, str) else attrs.asdict(t) for n, t in each.items()}
                for title, each in races.items()
            },
            "imports": imports,
            "targets": [attrs.asdict(target) for target in kept],
            "growth": grown,
        }
        (options.out / "bench.json").write_text(json.dumps(figures, indent=2) + "\n")
        plot(races["One call at a time"], grown, options.out / "bench.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
