"""Faults: which call fails, when, and how. No I/O.

A fault happens before the commit or after it. Before the commit, the call has no effect. After
it, the call has its effect, but the caller does not learn of it. Faults that only delay or
change an answer never prevent the effect: no client could detect an answer that wrongly reports
success.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, Literal, get_args

import attrs

from kraty_server_api.operations import NAMES

from ._checks import bounded, of_type, one_of

__all__ = ["WEBHOOK", "Chaos", "Fault", "FaultKind", "FaultRule", "Faults", "Moment"]

FaultKind = Literal[
    "status",
    "drop",
    "reset",
    "stall",
    "truncate",
    "invalid_json",
    "content_type",
    "drip",
    "delay",
]
"""The kind of a fault.

- `status`: an answer with another status, such as 503, in an envelope or as HTML
- `drop`: the connection is closed without an answer
- `reset`: the connection is reset, as if the host had crashed
- `stall`: nothing is sent for `seconds`; then the connection is closed
- `truncate`: the connection is closed in the middle of the answer's body
- `invalid_json`: a complete response whose JSON is cut off
- `content_type`: the answer, with a content type other than JSON
- `drip`: the answer, head and body, sent in small pieces over `seconds`
- `delay`: the answer, `seconds` late. Before the commit, the commit is late as well, and may
  happen after the caller has given up
"""

Moment = Literal["before", "after"]

WEBHOOK: Final = "webhook"
"""The name for the delivery of a webhook, in place of an operation."""

_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
_OF_ANSWERS: Final = frozenset({"content_type", "drip"})
_OF_DELIVERIES: Final = frozenset({"drop", "delay"})
_TARGETS: Final = frozenset({*NAMES.values(), WEBHOOK})

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[ \t!-~\x80-\xff]*")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})

_CODES: Final[Mapping[int, str]] = {
    400: "validation_failed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    429: "rate_limited",
}


@attrs.frozen
class Fault:
    """One thing that goes wrong, once.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field is out of range, or the fields contradict each other.
    """

    kind: FaultKind = attrs.field(validator=one_of(*_KINDS))
    """What goes wrong."""
    when: Moment = attrs.field(default="after", validator=one_of(*get_args(Moment)), kw_only=True)
    """Whether it happens before the call is committed, or after."""
    status: int = attrs.field(
        default=503, validator=[of_type(int), bounded(400, 599)], kw_only=True
    )
    """For `status`: the HTTP status, from 400 to 599."""
    code: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(of_type(str)), kw_only=True
    )
    """For `status`: the error's code. Default: the usual code of the status."""
    html: bool = attrs.field(default=False, validator=of_type(bool), kw_only=True)
    """For `status`: whether the answer is an HTML page, as proxies send them."""
    headers: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        validator=[
            of_type(Mapping),
            attrs.validators.deep_mapping(of_type(str), of_type(str)),
        ],
        kw_only=True,
    )
    """For `status`: headers of the answer, such as `Retry-After`."""
    seconds: float = attrs.field(default=1.0, validator=bounded(0, 3600), kw_only=True)
    """For `stall`, `drip` and `delay`: how long, from 0 to 3600."""

    def __attrs_post_init__(self) -> None:
        if self.when == "before" and self.kind in _OF_ANSWERS:
            raise ValueError(f"a {self.kind} changes the answer, so it must be after the commit")
        for name, value in self.headers.items():
            _check_header(name, value)

    @property
    def name(self) -> str:
        """The kind and the moment, such as `drop, after the commit`."""
        kind = f"{self.kind} {self.status}" if self.kind == "status" else self.kind
        return f"{kind}, {self.when} the commit"

    @property
    def prevents(self) -> bool:
        """Whether the call has no effect."""
        return self.when == "before" and self.kind != "delay"

    @property
    def error_code(self) -> str:
        """For `status`: the error's code in the answer."""
        return self.code or _CODES.get(self.status, "internal_error")


