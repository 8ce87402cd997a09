"""The small form: schemathesis with few random examples."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.long
def test_the_emulator_keeps_the_contract(tmp_path: Path) -> None:
    """All that schemathesis makes of the contract's limits, and a chain or two: no failure."""
    pytest.importorskip("schemathesis", reason="schemathesis needs Python 3.11")
    from .contract import prove

    figures = prove(tmp_path, examples=1, chains=2)
    assert [] == [figure for figure in figures if not figure.holds]
