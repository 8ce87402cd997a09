"""Draw the chart for the docs, as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

from measure import Taken

__all__ = ["bars"]

_ROW: Final = 26
# Narrow enough that its words can be read on a phone.
_LABELS: Final = 215
_LONGEST: Final = 210


def bars(results: Mapping[str, Taken | str]) -> str:
    """Draw a bar for each contender: microseconds of processor time per call."""
    ran = {name: taken.cpu for name, taken in results.items() if isinstance(taken, Taken)}
    scale = _LONGEST / max(ran.values())
    width, height = _LABELS + _LONGEST + 40, _ROW * (len(ran) + 1)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        '<text x="8" y="17">Processor time per call, in µs; shorter is better</text>',
    ]
    for row, (name, cpu) in enumerate(ran.items(), start=1):
        top, length = row * _ROW, cpu * scale
        colour = "#1f6fb4" if name.startswith("kraty-admin") else "#9a9a9a"
        lines += [
            f'<text x="{_LABELS - 8}" y="{top + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABELS}" y="{top + 3}" width="{length:.0f}" height="18" fill="{colour}"/>',
            f'<text x="{_LABELS + length + 6:.0f}" y="{top + 16}">{cpu:.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
