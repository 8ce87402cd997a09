"""Checks of the pages' blocks that need one, of links, and of what pages quote from the code."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import unittest
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import attrs
import httpx
import pytest
import sqlalchemy as sa
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy.orm import Session

from kraty_admin import (
    CallInfo,
    KratyAdmin,
    KratyKeyExpiredError,
    KratyNetworkError,
    KratyServerError,
    RetryConfig,
    cli,
    outbox,
    sign_webhook,
)
from kraty_admin.emulator import Emulator, Fault
from pages import BLOCKS, PAGES, ROOT, Block, Story, name_of


class Recorder:
    """A stand-in for a function or object of the reader's, which records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append(("", args, kwargs))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


@attrs.define
class Reader:
    """A reader of a page, with the names that earlier blocks have defined."""

    emulator: Emulator
    kraty: KratyAdmin
    names: dict[str, Any]

    def run(self, block: Block) -> dict[str, Any]:
        """Run a block as it is printed; return the names that it defined."""
        self.close_engines()  # as when a program that is run again had ended
        text = "\n" * block.line + block.code
        # Not with the `from __future__` of this module.
        source = compile(text, str(ROOT / block.page), "exec", dont_inherit=True)
        exec(source, self.names)
        return self.names

    def close_engines(self) -> None:
        """Close the databases that blocks have opened."""
        for value in self.names.values():
            if isinstance(value, sa.Engine):
                value.dispose()


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    """Start one emulator for all blocks with a check."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def reader(server: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Reader]:
    server.reset()
    monkeypatch.setenv("KRATY_SERVER_KEY", server.api_key)
    monkeypatch.setenv("KRATY_BASE_URL", server.base_url)
    monkeypatch.setenv("KRATY_WEBHOOK_SECRET", "whsec_docs")
    monkeypatch.setenv("KRATY_OUTBOX_URL", "sqlite:///shop.sqlite3")
    monkeypatch.chdir(tmp_path)
    with KratyAdmin() as kraty, contextlib.ExitStack() as stack:
        # As one who reads on, having run the imports of the first block.
        names: dict[str, Any] = {"kraty": kraty, "KratyAdmin": KratyAdmin, "json": json}
        names["os"] = __import__("os")
        reader = Reader(server, kraty, names)
        yield reader
        reader.close_engines()
        for value in names.values():
            if isinstance(value, KratyAdmin):
                stack.callback(value.close)


def block_named(page: str, name: str) -> Block:
    found = [block for block in BLOCKS if (block.page, block.name) == (page, name)]
    assert len(found) == 1, (page, name)
    return found[0]


Check = Callable[[Reader, Block], None]
CHECKS: dict[tuple[str, str], Check] = {}


def checks(page: str, name: str) -> Callable[[Check], Check]:
    """Register how a block is run, and what must be true afterwards."""

    def register(check: Check) -> Check:
        CHECKS[page, name] = check
        return check

    return register


def checked_blocks() -> list[Block]:
    """Return the blocks with a check, once all checks are registered."""
    return [block for block in BLOCKS if (block.page, block.name) in CHECKS]


def test_no_check_outlives_its_block() -> None:
    """Each check belongs to a block of a page."""
    assert sorted(CHECKS) == sorted((block.page, block.name) for block in checked_blocks())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a case of each block with a check; they are registered below."""
    if "block" in metafunc.fixturenames:
        cases = [pytest.param(each, id=f"{each.page} {each.name}") for each in checked_blocks()]
        metafunc.parametrize("block", cases)


def test_a_block_runs_as_printed(reader: Reader, block: Block) -> None:
    """Each block with a check runs as printed and passes the check."""
    CHECKS[block.page, block.name](reader, block)


@checks("sdk.md", "Quickstart 1")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    assert reader.emulator.balance("player_42", "gold") == 1000
    assert reader.emulator.quantity("player_42", "starter_chest") == 2
    assert reader.emulator.quantity("player_42", "legendary_box") == 2
    assert names["kraty"].is_closed


@checks("sdk.md", "Quickstart 2")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    assert reader.emulator.balance("player_42", "gold") == 500
    assert names["kraty"].is_closed


@checks("sdk.md", "Resources 1")
@checks("sdk.md", "Resources 2")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    named = set(re.findall(r"^kraty\.(\w+)", block.code, re.MULTILINE))
    assert len(named) > 2
    assert named <= reader.kraty.__dict__.keys()


@checks("sdk.md", "Idempotency 1")
def _(reader: Reader, block: Block) -> None:
    alert = Recorder()
    reader.names.update(receipt_id="r_1", alert_ops=alert)
    reader.run(block)
    reader.run(block)
    assert reader.emulator.balance("p", "gold") == 500
    assert alert.calls == []
    reader.names["receipt_id"] = "r_2"
    reader.kraty.wallet.credit("p", "gold", amount=1, idempotency_key="r_2")
    reader.run(block)
    assert alert.calls == [("", (), {"receipt_id": "r_2"})]


@checks("imports.md", "Once per row 1")
def _(reader: Reader, block: Block) -> None:
    lines = Recorder()
    reader.names["print"] = lines
    reader.run(block)
    reader.emulator.clock.advance(timedelta(hours=25))
    reader.run(block)
    assert [words for _, words, _ in lines.calls] == [
        ("applied 1, skipped 0",),
        ("applied 0, skipped 1",),
    ]


