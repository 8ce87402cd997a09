"""JSON: lines of objects, and documents that hold rows somewhere.

Python's own decoder reads all of it, in a strict configuration. A document is decoded one list
element at a time. So memory does not grow with the file, and an element that violates the RFC
fails alone. Streaming parsers such as ijson accept duplicate keys and replace lone surrogates,
which could make two ids equal.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from math import isinf
from typing import Any, Final, NamedTuple, NoReturn, cast

from ._delimited import read_text
from ._lines import Line, Lines, Readable, decoded, unreadable
from ._rows import LONGEST_TEXT, UNREADABLE, Layout, Read, Row, Unreadable, excerpt

__all__ = ["KEY", "Place", "Places", "parse_json", "read_document", "read_json_lines", "survey"]

KEY: Final = "@key"
"""The column for a row's name, if the row is a member of an object."""


def parse_json(text: str) -> Any:
    """Parse JSON as the RFC defines it: no NaN, no duplicate keys, no lone surrogates.

    Raises:
        ValueError: The text is not such JSON. The message is to follow "it", and does not
            quote the text.
    """
    try:
        value = _JSON.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError as error:
        raise ValueError(_flaw(error)) from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if "\\u" in text:
        _check_surrogates(value)
    return value


def _flaw(error: ValueError) -> str:
    """Return the decoder's problem. Python's own message about a long number is replaced."""
    return "holds a number of too many digits" if "digits" in str(error) else str(error)


_TOO_DEEP: Final = "is JSON that is nested too deeply"


def _check_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate, which UTF-8 cannot hold") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("holds an object with a duplicate key")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError("holds a number that is too large")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which JSON lacks")


_JSON: Final = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_float=_finite,
    parse_constant=_no_constant,
)

_LENIENT: Final = json.JSONDecoder(parse_int=str, parse_float=str)
"""Finds the end of a value that the strict decoder refuses."""

_QUICK: Final = json.JSONDecoder()
"""For a first look at a document that will be read again."""


# Lines


def read_json_lines(name: str, file: Readable, encoding: str | None = None) -> Iterator[Read]:
    """Yield the rows of a file with a JSON object on each line.

    A failures file, which an import wrote, gives the rows in it.

    Raises:
        ValueError: The file is empty.
    """
    lines = Lines(file, encoding)
    source = 0
    while (line := lines.next()) is not None:
        if not line.text.strip(" \t\r"):
            continue
        source += 1
        yield _from_line(line)._replace(source=source)
    if source == 0:
        raise ValueError(f"{name} is empty: it lacks lines with a JSON object each")


def _from_line(line: Line) -> Read:
    if line.flaw is not None:
        return unreadable(line.number, line.flaw, line.text)
    try:
        value = parse_json(line.text)
    except ValueError as flaw:
        return unreadable(line.number, str(flaw), line.text)
    if not isinstance(value, dict):
        return unreadable(line.number, "is JSON, but not an object", line.text)
    row = cast("dict[str, Any]", value)
    if row.keys() >= _FAILURE:
        return _from_failure(line, row)
    return Row(line.number, row)


# Failures that an import wrote

_FAILURE: Final = frozenset({"number", "code", "message"})
_ROW: Final = {"row"}
_TEXT: Final = {"text"}
_LAID_OUT: Final = {"text", "layout"}


def _from_failure(line: Line, failure: dict[str, Any]) -> Read:
    """Read a failure, which may have been fixed: a row of the contract, or a line of text."""
    number = line.number
    rest = failure.keys() - _FAILURE - {"externalPlayerId"}
    if rest == _ROW:
        fixed: object = failure["row"]
        if not isinstance(fixed, dict):
            return unreadable(number, "holds a failure whose row is not an object", line.text)
        return Row(number, cast("dict[str, Any]", fixed), mapped=True)
    if rest not in (_TEXT, _LAID_OUT):
        return Row(number, failure)
    message: object = failure["message"]
    text: object = failure["text"]
    if not isinstance(text, str) or not isinstance(message, str):
        return unreadable(number, "holds a failure whose text is not text", line.text)
    layout = _layout(failure.get("layout"))
    try:
        return Row(number, _fixed(text, layout))
    except ValueError:
        # It was not fixed, so it fails for the same reason again.
        return Unreadable(number, UNREADABLE, message, excerpt(text), layout=layout)


