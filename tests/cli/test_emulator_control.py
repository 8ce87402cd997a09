"""The commands that inspect and control a running emulator."""

from __future__ import annotations

import json
import os
import pty
import signal
from typing import Any

import pytest

from kraty_admin import RetryConfig
from kraty_admin.cli import main
from kraty_admin.emulator import Emulator, Fault
from loopback import response, serving

from .forks import Forks
from .testkit import TEST_KEY


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs a command, and returns its status, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["emulator", *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def words(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_requests_and_ledger(kraty: Emulator, shown: Any) -> None:
    """`requests` and `ledger` print what was sent and what changed, as tables and JSON, without the
    key."""
    kraty.faults.add(Fault("drop"), operation="wallet.credit")
    client = kraty.client(retry=RetryConfig(initial_delay=0))
    client.wallet.credit("p", "gold", amount=5, idempotency_key="r1")
    client.wallet.credit("q", "gold", amount=7, idempotency_key="r2")
    status, out, _ = shown("requests")
    assert (0, False) == (status, TEST_KEY in out)
    assert [
        "operation key attempt fault status effect",
        "wallet.credit r1 1 drop, after the commit no answer done",
        "wallet.credit r1 2 200 replayed",
        "wallet.credit r2 1 200 done",
    ] == words(out)
    _, out, _ = shown("requests", "--limit", "1", "--json")
    assert ["r2"] == [each["idempotency_key"] for each in json.loads(out)["requests"]]
    _, out, _ = shown("ledger", "--player", "q")
    assert "2 q gold 7 wallet.credit r2" == words(out)[1]
    _, out, _ = shown("ledger", "--json")
    assert [5, 7] == [each["delta"] for each in json.loads(out)["ledger"]]


def test_faults(kraty: Emulator, shown: Any) -> None:
    """`faults` adds a fault, lists and clears them, and refuses an unknown kind."""
    options = ["--operation", "wallet.credit", "--when", "before", "--status", "429"]
    status, out, _ = shown("faults", "status", *options, "--times", "2")
    assert 0 == status
    assert "rules wallet.credit status 429, before the commit 0 2 0" in words(out)
    (rule,) = kraty.faults.rules
    assert [Fault("status", status=429, when="before")] == list(rule.faults)
    status, out, err = shown("faults", "explode")
    assert (2, True) == (status, "kind must be one of status, drop" in err)
    assert 0 == shown("faults", "--clear")[0]
    assert [] == kraty.faults.rules


def test_the_clock(kraty: Emulator, shown: Any) -> None:
    """`clock` shows the emulator's clock, sets, advances and runs it, and refuses two actions at
    once."""
    assert 0 == shown("clock", "--set", "2030-01-01T00:00:00Z")[0]
    _, out, _ = shown("clock", "--advance", "60")
    assert ["now 2030-01-01T00:01:00+00:00", "is_running false"] == words(out)
    assert 2 == shown("clock", "--advance", "60", "--run")[0]
    shown("clock", "--run")
    assert kraty.clock.is_running
    assert "is_running true" in words(shown("clock")[1])


def test_a_trigger(kraty: Emulator, shown: Any) -> None:
    """`trigger` sends an event with sample data or the user's, and lists the names if one is
    unknown."""
    kraty.webhooks.collect("s")
    assert 0 == shown("trigger", "player.banned", "--player", "p")[0]
    assert 0 == shown("trigger", "player.banned", "--data", '{"a": 1}')[0]
    first, second = kraty.deliveries
    assert ("p", {"a": 1}) == (first.data["externalPlayerId"], second.data)
    status, _, err = shown("trigger", "player.gone")
    assert (2, True) == (status, "player.registered" in err)
    assert 2 == shown("trigger", "player.banned", "--data", "{")[0]


def test_a_server_that_is_not_an_emulator(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not an emulator gets one request without the key, and the error says what it
    is not."""
    monkeypatch.setenv("KRATY_SERVER_KEY", TEST_KEY)
    with serving() as server:
        status, _, err = shown("faults", "drop", "--url", server.url)
        assert (1, True) == (status, f"{server.url} is not an emulator" in err)
        assert ["/_emulator/ready"] == [seen.target for seen in server.seen]
        assert TEST_KEY not in str(server.seen[0].headers)
        url = server.url
    with serving(lambda seen: response(200, b"<html>")) as server:
        status, _, err = shown("clock", "--url", server.url)
        assert (1, True) == (status, f"{server.url} is not an emulator" in err)
    status, _, err = shown("clock", "--url", url)
    assert (5, True) == (status, f"no emulator answers at {url}" in err)


def test_a_banner_for_people(forks: Forks) -> None:
    """On a terminal, the emulator prints its address, what to export and how to stop it."""
    parent, child = pty.openpty()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    process = forks.start(["emulator", "--port", "0"], [child, child, nowhere], os.environ)
    with os.fdopen(parent, encoding="utf-8") as terminal:
        lines = [terminal.readline().strip() for _ in range(7)]
        os.kill(process, signal.SIGINT)
        assert 0 == forks.wait()
    url = lines[0].removeprefix("A local Kraty is running at ")
    assert url.startswith("http://127.0.0.1:")
    assert "in a browser" in lines[1]
    assert [f"export KRATY_BASE_URL={url}", True] == [lines[3], "KRATY_SERVER_KEY=krt_" in lines[4]]
    assert "Ctrl-C stops it." == lines[6]
