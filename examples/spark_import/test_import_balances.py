"""The import in Spark's local mode applies each row once: killed, and with a failed task."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from kraty_admin.emulator import Emulator, Fault

pytestmark = pytest.mark.skipif(
    shutil.which("java") is None, reason="Spark needs Java 17 or later, and there is no java"
)
ROWS = 40


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the command that imports four files of ten rows, with Spark on the loopback only."""
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--conf spark.ui.enabled=false pyspark-shell")
    for number in range(4):
        rows = [f"player_{number * 10 + row},{row + 1}" for row in range(10)]
        text = "\n".join(["player,gold", *rows])
        (tmp_path / f"balances-{number}.csv").write_text(text, encoding="utf-8")
    script = Path(__file__).with_name("import_balances.py")
    files = [str(tmp_path / f"balances-{number}.csv") for number in range(4)]
    return [sys.executable, str(script), *files, "--state", str(tmp_path / "state")]


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout


def assert_imported_once(emulator: Emulator) -> None:
    counts = Counter(entry.external_player_id for entry in emulator.ledger)
    assert {f"player_{number}": 1 for number in range(ROWS)} == counts
    assert {number % 10 + 1 for number in range(ROWS)} == {each.delta for each in emulator.ledger}
    assert 4 * sum(range(1, 11)) == sum(entry.delta for entry in emulator.ledger)


def test_killed_in_the_middle(kraty_emulator: Emulator, command: list[str]) -> None:
    """If the job is killed after a chunk, a second run imports the rest."""
    kraty_emulator.faults.add(Fault("delay", seconds=60), operation="migrate.wallet", times=4)
    with subprocess.Popen(command, start_new_session=True) as job:
        ends_at = time.monotonic() + 120
        while not kraty_emulator.ledger and time.monotonic() < ends_at:
            time.sleep(0.05)
        assert job.poll() is None
        os.killpg(job.pid, signal.SIGKILL)
    assert 0 < len(kraty_emulator.ledger) < ROWS
    kraty_emulator.faults.clear()
    assert "0 failed" in run(command)
    assert_imported_once(kraty_emulator)


def test_a_second_row_for_a_player(kraty_emulator: Emulator, command: list[str]) -> None:
    """A row that is a duplicate is not applied, is counted, and ends the program with status 1."""
    with Path(command[2]).open("a", encoding="utf-8") as file:
        file.write("\nplayer_0,500\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 1 == done.returncode, done.stderr
    assert "1 not applied" in done.stdout
    failures = Path(command[-1], "balances-0.failed.jsonl").read_text(encoding="utf-8")
    assert "player_0" in failures
    assert_imported_once(kraty_emulator)


def test_a_failed_task_runs_again(kraty_emulator: Emulator, command: list[str]) -> None:
    """If a task fails after its chunk was applied, Spark runs it again and doubles no row."""
    kraty_emulator.faults.add(Fault("status", status=401), operation="migrate.wallet")
    assert "30 rows applied, 10 applied before, 0 failed" in run(command)
    assert_imported_once(kraty_emulator)
