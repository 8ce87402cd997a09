"""The emulator keeps the contract: schemathesis finds nothing, whatever it sends.

Its four phases send the contract's examples, each of its limits, drawn requests that fit
and that do not, and chains of calls. Each answer is held to every check that schemathesis
has; what no schema can say is said here, and checked here as well.
"""

# Schemathesis leaves out arguments of its own generic types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any, Final

import attrs
import httpx
import jsonschema_rs
import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.engine import Status, events, from_schema
from schemathesis.hooks import unregister
from schemathesis.openapi.checks import EnsureResourceAvailability, RejectedPositiveData

from kraty_admin import KratyAdmin
from kraty_admin.emulator import DEFAULT_WORLD
from kraty_server_api.decoding import is_array, is_object
from kraty_server_api.operations import NAMES

from .figures import Figure
from .local import local

__all__ = ["prove"]

AnyCase = Case[Any]

_CONTRACT: Final = Path(__file__).parents[2] / "openapi.server.json"

_SEED: Final = 20260608

_GAME: Final = DEFAULT_WORLD.games[0]

_CATALOG: Final[Mapping[str, Sequence[str]]] = {
    "gameId": [_GAME.id],
    "eventKey": [event.key for event in _GAME.events],
    "economyKey": _GAME.currencies,
    "currencyKey": _GAME.currencies,
    "itemKey": _GAME.items,
    "crateItemKey": _GAME.items,
    "key": [board.key for board in _GAME.leaderboards if board.takes_scores],
}
"""The keys that exist: the contract allows any text, a game those of its catalog only."""

_PLAYERS: Final = ["player_1", "player_2", "player_3"]
"""They exist, and half of the calls are about them: calls meet what others have left."""

_WHO: Final = ("externalId", "fromExternalId", "toExternalId")
"""What paths call them."""

_ON_THEIR_OWN: Final = {
    "deletePlayer": "player_9",
    "revokeItem": "player_8",
    "unbanPlayer": "player_8",
    "reportProgress": "player_7",
    "finishAttempt": "player_6",
}
"""Examples about somebody else: whom one erases, another one does not find."""

_NEXT: Final[Mapping[str, Sequence[str]]] = {
    "createGrant": ("ackGrant", "exportPlayer"),
    "creditWallet": ("debitWallet", "getPlayer", "banPlayer", "mergePlayers"),
    "grantItem": ("revokeItem", "deletePlayer"),
    "banPlayer": ("unbanPlayer", "grantItem"),
    "pushLobby": ("readLobby",),
}
"""Which calls make a chain: each is sent with the ids of the one before it."""

_HUGE: Final = 1e300
"""Metrics of this size can have a sum that JSON cannot say."""

_ROW_SCHEMAS: Final[Mapping[str, str]] = {
    "migratePlayers": "MigratePlayerRow",
    "migrateWallet": "MigrateWalletRow",
    "migrateInventory": "MigrateInventoryRow",
}


@attrs.define
class _Seen:
    """The results of a run."""

    cases: int = 0
    checks: Counter[str] = attrs.field(factory=Counter[str])
    tested: set[str] = attrs.field(factory=set[str])
    """The operations that were called."""
    accepted: set[str] = attrs.field(factory=set[str])
    """The operations that did what they were asked for at least once."""
    answers: Counter[int] = attrs.field(factory=Counter[int])
    phases: set[str] = attrs.field(factory=set[str])
    complaints: list[str] = attrs.field(factory=list[str])
    """Failed checks, and errors of schemathesis itself."""

    def hear(self, event: events.EngineEvent) -> None:
        if isinstance(event, events.FatalError):
            raise event.exception
        if isinstance(event, events.NonFatalError):
            self.complaints.append(f"{event.label}: {event.value!r}")
        if not isinstance(event, events.ScenarioFinished):
            return
        recorder = event.recorder
        self.cases += len(recorder.cases)
        if recorder.cases:
            self.phases.add(event.phase)
        for node in recorder.cases.values():
            operation = _operation_id(node.value)
            self.tested.add(operation)
            interaction = recorder.interactions.get(node.value.id)
            if interaction is not None and interaction.response is not None:
                self.answers[interaction.response.status_code] += 1
                if interaction.response.status_code < 300:
                    self.accepted.add(operation)
        for case_id, checks in recorder.checks.items():
            for check in checks:
                self.checks[check.name] += 1
                if check.status is not Status.SUCCESS:
                    why = check.failure_info
                    call = "" if why is None else f"{why.failure}\n{why.code_sample}"
                    answer = recorder.interactions[case_id].response
                    text = "" if answer is None else answer.text
                    self.complaints.append(f"{recorder.label}: {check.name}: {call}\n{text}")


