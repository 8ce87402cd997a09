"""Imports of any length, through both clients: what is sent, noted, told and resumed."""

from __future__ import annotations

import asyncio
import json
import pickle
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
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
from kraty_admin._bulk._journal import Journal
from kraty_admin._call._idempotency import derive_key_of_any
from kraty_admin._call._limiter import Limiter
from kraty_admin.bulk import ImportReport, ImportStoppedError, dry_run
from kraty_admin.emulator import Emulator
from loopback import ASYNC, AT_ONCE, KEY, SYNC, Twin, settled, twins

Body = dict[str, Any]


class MockPlatform:
    """Answers requests as the platform does, and remembers their rows. It opens no socket."""

    def __init__(self) -> None:
        self.bodies: list[Body] = []
        self.answer: Callable[[Body], httpx.Response | None] = lambda body: None
        self.known: dict[str, Body] = {}
        """Rows that were applied, by their keys."""
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
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
        """How many rows each request had."""
        return [len(body["rows"]) for body in self.bodies]


def players(count: int, first: int = 0) -> list[Body]:
    """Rows of players."""
    return [{"externalPlayerId": f"p{number}"} for number in range(first, first + count)]


def imported(twin: Twin, server: MockPlatform, rows: Any, **options: Any) -> ImportReport:
    """What an import of players tells."""

    async def scenario(kraty: Any) -> ImportReport:
        report: ImportReport = await settled(kraty.migrate.import_players(rows, **options))
        return report

    return twin.run(scenario, http_client=twin.mocked(server), retry=AT_ONCE)


