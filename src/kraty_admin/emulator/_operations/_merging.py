"""`players.merge`: move everything of one player to another."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from .._errors import EmulatedError
from .._json import dump_text
from .._state import Holding, Player
from .._times import iso
from ._assets import CURRENCY, ITEM, Asset, changed, check_total
from ._call import Call, Context, Data, Outcome

__all__ = ["merge_players"]


class _Gain(NamedTuple):
    """A holding of the source, and the target's amount after the merge."""

    asset: Asset
    holding: Holding
    total: int


def merge_players(call: Call, context: Context) -> Outcome:
    """Move everything from the source to the target, and free the source's id."""
    source_name, target_name = call.path["fromExternalId"], call.path["toExternalId"]
    if source_name == target_name:
        raise _rejected("A player cannot be merged into themselves.")
    target = _target(call, context, target_name)
    players = context.state.players
    source = players.find(call.game.id, source_name)
    if source is None:
        former = players.former(call.game.id, source_name)
        if former is None or former.merged_into != target.id:
            raise EmulatedError("not_found", "There is no such source player.")
        merged_at = context.now if former.retired_at is None else former.retired_at
        view = _view(call, former.id, target.id, former.external_id, merged_at)
        return Outcome(200, {**view, "status": "no_op_already_merged"})
    if target.banned_at is not None:
        raise _rejected("The target is banned.")
    gains = [
        _gain(context, target, asset, holding)
        for asset in (CURRENCY, ITEM)
        for holding in context.state.ledger.holdings(source.id, asset.kind)
    ]
    counts = _move(context, source, target, gains)
    placeholder = f"__merged_{context.new_uuid()}__"
    players.retire(source, placeholder, context.now, merged_into=target.id)
    view = _view(call, source.id, target.id, placeholder, context.now)
    view["counts"] |= counts
    events = [
        changed(
            target,
            gain.asset,
            gain.holding.key,
            gain.holding.amount,
            gain.total,
            cause={"reason": "merge"},
        )
        for gain in gains
        if gain.holding.amount
    ]
    return Outcome(200, view, events)


def _target(call: Call, context: Context, name: str) -> Player:
    target = context.state.players.find(call.game.id, name)
    if target is None:
        former = context.state.players.former(call.game.id, name)
        if former is not None and former.merged_into is None:
            raise _rejected("The target has been erased.")
        raise EmulatedError("not_found", "There is no such target player.")
    return target


def _gain(context: Context, target: Player, asset: Asset, holding: Holding) -> _Gain:
    before = context.state.ledger.amount(target.id, asset.kind, holding.key)
    try:
        return _Gain(asset, holding, check_total(asset, holding.key, before, holding.amount))
    except EmulatedError as error:
        raise _rejected(error.message, error.details) from None


def _move(context: Context, source: Player, target: Player, gains: list[_Gain]) -> Data:
    """Move all rows of the source; return their counts for the result."""
    state, now = context.state, context.now
    for asset, holding, _ in gains:
        state.ledger.change(target.id, asset.kind, holding.key, holding.amount, now)
        # As with every change, newer metadata overrides older.
        metadata = json.loads(state.ledger.metadata(target.id, asset.kind, holding.key))
        metadata |= json.loads(holding.metadata)
        state.ledger.set_metadata(target.id, asset.kind, holding.key, dump_text(metadata))
    state.ledger.drop_holdings(source.id)
    # The target's own context snapshot stays; the source's fills a gap.
    context_snapshot = source.context if target.context is None else target.context
    state.players.set_context(target.id, context_snapshot, now)
    kinds = [gain.asset.kind for gain in gains]
    state.social.forget(source.id)
    return {
        "attemptsReassigned": state.attempts.move(source.id, target.id),
        "grantsReassigned": state.grants.move(source.id, target.id),
        "itemsMerged": kinds.count("item"),
        "itemLedgerRowsMoved": state.ledger.move("item", source.id, target.id),
        "walletsMerged": kinds.count("currency"),
        "walletLedgerRowsMoved": state.ledger.move("currency", source.id, target.id),
        "lobbiesTouched": state.lobbies.move(source.id, target.id),
        "leaderboardsScrubbed": state.scores.drop(source.id),
    }


def _view(call: Call, source_id: str, target_id: str, placeholder: str, merged_at: int) -> Data:
    return {
        "fromPlayerId": source_id,
        "fromExternalPlayerId": call.path["fromExternalId"],
        "toPlayerId": target_id,
        "toExternalPlayerId": call.path["toExternalId"],
        "anonymizedExternalPlayerId": placeholder,
        "counts": {
            "attemptsReassigned": 0,
            "grantsReassigned": 0,
            "itemsMerged": 0,
            "itemLedgerRowsMoved": 0,
            "walletsMerged": 0,
            "walletLedgerRowsMoved": 0,
            "lobbiesTouched": 0,
            "leaderboardsScrubbed": 0,
        },
        "mergedAt": iso(merged_at),
        "status": "merged",
    }


def _rejected(message: str, details: Any = None) -> EmulatedError:
    return EmulatedError("conflict", message, details, status=422)
