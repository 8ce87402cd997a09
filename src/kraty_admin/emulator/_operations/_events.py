"""`events`: progress of attempts that a game client has started."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from .._errors import EmulatedError, invalid
from .._json import dump_text
from .._state import Attempt, Player
from .._times import iso, optional_iso
from .._world import Event
from ._call import Call, Context, Data, Outcome, WebhookEvent
from ._upsert import find_player

__all__ = ["attempts_view", "finish_attempt", "report_progress"]

_ONLY_METRIC = "value"
"""The emulator's name for the metric of an event with a single metric."""


def report_progress(call: Call, context: Context) -> Outcome:
    """Change the metrics of an attempt that has not ended."""
    _, event, attempt = _find(call, context)
    body = call.body
    if ("metricValue" in body) == ("metrics" in body):
        raise invalid([{"path": "", "message": "either metricValue or metrics is required"}])
    if not event.enabled:
        raise EmulatedError("event_disabled", "The event is disabled.")
    status = _status(attempt, context.now)
    if status != "in_progress":
        raise EmulatedError("conflict", "The attempt has ended.", {"status": status})
    metrics: dict[str, float] = json.loads(attempt.metrics)
    for name, value in body.get("metrics", {_ONLY_METRIC: body.get("metricValue")}).items():
        before = metrics.get(name, 0) if body["mode"] == "increment" else 0
        metrics[name] = before + value
    # The score is the sum of all metrics, and can be too large although each metric is valid.
    if not math.isfinite(sum(metrics.values())):
        raise invalid([{"path": "metrics", "message": "the sum is too large"}])
    context.state.attempts.set_metrics(attempt.id, dump_text(metrics))
    changed = attempt._replace(metrics=dump_text(metrics))
    # The world has no milestones.
    return Outcome(200, {"attempt": _view(changed, context.now), "milestonesFired": []})


def finish_attempt(call: Call, context: Context) -> Outcome:
    """End an attempt with its current score. Ending it again changes nothing."""
    player, _, attempt = _find(call, context)
    status = _status(attempt, context.now)
    if status != "in_progress":
        return Outcome(200, {"attempt": _view(attempt, context.now), "outcome": status})
    context.state.attempts.complete(attempt.id, context.now)
    finished = _view(attempt._replace(completed_at=context.now), context.now)
    data = {"externalPlayerId": player.external_id, "attempt": finished}
    event = WebhookEvent(name="event.completed", data=data)
    return Outcome(200, {"attempt": finished, "outcome": "completed"}, [event])


def attempts_view(attempts: Sequence[Attempt], now: int) -> list[Data]:
    """Return attempts in the form of profiles and exports."""
    return [_view(attempt, now) for attempt in attempts]


def _find(call: Call, context: Context) -> tuple[Player, Event, Attempt]:
    player = find_player(call, context)
    event = call.game.event(call.path["eventKey"])
    if event is None:
        raise EmulatedError("not_found", "This game has no such event.")
    attempt = context.state.attempts.find(player.id, event.key, call.path["attemptId"])
    if attempt is None:
        raise EmulatedError("not_found", "The player has no such attempt at this event.")
    return player, event, attempt


def _view(attempt: Attempt, now: int) -> Data:
    metrics: dict[str, float] = json.loads(attempt.metrics)
    return {
        "id": attempt.id,
        "eventId": f"evt_{attempt.event_key}",
        "eventWindowId": f"win_{attempt.event_key}",
        "leaderboardId": f"ldb_{attempt.event_key}",
        "playerId": attempt.player_id,
        "startedAt": iso(attempt.started_at),
        "endsAt": iso(attempt.ends_at),
        "completedAt": optional_iso(attempt.completed_at),
        "metrics": metrics,
        "metricsRaw": metrics,
        "score": sum(metrics.values()),
        "status": _status(attempt, now),
    }


def _status(attempt: Attempt, now: int) -> str:
    if attempt.completed_at is not None:
        return "completed"
    return "expired" if attempt.ends_at <= now else "in_progress"
