"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REAL = {"KRATY_SERVER_KEY": "krt_live_real.secret", "KRATY_BASE_URL": "https://api.kraty.io"}


# Plugins that are slow to load and not what is tested.
WITHOUT = [f"-pno:{name}" for name in ("cacheprovider", "schemathesis", "hypothesispytest")]


def run(folder: Path, code: str, *options: str, conftest: str = "") -> str:
    """Run the tests of this file, every one of which has to pass; returns what pytest says."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_it.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *WITHOUT, "-rA", *options, "."],
        cwd=folder,
        env={**os.environ, **REAL},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_test_gets_a_kraty(tmp_path: Path) -> None:
    """With both clients, and everything to look at and to break."""
    code = """
import asyncio
from datetime import datetime, timezone

from kraty_admin import RetryConfig
from kraty_admin.emulator import Fault

def test_sync(kraty_emulator):
    kraty_emulator.faults.add(Fault("drop"), operation="wallet.credit")
    client = kraty_emulator.client(retry=RetryConfig(initial_delay=0))
    credited = client.wallet.credit("player_42", "gold", amount=500)
    assert (credited.balance, credited.http.attempts) == (500, 2)
    assert [entry.delta for entry in kraty_emulator.ledger] == [500]
    assert [seen.attempt for seen in kraty_emulator.requests] == [1, 2]
    assert kraty_emulator.deliveries == []

def test_async(kraty_emulator):
    async def scenario():
        async with kraty_emulator.async_client() as client:
            return await client.wallet.credit("player_42", "gold", amount=500)
    kraty_emulator.clock.set(datetime(2030, 1, 1, tzinfo=timezone.utc))
    assert asyncio.run(scenario()).balance == 500
    client = kraty_emulator.client()
    assert client.players.get("player_42").player.created_at.year == 2030
"""
    assert "2 passed" in run(tmp_path, code)


def test_a_real_key_is_never_used(tmp_path: Path) -> None:
    """A client that is made without arguments talks to the emulator, during the test only."""
    code = """
import os
from kraty_admin import KratyAdmin

def test_it(kraty_emulator):
    with KratyAdmin() as kraty:
        assert kraty.base_url == kraty_emulator.base_url
        assert "krt_live" not in repr(kraty)
        kraty.wallet.credit("player_42", "gold", amount=500)
    assert len(kraty_emulator.requests) == 1

def test_without():
    assert os.environ["KRATY_SERVER_KEY"] == "krt_live_real.secret"
    assert os.environ["KRATY_BASE_URL"] == "https://api.kraty.io"
"""
    assert "2 passed" in run(tmp_path, code)


@pytest.mark.parametrize("options", [[], ["-n", "3"]], ids=["one process", "three processes"])
def test_no_test_sees_another(tmp_path: Path, options: list[str]) -> None:
    """Whatever each leaves behind: players, faults, clocks, budgets, endpoints, clients."""
    code = """
import socket
from datetime import datetime, timezone

import pytest
from kraty_admin import KratyClosedError
from kraty_admin.emulator import Fault

clients = []

@pytest.mark.parametrize("number", range(12))
def test_it(kraty_emulator, number):
    assert kraty_emulator.ledger == kraty_emulator.requests == kraty_emulator.deliveries == []
    assert kraty_emulator.clock.is_running
    for earlier in clients:
        with pytest.raises(KratyClosedError):
            earlier.health.ping()
    client = kraty_emulator.client()
    clients.append(client)
    grant = client.grants.create("p", entries=[
        {"type": "currency", "currencyKey": "gold", "amount": 5}], idempotency_key="k")
    print("ID", grant.id)
    kraty_emulator.webhooks.register("http://127.0.0.1:9/", "s")
    assert client.wallet.credit("p", "gold", amount=5, idempotency_key="k").applied
    kraty_emulator.faults.add(Fault("stall"), times=None)
    kraty_emulator.faults.chaos(1.0)
    kraty_emulator.requests_per_minute = 1
    kraty_emulator.clock.set(datetime(2030, 1, 1, tzinfo=timezone.utc))
    if number % 4 == 0:
        kraty_emulator.close()
"""
    said = run(tmp_path, code, *options)
    assert "12 passed" in said
    # The order of a test's own calls decides about its ids, not what ran before it.
    assert 1 == len(set(re.findall(r"ID (grt_\w+)", said)))
    assert 12 == len(re.findall(r"ID (grt_\w+)", said))


def test_nothing_is_imported_before_it_is_used(tmp_path: Path) -> None:
    """Whoever installs the package for production has no slower tests for it."""
    code = """
import sys

def test_without():
    assert "pytest_kraty_admin" in sys.modules
    # Other plugins may have imported the rest.
    packages = {"kraty_admin", "kraty_server_api", "uvicorn"}
    assert packages & set(sys.modules) == set()
"""
    assert "1 passed" in run(tmp_path, code)


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    """By the name that pytest lists it under."""
    code = """
import pytest

def test_it(request):
    with pytest.raises(pytest.FixtureLookupError):
        request.getfixturevalue("kraty_emulator")
"""
    assert "1 passed" in run(tmp_path, code, "-p", "no:kraty_admin")


def test_a_thread_that_is_left_waiting_commits_nothing_later(tmp_path: Path) -> None:
    """What a test's call was held up with ends with the test."""
    code = """
import threading
import httpx
from kraty_admin.emulator import Fault

left = []

def test_leaves(kraty_emulator):
    kraty_emulator.faults.add(Fault("delay", when="before", seconds=3600))
    url = kraty_emulator.base_url + "/server/v1/players/p/wallet/gold/credit"
    headers = {"Authorization": "Bearer " + kraty_emulator.api_key}

    def call():
        try:
            httpx.post(url, json={"amount": 5}, headers=headers, timeout=60, trust_env=False)
        except httpx.TransportError as error:
            left.append(type(error).__name__)

    left.append(threading.Thread(target=call))
    left[0].start()
    while not kraty_emulator.faults.struck:
        pass

def test_finds(kraty_emulator):
    left[0].join(20)
    assert left[1:] in (["RemoteProtocolError"], ["ReadError"])
    assert kraty_emulator.requests == kraty_emulator.ledger == []
"""
    assert "2 passed" in run(tmp_path, code)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """And only tests that asked for it fail."""
    code = """
import pytest

def test_without(): pass

@pytest.mark.xfail(strict=True)
def test_with(kraty_emulator): pass
"""
    said = run(tmp_path, code, conftest="import sys\nsys.modules['uvicorn'] = None\n")
    assert "1 passed, 1 xfailed" in said


def test_the_message_without_the_extra(tmp_path: Path) -> None:
    """One line, no traceback."""
    code = "def test_with(kraty_emulator): pass\n"
    with pytest.raises(AssertionError) as failed:
        run(tmp_path, code, conftest="import sys\nsys.modules['uvicorn'] = None\n")
    said = str(failed.value)
    assert "kraty_emulator needs uvicorn: pip install 'kraty-admin[emulator]'" in said
    assert "Traceback" not in said
