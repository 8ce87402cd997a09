"""Select the page of a table."""

from __future__ import annotations

from typing import Final

__all__ = ["page_end"]

_END: Final = 2**63 - 1
"""A number that is higher than that of any row."""


def page_end(column: str, after: int, limit: int, *, newest: bool) -> tuple[str, int, int]:
    """Return the end of a query, from its last condition on, and the values of its parameters.

    Args:
        column: The number of a row. It needs an index, so that only the page is read.
        after: The number of the last row of the page before; 0 for the first page.
        limit: How many rows to return at most; -1 for all.
        newest: Begin with the highest number, not with the lowest.
    """
    if newest:
        return f"{column} < ? ORDER BY {column} DESC LIMIT ?", after or _END, limit
    return f"{column} > ? ORDER BY {column} LIMIT ?", after, limit
