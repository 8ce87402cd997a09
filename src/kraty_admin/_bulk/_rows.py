"""What a source of rows gives: rows, and what could not be read as one."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

__all__ = ["UNREADABLE", "Item", "Kind", "Row", "Unreadable", "excerpt"]

Kind = Literal["players", "wallet", "inventory"]

UNREADABLE: Final = "unreadable_row"
_LONGEST_TEXT: Final = 2000


class Row(NamedTuple):
    """A row, before or after it has been mapped."""

    number: int
    """The line on which it begins, counted from 1; its place where there are no lines."""
    row: dict[str, Any]


class Unreadable(NamedTuple):
    """Something in a row's place that is none."""

    number: int
    code: str
    message: str
    text: str
    """How it stands in the file, cut to 2000 characters."""


Item = Row | Unreadable


def excerpt(text: str) -> str:
    """As much of a line as a report may hold, fit to be written as UTF-8."""
    cut = text[:_LONGEST_TEXT].rstrip("\r\n")
    return cut if cut.isascii() else cut.encode("utf-8", "surrogateescape").decode(errors="replace")
