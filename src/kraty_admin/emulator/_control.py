"""The control endpoints under `/_emulator/`, for other languages and processes.

Their JSON has the names of the Python API. They need no key: anyone who can connect can use them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import attrs

from ._changes import Changes
from ._checks import bounded, of_type
from ._clock import Clock, SeededIds
from ._errors import EmulatedError
from ._faults import Chaos, Fault
from ._game_client import GameClient
from ._pages import PAGE
from ._platform import Answer, Platform, Request
from ._session import Difference, Session
from ._snapshots import Snapshot
from ._state import LedgerEntry
from ._structure import parse_json, structure
from ._views import (
    delivery_views,
    faults_view,
    grant_views,
    lobby_views,
    player_views,
    request_view,
    world_view,
)
from ._webhooks import Webhooks
from ._wire import BODY_LIMIT, CONTROL, Connections
from ._world import Endpoint, World

__all__ = ["ControlApi", "Controls"]

T = TypeVar("T")

_logger = logging.getLogger("kraty_admin.emulator")


@attrs.define(kw_only=True)
class Controls:
    """The parts of an emulator that can be controlled."""

    platform: Platform
    clock: Clock
    webhooks: Webhooks
    game_client: GameClient
    connections: Connections
    changes: Changes
    world: World
    ids: SeededIds | None
    """The source of ids, if it has a seed."""
    game_id: str
    """The game whose ledger is shown by default."""
    requests_per_minute: int
    """The initial rate limit of each key."""
    snapshots: dict[str, Snapshot] = attrs.field(factory=dict[str, Snapshot])
    """The snapshots by name. They survive a reset."""
    began_empty: bool
    """Whether the state was empty before the first request that is kept."""

    def ledger(self, after: int, limit: int) -> list[LedgerEntry]:
        """Return some entries of the ledger, oldest first."""
        return self.platform.state.ledger.page(self.game_id, after=after, limit=limit)

    def reset(self) -> None:
        """Reset to the initial state. Run it in the server's thread, so that no call interferes."""
        self.connections.cut()
        self.platform.faults.reset()
        self.clock.reset()
        if self.ids is not None:
            self.ids.reset()
        self.platform.reset()
        self.platform.requests_per_minute = self.requests_per_minute
        self.webhooks.reset()
        self.began_empty = True
        self.changes.notify("reset")

    # Run the next three in the server's thread too, so that they see only complete calls.

    def take(self) -> Snapshot:
        """Copy the state."""
        return Snapshot.take(self.platform.state, self.clock, self.ids)

    def keep(self, name: str) -> None:
        """Keep a copy of the state under a name, and replace an earlier one."""
        earlier = self.snapshots.get(name)
        self.snapshots[name] = self.take()
        if earlier is not None:
            earlier.close()

    def drop_snapshots(self) -> None:
        """Delete all snapshots."""
        while self.snapshots:
            self.snapshots.popitem()[1].close()

    def apply(self, snapshot: Snapshot) -> None:
        """Reset to the initial state, but with the state of a snapshot."""
        self.reset()
        snapshot.apply(self.platform.state, self.clock, self.ids)
        self.began_empty = False
        self.webhooks.wake()

    def session(self) -> Session:
        """Return the requests so far.

        Raises:
            ValueError: The requests cannot be replayed. The message says why.
        """
        if self.ids is None:
            raise ValueError("a session needs an emulator with a seed: Emulator(seed=...)")
        if not self.began_empty:
            raise ValueError("the session began with a state that was not empty")
        return Session.of(self.platform.seen(), self.ids.seed)

    def replay_session(self, session: Session) -> list[Difference]:
        """Reset, and repeat the requests of a session, with their times and faults.

        Raises:
            ValueError: The emulator has another seed, or its world lacks an API key.
        """
        if self.ids is None or self.ids.seed != session.seed:
            raise ValueError(f"the session needs an emulator with its seed, {session.seed}")
        tokens = [each.authorization(self.world) for each in session.requests]
        self.reset()
        differences: list[Difference] = []
        for number, each in enumerate(session.requests, 1):
            self.clock.set(each.at)
            self.platform.requests_per_minute = each.requests_per_minute
            request = Request(
                method=each.method,
                path=each.path.encode(),
                query=each.query,
                authorization=tokens[number - 1],
                body=each.raw_body(),
            )
            found = attrs.evolve(self.platform.find(request), fault=each.fault)
            self.platform.perform(found)
            seen = self.platform.seen()[-1]
            replayed = f"{seen.status} {seen.answer.decode(errors='surrogateescape')}"
            recorded = f"{each.status} {each.answer}"
            if recorded != replayed:
                differences.append(
                    Difference(
                        number=number,
                        operation=each.operation,
                        recorded=recorded,
                        replayed=replayed,
                    )
                )
        return differences

    def restore(self, name: str) -> None:
        """Apply the snapshot with this name.

        Raises:
            ValueError: There is no such snapshot. The message lists those that exist.
        """
        if name not in self.snapshots:
            known = ", ".join(map(repr, sorted(self.snapshots))) or "none"
            raise ValueError(f"there is no snapshot {name!r}; there are: {known}")
        self.apply(self.snapshots[name])


