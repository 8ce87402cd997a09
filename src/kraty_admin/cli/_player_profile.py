"""A short view of a player's profile, for support engineers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dateutil.parser import isoparse

from kraty_server_api.decoding import is_array, is_object

__all__ = ["contents_of", "profile_view"]

_WIDE: Final = 120
"""The width from which the id of a grant fits on its line, in columns."""


def profile_view(profile: Mapping[str, Any], width: int | None) -> dict[str, Any]:
    """Return a profile as it is shown.

    Args:
        profile: The result of `players.get`. Missing parts are left out.
        width: The columns of the terminal. `None` for a pipe: then nothing is shortened, and
            times stay as the platform sent them.
    """

    def when(value: object) -> object:
        return value if width is None else _local(value)

    player = _object(profile.get("player"))
    shown: dict[str, Any] = {
        "player": player.get("externalPlayerId"),
        "platform id": player.get("id"),
        "game": player.get("gameId"),
        "studio": player.get("studioId"),
        "created": when(player.get("createdAt")),
        "updated": when(player.get("updatedAt")),
        "balances": [
            {"currency": each.get("economyKey"), "balance": each.get("balance")}
            for each in _objects(profile.get("wallet"))
        ],
        "items": [
            {"item": each.get("itemKey"), "quantity": each.get("quantity")}
            for each in _objects(profile.get("inventory"))
        ],
        "grants": [
            {
                "created": when(each.get("createdAt")),
                "status": each.get("status"),
                "contents": contents_of(each.get("contents")),
                "source": _source(each),
                "expires": when(each.get("expiresAt")),
                **({} if width is not None and width < _WIDE else {"id": each.get("id")}),
            }
            for each in _objects(profile.get("recentGrants"))
        ],
        "attempts": [
            {
                "started": when(each.get("startedAt")),
                "status": each.get("status"),
                "event": each.get("eventId"),
                "score": each.get("score"),
                **({} if width is not None and width < _WIDE else {"id": each.get("id")}),
            }
            for each in _objects(profile.get("recentAttempts"))
        ],
        "lobbies": [
            {
                "created": when(each.get("createdAt")),
                "status": each.get("status"),
                "event": each.get("eventId"),
                "id": each.get("id"),
            }
            for each in _objects(profile.get("lobbies"))
        ],
    }
    return {name: value for name, value in shown.items() if value is not None}


def contents_of(contents: object) -> str:
    """Return a grant's contents as text, such as `500 gold, 1 starter_chest`."""
    parts: list[str] = []
    for entry in _objects(_object(contents).get("entries")):
        names = ("currencyKey", "itemKey", "crateItemKey")
        key = next((entry[name] for name in names if name in entry), "?")
        number = entry.get("amount", entry.get("quantity"))
        parts.append(f"{number:,} {key}" if isinstance(number, int) else str(key))
    return ", ".join(parts)


def _source(grant: Mapping[str, Any]) -> str | None:
    kind, reference = grant.get("sourceKind"), grant.get("sourceRefId")
    return ", ".join(str(each) for each in (kind, reference) if each) or None


def _local(value: object) -> object:
    """Return a time in the zone of this machine; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        moment = isoparse(value)
    except (ValueError, OverflowError):
        return value
    # The platform also sends dates without a time.
    return value if moment.tzinfo is None else moment.astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _object(value: object) -> Mapping[str, Any]:
    return value if is_object(value) else {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if is_object(each)] if is_array(value) else []
