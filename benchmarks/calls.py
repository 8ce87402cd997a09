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
from contextlib import ExitStack, closing, contextmanager
from multiprocessing.connection import Connection
from statistics import median
from typing import cast

import httpx

from kraty_admin import KratyAdmin, KratyAdminAsync

KEY = "bench.secret"
BY_HAND, OURS = "httpx.Client.post(json=...)", "wallet.credit"
BY_HAND_ASYNC, OURS_ASYNC = "await httpx.AsyncClient.post", "await wallet.credit"
ANSWER = json.dumps({"data": {"economyKey": "gold", "balance": 500, "applied": True}}).encode()
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\n"
    b"content-length: %d\r\n\r\n" % len(ANSWER)
)


class Answering(asyncio.Protocol):
    """Answers every request alike, as soon as its body is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
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


def contenders(
    url: str, stack: ExitStack, loop: asyncio.AbstractEventLoop
) -> dict[str, Callable[[], object]]:
    """One call each, that is the same on the wire but for some headers."""
    path = f"{url}/server/v1/players/player_42/wallet/gold/credit"
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "application/json"}
    body = {"amount": 500, "idempotencyKey": "receipt_1"}

    http_client = stack.enter_context(httpx.Client())
    by_hand = stack.enter_context(httpx.Client(headers=headers))
    transport = stack.enter_context(httpx.HTTPTransport())
    kraty = stack.enter_context(KratyAdmin(api_key=KEY, base_url=url))
    kraty_over_client = KratyAdmin(api_key=KEY, base_url=url, http_client=http_client)
    request = httpx.Request("POST", path, headers=headers, json=body)

    def bare() -> bytes:
        response = transport.handle_request(request)
        data = response.read()
        response.close()
        return data

    def credit(client: KratyAdmin) -> object:
        return client.wallet.credit("player_42", "gold", amount=500, idempotency_key="receipt_1")

    by_hand_async = httpx.AsyncClient(headers=headers)
    kraty_async = KratyAdminAsync(api_key=KEY, base_url=url)
    stack.callback(lambda: loop.run_until_complete(by_hand_async.aclose()))
    stack.callback(lambda: loop.run_until_complete(kraty_async.close()))

    async def post_async() -> object:
        return (await by_hand_async.post(path, json=body)).json()["data"]

    async def credit_async() -> object:
        return await kraty_async.wallet.credit(
            "player_42", "gold", amount=500, idempotency_key="receipt_1"
        )

    return {
        BY_HAND: lambda: by_hand.post(path, json=body).json()["data"],
        OURS: lambda: credit(kraty),
        "wallet.credit, with http_client": lambda: credit(kraty_over_client),
        "httpx.HTTPTransport.handle_request": bare,
        BY_HAND_ASYNC: lambda: loop.run_until_complete(post_async()),
        OURS_ASYNC: lambda: loop.run_until_complete(credit_async()),
    }


def compare(url: str, rounds: int, calls: int) -> dict[str, float]:
    """Median microseconds per call of each contender."""
    loop = asyncio.new_event_loop()
    with closing(loop), ExitStack() as stack:
        runs = contenders(url, stack, loop)
        for run in runs.values():
            cpu(run, calls)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                times[name].append(cpu(run, calls))
    return {name: median(taken) for name, taken in times.items()}


def burst(url: str, tasks: int) -> dict[str, float]:
    """Microseconds per call of so many tasks at once."""

    async def ours() -> None:
        async with KratyAdminAsync(api_key=KEY, base_url=url) as kraty:
            await asyncio.gather(
                *(kraty.wallet.credit("player_42", "gold", amount=1) for _ in range(tasks))
            )

    async def by_hand() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            await asyncio.gather(*(client.post(f"{url}/x", json={}) for _ in range(tasks)))

    return {
        BY_HAND_ASYNC: cpu(lambda: asyncio.run(by_hand()), 1) / tasks,
        OURS_ASYNC: cpu(lambda: asyncio.run(ours()), 1) / tasks,
    }


def show(title: str, times: dict[str, float], against: dict[str, str]) -> None:
    print(title)
    for name, microseconds in times.items():
        ratio = f"{microseconds / times[against[name]]:5.2f}" if name in against else ""
        print(f"  {name:36}{microseconds:8.0f} µs {ratio}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=25, help="default 25")
    parser.add_argument("--calls", type=int, default=40, help="calls per round; default 40")
    parser.add_argument("--check", type=float, metavar="RATIO", help="fail above this ratio")
    options = parser.parse_args()
    with server() as url:
        times = compare(url, options.rounds, options.calls)
        at_once = burst(url, 400)
    against = {name: BY_HAND for name in times if name != BY_HAND}
    against |= {OURS_ASYNC: BY_HAND_ASYNC}
    against.pop(BY_HAND_ASYNC)
    show("CPU per call, and compared with httpx by hand:", times, against)
    show("CPU per call of 400 tasks at once:", at_once, {OURS_ASYNC: BY_HAND_ASYNC})
    worst = max(times[OURS] / times[BY_HAND], times[OURS_ASYNC] / times[BY_HAND_ASYNC])
    if options.check is not None and worst > options.check:
        print(f"FAILED: a ratio of {worst:.2f} is above {options.check:g}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
