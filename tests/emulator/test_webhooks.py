"""Webhooks as a receiver gets them: signed, repeated, numbered, and no more than are due."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kraty_admin import KratyAdmin, construct_event
from kraty_admin.emulator import DEFAULT_WORLD, Emulator, Endpoint, Fault, World
from kraty_admin.emulator._clock import Clock
from kraty_admin.emulator._faults import Faults
from kraty_admin.emulator._state import Deliveries, Due, State
from kraty_admin.emulator._webhooks import BACKOFF, Webhooks
from loopback import Seen, response, serving

SECRET = "whsec_test"
PATIENCE = 20.0


class Receiver:
    """A receiver that verifies and records webhooks, and answers with a status that a test sets."""

    def __init__(self) -> None:
        self.envelopes: list[dict[str, Any]] = []
        self.signatures: list[str] = []
        self.answer: Callable[[dict[str, Any]], int] = lambda _: 200
        self.url = ""

    def __call__(self, seen: Seen) -> bytes:
        signature = seen.headers["x-signature"]
        construct_event(raw_body=seen.body, signature_header=signature, secret=SECRET)
        envelope = json.loads(seen.body)
        status = self.answer(envelope)
        self.signatures.append(signature)
        self.envelopes.append(envelope)
        return response(status, location=self.url) if 300 <= status < 400 else response(status)

    @property
    def received(self) -> list[tuple[str, int]]:
        """Return the name and the attempt of each webhook received."""
        return [(each["eventName"], each["deliveryAttempt"]) for each in self.envelopes]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Start a receiver."""
    receiver = Receiver()
    with serving(receiver) as server:
        receiver.url = f"{server.url}/hooks"
        yield receiver


@pytest.fixture
def kraty(running: Emulator, receiver: Receiver) -> Iterator[Emulator]:
    """Reset the emulator, and register the receiver for every event."""
    running.reset()
    running.webhooks.register(receiver.url, SECRET)
    yield running
    running.close_clients()
    running.reset()


@pytest.fixture
def client(kraty: Emulator) -> KratyAdmin:
    """Return a client of the emulator."""
    return kraty.client()


# --- what is sent -{58}


def test_the_envelope(kraty: Emulator, client: KratyAdmin, receiver: Receiver) -> None:
    """The envelope is as the contract says, and its signature verifies."""
    client.wallet.credit("alice", "gold", amount=5, reason="iap")
    kraty.webhooks.settle(PATIENCE)
    assert sorted(receiver.received) == [("player.registered", 1), ("wallet.changed", 1)]
    (envelope,) = [each for each in receiver.envelopes if each["eventName"] == "wallet.changed"]
    assert list(envelope) == [
        *["id", "eventName", "studioId", "gameId", "occurredAt", "deliveryAttempt", "data"]
    ]
    assert envelope["id"].startswith("evt_")
    assert (envelope["studioId"], envelope["gameId"]) == ("studio_1", "game_1")
    assert envelope["occurredAt"] == "2026-01-01T00:00:00.000Z"
    assert envelope["data"]["externalPlayerId"] == "alice"
    (delivery,) = [each for each in kraty.deliveries if each.event_name == "wallet.changed"]
    assert (delivery.event_id, delivery.data) == (envelope["id"], envelope["data"])
    assert (delivery.status, delivery.url) == ("delivered", receiver.url)
    assert [(1, 200, None)] == [(a.attempt, a.status, a.error) for a in delivery.attempts]
    assert [kraty.clock.now] == [a.at for a in delivery.attempts]


def test_a_migration_is_silent(kraty: Emulator, client: KratyAdmin, receiver: Receiver) -> None:
    """An import sends no events."""
    who = {"externalPlayerId": "alice", "idempotencyKey": "k"}
    client.migrate.players([who])
    client.migrate.wallet([{**who, "economyKey": "gold", "amount": 5}])
    client.migrate.inventory([{**who, "itemKey": "health_potion", "quantity": 5}])
    client.wallet.debit("alice", "gold", amount=1)
    kraty.webhooks.settle(PATIENCE)
    assert [("wallet.changed", 1)] == receiver.received


