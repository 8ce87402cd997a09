"""The package generated from the golden contract takes every branch of the templates."""

from __future__ import annotations

import inspect
import json
import pickle
import re
from datetime import date, datetime, timezone
from types import MappingProxyType
from typing import Any

import pytest
from golden_api import models
from golden_api.errors import ERROR_CODES, ErrorCodeProperties
from golden_api.operations import class_, first
from golden_api.outbox import REBUILD
from golden_api.outbox.odd_bodies import OutboxOddBodies
from golden_api.resources import AsyncResources, Resources
from golden_api.resources.odd_bodies import OddBodies
from golden_api.resources.things import Things

from kraty_admin import KratyAdmin, KratyResponseError, RetryConfig
from kraty_server_api import checks
from kraty_server_api.imports import ImportOptions, ImportReport
from kraty_server_api.operation import Operation
from kraty_server_api.unset import UNSET
from loopback import response, serving

MOMENT = datetime(2026, 6, 8, 12, tzinfo=timezone.utc)


def everything() -> dict[str, Any]:
    """Return a full wire object."""
    return {
        "text": "t",
        "count": 1,
        "ratio": 0.5,
        "flag": True,
        "moment": "2026-06-08T12:00:00Z",
        "day": "2026-06-08",
        "id": "3f2b8f0e-0000-4000-8000-000000000000",
        "anything": [1],
        "colour": "red",
        "level": 2,
        "tag": "everything",
        "version": 1,
        "pet": {"kind": "cat", "lives": 9},
        "pets": [{"kind": "hound"}, {"kind": "fish"}, {"kind": ["odd"]}, 7],
        "shape": {"shape": "Circle", "radius": 1.5},
        "grid": [[1, 2], [3]],
        "moments": ["2026-06-08T12:00:00Z", None],
        "by_name": {"tom": {"kind": "cat", "lives": 9}},
        "days_by_name": {"d": "2026-06-08"},
        "lists_by_name": {"l": [{"kind": "dog", "name": "rex"}]},
        "counts": {"c": 1},
        "free": {"x": [1]},
        "closed": {},
        "nullable_text": None,
        "nullable_moment": "2026-06-08T12:00:00Z",
        "nullable_list": ["a"],
        "maybe_items": ["a", None],
        "nullable_colour": "violet",
        "nullable_pet": {"kind": "dog"},
        "inline": {"deep": {"deeper": "green"}},
        "inline_enum": "a",
        "tree": {"name": "root", "children": [{"name": "leaf", "children": []}], "parent": None},
        "scalar": 3,
        "mixed": {"kind": "cat"},
        "ping": {"pong": {"ping": {}}},
        "derived": {"id": "i", "extra": 2},
        "hostile": {"items": "i", "keys": "k", "class": "c", "from": "f", "fooBar": "1"},
        "bare": {"any": 1},
    }


@pytest.fixture
def model() -> models.Everything:
    """Return the full wire object as a model."""
    return models.Everything(everything())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("text", "t"),
        ("count", 1),
        ("ratio", 0.5),
        ("flag", True),
        ("moment", MOMENT),
        ("day", date(2026, 6, 8)),
        ("id", "3f2b8f0e-0000-4000-8000-000000000000"),
        ("anything", [1]),
        ("colour", "red"),
        ("level", 2),
        ("tag", "everything"),
        ("version", 1),
        ("grid", [[1, 2], [3]]),
        ("moments", [MOMENT, None]),
        ("days_by_name", {"d": date(2026, 6, 8)}),
        ("counts", {"c": 1}),
        ("free", {"x": [1]}),
        ("closed", {}),
        ("nullable_text", None),
        ("nullable_moment", MOMENT),
        ("nullable_list", ["a"]),
        ("maybe_items", ["a", None]),
        ("nullable_colour", "violet"),
        ("inline_enum", "a"),
        ("scalar", 3),
        ("mixed", {"kind": "cat"}),
        ("bare", {"any": 1}),
    ],
)
def test_a_field_is_read_as_its_type(model: models.Everything, name: str, expected: object) -> None:
    """A property returns its field's value as the type that the contract gives."""
    assert getattr(model, name) == expected