@attrs.frozen(kw_only=True)
class _SetClock:
    """The body of `POST clock`."""

    set: datetime | None = None
    advance: float | None = None
    run: bool | None = None

    def __attrs_post_init__(self) -> None:
        wishes = [self.set is not None, self.advance is not None, self.run is True]
        if sum(wishes) != 1 or self.run is False:
            raise ValueError(
                'the clock takes {"set": <time>}, {"advance": <seconds>} or {"run": true}'
            )


@attrs.frozen(kw_only=True)
class _AddFaults:
    """The body of `POST faults`."""

    faults: Sequence[Fault | None]
    operation: str | None = None
    skip: int = 0
    times: int | None = 1


@attrs.define(kw_only=True)
class _SetChaos(Chaos):
    """The body of `POST chaos`."""

    operation: str | None = None


@attrs.frozen(kw_only=True)
class _SetRateLimit:
    """The body of `POST rate_limit`."""

    requests_per_minute: int = attrs.field(validator=[of_type(int), bounded(1, 10**9)])


@attrs.frozen(kw_only=True)
class _Trigger:
    """The body of `POST trigger`."""

    event_name: str
    external_player_id: str = "player_42"
    data: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class _Replay:
    """The body of `POST replay`."""

    event_id: str


@attrs.frozen(kw_only=True)
class _StartAttempt:
    """The body of `POST attempts`."""

    external_player_id: str
    event_key: str


@attrs.frozen(kw_only=True)
class _TwoPlayers:
    """The body of `POST friendships`, `POST friend_requests` and `POST blocks`."""

    external_player_id: str
    other_external_player_id: str


@attrs.frozen(kw_only=True)
class _NameSnapshot:
    """The body of `POST snapshot` and `POST restore`."""

    name: str


Query: TypeAlias = Mapping[str, str]
Act: TypeAlias = Callable[[Query, bytes], object]
"""Performs a request, and returns the value to answer with."""


