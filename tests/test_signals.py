"""How the commands that run a worker react to signals."""

from __future__ import annotations

import os
import signal

import pytest

from kraty_admin._signals import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_and_the_second_ends_at_once(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first signal stops the worker, and the second ends it at once; both say what happens to
    calls."""
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
        assert [] == ended
        assert "Stopping after the calls in flight" in capfd.readouterr().err
        signal.raise_signal(number)
    assert [130] == ended
    assert "Ended at once. In a few minutes, a worker sends the calls" in capfd.readouterr().err
    assert before is signal.getsignal(number)
