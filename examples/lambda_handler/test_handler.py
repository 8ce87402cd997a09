"""The handler pays each message once in a process like Lambda's: killed, late, frozen, reused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from kraty_admin.emulator import Emulator, Fault

RUNTIME = """
import json, sys
from handler import handler

class Context:
    def __init__(self, seconds): self.seconds = seconds
    def get_remaining_time_in_millis(self): return int(self.seconds * 1000)

for line in sys.stdin:
    event, seconds = json.loads(line)
    print(json.dumps(handler(event, Context(seconds))), flush=True)
"""


class Environment:
    """An execution environment, which outlives an event."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def start(self, *records: dict[str, Any], seconds: float = 30) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([{"Records": records}, seconds]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> list[str]:
        """Return the ids of the messages that have failed."""
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        return [each["itemIdentifier"] for each in answer["batchItemFailures"]]

    def call(self, *records: dict[str, Any], seconds: float = 30) -> list[str]:
        self.start(*records, seconds=seconds)
        return self.answer()


@contextmanager
def environment() -> Generator[Environment, None, None]:
    with subprocess.Popen(
        [sys.executable, "-c", RUNTIME],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Environment(process)
        finally:
            process.kill()


def message(receipt: str, *, gold: int = 500, hours: float = 0) -> dict[str, Any]:
    """Return a message as SQS delivers it, bought some hours ago."""
    purchase = {
        "receipt_id": receipt,
        "player": "player_42",
        "gold": gold,
        "bought_at": (datetime.now(timezone.utc) - timedelta(hours=hours)).isoformat(),
    }
    return {"messageId": f"m_{receipt}", "body": json.dumps(purchase)}


def wait_until(true: Callable[[], object]) -> None:
    ends_at = time.monotonic() + 30
    while not true():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def paid(emulator: Emulator) -> list[int]:
    return [entry.delta for entry in emulator.ledger]


def test_a_batch_is_delivered_again(kraty_emulator: Emulator) -> None:
    """Only the failed message of a batch is named, and the whole batch may come again."""
    kraty_emulator.faults.add(Fault("status", status=422, when="before"), skip=1)
    batch = [message(f"r_{number}") for number in range(3)]
    with environment() as function:
        assert ["m_r_1"] == function.call(*batch)
        assert [] == function.call(*batch)
    assert [500] * 3 == paid(kraty_emulator)


def test_a_message_that_cannot_be_read(kraty_emulator: Emulator) -> None:
    """A message that cannot be read fails alone; the rest of its batch is delivered."""
    broken = {"messageId": "m_broken", "body": "{"}
    with environment() as function:
        assert ["m_broken"] == function.call(broken, message("r_1"))
    assert [500] == paid(kraty_emulator)


def test_killed_before_the_answer(kraty_emulator: Emulator) -> None:
    """If Lambda kills the environment after Kraty has paid, another one does not pay again."""
    kraty_emulator.faults.add(Fault("delay", seconds=60), operation="wallet.credit")
    with environment() as function:
        function.start(message("r_1"))
        wait_until(lambda: kraty_emulator.ledger)
    with environment() as function:
        assert [] == function.call(message("r_1"))
    assert [500] == paid(kraty_emulator)


def test_out_of_time(kraty_emulator: Emulator) -> None:
    """A call ends before Lambda's timeout, and the messages behind it are left for later."""
    kraty_emulator.faults.add(Fault("delay", seconds=60), operation="wallet.credit")
    with environment() as function:
        assert ["m_r_1"] == function.call(message("r_1"), seconds=3.2)
        assert ["m_r_1", "m_r_2"] == function.call(message("r_1"), message("r_2"), seconds=2.5)
        assert [500] == paid(kraty_emulator)
        assert [] == function.call(message("r_1"), message("r_2"))
    assert [500, 500] == paid(kraty_emulator)


def test_frozen_in_the_middle(kraty_emulator: Emulator) -> None:
    """A purchase is paid once, though the environment thaws after the call's deadline."""
    kraty_emulator.faults.add(Fault("delay", seconds=60), operation="wallet.credit")
    with environment() as function:
        function.start(message("r_1"), seconds=4)
        wait_until(lambda: kraty_emulator.ledger)
        os.kill(function.process.pid, signal.SIGSTOP)
        time.sleep(2.5)  # what a deadline is measured with cannot be replaced in another process
        os.kill(function.process.pid, signal.SIGCONT)
        assert ["m_r_1"] == function.answer()
        assert [] == function.call(message("r_1"))
    assert [500] == paid(kraty_emulator)


def test_a_dead_connection(kraty_emulator: Emulator) -> None:
    """A message is delivered though the connection that the environment has kept is reset."""
    with environment() as function:
        assert [] == function.call(message("r_1"))
        kraty_emulator.faults.add(Fault("reset", when="before"), operation="wallet.credit")
        assert [] == function.call(message("r_2"))
    assert [500, 500] == paid(kraty_emulator)


def test_a_message_after_a_day(kraty_emulator: Emulator) -> None:
    """A purchase as old as Kraty's keys is not sent, however new its message is."""
    with environment() as function:
        assert ["m_r_1"] == function.call(message("r_1", hours=23.5))
    assert not kraty_emulator.requests


def test_a_receipt_with_other_contents(kraty_emulator: Emulator) -> None:
    """A receipt that comes again with other contents fails, and is not paid again."""
    with environment() as function:
        assert [] == function.call(message("r_1"))
        assert ["m_r_1"] == function.call(message("r_1", gold=700))
    assert [500] == paid(kraty_emulator)
