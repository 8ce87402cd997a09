"""The steps of a call: plain calls to `begin` and `advance`, without sockets or sleeps."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from math import inf
from typing import Any, Final

import attrs
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraty_admin import (
    KratyNetworkError,
    KratyResponseError,
    KratyServerError,
    RequestInfo,
    RetryConfig,
)
from kraty_admin._call._exchange import (
    Done,
    Exchange,
    Failure,
    Limits,
    Outcome,
    Raise,
    Reply,
    Sleep,
)
from kraty_admin._call._retry import YEAR, RetryBudget
from kraty_server_api.model import Model
from kraty_server_api.models import ServerPingResponse, WalletAdjustment
from kraty_server_api.operation import Operation, replayed_by_applied

URL: Final = "https://api.kraty.io/server/v1/players/p/wallet/gold/credit"
KEY: Final = "receipt_1"
DEADLINE: Final = 120.0
WALL: Final = 1780920000.0

CREDIT: Final = Operation(
    name="wallet.credit",
    method="POST",
    path="/players/p/wallet/gold/credit",
    body={"amount": 5, "idempotencyKey": KEY},
    result=WalletAdjustment,
    replayed=replayed_by_applied,
)
PING: Final = Operation(
    name="health.ping",
    method="GET",
    path="/ping",
    body=None,
    result=ServerPingResponse,
    enveloped=False,
)
DELETE: Final = Operation(
    name="request DELETE /x",
    method="DELETE",
    path="/x",
    body=None,
    result=Model,
    enveloped=False,
    may_be_empty=True,
)

GOOD: Final = b'{"data":{"economyKey":"gold","balance":5,"applied":true}}'
REPLAY: Final = GOOD.replace(b"true", b"false")


def ok(body: bytes = GOOD, status: int = 200, **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def refusal(status: int, code: str = "some_code", details: object = None, **headers: str) -> Reply:
    error = {"code": code, "message": "why", "details": details}
    return ok(json.dumps({"error": error}).encode(), status, **headers)


def dropped(kind: type[httpx.RequestError] = httpx.ReadError) -> Failure:
    return Failure(kind("dropped"))


def exchange_of(
    operation: Operation[Any] = CREDIT,
    *,
    retry: RetryConfig | None = None,
    budget: RetryBudget | None = None,
    timeout: Mapping[str, float | None] | None = None,
    ends_at: float = DEADLINE,
    draw: Callable[[], float] = lambda: 0.5,
) -> Exchange[Any]:
    phases = ("connect", "read", "write", "pool")
    return Exchange(
        operation,
        url=URL,
        body=None if operation.body is None else json.dumps(operation.body).encode(),
        idempotency_key=KEY if operation.body is not None else None,
        retry=retry or RetryConfig(),
        budget=budget or RetryBudget(None),
        timeout=dict.fromkeys(phases, 15.0) if timeout is None else timeout,
        ends_at=ends_at,
        random=draw,
    )


@attrs.frozen
class Course:
    """How a call went: the steps that it took, and how it ended."""

    sleeps: list[float]
    end: Done[Any] | Raise
    sent: int

    @property
    def error(self) -> KratyServerError | KratyNetworkError:
        assert isinstance(self.end, Raise)
        return self.end.error

    @property
    def result(self) -> Any:
        assert isinstance(self.end, Done)
        return self.end.result


def run(exchange: Exchange[Any], outcomes: Iterable[Outcome], took: float = 0.0) -> Course:
    """Play a sender, on a clock that starts at 0, whose attempts each take `took` seconds."""
    now = 0.0
    sleeps: list[float] = []
    for sent, outcome in enumerate(outcomes, start=1):
        exchange.begin(now, WALL)
        now += took
        step = exchange.advance(outcome, now=now, wall=WALL + now)
        if not isinstance(step, Sleep):
            return Course(sleeps, step, sent)
        sleeps.append(step.seconds)
        now += step.seconds
    raise AssertionError("the call went on after the last outcome")


def forever(outcome: Outcome) -> Iterable[Outcome]:
    while True:
        yield outcome


class TestResults:
    """Calls that succeed."""

    def test_first_attempt(self) -> None:
        """An answer with a result ends the call, and `result.http` describes the attempt."""
        course = run(exchange_of(), [ok(x_request_id="req_1")])
        result: WalletAdjustment = course.result
        assert ([], {"economyKey": "gold", "balance": 5, "applied": True}) == (
            course.sleeps,
            result,
        )
        assert (200, "req_1", 1, KEY, False) == (
            result.http.status,
            result.http.request_id,
            result.http.attempts,
            result.http.idempotency_key,
            result.replayed,
        )

    def test_third_attempt(self) -> None:
        """A call that fails twice may still succeed, and its second wait is double the first."""
        course = run(exchange_of(), [dropped(), refusal(503), ok()])
        assert ([0.2, 0.4], 3) == (course.sleeps, course.result.http.attempts)

    @pytest.mark.parametrize("status", [200, 201, 202, 206, 226, 299])
    def test_any_2xx(self, status: int) -> None:
        """An answer with any 2xx status and a result is a success, documented or not."""
        assert status == run(exchange_of(), [ok(status=status)]).result.http.status

    def test_bare(self) -> None:
        """The result of an operation without an envelope is the whole body."""
        assert {"ok": True} == run(exchange_of(PING), [ok(b'{"ok":true}')]).result

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            pytest.param(b"", 204, id="no-body"),
            pytest.param(b"\n", 202, id="line-break"),
            pytest.param(b" \r\n", 200, id="blank"),
        ],
    )
    def test_empty(self, body: bytes, status: int) -> None:
        """An empty or blank body is a result where the operation says so."""
        assert {} == run(exchange_of(DELETE), [ok(body, status)]).result

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b'{"data":{}}', id="no-fields"),
            pytest.param(b'{"data":{"balance":null,"new":[1]}}', id="null-and-new"),
            pytest.param(b'{"data":{"applied":"yes"},"meta":1}', id="wrong-types"),
            pytest.param(b'\xef\xbb\xbf{"data":{}}', id="byte-order-mark"),
            pytest.param(b' \n{"data":{"note":"\\ud800"}}\r\n', id="spaces-and-surrogate"),
            pytest.param(b'{"data":{"balance":NaN}}', id="NaN-in-a-field"),
            pytest.param(b'{"data":{"balance":1e999}}', id="beyond-float"),
        ],
    )
    def test_tolerant(self, body: bytes) -> None:
        """No field can lose a result that was paid out: any object in `data` is a result."""
        assert isinstance(run(exchange_of(), [ok(body)]).result, WalletAdjustment)


UNREADABLE: Final = [
    pytest.param(b"", id="empty"),
    pytest.param(b" ", id="blank"),
    pytest.param(b"<html>502</html>", id="html"),
    pytest.param(GOOD[:-2], id="truncated"),
    pytest.param(GOOD + b"x", id="trailing"),
    pytest.param(b"[]", id="top-level-list"),
    pytest.param(b'"data"', id="top-level-string"),
    pytest.param(b"null", id="null"),
    pytest.param(b"NaN", id="NaN"),
    pytest.param(b"{}", id="no-data"),
    pytest.param(b'{"data":null}', id="data-null"),
    pytest.param(b'{"data":[{}]}', id="data-list"),
    pytest.param(b'{"data":"{}"}', id="data-string"),
    pytest.param(b'{"error":{"code":"conflict","message":"m"}}', id="error-envelope"),
    pytest.param(b'{"data":\xff\xfe}', id="invalid-utf-8"),
    pytest.param(b'{"data":{"balance":' + b"9" * 5000 + b"}}", id="huge-int"),
    pytest.param(b'{"data":' + b"[" * 100_000, id="deep-and-open"),
    pytest.param(b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="deep"),
]


class TestUnreadable:
    """Answers of 2xx without a result: the call has most likely taken effect."""

    @pytest.mark.parametrize("body", UNREADABLE)
    def test_raises(self, body: bytes) -> None:
        """A write with such an answer is retried, then raises an ambiguous error that holds the
        answer."""
        course = run(exchange_of(), forever(ok(body, 201, x_request_id="req_1")))
        error = course.error
        assert isinstance(error, KratyResponseError)
        assert ("invalid_response", 201, body[:8192], {"x-request-id": "req_1"}) == (
            error.code,
            error.status,
            error.raw_body,
            error.headers,
        )
        assert (4, 4, True, KEY, "req_1") == (
            course.sent,
            error.attempts,
            error.ambiguous,
            error.idempotency_key,
            error.request_id,
        )
        assert "the server answered 201 with a body that is not a result: " in str(error)

    @pytest.mark.parametrize("body", UNREADABLE)
    def test_recovers(self, body: bytes) -> None:
        """If the retry has a result, the call returns it; which attempt took effect is unknown."""
        result = run(exchange_of(), [ok(body), ok(REPLAY)]).result
        assert (5, 2, None) == (result.balance, result.http.attempts, result.replayed)

    def test_read(self) -> None:
        """A read whose answer has no result is not ambiguous."""
        error = run(exchange_of(PING), forever(ok(b"[]"))).error
        assert (False, None) == (error.ambiguous, error.idempotency_key)


class TestAmbiguity:
    """Whether a failed call may have taken effect."""

    @pytest.mark.parametrize(
        ("outcomes", "expected"),
        [
            pytest.param([refusal(400)], False, id="refused"),
            pytest.param([refusal(409, "idempotency_conflict")], False, id="conflict"),
            pytest.param([refusal(302)], False, id="redirected"),
            pytest.param([refusal(429)] * 4, False, id="rate-limited"),
            pytest.param([refusal(425)] * 4, False, id="too-early"),
            pytest.param([dropped(httpx.ConnectError)] * 4, False, id="never-connected"),
            pytest.param([dropped(httpx.ConnectTimeout)] * 4, False, id="connect-timeout"),
            pytest.param([dropped(httpx.PoolTimeout)] * 4, False, id="no-free-connection"),
            pytest.param([dropped(httpx.ProxyError)] * 4, False, id="proxy-refused"),
            pytest.param([dropped(httpx.UnsupportedProtocol)] * 4, False, id="no-protocol"),
            pytest.param([Failure(httpx.InvalidURL("too long"))] * 4, False, id="no-url"),
            pytest.param([refusal(408)] * 4, True, id="timed-out"),
            pytest.param([refusal(500)] * 4, True, id="500"),
            pytest.param([refusal(501)] * 4, True, id="501"),
            pytest.param([refusal(502)] * 4, True, id="502"),
            pytest.param([refusal(503)] * 4, True, id="503"),
            pytest.param([refusal(504)] * 4, True, id="504"),
            pytest.param([refusal(600)], True, id="beyond-5xx"),
            pytest.param([dropped(httpx.ReadError)] * 4, True, id="read-error"),
            pytest.param([dropped(httpx.ReadTimeout)] * 4, True, id="read-timeout"),
            pytest.param([dropped(httpx.WriteError)] * 4, True, id="write-error"),
            pytest.param([dropped(httpx.WriteTimeout)] * 4, True, id="write-timeout"),
            pytest.param([dropped(httpx.CloseError)] * 4, True, id="close-error"),
            pytest.param([dropped(httpx.RemoteProtocolError)] * 4, True, id="server-left"),
            pytest.param([dropped(httpx.LocalProtocolError)] * 4, True, id="protocol"),
            pytest.param([dropped(httpx.DecodingError)] * 4, True, id="bad-gzip"),
            pytest.param([Failure(ConnectionResetError())] * 4, True, id="reset"),
            pytest.param([Failure(httpx.StreamClosed())] * 4, True, id="stream"),
            pytest.param([ok(b"[]")] * 4, True, id="unreadable"),
            pytest.param([ok(b"<html>", 302)], True, id="redirection"),
            pytest.param([ok(b"<html>", 403)], True, id="proxys-403"),
            pytest.param([ok(b'{"error": "denied"}', 409)], True, id="proxys-409"),
            pytest.param([refusal(400, "internal_error")], True, id="failure-as-400"),
            pytest.param([ok(b"<html>", 401)], False, id="proxys-401"),
            pytest.param([ok(b"<html>", 425)] * 4, False, id="proxys-425"),
            pytest.param([ok(b"<html>", 429)] * 4, False, id="proxys-429"),
            pytest.param([refusal(502), refusal(429), refusal(400)], True, id="once-is-enough"),
            pytest.param(
                [dropped(), *[dropped(httpx.ConnectError)] * 3], True, id="dropped-then-down"
            ),
            pytest.param(
                [dropped(httpx.ConnectError), refusal(429), refusal(400)], False, id="never-at-all"
            ),
        ],
    )
    def test_writes(self, outcomes: Sequence[Outcome], expected: bool) -> None:
        """A write is ambiguous once any of its attempts ended without a definite answer."""
        error = run(exchange_of(), outcomes).error
        assert (expected, KEY, len(outcomes)) == (
            error.ambiguous,
            error.idempotency_key,
            error.attempts,
        )
        assert expected is ("may have taken effect" in str(error))

    @pytest.mark.parametrize(
        ("operation", "expected"), [(PING, False), (DELETE, True)], ids=["GET", "DELETE"]
    )
    def test_without_a_key(self, operation: Operation[Any], expected: bool) -> None:
        """A read never takes effect; a deletion may, though it carries no key."""
        error = run(exchange_of(operation), forever(dropped())).error
        assert (expected, None) == (error.ambiguous, error.idempotency_key)

    @pytest.mark.parametrize(
        "outcome",
        [
            pytest.param(dropped(httpx.ConnectError), id="never-connected"),
            pytest.param(refusal(429), id="refused"),
        ],
    )
    def test_interrupted_between_attempts(self, outcome: Outcome) -> None:
        """An attempt that ended without effect is no longer in doubt during the wait after it."""
        exchange = exchange_of()
        exchange.begin(0.0, WALL)
        exchange.in_doubt = True
        assert isinstance(exchange.advance(outcome, now=1.0, wall=WALL + 1), Sleep)
        assert not exchange.interrupt().ambiguous

    def test_request_id_of_the_last_answer(self) -> None:
        """An error has the request id of the last answer, even if later attempts had no answer."""
        outcomes: list[Outcome] = [
            refusal(503, x_request_id="req_1"),
            refusal(503, x_request_id="req_2"),
            *[dropped()] * 2,
        ]
        error = run(exchange_of(), outcomes).error
        assert isinstance(error, KratyNetworkError)
        assert "req_2" == error.request_id

    def test_no_request_id(self) -> None:
        """The error of an answer without a request id does not take that of an earlier answer."""
        outcomes = [refusal(503, x_request_id="req_1"), refusal(400)]
        assert run(exchange_of(), outcomes).error.request_id is None


class TestRefusals:
    """Answers other than 2xx."""

    @pytest.mark.parametrize("status", [*range(300, 600), 600, 999])
    def test_every_status(self, status: int) -> None:
        """Every error status raises; only 408, 425, 429 and 5xx are retried."""
        course = run(exchange_of(), forever(refusal(status)))
        again = status in (408, 425, 429) or 500 <= status <= 599
        assert (4 if again else 1, status, "some_code", "why") == (
            course.sent,
            getattr(course.error, "status", None),
            getattr(course.error, "code", None),
            course.error.message,
        )

    @pytest.mark.parametrize("status", [400, 409, 429, 500, 503])
    def test_idempotency_conflict(self, status: int) -> None:
        """A conflict of keys is never retried, whatever its status."""
        course = run(exchange_of(), forever(refusal(status, "idempotency_conflict")))
        assert (1, 1) == (course.sent, course.error.attempts)

    def test_idempotency_conflict_after_a_failure(self) -> None:
        """A conflict after a failed attempt raises an ambiguous error: it does not prove
        success."""
        course = run(exchange_of(), [refusal(503), *[refusal(409, "idempotency_conflict")] * 3])
        assert (2, 2, True) == (course.sent, course.error.attempts, course.error.ambiguous)

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"<html>", id="html"),
            pytest.param(b'{"error":', id="truncated"),
            pytest.param(b"[]", id="list"),
            pytest.param(b"null", id="null"),
            pytest.param(b"{}", id="no-error"),
            pytest.param(b'{"error":null}', id="error-null"),
            pytest.param(b'{"error":"no"}', id="error-string"),
            pytest.param(b'{"error":["no"]}', id="error-list"),
            pytest.param(b'{"error":{}}', id="no-code"),
            pytest.param(b'{"error":{"code":null,"message":"m"}}', id="code-null"),
            pytest.param(b'{"error":{"code":7,"message":"m"}}', id="code-int"),
            pytest.param(b'{"error":{"code":["a"],"message":"m"}}', id="code-list"),
            pytest.param(b'{"error":{"code":"","message":"m"}}', id="code-empty"),
            pytest.param(b"\xff\xfe\x00", id="invalid-utf-8"),
            pytest.param(b'{"error":{"code":"a","details":' + b"9" * 5000 + b"}}", id="huge-int"),
            pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep"),
        ],
    )
    def test_without_an_envelope(self, body: bytes) -> None:
        """A refusal that is not in the documented form is an `internal_error` with its body."""
        error = run(exchange_of(), [ok(body, 404, x_request_id="r")]).error
        assert isinstance(error, KratyServerError)
        assert ("internal_error", 404, None, body[:8192], {"x-request-id": "r"}) == (
            error.code,
            error.status,
            error.details,
            error.raw_body,
            error.headers,
        )
        assert "a 404 without an error envelope: Kraty did not send it" in error.message

    @pytest.mark.parametrize("status", [403, 413])
    def test_a_proxys_refusal(self, status: int) -> None:
        """The error of a proxy's page has the code `internal_error` and says that Kraty did not
        send it."""
        error = run(exchange_of(), [ok(b"<html>Forbidden</html>", status)]).error
        assert isinstance(error, KratyServerError)
        assert ("internal_error", False) == (error.code, error.is_forbidden)
        assert str(error).startswith(
            f"{status} internal_error: a {status} without an error envelope: Kraty did not send it,"
            " but a proxy or another server did."
        )

    @pytest.mark.parametrize(
        ("status", "location", "expected"),
        [
            pytest.param(302, "https://sso/login", " that points to https://sso/login ", id="URL"),
            pytest.param(308, "/v2/x?token=s", " that points to /v2/x ", id="query"),
            pytest.param(301, "/" + "x" * 9000, f" to /{'x' * 299} ", id="long"),
            pytest.param(302, "", "a 302 without", id="empty"),
            pytest.param(403, "/login", "a 403 without", id="no redirect"),
        ],
    )
    def test_redirect(self, status: int, location: str, expected: str) -> None:
        """A redirect is not followed. The message says where it points, without the query."""
        error = run(exchange_of(), [ok(b"", status, location=location)]).error
        assert isinstance(error, KratyServerError)
        assert expected in error.message

    def test_network_error_names_the_host(self) -> None:
        """The message of a network error names the host, but neither the path nor its ids."""
        course = run(exchange_of(retry=RetryConfig(attempts=1)), [dropped(httpx.ConnectError)])
        assert "no answer from api.kraty.io: ConnectError: dropped" == course.error.message

    @pytest.mark.parametrize("message", ["null", '""', "7", "{}"])
    def test_without_a_message(self, message: str) -> None:
        """An error whose message is missing keeps its code and details."""
        body = f'{{"error":{{"code":"conflict","message":{message},"details":[1]}}}}'
        error = run(exchange_of(), [ok(body.encode(), 409)]).error
        assert isinstance(error, KratyServerError)
        assert ("conflict", [1], "the server answered 409 without saying why") == (
            error.code,
            error.details,
            error.message,
        )

    def test_conflict_says_what_is_lacking(self) -> None:
        """The text of a conflict ends with its details."""
        answer = refusal(409, "conflict", {"required": 500, "available": 12})
        text = str(run(exchange_of(), [answer]).error)
        assert "409 conflict: why (wallet.credit, idempotency key 'receipt_1'): {\"required\"" in (
            text
        )
        assert text.endswith('{"required": 500, "available": 12}')

    @pytest.mark.parametrize("levels", [1, 50, 51, 600])
    @pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["arrays", "objects"])
    def test_deep_details(self, opening: str, levels: int) -> None:
        """Details too deep to be copied are left out, so that the error can be copied and
        pickled."""
        closing = "]" if opening == "[" else "}"
        details = opening * levels + "1" + closing * levels
        body = f'{{"error":{{"code":"conflict","message":"m","details":{details}}}}}'.encode()
        error = run(exchange_of(), [ok(body, 409)]).error
        assert isinstance(error, KratyServerError)
        assert ("conflict", "m", levels > 50) == (error.code, error.message, error.details is None)
        for other in (copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
            assert vars(error) == vars(other)


class TestWaits:
    """When the next attempt is made."""

    def test_attempts(self) -> None:
        """As many attempts are made as are configured, then the last error is raised."""
        course = run(exchange_of(retry=RetryConfig(attempts=6)), forever(refusal(500)))
        assert ([0.2, 0.4, 0.8, 1.6, 3.2], 6) == (course.sleeps, course.error.attempts)

    def test_one_attempt(self) -> None:
        """With one attempt, no outcome causes a second one."""
        for outcome in (refusal(503), dropped(), ok(b"")):
            assert 1 == run(exchange_of(retry=RetryConfig(attempts=1)), forever(outcome)).sent

    @pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
    @pytest.mark.parametrize(
        "headers",
        [
            {"retry-after": "5"},
            {"retry-after": "5.0"},
            {"ratelimit-reset": "5"},
            {"retry-after": "Mon, 08 Jun 2026 12:00:05 GMT"},
        ],
        ids=["seconds", "decimal", "reset", "date"],
    )
    def test_never_earlier_than_asked(self, headers: dict[str, str], draw: float) -> None:
        """No retry begins before the time that the server asks for, whatever the jitter."""
        answer = Reply(429, headers, b"")
        config = RetryConfig(initial_delay=4.9, jitter=0.2)
        course = run(exchange_of(retry=config, draw=lambda: draw), [answer, ok()])
        assert max(5.0, 4.9 * (0.8 + 0.4 * draw)) == pytest.approx(course.sleeps[0])
        assert course.sleeps[0] >= 5.0

    @pytest.mark.parametrize(
        "value",
        ["0", "Mon, 08 Jun 2026 11:00:00 GMT", "NaN", "inf", "-1", "soon", ""],
        ids=["zero", "past", "NaN", "inf", "negative", "garbage", "empty"],
    )
    def test_nothing_asked(self, value: str) -> None:
        """A `Retry-After` of nothing, of the past or of nonsense leaves the client's own wait."""
        course = run(exchange_of(), [refusal(503, retry_after=value), ok()])
        assert [0.2] == course.sleeps

    @pytest.mark.parametrize(
        ("asked", "cap", "sent"),
        [
            pytest.param("60", 60.0, 2, id="at-cap"),
            pytest.param("60.001", 60.0, 1, id="above-cap"),
            pytest.param("9999999999", 60.0, 1, id="centuries"),
            pytest.param("9" * 400, 60.0, 1, id="for-ever"),
            pytest.param("61", 90.0, 2, id="higher-cap"),
            pytest.param("0.1", 0.0, 1, id="cap-of-zero"),
        ],
    )
    def test_cap(self, asked: str, cap: float, sent: int) -> None:
        """A requested wait above the cap raises at once, with the wait in `retry_after`."""
        config = RetryConfig(attempts=2, max_retry_after=cap)
        answer = refusal(429, "rate_limited", retry_after=asked)
        course = run(exchange_of(retry=config), forever(answer))
        assert isinstance(course.error, KratyServerError)
        assert (sent, float(asked)) == (course.sent, course.error.retry_after)

    @pytest.mark.parametrize(
        ("asked", "cap", "wait"),
        [
            pytest.param("2, 2", 60.0, 2.0, id="sent twice"),
            pytest.param("soon", 60.0, 7.0, id="unreadable"),
            pytest.param("soon", 5.0, 5.0, id="unreadable, low cap"),
        ],
    )
    def test_odd_retry_after(self, asked: str, cap: float, wait: float) -> None:
        """Of two requested waits the longer counts; an unreadable one makes the call wait
        `max_delay`."""
        config = RetryConfig(attempts=2, max_delay=7.0, max_retry_after=cap)
        answer = refusal(429, "rate_limited", retry_after=asked)
        step = exchange_of(retry=config).advance(answer, now=0.0, wall=WALL)
        assert Sleep(wait) == step

    @pytest.mark.parametrize("status", [400, 403, 409])
    def test_retry_after_elsewhere(self, status: int) -> None:
        """The error of a final refusal has the wait that the server asked for."""
        error = run(exchange_of(), [refusal(status, retry_after="5")]).error
        assert isinstance(error, KratyServerError)
        assert 5.0 == error.retry_after


