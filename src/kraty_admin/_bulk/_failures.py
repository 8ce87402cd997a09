"""The failures file: rows that were not imported and why, which a user can fix and import."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from ._journal import FailuresFile, create_private
from ._plan import Failure

__all__ = ["FailuresWriter"]

_PIECE = 1 << 20


class FailuresWriter:
    """Appends failures to a file that only its owner can read. It is created when needed.

    When an import is resumed, the file may have lines after the end that the journal records.
    They belong to a chunk whose outcome was not recorded, and will be written again, so they are
    cut off. But if the content up to that end has changed, the user has edited, emptied or
    replaced the file. Then nothing is cut off.

    Args:
        path: The file.
        known: The state of the file in the journal; `None` if none is recorded.
        resume: Whether the file may have content.

    Raises:
        ValueError: The file has content although nothing is resumed.
        OSError: The file cannot be read or written.
    """

    def __init__(
        self, path: str | os.PathLike[str], known: FailuresFile | None, *, resume: bool
    ) -> None:
        self._path = Path(path)
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._end = 0
        if not self._path.exists():
            self._path.parent.stat()  # report a missing folder before anything is sent
            return
        if not resume and self._path.stat().st_size:
            raise ValueError(
                f"{self._path} already exists and may contain rows that you have not fixed. "
                "Delete it, or pass another failures file (--failures)"
            )
        self._file = self._path.open("r+b")
        try:
            self._find_end(self._file, known)
        except BaseException:
            self._file.close()
            raise

    def _find_end(self, file: IO[bytes], known: FailuresFile | None) -> None:
        left = 0 if known is None else known.end
        while left and (piece := file.read(min(left, _PIECE))):
            self._hash.update(piece)
            left -= len(piece)
        if known is not None and not left and self._hash.digest() == known.hash:
            file.truncate(known.end)
            self._end = known.end
            return
        while piece := file.read(_PIECE):
            self._hash.update(piece)
        self._end = file.seek(0, os.SEEK_END)
        if self._end:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                self._append(file, b"\n")

    def _append(self, file: IO[bytes], data: bytes) -> None:
        file.write(data)
        self._hash.update(data)
        self._end += len(data)

    def write(self, failures: Iterable[Failure]) -> FailuresFile:
        """Append failures. Return the new state of the file, for the journal.

        Raises:
            OSError: The file cannot be written.
        """
        for failure in failures:
            if self._file is None:
                create_private(self._path)
                self._file = self._path.open("r+b")
            self._append(self._file, failure.line().encode())
        if self._file is not None:
            # The journal must not record lines that are not in the file.
            self._file.flush()
        return FailuresFile(self._end, self._hash.digest())

    @property
    def path(self) -> str | None:
        """The file; `None` if it is empty or does not exist, because nothing failed."""
        return os.fspath(self._path) if self._end else None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
