"""Keys: generating, stamping and deriving them, and guarding against two payouts for one
receipt."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraty_admin import KratyKeyExpiredError, KratyServerError, derive_key, fulfil_once
from kraty_admin._call._idempotency import check_key_age, derive_key_of_any, random_keys, stamp
from kraty_server_api.lifetimes import KEY_LIFETIMES

RECEIPT_KEY: Final = "6d52ade25bd89501859ddcbeff7cd8056561868d4600950a46469d065d9ceae6"


def never() -> str:
    raise AssertionError("no key was needed")


STRAY_SPACE: Final = [
    pytest.param("r\n", id="line break"),
    pytest.param(" r", id="space before"),
    pytest.param("r\xa0", id="no-break space"),
    pytest.param("\t", id="nothing else"),
]


class TestRandomKeys:
    """Keys for writes whose caller passes none."""

    def test_is_a_random_uuid(self) -> None:
        """A generated key is a UUID4 in its usual spelling."""
        key = random_keys()()
        assert (4, key) == (uuid.UUID(key).version, str(uuid.UUID(key)))

    def test_never_twice(self) -> None:
        """Ten thousand generated keys all differ."""
        generate = random_keys()
        assert 10_000 == len({generate() for _ in range(10_000)})


class TestStamp:
    """The key in the body."""

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    def test_writes(self, method: str) -> None:
        """Every write without a key gets one, last in the body."""
        body, key = stamp(method, {"amount": 5, "reason": "iap"}, lambda: "k")
        assert ([("amount", 5), ("reason", "iap"), ("idempotencyKey", "k")], "k") == (
            list((body or {}).items()),
            key,
        )

    @pytest.mark.parametrize("body", [None, {}], ids=["none", "empty"])
    def test_writes_without_a_body(self, body: dict[str, Any] | None) -> None:
        """A write without a body gets one that holds the key and nothing else."""
        assert ({"idempotencyKey": "k"}, "k") == stamp("POST", body, lambda: "k")

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_others(self, method: str) -> None:
        """A request without a body gets no key, and none is generated."""
        assert (None, None) == stamp(method, None, never)

    def test_given(self) -> None:
        """A key in the body stays where it is, and none is generated."""
        mine = {"idempotencyKey": "mine", "amount": 5}
        body, key = stamp("POST", mine, never)
        assert (["idempotencyKey", "amount"], "mine") == (list(body or {}), key)

    def test_subclass_of_str(self) -> None:
        """A key becomes a plain `str`: a process that unpickles an error may lack the subclass."""

        class Receipt(str):
            __slots__ = ()

        assert str is type(stamp("POST", {"idempotencyKey": Receipt("r")}, never)[1])

    def test_null_is_none(self) -> None:
        """A key of `None` in the body is replaced by a generated one."""
        assert ({"idempotencyKey": "k"}, "k") == stamp(
            "POST", {"idempotencyKey": None}, lambda: "k"
        )

    def test_leaves_the_body_alone(self) -> None:
        """Stamping does not write into the caller's dict."""
        mine = {"amount": 5}
        stamp("POST", mine, random_keys())
        assert {"amount": 5} == mine

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            pytest.param("", ValueError, id="empty"),
            pytest.param(None, TypeError, id="None"),
            pytest.param(7, TypeError, id="int"),
            pytest.param(b"k", TypeError, id="bytes"),
            pytest.param(uuid.UUID(int=0), TypeError, id="UUID"),
        ],
    )
    def test_bad_generator(self, value: Any, error: type[Exception]) -> None:
        """A generator that returns no key is named in the error."""
        with pytest.raises(error, match=r"^generate_idempotency_key returned"):
            stamp("POST", None, lambda: value)

    @pytest.mark.parametrize(
        ("value", "error"),
        [("", ValueError), (7, TypeError), (b"k", TypeError), (False, TypeError)],
        ids=["empty", "int", "bytes", "bool"],
    )
    def test_bad_key(self, value: Any, error: type[Exception]) -> None:
        """An unusable key is refused, not replaced by a generated one."""
        with pytest.raises(error, match=r"^idempotency_key is"):
            stamp("POST", {"idempotencyKey": value}, never)

    @pytest.mark.parametrize("value", STRAY_SPACE)
    def test_white_space(self, value: str) -> None:
        """White space at either end is refused: it would make a second key for one receipt."""
        with pytest.raises(ValueError, match=r"^idempotency_key is not usable.*white space"):
            stamp("POST", {"idempotencyKey": value}, never)
        with pytest.raises(ValueError, match=r"^generate_idempotency_key returned.*white space"):
            stamp("POST", {}, lambda: value)

    def test_white_space_within(self) -> None:
        """White space within a key is kept."""
        assert "a b" == stamp("POST", {"idempotencyKey": "a b"}, never)[1]


