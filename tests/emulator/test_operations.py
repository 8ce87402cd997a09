"""What each operation does, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from kraty_admin.emulator._json import MAX_SAFE_INTEGER
from kraty_admin.emulator._state import Lobby

from .testkit import CLIENT_KEY, OTHER_GAME_KEY, Api, StoppedClock, dump

DAY = 24 * 60 * 60

MIXED = [
    {"type": "currency", "currencyKey": "gold", "amount": 500},
    {"type": "item", "itemKey": "starter_chest", "quantity": 1, "parameters": {"atk": 4}},
    {"type": "crate", "crateItemKey": "legendary_box", "quantity": 2},
]

ADJUSTMENTS = [
    pytest.param("wallet/gold/credit", {"amount": 5}, id="credit"),
    pytest.param("wallet/gold/debit", {"amount": 5}, id="debit"),
    pytest.param("inventory/health_potion/grant", {"quantity": 5}, id="grant"),
    pytest.param("inventory/health_potion/revoke", {"quantity": 5}, id="revoke"),
]


def make_player(api: Api, name: str = "alice", gold: int = 100) -> None:
    assert api.post(f"/players/{name}/wallet/gold/credit", {"amount": gold}).status == 200
    api.new_events()


# --- ping ------------------------------------------------------------------


def test_ping_tells_who_calls(api: Api) -> None:
    """A ping returns the API key without its secret, and without an envelope."""
    assert api.get("/ping").body == {
        "ok": True,
        "apiKey": {
            "id": "key_1",
            "prefix": "krt_emulator_game1",
            "permissionSet": "server_integration",
            "environment": "test",
            "studioId": "studio_1",
            "gameId": "game_1",
        },
    }


# --- grants ----------------------------------------------------------------


def test_a_grant_pays_out_everything_when_it_is_made(api: Api) -> None:
    """A grant pays currencies, items and crates together, even to an unknown player."""
    made = api.post("/players/alice/grants", {"idempotencyKey": "r1", "entries": MIXED})
    assert made.status == 201
    assert made.data == {
        "id": made.data["id"],
        "kind": "reward",
        "contents": {"entries": MIXED},
        "sourceKind": "api",
        "sourceRefId": None,
        "parentGrantId": None,
        "status": "pending",
        "rolledAt": None,
        "claimedAt": None,
        "expiresAt": None,
        "createdAt": "2026-06-08T12:00:00.000Z",
    }
    assert api.deltas("alice") == [("gold", 500), ("starter_chest", 1), ("legendary_box", 2)]
    holdings = {
        row["itemKey"]: row["metadata"] for row in api.get("/players/alice").data["inventory"]
    }
    assert holdings == {"starter_chest": {"atk": 4}, "legendary_box": {}}
    assert api.new_events() == [
        "player.registered",
        "grant.created",
        "wallet.changed",
        "inventory.changed",
        "inventory.changed",
    ]


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"type": "currency", "currencyKey": "silver", "amount": 1}, id="currency"),
        pytest.param({"type": "item", "itemKey": "sword", "quantity": 1}, id="item"),
        pytest.param({"type": "crate", "crateItemKey": "box", "quantity": 1}, id="crate"),
    ],
)
def test_a_grant_of_something_unknown_pays_out_nothing(api: Api, entry: dict[str, Any]) -> None:
    """A grant with one unknown entry pays nothing, and does not create the player."""
    refused = api.post(
        "/players/alice/grants", {"idempotencyKey": "r1", "entries": [*MIXED, entry]}
    )
    assert refused.error == (400, "invalid_metric")
    assert list(refused.fields) == [f"entries[3].{list(entry)[1]}"]
    assert api.get("/players/alice").error == (404, "not_found")
    assert api.new_events() == []


def test_a_grant_beyond_the_ceiling_pays_out_nothing(api: Api) -> None:
    """A grant whose entries together exceed the limit pays nothing."""
    gold = {"type": "currency", "currencyKey": "gold"}
    entries = [{**gold, "amount": MAX_SAFE_INTEGER}, {**gold, "amount": 1}]
    refused = api.post("/players/alice/grants", {"idempotencyKey": "r1", "entries": entries})
    assert refused.error == (409, "conflict")
    assert api.deltas() == []


def test_a_grant_is_made_once_for_good(api: Api, clock: StoppedClock) -> None:
    """A repeat returns the grant as it was made, even after a day or an ack."""
    body = {"idempotencyKey": "r1", "entries": MIXED}
    made = api.post("/players/alice/grants", body)
    api.post(f"/players/alice/grants/{made.data['id']}/ack")
    clock.advance(2 * DAY)
    api.new_events()
    repeated = api.post("/players/alice/grants", body)
    assert (repeated.status, repeated.body) == (200, made.body)
    assert api.balance("alice") == 500
    assert api.new_events() == []


@pytest.mark.parametrize(
    ("player", "change"),
    [
        pytest.param("alice", {"sourceRefId": "other"}, id="another body"),
        pytest.param("bob", {}, id="another player"),
    ],
)
def test_a_grants_key_takes_no_other_grant(
    api: Api, clock: StoppedClock, player: str, change: dict[str, str]
) -> None:
    """A grant's key with another body or player is refused, even after a day."""
    body = {"idempotencyKey": "r1", "entries": MIXED}
    api.post("/players/alice/grants", body)
    clock.advance(2 * DAY)
    refused = api.post(f"/players/{player}/grants", {**body, **change})
    assert refused.error == (409, "idempotency_conflict")


