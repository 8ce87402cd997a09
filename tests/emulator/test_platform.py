"""What holds for every operation: routes, keys, bodies, errors, headers and events."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from typing import Any
from uuid import UUID

import pytest

from kraty_admin.emulator._contract import Contract, load_contract
from kraty_admin.emulator._json import fingerprint, parse
from kraty_admin.emulator._operations import OPERATIONS as TABLE
from kraty_admin.emulator._operations import Call, Context, Operation, Outcome
from kraty_admin.emulator._platform import Platform, Request
from kraty_admin.emulator._state import State
from kraty_admin.emulator._world import DEFAULT_WORLD, ApiKey, Game, World
from kraty_server_api.lifetimes import KEY_LIFETIMES

from .testkit import CONTRACT, NOON, SERVER_KEY, Api, Ids, StoppedClock, validator

OPERATIONS = {
    operation["operationId"]: (method.upper(), path)
    for path, item in CONTRACT["paths"].items()
    for method, operation in item.items()
    if "operationId" in operation
}

PATHS = [pytest.param(method, path, id=name) for name, (method, path) in OPERATIONS.items()]


def fill(path: str) -> str:
    """Return an address for a path of the contract."""
    return re.sub(r"\{(\w+)\}", lambda match: "game_1" if match[1] == "gameId" else "x", path)


# --- routes ----------------------------------------------------------------


def test_every_operation_of_the_contract_has_a_handler() -> None:
    """The handlers are exactly the operations of the contract."""
    assert set(OPERATIONS) == set(TABLE)


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_path_of_the_contract_has_a_route(method: str, path: str) -> None:
    """The router finds each operation at its own address."""
    route, found = load_contract().find(method, b"/server/v1" + fill(path).encode())
    assert OPERATIONS[route.operation_id] == (method, path)
    assert list(found) == re.findall(r"\{(\w+)\}", path)


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_another_method_is_not_allowed(api: Api, method: str, path: str) -> None:
    """A request with another method is refused, and `Allow` names the right one."""
    refused = api.send("PATCH", fill(path))
    assert refused.error == (405, "not_found")
    assert refused.headers["Allow"] == method


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(b"/", id="root"),
        pytest.param(b"/server/v1", id="base"),
        pytest.param(b"/server/v1/", id="base with a slash"),
        pytest.param(b"/server/v1/nothing", id="unknown"),
        pytest.param(b"/server/v1/ping/", id="trailing slash"),
        pytest.param(b"/server/v1/players/", id="empty id"),
        pytest.param(b"/server/v2/ping", id="other version"),
        pytest.param(b"/ping", id="no base"),
        pytest.param(b"//server/v1/ping", id="double slash"),
    ],
)
def test_other_paths_are_not_found(api: Api, path: bytes) -> None:
    """The answer to an unknown path is an error envelope."""
    answer = api.platform.answer(Request(method="GET", path=path))
    assert answer.status == 404
    assert parse(answer.body)["error"]["code"] == "not_found"


def test_a_path_must_be_utf8(api: Api) -> None:
    """A path that is not UTF-8 is refused."""
    assert api.get("/players/%ff").error == (400, "validation_failed")


def test_an_operation_without_a_handler_is_an_error(clock: StoppedClock) -> None:
    """An operation of the contract without a handler is answered with 501, and others still
    work."""
    new = {**CONTRACT["paths"]["/ping"]["get"], "operationId": "brandNew"}
    document = {**CONTRACT, "paths": {**CONTRACT["paths"], "/new": {"get": new}}}
    state = State(":memory:")
    api = Api(Platform(state, contract=Contract(document), clock=clock))
    assert api.get("/new").error == (501, "internal_error")
    assert api.get("/ping").status == 200
    state.close()


def test_an_operation_of_another_form(clock: StoppedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation may have parameters of all types, no body, and answers without envelope."""
    kinds = {
        "whole": {"type": "integer", "maximum": 5},
        "real": {"type": "number", "maximum": 2.5},
        "yes": {"type": "boolean"},
        "many": {"type": "array", "items": {"type": "integer"}},
        "text": {"type": "string"},
    }
    like = CONTRACT["paths"]["/ping"]["get"]
    given: list[Any] = [
        {"name": name, "in": "query", "schema": schema} for name, schema in kinds.items()
    ]
    given += [{"name": "page", "in": "query", "content": {"application/json": {}}}]
    at = {"name": "at", "in": "path", "required": True, "schema": {"type": "integer"}}
    page: dict[str, Any] = {"properties": {"data": {}, "next": {}}}
    answers: dict[str, Any] = {
        "200": {"content": {"application/json": {"schema": page}}},
        "204": {},
    }
    new = {**like, "operationId": "new", "parameters": [*given, at], "responses": answers}
    write = {**new, "operationId": "write"}
    paths = {"/new/{at}": {"get": new, "post": write}}
    seen: list[Call] = []

    def handle(call: Call, context: Context) -> Outcome:
        seen.append(call)
        return Outcome(200 if call.query else 204, {"data": [], "next": "2"})

    table = {
        "new": Operation(handle),
        "write": Operation(handle, "as first", KEY_LIFETIMES["wallet.credit"]),
    }
    monkeypatch.setattr("kraty_admin.emulator._platform.OPERATIONS", table)
    state = State(":memory:")
    api = Api(Platform(state, contract=Contract({**CONTRACT, "paths": paths}), clock=clock))

    def send(query: str, method: str = "GET", at: str = "7", body: bytes = b"") -> tuple[int, Any]:
        answer = api.platform.answer(api.request(method, f"/new/{at}", body, query=query))
        return answer.status, parse(answer.body) if answer.body else None

    query = "whole=-3&real=1e0&yes=false&many=1&many=2&text=1&page={}"
    assert (200, {"data": [], "next": "2"}) == send(query)
    read = {"whole": -3, "real": 1.0, "yes": False, "many": [1, 2], "text": "1", "page": "{}"}
    assert read == seen[0].query
    assert (204, None) == send("")
    for wrong in ("whole=6", "whole=1.0", "real=2.6", "real=inf", "yes=1", "many=1&many=a"):
        assert 400 == send(wrong)[0], wrong
    assert 400 == send("", at="x")[0]

    keyed = b'{"idempotencyKey": "k"}'
    assert [204, 204] == [send("", "POST", body=keyed)[0] for _ in range(2)]
    status, answer = send("yes=true", "POST", body=keyed)
    assert (409, "idempotency_conflict") == (status, answer["error"]["code"])
    state.close()


