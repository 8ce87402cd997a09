"""A call that the server has carried out does not fail, whatever the answer holds."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import httpx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from contract import OPERATIONS, SCHEMAS, arguments, operation_of, resolved, sample
from kraty_admin import (
    KratyAdmin,
    KratyError,
    KratyResponseError,
    construct_event,
    sign_webhook,
)
from kraty_server_api import models
from kraty_server_api.decoding import is_array, is_object
from kraty_server_api.lifetimes import KEY_LIFETIMES
from kraty_server_api.model import Model, ResponseInfo
from kraty_server_api.operations import NAMES
from loopback import ASYNC, ONCE, SYNC

# --- The answers: each with every field that the contract knows, and none of them null.

GRANT: Final[dict[str, Any]] = {
    "id": "grt_7Q2",
    "kind": "crate",
    "contents": {
        "entries": [
            {"type": "currency", "currencyKey": "gold", "amount": 9007199254740991},
            {
                "type": "item",
                "itemKey": "starter_chest",
                "quantity": 1,
                "parameters": {"rolled": {"atk": 4, "crit": 0.125}},
            },
            {"type": "crate", "crateItemKey": "legendary_box", "quantity": 2},
        ]
    },
    "sourceKind": "api",
    "sourceRefId": "apple_receipt_abc",
    "parentGrantId": "grt_7Q1",
    "status": "claimed",
    "rolledAt": "2026-06-08T12:01:00.000Z",
    "claimedAt": "2026-06-08T12:05:00.250Z",
    "expiresAt": "2026-07-08T12:00:00.000Z",
    "createdAt": "2026-06-08T12:00:00.000Z",
    "ackedBy": "server_api",
}
ITEM_ADJUSTMENT: Final[dict[str, Any]] = {
    "itemKey": "health_potion",
    "quantity": 10,
    "applied": True,
}
WALLET_ADJUSTMENT: Final[dict[str, Any]] = {"economyKey": "gold", "balance": 500, "applied": True}
LOBBY: Final[dict[str, Any]] = {
    "id": "lob_9",
    "eventId": "evt_quick_brawl",
    "eventWindowId": "win_1",
    "leaderboardId": "ldb_1",
    "mode": "lobby_matched",
    "status": "active",
    "capacity": 4,
    "fillBy": "2026-06-08T12:10:00.000Z",
    "participantCount": 3,
    "botSlots": 0,
    "startedAt": "2026-06-08T12:00:00.000Z",
    "endsAt": "2026-06-08T13:00:00.000Z",
}
LOBBY_MEMBERSHIP: Final[dict[str, Any]] = {
    "id": "lob_9",
    "eventId": "evt_quick_brawl",
    "status": "closed",
    "createdAt": "2026-06-08",
}
PROFILE: Final[dict[str, Any]] = {
    "player": {
        "id": "ply_1",
        "externalPlayerId": "Zoë/🎮",
        "studioId": "studio_1",
        "gameId": "game_1",
        "createdAt": "2026-01-01",
        "updatedAt": "2026-06-08T12:00:00.000Z",
    },
    "inventory": [
        {
            "itemKey": "starter_chest",
            "quantity": 1,
            "metadata": {"rolled": {"atk": 4}},
            "createdAt": "2026-06-08T12:00:00.000Z",
            "updatedAt": "2026-06-08T12:00:00.000Z",
        }
    ],
    "wallet": [
        {
            "economyKey": "gold",
            "balance": 500,
            "metadata": {},
            "createdAt": "2026-06-08T12:00:00.000Z",
            "updatedAt": "2026-06-08T12:00:00.000Z",
        }
    ],
    "recentGrants": [GRANT],
    "recentAttempts": [{"id": "att_1", "score": 12.5}],
    "lobbies": [LOBBY_MEMBERSHIP],
    "summary": {"grants": 1, "lobbies": 1},
}
DELETION: Final[dict[str, Any]] = {
    "playerId": "ply_1",
    "externalPlayerId": "player_42",
    "anonymizedExternalId": "__deleted_6fa459ea-ee8a-4ca4-894e-db77e160355e__",
    "deletedAt": "2026-06-08T12:00:00.000Z",
    "attemptsAnonymized": 3,
    "lobbiesAnonymized": 1,
    "leaderboardsScrubbed": 1,
    "status": "erased",
}
EXPORT: Final[dict[str, Any]] = {
    "schemaVersion": 1,
    "exportedAt": "2026-06-08T12:00:00.000Z",
    "player": {
        "id": "ply_1",
        "externalPlayerId": "player_42",
        "studioId": "studio_1",
        "gameId": "game_1",
        "firstSeenAt": "2026-01-01",
        "lastSeenAt": "2026-06-08T12:00:00.000Z",
        "lastContextSnapshot": {"country": "PT"},
        "registeredAt": "2026-01-02T08:00:00.000Z",
        "secretRotatedAt": "2026-02-01T08:00:00.000Z",
        "deletedAt": "2026-06-08T12:30:00.000Z",
    },
    "attempts": [{"id": "att_1", "score": 12.5}],
    "grants": [GRANT],
    "inventory": [{"itemKey": "starter_chest", "quantity": 1}],
    "wallet": [{"economyKey": "gold", "balance": 500}],
    "lobbies": [LOBBY_MEMBERSHIP],
}
BAN: Final[dict[str, Any]] = {
    "playerId": "ply_1",
    "externalPlayerId": "player_42",
    "bannedAt": "2026-06-08T12:00:00.000Z",
    "reason": "score anomaly",
    "applied": True,
}
UNBAN: Final[dict[str, Any]] = {
    "playerId": "ply_1",
    "externalPlayerId": "player_42",
    "unbannedAt": "2026-06-08T12:00:00.000Z",
    "applied": True,
}
MERGE: Final[dict[str, Any]] = {
    "fromPlayerId": "ply_2",
    "fromExternalPlayerId": "guest_7",
    "toPlayerId": "ply_1",
    "toExternalPlayerId": "player_42",
    "anonymizedExternalPlayerId": "__merged_1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed__",
    "counts": {
        "attemptsReassigned": 3,
        "grantsReassigned": 1,
        "itemsMerged": 1,
        "itemLedgerRowsMoved": 1,
        "walletsMerged": 1,
        "walletLedgerRowsMoved": 2,
        "lobbiesTouched": 0,
        "leaderboardsScrubbed": 0,
    },
    "mergedAt": "2026-06-08T12:00:00.000Z",
    "status": "merged",
}
OUTCOME: Final[dict[str, Any]] = {
    "applied": 2,
    "skipped": 0,
    "failed": 1,
    "failures": [
        {
            "rowIndex": 2,
            "externalPlayerId": "p_9",
            "error": {"code": "validation_failed", "message": "idempotencyKey is missing"},
        }
    ],
}
PING: Final[dict[str, Any]] = {
    "ok": True,
    "apiKey": {
        "id": "key_1",
        "prefix": "krt_live_a1b2",
        "permissionSet": "server_integration",
        "environment": "live",
        "studioId": "studio_1",
        "gameId": "game_1",
    },
}
EVENT: Final[dict[str, Any]] = {
    "id": "evt_1",
    "eventName": "grant.created",
    "studioId": "studio_1",
    "gameId": "game_1",
    "occurredAt": "2026-06-08T12:00:00.000Z",
    "deliveryAttempt": 1,
    "data": {"grantId": "grt_7Q2"},
}

# --- How to ask for them.

Get = Callable[[Any], Any]


@attrs.frozen
class Method:
    """An operation of a client, called with arguments that fit."""

    name: str
    call: Get
    answer: dict[str, Any] = attrs.field(repr=False)
    is_enveloped: bool = True
    unwraps: bool = False
    """Whether the result is the one list in the answer."""

    def body(self, data: object) -> bytes:
        return json.dumps({"data": data} if self.is_enveloped else data).encode()


def schema_of_answer(operation_id: str) -> dict[str, Any]:
    """Return the contract's schema of an operation's result."""
    responses = OPERATIONS[operation_id]["responses"]
    response = next(each for status, each in responses.items() if status.startswith("2"))
    envelope = resolved(response["content"]["application/json"]["schema"])
    return resolved(envelope["properties"]["data"])


def derived(operation_id: str, name: str) -> Method:
    """Return a method that `METHODS` lacks, with a full answer derived from the contract."""
    with KratyAdmin(api_key="a.b") as kraty:
        method = operation_of(kraty, name)
    values = arguments(operation_id, method)
    return Method(
        name,
        lambda kraty: operation_of(kraty, name)(**values),
        sample(schema_of_answer(operation_id)),
        unwraps=str(inspect.signature(method).return_annotation).startswith("list["),
    )


ENTRIES: Final[list[dict[str, Any]]] = [{"type": "currency", "currencyKey": "gold", "amount": 1}]
METHODS: dict[str, Method] = {
    method.name: method
    for method in [
        Method(
            "grants.create",
            lambda kraty: kraty.grants.create("p", idempotency_key="k", entries=ENTRIES),
            GRANT,
        ),
        Method("grants.ack", lambda kraty: kraty.grants.ack("p", "g"), GRANT),
        Method(
            "inventory.grant",
            lambda kraty: kraty.inventory.grant("p", "i", quantity=1),
            ITEM_ADJUSTMENT,
        ),
        Method(
            "inventory.revoke",
            lambda kraty: kraty.inventory.revoke("p", "i", quantity=1),
            ITEM_ADJUSTMENT,
        ),
        Method(
            "wallet.credit",
            lambda kraty: kraty.wallet.credit("p", "gold", amount=1),
            WALLET_ADJUSTMENT,
        ),
        Method(
            "wallet.debit",
            lambda kraty: kraty.wallet.debit("p", "gold", amount=1),
            WALLET_ADJUSTMENT,
        ),
        Method(
            "lobbies.push",
            lambda kraty: kraty.lobbies.push("g", "e", key="k", external_player_ids=["p"]),
            LOBBY,
        ),
        Method("lobbies.read", lambda kraty: kraty.lobbies.read("g", "l"), LOBBY),
        Method("players.get", lambda kraty: kraty.players.get("p"), PROFILE),
        Method("players.delete", lambda kraty: kraty.players.delete("p"), DELETION),
        Method("players.export", lambda kraty: kraty.players.export("p"), EXPORT),
        Method("players.ban", lambda kraty: kraty.players.ban("p", reason="r"), BAN),
        Method("players.unban", lambda kraty: kraty.players.unban("p"), UNBAN),
        Method("players.merge", lambda kraty: kraty.players.merge("a", "b"), MERGE),
        Method("migrate.players", lambda kraty: kraty.migrate.players([]), OUTCOME),
        Method("migrate.wallet", lambda kraty: kraty.migrate.wallet([]), OUTCOME),
        Method("migrate.inventory", lambda kraty: kraty.migrate.inventory([]), OUTCOME),
        Method("health.ping", lambda kraty: kraty.health.ping(), PING, is_enveloped=False),
    ]
}
for operation_id, name in NAMES.items():
    if name not in METHODS:
        METHODS[name] = derived(operation_id, name)
EACH_METHOD: Final = [
    pytest.param(method, id=name) for name, method in METHODS.items() if not method.unwraps
]


class Answers:
    """A client of each kind that gets the test's answer without a network."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b""
        self._http = SYNC.mocked(self._answer)
        self._kraty = SYNC.client(http_client=self._http, retry=ONCE)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, content=self.body, headers={"X-Request-Id": "req_1"})

    def call(self, method: Method, data: object, status: int = 200) -> Any:
        """Return the result of a call with this answer."""
        return self.call_raw(method, method.body(data), status)

    def call_raw(self, method: Method, body: bytes, status: int = 200) -> Any:
        """Return the result of a call whose answer has this body."""
        self.status, self.body = status, body
        return method.call(self._kraty)

    def call_async(self, method: Method, data: object, status: int = 200) -> Any:
        """Return the result of the same call, awaited."""
        self.status, self.body = status, method.body(data)
        return ASYNC.run(method.call, http_client=ASYNC.mocked(self._answer), retry=ONCE)

    def close(self) -> None:
        self._kraty.close()
        self._http.close()


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    """Yield clients that get the answers of these tests."""
    answers = Answers()
    yield answers
    answers.close()


