"""Workers send recorded calls, repeat them in time, and stop when a key may be forgotten."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import subprocess
import sys
import threading
import time as real_time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from contract import arguments
from kraty_admin import (
    KratyAdmin,
    KratyAdminAsync,
    KratyClosedError,
    KratyError,
    KratyNetworkError,
    KratyServerError,
    RequestInfo,
    RetryConfig,
    outbox,
)
from kraty_admin.emulator import DEFAULT_WORLD, Fault
from kraty_admin.outbox import _store, _worker  # pyright: ignore[reportPrivateUsage]
from kraty_admin.outbox._life import Claim, Settlement
from kraty_admin.outbox._tables import TABLES
from kraty_server_api.lifetimes import KEY_LIFETIMES
from kraty_server_api.operations import NAMES
from loopback import Seen, response, serving

from .testkit import DAY, LEASE, ONCE, TRUSTED, Box, Studio, Time

SOON: Final = timedelta(seconds=2)
"""After it, an intent that failed once is due again."""
LOST: Final = Fault("drop", when="after")
"""The call takes effect, and its answer is lost."""
NOTHING: Final = Fault("drop", when="before")
"""The call has no effect, which its caller cannot know."""


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a worker that waits check the clock often."""
    monkeypatch.setattr(_worker, "_STEP", 0.01)


@contextmanager
def first_wait_ends_it() -> Generator[None, None, None]:
    """End a worker at its first wait, as if its time were over."""

    def pause(worker: _worker.Worker, seconds: float) -> None:
        worker._work.ended_by = "time"  # pyright: ignore[reportPrivateUsage]

    async def pause_async(worker: _worker.AsyncWorker, seconds: float) -> None:
        worker._work.ended_by = "time"  # pyright: ignore[reportPrivateUsage]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_worker.Worker, "_pause", pause)
        patch.setattr(_worker.AsyncWorker, "_pause", pause_async)
        yield


def claim(shop: Studio) -> Claim | None:
    """Claim the next intent, as a worker does that is killed before it sends."""

    def work(connection: sa.Connection) -> Claim | None:
        target = connection.scalar(sa.select(TABLES.targets.c.id)) or 0
        lease_ms = round(LEASE.total_seconds() * 1000)
        return _store.claim(connection, TABLES, target, lease_ms=lease_ms)

    with shop.engine.connect() as connection:
        return _store.in_transaction(connection, work)


def facts(studio: Studio, recorded: outbox.Intent[Any]) -> Any:
    """Return the last error of an intent."""
    return studio.intent(recorded.id).error


def test_a_purchase_is_delivered(studio: Studio) -> None:
    """A recorded call is sent once, and its intent holds the result."""
    recorded = studio.credit("k")
    report = studio.drain()
    intent = studio.intent(recorded.id)
    assert (1, "empty") == (report.done, report.stopped_by)
    assert ("done", 500) == (intent.state, intent.result and intent.result.balance)
    assert 500 == studio.emulator.balance("player_42", "gold")
    assert 0 == studio.drain().done
    assert [("wallet.credit", "k")] == studio.sent()


def test_the_hook_sees_a_workers_calls(studio: Studio) -> None:
    """`on_request` of the worker's client is called for each recorded call."""
    seen: list[tuple[str | None, str | None]] = []

    def hook(attempt: RequestInfo) -> None:
        if attempt.idempotency_key is not None:
            seen.append((attempt.operation, attempt.idempotency_key))

    studio.credit("k")
    if studio.is_async:

        async def main(kraty: KratyAdminAsync, engine: AsyncEngine) -> None:
            await outbox.drain_async(kraty.with_options(on_request=hook), engine)

        studio.run(main)
    else:
        studio.drain(studio.emulator.client().with_options(on_request=hook))
    assert [("wallet.credit", "k")] == seen


ROW: Final = {"externalPlayerId": "row 1", "idempotencyKey": "row"}
CALLS: Final[dict[str, Callable[[Box], Any]]] = {
    "grants.create": lambda box: box.grants.create(
        "a/b",
        idempotency_key="1",
        entries=[{"type": "currency", "currencyKey": "gold", "amount": 5}],
        metadata={"b": 1, "a": [1.0, 0.5, True, None, "ü€😀"], "7": {}},
    ),
    "grants.ack": lambda box: box.grants.ack("ack er", "grt_1"),
    "lobbies.push": lambda box: box.lobbies.push(
        "game_1", "quick_brawl", key="2", external_player_ids=["p1", "p2", "p1"]
    ),
    "players.ban": lambda box: box.players.ban("banned", reason="a\x00b"),
    "players.unban": lambda box: box.players.unban("unbanned"),
    "players.merge": lambda box: box.players.merge("from", "to"),
    "players.delete": lambda box: box.players.delete("deleted", reason="gdpr_erasure"),
    "inventory.grant": lambda box: box.inventory.grant(
        "p3", "health_potion", quantity=2, idempotency_key="3"
    ),
    "inventory.revoke": lambda box: box.inventory.revoke("p4", "health_potion", quantity=1),
    "wallet.credit": lambda box: box.wallet.credit("p5", "gold", amount=2**53 - 1, reason="ü"),
    "wallet.debit": lambda box: box.wallet.debit("p6", "gold", amount=1, source_ref_id="r"),
    "migrate.players": lambda box: box.migrate.players([ROW, {**ROW, "externalPlayerId": "row 2"}]),
    "migrate.wallet": lambda box: box.migrate.wallet([{**ROW, "economyKey": "gold", "amount": 1}]),
    "migrate.inventory": lambda box: box.migrate.inventory(
        [{**ROW, "itemKey": "health_potion", "quantity": 1}]
    ),
}


def derived(operation_id: str, name: str) -> Callable[[Box], Any]:
    """Return a call of an operation that `CALLS` does not list, with values that the contract
    allows."""

    def call(box: Box) -> Any:
        resource, _, method = name.partition(".")
        write = getattr(getattr(box, resource), method)
        return write(**arguments(operation_id, write))

    return call


CALLS.update(
    {
        name: derived(operation_id, name)
        for operation_id, name in NAMES.items()
        if name in KEY_LIFETIMES and name not in CALLS
    }
)
GENERATED: Final = CALLS.keys() - {"grants.create", "inventory.grant"}
"""Those that name no key."""
PLAYERS: Final = {
    "grants.create": ("a/b",),
    "grants.ack": ("ack er",),
    "lobbies.push": ("p1", "p2"),
    "players.ban": ("banned",),
    "players.unban": ("unbanned",),
    "players.merge": ("from", "to"),
    "players.delete": ("deleted",),
    "inventory.grant": ("p3",),
    "inventory.revoke": ("p4",),
    "wallet.credit": ("p5",),
    "wallet.debit": ("p6",),
    "migrate.players": ("row 1", "row 2"),
    "migrate.wallet": ("row 1",),
    "migrate.inventory": ("row 1",),
}


def test_each_write_is_sent_as_the_client_sends_it(studio: Studio) -> None:
    """Each recorded call sends the path and the body of the direct call, byte for byte."""
    assert KEY_LIFETIMES.keys() == CALLS.keys()
    recorded = studio.record(*CALLS.values())
    # Derived calls are about the player x.
    expected = {name: PLAYERS.get(name, ("x",)) for name in CALLS}
    assert expected == {intent.operation: intent.players for intent in recorded}
    while studio.drain(in_flight=2).stopped_by != "empty":
        pass
    arrived = {seen.operation: seen for seen in studio.emulator.requests if seen.method != "GET"}
    assert KEY_LIFETIMES.keys() == arrived.keys()

    keys = {intent.operation: intent.idempotency_key for intent in recorded}
    studio.emulator.reset()
    in_turn = iter(keys[name] for name in CALLS if name in GENERATED)
    with KratyAdmin(
        api_key=studio.emulator.api_key,
        base_url=studio.emulator.base_url,
        generate_idempotency_key=lambda: next(in_turn),
    ) as kraty:
        for call in CALLS.values():
            with suppress(KratyServerError):  # such as an unknown grant
                call(kraty)
    direct = studio.emulator.requests
    assert KEY_LIFETIMES.keys() == {seen.operation for seen in direct}
    for seen in direct:
        assert (seen.path, seen.body) == (
            arrived[seen.operation].path,
            arrived[seen.operation].body,
        )


