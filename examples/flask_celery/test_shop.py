"""The shop delivers each purchase once with a worker and a broker, even if they are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import sqlalchemy as sa

from kraty_admin import KratyServerError
from kraty_admin.emulator import Emulator, Fault

if TYPE_CHECKING:
    from types import ModuleType

HERE = Path(__file__).parent
ORDER = {"receipt_id": "r_1", "player": "player_42", "product": "gold_500"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kraty_emulator: Emulator) -> Path:
    """Return the folder of database, broker and results, which the environment names."""
    (tmp_path / "results").mkdir()
    monkeypatch.setenv("CELERY_BROKER_URL", f"sqla+sqlite:///{tmp_path}/broker.sqlite3")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", f"file://{tmp_path}/results")
    monkeypatch.setenv("SHOP_DATABASE_URL", f"sqlite:///{tmp_path}/shop.sqlite3")
    monkeypatch.syspath_prepend(str(HERE))
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", "shop", "init-db"], cwd=HERE, check=True
    )
    return tmp_path


@pytest.fixture
def shop(folder: Path) -> Generator[ModuleType, None, None]:
    """Yield the shop's module, imported in the environment of the test."""
    import shop

    yield shop
    shop.engine.dispose()
    del sys.modules["shop"]


@contextmanager
def process(*command: str, log: Path) -> Generator[subprocess.Popen[bytes], None, None]:
    """Run a program that writes a log; kill it with its children in the end."""
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=HERE,
            stdout=file,
            stderr=file,
            start_new_session=True,
        ) as running,
    ):
        try:
            yield running
        finally:
            os.killpg(running.pid, signal.SIGKILL)


def worker(folder: Path) -> Any:
    """Run a worker that has one child for the tasks."""
    command = ("celery", "--app", "shop:celery", "worker", "--concurrency", "1", "--without-mingle")
    return process(*command, "--without-gossip", log=folder / "worker.log")


def child_of(worker: subprocess.Popen[bytes]) -> int:
    """Return the process that runs the worker's tasks."""
    listed = subprocess.run(
        ["pgrep", "--parent", str(worker.pid)], capture_output=True, text=True, check=True
    )
    (child,) = listed.stdout.split()
    return int(child)


def wait_until(true: Callable[[], object]) -> None:
    ends_at = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def paid(emulator: Emulator) -> list[tuple[str, int]]:
    return [(each.key, each.delta) for each in emulator.ledger]


def test_a_task_whose_process_is_killed(
    kraty_emulator: Emulator, folder: Path, shop: ModuleType
) -> None:
    """If a task's process is killed after Kraty has paid, the task runs again and pays nothing."""
    kraty_emulator.faults.add(Fault("delay", seconds=60), operation="grants.create")
    result = shop.compensate.delay("TICKET-1", "player_42", 500)
    with worker(folder) as running:
        wait_until(lambda: kraty_emulator.ledger)
        os.kill(child_of(running), signal.SIGKILL)
        assert result.get(timeout=60).startswith("grt_")
    assert [("gold", 500)] == paid(kraty_emulator)
    assert 2 == sum(each.operation == "grants.create" for each in kraty_emulator.requests)


def test_a_purchase_whose_worker_is_killed(
    kraty_emulator: Emulator, folder: Path, shop: ModuleType
) -> None:
    """If the worker is killed after Kraty has paid, the next one repeats the call, paying once."""
    log = folder / "flask.log"
    with process("flask", "--app", "shop", "run", "--port", "0", log=log):
        wait_until(lambda: "Running on" in log.read_text())
        (address,) = re.findall(r"Running on (http://\S+)", log.read_text())
        with httpx.Client(base_url=address, timeout=30) as http:
            assert {"state": "pending"} == http.post("/purchases", json=ORDER).json()
            kraty_emulator.faults.add(Fault("delay", seconds=60), operation="wallet.credit")
            with worker(folder):
                wait_until(lambda: kraty_emulator.ledger)
            assert {"state": "sending"} == http.post("/purchases", json=ORDER).json()
            with shop.engine.begin() as connection:  # as if the worker's lease had ended
                connection.execute(sa.text("UPDATE kraty_outbox_intents SET due_ms = 0"))
            with worker(folder):
                wait_until(lambda: http.post("/purchases", json=ORDER).json() == {"state": "done"})
            assert 409 == http.post("/purchases", json=ORDER | {"player": "p"}).status_code
    assert [("gold", 500)] == paid(kraty_emulator)
    assert 2 == sum(each.operation == "wallet.credit" for each in kraty_emulator.requests)


