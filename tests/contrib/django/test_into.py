"""Calls are recorded in Django's transactions, and the outbox's workers send them."""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.core.exceptions import SynchronousOnlyOperation
from django.core.management import call_command
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import TestCase
from sqlalchemy.orm import Session

from engines import check_connections
from kraty_admin import outbox as core
from kraty_admin.contrib.django import outbox
from kraty_admin.emulator import Emulator
from kraty_admin.models import WalletAdjustment
from kraty_admin.outbox._store import in_transaction
from kraty_admin.outbox._tables import TABLES


class RolledBackError(Exception):
    """Rolls a transaction back."""


def credit(
    using: str, key: str = "receipt_1", amount: int = 500, *, fail: bool = False
) -> core.Intent[WalletAdjustment]:
    """Record a credit beside a purchase, for which a group stands."""
    with transaction.atomic(using=using):
        Group.objects.using(using).get_or_create(name=key)
        intent = outbox.into(using).wallet.credit(
            "player_42", "gold", amount=amount, idempotency_key=key
        )
        if fail:
            raise RolledBackError
    return intent


def test_a_purchase_and_its_intent(using: str, shop: sa.Engine, emulator: Emulator) -> None:
    """A purchase and its intent are committed together, and a worker delivers it once."""
    assert credit(using).is_new
    assert not credit(using).is_new
    assert Group.objects.using(using).count() == 1
    assert core.drain(emulator.client(), shop).done == 1
    intent = credit(using)
    assert (intent.state, intent.is_new, intent.players) == ("done", False, ("player_42",))
    assert emulator.balance("player_42", "gold") == 500


def test_a_purchase_that_is_rolled_back(using: str, shop: sa.Engine) -> None:
    """After a rollback, neither the purchase nor the intent is stored."""
    with pytest.raises(RolledBackError):
        credit(using, fail=True)
    assert core.find(shop) == []
    assert not Group.objects.using(using).exists()


def test_a_savepoint_that_is_rolled_back(using: str, shop: sa.Engine) -> None:
    """Only the intents recorded in the savepoint are lost with it."""
    with transaction.atomic(using=using):
        credit(using, "receipt_1")
        with pytest.raises(RolledBackError):
            credit(using, "receipt_2", fail=True)
    assert [intent.idempotency_key for intent in core.find(shop)] == ["receipt_1"]


def test_another_call_under_the_same_key(using: str, shop: sa.Engine) -> None:
    """Another call under the same key is refused, and the transaction can go on."""
    credit(using)
    with transaction.atomic(using=using):
        with pytest.raises(core.OutboxConflictError, match="already has this idempotency key"):
            credit(using, amount=600)
        credit(using, "receipt_2")
    assert len(core.find(shop)) == 2


def test_the_rows_are_those_of_sqlalchemy(using: str, shop: sa.Engine) -> None:
    """Rows recorded through Django and through SQLAlchemy differ only in ids, keys and times."""

    def record(box: core.OutboxResources, n: int) -> None:
        box.migrate.players([{"playerId": "b"}, {"playerId": "ä😀"}], idempotency_key=f"m{n}")
        box.wallet.credit("a", "gold", amount=1, reason="50% off %s", idempotency_key=f"w{n}")

    with transaction.atomic(using=using):
        record(outbox.into(using), 0)
    with Session(shop) as session, session.begin():
        record(core.into(session), 1)
    rows: dict[str, dict[str, object]] = {}
    with shop.connect() as connection:
        for row in connection.execute(TABLES.intents.select()).mappings():
            name, who = row["idempotency_key"]
            body = str(row["body"]).replace(f'"{name}{who}"', '"key"')
            differing = {"id": 0, "created_ms": 0, "due_ms": 0, "request_hash": 0}
            rows[name + who] = {**row, **differing, "body": body, "idempotency_key": "key"}
    assert rows["m1"] == rows["m0"]
    assert rows["w1"] == rows["w0"]
    found = core.find(shop)
    assert found[0].players == found[2].players == ("a",)
    assert found[1].players == found[3].players


def test_outside_a_transaction(using: str, shop: sa.Engine) -> None:
    """A call outside a transaction is refused with what to write, and nothing is recorded."""
    with pytest.raises(TransactionManagementError, match=r"inside `with transaction\.atomic\("):
        outbox.into(using)
    with transaction.atomic(using=using):
        box = outbox.into(using)
    with pytest.raises(TransactionManagementError, match="none is open"):
        box.wallet.credit("player_42", "gold", amount=500, idempotency_key="k")
    assert core.find(shop) == []