def test_objects_are_read_as_models(model: models.Everything) -> None:
    """Properties return models at every depth; the dict stays as the server sent it."""
    assert type(model.pet) is models.Cat
    assert [type(pet) for pet in model.pets] == [models.Dog, dict, dict, int]
    assert type(model.shape) is models.Circle
    assert model.by_name["tom"].lives == 9
    assert (model.lists_by_name or {})["l"][0].name == "rex"
    assert type(model.nullable_pet) is models.Dog
    assert model.tree.children[0].name == "leaf"
    assert model.tree.parent is None
    assert type(model.ping and model.ping.pong and model.ping.pong.ping) is models.Ping
    assert model.derived is not None
    assert (model.derived.id, model.derived.extra) == ("i", 2)
    assert model.inline is not None
    assert model.inline.deep is not None
    assert model.inline.deep.deeper == "green"
    for key in ("pet", "shape", "nullable_pet", "tree", "ping", "derived", "inline"):
        assert type(model[key]) is dict, key
    assert [type(pet) for pet in model["pets"]] == [dict, dict, dict, int]
    assert type(model["by_name"]["tom"]) is type(model["lists_by_name"]["l"][0]) is dict
    assert model == everything()
    assert json.loads(json.dumps(model)) == everything()
    assert pickle.loads(pickle.dumps(model)) == everything()


def test_plain_lists_and_maps_are_those_of_the_dict(model: models.Everything) -> None:
    """A property of a list or map that needs no decoding returns the dict's own object."""
    for name in ("grid", "nullable_list", "maybe_items", "counts", "free", "closed"):
        assert getattr(model, name) is model[name]


def test_fields_that_collide_have_an_underscore(model: models.Everything) -> None:
    """The property of a field named like a dict method or a keyword ends in an underscore."""
    hostile = model.hostile
    assert (hostile.items_, hostile.keys_, hostile.class_, hostile.from_) == ("i", "k", "c", "f")
    assert (hostile.foo_bar, hostile.foo_bar_, hostile.foo_bar__) == ("1", None, None)
    assert next(iter(hostile.items())) == ("items", "i")
    assert hostile.get("class") == "c"


def test_classes_say_where_they_are() -> None:
    """Without a public package, a model's `__module__` is the module that defines it."""
    assert "golden_api.models" == models.Cat.__module__


def test_a_field_that_lacks_raises_when_it_is_read() -> None:
    """A property of a missing, null or malformed field raises an error that names the field."""
    empty = models.Everything()
    with pytest.raises(AttributeError, match="Everything: 'text' is missing"):
        _ = empty.text
    with pytest.raises(AttributeError, match="Cat: 'lives' is null"):
        _ = models.Cat(lives=None).lives
    with pytest.raises(ValueError, match="Everything: 'moment': "):
        _ = models.Everything(moment="soon").moment
    assert empty.shape is None
    assert empty.anything is None


def create(**arguments: Any) -> dict[str, Any]:
    """Return the body of a call with these arguments besides the required ones."""
    given: dict[str, Any] = {"rows": [], "text": "abc", "amount": 1, "moment": MOMENT, **arguments}
    return class_.create_body(**given).body or {}


def test_a_body_holds_its_fields_in_the_contracts_order() -> None:
    """A body holds given and default values in the contract's order, and leaves out the rest."""
    assert list(create(nil="n", idempotency_key="k")) == [
        *("idempotencyKey", "text", "amount", "colour", "moment", "rows", "nil", "kind"),
    ]
    assert create()["moment"] == "2026-06-08T12:00:00.000Z"


