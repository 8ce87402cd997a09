"""The console without a browser: its files, its stream and its requests."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import kraty_admin.emulator
from kraty_admin import KratyAdmin, KratyServerError, RetryConfig
from kraty_admin.emulator import DEFAULT_WORLD, ApiKey, Emulator, Fault, World
from kraty_admin.emulator._changes import Changes
from kraty_admin.emulator._console import CONSOLE

FOLDER = Path(kraty_admin.emulator.__file__).with_name("console")


@pytest.fixture
def http(kraty: Emulator) -> Iterator[httpx.Client]:
    """Return an HTTP client that sends what a browser would."""
    with httpx.Client(base_url=kraty.base_url, trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
def client(kraty: Emulator) -> Iterator[KratyAdmin]:
    """Return a client that retries at once."""
    with kraty.client(retry=RetryConfig(initial_delay=0)) as client:
        yield client


def get(http: httpx.Client, what: str, **query: object) -> Any:
    parameters = {name: str(value) for name, value in query.items()}
    return http.get(f"/_emulator/{what}", params=parameters).raise_for_status().json()


# --- the page --------------------------------------------------------------


class Page(HTMLParser):
    """A parsed page: the files that it loads and the code that it holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.runs: list[str] = []
        self._is_in: str = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_in = tag
        for name, value in attrs:
            if name == "src" or (name == "href" and tag == "link"):
                self.loads.append(value or "")
            if name == "style" or name.startswith("on"):
                self.runs.append(name)

    def handle_data(self, data: str) -> None:
        if self._is_in in ("script", "style") and data.strip():
            self.runs.append(data)


def test_the_page_loads_its_own_files_only(http: httpx.Client) -> None:
    """The page loads only the console's files, and holds no script or style itself."""
    answer = http.get("/")
    assert (200, "text/html; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
    page = Page(answer.text)
    assert [] == page.runs
    assert {*CONSOLE} - {"/"} == set(page.loads)
    for path in page.loads:
        assert http.get(path).is_success
    code = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("console.[cj]s*"))
    assert not re.search(r"https?://(?!www\.w3\.org|127\.0\.0\.1)|@import|url\(", code)


@pytest.mark.parametrize("path", CONSOLE)
def test_the_policy_allows_nothing_else(http: httpx.Client, path: str) -> None:
    """The content security policy allows only the console's own files, and no frame."""
    headers = http.get(path).headers
    policy = dict(each.split(" ", 1) for each in headers["content-security-policy"].split("; "))
    assert "'none'" == policy.pop("default-src")
    assert {"frame-ancestors", "base-uri", "form-action", "trusted-types"} == {
        name for name, value in policy.items() if value == "'none'"
    }
    assert {"script-src", "style-src", "img-src", "connect-src"} == {
        name for name, value in policy.items() if value == "'self'"
    }
    assert "'script'" == policy["require-trusted-types-for"]
    assert "nosniff" == headers["x-content-type-options"]