def test_two_games_may_use_the_same_grant_key(api: Api) -> None:
    """The same grant key in another game is another grant."""
    body = {
        "idempotencyKey": "r1",
        "entries": [{"type": "currency", "currencyKey": "gold", "amount": 1}],
    }
    assert api.post("/players/alice/grants", body).status == 201
    assert api.post("/players/alice/grants", body, key=OTHER_GAME_KEY).status == 201


def test_a_grants_options_are_kept(api: Api) -> None:
    """The options of a grant are returned, and its time is in the platform's format."""
    made = api.post(
        "/players/alice/grants",
        {
            "idempotencyKey": "r1",
            "kind": "crate",
            "entries": MIXED[:1],
            "sourceKind": "admin",
            "expiresAt": "2026-06-09T14:00:00.5+02:00",
            "sourceRefId": "ref",
            "metadata": {"campaign": "é"},
        },
    ).data
    assert (made["kind"], made["sourceKind"]) == ("crate", "admin")
    assert (made["expiresAt"], made["sourceRefId"]) == ("2026-06-09T12:00:00.500Z", "ref")
    assert api.get("/players/alice/export").data["grants"][0]["metadata"] == {"campaign": "é"}


@pytest.mark.parametrize(
    "time",
    [
        pytest.param("tomorrow", id="no time"),
        pytest.param("2026-06-09T12:00:00", id="no offset"),
        pytest.param("2016-12-31T23:59:60Z", id="leap second"),
        pytest.param("0000-01-01T00:00:00Z", id="year 0"),
        pytest.param("0001-01-01T00:00:00+10:00", id="year 0 in UTC"),
        pytest.param("9999-12-31T23:59:59-10:00", id="year 10000 in UTC"),
    ],
)
def test_a_grant_needs_a_time_to_expire(api: Api, time: str) -> None:
    """An `expiresAt` that is not a time with an offset is refused."""
    body = {"idempotencyKey": "r1", "entries": MIXED, "expiresAt": time}
    refused = api.post("/players/alice/grants", body)
    assert refused.error == (400, "validation_failed")
    assert list(refused.fields) == ["expiresAt"]


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00.000Z", "0256-03-02T04:50:35.636Z", "9999-12-31T23:59:59.999Z"]
)
def test_a_grant_may_expire_in_any_year(api: Api, time: str) -> None:
    """The year of `expiresAt` is written with four digits."""
    body = {"idempotencyKey": "r1", "entries": MIXED, "expiresAt": time}
    assert time == api.post("/players/alice/grants", body).data["expiresAt"]


def test_acking_claims_and_pays_nothing(api: Api, clock: StoppedClock) -> None:
    """An ack claims the grant and pays nothing; a second one returns the same row."""
    grant = api.post("/players/alice/grants", {"idempotencyKey": "r1", "entries": MIXED}).data
    clock.advance(60)
    acked = api.post(f"/players/alice/grants/{grant['id']}/ack", {"idempotencyKey": "a1"}).data
    assert acked == {
        **grant,
        "status": "claimed",
        "claimedAt": "2026-06-08T12:01:00.000Z",
        "ackedBy": "server_api",
    }
    clock.advance(60)
    assert api.post(f"/players/alice/grants/{grant['id']}/ack").data == acked
    assert api.balance("alice") == 500


def test_an_expired_grant_stays_expired(api: Api, clock: StoppedClock) -> None:
    """A grant that is acked at the moment of its expiry has expired."""
    body = {"idempotencyKey": "r1", "entries": MIXED, "expiresAt": "2026-06-08T12:00:10Z"}
    grant = api.post("/players/alice/grants", body).data
    clock.advance(10)
    late = api.post(f"/players/alice/grants/{grant['id']}/ack").data
    assert late == {**grant, "status": "expired"}
    assert api.get("/players/alice").data["recentGrants"] == [late]


@pytest.mark.parametrize("player", ["bob", "nobody"])
def test_only_the_owner_can_be_acked_for(api: Api, player: str) -> None:
    """A grant cannot be acked under another player's address."""
    grant = api.post("/players/alice/grants", {"idempotencyKey": "r1", "entries": MIXED}).data
    make_player(api, "bob")
    assert api.post(f"/players/{player}/grants/{grant['id']}/ack").error == (404, "not_found")
    assert api.post("/players/alice/grants/grt_0/ack").error == (404, "not_found")


# --- wallet and inventory --------------------------------------------------


