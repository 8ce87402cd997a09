"""Parquet files, and objects that export an Arrow stream, such as data frames and DuckDB's.

pyarrow is in an extra, and has few type annotations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final, Protocol, cast

from ._lines import unreadable
from ._rows import Read, Row, listed

__all__ = ["has_stream", "read_parquet", "read_stream"]

_BATCH: Final = 2000


class _Batch(Protocol):
    num_rows: int

    def to_pylist(self) -> list[dict[str, Any]]: ...

    def slice(self, offset: int, length: int) -> _Batch: ...


class _ParquetFile(Protocol):
    schema_arrow: Any
    metadata: Any

    def iter_batches(self, batch_size: int) -> Iterator[_Batch]: ...


def _modules() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise ValueError(
            "Parquet and Arrow need an extra: pip install 'kraty-admin[parquet]'"
        ) from None


def read_parquet(name: str, file: object, on_rows: Callable[[int, int], object]) -> Iterator[Read]:
    """Yield the rows of a Parquet file. Their values are Python's, not yet JSON's.

    Args:
        name: The name of the file in errors.
        file: The open file.
        on_rows: Called with how many rows have been read, and how many there are.

    Raises:
        ValueError: The file cannot be read, or pyarrow is not installed.
    """
    arrow, parquet = _modules()
    number = 0
    try:
        table: _ParquetFile = parquet.ParquetFile(file)
        _check_names(table.schema_arrow.names)
        for batch in table.iter_batches(_BATCH):
            for item in _items(batch, number):
                yield item
                number += 1
            on_rows(number, table.metadata.num_rows)
    except (arrow.ArrowException, ValueError, OSError) as error:
        raise ValueError(f"{name} cannot be read beyond row {number}: {error}") from error
    if number == 0:
        raise ValueError(f"{name} is empty: it has columns, but no rows")


def has_stream(source: object) -> bool:
    """Return whether an object provides its rows as an Arrow stream."""
    return hasattr(source, "__arrow_c_stream__")


def read_stream(source: object) -> Iterator[Read]:
    """Yield the rows of an object that provides them as an Arrow stream.

    Raises:
        ValueError: Several columns have the same name, or pyarrow is not installed.
    """
    arrow, _ = _modules()
    reader = arrow.RecordBatchReader.from_stream(source)
    names: list[str] = reader.schema.names
    _check_names(names)
    number = 0
    for batch in cast("Iterator[_Batch]", reader):
        # A data frame may be one batch of millions of rows.
        for offset in range(0, batch.num_rows, _BATCH):
            for item in _items(batch.slice(offset, _BATCH), number):
                yield item
                number += 1


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"several columns have the same name: {listed(twice)}")


def _items(batch: _Batch, before: int) -> Iterator[Read]:
    for number, value in enumerate(_values(batch), before + 1):
        yield _item(number, value)


def _values(batch: _Batch) -> list[dict[str, Any] | None]:
    """Return the rows of a batch; `None` for a row with a value that Python cannot represent."""
    try:
        return list(batch.to_pylist())
    except ValueError:
        if batch.num_rows == 1:
            return [None]
    rows = (_values(batch.slice(offset, 1)) for offset in range(batch.num_rows))
    return [row for [row] in rows]


def _item(number: int, value: dict[str, Any] | None) -> Read:
    if value is None:
        flaw = "holds a value that Python cannot represent"
        return unreadable(number, flaw, "")._replace(source=number)
    return Row(number, value, number)
