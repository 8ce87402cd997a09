"""Verifying the webhooks that Kraty delivers, and signing some to test a receiver with.

A delivery names its time and its signature in one header:

    X-Signature: t=<unix seconds>,v1=<hex>

where v1 is the HMAC-SHA256, keyed with the endpoint's secret, of `t`, a dot and
the body as it was sent. The secret's UTF-8 bytes are the key as they are: the
`whsec_` prefix belongs to it and nothing is decoded.

Reading the header:

- Fields are separated by commas, with spaces or tabs around them if need be.
- `t` stands there once, as 1 to 12 ASCII digits. What was signed is those digits
  as they were sent, so `t=007` is not `t=7`.
- `v1` may be repeated, as it is while a secret is being rotated; one match is
  enough. A value that is not 64 lower-case hex digits is passed over, and a header
  without any that is leaves nothing to check, so it is malformed.
- Fields of other names, such as `v0` or `v2`, are passed over.
- More than 4,096 characters, or a control character other than the tab, make a
  header malformed.

The signature is judged before the age. Only a delivery that was rightly signed is
thus found too old or too new; a forger is told what his own header looks like, and
nothing of the receiver's clock or window.
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
"""In characters: room for some sixty signatures, where a rotation needs two."""

_MAX_AHEAD: Final = 60
"""How many seconds a delivery's time may lie ahead of our clock."""

_MAX_TIME: Final = 999_999_999_999
"""The last second that twelve digits can write."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)

# Both are used with `fullmatch`, since `$` would let a final newline through, and
# name the digits, since `\d` and `int` also take those of other scripts. Capitals
# are left out because nobody sends them, and a digest then has one spelling only.
_TIME: Final = re.compile(r"[0-9]{1,12}")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")
_USUAL: Final = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_BYTES: Final = (bytes, bytearray, memoryview)

_STRAY: Final = "\"'`\u2018\u2019\u201c\u201d\ufeff"
"""Quotes and the byte order mark: at either end of a secret they come from a file or a shell."""

_MESSAGES: Final[dict[WebhookVerificationReason, str]] = {
    "missing_header": "the delivery carries no signature header",
    "malformed_header": (
        "the signature header is not 't=<unix seconds>,v1=<64 lower-case hex digits>'"
    ),
    "no_match": (
        "no signature matches: another secret signed this body, or it is not"
        " byte for byte the body that was signed"
    ),
    "too_old": "the delivery is rightly signed, but older than tolerance_seconds",
    "too_new": f"the delivery is rightly signed, but more than {_MAX_AHEAD} s ahead of the clock",
    "invalid_payload": "the delivery is rightly signed, but its body is not a JSON object in UTF-8",
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

    Whatever a sender puts into the body or the header, the result is True or False.
    A mistake on the receiver's side raises TypeError or ValueError, so that you do not
    take it for a forged delivery.

    To learn why a delivery was rejected, or to get the event along with the check,
    use `construct_event`.

    Args:
        raw_body: The request's body as it arrived, before any parsing: JSON that was
            parsed and written again has other bytes. A `str` stands for its UTF-8 bytes.
            `None`, which some API gateways pass for an empty body, is rejected.
        signature_header: The value of `X-Signature`; `None` or empty if there was none.
            `bytes` are read as Latin-1, as web frameworks read them.
        secret: The endpoint's secret, or several while one is being rotated; any of
            them may have signed.
        tolerance_seconds: How old a delivery may be, in seconds, the bound included: at
            300 one of exactly 300 passes. Raise it if deliveries wait in a queue of
            yours; `float("inf")` gives up the protection against replays. How far
            ahead of the clock a delivery may be is fixed at 60 seconds, included too.
        now: The time to judge the age by, with a time zone; by default the system's.
            It is cut to whole seconds, as the sender cut `t`: at 300 seconds allowed,
            no delivery is refused before it is 300 seconds old, and none passes at 301.

    Returns:
        True if the signature matches and the age is within bounds, otherwise False.

    Raises:
        TypeError: `raw_body` has been parsed, `signature_header` is a list or the like,
            `secret` is not text, or `tolerance_seconds` or `now` is of another type.
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
    # The usual call, without the steps that only other calls need. A mistake is left to
    # the steps below, which explain it.
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
    """Verify a delivery and return the event that it carries.

    The event is the delivered JSON object, a dict with typed properties. It may be any
    object: unknown event names, new fields and missing fields pass. A repeated delivery
    keeps its `id` and has a higher `delivery_attempt`: handle each `id` once.

    Args:
        raw_body: The request's body as it arrived, before any parsing; `None` is rejected.
        signature_header: The value of `X-Signature`; `None` or empty if there was none.
        secret: The endpoint's secret, or several while one is being rotated.
        tolerance_seconds: How old a delivery may be, in seconds, the bound included.
        now: The time to judge the age by, with a time zone; by default the system's.
            `verify_webhook` says more about each of these.

    Returns:
        The event.

    Raises:
        WebhookVerificationError: The delivery is refused. Its `reason` is one of

            - `missing_header`: there is no header;
            - `malformed_header`: the header is not of the form
              `t=<unix seconds>,v1=<hex>`;
            - `no_match`: none of the signatures was made with any of the secrets
              over this body;
            - `too_old`, `too_new`: it is rightly signed, but out of the window;
            - `invalid_payload`: it is rightly signed and in time, but the body is
              not a JSON object in UTF-8.

            Log it; the sender needs to know no more than 401.
        TypeError, ValueError: The receiver's own mistakes, as for `verify_webhook`.

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
                    log.warning("webhook refused: %s", err.reason)
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
        _refuse(reason)
    payload = _object(body)
    if payload is None:
        _refuse("invalid_payload")

    # Here and not above: most programs that import the SDK never receive a webhook.
    from kraty_server_api.models import WebhookEvent

    return WebhookEvent(payload)


