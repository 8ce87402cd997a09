"""Webhooks that a test delivers without a port, and events that it triggers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from kraty_admin import construct_event
from kraty_admin.emulator import Emulator, Fault
from kraty_admin.emulator._samples import sample
from kraty_admin.emulator._world import EVENT_NAMES
from kraty_server_api.decoding import is_object

from .testkit import CONTRACT

SECRET = "whsec_test"


@pytest.fixture
def kraty() -> Iterator[Emulator]:
    """Start an emulator that collects all events."""
    with Emulator(seed=1) as emulator:
        emulator.webhooks.collect(SECRET)
        yield emulator


class Receiver:
    """A receiver that verifies deliveries, records them, and answers with a status."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.events: list[tuple[str, int | None]] = []

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> int:
        assert "application/json" == headers["Content-Type"]
        signature = headers["X-Signature"]
        event = construct_event(raw_body=body, signature_header=signature, secret=SECRET)
        self.events.append((event.event_name, event.delivery_attempt))
        return self.status


def test_deliveries_need_no_port(kraty: Emulator) -> None:
    """`deliver` hands each event to its receiver once, in order and validly signed."""
    receiver = Receiver()
    kraty.client().wallet.credit("p", "gold", amount=5)
    kraty.webhooks.settle()
    assert (2, 0) == (kraty.webhooks.deliver(receiver), kraty.webhooks.deliver(receiver))
    assert [("player.registered", 1), ("wallet.changed", 1)] == receiver.events
    assert {("in-process", "delivered")} == {(each.url, each.status) for each in kraty.deliveries}


def test_a_failed_delivery_is_due_again_later(kraty: Emulator) -> None:
    """A delivery whose status is not 2xx is repeated after a wait, with the next attempt's
    number."""
    receiver = Receiver(500)
    kraty.webhooks.trigger("player.banned")
    assert (1, 0) == (kraty.webhooks.deliver(receiver), kraty.webhooks.deliver(receiver))
    kraty.clock.advance(5)
    receiver.status = 204
    assert 1 == kraty.webhooks.deliver(receiver)
    assert [("player.banned", 1), ("player.banned", 2)] == receiver.events
    (delivery,) = kraty.deliveries
    assert [500, 204] == [attempt.status for attempt in delivery.attempts]


@pytest.mark.parametrize(("when", "received"), [("before", []), ("after", [("player.banned", 1)])])
def test_faults_drop_deliveries(kraty: Emulator, when: Any, received: list[Any]) -> None:
    """A dropped delivery counts as failed, whether it was received or not."""
    receiver = Receiver()
    kraty.faults.add(Fault("drop", when=when), operation="webhook")
    kraty.webhooks.trigger("player.banned")
    kraty.webhooks.deliver(receiver)
    assert received == receiver.events
    (delivery,) = kraty.deliveries
    assert ("pending", "lost on purpose") == (delivery.status, delivery.attempts[0].error)


def test_faults_drop_deliveries_that_are_awaited(kraty: Emulator) -> None:
    """An awaited delivery that a fault drops does not reach the receiver, and stays pending."""

    async def receive(body: bytes, headers: Mapping[str, str]) -> int:
        raise AssertionError

    kraty.faults.add(Fault("drop", when="before"), operation="webhook")
    kraty.webhooks.trigger("player.banned")
    assert 1 == asyncio.run(kraty.webhooks.deliver_async(receive))
    (delivery,) = kraty.deliveries
    assert ("pending", "lost on purpose") == (delivery.status, delivery.attempts[0].error)


def test_a_receiver_that_raises(kraty: Emulator) -> None:
    """An exception of the receiver propagates, and the attempt is recorded as failed."""

    def fail(body: bytes, headers: Mapping[str, str]) -> int:
        raise LookupError("of the receiver")

    kraty.webhooks.trigger("player.banned")
    with pytest.raises(LookupError, match="of the receiver"):
        kraty.webhooks.deliver(fail)
    assert "LookupError" == kraty.deliveries[0].attempts[0].error