class ControlApi:
    """Answers the requests under `/_emulator/`."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._acts: Mapping[str, Mapping[str, Act]] = {
            "ready": {"GET": lambda _query, _body: {"ok": True}},
            "reset": {"POST": self._reset},
            "snapshot": {"POST": self._take_snapshot},
            "restore": {"POST": self._restore},
            "clock": {"GET": self._clock, "POST": self._set_clock},
            "faults": {
                "GET": self._faults,
                "POST": self._add_faults,
                "DELETE": self._clear_faults,
            },
            "chaos": {"POST": self._set_chaos},
            "rate_limit": {"GET": self._rate_limit, "POST": self._set_rate_limit},
            "webhooks": {"POST": self._register},
            "trigger": {"POST": self._trigger},
            "replay": {"POST": self._replay},
            "attempts": {"POST": self._start_attempt},
            "friendships": {"POST": self._befriend},
            "friend_requests": {"POST": self._request_friendship},
            "blocks": {"POST": self._block},
            "ledger": {"GET": self._ledger},
            "requests": {"GET": self._requests},
            "deliveries": {"GET": self._deliveries},
            "players": {"GET": self._players},
            "grants": {"GET": self._grants},
            "lobbies": {"GET": self._lobbies},
            "world": {"GET": self._world},
        }

    def answer(self, method: str, name: str, query: str, body: bytes) -> Answer:
        """Answer a request.

        Args:
            name: The path after `/_emulator/`.

        Raises:
            EmulatedError: The request is rejected.
        """
        acts = self._acts.get(name)
        if acts is None:
            raise EmulatedError("not_found", f"There is no {CONTROL}{name}.")
        act = acts.get(method)
        if act is None:
            raise EmulatedError(
                "not_found",
                f"{CONTROL}{name} does not take {method}.",
                status=405,
                headers={"Allow": ", ".join(acts)},
            )
        try:
            shown = act(dict(parse_qsl(query, keep_blank_values=True)), body)
        except (OverflowError, TypeError, ValueError) as error:
            raise EmulatedError("validation_failed", str(error)) from None
        except Exception:
            _logger.exception("%s %s%s failed", method, CONTROL, name)
            raise EmulatedError("internal_error", "The emulator failed; see its log.") from None
        return Answer(status=200, headers={}, body=json.dumps(shown, default=_plain).encode())

    def _reset(self, query: Query, body: bytes) -> object:
        self._controls.reset()
        return {"ok": True}

    def _take_snapshot(self, query: Query, body: bytes) -> object:
        self._controls.keep(_read(body, _NameSnapshot).name)
        return {"snapshots": sorted(self._controls.snapshots)}

    def _restore(self, query: Query, body: bytes) -> object:
        self._controls.restore(_read(body, _NameSnapshot).name)
        return {"ok": True}

    def _clock(self, query: Query, body: bytes) -> object:
        clock = self._controls.clock
        return {"now": clock.now, "is_running": clock.is_running}

    def _set_clock(self, query: Query, body: bytes) -> object:
        clock, wish = self._controls.clock, _read(body, _SetClock)
        if wish.set is not None:
            clock.set(wish.set)
        elif wish.advance is not None:
            clock.advance(wish.advance)
        else:
            clock.run()
        return self._clock(query, body)

    def _faults(self, query: Query, body: bytes) -> object:
        return faults_view(self._controls.platform.faults)

    def _add_faults(self, query: Query, body: bytes) -> object:
        wish = _read(body, _AddFaults)
        self._controls.platform.faults.add(
            *wish.faults, operation=wish.operation, skip=wish.skip, times=wish.times
        )
        return self._faults(query, body)

    def _clear_faults(self, query: Query, body: bytes) -> object:
        self._controls.platform.faults.clear()
        return self._faults(query, body)

    def _set_chaos(self, query: Query, body: bytes) -> object:
        wish = _read(body, _SetChaos)
        self._controls.platform.faults.chaos(
            wish.rate,
            seed=wish.seed,
            after=wish.after,
            seconds=wish.seconds,
            operation=wish.operation,
        )
        return self._faults(query, body)

    def _rate_limit(self, query: Query, body: bytes) -> object:
        return {"requests_per_minute": self._controls.platform.requests_per_minute}

    def _set_rate_limit(self, query: Query, body: bytes) -> object:
        platform = self._controls.platform
        platform.requests_per_minute = _read(body, _SetRateLimit).requests_per_minute
        return self._rate_limit(query, body)

    def _register(self, query: Query, body: bytes) -> object:
        endpoint = _read(body, Endpoint)
        self._controls.webhooks.register(endpoint.url, endpoint.secret, events=endpoint.events)
        return {"ok": True}

    def _trigger(self, query: Query, body: bytes) -> object:
        wish = _read(body, _Trigger)
        event_id = self._controls.webhooks.trigger(
            wish.event_name, external_player_id=wish.external_player_id, data=wish.data
        )
        return {"event_id": event_id}

    def _replay(self, query: Query, body: bytes) -> object:
        self._controls.webhooks.replay(_read(body, _Replay).event_id)
        return {"ok": True}

    def _start_attempt(self, query: Query, body: bytes) -> object:
        wish = _read(body, _StartAttempt)
        client = self._controls.game_client
        return {"id": client.start_attempt(wish.external_player_id, wish.event_key)}

    def _befriend(self, query: Query, body: bytes) -> object:
        wish = _read(body, _TwoPlayers)
        self._controls.game_client.befriend(wish.external_player_id, wish.other_external_player_id)
        return {"ok": True}

    def _request_friendship(self, query: Query, body: bytes) -> object:
        wish = _read(body, _TwoPlayers)
        client = self._controls.game_client
        asked = client.request_friendship(wish.external_player_id, wish.other_external_player_id)
        return {"id": asked}

    def _block(self, query: Query, body: bytes) -> object:
        wish = _read(body, _TwoPlayers)
        self._controls.game_client.block(wish.external_player_id, wish.other_external_player_id)
        return {"ok": True}

    def _ledger(self, query: Query, body: bytes) -> object:
        after, limit = _page(query)
        return self._controls.platform.state.ledger.page(
            None if query.get("game_id") == "*" else self._game_id(query),
            query.get("external_player_id"),
            after=after,
            limit=limit,
            newest=_is_newest_first(query),
        )

    def _requests(self, query: Query, body: bytes) -> object:
        after, limit = _page(query)
        max_body = _number("max_body", query.get("max_body", str(BODY_LIMIT)), 0, BODY_LIMIT)
        seen = self._controls.platform.seen()
        if _is_newest_first(query):
            seen = [each for each in reversed(seen) if not after or each.number < after]
        else:
            seen = [each for each in seen if each.number > after]
        state = self._controls.platform.state
        return [request_view(each, state, max_body) for each in seen[:limit]]

    def _deliveries(self, query: Query, body: bytes) -> object:
        controls = self._controls
        deliveries = controls.webhooks.page(*_page(query), newest=_is_newest_first(query))
        return delivery_views(controls.platform.state, controls.webhooks, deliveries)

    def _players(self, query: Query, body: bytes) -> object:
        return player_views(
            self._controls.platform.state,
            self._game_id(query),
            query.get("prefix", ""),
            query.get("after", ""),
            _limit(query),
        )

    def _grants(self, query: Query, body: bytes) -> object:
        return grant_views(self._controls.platform.state, self._now(), *_page(query))

    def _lobbies(self, query: Query, body: bytes) -> object:
        return lobby_views(self._controls.platform.state, self._now(), *_page(query))

    def _world(self, query: Query, body: bytes) -> object:
        return world_view(self._controls.world, self._controls.platform.state)

    def _game_id(self, query: Query) -> str:
        game_id = query.get("game_id", self._controls.game_id)
        games = sorted(game.id for game in self._controls.world.games)
        if game_id not in games:
            raise ValueError(f"there is no game {game_id!r}; the games are {', '.join(games)}")
        return game_id

    def _now(self) -> int:
        return round(self._controls.clock() * 1000)


def _page(query: Query) -> tuple[int, int]:
    """Return the requested part of a list: after which number, and how many entries."""
    return _number("after", query.get("after", "0"), 0, 2**63 - 1), _limit(query)


def _limit(query: Query) -> int:
    return _number("limit", query.get("limit", str(PAGE)), 1, PAGE)


def _is_newest_first(query: Query) -> bool:
    order = query.get("order", "oldest")
    if order not in ("oldest", "newest"):
        raise ValueError(f"order must be oldest or newest, not {order!r}")
    return order == "newest"


def _number(name: str, text: str, low: int, high: int) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) < 20
    if not is_number or not low <= int(text) <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def _read(body: bytes, kind: type[T]) -> T:
    try:
        members = parse_json(body)
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    return structure(members, kind, "body")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return attrs.asdict(value, recurse=False)
