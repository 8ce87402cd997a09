"""The DAG pays each prize once in Airflow itself: retried, killed, and run again after a week."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from kraty_admin.emulator import Emulator, Fault

AIRFLOW = str(Path(sys.executable).with_name("airflow"))
DAY = "2026-01-05"
TWICE = "2026-01-06"
PAID = [("player_1", 100), ("player_2", 50)]


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return the environment of an Airflow with a database of its own and this DAG."""
    home = tmp_path_factory.mktemp("airflow")
    dags, prizes = home / "dags", home / "prizes"
    dags.mkdir()
    prizes.mkdir()
    shutil.copy(Path(__file__).with_name("pay_prizes.py"), dags)
    rows = "".join(f"spring_cup,{player},{gold}\n" for player, gold in PAID)
    for day, text in ((DAY, rows), (TWICE, rows + "spring_cup,player_1,100\n")):
        (prizes / f"{day}.csv").write_text(f"tournament,player,gold\n{text}", encoding="utf-8")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PRIZES_FOLDER": str(prizes),
    }
    subprocess.run([AIRFLOW, "db", "migrate"], env=environment, check=True, capture_output=True)
    return environment


def start(
    deployment: Mapping[str, str], emulator: Emulator, day: str = DAY
) -> subprocess.Popen[str]:
    """Start the DAG's run of the day; an earlier run is cleared, as the web page does."""
    return subprocess.Popen(
        [AIRFLOW, "dags", "test", "pay_prizes", day],
        env={
            **deployment,
            "KRATY_BASE_URL": emulator.base_url,
            "KRATY_SERVER_KEY": emulator.api_key,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(deployment: Mapping[str, str], emulator: Emulator) -> None:
    output, _ = (process := start(deployment, emulator)).communicate()
    assert 0 == process.returncode, output


def paid(emulator: Emulator) -> list[tuple[str, int]]:
    return sorted((entry.external_player_id, entry.delta) for entry in emulator.ledger)


def test_run_again_after_a_week(kraty_emulator: Emulator, deployment: Mapping[str, str]) -> None:
    """A run that is cleared a week later pays nothing, and its calls are answered as replays."""
    kraty_emulator.faults.add(Fault("drop"), operation="grants.create")
    run(deployment, kraty_emulator)
    assert PAID == paid(kraty_emulator)
    kraty_emulator.clock.advance(timedelta(days=7))
    run(deployment, kraty_emulator)
    assert PAID == paid(kraty_emulator)
    assert ["replayed"] * 2 == [request.effect for request in kraty_emulator.requests][-2:]


def test_two_prizes_under_one_key(kraty_emulator: Emulator, deployment: Mapping[str, str]) -> None:
    """A file with two prizes for one player and tournament is refused before anything is paid."""
    output, _ = start(deployment, kraty_emulator, TWICE).communicate()
    assert "two rows for one tournament and player" in output
    assert not kraty_emulator.ledger


def test_killed_in_the_middle(kraty_emulator: Emulator, deployment: Mapping[str, str]) -> None:
    """If a run is killed after Kraty has paid the first prize, the next run pays only the rest."""
    kraty_emulator.faults.add(Fault("delay", seconds=60), operation="grants.create")
    process = start(deployment, kraty_emulator)
    ends_at = time.monotonic() + 120
    while not kraty_emulator.ledger and time.monotonic() < ends_at:
        time.sleep(0.05)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert 1 == len(paid(kraty_emulator))
    run(deployment, kraty_emulator)
    assert PAID == paid(kraty_emulator)
