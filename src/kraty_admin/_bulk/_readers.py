"""Reading files row by row. A line that cannot be read is reported, and the rest goes on.

Lines are decoded one by one, so that a bad byte spoils its own line only, and no more than
a record is held at a time. The exception is `.json`, one document that is loaded whole.

In CSV a quoted cell may go over several lines. When a quote is not closed as it should be,
the line that opened it is unreadable and the next line is read as a row of its own.
Only where a record is too long is it passed over up to its closing quote: what stands
inside a cell must never be taken for a row.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timezone
from decimal import Decimal
from functools import partial
from importlib import import_module
from math import isinf, isnan
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple, NoReturn, Protocol, cast

from ._rows import UNREADABLE, Read, Row, Unreadable, excerpt

__all__ = ["parse_json", "read_file"]

_LINE_LIMIT: Final = 16 * 2**20
"""In bytes. A longer line is unreadable."""

_RECORD_LINES: Final = 1000
_RECORD_SIZE: Final = 2**20
"""In characters. What a CSV record over several lines may hold."""

_REWINDS: Final = 10
"""How often a file is read again from within, so that an odd one takes no endless time."""

_BATCH: Final = 2000
_BOM: Final = b"\xef\xbb\xbf"

_TOO_LONG: Final = f"is longer than {_LINE_LIMIT // 2**20} MiB"
_NOT_UTF8: Final = "is not UTF-8"
_NUL: Final = "holds a NUL byte"
_OPEN_QUOTE: Final = "opens a quote that is not closed as it should be"
_LONG_RECORD: Final = (
    f"begins a record of more than {_RECORD_LINES} lines or {_RECORD_SIZE} characters"
)


def read_file(path: str | os.PathLike[str]) -> Iterator[Read]:
    """The rows of a file, read as they are asked for.

    Args:
        path: A `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.json` or `.parquet` file; all but the
            last also with `.gz` behind. A `.json` file holds a list of objects, or an
            object of whose members one is such a list, and is loaded whole.

    Returns:
        Rows, and what cannot be read as one. Cells of CSV and TSV stay text.

    Raises:
        ValueError: The suffix is another one. When rows are asked for: the file
            is empty, its header has blank or repeated names, or it is broken as a whole.
        OSError: When rows are asked for: the file cannot be opened.
    """
    file = Path(path)
    suffixes = [suffix.lower() for suffix in file.suffixes]
    packed = suffixes[-1:] == [".gz"]
    suffix = "".join(suffixes[:-1][-1:] if packed else suffixes[-1:])
    if suffix == ".parquet" and not packed:
        return _read_parquet(file)
    reader = _READERS.get(suffix)
    if reader is None:
        known = ", ".join(_READERS)
        raise ValueError(
            f"{file.name!r} has no suffix that is known: {known} (each may have .gz behind)"
            " or .parquet"
        )
    return _read_packed(file, reader) if packed else _read_plain(file, reader)


_Reader = Callable[[Path, IO[bytes]], Iterator[Read]]


def _read_plain(path: Path, reader: _Reader) -> Iterator[Read]:
    with path.open("rb") as file:
        yield from reader(path, file)


def _read_packed(path: Path, reader: _Reader) -> Iterator[Read]:
    number = 0
    try:
        # The second buffer makes short lines quick to read.
        with gzip.open(path) as packed, io.BufferedReader(cast(io.RawIOBase, packed)) as file:
            for item in reader(path, file):
                number = item.number
                yield item
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} cannot be unpacked beyond row {number}: {error}") from error


# Lines


class _Line(NamedTuple):
    number: int
    text: str
    """With its end; bytes that are not UTF-8 stand as lone surrogates."""
    end: int
    """The offset at which the next line begins."""
    flaw: str | None
    """Why it cannot be read, to follow "the line"."""


class _Lines:
    """The lines of a file, with a way back."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._number = 0
        self._at = 0
        self._again: deque[_Line] = deque()
        self._rewinds = 0

    def next(self) -> _Line | None:
        if self._again:
            return self._again.popleft()
        raw = self._file.readline(_LINE_LIMIT)
        if not raw:
            return None
        self._number += 1
        self._at += len(raw)
        flaw = _NUL if b"\0" in raw else None
        if len(raw) == _LINE_LIMIT and not raw.endswith(b"\n"):
            raw, flaw = raw[:8000], self._pass_over() or flaw
        if self._number == 1:
            raw = raw.removeprefix(_BOM)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text, flaw = raw.decode(errors="surrogateescape"), flaw or _NOT_UTF8
        return _Line(self._number, text, self._at, flaw)

    def _pass_over(self) -> str:
        while rest := self._file.readline(_LINE_LIMIT):
            self._at += len(rest)
            if rest.endswith(b"\n"):
                break
        return _TOO_LONG

    def read_again(self, lines: Iterable[_Line]) -> None:
        self._again.extendleft(reversed(list(lines)))

    def go_back_behind(self, line: _Line) -> bool:
        """Read again from behind a line; false if that was done too often."""
        if self._rewinds >= _REWINDS:
            return False
        self._rewinds += 1
        self._again.clear()
        self._file.seek(line.end)
        self._at, self._number = line.end, line.number
        return True