# --- The models, and where in which answer each of them is found.

Path_ = tuple[str | int, ...]


@attrs.frozen
class Place:
    """A place where an answer holds a model; without a method, the answer is a webhook."""

    method: Method | None
    path: Path_ = ()

    def answer(self) -> dict[str, Any]:
        """Return a fresh copy of the full answer."""
        return copy.deepcopy(EVENT if self.method is None else self.method.answer)

    def shown(self, answer: dict[str, Any]) -> Any:
        """Return the part of an answer that is the result."""
        unwraps = self.method is not None and self.method.unwraps
        return answer[str(self.path[0])] if unwraps else answer

    def fetch(self, answers: Answers, answer: dict[str, Any]) -> Any:
        """Return the result of this answer."""
        if self.method is not None:
            return answers.call(self.method, answer)
        body = json.dumps(answer)
        now = datetime(2026, 6, 8, 12, tzinfo=timezone.utc)
        header = sign_webhook(raw_body=body, secret="whsec_a", timestamp=now)
        return construct_event(raw_body=body, signature_header=header, secret="whsec_a", now=now)

    def wire(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the model's part of an answer, found by keys."""
        part: Any = answer
        for step in self.path:
            part = part[step]
        assert is_object(part)
        return part

    def read(self, result: Any) -> Any:
        """Return the model's part of a result, found by properties."""
        unwraps = self.method is not None and self.method.unwraps
        for step in self.path[1:] if unwraps else self.path:
            result = result[step] if isinstance(step, int) else read(result, step)
        return result


PLACES: dict[str, Place] = {
    "ApiKey": Place(METHODS["health.ping"], ("apiKey",)),
    "ServerPingResponse": Place(METHODS["health.ping"]),
    "CurrencyRewardEntry": Place(METHODS["grants.create"], ("contents", "entries", 0)),
    "ItemRewardEntry": Place(METHODS["grants.create"], ("contents", "entries", 1)),
    "CrateRewardEntry": Place(METHODS["grants.create"], ("contents", "entries", 2)),
    "GrantContents": Place(METHODS["grants.ack"], ("contents",)),
    "Grant": Place(METHODS["grants.create"]),
    "ItemAdjustment": Place(METHODS["inventory.grant"]),
    "WalletAdjustment": Place(METHODS["wallet.credit"]),
    "Lobby": Place(METHODS["lobbies.push"]),
    "Player": Place(METHODS["players.get"], ("player",)),
    "ItemHolding": Place(METHODS["players.get"], ("inventory", 0)),
    "WalletHolding": Place(METHODS["players.get"], ("wallet", 0)),
    "LobbyMembership": Place(METHODS["players.get"], ("lobbies", 0)),
    "PlayerProfile": Place(METHODS["players.get"]),
    "PlayerBan": Place(METHODS["players.ban"]),
    "PlayerUnban": Place(METHODS["players.unban"]),
    "MergeCounts": Place(METHODS["players.merge"], ("counts",)),
    "PlayerMerge": Place(METHODS["players.merge"]),
    "PlayerDeletion": Place(METHODS["players.delete"]),
    "ExportedPlayer": Place(METHODS["players.export"], ("player",)),
    "PlayerExport": Place(METHODS["players.export"]),
    "MigrateError": Place(METHODS["migrate.wallet"], ("failures", 0, "error")),
    "MigrateFailure": Place(METHODS["migrate.players"], ("failures", 0)),
    "MigrateOutcome": Place(METHODS["migrate.inventory"]),
    "WebhookEvent": Place(None),
}


def places(schema: dict[str, Any], path: Path_) -> Iterator[tuple[str, Path_]]:
    """Yield every model in an answer, with the way to it."""
    if "anyOf" in schema:
        schema = next(each for each in schema["anyOf"] if each.get("type") != "null")
    name = schema.get("$ref", "").rpartition("/")[2]
    schema = resolved(schema)
    if schema.get("type") == "array":
        yield from places(schema["items"], (*path, 0))
    if "properties" in schema:
        yield name, path
        for key, member in schema["properties"].items():
            if "oneOf" not in resolved(member):
                yield from places(member, (*path, key))


UNWRAPPED: Final = set[str]()
"""The models that stand around a list: no method returns them."""
for operation_id, name in NAMES.items():
    if METHODS[name].is_enveloped:
        data = OPERATIONS[operation_id]["responses"]
        whole = next(each for status, each in data.items() if status.startswith("2"))
        envelope = resolved(whole["content"]["application/json"]["schema"])
        for model, path in places(envelope["properties"]["data"], ()):
            if METHODS[name].unwraps and not path:
                UNWRAPPED.add(model)
            else:
                PLACES.setdefault(model, Place(METHODS[name], path))
EACH_MODEL: Final = [pytest.param(name, id=name) for name in PLACES]
TAGGED: Final = {"CurrencyRewardEntry", "ItemRewardEntry", "CrateRewardEntry"}


def class_of(name: str) -> type[Model]:
    """Return the model of this name."""
    model: type[Model] = getattr(models, name)
    return model


def property_of(key: str) -> str:
    """Return the name of the property that shows a wire key."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), key)


def read(model: Any, key: str) -> Any:
    """Return the value of the property that shows a wire key."""
    return getattr(model, property_of(key))


def schema_of(name: str, key: str) -> dict[str, Any]:
    """Return the contract's schema of a field."""
    schema = SCHEMAS[name]["properties"][key]
    choices = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    return resolved(choices[0])


def kind_of(name: str, key: str) -> str:
    """Return the format of a field, such as `date-time`, or its JSON type."""
    schema = schema_of(name, key)
    kinds = schema["type"]
    return str(schema.get("format", kinds[0] if is_array(kinds) else kinds))


def is_optional(name: str, key: str) -> bool:
    """Return whether the contract lets a field be absent or null."""
    choices = SCHEMAS[name]["properties"][key].get("anyOf", [])
    return (
        any(each.get("type") == "null" for each in choices)
        or "null" in schema_of(name, key)["type"]
        or key not in SCHEMAS[name].get("required", [])
    )


@cache
def hint_of(name: str, key: str) -> Any:
    """Return the type that a field's property is annotated with."""
    attribute = getattr(class_of(name), property_of(key))
    assert isinstance(attribute, property)
    assert attribute.fget is not None
    return get_type_hints(attribute.fget)["return"]


def fits(value: object, hint: Any) -> bool:
    """Return whether a value has an annotated type, at every depth."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return is_array(value) and all(fits(item, arguments[0]) for item in value)
    if origin is dict:
        return is_object(value) and all(
            fits(key, arguments[0]) and fits(item, arguments[1]) for key, item in value.items()
        )
    if hint is datetime:
        return isinstance(value, datetime) and value.utcoffset() is not None
    if hint is float:
        return type(value) in (int, float)
    if hint in (str, int, bool, NoneType):
        return type(value) is hint
    assert isinstance(hint, type)
    assert issubclass(hint, Model)
    return isinstance(value, hint)


FIELDS: Final = [
    (name, key) for name, place in PLACES.items() for key in place.wire(place.answer())
]


def keys_of(name: str) -> list[str]:
    """Return the keys of a model's fields."""
    return [key for model, key in FIELDS if model == name]


T = TypeVar("T")


def failures(cases: Iterable[T], check: Callable[[T], None]) -> list[str]:
    """Check every case; return a line for each case that failed, with the reason.

    One parametrized test per case would cost more to collect than to run.
    """
    found: list[str] = []
    for case in cases:
        try:
            check(case)
        except (Exception, pytest.fail.Exception) as error:
            found.append(f"{case}: {type(error).__name__}: {error}")
    return found


def test_every_model_and_every_field_is_looked_at() -> None:
    """These tests cover all models, and each model has exactly the fields of the contract."""
    public = {
        name
        for name, value in vars(models).items()
        if isinstance(value, type) and issubclass(value, Model) and value is not Model
    }

    assert public == PLACES.keys() | UNWRAPPED
    assert PLACES.keys().isdisjoint(UNWRAPPED)
    for name in PLACES:
        properties = {
            attribute
            for attribute, value in vars(class_of(name)).items()
            if isinstance(value, property)
        }
        assert set(keys_of(name)) == SCHEMAS[name]["properties"].keys()
        assert properties == {property_of(key) for key in keys_of(name)}


def test_every_method_is_called() -> None:
    """These tests call a method for each operation of the contract."""
    assert OPERATIONS.keys() == NAMES.keys()
    assert set(NAMES.values()) == METHODS.keys()


@pytest.mark.parametrize("name", EACH_MODEL)
def test_a_field_has_the_annotated_type(answers: Answers, name: str) -> None:
    """Each property of a full answer returns a value of its annotated type."""
    place = PLACES[name]
    model = place.read(place.fetch(answers, place.answer()))

    def check(key: str) -> None:
        assert fits(read(model, key), hint_of(name, key))

    assert class_of(name) is type(model)
    assert [] == failures(keys_of(name), check)


@pytest.mark.parametrize("name", EACH_MODEL)
def test_an_annotation_says_what_the_contract_says(name: str) -> None:
    """A property's annotation allows `None` and lists values exactly as the contract does."""

    def check(key: str) -> None:
        hint = hint_of(name, key)
        parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        literals = {
            value for part in parts if get_origin(part) is Literal for value in get_args(part)
        }
        assert is_optional(name, key) is (NoneType in parts)
        assert set(schema_of(name, key).get("enum", [])) == literals
        assert not literals or str in parts

    assert [] == failures(keys_of(name), check)


@pytest.mark.parametrize("name", EACH_MODEL)
def test_a_field_shows_the_wire_value(answers: Answers, name: str) -> None:
    """A property returns the wire's value, or its moment if it is a date."""
    place = PLACES[name]
    answer = place.answer()
    model = place.read(place.fetch(answers, answer))

    def check(key: str) -> None:
        value, expected = read(model, key), place.wire(answer)[key]
        if kind_of(name, key) == "date-time":
            has_time = "T" in expected
            text = expected.replace("Z", "+00:00") if has_time else f"{expected}T00:00:00+00:00"
            assert datetime.fromisoformat(text) == value
        else:
            assert expected == value

    assert [] == failures(keys_of(name), check)


# --- Answers that are not as the contract says.

ABSENT: Final = object()
WRONG: Final[dict[str, list[Any]]] = {
    "string": [7, 1.5, True, [], {}],
    "date-time": ["soon", "", "2026-13-45T99:99:99Z", "2026-06-08T12:00:00+99:99", 7, True, [], {}],
    "integer": ["7", 1.5, True, [], {}],
    "boolean": ["true", 0, [], {}],
    "object": ["text", 7, True, [], [{}]],
    "number": ["12.5", True, {}, []],
    "array": ["text", 7, {}, {"0": {}}, [None], [7, "x"], [[]], [{}], [{"type": 7}]],
}


@attrs.frozen
class Damage:
    """A change of one field to what the contract does not say."""

    name: str
    key: str
    what: str
    value: Any

    def __str__(self) -> str:
        value = f" {json.dumps(self.value)}" if self.what in ("wrong", "unknown") else ""
        return f"{self.name}.{self.key} {self.what}{value}"

    def inflict(self, wire: dict[str, Any]) -> None:
        if self.what == "extra":
            wire[f"{self.key}New"] = self.value
        elif self.value is ABSENT:
            del wire[self.key]
        else:
            wire[self.key] = copy.deepcopy(self.value)

    def check(self, model: Any) -> None:
        """Check that the property shows the damaged value, or says what is wrong with it."""
        where = f"{self.name}: {self.key!r}"
        if self.what == "extra":
            assert self.value == model[f"{self.key}New"]
            assert fits(read(model, self.key), hint_of(self.name, self.key))
        elif self.value is None or self.value is ABSENT:
            if is_optional(self.name, self.key):
                assert read(model, self.key) is None
                return
            problem = "is missing" if self.value is ABSENT else "is null"
            with pytest.raises(AttributeError, match=f"^{re.escape(where)} {problem}"):
                read(model, self.key)
            assert not hasattr(model, property_of(self.key))
        elif self.what == "wrong" and kind_of(self.name, self.key) == "date-time":
            with pytest.raises(ValueError, match=f"^{re.escape(where)}: "):
                read(model, self.key)
        else:
            assert self.value == read(model, self.key)


def damages() -> Iterator[Damage]:
    """Yield every damage to each field."""
    for name, key in FIELDS:
        yield Damage(name, key, "missing", ABSENT)
        yield Damage(name, key, "null", None)
        yield Damage(name, key, "extra", {"is": ["new"]})
        for value in WRONG[kind_of(name, key)]:
            yield Damage(name, key, "wrong", value)
        if kind_of(name, key) == "string":
            yield Damage(name, key, "unknown", "brand_new")
            yield Damage(name, key, "unknown", "")


DAMAGES: Final = list(damages())
EACH_KIND_OF_DAMAGE: Final = [
    pytest.param(name, what, id=f"{name} {what}")
    for name, what in dict.fromkeys((damage.name, damage.what) for damage in DAMAGES)
]


def test_every_field_is_damaged_in_every_way() -> None:
    """Each field is tested missing, null, with a new neighbour and with the wrong type."""
    by_way = {
        way: {(damage.name, damage.key) for damage in DAMAGES if damage.what == way}
        for way in ("missing", "null", "extra", "wrong")
    }

    assert 1386 <= len(DAMAGES)
    assert all(set(FIELDS) == fields for fields in by_way.values())


def survives(damage: Damage, fetch: Callable[[Place, dict[str, Any]], Any]) -> None:
    """Check that the call succeeds and loses nothing, and only the damaged field is unreadable."""
    place = PLACES[damage.name]
    answer = place.answer()
    damage.inflict(place.wire(answer))

    result = fetch(place, answer)

    assert place.shown(answer) == result
    assert place.shown(answer) == json.loads(json.dumps(result))
    model = place.read(result)
    if damage.name in TAGGED and damage.key == "type" and damage.what != "extra":
        # Without the tag the model is unknown.
        assert dict is type(model)
        model = class_of(damage.name)(model)
    assert class_of(damage.name) is type(model)
    damage.check(model)
    for name, key in FIELDS:
        if name == damage.name and key != damage.key:
            assert fits(read(model, key), hint_of(name, key)), key
    # Reading has changed nothing either.
    assert place.shown(answer) == result
    assert place.shown(answer) == json.loads(json.dumps(result))


@pytest.mark.parametrize(("name", "what"), EACH_KIND_OF_DAMAGE)
def test_a_damaged_field_never_fails_a_call(answers: Answers, name: str, what: str) -> None:
    """A call with a damaged field in its answer succeeds; only reading that field may fail."""

    def check(damage: Damage) -> None:
        survives(damage, lambda place, answer: place.fetch(answers, answer))

    inflicted = [damage for damage in DAMAGES if (name, what) == (damage.name, damage.what)]
    assert [] == failures(inflicted, check)


def test_a_damaged_field_never_fails_an_awaited_call(answers: Answers) -> None:
    """An awaited call with a damaged field in its answer succeeds too."""

    def fetch(place: Place, answer: dict[str, Any]) -> Any:
        if place.method is None:
            return place.fetch(answers, answer)
        return answers.call_async(place.method, answer)

    assert [] == failures(DAMAGES[:: len(DAMAGES) // 40], lambda damage: survives(damage, fetch))


@pytest.mark.parametrize("method", EACH_METHOD)
@pytest.mark.parametrize(
    "is_async", [pytest.param(False, id="sync"), pytest.param(True, id="async")]
)
def test_an_empty_object_is_a_result(answers: Answers, method: Method, is_async: bool) -> None:
    """A call whose answer lacks every field succeeds; each property says what is missing."""
    result = (answers.call_async if is_async else answers.call)(method, {})

    assert {} == result
    assert 200 == result.http.status
    name = type(result).__name__
    for key in SCHEMAS[name]["properties"]:
        if is_optional(name, key):
            assert read(result, key) is None
        else:
            with pytest.raises(AttributeError, match=f"^{name}: '{key}' is missing"):
                read(result, key)


def examples() -> Iterator[Any]:
    """Yield the contract's own examples of successful answers, each with its method."""
    for identifier, name in NAMES.items():
        method = METHODS[name]
        if method.unwraps:
            continue
        for status, response in OPERATIONS[identifier]["responses"].items():
            if status.startswith("2"):
                example = response["content"]["application/json"]["example"]
                yield pytest.param(method, int(status), example, id=f"{identifier} {status}")


@pytest.mark.parametrize(("method", "status", "example"), list(examples()))
def test_the_contracts_examples_read_well(
    answers: Answers, method: Method, status: int, example: dict[str, Any]
) -> None:
    """Every property of each of the contract's examples has a value of its annotated type."""
    expected = example["data"] if method.is_enveloped else example

    result = answers.call(method, expected, status)

    assert expected == result
    for key in SCHEMAS[type(result).__name__]["properties"]:
        assert fits(read(result, key), hint_of(type(result).__name__, key))


@pytest.mark.parametrize(
    "method", [pytest.param(each, id=each.name) for each in METHODS.values() if each.unwraps]
)
def test_a_list_is_returned_without_its_envelope(answers: Answers, method: Method) -> None:
    """A method that returns a list leaves out the envelope, and each object is a model."""
    (items,) = method.answer.values()

    for result in (answers.call(method, method.answer), answers.call_async(method, method.answer)):
        assert items == result
        assert all(isinstance(each, Model) for each in result)


# --- Dates.

FRACTIONS: Final = ["", *(f".{'123456789012'[:width]}" for width in range(1, 13))]
ZONES: Final = {
    "Z": 0,
    "z": 0,
    "+00:00": 0,
    "-00:00": 0,
    "+02:00": 120,
    "-05:30": -330,
    "+05:45": 345,
    "+14:00": 840,
    "-12:00": -720,
    "+23:59": 1439,
}


@pytest.mark.parametrize("zone", [pytest.param(zone, id=zone) for zone in ZONES])
def test_a_time_of_any_width_and_zone_is_an_aware_datetime(zone: str) -> None:
    """A time is read with its offset, to the microsecond, whatever its number of digits."""
    tz = timezone(timedelta(minutes=ZONES[zone]))

    def check(fraction: str) -> None:
        expected = datetime(2026, 6, 8, 12, 34, 56, int(fraction[1:7].ljust(6, "0")), tz)
        moment = models.Player({"createdAt": f"2026-06-08T12:34:56{fraction}{zone}"}).created_at
        assert expected == moment
        assert expected.utcoffset() == moment.utcoffset()
        assert expected == pickle.loads(pickle.dumps(moment))

    assert [] == failures(FRACTIONS, check)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-01-01", datetime(2026, 1, 1, tzinfo=timezone.utc), id="date only"),
        pytest.param("2024-02-29", datetime(2024, 2, 29, tzinfo=timezone.utc), id="leap day"),
        pytest.param("0001-01-01", datetime(1, 1, 1, tzinfo=timezone.utc), id="first day"),
        pytest.param(
            "2026-06-08T12:00:00", datetime(2026, 6, 8, 12, tzinfo=timezone.utc), id="no zone"
        ),
        pytest.param(
            "2026-06-08t12:00:00z", datetime(2026, 6, 8, 12, tzinfo=timezone.utc), id="lower case"
        ),
        pytest.param(
            "2026-06-08 12:00:00Z", datetime(2026, 6, 8, 12, tzinfo=timezone.utc), id="a space"
        ),
        pytest.param(
            "9999-12-31T23:59:59.999999Z",
            datetime(9999, 12, 31, 23, 59, 59, 999999, timezone.utc),
            id="last microsecond",
        ),
    ],
)
def test_other_dates_are_aware_too(text: str, expected: datetime) -> None:
    """A date is read as midnight UTC, and a time without a zone as UTC."""
    moment = models.Player({"createdAt": text}).created_at

    assert expected == moment
    assert timezone.utc is moment.tzinfo  # not the parser's own UTC


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=text or "empty")
        for text in ["", "soon", "2026-02-30", "2026-06-08T25:00:00Z", "1780920000", "٢٠٢٦-٠٦-٠٨"]
    ],
)
def test_what_is_no_date_says_so_when_it_is_read(text: str) -> None:
    """The property of a malformed date raises with model and key; the answer keeps the text."""
    player = models.Player({"createdAt": text})

    with pytest.raises(ValueError, match=r"^Player: 'createdAt': "):
        _ = player.created_at
    assert {"createdAt": text} == player


