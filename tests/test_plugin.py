"""The pytest plugin, in separate runs of pytest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import pytest_kraty_admin
from kraty_admin.emulator import Emulator
from loopback import serving
from pages import BLOCKS

pytestmark = pytest.mark.long

REAL = {"KRATY_SERVER_KEY": "krt_live_real.secret", "KRATY_BASE_URL": "https://api.kraty.io"}


# Plugins that are slow to load and not what is tested.
PLUGINS = ("cacheprovider", "schemathesis", "hypothesispytest", "respx", "anyio")
WITHOUT = [f"-pno:{name}" for name in PLUGINS]


def run(
    folder: Path,
    *files: str,
    options: Sequence[str] = (),
    conftest: str = "",
    base_url: str = "",
    **modules: str,
) -> str:
    """Run the tests of these files in one pytest; returns its output.

    Args:
        folder: Where the files are written.
        files: The text of each file of tests.
        options: Options of pytest.
        conftest: The text of `conftest.py`.
        base_url: A server in place of production.
        modules: The text of each module that the tests can import, by its name.

    Raises:
        AssertionError: A test failed; the message is pytest's output.
    """
    real = {**REAL, "KRATY_BASE_URL": base_url or REAL["KRATY_BASE_URL"]}
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (folder / "conftest.py").write_text(conftest)
    for number, code in enumerate(files):
        (folder / f"test_{number}.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *WITHOUT, "-rA", *options, "."],
        cwd=folder,
        env={**os.environ, **real},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


GETS = """
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


KEEPS_ITS_KEY = """
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


LEAVES_A_THREAD = """
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


def test_what_the_fixture_gives(tmp_path: Path) -> None:
    """Tests get clients, records and faults; no real key is used; no call outlasts its test.

    A client that is made without arguments uses the emulator during the test only. A call
    that a fault holds up commits nothing after its test has ended.
    """
    assert "6 passed" in run(tmp_path, GETS, KEEPS_ITS_KEY, LEAVES_A_THREAD)


# Clients that exist before any test, in each way that code can hold one.
SHOP = """
import httpx
from kraty_admin import KratyAdmin, KratyAdminAsync, RetryConfig

class OfTheStudio(KratyAdmin):
    pass

kraty = KratyAdmin()
quick = kraty.with_options(deadline=30)
orphan = KratyAdmin().with_options(deadline=30)
explicit = KratyAdmin(api_key="krt_live_other.secret")
lent = KratyAdmin(http_client=httpx.Client())
of_the_studio = OfTheStudio()
credit = KratyAdmin().wallet.credit

akraty = KratyAdminAsync()
aquick = akraty.with_options(deadline=30)
alent = KratyAdminAsync(http_client=httpx.AsyncClient())
"""


CAPTURED = """
import asyncio
import gc

import pytest
import shop

SYNC = ["kraty", "quick", "orphan", "explicit", "lent", "of_the_studio"]
ASYNC = ["akraty", "aquick", "alent"]

def shown():
    return {name: (repr(getattr(shop, name)), getattr(shop, name).base_url)
            for name in SYNC + ASYNC}

FIRST = shown()

def is_captured(client, emulator):
    return client.base_url == emulator.base_url and "krt_live" not in repr(client)

@pytest.mark.parametrize("time", [1, 2])
@pytest.mark.parametrize("name", SYNC)
def test_sync(kraty_emulator, name, time):
    client = getattr(shop, name)
    for number in range(3):
        client.wallet.credit("p", "gold", amount=5, idempotency_key=f"k{number}")
    assert is_captured(client, kraty_emulator)
    assert kraty_emulator.balance("p", "gold") == 15

def test_a_method_that_was_kept(kraty_emulator):
    shop.credit("p", "gold", amount=5)
    assert kraty_emulator.balance("p", "gold") == 5

@pytest.mark.parametrize("time", [1, 2])
@pytest.mark.parametrize("name", ASYNC)
def test_async(kraty_emulator, name, time):
    client = getattr(shop, name)
    async def scenario():
        for number in range(3):
            await client.wallet.credit("p", "gold", amount=5)
        await asyncio.gather(*(client.wallet.credit("p", "gold", amount=5) for _ in range(3)))
    asyncio.run(scenario())
    assert is_captured(client, kraty_emulator)
    gc.collect()  # a socket that the loop has left open would be an error here
    assert kraty_emulator.balance("p", "gold") == 30

@pytest.mark.parametrize("number", range(4))
def test_without_the_fixture(number):
    assert FIRST == shown()
    assert all("krt_live" in text for text, _ in FIRST.values())
"""


