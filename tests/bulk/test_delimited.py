"""CSV and TSV: cells stay as written, and every line is counted once."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
import tracemalloc
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kraty_admin._bulk import _delimited, _lines
from kraty_admin._bulk._options import ReadOptions
from kraty_admin._bulk._rows import Read, Row, Unreadable
from kraty_admin._bulk._source import open_source

from .testkit import files, in_scratch, items_of, lines_of, outline, rows_of, texts


def test_cells_stay_text_and_lines_are_counted(tmp_path: Path) -> None:
    """A CSV cell stays text, and a row knows its line."""
    data = b'\xef\xbb\xbfid,amount\r\n00123,5\r\n\r\n"x\r\ny", 1e3\r\n last,'
    assert [
        Row(2, {"id": "00123", "amount": "5"}, 1),
        Row(4, {"id": "x\r\ny", "amount": " 1e3"}, 2),
        Row(6, {"id": " last", "amount": ""}, 3),
    ] == items_of(tmp_path / "a.csv", data)


def test_tabs_separate_tsv(tmp_path: Path) -> None:
    """Tabs separate the cells of a TSV file, in which quotes are plain characters."""
    data = b'id\tname\n1\ta,b\n2\t"Ace\n3\tAl"\n4\t"\n5\t{"a": "b"}\n'
    assert [
        {"id": "1", "name": "a,b"},
        {"id": "2", "name": '"Ace'},
        {"id": "3", "name": 'Al"'},
        {"id": "4", "name": '"'},
        {"id": "5", "name": '{"a": "b"}'},
    ] == rows_of(items_of(tmp_path / "a.TSV", data))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b'id\tname\n1\t"Ace"\n', "line 2: cell 2 is in quotes", id="cell"),
        pytest.param(b'id\tname\n1\t""\n', "line 2: cell 2 is in quotes", id="empty cell"),
        pytest.param(b'id\t"name"\n1\tx\n', "the header holds a name in quotes", id="header"),
        pytest.param(
            b'id\tnote\tgold\n1\t"a\nx\ty\t9\n"\t5\n',
            "line 2: cell 2 opens a quote and the line ends within it",
            id="line",
        ),
    ],
)
def test_quotes_of_csv_in_tsv_are_refused_until_the_user_chooses(
    tmp_path: Path, data: bytes, problem: str
) -> None:
    """A TSV file that may have the quotes of CSV is refused with the options to choose from."""
    with pytest.raises(ValueError, match=f"{problem}.*hoose quoting='csv' or quoting='none'"):
        items_of(tmp_path / "a.tsv", data)


def test_the_quoting_of_tsv_can_be_chosen(tmp_path: Path) -> None:
    """The option `quoting` decides if quotes enclose cells or are plain characters."""
    data = b'"id"\tname\n1\t"a\tb"\n'
    quoted = items_of(tmp_path / "a.tsv", data, quoting="csv")
    assert [{"id": "1", "name": "a\tb"}] == rows_of(quoted)
    data = b'"id"\tname\n1\t"Ace"\n'
    plain = items_of(tmp_path / "a.tsv", data, quoting="none")
    assert [{'"id"': "1", "name": '"Ace"'}] == rows_of(plain)
    plain = items_of(tmp_path / "a.csv", b'id,name\n1,"Ace\n2,Al"\n', quoting="none")
    assert [{"id": "1", "name": '"Ace'}, {"id": "2", "name": 'Al"'}] == rows_of(plain)


def test_delimiters_of_the_user(tmp_path: Path) -> None:
    """The option `delimiter` sets what separates cells."""
    data = b'id;name\n1;"a;b"\n'
    assert [{"id": "1", "name": "a;b"}] == rows_of(
        items_of(tmp_path / "a.csv", data, delimiter=";")
    )


@pytest.mark.parametrize(
    ("encoding", "given"),
    [
        pytest.param("utf-16", None, id="UTF-16 by its mark"),
        pytest.param("utf-8-sig", None, id="UTF-8 by its mark"),
        pytest.param("utf-32", None, id="UTF-32 by its mark"),
        pytest.param("utf-16-le", "utf-16-le", id="UTF-16 without a mark"),
        pytest.param("utf-16", "utf-16", id="UTF-16 that is named too"),
        pytest.param("cp1252", "cp1252", id="a code page"),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, given: str | None) -> None:
    """A file is decoded as its byte order mark says, or as the user says."""
    text = "id,name\r\n" + "".join(f"{number},é€\r\n" for number in range(5000))
    items = items_of(tmp_path / "a.csv", text.encode(encoding), encoding=given)
    assert [{"id": str(number), "name": "é€"} for number in range(5000)] == rows_of(items)


def test_a_mark_of_another_encoding_is_refused(tmp_path: Path) -> None:
    """An encoding that the byte order mark contradicts is refused."""
    with pytest.raises(ValueError, match="byte order mark of UTF-16, so it is not cp1252"):
        items_of(tmp_path / "a.csv", "id\n1\n".encode("utf-16"), encoding="cp1252")


def test_a_bad_byte_of_another_encoding_spoils_its_line_only(tmp_path: Path) -> None:
    """A byte that the encoding cannot decode makes only its own line unreadable."""
    data = "id\n1\n".encode("utf-16") + b"\x00\xd8" + "\n2\n".encode("utf-16-le")
    assert [(2, {"id": "1"}), (3, "the line is not UTF-16"), (4, {"id": "2"})] == outline(
        items_of(tmp_path / "a.csv", data)
    )
    data = b"id\n1\n\x81\n2\n"
    assert [(2, {"id": "1"}), (3, "the line is not cp1252"), (4, {"id": "2"})] == outline(
        items_of(tmp_path / "a.csv", data, encoding="cp1252")
    )


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
        (4, "the line has 1 cells, but the header has 2"),
        (5, "the line has 3 cells, but the header has 2"),
        (6, "the line holds a NUL byte"),
        (7, {"id": "6", "name": "x" * (limit + 1)}),
        (8, f"the line is not CSV: field larger than field limit ({limit})"),
        (9, "the line opens a quote that is not closed properly"),
        (10, "the line holds a carriage return that is not a line end"),
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
def test_a_quote_that_no_line_closes_well_spoils_its_line_only(tmp_path: Path, lines: int) -> None:
    """A quote that a later line closes in the wrong place makes only its own line unreadable."""
    rest = [f"{number},fine" for number in range(lines)]
    data = "\n".join(["id,name", '1,"open', *rest, '2,"x"']).encode()
    items = items_of(tmp_path / "a.csv", data)
    assert [2] == [item.number for item in items if isinstance(item, Unreadable)]
    assert Row(lines + 3, {"id": "2", "name": "x"}, lines + 2) == items[-1]
    assert lines + 2 == len(items)


def test_lines_that_a_stray_quote_may_have_swallowed_fail_each(tmp_path: Path) -> None:
    """A quoted cell with a line that could be a row fails line by line, with what to do."""
    data = b'id,name,gold\nA1,"Ace,1\nA2,Bob,20\n\nA3,Al",300\nA4,D,5\n'
    items = items_of(tmp_path / "a.csv", data)
    within = "the line may be part of a quoted cell, which line 2 opens"
    assert [(3, within), (5, within), (6, {"id": "A4", "name": "D", "gold": "5"})] == outline(
        items[1:]
    )
    assert [1, 2, 3, 4] == [item.source for item in items]
    first = items[0]
    assert isinstance(first, Unreadable)
    assert "quoted cell that ends on line 5" in first.message
    assert all(option in first.message for option in ("--multiline", "--quoting none"))


def test_two_rows_are_not_taken_for_one(tmp_path: Path) -> None:
    """Two lines that are whole rows do not become one row whose cell holds a line break."""
    data = b'id,name,gold\nA1,"Ace,1\nA3,Al",300\nA4,D,5\n'
    items = items_of(tmp_path / "a.csv", data)
    assert [Unreadable, Unreadable, Row] == [type(item) for item in items]


def test_cells_of_several_lines_can_be_expected(tmp_path: Path) -> None:
    """With `multiline`, a cell may hold lines that look like rows."""
    data = b'id,note\n1,"dear all,\nvictim,1000\n"\n2,x\n'
    assert [
        {"id": "1", "note": "dear all,\nvictim,1000\n"},
        {"id": "2", "note": "x"},
    ] == rows_of(items_of(tmp_path / "a.csv", data, multiline=True))
    assert [Unreadable, Unreadable, Unreadable, Row] == [
        type(item) for item in items_of(tmp_path / "a.csv", data)
    ]


@pytest.mark.parametrize("multiline", [False, True])
@pytest.mark.parametrize(
    "cell",
    [
        pytest.param("victim,1000\n" * 6000, id="many lines"),
        pytest.param("x" * 2**20 + "\nvictim,1000\n", id="long"),
    ],
)
def test_what_stands_inside_a_cell_is_never_taken_for_a_row(
    tmp_path: Path, cell: str, multiline: bool
) -> None:
    """Each line of a record that is too long fails, and none of them is read as a row."""
    data = f'id,amount\n1,"\n{cell}"\n2,5\n'.encode()
    *bad, good = items_of(tmp_path / "a.csv", data, multiline=multiline)
    last = data.count(b"\n")
    assert list(range(2, last)) == [item.number for item in bad]
    assert {Unreadable} == {type(item) for item in bad}
    assert Row(last, {"id": "2", "amount": "5"}, last - 1) == good


def test_a_bad_byte_inside_a_cell_of_several_lines_spoils_the_whole_record(
    tmp_path: Path,
) -> None:
    """A bad byte in a cell of several lines makes the whole record unreadable."""
    data = b'id,amount\n1,"a\n\xff\nvictim"\n2,5\n'
    assert [(2, "the line is not UTF-8"), (5, {"id": "2", "amount": "5"})] == outline(
        items_of(tmp_path / "a.csv", data)
    )


def test_a_record_is_checked_however_it_is_written(tmp_path: Path) -> None:
    """A record fails for a bad byte in a quoted cell, and for too many cells on several lines."""
    data = b'id,amount\n1,"\xff"\n2,"a\nb",c\n3,5\n'
    assert [
        (2, "the line is not UTF-8"),
        (3, "the line has 3 cells, but the header has 2"),
        (5, {"id": "3", "amount": "5"}),
    ] == outline(items_of(tmp_path / "a.csv", data, multiline=True))
    assert (2, "the line is not UTF-8") == outline(items_of(tmp_path / "a.csv", data))[0]


def test_a_line_of_tsv_with_a_quote_is_counted(tmp_path: Path) -> None:
    """A quote at the start of a cell does not hide that there are too many cells."""
    data = b'id\tname\n1\t"Ace\t5\n2\t"Al\n'
    assert [
        (2, "the line has 3 cells, but the header has 2"),
        (3, {"id": "2", "name": '"Al'}),
    ] == outline(items_of(tmp_path / "a.tsv", data))


def test_where_a_record_that_is_too_long_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that is too long ends with the line that closes its cell, correctly or not."""
    monkeypatch.setattr(_delimited, "_RECORD_LINES", 3)
    for end in (b'y"', b'y"z'):
        data = b'id,name\n1,"x\n\nvictim,1\nvictim,2\n' + end + b"\n2,fine\n"
        items = items_of(tmp_path / "a.csv", data)
        assert [(2, Unreadable), (4, Unreadable), (5, Unreadable), (6, Unreadable), (7, Row)] == [
            (item.number, type(item)) for item in items
        ]


