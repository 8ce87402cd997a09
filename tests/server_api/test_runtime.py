"""The modules of `codegen/runtime` check arguments, decode answers and make results.

These tests use the copies in Kraty's package. `test_golden.py` tests the checks that generated
code calls; this file tests what the golden contract does not reach.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest

from kraty_server_api import checks, decoding, styles, types
from kraty_server_api.model import Model, ResponseInfo, attach
from kraty_server_api.operation import (
    Operation,
    replayed_by_applied,
    replayed_by_status,
    replayed_unknown,
)

HTTP = ResponseInfo(200, {"x-request-id": "req_1"}, "req_1", 1, "key")


@pytest.mark.parametrize(
    ("check", "value", "sent"),
    [
        pytest.param(checks.string, "Zoë", "Zoë", id="text"),
        pytest.param(checks.path_segment, "a-b_C9", "a-b_C9", id="plain id"),
        pytest.param(checks.path_segment, "a/b ü", "a%2Fb%20%C3%BC", id="id to escape"),
        pytest.param(checks.path_segment, "...", "...", id="three dots"),
        pytest.param(checks.day, date(2026, 6, 8), "2026-06-08", id="date"),
        pytest.param(checks.day, "2026-06-08", "2026-06-08", id="text of a date"),
        pytest.param(
            checks.timestamp,
            datetime(2026, 6, 8, 14, tzinfo=timezone(timedelta(hours=2))),
            "2026-06-08T12:00:00.000Z",
            id="time in another zone",
        ),
        pytest.param(
            checks.timestamp,
            datetime(2026, 6, 8, 12, 0, 0, 1, timezone.utc),
            "2026-06-08T12:00:00.000001Z",
            id="microseconds",
        ),
        pytest.param(
            checks.timestamp,
            "2026-06-08t12:00:00.5+02:00",
            "2026-06-08t12:00:00.5+02:00",
            id="text of a time",
        ),
        pytest.param(checks.array, ("a",), ["a"], id="tuple"),
        pytest.param(checks.boolean, False, False, id="false"),
        pytest.param(checks.number, 1, 1, id="int for a number"),
    ],
)
def test_a_value_that_fits_is_sent(
    check: Callable[[str, object], object], value: object, sent: object
) -> None:
    """A check returns a valid value in the form in which it is sent."""
    assert sent == check("it", value)


@pytest.mark.parametrize(
    ("check", "value", "error", "message"),
    [
        pytest.param(
            checks.string,
            "\ud800",
            ValueError,
            "it holds a lone surrogate, which UTF-8 cannot hold",
            id="surrogate",
        ),
        pytest.param(checks.path_segment, "", ValueError, "it must not be empty", id="empty id"),
        pytest.param(checks.path_segment, ".", ValueError, "it must not be '.'", id="dot"),
        pytest.param(checks.path_segment, "..", ValueError, "it must not be '..'", id="dots"),
        pytest.param(
            checks.path_segment,
            "a\n",
            ValueError,
            "it must not hold control characters",
            id="line break",
        ),
        pytest.param(checks.path_segment, 7, TypeError, "it must be a str, not int", id="number"),
        pytest.param(
            checks.integer, True, TypeError, "it must be an int, not bool", id="bool for an int"
        ),
        pytest.param(
            checks.timestamp,
            datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
            ValueError,
            "it lies outside the years 1 to 9999 in UTC",
            id="before the year 1",
        ),
        pytest.param(
            checks.timestamp,
            "2026-02-30T12:00:00Z",
            ValueError,
            "it must be an RFC 3339 time with an offset: '2026-06-08T12:00:00Z'",
            id="no such day",
        ),
        *(
            pytest.param(
                checks.day, text, ValueError, "it must be a date such as '2026-06-08'", id=text
            )
            for text in ("2026-W24-1", "20260608", "2026-02-30")
        ),
        pytest.param(
            checks.array, {"a": 1}, TypeError, "it must be a list, not dict", id="dict for a list"
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    check: Callable[[str, object], object], value: object, error: type[Exception], message: str
) -> None:
    """A check rejects an invalid value with the argument's name and the reason."""
    with pytest.raises(error) as caught:
        check("it", value)
    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("bounds", "value", "message"),
    [
        pytest.param({"minimum": 1}, 0, "it must be at least 1; this int is too small", id="below"),
        pytest.param({"maximum": 9}, 10, "it must be at most 9; this int is too large", id="above"),
    ],
)
def test_a_bound_is_named(bounds: dict[str, int], value: int, message: str) -> None:
    """A check rejects a number outside a bound, and names the bound."""
    with pytest.raises(ValueError, match=message):
        checks.integer("it", value, **bounds)


