"""What each operation of the contract does.

A handler takes a validated call and the state, and returns a status and a result.
It runs inside a transaction: raising undoes all it did. It knows nothing of HTTP.

Where the public documents leave a question open, this is the answer chosen here:

- **When a grant pays out**: at once, when it is made, whatever its `kind`. Acking
  only records the claim; it is meant for backends that have given the player the
  goods already, so paying out there would double them.
- **A grant that lapses** keeps what it paid out. Acking one changes nothing and
  returns it as `expired`, since the contract knows no refusal for that call.
- **A grant's replay** shows the grant as it was made, also when it has been claimed.
- **A replayed adjustment** shows the balance that the first answer showed.
- **Debits and revokes of more than there is** are refused with `conflict` and
  `details` of `available` and `requested`; a player who was not known stays unknown.
- **Credits and grants above 2^53-1** are refused with `conflict` as well.
- **Unknown currencies and items** are `invalid_metric`, in a migration's item rows
  `unknown_item`.
- **A banned player** is refused in the game client only: a backend still credits,
  debits, grants and pushes them. A ban does not travel through a merge.
- **A lobby** starts at once and closes when its event's duration is over. Its key
  is unique within its event. Without a `capacity` it holds exactly its players; one
  that is too small for them is `validation_failed`. Naming a player twice is naming
  them once.
- **Merging** sends `wallet.changed` and `inventory.changed` for what the target
  gained. Asking for the merge of an id that was erased, or merged into somebody
  else, is `not_found`; a sum above 2^53-1 is refused with 422.
- **Erasing** an id that was merged away finds nobody, hence `no_op_never_existed`.
- **The key of a migrated row** belongs to its operation and is kept permanently. The key
  of the batch protects nothing: rows that failed may succeed when it is repeated.
- **`parameters`** of an item end up in the holding's `metadata`, the newest on top.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from uuid import UUID

import attrs
from dateutil import parser

from ._errors import EmulatedError, Problem, idempotency_conflict, invalid
from ._json import MAX_SAFE_INTEGER, dump, fingerprint, parse, text_member
from ._state import Kind, State
from ._world import ApiKey, Game

__all__ = ["HANDLERS", "REPLAYED_AS_UNAPPLIED", "SELF_KEYED", "Call", "Emitted", "Handler", "iso"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)

_EXPORT_LIMIT: Final = 1000
_PROFILE_LIMIT: Final = 20
"""How much of each list a profile shows unless told otherwise."""


@attrs.frozen(kw_only=True)
class Emitted:
    """An event that webhooks should tell about."""

    name: str
    """Such as `wallet.changed`."""
    data: Mapping[str, Any]
    """The particulars. Their shape is not published; this one is ours."""


@attrs.frozen(kw_only=True)
class Call:
    """A call that fits the contract, as a handler sees it."""

    operation_id: str
    """The contract's operation."""
    name: str
    """What the SDK calls it, such as `wallet.credit`."""
    key: ApiKey
    """Who calls."""
    game: Game
    """The game that the key is bound to."""
    path: Mapping[str, str]
    """The path's parameters, decoded."""
    query: Mapping[str, Any]
    """The query's values."""
    body: Mapping[str, Any]
    """The body; empty where none was sent."""
    fingerprint: str
    """What tells this request from another one under the same key."""
    now: int
    """The time, in milliseconds since the epoch."""
    new_uuid: Callable[[], UUID]
    """Where ids come from."""
    row_problems: Callable[[Any], Sequence[Problem]]
    """What is wrong with one row of a batch, by the contract."""
    emitted: list[Emitted]
    """Where a handler puts what happened."""

    def emit(self, name: str, **data: Any) -> None:
        """Note that something happened; it is told once the transaction is through."""
        self.emitted.append(Emitted(name=name, data=data))

    def new_id(self, prefix: str) -> str:
        """A new id, such as `grt_...`."""
        return f"{prefix}_{self.new_uuid().hex}"


Handler = Callable[[Call, State], tuple[int, dict[str, Any]]]


