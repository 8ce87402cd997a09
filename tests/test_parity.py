"""Requests, byte for byte as a JavaScript backend sends them for the same values.

`parity/cases.json` holds the calls, each with its arguments in Python and as a JavaScript
literal; `parity/expected.mjs` makes `parity/expected.json` of the latter.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import platform
import random
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final

import attrs
import httpx
import pytest

from contract import operation_of
from kraty_admin import KratyAdmin, KratyAdminAsync, __version__
from loopback import mock_own_connections

PARITY: Final = Path(__file__).parent / "parity"
NODE: Final = shutil.which("node")


ANSWER: Final[dict[str, Any]] = {"data": {"friends": [], "blocked": []}}
"""An answer that each operation takes for a result."""


def python_values(value: dict[str, Any]) -> Any:
    """Return a JSON object, or the Python value that it stands for."""
    if value.keys() == {"$datetime"}:
        return datetime.fromisoformat(value["$datetime"])
    if value.keys() == {"$tuple"}:
        return tuple(value["$tuple"])
    return value


CASES_FILE: Final[dict[str, Any]] = json.loads(
    (PARITY / "cases.json").read_text(encoding="utf-8"), object_hook=python_values
)
CASES: Final[list[dict[str, Any]]] = CASES_FILE["cases"]
EXPECTED: Final[list[dict[str, Any]]] = json.loads(
    (PARITY / "expected.json").read_text(encoding="utf-8")
)


@attrs.frozen
class Sent:
    """A request as the server receives it."""

    method: str
    target: bytes
    body: bytes

    @classmethod
    def of(cls, request: httpx.Request) -> Sent:
        return cls(request.method, request.url.raw_path, request.content)

    @classmethod
    def expected(cls, line: dict[str, Any], prefix: str = "") -> Sent:
        return cls(
            line["method"], (prefix + line["target"]).encode(), (line["body"] or "").encode()
        )


REQUESTS: Final = [
    pytest.param(case, Sent.expected(line), id=case["id"])
    for case, line in zip(CASES, EXPECTED, strict=True)
]


def options(**changes: Any) -> dict[str, Any]:
    """Return a client's options, with a generator of keys that always makes the same one."""
    return {
        "api_key": "krt_test.secret",
        "base_url": "https://api.kraty.io",
        "generate_idempotency_key": lambda: CASES_FILE["generatedKey"],
        **changes,
    }


def send(cases: list[dict[str, Any]], **changes: Any) -> list[httpx.Request]:
    """Return the requests that these calls make."""
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=ANSWER)

    with (
        httpx.Client(transport=httpx.MockTransport(handle)) as http,
        KratyAdmin(**options(http_client=http, **changes)) as kraty,
    ):
        for case in cases:
            operation_of(kraty, case["operation"])(*case["args"], **case["kwargs"])
    return requests


def send_async(cases: list[dict[str, Any]], **changes: Any) -> list[httpx.Request]:
    """Return the requests that these calls make when awaited."""
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=ANSWER)

    async def run() -> None:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http,
            KratyAdminAsync(**options(http_client=http, **changes)) as kraty,
        ):
            for case in cases:
                await operation_of(kraty, case["operation"])(*case["args"], **case["kwargs"])

    asyncio.run(run())
    return requests


def send_on_own_transport(
    cases: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, *, is_async: bool
) -> list[httpx.Request]:
    """Return the requests that these calls hand to a client's own transport."""
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=ANSWER)

    async def run() -> None:
        async with KratyAdminAsync(**options()) as kraty:
            for case in cases:
                await operation_of(kraty, case["operation"])(*case["args"], **case["kwargs"])

    mock_own_connections(monkeypatch, handle)
    if is_async:
        asyncio.run(run())
        return requests
    with KratyAdmin(**options()) as kraty:
        for case in cases:
            operation_of(kraty, case["operation"])(*case["args"], **case["kwargs"])
    return requests


@pytest.mark.parametrize(("case", "expected"), REQUESTS)
def test_a_request_is_what_javascript_sends(case: dict[str, Any], expected: Sent) -> None:
    """Method, target and body of a call are the expected bytes."""
    assert [expected] == [Sent.of(request) for request in send([case])]


