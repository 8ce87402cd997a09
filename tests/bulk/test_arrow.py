"""Parquet files and Arrow tables."""

from __future__ import annotations

import sys
from datetime import date, datetime, time, timezone
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from kraty_admin._bulk._options import ReadOptions
from kraty_admin._bulk._rows import Row
from kraty_admin._bulk._source import open_source
from kraty_admin._bulk._values import plain

from .testkit import items_of, outline, rows_of


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
    assert [plain(row) for row in rows_of(list(open_source(path)))] == [
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


def test_a_parquet_file_that_is_open(write: Any) -> None:
    """A file that is open is read like one that is named, if its format is passed."""
    with write({"id": ["a", "b"]}).open("rb") as file:
        rows = open_source(file, ReadOptions(format="parquet"))
        assert [{"id": "a"}, {"id": "b"}] == rows_of(list(rows))


def test_a_parquet_value_that_python_cannot_hold_spoils_its_row_only(write: Any) -> None:
    """A Parquet value that Python cannot hold makes only its own row unreadable."""
    arrow = import_module("pyarrow")
    nanoseconds = {"at": arrow.timestamp("ns")}
    items = list(open_source(write({"at": [0, 1_500_000_001, 2_000]}, nanoseconds)))
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001
    assert [
        (1, {"at": epoch}),
        (2, "the line holds a value that Python cannot represent"),
        (3, {"at": epoch.replace(microsecond=2)}),
    ] == outline(items)


def test_a_file_without_rows_or_parquet_is_refused(write: Any, tmp_path: Path) -> None:
    """A file that is empty or not Parquet is refused."""
    arrow = import_module("pyarrow")
    with pytest.raises(ValueError, match=r"a\.parquet is empty: it has columns, but no rows"):
        list(open_source(write({"n": []}, {"n": arrow.int64()})))
    for data in (b"", b"PAR1 no, not at all PAR1"):
        with pytest.raises(ValueError, match=r"b\.parquet cannot be read beyond row 0"):
            items_of(tmp_path / "b.parquet", data)


def test_parquet_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow, the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'kraty-admin\[parquet\]'"):
        items_of(tmp_path / "a.parquet", b"")


# Streams


def test_tables_are_read_by_their_stream(write: Any) -> None:
    """An object with an Arrow stream is read without being iterated."""
    arrow = import_module("pyarrow")
    table = arrow.table({"id": [str(n) for n in range(5000)], "n": list(range(5000))})

    class Frame:
        """An object with an Arrow stream which, like a data frame, iterates over its columns."""

        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return table.__arrow_c_stream__(requested_schema)

        def __iter__(self) -> Any:
            return iter(["id", "n"])

    items = list(open_source(Frame()))
    assert [Row(n + 1, {"id": str(n), "n": n}, n + 1) for n in range(5000)] == items


def test_columns_of_the_same_name_are_refused(write: Any) -> None:
    """A table with two columns of the same name is refused."""
    arrow = import_module("pyarrow")
    table = arrow.Table.from_arrays([arrow.array([1]), arrow.array([2])], names=["id", "id"])
    with pytest.raises(ValueError, match="several columns have the same name: id"):
        list(open_source(table))


def test_progress_of_parquet_follows_its_rows(write: Any) -> None:
    """The bytes of a Parquet file count as read in proportion to its rows."""
    source = open_source(write({"id": ["a", "b"]}))
    list(source)
    assert source.size == source.bytes_read