class TestDeadline:
    """The end of a call, over all attempts and waits."""

    def test_attempts_are_cut(self) -> None:
        """No phase of an attempt may take longer than the time left until the deadline."""
        exchange = exchange_of(ends_at=20.0)
        left = [exchange.begin(now, WALL).remaining("read", now) for now in (0.0, 5.0, 19.5)]
        assert [15.0, 15.0, 0.5] == left

    def test_limits(self) -> None:
        """A phase has the shorter of its own timeout and the time left when it begins."""
        timeout = {"connect": 1.0, "read": None, "write": 9.0, "pool": 4.0}
        limits = exchange_of(timeout=timeout, ends_at=4.0).begin(0.0, WALL)
        assert Limits(timeout, 4.0, WALL + 4.0) == limits
        expected = {"connect": 1.0, "read": 4.0, "write": 4.0, "pool": 4.0}
        assert expected == {phase: limits.remaining(phase, 0.0) for phase in timeout}
        assert {"connect": 0.5, "read": 0.5} == {
            p: limits.remaining(p, 3.5) for p in ("connect", "read")
        }

    def test_no_deadline_and_no_timeout(self) -> None:
        """Without a deadline and timeouts, the limits are still numbers that a socket takes."""
        timeout: dict[str, float | None] = {
            "connect": None,
            "read": None,
            "write": None,
            "pool": None,
        }
        limits = exchange_of(PING, timeout=timeout, ends_at=inf).begin(0.0, WALL)
        assert ({YEAR}, inf) == (
            {limits.remaining(phase, 0.0) for phase in timeout},
            limits.ends_at,
        )

    def test_nearly_over(self) -> None:
        """The time left is never zero, since a timeout of zero has another meaning."""
        assert 0.001 == exchange_of(ends_at=0.0).begin(5.0, WALL).remaining("read", 5.0)

    @pytest.mark.parametrize(
        ("ends_at", "sent"),
        [(0.19, 1), (0.2, 1), (0.21, 2), (0.6, 2), (0.61, 3), (inf, 4)],
    )
    def test_no_wait_beyond_it(self, ends_at: float, sent: int) -> None:
        """A wait that would reach the deadline is not begun: the error is raised now."""
        assert sent == run(exchange_of(ends_at=ends_at), forever(refusal(500))).sent

    def test_no_asked_wait_beyond_it(self) -> None:
        """A wait that the server asks for and that reaches the deadline is not begun either."""
        course = run(exchange_of(ends_at=10.0), forever(refusal(503, retry_after="10")))
        assert isinstance(course.error, KratyServerError)
        assert (1, [], 10.0) == (course.sent, course.sleeps, course.error.retry_after)

    def test_slow_attempts(self) -> None:
        """The time that attempts take counts towards the deadline too."""
        assert 3 == run(exchange_of(ends_at=100.0), forever(dropped()), took=40.0).sent

    def test_overslept(self) -> None:
        """After a wait that outlasted the deadline, the error is raised and nothing more is
        sent."""
        exchange = exchange_of(ends_at=10.0)
        exchange.begin(0.0, WALL)
        step = exchange.advance(refusal(429, "rate_limited"), now=1.0, wall=WALL)
        assert Sleep(0.2) == step
        with pytest.raises(KratyServerError) as caught:
            exchange.begin(10.0, WALL)
        assert ("rate_limited", 1, False) == (
            caught.value.code,
            caught.value.attempts,
            caught.value.ambiguous,
        )

    @pytest.mark.parametrize(
        ("hours", "awake", "sent"),
        [
            pytest.param(23 - 1e-6, 0.0, True, id="just before 23 hours"),
            pytest.param(23.0, 0.0, False, id="23 hours"),
            pytest.param(25.0, 0.0, False, id="a day later"),
            pytest.param(22.0, 24.0, False, id="the clock was set back"),
        ],
    )
    def test_key_may_be_forgotten(self, hours: float, awake: float, sent: bool) -> None:
        """A key 23 hours old is not sent again, even if the deadline's clock stopped while the
        machine slept, or if the other clock was set back."""
        exchange = exchange_of(ends_at=inf)
        exchange.begin(5.0, WALL)
        assert Sleep(0.2) == exchange.advance(dropped(), now=6.0, wall=WALL + 1)
        now, later = 6.2 + awake * 3_600, WALL + hours * 3_600
        if sent:
            exchange.begin(now, later)
            return
        with pytest.raises(KratyNetworkError) as caught:
            exchange.begin(now, later)
        assert (1, True, datetime.fromtimestamp(WALL, timezone.utc)) == (
            caught.value.attempts,
            caught.value.ambiguous,
            caught.value.first_sent_at,
        )

    @pytest.mark.parametrize("operation", [CREDIT, DELETE], ids=["with a key", "without a key"])
    def test_slept_beyond_it(self, operation: Operation[Any]) -> None:
        """A write is not sent again after the deadline, even if the deadline's clock stopped while
        the machine slept."""
        exchange = exchange_of(operation, ends_at=120.0)
        exchange.begin(0.0, WALL)
        exchange.advance(dropped(), now=1.0, wall=WALL + 1)
        limits = exchange.begin(1.2, WALL + 119.9)
        assert [False, True, True] == [
            limits.is_over(2.0, WALL + 119.9),
            limits.is_over(2.0, WALL + 120.0),
            limits.is_over(120.0, WALL),
        ]
        exchange.advance(dropped(), now=2.0, wall=WALL + 119.9)
        with pytest.raises(KratyNetworkError):
            exchange.begin(2.4, WALL + 120.0)

    @pytest.mark.parametrize("ends_at", [120.0, inf])
    def test_a_read_has_no_key(self, ends_at: float) -> None:
        """A read may be repeated after any time by the wall clock, since it has no key."""
        exchange = exchange_of(PING, ends_at=ends_at)
        exchange.begin(0.0, WALL)
        exchange.advance(dropped(), now=1.0, wall=WALL + 1)
        exchange.begin(1.2, WALL + 7 * 86_400)

    def test_spends_no_budget(self) -> None:
        """A retry that the deadline, the cap or the count forbids is not taken from the budget."""
        budget = RetryBudget(1)
        late = exchange_of(budget=budget, ends_at=0.1)
        asked = exchange_of(budget=budget)
        last = exchange_of(budget=budget, retry=RetryConfig(attempts=1))
        assert [1, 1, 1] == [
            run(late, forever(refusal(500))).sent,
            run(asked, forever(refusal(503, retry_after="61"))).sent,
            run(last, forever(dropped())).sent,
        ]
        assert budget.take()