def test_swallowed_lines_are_counted(tmp_path: Path) -> None:
    """In a file with several stray quotes, each line is counted once and no good line is lost."""
    rows = [f"p{n},{'' if n % 3000 else chr(34)}Ace,{n}" for n in range(1, 12_001)]
    data = "\n".join(["id,name,gold", *rows]).encode()
    items = items_of(tmp_path / "a.csv", data)
    assert list(range(1, 12_001)) == [item.source for item in items]
    assert [3001, 6001, 9001, 12_001] == [
        item.number for item in items if isinstance(item, Unreadable)
    ]


def test_reading_again_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines behind an open quote fail once too many lines have been read again."""
    monkeypatch.setattr(_delimited, "_READ_AGAIN", 10)
    data = b'id,name\n1,"open\n2,fine\n3,"x"y\n4,fine\n'
    items = items_of(tmp_path / "a.csv", data)
    assert [(2, Unreadable), (3, Unreadable), (4, Unreadable), (5, Row)] == [
        (item.number, type(item)) for item in items
    ]


def test_a_line_beyond_the_limit_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line longer than the limit is reported and skipped."""
    monkeypatch.setattr(_lines, "_LINE_LIMIT", 20)
    monkeypatch.setattr(_lines, "_BLOCK", 8)
    long = b"3," + b"x" * 100
    data = b"\n".join([b"id,name", b'1,"a', long, b"4,fine", long])
    assert [(2, Unreadable), (3, Unreadable), (4, Row), (5, Unreadable)] == [
        (item.number, type(item)) for item in items_of(tmp_path / "a.csv", data)
    ]
    lines = [b"{}", b'{"a":"' + b"x" * 100 + b'"}', b"{}"]
    items = items_of(tmp_path / "a.jsonl", b"\n".join(lines))
    assert [(1, Row), (2, Unreadable), (3, Row)] == [(item.number, type(item)) for item in items]


