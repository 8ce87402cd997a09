"""CSV, TSV and similar formats: lines of cells, below a line of names.

Quotes enclose cells in CSV. In TSV, as PlayFab and PostgreSQL write it, they are plain
characters. But some programs write TSV with CSV's quotes. So a TSV cell that begins and ends
with a quote is refused until the user chooses.

A quoted cell may span several lines. A stray quote looks the same, and would swallow the rows up
to the next quote. So if the lines of such a cell could be rows, each of them fails, unless the
user expects such cells (`multiline`). None of them is ever read as a row, because a player may
have written the text of the cell.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from operator import methodcaller
from typing import Final, Literal, NamedTuple

from ._lines import TOO_LONG, Line, Lines, Readable, unreadable
from ._options import Quoting
from ._rows import LONGEST_TEXT, Layout, Read, Row, Unreadable, listed

__all__ = ["Dialect", "Headerless", "read_delimited", "read_text"]

_RECORD_LINES: Final = 5000
_RECORD_SIZE: Final = 2**20
"""The longest record that spans several lines, in characters."""

_READ_AGAIN: Final = 64 * 2**20
"""How much of a file is read again after quotes that are not closed, in characters."""

_OPEN_QUOTE: Final = "opens a quote that is not closed properly"
_CARRIAGE_RETURN: Final = "holds a carriage return that is not a line end"
_CHOOSE: Final = "choose quoting='csv' or quoting='none' (--quoting csv or --quoting none)"


class Dialect(NamedTuple):
    """How the cells of a file are written."""

    delimiter: str
    quoting: Quoting | None
    """`None`: quotes are plain characters, and a quoted cell is refused."""
    multiline: bool = False


class Headerless(NamedTuple):
    """A platform's own format without a header."""

    columns: Sequence[str]
    fits: Callable[[str], bool]
    """Returns whether a first line belongs to such a file."""
    split: Callable[[str], list[str]]
    """Splits a line into cells."""


def read_delimited(
    name: str,
    file: Readable,
    dialect: Dialect,
    *,
    encoding: str | None = None,
    headerless: Headerless | None = None,
) -> Iterator[Read]:
    """Yield the rows of a file of cells. Cells stay text.

    Args:
        name: The name of the file in errors.
        file: The file, at its start.
        dialect: How its cells are written.
        encoding: Its encoding; see `Lines`.
        headerless: A format without a header that the file may have.

    Raises:
        ValueError: The file is empty, its header is unusable, or the user has to choose its
            quoting.
    """
    lines = Lines(file, encoding)
    if headerless is not None and _is_headerless(lines, headerless):
        dialect = Dialect(dialect.delimiter, "none")
        reader = _Reader(name, lines, dialect, headerless.columns, headerless.split)
    else:
        reader = _Reader(name, lines, dialect, _names(name, lines, dialect))
    empty = True
    for item in reader.items():
        empty = False
        yield item
    if empty:
        raise ValueError(f"{name} is empty: it has a header, but no row below it")


def _is_headerless(lines: Lines, headerless: Headerless) -> bool:
    first = lines.next()
    if first is None:
        return False
    lines.read_again([first])
    return first.flaw is None and headerless.fits(first.text.removesuffix("\r"))


def read_text(text: str, layout: Layout) -> dict[str, str]:
    """Return the row that a line of cells holds.

    Raises:
        ValueError: It holds no row, or more than one. The message is to follow "the line".
    """
    if layout.quoting == "none":
        cells = text.split(layout.delimiter)
    else:
        lines = [f"{line}\n" for line in text.split("\n")]
        try:
            records = list(csv.reader(lines, strict=True, delimiter=layout.delimiter))
        except csv.Error as error:
            raise ValueError(f"is not CSV: {error}") from None
        if len(records) > 1:
            raise ValueError("holds more than one row")
        cells = records[0]
    if len(cells) != len(layout.columns):
        raise ValueError(_wrong_count(cells, layout.columns))
    return dict(zip(layout.columns, cells, strict=True))


def _wrong_count(cells: Sequence[str], columns: Sequence[str]) -> str:
    return f"has {len(cells)} cells, but the header has {len(columns)}"


# The header


