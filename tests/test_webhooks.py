"""Webhooks: what verifies, what is refused and why, and which mistakes raise."""

from __future__ import annotations

import asyncio
import copy
import hmac
import json
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, Final, get_args

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request

from kraty_admin.errors import KratyError, WebhookVerificationError, WebhookVerificationReason
from kraty_admin.webhooks import construct_event, sign_webhook, verify_webhook
from kraty_server_api.models import WebhookEvent

SECRET: Final = "whsec_test_a"
OTHER_SECRET: Final = "whsec_test_b"
CANARY: Final = "whsec_canary_7c1d"
T: Final = 1780920000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
NOW: Final = datetime(2026, 6, 8, 12, tzinfo=timezone.utc)
BODY: Final = (
    b'{"id":"evt_01","eventName":"grant.created","studioId":"st_1","gameId":"game_1",'
    b'"occurredAt":"2026-06-08T12:00:00.000Z","deliveryAttempt":1,'
    b'"data":{"grantId":"gr_1","note":"Zo\xc3\xab \xe2\x9c\x93"}}'
)
V1: Final = "3f9081582799ebdd9620ea5282a62a64af7fd726b62afb866c51adef986ec535"
HEADER: Final = f"t={T},v1={V1}"

ALL_REASONS: Final[tuple[WebhookVerificationReason, ...]] = get_args(WebhookVerificationReason)


def reason_for(**changes: Any) -> WebhookVerificationReason | None:
    """Return why the delivery is rejected, after seeing that both functions agree on it.

    `verify_webhook` is asked twice: its fast path serves only calls without `now`.
    """
    delivery: dict[str, Any] = {
        "raw_body": BODY,
        "signature_header": HEADER,
        "secret": SECRET,
        "now": NOW,
        **changes,
    }
    reason: WebhookVerificationReason | None = None
    try:
        construct_event(**delivery)
    except WebhookVerificationError as err:
        reason = err.reason
    genuine = reason in (None, "invalid_payload")
    assert genuine is verify_webhook(**delivery)
    with pytest.MonkeyPatch.context() as clock:
        seconds = (delivery.pop("now") - EPOCH) / timedelta(seconds=1)
        clock.setattr("kraty_admin.webhooks.time", SimpleNamespace(time=lambda: seconds))
        assert genuine is verify_webhook(**delivery)
    return reason


class TestKnownAnswers:
    """The hex digits come from `openssl dgst -sha256 -hmac <secret>`, fed with
    `<t>.<body>`, and from Node's `crypto.createHmac`; the two agreed on each."""

    @pytest.mark.parametrize(
        ("secret", "t", "body", "v1"),
        [
            pytest.param(SECRET, "1780920000", BODY, V1, id="an event"),
            pytest.param(
                SECRET,
                "1780920000",
                b"",
                "27a05905a3c4a34dc6bcd6bd1c0741fc5a16232ed10cb37171e36bd694cfacb6",
                id="an empty body",
            ),
            pytest.param(
                SECRET,
                "1780920000",
                b"\xff\xfe\x00\xc3\x28",
                "0f793db3ad708d567c621cc0656ab6592d2d9581271945f5daca62b4c908fa3b",
                id="a body that is not UTF-8",
            ),
            pytest.param(
                "ключ-✓",
                "1780920000",
                b"{}",
                "85f2d5f1b8cd627d0bc65b1839dc6461c1f600cbcf06604a47a0f6791333d2f9",
                id="a secret that is not ASCII",
            ),
            pytest.param(
                "k" * 100,
                "1780920000",
                b"{}",
                "f682ab2907fd6d820792bd709bf074e4fd14e0f3aa8e81fdfbc1fb661dc7843a",
                id="a secret longer than a hash block",
            ),
            pytest.param(
                SECRET,
                "001780920000",
                b"{}",
                "6146e0cae09954ea081e962f35c2dd411b4457dec06752be0a6e2c6ba97cc7e8",
                id="a time with leading zeros",
            ),
            pytest.param(
                SECRET,
                "0",
                b"{}",
                "e068a024517264b7e052cdb94865252b3af542b42fd127ce6d7d66f160783d2a",
                id="the epoch",
            ),
        ],
    )
    def test_verify_and_sign(self, secret: str, t: str, body: bytes, v1: str) -> None:
        """Signatures of other implementations verify, and ours are the same."""
        assert True is verify_webhook(
            raw_body=body,
            signature_header=f"t={t},v1={v1}",
            secret=secret,
            now=datetime.fromtimestamp(int(t), timezone.utc),
        )
        if t == str(int(t)):  # which is how we write it
            header = sign_webhook(raw_body=body, secret=secret, timestamp=int(t))
            assert f"t={t},v1={v1}" == header

    def test_digits_are_signed_as_sent(self) -> None:
        """A signature over `t` without leading zeros does not match `t` with them."""
        assert "no_match" == reason_for(signature_header=f"t=00{T},v1={V1}")


