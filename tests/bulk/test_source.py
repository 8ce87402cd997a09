"""Sources: packed files, pipes, query results and objects."""

from __future__ import annotations

import asyncio
import gzip
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import pytest

from kraty_admin._bulk._options import ReadOptions
from kraty_admin._bulk._rows import Row, Unreadable
from kraty_admin._bulk._source import open_source

from .testkit import items_of, rows_of


@pytest.mark.parametrize("name", ["a.csv.gz", "a.tsv.gz", "a.CSV.GZ"])
def test_packed_cells_are_read(tmp_path: Path, name: str) -> None:
    """A gzipped CSV file is read."""
    packed = gzip.compress(b"id\n00123\n4\n")
    assert [{"id": "00123"}, {"id": "4"}] == rows_of(items_of(tmp_path / name, packed))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.ndjson.gz"])
def test_packed_lines_are_read(tmp_path: Path, name: str) -> None:
    """A gzipped file of JSON lines is read."""
    packed = gzip.compress(b'{"a":1}\n{"a":2}\n')
    assert [{"a": 1}, {"a": 2}] == rows_of(items_of(tmp_path / name, packed))


def test_a_broken_packed_file_is_refused(tmp_path: Path) -> None:
    """A broken gzip file is an error that says so."""
    whole = gzip.compress("".join(f'{{"n":{n * n * n}}}\n' for n in range(60_000)).encode())
    path = tmp_path / "a.jsonl.gz"
    for data in (whole[: len(whole) // 2], whole[:5000] + b"x" * 50 + whole[5050:], b"no gzip"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.jsonl\.gz cannot be unpacked beyond row \d+: "):
            for _ in open_source(path):
                pass


def test_a_suffix_that_is_not_known_is_refused_at_once(tmp_path: Path) -> None:
    """An unknown suffix is refused before the file is opened."""
    for name in ("a.xlsx", "a", "a.gz", "a.parquet.gz", "a.csv.zip"):
        with pytest.raises(ValueError, match=r"\.csv, \.tsv, \.jsonl, \.ndjson, \.json .*\.parq"):
            open_source(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        next(iter(open_source(tmp_path / "a.csv")))


# Files that are read once


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    """A named pipe is opened once, and read to its end."""
    path = tmp_path / "a.csv"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"id\n1\n2\n",))
    writer.start()
    source = open_source(path)
    rows = rows_of(list(source))
    writer.join()
    assert [{"id": "1"}, {"id": "2"}] == rows
    assert (None, 7) == (source.size, source.bytes_read)


def test_standard_input_needs_a_format() -> None:
    """An open file is read in the format that the user names."""
    with pytest.raises(ValueError, match=r"pass format= \(--format\)"):
        open_source(BytesIO(b"id\n1\n"))
    rows = open_source(BytesIO(b"id\n1\n"), ReadOptions(format="csv"))
    assert [{"id": "1"}] == rows_of(list(rows))
    with pytest.raises(TypeError, match="a binary file, not a text file: open it with mode 'rb'"):
        open_source(StringIO("id"), ReadOptions(format="csv"))


def test_a_document_of_standard_input_needs_its_place() -> None:
    """A document that cannot be read twice needs the place of its rows."""
    data = b'{"a": [{"id": "1"}]}'
    with pytest.raises(ValueError, match=r"can be read only once, so pass rows= \(--rows\)"):
        list(open_source(BytesIO(data), ReadOptions(format="json")))
    rows = open_source(BytesIO(data), ReadOptions(format="json", rows="a"))
    assert [{"id": "1"}] == rows_of(list(rows))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("a.csv", b"id\n1\n", id="plain"),
        pytest.param("a.csv.gz", gzip.compress(b"id\n1\n"), id="packed"),
        pytest.param("a.json", b'[{"id": "1"}]', id="read twice"),
    ],
)
def test_progress_is_counted_in_bytes(tmp_path: Path, name: str, data: bytes) -> None:
    """At the end, as many bytes have been read as the file has."""
    (tmp_path / name).write_bytes(data)
    source = open_source(tmp_path / name)
    assert 0 == source.bytes_read
    assert [{"id": "1"}] == rows_of(list(source))
    assert (len(data), len(data)) == (source.size, source.bytes_read)


