"""Imports from the command line: what they print, and how they are stopped and resumed."""

from __future__ import annotations

import gzip
import io
import json
import os
import pty
import re
import shlex
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from kraty_admin._bulk._rows import Kind
from kraty_admin._bulk._validate import fields
from kraty_admin.cli import main
from kraty_admin.emulator import Emulator, Fault

from .forks import Forks, read_all, read_until
from .testkit import LIVE_KEY, PATIENCE, visible


def wallet_rows(count: int) -> Path:
    """Write a file that gives player 1 one gold, player 2 two, and so on."""
    lines = [f"p{number},gold,{number}" for number in range(1, count + 1)]
    path = Path("wallet.csv")
    path.write_text("\n".join(["externalPlayerId,economyKey,amount", *lines]) + "\n")
    return path


WALLET: Final = (
    *("migrate", "wallet", "wallet.csv", "--chunk-size", "10", "--in-flight", "1"),
    *("--patience", "0"),
)


FAILING: Final = Fault("status", status=503, headers={"Retry-After": "90"})
"""An answer that is not retried, because the wait would be too long."""

TERMINAL: Final = {"TERM": "xterm", "COLUMNS": "100"}


class TestImport:
    """Imports that end."""

    def test_all_is_well(self, kraty: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
        """The report goes to standard output and the progress to standard error; the journal is
        kept."""
        wallet_rows(25)
        assert main([*WALLET, "--json"]) == 0
        out, err = capsys.readouterr()
        report = json.loads(out)
        assert (report["rows"], report["applied"], report["chunks"]) == (25, 25, 3)
        assert "10 rows, " in err
        assert "rows/s, 0 failed" in err
        assert kraty.balance("p25", "gold") == 25
        assert oct(Path("wallet.csv.wallet.journal").stat().st_mode & 0o777) == "0o600"
        assert not Path("wallet.csv.wallet.failures.jsonl").exists()
        assert report["totals"] == {
            "gold": {"source": 325, "imported": 325, "left_out": 0, "failed": 0}
        }
        assert report["seconds"] == round(report["seconds"], 3)

    @pytest.mark.parametrize(
        ("resume", "problem"),
        [
            pytest.param([], "already exists", id="start"),
            pytest.param(["--resume"], "was written by kraty-admin 0.1.0", id="resume"),
        ],
    )
    def test_beside_a_journal_of_0_1_0(
        self,
        resume: list[str],
        problem: str,
        kraty: Emulator,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A journal under the name that 0.1.0 chose is found, so no row is applied again."""
        wallet_rows(25)
        with closing(sqlite3.connect("wallet.csv.journal")) as journal, journal:
            journal.execute("CREATE TABLE import (version, kind, chunk_size, salt)")
            journal.execute("INSERT INTO import VALUES (1, 'wallet', 1000, 'x')")

        assert main([*WALLET, *resume]) == 2

        assert f"journal wallet.csv.journal {problem}" in capsys.readouterr().err
        assert kraty.ledger == []

    def test_for_people(self, kraty: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
        """The report is a sentence, and a line of control totals for each currency."""
        path = wallet_rows(3)
        path.write_text(path.read_text() + "p4,gold,-4\np1,gold,9\n")
        assert main(WALLET) == 6
        sentence, totals = capsys.readouterr().out.splitlines()
        counts = r"3 applied, 0 skipped, 1 left out \(1 duplicate_row\), 1 failed"
        assert re.fullmatch(
            rf"5 rows read: {counts}, in \d+\.\d s \([\d,]+ rows a second\)\.", sentence
        )
        assert totals == "gold: 11 in the source, 6 imported, 9 left out, -4 failed."

    @pytest.mark.parametrize(
        ("kind", "row"),
        [
            ("players", {"externalPlayerId": "p"}),
            ("inventory", {"externalPlayerId": "p", "itemKey": "health_potion", "quantity": 3}),
        ],
    )
    def test_other_kinds(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str], kind: str, row: dict[str, Any]
    ) -> None:
        """Each kind of rows is sent to its own operation."""
        Path("rows.jsonl").write_text(json.dumps(row) + "\n")
        assert main(["migrate", kind, "rows.jsonl"]) == 0
        assert "1 row read: 1 applied" in capsys.readouterr().out
        sent = [seen.operation for seen in kraty.requests if seen.operation != "health.ping"]
        assert [f"migrate.{kind}"] == sent

    def test_rows_that_fail(self, kraty: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
        """Failed rows make the status 6, and the printed command imports them once they are
        fixed."""
        path = wallet_rows(12)
        path.write_text(path.read_text().replace("p7,gold,7", "p7,gold,seven"))
        assert main(["--timeout", "9", *WALLET]) == 6
        err = capsys.readouterr().err
        assert "Not imported: 1 of 12 rows. wallet.csv.wallet.failures.jsonl has these rows" in err
        command = err.strip().rpartition("import that file:\n  ")[2]
        failed = "wallet.csv.wallet.failures.jsonl"
        assert command == f"kraty-admin --timeout 9 migrate wallet {failed}"
        failures = Path("wallet.csv.wallet.failures.jsonl")
        assert oct(failures.stat().st_mode & 0o777) == "0o600"
        failures.write_text(failures.read_text().replace('"seven"', "7"))
        assert main(shlex.split(command)[1:]) == 0
        assert [kraty.balance(f"p{n}", "gold") for n in (6, 7, 8)] == [6, 7, 8]

    def test_failures_that_were_moved_away(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A resumed import with failures has status 6, and names no file that does not exist."""
        path = wallet_rows(12)
        path.write_text(path.read_text().replace("p7,gold,7", "p7,gold,seven"))
        assert main([*WALLET]) == 6
        Path("wallet.csv.wallet.failures.jsonl").unlink()
        capsys.readouterr()
        assert main([*WALLET, "--resume"]) == 6
        out, err = capsys.readouterr()
        assert "11 applied, 0 skipped, 0 left out, 1 failed" in out
        assert "Not imported" not in err

    @pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["import", "dry run"])
    def test_a_note(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str], dry: list[str]
    ) -> None:
        """A note about the source is printed on standard error."""
        wallet_rows(1)
        assert main([*WALLET, *dry, "--rename", "GO=gold"]) == 0
        note = "'GO' is in rename or only, but no row has it"
        assert note in capsys.readouterr().err

    def test_columns_of_another_name(self, kraty: Emulator) -> None:
        """`--map` names the columns, and the journal and failures files go where the options
        say."""
        Path("x.csv").write_text("PlayFabId,GO\np1,5\n")
        maps = ("externalPlayerId=PlayFabId", "amount=GO", "economyKey==gold")
        options = [option for each in maps for option in ("--map", each)]
        files = ("--failures", "f.jsonl", "--journal", "j")
        assert main(["migrate", "wallet", "x.csv", *options, *files]) == 0
        assert kraty.balance("p1", "gold") == 5
        assert sorted(path.name for path in Path.cwd().iterdir()) == ["j", "x.csv"]

    def test_one_file_for_all_kinds(self, kraty: Emulator) -> None:
        """One file can be imported as players, and then as balances."""
        wallet_rows(3)
        assert (
            main(["migrate", "players", "wallet.csv", "--map", "externalPlayerId=externalPlayerId"])
            == 0
        )
        assert main(["migrate", "wallet", "wallet.csv"]) == 0
        assert kraty.balance("p3", "gold") == 3

    def test_a_named_pipe(self, kraty: Emulator) -> None:
        """Rows are imported from a named pipe, which can be read only once."""
        rows = wallet_rows(3).read_bytes()
        os.mkfifo("pipe.csv")
        writer = threading.Thread(target=lambda: Path("pipe.csv").write_bytes(rows))
        writer.start()
        assert main(["migrate", "wallet", "pipe.csv"]) == 0
        writer.join()
        assert kraty.balance("p3", "gold") == 3

    def test_standard_input(
        self, kraty: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Rows from standard input need a format."""
        rows = wallet_rows(3).read_bytes()
        for arguments, status in (([], 2), (["--format", "csv"], 0)):
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(rows)))
            assert main(["migrate", "wallet", "-", *arguments]) == status
        assert "pass format= (--format)" in capsys.readouterr().err
        assert kraty.balance("p3", "gold") == 3

    def test_a_query(
        self, kraty: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The rows of a query are imported; the URL comes from the environment or a file."""
        pytest.importorskip("sqlalchemy", reason="SQLAlchemy is an extra")
        with closing(sqlite3.connect("game.db")) as db, db:
            db.execute("CREATE TABLE users (id TEXT, gold INTEGER)")
            db.executemany("INSERT INTO users VALUES (?, ?)", [("p1", 5), ("p2", 7)])
        sql = "SELECT id AS externalPlayerId, 'gold' AS economyKey, gold AS amount FROM users"
        command = ["migrate", "wallet", "--sql", f"{sql} ORDER BY id"]
        assert main(command) == 2
        assert "KRATY_SQL_URL" in capsys.readouterr().err
        Path("url").write_text("sqlite:///game.db")
        assert main([*command, "--sql-url-file", "url", "--limit", "1"]) == 0
        monkeypatch.setenv("KRATY_SQL_URL", "sqlite:///game.db")
        assert main([*command, "--journal", "other"]) == 0
        assert [kraty.balance(player, "gold") for player in ("p1", "p2")] == [5, 7]
        assert main(["migrate", "wallet"]) == 2
        assert main([*command, "x.csv"]) == 2

    def test_options_of_reading(self, kraty: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
        """Options reach the reader, and rows that they leave out do not change the status."""
        Path("x.txt").write_text("id;GO;SI\np1;5;1\np2;0;1\np3;7;1\n")
        maps = ("externalPlayerId=id", "amount=GO", "economyKey==GO")
        options = [option for each in maps for option in ("--map", each)]
        options += ["--format", "csv", "--delimiter", ";", "--rename", "GO=gold", "--skip-zero"]
        assert main(["migrate", "wallet", "x.txt", *options, "--limit", "2", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["read"], report["applied"], report["left_out"]) == (2, 1, 1)
        assert report["left_out_reasons"] == {"zero": 1}
        assert kraty.balance("p1", "gold") == 5

    def test_sums(self, kraty: Emulator) -> None:
        """`--sum-duplicates` adds up the amounts of one player and currency."""
        Path("log.csv").write_text("id,gold\np1,100\np1,50\np1,25\n")
        maps = ("externalPlayerId=id", "amount=gold", "economyKey==gold")
        options = [option for each in maps for option in ("--map", each)]
        assert main(["migrate", "wallet", "log.csv", *options, "--sum-duplicates"]) == 0
        assert kraty.balance("p1", "gold") == 175

    @pytest.mark.parametrize(
        "arguments",
        [
            pytest.param(["--rename", "GO"], id="rename"),
            pytest.param(["--rename", "a=b", "--rename", "a=c"], id="rename twice"),
            pytest.param(["--patience", "-1"], id="patience"),
            pytest.param(["--map", "nothing"], id="map"),
            pytest.param(["--preset", "nobody"], id="preset"),
            pytest.param(["--include", "nothing"], id="include"),
            pytest.param(["--limit", "0"], id="limit"),
            pytest.param(["--in-flight", "0"], id="in flight"),
            pytest.param(["--map", "externalPlayerId=Nowhere"], id="no such column"),
        ],
    )
    def test_what_does_not_fit(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        """A wrong argument exits with status 2, and nothing is sent."""
        wallet_rows(1)
        assert main(["migrate", "wallet", "wallet.csv", *arguments]) == 2
        assert "Error: " in capsys.readouterr().err
        assert main(["migrate", "wallet", "nowhere.csv", *arguments]) == 2
        assert kraty.ledger == []

    def test_a_live_key(
        self,
        kraty: Emulator,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """An import with a live key asks for confirmation."""
        monkeypatch.setenv("KRATY_SERVER_KEY", LIVE_KEY)
        wallet_rows(1)
        assert main(WALLET) == 2
        assert "Import wallet from 'wallet.csv'" in capsys.readouterr().err
        assert main([*WALLET, "--yes"]) == 0
        out, err = capsys.readouterr()
        assert "canary" not in out + err

    def test_a_bar_at_a_terminal(self, kraty: Emulator, forks: Forks) -> None:
        """A terminal shows a progress bar, which is gone at the end."""
        wallet_rows(30)
        ours, theirs = pty.openpty()
        forks.start(WALLET, [theirs] * 3, {**os.environ, **TERMINAL})
        said = read_all(ours).decode()
        assert 0 == forks.wait()
        assert "30 rows, " in said
        assert "━" in said
        sentence, total = visible(said)
        assert sentence.startswith("30 rows read: 30 applied")
        assert total == "gold: 465 in the source, 465 imported."

    def test_lines_at_a_terminal_without_a_cursor(self, kraty: Emulator, forks: Forks) -> None:
        """A terminal that cannot erase a line gets plain lines of progress."""
        wallet_rows(30)
        ours, theirs = pty.openpty()
        forks.start(WALLET, [theirs] * 3, {**os.environ, **TERMINAL, "TERM": "dumb"})
        said = read_all(ours).decode()
        assert 0 == forks.wait()
        assert "%, 10 rows, " in said.splitlines()[0]
        assert "\x1b" not in said


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_help_lists_the_fields(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists the fields that `--map` takes for each kind of row."""
    assert main(["migrate", "--help"]) == 0
    (line,) = (each for each in capsys.readouterr().out.splitlines() if f"  {kind}  " in each)
    assert list(fields(kind)) == line.replace(",", "").split()[1:]


class TestStopped:
    """Imports that are stopped, and resumed."""

    @pytest.mark.parametrize(
        ("fault", "status"),
        [(FAILING, 1), (Fault("drop"), 5)],
        ids=["failing", "no answer"],
    )
    def test_a_server_that_fails(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str], fault: Fault, status: int
    ) -> None:
        """An import that a server stops has the status of the cause, and prints the command to
        resume it."""
        wallet_rows(25)
        kraty.faults.add(fault, operation="migrate.wallet", skip=1, times=None)
        assert main(["--deadline", "10", *WALLET]) == status
        err = capsys.readouterr().err
        assert "Error: the import stopped after 10 rows: " in err
        assert "\n  call: migrate.wallet, " in err
        again = err.strip().rpartition("To continue, within 23 hours:\n  ")[2]
        assert again == shlex.join(["kraty-admin", "--deadline", "10", *WALLET, "--resume"])
        kraty.faults.clear()
        assert main(shlex.split(again)[1:]) == 0
        assert sorted(entry.delta for entry in kraty.ledger) == list(range(1, 26))
        assert main([*WALLET, "--json"]) == 2
        assert json.loads(capsys.readouterr().err.splitlines()[-1])["error"]["code"] == "usage"

    def test_another_game(
        self,
        kraty: Emulator,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The journal of a test import is refused with a live key, and nothing is sent."""
        wallet_rows(5)
        assert main(WALLET) == 0
        sent = len(kraty.ledger)
        monkeypatch.setenv("KRATY_SERVER_KEY", LIVE_KEY)
        assert main([*WALLET, "--yes"]) == 2
        assert "already exists" in capsys.readouterr().err
        assert main([*WALLET, "--yes", "--resume"]) == 2
        assert "(test) at http://127.0.0.1" in capsys.readouterr().err
        assert len(kraty.ledger) == sent

    def test_rows_whose_outcome_is_unknown(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Rows that may have been imported are not called "not imported", and the advice to import
        the file has a warning."""
        wallet_rows(5)
        kraty.faults.add(Fault("drop"), operation="migrate.wallet", times=None)
        assert main(["--deadline", "0.3", *WALLET]) == 5
        kraty.faults.clear()
        with closing(sqlite3.connect("wallet.csv.wallet.journal")) as journal, journal:
            journal.execute("UPDATE chunk SET begun_at = begun_at - 86400")
        capsys.readouterr()
        assert main([*WALLET, "--resume"]) == 6
        err = capsys.readouterr().err
        assert "Not imported" not in err
        assert "with the code outcome_unknown may have been imported" in err

    def test_a_journal_that_is_in_the_way(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The message about an old journal says until when the import may be started again."""
        wallet_rows(5)
        assert main(WALLET) == 0
        assert main(WALLET) == 2
        assert "only within 23 hours of the start of that import" in capsys.readouterr().err

    def test_nothing_to_resume(self, kraty: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
        """`--resume` is refused if there is no journal."""
        wallet_rows(5)
        assert main([*WALLET, "--resume"]) == 2
        assert "there is no journal wallet.csv.wallet.journal" in capsys.readouterr().err
        assert kraty.ledger == []

    def test_a_file_that_breaks_off(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An import of a file that is cut off ends with status 1, and can be resumed with the whole
        file."""
        packed = gzip.compress(wallet_rows(1000).read_bytes())
        Path("wallet.csv.gz").write_bytes(packed[:-100])
        arguments = ["migrate", "wallet", "wallet.csv.gz", "--chunk-size", "10"]
        assert main(arguments) == 1
        assert "To continue, within 23 hours:\n" in capsys.readouterr().err
        assert 0 < len(kraty.ledger) < 1000
        Path("wallet.csv.gz").write_bytes(packed)
        assert main([*arguments, "--resume"]) == 0
        assert len(kraty.ledger) == 1000

    def test_ctrl_c(self, kraty: Emulator, forks: Forks) -> None:
        """Ctrl-C lets the calls in flight finish, and the command in the error imports the rest."""
        wallet_rows(500)
        kraty.faults.add(Fault("delay", seconds=0.05), operation="migrate.wallet", times=None)
        output, writer = os.pipe()
        errors, theirs = os.pipe()
        process = forks.start([*WALLET, "--json"], [None, writer, theirs], os.environ)
        said = read_until(errors, b"rows/s")
        os.kill(process, signal.SIGINT)
        said += read_all(errors)
        assert (b"", 130) == (read_all(output), forks.wait())
        error = json.loads(said.splitlines()[-1])["error"]
        assert error["code"] == "interrupted"
        done = len(kraty.ledger)
        assert done % 10 == 0
        assert 10 <= done < 500
        assert f"interrupted after {done} rows" == error["message"]
        kraty.faults.clear()
        assert main(shlex.split(error["command"])[1:]) == 0
        assert sorted(entry.delta for entry in kraty.ledger) == list(range(1, 501))

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_terminated(self, kraty: Emulator, forks: Forks, number: int) -> None:
        """SIGTERM or a closed terminal ends the import at once, even if a call does not end. The
        command says how to resume."""
        wallet_rows(30)
        kraty.faults.add(Fault("stall", seconds=PATIENCE), operation="migrate.wallet", skip=1)
        errors, theirs = os.pipe()
        process = forks.start(WALLET, [None, None, theirs], os.environ)
        said = read_until(errors, b"rows/s")
        os.kill(process, number)
        said += read_all(errors)
        assert 130 == forks.wait()
        *_, ended, again = said.decode().splitlines()
        assert ended.startswith("Ended at once. The journal has the rows in doubt.")
        kraty.faults.clear()
        assert main(shlex.split(again)[1:]) == 0
        assert sorted(entry.delta for entry in kraty.ledger) == list(range(1, 31))

    def test_ctrl_c_twice(self, kraty: Emulator, forks: Forks) -> None:
        """A second Ctrl-C ends the import at once, without a bar left over; it can still be
        resumed."""
        wallet_rows(30)
        kraty.faults.add(Fault("stall", seconds=PATIENCE), operation="migrate.wallet", skip=1)
        ours, theirs = pty.openpty()
        process = forks.start(WALLET, [theirs] * 3, {**os.environ, **TERMINAL})
        said = b""
        for awaited in (b"rows/s", b"Stopping"):
            said += read_until(ours, awaited)
            os.kill(process, signal.SIGINT)
        said += read_all(ours)
        assert 130 == forks.wait()
        stopping, ended, again = visible(said.decode())
        assert stopping.startswith("Stopping after the calls in flight.")
        assert ended.startswith("Ended at once. The journal has the rows in doubt.")
        kraty.faults.clear()
        assert main(shlex.split(again)[1:]) == 0
        assert sorted(entry.delta for entry in kraty.ledger) == list(range(1, 31))


class TestDryRun:
    """Dry runs, without a key and without a network."""

    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("KRATY_SERVER_KEY", raising=False)
        monkeypatch.chdir(tmp_path)

    def test_for_people(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A dry run shows the first valid and the first invalid rows, and leaves no file."""
        path = wallet_rows(30)
        path.write_text(path.read_text().replace("p7,gold,7", "p7,gold,seven"))
        assert main(["migrate", "wallet", "wallet.csv", "--dry-run"]) == 6
        out, err = capsys.readouterr()
        assert "valid\tp11\tgold\t11\n" in out
        assert "p12 " not in out
        assert "invalid\t8\tamount is text" in out
        assert "Dry run: 30 rows read. 29 valid (10 shown), 0 left out, 1 invalid (1 shown)." in err
        assert "gold: 458 in the source, 458 would be imported." in err
        assert [each.name for each in Path.cwd().iterdir()] == ["wallet.csv"]

    def test_for_programs(self, capsys: pytest.CaptureFixture[str]) -> None:
        """With `--json`, the whole report of a dry run is one document."""
        path = wallet_rows(30)
        path.write_text(path.read_text().replace("p7,gold,7", "p7,gold,seven"))
        dry = ["migrate", "wallet", "wallet.csv", "--dry-run", "--json"]
        assert main([*dry, "--failures", "f.jsonl"]) == 6
        document = json.loads(capsys.readouterr().out)
        assert list(document) == ["rows", "problems", "report"]
        assert len(document["rows"]) == 29
        assert [each["number"] for each in document["problems"]] == [8]
        assert document["report"]["failures"] == "f.jsonl"
        assert Path("f.jsonl").read_text().count("\n") == 1
        wallet_rows(2)
        assert main(dry) == 0
        assert json.loads(capsys.readouterr().out)["problems"] == []