class TestAge:
    """The window of accepted ages, which includes its two bounds."""

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [
            pytest.param(0, None, id="now"),
            pytest.param(299, None, id="299 old"),
            pytest.param(300, None, id="300 old"),
            pytest.param(300.999999, None, id="within the 300th second"),
            pytest.param(301, "too_old", id="301 old"),
            pytest.param(10**9, "too_old", id="decades old"),
            pytest.param(-59, None, id="59 ahead"),
            pytest.param(-59.5, None, id="59.5 ahead"),
            pytest.param(-60, None, id="60 ahead"),
            pytest.param(-60.000001, "too_new", id="a microsecond over 60 ahead"),
            pytest.param(-61, "too_new", id="61 ahead"),
            pytest.param(-(10**9), "too_new", id="decades ahead"),
        ],
    )
    def test_default_window(self, seconds: float, expected: str | None) -> None:
        """By default a delivery may be 300 seconds old and 60 seconds ahead."""
        assert expected == reason_for(now=NOW + timedelta(seconds=seconds))

    @pytest.mark.parametrize(
        ("tolerance", "seconds", "expected"),
        [
            pytest.param(0, 0, None, id="0 allows 0"),
            pytest.param(0, 1, "too_old", id="0 refuses 1"),
            pytest.param(0, -60, None, id="0 leaves the bound ahead alone"),
            pytest.param(0.5, 1, "too_old", id="a half refuses 1"),
            pytest.param(1.5, 1, None, id="one and a half allows 1"),
            pytest.param(86_400, 86_400, None, id="a day allows a day"),
            pytest.param(86_400, 86_401, "too_old", id="a day refuses a second more"),
            pytest.param(86_400, -61, "too_new", id="a day does not widen the bound ahead"),
            pytest.param(float("inf"), 10**9, None, id="infinity allows all"),
            pytest.param(10**400, 10**9, None, id="an int beyond any float"),
        ],
    )
    def test_tolerance(self, tolerance: float, seconds: int, expected: str | None) -> None:
        """The tolerance sets how old a delivery may be, not how far ahead."""
        now = NOW + timedelta(seconds=seconds)
        assert expected == reason_for(tolerance_seconds=tolerance, now=now)

    @pytest.mark.parametrize("hours", [-11, 0, 14])
    def test_time_zones(self, hours: int) -> None:
        """`now` means the same instant in every time zone."""
        zone = timezone(timedelta(hours=hours))
        at_bound = (NOW + timedelta(seconds=300)).astimezone(zone)
        assert [None, "too_old"] == [
            reason_for(now=at_bound),
            reason_for(now=at_bound + timedelta(seconds=1)),
        ]

    @pytest.mark.parametrize(
        ("clock", "expected"),
        [
            pytest.param(T + 300.9, True, id="in time"),
            pytest.param(T + 301.0, False, id="too late"),
        ],
    )
    def test_system_clock(
        self, monkeypatch: pytest.MonkeyPatch, clock: float, expected: bool
    ) -> None:
        """Without `now`, the age is measured by the system's clock."""
        monkeypatch.setattr(time, "time", lambda: clock)
        assert expected is verify_webhook(raw_body=BODY, signature_header=HEADER, secret=SECRET)

    @pytest.mark.parametrize(
        ("extreme", "expected"),
        [
            pytest.param(NOW.replace(year=1, month=1, day=1, hour=0), "too_new", id="first day"),
            pytest.param(NOW.replace(year=9999, month=12, day=31), "too_old", id="last day"),
        ],
    )
    @pytest.mark.parametrize("hours", [-14, 14])
    def test_extreme_clocks(self, extreme: datetime, expected: str, hours: int) -> None:
        """The first and the last day of datetime are accepted as `now`, in every time zone."""
        zone = timezone(timedelta(hours=hours))
        assert expected == reason_for(now=extreme.replace(tzinfo=zone))

    @pytest.mark.parametrize("t", [0, T - 301, T + 61, 999_999_999_999])
    def test_age_is_not_revealed_without_the_secret(self, t: int) -> None:
        """A forged signature has the same reason, whatever its time."""
        assert "no_match" == reason_for(signature_header=f"t={t},v1={V1}")


