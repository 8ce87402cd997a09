"""Point existing clients at an emulator, for the duration of a test.

The SDK keeps no list of its clients, because that would cost time in production. The garbage
collector knows them. Asking it takes about 30 ms in a process with a million objects.
"""
# pyright: reportPrivateUsage=false
# `_Client._route` exists for this module.

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias
from weakref import WeakSet

from kraty_admin import KratyAdmin, KratyAdminAsync
from kraty_admin._client import Route
from kraty_admin._settings import ServerAccess, make_access
from kraty_admin._transport._secret import Secret

__all__ = ["capture", "detach", "exempt"]

Client: TypeAlias = KratyAdmin | KratyAdminAsync

_exempt: Final[WeakSet[ServerAccess]] = WeakSet()


def exempt(client: Client) -> None:
    """Let no emulator capture this client, or those that its `with_options` returns."""
    # All of them share the access.
    _exempt.add(client._route.access)


def detach(client: KratyAdminAsync, base_url: str, api_key: str) -> None:
    """Let this new client open a connection for each call, and close it after the call."""
    client._route = client._route_to(make_access(Secret(api_key), base_url, keep_alive=False))


@contextmanager
def capture(base_url: str, api_key: str) -> Generator[None, None, None]:
    """Send the calls of all open clients to an emulator until the block ends.

    See `Emulator.capture_clients` for details.
    """
    # Without keep-alive: an async client's connections have to be closed in the event loop of
    # its test, and no code of ours runs when that loop ends.
    access = make_access(Secret(api_key), base_url, keep_alive=False)
    before: list[tuple[Any, Route[Any]]] = []
    # By sender: clients that share one also share the new one.
    detours: dict[object, Route[Any]] = {}
    originals: dict[object, Route[Any]] = {}
    try:
        for client in _clients():
            route: Route[Any] = client._route
            if client.is_closed or route.access in _exempt:
                continue
            if route.sender not in detours:
                detour = detours[route.sender] = client._route_to(access)
                originals[detour.sender] = route
            before.append((client, route))
            client._route = detours[route.sender]
        yield
    finally:
        for client, route in before:
            client._route = route
        # Also restore the clients that their `with_options` returned inside the block.
        for client in _clients():
            original = originals.get(client._route.sender)
            if original is not None:
                client._route = Route(
                    original.access, original.sender, original.budget, is_closed=client._closed
                )


def _clients() -> list[Any]:
    """Return every client of this process, except those whose construction failed."""
    kinds = {*_with_subclasses(KratyAdmin), *_with_subclasses(KratyAdminAsync)}
    # Some test suites call `gc.freeze()` to be faster, but frozen objects are not searched.
    # Unfreezing makes such a suite slower again, but finds all clients.
    gc.unfreeze()
    # By the type itself: `isinstance` would also run the code of proxies.
    return [
        found
        for found in gc.get_referrers(*kinds)
        if type(found) in kinds and hasattr(found, "_sender")
    ]


def _with_subclasses(kind: type[Client]) -> Iterator[type[Client]]:
    yield kind
    for subclass in kind.__subclasses__():
        yield from _with_subclasses(subclass)