def test_a_discriminator_that_names_schemas() -> None:
    """A mapping of tags to the names of schemas means the same as one to references."""
    text = json.dumps(CONTRACT["components"]["schemas"]["GrantedRewardEntry"])
    named = json.loads(text.replace('": "#/components/schemas/', '": "'))
    named["oneOf"] = json.loads(text)["oneOf"]
    schemas = {**CONTRACT["components"]["schemas"], "GrantedRewardEntry": named}
    contract = Contract({**CONTRACT, "components": {**CONTRACT["components"], "schemas": schemas}})
    assert "CurrencyRewardEntry" == named["discriminator"]["mapping"]["currency"]
    cases = [
        each.document["components"]["schemas"]["GrantedRewardEntry"]["allOf"]
        for each in (load_contract(), contract)
    ]
    assert cases[0] == cases[1]


# --- keys ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        pytest.param("", "unauthenticated", id="missing"),
        pytest.param("Bearer", "session_invalid", id="no key"),
        pytest.param("Bearer ", "session_invalid", id="empty key"),
        pytest.param("Bearer krt_emulator_game1.other", "session_invalid", id="wrong secret"),
        pytest.param("Bearer krt_emulator_game1", "session_invalid", id="prefix only"),
        pytest.param(f"Basic {SERVER_KEY}", "session_invalid", id="other scheme"),
        pytest.param(SERVER_KEY, "session_invalid", id="no scheme"),
    ],
)
@pytest.mark.parametrize(("method", "path"), PATHS)
def test_a_key_is_needed(api: Api, method: str, path: str, authorization: str, code: str) -> None:
    """A missing and a wrong key are refused with different codes, before anything else is
    checked."""
    answer = api.platform.answer(
        Request(
            method=method,
            path=b"/server/v1" + fill(path).encode(),
            authorization=authorization,
            body=b"{",
        )
    )
    assert answer.status == 401
    assert code == parse(answer.body)["error"]["code"]