def _layout(value: object) -> Layout | None:
    if not isinstance(value, dict):
        return None
    layout = cast("dict[str, object]", value)
    columns, delimiter = layout.get("columns"), layout.get("delimiter")
    quoting = layout.get("quoting")
    if (
        not isinstance(columns, list)
        or not isinstance(delimiter, str)
        or len(delimiter) != 1
        or quoting not in ("csv", "none")
    ):
        return None
    names = tuple(map(str, cast("list[object]", columns)))
    return Layout(names, delimiter, quoting)


def _fixed(text: str, layout: Layout | None) -> dict[str, Any]:
    if layout is not None:
        return dict(read_text(text, layout))
    value: object = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError("is JSON, but not an object")
    return cast("dict[str, Any]", value)


# Documents

_BLOCK: Final = 2**16
"""How much is read at a time, in bytes."""

_LONGEST: Final = 2**26
"""The longest value of a document, in characters."""

_SPACE: Final = " \t\r\n"

_COMMA: Final = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=\{)")
"""A comma between two objects, if the second one begins in the part that was read."""


class _Document:
    """A document of which only a part is in memory.

    Raises:
        ValueError: The document is not JSON. The message names the character.
    """

    def __init__(
        self, name: str, file: Readable, encoding: str | None, decoder: json.JSONDecoder = _JSON
    ) -> None:
        self._json = decoder
        self._file, encoding = decoded(file, encoding)
        self._name, self._encoding = name, encoding
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at, self._before, self._ended = "", 0, 0, False

    def error(self, problem: str) -> ValueError:
        """Return the error for a problem at this place of the document."""
        return ValueError(f"{self._name} {problem} at character {self._before + self._at + 1}")

    def _more(self, size: int = _BLOCK) -> bool:
        """Read more of the file. Return false at its end."""
        if self._ended:
            return False
        raw = self._file.read(size)
        self._ended = not raw
        try:
            text = self._decoder.decode(raw, final=self._ended)
        except UnicodeDecodeError:
            raise ValueError(f"{self._name} is not {self._encoding}") from None
        self._before += self._at
        self._text, self._at = self._text[self._at :] + text, 0
        return True

    def peek(self) -> str:
        """Return the next character that is not a space; an empty string at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, allowed: str) -> str:
        """Consume the next character, which must be one of these."""
        found = self.peek()
        if not found or found not in allowed:
            what = f"{found!r}" if found else "its end"
            raise self.error(f"is not JSON: {' or '.join(allowed)} is expected, not {what},")
        self._at += 1
        return found

    def value(self) -> tuple[Any, str | None]:
        """Return the next value and `None`, or the start of its text and what is wrong with it."""
        if not self._text.startswith("{", self._at):
            self.peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
                flaw = None
            except json.JSONDecodeError as error:
                if self._read_on():
                    continue
                raise self.error(f"is not JSON: {error.msg}") from None
            except RecursionError:
                raise self.error(_TOO_DEEP) from None
            except ValueError as error:
                try:
                    _, end = _LENIENT.raw_decode(self._text, self._at)
                except json.JSONDecodeError as broken:
                    if self._read_on():
                        continue
                    raise self.error(f"is not JSON: {broken.msg}") from None
                value, flaw = None, _flaw(error)
            # A number may continue after the part that was read.
            if end == len(self._text) and self._read_on():
                continue
            text = self._text[self._at : end]
            self._at = end
            if flaw is None and "\\u" in text:
                try:
                    _check_surrogates(value)
                except ValueError as error:
                    flaw = str(error)
            return (value, None) if flaw is None else (text[:LONGEST_TEXT], flaw)

    def _read_on(self) -> bool:
        """Read more of a value whose end has not been read; double what is in memory."""
        size = len(self._text) - self._at
        if size > _LONGEST:
            raise self.error(f"holds a value of more than {_LONGEST} characters")
        return self._more(max(size, _BLOCK))

    def elements(self) -> Iterator[None]:
        """Yield before each element of a list. The caller must read the element."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        yield
        while True:
            comma = _COMMA.match(self._text, self._at)
            if comma is not None:
                self._at = comma.end()
            elif self.take(",]") == "]":
                return
            yield

    def members(self) -> Iterator[str]:
        """Yield the name of each member of an object. The caller must read its value."""
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        while True:
            if self.peek() != '"':
                self.take('"')
            name, flaw = self.value()
            if flaw is not None:
                raise self.error(flaw)
            self.take(":")
            yield name
            if self.take(",}") == "}":
                return

    def skip(self, depth: int = 3) -> None:
        """Skip a value, without holding all of a long one in memory."""
        first = self.peek()
        if depth and first == "[":
            for _ in self.elements():
                self.skip(depth - 1)
        elif depth and first == "{":
            for _ in self.members():
                self.skip(depth - 1)
        else:
            self.value()

    def end(self) -> None:
        """Check that nothing follows."""
        if self.peek():
            raise self.error("is not JSON: something follows its end,")


