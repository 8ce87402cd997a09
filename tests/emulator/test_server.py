"""The emulator over HTTP, and as a Python object."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

import kraty_admin.emulator
from kraty_admin.emulator import Emulator

from .testkit import CLIENT_KEY, CONTRACT, OTHER_GAME_KEY, validator

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Check that the test leaves no thread behind."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture
def http(kraty: Emulator) -> Iterator[httpx.Client]:
    """Return an HTTP client with the key."""
    with client(kraty) as http:
        yield http


def client(kraty: Emulator, key: str | None = None) -> httpx.Client:
    return httpx.Client(
        base_url=f"{kraty.base_url}/server/v1",
        headers={"Authorization": f"Bearer {key or kraty.api_key}"},
        trust_env=False,
        timeout=10,
    )


# --- over HTTP -------------------------------------------------------------


def test_every_operation_answers_over_http(kraty: Emulator, http: httpx.Client) -> None:
    """Each operation answers over HTTP as the contract describes it."""
    entries = [{"type": "currency", "currencyKey": "gold", "amount": 5}]
    row = {"externalPlayerId": "p_1", "idempotencyKey": "k"}
    done: dict[str, Any] = {}

    def call(operation_id: str, path: str, body: Any = None) -> Any:
        method, schema = OPERATIONS[operation_id]
        response = http.request(method, path, json=body) if body else http.request(method, path)
        assert response.is_success, response.text
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-request-id"].startswith("req_")
        validator(schema[str(response.status_code)]).validate(response.json())
        done[operation_id] = response.json().get("data")
        return done[operation_id]

    lobbies = "/games/game_1/events/quick_brawl/lobbies"
    call("ping", "/ping")
    grant = call(
        "createGrant", "/players/alice/grants", {"idempotencyKey": "k", "entries": entries}
    )
    call("ackGrant", f"/players/alice/grants/{grant['id']}/ack", {"idempotencyKey": "k"})
    call("creditWallet", "/players/alice/wallet/gold/credit", {"amount": 5})
    call("debitWallet", "/players/alice/wallet/gold/debit", {"amount": 5})
    call("grantItem", "/players/alice/inventory/health_potion/grant", {"quantity": 5})
    call("revokeItem", "/players/alice/inventory/health_potion/revoke", {"quantity": 5})
    lobby = call("pushLobby", lobbies, {"key": "m", "externalPlayerIds": ["alice", "bob"]})
    call("readLobby", f"/games/game_1/lobbies/{lobby['id']}")
    call("getPlayer", "/players/alice?limit=5")
    call("banPlayer", "/players/bob/ban", {"reason": "x"})
    call("unbanPlayer", "/players/bob/unban")
    call("mergePlayers", "/players/bob/merge-into/alice", {"idempotencyKey": "k"})
    call("migratePlayers", "/migrate/players", {"rows": [row]})
    call("migrateWallet", "/migrate/wallet", {"rows": [{**row, "economyKey": "gold", "amount": 5}]})
    call(
        "migrateInventory",
        "/migrate/inventory",
        {"rows": [{**row, "itemKey": "starter_chest", "quantity": 5}]},
    )
    attempt = kraty.game_client.start_attempt("alice", "quick_brawl")
    attempts = f"/players/alice/events/quick_brawl/attempts/{attempt}"
    call("reportProgress", f"{attempts}/progress", {"mode": "set", "metricValue": 5})
    call("finishAttempt", f"{attempts}/finish")
    values = {"externalId": "alice", "key": "all_time", "gameId": "game_1"}
    values |= {"eventKey": "quick_brawl", "itemKey": "health_potion", "economyKey": "gold"}
    for path, item in CONTRACT["paths"].items():
        for operation in item.values():
            if "operationId" in operation and operation["operationId"] not in {
                *done,
                "exportPlayer",
                "deletePlayer",
            }:
                media = operation.get("requestBody", {}).get("content", {})
                example = media.get("application/json", {}).get("example")
                call(operation["operationId"], path.format_map(values), example)
    call("exportPlayer", "/players/alice/export")
    call("deletePlayer", "/players/alice/delete", {"reason": "test"})
    assert set(done) == set(OPERATIONS)


OPERATIONS: dict[str, tuple[str, dict[str, str]]] = {
    operation["operationId"]: (
        method,
        {
            status: response["content"]["application/json"]["schema"]["$ref"]
            for status, response in operation["responses"].items()
            if status.startswith("2")
        },
    )
    for item in CONTRACT["paths"].values()
    for method, operation in item.items()
    if "operationId" in operation
}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        pytest.param("GET", "/nowhere", 404, "not_found", id="unknown path"),
        pytest.param("DELETE", "/ping", 405, "not_found", id="wrong method"),
        pytest.param("POST", "/players/a/ban", 400, "validation_failed", id="no body"),
        pytest.param("GET", "/games/game_2/lobbies/x", 403, "forbidden", id="other game"),
    ],
)
def test_refusals_are_envelopes(
    http: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    """Every refusal is an error envelope with a rate limit header."""
    refused = http.request(method, path)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert refused.headers["ratelimit-limit"] == "600000"


def test_keys_are_distinguished(kraty: Emulator) -> None:
    """A missing key, a client's key and another game's key get different answers."""
    with client(kraty, "no.key") as stranger:
        assert stranger.get("/ping").status_code == 401
    with client(kraty, CLIENT_KEY) as player:
        assert player.get("/ping").status_code == 403
    with client(kraty, OTHER_GAME_KEY) as neighbour:
        assert neighbour.get("/ping").json()["apiKey"]["gameId"] == "game_2"


@pytest.mark.parametrize("name", ["a%2Fb", "a%0Ab", "caf%C3%A9", "%25", "a%3Fb"])
def test_escaped_ids_arrive_as_they_are(kraty: Emulator, http: httpx.Client, name: str) -> None:
    """A slash or a line break in an id does not change the address."""
    assert http.post(f"/players/{name}/wallet/gold/credit", json={"amount": 5}).is_success
    (entry,) = kraty.ledger
    assert entry.external_player_id == httpx.URL(f"http://x/{name}").path[1:]


def test_answers_are_sent_at_once(kraty: Emulator, http: httpx.Client) -> None:
    """Each connection has TCP_NODELAY set, so that no answer waits for an acknowledgement."""
    http.get("/ping")
    server = kraty._running._server  # type: ignore[union-attr]  # pyright: ignore
    connections = list(server.server_state.connections)
    assert connections
    for connection in connections:
        accepted: socket.socket = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_one_receipt_mints_once_under_load(kraty: Emulator, http: httpx.Client) -> None:
    """Of many simultaneous calls with one key, one is applied and all get its balance."""
    body = {"amount": 5, "idempotencyKey": "receipt"}

    def credit(_: int) -> Any:
        return http.post("/players/alice/wallet/gold/credit", json=body).json()["data"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(credit, range(64)))
    assert sorted(answer["applied"] for answer in answers) == [False] * 63 + [True]
    assert {answer["balance"] for answer in answers} == {5}
    assert len(kraty.ledger) == 1


def test_a_client_that_hangs_up_changes_nothing(kraty: Emulator) -> None:
    """A request whose body was not sent in full is not recorded and changes nothing."""
    host, port = kraty.base_url.removeprefix("http://").split(":")
    head = (
        "POST /server/v1/players/alice/wallet/gold/credit HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {kraty.api_key}\r\nContent-Length: 100\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode() + b'{"amount":')
    with client(kraty) as http:
        assert http.get("/ping").is_success
    assert [request.method for request in kraty.requests] == ["GET"]
    assert kraty.ledger == []


# --- as a Python object ----------------------------------------------------


def test_it_can_be_looked_into(kraty: Emulator, http: httpx.Client) -> None:
    """Balances, items, ledger and requests can be read from the object."""
    body = b'{"amount":5,"reason":"iap", "sourceRefId":"r","idempotencyKey":"k"}'
    json_type = {"Content-Type": "application/json"}
    http.post("/players/alice/wallet/gold/credit", content=body, headers=json_type)
    http.post("/players/alice/inventory/health_potion/grant", json={"quantity": 2})
    assert (kraty.balance("alice", "gold"), kraty.balance("nobody", "gold")) == (5, 0)
    assert (kraty.quantity("alice", "health_potion"), kraty.quantity("alice", "x")) == (2, 0)
    assert [(entry.key, entry.delta) for entry in kraty.ledger] == [
        ("gold", 5),
        ("health_potion", 2),
    ]
    (entry,) = [entry for entry in kraty.ledger if entry.key == "gold"]
    assert (entry.kind, entry.operation, entry.reason, entry.source_ref_id) == (
        "currency",
        "wallet.credit",
        "iap",
        "r",
    )
    assert entry.idempotency_key == "k"
    first, second = kraty.requests
    assert (first.method, first.path) == ("POST", "/server/v1/players/alice/wallet/gold/credit")
    assert (first.idempotency_key, first.json["amount"]) == ("k", 5)
    assert first.body == body
    assert second.idempotency_key is None
    kraty.reset()
    assert (kraty.ledger, kraty.requests, kraty.balance("alice", "gold")) == ([], [], 0)


def test_starting_and_closing_twice_is_fine() -> None:
    """An emulator can be started and closed twice, and started again with a new state."""
    emulator = Emulator()
    assert "stopped" in repr(emulator)
    base_url = ""
    for _ in range(2):
        emulator.start()
        base_url = emulator.base_url
        emulator.start()
        assert emulator.base_url == base_url
        assert base_url in repr(emulator)
        assert emulator.ledger == []
        with client(emulator) as http:
            http.post("/players/alice/wallet/gold/credit", json={"amount": 5})
        emulator.close()
        emulator.close()
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.base_url
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base_url}/server/v1/ping", trust_env=False)


def test_the_key_is_known_before_the_start() -> None:
    """The API key can be read before the emulator starts."""
    assert Emulator().api_key == "krt_emulator_game1.not-a-secret"


def test_many_run_side_by_side() -> None:
    """Several emulators run at the same time, each with its own port and state."""
    emulators = [Emulator() for _ in range(3)]
    try:
        for number, emulator in enumerate(emulators):
            emulator.start()
            with client(emulator) as http:
                http.post("/players/a/wallet/gold/credit", json={"amount": number + 1})
        balances = [emulator.balance("a", "gold") for emulator in emulators]
        assert [1, 2, 3] == balances
    finally:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Emulator.close, emulators))


def test_a_taken_port_is_an_error(kraty: Emulator, tmp_path: Path) -> None:
    """A port in use is an OSError, and the database is closed again."""
    port = int(kraty.base_url.rpartition(":")[2])
    other = Emulator(port=port, database=tmp_path / "kraty.sqlite3")
    with pytest.raises(OSError, match="in use") as failed:
        other.start()
    assert [path.name for path in tmp_path.iterdir()] == ["kraty.sqlite3"]
    del failed
    assert "stopped" in repr(other)


def test_a_port_can_be_taken_again_at_once() -> None:
    """A port can be reused at once, while an old connection is still open."""
    with Emulator() as first:
        port = int(first.base_url.rpartition(":")[2])
        http = client(first)
        http.get("/ping")
    with Emulator(port=port) as second, client(second) as again:
        assert again.get("/ping").is_success
    http.close()


def test_a_server_that_cannot_start_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An emulator that cannot start raises an error with the cause, and is stopped."""

    async def startup(self: uvicorn.Server, sockets: object = None) -> None:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    emulator = Emulator()
    with pytest.raises(RuntimeError, match="did not start") as failed:
        emulator.start()
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert "by design" in caplog.text
    assert "stopped" in repr(emulator)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        pytest.param("0.0.0.0", "expose_control", id="every interface"),
        pytest.param("192.168.1.1", "expose_control", id="another interface"),
        pytest.param("::1", "IPv4", id="IPv6"),
        pytest.param("example.com", "IPv4", id="name"),
        pytest.param("", "IPv4", id="empty"),
    ],
)
def test_only_this_machine_is_served(host: str, why: str) -> None:
    """A host that is not this machine is refused, unless it is allowed explicitly."""
    with pytest.raises(ValueError, match=why):
        Emulator(host=host)


