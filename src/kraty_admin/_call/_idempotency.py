"""Idempotency keys: generate and derive them, add them to bodies, check their age."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from kraty_server_api.operation import KeyLifetime

from ..errors import KratyKeyExpiredError, KratyServerError
from ._callbacks import check_plain

__all__ = [
    "KEY_TRUSTED_FOR",
    "check_key_age",
    "derive_key",
    "derive_key_of_any",
    "fulfil_once",
    "random_keys",
    "stamp",
    "trusted_for",
]

KEY_FIELD: Final = "idempotencyKey"
"""The field of a body that holds the idempotency key."""

_WRITES: Final = frozenset({"POST", "PUT", "PATCH"})
_STRAY_SPACE: Final = (
    "must not begin or end with white space, or one receipt could get two keys: strip() it"
)


def random_keys() -> Callable[[], str]:
    """Return a function that generates random keys."""
    # Imported here to keep the package's import time down.
    from uuid import uuid4

    return lambda: str(uuid4())


def stamp(
    method: str, body: Mapping[str, Any] | None, generate: Callable[[], str]
) -> tuple[Mapping[str, Any] | None, str | None]:
    """Add an idempotency key to a body, unless it has one; return the body and the key.

    Args:
        method: The HTTP method; only POST, PUT and PATCH carry a key.
        body: The body; `None` for no body.
        generate: Returns a new key.

    Raises:
        TypeError, ValueError: The key is not a `str`, is empty, or begins or ends with
            white space.
    """
    if method not in _WRITES:
        return body, None
    value = None if body is None else body.get(KEY_FIELD)
    key: object = generate() if value is None else value
    origin = "generate_idempotency_key returned" if value is None else "idempotency_key is"
    if not isinstance(key, str):
        raise TypeError(f"{origin} a {type(key).__name__}; a key must be a str")
    if not key:
        raise ValueError(f"{origin} empty; a key must hold at least one character")
    if key.strip() != key:
        raise ValueError(f"{origin} not usable: a key {_STRAY_SPACE}")
    key = str.__str__(key)  # other processes, which unpickle errors, may lack a subclass
    return (body if value is not None else {**(body or {}), KEY_FIELD: key}), key


def derive_key(*parts: str) -> str:
    """Build an idempotency key that is the same on every run and machine.

    Use it for jobs that may run again. Derive the key from what you fulfil, not from the run
    that fulfils it. The key protects only as long as the platform keeps it: 24 hours for
    `wallet.credit`, `wallet.debit`, `inventory.grant` and `inventory.revoke`, permanently
    for `grants.create`. If a job may run again later than that, use `kraty_admin.outbox`, which
    remembers the key in your own database permanently, or see `fulfil_once`.

    Args:
        parts: What identifies the fulfilment, such as `("iap", receipt_id)`. At least one,
            none of them empty, none with white space at either end. Different parts give
            different keys, even if they read the same when joined.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: A part is not a `str`. Numbers are rejected because 7 and "7" would be
            two keys for one receipt.
        ValueError: There is no part; or one is empty, begins or ends with white space, or
            holds a lone surrogate.
    """
    for index, part in enumerate(parts):
        # Other types are rejected below.
        if isinstance(part, str) and part and part.strip() != part:  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
            raise ValueError(f"part {index + 1} of the key {_STRAY_SPACE}")
    return derive_key_of_any(*parts)


def derive_key_of_any(*parts: str) -> str:
    """Build the key of `derive_key` from parts that may begin or end with white space.

    The ids of an imported row may, because the other platform allows it.
    """
    if not parts:
        raise ValueError("derive_key needs at least one part")
    message = _KEY_PREFIX
    for index, part in enumerate(parts):
        name = f"part {index + 1} of the key"
        if not isinstance(part, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
            raise TypeError(f"{name} must be a str, not {type(part).__name__}")
        if not part:
            raise ValueError(f"{name} must not be empty: two receipts could get the same key")
        try:
            message += _sized(part)
        except UnicodeEncodeError:
            raise ValueError(f"{name} holds a lone surrogate, which UTF-8 cannot hold") from None
    return hashlib.sha256(message).hexdigest()


def derive_keys(common: Sequence[str], parts: Iterable[Sequence[str]]) -> list[str]:
    """Build many keys of `derive_key_of_any` at once, in about a third of the time.

    Args:
        common: The first parts of all keys.
        parts: The other parts of each key. They must be valid: not empty, no lone surrogate.
    """
    start = _KEY_PREFIX + b"".join(map(_sized, common))
    return [hashlib.sha256(start + b"".join(map(_sized, each))).hexdigest() for each in parts]


_KEY_PREFIX: Final = b"kraty-admin key 1"
_SIZES: Final = [size.to_bytes(8, "big") for size in range(256)]


def _sized(part: str) -> bytes:
    """Return a part behind its length, which keeps ("a", "bc") and ("ab", "c") apart."""
    data = part.encode()
    size = len(data)
    return (_SIZES[size] if size < 256 else size.to_bytes(8, "big")) + data


# How long before a key expires we stop relying on it. This covers the duration of a call with
# its retries, and the difference between clocks.
_MARGIN: Final = timedelta(hours=1)

KEY_TRUSTED_FOR: Final = (timedelta(hours=24) - _MARGIN).total_seconds()
"""How many seconds after its first attempt the SDK still retries a call.