class _Excuses:
    """Refusals that the contract calls for and that its schemas cannot.

    Each excuse looks at the request itself, so that nothing else slips through.
    """

    def __init__(self, components: Mapping[str, Any]) -> None:
        self._rows = {
            name: jsonschema_rs.Draft202012Validator(
                {"$ref": f"#/components/schemas/{row}", "components": components},
                validate_formats=True,
            )
            for name, row in _ROW_SCHEMAS.items()
        }
        self._gone: set[str] = set()
        """The players who were erased or merged away."""
        self.granted = 0

    def note(self, case: AnyCase, response: Response) -> None:
        """Remember a player who is gone."""
        if response.status_code == 200:
            parameters = case.path_parameters
            if _operation_id(case) == "deletePlayer":
                self._gone.add(parameters["externalId"])
            elif _operation_id(case) == "mergePlayers":
                self._gone.add(parameters["fromExternalId"])

    def excuse(self, failure: Failure, case: AnyCase, response: Response) -> bool:
        excused = self._may_be(failure, case, response)
        self.granted += excused
        return excused

    def _may_be(self, failure: Failure, case: AnyCase, response: Response) -> bool:
        operation, status = _operation_id(case), response.status_code
        if isinstance(failure, AcceptedNegativeData):
            # A bad row is a failure of that row, never of the batch.
            return operation in self._rows and self._refuses_bad_rows(operation, response)
        if isinstance(failure, RejectedPositiveData):
            # Whether two players can be merged is up to who they are. No schema compares
            # a number with the length of a list. That a report has either one value or several
            # is not in the contract either: the platform's documents do not say it.
            if operation == "mergePlayers":
                return status == 422
            if operation == "reportProgress":
                return status == 400 and _is_unclear(response)
            return operation == "pushLobby" and status == 400 and _is_overfull(response)
        if isinstance(failure, EnsureResourceAvailability):
            # Schemathesis knows of `DELETE`, not of players who go by way of a `POST`.
            return case.path_parameters["externalId"] in self._gone
        return False

    def _refuses_bad_rows(self, operation: str, response: Response) -> bool:
        fits = self._rows[operation].is_valid
        rows = _sent(response)["rows"]
        bad = {number for number, row in enumerate(rows) if not fits(row)}
        refused = {each["rowIndex"] for each in response.json()["data"]["failures"]}
        return bool(bad) and bad <= refused


@contextmanager
def _fresh_keys() -> Generator[None, None, None]:
    """Replace the keys in the contract's examples with new ones.

    Most cases are an example with one thing changed. Under its key they would all be
    refused because the key was used, before any other check. One in four keeps it: there
    have to be repeats and conflicts as well.
    """
    numbers = count(1)

    def freshen(members: dict[str, object]) -> None:
        for name in ("idempotencyKey", "key"):
            key = members.get(name)
            if isinstance(key, str) and key and (number := next(numbers)) % 4:
                members[name] = f"{key}_{number}"

    def before_call(context: HookContext, case: AnyCase, kwargs: dict[str, Any]) -> None:
        body: object = case.body
        if is_object(body):
            freshen(body)
            rows = body.get("rows")
            for row in rows if is_array(rows) else []:
                if is_object(row):
                    freshen(row)

    # There is no such hook for one schema alone.
    schemathesis.hook(before_call)
    try:
        yield
    finally:
        unregister(before_call)


