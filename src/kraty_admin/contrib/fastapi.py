"""FastAPI: one client per application, and webhooks that are each handled in a transaction.

    app = FastAPI(lifespan=lifespan())

    @app.post("/compensations/{ticket}")
    async def compensate(ticket: str, kraty: AsyncClient) -> Grant:
        return await kraty.grants.create(..., idempotency_key=derive_key("ticket", ticket))

    @app.post("/kraty/webhook", status_code=204)
    def receive(delivery: Annotated[Delivery[Session], webhook(Sessions)]) -> None:
        delivery.session.add(...)  # committed together with the event's id, or not at all

This module needs the extra `fastapi`: `pip install 'kraty-admin[fastapi]'`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, Final, Generic, TypeVar

import attrs

try:
    from fastapi import Depends, HTTPException, Request
    from fastapi.requests import HTTPConnection
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "kraty_admin.contrib.fastapi needs fastapi: pip install 'kraty-admin[fastapi]'",
        name=_missing.name,
    ) from None
import sqlalchemy as sa
from anyio import Semaphore
from anyio.lowlevel import RunVar
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from kraty_admin import (
    KratyAdmin,
    KratyAdminAsync,
    WebhookVerificationError,
    construct_event,
    inbox,
)
from kraty_admin.models import WebhookEvent
from kraty_admin.outbox import Tables
from kraty_admin.outbox._tables import TABLES

__all__ = [
    "AsyncClient",
    "Client",
    "Delivery",
    "async_client",
    "async_webhook",
    "client",
    "lifespan",
    "verified_event",
    "webhook",
]

S = TypeVar("S", bound=Session)
A = TypeVar("A", bound=AsyncSession)
D = TypeVar("D")

_log: Final = logging.getLogger("kraty_admin")

_PROBE: Final = sa.select(sa.literal(1))
"""Fails in a transaction that cannot be committed. If a route has caught a database error,
PostgreSQL rolls back at the commit, and raises nothing."""


_AT_ONCE: Final = 10
"""How many deliveries to `def` routes have a transaction, or wait for one, at a time.

Each waits in one of the 40 threads of the server until its transaction has begun, and later needs
a thread for its route. If all threads waited, no route could run, and no transaction end. An
engine has 15 connections by default, so some are left for other routes."""

_places: Final = RunVar[Semaphore]("kraty_admin_deliveries")


async def _place() -> AsyncIterator[None]:
    """Wait, without a thread, until fewer than `_AT_ONCE` deliveries of this event loop run."""
    try:
        places = _places.get()
    except LookupError:
        places = Semaphore(_AT_ONCE)
        _places.set(places)
    async with places:
        yield


def lifespan(
    make_client: Callable[[], KratyAdmin | KratyAdminAsync] = KratyAdminAsync,
) -> Callable[[object], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan that opens a client when a server process starts, and closes it at the end.

    If you have a lifespan already, enter this one in it, and add its state to yours:

        async with kraty_lifespan(app) as state:
            yield {**state, "mine": ...}

    Args:
        make_client: Returns the client. Pass `KratyAdmin` for a synchronous client, or a
            function that sets options. Default: `KratyAdminAsync`.
    """

    @asynccontextmanager
    async def open_client(app: object) -> AsyncGenerator[dict[str, Any], None]:
        kraty = make_client()
        try:
            yield {"kraty": kraty}
        finally:
            if isinstance(kraty, KratyAdmin):
                kraty.close()
            else:
                await kraty.close()

    return open_client


async def client(connection: HTTPConnection) -> KratyAdmin:
    """Return the application's client, which `lifespan(KratyAdmin)` has opened.

    Raises:
        RuntimeError: The application has no client, or an asynchronous one.
    """
    return _opened(connection, KratyAdmin)


async def async_client(connection: HTTPConnection) -> KratyAdminAsync:
    """Return the application's asynchronous client, which `lifespan()` has opened.

    Raises:
        RuntimeError: The application has no client, or a synchronous one.
    """
    return _opened(connection, KratyAdminAsync)


Client = Annotated[KratyAdmin, Depends(client)]
"""Annotate an argument with this type to get the application's client, in a `def` route."""

AsyncClient = Annotated[KratyAdminAsync, Depends(async_client)]
"""Annotate an argument with this type to get the application's client, in an `async def` route."""


def _opened(connection: HTTPConnection, kind: type[D]) -> D:
    found = getattr(connection.state, "kraty", None)
    if isinstance(found, kind):
        return found
    if found is None:
        raise RuntimeError(
            "the application has no Kraty client: pass FastAPI(lifespan=lifespan()), and in "
            "tests enter the client: `with TestClient(app) as http`"
        )
    raise RuntimeError(
        f"the application has a {type(found).__name__}: pass lifespan({kind.__name__}) for a "
        f"{kind.__name__}"
    )