def _names(name: str, lines: Lines, dialect: Dialect) -> list[str]:
    header = lines.next()
    while header is not None and not header.text.strip("\r"):
        header = lines.next()
    if header is None:
        raise ValueError(f"{name} is empty: it lacks a header line that names the columns")
    try:
        names = _header_cells(header, lines, dialect)
    except ValueError as problem:
        raise ValueError(f"{name}, line {header.number}: the header {problem}") from None
    if not all(map(str.strip, names)):
        blank = ", ".join(str(place) for place, each in enumerate(names, 1) if not each.strip())
        raise ValueError(
            f"{name}: the header leaves columns without a name: number {blank}."
            " Is the first line a row? Then add a line with the names of the columns above it"
        )
    twice = [each for each, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(
            f"{name}: the header has several columns with the same name: {listed(twice)}"
        )
    return names


def _header_cells(header: Line, lines: Lines, dialect: Dialect) -> list[str]:
    if header.flaw is not None:
        hint = "; if it is UTF-16, pass encoding='utf-16'" if "NUL" in header.flaw else ""
        raise ValueError(f"{header.flaw}{hint}")
    text = header.text.removesuffix("\r")
    if dialect.quoting == "csv" and '"' in text:
        record = _Record(header, lines, dialect.delimiter)
        if record.cells is None:
            raise ValueError(_OPEN_QUOTE)
        for line in record.lines:
            if line.flaw is not None:
                raise ValueError(line.flaw)
        return record.cells
    if "\r" in text:
        raise ValueError("is not CSV: its lines end with CR alone")
    cells = text.split(dialect.delimiter)
    if dialect.quoting is None and any(map(_is_quoted, cells)):
        raise ValueError(f"holds a name in quotes: {_CHOOSE}")
    return cells


def _is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"'


# Rows


class _Record:
    """A record whose cells may be quoted, and may span several lines."""

    def __init__(self, first: Line, lines: Lines, delimiter: str) -> None:
        self.lines = [first]
        self.cells: list[str] | None = None
        self.problem = ""
        """Why it has no cells."""
        self.ended: Literal["long", "end"] | None = None
        """Why no more lines were read: the record is too long, or the file has ended."""
        try:
            self.cells = next(csv.reader(self._take(lines), strict=True, delimiter=delimiter))
        except csv.Error as error:
            self.problem = f"is not CSV: {error}"
            if str(error).startswith("field larger"):
                self.ended = "long"

    def _take(self, lines: Lines) -> Iterator[str]:
        yield _as_csv(self.lines[0])
        size = len(self.lines[0].text)
        while True:
            if len(self.lines) >= _RECORD_LINES or size > _RECORD_SIZE:
                self.ended = "long"
                return
            line = lines.next()
            if line is None:
                self.ended = "end"
                return
            self.lines.append(line)
            size += len(line.text) + 1
            yield _as_csv(line)


def _as_csv(line: Line) -> str:
    # Some versions of csv refuse a NUL. A line with a NUL has a flaw, so it fails in any case.
    return f"{line.text}\n" if line.flaw is None else f"{line.text}\n".replace("\0", "?")


class _Reader:
    def __init__(
        self,
        name: str,
        lines: Lines,
        dialect: Dialect,
        names: Sequence[str],
        split: Callable[[str], list[str]] | None = None,
    ) -> None:
        self._name = name
        self._lines = lines
        self._split = split or methodcaller("split", dialect.delimiter)
        self._fixable = split is None
        self._delimiter, self._quoting, self._multiline = dialect
        self._names = names
        self._layout = Layout(tuple(names), self._delimiter, self._quoting or "none")
        self._source = 0
        self._read_again = 0

    def items(self) -> Iterator[Read]:
        lines, names, split = self._lines, self._names, self._split
        width, opening = len(names), f'{self._delimiter}"'
        special, as_csv = self._quoting != "none", self._quoting == "csv"
        dialect = csv.reader((), strict=True, delimiter=self._delimiter).dialect
        while lines.more():
            texts, flaws, first = lines.texts, lines.flaws, lines.number
            # Most lines need only this loop. Any other line ends it.
            for place in range(lines.at, len(texts)):
                text = texts[place]
                if text[-1:] == "\r":
                    text = text[:-1]
                if not text:
                    continue
                if place in flaws or "\r" in text:
                    lines.at = place
                    break
                if special and '"' in text and (text[0] == '"' or opening in text):
                    if not as_csv:
                        lines.at = place
                        break
                    try:
                        cells = next(csv.reader((text,), dialect))
                    except csv.Error:
                        lines.at = place
                        break
                else:
                    cells = split(text)
                if len(cells) == width:
                    self._source += 1
                    row = dict(zip(names, cells, strict=False))
                    yield Row(first + place, row, self._source)
                else:
                    yield self._failed(Line(first + place, text, None), _wrong_count(cells, names))
            else:
                lines.at = len(texts)
                continue
            line = lines.next()
            if line is not None:  # pragma: no branch: it is the line that has ended the loop
                yield from self._odd(line)

    def _odd(self, line: Line) -> Iterator[Read]:
        """Yield the rows of a line that needs a closer look, and of the lines that belong to it."""
        if self._quoting == "csv" and '"' in line.text and line.flaw is not TOO_LONG:
            yield from self._quoted(line)
            return
        if line.flaw is not None:
            yield self._failed(line, line.flaw)
            return
        text = line.text.removesuffix("\r")
        if "\r" in text:
            yield self._failed(line, _CARRIAGE_RETURN)
            return
        # The only case left is a line with a quote, in a file whose quoting was not chosen.
        cells = self._split(text)
        self._check_quotes(line, cells)
        if len(cells) != len(self._names):
            yield self._failed(line, _wrong_count(cells, self._names))
            return
        self._source += 1
        yield Row(line.number, dict(zip(self._names, cells, strict=True)), self._source)

    def _check_quotes(self, line: Line, cells: Sequence[str]) -> None:
        """Raise if a line suggests that this TSV is written with CSV's quotes."""
        place = next((n for n, cell in enumerate(cells, 1) if _is_quoted(cell)), 0)
        if place:
            raise ValueError(
                f"{self._name}, line {line.number}: cell {place} is in quotes, which TSV does not"
                f" use. Whether they enclose the cell or belong to it, {_CHOOSE}"
            )
        if len(cells) < len(self._names) and cells[-1].startswith('"'):
            raise ValueError(
                f"{self._name}, line {line.number}: cell {len(cells)} opens a quote and the line"
                f" ends within it, as in CSV. {_CHOOSE[0].upper()}{_CHOOSE[1:]}"
            )

    def _quoted(self, first: Line) -> Iterator[Read]:
        record = _Record(first, self._lines, self._delimiter)
        lines = record.lines
        if record.cells is not None:
            if not self._multiline and self._swallows(lines):
                yield from self._refused(lines)
                return
            flaw = next((line.flaw for line in lines if line.flaw is not None), None)
            yield self._from_record(record.cells, lines, flaw)
        elif record.ended == "long":
            yield from self._passed_over(record)
        else:
            again = lines[1:]
            self._read_again += sum(len(line.text) for line in again)
            if self._read_again > _READ_AGAIN:
                yield from self._refused(lines)
                return
            # The quote does not enclose a cell, so the next lines are rows.
            self._lines.read_again(again)
            stray = _CARRIAGE_RETURN if "new-line" in record.problem else _OPEN_QUOTE
            yield self._failed(first, first.flaw or stray)

    def _from_record(self, cells: list[str], lines: Sequence[Line], flaw: str | None) -> Read:
        if flaw is None and len(cells) != len(self._names):
            flaw = _wrong_count(cells, self._names)
        if flaw is not None:
            text = "\n".join(line.text for line in lines)
            return self._failed(Line(lines[0].number, text, None), flaw)
        self._source += 1
        return Row(lines[0].number, dict(zip(self._names, cells, strict=True)), self._source)

    def _swallows(self, lines: Sequence[Line]) -> bool:
        """Return whether a line within the cell could be a row, or both its first and last line."""
        if len(lines) == 1:
            return False
        count = len(self._names) - 1
        first, *within, last = (line.text.count(self._delimiter) >= count for line in lines)
        return any(within) or (first and last)

    def _refused(self, lines: Sequence[Line]) -> Iterator[Unreadable]:
        """Report lines as unreadable that may be one cell, or rows after a stray quote."""
        first, last = lines[0].number, lines[-1].number
        why = (
            f"opens a quoted cell that ends on line {last}, but lines within it could be rows."
            " If cells contain line breaks, pass multiline=True (--multiline). If quotes are plain"
            " characters, pass quoting='none' (--quoting none). If this quote is stray, remove it"
        )
        yield self._failed(lines[0], why, fixable=False)
        for line in lines[1:]:
            if line.text.strip("\r"):
                yield self._failed(line, _within(first), fixable=False)

    def _passed_over(self, record: _Record) -> Iterator[Unreadable]:
        """Report the lines of a record that is too long as unreadable, up to its closing quote."""
        first = record.lines[0]
        field = record.problem if record.problem.startswith("is not CSV: field") else None
        long = f"begins a record of more than {_RECORD_LINES} lines or {_RECORD_SIZE} characters"
        yield self._failed(first, field or long, fixable=False)
        state = _quote_after(first.text, self._delimiter, inside=False)
        rest = iter(record.lines[1:])
        while state == "open":
            line = next(rest, None) or self._lines.next()
            if line is None:
                return
            if line.text.strip("\r"):
                yield self._failed(line, _within(first.number), fixable=False)
            state = _quote_after(line.text, self._delimiter, inside=True)
        self._lines.read_again(list(rest))

    def _failed(self, line: Line, flaw: str, *, fixable: bool = True) -> Unreadable:
        self._source += 1
        layout = (
            self._layout if fixable and self._fixable and len(line.text) <= LONGEST_TEXT else None
        )
        found = unreadable(line.number, flaw, line.text)
        return found._replace(source=self._source, layout=layout)


def _within(number: int) -> str:
    return f"may be part of a quoted cell, which line {number} opens"


def _quote_after(text: str, delimiter: str, *, inside: bool) -> Literal["open", "closed", "broken"]:
    """Return whether a line ends within a quoted cell, as `csv` would read it strictly."""
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
        if not inside and behind not in ("", "\r", delimiter):
            return "broken"
        at = quote + 2 if inside else quote + 1