def test_a_query_holds_what_is_given() -> None:
    """A query leaves out parameters that are `None`, and escapes the others."""
    assert "?a=1&b=true&c=x%26y" == checks.query({"a": 1, "b": True, "c": "x&y", "d": None})
    assert "" == checks.query({"d": None})


class Coin(str, Enum):
    """A currency, as programs list theirs."""

    GOLD = "gold"


class Size(int, Enum):
    """A number with a name, which `str()` returns instead of the number."""

    SMALL = 5


class Escaped(str):
    """Text like that of MarkupSafe, which escapes whatever is added to it."""

    def __radd__(self, before: str) -> Escaped:
        return Escaped(before + str.__str__(self))

    def __add__(self, after: str) -> Escaped:
        return Escaped(str.__add__(self, after.replace("'", "&#39;")))


def test_a_url_holds_values_of_enumerations_and_not_their_names() -> None:
    """A member of an enumeration is written as its value, as in a body."""
    assert "?a=gold&b=5" == checks.query({"a": Coin.GOLD, "b": Size.SMALL})
    assert "gold" == checks.path_segment("it", checks.text(Coin.GOLD))
    assert "gold,5" == styles.in_path("it", "it", [Coin.GOLD, Size.SMALL], "simple", explode=False)


def test_a_path_is_plain_text_whatever_its_ids_are() -> None:
    """An id of a subclass of `str` does not change the rest of the path."""
    path = "/players/" + checks.path_segment("it", Escaped("p")) + "/wallet/" + "it's"
    assert ("/players/p/wallet/it's", str) == (path, type(path))


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        pytest.param(decoding.as_list(decoding.as_str), "text", id="list"),
        pytest.param(decoding.as_map(decoding.as_str), "text", id="map"),
        pytest.param(decoding.as_model(Model), ["a"], id="model"),
        pytest.param(decoding.as_tagged("kind", {"m": Model}), "text", id="tagged"),
    ],
)
def test_a_value_of_another_shape_passes(decode: Callable[[Any], object], value: object) -> None:
    """A decoder returns a value of an undocumented shape as it is."""
    assert value is decode(value)


@pytest.mark.parametrize("decode", [decoding.as_datetime, decoding.as_date])
def test_a_time_must_be_text(decode: Callable[[Any], object]) -> None:
    """The decoders of times reject a number."""
    with pytest.raises(TypeError, match=r"^expected an RFC 3339 time, not int$"):
        decode(7)


def test_details_of_the_call_are_beside_the_dict() -> None:
    """A model gets `http` and `replayed` from `attach`, and its dict does not hold them."""
    model = Model(a=1)
    with pytest.raises(AttributeError, match=r"^this Model is not the result of a call$"):
        _ = model.http
    assert model.replayed is None

    attach(model, HTTP, True)

    assert HTTP is model.http
    assert model.replayed is True
    assert {"a": 1} == model


def test_an_operation_has_defaults() -> None:
    """An operation is by default enveloped, needs a body in the answer and knows no repeat."""
    operation = Operation(name="a.b", method="GET", path="/", body=None, result=Model)
    assert operation.enveloped
    assert not operation.may_be_empty
    assert operation.timeout is None
    assert operation.key_lifetime is None
    assert replayed_unknown is operation.replayed
    assert replayed_unknown(200, {"applied": False}) is None


def test_a_repeat_shows_in_the_status_or_the_result() -> None:
    """A repeat is recognised by the status or by `applied`, as the operation's rule says."""
    assert [True, False, None] == [replayed_by_status(status, {}) for status in (200, 201, 203)]
    answers: list[dict[str, Any]] = [{"applied": False}, {"applied": True}, {"applied": 0}, {}]
    assert [True, False, None, None] == [replayed_by_applied(200, data) for data in answers]


def test_the_names_of_the_first_release_are_still_there() -> None:
    """`kraty_server_api.types` has the names that old pickles and programs use."""
    assert (Model, ResponseInfo, Operation) == (types.Model, types.ResponseInfo, types.Operation)
    assert {"AsyncCall", "Call", "KeyLifetime", "attach"} < set(types.__all__)


def test_ids_are_read_from_dicts_and_other_mappings() -> None:
    """Ids are read from mappings; rows without a text in the field are passed over."""
    rows = [{"id": "a"}, MappingProxyType({"id": "b"}), {"id": 7}, {"name": "c"}, "d"]

    assert ["a", "b"] == checks.each(rows, "id")
