"""Webhooks at the README's receiver: each genuine event handled once, no forged one at all.

The platform loses answers and holds deliveries back, so they come twice and out of
order. For one event in seven, the receiver's handler fails the first time. An attacker who
can read what passes mixes in copies and forgeries.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final
from unittest.mock import patch

import attrs
import httpx
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kraty_admin import KratyAdmin, sign_webhook

from .figures import Figure
from .local import Local, local

__all__ = ["prove"]

_README: Final = Path(__file__).resolve().parents[2] / "README.md"
_SECRET: Final = "whsec_of_the_proof"
_ATTACKER: Final = b"x-attacker"
"""A header that says who sent a request; the proof reads it, the receiver does not."""

_THREADS: Final = 8
_DATABASE: Final = '"sqlite:///shop.sqlite3"'
"""What the README calls the receiver's database."""

_FAILS: Final = 7
"""The handler fails for one in this many events, the first time."""

_PATIENCE: Final = 120.0
"""Seconds until something is taken to hang."""


@attrs.frozen
class Sent:
    """What came to the receiver, and what it said."""

    body: bytes
    signature: str
    kind: str
    """Empty for what the platform has sent, or else what the attacker calls it."""
    status: int


class HandlerError(Exception):
    """The handler fails, as the proof wants it to."""


class Handler:
    """A handler in place of the README's `print`, which fails for some events at first."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.failed: set[str] = set()
        self._events = 0

    def __call__(self, event_id: str, *_: object) -> None:
        if event_id not in self.failed:
            self._events += 1
            if self._events % _FAILS == 0:
                self.failed.add(event_id)
                raise HandlerError
        self.handled.append(event_id)


class Tap:
    """A relay that passes all requests on, and shows the platform's to the attacker."""

    def __init__(self, app: ASGIApp, attack: Callable[[Sent], object]) -> None:
        self._app = app
        self._attack = attack
        self.sent: list[Sent] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, status = b"", 0

        async def listen() -> Message:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            return message

        async def speak(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        with suppress(HandlerError):  # the answer was 500
            await self._app(scope, listen, speak)
        headers = dict(scope["headers"])
        sent = Sent(
            body=body,
            signature=headers.get(b"x-signature", b"").decode(),
            kind=headers.get(_ATTACKER, b"").decode(),
            status=status,
        )
        self.sent.append(sent)
        if not sent.kind:
            self._attack(sent)


def _copy(sent: Sent) -> tuple[bytes, str | None]:
    return sent.body, sent.signature


def _reserialised(sent: Sent) -> tuple[bytes, str | None]:
    return json.dumps(json.loads(sent.body)).encode(), sent.signature


def _renamed(sent: Sent) -> bytes:
    """Return the same as another event, so that it would be noticed if it were handled."""
    event = json.loads(sent.body)
    return json.dumps({**event, "id": f"{event['id']}_forged"}).encode()


def _altered(sent: Sent) -> tuple[bytes, str | None]:
    return _renamed(sent), sent.signature


def _unsigned(sent: Sent) -> tuple[bytes, str | None]:
    return _renamed(sent), None


def _wrongly_signed(sent: Sent) -> tuple[bytes, str | None]:
    body = _renamed(sent)
    return body, sign_webhook(raw_body=body, secret="a guess")


def _expired(sent: Sent) -> tuple[bytes, str | None]:
    body = _renamed(sent)
    return body, sign_webhook(raw_body=body, secret=_SECRET, timestamp=int(time.time()) - 302)


def _early(sent: Sent) -> tuple[bytes, str | None]:
    body = _renamed(sent)
    return body, sign_webhook(raw_body=body, secret=_SECRET, timestamp=int(time.time()) + 90)


_ATTACKS: Final[Mapping[str, Callable[[Sent], tuple[bytes, str | None]]]] = {
    "copied": _copy,
    "re-serialised": _reserialised,
    "altered": _altered,
    "unsigned": _unsigned,
    "signed with a guess": _wrongly_signed,
    "expired": _expired,
    "early": _early,
}


def prove(folder: Path, *, events: int) -> list[Figure]:
    """Deliver events, and attack with half as many forgeries."""
    shown: SimpleQueue[Sent | None] = SimpleQueue()
    handler = Handler()
    namespace: dict[str, Any] = {"print": handler}
    database = folder / "shop.sqlite3"
    receiver = _receiver_of_the_readme()
    assert receiver.count(_DATABASE) == 1
    exec(receiver.replace(_DATABASE, repr(f"sqlite:///{database}")), namespace)
    tap = Tap(namespace["app"], shown.put)
    with (
        patch.dict(os.environ, {"KRATY_WEBHOOK_SECRET": _SECRET}),
        _serving(tap) as url,
        local(folder, *_options(url)) as kraty,
        ThreadPoolExecutor(1) as attacker,
    ):
        attacks = attacker.submit(_attack, url, shown)
        kraty.control("chaos", {"operation": "webhook", "rate": 0.3, "seed": 1, "seconds": 0.1})
        try:
            _credit(kraty, events - _THREADS)
            kraty.wait_until_delivered(_PATIENCE)
        finally:
            shown.put(None)
        attempted = attacks.result(_PATIENCE)
        stored = kraty.events()
    namespace["engine"].dispose()
    with closing(sqlite3.connect(database)) as db:
        marked = {str(row[0]) for row in db.execute("SELECT event_id FROM kraty_inbox")}
    return _figures(stored, tap.sent, attempted, handler, marked)


def _receiver_of_the_readme() -> str:
    blocks = re.findall(r"```python\n(.*?)```", _README.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [str(block) for block in blocks if "FastAPI" in block]
    return block


def _options(url: str) -> list[str]:
    # Twelve attempts: three in ten fail, and one may fail in the handler, so all but one in
    # a hundred thousand get through.
    waits = ",".join(["0.05"] * 11)
    return ["--webhook", url, "--webhook-secret", _SECRET, "--webhook-backoff", waits]


@contextmanager
def _serving(app: ASGIApp) -> Generator[str]:
    """Serve the receiver; yield the URL at which it takes webhooks."""
    # The protocol is named because asyncio turns Nagle's algorithm off for such sockets only.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        # Kept open for long: what breaks here is to break on purpose.
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_keep_alive=600)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/kraty/webhook"
        finally:
            server.should_exit = True
            thread.join(_PATIENCE)


def _credit(kraty: Local, calls: int) -> None:
    """Make so many calls as some players; each player's first makes one more event."""

    def work(worker: int) -> None:
        for _ in range(worker, calls, _THREADS):
            client.wallet.credit(f"player_{worker}", "gold", amount=1)

    with KratyAdmin(**kraty.options) as client, ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(work, range(_THREADS)))


