"""Checks of the blocks of imports.md."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pages import Block, Story

from ..testkit import Reader, Recorder, checks


@checks("imports.md", "Once per row 1")
def _(reader: Reader, block: Block) -> None:
    lines = Recorder()
    reader.names["print"] = lines
    for hours in (0, 23, 2):
        reader.emulator.clock.advance(timedelta(hours=hours))
        reader.run(block)
    assert [words for _, words, _ in lines.calls] == [
        ("applied 1, skipped 0",),
        ("applied 0, skipped 1",),
        ("applied 1, skipped 0",),
    ]


@checks("README.md", "Import sh 1")
@checks("imports.md", "Imports sh 1")
def _(reader: Reader, block: Block) -> None:
    Path("balances.csv").write_text("PlayFabId,Gold\np_1,5\n")
    Story(reader.emulator).run(block)
    assert 5 == reader.emulator.balance("p_1", "gold")
