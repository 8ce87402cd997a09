"""Imports of any length, through both clients: what is sent, recorded, reported and resumed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import pickle
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from kraty_admin import (
    KratyAdmin,
    KratyError,
    KratyNetworkError,
    KratyServerError,
    RequestInfo,
    derive_key,
)
from kraty_admin._bulk._failures import FailuresWriter
from kraty_admin._bulk._journal import FailuresFile, Journal
from kraty_admin._bulk._plan import Part, too_late
from kraty_admin._bulk._rows import Row
from kraty_admin._bulk._sums import Sums
from kraty_admin._bulk._tally import Tally
from kraty_admin._call._idempotency import derive_key_of_any
from kraty_admin._call._limiter import Limiter
from kraty_admin.bulk import ImportReport, ImportStoppedError, ImportTotals, dry_run
from kraty_admin.emulator import Emulator
from loopback import ASYNC, AT_ONCE, KEY, SYNC, Twin, settled, twins

Body = dict[str, Any]


class MockPlatform:
    """A platform that answers without a socket, and records the requests and their rows."""

    def __init__(self) -> None:
        self.bodies: list[Body] = []
        self.answer: Callable[[Body], httpx.Response | None] = lambda body: None
        self.known: dict[str, Body] = {}
        """Rows that were applied, by their keys."""
        self.pings = 0
        self.api_key: Body = {"environment": "live", "studioId": "s_1", "gameId": "g_1"}
        """What a ping says about the API key."""
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.pings += 1
            return httpx.Response(200, json={"ok": True, "apiKey": self.api_key})
        body = json.loads(request.content)
        with self._lock:
            self.bodies.append(body)
            special = self.answer(body)
            return self._take(body) if special is None else special

    def _take(self, body: Body) -> httpx.Response:
        applied = skipped = 0
        failures: list[Body] = []
        for index, row in enumerate(body["rows"]):
            if str(row.get("externalPlayerId", "bad")).startswith("bad"):
                error = {"code": "validation_failed", "message": "is bad"}
                failures.append({"rowIndex": index, "error": error})
            elif row["idempotencyKey"] in self.known:
                skipped += 1
            else:
                self.known[row["idempotencyKey"]] = row
                applied += 1
        outcome = {"applied": applied, "skipped": skipped, "failed": len(failures)}
        return httpx.Response(200, json={"data": {**outcome, "failures": failures}})

    @property
    def sizes(self) -> list[int]:
        """Return how many rows each request had."""
        return [len(body["rows"]) for body in self.bodies]


def players(count: int, first: int = 0) -> list[Body]:
    """Return rows of players."""
    return [{"externalPlayerId": f"p{number}"} for number in range(first, first + count)]


def imported(twin: Twin, server: MockPlatform, rows: Any, **options: Any) -> ImportReport:
    """Import players and return the report. The import does not wait for a server."""
    options.setdefault("patience", 0)

    async def scenario(kraty: Any) -> ImportReport:
        report: ImportReport = await settled(kraty.migrate.import_players(rows, **options))
        return report

    return twin.run(scenario, http_client=twin.mocked(server), retry=AT_ONCE)


def counts(report: ImportReport) -> dict[str, int]:
    """Return the counts of a report that are not zero, after checking that they add up."""
    assert report.rows == report.applied + report.skipped + report.left_out + report.failed
    assert report.left_out == sum(report.left_out_reasons.values())
    names = ("rows", "applied", "skipped", "failed", "duplicates", "chunks", "resumed", "retries")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def lines(path: Path) -> list[Body]:
    """Return the lines of a failures file, in the order of the source."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    # Failures are written in the order in which chunks are answered.
    return sorted(found, key=lambda line: int(line["number"]))


@twins
class TestChunks:
    """The chunks of rows that an import sends."""

    @pytest.mark.parametrize(
        ("count", "sizes"), [(0, []), (1, [1]), (1000, [1000]), (2001, [1, 1000, 1000])]
    )
    def test_sizes(self, twin: Twin, count: int, sizes: list[int]) -> None:
        """Rows are sent in chunks of a thousand, and each row is sent once."""
        server = MockPlatform()
        report = imported(twin, server, iter(players(count)))
        assert sizes == sorted(server.sizes)
        assert {f"p{number}" for number in range(count)} == {
            row["externalPlayerId"] for row in server.known.values()
        }
        assert (count, count, len(sizes)) == (report.rows, report.applied, report.chunks)

    def test_keys(self, twin: Twin) -> None:
        """A row keeps its own key, or gets one derived from its kind and id."""
        server = MockPlatform()
        imported(twin, server, [{"externalPlayerId": "a", "idempotencyKey": "k"}, *players(1)])
        ((mine, derived),) = (body["rows"] for body in server.bodies)
        assert {"externalPlayerId": "a", "idempotencyKey": "k"} == mine
        assert derive_key("import", "players", "p0") == derived["idempotencyKey"]

    def test_id_with_white_space(self, twin: Twin) -> None:
        """An id keeps its white space, and its key is derived from the id as written."""
        server = MockPlatform()
        imported(twin, server, [{"externalPlayerId": "p  q"}, {"externalPlayerId": "p q"}])
        (body,) = server.bodies
        expected = [derive_key_of_any("import", "players", each) for each in ("p  q", "p q")]
        assert expected == [row["idempotencyKey"] for row in body["rows"]]

    def test_again(self, twin: Twin) -> None:
        """A second import applies no row again, although its calls have other keys."""
        server = MockPlatform()
        first = imported(twin, server, players(30), chunk_size=10)
        second = imported(twin, server, players(30), chunk_size=10)
        assert {"rows": 30, "applied": 30, "chunks": 3} == counts(first)
        assert {"rows": 30, "skipped": 30, "chunks": 3} == counts(second)
        assert 6 == len({body["idempotencyKey"] for body in server.bodies})

    def test_not_touched(self, twin: Twin) -> None:
        """An import does not change the caller's rows."""
        rows = players(3)
        imported(twin, MockPlatform(), rows)
        assert players(3) == rows

    def test_in_flight(self, twin: Twin) -> None:
        """An import keeps as many chunks in flight as asked for, and no more."""
        flying = Counter[str]()
        server = MockPlatform()

        async def scenario(kraty: Any) -> None:
            read: list[int] = []

            def rows() -> Iterator[Body]:
                for number, row in enumerate(players(400)):
                    read.append(number)
                    yield row

            def progress(report: ImportReport) -> None:
                # One of the chunks has been answered, and another was read ahead.
                flying["most"] = max(flying["most"], len(read) - report.rows)

            await settled(
                kraty.migrate.import_players(
                    rows(), chunk_size=10, in_flight=3, on_progress=progress
                )
            )

        twin.run(scenario, http_client=twin.mocked(server))
        assert 30 == flying["most"]

    @pytest.mark.parametrize("source", ["list", "generator", "file"])
    def test_sources(self, twin: Twin, source: str, tmp_path: Path) -> None:
        """Rows may come from a list, a generator or a path."""
        server = MockPlatform()
        rows: Any = players(25)
        if source == "generator":
            rows = (row for row in players(25))
        if source == "file":
            rows = tmp_path / "players.csv"
            rows.write_text("Id\n" + "".join(f"p{number}\n" for number in range(25)))
        mapping = {"externalPlayerId": "Id"} if source == "file" else None
        assert 25 == imported(twin, server, rows, mapping=mapping, chunk_size=7).applied
        assert 25 == len(server.known)


