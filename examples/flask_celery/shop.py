"""A shop with Flask and Celery: the view records a purchase, and a task delivers it.

    flask --app shop init-db
    flask --app shop run
    celery --app shop:celery worker --beat

The environment has KRATY_SERVER_KEY, KRATY_WEBHOOK_SECRET, SHOP_DATABASE_URL, CELERY_BROKER_URL
and CELERY_RESULT_BACKEND.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from flask import Flask, request
from kombu.exceptions import OperationalError
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from kraty_admin import (
    KratyAdmin,
    KratyNetworkError,
    KratyServerError,
    WebhookVerificationError,
    construct_event,
    derive_key,
    inbox,
    outbox,
)

PRICES = {"gold_500": 500, "gold_2000": 2000}

app = Flask(__name__)
celery = Celery("shop")  # it reads CELERY_BROKER_URL and CELERY_RESULT_BACKEND itself
celery.conf.update(
    # A task whose worker is lost is run again. So each task must be right when it runs twice.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_soft_time_limit=60,
    task_time_limit=90,
    broker_connection_retry_on_startup=True,
    beat_schedule={"send-due": {"task": "shop.send_due", "schedule": 60.0}},
)
engine = create_engine(os.environ["SHOP_DATABASE_URL"])


@cache
def kraty() -> KratyAdmin:
    """Return this process's client. Each call ends before the soft time limit."""
    return KratyAdmin(deadline=15)


class Base(DeclarativeBase):
    """The shop's tables."""


class Purchase(Base):
    """A receipt that the shop has accepted."""

    __tablename__ = "purchases"

    receipt_id: Mapped[str] = mapped_column(primary_key=True)
    player: Mapped[str]
    product: Mapped[str]


class Notice(Base):
    """Something that Kraty has reported."""

    __tablename__ = "notices"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    event_name: Mapped[str]


@app.cli.command("init-db")
def init_db() -> None:
    """Create the tables that are missing."""
    Base.metadata.create_all(engine)
    outbox.set_up(engine, kraty())


# `receipt_id` must come from a receipt that you have verified with the store.
@app.post("/purchases")
def buy() -> tuple[dict[str, str], int]:
    """Accept a purchase. A repeat returns how far it is."""
    order: dict[str, Any] = request.get_json()
    receipt_id, player, product = (order.get(key) for key in ("receipt_id", "player", "product"))
    if not receipt_id or not player or product not in PRICES:
        return {"error": "receipt_id, player and a product are needed"}, 422
    try:
        with Session(engine) as session, session.begin():
            intent = outbox.into(session).wallet.credit(
                player,
                "gold",
                amount=PRICES[product],
                source_ref_id=receipt_id,
                idempotency_key=derive_key("iap", receipt_id),
            )
            if intent.is_new:
                session.add(Purchase(receipt_id=receipt_id, player=player, product=product))
    except outbox.OutboxConflictError:
        return {"error": "this receipt was used for another purchase"}, 409
    try:
        # After the commit. If it is lost, the schedule delivers the purchase within a minute.
        send_due.delay()
    except OperationalError:
        app.logger.warning("no broker: the schedule will deliver %s", receipt_id)
    return {"state": intent.state}, 202


@app.post("/kraty/webhook")
def receive() -> tuple[str, int]:
    """Keep what Kraty reports."""
    try:
        event = construct_event(
            raw_body=request.get_data(),
            signature_header=request.headers.get("X-Signature"),
            secret=os.environ["KRATY_WEBHOOK_SECRET"],
        )
    except WebhookVerificationError as error:
        app.logger.warning("webhook rejected: %s", error.reason)
        return "", 401
    with Session(engine) as session, session.begin():
        if inbox.once(session, event):
            session.add(Notice(event_id=event.id, event_name=event.event_name))
    return "", 204


@celery.task
def send_due() -> int:
    """Send what is due; return how many calls took effect."""
    # 40 seconds, and 15 for the last call: less than the soft time limit.
    return outbox.drain(kraty(), engine, seconds=40).done


@celery.task(bind=True, max_retries=50)
def compensate(self: Any, ticket: str, player: str, gold: int) -> str:
    """Pay for a support ticket; return the grant's id.

    Without an outbox, only `grants.create` may be repeated at any time: Kraty keeps its keys
    permanently. A broker may run a task again after days. If 50 retries, which take 7 hours, do
    not help, the last error is the task's result.
    """
    try:
        grant = kraty().grants.create(
            player,
            entries=[{"type": "currency", "currencyKey": "gold", "amount": gold}],
            source_ref_id=ticket,
            idempotency_key=derive_key("ticket", ticket),
        )
    except (KratyNetworkError, KratyServerError) as error:
        if not error.retryable and not error.ambiguous:
            raise
        raise self.retry(exc=error, countdown=delay(self.request.retries)) from error
    except SoftTimeLimitExceeded as error:
        raise self.retry(exc=error, countdown=delay(self.request.retries)) from error
    return grant.id


def delay(retries: int) -> int:
    """Return how many seconds to wait: 1, 2, 4 and so on, up to 10 minutes."""
    return min(int(2**retries), 600)
