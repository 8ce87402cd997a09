"""Errors as values: their texts and fields, and that they survive pickling and copying."""

from __future__ import annotations

import copy
import copyreg
import gc
import json
import multiprocessing
import pickle
import socket
import ssl
import threading
import traceback
import types
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from typing import Any, Final

import httpx
import pytest

import kraty_admin
from kraty_admin import (
    CallInfo,
    KratyAdmin,
    KratyClosedError,
    KratyError,
    KratyKeyExpiredError,
    KratyNetworkError,
    KratyResponseError,
    KratyServerError,
    RetryConfig,
    WebhookVerificationError,
)
from kraty_admin.errors import RAW_BODY_LIMIT
from kraty_server_api.errors import ERROR_CODES
from loopback import AT_ONCE, Twin, settled, twins

CALL: Final = CallInfo(
    operation="wallet.credit",
    method="POST",
    url="https://api.kraty.io/server/v1/players/p/wallet/gold/credit",
    idempotency_key="receipt_1",
    attempts=4,
    ambiguous=True,
    request_id="req_9",
    first_sent_at=datetime(2026, 6, 8, 12, 0, tzinfo=timezone.utc),
)

CERTAIN: Final = CallInfo(ambiguous=False)

ERRORS: Final[dict[str, Callable[[], KratyError]]] = {
    "KratyError": lambda: KratyError("something"),
    "KratyClosedError": lambda: KratyClosedError("this KratyAdmin is closed"),
    "KratyKeyExpiredError": lambda: KratyKeyExpiredError(
        "the key may have expired",
        operation="wallet.credit",
        idempotency_key="receipt_1",
        first_tried_at=datetime(2026, 6, 8, 12, 0, tzinfo=timezone.utc),
    ),
    "KratyServerError": lambda: KratyServerError(
        "balance is too low",
        code="conflict",
        status=409,
        details={"required": 500, "available": [12, None, "\u00e9"]},
        headers={"x-request-id": "req_9", "retry-after": "3"},
        raw_body=b'{"error": \xff}',
        retry_after=3.0,
        call=CALL,
    ),
    "KratyServerError-bare": lambda: KratyServerError("no", code="x", status=500),
    "KratyResponseError": lambda: KratyResponseError(
        "no result", code="invalid_response", status=200, raw_body=b"<html>", call=CALL
    ),
    "KratyNetworkError": lambda: KratyNetworkError(
        "no answer", original_cause=httpx.ReadTimeout("timed out"), call=CALL
    ),
    "KratyNetworkError-OSError": lambda: KratyNetworkError(
        "no answer", original_cause=ConnectionResetError(104, "reset"), call=CALL
    ),
    "KratyNetworkError-bare": lambda: KratyNetworkError("no answer"),
    "WebhookVerificationError": lambda: WebhookVerificationError("too old", reason="too_old"),
}

every_error = pytest.mark.parametrize("error", ERRORS, indirect=True)


@pytest.fixture
def error(request: pytest.FixtureRequest) -> KratyError:
    """Return a new error for each test, so that none sees what another did to it."""
    return ERRORS[request.param]()


def fields_of(error: KratyError) -> dict[str, object]:
    """Return every fact of an error; exceptions in it by type and arguments."""
    fields: dict[str, object] = {
        "type": type(error),
        "args": error.args,
        "str": str(error),
        "repr": repr(error),
        **vars(error),
    }
    cause = fields.get("original_cause")
    if isinstance(cause, BaseException):
        fields["original_cause"] = (type(cause), cause.args)
    return fields


@pytest.fixture(autouse=True)
def standard_pickling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickle exceptions as Python does.

    Importing `distributed`, as the tests of dask do, registers other functions for them. Under
    protocols 0 to 2 those turn a `ConnectionResetError` into an `OSError`.
    """
    for kind in list(copyreg.dispatch_table):
        if issubclass(kind, BaseException):
            monkeypatch.delitem(copyreg.dispatch_table, kind)


def raise_it(error: KratyError) -> None:
    raise error


class PlayerError(KratyServerError):
    """A caller's subclass with its own constructor."""

    def __init__(self, player: str) -> None:
        super().__init__("no", code="conflict", status=409, call=CALL)
        self.player = player