def test_a_players_intents_are_sent_in_order(studio: Studio, time: Time) -> None:
    """An intent that waits for a retry holds back later ones of its player, and of no other."""
    studio.emulator.faults.add(LOST, operation="wallet.credit")
    for key, player in [("1", "a"), ("2", "a"), ("3", "b")]:
        studio.credit(key, player)
    report = studio.drain()
    assert (1, 1) == (report.done, report.retried)
    assert ["pending", "pending", "done"] == studio.states()
    time.advance(SOON)
    assert 2 == studio.drain().done
    assert ["1", "3", "1", "2"] == [key for _, key in studio.sent()]
    assert 1000 == studio.emulator.balance("a", "gold")


def test_an_intent_of_several_players_waits_for_each(shop: Studio, time: Time) -> None:
    """A merge waits for intents of both its players, and holds back later ones of both."""
    shop.emulator.faults.add(NOTHING, operation="wallet.credit")
    shop.record(
        lambda box: box.wallet.credit("a", "gold", amount=1),
        lambda box: box.players.merge("b", "a"),
        lambda box: box.wallet.credit("b", "gold", amount=1),
        lambda box: box.wallet.credit("c", "gold", amount=1),
    )
    shop.drain()
    assert ["pending", "pending", "pending", "done"] == shop.states()
    time.advance(SOON)
    shop.drain(in_flight=2)
    assert ["wallet.credit"] * 3 + ["players.merge", "wallet.credit"] == [
        name for name, _ in shop.sent()
    ]


def test_what_has_ended_holds_back_nothing(shop: Studio, time: Time) -> None:
    """Refused and unknown intents do not hold back later ones of their players."""
    shop.emulator.faults.add(LOST, operation="wallet.credit")
    shop.credit("1", "a")
    shop.record(lambda box: box.wallet.debit("b", "gold", amount=9))
    shop.credit("2", "a")
    shop.credit("3", "b")
    refused: list[Any] = []
    assert 1 == shop.drain(on_refused=refused.append).refused
    assert ["pending", "refused", "pending", "done"] == shop.states()
    assert ["conflict"] == [intent.error["code"] for intent in refused]
    time.advance(TRUSTED)
    assert 1 == shop.drain().done
    assert ["unknown", "refused", "done", "done"] == shop.states()


def test_players_of_two_games_are_different(shop: Studio) -> None:
    """A player's intents neither wait for nor erase those of a player with the same id in another
    game."""
    other = DEFAULT_WORLD.keys[2]
    with KratyAdmin(api_key=other.token, base_url=shop.emulator.base_url) as second:
        outbox.set_up(shop.engine, second, add_target=True)
        with shop.engine.begin() as connection:
            first_box = outbox.into(connection, game_id="game_1")
            second_box = outbox.into(connection, game_id="game_2")
            waits = first_box.wallet.credit("a", "gold", amount=1, idempotency_key="k")
            sent = second_box.wallet.credit("a", "gold", amount=1, idempotency_key="k")
            again = second_box.wallet.credit("a", "gold", amount=1, idempotency_key="k")
            assert (sent.id, False) == (again.id, again.is_new)
            second_box.players.delete("a", reason="gdpr_erasure")
        assert 2 == shop.drain(second).done
        assert ("pending", "done") == (shop.intent(waits.id).state, shop.intent(sent.id).state)
        assert 1 == shop.drain().done
        with shop.engine.begin() as connection:
            outbox.into(connection, game_id="game_2").players.delete("a", reason="gdpr_erasure")
        assert 1 == shop.drain(second).done
    assert (("a",), ()) == (shop.intent(waits.id).players, shop.intent(sent.id).players)


def test_another_target_is_refused(studio: Studio) -> None:
    """A client of another game sends nothing, and the error names both games."""
    studio.credit("k")
    other = DEFAULT_WORLD.keys[2]
    with KratyAdmin(api_key=other.token, base_url=studio.emulator.base_url) as second:
        if not studio.is_async:
            with pytest.raises(outbox.OutboxTargetError, match=r"game_2 .*game_1 .*Nothing"):
                studio.drain(second)
        with pytest.raises(outbox.OutboxTargetError, match=r"game_1 .*game_2 "):
            outbox.set_up(studio.engine, second)
    assert [] == studio.sent()


def test_a_killed_workers_intent_is_taken_over(studio: Studio, time: Time) -> None:
    """Another worker sends the intent after the lease, and a late outcome changes nothing."""
    studio.credit("k")
    lost = claim(studio)
    assert lost is not None
    assert 0 == studio.drain().done
    time.advance(LEASE - timedelta(seconds=1))
    assert 0 == studio.drain().done
    time.advance(SOON)
    assert 1 == studio.drain().done
    with studio.engine.connect() as connection:
        assert not _store.in_transaction(
            connection,
            lambda c: _store.settle(c, TABLES, lost, Settlement("refused", None, error="{}")),
        )
    assert ["done"] == studio.states()