class TestRotation:
    """Several secrets and several signatures."""

    both = f"t={T},v1={'0' * 64},v1={V1}"

    @pytest.mark.parametrize(
        ("header", "secret", "expected"),
        [
            pytest.param(HEADER, [OTHER_SECRET, SECRET], None, id="second secret of a list"),
            pytest.param(HEADER, (SECRET, OTHER_SECRET), None, id="first secret of a tuple"),
            pytest.param(HEADER, [SECRET, SECRET], None, id="a secret twice"),
            pytest.param(HEADER, [OTHER_SECRET], "no_match", id="only the other secret"),
            pytest.param(HEADER, OTHER_SECRET, "no_match", id="the other secret"),
            pytest.param(HEADER, list(SECRET), "no_match", id="the letters of the secret"),
            pytest.param(HEADER, SECRET + "=", "no_match", id="a character after the secret"),
            pytest.param(HEADER, SECRET.upper(), "no_match", id="the secret in capitals"),
            pytest.param(HEADER, SECRET[6:], "no_match", id="the secret without its prefix"),
            pytest.param(both, SECRET, None, id="second v1"),
            pytest.param(f"t={T},v1={V1},v1={'0' * 64}", SECRET, None, id="first v1"),
            pytest.param(both, [OTHER_SECRET, SECRET], None, id="second of both"),
            pytest.param(both, OTHER_SECRET, "no_match", id="two v1, neither fits"),
            pytest.param(f"v1={V1},v1={'0' * 64},t={T}", SECRET, None, id="t last"),
        ],
    )
    def test_any_pair(self, header: str, secret: Any, expected: str | None) -> None:
        """A delivery verifies if one of the secrets made one of the signatures."""
        assert expected == reason_for(signature_header=header, secret=secret)

    def test_every_pair_is_compared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each secret is compared with each signature in constant time, even after a match."""
        pairs: list[tuple[Any, Any]] = []
        compare = hmac.compare_digest

        def counting(a: Any, b: Any) -> bool:
            pairs.append((a, b))
            return compare(a, b)

        monkeypatch.setattr(hmac, "compare_digest", counting)
        signatures = [V1, "0" * 64, "1" * 64]
        header = ",".join([f"t={T}", *(f"v1={v1}" for v1 in signatures)])
        assert verify_webhook(
            raw_body=BODY, signature_header=header, secret=[SECRET, OTHER_SECRET], now=NOW
        )
        other = sign_webhook(raw_body=BODY, secret=OTHER_SECRET, timestamp=T).partition("v1=")[2]
        assert [(own, v1) for own in (V1, other) for v1 in signatures] == pairs


class TestBody:
    """The bytes of the body, over which the signature is made."""

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(BODY, id="bytes"),
            pytest.param(BODY.decode(), id="str"),
            pytest.param(bytearray(BODY), id="bytearray"),
            pytest.param(memoryview(BODY), id="memoryview"),
            pytest.param(memoryview(BODY[::-1])[::-1], id="memoryview with a stride"),
        ],
    )
    def test_types(self, body: Any) -> None:
        """The body may be bytes, text or any buffer."""
        assert None is reason_for(raw_body=body)

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(json.dumps(json.loads(BODY)), id="re-serialised"),
            pytest.param(
                json.dumps(json.loads(BODY), separators=(",", ":")), id="with escapes, no spaces"
            ),
            pytest.param(BODY + b"\n", id="a newline more"),
            pytest.param(BODY[:-1], id="a byte less"),
            pytest.param(b"\xef\xbb\xbf" + BODY, id="a byte order mark more"),
            pytest.param(b"", id="empty"),
            pytest.param(BODY.decode("latin-1"), id="decoded wrongly"),
            pytest.param(None, id="None"),
            pytest.param("\ud800", id="a lone surrogate"),
            pytest.param(BODY.decode() + "\udcff", id="a lone surrogate more"),
        ],
    )
    def test_other_bytes(self, body: str | bytes | None) -> None:
        """Another serialisation of the same event does not verify."""
        assert "no_match" == reason_for(raw_body=body)

    def test_no_body(self) -> None:
        """A body of `None` is rejected even if an empty body was signed."""
        header = sign_webhook(raw_body=b"", secret=SECRET, timestamp=T)
        assert "no_match" == reason_for(raw_body=None, signature_header=header)

    def test_invalid_utf8(self) -> None:
        """A signed body that is not UTF-8 verifies, but is not an event."""
        body = b'{"id":"\xff"}'
        header = sign_webhook(raw_body=body, secret=SECRET, timestamp=T)
        assert verify_webhook(raw_body=body, signature_header=header, secret=SECRET, now=NOW)
        assert "invalid_payload" == reason_for(raw_body=body, signature_header=header)


def digits(zero: int) -> str:
    """Return the right time in the digits of another script, which `int` would accept."""
    return "".join(chr(zero + int(digit)) for digit in str(T))


HEADERS: Final[list[Any]] = [
    # What passes.
    pytest.param(HEADER, None, id="as sent"),
    pytest.param(f"  t={T} , v1={V1}  ", None, id="spaces around fields"),
    pytest.param(f"\tt={T}\t,\tv1={V1}\t", None, id="tabs around fields"),
    pytest.param(f"v0={V1},{HEADER},v2=x", None, id="other schemes"),
    pytest.param(f"{HEADER},v1=zz", None, id="and a broken v1"),
    pytest.param(f"{HEADER},v1=é", None, id="and a v1 beyond ASCII"),
    pytest.param(f"{HEADER},T={T},V1=0", None, id="and names in capitals"),
    pytest.param(f",{HEADER},", None, id="empty fields"),
    pytest.param(f"{HEADER},{'x' * (4095 - len(HEADER))}", None, id="4,096 characters"),
    # No header.
    pytest.param(None, "missing_header", id="None"),
    pytest.param("", "missing_header", id="empty"),
    pytest.param(b"", "missing_header", id="empty bytes"),
    # No usable t.
    pytest.param(" ", "malformed_header", id="a space"),
    pytest.param(",,,,", "malformed_header", id="commas"),
    pytest.param("=,=", "malformed_header", id="equals signs"),
    pytest.param("\ud800", "malformed_header", id="a lone surrogate"),
    pytest.param(f"v1={V1}", "malformed_header", id="t missing"),
    pytest.param(f"t,v1={V1}", "malformed_header", id="t without a value"),
    pytest.param(f"t=,v1={V1}", "malformed_header", id="t empty"),
    pytest.param(f"T={T},v1={V1}", "malformed_header", id="t in capitals"),
    pytest.param(f"{T},v1={V1}", "malformed_header", id="t unnamed"),
    pytest.param(f"{HEADER},t={T}", "malformed_header", id="t twice"),
    pytest.param(f"t=x,{HEADER}", "malformed_header", id="t twice, once broken"),
    pytest.param(f"{HEADER},t=", "malformed_header", id="t twice, once empty"),
    pytest.param(f"{HEADER}, {HEADER}", "malformed_header", id="two headers joined"),
    pytest.param(f"t=+{T},v1={V1}", "malformed_header", id="t with a plus"),
    pytest.param(f"t=-{T},v1={V1}", "malformed_header", id="t negative"),
    pytest.param(f"t={T}.0,v1={V1}", "malformed_header", id="t with a fraction"),
    pytest.param("t=1e9,v1=" + V1, "malformed_header", id="t with an exponent"),
    pytest.param("t=0x6a26,v1=" + V1, "malformed_header", id="t in hex"),
    pytest.param(f"t= 12_3 ,v1={V1}", "malformed_header", id="t with an underscore"),
    pytest.param(f"t= {T},v1={V1}", "malformed_header", id="a space after t="),
    pytest.param(f"t ={T},v1={V1}", "malformed_header", id="a space before ="),
    pytest.param(f"t=={T},v1={V1}", "malformed_header", id="two equals signs"),
    pytest.param(f"t={T};v1={V1}", "malformed_header", id="a semicolon for the comma"),
    pytest.param(f"t={'1' * 13},v1={V1}", "malformed_header", id="13 digits"),
    pytest.param(f"t={'1' * 400},v1={V1}", "malformed_header", id="400 digits"),
    pytest.param(f"t={'1' * 4000},v1={V1}", "malformed_header", id="4,000 digits"),
    pytest.param(f"t={digits(0x0660)},v1={V1}", "malformed_header", id="Arabic-Indic digits"),
    pytest.param(f"t={digits(0xFF10)},v1={V1}", "malformed_header", id="full-width digits"),
    pytest.param(f"t=178092000²,v1={V1}", "malformed_header", id="superscript digits"),
    pytest.param(f"t=nan,v1={V1}", "malformed_header", id="NaN"),
    # No usable v1.
    pytest.param(f"t={T}", "malformed_header", id="v1 missing"),
    pytest.param(f"t={T},v1", "malformed_header", id="v1 without a value"),
    pytest.param(f"t={T},v1=", "malformed_header", id="v1 empty"),
    pytest.param(f"t={T},v0={V1},v2={V1}", "malformed_header", id="only other schemes"),
    pytest.param(f"t={T},V1={V1}", "malformed_header", id="v1 named in capitals"),
    pytest.param(f"t={T},v1={V1.upper()}", "malformed_header", id="v1 in capitals"),
    pytest.param(f"t={T},v1={V1[:-1]}", "malformed_header", id="63 digits"),
    pytest.param(f"t={T},v1={V1}0", "malformed_header", id="65 digits"),
    pytest.param(f"t={T},v1=0x{V1[2:]}", "malformed_header", id="v1 with 0x"),
    pytest.param(f"t={T},v1={V1[:32]} {V1[32:]}", "malformed_header", id="a space within v1"),
    pytest.param(f"t={T},v1= {V1}", "malformed_header", id="a space after v1="),
    pytest.param(f"t={T},v1={' '.join(V1)}", "malformed_header", id="spaces between digits"),
    pytest.param(f'"t={T}","v1={V1}"', "malformed_header", id="in quotes"),
    pytest.param(f"t={T},v1={'é' * 64}", "malformed_header", id="v1 beyond Latin"),
    pytest.param(f"t={T},v1={V1[:-1]}\uff15", "malformed_header", id="v1 with a full-width digit"),
    pytest.param(f"t={T},v1={V1[:-1]}\ud835", "malformed_header", id="v1 with a lone surrogate"),
    # Whitespace and control characters that `strip`, `$` or `int` would accept.
    pytest.param(f"{HEADER}\n", "malformed_header", id="LF at the end"),
    pytest.param(f"{HEADER}\r\n", "malformed_header", id="CR LF at the end"),
    pytest.param(f"\n{HEADER}", "malformed_header", id="LF at the start"),
    pytest.param(f"t={T}\n,v1={V1}", "malformed_header", id="LF after t"),
    pytest.param(
        f"{HEADER},x=\r\nSet-Cookie: a", "malformed_header", id="CR LF in a further field"
    ),
    pytest.param(f"{HEADER},\x00", "malformed_header", id="NUL in a further field"),
    pytest.param(f"t={T},v1={V1}\x00", "malformed_header", id="NUL after v1"),
    pytest.param(f"t={T}\x00,v1={V1}", "malformed_header", id="NUL after t"),
    pytest.param(f"{HEADER}\x1f", "malformed_header", id="a separator at the end"),
    pytest.param(f"{HEADER}\x7f", "malformed_header", id="DEL at the end"),
    pytest.param(f"{HEADER}\x0b", "malformed_header", id="a vertical tab at the end"),
    pytest.param(f"{HEADER}\xa0", "malformed_header", id="a no-break space at the end"),
    pytest.param(f"{HEADER}\u2028", "malformed_header", id="a line separator at the end"),
    pytest.param(f"\ufeff{HEADER}", "malformed_header", id="a byte order mark"),
    # Size.
    pytest.param(
        f"{HEADER},{'x' * (4096 - len(HEADER))}", "malformed_header", id="4,097 characters"
    ),
    pytest.param(HEADER + f",v1={V1}" * 100_000, "malformed_header", id="7 MB of signatures"),
    pytest.param("," * 10**6, "malformed_header", id="a million commas"),
    pytest.param(b"\xff" * 10**6, "malformed_header", id="a million bytes"),
    # Bytes.
    pytest.param(HEADER.encode(), None, id="bytes as sent"),
    pytest.param(HEADER.encode() + b",v1=\xff", None, id="bytes with and a broken v1"),
    pytest.param(b"\xff\xfe", "malformed_header", id="bytes that are not UTF-8"),
    pytest.param(HEADER.encode() + b"\xff", "malformed_header", id="v1 with a stray byte"),
    pytest.param(HEADER.encode("utf-16"), "malformed_header", id="UTF-16"),
    # Well-formed.
    pytest.param(f"t={T},v1={'0' * 64}", "no_match", id="zeros"),
    pytest.param(f"t={T},v1={V1[:-1]}4", "no_match", id="last digit wrong"),
    pytest.param(f"t={T},v1=4{V1[1:]}", "no_match", id="first digit wrong"),
    pytest.param(f"t={T},v1={V1[::-1]}", "no_match", id="reversed"),
    pytest.param(f"t={T + 1},v1={V1}", "no_match", id="a second later"),
    pytest.param(f"t={'9' * 12},v1={V1}", "no_match", id="12 digits"),
]


@pytest.mark.parametrize(("header", "expected"), HEADERS)
def test_header(header: Any, expected: str | None) -> None:
    """A header verifies, or is refused for the documented reason."""
    assert expected == reason_for(signature_header=header)


@pytest.mark.parametrize("code", [*range(0x20), 0x7F], ids=lambda code: f"{code:#04x}")
def test_control_characters(code: int) -> None:
    """A control character other than the tab is refused anywhere in the header."""
    expected = None if chr(code) == "\t" else "malformed_header"
    assert expected == reason_for(signature_header=f"{HEADER},x={chr(code)}y")


class TestEvent:
    """The event that `construct_event` returns for a genuine delivery."""

    @staticmethod
    def deliver(body: str | bytes) -> Any:
        return construct_event(
            raw_body=body,
            signature_header=sign_webhook(raw_body=body, secret=SECRET, timestamp=T),
            secret=SECRET,
            now=NOW,
        )

    def test_typed(self) -> None:
        """The event equals the delivered object, and has typed properties."""
        event = construct_event(raw_body=BODY, signature_header=HEADER, secret=SECRET, now=NOW)
        assert json.loads(BODY) == event
        assert WebhookEvent is type(event)
        assert ("evt_01", "grant.created", "st_1", "game_1", NOW, 1) == (
            event.id,
            event.event_name,
            event.studio_id,
            event.game_id,
            event.occurred_at,
            event.delivery_attempt,
        )
        assert {"grantId": "gr_1", "note": "Zoë ✓"} == event.data

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"{}", id="empty object"),
            pytest.param(b' \n{"id": "evt_1"}\t', id="whitespace around"),
            pytest.param(b'{"eventName":"season.rolled"}', id="unknown event"),
            pytest.param(b'{"id":null,"data":[],"items":1,"extra":{"a":1}}', id="odd fields"),
            pytest.param(b'{"id":"\\ud800"}', id="an escaped lone surrogate"),
            pytest.param(b'{"n":1e999}', id="a number beyond a double"),
            pytest.param('{"id":"Zoë"}', id="str"),
        ],
    )
    def test_tolerant(self, body: str | bytes) -> None:
        """An event may have unknown, odd and absent fields."""
        assert json.loads(body) == self.deliver(body)

    def test_duplicate_names(self) -> None:
        """Of two fields with one name the last counts, as in JavaScript."""
        assert {"id": "b"} == self.deliver(b'{"id":"a","id":"b"}')

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b" ", id="blank"),
            pytest.param(b"not json", id="text"),
            pytest.param(b"[]", id="array"),
            pytest.param(b'"{}"', id="string"),
            pytest.param(b"1", id="number"),
            pytest.param(b"null", id="null"),
            pytest.param(BODY[:-1], id="truncated"),
            pytest.param(BODY + b"{}", id="two objects"),
            pytest.param(b"{'id':1}", id="single quotes"),
            pytest.param(b'{"n":NaN}', id="NaN"),
            pytest.param(b'{"n":-Infinity}', id="minus infinity"),
            pytest.param(b'{"id":"\n"}', id="a raw newline in a string"),
            pytest.param(b'{"id":"\xff"}', id="not UTF-8"),
            pytest.param(b'{"id":"\xed\xa0\x80"}', id="an encoded surrogate"),
            pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
            pytest.param("{}".encode("utf-16"), id="UTF-16"),
            pytest.param("{}".encode("utf-32-le"), id="UTF-32"),
            pytest.param(b"\x00", id="NUL"),
            pytest.param(b'{"a":' * 200_000 + b"1" + b"}" * 200_000, id="nested too deeply"),
            pytest.param(b'{"a":' + b"[" * 200_000, id="opened too often"),
            pytest.param(
                b'{"n":' + b"9" * 100_000 + b"}",
                id="a number of 100,000 digits",
                marks=pytest.mark.skipif(
                    not hasattr(sys, "get_int_max_str_digits"), reason="no limit on this Python"
                ),
            ),
        ],
    )
    def test_invalid_payload(self, body: bytes) -> None:
        """A genuine body that is not a JSON object is refused as `invalid_payload`."""
        with pytest.raises(WebhookVerificationError) as caught:
            self.deliver(body)
        assert "invalid_payload" == caught.value.reason

    def test_forged_body_is_not_parsed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A body is not parsed before its signature has been verified."""

        def parse(*_: object, **__: object) -> object:
            raise AssertionError("parsed")

        monkeypatch.setattr(json, "loads", parse)
        assert "no_match" == reason_for(raw_body=b'{"a":' * 200_000)

    def test_models_load_lazily(self) -> None:
        """Verifying a webhook does not load the generated models."""
        program = (
            "import sys; from kraty_admin.webhooks import verify_webhook;"
            "verify_webhook(raw_body=b'', signature_header='t=1,v1=' + '0' * 64, secret='s');"
            "print('kraty_server_api.models' in sys.modules)"
        )
        ran = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert "False" == ran.stdout.strip()


