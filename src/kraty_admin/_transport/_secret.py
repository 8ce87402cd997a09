"""What must not be shown."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["Secret"]


class Secret:
    """A key, or a URL with a password. Held like this, no repr and no frame's locals show it."""

    __slots__ = ("given",)

    def __init__(self, given: object) -> None:
        self.given = given

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret does not pickle")
