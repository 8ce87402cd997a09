"""Checks of the blocks of cli.md."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from unittest.mock import patch

from kraty_admin import cli
from kraty_admin.emulator import Fault
from pages import Block

from ..testkit import Reader, block_named, checks


def general(text: str) -> str:
    """Return a text of the command line without the parts that vary from run to run."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "KEY", text)
    text = re.sub(r"api\.kraty\.io|127\.0\.0\.1:\d+", "HOST", text)
    return re.sub(r"[\d-]{10}T[\d:]{8}Z|[\d,]+\.\d s|[\d,]+ rows a second", "TIME", text)


@checks("cli.md", "Money and items text 1")
def _(reader: Reader, block: Block) -> None:
    reader.emulator.faults.add(Fault("drop"), operation="wallet.credit", times=4)
    with (
        contextlib.redirect_stderr(io.StringIO()) as said,
        patch("kraty_admin._transport._sender.time.sleep"),
    ):
        assert 5 == cli.main(["wallet", "credit", "player_42", "gold", "20"])
    assert general(block.code) == general(said.getvalue())


@checks("cli.md", "Imports text 1")
def _(reader: Reader, block: Block) -> None:
    Path("users.csv").write_text(block_named("cli.md", "Imports csv 1").code)
    words = [
        "--map",
        "externalPlayerId=PlayFabId",
        "--map",
        "amount=Gold",
        "--map",
        "economyKey==gold",
    ]
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        assert 0 == cli.main(["migrate", "wallet", "users.csv", *words])
    printed.seek(0)
    assert general(block.code) == general(printed.read())