@attrs.define(kw_only=True)
class FaultRule:
    """Faults for future calls, one for each call, in order."""

    faults: Sequence[Fault | None]
    """The faults; `None` lets a call pass."""
    operation: str | None
    """The operation whose calls fail, such as `wallet.credit`; `None` for all."""
    skip: int = attrs.field(validator=of_type(int))
    """How many such calls still pass before the first fault."""
    times: int | None = attrs.field(validator=attrs.validators.optional(of_type(int)))
    """How often to go through the faults; `None` for no limit."""
    drawn: int = 0
    """How many of the faults have been drawn."""

    @property
    def is_over(self) -> bool:
        """Whether the rule has no faults left."""
        return self.times is not None and self.drawn >= len(self.faults) * self.times

    def skips(self) -> bool:
        """Count a call that the rule is for, and return whether the rule lets it pass."""
        if self.skip == 0:
            return False
        self.skip -= 1
        return True

    def next(self) -> Fault | None:
        """Return the fault of the next call that the rule is for."""
        self.drawn += 1
        return self.faults[(self.drawn - 1) % len(self.faults)]


@attrs.define(kw_only=True)
class Chaos:
    """Faults at random."""

    rate: float = attrs.field(validator=bounded(0, 1))
    """The share of calls that fail, from 0 to 1."""
    seed: int = attrs.field(default=0, validator=of_type(int))
    """The same seed and order of calls give the same faults."""
    after: float = attrs.field(default=0.5, validator=bounded(0, 1))
    """The share of faults that come after the commit, from 0 to 1."""
    seconds: float = attrs.field(default=0.05, validator=bounded(0, 3600))
    """How long a stall, a drip or a delay takes, in seconds from 0 to 3600."""
    _random: Random = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311  # faults of a test are not secret

    def draw(self, *, for_delivery: bool) -> Fault | None:
        """Choose the fault of a call; `None` for no fault."""
        if self._random.random() >= self.rate:
            return None
        when: Moment = "after" if self._random.random() < self.after else "before"
        choices = _delivery_faults if for_delivery else _call_faults
        return self._random.choice(choices(when, self.seconds))


def _delivery_faults(when: Moment, seconds: float) -> list[Fault]:
    return [Fault("drop", when=when), Fault("delay", when=when, seconds=seconds)]


def _call_faults(when: Moment, seconds: float) -> list[Fault]:
    """List all faults, some in several variants."""
    faults = [
        Fault("status", when=when, status=500),
        Fault("status", when=when, status=502, html=True),
        Fault("status", when=when, status=503),
        Fault("status", when=when, status=503, headers={"Retry-After": "0"}),
        Fault("drop", when=when),
        Fault("reset", when=when),
        Fault("stall", when=when, seconds=seconds),
        Fault("truncate", when=when),
        Fault("invalid_json", when=when),
        Fault("delay", when=when, seconds=seconds),
    ]
    if when == "after":
        return [*faults, Fault("content_type"), Fault("drip", seconds=seconds)]
    # Only before the commit, because a request that the rate limit rejects has no effect.
    waits = ("0", "0.01", "Thu, 01 Jan 1970 00:00:00 GMT", "-1", "soon", "NaN")
    refusals = [Fault("status", when=when, status=429, headers=_limited(wait)) for wait in waits]
    return [*faults, *refusals]


def _limited(wait: str) -> dict[str, str]:
    # If a client cannot read the wait, it uses the reset, which asks for no wait either.
    return {"Retry-After": wait, "RateLimit-Remaining": "0", "RateLimit-Reset": "0"}