@pytest.mark.parametrize(("case", "expected"), REQUESTS)
def test_an_awaited_request_is_what_javascript_sends(case: dict[str, Any], expected: Sent) -> None:
    """Method, target and body of an awaited call are the expected bytes."""
    assert [expected] == [Sent.of(request) for request in send_async([case])]


@pytest.mark.parametrize(
    "is_async", [pytest.param(False, id="sync"), pytest.param(True, id="async")]
)
def test_the_own_transport_gets_the_same_requests(
    monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    """A client without an `http_client` sends the expected bytes too."""
    requests = send_on_own_transport(CASES, monkeypatch, is_async=is_async)

    assert [Sent.expected(line) for line in EXPECTED] == [Sent.of(request) for request in requests]


@pytest.mark.parametrize(
    "base_url",
    [
        pytest.param("https://gateway.example/kraty", id="prefix"),
        pytest.param("https://gateway.example/kraty/", id="prefix and slash"),
    ],
)
def test_a_path_of_the_base_url_is_kept(base_url: str) -> None:
    """The path of `base_url` precedes `/server/v1`, and nothing else changes."""
    expected = [Sent.expected(line, "/kraty") for line in EXPECTED]

    assert expected == [Sent.of(request) for request in send(CASES, base_url=base_url)]
    assert expected == [Sent.of(request) for request in send_async(CASES, base_url=base_url)]


DOCUMENTED_HEADERS: Final = {
    "accept": "application/json",
    "authorization": "Bearer krt_test.secret",
    "x-kraty-sdk": f"kraty-admin/{__version__}",
}


def expected_headers(line: dict[str, Any]) -> dict[str, str]:
    """Return the documented headers, and those without which HTTP does not work."""
    headers = {
        **DOCUMENTED_HEADERS,
        "host": "api.kraty.io",
        "user-agent": f"kraty-admin/{__version__} python/{platform.python_version()}",
    }
    if line["body"] is not None:
        headers["content-type"] = "application/json"
        headers["content-length"] = str(len(line["body"].encode()))
    return headers


@pytest.mark.parametrize(
    "is_async", [pytest.param(False, id="sync"), pytest.param(True, id="async")]
)
def test_the_documented_headers_and_no_others(
    monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    """Each request has every documented header once, no other, and a `Content-Type` only with a
    body."""
    requests = send_on_own_transport(CASES, monkeypatch, is_async=is_async)

    for line, request in zip(EXPECTED, requests, strict=True):
        assert sorted(expected_headers(line).items()) == sorted(request.headers.multi_items())


@pytest.mark.parametrize(
    "sender", [pytest.param(send, id="sync"), pytest.param(send_async, id="async")]
)
def test_an_http_client_adds_only_its_own_headers(
    sender: Callable[[list[dict[str, Any]]], list[httpx.Request]],
) -> None:
    """A caller's client adds only headers of its connection, and replaces none of ours."""
    of_the_connection = {"accept-encoding", "connection"}

    for line, request in zip(EXPECTED, sender(CASES), strict=True):
        rest = [item for item in request.headers.multi_items() if item[0] not in of_the_connection]
        assert sorted(expected_headers(line).items()) == sorted(rest)


def test_the_cases_cover_many_operations() -> None:
    """There are at least 150 cases, and several for each operation that takes arguments."""
    counts = Counter(case["operation"] for case in CASES)

    assert 150 <= len(CASES)
    assert 25 <= len(counts)
    assert {"health.ping"} == {operation for operation, count in counts.items() if count < 3}


def test_the_cases_cover_every_argument() -> None:
    """Each argument of an operation is passed in some case and, if optional, left out in
    another."""
    with KratyAdmin(**options()) as kraty:
        for operation in {case["operation"] for case in CASES}:
            cases = [case for case in CASES if case["operation"] == operation]
            signature = inspect.signature(operation_of(kraty, operation))
            given = [signature.bind(*case["args"], **case["kwargs"]).arguments for case in cases]
            for name, parameter in signature.parameters.items():
                assert any(name in arguments for arguments in given), (operation, name)
                if parameter.default is not parameter.empty:
                    assert not all(name in arguments for arguments in given), (operation, name)


def test_the_cases_have_ids_of_their_own() -> None:
    """Cases and expectations have the same ids, and no id twice."""
    ids = [case["id"] for case in CASES]

    assert ids == [line["id"] for line in EXPECTED]
    assert len(ids) == len(set(ids))


@pytest.mark.skipif(NODE is None, reason="node is not on PATH: expected.json is taken as it is")
def test_the_expectations_are_what_the_script_prints() -> None:
    """The committed expectations are those that Node makes of the cases."""
    assert NODE is not None
    printed = subprocess.run(
        [NODE, str(PARITY / "expected.mjs")], capture_output=True, check=True, timeout=60
    ).stdout

    assert printed == (PARITY / "expected.json").read_bytes()


# Each line as JavaScript would send it: the id in a path, the value in a body.
JAVASCRIPT: Final = """
for (const line of require("node:fs").readFileSync(0, "utf8").trimEnd().split("\\n")) {
  const [id, value] = JSON.parse(line);
  console.log(JSON.stringify([encodeURIComponent(id), JSON.stringify(value)]));
}
"""


class Values:
    """Random values of the kinds that encoders disagree on, from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def text(self) -> str:
        """Return letters, controls, and characters of one to four bytes."""
        ranges = [(0x20, 0x7F), (0, 0x20), (0x7F, 0x800), (0x800, 0xD800), (0xE000, 0x110000)]
        length = self._random.randrange(6)
        return "".join(
            chr(self._random.randrange(*self._random.choice(ranges))) for _ in range(length)
        )

    def id(self) -> str:
        """Return text that may stand in a path."""
        while True:
            text = "".join(c for c in self.text() if not (c < " " or "\x7f" <= c <= "\x9f"))
            if text not in ("", ".", ".."):
                return text

    def float(self) -> float:
        """Return any double, and often one that people write."""
        while True:
            any_bits: float = struct.unpack("d", self._random.randbytes(8))[0]
            scaled = self._random.random() * 10.0 ** self._random.randrange(-12, 25)
            whole = float(self._random.randrange(10 ** self._random.randrange(1, 23)))
            value = self._random.choice([any_bits, scaled, whole, round(scaled, 3), -whole])
            if isfinite(value):
                return value

    def key(self) -> str:
        """Return text, or what is or resembles an array's index."""
        index = self._random.choice([self._random.randrange(30), 2**32 - self._random.randrange(4)])
        return self._random.choice([self.text(), str(index), f"0{index}"])

    def value(self, depth: int = 0) -> Any:
        """Return any JSON value that JavaScript can hold."""
        kind = self._random.randrange(7 if depth < 4 else 5)
        if kind == 0:
            return self.text()
        if kind in (1, 2):
            return self.float()
        if kind == 3:
            return self._random.randrange(-(2**53) + 1, 2**53)
        if kind == 4:
            return self._random.choice([None, True, False])
        count = self._random.randrange(6)
        if kind == 5:
            return [self.value(depth + 1) for _ in range(count)]
        return {self.key(): self.value(depth + 1) for _ in range(count)}


@pytest.mark.skipif(
    NODE is None, reason="node is not on PATH: nothing to compare random values with"
)
def test_random_values_are_what_javascript_sends() -> None:
    """Random ids and metadata are sent as JavaScript escapes and prints them."""
    assert NODE is not None
    values = Values(seed=42)
    pairs = [(values.id(), values.value()) for _ in range(1000)]
    lines = subprocess.run(
        [NODE, "-e", JAVASCRIPT],
        input="\n".join(map(json.dumps, pairs)).encode(),
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    expected = [
        Sent(
            "POST",
            f"/server/v1/games/{segment}/events/e/lobbies".encode(),
            f'{{"key":"k","externalPlayerIds":["p"],"metadata":{{"v":{text}}},"idempotencyKey":"i"}}'.encode(),
        )
        for segment, text in map(json.loads, lines)
    ]

    requests = send(
        [
            {
                "operation": "lobbies.push",
                "args": [game_id, "e"],
                "kwargs": {
                    "key": "k",
                    "external_player_ids": ["p"],
                    "metadata": {"v": value},
                    "idempotency_key": "i",
                },
            }
            for game_id, value in pairs
        ]
    )

    assert len(pairs) == len(expected)
    assert expected == [Sent.of(request) for request in requests]