class TestSign:
    """`sign_webhook`, whose signatures `TestKnownAnswers` covers."""

    @pytest.mark.parametrize(
        ("timestamp", "expected"),
        [
            pytest.param(T, T, id="seconds"),
            pytest.param(NOW, T, id="datetime"),
            pytest.param(NOW + timedelta(seconds=0.999999), T, id="datetime cut to seconds"),
            pytest.param(NOW.astimezone(timezone(timedelta(hours=9))), T, id="another time zone"),
            pytest.param(0, 0, id="the epoch"),
            pytest.param(999_999_999_999, 999_999_999_999, id="12 digits"),
            pytest.param(None, 2_000_000_000, id="the system's clock"),
        ],
    )
    def test_timestamp(
        self, monkeypatch: pytest.MonkeyPatch, timestamp: Any, expected: int
    ) -> None:
        """The timestamp is written in whole seconds, and the signature verifies at that time."""
        monkeypatch.setattr(time, "time", lambda: 2_000_000_000.75)
        header = sign_webhook(raw_body=BODY, secret=SECRET, timestamp=timestamp)
        assert header.startswith(f"t={expected},v1=")
        monkeypatch.setattr(time, "time", lambda: float(expected))
        assert verify_webhook(raw_body=BODY, signature_header=header, secret=SECRET)

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            pytest.param({"timestamp": -1}, ValueError, id="before the epoch"),
            pytest.param({"timestamp": 10**12}, ValueError, id="13 digits"),
            pytest.param(
                {"timestamp": datetime(1969, 1, 1, tzinfo=timezone.utc)}, ValueError, id="1969"
            ),
            pytest.param({"timestamp": NOW.replace(tzinfo=None)}, ValueError, id="naive"),
            pytest.param({"timestamp": True}, TypeError, id="a bool"),
            pytest.param({"timestamp": 1.5}, TypeError, id="a float"),
            pytest.param({"timestamp": "1"}, TypeError, id="a str"),
            pytest.param({"secret": ""}, ValueError, id="empty secret"),
            pytest.param({"secret": SECRET + "\n"}, ValueError, id="a line break"),
            pytest.param({"secret": [SECRET]}, TypeError, id="several secrets"),
            pytest.param({"raw_body": None}, TypeError, id="no body"),
            pytest.param({"raw_body": {}}, TypeError, id="a dict"),
            pytest.param({"raw_body": "\ud800"}, ValueError, id="a lone surrogate"),
        ],
    )
    def test_mistakes(self, changes: dict[str, Any], expected: type[Exception]) -> None:
        """Arguments that cannot be signed are refused."""
        arguments: dict[str, Any] = {"raw_body": BODY, "secret": SECRET, **changes}
        with pytest.raises(expected):
            sign_webhook(**arguments)


