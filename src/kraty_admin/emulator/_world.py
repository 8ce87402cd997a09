"""What exists before the first call: games with their catalogs, and API keys.

The real platform keeps these behind its portal, out of reach of a server key, so
here they are plain values, fixed for the life of an emulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import attrs

__all__ = ["DEFAULT_WORLD", "ApiKey", "Event", "Game", "World"]


@attrs.frozen(kw_only=True)
class Event:
    """An event of a game."""

    key: str
    """The key that stands in the path of `lobbies.push`."""
    mode: str = "lobby_matched"
    """The leaderboard mode; lobbies can be pushed to `lobby_matched` alone."""
    enabled: bool = True
    """Whether it takes lobbies."""
    duration: int = 3600
    """How long a lobby is active, in seconds."""


@attrs.frozen(kw_only=True)
class Game:
    """A game and its catalog."""

    id: str
    """The id that stands in the path of the lobby calls."""
    studio_id: str = "studio_1"
    """The studio that owns it."""
    currencies: Sequence[str] = ()
    """The keys of its currencies."""
    items: Sequence[str] = ()
    """The keys of its items, crates among them."""
    events: Sequence[Event] = ()
    """Its events."""

    def event(self, key: str) -> Event | None:
        """The event with this key."""
        return next((event for event in self.events if event.key == key), None)


@attrs.frozen(kw_only=True)
class ApiKey:
    """A key that the emulator accepts. It opens nothing but emulators."""

    id: str
    """The platform's id of the key."""
    token: str = attrs.field(repr=False)
    """The key itself, `<prefix>.<secret>`."""
    game_id: str
    """The game that it is bound to."""
    permission_set: str = "server_integration"
    """What it may do; the server API takes `server_integration` alone."""
    environment: Literal["live", "test"] = "test"
    """What it says about itself in `ping`."""

    @property
    def prefix(self) -> str:
        """The public part."""
        return self.token.partition(".")[0]


@attrs.frozen(kw_only=True)
class World:
    """Everything that exists before the first call."""

    games: Sequence[Game]
    """The games."""
    keys: Sequence[ApiKey]
    """The keys; the first is `Emulator.api_key`, and its game the one that is inspected."""

    def __attrs_post_init__(self) -> None:
        known = {game.id for game in self.games}
        if not self.games or not self.keys:
            raise ValueError("a world needs a game and a key")
        if unknown := {key.game_id for key in self.keys} - known:
            raise ValueError(f"no such game: {', '.join(sorted(unknown))}")

    def game(self, game_id: str) -> Game:
        """The game with this id.

        Raises:
            KeyError: There is none.
        """
        for game in self.games:
            if game.id == game_id:
                return game
        raise KeyError(game_id)


DEFAULT_WORLD: Final = World(
    games=(
        Game(
            id="game_1",
            currencies=("gold", "gems"),
            items=("starter_chest", "health_potion", "legendary_box"),
            events=(
                Event(key="quick_brawl"),
                Event(key="weekly_ladder", mode="global"),
                Event(key="closed_arena", enabled=False),
            ),
        ),
        Game(id="game_2", currencies=("gold",), items=("health_potion",)),
    ),
    keys=(
        ApiKey(id="key_1", token="krt_emulator_game1.not-a-secret", game_id="game_1"),  # noqa: S106
        ApiKey(
            id="key_2",
            token="krt_emulator_client1.not-a-secret",  # noqa: S106
            game_id="game_1",
            permission_set="client_sdk",
        ),
        ApiKey(id="key_3", token="krt_emulator_game2.not-a-secret", game_id="game_2"),  # noqa: S106
    ),
)
"""Two games of one studio, a server key for each, and a client key."""
