"""Finding the keys that earlier rows had, among many."""

from __future__ import annotations

from contextlib import closing

import pytest

from kraty_admin._bulk import _seen
from kraty_admin._bulk._seen import SeenKeys


def test_the_first_row_is_named() -> None:
    """A repeated key is found with the number of its first row."""
    with closing(SeenKeys()) as seen:
        assert {} == seen.add(["a", "b", "c"], [2, 3, 4])
        assert {1: 3, 2: 5, 3: 2} == seen.add(["d", "b", "d", "a"], [5, 6, 7, 8])
        assert {0: 5} == seen.add(["d"], [9])


def test_a_key_that_comes_often() -> None:
    """A key that is repeated often is still found with the number of its first row."""
    with closing(SeenKeys()) as seen:
        seen.add(["a"], [1])
        for number in range(2, 600):
            assert {0: 1} == seen.add(["a"], [number])


@pytest.mark.parametrize("bits", [pytest.param(24, id="wide"), pytest.param(4, id="crowded")])
def test_many_keys(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are found in memory and in the file, even if the filter is crowded."""
    monkeypatch.setattr(_seen, "_INDEX_BITS", bits)
    monkeypatch.setattr(_seen, "_PARTS", 4)
    monkeypatch.setattr(_seen, "_PAGE", 256)
    keys = [f"key {number}" for number in range(2000)]
    with closing(SeenKeys()) as seen:
        for start in range(0, len(keys), 100):
            assert {} == seen.add(keys[start : start + 100], range(start, start + 100))
        places = range(0, len(keys), 7)
        found = seen.add([keys[place] for place in places], [0] * len(places))
        assert dict(enumerate(places)) == found
        assert seen._file is not None  # pyright: ignore[reportPrivateUsage]


def test_a_row_number_that_looks_like_a_hash() -> None:
    """A row number that equals a hash is not taken for the hash."""
    with closing(SeenKeys()) as seen:
        record = _seen._RECORD.pack(1, hash("x"))  # pyright: ignore[reportPrivateUsage]
        assert _seen._find(record, hash("x")) is None  # pyright: ignore[reportPrivateUsage]
        assert {} == seen.add(["x"], [1])
