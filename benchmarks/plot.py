"""The figures as a picture, for the docs."""

# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# Its library is in the benchmark's environment, not in the one that is checked.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from measure import Taken


def plot(
    race: Mapping[str, Taken | str], grown: Mapping[str, dict[int, dict[str, float]]], path: Path
) -> None:
    """Bars of what a call costs, and lines of how that grows with threads, tasks and rows."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(12, 6), layout="constrained")
    bars = axes[0][0]
    ran = {name: taken for name, taken in race.items() if not isinstance(taken, str)}
    bars.barh(list(ran), [taken.cpu for taken in ran.values()], color=list(map(_colour, ran)))
    bars.invert_yaxis()
    bars.set_xlabel("µs of CPU per call")
    for panel, what, figure_of, label in (
        (axes[0][1], "threads", "cpu", "µs of CPU per call"),
        (axes[0][2], "tasks", "cpu", "µs of CPU per call"),
        (axes[1][0], "rows", "cpu", "µs of CPU per call"),
        (axes[1][1], "threads", "per second", "calls per second"),
        (axes[1][2], "tasks", "per second", "calls per second"),
    ):
        for title, steps in grown.items():
            kind, _, name = title.partition(", ")
            if kind == what:
                figures = [each[figure_of] for each in steps.values()]
                panel.plot(list(steps), figures, marker=".", label=name, color=_colour(name))
        panel.set_xscale("log")
        panel.set_ylim(bottom=0)
        panel.set_xlabel(what)
        panel.set_ylabel(label)
        panel.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})


def _colour(name: str) -> str:
    return "tab:blue" if "kraty" in name else "tab:gray"
