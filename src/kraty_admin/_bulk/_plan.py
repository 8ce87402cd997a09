"""What is sent, decided without I/O: rows get keys, chunks get hashes, outcomes become counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from kraty_server_api.decoding import is_array, is_object

from .._call._idempotency import FIELD, derive_key, derive_key_of_any
from .._call._json import encode
from ._journal import Counts
from ._rows import Item, Kind, Row, Unreadable
from ._validate import identity

__all__ = [
    "LARGEST",
    "Chunk",
    "Failure",
    "Outcome",
    "Part",
    "Planner",
    "counts",
    "duplicate",
    "halves",
    "outcome",
    "with_key",
]

LARGEST: Final = 1000
"""How many rows the server takes at a time."""


class Failure(NamedTuple):
    """A row that was not imported, and why."""

    number: int
    code: str
    message: str
    row: Mapping[str, Any] | None
    """The row, without a key that was derived; `None` if it could not be read."""
    text: str = ""
    """What could not be read."""

    def line(self) -> str:
        """Its line in the file of failures."""
        name = None if self.row is None else self.row.get("externalPlayerId")
        told: dict[str, Any] = {"number": self.number}
        if isinstance(name, str):
            told["externalPlayerId"] = name
        told |= {"code": self.code, "message": self.message}
        told |= {"text": self.text} if self.row is None else {"row": self.row}
        return json.dumps(told, default=repr) + "\n"


class Outcome(NamedTuple):
    """What became of the rows that were sent."""

    applied: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()

    def plus(self, other: Outcome) -> Outcome:
        """Both together."""
        return Outcome(
            self.applied + other.applied,
            self.skipped + other.skipped,
            self.failures + other.failures,
        )


class Chunk(NamedTuple):
    """Rows that are sent together."""

    number: int
    """Its place in the import, from 1."""
    size: int
    """How many rows of the input it stands for."""
    first_row: int
    rows: Sequence[tuple[Row, Row]]
    """Each row as it is sent, and as it was given."""
    failures: tuple[Failure, ...]
    """Those that cannot be sent."""
    hash: bytes
    """Of all of it."""

    def __str__(self) -> str:
        return f"chunk {self.number}, which begins with row {self.first_row},"


class Part(NamedTuple):
    """Rows of one call."""

    rows: Sequence[tuple[Row, Row]]
    hash: bytes

    def body(self) -> list[dict[str, Any]]:
        """What is sent."""
        return [sent.row for sent, _ in self.rows]

    def key(self, salt: str) -> str:
        """The key of the call: the same whenever this import sends these rows."""
        return derive_key("import call", salt, self.hash.hex())


class Planner:
    """Makes chunks of rows."""

    def __init__(self, kind: Kind, chunk_size: int) -> None:
        self._kind: Kind = kind
        self._chunk_size = chunk_size
        self._items: list[Item] = []
        self.chunks = 0
        """How many there have been."""

    def add(self, item: Item) -> Chunk | None:
        """Add a row; returns the chunk that is full with it."""
        self._items.append(item)
        return self.rest() if len(self._items) >= self._chunk_size else None

    def rest(self) -> Chunk | None:
        """The chunk of what has been added since the last one."""
        items, self._items = self._items, []
        if not items:
            return None
        self.chunks += 1
        return _chunk(self._kind, self.chunks, items)


def _chunk(kind: Kind, number: int, items: Sequence[Item]) -> Chunk:
    rows = [(with_key(kind, item), item) for item in items if isinstance(item, Row)]
    failures = [
        Failure(item.number, item.code, item.message, None, item.text)
        for item in items
        if isinstance(item, Unreadable)
    ]
    try:
        content = _content(rows, failures)
    except (TypeError, ValueError):
        problems = [_why_not_json(sent) for sent, _ in rows]
        failures += [
            Failure(given.number, "validation_failed", problem, given.row)
            for (_, given), problem in zip(rows, problems, strict=True)
            if problem is not None
        ]
        rows = [pair for pair, problem in zip(rows, problems, strict=True) if problem is None]
        content = _content(rows, failures)
    return Chunk(number, len(items), items[0].number, rows, tuple(failures), content)


def with_key(kind: Kind, row: Row) -> Row:
    """A row with its key: its own, or one that follows from what it is about."""
    if row.row.get(FIELD) is not None:
        return row
    parts = identity(kind, row.row)
    if parts is None:
        return row  # the server says what it lacks
    try:
        key = derive_key_of_any("import", kind, *parts)
    except ValueError:
        return row
    return Row(row.number, {**row.row, FIELD: key})


def _content(rows: Sequence[tuple[Row, Row]], failures: Sequence[Failure]) -> bytes:
    sent = encode({"rows": [sent.row for sent, _ in rows]})
    rest = json.dumps([(each.number, each.code, each.text) for each in failures])
    return hashlib.sha256(sent + rest.encode()).digest()


def _why_not_json(row: Row) -> str | None:
    try:
        encode(row.row)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def duplicate(given: Row, first: int) -> Failure:
    """A row whose key an earlier one has."""
    message = f"row {first} has the same idempotencyKey, or is about the same"
    return Failure(given.number, "duplicate_row", message, given.row)


def halves(part: Part) -> tuple[Part, Part]:
    """Two parts of one that was refused as a whole, to find the row that it was refused for."""
    middle = len(part.rows) // 2
    first, second = part.rows[:middle], part.rows[middle:]
    return Part(first, _content(first, ())), Part(second, _content(second, ()))


def outcome(rows: Sequence[tuple[Row, Row]], answer: Mapping[str, Any]) -> Outcome:
    """What the server says of the rows that it was sent."""
    failures = answer.get("failures")
    return Outcome(
        _count(answer.get("applied")),
        _count(answer.get("skipped")),
        tuple(_failures(rows, failures if is_array(failures) else [])),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _failures(rows: Sequence[tuple[Row, Row]], failures: Sequence[object]) -> list[Failure]:
    found: list[Failure] = []
    for failure in failures:
        index = failure.get("rowIndex") if is_object(failure) else None
        if not isinstance(index, int) or not 0 <= index < len(rows):
            continue
        error = failure.get("error") if is_object(failure) else None
        told = error if is_object(error) else {}
        given = rows[index][1]
        code, message = str(told.get("code", "")), str(told.get("message", ""))
        found.append(Failure(given.number, code, message, given.row))
    return found


def counts(chunk: Chunk, duplicates: int, sent: Outcome) -> Counts:
    """What became of a chunk's rows."""
    failed = chunk.size - duplicates - sent.applied - sent.skipped
    return Counts(chunk.size, sent.applied, sent.skipped, failed, duplicates)