def test_texts_become_texts() -> None:
    """The script never turns text into markup, and the console stays small."""
    script = (FOLDER / "console.js").read_text(encoding="utf-8")
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
    assert [] == re.findall(forbidden, script)
    files = [path for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js")]
    assert 3 == len(files)
    assert 1200 > sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def test_the_page_is_no_call(kraty: Emulator, http: httpx.Client) -> None:
    """A request for the console uses up no fault, and is not listed."""
    kraty.faults.add(Fault("drop"))
    for path in CONSOLE:
        assert http.get(path).is_success
        answer = http.post(path)
        assert (405, "GET") == (answer.status_code, answer.headers["allow"])
    assert ([], 1) == (kraty.requests, len(kraty.faults.rules))


# --- the stream ------------------------------------------------------------


def test_the_stream_says_what_has_changed(
    kraty: Emulator, http: httpx.Client, client: KratyAdmin
) -> None:
    """The stream reports each call, delivery, setting and reset."""
    kraty.webhooks.register(f"{kraty.base_url}/nowhere", "s")
    with http.stream("GET", "/_emulator/changes") as answer:
        assert "text/event-stream" == answer.headers["content-type"]
        lines = answer.iter_lines()

        def news() -> list[str]:
            """Return the topics of the next message."""
            line = next(each for each in lines if each.startswith("data: "))
            topics: list[str] = json.loads(line.removeprefix("data: "))
            return topics

        def wait_for(*topics: str) -> None:
            missing = {*topics}
            while missing:
                missing -= {*news()}

        assert [] == news()
        client.wallet.credit("alice", "gold", amount=5)
        wait_for("requests", "deliveries")
        kraty.faults.add(Fault("drop"))
        wait_for("settings")
        kraty.faults.clear()
        wait_for("settings")
        kraty.clock.advance(1)
        wait_for("settings")
        kraty.requests_per_minute = 5
        wait_for("settings")
        kraty.webhooks.replay(kraty.deliveries[0].event_id)
        wait_for("deliveries")
        kraty.reset()
        wait_for("reset")


def test_nothing_piles_up_for_a_slow_reader() -> None:
    """A reader gets each topic once, however often it was reported, and none after it left."""

    async def read() -> None:
        changes = Changes()
        with changes.reader() as reader, changes.reader() as other:
            for _ in range(10_000):
                changes.notify("requests")
                changes.notify("settings")
            assert ["requests", "settings"] == await reader.next()
            changes.notify("reset")
            assert ["reset"] == await reader.next()
            assert ["requests", "reset", "settings"] == await other.next()
        changes.notify("requests")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.next(), 0.01)

    asyncio.run(read())


def test_readers_that_do_not_read_hold_nobody_up(kraty: Emulator, client: KratyAdmin) -> None:
    """Calls are answered while some readers hang and others have gone."""
    address = urlsplit(kraty.base_url)
    target = (address.hostname or "", address.port or 0)
    request = f"GET /_emulator/changes HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
    readers = [socket.create_connection(target) for _ in range(20)]
    for reader in readers:
        reader.sendall(request)
        assert reader.recv(15).startswith(b"HTTP/1.1 200")
    for gone in readers[:10]:
        gone.close()
    for _ in range(50):
        client.wallet.credit("alice", "gold", amount=1)
    assert 50 == kraty.balance("alice", "gold")
    for hanging in readers[10:]:
        hanging.close()


def test_an_emulator_with_a_reader_stops() -> None:
    """Closing an emulator ends the streams of its readers."""
    emulator = Emulator()
    emulator.start()
    stream = f"{emulator.base_url}/_emulator/changes"
    with httpx.stream("GET", stream, trust_env=False) as answer:
        lines = answer.iter_lines()
        assert ["retry: 1000", "data: []"] == [next(lines), next(lines)]
        emulator.close()
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)


@pytest.mark.parametrize("_time", range(3))
def test_nobody_waits_for_an_emulator_that_has_stopped(_time: int) -> None:
    """Each connection of a page that keeps reconnecting ends when the emulator stops."""
    emulator = Emulator()
    emulator.start()
    address = urlsplit(emulator.base_url)
    target = (address.hostname or "", address.port or 0)
    request = f"GET /_emulator/changes HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
    connections: list[socket.socket] = []
    are_many = threading.Event()

    def connect() -> None:
        with suppress(OSError):
            while len(connections) < 5000:
                connections.append(socket.create_connection(target))
                connections[-1].sendall(request)
                if len(connections) == 20:
                    are_many.set()

    thread = threading.Thread(target=connect)
    thread.start()
    assert are_many.wait(10)
    emulator.close()
    thread.join()
    for connection in connections:
        connection.settimeout(10)
        with suppress(ConnectionError):
            while connection.recv(4096):
                pass
        connection.close()


# --- what it asks for --------------------------------------------------------


