"""`import_partition`, which schedulers call for one file of many, and the blocks of
docs/imports.md."""

from __future__ import annotations

import json
import pickle
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from kraty_admin import KratyServerError, RetryConfig
from kraty_admin._bulk._rows import Kind
from kraty_admin._call._limiter import Limiter
from kraty_admin.bulk import ImportReport, ImportStoppedError, import_partition
from kraty_admin.emulator import Emulator, Fault

PROGRAMS = Path(__file__).parent / "programs"
PAGE = Path(__file__).parents[2] / "docs" / "imports.md"
NOT_HERE = "is installed for the proofs, but not where the wheel is tested"


@pytest.fixture
def kraty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Start an emulator whose key is in the environment, as on a worker."""
    with Emulator() as emulator:
        monkeypatch.setenv("KRATY_SERVER_KEY", emulator.api_key)
        monkeypatch.setenv("KRATY_BASE_URL", emulator.base_url)
        yield emulator


def balances(path: Path, rows: int = 25) -> Path:
    """Write a file of balances: player `p_0` has 1, `p_1` has 2, and so on."""
    lines = [f"p_{number},gold,{number + 1}" for number in range(rows)]
    path.write_text("\n".join(["externalPlayerId,economyKey,amount", *lines, ""]))
    return path


def posted(kraty: Emulator) -> list[tuple[str, int]]:
    return sorted((entry.external_player_id, entry.delta) for entry in kraty.ledger)


def due(rows: int = 25) -> list[tuple[str, int]]:
    return sorted((f"p_{number}", number + 1) for number in range(rows))


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return (report.rows, report.applied, report.skipped, report.failed)


def test_a_file_is_imported_once(kraty: Emulator, tmp_path: Path) -> None:
    """A second run with the same file changes nothing."""
    path = balances(tmp_path / "part.csv")
    first = import_partition(path, kind="wallet", client_options={}, chunk_size=10)
    assert (counts(first), first.chunks) == ((25, 25, 0, 0), 3)
    again = import_partition(path, kind="wallet", client_options={}, chunk_size=10)
    assert counts(again) == (25, 0, 25, 0)
    assert posted(kraty) == due()


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("players", {"externalPlayerId": "p"}),
        ("inventory", {"externalPlayerId": "p", "itemKey": "starter_chest", "quantity": 2}),
    ],
)
def test_each_kind(kraty: Emulator, tmp_path: Path, kind: Kind, row: dict[str, Any]) -> None:
    """Rows of each kind are sent to their own endpoint."""
    path = tmp_path / "part.jsonl"
    path.write_text(json.dumps(row))
    assert import_partition(path, kind=kind, client_options={}).applied == 1
    assert [seen.path for seen in kraty.requests] == [f"/server/v1/migrate/{kind}"]


def test_options_and_mapping_reach_the_client(
    kraty: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`client_options` and `mapping` reach the client that does the import."""
    monkeypatch.delenv("KRATY_SERVER_KEY")
    path = tmp_path / "part.csv"
    path.write_text("id,coins\np,5\n")
    report = import_partition(
        path,
        kind="wallet",
        client_options={"api_key": kraty.api_key},
        mapping={"externalPlayerId": "id", "amount": "coins", "economyKey": "=gold"},
    )
    assert (report.applied, kraty.balance("p", "gold")) == (1, 5)


def test_it_resumes_by_itself(kraty: Emulator, tmp_path: Path) -> None:
    """A second run with the same arguments resumes from the journal and sends no chunk twice."""
    path = balances(tmp_path / "part.csv")
    journal, failures = tmp_path / "journals" / "part", tmp_path / "failures" / "part.jsonl"

    def again() -> ImportReport:
        return import_partition(
            path,
            kind="wallet",
            client_options={"retry": RetryConfig(attempts=1)},
            journal=journal,
            failures=failures,
            in_flight=1,
            chunk_size=10,
            patience=0,
        )

    kraty.faults.add(None, Fault("status", status=503, when="before"), operation="migrate.wallet")
    with pytest.raises(ImportStoppedError) as stopped:
        again()
    assert stopped.value.report.rows == 10
    seen = len(kraty.requests)
    resumed = again()
    assert (counts(resumed), resumed.resumed) == ((25, 25, 0, 0), 1)
    # Two chunks, and a ping that asks which game the key is for.
    assert len(kraty.requests) == seen + 3
    assert counts(again()) == (25, 25, 0, 0)
    assert len(kraty.requests) == seen + 4
    assert posted(kraty) == due()
    assert not failures.exists()