def test_the_scheme_is_written_either_way(api: Api) -> None:
    """The authorization scheme ignores case."""
    for scheme in ("bearer", "BEARER"):
        request = Request(
            method="GET", path=b"/server/v1/ping", authorization=f"{scheme} {SERVER_KEY}"
        )
        assert api.platform.answer(request).status == 200


def test_no_answer_and_no_repr_holds_a_secret(api: Api) -> None:
    """Neither the repr of a world nor the answer to a ping shows the secret of a key."""
    assert "not-a-secret" not in repr(DEFAULT_WORLD)
    assert "not-a-secret" not in str(api.get("/ping"))


def test_a_world_hangs_together() -> None:
    """A world needs a key, and each key an existing game."""
    key = ApiKey(id="k", token="a.b", game_id="elsewhere")
    with pytest.raises(ValueError, match="elsewhere"):
        World(games=[Game(id="game")], keys=[key])
    with pytest.raises(ValueError, match="a game and a key"):
        World(games=[Game(id="game")], keys=[])


# --- bodies ----------------------------------------------------------------

CREDIT = "/players/alice/wallet/gold/credit"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b'{"amount":1} {}', id="two objects"),
        pytest.param(b'{"amount":1,"x":NaN}', id="NaN"),
        pytest.param(b'{"amount":1,"x":Infinity}', id="Infinity"),
        pytest.param(b'{"amount":1,"x":1e400}', id="beyond a double"),
        pytest.param(b'{"amount":1' + b"0" * 5000 + b"}", id="5000 digits"),
        pytest.param(b'{"amount":1,"reason":"\xff"}', id="not UTF-8"),
        pytest.param(b'{"amount":1,"reason":"\\ud800"}', id="half a surrogate pair"),
        pytest.param(b'{"amount":1,"x":' + b"[" * 100_000, id="nested too deeply"),
        pytest.param(b"amount=1", id="form"),
    ],
)
def test_a_body_must_be_json(api: Api, body: bytes) -> None:
    """A body that is not JSON, or could not be stored as JSON, is refused."""
    assert api.post(CREDIT, body).error == (400, "validation_failed")


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"text"'])
def test_a_body_must_be_an_object(api: Api, body: bytes) -> None:
    """A body must be an object, even if it is optional."""
    assert api.post(CREDIT, body).error == (400, "validation_failed")
    assert api.post("/players/alice/unban", body).error == (400, "validation_failed")


def test_depth_alone_is_no_offence(api: Api) -> None:
    """A body with 100 levels is accepted and stored."""
    nested: dict[str, Any] = {}
    for _ in range(100):
        nested = {"in": nested}
    entry = {"type": "item", "itemKey": "health_potion", "quantity": 1, "parameters": nested}
    body = {"idempotencyKey": "r1", "entries": [entry]}
    assert api.post("/players/alice/grants", body).data["contents"]["entries"] == [entry]


def test_a_number_too_long_for_an_integer_is_a_float(api: Api) -> None:
    """An integer of many digits becomes a float, as in JavaScript."""
    entry = {"type": "item", "itemKey": "health_potion", "quantity": 1}
    body = {"idempotencyKey": "r", "entries": [{**entry, "parameters": {"seed": 10**30}}]}
    made = api.post("/players/alice/grants", body).data
    assert made["contents"]["entries"][0]["parameters"] == {"seed": 1e30}


def test_problems_are_named_in_the_entry_that_has_them(api: Api) -> None:
    """Each problem of an entry is named with its path, and only by the schema that its tag
    chooses."""
    entries = [
        {"type": "currency", "currencyKey": "gold", "amount": 0},
        {"type": "item", "itemKey": ""},
        {"type": "horse"},
        {},
        5,
    ]
    refused = api.post("/players/alice/grants", {"idempotencyKey": "", "entries": entries})
    assert refused.fields["entries[1].quantity"] == "value is missing"
    assert set(refused.fields) == {
        "entries[0].amount",
        "entries[1].itemKey",
        "entries[1].quantity",
        "entries[2].type",
        "entries[3].type",
        "entries[4]",
        "idempotencyKey",
    }


def test_the_problems_of_a_huge_request_are_cut_short(api: Api) -> None:
    """An error lists at most 100 fields, and its message stays short."""
    refused = api.post("/players/alice/grants", {"idempotencyKey": "r", "entries": [5] * 1000})
    assert len(refused.fields) == 100
    assert len(refused.body["error"]["message"]) < 300


