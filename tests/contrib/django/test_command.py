"""`manage.py kraty_outbox` runs a worker on the tables of Django."""

from __future__ import annotations

import inspect
import signal
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any

import pytest
import sqlalchemy as sa
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import override_settings

from kraty_admin import RequestInfo
from kraty_admin import outbox as core
from kraty_admin.contrib.django import outbox
from kraty_admin.contrib.django.management.commands.kraty_outbox import Command
from kraty_admin.emulator import Emulator


def kraty_outbox(*args: str, **options: Any) -> str:
    """Run the command; return what it prints."""
    out = StringIO()
    call_command("kraty_outbox", *args, stdout=out, **options)
    return out.getvalue()


def credit(key: str, using: str = "default", currency: str = "gold") -> None:
    """Record a credit."""
    with transaction.atomic(using=using):
        outbox.into(using).wallet.credit("player_42", currency, amount=500, idempotency_key=key)


def test_from_the_tables_to_a_delivery(using: str, emulator: Emulator) -> None:
    """`set-up`, `run --once` and `status` take a purchase from the tables to a delivery."""
    assert kraty_outbox("set-up", "--database", using) == (
        f"The outbox is for game game_1 (test) at {emulator.base_url}.\n"
    )
    credit("receipt_1", using)
    assert "pending: 1\noldest open: " in kraty_outbox("status", "--database", using)
    assert kraty_outbox("run", "--once", "--database", using) == (
        "done: 1, refused: 0, unknown: 0, retried: 0, stopped_by: empty\n"
    )
    assert kraty_outbox("status", "--database", using) == "done: 1\n"
    assert emulator.balance("player_42", "gold") == 500


def test_a_thread_of_a_scheduler(default_shop: sa.Engine) -> None:
    """`run --once` works in a thread, which cannot handle signals."""
    credit("receipt_1")
    with ThreadPoolExecutor(1) as threads:
        assert "done: 1," in threads.submit(kraty_outbox, "run", "--once").result()


def test_an_intent_that_another_worker_sends(default_shop: sa.Engine, emulator: Emulator) -> None:
    """`run --once` says that an intent is open which is not due, because it is being sent."""
    credit("receipt_1")
    intents = core.Tables().intents
    with default_shop.begin() as connection:
        far = 4_000_000_000_000
        connection.execute(intents.update().values(state="sending", due_ms=far, first_sent_ms=far))
    assert kraty_outbox("run", "--once").endswith(
        "stopped_by: empty\n"
        "Open, but not due now: 1 sending, by another worker or by one that was killed.\n"
    )


def test_a_service_stops_on_sigterm(default_shop: sa.Engine, emulator: Emulator) -> None:
    """SIGTERM lets the call in flight finish and starts no other, and the old handlers are
    restored."""
    before = signal.getsignal(signal.SIGTERM)

    def stop(info: RequestInfo) -> None:
        if info.operation == "wallet.credit":
            signal.raise_signal(signal.SIGTERM)

    credit("receipt_1")
    credit("receipt_2")
    with override_settings(KRATY={**settings.KRATY, "ON_REQUEST": stop}):
        printed = kraty_outbox("--in-flight", "1")
    assert printed.endswith("done: 1, refused: 0, unknown: 0, retried: 0, stopped_by: stop\n")
    assert ["pending", "done"] == [intent.state for intent in core.find(default_shop)]
    assert signal.getsignal(signal.SIGTERM) == before


def test_intents_that_were_refused(default_shop: sa.Engine) -> None:
    """The status after a refused intent is 6, as with `kraty-admin outbox run --once`."""
    credit("receipt_1", currency="nuggets")
    with pytest.raises(CommandError, match="look at them in the admin") as caught:
        kraty_outbox("run", "--once")
    assert caught.value.returncode == 6


def test_an_outbox_without_a_target(default: str, emulator: Emulator) -> None:
    """The command's error for an outbox without a target says so."""
    with pytest.raises(CommandError, match="no target yet"):
        kraty_outbox("run", "--once")


def test_a_database_without_tables(emulator: Emulator) -> None:
    """The error for a database without tables says to run migrate."""
    with pytest.raises(CommandError, match=r"no such table: kraty_\w+\. .* run migrate"):
        kraty_outbox("status", "--database", "empty")


def test_options_that_need_once() -> None:
    """`--limit` without `--once` is refused."""
    with pytest.raises(CommandError, match="need --once"):
        kraty_outbox("--limit", "3")


def test_options_of_a_limit(default_shop: sa.Engine) -> None:
    """`--limit` and `--seconds` reach the worker."""
    credit("receipt_1")
    credit("receipt_2")
    printed = kraty_outbox("--once", "--limit", "1", "--seconds", "20", "--in-flight", "1")
    assert printed.startswith("done: 1,")
    assert printed.endswith("stopped_by: limit\n")


def test_the_help_names_the_default_of_seconds() -> None:
    """The default of `--seconds` in the help is that of `outbox.drain`."""
    printed = Command().create_parser("manage.py", "kraty_outbox").format_help()
    seconds = inspect.signature(core.drain).parameters["seconds"].default
    assert f"start no call after this many seconds. Default: {seconds:g}." in " ".join(
        printed.split()
    )
