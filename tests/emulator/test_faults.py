"""Faults: which call they hit, when, and how they look to a client."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kraty_admin import (
    KratyAdmin,
    KratyNetworkError,
    KratyResponseError,
    KratyServerError,
    RetryConfig,
)
from kraty_admin.emulator import Emulator, Fault, FaultKind, Faults
from kraty_admin.emulator._faults import Moment
from kraty_admin.emulator._structure import structure

from .testkit import Api

CREDIT = "/players/alice/wallet/gold/credit"
LOST: list[FaultKind] = ["drop", "reset", "stall"]


@pytest.fixture
def kraty(running: Emulator) -> Iterator[Emulator]:
    """Reset the emulator."""
    running.reset()
    yield running
    running.close_clients()


@pytest.fixture
def client(kraty: Emulator) -> KratyAdmin:
    """Return a client that does not retry."""
    return kraty.client(retry=RetryConfig(attempts=1))


def drawn(faults: Faults, *operations: str | None) -> list[str | None]:
    """Return the kinds of fault that calls of these operations get."""
    return [None if (fault := faults.draw(each)) is None else fault.kind for each in operations]


# --- which call ------------------------------------------------------------


class TestRules:
    """Faults that are scripted call by call."""

    def test_one_for_each_call_in_turn(self) -> None:
        """Each fault of a list affects one call, and later calls pass."""
        faults = Faults()
        faults.add(Fault("drop"), None, Fault("reset"))
        assert ["drop", None, "reset", None] == drawn(faults, *["wallet.credit"] * 4)
        assert [] == faults.rules

    def test_some_go_by_first(self) -> None:
        """`skip` lets the first calls of the operation pass, and others are not counted."""
        faults = Faults()
        faults.add(Fault("drop"), operation="wallet.credit", skip=2)
        calls = ["wallet.credit", "wallet.debit", "wallet.credit", "wallet.debit", "wallet.credit"]
        assert [None, None, None, None, "drop"] == drawn(faults, *calls)

    def test_over_and_over(self) -> None:
        """A fault repeats as often as asked for, or until it is cleared."""
        faults = Faults()
        faults.add(Fault("drop"), Fault("reset"), times=2)
        assert ["drop", "reset", "drop", "reset", None] == drawn(faults, *["players.get"] * 5)
        faults.add(Fault("drop"), times=None)
        assert ["drop"] * 50 == drawn(faults, *["players.get"] * 50)
        faults.clear()
        assert [None] == drawn(faults, "players.get")

    def test_the_first_rule_applies_first(self) -> None:
        """The next rule applies while the first one lets calls pass, and after it."""
        faults = Faults()
        faults.add(Fault("drop"), operation="wallet.credit", skip=1)
        faults.add(Fault("reset"), times=None)
        assert ["reset", "drop", "reset"] == drawn(faults, *["wallet.credit"] * 3)

    def test_deliveries_are_no_calls(self) -> None:
        """A fault of any call is not for webhooks, and one of webhooks is not for calls."""
        faults = Faults()
        faults.add(Fault("drop"), times=None)
        assert [None, "drop", "drop"] == drawn(faults, "webhook", None, "health.ping")
        faults.clear()
        faults.add(None, Fault("delay"), operation="webhook", times=None)
        assert [None, "delay"] == drawn(faults, "webhook", "webhook")
        assert [None, None] == drawn(faults, None, "health.ping")

    def test_past_faults_are_counted(self) -> None:
        """Faults are counted by kind, status and moment, until a reset."""
        faults = Faults()
        faults.add(Fault("drop"), None, Fault("status", status=429, when="before"))
        drawn(faults, *["players.get"] * 3)
        faults.clear()
        assert faults.struck == {
            "drop, after the commit": 1,
            "status 429, before the commit": 1,
        }
        faults.reset()
        assert faults.struck == {}

    def test_what_is_shown_is_a_copy(self) -> None:
        """Changing the returned rules and counts does not change the faults."""
        faults = Faults()
        faults.add(Fault("drop"), skip=1)
        faults.rules[0].skip = 9
        faults.struck["mine"] += 1
        assert faults.struck == {}
        assert [None, "drop"] == drawn(faults, *["players.get"] * 2)


class TestChaos:
    """Faults by chance."""

    def test_the_same_seed_gives_the_same_faults(self) -> None:
        """The same seed gives the same faults, and another seed gives others."""

        def run(seed: int) -> list[str | None]:
            faults = Faults()
            faults.chaos(0.3, seed=seed)
            return drawn(faults, *["wallet.credit"] * 200)

        assert run(1) == run(1) != run(2)

    @pytest.mark.parametrize(("rate", "after"), [(0.3, 0.5), (1.0, 0.0), (1.0, 1.0), (0.0, 0.5)])
    def test_the_rates_are_kept(self, rate: float, after: float) -> None:
        """The configured shares of calls fail, in total and after the commit."""
        faults = Faults()
        faults.chaos(rate, after=after, seed=5)
        drawn(faults, *["wallet.credit"] * 4000)
        late = sum(n for name, n in faults.struck.items() if "after" in name)
        assert faults.struck.total() == pytest.approx(4000 * rate, rel=0.1)
        assert late == pytest.approx(faults.struck.total() * after, rel=0.1)

    def test_everything_comes_up(self) -> None:
        """Chaos picks every kind of fault at every moment that it has."""
        faults = Faults()
        faults.chaos(1.0)
        drawn(faults, *["wallet.credit"] * 4000)
        kinds = ["drop", "reset", "stall", "truncate", "invalid_json", "delay"]
        kinds += ["status 500", "status 502", "status 503"]
        names = {f"{kind}, {when} the commit" for kind in kinds for when in ("before", "after")}
        names |= {"content_type, after the commit", "drip, after the commit"}
        assert names | {"status 429, before the commit"} == set(faults.struck)

    @pytest.mark.parametrize("operation", ["webhook", "wallet.credit"])
    def test_what_takes_time_takes_so_long(self, operation: str) -> None:
        """Stalls, drips and delays of chaos last as long as `seconds` says."""
        faults = Faults()
        faults.chaos(1.0, seconds=7, operation=operation)
        struck = [faults.draw(operation) for _ in range(500)]
        slow = {(f.kind, f.seconds) for f in struck if f and f.kind in ("stall", "drip", "delay")}
        kinds = {"delay"} if operation == "webhook" else {"delay", "drip", "stall"}
        assert {(kind, 7) for kind in kinds} == slow

    def test_deliveries_have_chaos_of_their_own(self) -> None:
        """Chaos of webhooks drops or delays deliveries, and does not hit calls."""
        faults = Faults()
        faults.chaos(1.0, operation="webhook")
        assert [None] == drawn(faults, "wallet.credit")
        drawn(faults, *["webhook"] * 200)
        assert {name.split(",")[0] for name in faults.struck} == {"drop", "delay"}

    def test_an_operations_own_goes_first(self) -> None:
        """Chaos of one operation precedes that of all, and a rule precedes both."""
        faults = Faults()
        faults.chaos(1.0)
        faults.chaos(0.0, operation="wallet.credit")
        assert [None] == drawn(faults, "wallet.credit")
        assert [None] != drawn(faults, "wallet.debit")
        faults.add(Fault("reset"))
        assert ["reset"] == drawn(faults, "wallet.credit")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"kind": "fire"}, "kind", id="unknown kind"),
        pytest.param({}, "kind: is missing", id="no kind"),
        pytest.param(
            {"kind": "drop", "wen": "before"},
            "has no member .wen.; it may have kind",
            id="unknown field",
        ),
        pytest.param({"kind": "drop", "when": "during"}, "when", id="unknown moment"),
        pytest.param({"kind": "drip", "when": "before"}, "changes the answer", id="early drip"),
        pytest.param(
            {"kind": "content_type", "when": "before"}, "changes the answer", id="early type"
        ),
        pytest.param({"kind": "status", "status": 200}, "400 to 599", id="a success"),
        pytest.param({"kind": "status", "status": 600}, "400 to 599", id="beyond"),
        pytest.param({"kind": "stall", "seconds": -1}, "0 to 3600", id="negative"),
        pytest.param({"kind": "stall", "seconds": 3601}, "0 to 3600", id="too long"),
    ],
)
def test_no_such_fault(fields: dict[str, Any], message: str) -> None:
    """A fault that cannot be is refused, and the message says why."""
    with pytest.raises(ValueError, match=message):
        structure(fields, Fault, "fault")


@pytest.mark.parametrize(
    ("faults", "options", "message"),
    [
        pytest.param([], {}, "no fault", id="none"),
        pytest.param(["drop"], {"skip": -1}, "skip", id="skip"),
        pytest.param(["drop"], {"times": 0}, "times", id="times"),
        pytest.param(["drop"], {"operation": "wallet.burn"}, "wallet.credit", id="operation"),
        pytest.param(["reset"], {"operation": "webhook"}, "dropped or delayed", id="delivery"),
    ],
)
def test_no_such_rule(faults: list[FaultKind], options: dict[str, Any], message: str) -> None:
    """A rule that cannot be is refused, and the message names the argument."""
    with pytest.raises(ValueError, match=message):
        Faults().add(*[Fault(kind) for kind in faults], **options)


@pytest.mark.parametrize(
    "options",
    [{"rate": 1.1}, {"rate": -0.1}, {"rate": 0.5, "after": 2}, {"rate": 1, "seconds": -1}],
)
def test_no_such_chaos(options: dict[str, Any]) -> None:
    """A wrong option of chaos is refused at once."""
    with pytest.raises(ValueError, match="from 0 to"):
        Faults().chaos(**options)


# --- what it does, without sockets -----------------------------------------


@pytest.mark.parametrize(("when", "balance"), [("before", 0), ("after", 5)])
@pytest.mark.parametrize("kind", ["status", "drop", "reset", "stall", "truncate", "invalid_json"])
def test_the_moment_decides_about_the_effect(
    api: Api, kind: FaultKind, when: Moment, balance: int
) -> None:
    """A fault before the commit prevents the effect, and one after it does not."""
    api.platform.faults.add(Fault(kind, when=when))
    api.platform.answer(api.request("POST", CREDIT, {"amount": 5, "idempotencyKey": "k"}))
    assert balance == api.balance("alice")
    assert api.post(CREDIT, {"amount": 5, "idempotencyKey": "k"}).data["applied"] == (balance == 0)
    assert api.balance("alice") == 5


def test_a_delay_never_prevents_the_effect(api: Api) -> None:
    """A delayed call commits, and its answer reports success."""
    api.platform.faults.add(Fault("delay", when="before"), Fault("delay"))
    for balance in (5, 10):
        answer = api.platform.answer(api.request("POST", CREDIT, {"amount": 5}))
        assert (answer.status, answer.breaks) == (200, None)
        assert api.balance("alice") == balance


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "validation_failed"), (429, "rate_limited"), (500, "internal_error"), (503, "mine")],
)
def test_a_status_has_an_envelope(api: Api, status: int, code: str) -> None:
    """An error has the status's usual code or the given one, and the given headers."""
    own = code if code == "mine" else None
    fault = Fault("status", status=status, code=own, headers={"Retry-After": "3"}, when="before")
    api.platform.faults.add(fault)
    answer = api.platform.answer(api.request("POST", CREDIT, {"amount": 5}))
    assert f'"code":"{code}"'.encode() in answer.body
    assert (answer.status, answer.headers["Retry-After"]) == (status, "3")
    assert answer.headers["X-Request-Id"].startswith("req_")