class Faults:
    """The faults of future calls. Any thread may use it.

    Args:
        on_change: Called after faults were added or removed.
    """

    def __init__(self, *, on_change: Callable[[], object] = lambda: None) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._rules: list[FaultRule] = []
        self._chaos: dict[str | None, Chaos] = {}
        self._struck: Counter[str] = Counter()

    def add(
        self,
        *faults: Fault | None,
        operation: str | None = None,
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        """Set the faults of the next calls, one for each call, in order.

        Rules apply in the order in which they were added. Each call gets at most one rule.

        Args:
            faults: The faults; `None` lets a call pass.
            operation: The operation whose calls fail, such as `wallet.credit`, or `webhook`
                for the delivery of webhooks, which can only be dropped or delayed. Default:
                any call of the API.
            skip: How many of these calls pass first.
            times: How often to go through the faults; `None` to repeat them until `clear`.

        Raises:
            TypeError, ValueError: An argument is invalid.
        """
        if not faults:
            raise ValueError("there is no fault to add")
        if skip < 0 or (times is not None and times < 1):
            raise ValueError("skip must be at least 0 and times at least 1")
        _check_target(operation)
        if operation == WEBHOOK:
            for fault in faults:
                if fault is not None and fault.kind not in _OF_DELIVERIES:
                    raise ValueError(f"a delivery can be dropped or delayed, not {fault.kind}")
        rule = FaultRule(faults=faults, operation=operation, skip=skip, times=times)
        with self._lock:
            self._rules.append(rule)
        self._on_change()

    def chaos(
        self,
        rate: float,
        *,
        seed: int = 0,
        after: float = 0.5,
        seconds: float = 0.05,
        operation: str | None = None,
    ) -> None:
        """Make calls without a matching rule fail at random, with every kind of fault.

        Args:
            rate: The share of calls that fail, from 0 to 1.
            seed: The same seed and the same order of calls give the same faults.
            after: The share of faults that come after the commit, from 0 to 1.
            seconds: How long a stall, a drip or a delay takes, from 0 to 3600.
            operation: The operation whose calls fail, as for `add`. Default: any call of the
                API.

        Raises:
            TypeError, ValueError: An argument is invalid.
        """
        _check_target(operation)
        chaos = Chaos(rate=rate, seed=seed, after=after, seconds=seconds)
        with self._lock:
            self._chaos[operation] = chaos
        self._on_change()

    def clear(self) -> None:
        """Remove all faults. Those that have happened are still counted."""
        with self._lock:
            self._rules.clear()
            self._chaos.clear()
        self._on_change()

    def reset(self) -> None:
        """Remove all faults, and the counts of those that have happened."""
        self.clear()
        with self._lock:
            self._struck.clear()

    @property
    def rules(self) -> list[FaultRule]:
        """The rules that still have faults."""
        with self._lock:
            return [attrs.evolve(rule) for rule in self._rules]

    @property
    def chaos_rates(self) -> dict[str | None, float]:
        """The shares of calls that fail because of `chaos`, by operation; `None` is any call."""
        with self._lock:
            return {operation: chaos.rate for operation, chaos in self._chaos.items()}

    @property
    def struck(self) -> Counter[str]:
        """How often each fault has happened, by `Fault.name`."""
        with self._lock:
            return Counter(self._struck)

    def draw(self, operation: str | None) -> Fault | None:
        """Return the fault of this call, and count it.

        Args:
            operation: The operation of the call; `None` for a path that does not exist.
        """
        with self._lock:
            fault = self._draw(operation)
            if fault is not None:
                self._struck[fault.name] += 1
            return fault

    def _draw(self, operation: str | None) -> Fault | None:
        for rule in self._rules:
            if _concerns(rule.operation, operation) and not rule.skips():
                fault = rule.next()
                if rule.is_over:
                    self._rules.remove(rule)
                return fault
        for target in (operation, None):
            if target in self._chaos and _concerns(target, operation):
                return self._chaos[target].draw(for_delivery=operation == WEBHOOK)
        return None


def _concerns(target: str | None, operation: str | None) -> bool:
    return operation != WEBHOOK if target is None else target == operation


def _check_header(name: str, value: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"headers: {name!r} is not the name of a header")
    if name.lower() in _FRAMING:
        raise ValueError(f"headers: {name} cannot be set, because it frames the answer")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"headers: {name} has a character that is not allowed in a header")


def _check_target(operation: str | None) -> None:
    if operation is not None and operation not in _TARGETS:
        known = ", ".join(sorted(_TARGETS))
        raise ValueError(f"there is no operation {operation}; known are {known}")