def test_null_is_sent_where_the_contract_allows_it() -> None:
    """`None` is sent as null for a nullable field, and leaves another field out."""
    sent = create(nil=None, anything=None, class_=None)
    assert {"nil": None, "anything": None} == {k: v for k, v in sent.items() if v is None}
    assert {"nil", "anything", "class"}.isdisjoint(create(nil=UNSET, anything=UNSET))
    assert "UNSET" == repr(UNSET)


@pytest.mark.parametrize(
    ("value", "allowed", "error"),
    [
        (True, (True,), None),
        (1, (True,), TypeError),
        (True, (1,), TypeError),
        (1, (1.0, 2.5), None),
        (1.5, (1.0, 2.5), ValueError),
        ("1", (1, "1"), None),
        (False, (0, True), ValueError),
        (None, ("a",), TypeError),
    ],
    ids=["true", "1 for true", "true for 1", "1 for 1.0", "1.5", "text", "false for 0", "null"],
)
def test_a_constant_is_of_its_json_type(
    value: object, allowed: tuple[str | float, ...], error: type[Exception] | None
) -> None:
    """A check of constants tells booleans from numbers, and takes 1 for 1.0."""
    if error is None:
        assert value is checks.one_of("x", value, allowed)
    else:
        with pytest.raises(error, match="x must be one of"):
            checks.one_of("x", value, allowed)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"text": "a"}, ValueError, "text must not have fewer than 2 characters"),
        ({"text": "a" * 11}, ValueError, "text must have at most 10 characters, not 11"),
        ({"text": "ABC"}, ValueError, "text must match '^[a-z]+$'"),
        ({"text": 5}, TypeError, "text must be a str, not int"),
        ({"ratio": 1.5}, ValueError, "ratio must be from 0 to 1; this number is too large"),
        ({"ratio": -1}, ValueError, "ratio must be from 0 to 1; this number is too small"),
        ({"ratio": float("nan")}, ValueError, "ratio must be finite"),
        ({"ratio": True}, TypeError, "ratio must be an int or a float, not bool"),
        ({"flag": 1}, TypeError, "flag must be a bool, not int"),
        ({"colour": "blue"}, ValueError, "colour must be one of ['red', 'green']"),
        ({"level": 4}, ValueError, "level must be one of [1, 2, 3]"),
        ({"level": True}, TypeError, "level must be one of [1, 2, 3], not bool"),
        ({"day": MOMENT}, TypeError, "day must be a date, not datetime"),
        ({"day": 1}, TypeError, "day must be a date or a string, not int"),
        ({"day": "2026-6-8"}, ValueError, "day must be a date such as '2026-06-08'"),
        ({"names": []}, ValueError, "names must not be empty"),
        ({"names": list("abcd")}, ValueError, "names must hold at most 3 items, not 4"),
        ({"names": "abc"}, TypeError, "names must be a list, not str"),
        ({"names": ["a", ""]}, ValueError, "names[1] must not be empty"),
        ({"names": ["a", 1]}, TypeError, "names[1] must be a str, not int"),
        ({"rows": [1, 2, 3]}, ValueError, "rows must hold at most 2 items, not 3"),
        ({"metadata": []}, TypeError, "metadata must be a dict, not list"),
        ({"pet": "cat"}, TypeError, "pet must be a dict, not str"),
        ({"class_": 1}, TypeError, "class_ must be a str, not int"),
        (
            {"moment": datetime(2026, 6, 8)},  # noqa: DTZ001 -- naive on purpose
            ValueError,
            "moment must be an aware datetime, such as datetime.now(timezone.utc)",
        ),
        ({"moment": 5}, TypeError, "moment must be a datetime or an RFC 3339 string, not int"),
        (
            {"moment": "2026-06-08"},
            ValueError,
            "moment must be an RFC 3339 time with an offset: '2026-06-08T12:00:00Z'",
        ),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """An argument outside a bound of the contract is rejected with its name and the bound."""
    with pytest.raises(error) as caught:
        create(**arguments)
    assert str(caught.value) == message