class TestJourneys:
    """Pickled, copied or sent to another process, an error arrives with every field."""

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    @every_error
    def test_pickle(self, error: KratyError, protocol: int) -> None:
        """Every error pickles on every protocol."""
        assert fields_of(error) == fields_of(pickle.loads(pickle.dumps(error, protocol)))

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
    @every_error
    def test_copy(self, error: KratyError, copied: Callable[[KratyError], KratyError]) -> None:
        """Every error copies, shallowly and deeply, into another object."""
        other = copied(error)
        assert fields_of(error) == fields_of(other)
        assert other is not error

    def test_deepcopy_shares_nothing(self) -> None:
        """Changing a deep copy does not change the error."""
        error = KratyServerError("no", code="conflict", status=409, details={"a": [1]})
        copy.deepcopy(error).details["a"].append(2)
        assert {"a": [1]} == error.details

    def test_subclass(self) -> None:
        """A subclass with another constructor pickles too, since none is called."""
        error = PlayerError("player_42")
        other: PlayerError = pickle.loads(pickle.dumps(error))
        assert ("player_42", CALL, 409) == (other.player, other.call, other.status)

    def test_attached_fields(self) -> None:
        """Attached attributes, such as notes, are kept."""
        error: Any = KratyError("no")
        error.__notes__ = ["while fulfilling receipt_1"]
        assert ["while fulfilling receipt_1"] == pickle.loads(pickle.dumps(error)).__notes__

    def test_process_pool(self) -> None:
        """An error raised in a worker process arrives with all its fields, and the pool still
        works."""
        # Spawned, not forked: a fork would find the error in its copy of our memory.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
            for error in (make() for make in ERRORS.values()):
                arrived = pool.submit(raise_it, error).exception(timeout=30)
                assert isinstance(arrived, KratyError)
                assert fields_of(error) == fields_of(arrived)


MISSING_FACTS: Final[dict[str, tuple[Any, ...]]] = {
    "no facts": (),
    "empty facts": ({},),
    "null": (None,),
    "odd time": ({"ambiguous": True, "first_sent_at": "yesterday"},),
}


class TestCopiedByArgs:
    """Errors that are rebuilt from their class and `args`, as Celery does."""

    @every_error
    def test_json(self, error: KratyError) -> None:
        """An error that passes through JSON keeps its text, code, status, key, ambiguity and
        times."""
        copied: KratyError = type(error)(*json.loads(json.dumps(error.args)))
        names = (
            *("message", "code", "status", "retry_after", "reason", "operation"),
            *("call", "idempotency_key", "ambiguous", "first_sent_at", "first_tried_at"),
            *("cause_name", "retryable", "args"),
        )
        missing = object()
        expected, actual = (
            {name: getattr(each, name, missing) for name in names} for each in (error, copied)
        )
        assert {**expected, "args": json.loads(json.dumps(error.args))} == {
            **actual,
            "args": list(copied.args),
        }

    @pytest.mark.parametrize("facts", MISSING_FACTS.values(), ids=MISSING_FACTS.keys())
    @pytest.mark.parametrize("kind", [KratyServerError, KratyResponseError, KratyNetworkError])
    def test_missing_facts(
        self, kind: type[KratyServerError | KratyNetworkError], facts: tuple[Any, ...]
    ) -> None:
        """An error that lacks the facts counts as ambiguous."""
        error = kind("no answer", *facts)
        assert (True, None, None) == (error.ambiguous, error.idempotency_key, error.first_sent_at)

    def test_known_to_have_had_no_effect(self) -> None:
        """A copy of an error without effect is not ambiguous either."""
        error = KratyServerError("no", code="not_found", status=404, call=CERTAIN)
        assert not KratyServerError(*json.loads(json.dumps(error.args))).ambiguous

    def test_no_api_key(self) -> None:
        """The `args` of an error hold the idempotency key, and no API key."""
        with (
            KratyAdmin(
                api_key="krt_live.canary",
                http_client=httpx.Client(transport=httpx.MockTransport(refuse)),
            ) as kraty,
            pytest.raises(KratyServerError) as caught,
        ):
            kraty.wallet.credit("p", "gold", amount=5, idempotency_key="r")
        assert "canary" not in json.dumps(caught.value.args)
        assert caught.value.args[1]["idempotency_key"] == "r"


class TestRetryable:
    """Whether repeating a call later may help."""

    def test_statuses(self) -> None:
        """A retry may help after 408, 425, 429 and every 5xx, and after no other status."""
        expected = [408, 425, 429, *range(500, 600)]
        assert expected == [
            status
            for status in range(1000)
            if KratyServerError("no", code="x", status=status).retryable
        ]

    @pytest.mark.parametrize("status", [409, 429, 503])
    def test_conflict(self, status: int) -> None:
        """A conflict of keys is not retryable, whatever its status."""
        error = KratyServerError("no", code="idempotency_conflict", status=status)
        assert error.retryable is False

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("KratyError", False),
            ("KratyClosedError", False),
            ("KratyKeyExpiredError", False),
            ("KratyResponseError", True),
            ("KratyNetworkError", True),
            ("KratyNetworkError-bare", True),
            ("WebhookVerificationError", False),
        ],
    )
    def test_others(self, name: str, expected: bool) -> None:
        """Only errors without a readable answer are retryable, among those without a status."""
        assert expected is ERRORS[name]().retryable


