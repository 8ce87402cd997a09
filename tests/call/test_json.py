"""Bodies, byte for byte as ECMAScript's `JSON.stringify` prints them."""

from __future__ import annotations

import enum
import json
import random
import shutil
import struct
import subprocess
from collections import OrderedDict, deque
from datetime import date, datetime, timezone
from decimal import Decimal
from math import inf, isfinite, nan
from types import MappingProxyType
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraty_admin._call import _json
from kraty_admin._call._json import encode
from kraty_server_api.model import Model


def text_of(value: object) -> str:
    """Return the text of a value inside a body."""
    printed = encode({"v": value}).decode()
    assert ('{"v":', "}") == (printed[:5], printed[-1])
    return printed[5:-1]


EMPTY: Final[list[Any]] = [[], {}, [{}]]


class Word(str, enum.Enum):
    GOLD = "gold"


class Number(enum.IntEnum):
    SEVEN = 7


class TestScalars:
    """Values without parts. The expected texts are what `JSON.stringify` prints."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (None, "null"),
            (True, "true"),
            (False, "false"),
            (0, "0"),
            (-1, "-1"),
            (2**53 - 1, "9007199254740991"),
            (1.0, "1"),
            (-0.0, "0"),
            (0.0, "0"),
            (-1.5, "-1.5"),
            (100.0, "100"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (1e-7, "1e-7"),
            (1.25e-7, "1.25e-7"),
            (-1e-7, "-1e-7"),
            (1e16, "10000000000000000"),
            (1e20, "100000000000000000000"),
            (123456789012345680000.0, "123456789012345680000"),
            (999999999999999900000.0, "999999999999999900000"),
            (1e21, "1e+21"),
            (1.5e21, "1.5e+21"),
            (-1e21, "-1e+21"),
            (5e-324, "5e-324"),
            (2.2250738585072014e-308, "2.2250738585072014e-308"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (9007199254740993.0, "9007199254740992"),
            (4.35, "4.35"),
            (123.456, "123.456"),
            (Number.SEVEN, "7"),
            (Word.GOLD, '"gold"'),
        ],
        ids=repr,
    )
    def test_numbers_and_words(self, value: object, expected: str) -> None:
        """Numbers print in their shortest form, with exponents only where ECMAScript has them."""
        assert expected == text_of(value)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            pytest.param("", '""', id="empty"),
            pytest.param('"\\/', '"\\"\\\\/"', id="quote-backslash-slash"),
            pytest.param("\b\t\n\f\r", '"\\b\\t\\n\\f\\r"', id="short-escapes"),
            pytest.param("\x00\x0b\x1f", '"\\u0000\\u000b\\u001f"', id="control-characters"),
            pytest.param("\x7f\x80\x9f", '"\x7f\x80\x9f"', id="delete-and-c1"),
            pytest.param("\u2028\u2029", '"\u2028\u2029"', id="line-separators"),
            pytest.param("\u00e9\u4e2d\U0001f600", '"\u00e9\u4e2d\U0001f600"', id="non-ascii"),
            pytest.param("\ufeff\uffff\ufffd", '"\ufeff\uffff\ufffd"', id="bom-and-noncharacters"),
            pytest.param("<>&'", '"<>&\'"', id="html"),
        ],
    )
    def test_strings(self, value: str, expected: str) -> None:
        """Only quotes, backslashes and control characters are escaped, in lower case."""
        assert expected == text_of(value)

    def test_utf8(self) -> None:
        """Non-ASCII characters go out as UTF-8."""
        assert b'{"v":"\xc3\xa9\xf0\x9f\x98\x80"}' == encode({"v": "\u00e9\U0001f600"})


class TestContainers:
    """Objects and arrays."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            pytest.param({}, "{}", id="empty-object"),
            pytest.param([], "[]", id="empty-array"),
            pytest.param((), "[]", id="empty-tuple"),
            pytest.param(EMPTY, "[[],{},[{}]]", id="nested-empty"),
            pytest.param((1, 2), "[1,2]", id="tuple"),
            pytest.param({"b": 1, "a": 2}, '{"b":1,"a":2}', id="in-order"),
            pytest.param(Model(b=1), '{"b":1}', id="model"),
            pytest.param(MappingProxyType({"b": 1}), '{"b":1}', id="any-mapping"),
            pytest.param(OrderedDict([("b", 1), ("a", 2)]), '{"b":1,"a":2}', id="ordered-dict"),
        ],
    )
    def test_shapes(self, value: object, expected: str) -> None:
        """Objects keep their order, and nothing is padded with spaces."""
        assert expected == text_of(value)

    @pytest.mark.parametrize(
        ("keys", "expected"),
        [
            pytest.param(["b", "10", "9", "a"], ["9", "10", "b", "a"], id="ascending-first"),
            pytest.param(["01", "1"], ["1", "01"], id="leading-zero"),
            pytest.param(["-1", "0"], ["0", "-1"], id="negative"),
            pytest.param(["1.0", "1e1", "2"], ["2", "1.0", "1e1"], id="no-integers"),
            pytest.param(["\u0661", "\u00b2", "3"], ["3", "\u0661", "\u00b2"], id="other-digits"),
            pytest.param(["", " 1", "1"], ["1", "", " 1"], id="spaces"),
            pytest.param(
                ["x", "4294967295", "4294967294"],
                ["4294967294", "x", "4294967295"],
                id="last-index",
            ),
            pytest.param(["99999999999", "5"], ["5", "99999999999"], id="too-large"),
        ],
    )
    def test_integer_like_keys(self, keys: list[str], expected: list[str]) -> None:
        """Keys that are array indices come first, ascending, as in an ECMAScript object."""
        printed = encode(dict.fromkeys(keys, 0))
        assert expected == [key for key, _ in json.loads(printed, object_pairs_hook=list)]

    def test_shared_is_not_circular(self) -> None:
        """The same object twice is printed twice: only one that holds itself is refused."""
        item = {"type": "currency"}
        assert '[{"type":"currency"},{"type":"currency"}]' == text_of([item, item])

    def test_same_bytes_for_equal_values(self) -> None:
        """A value that differs only in how Python spells it makes the same bytes."""
        assert encode({"a": [1, {"b": 2}]}) == encode(MappingProxyType({"a": (1.0, Model(b=2))}))


