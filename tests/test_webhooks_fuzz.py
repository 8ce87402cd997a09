"""Webhooks with hostile input, which gets only documented answers."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, Final, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraty_admin.errors import WebhookVerificationError, WebhookVerificationReason
from kraty_admin.webhooks import construct_event, sign_webhook, verify_webhook
from kraty_server_api.models import WebhookEvent

SECRET: Final = "whsec_fuzz"
T: Final = 1780920000
NOW: Final = datetime(2026, 6, 8, 12, tzinfo=timezone.utc)
BODY: Final = b'{"id":"evt_1","eventName":"grant.created","data":{"amount":500}}'
V1: Final = "4a0751555272c5d912f29061b06af1086a235763538997ed6d440cb4719eb124"
HEADER: Final = f"t={T},v1={V1}"
V1_AT: Final = HEADER.index("v1=") + 3
EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
LAST_SECOND: Final = (datetime.max.replace(tzinfo=timezone.utc) - EPOCH) // timedelta(seconds=1)
REASONS: Final[frozenset[str]] = frozenset(get_args(WebhookVerificationReason))


def answer(
    raw_body: str | bytes, header: str | bytes | None, secret: str | list[str] = SECRET
) -> str | None:
    """Return why the delivery is refused, after checking that the answer is a documented one."""
    delivery: dict[str, Any] = {
        "raw_body": raw_body,
        "signature_header": header,
        "secret": secret,
        "now": NOW,
    }
    error: WebhookVerificationError | None = None
    try:
        event = construct_event(**delivery)
    except WebhookVerificationError as err:
        error = err
    else:
        assert isinstance(event, WebhookEvent)
    assert error is None or error.reason in REASONS
    assert SECRET not in str(error)
    reason = error.reason if error is not None else None
    genuine = reason in (None, "invalid_payload")
    assert genuine is verify_webhook(**delivery)
    # The fast path serves only calls without `now`.
    delivery["now"] = None
    assert genuine is verify_webhook(**delivery)
    return reason


@pytest.fixture(autouse=True, scope="module")
def clock() -> Iterator[None]:
    """Stop the clock at `NOW`, for calls without `now`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kraty_admin.webhooks.time", SimpleNamespace(time=NOW.timestamp))
        yield


# Text with lone surrogates, which `st.text()` leaves out.
any_text = st.text(st.characters())
bodies = st.one_of(st.binary(max_size=200), any_text)
secrets = st.text(min_size=1, max_size=80).filter(
    lambda secret: secret.strip() == secret == secret.strip("\"'`\u2018\u2019\u201c\u201d\ufeff")
)

# What a header can be made of to look nearly right.
SCRAPS: Final = (
    *("t", "v1", "v0", "t=", "v1=", "=", ",", " ", "\t", "-", "+", "_", ".", ";", '"', "é"),
    *(str(T), f"t={T}", V1, f"v1={V1}", V1.upper(), V1[:-1], "0" * 64, "1" * 400),
    *("\n", "\r", "\x00", "\x85", "\xa0", "\u0661", "\ud800", "\uff11", "\ufeff"),
)
scraps = st.sampled_from(SCRAPS)


@st.composite
def altered(draw: st.DrawFn) -> str:
    """Return the right header with something cut out or put in, or both."""
    at = draw(st.integers(0, len(HEADER)))
    cut = draw(st.integers(0, 8))
    return HEADER[:at] + draw(scraps | any_text) + HEADER[at + cut :]


near_headers = st.one_of(st.lists(scraps, max_size=12).map("".join), altered())

json_values: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


