"""A wrapper for values that must not be shown."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["Secret"]


class Secret:
    """A key, or a URL with a password. Reprs, and so tracebacks with locals, do not show it."""

    __slots__ = ("given",)

    def __init__(self, given: object) -> None:
        self.given = given

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")