def test_dict_arguments_pass_untouched() -> None:
    """A dict that is given as an argument is sent as it is, whatever it holds."""
    row = {"nonsense": object()}
    assert create(rows=(row,), row=row, pet={"kind": "fish"})["rows"][0] is row


def test_paths_and_queries_are_escaped() -> None:
    """Values in a path or a query are percent-encoded."""
    operation = first.read_thing("a/b ü", 7, needed="&=", flag=False, from_="x+y", colour="red")
    assert operation.path == (
        "/things/a%2Fb%20%C3%BC/sub/7?flag=false&colour=red&from=x%2By&needed=%26%3D"
    )
    assert (operation.method, operation.body, operation.name) == ("GET", None, "things.read")
    with pytest.raises(ValueError, match="number must be at least 1"):
        first.read_thing("a", 0, needed="x")


def test_arguments_are_in_the_order_of_the_surface() -> None:
    """A method's arguments have the order of its row, without read-only fields."""
    parameters = inspect.signature(first.add_score).parameters
    expected = ["player", "board", "value", "must", "secret", "note", "year", "final", "unit"]
    expected.append("idempotency_key")
    assert expected == list(parameters)
    assert [name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY] == (
        expected[4:]
    )
    call = first.add_score("p 1", "b", 1.5, None, secret="s", note=None, year=2, final=True)
    assert "/boards/b/scores?season=2" == call.path
    assert call.body == {
        "value": 1.5,
        "secret": "s",
        "note": None,
        "must": None,
        "final": True,
        "player": "p 1",
    }
    assert ("p 1",) == call.players


RGB = {"R": 100, "G": 200}
COLOURS = ["blue", "a&b c", "ü"]
ESCAPED = ["blue", "a%26b%20c", "%C3%BC"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"ids": COLOURS}, "&".join(f"ids={each}" for each in ESCAPED)),
        ({"comma": COLOURS}, "comma=" + ",".join(ESCAPED)),
        ({"space": ["blue", "a&b|c", "ü"]}, "space=blue%20a%26b%7Cc%20%C3%BC"),
        ({"pipe": COLOURS}, "pipe=" + "%7C".join(ESCAPED)),
        ({"numbers": [1, -2]}, "numbers=1&numbers=-2"),
        ({"deep": RGB}, "deep%5BR%5D=100&deep%5BG%5D=200"),
        ({"spread": RGB}, "R=100&G=200"),
        ({"flat": RGB}, "flat=R,100,G,200"),
        ({"labels": {"a b": "c=d"}}, "labels%5Ba%20b%5D=c%3Dd"),
        ({"ids": ["x"], "plain": "y"}, "plain=y&ids=x"),
        ({"ids": [], "flat": {}}, ""),
    ],
    ids=[
        "form",
        "comma",
        "space",
        "pipe",
        "numbers",
        "deep",
        "spread",
        "flat",
        "map",
        "two",
        "none",
    ],
)
def test_lists_and_objects_in_a_query(arguments: dict[str, Any], expected: str) -> None:
    """Each style of a query parameter is written as OpenAPI's tables show it."""
    path = first.search_things(**arguments).path
    assert path == ("/search?" + expected if expected else "/search")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"ids": "text"}, TypeError),
        ({"ids": [["nested"]]}, TypeError),
        ({"deep": [1]}, TypeError),
        ({"deep": {"R": {"nested": 1}}}, TypeError),
        ({"deep": {"R": float("nan")}}, ValueError),
    ],
    ids=["text", "nested list", "list", "nested object", "not finite"],
)
def test_what_a_query_cannot_hold(arguments: dict[str, Any], error: type[Exception]) -> None:
    """A value that a query parameter cannot hold is rejected, with the parameter's name."""
    with pytest.raises(error, match=rf"^{next(iter(arguments))}\b"):
        first.search_things(**arguments)


