"""JSON: lines of objects, and documents that hold rows somewhere."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraty_admin._bulk import _json_rows
from kraty_admin._bulk._json_rows import parse_json
from kraty_admin._bulk._options import ReadOptions
from kraty_admin._bulk._rows import Layout, Read, Row, Unreadable
from kraty_admin._bulk._source import open_source

from .testkit import in_scratch, items_of, outline, rows_of, texts


def test_lines_of_json_are_rows(tmp_path: Path) -> None:
    """Each line of JSON that is not blank becomes a row with its line number."""
    big = 10**400
    data = f'\ufeff{{"id":"00123"}}\n\n \t\r\n{{"a":{{"b":[1,null]}},"n":{big}}}\r\n'
    assert [
        Row(1, {"id": "00123"}, 1),
        Row(4, {"a": {"b": [1, None]}, "n": big}, 2),
    ] == items_of(tmp_path / "a.ndjson", data.encode())


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
        (b'{"a":{"b":1,"b":2}}', "holds an object with a duplicate key"),
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


FAILURE: Final[dict[str, Any]] = {
    "number": 7,
    "code": "unknown_item",
    "message": "no such item",
}
LAID_OUT: Final[dict[str, Any]] = {
    "layout": {"columns": ["id", "gold"], "delimiter": ",", "quoting": "csv"}
}


def failures_of(path: Path, *lines: dict[str, Any]) -> list[Read]:
    return items_of(path, "\n".join(map(json.dumps, lines)).encode())


def test_the_rows_of_failures_are_rows_of_the_contract(tmp_path: Path) -> None:
    """The rows of a failures file are read as rows that need no mapping."""
    row = {"externalPlayerId": "p_1", "itemKey": "sword"}
    assert [Row(1, row, 1, mapped=True), Row(2, row, 2, mapped=True)] == failures_of(
        tmp_path / "a.jsonl",
        FAILURE | {"row": row},
        FAILURE | {"row": row, "externalPlayerId": "p_1"},
    )


def test_lines_that_only_resemble_failures_are_rows(tmp_path: Path) -> None:
    """An object that holds more or less than a failure is a row of its own."""
    lines: list[dict[str, Any]] = [
        FAILURE | {"row": 1, "more": 1},
        {"number": 1, "row": 2},
        FAILURE,
    ]
    assert [Row(n, line, n) for n, line in enumerate(lines, 1)] == failures_of(
        tmp_path / "a.jsonl", *lines
    )


def test_unreadable_text_can_be_fixed(tmp_path: Path) -> None:
    """The text of a failure is read again in the layout of the file that it came from."""
    layout = Layout(("id", "gold"), ",", "csv")
    assert [
        Row(1, {"id": "a", "gold": "5"}, 1),
        Row(2, {"id": 'a,"b', "gold": "5"}, 2),
        Unreadable(3, "unreadable_row", "no such item", "a", 3, layout=layout),
        Unreadable(4, "unreadable_row", "no such item", 'a,"5', 4, layout=layout),
        Row(5, {"id": "a"}, 5),
        Unreadable(6, "unreadable_row", "no such item", '{"id"', 6),
        Unreadable(7, "unreadable_row", "no such item", "", 7),
        Unreadable(8, "unreadable_row", "no such item", "[1]", 8),
        Unreadable(9, "unreadable_row", "no such item", "a,5\nb,6", 9, layout=layout),
        Row(10, {"id": "a", "gold": '"5'}, 10),
        Row(11, {"id": "a"}, 11),
    ] == failures_of(
        tmp_path / "a.jsonl",
        FAILURE | LAID_OUT | {"text": "a,5"},
        FAILURE | LAID_OUT | {"text": '"a,""b",5'},
        FAILURE | LAID_OUT | {"text": "a"},
        FAILURE | LAID_OUT | {"text": 'a,"5'},
        FAILURE | {"text": '{"id": "a"}'},
        FAILURE | {"text": '{"id"'},
        FAILURE | {"text": ""},
        FAILURE | {"text": "[1]"},
        FAILURE | LAID_OUT | {"text": "a,5\nb,6"},
        FAILURE | {"layout": LAID_OUT["layout"] | {"quoting": "none"}, "text": 'a,"5'},
        FAILURE | {"layout": LAID_OUT["layout"] | {"delimiter": ""}, "text": '{"id": "a"}'},
    )


def test_a_failure_of_another_form_is_unreadable(tmp_path: Path) -> None:
    """A failure whose row is not an object, or whose text is not text, is unreadable."""
    assert [
        (1, "the line holds a failure whose row is not an object"),
        (2, "the line holds a failure whose text is not text"),
    ] == outline(failures_of(tmp_path / "a.jsonl", FAILURE | {"row": "x"}, FAILURE | {"text": 5}))


# Documents


def test_a_document_is_a_list_or_holds_one(tmp_path: Path) -> None:
    """A JSON document may be a list of rows, or hold a single list of objects."""
    path = tmp_path / "a.json"
    assert [Row(1, {"a": 1}, 1), Row(2, {"a": 2}, 2)] == items_of(path, b'[{"a":1}, {"a":2}]')
    assert [{"a": 1}] == rows_of(items_of(path, b'\xef\xbb\xbf{"users": [{"a":1}]}'))
    assert [{"a": 1}] == rows_of(items_of(path, b'{"ok": true, "items": [{"a":1}], "m": {}}'))
    assert [{"a": 1}] == rows_of(items_of(path, b'{"data": {"items": [{"a":1}], "more": []}}'))
    [row, bad] = items_of(path, b'[{"a":1}, 2]')
    assert Row(1, {"a": 1}, 1) == row
    assert Unreadable(2, "unreadable_row", "the element is not an object", "2", 2) == bad


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b'{"a": [{}], "b": [{}]}', "one of 'a', 'b'", id="two lists"),
        pytest.param(b'{"a": {"b": 1}, "c": [{"d": 1}]}', "one of 'c', '*'", id="an object too"),
        pytest.param(b'{"a": {"b": {"x": 1}}}', "one of 'a.*', '*'", id="objects"),
    ],
)
def test_several_places_are_a_question(tmp_path: Path, data: bytes, problem: str) -> None:
    """A document with several places for rows is refused, and the error names them."""
    with pytest.raises(ValueError, match=r"several places: pass rows= \(--rows\), ") as caught:
        items_of(tmp_path / "a.json", data)
    assert problem in str(caught.value)


DOCUMENT: Final = b"""{"first": {"deep": [1, {"x": [2]}]}, "data": {"users": {"u1": {"a": 1},
    "u2": {"a": 2, "@key": "own"}, "n": 3}, "list": [{"a": 4}]}, "last": [[]]}"""


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        pytest.param("data.list", [{"a": 4}], id="list"),
        pytest.param("data.list.*", [{"a": 4}], id="list with a star"),
        pytest.param("data.users.u1", [{"a": 1}], id="one row"),
        pytest.param(
            "data.users.*", [{"@key": "u1", "a": 1}, {"a": 2, "@key": "own"}, None], id="members"
        ),
        pytest.param(".", [json.loads(DOCUMENT)], id="the document"),
    ],
)
@pytest.mark.parametrize("block", [1, 7, 2**16])
def test_rows_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, path: str, rows: list[Any]
) -> None:
    """The rows are those at the path that the user names, whatever the size of the blocks read."""
    monkeypatch.setattr(_json_rows, "_BLOCK", block)
    items = items_of(tmp_path / "a.json", DOCUMENT, rows=path)
    assert rows == [item.row if isinstance(item, Row) else None for item in items]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        pytest.param("nowhere", "has no member 'nowhere'", id="name"),
        pytest.param("data.list.a", "holds no object that leads to", id="list"),
    ],
)
def test_a_path_to_nothing_is_refused(tmp_path: Path, path: str, problem: str) -> None:
    """A path that leads nowhere is refused."""
    with pytest.raises(ValueError, match=problem):
        items_of(tmp_path / "a.json", DOCUMENT, rows=path)


def test_an_element_that_is_no_object_is_unreadable(tmp_path: Path) -> None:
    """A list among the rows is unreadable, and the rest of the document is not refused for it."""
    [item] = items_of(tmp_path / "a.json", DOCUMENT, rows="last")
    assert isinstance(item, Unreadable)
    assert "the element is not an object" == item.message


@pytest.mark.parametrize("rows", [None, "items"])
def test_a_page_is_reported(tmp_path: Path, rows: str | None) -> None:
    """A document with a token for the next page leaves a note."""
    path = tmp_path / "a.json"
    path.write_bytes(b'{"items": [{"a": 1}], "next": null, "ContinuationToken": "t"}')
    source = open_source(path, ReadOptions(rows=rows))
    assert [{"a": 1}] == rows_of(list(source))
    assert [
        "ContinuationToken is set: this document is only one page, and the next page has more"
        " players"
    ] == source.notes


@pytest.mark.parametrize("block", [1, 2**16])
@pytest.mark.parametrize(
    ("element", "flaw"),
    [
        pytest.param(b'{"a": NaN}', "holds NaN, which JSON lacks", id="NaN"),
        pytest.param(b'{"a": NaN, "b": [2]}', "holds NaN, which JSON lacks", id="NaN and more"),
        pytest.param(b'{"a": 1, "a": 2}', "holds an object with a duplicate key", id="key twice"),
        pytest.param(b'{"a": "\\ud800"}', "holds a lone surrogate", id="surrogate"),
        pytest.param(b'{"a": 1e999}', "holds a number that is too large", id="number"),
    ],
)
def test_an_element_that_is_not_json_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, element: bytes, flaw: str, block: int
) -> None:
    """An element that is not valid JSON is unreadable, and the next one is read."""
    monkeypatch.setattr(_json_rows, "_BLOCK", block)
    items = items_of(tmp_path / "a.json", b'[{"a": 0}, %b, {"a": 3}]' % element)
    assert [{"a": 0}, {"a": 3}] == [item.row for item in items if isinstance(item, Row)]
    [bad] = [item for item in items if isinstance(item, Unreadable)]
    assert 2 == bad.number
    assert bad.message.startswith(f"the element {flaw}")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b" ", "is empty: it lacks a list", id="nothing"),
        pytest.param(b"[]", "is empty: there are no rows at '.'", id="empty list"),
        pytest.param(b'{"a": []}', "is empty: there are no rows at 'a'", id="empty member"),
        pytest.param(b'{"a": [1], "b": [2]}', "holds no list of objects", id="numbers"),
        pytest.param(b'{"a": 1}', "holds no list of objects", id="plain values"),
        pytest.param(b"7", "holds no list of objects", id="a number"),
        pytest.param(b"[", "is not JSON", id="open"),
        pytest.param(b'[{"a": 1}] x', "something follows its end", id="more"),
        pytest.param(b'[{"a": 1} {"a": 2}]', "is not JSON: , or ] is expected", id="comma"),
        pytest.param(b"\xff", "is not UTF-8", id="bytes"),
        pytest.param(b'[{"a": NaN, "b": ]', "is not JSON: Expecting value", id="NaN and no JSON"),
        pytest.param(b'{"\\ud800": [{}]}', "holds a lone surrogate", id="name"),
        pytest.param(
            b'[{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}]", "nested too deeply", id="deep"
        ),
    ],
)
def test_another_document_is_refused(tmp_path: Path, data: bytes, problem: str) -> None:
    """A document without a list of objects, or that is not JSON, is refused."""
    with pytest.raises(ValueError, match=problem):
        items_of(tmp_path / "a.json", data)


@pytest.mark.parametrize(
    ("data", "rows", "problem"),
    [
        pytest.param(b" ", "a", "is empty: it lacks a list of objects", id="nothing"),
        pytest.param(b"7", ".", "holds neither a list nor an object at '.'", id="a number"),
        pytest.param(
            b'{"a": [{"b": 1}], "a": [{"b": 2}]}', "a", "a duplicate key", id="duplicate key"
        ),
        pytest.param(b'[{"a": NaN, "b": ]', ".", "is not JSON: Expecting value", id="no JSON"),
    ],
)
def test_another_document_is_refused_at_a_path(
    tmp_path: Path, data: bytes, rows: str, problem: str
) -> None:
    """A JSON document of another form is refused, also if the place of its rows is known."""
    with pytest.raises(ValueError, match=problem):
        items_of(tmp_path / "a.json", data, rows=rows)


def test_an_element_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An element is held in memory, so a document that never ends one is not read on."""
    monkeypatch.setattr(_json_rows, "_BLOCK", 8)
    monkeypatch.setattr(_json_rows, "_LONGEST", 50)
    with pytest.raises(ValueError, match="holds a value of more than 50 characters"):
        items_of(tmp_path / "a.json", b'[{"a": "' + b"x" * 200 + b'"}]')


