"""When to retry, and after how long: plain functions of their arguments."""

from __future__ import annotations

import dataclasses
import math
import pickle
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraty_admin import RetryConfig
from kraty_admin._call._retry import YEAR, RetryBudget, backoff, retry_after

# Monday, 8 June 2026, 12:00:00 UTC.
WALL: Final = datetime(2026, 6, 8, 12, tzinfo=timezone.utc).timestamp()


def middle() -> float:
    return 0.5


class TestRetryConfig:
    """The retry configuration, checked when it is created."""

    def test_defaults(self) -> None:
        """The defaults are as documented: four attempts, 0.2 s to 10 s, spread by 20 %, a cap of 60
        s."""
        assert (4, 0.2, 10.0, 0.2, 60.0) == dataclasses.astuple(RetryConfig())

    @pytest.mark.parametrize("field", ["initial_delay", "max_delay", "jitter", "max_retry_after"])
    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(-0.1, id="negative"),
            pytest.param(math.nan, id="NaN"),
            pytest.param(math.inf, id="infinite"),
            pytest.param(1e12, id="longer-than-any-sleep"),
            pytest.param(10**400, id="beyond-float"),
        ],
    )
    def test_bad_numbers(self, field: str, value: float) -> None:
        """A number that no sleep can take is a `ValueError` that names the option."""
        with pytest.raises(ValueError, match=f"^{field} must be from 0"):
            RetryConfig(**{field: value})  # type: ignore[arg-type]

    @pytest.mark.parametrize("field", ["initial_delay", "max_delay", "jitter", "max_retry_after"])
    @pytest.mark.parametrize("value", [True, "1", None], ids=["bool", "str", "None"])
    def test_not_numbers(self, field: str, value: Any) -> None:
        """A value that is not a number is a `TypeError` that names the option."""
        with pytest.raises(TypeError, match=f"^{field} must be a number"):
            RetryConfig(**{field: value})

    @pytest.mark.parametrize(
        ("value", "error"),
        [(0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError), ("4", TypeError)],
        ids=["zero", "negative", "bool", "float", "str"],
    )
    def test_bad_attempts(self, value: Any, error: type[Exception]) -> None:
        """A number of attempts that is not a positive integer is refused."""
        with pytest.raises(error, match=r"^attempts must be"):
            RetryConfig(attempts=value)

    def test_jitter_of_more_than_all(self) -> None:
        """A jitter above 1 would make negative waits, so it is refused."""
        with pytest.raises(ValueError, match=r"^jitter must be from 0 to 1$"):
            RetryConfig(jitter=1.01)

    def test_longest(self) -> None:
        """A wait of a year is allowed."""
        assert YEAR == RetryConfig(max_retry_after=YEAR).max_retry_after

    def test_is_a_value(self) -> None:
        """Configurations are immutable, compare by value and pickle."""
        config = RetryConfig(attempts=2)
        assert RetryConfig(attempts=2) == config
        assert config == pickle.loads(pickle.dumps(config))
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.attempts = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


class TestBackoff:
    """The wait that the client chooses itself."""

    @pytest.mark.parametrize(
        ("attempt", "expected"),
        [(1, 0.2), (2, 0.4), (3, 0.8), (6, 6.4), (7, 10.0), (8, 10.0), (5000, 10.0)],
    )
    def test_doubles_up_to_the_maximum(self, attempt: int, expected: float) -> None:
        """Each wait is twice the one before, up to the maximum, for any number of attempts."""
        assert expected == pytest.approx(backoff(RetryConfig(), attempt, middle))

    @pytest.mark.parametrize(
        ("draw", "expected"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)], ids=["low", "middle", "high"]
    )
    def test_jitter(self, draw: float, expected: float) -> None:
        """A jitter of 0.2 spreads a wait from 80 % to 120 %."""
        config = RetryConfig(initial_delay=1.0, jitter=0.2)
        assert expected == pytest.approx(backoff(config, 1, lambda: draw))

    @given(
        initial=st.floats(0, YEAR),
        most=st.floats(0, YEAR),
        jitter=st.floats(0, 1),
        attempt=st.integers(1, 10**9),
        draw=st.floats(0, 1),
    )
    @settings(deadline=None)
    def test_never_negative(
        self, initial: float, most: float, jitter: float, attempt: int, draw: float
    ) -> None:
        """A wait is never negative, and exceeds the maximum by no more than the jitter."""
        config = RetryConfig(initial_delay=initial, max_delay=most, jitter=jitter)
        wait = backoff(config, attempt, lambda: draw)
        assert 0 <= wait <= most * (1 + jitter) * (1 + 1e-9)