class TestBudget:
    """How many retries an outage gets."""

    def outage(self, budget: RetryBudget, outcome: Outcome) -> Course:
        return run(exchange_of(budget=budget), forever(outcome))

    def test_outage(self) -> None:
        """Ten failing calls with a budget of five make fifteen attempts, not forty."""
        budget = RetryBudget(5)
        sent = [self.outage(budget, refusal(503)).sent for _ in range(10)]
        assert [4, 3, *[1] * 8] == sent

    def test_success(self) -> None:
        """A success gives one retry back to the budget; a refusal does not."""
        budget = RetryBudget(3)
        sent: list[int] = []
        for outcome in (dropped(), dropped(), refusal(404), dropped(), ok(), dropped(), dropped()):
            sent.append(self.outage(budget, outcome).sent)
        assert [4, 1, 1, 1, 1, 2, 1] == sent

    def test_unreadable_answer(self) -> None:
        """A 2xx without a result gives no retry back to the budget."""
        budget = RetryBudget(3)
        assert [4, 1] == [self.outage(budget, ok(b"")).sent for _ in range(2)]


class TestReplayed:
    """Whether a result reports that an earlier call had made the change."""

    @pytest.mark.parametrize(
        ("outcomes", "expected"),
        [
            pytest.param([ok(GOOD)], False, id="first execution"),
            pytest.param([ok(REPLAY)], True, id="replay at once"),
            pytest.param([refusal(429), ok(REPLAY)], True, id="replay after a rejection"),
            pytest.param([dropped(httpx.ConnectError), ok(REPLAY)], True, id="nothing was sent"),
            pytest.param([dropped(), ok(REPLAY)], None, id="replay after a lost answer"),
            pytest.param([refusal(503), ok(REPLAY)], None, id="replay after a 503"),
            pytest.param([ok(b"<html>"), ok(REPLAY)], None, id="replay after an unreadable answer"),
            pytest.param([dropped(), ok(GOOD)], False, id="first execution after a lost answer"),
        ],
    )
    def test_earlier_attempts(self, outcomes: list[Outcome], expected: bool | None) -> None:
        """A replay is reported as one only if no earlier attempt can have taken effect."""
        assert expected is run(exchange_of(), outcomes).result.replayed