def test_one_mint_for_three_tries(kraty: Emulator, http: httpx.Client, client: KratyAdmin) -> None:
    """Each try of a call shows what it did, and only the one that paid shows a ledger entry."""
    kraty.faults.add(Fault("drop"), Fault("status", status=503), operation="wallet.credit")
    client.wallet.credit("alice", "gold", amount=500, idempotency_key="receipt_1")
    tries = get(http, "requests")
    assert [
        (1, "done", None, ["receipt_1"]),
        (2, "replayed", 503, []),
        (3, "replayed", 200, []),
    ] == [
        (
            each["attempt"],
            each["effect"],
            each["status"],
            [entry["idempotency_key"] for entry in each["entries"]],
        )
        for each in tries
    ]
    assert [True, False] == [
        json.loads(tries[index]["answer"])["data"]["applied"] for index in (0, 2)
    ]
    assert [range(1, 2), range(0), range(0)] == [each.ledger_numbers for each in kraty.requests]
    assert "internal_error" == json.loads(tries[1]["answer"])["error"]["code"]


def test_what_requests_did(kraty: Emulator, http: httpx.Client, client: KratyAdmin) -> None:
    """The list of requests shows which were done, prevented, rejected or replayed, with their
    entries."""
    kraty.faults.add(Fault("drop", when="before"), operation="wallet.credit")
    client.wallet.credit("alice", "gold", amount=1)
    with pytest.raises(KratyServerError, match="409 conflict"):
        client.wallet.debit("alice", "gold", amount=2)
    entry = {"type": "currency", "currencyKey": "gold", "amount": 1}
    for _ in range(2):
        client.grants.create("alice", idempotency_key="g", entries=[entry, entry])
        client.lobbies.push("game_1", "quick_brawl", key="m", external_player_ids=["alice"])
    rows = [
        {"externalPlayerId": f"p{n}", "economyKey": "gold", "amount": n, "idempotencyKey": f"k{n}"}
        for n in range(1, 8)
    ]
    for _ in range(2):
        client.migrate.wallet(rows)
    assert [
        ("wallet.credit", "prevented", 0, 0),
        ("wallet.credit", "done", 1, 1),
        ("wallet.debit", "rejected", 0, 0),
        ("grants.create", "done", 2, 2),
        ("lobbies.push", "done", 0, 0),
        ("grants.create", "replayed", 0, 0),
        ("lobbies.push", "replayed", 0, 0),
        ("migrate.wallet", "done", 7, 5),
        ("migrate.wallet", "done", 0, 0),
    ] == [
        (each["operation"], each["effect"], each["entry_count"], len(each["entries"]))
        for each in get(http, "requests")
    ]
    assert [4, 5, 6, 7, 8] == [each["number"] for each in get(http, "requests")[7]["entries"]]


def test_requests_have_pages_and_short_bodies(http: httpx.Client, client: KratyAdmin) -> None:
    """The list of requests can be read in pages, either way, with bodies cut short."""
    for number in range(4):
        client.wallet.credit("alice", "gold", amount=1, idempotency_key=f"k{number}")

    def numbers(**query: object) -> list[int]:
        return [each["number"] for each in get(http, "requests", **query)]

    assert [[1, 2], [3, 4], []] == [numbers(limit=2, after=after) for after in (0, 2, 4)]
    assert [[4, 3], [2, 1], []] == [
        numbers(limit=2, after=after, order="newest") for after in (0, 3, 1)
    ]
    (short,) = get(http, "requests", limit=1, max_body=5)
    (whole,) = get(http, "requests", limit=1)
    for name in ("body", "answer"):
        assert (whole[name][:5], len(whole[name])) == (short[name], short[f"{name}_bytes"])
    for query, named in (("order=x", "order"), ("max_body=-1", "max_body")):
        answer = http.get(f"/_emulator/requests?{query}")
        assert 400 == answer.status_code
        assert answer.json()["error"]["message"].startswith(named)


def test_players_have_pages(http: httpx.Client, client: KratyAdmin) -> None:
    """Players are listed by id in pages, can be found by prefix, and show what they hold."""
    for player in ("b_1", "a", "b_2", "b_%", "\U0010ffff"):
        client.wallet.credit(player, "gold", amount=5)
    client.inventory.grant("b_1", "health_potion", quantity=2)
    client.players.ban("b_2", reason="x")
    client.players.delete("a", reason="gdpr_erasure")

    def ids(**query: object) -> list[str]:
        return [each["external_player_id"] for each in get(http, "players", **query)]

    assert ["b_%", "b_1", "b_2", "\U0010ffff"] == ids()
    assert [["b_%", "b_1"], ["b_2"]] == [
        ids(prefix="b_", after=after, limit=2) for after in ("", "b_1")
    ]
    assert [] == ids(game_id="game_2")
    _, first, second, _ = get(http, "players")
    assert ({"gold": 5}, {"health_potion": 2}) == (first["currencies"], first["items"])
    assert (None, str) == (first["banned_at"], type(second["banned_at"]))
    answer = http.get("/_emulator/players?game_id=x")
    assert (400, True) == (answer.status_code, "'x'" in answer.json()["error"]["message"])


