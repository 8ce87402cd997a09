"""Which game an API key belongs to, according to the platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kraty_server_api.decoding import is_object

__all__ = ["Game", "game_of"]


class Game(NamedTuple):
    """What the platform says about an API key. A field that it leaves out is `None`."""

    environment: str | None
    """`live` or `test`."""
    studio_id: str | None
    game_id: str | None
    """`None` also for a key that is valid for all games of a studio."""


def game_of(answer: Mapping[str, Any]) -> Game:
    """Return what the answer to a ping says about the API key."""
    found: object = answer.get("apiKey")
    key = found if is_object(found) else {}
    return Game(*(_text(key.get(name)) for name in ("environment", "studioId", "gameId")))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