# --- Unions.


@pytest.mark.parametrize(
    ("tag", "model"),
    [
        pytest.param("currency", models.CurrencyRewardEntry, id="currency"),
        pytest.param("item", models.ItemRewardEntry, id="item"),
        pytest.param("crate", models.CrateRewardEntry, id="crate"),
    ],
)
def test_a_known_tag_gives_its_model(answers: Answers, tag: str, model: type[Model]) -> None:
    """An entry is read as the model that its `type` names."""
    grant = answers.call(METHODS["grants.create"], {"contents": {"entries": [{"type": tag}]}})

    assert [model] == [type(entry) for entry in grant.contents.entries]


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"type": "voucher", "code": "X"}, id="unknown"),
        pytest.param({"type": "Currency", "amount": 1}, id="other case"),
        pytest.param({"type": None}, id="null"),
        pytest.param({"type": 7}, id="number"),
        pytest.param({"type": ["currency"]}, id="list"),
        pytest.param({"type": {"currency": 1}}, id="object"),
        pytest.param({}, id="missing"),
    ],
)
def test_an_unknown_tag_leaves_the_plain_dict(answers: Answers, entry: dict[str, Any]) -> None:
    """An entry with an unknown `type` stays a plain dict, and its neighbours stay models."""
    known = {"type": "currency", "currencyKey": "gold", "amount": 1}
    data = {"contents": {"entries": [entry, known]}}

    grant = answers.call(METHODS["grants.create"], data)

    unknown, other = grant.contents.entries
    assert dict is type(unknown)
    assert models.CurrencyRewardEntry is type(other)
    assert data == grant


