"""The addresses of requests."""

from __future__ import annotations

from typing import Any

import httpx

__all__ = ["Address"]


class Address(httpx.URL):
    """The URL of a path below the API's root.

    Reading a whole URL is a tenth of what a call costs. The root has been read when the
    client was made, and the path is percent-encoded already, so that this only puts one
    behind the other. A transport asks for `raw_path`; the rest is for those who look on.
    """

    def __init__(self, root: httpx.URL, path: str) -> None:
        super().__init__(root)
        self._target = root.raw_path + path.encode("ascii")

    def _read(self) -> httpx.URL:
        return super().copy_with(raw_path=self._target)

    @property
    def raw_path(self) -> bytes:
        return self._target

    @property
    def path(self) -> str:
        return self._read().path

    @property
    def query(self) -> bytes:
        return self._read().query

    @property
    def params(self) -> httpx.QueryParams:
        return self._read().params

    def copy_with(self, **kwargs: Any) -> httpx.URL:
        return self._read().copy_with(**kwargs)

    def join(self, url: httpx.URL | str) -> httpx.URL:
        return self._read().join(url)

    def __str__(self) -> str:
        return str(self._read())

    def __repr__(self) -> str:
        return repr(self._read())