def test_credit_and_debit_move_a_balance(api: Api) -> None:
    """A credit creates an unknown player, and each call answers with the new balance."""
    credited = api.post("/players/alice/wallet/gold/credit", {"amount": 500, "reason": "iap"})
    assert credited.data == {"economyKey": "gold", "balance": 500, "applied": True}
    debited = api.post("/players/alice/wallet/gold/debit", {"amount": 100})
    assert debited.data == {"economyKey": "gold", "balance": 400, "applied": True}
    assert api.new_events() == ["player.registered", "wallet.changed", "wallet.changed"]


def test_grant_and_revoke_move_a_holding(api: Api) -> None:
    """Items are granted, and revoked down to a holding of zero."""
    granted = api.post("/players/alice/inventory/health_potion/grant", {"quantity": 10})
    assert granted.data == {"itemKey": "health_potion", "quantity": 10, "applied": True}
    revoked = api.post("/players/alice/inventory/health_potion/revoke", {"quantity": 10})
    assert revoked.data == {"itemKey": "health_potion", "quantity": 0, "applied": True}
    assert [row["quantity"] for row in api.get("/players/alice").data["inventory"]] == [0]
    assert api.new_events() == ["player.registered", "inventory.changed", "inventory.changed"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        pytest.param("wallet/gold/debit", "amount", id="debit"),
        pytest.param("inventory/health_potion/revoke", "quantity", id="revoke"),
    ],
)
@pytest.mark.parametrize("held", [0, 4])
def test_nothing_goes_below_zero(api: Api, path: str, field: str, held: int) -> None:
    """Taking more than a player holds is refused with both amounts, and creates no player."""
    if held:
        api.post("/players/alice/wallet/gold/credit", {"amount": held})
        api.post("/players/alice/inventory/health_potion/grant", {"quantity": held})
    refused = api.post(f"/players/alice/{path}", {field: 5})
    assert refused.error == (409, "conflict")
    assert refused.body["error"]["details"] == {"available": held, "requested": 5}
    assert api.get("/players/alice").status == (200 if held else 404)


def test_a_balance_has_a_ceiling(api: Api) -> None:
    """A credit that would exceed 2^53-1 is refused."""
    make_player(api, gold=MAX_SAFE_INTEGER)
    refused = api.post("/players/alice/wallet/gold/credit", {"amount": 1})
    assert refused.error == (409, "conflict")
    assert api.balance("alice") == MAX_SAFE_INTEGER


@pytest.mark.parametrize(("path", "body"), ADJUSTMENTS)
def test_adjusting_something_unknown_is_refused(api: Api, path: str, body: dict[str, int]) -> None:
    """A key that is not in the game's catalog is refused as an invalid metric."""
    section, _, verb = path.split("/")
    refused = api.post(f"/players/alice/{section}/silver/{verb}", body)
    assert refused.error == (400, "invalid_metric")


@pytest.mark.parametrize(("path", "body"), ADJUSTMENTS)
@pytest.mark.parametrize(
    "amount",
    [
        pytest.param(0, id="zero"),
        pytest.param(-1, id="negative"),
        pytest.param(1.5, id="fraction"),
        pytest.param(True, id="boolean"),
        pytest.param("5", id="text"),
        pytest.param(None, id="null"),
        pytest.param(MAX_SAFE_INTEGER + 1, id="beyond 2^53-1"),
        pytest.param(10**30, id="enormous"),
    ],
)
def test_amounts_are_checked(api: Api, path: str, body: dict[str, int], amount: object) -> None:
    """An amount that is not a whole number from 1 to 2^53-1 is refused."""
    (field,) = body
    refused = api.post(f"/players/alice/{path}", {field: amount})
    assert refused.error == (400, "validation_failed")
    assert list(refused.fields) == [field]


@pytest.mark.parametrize("written", [b"500", b"500.0", b"5e2"])
def test_a_number_is_what_it_means(api: Api, written: bytes) -> None:
    """Different spellings of an integer are the same request."""
    api.post("/players/alice/wallet/gold/credit", {"amount": 500, "idempotencyKey": "r1"})
    raw = b'{"idempotencyKey":"r1","amount":' + written + b"}"
    repeated = api.post("/players/alice/wallet/gold/credit", raw)
    assert repeated.data == {"economyKey": "gold", "balance": 500, "applied": False}


# --- lobbies ---------------------------------------------------------------

LOBBIES = "/games/game_1/events/quick_brawl/lobbies"


def test_a_pushed_lobby_is_active_until_its_end(api: Api, clock: StoppedClock) -> None:
    """A lobby starts at once, and closes when the event's duration is over."""
    body = {"key": "m1", "externalPlayerIds": ["alice", "bob", "alice"], "capacity": 4}
    pushed = api.post(LOBBIES, body)
    assert pushed.status == 201
    assert pushed.data == {
        "id": pushed.data["id"],
        "eventId": "evt_quick_brawl",
        "eventWindowId": "win_quick_brawl",
        "leaderboardId": pushed.data["leaderboardId"],
        "mode": "lobby_matched",
        "status": "active",
        "capacity": 4,
        "fillBy": None,
        "participantCount": 2,
        "botSlots": 0,
        "startedAt": "2026-06-08T12:00:00.000Z",
        "endsAt": "2026-06-08T13:00:00.000Z",
    }
    assert api.new_events() == ["player.registered", "player.registered"]
    where = f"/games/game_1/lobbies/{pushed.data['id']}"
    assert api.get(where).data == pushed.data
    clock.advance(3600)
    assert api.get(where).data == {**pushed.data, "status": "closed"}


