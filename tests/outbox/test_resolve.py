"""What people do with intents: look, decide, retry, purge and forget."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any, Literal

import pytest

from kraty_admin import outbox
from kraty_admin.emulator import Fault
from kraty_admin.outbox import _store  # pyright: ignore[reportPrivateUsage]
from kraty_admin.outbox._tables import TABLES

from .testkit import DAY, TRUSTED, Studio, Time

LOST = Fault("drop", when="after")


@pytest.fixture
def unknown(shop: Studio, time: Time) -> outbox.Intent[Any]:
    """Return an intent that paid out a day ago, and whose answer was lost."""
    shop.emulator.faults.add(LOST, operation="wallet.credit")
    recorded = shop.credit("k")
    shop.drain()
    time.advance(DAY)
    shop.drain()
    return shop.intent(recorded.id)


@pytest.mark.parametrize(
    ("action", "state"),
    [pytest.param("applied", "done", id="applied"), pytest.param("abandon", "abandoned", id="no")],
)
def test_a_decision_is_kept(
    shop: Studio,
    time: Time,
    unknown: outbox.Intent[Any],
    action: Literal["applied", "abandon"],
    state: str,
) -> None:
    """A decision is stored with who made it, why and when, and the intent is not sent again."""
    time.advance(60)
    intent = outbox.resolve(shop.engine, unknown.id, action, by="ann", why="in the ledger \ud83d")
    note = intent.notes[0]
    assert state == intent.state
    assert (action, "ann", "in the ledger \ud83d") == (note["action"], note["by"], note["why"])
    assert unknown.stopped_at is not None
    assert intent.stopped_at is not None
    assert intent.stopped_at >= unknown.stopped_at + timedelta(seconds=60)
    assert unknown.stopped_at.isoformat() <= note["at"]
    shop.credit("l")
    time.advance(DAY)
    assert 1 == shop.drain().done
    assert 2 == len(shop.sent())
    with pytest.raises(outbox.OutboxError, match=f"is {state}"):
        outbox.resolve(shop.engine, unknown.id, "send-again", by="bob", why="x")


def test_sending_again_starts_a_new_day(
    shop: Studio, time: Time, unknown: outbox.Intent[Any]
) -> None:
    """An intent that a person sends again is due at once and repeated for another 23 hours, and
    pays a second time."""
    with shop.engine.begin() as connection:
        connection.execute(TABLES.intents.update().values(due_ms=4_000_000_000_000))
    outbox.resolve(shop.engine, unknown.id, "send-again", by="ann", why="not in the ledger")
    time.advance(2 * DAY)
    shop.emulator.faults.add(LOST, operation="wallet.credit")
    assert 1 == shop.drain().retried
    time.advance(TRUSTED - timedelta(minutes=1))
    assert 1 == shop.drain().done
    assert 1000 == shop.emulator.balance("player_42", "gold")


def test_an_intent_that_is_sent_again_holds_back_later_ones(
    shop: Studio, time: Time, unknown: outbox.Intent[Any]
) -> None:
    """Later intents of the player wait for one that is sent again."""
    shop.credit("l")
    outbox.resolve(shop.engine, unknown.id, "send-again", by="ann", why="x")
    shop.emulator.faults.add(LOST, operation="wallet.credit")
    assert 0 == shop.drain().done
    assert ["pending", "pending"] == shop.states()


def test_a_decision_leaves_the_order_of_later_ones(
    shop: Studio, unknown: outbox.Intent[Any]
) -> None:
    """Later intents of the player still wait for each other after one before them is abandoned."""
    shop.credit("l")
    shop.credit("m")
    outbox.resolve(shop.engine, unknown.id, "abandon", by="ann", why="x")
    shop.emulator.faults.add(LOST, operation="wallet.credit")
    assert 0 == shop.drain().done
    assert ["abandoned", "pending", "pending"] == shop.states()


def test_what_cannot_be_decided(shop: Studio) -> None:
    """A decision that is not possible is refused with the reason, and changes nothing."""
    recorded = shop.credit("k")
    action: Any = "forget"
    with pytest.raises(outbox.OutboxError, match="no intent 99"):
        outbox.resolve(shop.engine, 99, "applied", by="ann", why="x")
    with pytest.raises(outbox.OutboxError, match="is pending; it must be `unknown`"):
        outbox.resolve(shop.engine, recorded.id, "applied", by="ann", why="x")
    with pytest.raises(outbox.OutboxError, match="is pending; it must be `refused`"):
        outbox.retry(shop.engine, recorded.id, by="ann", why="x")
    with pytest.raises(ValueError, match="action"):
        outbox.resolve(shop.engine, recorded.id, action, by="ann", why="x")
    with pytest.raises(ValueError, match="by"):
        outbox.resolve(shop.engine, recorded.id, "applied", by=" ", why="x")
    for by, why in (("", "x"), ("ann", " ")):
        with pytest.raises(ValueError, match="must be a str that is not blank"):
            outbox.retry(shop.engine, recorded.id, by=by, why=why)
        with pytest.raises(ValueError, match="must be a str that is not blank"):
            outbox.resolve(shop.engine, recorded.id, "applied", by=by, why=why)
    assert ((), "pending") == (shop.intent(recorded.id).notes, shop.intent(recorded.id).state)


def test_all_decisions_about_an_intent_are_kept(shop: Studio, unknown: outbox.Intent[Any]) -> None:
    """A second decision is noted after the first."""
    outbox.resolve(shop.engine, unknown.id, "send-again", by="ann", why="x")
    with shop.engine.begin() as connection:
        connection.execute(TABLES.intents.update().values(state="unknown", stopped_ms=1))
    intent = outbox.resolve(shop.engine, unknown.id, "abandon", by="bob", why="y")
    assert [("ann", "send-again"), ("bob", "abandon")] == [
        (note["by"], note["action"]) for note in intent.notes
    ]


def test_status(shop: Studio, unknown: outbox.Intent[Any]) -> None:
    """The status counts intents by state, and dates the oldest."""
    recorded, newer, refused, sending, later = (shop.credit(key, key) for key in "lmnop")
    table = TABLES.intents
    with shop.engine.begin() as connection:
        for intent, values in (
            (newer, {"created_ms": 4_000_000_000_000}),
            (refused, {"state": "refused", "stopped_ms": 1}),
            (sending, {"state": "sending", "created_ms": 4_000_000_000_000}),
            (later, {"state": "unknown", "stopped_ms": 4_000_000_000_000}),
        ):
            connection.execute(table.update().where(table.c.id == intent.id).values(values))
    status = outbox.status(shop.engine)
    assert {"pending": 2, "sending": 1, "refused": 1, "unknown": 2} == status.counts
    for state, count in status.counts.items():
        found = outbox.find(shop.engine, state=state)
        assert [state] * count == [intent.state for intent in found]
    assert (recorded.created_at, unknown.stopped_at) == (
        status.oldest_open,
        status.oldest_unknown,
    )


def test_find(shop: Studio) -> None:
    """Intents are found by state, player and key, the latest first."""
    first, second = shop.credit("1", "a"), shop.credit("2", "b")
    shop.drain(limit=1)
    assert [second.id, first.id] == [i.id for i in outbox.find(shop.engine)]
    assert [second.id] == [i.id for i in outbox.find(shop.engine, limit=1)]
    assert [second.id] == [i.id for i in outbox.find(shop.engine, player="b")]
    assert [first.id] == [i.id for i in outbox.find(shop.engine, state="done")]
    assert [second.id] == [
        i.id for i in outbox.find(shop.engine, idempotency_key=second.idempotency_key)
    ]
    assert [] == outbox.find(shop.engine, idempotency_key="another")
    unknown: Any = "finished"
    with pytest.raises(ValueError, match=r"^state must be one of pending, sending, "):
        outbox.find(shop.engine, state=unknown)


def test_purge_keeps_what_is_open(shop: Studio, time: Time, unknown: outbox.Intent[Any]) -> None:
    """A purge removes the content only of intents that ended long enough ago."""
    old = shop.credit("old", "a")
    shop.drain()
    time.advance(timedelta(days=401))
    new = shop.credit("new", "b")
    shop.drain()
    waiting = shop.credit("waiting", "c")
    assert 1 == outbox.purge(shop.engine)
    assert 0 == outbox.purge(shop.engine)
    assert [(), ("b",), ("c",), ("player_42",)] == [
        shop.intent(i.id).players for i in (old, new, waiting, unknown)
    ]
    assert shop.intent(old.id).result is None
    assert 1 == shop.drain().done
    with pytest.raises(ValueError, match="older_than"):
        outbox.purge(shop.engine, older_than=timedelta(-1))


def test_forget_a_player(shop: Studio) -> None:
    """`forget_player` removes the content of a player's finished intents, but not of those that are
    open or unknown."""
    done = shop.credit("1", "a")
    shop.drain()
    waiting = shop.credit("2", "a")
    table = TABLES.intents
    others = {state: shop.credit(state, "a") for state in ("refused", "abandoned", "unknown")}
    with shop.engine.begin() as connection:
        for state, intent in others.items():
            values = {"state": state, "stopped_ms": 1, "error": '{"message": "m"}'}
            connection.execute(table.update().where(table.c.id == intent.id).values(values))
            _store._release(connection, TABLES, [intent.id])  # pyright: ignore[reportPrivateUsage]
        assert 3 == outbox.forget_player(connection, "a")
    for intent in (waiting, others["unknown"]):
        assert ("a",) == shop.intent(intent.id).players
        assert shop.intent(intent.id).body is not None
    for intent in (done, others["refused"], others["abandoned"]):
        forgotten = shop.intent(intent.id)
        assert () == forgotten.players
        assert (None, None, None, None) == (
            *(forgotten.path, forgotten.body, forgotten.result, forgotten.error),
        )


@pytest.mark.parametrize(
    "error",
    [
        outbox.OutboxError("m"),
        outbox.OutboxTargetError("m"),
        outbox.OutboxConflictError("m", intent_id=7, idempotency_key="k"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_pickle(error: outbox.OutboxError) -> None:
    """An error of the outbox pickles with all its facts."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(error), str(error), vars(error)) == (type(copy), str(copy), vars(copy))


def test_a_conflict_is_rebuilt_from_its_arguments() -> None:
    """A conflict that is rebuilt from its class and `args` keeps its facts."""
    error = outbox.OutboxConflictError("m", intent_id=7, idempotency_key="k")
    copy = type(error)(*error.args)
    assert (7, "k") == (copy.intent_id, copy.idempotency_key)


def test_an_intent_says_what_it_sends(shop: Studio) -> None:
    """An intent has its path and body until its content is purged."""
    shop.credit("1", "a")
    (intent,) = outbox.find(shop.engine)
    assert "/players/a/wallet/gold/credit" == intent.path
    assert intent.body is not None
    assert intent.idempotency_key == intent.body["idempotencyKey"]
    shop.drain()
    outbox.purge(shop.engine, older_than=timedelta(0))
    (purged,) = outbox.find(shop.engine)
    assert (None, None) == (purged.path, purged.body)
