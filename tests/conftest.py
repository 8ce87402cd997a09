"""Fixtures of all tests. The machine's environment has no influence on them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
VARIABLES: Final = (
    *(*PROXIES, *map(str.lower, PROXIES)),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC"),
    *("KRATY_SERVER_KEY", "KRATY_BASE_URL", "KRATY_WEBHOOK_SECRET"),
)
"""What the SDK or httpx reads."""


def pytest_collection_finish() -> None:
    """Spare the garbage collector the modules and tests: it would look at all of them each time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Show the modules again: hypothesis, which may be imported now, looks for their references."""
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="session")
def plain_environment() -> Iterator[None]:
    """Unset every variable that the SDK or httpx reads; a test may set them again."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Start a PostgreSQL server for all tests of a process; yield its URL."""
    from postgres import MISSING, postgres  # not every test needs its driver

    with postgres() as url:
        if url is None:
            pytest.skip(MISSING)
        yield url


@pytest.fixture
def untraced() -> Iterator[None]:
    """Let coverage pause, for a test whose signal handler raises.

    Raised within coverage's own steps, the exception would leave its lock held, which stops
    the process at its next step, or would end the tracing of all tests that follow.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


@pytest.fixture
def mypy_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the folder of mypy's cache, which is kept between runs if pytest keeps any."""
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    return tmp_path / "mypy" if cache is None else cache.mkdir(f"mypy-{request.node.originalname}")
