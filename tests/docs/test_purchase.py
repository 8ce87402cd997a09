"""The README's shop, when a receipt comes again and when an answer is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from types import SimpleNamespace

import attrs
import pytest

from kraty_admin import (
    KratyAdmin,
    KratyKeyExpiredError,
    KratyNetworkError,
    KratyServerError,
    RetryConfig,
)
from kraty_admin.emulator import Fault

from .testkit import PURCHASE, Reader, Recorder, block_named

DAYS = [0, 1, 2, 7]
TRIED = "SELECT receipt_id, first_tried_at FROM purchases"


@attrs.define
class Shop:
    """The README's shop, and a receipt that the store delivers again."""

    reader: Reader
    db: sqlite3.Connection
    asked: Recorder

    def fulfil(self, kraty: KratyAdmin | None = None, player_id: str = "p") -> None:
        self.reader.names["fulfil"](self.db, kraty or self.reader.kraty, player_id, "r_1")

    def wait(self, time: timedelta) -> None:
        """Let time pass, for the platform and for the shop."""
        self.reader.emulator.clock.advance(time)
        with self.db:
            for receipt, tried in self.db.execute(TRIED).fetchall():
                earlier = (datetime.fromisoformat(tried) - time).isoformat()
                row = (earlier, receipt)
                self.db.execute("UPDATE purchases SET first_tried_at = ? WHERE receipt_id = ?", row)

    @property
    def balance(self) -> int:
        return self.reader.emulator.balance("p", "gold")

    @property
    def calls(self) -> int:
        return len(self.reader.emulator.requests)

    def rows(self) -> list[tuple[str, int]]:
        """Return the committed rows, as another process sees them."""
        with closing(sqlite3.connect("shop.sqlite3")) as other:
            return other.execute("SELECT receipt_id, done FROM purchases").fetchall()


@pytest.fixture
def shop(reader: Reader) -> Iterator[Shop]:
    names = reader.run(block_named("README.md", PURCHASE))
    asked = names["ask_a_human"] = Recorder()
    with closing(names["open_shop"]("shop.sqlite3")) as db:
        yield Shop(reader, db, asked)


@pytest.mark.parametrize("days", DAYS)
def test_a_receipt_that_comes_again_is_paid_once(shop: Shop, days: int) -> None:
    """A receipt that was paid needs no further call, even after a week."""
    shop.fulfil()
    calls = shop.calls
    shop.wait(timedelta(days=days))
    shop.fulfil()
    assert (shop.balance, shop.calls) == (500, calls)
    assert shop.asked.calls == []


@pytest.mark.parametrize("days", DAYS)
def test_a_lost_answer_is_paid_once(shop: Shop, days: int) -> None:
    """A purchase whose answer was lost is repeated within 23 hours; later a person is asked
    instead."""
    shop.reader.emulator.faults.add(Fault("drop"), operation="wallet.credit")
    once = shop.reader.kraty.with_options(retry=RetryConfig(attempts=1))
    with pytest.raises(KratyNetworkError):
        shop.fulfil(once)
    assert shop.rows() == [("r_1", 0)]
    calls = shop.calls
    shop.wait(timedelta(days=days))
    shop.fulfil()
    in_time = days == 0
    assert shop.balance == 500
    assert shop.calls - calls == in_time
    assert shop.rows() == [("r_1", int(in_time))]
    errors = [words[0] for _, words, _ in shop.asked.calls]
    expected = [] if in_time else [KratyKeyExpiredError]
    assert [type(error) for error in errors] == expected


def test_a_receipt_is_committed_before_the_first_call(shop: Shop) -> None:
    """The row of a purchase is committed before the call is made."""
    seen: list[list[tuple[str, int]]] = []

    class Watching:
        def credit(self, *args: object, **kwargs: object) -> None:
            seen.append(shop.rows())

    shop.reader.names["fulfil"](shop.db, SimpleNamespace(wallet=Watching()), "p", "r_1")
    assert seen == [[("r_1", 0)]]
    assert shop.rows() == [("r_1", 1)]


def test_a_receipt_of_another_player_asks_a_human(shop: Shop) -> None:
    """A receipt of another player is reported and raised as a conflict, and not marked done."""
    shop.reader.emulator.faults.add(Fault("drop"), operation="wallet.credit")
    with pytest.raises(KratyNetworkError):
        shop.fulfil(shop.reader.kraty.with_options(retry=RetryConfig(attempts=1)))
    with pytest.raises(KratyServerError, match="idempotency_conflict"):
        shop.fulfil(player_id="q")
    assert len(shop.asked.calls) == 1
    assert shop.rows() == [("r_1", 0)]
