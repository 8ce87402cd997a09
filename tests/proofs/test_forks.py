"""The small form: a forked client, at hand and in gunicorn and Celery."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from .figures import Figure
from .forks import celery, forked, gunicorn

pytestmark: Final = [
    pytest.mark.long,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform"),
]

NOT_HERE: Final = "is among what the proofs need, not what the wheel is tested with"


def broken(figures: list[Figure]) -> list[Figure]:
    """Return the figures that are not what they have to be."""
    return [figure for figure in figures if not figure.holds]


def test_forked(tmp_path: Path) -> None:
    """8 children of a client in use: no crossed answer, exact ledger."""
    assert [] == broken(forked(tmp_path, calls=10))


def test_gunicorn(tmp_path: Path) -> None:
    """4 workers of a preloaded app: no crossed answer, exact ledger."""
    pytest.importorskip("gunicorn", reason=f"gunicorn {NOT_HERE}")
    assert [] == broken(gunicorn(tmp_path, requests=10))


def test_celery(tmp_path: Path) -> None:
    """4 prefork workers, some of which die: no task's money twice, exact ledger."""
    pytest.importorskip("celery", reason=f"Celery {NOT_HERE}")
    assert [] == broken(celery(tmp_path, jobs=12))