@attrs.frozen
class _Asset:
    """What wallets and inventories differ in."""

    kind: Kind
    key_field: str
    """What its key is called, in paths, rows and results."""
    change_field: str
    """What an amount of it is called in requests."""
    total_field: str
    """What the sum is called in results."""
    event: str
    unknown_code: str
    """What a migration calls a key that is not in the catalog."""

    def keys(self, game: Game) -> Sequence[str]:
        return game.currencies if self.kind == "currency" else game.items


_CURRENCY: Final = _Asset(
    "currency", "economyKey", "amount", "balance", "wallet.changed", "invalid_metric"
)
_ITEM: Final = _Asset(
    "item", "itemKey", "quantity", "quantity", "inventory.changed", "unknown_item"
)

_ENTRIES: Final[Mapping[str, tuple[_Asset, str]]] = {
    "currency": (_CURRENCY, "currencyKey"),
    "item": (_ITEM, "itemKey"),
    "crate": (_ITEM, "crateItemKey"),
}
"""For each type of grant entry, what it pays out and where its key stands."""


# --- health ----------------------------------------------------------------


def _ping(call: Call, state: State) -> tuple[int, dict[str, Any]]:
    key = call.key
    return 200, {
        "ok": True,
        "apiKey": {
            "id": key.id,
            "prefix": key.prefix,
            "permissionSet": key.permission_set,
            "environment": key.environment,
            "studioId": call.game.studio_id,
            "gameId": call.game.id,
        },
    }


# --- grants ----------------------------------------------------------------


def _create_grant(call: Call, state: State) -> tuple[int, dict[str, Any]]:
    body, game = call.body, call.game
    earlier = state.grant_by_key(game.studio_id, game.id, body["idempotencyKey"])
    if earlier is not None:
        if earlier["fingerprint"] != call.fingerprint:
            raise idempotency_conflict(body["idempotencyKey"])
        return 200, _grant_as_made(earlier)
    for index, entry in enumerate(body["entries"]):
        asset, key_field = _ENTRIES[entry["type"]]
        _check_catalog(game, asset, entry[key_field], f"entries[{index}].{key_field}")
    player = _upsert(call, state, call.path["externalId"])
    grant_id = call.new_id("grt")
    state.add_grant(
        id=grant_id,
        studio_id=game.studio_id,
        game_id=game.id,
        idempotency_key=body["idempotencyKey"],
        fingerprint=call.fingerprint,
        player_id=player["id"],
        kind=body.get("kind", "reward"),
        entries=body["entries"],
        source_kind=body.get("sourceKind", "api"),
        source_ref_id=body.get("sourceRefId"),
        metadata=_optional_json(body.get("metadata")),
        created_at=call.now,
        expires_at=_milliseconds(body.get("expiresAt"), "expiresAt"),
    )
    made = _grant_as_made(_found(state.grant(grant_id), "grant"))
    call.emit(
        "grant.created", playerId=player["id"], externalPlayerId=player["external_id"], grant=made
    )
    for entry in body["entries"]:
        asset, key_field = _ENTRIES[entry["type"]]
        _move(
            call,
            state,
            player,
            asset,
            entry[key_field],
            entry[asset.change_field],
            body=body,
            parameters=entry.get("parameters"),
        )
    return 201, made


def _ack_grant(call: Call, state: State) -> tuple[int, dict[str, Any]]:
    player = _player(call, state, "externalId")
    grant = state.grant(call.path["grantId"])
    if grant is None or grant["player_id"] != player["id"]:
        raise EmulatedError("not_found", "This player has no such grant.")
    if _grant_status(grant, call.now) == "pending":
        state.claim_grant(grant["id"], "server_api", call.now)
        grant = _found(state.grant(grant["id"]), "grant")
    return 200, _grant_view(grant, call.now)


def _grant_status(grant: Mapping[str, Any], now: int) -> str:
    if grant["claimed_at"] is not None:
        return "claimed"
    expires_at = grant["expires_at"]
    return "expired" if expires_at is not None and expires_at <= now else "pending"