def test_a_file_that_reopens_its_quotes_ends_in_time(tmp_path: Path) -> None:
    """A file that opens a quote on every line is read to its end."""
    data = b"id,name\n" + b'a","c\n' * 750
    items = items_of(tmp_path / "a.csv", data)
    assert list(range(2, 752)) == [item.number for item in items]
    assert {Unreadable} == {type(item) for item in items}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty: it lacks a header line"),
        (b"\n\r\n", "is empty: it lacks a header line"),
        (b"id,name\n", "is empty: it has a header, but no row below it"),
        (b"id,name\n\n\n", "is empty: it has a header, but no row below it"),
        (b"id,name,id\n1,2,3\n", "the header has several columns with the same name: id"),
        (b"id,,name, \n1,2,3,4\n", "the header leaves columns without a name: number 2, 4"),
        (b"id,\xff\n1,2\n", "line 1: the header is not UTF-8"),
        (b"i\0d\0\n\0", "line 1: the header holds a NUL byte; if it is UTF-16, pass encoding="),
        (b"id,name\r1,2\r3,4\r", "line 1: the header is not CSV"),
        (b'id,"name\n1,2\n', "line 1: the header opens a quote"),
    ],
)
def test_a_file_without_a_header_or_rows_is_refused(
    tmp_path: Path, data: bytes, problem: str
) -> None:
    """A file without a usable header, or without rows, is refused."""
    with pytest.raises(ValueError, match=problem):
        items_of(tmp_path / "a.csv", data)


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
        path = Path(folder, "a.csv")
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            # The writer leaves a CR unquoted where lines end with LF alone.
            quoting: Literal[0, 1] = csv.QUOTE_ALL if end == "\n" else csv.QUOTE_MINIMAL
            writer = csv.writer(file, lineterminator=end, delimiter=delimiter, quoting=quoting)
            writer.writerow(names)
            writer.writerows(rows)
        options = ReadOptions(delimiter=delimiter, multiline=True)
        read = rows_of(list(open_source(path, options)))
    assert read == [dict(zip(names, row, strict=True)) for row in rows]


