"""Imports of any size: their reports, dry runs, and imports of many files.

The imports themselves are methods of a client: `kraty.migrate.import_players`,
`import_wallet` and `import_inventory`.
"""

from .._bulk._dry_run import dry_run
from .._bulk._mapping import parse_map
from .._bulk._options import ReadOptions
from .._bulk._report import ImportReport, ImportStoppedError, ImportTotals
from ._dataset import import_dataset
from ._partition import import_partition

__all__ = [
    "ImportReport",
    "ImportStoppedError",
    "ImportTotals",
    "ReadOptions",
    "dry_run",
    "import_dataset",
    "import_partition",
    "parse_map",
]

# Make tracebacks, reprs and pickles name this public module.
for _name in __all__:
    globals()[_name].__module__ = __name__
