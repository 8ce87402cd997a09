"""The options of reading: what they are by default, and which values are refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from kraty_admin.bulk import ReadOptions


def test_all_options_have_defaults() -> None:
    """Options without arguments rename, select, include and limit nothing."""
    options = ReadOptions()
    assert ({}, None, frozenset()) == (options.rename, options.only, options.include)
    assert (None, None, None) == (options.format, options.quoting, options.limit)


def test_collections_are_copied_and_pickle() -> None:
    """Options keep their own copies of collections, and they pickle."""
    rename = {"GO": "gold"}
    options = ReadOptions(rename=rename, only=["GO"], include=["banned"])
    rename["GO"] = "gems"
    assert {"GO": "gold"} == options.rename
    assert frozenset({"GO"}) == options.only
    assert frozenset({"banned"}) == options.include
    assert options == pickle.loads(pickle.dumps(options))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        pytest.param({"format": "xml"}, ValueError, "^format must be one of csv", id="format"),
        pytest.param({"quoting": "all"}, ValueError, "^quoting must be one of csv", id="quoting"),
        pytest.param({"delimiter": ""}, ValueError, "^delimiter must not be empty", id="empty"),
        pytest.param({"delimiter": "::"}, ValueError, "^delimiter must be one ASCII", id="long"),
        pytest.param({"delimiter": '"'}, ValueError, "^delimiter must be one ASCII", id="quote"),
        pytest.param({"delimiter": 9}, TypeError, "^delimiter must be a str, not int", id="int"),
        pytest.param({"encoding": "utf-7x"}, ValueError, "^encoding must be one", id="encoding"),
        pytest.param({"encoding": "base64"}, ValueError, "^encoding must be one", id="base64"),
        pytest.param({"multiline": 1}, TypeError, "^multiline must be a bool", id="flag"),
        pytest.param({"rename": [("a", "b")]}, TypeError, "^rename must be a mapping", id="pairs"),
        pytest.param({"rename": {"a": ""}}, ValueError, "^rename must not hold", id="no name"),
        pytest.param({"only": "GO"}, TypeError, "^only must be a collection", id="text"),
        pytest.param({"only": []}, ValueError, "^only must not be empty", id="nothing"),
        pytest.param({"only": [5]}, TypeError, "^only must hold str, not int", id="number"),
        pytest.param({"include": ["old"]}, ValueError, "^include must be one of", id="include"),
        pytest.param({"limit": 0}, ValueError, "^limit must be at least 1", id="limit"),
        pytest.param({"limit": True}, TypeError, "^limit must be an int", id="limit of a bool"),
    ],
)
def test_other_values_are_refused(
    values: dict[str, Any], error: type[Exception], message: str
) -> None:
    """A value that no import can use is refused with the name of the option."""
    with pytest.raises(error, match=message):
        ReadOptions(**values)
