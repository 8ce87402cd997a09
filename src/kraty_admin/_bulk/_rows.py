"""The items of an import: rows, rows that are left out, and unreadable rows.

A *source row* is a row of the source: a line of CSV, an object of JSON, a record of a query. A
mapping turns it into at least one item, so that each source row is counted. All items of a
source row have its `number` and its `source`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

__all__ = [
    "AMOUNT_FIELDS",
    "INVALID",
    "LONGEST_TEXT",
    "UNREADABLE",
    "Item",
    "Kind",
    "Layout",
    "LeftOut",
    "Read",
    "Row",
    "Unreadable",
    "excerpt",
    "listed",
]

Kind = Literal["players", "wallet", "inventory"]

AMOUNT_FIELDS: Final[Mapping[Kind, tuple[str, str]]] = {
    "wallet": ("economyKey", "amount"),
    "inventory": ("itemKey", "quantity"),
}
"""For the kinds of rows with amounts: the field with the currency or item, and that to add up."""

UNREADABLE: Final = "unreadable_row"

INVALID: Final = "validation_failed"
"""The code of invalid rows. The server uses the same code."""

LONGEST_TEXT: Final = 2000
"""How much of a line a report holds, in characters."""


class Row(NamedTuple):
    """A row, before or after it has been mapped."""

    number: int
    """The line on which it begins, from 1; or the row's number, if the source has no lines."""
    row: dict[str, Any]
    source: int = 0
    """The number of its source row, from 1, without gaps."""
    mapped: bool = False
    """True if it has the contract's fields already, as a fixed row of a failures file does."""


class Layout(NamedTuple):
    """How to read the text of an unreadable line after it has been fixed."""

    columns: tuple[str, ...]
    delimiter: str
    quoting: Literal["csv", "none"]


class Unreadable(NamedTuple):
    """A source row, or part of one, that fails before anything is sent."""

    number: int
    """Its place; see `Row`."""
    code: str
    message: str
    text: str
    """Its text in the file, cut to 2000 characters; empty if it may hold personal data."""
    source: int = 0
    """The number of its source row, from 1."""
    row: dict[str, Any] | None = None
    """The mapped row, if there is one. It goes into the failures file instead of the text."""
    layout: Layout | None = None
    """For a line of delimited text. The failures file holds it next to the text."""


class LeftOut(NamedTuple):
    """A row that is not imported because a rule of the preset or an option says so."""

    number: int
    """Its place; see `Row`."""
    reason: str
    """A short name, to count by: `zero`, `expiring`, `rental`, `reserved`, `banned`, `disabled`,
    `system`, `not_selected`, `added_up`, or `nothing` if the source row has nothing to import."""
    message: str
    """A sentence about this row. It holds no personal data."""
    source: int = 0
    """The number of its source row, from 1."""


Read = Row | Unreadable
"""What reading a source yields."""

Item = Row | LeftOut | Unreadable
"""What a mapping returns."""


def excerpt(text: str) -> str:
    """Return the start of a line for a report, as text that UTF-8 can encode."""
    cut = text[:LONGEST_TEXT].rstrip("\r\n")
    return cut if cut.isascii() else cut.encode("utf-8", "surrogateescape").decode(errors="replace")


_NAMELIKE: Final = re.compile(r"[^\W\d][\w .:/()\[\]$#*-]{0,63}")
_SHOWN: Final = 40


def listed(names: Iterable[object]) -> str:
    """List the names of columns, for a message.

    If a file has no header, these are values of its first player. So a name that looks like a
    value is not shown. If there is an e-mail address among the names, none is shown.
    """
    every = [str(name) for name in names]
    if any("@" in name for name in every):
        return f"{len(every)} columns, which look like values rather than names"
    shown = [name if _NAMELIKE.fullmatch(name) else "(no name)" for name in every[:_SHOWN]]
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(shown) + more
