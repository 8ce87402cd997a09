"""What a worker of the outbox needs of an engine, for SQLite."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa

__all__ = ["check_connections"]


def check_connections(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Check that an engine has a connection for each call, and tests idle ones before their use.

    Returns:
        How many milliseconds a connection waits for other writers.
    """
    pings: list[object] = []

    def do_ping(connection: object) -> bool:
        pings.append(connection)
        return True

    monkeypatch.setattr(engine.dialect, "do_ping", do_ping)
    with ExitStack() as stack:
        opened = [stack.enter_context(engine.connect()) for _ in range(16)]
        wait_ms = opened[-1].exec_driver_sql("PRAGMA busy_timeout").scalar()
    assert [] == pings
    with engine.connect():
        assert 1 == len(pings)
    return wait_ms