def test_an_unknown_outcome_has_no_older_error(
    studio: Studio, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown intent is logged as an error, and does not keep an older error, which said that
    the call had no effect."""
    headers = {"RateLimit-Reset": "0"}
    limited = Fault("status", when="before", status=429, headers=headers)
    studio.emulator.faults.add(limited, operation="wallet.credit")
    intent = studio.credit("k")
    studio.drain(limit=1)
    before = studio.intent(intent.id).error
    assert before is not None
    assert before["ambiguous"] is False
    time.advance(SOON)
    assert claim(studio) is not None
    time.advance(TRUSTED)
    assert 1 == studio.drain().unknown
    assert studio.intent(intent.id).error is None
    assert [logging.ERROR] == [each.levelno for each in caplog.records]


def test_a_late_outcome_does_not_disturb_who_took_over(shop: Studio, time: Time) -> None:
    """A worker that lost its lease stores nothing while another one is sending."""
    recorded = shop.credit("k")
    late = claim(shop)
    time.advance(LEASE)
    assert claim(shop) is not None
    assert late is not None

    def work(connection: sa.Connection) -> bool:
        return _store.settle(connection, TABLES, late, Settlement("refused", None, error="{}"))

    with shop.engine.connect() as connection:
        assert not _store.in_transaction(connection, work)
    assert ("sending", 2) == (shop.intent(recorded.id).state, shop.intent(recorded.id).attempts)


@pytest.mark.parametrize(
    ("after", "state", "sends"),
    [
        pytest.param(TRUSTED - timedelta(minutes=1), "done", 2, id="just before 23 hours"),
        pytest.param(TRUSTED, "unknown", 1, id="at 23 hours"),
        pytest.param(2 * DAY, "unknown", 1, id="after two days"),
    ],
)
def test_a_key_that_may_be_forgotten_is_not_sent(
    studio: Studio, time: Time, after: timedelta, state: str, sends: int
) -> None:
    """An intent in doubt is not sent 23 hours after its first call, but becomes unknown and is
    reported."""
    studio.emulator.faults.add(LOST, operation="wallet.credit")
    recorded = studio.credit("k")
    studio.drain()
    time.advance(after)
    unknown: list[outbox.Intent[Any]] = []
    for _ in range(2):
        report = studio.drain(on_unknown=unknown.append)
        time.advance(DAY)
        if report.done:
            break
    intent = studio.intent(recorded.id)
    assert (state, sends) == (intent.state, len(studio.sent()))
    assert [recorded.id] * (state == "unknown") == [each.id for each in unknown]
    assert 500 == studio.emulator.balance("player_42", "gold")
    assert (state == "unknown") is (intent.error is not None and intent.error["ambiguous"])


def test_the_keys_time_begins_with_the_first_call(shop: Studio, time: Time) -> None:
    """Later calls do not extend the 23 hours, which begin with the first."""
    shop.emulator.faults.add(LOST, operation="wallet.credit", times=None)
    shop.credit("k")
    for _ in range(5):
        shop.drain()
        time.advance(TRUSTED / 4)
    assert ["unknown"] == shop.states()
    assert 4 == len(shop.sent())


@pytest.mark.parametrize("name", ["grants.create", "grants.ack"])
def test_what_is_safe_at_any_time_is_repeated_at_any_time(
    shop: Studio, time: Time, name: str
) -> None:
    """A grant and its ack are repeated after a month, since their keys do not expire."""
    shop.emulator.faults.add(LOST, operation=name)
    shop.record(CALLS["grants.create"])
    if name == "grants.ack":
        shop.drain()
        grant: Any = outbox.find(shop.engine)[0].result
        shop.record(lambda box: box.grants.ack("a/b", grant.id))
    assert 1 == shop.drain().retried
    time.advance(timedelta(days=30))
    assert 1 == shop.drain().done
    assert 5 == shop.emulator.balance("a/b", "gold")


def test_a_call_without_effect_does_not_start_the_keys_time(shop: Studio, time: Time) -> None:
    """A call that was rejected for now does not start the key's 23 hours."""
    recorded = shop.credit("k")
    limited = Fault("status", when="before", status=429, headers={"Retry-After": "0"})
    shop.emulator.faults.add(limited, operation="wallet.credit")
    assert 1 == shop.drain().retried
    assert shop.intent(recorded.id).first_sent_at is None
    time.advance(DAY)
    assert 1 == shop.drain().done


def test_a_worker_that_reaches_nobody_stops_before_it_claims(shop: Studio) -> None:
    """A worker whose first ping fails claims no intent."""
    recorded = shop.credit("k")
    client = shop.emulator.client(retry=RetryConfig(attempts=1))
    shop.emulator.faults.add(Fault("status", status=503), operation="health.ping")
    with pytest.raises(KratyServerError):
        shop.drain(client)
    assert 0 == shop.intent(recorded.id).attempts


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_accepted_stops_the_worker(studio: Studio, status: int) -> None:
    """A revoked API key stops the worker, and no intent is refused for it."""
    studio.credit("1", "a")
    studio.credit("2", "b")
    denied = Fault("status", when="before", status=status)
    studio.emulator.faults.add(denied, operation="wallet.credit", times=None)
    studio.emulator.faults.add(None, denied, operation="health.ping", times=None)
    with pytest.raises(KratyServerError):
        studio.drain()
    assert ["pending", "pending"] == studio.states()
    assert 1 == len(studio.sent())


def test_a_key_that_is_revoked_in_an_outage_stops_the_worker(studio: Studio) -> None:
    """An API key revoked during an outage stops the worker at its next ping, with one intent in
    doubt."""
    recorded = [studio.credit("1", "a"), studio.credit("2", "b")]
    studio.emulator.faults.add(NOTHING, operation="wallet.credit")
    revoked = Fault("status", when="before", status=401)
    studio.emulator.faults.add(None, revoked, operation="health.ping")
    with pytest.raises(KratyServerError, match=r"^401 "):
        studio.drain()
    assert ["pending", "pending"] == studio.states()
    in_doubt = [studio.intent(each.id).first_sent_at is not None for each in recorded]
    assert [True, False] == in_doubt


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        pytest.param(Fault("status", when="before", status=403), "refused", id="403 of the call"),
        pytest.param(Fault("status", when="before", status=401), "pending", id="401 that passes"),
        pytest.param(
            Fault("status", when="before", status=403, html=True), "pending", id="a proxy's 403"
        ),
        pytest.param(
            Fault("status", when="before", status=404, html=True), "pending", id="a proxy's 404"
        ),
        pytest.param(
            Fault("status", when="before", status=413, html=True), "pending", id="a proxy's 413"
        ),
        pytest.param(Fault("status", when="before", status=404), "refused", id="404"),
        pytest.param(Fault("invalid_json"), "pending", id="answer that cannot be read"),
    ],
)
def test_who_rejected_a_call(shop: Studio, time: Time, fault: Fault, state: str) -> None:
    """An intent is refused only by an answer of Kraty, with an API key that still works."""
    shop.emulator.faults.add(fault, operation="wallet.credit")
    shop.credit("k")
    shop.drain()
    assert [state] == shop.states()
    time.advance(SOON)
    shop.drain()
    assert ["refused" if state == "refused" else "done"] == shop.states()


def test_a_403_while_the_key_cannot_be_checked(studio: Studio, time: Time) -> None:
    """A 403 refuses an intent only after a ping has shown that the API key works; a ping without an
    answer does not end the worker."""
    forbidden = Fault("status", when="before", status=403)
    studio.emulator.faults.add(forbidden, forbidden, operation="wallet.credit")
    studio.emulator.faults.add(None, Fault("status", status=503), operation="health.ping")
    studio.credit("k")
    assert 1 == studio.drain().retried
    assert ["pending"] == studio.states()
    time.advance(SOON)
    assert 1 == studio.drain().refused


def test_a_proxy_that_hides_the_answer(shop: Studio, time: Time) -> None:
    """A call is not repeated a day after something in between replaced its answer by a 403."""
    hidden = Fault("status", when="after", status=403, html=True)
    shop.emulator.faults.add(hidden, operation="wallet.credit")
    recorded = shop.credit("k")
    assert 1 == shop.drain().retried
    assert facts(shop, recorded)["ambiguous"]
    time.advance(DAY)
    assert 1 == shop.drain().unknown
    assert 500 == shop.emulator.balance("player_42", "gold")


def test_an_earlier_attempt_keeps_a_refusal_in_doubt(shop: Studio, time: Time) -> None:
    """A refusal after a lost answer stays ambiguous, and a retry does not restart the key's 23
    hours."""
    shop.emulator.faults.add(
        LOST, Fault("status", when="before", status=422, code="conflict"), operation="wallet.credit"
    )
    recorded = shop.credit("k")
    shop.drain()
    time.advance(SOON)
    assert 1 == shop.drain().refused
    assert facts(shop, recorded)["ambiguous"]
    time.advance(DAY)
    outbox.retry(shop.engine, recorded.id, by="me", why="the limit is raised")
    assert 1 == shop.drain().unknown
    assert 2 == len(shop.sent())
    assert 500 == shop.emulator.balance("player_42", "gold")


def test_a_refusal_without_doubt_is_sent_again_at_any_time(shop: Studio, time: Time) -> None:
    """A refused intent that had no effect can be retried a day later."""
    refusal = Fault("status", when="before", status=404)
    shop.emulator.faults.add(refusal, operation="wallet.credit")
    recorded = shop.credit("k")
    shop.drain()
    time.advance(DAY)
    outbox.retry(shop.engine, recorded.id, by="me", why="the currency exists now")
    assert 1 == shop.drain().done