def circular_object() -> dict[str, Any]:
    value: dict[str, Any] = {"a": 1}
    value["self"] = value
    return value


def circular_array() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


REFUSED: Final = [
    pytest.param(nan, ValueError, "v is nan", id="NaN"),
    pytest.param(-inf, ValueError, "v is -inf", id="infinity"),
    pytest.param("\ud800", ValueError, "v holds a lone surrogate", id="surrogate"),
    pytest.param({"\udc00": 1}, ValueError, "v.'\\udc00' holds a lone", id="surrogate-key"),
    pytest.param(10**5000, ValueError, "v is an int of too many digits", id="huge-int"),
    pytest.param(b"x", TypeError, "v is of type bytes", id="bytes"),
    pytest.param(bytearray(b"x"), TypeError, "v is of type bytearray", id="bytearray"),
    pytest.param(date(2026, 6, 8), TypeError, "v is of type date", id="date"),
    pytest.param(
        datetime(2026, 6, 8, tzinfo=timezone.utc), TypeError, "v is of type datetime", id="datetime"
    ),
    pytest.param(Decimal(5), TypeError, "v is of type Decimal", id="Decimal"),
    pytest.param({1}, TypeError, "v is of type set", id="set"),
    pytest.param(frozenset({1}), TypeError, "v is of type frozenset", id="frozenset"),
    pytest.param(deque([1]), TypeError, "v is of type deque", id="deque"),
    pytest.param(iter([1]), TypeError, "v is of type list_iterator", id="iterator"),
    pytest.param(1j, TypeError, "v is of type complex", id="complex"),
    pytest.param(object(), TypeError, "v is of type object", id="object"),
    pytest.param({1: 2}, TypeError, "v has a key of type int, not str", id="int-key"),
    pytest.param({None: 2}, TypeError, "v has a key of type NoneType", id="None-key"),
    pytest.param([{"a b": [0, nan]}], ValueError, "v[0].'a b'[1] is nan", id="path"),
    pytest.param(circular_object(), ValueError, "v.self holds itself", id="circular-object"),
    pytest.param(circular_array(), ValueError, "v[1] holds itself", id="circular-array"),
]


class TestRefused:
    """A value that JSON cannot hold is refused, never altered; the message names its place."""

    @pytest.mark.parametrize(("value", "error", "message"), REFUSED)
    def test_refused(self, value: object, error: type[Exception], message: str) -> None:
        """The error names the path and the problem, and is a `TypeError` or a `ValueError`."""
        with pytest.raises(error) as caught:
            encode({"v": value})
        assert message == str(caught.value)[: len(message)]
        assert caught.value.__cause__ is None

    def test_the_body_itself(self) -> None:
        """The error for a body with a bad key names the body."""
        body: dict[Any, Any] = {7: 1}
        with pytest.raises(TypeError, match=r"^the body has a key of type int, not str$"):
            encode(body)

    @pytest.mark.parametrize(
        "levels",
        # The fast path, which C's recursion would end, takes 20 levels.
        [pytest.param(1_500, id="for-Python"), pytest.param(100_000, id="for-all")],
    )
    def test_too_deep(self, levels: int) -> None:
        """A body that is nested too deeply is a `ValueError`, not a `RecursionError`."""
        body: dict[str, Any] = {}
        for _ in range(levels):
            body = {"a": body}
        with pytest.raises(ValueError, match="nested too deeply"):
            encode(body)
        while body:  # from outside in: dropped as a whole, it could exhaust the C stack
            body = body["a"]


json_values: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


