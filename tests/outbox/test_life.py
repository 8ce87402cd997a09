"""The life of an intent: each decision, and random lives checked against a model of the
platform."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from typing import Any, Final, Literal, NamedTuple

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from kraty_admin import KratyClosedError, KratyNetworkError, KratyServerError, outbox
from kraty_admin.errors import CallInfo, KratyError, KratyResponseError
from kraty_admin.outbox import _clock, _store  # pyright: ignore[reportPrivateUsage]
from kraty_admin.outbox._life import Claim, Health, limits_of_repeats, settle
from kraty_admin.outbox._tables import TABLES
from kraty_server_api.lifetimes import KEY_LIFETIMES
from kraty_server_api.operations.grants import create_grant
from kraty_server_api.operations.inventory import credit_wallet

from .testkit import LEASE

HOUR: Final = 3_600_000
NO_CALL: Final = CallInfo(ambiguous=False)
FIRST: Final = Claim(1, "wallet.credit", "k", "/p", "{}", 1, claimed_ms=5, first_sent_ms=5)
AGAIN: Final = FIRST._replace(attempts=2, claimed_ms=9)


def failure(status: int, code: str = "x", *, ambiguous: bool = False, **more: Any) -> KratyError:
    """Return the error for an answer that is not a result."""
    call = CallInfo(ambiguous=ambiguous)
    return KratyServerError("m", status=status, code=code, call=call, **more)


LOST: Final = KratyNetworkError("m")
UNSENT: Final = KratyNetworkError("m", call=NO_CALL)


@pytest.mark.parametrize(
    ("outcome", "first", "again"),
    [
        pytest.param({"a": 1}, ("done", 5), ("done", 5), id="result"),
        pytest.param(failure(409, "conflict"), ("refused", None), ("refused", 5), id="refusal"),
        pytest.param(
            failure(409, "conflict", ambiguous=True),
            ("refused", 5),
            ("refused", 5),
            id="refusal after an attempt without an answer",
        ),
        pytest.param(
            failure(409, "idempotency_conflict"), ("refused", None), ("refused", 5), id="conflict"
        ),
        pytest.param(LOST, ("pending", 5), ("pending", 5), id="lost"),
        pytest.param(UNSENT, ("pending", None), ("pending", 5), id="not sent"),
        pytest.param(KratyClosedError("m"), ("pending", None), ("pending", 5), id="closed"),
        pytest.param(outbox.OutboxError("m"), ("pending", None), ("pending", 5), id="unknown"),
        pytest.param(failure(503, ambiguous=True), ("pending", 5), ("pending", 5), id="503"),
        pytest.param(failure(429), ("pending", None), ("pending", 5), id="429"),
        pytest.param(failure(401), ("pending", None), ("pending", 5), id="401"),
        pytest.param(failure(403, "forbidden"), ("refused", None), ("refused", 5), id="403"),
        pytest.param(failure(302), ("pending", None), ("pending", 5), id="302"),
        pytest.param(
            failure(413, "internal_error", ambiguous=True),
            ("pending", 5),
            ("pending", 5),
            id="a proxy's 413",
        ),
        pytest.param(
            failure(429, "internal_error"), ("pending", None), ("pending", 5), id="a proxy's 429"
        ),
        pytest.param(
            failure(401, "internal_error"), ("pending", None), ("pending", 5), id="a proxy's 401"
        ),
        pytest.param(
            KratyResponseError("m", status=200, call=CallInfo()),
            ("pending", 5),
            ("pending", 5),
            id="unreadable",
        ),
    ],
)
def test_what_an_answer_makes_of_an_intent(
    outcome: Mapping[str, Any] | KratyError,
    first: tuple[str, int | None],
    again: tuple[str, int | None],
) -> None:
    """Each outcome gives an intent its state, and sets since when it may have taken effect."""
    unsent_before = FIRST._replace(attempts=2)
    for claim, expected in ((FIRST, first), (unsent_before, first), (AGAIN, again)):
        settlement = settle(claim, outcome, key_works=True, random=lambda: 0.5)
        assert expected == settlement[:2]
        assert (settlement.state == "pending") is (settlement.wait_ms is not None)
        if settlement.error is not None:
            facts = json.loads(settlement.error)
            assert (expected[1] is not None) is facts["ambiguous"]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        pytest.param(failure(403, "forbidden"), "pending", id="forbidden"),
        pytest.param(failure(403, "player_banned"), "refused", id="banned"),
    ],
)
def test_a_key_that_may_not_work(error: KratyError, state: str) -> None:
    """A 403 refuses an intent only if its code is not about the API key."""
    assert state == settle(FIRST, error, key_works=False, random=lambda: 0.5).state


def test_delays_grow_to_a_limit() -> None:
    """Delays double up to five minutes, spread by 20 %, for any number of attempts."""
    waits = [
        settle(FIRST._replace(attempts=attempts), LOST, key_works=True, random=lambda: 0.5).wait_ms
        for attempts in (1, 2, 3, 9, 10, 5_000)
    ]
    assert [1_000, 2_000, 4_000, 256_000, 300_000, 300_000] == waits
    spread = [settle(FIRST, LOST, key_works=True, random=lambda r=r: r).wait_ms for r in (0.0, 1.0)]  # type: ignore[misc]
    assert [800, 1_200] == spread


@pytest.mark.parametrize(
    ("asked", "wait_ms"),
    [(0.5, 1_000), (2.0, 2_000), (7_200.0, 3_600_000)],
    ids=["less", "more", "more than an hour"],
)
def test_a_wait_that_the_server_asks_for(asked: float, wait_ms: int) -> None:
    """A longer wait that the server asks for is kept, up to an hour."""
    error = failure(429, retry_after=asked)
    assert wait_ms == settle(FIRST, error, key_works=True, random=lambda: 0.5).wait_ms


def test_only_documented_keys_are_repeated_without_limit() -> None:
    """Only grants are repeated without a limit; every other write for 23 hours."""
    limits = limits_of_repeats()
    assert {None: ["grants.create", "grants.ack"]} == {None: limits[None]}
    assert {None, 23 * HOUR} == limits.keys()
    assert sorted(KEY_LIFETIMES) == sorted(name for names in limits.values() for name in names)


class TestHealth:
    """When a worker pings, and when it starts no new intent."""

    def test_each_call_without_an_answer_asks_for_a_ping(self) -> None:
        """A call without an answer asks for a ping; an answer of any kind does not."""
        result: Mapping[str, Any] = {}
        outcomes: list[tuple[Mapping[str, Any] | KratyError, bool]] = [
            (LOST, True),
            (UNSENT, True),
            (failure(503, ambiguous=True), True),
            (failure(409), False),
            (result, False),
            (KratyClosedError("m"), False),
        ]
        for outcome, must_ping in outcomes:
            health = Health()
            health.ended(outcome, 0.0)
            assert must_ping is health.must_ping
            health.answered_ping()
            assert not health.must_ping

    def test_three_calls_without_an_answer(self) -> None:
        """After three calls without an answer, new intents are started rarely, until a call is
        answered."""
        health = Health()
        for _ in range(3):
            assert not health.only_in_doubt(0.0)
            health.ended(LOST, 0.0)
        assert health.only_in_doubt(299.0)
        assert not health.only_in_doubt(300.0)
        health.began(AGAIN, 300.0)
        assert not health.only_in_doubt(300.0)
        health.began(FIRST, 300.0)
        assert health.only_in_doubt(899.0)
        assert not health.only_in_doubt(900.0)
        health.ended({}, 900.0)
        health.began(FIRST, 900.0)
        assert not health.only_in_doubt(900.0)

    @pytest.mark.parametrize("answer", [{}, failure(409)], ids=["result", "refusal"])
    def test_an_answer_of_any_kind(self, answer: Mapping[str, Any] | KratyError) -> None:
        """A definite answer of any kind allows new intents, and the next outage starts afresh."""
        health = Health()
        for _ in range(2):
            for _ in range(3):
                health.ended(LOST, 0.0)
            assert health.only_in_doubt(299.0)
            assert not health.only_in_doubt(300.0)
            health.ended(answer, 0.0)
            assert not health.only_in_doubt(0.0)

    def test_intents_in_doubt_do_not_postpone_a_new_one(self) -> None:
        """More calls without an answer do not move the time of the next new intent."""
        health = Health()
        for seconds in (0.0, 0.0, 0.0, 100.0, 200.0):
            health.ended(LOST, seconds)
        assert not health.only_in_doubt(300.0)

    def test_new_intents_are_at_most_an_hour_apart(self) -> None:
        """During a long outage, a new intent is tried once an hour."""
        health = Health()
        for _ in range(3):
            health.ended(LOST, 0.0)
        for _ in range(9):
            health.began(FIRST, 0.0)
        assert health.only_in_doubt(3_599.0)
        assert not health.only_in_doubt(3_600.0)

    def test_an_unsent_call_puts_nothing_in_doubt(self) -> None:
        """A call that was not sent does not count as a call without an answer."""
        health = Health()
        for _ in range(9):
            health.ended(UNSENT, 0.0)
        assert not health.only_in_doubt(0.0)

    def test_delays_of_pings(self) -> None:
        """Delays between pings grow to a minute, and start again after an answer."""
        health = Health()
        delays = [health.ping_delay() for _ in range(3_000)]
        assert ([1.0, 2.0, 4.0], 60.0) == (delays[:3], delays[-1])
        health.answered_ping()
        assert 1.0 == health.ping_delay()

    def test_a_new_one_when_none_is_in_doubt(self) -> None:
        """If no intent is in doubt, a worker may start a new one, until the next call without an
        answer."""
        health = Health()
        for _ in range(3):
            health.ended(LOST, 0.0)
        health.nothing_in_doubt()
        assert not health.only_in_doubt(0.0)
        health.ended(LOST, 0.0)
        assert health.only_in_doubt(0.0)


DECISIONS: Final[list[Literal["applied", "send-again", "abandon"]]] = [
    "applied",
    "send-again",
    "abandon",
]


class Sending(NamedTuple):
    """A call whose outcome no worker has stored yet."""

    claim: Claim
    outcome: Mapping[str, Any] | KratyError


class Walk:
    """Random lives of intents on real tables, against a model of the platform.

    Workers are killed, sleep past their leases, and store outcomes late. People decide.
    """

    def __init__(self, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.random = Random(seed)
        self.now = 1_000_000_000_000
        patch.setattr(_clock, "now_ms", lambda: sa.literal(self.now, sa.BigInteger))
        self.engine = sa.create_engine("sqlite://", poolclass=StaticPool)
        self.transact(lambda c: _store.upgrade(c, TABLES))
        target = outbox.Target("http://x", "s", "g", "test")
        self.transact(lambda c: _store.register(c, TABLES, target, add=False))
        self.sending: list[Sending] = []
        self.first_risky: dict[str, int] = {}
        """When each key was first sent by a call that may have taken effect."""
        self.known: dict[str, int] = {}
        """When the platform first saw each key that it has in memory."""
        self.effects: dict[str, int] = {}
        self.sent_again: set[str] = set()
        """Keys that a person has decided to send again."""
        self.sends = 0

    def transact(self, work: Callable[[sa.Connection], Any]) -> Any:
        with self.engine.connect() as connection:
            return _store.in_transaction(connection, work)

    def rows(self) -> list[outbox.Intent[Any]]:
        return outbox.find(self.engine, limit=None)

    def record(self) -> None:
        player = f"p{self.random.randrange(3)}"
        key = f"k{self.random.randrange(1000)}"
        operation: Any = credit_wallet(player, "gold", amount=1, idempotency_key=key)
        if self.random.random() < 0.3:
            operation = create_grant(player, idempotency_key=key, entries=[{"type": "x"}])
        with suppress(outbox.OutboxConflictError):  # the key may be another call's
            self.transact(lambda c: _store.record(c, TABLES, operation, None, str))

    def send(self) -> None:
        """Claim and send an intent; `store` or `kill` decides what the worker does with the
        outcome."""
        lease = round(LEASE.total_seconds() * 1000)
        only = self.random.random() < 0.1
        claim: Claim | None = self.transact(
            lambda c: _store.claim(c, TABLES, 1, lease_ms=lease, only_in_doubt=only)
        )
        if claim is None:
            return
        key = claim.idempotency_key
        unlimited = claim.operation == "grants.create"
        since = self.first_risky.get(key)
        assert unlimited or since is None or self.now - since < 23 * HOUR
        assert claim.was_in_doubt or not only
        rows = self.rows()
        mine = next(row for row in rows if row.id == claim.id)
        for row in rows:
            if row.id < claim.id and row.state in ("pending", "sending"):
                assert not set(row.players) & set(mine.players)
        self.sends += 1
        self.sending.append(Sending(claim, self.platform(key, unlimited)))

    def platform(self, key: str, unlimited: bool) -> Mapping[str, Any] | KratyError:
        """Return what the platform does with a call, and what its caller learns."""
        chance = self.random.random()
        if chance < 0.15:
            return UNSENT
        if chance < 0.25:
            return failure(429)
        forgotten = not unlimited and self.now - self.known.get(key, self.now) >= 24 * HOUR
        if forgotten:
            del self.known[key]
        if key not in self.known:
            if chance < 0.35:
                return failure(409, "conflict")
            self.first_risky.setdefault(key, self.now)
            if chance < 0.45:
                return failure(503, ambiguous=True)
            self.known[key] = self.now
            self.effects[key] = self.effects.get(key, 0) + 1
        self.first_risky.setdefault(key, self.now)
        if self.random.random() < 0.4:
            return LOST
        return {"balance": 1}

    def store(self) -> None:
        """Let a worker store an outcome, perhaps long after its lease."""
        if self.sending:
            claim, outcome = self.sending.pop(self.random.randrange(len(self.sending)))
            settlement = settle(claim, outcome, key_works=True, random=self.random.random)
            self.transact(lambda c: _store.settle(c, TABLES, claim, settlement))

    def kill(self) -> None:
        """Let a worker lose an outcome. The call may have taken effect."""
        if self.sending:
            self.sending.pop()

    def wait(self) -> None:
        """Let seconds, minutes, hours or a day pass."""
        self.now += self.random.choice([1, 5, 200, 600, 3600, 5 * 3600, 24 * 3600]) * 1000

    def expire(self) -> None:
        self.transact(lambda c: _store.expire(c, TABLES, 1, limit=2))

    def decide(self) -> None:
        """Let a person decide about some intents."""
        for row in self.rows():
            if row.state == "unknown" and self.random.random() < 0.3:
                action = self.random.choice(DECISIONS)
                outbox.resolve(self.engine, row.id, action, by="x", why="y")
                if action == "send-again":
                    self.sent_again.add(row.idempotency_key)
                    self.first_risky.pop(row.idempotency_key, None)
            elif row.state == "refused" and self.random.random() < 0.3:
                outbox.retry(self.engine, row.id, by="x", why="y")

    def finish(self) -> None:
        """Let one healthy worker end what can be ended."""
        self.sending.clear()
        self.random.random = lambda: 0.99  # type: ignore[method-assign]
        while outbox.status(self.engine).oldest_open is not None:
            self.expire()
            self.send()
            self.store()
            self.now += 301_000


@pytest.mark.parametrize("seed", range(4))
def test_random_lives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key is sent too late, no player's order is broken, and each intent ends, paid at most
    once."""
    walk = Walk(seed, monkeypatch)
    steps = [walk.record, walk.send, walk.store, walk.kill, walk.wait, walk.expire, walk.decide]
    for step in walk.random.choices(steps, weights=[4, 8, 6, 1, 3, 1, 1], k=400):
        step()
    walk.finish()
    rows = walk.rows()
    assert walk.sends > 50
    assert {row.state for row in rows} <= {"done", "refused", "unknown", "abandoned"}
    for row in rows:
        effects = walk.effects.get(row.idempotency_key, 0)
        if row.idempotency_key not in walk.sent_again:
            assert effects <= 1
        if row.state == "done" and not row.notes:
            assert effects >= 1
        if row.state == "refused" and effects:
            assert row.error is not None
            assert row.error["ambiguous"]
    walk.engine.dispose()