class TestDeriveKey:
    """The same key for the same fulfilment, on every run and machine.

    The digits come from `sha256sum`, fed with `kraty-admin key 1` and, for each part,
    its length in eight bytes and its UTF-8.
    """

    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            pytest.param(("iap", "apple_receipt_abc"), RECEIPT_KEY, id="receipt"),
            pytest.param(
                ("a",),
                "74751326db04d2a60f1b1b6a3fe381361381b44ee577b92b6d8232b939665412",
                id="one-part",
            ),
            pytest.param(
                ("\u00e9",),
                "f8781abb3f6ee7d55b7e0e017d6101b89a52f8cbb184f6a381a904fa66ae3b92",
                id="non-ascii",
            ),
            pytest.param(
                ("r" * 255,),
                "b8b4ea14605e278bbd790429ca77153d5b78f8eaaee23f0494e2d12acdb14555",
                id="255-bytes",
            ),
            pytest.param(
                ("r" * 256,),
                "95af8bfd3d82345833b0ab087fd3942256198589d0be5ff7abe41c17205245cf",
                id="256-bytes",
            ),
        ],
    )
    def test_known_answers(self, parts: tuple[str, ...], expected: str) -> None:
        """The derived keys never change: a changed key would pay out a second time."""
        assert expected == derive_key(*parts)

    @pytest.mark.parametrize("value", STRAY_SPACE)
    def test_white_space(self, value: str) -> None:
        """White space at either end of a part is refused with the part's number."""
        with pytest.raises(ValueError, match=r"^part 2 of the key must not begin or end with"):
            derive_key("iap", value)

    def test_of_any(self) -> None:
        """The keys of imported rows are those of earlier versions, and ids may have stray white
        space."""
        assert [
            RECEIPT_KEY,
            "cd5b6ca766c19ebde705eba2094e6e417d99ca2ac4e5c882cd7874f3109e769f",
        ] == [derive_key_of_any("iap", "apple_receipt_abc"), derive_key_of_any("a ")]

    def test_other_processes(self) -> None:
        """Another process derives the same key, even with another hash seed."""
        code = "from kraty_admin import derive_key; print(derive_key('iap', 'apple_receipt_abc'))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        )
        assert RECEIPT_KEY == done.stdout.strip()

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            pytest.param(("a", "bc"), ("ab", "c"), id="moved-border"),
            pytest.param(("a", "b"), ("ab",), id="joined"),
            pytest.param(("a", "b"), ("b", "a"), id="swapped"),
            pytest.param(("a", "a"), ("a",), id="repeated"),
            pytest.param(("a\0b",), ("a", "b"), id="null-byte"),
            pytest.param(("a:b",), ("a", "b"), id="colon"),
            pytest.param(("\u00e9",), ("e\u0301",), id="composed"),
            pytest.param(("A",), ("a",), id="case"),
            pytest.param(("a b",), ("a", "b"), id="space"),
            pytest.param(("a" + "\0" * 7 + "\x01b",), ("a", "b"), id="imitated-length"),
        ],
    )
    def test_different_parts(self, one: tuple[str, ...], other: tuple[str, ...]) -> None:
        """Parts that read alike when joined give different keys."""
        assert derive_key(*one) != derive_key(*other)

    @given(
        st.lists(st.text("ab\0", min_size=1, max_size=3), min_size=1, max_size=4),
        st.lists(st.text("ab\0", min_size=1, max_size=3), min_size=1, max_size=4),
    )
    @settings(deadline=None)
    def test_collisions(self, one: list[str], other: list[str]) -> None:
        """Two keys are equal when, and only when, their parts are."""
        assert (one == other) is (derive_key(*one) == derive_key(*other))

    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            pytest.param((), "at least one part", id="none"),
            pytest.param(("iap", ""), "part 2 of the key must not be empty", id="empty"),
            pytest.param(("\ud800",), "part 1 of the key holds a lone surrogate", id="surrogate"),
        ],
    )
    def test_bad_values(self, parts: tuple[str, ...], message: str) -> None:
        """Parts that distinguish nothing, or that UTF-8 cannot hold, are refused."""
        with pytest.raises(ValueError, match=message):
            derive_key(*parts)

    @pytest.mark.parametrize("part", [7, None, b"r", True, ("r",)], ids=repr)
    def test_bad_types(self, part: Any) -> None:
        """A part that is not a `str` is refused: 7 and "7" would be two keys for one receipt."""
        with pytest.raises(TypeError, match="part 2 of the key must be a str"):
            derive_key("iap", part)


def conflict(code: str = "idempotency_conflict") -> KratyServerError:
    return KratyServerError("the key was used for another body", code=code, status=409)


