"""A caller's client: its failures, its hooks, and clients of httpx2."""

from __future__ import annotations

import importlib
import time
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import httpcore
import httpx
import pytest

from kraty_admin import KratyError, KratyNetworkError, KratyServerError
from kraty_admin._transport._lent import Body
from loopback import (
    ASYNC,
    AT_ONCE,
    CANARY,
    KEY,
    ONCE,
    SYNC,
    Seen,
    Twin,
    closed,
    credited,
    response,
    serving,
    settled,
    twins,
)

httpx2: Final[Any] = importlib.import_module("httpx2")


families: Final = pytest.mark.parametrize(
    "family", [pytest.param(httpx, id="httpx"), pytest.param(httpx2, id="httpx2")]
)


def lent(twin: Twin, family: Any, **options: Any) -> Any:
    """Return a client of the caller's."""
    return (family.AsyncClient if twin.is_async else family.Client)(**options)


def mocked(twin: Twin, family: Any, answer: Callable[[Any], Any], **options: Any) -> Any:
    """Return a client of the caller's that reaches no network."""
    return lent(twin, family, transport=family.MockTransport(answer), **options)


STARTED: Final = "http11.send_request_headers.started"


def request_of(method: str) -> httpcore.Request:
    """Return a request as a transport names it in its trace."""
    return httpcore.Request(method, "https://api.test")


def credit_over(twin: Twin, client: Any, **options: Any) -> Any:
    """Make one credit over this client, close the client, and return the result."""

    async def scenario(kraty: Any) -> Any:
        try:
            return await settled(kraty.wallet.credit("p", "gold", amount=1))
        finally:
            await closed(client)

    return twin.run(scenario, http_client=client, **options)


