"""`leaderboards`: scores that a studio's backend reports."""

from __future__ import annotations

from .._errors import EmulatedError
from ._call import Call, Context, Outcome
from ._upsert import upsert_player

__all__ = ["submit_score"]


def submit_score(call: Call, context: Context) -> Outcome:
    """Record a score. A player keeps the highest one."""
    key, segment = call.path["key"], call.body.get("segment", "")
    board = call.game.leaderboard(key)
    if board is None:
        raise EmulatedError("not_found", "This game has no such leaderboard.")
    if not board.takes_scores:
        raise EmulatedError("score_not_supported", "The leaderboard ranks by progression.")
    player, registered = upsert_player(call, context, call.body["externalPlayerId"])
    scores, game_id = context.state.scores, call.game.id
    score = scores.raise_to(game_id, key, segment, player.id, call.body["value"])
    rank = 1 + scores.count_above(game_id, key, segment, score)
    return Outcome(200, {"leaderboardId": f"ldb_{key}", "score": score, "rank": rank}, registered)