def refuse(*, awaited: bool, error: Exception, alerts: list[KratyServerError]) -> None:
    """Fulfil a receipt with a plain or an awaited call, which raises `error`."""

    async def call() -> None:
        await asyncio.sleep(0)
        raise error

    async def fulfil() -> None:
        with fulfil_once("iap", "r", on_conflict=alerts.append):
            await call()

    if awaited:
        asyncio.run(fulfil())
    else:
        with fulfil_once("iap", "r", on_conflict=alerts.append):
            raise error


class TestFulfilOnce:
    """A key that is the same on every run, and an alert when the bodies differ."""

    def test_key(self) -> None:
        """The `with` statement yields the derived key."""
        alerts: list[KratyServerError] = []
        with fulfil_once("iap", "apple_receipt_abc", on_conflict=alerts.append) as key:
            pass
        assert (RECEIPT_KEY, []) == (key, alerts)

    @pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
    def test_conflict(self, awaited: bool) -> None:
        """A conflict is reported once and raised again."""
        alerts: list[KratyServerError] = []
        error = conflict()
        with pytest.raises(KratyServerError) as caught:
            refuse(awaited=awaited, error=error, alerts=alerts)
        assert (error, [error]) == (caught.value, alerts)

    @pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
    @pytest.mark.parametrize(
        "error", [conflict("conflict"), ValueError("other")], ids=["other-409", "other-error"]
    )
    def test_other_errors(self, awaited: bool, error: Exception) -> None:
        """Any other error is raised again and not reported."""
        alerts: list[KratyServerError] = []
        with pytest.raises(type(error)) as caught:
            refuse(awaited=awaited, error=error, alerts=alerts)
        assert (error, []) == (caught.value, alerts)

    def test_async_callback(self) -> None:
        """A coroutine function is refused at once, because nothing would await it."""

        async def alert(error: KratyServerError) -> None: ...

        class Alert:
            async def __call__(self, error: KratyServerError) -> None: ...

        for callback in (alert, functools.partial(alert), Alert()):
            with pytest.raises(TypeError, match="on_conflict must be a plain function"):
                fulfil_once("iap", "r", on_conflict=callback).__enter__()

    def test_no_callback(self) -> None:
        """An `on_conflict` that cannot be called is refused before anything is fulfilled."""
        nothing: Any = None
        with pytest.raises(TypeError, match="on_conflict must be"):
            fulfil_once("iap", "r", on_conflict=nothing).__enter__()

    def test_bad_parts(self) -> None:
        """Parts are checked before anything is fulfilled."""
        with (
            pytest.raises(ValueError, match="part 2 of the key must not be empty"),
            fulfil_once("iap", "", on_conflict=print),
        ):
            pytest.fail("nothing must be fulfilled")


NOW: Final = datetime(2026, 6, 8, 12, 0, tzinfo=timezone.utc)
BERLIN: Final = ZoneInfo("Europe/Berlin")


def try_again(operation: str, age: timedelta, now: datetime = NOW) -> str:
    """Fulfil a receipt that was first tried `age` before `now`; return the key."""
    with fulfil_once(
        "iap",
        "apple_receipt_abc",
        operation=operation,
        first_tried_at=now - age,
        now=now,
        on_conflict=print,
    ) as key:
        return key


