"""Fixtures of the emulator's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kraty_admin.emulator import Emulator
from kraty_admin.emulator._platform import Platform
from kraty_admin.emulator._state import State

from .testkit import Api, Ids, StoppedClock


@pytest.fixture
def clock() -> StoppedClock:
    """Return a clock that stands at noon."""
    return StoppedClock()


@pytest.fixture
def api(clock: StoppedClock) -> Iterator[Api]:
    """Return a new platform, in memory."""
    state = State(":memory:")
    yield Api(Platform(state, clock=clock, new_uuid=Ids()))
    state.close()


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    """Yield one server for all tests of a file."""
    with Emulator(seed=1) as emulator:
        yield emulator


@pytest.fixture
def kraty(running: Emulator) -> Emulator:
    """Return the server in its first state."""
    running.reset()
    return running
