"""Sources of rows: files, tables, query results, iterables and asynchronous iterables.

All imports call `open_source`. It returns an `OpenSource`: iterate over it for the items, and
read from it how many bytes were read and which notes there are for the user.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

from kraty_server_api.decoding import is_object

from ._arrow import has_stream, read_parquet, read_stream
from ._database import is_cursor, is_result, rows_of_cursor, rows_of_result
from ._delimited import Dialect, read_delimited
from ._json_rows import Place, Places, read_document, read_json_lines, survey
from ._lines import Readable
from ._options import Format, ReadOptions
from ._presets import Preset, preset_for
from ._rows import UNREADABLE, Kind, Read, Row, Unreadable

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["OpenSource", "open_source"]

_DEFAULT: Final = ReadOptions()

_FORMATS: Final[Mapping[str, Format]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}


class OpenSource:
    """The rows of a source, to be read once.

    Iterate over it, or iterate asynchronously. Iterating raises `OSError` if the file cannot be
    read, `ValueError` if it does not have the expected format, and `TypeError` if its first row
    is not a mapping.
    """

    def __init__(self) -> None:
        self.rows: Iterator[Read] | AsyncIterator[Read] = iter(())
        self.size: int | None = None
        """The length of the file in bytes; `None` if it is not known."""
        self.bytes_read = 0
        """How many of these have been read; for a compressed file, of the compressed bytes."""
        self.notes: list[str] = []
        """Notes for the user about the source. They are complete when all rows are read."""

    def __iter__(self) -> Iterator[Read]:
        if isinstance(self.rows, AsyncIterator):
            raise TypeError("asynchronous rows need KratyAdminAsync")
        return self.rows

    async def __aiter__(self) -> AsyncIterator[Read]:
        if isinstance(self.rows, AsyncIterator):
            async for item in self.rows:
                yield item
        else:
            for item in self.rows:
                yield item


def open_source(
    source: object,
    options: ReadOptions = _DEFAULT,
    *,
    kind: Kind | None = None,
    preset: str | None = None,
) -> OpenSource:
    """Open a source of rows. Nothing is read before the first row is requested.

    Args:
        source: The path of a file; a binary file, such as `sys.stdin.buffer`; an object
            with `__arrow_c_stream__`, such as a data frame; a cursor of the DB-API or a result
            of SQLAlchemy; or an iterable or asynchronous iterable of mappings.
        options: How to read it.
        kind: The kind of rows to import. A preset needs it.
        preset: The platform that wrote the export. A preset knows the platform's files without
            a header, and where its documents hold their rows.

    Raises:
        TypeError, ValueError: Rows cannot be read from it, or an option does not apply.
    """
    opened = OpenSource()
    known = None if preset is None or kind is None else preset_for(preset, kind)
    if isinstance(source, str | os.PathLike):
        rows = _of_path(opened, Path(cast("str | os.PathLike[str]", source)), options, known)
    elif callable(getattr(source, "read", None)) and not has_stream(source):
        rows = _of_file(opened, source, options, known)
    else:
        _refuse(options, ("format", "encoding", *_DELIMITED, "rows"), "files only")
        if isinstance(source, AsyncIterable):
            opened.rows = _of_async(cast("AsyncIterable[object]", source), options.limit)
            return opened
        rows = _of_object(source)
    opened.rows = rows if options.limit is None else islice(rows, options.limit)
    return opened


# Options that apply to some sources

_DELIMITED: Final = ("delimiter", "quoting", "multiline")
_APPLY: Final[Mapping[Format, tuple[str, ...]]] = {
    "csv": ("encoding", *_DELIMITED),
    "tsv": ("encoding", *_DELIMITED),
    "jsonl": ("encoding",),
    "json": ("encoding", "rows"),
    "parquet": (),
}
_WHERE: Final[Mapping[str, str]] = {
    "encoding": "text files only",
    "delimiter": "CSV and TSV only",
    "quoting": "CSV and TSV only",
    "multiline": "CSV and TSV only",
    "rows": ".json documents only",
}


def _refuse(options: ReadOptions, names: Iterable[str], where: str | None = None) -> None:
    for name in names:
        if getattr(options, name) != getattr(_DEFAULT, name):
            raise ValueError(f"{name} applies to {where or _WHERE[name]}; leave it out")


def _check_format(options: ReadOptions, written: Format) -> None:
    _refuse(options, _WHERE.keys() - set(_APPLY[written]))
    if options.multiline and _dialect(options, written).quoting != "csv":
        raise ValueError("multiline applies to quoted cells: pass quoting='csv' too")


def _dialect(options: ReadOptions, written: Format) -> Dialect:
    default: Final = Dialect(",", "csv") if written == "csv" else Dialect("\t", None)
    return Dialect(
        options.delimiter or default.delimiter,
        options.quoting or default.quoting,
        options.multiline,
    )


# Files


def _of_path(
    opened: OpenSource, path: Path, options: ReadOptions, preset: Preset | None
) -> Iterator[Read]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    suffix = "".join(suffixes[:-1][-1:] if packed else suffixes[-1:])
    written = options.format or _FORMATS.get(suffix)
    if written is None or (packed and written == "parquet"):
        known = ", ".join(each for each in _FORMATS if each != ".parquet")
        raise ValueError(
            f"{path.name!r} has no known suffix. Known are {known} (each with or without .gz)"
            " and .parquet. For another name, pass format= (--format)"
        )
    _check_format(options, written)
    return _read_path(opened, path, options, preset, written, packed=packed)


def _read_path(
    opened: OpenSource,
    path: Path,
    options: ReadOptions,
    preset: Preset | None,
    written: Format,
    *,
    packed: bool,
) -> Iterator[Read]:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        regular = stat.S_ISREG(status.st_mode)
        opened.size = status.st_size if regular else None
        if written == "parquet":
            yield from read_parquet(str(path), file, partial(_on_rows, opened))
            return
        again = partial(_survey, opened, path, file, options, packed=packed) if regular else None
        with _unpacked(opened, file, packed=packed) as readable:
            yield from _numbered(
                path, _rows(opened, str(path), readable, options, preset, written, again)
            )


def _on_rows(opened: OpenSource, number: int, total: int) -> None:
    opened.bytes_read = (opened.size or 0) * number // max(total, 1)


def _numbered(path: Path, rows: Iterator[Read]) -> Iterator[Read]:
    """Yield the rows. If the file cannot be unpacked, raise an error that names the last row."""
    number = 0
    try:
        for item in rows:
            number = item.number
            yield item
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} cannot be unpacked beyond row {number}: {error}") from error


def _survey(
    opened: OpenSource, path: Path, file: IO[bytes], options: ReadOptions, *, packed: bool
) -> Places:
    """Survey a document, and go back to its start."""
    try:
        with _unpacked(opened, file, packed=packed) as readable:
            return survey(str(path), readable, options.encoding)
    finally:
        file.seek(0)
        opened.bytes_read = 0


@contextmanager
def _unpacked(
    opened: OpenSource, file: IO[bytes], *, packed: bool
) -> Generator[Readable, None, None]:
    counted = _Counted(opened, file)
    if not packed:
        yield counted
        return
    with gzip.GzipFile(filename="", mode="rb", fileobj=cast("Any", counted)) as unpacked:
        yield _Unpacked(unpacked)


class _Unpacked:
    """A packed file. The data before a damaged part is returned before the error is raised."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        return self._file.read1(size)


