"""`make bench`: all contenders side by side, as tables, as JSON and as a chart.

    python benchmarks [--rounds N] [--calls N] [--out FOLDER] [--check]

CPU is the client's own processor time, so that what the responder takes does not count.
Figures are only compared within one run: machines differ, and so do their hours.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import attrs
import local_costs
from contenders import ROWS
from measure import Contender, Taken, race, ratio, write_bytecode
from others import OTHERS
from plot import bars
from responder import responder

BY_HAND: Final = "httpx by hand"
FLOOR: Final = "httpx transport"
BARE: Final = "httpcore connection"
OURS: Final = "kraty-admin"
OURS_OVER_CLIENT: Final = f"{OURS}, own http_client"
BY_HAND_ROWS: Final = " by hand"
BY_HAND_ASYNC: Final = "httpx by hand, async"
OURS_ASYNC: Final = "kraty-admin, async"

THREADS: Final = (1, 4, 16, 64)
TASKS: Final = (1, 10, 100, 1000)
TARGETS: Final = """
### Targets

| ratio | measured | target | check fails above | |
| --- | ---: | ---: | ---: | --- |"""
SDKS: Final = ("stripe", "openai", "svix")

Results = Mapping[str, Taken | str]
Growth = dict[int, dict[str, float]]


@attrs.frozen
class Target:
    """A figure, its target, and the value above which it is a regression."""

    what: str
    measured: float
    at_most: float
    guard: float
    """`--check` fails above this: near what is reached, with room for a noisy machine."""

    def __str__(self) -> str:
        verdict = "met" if self.measured <= self.at_most else "**missed**"
        figures = f"{self.measured:.2f} | {self.at_most:.2f} | {self.guard:.2f}"
        return f"| {self.what} | {figures} | {verdict} |"


def compete(url: str, names: Sequence[str], rounds: int, calls: int, in_flight: int = 1) -> Results:
    """Race these contenders against each other."""
    with ExitStack() as stack:
        contenders = [stack.enter_context(Contender(name, url, in_flight)) for name in names]
        return race(contenders, rounds=rounds, calls=calls)


def cpu(results: Results, name: str) -> float:
    """Return microseconds per call; not a number if the contender could not run."""
    taken = results[name]
    return float("nan") if isinstance(taken, str) else taken.cpu


def against(results: Results, ours: str, theirs: str) -> float:
    """Return how much more processor time the one takes than the other."""
    one, other = results[ours], results[theirs]
    if isinstance(one, str) or isinstance(other, str):
        return float("nan")
    return ratio(one.rounds, other.rounds)


def table(title: str, results: Results, first: str) -> str:
    """Return a Markdown table."""
    lines = [f"### {title}", "", "| | CPU per call | spread | clock | of " + first + " |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for name, taken in results.items():
        if isinstance(taken, str):
            lines.append(f"| {name} | {taken} | | | |")
            continue
        lines.append(
            f"| {name} | {taken.cpu:.0f} µs | ±{taken.spread / 2:.0%} |"
            f" {taken.wall:.0f} µs | {against(results, name, first):.2f} |"
        )
    return "\n".join(lines)


def growth_table(steps: Growth) -> str:
    """Return a Markdown table of how a cost grows."""
    columns = list(next(iter(steps.values())))
    lines = [f"| in flight | {' | '.join(columns)} |", "| ---: |" + " ---: |" * len(columns)]
    for step, figures in steps.items():
        lines.append(f"| {step:,} | {' | '.join(f'{each:,.0f}' for each in figures.values())} |")
    return "\n".join(lines)


def growth(url: str, what: str, names: Sequence[str], steps: Sequence[int]) -> dict[str, Growth]:
    """Return how the cost of these contenders grows with the calls in flight."""
    found: dict[str, Growth] = {f"{what}, {name}": {} for name in names}
    for in_flight in steps:
        for name, taken in compete(url, names, 7, max(200, 2 * in_flight), in_flight).items():
            if isinstance(taken, Taken):
                figures = {"cpu": taken.cpu, "per second": 1e6 / taken.wall}
                found[f"{what}, {name}"][in_flight] = figures
    return found


def growth_by_rows(url: str) -> dict[str, Growth]:
    """Return how the cost of a batch grows with its rows, by hand and through the SDK."""
    names = {
        name: {count: f"{count:,} rows{suffix}" for count in ROWS}
        for name, suffix in ((BY_HAND, BY_HAND_ROWS), (OURS, f", {OURS}"))
    }
    results = compete(
        url, [each for names_of in names.values() for each in names_of.values()], 5, 40
    )
    return {
        f"rows, {name}": {count: {"cpu": cpu(results, each)} for count, each in names_of.items()}
        for name, names_of in names.items()
    }


def targets(
    races: Mapping[str, Results], imports: Mapping[str, Sequence[float]]
) -> Iterator[Target]:
    """Yield each figure with its target."""
    sync, one, fifty, batch = races.values()
    raw = local_costs.export_bytes()
    load = partial(json.loads, raw)
    yield Target("credit, of httpx by hand", against(sync, OURS, BY_HAND), 0.60, 0.65)
    yield Target("credit, of the httpx transport", against(sync, OURS, FLOOR), 1.20, 1.20)
    yield Target("credit, of a bare httpcore connection", against(sync, OURS, BARE), 1.45, 1.50)
    for how_many, results, at_most, guard in (("1", one, 0.40, 0.55), ("50", fifty, 0.20, 0.30)):
        measured = against(results, OURS_ASYNC, BY_HAND_ASYNC)
        what = f"async credit, {how_many} in flight, of httpx by hand"
        yield Target(what, measured, at_most, guard)
    for module, at_most, guard in (("httpx", 1.12, 1.25), *((each, 1.0, 1.0) for each in SDKS)):
        if module in imports:
            measured = ratio(imports["kraty_admin"], imports[module])
            yield Target(f"import, of {module}", measured, at_most, guard)
    export = local_costs.compare(partial(local_costs.typed_export, raw), load)
    yield Target("export of 5 x 1,000 rows, of json.loads", export, 1.05, 1.15)
    if sys.version_info >= (3, 11):
        dates = local_costs.compare(partial(local_costs.typed_dates, raw), load)
        yield Target("the same and a date of each row, of json.loads", dates, 3.0, 3.5)
    rows = against(batch, f"1,000 rows, {OURS}", f"1,000 rows{BY_HAND_ROWS}")
    yield Target("batch of 1,000 rows, of json.dumps and httpx by hand", rows, 1.10, 1.30)
    for name, measured in local_costs.verifying().items():
        at_most, guard = (1.6, 1.8) if name == "hmac.digest" else (1.0, 1.0)
        yield Target(f"verify_webhook of 1 KB, of {name}", measured, at_most, guard)
    ours, by_hand = sync[OURS], sync[BY_HAND]
    assert isinstance(ours, Taken)
    assert isinstance(by_hand, Taken)
    memory = (ours.idle_kb - by_hand.idle_kb) / 1024
    yield Target("memory of an idle client without TLS, MiB more than by hand", memory, 0.75, 1.0)
    memory = local_costs.idle_client()
    yield Target("memory of an idle client with TLS, MiB more than httpx.Client", memory, 1.7, 2.2)
    each = local_costs.further_client()
    yield Target("memory of each further client, MiB", each, 0.02, 0.03)
    files = ours.open_files - by_hand.open_files
    yield Target("open files after all calls, more than httpx by hand", files, 0.0, 0.0)


def main() -> int:
    """Measure everything; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--rounds", type=int, default=25, help="default 25")
    parser.add_argument("--calls", type=int, default=100, help="calls per round; default 100")
    parser.add_argument("--out", type=Path, help="write bench.json and performance.svg there")
    parser.add_argument(
        "--check", action="store_true", help="only the figures to keep; fail if one was lost"
    )
    options = parser.parse_args()
    rounds, calls = options.rounds, options.calls
    others = () if options.check else tuple(OTHERS)
    own = (BY_HAND, FLOOR, BARE, OURS, *(() if options.check else (OURS_OVER_CLIENT,)))
    grown: dict[str, Growth] = {}
    write_bytecode()
    with responder() as url:
        races = {
            "One call at a time": compete(url, [*own, *others], rounds, calls),
            "asyncio, one call at a time": compete(url, [BY_HAND_ASYNC, OURS_ASYNC], rounds, calls),
            "asyncio, 50 calls in flight": compete(
                url, [BY_HAND_ASYNC, OURS_ASYNC], rounds, 4 * calls, 50
            ),
            "A batch of 1,000 rows": compete(
                url,
                [f"1,000 rows{BY_HAND_ROWS}", f"1,000 rows, {OURS}"],
                2 * rounds,
                max(10, calls // 4),
            ),
        }
        if not options.check:
            grown |= growth(url, "threads", (BY_HAND, OURS), THREADS)
            grown |= growth(url, "tasks", (BY_HAND_ASYNC, OURS_ASYNC), TASKS)
            grown |= growth_by_rows(url)
    for title, results in races.items():
        print(table(title, results, next(iter(results))), end="\n\n")
    modules = ("httpx", "kraty_admin", *(() if options.check else SDKS))
    imports = local_costs.import_times(modules, rounds)
    print("### Imports\n\n| | CPU |\n| --- | ---: |")
    for module, milliseconds in imports.items():
        print(f"| {module} | {median(milliseconds):.0f} ms |")
    print(TARGETS)
    measured = list(targets(races, imports))
    if not options.check:
        measured.append(Target("`make regen`, seconds", local_costs.regenerating(), 10, 10))
    for target in measured:
        print(target)
    for title, each in grown.items():
        print(f"\n### {title}\n\n" + growth_table(each))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        figures = {
            "races": {
                title: {n: t if isinstance(t, str) else attrs.asdict(t) for n, t in each.items()}
                for title, each in races.items()
            },
            "imports": imports,
            "targets": [attrs.asdict(target) for target in measured],
            "growth": grown,
        }
        (options.out / "bench.json").write_text(json.dumps(figures, indent=2) + "\n")
        (options.out / "performance.svg").write_text(bars(races["One call at a time"]))
    lost = [target for target in measured if not target.measured <= target.guard]
    for target in lost if options.check else ():
        print(f"lost: {target.what} is {target.measured:.2f}, above {target.guard:.2f}")
    return 1 if options.check and lost else 0


if __name__ == "__main__":
    sys.exit(main())
