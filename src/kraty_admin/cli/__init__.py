"""The `kraty-admin` command. It needs the extra `kraty-admin[cli]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

__all__ = ["main"]

_EXTRA: Final = frozenset({"click", "rich", "tomli"})
"""The packages of the extra `cli`, by the names under which they are imported."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments. Default: those of the process.

    Returns:
        The exit status; `kraty-admin --help` lists them.
    """
    try:
        from ._app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise  # pragma: no cover: an import of our own is wrong
        sys.stderr.write("The command line is an extra: pip install 'kraty-admin[cli]'\n")
        return 2
    return run(sys.argv[1:] if argv is None else argv)
