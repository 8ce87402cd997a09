"""Validators for attrs, whose own put whole attributes into what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["of_type", "one_of"]

Check = Callable[[Any, "attrs.Attribute[Any]", Any], Any]


def of_type(*kinds: type) -> Check:
    """The value is of one of these types."""
    names = " or ".join(kind.__name__ for kind in kinds)

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, kinds):
            raise TypeError(f"{attribute.name} must be of type {names}, not {type(value).__name__}")

    return check


def one_of(*known: str) -> Check:
    """The value is one of these."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in known:
            raise ValueError(f"{attribute.name} must be one of {', '.join(known)}, not {value!r}")

    return check
