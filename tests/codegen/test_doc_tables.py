"""The build step writes the tables in `docs/`."""

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
CODES: Final[list[str]] = CONTRACT["components"]["schemas"]["ErrorCode"]["enum"]
TEXTS: Final[dict[str, Any]] = parse_yaml(doc_tables.ERRORS.read_bytes())


def test_a_table_is_replaced_and_the_rest_stays() -> None:
    """The build step replaces only the text between the two comments of a table."""
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
    """A comment that names an unknown table, or has no end, is an error."""
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
    """A text that is missing, has no code in the contract or is malformed is an error."""
    texts = {code: text for code, text in {**TEXTS, **change}.items() if text is not None}

    with pytest.raises(SurfaceError, match=message):
        doc_tables.error_codes(CODES, CONTRACT, texts)


def test_the_emulator_answers_with_the_statuses_of_the_table() -> None:
    """For each code, the emulator answers with the first status of the table."""
    assert STATUS == {**STATUS, **{c: t["statuses"][0] for c, t in TEXTS.items() if t["statuses"]}}
    assert set(STATUS) == set(TEXTS)


def test_an_error_is_retryable_and_ambiguous_as_the_client_says() -> None:
    """The table says of an error what the client does: repeat the call, call it ambiguous."""
    lines = doc_tables.error_codes(CODES, CONTRACT, TEXTS).splitlines()

    assert [" yes ", " no "] == next(x for x in lines if "rate_limited" in x).split("|")[3:5]
    assert [" yes ", " yes "] == next(x for x in lines if "internal_error" in x).split("|")[3:5]


@pytest.mark.parametrize("status", ["default", "4XX"])
def test_an_answer_of_many_statuses_may_have_any_of_them(status: str) -> None:
    """A code's status is known if a range or `default` covers it."""
    documented: dict[str, Any] = {"paths": {"/t": {"get": {"responses": {status: {}}}}}}
    texts = {"conflict": TEXTS["conflict"]}
    assert "| 409, 422 |" in doc_tables.error_codes(["conflict"], documented, texts)

    documented["paths"]["/t"]["get"]["responses"] = {"3XX": {}}
    with pytest.raises(SurfaceError, match="conflict: no operation answers 409"):
        doc_tables.error_codes(["conflict"], documented, texts)
