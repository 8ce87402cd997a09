"""A reader, with a local Kraty and an empty directory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kraty_admin import KratyAdmin
from kraty_admin.emulator import Emulator

from .testkit import Reader


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    """Run one emulator for all tests of a file."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def reader(server: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Reader]:
    server.reset()
    monkeypatch.setenv("KRATY_SERVER_KEY", server.api_key)
    monkeypatch.setenv("KRATY_BASE_URL", server.base_url)
    monkeypatch.setenv("KRATY_WEBHOOK_SECRET", "whsec_docs")
    monkeypatch.setenv("KRATY_OUTBOX_URL", "sqlite:///shop.sqlite3")
    monkeypatch.chdir(tmp_path)
    with KratyAdmin() as kraty, contextlib.ExitStack() as stack:
        # As one who reads on, having run the imports of the first block.
        names: dict[str, Any] = {"kraty": kraty, "KratyAdmin": KratyAdmin, "json": json}
        names["os"] = __import__("os")
        reader = Reader(server, kraty, names)
        yield reader
        reader.close_engines()
        for value in names.values():
            if isinstance(value, KratyAdmin):
                stack.callback(value.close)