def test_bots_fill_the_free_places(api: Api) -> None:
    """Bots fill the free places of a lobby and count as participants."""
    body = {"key": "m1", "externalPlayerIds": ["alice"], "capacity": 4, "fillBots": True}
    lobby = api.post(LOBBIES, body).data
    assert (lobby["participantCount"], lobby["botSlots"]) == (4, 3)


def test_a_lobby_holds_its_players_by_default(api: Api) -> None:
    """The default capacity of a lobby is the number of its players."""
    assert api.post(LOBBIES, {"key": "m1", "externalPlayerIds": ["a", "b"]}).data["capacity"] == 2


def test_a_lobbys_key_names_it_for_good(api: Api, clock: StoppedClock) -> None:
    """Pushing a lobby's key again returns the lobby, whatever else the request says."""
    first = api.post(LOBBIES, {"key": "m1", "externalPlayerIds": ["alice"]})
    clock.advance(2 * DAY)
    again = api.post(LOBBIES, {"key": "m1", "externalPlayerIds": ["bob"]})
    assert again.status == 201
    assert again.data == {**first.data, "status": "closed"}
    assert api.get("/players/bob").status == 404


@pytest.mark.parametrize(
    ("event", "error"),
    [
        pytest.param("nothing", (404, "not_found"), id="unknown"),
        pytest.param("weekly_ladder", (409, "conflict"), id="not lobby_matched"),
        pytest.param("closed_arena", (409, "event_disabled"), id="disabled"),
    ],
)
def test_not_every_event_takes_lobbies(api: Api, event: str, error: tuple[int, str]) -> None:
    """A lobby needs an event that exists, is enabled and matches lobbies."""
    path = f"/games/game_1/events/{event}/lobbies"
    assert api.post(path, {"key": "m1", "externalPlayerIds": ["alice"]}).error == error


def test_a_lobby_must_hold_its_players(api: Api) -> None:
    """A capacity below the number of players is refused."""
    body = {"key": "m1", "externalPlayerIds": ["a", "b"], "capacity": 1}
    refused = api.post(LOBBIES, body)
    assert refused.error == (400, "validation_failed")
    assert list(refused.fields) == ["capacity"]


def test_an_unknown_lobby_is_not_found(api: Api) -> None:
    """An unknown lobby, and one of another game, are not found."""
    lobby = api.post(LOBBIES, {"key": "m1", "externalPlayerIds": ["a"]}).data
    assert api.get("/games/game_1/lobbies/lob_0").error == (404, "not_found")
    elsewhere = api.get(f"/games/game_2/lobbies/{lobby['id']}", key=OTHER_GAME_KEY)
    assert elsewhere.error == (404, "not_found")


@pytest.mark.parametrize("game", ["game_2", "no_such_game"])
def test_another_games_lobbies_are_out_of_reach(api: Api, game: str) -> None:
    """Lobbies of another game are forbidden, whether that game exists or not."""
    body = {"key": "m1", "externalPlayerIds": ["alice"]}
    pushed = api.post(f"/games/{game}/events/quick_brawl/lobbies", body)
    assert pushed.error == (403, "forbidden")
    assert api.get(f"/games/{game}/lobbies/lob_1").error == (403, "forbidden")


# --- players ---------------------------------------------------------------


def test_a_profile_shows_what_there_is(api: Api, clock: StoppedClock) -> None:
    """A profile shows the player's balances, the newest grants and lobbies, and counts of all."""
    make_player(api)
    for number in range(3):
        clock.advance(1)
        body = {"idempotencyKey": f"r{number}", "entries": MIXED}
        api.post("/players/alice/grants", body)
        api.post(LOBBIES, {"key": f"m{number}", "externalPlayerIds": ["alice"]})
    profile = api.get("/players/alice", query="limit=2").data
    assert profile["player"]["externalPlayerId"] == "alice"
    assert profile["wallet"] == [
        {
            "economyKey": "gold",
            "balance": 1600,
            "metadata": {},
            "createdAt": "2026-06-08T12:00:00.000Z",
            "updatedAt": "2026-06-08T12:00:03.000Z",
        }
    ]
    newest = ["2026-06-08T12:00:03.000Z", "2026-06-08T12:00:02.000Z"]
    assert [grant["createdAt"] for grant in profile["recentGrants"]] == newest
    assert [lobby["createdAt"] for lobby in profile["lobbies"]] == newest
    assert profile["summary"] == {"attempts": 0, "grants": 3, "lobbies": 3}


@pytest.mark.parametrize("limit", ["0", "-1", "two", "1.5", ""])
def test_a_limit_is_a_number_from_1(api: Api, limit: str) -> None:
    """A limit that is not a positive integer is refused."""
    make_player(api)
    refused = api.get("/players/alice", query=f"limit={limit}")
    assert refused.error == (400, "validation_failed")
    assert list(refused.fields) == ["limit"]


