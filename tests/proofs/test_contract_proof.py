"""The emulator keeps the contract: the proof in its small form, with few random examples."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from .figures import assert_kept

# trio's plugin for it warns if the first import comes after the `gc.freeze()` of conftest.py.
import_module("hypothesis")


@pytest.mark.long
def test_the_emulator_keeps_the_contract(tmp_path: Path) -> None:
    """schemathesis finds no answer of the emulator that breaks the contract."""
    pytest.importorskip("schemathesis", reason="schemathesis needs Python 3.11")
    from .contract import prove

    assert_kept(prove(tmp_path, examples=1, chains=2))
