"""Helpers for the tests of reading sources."""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from kraty_admin._bulk._options import ReadOptions
from kraty_admin._bulk._rows import Read, Row, Unreadable
from kraty_admin._bulk._source import open_source

__all__ = ["files", "in_scratch", "items_of", "lines_of", "outline", "rows_of", "texts"]

# Surrogates are no text of a file, and NUL is refused.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)

scraps = st.sampled_from(
    [b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"a", b"{", b"}", b'{"a":1}', b"[1]"]
)
files = st.binary(max_size=120) | st.lists(scraps, max_size=40).map(b"".join)


def items_of(path: Path, data: bytes, **options: Any) -> list[Read]:
    """Write these bytes to a file, and return what is read from it."""
    path.write_bytes(data)
    return list(open_source(path, ReadOptions(**options)))


def rows_of(items: list[Read]) -> list[dict[str, Any]]:
    """Return the rows, after checking that none is unreadable."""
    assert not [item for item in items if isinstance(item, Unreadable)]
    return [item.row for item in items if isinstance(item, Row)]


def outline(items: list[Read]) -> list[tuple[int, object]]:
    """Return each item's line number, with its row or its message."""
    return [(item.number, item.row if isinstance(item, Row) else item.message) for item in items]


def in_scratch(name: str, data: bytes, **options: Any) -> list[Read]:
    """Return what is read from a file of these bytes, in a folder that is then removed."""
    with tempfile.TemporaryDirectory() as folder:
        return items_of(Path(folder, name), data, **options)


def lines_of(data: bytes) -> list[bytes]:
    """Return the lines of a file of UTF-8."""
    return BytesIO(data.removeprefix(b"\xef\xbb\xbf")).readlines()