The platform's documents name a lifetime of 24 hours for most keys. For some operations they name
none, so the SDK does not retry those for longer either.
"""


@contextmanager
def fulfil_once(
    *parts: str,
    on_conflict: Callable[[KratyServerError], object],
    operation: str | None = None,
    first_tried_at: datetime | None = None,
    now: datetime | None = None,
) -> Generator[str, None, None]:
    """Derive a fulfilment's key, raise if it may have expired, and report conflicts.

    Every run with the same parts gets the same key, so a run within 24 hours of the first
    does not pay out again. **After 24 hours the platform forgets the key of `wallet.credit`,
    `wallet.debit`, `inventory.grant` and `inventory.revoke`, and a run pays out again.**
    Stores and queues redeliver for longer than that. So before the first call, record the time
    in your database, and pass it as `first_tried_at`. When you are done, record that too, and
    do not call again. `kraty_admin.outbox` does all of this for you, in your own database.
    Without the outbox:

        with fulfil_once(
            "iap", receipt_id,
            operation="wallet.credit", first_tried_at=purchase.first_tried_at,
            on_conflict=alert_ops,
        ) as key:
            kraty.wallet.credit(player_id, "gold", amount=500, idempotency_key=key)

    A conflict means that the platform has seen this key with another body: another amount,
    item or reason. Retrying cannot fix that, so a person has to look at it.

    The age is checked once, when the block begins, and an hour is left for the call. So call at
    the start of the block, with a client whose deadline is shorter than an hour. If the machine
    sleeps for an hour between the check and the call, the key can have expired when it is sent.

    The block may hold synchronous or awaited calls. With a task group, use `fulfil_once` inside
    the task, because the group wraps exceptions.

    Args:
        parts: What identifies the fulfilment; see `derive_key`.
        on_conflict: A plain function, called with the error before it is raised again.
        operation: The method that you call in the block, such as `wallet.credit`. Needed
            with `first_tried_at`.
        first_tried_at: When you first tried this fulfilment, as an aware datetime. From
            23 hours later, a call whose key lasts 24 hours is refused. A time more than an
            hour in the future raises `ValueError`. Without this argument, the age of the key
            is not checked.
        now: The time to compare with, as an aware datetime. Default: the current time.

    Yields:
        The key to pass as `idempotency_key`.

    Raises:
        KratyKeyExpiredError: The platform may have forgotten the key, so that a call could
            pay out again. Nothing was sent.
        KratyServerError: The call in the block raised it; this includes conflicts.
        TypeError, ValueError: An argument is invalid; see also `derive_key`.
    """
    # Checked now, not when a conflict occurs.
    check_plain("on_conflict", on_conflict)
    key = derive_key(*parts)
    check_key_age(key, operation=operation, first_tried_at=first_tried_at, now=now)
    try:
        yield key
    except KratyServerError as error:
        if error.is_idempotency_conflict:
            on_conflict(error)
        raise


def trusted_for(lifetime: KeyLifetime) -> timedelta | None:
    """Return how long after the first call it may be repeated; `None` for no limit."""
    hours = lifetime.repeat_within_hours
    return None if hours is None else timedelta(hours=hours) - _MARGIN


def check_key_age(
    key: str,
    *,
    operation: str | None,
    first_tried_at: datetime | None,
    now: datetime | None = None,
) -> None:
    """Raise an error if the platform may have forgotten the key.

    The arguments and errors are those of `fulfil_once`.
    """
    # Imported here to keep the package's import time down. A client has imported it already.
    from kraty_server_api.lifetimes import KEY_LIFETIMES

    if operation is not None and operation not in KEY_LIFETIMES:
        known = ", ".join(sorted(KEY_LIFETIMES))
        raise ValueError(f"operation must be a method that takes a key: {known}")
    if first_tried_at is None:
        return
    if operation is None:
        raise ValueError(
            "first_tried_at needs operation: keys last longer for some methods than for others"
        )
    _check_aware("first_tried_at", first_tried_at)
    if now is not None:
        _check_aware("now", now)
    lifetime = KEY_LIFETIMES[operation]
    trusted = trusted_for(lifetime)
    if trusted is None:
        return
    age = _between(first_tried_at, now or datetime.now(timezone.utc))
    if age < -_MARGIN:
        raise ValueError(
            f"first_tried_at is {first_tried_at.isoformat()}, which is in the future. Is it a "
            "local time that was labelled as UTC?"
        )
    if age >= trusted:
        raise KratyKeyExpiredError(
            f"{operation} was first tried at {first_tried_at.isoformat()}. A repeat under the same "
            f"idempotency key is only safe for {lifetime.repeat_within_hours} hours: now it could "
            "take effect a second time. Nothing was sent. Find out whether the first call took "
            "effect. If it did, record it as done; if not, call again under a new key",
            operation=operation,
            idempotency_key=key,
            first_tried_at=first_tried_at,
        )


def _between(start: datetime, end: datetime) -> timedelta:
    """Return the time that passed between two aware datetimes."""
    # `end - start` ignores the offsets if both have the same tzinfo, so it is an hour off if
    # the clocks changed in between. Converting to UTC would overflow on the first and last
    # day that a datetime can hold.
    shown = end.replace(tzinfo=None) - start.replace(tzinfo=None)
    return shown - ((end.utcoffset() or timedelta()) - (start.utcoffset() or timedelta()))


def _check_aware(name: str, value: object) -> None:
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(f"{name} must have a time zone, such as datetime.now(timezone.utc)")
