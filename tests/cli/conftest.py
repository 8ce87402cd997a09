"""A local Kraty for the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kraty_admin.emulator import Emulator

from .forks import Forks
from .testkit import SECRET, TEST_KEY, WORLD


@pytest.fixture(scope="session")
def server() -> Iterator[Emulator]:
    """Start one emulator for all tests of the command line."""
    with Emulator(world=WORLD) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Start the server that runs commands as processes."""
    with closing(Forks()) as started:
        yield started


@pytest.fixture
def kraty(
    server: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Emulator:
    """Reset the emulator, and name it and a test key in the environment."""
    server.reset()
    monkeypatch.setenv("KRATY_BASE_URL", server.base_url)
    monkeypatch.setenv("KRATY_SERVER_KEY", TEST_KEY)
    monkeypatch.setenv("KRATY_WEBHOOK_SECRET", SECRET)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp("home")))
    monkeypatch.chdir(tmp_path)
    return server