def test_a_proxys_page_tells_nothing(api: Api) -> None:
    """A proxy's page is HTML, without the headers that the platform sets."""
    api.platform.faults.add(Fault("status", status=502, html=True))
    answer = api.platform.answer(api.request("POST", CREDIT, {"amount": 5}))
    assert (answer.status, answer.headers) == (502, {"Content-Type": "text/html"})
    assert answer.body.startswith(b"<html>")


# --- what was seen ---------------------------------------------------------


def test_requests_tell_operation_key_attempt_and_fault(api: Api) -> None:
    """Each request lists its operation, key, fault and status, and its attempt for this path and
    key."""
    api.platform.faults.add(Fault("drop", when="before"), Fault("status", status=500))
    body = {"amount": 5, "idempotencyKey": "k"}
    for _ in range(3):
        api.platform.answer(api.request("POST", CREDIT, body))
    api.platform.answer(api.request("POST", "/players/bob/wallet/gold/credit", body))
    api.platform.answer(api.request("GET", "/ping"))
    api.platform.answer(api.request("GET", "/nowhere"))
    seen = api.platform.seen()
    assert [
        ("wallet.credit", "k", 1, "drop", None),
        ("wallet.credit", "k", 2, "status", 500),
        ("wallet.credit", "k", 3, None, 200),
        ("wallet.credit", "k", 1, None, 409),
        ("health.ping", None, 1, None, 200),
        (None, None, 1, None, 404),
    ] == [
        (s.operation, s.idempotency_key, s.attempt, s.fault and s.fault.kind, s.status)
        for s in seen
    ]
    assert seen == api.platform.seen()


