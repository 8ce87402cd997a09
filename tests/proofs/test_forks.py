"""A forked client works: the proof in its small form, by hand, in gunicorn and in Celery."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from .figures import assert_kept
from .forks import celery, forked, gunicorn

pytestmark: Final = [
    pytest.mark.long,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform"),
]

NOT_HERE: Final = "is among what the proofs need, not what the wheel is tested with"


def test_forked(tmp_path: Path) -> None:
    """No answer is crossed among 8 children of a client in use, and the ledger is exact."""
    assert_kept(forked(tmp_path, calls=10))


def test_gunicorn(tmp_path: Path) -> None:
    """No answer is crossed among 4 workers of a preloaded app, and the ledger is exact."""
    pytest.importorskip("gunicorn", reason=f"gunicorn {NOT_HERE}")
    assert_kept(gunicorn(tmp_path, requests=10))


def test_celery(tmp_path: Path) -> None:
    """No task pays twice in 4 prefork workers, some of which die, and the ledger is exact."""
    pytest.importorskip("celery", reason=f"Celery {NOT_HERE}")
    assert_kept(celery(tmp_path, jobs=12))
