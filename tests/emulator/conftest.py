"""Fixtures of the emulator's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kraty_admin.emulator._platform import Platform
from kraty_admin.emulator._state import State

from .testkit import Api, Ids, StoppedClock


@pytest.fixture
def clock() -> StoppedClock:
    """A clock at noon that stands still."""
    return StoppedClock()


@pytest.fixture
def api(clock: StoppedClock) -> Iterator[Api]:
    """A platform of its own, in memory."""
    state = State(":memory:")
    yield Api(Platform(state, clock=clock, new_uuid=Ids()))
    state.close()
