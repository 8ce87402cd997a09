"""Run a partition as a Celery task twice, with a broker and a worker in this process.

The argument is a file of balances. The program prints both reports and the ledger as JSON.
"""

# Celery has no types. The untyped code stays in this file.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-call"
# pyright: basic
from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any

from celery import Celery
from celery.contrib.testing.worker import start_worker
from kombu.transport import TRANSPORT_ALIASES, memory

from kraty_admin.bulk import import_partition
from kraty_admin.emulator import Emulator

__all__ = ["app", "import_file"]


class Prompt(memory.Transport):
    """An in-memory broker that returns to its worker often, so that the worker can end soon."""

    def drain_events(self, connection: object, timeout: object = None, **_: object) -> None:
        """Wait for messages, but not for the seconds that a worker asks for."""
        super().drain_events(connection, timeout=0.01)


TRANSPORT_ALIASES["prompt"] = f"{__name__}:Prompt"

app = Celery("imports", broker="prompt://localhost", backend="cache+memory://")
app.conf.update(
    broker_transport_options={"polling_interval": 0.01},
    task_always_eager=False,
    worker_enable_remote_control=False,
)


@app.task(acks_late=True, reject_on_worker_lost=True)
def import_file(path: str) -> dict[str, Any]:
    """Import one file; return the report as JSON values."""
    return asdict(import_partition(path, kind="wallet", client_options={}, chunk_size=10))


def main(path: str) -> None:
    """Run the task twice on a worker, and print what came of it."""
    with Emulator() as kraty:
        os.environ |= {"KRATY_BASE_URL": kraty.base_url, "KRATY_SERVER_KEY": kraty.api_key}
        worker: Any = start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR")
        with worker:
            reports = [import_file.delay(path).get(timeout=60) for _ in range(2)]
        ledger = [entry.delta for entry in kraty.ledger]
    sys.stdout.write(json.dumps({"reports": reports, "ledger": ledger}))


if __name__ == "__main__":
    main(sys.argv[1])
