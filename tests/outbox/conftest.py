"""Fixtures of the outbox's tests: each database, both flavours, and clocks to move."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa

from kraty_admin.emulator import Clock, Emulator

from .testkit import Database, Studio, Time

_NUMBERS: Final = count(1)

SQLITE: Final = pytest.param("sqlite", id="sqlite")
# One Python is enough: what differs between Pythons is Python's own driver for SQLite.
POSTGRESQL: Final = pytest.param("postgresql", id="postgresql", marks=pytest.mark.once)


@pytest.fixture(scope="session")
def server() -> Iterator[Emulator]:
    """Start one emulator for all tests of a process."""
    with Emulator(seed=0, clock=Clock()) as emulator:
        yield emulator


@pytest.fixture
def emulator(server: Emulator) -> Iterator[Emulator]:
    """Return the emulator, which is reset after the test."""
    yield server
    server.close_clients()
    server.start()  # the test may have closed it
    server.reset()


@pytest.fixture
def time(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Time:
    """Return the clocks of the database and the emulator."""
    return Time(monkeypatch, emulator)


@contextmanager
def _sqlite(folder: Path) -> Generator[Database, None, None]:
    path = folder / "studio.db"
    yield from _disposed(Database("sqlite", f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}"))


@contextmanager
def _postgresql(url: str) -> Generator[Database, None, None]:
    schema = f"test_{next(_NUMBERS)}"
    url += f"&options=-csearch_path%3D{schema}"
    database = Database("postgresql", url, url.replace("+psycopg:", "+psycopg_async:"))
    with database.engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    yield from _disposed(database)


def _disposed(database: Database) -> Iterator[Database]:
    yield database
    database.engine.dispose()


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Create the tables in an SQLite file."""
    with _sqlite(tmp_path_factory.mktemp("outbox")) as database:
        database.create()
        yield database


@pytest.fixture(scope="session")
def postgresql(postgresql_url: str) -> Iterator[Database]:
    """Create the tables in a schema of PostgreSQL."""
    with _postgresql(postgresql_url) as database:
        database.create()
        yield database


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """Return each kind of database with empty tables."""
    database: Database = request.getfixturevalue(request.param)
    yield database
    database.clear()


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Return each kind of database without tables."""
    if request.param == "sqlite":
        with _sqlite(tmp_path) as database:
            yield database
    else:
        with _postgresql(request.getfixturevalue("postgresql_url")) as database:
            yield database


@pytest.fixture(
    params=[
        pytest.param(("sqlite", False), id="sqlite-sync"),
        pytest.param(("sqlite", True), id="sqlite-async"),
        pytest.param(("postgresql", True), id="postgresql-async", marks=pytest.mark.once),
    ]
)
def studio(request: pytest.FixtureRequest, emulator: Emulator) -> Iterator[Studio]:
    """Return a studio with each flavour of the outbox."""
    name, is_async = request.param
    database: Database = request.getfixturevalue(name)
    yield Studio(database, emulator, is_async=is_async)
    database.clear()


@pytest.fixture
def shop(database: Database, emulator: Emulator) -> Studio:
    """Return a studio on each database, for what does not depend on the flavour."""
    return Studio(database, emulator, is_async=False)
