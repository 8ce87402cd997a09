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
        pytest.fail(str(missing), pytrace=False)
    with Emulator(seed=0, clock=Clock()) as emulator:
        yield emulator


@pytest.fixture
def kraty_emulator(
    _kraty_emulator_server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    """A fresh `kraty_admin.emulator.Emulator`, on a free port of this machine.

    During the test, `KRATY_BASE_URL` and `KRATY_SERVER_KEY` name the emulator, so a client
    that the test creates without arguments uses it. Every open client that was created
    before the test, at import for example, also sends its calls to the emulator, with the
    emulator's key; after the test it is as it was: see `Emulator.capture_clients`. A
    client that the test creates with a `base_url` of its own uses that URL.

    Clients from `client()` are closed after the test. Ids depend only on the order of the
    calls. The clock runs until the test sets it.
    """
    emulator = _kraty_emulator_server
    monkeypatch.setenv("KRATY_BASE_URL", emulator.base_url)
    monkeypatch.setenv("KRATY_SERVER_KEY", emulator.api_key)
    with emulator.capture_clients():
        yield emulator
    emulator.close_clients()
    emulator.start()  # the test may have closed it
    # Now, not before the next test: a delivery that is due again would reach a stranger
    # who has got the receiver's port meanwhile.
    emulator.reset()