def prove(folder: Path, *, examples: int, chains: int) -> list[Figure]:
    """Hold an emulator to its contract.

    Args:
        folder: Where the emulator keeps its state.
        examples: How many cases each operation is drawn, besides those of its limits.
        chains: How many chains of calls are drawn.
    """
    contract = json.loads(_CONTRACT.read_bytes())
    operations = [each["operationId"] for _, each in _operations(contract)]
    seen = _Seen()
    with local(folder) as kraty:
        with KratyAdmin(api_key=kraty.api_key, base_url=kraty.base_url) as admin:
            attempts = _attempts(kraty.base_url)
            document = _contract_of_the_game(contract, _arranged(admin), attempts)
        excuses = _Excuses(document["components"])
        config = _config(kraty.base_url, kraty.api_key, examples, chains)
        schema = schemathesis.openapi.from_dict(document, config=config)

        @schema.hook
        def after_call(context: HookContext, case: AnyCase, response: Response) -> None:
            excuses.note(case, response)

        @schema.hook
        def filter_failure(
            context: HookContext, failure: Failure, case: AnyCase, response: Response
        ) -> bool:
            return not excuses.excuse(failure, case, response)

        with _fresh_keys():
            for event in from_schema(schema).execute():
                seen.hear(event)
    return [
        Figure("operations of the contract", len(operations), expected=len(NAMES)),
        Figure("operations tested", len(seen.tested), expected=len(operations)),
        Figure("operations that never succeeded", _missing(operations, seen.accepted), expected=0),
        Figure("phases", ", ".join(sorted(seen.phases)), "coverage, examples, fuzzing, stateful"),
        Figure("cases sent", seen.cases),
        Figure("answers by status", _listed(seen.answers)),
        Figure("checks made", seen.checks.total()),
        Figure("kinds of checks made", len(seen.checks)),
        Figure("refusals that no schema can call for", excuses.granted),
        Figure("failures", "\n".join(seen.complaints) or 0, expected=0),
    ]