def test_a_wait_that_the_server_asks_for(shop: Studio, time: Time) -> None:
    """A worker waits as long as `Retry-After` asks, up to an hour."""
    for value in ("30", "9" * 400):
        busy = Fault("status", when="before", status=503, headers={"Retry-After": value})
        shop.emulator.faults.add(busy, operation="wallet.credit")
    recorded = shop.credit("k")
    waits: list[timedelta] = []
    for _ in range(2):
        before = shop.intent(recorded.id).due_at
        shop.drain()
        intent = shop.intent(recorded.id)
        waits.append(intent.due_at - before)
        time.advance(waits[-1])
    assert timedelta(seconds=30) <= waits[0] < timedelta(seconds=40)
    assert timedelta(hours=1) <= waits[1] < timedelta(hours=1, seconds=10)
    assert 1 == shop.drain().done


def test_a_rate_limit_holds_all_calls(studio: Studio) -> None:
    """After a 429, no call begins before the time that the server asked for."""
    limited = Fault("status", when="before", status=429, headers={"Retry-After": "60"})
    studio.emulator.faults.add(limited, operation="wallet.credit")
    for number in range(3):
        studio.credit(str(number), player=f"p{number}")
    with first_wait_ends_it():
        report = studio.drain()
    assert (0, 1, "time") == (report.done, report.retried, report.stopped_by)
    assert 1 == len(studio.sent())


def test_a_worker_whose_time_is_over_begins_nothing(studio: Studio) -> None:
    """After `seconds`, a worker sends no intent, and says that its time was over."""
    studio.credit("k")
    report = studio.drain(seconds=1e-9)
    assert (0, "time") == (report.done, report.stopped_by)
    assert ["pending"] == studio.states()


def test_an_outage_leaves_in_doubt_what_was_being_sent(studio: Studio, time: Time) -> None:
    """After a call without an answer, a worker claims nothing until a ping is answered."""
    for number in range(6):
        studio.credit(str(number), player=f"p{number}")
    studio.emulator.faults.add(NOTHING, operation="wallet.credit", times=None)
    studio.emulator.faults.add(None, *[NOTHING] * 99, operation="health.ping")
    with first_wait_ends_it():
        report = studio.drain(in_flight=2)
    assert (0, "time") == (report.done, report.stopped_by)
    in_doubt = sum(i.first_sent_at is not None for i in outbox.find(studio.engine, limit=None))
    assert 1 <= in_doubt <= 2
    studio.emulator.faults.clear()
    time.advance(SOON)
    assert 6 == studio.drain(in_flight=2).done


@pytest.mark.usefixtures("time")  # or a slow machine would repeat the first of them
def test_pings_that_pass_while_writes_fail(shop: Studio) -> None:
    """After three calls without an answer, no new intent is started, even if pings pass."""
    for number in range(10):
        shop.credit(f"credit {number}", player=f"p{number}")
    shop.record(CALLS["grants.create"])
    shop.emulator.faults.add(NOTHING, operation="wallet.credit", times=None)
    shop.emulator.faults.add(NOTHING, operation="grants.create", times=None)
    assert 3 == shop.drain().retried
    assert 3 == sum(i.first_sent_at is not None for i in outbox.find(shop.engine))


def test_no_intent_is_in_doubt_any_more(shop: Studio) -> None:
    """After three calls without an answer, a worker that finds no intent in doubt starts a new
    one."""
    client = shop.emulator.client(retry=ONCE)
    shop.emulator.faults.add(NOTHING, operation="wallet.credit")
    with pytest.raises(KratyNetworkError) as raised:
        client.wallet.credit("p", "gold", amount=1)
    work = _worker.Work(client, TABLES, in_flight=1, on_refused=None, on_unknown=None)
    for _ in range(3):
        work.health.ended(raised.value, real_time.monotonic())
    recorded = shop.credit("k")
    with shop.engine.connect() as connection:
        work.target = connection.scalar(sa.select(TABLES.targets.c.id)) or 0
    found: list[int | None] = []
    for _ in range(2):
        with shop.engine.connect() as connection:
            claimed = _store.in_transaction(connection, work.claim)
        found.append(None if claimed is None else claimed.id)
    assert [None, recorded.id] == found


def test_one_new_intent_after_five_minutes(shop: Studio) -> None:
    """Five minutes after three calls without an answer, a worker starts one new intent."""
    client = shop.emulator.client()
    work = _worker.Work(client, TABLES, in_flight=1, on_refused=None, on_unknown=None)
    for _ in range(3):
        work.health.ended(KratyNetworkError("m"), real_time.monotonic() - 301)
    recorded = [shop.credit("1", "a"), shop.credit("2", "b")]
    with shop.engine.connect() as connection:
        work.target = connection.scalar(sa.select(TABLES.targets.c.id)) or 0
    claimed: list[Claim | None] = []
    for _ in range(2):
        with shop.engine.connect() as connection:
            claimed.append(_store.in_transaction(connection, work.claim))
    assert [recorded[0].id, None] == [each and each.id for each in claimed]


def test_limits(studio: Studio) -> None:
    """A drain ends at its limit of intents, or at once if it is stopped."""
    for number in range(5):
        studio.credit(str(number), player=f"p{number}")
    assert "stop" == studio.drain(stop=True).stopped_by
    assert [] == studio.sent()
    report = studio.drain(limit=2, in_flight=2)
    assert (2, "limit") == (report.done, report.stopped_by)
    assert 3 == studio.drain(limit=9).done


def test_a_limit_that_is_not_reached(studio: Studio) -> None:
    """A drain that finds nothing due says so, even if its limit is below `in_flight`."""
    assert "empty" == studio.drain(limit=2, in_flight=4).stopped_by


def test_a_limit_counts_what_is_sent(shop: Studio) -> None:
    """While a worker looks for the last intent of its limit, no other one begins; if it finds
    none, the limit is not reached."""
    client = shop.emulator.client()
    work = _worker.Work(client, TABLES, in_flight=2, limit=1, on_refused=None, on_unknown=None)
    assert [True, False] == [work.may_claim(), work.may_claim()]
    assert "limit" == work.report().stopped_by
    work.found_nothing()
    assert "empty" == work.report().stopped_by
    assert work.may_claim()


def test_a_drain_gives_back_its_places_in_the_limiter(shop: Studio) -> None:
    """A drain that has ended leaves no call counted as in flight."""
    client = shop.emulator.client()
    for number in range(4):
        shop.credit(str(number), player=f"p{number}")
    for limit, in_flight in ((1, 1), (1, 3), (None, 1), (None, 3)):
        shop.drain(client, limit=limit, in_flight=in_flight)
    assert 0 == client._limiter._in_flight  # pyright: ignore[reportPrivateUsage]


def test_a_service_runs_until_it_is_stopped(studio: Studio) -> None:
    """`run` sends intents until it is stopped, and its waits leave no tasks behind."""
    studio.credit("k")
    if not studio.is_async:
        stop = threading.Event()

        def end_when_done() -> None:
            while studio.states() != ["done"]:
                real_time.sleep(0.01)
            stop.set()

        thread = threading.Thread(target=end_when_done)
        thread.start()
        report = outbox.run(studio.emulator.client(), studio.engine, stop=stop, poll=0.01)
        thread.join()
    else:

        async def main(kraty: KratyAdminAsync, engine: AsyncEngine) -> outbox.DrainReport:
            stop = asyncio.Event()
            running = asyncio.create_task(
                outbox.run_async(kraty, engine, stop=stop, poll=60, in_flight=2)
            )
            while studio.states() != ["done"]:  # noqa: ASYNC110  # it is another thread's
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)  # twenty steps of each slot's wait
            # This one, the worker, and for each slot: itself, its wait, and a wait that ends.
            assert len(asyncio.all_tasks()) <= 2 + 2 * 3
            stop.set()
            return await running

        report = studio.run(main)
    assert (1, "stop") == (report.done, report.stopped_by)