def test_a_limit_has_no_limit(api: Api) -> None:
    """A limit may have any number of digits, since the contract names no maximum."""
    make_player(api)
    assert 200 == api.get("/players/alice", query=f"limit={'9' * 300}").status


def test_players_belong_to_a_game(api: Api) -> None:
    """The same id in another game is another player."""
    make_player(api)
    assert api.get("/players/alice", key=OTHER_GAME_KEY).error == (404, "not_found")


@pytest.mark.parametrize("name", ["a%2Fb", "caf%C3%A9", "%2E%2E", "a%0Ab", "a%20b", "%F0%9F%8E%B2"])
def test_any_text_is_an_id(api: Api, name: str) -> None:
    """An id with slashes, dots, spaces or line breaks is still one segment."""
    make_player(api, name)
    assert api.get(f"/players/{name}").status == 200
    assert api.get("/players/a/b").error == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("GET", "/players/nobody", None, id="get"),
        pytest.param("POST", "/players/nobody/ban", {"reason": "x"}, id="ban"),
        pytest.param("POST", "/players/nobody/unban", None, id="unban"),
        pytest.param("GET", "/players/nobody/export", None, id="export"),
        pytest.param("POST", "/players/nobody/merge-into/alice", None, id="merge from"),
        pytest.param("POST", "/players/alice/merge-into/nobody", None, id="merge into"),
        pytest.param("POST", "/players/nobody/grants/grt_1/ack", None, id="ack"),
    ],
)
def test_a_stranger_is_not_found(api: Api, method: str, path: str, body: Any) -> None:
    """Operations that do not pay out refuse a player who does not exist."""
    make_player(api)
    assert api.send(method, path, body).error == (404, "not_found")


def test_a_ban_lasts_until_it_is_lifted(api: Api, clock: StoppedClock) -> None:
    """A second ban changes the reason, keeps the time and sends no event; an unban lifts it."""
    make_player(api)
    ban = api.post("/players/alice/ban", {"reason": "bots"}).data
    assert (ban["applied"], ban["reason"]) == (True, "bots")
    clock.advance(60)
    again = api.post("/players/alice/ban", {"reason": "more bots"}).data
    assert again == {**ban, "applied": False, "reason": "more bots"}
    assert api.new_events() == ["player.banned"]
    lifted = api.post("/players/alice/unban", {"idempotencyKey": "u1"}).data
    assert (lifted["applied"], lifted["unbannedAt"]) == (True, "2026-06-08T12:01:00.000Z")
    assert api.post("/players/alice/unban").data["applied"] is False


def test_a_backend_can_still_serve_a_banned_player(api: Api) -> None:
    """Debits, grants and lobbies still work for a banned player."""
    make_player(api)
    api.post("/players/alice/ban", {"reason": "bots"})
    assert api.post("/players/alice/wallet/gold/debit", {"amount": 5}).data["balance"] == 95
    assert (
        api.post("/players/alice/grants", {"idempotencyKey": "r", "entries": MIXED}).status == 201
    )
    assert api.post(LOBBIES, {"key": "m1", "externalPlayerIds": ["alice"]}).status == 201


def test_a_merge_moves_everything(api: Api) -> None:
    """A merge adds up balances, moves ledger and grants, and counts shared lobbies once."""
    make_player(api, "alice", gold=100)
    make_player(api, "guest", gold=30)
    api.post("/players/guest/wallet/gems/credit", {"amount": 7})
    api.post("/players/guest/wallet/gems/debit", {"amount": 7})
    api.post("/players/guest/inventory/health_potion/grant", {"quantity": 2})
    grant = api.post("/players/guest/grants", {"idempotencyKey": "r1", "entries": MIXED}).data
    shared = api.post(LOBBIES, {"key": "m1", "externalPlayerIds": ["alice", "guest"]}).data
    api.post(LOBBIES, {"key": "m2", "externalPlayerIds": ["guest"]})
    api.post("/migrate/players", {"rows": [row("guest", contextSnapshot={"country": "PT"})]})
    total = sorted(api.deltas())
    api.new_events()

    merged = api.post("/players/guest/merge-into/alice").data

    assert merged["status"] == "merged"
    assert merged["anonymizedExternalPlayerId"].startswith("__merged_")
    assert merged["counts"] == {
        "attemptsReassigned": 0,
        "grantsReassigned": 1,
        "itemsMerged": 3,
        "itemLedgerRowsMoved": 3,
        "walletsMerged": 2,
        "walletLedgerRowsMoved": 4,
        "lobbiesTouched": 2,
        "leaderboardsScrubbed": 0,
    }
    assert (api.balance("alice"), api.balance("alice", "gems")) == (630, 0)
    assert sorted(api.deltas("alice")) == total
    assert api.get("/players/guest").error == (404, "not_found")
    assert api.post(f"/players/alice/grants/{grant['id']}/ack").data["status"] == "claimed"
    assert api.get(f"/games/game_1/lobbies/{shared['id']}").data["participantCount"] == 1
    exported = api.get("/players/alice/export").data
    assert (len(exported["lobbies"]), len(exported["grants"])) == (2, 1)
    assert exported["player"]["lastContextSnapshot"] == {"country": "PT"}
    assert api.new_events() == ["wallet.changed"] + ["inventory.changed"] * 3


