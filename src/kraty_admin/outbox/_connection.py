"""The part of a database connection that the outbox's SQL needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

__all__ = ["Connection", "Rows"]


class Rows(Protocol):
    """The rows that a statement returned: a part of SQLAlchemy's `Result`."""

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the rows."""
        ...

    def all(self) -> Sequence[Any]:
        """Return all rows."""
        ...

    def first(self) -> Any:
        """Return the first row, or `None`."""
        ...

    def one(self) -> Any:
        """Return the only row."""
        ...

    def scalars(self) -> Iterable[Any]:
        """Return the first column of each row."""
        ...


class Connection(Protocol):
    """A connection in a transaction: SQLAlchemy's, or another library's behind an adapter."""

    @property
    def dialect(self) -> sa.Dialect:
        """The SQL dialect of the database."""
        ...

    def execute(
        self, statement: sa.Executable, parameters: Sequence[Mapping[str, Any]] | None = None, /
    ) -> Rows:
        """Execute a statement; with several sets of parameters, once for each."""
        ...
