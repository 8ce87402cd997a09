"""The emulator as a server in a background thread."""

from __future__ import annotations

import asyncio
import atexit
import functools
import ipaddress
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, suppress
from types import TracebackType
from typing import Final, TypeVar

import httpx
import uvicorn

from kraty_admin import KratyAdmin, KratyAdminAsync, RequestHook, RetryConfig
from kraty_admin._client import DEFAULT_RETRY_BUDGET

from ._capture import capture, detach, exempt
from ._changes import Changes
from ._clock import SEEDED_START, Clock, SeededIds, ordered_uuid
from ._control import ControlApi, Controls
from ._faults import Faults
from ._game_client import GameClient
from ._pages import pages
from ._platform import Platform, SeenRequest
from ._session import Difference, Session
from ._snapshots import Snapshot
from ._state import Delivery, Kind, LedgerEntry, State
from ._webhooks import BACKOFF, Webhooks
from ._wire import App, Connections
from ._world import DEFAULT_WORLD, World

__all__ = ["Emulator"]

T = TypeVar("T")

_PATIENCE: Final = 10.0
"""How many seconds starting and stopping may take. Both usually take a fraction of a second."""
_GRACE: Final = 1.0
"""How many seconds open connections and requests have to end, when the emulator stops."""


_logger = logging.getLogger("kraty_admin.emulator")


