"""The pytest plugin: a local Kraty for each test that asks for one.

    def test_a_purchase(kraty_emulator):
        kraty_emulator.client().wallet.credit("player_42", "gold", amount=500)
        assert kraty_emulator.balance("player_42", "gold") == 500

It is a package of its own because pytest loads it wherever it is installed: neither
`kraty_admin` nor what its emulator needs is imported before a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kraty_admin.emulator import Emulator

__all__ = ["kraty_emulator"]


@pytest.fixture(scope="session")
def _kraty_emulator_server() -> Iterator[Emulator]:  # pyright: ignore[reportUnusedFunction]  # pytest uses it
    """The server that the tests of a process share, one after the other."""
    try:
        from kraty_admin.emulator import Clock, Emulator
    except ModuleNotFoundError as missing:
        pytest.fail(
            f"kraty_emulator needs {missing.name}: pip install 'kraty-admin[emulator]'",
            pytrace=False,
        )
    with Emulator(seed=0, clock=Clock()) as emulator:
        yield emulator


@pytest.fixture
def kraty_emulator(
    _kraty_emulator_server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    """A `kraty_admin.emulator.Emulator` in its first state, on a free port of this machine.

    During the test `KRATY_BASE_URL` and `KRATY_SERVER_KEY` name it, so a client that is
    made without arguments talks to it, and a real key in the environment goes nowhere.
    Clients that its `client()` has made are closed after the test. Its ids depend on the
    order of calls only; its clock runs until the test sets it.
    """
    emulator = _kraty_emulator_server
    monkeypatch.setenv("KRATY_BASE_URL", emulator.base_url)
    monkeypatch.setenv("KRATY_SERVER_KEY", emulator.api_key)
    yield emulator
    emulator.close_clients()
    emulator.start()  # the test may have closed it
    # Now, not before the next test: a delivery that is due again would reach a stranger
    # who has got the receiver's port meanwhile.
    emulator.reset()
