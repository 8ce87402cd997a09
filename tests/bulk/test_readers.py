"""Files of rows: read as they stand, and what cannot be read is told with its line."""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
import tempfile
import tracemalloc
from contextlib import suppress
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kraty_admin._bulk import _readers
from kraty_admin._bulk._readers import (
    _Lines,  # pyright: ignore[reportPrivateUsage]
    _next_record,  # pyright: ignore[reportPrivateUsage]
    parse_json,
    read_file,
)
from kraty_admin._bulk._rows import Read, Row, Unreadable


def items_of(path: Path, data: bytes) -> list[Read]:
    path.write_bytes(data)
    return list(read_file(path))


def rows_of(items: list[Read]) -> list[dict[str, Any]]:
    assert not [item for item in items if isinstance(item, Unreadable)]
    return [item.row for item in items if isinstance(item, Row)]


def outline(items: list[Read]) -> list[tuple[int, object]]:
    """Each item's line, with its row or what is wrong with it."""
    return [(item.number, item.row if isinstance(item, Row) else item.message) for item in items]


def in_scratch(name: str, data: bytes) -> list[Read]:
    with tempfile.TemporaryDirectory() as folder:
        return items_of(Path(folder, name), data)


# CSV


def test_cells_stay_text_and_lines_are_counted(tmp_path: Path) -> None:
    """A CSV cell stays text, and a row knows its line."""
    data = b'\xef\xbb\xbfid,amount\r\n00123,5\r\n\r\n"x\r\ny", 1e3\r\n last,'
    assert items_of(tmp_path / "a.csv", data) == [
        Row(2, {"id": "00123", "amount": "5"}),
        Row(4, {"id": "x\r\ny", "amount": " 1e3"}),
        Row(6, {"id": " last", "amount": ""}),
    ]


def test_tabs_separate_tsv(tmp_path: Path) -> None:
    """Tabs separate the cells of a TSV file."""
    data = b'id\tname\n1\ta,b\n2\t"c\td"\n'
    assert rows_of(items_of(tmp_path / "a.TSV", data)) == [
        {"id": "1", "name": "a,b"},
        {"id": "2", "name": "c\td"},
    ]


def test_an_unreadable_line_does_not_stop_the_rest(tmp_path: Path) -> None:
    """The lines after an unreadable one are still read."""
    long = b"x" * (csv.field_size_limit() + 1)
    lines = [
        b"id,name",
        b"1,good",
        b"2,\xff",
        b"3",
        b"4,too,many",
        b"5,\0",
        b"6," + long,
        b'7,"' + long + b'"',
        b'8,"bad" quote',
        b"9,a\rb",
        b"10,good",
    ]
    limit = csv.field_size_limit()
    assert outline(items_of(tmp_path / "a.csv", b"\n".join(lines) + b"\n")) == [
        (2, {"id": "1", "name": "good"}),
        (3, "the line is not UTF-8"),
        (4, "the line has 1 cells, where the header has 2"),
        (5, "the line has 3 cells, where the header has 2"),
        (6, "the line holds a NUL byte"),
        (7, f"the line is not CSV: field larger than field limit ({limit})"),
        (8, f"the line is not CSV: field larger than field limit ({limit})"),
        (9, "the line opens a quote that is not closed as it should be"),
        (10, outline(items_of(tmp_path / "b.csv", b"id,name\n9,a\rb\n"))[0][1]),
        (11, {"id": "10", "name": "good"}),
    ]


def test_the_text_of_an_unreadable_line_is_cut_and_can_be_written(tmp_path: Path) -> None:
    """The reported text of an unreadable line is short and encodes as UTF-8."""
    [item] = items_of(tmp_path / "a.csv", b"id,name\n\xff" + b"y" * 5000 + b"\n")
    assert isinstance(item, Unreadable)
    assert item.code == "unreadable_row"
    assert item.text == "\ufffd" + "y" * 1999
    [short] = items_of(tmp_path / "a.csv", b"id,name\nonly one\r\n")
    assert isinstance(short, Unreadable)
    assert short.text == "only one"


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize("lines", [3, 3000])
def test_a_quote_that_is_never_closed_spoils_its_line_only(
    tmp_path: Path, suffix: str, lines: int
) -> None:
    """A quote that is never closed makes only its own line unreadable."""
    rest = [f"{number},fine" for number in range(lines)]
    data = "\n".join(["id,name", "a,fine", '1,"open', *rest]).encode()
    data = gzip.compress(data) if suffix.endswith(".gz") else data
    items = items_of(tmp_path / f"a{suffix}", data)
    assert [item.number for item in items] == list(range(2, lines + 4))
    assert [item.number for item in items if isinstance(item, Unreadable)] == [3]