class Emulator:
    """A local Kraty, with its state in SQLite.

        with Emulator() as kraty, kraty.client() as client:
            client.wallet.credit("player_42", "gold", amount=500)

    By default it listens only on this machine. Any number of emulators can run side by side. What
    needs the server, such as `base_url`, raises `RuntimeError` while the emulator is not running.

    Args:
        host: The IPv4 address to listen on. An address that is not a loopback address needs
            `expose_control`.
        port: The port; 0 picks a free one.
        database: A file that keeps the state from one run to the next, or `:memory:`. Only one
            emulator at a time can use a file.
        world: The games, catalogs, keys and webhook endpoints that exist at the start.
        clock: The emulator's clock. Default: a clock that follows the machine's; with a seed,
            one that stands still at the beginning of 2026.
        seed: Makes ids depend only on the seed and the order of calls. Default: random ids.
        requests_per_minute: The rate limit of each API key, at least 1.
        webhook_backoff: The waits between attempts to deliver a webhook, in seconds, up to a day
            each. After the last wait there is one more attempt.
        expose_control: Allow a `host` that other machines can reach. They can then call the
            API with the published keys, and read, reset and control the emulator.
        allow_hosts: Host names that requests may use, in addition to `localhost` and loopback
            addresses: in a container network, the name of the emulator's service.

    Raises:
        TypeError: `allow_hosts` is a single str.
        ValueError: The host is not an IPv4 address, or not a loopback address without
            `expose_control`; or a number is out of range.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        database: str | os.PathLike[str] = ":memory:",
        world: World = DEFAULT_WORLD,
        clock: Clock | None = None,
        seed: int | None = None,
        requests_per_minute: int = 600_000,
        webhook_backoff: Sequence[float] = BACKOFF,
        expose_control: bool = False,
        allow_hosts: Sequence[str] = (),
    ) -> None:
        if requests_per_minute < 1:
            raise ValueError("requests_per_minute must be at least 1")
        if not all(0 <= wait <= 86400 for wait in webhook_backoff):
            raise ValueError("webhook_backoff must have waits from 0 to 86400 seconds each")
        if isinstance(allow_hosts, str):
            raise TypeError("allow_hosts must be a list of names, not a str")
        self._host = _address(host, expose_control=expose_control)
        self._allowed_hosts = frozenset(name.lower() for name in allow_hosts)
        self._port = port
        self._database = os.fspath(database)
        self._world = world
        self._ids = None if seed is None else SeededIds(seed)
        self._clock = clock or Clock(None if seed is None else SEEDED_START)
        self._changes = Changes()
        self._faults = Faults(on_change=self._notify_settings)
        self._requests_per_minute = requests_per_minute
        self._webhook_backoff = webhook_backoff
        self._clients = ExitStack()
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
        """Start serving, and return when the server is ready. A second call does nothing.

        Raises:
            OSError: The port is taken.
            ValueError: The database cannot be used. The message names the file.
            RuntimeError: The server did not start in time.
        """
        if self._running is not None:
            return
        state = State(self._database)
        try:
            webhooks = Webhooks(
                state,
                clock=self._clock,
                faults=self._faults,
                endpoints=self._world.webhooks,
                backoff=self._webhook_backoff,
                game=self._world.game(self._world.keys[0].game_id),
                on_change=lambda: self._changes.notify("deliveries"),
            )
            new_uuid = self._ids or ordered_uuid
            platform = Platform(
                state,
                world=self._world,
                clock=self._clock,
                new_uuid=new_uuid,
                faults=self._faults,
                requests_per_minute=self._requests_per_minute,
                on_deliveries=webhooks.wake,
                on_request=lambda: self._changes.notify("requests"),
                on_settings=self._notify_settings,
            )
            game_id = self._world.keys[0].game_id
            controls = Controls(
                platform=platform,
                clock=self._clock,
                webhooks=webhooks,
                game_client=GameClient(state, self._world.game(game_id), self._clock, new_uuid),
                connections=Connections(),
                changes=self._changes,
                world=self._world,
                ids=self._ids,
                game_id=game_id,
                requests_per_minute=self._requests_per_minute,
                began_empty=state.is_empty,
            )
            self._running = _Running(controls, self._host, self._port, self._allowed_hosts)
        except BaseException:
            state.close()
            raise
        atexit.register(self.close)

    def close(self) -> None:
        """Stop serving and close the database. A second call does nothing."""
        self.close_clients()
        running, self._running = self._running, None
        if running is not None:
            atexit.unregister(self.close)
            running.close()

    @property
    def base_url(self) -> str:
        """The base URL for a client, such as `http://127.0.0.1:4010`."""
        return self._serving().base_url

    @property
    def api_key(self) -> str:
        """The first key of the world. `ledger`, `balance` and `quantity` are about its game."""
        return self._world.keys[0].token

    @property
    def world(self) -> World:
        """The games, keys and endpoints that exist at the start."""
        return self._world

    @property
    def faults(self) -> Faults:
        """The faults of future calls."""
        return self._faults

    @property
    def clock(self) -> Clock:
        """The emulator's clock, which can be set and moved."""
        return self._clock

    @property
    def webhooks(self) -> Webhooks:
        """The endpoints of webhooks: register them, wait for deliveries, replay them."""
        return self._serving().controls.webhooks

    @property
    def game_client(self) -> GameClient:
        """Acts as a game client: starts attempts, makes friends, blocks players."""
        return self._serving().controls.game_client

    @property
    def deliveries(self) -> list[Delivery]:
        """All deliveries of webhooks with their attempts, in the order of their events."""
        return self.webhooks.log

    @property
    def ledger(self) -> list[LedgerEntry]:
        """All changes of balances and holdings in the first key's game, oldest first."""
        return list(pages(self._serving().controls.ledger))

    @property
    def requests(self) -> list[SeenRequest]:
        """The newest requests, oldest first, including failed ones.

        At most a thousand are kept, with at most 16 MiB of bodies and answers.
        """
        return self._serving().controls.platform.seen()

    @property
    def requests_per_minute(self) -> int:
        """How many requests each API key has per minute, at least 1. It can be set."""
        return self._serving().controls.platform.requests_per_minute

    @requests_per_minute.setter
    def requests_per_minute(self, value: int) -> None:
        self._serving().controls.platform.requests_per_minute = value

    def balance(self, external_player_id: str, currency: str) -> int:
        """Return a player's balance; 0 for an unknown player."""
        return self._amount(external_player_id, "currency", currency)

    def quantity(self, external_player_id: str, item: str) -> int:
        """Return how many of an item a player has; 0 for an unknown player."""
        return self._amount(external_player_id, "item", item)

    def client(
        self,
        *,
        timeout: float | httpx.Timeout | None = None,
        deadline: float | None = None,
        retry: RetryConfig | None = None,
        retry_budget: int | None = DEFAULT_RETRY_BUDGET,
        on_request: RequestHook | None = None,
    ) -> KratyAdmin:
        """Return a client of this emulator, with the first key. It is closed with the emulator.

        Args:
            timeout: See `KratyAdmin` for this and the following arguments.
            deadline: Seconds for a whole call.
            retry: When and how often to retry.
            retry_budget: How many retries all calls together may spend.
            on_request: Called after each attempt.
        """
        client = KratyAdmin(
            api_key=self.api_key,
            base_url=self.base_url,
            timeout=timeout,
            deadline=deadline,
            retry=retry,
            retry_budget=retry_budget,
            on_request=on_request,
        )
        exempt(client)
        return self._clients.enter_context(client)

    def async_client(
        self,
        *,
        timeout: float | httpx.Timeout | None = None,
        deadline: float | None = None,
        retry: RetryConfig | None = None,
        retry_budget: int | None = DEFAULT_RETRY_BUDGET,
        on_request: RequestHook | None = None,
        keep_alive: bool = True,
    ) -> KratyAdminAsync:
        """Return a client for asyncio.

        Close it in the event loop in which it is used, unless `keep_alive` is false.

        Args:
            timeout: See `KratyAdminAsync` for this and the following arguments.
            deadline: Seconds for a whole call.
            retry: When and how often to retry.
            retry_budget: How many retries all calls together may spend.
            on_request: Called after each attempt.
            keep_alive: Whether connections stay open between calls. If not, nothing is open
                when the event loop ends.
        """
        client = KratyAdminAsync(
            api_key=self.api_key,
            base_url=self.base_url,
            timeout=timeout,
            deadline=deadline,
            retry=retry,
            retry_budget=retry_budget,
            on_request=on_request,
        )
        if not keep_alive:
            detach(client, self.base_url, self.api_key)
        exempt(client)
        return client

    def close_clients(self) -> None:
        """Close the clients from `client`."""
        self._clients.pop_all().close()

    @contextmanager
    def capture_clients(self) -> Generator[None, None, None]:
        """Point every existing client at this emulator until the block ends.

        This is for code that creates its client at import, before a test can set the
        environment. Each open `KratyAdmin` and `KratyAdminAsync` of the process sends its
        calls here, with the first key. A client's own `http_client` stays in use. After the
        block, each client has its own URL, key and connections again. It is open again even
        if the block closed it.

        Clients are not captured if they are closed, if an `Emulator` made them with `client`
        or `async_client`, or if they are created inside the block. A captured client opens a
        connection for each call. A call in progress when the block begins is still sent to
        the original server. So are the calls of a thread that still runs after the block; end
        such threads inside the block.

        Raises:
            RuntimeError: The emulator is not running.
        """
        with capture(self.base_url, self.api_key):
            yield

    def reset(self) -> None:
        """Reset to the initial state: no players, requests, faults, deliveries or events."""
        self._serving().do(self._serving().controls.reset)

    def snapshot(self, name: str) -> None:
        """Keep a copy of the state in memory, under a name, until the emulator is closed.

        The state is everything that the platform remembers: players, balances, ledger, grants,
        lobbies, idempotency keys, and endpoints of webhooks with their deliveries. It includes
        the time of a stopped clock, or by how much a running clock is ahead of the machine's.
        With a seed, it includes the position in the sequence of ids. It does not include
        faults, the rate limit or the list of requests. A reset keeps snapshots.

        Args:
            name: The snapshot's name. An earlier snapshot with this name is replaced.
        """
        running = self._serving()
        running.do(functools.partial(running.controls.keep, name))

    def restore(self, name: str) -> None:
        """Return to a snapshot: like `reset()`, but with the snapshot's state.

        Raises:
            ValueError: There is no such snapshot. The message lists those that exist.
        """
        self._serving().do(functools.partial(self._serving().controls.restore, name))

    def drop_snapshots(self) -> None:
        """Delete all snapshots."""
        self._serving().do(self._serving().controls.drop_snapshots)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state, as for `snapshot`, to a file for `load`. An existing file is replaced.

        The file contains the secrets of webhook endpoints, so only its owner can read it. It
        contains no API keys, because they belong to the world.

        Raises:
            OSError: The file cannot be written.
        """
        with closing(self._serving().do(self._serving().controls.take)) as copy:
            copy.save(os.fspath(path))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace the state with a saved one: like `reset()`, but with the file's state.

        The file stays as it is. Calls work only for the games, currencies and items that this
        emulator's world has.

        Args:
            path: A file from `save`, or the `database` of an emulator.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file has no state that this version of the emulator can use. The
                message names the file.
        """
        with closing(Snapshot.load(os.fspath(path))) as saved:
            self._serving().do(functools.partial(self._serving().controls.apply, saved))

    def save_session(self, path: str | os.PathLike[str]) -> None:
        """Write all requests so far, with their times, faults and answers, to a file for `replay`.

        The file contains the bodies as they were sent, but no API keys. It does not contain
        changes that were not made by requests, such as those of the game client.

        Raises:
            OSError: The file cannot be written.
            ValueError: The emulator has no seed, began with a state that was not empty, or no
                longer keeps its first requests because it has answered too many.
        """
        running = self._serving()
        running.do(running.controls.session).save(os.fspath(path), self._world)

    def replay(self, path: str | os.PathLike[str]) -> list[Difference]:
        """Reset, and repeat the requests of a saved session, with their times and faults.

        Nothing is sent over the network, and nothing sleeps: a call whose answer a fault lost
        takes effect, and a call that a fault prevented does not. Afterwards, the ledger, the
        requests and the deliveries are those of the session, and the clock stands at the time
        of its last request.

        Args:
            path: A file from `save_session`. This emulator must have the same seed and world.

        Returns:
            The requests whose answers differ from the recorded ones; none if all are the same.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is not a session, or needs another seed or another world.
        """
        running, session = self._serving(), Session.load(os.fspath(path))
        return running.do(functools.partial(running.controls.replay_session, session))

    def _notify_settings(self) -> None:
        self._changes.notify("settings")

    def _amount(self, external_player_id: str, kind: Kind, key: str) -> int:
        state = self._serving().controls.platform.state
        player = state.players.find(self._world.keys[0].game_id, external_player_id)
        return 0 if player is None else state.ledger.amount(player.id, kind, key)

    def _serving(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the emulator is not running")
        return self._running


class _Running:
    """The parts of an emulator that is running."""

    def __init__(
        self, controls: Controls, host: str, port: int, allowed_hosts: frozenset[str]
    ) -> None:
        self.controls: Final = controls
        self._process = os.getpid()
        self._server = _Server(controls, allowed_hosts)
        listener = _listen(host, port)
        reached_at = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104
        self.base_url: Final = f"http://{reached_at}:{listener.getsockname()[1]}"
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
        # A forked child does not have the thread, and must not use the database.
        if os.getpid() == self._process:
            self._stop()
            self.controls.drop_snapshots()
            self.controls.platform.state.close()

    def do(self, act: Callable[[], T]) -> T:
        """Run a function in the server's thread, where no call can interfere."""
        return self._server.do(act).result(_PATIENCE)

    def _stop(self) -> None:
        self._server.stop()
        self._thread.join(_PATIENCE)


class _Server(uvicorn.Server):
    """Uvicorn that reports when it is up, and stops at once on request."""

    def __init__(self, controls: Controls, allowed_hosts: frozenset[str]) -> None:
        self._controls = controls
        connections = controls.connections
        super().__init__(
            uvicorn.Config(
                App(
                    controls.platform,
                    ControlApi(controls).answer,
                    connections,
                    controls.changes,
                    allowed_hosts,
                ),
                http=connections.protocol(),
                interface="asgi3",
                ws="none",
                lifespan="off",
                # Connections are found by their clients' addresses, so no header may change them.
                proxy_headers=False,
                # uvicorn must not change the caller's logging. Without the headers Date and Server,
                # the same calls give the same bytes.
                log_config=None,
                access_log=False,
                date_header=False,
                server_header=False,
                # Long enough to keep the connection of a client that is stopped in a debugger.
                timeout_keep_alive=600,
            )
        )
        self.settled: Final = threading.Event()
        """Set once the server is up or has failed."""
        self.failure: BaseException | None = None
        """The error that stopped the server, if one did."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        # Loaded here, so that the event loop does not start with a long import.
        self.config.load()

    def serve_on(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self.serve(sockets=[listener]))
        except BaseException as error:  # uvicorn raises a SystemExit if it cannot start
            self.failure = error
            _logger.exception("The emulator has stopped")
        finally:
            self.settled.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        self.settled.set()

    async def main_loop(self) -> None:
        controls = self._controls
        delivering = asyncio.create_task(controls.webhooks.run())
        controls.clock.listen(self._notify_settings)
        # Uvicorn's own loop polls a flag ten times a second, so stopping would be slower.
        await self._stopped.wait()
        controls.clock.ignore(self._notify_settings)
        await self._stop_accepting()
        controls.connections.close()
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn's own method looks only ten times a second whether the connections have ended.
        # They are already being closed, so they end within a few steps of the loop.
        for server in self.servers:
            server.close()
        loop, state = asyncio.get_running_loop(), self.server_state
        give_up = loop.time() + _GRACE
        while (state.connections or state.tasks) and loop.time() < give_up:  # noqa: ASYNC110  # uvicorn has no event
            await asyncio.sleep(0.001)

    async def _stop_accepting(self) -> None:
        """Accept no more connections, and finish those that are being accepted.

        asyncio loses a connection that is accepted while its server is being closed. Its socket
        would stay open, and its client would wait, such as a page that reconnects.
        """
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listener in server.sockets:
                with suppress(NotImplementedError):  # on Windows
                    loop.remove_reader(listener)
        await asyncio.sleep(0)

    def _notify_settings(self) -> None:
        self._controls.changes.notify("settings")

    def do(self, act: Callable[[], T]) -> Future[T]:
        if self._loop is None:
            raise RuntimeError("the emulator is not running")  # pragma: no cover: start() waits

        async def in_the_loop() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(in_the_loop(), self._loop)

    def stop(self) -> None:
        self.should_exit = True
        if self._loop is not None:  # pragma: no branch: or starting was interrupted
            # The loop is closed already if serving has failed.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopped.set)


def _listen(host: str, port: int) -> socket.socket:
    # The protocol is passed because asyncio turns Nagle's algorithm off only for sockets with
    # IPPROTO_TCP. With it on, every answer waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # On Windows, the option lets two servers share a port.
        if sys.platform != "win32":  # pragma: no branch: another platform
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _address(host: str, *, expose_control: bool) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        raise ValueError(f"host must be an IPv4 address or localhost, not {host!r}") from None
    if not address.is_loopback and not expose_control:
        raise ValueError(
            f"host {host} can be reached from other machines, which could then control the"
            " emulator; allow that with expose_control (--expose-control)"
        )
    return host