def test_a_tag_chooses_as_the_contract_says() -> None:
    """An entry is accepted if and only if the contract's schema accepts it."""
    route, _ = load_contract().find("POST", b"/server/v1/players/x/grants")
    written = validator("#/components/schemas/CreateGrantRequest")
    currency = {"type": "currency", "currencyKey": "gold", "amount": 1}
    entries: list[object] = [
        currency,
        {**currency, "more": 1},
        {**currency, "type": "item"},
        {**currency, "amount": 1.5},
        {"type": "item", "itemKey": "x", "quantity": 1, "parameters": {}},
        {"type": "item", "itemKey": "x", "quantity": 1, "parameters": 1},
        {"type": "crate", "crateItemKey": "x", "quantity": 1},
        {"type": "crate", "itemKey": "x", "quantity": 1},
        {"type": None},
        {},
        [],
        None,
    ]
    for entry in entries:
        body = {"idempotencyKey": "r", "entries": [entry]}
        assert (not route.problems({"externalId": "x"}, {}, body)) == written.is_valid(body), entry


# --- headers ---------------------------------------------------------------


def test_every_answer_has_an_id_and_a_budget(api: Api) -> None:
    """Every answer, even a 401, has a request id of its own and a rate limit."""
    replies = [api.get("/ping"), api.get("/ping", key="no.key"), api.get("/nowhere")]
    assert [reply.status for reply in replies] == [200, 401, 404]
    assert len({reply.headers["X-Request-Id"] for reply in replies}) == 3
    assert {reply.headers["RateLimit-Limit"] for reply in replies} == {"600000"}


def test_a_budget_is_per_key_and_minute(clock: StoppedClock) -> None:
    """Beyond the rate limit, calls of one key are refused until the minute ends; other keys are
    not."""
    state = State(":memory:")
    api = Api(Platform(state, clock=clock, requests_per_minute=2))
    clock.advance(42.5)
    remaining = [api.get("/ping").headers["RateLimit-Remaining"] for _ in range(2)]
    assert remaining == ["1", "0"]
    refused = api.post(CREDIT, {"amount": 1, "idempotencyKey": "k"})
    assert refused.error == (429, "rate_limited")
    assert {name: refused.headers[name] for name in ("Retry-After", "RateLimit-Reset")} == {
        "Retry-After": "18",
        "RateLimit-Reset": "18",
    }
    assert api.get("/ping", key=DEFAULT_WORLD.keys[2].token).status == 200
    clock.advance(17.5)
    assert api.post(CREDIT, {"amount": 1, "idempotencyKey": "k"}).data["applied"] is True
    state.close()


def test_a_budget_is_positive() -> None:
    """A rate limit of 0 is refused."""
    state = State(":memory:")
    with pytest.raises(ValueError, match="at least 1"):
        Platform(state, requests_per_minute=0)
    state.close()


# --- what was seen ---------------------------------------------------------


def test_the_newest_thousand_requests_are_kept(api: Api) -> None:
    """The newest thousand requests are kept, including refused and unreadable ones."""
    api.post("/players/alice/unban", b"{")
    (seen,) = api.platform.seen()
    assert (seen.method, seen.path) == ("POST", "/server/v1/players/alice/unban")
    assert (seen.body, seen.json, seen.idempotency_key) == (b"{", None, None)
    for _ in range(1000):
        api.platform.answer(api.request("GET", "/ping"))
    assert [seen.method for seen in api.platform.seen()] == ["GET"] * 1000


# --- events and failures ---------------------------------------------------


def test_events_are_sent_after_the_commit(clock: StoppedClock) -> None:
    """When an event is sent, the change that it reports is committed."""
    state = State(":memory:")
    state.deliveries.set_endpoint("http://127.0.0.1/hook", "whsec", ["wallet.changed"])
    seen: list[int] = []
    api = Api(
        Platform(
            state,
            clock=clock,
            on_deliveries=lambda: seen.append(len(state.ledger.page("game_1", limit=-1))),
        )
    )
    api.post(CREDIT, {"amount": 5})
    api.get("/players/alice")
    assert seen == [1]
    state.close()


