"""Time and ids that a test controls: what expires, and what repeats."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import weakref
from datetime import datetime, timedelta, timezone
from uuid import RFC_4122, UUID

import httpx
import pytest

from kraty_admin.emulator import Clock, Emulator
from kraty_admin.emulator._clock import SEEDED_START, SeededIds, ordered_uuid

NOON = datetime(2026, 6, 8, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
CREDIT = "/server/v1/players/alice/wallet/gold/credit"


class TestClock:
    """The clock itself."""

    def test_it_runs_with_the_machines(self) -> None:
        """The clock shows the machine's time until it is set."""
        clock = Clock()
        before = time.time()
        assert before <= clock() <= time.time()
        assert clock.is_running

    def test_it_stands_where_it_is_set(self) -> None:
        """A clock that was set stands still until it is moved."""
        clock = Clock(NOON)
        assert (NOON, False) == (clock.now, clock.is_running)
        assert "<Clock 2026-06-08T12:00:00+00:00>" == repr(clock)
        assert repr(Clock()).endswith("+00:00 running>")
        clock.advance(90)
        clock.advance(timedelta(minutes=-1))
        assert NOON + timedelta(seconds=30) == clock.now
        clock.set(NOON + DAY)
        assert NOON + DAY == clock.now

    def test_it_can_be_ahead_and_run(self) -> None:
        """A running clock keeps running when it is moved, and a standing one can be started."""
        clock = Clock()
        clock.advance(DAY)
        clock.advance(60)
        ahead = clock() - time.time()
        assert 86459 < ahead < 86461
        clock.set(NOON)
        clock.run()
        assert clock.is_running
        assert NOON <= clock.now < NOON + timedelta(minutes=1)

    def test_it_goes_back_to_where_it_was(self) -> None:
        """A reset restores a standing and a running clock."""
        standing, running, ahead = Clock(NOON), Clock(), Clock()
        for clock in (standing, running):
            clock.set(NOON + DAY)
            clock.reset()
        ahead.advance(DAY)
        ahead.reset()
        assert NOON == standing.now
        assert running.is_running
        assert abs(running() - time.time()) < 60
        assert abs(ahead() - time.time()) < 60

    def test_a_moment_needs_a_zone(self) -> None:
        """A datetime without a time zone is refused."""
        with pytest.raises(ValueError, match="zone"):
            Clock().set(datetime(2026, 6, 8))  # noqa: DTZ001
        with pytest.raises(ValueError, match="zone"):
            Clock(datetime(2026, 6, 8))  # noqa: DTZ001

    def test_listeners_are_called(self) -> None:
        """A listener is called each time the clock is moved."""
        clock, calls = Clock(), list[float]()
        clock.listen(lambda: calls.append(clock()))
        clock.set(NOON)
        clock.advance(1)
        clock.run()
        clock.reset()
        assert len(calls) == 4
        assert [NOON.timestamp(), NOON.timestamp() + 1] == calls[:2]

    def test_removed_listeners_are_not_called(self) -> None:
        """A listener can be removed, even while listeners are called."""
        clock, calls = Clock(), list[str]()

        def once() -> None:
            calls.append("once")
            clock.ignore(once)

        clock.listen(once)
        clock.listen(lambda: calls.append("always"))
        clock.advance(1)
        clock.advance(1)
        assert ["once", "always", "always"] == calls

    @pytest.mark.parametrize("seconds", [1e15, -1e15, 253402300799.0, float("inf"), float("nan")])
    def test_it_stays_where_dates_are(self, seconds: float) -> None:
        """A clock refuses to move past the last date, and stays where it was."""
        clock = Clock(NOON)
        with pytest.raises(ValueError, match="cannot move by"):
            clock.advance(seconds)
        assert NOON == clock.now

    def test_an_emulator_that_is_closed_listens_no_more(self) -> None:
        """A clock does not keep a closed emulator in memory."""
        clock = Clock(NOON)
        with Emulator(clock=clock) as kraty:
            held = weakref.ref(kraty.webhooks)
        gc.collect()
        assert held() is None


def test_seeded_ids_repeat() -> None:
    """The same seed gives the same ids, which are distinct UUIDs of version 4."""
    ids, same, other = SeededIds(7), SeededIds(7), SeededIds(8)
    made = [ids() for _ in range(100)]
    assert made == [same() for _ in range(100)]
    assert not set(made) & {other() for _ in range(100)}
    assert {4} == {each.version for each in made}
    assert len(set(made)) == 100
    ids.reset()
    assert [UUID(str(each)) for each in made] == [ids() for _ in range(100)]


