"""Addresses that are put together, next to the same ones read as a whole."""

from __future__ import annotations

import inspect

import httpx
import pytest

from kraty_admin._address import Address

ROOTS = [
    "https://api.kraty.io/server/v1",
    "http://127.0.0.1:8000/server/v1",
    "http://[::1]:8000/eu/server/v1",
]
PATHS = [
    "/ping",
    "/players/a%2Fb%20%C3%BC",
    "/players/p?limit=5",
    "/players/-_.!~*'()/wallet/gold/credit",
    "/x?a=%2B&b=",
]
PROPERTIES = sorted(
    name
    for name, member in inspect.getmembers(httpx.URL)
    # `raw` is deprecated, and warns.
    if isinstance(member, property) and not name.startswith("_") and name != "raw"
)


def test_properties() -> None:
    """All that httpx offers is looked at below."""
    assert {"raw_path", "path", "query", "params", "host", "netloc", "fragment"} <= {*PROPERTIES}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("root", ROOTS)
class TestAddress:
    """It is the URL that httpx would have made of the whole text."""

    def test_reads_like_the_whole(self, root: str, path: str) -> None:
        """Every property is the same, whoever looks at it."""
        address, whole = Address(httpx.URL(root), path), httpx.URL(root + path)
        for name in PROPERTIES:
            assert getattr(whole, name) == getattr(address, name), name
        for read in (str, repr, hash):
            assert read(whole) == read(address)

    def test_equals_the_whole(self, root: str, path: str) -> None:
        """Either way round, and as text too."""
        address, whole = Address(httpx.URL(root), path), httpx.URL(root + path)
        assert address == whole
        assert whole == address
        assert address == root + path
        assert address != httpx.URL(root)

    def test_derived(self, root: str, path: str) -> None:
        """What is derived from it is derived from the whole."""
        address, whole = Address(httpx.URL(root), path), httpx.URL(root + path)
        assert whole.copy_with(host="other.example") == address.copy_with(host="other.example")
        assert whole.copy_set_param("a", "b") == address.copy_set_param("a", "b")
        assert whole.join("sibling") == address.join("sibling")
