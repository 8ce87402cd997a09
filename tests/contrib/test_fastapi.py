"""A client per FastAPI application, and webhooks that are handled once."""

from __future__ import annotations

import asyncio
import logging
import runpy
import sys
import traceback
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from fastapi import APIRouter, FastAPI, HTTPException, Response
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from kraty_admin import KratyAdmin, KratyAdminAsync, sign_webhook
from kraty_admin.contrib import fastapi as module
from kraty_admin.contrib.fastapi import (
    AsyncClient,
    Client,
    Delivery,
    async_webhook,
    lifespan,
    verified_event,
    webhook,
)
from kraty_admin.emulator import Emulator
from kraty_admin.models import WalletAdjustment, WebhookEvent
from kraty_admin.outbox import Tables

from .asgi import served

SECRET = "whsec_fastapi"
BODY = b'{"id": "evt_1", "eventName": "wallet.changed", "data": {}}'

# Not the default names: `webhook` has to use those that it was passed.
tables = Tables(prefix="shop_")
handled = sa.Table("handled", tables.metadata, sa.Column("event", sa.Text))
sessions = sessionmaker[Session]()
async_sessions = async_sessionmaker[AsyncSession]()
routes = APIRouter()


class Trouble:
    """What goes wrong in the routes."""

    error: Exception | None = None
    """The error that they raise."""
    hidden: str | None = None
    """The statement whose error they hide."""
    end: str | None = None
    """How they end the transaction themselves."""