def test_a_merge_happens_once(api: Api, clock: StoppedClock) -> None:
    """A repeated merge moves nothing, and the merged id is free for a new player."""
    make_player(api, "alice")
    make_player(api, "guest")
    merged = api.post("/players/guest/merge-into/alice").data
    clock.advance(60)
    repeated = api.post("/players/guest/merge-into/alice").data
    assert repeated == {
        **merged,
        "counts": dict.fromkeys(merged["counts"], 0),
        "status": "no_op_already_merged",
    }
    make_player(api, "bob")
    assert api.post("/players/guest/merge-into/bob").error == (404, "not_found")
    make_player(api, "guest", gold=5)
    assert api.post("/players/guest/merge-into/alice").data["status"] == "merged"
    assert api.balance("alice") == 205


@pytest.mark.parametrize("reason", ["itself", "banned", "erased", "overflow"])
def test_some_merges_are_invalid(api: Api, reason: str) -> None:
    """A merge into the same, a banned or an erased player, or above the limit, is refused."""
    make_player(api, "alice", gold=MAX_SAFE_INTEGER if reason == "overflow" else 1)
    make_player(api, "guest", gold=1)
    if reason == "banned":
        api.post("/players/alice/ban", {"reason": "bots"})
    if reason == "erased":
        api.post("/players/alice/delete", {})
    source = "alice" if reason == "itself" else "guest"
    assert api.post(f"/players/{source}/merge-into/alice").error == (422, "conflict")


# --- migration -------------------------------------------------------------


def row(player: str = "p_1", key: str | None = None, **more: Any) -> dict[str, Any]:
    return {"externalPlayerId": player, "idempotencyKey": key or player, **more}


def gold(player: str = "p_1", amount: Any = 1500, **more: Any) -> dict[str, Any]:
    return row(player, **{"economyKey": "gold", "amount": amount, **more})


def chest(player: str = "p_1", quantity: Any = 1, **more: Any) -> dict[str, Any]:
    return row(player, **{"itemKey": "starter_chest", "quantity": quantity, **more})


def test_importing_players_sends_no_event(api: Api) -> None:
    """Imported rows create or update players and send no event."""
    make_player(api)
    rows = [row("p_1"), row("alice", contextSnapshot={"country": "PT"})]
    outcome = api.post("/migrate/players", {"rows": rows}).data
    assert outcome == {"applied": 2, "skipped": 0, "failed": 0, "failures": []}
    exported = api.get("/players/alice/export").data
    assert exported["player"]["lastContextSnapshot"] == {"country": "PT"}
    assert api.get("/players/p_1").status == 200
    assert api.new_events() == []


def test_holdings_are_brought_in_without_a_word(api: Api) -> None:
    """Imported balances and items create their players and send no event."""
    assert api.post("/migrate/wallet", {"rows": [gold()]}).data["applied"] == 1
    rows = [chest(parameters={"atk": 4}), chest(key="k2", quantity=2, parameters={"def": 1})]
    assert api.post("/migrate/inventory", {"rows": rows}).data["applied"] == 2
    profile = api.get("/players/p_1").data
    assert [(each["economyKey"], each["balance"]) for each in profile["wallet"]] == [("gold", 1500)]
    assert [(each["quantity"], each["metadata"]) for each in profile["inventory"]] == [
        (3, {"atk": 4, "def": 1})
    ]
    assert api.new_events() == []


@pytest.mark.parametrize(
    ("path", "make"),
    [
        pytest.param("/migrate/players", row, id="players"),
        pytest.param("/migrate/wallet", gold, id="wallet"),
        pytest.param("/migrate/inventory", chest, id="inventory"),
    ],
)
def test_each_row_takes_effect_once(api: Api, clock: StoppedClock, path: str, make: Any) -> None:
    """For a day, a row is applied once under its key, and other contents under that key fail."""
    batch = {"rows": [make("p_1"), make("p_2")], "idempotencyKey": "batch"}
    assert api.post(path, batch).data["applied"] == 2
    ledger = api.deltas()
    clock.advance(DAY - 1)
    assert api.post(path, batch).data == {
        "applied": 0,
        "skipped": 2,
        "failed": 0,
        "failures": [],
    }
    changed = make("p_9", key="p_2")
    outcome = api.post(path, {"rows": [make("p_1"), changed, make("p_3")]}).data
    assert (outcome["applied"], outcome["skipped"], outcome["failed"]) == (1, 1, 1)
    (failure,) = outcome["failures"]
    assert (failure["rowIndex"], failure["externalPlayerId"]) == (1, "p_9")
    assert failure["error"]["code"] == "idempotency_conflict"
    assert api.deltas()[: len(ledger)] == ledger
    assert len(api.deltas()) == len(ledger) // 2 * 3


