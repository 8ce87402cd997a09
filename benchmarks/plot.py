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
    """Bars of what a call costs, and lines of how that grows."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, (bars, lines) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    ran = {name: taken for name, taken in race.items() if not isinstance(taken, str)}
    colours = ["tab:blue" if "kraty" in name else "tab:gray" for name in ran]
    bars.barh(list(ran), [taken.cpu for taken in ran.values()], color=colours)
    bars.invert_yaxis()
    bars.set_xlabel("µs of CPU per call")
    for title, steps in grown.items():
        lines.plot(list(steps), [each["cpu"] for each in steps.values()], marker=".", label=title)
    lines.set_xscale("log")
    lines.set_yscale("log")
    lines.set_xlabel("in flight, or rows")
    lines.set_ylabel("µs of CPU per call")
    lines.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
