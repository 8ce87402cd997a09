"""Query results: cursors of the DB-API, results of SQLAlchemy, and queries by their text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

from ._rows import listed

if TYPE_CHECKING:
    from kraty_server_api.imports import Cursor, QueryResult

__all__ = [
    "database_url",
    "is_cursor",
    "is_result",
    "query",
    "rows_of_cursor",
    "rows_of_result",
]

_BATCH: Final = 2000


def is_cursor(source: object) -> TypeGuard[Cursor]:
    """Return whether an object looks like a cursor of the DB-API."""
    return hasattr(source, "description") and hasattr(source, "fetchmany")


def is_result(source: object) -> TypeGuard[QueryResult]:
    """Return whether an object looks like a result of SQLAlchemy."""
    return callable(getattr(source, "mappings", None)) and hasattr(source, "keys")


def rows_of_cursor(cursor: Cursor) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query that a cursor has run.

    Raises:
        ValueError: The cursor has run no query, or two columns have the same name.
    """
    description = cursor.description
    if description is None:
        raise ValueError("the cursor has no rows: run a query on it first")
    names = [str(column[0]) for column in description]
    _check_names(names)
    while rows := cursor.fetchmany(_BATCH):
        for row in rows:
            if isinstance(row, Mapping):
                yield dict(cast("Mapping[str, Any]", row))
            else:
                yield dict(zip(names, row, strict=True))


def rows_of_result(result: QueryResult) -> Iterator[dict[str, Any]]:
    """Yield the rows of a result of SQLAlchemy.

    Raises:
        ValueError: Two columns have the same name.
    """
    keys = cast("Any", result).keys()
    _check_names([str(name) for name in keys])
    for row in result.mappings():
        yield dict(row)


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"several columns of the query have the same name: {listed(twice)}; rename them with AS"
        )


def database_url(file: Path | None, environ: Mapping[str, str]) -> str:
    """Return the URL of the database: the only line of a file, or `KRATY_SQL_URL`.

    No option takes the URL itself, because it can contain a password, and all users of a machine
    can read a command's options.

    Raises:
        ValueError: There is neither a file nor the variable, or the file has not one line.
        OSError: The file cannot be read.
    """
    if file is not None:
        url = file.read_text(encoding="utf-8").strip()
        if not url or "\n" in url:
            raise ValueError(f"{file} must hold one line: the URL of the database")
        return url
    url = environ.get("KRATY_SQL_URL", "").strip()
    if not url:
        raise ValueError(
            "set KRATY_SQL_URL to the URL of the database, such as"
            " postgresql+psycopg://user:password@host/game, or name a file that holds it"
        )
    return url


def query(sql: str, url: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query, fetched in parts.

    This needs `pip install 'kraty-admin[sql]'` and a driver for the database.

    Args:
        sql: A query with `ORDER BY`: otherwise an import could not be resumed.
        url: SQLAlchemy's URL of the database, such as
            `postgresql+psycopg://user:password@host/game`. It is a secret.

    Raises:
        ValueError: The query has no `ORDER BY`, two columns have the same name, or SQLAlchemy
            or the driver is not installed.
        OSError: The database rejects the connection or the query. The message does not
            contain the URL.
    """
    if not re.search(r"\border\s+by\b", sql, re.IGNORECASE):
        raise ValueError(
            "the query needs ORDER BY: a stopped import resumes only if the rows come in the same"
            " order again"
        )
    try:
        alchemy: Any = import_module("sqlalchemy")
    except ImportError:
        raise ValueError("--sql needs an extra: pip install 'kraty-admin[sql]'") from None
    return _rows_of_query(alchemy, sql, url)


def _rows_of_query(alchemy: Any, sql: str, url: str) -> Iterator[dict[str, Any]]:
    try:
        engine = alchemy.create_engine(url)
    except ImportError as error:
        raise ValueError(f"the driver of the database is not installed: {error.name}") from None
    except alchemy.exc.ArgumentError:
        # Its message contains the URL, and so the password.
        raise ValueError(
            "the URL of the database must be like postgresql+psycopg://user@host/name"
        ) from None
    try:
        options = {"stream_results": True, "yield_per": _BATCH}
        with closing(engine.connect().execution_options(**options)) as connection:
            yield from rows_of_result(connection.exec_driver_sql(sql))
    except alchemy.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise OSError(f"the database rejected the query: {type(cause).__name__}: {cause}") from None
    finally:
        engine.dispose()
