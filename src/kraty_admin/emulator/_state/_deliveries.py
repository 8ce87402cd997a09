"""Webhooks: endpoints, events, and the deliveries of events to endpoints."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import attrs

from .._times import moment
from ._database import Database
from ._paging import page_end

__all__ = [
    "COLLECTED",
    "Deliveries",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryStatus",
    "Due",
    "EventRow",
]

COLLECTED: Final = "in-process"
"""The name, in place of a URL, of the endpoint that `Webhooks.deliver` serves."""

DeliveryStatus = Literal["pending", "delivered", "failed"]


@attrs.frozen(kw_only=True)
class DeliveryAttempt:
    """One attempt to send an event to an endpoint."""

    attempt: int
    """Its `deliveryAttempt`, counted from 1."""
    at: datetime
    """When it ended, by the emulator's clock."""
    status: int | None
    """The endpoint's status; `None` if no answer came."""
    error: str | None
    """Why it failed, if the status does not show it."""


@attrs.frozen(kw_only=True)
class Delivery:
    """An event on its way to an endpoint."""

    number: int
    """Its place in the log; later deliveries have higher numbers."""
    event_id: str
    """The envelope's `id`, the same for each attempt."""
    event_name: str
    """The event's name, such as `wallet.changed`."""
    data: Mapping[str, Any]
    """The envelope's `data`."""
    url: str
    """The endpoint; `in-process` for the deliveries of `Webhooks.deliver`."""
    status: DeliveryStatus
    """`failed` after the last attempt has failed."""
    due_at: datetime
    """When the next attempt is due. If there is none, when the last one was made."""
    attempts: Sequence[DeliveryAttempt]
    """All attempts so far."""


class Due(NamedTuple):
    """A delivery that is due."""

    number: int
    url: str
    secret: str
    attempt: int
    """The number of this attempt, counted from 1."""
    event_id: str
    event_name: str
    studio_id: str
    game_id: str
    occurred_at: int
    data: str
    """As JSON."""


class EventRow(NamedTuple):
    """An event, before it is delivered."""

    id: str
    name: str
    studio_id: str
    game_id: str
    occurred_at: int
    data: str
    """As JSON."""