NEITHER: Final = "signature_header must be .* not "

MISTAKES: Final[list[Any]] = [
    pytest.param({"secret": ""}, ValueError, "empty", id="empty secret"),
    pytest.param({"secret": " \n"}, ValueError, "empty", id="blank secret"),
    pytest.param({"secret": CANARY + "\n"}, ValueError, "line break", id="line break after"),
    pytest.param({"secret": " " + CANARY}, ValueError, "white space", id="space before"),
    pytest.param({"secret": CANARY + "\xa0"}, ValueError, "white space", id="no-break space"),
    pytest.param({"secret": [SECRET, CANARY + "\r\n"]}, ValueError, "line break", id="in a list"),
    pytest.param({"secret": f'"{CANARY}"'}, ValueError, "quote", id="in quotes"),
    pytest.param({"secret": "'" + CANARY}, ValueError, "quote", id="quote before"),
    pytest.param({"secret": CANARY + "\u201d"}, ValueError, "quote", id="curly quote after"),
    pytest.param({"secret": "\ufeff" + CANARY}, ValueError, "order mark", id="byte order mark"),
    pytest.param({"secret": []}, ValueError, "at least one", id="empty list"),
    pytest.param({"secret": ()}, ValueError, "at least one", id="empty tuple"),
    pytest.param({"secret": [CANARY, ""]}, ValueError, "empty", id="a list with an empty secret"),
    pytest.param({"secret": ["", CANARY]}, ValueError, "empty", id="empty secret first"),
    pytest.param({"secret": CANARY + "\udcff"}, ValueError, "UTF-8", id="lone surrogate"),
    pytest.param({"secret": None}, TypeError, "NoneType", id="no secret"),
    pytest.param({"secret": CANARY.encode()}, TypeError, "not bytes", id="secret in bytes"),
    pytest.param({"secret": b""}, TypeError, "not bytes", id="empty secret in bytes"),
    pytest.param({"secret": bytearray(b"s")}, TypeError, "not bytearray", id="secret in bytearray"),
    pytest.param({"secret": [CANARY.encode()]}, TypeError, "not bytes", id="list of bytes"),
    pytest.param({"secret": [CANARY, None]}, TypeError, "NoneType", id="list with None"),
    pytest.param({"secret": [CANARY, [CANARY]]}, TypeError, "not list", id="list in a list"),
    pytest.param({"secret": {CANARY}}, TypeError, "set", id="set of secrets"),
    pytest.param({"secret": {CANARY: 1}}, TypeError, "dict", id="dict of secrets"),
    pytest.param({"secret": 1}, TypeError, "int", id="secret that is a number"),
    pytest.param({"signature_header": [HEADER]}, TypeError, NEITHER + "list", id="header list"),
    pytest.param({"signature_header": []}, TypeError, NEITHER + "list", id="empty header list"),
    pytest.param({"signature_header": T}, TypeError, NEITHER + "int", id="header a number"),
    pytest.param({"signature_header": 0}, TypeError, NEITHER + "int", id="header zero"),
    pytest.param({"signature_header": object()}, TypeError, NEITHER + "object", id="any header"),
    pytest.param({"tolerance_seconds": -1}, ValueError, "zero", id="negative tolerance"),
    pytest.param({"tolerance_seconds": -0.1}, ValueError, "zero", id="tolerance below zero"),
    pytest.param({"tolerance_seconds": float("nan")}, ValueError, "zero", id="NaN tolerance"),
    pytest.param({"tolerance_seconds": float("-inf")}, ValueError, "zero", id="-inf tolerance"),
    pytest.param({"tolerance_seconds": True}, TypeError, "bool", id="tolerance True"),
    pytest.param({"tolerance_seconds": "300"}, TypeError, "str", id="tolerance in text"),
    pytest.param({"tolerance_seconds": None}, TypeError, "NoneType", id="tolerance None"),
    pytest.param({"now": NOW.replace(tzinfo=None)}, ValueError, "time zone", id="naive now"),
    pytest.param({"now": T}, TypeError, "int", id="now in seconds"),
    pytest.param({"now": NOW.date()}, TypeError, "date", id="now a date"),
    pytest.param({"raw_body": json.loads(BODY)}, TypeError, "raw bytes", id="parsed body"),
    pytest.param({"raw_body": [1, 2]}, TypeError, "raw bytes", id="body in a list"),
    pytest.param({"raw_body": 5}, TypeError, "raw bytes", id="body a number"),
]


