"""`health.ping`: what the platform knows about the API key."""

from __future__ import annotations

from ._call import Call, Context, Outcome

__all__ = ["ping"]


def ping(call: Call, context: Context) -> Outcome:
    """Describe the key, without its secret."""
    key = call.key
    return Outcome(
        200,
        {
            "ok": True,
            "apiKey": {
                "id": key.id,
                "prefix": key.prefix,
                "permissionSet": key.permission_set,
                "environment": key.environment,
                "studioId": call.game.studio_id,
                "gameId": call.game.id,
            },
        },
    )
