"""Creating, deriving, sharing and closing clients."""

from __future__ import annotations

import ast
import asyncio
import copy
import importlib
import pickle
import pkgutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import httpx
import pytest

import kraty_admin
import kraty_server_api
from kraty_admin import KratyAdminAsync, KratyClosedError, KratyError, KratyNetworkError
from loopback import (
    ASYNC,
    AT_ONCE,
    KEY,
    Seen,
    Twin,
    always,
    closed,
    credited,
    serving,
    settled,
    twins,
)

CALLS: Final[dict[str, Callable[[Any], Any]]] = {
    "wallet.credit": lambda kraty: kraty.wallet.credit("p", "gold", amount=1),
    "players.get": lambda kraty: kraty.players.get("p"),
    "migrate.players": lambda kraty: kraty.migrate.players(
        rows=[{"externalPlayerId": "p", "idempotencyKey": "k"}]
    ),
    "health.ping": lambda kraty: kraty.health.ping(),
    "request": lambda kraty: kraty.request("GET", "/lobbies/x"),
}


class TestClosing:
    """The effects of `close()`."""

    @twins
    def test_connections_end(self, twin: Twin) -> None:
        """Closing a client closes its connections."""

        async def scenario(kraty: Any) -> None:
            await settled(kraty.wallet.credit("p", "gold", amount=1))
            await closed(kraty)
            assert server.is_left()

        with serving() as server:
            twin.run(scenario, base_url=server.url)
        assert 1 == server.connections

    @twins
    def test_twice(self, twin: Twin) -> None:
        """A client can be closed several times."""

        async def scenario(kraty: Any) -> bool:
            for _ in range(3):
                await closed(kraty)
            return bool(kraty.is_closed)

        assert twin.run(scenario)

    @pytest.mark.parametrize("call", [pytest.param(name, id=name) for name in CALLS])
    @twins
    def test_use_after_close(self, twin: Twin, call: str) -> None:
        """A call after `close()` raises `KratyClosedError`, and nothing is sent."""

        async def scenario(kraty: Any) -> None:
            await closed(kraty)
            with pytest.raises(KratyClosedError, match=rf"^this {type(kraty).__name__} is closed$"):
                await settled(CALLS[call](kraty))

        with serving() as server:
            twin.run(scenario, base_url=server.url)
        assert 0 == server.connections

    @twins
    def test_context_manager(self, twin: Twin) -> None:
        """Leaving the block closes the client, and an exception propagates."""

        async def main() -> None:
            kraty = twin.client()
            try:
                if twin.is_async:
                    async with kraty as entered:
                        assert kraty is entered
                        raise raised
                else:
                    with kraty as entered:
                        assert kraty is entered
                        raise raised
            finally:
                assert kraty.is_closed

        raised = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError) as error:
            asyncio.run(main())
        assert raised is error.value

    @twins
    def test_shown(self, twin: Twin) -> None:
        """The repr says whether a client is closed."""

        async def scenario(kraty: Any) -> tuple[str, str]:
            before = repr(kraty)
            await closed(kraty)
            return before, repr(kraty)

        before, after = twin.run(scenario)
        assert f"{before[:-1]} closed>" == after

    @twins
    def test_during_a_call(self, twin: Twin) -> None:
        """A call in flight gets its answer after the client is closed, and its connection ends."""
        waiting, go_on = threading.Event(), threading.Event()

        def answer(seen: Seen) -> bytes:
            waiting.set()
            go_on.wait(60)
            return credited(seen)

        async def scenario(kraty: Any) -> Any:
            def credit() -> Any:
                return kraty.wallet.credit("p", "gold", amount=1)

            call = asyncio.ensure_future(credit() if twin.is_async else asyncio.to_thread(credit))
            await asyncio.to_thread(waiting.wait, 30)
            await closed(kraty)
            go_on.set()
            result = await call
            assert server.is_left()
            return result

        with serving(answer) as server:
            result = twin.run(scenario, base_url=server.url)
        assert ("p", 1, 1) == (result["player"], result.http.attempts, len(server.seen))

    @twins
    def test_never_used(self, twin: Twin) -> None:
        """A client that made no call can be closed."""

        async def scenario(kraty: Any) -> None:
            await closed(kraty)
            assert kraty.is_closed

        twin.run(scenario)

    @twins
    def test_no_pickle(self, twin: Twin) -> None:
        """Clients, which hold a key and connections, neither pickle nor copy."""
        kraty = twin.client()
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=r"cannot be pickled: make one per process$"):
                attempt(kraty)