def frames_of(error: BaseException) -> str:
    """Return the error as a tracker records it: the frames below the test's, with their locals."""
    assert error.__traceback__ is not None
    within = error.__traceback__.tb_next
    report = traceback.TracebackException(type(error), error, within, capture_locals=True)
    shown = "".join(report.format())
    assert "signature_header = " in shown  # so locals were captured
    return shown


@pytest.mark.parametrize("function", [verify_webhook, construct_event])
@pytest.mark.parametrize("header", [HEADER, "junk", None], ids=["right", "broken", "missing"])
@pytest.mark.parametrize("now", [NOW, None], ids=["now", "clock"])
@pytest.mark.parametrize(("changes", "expected", "says"), MISTAKES)
def test_mistakes_of_the_receiver(
    function: Any,
    header: str | None,
    now: datetime | None,
    changes: dict[str, Any],
    expected: type[Exception],
    says: str,
) -> None:
    """A wrong argument raises on every delivery, and no frame of ours shows the secret."""
    arguments = {
        "raw_body": BODY,
        "signature_header": header,
        "secret": CANARY,
        "now": now,
        **changes,
    }
    with pytest.raises(expected, match=says) as caught:
        function(**arguments)
    assert type(caught.value) is expected
    assert None is caught.value.__context__
    assert CANARY not in f"{caught.value!r} {frames_of(caught.value)}"