class TestKeyAge:
    """A key that the platform may have forgotten is not used again."""

    @pytest.mark.parametrize("operation", sorted(KEY_LIFETIMES))
    @pytest.mark.parametrize(
        ("age", "fresh"),
        [
            pytest.param(timedelta(0), True, id="now"),
            pytest.param(timedelta(hours=23) - timedelta(microseconds=1), True, id="just before"),
            pytest.param(timedelta(hours=23), False, id="23 hours"),
            pytest.param(timedelta(days=400), False, id="400 days"),
            pytest.param(timedelta(seconds=-90), True, id="a clock ahead of ours"),
            pytest.param(timedelta(hours=-1), True, id="an hour ahead"),
        ],
    )
    def test_limit(self, operation: str, age: timedelta, fresh: bool) -> None:
        """A key is refused 23 hours after its first use, if Kraty forgets it after 24."""
        limited = KEY_LIFETIMES[operation].repeat_within_hours is not None
        if fresh or not limited:
            assert RECEIPT_KEY == try_again(operation, age)
        else:
            with pytest.raises(KratyKeyExpiredError):
                try_again(operation, age)

    def test_error(self) -> None:
        """The error names the call, the key and the time, and says what to do."""
        with pytest.raises(KratyKeyExpiredError) as caught:
            try_again("wallet.credit", timedelta(days=7))
        error = caught.value
        assert ("wallet.credit", RECEIPT_KEY, NOW - timedelta(days=7), False, None) == (
            error.operation,
            error.idempotency_key,
            error.first_tried_at,
            error.retryable,
            error.first_sent_at,
        )
        for said in ("2026-06-01T12:00:00+00:00", "Nothing was sent", "If it did, record it"):
            assert said in str(error)

    def test_offsets(self) -> None:
        """Times with other offsets are compared as moments."""
        tokyo = timezone(timedelta(hours=9))
        with pytest.raises(KratyKeyExpiredError):
            try_again("wallet.credit", timedelta(hours=23), NOW.astimezone(tokyo))

    @pytest.mark.parametrize(
        ("hours", "fresh"),
        [pytest.param(22, True, id="22 hours"), pytest.param(23, False, id="23 hours")],
    )
    @pytest.mark.parametrize(
        "first",
        [
            pytest.param(datetime(2026, 10, 24, 12, tzinfo=BERLIN), id="clocks set back"),
            pytest.param(datetime(2026, 3, 28, 12, tzinfo=BERLIN), id="clocks set forward"),
            pytest.param(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), id="first 02:30"),
            pytest.param(datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN), id="second 02:30"),
        ],
    )
    def test_hours_that_passed(self, first: datetime, hours: int, fresh: bool) -> None:
        """Where the clocks change, the hours that passed count, not those that clocks show."""
        now = (first.astimezone(timezone.utc) + timedelta(hours=hours)).astimezone(BERLIN)

        def fulfil() -> None:
            with fulfil_once(
                "iap",
                "r",
                operation="wallet.credit",
                first_tried_at=first,
                now=now,
                on_conflict=print,
            ):
                pass

        if fresh:
            fulfil()
        else:
            with pytest.raises(KratyKeyExpiredError):
                fulfil()

    @pytest.mark.parametrize("hours", [-14, 14])
    def test_first_day_that_there_is(self, hours: int) -> None:
        """A first try at the earliest datetime is too old, whatever its offset."""
        first = datetime.min.replace(tzinfo=timezone(timedelta(hours=hours)))
        with pytest.raises(KratyKeyExpiredError):
            check_key_age("k", operation="wallet.credit", first_tried_at=first)

    @pytest.mark.parametrize(
        "first",
        [
            pytest.param(NOW + timedelta(hours=1, microseconds=1), id="over an hour"),
            pytest.param(NOW + timedelta(hours=9), id="Tokyo's time taken for UTC"),
            pytest.param(
                datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))), id="the last moment"
            ),
        ],
    )
    def test_future(self, first: datetime) -> None:
        """A first try more than an hour in the future is refused, since such a time protects
        nothing."""
        with pytest.raises(ValueError, match=r"first_tried_at is .* in the future"):
            check_key_age("k", operation="wallet.credit", first_tried_at=first, now=NOW)

    def test_current_time(self) -> None:
        """Without `now`, a key's age is measured by the machine's clock."""
        first = datetime.now(timezone.utc) - timedelta(hours=25)
        with (
            pytest.raises(KratyKeyExpiredError),
            fulfil_once(
                "iap", "r", operation="wallet.credit", first_tried_at=first, on_conflict=print
            ),
        ):
            pytest.fail("nothing must be fulfilled")

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            pytest.param({"first_tried_at": NOW}, ValueError, "needs operation", id="no operation"),
            pytest.param(
                {"operation": "wallet.mint"}, ValueError, "operation must be", id="unknown"
            ),
            pytest.param({"operation": "players.get"}, ValueError, "operation must be", id="read"),
            pytest.param(
                {"operation": "wallet.credit", "first_tried_at": NOW.replace(tzinfo=None)},
                ValueError,
                "first_tried_at must have a time zone",
                id="naive",
            ),
            pytest.param(
                {"operation": "wallet.credit", "first_tried_at": 1780920000.0},
                TypeError,
                "first_tried_at must be a datetime, not float",
                id="number",
            ),
            pytest.param(
                {"operation": "wallet.credit", "first_tried_at": NOW.date()},
                TypeError,
                "first_tried_at must be a datetime, not date",
                id="date",
            ),
            pytest.param(
                {"operation": "wallet.credit", "first_tried_at": NOW, "now": datetime(2026, 6, 8)},  # noqa: DTZ001 -- what is refused
                ValueError,
                "now must have a time zone",
                id="naive now",
            ),
        ],
    )
    def test_bad_arguments(
        self, options: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        """A wrong argument is refused before anything is fulfilled."""
        with (
            pytest.raises(error, match=message),
            fulfil_once("iap", "r", on_conflict=print, **options),
        ):
            pytest.fail("nothing must be fulfilled")
