"""From a request to its answer, without a socket.

    route -> identify -> count -> authorise -> validate -> replay or handle -> commit

A fault before the commit skips all steps after the count, unless it only delays them.

The caller passes in the clock, the source of ids and the faults.
"""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import attrs

from ._clock import ordered_uuid
from ._contract import Contract, Route, load_contract
from ._errors import EmulatedError, idempotency_conflict, invalid
from ._faults import Fault, Faults
from ._json import dump, dump_text, fingerprint, parse, text_member
from ._operations import OPERATIONS, Call, Context
from ._state import EventRow, KeyedAnswer, State
from ._times import moment
from ._world import DEFAULT_WORLD, ApiKey, World

__all__ = ["Answer", "Effect", "Now", "Platform", "Request", "SeenRequest", "refusal"]

Now = Callable[[], float]
"""Returns the time in seconds since the epoch, like `time.time`."""

_WINDOW: Final = 60
"""The length of a rate-limit window, in seconds."""

_SEEN_LIMIT: Final = 1000
"""How many requests are kept at most."""

_SEEN_BYTES: Final = 16 * 1024 * 1024
"""How many bytes of bodies and answers are kept at most."""

_LOGGED_PATH: Final = 200
"""How many characters of a path the log shows."""

_logger = logging.getLogger("kraty_admin.emulator")


@attrs.frozen(kw_only=True)
class Request:
    """A request as it was received."""

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


Requested: TypeAlias = tuple[Route, dict[str, str]] | EmulatedError
"""The requested operation and its path's parameters, or the reason why there is none."""


@attrs.frozen(kw_only=True)
class Received:
    """A request, its operation and its fault."""

    request: Request
    requested: Requested
    name: str | None
    """The SDK's name of the operation; `None` if there is no such operation."""
    fault: Fault | None
    """Its fault, if any."""


