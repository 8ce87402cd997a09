"""Record docs/terminal.svg: `make recording`. Each command is really run, on a terminal.

The local Kraty has a seed and a clock that stands still, so the same commands print the same.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from xml.sax.saxutils import escape

from kraty_admin.emulator import Emulator

ROOT: Final = Path(__file__).parent.parent

COMMANDS: Final = (
    "kraty-admin wallet credit player_42 gold 500 --idempotency-key receipt_1",
    "kraty-admin emulator faults drop --operation wallet.credit",
    "kraty-admin wallet credit player_42 gold 500 --idempotency-key receipt_2",
    "kraty-admin emulator requests",
    "kraty-admin wallet credit player_42 gold 700 --idempotency-key receipt_2",
)

WIDTH: Final = 92
"""Characters of a line."""

CHARACTER: Final = 7.83
"""How wide one is, in pixels; the lines are stretched or squeezed to it."""


def record(command: str, environment: dict[str, str]) -> list[str]:
    """Run a command on a terminal, and return the lines that it shows."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "kraty_admin", *command.split()[1:]]
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd="/"
    ):
        os.close(theirs)
        output = b""
        try:
            while piece := os.read(ours, 65536):
                output += piece
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(ours)
    lines = output.decode().replace("\r\n", "\n").rstrip().split("\n")
    return [line[at : at + WIDTH] for line in lines for at in range(0, max(len(line), 1), WIDTH)]


def drawn(screens: list[tuple[str, list[str]]]) -> str:
    """Return commands and their output as an SVG."""
    lines: list[tuple[str, str]] = []
    for command, output in screens:
        lines += [(f"$ {command}", "c"), *((line, "o") for line in output), ("", "o")]
    width, height = round(WIDTH * CHARACTER) + 40, 19 * len(lines) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" font-family="ui-monospace, monospace" font-size="13">',
        "<title>A terminal: a credit, one whose answer is lost, and a conflict</title>",
        "<style>text{fill:#d5dde5;white-space:pre}.c{fill:#8fd6a5}</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#17202a"/>',
    ]
    for number, (text, kind) in enumerate(lines):
        if text:
            parts.append(
                f'<text class="{kind}" x="20" y="{31 + 19 * number}" xml:space="preserve"'
                f' textLength="{round(len(text) * CHARACTER)}">{escape(text)}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Run the commands against a local Kraty, and write the picture."""
    with Emulator(seed=7) as kraty, TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "KRATY_BASE_URL": kraty.base_url,
            "KRATY_SERVER_KEY": kraty.api_key,
            "XDG_CACHE_HOME": home,
            "COLUMNS": str(WIDTH),
            "NO_COLOR": "1",
            "TERM": "xterm",
        }
        screens = [(command, record(command, environment)) for command in COMMANDS]
    (ROOT / "docs" / "terminal.svg").write_text(drawn(screens), encoding="utf-8")


if __name__ == "__main__":
    main()