def _unreadable(number: int, flaw: str, text: str) -> Unreadable:
    return Unreadable(number, UNREADABLE, f"the line {flaw}", excerpt(text))


# CSV and TSV


def _read_csv(path: Path, file: IO[bytes]) -> Iterator[Read]:
    return _read_cells(path, file, ",")


def _read_tsv(path: Path, file: IO[bytes]) -> Iterator[Read]:
    return _read_cells(path, file, "\t")


def _read_cells(path: Path, file: IO[bytes], delimiter: str) -> Iterator[Read]:
    lines = _Lines(file)
    names = _names(path, _next_record(lines, delimiter), delimiter)
    record = _next_record(lines, delimiter)
    if record is None:
        raise ValueError(f"{path} is empty: it has a header, but no row below it")
    while record is not None:
        yield _as_row(record, names, delimiter)
        record = _next_record(lines, delimiter)


def _names(path: Path, header: _Line | None, delimiter: str) -> list[str]:
    if header is None:
        raise ValueError(f"{path} is empty: it lacks a header line that names the columns")
    try:
        names = _cells(header, delimiter)
    except ValueError as problem:
        raise ValueError(f"{path}, line {header.number}: the header {problem}") from None
    if not all(map(str.strip, names)):
        blank = ", ".join(str(place) for place, name in enumerate(names, 1) if not name.strip())
        raise ValueError(f"{path}: the header leaves columns without a name: number {blank}")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f"{path}: the header names columns twice: {', '.join(twice)}")
    return names


def _as_row(record: _Line, names: list[str], delimiter: str) -> Read:
    try:
        cells = _cells(record, delimiter)
    except ValueError as problem:
        return _unreadable(record.number, str(problem), record.text)
    if len(cells) != len(names):
        flaw = f"has {len(cells)} cells, where the header has {len(names)}"
        return _unreadable(record.number, flaw, record.text)
    return Row(record.number, dict(zip(names, cells, strict=True)))


