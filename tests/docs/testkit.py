"""What the tests of the pages share: a reader who runs blocks, and the checks of blocks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Generator
from typing import Any

import attrs
import httpx
import sqlalchemy as sa

from kraty_admin import KratyAdmin, outbox, sign_webhook
from kraty_admin.emulator import Emulator
from pages import BLOCKS, ROOT, Block


class Recorder:
    """A stand-in for a function or object of the reader's, which records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append(("", args, kwargs))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


@attrs.define
class Reader:
    """A reader of a page, with the names that earlier blocks have defined."""

    emulator: Emulator
    kraty: KratyAdmin
    names: dict[str, Any]

    def run(self, block: Block) -> dict[str, Any]:
        """Run a block as it is printed; return the names that it defined."""
        self.close_engines()  # as when a program that is run again had ended
        text = "\n" * block.line + block.code
        # Not with the `from __future__` of this module.
        source = compile(text, str(ROOT / block.page), "exec", dont_inherit=True)
        exec(source, self.names)
        return self.names

    def close_engines(self) -> None:
        """Close the databases that blocks have opened."""
        for value in self.names.values():
            if isinstance(value, sa.Engine):
                value.dispose()


def block_named(page: str, name: str) -> Block:
    found = [block for block in BLOCKS if (block.page, block.name) == (page, name)]
    assert len(found) == 1, (page, name)
    return found[0]


Check = Callable[[Reader, Block], None]
CHECKS: dict[tuple[str, str], Check] = {}


def checks(page: str, name: str) -> Callable[[Check], Check]:
    """Register how a block is run, and what must be true afterwards."""

    def register(check: Check) -> Check:
        CHECKS[page, name] = check
        return check

    return register


def checked_blocks() -> list[Block]:
    """Return the blocks with a check, once all checks are registered."""
    return [block for block in BLOCKS if (block.page, block.name) in CHECKS]


def deliver(app: Any, body: bytes, headers: dict[str, str]) -> httpx.Response:
    async def post() -> httpx.Response:
        # A server answers 500 where the handler fails, and so does this.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
            return await client.post("/kraty/webhook", content=body, headers=headers)

    return asyncio.run(post())


def receives(app: Any) -> None:
    """Check that a receiver accepts what is signed and refuses anything else."""
    body = json.dumps({"id": "evt_1", "eventName": "grant.created", "data": {}}).encode()
    header = sign_webhook(raw_body=body, secret="whsec_docs")
    assert deliver(app, body, {"X-Signature": header}).status_code == 200
    assert deliver(app, body + b" ", {"X-Signature": header}).status_code == 401
    forged = sign_webhook(raw_body=body, secret="whsec_other")
    assert deliver(app, body, {"X-Signature": forged}).status_code == 401


PURCHASE = "Or with a table of your own 1"
OUTBOX = "A purchase that is still correct after a week 1"


@contextlib.contextmanager
def shop_with_outbox(reader: Reader) -> Generator[sa.Engine, None, None]:
    """Yield the engine of a database that has been set up."""
    engine = sa.create_engine("sqlite:///shop.sqlite3")
    outbox.set_up(engine, reader.kraty)
    try:
        yield engine
    finally:
        engine.dispose()


def record(engine: sa.Engine) -> outbox.Intent[Any]:
    with engine.begin() as connection:
        credit = outbox.into(connection).wallet.credit
        return credit("player_42", "gold", amount=500, idempotency_key="r")