@pytest.mark.parametrize("lines", [3, 3000])
def test_a_quote_closed_within_a_later_line_spoils_its_line_only(
    tmp_path: Path, lines: int
) -> None:
    """A quote that a later line closes makes only its own line unreadable."""
    rest = [f"{number},fine" for number in range(lines)]
    data = "\n".join(["id,name", '1,"open', *rest, '2,"x"']).encode()
    items = items_of(tmp_path / "a.csv", data)
    assert [item.number for item in items if isinstance(item, Unreadable)] == [2]
    assert items[-1] == Row(lines + 3, {"id": "2", "name": "x"})
    assert len(items) == lines + 2


@pytest.mark.parametrize("cell", ["victim,1000\n" * 5000, "x" * 2**20 + "\nvictim,1000\n"])
def test_what_stands_inside_a_cell_is_never_taken_for_a_row(tmp_path: Path, cell: str) -> None:
    """Text inside a cell is never read as a row."""
    data = f'id,amount\n1,"\n{cell}"\n2,5\n'.encode()
    [bad, good] = items_of(tmp_path / "a.csv", data)
    assert isinstance(bad, Unreadable)
    assert bad.number == 2
    last = data.count(b"\n") - 1
    assert re.search(f"record of more than .* passed over up to line {last}$", bad.message)
    assert good == Row(data.count(b"\n"), {"id": "2", "amount": "5"})


def test_a_bad_byte_inside_a_cell_of_several_lines_spoils_the_whole_record(
    tmp_path: Path,
) -> None:
    """A bad byte in a cell of several lines makes the whole record unreadable."""
    data = b'id,amount\n1,"a\n\xff\nvictim,1000"\n2,5\n'
    assert outline(items_of(tmp_path / "a.csv", data)) == [
        (2, "the line is not UTF-8"),
        (5, {"id": "2", "amount": "5"}),
    ]


