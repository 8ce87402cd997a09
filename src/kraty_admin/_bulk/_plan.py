"""The plan of an import, without I/O: keys of rows, hashes of chunks, outcomes of answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

from kraty_server_api.decoding import is_array, is_object
from kraty_server_api.imports import DUPLICATE

from .._call._idempotency import KEY_FIELD, KEY_TRUSTED_FOR, derive_key_of_any, derive_keys
from .._call._json import encode
from ._rows import INVALID, Item, Kind, Layout, LeftOut, Row, Unreadable
from ._tally import Tally, amounts, totals, valid_amounts
from ._validate import are_plain, identities, problem

__all__ = [
    "LARGEST",
    "OUTCOME_UNKNOWN",
    "Chunk",
    "Failure",
    "Outcome",
    "Part",
    "Planner",
    "duplicate",
    "halves",
    "outcome",
    "rejected",
    "tally",
    "too_late",
    "unclear",
]

LARGEST: Final = 1000
"""The most rows that the server accepts in one call."""

OUTCOME_UNKNOWN: Final = "outcome_unknown"
"""The code of a row that was sent, and may or may not have taken effect."""

_LATEST_CLOCK_ERROR: Final = 3600
"""By how many seconds a clock may have been set back between two runs."""


class Failure(NamedTuple):
    """A row that was not imported, and why."""

    number: int
    code: str
    message: str
    row: Mapping[str, Any] | None
    """The row, without a derived key; `None` if it could not be read."""
    text: str = ""
    """The text that could not be read."""
    layout: Layout | None = None
    """How to read the text once it is fixed."""

    def line(self) -> str:
        """Return the line for the failures file."""
        name = None if self.row is None else self.row.get("externalPlayerId")
        line: dict[str, Any] = {"number": self.number}
        if isinstance(name, str):
            line["externalPlayerId"] = name
        line |= {"code": self.code, "message": self.message}
        if self.layout is not None:
            line["layout"] = self.layout._asdict()
        if self.row is not None:
            with suppress(TypeError, ValueError, RecursionError):
                return json.dumps({**line, "row": self.row}, allow_nan=False) + "\n"
        # A row that JSON cannot hold fails again when the file is imported.
        return json.dumps({**line, "text": self.text}) + "\n"


class Outcome(NamedTuple):
    """The outcome of rows that were sent."""

    applied: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()

    def plus(self, other: Outcome) -> Outcome:
        """Return the sum of both."""
        return Outcome(
            self.applied + other.applied,
            self.skipped + other.skipped,
            self.failures + other.failures,
        )


class Chunk(NamedTuple):
    """Rows that are sent together, with the rows between them that are not sent."""

    number: int
    """Its number in the import, from 1."""
    read: int
    """How many rows of the source begin in it."""
    first_row: int
    sent: list[dict[str, Any]]
    """The valid rows as they are sent, each with its key."""
    given: list[Row]
    """The same rows as the mapping returned them."""
    failures: tuple[Failure, ...]
    """Rows that cannot be sent."""
    left_out: Mapping[str, int]
    """How many rows the mapping left out, for each reason."""
    hash: bytes
    """The hash of everything in it."""

    def __str__(self) -> str:
        return f"chunk {self.number}, which begins with row {self.first_row},"

    def keys(self) -> list[str]:
        """Return the keys of the valid rows."""
        return [row[KEY_FIELD] for row in self.sent]


class Part(NamedTuple):
    """The rows of one call."""

    sent: list[dict[str, Any]]
    given: list[Row]
    hash: bytes

    def key(self, salt: str) -> str:
        """Return the key of the call: the same whenever this import sends these rows."""
        return derive_key_of_any("import call", salt, self.hash.hex())


class Planner:
    """Groups rows into chunks. Dry runs and imports both use it, so that they agree."""

    def __init__(self, kind: Kind, chunk_size: int) -> None:
        self._kind: Kind = kind
        self._chunk_size = chunk_size
        self._items: list[Item] = []
        self._source = 0
        self.chunks = 0
        """How many chunks were made so far."""

    def add(self, item: Item) -> Chunk | None:
        """Add a row. Return the chunk if this row fills it."""
        self._items.append(item)
        return self.rest() if len(self._items) >= self._chunk_size else None

    def rest(self) -> Chunk | None:
        """Return a chunk of the rows since the last one; `None` if there are none."""
        items, self._items = self._items, []
        if not items:
            return None
        self.chunks += 1
        # Source rows are numbered without gaps, and come in order.
        before, self._source = self._source, max(item.source for item in items)
        return _chunk(self._kind, self.chunks, self._source - before, items)


def _chunk(kind: Kind, number: int, read: int, items: Sequence[Item]) -> Chunk:
    given: list[Row] = []
    failures: list[Failure] = []
    left_out: dict[str, int] = {}
    for item in items:
        if isinstance(item, Row):
            given.append(item)
        elif isinstance(item, LeftOut):
            left_out[item.reason] = left_out.get(item.reason, 0) + 1
        else:
            failures.append(_unreadable(item))
    if not are_plain(kind, [item.row for item in given]):
        problems = [problem(kind, item.row) for item in given]
        pairs = list(zip(given, problems, strict=True))
        failures += [_failure(item, INVALID, why) for item, why in pairs if why]
        given = [item for item, why in pairs if why is None]
    sent = _with_keys(kind, [item.row for item in given])
    # Without the messages: another version may word them differently, and still resumes.
    failed = [failure._replace(message="").line() for failure in failures]
    rest = [failed, sorted(left_out.items())]
    content = _content(sent, rest)
    return Chunk(number, read, items[0].number, sent, given, tuple(failures), left_out, content)


def _with_keys(kind: Kind, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return valid rows, each with its own key, or with one derived from its identity."""
    lacking = [row for row in rows if KEY_FIELD not in row]
    keys = iter(derive_keys(("import", kind), identities(kind, lacking)))
    return [row if KEY_FIELD in row else {**row, KEY_FIELD: next(keys)} for row in rows]