def _grant_view(grant: Mapping[str, Any], now: int) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": grant["id"],
        "kind": grant["kind"],
        "contents": {"entries": grant["entries"]},
        "sourceKind": grant["source_kind"],
        "sourceRefId": grant["source_ref_id"],
        "parentGrantId": None,
        "status": _grant_status(grant, now),
        "rolledAt": None,
        "claimedAt": _optional_iso(grant["claimed_at"]),
        "expiresAt": _optional_iso(grant["expires_at"]),
        "createdAt": iso(grant["created_at"]),
    }
    if grant["acked_by"] is not None:
        view["ackedBy"] = grant["acked_by"]
    return view


def _grant_as_made(grant: Mapping[str, Any]) -> dict[str, Any]:
    """The grant as the first answer showed it, so that a replay is identical."""
    fresh = {**grant, "claimed_at": None, "acked_by": None}
    return {**_grant_view(fresh, grant["created_at"]), "status": "pending"}


# --- wallet and inventory --------------------------------------------------


def _adjust(asset: _Asset, sign: int, call: Call, state: State) -> tuple[int, dict[str, Any]]:
    key = call.path[asset.key_field]
    _check_catalog(call.game, asset, key, asset.key_field)
    player = _upsert(call, state, call.path["externalId"])
    delta = sign * call.body[asset.change_field]
    total = _move(call, state, player, asset, key, delta, body=call.body)
    return 200, {asset.key_field: key, asset.total_field: total, "applied": True}


def _move(
    call: Call,
    state: State,
    player: Any,
    asset: _Asset,
    key: str,
    delta: int,
    *,
    body: Mapping[str, Any],
    parameters: Mapping[str, Any] | None = None,
) -> int:
    """Post to a ledger, unless the sum would leave its bounds; return the sum."""
    total = _sum(asset, key, state.amount(player["id"], asset.kind, key), delta)
    state.post(
        player["id"],
        asset.kind,
        key,
        delta,
        call.now,
        operation=call.name,
        reason=body.get("reason"),
        source_ref_id=body.get("sourceRefId"),
        idempotency_key=body.get("idempotencyKey"),
        parameters=parameters,
    )
    _emit_change(
        call,
        player,
        asset,
        key,
        delta,
        total,
        reason=body.get("reason"),
        sourceRefId=body.get("sourceRefId"),
    )
    return total


def _emit_change(
    call: Call, player: Any, asset: _Asset, key: str, delta: int, total: int, **cause: str | None
) -> None:
    call.emit(
        asset.event,
        playerId=player["id"],
        externalPlayerId=player["external_id"],
        **{asset.key_field: key, asset.total_field: total},
        delta=delta,
        **cause,
    )


def _sum(asset: _Asset, key: str, before: int, delta: int) -> int:
    if before + delta < 0:
        raise EmulatedError(
            "conflict",
            f"Insufficient {asset.total_field} of {key}.",
            {"available": before, "requested": -delta},
        )
    if before + delta > MAX_SAFE_INTEGER:
        raise EmulatedError(
            "conflict",
            f"The {asset.total_field} of {key} would exceed {MAX_SAFE_INTEGER}.",
            {asset.total_field: before, "requested": delta, "maximum": MAX_SAFE_INTEGER},
        )
    return before + delta


def _holdings(state: State, player_id: str, asset: _Asset, limit: int = -1) -> list[dict[str, Any]]:
    return [
        {
            asset.key_field: row["key"],
            asset.total_field: row["amount"],
            "metadata": row["metadata"],
            "createdAt": iso(row["created_at"]),
            "updatedAt": iso(row["updated_at"]),
        }
        for row in state.holdings(player_id, asset.kind, limit)
    ]


# --- lobbies ---------------------------------------------------------------


