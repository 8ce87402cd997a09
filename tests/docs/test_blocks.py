"""Each Python block that has a check runs as it is printed."""

from __future__ import annotations

import pytest

from pages import Block

from .blocks import CHECKS
from .testkit import Reader, checked_blocks


def test_no_check_outlives_its_block() -> None:
    """Each check belongs to a block of a page."""
    assert sorted(CHECKS) == sorted((block.page, block.name) for block in checked_blocks())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a case of each block with a check."""
    if "block" in metafunc.fixturenames:
        cases = [pytest.param(each, id=f"{each.page} {each.name}") for each in checked_blocks()]
        metafunc.parametrize("block", cases)


def test_a_block_runs_as_printed(reader: Reader, block: Block) -> None:
    """Each block with a check runs as printed and passes the check."""
    CHECKS[block.page, block.name](reader, block)
