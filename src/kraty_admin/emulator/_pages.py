"""Read long lists in pages, so that no caller waits for a whole table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeVar

__all__ = ["PAGE", "Numbered", "pages"]

PAGE: Final = 1000
"""How many entries a page has, by default and at most."""


class Numbered(Protocol):
    """An entry of a list."""

    @property
    def number(self) -> int:
        """Its place in the list."""
        ...


T = TypeVar("T", bound=Numbered)


def pages(read: Callable[[int, int], list[T]]) -> Iterator[T]:
    """Yield all entries.

    Args:
        read: Returns the entries after a number, up to a limit.
    """
    after = 0
    while page := read(after, PAGE):
        yield from page
        after = page[-1].number
