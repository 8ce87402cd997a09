"""The delivery of webhooks: at least once, even after a crash.

An event is recorded in the transaction of its change. This loop sends the deliveries that
are due and records each attempt. An attempt that was cut off is not recorded, so it is
repeated.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID, uuid5

import attrs
import httpx

from kraty_admin.webhooks import sign_webhook

from ._clock import Clock
from ._faults import WEBHOOK, Fault, Faults
from ._json import dump, dump_text
from ._pages import pages
from ._samples import sample
from ._state import COLLECTED, Delivery, DeliveryStatus, Due, EventRow, State
from ._times import iso
from ._world import EVENT_NAMES, Endpoint, Game

__all__ = ["BACKOFF", "Webhooks", "envelope"]

BACKOFF: Final = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 10800.0)
"""Seconds between the attempts of a delivery. After the last wait there is one more attempt."""

_IN_FLIGHT: Final = 8
"""How many deliveries run at the same time. So they may arrive in another order."""

_PATIENCE: Final = 10.0
"""How many seconds an endpoint has to answer."""

_TRIGGERED: Final = UUID("3f6d0c52-8f0e-4c57-9d6a-6c1f4b1a7e29")
"""The namespace of the ids of events that were triggered."""

_SIGNATURES: Final = 1000
"""How many signatures are kept."""

_logger = logging.getLogger("kraty_admin.emulator")


class HasStatus(Protocol):
    """A response of a web framework's test client."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...


Receive: TypeAlias = Callable[[bytes, Mapping[str, str]], int | HasStatus]
"""Handles the raw body and the headers of a delivery; returns a response or its status."""

AsyncReceive: TypeAlias = Callable[[bytes, Mapping[str, str]], Awaitable[int | HasStatus]]
"""The same for asyncio."""


@attrs.define(eq=False)
class _Attempt:
    """An attempt to deliver in-process, without a port."""

    due: Due
    fault: Fault | None
    body: bytes
    headers: Mapping[str, str]
    status: int | None = None
    error: str | None = None

    @property
    def reaches(self) -> bool:
        """Whether the delivery reaches the receiver."""
        return self.fault is None or not self.fault.prevents


