"""A shop and its workers, each to be killed: they share a database, and nothing else survives.

A `shop` sells for ever, and a `worker` sends what it has recorded. `again` delivers every receipt
that was ever sold once more, and ends.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Final, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from kraty_admin import KratyAdmin, KratyNetworkError, KratyServerError, RetryConfig, outbox
from proofs.local import Options
from proofs.programs.ahead import Ahead
from proofs.programs.shop import Purchase, purchases

__all__ = ["DEADLINE", "LANES", "SLOTS", "Base", "Sale", "connect", "never_sold", "play", "wanted"]

Role: TypeAlias = Literal["shop", "worker", "again"]

LANES: Final = 24
"""How many players buy."""

SLOTS: Final = 4
"""How many intents a worker sends at a time."""

DEADLINE: Final = 2.0
"""Seconds for each call of a worker."""

_BACKLOG: Final = 150
"""How many intents may be open before the shop waits."""


class Base(DeclarativeBase):
    """The studio's own tables."""


class Sale(Base):
    """A receipt that was sold."""

    __tablename__ = "sales"

    reference: Mapped[str] = mapped_column(primary_key=True)
    lane: Mapped[int]
    number: Mapped[int]


class ChangedMindError(Exception):
    """The transaction is to be rolled back."""


def connect(url: str) -> sa.Engine:
    """Connect to the studio's database. What is killed is processes, so none waits for a disk."""
    if not url.startswith("sqlite"):
        return sa.create_engine(url)
    engine = sa.create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def relax(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    return engine


def wanted(lane: int) -> Iterator[Purchase]:
    """Yield all that a player will ever want, in its order.

    Nothing that takes: it would be refused where what gives is still in doubt.
    """
    return (each for each in purchases(lane) if each.step in ("credit", "grant", "mixed"))


def never_sold(number: int) -> bool:
    """Return whether the only transaction of this purchase is rolled back."""
    return number % 10 == 3


def _is_sold_late(number: int) -> bool:
    """Return whether a transaction of this purchase is rolled back before it is sold."""
    return number % 10 == 7


def sell(
    engine: sa.Engine, lane: int, number: int, purchase: Purchase, *, roll_back: bool = False
) -> None:
    """Record a purchase and its fulfilment, as often as its receipt arrives."""
    with Session(engine) as session, session.begin():
        if session.get(Sale, purchase.reference) is None:
            session.add(Sale(reference=purchase.reference, lane=lane, number=number))
            session.flush()
        purchase.buy(outbox.into(session), purchase.key)
        if roll_back:
            raise ChangedMindError


def keep_shop(engine: sa.Engine, lanes: Sequence[int]) -> None:
    """Sell to these players in turn, from where a shop that was killed was cut off."""
    random = Random()
    pause = threading.Event()
    with Session(engine) as session:
        last = sa.select(Sale.lane, sa.func.max(Sale.number)).group_by(Sale.lane)
        first = {lane: number + 1 for lane, number in session.execute(last)}
    plans = {lane: wanted(lane) for lane in lanes}
    past = {lane: list(islice(plans[lane], first.get(lane, 0))) for lane in lanes}
    while True:
        while (
            sum(outbox.status(engine).counts.get(s, 0) for s in ("pending", "sending")) > _BACKLOG
        ):
            pause.wait(0.05)
        for lane in lanes:
            number, purchase = len(past[lane]), next(plans[lane])
            if never_sold(number) or _is_sold_late(number):
                with suppress(ChangedMindError):
                    sell(engine, lane, number, purchase, roll_back=True)
            if not never_sold(number):
                sell(engine, lane, number, purchase)
            past[lane].append(purchase)
            repeated = random.randrange(5 * len(past[lane]))
            if repeated < len(past[lane]) and not never_sold(repeated):
                sell(engine, lane, repeated, past[lane][repeated])


def keep_shops(engine: sa.Engine) -> None:
    """Sell to half of the players from one thread, and to the others from another one."""
    threads = ThreadPoolExecutor(2)
    shops = [threads.submit(keep_shop, engine, range(i, LANES, 2)) for i in (0, 1)]
    failed, _ = wait(shops, return_when=FIRST_EXCEPTION)
    traceback.print_exception(failed.pop().exception())
    os._exit(1)  # the other one would go on for ever


def deliver_again(engine: sa.Engine) -> None:
    """Clear away what is old, as a nightly job would, and sell every receipt again."""
    outbox.purge(engine, older_than=timedelta(days=7))
    with Session(engine) as session:
        sold = session.execute(sa.select(Sale.lane, Sale.number)).all()
    for lane in range(LANES):
        numbers = {number for each, number in sold if each == lane}
        for number, purchase in enumerate(islice(wanted(lane), max(numbers, default=-1) + 1)):
            if number in numbers:
                sell(engine, lane, number, purchase)


def work(engine: sa.Engine, options: Options) -> None:
    """Send what is recorded, and begin again whenever that fails."""
    # Few attempts, so that many calls end without an answer.
    retry = RetryConfig(attempts=2, initial_delay=0.01)
    pause = threading.Event()
    with KratyAdmin(**options, retry=retry, timeout=DEADLINE / 4, deadline=DEADLINE) as kraty:
        while True:
            with suppress(KratyNetworkError, KratyServerError):
                outbox.run(kraty, engine, stop=threading.Event(), poll=0.2, in_flight=SLOTS)
            pause.wait(0.1)


def play(role: Role, folder: Path, url: str, options: Options, begun: Connection) -> None:
    """Be one of them, in a process of its own.

    Args:
        role: Which.
        folder: Where the clocks are, and where it complains.
        url: The studio's database.
        options: What a client needs to talk to the platform.
        begun: Hears of it when the work begins: it may be killed from then on.
    """
    log = os.open(folder / "programs.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, sys.stderr.fileno())
    engine = connect(url)
    with Ahead(folder).database():
        begun.send(None)
        if role == "worker":
            work(engine, options)
        elif role == "again":
            deliver_again(engine)
        else:
            keep_shops(engine)
