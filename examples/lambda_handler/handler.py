"""An AWS Lambda function that delivers purchases from an SQS queue.

Verify a receipt with the store before you queue it. Each message is JSON:

    {"receipt_id": "r_1", "player": "player_42", "gold": 500,
     "bought_at": "2026-11-26T04:00:00+00:00"}

`bought_at` is the time of the purchase, as the store says. It must be the same whenever the
receipt is queued: a store may send a receipt again after days, and a new time would let it pay
a second time.

Settings of the queue: "report batch item failures" on, a visibility timeout of at least six
times the function's timeout, a queue for dead letters, and an alarm on it. A purchase in there
needs a person: the log says why.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from functools import cache
from typing import Any, Protocol

from kraty_admin import KratyAdmin, fulfil_once

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)

RESERVE = 2.0
"""Seconds that stay for the answer to Lambda."""


class Context(Protocol):
    """What Lambda passes beside the event."""

    def get_remaining_time_in_millis(self) -> int: ...


@cache
def client() -> KratyAdmin:
    """Return the client of this execution environment.

    Lambda freezes the environment between two events. Connections that have died meanwhile are
    replaced, and a call that finds out too late is repeated under its key.
    """
    return KratyAdmin()


def handler(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Deliver the purchases; return those that SQS has to deliver again."""
    failures: list[dict[str, str]] = []
    for record in event["Records"]:
        seconds = context.get_remaining_time_in_millis() / 1000 - RESERVE
        if seconds < 1 or not deliver(record, seconds):
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


def deliver(record: dict[str, Any], seconds: float) -> bool:
    """Credit one purchase within some seconds; return whether it is done."""
    try:
        purchase = json.loads(record["body"])
        # SQS keeps messages for up to 14 days, and Kraty a credit's key for 24 hours. Later,
        # this raises KratyKeyExpiredError instead of paying a second time. It is the receipt's
        # own time, because SQS's times begin again when dead letters are moved back.
        with fulfil_once(
            "iap",
            purchase["receipt_id"],
            operation="wallet.credit",
            first_tried_at=datetime.fromisoformat(purchase["bought_at"]),
            on_conflict=lambda error: log.error("this receipt had other contents: %s", error),
        ) as key:
            client().with_options(deadline=seconds).wallet.credit(
                purchase["player"],
                "gold",
                amount=purchase["gold"],
                source_ref_id=purchase["receipt_id"],
                idempotency_key=key,
            )
    except Exception:
        # Whatever it is, the other messages of the batch are delivered.
        log.exception("message %s is not delivered", record["messageId"])
        return False
    return True