# --- Reading changes nothing.

PLAIN: Final = (dict, list, str, int, float, bool, NoneType)


def plainness(value: object) -> Iterator[type]:
    """Yield the types of all values in a result, as a strict serialiser sees them."""
    yield type(value)
    if is_array(value):
        for item in value:
            yield from plainness(item)
    elif is_object(value):
        for item in value.values():
            yield from plainness(item)


def plain(result: Any) -> Any:
    """Return a result as plain values: a dict, or a list of dicts."""
    return [dict(each) for each in result] if is_array(result) else dict(result)


@pytest.mark.parametrize("name", EACH_MODEL)
def test_reading_changes_nothing(answers: Answers, name: str) -> None:
    """A result holds plain JSON values before and after every property was read."""
    place = PLACES[name]
    result = place.fetch(answers, place.answer())

    assert set(plainness(plain(result))) <= set(PLAIN)
    read_all(result)
    assert set(plainness(plain(result))) <= set(PLAIN)
    assert place.shown(place.answer()) == result


def test_a_property_shows_a_change_by_key(answers: Answers) -> None:
    """A property that was read before shows a later change of the dict."""
    profile = answers.call(METHODS["players.get"], PROFILE)
    assert "studio_1" == profile.player.studio_id
    assert 1 == len(profile.inventory)

    profile["player"]["studioId"] = "studio_2"
    profile["inventory"].append({"itemKey": "sword"})

    assert "studio_2" == profile.player.studio_id
    assert ["starter_chest", "sword"] == [item.item_key for item in profile.inventory]
    assert [models.ItemHolding] * 2 == [type(item) for item in profile.inventory]