def _content(sent: Sequence[Mapping[str, Any]], rest: object) -> bytes:
    return hashlib.sha256(encode({"rows": sent}) + json.dumps(rest).encode()).digest()


def _unreadable(item: Unreadable) -> Failure:
    return Failure(item.number, item.code, item.message, item.row, item.text, item.layout)


def _failure(given: Row, code: str, message: str) -> Failure:
    return Failure(given.number, code, message, given.row)


def duplicate(given: Row, first: int) -> Failure:
    """Return the failure of a row that has the key of an earlier row."""
    own_key = given.row.get(KEY_FIELD) is not None
    message = (
        f"row {first} has the same idempotencyKey"
        if own_key
        else f"row {first} is for the same player and currency or item, so it has the same key. "
        "If both are one change, delete this row. If it is another change, give it its own "
        "idempotencyKey"
    )
    return _failure(given, DUPLICATE, message)


def too_late(part: Part, begun_at: float, now: float) -> Outcome | None:
    """Return the outcome of rows in doubt that cannot be sent again, or `None` if they can.

    Args:
        part: The rows.
        begun_at: When they were sent for the first time, in seconds since 1970.
        now: The time now.
    """
    if -_LATEST_CLOCK_ERROR < now - begun_at < KEY_TRUSTED_FOR:
        return None
    return _unknown(
        part,
        f"this row was sent at {_time(begun_at)}, and its outcome is unknown. Its key may have "
        "expired since. Look the player up: if the row took effect, delete this line; if not, "
        "import it",
    )


def unclear(part: Part, why: str, since: float) -> Outcome:
    """Return the outcome of rows about which no answer is clear.

    Args:
        part: The rows.
        why: What is unclear, as a clause.
        since: When they were sent for the first time, in seconds since 1970.
    """
    return _unknown(
        part,
        f"{why}. This row may have taken effect. Import it again before "
        f"{_time(since + KEY_TRUSTED_FOR)}: if it did take effect, Kraty skips it. After that "
        "time, look the player up first",
    )


