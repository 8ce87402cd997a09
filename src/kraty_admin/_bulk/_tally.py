"""The counts and control totals of an import. Each row is applied, skipped, left out or failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from operator import itemgetter
from typing import Any, Final, NamedTuple

from kraty_server_api.imports import ImportReport, ImportTotals

from ._rows import AMOUNT_FIELDS, Kind

__all__ = [
    "Amounts",
    "Tally",
    "amounts",
    "from_json",
    "tally_of",
    "to_json",
    "totals",
    "valid_amounts",
]

_MOST_KEYS: Final = 1000
"""How many currencies or items have their own total.

If a column of player ids is mapped by mistake, the totals must not fill the memory.
"""

_OTHERS: Final = "(others)"

Amounts = Mapping[str, int]
"""The sum of the amounts of each currency or item."""


def amounts(kind: Kind, rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Add up the amounts of rows. Rows without a readable amount or currency do not count."""
    if kind not in AMOUNT_FIELDS:
        return {}
    key_name, amount_name = AMOUNT_FIELDS[kind]
    sums: dict[str, int] = {}
    for row in rows:
        key, amount = row.get(key_name), row.get(amount_name)
        if type(key) is str and type(amount) is int:
            sums[key] = sums.get(key, 0) + amount
    return sums


def valid_amounts(kind: Kind, rows: list[dict[str, Any]]) -> dict[str, int]:
    """Add up the amounts of valid rows. Faster than `amounts` if all have the same currency."""
    if kind not in AMOUNT_FIELDS or not rows:
        return {}
    key_name, amount_name = AMOUNT_FIELDS[kind]
    keys = set(map(itemgetter(key_name), rows))
    if len(keys) > 1:
        return amounts(kind, rows)
    return {keys.pop(): sum(map(itemgetter(amount_name), rows))}


def totals(imported: Amounts, left_out: Amounts, failed: Amounts) -> dict[str, ImportTotals]:
    """Return the control totals for these amounts."""
    return {
        key: ImportTotals(
            imported.get(key, 0) + left_out.get(key, 0) + failed.get(key, 0),
            imported.get(key, 0),
            left_out.get(key, 0),
            failed.get(key, 0),
        )
        for key in {**imported, **left_out, **failed}
    }


class Tally(NamedTuple):
    """The counts and control totals of some rows."""

    read: int = 0
    """How many rows of the source were read."""
    applied: int = 0
    skipped: int = 0
    failed: int = 0
    left_out: Mapping[str, int] = {}
    """How many rows were left out, for each reason."""
    totals: Mapping[str, ImportTotals] = {}

    @property
    def rows(self) -> int:
        """The sum of the four counts."""
        return self.applied + self.skipped + self.failed + sum(self.left_out.values())

    def plus(self, other: Tally) -> Tally:
        """Return the sum of both."""
        left_out = dict(self.left_out)
        for reason, count in other.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + count
        totals = dict(self.totals)
        for key, more in other.totals.items():
            name = key if key in totals or len(totals) < _MOST_KEYS else _OTHERS
            sums = zip(astuple(totals.get(name, ImportTotals())), astuple(more), strict=True)
            totals[name] = ImportTotals(*map(sum, sums))
        return Tally(
            self.read + other.read,
            self.applied + other.applied,
            self.skipped + other.skipped,
            self.failed + other.failed,
            left_out,
            totals,
        )


def tally_of(report: ImportReport) -> Tally:
    """Return the counts of a report."""
    return Tally(
        report.read,
        report.applied,
        report.skipped,
        report.failed,
        report.left_out_reasons,
        report.totals,
    )


def to_json(tally: Tally) -> str:
    """Return a tally as text for the journal."""
    sums = {key: astuple(each) for key, each in tally.totals.items()}
    return json.dumps([*tally[:4], tally.left_out, sums])


def from_json(text: str) -> Tally:
    """Parse the result of `to_json`."""
    read, applied, skipped, failed, left_out, sums = json.loads(text)
    found = {key: ImportTotals(*each) for key, each in sums.items()}
    return Tally(read, applied, skipped, failed, left_out, found)
