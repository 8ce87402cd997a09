"""Figures that a proof measures, and a table of them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

__all__ = ["Figure", "assert_kept", "table"]


@attrs.frozen
class Figure:
    """A measured value, and the value that is required."""

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
        """Whether the measured value is the required one."""
        if self.at_most is not None:
            return not isinstance(self.measured, str) and self.measured <= self.at_most
        return self.expected is None or self.measured == self.expected


def assert_kept(figures: Sequence[Figure]) -> None:
    """Fail unless every figure holds, and at least one has a required value."""
    assert all(figure.holds for figure in figures), table("figures", figures)
    required = [each for each in figures if (each.expected, each.at_most) != (None, None)]
    assert required, "no figure has a required value"


def table(title: str, figures: Sequence[Figure]) -> str:
    """Return a Markdown table: what was measured, what is required, and whether it holds."""
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
