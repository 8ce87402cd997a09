"""The database's clock. All times of the outbox come from it, not from a worker's clock."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

__all__ = ["now_ms"]


class _Now(FunctionElement[int]):
    """Milliseconds since the epoch, the same throughout a statement."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(_Now, "postgresql")
def _on_postgresql(element: _Now, compiler: SQLCompiler, **kw: Any) -> str:
    # Not now(), which is the start of the transaction: the caller's may be long.
    return "CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)"


@compiles(_Now, "sqlite")
def _on_sqlite(element: _Now, compiler: SQLCompiler, **kw: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def now_ms() -> sa.ColumnElement[int]:
    """Return an expression for the current time, in milliseconds since the epoch."""
    return _Now()
