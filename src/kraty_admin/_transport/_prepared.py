"""The parts of a request that are the same for all calls of a client."""

from __future__ import annotations

import httpx

__all__ = ["Prepared"]


class Prepared:
    """URL and headers that all requests of a client share.

    The headers hold the API key; this class's repr does not show it.
    """

    def __init__(
        self, root: httpx.URL, without_body: httpx.Headers, with_body: httpx.Headers
    ) -> None:
        self.root = root
        self._without_body = without_body
        self._with_body = with_body

    def headers(self, body: bytes | None, more: tuple[tuple[str, str], ...] = ()) -> httpx.Headers:
        """Return the headers of a request with this body, including those of its operation."""
        shared = self._without_body if body is None else self._with_body
        if not more:
            return shared
        headers = shared.copy()
        # As bytes: httpx would encode text as ASCII. `update` replaces headers of the same name.
        headers.update(
            [
                (name.encode("ascii"), value.encode("latin-1"))
                for name, value in more
                if body is not None or name != "Content-Type"
            ]
        )
        return headers