class TestFirstSentAt:
    """When the first attempt began, which is when the life of a key begins."""

    def test_of_the_first_attempt(self) -> None:
        """Later attempts do not move `first_sent_at`, neither in errors nor for the hook."""
        exchange = exchange_of(retry=RetryConfig(attempts=2))
        exchange.begin(0.0, WALL)
        exchange.advance(dropped(), now=1.0, wall=WALL + 1)
        exchange.begin(50.0, WALL + 50)
        step = exchange.advance(dropped(), now=51.0, wall=WALL + 51)
        assert isinstance(step, Raise)
        first = datetime.fromtimestamp(WALL, timezone.utc)
        info = exchange.describe(dropped(), step, now=51.0)
        assert [first] * 3 == [
            step.error.first_sent_at,
            step.error.call.first_sent_at,
            info.first_sent_at,
        ]

    def test_while_the_machine_slept(self) -> None:
        """`first_sent_at` is right after the machine slept, although its monotonic clock
        stopped."""
        exchange = exchange_of()
        exchange.begin(0.0, WALL)
        step = exchange.advance(refusal(400), now=1.0, wall=WALL + 86_400)
        assert isinstance(step, Raise)
        assert datetime.fromtimestamp(WALL, timezone.utc) == step.error.first_sent_at


class TestDescribe:
    """What the hook receives about an attempt."""

    @pytest.mark.parametrize(
        ("outcome", "expected"),
        [
            pytest.param(
                ok(x_request_id="req_1"),
                {"status": 200, "ok": True, "request_id": "req_1"},
                id="result",
            ),
            pytest.param(
                refusal(503, "internal_error", retry_after="3", x_request_id="req_1"),
                {
                    "status": 503,
                    "error": "internal_error",
                    "will_retry": True,
                    "retry_in": 3.0,
                    "request_id": "req_1",
                },
                id="retried",
            ),
            pytest.param(
                refusal(409, "idempotency_conflict"),
                {"status": 409, "error": "idempotency_conflict"},
                id="conflict",
            ),
            pytest.param(
                refusal(404, "not_found"), {"status": 404, "error": "not_found"}, id="4xx"
            ),
            pytest.param(
                dropped(httpx.ConnectTimeout),
                {"error": "ConnectTimeout", "will_retry": True, "retry_in": 0.2},
                id="network",
            ),
            pytest.param(
                ok(b""),
                {"status": 200, "error": "invalid_response", "will_retry": True, "retry_in": 0.2},
                id="unreadable",
            ),
        ],
    )
    def test_every_field(self, outcome: Outcome, expected: dict[str, Any]) -> None:
        """The hook receives the call, outcome, cause, request id and next step of an attempt."""
        common: dict[str, Any] = {
            "method": "POST",
            "url": URL,
            "attempt": 1,
            "idempotency_key": KEY,
            "duration_ms": 500.0,
            "status": None,
            "ok": False,
            "operation": "wallet.credit",
            "error": None,
            "will_retry": False,
            "retry_in": None,
            "request_id": None,
            "first_sent_at": datetime.fromtimestamp(WALL, timezone.utc),
        }
        exchange = exchange_of()
        exchange.begin(0.5, WALL)
        step = exchange.advance(outcome, now=1.0, wall=WALL)
        info = exchange.describe(outcome, step, now=1.0)
        assert {**common, **expected} == info._asdict()

    def test_positions(self) -> None:
        """The first seven fields of a `RequestInfo` keep their places."""
        names = RequestInfo._fields[:7]
        assert (
            *("method", "url", "attempt", "idempotency_key", "duration_ms", "status", "ok"),
        ) == names

    def test_error_of_an_earlier_attempt(self) -> None:
        """The hook receives no cause for an attempt that succeeds, though the one before failed."""
        exchange = exchange_of()
        exchange.begin(0.0, WALL)
        exchange.advance(dropped(), now=0.0, wall=WALL)
        exchange.begin(0.2, WALL)
        step = exchange.advance(ok(), now=0.3, wall=WALL)
        info = exchange.describe(ok(), step, now=0.3)
        assert (2, None, True) == (info.attempt, info.error, info.ok)

    def test_pickles(self) -> None:
        """A `RequestInfo` can be sent to another process."""
        info = RequestInfo("POST", URL, 1, KEY, 1.5, None, False, error="ReadError")
        assert info == pickle.loads(pickle.dumps(info))


