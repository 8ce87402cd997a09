"""The types of an HTTP client that the caller made."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

__all__ = ["AsyncHTTPClient", "HTTPClient"]


class HTTPClient(Protocol):
    """An `httpx.Client` or `httpx2.Client`, described so that httpx2 need not be installed."""

    @property
    def is_closed(self) -> bool: ...

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        extensions: Mapping[str, Any],
    ) -> Any: ...

    def send(self, request: Any, *, stream: bool, auth: None, follow_redirects: bool) -> Any: ...

    def close(self) -> None: ...


class AsyncHTTPClient(Protocol):
    """An `httpx.AsyncClient` or `httpx2.AsyncClient`; httpx2 need not be installed."""

    @property
    def is_closed(self) -> bool: ...

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        extensions: Mapping[str, Any],
    ) -> Any: ...

    def send(
        self, request: Any, *, stream: bool, auth: None, follow_redirects: bool
    ) -> Coroutine[Any, Any, Any]: ...

    def aclose(self) -> Coroutine[Any, Any, None]: ...