def test_a_change_of_what_a_property_returns_is_not_kept(answers: Answers) -> None:
    """A change of a model or list that a property returned is not in the dict or the next read."""
    profile = answers.call(METHODS["players.get"], PROFILE)

    profile.player["studioId"] = "studio_2"
    profile.inventory.append(models.ItemHolding({"itemKey": "sword"}))
    profile.inventory[0]["quantity"] = 7

    assert PROFILE == profile
    assert "studio_1" == profile.player.studio_id
    assert [1] == [item.quantity for item in profile.inventory]


def test_an_empty_list_of_models_is_a_copy_too(answers: Answers) -> None:
    """A property returns a copy of an empty list of models too."""
    profile = answers.call(METHODS["players.get"], {**PROFILE, "inventory": []})

    profile.inventory.append(models.ItemHolding({"itemKey": "sword"}))

    assert [] == profile["inventory"] == profile.inventory


def test_a_model_that_was_put_into_the_dict_is_returned(answers: Answers) -> None:
    """A property returns the model that a caller has put into the dict."""
    profile = answers.call(METHODS["players.get"], PROFILE)
    player = models.Player({"id": "ply_2"})

    profile["player"] = player

    assert player is profile.player


def test_maps_and_plain_rows_are_those_of_the_wire(answers: Answers) -> None:
    """A property of a map or list without models returns the dict's own object."""
    bundle = answers.call(METHODS["players.export"], EXPORT)
    profile = answers.call(METHODS["players.get"], PROFILE)

    assert bundle["grants"] is bundle.grants
    assert [dict] == [type(row) for row in bundle.grants]
    assert profile["summary"] is profile.summary
    assert bundle["player"]["lastContextSnapshot"] is bundle.player.last_context_snapshot


