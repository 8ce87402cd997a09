"""What all contenders talk to: a server that costs them nothing but its answer.

Plain asyncio in a process of its own, so that only the client's time is counted. It
knows no HTTP beyond where a request ends.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final, cast

__all__ = ["responder"]

_MOMENT: Final = "2026-06-08T12:00:00.000Z"

_RESULTS: Final[dict[bytes, dict[str, Any]]] = {
    b"/wallet/": {"data": {"economyKey": "gold", "balance": 500, "applied": True}},
    b"/migrate/": {"data": {"applied": 1000, "skipped": 0, "failed": 0, "failures": []}},
    b"/v1/customers": {"id": "cus_1", "object": "customer", "created": 1, "livemode": False},
    b"/moderations": {"id": "modr_1", "model": "m", "results": []},
    b"/api/v1/app": {
        "id": "app_1",
        "name": "x",
        "metadata": {},
        "createdAt": _MOMENT,
        "updatedAt": _MOMENT,
    },
}
"""The answer to each contender, by a part of its path."""


def _answer(result: dict[str, Any]) -> bytes:
    body = json.dumps(result).encode()
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_ANSWERS: Final = {part: _answer(result) for part, result in _RESULTS.items()}


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received = bytearray()
        self._missing = 0
        self._answer = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._answer:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._received[:end])
            target = head.split(b" ", 2)[1]
            self._answer = next(each for part, each in _ANSWERS.items() if part in target)
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            self._missing = end + 4 + int(length or 0)
        if len(self._received) >= self._missing:
            del self._received[: self._missing]
            self._transport.write(self._answer)
            self._answer = b""


def _serve(ready: Connection) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=1024)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def responder() -> Generator[str]:
    """Run the responder; yield its URL."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()  # so that waiting ends if it does
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.kill()
        process.join()
