"""`players.delete` and `players.export`: erasure and access under the GDPR."""

from __future__ import annotations

from typing import Final

from .._json import optional_parse_text
from .._times import iso
from ._assets import CURRENCY, ITEM, holdings_view
from ._call import Call, Context, Data, Outcome, WebhookEvent
from ._events import attempts_view
from ._grants import grant_view
from ._lobbies import lobby_summary
from ._upsert import find_player

__all__ = ["EXPORT_LIMIT", "delete_player", "export_player"]

EXPORT_LIMIT: Final = 1000
"""How many rows each list of an export has at most."""


def delete_player(call: Call, context: Context) -> Outcome:
    """Make a player anonymous. The ledger stays, but names a placeholder."""
    name, state = call.path["externalId"], context.state
    nothing: Data = {
        "playerId": None,
        "externalPlayerId": name,
        "anonymizedExternalId": None,
        "deletedAt": iso(context.now),
        "attemptsAnonymized": 0,
        "lobbiesAnonymized": 0,
        "leaderboardsScrubbed": 0,
        "status": "no_op_never_existed",
    }
    player = state.players.find(call.game.id, name)
    if player is None:
        former = state.players.former(call.game.id, name)
        if former is None or former.retired_at is None or former.merged_into is not None:
            return Outcome(200, nothing)
        return Outcome(
            200,
            {
                **nothing,
                "playerId": former.id,
                "anonymizedExternalId": former.external_id,
                "deletedAt": iso(former.retired_at),
                "status": "no_op_already_erased",
            },
        )
    placeholder = f"__deleted_{context.new_uuid()}__"
    reason = call.body.get("reason", "gdpr_erasure")
    state.players.retire(player, placeholder, context.now, deletion_reason=reason)
    event = WebhookEvent(
        name="player.deleted",
        data={
            "playerId": player.id,
            "externalPlayerId": name,
            "deletedAt": nothing["deletedAt"],
            "reason": reason,
        },
    )
    state.social.forget(player.id)
    erased = {
        **nothing,
        "playerId": player.id,
        "anonymizedExternalId": placeholder,
        "attemptsAnonymized": state.attempts.count(player.id),
        "lobbiesAnonymized": state.lobbies.count_of_player(player.id),
        "leaderboardsScrubbed": state.scores.drop(player.id),
        "status": "erased",
    }
    return Outcome(200, erased, [event])


def export_player(call: Call, context: Context) -> Outcome:
    """Return everything about a player."""
    player, state, now = find_player(call, context), context.state, context.now
    bundle = {
        "schemaVersion": 1,
        "exportedAt": iso(now),
        "player": {
            "id": player.id,
            "externalPlayerId": player.external_id,
            "studioId": call.game.studio_id,
            "gameId": call.game.id,
            "firstSeenAt": iso(player.created_at),
            "lastSeenAt": iso(player.seen_at),
            "lastContextSnapshot": optional_parse_text(player.context),
            # These come from the game client, which the emulator does not serve.
            "registeredAt": None,
            "secretRotatedAt": None,
            "deletedAt": None,
        },
        "attempts": attempts_view(state.attempts.of_player(player.id, EXPORT_LIMIT), now),
        "grants": [
            {**grant_view(grant, now), "metadata": optional_parse_text(grant.metadata)}
            for grant in state.grants.of_player(player.id, EXPORT_LIMIT)
        ],
        "inventory": holdings_view(ITEM, state.ledger.holdings(player.id, "item", EXPORT_LIMIT)),
        "wallet": holdings_view(
            CURRENCY, state.ledger.holdings(player.id, "currency", EXPORT_LIMIT)
        ),
        "lobbies": lobby_summary(state.lobbies.of_player(player.id, EXPORT_LIMIT), now),
    }
    return Outcome(200, bundle)