@settings(max_examples=120, deadline=None)
@given(files)
@example(b'"\n,"\n"')
@example(b'a,"b\n1,"c\n2,d')
@example(b'"\n\x80"\n\x00')
def test_of_any_bytes_each_line_is_accounted_for(data: bytes) -> None:
    """For any bytes, rows and failures have distinct line numbers in order, and no line of JSON is
    missing."""
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


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([b"1,x", b'2,"y"', b"3", b'4,"', b"5,\xff", b'6,"a"b']), min_size=1)
)
def test_good_lines_between_bad_ones_are_read(lines: list[bytes]) -> None:
    """Good lines between bad ones are read, and every line is counted."""
    items = in_scratch("a.csv", b"id,name\n" + b"\n".join(lines))
    bad = [n for n, line in enumerate(lines, 2) if line not in (b"1,x", b'2,"y"')]
    if b'4,"' not in lines:
        assert bad == [item.number for item in items if isinstance(item, Unreadable)]
    assert list(range(2, len(lines) + 2)) == [item.number for item in items]


plain_cells = st.text(st.sampled_from("a\" ',;|0é{}"), max_size=6)


@st.composite
def dialects(draw: st.DrawFn) -> tuple[list[list[str]], bytes, str, dict[str, Any]]:
    """Draw a table with its header, its file, the file's name and the options to read it with."""
    delimiter = draw(st.sampled_from([",", "\t", ";", "|"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    style = draw(st.sampled_from(["csv", "csv of several lines", "plain", "undecided"]))
    width = draw(st.integers(1, 4))
    inner = st.sampled_from(["\n", "\r\n", delimiter, '"', "x"])
    several = st.lists(inner | plain_cells, max_size=5).map("".join)
    single = plain_cells | st.sampled_from(['""', '"a"'])
    cell = (several if "csv" in style else single).map(
        lambda text: text if "csv" in style else text.replace(delimiter, "")
    )
    row = st.lists(cell, min_size=width, max_size=width)
    rows = draw(st.lists(row.filter(any), min_size=1, max_size=8))
    table = [[f"c{n}" for n in range(width)], *rows]
    text = StringIO(newline="")
    if "csv" in style:
        quoting: Literal[0, 1] = draw(st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
        csv.writer(text, lineterminator=end, delimiter=delimiter, quoting=quoting).writerows(table)
    else:
        text.writelines(f"{delimiter.join(row)}{end}" for row in table)
    options: dict[str, Any] = {"delimiter": delimiter}
    if encoding in ("utf-16-le", "cp1252"):
        options["encoding"] = encoding
    if "csv" in style:
        options |= {"quoting": "csv", "multiline": style == "csv of several lines"}
    elif style == "plain":
        options["quoting"] = "none"
    name = "a.tsv" if style == "undecided" else draw(st.sampled_from(["a.csv", "a.tsv"]))
    return table, text.getvalue().encode(encoding), name, options


@settings(max_examples=150, deadline=None)
@given(dialects())
def test_tables_come_back_exactly_or_as_failures(
    written: tuple[list[list[str]], bytes, str, dict[str, Any]],
) -> None:
    """Each row of a table in any dialect is read exactly, or a failure is reported."""
    (names, *rows), data, name, options = written
    if "quoting" not in options and any(is_in_quotes(cell) for row in rows for cell in row):
        with pytest.raises(ValueError, match="hoose quoting="):
            in_scratch(name, data, **options)
        return
    items = in_scratch(name, data, **options)
    assert list(range(1, len(items) + 1)) == [item.source for item in items]
    expected = [dict(zip(names, row, strict=True)) for row in rows]
    if options.get("multiline") or options.get("quoting") != "csv":
        assert expected == rows_of(items)
        return
    # Without multiline, some rows of several lines fail line by line. No other row appears.
    rest = iter(expected)
    read = [item.row for item in items if isinstance(item, Row)]
    assert all(row in rest for row in read)
    assert len(read) == len(expected) or len(items) > len(read)


def is_in_quotes(cell: str) -> bool:
    return len(cell) > 1 and cell.startswith('"') and cell.endswith('"')


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(plain_cells, min_size=3, max_size=3).filter(any), min_size=1))
@example([['"a', "b", "c"], ["d", 'e"', "f"]])
@example([["a", '"b', "c"], ["d", "e", "f"], ["g", 'h"', "i"]])
def test_no_row_swallows_another(rows: list[list[str]]) -> None:
    """If plain quotes are read as those of CSV, no row takes in the lines of another."""
    lines = ["a;b;c", *(";".join(cell.replace(";", "") for cell in row) for row in rows)]
    items = in_scratch("a.csv", "\n".join(lines).encode(), delimiter=";")
    cells = [cell for item in items if isinstance(item, Row) for cell in item.row.values()]
    assert not [cell for cell in cells if "\n" in cell]
    assert len(rows) == len(items)


# Memory


def peak_of(path: Path) -> tuple[int, int]:
    tracemalloc.start()
    try:
        count = sum(1 for _ in open_source(path))
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Reading a long file takes less memory than a file of that length."""
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
        file.writelines(f"player_{number:0150},{number}\n" for number in range(30_000))
    count, peak = peak_of(path)
    assert count == 30_001
    assert peak < 3_000_000 < path.stat().st_size
