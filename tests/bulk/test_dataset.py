"""Many files on a Dask cluster, run in a separate program, and what is refused before that."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kraty_admin._bulk._report import ImportReport, ImportTotals
from kraty_admin.bulk import import_dataset
from kraty_admin.bulk._dataset import (
    _beside,  # pyright: ignore[reportPrivateUsage]
    _files,  # pyright: ignore[reportPrivateUsage]
    _gather,  # pyright: ignore[reportPrivateUsage]
    _stopped,  # pyright: ignore[reportPrivateUsage]
    _sum,  # pyright: ignore[reportPrivateUsage]
    _Unseen,  # pyright: ignore[reportPrivateUsage]
)
from kraty_admin.emulator import Emulator

PROGRAMS = Path(__file__).parent / "programs"
NOT_HERE = "is installed for the proofs, but not where the wheel is tested"


@pytest.mark.long
def test_on_a_cluster(tmp_path: Path) -> None:
    """A data set is imported in full though a worker is killed, and an error names the files that
    failed."""
    pytest.importorskip("distributed", reason=f"dask {NOT_HERE}")
    done = subprocess.run(
        [sys.executable, PROGRAMS / "dataset.py", tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    a_worker_was_killed(found)
    files_were_not_done(found)
    # Workers log the arguments of a task that fails. These may hold a key.
    assert "import_partition" in done.stderr
    assert "base_url" not in done.stderr


def a_worker_was_killed(found: dict[str, Any]) -> None:
    """Check that the killed worker's file was run again, and that no row was paid twice."""
    report = ImportReport(**found["report"])
    # Of 24 calls, two had passed and two hung: both workers were importing.
    assert (found["at the kill"], found["killed"]) == ([200], True)
    assert found["exact"]
    assert (report.rows, report.failed, report.duplicates, report.chunks) == (1200, 0, 0, 24)
    # The chunk that hung at the other worker, and one to three of the killed worker's.
    assert 100 <= report.skipped <= 200
    assert report.applied == 1200 - report.skipped
    assert report.rows_per_second == pytest.approx(1200 / report.seconds, rel=0.01)


def files_were_not_done(found: dict[str, Any]) -> None:
    """Check that errors name the files that failed and why, after all others are done."""
    stopped, refused, fixed = found["stopped"], found["refused"], found["fixed"]
    assert stopped["error"].startswith("1 of 2 files were not finished: ")
    assert "none.csv (FileNotFoundError: " in stopped["error"]
    assert "part-0.csv" not in stopped["error"]
    assert stopped["cause"] == "FileNotFoundError"
    assert (stopped["rows"], stopped["skipped"]) == (300, 300)
    assert refused["error"].startswith("2 of 2 files were not finished: ")
    assert "part-1.csv (the import stopped after 0 rows: 401 unauthenticated" in refused["error"]
    assert refused["rows"] == 0
    # Run again, each file is resumed from its own journal.
    assert (fixed["rows"], fixed["applied"]) == (301, 1)
    assert Path(fixed["failures"]).name == "failures"
    kinds = [name.rpartition(".")[2] for name in found["files"]]
    # No row failed, so there are no failures files.
    assert kinds == ["journal"] * 3


