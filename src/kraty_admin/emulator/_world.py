"""What exists before the first call: games with their catalogs, API keys, endpoints.

The real platform keeps these behind its portal, out of reach of a server key, so
here they are plain values, fixed for the life of an emulator.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast
from urllib.parse import urlsplit

import attrs

from kraty_admin._settings import is_loopback
from kraty_server_api.decoding import is_array, is_object

__all__ = ["DEFAULT_WORLD", "ApiKey", "Endpoint", "Event", "Game", "World"]

T = TypeVar("T")


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
class Endpoint:
    """Where webhooks are delivered to.

    Raises:
        ValueError: The URL is not on this machine, or the secret is empty.
    """

    url: str
    """An `http` or `https` URL on this machine."""
    secret: str = attrs.field(repr=False)
    """What deliveries are signed with."""
    events: Sequence[str] | None = None
    """The names of the events that it is told of; `None` for all."""

    def __attrs_post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not is_loopback(parts.hostname or ""):
            raise ValueError(
                f"webhooks are delivered to http(s) URLs on this machine only, not to {self.url!r}"
            )
        if not self.secret.strip():
            raise ValueError("the secret of an endpoint must not be empty")


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

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> World:
        """Read a world from a JSON file, the members of which are called as here.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not JSON, or not a world; the message says where.
        """
        return _read(cls, json.loads(Path(path).read_bytes()), "world")


_PARTS: Final[Mapping[tuple[type, str], type]] = {
    (World, "games"): Game,
    (World, "keys"): ApiKey,
    (World, "webhooks"): Endpoint,
    (Game, "events"): Event,
}
"""What the arrays of objects hold; the others hold strings."""

_SCALARS: Final[Mapping[str, type]] = {"int": int, "bool": bool}
"""The members that are no strings and no arrays, by how they are annotated."""


def _read(kind: type[T], value: Any, where: str) -> T:
    """One of these from its JSON."""
    if not is_object(value):
        raise ValueError(f"{where} must be an object")
    fields = attrs.fields_dict(cast("type[attrs.AttrsInstance]", kind))
    if unknown := value.keys() - fields.keys():
        raise ValueError(f"{where} has no {min(unknown)}; it may have {', '.join(fields)}")
    for name, field in fields.items():
        if field.default is attrs.NOTHING and name not in value:
            raise ValueError(f"{where} needs {name}")
    read = {
        name: _read_member(kind, name, str(fields[name].type), member, f"{where}.{name}")
        for name, member in value.items()
    }
    try:
        return kind(**read)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _read_member(kind: type, name: str, annotation: str, value: Any, where: str) -> Any:
    if "Sequence" not in annotation:
        return _read_scalar(_SCALARS.get(annotation, str), value, where)
    if not is_array(value):
        raise ValueError(f"{where} must be an array")
    part = _PARTS.get((kind, name))
    return tuple(
        _read_scalar(str, member, f"{where}[{index}]")
        if part is None
        else _read(part, member, f"{where}[{index}]")
        for index, member in enumerate(value)
    )


def _read_scalar(kind: type, value: Any, where: str) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{where} must be of type {kind.__name__}, not {type(value).__name__}")
    return value


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
