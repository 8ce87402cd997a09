"""Headers of an operation: sent over own connections and a caller's client, and never logged."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from typing import Any, Final

import pytest

from kraty_admin import KratyError, KratyServerError, RetryConfig
from kraty_server_api.model import Model
from kraty_server_api.operation import Operation
from loopback import AT_ONCE, KEY, Seen, Twin, closed, response, serving, settled, twins

SECRET: Final = "s\xe9cret"
lent: Final = pytest.mark.parametrize("is_lent", [False, True], ids=["own", "lent"])


def described(method: str = "POST", *, sends_headers: bool = True) -> Operation[Model]:
    """Return a call with its own header parameters and media types."""
    headers = (
        ("Accept", "application/vnd.a+json, application/json"),
        ("Content-Type", "application/vnd.b+json; charset=utf-8"),
        ("X-Signature", SECRET),
    )
    return Operation(
        name="things.sign",
        method=method,
        path="/signed",
        body=None,
        result=Model,
        headers=headers if sends_headers else (),
    )


def call(twin: Twin, is_lent: bool, *operations: Operation[Any], **options: Any) -> None:
    """Perform calls one after the other."""

    async def scenario(kraty: Any) -> None:
        try:
            for operation in operations:
                await settled(kraty._call(operation))
        finally:
            if client is not None:
                await closed(client)

    client = twin.http_client(headers={"X-Signature": "of the caller's"}) if is_lent else None
    twin.run(scenario, http_client=client, **options)


def lines(seen: Seen, *names: str) -> list[str]:
    """Return the lines of these headers, as received."""
    head = seen.head.decode("latin-1").split("\r\n")
    found = (line for line in head if line.lower().split(":")[0] in names)
    return [line.split(":")[0].lower() + ":" + line.partition(":")[2] for line in sorted(found)]


@twins
@lent
def test_headers_are_sent_with_each_attempt(twin: Twin, is_lent: bool) -> None:
    """Each attempt sends the operation's headers once, instead of the client's, and the next call
    does not."""
    answers: Iterator[bytes] = iter([response(503), *[response(200, {"data": {}})] * 2])
    calls = described(), described(sends_headers=False)
    with serving(lambda _: next(answers)) as server:
        call(twin, is_lent, *calls, base_url=server.url, retry=AT_ONCE)
    expected = [
        "accept: application/vnd.a+json, application/json",
        f"authorization: Bearer {KEY}",
        "content-type: application/vnd.b+json; charset=utf-8",
        f"x-signature: {SECRET}",
    ]
    usual = ["accept: application/json", expected[1], "content-type: application/json"]
    usual += ["x-signature: of the caller's"] if is_lent else []
    names = ("accept", "authorization", "content-type", "x-signature")
    assert [expected, expected, usual] == [lines(seen, *names) for seen in server.seen]


@twins
@lent
def test_no_body_has_no_media_type(twin: Twin, is_lent: bool) -> None:
    """A call without its optional body sends no `Content-Type`."""
    with serving(lambda _: response(200, {"data": {}})) as server:
        call(twin, is_lent, described("DELETE"), base_url=server.url)
    assert [] == lines(server.seen[0], "content-type")
    assert 1 == len(lines(server.seen[0], "x-signature"))


@twins
@lent
@pytest.mark.parametrize("answer", [None, response(500, {})], ids=["no answer", "server error"])
def test_headers_are_in_no_report(
    twin: Twin, is_lent: bool, answer: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """No log, error, traceback with locals or telemetry shows the value of a header."""
    caplog.set_level(logging.DEBUG)
    reports: list[object] = []
    options = {"retry": RetryConfig(attempts=2, initial_delay=0.0), "on_request": reports.append}
    with serving(lambda _: answer) as server, pytest.raises(KratyError) as caught:
        call(twin, is_lent, described(), base_url=server.url, **options)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    # This file's own frames hold the operation, which has no repr that shows it.
    everything = [caplog.text, *shown.format(), repr(reports), repr(vars(caught.value))]
    text = "\n".join(everything)
    assert 2 == len(reports)
    assert 2 == len(server.seen)
    assert "things.sign" in text
    assert "cret" not in text.replace("SECRET", "")


@twins
def test_headers_of_an_answer(twin: Twin) -> None:
    """A response header is read as UTF-8 or else Latin-1, and several of one name are joined."""
    answer = response(404, {}, x_proxy="Zo\xeb", x_cache="a").replace(
        b"x-cache", b"X-Proxy: Zo\xeb\r\nx-cache"
    )
    with serving(lambda _: answer) as server, pytest.raises(KratyServerError) as raised:
        twin.credit(base_url=server.url)
    assert ("Zo\xeb, Zo\xeb", "a") == tuple(
        raised.value.headers[name] for name in ("x-proxy", "x-cache")
    )
