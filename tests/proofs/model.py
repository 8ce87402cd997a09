"""The emulator does what a plain model says: dicts of balances, keys and grants.

Hypothesis draws the calls. Either client makes them, over HTTP, and may repeat what the
other one has called. The model shares no code with the emulator: it is the second opinion.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kraty_admin import KratyAdmin, KratyAdminAsync, KratyServerError, RetryConfig
from kraty_admin.emulator import Clock, Emulator

from .figures import Figure

__all__ = ["prove"]

_NOON: Final = datetime(2026, 6, 8, 12, tzinfo=timezone.utc)
_DAY: Final = timedelta(days=1)
_CEILING: Final = 2**53 - 1

_PLAYERS: Final = ("alice", "bob", "carol")
_CURRENCIES: Final = ("gold", "gems")
_ITEMS: Final = ("health_potion", "starter_chest")
_UNKNOWN: Final = "moonstone"
"""Neither a currency nor an item."""

_ADJUSTMENTS: Final[Mapping[str, tuple[str, str, str, int]]] = {
    "wallet.credit": ("currency", "amount", "balance", 1),
    "wallet.debit": ("currency", "amount", "balance", -1),
    "inventory.grant": ("item", "quantity", "quantity", 1),
    "inventory.revoke": ("item", "quantity", "quantity", -1),
}
"""For each method: what it moves, what it calls the change and the sum, and the sign."""

_METHODS: Final = (
    *_ADJUSTMENTS,
    "grants.create",
    "grants.ack",
    "players.get",
    "players.ban",
    "players.unban",
    "players.merge",
    "players.delete",
    "players.export",
    "migrate.wallet",
    "migrate.inventory",
)

_OUTCOMES: Final = (
    "done",
    "replayed",
    "repeated by the same client",
    "repeated by the other client",
    "400 invalid_metric",
    "404 not_found",
    "409 conflict",
    "409 idempotency_conflict",
    "422 conflict",
)


@attrs.frozen
class Call:
    """A call of an SDK's method, but for its idempotency key."""

    method: str
    args: tuple[str, ...] = ()
    options: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen
class Done:
    """The call took effect, or had done so before."""

    data: Mapping[str, Any]
    """What its result holds, among other things."""
    replayed: bool | None = None
    """What the SDK says about that; `None` if the answer does not say."""


@attrs.frozen
class Refused:
    """The call had no effect."""

    status: int
    code: str
    details: Mapping[str, Any] | None = None


Outcome = Done | Refused


class _RefusedError(Exception):
    def __init__(self, status: int, code: str, **details: Any) -> None:
        super().__init__(code)
        self.outcome: Final = Refused(status, code, details or None)


@attrs.define(eq=False)
class Player:
    """Somebody who has, or had, an id."""

    name: str
    held: dict[tuple[str, str], int] = attrs.field(factory=dict[tuple[str, str], int])
    """What they hold, by kind and key."""
    posted: list[tuple[str, str, int]] = attrs.field(factory=list[tuple[str, str, int]])
    """Their ledger, as kind, key and delta."""
    is_banned: bool = False
    merged_into: Player | None = None


@attrs.define(eq=False)
class Grant:
    """A payout that was made, and what has become of it."""

    id: str
    owner: Player
    expires_at: datetime | None
    is_claimed: bool = False

    def status(self, now: datetime) -> str:
        if self.is_claimed:
            return "claimed"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "pending"


@attrs.frozen
class Answer:
    """What was answered under a key."""

    call: Call
    data: Mapping[str, Any]
    at: datetime


