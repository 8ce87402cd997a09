"""The clients: options, lifecycle and resources. `_call/` holds the logic of a call."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from random import random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

import httpx

from kraty_server_api.operation import Operation
from kraty_server_api.resources import AsyncResources, Resources

from ._call._idempotency import random_keys, stamp
from ._call._json import encode
from ._call._limiter import Limiter
from ._call._retry import RetryBudget, RetryConfig
from ._settings import UNCHANGED, ServerAccess, Settings, Unchanged, make_access, make_settings
from ._transport._client_types import AsyncHTTPClient, HTTPClient
from ._transport._secret import Secret
from .errors import KratyClosedError
from .telemetry import RequestHook

if TYPE_CHECKING:
    from kraty_server_api.imports import AsyncSource, ImportOptions, ImportReport, Source

    from ._call._exchange import Exchange
    from ._transport._sender import AsyncSender, Sender

__all__ = ["KratyAdmin", "KratyAdminAsync"]

T = TypeVar("T")
P = TypeVar("P", "Sender", "AsyncSender")
C = TypeVar("C", bound="_Client[Any]")
S = TypeVar("S", bound="KratyAdmin")
A = TypeVar("A", bound="KratyAdminAsync")

DEFAULT_RETRY_BUDGET: Final = 100


class Route(Generic[P]):
    """Where a client sends its calls, with the state that must not outlive a test."""

    def __init__(
        self, access: ServerAccess, sender: P, budget: RetryBudget, *, is_closed: bool
    ) -> None:
        self.access = access
        self.sender: P = sender
        self.budget = budget
        self.is_closed = is_closed


class _Client(Generic[P]):
    """Base class of both clients: everything but performing a call."""

    _access: ServerAccess
    _settings: Settings
    _budget: RetryBudget
    _limiter: Limiter
    _generate_key: Callable[[], str]
    _sender: P
    _http_client: object
    _closed: bool
    _derived: bool

    def _set_up(
        self,
        *,
        key: Secret,
        base_url: str | None,
        timeout: float | httpx.Timeout | None,
        deadline: float | None,
        retry: RetryConfig | None,
        retry_budget: int | None,
        generate_idempotency_key: Callable[[], str] | None,
        on_request: RequestHook | None,
    ) -> None:
        if retry_budget is not None and (
            not isinstance(retry_budget, int) or isinstance(retry_budget, bool) or retry_budget < 0  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
        ):
            raise ValueError("retry_budget must be an int of at least 0, or None for no limit")
        if generate_idempotency_key is not None and not callable(generate_idempotency_key):
            raise TypeError("generate_idempotency_key must be callable")
        self._settings = make_settings(
            timeout=timeout, deadline=deadline, retry=retry, on_request=on_request
        )
        self._access = make_access(key, base_url)
        self._budget = RetryBudget(retry_budget)
        self._limiter = Limiter()
        self._generate_key = generate_idempotency_key or random_keys()
        self._closed = False
        self._derived = False

    def with_options(
        self: C,
        *,
        timeout: float | httpx.Timeout | Unchanged | None = UNCHANGED,
        deadline: float | Unchanged | None = UNCHANGED,
        retry: RetryConfig | Unchanged | None = UNCHANGED,
        on_request: RequestHook | Unchanged | None = UNCHANGED,
    ) -> C:
        """Return a client with other options that shares the connections and the retry budget.

        Options that you leave out keep their value; `None` restores the default. Closing the
        returned client leaves this one open. Closing this one closes both.

        Args:
            timeout: Seconds for each step of an attempt, or an `httpx.Timeout` to set each.
                `None` means 15, or 60 for `migrate`.
            deadline: Seconds for a whole call; `math.inf` for no limit, `None` for 120.
            retry: When and how often to retry; `None` for `RetryConfig()`.
            on_request: Called after each attempt; `None` for no hook.

        Raises:
            TypeError, ValueError: An argument is invalid.
        """
        settings = make_settings(
            self._settings, timeout=timeout, deadline=deadline, retry=retry, on_request=on_request
        )
        other = object.__new__(type(self))
        other._access = self._access
        other._settings = settings
        other._budget = self._budget
        other._limiter = self._limiter
        other._generate_key = self._generate_key
        other._http_client = self._http_client
        other._closed = self._closed
        other._derived = True
        other._sender = self._sender
        return other

    def _hooked(self: C, wrap: Callable[[RequestHook | None], RequestHook]) -> C:
        """Return this client with another hook around its own."""
        return self.with_options(on_request=wrap(self._settings.on_request))

    def _make_sender(self, access: ServerAccess) -> P:
        raise NotImplementedError

    def _route_to(self, access: ServerAccess) -> Route[P]:
        """Return a route to another server. It uses the caller's http_client if there is one."""
        sender = self._make_sender(access)
        sender.observer = self._sender.observer
        return Route(access, sender, self._budget.refilled(), is_closed=False)

    @property
    def _route(self) -> Route[P]:
        """Where calls go. The emulator replaces it for the duration of a test.

        A call in progress makes its remaining attempts on the route that it started with.
        """
        return Route(self._access, self._sender, self._budget, is_closed=self._closed)

    @_route.setter
    def _route(self, route: Route[P]) -> None:
        self._access = route.access
        self._sender = route.sender
        self._budget = route.budget
        self._closed = route.is_closed
        self._limiter.reset()

    def _exchange(self, operation: Operation[T]) -> Exchange[T]:
        """Check a call, add its idempotency key and encode its body. Nothing is sent yet."""
        # Imported here to keep the package's import short. The constructor has imported it
        # already, so no call waits for another thread's import.
        from ._call._exchange import Exchange

        if self.is_closed:
            what = "" if self._closed else ", or the client whose connections it uses,"
            raise KratyClosedError(f"this {type(self).__name__}{what} is closed")
        body, key = stamp(operation.method, operation.body, self._generate_key)
        settings = self._settings
        return Exchange(
            operation,
            url=self._access.root + operation.path,
            body=None if body is None else encode(body),
            idempotency_key=key,
            retry=settings.retry,
            budget=self._budget,
            timeout=settings.timeout_of(operation.timeout),
            ends_at=time.monotonic() + settings.deadline,
            random=random,
        )

    @property
    def is_closed(self) -> bool:
        """True once this client, or the connections it uses, are closed."""
        return self._closed or self._sender.channel.is_closed

    @property
    def base_url(self) -> str:
        """The URL of the API, without `/server/v1`."""
        return self._access.origin

    def __repr__(self) -> str:
        if not hasattr(self, "_sender"):
            # Tracebacks with locals show this if `__init__` rejects an argument.
            return f"<{type(self).__name__} (not initialised)>"
        key = f"{self._access.key_prefix}.***" if self._access.key_prefix else "***"
        state = " closed" if self.is_closed else ""
        return f"<{type(self).__name__} {self._access.origin} key={key}{state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} holds a secret and open connections, so it cannot be "
            "pickled: make one per process"
        )


