"""Attempts over the SDK's own connections."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpcore
import httpx

from .._call._exchange import Exchange, Failure, Limits, Outcome, Reply
from ..errors import KratyError
from ._backend import Backend, Watch
from ._body import LIMIT, too_large, unpack
from ._failures import as_of_httpx, is_network_failure, without_frames
from ._pool import KEPT_FOR, AsyncGate, Gate, Pool
from ._prepared import Prepared
from ._process import PerProcess, running_loop, this_process
from ._proxy import proxy_for
from ._tls import authorities, tls_context
from ._tunnel import Tunnel

if TYPE_CHECKING:
    import asyncio
    import ssl

__all__ = ["AsyncOwnChannel", "OwnChannel"]

T = TypeVar("T")

CONNECTIONS: Final = 100
"""How many calls may run at once, each on its own connection; further calls wait."""

_UNSOLICITED: Final = "the connection held a response before the request was sent"


class Endpoint:
    """How to reach the API. The constructor reads the environment, and nothing reads it later.

    Raises:
        ValueError: The environment names a proxy or certificates that cannot be used.
    """

    def __init__(self, prepared: Prepared) -> None:
        root = prepared.root
        self._trusted = authorities() if root.scheme == "https" else None
        self._proxy = proxy_for(str(root))
        self._prepared = prepared
        self._base = root.raw_path
        self.url = httpcore.URL(
            scheme=root.raw_scheme, host=root.raw_host, port=root.port, target=root.raw_path
        )
        self.ssl_context()  # so that certificates that cannot be read fail at construction

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context to use; `None` for a server without TLS."""
        return None if self._trusted is None else tls_context(self._trusted)

    def tunnel(self) -> Tunnel | None:
        """Return the proxy to connect through; `None` without one."""
        context = self.ssl_context()
        return None if self._proxy is None or context is None else Tunnel(self._proxy, context)

    def request(self, exchange: Exchange[T], limits: Limits) -> httpcore.Request:
        """Build a request from the prepared parts, which is faster than parsing a URL."""
        body = exchange.body
        headers = self._prepared.headers(body, exchange.headers).raw
        if body is not None:
            headers.append((b"Content-Length", b"%d" % len(body)))
        url = self.url
        request = httpcore.Request(
            exchange.method,
            httpcore.URL(
                scheme=url.scheme,
                host=url.host,
                port=url.port,
                target=self._base + exchange.path.encode("ascii"),
            ),
            content=body,
            extensions={"timeout": limits.timeout},
        )
        # Set, not passed: the constructor would check each name and value in Python.
        request.headers = headers
        return request


class Connection:
    """A connection for one call at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._watch = Watch()
        self._backend = Backend(self._watch, endpoint.tunnel())
        self._http = httpcore.HTTPConnection(
            endpoint.url.origin,
            ssl_context=endpoint.ssl_context(),
            keepalive_expiry=KEPT_FOR,
            network_backend=self._backend,
        )

    @property
    def has_ended(self) -> bool:
        """Whether the server has closed it, or sent unsolicited data, since its last call."""
        return self._http.has_expired()

    @property
    def was_sent(self) -> bool:
        """Whether any byte of the last request may have been sent."""
        return self._watch.was_sent

    @property
    def is_idle(self) -> bool:
        """Whether another call may use it."""
        return self._http.is_idle() and not _holds_more(self._http)

    def send(self, request: httpcore.Request, limits: Limits) -> Outcome:
        """Send a request and read the whole response."""
        watch = self._watch
        watch.begin(limits, is_open=self._backend.stream is not None)
        try:
            response = self._http.handle_request(request)
            if watch.was_sent and not watch.reads:
                raise httpcore.RemoteProtocolError(_UNSOLICITED)
            chunks: list[bytes] = []
            size = 0
            for chunk in response.iter_stream():
                size += len(chunk)
                if size > LIMIT:
                    raise too_large()
                chunks.append(chunk)
            response.close()
            return _reply(response, chunks)
        except Exception as error:
            if not is_network_failure(error):
                raise
            return _failure(error, watch)

    def close(self) -> None:
        """Close what is open, without asking httpcore, which may have been interrupted."""
        if self._backend.stream is not None:
            self._backend.stream.close()


class AsyncConnection:
    """A connection for one call at a time. The twin of `Connection`."""

    def __init__(self, endpoint: Endpoint) -> None:
        # Not at the top: a synchronous client does not need asyncio.
        from ._async_backend import AsyncBackend

        self._watch = Watch()
        self._backend = AsyncBackend(self._watch, endpoint.tunnel())
        self._http = httpcore.AsyncHTTPConnection(
            endpoint.url.origin,
            ssl_context=endpoint.ssl_context(),
            keepalive_expiry=KEPT_FOR,
            network_backend=self._backend,
        )

    @property
    def has_ended(self) -> bool:
        """Whether the server has closed it, or sent unsolicited data, since its last call."""
        return self._http.has_expired()

    @property
    def was_sent(self) -> bool:
        """Whether any byte of the last request may have been sent."""
        return self._watch.was_sent

    @property
    def is_idle(self) -> bool:
        """Whether another call may use it."""
        return self._http.is_idle() and not _holds_more(self._http)

    async def send(self, request: httpcore.Request, limits: Limits) -> Outcome:
        """Send a request and read the whole response."""
        watch = self._watch
        watch.begin(limits, is_open=self._backend.stream is not None)
        try:
            response = await self._http.handle_async_request(request)
            if watch.was_sent and not watch.reads:
                raise httpcore.RemoteProtocolError(_UNSOLICITED)
            chunks: list[bytes] = []
            size = 0
            async for chunk in response.aiter_stream():
                size += len(chunk)
                if size > LIMIT:
                    raise too_large()
                chunks.append(chunk)
            await response.aclose()
            return _reply(response, chunks)
        except Exception as error:
            if not is_network_failure(error):
                raise
            return _failure(error, watch)

    async def aclose(self) -> None:
        """Close what is open, without asking httpcore, which may have been interrupted."""
        if self._backend.stream is not None:
            await self._backend.stream.aclose()


class OwnChannel:
    """Performs attempts over the SDK's own connections."""

    def __init__(self, prepared: Prepared) -> None:
        self._endpoint = Endpoint(prepared)
        self.pools: Final = PerProcess(self._make_pool)
        self._closed = False

    def _make_pool(self) -> Pool[Connection, Gate]:
        return Pool(lambda: Connection(self._endpoint), Gate(CONNECTIONS))

    @property
    def is_closed(self) -> bool:
        return self._closed

    def attempt(self, exchange: Exchange[T], limits: Limits) -> Outcome:
        pool = self.pools.get()
        try:
            place = pool.gate.enter(limits.remaining("pool", time.monotonic()))
        except httpx.PoolTimeout as error:
            return Failure(without_frames(error), was_sent=False, was_tried=False)
        try:
            for expired in pool.take_expired(KEPT_FOR):
                expired.close()
            connection = pool.take()
            while connection.has_ended:
                connection.close()
                connection = pool.take()
            request = self._endpoint.request(exchange, limits)
            exchange.in_doubt = True
            try:
                outcome = connection.send(request, limits)
            except BaseException:
                exchange.in_doubt = connection.was_sent
                connection.close()
                raise
            if isinstance(outcome, Reply) and connection.is_idle:
                pool.give_back(connection)
            else:
                connection.close()
        finally:
            del place  # the next in line gets it
        if self._closed:
            self.close()
        return outcome

    def close(self) -> None:
        self._closed = True
        pool = self.pools.peek()
        for connection in pool.take_expired(0.0) if pool is not None else ():
            connection.close()