def traces(**arguments: Any) -> Operation[models.Model]:
    """Return the description of a call with headers, whose required arguments have values."""
    given: dict[str, Any] = {"trace": "t1", "few": ["a"], **arguments}
    return first.list_traces(RGB, **given)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({}, [], id="none"),
        pytest.param({"trace": "a, é"}, [], id="text"),
        pytest.param({"x_count": 3}, [("X-Count", "3")], id="number"),
        pytest.param({"x_since": MOMENT}, [("X-Since", "2026-06-08T12:00:00.000Z")], id="time"),
        pytest.param({"x_either": 7}, [("X-Either", "7")], id="text or number"),
        pytest.param({"x_tags": ["a", "b c"]}, [("X-Tags", "a,b c")], id="list"),
        pytest.param({"x_colour": RGB}, [("X-Colour", "R=100,G=200")], id="exploded"),
        pytest.param({"x_flat": RGB}, [("X-Flat", "R,100,G,200")], id="object"),
        pytest.param(
            {"x_where": {"a": ["é", 1]}}, [("X-Where", '{"a":["\\u00e9",1]}')], id="JSON in ASCII"
        ),
        pytest.param(
            {"x_count": 1, "x_either": "b", "x_tags": ["c"]},
            [("X-Count", "1"), ("X-Either", "b"), ("X-Tags", "c")],
            id="several",
        ),
    ],
)
def test_arguments_become_headers(
    arguments: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    """Each header is written as OpenAPI's tables show it; a header not given is not sent."""
    trace = arguments.get("trace", "t1")
    assert (("X-Trace-Id", trace), *expected) == traces(**arguments).headers


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"trace": "t"}, ValueError, "trace must not have fewer than 2 characters"),
        ({"trace": None}, TypeError, "trace must be a str, not NoneType"),
        (
            {"trace": "a\r\nHost: b"},
            ValueError,
            "trace must not hold control characters, such as line breaks",
        ),
        (
            {"trace": "a\x85b"},
            ValueError,
            "trace must not hold control characters, such as line breaks",
        ),
        (
            {"trace": "10 €"},
            ValueError,
            "trace must contain only characters of Latin-1, like all headers",
        ),
        (
            {"trace": "ab "},
            ValueError,
            "trace must not begin or end with white space, which servers strip",
        ),
        ({"x_count": 0}, ValueError, "x_count must be at least 1; this int is too small"),
        (
            {"x_either": ["a"]},
            TypeError,
            "x_either must be a str, a number or a bool, not list",
        ),
        ({"x_tags": []}, ValueError, "x_tags must not be empty"),
        ({"x_tags": list("abcd")}, ValueError, "x_tags must hold at most 3 items, not 4"),
        (
            {"x_tags": ["a", "b,c"]},
            ValueError,
            "x_tags[1] must not hold ',', which ends it in a header",
        ),
        ({"x_tags": ["a", ""]}, ValueError, "x_tags[1] must not be empty in a header"),
        (
            {"x_tags": ["a\n"]},
            ValueError,
            "x_tags[0] must not hold control characters, such as line breaks",
        ),
        (
            {"x_colour": {"R=G": 1}},
            ValueError,
            "a key of x_colour must not hold '=', which ends it in a header",
        ),
        (
            {"x_flat": {"R": "1,2"}},
            ValueError,
            "x_flat['R'] must not hold ',', which ends it in a header",
        ),
        ({"x_flat": {"R": None}}, TypeError, "x_flat['R'] must be a str, a number or a bool"),
        (
            {"x_where": {"a": {1}}},
            TypeError,
            "x_where cannot be written as JSON: it holds an object of type set",
        ),
        (
            {"x_where": {"a": float("nan")}},
            ValueError,
            "x_where cannot be written as JSON: Out of range float values",
        ),
    ],
    ids=[
        *("bound", "missing", "two headers", "C1 control", "euro", "white space", "number"),
        *("list for a scalar", "no items", "too many", "comma", "empty item", "line break"),
        *("equals sign", "comma of a field", "null", "no JSON", "not finite"),
    ],
)
def test_what_a_header_cannot_hold(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """A value that a header cannot carry unchanged is rejected, in a message without it."""
    with pytest.raises(error) as caught:
        traces(**arguments)
    assert message == str(caught.value)[: len(message)]


def test_parameters_that_are_json() -> None:
    """A JSON parameter is escaped in path and query; `None` is null if the contract allows it."""
    start = "/traces/%7B%22R%22%3A100%2C%22G%22%3A200%7D?"
    assert f"{start}few=a" == traces().path
    assert f"{start}maybe=null&few=a" == traces(maybe=None).path
    assert f"{start}maybe=%22b%22&pets=%5B%7B%7D%5D&few=a" == traces(maybe="b", pets=[{}]).path
    mapped = MappingProxyType({"a": (1,)})
    assert f"{start}pets=%5B%7B%22a%22%3A%5B1%5D%7D%5D&few=a" == traces(pets=[mapped]).path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"few": []}, "few must not be empty"),
        ({"few": ["a", "b", "c"]}, "few must hold at most 2 items, not 3"),
        ({"few": ["a", "long"]}, "few[1] must have at most 3 characters, not 4"),
        ({"more": [1]}, "more must not hold fewer than 2 items"),
        ({"more": []}, "more must not hold fewer than 2 items"),
    ],
    ids=["required", "too many", "too long", "too few", "none"],
)
def test_a_list_in_a_query_is_checked(arguments: dict[str, Any], message: str) -> None:
    """A list in a query that exceeds its own bounds, or an item's, is rejected."""
    with pytest.raises(ValueError, match=re.escape(message)):
        traces(**arguments)