class TestDerived:
    """Closing clients that share their connections."""

    @twins
    def test_derived_closes_alone(self, twin: Twin) -> None:
        """Closing a derived client leaves its parent, siblings and children open."""

        async def scenario(kraty: Any) -> None:
            derived, sibling = kraty.with_options(timeout=1.0), kraty.with_options(timeout=2.0)
            child = derived.with_options(timeout=3.0)
            await settled(derived.players.get("p"))
            await closed(derived)
            for open_ in (kraty, sibling, child):
                assert not open_.is_closed
                await settled(open_.players.get("p"))
            with pytest.raises(KratyClosedError):
                await settled(derived.players.get("p"))

        with serving() as server:
            twin.run(scenario, base_url=server.url)
        assert {1} == {seen.connection for seen in server.seen}

    @twins
    def test_parent_closes_all(self, twin: Twin) -> None:
        """Closing the first client closes all that were derived from it."""

        async def scenario(kraty: Any) -> None:
            derived = kraty.with_options(timeout=1.0)
            child = derived.with_options(timeout=2.0)
            await closed(kraty)
            for client in (derived, child, kraty.with_options(timeout=3.0)):
                assert client.is_closed
                with pytest.raises(KratyClosedError):
                    await settled(client.players.get("p"))
            assert " closed>" in repr(child)

        twin.run(scenario)

    @twins
    def test_closed_stays_closed(self, twin: Twin) -> None:
        """A client derived from a closed one is closed, even if its parent is not."""

        async def scenario(kraty: Any) -> tuple[bool, bool]:
            derived = kraty.with_options(timeout=1.0)
            await closed(derived)
            return derived.with_options(timeout=2.0).is_closed, kraty.is_closed

        assert (True, False) == twin.run(scenario)


class TestHttpClient:
    """A caller's client, which the caller closes."""

    @twins
    def test_is_not_closed(self, twin: Twin) -> None:
        """Closing our client leaves the caller's client open."""
        http_client = twin.mocked(always({"data": {"a": 1}}))

        async def scenario(kraty: Any) -> Any:
            await closed(kraty)
            again = twin.client(http_client=http_client)
            result = await settled(again.wallet.credit("p", "gold", amount=1))
            await closed(again)
            return result

        assert {"a": 1} == twin.run(scenario, http_client=http_client)
        assert not http_client.is_closed

    @twins
    def test_closed_by_the_caller(self, twin: Twin) -> None:
        """A call after the caller's client was closed raises `KratyClosedError`."""
        http_client = twin.mocked(always({}))

        async def scenario(kraty: Any) -> None:
            await closed(http_client)
            with pytest.raises(KratyClosedError, match=r"whose connections it uses, is closed$"):
                await settled(kraty.health.ping())
            assert kraty.is_closed

        twin.run(scenario, http_client=http_client)

    @twins
    def test_closed_between_attempts(self, twin: Twin) -> None:
        """If the caller's client is closed during a call, the error is ambiguous and has the
        key."""
        attempts: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            attempts.append(request)
            is_closed.append(True)
            raise httpx.ReadError("gone")

        class Closing(twin.http_client_type):  # type: ignore[name-defined, misc]
            @property
            def is_closed(self) -> bool:
                return bool(is_closed)

        is_closed: list[bool] = []
        http_client = Closing(transport=httpx.MockTransport(answer))

        async def scenario(kraty: Any) -> KratyNetworkError:
            call = kraty.wallet.credit
            with pytest.raises(KratyNetworkError, match=r"http_client was closed") as raised:
                await settled(call("p", "gold", amount=1, idempotency_key="receipt_1"))
            return raised.value

        error = twin.run(scenario, http_client=http_client, retry=AT_ONCE)
        assert 1 == len(attempts)
        assert ("receipt_1", True) == (error.idempotency_key, error.ambiguous)


