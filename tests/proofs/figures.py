"""What a proof measures, and the table of it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

__all__ = ["Figure", "table"]


@attrs.frozen
class Figure:
    """One measured value, and what it has to be."""

    what: str
    """What was counted, for people."""
    measured: int | float | str
    """What came out."""
    expected: int | float | str | None = None
    """What it has to be, exactly; `None` for a figure that is only reported."""
    at_most: float | None = None
    """What it must not exceed."""

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        if self.at_most is not None:
            return not isinstance(self.measured, str) and self.measured <= self.at_most
        return self.expected is None or self.measured == self.expected


def table(title: str, figures: Sequence[Figure]) -> str:
    """A Markdown table: what was measured, what it had to be, and whether it was."""
    rows = [f"### {title}", "", "| figure | measured | required | |", "| --- | --- | --- | --- |"]
    for figure in figures:
        required = "" if figure.expected is None else _shown(figure.expected)
        if figure.at_most is not None:
            required = f"at most {_shown(figure.at_most)}"
        verdict = "" if not required else "holds" if figure.holds else "**FAILS**"
        rows.append(f"| {figure.what} | {_shown(figure.measured)} | {required} | {verdict} |")
    return "\n".join(rows)


def _shown(value: int | float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
