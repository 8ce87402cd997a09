"""`migrate`: bulk import. Each row has its own key and fails alone.

For a batch, a few statements read the existing data, each row is planned in memory, and one
statement per table writes the plan. A row that fails is not in the plan. Migrations send no
webhooks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from operator import itemgetter
from typing import Any, Final, Protocol, TypeAlias

from .._errors import EmulatedError, idempotency_conflict, invalid
from .._json import dump_text, fingerprint, text_member
from .._state import HoldingRow, LedgerRow, NewPlayer
from ._assets import Asset, check_total
from ._call import Call, Context, Data, Outcome

__all__ = ["Holdings", "Players", "migrate"]


_KEPT_MS: Final = 24 * 60 * 60 * 1000
"""How long the key of a row is kept. The documents do not say, so no code may rely on more."""


class Plan(Protocol):
    """The changes that a batch will write."""

    def load(self, rows: Sequence[Data]) -> None:
        """Read the existing data of these rows."""

    def add(self, row: Data) -> None:
        """Plan a row.

        Raises:
            EmulatedError: The row fails; it is not planned.
        """

    def write(self) -> None:
        """Write all planned changes."""


MakePlan: TypeAlias = Callable[[Call, Context], Plan]


def migrate(make_plan: MakePlan, call: Call, context: Context) -> Outcome:
    """Apply the rows of a batch that do not fail."""
    rows: Sequence[Any] = call.body["rows"]
    problems = call.row_problems(rows)
    fitting: list[Data] = [row for index, row in enumerate(rows) if index not in problems]
    plan = make_plan(call, context)
    plan.load(fitting)
    answers, game_id, operation = context.state.answers, call.game.id, call.operation_id
    keys = [row["idempotencyKey"] for row in fitting]
    applied = answers.migrated(game_id, operation, keys, context.now)
    new: dict[str, str] = {}
    failures: list[Data] = []
    for index, row in enumerate(rows):
        try:
            if index in problems:
                raise invalid(problems[index])
            key, row_fingerprint = row["idempotencyKey"], fingerprint(row)
            earlier = applied.get(key) or new.get(key)
            if earlier is None:
                plan.add(row)
                new[key] = row_fingerprint
            elif earlier != row_fingerprint:
                raise idempotency_conflict(key)
        except EmulatedError as error:
            failures.append(_failure(index, row, error))
    plan.write()
    answers.add_migrated(game_id, operation, new, context.now + _KEPT_MS)
    counts = {
        "applied": len(new),
        "skipped": len(rows) - len(new) - len(failures),
        "failed": len(failures),
    }
    return Outcome(200, {**counts, "failures": failures})


class Players:
    """A batch that creates and updates players."""

    def __init__(self, call: Call, context: Context) -> None:
        self._players = _PlayerPlan(call, context)

    def load(self, rows: Sequence[Data]) -> None:
        """Read which of the players exist."""
        self._players.load({row["externalPlayerId"] for row in rows})

    def add(self, row: Data) -> None:
        """Plan a player, and the context snapshot if the row has one."""
        name = row["externalPlayerId"]
        self._players.upsert(name)
        if "contextSnapshot" in row:
            self._players.contexts[name] = dump_text(row["contextSnapshot"])

    def write(self) -> None:
        """Write the players."""
        self._players.write()


class Holdings:
    """A batch that adds to balances or to item counts."""

    def __init__(self, asset: Asset, call: Call, context: Context) -> None:
        self._asset = asset
        self._call = call
        self._context = context
        self._catalog: Final = frozenset(asset.keys(call.game))
        self._players = _PlayerPlan(call, context)
        self._amounts: dict[tuple[str, str], int] = {}
        """The amounts by player's id and key, including the batch's changes so far."""
        self._metadata: dict[tuple[str, str], str] = {}
        self._changed: set[tuple[str, str]] = set()
        self._entries: list[LedgerRow] = []

    def load(self, rows: Sequence[Data]) -> None:
        """Read which of the players exist, and what they hold."""
        self._players.load({row["externalPlayerId"] for row in rows})
        ledger = self._context.state.ledger
        held = ledger.holdings_of(self._players.known_ids, self._asset.kind)
        for player_id, key, amount, metadata in held:
            self._amounts[player_id, key] = amount
            self._metadata[player_id, key] = metadata

    def add(self, row: Data) -> None:
        """Plan an entry of the ledger, its holding and, if needed, its player."""
        asset, name = self._asset, row["externalPlayerId"]
        key, delta = row[asset.key_field], row[asset.change_field]
        if key not in self._catalog:
            raise EmulatedError(asset.unknown_code, f"This game has no {asset.kind} {key}.")
        player_id = self._players.find(name)
        before = 0 if player_id is None else self._amounts.get((player_id, key), 0)
        total = check_total(asset, key, before, delta)
        place = self._players.upsert(name), key
        self._amounts[place] = total
        self._changed.add(place)
        parameters = row.get("parameters")
        if parameters:
            metadata = json.loads(self._metadata.get(place, "{}"))
            self._metadata[place] = dump_text({**metadata, **parameters})
        self._entries.append(
            LedgerRow(
                self._call.game.id,
                place[0],
                asset.kind,
                key,
                delta,
                self._call.name,
                row.get("reason"),
                None,
                row["idempotencyKey"],
                None if parameters is None else dump_text(parameters),
                self._context.now,
            )
        )

    def write(self) -> None:
        """Write players, holdings and ledger."""
        self._players.write()
        kind, now, ledger = self._asset.kind, self._context.now, self._context.state.ledger
        ledger.set_holdings(
            HoldingRow(
                place[0],
                kind,
                place[1],
                self._amounts[place],
                self._metadata.get(place, "{}"),
                now,
                now,
            )
            for place in sorted(self._changed)
        )
        ledger.append_all(self._entries)


class _PlayerPlan:
    """The players of a batch."""

    def __init__(self, call: Call, context: Context) -> None:
        self._game_id = call.game.id
        self._context = context
        self._known: dict[str, str] = {}
        self._new: dict[str, str] = {}
        self._seen: set[str] = set()
        self.contexts: dict[str, str] = {}
        """New context snapshots by external id, as JSON."""

    @property
    def known_ids(self) -> Collection[str]:
        return self._known.values()

    def load(self, names: Collection[str]) -> None:
        self._known = self._context.state.players.ids(self._game_id, names)

    def find(self, name: str) -> str | None:
        return self._known.get(name) or self._new.get(name)

    def upsert(self, name: str) -> str:
        known = self._known.get(name)
        if known is not None:
            self._seen.add(known)
            return known
        new = self._new.get(name)
        if new is None:
            new = self._new[name] = self._context.new_id("ply")
        return new

    def write(self) -> None:
        players, now = self._context.state.players, self._context.now
        players.add_all(
            NewPlayer(new_id, self._game_id, name, now, now, now, self.contexts.pop(name, None))
            for name, new_id in sorted(self._new.items(), key=itemgetter(1))
        )
        players.see_all(self._seen, now)
        for name, snapshot in self.contexts.items():
            players.set_context(self._known[name], snapshot, now)


def _failure(index: int, row: Any, error: EmulatedError) -> Data:
    failure: Data = {"rowIndex": index, "error": {"code": error.code, "message": error.message}}
    name = text_member(row, "externalPlayerId")
    if name is not None:
        failure["externalPlayerId"] = name
    return failure