@twins
class TestFailures:
    """Rows that fail do not stop the others."""

    def test_each_is_reported(self, twin: Twin, tmp_path: Path) -> None:
        """Each failure is written with its row number, code and message, and its row or id."""
        rows = [*players(3), {"externalPlayerId": "bad"}, 7, {"x": float("inf")}, *players(2, 10)]
        server = MockPlatform()
        path = tmp_path / "failures.jsonl"
        report = imported(twin, server, rows, failures=path, chunk_size=4)
        assert {"rows": 8, "applied": 5, "failed": 3, "chunks": 2} == counts(report)
        assert str(path) == report.failures
        refused, unreadable, no_json = lines(path)
        assert {
            "number": 4,
            "externalPlayerId": "bad",
            "code": "validation_failed",
            "message": "is bad",
            "row": {"externalPlayerId": "bad"},
        } == refused
        assert (5, "unreadable_row") == (unreadable["number"], unreadable["code"])
        assert 6 == no_json["number"]
        assert "x holds an infinite number, which JSON lacks" == no_json["message"]

    def test_failures_are_imported_again(self, twin: Twin, tmp_path: Path) -> None:
        """A failures file can be imported once its rows are fixed."""
        server = MockPlatform()
        path = tmp_path / "failures.jsonl"
        imported(twin, server, [{"externalPlayerId": "bad1"}, *players(1)], failures=path)
        path.write_text(path.read_text().replace("bad1", "fixed"))
        assert {"rows": 1, "applied": 1, "chunks": 1} == counts(imported(twin, server, path))
        assert {"fixed", "p0"} == {row["externalPlayerId"] for row in server.known.values()}

    def test_duplicates(self, twin: Twin, tmp_path: Path) -> None:
        """A row with the key of an earlier row is not sent, and its failure names that row."""
        server = MockPlatform()
        path = tmp_path / "failures.jsonl"
        rows = [*players(12), *players(2), {"externalPlayerId": "x", "idempotencyKey": "k"}]
        rows += [{"externalPlayerId": "y", "idempotencyKey": "k"}]
        report = imported(twin, server, rows, failures=path, chunk_size=5)
        assert {"rows": 16, "applied": 13, "duplicates": 3, "chunks": 4} == counts(report)
        assert [13, 14, 16] == sorted(line["number"] for line in lines(path))
        assert {"duplicate_row"} == {line["code"] for line in lines(path)}
        assert "row 1 " in next(line["message"] for line in lines(path) if line["number"] == 13)

    def test_a_batch_that_is_refused_as_a_whole(self, twin: Twin, tmp_path: Path) -> None:
        """Of a chunk that is rejected as a whole, only the row at fault fails; the others are
        applied."""
        server = MockPlatform()

        def answer(body: Body) -> httpx.Response | None:
            if not any(row["externalPlayerId"] == "p37" for row in body["rows"]):
                return None
            error = {"code": "validation_failed", "message": "one of them"}
            return httpx.Response(400, json={"error": error})

        server.answer = answer
        path = tmp_path / "failures.jsonl"
        report = imported(twin, server, players(100), failures=path)
        assert {"rows": 100, "applied": 99, "failed": 1, "chunks": 1} == counts(report)
        (failure,) = lines(path)
        assert (38, "one of them") == (failure["number"], failure["message"])
        assert 99 == len(server.known)

    def test_one_of_two_rows(self, twin: Twin) -> None:
        """Of two rows that are rejected together, the valid one is applied."""
        server = MockPlatform()

        def answer(body: Body) -> httpx.Response | None:
            if all(row["externalPlayerId"] != "p1" for row in body["rows"]):
                return None
            return httpx.Response(400, json={"error": {"code": "validation_failed"}})

        server.answer = answer
        report = imported(twin, server, players(2))
        assert {"rows": 2, "applied": 1, "failed": 1, "chunks": 1} == counts(report)

    @pytest.mark.parametrize(
        "statuses",
        [
            pytest.param([422], id="that is not Kraty's"),
            pytest.param([413], id="of too large a body"),
            pytest.param([503, 400], id="after a lost answer"),
        ],
    )
    def test_a_rejection_that_may_hide_an_effect(
        self, twin: Twin, tmp_path: Path, statuses: list[int]
    ) -> None:
        """The outcome of a row is unknown if its rejection does not exclude an effect."""
        server = MockPlatform()

        def answer(body: Body) -> httpx.Response:
            status = statuses[len(server.bodies) - 1]
            kratys = {"error": {"code": "validation_failed"}}
            return httpx.Response(status, json=kratys if status == 400 else {})

        server.answer = answer
        path = tmp_path / "failures.jsonl"
        assert 1 == imported(twin, server, players(1), failures=path).failed
        (failure,) = lines(path)
        assert "outcome_unknown" == failure["code"]
        assert "This row may have taken effect. Import it again before" in failure["message"]

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            pytest.param(200, {"data": {}}, id="without counts"),
            pytest.param(422, {}, id="a rejection that is not Kraty's"),
        ],
    )
    def test_an_unclear_answer_to_rows_in_doubt(
        self, twin: Twin, status: int, body: Body, tmp_path: Path
    ) -> None:
        """The time until when such rows may be imported again counts from their first call."""
        server = MockPlatform()
        server.answer = lambda body: httpx.Response(503)
        options: dict[str, Any] = {"journal": tmp_path / "j", "failures": tmp_path / "f"}
        with pytest.raises(ImportStoppedError):
            imported(twin, server, players(1), **options)
        began = time.time() - 20 * 3600
        with closing(sqlite3.connect(tmp_path / "j")) as journal, journal:
            journal.execute("UPDATE chunk SET begun_at = ?", (began,))
        server.answer = lambda _: httpx.Response(status, json=body)
        imported(twin, server, players(1), **options, resume=True)
        (failure,) = lines(tmp_path / "f")
        until = datetime.fromtimestamp(began + 23 * 3600, timezone.utc)
        assert f"Import it again before {until:%Y-%m-%d %H:%M} UTC" in failure["message"]

    def test_a_file_that_cannot_be_read(
        self, twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If the failures file cannot be read, the import does not begin, and the file is
        closed."""
        path = tmp_path / "failures.jsonl"
        path.write_text("")
        opened: list[Any] = []

        def fail(writer: object, file: object, known: object) -> None:
            opened.append(file)
            raise OSError("Input/output error")

        monkeypatch.setattr(FailuresWriter, "_find_end", fail)
        server = MockPlatform()
        with pytest.raises(OSError, match="Input/output error"):
            imported(twin, server, players(1), failures=path)
        assert ([True], []) == ([file.closed for file in opened], server.sizes)

    def test_nothing_is_overwritten(self, twin: Twin, tmp_path: Path) -> None:
        """An existing failures file is not overwritten, and the journal can be used again while its
        error is handled."""
        path = tmp_path / "failures.jsonl"
        path.write_text("mine\n")
        options: dict[str, Any] = {"failures": path, "journal": tmp_path / "j"}
        with pytest.raises(ValueError, match="already exists") as raised:
            imported(twin, MockPlatform(), players(1), **options)
        assert "mine\n" == path.read_text()
        assert 1 == imported(twin, MockPlatform(), players(1), **options, resume=True).applied
        assert "Delete it, or pass another failures file" in str(raised.value)


@twins
class TestStops:
    """Errors that stop an import, and how it is resumed."""

    @pytest.mark.parametrize("status", [401, 403, 409, 500])
    def test_what_is_not_about_rows(self, twin: Twin, status: int, tmp_path: Path) -> None:
        """An error that is not about rows stops the import; resumed, it repeats the same call
        first."""
        server = MockPlatform()
        error = {"error": {"code": "forbidden", "message": "no"}}
        server.answer = lambda body: (
            httpx.Response(status, json=error) if len(server.bodies) > 2 else None
        )
        journal = tmp_path / "journal"
        options = {"journal": journal, "chunk_size": 10, "in_flight": 1}
        with pytest.raises(ImportStoppedError) as caught:
            imported(twin, server, players(50), **options)
        assert isinstance(caught.value.__cause__, KratyServerError)
        assert (20, 20) == (caught.value.report.rows, caught.value.report.applied)
        doubtful = server.bodies[2]
        server.answer = lambda body: None
        server.bodies.clear()
        report = imported(twin, server, players(50), **options, resume=True)
        assert {"rows": 50, "applied": 50, "chunks": 5, "resumed": 2} == counts(report)
        # The repeated call has the same keys, so what it did the first time is not done again.
        assert doubtful == server.bodies[0]
        assert 3 == len(server.bodies)

    def test_network(self, twin: Twin) -> None:
        """An import stops when the server cannot be reached, and its error pickles."""
        server = MockPlatform()

        def answer(body: Body) -> httpx.Response:
            raise httpx.ConnectError("gone")

        server.answer = answer
        with pytest.raises(ImportStoppedError) as caught:
            imported(twin, server, players(5))
        assert isinstance(caught.value.__cause__, KratyNetworkError)
        assert "gone" in str(caught.value)
        again: KratyError = pickle.loads(pickle.dumps(caught.value))
        assert isinstance(again, ImportStoppedError)
        assert caught.value.report == again.report

    def test_retries(self, twin: Twin) -> None:
        """A call that fails for the moment is retried and counted, and the caller's hook sees each
        attempt."""
        server = MockPlatform()
        heard: list[str] = []
        server.answer = lambda body: httpx.Response(503) if len(server.bodies) == 1 else None

        def hear(info: RequestInfo) -> None:
            heard.append(info.operation)

        async def scenario(kraty: Any) -> ImportReport:
            report: ImportReport = await settled(kraty.migrate.import_players(players(3)))
            return report

        report = twin.run(
            scenario,
            http_client=twin.mocked(server),
            retry=AT_ONCE,
            on_request=hear,
        )
        assert {"rows": 3, "applied": 3, "chunks": 1, "retries": 1} == counts(report)
        assert ["migrate.players"] * 2 == heard
        assert server.bodies[0] == server.bodies[1]

    def test_a_source_that_fails(self, twin: Twin, tmp_path: Path) -> None:
        """An error of the source propagates, and the import can be resumed without losing or
        repeating a row."""
        server = MockPlatform()

        def rows() -> Iterator[Body]:
            yield from players(20)
            raise LookupError("the disk")

        journal = tmp_path / "journal"
        with pytest.raises(LookupError, match="the disk"):
            imported(twin, server, rows(), journal=journal, chunk_size=10)
        report = imported(twin, server, players(30), journal=journal, chunk_size=10, resume=True)
        assert (30, 30) == (report.rows, report.applied + report.skipped)
        assert 30 == len(server.known)


@twins
class TestJournal:
    """What the journal records, and when it is refused."""

    def test_finished(self, twin: Twin, tmp_path: Path) -> None:
        """Resuming a finished import sends nothing and returns the same report."""
        server = MockPlatform()
        options = {"journal": tmp_path / "j", "failures": tmp_path / "f", "chunk_size": 4}
        rows = [*players(9), {"externalPlayerId": "bad"}, *players(1)]
        first = imported(twin, server, rows, **options)
        server.bodies.clear()
        written = (tmp_path / "f").read_bytes()
        second = imported(twin, server, rows, **options, resume=True)
        assert {**counts(first), "resumed": 3} == counts(second)
        assert [] == server.bodies
        assert written == (tmp_path / "f").read_bytes()
        assert first.totals == second.totals

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ("changed", "chunk 2, which begins with row 11"),
            ("moved", "chunk 1, which begins with row 1"),
            ("cut", "before chunk 2, which began with row 11"),
            ("longer", "chunk 3, which begins with row 21"),
            ("unsent", "chunk 1, which begins with row 1"),
        ],
    )
    def test_another_input(self, twin: Twin, change: str, said: str, tmp_path: Path) -> None:
        """A resumed import whose input differs is refused, and the error names the first chunk that
        does."""
        options = {"journal": tmp_path / "j", "chunk_size": 10}
        rows, odd = players(25), {"externalPlayerId": "z"}
        rows[0] = {"externalPlayerId": ""}  # is not sent
        changed = {
            "changed": [*rows[:12], odd, *rows[13:]],
            "moved": rows[1:],
            "cut": rows[:10],
            "longer": [*rows, odd],
            "unsent": [{"externalPlayerId": "", "displayName": "z"}, *rows[1:]],
        }
        imported(twin, MockPlatform(), rows, **options)
        with pytest.raises(ValueError, match=said):
            imported(twin, MockPlatform(), changed[change], **options, resume=True)

    def test_a_message_in_other_words(
        self, twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An import resumes under a version that words the message of a failed row differently."""
        server, options = MockPlatform(), {"journal": tmp_path / "j"}
        rows: list[Body] = [*players(2), {"externalPlayerId": 5.5}]
        first = imported(twin, server, rows, **options)
        server.bodies.clear()

        monkeypatch.setattr("kraty_admin._bulk._validate._KINDS", {float: "a fraction"})
        second = imported(twin, server, rows, **options, resume=True)

        assert {**counts(first), "resumed": 1} == counts(second)
        assert [] == server.bodies

    def test_is_there_already(self, twin: Twin, tmp_path: Path) -> None:
        """An existing journal is not overwritten."""
        journal = tmp_path / "j"
        imported(twin, MockPlatform(), players(1), journal=journal)
        with pytest.raises(ValueError, match="already exists: pass resume=True"):
            imported(twin, MockPlatform(), players(1), journal=journal)

    def test_empty_file(self, twin: Twin, tmp_path: Path) -> None:
        """An empty file, such as a temporary one, becomes the journal."""
        journal = tmp_path / "j"
        journal.touch()
        assert 1 == imported(twin, MockPlatform(), players(1), journal=journal).applied
        assert journal.stat().st_size

    def test_of_something_else(self, twin: Twin, tmp_path: Path) -> None:
        """A journal of another import is refused, and so is a file that is not a journal."""
        journal = tmp_path / "j"
        imported(twin, MockPlatform(), players(1), journal=journal)
        with pytest.raises(ValueError, match="belongs to an import of players in chunks of 1000"):
            imported(twin, MockPlatform(), players(1), journal=journal, resume=True, chunk_size=7)
        with pytest.raises(ValueError, match="not of wallet in chunks of 1000"):
            imported_wallet(twin, MockPlatform(), [], journal=journal, resume=True)
        nowhere = tmp_path / "no" / "j"
        with pytest.raises(ValueError, match=r"cannot be used: .*No such file"):
            imported(twin, MockPlatform(), players(1), journal=nowhere)
        journal.write_text("not a database, but long enough to be taken for one" * 10)
        with pytest.raises(ValueError, match="cannot be used"):
            imported(twin, MockPlatform(), players(1), journal=journal, resume=True)

    def test_in_use(self, twin: Twin, tmp_path: Path) -> None:
        """Two imports cannot use one journal at the same time."""
        journal = tmp_path / "j"
        tries: list[ImportReport] = []

        async def scenario(kraty: Any) -> None:
            def progress(report: ImportReport) -> None:
                tries.append(report)
                with pytest.raises(ValueError, match="in use"):
                    resume_too()

            await settled(
                kraty.migrate.import_players(players(5), journal=journal, on_progress=progress)
            )

        def resume_too() -> None:
            client = KratyAdmin(api_key=KEY, http_client=httpx.Client())
            client.migrate.import_players(players(5), journal=journal, resume=True)

        twin.run(scenario, http_client=twin.mocked(MockPlatform()))
        assert 1 == len(tries)

    def test_a_failure_that_was_written_but_not_noted(self, twin: Twin, tmp_path: Path) -> None:
        """A failure that was written before a kill, but not recorded, is not in the file twice."""
        server = MockPlatform()
        options = {"journal": tmp_path / "j", "failures": tmp_path / "f", "chunk_size": 2}
        options |= {"in_flight": 1}
        rows = [{"externalPlayerId": f"bad{number}"} for number in range(6)]
        imported(twin, server, rows, **options)
        whole = (tmp_path / "f").read_bytes()
        with sqlite3.connect(tmp_path / "j") as database:
            # As if the process had been killed while it wrote the failures of the last chunk.
            database.execute("UPDATE chunk SET tally = NULL WHERE number = 3")
            kept = b"".join(whole.splitlines(keepends=True)[:4])
            known = (len(kept), hashlib.sha256(kept).digest())
            database.execute("UPDATE failures_file SET end = ?, hash = ?", known)
        database.close()
        (tmp_path / "f").write_bytes(kept + b'{"number": 6, "half of a li')
        report = imported(twin, server, rows, **options, resume=True)
        assert {"rows": 6, "failed": 6, "chunks": 3, "resumed": 2} == counts(report)
        assert sorted(whole.splitlines()) == sorted((tmp_path / "f").read_bytes().splitlines())

    def test_a_copy_of_a_running_imports_journal(self, twin: Twin, tmp_path: Path) -> None:
        """The journal is one file at every moment: a copy of it alone knows what was sent."""
        server = MockPlatform()

        def copied(body: Body) -> None:
            if len(server.bodies) == 4:
                (tmp_path / "copy").write_bytes((tmp_path / "j").read_bytes())

        server.answer = copied
        options: dict[str, Any] = {"chunk_size": 10, "in_flight": 1}
        imported(twin, server, players(60), **options, journal=tmp_path / "j")
        before = len(server.bodies)
        imported(twin, server, players(60), **options, journal=tmp_path / "copy", resume=True)
        again = [body["rows"][0]["externalPlayerId"] for body in server.bodies[before:]]
        assert ["p30", "p40", "p50"] == again


@twins
class TestProgress:
    """What an import reports to `on_progress`."""

    def test_is_monotonic(self, twin: Twin) -> None:
        """Each report has one chunk more than the one before, and no fewer rows."""
        seen: list[ImportReport] = []
        imported(twin, MockPlatform(), players(95), chunk_size=10, on_progress=seen.append)
        assert list(range(1, 11)) == [report.chunks for report in seen]
        assert sorted(report.rows for report in seen) == [report.rows for report in seen]
        assert (95, 95) == (seen[-1].rows, seen[-1].applied)


def test_a_power_cut_loses_no_record(tmp_path: Path) -> None:
    """SQLite waits for the disk at each commit, so that what was sent is known even after that."""
    journal = Journal(tmp_path / "j", kind="players", chunk_size=10, resume=False)
    (setting,) = journal._db.execute("PRAGMA synchronous").fetchone()  # pyright: ignore[reportPrivateUsage]
    assert 2 == setting  # FULL
    journal.close()


def test_the_time_of_the_first_attempt_is_kept(tmp_path: Path) -> None:
    """A chunk that is sent again keeps the time from which its keys expire."""
    journal = Journal(tmp_path / "j", kind="players", chunk_size=10, resume=False)
    for now in (5.0, 9.0):
        journal.begin(1, 1, b"h", now)
    entry = journal.entry(1)
    journal.close()
    assert entry is not None
    assert 5.0 == entry.begun_at


def test_an_outcome_without_its_failures_is_not_recorded(tmp_path: Path) -> None:
    """An outcome is recorded together with its failures: otherwise a resumed import would cut
    them off the failures file."""
    journal = Journal(tmp_path / "j", kind="players", chunk_size=10, resume=False)
    journal.begin(1, 1, b"h", 0.0)
    journal._db.execute("DROP TABLE failures_file")  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(OSError, match="j cannot be used"):
        journal.finish(1, Tally(), FailuresFile(7, b"h"))
    journal.close()
    resumed = Journal(tmp_path / "j", kind="players", chunk_size=10, resume=True)
    entry = resumed.entry(1)
    resumed.close()
    assert entry is not None
    assert entry.tally is None


def test_full_disk(tmp_path: Path) -> None:
    """A journal on a full disk raises `OSError`."""
    journal = Journal(tmp_path / "j", kind="players", chunk_size=10, resume=False)
    journal._db.execute("PRAGMA max_page_count = 8")  # pyright: ignore[reportPrivateUsage]

    def fill() -> None:
        for number in range(2000):
            journal.begin(number, 1, b"x" * 32, 0.0)

    with pytest.raises(OSError, match="j cannot be used: database or disk is full"):
        fill()
    journal.close()


def test_damaged_file(tmp_path: Path) -> None:
    """A journal that was damaged raises `OSError`, so that its chunks do not count as new."""
    file = tmp_path / "j"
    journal = Journal(file, kind="players", chunk_size=10, resume=False)
    for number in range(500):
        journal.begin(number, 1, b"x" * 32, 0.0)
    journal.close()
    file.write_bytes(file.read_bytes()[: 4 * 4096].ljust(file.stat().st_size, b"\0"))
    journal = Journal(file, kind="players", chunk_size=10, resume=True)
    with pytest.raises(OSError, match="j cannot be used: database disk image is malformed"):
        journal.entry(499)
    journal.close()


class TestProgressThatRaises:
    """Exceptions of `on_progress`, which end the import."""

    @twins
    def test_is_noted_nevertheless(self, twin: Twin, tmp_path: Path) -> None:
        """Chunks in flight when `on_progress` raises are recorded, so that none is sent again."""
        server = MockPlatform()

        def progress(report: ImportReport) -> None:
            raise LookupError(report.chunks)

        options: dict[str, Any] = {"journal": tmp_path / "j", "chunk_size": 10}
        with pytest.raises(LookupError):
            imported(twin, server, players(60), **options, on_progress=progress)
        sent = len(server.bodies)
        report = imported(twin, server, players(60), **options, resume=True)
        assert (60, 60, sent) == (report.rows, report.applied, report.resumed)
        assert 6 == len(server.bodies)


class Watched(Limiter):
    """A limiter that never delays a call, and records what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0
        self.left: list[str | None] = []
        self.held: list[float] = []

    def take(self, now: float) -> float:
        self.taken += 1
        return super().take(now)

    def done(self, headers: Mapping[str, str], now: float, wall: float) -> None:
        self.left.append(headers.get("ratelimit-remaining"))
        super().done({}, now, wall)

    def hold(self, seconds: float, now: float) -> None:
        self.held.append(seconds)


class Slow(Limiter):
    """A limiter that delays each call once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def take(self, now: float) -> float:
        self.asked += 1
        return 0.0001 if self.asked % 2 else super().take(now)


@twins
class TestRateLimit:
    """How imports use the limiter of their client."""

    def test_limiter_is_used(self, twin: Twin) -> None:
        """The limiter is asked before each chunk, updated after it, and told of each 429 at
        once."""
        limiter = Watched()
        server = MockPlatform()
        refusal = httpx.Response(429, headers={"Retry-After": "0"})
        server.answer = lambda body: refusal if len(server.bodies) == 2 else None

        async def scenario(kraty: Any) -> None:
            kraty._limiter = limiter
            await settled(kraty.migrate.import_players(players(40), chunk_size=10))

        twin.run(scenario, http_client=twin.mocked(server), retry=AT_ONCE)
        assert (4, [None] * 4, [0.0]) == (limiter.taken, limiter.left, limiter.held)

    def test_a_wait_delays_the_chunk(self, twin: Twin) -> None:
        """A chunk that has to wait is sent later, and only once."""
        limiter = Slow()
        server = MockPlatform()

        async def scenario(kraty: Any) -> ImportReport:
            kraty._limiter = limiter
            report: ImportReport = await settled(
                kraty.migrate.import_players(players(40), chunk_size=10, in_flight=2)
            )
            return report

        report = twin.run(scenario, http_client=twin.mocked(server))
        assert (40, [10] * 4) == (report.applied, server.sizes)
        assert 8 == limiter.asked

    @pytest.mark.parametrize("breaks", ["source", "journal"])
    def test_a_call_that_does_not_begin(self, twin: Twin, breaks: str) -> None:
        """If the source or the journal fails, no call stays counted as in flight."""

        def rows() -> Iterator[Body]:
            yield from players(3)
            raise OSError("broken")

        def begin(*_: object) -> None:
            raise OSError("broken")

        async def scenario(kraty: Any) -> int:
            source = rows() if breaks == "source" else players(3)
            with pytest.raises(OSError, match="broken"):
                await settled(kraty.migrate.import_players(source, chunk_size=1))
            in_flight: int = kraty._limiter._in_flight
            return in_flight

        with pytest.MonkeyPatch.context() as patch:
            if breaks == "journal":
                patch.setattr(Journal, "begin", begin)
            assert 0 == twin.run(scenario, http_client=twin.mocked(MockPlatform()))

    def test_is_shared(self, twin: Twin) -> None:
        """A client and its `with_options` copies share a limiter; another client has its own."""
        kraty = twin.client()
        assert kraty._limiter is kraty.with_options(timeout=1.0)._limiter
        assert kraty._limiter is not twin.client()._limiter


@twins
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"in_flight": 0}, ValueError, "in_flight must be from 1 to 100"),
        ({"in_flight": True}, TypeError, "in_flight must be an int"),
        ({"patience": 12 * 3600 + 1}, ValueError, "patience must be from 0 to 43200"),
        ({"chunk_size": 1001}, ValueError, "chunk_size must be from 1 to 1000"),
        ({"on_progress": 3}, TypeError, "on_progress must be callable"),
        ({"on_progress": asyncio.sleep}, TypeError, "on_progress must be a plain function"),
        ({"resume": True}, ValueError, "resume needs the journal"),
        ({"preset": "nobody"}, ValueError, "playfab"),
        ({"mapping": {"nothing": "x"}}, ValueError, "externalPlayerId"),
    ],
)
def test_bad_arguments(
    twin: Twin, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    """A wrong argument is refused before anything is sent."""
    server = MockPlatform()
    with pytest.raises(error, match=said):
        imported(twin, server, iter(()), **options)
    assert [] == server.bodies


@twins
@pytest.mark.parametrize("rows", [7, b"players.csv", {"externalPlayerId": "p"}, None])
def test_no_rows(twin: Twin, rows: Any) -> None:
    """An argument that holds no rows is refused with its type."""
    with pytest.raises(TypeError, match="rows must be an iterable of dicts or a path, not"):
        imported(twin, MockPlatform(), rows)


class TestAsync:
    """Imports that only the asynchronous client offers."""

    def test_asynchronous_rows(self) -> None:
        """Rows may come from an asynchronous generator."""

        async def rows() -> AsyncIterator[Body]:
            for row in players(23):
                await asyncio.sleep(0)
                yield row

        server = MockPlatform()
        assert 23 == imported(ASYNC, server, rows(), chunk_size=5).applied

    def test_asynchronous_rows_of_the_other_client(self) -> None:
        """`KratyAdmin` cannot wait for rows, and says which client can."""

        async def rows() -> AsyncIterator[Body]:
            yield players(1)[0]

        with pytest.raises(TypeError, match=r"^asynchronous rows need KratyAdminAsync"):
            imported(SYNC, MockPlatform(), rows())

    def test_a_call_that_waits_for_its_answer(self) -> None:
        """If the source fails, an asynchronous call is cancelled, and not counted as in flight."""

        def rows() -> Iterator[Body]:
            yield from players(1)
            raise OSError("broken")

        async def never(request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError  # nothing sets the event

        async def scenario(kraty: Any) -> int:
            with pytest.raises(OSError, match="broken"):
                await kraty.migrate.import_players(rows(), chunk_size=1)
            in_flight: int = kraty._limiter._in_flight
            return in_flight

        client = httpx.AsyncClient(transport=httpx.MockTransport(never))
        assert 0 == ASYNC.run(scenario, http_client=client)

    def test_cancelled(self, tmp_path: Path) -> None:
        """A cancelled import leaves a journal from which it can be resumed."""
        server = MockPlatform()

        async def scenario(kraty: Any) -> None:
            tasks: list[asyncio.Task[ImportReport]] = []

            def cancel(report: ImportReport) -> None:
                tasks[0].cancel()

            options = {"journal": tmp_path / "j", "chunk_size": 10, "on_progress": cancel}
            task = asyncio.ensure_future(kraty.migrate.import_players(players(50), **options))
            tasks.append(task)
            with pytest.raises(asyncio.CancelledError):
                await task

        ASYNC.run(scenario, http_client=ASYNC.mocked(server))
        report = imported(
            ASYNC, server, players(50), journal=tmp_path / "j", chunk_size=10, resume=True
        )
        assert (50, 50) == (report.rows, report.applied + report.skipped)
        assert 50 == len(server.known)


KINDS: Final[dict[str, Body]] = {
    "wallet": {"externalPlayerId": "p", "economyKey": "gold", "amount": 7},
    "inventory": {"externalPlayerId": "p", "itemKey": "health_potion", "quantity": 2},
    "players": {"externalPlayerId": "p"},
}


class TestEmulator:
    """Imports over real HTTP, and a dry run."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_kinds(self, kind: str) -> None:
        """Players, balances and items are each applied once, even if they are imported twice."""
        rows = [{**KINDS[kind], "externalPlayerId": f"p{number}"} for number in range(25)]
        with Emulator() as kraty, kraty.client() as client:
            run = getattr(client.migrate, f"import_{kind}")
            assert 25 == run(rows, chunk_size=10).applied
            assert 25 == run(rows, chunk_size=7).skipped
            if kind == "wallet":
                assert {7} == {kraty.balance(f"p{number}", "gold") for number in range(25)}
            if kind == "inventory":
                held = {kraty.quantity(f"p{number}", "health_potion") for number in range(25)}
                assert {2} == held

    def test_dry_run(self) -> None:
        """A dry run without a server reports the rows that would be sent and those that would
        fail."""
        shown: list[Body] = []
        rows = [KINDS["wallet"], {**KINDS["wallet"], "externalPlayerId": "q", "amount": 0}]
        report = dry_run("wallet", rows, on_row=shown.append)
        assert {"rows": 2, "applied": 1, "failed": 1, "chunks": 1} == counts(report)
        key = derive_key("import", "wallet", "p", "gold")
        assert [{**KINDS["wallet"], "idempotencyKey": key}] == shown

        async def show(row: Body) -> None: ...

        with pytest.raises(TypeError, match=r"^on_row must be a plain function"):
            dry_run("wallet", rows, on_row=show)


def balances(*amounts: int) -> list[Body]:
    """Return rows of one player's gold."""
    return [{"externalPlayerId": "p", "economyKey": "gold", "amount": each} for each in amounts]


def imported_wallet(twin: Twin, server: MockPlatform, rows: Any, **options: Any) -> ImportReport:
    """Import balances and return the report."""

    async def scenario(kraty: Any) -> ImportReport:
        report: ImportReport = await settled(kraty.migrate.import_wallet(rows, **options))
        return report

    return twin.run(scenario, http_client=twin.mocked(server), retry=AT_ONCE)


@twins
class TestTarget:
    """A journal belongs to one server and one game."""

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"gameId": "g_2"}, id="another game"),
            pytest.param({"studioId": "s_2"}, id="another studio"),
            pytest.param({"environment": "test"}, id="test data"),
            pytest.param({"gameId": None}, id="all games"),
        ],
    )
    def test_another_target(self, twin: Twin, change: Body, tmp_path: Path) -> None:
        """A journal of another game is refused, even if its import is finished, and nothing is
        sent."""
        staging, live = MockPlatform(), MockPlatform()
        imported(twin, staging, players(3), journal=tmp_path / "j")
        live.api_key |= change
        with pytest.raises(ValueError, match=r"an import into game g_1 of studio s_1 \(live\) at"):
            imported(twin, live, players(3), journal=tmp_path / "j", resume=True)
        assert [] == live.bodies

    def test_another_server(self, twin: Twin, tmp_path: Path) -> None:
        """A journal of the same game on another server is refused; a final slash makes no other
        server."""

        async def scenario(kraty: Any) -> None:
            await settled(
                kraty.migrate.import_players(players(3), journal=tmp_path / "j", resume=True)
            )

        for url in ("https://one.test", "https://one.test/"):
            twin.run(scenario, http_client=twin.mocked(MockPlatform()), base_url=url)
        with pytest.raises(
            ValueError, match=r"belongs to an import into .* at https://one[.]test, but"
        ):
            twin.run(scenario, http_client=twin.mocked(MockPlatform()), base_url="https://two.test")

    def test_another_key_of_the_game(self, twin: Twin, tmp_path: Path) -> None:
        """A journal can be resumed with a rotated key, if the server names the game; it never holds
        the secret."""
        odd = MockPlatform()
        odd.api_key = {}

        async def scenario(kraty: Any) -> None:
            await settled(kraty.migrate.import_players(players(3), journal=journal, resume=True))

        journal = tmp_path / "j"
        for key in ("old.secret", "new.secret"):
            twin.run(scenario, http_client=twin.mocked(MockPlatform()), api_key=key)
        journal = tmp_path / "of an odd server"
        twin.run(scenario, http_client=twin.mocked(odd), api_key="old.secret")
        with pytest.raises(ValueError, match="the game of the API key old"):
            twin.run(scenario, http_client=twin.mocked(odd), api_key="new.secret")
        assert b"secret" not in journal.read_bytes()

    def test_it_is_asked_once(self, twin: Twin, tmp_path: Path) -> None:
        """An import with a journal asks the server once for its game; one without does not ask."""
        server = MockPlatform()
        imported(twin, server, players(30), chunk_size=10, journal=tmp_path / "j")
        imported(twin, server, players(30), chunk_size=10)
        assert 1 == server.pings

    def test_of_version_1(self, twin: Twin, tmp_path: Path) -> None:
        """A journal of 0.1.0 is refused by name, since it does not record its target."""
        with sqlite3.connect(tmp_path / "j") as database:
            database.execute("CREATE TABLE import (version, kind, chunk_size, salt)")
            database.execute("INSERT INTO import VALUES (1, 'players', 1000, 'x')")
        database.close()
        with pytest.raises(ValueError, match=r"was written by kraty-admin 0[.]1[.]0"):
            imported(twin, MockPlatform(), players(3), journal=tmp_path / "j", resume=True)

    def test_of_a_later_version(self, twin: Twin, tmp_path: Path) -> None:
        """A journal of a later version is refused, and nothing is sent."""
        server = MockPlatform()
        imported(twin, server, players(3), journal=tmp_path / "j")
        with closing(sqlite3.connect(tmp_path / "j", isolation_level=None)) as database:
            database.execute("UPDATE import SET version = 99")
        server.bodies.clear()
        with pytest.raises(ValueError, match="was written by another version of kraty-admin"):
            imported(twin, server, players(3), journal=tmp_path / "j", resume=True)
        assert [] == server.bodies

    def test_a_server_that_refuses_to_say(self, twin: Twin, tmp_path: Path) -> None:
        """An import with a journal sends nothing if the server does not say which game the key is
        for."""
        server = MockPlatform()

        def refuse(request: httpx.Request) -> httpx.Response:
            return httpx.Response(401) if request.method == "GET" else server(request)

        async def scenario(kraty: Any) -> None:
            await settled(kraty.migrate.import_players(players(3), journal=tmp_path / "j"))

        with pytest.raises(ImportStoppedError) as stopped:
            twin.run(scenario, http_client=twin.mocked(refuse), retry=AT_ONCE)
        assert 0 == stopped.value.report.applied
        assert [] == server.bodies