def told(report: ImportReport) -> dict[str, int]:
    """The counts of a report that are not nothing."""
    names = ("rows", "applied", "skipped", "failed", "duplicates", "chunks", "resumed", "retries")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def lines(path: Path) -> list[Body]:
    """A file of failures."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    # Chunks are settled as they come back.
    return sorted(found, key=lambda line: int(line["number"]))


@twins
class TestChunks:
    """What is sent."""

    @pytest.mark.parametrize(
        ("count", "sizes"), [(0, []), (1, [1]), (1000, [1000]), (2001, [1, 1000, 1000])]
    )
    def test_sizes(self, twin: Twin, count: int, sizes: list[int]) -> None:
        """Chunks of a thousand, and the rest."""
        server = MockPlatform()
        report = imported(twin, server, iter(players(count)))
        assert sizes == sorted(server.sizes)
        assert {f"p{number}" for number in range(count)} == {
            row["externalPlayerId"] for row in server.known.values()
        }
        assert (count, count, len(sizes)) == (report.rows, report.applied, report.chunks)

    def test_keys(self, twin: Twin) -> None:
        """A row keeps its key, or gets one that follows from what it is about."""
        server = MockPlatform()
        imported(twin, server, [{"externalPlayerId": "a", "idempotencyKey": "k"}, *players(1)])
        ((mine, derived),) = (body["rows"] for body in server.bodies)
        assert {"externalPlayerId": "a", "idempotencyKey": "k"} == mine
        assert derive_key("import", "players", "p0") == derived["idempotencyKey"]

    def test_id_with_white_space(self, twin: Twin) -> None:
        """An id is sent with its white space, and its key is that of the id as written."""
        server = MockPlatform()
        imported(twin, server, [{"externalPlayerId": "p  q"}, {"externalPlayerId": "p q"}])
        (body,) = server.bodies
        expected = [derive_key_of_any("import", "players", each) for each in ("p  q", "p q")]
        assert expected == [row["idempotencyKey"] for row in body["rows"]]

    def test_again(self, twin: Twin) -> None:
        """A second import applies nothing again, and its calls have other keys."""
        server = MockPlatform()
        first = imported(twin, server, players(30), chunk_size=10)
        second = imported(twin, server, players(30), chunk_size=10)
        assert {"rows": 30, "applied": 30, "chunks": 3} == told(first)
        assert {"rows": 30, "skipped": 30, "chunks": 3} == told(second)
        assert 6 == len({body["idempotencyKey"] for body in server.bodies})

    def test_not_touched(self, twin: Twin) -> None:
        """The caller's rows stay as they are."""
        rows = players(3)
        imported(twin, MockPlatform(), rows)
        assert players(3) == rows

    def test_in_flight(self, twin: Twin) -> None:
        """No more chunks are under way than asked for, and no fewer while there are some."""
        flying = Counter[str]()
        server = MockPlatform()

        async def scenario(kraty: Any) -> None:
            read: list[int] = []

            def rows() -> Iterator[Body]:
                for number, row in enumerate(players(400)):
                    read.append(number)
                    yield row

            def progress(report: ImportReport) -> None:
                # One chunk is read ahead of those that are under way.
                flying["most"] = max(flying["most"], len(read) - report.rows)

            await settled(
                kraty.migrate.import_players(
                    rows(), chunk_size=10, in_flight=3, on_progress=progress
                )
            )

        twin.run(scenario, http_client=twin.mocked(server))
        assert 20 <= flying["most"] <= 40

    @pytest.mark.parametrize("source", ["list", "generator", "file"])
    def test_sources(self, twin: Twin, source: str, tmp_path: Path) -> None:
        """Rows may come from an iterable or from a path."""
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
    """One bad row never stops the rest."""

    def test_each_is_reported(self, twin: Twin, tmp_path: Path) -> None:
        """Each failure is written with number, id, code, message and row, to be imported again."""
        rows = [*players(3), {"externalPlayerId": "bad"}, 7, {"x": float("inf")}, *players(2, 10)]
        server = MockPlatform()
        path = tmp_path / "failures.jsonl"
        report = imported(twin, server, rows, failures=path, chunk_size=4)
        assert {"rows": 8, "applied": 5, "failed": 3, "chunks": 2} == told(report)
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
        """The file of failures can be imported once it is corrected."""
        server = MockPlatform()
        path = tmp_path / "failures.jsonl"
        imported(twin, server, [{"externalPlayerId": "bad1"}, *players(1)], failures=path)
        path.write_text(path.read_text().replace("bad1", "mended"))
        assert {"rows": 1, "applied": 1, "chunks": 1} == told(imported(twin, server, path))
        assert {"mended", "p0"} == {row["externalPlayerId"] for row in server.known.values()}

    def test_duplicates(self, twin: Twin, tmp_path: Path) -> None:
        """A row with the key of an earlier row is not sent, and is reported with that row."""
        server = MockPlatform()
        path = tmp_path / "failures.jsonl"
        rows = [*players(12), *players(2), {"externalPlayerId": "x", "idempotencyKey": "k"}]
        rows += [{"externalPlayerId": "y", "idempotencyKey": "k"}]
        report = imported(twin, server, rows, failures=path, chunk_size=5)
        assert {"rows": 16, "applied": 13, "duplicates": 3, "chunks": 4} == told(report)
        assert [13, 14, 16] == sorted(line["number"] for line in lines(path))
        assert {"duplicate_row"} == {line["code"] for line in lines(path)}
        assert "row 1 " in next(line["message"] for line in lines(path) if line["number"] == 13)

    def test_a_batch_that_is_refused_as_a_whole(self, twin: Twin, tmp_path: Path) -> None:
        """It is halved until the row is found that it was refused for."""
        server = MockPlatform()

        def answer(body: Body) -> httpx.Response | None:
            if not any(row["externalPlayerId"] == "p37" for row in body["rows"]):
                return None
            error = {"code": "validation_failed", "message": "one of them"}
            return httpx.Response(400, json={"error": error})

        server.answer = answer
        path = tmp_path / "failures.jsonl"
        report = imported(twin, server, players(100), failures=path)
        assert {"rows": 100, "applied": 99, "failed": 1, "chunks": 1} == told(report)
        (failure,) = lines(path)
        assert (38, "one of them") == (failure["number"], failure["message"])
        assert 99 == len(server.known)

    def test_nothing_is_overwritten(self, twin: Twin, tmp_path: Path) -> None:
        """An existing file of failures is not overwritten."""
        path = tmp_path / "failures.jsonl"
        path.write_text("mine\n")
        with pytest.raises(ValueError, match="is there already"):
            imported(twin, MockPlatform(), players(1), failures=path)
        assert "mine\n" == path.read_text()