class TestFamilies:
    """httpx, and its fork httpx2, whose exceptions do not inherit from httpx's."""

    @families
    @twins
    def test_a_result(self, twin: Twin, family: Any) -> None:
        """Calls over a caller's client return their results, and share a connection."""

        async def scenario(kraty: Any) -> list[Any]:
            found = [await settled(kraty.wallet.credit("p", "gold", amount=1)) for _ in range(2)]
            await closed(client)
            return found

        client = lent(twin, family)
        with serving() as server:
            found = twin.run(scenario, base_url=server.url, http_client=client)
        assert [(500, 1), (500, 1)] == [(each.balance, each["connection"]) for each in found]
        assert f"Bearer {KEY}" == server.seen[0].headers["authorization"]

    @families
    @twins
    def test_refused_connections(self, twin: Twin, family: Any) -> None:
        """A call that was never sent is not ambiguous."""
        with serving() as server:
            url = server.url
        with pytest.raises(KratyNetworkError) as raised:
            credit_over(twin, lent(twin, family), base_url=url, retry=ONCE)
        assert ("ConnectError", False) == (raised.value.cause_name, raised.value.ambiguous)

    @families
    @twins
    def test_dropped_answers(self, twin: Twin, family: Any) -> None:
        """A request without an answer is sent again, with the same bytes."""

        def answer(seen: Seen) -> bytes | None:
            return None if seen.connection == 1 else credited(seen)

        with serving(answer) as server:
            result = credit_over(twin, lent(twin, family), base_url=server.url, retry=AT_ONCE)
        assert 2 == result.http.attempts
        assert server.seen[0].body == server.seen[1].body

    @pytest.mark.parametrize(
        ("failure", "ambiguous"),
        [
            ("ReadTimeout", True),
            ("WriteError", True),
            ("RemoteProtocolError", True),
            ("ConnectTimeout", False),
            ("PoolTimeout", False),
            ("ProxyError", False),
        ],
    )
    @families
    @twins
    def test_failures(self, twin: Twin, family: Any, failure: str, ambiguous: bool) -> None:
        """Each failure of either library is reported as httpx's exception of the same name."""

        def answer(request: Any) -> Any:
            raise getattr(family, failure)("no")

        with pytest.raises(KratyNetworkError) as raised:
            credit_over(twin, mocked(twin, family, answer), retry=ONCE)
        assert (failure, ambiguous) == (raised.value.cause_name, raised.value.ambiguous)
        assert "httpx" == type(raised.value.original_cause).__module__

    @pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
    @families
    @twins
    def test_raise_for_status(self, twin: Twin, family: Any, read: bool) -> None:
        """A hook that calls `raise_for_status()` does not hide the server's answer."""

        def answer(seen: Seen) -> bytes:
            return response(409, {"error": {"code": "conflict", "message": "m"}}, x_request_id="r")

        def hook(answered: Any) -> None:
            if read:
                answered.read()
            answered.raise_for_status()

        async def hook_async(answered: Any) -> None:
            if read:
                await answered.aread()
            answered.raise_for_status()

        hooks = {"response": [hook_async if twin.is_async else hook]}
        client = lent(twin, family, event_hooks=hooks)
        with serving(answer) as server, pytest.raises(KratyServerError) as raised:
            credit_over(twin, client, base_url=server.url)
        code = "conflict" if read else "internal_error"
        assert (409, code, 1, "r") == (
            raised.value.status,
            raised.value.code,
            raised.value.attempts,
            raised.value.request_id,
        )

    @families
    @twins
    def test_raise_for_status_of_another_answer(self, twin: Twin, family: Any) -> None:
        """The status of an answer that a hook received from another server is not this call's."""

        def hook(_: object) -> None:
            request = family.Request("GET", "https://elsewhere.test")
            family.Response(404, request=request).raise_for_status()

        hooks = {"response": [twin.hook(hook)]}
        client = mocked(twin, family, lambda _: family.Response(200, json={}), event_hooks=hooks)
        with pytest.raises(KratyNetworkError, match="a hook of http_client raised") as raised:
            credit_over(twin, client, retry=ONCE)
        assert raised.value.ambiguous

    @families
    @twins
    def test_a_transport_that_tries_twice(self, twin: Twin, family: Any) -> None:
        """A failure to connect at a transport's second try leaves a call in doubt that its first
        try sent."""

        async def answer_async(request: Any) -> Any:
            await request.extensions["trace"](STARTED, {"request": request_of("POST")})
            raise family.ConnectError("at the second try")

        def answer(request: Any) -> Any:
            request.extensions["trace"](STARTED, {"request": request_of("POST")})
            raise family.ConnectError("at the second try")

        client = mocked(twin, family, answer_async if twin.is_async else answer)
        with pytest.raises(KratyNetworkError, match="at the second try") as raised:
            credit_over(twin, client, retry=ONCE)
        assert ("ConnectError", True) == (raised.value.cause_name, raised.value.ambiguous)

    @families
    @twins
    def test_an_answer_in_many_pieces(self, twin: Twin, family: Any) -> None:
        """The deadline also ends an answer of which each piece comes in time."""

        def pieces() -> Iterator[bytes]:
            ends_at = time.monotonic() + 1
            while time.monotonic() < ends_at:
                yield b" "
            yield b"{}"

        async def pieces_async() -> AsyncIterator[bytes]:
            for piece in pieces():
                yield piece

        def answer(_: object) -> Any:
            return family.Response(200, content=pieces_async() if twin.is_async else pieces())

        with pytest.raises(KratyNetworkError, match="the deadline passed while") as raised:
            credit_over(twin, mocked(twin, family, answer), deadline=0.05)
        assert raised.value.ambiguous

    @families
    @twins
    def test_packed_answers(self, twin: Twin, family: Any) -> None:
        """A compressed answer is decompressed."""
        import gzip

        def answer(seen: Seen) -> bytes:
            assert "gzip" in seen.headers["accept-encoding"]
            body = gzip.compress(credited(seen).partition(b"\r\n\r\n")[2])
            head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}"
            return head.encode() + b"\r\n\r\n" + body

        with serving(answer) as server:
            client = lent(twin, family)
            assert 500 == credit_over(twin, client, base_url=server.url).balance

    @twins
    def test_other_clients(self, twin: Twin) -> None:
        """A client of the other kind, and any other object, is refused at construction."""
        other = SYNC if twin.is_async else ASYNC
        for client in (other.http_client(), object(), httpx2):
            with pytest.raises(TypeError, match=r"^http_client must be an httpx\."):
                twin.client(http_client=client)