# --- Results are dicts.


def through_pickle(value: Any, protocol: int) -> Any:
    """Return a copy of the value by pickling and unpickling it."""
    return pickle.loads(pickle.dumps(value, protocol))


COPIES: Final = [
    pytest.param(copy.copy, id="copy"),
    pytest.param(copy.deepcopy, id="deepcopy"),
    *(
        pytest.param(partial(through_pickle, protocol=protocol), id=f"pickle {protocol}")
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
]


@pytest.mark.parametrize("method", EACH_METHOD)
def test_a_result_is_a_dict(answers: Answers, method: Method) -> None:
    """A result equals the wire object, and works wherever a dict does."""
    result = answers.call(method, method.answer)

    assert is_object(result)
    assert method.answer == result
    assert result == method.answer
    assert json.dumps(method.answer) == json.dumps(result)
    assert list(method.answer.items()) == list(result.items())
    assert method.answer == {**result}
    assert method.answer == result | {}
    assert method.answer == result.copy()
    assert repr(method.answer) == repr(result)
    matched: dict[str, Any] | None = None
    match result:
        case {**fields}:
            matched = fields
    assert method.answer == matched


@pytest.mark.parametrize("duplicate", COPIES)
@pytest.mark.parametrize("method", EACH_METHOD)
def test_a_copy_of_a_result_is_as_good(
    answers: Answers, method: Method, duplicate: Callable[[Any], Any]
) -> None:
    """Copies and pickles of a result keep its type, content, `.http` and `.replayed`."""
    result = answers.call(method, method.answer)

    other = duplicate(result)

    assert other is not result
    assert type(result) is type(other)
    assert result == other
    assert result.http == other.http
    assert result.replayed is other.replayed
    for name in PLACES:
        if name == type(result).__name__:
            for key in SCHEMAS[name]["properties"]:
                assert read(result, key) == read(other, key)


def test_a_deep_copy_shares_nothing(answers: Answers) -> None:
    """A change in a deep copy of a result does not change the result."""
    result = answers.call(METHODS["grants.create"], GRANT)
    _ = result.contents.entries

    other = copy.deepcopy(result)
    other["contents"]["entries"][0]["amount"] = 7

    assert GRANT == result
    assert 7 == other.contents.entries[0].amount
    assert models.GrantContents is type(other.contents)


def test_a_full_answer_survives_pickling_after_it_was_read(answers: Answers) -> None:
    """Reading a result adds nothing to its pickle, and the unpickled result has models."""
    result = answers.call(METHODS["players.get"], PROFILE)
    before = len(pickle.dumps(result))
    read_all(result)

    other = pickle.loads(pickle.dumps(result))

    assert before == len(pickle.dumps(result))
    assert PROFILE == other
    (grant,) = other.recent_grants
    entry = grant.contents.entries[0]
    assert [models.Grant, models.CurrencyRewardEntry] == [type(grant), type(entry)]


# --- What is known of the call.


@pytest.mark.parametrize(
    "is_async", [pytest.param(False, id="sync"), pytest.param(True, id="async")]
)
@pytest.mark.parametrize("method", EACH_METHOD)
def test_http_describes_the_call(answers: Answers, method: Method, is_async: bool) -> None:
    """A result's `http` has the status, headers, request id, attempts and key of the call."""
    result = (answers.call_async if is_async else answers.call)(method, method.answer)
    is_read = method.name not in KEY_LIFETIMES
    info = result.http

    assert isinstance(info, ResponseInfo)
    assert (200, "req_1", 1) == (info.status, info.request_id, info.attempts)
    assert "req_1" == info.headers["x-request-id"]
    assert is_read is (info.idempotency_key is None)
    assert method.answer.keys() == result.keys()


def test_only_results_have_http(answers: Answers) -> None:
    """A nested model, or one made by hand, has no `http`, and says that it is no result."""
    grant = answers.call(METHODS["grants.create"], GRANT)

    for model in (grant.contents, models.Grant(GRANT)):
        assert model.replayed is None
        assert not hasattr(model, "http")
        with pytest.raises(AttributeError, match=rf"{type(model).__name__} is not the result of"):
            _ = model.http


def test_wire_fields_of_these_names_do_not_interfere(answers: Answers) -> None:
    """Wire fields named like attributes of a result stay in the dict and change no attribute."""
    answer = dict.fromkeys(
        ["http", "_http", "replayed", "_replayed", "items", "get", "__class__"], 1
    )

    result = answers.call(METHODS["grants.create"], answer)

    assert answer == result
    assert 200 == result.http.status
    assert True is result.replayed
    assert answer == dict(result.items())


@pytest.mark.parametrize(
    ("name", "status", "changes", "expected"),
    [
        pytest.param("grants.create", 201, {}, False, id="a new grant"),
        pytest.param("grants.create", 200, {}, True, id="a grant made before"),
        *(
            pytest.param(name, 200, changes, expected, id=f"{name} {what}")
            for name in ("inventory.grant", "inventory.revoke", "wallet.credit", "wallet.debit")
            for what, changes, expected in [
                ("applied", {"applied": True}, False),
                ("applied before", {"applied": False}, True),
                ("applied is null", {"applied": None}, None),
                ("applied is text", {"applied": "false"}, None),
                ("applied is a number", {"applied": 0}, None),
            ]
        ),
        *(
            pytest.param(name, status, {}, None, id=f"{name} {status}")
            for name in METHODS
            if name.partition(".")[0] not in ("inventory", "wallet") and name != "grants.create"
            if not METHODS[name].unwraps
            for status in (200, 201)
        ),
    ],
)
@pytest.mark.parametrize(
    "is_async", [pytest.param(False, id="sync"), pytest.param(True, id="async")]
)
def test_replayed_is_what_the_answer_says(
    answers: Answers,
    name: str,
    status: int,
    changes: dict[str, Any],
    expected: bool | None,
    is_async: bool,
) -> None:
    """A result's `replayed` is True for a repeat, False for a first call, None if unknown."""
    method = METHODS[name]
    call = answers.call_async if is_async else answers.call

    assert expected is call(method, {**method.answer, **changes}, status).replayed


def test_replayed_of_a_missing_applied_is_none(answers: Answers) -> None:
    """An adjustment's `replayed` is None if the answer has no `applied`."""
    assert answers.call(METHODS["wallet.credit"], {"balance": 1}).replayed is None


# --- Random answers.

KEYS: Final = sorted({key for _, key in FIELDS})
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["2026-06-08T12:00:00.000Z", "2026-01-01", "2026-06-08T12:00:00+99:99", "currency", "item"]
    ),
)
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=5))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=6,
)