def transcript(kraty: Emulator) -> list[bytes]:
    """Return the answers to some calls: status, headers and body."""
    entries = [{"type": "crate", "crateItemKey": "legendary_box", "quantity": 1}]
    calls: list[tuple[str, str, object]] = [
        ("POST", CREDIT, {"amount": 5, "idempotencyKey": "a"}),
        ("POST", "/server/v1/players/alice/grants", {"entries": entries, "idempotencyKey": "b"}),
        ("POST", CREDIT, {"amount": 6, "idempotencyKey": "a"}),
        ("POST", "/server/v1/players/alice/ban", {"reason": "x"}),
        ("GET", "/server/v1/players/alice", None),
        ("POST", "/server/v1/players/alice/delete", {}),
        ("GET", "/server/v1/players/alice", None),
    ]
    said: list[bytes] = []
    headers = {"Authorization": f"Bearer {kraty.api_key}"}
    with httpx.Client(base_url=kraty.base_url, headers=headers, trust_env=False) as client:
        for method, path, body in calls:
            answer = client.request(method, path, json=body)
            said.append(b"%d %r %b" % (answer.status_code, answer.headers.raw, answer.content))
    return said


class TestTranscripts:
    """Answers of emulators with the same seed and the same calls."""

    def test_they_are_equal_to_the_byte(self) -> None:
        """Transcripts of one seed are equal, after a reset and in another process."""
        with Emulator(seed=7) as kraty:
            first = transcript(kraty)
            kraty.clock.advance(DAY)
            kraty.reset()
            assert first == transcript(kraty)
        code = (
            "from kraty_admin.emulator import Emulator\n"
            "from emulator.test_clock import transcript\n"
            "with Emulator(seed=7) as kraty: print(transcript(kraty))"
        )
        other = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=__file__.rpartition("/emulator/")[0],
        )
        assert f"{first}\n" == other.stdout

    def test_another_seed_makes_other_ids(self) -> None:
        """Transcripts of other seeds, and those without a seed, differ."""
        with Emulator(seed=7) as one, Emulator(seed=8) as other:
            assert transcript(one) != transcript(other)
            assert (SEEDED_START, False) == (one.clock.now, one.clock.is_running)
        with Emulator(clock=Clock(NOON)) as one, Emulator(clock=Clock(NOON)) as other:
            assert transcript(one) != transcript(other)


class TestWhatTimeDoes:
    """What expires when the clock moves."""

    def test_a_key_is_forgotten_after_a_day(self) -> None:
        """A key expires after a day, and not a millisecond earlier."""
        with Emulator(seed=1) as kraty:
            client = kraty.client()

            def credit() -> bool:
                key = "receipt"
                return client.wallet.credit("a", "gold", amount=5, idempotency_key=key).applied

            assert [True, False] == [credit(), credit()]
            kraty.clock.advance(DAY - timedelta(milliseconds=1))
            assert credit() is False
            kraty.clock.advance(0.001)
            assert credit() is True
            assert kraty.balance("a", "gold") == 10

    def test_a_grant_expires(self) -> None:
        """A grant expires at its own time."""
        with Emulator(clock=Clock(NOON)) as kraty:
            client = kraty.client()
            grant = client.grants.create(
                "a",
                entries=[{"type": "currency", "currencyKey": "gold", "amount": 5}],
                idempotency_key="k",
                expires_at=NOON + DAY,
            )
            kraty.clock.set(NOON + DAY - timedelta(milliseconds=1))
            assert client.players.get("a").recent_grants[0].status == "pending"
            kraty.clock.set(NOON + DAY)
            assert client.players.get("a").recent_grants[0].status == "expired"
            assert client.grants.ack("a", grant.id).status == "expired"

    def test_the_minute_of_a_rate_limit_ends(self) -> None:
        """A key's calls are limited until its minute ends, as all four headers show."""
        names = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"]
        with (
            Emulator(clock=Clock(NOON + timedelta(seconds=15)), requests_per_minute=2) as kraty,
            httpx.Client(base_url=kraty.base_url, trust_env=False) as client,
        ):

            def ping(game: int) -> list[object]:
                token = kraty.api_key.replace("game1", f"game{game}")
                headers = {"Authorization": f"Bearer {token}"}
                answer = client.get("/server/v1/ping", headers=headers)
                return [answer.status_code, *[answer.headers.get(name) for name in names]]

            assert [200, "2", "1", "45", None] == ping(1)
            assert [200, "2", "0", "45", None] == ping(1)
            kraty.clock.advance(5)
            assert [429, "2", "0", "40", "40"] == ping(1)
            assert [200, "2", "1", "40", None] == ping(2)
            kraty.clock.advance(39.999)
            assert [429, "2", "0", "1", "1"] == ping(1)
            kraty.clock.advance(0.001)
            assert [200, "2", "1", "60", None] == ping(1)
            kraty.requests_per_minute = 1
            assert [429, "1", "0", "60", "60"] == ping(1)
            kraty.reset()
            assert [200, "2", "1", "45", None] == ping(1)
            with pytest.raises(ValueError, match="at least 1"):
                kraty.requests_per_minute = 0


def test_ids_without_a_seed_are_in_the_order_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids without a seed are UUIDs of version 7, distinct and in the order of time."""
    found: list[UUID] = []
    for milliseconds in (0, 1, 2**40):
        monkeypatch.setattr(time, "time_ns", lambda at=milliseconds: at * 1_000_000)
        pair = sorted([ordered_uuid(), ordered_uuid()])
        assert [(7, RFC_4122)] * 2 == [(each.version, each.variant) for each in pair]
        assert [milliseconds] * 2 == [each.int >> 80 for each in pair]
        found += pair
    assert found == sorted(set(found))
