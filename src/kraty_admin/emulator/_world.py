"""What exists before the first call: games with their catalogs, API keys, endpoints.

The real platform keeps these behind its portal, out of reach of a server key, so
here they are plain values, fixed for the life of an emulator.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import attrs

from kraty_admin._transport._proxy import is_loopback
from kraty_admin.webhooks import sign_webhook
from kraty_server_api.decoding import is_array, is_object

from ._checks import of_type, one_of

__all__ = ["DEFAULT_WORLD", "ApiKey", "Endpoint", "Event", "Game", "World"]


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
    environment: Literal["live", "test"] = attrs.field(
        default="test", validator=one_of("live", "test")
    )
    """What it says about itself in `ping`."""

    @property
    def prefix(self) -> str:
        """The public part."""
        return self.token.partition(".")[0]


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where webhooks are delivered to.

    Raises:
        TypeError: A field is of another type.
        ValueError: The URL is not on this machine, or nothing can be signed with the
            secret; see `sign_webhook`.
    """

    url: str = attrs.field(validator=of_type(str))
    """An `http` or `https` URL on this machine."""
    secret: str = attrs.field(repr=False, validator=of_type(str))
    """What deliveries are signed with."""
    events: Sequence[str] | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            # A string is a sequence of strings as well.
            [of_type(list, tuple), attrs.validators.deep_iterable(of_type(str))]
        ),
    )
    """The names of the events that it is told of; `None` for all."""

    def __attrs_post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not is_loopback(parts.hostname or ""):
            raise ValueError(
                f"webhooks are delivered to http(s) URLs on this machine only, not to {self.url!r}"
            )
        # Raises here what would otherwise end each delivery.
        sign_webhook(raw_body=b"", secret=self.secret)


@attrs.frozen(kw_only=True)
class World:
    """Everything that exists before the first call."""

    games: Sequence[Game]
    """The games."""
    keys: Sequence[ApiKey]
    """The keys; the first is `Emulator.api_key`, and its game the one that is inspected."""
    webhooks: Sequence[Endpoint] = ()
    """Where webhooks are delivered to, besides what is registered later."""

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

    @staticmethod
    def load(path: str | os.PathLike[str]) -> World:
        """Read a world from a JSON file, the members of which are called as here.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not JSON, or not a world; the message says where.
        """
        world: World = _read_world(json.loads(Path(path).read_bytes()), "world")
        return world


Reader = Callable[[Any, str], Any]
"""Makes a value of its JSON, or says what is wrong with that, and where it stands."""


def _scalar(kind: type) -> Reader:
    def read(value: Any, where: str) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{where} must be of type {kind.__name__}, not {type(value).__name__}")
        return value

    return read


def _array(of: Reader) -> Reader:
    def read(value: Any, where: str) -> Any:
        if not is_array(value):
            raise ValueError(f"{where} must be an array")
        return tuple(of(member, f"{where}[{index}]") for index, member in enumerate(value))

    return read


def _object(kind: type[attrs.AttrsInstance], **readers: Reader) -> Reader:
    needed = [each.name for each in attrs.fields(kind) if each.default is attrs.NOTHING]

    def read(value: Any, where: str) -> Any:
        if not is_object(value):
            raise ValueError(f"{where} must be an object")
        for name in needed:
            if name not in value:
                raise ValueError(f"{where} needs {name}")
        if unknown := value.keys() - readers.keys():
            raise ValueError(f"{where} has no {min(unknown)}; it may have {', '.join(readers)}")
        members = {name: readers[name](value[name], f"{where}.{name}") for name in value}
        try:
            return kind(**members)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    return read


_TEXT: Final = _scalar(str)
_TEXTS: Final = _array(_TEXT)
_EVENT: Final = _object(Event, key=_TEXT, mode=_TEXT, enabled=_scalar(bool), duration=_scalar(int))
_GAME: Final = _object(
    Game, id=_TEXT, studio_id=_TEXT, currencies=_TEXTS, items=_TEXTS, events=_array(_EVENT)
)
_KEY: Final = _object(
    ApiKey, id=_TEXT, token=_TEXT, game_id=_TEXT, permission_set=_TEXT, environment=_TEXT
)
_ENDPOINT: Final = _object(Endpoint, url=_TEXT, secret=_TEXT, events=_TEXTS)
_read_world: Final = _object(
    World, games=_array(_GAME), keys=_array(_KEY), webhooks=_array(_ENDPOINT)
)

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
