"""Write the drawings of docs/: `make pictures`. A test compares them with what this writes.

They are plain SVG, with a light background, so that they show in a dark page, in a repository's
pages and without a network alike. None is wider than 480 pixels, so that a phone shows it whole and
its words can be read.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

ROOT: Final = Path(__file__).parent.parent
INK: Final = "#1f2933"
SOFT: Final = "#667788"
FILL: Final = {"plain": "#eef2f7", "good": "#dcf3e2", "bad": "#fbe1de", "ask": "#fdf0cd"}


class Drawing:
    """An SVG in the making."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}" font-family="system-ui, sans-serif"'
            ' font-size="14">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8"'
            f' markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="{INK}"/></marker>'
            "</defs>",
            f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>',
        ]

    def text(
        self,
        x: int,
        y: int,
        text: str,
        *,
        at: str = "middle",
        soft: bool = False,
        bold: bool = False,
    ) -> None:
        """Write a line of text; `at` is the part of it that is at `x`."""
        weight = ' font-weight="600"' if bold else ""
        self._lines.append(
            f'<text x="{x}" y="{y}" text-anchor="{at}" fill="{SOFT if soft else INK}"{weight}>'
            f"{escape(text)}</text>"
        )

    def lines(self, x: int, y: int, *lines: str, at: str = "start", soft: bool = False) -> None:
        """Write lines of text, the middle of them at `y`."""
        top = y + 5 - 9 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x, top + 18 * number, line, at=at, soft=soft)

    def box(
        self, x: int, y: int, width: int, height: int, *lines: str, fill: str = "plain"
    ) -> None:
        """Draw a box with lines of text in it, the first one bold."""
        self._lines.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{FILL[fill]}"'
            f' stroke="{INK}"/>'
        )
        top = y + height // 2 + 5 - 9 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + width // 2, top + 18 * number, line, bold=number == 0, soft=number > 0)

    def line(self, *points: tuple[int, int], tip: bool = True, dashed: bool = False) -> None:
        """Draw a line through points, with an arrow's tip at its end."""
        path = " ".join(f"{'ML'[number > 0]}{x} {y}" for number, (x, y) in enumerate(points))
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        end = ' marker-end="url(#tip)"' if tip else ""
        self._lines.append(f'<path d="{path}" fill="none" stroke="{INK}"{dash}{end}/>')

    def cross(self, x: int, y: int) -> None:
        """Draw a red cross."""
        self._lines.append(
            f'<path d="M{x - 7} {y - 7}l14 14M{x - 7} {y + 7}l14 -14" stroke="#c0392b"'
            ' stroke-width="3"/>'
        )

    def svg(self) -> str:
        """Return the drawing as SVG."""
        return "\n".join([*self._lines, "</svg>", ""])