# Where the rows are


class Place(NamedTuple):
    """A place where a document may hold rows."""

    path: str
    """Its path, as in the option `rows`."""
    columns: frozenset[str]
    """The columns of its first row."""
    whole: bool
    """Whether the place holds only objects."""
    single: bool = False
    """Whether the place is an object that would be one row."""
    empty: bool = False
    """Whether the place is a list without elements."""

    @property
    def is_list(self) -> bool:
        """Whether the place is a list, rather than an object."""
        return not self.single and self.path.rpartition(".")[2] != "*"


class Places(NamedTuple):
    """The places where a document may hold rows."""

    found: list[Place]
    alone: Place | None
    """The only list, if the document holds nothing else but plain values."""
    marks: list[str]
    """The paths of values that indicate another page."""


_DEPTH: Final = 4
_NEXT: Final = frozenset(
    {"ContinuationToken", "continuationToken", "nextPageToken", "NextToken", "next", "cursor"}
)
"""The names of values that lead to the next page, in the APIs of platforms."""

_SURVEYED: Final = 50
"""How many members of an object `survey` looks into."""


def survey(name: str, file: Readable, encoding: str | None = None) -> Places:
    """Find the places where a document may hold its rows.

    Raises:
        ValueError: The document is empty or not JSON.
    """
    document = _Document(name, file, encoding, _QUICK)
    if not document.peek():
        raise ValueError(f"{name} is empty: it lacks a list of objects")
    surveyor = _Surveyor(document)
    surveyor.visit("", 0)
    document.end()
    lists = [place for place in surveyor.found if place.is_list]
    filled = [place for place in lists if not place.empty] or lists[:1]
    alone = filled[0] if len(filled) == 1 and not surveyor.maps else None
    return Places(surveyor.found, alone, surveyor.marks)


