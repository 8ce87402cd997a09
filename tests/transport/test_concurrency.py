"""Threads, tasks and processes that share one client: each gets its own answers."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
import warnings
import weakref
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

import attrs
import httpcore
import httpx
import pytest

from kraty_admin import KratyAdminAsync, KratyNetworkError
from kraty_admin._transport import _own, _tls
from kraty_admin._transport._pool import AsyncGate, Gate, Pool
from loopback import (
    ASYNC,
    AT_ONCE,
    ONCE,
    SYNC,
    Seen,
    Server,
    Twin,
    closed,
    credited,
    serving,
    settled,
    twins,
)

forking: Final = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")

PATIENCE: Final = 60.0
"""Seconds until something is taken to hang."""


def players_by_connection(server: Server) -> dict[int, set[str]]:
    """Return the first parts of the player ids, `a` of `a-1`, that each connection was used for."""
    found: dict[int, set[str]] = defaultdict(set)
    for seen in server.seen:
        found[seen.connection].add(seen.player.split("-")[0])
    return found


class TestThreads:
    """One client that many threads or tasks share."""

    def test_each_gets_its_own_answer(self) -> None:
        """Each of 960 calls from 32 threads gets its own answer and has its own key."""

        def work(number: int) -> list[str]:
            ids = [f"{number}-{call}" for call in range(30)]
            return [kraty.wallet.credit(id_, "gold", amount=1)["player"] for id_ in ids]

        with (
            serving() as server,
            SYNC.client(base_url=server.url) as kraty,
            ThreadPoolExecutor(32) as threads,
        ):
            answers = list(threads.map(work, range(32)))
        assert [[f"{n}-{call}" for call in range(30)] for n in range(32)] == answers
        keys = {json.loads(seen.body)["idempotencyKey"] for seen in server.seen}
        assert (32 * 30, 32 * 30) == (len(server.seen), len(keys))
        assert server.connections <= 32

    def test_tasks(self) -> None:
        """Each of 500 simultaneous tasks gets its own answer, over at most 100 connections."""
        ids = [f"{number}-0" for number in range(500)]

        async def scenario(kraty: KratyAdminAsync) -> list[str]:
            calls = (kraty.wallet.credit(id_, "gold", amount=1) for id_ in ids)
            return [answer["player"] for answer in await asyncio.gather(*calls)]

        with serving() as server:
            assert ids == ASYNC.run(scenario, base_url=server.url)
        assert server.connections <= 100


class Made:
    """Counts the pools and SSL contexts that are created."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[str] = Counter()
        for name, owner, attribute in [
            ("SSL contexts", _tls, "_make"),
            ("pools", Pool, "__init__"),
        ]:
            monkeypatch.setattr(owner, attribute, self._counted(name, getattr(owner, attribute)))

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.counts[name] += 1
            return function(*args, **kwargs)

        return counted


