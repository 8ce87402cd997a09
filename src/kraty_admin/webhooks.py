"""Verify the webhooks that Kraty delivers, and sign some to test a receiver.

A delivery names its time and its signature in one header:

    X-Signature: t=<unix seconds>,v1=<hex>

where v1 is the HMAC-SHA256, keyed with the endpoint's secret, of `t`, a dot and
the body as it was sent. The key is the secret's UTF-8 bytes, including the `whsec_`
prefix; nothing is decoded.

Reading the header:

- Fields are separated by commas, optionally with spaces or tabs around them.
- `t` appears once, as 1 to 12 ASCII digits. The signature covers the digits as they
  were sent, so `t=007` is not `t=7`.
- `v1` may be repeated while a secret is being rotated; one match is enough. Values that
  are not 64 lower-case hex digits are ignored. A header without a valid `v1` is
  malformed.
- Fields with other names, such as `v0` or `v2`, are ignored.
- A header with more than 4,096 characters, or with a control character other than the
  tab, is malformed.

The signature is checked before the age. So only a correctly signed delivery is reported
as too old or too new, and a forger learns nothing about the receiver's clock or window.
"""

from __future__ import annotations

import hmac
import json
import math
import re
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn, cast

from kraty_admin.errors import WebhookVerificationError, WebhookVerificationReason

if TYPE_CHECKING:
    from kraty_server_api.models import WebhookEvent

__all__ = ["construct_event", "sign_webhook", "verify_webhook"]

_HEADER_LIMIT: Final = 4096
"""In characters. This is enough for about sixty signatures; a rotation needs two."""

_MAX_AHEAD: Final = 60
"""How many seconds a delivery's time may be ahead of our clock."""