def test_sigterm_ends_a_service(shop: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that sets the event ends a worker that waits in the same thread, after at
    most one look at the database."""
    stop = threading.Event()
    looks: list[Claim | None] = []
    real = _store.claim

    def look(*arguments: Any, **options: Any) -> Claim | None:
        looks.append(real(*arguments, **options))
        return looks[-1]

    monkeypatch.setattr(_store, "claim", look)
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    timer = threading.Timer(
        0.1, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    )
    try:
        timer.start()
        report = outbox.run(shop.emulator.client(), shop.engine, stop=stop, in_flight=1, poll=9)
    finally:
        signal.signal(signal.SIGTERM, before)
        timer.join()
    assert "stop" == report.stopped_by
    assert looks in ([], [None])


def test_an_exception_ends_a_service_of_several_threads(shop: Studio) -> None:
    """An exception in one thread of a service, or in the thread that waits for them, ends all."""
    stop = threading.Event()
    real = _worker.Worker._send_one  # pyright: ignore[reportPrivateUsage]

    def fail_in_the_last(worker: _worker.Worker) -> bool:
        if threading.current_thread().name.endswith("_1"):
            raise RuntimeError
        return real(worker)

    def interrupt(number: int, frame: object) -> None:
        raise Interruption

    def serve() -> None:
        outbox.run(shop.emulator.client(), shop.engine, stop=stop, in_flight=2, poll=0.01)

    rescue = threading.Timer(10, stop.set)
    rescue.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_worker.Worker, "_send_one", fail_in_the_last)
        with pytest.raises(RuntimeError):
            serve()
    before = signal.signal(signal.SIGTERM, interrupt)
    timer = threading.Timer(
        0.1, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    )
    timer.start()
    try:
        with pytest.raises(Interruption):
            serve()
    finally:
        timer.join()
        signal.signal(signal.SIGTERM, before)
        rescue.cancel()
    assert not stop.is_set()


def test_a_thread_that_cannot_start(shop: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that cannot start all its threads ends with the error at once."""
    stop = threading.Event()
    real = ThreadPoolExecutor.submit
    threads: list[object] = []

    def submit(executor: ThreadPoolExecutor, *arguments: Any) -> Any:
        threads.append(executor)
        if len(threads) == 2:
            raise RuntimeError("can't start new thread")
        return real(executor, *arguments)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    rescue = threading.Timer(10, stop.set)
    rescue.start()
    with pytest.raises(RuntimeError, match="new thread"):
        outbox.run(shop.emulator.client(), shop.engine, stop=stop, in_flight=2, poll=0.01)
    rescue.cancel()
    assert not stop.is_set()


def test_many_workers_send_each_intent_once(shop: Studio) -> None:
    """Workers that run at the same time send each intent once, and each player's in order."""
    with shop.engine.begin() as connection:
        box = outbox.into(connection)
        for number in range(36):
            box.wallet.credit(f"p{number % 12}", "gold", amount=1, idempotency_key=str(number))
    reports: list[outbox.DrainReport] = []
    engines = [shop.database.new_engine() for _ in range(3)]
    client = shop.emulator.client()

    def work(engine: sa.Engine) -> None:
        reports.append(outbox.drain(client, engine, in_flight=2))

    threads = [threading.Thread(target=work, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()
    assert 36 == sum(report.done for report in reports)
    keys = [key for _, key in shop.sent()]
    assert 36 == len(keys) == len(set(keys))
    for player in range(12):
        mine = [int(key or 0) for key in keys if int(key or 0) % 12 == player]
        assert sorted(mine) == mine


class Interruption(BaseException):
    """A stand-in for KeyboardInterrupt, which would stop pytest itself."""


def raises(error: BaseException) -> Callable[[httpx.Request], None]:
    """Return a hook that raises on each write."""

    def hook(request: httpx.Request) -> None:
        if request.method == "POST":
            raise error

    return hook


@pytest.mark.parametrize("in_flight", [1, 2])
@pytest.mark.parametrize("error", [Interruption(), RuntimeError()], ids=["interrupt", "bug"])
def test_a_call_that_is_interrupted(
    shop: Studio, time: Time, error: BaseException, in_flight: int
) -> None:
    """An intent whose call was interrupted is sent again after its lease."""
    recorded = shop.credit("k")
    with (
        httpx.Client(event_hooks={"request": [raises(error)]}) as http_client,
        KratyAdmin(
            api_key=shop.emulator.api_key,
            base_url=shop.emulator.base_url,
            http_client=http_client,
        ) as kraty,
        pytest.raises(type(error)),
    ):
        shop.drain(kraty, in_flight=in_flight)
    assert "sending" == shop.intent(recorded.id).state
    assert 0 == kraty._limiter._in_flight  # pyright: ignore[reportPrivateUsage]
    time.advance(LEASE - timedelta(seconds=30))
    assert 0 == shop.drain().done
    time.advance(timedelta(seconds=30))
    assert 1 == shop.drain().done


def test_a_cancelled_worker(shop: Studio, time: Time, caplog: pytest.LogCaptureFixture) -> None:
    """A cancelled worker leaves its intents to the lease, and no task behind."""
    stalled = Fault("stall", when="after", seconds=30)
    shop.emulator.faults.add(stalled, stalled, operation="wallet.credit")
    shop.credit("k")
    shop.credit("l", "b")

    async def main(kraty: KratyAdminAsync, engine: AsyncEngine) -> None:
        task = asyncio.create_task(outbox.drain_async(kraty, engine, in_flight=2))
        while len(shop.sent()) < 2:  # noqa: ASYNC110  # no event for it
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert 1 == len(asyncio.all_tasks())

    shop.run(main)
    gc.collect()
    assert [] == [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert ["sending", "sending"] == shop.states()
    time.advance(LEASE)
    assert 2 == shop.drain().done
    assert 500 == shop.emulator.balance("player_42", "gold")


def test_a_task_that_fails(shop: Studio) -> None:
    """If one task of a worker fails, the calls of the others end and are recorded first."""
    recorded = [shop.credit("1", "a"), shop.credit("2", "b")]
    real = _worker.AsyncWorker._call  # pyright: ignore[reportPrivateUsage]

    async def main(kraty: KratyAdminAsync, engine: AsyncEngine) -> None:
        begun, failed = asyncio.Event(), asyncio.Event()

        async def call(worker: _worker.AsyncWorker, claimed: Claim, at: Any) -> Any:
            if claimed.id == recorded[0].id:
                await begun.wait()
                failed.set()
                raise RuntimeError("a bug")
            begun.set()
            await failed.wait()
            await asyncio.sleep(0)  # until the worker knows
            return await real(worker, claimed, at)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_worker.AsyncWorker, "_call", call)
            with pytest.raises(RuntimeError, match="a bug"):
                await outbox.drain_async(kraty, engine, in_flight=2)
        assert ["sending", "done"] == shop.states()

    shop.run(main)


def test_a_callback_that_raises(shop: Studio, caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a callback is logged, and the worker goes on."""

    def callback(_: object) -> None:
        raise RuntimeError("pager is down")

    shop.record(lambda box: box.wallet.debit("a", "gold", amount=1))
    shop.credit("k", "b")
    report = shop.drain(on_refused=callback)
    assert (1, 1) == (report.refused, report.done)
    assert "pager is down" in caplog.text


STATES: Final[dict[str, Callable[[Box], Any]]] = {
    "players.merge": lambda box: box.players.merge("a", "b"),
    "players.delete": lambda box: box.players.delete("a", reason="gdpr_erasure"),
    "players.ban": lambda box: box.players.ban("a", reason="fraud"),
}


@pytest.mark.parametrize("name", STATES)
def test_another_player_under_the_same_id(shop: Studio, time: Time, name: str) -> None:
    """An intent that is repeated too late does not touch a new player with the same id."""
    kraty = shop.emulator.client()
    for player in ("a", "b"):
        kraty.migrate.players([{"externalPlayerId": player, "idempotencyKey": player}])
    shop.record(STATES[name])
    shop.emulator.faults.add(LOST, operation=name)
    assert 1 == shop.drain().retried
    time.advance(DAY)
    if name == "players.ban":
        kraty.players.delete("a", reason="gdpr_erasure")
    kraty.wallet.credit("a", "gold", amount=7)  # registers the id again
    sends = shop.sent()
    assert 1 == shop.drain().unknown
    assert sends == shop.sent()
    assert 7 == shop.emulator.balance("a", "gold")
    assert 0 == shop.emulator.balance("b", "gold")


def test_an_erased_player_leaves_no_content(shop: Studio) -> None:
    """After `players.delete`, the player's intents keep only what recognises a repeat."""
    recorded = shop.credit("k", "a")
    other = shop.credit("l", "b")
    shop.record(lambda box: box.players.delete("a", reason="gdpr_erasure"))
    assert 3 == shop.drain().done
    intent = shop.intent(recorded.id)
    assert ((), None, "done") == (intent.players, intent.result, intent.state)
    assert ("b",) == shop.intent(other.id).players
    assert not shop.credit("k", "a").is_new
    with pytest.raises(outbox.OutboxConflictError):
        shop.credit("k", "a", amount=1)


def test_a_result_that_a_database_would_reject(shop: Studio) -> None:
    """A result with a lone surrogate or a NUL is stored."""
    key = {"studioId": "studio_2", "gameId": "game_1", "environment": "test"}
    data = {"economyKey": "\ud83d\x00", "balance": 1, "applied": True}

    def answer(seen: Seen) -> bytes:
        return response(200, {"apiKey": key} if seen.method == "GET" else {"data": data})

    with serving(answer) as server, KratyAdmin(api_key="k.s", base_url=server.url) as kraty:
        shop.database.clear()
        assert "studio_2" == outbox.set_up(shop.engine, kraty).studio_id
        recorded = shop.credit("k")
        assert 1 == outbox.drain(kraty, shop.engine).done
    assert data == shop.intent(recorded.id).result


def test_a_client_that_is_closed(studio: Studio) -> None:
    """A closed client ends the worker, and its pending intents stay pending."""
    studio.record(lambda box: box.wallet.debit("a", "gold", amount=1, idempotency_key="d"))
    recorded = studio.credit("k", "b")
    if studio.is_async:

        async def main(kraty: KratyAdminAsync, engine: AsyncEngine) -> None:
            closing: list[asyncio.Task[None]] = []

            def close(_: object) -> None:
                closing.append(asyncio.create_task(kraty.close()))

            with pytest.raises(KratyClosedError):
                await outbox.drain_async(kraty, engine, on_refused=close)
            await closing[0]
            with pytest.raises(KratyClosedError):
                await outbox.drain_async(kraty, engine)

        studio.run(main)
    else:
        kraty = studio.emulator.client()

        def close(_: object) -> None:
            kraty.close()

        with pytest.raises(KratyClosedError):
            studio.drain(kraty, on_refused=close)
        with pytest.raises(KratyClosedError):
            studio.drain(kraty)
    assert ["refused", "pending"] == studio.states()
    assert studio.intent(recorded.id).first_sent_at is None


def test_an_operation_that_the_worker_does_not_know(shop: Studio, time: Time) -> None:
    """An intent of an unknown operation waits, and its key's 23 hours do not begin."""
    recorded = shop.credit("k")
    with shop.engine.begin() as connection:
        connection.execute(TABLES.intents.update().values(operation="wallet.burn"))
    assert 1 == shop.drain().retried
    time.advance(DAY)
    assert 1 == shop.drain().retried
    intent = shop.intent(recorded.id)
    assert intent.first_sent_at is None
    assert "wallet.burn" in facts(shop, recorded)["message"]
    assert [] == shop.sent()


def test_a_worker_that_stood_still(
    shop: Studio, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was suspended after a claim does not send it, since the key may be too old."""
    shop.emulator.faults.add(LOST, operation="wallet.credit")
    recorded = shop.credit("k")
    shop.drain()
    time.advance(TRUSTED - timedelta(minutes=1))
    real = _store.claim

    def claim_and_sleep(*args: Any, **options: Any) -> Claim | None:
        claimed = real(*args, **options)
        if claimed is not None:
            wall = real_time.time
            monkeypatch.setattr(real_time, "time", lambda: wall() + 7200)
        return claimed

    monkeypatch.setattr(_store, "claim", claim_and_sleep)
    assert 1 == shop.drain().retried
    assert 1 == len(shop.sent())
    assert "was suspended" in facts(shop, recorded)["message"]
    assert shop.intent(recorded.id).first_sent_at is not None


@pytest.mark.parametrize(
    ("monotonic", "wall"), [(-31, 3600), (0, -31)], ids=["a clock set back", "a clock that stopped"]
)
def test_a_claim_that_is_too_old_to_send(monotonic: float, wall: float) -> None:
    """A claim is sent within 30 seconds by both clocks, under its own key, and not later."""
    claimed = Claim(1, "wallet.credit", "k", "/p", "{}", 1, claimed_ms=5, first_sent_ms=5)
    now = _worker._Moment.now()  # pyright: ignore[reportPrivateUsage]
    with KratyAdmin(api_key="k.s") as client:
        exchange = _worker._exchange(  # pyright: ignore[reportPrivateUsage]
            client, claimed, now._replace(monotonic=now.monotonic - 20)
        )
        assert ("k", b"{}") == (exchange.idempotency_key, exchange.body)
        old = now._replace(monotonic=now.monotonic + monotonic, wall=now.wall + wall)
        with pytest.raises(outbox.OutboxError, match="suspended"):
            _worker._exchange(client, claimed, old)  # pyright: ignore[reportPrivateUsage]


def test_a_call_is_not_retried_after_its_lease(
    shop: Studio, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was suspended between two attempts does not retry after its lease."""
    shop.emulator.faults.add(LOST, operation="wallet.credit")
    shop.credit("k")
    wall = real_time.time

    def sleep(_: float) -> None:
        monkeypatch.setattr(real_time, "time", lambda: wall() + LEASE.total_seconds())

    monkeypatch.setattr(real_time, "sleep", sleep)
    assert 1 == shop.drain(retry=RetryConfig()).retried
    assert 1 == len(shop.sent())


def test_the_outcome_of_a_claim_that_another_worker_has_taken_over(
    shop: Studio, time: Time
) -> None:
    """The outcome of a claim that another worker took over is not stored, and the other one repeats
    the call."""
    recorded = shop.credit("k")
    real = _worker.Worker._call  # pyright: ignore[reportPrivateUsage]
    others: list[Claim | None] = []

    def stall_and_call(*arguments: Any) -> Any:
        time.advance(LEASE + timedelta(seconds=1))
        others.append(claim(shop))
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_worker.Worker, "_call", stall_and_call)
        assert 0 == shop.drain().done
    assert [recorded.id] == [other and other.id for other in others]
    assert "sending" == shop.intent(recorded.id).state
    time.advance(LEASE + timedelta(seconds=1))
    assert 1 == shop.drain().done
    assert 500 == shop.emulator.balance("player_42", "gold")


@pytest.mark.parametrize(
    ("decides", "state"),
    [
        pytest.param(None, "done", id="unknown"),
        pytest.param("send-again", "done", id="to be sent again"),
        pytest.param("abandon", "abandoned", id="abandoned"),
    ],
)
def test_a_success_that_was_received_after_the_key_expired(
    shop: Studio, time: Time, decides: Any, state: str
) -> None:
    """A worker that was suspended for a day stores a success, so that nobody pays again."""
    recorded = shop.credit("k")
    real = _worker.Worker._call  # pyright: ignore[reportPrivateUsage]

    def call_and_sleep(*arguments: Any) -> Any:
        result = real(*arguments)
        time.advance(DAY)
        assert 1 == shop.drain().unknown  # by another worker
        if decides is not None:
            outbox.resolve(shop.engine, recorded.id, decides, by="ann", why="not in the ledger")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_worker.Worker, "_call", call_and_sleep)
        shop.drain(limit=1)
    assert state == shop.intent(recorded.id).state
    shop.drain()
    assert 500 == shop.emulator.balance("player_42", "gold")


def test_a_failure_that_was_received_after_the_key_expired(shop: Studio, time: Time) -> None:
    """A worker that was suspended for a day, and got no answer, leaves the decision to a person."""
    recorded = shop.credit("k")
    shop.emulator.faults.add(LOST, operation="wallet.credit")
    real = _worker.Worker._call  # pyright: ignore[reportPrivateUsage]

    def call_and_sleep(*arguments: Any) -> Any:
        result = real(*arguments)
        time.advance(DAY)
        assert 1 == shop.drain().unknown  # by another worker
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_worker.Worker, "_call", call_and_sleep)
        assert 0 == shop.drain(limit=1).retried
    assert "unknown" == shop.intent(recorded.id).state


def test_keys_expire_during_an_outage(shop: Studio, time: Time) -> None:
    """A worker that waits for the platform still reports intents whose keys are too old."""
    shop.emulator.faults.add(LOST, operation="wallet.credit")
    recorded = shop.credit("k")
    shop.emulator.faults.add(None, *[NOTHING] * 999, operation="health.ping")
    unknown: list[int] = []
    real = _worker.Worker._ping  # pyright: ignore[reportPrivateUsage]

    def ping(worker: Any) -> Any:
        time.advance(TRUSTED)
        worker._work._expires_at = -math.inf
        return real(worker)

    stop = threading.Event()

    def on_unknown(intent: outbox.Intent[Any]) -> None:
        unknown.append(intent.id)
        stop.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_worker.Worker, "_ping", ping)
        kraty = shop.emulator.client(retry=ONCE)
        report = outbox.drain(kraty, shop.engine, seconds=20, stop=stop, on_unknown=on_unknown)
    assert (1, "stop") == (report.unknown, report.stopped_by)
    assert [recorded.id] == unknown


def test_a_platform_that_dies(shop: Studio, time: Time) -> None:
    """If the platform vanishes between two intents, the next one stays pending and is not in
    doubt."""
    shop.record(lambda box: box.wallet.debit("a", "gold", amount=1))
    recorded = shop.credit("k", "b")

    def die(intent: object) -> None:
        shop.emulator.close()

    with shop.own_client() as kraty:
        with first_wait_ends_it():
            report = shop.drain(kraty, on_refused=die)
        assert (1, 0, "time") == (report.refused, report.done, report.stopped_by)
        intent = shop.intent(recorded.id)
        assert ("pending", None) == (intent.state, intent.first_sent_at)
        with pytest.raises(KratyNetworkError):
            shop.drain(kraty)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"in_flight": 0}, id="in_flight"),
        pytest.param({"in_flight": True}, id="in_flight of bool"),
        pytest.param({"limit": 0}, id="limit"),
        pytest.param({"seconds": 0}, id="seconds"),
        pytest.param({"seconds": math.nan}, id="seconds of nan"),
    ],
)
def test_arguments_are_checked(shop: Studio, options: dict[str, Any]) -> None:
    """A wrong argument of a drain is refused by name."""
    with pytest.raises(ValueError, match=next(iter(options))):
        shop.drain(**options)


