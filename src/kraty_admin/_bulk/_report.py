"""The result of an import, and the error of one that stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from kraty_server_api.decoding import is_array, is_object
from kraty_server_api.imports import ImportReport, ImportTotals

from ..errors import KratyError, moment

__all__ = ["ImportReport", "ImportStoppedError", "ImportTotals"]


class ImportStoppedError(KratyError):
    """An import stopped before its end. If it has a journal, it can be resumed.

    The error that stopped it is its `__cause__`.

    Args:
        message: Why it stopped.
        facts: The facts from another error's `args`, to copy that error.
        report: The report so far. Default: that of `facts`, or an empty one.
        cause: The error that stopped it.
    """

    # A pickle of 0.1.0 does not have these.
    _retryable: bool = False
    _first_sent_at: datetime | None = None

    def __init__(
        self,
        message: str,
        facts: Mapping[str, Any] | None = None,
        *,
        report: ImportReport | None = None,
        cause: Exception | None = None,
    ) -> None:
        super().__init__(message)
        facts = facts or {}
        self.report: ImportReport = _report_of(facts) if report is None else report
        """The report up to the stop."""
        # Not read from `__cause__` later: a copy in another process has no cause.
        if isinstance(cause, KratyError):
            self._retryable, self._first_sent_at = cause.retryable, cause.first_sent_at
        else:
            self._retryable = facts.get("retryable") is True
            self._first_sent_at = moment(facts.get("first_sent_at"))
        self._set_facts(
            report=asdict(self.report),
            retryable=self._retryable,
            first_sent_at=self._first_sent_at and self._first_sent_at.isoformat(),
        )

    @property
    def retryable(self) -> bool:
        """Whether running the import again may help, because its `__cause__` is retryable.

        If it has a journal, resume it. How long the platform keeps the keys of rows
        is not documented, so run it again within 23 hours of its start.
        """
        return self._retryable

    @property
    def first_sent_at(self) -> datetime | None:
        """When the first attempt of the call that stopped the import began, in UTC.

        `None` if no call stopped it. Calls before that one were sent earlier.
        """
        return self._first_sent_at


def _report_of(facts: Mapping[str, Any]) -> ImportReport:
    """Return the report that an error's facts hold; an empty one if they hold none."""
    report: object = facts.get("report")
    if not is_object(report):
        return ImportReport()
    known = {field.name for field in fields(ImportReport)}
    found = {name: value for name, value in report.items() if name in known}
    # In JSON, these are objects and arrays.
    totals: object = found.get("totals")
    if is_object(totals):
        found["totals"] = {key: _totals_of(each) for key, each in totals.items()}
    if is_array(found.get("notes")):
        found["notes"] = tuple(found["notes"])
    return ImportReport(**found)


def _totals_of(value: object) -> ImportTotals:
    known = {field.name for field in fields(ImportTotals)}
    found = value if is_object(value) else {}
    return ImportTotals(**{name: number for name, number in found.items() if name in known})


# Make reprs and tracebacks name the public module.
for _public in (ImportReport, ImportTotals, ImportStoppedError):
    _public.__module__ = "kraty_admin.bulk"