def test_an_erasure_is_sent_once_with_the_erased_id(
    kraty: Emulator, client: KratyAdmin, receiver: Receiver
) -> None:
    """An erasure sends one event with the erased id; erasing an erased or unknown player sends
    none."""
    client.wallet.credit("alice", "gold", amount=5)
    for player in ("alice", "alice", "nobody"):
        client.players.delete(player, reason="gdpr_erasure")
    kraty.webhooks.settle(PATIENCE)
    erased = [each["data"] for each in receiver.envelopes if each["eventName"] == "player.deleted"]
    assert ["alice"] == [data["externalPlayerId"] for data in erased]


def test_a_ban_is_sent_once(kraty: Emulator, client: KratyAdmin, receiver: Receiver) -> None:
    """Banning a banned player sends no event; banning again after an unban does."""
    client.wallet.credit("alice", "gold", amount=5)
    client.players.ban("alice", reason="cheats")
    client.players.ban("alice", reason="still cheats")
    kraty.webhooks.settle(PATIENCE)
    assert 1 == receiver.received.count(("player.banned", 1))
    client.players.unban("alice")
    client.players.ban("alice", reason="cheats again")
    kraty.webhooks.settle(PATIENCE)
    assert 2 == receiver.received.count(("player.banned", 1))


def test_a_call_without_effect_tells_nothing(
    kraty: Emulator, client: KratyAdmin, receiver: Receiver
) -> None:
    """A call that changes nothing sends no webhook, and a lost answer after the commit sends
    one."""
    kraty.faults.add(Fault("drop", when="before"), Fault("drop"), operation="wallet.credit")
    assert client.wallet.credit("alice", "gold", amount=5).http.attempts == 3
    kraty.webhooks.settle(PATIENCE)
    assert sorted(receiver.received) == [("player.registered", 1), ("wallet.changed", 1)]


def test_an_endpoint_receives_the_events_that_it_names(
    kraty: Emulator, client: KratyAdmin, receiver: Receiver
) -> None:
    """An endpoint receives only the events that its latest registration names."""
    client.wallet.credit("alice", "gold", amount=5)
    kraty.webhooks.settle(PATIENCE)
    receiver.envelopes.clear()
    kraty.webhooks.register(receiver.url, SECRET, events=["player.banned", "wallet.changed"])
    client.wallet.credit("bob", "gold", amount=5)
    client.players.ban("bob", reason="x")
    kraty.webhooks.settle(PATIENCE)
    assert sorted(receiver.received) == [("player.banned", 1), ("wallet.changed", 1)]


# --- at least once ---------------------------------------------------------


def test_a_failed_delivery_is_retried(
    kraty: Emulator, client: KratyAdmin, receiver: Receiver
) -> None:
    """A failed delivery is retried with the same id after growing waits, eight times in all."""
    kraty.webhooks.register(receiver.url, SECRET, events=["wallet.changed"])
    receiver.answer = lambda _: 500
    client.wallet.credit("alice", "gold", amount=5)
    for number, wait in enumerate(BACKOFF, 1):
        kraty.webhooks.settle(PATIENCE)
        (delivery,) = kraty.deliveries
        assert ("pending", number) == (delivery.status, len(delivery.attempts))
        assert kraty.clock.now + timedelta(seconds=wait) == delivery.due_at
        kraty.clock.advance(wait - 0.001)
        kraty.webhooks.settle(PATIENCE)
        assert number == len(receiver.envelopes)
        kraty.clock.advance(0.001)
    kraty.webhooks.settle(PATIENCE)
    kraty.clock.advance(timedelta(days=30))
    kraty.webhooks.settle(PATIENCE)
    (delivery,) = kraty.deliveries
    assert ("failed", [500] * 8) == (delivery.status, [a.status for a in delivery.attempts])
    assert [*range(1, 9)] == [each["deliveryAttempt"] for each in receiver.envelopes]
    assert 1 == len({json.dumps({**e, "deliveryAttempt": 0}) for e in receiver.envelopes})