class KratyAdmin(Resources, _Client["Sender"]):
    """A client of Kraty's server API for one game.

    Create one and keep it: it holds a pool of connections, is safe to use from many
    threads, and opens new connections in each forked process. Close it when done, or use
    it as a context manager.

    Args:
        api_key: A `server_integration` key. Default: `KRATY_SERVER_KEY` in the environment.
        base_url: The URL of the API, without `/server/v1`. Default: `KRATY_BASE_URL` in the
            environment, or else `https://api.kraty.io`. `http://` is accepted only for
            loopback addresses, or with one of the emulator's own keys.
        timeout: Seconds for each step of an attempt (connecting, each read, each write), or
            an `httpx.Timeout` to set each. Default: 15, or 60 for `migrate`.
            Waiting for a free connection may take until the deadline, unless an
            `httpx.Timeout` limits it.
        deadline: Seconds for a whole call, including retries and waits. Nothing is sent after
            it. If the system takes longer than that to resolve a name, the call ends when the
            name is resolved.
            Default: 120; `math.inf` for no limit.
        retry: When and how often to retry.
        retry_budget: How many retries all threads together may spend. Each successful call
            gives one back. `None` for no limit.
        http_client: Your own `httpx.Client` or `httpx2.Client`, with its proxies, hooks and
            transports. The SDK does not close it, and does not use its authentication
            or redirects. Make its pool larger than the number of concurrent calls. A
            response hook that raises must `read()` the response first, or the server's error
            is lost. You lose some safeguards of the SDK's own connections: see "A client of
            your own" in the documentation.
        generate_idempotency_key: Returns the key for a write to which you pass none.
            Default: a random UUID.
        on_request: Called with a `RequestInfo` after each attempt. Exceptions that it raises
            are logged and do not fail the call.

    Raises:
        TypeError, ValueError: An argument is invalid, or the environment names a proxy
            or a CA file that cannot be used.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float | httpx.Timeout | None = None,
        deadline: float | None = None,
        retry: RetryConfig | None = None,
        retry_budget: int | None = DEFAULT_RETRY_BUDGET,
        http_client: httpx.Client | HTTPClient | None = None,
        generate_idempotency_key: Callable[[], str] | None = None,
        on_request: RequestHook | None = None,
    ) -> None:
        key = Secret(api_key)
        del api_key  # a traceback that shows locals must not show it
        self._set_up(
            key=key,
            base_url=base_url,
            timeout=timeout,
            deadline=deadline,
            retry=retry,
            retry_budget=retry_budget,
            generate_idempotency_key=generate_idempotency_key,
            on_request=on_request,
        )
        self._http_client = http_client
        self._sender = self._make_sender(self._access)
        self._load_resources()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int | float | bool | None] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Call an endpoint that this version has no method for.

        Retries, idempotency keys and errors work as in any other call. The SDK does not know
        how long the platform keeps the key of such a call: do not repeat it more than 24 hours
        after the first call.

        Args:
            method: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
            path: The path below `/server/v1`, with its ids percent-encoded, such as
                `/leaderboards/weekly/score`.
            body: The JSON body of a POST, PUT or PATCH, with the API's names. The SDK adds an
                `idempotencyKey` if it is missing.
            query: The query parameters; those that are `None` are left out.
            idempotency_key: The key of a POST, PUT or PATCH, if it is not in the body. With this
                argument, a body that holds a different `idempotencyKey`, or a null one, is
                rejected.

        Returns:
            The answer's `data` if that is its only field, otherwise the whole answer. An
            object is a dict with `.http`; its `.replayed` is `None`. An answer without a
            body is an empty dict.

        Raises:
            TypeError, ValueError: An argument is invalid; nothing was sent.
            KratyServerError: The server rejected the call or failed.
            KratyNetworkError: No complete answer arrived.
            KratyClosedError: The client is closed; nothing was sent.
        """
        # Imported here because most programs never need it; so does the asynchronous twin.
        from ._call._request import raw_operation

        return self._call(raw_operation(method, path, body, query, idempotency_key))

    def close(self) -> None:
        """Close the connections; calls after this raise `KratyClosedError`. Safe to repeat.

        Calls in progress in other threads still get their answers.
        """
        if not self._closed and not self._derived:
            self._sender.channel.close()
        self._closed = True

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _make_sender(self, access: ServerAccess) -> Sender:
        from ._transport._sender import Sender

        if self._http_client is not None:
            from ._transport._lent import LentChannel

            return Sender(LentChannel(access.prepared, self._http_client))
        # Imported here because httpcore takes longer to import than the whole package.
        from ._transport._own import OwnChannel

        return Sender(OwnChannel(access.prepared_whole))

    def _call(self, operation: Operation[T], /) -> T:
        return self._sender.perform(self._exchange(operation), self._settings.on_request)

    def _import_rows(
        self,
        kind: str,
        rows: Source,
        mapping: Mapping[str, str] | None,
        preset: str | None,
        options: ImportOptions,
        /,
    ) -> ImportReport:
        # Imported here because most programs import no rows.
        from ._bulk._imports import ImportClient, import_rows

        client = ImportClient[Resources](
            self._hooked, self.base_url, self._limiter, self._access.key_id
        )
        return import_rows(client, kind, rows, mapping, preset, options)


