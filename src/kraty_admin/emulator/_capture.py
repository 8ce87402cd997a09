"""Pointing clients that exist already at an emulator, for the duration of a test.

The SDK keeps no list of its clients: production would pay for it. The garbage collector
knows them. Asking it takes some 30 ms in a process with a million objects.
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
from kraty_admin._settings import Target, make_target
from kraty_admin._transport._secret import Secret

__all__ = ["capture", "detach", "exempt"]

Client: TypeAlias = KratyAdmin | KratyAdminAsync

_exempt: Final[WeakSet[Target]] = WeakSet()


def exempt(client: Client) -> None:
    """Let no emulator capture this client, nor those made from it with `with_options`."""
    # The target is what they all share.
    _exempt.add(client._route.target)


def detach(client: KratyAdminAsync, base_url: str, api_key: str) -> None:
    """Let this new client open a connection for each call, so that none stays open in between."""
    client._route = client._route_to(make_target(Secret(api_key), base_url, keep_alive=False))


@contextmanager
def capture(base_url: str, api_key: str) -> Generator[None, None, None]:
    """Send the calls of all open clients there until the block ends.

    `Emulator.capture_clients` describes it in full.
    """
    # Without keep-alive, since the connections of an async client have to be closed in the
    # event loop of its test, and nothing here runs at that loop's end.
    target = make_target(Secret(api_key), base_url, keep_alive=False)
    before: list[tuple[Any, Route[Any]]] = []
    # By sender: clients that share one also share the new one.
    detours: dict[object, Route[Any]] = {}
    originals: dict[object, Route[Any]] = {}
    try:
        for client in _clients():
            route: Route[Any] = client._route
            if client.is_closed or route.target in _exempt:
                continue
            if route.sender not in detours:
                detour = detours[route.sender] = client._route_to(target)
                originals[detour.sender] = route
            before.append((client, route))
            client._route = detours[route.sender]
        yield
    finally:
        for client, route in before:
            client._route = route
        # Restore also the clients that `with_options` made from them inside the block.
        for client in _clients():
            original = originals.get(client._route.sender)
            if original is not None:
                client._route = Route(
                    original.target, original.sender, original.budget, is_closed=client._closed
                )


def _clients() -> list[Any]:
    """Return every client of this process, but those whose construction has failed."""
    kinds = {*_with_subclasses(KratyAdmin), *_with_subclasses(KratyAdminAsync)}
    # Some test suites call `gc.freeze()` to be faster, and frozen objects are not searched.
    # Such a suite gets slower again, but no client is missed.
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
