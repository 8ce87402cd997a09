"""The ledger adds up, whatever happens in whatever order."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kraty_admin.emulator._json import MAX_SAFE_INTEGER
from kraty_admin.emulator._platform import Platform
from kraty_admin.emulator._state import State

from .testkit import Api, Ids, Reply, StoppedClock

DAY = 24 * 60 * 60

NAMES = st.sampled_from(["alice", "bob", "carol"])
KEYS = st.sampled_from([None, "k1", "k2", "k3"])
AMOUNTS = st.integers(1, 50) | st.just(MAX_SAFE_INTEGER) | st.just(MAX_SAFE_INTEGER - 20)
VERBS = st.sampled_from(
    [
        ("wallet", "gold", "credit", "amount", 1),
        ("wallet", "gold", "debit", "amount", -1),
        ("inventory", "health_potion", "grant", "quantity", 1),
        ("inventory", "health_potion", "revoke", "quantity", -1),
    ]
)


@attrs.define(eq=False)
class Person:
    """The present owner of an id."""

    held: Counter[str] = attrs.field(factory=Counter[str])
    banned: bool = False


class Ledger(RuleBasedStateMachine):
    """The emulator beside a model made of dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = StoppedClock()
        self.state = State(":memory:")
        self.api = Api(Platform(self.state, clock=self.clock, new_uuid=Ids()))
        self.people: dict[str, Person] = {}
        self.erased: list[Person] = []
        self.former: dict[str, Person | None] = {}
        """For an id that is free again, into whom its owner was merged, if so."""
        self.answers: dict[tuple[str, str], tuple[str, float, Any]] = {}
        self.grants: dict[str, tuple[str, Any]] = {}
        self.rows: dict[str, tuple[str, float]] = {}
        self.entries = 0

    def teardown(self) -> None:
        self.state.close()

    def person(self, name: str) -> Person:
        return self.people.setdefault(name, Person())

    def fits(self, name: str, changes: Counter[str]) -> bool:
        held = self.people.get(name, Person()).held
        return all(0 <= held[key] + delta <= MAX_SAFE_INTEGER for key, delta in changes.items())

    def apply(self, name: str, changes: Counter[str], entries: int) -> None:
        self.person(name).held.update(changes)
        self.entries += entries

    @rule(name=NAMES, verb=VERBS, amount=AMOUNTS, key=KEYS)
    def adjust(
        self, name: str, verb: tuple[str, str, str, str, int], amount: int, key: str | None
    ) -> None:
        section, what, word, field, sign = verb
        path = f"/players/{name}/{section}/{what}/{word}"
        body: dict[str, Any] = {field: amount}
        if key is not None:
            body["idempotencyKey"] = key
        reply = self.api.post(path, body)
        spelled = json.dumps([path, body])
        remembered = self.answers.get((word, key or ""))
        if key is not None and remembered is not None and remembered[1] > self.clock.now:
            if remembered[0] == spelled:
                assert reply.data == {**remembered[2], "applied": False}
            else:
                assert reply.error == (409, "idempotency_conflict")
            return
        changes = Counter({what: sign * amount})
        if not self.fits(name, changes):
            assert reply.error == (409, "conflict")
            return
        self.apply(name, changes, 1)
        assert reply.data["applied"] is True
        assert self.person(name).held[what] in reply.data.values()
        if key is not None:
            self.answers[word, key] = (spelled, self.clock.now + DAY, reply.data)

    @rule(name=NAMES, gold=AMOUNTS, potions=AMOUNTS, key=st.sampled_from(["g1", "g2", "g3"]))
    def grant(self, name: str, gold: int, potions: int, key: str) -> None:
        entries = [
            {"type": "currency", "currencyKey": "gold", "amount": gold},
            {"type": "item", "itemKey": "health_potion", "quantity": potions},
            {"type": "crate", "crateItemKey": "health_potion", "quantity": 1},
        ]
        path, body = f"/players/{name}/grants", {"idempotencyKey": key, "entries": entries}
        reply = self.api.post(path, body)
        spelled = json.dumps([path, body])
        if key in self.grants:
            if self.grants[key][0] == spelled:
                assert (reply.status, reply.data) == (200, self.grants[key][1])
            else:
                assert reply.error == (409, "idempotency_conflict")
            return
        changes = Counter({"gold": gold, "health_potion": potions + 1})
        if not self.fits(name, changes):
            assert reply.error == (409, "conflict")
            return
        assert reply.status == 201
        self.apply(name, changes, 3)
        self.grants[key] = (spelled, reply.data)

    @rule(name=NAMES, amount=AMOUNTS, key=st.sampled_from(["r1", "r2", "r3"]))
    def migrate(self, name: str, amount: int, key: str) -> None:
        row = {
            "externalPlayerId": name,
            "economyKey": "gold",
            "amount": amount,
            "idempotencyKey": key,
        }
        outcome = self.api.post("/migrate/wallet", {"rows": [row]}).data
        counts = outcome["applied"], outcome["skipped"], outcome["failed"]
        changes = Counter({"gold": amount})
        earlier, expires_at = self.rows.get(key, ("", 0.0))
        if expires_at > self.clock.now:
            assert counts == ((0, 1, 0) if earlier == json.dumps(row) else (0, 0, 1))
        elif self.fits(name, changes):
            assert counts == (1, 0, 0)
            self.apply(name, changes, 1)
            self.rows[key] = json.dumps(row), self.clock.now + DAY
        else:
            assert counts == (0, 0, 1)

    @rule(source=NAMES, into=NAMES)
    def merge(self, source: str, into: str) -> None:
        reply = self.api.post(f"/players/{source}/merge-into/{into}")
        expected = self.expected_merge(source, into)
        if expected == "merged":
            gone, kept = self.people.pop(source), self.people[into]
            kept.held.update(gone.held)
            self.former[source] = kept
            assert reply.data["status"] == "merged"
        elif expected == "no_op_already_merged":
            assert reply.data["status"] == expected
        else:
            assert reply.status == int(expected)

    def expected_merge(self, source: str, target: str) -> str:
        if source == target:
            return "422"
        if target not in self.people:
            return "422" if self.former.get(target, Person()) is None else "404"
        if source not in self.people:
            into = self.former.get(source)
            return "no_op_already_merged" if into is self.people[target] else "404"
        if self.people[target].banned or not self.fits(target, self.people[source].held):
            return "422"
        return "merged"

    @precondition(lambda self: self.people)
    @rule(name=NAMES, banned=st.booleans())
    def ban(self, name: str, banned: bool) -> None:
        reply: Reply
        if banned:
            reply = self.api.post(f"/players/{name}/ban", {"reason": "because"})
        else:
            reply = self.api.post(f"/players/{name}/unban")
        if name in self.people:
            assert reply.data["applied"] is (self.people[name].banned is not banned)
            self.people[name].banned = banned
        else:
            assert reply.status == 404

    @rule(name=NAMES)
    def erase(self, name: str) -> None:
        status = self.api.post(f"/players/{name}/delete", {}).data["status"]
        if name in self.people:
            assert status == "erased"
            self.erased.append(self.people.pop(name))
            self.former[name] = None
        elif name in self.former and self.former[name] is None:
            assert status == "no_op_already_erased"
        else:
            assert status == "no_op_never_existed"

    @rule(seconds=st.sampled_from([1, DAY // 2, DAY]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def balances_are_the_models(self) -> None:
        for name, person in self.people.items():
            for key, read in (("gold", self.api.balance), ("health_potion", self.api.quantity)):
                amount = read(name, key)
                assert amount == person.held[key] >= 0
                ledger = [delta for held, delta in self.api.deltas(name) if held == key]
                assert sum(ledger) == amount

    @invariant()
    def nothing_is_lost(self) -> None:
        entries = self.api.deltas()
        assert len(entries) == self.entries
        total: Counter[str] = Counter()
        for key, delta in entries:
            total[key] += delta
        everyone: Counter[str] = Counter()
        for person in [*self.people.values(), *self.erased]:
            everyone.update(person.held)
        assert all(total[key] == everyone[key] for key in ("gold", "health_potion"))


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