@st.composite
def variants(draw: st.DrawFn, value: Any) -> Any:
    """Draw something that resembles a full answer, with parts of it gone or replaced."""
    if draw(st.integers(0, 9)) == 0:
        return draw(values)
    if is_object(value):
        gone = draw(st.sets(st.sampled_from(sorted(value)), max_size=2)) if value else set[str]()
        kept = {key: draw(variants(item)) for key, item in value.items() if key not in gone}
        return {**kept, **draw(st.dictionaries(keys, scalars, max_size=1))}
    if is_array(value):
        return [draw(variants(item)) for item in value for _ in range(draw(st.integers(0, 2)))]
    return value


def read_all(value: object) -> None:
    """Read each property of everything in a result; let only undocumented errors out."""
    if is_array(value):
        for item in value:
            read_all(item)
    elif is_object(value):
        for key in vars(type(value)) if isinstance(value, Model) else ():
            with suppress(AttributeError, ValueError):
                read_all(getattr(value, key))
        for item in value.values():
            read_all(item)


fuzzed = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@pytest.mark.parametrize("method", EACH_METHOD)
@fuzzed
@given(data=st.data())
def test_any_object_is_a_result(answers: Answers, method: Method, data: st.DataObject) -> None:
    """A 2xx with any object is a result that equals the object, also after it was read."""
    answer = data.draw(st.dictionaries(keys, values, max_size=8) | variants(method.answer))
    assume(is_object(answer))
    body = method.body(answer)
    expected = json.loads(body)["data"] if method.is_enveloped else json.loads(body)

    result = answers.call_raw(method, body, data.draw(st.sampled_from([200, 201, 202, 299])))

    # Compared as text, since NaN, which Python's parser lets through, equals nothing.
    assert json.dumps(expected) == json.dumps(result)
    read_all(result)
    assert json.dumps(expected) == json.dumps(result)