def _cells(record: _Line, delimiter: str) -> list[str]:
    if record.flaw is not None:
        raise ValueError(record.flaw)
    bare = record.text.removesuffix("\n").removesuffix("\r")
    if '"' not in bare and "\r" not in bare and len(bare) <= csv.field_size_limit():
        return bare.split(delimiter)
    try:
        return next(csv.reader([record.text], strict=True, delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"is not CSV: {error}") from None


def _next_record(lines: _Lines, delimiter: str) -> _Line | None:
    """The next record, as one line with all of its text; blank lines are passed over."""
    first = lines.next()
    while first is not None and not first.text.strip("\r\n"):
        first = lines.next()
    if first is None or '"' not in first.text or first.flaw is _TOO_LONG:
        return first
    taken: list[_Line] = []
    last, size, fits, flaw = first, len(first.text), True, first.flaw
    state = _quote_after(first.text, delimiter, inside=False)
    while state == "open":
        line = lines.next()
        if line is None:
            state = "broken"
            break
        last, size, flaw = line, size + len(line.text), flaw or line.flaw
        fits = fits and len(taken) + 1 < _RECORD_LINES and size <= _RECORD_SIZE
        if fits:
            taken.append(line)
        state = _quote_after(line.text, delimiter, inside=True)
    if state == "broken":
        flaw = first.flaw or _OPEN_QUOTE
        if fits:
            lines.read_again(taken)
        elif not lines.go_back_behind(first):
            flaw += f", and is passed over up to line {last.number}"
        return first._replace(flaw=flaw)
    if not fits:
        flaw = f"{_LONG_RECORD}, which is passed over up to line {last.number}"
    text = "".join([first.text, *(line.text for line in taken)])
    return first._replace(text=text, flaw=flaw)


def _quote_after(text: str, delimiter: str, *, inside: bool) -> Literal["open", "closed", "broken"]:
    """How a line ends: within a quoted cell or not. As csv reads it, strictly."""
    at = 0
    if not inside:
        inside = text.startswith('"')
        at = 1 if inside else 0
    while True:
        if not inside:
            start = text.find(f'{delimiter}"', at)
            if start < 0:
                return "closed"
            at = start + 2
        quote = text.find('"', at)
        if quote < 0:
            return "open"
        behind = text[quote + 1 : quote + 2]
        inside = behind == '"'
        if not inside and behind not in ("", "\r", "\n", delimiter):
            return "broken"
        at = quote + 2 if inside else quote + 1


# JSON


def parse_json(text: str) -> Any:
    """A value of JSON as the RFC has it: no NaN, no key twice, text that UTF-8 can hold.

    Raises:
        ValueError: It is not; the message, to follow "it", quotes nothing of the text.
    """
    try:
        value = _JSON.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("is JSON that is nested too deeply") from None
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("holds a lone surrogate, which UTF-8 cannot hold") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("holds an object that has a key twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError("holds a number that is too large")
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("holds a number of too many digits") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which JSON lacks")


_JSON: Final = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_float=_finite,
    parse_int=_whole,
    parse_constant=_no_constant,
)


def _read_jsonl(path: Path, file: IO[bytes]) -> Iterator[Read]:
    lines = _Lines(file)
    empty = True
    while (line := lines.next()) is not None:
        if not line.text.strip(" \t\r\n"):
            continue
        empty = False
        yield _from_line(line)
    if empty:
        raise ValueError(f"{path} is empty: it lacks lines with a JSON object each")


def _from_line(line: _Line) -> Read:
    if line.flaw is not None:
        return _unreadable(line.number, line.flaw, line.text)
    try:
        value = parse_json(line.text)
    except ValueError as flaw:
        return _unreadable(line.number, str(flaw), line.text)
    return _from_json(line.number, value, lambda: line.text)


_FAILURE: Final = frozenset({"number", "code", "message"})


def _from_json(number: int, value: object, text: Callable[[], str]) -> Read:
    if not isinstance(value, dict):
        return _unreadable(number, "is JSON, but not an object", text())
    row = cast("dict[str, Any]", value)
    # The importer's own report of failures, mended perhaps, may be fed back in.
    if not row.keys() >= _FAILURE:
        return Row(number, row)
    rest = row.keys() - _FAILURE - {"externalPlayerId"}
    if rest == {"row"}:
        mended: object = row["row"]
        if not isinstance(mended, dict):
            return _unreadable(number, "holds a failure whose row is not an object", text())
        return Row(number, cast("dict[str, Any]", mended))
    if rest == {"text"}:
        message, source = row["message"], row["text"]
        return Unreadable(
            number,
            UNREADABLE,
            message if isinstance(message, str) else "the line was unreadable before",
            excerpt(source if isinstance(source, str) else text()),
        )
    return Row(number, row)


def _read_json(path: Path, file: IO[bytes]) -> Iterator[Read]:
    try:
        text = file.read().removeprefix(_BOM).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} {_NOT_UTF8}") from None
    if not text.strip():
        raise ValueError(f"{path} is empty: it lacks a list of objects")
    try:
        document = parse_json(text)
    except ValueError as problem:
        raise ValueError(f"{path} {problem}") from None
    del text
    rows = _rows_of(document)
    if rows is None:
        raise ValueError(
            f"{path} holds neither a list nor an object of whose members exactly one is a list"
        )
    if not rows:
        raise ValueError(f"{path} is empty: its list holds no rows")
    for number, value in enumerate(rows, 1):
        yield _from_json(number, value, partial(json.dumps, value))


