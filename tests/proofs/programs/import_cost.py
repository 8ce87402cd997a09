"""A program that imports balances into a server that answers at once, and prints what it took.

    python -m proofs.programs.import_cost floor|import SOURCE FOLDER

`floor` is the least that any importer has to do: `csv.DictReader`, one SHA-256 a row,
`json.dumps` of 1,000 rows at a time, and httpx. `import` is `import_wallet` with a journal. The
server runs in a process of its own, whose time does not count.
"""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import socket
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import httpx

from kraty_admin import KratyAdmin

from .importing import memory

CHUNK: Final = 1000


def _body(value: object) -> bytes:
    content = json.dumps(value).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
    return f"{head}\r\n\r\n".encode() + content


_APPLIED: Final = _body({"data": {"applied": CHUNK, "skipped": 0, "failed": 0, "failures": []}})
_PING: Final = _body({"ok": True, "apiKey": {"studioId": "s", "gameId": "g"}})


def _serve(listener: socket.socket) -> None:
    """Answer every request at once; it knows no more HTTP than where a request ends."""
    import selectors

    received: dict[socket.socket, bytearray] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    accepted, _ = listener.accept()
                    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(accepted, selectors.EVENT_READ)
                    received[accepted] = bytearray()
                    continue
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                data = connection.recv(1 << 20)
                if not data:
                    selector.unregister(connection)
                    connection.close()
                    continue
                buffer = received[connection]
                buffer += data
                head, end, _ = bytes(buffer[:2000]).partition(b"\r\n\r\n")
                if not end:
                    continue
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                if len(buffer) >= len(head) + 4 + length:
                    buffer.clear()
                    connection.sendall(_PING if head.startswith(b"GET") else _APPLIED)


@contextmanager
def _server() -> Generator[str, None, None]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener,))
        process.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.terminate()
            process.join()


def _floor(source: Path, url: str) -> int:
    applied = 0
    with httpx.Client(headers={"Authorization": "Bearer a.b"}) as client, source.open() as file:
        rows = csv.DictReader(file)
        while batch := list(islice(rows, CHUNK)):
            body: list[dict[str, Any]] = []
            for row in batch:
                what = f"{row['externalPlayerId']}\0{row['economyKey']}"
                key = hashlib.sha256(what.encode()).hexdigest()
                body.append({**row, "amount": int(row["amount"]), "idempotencyKey": key})
            answer = client.post(
                f"{url}/server/v1/migrate/wallet",
                content=json.dumps({"rows": body}).encode(),
                headers={"Content-Type": "application/json"},
            )
            applied += answer.raise_for_status().json()["data"]["applied"]
    return applied


def _import(source: Path, folder: Path, kraty: KratyAdmin) -> int:
    report = kraty.migrate.import_wallet(
        source, journal=folder / "journal", failures=folder / "failures.jsonl", in_flight=4
    )
    return report.applied


def main(what: str, source: Path, folder: Path) -> None:
    """Do one of the two. Print its CPU time, and the memory that it took at most."""
    with _server() as url, KratyAdmin(api_key="a.b", base_url=url) as kraty:
        kraty.health.ping()
        idle = memory("VmRSS")
        started = time.process_time()
        applied = _floor(source, url) if what == "floor" else _import(source, folder, kraty)
        seconds = time.process_time() - started
    mib = (memory("VmHWM") - idle) / 1024
    print(json.dumps({"applied": applied, "seconds": seconds, "mib": mib}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