ISOLATED = """
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


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["one process", "two processes"])
def test_no_test_sees_another(tmp_path: Path, options: list[str]) -> None:
    """No test sees players, faults, clocks, limits, endpoints or clients of another one.

    Clients that modules hold send nothing to production, and are as before afterwards.
    """
    with serving() as production:
        output = run(
            tmp_path, CAPTURED, ISOLATED, options=options, base_url=production.url, shop=SHOP
        )
        assert "35 passed" in output
        assert 0 == production.connections
    # A test's ids follow from the order of its own calls, not from the tests before it.
    ids = re.findall(r"ID (grt_\w+)", output)
    assert (12, 1) == (len(ids), len(set(ids)))


def test_a_client_that_is_not_captured_is_noticed(tmp_path: Path) -> None:
    """Without the capture, calls reach production with real keys, so the test above can fail."""
    conftest = """
from contextlib import nullcontext
from kraty_admin.emulator import Emulator
Emulator.capture_clients = lambda self: nullcontext()
"""
    with serving() as production, pytest.raises(AssertionError, match="19 failed, 4 passed"):
        run(tmp_path, CAPTURED, base_url=production.url, conftest=conftest, shop=SHOP)
    keys = {seen.headers["authorization"] for seen in production.seen}
    assert {"Bearer krt_live_real.secret", "Bearer krt_live_other.secret"} == keys


BEFORE_AND_AFTER = """
import shop

def test_before():
    shop.kraty.wallet.credit("before", "gold", amount=5)

def test_during(kraty_emulator):
    shop.kraty.wallet.credit("during", "gold", amount=5)

def test_after():
    shop.kraty.wallet.credit("after", "gold", amount=5)
    shop.kraty.close()
"""


CACHED = """
import asyncio
import pytest
import cached

def ping(client):
    async def scenario():
        await client.wallet.credit("p", "gold", amount=5)
    asyncio.run(scenario())

@pytest.mark.parametrize("time", [1, 2, 3])
def test_it(kraty_emulator, time):
    cached.lazy().wallet.credit("p", "gold", amount=5)
    cached.quick().wallet.credit("p", "gold", amount=5)
    ping(cached.aquick())
    assert kraty_emulator.balance("p", "gold") == 15

def test_after():
    assert cached.quick().base_url == cached.aquick().base_url == cached.kraty.base_url
    assert "krt_live_real" in repr(cached.quick()) and not cached.quick().is_closed
"""


CACHES = """
from functools import cache
from kraty_admin import KratyAdmin, KratyAdminAsync

kraty = KratyAdmin()
akraty = KratyAdminAsync()
lazy = cache(lambda: KratyAdmin())
quick = cache(lambda: kraty.with_options(deadline=30))
aquick = cache(lambda: akraty.with_options(deadline=30))
"""


def test_clients_after_a_test(tmp_path: Path) -> None:
    """A captured client has its own server and key back, and one in a cache stays usable.

    A client that one test has created and cached works in the next tests, each of which has
    its own event loop.
    """
    with serving() as production:
        files = [BEFORE_AND_AFTER, CACHED]
        output = run(tmp_path, *files, base_url=production.url, shop=SHOP, cached=CACHES)
    assert "7 passed" in output
    assert ["before", "after"] == [seen.player for seen in production.seen]
    assert ["Bearer krt_live_real.secret"] * 2 == [
        seen.headers["authorization"] for seen in production.seen
    ]


SESSION = """
import asyncio
import gc
import pytest
from kraty_admin import KratyAdmin
from kraty_admin.emulator import Fault

@pytest.fixture(scope="session")
def rich(kraty_session_emulator):
    with KratyAdmin() as kraty:
        kraty.wallet.credit("p", "gold", amount=5)
    kraty_session_emulator.snapshot("rich")
    return kraty_session_emulator

@pytest.mark.parametrize("time", [1, 2])
def test_each_starts_with_the_snapshot(rich, time):
    rich.restore("rich")
    with KratyAdmin() as kraty:
        kraty.wallet.credit("p", "gold", amount=1)
    assert rich.balance("p", "gold") == 6

def test_both(rich, kraty_emulator):
    assert rich.base_url != kraty_emulator.base_url == KratyAdmin().base_url