def _push_lobby(call: Call, state: State) -> tuple[int, dict[str, Any]]:
    body, game = call.body, call.game
    event = game.event(call.path["eventKey"])
    if event is None:
        raise EmulatedError("not_found", "This game has no such event.")
    earlier = state.lobby_by_key(game.id, event.key, body["key"])
    if earlier is not None:
        return 201, _lobby_view(earlier, call.now)
    if not event.enabled:
        raise EmulatedError("event_disabled", "The event is disabled.")
    if event.mode != "lobby_matched":
        raise EmulatedError(
            "conflict",
            "Lobbies can be pushed to lobby_matched events only.",
            {"leaderboardMode": event.mode},
        )
    names = list(dict.fromkeys(body["externalPlayerIds"]))
    capacity = body.get("capacity", len(names))
    if capacity < len(names):
        raise _invalid("capacity", f"value is less than the number of players, {len(names)}")
    lobby_id = call.new_id("lob")
    state.add_lobby(
        [_upsert(call, state, name)["id"] for name in names],
        id=lobby_id,
        game_id=game.id,
        event_key=event.key,
        external_key=body["key"],
        leaderboard_id=call.new_id("ldb"),
        mode=event.mode,
        capacity=capacity,
        bot_slots=capacity - len(names) if body.get("fillBots") else 0,
        metadata=_optional_json(body.get("metadata")),
        created_at=call.now,
        ends_at=call.now + event.duration * 1000,
    )
    return 201, _lobby_view(_found(state.lobby(game.id, lobby_id), "lobby"), call.now)


def _read_lobby(call: Call, state: State) -> tuple[int, dict[str, Any]]:
    lobby = _found(state.lobby(call.game.id, call.path["lobbyId"]), "lobby")
    return 200, _lobby_view(lobby, call.now)


def _lobby_view(lobby: Any, now: int) -> dict[str, Any]:
    return {
        "id": lobby["id"],
        "eventId": f"evt_{lobby['event_key']}",
        "eventWindowId": f"win_{lobby['event_key']}",
        "leaderboardId": lobby["leaderboard_id"],
        "mode": lobby["mode"],
        "status": _lobby_status(lobby, now),
        "capacity": lobby["capacity"],
        "fillBy": None,
        "participantCount": lobby["players"] + lobby["bot_slots"],
        "botSlots": lobby["bot_slots"],
        "startedAt": iso(lobby["created_at"]),
        "endsAt": iso(lobby["ends_at"]),
    }


def _lobby_status(lobby: Any, now: int) -> str:
    return "closed" if lobby["ends_at"] <= now else "active"


def _memberships(state: State, player_id: str, now: int, limit: int = -1) -> list[dict[str, Any]]:
    return [
        {
            "id": lobby["id"],
            "eventId": f"evt_{lobby['event_key']}",
            "status": _lobby_status(lobby, now),
            "createdAt": iso(lobby["created_at"]),
        }
        for lobby in state.lobbies(player_id, limit)
    ]


# --- players ---------------------------------------------------------------


def _get_player(call: Call, state: State) -> tuple[int, dict[str, Any]]:
    player = _player(call, state, "externalId")
    limit = min(call.query.get("limit", _PROFILE_LIMIT), _EXPORT_LIMIT)
    player_id = player["id"]
    return 200, {
        "player": {
            "id": player_id,
            "externalPlayerId": player["external_id"],
            "studioId": call.game.studio_id,
            "gameId": call.game.id,
            "createdAt": iso(player["created_at"]),
            "updatedAt": iso(player["updated_at"]),
        },
        "inventory": _holdings(state, player_id, _ITEM),
        "wallet": _holdings(state, player_id, _CURRENCY),
        "recentGrants": [_grant_view(grant, call.now) for grant in state.grants(player_id, limit)],
        "recentAttempts": [],
        "lobbies": _memberships(state, player_id, call.now, limit),
        "summary": {
            "attempts": 0,
            "grants": state.count("grants", player_id),
            "lobbies": state.count("participants", player_id),
        },
    }


def _ban_player(call: Call, state: State) -> tuple[int, dict[str, Any]]:
    player = _player(call, state, "externalId")
    applied = player["banned_at"] is None
    banned_at = call.now if applied else player["banned_at"]
    state.set_ban(player["id"], banned_at, call.body["reason"], call.now)
    ban = {
        "playerId": player["id"],
        "externalPlayerId": player["external_id"],
        "bannedAt": iso(banned_at),
        "reason": call.body["reason"],
    }
    if applied:
        call.emit("player.banned", **ban)
    return 200, {**ban, "applied": applied}


def _unban_player(call: Call, state: State) -> tuple[int, dict[str, Any]]:
    player = _player(call, state, "externalId")
    applied = player["banned_at"] is not None
    if applied:
        state.set_ban(player["id"], None, None, call.now)
    return 200, {
        "playerId": player["id"],
        "externalPlayerId": player["external_id"],
        "unbannedAt": iso(call.now),
        "applied": applied,
    }


