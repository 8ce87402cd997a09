"""A shop with FastAPI: purchases go through the outbox, and each webhook is handled once.

Create the tables once, when you deploy. Then two programs run beside each other, on one database:

    python shop.py
    uvicorn shop:app
    kraty-admin outbox run --database-url sqlite:///shop.sqlite3

The environment has KRATY_SERVER_KEY, KRATY_WEBHOOK_SECRET and SHOP_DATABASE_URL, such as
`sqlite+aiosqlite:///shop.sqlite3` or `postgresql+psycopg://localhost/shop`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from kraty_admin import KratyAdminAsync, derive_key, outbox
from kraty_admin.contrib.fastapi import AsyncClient, Delivery, async_webhook, lifespan
from kraty_admin.models import PlayerProfile

PRICES = {"gold_500": 500, "gold_2000": 2000}


class Base(DeclarativeBase):
    """The shop's tables."""


class Purchase(Base):
    """A receipt that the shop has accepted."""

    __tablename__ = "purchases"

    receipt_id: Mapped[str] = mapped_column(primary_key=True)
    player: Mapped[str]
    product: Mapped[str]


class Notice(Base):
    """Something that Kraty has reported about a player."""

    __tablename__ = "notices"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    event_name: Mapped[str]


engine = create_async_engine(os.environ["SHOP_DATABASE_URL"])
Sessions = async_sessionmaker(engine)


async def create_tables() -> None:
    """Create the tables that are missing.

    This calls Kraty, so the server does not do it: it must also start while Kraty is down.
    """
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with KratyAdminAsync() as kraty:
        await outbox.set_up_async(engine, kraty)
    await engine.dispose()


@asynccontextmanager
async def start(app: FastAPI) -> AsyncGenerator[dict[str, Any], None]:
    """Open the client, and close the connections at the end."""
    async with lifespan()(app) as state:
        yield state
    await engine.dispose()


app = FastAPI(lifespan=start)


class Order(BaseModel):
    """What the game client sends after a purchase."""

    receipt_id: str
    player: str
    product: str


class Status(BaseModel):
    """How far a purchase is."""

    state: str


# `receipt_id` must come from a receipt that you have verified with the store.
@app.post("/purchases", status_code=202)
async def buy(order: Order) -> Status:
    """Accept a purchase; the worker delivers it. A repeat returns how far it is."""
    gold = PRICES.get(order.product)
    if gold is None:
        raise HTTPException(422, "there is no such product")
    try:
        async with Sessions.begin() as session:
            intent = await outbox.into(session).wallet.credit(
                order.player,
                "gold",
                amount=gold,
                source_ref_id=order.receipt_id,
                idempotency_key=derive_key("iap", order.receipt_id),
            )
            if intent.is_new:
                session.add(Purchase(**order.model_dump()))
    except outbox.OutboxConflictError:
        raise HTTPException(409, "this receipt was used for another purchase") from None
    return Status(state=intent.state)


@app.get("/players/{player}")
async def profile(player: str, kraty: AsyncClient) -> PlayerProfile:
    """Show what a player has."""
    return await kraty.players.get(player)


@app.post("/kraty/webhook", status_code=204)
async def receive(delivery: Annotated[Delivery[AsyncSession], async_webhook(Sessions)]) -> None:
    """Keep what Kraty reports."""
    event = delivery.event
    delivery.session.add(Notice(event_id=event.id, event_name=event.event_name))


if __name__ == "__main__":
    asyncio.run(create_tables())
