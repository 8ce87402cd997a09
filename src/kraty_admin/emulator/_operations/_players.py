"""`players`: one player's profile, and bans."""

from __future__ import annotations

from typing import Final

from .._times import iso
from ._assets import CURRENCY, ITEM, holdings_view
from ._call import Call, Context, Outcome, WebhookEvent
from ._events import attempts_view
from ._gdpr import EXPORT_LIMIT
from ._grants import grant_view
from ._lobbies import lobby_summary
from ._upsert import find_player

__all__ = ["ban_player", "get_player", "unban_player"]

_PROFILE_LIMIT: Final = 20
"""How many entries of each list a profile shows by default."""


def get_player(call: Call, context: Context) -> Outcome:
    """Show a profile."""
    player, state, now = find_player(call, context), context.state, context.now
    limit = min(call.query.get("limit", _PROFILE_LIMIT), EXPORT_LIMIT)
    profile = {
        "player": {
            "id": player.id,
            "externalPlayerId": player.external_id,
            "studioId": call.game.studio_id,
            "gameId": call.game.id,
            "createdAt": iso(player.created_at),
            "updatedAt": iso(player.updated_at),
        },
        "inventory": holdings_view(ITEM, state.ledger.holdings(player.id, "item")),
        "wallet": holdings_view(CURRENCY, state.ledger.holdings(player.id, "currency")),
        "recentGrants": [
            grant_view(grant, now) for grant in state.grants.of_player(player.id, limit)
        ],
        "recentAttempts": attempts_view(state.attempts.of_player(player.id, limit), now),
        "lobbies": lobby_summary(state.lobbies.of_player(player.id, limit), now),
        "summary": {
            "attempts": state.attempts.count(player.id),
            "grants": state.grants.count(player.id),
            "lobbies": state.lobbies.count_of_player(player.id),
        },
    }
    return Outcome(200, profile)


def ban_player(call: Call, context: Context) -> Outcome:
    """Ban a player. Banning again changes the reason only."""
    player, reason = find_player(call, context), call.body["reason"]
    applied = player.banned_at is None
    banned_at = context.now if player.banned_at is None else player.banned_at
    context.state.players.set_ban(player.id, banned_at, reason, context.now)
    ban = {
        "playerId": player.id,
        "externalPlayerId": player.external_id,
        "bannedAt": iso(banned_at),
        "reason": reason,
    }
    events = [WebhookEvent(name="player.banned", data=ban)] if applied else []
    return Outcome(200, {**ban, "applied": applied}, events)


def unban_player(call: Call, context: Context) -> Outcome:
    """Lift a ban."""
    player = find_player(call, context)
    applied = player.banned_at is not None
    if applied:
        context.state.players.set_ban(player.id, None, None, context.now)
    unban = {
        "playerId": player.id,
        "externalPlayerId": player.external_id,
        "unbannedAt": iso(context.now),
        "applied": applied,
    }
    return Outcome(200, unban)