@pytest.mark.parametrize("time", [1, 2])
def test_async(kraty_async_client, kraty_emulator, time):
    async def scenario():
        for number in (1, 2):
            credited = await kraty_async_client.wallet.credit("p", "gold", amount=5)
            assert credited.balance == 5 * number
    asyncio.run(scenario())
    gc.collect()  # a socket that the loop has left open would be an error here
    with pytest.raises(ValueError, match="no snapshot"):
        kraty_emulator.restore("mine")
    kraty_emulator.snapshot("mine")
"""


MARKED = """
import pytest
from kraty_admin import KratyServerError, RetryConfig
from kraty_admin.emulator import ApiKey, Fault, Game, World

WORLD = World(
    games=[Game(id="arena", currencies=["coins"])],
    keys=[ApiKey(id="k", token="krt_local.not-a-secret", game_id="arena")],
)
pytestmark = pytest.mark.kraty(world=WORLD)

def test_the_world_of_the_module(kraty_emulator):
    kraty_emulator.client().wallet.credit("p", "coins", amount=5)
    assert kraty_emulator.balance("p", "coins") == 5
    assert kraty_emulator.ledger[0].key == "coins"

@pytest.mark.kraty(world="world.json", faults=[None, Fault("status", status=409)])
def test_a_file_and_faults(kraty_emulator):
    client = kraty_emulator.client()
    client.wallet.credit("p", "gems", amount=5)
    with pytest.raises(KratyServerError):
        client.wallet.credit("p", "gems", amount=5)

@pytest.mark.kraty(faults={"wallet.credit": Fault("drop"), "health.ping": None}, world=None)
def test_faults_by_operation(kraty_emulator):
    client = kraty_emulator.client(retry=RetryConfig(initial_delay=0))
    client.health.ping()
    assert client.wallet.credit("p", "gold", amount=5).http.attempts == 2

@pytest.mark.kraty(world=None)
def test_no_fault_is_left(kraty_emulator):
    assert kraty_emulator.client().wallet.credit("p", "gold", amount=5).http.attempts == 1
"""


def test_a_session_and_markers(tmp_path: Path) -> None:
    """A session's state can be restored, and a marker sets the world and the faults."""
    (tmp_path / "world.json").write_text(
        '{"games": [{"id": "g", "currencies": ["gems"]}],'
        ' "keys": [{"id": "k", "token": "a.b", "game_id": "g"}]}'
    )
    output = run(tmp_path, SESSION, MARKED, options=["--strict-markers"])
    assert "9 passed" in output


WRONG = """
import pytest
from kraty_admin.emulator import Fault

@pytest.mark.kraty(Fault("drop"))
def test_positional(kraty_emulator): pass

@pytest.mark.kraty(fault=Fault("drop"))
def test_misspelt(kraty_emulator): pass

@pytest.mark.kraty(faults="drop")
def test_a_name(kraty_emulator): pass

@pytest.mark.kraty(faults={"wallet.credti": Fault("drop")})
def test_no_operation(kraty_emulator): pass

@pytest.mark.kraty(faults={"wallet.credit": Fault("drop"), "health.ping": 503})
def test_a_number_behind_a_fault(kraty_emulator): pass

@pytest.mark.kraty(world={"games": []})
def test_a_dict(kraty_emulator): pass

@pytest.mark.kraty(world="missing.json")
def test_no_file(kraty_emulator): pass

def test_after(kraty_emulator):
    assert kraty_emulator.faults.rules == []
"""


def test_a_wrong_marker_is_a_clear_error(tmp_path: Path) -> None:
    """A test with a wrong marker does not run, and one line says what is wrong."""
    with pytest.raises(AssertionError, match="1 passed, 7 errors") as failed:
        run(tmp_path, WRONG)
    output = str(failed.value)
    for why in (
        "it takes world and faults by name, not positional arguments",
        "it takes world and faults by name, not fault",
        "faults must be Fault or None, not str",
        "faults: there is no operation wallet.credti",
        "faults must be Fault or None, not int",
        "world must be a World or a path, not dict",
        "world: [Errno 2] No such file or directory: 'missing.json'",
    ):
        assert f"@pytest.mark.kraty: {why}" in output
    assert "Traceback" not in output
    assert "another exception" not in output


FAILS = """
from kraty_admin import KratyAdmin, RetryConfig
from kraty_admin.emulator import Fault

def test_before(kraty_session_emulator):
    kraty_session_emulator.client().wallet.credit("p", "gold", amount=5, idempotency_key="early")

def test_it(kraty_emulator, kraty_session_emulator):
    kraty_emulator.faults.add(Fault("drop"), operation="wallet.credit")
    client = kraty_emulator.client(retry=RetryConfig(initial_delay=0))
    client.wallet.credit("p", "gold", amount=5, idempotency_key="receipt_1")
    key = kraty_emulator.api_key
    client.wallet.credit("p", "gold", amount=5, idempotency_key=key)
    kraty_session_emulator.client().wallet.credit("p", "gold", amount=5, idempotency_key="late")
    assert False

def test_closed(kraty_emulator):
    kraty_emulator.close()
    assert False

def test_passes(kraty_emulator):
    kraty_emulator.client().health.ping()
"""


