"""Write the drawings of docs/: `make pictures`. A test compares them with what this writes.

They are plain SVG, with a light background, so that they show in a dark page, in a repository's
pages and without a network alike.
"""

from __future__ import annotations

import re
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
    drawing = Drawing(760, 384, "The states of an intent in the outbox")
    drawing.text(50, 74, "recorded", soft=True)
    drawing.line((50, 82), (50, 104), (100, 104))
    drawing.box(100, 82, 130, 44, "pending", "waits")
    drawing.box(370, 82, 130, 44, "sending", "a worker has it")
    drawing.box(590, 82, 150, 44, "done", "it took effect", fill="good")
    drawing.box(590, 16, 150, 44, "refused", "Kraty rejected it", fill="bad")
    drawing.box(370, 220, 130, 44, "unknown", "a person decides", fill="ask")
    drawing.box(370, 324, 130, 44, "abandoned", "not sent", fill="bad")
    drawing.line((230, 94), (370, 94))
    drawing.text(300, 88, "claimed", soft=True)
    drawing.line((370, 116), (230, 116))
    drawing.text(300, 134, "no clear answer", soft=True)
    drawing.line((500, 108), (590, 108))
    drawing.line((500, 94), (545, 94), (545, 48), (590, 48))
    drawing.line((590, 28), (165, 28), (165, 82))
    drawing.text(375, 22, "retry", soft=True)
    drawing.line((435, 126), (435, 220))
    drawing.text(443, 166, "the worker was lost,", at="start", soft=True)
    drawing.text(443, 184, "and the key is too old", at="start", soft=True)
    drawing.line((190, 126), (190, 234), (370, 234))
    drawing.text(198, 184, "the key is too old", at="start", soft=True)
    drawing.line((370, 252), (150, 252), (150, 126))
    drawing.text(255, 270, "resolve --send-again", soft=True)
    drawing.line((500, 242), (665, 242), (665, 126))
    drawing.text(580, 260, "resolve --applied", soft=True)
    drawing.line((435, 264), (435, 324))
    drawing.text(443, 300, "resolve --abandon", at="start", soft=True)
    return drawing.svg()


def import_steps() -> str:
    """Draw an import, and what a kill at each of its steps does."""
    drawing = Drawing(760, 444, "An import, and what a kill at each step does")
    drawing.text(130, 28, "Steps of each chunk of rows", bold=True)
    drawing.text(270, 28, "If the import is killed here, and resumed", at="start", bold=True)
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
        y = 44 + 62 * number
        drawing.box(30, y, 200, 44, title, rest, fill=fill)
        drawing.text(270, y + 27, effect, at="start")
        if number:
            drawing.line((130, y - 18), (130, y))
    drawing.text(
        30,
        430,
        "Resume within 23 hours: later, Kraty may have forgotten row keys.",
        at="start",
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
    height = 56 * len(names) + 40
    drawing = Drawing(700, height, "The packages, and which may import which")
    for number, layer in enumerate(names):
        y = 16 + 56 * number
        parts = [part.strip().removeprefix("kraty_admin.") for part in layer.split("|")]
        width = (620 - 12 * (len(parts) - 1)) // len(parts)
        for place, part in enumerate(parts):
            drawing.box(20 + place * (width + 12), y, width, 44, part, WHAT[part])
    drawing.line((670, 20), (670, height - 46))
    drawing.text(
        20,
        height - 10,
        "A package may import what is below it. All but the first and the last are in kraty_admin.",
        at="start",
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