def _merge_players(call: Call, state: State) -> tuple[int, dict[str, Any]]:
    names = call.path["fromExternalId"], call.path["toExternalId"]
    source_name, target_name = names
    if source_name == target_name:
        raise _invalid_merge("A player cannot be merged into themselves.")
    target = state.player(call.game.id, target_name)
    if target is None:
        former = state.former_player(call.game.id, target_name)
        if former is not None and former["merged_into"] is None:
            raise _invalid_merge("The target has been erased.")
        raise EmulatedError("not_found", "There is no such target player.")
    source = state.player(call.game.id, source_name)
    if source is None:
        former = state.former_player(call.game.id, source_name)
        if former is None or former["merged_into"] != target["id"]:
            raise EmulatedError("not_found", "There is no such source player.")
        return 200, _merge_view(
            former["id"],
            target["id"],
            names,
            former["external_id"],
            former["retired_at"],
            "no_op_already_merged",
        )
    if target["banned_at"] is not None:
        raise _invalid_merge("The target is banned.")
    gained = [
        (asset, row["key"], row["amount"], _merged_total(state, target["id"], asset, row))
        for asset in (_CURRENCY, _ITEM)
        for row in state.holdings(source["id"], asset.kind)
    ]
    counts = state.merge_player(source["id"], target["id"], call.now)
    placeholder = f"__merged_{call.new_uuid()}__"
    state.retire_player(source, placeholder, call.now, merged_into=target["id"])
    for asset, key, delta, total in gained:
        if delta:
            _emit_change(call, target, asset, key, delta, total, reason="merge", sourceRefId=None)
    view = _merge_view(source["id"], target["id"], names, placeholder, call.now, "merged")
    view["counts"] |= {
        "grantsReassigned": counts.grants,
        "itemsMerged": counts.items,
        "itemLedgerRowsMoved": counts.item_ledger_rows,
        "walletsMerged": counts.wallets,
        "walletLedgerRowsMoved": counts.wallet_ledger_rows,
        "lobbiesTouched": counts.lobbies,
    }
    return 200, view


def _merged_total(state: State, target_id: str, asset: _Asset, row: Mapping[str, Any]) -> int:
    try:
        return _sum(
            asset, row["key"], state.amount(target_id, asset.kind, row["key"]), row["amount"]
        )
    except EmulatedError as error:
        raise _invalid_merge(error.message, error.details) from None


def _merge_view(
    source_id: str,
    target_id: str,
    names: tuple[str, str],
    placeholder: str,
    merged_at: int,
    status: str,
) -> dict[str, Any]:
    return {
        "fromPlayerId": source_id,
        "fromExternalPlayerId": names[0],
        "toPlayerId": target_id,
        "toExternalPlayerId": names[1],
        "anonymizedExternalPlayerId": placeholder,
        "counts": {
            "attemptsReassigned": 0,
            "grantsReassigned": 0,
            "itemsMerged": 0,
            "itemLedgerRowsMoved": 0,
            "walletsMerged": 0,
            "walletLedgerRowsMoved": 0,
            "lobbiesTouched": 0,
            "leaderboardsScrubbed": 0,
        },
        "mergedAt": iso(merged_at),
        "status": status,
    }


# --- migration -------------------------------------------------------------


def _migrate(
    apply: Callable[[Call, State, Mapping[str, Any]], None], call: Call, state: State
) -> tuple[int, dict[str, Any]]:
    # A migration tells no webhooks: what its rows emit goes nowhere.
    quiet = attrs.evolve(call, emitted=[])
    applied = skipped = 0
    failures: list[dict[str, Any]] = []
    for index, row in enumerate(call.body["rows"]):
        try:
            with state.savepoint():
                is_new = _migrate_row(apply, quiet, state, row)
        except EmulatedError as error:
            failures.append(_failure(index, row, error))
        else:
            applied += is_new
            skipped += not is_new
    return 200, {
        "applied": applied,
        "skipped": skipped,
        "failed": len(failures),
        "failures": failures,
    }


