"""Each Python block of the README and of docs/ type-checks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pages import BLOCKS, Block

from .blocks import CHECKS

# What a reader has at hand, for the type checkers.
READER = """\
import json as json
import os as os
from typing import Any, Protocol
from kraty_admin import KratyAdmin as KratyAdmin
class Metrics(Protocol):
    def timing(self, name: str, value: float) -> None: ...
    def increment(self, name: str) -> None: ...
def alert_ops(*, receipt_id: str) -> None: ...
def collect_for_retry(failures: Any) -> None: ...
def some_metrics() -> Metrics: ...
kraty = KratyAdmin()
grant = kraty.grants.create("p", idempotency_key="k", entries=[])
metrics = some_metrics()
all_players: list[dict[str, Any]] = []
elided: dict[str, Any] = {}
receipt_id = receipt_body = lobby_id = attempt_id = ""
"""


# What a block of sdk.md takes from there: `kraty`, unless it is listed here.
TAKES = {
    "Quickstart 1": "",
    "Quickstart 2": "KratyAdmin, os",
    "Idempotency 1": "alert_ops, kraty, receipt_id",
    "Grants 1": "kraty, receipt_body",
    "Grants 2": "grant, kraty",
    "Lobbies 2": "kraty, lobby_id",
    "Leaderboards and events 2": "attempt_id, kraty",
    "Players 3": "json, kraty",
    "Bulk import 2": "all_players, collect_for_retry, kraty",
    "Retries 1": "",
    "Errors 1": "elided, kraty",
    "Webhooks 1": "",
    "Telemetry 1": "KratyAdmin, metrics",
    "Async 2": "",
}
# Blocks that leave functions without types, as a page may.
UNTYPED = {"Bulk import 2", "Webhooks 1", "Telemetry 1", "Async 1"}
RELAXED = """\
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# pyright: basic
"""


def checked(block: Block) -> str:
    """Return a block as a module that a type checker can check."""
    if block.page == "errors.md":
        return "from reader import kraty\n" + block.code
    if block.page != "sdk.md":
        return block.code
    code = block.code.replace('create("player_42", ...)', 'create("player_42", **elided)')
    names = TAKES.get(block.name, "kraty")
    imports = f"from reader import {names}\n" if names else ""
    return (RELAXED if block.name in UNTYPED else "") + imports + code


def modules() -> dict[str, str]:
    """Return the modules to type-check: each block with a check, and each other page as one."""
    found: dict[str, str] = {}
    for number, block in enumerate(BLOCKS):
        if block.language != "python" or block.page == "imports.md":
            continue  # that page's blocks need pyspark, airflow and distributed
        if (block.page, block.name) in CHECKS:
            found[f"block_{number}"] = checked(block)
        else:
            page = "page_" + re.sub(r"\W", "_", block.page)
            found[page] = found.get(page, "") + block.code
    return found


@pytest.mark.once
@pytest.mark.long
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_blocks_type_check(tmp_path: Path, mypy_cache: Path, checker: str) -> None:
    """Each block passes strict checks, except for functions that the page leaves without types."""
    if checker == "pyright" and shutil.which("node") is None:
        pytest.skip("pyright needs Node")
    (tmp_path / "reader.pyi").write_text(READER, encoding="utf-8")
    assert len(modules()) > 20
    for name, code in modules().items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    settings = {
        "typeCheckingMode": "strict",
        "reportUnusedExpression": False,  # a page shows what there is
        "reportUnusedFunction": False,
        "reportRedeclaration": False,
        "reportUnknownMemberType": True,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = {
        "mypy": [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary"),
            *(f"--cache-dir={mypy_cache}", "."),
        ],
        "pyright": [sys.executable, "-m", "pyright", "--pythonpath", sys.executable],
    }[checker]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