class AsyncOwnChannel:
    """Performs attempts over the SDK's own connections. The twin of `OwnChannel`."""

    def __init__(self, prepared: Prepared) -> None:
        self._endpoint = Endpoint(prepared)
        self.pools: Final = PerProcess(self._make_pool)
        self._loops: dict[tuple[int, int], asyncio.AbstractEventLoop] = {}
        self._closed = False

    def _make_pool(self) -> Pool[AsyncConnection, AsyncGate]:
        return Pool(lambda: AsyncConnection(self._endpoint), AsyncGate(CONNECTIONS))

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def attempt(self, exchange: Exchange[T], limits: Limits) -> Outcome:
        self.claim_loop()
        pool = self.pools.get()
        try:
            await pool.gate.enter(limits.remaining("pool", time.monotonic()))
        except httpx.PoolTimeout as error:
            return Failure(without_frames(error), was_sent=False, was_tried=False)
        try:
            for expired in pool.take_expired(KEPT_FOR):
                await expired.aclose()
            connection = pool.take()
            while connection.has_ended:
                await connection.aclose()
                connection = pool.take()
            request = self._endpoint.request(exchange, limits)
            exchange.in_doubt = True
            try:
                outcome = await connection.send(request, limits)
            except BaseException:
                exchange.in_doubt = connection.was_sent
                await connection.aclose()
                raise
            if isinstance(outcome, Reply) and connection.is_idle:
                pool.give_back(connection)
            else:
                await connection.aclose()
        finally:
            pool.gate.leave()
        if self._closed:
            await self.aclose()
        return outcome

    def claim_loop(self) -> None:
        if not self._is_at_home():
            # Its connections belong to the first loop; they would hang or fail in this one.
            raise KratyError(
                "this KratyAdminAsync was first used in another event loop: make one per loop"
            )

    def _is_at_home(self) -> bool:
        """Return whether this is the event loop that the channel was first used in."""
        running = running_loop()
        return self._loops.setdefault(this_process(), running) is running

    async def aclose(self) -> None:
        at_home = self._is_at_home()
        if not at_home and not self._loops[this_process()].is_closed():
            raise KratyError("close this KratyAdminAsync in the event loop that it was used in")
        self._closed = True
        pool = self.pools.peek()
        for connection in pool.take_expired(0.0) if at_home and pool is not None else ():
            await connection.aclose()


def _holds_more(http: httpcore.HTTPConnection | httpcore.AsyncHTTPConnection) -> bool:
    """Return whether the start of another response came with the one that was read.

    The next call would take that response for its own. httpcore has no public name for it.
    """
    h11_state: Any = getattr(getattr(http, "_connection", None), "_h11_state", None)
    return h11_state is not None and bool(h11_state.trailing_data[0])


def _reply(response: httpcore.Response, chunks: list[bytes]) -> Reply:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers:
        name = raw_name.decode("ascii").lower()
        try:
            value = raw_value.decode()
        except UnicodeDecodeError:
            value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    body = b"".join(chunks)
    encoding = headers.get("content-encoding")
    return Reply(response.status, headers, body if encoding is None else unpack(body, encoding))


def _failure(error: Exception, watch: Watch) -> Failure:
    # A mock raises httpx's exceptions without sending anything. So the kind of exception
    # decides whether the request counts as sent.
    is_mocked = isinstance(error, httpx.HTTPError) and not watch.was_sent
    return Failure(
        as_of_httpx(without_frames(error)),
        was_sent=None if is_mocked else watch.was_sent,
        was_tried=is_mocked or watch.was_tried,
    )
