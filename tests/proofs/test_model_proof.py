"""The small form: a few dozen sequences of calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from .model import prove


@pytest.mark.long
def test_the_emulator_does_what_a_model_says(tmp_path: Path) -> None:
    """Both clients in turn: each result, refusal, balance and ledger entry is the model's."""
    assert [] == [figure for figure in prove(tmp_path, examples=40) if not figure.holds]