class Model:
    """What an emulated Kraty has to be, in plain Python."""

    def __init__(self) -> None:
        self.now = _NOON
        self.players: dict[str, Player] = {}
        self.former: dict[str, Player] = {}
        """Who had an id last, and is gone."""
        self.grants: list[Grant] = []
        self.answers: dict[tuple[str, str], Answer] = {}
        self.rows: dict[tuple[str, str], tuple[Mapping[str, Any], datetime]] = {}
        self.posted = 0
        self._handlers: Mapping[str, Callable[[Call], Done]] = {
            **dict.fromkeys(_ADJUSTMENTS, self._adjust),
            "grants.create": self._grant,
            "grants.ack": self._ack,
            "players.ban": self._ban,
            "players.unban": self._unban,
            "players.merge": self._merge,
            "players.delete": self._delete,
            "migrate.wallet": self._migrate,
            "migrate.inventory": self._migrate,
        }

    def expect(self, call: Call, key: str | None) -> Outcome:
        """Apply the call to the model, and return the expected outcome."""
        earlier = None if key is None else self.answer(call.method, key)
        if earlier is not None:
            if earlier.call != call:
                return Refused(409, "idempotency_conflict")
            again = {"applied": False} if call.method in _ADJUSTMENTS else {}
            return Done({**earlier.data, **again}, replayed=True)
        try:
            return self._handlers[call.method](call)
        except _RefusedError as refused:
            return refused.outcome

    def learn(self, call: Call, key: str | None, data: Mapping[str, Any]) -> None:
        """Take the ids, and the result that a repeat has to show, from what came back."""
        if call.method.startswith("migrate.") or (
            key is not None and self.answer(call.method, key) is not None
        ):
            return
        if call.method == "grants.create":
            expires_at = call.options.get("expires_at")
            self.grants.append(Grant(data["id"], self.players[call.args[0]], expires_at))
        # The other operations have no key, or no documents that say what it is for.
        if key is not None and call.method in (*_ADJUSTMENTS, "grants.create"):
            self.answers[call.method, key] = Answer(call, data, self.now)

    def answer(self, method: str, key: str) -> Answer | None:
        """Return what was answered under this key, unless it has been forgotten."""
        answer = self.answers.get((method, key))
        if answer is None or method == "grants.create" or self.now < answer.at + _DAY:
            return answer
        return None

    def _adjust(self, call: Call) -> Done:
        kind, changed, total, sign = _ADJUSTMENTS[call.method]
        name, key = call.args
        self._check(kind, key)
        player = self.players.get(name) or Player(name)
        sums = _sums(player.held, [(kind, key, sign * call.options[changed])])
        self._post(player, sums, [(kind, key, sign * call.options[changed])])
        label = "economyKey" if kind == "currency" else "itemKey"
        return Done({label: key, total: sums[kind, key], "applied": True}, replayed=False)

    def _grant(self, call: Call) -> Done:
        changes = [_change(entry) for entry in call.options["entries"]]
        for kind, key, _ in changes:
            self._check(kind, key)
        player = self.players.get(call.args[0]) or Player(call.args[0])
        self._post(player, _sums(player.held, changes), changes)
        return Done(
            {"status": "pending", "contents": {"entries": list(call.options["entries"])}},
            replayed=False,
        )

    def _ack(self, call: Call) -> Done:
        player = self._player(call.args[0])
        for grant in self.grants:
            if grant.id == call.args[1] and grant.owner is player:
                grant.is_claimed = grant.status(self.now) != "expired"
                return Done({"id": grant.id, "status": grant.status(self.now)})
        raise _RefusedError(404, "not_found")

    def _ban(self, call: Call) -> Done:
        player = self._player(call.args[0])
        is_new, player.is_banned = not player.is_banned, True
        return Done({"reason": call.options["reason"], "applied": is_new})

    def _unban(self, call: Call) -> Done:
        player = self._player(call.args[0])
        is_new, player.is_banned = player.is_banned, False
        return Done({"applied": is_new})

    def _merge(self, call: Call) -> Done:
        source_name, target_name = call.args
        if source_name == target_name:
            raise _RefusedError(422, "conflict")
        target, erased = self.players.get(target_name), self.former.get(target_name)
        if target is None:
            is_erased = erased is not None and erased.merged_into is None
            raise _RefusedError(*((422, "conflict") if is_erased else (404, "not_found")))
        source = self.players.get(source_name)
        if source is None:
            before = self.former.get(source_name)
            if before is None or before.merged_into is not target:
                raise _RefusedError(404, "not_found")
            return Done({"status": "no_op_already_merged"})
        if target.is_banned:
            raise _RefusedError(422, "conflict")
        gained = [(kind, key, amount) for (kind, key), amount in source.held.items()]
        try:
            target.held = _sums(target.held, gained)
        except _RefusedError as refused:
            raise _RefusedError(422, "conflict") from refused
        moved = [grant for grant in self.grants if grant.owner is source]
        for grant in moved:
            grant.owner = target
        counts = {
            "grantsReassigned": len(moved),
            "walletsMerged": sum(kind == "currency" for kind, _ in source.held),
            "itemsMerged": sum(kind == "item" for kind, _ in source.held),
            "walletLedgerRowsMoved": sum(kind == "currency" for kind, _, _ in source.posted),
            "itemLedgerRowsMoved": sum(kind == "item" for kind, _, _ in source.posted),
        }
        target.posted += source.posted
        source.held, source.posted = {}, []
        self._retire(source, target)
        return Done({"status": "merged", "counts": counts})

    def _delete(self, call: Call) -> Done:
        player, former = self.players.get(call.args[0]), self.former.get(call.args[0])
        if player is not None:
            self._retire(player, None)
            return Done({"status": "erased"})
        if former is not None and former.merged_into is None:
            return Done({"status": "no_op_already_erased"})
        return Done({"status": "no_op_never_existed"})

    def _migrate(self, call: Call) -> Done:
        applied, skipped, failures = 0, 0, list[tuple[int, str]]()
        for index, row in enumerate(call.options["rows"]):
            key = call.method, row["idempotencyKey"]
            earlier, at = self.rows.get(key, (None, self.now))
            if self.now >= at + _DAY:
                earlier = None
            if earlier is not None and earlier != row:
                failures.append((index, "idempotency_conflict"))
            elif earlier is not None:
                skipped += 1
            else:
                try:
                    self._migrate_row(row)
                except _RefusedError as refused:
                    failures.append((index, refused.outcome.code))
                else:
                    self.rows[key] = row, self.now
                    applied += 1
        return Done(
            {"applied": applied, "skipped": skipped, "failed": len(failures), "failures": failures}
        )

    def _migrate_row(self, row: Mapping[str, Any]) -> None:
        kind, key, delta = _change(row)
        self._check(kind, key, "unknown_item" if kind == "item" else "invalid_metric")
        name = row["externalPlayerId"]
        player = self.players.get(name) or Player(name)
        self._post(player, _sums(player.held, [(kind, key, delta)]), [(kind, key, delta)])

    def _check(self, kind: str, key: str, code: str = "invalid_metric") -> None:
        if key not in (_CURRENCIES if kind == "currency" else _ITEMS):
            raise _RefusedError(400, code)

    def _player(self, name: str) -> Player:
        if name not in self.players:
            raise _RefusedError(404, "not_found")
        return self.players[name]

    def _post(
        self,
        player: Player,
        sums: dict[tuple[str, str], int],
        changes: Sequence[tuple[str, str, int]],
    ) -> None:
        self.players[player.name] = player
        player.held = sums
        player.posted += changes
        self.posted += len(changes)

    def _retire(self, player: Player, target: Player | None) -> None:
        del self.players[player.name]
        self.former[player.name] = player
        player.merged_into = target


