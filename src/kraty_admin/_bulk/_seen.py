"""Find repeated keys among any number of keys, in constant memory."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Sequence
from struct import Struct
from typing import IO, Final

__all__ = ["SeenKeys"]

_INDEX_BITS: Final = 24
"""The bits of a hash that select one of the filter's 2^24 bytes. After 10,000,000 keys, the filter
is unsure about 7 % of new ones."""

_PARTS: Final = 1024
"""How many parts the records are divided into, by their hash, so that a lookup reads one part."""

_PAGE: Final = 4096
"""The size of the pages in which records are written, in bytes."""

_RECORD: Final = Struct("qq")
"""The hash of a key, and the number of its first row."""


class SeenKeys:
    """The keys that an import has met, each with the number of its first row.

    Most keys are new, and a Bloom filter recognises most of the new ones. Other keys are looked up
    in the records of all keys. Records are in memory until a page is full, then in an unnamed
    temporary file, which disappears when the process ends, even if it is killed.

    Keys are compared by a hash of 64 bits. Among 10,000,000 keys, the probability that two
    different ones have the same hash is 3 in 1,000,000. The later row is then reported as a
    duplicate; it is never lost silently.
    """

    def __init__(self) -> None:
        self._filter = bytearray(1 << _INDEX_BITS)
        self._parts = [bytearray() for _ in range(_PARTS)]
        self._pages = [array("Q") for _ in range(_PARTS)]
        """The numbers of each part's pages in the file."""
        self._file: IO[bytes] | None = None
        self._written = 0

    def add(self, keys: Sequence[str], numbers: Sequence[int]) -> dict[int, int]:
        """Add keys.

        Args:
            keys: The keys.
            numbers: The numbers of their rows.

        Returns:
            For each key that came before, here or in an earlier call: its index in `keys`, and
            the number of the row that had it first.

        Raises:
            OSError: The temporary file cannot be written or read.
        """
        known, parts, pack = self._filter, self._parts, _RECORD.pack
        mask, last = (1 << _INDEX_BITS) - 1, _PARTS - 1
        found: dict[int, int] = {}
        # Python's own hash of a str is very fast. Its seed differs in each process, so no one can
        # prepare keys that collide.
        for place, value in enumerate(map(hash, keys)):
            slot, bit = value & mask, 1 << (value >> _INDEX_BITS & 7)
            bits = known[slot]
            if not bits & bit:
                known[slot] = bits | bit
            elif (first := self._first(value)) is not None:
                found[place] = first
                continue
            parts[value >> 32 & last] += pack(value, numbers[place])
        self._write_full_pages()
        return found

    def _first(self, value: int) -> int | None:
        """Return the number of the row that had a key with this hash first, or `None`."""
        part = value >> 32 & _PARTS - 1
        found = _find(self._parts[part], value)
        if self._file is not None:
            for page in self._pages[part]:
                if found is not None:
                    break
                self._file.seek(page * _PAGE)
                found = _find(self._file.read(_PAGE), value)
        return found

    def _write_full_pages(self) -> None:
        for part, records in enumerate(self._parts):
            while len(records) >= _PAGE:
                if self._file is None:
                    self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
                self._file.seek(self._written * _PAGE)
                self._file.write(records[:_PAGE])
                self._pages[part].append(self._written)
                self._written += 1
                del records[:_PAGE]

    def close(self) -> None:
        """Delete the temporary file."""
        if self._file is not None:
            self._file.close()


def _find(records: bytes | bytearray, value: int) -> int | None:
    """Return the row number of the record with this hash, if there is one."""
    wanted = _RECORD.pack(value, 0)[: _RECORD.size // 2]
    at = records.find(wanted)
    # A match in the middle of a record is a row number, or parts of two numbers.
    while at >= 0 and at % _RECORD.size:
        at = records.find(wanted, at + 1)
    return None if at < 0 else int(_RECORD.unpack_from(records, at)[1])