@attrs.frozen(kw_only=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    breaks: Fault | None = None
    """The fault that breaks its connection, if any."""


Effect: TypeAlias = Literal["done", "replayed", "rejected", "prevented"]
"""The effect of a request, even if a fault lost its answer.

- `done`: it took effect
- `replayed`: an earlier request with the same key took effect; this one changed nothing
- `rejected`: the platform rejected it
- `prevented`: a fault happened before the commit
"""


class Work(NamedTuple):
    """The work that the platform did for a request."""

    effect: Effect
    ledger_numbers: range = range(0)
    """The numbers of the ledger entries that it made."""
    idempotency_key: str | None = None
    """The key in the body, if the body was read."""


_REJECTED: Final = Work("rejected")
_PREVENTED: Final = Work("prevented")


@attrs.frozen(kw_only=True)
class SeenRequest:
    """A request that the emulator has received."""

    number: int
    """Its place among all requests since the start or the last reset, from 1."""
    at: datetime
    """When it arrived, by the emulator's clock."""
    request_id: str
    """The `X-Request-Id` of its answer, which the SDK's errors show."""
    method: str
    """The HTTP method."""
    path: str
    """The path as it was sent, still escaped."""
    query: str
    """The query as it was sent, without the question mark."""
    key_id: str | None
    """The id of its API key; empty for an unknown key, `None` without an Authorization header."""
    requests_per_minute: int
    """The rate limit at the time of its arrival."""
    body: bytes
    """The body as it was sent."""
    operation: str | None
    """Its operation, such as `wallet.credit`; `None` if the path does not exist."""
    fault: Fault | None
    """Its fault, if any."""
    idempotency_key: str | None
    """The key in the body, if any."""
    attempt: int
    """Its number among the requests with its path and key, starting at 1.

    The numbers start again once none of these requests is kept.
    """
    status: int | None
    """The status of its answer; `None` if no answer was sent."""
    answer: bytes
    """The body of its answer, even if a fault lost the answer."""
    effect: Effect
    """Its effect: `done`, `replayed`, `rejected`, or `prevented` by a fault."""
    ledger_numbers: range
    """The numbers of the ledger entries that it made; empty if it made none."""

    @property
    def json(self) -> Any:
        """The parsed body; `None` if there is none, or if it is not JSON."""
        try:
            return parse(self.body)
        except ValueError:
            return None


class _Tries(NamedTuple):
    """The requests with one path and key."""

    last: int
    """The attempt number of the newest."""
    kept: int
    """How many of them are kept."""


class Platform:
    """An emulated Kraty without a server: it answers requests."""

    def __init__(
        self,
        state: State,
        *,
        world: World = DEFAULT_WORLD,
        contract: Contract | None = None,
        clock: Now = time.time,
        new_uuid: Callable[[], UUID] = ordered_uuid,
        faults: Faults | None = None,
        requests_per_minute: int = 600_000,
        on_deliveries: Callable[[], object] = lambda: None,
        on_request: Callable[[], object] = lambda: None,
        on_settings: Callable[[], object] = lambda: None,
    ) -> None:
        self.state: Final = state
        self.faults: Final = Faults() if faults is None else faults
        self._contract = load_contract() if contract is None else contract
        self._world = world
        self._keys = {key.token: key for key in world.keys}
        self._clock = clock
        self._new_uuid = new_uuid
        self._on_deliveries = on_deliveries
        self._on_request = on_request
        self._on_settings = on_settings
        self.requests_per_minute = requests_per_minute
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[int, int]] = {}
        self._seen: deque[SeenRequest] = deque()
        self._seen_bytes = 0
        self._seen_count = 0
        self._tries: dict[tuple[str, str], _Tries] = {}

    @property
    def requests_per_minute(self) -> int:
        """How many requests each key has per minute, at least 1."""
        return self._budget

    @requests_per_minute.setter
    def requests_per_minute(self, value: int) -> None:
        if value < 1:
            raise ValueError("requests_per_minute must be at least 1")
        self._budget = value
        self._on_settings()

    def answer(self, request: Request) -> Answer:
        """Answer a request. Failures are answers too; nothing is raised."""
        return self.perform(self.receive(request))

    def receive(self, request: Request) -> Received:
        """Find the operation of a request, and draw its fault."""
        found = self.find(request)
        fault = self.faults.draw(found.name)
        return found if fault is None else attrs.evolve(found, fault=fault)

    def find(self, request: Request) -> Received:
        """Find the operation of a request, without a fault."""
        try:
            requested: Requested = self._contract.find(request.method, request.path)
        except EmulatedError as error:
            requested = error
        name = None if isinstance(requested, EmulatedError) else requested[0].name
        return Received(request=request, requested=requested, name=name, fault=None)

    def perform(self, received: Received) -> Answer:
        """Perform a request, unless a fault prevents it, and answer it."""
        request, fault = received.request, received.fault
        key = self._keys.get(_bearer_token(request.authorization))
        now = self._clock()
        with self._lock:
            count, reset = self._count("" if key is None else key.id, now)
        headers = {
            "X-Request-Id": f"req_{self._new_uuid().hex}",
            "RateLimit-Limit": str(self._budget),
            "RateLimit-Remaining": str(max(self._budget - count, 0)),
            "RateLimit-Reset": str(reset),
        }
        if fault is not None and fault.prevents:
            # A connection fault needs a placeholder answer to cut off.
            answer, work = Answer(status=200, headers=headers, body=b'{"data":{}}'), _PREVENTED
        else:
            answer, work = self._honest(headers, received, key, now, count > self._budget)
        if fault is not None:
            answer = _mishandled(answer, fault)
        if work.effect in ("rejected", "prevented"):
            work = work._replace(idempotency_key=_idempotency_key(request.body))
        key_id = None if not request.authorization else "" if key is None else key.id
        with self._lock:
            self._see(received, answer, work, now, headers["X-Request-Id"], key_id)
        self._on_request()
        if _logger.isEnabledFor(logging.INFO):
            _log(received, answer)
        return answer

    def seen(self) -> list[SeenRequest]:
        """Return the newest requests, oldest first."""
        with self._lock:
            return list(self._seen)

    def reset(self) -> None:
        """Delete all players, keys and requests."""
        self.state.reset()
        with self._lock:
            self._seen.clear()
            self._seen_bytes = 0
            self._seen_count = 0
            self._tries.clear()
            self._counts.clear()

    def _see(
        self,
        received: Received,
        answer: Answer,
        work: Work,
        now: float,
        request_id: str,
        key_id: str | None,
    ) -> None:
        """Keep a request, and drop old ones that exceed the limits."""
        request, fault, key = received.request, received.fault, work.idempotency_key
        is_lost = fault is not None and fault.kind in ("drop", "reset", "stall")
        self._seen_count += 1
        path = request.shown_path
        last, kept = (0, 0) if key is None else self._tries.get((path, key), (0, 0))
        if key is not None:
            self._tries[path, key] = _Tries(last + 1, kept + 1)
        self._seen.append(
            SeenRequest(
                number=self._seen_count,
                at=moment(round(now * 1000)),
                request_id=request_id,
                method=request.method,
                path=path,
                query=request.query,
                key_id=key_id,
                requests_per_minute=self._budget,
                body=request.body,
                operation=received.name,
                fault=fault,
                idempotency_key=key,
                attempt=last + 1,
                status=None if is_lost else answer.status,
                answer=answer.body,
                effect=work.effect,
                ledger_numbers=work.ledger_numbers,
            )
        )
        self._seen_bytes += len(request.body) + len(answer.body)
        while len(self._seen) > _SEEN_LIMIT or self._seen_bytes > _SEEN_BYTES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = self._seen.popleft()
        self._seen_bytes -= len(oldest.body) + len(oldest.answer)
        if oldest.idempotency_key is not None:
            tried = oldest.path, oldest.idempotency_key
            last, kept = self._tries.pop(tried)
            if kept > 1:
                self._tries[tried] = _Tries(last, kept - 1)

    def _honest(
        self,
        headers: Mapping[str, str],
        received: Received,
        key: ApiKey | None,
        now: float,
        is_too_much: bool,
    ) -> tuple[Answer, Work]:
        """Return the answer without the fault, with the common headers, and the work done."""
        request = received.request
        try:
            if is_too_much:
                raise EmulatedError(
                    "rate_limited",
                    "Too many requests in this minute.",
                    headers={"Retry-After": headers["RateLimit-Reset"]},
                )
            route, call = self._call(received, key)
            status, body, has_deliveries, work = self._commit(route, call, round(now * 1000))
        except EmulatedError as error:
            return refusal(error, headers), _REJECTED
        except Exception as error:
            # The transaction is rolled back, and the caller gets an answer in any case.
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                message = "Another program has locked the emulator's database."
                locked = EmulatedError("internal_error", message, status=503)
                return refusal(locked, headers), _REJECTED
            _logger.exception("%s %s failed", request.method, request.shown_path)
            failure = EmulatedError("internal_error", "The emulator failed; see its log.")
            return refusal(failure, headers), _REJECTED
        if has_deliveries:
            self._on_deliveries()
        return Answer(status=status, headers=headers, body=body), work

    def _call(self, received: Received, key: ApiKey | None) -> tuple[Route, Call]:
        """Check a request against the key and the contract."""
        request, requested = received.request, received.requested
        if isinstance(requested, EmulatedError):
            raise requested
        route, path = requested
        if key is None and not request.authorization:
            raise EmulatedError("unauthenticated", "The Authorization header is missing.")
        if key is None:
            raise EmulatedError("session_invalid", "The API key is malformed or not known.")
        if key.permission_set != "server_integration":
            raise EmulatedError("forbidden", "This needs a server_integration key.")
        if path.get("gameId", key.game_id) != key.game_id:
            raise EmulatedError("forbidden", "The key belongs to another game.")
        query, body = route.read_query(request.query), _read_body(route, request.body)
        if problems := route.problems(path, query, body):
            raise invalid(problems)
        # Before the fingerprint: a body that contains a default value is the same request.
        body = {**route.defaults, **body}
        return route, Call(
            operation_id=route.operation_id,
            name=route.name,
            key=key,
            game=self._world.game(key.game_id),
            path=path,
            query=query,
            body=body,
            fingerprint=_fingerprint(path, query, body),
            row_problems=route.row_problems,
        )

    def _commit(self, route: Route, call: Call, now: int) -> tuple[int, bytes, bool, Work]:
        """Perform a call, record its events and store its answer, in one transaction.

        Returns:
            The status, the body, whether there is an event to deliver, and the work done.
        """
        operation = OPERATIONS.get(call.operation_id)
        if operation is None:
            raise EmulatedError(
                "internal_error", f"The emulator lacks {call.operation_id}.", status=501
            )
        context = Context(state=self.state, now=now, new_uuid=self._new_uuid)
        key = None if operation.remembered_ms is None else call.body.get("idempotencyKey")
        with self.state.transaction():
            earlier = None if key is None else _earlier(call, context, key)
            if earlier is not None:
                data = earlier.data
                if operation.replay == "unapplied":
                    data = dump_text({**json.loads(data), "applied": False})
                work = Work("replayed", range(0), key)
                return earlier.status, _body(route, earlier.status, data), False, work
            appended = self.state.ledger.appended
            outcome = operation.handler(call, context)
            # Inside the transaction, so that an answer that cannot be encoded rolls it back.
            data = dump_text(outcome.data)
            if key is not None:
                self.state.answers.add(
                    call.game.id,
                    call.operation_id,
                    key,
                    KeyedAnswer(call.fingerprint, outcome.status, data),
                    now=now,
                    expires_at=now + (operation.remembered_ms or 0),
                )
            deliveries = 0
            for event in outcome.events:
                deliveries += self.state.deliveries.add_event(
                    EventRow(
                        context.new_id("evt"),
                        event.name,
                        call.game.studio_id,
                        call.game.id,
                        now,
                        dump_text(event.data),
                    )
                )
            made = self.state.ledger.newest_numbers(self.state.ledger.appended - appended)
            key = text_member(call.body, "idempotencyKey")
            work = Work("replayed" if outcome.is_replay else "done", made, key)
            return outcome.status, _body(route, outcome.status, data), deliveries > 0, work

    def _count(self, counter: str, now: float) -> tuple[int, int]:
        """Count a request; return the count of this window and the seconds until it ends."""
        window = math.floor(now / _WINDOW)
        counted_in, count = self._counts.get(counter, (window, 0))
        count = count + 1 if counted_in == window else 1
        self._counts[counter] = (window, count)
        return count, math.ceil((window + 1) * _WINDOW - now)


