"""Attempts over a client that the caller made: httpx's, or that of its fork httpx2."""

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
    """A response's body as it comes in.

    A server that sends it slowly but steadily never runs into the read timeout, and so
    could outlast the deadline.
    """

    def __init__(self, ends_at: float) -> None:
        self._ends_at = ends_at
        self._chunks: list[bytes] = []
        self._is_late = False

    def add(self, chunk: bytes) -> None:
        if self._is_late:
            raise httpx.ReadTimeout("the deadline passed while the response was coming in")
        self._chunks.append(chunk)
        # A chunk that comes late may be the last one, which completes the response.
        self._is_late = time.monotonic() >= self._ends_at

    def unpacked(self, response: httpx.Response, family: ModuleType) -> bytes:
        """Return the whole body, with the content encodings undone that the client knows.

        Not unpacked as it comes in: an endless stream of packed nothing would show no chunk.
        """
        whole = b"".join(self._chunks)
        if "content-encoding" not in response.headers:
            return whole
        unpacked: bytes = family.Response(
            response.status_code, headers=response.headers, content=whole
        ).content
        return unpacked


class Departure:
    """Whether a request was sent.

    What is raised does not say so: a hook may have asked another server, or the transport
    may have tried another way after the first.
    """

    def __init__(self, request: httpx.Request, ends_at: float) -> None:
        self._request = request
        self._ends_at = ends_at
        self._was_sent = False

    def note(self, event: str, info: Mapping[str, Any]) -> None:
        """Note an event of the `trace` extension.

        Raises:
            httpx.ConnectTimeout: The deadline passed while the transport connected. What
                is sent after it could take effect when the caller has given up.
        """
        if event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT":
            if time.monotonic() >= self._ends_at:
                raise httpx.ConnectTimeout("the deadline passed before the request was sent")
            self._was_sent = True

    async def note_async(self, event: str, info: Mapping[str, Any]) -> None:
        """Note an event of the `trace` extension. The twin of `note`."""
        self.note(event, info)

    def outcome(self, cause: Exception, family: ModuleType) -> Outcome:
        """Return the attempt's outcome, judged by what was raised."""
        if isinstance(cause, family.HTTPStatusError):
            response = cast("httpx.HTTPStatusError", cause).response
            if response.request == self._request:
                # A hook that calls `raise_for_status()` raises this.
                return _reply(response, _content(response, family))
            # Another server's refusal says nothing about our request.
            cause = httpx.NetworkError(f"a hook of http_client raised {cause}")
        elif isinstance(cause, KratyError):
            # Nor does the error of another call, made in a hook or a custom transport. It
            # names that call's key, and says whether that call took effect.
            cause = httpx.NetworkError(f"code of http_client raised {type(cause).__name__}: {cause}")
        # None: by the kind of failure, since a custom transport may send without a trace.
        return Failure(without_frames(as_of_httpx(cause)), was_sent=self._was_sent or None)


class LentChannel:
    """Performs attempts over the caller's client.

    Raises:
        TypeError: It is not a client of httpx or httpx2.
    """

    def __init__(self, prepared: Prepared, client: object) -> None:
        self._family = _family_of(client, "Client")
        # Those of httpx2 have the same interface.
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
        departure = Departure(request, limits.ends_at)
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
        """Leave the client open: it is the caller's."""
        self._closed = True


class AsyncLentChannel:
    """Performs attempts over the caller's client. The twin of `LentChannel`.

    Raises:
        TypeError: It is not an asynchronous client of httpx or httpx2.
    """

    def __init__(self, prepared: Prepared, client: object) -> None:
        self._family = _family_of(client, "AsyncClient")
        # Those of httpx2 have the same interface.
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
        departure = Departure(request, limits.ends_at)
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
        """Leave the client open: it is the caller's."""
        self._closed = True


def _family_of(client: object, name: str) -> ModuleType:
    """Return the package whose class `name` this client is an instance of."""
    for package in ("httpx", "httpx2"):
        # If the client is of httpx2, that has been imported.
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
    """Build the request with the caller's client, with its headers and ours."""
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
    """Return this process; refuse a client that its parent used before the fork."""
    process = this_process()
    if first not in (None, process):
        raise KratyError(
            "http_client was first used in another process, and its connections would cross "
            "responses with that one's: make one per process"
        )
    return process
