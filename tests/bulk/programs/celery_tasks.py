"""A partition as a Celery task, with a broker and a worker in this process.

Called with a file of balances; prints what the task has returned, run twice.
"""

# Celery comes without types: what is untyped about it stays in this file.
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
    """A broker in memory at which a worker soon notices that it is to end."""

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
    """Import one file; what it returns is JSON."""
    return asdict(import_partition(path, kind="wallet", client_options={}, chunk_size=10))


def main(path: str) -> None:
    """Have the worker run the task twice."""
    with Emulator() as kraty:
        os.environ |= {"KRATY_BASE_URL": kraty.base_url, "KRATY_SERVER_KEY": kraty.api_key}
        worker: Any = start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR")
        with worker:
            reports = [import_file.delay(path).get(timeout=60) for _ in range(2)]
        ledger = [entry.delta for entry in kraty.ledger]
    sys.stdout.write(json.dumps({"reports": reports, "ledger": ledger}))


if __name__ == "__main__":
    main(sys.argv[1])