@twins
class TestStops:
    """What stops an import, and how it goes on."""

    @pytest.mark.parametrize("status", [401, 403, 409, 500])
    def test_what_is_not_about_rows(self, twin: Twin, status: int, tmp_path: Path) -> None:
        """A key that is not accepted, or a server that fails, stops it; resumed, it goes on."""
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
        assert {"rows": 50, "applied": 50, "chunks": 5, "resumed": 2} == told(report)
        # The very same call: what it had done, it does not do again.
        assert doubtful == server.bodies[0]
        assert 3 == len(server.bodies)

    def test_network(self, twin: Twin) -> None:
        """The import also stops when the server cannot be reached."""
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
        """A call that fails for the moment is tried again, and counted; the caller's hook hears."""
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
        assert {"rows": 3, "applied": 3, "chunks": 1, "retries": 1} == told(report)
        assert ["migrate.players"] * 2 == heard
        assert server.bodies[0] == server.bodies[1]

    def test_a_source_that_fails(self, twin: Twin, tmp_path: Path) -> None:
        """Its error comes through, and what was read before it is not lost."""
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
    """What is noted before and after each chunk."""

    def test_finished(self, twin: Twin, tmp_path: Path) -> None:
        """Resuming a finished import sends nothing and returns the same report."""
        server = MockPlatform()
        options = {"journal": tmp_path / "j", "failures": tmp_path / "f", "chunk_size": 4}
        rows = [*players(9), {"externalPlayerId": "bad"}, *players(1)]
        first = imported(twin, server, rows, **options)
        server.bodies.clear()
        written = (tmp_path / "f").read_bytes()
        second = imported(twin, server, rows, **options, resume=True)
        assert {**told(first), "resumed": 3} == told(second)
        assert [] == server.bodies
        assert written == (tmp_path / "f").read_bytes()

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ("changed", "chunk 2, which begins with row 11"),
            ("moved", "chunk 1, which begins with row 1"),
            ("cut", "before chunk 2, which began with row 11"),
            ("longer", "chunk 3, which begins with row 21"),
        ],
    )
    def test_another_input(self, twin: Twin, change: str, said: str, tmp_path: Path) -> None:
        """It is refused, and the first chunk that differs is named."""
        options = {"journal": tmp_path / "j", "chunk_size": 10}
        rows, odd = players(25), {"externalPlayerId": "z"}
        changed = {
            "changed": [*rows[:12], odd, *rows[13:]],
            "moved": rows[1:],
            "cut": rows[:10],
            "longer": [*rows, odd],
        }
        imported(twin, MockPlatform(), rows, **options)
        with pytest.raises(ValueError, match=said):
            imported(twin, MockPlatform(), changed[change], **options, resume=True)

    def test_is_there_already(self, twin: Twin, tmp_path: Path) -> None:
        """An existing journal is not overwritten."""
        journal = tmp_path / "j"
        imported(twin, MockPlatform(), players(1), journal=journal)
        with pytest.raises(ValueError, match="is there already: resume the import"):
            imported(twin, MockPlatform(), players(1), journal=journal)

    def test_of_something_else(self, twin: Twin, tmp_path: Path) -> None:
        """A journal of another import or of another file is refused."""
        journal = tmp_path / "j"
        imported(twin, MockPlatform(), players(1), journal=journal)
        with pytest.raises(ValueError, match="is of an import of players in chunks of 1000"):
            imported(twin, MockPlatform(), players(1), journal=journal, resume=True, chunk_size=7)
        nowhere = tmp_path / "no" / "j"
        with pytest.raises(ValueError, match="cannot be used: unable to open"):
            imported(twin, MockPlatform(), players(1), journal=nowhere)
        journal.write_text("not a database, but long enough to be taken for one" * 10)
        with pytest.raises(ValueError, match="cannot be used"):
            imported(twin, MockPlatform(), players(1), journal=journal, resume=True)

    def test_in_use(self, twin: Twin, tmp_path: Path) -> None:
        """Two imports cannot use one journal at the same time."""
        journal = tmp_path / "j"

        async def scenario(kraty: Any) -> None:
            def progress(report: ImportReport) -> None:
                with pytest.raises(ValueError, match="in use"):
                    dry(journal)

            await settled(
                kraty.migrate.import_players(players(5), journal=journal, on_progress=progress)
            )

        def dry(path: Path) -> None:
            client = KratyAdmin(api_key=KEY, http_client=httpx.Client())
            client.migrate.import_players(players(5), journal=path, resume=True)

        twin.run(scenario, http_client=twin.mocked(MockPlatform()))

    def test_a_failure_that_was_written_but_not_noted(self, twin: Twin, tmp_path: Path) -> None:
        """A kill between the two leaves no line twice."""
        server = MockPlatform()
        options = {"journal": tmp_path / "j", "failures": tmp_path / "f", "chunk_size": 2}
        options |= {"in_flight": 1}
        rows = [{"externalPlayerId": f"bad{number}"} for number in range(6)]
        imported(twin, server, rows, **options)
        whole = (tmp_path / "f").read_bytes()
        with sqlite3.connect(tmp_path / "j") as database:
            names = ("rows", "applied", "skipped", "failed", "duplicates", "failures_end")
            nulls = ", ".join(f"{name} = NULL" for name in names)
            database.execute(f"UPDATE chunk SET {nulls} WHERE number = 3")
        database.close()
        (tmp_path / "f").write_bytes(whole + b'{"number": 6, "half of a li')
        report = imported(twin, server, rows, **options, resume=True)
        assert {"rows": 6, "failed": 6, "chunks": 3, "resumed": 2} == told(report)
        assert sorted(whole.splitlines()) == sorted((tmp_path / "f").read_bytes().splitlines())