def _migrate_row(
    apply: Callable[[Call, State, Mapping[str, Any]], None], call: Call, state: State, row: Any
) -> bool:
    """Apply a row; false if it had been applied before."""
    if problems := call.row_problems(row):
        raise invalid(problems)
    key, print_of_row = row["idempotencyKey"], fingerprint(row)
    earlier = state.migrated_fingerprint(call.game.id, call.operation_id, key)
    if earlier is not None:
        if earlier != print_of_row:
            raise idempotency_conflict(key)
        return False
    apply(call, state, row)
    state.remember_migrated(
        game_id=call.game.id,
        operation=call.operation_id,
        idempotency_key=key,
        fingerprint=print_of_row,
    )
    return True


def _failure(index: int, row: Any, error: EmulatedError) -> dict[str, Any]:
    failure: dict[str, Any] = {
        "rowIndex": index,
        "error": {"code": error.code, "message": error.message},
    }
    name = text_member(row, "externalPlayerId")
    if name is not None:
        failure["externalPlayerId"] = name
    return failure


def _migrate_player(call: Call, state: State, row: Mapping[str, Any]) -> None:
    player = _upsert(call, state, row["externalPlayerId"])
    if "contextSnapshot" in row:
        state.set_context(player["id"], row["contextSnapshot"], call.now)


def _migrate_holding(asset: _Asset, call: Call, state: State, row: Mapping[str, Any]) -> None:
    key = row[asset.key_field]
    if key not in asset.keys(call.game):
        raise EmulatedError(asset.unknown_code, f"This game has no {asset.kind} {key}.")
    player = _upsert(call, state, row["externalPlayerId"])
    _move(
        call,
        state,
        player,
        asset,
        key,
        row[asset.change_field],
        body=row,
        parameters=row.get("parameters"),
    )


# --- GDPR ------------------------------------------------------------------


def _delete_player(call: Call, state: State) -> tuple[int, dict[str, Any]]:
    name = call.path["externalId"]
    view: dict[str, Any] = {
        "playerId": None,
        "externalPlayerId": name,
        "anonymizedExternalId": None,
        "deletedAt": iso(call.now),
        # The emulator has no attempts and no leaderboards.
        "attemptsAnonymized": 0,
        "lobbiesAnonymized": 0,
        "leaderboardsScrubbed": 0,
        "status": "no_op_never_existed",
    }
    player = state.player(call.game.id, name)
    if player is not None:
        placeholder = f"__deleted_{call.new_uuid()}__"
        reason = call.body.get("reason")
        state.retire_player(player, placeholder, call.now, deletion_reason=reason)
        call.emit(
            "player.deleted",
            playerId=player["id"],
            externalPlayerId=name,
            deletedAt=view["deletedAt"],
            reason=reason,
        )
        return 200, {
            **view,
            "playerId": player["id"],
            "anonymizedExternalId": placeholder,
            "lobbiesAnonymized": state.count("participants", player["id"]),
            "status": "erased",
        }
    former = state.former_player(call.game.id, name)
    if former is not None and former["merged_into"] is None:
        return 200, {
            **view,
            "playerId": former["id"],
            "anonymizedExternalId": former["external_id"],
            "deletedAt": iso(former["retired_at"]),
            "status": "no_op_already_erased",
        }
    return 200, view


def _export_player(call: Call, state: State) -> tuple[int, dict[str, Any]]:
    player = _player(call, state, "externalId")
    player_id = player["id"]
    return 200, {
        "schemaVersion": 1,
        "exportedAt": iso(call.now),
        "player": {
            "id": player_id,
            "externalPlayerId": player["external_id"],
            "studioId": call.game.studio_id,
            "gameId": call.game.id,
            "firstSeenAt": iso(player["created_at"]),
            "lastSeenAt": iso(player["seen_at"]),
            "lastContextSnapshot": _optional_parsed(player["context"]),
            # These come from the game client, which the emulator does not serve.
            "registeredAt": None,
            "secretRotatedAt": None,
            "deletedAt": None,
        },
        "attempts": [],
        "grants": [
            {**_grant_view(grant, call.now), "metadata": _optional_parsed(grant["metadata"])}
            for grant in state.grants(player_id, _EXPORT_LIMIT)
        ],
        "inventory": _holdings(state, player_id, _ITEM, _EXPORT_LIMIT),
        "wallet": _holdings(state, player_id, _CURRENCY, _EXPORT_LIMIT),
        "lobbies": _memberships(state, player_id, call.now, _EXPORT_LIMIT),
    }


