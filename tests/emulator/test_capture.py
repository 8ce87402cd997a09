"""Redirecting existing clients to an emulator."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from kraty_admin import (
    KratyAdmin,
    KratyAdminAsync,
    KratyClosedError,
    KratyNetworkError,
    RequestInfo,
    RetryConfig,
)
from kraty_admin.emulator import Emulator, Fault
from loopback import AT_ONCE, KEY, Server, always, serving


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def kraty(emulator: Emulator) -> Iterator[Emulator]:
    """Return the module's emulator, reset after each test."""
    yield emulator
    emulator.close_clients()
    emulator.reset()


@pytest.fixture
def production() -> Iterator[Server]:
    """Start a server, and fail if a call of the test reaches it."""
    with serving() as server:
        yield server
        assert 0 == server.connections


@pytest.fixture
def client(production: Server) -> Iterator[KratyAdmin]:
    """Return a client that was created before the block."""
    with KratyAdmin(api_key=KEY, base_url=production.url, retry=AT_ONCE) as client:
        yield client


def test_http_client_stays_in_use(kraty: Emulator) -> None:
    """A caller's mock transport still answers, and sees the emulator's URL and key."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return always({"data": {"balance": 7}})(request)

    with httpx.Client(transport=httpx.MockTransport(answer)) as http_client:
        client = KratyAdmin(api_key=KEY, http_client=http_client)
        with kraty.capture_clients():
            assert 7 == client.wallet.credit("p", "gold", amount=5).balance
        assert "https://api.kraty.io" == client.base_url
        assert not http_client.is_closed
    assert [kraty.base_url] == [f"http://{request.url.netloc.decode()}" for request in seen]
    assert [f"Bearer {kraty.api_key}"] == [request.headers["Authorization"] for request in seen]
    assert kraty.requests == []


def test_clients_of_emulators_stay_where_they_are(kraty: Emulator) -> None:
    """Clients that an emulator handed out, and copies of them, keep calling that emulator."""
    with Emulator() as other, kraty.client() as own:
        handed_out, for_asyncio = other.client(), other.async_client()
        derived = handed_out.with_options(deadline=30)
        with kraty.capture_clients():
            created_inside = KratyAdmin(api_key=other.api_key, base_url=other.base_url)
            assert other.base_url == handed_out.base_url == for_asyncio.base_url
            derived.wallet.credit("p", "gold", amount=5)
        own.wallet.credit("p", "gold", amount=3)
        created_inside.wallet.credit("p", "gold", amount=5)
        created_inside.close()
        assert (10, 3) == (other.balance("p", "gold"), kraty.balance("p", "gold"))


def test_blocks_nest(kraty: Emulator, client: KratyAdmin) -> None:
    """In an inner block a client calls the inner emulator, and after it the outer one again."""
    first = client.base_url
    with Emulator() as other, kraty.capture_clients():
        with other.capture_clients():
            assert other.base_url == client.base_url
        client.wallet.credit("p", "gold", amount=5)
        assert (5, 0) == (kraty.balance("p", "gold"), other.balance("p", "gold"))
    assert first == client.base_url


def test_a_closed_client_stays_closed(kraty: Emulator, client: KratyAdmin) -> None:
    """A closed client, and one that shares its connections, refuse calls in the block and after
    it."""
    derived = client.with_options(deadline=30)
    client.close()
    for _ in range(2):
        with kraty.capture_clients():
            for closed in (client, derived):
                with pytest.raises(KratyClosedError):
                    closed.health.ping()
    for closed in (client, derived):
        assert closed.is_closed
        assert kraty.base_url != closed.base_url
    assert kraty.requests == []


def test_a_client_that_the_block_closes(kraty: Emulator, client: KratyAdmin) -> None:
    """A client closed in the block, and those that share its connections, are open again after
    it."""
    derived = client.with_options(deadline=30)
    for _ in range(2):
        with kraty.capture_clients():
            client.wallet.credit("p", "gold", amount=5)
            client.close()
            for closed in (client, derived, client.with_options(deadline=3)):
                with pytest.raises(KratyClosedError):
                    closed.health.ping()
        assert not client.is_closed
        assert not derived.is_closed


def test_an_async_client_that_the_block_closes(kraty: Emulator, production: Server) -> None:
    """An async client that each run of an app closes can be used again in the next block."""
    client = KratyAdminAsync(api_key=KEY, base_url=production.url)

    async def scenario() -> None:
        async with client:
            await client.wallet.credit("p", "gold", amount=5)

    for times in (1, 2):
        with kraty.capture_clients():
            asyncio.run(scenario())
            assert client.is_closed
        assert not client.is_closed
        assert 5 * times == kraty.balance("p", "gold")


def test_each_block_has_its_own_retry_budget(kraty: Emulator, production: Server) -> None:
    """Retries that one block spends are not missing in the next."""
    retry = RetryConfig(attempts=5, initial_delay=0)
    client = KratyAdmin(api_key=KEY, base_url=production.url, retry=retry, retry_budget=2)
    for _ in range(2):
        with kraty.capture_clients():
            kraty.faults.add(Fault("drop"), times=None)
            with pytest.raises(KratyNetworkError) as error:
                client.with_options(deadline=30).health.ping()
            assert error.value.call is not None
            assert 3 == error.value.call.attempts
            kraty.reset()
    client.close()


def test_the_rate_limit_of_another_server(kraty: Emulator, client: KratyAdmin) -> None:
    """A wait that one server asked for does not delay calls to another, in the block or after
    it."""
    limiter = client._limiter  # pyright: ignore[reportPrivateUsage]  # a failure would wait an hour
    limiter.hold(3600.0, time.monotonic())
    with kraty.capture_clients():
        assert 0.0 == limiter.take(time.monotonic())
        limiter.hold(3600.0, time.monotonic())
    assert 0.0 == limiter.take(time.monotonic())


def test_a_call_ends_where_it_began(kraty: Emulator, production: Server) -> None:
    """A call that is still retrying when the block ends does not retry in production."""
    has_failed, has_ended = threading.Event(), threading.Event()

    def pause(info: RequestInfo) -> None:
        if info.will_retry:
            has_failed.set()
            has_ended.wait(30)

    client = KratyAdmin(api_key=KEY, base_url=production.url, retry=AT_ONCE, on_request=pause)
    call = threading.Thread(
        target=lambda: client.wallet.credit("p", "gold", amount=5), name="a call"
    )
    with kraty.capture_clients():
        kraty.faults.add(Fault("drop", when="before"))
        call.start()
        assert has_failed.wait(30)
    has_ended.set()
    call.join(30)
    client.close()
    assert 5 == kraty.balance("p", "gold")


def test_frozen_objects_are_found(kraty: Emulator, client: KratyAdmin) -> None:
    """A client is redirected even if `gc.freeze()` hides it from a search of the garbage
    collector."""
    gc.freeze()
    try:
        with kraty.capture_clients():
            client.wallet.credit("p", "gold", amount=5)
    finally:
        gc.unfreeze()
    assert 5 == kraty.balance("p", "gold")


class Lazy:
    """A proxy that refers to the class, so the search finds it, and that must not be accessed."""

    __slots__ = ("make",)

    def __init__(self) -> None:
        self.make = KratyAdmin

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(name)


def test_what_only_looks_like_a_client(kraty: Emulator) -> None:
    """A proxy, and a client whose construction failed, are left alone."""
    proxy, unmade = Lazy(), object.__new__(KratyAdmin)
    with kraty.capture_clients():
        assert Lazy is type(proxy)
        assert not vars(unmade)


def test_the_emulator_must_be_running() -> None:
    """An emulator that is not running cannot capture clients."""
    with pytest.raises(RuntimeError, match="not running"), Emulator().capture_clients():
        pass