@settings(fuzzed, max_examples=150)
@given(method=st.sampled_from(sorted(METHODS)).map(METHODS.__getitem__), data=st.data())
def test_any_answer_is_a_result_or_an_error_of_ours(
    answers: Answers, method: Method, data: st.DataObject
) -> None:
    """Whatever status and bytes arrive, a call raises nothing but a `KratyError`."""
    status = data.draw(st.one_of(st.just(200), st.integers(200, 599)))
    body = data.draw(
        st.one_of(
            st.binary(max_size=40),
            values.map(lambda value: json.dumps(value).encode()),
            values.map(lambda value: json.dumps({"data": value}).encode()),
            values.map(lambda value: json.dumps({"error": value}).encode()),
            st.fixed_dictionaries(
                {}, optional=dict.fromkeys(["code", "message", "details"], values)
            ).map(lambda error: json.dumps({"error": error}).encode()),
        )
    )

    error: KratyError | None = None
    try:
        read_all(answers.call_raw(method, body, status))
    except KratyError as raised:
        error = raised
    assert error is not None or 200 <= status <= 299
    assert str(error) == str(pickle.loads(pickle.dumps(error)))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="truncated"),
        pytest.param(b"<html>", id="HTML"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'{"data": null}', id="data is null"),
        pytest.param(b'{"data": []}', id="data is an array"),
        pytest.param(b'{"data": "x"}', id="data is a string"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b'{"data":' + b"[" * 100_000, id="too deep"),
        pytest.param(b'{"data":' + b'{"a":' * 100_000, id="objects too deep"),
        pytest.param(b'{"data": {"n": ' + b"9" * 5000 + b"}}", id="a number too long"),
    ],
)
def test_a_result_that_cannot_be_read_is_an_error_of_ours(answers: Answers, body: bytes) -> None:
    """A 2xx without an object is an ambiguous `KratyResponseError` with the key and the body."""
    with pytest.raises(KratyResponseError) as caught:
        answers.call_raw(METHODS["wallet.credit"], body)

    assert caught.value.ambiguous
    assert caught.value.idempotency_key
    assert body[:8192] == caught.value.raw_body