def test_a_piece_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece of an answer that comes at the deadline is accepted, since it may be the last; the
    next one is too late."""
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    body = Body(5.0)
    body.add(b"first")
    with pytest.raises(httpx.ReadTimeout):
        body.add(b"second")


@families
@twins
def test_a_refusing_proxy(twin: Twin, family: Any) -> None:
    """A CONNECT that the proxy refuses is not ambiguous."""
    with serving(lambda seen: response(403)) as proxy:
        client = lent(twin, family, proxy=proxy.url)
        with pytest.raises(KratyNetworkError) as raised:
            credit_over(twin, client, base_url="https://api.kraty.test", retry=ONCE)
    assert ["CONNECT"] == [seen.method for seen in proxy.seen]
    assert ("ProxyError", False) == (raised.value.cause_name, raised.value.ambiguous)


def raising_in(module: str, error: Exception) -> Callable[[object], Any]:
    """Return a function of this module that raises an error."""
    namespace: dict[str, Any] = {"__name__": module, "error": error}
    exec("def fail(*args):\n    raise error", namespace)
    fail: Callable[[object], Any] = namespace["fail"]
    return fail


class TestWhoseException:
    """An exception of the HTTP stack is a network error; one of the caller's code is not."""

    @pytest.mark.parametrize(
        "module", ["httpcore._sync.http2", "hpack.table", "h2.connection", "socksio.socks5", "ssl"]
    )
    @twins
    def test_of_the_stack(self, twin: Twin, module: str) -> None:
        """A bug of a library below is retried as a network error, and is ambiguous."""
        client = mocked(twin, httpx, raising_in(module, KeyError("stream 7")))
        with pytest.raises(KratyNetworkError, match="KeyError: 'stream 7'") as raised:
            twin.credit(http_client=client, retry=AT_ONCE)
        assert (4, True) == (raised.value.attempts, raised.value.ambiguous)
        assert raised.value.idempotency_key is not None

    @pytest.mark.parametrize(
        "error",
        [
            pytest.param(KeyError("k"), id="KeyError"),
            pytest.param(ValueError("v"), id="ValueError"),
            pytest.param(type("Soft", (TimeoutError,), {"__module__": "app"})(), id="own-timeout"),
        ],
    )
    @twins
    def test_of_the_caller(self, twin: Twin, error: Exception) -> None:
        """An exception of the caller's transport propagates unchanged after one attempt, and no
        frame shows the key."""
        attempts: list[object] = []

        def answer(request: Any) -> Any:
            attempts.append(request)
            raise error

        with pytest.raises(type(error)) as raised:
            twin.credit(http_client=mocked(twin, httpx, answer), retry=AT_ONCE)
        assert (error, 1) == (raised.value, len(attempts))
        traceback = raised.value.__traceback__
        names: list[str] = []
        while traceback is not None:
            frame: types.FrameType = traceback.tb_frame
            names.append(frame.f_code.co_name)
            if (
                frame.f_code.co_name not in ("run", "answer")
                and "httpx" in frame.f_code.co_filename
            ):
                assert {} == frame.f_locals
            assert not any(CANARY in repr(value) for value in frame.f_locals.values())
            traceback = traceback.tb_next
        assert "answer" == names[-1]
        assert ("handle_async_request" if twin.is_async else "handle_request") in names

    @twins
    def test_a_plain_one_of_another_call(self, twin: Twin) -> None:
        """A plain `KratyError` of a hook's own call does not say that this call sent nothing."""

        def hook(_: object) -> None:
            raise KratyError("http_client was first used in another process")

        hooks = {"response": [twin.hook(hook)]}
        answer = httpx.Response(200, json={"data": {}})
        client = mocked(twin, httpx, lambda _: answer, event_hooks=hooks)
        with pytest.raises(KratyNetworkError, match="another call failed during this") as raised:
            credit_over(twin, client, retry=ONCE)
        assert raised.value.ambiguous

    @pytest.mark.parametrize("moment", ["request", "response"])
    @families
    @twins
    def test_of_another_call(self, twin: Twin, family: Any, moment: str) -> None:
        """The error of a call that a hook made is not taken for the error of this call. This call
        is not retried, since the hook would make its call again, under another key."""
        made: list[None] = []

        def refuse(_: object) -> httpx.Response:
            return httpx.Response(404, json={"error": {"code": "player_not_found", "message": "m"}})

        def call_again(_: object) -> None:
            made.append(None)
            SYNC.client(http_client=SYNC.mocked(refuse)).wallet.credit(
                "p", "gold", amount=1, idempotency_key="inner"
            )

        def answer(request: Any) -> Any:
            return family.Response(200, json={"data": {}})

        hooks = {moment: [twin.hook(call_again)]}
        client = mocked(twin, family, answer, event_hooks=hooks)

        async def scenario(kraty: Any) -> None:
            await settled(kraty.wallet.credit("p", "gold", amount=1, idempotency_key="outer"))

        with pytest.raises(KratyNetworkError, match="another call failed during this") as raised:
            twin.run(scenario, http_client=client, retry=AT_ONCE)
        assert ("outer", True, 1) == (
            raised.value.idempotency_key,
            raised.value.ambiguous,
            len(made),
        )
