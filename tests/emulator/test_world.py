"""Worlds that are read from a file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from kraty_admin.emulator import DEFAULT_WORLD, ApiKey, Emulator, Endpoint, Event, Game, World

DOCUMENT: dict[str, Any] = {
    "games": [
        {
            "id": "arena",
            "studio_id": "mine",
            "currencies": ["gold"],
            "items": ["sword"],
            "events": [{"key": "duel", "mode": "global", "enabled": False, "duration": 60}],
        },
        {"id": "chess"},
    ],
    "keys": [{"id": "key_9", "token": "prefix.hidden", "game_id": "arena", "environment": "live"}],
    "webhooks": [{"url": "http://localhost:1/", "secret": "hidden", "events": ["wallet.changed"]}],
}


def load(folder: Path, document: object) -> World:
    path = folder / "world.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return World.load(path)


def test_a_world_is_read(tmp_path: Path) -> None:
    """A world is read with its games, keys and endpoints, and defaults for what is left out."""
    duel = Event(key="duel", mode="global", enabled=False, duration=60)
    assert load(tmp_path, DOCUMENT) == World(
        games=(
            Game(
                id="arena",
                studio_id="mine",
                currencies=("gold",),
                items=("sword",),
                events=(duel,),
            ),
            Game(id="chess"),
        ),
        keys=(ApiKey(id="key_9", token="prefix.hidden", game_id="arena", environment="live"),),
        webhooks=(
            Endpoint(url="http://localhost:1/", secret="hidden", events=("wallet.changed",)),
        ),
    )


def test_it_is_lived_in(tmp_path: Path) -> None:
    """An emulator with a world of the user's accepts its key and knows its items."""
    with Emulator(world=load(tmp_path, DOCUMENT)) as kraty:
        client = kraty.client()
        assert client.health.ping().api_key.environment == "live"
        assert client.inventory.grant("a", "sword", quantity=1).quantity == 1


def change(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    """Return a function that sets the member at the end of the path."""

    def apply(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = to

    return apply


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        pytest.param(dict[str, Any].clear, "world.games: is missing", id="nothing"),
        pytest.param(change("games", to=[]), "needs a game and a key", id="no game"),
        pytest.param(
            change("games", to={}), "world.games: must be an array, not an object", id="no array"
        ),
        pytest.param(
            change("games", 1, to=3),
            "world.games[1]: must be an object, not a number",
            id="no object",
        ),
        pytest.param(
            change("gmes", to=[]), "world: has no member 'gmes'; it may have games", id="unknown"
        ),
        pytest.param(
            change("games", 0, "events", 0, "duration", to="60"),
            "world.games[0].events[0].duration: must be a whole number, not a string",
            id="no number",
        ),
        pytest.param(
            change("games", 0, "events", 0, "enabled", to=1),
            "world.games[0].events[0].enabled: must be a boolean, not a number",
            id="no truth",
        ),
        pytest.param(
            change("games", 0, "currencies", 0, to=None),
            "world.games[0].currencies[0]: must be a string, not null",
            id="no name",
        ),
        pytest.param(
            change("games", 0, "events", 0, to={}),
            "world.games[0].events[0].key: is missing",
            id="no key",
        ),
        pytest.param(
            change("keys", 0, "environment", to="moon"),
            "world.keys[0]: environment must be one of live, test, not 'moon'",
            id="no such environment",
        ),
        pytest.param(
            change("games", 0, "events", 0, "duration", to=-1),
            "world.games[0].events[0]: duration must be from 1",
            id="negative duration",
        ),
        pytest.param(
            change("games", 0, "events", 0, "duration", to=10**17),
            "world.games[0].events[0]: duration must be from 1",
            id="endless duration",
        ),
        pytest.param(change("games", 1, "id", to=""), "id must not be empty", id="empty id"),
        pytest.param(change("games", 1, "id", to="\ud800"), "surrogate", id="surrogate"),
        pytest.param(change("games", 1, "id", to="arena"), "two games", id="one game twice"),
        pytest.param(change("keys", 0, "token", to=""), "token must be", id="empty token"),
        pytest.param(
            change("keys", to=[DOCUMENT["keys"][0], {**DOCUMENT["keys"][0], "id": "key_8"}]),
            "two keys with the same token",
            id="one token twice",
        ),
        pytest.param(change("keys", 0, "game_id", to="go"), "no such game: go", id="no such game"),
        pytest.param(
            change("webhooks", 0, "url", to="http://a.b"),
            "world.webhooks[0]: webhooks are delivered only to http(s) URLs on this machine",
            id="endpoint",
        ),
    ],
)
def test_what_is_no_world(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None], why: str
) -> None:
    """A wrong world is refused with the place of the mistake, and no key or secret is shown."""
    document = copy.deepcopy(DOCUMENT)
    damage(document)
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # what it says is checked below
        load(tmp_path, document)
    assert why in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_what_is_no_json(tmp_path: Path) -> None:
    """A file that is missing or is not a JSON object cannot be a world."""
    path = tmp_path / "world.json"
    with pytest.raises(FileNotFoundError):
        World.load(path)
    path.write_text("{")
    for text in ("{", "", "[" * 200_000, '{"games": [], "games": []}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"world\.json: "):
            World.load(path)
    with pytest.raises(ValueError, match=r"world\.json: world: must be an object"):
        load(tmp_path, [])


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(
            lambda: Endpoint(url=cast("Any", 5), secret="s"),
            "url must be of type str, not int",
            id="no text",
        ),
        pytest.param(
            lambda: Event(key="duel", duration=cast("Any", True)),
            "duration must be of type int, not bool",
            id="a bool for a number",
        ),
        pytest.param(
            lambda: Game(id="g", currencies=cast("Any", ["gold", 5])),
            r"currencies\[1\] must be of type str, not int",
            id="no text in a list",
        ),
        pytest.param(
            lambda: Game(id="g", currencies="gold"),
            "currencies must be of type list or tuple, not str",
            id="one text for a list",
        ),
    ],
)
def test_a_world_of_the_wrong_types(make: Callable[[], object], why: str) -> None:
    """Objects of a program are checked like a file, at once."""
    with pytest.raises(TypeError, match=f"^{why}"):
        make()


def test_a_game_that_does_not_exist() -> None:
    """The id of a game that does not exist is a KeyError."""
    assert "game_1" == DEFAULT_WORLD.game("game_1").id
    with pytest.raises(KeyError, match="chess"):
        DEFAULT_WORLD.game("chess")