trouble = Trouble()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    """Create a database for both kinds of sessions."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.sqlite3")
    tables.metadata.create_all(engine)
    sessions.configure(bind=engine)
    engine_async = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path}/shop.sqlite3", poolclass=sa.NullPool
    )
    async_sessions.configure(bind=engine_async)
    trouble.error = trouble.end = None
    yield engine
    engine.dispose()


# The annotations of these routes are text, because of the `from __future__` above.


@routes.post("/sync", status_code=204)
def receive(
    delivery: Annotated[Delivery[Session], webhook(sessions, secret=SECRET, tables=tables)],
) -> None:
    delivery.session.execute(handled.insert().values(event=delivery.event.id))
    if trouble.hidden is not None:
        with suppress(DBAPIError):
            delivery.session.execute(sa.text(trouble.hidden))
    if trouble.end is not None:
        getattr(delivery.session, trouble.end)()
    if trouble.error is not None:
        raise trouble.error


@routes.post("/async", status_code=204)
async def receive_async(
    delivery: Annotated[
        Delivery[AsyncSession], async_webhook(async_sessions, secret=SECRET, tables=tables)
    ],
) -> None:
    await delivery.session.execute(handled.insert().values(event=delivery.event.id))
    if trouble.hidden is not None:
        with suppress(DBAPIError):
            await delivery.session.execute(sa.text(trouble.hidden))
    if trouble.end is not None:
        await getattr(delivery.session, trouble.end)()
    if trouble.error is not None:
        raise trouble.error


@routes.post("/event")
async def event_name(event: Annotated[WebhookEvent, verified_event()]) -> dict[str, str]:
    return {"name": event.event_name}


@routes.post("/buy")
def buy(kraty: Client) -> WalletAdjustment:
    return kraty.wallet.credit("player_42", "gold", amount=5, idempotency_key="r")


@routes.post("/buy-async")
async def buy_async(kraty: AsyncClient) -> WalletAdjustment:
    return await kraty.wallet.credit("player_42", "gold", amount=5, idempotency_key="r")


def application(start: Any = None) -> FastAPI:
    app = FastAPI(lifespan=start)
    app.include_router(routes)
    return app


def post(path: str, *bodies: bytes, start: Any = None, signature: str | None = "") -> list[int]:
    """Post bodies one after another, signed unless a signature is given; return the answers."""

    async def run() -> list[int]:
        found: list[int] = []
        async with served(application(start)) as http:
            for body in bodies:
                signed = signature or sign_webhook(raw_body=body, secret=SECRET)
                headers = [] if signature is None else [(b"x-signature", signed.encode("latin-1"))]
                response = await http.post(path, content=body, headers=headers)
                found.append(response.status_code)
        return found

    return asyncio.run(run())


def events(database: sa.Engine) -> tuple[list[str], list[str]]:
    """Return the events that were handled, and those that the inbox knows."""
    with database.connect() as connection:
        effects = connection.scalars(sa.select(handled.c.event)).all()
        known = connection.scalars(sa.select(tables.inbox.c.event_id)).all()
    return list(effects), list(known)


BOTH = pytest.mark.parametrize(
    "path", [pytest.param("/sync", id="sync"), pytest.param("/async", id="async")]
)


@BOTH
def test_a_repeat_is_answered_and_not_handled(database: sa.Engine, path: str) -> None:
    """Of three deliveries of an event only the first is handled, and all are answered with 2xx."""
    assert [204, 200, 200] == post(path, BODY, BODY, BODY)
    assert (["evt_1"], ["evt_1"]) == events(database)


@BOTH
@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(RuntimeError("the database of items is away"), 500, id="exception"),
        pytest.param(HTTPException(503), 503, id="http error"),
    ],
)
def test_a_failure_loses_no_event(
    database: sa.Engine, path: str, error: Exception, status: int
) -> None:
    """If the route raises, its changes are rolled back, and the next delivery is handled."""
    trouble.error = error
    assert [status] == post(path, BODY)
    assert ([], []) == events(database)
    trouble.error = None
    assert [204] == post(path, BODY)
    assert (["evt_1"], ["evt_1"]) == events(database)


@BOTH
def test_a_commit_that_fails_is_no_success(database: sa.Engine, path: str) -> None:
    """If the commit fails, the response is a 500, and the next delivery is handled."""
    event.listen(Session, "before_commit", fail)
    try:
        assert [500] == post(path, BODY)
    finally:
        event.remove(Session, "before_commit", fail)
    assert ([], []) == events(database)
    assert [204] == post(path, BODY)


@BOTH
@pytest.mark.once
def test_an_error_that_the_route_hides(postgresql_url: str, path: str) -> None:
    """If PostgreSQL can only roll back after an error that the route hides, the response is a 500,
    and the next delivery is handled."""
    engine = sa.create_engine(postgresql_url, poolclass=sa.NullPool)
    tables.metadata.create_all(engine)
    sessions.configure(bind=engine)
    async_sessions.configure(bind=create_async_engine(postgresql_url, poolclass=sa.NullPool))
    try:
        trouble.hidden = "SELECT 1 / 0"
        assert [500] == post(path, BODY)
        assert ([], []) == events(engine)
        trouble.hidden = None
        assert [204] == post(path, BODY)
        assert (["evt_1"], ["evt_1"]) == events(engine)
    finally:
        trouble.hidden = None
        tables.metadata.drop_all(engine)


@BOTH
@pytest.mark.parametrize(
    ("end", "status", "stored"),
    [
        pytest.param("rollback", 500, [], id="rolled back"),
        pytest.param("close", 500, [], id="closed"),
        pytest.param("commit", 204, ["evt_1"], id="committed"),
    ],
)
def test_a_route_that_ends_the_transaction(
    database: sa.Engine, path: str, end: str, status: int, stored: list[str]
) -> None:
    """If the route rolls back the record of the event, the response is a 500, and the next delivery
    is handled."""
    trouble.end = end
    assert [status] == post(path, BODY)
    assert (stored, stored) == events(database)
    trouble.end = None
    assert [200 if stored else 204] == post(path, BODY)
    assert (["evt_1"], ["evt_1"]) == events(database)


def fail(session: Session) -> None:
    raise RuntimeError("the disk is full")


def test_a_burst_does_not_occupy_all_threads(database: sa.Engine) -> None:
    """If more deliveries arrive together than the server has threads, all are handled."""
    engine = sa.create_engine(database.url, pool_size=1, max_overflow=0, pool_timeout=1)
    sessions.configure(bind=engine)
    bodies = [BODY.replace(b"evt_1", b"evt_%d" % number) for number in range(50)]

    async def run() -> list[int]:
        async with served(application()) as http:

            async def deliver(body: bytes) -> int:
                headers = {"x-signature": sign_webhook(raw_body=body, secret=SECRET)}
                return (await http.post("/sync", content=body, headers=headers)).status_code

            return await asyncio.gather(*map(deliver, bodies))

    assert [204] * len(bodies) == asyncio.run(run())
    engine.dispose()


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/sync", id="sync"),
        pytest.param("/async", id="async"),
        pytest.param("/event", id="event only"),
    ],
)
@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(None, id="none"),
        pytest.param("t=1,v1=" + "0" * 64, id="forged"),
        pytest.param("\xff", id="malformed"),
        pytest.param(sign_webhook(raw_body=BODY, secret=SECRET, timestamp=1), id="old"),
    ],
)
def test_a_forged_delivery_is_refused(
    database: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
    signature: str | None,
) -> None:
    """A delivery that does not verify is answered with 401 and logged, and not handled."""
    monkeypatch.setenv("KRATY_WEBHOOK_SECRET", SECRET)
    caplog.set_level(logging.WARNING)
    assert [401] == post(path, BODY, signature=signature)
    assert ([], []) == events(database)
    assert "webhook rejected: " in caplog.text


@pytest.mark.parametrize("secret", ["whsec_canary", ["whsec_canary"], "whsec_canary "], ids=repr)
def test_no_frame_shows_the_secret(secret: Any) -> None:
    """No frame of the error for a forged delivery, or for a wrong secret, shows the secret."""
    application = FastAPI()
    reports: list[str] = []

    async def keep(request: object, error: Exception) -> Response:
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        reports.append("".join(report.format()))
        return Response(status_code=500)

    @application.post("/event", dependencies=[verified_event(secret=secret)])
    async def never() -> None:
        raise AssertionError

    for kind in (HTTPException, ValueError):
        application.add_exception_handler(kind, keep)

    async def run() -> None:
        async with served(application) as http:
            await http.post("/event", content=BODY)

    asyncio.run(run())
    (shown,) = reports
    assert "in verify\n" in shown
    assert "whsec_canary" not in shown


def test_the_secret_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, database: sa.Engine
) -> None:
    """The secret is read from the environment when a delivery arrives; without one the answer is
    500."""
    assert [500] == post("/event", BODY)
    monkeypatch.setenv("KRATY_WEBHOOK_SECRET", SECRET)
    assert [200] == post("/event", BODY)


@pytest.mark.parametrize(
    ("path", "make"),
    [
        pytest.param("/buy", KratyAdmin, id="sync"),
        pytest.param("/buy-async", KratyAdminAsync, id="async"),
    ],
)
def test_a_client_for_the_application(kraty_emulator: Emulator, path: str, make: Any) -> None:
    """All requests share one client, which is closed with the application."""
    made: list[Any] = []

    def make_client() -> Any:
        made.append(make())
        return made[0]

    assert [200, 200] == post(path, b"", b"", start=lifespan(make_client))
    assert 5 == kraty_emulator.balance("player_42", "gold")
    assert [True] == [kraty.is_closed for kraty in made]


@pytest.mark.usefixtures("kraty_emulator")
def test_a_lifespan_within_a_lifespan() -> None:
    """An application can use the client's lifespan within its own."""

    @asynccontextmanager
    async def mine(app: FastAPI) -> AsyncGenerator[dict[str, Any], None]:
        async with lifespan()(app) as state:
            yield {**state, "more": 1}

    assert [200] == post("/buy-async", b"", start=mine)


@pytest.mark.parametrize(
    ("path", "start", "message"),
    [
        pytest.param("/buy", None, "no Kraty client: pass FastAPI", id="no lifespan"),
        pytest.param("/buy", lifespan(), r"pass lifespan\(KratyAdmin\)", id="async client"),
        pytest.param(
            "/buy-async",
            lifespan(KratyAdmin),
            r"pass lifespan\(KratyAdminAsync\)",
            id="sync client",
        ),
    ],
)
@pytest.mark.usefixtures("kraty_emulator")
def test_a_missing_client_is_explained(path: str, start: Any, message: str) -> None:
    """The error for a missing client says what to pass to FastAPI."""

    async def run() -> None:
        async with served(application(start), raise_exceptions=True) as http:
            await http.post(path)

    with pytest.raises(RuntimeError, match=message):
        asyncio.run(run())


def test_without_fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without FastAPI, the import says what to install."""
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install 'kraty-admin\[fastapi\]'"
    ) as raised:
        runpy.run_path(module.__file__)
    assert "fastapi" == raised.value.name