class Webhooks:
    """The endpoints of webhooks, and the loop that delivers events to them.

    Args:
        on_change: Called after an attempt, a replay or a new endpoint.
    """

    def __init__(
        self,
        state: State,
        *,
        clock: Clock,
        faults: Faults,
        endpoints: Sequence[Endpoint],
        backoff: Sequence[float],
        game: Game,
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        self._state = state
        self._clock = clock
        self._faults = faults
        self._endpoints = endpoints
        self._backoff = backoff
        self._game = game
        self._on_change = on_change
        self._signatures: dict[tuple[int, int], str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = asyncio.Event()
        self._flying: dict[int, asyncio.Task[None]] = {}
        self._progress = threading.Condition()
        self._register_own()

    def register(self, url: str, secret: str, *, events: Sequence[str] | None = None) -> None:
        """Deliver events to an endpoint from now on.

        Args:
            url: A URL on this machine. If it is registered already, this replaces it.
            secret: The secret that signs the deliveries.
            events: The names of the events to deliver, such as `wallet.changed`.
                Default: all.

        Raises:
            ValueError: The URL is not on this machine, the secret cannot sign (see
                `sign_webhook`), or an event does not exist.
        """
        endpoint = Endpoint(url=url, secret=secret, events=events)
        self._state.deliveries.set_endpoint(endpoint.url, endpoint.secret, endpoint.events)
        self._on_change()

    def collect(self, secret: str, *, events: Sequence[str] | None = None) -> None:
        """From now on, keep events for `deliver`, which needs no port.

        Endpoints with a URL still get their deliveries. A second call replaces the first.

        Args:
            secret: The secret that signs the deliveries.
            events: As for `register`.

        Raises:
            ValueError: The secret cannot sign, or an event does not exist.
        """
        # The endpoint checks both arguments. It needs some valid URL, which nothing uses.
        endpoint = Endpoint(url="http://127.0.0.1/", secret=secret, events=events)
        self._state.deliveries.set_endpoint(COLLECTED, endpoint.secret, endpoint.events)
        self._on_change()

    def deliver(self, receive: Receive) -> int:
        """Make the due deliveries that `collect` has kept, in this thread.

        As over HTTP, an attempt succeeds if the status is 2xx. A failed delivery is due again
        after a wait, by the emulator's clock. A fault can drop a delivery; the fault `delay` has
        no effect here. Events that `receive` causes are left for the next call.

        Args:
            receive: Called with the raw body and the headers of each, for example
                `lambda body, headers: client.post("/hook", content=body, headers=headers)`.
                It returns a status, or a response with a `status_code`.

        Returns:
            How many attempts were made.

        Raises:
            RuntimeError: `collect` was not called.
            TypeError: `receive` returned something else.
        """
        waiting = self._waiting()
        for due in waiting:
            with self._attempt(due) as attempt:
                if attempt.reaches:
                    attempt.status = _status_of(receive(attempt.body, attempt.headers))
        return len(waiting)

    async def deliver_async(self, receive: AsyncReceive) -> int:
        """Do the same as `deliver`, with a `receive` that is awaited."""
        waiting = self._waiting()
        for due in waiting:
            with self._attempt(due) as attempt:
                if attempt.reaches:
                    attempt.status = _status_of(await receive(attempt.body, attempt.headers))
        return len(waiting)

    def trigger(
        self,
        event_name: str,
        *,
        external_player_id: str = "player_42",
        data: Mapping[str, Any] | None = None,
    ) -> str:
        """Send an event without a change of the state.

        Args:
            event_name: The name of the event, such as `player.banned`.
            external_player_id: The player in the sample data. The player need not exist.
            data: The `data` of the event, in place of the sample data.

        Returns:
            The event's id.

        Raises:
            ValueError: There is no such event, no endpoint receives it, or the data is not JSON.
        """
        if event_name not in EVENT_NAMES:
            known = ", ".join(EVENT_NAMES)
            raise ValueError(f"there is no event {event_name!r}; the events are {known}")
        now = self._now()
        if data is None:
            data = sample(event_name, external_player_id, iso(now))
        text = dump_text(data)
        with self._state.transaction():
            # Not from the source of ids, so that triggered events do not change the ids of calls.
            number = self._state.deliveries.count_events() + 1
            event_id = f"evt_{uuid5(_TRIGGERED, str(number)).hex}"
            event = EventRow(event_id, event_name, self._game.studio_id, self._game.id, now, text)
            if not self._state.deliveries.add_event(event):
                raise ValueError(
                    f"no endpoint receives {event_name}: call register or collect first, "
                    "or start the emulator with --webhook URL"
                )
        self.wake()
        self._on_change()
        return event_id

    def replay(self, event_id: str) -> None:
        """Deliver an event again, with the same id and the next attempt's number.

        Raises:
            ValueError: No event with this id was delivered to an endpoint.
        """
        if not self._state.deliveries.replay(event_id, self._now()):
            raise ValueError(f"there is no delivery of an event {event_id}")
        self.wake()
        self._on_change()

    def settle(self, timeout: float = 10.0) -> None:
        """Wait until all due deliveries to URLs have been tried.

        Failed deliveries are due again later, by the emulator's clock, which may stand still.

        Args:
            timeout: How many seconds to wait at most.

        Raises:
            TimeoutError: Some deliveries are still in progress.
        """
        with self._progress:
            if not self._progress.wait_for(
                lambda: not self._state.deliveries.due(self._now(), 1), timeout
            ):
                raise TimeoutError("deliveries are still in progress")

    @property
    def log(self) -> list[Delivery]:
        """All deliveries with their attempts, in the order of their events."""
        return list(pages(self.page))

    def page(self, after: int, limit: int, *, newest: bool = False) -> list[Delivery]:
        """Return some deliveries: those that follow the one with the number `after`.

        Args:
            after: The number of the last delivery of the page before; 0 for the first page.
            limit: How many deliveries to return at most.
            newest: Return the newest first.
        """
        return self._state.deliveries.page(after=after, limit=limit, newest=newest)

    def signature(self, number: int, attempt: int) -> str | None:
        """Return the `X-Signature` of an attempt, if it was sent and the signature is still kept.

        The last thousand signatures are kept until the emulator stops or is reset.
        """
        return self._signatures.get((number, attempt))

    def wake(self) -> None:
        """Check again which deliveries are due. Any thread may call this."""
        if self._loop is not None:
            # The loop is closed when the emulator has just stopped.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._due.set)
        with self._progress:
            self._progress.notify_all()

    async def run(self) -> None:
        """Deliver until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._clock.listen(self.wake)
        # Without the environment's proxies, because the receivers are on this machine.
        async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False) as client:
            try:
                while True:
                    self._due.clear()
                    self._start_due(client)
                    await self._sleep()
            except Exception:
                _logger.exception("No more webhooks are delivered")
                raise
            finally:
                self._clock.ignore(self.wake)
                await asyncio.gather(*self._break_off(), return_exceptions=True)

    def reset(self) -> None:
        """Return to the initial endpoints.

        Call it in the same step of the event loop that resets the state. Otherwise, an attempt in
        progress could be recorded for another delivery.
        """
        self._break_off()
        self._signatures.clear()
        self._register_own()
        self.wake()

    def _break_off(self) -> list[asyncio.Task[None]]:
        """Cancel the attempts in progress. Their deliveries stay due."""
        tasks = list(self._flying.values())
        self._flying.clear()
        for task in tasks:
            task.cancel()
        return tasks

    def _register_own(self) -> None:
        for each in self._endpoints:
            self.register(each.url, each.secret, events=each.events)

    def _now(self) -> int:
        return round(self._clock() * 1000)

    def _start_due(self, client: httpx.AsyncClient) -> None:
        for due in self._state.deliveries.due(self._now(), _IN_FLIGHT):
            if len(self._flying) == _IN_FLIGHT:
                return
            if due.number not in self._flying:
                task = asyncio.create_task(self._deliver(client, due))
                self._flying[due.number] = task
                task.add_done_callback(functools.partial(self._landed, due.number))

    def _landed(self, number: int, task: asyncio.Task[None]) -> None:
        if self._flying.get(number) is not task:
            return  # it was cancelled
        del self._flying[number]
        if failure := task.exception():
            # Not retried at once, because it could fail again and again at full speed.
            _logger.error("A delivery could not be made or recorded", exc_info=failure)
            return
        self.wake()
        self._on_change()

    async def _sleep(self) -> None:
        """Wait until something may be due."""
        timer: asyncio.TimerHandle | None = None
        now = self._now()
        at = self._state.deliveries.next_due_after(now) if self._clock.is_running else None
        if at is not None:
            timer = asyncio.get_running_loop().call_later((at - now) / 1000, self._due.set)
        try:
            await self._due.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _deliver(self, client: httpx.AsyncClient, due: Due) -> None:
        fault = self._faults.draw(WEBHOOK)
        if fault is not None and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        status, error, signature = None, None, None
        if fault is None or not fault.prevents:
            body = envelope(due)
            # Signed with the machine's time, because receivers compare it with their own.
            signature = sign_webhook(raw_body=body, secret=due.secret)
            status, error = await _post(client, due.url, body, signature)
        if fault is not None and fault.kind == "drop":
            status, error = None, "lost on purpose"
        if self._flying.get(due.number) is not asyncio.current_task():
            # This task was cancelled, but an await above may have swallowed that.
            return  # pragma: no cover: not traced behind a cancellation that was swallowed
        self._record(due, status, error, signature)

    def _waiting(self) -> list[Due]:
        if not any(url == COLLECTED for url, _ in self._state.deliveries.endpoints()):
            raise RuntimeError("call webhooks.collect(secret) before the events happen")
        return self._state.deliveries.due(self._now(), -1, collected=True)

    @contextmanager
    def _attempt(self, due: Due) -> Generator[_Attempt, None, None]:
        """Yield an attempt to make in the block, and record it, even if the block raises."""
        fault = self._faults.draw(WEBHOOK)
        body = envelope(due)
        signature = sign_webhook(raw_body=body, secret=due.secret)
        attempt = _Attempt(due, fault, body, _headers(signature))
        try:
            yield attempt
        except BaseException as error:
            attempt.error = type(error).__name__
            raise
        finally:
            if fault is not None and fault.kind == "drop":
                attempt.status, attempt.error = None, "lost on purpose"
            sent = signature if attempt.reaches else None
            self._record(due, attempt.status, attempt.error, sent)
            self._on_change()

    def _record(
        self, due: Due, status: int | None, error: str | None, signature: str | None
    ) -> None:
        """Record an attempt, and when the next one is due."""
        is_delivered = status is not None and 200 <= status <= 299
        is_given_up = due.attempt > len(self._backoff)
        becomes: DeliveryStatus = (
            "delivered" if is_delivered else "failed" if is_given_up else "pending"
        )
        if signature is not None:
            self._keep_signature(due, signature)
        now = self._now()
        wait = self._backoff[due.attempt - 1] if becomes == "pending" else 0.0
        self._state.deliveries.add_attempt(
            due.number,
            attempt=due.attempt,
            at=now,
            status=status,
            error=error,
            becomes=becomes,
            due_at=now + round(wait * 1000),
        )

    def _keep_signature(self, due: Due, signature: str) -> None:
        self._signatures[due.number, due.attempt] = signature
        while len(self._signatures) > _SIGNATURES:
            del self._signatures[next(iter(self._signatures))]


def _headers(signature: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "X-Signature": signature}


def _status_of(answer: int | HasStatus) -> int:
    status: object = answer if isinstance(answer, int) else getattr(answer, "status_code", None)
    if isinstance(status, bool) or not isinstance(status, int):
        raise TypeError(
            "receive must return a status or a response with a status_code,"
            f" not {type(answer).__name__}"
        )
    return status


async def _post(
    client: httpx.AsyncClient, url: str, body: bytes, signature: str
) -> tuple[int | None, str | None]:
    try:
        answer = await client.post(url, content=body, headers=_headers(signature))
        return answer.status_code, None
    except Exception as failure:
        # Any exception counts as a failed attempt: a port out of range is not an `HTTPError`.
        return None, f"{type(failure).__name__}: {failure}"


def envelope(due: Due) -> bytes:
    """Return the body of a webhook."""
    return dump(
        {
            "id": due.event_id,
            "eventName": due.event_name,
            "studioId": due.studio_id,
            "gameId": due.game_id,
            "occurredAt": iso(due.occurred_at),
            "deliveryAttempt": due.attempt,
            "data": json.loads(due.data),
        }
    )