@twins
class TestProgress:
    """What is told on the way."""

    def test_is_monotonic(self, twin: Twin) -> None:
        """Every report has a chunk more than the one before."""
        seen: list[ImportReport] = []
        imported(twin, MockPlatform(), players(95), chunk_size=10, on_progress=seen.append)
        assert list(range(1, 11)) == [report.chunks for report in seen]
        assert sorted(report.rows for report in seen) == [report.rows for report in seen]
        assert (95, 95) == (seen[-1].rows, seen[-1].applied)


def test_full_disk(tmp_path: Path) -> None:
    """A journal on a full disk fails like any other file."""
    journal = Journal(tmp_path / "j", kind="players", chunk_size=10, resume=False)
    journal._db.execute("PRAGMA max_page_count = 8")  # pyright: ignore[reportPrivateUsage]
    keys = [(f"key {each}", 1) for each in range(2000)]
    with pytest.raises(OSError, match="j cannot be used: database or disk is full"):
        journal.begin(1, 1, b"x" * 32, keys)
    journal.close()


class TestProgressThatRaises:
    """What `on_progress` raises ends the import."""

    def test_is_noted_nevertheless(self, tmp_path: Path) -> None:
        """Chunks that were under way are in the journal, so that none is sent again."""
        server = MockPlatform()

        def progress(report: ImportReport) -> None:
            raise LookupError(report.chunks)

        options: dict[str, Any] = {"journal": tmp_path / "j", "chunk_size": 10}
        with pytest.raises(LookupError):
            imported(SYNC, server, players(60), **options, on_progress=progress)
        sent = len(server.bodies)
        report = imported(SYNC, server, players(60), **options, resume=True)
        assert (60, 60, sent) == (report.rows, report.applied, report.resumed)
        assert 6 == len(server.bodies)


