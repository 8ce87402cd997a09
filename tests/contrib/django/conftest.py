"""A Django project in this process, with each kind of database."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import django
import psycopg
import pytest
import sqlalchemy as sa
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from kraty_admin import outbox
from kraty_admin.contrib.django.outbox import engine as make_engine
from kraty_admin.emulator import Emulator
from kraty_admin.outbox._tables import TABLES

FOLDER: Final = Path(tempfile.mkdtemp(prefix="django-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

settings.configure(
    ALLOWED_HOSTS=["testserver"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(FOLDER / "shop.sqlite3"),
            "OPTIONS": {"init_command": "PRAGMA synchronous = OFF"},
        },
        "memory": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": "file:kraty?mode=memory&cache=shared",
        },
        "empty": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": "file:empty?mode=memory&cache=shared",
        },
        "postgresql": {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres"},
    },
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "kraty_admin.contrib.django",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # quick
    ROOT_URLCONF="contrib.django.urls",
    SECRET_KEY="not-a-secret",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    TIME_ZONE="UTC",
    USE_TZ=True,
)
django.setup()


@pytest.fixture(scope="session")
def sqlite() -> Iterator[str]:
    """Create all tables in an SQLite database; yield its alias."""
    call_command("migrate", database="default", verbosity=0)
    yield "default"
    connections["default"].close()


@pytest.fixture(scope="session")
def postgresql(postgresql_url: str) -> Iterator[str]:
    """Create all tables in a PostgreSQL database; yield its alias."""
    host = sa.make_url(postgresql_url).query["host"]
    with psycopg.connect(host=str(host), user="postgres", dbname="postgres") as connection:
        connection.execute("CREATE SCHEMA django")
    # The other tests on this server have schemas of their own, too.
    settings.DATABASES["postgresql"] |= {
        "HOST": host,
        "USER": "postgres",
        "OPTIONS": {"options": "-c search_path=django"},
    }
    connections["postgresql"].settings_dict.update(settings.DATABASES["postgresql"])
    call_command("migrate", database="postgresql", verbosity=0)
    yield "postgresql"
    connections["postgresql"].close()


@pytest.fixture(
    params=[
        pytest.param("sqlite", id="sqlite"),
        pytest.param("postgresql", id="postgresql", marks=pytest.mark.once),
    ]
)
def using(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the alias of each kind of database."""
    alias: str = request.getfixturevalue(request.param)
    yield alias
    clear(alias)


@pytest.fixture
def default(sqlite: str) -> Iterator[str]:
    """Yield the alias of the default database, for what does not depend on its kind."""
    yield sqlite
    clear(sqlite)


def clear(alias: str) -> None:
    """Delete the rows that a test made."""
    names = [*(table.name for table in TABLES.all if table is not TABLES.version), "auth_group"]
    with connections[alias].cursor() as cursor:
        for name in names:
            cursor.execute(f"DELETE FROM {name}")


@pytest.fixture
def new_engine() -> Iterator[Callable[[str], sa.Engine]]:
    """Return a function that makes engines, and dispose of them afterwards."""
    made: list[sa.Engine] = []

    def make(alias: str) -> sa.Engine:
        made.append(make_engine(alias))
        return made[-1]

    yield make
    for each in made:
        each.dispose()


@pytest.fixture(scope="session")
def server() -> Iterator[Emulator]:
    """Start one emulator for all tests of a process."""
    with Emulator(seed=0) as emulator:
        yield emulator


@pytest.fixture
def emulator(server: Emulator) -> Iterator[Emulator]:
    """Return the emulator that the setting `KRATY` names, and reset it afterwards."""
    values: dict[str, Any] = {
        "API_KEY": server.api_key,
        "BASE_URL": server.base_url,
        "WEBHOOK_SECRET": "whsec_test",
    }
    with override_settings(KRATY=values):
        yield server
    server.reset()


@pytest.fixture
def shop(using: str, emulator: Emulator, new_engine: Callable[[str], sa.Engine]) -> sa.Engine:
    """Set up the outbox on each kind of database, for the emulator's game."""
    engine = new_engine(using)
    outbox.set_up(engine, emulator.client())
    return engine


@pytest.fixture
def default_shop(
    default: str, emulator: Emulator, new_engine: Callable[[str], sa.Engine]
) -> sa.Engine:
    """Set up the outbox on the default database, for the emulator's game."""
    engine = new_engine(default)
    outbox.set_up(engine, emulator.client())
    return engine