@attrs.frozen
class Case:
    """An outcome and its meaning, stated independently of the code under test."""

    outcome: Outcome
    retryable: bool
    ambiguous: bool
    asked: float = 0.0
    result: bool = False


CASES: Final = (
    Case(ok(), retryable=False, ambiguous=False, result=True),
    Case(ok(b"<html>"), retryable=True, ambiguous=True),
    Case(refusal(400), retryable=False, ambiguous=False),
    Case(refusal(409, "idempotency_conflict"), retryable=False, ambiguous=False),
    Case(refusal(503, "idempotency_conflict"), retryable=False, ambiguous=True),
    Case(refusal(429), retryable=True, ambiguous=False),
    Case(refusal(429, retry_after="2"), retryable=True, ambiguous=False, asked=2.0),
    Case(refusal(429, ratelimit_reset="7.5"), retryable=True, ambiguous=False, asked=7.5),
    Case(refusal(503, retry_after="61"), retryable=True, ambiguous=True, asked=61.0),
    Case(refusal(500), retryable=True, ambiguous=True),
    Case(refusal(408), retryable=True, ambiguous=True),
    Case(dropped(httpx.ConnectError), retryable=True, ambiguous=False),
    Case(dropped(httpx.ReadTimeout), retryable=True, ambiguous=True),
)