# --- shared ----------------------------------------------------------------


def _player(call: Call, state: State, parameter: str) -> Any:
    player = state.player(call.game.id, call.path[parameter])
    if player is None:
        raise EmulatedError("not_found", "There is no such player.")
    return player


def _upsert(call: Call, state: State, name: str) -> Any:
    """The player with this id, made now if need be."""
    player = state.player(call.game.id, name)
    if player is None:
        player_id = call.new_id("ply")
        state.add_player(player_id, call.game.id, name, call.now)
        call.emit("player.registered", playerId=player_id, externalPlayerId=name)
        return _found(state.player(call.game.id, name), "player")
    state.see_player(player["id"], call.now)
    return player


def _found(row: Any, what: str) -> Any:
    if row is None:
        raise EmulatedError("not_found", f"There is no such {what}.")
    return row


def _check_catalog(game: Game, asset: _Asset, key: str, field: str) -> None:
    if key not in asset.keys(game):
        raise EmulatedError(
            "invalid_metric",
            f"This game has no {asset.kind} {key}.",
            {"fields": [{"path": field, "message": "value is not in the catalog"}]},
        )


def _invalid(path: str, message: str) -> EmulatedError:
    return invalid([{"path": path, "message": message}])


def _invalid_merge(message: str, details: Any = None) -> EmulatedError:
    return EmulatedError("conflict", message, details, status=422)


def _milliseconds(text: str | None, path: str) -> int | None:
    if text is None:
        return None
    try:
        time = parser.isoparse(text.upper()).astimezone(timezone.utc)
        return (time - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        # The contract's format admits a leap second and, in UTC, the years 0 and 10000;
        # Python does not.
        raise _invalid(path, "value is not a time that can be kept") from None


def iso(milliseconds: int) -> str:
    """`2026-06-08T12:00:00.000Z`"""
    time = _EPOCH + timedelta(milliseconds=milliseconds)
    # Not `strftime`, which on some systems writes the year 256 with three digits.
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _optional_iso(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else iso(milliseconds)


def _optional_json(value: Any) -> str | None:
    return None if value is None else dump(value).decode()


def _optional_parsed(text: str | None) -> Any:
    return None if text is None else parse(text.encode())


HANDLERS: Final[Mapping[str, Handler]] = {
    "ping": _ping,
    "createGrant": _create_grant,
    "ackGrant": _ack_grant,
    "pushLobby": _push_lobby,
    "readLobby": _read_lobby,
    "getPlayer": _get_player,
    "banPlayer": _ban_player,
    "unbanPlayer": _unban_player,
    "mergePlayers": _merge_players,
    "grantItem": functools.partial(_adjust, _ITEM, 1),
    "revokeItem": functools.partial(_adjust, _ITEM, -1),
    "creditWallet": functools.partial(_adjust, _CURRENCY, 1),
    "debitWallet": functools.partial(_adjust, _CURRENCY, -1),
    "migratePlayers": functools.partial(_migrate, _migrate_player),
    "migrateWallet": functools.partial(_migrate, functools.partial(_migrate_holding, _CURRENCY)),
    "migrateInventory": functools.partial(_migrate, functools.partial(_migrate_holding, _ITEM)),
    "deletePlayer": _delete_player,
    "exportPlayer": _export_player,
}
"""The handler of each operation of the contract."""

SELF_KEYED: Final = frozenset(
    {"createGrant", "migratePlayers", "migrateWallet", "migrateInventory"}
)
"""The operations whose keys are kept permanently, not for a day."""

REPLAYED_AS_UNAPPLIED: Final = frozenset({"grantItem", "revokeItem", "creditWallet", "debitWallet"})
"""The operations whose replay says `applied: false` and is otherwise the first answer."""
