"""The emulator agrees with a model: the proof in its small form, with few sequences of calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from .figures import assert_kept
from .model import prove


@pytest.mark.long
def test_the_emulator_does_what_a_model_says(tmp_path: Path) -> None:
    """For either client, each result, refusal, balance and ledger entry is the model's."""
    assert_kept(prove(tmp_path, examples=40))