def test_media_types_of_the_contract() -> None:
    """A call's headers name the contract's JSON media types if they differ from the usual one."""
    accept = ("Accept", "application/vnd.golden.v2+json, application/json")
    content = "application/vnd.golden.v1+json"
    signed = first.sign(x_signature="s", text="t").headers
    assert (accept, ("Content-Type", f"{content}; charset=UTF-8"), ("X-Signature", "s")) == signed
    assert (accept, ("Content-Type", content)) == first.resign(text="t").headers
    assert () == first.list_pets().headers


def test_an_outbox_has_no_calls_with_headers() -> None:
    """A method with header arguments is not in the outbox, and its docstring says so."""
    assert not hasattr(OutboxOddBodies, "sign")
    assert "An outbox does not have this method" in (OddBodies.sign.__doc__ or "")
    assert "An outbox does not have this method" not in (OddBodies.resign.__doc__ or "")
    assert "odd_bodies.sign" not in REBUILD
    sent = first.resign(text="t")
    assert sent.headers == REBUILD["odd_bodies.resign"](sent.path, sent.body).headers


def test_fields_that_the_contract_does_not_list() -> None:
    """Fields outside the contract are sent after the listed ones, nulls included."""
    assert {"b": "1", "a": None} == first.set_labels(fields={"b": "1", "a": None}).body
    changed = first.change_labels(mode="m", fields={"x": 1})
    assert [("mode", "m"), ("x", 1)] == list((changed.body or {}).items())
    with pytest.raises(ValueError, match="fields must not hold 'mode', which is an argument"):
        first.change_labels(fields={"mode": 1})
    assert None is first.drop_labels().body
    assert {"mode": "m"} == first.drop_labels(mode="m").body


def test_every_write_takes_a_key() -> None:
    """A write takes a key and sends it last, although its body does not list one."""
    call = first.change_labels(mode="m", fields={"x": 1}, idempotency_key="k")
    assert [("mode", "m"), ("x", 1), ("idempotencyKey", "k")] == list((call.body or {}).items())
    with pytest.raises(ValueError, match="fields must not hold 'idempotencyKey', which is an"):
        first.set_labels(fields={"idempotencyKey": "k"})