def test_members_beyond_those_that_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first members decide which rows there are; a later member that is no row is an error."""
    monkeypatch.setattr(_json_rows, "_SURVEYED", 1)
    path = tmp_path / "a.json"
    members = b'{"users": {"u1": {"wallet": {"a": 1}}, "u2": {"wallet": {"a": 2}}, "u3": %b}}'
    path.write_bytes(members % b'{"wallet": {}}')
    rows = open_source(path, kind="wallet", preset="firebase")
    assert ["u1", "u2", "u3"] == [row["@key"] for row in rows_of(list(rows))]
    path.write_bytes(members % b"5")
    with pytest.raises(ValueError, match=r"pass rows= \(--rows\), one of 'users\.\*'"):
        list(open_source(path, kind="wallet", preset="firebase"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(texts, json_values, max_size=3), min_size=1), st.integers(1, 9))
def test_a_document_reads_as_python_reads_it(rows: list[dict[str, Any]], block: int) -> None:
    """The rows of a document are those that Python's json reads, wherever blocks end."""
    document = json.dumps({"n": 1, "rows": rows}).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json_rows, "_BLOCK", block)
        assert rows == rows_of(in_scratch("a.json", document, rows="rows"))


def test_memory_stays_flat_in_a_document(tmp_path: Path) -> None:
    """Reading a long document takes less memory than the document is long."""
    path = tmp_path / "a.json"
    row = json.dumps({"id": "x" * 100, "gold": 5})
    path.write_text(f'{{"skipped": [{row}], "rows": [{",".join([row] * 30_000)}]}}')
    tracemalloc.start()
    try:
        count = sum(1 for _ in open_source(path, ReadOptions(rows="rows")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 30_000 == count
    assert peak < 1_000_000 < path.stat().st_size


def test_text_is_parsed_as_json() -> None:
    """Text is parsed as JSON: escaped surrogate pairs are joined, and a Python dict is refused."""
    assert parse_json(' {"a": "\\ud83d\\ude00"} ') == {"a": "\U0001f600"}
    with pytest.raises(ValueError, match="is not JSON"):
        parse_json("{'a': 1}")