def test_in_the_transaction_of_another_database(using: str, shop: sa.Engine) -> None:
    """A call inside the transaction of another database is refused."""
    with (
        transaction.atomic(using="empty"),
        pytest.raises(TransactionManagementError, match=r"inside `with transaction\.atomic\("),
    ):
        outbox.into(using)
    assert core.find(shop) == []


def test_the_transaction_of_a_test(default_shop: sa.Engine) -> None:
    """The transaction that `TestCase` begins does not count, since the tested code lacks it
    elsewhere."""

    class Case(TestCase):
        def test(self) -> None:
            with pytest.raises(TransactionManagementError):
                outbox.into()
            assert credit("default").is_new

    result = unittest.TestResult()
    unittest.TestSuite([Case("test")]).run(result)
    assert [] == [*result.errors, *result.failures]
    assert result.testsRun == 1
    assert core.find(default_shop) == []  # it was rolled back


def test_asynchronous_code(default_shop: sa.Engine) -> None:
    """A call in a running event loop is refused, and works through `sync_to_async`."""

    async def view() -> core.Intent[WalletAdjustment]:
        with pytest.raises(SynchronousOnlyOperation, match="await sync_to_async"):
            outbox.into()
        return await sync_to_async(buy)()

    def buy() -> core.Intent[WalletAdjustment]:
        intent = credit("default")
        connections["default"].close()  # that of the thread
        return intent

    assert asyncio.run(view()).is_new
    assert len(core.find(default_shop)) == 1


def test_a_player_is_forgotten(using: str, shop: sa.Engine, emulator: Emulator) -> None:
    """`forget_player` removes the content of finished intents, and needs a transaction."""
    credit(using)
    core.drain(emulator.client(), shop)
    with pytest.raises(TransactionManagementError):
        outbox.forget_player("player_42", using)
    with transaction.atomic(using=using):
        assert outbox.forget_player("player_42", using) == 1
    intent = core.find(shop)[0]
    assert (intent.body, intent.players) == (None, ())
    assert not credit(using).is_new


def test_a_game_that_the_outbox_is_not_for(default_shop: sa.Engine) -> None:
    """A game that the outbox is not for is refused."""
    with transaction.atomic(), pytest.raises(core.OutboxTargetError, match="not for game 'game_9'"):
        outbox.into(game_id="game_9").players.ban("p", reason="bots", idempotency_key="k")


def test_a_database_in_memory(emulator: Emulator, new_engine: Callable[[str], sa.Engine]) -> None:
    """A worker sends from an SQLite database in memory, as Django's test runner makes one."""
    call_command("migrate", "kraty", database="memory", verbosity=0)
    engine = new_engine("memory")
    core.set_up(engine, emulator.client())
    for number in range(8):
        with transaction.atomic("memory"):
            outbox.into("memory").wallet.credit(
                f"player_{number}", "gold", amount=5, idempotency_key=f"receipt_{number}"
            )
    assert core.drain(emulator.client(), engine, in_flight=4).done == 8


def test_the_engine_of_a_worker(
    default: str, new_engine: Callable[[str], sa.Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's engine has a connection for each call, waits 30 s for other writers and tests idle
    connections, and Django's own connection keeps its options."""
    before = dict(connections[default].settings_dict["OPTIONS"])
    engine = new_engine(default)
    assert 30_000 == check_connections(engine, monkeypatch)
    assert before == connections[default].settings_dict["OPTIONS"]


@pytest.mark.once
def test_options_of_a_database(
    postgresql: str, new_engine: Callable[[str], sa.Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's connection takes the role of Django's settings, but not their pool and isolation
    level."""
    with connections[postgresql].cursor() as cursor:
        cursor.execute("CREATE ROLE kraty_worker")
    options = connections[postgresql].settings_dict["OPTIONS"]
    asked = {"assume_role": "kraty_worker", "pool": True, "isolation_level": 4}
    monkeypatch.setitem(connections[postgresql].settings_dict, "OPTIONS", {**options, **asked})
    seen: list[object] = []

    def look(connection: sa.Connection) -> None:
        for name in ("role", "transaction_isolation", "search_path"):
            seen.append(connection.exec_driver_sql(f"SHOW {name}").scalar())

    with new_engine(postgresql).connect() as connection:
        in_transaction(connection, look)
    assert ["kraty_worker", "read committed", "django"] == seen