def _attack(url: str, shown: SimpleQueue[Sent | None]) -> Counter[str]:
    """Forge something from every other delivery, in all ways in turn; return how often."""
    attempted: Counter[str] = Counter()
    kinds = list(_ATTACKS)
    seen = 0
    with httpx.Client(trust_env=False) as attacker:
        while (sent := shown.get()) is not None:
            seen += 1
            if seen % 2:
                continue
            kind = kinds[seen // 2 % len(kinds)]
            body, signature = _ATTACKS[kind](sent)
            headers = {_ATTACKER.decode(): kind}
            if signature is not None:
                headers["X-Signature"] = signature
            attacker.post(url, content=body, headers=headers)
            attempted[kind] += 1
    return attempted


def _figures(
    events: Sequence[str],
    sent: Sequence[Sent],
    attempted: Mapping[str, int],
    handler: Handler,
    marked: set[str],
) -> list[Figure]:
    envelopes = [json.loads(each.body) for each in sent if not each.kind]
    order = {event: number for number, event in enumerate(events)}
    latest = early = changed = 0
    first: dict[str, Any] = {}
    for envelope in envelopes:
        number = order[envelope["id"]]
        if envelope["id"] not in first:
            early += number < latest
            latest = max(latest, number)
        # Every attempt delivers the same.
        same = {**envelope, "deliveryAttempt": 0}
        changed += first.setdefault(envelope["id"], same) != same
    refused = Counter(each.kind for each in sent if each.kind and each.status == 401)
    figures = [
        Figure("events", len(events)),
        Figure("deliveries that arrived", len(envelopes)),
        Figure("of them, of events that had arrived before", len(envelopes) - len(first)),
        Figure("of them, overtaken by later ones", early),
        Figure("of them, other than the first time", changed, 0),
        Figure("of them, refused", sum(not e.kind and e.status not in (200, 500) for e in sent), 0),
        Figure("events whose handler failed the first time", len(handler.failed)),
        Figure("answers 500", sum(each.status == 500 for each in sent), len(handler.failed)),
        Figure("genuine events handled", len(set(handler.handled) & set(events)), len(events)),
        Figure("times that anything was handled", len(handler.handled), len(events)),
        Figure("other events handled", len(set(handler.handled) - set(events)), 0),
        Figure("events marked as handled", len(marked & set(events)), len(events)),
        Figure("other events marked as handled", len(marked - set(events)), 0),
    ]
    for kind in _ATTACKS:
        # A copy is genuine; that it is known already is why nothing comes of it.
        wanted = 0 if kind == "copied" else attempted[kind]
        figures.append(Figure(f"{kind}: refused of {attempted[kind]:,}", refused[kind], wanted))
    return figures
