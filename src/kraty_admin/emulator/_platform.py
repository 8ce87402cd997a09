"""From a request to its answer, without a socket.

    identify -> count -> route -> authorise -> validate -> replay or handle -> commit

Everything that another run may want otherwise comes in from outside: the clock, the
source of ids, and the sink that hears of events.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID, uuid4

import attrs

from ._contract import Contract, Route, load_contract
from ._errors import EmulatedError, idempotency_conflict, invalid
from ._json import dump, fingerprint, parse, text_member
from ._operations import HANDLERS, REPLAYED_AS_UNAPPLIED, SELF_KEYED, Call, Emitted
from ._state import State
from ._world import DEFAULT_WORLD, ApiKey, World

__all__ = ["Answer", "Clock", "EventSink", "Platform", "Request", "SeenRequest"]

Clock = Callable[[], float]
"""Tells the time in seconds since the epoch, as `time.time` does."""

EventSink = Callable[[str, Mapping[str, Any]], object]
"""Hears of each event, by its name and its data, once it is committed."""

_REMEMBERED_MS: Final = 24 * 60 * 60 * 1000
"""How long an answer is kept for its idempotency key."""

_WINDOW: Final = 60
"""The seconds in which requests are counted together."""

_SEEN_LIMIT: Final = 1000
"""How many requests are kept: a batch may weigh 100 kB."""

_logger = logging.getLogger("kraty_admin.emulator")


@attrs.frozen(kw_only=True)
class Request:
    """A request as it came in."""

    method: str
    path: bytes
    """The path as it was sent, still escaped."""
    query: str = ""
    authorization: str = ""
    body: bytes = b""

    @property
    def shown_path(self) -> str:
        """The path for people."""
        return self.path.decode(errors="replace")


@attrs.frozen(kw_only=True)
class Answer:
    """What goes out."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen(kw_only=True)
class SeenRequest:
    """A request that the emulator has received, whatever became of it."""

    method: str
    """The HTTP method."""
    path: str
    """The path as it was sent, still escaped."""
    body: bytes
    """The body as it was sent."""

    @property
    def json(self) -> Any:
        """The body, parsed; `None` where there is none or it is not JSON."""
        try:
            return parse(self.body)
        except ValueError:
            return None

    @property
    def idempotency_key(self) -> str | None:
        """The key in the body, if any."""
        return text_member(self.json, "idempotencyKey")