@attrs.frozen
class Delivery(Generic[D]):
    """A webhook that has not been handled, and the transaction to handle it in."""

    event: WebhookEvent
    """The event, whose signature is valid."""
    session: D
    """The session, in a transaction that is committed when the route has returned."""


def verified_event(*, secret: str | Sequence[str] | None = None) -> Any:
    """Return a dependency that provides the event of a webhook whose signature is valid.

    It does not recognise repeated deliveries. Use `webhook` to handle each event once,
    or `inbox.once` in your own transaction. A delivery whose signature is wrong, missing
    or too old is answered with 401, and the reason is logged.

    Args:
        secret: The endpoint's secret, or several while one is being rotated. Default:
            `KRATY_WEBHOOK_SECRET` in the environment, read when a delivery arrives.
    """

    # In a function of its own: trackers of errors record the variables of each frame, and `verify`
    # is in the traceback of every rejection.
    def known() -> str | Sequence[str]:
        return _secret() if secret is None else secret

    async def verify(request: Request) -> WebhookEvent:
        try:
            return construct_event(
                raw_body=await request.body(),
                signature_header=request.headers.get("x-signature"),
                secret=known(),
            )
        except WebhookVerificationError as error:
            _log.warning("webhook rejected: %s", error.reason)
            raise HTTPException(401, "invalid webhook") from None

    return Depends(verify)


def _secret() -> str:
    secret = os.environ.get("KRATY_WEBHOOK_SECRET")
    if not secret:
        raise RuntimeError("pass secret, or set KRATY_WEBHOOK_SECRET in the environment")
    return secret


def webhook(
    sessions: sessionmaker[S],
    *,
    secret: str | Sequence[str] | None = None,
    tables: Tables = TABLES,
) -> Any:
    """Return a dependency that provides a webhook that has not been handled, as a `Delivery`.

    The event's id is recorded in the same transaction as the changes that the route makes
    with the session. That transaction is committed before the response is sent. If the route
    or the commit raises, the transaction is rolled back, the response is an error, and Kraty
    delivers the event again. The same happens if the route rolls the transaction back, or catches
    an error after which PostgreSQL rejects it: run a statement that may fail in a savepoint
    (`begin_nested`). To reject an event, raise: if the route returns a response with an error
    status, the event still counts as handled. A repeat of a handled event is answered with 200
    without calling the route. At most 10 deliveries run at a time in a process; others wait.

    Args:
        sessions: Makes the sessions.
        secret: The endpoint's secret, and its default: see `verified_event`. A forged delivery is
            answered with 401.
        tables: The tables to use; `outbox.set_up` creates them.
    """

    # Not inside `Annotated`: FastAPI reads annotations as text, and does not see this name.
    verified = verified_event(secret=secret)
    # After the verification, so that a forged delivery does not wait, nor hold others up.
    placed: None = Depends(_place, scope="function")

    # A plain `def`, so that FastAPI runs it in a thread: the database blocks.
    def deliver(event: WebhookEvent = verified, place: None = placed) -> Iterator[Delivery[S]]:
        with sessions.begin() as session:
            if not inbox.once(session, event, tables=tables):
                raise _handled_before()
            yield Delivery(event, session)
            is_open = session.in_transaction()
            if is_open:
                session.connection().execute(_PROBE)
        if not is_open:
            # The route has ended it, perhaps with a rollback.
            with sessions.begin() as session:
                _check_recorded(not inbox.once(session, event, tables=tables))

    # Without this scope, FastAPI commits after it has sent the response. If that commit failed,
    # Kraty would not deliver the event again, and the event would be lost.
    return Depends(deliver, scope="function")


def async_webhook(
    sessions: async_sessionmaker[A],
    *,
    secret: str | Sequence[str] | None = None,
    tables: Tables = TABLES,
) -> Any:
    """Return a dependency like that of `webhook`, with an asynchronous session.

    It needs no threads, so it does not limit how many deliveries run at a time.
    """

    verified = verified_event(secret=secret)

    async def deliver(event: WebhookEvent = verified) -> AsyncIterator[Delivery[A]]:
        async with sessions.begin() as session:
            if not await inbox.once_async(session, event, tables=tables):
                raise _handled_before()
            yield Delivery(event, session)
            is_open = session.in_transaction()
            if is_open:
                await (await session.connection()).execute(_PROBE)
        if not is_open:
            async with sessions.begin() as session:
                _check_recorded(not await inbox.once_async(session, event, tables=tables))

    return Depends(deliver, scope="function")


def _handled_before() -> HTTPException:
    return HTTPException(200, "handled before")


def _check_recorded(is_recorded: bool) -> None:
    if not is_recorded:
        raise RuntimeError(
            "the route has rolled back the transaction, so the event is not recorded as handled. "
            "Run a statement that may fail in a savepoint. To reject the event, raise an exception"
        )
