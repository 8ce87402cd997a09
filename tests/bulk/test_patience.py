"""How long an import waits for a server that is unavailable."""

from __future__ import annotations

import pytest

from kraty_admin import KratyNetworkError, KratyServerError
from kraty_admin._bulk._patience import Patience

AWAY = KratyNetworkError("gone")


def busy(seconds: float) -> KratyServerError:
    """Return a 429 that asks to wait."""
    return KratyServerError("wait", status=429, code="rate_limited", retry_after=seconds)


def reached(seconds: float) -> Patience:
    """Return the patience of an import whose server has answered once."""
    patience = Patience(seconds)
    patience.answered()
    return patience


def test_delays_grow() -> None:
    """Delays double up to a minute, and the last one ends when the patience does."""
    patience = reached(300)
    now, delays = 1000.0, list[float]()
    for failures in range(1, 100):
        delay = patience.delay(AWAY, failures, now)
        if delay is None:
            break
        delays.append(delay)
        now += delay
    assert [1, 2, 4, 8, 16, 32, 60, 60, 60, 57] == delays


def test_all_calls_share_one() -> None:
    """The time counts from the first failure of any call, and an answer to any call ends it."""
    patience = reached(10)
    assert patience.delay(AWAY, 1, 0.0) == 1
    assert patience.delay(AWAY, 1, 9.5) == 0.5
    assert patience.delay(AWAY, 1, 10.0) is None
    patience.answered()
    assert patience.delay(AWAY, 1, 20.0) == 1


def test_what_the_server_asks_for() -> None:
    """An import waits as long as the server asks, or gives up if that exceeds its patience."""
    assert reached(300).delay(busy(100), 1, 0.0) == 100
    assert reached(50).delay(busy(100), 1, 0.0) is None


@pytest.mark.parametrize(
    ("patience", "error"),
    [
        pytest.param(Patience(300), AWAY, id="never reached"),
        pytest.param(reached(0), AWAY, id="none"),
        pytest.param(
            reached(300),
            KratyServerError("no", status=401, code="unauthenticated"),
            id="not worth a repeat",
        ),
    ],
)
def test_no_patience(patience: Patience, error: KratyNetworkError | KratyServerError) -> None:
    """An import gives up at once if its server never answered, its patience is 0, or repeating
    cannot help."""
    assert patience.delay(error, 1, 0.0) is None