V1_BY_CANARY: Final = "09ba21594f0f0327bf7675dee1f7c0c66633bd980aa78296c3025c28bdaee189"
V1_OF_A_BRACKET: Final = "2e472fd235fae49f38d0ce613de5e2b74fcd12f0b3c5a6ae3af6edbf40b1fef6"


@pytest.mark.parametrize("fails", ["copy", "compare_digest", "time"])
def test_failures_within(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """If a step fails or is interrupted, no frame of ours shows the secret."""

    def fail(*_: object) -> None:
        raise InterruptedError

    owner = {"copy": hmac.HMAC, "compare_digest": hmac, "time": time}[fails]
    monkeypatch.setattr(owner, fails, fail)
    with pytest.raises(InterruptedError) as caught:
        verify_webhook(raw_body=BODY, signature_header=f"t={T},v1={V1_BY_CANARY}", secret=CANARY)
    assert CANARY not in frames_of(caught.value)


REFUSALS: Final[list[Any]] = [
    pytest.param({"signature_header": None}, "missing_header", id="missing_header"),
    pytest.param({"signature_header": "t=1"}, "malformed_header", id="malformed_header"),
    pytest.param({"secret": CANARY}, "no_match", id="no_match"),
    pytest.param({"now": NOW + timedelta(hours=1)}, "too_old", id="too_old"),
    pytest.param({"now": NOW - timedelta(hours=1)}, "too_new", id="too_new"),
    pytest.param(
        {"raw_body": b"[", "signature_header": f"t={T},v1={V1_OF_A_BRACKET}"},
        "invalid_payload",
        id="invalid_payload",
    ),
]


class TestError:
    """`WebhookVerificationError` as `construct_event` raises it."""

    @staticmethod
    def refusal(changes: dict[str, Any]) -> WebhookVerificationError:
        arguments: dict[str, Any] = {
            "raw_body": BODY,
            "signature_header": HEADER,
            "secret": [SECRET, OTHER_SECRET],
            "now": NOW,
        }
        with pytest.raises(WebhookVerificationError) as caught:
            construct_event(**{**arguments, **changes})
        return caught.value

    def test_all_reasons_are_covered(self) -> None:
        """The cases below cover all documented reasons."""
        assert set(ALL_REASONS) == {case.values[1] for case in REFUSALS}

    @pytest.mark.parametrize(("changes", "reason"), REFUSALS)
    def test_fields(self, changes: dict[str, Any], reason: str) -> None:
        """The error has a documented reason and a message."""
        error = self.refusal(changes)
        assert isinstance(error, KratyError)
        assert reason == error.reason
        assert str(error) == error.message != ""

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize(("changes", "reason"), REFUSALS)
    def test_pickle(self, changes: dict[str, Any], reason: str, protocol: int) -> None:
        """The error pickles with all its fields."""
        error = self.refusal(changes)
        again = pickle.loads(pickle.dumps(error, protocol))
        assert (type(error), reason, error.message, str(error)) == (
            type(again),
            again.reason,
            again.message,
            str(again),
        )

    @pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy])
    def test_copy(self, copying: Any) -> None:
        """The error copies with all its fields."""
        again = copying(self.refusal({"signature_header": None}))
        assert "missing_header" == again.reason

    @pytest.mark.parametrize(("changes", "reason"), REFUSALS)
    def test_secret_stays_out(self, changes: dict[str, Any], reason: str) -> None:
        """Neither the error nor the locals of our frames show the secret."""
        # One secret to look for; all but one case need the one that signed.
        changes = {"secret": SECRET, **changes}
        error = self.refusal(changes)
        assert changes["secret"] not in frames_of(error) + repr(error) + repr(vars(error))
        assert reason == error.reason

    @pytest.mark.parametrize(("changes", "reason"), REFUSALS)
    def test_not_chained(self, changes: dict[str, Any], reason: str) -> None:
        """The error has no cause or context, which could hold the body."""
        error = self.refusal(changes)
        assert (None, None, reason) == (error.__cause__, error.__context__, error.reason)


