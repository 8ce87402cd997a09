"""The emulator as a server in a background thread."""

from __future__ import annotations

import asyncio
import atexit
import ipaddress
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final
from uuid import UUID, uuid4

import uvicorn

from ._platform import Clock, EventSink, Platform, SeenRequest
from ._state import Kind, LedgerEntry, State
from ._wire import build_app
from ._world import DEFAULT_WORLD, World

__all__ = ["Emulator"]

_PATIENCE: Final = 10.0
"""How many seconds starting and stopping may take. Both take a fraction of one."""


_logger = logging.getLogger("kraty_admin.emulator")


class Emulator:
    """A local Kraty, with its state in SQLite.

        with Emulator() as kraty:
            client = KratyAdmin(api_key=kraty.api_key, base_url=kraty.base_url)

    It listens on this machine only, and any number of them run side by side.

    Args:
        host: A loopback IPv4 address.
        port: The port; 0 takes a free one.
        database: Where the state is kept: a file, or `:memory:`. A file keeps its
            state from one run to the next.
        world: The games, catalogs and keys that exist.
        clock: Tells the time, in seconds since the epoch.
        new_uuid: Where ids come from.
        sink: Is called with the name and the data of each event, in the server's
            thread, after the change that it tells of has been committed.
        requests_per_minute: How many requests each key has per minute.

    Raises:
        ValueError: The host is not a loopback address.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        database: str | os.PathLike[str] = ":memory:",
        world: World = DEFAULT_WORLD,
        clock: Clock = time.time,
        new_uuid: Callable[[], UUID] = uuid4,
        sink: EventSink | None = None,
        requests_per_minute: int = 600_000,
    ) -> None:
        self._host = _loopback(host)
        self._port = port
        self._database = os.fspath(database)
        self._world = world
        self._clock = clock
        self._new_uuid = new_uuid
        self._sink = sink
        self._requests_per_minute = requests_per_minute
        self._running: _Running | None = None

    def __repr__(self) -> str:
        where = "stopped" if self._running is None else self._running.base_url
        return f"<{type(self).__name__} {where}>"

    def __enter__(self) -> Emulator:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start serving; returns when requests are answered. A second time does nothing.

        Raises:
            OSError: The port is taken.
            sqlite3.Error: The database cannot be opened.
            ValueError: The database belongs to something else.
        """
        if self._running is not None:
            return
        state = State(self._database)
        try:
            platform = Platform(
                state,
                world=self._world,
                clock=self._clock,
                new_uuid=self._new_uuid,
                sink=self._sink,
                requests_per_minute=self._requests_per_minute,
            )
            self._running = _Running(platform, self._host, self._port)
        except BaseException:
            state.close()
            raise
        atexit.register(self.close)

    def close(self) -> None:
        """Stop serving and close the database. A second time does nothing."""
        running, self._running = self._running, None
        if running is not None:
            atexit.unregister(self.close)
            running.close()

    @property
    def base_url(self) -> str:
        """The origin to give to a client, such as `http://127.0.0.1:4010`."""
        return self._serving().base_url

    @property
    def api_key(self) -> str:
        """The first key of the world. What follows here looks at its game."""
        return self._world.keys[0].token

    @property
    def requests(self) -> list[SeenRequest]:
        """The last thousand requests, oldest first, whatever became of them."""
        return self._serving().platform.seen()

    def balance(self, external_player_id: str, currency: str) -> int:
        """A player's balance; 0 for a player who is not known."""
        return self._amount(external_player_id, "currency", currency)

    def quantity(self, external_player_id: str, item: str) -> int:
        """How many of an item a player holds; 0 for a player who is not known."""
        return self._amount(external_player_id, "item", item)

    def ledger(
        self, external_player_id: str | None = None, key: str | None = None
    ) -> list[LedgerEntry]:
        """The ledger entries, oldest first.

        Args:
            external_player_id: Leave out those of other players.
            key: Leave out those of other currencies and items.
        """
        entries = self._serving().platform.state.ledger(
            self._world.keys[0].game_id, external_player_id
        )
        return [entry for entry in entries if key is None or entry.key == key]

    def reset(self) -> None:
        """Forget every player, idempotency key and request."""
        self._serving().platform.reset()

    def _amount(self, external_player_id: str, kind: Kind, key: str) -> int:
        state = self._serving().platform.state
        player = state.player(self._world.keys[0].game_id, external_player_id)
        return 0 if player is None else state.amount(player["id"], kind, key)

    def _serving(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the emulator is not running")
        return self._running


class _Running:
    """What exists while an emulator serves."""

    def __init__(self, platform: Platform, host: str, port: int) -> None:
        self.platform: Final = platform
        self._process = os.getpid()
        self._server = _Server(platform)
        listener = _listen(host, port)
        self.base_url: Final = f"http://{host}:{listener.getsockname()[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_on, args=(listener,), name="kraty-emulator", daemon=True
        )
        self._thread.start()
        self._server.settled.wait(_PATIENCE)
        if not self._server.started:
            self._stop()
            listener.close()
            raise RuntimeError("the emulator did not start") from self._server.failure

    def close(self) -> None:
        # A forked child has neither the thread nor a right to the database.
        if os.getpid() == self._process:
            self._stop()
            self.platform.state.close()

    def _stop(self) -> None:
        self._server.stop()
        self._thread.join(_PATIENCE)


class _Server(uvicorn.Server):
    """Uvicorn that says when it is up and stops when it is told."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(
            uvicorn.Config(
                build_app(platform),
                http="h11",
                ws="none",
                lifespan="off",
                # The caller's logging is the caller's; and without the date and the
                # server's version, the same calls give the same bytes.
                log_config=None,
                access_log=False,
                date_header=False,
                server_header=False,
                # A client that is stopped in a debugger keeps its connection.
                timeout_keep_alive=600,
                timeout_graceful_shutdown=1,
            )
        )
        self.settled: Final = threading.Event()
        """Set once the server is up or has failed."""
        self.failure: BaseException | None = None
        """Why it stopped without being told to."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        # Here, so that the event loop does not start with a long import.
        self.config.load()

    def serve_on(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self.serve(sockets=[listener]))
        except BaseException as error:  # uvicorn gives up with a SystemExit
            self.failure = error
            _logger.exception("The emulator has stopped")
        finally:
            self.settled.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        self.settled.set()

    async def main_loop(self) -> None:
        # Uvicorn's looks at a flag ten times a second, so stopping would wait for it.
        await self._stopped.wait()

    def stop(self) -> None:
        self.should_exit = True
        if self._loop is not None:
            # The loop is closed already if serving has failed.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopped.set)


def _listen(host: str, port: int) -> socket.socket:
    # The protocol is named for a reason: asyncio turns Nagle's algorithm off for such
    # sockets only, and with it on every answer waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # where the option lets two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    with suppress(ValueError):
        if ipaddress.IPv4Address(host).is_loopback:
            return host
    raise ValueError(f"the emulator listens on a loopback IPv4 address only, not on {host!r}")
