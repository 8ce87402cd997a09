"""Helpers of the emulator's tests: a platform without sockets, and a clock to set."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any, Final
from uuid import UUID

import attrs
import jsonschema_rs

from kraty_admin.emulator._contract import load_contract
from kraty_admin.emulator._platform import Answer, Platform, Request
from kraty_admin.emulator._state import LedgerEntry, State
from kraty_admin.emulator._world import DEFAULT_WORLD

CONTRACT: Final[dict[str, Any]] = json.loads(
    (files("kraty_server_api") / "openapi.server.json").read_bytes()
)

SERVER_KEY, CLIENT_KEY, OTHER_GAME_KEY = (key.token for key in DEFAULT_WORLD.keys)

NOON = 1_780_920_000.0
"""2026-06-08T12:00:00Z"""


class StoppedClock:
    """A clock that stands still until it is advanced."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Ids:
    """A source of ids that counts."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> UUID:
        self.made += 1
        return UUID(int=self.made)


@attrs.frozen
class Reply:
    """An answer, parsed."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def data(self) -> Any:
        """Return the result of a call that succeeded."""
        assert self.status < 300, self.body
        return self.body["data"]

    @property
    def error(self) -> tuple[int, str]:
        """Return the status and the code of a call that was refused."""
        return self.status, self.body["error"]["code"]

    @property
    def fields(self) -> dict[str, str]:
        """Return the fields that failed validation, with their messages."""
        return {each["path"]: each["message"] for each in self.body["error"]["details"]["fields"]}


class Api:
    """Calls a platform as a client would, and checks what no answer may break.

    A success fits the contract's schema for it; a refusal fits the error schema and
    leaves every table as it was.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._listed = 0

    def get(self, path: str, *, key: str = SERVER_KEY, query: str = "") -> Reply:
        return self.send("GET", path, None, key=key, query=query)

    def post(self, path: str, body: Any = None, *, key: str = SERVER_KEY) -> Reply:
        return self.send("POST", path, body, key=key)

    def send(
        self, method: str, path: str, body: Any = None, *, key: str = SERVER_KEY, query: str = ""
    ) -> Reply:
        request = self.request(method, path, body, key=key, query=query)
        before = rows(self.platform.state)
        answer = self.platform.answer(request)
        assert_fits_contract(request, answer)
        if answer.status >= 300:
            assert before == rows(self.platform.state), "a refusal changed something"
        return Reply(answer.status, json.loads(answer.body), dict(answer.headers))

    def request(
        self, method: str, path: str, body: Any = None, *, key: str = SERVER_KEY, query: str = ""
    ) -> Request:
        """Return the request as it reaches the platform; bytes are sent as they are."""
        if body is None:
            body = b""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Request(
            method=method,
            path=b"/server/v1" + path.encode(),
            query=query,
            authorization=f"Bearer {key}",
            body=raw,
        )

    def balance(self, player: str, currency: str = "gold") -> int:
        """Return the balance that the profile shows; 0 for a player who is not known."""
        return self._held(player, "wallet", "economyKey", currency, "balance")

    def quantity(self, player: str, item: str = "health_potion") -> int:
        """Return the quantity that the profile shows; 0 for a player who is not known."""
        return self._held(player, "inventory", "itemKey", item, "quantity")

    def deltas(self, player: str | None = None) -> list[tuple[str, int]]:
        """Return the ledger of the first game, as keys and deltas."""
        return [(entry.key, entry.delta) for entry in self.entries(player)]

    def entries(self, player: str | None = None, game: str = "game_1") -> list[LedgerEntry]:
        """Return the ledger of a game, or of one of its players."""
        return self.platform.state.ledger.page(game, player, limit=-1)

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return every event that webhooks report, as name and data."""
        rows = self.platform.state.database.all("SELECT name, data FROM events ORDER BY number")
        return [(name, json.loads(data)) for name, data in rows]

    def new_events(self) -> list[str]:
        """Return the names of the events since the last call of this method."""
        names = [name for name, _ in self.events[self._listed :]]
        self._listed += len(names)
        return names

    def _held(self, player: str, section: str, key_field: str, key: str, field: str) -> int:
        reply = self.get(f"/players/{player}")
        if reply.status == 404:
            return 0
        held: dict[str, int] = {row[key_field]: row[field] for row in reply.data[section]}
        return held.get(key, 0)


def dump(state: State) -> str:
    """Return every row of every table, as SQL."""
    return "\n".join(state.database.connection.iterdump())


def rows(state: State) -> dict[str, list[Any]]:
    """Return every row of every table; several times faster than `dump`."""
    tables = state.database.all("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name: state.database.all(f'SELECT * FROM "{name}"') for (name,) in tables}


def assert_fits_contract(request: Request, answer: Answer) -> None:
    """Check that the contract describes this answer, with its status."""
    pointer = "#/components/schemas/ErrorResponse"
    if answer.status < 300:
        route, _ = load_contract().find(request.method, request.path)
        path = "/" + "/".join(route.template)
        response = CONTRACT["paths"][path][request.method.lower()]["responses"][str(answer.status)]
        pointer = response["content"]["application/json"]["schema"]["$ref"]
    validator(pointer).validate(json.loads(answer.body))


@functools.cache
def validator(pointer: str) -> jsonschema_rs.Draft202012Validator:
    """Return a validator for a schema of the contract as it is written."""
    return jsonschema_rs.Draft202012Validator(
        {"allOf": [{"$ref": pointer}], "components": CONTRACT["components"]}, validate_formats=True
    )
