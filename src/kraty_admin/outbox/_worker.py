"""The worker that sends recorded intents: claim, send, record the outcome.

`Worker` and `AsyncWorker` are written alike on purpose. Their decisions are in `_life`, their
SQL is in `_store`, and the state that their threads or tasks share is in `Work`.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

import sqlalchemy as sa

from kraty_server_api.intent import Intent
from kraty_server_api.model import Model
from kraty_server_api.models import ServerPingResponse
from kraty_server_api.operation import Operation
from kraty_server_api.outbox import REBUILD

from .._call._callbacks import check_plain
from .._call._exchange import Exchange
from .._call._game import game_of
from .._call._retry import RetryConfig
from .._client import KratyAdmin, KratyAdminAsync
from ..errors import KratyClosedError, KratyError, KratyServerError
from . import _store  # pyright: ignore[reportPrivateUsage]  # our own module
from ._errors import OutboxError
from ._life import Claim, Health, Settlement, asked_to_wait, denies_key, settle
from ._store import Target
from ._tables import Tables

if TYPE_CHECKING:
    import asyncio

    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["AsyncWorker", "DrainReport", "Work", "Worker", "target_of", "target_of_async"]

R = TypeVar("R")

_log: Final = logging.getLogger("kraty_admin")

_MARGIN: Final = 60.0
"""How many seconds a lease lasts beyond the call's deadline. They cover the statements before
and after the call."""

_LONGEST_DEADLINE: Final = 1800.0

_EXPIRE_EVERY: Final = 60.0

_STEP: Final = 0.2

_ONCE: Final = RetryConfig(attempts=1)

Outcome: TypeAlias = Model | KratyError

Stopped: TypeAlias = Literal["empty", "limit", "time", "stop"]


class DrainReport(NamedTuple):
    """What a worker did."""

    done: int
    """Intents that took effect."""
    refused: int
    """Intents that the platform rejected."""
    unknown: int
    """Intents that stopped, because they may have taken effect and their keys are too old."""
    retried: int
    """Attempts after which the intent is sent again later: there was no definite answer, or
    nothing was sent."""
    stopped_by: Stopped
    """Why the worker ended: nothing is due (`empty`), `limit` or `seconds` is reached, or `stop`
    was set. After `empty`, intents may still wait for their next attempt, or be `sending` by
    another worker: `outbox.status` counts them."""


class Work:
    """State that a worker's threads or tasks share: limits, counts, the platform's health."""

    def __init__(
        self,
        client: KratyAdmin | KratyAdminAsync,
        tables: Tables,
        *,
        in_flight: int,
        limit: int | None = None,
        seconds: float | None = None,
        poll: float | None = None,
        on_refused: Callable[[Intent[Any]], object] | None,
        on_unknown: Callable[[Intent[Any]], object] | None,
    ) -> None:
        _check_int("in_flight", in_flight)
        if limit is not None:
            _check_int("limit", limit)
        if seconds is not None and not seconds > 0:
            raise ValueError("seconds must be above 0, or None for no limit")
        if poll is not None and not poll > 0:
            raise ValueError("poll must be above 0")
        for name, callback in (("on_refused", on_refused), ("on_unknown", on_unknown)):
            if callback is not None:
                check_plain(name, callback)
        deadline = client._settings.deadline  # pyright: ignore[reportPrivateUsage]  # ours
        if deadline > _LONGEST_DEADLINE:
            raise ValueError(
                f"a worker needs a client with a deadline of at most {_LONGEST_DEADLINE:.0f} s, "
                "because no other worker may send the intent until then: use "
                "kraty.with_options(deadline=120)"
            )
        self.tables = tables
        self.limiter = client._limiter  # pyright: ignore[reportPrivateUsage]  # ours
        self.target = 0
        self.in_flight = in_flight
        self.poll = poll
        self.health = Health()
        self._mutex = threading.Lock()
        self.ended_by: Stopped | None = None
        self._counts = {"done": 0, "refused": 0, "unknown": 0, "pending": 0}
        self.lease = deadline + _MARGIN
        """For how many seconds no other worker may take a claimed intent."""
        self._left = limit
        self._ends_at = math.inf if seconds is None else time.monotonic() + seconds
        self._expires_at = -math.inf
        self._on_refused = on_refused
        self._on_unknown = on_unknown

    def is_over(self, is_stopped: bool) -> bool:
        """Return whether nothing new may begin.

        Args:
            is_stopped: Whether the caller's `stop` is set.
        """
        if is_stopped:
            self.ended_by = self.ended_by or "stop"
        if time.monotonic() >= self._ends_at:
            self.ended_by = self.ended_by or "time"
        return self.ended_by is not None or self._left == 0

    def may_claim(self) -> bool:
        """Return whether another intent may be sent, and count it."""
        with self._mutex:
            if self.is_over(False):
                return False
            if self._left is not None:
                self._left -= 1
            return True

    def take_turn(self) -> float:
        """Reserve a place for a call. Return 0, or the seconds to wait before trying again."""
        with self._mutex:
            return self.limiter.take(time.monotonic())

    def end_turn(self, outcome: Outcome | None) -> None:
        """Release the place of a call, after its outcome or without one."""
        now = time.monotonic()
        headers: Mapping[str, str] = {}
        if isinstance(outcome, KratyServerError):
            headers = outcome.headers
            if outcome.status == 429:
                self.limiter.hold(asked_to_wait(outcome), now)
        elif isinstance(outcome, Model):
            headers = outcome.http.headers
        with self._mutex:
            self.limiter.done(headers, now, time.time())

    def found_nothing(self) -> None:
        """Undo the count of `may_claim`."""
        with self._mutex:
            if self._left is not None:
                self._left += 1

    def must_expire(self) -> bool:
        """Return whether to look for keys that are too old; true once a minute."""
        return time.monotonic() >= self._expires_at

    def claim(self, connection: sa.Connection) -> Claim | None:
        """Claim the next intent."""
        only = self.health.only_in_doubt(time.monotonic())
        lease_ms = round(self.lease * 1000)
        found = _store.claim(
            connection, self.tables, self.target, lease_ms=lease_ms, only_in_doubt=only
        )
        if found is not None:
            self.health.began(found, time.monotonic())
        elif only and not _store.has_any_in_doubt(connection, self.tables, self.target):
            self.health.nothing_in_doubt()
        return found

    def expire(self, connection: sa.Connection) -> list[Intent[Any]]:
        """Stop the intents whose keys are too old, and return them."""
        ids = _store.expire(connection, self.tables, self.target, limit=_store.PORTION)
        return _store.find(connection, self.tables, ids=ids) if ids else []

    def expired(self, intents: list[Intent[Any]]) -> None:
        """Count and report the intents that a person has to decide about."""
        if len(intents) < _store.PORTION:
            self._expires_at = time.monotonic() + _EXPIRE_EVERY
        for intent in intents:
            self._count("unknown")
            _log.error("%r may have taken effect; it is not sent again until you decide", intent)
            _call_back(self._on_unknown, intent)

    def settle(
        self, connection: sa.Connection, claim: Claim, settlement: Settlement
    ) -> Intent[Any] | None:
        """Record an outcome. Return the intent if the platform refused it."""
        if not _store.settle(connection, self.tables, claim, settlement):
            return None
        self._count(settlement.state)
        if settlement.state != "refused":
            return None
        return _store.find(connection, self.tables, ids=[claim.id])[0]

    def settled(self, refused: Intent[Any] | None) -> None:
        """Report an intent that the platform refused."""
        if refused is not None:
            _log.warning("%r was refused: %s", refused, refused.error)
            _call_back(self._on_refused, refused)

    def report(self) -> DrainReport:
        """Return the counts so far, and why the worker ended."""
        counts = self._counts
        return DrainReport(
            done=counts["done"],
            refused=counts["refused"],
            unknown=counts["unknown"],
            retried=counts["pending"],
            stopped_by=self.ended_by or ("limit" if self._left == 0 else "empty"),
        )

    def _count(self, state: str) -> None:
        with self._mutex:
            self._counts[state] += 1


def _check_int(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1")


def _call_back(callback: Callable[[Intent[Any]], object] | None, intent: Intent[Any]) -> None:
    if callback is None:
        return
    try:
        callback(intent)
    except Exception:
        # The outcome is recorded already, and other intents wait.
        _log.exception("a callback of the outbox raised an exception; the worker continues")


class _Moment(NamedTuple):
    """A moment on two clocks: one may stop while the machine sleeps, the other may be changed."""

    monotonic: float
    wall: float

    @staticmethod
    def now() -> _Moment:
        return _Moment(time.monotonic(), time.time())

    def seconds_since(self) -> float:
        return max(time.monotonic() - self.monotonic, time.time() - self.wall)


def _exchange(
    client: KratyAdmin | KratyAdminAsync, claim: Claim, claimed_at: _Moment
) -> Exchange[Model]:
    """Prepare to send the recorded bytes of an intent.

    Args:
        client: The client.
        claim: The intent.
        claimed_at: A moment before it was claimed.

    Raises:
        OutboxError: This version has no such method, or the claim is too old to send anything.
    """
    rebuild = REBUILD.get(claim.operation)
    if rebuild is None:
        raise OutboxError(
            f"this version of the SDK has no method {claim.operation}: update the worker"
        )
    operation: Operation[Model] = rebuild(claim.path, {"idempotencyKey": claim.idempotency_key})
    exchange = client._exchange(operation)  # pyright: ignore[reportPrivateUsage]  # ours
    exchange.body = claim.body.encode()
    if claimed_at.seconds_since() > _MARGIN / 2:
        raise OutboxError("nothing was sent: the worker was suspended after claiming the intent")
    return exchange


def _target(origin: str, response: ServerPingResponse) -> Target:
    """Build the target from the answer to a ping."""
    game = game_of(response)
    return Target(origin, game.studio_id or "", game.game_id or "", game.environment or "")


def target_of(client: KratyAdmin) -> Target:
    """Ask Kraty which game a client calls."""
    return _target(client.base_url, client.health.ping())


async def target_of_async(client: KratyAdminAsync) -> Target:
    """Ask Kraty which game a client calls."""
    return _target(client.base_url, await client.health.ping())


class Worker:
    """Sends intents on a few threads."""

    def __init__(
        self, client: KratyAdmin, engine: sa.Engine, stop: threading.Event, work: Work
    ) -> None:
        self._client = client
        self._engine = engine
        self._stop = stop
        self._work = work
        self._pings = threading.Lock()

    def run(self) -> DrainReport:
        """Send what is due; see `outbox.drain`."""
        work, target = self._work, target_of(self._client)
        work.target = self._transact(lambda c: _store.find_target(c, work.tables, target))
        if work.in_flight == 1:
            self._slot()
            return work.report()
        with ThreadPoolExecutor(work.in_flight, "kraty-outbox") as threads:
            try:
                slots = [
                    threads.submit(copy_context().run, self._slot) for _ in range(work.in_flight)
                ]
                for slot in slots:
                    slot.result()
            except BaseException:
                # Each slot ends what it is sending, and the executor waits for that.
                work.ended_by = "stop"
                raise
        return work.report()

    def _transact(self, work: Callable[[sa.Connection], R]) -> R:
        with self._engine.connect() as connection:
            return _store.in_transaction(connection, work)

    def _slot(self) -> None:
        work = self._work
        try:
            while self._may_send():
                if not self._send_one():
                    if work.poll is None:
                        return
                    self._pause(work.poll)
        except BaseException:
            work.ended_by = "stop"
            raise

    def _send_one(self) -> bool:
        """Claim and send one intent, with a place of the limiter. Return false if none is due."""
        work = self._work
        ended: Outcome | None = None
        try:
            if not work.may_claim():
                return True
            claimed_at = _Moment.now()
            claim = self._transact(work.claim)
            if claim is None:
                work.found_nothing()
                return False
            ended = outcome = self._call(claim, claimed_at)
        finally:
            work.end_turn(ended)
        self._settle(claim, outcome)
        return True

    def _may_send(self) -> bool:
        """Wait for a place of the limiter. Return false if the worker has to end instead."""
        work = self._work
        with self._pings:
            self._expire()
            while work.health.must_ping and not self._is_over():
                error = self._ping()
                if error is not None:
                    if denies_key(error) or isinstance(error, KratyClosedError):
                        raise error
                    # Keys also expire during an outage.
                    self._expire()
                    self._pause(work.health.ping_delay())
        while not self._is_over():
            seconds = work.take_turn()
            if not seconds:
                return True
            self._pause(seconds)
        return False

    def _expire(self) -> None:
        work = self._work
        while work.must_expire() and not self._is_over():
            work.expired(self._transact(work.expire))

    def _is_over(self) -> bool:
        return self._work.is_over(self._stop.is_set())

    def _pause(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        # In short steps, to notice that `stop` is set or that another slot has ended the work.
        while not self._is_over() and (left := ends_at - time.monotonic()) > 0:
            # Not `stop.wait()`, during which a signal handler that sets it could hang.
            time.sleep(min(left, _STEP))

    def _ping(self) -> KratyError | None:
        try:
            self._client.with_options(retry=_ONCE).health.ping()
        except KratyError as error:
            return error
        self._work.health.answered_ping()
        return None

    def _call(self, claim: Claim, claimed_at: _Moment) -> Outcome:
        client = self._client
        try:
            exchange = _exchange(client, claim, claimed_at)
            hook = client._settings.on_request  # pyright: ignore[reportPrivateUsage]  # ours
            return client._sender.perform(exchange, hook)  # pyright: ignore[reportPrivateUsage]  # ours
        except KratyError as error:
            return error

    def _settle(self, claim: Claim, outcome: Outcome) -> None:
        work = self._work
        work.health.ended(outcome, time.monotonic())
        denied: KratyError | None = None
        if isinstance(outcome, KratyError) and denies_key(outcome):
            denied = self._ping()
        settlement = settle(claim, outcome, key_works=denied is None, random=random.random)
        work.settled(self._transact(lambda c: work.settle(c, claim, settlement)))
        if denied is not None and denies_key(denied):
            raise denied
        if isinstance(outcome, KratyClosedError):
            raise outcome


class AsyncWorker:
    """Sends intents in a few tasks. The twin of `Worker`."""

    def __init__(
        self, client: KratyAdminAsync, engine: AsyncEngine, stop: asyncio.Event, work: Work
    ) -> None:
        self._client = client
        self._engine = engine
        self._stop = stop
        self._work = work

    async def run(self) -> DrainReport:
        """Send what is due; see `outbox.drain`."""
        import asyncio

        work, target = self._work, await target_of_async(self._client)
        work.target = await self._transact(lambda c: _store.find_target(c, work.tables, target))
        self._pings = asyncio.Lock()
        slots = [asyncio.ensure_future(self._slot()) for _ in range(work.in_flight)]
        try:
            for slot in slots:
                await slot
        except BaseException as error:
            work.ended_by = work.ended_by or "stop"
            if not isinstance(error, Exception):
                for slot in slots:
                    slot.cancel()
            await asyncio.gather(*slots, return_exceptions=True)
            raise
        return work.report()

    async def _transact(self, work: Callable[[sa.Connection], R]) -> R:
        async with self._engine.connect() as connection:
            return await connection.run_sync(_store.in_transaction, work)

    async def _slot(self) -> None:
        work = self._work
        try:
            while await self._may_send():
                if not await self._send_one():
                    if work.poll is None:
                        return
                    await self._pause(work.poll)
        except BaseException:
            work.ended_by = "stop"
            raise

    async def _send_one(self) -> bool:
        """Claim and send one intent, with a place of the limiter. Return false if none is due."""
        work = self._work
        ended: Outcome | None = None
        try:
            if not work.may_claim():
                return True
            claimed_at = _Moment.now()
            claim = await self._transact(work.claim)
            if claim is None:
                work.found_nothing()
                return False
            ended = outcome = await self._call(claim, claimed_at)
        finally:
            work.end_turn(ended)
        await self._settle(claim, outcome)
        return True

    async def _may_send(self) -> bool:
        """Wait for a place of the limiter. Return false if the worker has to end instead."""
        work = self._work
        async with self._pings:
            await self._expire()
            while work.health.must_ping and not self._is_over():
                error = await self._ping()
                if error is not None:
                    if denies_key(error) or isinstance(error, KratyClosedError):
                        raise error
                    # Keys also expire during an outage.
                    await self._expire()
                    await self._pause(work.health.ping_delay())
        while not self._is_over():
            seconds = work.take_turn()
            if not seconds:
                return True
            await self._pause(seconds)
        return False

    async def _expire(self) -> None:
        work = self._work
        while work.must_expire() and not self._is_over():
            work.expired(await self._transact(work.expire))

    def _is_over(self) -> bool:
        return self._work.is_over(self._stop.is_set())

    async def _pause(self, seconds: float) -> None:
        import asyncio

        ends_at = time.monotonic() + seconds
        while not self._is_over() and (left := ends_at - time.monotonic()) > 0:
            stopping = asyncio.ensure_future(self._stop.wait())
            try:
                await asyncio.wait([stopping], timeout=min(left, _STEP))
            finally:
                stopping.cancel()

    async def _ping(self) -> KratyError | None:
        try:
            await self._client.with_options(retry=_ONCE).health.ping()
        except KratyError as error:
            return error
        self._work.health.answered_ping()
        return None

    async def _call(self, claim: Claim, claimed_at: _Moment) -> Outcome:
        client = self._client
        try:
            exchange = _exchange(client, claim, claimed_at)
            hook = client._settings.on_request  # pyright: ignore[reportPrivateUsage]  # ours
            return await client._sender.perform(exchange, hook)  # pyright: ignore[reportPrivateUsage]  # ours
        except KratyError as error:
            return error

    async def _settle(self, claim: Claim, outcome: Outcome) -> None:
        work = self._work
        work.health.ended(outcome, time.monotonic())
        denied: KratyError | None = None
        if isinstance(outcome, KratyError) and denies_key(outcome):
            denied = await self._ping()
        settlement = settle(claim, outcome, key_works=denied is None, random=random.random)
        work.settled(await self._transact(lambda c: work.settle(c, claim, settlement)))
        if denied is not None and denies_key(denied):
            raise denied
        if isinstance(outcome, KratyClosedError):
            raise outcome
