"""Validators for attrs classes. The messages of attrs' own validators are too long."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

__all__ = ["all_texts", "bounded", "of_type", "one_of", "text", "token", "unique"]

Check = Callable[[Any, "attrs.Attribute[Any]", Any], Any]

_TOKEN: Final = re.compile(r"[!-~]+")


def of_type(*kinds: type) -> Check:
    """Accept a value of one of these types. A `bool` does not count as an `int`."""
    names = " or ".join(kind.__name__ for kind in kinds)

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        is_bool = isinstance(value, bool) and bool not in kinds
        if is_bool or not isinstance(value, kinds):
            raise TypeError(f"{attribute.name} must be of type {names}, not {type(value).__name__}")

    return check


def one_of(*known: str) -> Check:
    """Accept only one of these values."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in known:
            raise ValueError(f"{attribute.name} must be one of {', '.join(known)}, not {value!r}")

    return check


def bounded(low: float, high: float) -> Check:
    """Accept a number within these bounds, both included."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        of_type(int, float)(_, attribute, value)
        if not low <= value <= high:
            raise ValueError(f"{attribute.name} must be from {low} to {high}")

    return check


def text(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a string that can be sent and is not empty."""
    of_type(str)(_, attribute, value)
    _check_text(attribute.name, value)


def all_texts(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a list or tuple of such strings, but not a single string."""
    of_type(list, tuple)(_, attribute, value)
    for index, member in enumerate(value):
        name = f"{attribute.name}[{index}]"
        if not isinstance(member, str):
            raise TypeError(f"{name} must be of type str, not {type(member).__name__}")
        _check_text(name, member)


def token(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a value that an Authorization header can hold. The message does not quote it."""
    of_type(str)(_, attribute, value)
    if not _TOKEN.fullmatch(value):
        raise ValueError(f"{attribute.name} must be printable ASCII without spaces, not empty")


def unique(what: str, values: Iterable[str]) -> None:
    """Check that no value occurs twice.

    Raises:
        ValueError: A value occurs twice. The message names it.
    """
    if twice := [value for value, count in Counter(values).items() if count > 1]:
        raise ValueError(f"two {what}: {', '.join(map(repr, sorted(twice)))}")


def _check_text(name: str, value: str) -> None:
    if not value:
        raise ValueError(f"{name} must not be empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} has a lone surrogate, which cannot be sent") from None