def _unknown(part: Part, message: str) -> Outcome:
    return Outcome(failures=tuple(_failure(row, OUTCOME_UNKNOWN, message) for row in part.given))


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(0, timezone.utc) + timedelta(seconds=seconds)
    return moment.isoformat(sep=" ", timespec="minutes").replace("+00:00", " UTC")


def halves(part: Part) -> tuple[Part, Part]:
    """Split a part that was rejected as a whole, to find the row that caused it."""
    middle = len(part.sent) // 2
    return (
        _part(part.sent[:middle], part.given[:middle]),
        _part(part.sent[middle:], part.given[middle:]),
    )


def _part(sent: list[dict[str, Any]], given: list[Row]) -> Part:
    return Part(sent, given, _content(sent, None))


def rejected(part: Part, code: str, message: str) -> Outcome:
    """Return the outcome of a part of one row that the server rejected."""
    (given,) = part.given
    return Outcome(failures=(_failure(given, code, message),))


def outcome(part: Part, answer: Mapping[str, Any], since: float) -> Outcome:
    """Return what an answer says about the rows that were sent.

    Args:
        part: The rows.
        answer: The server's answer.
        since: When they were sent for the first time, in seconds since 1970.
    """
    try:
        failed = _failed(answer, len(part.sent))
        applied, skipped = _number(answer, "applied"), _number(answer, "skipped")
        total = applied + skipped + len(failed)
        if total != len(part.sent):
            raise ValueError(
                f"it has {applied} applied, {skipped} skipped and {len(failed)} failed rows, but "
                f"{len(part.sent)} were sent"
            )
    except ValueError as error:
        return unclear(part, f"the server's answer contradicts itself: {error}", since)
    failures = tuple(_failure(part.given[index], *failed[index]) for index in sorted(failed))
    return Outcome(applied, skipped, failures)


def _number(answer: Mapping[str, Any], name: str) -> int:
    value = answer.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is not a count")
    return value


def _failed(answer: Mapping[str, Any], sent: int) -> dict[int, tuple[str, str]]:
    """Return code and message of each row that the server rejected, by its index in the call."""
    failures = answer.get("failures")
    if not is_array(failures):
        raise ValueError("failures is not a list")
    found: dict[int, tuple[str, str]] = {}
    for failure in failures:
        index = failure.get("rowIndex") if is_object(failure) else None
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < sent:
            raise ValueError("a failure names a row that was not sent")
        if index in found:
            raise ValueError("two failures name the same row")
        error = failure.get("error") if is_object(failure) else None
        facts = error if is_object(error) else {}
        found[index] = (str(facts.get("code", "")), str(facts.get("message", "")))
    if _number(answer, "failed") != len(found):
        raise ValueError(f"{answer['failed']} rows failed, but {len(found)} failures are listed")
    return found


def tally(
    kind: Kind, chunk: Chunk, duplicates: Sequence[Failure], part: Part, result: Outcome
) -> Tally:
    """Count the outcomes of a chunk's rows.

    Args:
        kind: The kind of rows.
        chunk: The chunk.
        duplicates: Its rows that were not sent because an earlier row has the same key.
        part: Its rows that were sent.
        result: The outcome of the rows that were sent.
    """
    left_out = dict(chunk.left_out)
    if duplicates:
        left_out[DUPLICATE] = left_out.get(DUPLICATE, 0) + len(duplicates)
    failures = [*chunk.failures, *result.failures]
    rejected = _amounts(kind, result.failures)
    imported = {
        key: amount - rejected.get(key, 0) for key, amount in valid_amounts(kind, part.sent).items()
    }
    return Tally(
        chunk.read,
        result.applied,
        result.skipped,
        len(failures),
        left_out,
        totals(imported, _amounts(kind, duplicates), _amounts(kind, failures)),
    )


def _amounts(kind: Kind, failures: Sequence[Failure]) -> dict[str, int]:
    return amounts(kind, [each.row for each in failures if each.row is not None])
