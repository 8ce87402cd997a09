"""The tables in `docs/`, which the build step writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

import doc_tables
from adopt import parse_yaml
from kraty_admin.emulator._errors import STATUS
from views import SurfaceError

CONTRACT: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "openapi.server.json").read_bytes()
)
TEXTS: Final[dict[str, Any]] = parse_yaml(doc_tables.ERRORS.read_bytes())


def test_a_table_is_replaced_and_the_rest_stays() -> None:
    """Only what stands between the two comments changes."""
    page = "# A\n<!-- table x: made -->\nold\n<!-- end x -->\ntail\n"

    assert page.replace("old\n", "new\n") == doc_tables.fill(page, {"x": "new\n"})


@pytest.mark.parametrize(
    ("page", "message"),
    [
        pytest.param("<!-- table y: made -->\n<!-- end y -->", "no table y", id="unknown"),
        pytest.param("<!-- table x: made -->\nold\n", "has no `<!-- end x -->`", id="no end"),
    ],
)
def test_a_broken_place_is_named(page: str, message: str) -> None:
    """A comment that names no table, or has no end, is an error and not left as it is."""
    with pytest.raises(SurfaceError, match=message):
        doc_tables.fill(page, {"x": "new\n"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"not_found": None}, "not_found is missing", id="missing"),
        pytest.param({"teapot": TEXTS["conflict"]}, "no code teapot", id="unknown code"),
        pytest.param(
            {"conflict": {**TEXTS["conflict"], "statuses": [418]}},
            "conflict: no operation answers 418",
            id="unknown status",
        ),
        pytest.param({"conflict": {"do": ""}}, "must have statuses, meaning and do", id="fields"),
    ],
)
def test_texts_that_do_not_match_the_contract_are_refused(
    change: dict[str, Any], message: str
) -> None:
    """Each code of the contract has a text, and no other has one."""
    texts = {code: text for code, text in {**TEXTS, **change}.items() if text is not None}

    with pytest.raises(SurfaceError, match=message):
        doc_tables.error_codes(CONTRACT, texts)


def test_the_emulator_answers_with_the_statuses_of_the_table() -> None:
    """The emulator's status of each code is the first one of the table."""
    assert STATUS == {**STATUS, **{c: t["statuses"][0] for c, t in TEXTS.items() if t["statuses"]}}
    assert set(STATUS) == set(TEXTS)


def test_an_error_is_retryable_and_ambiguous_as_the_client_says() -> None:
    """The columns come from the rules of a call, not from a list."""
    lines = doc_tables.error_codes(CONTRACT, TEXTS).splitlines()

    assert [" yes ", " no "] == next(x for x in lines if "rate_limited" in x).split("|")[3:5]
    assert [" yes ", " yes "] == next(x for x in lines if "internal_error" in x).split("|")[3:5]