def test_another_server(kraty: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal of another server is refused, instead of being resumed."""
    path = balances(tmp_path / "part.csv")
    import_partition(path, kind="wallet", client_options={}, journal=tmp_path / "journal")
    with Emulator() as other:
        monkeypatch.setenv("KRATY_SERVER_KEY", other.api_key)
        with pytest.raises(ValueError, match="Use another journal for this target"):
            import_partition(
                path,
                kind="wallet",
                client_options={"base_url": other.base_url},
                journal=tmp_path / "journal",
            )
        assert other.ledger == []


def test_failures_are_replaced(kraty: Emulator, tmp_path: Path) -> None:
    """A second run without a journal replaces the failures file of the first."""
    path, failures = balances(tmp_path / "part.csv", 3), tmp_path / "failures.jsonl"
    path.write_text(path.read_text().replace("gold", "rubies", 1))
    for applied, skipped in ((2, 0), (0, 2)):
        report = import_partition(path, kind="wallet", client_options={}, failures=failures)
        assert counts(report) == (3, applied, skipped, 1)
        (line,) = failures.read_text().splitlines()
        assert json.loads(line)["externalPlayerId"] == "p_0"
        assert report.failures == str(failures)


def test_the_rate_limit_is_shared(
    kraty: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All calls of a partition ask one limiter, which knows how many processes share the limit."""
    given: list[Limiter] = []
    taken: list[Limiter] = []

    class Seen(Limiter):
        def __init__(self, share: int = 1) -> None:
            super().__init__(share)
            given.append(self)
            assert share == 3

        def take(self, now: float) -> float:
            taken.append(self)
            return super().take(now)

    monkeypatch.setattr("kraty_admin.bulk._partition.Limiter", Seen)
    import_partition(
        balances(tmp_path / "part.csv"), kind="wallet", client_options={}, chunk_size=10, share=3
    )
    assert len(given) == 1
    assert taken == given * 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "clans"}, ValueError, "not a kind of rows"),
        ({"share": 0}, ValueError, "share must be 1 or more"),
        ({"share": 1.5}, TypeError, "share must be an int, not float"),
        ({"share": True}, TypeError, "share must be an int, not bool"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be from 1"),
        ({"mapping": {"amount": "amount"}}, ValueError, "wallet rows need"),
    ],
)
def test_what_does_not_fit_is_refused(
    kraty: Emulator,
    tmp_path: Path,
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    """Bad arguments are refused before anything is sent."""
    options: dict[str, Any] = {"kind": "wallet", "client_options": {}, **arguments}
    with pytest.raises(error, match=message):
        import_partition(balances(tmp_path / "part.csv"), **options)
    assert kraty.requests == []


def test_what_travels_pickles(kraty: Emulator, tmp_path: Path) -> None:
    """The function, its report and its error pickle, and the error keeps the text of its cause."""
    assert pickle.loads(pickle.dumps(import_partition)) is import_partition
    assert import_partition.__module__ == "kraty_admin.bulk"
    path = balances(tmp_path / "part.csv")
    report = import_partition(path, kind="wallet", client_options={})
    assert pickle.loads(pickle.dumps(report)) == report
    kraty.faults.add(Fault("status", status=403, when="before"))
    with pytest.raises(ImportStoppedError) as caught:
        import_partition(path, kind="wallet", client_options={})
    stopped = caught.value
    assert isinstance(stopped.__cause__, KratyServerError)
    copy = pickle.loads(pickle.dumps(stopped))
    assert isinstance(copy, ImportStoppedError)
    assert asdict(copy.report) == asdict(stopped.report)
    # A pickle drops `__cause__`, so the text must say it.
    assert str(stopped.__cause__) in str(copy) == str(stopped)


@pytest.mark.parametrize(
    ("status", "retryable"),
    [pytest.param(403, False, id="rejected"), pytest.param(503, True, id="the server failed")],
)
def test_what_a_task_queue_knows(
    kraty: Emulator, tmp_path: Path, status: int, retryable: bool
) -> None:
    """An error that was pickled, or rebuilt from its `args`, still says if a new run can
    succeed."""
    path = balances(tmp_path / "part.csv")
    kraty.faults.add(Fault("status", status=status, when="before"), times=None)
    with pytest.raises(ImportStoppedError) as caught:
        import_partition(
            path, kind="wallet", client_options={"retry": RetryConfig(attempts=1)}, chunk_size=2
        )
    stopped = caught.value
    cause = stopped.__cause__
    assert isinstance(cause, KratyServerError)
    assert cause.first_sent_at is not None
    rebuilt = ImportStoppedError(*json.loads(json.dumps(stopped.args)))
    for each in (stopped, rebuilt, pickle.loads(pickle.dumps(stopped))):
        assert (retryable, cause.first_sent_at) == (each.retryable, each.first_sent_at)
        assert (str(stopped), stopped.report) == (str(each), each.report)


@pytest.mark.parametrize("facts", [(), ({},), (None,), ({"report": 7, "first_sent_at": 7},)])
def test_an_error_without_facts(facts: tuple[Any, ...]) -> None:
    """An error without facts claims nothing about the import."""
    error = ImportStoppedError("stopped", *facts)
    assert (ImportReport(), False, None) == (error.report, error.retryable, error.first_sent_at)


def test_dask_is_not_imported() -> None:
    """Importing the package does not import Dask."""
    code = "import sys, kraty_admin.bulk; print({'dask', 'distributed'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_as_a_celery_task(tmp_path: Path) -> None:
    """A partition that a Celery worker runs twice is applied once."""
    pytest.importorskip("celery", reason=f"Celery {NOT_HERE}")
    path = balances(tmp_path / "part.csv")
    done = subprocess.run(
        [sys.executable, PROGRAMS / "celery_tasks.py", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    reports = [ImportReport(**report) for report in found["reports"]]
    assert [counts(report) for report in reports] == [(25, 25, 0, 0), (25, 0, 25, 0)]
    assert sorted(found["ledger"]) == list(range(1, 26))


# The page about imports


def page() -> dict[str, str]:
    """Return the Python blocks of the page by the heading above each."""
    found: dict[str, str] = {}
    heading = ""
    text = PAGE.read_text(encoding="utf-8")
    for match in re.finditer(r"^#+ ([^\n]+)$|^```python\n(.*?)^```$", text, re.M | re.S):
        if match[1]:
            heading = match[1]
        else:
            found[heading] = "\n" * text.count("\n", 0, match.start(2)) + match[2]
    return found


def run(heading: str) -> dict[str, Any]:
    """Run a block as printed; return the names that it defines."""
    names: dict[str, Any] = {}
    exec(compile(page()[heading], PAGE, "exec"), names)
    return names


def test_the_page_has_these_blocks() -> None:
    """Every block of the page is Python and has a test."""
    headings = ["Imports", "Once per row", "Sources", "Dry run", "Journal and resume"]
    headings += ["dask", "Celery", "Airflow", "Spark"]
    assert list(page()) == headings
    assert PAGE.read_text(encoding="utf-8").count("```python\n") == len(headings)
    for heading, code in page().items():
        compile(code, heading, "exec")


def test_the_first_block(
    kraty: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The page's first block imports balances, and the failure that it leaves can be fixed and
    imported."""
    monkeypatch.chdir(tmp_path)
    Path("players.jsonl").write_text('{"externalPlayerId": "p_1"}\n')
    Path("balances.csv").write_text("PlayFabId,Gold,Name\np_1,5,x\np_2,7,y\np_3,-5,z\n")
    run("Imports")
    assert capsys.readouterr().out == "2 credited, 0 before, 1 failed\n"
    failure = json.loads(Path("failures.jsonl").read_text())
    text = PAGE.read_text(encoding="utf-8")
    shown = re.search(r"^```json\n(.*?)^```$", text, re.M | re.S)
    assert shown is not None
    # The line is the file's fourth, behind a header.
    assert failure | {"message": "...", "number": 3} == json.loads(shown[1])
    failure["row"]["amount"] = 5
    Path("failures.jsonl").write_text(json.dumps(failure))
    with kraty.client() as client:
        assert client.migrate.import_wallet("failures.jsonl").applied == 1
        with pytest.raises(ValueError, match="already exists"):
            client.migrate.import_wallet("failures.jsonl", failures="failures.jsonl")
    assert [kraty.balance(f"p_{number}", "gold") for number in (1, 2, 3)] == [5, 7, 5]


def test_the_block_of_a_query(
    kraty: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's block that imports rows of a database runs."""
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("game.sqlite3")) as db, db:
        db.execute("CREATE TABLE users (id TEXT, gold INTEGER)")
        db.executemany("INSERT INTO users VALUES (?, ?)", [("p_1", 5), ("p_2", 0), ("p_3", 7)])
    run("Sources")["db"].close()
    assert posted(kraty) == [("p_1", 5), ("p_3", 7)]


def test_the_block_of_a_dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's block of a dry run runs without a key, and prints what would be sent."""
    monkeypatch.chdir(tmp_path)
    Path("balances.csv").write_text("PlayFabId,Gold\np_1,5\np_2,much\n")
    run("Dry run")
    row, total = capsys.readouterr().out.splitlines()
    assert "'externalPlayerId': 'p_1'" in row
    assert total == "1 would be sent, 1 would fail"
    assert json.loads(Path("would-fail.jsonl").read_text())["row"]["amount"] == "much"


def test_the_block_of_resuming(
    kraty: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The page's function is refused after a stop, and resumes with `resume=True`."""
    monkeypatch.chdir(tmp_path)
    Path("wallet.jsonl").write_text('{"externalPlayerId":"p","economyKey":"gold","amount":5}\n')
    import_balances = run("Journal and resume")["import_balances"]
    with kraty.client() as client:
        kraty.faults.add(Fault("status", status=401, when="before"))
        with pytest.raises(ImportStoppedError):
            import_balances(client)
        assert capsys.readouterr().out.startswith("after 0 rows: 401 unauthenticated")
        with pytest.raises(ValueError, match="already exists"):
            import_balances(client)
        import_balances(client, resume=True)
    assert posted(kraty) == [("p", 5)]
