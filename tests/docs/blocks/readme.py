"""Checks of the blocks of the README."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from kraty_admin import KratyNetworkError, KratyServerError, RetryConfig, sign_webhook
from kraty_admin.emulator import Fault
from pages import Block

from ..testkit import OUTBOX, PURCHASE, Reader, Recorder, checks, deliver, receives


@checks("README.md", "First call 1")
def _(reader: Reader, block: Block) -> None:
    # The page's key is made up, and the emulator says so.
    with pytest.raises(KratyServerError, match="session_invalid"):
        reader.run(block)
    code = block.code.replace("krt_live_a1b2.secret", reader.emulator.api_key)
    reader.run(attrs.evolve(block, code=code))
    assert reader.emulator.balance("player_42", "gold") == 500


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