def test_a_line_beyond_the_limit_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line longer than the limit is reported and skipped."""
    monkeypatch.setattr(_readers, "_LINE_LIMIT", 20)
    long = b"3," + b"x" * 100
    data = b"\n".join([b"id,name", b'1,"a', long, b"4,fine", long])
    assert [(item.number, type(item)) for item in items_of(tmp_path / "a.csv", data)] == [
        (2, Unreadable),
        (3, Unreadable),
        (4, Row),
        (5, Unreadable),
    ]
    data = b"\n".join([b"id,name", b'1,"a', long, b'4,fine"', b"5,fine"])
    assert [(item.number, type(item)) for item in items_of(tmp_path / "a.csv", data)] == [
        (2, Unreadable),
        (5, Row),
    ]
    lines = [b"{}", b'{"a":"' + b"x" * 100 + b'"}', b"{}"]
    items = items_of(tmp_path / "a.jsonl", b"\n".join(lines))
    assert [(item.number, type(item)) for item in items] == [(1, Row), (2, Unreadable), (3, Row)]


def test_a_file_that_reopens_its_quotes_ends_in_time(tmp_path: Path) -> None:
    """A file that opens a quote on every line is skipped after a few lines."""
    data = b"id,name\n" + b'a","c\n' * 4000
    items = items_of(tmp_path / "a.csv", data)
    assert [item.number for item in items] == list(range(2, 13))
    last = items[-1]
    assert isinstance(last, Unreadable)
    assert last.message.endswith("passed over up to line 4001")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty: it lacks a header line"),
        (b"\n\r\n", "is empty: it lacks a header line"),
        (b"id,name\n", "is empty: it has a header, but no row below it"),
        (b"id,name\n\n\n", "is empty: it has a header, but no row below it"),
        (b"id,name,id\n1,2,3\n", "the header names columns twice: id"),
        (b"id,,name, \n1,2,3,4\n", "the header leaves columns without a name: number 2, 4"),
        (b"id,\xff\n1,2\n", "line 1: the header is not UTF-8"),
        (b"\xff\xfei\0d\0\n\0", "line 1: the header holds a NUL byte"),
        (b"id,name\r1,2\r3,4\r", "line 1: the header is not CSV"),
        (b'id,"name\n1,2\n', "line 1: the header opens a quote"),
    ],
)
def test_a_file_without_a_header_or_rows_is_refused(
    tmp_path: Path, data: bytes, problem: str
) -> None:
    """A file without a header or rows is refused."""
    with pytest.raises(ValueError, match=problem):
        items_of(tmp_path / "a.csv", data)


def test_a_suffix_that_is_not_known_is_refused_at_once(tmp_path: Path) -> None:
    """An unknown suffix is refused before the file is read."""
    for name in ("a.xlsx", "a", "a.gz", "a.parquet.gz", "a.csv.zip"):
        with pytest.raises(ValueError, match=r"\.csv, \.tsv, \.jsonl, \.ndjson, \.json .*\.parq"):
            read_file(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        next(read_file(tmp_path / "a.csv"))


# Surrogates are no text of a file, and NUL is refused.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
tricky = st.text(st.sampled_from('a"," \t\n\r\u2028\x85\ufeff0é'), max_size=8)
cells = texts | tricky


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    names = draw(st.lists(cells.filter(str.strip), min_size=1, max_size=4, unique=True))
    rows = st.lists(cells, min_size=len(names), max_size=len(names))
    return names, draw(st.lists(rows, min_size=1, max_size=6))


@settings(max_examples=70, deadline=None)
@given(tables(), st.sampled_from(["\n", "\r\n"]), st.sampled_from([",", "\t"]))
def test_rows_written_as_csv_read_back_the_same(
    table: tuple[list[str], list[list[str]]], end: str, delimiter: str
) -> None:
    """Rows that Python writes as CSV read back equal."""
    names, rows = table
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv" if delimiter == "," else "a.tsv")
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            # The writer leaves a CR unquoted where lines end with LF alone.
            quoting: Literal[0, 1] = csv.QUOTE_ALL if end == "\n" else csv.QUOTE_MINIMAL
            writer = csv.writer(file, lineterminator=end, delimiter=delimiter, quoting=quoting)
            writer.writerow(names)
            writer.writerows(rows)
        read = rows_of(list(read_file(path)))
    assert read == [dict(zip(names, row, strict=True)) for row in rows]


scraps = st.sampled_from(
    [b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"a", b"{", b"}", b'{"a":1}', b"[1]"]
)
files = st.binary(max_size=120) | st.lists(scraps, max_size=40).map(b"".join)


@settings(max_examples=120, deadline=None)
@given(files)
@example(b'"\n,"\n"')
@example(b'a,"b\n1,"c\n2,d')
def test_of_any_bytes_each_line_is_accounted_for(data: bytes) -> None:
    """Whatever the bytes, the numbers of rows and reports are distinct and in order."""
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.csv.gz", "a.json"):
        items: list[Read] = []
        with suppress(ValueError):
            items = in_scratch(name, gzip.compress(data) if name.endswith("gz") else data)
        numbers = [item.number for item in items]
        assert numbers == sorted(set(numbers))
        for item in items:
            json.dumps(item, ensure_ascii=False).encode()
        if name == "a.jsonl":
            filled = {n for n, line in enumerate(lines_of(data), 1) if line.strip(b" \t\r\n")}
            assert set(numbers) <= set(range(1, len(lines_of(data)) + 1))
            assert not filled or set(numbers) == filled


@settings(max_examples=300, deadline=None)
@given(files)
@example(b'"\n,"\n"')
@example(b'a,"b\n1,"c\n2,d')
def test_of_any_bytes_each_line_is_in_one_record(data: bytes) -> None:
    """No line of any file is in two records."""
    lines, told = _Lines(BytesIO(data)), list[int]()
    while (record := _next_record(lines, ",")) is not None:
        last = record.number + record.text.removesuffix("\n").count("\n")
        told += range(record.number, last + 1)
    blank = {n for n, line in enumerate(lines_of(data), 1) if not line.strip(b"\r\n")}
    assert told == sorted(set(told))
    assert set(range(1, len(lines_of(data)) + 1)) - set(told) <= blank


def lines_of(data: bytes) -> list[bytes]:
    return BytesIO(data.removeprefix(b"\xef\xbb\xbf")).readlines()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([b"1,x", b'2,"y"', b"3", b'4,"', b"5,\xff", b'6,"a"b']), min_size=1)
)
def test_good_lines_between_bad_ones_are_read(lines: list[bytes]) -> None:
    """Good lines between bad ones are read."""
    items = in_scratch("a.csv", b"id,name\n" + b"\n".join(lines))
    bad = [n for n, line in enumerate(lines, 2) if line in (b"3", b"5,\xff", b'6,"a"b')]
    if b'4,"' not in lines:
        assert [item.number for item in items] == list(range(2, len(lines) + 2))
        assert [item.number for item in items if isinstance(item, Unreadable)] == bad
    text = b"\n".join(lines).decode(errors="replace")
    told = sum(
        item.text.count("\n") + 1
        if isinstance(item, Unreadable)
        else item.row["name"].count("\n") + 1
        for item in items
    )
    assert told == len(text.split("\n"))


# JSON lines


def test_lines_of_json_are_rows(tmp_path: Path) -> None:
    """Each line of JSON is a row."""
    big = 10**400
    data = f'\ufeff{{"id":"00123"}}\n\n \t\r\n{{"a":{{"b":[1,null]}},"n":{big}}}\r\n'
    assert items_of(tmp_path / "a.ndjson", data.encode()) == [
        Row(1, {"id": "00123"}),
        Row(4, {"a": {"b": [1, None]}, "n": big}),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "is not JSON: Expecting property name enclosed in double quotes at character"),
        (b'{"a":1} x', "is not JSON: Extra data"),
        (b'{"a":"\xff"}', "is not UTF-8"),
        (b'{"a":"\0"}', "holds a NUL byte"),
        (b"[1]", "is JSON, but not an object"),
        (b"null", "is JSON, but not an object"),
        (b'{"a":NaN}', "holds NaN, which JSON lacks"),
        (b'{"a":-Infinity}', "holds -Infinity, which JSON lacks"),
        (b'{"a":1e999}', "holds a number that is too large"),
        (b'{"a":{"b":1,"b":2}}', "holds an object that has a key twice"),
        (b'{"a":"\\ud800"}', "holds a lone surrogate"),
        (b'{"a":"\\uD800"}', "holds a lone surrogate"),
        (b'{"\\udfff":1}', "holds a lone surrogate"),
        (b'{"a":' + b"9" * 5000 + b"}", "holds a number of too many digits"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    ],
)
def test_a_line_that_is_no_json_object_is_unreadable(
    tmp_path: Path, line: bytes, problem: str
) -> None:
    """A line that holds no JSON object is unreadable."""
    items = items_of(tmp_path / "a.jsonl", b"\n".join([b'{"n":1}', line, b'{"n":2}']))
    assert [item.number for item in items] == [1, 2, 3]
    bad = items[1]
    assert isinstance(bad, Unreadable)
    assert bad.code == "unreadable_row"
    assert bad.message.startswith("the line ")
    assert problem in bad.message
    assert rows_of([items[0], items[2]]) == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_lines_of_nothing_are_refused(tmp_path: Path, data: bytes) -> None:
    """A file of empty lines is refused."""
    with pytest.raises(ValueError, match=r"a\.jsonl is empty: it lacks lines"):
        items_of(tmp_path / "a.jsonl", data)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=70, deadline=None)
@given(st.lists(st.dictionaries(texts, json_values, max_size=4), min_size=1), st.booleans())
def test_rows_written_as_json_read_back_the_same(rows: list[dict[str, Any]], ascii: bool) -> None:  # noqa: A002
    """Rows that Python writes as JSON lines read back equal."""
    written = [json.dumps(row, ensure_ascii=ascii) for row in rows]
    assert rows_of(in_scratch("a.jsonl", "\n".join(written).encode())) == rows
    document = f'{{"users": [{",".join(written)}]}}'
    assert rows_of(in_scratch("a.json", document.encode())) == rows


def test_reported_failures_are_rows_again(tmp_path: Path) -> None:
    """A file of failures can be imported."""
    failure = {"number": 7, "code": "unknown_item", "message": "no such item"}
    row = {"externalPlayerId": "p_1", "itemKey": "sword"}
    lines: list[dict[str, Any]] = [
        failure | {"row": row},
        failure | {"row": row, "externalPlayerId": "p_1"},
        failure | {"text": "9,broken"},
        failure | {"row": "no object"},
        failure | {"row": row, "more": 1},
        {"number": 1, "row": row},
        failure,
    ]
    items = items_of(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)).encode())
    assert items == [
        Row(1, row),
        Row(2, row),
        Unreadable(3, "unreadable_row", "no such item", "9,broken"),
        Unreadable(
            4,
            "unreadable_row",
            "the line holds a failure whose row is not an object",
            json.dumps(lines[3]),
        ),
        Row(5, lines[4]),
        Row(6, lines[5]),
        Row(7, lines[6]),
    ]


# Documents of JSON


def test_a_document_is_a_list_or_holds_one(tmp_path: Path) -> None:
    """A JSON document is a list of rows, or has one list."""
    path = tmp_path / "a.json"
    assert items_of(path, b'[{"a":1}, {"a":2}]') == [Row(1, {"a": 1}), Row(2, {"a": 2})]
    assert rows_of(items_of(path, b'\xef\xbb\xbf{"users": [{"a":1}]}')) == [{"a": 1}]
    assert rows_of(items_of(path, b'{"success": true, "items": [{"a":1}]}')) == [{"a": 1}]
    [row, bad] = items_of(path, b'[{"a":1}, 2]')
    assert row == Row(1, {"a": 1})
    assert bad == Unreadable(2, "unreadable_row", "the line is JSON, but not an object", "2")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b" ", "is empty: it lacks a list"),
        (b"[]", "is empty: its list holds no rows"),
        (b'{"a": []}', "is empty: its list holds no rows"),
        (b'{"a": [1], "b": [2]}', "holds neither a list nor"),
        (b'{"a": 1}', "holds neither a list nor"),
        (b"7", "holds neither a list nor"),
        (b"[", "is not JSON"),
        (b"[NaN]", "holds NaN"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_another_document_is_refused(tmp_path: Path, data: bytes, problem: str) -> None:
    """A JSON document of another form is refused."""
    with pytest.raises(ValueError, match=problem):
        items_of(tmp_path / "a.json", data)


def test_json_as_the_rfc_has_it() -> None:
    """Only JSON as RFC 8259 defines it is accepted."""
    assert parse_json(' {"a": "\\ud83d\\ude00"} ') == {"a": "\U0001f600"}
    with pytest.raises(ValueError, match="is not JSON"):
        parse_json("{'a': 1}")


# Packed files


@pytest.mark.parametrize("name", ["a.csv.gz", "a.tsv.gz", "a.CSV.GZ"])
def test_packed_cells_are_read(tmp_path: Path, name: str) -> None:
    """A gzipped CSV file is read."""
    packed = gzip.compress(b"id\n00123\n4\n")
    assert items_of(tmp_path / name, packed) == [Row(2, {"id": "00123"}), Row(3, {"id": "4"})]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.ndjson.gz"])
def test_packed_lines_are_read(tmp_path: Path, name: str) -> None:
    """A gzipped file of JSON lines is read."""
    assert items_of(tmp_path / name, gzip.compress(b'{"a":1}\n{'))[0] == Row(1, {"a": 1})


def test_a_broken_packed_file_is_refused(tmp_path: Path) -> None:
    """A broken gzip file is an error that says so."""
    whole = gzip.compress("".join(f'{{"n":{n * n * n}}}\n' for n in range(60_000)).encode())
    path = tmp_path / "a.jsonl.gz"
    for data in (whole[: len(whole) // 2], whole[:5000] + b"x" * 50 + whole[5050:], b"no gzip"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.jsonl\.gz cannot be unpacked beyond row \d+: "):
            for _ in read_file(path):
                pass


# Memory


def peak_of(path: Path) -> tuple[int, int]:
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_file(path))
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Reading a long file takes less memory than the file is long."""
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("id,amount\n")
        file.writelines(f"player_{number:040},{number}\n" for number in range(50_000))
    count, peak = peak_of(path)
    assert count == 50_000
    assert peak < 1_000_000 < path.stat().st_size


