"""One key, one effect, for each operation that changes something."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
import httpx
import pytest

from kraty_admin import KratyAdmin
from kraty_admin.emulator._contract import load_contract
from kraty_admin.params import CurrencyRewardEntryParam

from .testkit import OTHER_GAME_KEY, SERVER_KEY, Api, StoppedClock, dump

DAY = 24 * 60 * 60


@attrs.frozen
class Change:
    """A call that changes something, and another call with another path and body."""

    path: str
    body: dict[str, Any]
    other_path: str
    other_body: dict[str, Any]
    replay: dict[str, Any] = attrs.field(factory=dict[str, Any])
    """What a replay says otherwise than the first answer."""


UNAPPLIED = {"applied": False}

CHANGES = [
    pytest.param(
        Change(
            "/players/alice/wallet/gold/credit",
            {"amount": 5},
            "/players/bob/wallet/gold/credit",
            {"amount": 6},
            UNAPPLIED,
        ),
        id="creditWallet",
    ),
    pytest.param(
        Change(
            "/players/alice/wallet/gold/debit",
            {"amount": 5},
            "/players/bob/wallet/gold/debit",
            {"amount": 6},
            UNAPPLIED,
        ),
        id="debitWallet",
    ),
    pytest.param(
        Change(
            "/players/alice/inventory/health_potion/grant",
            {"quantity": 5},
            "/players/bob/inventory/health_potion/grant",
            {"quantity": 5, "reason": "x"},
            UNAPPLIED,
        ),
        id="grantItem",
    ),
    pytest.param(
        Change(
            "/players/alice/inventory/health_potion/revoke",
            {"quantity": 5},
            "/players/alice/inventory/starter_chest/revoke",
            {"quantity": 6},
            UNAPPLIED,
        ),
        id="revokeItem",
    ),
    pytest.param(
        Change(
            "/players/alice/grants",
            {"entries": [{"type": "currency", "currencyKey": "gold", "amount": 5}]},
            "/players/bob/grants",
            {"entries": [{"type": "currency", "currencyKey": "gold", "amount": 6}]},
        ),
        id="createGrant",
    ),
]


@pytest.fixture(autouse=True)
def people(api: Api) -> None:
    """Create two players who hold currency and items."""
    for name in ("alice", "bob"):
        api.post(f"/players/{name}/wallet/gold/credit", {"amount": 100})
        api.post(f"/players/{name}/inventory/health_potion/grant", {"quantity": 100})
        api.post(f"/players/{name}/inventory/starter_chest/grant", {"quantity": 100})
    api.new_events()


@pytest.mark.parametrize("change", CHANGES)
def test_a_repeat_changes_nothing_and_answers_the_same(
    api: Api, clock: StoppedClock, change: Change
) -> None:
    """For a day, a repeat changes nothing and gets the same answer, however its body is spelled."""
    body = {"idempotencyKey": "k", **change.body}
    first = api.post(change.path, body)
    api.new_events()
    clock.advance(DAY - 1)
    before = dump(api.platform.state)
    respelled = json.dumps(dict(reversed(body.items())), indent=2).encode()
    again = api.post(change.path, respelled)
    assert again.data == {**first.data, **change.replay}
    assert dump(api.platform.state) == before
    assert api.new_events() == []


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("other", ["body", "path"])
def test_another_request_under_the_key_is_refused(api: Api, change: Change, other: str) -> None:
    """A request with a used key and another body or path is refused."""
    body = {"idempotencyKey": "k", **change.body}
    assert api.post(change.path, body).status < 300
    if other == "body":
        refused = api.post(change.path, {**body, **change.other_body})
    else:
        refused = api.post(change.other_path, body)
    assert refused.error == (409, "idempotency_conflict")


def test_a_key_is_forgotten_after_a_day(api: Api, clock: StoppedClock) -> None:
    """After a day a key counts as new, with the same body or with another."""
    body = {"amount": 5, "idempotencyKey": "k"}
    path = "/players/alice/wallet/gold/credit"
    api.post(path, body)
    clock.advance(DAY)
    assert api.post(path, {**body, "amount": 6}).data == {
        "economyKey": "gold",
        "balance": 111,
        "applied": True,
    }


def test_a_replay_shows_the_balance_of_then(api: Api) -> None:
    """A replay shows the balance after the first call, not the present one."""
    body = {"amount": 5, "idempotencyKey": "k"}
    api.post("/players/alice/wallet/gold/credit", body)
    api.post("/players/alice/wallet/gold/debit", {"amount": 50})
    replay = api.post("/players/alice/wallet/gold/credit", body)
    assert replay.data == {"economyKey": "gold", "balance": 105, "applied": False}
    assert api.balance("alice") == 55


def test_keys_belong_to_an_operation(api: Api) -> None:
    """One key may credit, give an item and make a grant, since each operation has its own keys."""
    key = {"idempotencyKey": "apple_receipt_abc"}
    credit = api.post("/players/alice/wallet/gold/credit", {"amount": 500, **key})
    item = api.post("/players/alice/inventory/starter_chest/grant", {"quantity": 1, **key})
    entries = [{"type": "currency", "currencyKey": "gold", "amount": 500}]
    grant = api.post("/players/alice/grants", {"entries": entries, **key})
    assert (credit.data["applied"], item.data["applied"], grant.status) == (True, True, 201)


def test_keys_belong_to_a_game(api: Api) -> None:
    """The same key in another game is another call."""
    body = {"amount": 5, "idempotencyKey": "k"}
    for key in (SERVER_KEY, OTHER_GAME_KEY):
        credited = api.post("/players/carol/wallet/gold/credit", body, key=key)
        assert credited.data["applied"] is True


def test_a_refused_call_leaves_its_key_free(api: Api) -> None:
    """A debit that was refused for lack of funds succeeds later with the same key."""
    body = {"amount": 150, "idempotencyKey": "k"}
    assert api.post("/players/alice/wallet/gold/debit", body).error == (409, "conflict")
    api.post("/players/alice/wallet/gold/credit", {"amount": 50})
    assert api.post("/players/alice/wallet/gold/debit", body).data["balance"] == 0


def test_without_a_key_every_call_counts(api: Api) -> None:
    """Each call without a key is applied."""
    for balance in (105, 110):
        credited = api.post("/players/alice/wallet/gold/credit", {"amount": 5})
        assert (credited.data["balance"], credited.data["applied"]) == (balance, True)


def test_a_replay_outlives_its_player(api: Api) -> None:
    """A receipt that is repeated after its player was erased pays nothing."""
    body = {"amount": 5, "idempotencyKey": "k"}
    grant = {
        "idempotencyKey": "k",
        "entries": [{"type": "currency", "currencyKey": "gold", "amount": 5}],
    }
    api.post("/players/alice/wallet/gold/credit", body)
    api.post("/players/alice/grants", grant)
    api.post("/players/alice/delete", {})
    assert api.post("/players/alice/wallet/gold/credit", body).data["applied"] is False
    assert api.post("/players/alice/grants", grant).status == 200
    assert api.get("/players/alice").status == 404


STATES = [
    pytest.param(
        "/players/alice/ban",
        {"reason": "x"},
        {"applied": True},
        {"applied": False},
        id="banPlayer",
    ),
    pytest.param(
        "/players/alice/unban", {}, {"applied": True}, {"applied": False}, id="unbanPlayer"
    ),
    pytest.param(
        "/players/alice/delete",
        {"reason": "test"},
        {"status": "erased"},
        {"status": "no_op_already_erased"},
        id="deletePlayer",
    ),
    pytest.param(
        "/players/alice/merge-into/bob",
        {},
        {"status": "merged"},
        {"status": "no_op_already_merged"},
        id="mergePlayers",
    ),
]


@pytest.mark.parametrize(("path", "body", "first", "again"), STATES)
def test_a_repeat_shows_the_state(
    api: Api,
    clock: StoppedClock,
    path: str,
    body: dict[str, Any],
    first: dict[str, Any],
    again: dict[str, Any],
) -> None:
    """A repeat of an operation without a key shows that there was nothing to do."""
    if path.endswith("unban"):
        api.post("/players/alice/ban", {"reason": "x"})
    keyed = {**body, "idempotencyKey": "k"}
    done = api.post(path, keyed).data
    assert first == {name: done[name] for name in first}
    ledger = api.deltas()
    clock.advance(60)
    api.new_events()
    repeated = api.post(path, keyed).data
    assert again == {name: repeated[name] for name in again}
    assert (ledger, []) == (api.deltas(), api.new_events())
    # The key that every POST carries takes no other call.
    other = api.post(path.replace("alice", "carol"), keyed)
    assert other.status in (200, 404)


def test_a_lobbys_key_is_the_one_in_its_body(api: Api, clock: StoppedClock) -> None:
    """A lobby is identified by the `key` in its body, not by the idempotency key."""
    path = "/games/game_1/events/quick_brawl/lobbies"
    body = {"key": "m1", "externalPlayerIds": ["alice"]}
    first = api.post(path, {**body, "idempotencyKey": "k"})
    clock.advance(2 * DAY)
    assert first.data["id"] == api.post(path, {**body, "idempotencyKey": "k2"}).data["id"]
    other = api.post(path, {**body, "key": "m2", "idempotencyKey": "k"})
    assert first.data["id"] != other.data["id"]


def test_acking_again_returns_the_same_grant(api: Api) -> None:
    """A repeated ack returns the same grant, even if another ack used the same key."""
    grants = [
        api.post(
            "/players/alice/grants",
            {
                "idempotencyKey": f"r{number}",
                "entries": [{"type": "currency", "currencyKey": "gold", "amount": 5}],
            },
        ).data["id"]
        for number in range(2)
    ]
    body = {"idempotencyKey": "k"}
    acked = [api.post(f"/players/alice/grants/{grant}/ack", body).data for grant in grants]
    assert ["claimed", "claimed"] == [grant["status"] for grant in acked]
    assert acked[0] == api.post(f"/players/alice/grants/{grants[0]}/ack", body).data


LEFT_OUT: list[tuple[str, ...]] = [(), ("kind",), ("sourceKind",), ("kind", "sourceKind")]
DEFAULTS = {"kind": "reward", "sourceKind": "api"}


@pytest.mark.parametrize("left_out", LEFT_OUT)
@pytest.mark.parametrize("again_without", LEFT_OUT)
def test_a_default_that_is_spelled_out_is_the_same_request(
    api: Api, left_out: Sequence[str], again_without: Sequence[str]
) -> None:
    """A grant with its defaults sent and one with them left out are the same request."""
    entries = [{"type": "currency", "currencyKey": "gold", "amount": 5}]
    body = {"idempotencyKey": "k", "entries": entries, **DEFAULTS}

    def without(names: Sequence[str]) -> dict[str, Any]:
        return {name: value for name, value in body.items() if name not in names}

    first = api.post("/players/alice/grants", without(left_out))
    again = api.post("/players/alice/grants", without(again_without))
    assert (201, 200, first.body) == (first.status, again.status, again.body)
    other = api.post("/players/alice/grants", {**body, "kind": "crate"})
    assert other.error == (409, "idempotency_conflict")


def test_the_sdk_sends_the_contracts_defaults() -> None:
    """The defaults that the emulator fills in are those that the SDK sends."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(201, json={"data": {}})

    gold: CurrencyRewardEntryParam = {"type": "currency", "currencyKey": "gold", "amount": 5}
    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as transport,
        KratyAdmin(api_key="a.b", http_client=transport) as client,
    ):
        client.grants.create("alice", idempotency_key="k", entries=[gold])
    sent = json.loads(requests[0].content)
    route, _ = load_contract().find("POST", b"/server/v1/players/alice/grants")
    assert DEFAULTS == route.defaults == {name: sent[name] for name in DEFAULTS}


def test_expired_answers_do_not_pile_up(api: Api, clock: StoppedClock) -> None:
    """Every thousandth keyed call deletes the answers that have expired."""

    def credit(key: int) -> None:
        body = {"amount": 1, "idempotencyKey": f"k{key}"}
        request = api.request("POST", "/players/alice/wallet/gold/credit", body)
        assert api.platform.answer(request).status == 200

    for number in range(999):
        credit(number)
    clock.advance(DAY)
    credit(1000)
    assert 1 == dump(api.platform.state).count('INSERT INTO "answers"')
