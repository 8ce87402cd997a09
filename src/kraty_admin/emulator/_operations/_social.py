"""Identities, friends, friend requests and blocks."""

from __future__ import annotations

from .._state import Identity, Other
from .._times import iso
from ._call import Call, Context, Data, Outcome
from ._upsert import find_player

__all__ = ["list_blocks", "list_friend_requests", "list_friends", "set_identity"]


def set_identity(call: Call, context: Context) -> Outcome:
    """Set name and avatar. Without an avatar in the body, the player keeps the current one."""
    player, social, body = find_player(call, context), context.state.social, call.body
    before = social.identity(player.id)
    kept = None if before is None else before.avatar
    identity = Identity(body["name"], body.get("avatar", kept))
    social.set_identity(player.id, identity)
    shown = {"name": identity.name}
    if identity.avatar is not None:
        shown["avatar"] = identity.avatar
    result = {"externalPlayerId": player.external_id, "syntheticIdentity": shown}
    return Outcome(200, result)


def list_friends(call: Call, context: Context) -> Outcome:
    """Show the friends of a player."""
    friends = context.state.social.friends(find_player(call, context).id)
    return Outcome(
        200,
        {
            "friends": [
                {
                    **_other(friend),
                    "friendsSince": iso(friend.since),
                    # Presence comes from the game client, which the emulator does not serve.
                    "online": False,
                    "lastActiveAt": iso(friend.seen_at),
                    "status": None,
                }
                for friend in friends
            ]
        },
    )


def list_friend_requests(call: Call, context: Context) -> Outcome:
    """Show the friend requests without an answer."""
    player = find_player(call, context)
    return Outcome(
        200,
        {
            direction: [
                {
                    "requestId": other.request_id,
                    "direction": direction,
                    "player": _other(other),
                    "createdAt": iso(other.since),
                }
                for other in context.state.social.requests(player.id, direction)
            ]
            for direction in ("incoming", "outgoing")
        },
    )


def list_blocks(call: Call, context: Context) -> Outcome:
    """Show the players that a player has blocked."""
    blocked = context.state.social.blocked(find_player(call, context).id)
    return Outcome(
        200, {"blocked": [{**_other(each), "blockedAt": iso(each.since)} for each in blocked]}
    )


def _other(other: Other) -> Data:
    identity = None
    if other.name is not None:
        identity = {"name": other.name, "avatar": other.avatar, "country": None}
    return {"externalPlayerId": other.external_id, "displayIdentity": identity}