def test_memory_stays_flat_where_a_quote_is_never_closed(tmp_path: Path) -> None:
    """A quote that is never closed does not load the file into memory."""
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write('id,amount\n1,"5\n')
        file.writelines(f"player_{number},{number}\n" for number in range(30_000))
    count, peak = peak_of(path)
    assert count == 30_001
    assert peak < 500_000 < path.stat().st_size


# Parquet


@pytest.fixture
def write(tmp_path: Path) -> Any:
    pytest.importorskip("pyarrow")
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")

    def write(columns: dict[str, Any], types: dict[str, Any] | None = None) -> Path:
        path = tmp_path / "a.parquet"
        arrays = {
            name: arrow.array(values, (types or {}).get(name)) for name, values in columns.items()
        }
        parquet.write_table(arrow.table(arrays), path, row_group_size=3)
        return path

    return write


def test_parquet_becomes_plain_values(write: Any) -> None:
    """Parquet values become values that JSON has."""
    noon = datetime(2024, 5, 6, 12, tzinfo=timezone.utc)
    path = write(
        {
            "id": ["00123", "b"],
            "n": [2**53 - 1, None],
            "ok": [True, False],
            "f": [5.0, float("nan")],
            "deep": [{"a": [1, 2], "when": date(2024, 1, 2)}, None],
            "at": [noon, noon.replace(microsecond=5)],
            "naive": [datetime(2024, 5, 6, 12), None],  # noqa: DTZ001
            "time": [time(1, 2, 3), None],
            "price": [Decimal("3.00"), Decimal("3.50")],
            "raw": ["é".encode(), b""],
        }
    )
    assert rows_of(list(read_file(path))) == [
        {
            "id": "00123",
            "n": 2**53 - 1,
            "ok": True,
            "f": 5.0,
            "deep": {"a": [1, 2], "when": "2024-01-02"},
            "at": "2024-05-06T12:00:00Z",
            "naive": "2024-05-06T12:00:00Z",
            "time": "01:02:03",
            "price": 3,
            "raw": "é",
        },
        {
            "id": "b",
            "n": None,
            "ok": False,
            "f": None,
            "deep": None,
            "at": "2024-05-06T12:00:00.000005Z",
            "naive": None,
            "time": None,
            "price": "3.50",
            "raw": "",
        },
    ]