class _Surveyor:
    def __init__(self, document: _Document) -> None:
        self._document = document
        self.found: list[Place] = []
        self.maps = 0
        """How many objects there are, without empty ones and those that lead to lists."""
        self.marks: list[str] = []

    def visit(self, path: str, depth: int) -> tuple[frozenset[str] | None, bool]:
        """Survey a value. Return its names if it is an object, and whether it holds a list."""
        first = self._document.peek()
        if first == "[":
            self._list(path)
            return None, True
        if first == "{" and depth < _DEPTH:
            return self._object(path, depth)
        value, flaw = self._document.value()
        if isinstance(value, dict) and flaw is None:
            names = frozenset(cast("dict[str, Any]", value))
            self.maps += bool(names)
            return names, False
        if flaw is None and value not in (None, "", False) and _last(path) in _NEXT:
            self.marks.append(path)
        return None, False

    def _list(self, path: str) -> None:
        columns: frozenset[str] | None = None
        whole, empty = True, True
        for _ in self._document.elements():
            value, flaw = self._document.value()
            empty = False
            if flaw is not None or not isinstance(value, dict):
                whole = False
            elif columns is None:
                columns = frozenset(cast("dict[str, Any]", value))
        if columns is not None or empty or not path:
            self.found.append(Place(path or ".", columns or frozenset(), whole, empty=empty))

    def _object(self, path: str, depth: int) -> tuple[frozenset[str], bool]:
        names: set[str] = set()
        sample: frozenset[str] | None = None
        count = objects = 0
        holds_list = False
        for name in self._document.members():
            count += 1
            if count <= _SURVEYED:
                names.add(name)
                found, inner = self.visit(f"{path}.{name}" if path else name, depth + 1)
                holds_list = holds_list or inner
            else:
                value, flaw = self._document.value()
                is_row = flaw is None and isinstance(value, dict)
                self.maps += is_row
                found = frozenset[str]() if is_row else None
            if found is not None:
                objects += 1
                sample = found if sample is None else sample
        if sample is not None:
            star = f"{path}.*" if path else "*"
            self.found.append(Place(star, sample, objects == count))
        self.found.append(Place(path or ".", frozenset(names), whole=True, single=True))
        if names and not holds_list:
            self.maps += 1
        return frozenset(names), holds_list


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def read_document(
    name: str,
    file: Readable,
    path: str,
    *,
    encoding: str | None = None,
    on_mark: Callable[[str], object] | None = None,
) -> Iterator[Read]:
    """Yield the rows at a place of a document.

    Args:
        name: The name of the file in errors.
        file: The file, at its start.
        path: The path to the rows; see `ReadOptions.rows`.
        encoding: The encoding of the file; see `Lines`.
        on_mark: Called with the path of a value that indicates another page.

    Raises:
        ValueError: The document is not JSON, or has nothing at that place.
    """
    document = _Document(name, file, encoding)
    if not document.peek():
        raise ValueError(f"{name} is empty: it lacks a list of objects")
    names = [] if path == "." else path.split(".")
    count = 0
    for item in _at(document, names, path, on_mark):
        count += 1
        yield item._replace(number=count, source=count)
    document.end()
    if count == 0:
        raise ValueError(f"{name} is empty: there are no rows at {path!r}")


def _at(
    document: _Document,
    names: list[str],
    path: str,
    on_mark: Callable[[str], object] | None,
) -> Iterator[Read]:
    first = document.peek()
    if not names:
        if first == "[":
            for _ in document.elements():
                yield _element(document)
            return
        if first != "{":
            raise document.error(f"holds neither a list nor an object at {path!r},")
        yield _element(document)
        return
    if first == "[" and names == ["*"]:
        yield from _at(document, [], path, on_mark)
        return
    if first != "{":
        raise document.error(f"holds no object that leads to {path!r}")
    found = False
    for name in document.members():
        if names == ["*"]:
            found = True
            yield _element(document, name)
        elif name == names[0]:
            if found:
                raise document.error("holds an object with a duplicate key,")
            found = True
            yield from _at(document, names[1:], path, on_mark)
        elif name in _NEXT and on_mark is not None and document.peek() not in "[{":
            value, _ = document.value()
            if value not in (None, "", False):
                on_mark(name)
        else:
            document.skip()
    if not found and names != ["*"]:
        raise document.error(f"has no member {names[0]!r}, which rows={path!r} names,")


def _element(document: _Document, key: str | None = None) -> Read:
    value, flaw = document.value()
    if flaw is not None:
        return Unreadable(0, UNREADABLE, f"the element {flaw}", excerpt(cast("str", value)))
    if not isinstance(value, dict):
        named = "the element" if key is None else f"the member {key!r}"
        text = json.dumps(value, ensure_ascii=False)
        return Unreadable(0, UNREADABLE, f"{named} is not an object", excerpt(text))
    row = cast("dict[str, Any]", value)
    if key is not None and KEY not in row:
        row = {KEY: key, **row}
    return Row(0, row)