class KratyAdminAsync(AsyncResources, _Client["AsyncSender"]):
    """A client of Kraty's server API for one game, for asyncio.

    It has the arguments, resources and methods of `KratyAdmin`; await the methods.
    Create one per event loop and keep it. Close it with `await close()`, or use it as an
    asynchronous context manager.

    Args:
        api_key: See `KratyAdmin` for this and the following arguments.
        base_url: The URL of the API.
        timeout: Seconds for each step of an attempt.
        deadline: Seconds for a whole call. Slow name resolution does not extend it.
        retry: When and how often to retry.
        retry_budget: How many retries all tasks together may spend.
        http_client: Your own `httpx.AsyncClient` or `httpx2.AsyncClient`.
        generate_idempotency_key: Returns the key for a write to which you pass none.
        on_request: A plain function, called after each attempt.

    Raises:
        TypeError, ValueError: An argument is invalid.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float | httpx.Timeout | None = None,
        deadline: float | None = None,
        retry: RetryConfig | None = None,
        retry_budget: int | None = DEFAULT_RETRY_BUDGET,
        http_client: httpx.AsyncClient | AsyncHTTPClient | None = None,
        generate_idempotency_key: Callable[[], str] | None = None,
        on_request: RequestHook | None = None,
    ) -> None:
        key = Secret(api_key)
        del api_key  # a traceback that shows locals must not show it
        self._set_up(
            key=key,
            base_url=base_url,
            timeout=timeout,
            deadline=deadline,
            retry=retry,
            retry_budget=retry_budget,
            generate_idempotency_key=generate_idempotency_key,
            on_request=on_request,
        )
        self._http_client = http_client
        self._sender = self._make_sender(self._access)
        self._load_resources()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int | float | bool | None] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Call an endpoint that this version has no method for; see `KratyAdmin.request`."""
        from ._call._request import raw_operation

        return await self._call(raw_operation(method, path, body, query, idempotency_key))

    async def close(self) -> None:
        """Close the connections; calls after this raise `KratyClosedError`. Safe to repeat.

        Calls in progress in other tasks still get their answers.

        Raises:
            KratyError: The client has connections in another event loop: close it there.
        """
        if not self._closed and not self._derived:
            await self._sender.channel.aclose()
        self._closed = True

    async def __aenter__(self: A) -> A:
        self._sender.channel.claim_loop()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _make_sender(self, access: ServerAccess) -> AsyncSender:
        from ._transport._sender import AsyncSender

        if self._http_client is not None:
            from ._transport._lent import AsyncLentChannel

            return AsyncSender(AsyncLentChannel(access.prepared, self._http_client))
        # Imported here because httpcore takes longer to import than the whole package.
        from ._transport._own import AsyncOwnChannel

        return AsyncSender(AsyncOwnChannel(access.prepared_whole))

    async def _call(self, operation: Operation[T], /) -> T:
        return await self._sender.perform(self._exchange(operation), self._settings.on_request)

    async def _import_rows(
        self,
        kind: str,
        rows: AsyncSource,
        mapping: Mapping[str, str] | None,
        preset: str | None,
        options: ImportOptions,
        /,
    ) -> ImportReport:
        from ._bulk._imports import ImportClient, import_rows_async

        client = ImportClient[AsyncResources](
            self._hooked, self.base_url, self._limiter, self._access.key_id
        )
        return await import_rows_async(client, kind, rows, mapping, preset, options)
