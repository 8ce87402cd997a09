"""The proofs hold in their small form: the same code with fewer calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from postgres import MISSING, is_installed

from . import chaos, crash, deliveries, imports, kills, outage, shop
from .figures import Figure, assert_kept, table


@pytest.mark.long
@pytest.mark.parametrize(
    "prove",
    [
        pytest.param(partial(chaos.prove_threads, calls=320, threads=32), id="threads"),
        pytest.param(partial(chaos.prove_tasks, calls=600, tasks=200), id="tasks"),
        pytest.param(partial(kills.prove, kills=3), id="kills"),
        pytest.param(partial(crash.prove, kills=2, calls=100), id="crash"),
        pytest.param(partial(outage.prove, seconds=2, workers=50), id="outage"),
        pytest.param(partial(shop.prove_sqlite, kills=6), id="shop on SQLite"),
        pytest.param(
            partial(shop.prove_postgresql, kills=6),
            id="shop on PostgreSQL",
            marks=pytest.mark.skipif(not is_installed(), reason=MISSING),
        ),
        pytest.param(partial(deliveries.prove, events=100), id="deliveries"),
        pytest.param(partial(imports.kills, kills=4, rows=10_000), id="imports killed"),
        pytest.param(partial(imports.volume, sizes=(2000,)), id="imports"),
        pytest.param(partial(imports.cost, sizes={20_000: 12.0}, turns=1), id="cost of imports"),
    ],
)
def test_the_promise_is_kept(prove: Callable[[Path], list[Figure]], tmp_path: Path) -> None:
    """Every figure of a proof has the value that is required."""
    assert_kept(prove(tmp_path))


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param([], id="none"),
        pytest.param([Figure("reported", 7)], id="only reported"),
        pytest.param([Figure("exact", 7, 7), Figure("exact", 8, 7)], id="one of two fails"),
    ],
)
def test_a_proof_can_fail(figures: list[Figure]) -> None:
    """A proof fails if one figure does not hold, or if none has a required value."""
    with pytest.raises(AssertionError):
        assert_kept(figures)


@pytest.mark.parametrize(
    ("figure", "holds"),
    [
        pytest.param(Figure("reported", 7), True, id="only reported"),
        pytest.param(Figure("exact", 7, 7), True, id="exact"),
        pytest.param(Figure("exact", 8, 7), False, id="one more"),
        pytest.param(Figure("exact", 0, 7), False, id="none"),
        pytest.param(Figure("capped", 7, at_most=7), True, id="at the cap"),
        pytest.param(Figure("capped", 8, at_most=7), False, id="above the cap"),
        pytest.param(Figure("capped", "many", at_most=7), False, id="no number"),
    ],
)
def test_a_figure_can_fail(figure: Figure, holds: bool) -> None:
    """A figure holds only with its required value, and the table marks one that does not hold."""
    assert holds == figure.holds
    assert ("**FAILS**" in table("t", [figure])) == (not holds)
