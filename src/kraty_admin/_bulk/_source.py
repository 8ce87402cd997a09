"""Where rows come from: files, iterables and asynchronous iterables."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, cast

from kraty_server_api.decoding import is_object
from kraty_server_api.imports import AsyncSource, Source

from ._readers import read_file
from ._rows import UNREADABLE, Item, Row, Unreadable

__all__ = ["items", "items_async"]


def items(source: Source) -> Iterator[Item]:
    """What there is to import, numbered.

    Raises:
        TypeError, ValueError: It is nothing that rows can be read from.
        OSError: The file cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        yield from read_file(source)
        return
    _check(source)
    for number, row in enumerate(source, 1):
        yield _item(number, row)


async def items_async(source: AsyncSource) -> AsyncIterator[Item]:
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


def _item(number: int, row: object) -> Item:
    if is_object(row):
        return Row(number, row)
    if isinstance(row, Mapping):
        return Row(number, dict(cast("Mapping[str, Any]", row)))
    return Unreadable(number, UNREADABLE, f"is of type {type(row).__name__}, not a dict", "")
