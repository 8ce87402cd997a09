"""Web pages of other origins can neither use nor control an emulator."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from kraty_admin.emulator import Emulator
from kraty_admin.emulator._wire import BODY_LIMIT

CREDIT = "/server/v1/players/alice/wallet/gold/credit"


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    """Start one emulator for all tests of this file."""
    with Emulator(allow_hosts=["Kraty.test"]) as emulator:
        yield emulator


@pytest.fixture
def kraty(running: Emulator) -> Emulator:
    """Reset the emulator, and give alice 5 gold."""
    running.reset()
    with running.client() as client:
        client.wallet.credit("alice", "gold", amount=5)
    return running


@pytest.fixture
def http(kraty: Emulator) -> Iterator[httpx.Client]:
    """Return an HTTP client with the key."""
    headers = {"Authorization": f"Bearer {kraty.api_key}"}
    with httpx.Client(base_url=kraty.base_url, headers=headers, trust_env=False) as client:
        yield client


FOREIGN = [
    pytest.param({"Origin": "https://evil.example"}, id="another site"),
    pytest.param({"Origin": "http://127.0.0.1:1"}, id="another port"),
    pytest.param({"Origin": "https://127.0.0.1:{port}"}, id="another scheme"),
    pytest.param({"Origin": "http://localhost:{port}"}, id="another name"),
    pytest.param({"Origin": "null"}, id="no origin"),
    pytest.param({"Origin": ""}, id="empty origin"),
    pytest.param({"Sec-Fetch-Site": "cross-site"}, id="another site without an origin"),
    pytest.param({"Sec-Fetch-Site": "same-site"}, id="another port without an origin"),
    pytest.param({"Host": "evil.example"}, id="rebound name"),
    pytest.param({"Host": "evil.example:{port}"}, id="rebound name with a port"),
    pytest.param({"Host": "127.0.0.1.evil.example"}, id="name that looks like an address"),
    pytest.param({"Host": "evil.example", "Origin": "http://evil.example"}, id="rebound page"),
    pytest.param({"Host": "10.0.0.1"}, id="another address"),
    pytest.param({"Host": ""}, id="empty host"),
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_foreign_page_gets_nothing(
    kraty: Emulator, http: httpx.Client, headers: dict[str, str]
) -> None:
    """A page of another origin cannot reset, register a webhook, call the API or read anything."""
    port = str(urlsplit(kraty.base_url).port)
    foreign = {name: value.format(port=port) for name, value in headers.items()}
    hook = {"url": "http://127.0.0.1:1/", "secret": "s"}
    answers = [
        http.post("/_emulator/reset", headers=foreign),
        http.post("/_emulator/webhooks", headers=foreign, json=hook),
        http.post("/_emulator/faults", headers=foreign, json={"faults": [{"kind": "drop"}]}),
        http.post(CREDIT, headers=foreign, json={"amount": 5}),
        http.get("/_emulator/ledger", headers=foreign),
        http.get("/_emulator/requests", headers=foreign),
        http.get("/_emulator/changes", headers=foreign),
        http.get("/_emulator/console.js", headers=foreign),
        http.get("/", headers=foreign),
        http.get("/server/v1/ping", headers=foreign),
    ]
    assert [(403, "forbidden")] * 10 == [
        (answer.status_code, answer.json()["error"]["code"]) for answer in answers
    ]
    assert 5 == kraty.balance("alice", "gold")
    assert [] == kraty.faults.rules
    with kraty.client() as client:
        client.wallet.credit("alice", "gold", amount=1)
    assert [] == kraty.deliveries


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="program"),
        pytest.param({"Origin": "http://127.0.0.1:{port}"}, id="own page"),
        pytest.param({"Sec-Fetch-Site": "none"}, id="typed address"),
        pytest.param({"Host": "localhost:{port}"}, id="localhost"),
        pytest.param({"Host": "LOCALHOST"}, id="upper case"),
        pytest.param({"Host": "[::1]:{port}"}, id="IPv6"),
        pytest.param({"Host": "kraty.test:4010"}, id="allowed host"),
        pytest.param({"Host": "kraty.test", "Origin": "http://kraty.test"}, id="its own page"),
    ],
)
def test_programs_and_own_pages_are_served(
    kraty: Emulator, http: httpx.Client, headers: dict[str, str]
) -> None:
    """Loopback names, allowed hosts and the emulator's own origin are served."""
    port = str(urlsplit(kraty.base_url).port)
    own = {name: value.format(port=port) for name, value in headers.items()}
    assert http.get("/server/v1/ping", headers=own).is_success
    assert http.post("/_emulator/reset", headers=own).is_success


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
def test_a_body_must_be_declared_as_json(
    kraty: Emulator, http: httpx.Client, content_type: str | None
) -> None:
    """A body of another type, which a foreign page could send, is refused."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    for path in (CREDIT, "/_emulator/clock"):
        answer = http.post(path, content=b'{"amount":5}', headers=headers)
        assert (415, "validation_failed") == (
            answer.status_code,
            answer.json()["error"]["code"],
        )
    assert 5 == kraty.balance("alice", "gold")


def test_a_body_has_a_limit(kraty: Emulator, http: httpx.Client) -> None:
    """A body beyond the limit is refused, and the limit itself is not."""
    json_type = {"Content-Type": "application/json; charset=utf-8"}
    start, end = b'{"amount":5,"reason":"', b'"}'
    fits = start + b"x" * (200_000 - len(start + end)) + end
    assert http.post(CREDIT, content=fits, headers=json_type).is_success
    for path in (CREDIT, "/_emulator/clock"):
        answer = http.post(path, content=b" " * (BODY_LIMIT + 1), headers=json_type)
        assert (413, "validation_failed") == (
            answer.status_code,
            answer.json()["error"]["code"],
        )
        assert str(BODY_LIMIT) in answer.json()["error"]["message"]
    full = start + b"x" * (BODY_LIMIT - len(start + end)) + end
    assert 413 != http.post(CREDIT, content=full, headers=json_type).status_code


def test_an_absolute_target_is_served(kraty: Emulator) -> None:
    """`GET http://host/path`, as for a proxy, is `GET /path`."""
    address = urlsplit(kraty.base_url)
    key = f"Authorization: Bearer {kraty.api_key}"
    target = f"{kraty.base_url}/server/v1/ping"
    head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{key}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port or 0)) as sock:
        sock.sendall(head.encode())
        with sock.makefile("rb") as answer:
            assert b"200" == answer.readline().split()[1]