FORMS: Final = [
    pytest.param("7", 7.0, id="seconds"),
    pytest.param("0", 0.0, id="zero"),
    pytest.param("007", 7.0, id="leading-zeros"),
    pytest.param(" 7\t", 7.0, id="spaces-around"),
    pytest.param("1.5", 1.5, id="decimal"),
    pytest.param(".5", 0.5, id="decimal-without-whole"),
    pytest.param("2.", 2.0, id="decimal-without-fraction"),
    pytest.param("9999999999", 9999999999.0, id="centuries"),
    pytest.param("9" * 20, 1e20, id="twenty-digits"),
    pytest.param("9" * 5000, math.inf, id="digits-without-end"),
    pytest.param("Mon, 08 Jun 2026 12:00:07 GMT", 7.0, id="date-imf"),
    pytest.param("Monday, 08-Jun-26 12:00:07 GMT", 7.0, id="date-rfc-850"),
    pytest.param("Mon Jun  8 12:00:07 2026", 7.0, id="date-asctime"),
    pytest.param("Mon, 08 Jun 2026 12:00:07 -0000", 7.0, id="date-without-zone"),
    pytest.param("Mon, 08 Jun 2026 14:00:07 +0200", 7.0, id="date-with-offset"),
    pytest.param("Mon, 08 Jun 2026 11:59:00 GMT", 0.0, id="date-past"),
    pytest.param("Thu, 01 Jan 1970 00:00:00 GMT", 0.0, id="date-epoch"),
    pytest.param("NaN", None, id="NaN"),
    pytest.param("nan", None, id="nan"),
    pytest.param("inf", None, id="inf"),
    pytest.param("Infinity", None, id="Infinity"),
    pytest.param("-5", None, id="negative"),
    pytest.param("-0", None, id="minus-zero"),
    pytest.param("+5", None, id="plus"),
    pytest.param("1_0", None, id="underscore"),
    pytest.param("1e3", None, id="exponent"),
    pytest.param("0x10", None, id="hexadecimal"),
    pytest.param("\u0667", None, id="arabic-digit"),
    pytest.param("\uff17", None, id="full-width-digit"),
    pytest.param("\u00b2", None, id="superscript-digit"),
    pytest.param("5 seconds", None, id="with-unit"),
    pytest.param("1.2.3", None, id="two-points"),
    pytest.param(".", None, id="point"),
    pytest.param("", None, id="empty"),
    pytest.param("soon", None, id="garbage"),
    pytest.param("Mon, 99 Foo 2026 12:00:07 GMT", None, id="date-garbage"),
    pytest.param("Mon, 08 Jun 99999999999 12:00:07 GMT", None, id="date-overflow"),
    pytest.param("\x00\x01", None, id="control-characters"),
    pytest.param("7, 7", 7.0, id="twice"),
    pytest.param("2,7 ,\t3", 7.0, id="list"),
    pytest.param("7, soon", 7.0, id="list-half-readable"),
    pytest.param(
        "Mon, 08 Jun 2026 12:00:07 GMT, Mon, 08 Jun 2026 12:00:03 GMT", 7.0, id="dates-twice"
    ),
    pytest.param("7, Mon, 08 Jun 2026 12:00:03 GMT", 7.0, id="number-and-date"),
    pytest.param("Monday, 08-Jun-26 12:00:07 GMT, 3", 7.0, id="date-and-number"),
    pytest.param(", ,", None, id="only-commas"),
]

UNREADABLE: Final = 10.0


def expected_on_429(value: str, readable: float | None) -> float | None:
    """Return the wait after a 429: an unreadable value asks for a wait, an empty one for none."""
    return UNREADABLE if readable is None and value else readable


def asked(status: int, headers: dict[str, str]) -> float | None:
    return retry_after(status, headers, WALL, unreadable=UNREADABLE)