class TestArbitrary:
    """Input of every kind, most of it junk."""

    @given(bodies, st.one_of(st.none(), any_text, st.binary()))
    @settings(max_examples=200, deadline=None)
    def test_junk(self, body: str | bytes, header: str | bytes | None) -> None:
        """Random bodies and headers are refused."""
        assert answer(body, header) in {"missing_header", "malformed_header", "no_match"}

    @given(bodies, near_headers)
    @settings(max_examples=300, deadline=None)
    def test_near_misses_over_other_bodies(self, body: str | bytes, header: str) -> None:
        """A header that resembles the right one does not match another body."""
        raw = body.encode("utf-8", "replace") if isinstance(body, str) else body
        if raw != BODY:
            assert answer(body, header) in {"missing_header", "malformed_header", "no_match"}

    @given(near_headers)
    @settings(max_examples=300, deadline=None)
    def test_near_misses_pass_only_with_both_parts(self, header: str) -> None:
        """A header verifies only if it holds the right `t` and `v1`."""
        if answer(BODY, header) is None:
            assert f"t={T}" in header
            assert f"v1={V1}" in header

    @given(near_headers)
    @settings(max_examples=200, deadline=None)
    def test_bytes_are_latin_1(self, header: str) -> None:
        """A header in bytes gets the same answer as its Latin-1 text."""
        raw = header.encode("latin-1", "replace")
        assert answer(BODY, raw.decode("latin-1")) == answer(BODY, raw)

    @given(st.binary(max_size=300))
    @settings(max_examples=200, deadline=None)
    def test_signed_junk(self, body: bytes) -> None:
        """Any signed bytes verify, but only a JSON object is an event."""
        header = sign_webhook(raw_body=body, secret=SECRET, timestamp=T)
        assert answer(body, header) in {None, "invalid_payload"}


class TestGenuine:
    """Deliveries that must verify, whatever they hold."""

    @given(st.binary(max_size=200) | st.text(), secrets, st.integers(0, LAST_SECOND))
    @settings(max_examples=200, deadline=None)
    def test_round_trip(self, body: str | bytes, secret: str, t: int) -> None:
        """A signed body verifies at the time of signing, as text and as bytes."""
        header = sign_webhook(raw_body=body, secret=secret, timestamp=t)
        raw = body.encode() if isinstance(body, str) else body
        now = EPOCH + timedelta(seconds=t)
        assert [True, True] == [
            verify_webhook(raw_body=each, signature_header=header, secret=secret, now=now)
            for each in (body, raw)
        ]

    @given(st.dictionaries(st.text(max_size=10), json_values, max_size=4), st.booleans())
    @settings(max_examples=200, deadline=None)
    def test_payload_survives(self, payload: dict[str, object], ascii_only: bool) -> None:
        """The event equals the object that was sent."""
        body = json.dumps(payload, ensure_ascii=ascii_only)
        header = sign_webhook(raw_body=body, secret=SECRET, timestamp=T)
        event = construct_event(raw_body=body, signature_header=header, secret=SECRET, now=NOW)
        assert payload == event

    @given(
        st.lists(
            st.sampled_from(["t", "right", "zeros", "broken", "v0", "junk", "empty"]), max_size=8
        ),
        st.lists(st.sampled_from(["", " ", "\t", "  "]), min_size=16, max_size=16),
        st.permutations([SECRET, "whsec_x", "whsec_y"]),
    )
    @settings(max_examples=200, deadline=None)
    def test_grammar(self, kinds: list[str], spaces: list[str], ring: list[str]) -> None:
        """The answer depends only on how many fields of each kind the header has."""
        text = {
            "t": f"t={T}",
            "right": f"v1={V1}",
            "zeros": f"v1={'0' * 64}",
            "broken": f"v1={V1[1:]}",
            "v0": f"v0={V1}",
            "junk": "junk",
            "empty": "",
        }
        fields = [spaces[2 * i] + text[kind] + spaces[2 * i + 1] for i, kind in enumerate(kinds)]
        header = ",".join(fields)
        expected: str | None
        if not header:
            expected = "missing_header"
        elif kinds.count("t") != 1 or not {"right", "zeros"} & set(kinds):
            expected = "malformed_header"
        else:
            expected = None if "right" in kinds else "no_match"
        assert expected == answer(BODY, header, ring)


def substitutions(raw: bytes, start: int, stop: int) -> list[bytes]:
    """Return all variants of `raw` with one byte in the range replaced by another."""
    return [
        raw[:at] + bytes([byte]) + raw[at + 1 :]
        for at in range(start, stop)
        for byte in range(256)
        if byte != raw[at]
    ]