def _change(entry: Mapping[str, Any]) -> tuple[str, str, int]:
    """Return what an entry of a grant, or a row of a migration, adds."""
    for key in ("currencyKey", "economyKey"):
        if key in entry:
            return "currency", entry[key], entry["amount"]
    return "item", entry.get("itemKey") or entry["crateItemKey"], entry["quantity"]


def _sums(
    held: Mapping[tuple[str, str], int], changes: Sequence[tuple[str, str, int]]
) -> dict[tuple[str, str], int]:
    """Return what is held after all of the changes."""
    sums = dict(held)
    for kind, key, delta in changes:
        before = sums.get((kind, key), 0)
        if before + delta < 0:
            raise _RefusedError(409, "conflict", available=before, requested=-delta)
        if before + delta > _CEILING:
            total = "balance" if kind == "currency" else "quantity"
            raise _RefusedError(
                409, "conflict", **{total: before, "requested": delta, "maximum": _CEILING}
            )
        sums[kind, key] = before + delta
    return sums


@attrs.define
class Tally:
    """What has been done."""

    examples: int = 0
    calls: Counter[str] = attrs.field(factory=Counter[str])
    """The calls, by method."""
    outcomes: Counter[str] = attrs.field(factory=Counter[str])
    """How they ended, in words."""


