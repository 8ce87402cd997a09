"""JSON as the platform reads and writes it."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Final, NoReturn, cast

__all__ = [
    "MAX_SAFE_INTEGER",
    "dump",
    "dump_text",
    "fingerprint",
    "no_constant",
    "optional_dump_text",
    "optional_parse_text",
    "parse",
    "text_member",
]

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader holds exactly, and the ceiling of a balance."""

_SAFE_DIGITS: Final = len(str(MAX_SAFE_INTEGER))


# Made once, because `json.dumps` with options makes an encoder for each call.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_CANONICAL: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
)

_SHALLOW: Final = 100
"""JSON with at most this many brackets is never nested too deeply to be encoded."""


def parse(raw: bytes) -> Any:
    """Parse a body.

    Numbers are read as JavaScript reads them: `500`, `500.0` and `5e2` are the same
    integer, and an integer that a double cannot hold exactly becomes a float.

    Raises:
        ValueError: The body is not JSON, or cannot be encoded again.
    """
    try:
        value = _DECODER.decode(raw.decode())
        # The decoder accepts lone surrogates and deep nesting. If one is possible, the value is
        # encoded again to find out. Not always, because that takes longer than the rest.
        is_deep = raw.count(b"[") + raw.count(b"{") > _SHALLOW
        if is_deep or b"\\ud" in raw or b"\\uD" in raw:
            dump(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def dump(value: Any) -> bytes:
    """Encode a body: no spaces, UTF-8."""
    return dump_text(value).encode()


def dump_text(value: Any) -> str:
    """Encode a value for a column that holds JSON."""
    return _ENCODER.encode(value)


def optional_dump_text(value: Any) -> str | None:
    """Encode a value for a column that holds JSON; `None` for `None`."""
    return None if value is None else dump_text(value)


def optional_parse_text(text: str | None) -> Any:
    """Parse a column that holds JSON or `None`."""
    return None if text is None else json.loads(text)


def fingerprint(value: Any) -> str:
    """Return a hash that is equal for equal JSON, whatever its spacing and key order."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


def text_member(value: Any, name: str) -> str | None:
    """Return the string of that name in an object; `None` for anything else."""
    member = cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else None
    return member if isinstance(member, str) else None


def _integer(digits: str) -> int | float:
    # The length first, because `int` refuses thousands of digits, unlike `float`.
    if len(digits) <= _SAFE_DIGITS + 1 and abs(number := int(digits)) <= MAX_SAFE_INTEGER:
        return number
    return _number(digits)


def _number(text: str) -> int | float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is out of range")
    return int(number) if number.is_integer() and abs(number) <= MAX_SAFE_INTEGER else number


def no_constant(text: str) -> NoReturn:
    """Refuse `NaN` and `Infinity`, which `json` accepts although JSON does not have them."""
    raise ValueError(f"{text} is not JSON")


_DECODER: Final = json.JSONDecoder(
    parse_int=_integer, parse_float=_number, parse_constant=no_constant
)
