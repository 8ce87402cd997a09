"""`migrate`: bulk import. Each row has its own key and fails alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .._errors import EmulatedError, idempotency_conflict, invalid
from .._json import dump_text, fingerprint, text_member
from ._assets import Asset, move
from ._call import Call, Context, Data, Outcome
from ._upsert import upsert_player

__all__ = ["import_holding", "import_player", "migrate"]

ImportRow: TypeAlias = Callable[[Call, Context, Data], None]
"""Applies one row."""


def migrate(import_row: ImportRow, call: Call, context: Context) -> Outcome:
    """Apply the rows of a batch, each for itself. Migrations send no webhooks."""
    applied = skipped = 0
    failures: list[Data] = []
    for index, row in enumerate(call.body["rows"]):
        try:
            with context.state.savepoint():
                is_new = _apply(import_row, call, context, row)
        except EmulatedError as error:
            failures.append(_failure(index, row, error))
        else:
            applied += is_new
            skipped += not is_new
    counts = {"applied": applied, "skipped": skipped, "failed": len(failures)}
    return Outcome(200, {**counts, "failures": failures})


def import_player(call: Call, context: Context, row: Data) -> None:
    """Create or update a player."""
    player, _ = upsert_player(call, context, row["externalPlayerId"])
    if "contextSnapshot" in row:
        snapshot = dump_text(row["contextSnapshot"])
        context.state.players.set_context(player.id, snapshot, context.now)


def import_holding(asset: Asset, call: Call, context: Context, row: Data) -> None:
    """Add to a balance or to an item count."""
    key = row[asset.key_field]
    if key not in asset.keys(call.game):
        raise EmulatedError(asset.unknown_code, f"This game has no {asset.kind} {key}.")
    player, _ = upsert_player(call, context, row["externalPlayerId"])
    delta, parameters = row[asset.change_field], row.get("parameters")
    move(call, context, player, asset, key, delta, cause=row, parameters=parameters)


def _apply(import_row: ImportRow, call: Call, context: Context, row: Any) -> bool:
    """Apply a row; return false if it had been applied before."""
    if problems := call.row_problems(row):
        raise invalid(problems)
    answers, game_id = context.state.answers, call.game.id
    key, row_fingerprint = row["idempotencyKey"], fingerprint(row)
    earlier = answers.migrated_fingerprint(game_id, call.operation_id, key)
    if earlier is not None:
        if earlier != row_fingerprint:
            raise idempotency_conflict(key)
        return False
    import_row(call, context, row)
    answers.add_migrated(game_id, call.operation_id, key, row_fingerprint)
    return True


def _failure(index: int, row: Any, error: EmulatedError) -> Data:
    failure: Data = {"rowIndex": index, "error": {"code": error.code, "message": error.message}}
    name = text_member(row, "externalPlayerId")
    if name is not None:
        failure["externalPlayerId"] = name
    return failure
