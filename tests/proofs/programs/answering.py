"""A server that answers at once and keeps nothing, so that what others cost can be measured."""

from __future__ import annotations

import asyncio
import json
from multiprocessing.connection import Connection
from typing import Final

__all__ = ["answer"]


def _response(data: object) -> bytes:
    body = json.dumps({"data": data}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


_KEY: Final = {"studioId": "studio_1", "gameId": "game_1", "environment": "live"}
_PING: Final = _response({"ok": True, "apiKey": _KEY})
_CREDIT: Final = _response({"economyKey": "gold", "balance": 500, "applied": True})


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # the client has closed the connection
            writer.close()
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length or 0))
        writer.write(_CREDIT if head.startswith(b"POST") else _PING)


def answer(begun: Connection) -> None:
    """Serve for ever, on a free port that is sent as soon as it does."""

    async def run() -> None:
        server = await asyncio.start_server(_serve, "127.0.0.1", 0)
        begun.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())
