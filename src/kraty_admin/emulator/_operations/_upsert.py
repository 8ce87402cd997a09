"""Find players, and create them on first contact."""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import EmulatedError
from .._state import Player
from ._call import Call, Context, WebhookEvent

__all__ = ["find_player", "upsert_player"]


def find_player(call: Call, context: Context) -> Player:
    """Return the player that the path names.

    Raises:
        EmulatedError: There is no such player.
    """
    player = context.state.players.find(call.game.id, call.path["externalId"])
    if player is None:
        raise EmulatedError("not_found", "There is no such player.")
    return player


def upsert_player(
    call: Call, context: Context, external_id: str
) -> tuple[Player, Sequence[WebhookEvent]]:
    """Return the player with this id, and the event if it had to be created."""
    players = context.state.players
    player = players.see(call.game.id, external_id, context.now)
    if player is not None:
        return player, ()
    player = players.add(context.new_id("ply"), call.game.id, external_id, context.now)
    data = {"playerId": player.id, "externalPlayerId": external_id}
    return player, (WebhookEvent(name="player.registered", data=data),)
