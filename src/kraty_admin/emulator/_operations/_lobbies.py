"""`lobbies`: lobbies from a studio's own matchmaker."""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import EmulatedError, invalid
from .._json import optional_dump_text
from .._state import Lobby, Player
from .._times import iso
from ._call import Call, Context, Data, Outcome, WebhookEvent
from ._upsert import upsert_player

__all__ = ["lobby_summary", "push_lobby", "read_lobby"]


def push_lobby(call: Call, context: Context) -> Outcome:
    """Create a lobby that starts at once, or return the one that an earlier call created."""
    body, game, lobbies = call.body, call.game, context.state.lobbies
    event = game.event(call.path["eventKey"])
    if event is None:
        raise EmulatedError("not_found", "This game has no such event.")
    earlier = lobbies.find_by_key(game.id, event.key, body["key"])
    if earlier is not None:
        return Outcome(201, _view(earlier, context), is_replay=True)
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
        problem = f"value is less than the number of players, {len(names)}"
        raise invalid([{"path": "capacity", "message": problem}])
    lobby = Lobby(
        id=context.new_id("lob"),
        game_id=game.id,
        event_key=event.key,
        external_key=body["key"],
        leaderboard_id=context.new_id("ldb"),
        mode=event.mode,
        capacity=capacity,
        bot_slots=capacity - len(names) if body.get("fillBots") else 0,
        metadata=optional_dump_text(body.get("metadata")),
        created_at=context.now,
        ends_at=context.now + event.duration * 1000,
    )
    players: list[Player] = []
    events: list[WebhookEvent] = []
    for name in names:
        player, registered = upsert_player(call, context, name)
        players.append(player)
        events += registered
    lobbies.add(lobby, [player.id for player in players])
    return Outcome(201, _view(lobby, context), events)


def read_lobby(call: Call, context: Context) -> Outcome:
    """Show a lobby."""
    lobby = context.state.lobbies.find(call.game.id, call.path["lobbyId"])
    if lobby is None:
        raise EmulatedError("not_found", "There is no such lobby.")
    return Outcome(200, _view(lobby, context))


def lobby_summary(lobbies: Sequence[Lobby], now: int) -> list[Data]:
    """Return lobbies in the form of profiles and exports."""
    return [
        {
            "id": lobby.id,
            "eventId": f"evt_{lobby.event_key}",
            "status": _status(lobby, now),
            "createdAt": iso(lobby.created_at),
        }
        for lobby in lobbies
    ]


def _view(lobby: Lobby, context: Context) -> Data:
    players = context.state.lobbies.count_players(lobby.id)
    return {
        "id": lobby.id,
        "eventId": f"evt_{lobby.event_key}",
        "eventWindowId": f"win_{lobby.event_key}",
        "leaderboardId": lobby.leaderboard_id,
        "mode": lobby.mode,
        "status": _status(lobby, context.now),
        "capacity": lobby.capacity,
        "fillBy": None,
        "participantCount": players + lobby.bot_slots,
        "botSlots": lobby.bot_slots,
        "startedAt": iso(lobby.created_at),
        "endsAt": iso(lobby.ends_at),
    }


def _status(lobby: Lobby, now: int) -> str:
    return "closed" if lobby.ends_at <= now else "active"