def test_what_was_read_does_not_change(api: Api) -> None:
    """An attempt keeps its number when earlier ones are no longer kept."""
    body = {"amount": 5, "idempotencyKey": "k"}
    for _ in range(2):
        api.platform.answer(api.request("POST", CREDIT, body))
    (_, second) = api.platform.seen()
    for _ in range(999):
        api.platform.answer(api.request("GET", "/nowhere"))
    assert second == api.platform.seen()[0]
    api.platform.answer(api.request("POST", CREDIT, body))
    assert 3 == api.platform.seen()[-1].attempt
    # Once none of them is kept, nothing is remembered of them.
    for _ in range(1000):
        api.platform.answer(api.request("GET", "/nowhere"))
    api.platform.answer(api.request("POST", CREDIT, body))
    assert 1 == api.platform.seen()[-1].attempt


# --- what a client meets ---------------------------------------------------


@pytest.mark.parametrize(("when", "balance"), [("before", 0), ("after", 5)])
@pytest.mark.parametrize(
    ("kind", "raised", "cause"),
    [
        ("status", KratyServerError, ""),
        ("drop", KratyNetworkError, "RemoteProtocolError"),
        ("reset", KratyNetworkError, "ReadError"),
        ("stall", KratyNetworkError, "RemoteProtocolError"),
        ("truncate", KratyNetworkError, "RemoteProtocolError"),
        ("invalid_json", KratyResponseError, ""),
    ],
)
def test_the_caller_sees_an_error_and_repeats(
    kraty: Emulator,
    client: KratyAdmin,
    kind: FaultKind,
    when: Moment,
    balance: int,
    raised: type[KratyServerError | KratyNetworkError],
    cause: str,
) -> None:
    """Each fault is ambiguous, and repeating the call with its key pays once in total."""
    kraty.faults.add(Fault(kind, when=when, seconds=0.01), operation="wallet.credit")
    with pytest.raises(raised) as failed:
        client.wallet.credit("alice", "gold", amount=5)
    assert balance == kraty.balance("alice", "gold")
    assert failed.value.ambiguous
    if isinstance(failed.value, KratyNetworkError):
        assert failed.value.cause_name == cause
    key = failed.value.idempotency_key
    again = client.wallet.credit("alice", "gold", amount=5, idempotency_key=key)
    assert (again.balance, again.replayed) == (5, balance == 5)
    assert [5] == [entry.delta for entry in kraty.ledger]