def test_what_is_deprecated_is_documented() -> None:
    """The docstrings of deprecated operations, arguments and fields say that they are."""
    doc = vars(Things)["search"].__doc__ or ""
    assert "Deprecated: a later version of the API may not have this operation." in doc
    assert "plain: Deprecated." in doc
    assert "Deprecated." == models.Score.note.__doc__
    assert "Deprecated" not in (Things.scores.__doc__ or "")


def test_an_alias_is_the_same_method() -> None:
    """A method and its alias are the same function of the class."""
    assert OddBodies.score is OddBodies.add_score
    assert OutboxOddBodies.score is OutboxOddBodies.add_score


def test_a_write_without_a_body_takes_a_key() -> None:
    """A write without fields has a body that holds only the key, if one is given."""
    assert {} == first.close_board("b").body
    assert {"idempotencyKey": "k"} == first.close_board("b", idempotency_key="k").body


def test_a_result_is_unwrapped() -> None:
    """A method returns the one field that its row names; an answer without it is an error."""
    result = first.list_scores("b").result
    (score,) = result({"scores": [{"id": "1", "value": 2}]})
    assert (models.Score, "1", 2) == (type(score), score.id, score.value)
    assert not hasattr(models.Score, "secret")
    with pytest.raises(ValueError, match="'scores' is missing"):
        result({})


def test_a_documented_answer_without_a_body_is_a_success() -> None:
    """A 204 that is documented beside a 200 gives an empty result, and is not retried."""
    with (
        serving(lambda _: response(204)) as server,
        KratyAdmin(api_key="key.secret", base_url=server.url) as kraty,
    ):
        calls: list[Operation[Any]] = [
            first.add_score("p", "b", 1, None, secret="s"),
            first.close_board("b"),
        ]
        for call in calls:
            result: models.Model = kraty._call(call)  # pyright: ignore[reportPrivateUsage]  # no method of the client makes this call
            assert ({}, 204, 1) == (result, result.http.status, result.http.attempts)
    assert 2 == len(server.seen)


@pytest.mark.parametrize(
    ("call", "answer", "expected"),
    [
        (first.list_pets(), [{"kind": "cat", "lives": 9}], [models.Cat(kind="cat", lives=9)]),
        (first.list_days(), {"data": ["2026-06-08", None]}, [date(2026, 6, 8), None]),
        (first.count_pets(), 3, 3),
        (first.get_colour(), "violet", "violet"),
        (first.get_flag(), False, False),
        (first.list_pets(), {"kind": "cat"}, "it is not a list"),
        (first.list_days(), ["2026-06-08"], "it is not a list"),
        (first.list_days(), {"data": [7]}, "expected an RFC 3339 time, not int"),
        (first.count_pets(), True, "it is not a number"),
        (first.get_colour(), None, "it is not text"),
        (first.get_flag(), 0, "it is not a boolean"),
    ],
    ids=[
        *("list", "envelope", "number", "text", "false"),
        *("object", "no envelope", "no date", "true", "null", "0"),
    ],
)
def test_a_result_may_be_a_list_or_a_scalar(
    call: Operation[Any], answer: object, expected: object
) -> None:
    """A result may be a list or a scalar; an answer of another shape is an error."""
    with (
        serving(lambda _: response(200, answer)) as server,
        KratyAdmin(
            api_key="key.secret", base_url=server.url, retry=RetryConfig(attempts=1)
        ) as kraty,
    ):
        if isinstance(expected, str) and " " in expected:
            with pytest.raises(KratyResponseError, match=str(expected)):
                kraty._call(call)  # pyright: ignore[reportPrivateUsage]  # no method of the client makes this call
        else:
            result = kraty._call(call)  # pyright: ignore[reportPrivateUsage]  # no method of the client makes this call
            assert (expected, type(expected)) == (result, type(result))


