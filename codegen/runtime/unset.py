"""The default of arguments for which `None` has a meaning: it is sent as null."""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["UNSET", "Unset"]


class Unset(Enum):
    """The type of `UNSET`, for annotations: `avatar: str | Unset | None = UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""The default of an argument that may be null: the field is not sent.

`None` sends null, which clears the value. Pass `UNSET` explicitly if a variable decides whether to
change the value. An argument whose default is `None` cannot be null; `None` leaves it out.
"""