class _Counted:
    """A file that counts the bytes that are read from it."""

    def __init__(self, opened: OpenSource, file: Readable) -> None:
        self._opened, self._file = opened, file

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._opened.bytes_read += len(data)
        return data


def _of_file(
    opened: OpenSource, file: object, options: ReadOptions, preset: Preset | None
) -> Iterator[Read]:
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) else "the file"
    if isinstance(file, io.TextIOBase):
        raise TypeError("rows must be a binary file, not a text file: open it with mode 'rb'")
    written = options.format
    if written is None:
        raise ValueError("pass format= (--format): an open file has no suffix that shows it")
    _check_format(options, written)
    if written == "parquet":
        return read_parquet(name, file, partial(_on_rows, opened))
    counted = _Counted(opened, cast("Readable", file))
    return _rows(opened, name, counted, options, preset, written, None)


def _rows(
    opened: OpenSource,
    name: str,
    file: Readable,
    options: ReadOptions,
    preset: Preset | None,
    written: Format,
    look: Callable[[], Places] | None,
) -> Iterator[Read]:
    encoding = options.encoding
    if written in ("csv", "tsv"):
        headerless = None if preset is None else preset.headerless
        dialect = _dialect(options, written)
        return read_delimited(name, file, dialect, encoding=encoding, headerless=headerless)
    if written == "jsonl":
        return read_json_lines(name, file, encoding)
    return _document(opened, name, file, options, preset, look)


# Documents of JSON


