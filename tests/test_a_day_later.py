"""Calls that pay, repeated after the platform has forgotten their keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Final

import pytest

from kraty_admin import (
    KratyAdmin,
    KratyKeyExpiredError,
    KratyNetworkError,
    RetryConfig,
    fulfil_once,
)
from kraty_admin.cli import main
from kraty_admin.emulator import Emulator, Fault

LATER: Final = timedelta(hours=25)


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    with Emulator(seed=0) as emulator:
        yield emulator


@pytest.fixture
def emulator(server: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    server.reset()
    monkeypatch.setenv("KRATY_BASE_URL", server.base_url)
    monkeypatch.setenv("KRATY_SERVER_KEY", server.api_key)
    return server


@pytest.fixture
def kraty(emulator: Emulator) -> Iterator[KratyAdmin]:
    with KratyAdmin(retry=RetryConfig(attempts=1)) as client:
        yield client


def credit(kraty: KratyAdmin, emulator: Emulator, tried: datetime, amount: int = 500) -> None:
    """Fulfil a receipt as a studio does that stored when it first tried."""
    now = emulator.clock.now
    with fulfil_once(
        "iap",
        "apple_receipt_1",
        operation="wallet.credit",
        first_tried_at=tried,
        now=now,
        on_conflict=print,
    ) as key:
        kraty.wallet.credit("player_42", "gold", amount=amount, idempotency_key=key)


@pytest.mark.parametrize("amount", [500, 700], ids=["same amount", "another amount"])
def test_a_redelivered_receipt(kraty: KratyAdmin, emulator: Emulator, amount: int) -> None:
    """`fulfil_once` refuses a receipt that comes again after 25 hours."""
    tried = emulator.clock.now
    credit(kraty, emulator, tried)
    emulator.clock.advance(LATER)
    with pytest.raises(KratyKeyExpiredError):
        credit(kraty, emulator, tried, amount)
    assert (500, 1) == (emulator.balance("player_42", "gold"), len(emulator.requests))


def test_without_the_time_it_pays_out_again(kraty: KratyAdmin, emulator: Emulator) -> None:
    """Without `first_tried_at`, a receipt that is repeated after 25 hours pays twice."""
    for _ in range(2):
        with fulfil_once("iap", "apple_receipt_1", on_conflict=print) as key:
            kraty.wallet.credit("player_42", "gold", amount=500, idempotency_key=key)
        emulator.clock.advance(LATER)
    assert 1_000 == emulator.balance("player_42", "gold")


def test_an_error_says_since_when_its_key_counts(kraty: KratyAdmin, emulator: Emulator) -> None:
    """The error of a lost answer has the time of its first attempt."""
    emulator.faults.add(Fault("drop"), operation="wallet.credit")
    before = datetime.now(timezone.utc)
    with pytest.raises(KratyNetworkError) as caught:
        kraty.wallet.credit("player_42", "gold", amount=500)
    first = caught.value.first_sent_at
    assert first is not None
    assert before <= first <= datetime.now(timezone.utc)


def test_a_chargeback_file_on_the_next_day(kraty: KratyAdmin, emulator: Emulator) -> None:
    """A file that a job processes again a day later debits each refund once."""
    kraty.wallet.credit("player_42", "gold", amount=100, idempotency_key="seed")
    recorded: dict[str, datetime] = {}
    refused: list[str] = []
    for _ in range(2):
        for refund in ("refund_1", "refund_2"):
            now = emulator.clock.now
            tried = recorded.setdefault(refund, now)
            try:
                with fulfil_once(
                    "chargeback",
                    refund,
                    operation="wallet.debit",
                    first_tried_at=tried,
                    now=now,
                    on_conflict=print,
                ) as key:
                    kraty.wallet.debit("player_42", "gold", amount=20, idempotency_key=key)
            except KratyKeyExpiredError as error:
                refused.append(error.idempotency_key)
        # The job runs daily, so exactly when the platform forgets the keys.
        emulator.clock.advance(timedelta(hours=24))
    assert (60, 2) == (emulator.balance("player_42", "gold"), len(refused))


@pytest.mark.parametrize(
    ("hours", "status", "balance"),
    [pytest.param(1, 0, 500, id="an hour later"), pytest.param(25, 4, 500, id="a day later")],
)
def test_a_command_that_is_run_again(
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
    hours: int,
    status: int,
    balance: int,
) -> None:
    """The command line refuses a key that was first tried a day ago."""
    command = ["wallet", "credit", "player_42", "gold", "500", "--yes"]
    command += ["--idempotency-key", "apple_receipt_1"]
    assert 0 == main(command)
    emulator.clock.advance(timedelta(hours=hours))
    tried = datetime.now(timezone.utc) - timedelta(hours=hours)
    assert status == main([*command, "--json", "--first-tried-at", tried.isoformat()])
    assert balance == emulator.balance("player_42", "gold")
    assert ('"code": "key_expired"' in capsys.readouterr().err) is (status == 4)


def test_a_grant_stays_safe(kraty: KratyAdmin, emulator: Emulator) -> None:
    """The platform keeps the keys of grants, so a grant may be repeated a week later."""
    tried = emulator.clock.now
    for _ in range(2):
        now = emulator.clock.now
        with fulfil_once(
            "iap",
            "apple_receipt_1",
            operation="grants.create",
            first_tried_at=tried,
            now=now,
            on_conflict=print,
        ) as key:
            entries = [{"type": "currency", "currencyKey": "gold", "amount": 500}]
            kraty.grants.create("player_42", idempotency_key=key, entries=entries)
        emulator.clock.advance(timedelta(days=7))
    assert 500 == emulator.balance("player_42", "gold")