def test_an_event_that_no_endpoint_wants_wakes_nobody(clock: StoppedClock) -> None:
    """The delivery loop is not woken for an event that no endpoint receives."""
    state = State(":memory:")
    state.deliveries.set_endpoint("http://127.0.0.1/hook", "whsec", ["inventory.changed"])
    woken: list[None] = []
    api = Api(Platform(state, clock=clock, on_deliveries=lambda: woken.append(None)))
    api.post(CREDIT, {"amount": 5})
    assert woken == []
    state.close()


def test_what_an_event_holds(api: Api) -> None:
    """An event says who changed, what changed and by how much."""
    api.post(CREDIT, {"amount": 5, "reason": "iap", "sourceRefId": "r1"})
    player = api.get("/players/alice").data["player"]["id"]
    who = {"playerId": player, "externalPlayerId": "alice"}
    assert api.events == [
        ("player.registered", who),
        (
            "wallet.changed",
            {
                **who,
                "economyKey": "gold",
                "balance": 5,
                "delta": 5,
                "reason": "iap",
                "sourceRefId": "r1",
            },
        ),
    ]


def test_a_replay_and_a_refusal_send_no_event(api: Api) -> None:
    """A call that changes nothing sends no event."""
    api.post(CREDIT, {"amount": 5, "idempotencyKey": "r1"})
    api.new_events()
    api.post(CREDIT, {"amount": 5, "idempotencyKey": "r1"})
    api.post("/players/bob/wallet/gold/debit", {"amount": 5})
    assert api.new_events() == []


def test_an_unexpected_failure_is_an_answer(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error gives an envelope to the caller and its reason to the log, and rolls
    back."""

    def post(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("by design")

    with monkeypatch.context() as patch:
        patch.setattr(api.platform.state.ledger, "append", post)
        failed = api.post(CREDIT, {"amount": 5, "idempotencyKey": "r1"})
    assert failed.error == (500, "internal_error")
    assert "by design" not in str(failed.body)
    assert "by design" in caplog.text
    assert api.new_events() == []
    assert api.post(CREDIT, {"amount": 5, "idempotencyKey": "r1"}).data["applied"] is True


def test_the_log_names_the_call_and_no_key(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line per request, with the request id of the answer."""
    with caplog.at_level(logging.INFO, "kraty_admin.emulator"):
        reply = api.get("/ping")
    expected = f"GET /server/v1/ping 200 {reply.headers['X-Request-Id']}"
    assert caplog.messages == [expected]


# --- determinism and independence ------------------------------------------


def test_the_same_calls_give_the_same_bytes() -> None:
    """Two platforms with the same clock and ids give equal answers."""

    def run() -> list[object]:
        state = State(":memory:")
        platform = Platform(state, clock=lambda: NOON, new_uuid=Ids())
        entries = [{"type": "currency", "currencyKey": "gold", "amount": 1}]
        api = Api(platform)
        replies: list[object] = [
            api.post("/players/a/grants", {"idempotencyKey": "k", "entries": entries}),
            api.post("/players/a/delete", {}),
            api.get("/players/a"),
        ]
        state.close()
        return replies

    assert run() == run()


def test_ids_come_from_outside(clock: StoppedClock) -> None:
    """The source of ids can be replaced."""
    state = State(":memory:")
    api = Api(Platform(state, clock=clock, new_uuid=lambda: UUID(int=7)))
    assert api.get("/ping").headers["X-Request-Id"] == f"req_{7:032x}"
    state.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}, id="order of keys"),
        pytest.param({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, id="nested"),
    ],
)
def test_equal_requests_have_equal_fingerprints(one: object, other: object) -> None:
    """The spelling of a request does not change its fingerprint."""
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize("other", [{"a": [2, 1]}, {"a": [1]}, {"a": ["1", "2"]}, {"b": [1, 2]}, {}])
def test_other_requests_have_other_fingerprints(other: object) -> None:
    """The meaning of a request changes its fingerprint."""
    assert fingerprint({"a": [1, 2]}) != fingerprint(other)


def test_the_table_of_handlers_needs_no_extra() -> None:
    """The table of handlers can be imported without the packages of the extra."""
    code = (
        "import sys\n"
        "for name in ('cattrs', 'uvicorn', 'jsonschema_rs'): sys.modules[name] = None\n"
        "from kraty_admin.emulator._operations import OPERATIONS\n"
        "print(len(OPERATIONS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(OPERATIONS)}\n"
