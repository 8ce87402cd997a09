"""How the blocks of the pages are run that need more than a reader who types: a module a page."""

from ..testkit import CHECKS
from . import cli, emulator, errors, imports, observability, outbox, readme, sdk

__all__ = [
    "CHECKS",
    "cli",
    "emulator",
    "errors",
    "imports",
    "observability",
    "outbox",
    "readme",
    "sdk",
]
