"""The world that exists before the first call: games with their catalogs, API keys, endpoints.

On the real platform, these are managed in its portal, and a server key cannot change them. Here
they are plain values that stay the same while an emulator runs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

import attrs

from kraty_admin._transport._proxy import is_loopback
from kraty_admin.webhooks import sign_webhook
from kraty_server_api.models import WebhookEventName

from ._checks import all_texts, bounded, of_type, one_of, text, token, unique

__all__ = [
    "DEFAULT_WORLD",
    "EVENT_NAMES",
    "ApiKey",
    "Endpoint",
    "Event",
    "Game",
    "Leaderboard",
    "World",
]

_LONGEST: Final = 10 * 365 * 24 * 3600
"""The longest duration of a lobby, in seconds: ten years."""

EVENT_NAMES: Final[tuple[str, ...]] = get_args(WebhookEventName)
"""The names of webhook events in the contract."""


@attrs.frozen(kw_only=True)
class Event:
    """An event of a game."""

    key: str = attrs.field(validator=text)
    """The event's key in the path of `lobbies.push`."""
    mode: str = attrs.field(default="lobby_matched", validator=text)
    """The leaderboard mode. Lobbies can be pushed to `lobby_matched` events only."""
    enabled: bool = attrs.field(default=True, validator=of_type(bool))
    """Whether lobbies can be pushed to it, and progress reported."""
    duration: int = attrs.field(default=3600, validator=[of_type(int), bounded(1, _LONGEST)])
    """How long a lobby or an attempt lasts, in seconds: from 1 to ten years."""


@attrs.frozen(kw_only=True)
class Leaderboard:
    """A leaderboard of a game."""

    key: str = attrs.field(validator=text)
    """The leaderboard's key in the path of `leaderboards.submit_score`."""
    takes_scores: bool = attrs.field(default=True, validator=of_type(bool))
    """Whether it accepts scores. A leaderboard that ranks by progression does not."""


@attrs.frozen(kw_only=True)
class Game:
    """A game and its catalog.

    Raises:
        TypeError: A field has another type.
        ValueError: An id or a key is empty, or two events or leaderboards have the same key.
    """

    id: str = attrs.field(validator=text)
    """The game's id in the path of the lobby calls."""
    studio_id: str = attrs.field(default="studio_1", validator=text)
    """The studio that owns it."""
    currencies: Sequence[str] = attrs.field(default=(), validator=all_texts)
    """The keys of its currencies."""
    items: Sequence[str] = attrs.field(default=(), validator=all_texts)
    """The keys of its items, including crates."""
    events: Sequence[Event] = ()
    """Its events."""
    leaderboards: Sequence[Leaderboard] = ()
    """Its leaderboards."""

    def __attrs_post_init__(self) -> None:
        unique("events with the key", [event.key for event in self.events])
        unique("leaderboards with the key", [board.key for board in self.leaderboards])

    def event(self, key: str) -> Event | None:
        """Return the event with this key; `None` if there is none."""
        return next((event for event in self.events if event.key == key), None)

    def leaderboard(self, key: str) -> Leaderboard | None:
        """Return the leaderboard with this key; `None` if there is none."""
        return next((board for board in self.leaderboards if board.key == key), None)


@attrs.frozen(kw_only=True)
class ApiKey:
    """A key that the emulator accepts. Use keys that the real platform does not know."""

    id: str = attrs.field(validator=text)
    """The platform's id of the key."""
    token: str = attrs.field(repr=False, validator=token)
    """The key itself, `<prefix>.<secret>`."""
    game_id: str = attrs.field(validator=text)
    """The game that it is bound to."""
    permission_set: str = attrs.field(default="server_integration", validator=text)
    """Its permission set. The server API accepts `server_integration` only."""
    environment: Literal["live", "test"] = attrs.field(
        default="test", validator=one_of("live", "test")
    )
    """The environment that `ping` reports."""

    @property
    def prefix(self) -> str:
        """The public part."""
        return self.token.partition(".")[0]


@attrs.frozen(kw_only=True)
class Endpoint:
    """An endpoint for webhooks.

    Raises:
        TypeError: A field has another type.
        ValueError: The URL is not on this machine, the secret cannot sign (see
            `sign_webhook`), or an event name is not documented.
    """

    url: str = attrs.field(validator=of_type(str))
    """An `http` or `https` URL on this machine."""
    secret: str = attrs.field(repr=False, validator=of_type(str))
    """The secret that signs deliveries."""
    events: Sequence[str] | None = attrs.field(
        default=None, validator=attrs.validators.optional(all_texts)
    )
    """The names of the events that it receives, such as `wallet.changed`; `None` for all."""

    def __attrs_post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not is_loopback(parts.hostname or ""):
            raise ValueError(
                f"webhooks are delivered only to http(s) URLs on this machine, not to {self.url!r}"
            )
        for name in self.events or ():
            if name not in EVENT_NAMES:
                raise ValueError(f"there is no event {name!r}: {', '.join(EVENT_NAMES)}")
        # Raises here what would otherwise fail in each delivery.
        sign_webhook(raw_body=b"", secret=self.secret)


@attrs.frozen(kw_only=True)
class World:
    """Everything that exists before the first call.

    Raises:
        ValueError: There is no game or no key, a key names a game that does not exist, or two
            games, keys or endpoints have the same id, token or URL.
    """

    games: Sequence[Game]
    """The games."""
    keys: Sequence[ApiKey]
    """The keys. The first is `Emulator.api_key`, and `Emulator` shows the ledger of its game."""
    webhooks: Sequence[Endpoint] = ()
    """The endpoints that exist at the start; more can be registered later."""

    def __attrs_post_init__(self) -> None:
        known = {game.id for game in self.games}
        if not self.games or not self.keys:
            raise ValueError("a world needs a game and a key")
        unique("games with the id", [game.id for game in self.games])
        unique("keys with the id", [key.id for key in self.keys])
        if len({key.token for key in self.keys}) < len(self.keys):
            raise ValueError("two keys with the same token")
        unique("webhooks with the url", [endpoint.url for endpoint in self.webhooks])
        if unknown := {key.game_id for key in self.keys} - known:
            raise ValueError(f"no such game: {', '.join(sorted(unknown))}")

    def game(self, game_id: str) -> Game:
        """Return the game with this id.

        Raises:
            KeyError: There is no such game.
        """
        for game in self.games:
            if game.id == game_id:
                return game
        raise KeyError(game_id)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> World:
        """Read a world from a JSON file. Its members have the names of this class's fields.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is not JSON, or not a world. The message names the file and
                the member.
        """
        # Imported here, so that the table of operations does not need the extra.
        from ._structure import parse_json, structure

        try:
            return structure(parse_json(Path(path).read_bytes()), World, "world")
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None


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
            leaderboards=(
                Leaderboard(key="all_time"),
                Leaderboard(key="season_pass", takes_scores=False),
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
