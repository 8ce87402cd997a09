"""Helpers for the tests of the command line: its keys, and how to start it as a process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from kraty_admin.emulator import DEFAULT_WORLD, ApiKey, World

TEST_KEY: Final = "krt_test_a1.canary-of-the-test-key"
LIVE_KEY: Final = "krt_live_a1.canary-of-the-live-key"
CLIENT_KEY: Final = "krt_client_a1.canary-of-the-client-key"
SECRET: Final = "whsec_canary-of-the-secret"

WORLD: Final = World(
    games=DEFAULT_WORLD.games,
    keys=[
        ApiKey(id="key_1", token=TEST_KEY, game_id="game_1"),
        ApiKey(id="key_2", token=LIVE_KEY, game_id="game_1", environment="live"),
        ApiKey(id="key_3", token=CLIENT_KEY, game_id="game_1", permission_set="client_sdk"),
    ],
)

RUN: Final = "import sys\nfrom kraty_admin.cli import main\nsys.exit(main())"
"""The command, for `python -c`."""

PATIENCE: Final = 30
"""Seconds after which a process that should be quick has failed."""


def write_key(key: str, name: str = "key") -> Path:
    """Write a file with a key, which only its owner can read."""
    file = Path(name)
    file.write_text(f"{key}\n")
    file.chmod(0o600)
    return file


def visible(written: str) -> list[str]:
    """Return the lines that a terminal shows after this was written to it."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|[\r\n]|[^\r\n\x1b]+", written):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part == "\x1b[1A":
            row -= 1
        elif not part.startswith("\x1b"):
            kept = lines[row].ljust(column)
            lines[row] = kept[:column] + part + kept[column + len(part) :]
            column += len(part)
    return "\n".join(line.rstrip() for line in lines).rstrip().splitlines()