def lost_answer() -> str:
    """Draw two attempts under one key: the first answer is lost, the second is a repeat."""
    drawing = Drawing(480, 330, "A lost answer, and the repeat under the same key")
    ours, theirs = 90, 380
    drawing.box(ours - 75, 12, 150, 36, "Your backend")
    drawing.box(theirs - 75, 12, 150, 36, "Kraty")
    for x in (ours, theirs):
        drawing.line((x, 48), (x, 320), tip=False, dashed=True)
    middle = (ours + theirs) // 2
    drawing.text(middle, 82, "credit 500 gold, key receipt_1")
    drawing.line((ours, 90), (theirs, 90))
    drawing.box(theirs - 80, 104, 160, 42, "balance 500", "remembers receipt_1", fill="good")
    drawing.line((theirs, 164), (middle + 10, 164), dashed=True)
    drawing.cross(middle, 164)
    drawing.text(middle, 190, "the answer is lost", soft=True)
    drawing.text(middle, 222, "credit 500 gold, key receipt_1")
    drawing.line((ours, 230), (theirs, 230))
    drawing.box(theirs - 80, 244, 160, 42, "balance 500", "knows receipt_1", fill="good")
    drawing.text((ours + theirs - 80) // 2, 296, "balance 500, unchanged")
    drawing.line((theirs, 304), (ours, 304))
    return drawing.svg()


def outbox_states() -> str:
    """Draw the life of an intent."""
    drawing = Drawing(420, 460, "The states of an intent in the outbox")
    drawing.text(175, 22, "recorded", soft=True)
    drawing.line((175, 28), (175, 48))
    drawing.box(110, 48, 130, 44, "pending", "waits")
    drawing.box(110, 162, 130, 44, "sending", "a worker has it")
    drawing.box(285, 162, 125, 44, "done", "it took effect", fill="good")
    drawing.box(285, 48, 125, 44, "refused", "Kraty rejected it", fill="bad")
    drawing.box(110, 292, 130, 44, "unknown", "a person decides", fill="ask")
    drawing.box(110, 402, 130, 44, "abandoned", "not sent", fill="bad")
    drawing.line((124, 92), (124, 162))
    drawing.lines(131, 127, "claimed", soft=True)
    drawing.line((190, 162), (190, 92))
    drawing.lines(197, 127, "no clear", "answer", soft=True)
    drawing.line((240, 184), (285, 184))
    drawing.line((262, 184), (262, 127), (347, 127), (347, 92))
    drawing.line((285, 70), (240, 70))
    drawing.text(262, 64, "retry", soft=True)
    drawing.line((190, 206), (190, 292))
    drawing.lines(198, 249, "the worker was lost,", "and the key is too old", soft=True)
    drawing.line((110, 78), (46, 78), (46, 304), (110, 304))
    drawing.lines(52, 234, "the key", "is too", "old", soft=True)
    drawing.line((110, 322), (24, 322), (24, 60), (110, 60))
    drawing.text(16, 356, "resolve --send-again", at="start", soft=True)
    drawing.line((240, 314), (380, 314), (380, 206))
    drawing.text(312, 332, "resolve --applied", soft=True)
    drawing.line((175, 336), (175, 402))
    drawing.lines(183, 376, "resolve --abandon", soft=True)
    return drawing.svg()


def import_steps() -> str:
    """Draw an import, and what a kill at each of its steps does."""
    drawing = Drawing(420, 502, "An import, and what a kill at each step does")
    for x, lines in (
        (100, ("Steps of each", "chunk of rows")),
        (302, ("If the import is killed here,", "and resumed")),
    ):
        for number, line in enumerate(lines):
            drawing.text(x, 26 + 18 * number, line, bold=True)
    steps = [
        (
            "read and map",
            "rows of the source",
            "The rows are read again. Nothing was sent.",
            "plain",
        ),
        (
            "record the chunk",
            "in the journal",
            "The chunk is sent, under the same row keys.",
            "plain",
        ),
        ("send it", "to Kraty", "It is in doubt, and sent again under the same row keys.", "ask"),
        (
            "apply the rows",
            "in Kraty",
            "The same: Kraty skips the rows that it has applied.",
            "ask",
        ),
        (
            "write failures",
            "to the file",
            "Its lines are removed from the file, and it is sent again.",
            "ask",
        ),
        (
            "record the outcome",
            "in the journal",
            "It is skipped if its outcome was recorded, or else sent again.",
            "good",
        ),
    ]
    for number, (title, rest, effect, fill) in enumerate(steps):
        y = 62 + 66 * number
        drawing.box(16, y, 168, 44, title, rest, fill=fill)
        drawing.lines(196, y + 22, *textwrap.wrap(effect, 30))
        if number:
            drawing.line((100, y - 22), (100, y))
    drawing.lines(
        16,
        474,
        "Resume within 23 hours:",
        "later, Kraty may have forgotten row keys.",
        soft=True,
    )
    return drawing.svg()


WHAT: Final = {
    "pytest_kraty_admin": "the fixtures",
    "cli": "the command line",
    "emulator": "a local Kraty",
    "inbox": "webhooks handled once",
    "contrib": "other libraries",
    "outbox": "calls that a database remembers",
    "bulk": "imports, as people import them",
    "_client": "the clients",
    "_settings": "options and environment",
    "_bulk": "the importer",
    "_transport": "all I/O of a call",
    "_call": "a call without I/O",
    "webhooks": "signatures",
    "errors": "what calls raise",
    "telemetry": "the hook",
    "models": "results",
    "params": "dict arguments",
    "kraty_server_api": "generated from the contract",
}
"""What each package is for, in the drawing of them."""


def packages() -> str:
    """Draw the layers of packages, from the rule that `make lint` checks."""
    rules = (ROOT / "pyproject.toml").read_text("utf-8")
    layers = re.search(r'type = "layers"\nlayers = \[\n(.*?)\]', rules, re.S)
    assert layers is not None
    names = [line.strip().strip('",') for line in layers[1].splitlines()]
    rows: list[tuple[list[str], int, list[list[str]]]] = []
    for layer in names:
        parts = [part.strip().removeprefix("kraty_admin.") for part in layer.split("|")]
        width = (356 - 8 * (len(parts) - 1)) // len(parts)
        rows.append((parts, width, [textwrap.wrap(WHAT[part], width // 8) for part in parts]))
    heights = [26 + 18 * max(map(len, words)) for _, _, words in rows]
    drawing = Drawing(
        420, sum(heights) + 12 * len(rows) + 66, "The packages, and which may import which"
    )
    y = 16
    for (parts, width, words), height in zip(rows, heights, strict=True):
        for place, (part, lines) in enumerate(zip(parts, words, strict=True)):
            drawing.box(16 + place * (width + 8), y, width, height, part, *lines)
        y += height + 12
    drawing.line((396, 20), (396, y - 16))
    drawing.lines(
        16,
        y + 24,
        "A package may import what is below it.",
        "All but the first and the last are in kraty_admin.",
        soft=True,
    )
    return drawing.svg()


PICTURES: Final[dict[str, Callable[[], str]]] = {
    "lost-answer.svg": lost_answer,
    "outbox-states.svg": outbox_states,
    "import-steps.svg": import_steps,
    "packages.svg": packages,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (ROOT / "docs" / name).write_text(draw(), encoding="utf-8")
