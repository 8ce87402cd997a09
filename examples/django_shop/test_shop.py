"""The shop pays each receipt once against a local Kraty, wherever a process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import django
import pytest
from django.core.management import call_command
from django.test import Client

from kraty_admin.emulator import Emulator

FOLDER = Path(__file__).parent

# A purchase in a process of its own, which is killed after a statement or an answer.
BUY = """
import os, signal, sys
import django
django.setup()
from django.db import connection
from django.test import Client

receipt, point = sys.argv[1:]

def execute(run, sql, *rest):
    result = run(sql, *rest)
    if point != "answer" and sql.startswith(point):
        os.kill(os.getpid(), signal.SIGKILL)
    return result

with connection.execute_wrapper(execute):
    Client().post("/buy", {"receipt_id": receipt, "player": "player_42"}, "application/json")
os.kill(os.getpid(), signal.SIGKILL)
"""

# A worker in a process of its own, which is killed when Kraty has answered and nothing is stored.
WORK = """
import os, signal
import django
from django.conf import settings
from django.core.management import call_command

def kill(info):
    if info.operation.startswith("wallet."):
        os.kill(os.getpid(), signal.SIGKILL)

settings.KRATY = {**settings.KRATY, "ON_REQUEST": kill}
django.setup()
call_command("kraty_outbox", "--once")
"""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Yield a local Kraty, with a database for the project."""
    with Emulator() as emulator, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")
        patch.setenv("KRATY_BASE_URL", emulator.base_url)
        patch.setenv("KRATY_SERVER_KEY", emulator.api_key)
        patch.setenv("KRATY_WEBHOOK_SECRET", "whsec_shop")
        patch.setenv("SHOP_SQLITE", str(tmp_path_factory.mktemp("shop") / "shop.sqlite3"))
        django.setup()
        call_command("migrate", verbosity=0)
        call_command("kraty_outbox", "set-up")
        yield emulator


@pytest.fixture
def kraty(emulator: Emulator) -> Iterator[Emulator]:
    """Yield the local Kraty in its first state, with an empty shop."""
    from django.db import connection

    yield emulator
    emulator.reset()
    with connection.cursor() as cursor:
        for table in (
            "kraty_outbox_intents",
            "kraty_outbox_players",
            "kraty_inbox",
            "shop_purchase",
            "shop_balancechange",
        ):
            cursor.execute(f"DELETE FROM {table}")


def buy(receipt: str, player: str = "player_42") -> int:
    """Send a receipt to the shop; return the status of its answer."""
    body = {"receipt_id": receipt, "player": player}
    return Client().post("/buy", body, "application/json").status_code


def killed(program: str, *arguments: str) -> bool:
    """Run a program that kills itself; return whether it did."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=FOLDER, env=os.environ.copy(), check=False, timeout=60)
    return done.returncode == -signal.SIGKILL


def end_leases() -> None:
    """Make what a lost worker had claimed due, as if minutes had passed."""
    from kraty_admin.contrib.django.models import OutboxIntent

    OutboxIntent.objects.filter(state="sending").update(due_ms=0)


def ledger(kraty: Emulator) -> list[tuple[str, int]]:
    """Return each player's changes in Kraty's ledger."""
    return [(entry.external_player_id, entry.delta) for entry in kraty.ledger]


@pytest.mark.parametrize(
    ("point", "stored"),
    [
        pytest.param('INSERT INTO "shop_purchase"', 0, id="after the purchase"),
        pytest.param("INSERT INTO kraty_outbox_intents", 0, id="before the commit"),
        pytest.param("answer", 1, id="after the commit"),
    ],
)
def test_a_view_that_is_killed(kraty: Emulator, point: str, stored: int) -> None:
    """A killed view leaves both purchase and intent or neither, and the repeat pays once."""
    from shop.models import Purchase

    from kraty_admin.contrib.django.models import OutboxIntent

    assert killed(BUY, "receipt_1", point)
    assert (stored, stored) == (Purchase.objects.count(), OutboxIntent.objects.count())
    assert buy("receipt_1") == 202  # the game asks again, since it got no answer
    call_command("kraty_outbox", "--once")
    assert buy("receipt_1") == 202
    call_command("kraty_outbox", "--once")
    assert ledger(kraty) == [("player_42", 500)]


def test_a_worker_that_is_killed(kraty: Emulator) -> None:
    """What a killed worker was sending is sent again, and paid once."""
    for receipt in ("receipt_1", "receipt_2"):
        assert buy(receipt) == 202
    for _ in range(2):
        assert killed(WORK)
        end_leases()
    call_command("kraty_outbox", "--once")
    assert ledger(kraty) == [("player_42", 500), ("player_42", 500)]
    tries = [seen for seen in kraty.requests if seen.operation == "wallet.credit"]
    assert len(tries) > 2


def test_a_receipt_of_another_player(kraty: Emulator) -> None:
    """A receipt that comes again for another player is refused, and pays that player nothing."""
    assert buy("receipt_1") == 202
    assert buy("receipt_1", "player_43") == 409
    call_command("kraty_outbox", "--once")
    assert ledger(kraty) == [("player_42", 500)]


def test_a_refund(kraty: Emulator) -> None:
    """The admin's action takes the gold back once, after the purchase was paid."""
    from django.contrib.auth.models import User

    assert buy("receipt_1") == 202
    admin = Client()
    admin.force_login(User.objects.create_superuser("ann"))
    for _ in range(2):
        action = {"action": "refund", "_selected_action": ["receipt_1"]}
        assert admin.post("/admin/shop/purchase/", action).status_code == 302
    call_command("kraty_outbox", "--once")
    call_command("kraty_outbox", "--once")
    assert ledger(kraty) == [("player_42", 500), ("player_42", -500)]
    page = admin.get("/admin/kraty/outboxintent/").content.decode()
    assert "wallet.debit" in page


def test_webhooks(kraty: Emulator) -> None:
    """A webhook whose answer was lost comes again, and is handled once."""
    from shop.models import BalanceChange

    from kraty_admin.emulator import Fault

    def receive(body: bytes, headers: Mapping[str, str]) -> int:
        sent = Client().post(
            "/kraty/webhook", body, content_type="application/json", headers=dict(headers)
        )
        return sent.status_code

    kraty.webhooks.collect("whsec_shop", events=["wallet.changed"])
    kraty.faults.add(Fault("drop"), operation="webhook")
    buy("receipt_1")
    call_command("kraty_outbox", "--once")
    assert kraty.webhooks.deliver(receive) == 1
    kraty.clock.advance(3600)
    assert kraty.webhooks.deliver(receive) == 1
    assert [("player_42", 500)] == [*BalanceChange.objects.values_list("player", "gold")]


def test_the_tests_of_the_project() -> None:
    """The project's tests pass in Django's own runner, with a database in memory."""
    command = [sys.executable, "manage.py", "test"]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop.settings"}
    done = subprocess.run(command, cwd=FOLDER, env=environment, check=False, timeout=60)
    assert done.returncode == 0
