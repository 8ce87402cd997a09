"""Run an ASGI application as a server does, within the test's process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send


@asynccontextmanager
async def served(
    app: FastAPI, *, raise_exceptions: bool = False
) -> AsyncGenerator[httpx.AsyncClient, None]:
    """Run the application's lifespan; yield a client of it.

    Args:
        app: The application.
        raise_exceptions: Raise what the application raises. Otherwise it is a response with 500,
            or nothing if it comes after the response has been sent, as with a server.
    """
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(app=with_state, raise_app_exceptions=raise_exceptions)
        async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
            yield client