def test_a_receiver_that_returns_no_status(kraty: Emulator) -> None:
    """The error for a receiver that returns no status says what it must return."""

    def receive(body: bytes, headers: Mapping[str, str]) -> Any:
        return "ok"

    kraty.webhooks.trigger("player.banned")
    with pytest.raises(TypeError, match="a status or a response with a status_code, not str"):
        kraty.webhooks.deliver(receive)


def test_a_response_and_asyncio(kraty: Emulator) -> None:
    """A receiver may return a response, and may be a coroutine function."""

    async def receive(body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        return httpx.Response(Receiver(202)(body, headers))

    kraty.webhooks.trigger("player.banned")
    assert 1 == asyncio.run(kraty.webhooks.deliver_async(receive))
    assert "delivered" == kraty.deliveries[0].status


def test_nothing_is_collected_without_being_asked() -> None:
    """Without `collect`, both `deliver` and `trigger` raise an error that says what is missing."""
    with Emulator() as kraty:
        with pytest.raises(RuntimeError, match=r"webhooks\.collect"):
            kraty.webhooks.deliver(Receiver())
        with pytest.raises(ValueError, match=r"no endpoint receives player\.banned"):
            kraty.webhooks.trigger("player.banned")
        kraty.webhooks.collect(SECRET, events=["wallet.changed"])
        with pytest.raises(
            ValueError, match=r"no endpoint receives player\.banned: .* --webhook URL"
        ):
            kraty.webhooks.trigger("player.banned")
        assert [] == kraty.deliveries


def test_every_event_can_be_triggered(kraty: Emulator) -> None:
    """Each event of the contract can be triggered; another name is refused with the known ones."""
    ids = {kraty.webhooks.trigger(name) for name in EVENT_NAMES}
    assert [*EVENT_NAMES] == [each.event_name for each in kraty.deliveries]
    assert len(EVENT_NAMES) == len(ids)
    assert set(CONTRACT["webhooks"]) == set(EVENT_NAMES)
    known = r"no event 'player\.gone'; the events are event\.completed, "
    with pytest.raises(ValueError, match=known):
        kraty.webhooks.trigger("player.gone")
    kraty.webhooks.trigger("event.completed", data={"eventKey": "ladder"})
    assert {"eventKey": "ladder"} == kraty.deliveries[-1].data


def test_samples_have_the_members_of_the_emulators_own_events(kraty: Emulator) -> None:
    """The sample data of an event has the members that the emulator sends when it happens."""
    client = kraty.client()
    client.wallet.credit("p", "gold", amount=5)
    client.inventory.grant("p", "starter_chest", quantity=1)
    entries = [{"type": "currency", "currencyKey": "gold", "amount": 1}]
    client.grants.create("p", idempotency_key="k", entries=entries)
    client.players.ban("p", reason="x")
    client.players.delete("p")

    def members(value: Any) -> Any:
        return {name: members(value[name]) for name in value} if is_object(value) else None

    sent = {each.event_name: members(each.data) for each in kraty.deliveries}
    assert len(sent) >= 6
    assert sent == {name: members(sample(name, "p", "")) for name in sent}


def test_a_trigger_changes_no_ids_of_calls() -> None:
    """A triggered event does not change the ids that later calls get."""
    ids: list[object] = []
    for is_triggered in (False, True):
        with Emulator(seed=1) as kraty:
            kraty.webhooks.collect(SECRET)
            if is_triggered:
                kraty.webhooks.trigger("player.banned")
            ids.append(kraty.client().wallet.credit("p", "gold", amount=1).http.request_id)
    assert ids[0] == ids[1]


def test_a_trigger_over_http(kraty: Emulator) -> None:
    """An event can be triggered over HTTP, and an unknown name is refused."""
    with httpx.Client(base_url=kraty.base_url, trust_env=False) as http:
        body = {"event_name": "player.banned", "external_player_id": "p"}
        answer = http.post("/_emulator/trigger", json=body)
        assert kraty.deliveries[0].event_id == answer.json()["event_id"]
        assert "p" == kraty.deliveries[0].data["externalPlayerId"]
        refused = http.post("/_emulator/trigger", json={"event_name": "x"})
    assert (400, True) == (
        refused.status_code,
        "there is no event 'x'" in json.dumps(refused.json()),
    )