def _operations(document: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Yield each operation, after its path."""
    return [
        (path, operation)
        for path, item in document["paths"].items()
        for operation in item.values()
        if "operationId" in operation  # an item may hold parameters too
    ]


def _attempts(base_url: str) -> Mapping[str, str]:
    """Return a new attempt for each operation: a finished one would take no progress."""
    started: dict[str, str] = {}
    for name in ("reportProgress", "finishAttempt"):
        wish = {"external_player_id": _ON_THEIR_OWN[name], "event_key": "quick_brawl"}
        answer = httpx.post(f"{base_url}/_emulator/attempts", json=wish)
        started[name] = answer.raise_for_status().json()["id"]
    return started


def _arranged(admin: KratyAdmin) -> Mapping[str, str]:
    """Return what each parameter of a path can name, now that it exists."""
    for player in (*_PLAYERS, *_ON_THEIR_OWN.values()):
        admin.wallet.credit(player, "gold", amount=1000)
        admin.inventory.grant(player, "health_potion", quantity=1000)
    grant = admin.grants.create(
        _PLAYERS[0],
        idempotency_key="arranged",
        entries=[{"type": "currency", "currencyKey": "gold", "amount": 1}],
    )
    lobby = admin.lobbies.push(
        _GAME.id, "quick_brawl", key="arranged", external_player_ids=[_PLAYERS[0]]
    )
    return {
        **dict(zip(_WHO, _PLAYERS, strict=True)),
        "key": _CATALOG["key"][0],
        "gameId": _GAME.id,
        "eventKey": "quick_brawl",
        "economyKey": "gold",
        "itemKey": "health_potion",
        "grantId": grant.id,
        "lobbyId": lobby.id,
    }


def _contract_of_the_game(
    contract: Mapping[str, Any], examples: Mapping[str, str], attempts: Mapping[str, str]
) -> dict[str, Any]:
    """Return the contract, with the game's keys in place of any text, and with its chains of calls.

    It has examples of bodies and none of paths, so it is given these.
    """
    document: dict[str, Any] = deepcopy(dict(contract))
    # Webhooks go the other way.
    document.pop("webhooks", None)
    for item in document["paths"].values():
        shared = item.pop("parameters", [])
        for operation in item.values():
            operation["parameters"] = [*shared, *operation.get("parameters", [])]
    parameters = document["components"]["parameters"]
    for parameter in parameters.values():
        if parameter["name"] in examples:
            parameter["example"] = examples[parameter["name"]]
        if parameter["name"] in _CATALOG:
            parameter["schema"]["enum"] = list(_CATALOG[parameter["name"]])
    for name, schema in document["components"]["schemas"].items():
        # Requests only: an answer may not name another key either way.
        if name.endswith(("Entry", "Row")):
            for key, member in schema.get("properties", {}).items():
                if key in _CATALOG:
                    member["enum"] = list(_CATALOG[key])
    named = {
        operation["operationId"]: (path, operation) for path, operation in _operations(document)
    }
    for name, player in _ON_THEIR_OWN.items():
        own = {"externalId": player}
        if name in attempts:
            own["attemptId"] = attempts[name]
        named[name][1]["parameters"] = [
            {**parameter, "example": own[parameter["name"]]}
            if parameter["name"] in own
            else parameter
            for parameter in (
                parameters[each["$ref"].rpartition("/")[2]] for each in named[name][1]["parameters"]
            )
        ]
    for source, targets in _NEXT.items():
        path, operation = named[source]
        # A replay (200) returns a grant that was made before, maybe for a player who was
        # deleted since; the grant of a 201 exists.
        status = "201" if "201" in operation["responses"] else "200"
        operation["responses"][status]["links"] = {
            target: {"operationId": target, "parameters": _passed_on(path, named[target][0])}
            for target in targets
        }
    return document


def _passed_on(source: str, target: str) -> dict[str, str]:
    """Return the target's parameters, taken from the call before."""
    found = {
        name: f"$request.path.{name}"
        for name in ("externalId", "gameId", "itemKey", "economyKey")
        if f"{{{name}}}" in source and f"{{{name}}}" in target
    }
    for name in ("grantId", "lobbyId"):
        if f"{{{name}}}" in target:
            found[name] = "$response.body#/data/id"
    if "{fromExternalId}" in target:
        found["fromExternalId"] = "$request.path.externalId"
    return found


def _config(base_url: str, api_key: str, examples: int, chains: int) -> SchemathesisConfig:
    players = {"dictionary": "players", "probability": 0.5}
    return SchemathesisConfig.from_dict(
        {
            "seed": _SEED,
            "base-url": f"{base_url}/server/v1",
            "headers": {"Authorization": f"Bearer {api_key}"},
            "continue-on-failure": True,
            "workers": 1,
            "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
            "dictionaries": {"players": {"values": _PLAYERS}},
            "parameters": {f"path.{name}": players for name in _WHO},
            # The links are given, so that what is followed does not depend on guesses.
            "phases": {
                "stateful": {
                    "generation": {"max-examples": chains},
                    "inference": {"algorithms": []},
                }
            },
        }
    )


def _is_overfull(response: Response) -> bool:
    body = _sent(response)
    names = set(body["externalPlayerIds"])
    return bool(body.get("capacity", len(names)) < len(names))


def _is_unclear(response: Response) -> bool:
    body = _sent(response)
    if ("metricValue" in body) == ("metrics" in body):
        return True
    reported: dict[str, float] = body.get("metrics", {"value": body.get("metricValue")})
    return sum(map(abs, reported.values())) > _HUGE


def _sent(response: Response) -> Any:
    body = response.request.body
    assert isinstance(body, str | bytes)
    return json.loads(body)


def _operation_id(case: AnyCase) -> str:
    identifier: str = case.operation.definition.raw["operationId"]
    return identifier


def _missing(operations: Sequence[str], seen: set[str]) -> str | int:
    return ", ".join(name for name in operations if name not in seen) or 0


def _listed(counts: Counter[int]) -> str:
    return ", ".join(f"{status}: {count:,}" for status, count in sorted(counts.items()))
