"""Encode JSON byte for byte as ECMAScript's `JSON.stringify` does.

The server compares bodies to distinguish a repeat from a conflict, and a service in another
language may use the same idempotency keys. So the same value must always become the same
bytes. The standard library's encoder prints floats differently, accepts NaN and does not move
integer-like keys to the front.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from json.encoder import JSONEncoder, encode_basestring
from math import isfinite
from typing import Any, Final, TypeGuard

__all__ = ["encode"]


class _NotJsonError(Exception):
    """A value that JSON cannot hold; `path` grows as the recursion unwinds."""

    def __init__(self, problem: str, error: type[TypeError | ValueError]) -> None:
        super().__init__(problem)
        self.error = error
        self.path: list[str] = []


def encode(body: Mapping[str, Any]) -> bytes:
    """Encode a body as JSON.

    Raises:
        TypeError, ValueError: The body holds a value that JSON lacks; the message says where.
    """
    # For a few scalars, the slow encoder is faster than the check.
    if not _SCALARS.issuperset(map(type, body.values())) and _is_plain(body):
        try:
            return _PLAIN.encode(body).encode()
        except ValueError:
            pass  # the slow encoder reports where the problem is
    return encode_any(body)


# A plain body has limited depth, so it cannot hold itself.
_PLAIN: Final = JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False)
_SCALARS: Final = frozenset({str, int, bool, type(None)})
_PRINTABLE: Final = _SCALARS | {dict, list}
_DEEPEST: Final = 20


def _is_plain(body: object) -> bool:
    """Return whether the standard library's encoder, which is C, prints the same bytes.

    This speeds up batches. It checks level by level, because operations on a whole level
    also run in C.
    """
    level: list[Any] = [body]
    for _ in range(_DEEPEST):
        kinds = set(map(type, level))
        if kinds <= _SCALARS:
            return True
        if not kinds <= _PRINTABLE:
            return False
        dicts = level if kinds == {dict} else _exactly(dict, level)
        lists = _exactly(list, level) if list in kinds else []
        for key in set[Any]().union(*dicts):
            if type(key) is not str or key[:1].isdigit():
                return False
        level = list(chain.from_iterable(map(dict[Any, Any].values, dicts)))
        level.extend(chain.from_iterable(lists))
    return False


def _exactly(kind: type[Any], values: list[Any]) -> list[Any]:
    return [each for each in values if type(each) is kind]


def encode_any(body: Mapping[str, Any]) -> bytes:
    out: list[str] = []
    try:
        _write(body, out, frozenset())
    except _NotJsonError as problem:
        where = "".join(reversed(problem.path)).lstrip(".")
        raise problem.error(f"{where or 'the body'} {problem}") from None
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    return "".join(out).encode()


def _write(value: object, out: list[str], within: frozenset[int]) -> None:
    """Append a value's JSON; `within` holds the ids of the containers around it."""
    if isinstance(value, str):
        out.append(_string(value))
    elif value is None:
        out.append("null")
    elif isinstance(value, bool):
        out.append("true" if value else "false")
    elif isinstance(value, int):
        out.append(_int(value))
    elif isinstance(value, float):
        out.append(_float(value))
    elif id(value) in within:
        raise _NotJsonError("holds itself", ValueError)
    elif _is_mapping(value):
        _object(value, out, within | {id(value)})
    elif _is_array(value):
        _array(value, out, within | {id(value)})
    else:
        raise _NotJsonError(f"is of type {type(value).__name__}, which JSON lacks", TypeError)


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_array(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    return isinstance(value, list | tuple)


def _object(value: Mapping[Any, Any], out: list[str], within: frozenset[int]) -> None:
    separator = "{"
    for key, item in _in_order(value):
        if not isinstance(key, str):
            raise _NotJsonError(f"has a key of type {type(key).__name__}, not str", TypeError)
        try:
            out.append(f"{separator}{_string(key)}:")
            _write(item, out, within)
        except _NotJsonError as problem:
            problem.path.append(f".{key!a}" if not key.isidentifier() else f".{key}")
            raise
        separator = ","
    out.append("{}" if separator == "{" else "}")


def _array(value: list[Any] | tuple[Any, ...], out: list[str], within: frozenset[int]) -> None:
    separator = "["
    for index, item in enumerate(value):
        out.append(separator)
        try:
            _write(item, out, within)
        except _NotJsonError as problem:
            problem.path.append(f"[{index}]")
            raise
        separator = ","
    out.append("[]" if separator == "[" else "]")


def _in_order(value: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """Return the items in ECMAScript's order: array indices first, ascending."""
    indices = [key for key in value if _is_index(key)]
    if not indices:
        return value.items()
    first = {key: value[key] for key in sorted(indices, key=int)}
    return (first | {key: item for key, item in value.items() if key not in first}).items()


def _is_index(key: object) -> bool:
    if not isinstance(key, str) or not key[:1].isdigit() or len(key) > 10:
        return False
    if not (key.isascii() and key.isdigit()):
        return False
    return str(int(key)) == key and int(key) < 2**32 - 1


def _string(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _NotJsonError(
                "holds a lone surrogate, which UTF-8 cannot hold", ValueError
            ) from None
    return encode_basestring(value)


def _int(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:
        raise _NotJsonError("is an int of too many digits", ValueError) from None


def _float(value: float) -> str:
    """Print as ECMAScript does: shortest digits; an exponent below 1e-6 and from 1e21 on."""
    if not isfinite(value):
        raise _NotJsonError(f"is {value}, which JSON lacks", ValueError)
    if value == 0:
        return "0"
    mantissa, _, exponent = float.__repr__(value).lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(digits) - len(fraction) + int(exponent or 0)
    text = digits.rstrip("0")
    if len(text) <= point <= 21:
        number = text + "0" * (point - len(text))
    elif 0 < point <= 21:
        number = f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        number = f"0.{'0' * -point}{text}"
    else:
        mantissa = f"{text[0]}.{text[1:]}" if len(text) > 1 else text
        number = f"{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"-{number}" if value < 0 else number