class Watched(Limiter):
    """A limiter that lets everybody pass, and remembers what it was told."""

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


@twins
class TestRateLimit:
    """All workers of a client ask one limiter, and tell it what they hear."""

    def test_limiter_is_used(self, twin: Twin) -> None:
        """The limiter is asked before each chunk and updated after it, and at once after a 429."""
        limiter = Watched()
        server = MockPlatform()
        refusal = httpx.Response(429, headers={"Retry-After": "0"})
        server.answer = lambda body: refusal if len(server.bodies) == 2 else None

        async def scenario(kraty: Any) -> None:
            kraty._limiter = limiter
            await settled(kraty.migrate.import_players(players(40), chunk_size=10))

        twin.run(scenario, http_client=twin.mocked(server), retry=AT_ONCE)
        assert (4, [None] * 4, [0.0]) == (limiter.taken, limiter.left, limiter.held)

    def test_is_shared(self, twin: Twin) -> None:
        """Clients made of one another share it."""
        kraty = twin.client()
        assert kraty._limiter is kraty.with_options(timeout=1.0)._limiter
        assert kraty._limiter is not twin.client()._limiter


@twins
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"in_flight": 0}, ValueError, "in_flight must be from 1 to 100"),
        ({"in_flight": True}, TypeError, "in_flight must be an int"),
        ({"chunk_size": 1001}, ValueError, "chunk_size must be from 1 to 1000"),
        ({"on_progress": 3}, TypeError, "on_progress must be callable"),
        ({"resume": True}, ValueError, "resume needs the journal"),
        ({"preset": "nobody"}, ValueError, "playfab"),
        ({"mapping": {"nothing": "x"}}, ValueError, "externalPlayerId"),
    ],
)
def test_bad_arguments(
    twin: Twin, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    """They are refused before anything is read or sent."""
    server = MockPlatform()
    with pytest.raises(error, match=said):
        imported(twin, server, iter(()), **options)
    assert [] == server.bodies


@twins
@pytest.mark.parametrize("rows", [7, b"players.csv", {"externalPlayerId": "p"}, None])
def test_no_rows(twin: Twin, rows: Any) -> None:
    """What holds no rows is refused by its type."""
    with pytest.raises(TypeError, match="rows must be an iterable of dicts or a path, not"):
        imported(twin, MockPlatform(), rows)


class TestAsync:
    """What only the asynchronous client has."""

    def test_asynchronous_rows(self) -> None:
        """Rows may come asynchronously."""

        async def rows() -> AsyncIterator[Body]:
            for row in players(23):
                await asyncio.sleep(0)
                yield row

        server = MockPlatform()
        assert 23 == imported(ASYNC, server, rows(), chunk_size=5).applied

    def test_cancelled(self, tmp_path: Path) -> None:
        """Cancelled, it leaves a journal that resumes."""
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
    """Over real HTTP."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_kinds(self, kind: str) -> None:
        """Players, balances and items: each row once, whatever is sent twice."""
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
        """A dry run needs no server, and reports what would be sent and what is wrong."""
        shown: list[Body] = []
        rows = [KINDS["wallet"], {**KINDS["wallet"], "externalPlayerId": "q", "amount": 0}]
        report = dry_run("wallet", rows, on_row=shown.append)
        assert {"rows": 2, "applied": 1, "failed": 1, "chunks": 1} == told(report)
        key = derive_key("import", "wallet", "p", "gold")
        assert [{**KINDS["wallet"], "idempotencyKey": key}] == shown
