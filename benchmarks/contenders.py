"""Our client, and the same calls by hand over httpx.

Each contender is a function that sets up what it needs at a URL, and returns one call:
for a synchronous contender a function, for an asynchronous one a coroutine function.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

import httpcore
import httpx

__all__ = ["ASYNC", "ROWS", "SYNC", "AsyncCall", "Call"]

Call: TypeAlias = Callable[[], object]
AsyncCall: TypeAlias = Callable[[], Awaitable[object]]

ROWS: Final = (1, 10, 100, 1000)
"""The sizes of the batches."""

KEY: Final = "bench.secret"
_PATH: Final = "/server/v1/players/player_42/wallet/gold/credit"
_HEADERS: Final = {"Authorization": f"Bearer {KEY}", "Accept": "application/json"}
_BODY: Final = {"amount": 500, "idempotencyKey": "receipt_1"}


def rows(count: int) -> list[dict[str, Any]]:
    """Return rows of players to migrate."""
    return [
        {"externalPlayerId": f"player_{number}", "idempotencyKey": f"player_{number}"}
        for number in range(count)
    ]


def by_hand(url: str) -> Call:
    """Credit as people do without an SDK."""
    client = httpx.Client(headers=_HEADERS)

    def call() -> object:
        response = client.post(url + _PATH, json=_BODY)
        return response.raise_for_status().json()["data"]

    return call


def floor(url: str) -> Call:
    """Send a prepared request through the transport alone."""
    transport = httpx.HTTPTransport()
    request = httpx.Request("POST", url + _PATH, headers=_HEADERS, json=_BODY)

    def call() -> object:
        response = transport.handle_request(request)
        try:
            return response.read()
        finally:
            response.close()

    return call


def bare(url: str) -> Call:
    """Send a prepared request over one connection of httpcore, which is below httpx."""
    prepared = httpx.Request("POST", url + _PATH, headers=_HEADERS, json=_BODY)
    connection = httpcore.HTTPConnection(httpcore.URL(url).origin)
    request = httpcore.Request(
        "POST",
        url + _PATH,
        headers=prepared.headers.raw,
        content=prepared.content,
        extensions={"timeout": httpx.Timeout(5).as_dict()},
    )

    def call() -> object:
        response = connection.handle_request(request)
        try:
            return response.read()
        finally:
            response.close()

    return call


def ours(url: str) -> Call:
    """Credit through the SDK, with all its safety."""
    from kraty_admin import KratyAdmin

    client = KratyAdmin(api_key=KEY, base_url=url)
    return lambda: client.wallet.credit(
        "player_42", "gold", amount=500, idempotency_key="receipt_1"
    )


def ours_over_client(url: str) -> Call:
    """Credit through the SDK over the caller's own httpx client."""
    from kraty_admin import KratyAdmin

    client = KratyAdmin(api_key=KEY, base_url=url, http_client=httpx.Client())
    return lambda: client.wallet.credit(
        "player_42", "gold", amount=500, idempotency_key="receipt_1"
    )


def batch_by_hand(url: str, count: int) -> Call:
    """Send a batch of rows without an SDK."""
    client = httpx.Client(headers={**_HEADERS, "Content-Type": "application/json"})
    batch = rows(count)

    def call() -> object:
        body = json.dumps({"rows": batch, "idempotencyKey": "k"}, separators=(",", ":"))
        response = client.post(f"{url}/server/v1/migrate/players", content=body)
        return response.raise_for_status().json()["data"]

    return call


def batch_ours(url: str, count: int) -> Call:
    """Send a batch of rows through the SDK."""
    from kraty_admin import KratyAdmin

    client = KratyAdmin(api_key=KEY, base_url=url)
    batch = rows(count)
    return lambda: client.migrate.players(batch)


def by_hand_async(url: str) -> AsyncCall:
    """Credit with asyncio as people do without an SDK."""
    client = httpx.AsyncClient(headers=_HEADERS, timeout=60)

    async def call() -> object:
        response = await client.post(url + _PATH, json=_BODY)
        return response.raise_for_status().json()["data"]

    return call


def ours_async(url: str) -> AsyncCall:
    """Credit through the asynchronous SDK."""
    from kraty_admin import KratyAdminAsync

    client = KratyAdminAsync(api_key=KEY, base_url=url, timeout=60)
    return lambda: client.wallet.credit(
        "player_42", "gold", amount=500, idempotency_key="receipt_1"
    )


SYNC: Final[Mapping[str, Callable[[str], Call]]] = {
    "httpx by hand": by_hand,
    "httpx transport": floor,
    "httpcore connection": bare,
    "kraty-admin": ours,
    "kraty-admin, own http_client": ours_over_client,
    **{f"{count:,} rows by hand": partial(batch_by_hand, count=count) for count in ROWS},
    **{f"{count:,} rows, kraty-admin": partial(batch_ours, count=count) for count in ROWS},
}

ASYNC: Final[Mapping[str, Callable[[str], AsyncCall]]] = {
    "httpx by hand, async": by_hand_async,
    "kraty-admin, async": ours_async,
}
