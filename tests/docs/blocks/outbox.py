"""Checks of the blocks of outbox.md."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
import sqlalchemy as sa

from kraty_admin import KratyServerError, outbox, sign_webhook
from pages import Block

from ..testkit import Reader, Recorder, checks, record, shop_with_outbox


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