@pytest.mark.parametrize("name", ["on_refused", "on_unknown"])
def test_callbacks_are_checked(studio: Studio, name: str) -> None:
    """A callback that nothing would await, or that cannot be called, is refused by name."""

    async def alert(intent: object) -> None: ...

    options: dict[str, Any] = {name: alert}
    with pytest.raises(TypeError, match=f"^{name} must be a plain function: nothing would await"):
        studio.drain(**options)
    options[name] = "alert"
    with pytest.raises(TypeError, match=f"^{name} must be callable, not a str"):
        studio.drain(**options)


def test_the_wait_between_two_looks_is_checked(shop: Studio) -> None:
    """A `poll` of 0 is refused."""
    with pytest.raises(ValueError, match=r"^poll must be above 0"):
        outbox.run(shop.emulator.client(), shop.engine, stop=threading.Event(), poll=0)


def test_a_deadline_that_a_lease_cannot_outlast(shop: Studio) -> None:
    """A client without a deadline, or with one of over half an hour, is refused, since no other
    worker may send the intent until then."""
    for deadline in (1801, math.inf):
        with pytest.raises(ValueError, match="deadline"):
            shop.drain(shop.emulator.client(deadline=deadline))
    assert "empty" == shop.drain(shop.emulator.client(deadline=1800)).stopped_by