def sign_webhook(
    *,
    raw_body: str | bytes | bytearray | memoryview,
    secret: str,
    timestamp: datetime | int | None = None,
) -> str:
    """Sign a body as Kraty does, to test a receiver with.

    Args:
        raw_body: The body that the receiver will be sent; a `str` stands for its
            UTF-8 bytes.
        secret: The secret that the receiver verifies with.
        timestamp: When the delivery claims to have been sent: a datetime with a time
            zone, cut to whole seconds, or Unix seconds, from 0 to 999,999,999,999; by
            default the system's time.

    Returns:
        The value for the `X-Signature` header.

    Raises:
        TypeError: An argument is of another type.
        ValueError: The secret is empty, or begins or ends with white space, a quote or a
            byte order mark; the timestamp is out of range or has no time zone; or the
            text of the body or the secret cannot be encoded.

    Example:
        With FastAPI's test client:

            body = b'{"id": "evt_1", "eventName": "grant.created", "data": {}}'
            header = sign_webhook(raw_body=body, secret="whsec_test")
            answer = client.post(
                "/kraty/webhook", content=body, headers={"X-Signature": header}
            )
    """
    key = _key(secret)
    del secret
    if isinstance(key, Exception):
        raise key
    if raw_body is None:  # pyright: ignore[reportUnnecessaryComparison]  # callers err
        raise TypeError("raw_body must be the body to sign, not None")
    body = _bytes(raw_body)
    if body is None:
        raise ValueError("raw_body must be text that UTF-8 can encode, and holds a lone surrogate")
    unix = _timestamp(timestamp)
    return f"t={unix},v1={_sign(key, str(unix), body)}"


def _check(
    body: bytes | None,
    header: str | None,
    keys: list[hmac.HMAC],
    tolerance: float,
    now: int,
) -> WebhookVerificationReason | None:
    """Return why a delivery is to be rejected, or `None` if it is good.

    `body` is `None` if nobody can have signed it; `now` is Unix seconds.
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
    """Read the header into the digits of `t` and the well-formed `v1`; `None` if malformed."""
    usual = _USUAL.fullmatch(header)
    if usual is not None:  # fast path: the rest would give the same
        return usual[1], [usual[2]]
    if len(header) > _HEADER_LIMIT or _CONTROL.search(header):
        return None
    times: list[str] = []
    signatures: list[str] = []
    for field in header.split(","):
        name, _, value = field.strip(" \t").partition("=")
        if name == "t":
            times.append(value)
        elif name == "v1" and _SIGNATURE.fullmatch(value):
            signatures.append(value)
    if len(times) != 1 or not _TIME.fullmatch(times[0]) or not signatures:
        return None
    return times[0], signatures


def _any_match(keys: list[hmac.HMAC], time_text: str, body: bytes, signatures: list[str]) -> bool:
    # Every pair is compared, a match or not, so that the time taken does not tell
    # which secret or which signature it was.
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
    """Parse a JSON object; `None` if the body is anything else."""
    if body is None:
        return None
    # `json.loads` would also take UTF-16 and UTF-32, hence the decoding. Its errors
    # are ValueErrors, too many digits in a number included.
    try:
        value: object = json.loads(body.decode("utf-8"), parse_constant=_not_json)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _refuse(reason: WebhookVerificationReason) -> NoReturn:
    raise WebhookVerificationError(_MESSAGES[reason], reason=reason)


# What the receiver passes is checked at run time as well, since an unchecked program
# would otherwise reject every delivery, or accept any. No message quotes a value.


def _keys(secret: object) -> list[hmac.HMAC] | TypeError | ValueError:
    """The keys of one or several secrets.

    What is wrong with a secret is returned and not raised: a traceback that shows locals
    would show the secret in each frame that the error passed through.
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


# Kept, because setting up an HMAC takes longer than hashing a delivery. One is copied for
# each signature and never updated, so threads can share it. Unlike the secret it can be
# seen in the locals of a frame: its repr shows nothing.
@lru_cache(maxsize=64)
def _keyed(secret: str) -> hmac.HMAC | str:
    """The HMAC of no data under a secret, or what is wrong with the secret."""
    if not secret.strip():
        return "secret must not be empty or blank"
    if secret.strip() != secret:
        return "secret must not begin or end with white space, such as a file's last line break"
    if secret.strip(_STRAY) != secret:
        return "secret must not begin or end with a quote or a byte order mark"
    key = _encoded(secret)
    if key is None:
        return "secret must be text that UTF-8 can encode, and holds a lone surrogate"
    return hmac.new(key, digestmod="sha256")


def _bytes(raw_body: object) -> bytes | None:
    """The body's bytes; `None` for what nobody can have signed.

    That is no body at all, and text with lone surrogates, which no bytes stand for.
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
    # The error is not let out, nor made the context of another: it holds the text.
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return None


def _window(tolerance_seconds: object) -> float:
    if isinstance(tolerance_seconds, bool) or not isinstance(tolerance_seconds, (int, float)):
        raise TypeError(f"tolerance_seconds must be a number, not {_type(tolerance_seconds)}")
    if not tolerance_seconds >= 0:  # which NaN is not either
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
