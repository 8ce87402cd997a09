"""Where rows come from: files, iterables and asynchronous iterables.

`open_source` is the entrance of all imports. It returns an `OpenSource`: iterate over it for
the items, and ask it how many bytes have been read and what the user should know.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final, cast

from kraty_server_api.decoding import is_object
from kraty_server_api.imports import AsyncSource, Source

from ._options import ReadOptions
from ._readers import read_file
from ._rows import UNREADABLE, Kind, Read, Row, Unreadable

__all__ = ["OpenSource", "items", "items_async", "open_source"]

_DEFAULT: Final = ReadOptions()


class OpenSource:
    """The rows of a source, to be read once.

    Iterate over it, or iterate asynchronously. Reading raises `OSError` if the file cannot be
    read, and `ValueError` if it is not what it should be.
    """

    def __init__(
        self, rows: Iterator[Read] | AsyncIterator[Read], *, size: int | None = None
    ) -> None:
        self._rows = rows
        self.size = size
        """The length of the file in bytes; `None` if it is not known."""
        self.bytes_read = 0
        """How many of these have been read; compressed bytes of a compressed file."""
        self.notes: list[str] = []
        """What the user should know about the source, in sentences; complete when all is read."""

    def __iter__(self) -> Iterator[Read]:
        if isinstance(self._rows, AsyncIterator):
            raise TypeError("asynchronous rows need KratyAdminAsync")
        return self._rows

    async def __aiter__(self) -> AsyncIterator[Read]:
        if isinstance(self._rows, AsyncIterator):
            async for item in self._rows:
                yield item
        else:
            for item in self._rows:
                yield item


def open_source(
    source: AsyncSource,
    options: ReadOptions = _DEFAULT,
    *,
    kind: Kind | None = None,
    preset: str | None = None,
) -> OpenSource:
    """Open a source of rows. Nothing is read before the first row is asked for.

    Args:
        source: The rows, or the path of a file.
        options: How to read it.
        kind: What is imported. A preset needs it.
        preset: The platform whose export it is. It knows files without a header and where
            the platform's documents hold their rows.

    Raises:
        TypeError, ValueError: Rows cannot be read from it, or an option does not apply.
    """
    return OpenSource(items_async(source) if isinstance(source, AsyncIterable) else items(source))


def items(source: Source) -> Iterator[Read]:
    """What there is to import, numbered.

    Raises:
        TypeError, ValueError: It is nothing that rows can be read from.
        OSError: The file cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        for count, item in enumerate(read_file(source), 1):
            yield item._replace(source=count)
        return
    _check(source)
    for number, row in enumerate(source, 1):
        yield _item(number, row)


async def items_async(source: AsyncSource) -> AsyncIterator[Read]:
    """What there is to import, numbered; see `items`."""
    if isinstance(source, AsyncIterable):
        number = 0
        async for row in source:
            number += 1
            yield _item(number, row)
        return
    for item in items(source):
        yield item


def _check(source: object) -> None:
    if not isinstance(source, Iterable) or isinstance(source, Mapping | bytes):
        raise TypeError(f"rows must be an iterable of dicts or a path, not {type(source).__name__}")  # pyright: ignore[reportUnknownArgumentType]  # of whatever


def _item(number: int, row: object) -> Read:
    if is_object(row):
        return Row(number, row, number)
    if isinstance(row, Mapping):
        return Row(number, dict(cast("Mapping[str, Any]", row)), number)
    return Unreadable(
        number, UNREADABLE, f"is of type {type(row).__name__}, not a dict", "", number
    )