def test_one_allowed_host_is_a_list_too() -> None:
    """A single allowed host that is passed as a text is refused."""
    with pytest.raises(TypeError, match=r"^allow_hosts must be a list of names, not a str"):
        Emulator(allow_hosts="kraty.test")


def test_localhost_is_this_machine() -> None:
    """The host may be a loopback name or address."""
    for host in ("localhost", "127.0.0.2"):
        with Emulator(host=host) as emulator, client(emulator) as http:
            assert http.get("/ping").is_success


def test_a_file_outlives_the_server(tmp_path: Path) -> None:
    """The next emulator with the same file knows the ledger and the keys."""
    database = tmp_path / "kraty.sqlite3"
    body = {"amount": 5, "idempotencyKey": "k"}
    for applied in (True, False):
        with Emulator(database=database) as emulator, client(emulator) as http:
            answer = http.post("/players/alice/wallet/gold/credit", json=body).json()
            assert answer["data"] == {"economyKey": "gold", "balance": 5, "applied": applied}
            assert len(emulator.ledger) == 1


def test_a_budget_can_be_set() -> None:
    """A call beyond the configured rate limit gets a 429."""
    with (
        Emulator(requests_per_minute=1, seed=1) as emulator,
        client(emulator) as http,
    ):
        assert http.get("/ping").headers["ratelimit-remaining"] == "0"
        refused = http.get("/ping")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")