def test_a_webhook_whose_handler_fails(
    kraty_emulator: Emulator, shop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook whose handler fails comes again and is handled once; a forged one is refused."""
    monkeypatch.setenv("KRATY_WEBHOOK_SECRET", "whsec_shop")
    kraty_emulator.webhooks.collect("whsec_shop", events=["player.banned"])
    http = shop.app.test_client()
    statuses: list[int] = []

    def deliver(body: bytes, headers: Mapping[str, str]) -> int:
        status: int = http.post("/kraty/webhook", data=body, headers=dict(headers)).status_code
        statuses.append(status)
        return status

    notice = shop.Notice
    monkeypatch.setattr(shop, "Notice", None)
    kraty_emulator.webhooks.trigger("player.banned", external_player_id="p")
    kraty_emulator.webhooks.deliver(deliver)
    monkeypatch.setattr(shop, "Notice", notice)
    kraty_emulator.clock.advance(timedelta(hours=1))
    kraty_emulator.webhooks.deliver(deliver)
    kraty_emulator.webhooks.replay(kraty_emulator.deliveries[0].event_id)
    kraty_emulator.webhooks.deliver(deliver)
    assert [500, 204, 204] == statuses
    assert 401 == http.post("/kraty/webhook", data=b"{}").status_code
    with shop.engine.connect() as connection:
        assert ["player.banned"] == list(
            connection.scalars(sa.text("SELECT event_name FROM notices"))
        )


def test_a_purchase_without_a_broker(
    kraty_emulator: Emulator, shop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purchase is accepted without a broker, and the scheduled task delivers it."""

    def fail(*args: object, **options: object) -> None:
        raise shop.OperationalError("there is no broker")

    monkeypatch.setattr(shop.send_due, "apply_async", fail)
    http = shop.app.test_client()
    assert 422 == http.post("/purchases", json=ORDER | {"product": "gold_9"}).status_code
    assert 202 == http.post("/purchases", json=ORDER).status_code
    assert 1 == shop.send_due()
    assert [("gold", 500)] == paid(kraty_emulator)


def test_a_lost_answer_and_the_soft_time_limit(
    kraty_emulator: Emulator, shop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is cut off in the middle of its call runs again and pays once."""
    create = shop.kraty().grants.create

    def cut_off(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(shop.kraty().grants, "create", create)
        create(*args, **options)
        raise shop.SoftTimeLimitExceeded

    monkeypatch.setattr(shop.kraty().grants, "create", cut_off)
    result = shop.compensate.apply(("TICKET-1", "player_42", 500))
    assert result.get().startswith("grt_")
    assert [("gold", 500)] == paid(kraty_emulator)


def test_a_refusal_is_not_retried(kraty_emulator: Emulator, folder: Path, shop: ModuleType) -> None:
    """A refused task is not retried, and its result is Kraty's error, carried as JSON."""
    shop.kraty().grants.create(
        "p",
        entries=[{"type": "currency", "currencyKey": "gold", "amount": 1}],
        idempotency_key=shop.derive_key("ticket", "TICKET-1"),
    )
    result = shop.compensate.delay("TICKET-1", "player_42", 500)
    with worker(folder), pytest.raises(KratyServerError) as caught:
        result.get(timeout=60)
    assert caught.value.is_idempotency_conflict
    assert not caught.value.ambiguous
    assert [("gold", 1)] == paid(kraty_emulator)
    assert 2 == sum(each.operation == "grants.create" for each in kraty_emulator.requests)