def receiver() -> FastAPI:
    """Return the receiver of the documentation."""
    app = FastAPI()

    @app.post("/kraty/webhook")
    async def kraty_webhook(request: Request) -> dict[str, bool]:  # pyright: ignore[reportUnusedFunction]
        try:
            event = construct_event(
                raw_body=await request.body(),
                signature_header=request.headers.get("x-signature"),
                secret=SECRET,
            )
        except WebhookVerificationError:
            raise HTTPException(status_code=401) from None
        return {"ok": event["id"] == "evt_01"}

    return app


def signed_now() -> dict[str, Any]:
    """Return the headers of a fresh delivery: one signed at collection would be too old in a long
    run."""
    return {"X-Signature": sign_webhook(raw_body=BODY, secret=SECRET)}


@pytest.mark.parametrize(
    ("make_headers", "expected"),
    [
        pytest.param(signed_now, 200, id="right"),
        pytest.param(lambda: {"X-Signature": HEADER.replace("3f", "3e")}, 401, id="forged"),
        pytest.param(lambda: {"X-Signature": b"t=1,v1=\xff\xc3"}, 401, id="beyond ASCII"),
        pytest.param(dict, 401, id="missing"),
    ],
)
def test_fastapi(make_headers: Callable[[], dict[str, Any]], expected: int) -> None:
    """The documented receiver answers 200 or 401, never 500."""
    headers = make_headers()

    async def deliver() -> httpx.Response:
        transport = httpx.ASGITransport(app=receiver(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
            return await client.post("/kraty/webhook", content=BODY, headers=headers)

    assert expected == asyncio.run(deliver()).status_code