class TestLoops:
    """Asynchronous clients and event loops."""

    def test_made_outside(self) -> None:
        """A client may be created before there is an event loop."""
        kraty = ASYNC.client(http_client=ASYNC.mocked(always({"ok": True})))

        async def main() -> Any:
            async with kraty:
                return await kraty.health.ping()

        assert {"ok": True} == asyncio.run(main())

    def test_loop_of_the_block(self) -> None:
        """A client belongs to the loop of its `async with`, not to that of its first call."""

        async def enter(kraty: KratyAdminAsync) -> None:
            await kraty.__aenter__()

        async def call(kraty: KratyAdminAsync) -> None:
            await kraty.wallet.credit("p", "gold", amount=1)

        with serving() as server:
            kraty = KratyAdminAsync(api_key=KEY, base_url=server.url)
            first = asyncio.new_event_loop()
            first.run_until_complete(enter(kraty))
            with pytest.raises(KratyError, match=r"another event loop: make one per loop$"):
                asyncio.run(call(kraty))
            assert [] == server.seen
            first.run_until_complete(call(kraty))
            first.run_until_complete(kraty.close())
            first.close()

    def test_second_loop(self) -> None:
        """A call in a second loop is refused with what to do, and the first loop can still use the
        client."""
        with serving() as server:
            kraty = KratyAdminAsync(api_key=KEY, base_url=server.url)

            async def call() -> None:
                await kraty.wallet.credit("p", "gold", amount=1)

            first = asyncio.new_event_loop()
            first.run_until_complete(call())
            with pytest.raises(KratyError, match=r"another event loop: make one per loop$"):
                asyncio.run(call())
            # The first loop can go on with it.
            first.run_until_complete(call())
            first.run_until_complete(kraty.close())
            first.close()
        assert [1, 1] == [seen.connection for seen in server.seen]

    def test_second_loop_after_the_first_has_ended(self) -> None:
        """A second loop is refused even if the first one is closed."""

        def answer(seen: Seen) -> bytes:
            return credited(seen).replace(b"\r\n", b"\r\nconnection: close\r\n", 1)

        with serving(answer) as server:
            kraty = KratyAdminAsync(api_key=KEY, base_url=server.url)

            async def call() -> None:
                await kraty.wallet.credit("p", "gold", amount=1)

            asyncio.run(call())
            with pytest.raises(KratyError, match=r"another event loop: make one per loop$"):
                asyncio.run(call())
            asyncio.run(kraty.close())
        assert 1 == len(server.seen)

    def test_loops_at_once(self) -> None:
        """Of eight loops that use a client at once, one gets an answer and the others an error."""
        start = threading.Barrier(8)
        outcomes: list[str] = []

        async def call() -> None:
            await asyncio.to_thread(start.wait, 30)
            try:
                await kraty.wallet.credit("p", "gold", amount=1)
            except KratyError as error:
                outcomes.append(type(error).__name__)
            else:
                outcomes.append("answered")
                await kraty.close()

        with serving() as server:
            kraty = KratyAdminAsync(api_key=KEY, base_url=server.url)
            threads = [threading.Thread(target=asyncio.run, args=[call()]) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        assert 8 == len(outcomes)
        assert 1 == outcomes.count("answered")
        assert 1 == len(server.seen)

    def test_close_in_another_loop(self) -> None:
        """Closing in another loop is refused, and the right loop can still close the client."""
        with serving() as server:
            kraty = KratyAdminAsync(api_key=KEY, base_url=server.url)

            async def call() -> None:
                await kraty.wallet.credit("p", "gold", amount=1)

            first = asyncio.new_event_loop()
            first.run_until_complete(call())
            with pytest.raises(KratyError, match=r"in the event loop that it was used in$"):
                asyncio.run(kraty.close())
            assert not kraty.is_closed
            first.run_until_complete(call())
            first.run_until_complete(kraty.close())
            assert kraty.is_closed
            assert server.is_left()
            first.close()

    def test_http_client_with_connections(self) -> None:
        """A failure of a connection whose loop has ended is retried, since the request may have
        been sent."""
        bodies: list[bytes] = []
        ended = asyncio.new_event_loop()
        ended.close()

        def answer(request: httpx.Request) -> httpx.Response:
            bodies.append(request.content)
            if len(bodies) == 2:
                ended.call_soon(print)  # raises what a connection of that loop would
            return httpx.Response(200, json={"data": {}})

        kraty = ASYNC.client(http_client=ASYNC.mocked(answer), retry=AT_ONCE)

        async def call() -> Any:
            return await kraty.wallet.credit("p", "gold", amount=1)

        assert [1, 2] == [asyncio.run(call()).http.attempts for _ in range(2)]
        assert bodies[1] == bodies[2]

    def test_http_client_with_another_problem(self) -> None:
        """A `RuntimeError` of the caller's own transport propagates unchanged."""

        def answer(request: httpx.Request) -> httpx.Response:
            raise RuntimeError("mine")

        with pytest.raises(RuntimeError) as caught:
            ASYNC.credit(http_client=ASYNC.mocked(answer))
        assert "mine" == str(caught.value)  # `match` would see the note with the key too

    def test_http_client_in_a_second_loop(self) -> None:
        """A caller's client without connections works in any loop."""
        kraty = ASYNC.client(http_client=ASYNC.mocked(always({"ok": True})))

        async def call() -> Any:
            return await kraty.health.ping()

        assert [{"ok": True}] * 2 == [asyncio.run(call()) for _ in range(2)]


SCENARIO: Final = """
    import asyncio
    import sys
    from contextlib import suppress

    from kraty_admin import KratyAdmin, KratyAdminAsync, KratyError, RetryConfig

    options = {"api_key": "a.b", "base_url": sys.argv[1]}

    with KratyAdmin(**options) as kraty:
        kraty.wallet.credit("p", "gold", amount=1)
        with kraty.with_options(timeout=1.0) as derived:
            derived.players.get("p")
        with suppress(KratyError):
            kraty.with_options(retry=RetryConfig(attempts=2, initial_delay=0)).players.get("drop")
        with suppress(ValueError):
            kraty.players.get("..")

    async def main():
        asyncio.get_running_loop().slow_callback_duration = 60
        async with KratyAdminAsync(**options) as kraty:
            await asyncio.gather(*(kraty.wallet.credit("p", "gold", amount=1) for _ in range(20)))
            with suppress(KratyError):
                retry = RetryConfig(attempts=2, initial_delay=0)
                await kraty.with_options(retry=retry).players.get("drop")
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(kraty.players.get("hang"), 0.05)
            calls = [asyncio.create_task(kraty.players.get("p")) for _ in range(20)]
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(main())
    print("done")
"""


def test_no_warnings() -> None:
    """Calls, failures and cancellations leave nothing open that Python would warn about."""

    def answer(seen: Seen) -> bytes | None:
        if seen.player == "hang":
            server.over.wait(60)
        return None if seen.player == "drop" else credited(seen)

    with serving(answer) as server:
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(SCENARIO)]
        run = subprocess.run(
            [*command, server.url], capture_output=True, text=True, timeout=60, check=False
        )
    assert (0, "done\n", "") == (run.returncode, run.stdout, run.stderr)


