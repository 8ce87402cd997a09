"""The JSON with which the control endpoints show an emulator."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, get_args

import attrs

from kraty_admin._settings import EMULATOR_KEYS
from kraty_admin._version import __version__
from kraty_server_api.operations import NAMES

from ._faults import FaultKind, Faults
from ._platform import SeenRequest
from ._state import Delivery, Due, State
from ._times import iso, optional_iso
from ._webhooks import Webhooks, envelope
from ._world import EVENT_NAMES, ApiKey, World

__all__ = [
    "delivery_views",
    "faults_view",
    "grant_views",
    "lobby_views",
    "player_views",
    "request_view",
    "world_view",
]

View: TypeAlias = Mapping[str, Any]

_SHOWN_ENTRIES: Final = 5
"""How many ledger entries to show for a request. A request of an import can have a thousand."""

_SHOWN_PLAYERS: Final = 100
"""How many players to show for a lobby."""


def request_view(seen: SeenRequest, state: State, max_body: int) -> View:
    """Show a request with its first ledger entries.

    Args:
        max_body: How many bytes of its body and of its answer to show.
    """
    view = attrs.asdict(seen, recurse=False)
    del view["ledger_numbers"]
    numbers = seen.ledger_numbers
    shown = min(len(numbers), _SHOWN_ENTRIES)
    return {
        **view,
        "body": seen.body[:max_body].decode(errors="replace"),
        "body_bytes": len(seen.body),
        "answer": seen.answer[:max_body].decode(errors="replace"),
        "answer_bytes": len(seen.answer),
        "entry_count": len(numbers),
        "entries": state.ledger.page(None, after=numbers.start - 1, limit=shown) if shown else [],
    }


def player_views(state: State, game_id: str, prefix: str, after: str, limit: int) -> list[View]:
    """Show the live players of a game with their currencies and items."""
    players = state.players.page(game_id, prefix, after=after, limit=limit)
    held: dict[str, dict[str, dict[str, int]]] = {
        player.id: {"currency": {}, "item": {}} for player in players
    }
    for kind in ("currency", "item"):
        for player_id, key, amount, _ in state.ledger.holdings_of(held, kind):
            held[player_id][kind][key] = amount
    return [
        {
            "external_player_id": player.external_id,
            "id": player.id,
            "created_at": iso(player.created_at),
            "seen_at": iso(player.seen_at),
            "banned_at": optional_iso(player.banned_at),
            "currencies": held[player.id]["currency"],
            "items": held[player.id]["item"],
        }
        for player in players
    ]


def grant_views(state: State, now: int, after: int, limit: int) -> list[View]:
    """Show grants, newest first."""
    return [
        {
            "number": number,
            "id": grant.id,
            "game_id": grant.game_id,
            "external_player_id": external_id,
            "idempotency_key": grant.idempotency_key,
            "kind": grant.kind,
            "entries": json.loads(grant.entries),
            "source_kind": grant.source_kind,
            "source_ref_id": grant.source_ref_id,
            "created_at": iso(grant.created_at),
            "expires_at": optional_iso(grant.expires_at),
            "claimed_at": optional_iso(grant.claimed_at),
            "is_expired": grant.expires_at is not None and grant.expires_at <= now,
        }
        for number, external_id, grant in state.grants.page(after=after, limit=limit)
    ]


def lobby_views(state: State, now: int, after: int, limit: int) -> list[View]:
    """Show lobbies, newest first."""
    return [
        {
            "number": number,
            "id": lobby.id,
            "game_id": lobby.game_id,
            "event_key": lobby.event_key,
            "key": lobby.external_key,
            "capacity": lobby.capacity,
            "bot_slots": lobby.bot_slots,
            "created_at": iso(lobby.created_at),
            "ends_at": iso(lobby.ends_at),
            "is_closed": lobby.ends_at <= now,
            "player_count": state.lobbies.count_players(lobby.id),
            "players": state.lobbies.players(lobby.id, _SHOWN_PLAYERS),
        }
        for number, lobby in state.lobbies.page(after=after, limit=limit)
    ]


def delivery_views(state: State, webhooks: Webhooks, deliveries: Sequence[Delivery]) -> list[View]:
    """Show deliveries. Each attempt has its body, and its signature if that is still kept."""
    events = state.deliveries.events_of([each.number for each in deliveries])
    views: list[View] = []
    for each in deliveries:
        attempts = [
            {
                **attrs.asdict(attempt),
                "body": envelope(
                    Due(each.number, each.url, "", attempt.attempt, *events[each.number])
                ).decode(),
                "signature": webhooks.signature(each.number, attempt.attempt),
            }
            for attempt in each.attempts
        ]
        views.append({**attrs.asdict(each, recurse=False), "attempts": attempts})
    return views


def faults_view(faults: Faults) -> View:
    """Show the faults of future calls, and those that have happened."""
    return {
        "rules": faults.rules,
        "chaos": [
            {"operation": operation, "rate": rate} for operation, rate in faults.chaos_rates.items()
        ],
        "struck": faults.struck,
    }


def world_view(world: World, state: State) -> View:
    """Show the world, and the names of operations, faults and events to choose from."""
    return {
        "version": __version__,
        "games": [attrs.asdict(game) for game in world.games],
        "keys": [_key_view(key) for key in world.keys],
        "webhooks": [
            {"url": url, "events": events} for url, events in state.deliveries.endpoints()
        ],
        "operations": sorted(NAMES.values()),
        "fault_kinds": get_args(FaultKind),
        "event_names": EVENT_NAMES,
    }


def _key_view(key: ApiKey) -> View:
    # A user's own world may contain a key that works on another server.
    shown = key.token if key.token in EMULATOR_KEYS else f"{key.prefix}.***"
    return {
        "id": key.id,
        "token": shown,
        "game_id": key.game_id,
        "permission_set": key.permission_set,
        "environment": key.environment,
    }
