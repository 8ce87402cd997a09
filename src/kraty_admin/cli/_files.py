"""Files that hold secrets or personal data: write them for their owner, and report errors."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from ._failures import CommandError, refusal

__all__ = ["cannot_read", "write_privately"]


def cannot_read(path: Path, error: OSError | ValueError) -> CommandError:
    """Return the error of a command that cannot read a secret from a file."""
    # Not the error's text: an encoding error contains the file's bytes.
    reason = error.strerror if isinstance(error, OSError) else "it is not text"
    return refusal(f"cannot read {str(path)!r}: {reason}")


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
