"""Notify the console's pages that something has changed.

A reader is notified only that there is something new, and then asks for it. So nothing piles
up for a reader that is slow or has gone, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Literal, TypeAlias

__all__ = ["Changes", "Reader", "Topic"]

Topic: TypeAlias = Literal["requests", "deliveries", "settings", "reset"]
"""The part of the emulator that has changed.

- `requests`: a request was answered, so players, ledger, grants and lobbies may have changed
- `deliveries`: an attempt to deliver a webhook was made, or one is due again
- `settings`: faults, clock, endpoints of webhooks or the rate limit
- `reset`: everything is as it was at the start
"""


class Changes:
    """Notifies its readers of changes. Any thread may use it."""

    def __init__(self) -> None:
        self._readers: set[Reader] = set()

    def notify(self, topic: Topic) -> None:
        """Notify all readers of a change."""
        for reader in tuple(self._readers):
            reader.notify(topic)

    @contextmanager
    def reader(self) -> Generator[Reader, None, None]:
        """Return a reader that is notified of all changes until the block ends."""
        reader = Reader()
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)


class Reader:
    """The changes that one page has not taken yet. It belongs to the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._news: set[Topic] = set()
        self._is_news = asyncio.Event()

    def notify(self, topic: Topic) -> None:
        """Add a topic to the news. Adding it again has no effect until it is taken."""
        with self._lock:
            is_first = not self._news
            self._news.add(topic)
        if is_first:
            # The loop is closed when the emulator has just stopped.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._is_news.set)

    async def next(self) -> list[Topic]:
        """Wait for news, and take all of it."""
        while True:
            await self._is_news.wait()
            with self._lock:
                self._is_news.clear()
                news, self._news = self._news, set()
            if news:
                return sorted(news)
