"""Checks of the blocks of emulator.md and testing.md."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import unittest
from pathlib import Path

import attrs
import pytest

from pages import Block

from ..testkit import Reader, checks


@checks("README.md", "Test your own code 1")
@checks("emulator.md", "In pytest 1")
def _(reader: Reader, block: Block) -> None:
    tests = [value for name, value in reader.run(block).items() if name.startswith("test_")]
    for test in tests:
        reader.emulator.reset()
        test(reader.emulator)
    assert len(tests) == block.code.count("def test_")


@checks("emulator.md", "In pytest 2")
def _(reader: Reader, block: Block) -> None:
    with pytest.MonkeyPatch.context() as environment:
        # No server answers there, so a call that is not captured fails.
        environment.setenv("KRATY_BASE_URL", "http://127.0.0.1:9")
        environment.setenv("KRATY_SERVER_KEY", "krt_live_real.secret")
        names = reader.run(block)
    with reader.emulator.capture_clients():
        names["test_buy"](reader.emulator)
    assert "http://127.0.0.1:9" == names["kraty"].base_url


@checks("emulator.md", "As an object, as a command 1")
@checks("emulator.md", "Faults 1")
@checks("emulator.md", "The game client 1")
@checks("emulator.md", "Clock and ids 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)


@checks("testing.md", "A failed CI run on your desk 1")
def _(reader: Reader, block: Block) -> None:
    assert [] == reader.run(block)["differences"]
    assert 3 == len(Path("session.jsonl").read_text().splitlines())


@checks("testing.md", "A state to start from 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    assert Path("rich.kraty").is_file()


@checks("testing.md", "More fixtures 1")
def _(reader: Reader, block: Block) -> None:
    # As with pytest-asyncio in its automatic mode.
    conftest = """
import asyncio, inspect, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        names = ["kraty_async_client", "kraty_emulator"]
        asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
        return True
"""
    Path("conftest.py").write_text(conftest)
    Path("test_shop.py").write_text(block.code)
    Path("pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-ppytest_kraty_admin", "test_shop.py"],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


@checks("testing.md", "In unittest 1")
def _(reader: Reader, block: Block) -> None:
    case = reader.run(block)["PurchaseTest"]
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    result = unittest.TextTestRunner(stream=io.StringIO()).run(tests)
    assert (2, True) == (result.testsRun, result.wasSuccessful()), result.failures + result.errors


@checks("testing.md", "Webhooks without a port 1")
def _(reader: Reader, block: Block) -> None:
    assert ["player_42", "player_43"] == reader.run(block)["banned"]


@checks("emulator.md", "Webhooks 1")
def _(reader: Reader, block: Block) -> None:
    # A server may or may not listen on the page's port.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    lines: list[tuple[object, ...]] = []

    def show(*words: object) -> None:
        lines.append(words)

    reader.names["print"] = show
    reader.run(attrs.evolve(block, code=block.code.replace("8000", str(port))))
    assert [("player.registered", "pending"), ("wallet.changed", "pending")] == [
        words[:2] for words in lines
    ]