@pytest.mark.parametrize("status", [300, 302, 400, 404, 410, 429, 500, 503])
def test_only_a_2xx_is_a_success(
    kraty: Emulator, client: KratyAdmin, receiver: Receiver, status: int
) -> None:
    """A delivery that is not answered with 2xx is retried; a redirect is not followed."""
    kraty.webhooks.register(receiver.url, SECRET, events=["wallet.changed"])
    receiver.answer = lambda each: status if each["deliveryAttempt"] == 1 else 299
    client.wallet.credit("alice", "gold", amount=5)
    kraty.webhooks.settle(PATIENCE)
    kraty.clock.advance(BACKOFF[0])
    kraty.webhooks.settle(PATIENCE)
    (delivery,) = kraty.deliveries
    assert ("delivered", [status, 299]) == (delivery.status, [a.status for a in delivery.attempts])


def test_a_refused_delivery_is_recorded(kraty: Emulator, client: KratyAdmin) -> None:
    """A delivery that cannot connect is listed with the error, and stays pending."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    kraty.webhooks.register(f"http://localhost:{port}/", SECRET, events=["wallet.changed"])
    client.wallet.credit("alice", "gold", amount=5)
    kraty.webhooks.settle(PATIENCE)
    (delivery,) = [each for each in kraty.deliveries if "localhost" in each.url]
    (attempt,) = delivery.attempts
    assert ("pending", None) == (delivery.status, attempt.status)
    assert attempt.error is not None
    assert attempt.error.startswith("ConnectError")


def test_an_answer_that_is_lost_leads_to_a_second_delivery(
    kraty: Emulator, client: KratyAdmin, receiver: Receiver
) -> None:
    """A webhook whose answer is lost is received twice, and one that is itself lost only later."""
    kraty.webhooks.register(receiver.url, SECRET, events=["wallet.changed"])
    kraty.faults.add(Fault("drop"), Fault("drop", when="before"), operation="webhook")
    client.wallet.credit("alice", "gold", amount=5)
    for wait in (0, *BACKOFF[:2]):
        kraty.clock.advance(wait)
        kraty.webhooks.settle(PATIENCE)
    assert [("wallet.changed", 1), ("wallet.changed", 3)] == receiver.received
    (delivery,) = kraty.deliveries
    assert [None, None, 200] == [attempt.status for attempt in delivery.attempts]
    assert ["lost on purpose"] * 2 == [attempt.error for attempt in delivery.attempts[:2]]


def test_one_that_is_held_back_is_overtaken(
    kraty: Emulator, client: KratyAdmin, receiver: Receiver
) -> None:
    """Later events overtake a delayed one."""
    kraty.webhooks.register(receiver.url, SECRET, events=["wallet.changed"])
    overtaken = threading.Event()

    def answer(envelope: dict[str, Any]) -> int:
        if envelope["data"]["balance"] == 10:
            overtaken.set()
        return 200

    receiver.answer = answer
    kraty.faults.add(Fault("delay", seconds=0.5), operation="webhook")
    client.wallet.credit("alice", "gold", amount=5)
    client.wallet.credit("alice", "gold", amount=5)
    assert overtaken.wait(PATIENCE)
    kraty.webhooks.settle(PATIENCE)
    assert [10, 5] == [each["data"]["balance"] for each in receiver.envelopes]


def test_a_replay(kraty: Emulator, client: KratyAdmin, receiver: Receiver) -> None:
    """A replay sends the same event with the next attempt number, even after the last attempt."""
    kraty.webhooks.register(receiver.url, SECRET, events=["wallet.changed"])
    client.wallet.credit("alice", "gold", amount=5)
    kraty.webhooks.settle(PATIENCE)
    (delivery,) = kraty.deliveries
    kraty.webhooks.replay(delivery.event_id)
    kraty.webhooks.settle(PATIENCE)
    first, second = receiver.envelopes
    assert {**first, "deliveryAttempt": 2} == second
    with pytest.raises(ValueError, match="no delivery of an event evt_none"):
        kraty.webhooks.replay("evt_none")


def test_a_retry_comes_by_itself_where_the_clock_runs(receiver: Receiver) -> None:
    """With a running clock, a failed delivery is retried without a call of the test."""
    arrived = threading.Event()

    def answer(envelope: dict[str, Any]) -> int:
        if envelope["deliveryAttempt"] < 3:
            return 500
        arrived.set()
        return 200

    receiver.answer = answer
    with Emulator(webhook_backoff=[0.01, 0.02]) as kraty:
        kraty.webhooks.register(receiver.url, SECRET, events=["wallet.changed"])
        kraty.client().wallet.credit("alice", "gold", amount=5)
        assert arrived.wait(PATIENCE)
        kraty.webhooks.settle(PATIENCE)
        assert ["delivered"] == [each.status for each in kraty.deliveries]


def test_proxies_are_for_others(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook to this machine does not go through the environment's proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Emulator(seed=1) as kraty:
        kraty.webhooks.register(receiver.url, SECRET, events=["wallet.changed"])
        kraty.client().wallet.credit("alice", "gold", amount=5)
        kraty.webhooks.settle(PATIENCE)
        assert ["delivered"] == [each.status for each in kraty.deliveries]
        webhooks = kraty.webhooks
    webhooks.wake()  # too late, which is no error


def test_an_event_before_the_loop_runs() -> None:
    """An event that is triggered while the emulator is still starting waits for its delivery."""
    state, game = State(":memory:"), DEFAULT_WORLD.games[0]
    webhooks = Webhooks(
        state, clock=Clock(), faults=Faults(), endpoints=(), backoff=BACKOFF, game=game
    )
    webhooks.collect(SECRET)
    webhooks.trigger("wallet.changed")
    assert ["pending"] == [each.status for each in webhooks.page(0, 10)]
    state.close()


def test_settling_has_a_limit(kraty: Emulator, client: KratyAdmin) -> None:
    """`settle` raises `TimeoutError` when its time is over."""
    kraty.faults.add(Fault("delay", seconds=60), operation="webhook")
    client.wallet.credit("alice", "gold", amount=5)
    with pytest.raises(TimeoutError, match="in progress"):
        kraty.webhooks.settle(0.05)


# --- what it outlives ------------------------------------------------------


def test_a_reset_forgets_what_was_registered(receiver: Receiver) -> None:
    """A reset removes registered endpoints, keeps those of the world and stops deliveries."""
    own = f"{receiver.url}?own"
    world = World(
        games=DEFAULT_WORLD.games,
        keys=DEFAULT_WORLD.keys,
        webhooks=[Endpoint(url=own, secret=SECRET, events=["player.registered"])],
    )
    with Emulator(world=world) as kraty:
        kraty.webhooks.register(receiver.url, SECRET)
        kraty.faults.add(Fault("delay", seconds=3600), operation="webhook", times=None)
        kraty.client().wallet.credit("alice", "gold", amount=5)
        kraty.reset()
        assert ([], []) == (kraty.deliveries, receiver.envelopes)
        kraty.client().wallet.credit("alice", "gold", amount=5)
        kraty.webhooks.settle(PATIENCE)
        assert [own] == [each.url for each in kraty.deliveries]
        assert [("player.registered", 1)] == receiver.received


def test_a_reset_under_load_mixes_nothing_up(
    kraty: Emulator, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Resets while calls and deliveries are in flight log no error."""
    over = threading.Event()

    def load() -> None:
        wallet = kraty.client().wallet
        while not over.is_set():
            wallet.credit("alice", "gold", amount=5)

    callers = [threading.Thread(target=load) for _ in range(2)]
    for caller in callers:
        caller.start()
    for _ in range(20):
        kraty.webhooks.register(receiver.url, SECRET)
        kraty.client().wallet.credit("alice", "gold", amount=5)
        kraty.reset()
    over.set()
    for caller in callers:
        caller.join(PATIENCE)
    assert [] == [record.message for record in caplog.records if record.levelname == "ERROR"]