class TestAnyCourse:
    """Calls with any outcomes, in any order."""

    @given(
        cases=st.lists(st.sampled_from(CASES), min_size=12, max_size=12),
        attempts=st.integers(1, 8),
        initial=st.floats(0, 5),
        jitter=st.floats(0, 1),
        budget=st.none() | st.integers(0, 5),
        ends_at=st.floats(0.1, 60) | st.just(inf),
        took=st.floats(0, 5),
        draws=st.randoms(use_true_random=False),
    )
    @settings(deadline=None, max_examples=400)
    def test_course(
        self,
        cases: list[Case],
        attempts: int,
        initial: float,
        jitter: float,
        budget: int | None,
        ends_at: float,
        took: float,
        draws: random.Random,
    ) -> None:
        """A call ends, is retried only after a retryable outcome, and its error describes it."""
        exchange = exchange_of(
            retry=RetryConfig(attempts=attempts, initial_delay=initial, jitter=jitter),
            budget=RetryBudget(budget),
            ends_at=ends_at,
            draw=draws.random,
        )
        course = run(exchange, [case.outcome for case in cases], took)
        gone = cases[: course.sent]
        assert course.sent <= attempts
        assert len(course.sleeps) == course.sent - 1
        assert budget is None or len(course.sleeps) <= budget
        # Only what may be is retried, and nothing after an end.
        assert all(case.retryable for case in gone[:-1])
        for case, wait in zip(gone, course.sleeps, strict=False):
            assert case.asked <= wait <= max(10.0 * (1 + jitter), 60.0)
        if course.sent > 1:  # the last attempt began in time
            assert sum(course.sleeps) + took * (course.sent - 1) < ends_at
        if gone[-1].result:
            assert course.sent == course.result.http.attempts
        else:
            error = course.error
            assert (course.sent, any(case.ambiguous for case in gone), KEY) == (
                error.attempts,
                error.ambiguous,
                error.idempotency_key,
            )


