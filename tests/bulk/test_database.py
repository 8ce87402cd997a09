"""Queries: read by their text, with the URL of the database kept secret."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from kraty_admin._bulk._database import database_url, query
from kraty_admin._bulk._source import open_source

from .testkit import rows_of


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a database of 5,000 users."""
    path = tmp_path / "game.sqlite3"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE users (id TEXT, gold INTEGER)")
        db.executemany("INSERT INTO users VALUES (?, ?)", ((f"u{n}", n) for n in range(5000)))
    return f"sqlite:///{path}"


EXPECTED = [{"externalPlayerId": f"u{n}", "amount": n} for n in range(5000)]
SQL = 'SELECT id AS "externalPlayerId", gold AS amount FROM users ORDER BY gold'


def test_a_query_is_a_source(url: str) -> None:
    """The rows of a query are named by its columns."""
    assert EXPECTED == rows_of(list(open_source(query(SQL, url))))


def test_a_result_is_a_source(url: str) -> None:
    """The result of a query that SQLAlchemy has run is a source, and so are its rows."""
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        assert EXPECTED == rows_of(list(open_source(connection.execute(sqlalchemy.text(SQL)))))
        rows = connection.execute(sqlalchemy.text(SQL)).all()
        assert EXPECTED == rows_of(list(open_source(rows)))
    engine.dispose()


def test_a_cursor_that_makes_dicts_is_a_source(url: str) -> None:
    """A cursor whose rows are dicts is read like any other cursor."""

    def as_dict(cursor: sqlite3.Cursor, row: tuple[object, ...]) -> dict[str, object]:
        return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}

    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
        db.row_factory = as_dict
        assert EXPECTED == rows_of(list(open_source(db.execute(SQL))))


def test_a_query_without_order_is_refused() -> None:
    """A query without ORDER BY, whose rows could come in another order later, is refused."""
    with pytest.raises(ValueError, match="the query needs ORDER BY"):
        query("SELECT id FROM users", "sqlite://")


def test_what_a_database_refuses_is_an_error_without_the_url() -> None:
    """Errors of the database, its URL and its driver say what is wrong without showing the
    password."""
    with pytest.raises(OSError, match="the database rejected the query: OperationalError: no such"):
        list(query("SELECT 1 FROM no_table ORDER BY 1", "sqlite://"))
    with pytest.raises(ValueError, match="must be like postgresql") as caught:
        list(query("SELECT 1 ORDER BY 1", "user:s3cret@host"))
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ValueError, match="the driver of the database is not installed: oracledb"):
        list(query("SELECT 1 ORDER BY 1", "oracle+oracledb://user:s3cret@host"))


def test_a_query_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SQLAlchemy, the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ValueError, match=r"pip install 'kraty-admin\[sql\]'"):
        query(SQL, "sqlite://")


def test_the_url_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    """The file with the URL is preferred to the variable, and one of them must exist."""
    path = tmp_path / "url"
    path.write_text("sqlite:///a\n")
    assert "sqlite:///a" == database_url(path, {"KRATY_SQL_URL": "sqlite:///b"})
    assert "sqlite:///b" == database_url(None, {"KRATY_SQL_URL": "sqlite:///b"})
    with pytest.raises(ValueError, match="set KRATY_SQL_URL"):
        database_url(None, {})
    path.write_text("\n")
    with pytest.raises(ValueError, match="must hold one line"):
        database_url(path, {})
