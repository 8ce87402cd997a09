"""Handle each webhook once, in Django's transactions."""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS

from kraty_admin.models import WebhookEvent
from kraty_admin.outbox._store import remember
from kraty_admin.outbox._tables import TABLES

from ._connection import in_atomic

__all__ = ["once"]


def once(event: WebhookEvent, using: str = DEFAULT_DB_ALIAS) -> bool:
    """Return whether an event is new, and remember it in Django's transaction.

    `webhook` calls this for you. If two deliveries of one event arrive together, the second waits
    for the first one's transaction. If that is rolled back, the event is still new.

    Args:
        event: The event that `construct_event` returned.
        using: The alias of the database that your handler writes to.

    Returns:
        True the first time; handle the event in the same transaction. False if this event was
        handled before.

    Raises:
        TransactionManagementError: No `atomic()` block of that database is open. The ones that
            `TestCase` puts around a test do not count.
        SynchronousOnlyOperation: An event loop runs in this thread.
        ValueError: The event has no id.
        OutboxError: The database is neither PostgreSQL nor SQLite.
    """
    return remember(in_atomic(using, "inbox.once()"), TABLES, event)