@pytest.fixture
def new_york() -> Iterator[None]:
    """Set this process to New York's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


class TestRetryAfter:
    """The wait that the server asks for, in every form of the header."""

    @pytest.mark.parametrize(("value", "expected"), FORMS)
    def test_retry_after(self, value: str, expected: float | None) -> None:
        """`Retry-After` is read as seconds or as a date; anything else asks for nothing."""
        assert expected == asked(503, {"retry-after": value})

    @pytest.mark.parametrize("header", ["retry-after", "ratelimit-reset"])
    @pytest.mark.parametrize(("value", "expected"), FORMS)
    def test_rate_limited(self, header: str, value: str, expected: float | None) -> None:
        """On 429, either header asks for a wait, and an unreadable value asks for one too."""
        assert expected_on_429(value, expected) == asked(429, {header: value})

    @pytest.mark.parametrize(
        ("status", "headers", "expected"),
        [
            pytest.param(429, {}, None, id="neither"),
            pytest.param(429, {"retry-after": "3", "ratelimit-reset": "9"}, 3.0, id="both"),
            pytest.param(429, {"retry-after": "0", "ratelimit-reset": "9"}, 0.0, id="zero-counts"),
            pytest.param(
                429, {"retry-after": "soon", "ratelimit-reset": "9"}, 9.0, id="unreadable-first"
            ),
            pytest.param(
                429,
                {"retry-after": "soon", "ratelimit-reset": "later"},
                UNREADABLE,
                id="unreadable-both",
            ),
            pytest.param(429, {"retry-after": " "}, None, id="blank"),
            pytest.param(503, {"ratelimit-reset": "9"}, None, id="reset-but-no-429"),
        ],
    )
    def test_which_header(
        self, status: int, headers: dict[str, str], expected: float | None
    ) -> None:
        """`Retry-After` comes first, and `RateLimit-Reset` counts only on 429."""
        assert expected == asked(status, headers)

    @pytest.mark.parametrize(
        ("date", "expected"),
        [
            pytest.param("Mon, 08 Jun 2026 11:00:00 GMT", 3607.0, id="server-behind"),
            pytest.param("Mon, 08 Jun 2026 13:00:00 GMT", 0.0, id="server-ahead"),
            pytest.param("yesterday", 7.0, id="unreadable"),
        ],
    )
    def test_the_servers_own_clock(self, date: str, expected: float) -> None:
        """A date is measured from the answer's own `Date`, since our clock may be wrong."""
        headers = {"retry-after": "Mon, 08 Jun 2026 12:00:07 GMT", "date": date}
        assert expected == asked(503, headers)

    @pytest.mark.skipif(sys.platform == "win32", reason="no tzset")
    @pytest.mark.parametrize(
        "value",
        ["Mon, 08 Jun 2026 12:00:07 -0000", "Mon Jun  8 12:00:07 2026"],
        ids=["offset", "no-offset"],
    )
    @pytest.mark.usefixtures("new_york")
    def test_dates_without_a_zone(self, value: str) -> None:
        """Dates without a zone are in UTC, whatever zone this machine has."""
        assert 7.0 == asked(503, {"retry-after": value})

    @given(st.text(max_size=40), st.text(max_size=40))
    @settings(deadline=None)
    def test_any_text(self, value: str, date: str) -> None:
        """No header makes `retry_after` raise, or return a negative wait or NaN."""
        wait = asked(429, {"retry-after": value, "date": date})
        assert wait is None or wait >= 0

    def test_nearly_dates(self) -> None:
        """None of 20,000 texts that resemble dates makes `retry_after` raise, or return a negative
        wait."""
        draw = random.Random(6)
        scraps = (
            *("Mon", "Jun", "8", "08", "2026", "26", "12:00:07", "12.00.07", "12:0", "GMT", "Z"),
            *("+0000", "-0000", "+99999999999", "99999", "0" * 30 + "1", "-", "+", ":", ",", " "),
            *("\u0665", "_", "1_0", "(", ")", "\\", '"', "\u00e9", "\x00"),
        )
        for _ in range(20_000):
            value = "".join(
                draw.choice(scraps) + draw.choice(("", " ")) for _ in range(draw.randrange(9))
            )
            wait = asked(503, {"retry-after": value})
            assert wait is None or wait >= 0, value

    @given(st.integers(0, 10**9))
    @settings(deadline=None)
    def test_dates_round_trip(self, seconds: int) -> None:
        """A date some seconds ahead asks for a wait of as many seconds."""
        moment = datetime.fromtimestamp(WALL + seconds, timezone.utc)
        header = format_datetime(moment, usegmt=True)
        assert float(seconds) == asked(503, {"retry-after": header})


class TestRetryBudget:
    """How many retries a client may spend."""

    def test_is_spent(self) -> None:
        """A budget of three allows three retries."""
        budget = RetryBudget(3)
        assert [True, True, True, False, False] == [budget.take() for _ in range(5)]

    def test_is_refilled(self) -> None:
        """Each success gives one retry back, up to the capacity."""
        budget = RetryBudget(2)
        assert [True, True, False] == [budget.take() for _ in range(3)]
        budget.give_back()
        assert [True, False] == [budget.take() for _ in range(2)]
        for _ in range(10):
            budget.give_back()
        assert [True, True, False] == [budget.take() for _ in range(3)]

    def test_of_another_server(self) -> None:
        """Retries of one server are not taken from the budget of another."""
        spent = RetryBudget(1)
        assert spent.take()
        assert (1, 0) == (spent.refilled().left, spent.left)

    def test_of_nothing(self) -> None:
        """A budget of zero allows no retry, even after a success."""
        budget = RetryBudget(0)
        budget.give_back()
        assert not budget.take()

    def test_off(self) -> None:
        """A budget of None never runs out."""
        budget = RetryBudget(None)
        assert all(budget.take() for _ in range(1000))

    def test_another_thread_is_quicker(self) -> None:
        """One retry is given back only once, though two threads saw that it was spent."""

        class Raced(deque[None]):
            def __bool__(self) -> bool:
                return True  # as it was before the other thread's `pop`

        budget = RetryBudget(1)
        vars(budget)["_spent"] = Raced()
        budget.give_back()
        assert [True, False] == [budget.take(), budget.take()]

    def test_holds_no_lock(self) -> None:
        """A budget pickles, so it has no lock that a forked child could inherit locked."""
        budget: RetryBudget = pickle.loads(pickle.dumps(RetryBudget(1)))
        assert [True, False] == [budget.take(), budget.take()]
