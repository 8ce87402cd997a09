"""`kraty-admin outbox`: a worker, monitoring and decisions, on an SQLite file."""

from __future__ import annotations

import getpass
import inspect
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from engines import check_connections
from kraty_admin import KratyAdmin, inbox, outbox
from kraty_admin.cli import _outbox
from kraty_admin.emulator import Emulator, Fault
from kraty_admin.models import WebhookEvent

from .test_commands import Command, at_terminal
from .testkit import LIVE_KEY, PATIENCE, RUN, TEST_KEY

URL: Final = "sqlite:///shop.sqlite3"
PASSWORD: Final = "canary-pa/ss@word"
DAY: Final = 24 * 3_600_000

Record = Callable[..., int]


@pytest.fixture(scope="session")
def template(server: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Set up a database that tests copy, since creating its tables takes long."""
    path = tmp_path_factory.mktemp("outbox") / "shop.sqlite3"
    engine = sa.create_engine(f"sqlite:///{path}")
    with KratyAdmin(api_key=TEST_KEY, base_url=server.base_url) as client:
        outbox.set_up(engine, client)
    engine.dispose()
    return path


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str],
    kraty: Emulator,
    template: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """Return the command, with a database that has been set up."""
    monkeypatch.setenv("KRATY_OUTBOX_URL", URL)
    shutil.copy(template, "shop.sqlite3")
    return Command(capsys, kraty)


@pytest.fixture
def engine(command: Command) -> Iterator[sa.Engine]:
    engine = sa.create_engine(URL)
    yield engine
    engine.dispose()


@pytest.fixture
def record(engine: sa.Engine) -> Record:
    """Return a function that records a credit and returns the id of its intent."""

    def credit(key: str = "r1", player: str = "p", currency: str = "gold") -> int:
        with engine.begin() as connection:
            return (
                outbox.into(connection)
                .wallet.credit(player, currency, amount=500, idempotency_key=key)
                .id
            )

    return credit


FAR = 4_000_000_000_000
"""A moment in the year 2096, in milliseconds."""


def make(engine: sa.Engine, intent_id: int, **values: object) -> None:
    """Set columns of an intent."""
    intents = outbox.Tables().intents
    with engine.begin() as connection:
        connection.execute(intents.update().where(intents.c.id == intent_id).values(**values))


def make_unknown(engine: sa.Engine, intent_id: int) -> None:
    make(engine, intent_id, state="unknown", first_sent_ms=1, stopped_ms=2, attempts=1)


def make_refused(engine: sa.Engine, intent_id: int, *, ambiguous: bool) -> None:
    error = json.dumps({"message": "no", "code": "conflict", "ambiguous": ambiguous})
    first_sent = 1 if ambiguous else None
    make(engine, intent_id, state="refused", first_sent_ms=first_sent, stopped_ms=2, error=error)


class TestSetUp:
    """`outbox set-up` creates the tables for the game of the key."""

    def test_it_creates_the_tables_and_names_the_game(self, command: Command) -> None:
        """`set-up` creates the tables and prints the game, and may be repeated."""
        Path("shop.sqlite3").unlink()
        assert command("outbox", "set-up").status == 0
        done = command("outbox", "set-up", "--json")
        assert (0, "game_1", "test") == (
            done.status,
            done.json["game_id"],
            done.json["environment"],
        )
        assert command("outbox", "status").status == 0

    def test_another_target_needs_an_option(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The database of another environment is refused, unless `--add-target` is passed."""
        monkeypatch.setenv("KRATY_SERVER_KEY", LIVE_KEY)
        refused = command("outbox", "set-up")
        assert refused.status == 1
        assert "this database's outbox is for game game_1 (test)" in refused.err
        assert command("outbox", "run", "--once").status == 1
        assert command("outbox", "set-up", "--add-target").status == 0

    def test_prefix_and_schema_name_the_tables(self, command: Command, engine: sa.Engine) -> None:
        """`--prefix` and `--schema` may stand before and after the subcommand."""
        assert command("outbox", "--prefix", "x_", "set-up").status == 0
        assert command("outbox", "status", "--prefix", "x_", "--schema", "main").status == 0
        assert 1 == command("outbox", "status", "--prefix", "x_", "--schema", "nowhere").status
        assert command("outbox", "set-up", "--prefix", "").status == 0
        names = sa.inspect(engine).get_table_names()
        assert {"outbox_intents", "x_outbox_intents", "kraty_outbox_intents"} <= set(names)


class TestRun:
    """`outbox run` sends pending intents."""

    def test_once_sends_what_is_due(
        self, command: Command, kraty: Emulator, record: Record
    ) -> None:
        """With `--once`, the worker ends when nothing is due or a limit is reached, and prints
        which."""
        record("r1")
        record("r2")
        done = command("outbox", "run", "--once", "--limit", "1", "--in-flight", "1", "--json")
        assert (0, 1, "limit") == (done.status, done.json["done"], done.json["stopped_by"])
        assert "Open" not in done.err  # one more is due now
        done = command("outbox", "run", "--once", "--seconds", "0.000001", "--json")
        assert (0, "time") == (done.json["done"], done.json["stopped_by"])
        done = command("outbox", "run", "--once", "--seconds", "60")
        assert done.status == 0
        assert "stopped_by\tempty" in done.out
        assert 1000 == kraty.balance("p", "gold")

    def test_once_says_what_is_open_but_not_due(
        self, command: Command, engine: sa.Engine, record: Record
    ) -> None:
        """With `--once`, a worker that finds nothing due says how many calls wait or are being
        sent by another one."""
        done = command("outbox", "run", "--once")
        assert "stopped_by\tempty" == done.out.splitlines()[-1]
        assert "Open" not in done.err
        make(engine, record("r2", player="q"), due_ms=FAR)
        assert "Open, but not due now: 1 pending.\n" in command("outbox", "run", "--once").err
        make(engine, record("r1"), state="sending", due_ms=FAR, first_sent_ms=FAR, attempts=1)
        done = command("outbox", "run", "--once")
        assert (0, "stopped_by\tempty") == (done.status, done.out.splitlines()[-1])
        assert (
            "Open, but not due now: 1 pending, 1 sending, by another worker or by one that was"
            " killed.\n"
        ) in done.err

    def test_once_ends_with_6_if_a_person_has_to_look(
        self, command: Command, engine: sa.Engine, record: Record
    ) -> None:
        """The status is 6 if an intent was refused or became unknown in this run."""
        record("r1", currency="no_such_currency")
        late = record("r2", player="q")
        make(engine, late, first_sent_ms=1, attempts=1)
        done = command("outbox", "run", "--once", "--json")
        assert (6, 1, 1) == (done.status, done.json["refused"], done.json["unknown"])
        assert " WARNING <Intent 1 wallet.credit refused" in done.err
        assert " ERROR <Intent 2 wallet.credit unknown" in done.err
        assert "may have taken effect; it is not sent again until you decide" in done.err
        assert command("outbox", "run", "--once").status == 0

    def test_a_signal_ends_the_service_with_0(
        self,
        command: Command,
        record: Record,
        kraty: Emulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """After SIGTERM the calls in flight finish, and the status is 0. Until then, the log is
        shown from INFO on."""

        class Stopper(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if "was refused" in record.getMessage():
                    levels.append(logger.level)
                    os.kill(os.getpid(), signal.SIGTERM)

        record("r1")
        record("r2", currency="no_such_currency")
        record("r3", currency="no_such_currency", player="q")
        record("r4", player="r")
        before = signal.getsignal(signal.SIGTERM)
        stopper, logger = Stopper(), logging.getLogger("kraty_admin")
        levels: list[int] = []
        monkeypatch.setattr(logger, "level", logging.ERROR)
        logger.addHandler(stopper)
        handlers = [*logger.handlers]
        try:
            once = command("outbox", "run", "--once", "--in-flight", "1", "--json")
            done = command("outbox", "run", "--json")
            assert (logging.ERROR, handlers) == (logger.level, logger.handlers)
        finally:
            logger.removeHandler(stopper)
        assert (6, "stop") == (once.status, once.json["stopped_by"])
        assert (0, "stop") == (done.status, done.json["stopped_by"])
        assert (1, 1) == (once.json["refused"], done.json["refused"])
        assert [logging.INFO, logging.INFO] == levels
        assert 500 == kraty.balance("p", "gold")
        assert before is signal.getsignal(signal.SIGTERM)

    def test_a_service_gets_its_options(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A service sends as many calls at a time as `--in-flight` says, from the right tables."""
        passed: dict[str, Any] = {}

        def run(*arguments: object, **options: Any) -> outbox.DrainReport:
            passed.update(options)
            return outbox.DrainReport(0, 0, 0, 0, "stop")

        monkeypatch.setattr(outbox, "run", run)
        assert 0 == command("outbox", "set-up", "--prefix", "x_").status
        assert 0 == command("outbox", "run", "--in-flight", "2", "--prefix", "x_").status
        assert (2, "x_outbox_intents") == (passed["in_flight"], passed["tables"].intents.name)

    def test_the_help_names_the_default_of_seconds(self, command: Command) -> None:
        """The help of `outbox run` names the default of `outbox.drain` for `seconds`."""
        seconds = inspect.signature(outbox.drain).parameters["seconds"].default
        assert f"Default: {seconds:g}." in command("outbox", "run", "--help").out

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            pytest.param(["--limit", "1"], "need --once", id="limit of a service"),
            pytest.param(["--seconds", "1"], "need --once", id="seconds of a service"),
            pytest.param(["--once", "--in-flight", "0"], "in_flight", id="none in flight"),
            pytest.param(["--once", "--limit", "0"], "limit", id="none at most"),
        ],
    )
    def test_options_that_do_not_fit(self, command: Command, options: list[str], said: str) -> None:
        """An option of `outbox run` without its companion, or with a bad value, is a usage
        error."""
        done = command("outbox", "run", *options)
        assert 2 == done.status
        assert said in done.err

    def test_a_platform_that_is_down(self, command: Command, kraty: Emulator) -> None:
        """A worker whose first ping gets no answer ends with the status of that error."""
        kraty.faults.add(Fault("drop"), operation="health.ping", times=None)
        assert 5 == command("--deadline", "0.3", "outbox", "run").status


class TestLooking:
    """`outbox status`, `list` and `show`."""

    def test_status_counts_each_state(
        self, command: Command, engine: sa.Engine, record: Record
    ) -> None:
        """The status counts every state, even those without intents, and dates the oldest."""
        empty = command("outbox", "status", "--json").json
        assert {
            "pending": 0,
            "sending": 0,
            "done": 0,
            "refused": 0,
            "unknown": 0,
            "abandoned": 0,
        } == (empty["counts"])
        assert (None, None) == (empty["oldest_open"], empty["oldest_unknown_seconds"])
        make(engine, record("r1"), created_ms=sa.text(f"created_ms - {DAY}"))
        make_unknown(engine, record("r2"))
        found = command("outbox", "status", "--json").json
        assert (1, 1) == (found["counts"]["pending"], found["counts"]["unknown"])
        assert DAY / 1000 <= found["oldest_open_seconds"] < DAY / 1000 + 600
        assert "1970-01-01T00:00:00.002000+00:00" == found["oldest_unknown"]
        assert found["oldest_unknown_seconds"] > 1_700_000_000
        assert "counts.pending\t1" in command("outbox", "status").out
        make(engine, 1, created_ms=FAR)  # by a clock that is ahead
        assert 0 == command("outbox", "status", "--json").json["oldest_open_seconds"]

    def test_list_chooses(self, command: Command, engine: sa.Engine, record: Record) -> None:
        """The list is newest first, and can be narrowed by state, player, key and number."""
        ids = [record("r1"), record("r2", player="q"), record("r3")]
        make_unknown(engine, ids[2])

        def listed(*options: str) -> list[int]:
            found = command("outbox", "list", "--json", *options).json["intents"]
            return [each["id"] for each in found]

        assert ids[::-1] == listed()
        assert [ids[2], ids[0]] == listed("--player", "p")
        assert [ids[0]] == listed("--player", "p", "--state", "pending")
        assert [ids[1]] == listed("--idempotency-key", "r2")
        assert [ids[2]] == listed("--limit", "1")
        assert "" == command("outbox", "list").err
        assert "There may be more than 1" in command("outbox", "list", "--limit", "1").err
        assert 2 == command("outbox", "list", "--state", "lost").status

    def test_people_get_local_times_and_programs_utc(
        self, command: Command, engine: sa.Engine, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Tables show local times with their offset, and JSON shows UTC."""
        intent = record()
        make(engine, intent, created_ms=1_795_000_000_000)
        with monkeypatch.context() as india:
            india.setenv("TZ", "Asia/Kolkata")
            time.tzset()
            tables = [command("outbox", *each).out for each in (["list"], ["show", str(intent)])]
        time.tzset()
        assert all("2026-11-18 16:36:40+05:30" in table for table in tables)
        (found,) = command("outbox", "list", "--json").json["intents"]
        assert "2026-11-18T11:06:40+00:00" == found["created_at"]

    def test_show_has_all_of_an_intent(
        self, command: Command, engine: sa.Engine, record: Record
    ) -> None:
        """An intent is shown with its content, and with the next command if it is unknown."""
        intent = str(record())
        shown = command("outbox", "show", intent)
        assert "/players/p/wallet/gold/credit" in shown.out
        assert "request.body.amount\t500" in shown.out
        assert "" == shown.err
        assert 500 == command("outbox", "show", intent, "--json").json["request"]["body"]["amount"]
        make_unknown(engine, int(intent))
        assert f"kraty-admin outbox resolve {intent}" in command("outbox", "show", intent).err
        missing = command("outbox", "show", "99", "--json")
        assert (3, "not_found") == (missing.status, missing.error["code"])

    def test_each_fact_of_an_intent(
        self, command: Command, engine: sa.Engine, record: Record
    ) -> None:
        """`show` has each fact of an intent under its own name, and `list` the most important."""
        intent = record("r1")
        error = {"message": "no such item", "code": "not_found", "ambiguous": True}
        note = {"action": "retry", "by": "ann", "why": "x", "at": "2026-11-18T11:06:45+00:00"}
        result = {"economyKey": "gold", "balance": 500, "applied": True}
        make(engine, intent, state="refused", attempts=3, error=json.dumps(error))
        make(engine, intent, result=json.dumps(result), notes=json.dumps([note]))
        names = ("created", "first_sent", "stopped", "due")
        make(engine, intent, **{f"{name}_ms": 1000 * at for at, name in enumerate(names, 1)})
        shown = command("outbox", "show", str(intent), "--json").json
        request = shown.pop("request")
        assert ["amount", "idempotencyKey"] == sorted(request["body"])
        assert {
            "id": intent,
            "operation": "wallet.credit",
            "state": "refused",
            "players": ["p"],
            "idempotency_key": "r1",
            "attempts": 3,
            "created_at": "1970-01-01T00:00:01+00:00",
            "first_sent_at": "1970-01-01T00:00:02+00:00",
            "stopped_at": "1970-01-01T00:00:03+00:00",
            "due_at": "1970-01-01T00:00:04+00:00",
            "error": error,
            "notes": [note],
            "result": result,
        } == shown
        row = command("outbox", "list").out.splitlines()[-1].split("\t")
        assert [str(intent), "refused", "wallet.credit", "p", "3"] == row[:5]
        assert "not_found" == row[-1]
        make(engine, intent, error=json.dumps({**error, "code": None}))
        assert command("outbox", "list").out.endswith("\tno such item\n")

    def test_other_tables(self, command: Command) -> None:
        """Each command uses only the tables that `--prefix` names."""
        Path("shop.sqlite3").unlink()
        assert 0 == command("outbox", "set-up", "--prefix", "x_").status
        tables = outbox.Tables(prefix="x_")
        engine = sa.create_engine(URL)
        with engine.begin() as connection:
            wallet = outbox.into(connection, tables=tables).wallet
            ids = [str(wallet.credit(player, "gold", amount=1).id) for player in "abc"]
            for intent, state in zip(ids[1:], ("unknown", "refused"), strict=True):
                row = tables.intents.update().where(tables.intents.c.id == int(intent))
                connection.execute(row.values(state=state, stopped_ms=1))
        engine.dispose()
        for words in (
            ["run", "--once"],
            ["status"],
            ["list"],
            ["show", ids[0]],
            ["resolve", ids[1], "--applied", "--why", "x", "--yes"],
            ["retry", ids[2], "--why", "x"],
            ["purge", "--days", "0", "--inbox-days", "0", "--yes"],
        ):
            done = command("outbox", *words, "--prefix", "x_")
            assert (words, 0) == (words, done.status), done.err


class TestDeciding:
    """`outbox resolve`, `retry` and `purge`."""

    @pytest.mark.parametrize(
        ("action", "state", "said"),
        [
            pytest.param("--applied", "done", "If it had no effect", id="applied"),
            pytest.param("--send-again", "pending", "is paid, or charged, twice", id="send again"),
            pytest.param("--abandon", "abandoned", "If it had no effect", id="abandon"),
        ],
    )
    def test_a_decision_is_confirmed_and_kept(
        self,
        command: Command,
        engine: sa.Engine,
        record: Record,
        monkeypatch: pytest.MonkeyPatch,
        action: str,
        state: str,
        said: str,
    ) -> None:
        """A decision asks first, naming the risk, and is stored with who decided and why."""
        intent = record()
        make_unknown(engine, intent)
        resolve = ("outbox", "resolve", str(intent), action, "--why", "ticket 7")
        assert 2 == command(*resolve).status
        at_terminal(monkeypatch, "n\n")
        declined = command(*resolve)
        assert 1 == declined.status
        assert said in declined.err
        assert f"intent {intent}: wallet.credit /players/p/wallet/gold/credit (amount 500)" in (
            declined.err
        )
        assert "unknown" == outbox.find(engine)[0].state
        at_terminal(monkeypatch, "y\n")
        assert 0 == command(*resolve).status
        (found,) = outbox.find(engine)
        assert state == found.state
        note = {name: value for name, value in found.notes[0].items() if name != "at"}
        assert {"action": action[2:], "by": getpass.getuser(), "why": "ticket 7"} == note

    def test_what_is_sent_again_is_delivered(
        self, command: Command, engine: sa.Engine, record: Record, kraty: Emulator
    ) -> None:
        """An unknown intent that a person sends again is delivered."""
        intent = record()
        make_unknown(engine, intent)
        again = ("--send-again", "--why", "not in the ledger", "--by", "ann", "--yes", "--json")
        done = command("outbox", "resolve", str(intent), *again)
        assert (0, "pending", "ann") == (
            *(done.status, done.json["state"]),
            done.json["notes"][0]["by"],
        )
        assert 0 == command("outbox", "run", "--once").status
        assert 500 == kraty.balance("p", "gold")

    def test_one_action_is_needed(
        self, command: Command, engine: sa.Engine, record: Record
    ) -> None:
        """A decision without an action, or without a reason, is a usage error."""
        intent = record()
        make_unknown(engine, intent)
        done = command("outbox", "resolve", str(intent), "--why", "x", "--yes")
        assert 2 == done.status
        assert "--applied, --send-again or --abandon" in done.err
        assert 2 == command("outbox", "resolve", str(intent), "--applied", "--yes").status

    @pytest.mark.parametrize(
        "verb", [["retry"], ["resolve", "--applied"]], ids=["retry", "resolve"]
    )
    def test_a_state_that_does_not_allow_it(
        self, command: Command, record: Record, verb: list[str]
    ) -> None:
        """A decision that the state does not allow is refused, and the message names the state."""
        done = command("outbox", *verb, str(record()), "--why", "x", "--json")
        assert (4, "conflict") == (done.status, done.error["code"])
        assert "is pending" in done.error["message"]
        assert 3 == command("outbox", *verb, "99", "--why", "x").status

    def test_retry_sends_what_was_refused(
        self, command: Command, engine: sa.Engine, record: Record, kraty: Emulator
    ) -> None:
        """A retry of a refused intent that had no effect sends it again."""
        intent = record()
        make_refused(engine, intent, ambiguous=False)
        by = ("--by", "ann", "--why", "currency added")
        done = command("outbox", "retry", str(intent), *by, "--json")
        assert (0, "ann", "") == (done.status, done.json["notes"][0]["by"], done.err)
        assert 0 == command("outbox", "run", "--once").status
        assert 500 == kraty.balance("p", "gold")

    def test_retry_of_what_may_have_taken_effect(
        self, command: Command, engine: sa.Engine, record: Record, kraty: Emulator
    ) -> None:
        """A retry with a key too old does not send an ambiguous intent: it becomes unknown."""
        intent = record()
        make_refused(engine, intent, ambiguous=True)
        done = command("outbox", "retry", str(intent), "--why", "x")
        assert 0 == done.status
        assert "it becomes unknown instead" in done.err
        assert 6 == command("outbox", "run", "--once").status
        assert "unknown" == outbox.find(engine)[0].state
        assert 0 == kraty.balance("p", "gold")

    def test_content_that_was_purged_cannot_be_sent(
        self, command: Command, engine: sa.Engine, record: Record
    ) -> None:
        """Purging asks first and deletes contents but not keys; a purged intent cannot be
        retried."""
        intent = record()
        make_refused(engine, intent, ambiguous=False)
        asked = command("outbox", "purge", "--days", "0", "--inbox-days", "9")
        assert 2 == asked.status
        assert "ids of webhooks that arrived over 9 days ago" in asked.err
        purge = command("outbox", "purge", "--days", "0", "--yes", "--json")
        assert {"intents": 1} == purge.json
        purge = command("outbox", "purge", "--days", "0", "--inbox-days", "0", "--yes", "--json")
        assert {"intents": 0, "events": 0} == purge.json
        assert None is command("outbox", "show", str(intent), "--json").json["request"]
        assert 4 == command("outbox", "retry", str(intent), "--why", "x").status
        assert intent == record()

    def test_only_old_content_is_purged(
        self, command: Command, engine: sa.Engine, record: Record
    ) -> None:
        """A purge counts in days, those of calls apart from those of webhooks, and keeps 400 days
        of calls by default."""
        ten_days_ago = sa.text(f"{round(time.time() * 1000)} - 10 * {DAY}")
        make(engine, record(), state="done", stopped_ms=ten_days_ago)
        with engine.begin() as connection:
            inbox.once(connection, WebhookEvent({"id": "evt_1"}))
            connection.execute(outbox.Tables().inbox.update().values(received_ms=ten_days_ago))

        def purged(*options: str) -> object:
            return command("outbox", "purge", "--yes", "--json", *options).json

        assert {"intents": 0, "events": 0} == purged("--days", "11", "--inbox-days", "11")
        assert {"intents": 0, "events": 1} == purged("--days", "11", "--inbox-days", "9")
        make(engine, 1, stopped_ms=sa.text(f"stopped_ms - 389 * {DAY}"))
        assert {"intents": 0} == purged()
        make(engine, 1, stopped_ms=sa.text(f"stopped_ms - 2 * {DAY}"))
        assert {"intents": 1} == purged()

    def test_another_person_decides_first(
        self,
        command: Command,
        engine: sa.Engine,
        record: Record,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A decision that somebody else made during the question stands, and ends with 4."""
        intent = record()
        make_unknown(engine, intent)

        def decide(*arguments: object) -> None:
            outbox.resolve(engine, intent, "abandon", by="bob", why="x")

        monkeypatch.setattr("kraty_admin.cli._state.State.ask", decide)
        done = command("outbox", "resolve", str(intent), "--send-again", "--why", "x")
        assert 4 == done.status
        assert "is abandoned; it must be `unknown`" in done.err
        assert "abandoned" == outbox.find(engine)[0].state

    def test_no_login_name(
        self,
        command: Command,
        engine: sa.Engine,
        record: Record,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Without a login name, as in a container, the message names the option."""

        def fail() -> str:
            raise KeyError("getpwuid(): uid not found: 4711")

        intent = record()
        make_unknown(engine, intent)
        monkeypatch.setattr(getpass, "getuser", fail)
        done = command("outbox", "resolve", str(intent), "--applied", "--why", "x", "--yes")
        assert 2 == done.status
        assert "pass --by" in done.err


class TestDatabase:
    """Which database is used, and the error if it cannot be."""

    @pytest.mark.parametrize(
        ("url", "status", "said"),
        [
            pytest.param("", 2, "there is no database: set KRATY_OUTBOX_URL", id="none"),
            pytest.param("shop.sqlite3", 2, "cannot be read", id="no URL"),
            pytest.param("postgresql://u:canary:x@h:canary/d", 2, "as %40", id="password in port"),
            pytest.param("mysql://u:canary@h/d", 2, "not mysql", id="another database"),
            pytest.param("postgresql+none://u:canary@h/d", 2, "does not know", id="no driver"),
            pytest.param("postgresql+psycopg2://h/d", 2, "pip install psycopg2", id="no package"),
            pytest.param("postgresql+asyncpg://h/d", 2, "needs a synchronous driver", id="async"),
            pytest.param("sqlite+aiosqlite:///f", 2, "needs a synchronous driver", id="aiosqlite"),
            pytest.param("sqlite://", 2, "in memory", id="memory"),
            pytest.param("sqlite:///file:f?mode=memory&uri=true", 2, "in memory", id="mode"),
            pytest.param("sqlite:///shpo.sqlite3", 2, "no database file 'shpo", id="no file"),
            pytest.param("sqlite:///empty", 1, "outbox set-up", id="no tables"),
            pytest.param("sqlite:///text", 1, "failed: file is not a database\n", id="no database"),
            pytest.param(
                "postgresql+psycopg://u:canary%2Fa@127.0.0.1:9/d",
                *(1, "the database failed: "),
                id="no terminal",
            ),
        ],
    )
    def test_a_database_that_cannot_be_used(
        self, command: Command, monkeypatch: pytest.MonkeyPatch, url: str, status: int, said: str
    ) -> None:
        """A database that cannot be used is reported in one line without its password."""
        Path("empty").touch()
        Path("text").write_text("no database, but long enough" * 100)
        monkeypatch.setenv("KRATY_OUTBOX_URL", url)
        done = command("outbox", "status")
        assert (status, "", 1) == (done.status, done.out, done.err.count("\n"))
        assert said in done.err
        assert not Path("shpo.sqlite3").exists()

    @pytest.mark.parametrize(
        "url",
        [
            pytest.param("postgresql+psycopg://u:canary@127.0.0.1:9/d", id="as part of it"),
            pytest.param("postgresql+psycopg://127.0.0.1:9/d?password=canary", id="as an option"),
            pytest.param("postgresql+psycopg://127.0.0.1:9/d?sslpassword=canary", id="of a key"),
        ],
    )
    def test_an_option_holds_no_password(self, command: Command, url: str) -> None:
        """A password in `--database-url`, which others could read, is refused."""
        done = command("outbox", "status", "--database-url", url)
        assert 2 == done.status
        assert "set KRATY_OUTBOX_URL, or pass --database-url-file" in done.err

    def test_options_come_before_the_variable(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`--database-url` and `--database-url-file` are preferred to the variable, and exclude
        each other."""
        monkeypatch.setenv("KRATY_OUTBOX_URL", "sqlite:///elsewhere")
        Path("url").write_text(f"{URL}\n")
        assert 0 == command("outbox", "--database-url", URL, "status").status
        assert 0 == command("outbox", "status", "--database-url-file", "url").status
        file = "sqlite:///file:shop.sqlite3?uri=true"
        assert 0 == command("outbox", "--database-url", file, "status").status
        both = ("--database-url-file", "url", "--database-url", URL)
        assert 2 == command("outbox", "status", *both).status
        assert 2 == command("outbox", "status", "--database-url-file", "nowhere").status
        Path("url").write_bytes(b"canary\xff")
        assert "it is not text" in command("outbox", "status", "--database-url-file", "url").err

    @pytest.mark.parametrize(("url", "wait_ms"), [(URL, 30_000), (f"{URL}?timeout=1", 1_000)])
    def test_the_engine_of_a_worker(
        self, command: Command, monkeypatch: pytest.MonkeyPatch, url: str, wait_ms: int
    ) -> None:
        """The engine has a connection for each call, tests idle ones, and waits for other writers
        for 30 s or as long as the URL says."""
        engine = _outbox._engine(sa.make_url(url), creates=False)  # pyright: ignore[reportPrivateUsage]  # ours
        assert wait_ms == check_connections(engine, monkeypatch)
        engine.dispose()

    def test_a_password_in_an_error_is_hidden(self) -> None:
        """An error hides the password, also in the escaped form of the URL."""
        url = sa.engine.URL.create("postgresql", password=PASSWORD)
        text = f"{PASSWORD} canary-pa%2Fss%40word\nx"
        assert "*** *** x" == _outbox._without_password(text, url)  # pyright: ignore[reportPrivateUsage]  # ours

    def test_a_driver_that_cannot_be_loaded(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If a driver cannot be loaded, such as psycopg without libpq, one line says why."""

        def fail(url: object, **options: object) -> None:
            raise ImportError("no pq wrapper available.\nAttempts made:\n- none")

        monkeypatch.setattr(sa, "create_engine", fail)
        done = command("outbox", "status")
        assert (2, 1) == (done.status, done.err.count("\n"))
        assert "cannot be loaded: no pq wrapper available. Attempts made: - none" in done.err

    def test_another_module_that_is_missing(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A missing module of the package itself is not reported as a missing extra."""
        monkeypatch.delitem(sys.modules, "kraty_admin.outbox")
        monkeypatch.setitem(sys.modules, "kraty_admin.outbox._store", None)
        with pytest.raises(ModuleNotFoundError, match="_store"):
            command("outbox", "status")

    def test_other_commands_do_not_load_sqlalchemy(self) -> None:
        """Other commands run without SQLAlchemy; `outbox` says what to install."""
        code = f"import sys\nsys.modules['sqlalchemy'] = None\n{RUN}"
        for arguments, status, said in (
            (["webhooks", "--help"], 0, ""),
            (["outbox", "status"], 2, "pip install 'kraty-admin[outbox]'"),
        ):
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert status == done.returncode
            assert said in done.stderr
            assert done.stderr.count("\n") == bool(said)


PAGE: Final = (Path(__file__).parents[2] / "docs" / "outbox.md").read_text(encoding="utf-8")


class TestPage:
    """The commands of docs/outbox.md."""

    def test_the_first_ten_minutes(
        self, command: Command, kraty: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The page's first section works as printed, from an empty directory to a delivered
        purchase."""
        Path("shop.sqlite3").unlink()
        section = re.split(r"^## ", PAGE, flags=re.M)[1]
        (shop,) = re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
        output: dict[str, str] = {}
        for line in "".join(re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)).splitlines():
            if line == "python shop.py":
                names: dict[str, object] = {}
                exec(compile(shop, "shop.py", "exec", dont_inherit=True), names)
                assert isinstance(names["engine"], sa.Engine)
                names["engine"].dispose()
                output[line] = capsys.readouterr().out
            elif line.startswith(("kraty-admin outbox ", "kraty-admin players ")):
                done = command(*shlex.split(line)[1:])
                assert (line, 0) == (line, done.status), done.err
                output[line] = done.out
        assert 6 == len(output)
        assert "1\tpending" in output["kraty-admin outbox list"]
        assert "balances\tgold\t500" in output["kraty-admin players get player_42"]
        assert "1 done known\n1 done known\n" == output["python shop.py"]
        assert "state\tdone" in output["kraty-admin outbox show 1"]
        assert 500 == kraty.balance("player_42", "gold")

    def test_the_commands_of_decisions(
        self, command: Command, engine: sa.Engine, record: Record
    ) -> None:
        """Each command of the page about intent 7 brings it into the state that the page names."""
        found = re.findall(r"`kraty-admin (outbox (show|resolve|retry) 7[^`]*)`", PAGE)
        assert 5 == len(found)
        states: list[str] = []
        for words, verb in found:
            intent = record(words)
            if verb == "retry":
                make_refused(engine, intent, ambiguous=False)
            else:
                make_unknown(engine, intent)
            done = command("--yes", *shlex.split(words.replace(" 7", f" {intent}")), "--json")
            states.append(done.json["state"])
        assert ["unknown", "done", "pending", "abandoned", "pending"] == states
        (purge,) = re.findall(r"^kraty-admin (outbox purge .*)$", PAGE, re.M)
        assert 0 == command(*shlex.split(purge)).status

    def test_a_restored_backup(
        self, command: Command, engine: sa.Engine, record: Record, kraty: Emulator
    ) -> None:
        """After a restored backup, no intent is paid twice: one is recognised, and one is left to a
        person."""
        record("r1")
        record("r2", player="q")
        shutil.copy("shop.sqlite3", "backup")
        assert 0 == command("outbox", "run", "--once").status
        engine.dispose()
        shutil.copy("backup", "shop.sqlite3")
        make(engine, 2, created_ms=sa.text(f"created_ms - {DAY}"))
        (statement,) = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.M | re.S)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
        done = command("outbox", "run", "--once", "--json")
        assert (6, 1, 1) == (done.status, done.json["done"], done.json["unknown"])
        assert ["unknown", "done"] == [intent.state for intent in outbox.find(engine)]
        assert (500, 500) == (kraty.balance("p", "gold"), kraty.balance("q", "gold"))
