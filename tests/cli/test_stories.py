"""Five stories on a terminal of 100 columns: `golden/stories.txt` is what a person has read.

After an intended change, run `python -m cli.test_stories` in `tests/`, and read the file again.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import tempfile
import termios
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from kraty_admin import KratyAdmin
from kraty_admin.emulator import Emulator, Fault

from .forks import Forks, read_all, read_until
from .test_screens import GOLDEN
from .testkit import LIVE_KEY, TEST_KEY, WORLD, visible, write_key

MAPS: Final = "--map externalPlayerId=PlayFabId --map amount=Gold --map economyKey==gold"


class Desk:
    """A terminal at which a person runs commands."""

    def __init__(self, forks: Forks, kraty: Emulator, variables: Mapping[str, str]) -> None:
        self.kraty = kraty
        self.written: list[str] = []
        self._forks = forks
        self._variables = variables

    def run(self, line: str, *, typed: str = "") -> str:
        """Run a command, answer its question, and return what the terminal shows."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self._forks.start(shlex.split(line), [theirs] * 3, self._variables)
        said = b""
        if typed:
            said = read_until(ours, b"[y/N] ")
            os.write(ours, f"{typed}\n".encode())
        said += read_all(ours)
        shown = "\n".join(visible(said.decode()))
        status = self._forks.wait()
        self.written.append(f"$ kraty-admin {line}\n{shown}\nexit status {status}\n")
        return shown


def credit(desk: Desk) -> None:
    """A credit, its repeat, and a mistake with its key"""
    desk.run("wallet credit player_42 gold 500 --reason 'ticket 7' --idempotency-key ticket_7")
    desk.run("wallet credit player_42 gold 500 --reason 'ticket 7' --idempotency-key ticket_7")
    desk.run("wallet credit player_42 gold 600 --idempotency-key ticket_7")


def lost_answer(desk: Desk) -> None:
    """A lost answer, and the command that the error has"""
    desk.kraty.faults.add(Fault("drop"), operation="wallet.credit", times=None)
    shown = desk.run('--deadline 0.5 wallet credit player_42 gold 20 --reason "it\'s late"')
    desk.kraty.faults.clear()
    (again,) = re.findall(r"(?m)^  kraty-admin (.+)$", shown)
    desk.run(again)


def failed_import(desk: Desk) -> None:
    """An import that stops, its resume, and the import of the row that failed"""
    rows = [f"p{number},{number}" for number in range(1, 31)]
    rows[6] = "p7,many"
    Path("users.csv").write_text("\n".join(["PlayFabId,Gold", *rows]) + "\n")
    desk.run(f"migrate wallet users.csv {MAPS} --dry-run")
    late = {"Retry-After": "90"}  # so that it is not retried
    failing = Fault("status", status=503, code="internal_error", headers=late)
    desk.kraty.faults.add(failing, operation="migrate.wallet", skip=1, times=None)
    options = "--chunk-size 10 --in-flight 1 --patience 0"
    desk.run(f"migrate wallet users.csv {MAPS} {options}")
    desk.kraty.faults.clear()
    desk.run(f"migrate wallet users.csv {MAPS} {options} --resume")
    failed = Path("users.csv.wallet.failures.jsonl")
    failed.write_text(failed.read_text().replace('"many"', "7"))
    desk.run(f"migrate wallet {failed} {MAPS}")


def support(desk: Desk) -> None:
    """A player as support sees them, and one who does not exist"""
    desk.run("players get player_42")
    desk.run("players get player_42 --fields wallet")
    desk.run("players get player_421")


def live_debit(desk: Desk) -> None:
    """A debit with a live profile, which asks"""
    Path("kraty-admin").mkdir()
    key, url = write_key(LIVE_KEY).absolute(), desk.kraty.base_url
    Path("kraty-admin/config.toml").write_text(
        f'[profiles.live]\nkey_file = "{key}"\nbase_url = "{url}"\n'
    )
    with KratyAdmin(api_key=LIVE_KEY, base_url=url) as client:
        client.wallet.credit("player_42", "gold", amount=900)
    debit = "--profile live wallet debit player_42 gold 100 --idempotency-key refund_7"
    desk.run(debit, typed="n")
    desk.run(debit, typed="y")


STORIES: Final = (credit, lost_answer, failed_import, support, live_debit)

CHANGING: Final = {
    r"127\.0\.0\.1:\d+": "127.0.0.1:4010",
    # A slow machine may reach the deadline in the second attempt.
    r"no answer from (\S+): .+": r"no answer from \1: RemoteProtocolError: Server disconnected",
    r"\d+ attempts?": "2 attempts",
    r"req_[0-9a-f]{32}": "req_1",
    r"[0-9a-f]{64}": "0f1e2d",
    r"[0-9a-f]{8}-[0-9a-f-]{27}": "1b9d6bcd",
    r"--first-tried-at \S+": "--first-tried-at 2026-06-08T12:00:00Z",
    r"in \d+\.\d s \([\d,]+ rows a second\)": "in 0.1 s (300 rows a second)",
}
"""What differs from run to run, and what stands for it."""


def stories(forks: Forks) -> str:
    """Return the transcripts of all stories."""
    with (
        Emulator(world=WORLD, seed=7) as kraty,
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.chdir(folder)
        desk = Desk(
            forks,
            kraty,
            {
                "KRATY_BASE_URL": kraty.base_url,
                "KRATY_SERVER_KEY": TEST_KEY,
                "TERM": "xterm",
                "TZ": "CET-1CEST,M3.5.0,M10.5.0/3",
                "XDG_CACHE_HOME": folder,
                "XDG_CONFIG_HOME": folder,
            },
        )
        for story in STORIES:
            desk.written.append(f"== {story.__doc__}\n")
            story(desk)
    text = "\n".join(desk.written)
    for changing, steady in CHANGING.items():
        text = re.sub(changing, steady, text)
    return text


def test_stories(forks: Forks) -> None:
    """The transcripts equal the file that a person has read."""
    assert (GOLDEN / "stories.txt").read_text(encoding="utf-8") == stories(forks)


if __name__ == "__main__":
    with closing(Forks()) as started:
        (GOLDEN / "stories.txt").write_text(stories(started), encoding="utf-8")