@pytest.mark.parametrize(
    ("seconds", "may_be_sent"),
    [
        pytest.param(-3_600, False, id="a clock that was set back by an hour"),
        pytest.param(-3_599, True, id="by less"),
        pytest.param(82_799, True, id="just before 23 hours"),
        pytest.param(82_800, False, id="at 23 hours"),
    ],
)
def test_until_when_rows_in_doubt_are_sent(seconds: int, may_be_sent: bool) -> None:
    """Rows in doubt are sent again for 23 hours, and not by a clock that is far behind."""
    part = Part([{}], [Row(1, {})], b"")
    assert may_be_sent == (too_late(part, begun_at=1e9, now=1e9 + seconds) is None)


@twins
class TestDoubt:
    """Chunks that may or may not have taken effect."""

    @pytest.mark.parametrize(
        ("hours", "sent"),
        [
            pytest.param(22.9, 10, id="the key is kept"),
            pytest.param(23.1, 0, id="the key may be forgotten"),
            pytest.param(-2.0, 0, id="the clock was set back"),
        ],
    )
    def test_resumed_later(
        self, twin: Twin, hours: float, sent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rows in doubt are sent again within 23 hours; later they fail, and the failures file says
        what to do."""
        server = MockPlatform()
        server.answer = lambda body: httpx.Response(403) if len(server.bodies) == 2 else None
        options: dict[str, Any] = {"journal": tmp_path / "j", "failures": tmp_path / "f"}
        options |= {"chunk_size": 10, "in_flight": 1}
        with pytest.raises(ImportStoppedError):
            imported(twin, server, players(30), **options)
        server.bodies.clear()
        server.answer = lambda body: None
        clock = time.time
        with monkeypatch.context() as patch:
            patch.setattr("kraty_admin._bulk._run.time.time", lambda: clock() + hours * 3600)
            report = imported(twin, server, players(30), **options, resume=True)
        # The third chunk was not sent before.
        assert [10, *[10] * bool(sent)] == server.sizes
        assert (30, 20 + sent, 10 - sent) == (report.rows, report.applied, report.failed)
        if sent:
            assert report.failures is None
            return
        assert [f"p{number}" for number in range(10, 20)] == [
            line["externalPlayerId"] for line in lines(tmp_path / "f")
        ]
        assert {"outcome_unknown"} == {line["code"] for line in lines(tmp_path / "f")}
        assert "if the row took effect, delete this line" in lines(tmp_path / "f")[0]["message"]

    @pytest.mark.parametrize(
        ("status", "again"),
        [
            pytest.param(503, False, id="in doubt"),
            pytest.param(429, True, id="without effect"),
        ],
    )
    def test_waits_for_a_day(
        self, twin: Twin, status: int, again: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that waits for the server does not send rows in doubt again after 23 hours, for
        example because the machine slept."""
        monkeypatch.setattr("kraty_admin._bulk._patience._FIRST_DELAY", 0.001)
        server, clock, slept = MockPlatform(), time.time, [0.0]

        def answer(body: Body) -> httpx.Response | None:
            if len(server.bodies) != 5:
                return httpx.Response(status) if 1 < len(server.bodies) < 5 else None
            slept[0] = 23.1 * 3600
            return httpx.Response(status)

        server.answer = answer
        monkeypatch.setattr("time.time", lambda: clock() + slept[0])
        report = imported(twin, server, players(30), chunk_size=10, in_flight=1, patience=60)
        # One chunk, four attempts of the next, and the last one.
        assert [10] * (7 if again else 6) == server.sizes
        assert (30, 30 if again else 20) == (report.rows, report.applied)
        assert report.failed == (0 if again else 10)

    def test_resumed_just_in_time(
        self, twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rows of an earlier run are not sent again after 23 hours either, if the server is away
        when the import is resumed."""
        monkeypatch.setattr("kraty_admin._bulk._patience._FIRST_DELAY", 0.001)
        server, clock, later = MockPlatform(), time.time, [0.0]
        server.answer = lambda body: httpx.Response(503)
        options: dict[str, Any] = {"journal": tmp_path / "j", "chunk_size": 10, "in_flight": 1}
        with pytest.raises(ImportStoppedError):
            imported(twin, server, players(20), **options)
        server.bodies.clear()

        def answer(body: Body) -> httpx.Response | None:
            if len(server.bodies) > 4:
                return None
            later[0] += 600
            return httpx.Response(503)

        server.answer = answer
        later[0] = 22.9 * 3600
        monkeypatch.setattr("time.time", lambda: clock() + later[0])
        report = imported(twin, server, players(20), **options, resume=True, patience=60)
        assert (10, 10) == (report.failed, report.applied)
        assert 5 == len(server.bodies)

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            pytest.param({}, "failures is not a list", id="empty"),
            pytest.param(
                {"applied": 1, "skipped": 0, "failed": 2, "failures": []},
                "2 rows failed, but 0 failures are listed",
                id="failures that are not listed",
            ),
            pytest.param(
                {"applied": 3, "skipped": 3, "failed": 0, "failures": []},
                "it has 3 applied, 3 skipped and 0 failed rows, but 3 were sent",
                id="more rows than were sent",
            ),
            pytest.param(
                {"applied": 2, "skipped": 0, "failed": 0, "failures": []},
                "it has 2 applied, 0 skipped and 0 failed rows, but 3 were sent",
                id="fewer rows than were sent",
            ),
            pytest.param(
                {"applied": True, "skipped": 2, "failed": 0, "failures": []},
                "applied is not a count",
                id="no number",
            ),
            pytest.param(
                {"applied": 4, "skipped": -1, "failed": 0, "failures": []},
                "skipped is not a count",
                id="a negative number",
            ),
            pytest.param(
                {"applied": 2, "skipped": 0, "failed": 1, "failures": [{"rowIndex": -1}]},
                "a failure names a row that was not sent",
                id="a row before the first",
            ),
            pytest.param(
                {"applied": 2, "skipped": 0, "failed": 1, "failures": [{"rowIndex": 3}]},
                "a failure names a row that was not sent",
                id="a row that was not sent",
            ),
            pytest.param(
                {"applied": 1, "skipped": 0, "failed": 2, "failures": [{"rowIndex": 1}] * 2},
                "two failures name the same row",
                id="one row twice",
            ),
        ],
    )
    def test_an_answer_that_does_not_add_up(
        self, twin: Twin, answer: Body, why: str, tmp_path: Path
    ) -> None:
        """The rows of an answer that does not add up fail with an unknown outcome; the others are
        imported."""
        server = MockPlatform()
        odd = httpx.Response(200, json={"data": answer})
        server.answer = lambda body: odd if len(server.bodies) == 1 else None
        file = tmp_path / "failures.jsonl"
        options = {"failures": file, "chunk_size": 3, "in_flight": 1}
        report = imported(twin, server, players(6), **options)
        assert {"rows": 6, "applied": 3, "failed": 3, "chunks": 2} == counts(report)
        assert [1, 2, 3] == [line["number"] for line in lines(file)]
        (message,) = {line["message"] for line in lines(file)}
        assert f"the server's answer contradicts itself: {why}. " in message
        assert {"outcome_unknown"} == {line["code"] for line in lines(file)}
        assert 3 == imported(twin, server, file).applied


@twins
class TestCounts:
    """Every row is counted once, and amounts add up."""

    def test_control_totals(self, twin: Twin) -> None:
        """The totals of each currency split the source's amount into imported, left out and
        failed."""
        server = MockPlatform()
        bad = {"externalPlayerId": "bad", "economyKey": "gold", "amount": 70}
        gems = {"externalPlayerId": "p", "economyKey": "gems", "amount": 9}
        text = {"externalPlayerId": "q", "economyKey": "gold", "amount": "many"}
        rows = [*balances(100, 50), bad, gems, text]
        report = imported_wallet(twin, server, rows, chunk_size=2)
        assert {"rows": 5, "applied": 2, "failed": 2, "duplicates": 1, "chunks": 3} == counts(
            report
        )
        assert {
            "gold": ImportTotals(source=220, imported=100, left_out=50, failed=70),
            "gems": ImportTotals(source=9, imported=9),
        } == report.totals
        again = imported_wallet(twin, server, rows)
        assert (0, 2) == (again.applied, again.skipped)
        assert report.totals == again.totals

    def test_duplicates_of_one_row(self, twin: Twin) -> None:
        """Rows made of one row of the source can be duplicates, in an import and in a dry run."""
        server = MockPlatform()
        potion = {"ItemId": "health_potion"}
        rows = [{"PlayFabId": "A1", "Inventory": [potion, potion]}]

        async def scenario(kraty: Any) -> ImportReport:
            report: ImportReport = await settled(
                kraty.migrate.import_inventory(rows, preset="playfab")
            )
            return report

        report = twin.run(scenario, http_client=twin.mocked(server))
        dry = dry_run("inventory", rows, preset="playfab")
        for each in (report, dry):
            assert (1, 2, 1, 1) == (each.read, each.rows, each.applied, each.duplicates)
            assert not each.complete

    def test_a_transaction_log(self, twin: Twin, tmp_path: Path) -> None:
        """Of several amounts for one balance only the first is applied, unless they are to be added
        up."""
        server, other = MockPlatform(), MockPlatform()
        rows = balances(100, 50, 25)
        report = imported_wallet(twin, server, rows, failures=tmp_path / "f")
        assert (1, 2, False) == (report.applied, report.duplicates, report.complete)
        assert [100] == [row["amount"] for row in server.known.values()]
        # Not to add them up: the first row has been applied under the key of both.
        assert lines(tmp_path / "f")[0]["message"].endswith("give it its own idempotencyKey")
        summed = imported_wallet(twin, other, rows, sum_duplicates=True)
        assert (3, 1, {"added_up": 2}) == (summed.rows, summed.applied, summed.left_out_reasons)
        assert summed.complete
        assert [175] == [row["amount"] for row in other.known.values()]
        assert {"gold": ImportTotals(175, 175)} == summed.totals
        assert summed.totals == dry_run("wallet", rows, sum_duplicates=True).totals

    def test_what_is_not_added_up(self, twin: Twin) -> None:
        """Rows with equal keys, with other differences, or with a sum beyond the limit are
        duplicates."""
        server = MockPlatform()
        (gold,) = balances(5)
        rows = [{**gold, "idempotencyKey": "k"}] * 2
        rows += [{**gold, "reason": "a"}, {**gold, "reason": "b"}]
        rows += [{**gold, "externalPlayerId": "q", "amount": 2**53 - 1}] * 2
        rows += balances(0)
        report = imported_wallet(twin, server, rows, sum_duplicates=True)
        assert (3, 3, 1) == (report.applied, report.duplicates, report.failed)
        assert {5, 2**53 - 1} == {row["amount"] for row in server.known.values()}
        with pytest.raises(ValueError, match="sum_duplicates is for wallet and inventory"):
            imported(twin, server, players(1), sum_duplicates=True)

    def test_amounts_of_many_players(self, twin: Twin) -> None:
        """Amounts are added up across chunks, and each chunk is sent when it is full."""
        server = MockPlatform()
        rows = [
            {"externalPlayerId": f"p{number % 5}", "economyKey": "gold", "amount": number}
            for number in range(1, 11)
        ]
        report = imported_wallet(twin, server, rows, chunk_size=2, sum_duplicates=True)
        assert (5, {"added_up": 5}) == (report.applied, report.left_out_reasons)
        assert [2, 2, 1] == sorted(server.sizes, reverse=True)
        amounts = {row["externalPlayerId"]: row["amount"] for row in server.known.values()}
        assert {"p0": 15, "p1": 7, "p2": 9, "p3": 11, "p4": 13} == amounts

    def test_a_name_that_json_cannot_hold(self, twin: Twin, tmp_path: Path) -> None:
        """A row with a field name that JSON cannot hold fails alone, and nothing of it is kept."""
        rows: list[dict[Any, Any]] = [*balances(5), {**balances(7)[0], ("a", "b"): 1}]
        options = {"sum_duplicates": True, "failures": tmp_path / "f"}
        report = imported_wallet(twin, MockPlatform(), rows, **options)
        assert (1, 1) == (report.applied, report.failed)
        (failure,) = lines(tmp_path / "f")
        assert "a field's name is of type tuple; it must be text" == failure["message"]
        assert "economyKey" not in failure

    def test_invalid_rows_are_not_sent(self, twin: Twin) -> None:
        """A dry run and an import refuse the same rows."""
        server = MockPlatform()
        rows = balances(5, 0, 2**53)
        report = imported_wallet(twin, server, rows)
        dry = dry_run("wallet", rows)
        assert (1, 2) == (report.applied, report.failed) == (dry.applied, dry.failed)
        assert [1] == server.sizes


@twins
class TestPatience:
    """A server that is unavailable for a while does not end an import."""

    @pytest.fixture(autouse=True)
    def _no_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kraty_admin._bulk._patience._FIRST_DELAY", 0.001)

    def test_it_goes_on(self, twin: Twin, caplog: pytest.LogCaptureFixture) -> None:
        """An import repeats the same call until the server answers, and logs why it waits."""
        server = MockPlatform()
        server.answer = lambda body: httpx.Response(503) if 2 <= len(server.bodies) <= 14 else None
        report = imported(twin, server, players(40), chunk_size=10, in_flight=1, patience=60)
        assert (40, 40) == (report.rows, report.applied)
        # 13 failures are three calls of four attempts, and one attempt of a fourth.
        assert 1 == len({json.dumps(body) for body in server.bodies[1:15]})
        assert 3 == sum("an import waits for the server" in each for each in caplog.messages)

    def test_not_before_the_first_answer(self, twin: Twin) -> None:
        """An import whose server has never answered ends at once, since the address may be
        wrong."""
        server = MockPlatform()
        server.answer = lambda body: httpx.Response(503)
        with pytest.raises(ImportStoppedError):
            imported(twin, server, players(1), patience=60)
        assert 4 == len(server.bodies)

    def test_a_rejection_is_an_answer(self, twin: Twin) -> None:
        """An import waits for a server whose only answer so far was a rejected row."""
        server = MockPlatform()
        error = {"error": {"code": "validation_failed", "message": "no"}}

        def answer(body: Body) -> httpx.Response | None:
            if len(server.bodies) == 1:
                return httpx.Response(400, json=error)
            return httpx.Response(503) if len(server.bodies) < 8 else None

        server.answer = answer
        report = imported(twin, server, players(2), chunk_size=1, in_flight=1, patience=60)
        assert (1, 1) == (report.failed, report.applied)

    def test_an_end_of_the_import_ends_the_wait(
        self, twin: Twin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When another call stops the import, calls that wait give up."""
        monkeypatch.setattr("kraty_admin._bulk._patience._FIRST_DELAY", 30.0)
        server = MockPlatform()

        def answer(body: Body) -> httpx.Response | None:
            first = body["rows"][0]["externalPlayerId"]
            return {"p10": httpx.Response(503), "p40": httpx.Response(401)}.get(first)

        server.answer = answer
        started = time.monotonic()
        with pytest.raises(ImportStoppedError, match="401"):
            imported(twin, server, players(50), chunk_size=10, in_flight=2, patience=600)
        assert time.monotonic() - started < 20


def broken() -> Iterator[Body]:
    """Fail before the first row."""
    raise LookupError
    yield {}


def emptied(text: str) -> str:
    return ""


def one_fixed(text: str) -> str:
    return text.splitlines(keepends=True)[1].replace("bad1", "x" * 500)


def without_last_line_end(text: str) -> str:
    return text.replace("bad0", "fixed").rstrip("\n")


@twins
class TestFailuresFile:
    """The failures file may be edited, moved or emptied before the import is resumed."""

    def stopped(self, twin: Twin, folder: Path) -> tuple[MockPlatform, dict[str, Any], list[Body]]:
        """Return an import that stopped after a chunk with two failures."""
        server = MockPlatform()
        server.answer = lambda body: httpx.Response(403) if len(server.bodies) == 2 else None
        options = {"journal": folder / "j", "failures": folder / "f", "chunk_size": 10}
        options |= {"in_flight": 1}
        bad = [{"externalPlayerId": f"bad{number}"} for number in range(3)]
        rows = [*bad[:2], *players(8), *players(9, 20), bad[2]]
        with pytest.raises(ImportStoppedError):
            imported(twin, server, rows, **options)
        return server, options, rows

    @pytest.mark.parametrize(
        ("edited", "expected"),
        [
            pytest.param(emptied, ["bad2"], id="emptied"),
            pytest.param(one_fixed, ["x" * 500, "bad2"], id="one line fixed and the other removed"),
            pytest.param(
                without_last_line_end, ["fixed", "bad1", "bad2"], id="without the last line's end"
            ),
        ],
    )
    def test_edited(
        self, twin: Twin, edited: Callable[[str], str], expected: list[str], tmp_path: Path
    ) -> None:
        """Edits of the failures file stay, and new failures are appended."""
        server, options, rows = self.stopped(twin, tmp_path)
        file = tmp_path / "f"
        file.write_text(edited(file.read_text()))
        report = imported(twin, server, rows, **options, resume=True)
        assert (17, 3) == (report.applied, report.failed)
        ids = [json.loads(line)["externalPlayerId"] for line in file.read_text().splitlines()]
        assert expected == ids

    def test_moved_away(self, twin: Twin, tmp_path: Path) -> None:
        """If the failures file was moved away, later failures go to a new, private file."""
        server, options, rows = self.stopped(twin, tmp_path)
        (tmp_path / "f").rename(tmp_path / "fixed")
        imported(twin, server, rows, **options, resume=True)
        assert ["bad2"] == [line["externalPlayerId"] for line in lines(tmp_path / "f")]
        assert 0o600 == (tmp_path / "f").stat().st_mode & 0o777

    def test_a_line_that_could_not_be_read(self, twin: Twin, tmp_path: Path) -> None:
        """The text of an unreadable line can be fixed in the failures file, and is read with its
        source's columns."""
        server, source, file = MockPlatform(), tmp_path / "x.csv", tmp_path / "f.jsonl"
        source.write_text("Id,Name\np1,Ann\np2,Bob,b\n")
        mapping = {"externalPlayerId": "Id"}
        imported(twin, server, source, mapping=mapping, failures=file)
        file.write_text(file.read_text().replace("p2,Bob,b", "p2,Bob"))
        assert 1 == imported(twin, server, file, mapping=mapping).applied
        assert {"p1", "p2"} == {row["externalPlayerId"] for row in server.known.values()}

    def test_a_line_that_nobody_fixed(self, twin: Twin, tmp_path: Path) -> None:
        """A line of the failures file that nobody fixed fails again, for the same reason."""
        server, source, file = MockPlatform(), tmp_path / "x.csv", tmp_path / "f.jsonl"
        source.write_text("externalPlayerId\np1,Ann\n")
        assert 1 == imported(twin, server, source, failures=file).failed
        again = tmp_path / "again.jsonl"
        assert 1 == imported(twin, server, file, failures=again).failed
        (before,), (after,) = lines(file), lines(again)
        assert before | {"number": 1} == after

    def test_killed_in_the_first_chunk(self, twin: Twin, tmp_path: Path) -> None:
        """A failure of a chunk whose outcome was not recorded is not in the file twice."""
        server = MockPlatform()
        options: dict[str, Any] = {"journal": tmp_path / "j", "failures": tmp_path / "f"}
        with pytest.raises(LookupError):
            imported(twin, server, broken(), **options)
        (tmp_path / "f").write_text('{"number": 1, "externalPlayerId": "bad')
        imported(twin, server, [{"externalPlayerId": "bad"}], **options, resume=True)
        assert ["bad"] == [line["externalPlayerId"] for line in lines(tmp_path / "f")]

    def test_none_if_nothing_fails(self, twin: Twin, tmp_path: Path) -> None:
        """An import without failures neither creates the failures file nor names it."""
        report = imported(twin, MockPlatform(), players(3), failures=tmp_path / "f")
        assert (None, False) == (report.failures, (tmp_path / "f").exists())


def test_no_space_for_adding_up() -> None:
    """A temporary file that cannot grow is reported as a full disk is."""
    sums = Sums("wallet")
    sums._db.execute("PRAGMA max_page_count = 8")  # pyright: ignore[reportPrivateUsage]
    row = {"externalPlayerId": "p" * 90_000, "economyKey": "gold", "amount": 1}
    with closing(sums), pytest.raises(OSError, match=r"adding up rows cannot be used: .* full"):
        sums.add(Row(1, row, 1))


def test_a_copy_of_the_error_has_the_report() -> None:
    """An error rebuilt from JSON has its report, though fields are missing or unknown."""
    report = ImportReport(rows=3, totals={"gold": ImportTotals(5, 5)}, notes=("a note",))
    error = ImportStoppedError("it stopped", report=report)
    message, facts = json.loads(json.dumps(error.args))
    assert report == ImportStoppedError(message, facts).report
    facts["report"]["later"] = 1
    facts["report"]["totals"]["gold"]["later"] = 1
    assert report == ImportStoppedError(message, facts).report
    facts["report"] = {"rows": 3}
    assert ImportReport(rows=3) == ImportStoppedError(message, facts).report