def test_a_slot_that_finds_nothing_leaves_the_limit_to_the_others(studio: Studio) -> None:
    """A drain does not report that its limit is reached because a second slot found nothing."""
    studio.credit("k")
    found_nothing = threading.Event()
    real = _worker.Work.found_nothing
    real_call = _worker.Worker._call  # pyright: ignore[reportPrivateUsage]
    real_call_async = _worker.AsyncWorker._call  # pyright: ignore[reportPrivateUsage]

    def found(work: _worker.Work) -> None:
        real(work)
        found_nothing.set()

    def wait_and_call(*arguments: Any) -> Any:
        assert found_nothing.wait(10)
        return real_call(*arguments)

    async def wait_and_call_async(*arguments: Any) -> Any:
        assert await asyncio.to_thread(found_nothing.wait, 10)
        return await real_call_async(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_worker.Work, "found_nothing", found)
        patch.setattr(_worker.Worker, "_call", wait_and_call)
        patch.setattr(_worker.AsyncWorker, "_call", wait_and_call_async)
        report = studio.drain(limit=2, in_flight=2)
    assert (1, "empty") == (report.done, report.stopped_by)


class TestWork:
    """The state that a worker's slots share, without a database."""

    @pytest.fixture
    def client(self) -> Iterator[KratyAdmin]:
        with KratyAdmin(api_key="k.s") as client:
            yield client

    def make(self, client: KratyAdmin, **options: Any) -> _worker.Work:
        return _worker.Work(
            client, TABLES, in_flight=1, on_refused=None, on_unknown=None, **options
        )

    def test_the_first_reason_to_end_is_reported(self, client: KratyAdmin) -> None:
        """A worker that has reached its limit reports that, even if it is stopped afterwards."""
        work = self.make(client, limit=1, seconds=1e-9)
        work.ended_by = "limit"
        assert work.is_over(True)
        assert "limit" == work.report().stopped_by

    @pytest.mark.parametrize("status", [200, 503])
    def test_an_answer_reports_the_limit_of_calls(self, status: int) -> None:
        """Each answer, even an error, updates how many calls the server still allows."""

        def answer(seen: Seen) -> bytes:
            return response(status, {"data": {}}, RateLimit_Remaining="0", RateLimit_Reset="60")

        with (
            serving(answer) as server,
            KratyAdmin(api_key="k.s", base_url=server.url, retry=ONCE) as client,
        ):
            outcome: Any
            try:
                outcome = client.wallet.credit("p", "gold", amount=1)
            except KratyServerError as error:
                outcome = error
            work = self.make(client)
            assert 0 == work.take_turn()
            work.end_turn(outcome)
            assert 50 < work.take_turn() <= 60

    def test_old_keys_are_looked_for_once_a_minute(
        self, client: KratyAdmin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A worker looks for keys that are too old at once, and again after a minute."""
        now = [1000.0]
        monkeypatch.setattr(real_time, "monotonic", lambda: now[0])
        work = self.make(client)
        found: list[bool] = []
        for seconds in (0, 59, 1):
            now[0] += seconds
            found.append(work.must_expire())
            if found[-1]:
                work.expired([])
        assert [True, False, True] == found


WORKER: Final = """
import sys
import sqlalchemy as sa
from kraty_admin import KratyAdmin, outbox
with KratyAdmin() as kraty:
    outbox.drain(kraty, sa.create_engine(sys.argv[1]), in_flight=2)
"""


@pytest.mark.once
def test_processes_of_which_one_is_killed(
    shop: Studio, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers in two processes send no intent twice, and one that is killed in a call loses
    none."""
    monkeypatch.setenv("KRATY_BASE_URL", shop.emulator.base_url)
    monkeypatch.setenv("KRATY_SERVER_KEY", shop.emulator.api_key)
    shop.emulator.faults.add(Fault("stall", when="after", seconds=30), operation="wallet.debit")
    shop.emulator.client().wallet.credit("a", "gold", amount=500)
    shop.record(lambda box: box.wallet.debit("a", "gold", amount=200))
    for number in range(12):
        shop.credit(str(number), player=f"p{number % 6}")
    with subprocess.Popen([sys.executable, "-c", WORKER, shop.database.url]) as killed:
        while len(shop.sent()) < 2:
            assert killed.poll() is None
            real_time.sleep(0.01)
        shop.drain(in_flight=2)
        while shop.states().count("done") < 12:
            assert killed.poll() is None
            real_time.sleep(0.01)
        killed.kill()
    assert ["sending"] + ["done"] * 12 == shop.states()
    sent = shop.sent()
    assert 14 == len(set(sent)) == len(sent)
    assert 300 == shop.emulator.balance("a", "gold")
    time.advance(LEASE)
    assert 1 == shop.drain().done
    assert 300 == shop.emulator.balance("a", "gold")


def steps_of_a_slot(
    is_async: bool, answers: list[KratyError | None], ended_by: Any = None
) -> list[str | bool]:
    """Return what a slot does before a claim, whose worker has to ping, and whether it may send.

    Args:
        is_async: Which of the workers to use.
        answers: The outcomes of its pings.
        ended_by: What has ended the worker already.
    """
    steps: list[str | bool] = []

    def _transact(worker: Any, look: object) -> list[outbox.Intent[Any]]:
        steps.append("look for old keys")
        return []

    def _ping(worker: Any) -> KratyError | None:
        steps.append("ping")
        error = answers.pop(0)
        if error is None:
            work.health.answered_ping()
        work._expires_at = -math.inf  # pyright: ignore[reportPrivateUsage]
        return error

    def _pause(worker: Any, seconds: float) -> None:
        steps.append(f"pause {seconds:g} s")

    def awaited(fake: Callable[..., Any]) -> Callable[..., Any]:
        async def twin(*arguments: Any) -> Any:
            return fake(*arguments)

        return twin

    nothing: Any = None
    with KratyAdmin(api_key="k.s") as client:
        work = _worker.Work(client, TABLES, in_flight=1, on_refused=None, on_unknown=None)
    work.health.must_ping = True
    work.ended_by = ended_by
    with pytest.MonkeyPatch.context() as patch:
        for fake in (_transact, _ping, _pause):
            patch.setattr(_worker.Worker, fake.__name__, fake)
            patch.setattr(_worker.AsyncWorker, fake.__name__, awaited(fake))
        if not is_async:
            worker = _worker.Worker(nothing, nothing, threading.Event(), work)
            may_send = worker._may_send()  # pyright: ignore[reportPrivateUsage]
            return [*steps, may_send]

        async def main() -> bool:
            worker = _worker.AsyncWorker(nothing, nothing, asyncio.Event(), work)
            worker._pings = asyncio.Lock()  # pyright: ignore[reportPrivateUsage]
            return await worker._may_send()  # pyright: ignore[reportPrivateUsage]

        may_send = asyncio.run(main())
        return [*steps, may_send]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
class TestOutage:
    """What a worker does before each claim while the platform does not answer."""

    def test_pings_until_one_is_answered(self, is_async: bool) -> None:
        """A worker pings at growing intervals, and looks for keys that are too old before each."""
        lost = KratyNetworkError("m")
        expected = [
            *("look for old keys", "ping"),
            *("look for old keys", "pause 1 s", "ping"),
            *("look for old keys", "pause 2 s", "ping"),
            True,
        ]
        assert expected == steps_of_a_slot(is_async, [lost, lost, None])

    def test_a_client_that_is_closed(self, is_async: bool) -> None:
        """A worker whose client is closed ends, rather than pinging with it forever."""
        with pytest.raises(KratyClosedError):
            steps_of_a_slot(is_async, [KratyClosedError("m")])

    def test_a_worker_that_has_ended(self, is_async: bool) -> None:
        """A worker that was stopped during an outage begins nothing more."""
        assert [False] == steps_of_a_slot(is_async, [], ended_by="stop")

    def test_a_ping_is_one_request(self, is_async: bool) -> None:
        """A ping that fails is not retried at once, so that a worker can be stopped."""
        nothing: Any = None
        options: dict[str, Any] = {"in_flight": 1, "on_refused": None, "on_unknown": None}

        async def ping(url: str) -> KratyError | None:
            async with KratyAdminAsync(api_key="k.s", base_url=url) as client:
                work = _worker.Work(client, TABLES, **options)
                worker = _worker.AsyncWorker(client, nothing, asyncio.Event(), work)
                return await worker._ping()  # pyright: ignore[reportPrivateUsage]

        with serving(lambda seen: response(503)) as server:
            if is_async:
                error = asyncio.run(ping(server.url))
            else:
                with KratyAdmin(api_key="k.s", base_url=server.url) as client:
                    work = _worker.Work(client, TABLES, **options)
                    worker = _worker.Worker(client, nothing, threading.Event(), work)
                    error = worker._ping()  # pyright: ignore[reportPrivateUsage]
        assert isinstance(error, KratyServerError)
        assert 1 == len(server.seen)

    def test_an_end_after_a_place_was_taken(self, is_async: bool) -> None:
        """A slot whose worker ends before it claims sends nothing, and gives back its place."""
        nothing: Any = None
        with KratyAdmin(api_key="k.s") as client:
            work = _worker.Work(client, TABLES, in_flight=2, on_refused=None, on_unknown=None)
        assert 0 == work.take_turn()
        work.ended_by = "stop"
        if is_async:
            worker = _worker.AsyncWorker(nothing, nothing, asyncio.Event(), work)
            sending = worker._send_one()  # pyright: ignore[reportPrivateUsage]
            assert asyncio.run(sending)
        else:
            slot = _worker.Worker(nothing, nothing, threading.Event(), work)
            assert slot._send_one()  # pyright: ignore[reportPrivateUsage]
        assert 0 == work.limiter._in_flight  # pyright: ignore[reportPrivateUsage]

    def test_a_wait_of_a_worker_that_has_ended(self, is_async: bool) -> None:
        """A slot that waits ends when another slot has ended the worker."""
        nothing: Any = None
        with KratyAdmin(api_key="k.s") as client:
            work = _worker.Work(client, TABLES, in_flight=2, on_refused=None, on_unknown=None)
        work.ended_by = "stop"

        async def pause() -> None:
            worker = _worker.AsyncWorker(nothing, nothing, asyncio.Event(), work)
            await worker._pause(5)  # pyright: ignore[reportPrivateUsage]

        began = real_time.monotonic()
        if is_async:
            asyncio.run(pause())
        else:
            worker = _worker.Worker(nothing, nothing, threading.Event(), work)
            worker._pause(5)  # pyright: ignore[reportPrivateUsage]
        assert real_time.monotonic() < began + 4