def test_operations_say_what_the_surface_says() -> None:
    """An operation has the envelope, replay rule and timeout of its row."""
    created = class_.create_body([], text="abc", amount=1, moment=MOMENT)
    assert (created.timeout, created.enveloped) == (60, True)
    assert (created.replayed(200, {}), created.replayed(201, {})) == (True, False)
    put = class_.put_thing("a", 1)
    assert (put.body, put.method, put.name) == ({}, "PUT", "odd_bodies.put")
    assert [put.replayed(200, {"applied": applied}) for applied in (True, False, "odd")] == [
        *(False, True, None),
    ]
    assert first.get_plain().enveloped is False
    assert first.get_plain().replayed(200, {}) is None


def test_facades_hand_operations_on() -> None:
    """The sync and the async method pass the same operation to their client."""

    class Client(Resources):
        def _call(self, operation: Operation[Any], /) -> Any:
            return operation

    class AsyncClient(AsyncResources):
        async def _call(self, operation: Operation[Any], /) -> Any:
            return operation

    sync: Any = Client().things.read("a", 1, needed="x")
    coroutine = AsyncClient().things.read("a", 1, needed="x")
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    described = vars(first.read_thing("a", 1, needed="x"))
    assert vars(stopped.value.value) == vars(sync) == described


def test_a_client_keeps_its_resources() -> None:
    """A client makes a resource when it is first read, and keeps it as an attribute."""
    client = Resources()
    assert vars(client) == {}
    assert client.odd_bodies is client.odd_bodies
    assert vars(client) == {"odd_bodies": client.odd_bodies}
    assert type(Resources().odd_bodies) is type(client.odd_bodies)
    assert Resources().odd_bodies is not client.odd_bodies


def test_a_class_has_resources_that_perform_no_calls() -> None:
    """The resources of a class have the methods that mocks need, and raise when called."""
    with pytest.raises(NotImplementedError, match="make a client first"):
        Resources.things.read("a", 1, needed="x")
    with pytest.raises(NotImplementedError, match="make a client first"):
        Resources.odd_bodies.import_create([])
    coroutine = AsyncResources.things.read("a", 1, needed="x")
    with pytest.raises(NotImplementedError, match="make a client first"):
        coroutine.send(None)
    assert inspect.signature(Resources.things.read) == inspect.signature(Resources().things.read)


def test_imports_hand_their_arguments_on() -> None:
    """The sync and the async import pass the same arguments to their client."""
    taken: list[tuple[object, ...]] = []

    class Client(Resources):
        def _call(self, operation: Operation[Any], /) -> Any:
            raise AssertionError

        def _import_rows(self, *arguments: Any) -> ImportReport:
            taken.append(arguments)
            return ImportReport(rows=1)

    class AsyncClient(AsyncResources):
        async def _call(self, operation: Operation[Any], /) -> Any:
            raise AssertionError

        async def _import_rows(self, *arguments: Any) -> ImportReport:
            taken.append(arguments)
            return ImportReport(rows=1)

    sync = Client().odd_bodies.import_create([{}], preset="p", journal="j", resume=True)
    coroutine = AsyncClient().odd_bodies.import_create([{}], preset="p", journal="j", resume=True)
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)

    assert sync == stopped.value.value == ImportReport(rows=1)
    options = ImportOptions(in_flight=4, chunk_size=2, journal="j", resume=True, patience=300.0)
    assert taken == [("create", [{}], None, "p", options)] * 2


def test_error_codes_have_properties() -> None:
    """An error has a property for each code, also for one that is no identifier."""
    assert frozenset({"not_found", "odd-code", "class"}) == ERROR_CODES
    error = ErrorCodeProperties()
    error.code = "odd-code"
    assert (error.is_odd_code, error.is_class, error.is_not_found) == (True, False, False)
    error.code = "brand_new"
    assert (error.is_code("brand_new"), error.is_code("odd-code")) == (True, False)


def test_deprecated_methods_are_marked_for_type_checkers_only() -> None:
    """Each deprecated method has the decorator that type checkers read."""
    marked = inspect.getsource(Things).count("@_deprecated(")
    assert marked == sum("Deprecated: a later" in (f.__doc__ or "") for f in vars(Things).values())
    assert 0 < marked