def modules() -> list[ModuleType]:
    """Return every module that a client consists of."""
    found = [kraty_admin, kraty_server_api]
    for package in (kraty_admin, kraty_server_api):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not {"emulator", "bulk", "cli", "contrib", "__main__"} & set(info.name.split(".")):
                found.append(importlib.import_module(info.name))
    return found


class TestGlobals:
    """No state is kept outside clients."""

    @pytest.mark.parametrize("module", modules(), ids=lambda module: str(module.__name__))
    def test_no_global_statement(self, module: ModuleType) -> None:
        """No function assigns to a module's variables."""
        assert module.__file__ is not None
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        assert [] == [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)]

    @twins
    def test_modules_stay_as_they_are(self, twin: Twin) -> None:
        """Calls and closing change no variable of any module."""

        async def scenario(kraty: Any) -> None:
            for call in CALLS.values():
                await settled(call(kraty.with_options(timeout=1.0)))

        def variables() -> dict[str, str]:
            return {
                f"{module.__name__}.{name}": repr(value)
                for module in modules()
                for name, value in vars(module).items()
                if not name.startswith("__")
            }

        http_client = twin.mocked(always({"data": {}}))
        twin.run(scenario, http_client=http_client)
        before = variables()
        twin.run(scenario, http_client=http_client, timeout=3.0, base_url="https://gw.example")
        assert before == variables()

    @twins
    def test_clients_do_not_know_each_other(self, twin: Twin) -> None:
        """Each client calls its own host with its own key."""
        reported: list[tuple[str, str]] = []

        def answer(request: httpx.Request) -> httpx.Response:
            reported.append((request.url.host, request.headers["authorization"]))
            return httpx.Response(200, json={"ok": True})

        async def scenario(first: Any) -> None:
            second = twin.client(
                api_key="other.key", base_url="https://gw.example", http_client=twin.mocked(answer)
            )
            await settled(first.health.ping())
            await settled(second.health.ping())
            await closed(second)
            await settled(first.health.ping())

        twin.run(scenario, http_client=twin.mocked(answer))
        ours, others = ("api.kraty.io", f"Bearer {KEY}"), ("gw.example", "Bearer other.key")
        assert [ours, others, ours] == reported
