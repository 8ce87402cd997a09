"""Programs of users: type-checked, never run. Each line says what it must be taken for."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import httpx

from kraty_admin import (
    ErrorCode,
    KratyAdmin,
    KratyAdminAsync,
    KratyError,
    KratyKeyExpiredError,
    KratyNetworkError,
    KratyServerError,
    RequestHook,
    RequestInfo,
    ResponseInfo,
    RetryConfig,
    WebhookVerificationError,
    construct_event,
    derive_key,
    fulfil_once,
    sign_webhook,
    verify_webhook,
)
from kraty_admin.errors import WebhookVerificationReason
from kraty_admin.models import (
    ApiKey,
    CrateRewardEntry,
    CurrencyRewardEntry,
    ExportedPlayer,
    Grant,
    GrantContents,
    ItemAdjustment,
    ItemHolding,
    ItemRewardEntry,
    Lobby,
    LobbyMembership,
    MergeCounts,
    MigrateError,
    MigrateFailure,
    MigrateOutcome,
    Player,
    PlayerBan,
    PlayerDeletion,
    PlayerExport,
    PlayerMerge,
    PlayerProfile,
    PlayerUnban,
    ServerPingResponse,
    WalletAdjustment,
    WalletHolding,
    WebhookEvent,
    WebhookEventName,
)
from kraty_admin.params import (
    CrateRewardEntryParam,
    CurrencyRewardEntryParam,
    ItemRewardEntryParam,
    MigrateInventoryRowParam,
    MigratePlayerRowParam,
    MigrateWalletRowParam,
)

if TYPE_CHECKING:
    from typing_extensions import assert_type


def every_method(kraty: KratyAdmin, moment: datetime) -> None:
    """Call each method with all of its arguments."""
    assert_type(
        kraty.grants.create(
            "player_42",
            idempotency_key="receipt_1",
            entries=[
                {"type": "currency", "currencyKey": "gold", "amount": 500},
                {"type": "item", "itemKey": "chest", "quantity": 1, "parameters": {"atk": 4}},
                {"type": "crate", "crateItemKey": "box", "quantity": 2},
            ],
            kind="reward",
            source_kind="api",
            expires_at=moment,
            source_ref_id="receipt_1",
            metadata={"campaign": "campaign_42", "nested": {"list": [1, 2.5, None]}},
        ),
        Grant,
    )
    assert_type(kraty.grants.ack("player_42", "grt_1", idempotency_key="k"), Grant)
    assert_type(
        kraty.inventory.grant(
            "player_42", "potion", quantity=10, reason="iap", source_ref_id="r", idempotency_key="k"
        ),
        ItemAdjustment,
    )
    assert_type(
        kraty.inventory.revoke(
            "player_42", "potion", quantity=10, reason="iap", source_ref_id="r", idempotency_key="k"
        ),
        ItemAdjustment,
    )
    assert_type(
        kraty.wallet.credit(
            "player_42", "gold", amount=500, reason="iap", source_ref_id="r", idempotency_key="k"
        ),
        WalletAdjustment,
    )
    assert_type(
        kraty.wallet.debit(
            "player_42", "gold", amount=500, reason="iap", source_ref_id="r", idempotency_key="k"
        ),
        WalletAdjustment,
    )
    assert_type(
        kraty.lobbies.push(
            "game_1",
            "quick_brawl",
            key="match_1",
            external_player_ids=["alice", "bob"],
            capacity=4,
            fill_bots=False,
            metadata={"region": "eu"},
            idempotency_key="k",
        ),
        Lobby,
    )
    assert_type(kraty.lobbies.read("game_1", "lob_1"), Lobby)
    assert_type(kraty.players.get("player_42", limit=5), PlayerProfile)
    assert_type(
        kraty.players.delete("player_42", reason="gdpr_erasure", idempotency_key="k"),
        PlayerDeletion,
    )
    assert_type(kraty.players.export("player_42"), PlayerExport)
    assert_type(kraty.players.ban("player_42", reason="cheating", idempotency_key="k"), PlayerBan)
    assert_type(kraty.players.unban("player_42", idempotency_key="k"), PlayerUnban)
    assert_type(kraty.players.merge("guest_7", "player_42", idempotency_key="k"), PlayerMerge)
    assert_type(
        kraty.migrate.players(
            [
                {"externalPlayerId": "p_1", "idempotencyKey": "p_1"},
                {
                    "externalPlayerId": "p_2",
                    "contextSnapshot": {"country": "PT"},
                    "idempotencyKey": "p_2",
                },
            ],
            idempotency_key="k",
        ),
        MigrateOutcome,
    )
    assert_type(
        kraty.migrate.wallet(
            [
                {
                    "externalPlayerId": "p_1",
                    "economyKey": "gold",
                    "amount": 1500,
                    "reason": "moved",
                    "idempotencyKey": "p_1:gold",
                }
            ],
            idempotency_key="k",
        ),
        MigrateOutcome,
    )
    assert_type(
        kraty.migrate.inventory(
            [
                {
                    "externalPlayerId": "p_1",
                    "itemKey": "chest",
                    "quantity": 1,
                    "parameters": {"rolled": {"atk": 4}},
                    "reason": "moved",
                    "idempotencyKey": "p_1:chest",
                }
            ],
            idempotency_key="k",
        ),
        MigrateOutcome,
    )
    assert_type(kraty.health.ping(), ServerPingResponse)


async def every_method_awaited(kraty: KratyAdminAsync, moment: datetime) -> None:
    """Await each method of the asynchronous client with all of its arguments."""
    assert_type(
        await kraty.grants.create(
            "player_42",
            idempotency_key="receipt_1",
            entries=[
                {"type": "currency", "currencyKey": "gold", "amount": 500},
                {"type": "item", "itemKey": "chest", "quantity": 1, "parameters": {"atk": 4}},
                {"type": "crate", "crateItemKey": "box", "quantity": 2},
            ],
            kind="crate",
            source_kind="admin",
            expires_at=moment,
            source_ref_id="receipt_1",
            metadata={"campaign": "campaign_42", "nested": {"list": [1, 2.5, None]}},
        ),
        Grant,
    )
    assert_type(await kraty.grants.ack("player_42", "grt_1", idempotency_key="k"), Grant)
    assert_type(
        await kraty.inventory.grant(
            "player_42", "potion", quantity=10, reason="iap", source_ref_id="r", idempotency_key="k"
        ),
        ItemAdjustment,
    )
    assert_type(
        await kraty.inventory.revoke(
            "player_42", "potion", quantity=10, reason="iap", source_ref_id="r", idempotency_key="k"
        ),
        ItemAdjustment,
    )
    assert_type(
        await kraty.wallet.credit(
            "player_42", "gold", amount=500, reason="iap", source_ref_id="r", idempotency_key="k"
        ),
        WalletAdjustment,
    )
    assert_type(
        await kraty.wallet.debit(
            "player_42", "gold", amount=500, reason="iap", source_ref_id="r", idempotency_key="k"
        ),
        WalletAdjustment,
    )
    assert_type(
        await kraty.lobbies.push(
            "game_1",
            "quick_brawl",
            key="match_1",
            external_player_ids=("alice", "bob"),
            capacity=4,
            fill_bots=True,
            metadata={"region": "eu"},
            idempotency_key="k",
        ),
        Lobby,
    )
    assert_type(await kraty.lobbies.read("game_1", "lob_1"), Lobby)
    assert_type(await kraty.players.get("player_42", limit=5), PlayerProfile)
    assert_type(
        await kraty.players.delete("player_42", reason="test", idempotency_key="k"),
        PlayerDeletion,
    )
    assert_type(await kraty.players.export("player_42"), PlayerExport)
    assert_type(
        await kraty.players.ban("player_42", reason="cheating", idempotency_key="k"), PlayerBan
    )
    assert_type(await kraty.players.unban("player_42", idempotency_key="k"), PlayerUnban)
    assert_type(await kraty.players.merge("guest_7", "player_42", idempotency_key="k"), PlayerMerge)
    assert_type(
        await kraty.migrate.players(
            [
                {"externalPlayerId": "p_1", "idempotencyKey": "p_1"},
                {
                    "externalPlayerId": "p_2",
                    "contextSnapshot": {"country": "PT"},
                    "idempotencyKey": "p_2",
                },
            ],
            idempotency_key="k",
        ),
        MigrateOutcome,
    )
    assert_type(
        await kraty.migrate.wallet(
            [
                {
                    "externalPlayerId": "p_1",
                    "economyKey": "gold",
                    "amount": 1500,
                    "idempotencyKey": "p_1:gold",
                }
            ],
            idempotency_key="k",
        ),
        MigrateOutcome,
    )
    assert_type(
        await kraty.migrate.inventory(
            [
                {
                    "externalPlayerId": "p_1",
                    "itemKey": "chest",
                    "quantity": 1,
                    "idempotencyKey": "p_1:chest",
                }
            ],
            idempotency_key="k",
        ),
        MigrateOutcome,
    )
    assert_type(await kraty.health.ping(), ServerPingResponse)


def least_arguments(kraty: KratyAdmin) -> None:
    """Leave out each argument that may be left out."""
    kraty.grants.create("p", idempotency_key="k", entries=[])
    kraty.grants.ack("p", "g")
    kraty.inventory.grant("p", "i", quantity=1)
    kraty.inventory.revoke("p", "i", quantity=1)
    kraty.wallet.credit("p", "gold", amount=1)
    kraty.wallet.debit("p", "gold", amount=1)
    kraty.lobbies.push("g", "e", key="k", external_player_ids=["p"])
    kraty.players.get("p")
    kraty.players.delete("p")
    kraty.players.ban("p", reason="r")
    kraty.players.unban("p")
    kraty.players.merge("a", "b")
    kraty.migrate.players([])
    kraty.migrate.wallet([])
    kraty.migrate.inventory([])


def arguments_by_name(kraty: KratyAdmin) -> None:
    """Pass ids and rows by name."""
    kraty.wallet.credit(external_player_id="p", economy_key="gold", amount=1)
    kraty.players.merge(from_external_player_id="a", to_external_player_id="b")
    kraty.lobbies.read(game_id="g", lobby_id="l")
    kraty.migrate.players(rows=[])


def typed_rows(kraty: KratyAdmin) -> None:
    """Declare the types of entries and rows where they are made."""
    currency: CurrencyRewardEntryParam = {"type": "currency", "currencyKey": "gold", "amount": 1}
    item: ItemRewardEntryParam = {"type": "item", "itemKey": "chest", "quantity": 1}
    crate: CrateRewardEntryParam = {"type": "crate", "crateItemKey": "box", "quantity": 1}
    kraty.grants.create("p", idempotency_key="k", entries=[currency, item, crate])
    kraty.grants.create("p", idempotency_key="k", entries=(currency,))
    currencies: list[CurrencyRewardEntryParam] = [currency]
    kraty.grants.create("p", idempotency_key="k", entries=currencies)
    players: list[MigratePlayerRowParam] = [{"externalPlayerId": "p", "idempotencyKey": "p"}]
    kraty.migrate.players(players)
    wallets: list[MigrateWalletRowParam] = [
        {"externalPlayerId": "p", "economyKey": "gold", "amount": 1, "idempotencyKey": "k"}
    ]
    kraty.migrate.wallet(wallets)
    items: list[MigrateInventoryRowParam] = [
        {"externalPlayerId": "p", "itemKey": "chest", "quantity": 1, "idempotencyKey": "k"}
    ]
    kraty.migrate.inventory(items)


def plain_rows(
    kraty: KratyAdmin,
    entry: dict[str, Any],
    entries: list[dict[str, object]],
    rows: list[dict[str, Any]],
    texts: list[dict[str, str]],
    metadata: dict[str, object],
) -> None:
    """Pass dicts whose keys no checker knows."""
    kraty.grants.create("p", idempotency_key="k", entries=[entry])
    kraty.grants.create("p", idempotency_key="k", entries=entries)
    kraty.grants.create("p", idempotency_key="k", entries=tuple(entries), metadata=metadata)
    kraty.lobbies.push("g", "e", key="k", external_player_ids=["p"], metadata=metadata)
    kraty.migrate.players(rows)
    kraty.migrate.wallet(rows)
    kraty.migrate.inventory(rows)
    kraty.migrate.players(texts)
    kraty.migrate.players([entry, {"externalPlayerId": "p", "idempotencyKey": "p"}])


def undeclared_rows(kraty: KratyAdmin, receipts: list[str]) -> None:
    """Pass variables without a declared type."""
    entries = [
        {"type": "currency", "currencyKey": "gold", "amount": 500},
        {"type": "item", "itemKey": "chest", "quantity": 1},
    ]
    kraty.grants.create("p", idempotency_key="k", entries=entries)
    rows = [{"externalPlayerId": receipt, "idempotencyKey": receipt} for receipt in receipts]
    kraty.migrate.players(rows)
    kraty.migrate.players(rows[:1000])


def entries_of_a_grant(kraty: KratyAdmin, grant: Grant) -> None:
    """Grant again what another grant holds."""
    kraty.grants.create("p", idempotency_key="k", entries=grant.contents.entries or [])


def moments(kraty: KratyAdmin, moment: datetime, source: Literal["api", "admin"]) -> None:
    """Pass times as datetimes or text, and enums as literals."""
    kraty.grants.create("p", idempotency_key="k", entries=[], expires_at=moment)
    kraty.grants.create("p", idempotency_key="k", entries=[], expires_at="2026-06-08T12:00:00Z")
    kraty.grants.create("p", idempotency_key="k", entries=[], source_kind=source)


def either_client(kraty: KratyAdmin | KratyAdminAsync) -> None:
    """Use what both clients have in common without telling them apart."""
    assert_type(kraty.is_closed, bool)
    assert_type(kraty.base_url, str)
    assert_type(kraty.with_options(timeout=5), KratyAdmin | KratyAdminAsync)


def fields(kraty: KratyAdmin) -> None:
    """Read fields by property, each with the type of its value."""
    grant = kraty.grants.create("p", idempotency_key="k", entries=[])
    assert_type(grant.id, str)
    assert_type(grant.contents, GrantContents)
    assert_type(
        grant.contents.entries,
        list[CurrencyRewardEntry | ItemRewardEntry | CrateRewardEntry | dict[str, Any]] | None,
    )
    assert_type(grant.source_ref_id, str | None)
    assert_type(grant.created_at, datetime)
    assert_type(grant.expires_at, datetime | None)
    assert_type(grant.http, ResponseInfo)
    assert_type(grant.http.status, int)
    assert_type(grant.http.idempotency_key, str | None)
    assert_type(grant.replayed, bool | None)
    adjustment = kraty.wallet.credit("p", "gold", amount=1)
    assert_type(adjustment.balance, int)
    assert_type(adjustment.applied, bool)
    lobby = kraty.lobbies.read("g", "l")
    assert_type(lobby.capacity, int)
    assert_type(lobby.bot_slots, int | None)
    profile = kraty.players.get("p")
    assert_type(profile.player, Player)
    assert_type(profile.inventory, list[ItemHolding])
    assert_type(profile.inventory[0].metadata, dict[str, Any])
    assert_type(profile.wallet, list[WalletHolding])
    assert_type(profile.recent_grants, list[Grant])
    assert_type(profile.recent_attempts, list[dict[str, Any]] | None)
    assert_type(profile.lobbies, list[LobbyMembership] | None)
    assert_type(profile.summary, dict[str, int] | None)
    bundle = kraty.players.export("p")
    assert_type(bundle.player, ExportedPlayer)
    assert_type(bundle.player.last_context_snapshot, dict[str, Any] | None)
    assert_type(bundle.grants, list[dict[str, Any]])
    outcome = kraty.migrate.players([])
    assert_type(outcome.failures, list[MigrateFailure])
    assert_type(outcome.failures[0].error, MigrateError)
    assert_type(outcome.failures[0].external_player_id, str | None)
    assert_type(kraty.players.merge("a", "b").counts, MergeCounts)
    assert_type(kraty.health.ping().api_key, ApiKey)


def results_are_dicts(kraty: KratyAdmin) -> None:
    """Pass results where dicts are wanted."""
    snapshot: dict[str, Any] = kraty.players.get("p")
    assert_type(snapshot["player"]["externalPlayerId"], Any)
    outcome = kraty.players.delete("p", reason="gdpr_erasure")
    if outcome["status"] == "erased" or outcome.status == "erased":
        assert_type(outcome["deletedAt"], Any)
    for entry in kraty.grants.ack("p", "g").contents.entries or []:
        if isinstance(entry, CurrencyRewardEntry):
            assert_type(entry.amount, int)
        elif isinstance(entry, ItemRewardEntry | CrateRewardEntry):
            assert_type(entry.quantity, int)
        else:
            assert_type(entry, dict[str, Any])


def errors(kraty: KratyAdmin) -> None:
    """Read the typed attributes of errors."""
    try:
        kraty.health.ping()
    except KratyServerError as err:
        assert_type(err.code, str)
        assert_type(err.status, int)
        assert_type(err.is_idempotency_conflict, bool)
        assert_type(err.is_code("brand_new"), bool)
        known: ErrorCode = "rate_limited"
        assert_type(err.is_code(known), bool)
        assert_type(err.headers, dict[str, str])
        assert_type(err.raw_body, bytes)
        assert_type(err.retry_after, float | None)
        assert_type(err.idempotency_key, str | None)
        assert_type(err.attempts, int)
        assert_type(err.ambiguous, bool)
        assert_type(err.request_id, str | None)
        assert_type(err.retryable, bool)
    except KratyNetworkError as err:
        assert_type(err.original_cause, BaseException | None)
        assert_type(err.idempotency_key, str | None)
        assert_type(err.first_sent_at, datetime | None)
    except KratyError as err:
        assert_type(err.retryable, bool)
        assert_type(err.first_sent_at, datetime | None)


def clients(http: httpx.Client) -> None:
    """Make a client with every option, and derive a client from it."""

    def on_request(info: RequestInfo) -> None:
        assert_type(info.duration_ms, float | None)
        assert_type(info.status, int | None)
        assert_type(info.first_sent_at, datetime | None)
        assert_type(info.ok, bool)

    hook: RequestHook = on_request
    with KratyAdmin(
        api_key="krt_test.secret",
        base_url="https://api.kraty.io",
        timeout=15.0,
        deadline=60,
        retry=RetryConfig(attempts=5, initial_delay=0.5, max_delay=30.0, jitter=0.25),
        retry_budget=None,
        http_client=http,
        generate_idempotency_key=lambda: "k",
        on_request=hook,
    ) as kraty:
        assert_type(kraty, KratyAdmin)
        assert_type(kraty.with_options(timeout=httpx.Timeout(5.0, read=60.0)), KratyAdmin)
        assert_type(kraty.request("GET", "/players/p/friends", query={"limit": 5}), Any)
        assert_type(kraty.close(), None)


async def clients_awaited(http: httpx.AsyncClient) -> None:
    """Make an asynchronous client with every option, and derive a client from it."""
    async with KratyAdminAsync(api_key="krt_test.secret", http_client=http) as kraty:
        assert_type(kraty, KratyAdminAsync)
        assert_type(kraty.with_options(deadline=5), KratyAdminAsync)
        assert_type(await kraty.request("POST", "/x", body={"a": 1}, idempotency_key="k"), Any)
        assert_type(await kraty.close(), None)


def keys(kraty: KratyAdmin, receipt_id: str) -> None:
    """Derive keys that are the same on every run."""

    def on_conflict(err: KratyServerError) -> None:
        assert_type(err.details, Any)

    assert_type(derive_key("iap", receipt_id), str)
    with fulfil_once("iap", receipt_id, on_conflict=on_conflict) as key:
        assert_type(key, str)
        kraty.wallet.credit("p", "gold", amount=1, idempotency_key=key)


def key_ages(receipt_id: str, tried: datetime) -> None:
    """Ask whether keys may have expired."""
    try:
        with fulfil_once(
            "iap",
            receipt_id,
            operation="wallet.credit",
            first_tried_at=tried,
            now=tried,
            on_conflict=print,
        ) as key:
            assert_type(key, str)
    except KratyKeyExpiredError as err:
        assert_type(err.operation, str)
        assert_type(err.idempotency_key, str)
        assert_type(err.first_tried_at, datetime | None)


def webhooks(body: bytes, header: str | None, now: datetime) -> None:
    """Check deliveries and read them."""
    assert_type(verify_webhook(raw_body=body, signature_header=header, secret="whsec_a"), bool)
    try:
        event = construct_event(
            raw_body=body, signature_header=header, secret=["whsec_a", "whsec_b"], now=now
        )
    except WebhookVerificationError as err:
        assert_type(err.reason, WebhookVerificationReason)
        return
    assert_type(event, WebhookEvent)
    assert_type(event.occurred_at, datetime)
    assert_type(event.game_id, str | None)
    assert_type(event.data, dict[str, Any])
    match event["eventName"]:
        case "grant.created":
            assert_type(event.data["grantId"], Any)
        case _:
            assert_type(event.event_name, WebhookEventName | str)
    assert_type(sign_webhook(raw_body=body, secret="whsec_a", timestamp=now), str)
