"""Controlling an emulator over HTTP, as other languages and processes do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kraty_admin.emulator import Emulator

JSON = {"Content-Type": "application/json"}
CREDIT = "/server/v1/players/alice/wallet/gold/credit"


class Control:
    """Calls the control of an emulator, and its API."""

    def __init__(self, kraty: Emulator) -> None:
        headers = {"Authorization": f"Bearer {kraty.api_key}"}
        self.http = httpx.Client(base_url=kraty.base_url, headers=headers, trust_env=False)

    def get(self, what: str) -> Any:
        return self.http.get(f"/_emulator/{what}").raise_for_status().json()

    def post(self, what: str, members: object = None) -> Any:
        return self.http.post(f"/_emulator/{what}", json=members).raise_for_status().json()

    def refused(self, what: str, members: object) -> str:
        """Return why the control refuses a command."""
        answer = self.http.post(f"/_emulator/{what}", json=members)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "validation_failed"
        return str(answer.json()["error"]["message"])

    def credit(self, amount: int = 5, key: str | None = None) -> httpx.Response:
        body = {"amount": amount} if key is None else {"amount": amount, "idempotencyKey": key}
        # Not by httpx, whose versions differ in their spaces.
        return self.http.post(CREDIT, content=json.dumps(body), headers=JSON)


@pytest.fixture
def control(kraty: Emulator) -> Iterator[Control]:
    """Return the control of the emulator."""
    made = Control(kraty)
    yield made
    made.http.close()


def test_it_says_when_it_is_ready(control: Control) -> None:
    """The health page needs no key."""
    assert {"ok": True} == control.get("ready")


def test_faults_are_scripted(control: Control, kraty: Emulator) -> None:
    """Faults are added over HTTP with the names of Python, and `null` lets a call pass."""
    page = {"kind": "status", "status": 502, "html": True, "when": "before"}
    shown = control.post(
        "faults", {"faults": [None, page], "operation": "wallet.credit", "times": 2, "skip": 1}
    )
    assert [(2, 1, 0)] == [(rule["times"], rule["skip"], rule["drawn"]) for rule in shown["rules"]]
    statuses = [control.credit().status_code for _ in range(6)]
    assert [200, 200, 502, 200, 502, 200] == statuses
    shown = control.get("faults")
    assert ([], {"status 502, before the commit": 2}) == (shown["rules"], shown["struck"])
    assert kraty.balance("alice", "gold") == 20


def test_faults_are_cleared(control: Control) -> None:
    """Faults and chaos can be cleared, and past faults are still counted."""
    control.post("faults", {"faults": [{"kind": "status", "status": 500}], "times": None})
    control.post("chaos", {"rate": 1.0, "seed": 1, "after": 0, "operation": "wallet.debit"})
    assert control.credit().status_code == 500
    cleared = control.http.delete("/_emulator/faults").raise_for_status().json()
    struck = {"status 500, after the commit": 1}
    assert {"rules": [], "chaos": [], "struck": struck} == cleared
    assert control.credit().status_code == 200


def test_chaos(control: Control, kraty: Emulator) -> None:
    """Chaos set over HTTP makes calls fail, but not those of other operations."""
    control.post("chaos", {"rate": 1.0, "operation": "webhook"})
    assert control.credit().status_code == 200
    control.post("chaos", {"rate": 1.0, "seconds": 0.0})
    with pytest.raises(httpx.HTTPError):
        [control.credit().raise_for_status() for _ in range(50)]
    assert kraty.faults.struck.total() >= 1


def test_the_clock(control: Control) -> None:
    """The clock can be set, advanced and started over HTTP."""
    assert {"now": "2026-01-01T00:00:00+00:00", "is_running": False} == control.get("clock")
    moved = control.post("clock", {"set": "2026-06-08T12:00:00Z"})
    assert {"now": "2026-06-08T12:00:00+00:00", "is_running": False} == moved
    assert "2026-06-08T12:01:30.500000+00:00" == control.post("clock", {"advance": 90.5})["now"]
    assert control.post("clock", {"run": True})["is_running"] is True


def test_the_budget(control: Control) -> None:
    """A new rate limit holds from the next request on."""
    assert {"requests_per_minute": 1} == control.post("rate_limit", {"requests_per_minute": 1})
    assert [200, 429] == [control.credit().status_code for _ in range(2)]


def test_the_ledger_and_the_requests(control: Control) -> None:
    """The ledger lists each change, and the requests list each attempt with its effect."""
    control.credit(key="k")
    control.credit(key="k")
    control.http.post("/server/v1/players/bob/wallet/gems/credit", json={"amount": 7})
    ledger = control.get("ledger")
    assert [("alice", "gold", 5), ("bob", "gems", 7)] == [
        (each["external_player_id"], each["key"], each["delta"]) for each in ledger
    ]
    assert {
        "number": 1,
        "at": "2026-01-01T00:00:00+00:00",
        "game_id": "game_1",
        "external_player_id": "alice",
        "kind": "currency",
        "key": "gold",
        "delta": 5,
        "operation": "wallet.credit",
        "reason": None,
        "source_ref_id": None,
        "idempotency_key": "k",
    } == ledger[0]
    assert ledger[1:] == control.get("ledger?external_player_id=bob")
    requests = control.get("requests")
    assert [("k", 1), ("k", 2), (None, 1)] == [
        (each["idempotency_key"], each["attempt"]) for each in requests
    ]
    request_id = requests[1].pop("request_id")
    assert request_id.startswith("req_")
    assert {
        "number": 2,
        "at": "2026-01-01T00:00:00+00:00",
        "method": "POST",
        "path": CREDIT,
        "query": "",
        "key_id": "key_1",
        "requests_per_minute": 600_000,
        "body": '{"amount": 5, "idempotencyKey": "k"}',
        "operation": "wallet.credit",
        "fault": None,
        "attempt": 2,
        "status": 200,
        "idempotency_key": "k",
        "answer": '{"data":{"economyKey":"gold","balance":5,"applied":false}}',
        "effect": "replayed",
        "body_bytes": 36,
        "answer_bytes": 58,
        "entry_count": 0,
        "entries": [],
    } == requests[1]


def test_long_lists_have_pages(control: Control, kraty: Emulator) -> None:
    """`limit` cuts a list, and `after` continues it."""
    for _ in range(5):
        control.credit()
    kraty.webhooks.register(f"{kraty.base_url}/nowhere", "s", events=["wallet.changed"])
    for _ in range(3):
        control.credit()
    kraty.webhooks.settle()
    for name, length in (("ledger", 8), ("ledger?external_player_id=alice", 8), ("deliveries", 3)):
        both = "&" if "?" in name else "?"
        numbers: list[int] = []
        while page := control.get(f"{name}{both}limit=3&after={numbers[-1] if numbers else 0}"):
            assert len(page) <= 3
            numbers += [each["number"] for each in page]
        assert length == len(numbers) == len(set(numbers))
        assert numbers == sorted(numbers)
    for query in ("limit=0", "limit=1001", "limit=x", "after=-1", "after=" + "9" * 30):
        answer = control.http.get(f"/_emulator/ledger?{query}")
        assert (400, query[:5]) == (answer.status_code, answer.json()["error"]["message"][:5])


def test_webhooks(control: Control, kraty: Emulator) -> None:
    """Endpoints can be registered, and deliveries listed and replayed."""
    url = f"{kraty.base_url}/nowhere"
    control.post("webhooks", {"url": url, "secret": "s", "events": ["wallet.changed"]})
    control.credit()
    kraty.webhooks.settle()
    (delivery,) = control.get("deliveries")
    assert ("wallet.changed", url, "pending") == (
        delivery["event_name"],
        delivery["url"],
        delivery["status"],
    )
    (attempt,) = delivery["attempts"]
    assert ("t=", "wallet.changed") == (
        attempt.pop("signature")[:2],
        json.loads(attempt.pop("body"))["eventName"],
    )
    assert attempt == {
        "attempt": 1,
        "at": "2026-01-01T00:00:00+00:00",
        "status": 404,
        "error": None,
    }
    control.post("replay", {"event_id": delivery["event_id"]})
    kraty.webhooks.settle()
    assert 2 == len(control.get("deliveries")[0]["attempts"])


def test_a_reset(control: Control, kraty: Emulator) -> None:
    """A reset restores the first state, so that the same call gets the same answer."""
    first = control.credit(key="k")
    control.post("faults", {"faults": [{"kind": "drop"}], "times": None})
    control.post("clock", {"advance": 1})
    control.post("reset")
    assert ([], [], []) == (kraty.ledger, kraty.requests, kraty.deliveries)
    again = control.credit(key="k")
    assert (first.content, first.headers) == (again.content, again.headers)


STATUS: dict[str, object] = {"kind": "status"}
HERE: dict[str, object] = {"url": "http://localhost", "secret": "s"}


@pytest.mark.parametrize(
    ("what", "members", "why"),
    [
        pytest.param("faults", {"faults": []}, "there is no fault", id="no fault"),
        pytest.param("faults", {"faults": [{"kind": "x"}]}, "kind", id="kind"),
        pytest.param("faults", {"faults": [{"kind": "drop"}], "tims": 1}, "tims", id="option"),
        pytest.param("faults", {"faults": [3]}, "must be an object", id="no object"),
        pytest.param(
            "faults",
            {"faults": [{"kind": "status", "status": "x"}]},
            "faults[0].status: must be",
            id="type",
        ),
        pytest.param("chaos", {"rate": 2}, "from 0 to 1", id="rate"),
        pytest.param("chaos", {}, "missing", id="no rate"),
        pytest.param("clock", {"set": "noon"}, "noon", id="no time"),
        pytest.param("clock", {"set": "2026-06-08T12:00:00"}, "zone", id="no zone"),
        pytest.param("clock", {"advance": 1, "run": True}, "the clock takes", id="two wishes"),
        pytest.param(
            "rate_limit",
            {"requests_per_minute": 0},
            "requests_per_minute must be from 1",
            id="budget",
        ),
        pytest.param("rate_limit", {}, "requests_per_minute", id="no budget"),
        pytest.param("webhooks", {"url": "http://a.b", "secret": "s"}, "this machine", id="url"),
        pytest.param("clock", {"advance": 1e15}, "cannot move by", id="no year"),
        pytest.param(
            "faults", {"faults": [STATUS | {"html": 1}]}, "faults[0].html: must be", id="html"
        ),
        pytest.param(
            "faults", {"faults": [STATUS | {"code": 1}]}, "faults[0].code: must be", id="code"
        ),
        pytest.param(
            "faults",
            {"faults": [STATUS | {"headers": "a"}]},
            "headers: must be an object",
            id="headers",
        ),
        pytest.param(
            "faults",
            {"faults": [STATUS | {"headers": {"a": 1}}]},
            "headers['a']: must be",
            id="header",
        ),
        pytest.param(
            "faults", {"faults": [STATUS], "skip": 0.5}, "skip: must be", id="half a call"
        ),
        pytest.param("faults", {"faults": [STATUS], "times": 1.5}, "times: must be", id="half"),
        pytest.param("webhooks", {"url": 3, "secret": "s"}, "url: must be", id="url's type"),
        pytest.param("webhooks", HERE | {"secret": 3}, "secret: must be", id="secret's type"),
        pytest.param(
            "webhooks", HERE | {"events": "a"}, "events: must be an array", id="no list of events"
        ),
        pytest.param("webhooks", HERE | {"events": [3]}, "events[0]: must be", id="event's type"),
        pytest.param("webhooks", {"url": "http://localhost"}, "secret", id="no secret"),
        pytest.param("replay", {"event_id": []}, "event_id: must be", id="event id's type"),
        pytest.param("replay", {"event_id": "evt_x"}, "evt_x", id="event"),
        pytest.param("replay", [], "object", id="array"),
        pytest.param("webhooks", HERE | {"events": ["no.event"]}, "no.event", id="event's name"),
        pytest.param(
            "faults", {"faults": [STATUS | {"headers": {"X": "a\r\nY: b"}}]}, "X has", id="CRLF"
        ),
        pytest.param(
            "faults",
            {"faults": [STATUS | {"headers": {"X": "€"}}]},
            "X has",
            id="header outside Latin-1",
        ),
        pytest.param("faults", {"faults": [STATUS | {"headers": {"X Y": ""}}]}, "X Y", id="space"),
        pytest.param(
            "faults",
            {"faults": [STATUS | {"headers": {"Content-Length": "0"}}]},
            "frames the answer",
            id="framing",
        ),
        pytest.param("faults", {"faults": [STATUS | {"status": True}]}, "status", id="true"),
        pytest.param("clock", {"advance": 10**400}, "cannot move", id="more than a float"),
    ],
)
def test_what_it_refuses(control: Control, what: str, members: object, why: str) -> None:
    """A wrong command is refused with the reason, and adds no fault."""
    assert why in control.refused(what, members)
    assert [] == control.get("faults")["rules"]


def test_what_is_no_json(control: Control) -> None:
    """A body that is not JSON is refused."""
    for body in (b"{", b"[" * 300_000, b"\xff", b'{"advance": NaN}', b'{"run": true, "run": true}'):
        answer = control.http.post("/_emulator/clock", content=body, headers=JSON)
        assert (400, "validation_failed") == (answer.status_code, answer.json()["error"]["code"])
        assert answer.json()["error"]["message"].startswith("the body is not JSON: ")
    # Python reads it, as a number of its own.
    endless = b'{"requests_per_minute": 1e999}'
    answer = control.http.post("/_emulator/rate_limit", content=endless, headers=JSON)
    assert answer.status_code == 400


def test_what_does_not_exist(control: Control) -> None:
    """Unknown paths and methods are answered with an error envelope."""
    for path in ("/_emulator/nothing", "/_emulator/", "/nothing"):
        answer = control.http.get(path)
        assert (404, "not_found") == (answer.status_code, answer.json()["error"]["code"])
    assert 404 == control.http.post("/_emulator/changes").status_code
    answer = control.http.put("/_emulator/faults")
    assert (405, "not_found") == (answer.status_code, answer.json()["error"]["code"])
    assert "GET, POST, DELETE" == answer.headers["Allow"]


def test_a_control_that_fails_is_an_answer(
    control: Control, kraty: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of the emulator is reported in an error envelope too."""

    def fail(seconds: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(kraty.clock, "advance", fail)
    answer = control.http.post("/_emulator/clock", json={"advance": 1})
    assert (500, "internal_error") == (answer.status_code, answer.json()["error"]["code"])