class Caller:
    """One of the two clients, used alike."""

    def __init__(
        self, kraty: KratyAdmin | KratyAdminAsync, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.name: Final = type(kraty).__name__
        self._kraty: Final = kraty
        self._loop: Final = loop

    def ask(self, method: str, *args: str, **options: Any) -> Any:
        """Return the result of a method, such as `wallet.credit`."""
        answer = attrgetter(method)(self._kraty)(*args, **options)
        return self._loop.run_until_complete(answer) if asyncio.iscoroutine(answer) else answer


@attrs.frozen
class Stage:
    """What all examples share: an emulator, both clients and the tally."""

    emulator: Emulator
    callers: Sequence[Caller]
    tally: Tally


_players = st.sampled_from(_PLAYERS)
_keys = st.integers(0, 15).map("receipt_{}".format)
_currencies = st.sampled_from((*_CURRENCIES, *_CURRENCIES, _UNKNOWN))
_items = st.sampled_from((*_ITEMS, *_ITEMS, _UNKNOWN))
_amounts = st.one_of(st.integers(1, 9), st.integers(1, 9), st.just(_CEILING))
_reasons = st.sampled_from([{}, {"reason": "iap"}, {"reason": "iap", "source_ref_id": "ref"}])
_who = st.integers(0, 1)


def _entry(kind: str, key: str, amount: int) -> dict[str, Any]:
    """Return an entry of a grant."""
    if kind == "currency":
        return {"type": kind, "currencyKey": key, "amount": amount}
    return {"type": kind, "itemKey" if kind == "item" else "crateItemKey": key, "quantity": amount}


_entries = st.lists(
    st.builds(_entry, st.just("currency"), _currencies, _amounts)
    | st.builds(_entry, st.sampled_from(("item", "crate")), _items, _amounts),
    min_size=1,
    max_size=4,
)


class Machine(RuleBasedStateMachine):
    """Makes calls, and holds their outcomes and what they leave to the model."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self._tally = self.stage.tally
        self._tally.examples += 1
        self._model = Model()
        self._made: list[tuple[Call, str, str]] = []
        """The calls that took effect under a key, with it and with who made them."""
        self.stage.emulator.reset()

    @rule(
        who=_who,
        method=st.sampled_from(("wallet.credit", "wallet.credit", "wallet.debit")),
        name=_players,
        currency=_currencies,
        amount=st.none() | _amounts,
        reason=_reasons,
        key=st.none() | _keys,
    )
    def adjust_wallet(
        self,
        who: int,
        method: str,
        name: str,
        currency: str,
        amount: int | None,
        reason: dict[str, str],
        key: str | None,
    ) -> None:
        if amount is None:
            amount = self._edge(name, ("currency", currency), method == "wallet.debit")
        self._make(who, Call(method, (name, currency), {"amount": amount, **reason}), key)

    @rule(
        who=_who,
        method=st.sampled_from(("inventory.grant", "inventory.grant", "inventory.revoke")),
        name=_players,
        item=_items,
        amount=st.none() | _amounts,
        reason=_reasons,
        key=st.none() | _keys,
    )
    def adjust_inventory(
        self,
        who: int,
        method: str,
        name: str,
        item: str,
        amount: int | None,
        reason: dict[str, str],
        key: str | None,
    ) -> None:
        if amount is None:
            amount = self._edge(name, ("item", item), method == "inventory.revoke")
        self._make(who, Call(method, (name, item), {"quantity": amount, **reason}), key)

    @rule(
        who=_who,
        name=_players,
        entries=_entries,
        hours=st.none() | st.integers(1, 30),
        key=_keys,
    )
    def grant(
        self,
        who: int,
        name: str,
        entries: list[dict[str, Any]],
        hours: int | None,
        key: str,
    ) -> None:
        lapse = {} if hours is None else {"expires_at": _NOON + timedelta(hours=hours)}
        self._make(who, Call("grants.create", (name,), {"entries": entries, **lapse}), key)

    @precondition(lambda self: self._model.grants)
    @rule(who=_who, name=_players, number=st.integers(0, 99), key=st.none() | _keys)
    def ack(self, who: int, name: str, number: int, key: str | None) -> None:
        grants = self._model.grants
        # The owner's own name, more often than not.
        grant = grants[number % len(grants)]
        name = grant.owner.name if number % 4 else name
        self._make(who, Call("grants.ack", (name, grant.id)), key)

    @rule(who=_who, name=_players, is_ban=st.booleans(), key=st.none() | _keys)
    def ban_or_unban(self, who: int, name: str, is_ban: bool, key: str | None) -> None:
        options = {"reason": "fraud"} if is_ban else {}
        self._make(who, Call("players.ban" if is_ban else "players.unban", (name,), options), key)

    @rule(who=_who, source=_players, into=_players, key=st.none() | _keys)
    def merge(self, who: int, source: str, into: str, key: str | None) -> None:
        self._make(who, Call("players.merge", (source, into)), key)

    @rule(who=_who, name=_players, key=st.none() | _keys)
    def delete(self, who: int, name: str, key: str | None) -> None:
        self._make(who, Call("players.delete", (name,), {"reason": "gdpr_erasure"}), key)

    @rule(
        who=_who,
        rows=st.lists(st.tuples(_players, _currencies, _items, _amounts, _keys), max_size=3),
        are_items=st.booleans(),
    )
    def migrate(
        self, who: int, rows: list[tuple[str, str, str, int, str]], are_items: bool
    ) -> None:
        method, key_field, change_field = (
            ("migrate.inventory", "itemKey", "quantity")
            if are_items
            else ("migrate.wallet", "economyKey", "amount")
        )
        body = [
            {
                "externalPlayerId": name,
                key_field: item if are_items else currency,
                change_field: amount,
                "idempotencyKey": key,
            }
            for name, currency, item, amount, key in rows
        ]
        self._make(who, Call(method, (), {"rows": body}), None)

    @precondition(lambda self: self._made)
    @rule(who=_who, number=st.integers(0, 99), seconds_left=st.sampled_from((None, None, 1, 0)))
    def repeat(self, who: int, number: int, seconds_left: int | None) -> None:
        call, key, maker = self._made[number % len(self._made)]
        answer = self._model.answer(call.method, key)
        if answer is not None and seconds_left is not None:
            # At the last moment that the key is known, or the first that it is not.
            rest = answer.at + _DAY - timedelta(seconds=seconds_left) - self._model.now
            self._wait(max(rest, timedelta(0)))
        if self._model.answer(call.method, key) is not None:
            other = "the same" if maker == self.stage.callers[who].name else "the other"
            self._tally.outcomes[f"repeated by {other} client"] += 1
        self._make(who, call, key)

    @precondition(lambda self: self._made)
    @rule(who=_who, number=st.integers(0, 99), name=_players)
    def repeat_for_another_player(self, who: int, number: int, name: str) -> None:
        call, key, _ = self._made[number % len(self._made)]
        self._make(who, attrs.evolve(call, args=(name, *call.args[1:])), key)

    @rule(who=_who, name=_players)
    def read(self, who: int, name: str) -> None:
        caller, player = self.stage.callers[who], self._model.players.get(name)
        for method in ("players.get", "players.export"):
            self._tally.calls[method] += 1
            seen = _outcome(caller, method, name)
            if player is None:
                assert Refused(404, "not_found") == seen
                continue
            assert not isinstance(seen, Refused), seen
            held = {("currency", row["economyKey"]): row["balance"] for row in seen["wallet"]}
            held |= {("item", row["itemKey"]): row["quantity"] for row in seen["inventory"]}
            assert player.held == held
            grants = [
                (grant.id, grant.status(self._model.now))
                for grant in self._model.grants
                if grant.owner is player
            ]
            rows = seen["recentGrants" if method == "players.get" else "grants"]
            newest = grants[::-1][: 20 if method == "players.get" else None]
            assert newest == [(row["id"], row["status"]) for row in rows]

    @rule(hours=st.sampled_from((1, 12, 23)))
    def wait(self, hours: int) -> None:
        self._wait(timedelta(hours=hours))

    @invariant()
    def holdings_and_ledger_agree(self) -> None:
        emulator = self.stage.emulator
        entries = emulator.ledger
        assert self._model.posted == len(entries)
        for name in _PLAYERS:
            player = self._model.players.get(name) or Player(name)
            posted = [
                (entry.kind, entry.key, entry.delta)
                for entry in entries
                if entry.external_player_id == name
            ]
            assert sorted(player.posted) == sorted(posted)
            sums = Counter[tuple[str, str]]()
            for kind, key, delta in posted:
                sums[kind, key] += delta
            for key in _CURRENCIES:
                held = player.held.get(("currency", key), 0)
                assert (held, held) == (sums["currency", key], emulator.balance(name, key))
            for key in _ITEMS:
                held = player.held.get(("item", key), 0)
                assert (held, held) == (sums["item", key], emulator.quantity(name, key))

    def _wait(self, time: timedelta) -> None:
        self._model.now += time
        self.stage.emulator.clock.advance(time)

    def _edge(self, name: str, what: tuple[str, str], is_taken: bool) -> int:
        """Return all that there is, or all that there is room for."""
        player = self._model.players.get(name)
        held = 0 if player is None else player.held.get(what, 0)
        return max(1, held if is_taken else _CEILING - held)

    def _make(self, who: int, call: Call, key: str | None) -> None:
        caller = self.stage.callers[who]
        expected = self._model.expect(call, key)
        self._tally.calls[call.method] += 1
        result = _outcome(caller, call.method, *call.args, **call.options, **_stamp(key))
        if isinstance(result, Refused):
            self._tally.outcomes[f"{result.status} {result.code}"] += 1
            assert expected == result, f"{call}: {expected} expected, {result} came"
            return
        assert isinstance(expected, Done), f"{call}: {expected} expected, {result} came"
        data = {name: _plain(name, result, expected) for name in expected.data}
        assert expected.data == data, f"{call}: {expected.data} expected, {data} came"
        if expected.replayed is not None:
            assert expected.replayed is result.replayed, f"{call}: replayed={result.replayed}"
        self._tally.outcomes["replayed" if result.replayed else "done"] += 1
        self._model.learn(call, key, dict(result))
        if key is not None:
            self._made.append((call, key, caller.name))


def prove(folder: Path, *, examples: int, steps: int = 40) -> list[Figure]:
    """Hold an emulator, behind both clients, to the model.

    Args:
        folder: Where the emulator keeps its state.
        examples: How many sequences of calls are drawn.
        steps: How long one of them may get.
    """
    tally, loop = Tally(), asyncio.new_event_loop()
    at_once = RetryConfig(initial_delay=0)
    try:
        with Emulator(database=folder / "model.sqlite3", clock=Clock(_NOON)) as emulator:
            kraty = emulator.client(retry=at_once)
            kraty_async = emulator.async_client(retry=at_once)
            try:
                callers = [Caller(kraty, loop), Caller(kraty_async, loop)]
                complaint = _run(Stage(emulator, callers, tally), examples, steps)
            finally:
                loop.run_until_complete(kraty_async.close())
    finally:
        loop.close()
    return [
        Figure("sequences of calls", tally.examples),
        Figure("calls", tally.calls.total()),
        Figure("methods called", len(tally.calls), expected=len(_METHODS)),
        Figure("outcomes", _listed(tally.outcomes)),
        Figure("kinds of outcomes", len(tally.outcomes), expected=len(_OUTCOMES)),
        Figure("differences from the model", complaint or 0, expected=0),
    ]


def _run(stage: Stage, examples: int, steps: int) -> str:
    """Return the first difference, with the steps that lead to it."""

    class Staged(Machine):
        pass

    Staged.stage = stage
    try:
        run_state_machine_as_test(
            Staged,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                # The same calls each time, and none remembered.
                derandomize=True,
                database=None,
                deadline=None,
                # Shrinking may take minutes; the steps up to the difference are printed anyway.
                phases=[Phase.generate],
                report_multiple_bugs=False,
                # Whole sequences over a network are slower than hypothesis is used to.
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )
    except AssertionError as difference:
        return "\n".join([str(difference), *getattr(difference, "__notes__", [])])
    return ""


def _outcome(caller: Caller, method: str, *args: str, **options: Any) -> Any:
    """Return a call's result, or its refusal."""
    try:
        return caller.ask(method, *args, **options)
    except KratyServerError as error:
        is_conflict = error.is_idempotency_conflict
        if is_conflict is not (error.code == "idempotency_conflict"):
            raise
        # The model has numbers to compare for the refusal of one change only: of the many
        # sums of a merge, any may be the one that is too large.
        details = error.details if error.is_conflict and error.status == 409 else None
        return Refused(error.status, error.code, details)


def _stamp(key: str | None) -> dict[str, str]:
    return {} if key is None else {"idempotency_key": key}


def _plain(name: str, result: Mapping[str, Any], expected: Done) -> Any:
    """Return a member of a result, as far as the model knows it."""
    value = result[name]
    if name == "counts":
        return {each: value[each] for each in expected.data[name]}
    if name == "failures":
        return [(row["rowIndex"], row["error"]["code"]) for row in value]
    return value


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{what}: {count:,}" for what, count in sorted(counts.items()))
