"""`make surface`: record the public surface."""

from __future__ import annotations

from . import RECORD, public_surface

if __name__ == "__main__":
    RECORD.write_text(public_surface(), encoding="utf-8", newline="\n")