@pytest.mark.long
def test_the_block_of_the_page(tmp_path: Path) -> None:
    """The page's block runs as a program on a cluster that it starts."""
    pytest.importorskip("distributed", reason=f"dask {NOT_HERE}")
    text = (Path(__file__).parents[2] / "docs" / "imports.md").read_text(encoding="utf-8")
    found = re.search(r"^### dask\n.*?^```python\n(.*?)^```$", text, re.M | re.S)
    assert found is not None
    (tmp_path / "program.py").write_text(found[1])
    (tmp_path / "exports").mkdir()
    for number in range(2):
        rows = f"PlayFabId,Gold\np_{number},{number + 1}\n"
        (tmp_path / "exports" / f"balances-{number}.csv").write_text(rows)
    with Emulator() as kraty:
        done = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env={
                **os.environ,
                "KRATY_SERVER_KEY": kraty.api_key,
                "KRATY_BASE_URL": kraty.base_url,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert [kraty.balance(f"p_{number}", "gold") for number in range(2)] == [1, 2]
    assert done.stdout.startswith("2 rows read: 2 applied, 0 skipped, 0 left out, 0 failed,")
    assert list((tmp_path / "failures").iterdir()) == []


def test_no_repr_shows_the_options() -> None:
    """The repr hides the client options, which may hold a key."""
    assert repr(_Unseen(api_key="krt_live_a.secret")) == "{...}"


def test_files_by_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern gives sorted, absolute paths of files, each of them once."""
    (tmp_path / "b" / "deep.csv").mkdir(parents=True)
    for name in ("b/2.csv", "1.csv", "3[x].csv"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert _files("*.csv") == [str(tmp_path / name) for name in ("1.csv", "3[x].csv")]
    assert _files(tmp_path / "**" / "*.csv") == [
        str(tmp_path / name) for name in ("1.csv", "3[x].csv", "b/2.csv")
    ]
    assert _files("3[x].csv") == [str(tmp_path / "3[x].csv")]
    assert _files(["2.csv", Path("1.csv"), tmp_path / "1.csv"]) == [
        str(tmp_path / "2.csv"),
        str(tmp_path / "1.csv"),
    ]


def test_names_beside_files() -> None:
    """The name of a journal is the same in each run, and differs for each file."""
    one, other = _beside("/j", "/a/x.csv", ".journal"), _beside("/j", "/b/x.csv", ".journal")
    assert one is not None
    assert Path(one).parent == Path("/j").absolute()
    assert (Path(one).name[:6], Path(one).suffix) == ("x.csv.", ".journal")
    assert one != other
    assert one == _beside("/j", "/a/x.csv", ".journal")
    assert _beside(None, "/a/x.csv", ".journal") is None


def test_the_sum_of_reports() -> None:
    """The sum of reports adds up their counts and totals, and takes the time of the whole run."""
    one = ImportReport(
        read=4,
        rows=5,
        applied=1,
        skipped=1,
        left_out=1,
        failed=2,
        left_out_reasons={"duplicate_row": 1},
        totals={"gold": ImportTotals(9, 5, 1, 3)},
        chunks=2,
        resumed=1,
        retries=3,
        seconds=2.0,
        rows_per_second=1.5,
        bytes_read=7,
        bytes_total=8,
        failures="a.jsonl",
        notes=("one page",),
    )
    total = _sum([one, one], 4.0, "failures")
    assert total == ImportReport(
        read=8,
        rows=10,
        applied=2,
        skipped=2,
        left_out=2,
        failed=4,
        left_out_reasons={"duplicate_row": 2},
        totals={"gold": ImportTotals(18, 10, 2, 6)},
        chunks=4,
        resumed=2,
        retries=6,
        seconds=4.0,
        rows_per_second=1.5,
        bytes_read=14,
        bytes_total=16,
        failures="failures",
        notes=("one page",),
    )
    assert _sum([], 0.0, None) == ImportReport(bytes_total=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"paths": "none/*.csv"}, ValueError, "no file matches 'none/[*].csv'"),
        ({"paths": []}, ValueError, "no file to import"),
        ({"kind": "clans"}, ValueError, "not a kind of rows"),
        ({"preset": "nobody"}, ValueError, "no preset"),
        ({"chunk_size": 1001}, ValueError, "chunk_size must be from 1 to 1000"),
        ({"in_flight": "4"}, TypeError, "in_flight must be an int"),
    ],
)
def test_what_does_not_fit_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Bad arguments are refused before a cluster starts."""
    options: dict[str, Any] = {"paths": [__file__], "kind": "wallet", **arguments}
    with pytest.raises(error, match=message):
        import_dataset({}, **options)


def test_a_scheduler_of_another_type() -> None:
    """A scheduler that is neither an address nor a client is refused."""
    pytest.importorskip("distributed", reason=f"dask {NOT_HERE}")
    with pytest.raises(TypeError, match=r"scheduler must be an address or a distributed[.]Client"):
        import_dataset({}, [__file__], kind="wallet", scheduler=8786)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Dask, the error says what to install."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"dask is an extra: pip install 'kraty-admin\[dask\]'"):
        import_dataset({}, [__file__], kind="wallet")


class FakeClient:
    """A Dask client with the methods that these tests need."""

    asynchronous = True

    def __init__(self) -> None:
        self.canceled: list[object] = []

    def cancel(self, futures: list[object]) -> None:
        self.canceled += futures

    def as_current(self) -> AbstractContextManager[None]:
        return nullcontext()


class FakeFuture:
    """The future of a file, whose report is ready."""

    def result(self) -> ImportReport:
        return ImportReport(rows=1)

    def release(self) -> None:
        pass


def replace_dask(monkeypatch: pytest.MonkeyPatch, **members: object) -> None:
    """Replace dask by a module with these functions."""
    monkeypatch.setitem(sys.modules, "distributed", cast("Any", SimpleNamespace(**members)))


def test_a_client_that_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """An asynchronous client of dask is refused, since its results come later."""
    replace_dask(monkeypatch, Client=FakeClient)
    with pytest.raises(TypeError, match=r"^scheduler must be a synchronous client"):
        import_dataset({}, [__file__], kind="wallet", scheduler=FakeClient())


def test_an_import_that_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted import cancels the files that are not done, since the cluster goes on."""

    def as_completed(futures: list[FakeFuture]) -> Iterator[FakeFuture]:
        yield futures[0]
        raise KeyboardInterrupt

    replace_dask(monkeypatch, as_completed=as_completed)
    client, done, running = FakeClient(), FakeFuture(), FakeFuture()
    with pytest.raises(KeyboardInterrupt):
        _gather(cast("Any", client), {done: "a.csv", running: "b.csv"})
    assert [running] == client.canceled


def test_many_files_that_are_not_done() -> None:
    """The message names the first ten files that are not done, and how many more there are."""
    errors: dict[str, Exception] = {f"{number}.csv": OSError("no") for number in range(12)}
    message = str(_stopped(errors, 20, ImportReport()))
    assert message.startswith("12 of 20 files were not finished: 0.csv (OSError: no), 1.csv")
    assert message.endswith("and 2 more")
    assert 10 == message.count("OSError")
