"""A shop as Celery tasks, whose client is made and warmed before the workers are forked.

Each run of a task that comes to its end writes a `Tally` to the pipe `PROOF_REPORTS`.
"""

# Celery comes without types: what is untyped about it stays in this file.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-call"
# pyright: basic
from __future__ import annotations

import json
import multiprocessing
import os
import signal
from itertools import islice
from typing import Final

import attrs
from celery import Celery
from celery.signals import worker_ready
from kombu.transport import TRANSPORT_ALIASES, memory

from kraty_admin import KratyAdmin

from .shop import STEPS, purchases, shop, warm

__all__ = ["app", "fulfil"]

_ATTENTION: Final = 0.01
"""Seconds between a worker's looks at its queue."""

kraty = KratyAdmin()
warm(kraty)

# Made before the fork, as the client, so that the workers share it.
meeting = multiprocessing.get_context("fork").Barrier(int(os.environ["PROOF_WORKERS"]))


class Prompt(memory.Transport):
    """A broker in memory at which a worker soon notices that it is to end."""

    def drain_events(self, connection: object, timeout: object = None, **_: object) -> None:
        """Wait for messages, but not for the 2 seconds that a worker asks for."""
        super().drain_events(connection, timeout=_ATTENTION)


TRANSPORT_ALIASES["prompt"] = f"{__name__}:Prompt"

app = Celery("shop", broker="prompt://localhost")
app.conf.update(
    broker_transport_options={"polling_interval": _ATTENTION},
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_lost_wait=0.1,
    worker_prefetch_multiplier=1,
)


@app.task(acks_late=True, reject_on_worker_lost=True)
def fulfil(player: int, how: str) -> None:
    """Buy one of each; `meet` all workers before, or `die` after it if it took effect."""
    if how == "meet":
        meeting.wait(60.0)
    tally = shop(kraty, player, islice(purchases(player), len(STEPS)))
    if how == "die" and tally.fresh:
        os.kill(os.getpid(), signal.SIGKILL)
    line = json.dumps(attrs.asdict(tally)) + "\n"
    os.write(int(os.environ["PROOF_REPORTS"]), line.encode())


@worker_ready.connect
def order(**_: object) -> None:
    """Send the orders from the worker's parent: the broker is in its memory."""
    for player, how in json.loads(os.environ["PROOF_ORDERS"]):
        fulfil.delay(player, how)