def test_a_null_character_is_part_of_a_key(api: Api) -> None:
    """Keys and ids that differ only after a null character are different."""
    rows = [gold("p", key="k\0a"), gold("p", key="k\0b"), gold("p\0x", key="k")]
    assert 3 == api.post("/migrate/wallet", {"rows": rows}).data["applied"]
    assert 3 == api.post("/migrate/wallet", {"rows": rows}).data["skipped"]
    assert 3000 == api.balance("p")


def test_keys_of_rows_expire_after_24_hours(api: Api, clock: StoppedClock) -> None:
    """A row that is imported again counts again from 24 hours later on, as its new key does."""
    for wait, counts in ((0, "applied"), (86_399, "skipped"), (1, "applied"), (1, "skipped")):
        clock.advance(wait)
        assert 1 == api.post("/migrate/wallet", {"rows": [gold()]}).data[counts]
    assert 3000 == api.balance("p_1")
    assert 1 == api.post("/migrate/wallet", {"rows": [gold(amount=1)]}).data["failed"]


def test_a_key_twice_in_a_batch_counts_once(api: Api) -> None:
    """Of two equal rows in a batch, the second is skipped as a repeat."""
    outcome = api.post("/migrate/wallet", {"rows": [gold(), gold(), gold(amount=1)]}).data
    assert (outcome["applied"], outcome["skipped"], outcome["failed"]) == (1, 1, 1)
    assert api.balance("p_1") == 1500


def test_bad_rows_fail_alone(api: Api) -> None:
    """Each bad row fails with its index, player and code, and the others are applied."""
    rows: list[Any] = [
        gold("ok_1"),
        {"externalPlayerId": "p_2", "economyKey": "gold", "amount": 1},
        gold("p_3", economyKey="silver"),
        gold("p_4", amount=0),
        gold("p_5", amount="1"),
        gold("ok_1", key="other", amount=MAX_SAFE_INTEGER),
        {"economyKey": "gold", "amount": 1, "idempotencyKey": "k"},
        gold("p_8", externalPlayerId=8),
        "p_9",
        None,
        gold("ok_2"),
    ]
    outcome = api.post("/migrate/wallet", {"rows": rows}).data
    assert (outcome["applied"], outcome["skipped"], outcome["failed"]) == (2, 0, 9)
    assert [
        (each["rowIndex"], each.get("externalPlayerId"), each["error"]["code"])
        for each in outcome["failures"]
    ] == [
        (1, "p_2", "validation_failed"),
        (2, "p_3", "invalid_metric"),
        (3, "p_4", "validation_failed"),
        (4, "p_5", "validation_failed"),
        (5, "ok_1", "conflict"),
        (6, None, "validation_failed"),
        (7, None, "validation_failed"),
        (8, None, "validation_failed"),
        (9, None, "validation_failed"),
    ]
    assert api.deltas() == [("gold", 1500), ("gold", 1500)]
    for stranger in ("p_2", "p_3", "p_4", "p_5"):
        assert api.get(f"/players/{stranger}").status == 404


def test_a_row_that_fails_leaves_no_trace(api: Api, clock: StoppedClock) -> None:
    """A failed row does not even change when its player was last seen."""
    make_player(api, "alice", gold=MAX_SAFE_INTEGER)
    before = api.get("/players/alice/export").data["player"]
    clock.advance(60)
    assert api.post("/migrate/wallet", {"rows": [gold("alice")]}).data["failed"] == 1
    assert api.get("/players/alice/export").data["player"] == before
    assert api.post("/migrate/players", {"rows": [row("alice")]}).data["applied"] == 1
    assert api.get("/players/alice/export").data["player"]["lastSeenAt"] != before["lastSeenAt"]


def test_an_unknown_item_is_called_so(api: Api) -> None:
    """An imported row with an unknown item fails with the code `unknown_item`."""
    outcome = api.post("/migrate/inventory", {"rows": [chest(itemKey="sword")]}).data
    assert outcome["failures"][0]["error"]["code"] == "unknown_item"


def test_a_row_that_failed_can_succeed_later(api: Api) -> None:
    """A row that failed can be sent again under the same keys and succeed."""
    bad = {"rows": [gold(amount=0)], "idempotencyKey": "batch"}
    good = {"rows": [gold(amount=5)], "idempotencyKey": "batch"}
    assert api.post("/migrate/wallet", bad).data["failed"] == 1
    assert api.post("/migrate/wallet", good).data["applied"] == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"rows": [row(str(number)) for number in range(1001)]}, id="1001 rows"),
        pytest.param({"rows": {}}, id="no list"),
        pytest.param({}, id="no rows"),
    ],
)
def test_a_batch_has_rows_and_a_limit(api: Api, body: dict[str, Any]) -> None:
    """A batch without a list of rows, or with too many, is refused as a whole."""
    refused = api.post("/migrate/players", body)
    assert refused.error == (400, "validation_failed")
    assert list(refused.fields) == ["rows"]


