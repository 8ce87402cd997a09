"""When the next call of an import may begin, by a clock that the tests set."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraty_admin._call._limiter import Limiter


def left(remaining: int, reset: float) -> dict[str, str]:
    """Return the headers that report how many calls are left, and for how long."""
    return {"ratelimit-remaining": str(remaining), "ratelimit-reset": str(reset)}


class TestLimiter:
    """The limiter slows calls down before the server rejects one."""

    def test_knows_nothing(self) -> None:
        """Before any answer, and after one without the headers, no call waits."""
        limiter = Limiter()
        assert [0.0] * 50 == [limiter.take(1.0) for _ in range(50)]
        limiter.done({}, 2.0, 0.0)
        assert 0.0 == limiter.take(2.0)

    def test_used_up(self) -> None:
        """With no calls left, each call waits for the end of the window."""
        limiter = Limiter()
        limiter.take(0.0)
        limiter.done(left(0, 30), 10.0, 0.0)
        assert [30.0, 25.0] == [limiter.take(10.0), limiter.take(15.0)]
        assert 0.0 == limiter.take(40.0)

    def test_reset(self) -> None:
        """The limit of one server does not delay calls to another."""
        limiter = Limiter()
        limiter.done(left(0, 30), 10.0, 0.0)
        limiter.hold(60.0, 10.0)
        assert 60.0 == limiter.take(10.0)
        limiter.reset()
        assert 0.0 == limiter.take(10.0)

    def test_counts_what_is_under_way(self) -> None:
        """Calls in flight, which the server may not have counted, are subtracted from those
        left."""
        limiter = Limiter()
        for _ in range(4):
            assert 0.0 == limiter.take(0.0)
        limiter.done(left(3, 60), 1.0, 0.0)
        assert 60.0 == limiter.take(1.0)

    def test_spreads_the_last(self) -> None:
        """When few calls are left, they are spread over the rest of the window."""
        limiter = Limiter()
        limiter.take(0.0)
        limiter.done(left(4, 40), 0.0, 0.0)
        assert 10.0 == limiter.take(0.0)
        assert 0.0 == limiter.take(10.0)

    def test_many_are_left(self) -> None:
        """Calls do not wait while many are left in the window."""
        limiter = Limiter()
        limiter.take(0.0)
        limiter.done(left(1000, 60), 0.0, 0.0)
        assert [0.0] * 100 == [limiter.take(0.0) for _ in range(100)]

    def test_share(self) -> None:
        """Each of three workers sends at most a third of the calls without waiting."""
        limiter = Limiter(3)
        limiter.take(0.0)
        limiter.done(left(60, 60), 0.0, 0.0)
        went = sum(limiter.take(0.0) == 0.0 for _ in range(60))
        assert 12 < went <= 20

    def test_more_ends_than_beginnings(self) -> None:
        """The count of calls in flight never falls below zero, which would let too many calls
        begin."""
        limiter = Limiter()
        limiter.done(left(1, 60), 0.0, 0.0)
        limiter.done(left(1, 60), 0.0, 0.0)
        assert 60.0 == limiter.take(0.0)

    def test_hold(self) -> None:
        """After a 429, calls wait for the longest time that any worker was asked to wait."""
        limiter = Limiter()
        limiter.hold(5.0, 1.0)
        limiter.hold(2.0, 1.0)
        assert [5.0, 1.0, 0.0] == [limiter.take(1.0), limiter.take(5.0), limiter.take(6.0)]

    def test_headers_sent_twice(self) -> None:
        """If a header has several values, the fewest calls and the longest wait count."""
        limiter = Limiter()
        limiter.take(0.0)
        limiter.done({"ratelimit-remaining": "9, 0", "ratelimit-reset": "30, 40"}, 0.0, 0.0)
        assert 40.0 == limiter.take(0.0)

    @pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "1e3", "٣", "9" * 400])
    def test_odd_headers(self, value: str) -> None:
        """A count that is not a number is ignored."""
        limiter = Limiter()
        limiter.take(0.0)
        limiter.done({"ratelimit-remaining": value, "ratelimit-reset": "60"}, 0.0, 0.0)
        assert 0.0 == limiter.take(0.0)

    @given(
        budget=st.integers(1, 60),
        workers=st.integers(1, 8),
        took=st.floats(0.01, 3.0),
    )
    @settings(max_examples=60, deadline=None)
    def test_never_too_many(self, budget: int, workers: int, took: float) -> None:
        """No window gets more calls than the server allows, once an answer has reported the
        limit."""
        limiter = Limiter()
        now = 0.0
        count = 0
        window = 0
        under_way: list[float] = []
        sent = 0
        while sent < 3 * budget and now < 600:
            for end in [end for end in under_way if end <= now]:
                under_way.remove(end)
                limiter.done(left(max(budget - count, 0), 60 - now % 60), now, 0.0)
            if len(under_way) < workers and limiter.take(now) == 0.0:
                if int(now // 60) != window:
                    window, count = int(now // 60), 0
                count += 1
                sent += 1
                # The first calls of a window know nothing of it yet.
                assert count <= max(budget, workers)
                under_way.append(now + took)
            else:
                now += 0.0625  # exact as a float, so that windows end where they should
