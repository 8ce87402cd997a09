"""Servers, hooks, signals and processes that behave in unexpected ways."""

from __future__ import annotations

import enum
import itertools
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import methodcaller
from typing import Any

import httpx
import pytest

from kraty_admin import (
    KratyAdmin,
    KratyError,
    KratyNetworkError,
    KratyServerError,
)
from kraty_admin._call._retry import RetryBudget
from kraty_admin._transport._pool import Gate
from kraty_admin._transport._process import this_process
from kraty_admin.emulator import Emulator
from loopback import (
    AT_ONCE,
    KEY,
    ONCE,
    SYNC,
    Seen,
    Twin,
    always,
    credited,
    mock_own_connections,
    response,
    serving,
    settled,
    twins,
)

PATIENCE = 30.0
"""Seconds until something is taken to hang."""


# --- unsolicited answers ---------------------------------------------------


def planted(player: str = "mallory") -> bytes:
    """Return an answer that arrives too early, for the next request to mistake for its own."""
    data = {"economyKey": "gold", "balance": 7777, "applied": True, "player": player}
    return response(200, {"data": data})


def chunked(seen: Seen) -> bytes:
    body = credited(seen).partition(b"\r\n\r\n")[2]
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(body),
        body,
    )


FIRST: dict[str, Callable[[Seen], bytes]] = {
    "an answer": credited,
    "chunks": chunked,
    "a refusal": lambda seen: response(503),
    "no content": lambda seen: b"HTTP/1.1 204 No Content\r\n\r\n",
}


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize(
    "early",
    [
        pytest.param(None, id="whole"),
        pytest.param(1, id="its first byte"),
        pytest.param(30, id="a part of its head"),
    ],
)
@twins
def test_an_answer_that_was_there_before_is_not_taken(
    twin: Twin, first: str, early: int | None
) -> None:
    """Bytes that arrived before a request are not read as its answer, even if the rest of that
    answer arrives after the request."""
    late: dict[int, bytes] = {}

    def answer(seen: Seen) -> bytes:
        whole, rest = planted(), late.pop(seen.connection, b"")
        if early is not None:
            late[seen.connection] = whole[early:]
        return rest + FIRST[first](seen) + whole[:early]

    async def scenario(kraty: Any) -> list[tuple[str, str, int]]:
        balances: list[tuple[str, str, int]] = []
        for player in ("alice", "bob"):
            try:
                result = await settled(kraty.wallet.credit(player, "gold", amount=1))
            except KratyError:
                continue
            balances.append((player, result["player"], result.balance))
        return balances

    with serving(answer) as server:
        found = twin.run(scenario, retry=AT_ONCE, base_url=server.url)
    is_paid = first in ("an answer", "chunks")
    assert [("alice", "alice", 500), ("bob", "bob", 500)] * is_paid == found


@twins
def test_an_answer_that_was_read_before_is_not_taken(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it is not noticed at first that another answer was read, no call takes it."""

    def holds_nothing(http: object) -> bool:
        return False

    monkeypatch.setattr("kraty_admin._transport._own._holds_more", holds_nothing)

    async def scenario(kraty: Any) -> KratyNetworkError:
        await settled(kraty.wallet.credit("alice", "gold", amount=1))
        with pytest.raises(KratyNetworkError, match="held a response before") as raised:
            await settled(kraty.wallet.credit("bob", "gold", amount=1))
        return raised.value

    with serving(lambda seen: credited(seen) + planted()) as server:
        assert twin.run(scenario, retry=ONCE, base_url=server.url).ambiguous


@twins
def test_what_is_mocked_below_the_transport_needs_no_bytes(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mocked answer below the transport is accepted although no bytes were read."""

    async def scenario(kraty: Any) -> tuple[object, object]:
        real = await settled(kraty.wallet.credit("alice", "gold", amount=1))
        mock_own_connections(monkeypatch, always({"data": {"balance": 3}}))
        mocked = await settled(kraty.wallet.credit("alice", "gold", amount=1))
        return real.balance, mocked.balance

    with serving() as server:
        assert (500, 3) == twin.run(scenario, base_url=server.url)


# --- answers without an end ------------------------------------------------


def empty_blocks() -> Iterator[bytes]:
    """Yield a gzip stream that never ends and holds nothing."""
    packer = zlib.compressobj(wbits=31)
    yield packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH)
    while True:
        yield packer.flush(zlib.Z_FULL_FLUSH) or b"\x00\x00\x00\xff\xff"


OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS: dict[str, Callable[[], Iterable[bytes]]] = {
    "head": lambda: itertools.chain([OK + b"x: "], itertools.repeat(b"a")),
    "informational": lambda: itertools.repeat(b"HTTP/1.1 102 Processing\r\n\r\n"),
    "chunk": lambda: itertools.chain(
        [OK + b"transfer-encoding: chunked\r\n\r\n2;x="], itertools.repeat(b"a")
    ),
    "trailer": lambda: itertools.chain(
        [OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: "], itertools.repeat(b"a")
    ),
    "body": lambda: itertools.chain(
        [OK + b"content-length: 100000\r\n\r\n"], itertools.repeat(b" ")
    ),
    "gzip": lambda: itertools.chain([OK + b"content-encoding: gzip\r\n\r\n"], empty_blocks()),
}


@pytest.mark.parametrize(
    ("part", "own"),
    [
        *(pytest.param(part, True, id=f"{part}-own") for part in ENDLESS),
        # Over a caller's client only the body can be watched.
        pytest.param("body", False, id="body-http_client"),
        pytest.param("gzip", False, id="gzip-http_client"),
    ],
)
@twins
def test_the_deadline_holds_against_drips(twin: Twin, part: str, own: bool) -> None:
    """A response whose bytes each arrive in time, but never end, is cut off at the deadline."""

    def answer(seen: Seen) -> Iterator[bytes]:
        # So many that a call without a deadline fails the test instead of holding it up.
        for piece in itertools.islice(ENDLESS[part](), 250):
            yield piece
            if server.over.wait(0.02):
                return

    with serving(answer) as server:
        started = time.monotonic()
        http_client = None if own else twin.http_client()
        with pytest.raises(KratyNetworkError) as failed:
            twin.credit(base_url=server.url, timeout=5, deadline=0.3, http_client=http_client)
        took = time.monotonic() - started
    assert ("ReadTimeout", True) == (failed.value.cause_name, failed.value.ambiguous)
    assert took < 4


# --- hooks of the caller's -------------------------------------------------


def ask(url: str) -> Callable[[object], None]:
    def hook(_: object) -> None:
        httpx.get(url, trust_env=False).raise_for_status()

    return hook


def refused(_: object) -> None:
    raise httpx.ConnectError("the collector is down")


@twins
def test_a_hooks_own_failure_is_not_taken_for_kratys(twin: Twin) -> None:
    """A request that fails in a response hook makes the call ambiguous, not refused."""
    with Emulator() as kraty:
        for hook in (ask(f"{kraty.base_url}/collector"), refused):
            http_client = twin.http_client(event_hooks={"response": [twin.hook(hook)]})
            with pytest.raises(KratyNetworkError) as failed:
                twin.credit(
                    base_url=kraty.base_url,
                    api_key=kraty.api_key,
                    http_client=http_client,
                    retry=ONCE,
                )
            assert failed.value.ambiguous
        assert [500, 500] == [entry.delta for entry in kraty.ledger]


@twins
def test_a_connection_that_was_refused_is_clear(twin: Twin) -> None:
    """A refused connection is not ambiguous, also over the caller's client."""
    with serving() as server:
        url = server.url
    with pytest.raises(KratyNetworkError) as failed:
        twin.credit(base_url=url, http_client=twin.http_client(), retry=ONCE)
    assert ("ConnectError", False) == (failed.value.cause_name, failed.value.ambiguous)


@twins
def test_a_refusal_that_a_hook_raised_is_kratys(twin: Twin) -> None:
    """A hook that calls `raise_for_status` on the answer does not hide Kraty's refusal."""

    def hook(answer: httpx.Response) -> None:
        answer.raise_for_status()

    with Emulator() as kraty, pytest.raises(KratyServerError) as failed:
        twin.credit(
            base_url=kraty.base_url,
            api_key="wrong.key",
            http_client=twin.http_client(event_hooks={"response": [twin.hook(hook)]}),
        )
    assert (401, 1) == (failed.value.status, failed.value.attempts)


class Failover(httpx.BaseTransport):
    """A transport that tries a second way when the first one does not answer."""

    def __init__(self) -> None:
        self._first = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            self._first.handle_request(request)
        except httpx.RemoteProtocolError:
            raise httpx.ConnectError("the second way is closed") from None
        raise AssertionError("the first way was open")

    def close(self) -> None:
        self._first.close()


def test_what_was_sent_once_may_have_had_an_effect() -> None:
    """A call is ambiguous if a transport sent it once and then failed to connect."""
    with (
        serving(lambda seen: None) as server,
        httpx.Client(transport=Failover()) as http_client,
        pytest.raises(KratyNetworkError) as failed,
    ):
        SYNC.credit(base_url=server.url, http_client=http_client, retry=ONCE)
    assert ("ConnectError", True) == (failed.value.cause_name, failed.value.ambiguous)


# --- signals ---------------------------------------------------------------

INTERRUPTED = """
import signal, sys
from kraty_admin._transport._pool import Gate

class Interruption(Exception): pass

armed = False

def interrupt(*_):
    # Once for each arming: on a slow machine, the timer fires again before it is stopped.
    global armed
    if armed:
        armed = False
        raise Interruption

gate = Gate(2)
signal.signal(signal.SIGALRM, interrupt)
seen = 0
while seen < 2000:
    try:
        # Again after a while: under a tracer, such as a debugger's, CPython may receive a
        # signal and not call its handler before the next one. A timer that fires once would
        # then leave this loop running for ever.
        armed = True
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.05)
        while True:
            place = gate.enter(None)
            del place
    except Interruption:
        signal.setitimer(signal.ITIMER_REAL, 0)
        seen += 1
    place = None
print(gate._free.qsize())
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signals here")
def test_a_signal_handler_that_raises_leaves_the_gate_open() -> None:
    """After 2,000 interruptions within its steps, both places of a gate are free."""
    # Without coverage, whose own lock is left held when a handler raises within its steps: the
    # process would then hang when it ends.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
        env=environment,
    )
    assert ("2\n", "", 0) == (done.stdout, done.stderr, done.returncode)


class Interruption(BaseException):
    """An exception that the caller's signal handler raises."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signals here")
def test_a_signal_that_arrives_while_a_place_is_freed() -> None:
    """A place is free again even if a signal handler raises while it is freed."""

    def interrupt(*_: object) -> None:
        raise Interruption

    gate = Gate(1)
    held = [gate.enter(None)]
    steps: list[Callable[[], object]] = [
        partial(signal.setitimer, signal.ITIMER_REAL, 0.000001),
        partial(sum, range(100_000)),
        held.clear,
    ]
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        # All in one step of Python code: the signal arrives during the second call, and
        # the first Python code that runs after it could be a destructor's.
        with pytest.raises(Interruption):
            deque(map(methodcaller("__call__"), steps), maxlen=0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [] == held
    gate.enter(0.01)  # raises if the place was lost


def test_an_interrupted_call_leaves_no_connection() -> None:
    """After an interrupted call, the next one opens a new connection."""

    def answer(seen: Seen) -> bytes | None:
        if seen.player == "slow":
            signal.pthread_kill(main, signal.SIGUSR1)
            server.over.wait(PATIENCE)
        return credited(seen)

    def interrupt(number: int, frame: object) -> None:
        raise Interruption

    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with serving(answer) as server, KratyAdmin(api_key=KEY, base_url=server.url) as kraty:
            with pytest.raises(Interruption):
                kraty.wallet.credit("slow", "gold", amount=1)
            assert kraty.wallet.credit("next", "gold", amount=1)["connection"] == 2
    finally:
        signal.signal(signal.SIGUSR1, before)


# --- processes -------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_with_its_parents_number_is_another_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A child process is recognised even if its id equals its parent's, as in nested containers."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    here, there = multiprocessing.Pipe()
    mine = this_process()
    with serving() as server, KratyAdmin(api_key=KEY, base_url=server.url) as kraty:
        assert kraty.wallet.credit("parent", "gold", amount=1)["connection"] == 1
        child = os.fork()
        if not child:
            try:
                there.send(
                    (this_process(), kraty.wallet.credit("c", "gold", amount=1)["connection"])
                )
            finally:
                os._exit(0)
        assert here.poll(PATIENCE)
        theirs, connection = here.recv()
        os.waitpid(child, 0)
    assert (mine != theirs, connection) == (True, 2)


# --- the budget ------------------------------------------------------------


@pytest.mark.parametrize("capacity", [0, 1, 5])
def test_the_budget_is_never_exceeded(capacity: int) -> None:
    """Threads that retry at the same time cannot exceed the budget."""
    budget = RetryBudget(capacity)
    granted: list[int] = []
    start = threading.Barrier(50)

    def work() -> None:
        start.wait(PATIENCE)
        mine = 0
        for _ in range(200):
            mine += budget.take()
            if capacity == 0:
                budget.give_back()
        granted.append(mine)

    threads = [threading.Thread(target=work) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) <= capacity


def test_an_empty_budget_cannot_be_taken_from_behind() -> None:
    """A success between two steps of another thread does not let that thread exceed the budget."""
    budget = RetryBudget(0)

    class Hasty(list[None]):
        def append(self, item: None) -> None:
            super().append(item)
            budget.give_back()

    vars(budget)["_spent"] = Hasty()
    assert budget.take() is False


# --- keys ------------------------------------------------------------------


class Receipt(str, enum.Enum):
    """A key that is an enum member."""

    FIRST = "receipt_1"


def test_a_key_is_a_plain_string_in_what_leaves_a_call() -> None:
    """A key of a subclass of `str` is a plain `str` in the error, so that it unpickles anywhere."""
    with serving(lambda seen: response(400)) as server, SYNC.client(base_url=server.url) as kraty:
        with pytest.raises(KratyServerError) as failed:
            kraty.wallet.credit("p", "gold", amount=1, idempotency_key=Receipt.FIRST)
        assert "receipt_1" == json.loads(server.seen[0].body)["idempotencyKey"]
    assert type(failed.value.idempotency_key) is str
    assert "receipt_1" == pickle.loads(pickle.dumps(failed.value)).idempotency_key