def _document(
    opened: OpenSource,
    name: str,
    file: Readable,
    options: ReadOptions,
    preset: Preset | None,
    look: Callable[[], Places] | None,
) -> Iterator[Read]:
    path = options.rows
    if path is None:
        if look is None:
            raise ValueError(
                f"{name} can be read only once, so pass rows= (--rows): the path to the rows in"
                " the document, or '.' if it is a list"
            )
        places = look()
        path = _choose(name, places, preset)
        for mark in places.marks:
            _note_page(opened, mark)
    yield from read_document(
        name, file, path, encoding=options.encoding, on_mark=partial(_note_page, opened)
    )


def _note_page(opened: OpenSource, mark: str) -> None:
    note = f"{mark} is set: this document is only one page, and the next page has more players"
    if note not in opened.notes:
        opened.notes.append(note)


def _choose(name: str, places: Places, preset: Preset | None) -> str:
    """Return the place of the rows, if there is only one possible place."""
    usable = [] if preset is None else [each for each in places.found if _fits(each, preset)]
    if len(usable) == 1 and usable[0].whole:
        return usable[0].path
    if not usable and places.alone is not None:
        return places.alone.path
    candidates = usable or [each for each in places.found if not each.single]
    if not candidates:
        raise ValueError(f"{name} holds no list of objects, and no object of objects")
    named = ", ".join(repr(each.path) for each in candidates[:_NAMED])
    more = f" and {len(candidates) - _NAMED} more" if len(candidates) > _NAMED else ""
    raise ValueError(
        f"{name} may hold its rows in several places: pass rows= (--rows), one of {named}{more}"
    )


_NAMED: Final = 10


def _fits(place: Place, preset: Preset) -> bool:
    return preset.fits(place.columns, keyed=not place.is_list and not place.single)


# Objects


def _of_object(source: object) -> Iterator[Read]:
    if has_stream(source):
        return read_stream(source)
    if is_result(source):
        return _of_iterable(rows_of_result(source))
    if is_cursor(source):
        return _of_iterable(rows_of_cursor(source))
    kind = type(source).__name__
    if not isinstance(source, Iterable) or isinstance(source, Mapping | bytes):
        raise TypeError(f"rows must be an iterable of dicts or a path, not {kind}")
    rows = cast("Iterable[object]", source)
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):
        raise TypeError(f"rows must be an iterable of dicts, not {kind}: pass {_RECORDS}")
    return _of_iterable(rows)


_RECORDS: Final = "frame.to_dict('records')"


def _of_iterable(rows: Iterable[object]) -> Iterator[Read]:
    for number, row in enumerate(rows, 1):
        yield _item(number, row)


async def _of_async(rows: AsyncIterable[object], limit: int | None) -> AsyncIterator[Read]:
    number = 0
    async for row in rows:
        number += 1
        yield _item(number, row)
        if number == limit:
            return


def _item(number: int, row: object) -> Read:
    if is_object(row):
        return Row(number, row, number)
    members = _as_mapping(row)
    if members is not None:
        return Row(number, members, number)
    message = f"is of type {type(row).__name__}, not a dict"
    if number == 1:
        # All rows are likely to have the same problem.
        raise TypeError(f"the first row {message}. {_advice(row)}")
    return Unreadable(number, UNREADABLE, message, "", number)


def _as_mapping(row: object) -> dict[str, Any] | None:
    """Return a row with named values, such as `sqlite3.Row` or SQLAlchemy's, as a dict."""
    inner = getattr(row, "_mapping", row)
    if isinstance(inner, Mapping):
        return dict(cast("Mapping[str, Any]", inner))
    keys = getattr(row, "keys", None)
    if callable(keys) and hasattr(row, "__getitem__"):
        return {name: cast("Any", row)[name] for name in cast("Iterable[str]", keys())}
    return None


def _advice(row: object) -> str:
    if isinstance(row, str):
        return (
            "If you passed a data frame, pass its rows: frame.to_dict('records') in pandas,"
            " frame.to_dicts() in polars"
        )
    if isinstance(row, tuple | list):
        return (
            "Give each value its name: dict(zip(names, row)), or pass the cursor itself, whose"
            " description has the names"
        )
    if hasattr(row, "__attrs_attrs__"):
        return "Pass attrs.asdict(row) for each row"
    if hasattr(row, "__dataclass_fields__"):
        return "Pass dataclasses.asdict(row) for each row"
    if hasattr(row, "model_dump"):
        return "Pass row.model_dump() for each row"
    return "Pass one dict for each row"
