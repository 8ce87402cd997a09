"""The parts of a request that are the same for all calls of a client."""

from __future__ import annotations

import httpx

__all__ = ["Prepared"]


class Prepared:
    """URL and headers that all requests of a client share.

    The headers carry the API key. Nothing here has a repr that shows it.
    """

    def __init__(
        self, root: httpx.URL, without_body: httpx.Headers, with_body: httpx.Headers
    ) -> None:
        self.root = root
        self._without_body = without_body
        self._with_body = with_body

    def headers(self, body: bytes | None) -> httpx.Headers:
        """The headers of a request with this body."""
        return self._without_body if body is None else self._with_body
