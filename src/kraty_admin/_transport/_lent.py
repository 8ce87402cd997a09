"""Attempts over an HTTP client that the caller made, of httpx or of its fork httpx2."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, TypeVar, cast

import httpx

from .._call._exchange import Exchange, Failure, Limits, Outcome, Reply
from ..errors import KratyError
from ._failures import as_of_httpx, is_network_failure, without_frames
from ._prepared import Prepared
from ._process import running_loop, this_process

__all__ = ["AsyncLentChannel", "LentChannel"]

T = TypeVar("T")


class Phases(Mapping[str, float | None]):
    """The timeouts of an attempt by phase. The transport asks for each as the phase begins.

    If they were fixed at the start, every phase could take as long as the whole call.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def __getitem__(self, phase: str) -> float | None:
        return self._limits.remaining(phase, time.monotonic())

    def __iter__(self) -> Iterator[str]:
        return iter(self._limits.timeout)

    def __len__(self) -> int:
        return len(self._limits.timeout)


class Body:
    """Collects a response's body until the deadline.

    The read timeout is not enough: a server that sends slowly but steadily never exceeds it.
    """

    def __init__(self, ends_at: float) -> None:
        self._ends_at = ends_at
        self._chunks: list[bytes] = []
        self._is_late = False

    def add(self, chunk: bytes) -> None:
        if self._is_late:
            raise httpx.ReadTimeout("the deadline passed while the response was being received")
        self._chunks.append(chunk)
        # A late chunk is still accepted, because it may complete the response.
        self._is_late = time.monotonic() >= self._ends_at

    def unpacked(self, response: httpx.Response, family: ModuleType) -> bytes:
        """Return the whole body, without the content encodings that the client knows.

        It is not unpacked chunk by chunk: compressed data that unpacks to nothing would yield
        no chunk, so the deadline would not be checked.
        """
        whole = b"".join(self._chunks)
        if "content-encoding" not in response.headers:
            return whole
        unpacked: bytes = family.Response(
            response.status_code, headers=response.headers, content=whole
        ).content
        return unpacked


class Departure:
    """Records whether a request was sent.

    An exception alone does not show this: it may come from a hook that called another server,
    or from a transport's second try after the first one had sent the request.
    """

    def __init__(self, request: httpx.Request, limits: Limits) -> None:
        self._request = request
        self._limits = limits
        self._was_sent = False

    def note(self, event: str, info: Mapping[str, Any]) -> None:
        """Record an event of the `trace` extension.

        Raises:
            httpx.ConnectTimeout: The deadline passed while the transport connected. A request
                sent now could take effect after the caller has given up.
        """
        if event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT":
            if self._limits.is_over(time.monotonic(), time.time()):
                raise httpx.ConnectTimeout("the deadline passed before the request was sent")
            self._was_sent = True

    async def note_async(self, event: str, info: Mapping[str, Any]) -> None:
        """Record an event of the `trace` extension. The twin of `note`."""
        self.note(event, info)

    def outcome(self, cause: Exception, family: ModuleType) -> Outcome:
        """Return the attempt's outcome, given the exception that ended it."""
        if isinstance(cause, family.HTTPStatusError):
            response = cast("httpx.HTTPStatusError", cause).response
            if response.request == self._request:
                # A hook that calls `raise_for_status()` raises this.
                return _reply(response, _content(response, family))
            # An error response from another server says nothing about our request.
            cause = httpx.NetworkError(f"a hook of http_client raised {cause}")
        # None leaves it to the kind of failure: a custom transport may send without a trace.
        return Failure(as_of_httpx(without_frames(cause)), was_sent=self._was_sent or None)