def test_the_session_of_a_failed_test_is_saved(tmp_path: Path) -> None:
    """With `--kraty-sessions`, a failed test leaves a session that can be replayed, and others
    none."""
    with pytest.raises(AssertionError, match="2 failed, 2 passed") as failed:
        run(tmp_path, FAILS, options=["--kraty-sessions", "sessions"])
    (path,) = (tmp_path / "sessions").iterdir()
    assert "test_0.py-test_it.jsonl" == path.name
    assert f"kraty-admin emulator --replay {Path('sessions') / path.name}" in str(failed.value)
    assert "not saved: the emulator is not running" in str(failed.value)
    with Emulator(seed=0) as emulator:
        assert [] == emulator.replay(path)
        assert 10 == emulator.balance("p", "gold")


def test_each_test_has_a_session_of_its_own(tmp_path: Path) -> None:
    """Tests whose names differ only in what a file's name leaves out have different files."""
    names = ["[a/b]", "[a b]", "x" * 200, "y" + "x" * 200]
    with Emulator(seed=0) as emulator:
        for name in names:
            pytest_kraty_admin._save_session(emulator, tmp_path, f"test_shop.py::test_it{name}")  # pyright: ignore[reportPrivateUsage]
    assert len(names) == len([*tmp_path.iterdir()])


def test_the_requests_of_a_failed_test_are_shown(tmp_path: Path) -> None:
    """The report of a failed test lists its requests and faults, and no API key."""
    with pytest.raises(AssertionError, match="2 failed, 2 passed") as failed:
        run(tmp_path, FAILS)
    output = str(failed.value)
    lines = [" ".join(line.split()) for line in output.splitlines()]
    title = next(at for at, line in enumerate(lines) if "Requests to kraty_emulator" in line)
    (shown,) = (block for block in BLOCKS if (block.page, block.language) == ("testing.md", "text"))
    assert [
        *(" ".join(line.split()) for line in shown.code.splitlines()[1:]),
        "wallet.credit krt_emulator_game1.*** 1 - 200 done",
    ] == lines[title + 1 : title + 5]
    title = next(
        at for at, line in enumerate(lines) if "kraty_session_emulator" in line and "Req" in line
    )
    assert "wallet.credit late 1 - 200 done" == lines[title + 2]
    assert 0 == output.count("wallet.credit  early")
    assert "not-a-secret" not in output
    assert 2 == output.count("Requests to ")


def test_the_last_requests_are_shown_if_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many requests only the last are listed, with their total."""
    monkeypatch.setattr(pytest_kraty_admin, "_SHOWN", 2)
    with Emulator(seed=0) as emulator:
        for key in "abc":
            emulator.client().wallet.credit("p", "gold", amount=1, idempotency_key=key)
        shown = pytest_kraty_admin._requests_of(emulator, 0).splitlines()  # pyright: ignore[reportPrivateUsage]
    assert ["operation", "wallet.credit", "wallet.credit", "(the"] == [
        line.split()[0] for line in shown
    ]
    assert ["b", "c"] == [line.split()[1] for line in shown[1:3]]
    assert "(the last 2 of 3)" == shown[-1]


def test_nothing_is_imported_before_it_is_used(tmp_path: Path) -> None:
    """The plugin imports nothing of the package until its fixture is used."""
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
    """The plugin can be disabled by its name."""
    code = """
import pytest

def test_it(request):
    with pytest.raises(pytest.FixtureLookupError):
        request.getfixturevalue("kraty_emulator")
"""
    assert "1 passed" in run(tmp_path, code, options=["-p", "no:kraty_admin"])


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """Without the extra, only tests that use the fixture fail, with one line."""
    code = """
def test_without(): pass

def test_with(kraty_emulator): pass
"""
    with pytest.raises(AssertionError, match="1 passed, 1 error") as failed:
        run(tmp_path, code, conftest="import sys\nsys.modules['uvicorn'] = None\n")
    output = str(failed.value)
    assert "kraty_admin.emulator needs uvicorn: pip install 'kraty-admin[emulator]'" in output
    assert "Traceback" not in output
    assert "another exception" not in output