def test_lists_begin_with_the_newest(http: httpx.Client, client: KratyAdmin) -> None:
    """Ledger, grants and lobbies can be listed newest first, in pages."""
    entry = {"type": "currency", "currencyKey": "gold", "amount": 1}
    for number in range(3):
        client.grants.create("alice", idempotency_key=f"g{number}", entries=[entry])
        client.lobbies.push(
            "game_1", "quick_brawl", key=f"m{number}", external_player_ids=["alice", "bob"]
        )
    client.grants.ack("alice", get(http, "grants", limit=1)[0]["id"])
    other = KratyAdmin(api_key=DEFAULT_WORLD.keys[2].token, base_url=client.base_url)
    with other:
        other.wallet.credit("zoe", "gold", amount=1)
    for name, order in (("ledger", {"order": "newest"}), ("grants", {}), ("lobbies", {})):
        page = get(http, name, limit=2, **order)
        rest = get(http, name, limit=2, after=page[-1]["number"], **order)
        assert [3, 2, 1] == [each["number"] for each in page + rest]
    assert ["game_2", "game_1"] == [
        each["game_id"] for each in get(http, "ledger", game_id="*", order="newest", limit=2)
    ]
    assert ["zoe"] == [each["external_player_id"] for each in get(http, "ledger", game_id="game_2")]
    newest, older, _ = get(http, "grants")
    assert (str, None) == (type(newest["claimed_at"]), older["claimed_at"])
    lobby = get(http, "lobbies", limit=1)[0]
    assert (2, {"alice", "bob"}, False) == (
        lobby["player_count"],
        {*lobby["players"]},
        lobby["is_closed"],
    )


def test_deliveries_show_what_was_sent(kraty: Emulator, http: httpx.Client) -> None:
    """Each attempt of a delivery shows its body, and its signature if it was sent."""
    kraty.webhooks.register(f"{kraty.base_url}/nowhere", "s", events=["wallet.changed"])
    kraty.faults.add(Fault("drop", when="before"), operation="webhook")
    with kraty.client() as client:
        client.wallet.credit("alice", "gold", amount=5)
    kraty.webhooks.settle()
    kraty.clock.advance(10)
    kraty.webhooks.settle()
    (delivery,) = get(http, "deliveries", order="newest")
    assert [(1, None), (2, True)] == [
        (
            json.loads(each["body"])["deliveryAttempt"],
            each["signature"] and "v1=" in each["signature"],
        )
        for each in delivery["attempts"]
    ]


def test_the_world_shows_published_keys_only() -> None:
    """The secret part of a key is shown only if the key is published."""
    own = ApiKey(id="key_1", token="krt_own.canary", game_id="game_1")
    world = World(games=DEFAULT_WORLD.games, keys=[own, DEFAULT_WORLD.keys[2]])
    with Emulator(world=world) as emulator:
        answer = httpx.get(f"{emulator.base_url}/_emulator/world", trust_env=False)
    assert "canary" not in answer.text
    assert ["krt_own.***", DEFAULT_WORLD.keys[2].token] == [
        key["token"] for key in answer.json()["keys"]
    ]


def test_chaos_is_shown(http: httpx.Client) -> None:
    """The list of faults shows the chaos, and the rate limit can be read."""
    http.post("/_emulator/chaos", json={"rate": 0.25, "operation": "players.ban"})
    assert [{"operation": "players.ban", "rate": 0.25}] == get(http, "faults")["chaos"]
    assert {"requests_per_minute": 600_000} == get(http, "rate_limit")
