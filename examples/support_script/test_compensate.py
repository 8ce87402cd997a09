"""The script pays each ticket once: repeated, with other contents, and killed."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from kraty_admin.emulator import Emulator, Fault

COMMAND = [
    sys.executable,
    str(Path(__file__).with_name("compensate.py")),
    "TICKET-1",
    "player_42",
]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)


def paid(emulator: Emulator) -> list[tuple[str, int]]:
    return [(entry.key, entry.delta) for entry in emulator.ledger]


def test_a_ticket_pays_once(kraty_emulator: Emulator) -> None:
    """The same command, run again a week later, pays nothing."""
    first = run("--gold", "500", "--item", "starter_chest=2")
    kraty_emulator.clock.advance(timedelta(days=7))
    second = run("--gold", "500", "--item", "starter_chest=2")
    assert (0, 0) == (first.returncode, second.returncode), first.stderr + second.stderr
    assert "created before" not in first.stdout
    assert "created before" in second.stdout
    assert [("gold", 500), ("starter_chest", 2)] == sorted(paid(kraty_emulator))


def test_a_ticket_with_other_contents_is_refused(kraty_emulator: Emulator) -> None:
    """A ticket that was paid exits with 1 for another amount, and pays nothing."""
    run("--gold", "500")
    other = run("--gold", "700")
    assert 1 == other.returncode
    assert "paid before, with other contents" in other.stderr
    assert [("gold", 500)] == paid(kraty_emulator)


def test_nothing_to_pay(kraty_emulator: Emulator) -> None:
    """A command without gold or items sends nothing."""
    assert 2 == run().returncode
    assert not kraty_emulator.requests


def test_killed_before_the_answer(kraty_emulator: Emulator) -> None:
    """If the script is killed after Kraty has paid, the same command does not pay again."""
    kraty_emulator.faults.add(Fault("delay", seconds=60), operation="grants.create")
    with subprocess.Popen([*COMMAND, "--gold", "500"]) as script:
        ends_at = time.monotonic() + 30
        while not kraty_emulator.ledger and time.monotonic() < ends_at:
            time.sleep(0.01)
        assert script.poll() is None
        script.kill()
    again = run("--gold", "500")
    assert 0 == again.returncode, again.stderr
    assert "created before" in again.stdout
    assert [("gold", 500)] == paid(kraty_emulator)