_MAX_TIME: Final = 999_999_999_999
"""The largest number of twelve digits."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)

# Used with `fullmatch`, because `$` would allow a final newline. They list the digits,
# because `\d` and `int` also accept those of other scripts. Capitals are not accepted, so
# that a digest has only one spelling.
_USUAL: Final = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")
# Few headers need these, so they are compiled when they are used.
_TIME: Final = r"[0-9]{1,12}"
_SIGNATURE: Final = r"[0-9a-f]{64}"
_CONTROL: Final = r"[\x00-\x08\x0a-\x1f\x7f]"

_BYTES: Final = (bytes, bytearray, memoryview)

_STRAY: Final = "\"'`\u2018\u2019\u201c\u201d\ufeff"
"""Quotes and the byte order mark. At the ends of a secret, they come from a file or a shell."""

_MESSAGES: Final[dict[WebhookVerificationReason, str]] = {
    "missing_header": "the delivery carries no signature header",
    "malformed_header": (
        "the signature header is not 't=<unix seconds>,v1=<64 lower-case hex digits>'"
    ),
    "no_match": (
        "no signature matches: another secret signed this body, or it is not"
        " byte for byte the body that was signed"
    ),
    "too_old": "the delivery is correctly signed, but older than tolerance_seconds",
    "too_new": f"the delivery is correctly signed, but more than {_MAX_AHEAD} s ahead of the clock",
    "invalid_payload": "signature and time are valid, but the body is not a JSON object in UTF-8",
}


def verify_webhook(
    *,
    raw_body: str | bytes | bytearray | memoryview | None,
    signature_header: str | bytes | None,
    secret: str | Sequence[str],
    tolerance_seconds: float = 300,
    now: datetime | None = None,
) -> bool:
    """Check that a delivery was signed with your secret, and recently.

    No body or header that a sender can choose raises an error: the result is True or False.
    A mistake in your own code raises TypeError or ValueError, so that you do not
    mistake it for a forged delivery.

    To learn why a delivery was rejected, or to get the event, use `construct_event`.

    Args:
        raw_body: The request's body as it arrived, before any parsing: encoding parsed
            JSON again gives different bytes. A `str` stands for its UTF-8 bytes.
            `None`, which some API gateways pass for an empty body, is rejected.
        signature_header: The value of `X-Signature`; `None` or empty if there was none.
            `bytes` are read as Latin-1, as web frameworks read them.
        secret: The endpoint's secret, or several while one is being rotated; any of
            them may have signed.
        tolerance_seconds: The maximum age of a delivery, in seconds, inclusive. Raise it if
            your deliveries wait in a queue; `float("inf")` disables the protection against
            replays. A delivery may always be up to 60 seconds ahead of the clock, inclusive.
        now: The time to compare with, as an aware datetime. Default: the current time. It is
            truncated to whole seconds, like the sender's `t`: with a tolerance of 300, no
            delivery is rejected before it is 300 seconds old, and none passes at 301.

    Returns:
        True if the signature matches and the age is within bounds, otherwise False.

    Raises:
        TypeError: An argument has the wrong type. For example, `raw_body` has been parsed, or
            `signature_header` is a list.
        ValueError: A secret is empty, or begins or ends with white space, a quote or a
            byte order mark; there is no secret; `tolerance_seconds` is negative or NaN;
            or `now` has no time zone.

    Example:
        With FastAPI:

            @app.post("/kraty/webhook")
            async def kraty_webhook(request: Request) -> dict[str, bool]:
                raw = await request.body()
                if not verify_webhook(
                    raw_body=raw,
                    signature_header=request.headers.get("x-signature"),
                    secret=os.environ["KRATY_WEBHOOK_SECRET"],
                ):
                    raise HTTPException(status_code=401)
                await queue.put(raw)
                return {"ok": True}
    """
    # Fast path for the usual call. Mistakes fall through to the code below, which explains
    # them.
    if (
        now is None
        and type(secret) is str
        and type(raw_body) is bytes
        and type(signature_header) is str
        and type(tolerance_seconds) is int
        and tolerance_seconds >= 0
        and not isinstance(usual_key := _keyed(secret), str)
        and (usual := _USUAL.fullmatch(signature_header)) is not None
    ):
        del secret
        time_text, signature = usual.groups()
        if not hmac.compare_digest(_sign(usual_key, time_text, raw_body), signature):
            return False
        return -_MAX_AHEAD <= math.floor(time.time()) - int(time_text) <= tolerance_seconds
    keys = _keys(secret)
    # Error trackers record the locals of every frame that an error passes through.
    del secret
    if isinstance(keys, Exception):
        raise keys
    body = _bytes(raw_body)
    header = _text(signature_header)
    reason = _check(body, header, keys, _window(tolerance_seconds), _unix(now))
    return reason is None


def construct_event(
    *,
    raw_body: str | bytes | bytearray | memoryview | None,
    signature_header: str | bytes | None,
    secret: str | Sequence[str],
    tolerance_seconds: float = 300,
    now: datetime | None = None,
) -> WebhookEvent:
    """Verify a delivery and return its event.

    The event is the delivered JSON object, a dict with typed properties. Any object
    is accepted, even with unknown event names, new fields or missing fields. A repeated delivery
    keeps its `id` and has a higher `delivery_attempt`: handle each `id` once.

    Args:
        raw_body: The request's body as it arrived, before any parsing; `None` is rejected.
        signature_header: The value of `X-Signature`; `None` or empty if there was none.
        secret: The endpoint's secret, or several while one is being rotated.
        tolerance_seconds: The maximum age of a delivery, in seconds, inclusive.
        now: The time to compare with, as an aware datetime. Default: the current time.
            `verify_webhook` explains each argument in more detail.

    Returns:
        The event.

    Raises:
        WebhookVerificationError: The delivery is rejected. The error's `reason` is one of

            - `missing_header`: there is no header;
            - `malformed_header`: the header does not have the form
              `t=<unix seconds>,v1=<hex>`;
            - `no_match`: no signature matches this body with any of the secrets;
            - `too_old`, `too_new`: the signature matches, but the time is out of bounds;
            - `invalid_payload`: signature and time are valid, but the body is not a JSON
              object in UTF-8.

            Log the reason, and answer the sender with a plain 401.
        TypeError, ValueError: An argument is invalid, as for `verify_webhook`.

    Example:
        With FastAPI:

            @app.post("/kraty/webhook")
            async def kraty_webhook(request: Request) -> dict[str, bool]:
                try:
                    event = construct_event(
                        raw_body=await request.body(),
                        signature_header=request.headers.get("x-signature"),
                        secret=os.environ["KRATY_WEBHOOK_SECRET"],
                    )
                except WebhookVerificationError as err:
                    log.warning("webhook rejected: %s", err.reason)
                    raise HTTPException(status_code=401) from None
                if event.event_name == "grant.created":
                    await deliver(event.id, event.data)
                return {"ok": True}
    """
    keys = _keys(secret)
    del secret
    if isinstance(keys, Exception):
        raise keys
    body = _bytes(raw_body)
    header = _text(signature_header)
    reason = _check(body, header, keys, _window(tolerance_seconds), _unix(now))
    if reason is not None:
        _reject(reason)
    payload = _object(body)
    if payload is None:
        _reject("invalid_payload")

    # Imported here because most programs never receive a webhook.
    from kraty_server_api.models import WebhookEvent

    return WebhookEvent(payload)


def sign_webhook(
    *,
    raw_body: str | bytes | bytearray | memoryview,
    secret: str,
    timestamp: datetime | int | None = None,
) -> str:
    """Sign a body as Kraty does, to test a receiver.

    Args:
        raw_body: The body to send to the receiver; a `str` stands for its UTF-8 bytes.
        secret: The secret that the receiver verifies with.
        timestamp: The timestamp to sign: an aware datetime, which is truncated to whole
            seconds, or Unix seconds from 0 to 999,999,999,999. Default: the current time.

    Returns:
        The value for the `X-Signature` header.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The secret is empty, or begins or ends with white space, a quote or a
            byte order mark; the timestamp is out of range or has no time zone; or the
            text of the body or the secret cannot be encoded.

    Example:
        With FastAPI's test client:

            body = b'{"id": "evt_1", "eventName": "grant.created", "data": {}}'
            header = sign_webhook(raw_body=body, secret="whsec_test")
            response = client.post(
                "/kraty/webhook", content=body, headers={"X-Signature": header}
            )
    """
    key = _key(secret)
    del secret
    if isinstance(key, Exception):
        raise key
    if raw_body is None:  # pyright: ignore[reportUnnecessaryComparison]  # untyped callers may pass anything
        raise TypeError("raw_body must be the body to sign, not None")
    body = _bytes(raw_body)
    if body is None:
        raise ValueError(
            "raw_body must be text that UTF-8 can encode, but it holds a lone surrogate"
        )
    unix = _timestamp(timestamp)
    return f"t={unix},v1={_sign(key, str(unix), body)}"


def _check(
    body: bytes | None,
    header: str | None,
    keys: list[hmac.HMAC],
    tolerance: float,
    now: int,
) -> WebhookVerificationReason | None:
    """Return why a delivery is rejected, or `None` if it is valid.

    `body` is `None` if no signature can match it; `now` is in Unix seconds.
    """
    if not header:
        return "missing_header"
    parsed = _parse(header)
    if parsed is None:
        return "malformed_header"
    time_text, signatures = parsed
    if body is None or not _any_match(keys, time_text, body, signatures):
        return "no_match"
    age = now - int(time_text)
    if age > tolerance:
        return "too_old"
    if -age > _MAX_AHEAD:
        return "too_new"
    return None


def _parse(header: str) -> tuple[str, list[str]] | None:
    """Return the digits of `t` and the valid `v1` values; `None` if the header is malformed."""
    usual = _USUAL.fullmatch(header)
    if usual is not None:  # fast path: the rest would give the same
        return usual[1], [usual[2]]
    if len(header) > _HEADER_LIMIT or re.search(_CONTROL, header):
        return None
    times: list[str] = []
    signatures: list[str] = []
    for field in header.split(","):
        name, _, value = field.strip(" \t").partition("=")
        if name == "t":
            times.append(value)
        elif name == "v1" and re.fullmatch(_SIGNATURE, value):
            signatures.append(value)
    if len(times) != 1 or not re.fullmatch(_TIME, times[0]) or not signatures:
        return None
    return times[0], signatures


def _any_match(keys: list[hmac.HMAC], time_text: str, body: bytes, signatures: list[str]) -> bool:
    # Compare every pair even after a match, so that the time taken does not reveal which
    # secret or which signature matched.
    matched = False
    for key in keys:
        expected = _sign(key, time_text, body)
        for signature in signatures:
            matched |= hmac.compare_digest(expected, signature)
    return matched


def _sign(key: hmac.HMAC, time_text: str, body: bytes) -> str:
    digest = key.copy()
    digest.update(b"%b.%b" % (time_text.encode("ascii"), body))
    return digest.hexdigest()


def _object(body: bytes | None) -> dict[str, object] | None:
    """Parse a JSON object; return `None` if the body is anything else."""
    if body is None:
        return None  # pragma: no cover: for type checkers, since `_check` has rejected it
    # Decoded first, because `json.loads` would also accept UTF-16 and UTF-32. Its errors
    # are ValueErrors, even for a number with too many digits.
    try:
        value: object = json.loads(body.decode("utf-8"), parse_constant=_not_json)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _reject(reason: WebhookVerificationReason) -> NoReturn:
    raise WebhookVerificationError(_MESSAGES[reason], reason=reason)


# Arguments are checked at run time too. Otherwise a program without a type checker could
# reject every delivery, or accept any. No message quotes a value.


def _keys(secret: object) -> list[hmac.HMAC] | TypeError | ValueError:
    """Return the keys of one or several secrets, or the error to raise.

    The error is returned, because a traceback with locals would show the secret in each
    frame that the error passed through.
    """
    if isinstance(secret, str):
        key = _key(secret)
        return key if isinstance(key, Exception) else [key]
    kind = _type(secret)
    if isinstance(secret, _BYTES) or not isinstance(secret, Sequence):
        return TypeError(f"secret must be a str or a sequence of str, not {kind}")
    keys: list[hmac.HMAC] = []
    for each in cast("Sequence[object]", secret):
        key = _key(each)
        if isinstance(key, Exception):
            return key
        keys.append(key)
    return keys or ValueError("secret must hold at least one secret")


def _key(secret: object) -> hmac.HMAC | TypeError | ValueError:
    if not isinstance(secret, str):
        return TypeError(f"secret must be a str, not {_type(secret)}")
    key = _keyed(secret)
    return ValueError(key) if isinstance(key, str) else key


# Cached, because setting up an HMAC takes longer than hashing a delivery. It is copied for
# each signature and never updated, so threads can share it. Unlike the secret, it may appear
# in the locals of a frame, because its repr does not show the key.
@lru_cache(maxsize=64)
def _keyed(secret: str) -> hmac.HMAC | str:
    """Return an empty HMAC keyed with a secret, or what is wrong with the secret."""
    if not secret.strip():
        return "secret must not be empty or blank"
    if secret.strip() != secret:
        return "secret must not begin or end with white space, such as a file's last line break"
    if secret.strip(_STRAY) != secret:
        return "secret must not begin or end with a quote or a byte order mark"
    key = _encoded(secret)
    if key is None:
        return "secret must be text that UTF-8 can encode, but it holds a lone surrogate"
    return hmac.new(key, digestmod="sha256")


def _bytes(raw_body: object) -> bytes | None:
    """Return the body's bytes; `None` if no signature can match.

    None can match a missing body, or text with a lone surrogate, which UTF-8 cannot encode.
    """
    if isinstance(raw_body, bytes):
        return raw_body
    if isinstance(raw_body, str):
        return _encoded(raw_body)
    if raw_body is None:
        return None
    if isinstance(raw_body, bytearray | memoryview):
        return bytes(cast("bytearray", raw_body))
    raise TypeError(
        "raw_body must be the raw bytes of the request, as they arrived before any parsing,"
        f" not {_type(raw_body)}"
    )


def _text(signature_header: object) -> str | None:
    if signature_header is None or isinstance(signature_header, str):
        return signature_header
    if isinstance(signature_header, bytes):
        return signature_header.decode("latin-1")
    raise TypeError(
        "signature_header must be the header's value, a str or bytes, or None if there was"
        f" no header, not {_type(signature_header)}"
    )


def _encoded(text: str) -> bytes | None:
    # The error holds the text, so it is neither raised nor the context of another.
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return None


def _window(tolerance_seconds: object) -> float:
    if isinstance(tolerance_seconds, bool) or not isinstance(tolerance_seconds, (int, float)):
        raise TypeError(f"tolerance_seconds must be a number, not {_type(tolerance_seconds)}")
    if not tolerance_seconds >= 0:  # also rejects NaN
        raise ValueError("tolerance_seconds must be zero or more")
    return tolerance_seconds


def _unix(now: object, name: str = "now") -> int:
    if now is None:
        return math.floor(time.time())
    if not isinstance(now, datetime):
        raise TypeError(f"{name} must be a datetime, not {_type(now)}")
    if now.utcoffset() is None:
        raise ValueError(f"{name} must have a time zone, such as datetime.now(timezone.utc)")
    # Exact, where `timestamp()` rounds to a float.
    return (now - _EPOCH) // timedelta(seconds=1)


def _timestamp(timestamp: object) -> int:
    if isinstance(timestamp, int) and not isinstance(timestamp, bool):
        unix = timestamp
    else:
        unix = _unix(timestamp, "timestamp")
    if not 0 <= unix <= _MAX_TIME:
        raise ValueError(f"timestamp must be from 0 to {_MAX_TIME} Unix seconds")
    return unix


def _type(value: object) -> str:
    return type(value).__name__