SCRAPS: Final = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b" ", b"\n", b"null", b"true", b"NaN", b"1e999"),
    *(b"-Infinity", b"0", b"-", b"9" * 50, b"9" * 5000, b"\xff", b"\xed\xa0\x80", b'"\\ud800"'),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b'{"data":', b'{"error":', b'"code":', b'"message":'),
    *(b'"details":', b'"conflict"', b"<html>", b"[" * 2000, b'{"a":' * 2000, b"]" * 2000),
    *(b'{"data":{}}', b'{"error":{"code":"conflict","message":"m"}}', GOOD, GOOD[:-1]),
)


def hostile_body(draw: random.Random) -> bytes:
    """Return a body of scraps of JSON, or a result that has been damaged in one place."""
    if draw.random() < 0.5:
        return b"".join(draw.choice(SCRAPS) for _ in range(draw.randrange(8)))
    at = draw.randrange(len(GOOD) + 1)
    return GOOD[:at] + draw.choice(SCRAPS) + GOOD[at + draw.randrange(6) :]


def check_hostile(status: int, body: bytes) -> bool:
    """Play one attempt with this answer; return whether it was a result."""
    retry = RetryConfig(attempts=1)
    course = run(exchange_of(retry=retry), [ok(body, status)])
    if isinstance(course.end, Done):
        assert 200 <= status <= 299
        assert json.dumps(json.loads(body)["data"]) == json.dumps(course.result)  # NaN != NaN
        return True
    error = course.error
    assert isinstance(error, KratyServerError)
    assert (200 <= status <= 299) is isinstance(error, KratyResponseError)
    assert (status, body[:8192], 1, KEY) == (
        error.status,
        error.raw_body,
        error.attempts,
        error.idempotency_key,
    )
    str(error).encode()
    other = pickle.loads(pickle.dumps(error))
    assert (str(error), error.code) == (str(other), copy.deepcopy(error).code)
    return False


class TestHostileBodies:
    """No answer of a server or proxy ends in another exception."""

    @given(st.integers(200, 599), st.binary(max_size=300))
    @settings(deadline=None)
    def test_any_bytes(self, status: int, body: bytes) -> None:
        """Any bytes under any status are a result or a `KratyServerError`."""
        check_hostile(status, body)

    @given(
        st.integers(200, 599),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["data", "error", "code", "message", "details"]), inner
                )
            ),
        ),
    )
    @settings(deadline=None)
    def test_any_json(self, status: int, value: object) -> None:
        """Any JSON, with the envelopes' names in wrong places, is a result or a
        `KratyServerError`."""
        check_hostile(status, json.dumps(value).encode())

    def test_many(self) -> None:
        """Each of 5,000 damaged answers is a result or a `KratyServerError`, and both occur."""
        draw = random.Random(13)
        statuses = (200, 200, 201, 204, 302, 400, 404, 409, 422, 429, 500, 502, 503)
        results = 0
        for _ in range(5_000):
            results += check_hostile(draw.choice(statuses), hostile_body(draw))
        assert 100 < results < 2_500