def test_a_full_batch_is_fine(api: Api) -> None:
    """A batch may have a thousand rows, or none."""
    rows = [row(str(number)) for number in range(1000)]
    assert api.post("/migrate/players", {"rows": rows}).data["applied"] == 1000
    assert api.post("/migrate/players", {"rows": []}).data["applied"] == 0


# --- GDPR ------------------------------------------------------------------


def test_erasing_leaves_the_ledger_and_no_name(api: Api, clock: StoppedClock) -> None:
    """An erasure replaces the player's id everywhere, keeps the ledger and sends one event."""
    make_player(api)
    api.post(LOBBIES, {"key": "m1", "externalPlayerIds": ["alice"]})
    api.post("/migrate/players", {"rows": [row("alice", "k", contextSnapshot={"ip": "::1"})]})
    api.post("/players/alice/ban", {"reason": "alice said things"})
    api.new_events()
    erased = api.post("/players/alice/delete", {"reason": "gdpr_erasure"}).data
    placeholder = erased["anonymizedExternalId"]
    assert erased == {
        "playerId": erased["playerId"],
        "externalPlayerId": "alice",
        "anonymizedExternalId": placeholder,
        "deletedAt": "2026-06-08T12:00:00.000Z",
        "attemptsAnonymized": 0,
        "lobbiesAnonymized": 1,
        "leaderboardsScrubbed": 0,
        "status": "erased",
    }
    assert placeholder.startswith("__deleted_")
    assert api.deltas(placeholder) == [("gold", 100)]
    # The log of events is not part of the player.
    kept = [row for row in dump(api.platform.state).split("\n") if 'INTO "events"' not in row]
    assert not any(word in row for word in ("alice", "::1") for row in kept)
    assert api.new_events() == ["player.deleted"]
    assert api.events[-1][1]["externalPlayerId"] == "alice"
    assert api.get("/players/alice").error == (404, "not_found")
    assert api.get(f"/players/{placeholder}").error == (404, "not_found")

    clock.advance(60)
    again = api.post("/players/alice/delete", {"reason": "gdpr_erasure"}).data
    assert again == {**erased, "lobbiesAnonymized": 0, "status": "no_op_already_erased"}
    assert api.new_events() == []


def test_an_erased_id_is_free_again(api: Api) -> None:
    """A new player under an erased id starts from nothing, and can be erased too."""
    make_player(api)
    first = api.post("/players/alice/delete", {}).data
    make_player(api, gold=5)
    assert api.balance("alice") == 5
    second = api.post("/players/alice/delete", {}).data
    assert second["status"] == "erased"
    assert second["playerId"] != first["playerId"]
    assert api.post("/players/alice/delete", {}).data["playerId"] == second["playerId"]


@pytest.mark.parametrize("merged", [False, True])
def test_erasing_an_unknown_player_succeeds(api: Api, merged: bool) -> None:
    """Erasing an unknown or merged player succeeds and changes nothing."""
    if merged:
        make_player(api, "ghost")
        make_player(api, "alice")
        api.post("/players/ghost/merge-into/alice")
        api.new_events()
    nobody = api.post("/players/ghost/delete", {"reason": "test"}).data
    assert nobody["status"] == "no_op_never_existed"
    assert (nobody["playerId"], nobody["anonymizedExternalId"]) == (None, None)
    assert api.new_events() == []


def test_an_erasure_needs_a_known_reason(api: Api) -> None:
    """A reason for an erasure that is not in the contract's list is refused."""
    refused = api.post("/players/alice/delete", {"reason": "bored"})
    assert (refused.error, list(refused.fields)) == ((400, "validation_failed"), ["reason"])


def test_an_export_holds_everything_up_to_a_limit(api: Api) -> None:
    """The lists of an export end after a thousand rows."""
    make_player(api)
    state = api.platform.state
    player = state.players.find("game_1", "alice")
    assert player is not None
    with state.transaction():
        for number in range(1001):
            lobby = Lobby(
                id=f"lob_{number}",
                game_id="game_1",
                event_key="quick_brawl",
                external_key=str(number),
                leaderboard_id="ldb",
                mode="lobby_matched",
                capacity=1,
                bot_slots=0,
                metadata=None,
                created_at=0,
                ends_at=1,
            )
            state.lobbies.add(lobby, [player.id])
    bundle = api.get("/players/alice/export").data
    assert len(bundle["lobbies"]) == 1000
    assert bundle["lobbies"][0]["id"] == "lob_1000"
    assert bundle["wallet"][0]["balance"] == 100
    assert bundle["player"]["firstSeenAt"] == "2026-06-08T12:00:00.000Z"


def test_the_client_key_opens_nothing(api: Api) -> None:
    """A key with another permission set is forbidden every call, even a ping."""
    make_player(api)
    assert api.get("/ping", key=CLIENT_KEY).error == (403, "forbidden")
    debit = api.post("/players/alice/wallet/gold/debit", {"amount": 1}, key=CLIENT_KEY)
    assert debit.error == (403, "forbidden")
