"""Take back what was charged back: run it over each day's file, as often as you like.

    python take_back.py chargebacks-2026-01-05.csv --database chargebacks.sqlite3

The file has the columns id, player, currency and amount. Banks list a chargeback in several
files, and people run a file again next week. Kraty forgets the key of a debit after 24 hours,
and then the same debit would be taken twice. So a table remembers each chargeback for ever:

- It is stored with the time of the first try before anything is sent.
- While its outcome is open, each run repeats the debit under the same key, for 23 hours.
- Then nothing is sent any more, and a person decides.

An outbox (docs/tasks/refunds.md) does the same with workers, for any call. This is what it takes
without SQLAlchemy.

The exit status is 0 if all are done, 75 if some are open, so that the run should be repeated,
and 1 if a person has to look at some.
"""

from __future__ import annotations

import argparse
import csv
import sqlite3
import sys
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from kraty_admin import (
    KratyAdmin,
    KratyKeyExpiredError,
    KratyNetworkError,
    KratyServerError,
    fulfil_once,
)

TABLE = """
CREATE TABLE IF NOT EXISTS chargebacks (
    id TEXT PRIMARY KEY,
    player TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount INTEGER NOT NULL,
    first_tried_at TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'open'  -- or done, refused, unknown
)
"""


class Chargeback(NamedTuple):
    """A row of the file."""

    id: str
    player: str
    currency: str
    amount: int


def read(path: Path) -> list[Chargeback]:
    """Read the file as a whole, so that a mistake in it stops the run before the first debit."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Chargeback(row["id"], row["player"], row["currency"], int(row["amount"]))
            for row in csv.DictReader(file)
        ]


def take_back(kraty: KratyAdmin, database: sqlite3.Connection, chargeback: Chargeback) -> str:
    """Debit one chargeback if it is still open; return its state."""
    with database:  # a transaction: the time of the first try is stored before the first call
        now = datetime.now(timezone.utc).isoformat()
        database.execute(
            "INSERT INTO chargebacks (id, player, currency, amount, first_tried_at) "
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (*chargeback, now),
        )
    *known, first, state = database.execute(
        "SELECT id, player, currency, amount, first_tried_at, state FROM chargebacks WHERE id = ?",
        (chargeback.id,),
    ).fetchone()
    if tuple(known) != chargeback:
        print(f"{chargeback.id} was {known} before, and is {list(chargeback)} in this file")
        return "conflict"
    if state == "open":
        state = debit(kraty, chargeback, datetime.fromisoformat(first))
        with database:
            database.execute(
                "UPDATE chargebacks SET state = ? WHERE id = ?", (state, chargeback.id)
            )
    return str(state)


def debit(kraty: KratyAdmin, chargeback: Chargeback, first_tried_at: datetime) -> str:
    """Send the debit; return the state that follows."""
    try:
        with fulfil_once(
            "chargeback",
            chargeback.id,
            operation="wallet.debit",
            first_tried_at=first_tried_at,
            on_conflict=print,
        ) as key:
            kraty.wallet.debit(
                chargeback.player,
                chargeback.currency,
                amount=chargeback.amount,
                reason="chargeback",
                source_ref_id=chargeback.id,
                idempotency_key=key,
            )
    except KratyKeyExpiredError:
        print(f"{chargeback.id} may have been taken: look at the balance of {chargeback.player}")
        return "unknown"
    except (KratyNetworkError, KratyServerError) as error:
        if isinstance(error, KratyServerError) and error.status in (401, 403):
            raise  # the API key is wrong, which says nothing about the chargeback
        if error.retryable or error.ambiguous:
            return "open"
        print(f"{chargeback.id} was refused: {error}")
        return "refused"
    return "done"


def main() -> int:
    """Take back everything in the file; return the exit status."""
    parser = argparse.ArgumentParser(description="Take back what was charged back.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--database", required=True)
    options = parser.parse_args()
    chargebacks = read(options.file)
    with closing(sqlite3.connect(options.database)) as database, KratyAdmin() as kraty:
        database.execute(TABLE)
        states = [take_back(kraty, database, chargeback) for chargeback in chargebacks]
    for state in sorted(set(states)):
        print(f"{state}: {states.count(state)}")
    if "open" in states:
        return 75
    return 0 if set(states) <= {"done"} else 1


if __name__ == "__main__":
    sys.exit(main())
