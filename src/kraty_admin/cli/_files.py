"""Files that only their owner may read."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

__all__ = ["write_privately"]


def write_privately(path: Path, data: bytes) -> None:
    """Write a file with mode 0600, completely or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    # Written to a temporary file with that mode first, so that no one else can read it meanwhile.
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