@checks("sdk.md", "Grants 1")
def _(reader: Reader, block: Block) -> None:
    reader.names["receipt_body"] = "MIIT"
    names = reader.run(block)
    assert names["grant"].contents.entries[1].currency_key == "gems"
    assert reader.emulator.balance("player_42", "gems") == 50


@checks("sdk.md", "Grants 2")
def _(reader: Reader, block: Block) -> None:
    reader.names["receipt_body"] = "MIIT"
    reader.run(block_named("sdk.md", "Grants 1"))
    reader.run(block)
    (grant,) = reader.kraty.players.get("player_42").recent_grants
    assert (grant.status, grant.acked_by) == ("claimed", "server_api")
    assert reader.emulator.balance("player_42", "gold") == 500


@checks("sdk.md", "Items 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    assert reader.emulator.quantity("player_42", "health_potion") == 0
    assert len(reader.emulator.ledger) == 2


@checks("sdk.md", "Currencies 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    assert reader.emulator.balance("p", "gold") == 400


@checks("sdk.md", "Lobbies 1")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    assert names["lobby"].participant_count == 3


@checks("sdk.md", "Lobbies 2")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block_named("sdk.md", "Lobbies 1"))
    names["lobby_id"] = names["lobby"]["id"]
    reader.run(block)
    assert names["lobby"].mode == "lobby_matched"


@checks("sdk.md", "Leaderboards and events 1")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    assert (1250.5, 1) == (names["place"].score, names["place"].rank)


@checks("sdk.md", "Leaderboards and events 2")
def _(reader: Reader, block: Block) -> None:
    client = reader.emulator.game_client
    reader.names["attempt_id"] = client.start_attempt("player_42", "quick_brawl")
    names = reader.run(block)
    assert {"kills": 2} == names["progress"].attempt.metrics
    assert "completed" == names["finished"].outcome


@checks("sdk.md", "Identity and friends 1")
def _(reader: Reader, block: Block) -> None:
    reader.emulator.game_client.befriend("player_42", "player_43")
    reader.run(block)
    (friend,) = reader.kraty.players.friends("player_43")
    assert {"name": "Boo", "avatar": None, "country": None} == friend.display_identity


@checks("sdk.md", "Players 1")
def _(reader: Reader, block: Block) -> None:
    reader.kraty.wallet.credit("player_42", "gold", amount=5)
    names = reader.run(block)
    assert names["snap"].wallet[0].balance == 5


@checks("sdk.md", "Players 2")
def _(reader: Reader, block: Block) -> None:
    assert reader.run(block)["out"]["status"] == "no_op_never_existed"
    reader.kraty.wallet.credit("player_42", "gold", amount=5)
    assert reader.run(block)["out"]["status"] == "erased"


@checks("sdk.md", "Players 3")
def _(reader: Reader, block: Block) -> None:
    with pytest.raises(KratyServerError) as caught:
        reader.run(block)
    assert caught.value.is_not_found
    reader.kraty.wallet.credit("player_42", "gold", amount=5)
    reader.run(block)
    exported = json.loads(Path("player-42-export.json").read_text())
    assert exported["player"]["externalPlayerId"] == "player_42"


@checks("sdk.md", "Players 4")
def _(reader: Reader, block: Block) -> None:
    reader.kraty.wallet.credit("player_42", "gold", amount=5)
    reader.run(block)
    assert reader.kraty.players.unban("player_42").applied is False


@checks("sdk.md", "Bulk import 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    assert reader.emulator.balance("p_1", "gold") == 1500
    assert reader.emulator.quantity("p_1", "starter_chest") == 1
    assert reader.run(block)["out"]["skipped"] == 2


@checks("sdk.md", "Bulk import 2")
def _(reader: Reader, block: Block) -> None:
    rows: list[dict[str, str]] = [
        {"externalPlayerId": f"p_{n}", "idempotencyKey": f"p_{n}"} for n in range(1500)
    ]
    del rows[1200]["externalPlayerId"]
    collect = Recorder()
    reader.names.update(all_players=rows, collect_for_retry=collect)
    assert reader.run(block)["out"]["applied"] == 499
    assert collect.calls[0][1][0][0]["rowIndex"] == 200


@checks("sdk.md", "Retries 1")
def _(reader: Reader, block: Block) -> None:
    kraty = reader.run(block)["kraty"]
    assert kraty is not reader.kraty
    assert kraty.base_url == reader.emulator.base_url


class Elided:
    """A client whose `grants.create` accepts the `...` of the page, and raises."""

    def __init__(self, failure: KratyServerError | KratyNetworkError) -> None:
        self.failure = failure
        self.grants = self

    def create(self, external_player_id: str, rest: object) -> None:
        assert (external_player_id, rest) == ("player_42", ...)
        raise self.failure


@checks("sdk.md", "Errors 1")
def _(reader: Reader, block: Block) -> None:
    # `...` leaves arguments out, so the test runs only the part that distinguishes the errors.
    codes = ["idempotency_conflict", "not_found", "forbidden", "rate_limited", "conflict"]
    failures: list[KratyServerError | KratyNetworkError] = [
        KratyServerError("no", code=code, status=400) for code in codes
    ]
    failures.append(KratyNetworkError("no", original_cause=OSError("down")))
    for failure in failures:
        reader.names["kraty"] = Elided(failure)
        reader.run(block)


def deliver(app: Any, body: bytes, headers: dict[str, str]) -> httpx.Response:
    async def post() -> httpx.Response:
        # A server answers 500 where the handler fails, and so does this.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
            return await client.post("/kraty/webhook", content=body, headers=headers)

    return asyncio.run(post())


def receives(app: Any) -> None:
    """Check that a receiver accepts what is signed and refuses anything else."""
    body = json.dumps({"id": "evt_1", "eventName": "grant.created", "data": {}}).encode()
    header = sign_webhook(raw_body=body, secret="whsec_docs")
    assert deliver(app, body, {"X-Signature": header}).status_code == 200
    assert deliver(app, body + b" ", {"X-Signature": header}).status_code == 401
    forged = sign_webhook(raw_body=body, secret="whsec_other")
    assert deliver(app, body, {"X-Signature": forged}).status_code == 401


@checks("sdk.md", "When something else ends a call 1")
def _(reader: Reader, block: Block) -> None:
    """The facts are there when a hook of the reader's own fails."""

    def fail(answer: object) -> None:
        raise LookupError("a bug")

    hooks: Any = {"response": [fail]}
    with (
        httpx.Client(event_hooks=hooks) as http_client,
        KratyAdmin(http_client=http_client) as kraty,
        contextlib.redirect_stdout(io.StringIO()) as said,
    ):
        reader.names["kraty"] = kraty
        with pytest.raises(LookupError) as raised:
            reader.run(block)
    call: CallInfo = vars(raised.value)["kraty_call"]
    assert f"wallet.credit {call.idempotency_key} {call.first_sent_at}\n" == said.getvalue()
    assert reader.emulator.balance("player_42", "gold") == 500


@checks("sdk.md", "Webhooks 1")
def _(reader: Reader, block: Block) -> None:
    receives(reader.run(block)["app"])


@checks("sdk.md", "Telemetry 1")
def _(reader: Reader, block: Block) -> None:
    metrics = Recorder()
    reader.names["metrics"] = metrics
    kraty = reader.run(block)["kraty"]
    once = kraty.with_options(retry=RetryConfig(attempts=1))
    with pytest.raises(KratyServerError):
        once.health.ping()  # the page's key is "..."
    url = f"kraty_server.{reader.emulator.base_url}/server/v1/ping"
    assert [call[1][0] for call in metrics.calls] == [url, "kraty_server.error.401"]


@checks("sdk.md", "Async 1")
def _(reader: Reader, block: Block) -> None:
    fulfil = reader.run(block)["fulfill_iap"]
    asyncio.run(fulfil(SimpleNamespace(player_id="p", id="r_1")))
    assert reader.emulator.balance("p", "gold") == 500


@checks("sdk.md", "Async 2")
def _(reader: Reader, block: Block) -> None:
    lines = Recorder()
    reader.names["print"] = lines
    asyncio.run(reader.run(block)["main"]())
    assert lines.calls == [("", (500,), {})]


@checks("README.md", "First call 1")
def _(reader: Reader, block: Block) -> None:
    # The page's key is made up, and the emulator says so.
    with pytest.raises(KratyServerError, match="session_invalid"):
        reader.run(block)
    code = block.code.replace("krt_live_a1b2.secret", reader.emulator.api_key)
    reader.run(attrs.evolve(block, code=code))
    assert reader.emulator.balance("player_42", "gold") == 500


PURCHASE = "Or with a table of your own 1"
DAYS = [0, 1, 2, 7]
TRIED = "SELECT receipt_id, first_tried_at FROM purchases"


@attrs.define
class Shop:
    """The README's shop, and a receipt that the store delivers again."""

    reader: Reader
    db: sqlite3.Connection
    asked: Recorder

    def fulfil(self, kraty: KratyAdmin | None = None, player_id: str = "p") -> None:
        self.reader.names["fulfil"](self.db, kraty or self.reader.kraty, player_id, "r_1")

    def wait(self, time: timedelta) -> None:
        """Let time pass, for the platform and for the shop."""
        self.reader.emulator.clock.advance(time)
        with self.db:
            for receipt, tried in self.db.execute(TRIED).fetchall():
                earlier = (datetime.fromisoformat(tried) - time).isoformat()
                row = (earlier, receipt)
                self.db.execute("UPDATE purchases SET first_tried_at = ? WHERE receipt_id = ?", row)

    @property
    def balance(self) -> int:
        return self.reader.emulator.balance("p", "gold")

    @property
    def calls(self) -> int:
        return len(self.reader.emulator.requests)

    def rows(self) -> list[tuple[str, int]]:
        """Return the committed rows, as another process sees them."""
        with closing(sqlite3.connect("shop.sqlite3")) as other:
            return other.execute("SELECT receipt_id, done FROM purchases").fetchall()


@pytest.fixture
def shop(reader: Reader) -> Iterator[Shop]:
    names = reader.run(block_named("README.md", PURCHASE))
    asked = names["ask_a_human"] = Recorder()
    with closing(names["open_shop"]("shop.sqlite3")) as db:
        yield Shop(reader, db, asked)


@checks("README.md", PURCHASE)
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    lines = names["print"] = Recorder()
    with closing(names["open_shop"]("shop.sqlite3")) as db:
        names["fulfil"](db, reader.kraty, "p", "r_1")
        names["fulfil"](db, reader.kraty, "p", "r_2")
    assert reader.emulator.balance("p", "gold") == 1000
    error = KratyNetworkError("down")
    names["ask_a_human"](error)
    assert lines.calls == [("", (f"please look at this purchase: {error}",), {})]


@pytest.mark.parametrize("days", DAYS)
def test_a_receipt_that_comes_again_is_paid_once(shop: Shop, days: int) -> None:
    """A receipt that was paid needs no further call, even after a week."""
    shop.fulfil()
    calls = shop.calls
    shop.wait(timedelta(days=days))
    shop.fulfil()
    assert (shop.balance, shop.calls) == (500, calls)
    assert shop.asked.calls == []


@pytest.mark.parametrize("days", DAYS)
def test_a_lost_answer_is_paid_once(shop: Shop, days: int) -> None:
    """A purchase whose answer was lost is repeated within 23 hours; later a person is asked
    instead."""
    shop.reader.emulator.faults.add(Fault("drop"), operation="wallet.credit")
    once = shop.reader.kraty.with_options(retry=RetryConfig(attempts=1))
    with pytest.raises(KratyNetworkError):
        shop.fulfil(once)
    assert shop.rows() == [("r_1", 0)]
    calls = shop.calls
    shop.wait(timedelta(days=days))
    shop.fulfil()
    in_time = days == 0
    assert shop.balance == 500
    assert shop.calls - calls == in_time
    assert shop.rows() == [("r_1", int(in_time))]
    errors = [words[0] for _, words, _ in shop.asked.calls]
    expected = [] if in_time else [KratyKeyExpiredError]
    assert [type(error) for error in errors] == expected


def test_a_receipt_is_committed_before_the_first_call(shop: Shop) -> None:
    """The row of a purchase is committed before the call is made."""
    seen: list[list[tuple[str, int]]] = []

    class Watching:
        def credit(self, *args: object, **kwargs: object) -> None:
            seen.append(shop.rows())

    shop.reader.names["fulfil"](shop.db, SimpleNamespace(wallet=Watching()), "p", "r_1")
    assert seen == [[("r_1", 0)]]
    assert shop.rows() == [("r_1", 1)]


def test_a_receipt_of_another_player_asks_a_human(shop: Shop) -> None:
    """A receipt of another player is reported and raised as a conflict, and not marked done."""
    shop.reader.emulator.faults.add(Fault("drop"), operation="wallet.credit")
    with pytest.raises(KratyNetworkError):
        shop.fulfil(shop.reader.kraty.with_options(retry=RetryConfig(attempts=1)))
    with pytest.raises(KratyServerError, match="idempotency_conflict"):
        shop.fulfil(player_id="q")
    assert len(shop.asked.calls) == 1
    assert shop.rows() == [("r_1", 0)]


@checks("README.md", "When a call fails 1")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    lines = names["print"] = Recorder()
    once = reader.kraty.with_options(retry=RetryConfig(attempts=1))
    later: dict[str, tuple[str, datetime]] = {}
    # Rejected: it changed nothing, and nothing is to be repeated.
    reader.emulator.faults.add(Fault("status", status=429, when="before"))
    with pytest.raises(KratyServerError, match="429"):
        names["credit"](once, "p", later)
    assert later == {}
    # The answer is lost; a retry that fails keeps the entry, the next one succeeds.
    reader.emulator.faults.add(Fault("drop"))
    names["credit"](once, "p", later)
    assert [player for player, _ in later.values()] == ["p"]
    reader.emulator.faults.add(Fault("status", status=503, when="before"))
    with pytest.raises(KratyServerError, match="503"):
        names["retry"](once, later)
    assert len(later) == 1
    names["retry"](once, later)
    assert (later, reader.emulator.balance("p", "gold"), lines.calls) == ({}, 500, [])
    # Too late: nothing is sent.
    reader.emulator.faults.add(Fault("drop"))
    names["credit"](once, "p", later)
    later = {key: (who, at - timedelta(hours=23)) for key, (who, at) in later.items()}
    calls = len(reader.emulator.requests)
    names["retry"](once, later)
    assert (later, len(reader.emulator.requests)) == ({}, calls)
    assert "too late to repeat, please look at p and key" in str(lines.calls)


OUTBOX = "A purchase that is still correct after a week 1"


@checks("README.md", OUTBOX)
def _(reader: Reader, block: Block) -> None:
    lines = reader.names["print"] = Recorder()
    reader.run(block)
    assert lines.calls == [("", (1,), {})]
    assert reader.emulator.balance("player_42", "gold") == 500


@checks("README.md", "Webhooks 1")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    receives(names["app"])
    assert handled() == ["evt_1"]
    names["handle"] = fails_once = FailsOnce()
    body = json.dumps({"id": "evt_2", "eventName": "grant.created", "data": {}}).encode()
    headers = {"X-Signature": sign_webhook(raw_body=body, secret="whsec_docs")}
    statuses = [deliver(names["app"], body, headers).status_code for _ in range(3)]
    assert statuses == [500, 200, 200]
    assert fails_once.runs == 2
    assert handled() == ["evt_1", "evt_2"]
    with closing(sqlite3.connect("shop.sqlite3")) as db:
        assert db.execute("SELECT * FROM effects").fetchall() == [("evt_2",)]


class FailsOnce:
    """A handler that writes to the database, and then fails the first time."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, session: Session, event: Any) -> None:
        self.runs += 1
        session.execute(sa.text("CREATE TABLE IF NOT EXISTS effects (event_id TEXT)"))
        session.execute(sa.text("INSERT INTO effects VALUES (:id)"), {"id": event.id})
        if self.runs == 1:
            raise RuntimeError("the handler fails")


def handled() -> list[str]:
    with closing(sqlite3.connect("shop.sqlite3")) as db:
        rows = db.execute("SELECT event_id FROM kraty_inbox ORDER BY event_id").fetchall()
        return [str(row[0]) for row in rows]


@contextlib.contextmanager
def shop_with_outbox(reader: Reader) -> Generator[sa.Engine, None, None]:
    """Yield the engine of a database that has been set up."""
    engine = sa.create_engine("sqlite:///shop.sqlite3")
    outbox.set_up(engine, reader.kraty)
    try:
        yield engine
    finally:
        engine.dispose()


def record(engine: sa.Engine) -> outbox.Intent[Any]:
    with engine.begin() as connection:
        credit = outbox.into(connection).wallet.credit
        return credit("player_42", "gold", amount=500, idempotency_key="r")


@checks("outbox.md", "Ten minutes: from an empty database to a delivered purchase 1")
def _(reader: Reader, block: Block) -> None:
    lines = reader.names["print"] = Recorder()
    with shop_with_outbox(reader) as engine:
        reader.run(block)
        outbox.drain(reader.kraty, engine)
        reader.run(block)
    said = [words for _, words, _ in lines.calls]
    assert said == [
        (1, "pending", "new"),
        (1, "pending", "known"),
        *[(1, "done", "known")] * 2,
    ]
    assert reader.emulator.balance("player_42", "gold") == 500


@checks("outbox.md", "When a person has to decide 1")
def _(reader: Reader, block: Block) -> None:
    lines = reader.names["print"] = Recorder()
    with shop_with_outbox(reader) as engine:
        record(engine)
        with engine.begin() as connection:
            connection.execute(
                outbox.Tables().intents.update().values(state="unknown", stopped_ms=1)
            )
        reader.run(block)
        (intent,) = outbox.find(engine)
    assert (intent.state, intent.notes[0]["by"]) == ("done", "ann")
    assert lines.calls == [("", (1, "wallet.credit", ("player_42",), None), {})]


@checks("outbox.md", "Workers 1")
def _(reader: Reader, block: Block) -> None:
    lines = reader.names["print"] = Recorder()
    with shop_with_outbox(reader) as engine:
        record(engine)
        with engine.begin() as connection:
            outbox.into(connection).wallet.credit("q", "nothing", amount=1, idempotency_key="s")
        names = reader.run(block)
        assert names["send_due"]() == 1
    kraty, engine = names["tools"]()
    kraty.close()
    engine.dispose()
    assert reader.emulator.balance("player_42", "gold") == 500
    assert "please look at <Intent 2 wallet.credit refused" in str(lines.calls)


@checks("outbox.md", "Workers 2")
def _(reader: Reader, block: Block) -> None:
    lines = reader.names["print"] = Recorder()
    worker = reader.run(block)["worker"]

    async def main() -> None:
        task = asyncio.create_task(worker("sqlite+aiosqlite:///shop.sqlite3"))
        while reader.emulator.balance("player_42", "gold") != 500:
            await asyncio.wait([task], timeout=0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        await task

    with shop_with_outbox(reader) as engine:
        record(engine)
        asyncio.run(asyncio.wait_for(main(), 60))
    report: outbox.DrainReport = lines.calls[0][1][0]
    assert (report.done, report.stopped_by) == (1, "stop")


@checks("outbox.md", "SQLite 1")
def _(reader: Reader, block: Block) -> None:
    engine: sa.Engine = reader.run(block)["engine"]
    outbox.set_up(engine, reader.kraty)
    record(engine)
    assert outbox.drain(reader.kraty, engine).done == 1
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@checks("outbox.md", "Alembic 1")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    found = names["Base"].metadata.tables
    assert len(found) == 5
    assert set(found.values()) == set(names["tables"].all)


@checks("outbox.md", "Keeping and erasing data 1")
def _(reader: Reader, block: Block) -> None:
    with shop_with_outbox(reader) as engine:
        record(engine)
        reader.run(block)
        assert outbox.drain(reader.kraty, engine).done == 2
        assert [intent.players for intent in outbox.find(engine)] == [(), ()]
    with pytest.raises(KratyServerError, match="not_found"):
        reader.kraty.players.get("player_42")


@checks("outbox.md", "Monitoring 1")
def _(reader: Reader, block: Block) -> None:
    lines = reader.names["print"] = Recorder()
    with shop_with_outbox(reader) as engine:
        reader.run(block)
        record(engine)
        reader.run(block)
    said = [str(words[0]) for _, words, _ in lines.calls]
    assert said[:2] == ["0 wait, the oldest for 0 s", "0 need a decision"]
    assert said[2].startswith("1 wait, the oldest for ")


@checks("observability.md", "Logs 1")
def _(reader: Reader, block: Block) -> None:
    logger = logging.getLogger("kraty_admin")
    try:
        reader.run(block)
        assert logger.isEnabledFor(logging.INFO)
    finally:
        logger.setLevel(logging.NOTSET)


@checks("observability.md", "Hooks 1")
def _(reader: Reader, block: Block) -> None:
    kraty = reader.run(block)["kraty"]
    reader.emulator.faults.add(Fault("status", status=503), operation="health.ping")
    with patch.object(reader.names["log"], "log") as log:
        kraty.with_options(retry=RetryConfig(initial_delay=0)).health.ping()
    assert [(each.args[0], each.args[1] % each.args[2:]) for each in log.mock_calls] == [
        (logging.WARNING, "health.ping, attempt 1: 503 internal_error"),
        (logging.DEBUG, "health.ping, attempt 2: 200"),
    ]


@checks("observability.md", "OpenTelemetry 1")
def _(reader: Reader, block: Block) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with patch("opentelemetry.trace.get_tracer_provider", return_value=provider):
        kraty = reader.run(block)["kraty"]
    kraty.health.ping()
    assert [span.name for span in exporter.get_finished_spans()] == ["GET", "health.ping"]


@checks("observability.md", "OpenTelemetry 2")
def _(reader: Reader, block: Block) -> None:
    lines = reader.names["print"] = Recorder()
    reader.run(block)
    ((_, (printed,), _),) = lines.calls
    assert re.fullmatch("[0-9a-f]{32}", printed)


@checks("observability.md", "The outbox 1")
def _(reader: Reader, block: Block) -> None:
    reading = InMemoryMetricReader()
    provider = MeterProvider([reading], shutdown_on_exit=False)
    with shop_with_outbox(reader) as engine:
        record(engine)
        with patch("opentelemetry.metrics._internal.get_meter_provider", return_value=provider):
            reader.run(block)
        data = reading.get_metrics_data()
    assert data is not None
    assert '"kraty.outbox.state": "pending"' in data.to_json()


def test_the_function_of_the_page_is_the_one_that_runs() -> None:
    """The page's AWS Lambda function is the one of `examples/`, whose tests run it."""
    program = ROOT / "examples" / "lambda_handler" / "handler.py"
    assert program.read_text(encoding="utf-8") == block_named("frameworks.md", "AWS Lambda 1").code


@checks("outbox.md", "Webhooks once: the inbox 1")
def _(reader: Reader, block: Block) -> None:
    lines = reader.names["print"] = Recorder()
    body = b'{"id": "evt_1", "eventName": "grant.created", "data": {}}'
    header = sign_webhook(raw_body=body, secret="whsec_docs")
    with shop_with_outbox(reader):
        receive = reader.run(block)["receive"]
        receive(body, header)
        receive(body, header)
    assert lines.calls == [("", ("handle grant.created",), {})]


@checks("outbox.md", "Tests 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)["test_a_lost_answer"](reader.emulator, Path())


@checks("README.md", "Options and other endpoints 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    assert [seen.path for seen in reader.emulator.requests] == ["/server/v1/ping"]


@checks("README.md", "Options and other endpoints 2")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    assert reader.emulator.balance("player_42", "gold") == 500


@checks("README.md", "Import 1")
def _(reader: Reader, block: Block) -> None:
    report = reader.run(block)["report"]
    assert (report.rows, report.applied) == (2_500, 2_500)
    assert reader.emulator.balance("imported_7", "gold") == 500


@checks("README.md", "Test your own code 1")
@checks("emulator.md", "In pytest 1")
def _(reader: Reader, block: Block) -> None:
    tests = [value for name, value in reader.run(block).items() if name.startswith("test_")]
    for test in tests:
        reader.emulator.reset()
        test(reader.emulator)
    assert len(tests) == block.code.count("def test_")


@checks("emulator.md", "In pytest 2")
def _(reader: Reader, block: Block) -> None:
    with pytest.MonkeyPatch.context() as environment:
        # No server answers there, so a call that is not captured fails.
        environment.setenv("KRATY_BASE_URL", "http://127.0.0.1:9")
        environment.setenv("KRATY_SERVER_KEY", "krt_live_real.secret")
        names = reader.run(block)
    with reader.emulator.capture_clients():
        names["test_buy"](reader.emulator)
    assert "http://127.0.0.1:9" == names["kraty"].base_url


@checks("emulator.md", "As an object, as a command 1")
@checks("emulator.md", "Faults 1")
@checks("emulator.md", "The game client 1")
@checks("emulator.md", "Clock and ids 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)


@checks("testing.md", "A failed CI run on your desk 1")
def _(reader: Reader, block: Block) -> None:
    assert [] == reader.run(block)["differences"]
    assert 3 == len(Path("session.jsonl").read_text().splitlines())


@checks("testing.md", "A state to start from 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    assert Path("rich.kraty").is_file()


@checks("testing.md", "More fixtures 1")
def _(reader: Reader, block: Block) -> None:
    # As with pytest-asyncio in its automatic mode.
    conftest = """
import asyncio, inspect, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        names = ["kraty_async_client", "kraty_emulator"]
        asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
        return True
"""
    Path("conftest.py").write_text(conftest)
    Path("test_shop.py").write_text(block.code)
    Path("pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-ppytest_kraty_admin", "test_shop.py"],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


@checks("testing.md", "In unittest 1")
def _(reader: Reader, block: Block) -> None:
    case = reader.run(block)["PurchaseTest"]
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    result = unittest.TextTestRunner(stream=io.StringIO()).run(tests)
    assert (2, True) == (result.testsRun, result.wasSuccessful()), result.failures + result.errors


@checks("testing.md", "Webhooks without a port 1")
def _(reader: Reader, block: Block) -> None:
    assert ["player_42", "player_43"] == reader.run(block)["banned"]


@checks("README.md", "Import sh 1")
@checks("imports.md", "Imports sh 1")
def _(reader: Reader, block: Block) -> None:
    Path("balances.csv").write_text("PlayFabId,Gold\np_1,5\n")
    Story(reader.emulator).run(block)
    assert 5 == reader.emulator.balance("p_1", "gold")


def general(text: str) -> str:
    """Return a text of the command line without the parts that vary from run to run."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "KEY", text)
    text = re.sub(r"api\.kraty\.io|127\.0\.0\.1:\d+", "HOST", text)
    return re.sub(r"[\d-]{10}T[\d:]{8}Z|[\d,]+\.\d s|[\d,]+ rows a second", "TIME", text)


@checks("cli.md", "Money and items text 1")
def _(reader: Reader, block: Block) -> None:
    reader.emulator.faults.add(Fault("drop"), operation="wallet.credit", times=4)
    with (
        contextlib.redirect_stderr(io.StringIO()) as said,
        patch("kraty_admin._transport._sender.time.sleep"),
    ):
        assert 5 == cli.main(["wallet", "credit", "player_42", "gold", "20"])
    assert general(block.code) == general(said.getvalue())


@checks("cli.md", "Imports text 1")
def _(reader: Reader, block: Block) -> None:
    balances = {f"p_{number}": number for number in range(1, 29)} | {"p_29": 51}
    reader.kraty.migrate.import_wallet(
        {"externalPlayerId": player, "economyKey": "gold", "amount": amount}
        for player, amount in list(balances.items())[:10]
    )
    rows = [f"{player},{amount}" for player, amount in balances.items()]
    Path("users.csv").write_text("\n".join(["PlayFabId,Gold", *rows, "p_30,many"]))
    words = [
        "--map",
        "externalPlayerId=PlayFabId",
        "--map",
        "amount=Gold",
        "--map",
        "economyKey==gold",
    ]
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        assert 6 == cli.main(["migrate", "wallet", "users.csv", *words])
    printed.seek(0)
    assert general(block.code) == general(printed.read())


@checks("emulator.md", "Webhooks 1")
def _(reader: Reader, block: Block) -> None:
    # A server may or may not listen on the page's port.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    lines: list[tuple[object, ...]] = []

    def show(*words: object) -> None:
        lines.append(words)

    reader.names["print"] = show
    reader.run(attrs.evolve(block, code=block.code.replace("8000", str(port))))
    assert [("player.registered", "pending"), ("wallet.changed", "pending")] == [
        words[:2] for words in lines
    ]


@checks("errors.md", "Copies: pickle, queues and JSON 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)


@checks("errors.md", "What to do 1")
def _(reader: Reader, block: Block) -> None:
    lines = reader.names["print"] = Recorder()
    names = reader.run(block)
    credit, opened = names["credit"], names["kraty"]
    assert [("", ("done",), {})] == lines.calls
    reader.kraty.wallet.credit("player_42", "gold", amount=7, idempotency_key="receipt_2")
    assert "ask a person" == credit("receipt_2")
    reader.emulator.faults.add(*[Fault("status", status=503)] * 4)
    names["kraty"] = opened.with_options(retry=RetryConfig(initial_delay=0))
    assert credit("receipt_3").startswith("repeat it later under the same key")
    reader.emulator.faults.add(Fault("status", status=404))
    assert credit("receipt_4").startswith("it had no effect")
    opened.close()


def anchors(page: Path) -> set[str]:
    """Return the fragments of a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [pytest.param(page, id=name_of(page)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    """Each link is absolute, or leads to a file and heading of the repository."""
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        assert not fragment or fragment in anchors(target), link


def test_the_architecture_names_files_that_exist() -> None:
    """Each path of the page on architecture exists."""
    roots = [ROOT, ROOT / "src" / "kraty_admin", ROOT / "generated" / "kraty_server_api"]
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`([\w./]+(?:\.py|\.yaml|\.json|/))`", text)
    assert len(paths) > 20
    assert [path for path in paths if not any((root / path).exists() for root in roots)] == []


def test_the_architecture_names_code_that_exists() -> None:
    """Each name in the page's table of rules stands in the file that the table gives."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, _, rules = text.partition("\n| rule | where |\n")
    rows = re.findall(r"^\|.*\|.*\|$", rules.partition("\n\n")[0], re.MULTILINE)[1:]
    found = [
        (name, path)
        for row in rows
        for names, path in re.findall(r"((?:`\w+`[^`;]*)+)`([\w/]+\.py)`", row)
        for name in re.findall(r"`(\w+)`", names)
    ]
    assert len(found) > len(rows)
    for name, path in found:
        assert name in (ROOT / "src" / "kraty_admin" / path).read_text(encoding="utf-8"), path


def test_the_supported_versions_are_those_of_the_package() -> None:
    """docs/versioning.md names the Pythons of the classifiers, and the lowest httpx and
    SQLAlchemy."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text = (ROOT / "docs" / "versioning.md").read_text(encoding="utf-8")
    *others, last = re.findall(r"Programming Language :: Python :: (3\.\d+)", settings)
    assert f"| Python | {', '.join(others)} and {last}. " in text
    for package, name in [("httpx", "httpx | "), ("sqlalchemy", "SQLAlchemy ")]:
        lowest = re.findall(rf'"{package}>=([\d.]+)', settings)[0]
        assert f"{name}{lowest} or later" in text


def test_the_messages_of_troubleshooting_are_those_of_the_code() -> None:
    """Each message that docs/troubleshooting.md quotes stands in the code, apart from its variable
    parts."""
    sources = [
        path.read_text(encoding="utf-8")
        for folder in ("src", "generated")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    # Adjacent literals are one text, and `{{` is a brace.
    code = re.sub(r"\"\s*\n\s*f?\"", "", "\n".join(sources)).replace("{{", "{")
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    # Not codes with their status, and not what SQLite says.
    messages = [said for said in re.findall(r"^\| `([^`]{14,})`", text, re.M) if said[:3] > "9"]
    messages.remove("database is locked")
    assert len(messages) > 15
    parts = [part.strip() for said in messages for part in said.split("…")]
    assert [part for part in parts if part not in code] == []


def test_the_readme_works_outside_the_repository() -> None:
    """Package indexes show it alone: it links to nothing beside it, and names files that exist.

    Of a picture they show the text, so there is one.
    """
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[([^]]+)\]\(([^)]+)\)", text)
    assert [name for _, name in pictures] == ["docs/console.png"]
    links = {*re.findall(r"\]\(([^)]+)\)", text)} - {name for _, name in pictures}
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert (ROOT / "docs" / "console.png").stat().st_size < 150_000
    named = re.findall(r"^\| ([\w/]+\.md) \|", text, re.M)
    assert len(named) >= 9
    assert [name for name in named if not (ROOT / name).is_file()] == []
    assert "\nmake test " in text  # what CI reads it for


# What a reader has at hand, for the type checkers.
READER = """\
import json as json
import os as os
from typing import Any, Protocol
from kraty_admin import KratyAdmin as KratyAdmin
class Metrics(Protocol):
    def timing(self, name: str, value: float) -> None: ...
    def increment(self, name: str) -> None: ...
def alert_ops(*, receipt_id: str) -> None: ...
def collect_for_retry(failures: Any) -> None: ...
def some_metrics() -> Metrics: ...
kraty = KratyAdmin()
grant = kraty.grants.create("p", idempotency_key="k", entries=[])
metrics = some_metrics()
all_players: list[dict[str, Any]] = []
elided: dict[str, Any] = {}
receipt_id = receipt_body = lobby_id = attempt_id = ""
"""
# What a block of sdk.md takes from there: `kraty`, unless it is listed here.
TAKES = {
    "Quickstart 1": "",
    "Quickstart 2": "KratyAdmin, os",
    "Idempotency 1": "alert_ops, kraty, receipt_id",
    "Grants 1": "kraty, receipt_body",
    "Grants 2": "grant, kraty",
    "Lobbies 2": "kraty, lobby_id",
    "Leaderboards and events 2": "attempt_id, kraty",
    "Players 3": "json, kraty",
    "Bulk import 2": "all_players, collect_for_retry, kraty",
    "Retries 1": "",
    "Errors 1": "elided, kraty",
    "Webhooks 1": "",
    "Telemetry 1": "KratyAdmin, metrics",
    "Async 2": "",
}
# Blocks that leave functions without types, as a page may.
UNTYPED = {"Bulk import 2", "Webhooks 1", "Telemetry 1", "Async 1"}
RELAXED = """\
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# pyright: basic
"""


def checked(block: Block) -> str:
    """Return a block as a module that a type checker can check."""
    if block.page == "errors.md":
        return "from reader import kraty\n" + block.code
    if block.page != "sdk.md":
        return block.code
    code = block.code.replace('create("player_42", ...)', 'create("player_42", **elided)')
    names = TAKES.get(block.name, "kraty")
    imports = f"from reader import {names}\n" if names else ""
    return (RELAXED if block.name in UNTYPED else "") + imports + code


def modules() -> dict[str, str]:
    """Return the modules to type-check: each block with a check, and each other page as one."""
    found: dict[str, str] = {}
    for number, block in enumerate(BLOCKS):
        if block.language != "python" or block.page == "imports.md":
            continue  # that page's blocks need pyspark, airflow and distributed
        if (block.page, block.name) in CHECKS:
            found[f"block_{number}"] = checked(block)
        else:
            page = "page_" + re.sub(r"\W", "_", block.page)
            found[page] = found.get(page, "") + block.code
    return found


@pytest.mark.once
@pytest.mark.long
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_blocks_type_check(tmp_path: Path, mypy_cache: Path, checker: str) -> None:
    """Each block passes strict checks, except for functions that the page leaves without types."""
    if checker == "pyright" and shutil.which("node") is None:
        pytest.skip("pyright needs Node")
    (tmp_path / "reader.pyi").write_text(READER, encoding="utf-8")
    for name, code in modules().items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    settings = {
        "typeCheckingMode": "strict",
        "reportUnusedExpression": False,  # a page shows what there is
        "reportUnusedFunction": False,
        "reportRedeclaration": False,
        "reportUnknownMemberType": True,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = {
        "mypy": [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary"),
            *(f"--cache-dir={mypy_cache}", "."),
        ],
        "pyright": [sys.executable, "-m", "pyright", "--pythonpath", sys.executable],
    }[checker]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