class LentChannel:
    """Performs attempts over the caller's client.

    Raises:
        TypeError: `client` is not a client of httpx or httpx2.
    """

    def __init__(self, prepared: Prepared, client: object) -> None:
        self._family = _family_of(client, "Client")
        # Clients of httpx2 have the same interface.
        self._client = cast("httpx.Client", client)
        self._prepared = prepared
        self._closed = False
        self._process: tuple[int, int] | None = None

    @property
    def is_closed(self) -> bool:
        return self._closed or self._client.is_closed

    def attempt(self, exchange: Exchange[T], limits: Limits) -> Outcome:
        client = self._client
        self._process = _same_process(self._process)
        if client.is_closed:
            return Failure(httpx.ConnectError("http_client was closed"))
        request = _request_of(client, self._prepared, exchange, limits)
        departure = Departure(request, limits)
        request.extensions["trace"] = departure.note
        exchange.in_doubt = True  # a custom transport may send without a trace
        try:
            response = client.send(request, auth=None, follow_redirects=False, stream=True)
            try:
                if response.is_stream_consumed:
                    return _reply(response, response.content)  # a hook or a mock has read it
                body = Body(limits.ends_at)
                for chunk in response.iter_raw():
                    body.add(chunk)
                return _reply(response, body.unpacked(response, self._family))
            finally:
                response.close()
        except Exception as cause:
            if not is_network_failure(cause, over_transport=True):
                raise
            return departure.outcome(cause, self._family)

    def close(self) -> None:
        """Refuse further attempts. The HTTP client stays open, because it is the caller's."""
        self._closed = True


class AsyncLentChannel:
    """Performs attempts over the caller's client. The twin of `LentChannel`.

    Raises:
        TypeError: `client` is not an asynchronous client of httpx or httpx2.
    """

    def __init__(self, prepared: Prepared, client: object) -> None:
        self._family = _family_of(client, "AsyncClient")
        # Clients of httpx2 have the same interface.
        self._client = cast("httpx.AsyncClient", client)
        self._prepared = prepared
        self._closed = False
        self._process: tuple[int, int] | None = None

    @property
    def is_closed(self) -> bool:
        return self._closed or self._client.is_closed

    def claim_loop(self) -> None:
        pass  # the caller's client may serve several loops, if its transport can

    async def attempt(self, exchange: Exchange[T], limits: Limits) -> Outcome:
        running_loop()  # refuses trio, where the waits between attempts would fail
        client = self._client
        self._process = _same_process(self._process)
        if client.is_closed:
            return Failure(httpx.ConnectError("http_client was closed"))
        request = _request_of(client, self._prepared, exchange, limits)
        departure = Departure(request, limits)
        request.extensions["trace"] = departure.note_async
        exchange.in_doubt = True  # a custom transport may send without a trace
        try:
            response = await client.send(request, auth=None, follow_redirects=False, stream=True)
            try:
                if response.is_stream_consumed:
                    return _reply(response, response.content)  # a hook or a mock has read it
                body = Body(limits.ends_at)
                async for chunk in response.aiter_raw():
                    body.add(chunk)
                return _reply(response, body.unpacked(response, self._family))
            finally:
                await response.aclose()
        except Exception as cause:
            if not is_network_failure(cause, over_transport=True):
                raise
            return departure.outcome(cause, self._family)

    async def aclose(self) -> None:
        """Refuse further attempts. The HTTP client stays open, because it is the caller's."""
        self._closed = True


def _family_of(client: object, name: str) -> ModuleType:
    """Return the package whose class `name` this client is an instance of."""
    for package in ("httpx", "httpx2"):
        # If the client comes from httpx2, someone has imported httpx2.
        module = sys.modules.get(package)
        if module is not None and isinstance(client, getattr(module, name)):
            return module
    kind = type(client)
    raise TypeError(
        f"http_client must be an httpx.{name}, not {kind.__module__}.{kind.__qualname__}"
    )


def _request_of(
    client: httpx.Client | httpx.AsyncClient,
    prepared: Prepared,
    exchange: Exchange[T],
    limits: Limits,
) -> httpx.Request:
    """Build the request with the caller's client, which adds its own headers to ours."""
    return client.build_request(
        exchange.method,
        exchange.url,
        headers=prepared.headers(exchange.body, exchange.headers),
        content=exchange.body,
        extensions={"timeout": Phases(limits)},
    )


def _reply(response: httpx.Response, body: bytes) -> Reply:
    return Reply(response.status_code, dict(response.headers.items()), body)


def _content(response: httpx.Response, family: ModuleType) -> bytes:
    """Return the body if the hook has read it; empty if not."""
    try:
        return response.content
    except family.ResponseNotRead:
        return b""


def _same_process(first: tuple[int, int] | None) -> tuple[int, int]:
    """Return this process's identity; refuse a client that the parent used before a fork."""
    process = this_process()
    if first not in (None, process):
        raise KratyError(
            "http_client was first used in another process. Each process could receive the "
            "other's responses over its connections: make one client per process"
        )
    return process