def _rows_of(document: object) -> list[object] | None:
    if isinstance(document, list):
        return cast("list[object]", document)
    if not isinstance(document, dict):
        return None
    members = cast("dict[str, object]", document).values()
    lists = [cast("list[object]", member) for member in members if isinstance(member, list)]
    return lists[0] if len(lists) == 1 else None


_READERS: Final[Mapping[str, _Reader]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
}


# Parquet


class _Batch(Protocol):
    num_rows: int

    def to_pylist(self) -> list[dict[str, Any]]: ...

    def slice(self, offset: int, length: int) -> _Batch: ...


class _ParquetFile(Protocol):
    schema_arrow: Any

    def iter_batches(self, batch_size: int) -> Iterator[_Batch]: ...

    def close(self) -> None: ...


def _read_parquet(path: Path) -> Iterator[Read]:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise ValueError("Parquet needs an extra: pip install 'kraty-admin[parquet]'") from None
    number = 0
    with path.open("rb") as source:
        try:
            file: _ParquetFile = parquet.ParquetFile(source)
            names: list[str] = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise ValueError("it names columns twice")
            for batch in file.iter_batches(_BATCH):
                for value in _values(batch):
                    number += 1
                    yield _from_parquet(number, value)
        except (arrow.ArrowException, ValueError, OSError) as error:
            raise ValueError(f"{path} cannot be read beyond row {number}: {error}") from error
    if number == 0:
        raise ValueError(f"{path} is empty: it has columns, but no rows")


def _values(batch: _Batch) -> list[dict[str, Any] | None]:
    """The rows of a batch; `None` for one that Python has no values for."""
    try:
        return list(batch.to_pylist())
    except ValueError:
        if batch.num_rows == 1:
            return [None]
    rows = (_values(batch.slice(offset, 1)) for offset in range(batch.num_rows))
    return [row for [row] in rows]


def _from_parquet(number: int, value: dict[str, Any] | None) -> Read:
    if value is None:
        return _unreadable(number, "holds a value that Python has no type for", "")
    try:
        return Row(number, {name: _plain(member) for name, member in value.items()})
    except ValueError as flaw:
        return _unreadable(number, str(flaw), repr(value))


def _plain(value: object) -> Any:
    """A value as JSON has it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if isinf(value):
            raise ValueError("holds an infinite number, which JSON lacks")
        return None if isnan(value) else value  # data frames write NaN for what is missing
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("holds a decimal that is no number")
        return int(value) if value == value.to_integral_value() else str(value)
    if isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
        return moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()  # older writers do not mark text as such
        except UnicodeDecodeError:
            raise ValueError("holds bytes that are not UTF-8") from None
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return {name: _plain(member) for name, member in members.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in cast("list[object]", value)]
    raise ValueError(f"holds a value of type {type(value).__name__}, which JSON lacks")
