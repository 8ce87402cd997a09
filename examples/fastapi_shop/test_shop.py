"""The shop and its worker deliver each purchase once, even if they are killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
import sqlalchemy as sa

from kraty_admin.emulator import Emulator, Fault

URL = os.environ.get("SHOP_TEST_DATABASE_URL", "sqlite:///{folder}/shop.sqlite3")
"""A URL without a driver for asyncio; for PostgreSQL, of a database that may be emptied."""
SECRET = "whsec_shop"
ORDER = {"receipt_id": "r_1", "player": "player_42", "product": "gold_500"}


@pytest.fixture
def engine(
    kraty_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[sa.Engine]:
    """Yield a database with empty tables, which the processes find in their environment."""
    url = URL.format(folder=tmp_path)
    monkeypatch.setenv("SHOP_DATABASE_URL", url.replace("sqlite:", "sqlite+aiosqlite:"))
    monkeypatch.setenv("KRATY_OUTBOX_URL", url)
    monkeypatch.setenv("KRATY_WEBHOOK_SECRET", SECRET)
    engine = sa.create_engine(url)
    metadata = sa.MetaData()
    metadata.reflect(engine)
    metadata.drop_all(engine)
    subprocess.run([sys.executable, "shop.py"], cwd=Path(__file__).parent, check=True)
    yield engine
    engine.dispose()


@contextmanager
def process(*command: str, **options: Any) -> Generator[subprocess.Popen[str], None, None]:
    """Run a program, and kill it at the end if it still runs."""
    folder = Path(__file__).parent
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=folder, text=True, **options
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def shop() -> Generator[tuple[httpx.Client, subprocess.Popen[str]], None, None]:
    """Run the shop; yield a client of it, and the process."""
    with (
        process("uvicorn", "shop:app", "--port", "0", stderr=subprocess.PIPE) as running,
        httpx.Client(base_url=address(running.stderr), timeout=30) as client,
    ):
        yield client, running


def address(log: IO[str] | None) -> str:
    assert log is not None
    lines: list[str] = []
    for line in log:
        lines.append(line)
        if found := re.search(r"running on (http://\S+)", line):
            return found[1]
    raise AssertionError("".join(lines))


def deliver() -> None:
    """Run a worker until nothing is due."""
    with process("kraty_admin", "outbox", "run", "--once") as worker:
        assert 0 == worker.wait(60)


def wait_until(true: Callable[[], object]) -> None:
    ends_at = time.monotonic() + 30
    while not true():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def test_a_purchase(kraty_emulator: Emulator, engine: sa.Engine) -> None:
    """A purchase is delivered, shown and reported once, though order and webhook are repeated."""
    with shop() as (http, _):
        kraty_emulator.webhooks.register(
            f"{http.base_url}/kraty/webhook", SECRET, events=["wallet.changed"]
        )
        kraty_emulator.faults.add(Fault("drop"), operation="webhook")
        first = http.post("/purchases", json=ORDER)
        assert (202, {"state": "pending"}) == (first.status_code, first.json())
        deliver()
        assert {"state": "done"} == http.post("/purchases", json=ORDER).json()
        assert 409 == http.post("/purchases", json=ORDER | {"product": "gold_2000"}).status_code
        profile = http.get("/players/player_42").json()
        kraty_emulator.webhooks.settle()
        kraty_emulator.webhooks.replay(kraty_emulator.deliveries[0].event_id)
        kraty_emulator.webhooks.settle()
        forged = http.post("/kraty/webhook", json={}, headers={"x-signature": "t=1,v1=0"})
        assert 401 == forged.status_code
        page = http.get("/openapi.json").json()
    assert "PlayerProfile" in page["components"]["schemas"]
    assert [500] == [each["balance"] for each in profile["wallet"]]
    assert [("gold", 500)] == [(each.key, each.delta) for each in kraty_emulator.ledger]
    (delivery,) = kraty_emulator.deliveries
    assert len(delivery.attempts) > 1
    with engine.connect() as connection:
        assert ["wallet.changed"] == list(
            connection.scalars(sa.text("SELECT event_name FROM notices"))
        )


def test_kraty_is_down(
    kraty_emulator: Emulator, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shop starts and accepts a purchase while Kraty is down; it is delivered later."""
    with monkeypatch.context() as patch:
        patch.setenv("KRATY_BASE_URL", "http://127.0.0.1:9")
        with shop() as (http, _):
            assert {"state": "pending"} == http.post("/purchases", json=ORDER).json()
    deliver()
    assert [500] == [each.delta for each in kraty_emulator.ledger]


def test_the_shop_is_killed(kraty_emulator: Emulator, engine: sa.Engine) -> None:
    """If the shop is killed while orders come in, repeats complete them, and each is paid once."""
    orders = [ORDER | {"receipt_id": f"r_{number}"} for number in range(60)]
    answered: list[str] = []

    def order(http: httpx.Client, each: dict[str, str]) -> None:
        if http.post("/purchases", json=each).status_code == 202:
            answered.append(each["receipt_id"])

    with shop() as (http, running), ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(order, http, each) for each in orders]
        wait_until(lambda: len(answered) >= 10)
        running.kill()
    assert any(each.exception() for each in asked)
    before = set(answered)
    with shop() as (http, _):
        for each in orders:
            if each["receipt_id"] not in before:
                order(http, each)
    deliver()
    assert {each["receipt_id"] for each in orders} == set(answered)
    assert [500] * 60 == [each.delta for each in kraty_emulator.ledger]
    with engine.connect() as connection:
        assert 60 == connection.scalar(sa.text("SELECT count(*) FROM purchases"))


def test_the_worker_is_killed(kraty_emulator: Emulator, engine: sa.Engine) -> None:
    """If a worker is killed after Kraty has paid, the next worker does not pay again."""
    with shop() as (http, _):
        http.post("/purchases", json=ORDER)
        kraty_emulator.faults.add(Fault("delay", seconds=60), operation="wallet.credit")
        with process("kraty_admin", "outbox", "run") as worker:
            wait_until(lambda: kraty_emulator.ledger)
            worker.kill()
        assert {"state": "sending"} == http.post("/purchases", json=ORDER).json()
        with engine.begin() as connection:  # as if the worker's lease of 3 minutes had ended
            connection.execute(sa.text("UPDATE kraty_outbox_intents SET due_ms = 0"))
        deliver()
        assert {"state": "done"} == http.post("/purchases", json=ORDER).json()
    assert [500] == [each.delta for each in kraty_emulator.ledger]
    assert 2 == sum(each.operation == "wallet.credit" for each in kraty_emulator.requests)
