"""Sessions: saved to a file, and replayed."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from kraty_admin import KratyServerError, RetryConfig
from kraty_admin.emulator import Clock, Emulator, Fault, _platform  # pyright: ignore[reportPrivateUsage]


def play(kraty: Emulator) -> None:
    """Make calls of many kinds: lost, prevented, refused, late, and with ids in their paths."""
    client = kraty.client(retry=RetryConfig(initial_delay=0))
    kraty.faults.add(Fault("drop"), Fault("reset", when="before"), operation="wallet.credit")
    client.wallet.credit("p", "gold", amount=5, idempotency_key="r1")
    entries = [{"type": "currency", "currencyKey": "gold", "amount": 1}]
    grant = client.grants.create("p/é", idempotency_key="g1", entries=entries)
    client.grants.ack("p/é", grant.id)
    kraty.clock.advance(timedelta(hours=25))
    client.wallet.credit("p", "gold", amount=5, idempotency_key="r1")
    with pytest.raises(KratyServerError):
        client.wallet.debit("p", "gold", amount=500)
    kraty.requests_per_minute = 1
    url = f"{kraty.base_url}/server/v1/players/p/wallet/gold/credit"
    for headers in ({}, {"Authorization": "Bearer nobody"}):
        httpx.post(url, json={"amount": 1}, headers=headers, trust_env=False)
    headers = {"Authorization": f"Bearer {kraty.api_key}", "Content-Type": "application/json"}
    for body in (b"\xff", json.dumps({"amount": kraty.api_key}).encode()):
        httpx.post(url, content=body, headers=headers, trust_env=False)
    httpx.get(f"{kraty.base_url}/server/v1/ping?a=1", headers=headers, trust_env=False)


def test_a_session_is_the_same_on_another_machine(tmp_path: Path) -> None:
    """A replay restores ledger, requests, answers, faults and clock, and the file holds no key."""
    path = tmp_path / "session.jsonl"
    with Emulator(seed=7, clock=Clock()) as kraty:
        play(kraty)
        kraty.save_session(path)
        ledger, requests = kraty.ledger, kraty.requests
    assert "not-a-secret" not in path.read_text()
    with Emulator(seed=7) as other:
        other.client().wallet.credit("q", "gold", amount=1)
        assert [] == other.replay(path)
        assert (ledger, 11) == (
            other.ledger,
            other.balance("p", "gold") + other.balance("p/é", "gold"),
        )
        shown = [(each.request_id, each.fault, each.status, each.effect) for each in requests]
        assert shown == [
            (each.request_id, each.fault, each.status, each.effect) for each in other.requests
        ]
        assert requests[-1].at == other.clock.now


def test_another_answer_is_a_difference(tmp_path: Path) -> None:
    """A replay reports an answer that differs, with its number, operation and both bodies."""
    path = tmp_path / "session.jsonl"
    with Emulator(seed=7) as kraty:
        kraty.client().wallet.credit("p", "gold", amount=5)
        kraty.client().health.ping()
        kraty.save_session(path)
        path.write_text(path.read_text().replace('\\"balance\\":5', '\\"balance\\":6'))
        (difference,) = kraty.replay(path)
    assert (1, "wallet.credit") == (difference.number, difference.operation)
    assert '"balance":6' in difference.recorded
    assert '"balance":5' in difference.replayed


def test_sessions_that_cannot_be_replayed(tmp_path: Path) -> None:
    """A session that cannot be saved or replayed exactly is refused with the reason."""
    path = tmp_path / "session.jsonl"
    with Emulator() as kraty, pytest.raises(ValueError, match="an emulator with a seed"):
        kraty.save_session(path)
    with Emulator(seed=7) as kraty:
        kraty.snapshot("empty")
        kraty.restore("empty")
        with pytest.raises(ValueError, match="not empty"):
            kraty.save_session(path)
        kraty.reset()
        kraty.client().health.ping()
        kraty.save_session(path)
    with Emulator(seed=8) as kraty:
        with pytest.raises(ValueError, match="with its seed, 7"):
            kraty.replay(path)
        saved = path.read_text()
        path.write_text(saved.replace('"seed": 7', '"seed": 8').replace("key_1", "key_9"))
        with pytest.raises(ValueError, match="the session needs a world with a key 'key_9'"):
            kraty.replay(path)
        path.write_text(saved.replace('"at": "2026', '"at": 5, "a": "2026'))
        with pytest.raises(ValueError, match=r"at: must be a time such as .*, not a number"):
            kraty.replay(path)
        for text in ("", "{}", "[]", "x"):
            path.write_text(text)
            with pytest.raises(ValueError, match=r"session\.jsonl is not a session: "):
                kraty.replay(path)


def test_only_whole_sessions_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session whose first requests are no longer kept cannot be saved."""
    monkeypatch.setattr(_platform, "_SEEN_LIMIT", 2)
    with Emulator(seed=7) as kraty:
        for _ in range(3):
            kraty.client().health.ping()
        with pytest.raises(ValueError, match="only the last 2 are kept"):
            kraty.save_session(tmp_path / "session.jsonl")