class TestSingleByte:
    """All deliveries that differ from a genuine one in one byte."""

    @pytest.mark.parametrize(
        ("start", "stop"),
        [pytest.param(2, V1_AT - 4, id="t"), pytest.param(V1_AT, len(HEADER), id="v1")],
    )
    def test_header(self, start: int, stop: int) -> None:
        """A header with another byte in `t` or `v1` does not verify."""
        variants = substitutions(HEADER.encode(), start, stop)
        passed = [
            variant
            for variant in variants
            if verify_webhook(
                raw_body=BODY, signature_header=variant, secret=SECRET, tolerance_seconds=1e12
            )
        ]
        assert (255 * (stop - start), []) == (len(variants), passed)

    def test_body(self) -> None:
        """A body with another byte does not verify."""
        variants = substitutions(BODY, 0, len(BODY))
        passed = [
            variant
            for variant in variants
            if verify_webhook(raw_body=variant, signature_header=HEADER, secret=SECRET, now=NOW)
        ]
        assert (255 * len(BODY), []) == (len(variants), passed)

    @given(st.binary(min_size=1, max_size=300), st.data())
    @settings(max_examples=200, deadline=None)
    def test_any_body(self, body: bytes, data: st.DataObject) -> None:
        """A body with a byte changed, added or removed does not verify."""
        header = sign_webhook(raw_body=body, secret=SECRET, timestamp=T)
        at = data.draw(st.integers(0, len(body) - 1))
        byte = data.draw(st.integers(0, 255))
        variants = {
            body[:at] + bytes([byte]) + body[at + 1 :],
            body[:at] + bytes([byte]) + body[at:],
            body[:at] + body[at + 1 :],
        } - {body}
        assert {"no_match"} == {answer(variant, header) for variant in variants}

    @pytest.mark.parametrize("at", range(len(SECRET)))
    def test_secret(self, at: int) -> None:
        """A secret with another character does not verify the delivery."""
        near = SECRET[:at] + chr(ord(SECRET[at]) ^ 1) + SECRET[at + 1 :]
        assert "no_match" == answer(BODY, HEADER, near)


def hostile(rng: random.Random) -> str | bytes:
    """Return a header that must be refused, made from the right one or from nothing."""
    t, v1 = str(T), V1

    def spoil(text: str) -> str:
        at = rng.randrange(len(text))
        other = chr(rng.choice([rng.randrange(128), rng.randrange(0x3000)]))
        return text[:at] + (other if other != text[at] else "") + text[at + 1 :]

    def spoiled_t() -> str:
        return f"t={spoil(t)},v1={v1}"

    def spoiled_v1() -> str:
        return f"t={t},v1={spoil(v1)}"

    def forged() -> str:
        return f"t={t}" + f",v1={rng.getrandbits(256):064x}" * rng.randint(1, 8)

    def twice() -> str:
        fields = [f"t={t}", f"v1={v1}", f"t={spoil(t)}"]
        rng.shuffle(fields)
        return ",".join(fields)

    def truncated() -> str:
        return HEADER[: rng.randrange(len(HEADER))]

    def controlled() -> str:
        at = rng.randint(0, len(HEADER))
        return HEADER[:at] + rng.choice("\x00\n\r\x0b\x1f\x7f") + HEADER[at:]

    def digits() -> str:
        zero = rng.choice([0x0660, 0x06F0, 0x0966, 0xFF10])
        return f"t={''.join(chr(zero + int(digit)) for digit in t)},v1={v1}"

    def long() -> str:
        return f"{HEADER},{'x' * rng.randint(4096, 9999)}"

    def many_digits() -> str:
        return f"t={'1' * rng.randint(13, 400)},v1={v1}"

    def noise() -> bytes:
        return rng.randbytes(rng.randrange(200))

    kinds: list[Callable[[], str | bytes]] = [
        *(spoiled_t, spoiled_v1, forged, twice, truncated, controlled),
        *(digits, long, many_digits, noise),
    ]
    return rng.choice(kinds)()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hostile_headers(seed: int) -> None:
    """None of 5,000 hostile headers verifies, and each kind of refusal occurs."""
    rng = random.Random(seed)
    answers = Counter(answer(BODY, hostile(rng)) for _ in range(5_000))
    assert 5_000 == answers.total()
    assert {"missing_header", "malformed_header", "no_match"} == set(answers)
