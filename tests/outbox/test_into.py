"""Recording calls: in the caller's transaction, once per key, for the right game."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from kraty_admin import KratyAdmin, KratyAdminAsync, outbox
from kraty_admin.emulator import DEFAULT_WORLD

from .testkit import Box, RolledBackError, Studio, Time


def test_a_purchase_and_its_intent_are_committed_together(studio: Studio) -> None:
    """A commit stores both the purchase and its intent."""
    intent = studio.credit("k")
    assert intent.is_new
    assert (["pending"], 1) == (studio.states(), studio.count_purchases())


def test_a_purchase_and_its_intent_are_rolled_back_together(studio: Studio) -> None:
    """A rollback stores neither the purchase nor its intent, and nothing is sent."""
    with pytest.raises(RolledBackError):
        studio.record(lambda box: box.wallet.credit("a", "gold", amount=1), fail=True)
    assert ([], 0) == (studio.states(), studio.count_purchases())
    assert 0 == studio.drain().done
    assert [] == studio.sent()


def test_a_savepoint_takes_its_intents_with_it(shop: Studio) -> None:
    """An intent that was recorded in a savepoint is lost when the savepoint is rolled back."""
    with Session(shop.engine) as session, session.begin():
        outbox.into(session).wallet.credit("a", "gold", amount=1, idempotency_key="kept")
        with session.begin_nested() as savepoint:
            outbox.into(session).wallet.credit("b", "gold", amount=1, idempotency_key="gone")
            savepoint.rollback()
        outbox.into(session).wallet.credit("b", "gold", amount=2, idempotency_key="gone")
    shop.drain()
    assert 2 == shop.emulator.balance("b", "gold")
    assert ["kept", "gone"] == [key for _, key in shop.sent()]


@pytest.mark.parametrize("purged", [False, True], ids=["whole", "purged"])
def test_the_same_key_is_recorded_once(studio: Studio, time: Time, purged: bool) -> None:
    """A receipt recorded again after a year finds its intent and pays nothing; another amount
    conflicts."""
    first = studio.credit("k")
    studio.drain()
    if purged:
        assert 1 == outbox.purge(studio.engine, older_than=timedelta(0))
    time.advance(timedelta(days=365))
    again = studio.credit("k")
    assert (first.id, "done", False) == (again.id, again.state, again.is_new)
    assert (None if purged else 500) == (again.result and again.result.balance)
    with pytest.raises(outbox.OutboxConflictError, match=rf"intent {first.id} \(wallet.credit\)"):
        studio.credit("k", amount=499)
    studio.drain()
    assert 500 == studio.emulator.balance("player_42", "gold")


ENTRIES: Final = [{"type": "currency", "currencyKey": "gold", "amount": 5}]


def grant(metadata: dict[str, Any], player: str = "a") -> Callable[[Box], Any]:
    """Return a function that records a grant under one key."""
    return lambda box: box.grants.create(
        player, idempotency_key="k", entries=ENTRIES, metadata=metadata
    )


def credit_under_key(box: Box) -> Any:
    """Record another operation under the same key."""
    return box.wallet.credit("a", "gold", amount=1, idempotency_key="k")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(grant({"a": {"z": [], "y": 1}, "b": 2}), id="order"),
        # JSON.stringify prints both alike, so the same bytes are sent.
        pytest.param(grant({"b": 2.0, "a": {"y": 1, "z": ()}}), id="2.0"),
    ],
)
def test_what_is_the_same_call(shop: Studio, call: Callable[[Box], Any]) -> None:
    """A call whose fields are in another order, or whose numbers are spelled differently, is the
    same."""
    recorded = shop.record(grant({"b": 2, "a": {"y": 1, "z": []}}))[0]
    assert recorded.id == shop.record(call)[0].id


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(grant({"n": True}), id="true"),
        pytest.param(grant({"n": 1.5}), id="1.5"),
        pytest.param(grant({"n": "1"}), id="text"),
        pytest.param(grant({"n": [1]}), id="list"),
        pytest.param(grant({"n": None}), id="null"),
        pytest.param(grant({}), id="absent"),
        pytest.param(grant({"n": 1}, player="b"), id="player"),
        pytest.param(credit_under_key, id="operation"),
    ],
)
def test_what_is_another_call(shop: Studio, call: Callable[[Box], Any]) -> None:
    """Another value, player or operation under the key conflicts, and the transaction can go on."""
    recorded = shop.record(grant({"n": 1}))[0]
    with pytest.raises(outbox.OutboxConflictError) as caught:
        shop.record(call)
    assert (recorded.id, "k") == (caught.value.intent_id, caught.value.idempotency_key)
    assert ["pending"] == shop.states()
    # Only the call is rejected: the caller may commit what else there is.
    with shop.engine.begin() as connection:
        with pytest.raises(outbox.OutboxConflictError):
            call(outbox.into(connection))
        outbox.into(connection).wallet.credit("c", "gold", amount=1)
    assert ["pending", "pending"] == shop.states()


def credit_of_one(box: Box) -> Any:
    """Record a credit without a key."""
    return box.wallet.credit("a", "gold", amount=1)


def test_a_call_without_a_key_is_recorded_each_time(shop: Studio) -> None:
    """Each call without a key is recorded under its own random key."""
    first, second = shop.record(credit_of_one, credit_of_one)
    assert first.idempotency_key != second.idempotency_key


def test_concurrent_recorders_of_a_key(shop: Studio) -> None:
    """A second transaction that records a key waits for the first, and finds its intent."""
    engine = shop.database.new_engine()
    began, results = threading.Event(), list[Any]()

    def record() -> None:
        began.set()
        with engine.begin() as connection:
            results.append(
                outbox.into(connection).wallet.credit("a", "gold", amount=1, idempotency_key="k")
            )

    thread = threading.Thread(target=record)
    with shop.engine.begin() as connection:
        first = outbox.into(connection).wallet.credit("a", "gold", amount=1, idempotency_key="k")
        thread.start()
        began.wait(10)
    thread.join()
    engine.dispose()
    assert [(first.id, False)] == [(intent.id, intent.is_new) for intent in results]


def test_sessions_of_all_kinds(shop: Studio) -> None:
    """Sessions, scoped sessions and connections, synchronous or not, all record intents."""
    sessions = scoped_session(sessionmaker(shop.engine))
    outbox.into(sessions).wallet.credit("a", "gold", amount=1)
    sessions.commit()
    sessions.remove()
    with shop.engine.begin() as connection:
        outbox.into(connection).wallet.credit("a", "gold", amount=1)
    with Session(shop.engine) as session, session.begin():
        outbox.into(session).wallet.credit("a", "gold", amount=1)

    async def record(_: KratyAdminAsync, engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await outbox.into(connection).wallet.credit("a", "gold", amount=1)
        async with AsyncSession(engine) as session, session.begin():
            await outbox.into(session).wallet.credit("a", "gold", amount=1)

    shop.run(record)
    assert 5 == len(shop.states())


def test_what_is_no_session(shop: Studio) -> None:
    """An engine, which has no transaction, is refused."""
    engine: Any = shop.engine
    with pytest.raises(TypeError, match="not Engine"):
        outbox.into(engine)


INVALID: Final[dict[str, Callable[[Box], Any]]] = {
    "amount": lambda box: box.wallet.credit("a", "gold", amount=0),
    "idempotency_key": lambda box: box.wallet.credit("a", "b", amount=1, idempotency_key=" k"),
    "metadata": grant({"n": float("nan")}),
}


@pytest.mark.parametrize("name", INVALID)
def test_arguments_are_checked_when_recording(shop: Studio, name: str) -> None:
    """An invalid call is refused when it is recorded, and no intent is stored."""
    with pytest.raises(ValueError, match=name):
        shop.record(INVALID[name])
    assert [] == shop.states()


def test_which_game_an_intent_is_for(shop: Studio) -> None:
    """With two games in a database, a call must name one of them, and each has its own keys."""
    other = DEFAULT_WORLD.keys[2]
    with KratyAdmin(api_key=other.token, base_url=shop.emulator.base_url) as second:
        outbox.set_up(shop.engine, second, add_target=True)
    with shop.engine.begin() as connection:
        with pytest.raises(outbox.OutboxTargetError, match=r"game_1 .*game_2 .*pass game_id"):
            outbox.into(connection).wallet.credit("a", "gold", amount=1)
        with pytest.raises(outbox.OutboxTargetError, match="not for game 'game_3'"):
            outbox.into(connection, game_id="game_3").wallet.credit("a", "gold", amount=1)
        one = outbox.into(connection, game_id="game_1").wallet.credit(
            "a", "gold", amount=1, idempotency_key="k"
        )
        two = outbox.into(connection, game_id="game_2").wallet.credit(
            "a", "gold", amount=1, idempotency_key="k"
        )
        again = outbox.into(connection, game_id="game_1").wallet.credit(
            "a", "gold", amount=1, idempotency_key="k"
        )
    assert one.id != two.id
    assert one.id == again.id


def test_a_call_that_names_a_player_twice(shop: Studio) -> None:
    """A call that names one player twice is recorded, and lists the player once."""
    recorded = shop.record(lambda box: box.players.merge("a", "a"))[0]
    assert ("a",) == recorded.players


def test_a_database_without_a_target(shop: Studio) -> None:
    """The error for a database without a target names `set_up`."""
    with shop.engine.begin() as connection:
        connection.execute(sa.delete(outbox.Tables().targets))
    with pytest.raises(outbox.OutboxTargetError, match="set_up"):
        shop.credit("k")
    with pytest.raises(outbox.OutboxTargetError, match="set_up"):
        shop.drain()


def test_sqlalchemy_is_an_extra() -> None:
    """The package does not import SQLAlchemy, and the modules that need it say what to install."""
    code = """
import sys
import kraty_admin
print("sqlalchemy" in sys.modules)
sys.modules["sqlalchemy"] = None  # as if it were not installed
for name in ("outbox", "inbox"):
    try:
        __import__(f"kraty_admin.{name}")
    except ModuleNotFoundError as error:
        print(error)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    needs = "needs sqlalchemy: pip install 'kraty-admin[outbox]'"
    expected = ["False", f"kraty_admin.outbox {needs}", f"kraty_admin.inbox {needs}"]
    assert expected == done.stdout.splitlines()