def test_a_parquet_row_without_json_is_unreadable(write: Any) -> None:
    """A Parquet row with a value that JSON lacks is unreadable."""
    path = write({"n": [1, 2, 3, 4], "f": [1.0, float("inf"), 2.0, 3.5]})
    items = list(read_file(path))
    assert [(item.number, type(item)) for item in items] == [
        (1, Row),
        (2, Unreadable),
        (3, Row),
        (4, Row),
    ]
    [item] = read_file(write({"raw": [b"\xff"]}))
    assert isinstance(item, Unreadable)
    assert "bytes that are not UTF-8" in item.message
    [item] = read_file(write({"span": [timedelta(seconds=1)]}))
    assert isinstance(item, Unreadable)
    assert "of type timedelta" in item.message


def test_a_parquet_value_that_python_cannot_hold_spoils_its_row_only(write: Any) -> None:
    """A Parquet value that Python cannot hold makes only its own row unreadable."""
    arrow = import_module("pyarrow")
    nanoseconds = {"at": arrow.timestamp("ns")}
    items = list(read_file(write({"at": [0, 1_500_000_001, 2_000]}, nanoseconds)))
    assert outline(items) == [
        (1, {"at": "1970-01-01T00:00:00Z"}),
        (2, "the line holds a value that Python has no type for"),
        (3, {"at": "1970-01-01T00:00:00.000002Z"}),
    ]


def test_a_file_without_rows_or_parquet_is_refused(write: Any, tmp_path: Path) -> None:
    """A file that is empty or not Parquet is refused."""
    arrow = import_module("pyarrow")
    with pytest.raises(ValueError, match=r"a\.parquet is empty: it has columns, but no rows"):
        list(read_file(write({"n": []}, {"n": arrow.int64()})))
    for data in (b"", b"PAR1 no, not at all PAR1"):
        with pytest.raises(ValueError, match=r"b\.parquet cannot be read beyond row 0"):
            items_of(tmp_path / "b.parquet", data)


def test_parquet_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow, the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'kraty-admin\[parquet\]'"):
        items_of(tmp_path / "a.parquet", b"")