def test_what_cannot_be_broken_off_is_not_recorded(
    kraty: Emulator, client: KratyAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that a reset could not cancel is not recorded when it ends."""
    started, recorded = threading.Event(), list[object]()

    async def post(*_: object) -> tuple[int, None]:
        with suppress(asyncio.CancelledError):
            started.set()
            await asyncio.sleep(3600)
        return 200, None

    def record(*_: object, **columns: object) -> None:
        recorded.append(columns)

    monkeypatch.setattr("kraty_admin.emulator._webhooks._post", post)
    monkeypatch.setattr(Deliveries, "add_attempt", record)
    client.wallet.credit("alice", "gold", amount=5)
    assert started.wait(PATIENCE)
    kraty.reset()
    client.health.ping()
    assert [] == recorded


def test_settling_ends_with_a_reset(kraty: Emulator, client: KratyAdmin) -> None:
    """A reset ends `settle()`, since nothing is left to wait for."""
    kraty.faults.add(Fault("delay", seconds=3600), operation="webhook", times=None)
    client.wallet.credit("alice", "gold", amount=5)
    waiting = threading.Thread(target=kraty.webhooks.settle, args=(600,))
    waiting.start()
    kraty.reset()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record each time that the loop looks for due deliveries."""
    looked: list[int] = []
    due = Deliveries.due

    def look(deliveries: Deliveries, now: int, limit: int) -> list[Due]:
        looked.append(now)
        return due(deliveries, now, limit)

    monkeypatch.setattr(Deliveries, "due", look)
    return looked


def test_a_standing_clock_does_not_wake_the_loop(receiver: Receiver, looked: list[int]) -> None:
    """A standing clock does not wake the loop, however close the next delivery is."""
    receiver.answer = lambda _: 500
    with Emulator(seed=1, webhook_backoff=[0.001]) as kraty:
        kraty.webhooks.register(receiver.url, SECRET)
        client = kraty.client()
        client.wallet.credit("alice", "gold", amount=5)
        kraty.webhooks.settle(PATIENCE)
        client.health.ping()
        before = len(looked)
        for _ in range(50):
            client.health.ping()
        assert before == len(looked)


def test_a_hanging_endpoint_does_not_keep_the_loop_busy(
    receiver: Receiver, looked: list[int]
) -> None:
    """When all slots hang, the loop sleeps, and closing stops the deliveries."""
    hanging, released = threading.Semaphore(0), threading.Event()

    def answer(_: dict[str, Any]) -> int:
        hanging.release()
        released.wait(PATIENCE)
        return 200

    receiver.answer = answer
    with Emulator() as kraty:
        kraty.webhooks.register(receiver.url, SECRET)
        client = kraty.client()
        for _ in range(20):
            client.wallet.credit("alice", "gold", amount=5)
        for _ in range(8):
            assert hanging.acquire(timeout=PATIENCE)
        client.health.ping()
        before = len(looked)
        for _ in range(20):
            client.health.ping()
        assert before == len(looked)
        # What is due anew is the last in the row, and under way all the same.
        kraty.webhooks.replay(kraty.deliveries[0].event_id)
        for _ in range(20):
            client.health.ping()
        assert not hanging.acquire(blocking=False)
        assert [0] * 21 == [len(each.attempts) for each in kraty.deliveries]
        started = time.monotonic()
    assert time.monotonic() - started < 5
    released.set()


def test_whatever_fails_is_an_attempt(kraty: Emulator, client: KratyAdmin) -> None:
    """A delivery that cannot be sent counts as an attempt and stays pending."""
    kraty.webhooks.register("http://127.0.0.1:65536/", SECRET, events=["player.banned"])
    client.wallet.credit("alice", "gold", amount=5)
    client.players.ban("alice", reason="x")
    kraty.webhooks.settle(PATIENCE)
    (failed,) = [each for each in kraty.deliveries if each.url == "http://127.0.0.1:65536/"]
    assert [(1, None)] == [(each.attempt, each.status) for each in failed.attempts]
    assert "pending" == failed.status


def test_an_attempt_that_cannot_be_recorded(
    kraty: Emulator,
    client: KratyAdmin,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An attempt that cannot be recorded is logged, and not repeated at once."""
    failed = threading.Event()

    def fail(*_: object, **columns: object) -> None:
        failed.set()
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(Deliveries, "add_attempt", fail)
    kraty.webhooks.trigger("player.banned")
    assert failed.wait(PATIENCE)
    client.health.ping()  # the loop has ended the attempt when it answers
    assert ["A delivery could not be made or recorded"] == [
        record.message for record in caplog.records if record.levelname == "ERROR"
    ]
    assert 1 == len(receiver.received)


def test_so_many_signatures_are_kept(
    kraty: Emulator, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator keeps the signatures of the latest attempts only."""
    monkeypatch.setattr("kraty_admin.emulator._webhooks._SIGNATURES", 2)
    for _ in range(3):
        kraty.webhooks.trigger("player.banned")
        kraty.webhooks.settle(PATIENCE)
    numbers = [each.number for each in kraty.deliveries]
    kept = [kraty.webhooks.signature(number, 1) for number in numbers]
    assert [None, *receiver.signatures[1:]] == kept


def test_the_end_of_deliveries_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that ends the delivery loop is logged, and calls still work."""

    def fail(deliveries: Deliveries, now: int) -> int | None:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(Deliveries, "next_due_after", fail)
    with Emulator() as kraty:
        kraty.clock.run()
        assert kraty.client().wallet.credit("alice", "gold", amount=5).balance == 5
    assert ["No more webhooks are delivered"] == [
        record.message for record in caplog.records if record.levelname == "ERROR"
    ]


@pytest.mark.parametrize("wait", [-1.0, 86401.0, float("inf"), float("nan")])
def test_no_such_wait(wait: float) -> None:
    """A wait of `webhook_backoff` that is out of range is refused."""
    with pytest.raises(ValueError, match="from 0 to 86400"):
        Emulator(webhook_backoff=[1.0, wait])


@pytest.mark.once
def test_what_was_not_delivered_is_after_a_crash(tmp_path: Path, receiver: Receiver) -> None:
    """A webhook that a crash prevented is delivered when the emulator starts again."""
    database = tmp_path / "kraty.sqlite3"
    code = f"""
import os, signal
from kraty_admin.emulator import Emulator, Fault
with Emulator(database={str(database)!r}) as kraty:
    kraty.webhooks.register({receiver.url!r}, {SECRET!r}, events=["wallet.changed"])
    kraty.faults.add(Fault("delay", seconds=3600), operation="webhook", times=None)
    kraty.client().wallet.credit("alice", "gold", amount=5)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert (-signal.SIGKILL, []) == (done.returncode, receiver.envelopes)
    with Emulator(database=database) as kraty:
        kraty.webhooks.settle(PATIENCE)
        assert [("wallet.changed", 1)] == receiver.received
        assert ["delivered"] == [each.status for each in kraty.deliveries]


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        pytest.param("http://example.com/", SECRET, id="another machine"),
        pytest.param("http://10.0.0.1/", SECRET, id="another machine's address"),
        pytest.param("http://127.0.0.1.example.com/", SECRET, id="a name that looks like it"),
        pytest.param("http://localhost@example.com/", SECRET, id="a user that looks like it"),
        pytest.param("ftp://127.0.0.1/", SECRET, id="another protocol"),
        pytest.param("127.0.0.1/", SECRET, id="no protocol"),
        pytest.param("http://127.0.0.1/", " ", id="no secret"),
        pytest.param("http://127.0.0.1/", SECRET + "\n", id="a secret with its line break"),
    ],
)
def test_no_such_endpoint(kraty: Emulator, url: str, secret: str) -> None:
    """An endpoint that is not on this machine, or has no secret, is refused."""
    with pytest.raises(ValueError, match=r"on this machine, not|must not"):
        kraty.webhooks.register(url, secret)
    assert "whsec" not in repr(Endpoint(url="http://127.0.0.1/", secret=SECRET))
