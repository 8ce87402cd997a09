"""One key for one intended change: minting, stamping, deriving, guarding."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from .errors import KratyServerError

__all__ = ["derive_key", "fulfil_once", "random_keys", "stamp"]

FIELD: Final = "idempotencyKey"
_WRITES: Final = frozenset({"POST", "PUT", "PATCH"})


def random_keys() -> Callable[[], str]:
    """What makes fresh random keys."""
    # Imported when a client is made: importing the package shall cost no more than it must.
    from uuid import uuid4

    return lambda: str(uuid4())


def stamp(
    method: str, body: Mapping[str, Any] | None, generate: Callable[[], str]
) -> tuple[Mapping[str, Any] | None, str | None]:
    """The body with its key, and the key; a key that is there already is kept.

    Args:
        method: The HTTP method; only POST, PUT and PATCH carry a key.
        body: The body before; `None` for none.
        generate: Makes a key.

    Raises:
        TypeError, ValueError: The key is not a `str`, or is empty.
    """
    if method not in _WRITES:
        return body, None
    given = None if body is None else body.get(FIELD)
    key: object = generate() if given is None else given
    origin = "generate_idempotency_key returned" if given is None else "idempotency_key is"
    if not isinstance(key, str):
        raise TypeError(f"{origin} a {type(key).__name__}; a key must be a str")
    if not key:
        raise ValueError(f"{origin} empty; a key must hold at least one character")
    key = str.__str__(key)  # errors carry it to other processes, which may lack a subclass
    return (body if given is not None else {**(body or {}), FIELD: key}), key


def derive_key(*parts: str) -> str:
    """An idempotency key that is the same on every run and machine.

    For jobs that may run again: derive the key from what is to be fulfilled, not from
    the run that fulfils it.

    Args:
        parts: What names the fulfilment, such as `("iap", receipt_id)`. At least one,
            none of them empty. Different parts give different keys, also where
            they read the same when joined.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: A part is not a `str`. Numbers are refused because 7 and "7" would be
            two keys for one receipt.
        ValueError: There is no part, or one is empty or holds a lone surrogate.
    """
    if not parts:
        raise ValueError("derive_key needs at least one part")
    digest = hashlib.sha256(b"kraty-admin key 1")
    for index, part in enumerate(parts):
        name = f"part {index + 1} of the key"
        if not isinstance(part, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers err
            raise TypeError(f"{name} must be a str, not {type(part).__name__}")
        if not part:
            raise ValueError(f"{name} must not be empty: nothing would tell two receipts apart")
        try:
            data = part.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} holds a lone surrogate, which UTF-8 cannot hold") from None
        # The length in front keeps ("a", "bc") and ("ab", "c") apart.
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


@contextmanager
def fulfil_once(
    *parts: str, on_conflict: Callable[[KratyServerError], object]
) -> Generator[str, None, None]:
    """Fulfil something once: the same key on every run, and an alert when bodies differ.

    A conflict means that this very thing has been fulfilled before, with another
    amount, item or reason. Trying again cannot mend that; somebody has to look. Works
    around synchronous and awaited calls alike; where calls run in a group of tasks, use
    it inside the task, since groups wrap what is raised:

        with fulfil_once("iap", receipt_id, on_conflict=alert_ops) as key:
            kraty.wallet.credit(player_id, "gold", amount=500, idempotency_key=key)

    Args:
        parts: What names the fulfilment; see `derive_key`.
        on_conflict: A plain function, called with the error before it is raised on.

    Yields:
        The key to pass as `idempotency_key`.

    Raises:
        KratyServerError: Whatever the call raises, the conflict too.
        TypeError, ValueError: `on_conflict` is not a plain function; see also `derive_key`.
    """
    # Now, not in the middle of a conflict.
    if not callable(on_conflict) or inspect.iscoroutinefunction(on_conflict):
        raise TypeError("on_conflict must be a plain function: nothing would await its result")
    key = derive_key(*parts)
    try:
        yield key
    except KratyServerError as error:
        if error.is_idempotency_conflict:
            on_conflict(error)
        raise
