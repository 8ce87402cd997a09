"""`grants`: paying out currencies, items and crates together, once per key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from .._errors import EmulatedError, idempotency_conflict, invalid
from .._json import dump_text, optional_dump_text
from .._state import Grant
from .._times import iso, milliseconds, optional_iso
from ._assets import CURRENCY, ITEM, Asset, changed, check_catalog, move
from ._call import Call, Context, Data, Outcome, WebhookEvent
from ._upsert import find_player, upsert_player

__all__ = ["ack_grant", "create_grant", "grant_view"]

_ENTRIES: Final[Mapping[str, tuple[Asset, str]]] = {
    "currency": (CURRENCY, "currencyKey"),
    "item": (ITEM, "itemKey"),
    "crate": (ITEM, "crateItemKey"),
}
"""The asset that each type of grant entry pays out, and the name of its key."""


def create_grant(call: Call, context: Context) -> Outcome:
    """Pay out the entries at once, or return the grant that the key has created before."""
    body, game = call.body, call.game
    earlier = context.state.grants.find_by_key(game.studio_id, game.id, body["idempotencyKey"])
    if earlier is not None:
        if earlier.fingerprint != call.fingerprint:
            raise idempotency_conflict(body["idempotencyKey"])
        return Outcome(200, _as_created(earlier), is_replay=True)
    for index, entry in enumerate(body["entries"]):
        asset, key_field = _ENTRIES[entry["type"]]
        check_catalog(game, asset, entry[key_field], f"entries[{index}].{key_field}")
    player, registered = upsert_player(call, context, call.path["externalId"])
    grant = Grant(
        id=context.new_id("grt"),
        studio_id=game.studio_id,
        game_id=game.id,
        idempotency_key=body["idempotencyKey"],
        fingerprint=call.fingerprint,
        player_id=player.id,
        kind=body["kind"],
        entries=dump_text(body["entries"]),
        source_kind=body["sourceKind"],
        source_ref_id=body.get("sourceRefId"),
        metadata=optional_dump_text(body.get("metadata")),
        created_at=context.now,
        expires_at=_expiry(body.get("expiresAt")),
    )
    context.state.grants.add(grant)
    view = _as_created(grant)
    events = [
        *registered,
        WebhookEvent(
            name="grant.created",
            data={"playerId": player.id, "externalPlayerId": player.external_id, "grant": view},
        ),
    ]
    for entry in body["entries"]:
        asset, key_field = _ENTRIES[entry["type"]]
        key, delta = entry[key_field], entry[asset.change_field]
        total = move(
            call,
            context,
            player,
            asset,
            key,
            delta,
            cause=body,
            parameters=entry.get("parameters"),
        )
        events.append(changed(player, asset, key, delta, total, cause=body))
    return Outcome(201, view, events)


def ack_grant(call: Call, context: Context) -> Outcome:
    """Record the claim of a pending grant. Any other grant is returned unchanged."""
    player = find_player(call, context)
    grant = context.state.grants.find(call.path["grantId"])
    if grant is None or grant.player_id != player.id:
        raise EmulatedError("not_found", "This player has no such grant.")
    if _status(grant, context.now) == "pending":
        context.state.grants.claim(grant.id, "server_api", context.now)
        grant = grant._replace(claimed_at=context.now, acked_by="server_api")
    return Outcome(200, grant_view(grant, context.now))


def grant_view(grant: Grant, now: int) -> Data:
    """Return a grant in the form of results."""
    view: dict[str, Any] = {
        "id": grant.id,
        "kind": grant.kind,
        "contents": {"entries": json.loads(grant.entries)},
        "sourceKind": grant.source_kind,
        "sourceRefId": grant.source_ref_id,
        "parentGrantId": None,
        "status": _status(grant, now),
        "rolledAt": None,
        "claimedAt": optional_iso(grant.claimed_at),
        "expiresAt": optional_iso(grant.expires_at),
        "createdAt": iso(grant.created_at),
    }
    if grant.acked_by is not None:
        view["ackedBy"] = grant.acked_by
    return view


def _as_created(grant: Grant) -> Data:
    """Return the grant as in the first answer, so that a replay is identical."""
    unclaimed = grant._replace(claimed_at=None, acked_by=None)
    return {**grant_view(unclaimed, grant.created_at), "status": "pending"}


def _status(grant: Grant, now: int) -> str:
    if grant.claimed_at is not None:
        return "claimed"
    return "expired" if grant.expires_at is not None and grant.expires_at <= now else "pending"


def _expiry(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return milliseconds(text)
    except ValueError:
        problem = "value is not a time that can be kept"
        raise invalid([{"path": "expiresAt", "message": problem}]) from None
