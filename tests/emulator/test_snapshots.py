"""Snapshots of the state, in memory and as a file."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from kraty_admin.emulator import Emulator, Fault


def test_a_snapshot_is_restored_as_often_as_needed() -> None:
    """A snapshot restores balances, keys and ledger, and clears faults, requests and the rate
    limit."""
    with Emulator() as kraty:
        client = kraty.client()
        client.wallet.credit("p", "gold", amount=5, idempotency_key="k")
        kraty.snapshot("rich")
        for _ in range(2):
            client.wallet.debit("p", "gold", amount=3)
            kraty.faults.add(Fault("drop"))
            kraty.requests_per_minute = 7
            kraty.restore("rich")
            assert (5, []) == (kraty.balance("p", "gold"), kraty.requests)
            assert ([], 600_000) == (kraty.faults.rules, kraty.requests_per_minute)
        assert not client.wallet.credit("p", "gold", amount=5, idempotency_key="k").applied
        assert [5] == [entry.delta for entry in kraty.ledger]


def test_a_snapshot_replaces_one_of_the_same_name() -> None:
    """A snapshot replaces an earlier one of the same name."""
    with Emulator() as kraty:
        for _ in range(2):
            kraty.client().wallet.credit("p", "gold", amount=5)
            kraty.snapshot("rich")
        kraty.reset()
        kraty.restore("rich")
        assert 10 == kraty.balance("p", "gold")


def test_a_reset_keeps_snapshots() -> None:
    """A snapshot can be restored after a reset, but not after `drop_snapshots`."""
    with Emulator() as kraty:
        kraty.client().wallet.credit("p", "gold", amount=5)
        kraty.snapshot("rich")
        kraty.reset()
        kraty.restore("rich")
        assert 5 == kraty.balance("p", "gold")
        with pytest.raises(ValueError, match="there is no snapshot 'poor'; there are: 'rich'"):
            kraty.restore("poor")
        kraty.drop_snapshots()
        with pytest.raises(ValueError, match="no snapshot 'rich'; there are: none"):
            kraty.restore("rich")


def test_clock_and_ids_belong_to_the_state() -> None:
    """After a restore, the same calls give the same ids and times as after the snapshot."""
    with Emulator(seed=7) as kraty:
        client = kraty.client()
        client.wallet.credit("p", "gold", amount=1)
        kraty.clock.advance(timedelta(hours=1))
        kraty.snapshot("later")
        first = client.players.get("p")
        kraty.clock.advance(timedelta(days=1))
        kraty.restore("later")
        again = client.players.get("p")
        assert (first, first.http.request_id) == (again, again.http.request_id)
        assert 1 == kraty.clock.now.hour


def test_a_running_clock_keeps_running() -> None:
    """A clock that runs ahead of the machine's is restored running, and as far ahead."""
    with Emulator() as kraty:
        kraty.clock.advance(3600)
        kraty.snapshot("ahead")
        kraty.clock.advance(3600)
        kraty.restore("ahead")
        assert (3600.0, None) == kraty.clock.setting


@pytest.mark.parametrize("database", [":memory:", "kraty.sqlite3"])
def test_a_state_is_saved_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """Another emulator continues from a saved file with the same keys, and does not change the
    file."""
    monkeypatch.chdir(tmp_path)
    saved = tmp_path / "state.kraty"
    with Emulator(seed=7) as kraty:
        kraty.client().wallet.credit("p", "gold", amount=5, idempotency_key="k")
        kraty.save(saved)
    before = saved.read_bytes()
    assert 0o600 == stat.S_IMODE(saved.stat().st_mode)
    with Emulator(seed=7, database=database) as kraty:
        kraty.client().wallet.credit("other", "gold", amount=5)
        kraty.load(saved)
        assert (5, 0) == (kraty.balance("p", "gold"), kraty.balance("other", "gold"))
        client = kraty.client()
        assert not client.wallet.credit("p", "gold", amount=5, idempotency_key="k").applied
        assert client.wallet.credit("q", "gold", amount=5).applied
    assert before == saved.read_bytes()
    assert ["state.kraty"] == [path.name for path in tmp_path.iterdir() if path.suffix == ".kraty"]
    if database != ":memory:":
        with Emulator(database=database) as kraty:
            assert 5 == kraty.balance("q", "gold")


def test_a_database_of_an_emulator_can_be_loaded(tmp_path: Path) -> None:
    """The `database` file of an emulator can be loaded as a state."""
    path = tmp_path / "kraty.sqlite3"
    with Emulator(database=path) as kraty:
        kraty.client().wallet.credit("p", "gold", amount=5)
    with Emulator() as kraty:
        kraty.load(path)
        assert 5 == kraty.balance("p", "gold")


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    """A file that is not a state is refused by name, and the present state stays."""
    text = tmp_path / "notes.txt"
    text.write_text("not a database" * 100)
    other = tmp_path / "other.sqlite3"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    with Emulator() as kraty:
        kraty.client().wallet.credit("p", "gold", amount=5)
        for path in (text, other):
            with pytest.raises(ValueError, match=path.name):
                kraty.load(path)
        with pytest.raises(FileNotFoundError):
            kraty.load(tmp_path / "missing")
        with pytest.raises(OSError, match="missing"):
            kraty.save(tmp_path / "missing" / "state.kraty")
        assert 5 == kraty.balance("p", "gold")


def test_a_state_that_cannot_be_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an OSError that names the file, and nothing unfinished is left."""
    folder, file = tmp_path / "folder", tmp_path / "state.kraty"
    folder.mkdir()
    real = sqlite3.connect

    def full(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*arguments, **options)
        if str(arguments[0]).endswith(".unfinished"):
            connection.execute("PRAGMA max_page_count = 2")
        return connection

    with Emulator() as kraty:
        with pytest.raises(OSError, match="folder"):
            kraty.save(folder)
        monkeypatch.setattr(sqlite3, "connect", full)
        with pytest.raises(OSError, match=r"state\.kraty: .*full"):
            kraty.save(file)
        monkeypatch.undo()
    assert [folder] == list(tmp_path.iterdir())


def test_snapshots_over_http() -> None:
    """Snapshots can be taken and restored over HTTP."""
    with Emulator() as kraty, httpx.Client(base_url=kraty.base_url, trust_env=False) as http:
        kraty.client().wallet.credit("p", "gold", amount=5)
        taken = http.post("/_emulator/snapshot", json={"name": "rich"})
        assert {"snapshots": ["rich"]} == taken.json()
        kraty.reset()
        assert 200 == http.post("/_emulator/restore", json={"name": "rich"}).status_code
        assert 5 == kraty.balance("p", "gold")
        assert 400 == http.post("/_emulator/restore", json={"name": "poor"}).status_code