class TestFirstSentAt:
    """The time of the first attempt."""

    @every_error
    def test_every_error(self, error: KratyError) -> None:
        """The `first_sent_at` of every error is that of its call, or `None`."""
        call = getattr(error, "call", CallInfo())
        assert call.first_sent_at == error.first_sent_at


def reachable(start: object) -> list[object]:
    """Return all objects that one holds, however deeply; but not classes, modules and code."""
    outside = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
    seen: dict[int, object] = {}
    todo = [start]
    while todo:
        value = todo.pop()
        if id(value) in seen or isinstance(value, outside):
            continue
        seen[id(value)] = value
        todo.extend(gc.get_referents(value))
    return list(seen.values())


def refuse(request: httpx.Request) -> httpx.Response:
    return httpx.Response(409, json={"error": {"code": "conflict", "message": "m"}})


def garble(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, text="<html>")


def drop(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("dropped", request=request)


class HoldingError(ConnectionError):
    """An error of a caller's transport, whose arguments hold the request."""


def drop_holding(request: httpx.Request) -> httpx.Response:
    raise HoldingError("dropped", request)


class OwnTimeout(httpx.ReadTimeout):
    """An error of a caller's transport, whose constructor takes more than a message."""

    def __init__(self, message: str, attempt: int, *, request: httpx.Request) -> None:
        super().__init__(message, request=request)
        self.attempt = attempt


def drop_own(request: httpx.Request) -> httpx.Response:
    raise OwnTimeout("dropped", 1, request=request)


def drop_stream(request: httpx.Request) -> httpx.Response:
    raise httpx.StreamClosed


def drop_reset(request: httpx.Request) -> httpx.Response:
    raise ConnectionResetError(104, "reset")


def drop_tls(request: httpx.Request) -> httpx.Response:
    raise ssl.SSLCertVerificationError(1, "self-signed")


FAILING: Final = {
    "refused": (refuse, KratyServerError, None),
    "garbled": (garble, KratyResponseError, None),
    "dropped": (drop, KratyNetworkError, "ReadError"),
    "dropped-by-own-transport": (drop_holding, KratyNetworkError, "ConnectionError"),
    "own-timeout": (drop_own, KratyNetworkError, "ReadTimeout"),
    "stream-error": (drop_stream, KratyNetworkError, "HTTPError"),
    "reset": (drop_reset, KratyNetworkError, "ConnectionResetError"),
    "tls": (drop_tls, KratyNetworkError, "OSError"),
}

every_failure = pytest.mark.parametrize(
    ("handler", "kind", "cause"), FAILING.values(), ids=FAILING.keys()
)


def failure_of(handler: Callable[[httpx.Request], httpx.Response]) -> KratyError:
    """Return the error of a call that fails."""
    with httpx.Client(transport=httpx.MockTransport(handler)) as http_client:
        kraty = KratyAdmin(
            api_key="kr_live.canary_5e1f", retry=RetryConfig(attempts=1), http_client=http_client
        )
        with pytest.raises(KratyError) as caught:
            kraty.wallet.credit("p", "gold", amount=1)
    return caught.value


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No garbage is collected meanwhile."""
    gc.disable()
    yield
    gc.enable()


class TestHoldings:
    """What an error that leaves a call refers to."""

    @every_failure
    def test_no_http_objects(
        self,
        handler: Callable[[httpx.Request], httpx.Response],
        kind: type[KratyError],
        cause: str | None,
    ) -> None:
        """An error refers to no request, response, client or frame, and not to the API key."""
        error = failure_of(handler)
        assert (kind, cause) == (type(error), getattr(error, "cause_name", None))
        # Its own traceback is Python's, and goes with the frame that caught it.
        held = reachable(error.with_traceback(None))
        forbidden = (httpx.Request, httpx.Response, httpx.Client, types.FrameType, types.MethodType)
        assert [] == [value for value in held if isinstance(value, forbidden)]
        assert [] == [value for value in held if "canary" in repr(value)]

    @every_failure
    def test_chain(
        self,
        handler: Callable[[httpx.Request], httpx.Response],
        kind: type[KratyError],
        cause: str | None,
    ) -> None:
        """The chain of causes ends at the detached cause, which has no frames."""
        error = failure_of(handler)
        original = getattr(error, "original_cause", None)
        assert (original, None) == (error.__cause__, error.__context__)
        if original is not None:
            assert (None, None, None) == (
                original.__cause__,
                original.__context__,
                original.__traceback__,
            )

    @every_failure
    def test_travels(
        self,
        handler: Callable[[httpx.Request], httpx.Response],
        kind: type[KratyError],
        cause: str | None,
    ) -> None:
        """The error of every failure pickles and copies."""
        error = failure_of(handler)
        for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert fields_of(error) == fields_of(other)

    @twins
    @pytest.mark.parametrize("own", [True, False], ids=["own connections", "http_client"])
    def test_no_circle(self, twin: Twin, own: bool, no_collection: None) -> None:
        """Once the caller has handled an error, the frames that it came through are freed at once,
        without the garbage collector."""

        class Held:
            """A variable of the caller's."""

        async def scenario(kraty: Any) -> weakref.ref[Held]:
            held = Held()
            try:
                await settled(kraty.wallet.credit("p", "gold", amount=1))
            except KratyError:
                return weakref.ref(held)
            raise AssertionError("the call must fail")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
        http_client = None if own else twin.mocked(refuse)
        held = twin.run(scenario, base_url=closed, http_client=http_client, retry=AT_ONCE)
        assert held() is None

    def test_cause_is_shown(self) -> None:
        """A traceback shows the underlying error."""
        text = "".join(traceback.format_exception(failure_of(drop)))
        assert "httpx.ReadError: dropped" in text
        assert "KratyNetworkError: no answer from api.kraty.io: ReadError: dropped" in text
        assert "canary" not in text


class Awkward:
    """A detail whose repr raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


class TestText:
    """The texts of errors."""

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            pytest.param(KratyError("something"), "something", id="plain"),
            pytest.param(
                KratyServerError("no", code="x", status=500),
                "500 x: no (may have taken effect)",
                id="bare",
            ),
            pytest.param(
                KratyNetworkError(
                    "no answer",
                    call=CERTAIN._replace(operation="health.ping", method="GET", url="u"),
                ),
                "no answer (health.ping)",
                id="read",
            ),
            pytest.param(
                KratyNetworkError(
                    "no answer", call=CERTAIN._replace(method="GET", url="https://h/x")
                ),
                "no answer (GET https://h/x)",
                id="unnamed",
            ),
            pytest.param(
                KratyNetworkError("no answer", call=CALL),
                "no answer (wallet.credit, 4 attempts, may have taken effect, "
                "idempotency key 'receipt_1', request id 'req_9')",
                id="ambiguous-write",
            ),
            pytest.param(
                KratyServerError(
                    "balance is too low",
                    code="conflict",
                    status=409,
                    details={"required": 500, "available": 12},
                    call=CERTAIN._replace(operation="wallet.debit", idempotency_key="k"),
                ),
                "409 conflict: balance is too low (wallet.debit, idempotency key 'k'): "
                '{"required": 500, "available": 12}',
                id="conflict-with-details",
            ),
        ],
    )
    def test_text(self, error: KratyError, expected: str) -> None:
        """The text of an error has the cause, the call, the attempts and how to repeat it."""
        assert expected == str(error)

    @pytest.mark.parametrize(
        ("details", "expected"),
        [
            pytest.param("x" * 298, '"' + "x" * 298 + '"', id="at-limit"),
            pytest.param("x" * 299, '"' + "x" * 299 + "\u2026", id="over-limit"),
            pytest.param(0, "0", id="zero"),
            pytest.param([], "[]", id="empty"),
            pytest.param("\u00e9", '"\u00e9"', id="non-ascii"),
            pytest.param("cut \ud83d", '"cut \\ud83d"', id="half-an-emoji"),
            pytest.param({"a": {1}}, "<dict>", id="no-json"),
            pytest.param({(1,): 1}, "<dict>", id="no-json-key"),
            pytest.param(Awkward(), "<Awkward>", id="no-repr"),
            pytest.param(nested(100_000), "<list>", id="too-deep"),
        ],
    )
    def test_details(self, details: object, expected: str) -> None:
        """Details are shown up to a limit, and never keep an error from being shown."""
        error = KratyServerError("no", code="conflict", status=409, details=details, call=CERTAIN)
        assert f"409 conflict: no: {expected}" == str(error)

    def test_circular_details(self) -> None:
        """Details that hold themselves are named by their type."""
        details: list[Any] = []
        details.append(details)
        error = KratyServerError("no", code="conflict", status=409, details=details, call=CERTAIN)
        assert "409 conflict: no: <list>" == str(error)

    def test_can_be_written(self) -> None:
        """A lone surrogate from the server does not prevent the error from being logged."""
        error = KratyServerError(
            "name is cut \ud83d", code="validation_failed", status=400, call=CERTAIN
        )
        assert b"400 validation_failed: name is cut \\ud83d" == str(error).encode()


class TestFields:
    """The attributes of errors."""

    def test_call(self) -> None:
        """The facts of a call can be read from the error itself."""
        error = KratyNetworkError("no answer", call=CALL)
        assert ("receipt_1", 4, True, "req_9") == (
            error.idempotency_key,
            error.attempts,
            error.ambiguous,
            error.request_id,
        )

    def test_without_a_call(self) -> None:
        """An error without facts of a call is ambiguous."""
        error = KratyServerError("no", code="x", status=500)
        assert (None, 1, True, None) == (
            error.idempotency_key,
            error.attempts,
            error.ambiguous,
            error.request_id,
        )

    @pytest.mark.parametrize("length", [0, 8192, 8193, 10**6])
    def test_raw_body_is_capped(self, length: int) -> None:
        """An error keeps at most 8 KiB of a body."""
        error = KratyServerError("no", code="x", status=500, raw_body=b"x" * length)
        assert (8192, min(length, 8192)) == (RAW_BODY_LIMIT, len(error.raw_body))

    def test_headers_are_a_copy(self) -> None:
        """Changing the headers that an error was made from does not change the error."""
        headers = {"a": "1"}
        error = KratyServerError("no", code="x", status=500, headers=headers)
        headers["a"] = "2"
        assert {"a": "1"} == error.headers

    @pytest.mark.parametrize("code", sorted(ERROR_CODES))
    def test_code_properties(self, code: str) -> None:
        """Of all `is_` properties, only that of the error's code is true."""
        error = KratyServerError("no", code=code, status=400)
        expected = {f"is_{known}": known == code for known in ERROR_CODES}
        assert expected == {name: getattr(error, name) for name in expected}

    def test_unknown_code(self) -> None:
        """A code that this version does not know is kept, and no `is_` property is true."""
        error = KratyServerError("no", code="score_frozen", status=409)
        assert (True, False) == (error.is_code("score_frozen"), error.is_code("conflict"))
        assert not any(getattr(error, f"is_{known}") for known in ERROR_CODES)

    def test_idempotency_conflict_is_no_other_conflict(self) -> None:
        """The two kinds of conflict are distinguished, though both have status 409."""
        body = KratyServerError("no", code="idempotency_conflict", status=409)
        balance = KratyServerError("no", code="conflict", status=409)
        assert [(True, False), (False, True)] == [
            (error.is_idempotency_conflict, error.is_conflict) for error in (body, balance)
        ]

    @pytest.mark.parametrize(
        ("cause", "expected"),
        [(httpx.ReadTimeout("x"), "ReadTimeout"), (ConnectionResetError(), "ConnectionResetError")],
        ids=["httpx", "OSError"],
    )
    def test_cause_name(self, cause: Exception, expected: str) -> None:
        """The name of an error's cause is its class's."""
        assert expected == KratyNetworkError("no answer", original_cause=cause).cause_name


class TestTree:
    """The class hierarchy."""

    @pytest.mark.parametrize(
        ("kind", "base"),
        [
            (KratyServerError, KratyError),
            (KratyResponseError, KratyServerError),
            (KratyNetworkError, KratyError),
            (KratyClosedError, KratyError),
            (WebhookVerificationError, KratyError),
            (KratyError, Exception),
        ],
        ids=lambda kind: kind.__name__,
    )
    def test_bases(self, kind: type, base: type) -> None:
        """Each class has the base that the module's docstring draws."""
        assert issubclass(kind, base)
        assert not issubclass(kind, OSError | ValueError)

    @every_error
    def test_public_name(self, error: KratyError) -> None:
        """The class of each error is imported from `kraty_admin`."""
        kind = type(error)
        assert ("kraty_admin", kind) == (kind.__module__, getattr(kraty_admin, kind.__name__))

    def test_details_are_json(self) -> None:
        """An error's fields can be logged as JSON."""
        error = ERRORS["KratyServerError"]()
        assert isinstance(error, KratyServerError)
        fields = {"details": error.details, "headers": error.headers, "code": error.code}
        assert fields == json.loads(json.dumps(fields))

    def test_threads_share_an_error(self) -> None:
        """Sixteen threads can print and pickle one error at the same time."""
        error = ERRORS["KratyServerError"]()
        texts: list[str] = []
        threads = [
            threading.Thread(target=lambda: texts.append(str(pickle.loads(pickle.dumps(error)))))
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [str(error)] * 16 == texts