class TestSharing:
    """The objects that a client creates once."""

    @twins
    def test_one_pool_and_one_ssl_context(
        self, twin: Twin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Calls and derived clients share a pool, and all clients of a process an SSL context."""
        made = Made(monkeypatch)
        monkeypatch.setattr(_tls, "_contexts", {})
        twin.client()
        kraty = twin.client()
        # The pool is made by the first call: gevent may replace what it needs until then.
        assert {"SSL contexts": 1} == made.counts

        async def call(client: Any) -> None:
            with pytest.raises(KratyNetworkError):
                await settled(client.with_options(retry=ONCE).health.ping())

        async def scenario() -> None:
            def refused(*args: object, **kwargs: object) -> None:
                raise OSError("no network here")

            monkeypatch.setattr("socket.getaddrinfo", refused)
            await asyncio.gather(*(call(kraty) for _ in range(20)))
            await settled(kraty.close())

        asyncio.run(scenario())
        assert (1, 1) == (made.counts["SSL contexts"], made.counts["pools"])

    @pytest.mark.skipif(sys.platform == "win32", reason="no list of open files")
    @pytest.mark.parametrize("outcome", ["answered", "dropped", "refused"])
    @twins
    def test_open_files(self, twin: Twin, outcome: str) -> None:
        """After hundreds of calls, however they end, about as many files are open as after the
        first."""
        calls = 250
        counts: list[int] = []

        def answer(seen: Seen) -> bytes | None:
            return None if outcome == "dropped" else credited(seen)

        async def scenario(kraty: Any) -> None:
            for _ in range(calls):
                with suppress(KratyNetworkError):
                    await settled(kraty.wallet.credit("p", "gold", amount=1))
                counts.append(open_files())

        with serving(answer) as server:
            url = "http://127.0.0.1:1" if outcome == "refused" else server.url
            twin.run(scenario, base_url=url, retry=ONCE)
            # The server's ends of the connections are counted too, and close a little later.
            assert max(counts) <= counts[0] + 20
            assert abs(counts[0] - counts[-1]) <= 20
            assert (0 if outcome == "refused" else calls) == len(server.seen)


def open_files() -> int:
    """Return how many files this process has open."""
    return len([*os.scandir("/dev/fd")])


def in_child(work: Callable[[], object]) -> tuple[int, int]:
    """Fork a child that does this work; return its id and a pipe for the result."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python says that forking beside threads may deadlock; here is where it must not.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    signal.alarm(int(2 * PATIENCE))  # in case no process is left to end it
    result: object = "nothing"
    try:
        result = work()
    except BaseException as error:
        result = f"{type(error).__name__}: {error}"
    finally:
        os.write(writer, json.dumps(result).encode())
        os._exit(0)


def results_of(children: list[tuple[int, int]]) -> list[Any]:
    """Return the results of the children, and kill a child that hangs."""
    results: list[Any] = []
    for pid, reader in children:
        ready, _, _ = select.select([reader], [], [], PATIENCE)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        results.append(json.loads(os.read(reader, 65_536)) if ready else "hung")
        os.close(reader)
        os.waitpid(pid, 0)
    return results


def credit_all(kraty: Any, name: str, count: int) -> list[str]:
    """Return whose answers a process gets for a number of credits."""

    async def main() -> list[str]:
        answers = [
            await settled(kraty.wallet.credit(f"{name}-{call}", "gold", amount=1))
            for call in range(count)
        ]
        if isinstance(kraty, KratyAdminAsync):
            await kraty.close()
        return [answer["player"] for answer in answers]

    return asyncio.run(main())


def warm_fork(url: str, is_async: bool, report: Connection) -> None:
    """Warm a client, fork 8 children that use it, and use it at the same time and after."""
    kraty: Any = (ASYNC if is_async else SYNC).client(base_url=url)
    if is_async:
        loop = asyncio.new_event_loop()

        async def credit(name: str) -> str:
            return str((await kraty.wallet.credit(name, "gold", amount=1))["player"])

        def run(name: str) -> str:
            return loop.run_until_complete(credit(name))
    else:

        def run(name: str) -> str:
            return str(kraty.wallet.credit(name, "gold", amount=1)["player"])

    warmed = run("parent-0")

    def work(number: int) -> Callable[[], object]:
        # A child uses its own loop and must not touch the parent's.
        return lambda: credit_all(kraty, f"child{number}", 10)

    children = [in_child(work(number)) for number in range(8)]
    meanwhile = [run(f"parent-{call}") for call in range(1, 30)]
    report.send([warmed, results_of(children), meanwhile, run("parent-30")])


def first_call(url: str, is_async: bool, report: Connection) -> None:
    """Return the modules that a first call loads."""
    kraty = SYNC.client(base_url=url)
    before = set(sys.modules)
    credit_all(kraty, "parent", 1)
    report.send(sorted(set(sys.modules) - before))


def busy_fork(url: str, is_async: bool, report: Connection) -> None:
    """Fork 8 children in the middle of the calls and retries of 8 threads."""
    kraty = SYNC.client(base_url=url, retry=AT_ONCE)
    # Python's own import locks do not survive a fork: what is imported by a first call
    # has to be there before.
    credit_all(kraty, "parent", 1)
    stop = threading.Event()
    wrong: list[str] = []

    def busy(number: int) -> None:
        call = 0
        # Not without a pause: eight threads that never wait starve everybody else.
        while not stop.wait(0.001):
            call += 1
            player = kraty.wallet.credit(f"parent-{number}.{call}", "gold", amount=1)["player"]
            if player != f"parent-{number}.{call}":
                wrong.append(player)

    threads = [threading.Thread(target=busy, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()

    def work(number: int) -> Callable[[], object]:
        return lambda: credit_all(kraty, f"child{number}", 10)

    results = results_of([in_child(work(number)) for number in range(8)])
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    report.send([wrong, results])


def grandchildren_fork(url: str, is_async: bool, report: Connection) -> None:
    """Fork children that fork, each using the client before and after."""
    kraty = SYNC.client(base_url=url)
    credit_all(kraty, "parent", 2)

    def child() -> object:
        before = credit_all(kraty, "child", 2)
        inner = results_of([in_child(lambda: credit_all(kraty, "grandchild", 2))])
        return [before, inner, credit_all(kraty, "child", 2)]

    report.send([results_of([in_child(child)]), credit_all(kraty, "parent", 2)])


def closing_fork(url: str, is_async: bool, report: Connection) -> None:
    """Fork children that close the client, with and without having used it."""
    kraty = SYNC.client(base_url=url)
    credit_all(kraty, "parent", 1)

    def close() -> object:
        kraty.close()
        return kraty.is_closed

    def use_and_close() -> object:
        credit_all(kraty, "child", 1)
        return close()

    results = results_of([in_child(close), in_child(use_and_close)])
    report.send([results, kraty.is_closed, credit_all(kraty, "parent", 1)])


def lent_fork(url: str, is_async: bool, report: Connection) -> None:
    """Use a client over one of the caller's, then fork a child that uses it."""
    twin = ASYNC if is_async else SYNC
    lent = twin.client(base_url=url, http_client=twin.http_client())
    unused = twin.client(base_url=url, http_client=twin.http_client())
    credit_all(lent, "parent", 1)
    if is_async:
        lent = lent.with_options()
        lent._closed = False
        lent._sender.channel._closed = False
    report.send(
        results_of(
            [
                in_child(lambda: credit_all(lent, "child", 1)),
                in_child(lambda: credit_all(unused, "child", 1)),
            ]
        )
    )


def report_of(
    work: Callable[[str, bool, Connection], None], server: Server, *, is_async: bool = False
) -> Any:
    """Return the output of a fresh process, since this one has threads and must not fork.

    It is forked by a server without threads, which imports this module once for all tests.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    here, there = context.Pipe()
    process = context.Process(target=work, args=(server.url, is_async, there))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # which the server does not inherit
        process.start()
    there.close()
    try:
        assert here.poll(3 * PATIENCE)
        return here.recv()
    finally:
        here.close()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()


@forking
class TestForks:
    """Clients created before a fork, as with gunicorn and Celery."""

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_warm(self, is_async: bool) -> None:
        """8 children of a used client get their own answers, and no two processes share a
        connection."""
        with serving() as server:
            warmed, results, meanwhile, after = report_of(warm_fork, server, is_async=is_async)
        assert "parent-0" == warmed
        assert [[f"child{n}-{call}" for call in range(10)] for n in range(8)] == results
        assert [f"parent-{call}" for call in range(1, 30)] == meanwhile
        assert "parent-30" == after
        users = players_by_connection(server)
        assert [1] * 9 == [len(names) for names in users.values()]
        assert {"parent"} == users[1]

    def test_first_call_loads_nothing(self) -> None:
        """A first call imports no module, since a child forked during an import would hang."""
        with serving() as server:
            assert [] == report_of(first_call, server)

    def test_busy(self) -> None:
        """Children forked while threads are in calls do not hang, and get their own answers."""
        dropped: set[str] = set()

        def answer(seen: Seen) -> bytes | None:
            if seen.player.startswith("parent") and seen.player not in dropped:
                dropped.add(seen.player)
                return None
            return credited(seen)

        with serving(answer) as server:
            wrong, results = report_of(busy_fork, server)
        assert [] == wrong
        assert [[f"child{n}-{call}" for call in range(10)] for n in range(8)] == results
        assert {1} == {len(names) for names in players_by_connection(server).values()}

    def test_grandchildren(self) -> None:
        """Parent, child and grandchild each keep their own connection."""
        with serving() as server:
            (result,), parent = report_of(grandchildren_fork, server)
        mine, theirs = ["child-0", "child-1"], ["grandchild-0", "grandchild-1"]
        assert [mine, [theirs], mine] == result
        assert ["parent-0", "parent-1"] == parent
        assert [{"parent"}, {"child"}, {"grandchild"}] == list(
            players_by_connection(server).values()
        )

    def test_closing_in_a_child(self) -> None:
        """A child that closes the client does not close the parent's connection."""
        with serving() as server:
            results, is_closed, after = report_of(closing_fork, server)
        assert ([True, True], False, ["parent-0"]) == (results, is_closed, after)
        assert {"parent"} == players_by_connection(server)[1]
        assert 2 == server.connections

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_client_of_the_caller(self, is_async: bool) -> None:
        """In a child, a caller's client is refused if the parent used it, as both might share a
        connection."""
        with serving() as server:
            refused, answered = report_of(lent_fork, server, is_async=is_async)
        assert "KratyError: http_client was first used in another process" in refused
        assert ["child-0"] == answered
        assert {1} == {len(names) for names in players_by_connection(server).values()}


@attrs.define
class CancelledAt:
    """Awaits a coroutine, and cancels the task at the coroutine's nth suspension."""

    coroutine: Coroutine[Any, Any, Any]
    suspension: int
    reached: bool = False

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self.coroutine.__await__()
        thrown: BaseException | None = None
        suspensions = 0
        while True:
            try:
                waited = inner.send(None) if thrown is None else inner.throw(thrown)
            except StopIteration as stop:
                return stop.value
            if suspensions == self.suspension:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            suspensions += 1
            thrown = None
            try:
                yield waited
            except BaseException as error:
                thrown = error


class TestCancelling:
    """Calls that are cancelled."""

    def test_at_every_suspension(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The pool stays usable after calls were cancelled at each of their suspensions."""
        monkeypatch.setattr("kraty_admin._transport._own.CONNECTIONS", 12)
        cancelled = 0

        async def cancel_everywhere(kraty: KratyAdminAsync) -> None:
            nonlocal cancelled
            for suspension in range(100):
                call = CancelledAt(kraty.wallet.credit("p", "gold", amount=1), suspension)
                with suppress(asyncio.CancelledError):
                    await asyncio.ensure_future(_awaited(call))
                if not call.reached:
                    return
                cancelled += 1
            raise AssertionError("a call suspends without end")

        async def scenario(kraty: KratyAdminAsync) -> list[Any]:
            for _ in range(25):
                await cancel_everywhere(kraty)
            calls = [kraty.wallet.credit(f"p-{n}", "gold", amount=1) for n in range(12)]
            return [answer["player"] for answer in await asyncio.gather(*calls)]

        with serving() as server:
            answers = ASYNC.run(scenario, base_url=server.url, timeout=5.0, retry=ONCE)
            # Nothing is left open that the client does not know of.
            assert server.is_left()
        assert [f"p-{n}" for n in range(12)] == answers
        assert cancelled >= 100

    def test_under_contention(self) -> None:
        """After 500 calls for 100 connections were cancelled, 500 others get their answers."""

        async def scenario(kraty: KratyAdminAsync) -> tuple[list[Any], list[str]]:
            tasks = [
                asyncio.create_task(kraty.wallet.credit(f"c-{n}", "gold", amount=1))
                for n in range(500)
            ]
            for number, task in enumerate(tasks):
                if number % 7 == 0:
                    await asyncio.sleep(0)
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            calls = [kraty.wallet.credit(f"p-{n}", "gold", amount=1) for n in range(500)]
            return outcomes, [answer["player"] for answer in await asyncio.gather(*calls)]

        with serving() as server:
            outcomes, answers = ASYNC.run(scenario, base_url=server.url, retry=ONCE)
        assert [f"p-{n}" for n in range(500)] == answers
        assert {asyncio.CancelledError} <= set(map(type, outcomes))

    def test_while_queued(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Calls that wait for a connection and are cancelled give their place to others."""
        monkeypatch.setattr("kraty_admin._transport._own.CONNECTIONS", 2)
        waiting = threading.Semaphore(0)
        go_on = threading.Event()

        def answer(seen: Seen) -> bytes:
            waiting.release()
            go_on.wait(PATIENCE)
            return credited(seen)

        async def scenario(kraty: KratyAdminAsync) -> list[str]:
            def credit(name: str) -> Awaitable[Any]:
                return asyncio.ensure_future(kraty.wallet.credit(name, "gold", amount=1))

            first = [credit(f"first-{n}") for n in range(2)]
            for _ in range(2):
                await asyncio.to_thread(waiting.acquire, timeout=PATIENCE)
            queued = [asyncio.ensure_future(credit(f"queued-{n}")) for n in range(50)]
            await asyncio.sleep(0)
            for task in queued:
                task.cancel()
            await asyncio.gather(*queued, return_exceptions=True)
            last = [credit(f"last-{n}") for n in range(2)]
            go_on.set()
            return [answer["player"] for answer in await asyncio.gather(*first, *last)]

        with serving(answer) as server:
            answers = ASYNC.run(scenario, base_url=server.url, retry=ONCE)
        assert ["first-0", "first-1", "last-0", "last-1"] == answers
        assert 4 == len(server.seen)

    def test_wait_for(self) -> None:
        """A call that `asyncio.wait_for` cancels was sent once, and is not retried."""
        arrived = threading.Event()

        def hang(seen: Seen) -> None:
            arrived.set()
            server.over.wait(PATIENCE)

        async def scenario(kraty: KratyAdminAsync) -> None:
            call = asyncio.ensure_future(kraty.wallet.credit("p", "gold", amount=1))
            assert await asyncio.to_thread(arrived.wait, PATIENCE)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(call, 0.01)
            assert call.cancelled()

        with serving(hang) as server:
            ASYNC.run(scenario, base_url=server.url, retry=AT_ONCE)
        assert 1 == len(server.seen)

    @pytest.mark.skipif(sys.platform == "win32", reason="no signals to threads")
    def test_interrupted(self) -> None:
        """Ctrl-C during a call propagates, the call is not retried, and its connection is not used
        again."""

        def interrupt(*args: object) -> None:
            raise KeyboardInterrupt

        def answer(seen: Seen) -> bytes:
            if seen.player == "hang":
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
                server.over.wait(PATIENCE)
            return credited(seen)

        with serving(answer) as server, SYNC.client(base_url=server.url, retry=AT_ONCE) as kraty:
            kraty.players.get("first")
            before = signal.signal(signal.SIGALRM, interrupt)
            try:
                with pytest.raises(KeyboardInterrupt):
                    kraty.players.get("hang")
            finally:
                signal.signal(signal.SIGALRM, before)
            assert "last" == kraty.players.get("last")["player"]
            server.over.set()
        assert ["first", "hang", "last"] == [seen.player for seen in server.seen]
        assert [1, 1, 2] == [seen.connection for seen in server.seen]


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class TestGate:
    """The queue for connections."""

    def test_threads(self) -> None:
        """A call that finds no free place in time raises, and a place that was freed can be
        taken."""
        gate = Gate(1)
        place = gate.enter(0.01)
        with pytest.raises(httpx.PoolTimeout):
            gate.enter(0.01)
        del place
        gate.enter(None)

    def test_a_place_outlives_its_gate(self) -> None:
        """A place can be freed without an error after its gate."""
        gate = Gate(1)
        place = gate.enter(0.01)
        del gate
        del place

    def test_gates_are_freed(self) -> None:
        """A gate is freed from memory once nothing refers to it."""
        gate = Gate(1)
        kind = weakref.ref(type(gate.enter(None)))
        del gate
        gc.collect()
        assert kind() is None

    def test_tasks_in_order(self) -> None:
        """Tasks get a place in the order in which they asked for one."""

        async def main() -> list[int]:
            gate, order = AsyncGate(2), list[int]()

            async def work(number: int) -> None:
                await gate.enter(None if number % 2 else PATIENCE)
                order.append(number)
                await asyncio.sleep(0)
                gate.leave()

            await asyncio.gather(*(work(number) for number in range(20)))
            return order

        assert list(range(20)) == asyncio.run(main())

    def test_tasks_in_vain(self) -> None:
        """A task that finds no place in time raises, and takes no place later."""

        async def main() -> None:
            gate = AsyncGate(1)
            await gate.enter(0.01)
            with pytest.raises(httpx.PoolTimeout):
                await gate.enter(0.01)
            gate.leave()
            await gate.enter(0.01)

        asyncio.run(main())

    def test_a_turn_that_comes_as_the_time_is_up(self, caplog: pytest.LogCaptureFixture) -> None:
        """A task whose place becomes free just before its time is up gets it."""

        async def main() -> None:
            gate = AsyncGate(1)
            await gate.enter(None)
            waiting = asyncio.ensure_future(gate.enter(0))
            await asyncio.sleep(0)  # it gets in line, with a timer that the next round runs
            await asyncio.sleep(0)
            gate.leave()
            await waiting
            with pytest.raises(httpx.PoolTimeout):
                await gate.enter(0.01)  # so the place was taken
            gate.leave()
            await gate.enter(0.01)

        asyncio.run(main())
        assert [] == caplog.records  # the loop logs what a callback raises

    @pytest.mark.parametrize("moment", ["waiting", "let in"])
    def test_cancelled(self, moment: str) -> None:
        """A place is not lost if its task is cancelled, even just after the place was given to
        it."""

        async def main() -> None:
            gate = AsyncGate(1)
            await gate.enter(None)
            first, second = (asyncio.ensure_future(gate.enter(None)) for _ in range(2))
            await asyncio.sleep(0)
            if moment == "let in":
                gate.leave()
            first.cancel()
            if moment == "waiting":
                gate.leave()
            await asyncio.wait_for(second, PATIENCE)
            assert first.cancelled()
            gate.leave()
            await gate.enter(0.01)

        asyncio.run(main())

    @pytest.mark.parametrize("moment", ["waiting", "let in"])
    def test_interrupted(self, moment: str) -> None:
        """A place is not lost if a signal handler raises in a call that waits in line."""

        async def main() -> None:
            gate = AsyncGate(1)
            await gate.enter(None)
            waiting = gate.enter(None)
            waiting.send(None)
            if moment == "let in":
                gate.leave()
            with pytest.raises(KeyError):
                waiting.throw(KeyError("raised by a handler"))
            if moment == "waiting":
                gate.leave()
            await gate.enter(0.01)

        asyncio.run(main())


class TestPool:
    """The connections that a client keeps."""

    def test_last_used_first(self) -> None:
        """The connection that was returned last is taken first, and a new one is made if there is
        none."""
        made = iter(range(10))
        pool = Pool(made.__next__, None)
        first, second = pool.take(), pool.take()
        pool.give_back(first)
        pool.give_back(second)
        assert ([0, 1], [1, 0, 2]) == ([first, second], [pool.take() for _ in range(3)])

    def test_idle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only connections that have been idle for too long are removed from the pool."""
        clock = [1.0, 2.0, 3.0]
        monkeypatch.setattr(time, "monotonic", lambda: clock.pop(0) if clock else 6.5)
        made = iter(range(10))
        pool = Pool(made.__next__, None)
        taken = [pool.take() for _ in range(3)]
        for number in (2, 1, 0):
            pool.give_back(taken[number])
        assert ([2], [1], [0], []) == (
            list(pool.take_expired(5.0)),
            list(pool.take_expired(4.5)),
            list(pool.take_expired(0.0)),
            list(pool.take_expired(0.0)),
        )

    @pytest.mark.parametrize("failure", [httpx.ReadError("gone"), KeyboardInterrupt()], ids=repr)
    @twins
    def test_broken_connections_are_closed(
        self, twin: Twin, failure: BaseException, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A connection whose call failed is closed and not used again."""
        connection = httpcore.AsyncHTTP11Connection if twin.is_async else httpcore.HTTP11Connection

        def fail(*args: object) -> None:
            raise failure

        async def scenario(kraty: Any) -> list[int]:
            first = await settled(kraty.wallet.credit("p", "gold", amount=1))
            with monkeypatch.context() as patch:
                patch.setattr(connection, "_receive_event", fail)
                with pytest.raises((KratyNetworkError, KeyboardInterrupt)):
                    await settled(kraty.wallet.credit("p", "gold", amount=1))
            assert await asyncio.to_thread(server.is_left)
            last = await settled(kraty.wallet.credit("p", "gold", amount=1))
            return [first["connection"], last["connection"]]

        with serving() as server:
            assert [1, 2] == twin.run(scenario, retry=ONCE, base_url=server.url)

    @twins
    def test_unused_connections_are_closed(
        self, twin: Twin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Later calls close the idle connections that a burst has left."""
        together = threading.Barrier(4)

        def answer(seen: Seen) -> bytes:
            if seen.player == "burst":
                together.wait(PATIENCE)
            return credited(seen)

        async def scenario(kraty: Any) -> None:
            def credit() -> Any:
                return kraty.wallet.credit("burst", "gold", amount=1)

            await asyncio.gather(
                *(credit() if twin.is_async else asyncio.to_thread(credit) for _ in range(4))
            )
            monkeypatch.setattr(_own, "KEPT_FOR", 0.0)
            await settled(kraty.players.get("last"))
            monkeypatch.undo()
            (kept,) = kraty._sender.channel.pools.peek().take_expired(0.0)
            await closed(kept)
            assert server.is_left()

        with serving(answer) as server:
            twin.run(scenario, base_url=server.url)
        assert 5 == server.connections


class TestStaleConnections:
    """Connections that the server has closed."""

    @twins
    def test_closed_between_calls(self, twin: Twin) -> None:
        """A connection that the server closed after its answer is not used again."""

        async def scenario(kraty: Any) -> list[int]:
            attempts: list[int] = []
            for _ in range(5):
                result = await settled(kraty.wallet.credit("p", "gold", amount=1))
                attempts.append(result.http.attempts)
            return attempts

        def answer(seen: Seen) -> bytes:
            return credited(seen).replace(b"\r\n", b"\r\nconnection: close\r\n", 1)

        with serving(answer) as server:
            assert [1] * 5 == twin.run(scenario, base_url=server.url)
        assert [1, 2, 3, 4, 5] == [seen.connection for seen in server.seen]

    @twins
    def test_closed_without_notice(self, twin: Twin) -> None:
        """A connection that the server closed after its answer, without saying so in it, is not
        used again."""

        async def scenario(kraty: Any) -> list[int]:
            attempts: list[int] = []
            for _ in range(2):
                result = await settled(kraty.wallet.credit("p", "gold", amount=1))
                attempts.append(result.http.attempts)
                assert server.is_left()
            return attempts

        with serving(lambda seen: [credited(seen)]) as server:
            assert [1, 1] == twin.run(scenario, base_url=server.url)
        assert [1, 2] == [seen.connection for seen in server.seen]

    @twins
    def test_closed_instead_of_an_answer(self, twin: Twin) -> None:
        """If the server closes a connection instead of answering, the same bytes are sent once
        more."""

        def answer(seen: Seen) -> bytes | None:
            return None if seen.connection == 1 else credited(seen)

        with serving(answer) as server:
            result = twin.credit(base_url=server.url, retry=AT_ONCE)
        first, second = server.seen
        assert (2, True) == (result.http.attempts, first.body == second.body)


@twins
def test_failed_construction_opens_nothing(twin: Twin) -> None:
    """A client whose arguments are refused leaves no file open."""
    before = open_files() if sys.platform != "win32" else 0
    for _ in range(50):
        with pytest.raises(ValueError, match=r"^base_url"):
            twin.client(base_url="http://example.com")
    assert before == (open_files() if sys.platform != "win32" else 0)