class Platform:
    """An emulated Kraty: a world, what has become of it, and the time."""

    def __init__(
        self,
        state: State,
        *,
        world: World = DEFAULT_WORLD,
        contract: Contract | None = None,
        clock: Clock = time.time,
        new_uuid: Callable[[], UUID] = uuid4,
        sink: EventSink | None = None,
        requests_per_minute: int = 600_000,
    ) -> None:
        if requests_per_minute < 1:
            raise ValueError("requests_per_minute must be at least 1")
        self.state: Final = state
        self._contract = load_contract() if contract is None else contract
        self._world = world
        self._keys = {key.token: key for key in world.keys}
        self._clock = clock
        self._new_uuid = new_uuid
        self._sink = sink
        self._budget = requests_per_minute
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[int, int]] = {}
        self._seen: deque[SeenRequest] = deque(maxlen=_SEEN_LIMIT)

    def answer(self, request: Request) -> Answer:
        """Answer a request. Whatever goes wrong in doing so is an answer too."""
        key = self._keys.get(_bearer_token(request.authorization))
        now = self._clock()
        with self._lock:
            self._seen.append(
                SeenRequest(method=request.method, path=request.shown_path, body=request.body)
            )
            count, reset = self._count("" if key is None else key.id, now)
        headers = {
            "X-Request-Id": f"req_{self._new_uuid().hex}",
            "RateLimit-Limit": str(self._budget),
            "RateLimit-Remaining": str(max(self._budget - count, 0)),
            "RateLimit-Reset": str(reset),
        }
        emitted: list[Emitted] = []
        try:
            if count > self._budget:
                raise EmulatedError(
                    "rate_limited",
                    "Too many requests in this minute.",
                    headers={"Retry-After": str(reset)},
                )
            status, body = self._perform(request, key, now, emitted)
        except EmulatedError as error:
            status, body = error.status, dump(error.envelope())
            headers.update(error.headers)
        except Exception:
            # Whatever it was, the transaction is undone and the caller gets an answer.
            _logger.exception("%s %s failed", request.method, request.shown_path)
            failure = EmulatedError("internal_error", "The emulator failed; see its log.")
            status, body = failure.status, dump(failure.envelope())
        else:
            self._tell(emitted)
        _logger.info(
            "%s %s %d %s", request.method, request.shown_path, status, headers["X-Request-Id"]
        )
        return Answer(status=status, headers=headers, body=body)

    def seen(self) -> list[SeenRequest]:
        """The newest requests, oldest first."""
        with self._lock:
            return list(self._seen)

    def reset(self) -> None:
        """Forget every player, key and request."""
        self.state.reset()
        with self._lock:
            self._seen.clear()
            self._counts.clear()

    def _perform(
        self, request: Request, key: ApiKey | None, now: float, emitted: list[Emitted]
    ) -> tuple[int, bytes]:
        route, path = self._contract.find(request.method, request.path)
        if key is None:
            raise EmulatedError("unauthenticated", "The API key is missing or not valid.")
        if key.permission_set != "server_integration":
            raise EmulatedError("forbidden", "This needs a server_integration key.")
        if path.get("gameId", key.game_id) != key.game_id:
            raise EmulatedError("tenant_mismatch", "The key belongs to another game.")
        query, body = route.read_query(request.query), _read_body(route, request.body)
        if problems := route.problems(path, query, body):
            raise invalid(problems)
        call = Call(
            operation_id=route.operation_id,
            key=key,
            game=self._world.game(key.game_id),
            path=path,
            query=query,
            body=body,
            fingerprint=fingerprint([path, body]),
            now=round(now * 1000),
            new_uuid=self._new_uuid,
            row_problems=route.row_problems,
            emitted=emitted,
        )
        with self.state.transaction():
            status, data = self._replay_or_handle(call)
            # Inside, so that an answer that cannot be written undoes the call.
            return status, dump({"data": data} if route.enveloped else data)

    def _replay_or_handle(self, call: Call) -> tuple[int, dict[str, Any]]:
        handler = HANDLERS.get(call.operation_id)
        if handler is None:
            raise EmulatedError(
                "internal_error", f"The emulator does not do {call.operation_id}.", status=501
            )
        key = call.body.get("idempotencyKey")
        if key is None or call.operation_id in SELF_KEYED:
            return handler(call, self.state)
        earlier = self.state.answer(call.game.id, call.operation_id, key, call.now)
        if earlier is None:
            status, data = handler(call, self.state)
            self.state.remember_answer(
                game_id=call.game.id,
                operation=call.operation_id,
                idempotency_key=key,
                fingerprint=call.fingerprint,
                status=status,
                data=dump(data).decode(),
                expires_at=call.now + _REMEMBERED_MS,
                now=call.now,
            )
            return status, data
        if earlier["fingerprint"] != call.fingerprint:
            raise idempotency_conflict(key)
        data = json.loads(earlier["data"])
        if call.operation_id in REPLAYED_AS_UNAPPLIED:
            data["applied"] = False
        return earlier["status"], data

    def _count(self, counter: str, now: float) -> tuple[int, int]:
        """Count a request: how many there were in this window, and its seconds left."""
        window = math.floor(now / _WINDOW)
        counted_in, count = self._counts.get(counter, (window, 0))
        count = count + 1 if counted_in == window else 1
        self._counts[counter] = (window, count)
        return count, math.ceil((window + 1) * _WINDOW - now)

    def _tell(self, emitted: list[Emitted]) -> None:
        if self._sink is None:
            return
        for event in emitted:
            try:
                self._sink(event.name, event.data)
            except Exception:
                # The call is committed; a deaf listener does not change that.
                _logger.exception("The event sink failed at %s", event.name)


def _bearer_token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _read_body(route: Route, raw: bytes) -> Any:
    if route.body is None or not (raw or route.body_required):
        return {}
    try:
        return parse(raw)
    except ValueError as error:
        raise invalid([{"path": "", "message": f"the body is not JSON: {error}"}]) from None