def _fingerprint(path: Mapping[str, str], query: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    if "idempotencyKey" not in body:
        return ""
    # An empty query is left out, so that the hashes in older databases still match.
    return fingerprint([path, body, query] if query else [path, body])


def _earlier(call: Call, context: Context, key: str) -> KeyedAnswer | None:
    """Return the first answer to this call; `None` if the key is new or has expired."""
    earlier = context.state.answers.find(call.game.id, call.operation_id, key, context.now)
    if earlier is None:
        return None
    if earlier.fingerprint != call.fingerprint:
        raise idempotency_conflict(key)
    return earlier


def _body(route: Route, status: int, data: str) -> bytes:
    if status == 204:
        return b""
    return (f'{{"data":{data}}}' if route.enveloped else data).encode()


def _bearer_token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def refusal(error: EmulatedError, headers: Mapping[str, str] | None = None) -> Answer:
    """Return the answer for an error, with these headers and the error's own."""
    return Answer(
        status=error.status,
        headers={**(headers or {}), **error.headers},
        body=dump(error.envelope()),
    )


def _mishandled(answer: Answer, fault: Fault) -> Answer:
    """Apply a fault to an answer. The server applies faults of the connection."""
    if fault.kind == "status" and fault.html:
        headers = {"Content-Type": "text/html", **fault.headers}
        page = f"<html><body><h1>{fault.status}</h1></body></html>".encode()
        return attrs.evolve(answer, status=fault.status, headers=headers, body=page)
    if fault.kind == "status":
        error = EmulatedError(
            fault.error_code,
            "This went wrong on purpose.",
            status=fault.status,
            headers=fault.headers,
        )
        return refusal(error, answer.headers)
    if fault.kind == "invalid_json":
        return attrs.evolve(answer, body=answer.body[: len(answer.body) // 2])
    if fault.kind == "content_type":
        return attrs.evolve(answer, headers={**answer.headers, "Content-Type": "text/plain"})
    return answer if fault.kind == "delay" else attrs.evolve(answer, breaks=fault)


def _idempotency_key(body: bytes) -> str | None:
    try:
        return text_member(parse(body), "idempotencyKey")
    except ValueError:
        return None


def _log(received: Received, answer: Answer) -> None:
    request, fault = received.request, received.fault
    path = request.shown_path
    if len(path) > _LOGGED_PATH:
        path = f"{path[:_LOGGED_PATH]}..."
    request_id = answer.headers.get("X-Request-Id", "")
    _logger.info(
        "%s %s %d %s%s",
        request.method,
        path,
        answer.status,
        request_id,
        "" if fault is None else f" ({fault.name})",
        extra={
            "members": {
                "method": request.method,
                "path": path,
                "operation": received.name,
                "status": answer.status,
                "request_id": request_id,
                "fault": None if fault is None else fault.name,
            }
        },
    )


def _read_body(route: Route, raw: bytes) -> Any:
    if route.body is None or not (raw or route.body_required):
        return {}
    try:
        return parse(raw)
    except ValueError as error:
        raise invalid([{"path": "", "message": f"the body is not JSON: {error}"}]) from None
