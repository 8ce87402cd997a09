"""Fixtures of the emulator's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kraty_admin.emulator._platform import Platform
from kraty_admin.emulator._state import State

from .testkit import Api, Clock, Ids


@pytest.fixture
def clock() -> Clock:
    """A clock at noon that stands still."""
    return Clock()


@pytest.fixture
def api(clock: Clock) -> Iterator[Api]:
    """A platform of its own, in memory."""
    state = State(":memory:")
    yield Api(Platform(state, clock=clock, new_uuid=Ids()))
    state.close()
