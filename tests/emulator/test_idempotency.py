"""One key, one effect: for each operation that changes something."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from .testkit import OTHER_GAME_KEY, SERVER_KEY, Api, StoppedClock, dump

DAY = 24 * 60 * 60


@attrs.frozen
class Change:
    """A call that changes something, and another that is not the same."""

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
    pytest.param(
        Change("/players/alice/ban", {"reason": "x"}, "/players/bob/ban", {"reason": "y"}),
        id="banPlayer",
    ),
    pytest.param(
        Change(
            "/players/alice/delete",
            {"reason": "test"},
            "/players/bob/delete",
            {"reason": "studio_request"},
        ),
        id="deletePlayer",
    ),
    pytest.param(
        Change(
            "/games/game_1/events/quick_brawl/lobbies",
            {"key": "m1", "externalPlayerIds": ["alice"]},
            "/games/game_1/events/weekly_ladder/lobbies",
            {"key": "m2", "externalPlayerIds": ["alice"]},
        ),
        id="pushLobby",
    ),
    pytest.param(
        Change("/players/alice/unban", {}, "/players/bob/unban", {"more": 1}), id="unbanPlayer"
    ),
    pytest.param(
        Change("/players/alice/merge-into/bob", {}, "/players/bob/merge-into/alice", {"more": 1}),
        id="mergePlayers",
    ),
]


@pytest.fixture(autouse=True)
def people(api: Api) -> None:
    """Two players who have something to lose."""
    for name in ("alice", "bob"):
        api.post(f"/players/{name}/wallet/gold/credit", {"amount": 100})
        api.post(f"/players/{name}/inventory/health_potion/grant", {"quantity": 100})
        api.post(f"/players/{name}/inventory/starter_chest/grant", {"quantity": 100})
    api.told()


@pytest.mark.parametrize("change", CHANGES)
def test_a_repeat_changes_nothing_and_answers_the_same(
    api: Api, clock: StoppedClock, change: Change
) -> None:
    """To the last second of the day, however the body is spelled."""
    body = {"idempotencyKey": "k", **change.body}
    first = api.post(change.path, body)
    api.told()
    clock.advance(DAY - 1)
    before = dump(api.platform.state)
    respelled = json.dumps(dict(reversed(body.items())), indent=2).encode()
    again = api.post(change.path, respelled)
    assert again.data == {**first.data, **change.replay}
    assert dump(api.platform.state) == before
    assert api.told() == []


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("other", ["body", "path"])
def test_another_request_under_the_key_is_refused(api: Api, change: Change, other: str) -> None:
    """Whether its body or its path is another. The refusal changes nothing."""
    body = {"idempotencyKey": "k", **change.body}
    assert api.post(change.path, body).status < 300
    if other == "body":
        refused = api.post(change.path, {**body, **change.other_body})
    else:
        refused = api.post(change.other_path, body)
    assert refused.error == (409, "idempotency_conflict")


def test_a_key_is_forgotten_after_a_day(api: Api, clock: StoppedClock) -> None:
    """Then it counts as new, with the same body or with another."""
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
    """What has happened since does not change the answer."""
    body = {"amount": 5, "idempotencyKey": "k"}
    api.post("/players/alice/wallet/gold/credit", body)
    api.post("/players/alice/wallet/gold/debit", {"amount": 50})
    replay = api.post("/players/alice/wallet/gold/credit", body)
    assert replay.data == {"economyKey": "gold", "balance": 105, "applied": False}
    assert api.balance("alice") == 55


def test_keys_belong_to_an_operation(api: Api) -> None:
    """One receipt may credit, give an item and make a grant, as the documents do."""
    key = {"idempotencyKey": "apple_receipt_abc"}
    credit = api.post("/players/alice/wallet/gold/credit", {"amount": 500, **key})
    item = api.post("/players/alice/inventory/starter_chest/grant", {"quantity": 1, **key})
    entries = [{"type": "currency", "currencyKey": "gold", "amount": 500}]
    grant = api.post("/players/alice/grants", {"entries": entries, **key})
    assert (credit.data["applied"], item.data["applied"], grant.status) == (True, True, 201)


def test_keys_belong_to_a_game(api: Api) -> None:
    """Another game's call under the same key is another call."""
    body = {"amount": 5, "idempotencyKey": "k"}
    for key in (SERVER_KEY, OTHER_GAME_KEY):
        credited = api.post("/players/carol/wallet/gold/credit", body, key=key)
        assert credited.data["applied"] is True


def test_a_refused_call_leaves_its_key_free(api: Api) -> None:
    """A debit that was refused for lack of funds may succeed later, or with less."""
    body = {"amount": 150, "idempotencyKey": "k"}
    assert api.post("/players/alice/wallet/gold/debit", body).error == (409, "conflict")
    api.post("/players/alice/wallet/gold/credit", {"amount": 50})
    assert api.post("/players/alice/wallet/gold/debit", body).data["balance"] == 0


def test_without_a_key_every_call_counts(api: Api) -> None:
    """The key is optional, and so is the protection."""
    for balance in (105, 110):
        credited = api.post("/players/alice/wallet/gold/credit", {"amount": 5})
        assert (credited.data["balance"], credited.data["applied"]) == (balance, True)


def test_a_replay_outlives_its_player(api: Api) -> None:
    """A receipt that is repeated after an erasure mints nothing for the next owner."""
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


def test_an_acks_key_is_remembered_too(api: Api) -> None:
    """Another grant under the same key is refused."""
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
    acked = api.post(f"/players/alice/grants/{grants[0]}/ack", body)
    assert api.post(f"/players/alice/grants/{grants[0]}/ack", body).body == acked.body
    refused = api.post(f"/players/alice/grants/{grants[1]}/ack", body)
    assert refused.error == (409, "idempotency_conflict")


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
