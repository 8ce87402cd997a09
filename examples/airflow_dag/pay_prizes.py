"""A DAG that pays out the prizes of each day's tournaments.

Airflow runs a task again after a failure, and anyone can clear a task of last month and run
it again. So the prizes are grants: Kraty keeps the key of a grant permanently, and the key
follows from tournament, day and player. `wallet.credit` would pay again after 24 hours.

The client is created inside the task, in the process that runs it. Set KRATY_SERVER_KEY where
the workers run: what a task returns or takes as an argument is stored in Airflow's database.
"""

from __future__ import annotations

import csv
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
)
def pay_prizes() -> None:
    """Pay out the prizes of one day."""

    @task
    def winners(ds: str | None = None) -> list[dict[str, str]]:
        """Read the day's file: one row for each tournament and player."""
        assert ds is not None  # Airflow passes the day of the run
        path = Path(os.environ["PRIZES_FOLDER"], f"{ds}.csv")
        with path.open(newline="", encoding="utf-8") as file:
            prizes = list(csv.DictReader(file))
        # Two prizes under one key would be one payment, and the run would look successful.
        if len({(prize["tournament"], prize["player"]) for prize in prizes}) < len(prizes):
            # It is not retried, because the file stays the same.
            raise AirflowFailException(f"{path} has two rows for one tournament and player")
        return prizes

    @task(max_active_tis_per_dag=8)
    def pay(prize: dict[str, str], ds: str | None = None) -> str:
        """Pay out one prize; return the id of its grant."""
        from kraty_admin import KratyAdmin, derive_key

        assert ds is not None
        # The deadline is far below Airflow's own timeouts, so the call ends by itself.
        with KratyAdmin(deadline=60) as kraty:
            grant = kraty.grants.create(
                prize["player"],
                entries=[{"type": "currency", "currencyKey": "gold", "amount": int(prize["gold"])}],
                source_ref_id=f"{prize['tournament']} {ds}",
                idempotency_key=derive_key("prize", prize["tournament"], ds, prize["player"]),
            )
        return grant.id

    pay.expand(prize=winners())


pay_prizes()