class Deliveries:
    """The tables of endpoints, events, deliveries and attempts."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def set_endpoint(self, url: str, secret: str, events: Sequence[str] | None) -> None:
        """Deliver events to this endpoint from now on; `None` for all events."""
        with self._db.transaction():
            self._db.run(
                "INSERT OR REPLACE INTO endpoints (url, secret, events) VALUES (?, ?, ?)",
                url,
                secret,
                None if events is None else json.dumps(list(events)),
            )

    def add_event(self, event: EventRow) -> int:
        """Record an event, and a delivery for each endpoint that wants it; return how many."""
        self._db.run(
            "INSERT INTO events (id, name, studio_id, game_id, occurred_at, data)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *event,
        )
        return self._db.run(
            "INSERT INTO deliveries (event_id, url, status, attempts, due_at)"
            " SELECT ?, url, 'pending', 0, ? FROM endpoints WHERE events IS NULL"
            " OR EXISTS (SELECT 1 FROM json_each(events) WHERE value = ?) ORDER BY url",
            event.id,
            event.occurred_at,
            event.name,
        )

    def count_events(self) -> int:
        """Return how many events were recorded."""
        count: int = self._db.one("SELECT COUNT(*) FROM events")[0]
        return count

    def due(self, now: int, limit: int, *, collected: bool = False) -> list[Due]:
        """Return the deliveries that are due; the one that has been due longest is first.

        Args:
            collected: Whether to return those for `Webhooks.deliver`, instead of those to URLs.
        """
        rows = self._db.all(
            "SELECT deliveries.number, url, secret, attempts + 1, event_id,"
            " name, studio_id, game_id, occurred_at, data"
            " FROM deliveries JOIN events ON events.id = event_id JOIN endpoints USING (url)"
            " WHERE status = 'pending' AND due_at <= ? AND (url = ?) = ?"
            " ORDER BY due_at, deliveries.number LIMIT ?",
            now,
            COLLECTED,
            int(collected),
            limit,
        )
        return [Due(*row) for row in rows]

    def next_due_after(self, now: int) -> int | None:
        """Return when the next delivery is due after this time; `None` for never."""
        at: int | None = self._db.one(
            "SELECT MIN(due_at) FROM deliveries WHERE status = 'pending' AND due_at > ?", now
        )[0]
        return at

    def add_attempt(
        self,
        delivery: int,
        *,
        attempt: int,
        at: int,
        status: int | None,
        error: str | None,
        becomes: DeliveryStatus,
        due_at: int,
    ) -> None:
        """Record an attempt and the new status of its delivery."""
        with self._db.transaction():
            self._db.run(
                "INSERT INTO attempts (delivery, attempt, at, status, error)"
                " VALUES (?, ?, ?, ?, ?)",
                delivery,
                attempt,
                at,
                status,
                error,
            )
            self._db.run(
                "UPDATE deliveries SET status = ?, attempts = ?, due_at = ? WHERE number = ?",
                becomes,
                attempt,
                due_at,
                delivery,
            )

    def replay(self, event_id: str, now: int) -> int:
        """Make the deliveries of an event due again; return how many there are."""
        with self._db.transaction():
            return self._db.run(
                "UPDATE deliveries SET status = 'pending', due_at = ? WHERE event_id = ?",
                now,
                event_id,
            )

    def endpoints(self) -> list[tuple[str, list[str] | None]]:
        """Return the endpoints: the URL, and the names of the events, `None` for all."""
        rows = self._db.all("SELECT url, events FROM endpoints ORDER BY url")
        return [(url, None if events is None else json.loads(events)) for url, events in rows]

    def events_of(self, numbers: Sequence[int]) -> dict[int, EventRow]:
        """Return the events of some deliveries, by the number of the delivery."""
        places = ", ".join("?" * len(numbers))
        rows = self._db.all(
            "SELECT deliveries.number, id, name, studio_id, game_id, occurred_at, data"  # noqa: S608
            " FROM deliveries JOIN events ON events.id = event_id"
            f" WHERE deliveries.number IN ({places})",
            *numbers,
        )
        return {number: EventRow(*row) for number, *row in rows}

    def page(self, *, after: int = 0, limit: int, newest: bool = False) -> list[Delivery]:
        """Return some deliveries.

        Args:
            after: The number of the last delivery of the page before.
            limit: How many deliveries to return at most.
            newest: Return the newest first. Otherwise they are in the order of their events.
        """
        attempts: dict[int, list[DeliveryAttempt]] = defaultdict(list)
        end, *values = page_end("deliveries.number", after, limit, newest=newest)
        with self._db.transaction():
            rows = self._db.all(
                "SELECT deliveries.number, event_id, name, data, url, status, due_at"  # noqa: S608
                f" FROM deliveries JOIN events ON events.id = event_id WHERE {end}",
                *values,
            )
            numbers = [number for number, *_ in rows]
            tries = self._db.all(
                "SELECT delivery, attempt, at, status, error FROM attempts"
                " WHERE delivery >= ? AND delivery <= ? ORDER BY number",
                min(numbers, default=0),
                max(numbers, default=0),
            )
        for delivery, attempt, at, status, error in tries:
            attempts[delivery].append(
                DeliveryAttempt(attempt=attempt, at=moment(at), status=status, error=error)
            )
        return [
            Delivery(
                number=number,
                event_id=event_id,
                event_name=name,
                data=json.loads(data),
                url=url,
                status=status,
                due_at=moment(due_at),
                attempts=attempts[number],
            )
            for number, event_id, name, data, url, status, due_at in rows
        ]
