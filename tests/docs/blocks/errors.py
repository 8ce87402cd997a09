"""Checks of the blocks of errors.md."""

from __future__ import annotations

from kraty_admin import RetryConfig
from kraty_admin.emulator import Fault
from pages import Block

from ..testkit import Reader, Recorder, checks


@checks("errors.md", "Copies: pickle, queues and JSON 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)


@checks("errors.md", "What to do 1")
def _(reader: Reader, block: Block) -> None:
    lines = reader.names["print"] = Recorder()
    names = reader.run(block)
    credit, opened = names["credit"], names["kraty"]
    assert [("", ("done",), {})] == lines.calls
    reader.kraty.wallet.credit("player_42", "gold", amount=7, idempotency_key="receipt_2")
    assert "ask a person" == credit("receipt_2")
    reader.emulator.faults.add(*[Fault("status", status=503)] * 4)
    names["kraty"] = opened.with_options(retry=RetryConfig(initial_delay=0))
    assert credit("receipt_3").startswith("repeat it later under the same key")
    reader.emulator.faults.add(Fault("status", status=404))
    assert credit("receipt_4").startswith("this call had no effect")
    opened.close()