def test_closing_does_not_wait() -> None:
    """Closing waits neither for an idle connection nor for an unfinished request."""
    with Emulator() as emulator:
        host, port = emulator.base_url.removeprefix("http://").split(":")
        idle = client(emulator)
        idle.get("/ping")
        unfinished = socket.create_connection((host, int(port)), timeout=10)
        unfinished.sendall(
            b"POST /server/v1/ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
        )
        idle.get("/ping")
        start = time.perf_counter()
    took = time.perf_counter() - start
    unfinished.close()
    idle.close()
    assert took < 5


# --- in other processes ----------------------------------------------------


def python(code: str, *options: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def test_a_process_ends_cleanly(tmp_path: Path) -> None:
    """A process ends without a warning or a temporary file, whether its emulators were closed or
    not."""
    code = """
import httpx
from kraty_admin.emulator import Emulator
closed, left = Emulator(database="closed.sqlite3"), Emulator(database="left.sqlite3")
for emulator in (closed, left):
    emulator.start()
    httpx.get(emulator.base_url + "/server/v1/ping", trust_env=False)
closed.close()
"""
    done = python(code, "-W", "error", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ["closed.sqlite3", "left.sqlite3"] == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing to fork with")
def test_a_forked_child_leaves_the_parents_server_alone(tmp_path: Path) -> None:
    """A test that forks its workers can start the emulator first.

    The fork comes in the middle of a transaction, whose lock is then never released
    in the child.
    """
    code = """
import os, signal, sys, threading, uuid, httpx
from kraty_admin.emulator import Emulator, _server

inside, forked = threading.Event(), threading.Event()
asked = []

def new_uuid():
    asked.append(1)
    if len(asked) == 2:  # the first names the request, the second its player
        inside.set()
        assert forked.wait(20)
    return uuid.uuid4()

def credit():
    httpx.post(url, json={"amount": 5}, headers=headers, trust_env=False).raise_for_status()

_server.ordered_uuid = new_uuid
with Emulator(database="kraty.sqlite3") as emulator:
    url = emulator.base_url + "/server/v1/players/a/wallet/gold/credit"
    headers = {"Authorization": "Bearer " + emulator.api_key}
    client = threading.Thread(target=credit)
    client.start()
    assert inside.wait(20)
    child = os.fork()
    if not child:
        signal.alarm(20)  # so that a child that hangs fails the test and does not outlive it
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    forked.set()
    client.join()
    credit()
    print(emulator.balance("a", "gold"))
"""
    done = python(code, "-W", "ignore::DeprecationWarning", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "10\n", "")


def test_importing_the_sdk_imports_no_emulator() -> None:
    """Neither the SDK nor the command imports the emulator before it is used."""
    code = """
import sys, kraty_admin, kraty_admin.cli
print([name for name in sys.modules if "emulator" in name])
print([name for name in ("cattrs", "uvicorn", "jsonschema_rs") if name in sys.modules])
"""
    assert python(code).stdout == "[]\n[]\n"


def test_all_public_names_are_there() -> None:
    """Each name of `__all__` can be imported, and other names raise AttributeError."""
    for name in kraty_admin.emulator.__all__:
        assert getattr(kraty_admin.emulator, name) is not None
    assert set(kraty_admin.emulator.__all__) <= set(dir(kraty_admin.emulator))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kraty_admin.emulator.nothing  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
