"""CPU per call: a credit through the SDK, the same by hand over httpx, and the bare transport.

    python benchmarks/calls.py [--rounds N] [--calls N] [--check RATIO]

All of them talk to one server on the loopback that runs in a process of its own, so that
only the client's time is counted. Rounds take turns, so that a busy machine slows all
alike, and the medians are compared. `--check 1.0` fails if a credit costs more than that
part of a post by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from statistics import median

import httpx

from kraty_admin import KratyAdmin, KratyAdminAsync

KEY = "bench.secret"
ANSWER = json.dumps({"data": {"economyKey": "gold", "balance": 500, "applied": True}}).encode()
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\n"
    b"content-length: %d\r\n\r\n" % len(ANSWER)
)


class Answering(asyncio.Protocol):
    """Answers every request alike, as soon as its body is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) >= length:
            self.received = body[length:]
            self.transport.write(HEAD + ANSWER)


def serve(ready: Connection) -> None:
    """Serve until killed, and tell the port."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def server() -> Generator[str, None, None]:
    """A server in a process of its own, by its URL."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.kill()
        process.join()


def cpu(call: Callable[[], object], calls: int) -> float:
    """Microseconds of this process per call."""
    started = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - started) / calls * 1e6


def compare(url: str, rounds: int, calls: int) -> dict[str, float]:
    """Median microseconds per call of each contender."""
    path = f"{url}/server/v1/players/player_42/wallet/gold/credit"
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "application/json"}
    body = {"amount": 500, "idempotencyKey": "receipt_1"}
    loop = asyncio.new_event_loop()
    with (
        KratyAdmin(api_key=KEY, base_url=url) as kraty,
        httpx.Client(headers=headers) as by_hand,
        KratyAdmin(api_key=KEY, base_url=url, http_client=httpx.Client()) as over_client,
        httpx.HTTPTransport() as transport,
    ):
        kraty_async = KratyAdminAsync(api_key=KEY, base_url=url)
        by_hand_async = httpx.AsyncClient(headers=headers)
        request = httpx.Request("POST", path, headers=headers, json=body)

        def bare() -> bytes:
            response = transport.handle_request(request)
            data = response.read()
            response.close()
            return data

        async def credit() -> object:
            return await kraty_async.wallet.credit(
                "player_42", "gold", amount=500, idempotency_key="receipt_1"
            )

        async def post() -> object:
            return (await by_hand_async.post(path, json=body)).json()["data"]

        contenders: dict[str, Callable[[], object]] = {
            "httpx.Client.post": lambda: by_hand.post(path, json=body).json()["data"],
            "wallet.credit": lambda: kraty.wallet.credit(
                "player_42", "gold", amount=500, idempotency_key="receipt_1"
            ),
            "wallet.credit, http_client": lambda: over_client.wallet.credit(
                "player_42", "gold", amount=500, idempotency_key="receipt_1"
            ),
            "transport alone": bare,
            "httpx.AsyncClient.post": lambda: loop.run_until_complete(post()),
            "await wallet.credit": lambda: loop.run_until_complete(credit()),
        }
        for call in contenders.values():
            cpu(call, 20)
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, call in contenders.items():
                times[name].append(cpu(call, calls))
        loop.run_until_complete(kraty_async.close())
        loop.run_until_complete(by_hand_async.aclose())
        loop.close()
    return {name: median(taken) for name, taken in times.items()}
