"""What a command says and exits with where a stream is closed, full, cut off or not UTF-8.

`golden/streams.txt` has the transcripts, which a person has read. After an intended change, run
`python -m cli.test_streams` in `tests/`, and read the file again.
"""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timezone
from typing import Final, Literal, NamedTuple

from kraty_admin import KratyAdmin
from kraty_admin.emulator import Emulator

from .forks import Forks, read_all
from .test_screens import GOLDEN
from .testkit import LIVE_KEY, WORLD

READ: Final = ["players", "get", "Zoë", "--limit", "1"]
ASKS: Final = ["wallet", "debit", "Zoë", "gold", "5"]
BODY: Final = ["request", "POST", "/players/p/unban", "--body", "@-", "--yes"]


def write(player: str) -> list[str]:
    """Return a command that changes something; each case has a player of its own."""
    return ["wallet", "credit", player, "gold", "5", "--yes", "--idempotency-key", f"to {player}"]


class Case(NamedTuple):
    """One run of a command."""

    title: str
    arguments: list[str]
    output: Literal["pipe", "closed", "full", "gone", "head", "terminal"] = "pipe"
    """What standard output is; with `terminal`, all streams are one."""
    has_input: bool = True
    """Whether standard input is open."""


CASES: Final = [
    Case("Standard input is closed: a read", READ, has_input=False),
    Case("Standard input is closed: a write", write("Zoë 1"), has_input=False),
    Case("Standard input is closed: a question", ASKS, has_input=False),
    Case("Standard input is closed: a body from it", BODY, has_input=False),
    Case("Standard output is closed: a read", READ, "closed"),
    Case("Standard output is closed: a write", write("Zoë 2"), "closed"),
    Case("Standard output is full: a read", READ, "full"),
    Case("Standard output is full: a write", write("Zoë 3"), "full"),
    Case("The reader has gone: a read", READ, "gone"),
    Case("The reader has gone: a write", write("Zoë 4"), "gone"),
    Case("| head -n 1: a read", READ, "head"),
    Case("| head -n 1: a write", write("Zoë 5"), "head"),
    Case("A terminal without UTF-8: a read", READ, "terminal"),
    Case("A terminal without UTF-8: a write", write("Zoë 6"), "terminal"),
]


def transcripts(forks: Forks) -> str:
    """Return what each case printed and exited with."""
    with Emulator(seed=7, world=WORLD) as kraty, tempfile.TemporaryDirectory() as cache:
        kraty.clock.set(datetime(2026, 6, 8, 12, tzinfo=timezone.utc))
        with KratyAdmin(api_key=LIVE_KEY, base_url=kraty.base_url) as client:
            client.wallet.credit("Zoë", "gold", amount=100)
        variables = {
            **os.environ,
            "KRATY_BASE_URL": kraty.base_url,
            "KRATY_SERVER_KEY": LIVE_KEY,
            "XDG_CACHE_HOME": cache,
            "LANG": "C",
            "PYTHONIOENCODING": "ascii",
            "NO_COLOR": "1",
            "COLUMNS": "100",
            "TERM": "xterm",
            "TZ": "UTC",
        }
        return "\n".join(
            f"== {case.title}\n$ kraty-admin {shlex.join(case.arguments)}\n"
            f"{run(forks, case, variables)}"
            for case in CASES
        )


def run(forks: Forks, case: Case, variables: Mapping[str, str]) -> str:
    """Return what a command printed, standard output first, and its exit status."""
    if case.output == "terminal":
        reader, terminal = pty.openpty()
        forks.start(case.arguments, [terminal] * 3, variables)
        said = read_all(reader)
    else:
        reader, writer = output_of(case)
        error_reader, errors = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY) if case.has_input else None
        forks.start(case.arguments, [nothing, writer, errors], variables)
        if case.output == "head":
            head = subprocess.run(
                ["head", "-n", "1"], stdin=reader, stdout=subprocess.PIPE, check=True
            )
            os.close(reader)
            said = head.stdout
        else:
            said = read_all(reader)
        said += read_all(error_reader)
    return f"{said.decode('ascii').replace(CRLF, LF)}exit status {forks.wait()}\n"


CRLF, LF = "\r\n", "\n"


def output_of(case: Case) -> tuple[int, int | None]:
    """Return our end of standard output, and that of the command; `None` for a closed one."""
    reader, writer = os.pipe()
    if case.output in ("closed", "full"):
        os.close(writer)
        return reader, None if case.output == "closed" else os.open("/dev/full", os.O_WRONLY)
    if case.output == "gone":
        os.close(reader)
        reader = os.open(os.devnull, os.O_RDONLY)
    return reader, writer


def test_transcripts(forks: Forks) -> None:
    """The transcripts equal the file that a person has read."""
    assert (GOLDEN / "streams.txt").read_text(encoding="utf-8") == transcripts(forks)


if __name__ == "__main__":
    with closing(Forks()) as started:
        (GOLDEN / "streams.txt").write_text(transcripts(started), encoding="utf-8")