class Twice:
    """A counter of the bodies that our own, slower printer encodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slow = 0
        whole = _json.encode_any

        def counted(body: Any) -> bytes:
            self.slow += 1
            return whole(body)

        monkeypatch.setattr(_json, "encode_any", counted)


class TestTwoWays:
    """The standard library encodes only values that it prints as our own printer does."""

    @given(st.dictionaries(st.text(), PLAIN, max_size=4))
    @settings(max_examples=50, deadline=None)
    def test_they_print_the_same(self, body: dict[str, Any]) -> None:
        """`encode` and our own printer give the same bytes."""
        assert _json.encode_any(body) == encode(body)

    def test_a_batch_goes_the_fast_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A batch of rows with a context uses the standard library."""
        ways = Twice(monkeypatch)
        rows = [
            {"id": f"p_{n}", "context": {"level": n, "tags": ["a", None, True]}} for n in range(9)
        ]
        assert json.loads(encode({"rows": rows})) == {"rows": rows}
        assert 0 == ways.slow

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(1.0, id="float"),
            pytest.param({"7": 1}, id="array index"),
            pytest.param(OrderedDict([("a", 1)]), id="dict of another class"),
            pytest.param(MappingProxyType({"a": 1}), id="mapping"),
            pytest.param((1, 2), id="tuple"),
            pytest.param(Word.GOLD, id="str of another class"),
            pytest.param(Number.SEVEN, id="int of another class"),
        ],
    )
    def test_the_rest_goes_the_other_way(
        self, value: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Other values are encoded by our own printer, however deep they are."""
        ways = Twice(monkeypatch)
        encode({"rows": [{"a": "b", "c": [value]}]})
        assert 1 == ways.slow


class TestProperties:
    """Properties that hold for every value."""

    @given(st.dictionaries(st.text(), json_values, max_size=4))
    @settings(deadline=None)
    def test_reads_back(self, body: dict[str, Any]) -> None:
        """The bytes of a body are JSON of an equal value, which encodes to the same bytes."""
        printed = encode(body)
        # ECMAScript has only floats, and prints the zeros that they are filled up with.
        again: dict[str, Any] = json.loads(printed, parse_int=float)
        assert (body, printed) == (again, encode(again))

    @given(st.floats(allow_nan=False, allow_infinity=False))
    @settings(deadline=None)
    def test_floats_read_back(self, value: float) -> None:
        """Every float reads back as an equal one."""
        assert value == float(text_of(value))


def random_string(draw: random.Random) -> str:
    alphabet = 'a7 "\\/\x00\x1f\x7f\u00e9\u2028\u2029\ufeff\uffff\U0001f600'
    return "".join(draw.choice(alphabet) for _ in range(draw.randrange(6)))


def random_float(draw: random.Random) -> float:
    kind = draw.randrange(4)
    if kind == 0:  # any of them
        value: float = struct.unpack("<d", draw.randbytes(8))[0]
        return value if isfinite(value) else 0.0
    if kind == 1:  # where the exponents begin
        return draw.choice((-1, 1)) * draw.randrange(1, 10**6) * 10.0 ** draw.randrange(-14, 24)
    if kind == 2:  # prices
        return draw.randrange(-(10**6), 10**6) / 100
    return float(draw.randrange(-(2**53), 2**53))


def random_value(draw: random.Random, depth: int) -> object:
    kind = draw.randrange(8 if depth else 6)
    if kind == 0:
        return draw.choice((None, True, False))
    if kind == 1:
        return draw.randrange(-(2**53) + 1, 2**53)
    if kind <= 3:
        return random_float(draw)
    if kind <= 5:
        return random_string(draw)
    if kind == 6:
        return [random_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    keys = ("10", "9", "0", "01", "-1", "4294967294", "4294967295", "__proto__", "b", "a", "")
    return {
        draw.choice((*keys, random_string(draw))): random_value(draw, depth - 1)
        for _ in range(draw.randrange(5))
    }


NODE: Final = shutil.which("node")

STRINGIFY: Final = """
const lines = require("fs").readFileSync(0, "utf8").split("\\n");
process.stdout.write(lines.map((line) => JSON.stringify(JSON.parse(line))).join("\\n"));
"""


@pytest.mark.skipif(NODE is None, reason="needs node, to compare with its JSON.stringify")
def test_as_node_prints_them() -> None:
    """5,000 random bodies are, byte for byte, what Node prints for the same values."""
    draw = random.Random(20260608)
    bodies: list[dict[str, Any]] = [{"v": random_value(draw, 3)} for _ in range(5000)]
    # In ASCII and in another spelling of numbers, so that nothing of ours is in the question.
    lines = "\n".join(json.dumps(body) for body in bodies)
    done = subprocess.run(
        [str(NODE), "-e", STRINGIFY], input=lines.encode(), capture_output=True, check=True
    )
    assert done.stdout.split(b"\n") == [encode(body) for body in bodies]