# Options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        pytest.param(
            "a.jsonl", {"delimiter": ";"}, "delimiter applies to CSV and TSV only", id="delimiter"
        ),
        pytest.param("a.csv", {"rows": "a"}, "rows applies to .json documents only", id="rows"),
        pytest.param(
            "a.parquet", {"encoding": "cp1252"}, "encoding applies to text files", id="encoding"
        ),
        pytest.param("a.tsv", {"multiline": True}, "pass quoting='csv' too", id="multiline"),
    ],
)
def test_options_that_do_not_apply_are_refused(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    """An option for another kind of file is refused at once."""
    with pytest.raises(ValueError, match=message):
        open_source(tmp_path / name, ReadOptions(**options))


def test_options_of_files_are_refused_for_objects() -> None:
    """An option for files is refused where rows are objects."""
    with pytest.raises(ValueError, match="encoding applies to files only; leave it out"):
        open_source([{"id": 1}], ReadOptions(encoding="cp1252"))


def test_only_so_many_rows_are_read(tmp_path: Path) -> None:
    """With a limit, only that number of rows is read."""
    limit = ReadOptions(limit=2)
    assert [1, 2] == [item.number for item in open_source([{"id": n} for n in range(3)], limit)]
    (tmp_path / "a.csv").write_bytes(b"id\n1\n\n2\n3\n")
    assert [2, 4] == [item.number for item in open_source(tmp_path / "a.csv", limit)]


# Objects


def test_query_results_have_names() -> None:
    """A cursor, and rows that know their columns, are read by name."""
    with closing(sqlite3.connect(":memory:")) as db:
        query = "SELECT 'a' AS id, 5 AS gold UNION SELECT 'b', 6 ORDER BY id"
        expected = [{"id": "a", "gold": 5}, {"id": "b", "gold": 6}]
        assert expected == rows_of(list(open_source(db.execute(query))))
        db.row_factory = sqlite3.Row
        assert expected == rows_of(list(open_source(db.execute(query))))
        assert expected == rows_of(list(open_source(iter(db.execute(query).fetchall()))))
        with pytest.raises(
            ValueError,
            match="several columns of the query have the same name: id; rename them with AS",
        ):
            list(open_source(db.execute("SELECT 1 AS id, 2 AS id")))
        with pytest.raises(ValueError, match="run a query on it first"):
            list(open_source(db.cursor()))


class Result:
    """A stand-in for a result of SQLAlchemy, with the methods that are used."""

    def keys(self) -> list[str]:
        return ["id"]

    def mappings(self) -> Iterator[Mapping[str, object]]:
        yield MappingProxyType({"id": "a"})

    def __iter__(self) -> Iterator[tuple[str]]:
        yield ("a",)


def test_results_of_sqlalchemy_are_read_by_name() -> None:
    """Rows of a SQLAlchemy result are read as mappings."""
    assert [{"id": "a"}] == rows_of(list(open_source(Result())))


@dataclass
class Player:
    id: str


@attrs.define
class Attrs:
    id: str


class Pydantic:
    """A model of Pydantic, as far as it is looked at."""

    def model_dump(self) -> dict[str, str]:
        return {"id": "a"}


class Frame(list[str]):
    """A data frame, as far as it is looked at: iterating it gives its columns."""

    columns = ("id",)

    def to_dict(self) -> dict[str, str]:
        return {"id": "a"}


def test_a_data_frame_is_refused() -> None:
    """A data frame is refused with advice, since iterating it gives its columns."""
    advice = r"not Frame: pass frame\.to_dict\('records'\)"
    with pytest.raises(TypeError, match=advice):
        open_source(Frame(["id"]))


def test_only_so_many_asynchronous_rows_are_read() -> None:
    """With a limit, reading ends after so many rows, and no more are asked for."""
    made: list[int] = []

    async def rows() -> AsyncIterator[dict[str, int]]:
        for number in range(9):
            made.append(number)
            yield {"id": number}

    async def main() -> list[int]:
        return [item.number async for item in open_source(rows(), ReadOptions(limit=2))]

    assert [1, 2] == asyncio.run(main())
    assert [0, 1] == made


@pytest.mark.parametrize(
    ("rows", "advice"),
    [
        pytest.param([("a", 5)], "pass the cursor itself", id="tuple"),
        pytest.param(["id", "gold"], r"frame\.to_dict\('records'\)", id="data frame"),
        pytest.param([Player("a")], r"dataclasses\.asdict", id="dataclass"),
        pytest.param([Attrs("a")], r"attrs\.asdict", id="attrs"),
        pytest.param([Pydantic()], r"row\.model_dump", id="pydantic"),
        pytest.param([5], "one dict for each row", id="number"),
    ],
)
def test_a_first_row_without_names_is_refused(rows: list[object], advice: str) -> None:
    """A source whose first row is not a mapping is refused, with what to pass instead."""
    with pytest.raises(TypeError, match=f"the first row is of type .*{advice}"):
        list(open_source(rows))


def test_a_later_row_without_names_is_unreadable() -> None:
    """A later row that is not a mapping fails alone."""
    items = list(open_source([{"id": 1}, None, MappingProxyType({"id": 2})]))
    assert [
        Row(1, {"id": 1}, 1),
        Unreadable(2, "unreadable_row", "is of type NoneType, not a dict", "", 2),
        Row(3, {"id": 2}, 3),
    ] == items


@pytest.mark.parametrize("source", [5, None, b"id", {"id": 1}])
def test_other_objects_are_refused(source: object) -> None:
    """An object that is not a source of rows is refused with its type."""
    with pytest.raises(TypeError, match="rows must be an iterable of dicts or a path, not"):
        open_source(source)
