"""Mistakes of users: type-checked, never run. Each checker must object to each line.

The comments name what they object to; one that is not needed fails the check as well.
"""

from __future__ import annotations

from typing import Any

import kraty_admin
from kraty_admin import KratyAdmin, KratyAdminAsync, RetryConfig, emulator, verify_webhook
from kraty_admin.params import MigrateWalletRowParam


def arguments(kraty: KratyAdmin) -> None:
    """Pass arguments of the wrong type, name or number."""
    kraty.wallet.credit("p", "gold", amount="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.wallet.credit("p", "gold", amount=5.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.wallet.credit("p", "gold", amount=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.wallet.credit("p", "gold")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    kraty.wallet.credit("p", "gold", 500)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    kraty.wallet.credit("p", "gold", amont=500)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    kraty.wallet.credit("p", "gold", amount=500, idempotencyKey="k")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    kraty.wallet.credit(42, "gold", amount=500)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.wallet.credit("p", amount=500)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    kraty.wallet.mint("p", "gold", amount=500)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    kraty.walet.credit("p", "gold", amount=500)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    kraty.players.delete("p", reason="boredom")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.players.ban("p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    kraty.players.get("p", limit="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.lobbies.push("g", "e", key="k", external_player_ids=[1, 2])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    kraty.lobbies.push("g", "e", key="k", external_player_ids=["p"], fill_bots="no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.lobbies.push("g", "e", external_player_ids=["p"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def grants(kraty: KratyAdmin) -> None:
    """Make grants that lack something or hold something unknown."""
    kraty.grants.create("p", entries=[])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    kraty.grants.create("p", idempotency_key="k")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    kraty.grants.create("p", idempotency_key=None, entries=[])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.grants.create("p", idempotency_key="k", entries=[], kind="prize")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.grants.create("p", idempotency_key="k", entries=[], source_kind="event")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.grants.create("p", idempotency_key="k", entries=[], expires_at=1780920000)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.grants.create("p", idempotency_key="k", entries="gold")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.grants.create("p", idempotency_key="k", entries=["gold"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    kraty.grants.create("p", idempotency_key="k", entries=[], metadata=["campaign"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def rows(kraty: KratyAdmin) -> None:
    """Pass rows that do not have the declared shape."""
    row: MigrateWalletRowParam = {"externalPlayerId": "p", "economyKey": "gold", "amount": 1}  # type: ignore[typeddict-item]  # pyright: ignore[reportAssignmentType]
    kraty.migrate.wallet(row)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kraty.migrate.players("p_1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def results(kraty: KratyAdmin) -> None:
    """Read fields that do not exist or may be null."""
    grant = kraty.grants.ack("p", "g")
    _ = grant.createdAt  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    grant.created_at = grant.created_at  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    grant.source_ref_id.upper()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    _ = kraty.wallet.credit("p", "gold", amount=1).quantity  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]


async def awaiting(kraty: KratyAdminAsync) -> object:
    """Use the result of a call that was not awaited."""
    kraty.health.ping()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    adjustment = kraty.wallet.credit("p", "gold", amount=1)
    return adjustment.balance  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]


def options(body: bytes, anything: Any) -> None:
    """Pass options of the wrong type or name."""
    KratyAdmin("krt_test.secret")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    KratyAdmin(api_key=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    KratyAdmin(api_key=anything, retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    KratyAdmin(api_key=anything, on_request=lambda: None)  # type: ignore[arg-type, misc]  # pyright: ignore[reportArgumentType]
    RetryConfig(attempts="4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry = RetryConfig(4)
    retry.attempts = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    kraty_admin.verify_webhok(raw_body=body)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    emulator.Emulater()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    verify_webhook(body, "t=1", "whsec_a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