@pytest.mark.parametrize("kind", ["content_type", "drip", "delay"])
def test_odd_answers_are_read_all_the_same(
    kraty: Emulator, client: KratyAdmin, kind: FaultKind
) -> None:
    """The client reads an odd answer that holds a result."""
    kraty.faults.add(Fault(kind, seconds=0.02))
    assert client.wallet.credit("alice", "gold", amount=5).balance == 5
    assert client.wallet.credit("alice", "gold", amount=5).balance == 10
    assert [kind, None] == [seen.fault and seen.fault.kind for seen in kraty.requests]


def test_a_drip_comes_piece_by_piece(kraty: Emulator) -> None:
    """A dripping answer arrives in pieces, spread over the given time."""
    kraty.faults.add(Fault("drip", seconds=0.2))
    host, port = kraty.base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(b"GET /server/v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        started = time.monotonic()
        pieces = list(iter(lambda: connection.recv(4096), b""))
        took = time.monotonic() - started
    assert len(pieces) > 5
    assert b"HTTP/1.1 401 Unauthorized" in b"".join(pieces)
    # Not a test of speed: that it cannot have come at once.
    assert took >= 0.15


def test_a_late_commit_finds_that_it_was_done(kraty: Emulator) -> None:
    """A first attempt that is delayed until after the second changes nothing."""
    kraty.faults.add(Fault("delay", when="before", seconds=0.4), operation="wallet.credit")
    hasty = kraty.client(timeout=0.1, retry=RetryConfig(initial_delay=0.0))
    assert hasty.wallet.credit("alice", "gold", amount=5).http.attempts == 2
    give_up = time.monotonic() + 10
    while len(kraty.requests) < 2 and time.monotonic() < give_up:
        httpx.get(f"{kraty.base_url}/_emulator/ready", trust_env=False)
    first, late = kraty.requests
    assert (first.attempt, late.attempt, late.fault and late.fault.kind) == (1, 2, "delay")
    assert (late.status, [entry.delta for entry in kraty.ledger]) == (200, [5])


def calls_with_a_fault(kraty: Emulator) -> set[Any]:
    """Return the tasks of the calls that the server still holds because of a fault."""
    connections = kraty._running.controls.connections  # type: ignore[union-attr]  # pyright: ignore
    return connections._cuttable  # pyright: ignore[reportPrivateUsage]


def test_a_client_that_leaves_ends_a_stall(kraty: Emulator) -> None:
    """A stall ends when its client leaves, however long it was to last."""
    kraty.faults.add(Fault("stall", seconds=3600))
    hasty = kraty.client(timeout=0.05, retry=RetryConfig(attempts=1))
    with pytest.raises(KratyNetworkError) as failed:
        hasty.wallet.credit("alice", "gold", amount=5)
    assert failed.value.cause_name == "ReadTimeout"
    give_up = time.monotonic() + 10
    while calls_with_a_fault(kraty) and time.monotonic() < give_up:
        httpx.get(f"{kraty.base_url}/_emulator/ready", trust_env=False)
    assert set() == calls_with_a_fault(kraty)


def test_closing_does_not_wait_for_faults() -> None:
    """Neither a reset nor closing waits for a fault to end."""
    with Emulator() as emulator:
        emulator.faults.add(Fault("stall", seconds=3600), Fault("delay", seconds=3600))
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                httpx.get(f"{emulator.base_url}/server/v1/ping", timeout=0.05, trust_env=False)
        started = time.monotonic()
        emulator.reset()
        emulator.close()
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("kind", ["stall", "delay", "drip", None])
def test_closing_breaks_off_what_is_under_way(
    kind: FaultKind | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing ends requests at once and logs no error, even if the client stays connected."""
    with Emulator() as emulator:
        host, port = emulator.base_url.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)), 10)
        if kind is not None:
            emulator.faults.add(Fault(kind, seconds=3600))
            connection.sendall(b"GET /server/v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not emulator.faults.struck:
                httpx.get(f"{emulator.base_url}/_emulator/ready", trust_env=False)
        else:
            head = b"POST /server/v1/ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
            connection.sendall(head + b"{")
            httpx.get(f"{emulator.base_url}/_emulator/ready", trust_env=False)
    with connection:
        left = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b'"ok"' not in left
    assert [] == [record.message for record in caplog.records if record.levelname != "INFO"]


def test_a_reset_breaks_off_what_is_under_way(kraty: Emulator) -> None:
    """A reset ends calls in flight, and none of them commits later."""
    kraty.faults.add(Fault("delay", when="before", seconds=3600), Fault("stall", seconds=3600))
    retry = RetryConfig(attempts=1)
    failures: list[str | None] = []

    def credit() -> None:
        with pytest.raises(KratyNetworkError) as failed:
            kraty.client(timeout=60, retry=retry).wallet.credit("alice", "gold", amount=5)
        failures.append(failed.value.cause_name)

    callers = [threading.Thread(target=credit) for _ in range(2)]
    for number, caller in enumerate(callers, 1):
        caller.start()
        while kraty.faults.struck.total() < number:
            httpx.get(f"{kraty.base_url}/_emulator/ready", trust_env=False)
    kraty.reset()
    for caller in callers:
        caller.join(20)
    assert 2 == len(failures)
    assert set(failures) <= {"RemoteProtocolError", "ReadError"}
    assert ([], []) == (kraty.ledger, kraty.requests)


def test_nothing_is_kept_of_what_is_over(kraty: Emulator) -> None:
    """The server holds no reference to a call that has ended."""
    kraty.faults.add(Fault("status"), times=10)
    url = f"{kraty.base_url}/server/v1/ping"
    assert [503] * 10 == [httpx.get(url, trust_env=False).status_code for _ in range(10)]
    httpx.get(url, trust_env=False)
    assert set() == calls_with_a_fault(kraty)


def test_a_forwarded_address_hides_no_connection(kraty: Emulator) -> None:
    """A fault closes the right connection although a proxy's header names another address."""
    kraty.faults.add(Fault("drop"))
    headers = {"X-Forwarded-For": "1.2.3.4"}
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{kraty.base_url}/server/v1/ping", headers=headers, trust_env=False)


def test_counts_agree(kraty: Emulator) -> None:
    """Under chaos, the counted faults agree with the requests, and each credit is paid once."""
    kraty.faults.chaos(0.5, seed=3, seconds=0.01)
    patient = kraty.client(
        retry=RetryConfig(attempts=20, initial_delay=0.0), retry_budget=None, deadline=60
    )
    for number in range(1, 101):
        assert patient.wallet.credit("alice", "gold", amount=1).balance == number
    assert [1] * 100 == [entry.delta for entry in kraty.ledger]
    assert kraty.faults.struck == Counter(s.fault.name for s in kraty.requests if s.fault)
