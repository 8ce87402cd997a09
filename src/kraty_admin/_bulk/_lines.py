"""The lines of a text file, and why single lines are unreadable.

A file is decoded block by block. A block with a bad byte is decoded line by line, so that only
the line with the byte is unreadable. No byte is read twice, because the file may be a pipe.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from ._rows import UNREADABLE, Unreadable, excerpt

__all__ = ["TOO_LONG", "Line", "Lines", "Readable", "decoded", "unreadable"]

_BLOCK: Final = 2**16
"""How much is decoded at a time, in bytes."""

_LINE_LIMIT: Final = 16 * 2**20
"""The longest readable line, in bytes."""

_KEPT: Final = 8000
"""How much is kept of a line that is too long, in bytes."""

TOO_LONG: Final = f"is longer than {_LINE_LIMIT // 2**20} MiB"
_NUL: Final = "holds a NUL byte"

_MARKS: Final = (
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
"""UTF-32 comes before UTF-16, because its mark begins with that of UTF-16."""

_LONGEST_MARK: Final = 4


class Readable(Protocol):
    """A binary file, or an object like one."""

    def read(self, size: int, /) -> bytes:
        """Return about `size` of the next bytes; empty only at the end."""
        ...


class Line(NamedTuple):
    """One line of a file."""

    number: int
    text: str
    """The text without its LF. Bytes that cannot be decoded are lone surrogates."""
    flaw: str | None
    """Why the line cannot be read, to follow "the line"; `None` if it can."""


class Lines:
    """The lines of a file, by block or one by one. It can go back by some lines.

    Args:
        file: The file, at its start.
        encoding: Its encoding. Default: that of its byte order mark, or else UTF-8.
    """

    def __init__(self, file: Readable, encoding: str | None = None) -> None:
        self._file, self._encoding = decoded(file, encoding)
        self._rest = b""
        self.texts: list[str] = []
        """The lines of this block, without their LF."""
        self.at = 0
        """The index in `texts` of the next line."""
        self.number = 1
        """The number of the first line of `texts`."""
        self.flaws: dict[int, str] = {}
        """The flaws of lines of this block, by index."""

    def more(self) -> bool:
        """Read the next block if this one is used up. Return false at the end of the file."""
        if self.at < len(self.texts):
            return True
        raw, too_long = self._read()
        if not raw:
            return False
        self.number += len(self.texts)
        self.at, self.flaws = 0, {}
        # After a final LF, there is no further line.
        raw = raw.removesuffix(b"\n")
        try:
            if too_long or b"\0" in raw:
                self.texts = self._one_by_one(raw.split(b"\n"), too_long=too_long)
            else:
                self.texts = raw.decode().split("\n")
        except UnicodeDecodeError:
            self.texts = self._one_by_one(raw.split(b"\n"), too_long=False)
        return True

    def _read(self) -> tuple[bytes, bool]:
        """Return whole lines and false, or the start of a line that is too long and true."""
        parts, size = [self._rest], len(self._rest)
        self._rest = b""
        while part := self._file.read(_BLOCK):
            end = part.rfind(b"\n") + 1
            parts.append(part[:end] if end else part)
            size += len(part)
            if end:
                self._rest = part[end:]
                break
            if size > _LINE_LIMIT:
                self._pass_over()
                return b"".join(parts)[:_KEPT], True
        return b"".join(parts), False

    def _pass_over(self) -> None:
        """Skip the rest of a line."""
        while part := self._file.read(_BLOCK):
            end = part.find(b"\n") + 1
            if end:
                self._rest = part[end:]
                return

    def _one_by_one(self, raws: list[bytes], *, too_long: bool) -> list[str]:
        if too_long:
            self.flaws[0] = TOO_LONG
        texts: list[str] = []
        for place, raw in enumerate(raws):
            try:
                texts.append(raw.decode())
            except UnicodeDecodeError:
                texts.append(raw.decode(errors="surrogateescape"))
                self.flaws.setdefault(place, f"is not {self._encoding}")
            if b"\0" in raw:
                self.flaws.setdefault(place, _NUL)
        return texts

    def next(self) -> Line | None:
        """Return the next line; `None` at the end of the file."""
        if not self.more():
            return None
        place = self.at
        self.at = place + 1
        return Line(self.number + place, self.texts[place], self.flaws.get(place))

    def read_again(self, lines: Sequence[Line]) -> None:
        """Go back by these lines, which must be the last that were read."""
        if not lines:
            return
        shift = len(lines) - self.at
        rest = {place + shift: flaw for place, flaw in self.flaws.items() if place >= self.at}
        self.texts = [line.text for line in lines] + self.texts[self.at :]
        self.number, self.at = lines[0].number, 0
        self.flaws = rest | {n: line.flaw for n, line in enumerate(lines) if line.flaw is not None}


def unreadable(number: int, flaw: str, text: str) -> Unreadable:
    """Return the report of a line that cannot be read."""
    return Unreadable(number, UNREADABLE, f"the line {flaw}", excerpt(text))


# Encodings


def decoded(file: Readable, encoding: str | None) -> tuple[Readable, str]:
    """Return a text file as UTF-8 without a byte order mark, and the name of its encoding.

    Bytes that its encoding cannot decode become a byte that UTF-8 cannot decode either.

    Raises:
        ValueError: Its byte order mark belongs to another encoding than `encoding`.
    """
    head = b""
    while len(head) < _LONGEST_MARK and (part := file.read(_LONGEST_MARK - len(head))):
        head += part
    for mark, name in _MARKS:
        if head.startswith(mark):
            if encoding is not None and not _is_of(encoding, name):
                raise ValueError(
                    f"the file begins with the byte order mark of {name}, so it is not {encoding}:"
                    f" leave the encoding out, or pass {name.lower()!r}"
                )
            if name == "UTF-8":
                return _Behind(head[len(mark) :], file), name
            # The decoder removes the mark.
            return _Recoded(_Behind(head, file), name), name
    behind = _Behind(head, file)
    if encoding is None or _is_of(encoding, "UTF-8"):
        return behind, "UTF-8"
    return _Recoded(behind, encoding), encoding


def _is_of(encoding: str, name: str) -> bool:
    """Return whether an encoding is this one, or a variant of it such as UTF-16-LE."""
    found = codecs.lookup(encoding).name
    return found == name.lower() or found.startswith(f"{name.lower()}-")


class _Behind:
    """A file whose first bytes have been read already."""

    def __init__(self, head: bytes, file: Readable) -> None:
        self._head, self._file = head, file

    def read(self, size: int) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        return self._file.read(size)


def _mark_bad(error: UnicodeError) -> tuple[str, int]:
    """Replace bytes that cannot be decoded with a lone surrogate."""
    if not isinstance(error, UnicodeDecodeError):
        raise error  # pragma: no cover: for type checkers, since only decoders use it
    return "\udc80", error.end


codecs.register_error("kraty_admin.mark_bad", _mark_bad)


class _Recoded:
    """A file in another encoding, converted to UTF-8."""

    def __init__(self, file: Readable, encoding: str) -> None:
        self._file, self._ended = file, False
        self._decoder = codecs.getincrementaldecoder(encoding)("kraty_admin.mark_bad")

    def read(self, size: int) -> bytes:
        text = ""
        while not text and not self._ended:
            raw = self._file.read(size)
            self._ended = not raw
            text = self._decoder.decode(raw, final=self._ended)
        # A lone surrogate becomes the byte that Python reads as that surrogate.
        return text.encode(errors="surrogateescape")
