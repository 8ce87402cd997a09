"""The script debits each chargeback once: on several days, killed, and too late."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from kraty_admin.emulator import Emulator, Fault

SCRIPT = Path(__file__).with_name("take_back.py")
ROWS = ["cb_1,player_1,gold,60", "cb_2,player_2,gold,40"]
TAKEN = [("player_1", -60), ("player_2", -40)]


@pytest.fixture
def emulator(kraty_emulator: Emulator) -> Emulator:
    """Return a local Kraty whose players have 100 gold each."""
    with kraty_emulator.client() as kraty:
        for player in ("player_1", "player_2"):
            kraty.wallet.credit(player, "gold", amount=100)
    return kraty_emulator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, *ROWS)
    return tmp_path


def write(folder: Path, *rows: str) -> None:
    (folder / "file.csv").write_text("\n".join(["id,player,currency,amount", *rows]))


def command(folder: Path) -> list[str]:
    return [
        *(sys.executable, str(SCRIPT), str(folder / "file.csv")),
        *("--database", str(folder / "chargebacks.sqlite3")),
    ]


def run(folder: Path) -> tuple[int, str]:
    done = subprocess.run(command(folder), capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.returncode, done.stdout


def taken(emulator: Emulator) -> list[tuple[str, int]]:
    return [(each.external_player_id, each.delta) for each in emulator.ledger if each.delta < 0]


def test_the_same_file_on_any_day(emulator: Emulator, folder: Path) -> None:
    """Each chargeback is debited once, though the file comes again at once and after 25 hours."""
    assert (0, "done: 2\n") == run(folder)
    assert (0, "done: 2\n") == run(folder)
    emulator.clock.advance(timedelta(hours=25))
    write(folder, *ROWS, "cb_3,player_1,gold,5")
    assert (0, "done: 3\n") == run(folder)
    assert [*TAKEN, ("player_1", -5)] == taken(emulator)


def test_killed_in_the_middle(emulator: Emulator, folder: Path) -> None:
    """If a run is killed after Kraty has taken the first, the next run takes only the second."""
    emulator.faults.add(Fault("delay", seconds=60), operation="wallet.debit")
    with subprocess.Popen(command(folder)) as process:
        ends_at = time.monotonic() + 30
        while not taken(emulator) and time.monotonic() < ends_at:
            time.sleep(0.01)
        assert process.poll() is None
        process.kill()
    assert TAKEN[:1] == taken(emulator)
    assert (0, "done: 2\n") == run(folder)
    assert TAKEN == taken(emulator)


def test_rejected_after_a_lost_answer(emulator: Emulator, folder: Path) -> None:
    """If a proxy rejects the repeat of a debit that has taken effect, the debit stays open."""
    write(folder, ROWS[0])
    faults = [Fault("drop"), Fault("status", status=400, html=True, when="before")]
    emulator.faults.add(*faults, operation="wallet.debit")
    assert (75, "open: 1\n") == run(folder)
    assert (0, "done: 1\n") == run(folder)
    assert TAKEN[:1] == taken(emulator)


def test_no_answer_for_a_day(emulator: Emulator, folder: Path) -> None:
    """A debit in doubt for more than 23 hours is not sent again, and a person has to decide."""
    write(folder, ROWS[0])
    emulator.faults.add(Fault("drop"), operation="wallet.debit", times=None)
    status, output = run(folder)
    assert (75, "open: 1\n") == (status, output)
    emulator.faults.clear()
    emulator.clock.advance(timedelta(hours=25))
    with closing(sqlite3.connect(folder / "chargebacks.sqlite3")) as database, database:
        a_day_ago = datetime.now(timezone.utc) - timedelta(hours=25)
        database.execute("UPDATE chargebacks SET first_tried_at = ?", (a_day_ago.isoformat(),))
    before = len(emulator.requests)
    status, output = run(folder)
    assert 1 == status
    assert "unknown: 1" in output
    assert before == len(emulator.requests)
    assert TAKEN[:1] == taken(emulator)


def test_what_a_person_has_to_look_at(emulator: Emulator, folder: Path) -> None:
    """A chargeback above the balance, or with a known id and another amount, takes nothing."""
    assert 0 == run(folder)[0]
    write(folder, "cb_1,player_1,gold,61", "cb_9,player_2,gold,1000", ROWS[1])
    status, output = run(folder)
    assert 1 == status
    assert "conflict: 1\ndone: 1\nrefused: 1\n" in output
    assert TAKEN == taken(emulator)


def test_a_wrong_key(emulator: Emulator, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with an unknown key stops, and a run with the right key finishes the file."""
    with monkeypatch.context() as patch:
        patch.setenv("KRATY_SERVER_KEY", "wrong.key")
        done = subprocess.run(command(folder), capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert "KratyServerError" in done.stderr
    assert (0, "done: 2\n") == run(folder)
    assert TAKEN == taken(emulator)
