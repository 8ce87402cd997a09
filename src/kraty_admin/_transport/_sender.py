"""The retry loop of a call, synchronous and asynchronous.

The exchange decides what to do next, and a channel performs each attempt.
"""

from __future__ import annotations

import logging
import sys
import time
from functools import partial
from typing import Final, Protocol, TypeVar

from .._call._exchange import Done, Exchange, Limits, Outcome, Sleep, Step
from ..errors import KratyError, describe
from ..telemetry import RequestHook, RequestInfo
from ._failures import forget_locals
from ._observer import ObservedCall, Observer

__all__ = ["AsyncChannel", "AsyncSender", "Channel", "Sender"]

T = TypeVar("T")

_log: Final = logging.getLogger("kraty_admin")


class Channel(Protocol):
    """Performs single attempts."""

    @property
    def is_closed(self) -> bool:
        """Whether the channel accepts no further attempts."""
        ...

    def attempt(self, exchange: Exchange[T], limits: Limits) -> Outcome:
        """Send the exchange's request once, and return the response or the failure.

        Exceptions that the caller's code raises propagate, and so does every BaseException
        that is not an Exception.
        """
        ...

    def close(self) -> None:
        """Close the idle connections now, and each busy one when its call ends."""
        ...


class AsyncChannel(Protocol):
    """Performs single attempts. The twin of `Channel`."""

    @property
    def is_closed(self) -> bool:
        """Whether the channel accepts no further attempts."""
        ...

    def claim_loop(self) -> None:
        """Bind this channel to the running event loop.

        Raises:
            KratyError: The channel belongs to another loop, or asyncio is not running.
        """
        ...

    async def attempt(self, exchange: Exchange[T], limits: Limits) -> Outcome:
        """Send the exchange's request once, and return the response or the failure."""
        ...

    async def aclose(self) -> None:
        """Close the idle connections now, and each busy one when its call ends."""
        ...


class Sender:
    """Performs exchanges, attempt by attempt."""

    def __init__(self, channel: Channel) -> None:
        self.channel: Final = channel
        self.observer: Observer | None = None
        """Observes all calls of this sender; instrumentation sets it."""

    def perform(
        self, exchange: Exchange[T], hook: RequestHook | None, call: ObservedCall | None = None
    ) -> T:
        observer = self.observer
        if call is None and observer is not None:
            report = partial(_report_interruption, exchange)
            with ObservedCall(observer, exchange, hook, report) as call:
                return self.perform(exchange, call.attempt_ended, call)
        step: Step[T] | None = None
        try:
            while True:
                limits = exchange.begin(time.monotonic(), time.time())
                if call is not None:
                    call.attempt_began()
                outcome = self.channel.attempt(exchange, limits)
                step = _advance(exchange, outcome, hook)
                if isinstance(step, Done):
                    return step.result
                if not isinstance(step, Sleep):
                    raise step.error
                time.sleep(step.seconds)
        except BaseException as error:
            if not _is_own(error, exchange):
                _report_foreign(exchange, error, hook)
            raise
        finally:
            # Otherwise an error would hold itself, over this frame, and the frames of the caller
            # until the garbage is collected.
            exchange.error = step = None


class AsyncSender:
    """Performs exchanges, attempt by attempt. The twin of `Sender`."""

    def __init__(self, channel: AsyncChannel) -> None:
        self.channel: Final = channel
        self.observer: Observer | None = None
        """Observes all calls of this sender; instrumentation sets it."""

    async def perform(
        self, exchange: Exchange[T], hook: RequestHook | None, call: ObservedCall | None = None
    ) -> T:
        observer = self.observer
        if call is None and observer is not None:
            report = partial(_report_interruption, exchange)
            with ObservedCall(observer, exchange, hook, report) as call:
                return await self.perform(exchange, call.attempt_ended, call)
        step: Step[T] | None = None
        try:
            while True:
                limits = exchange.begin(time.monotonic(), time.time())
                if call is not None:
                    call.attempt_began()
                outcome = await self.channel.attempt(exchange, limits)
                step = _advance(exchange, outcome, hook)
                if isinstance(step, Done):
                    return step.result
                if not isinstance(step, Sleep):
                    raise step.error
                import asyncio

                await asyncio.sleep(step.seconds)
        except BaseException as error:
            if not _is_own(error, exchange):
                _report_foreign(exchange, error, hook)
            raise
        finally:
            # Otherwise an error would hold itself, over this frame, and the frames of the caller
            # until the garbage is collected.
            exchange.error = step = None


def _is_own(error: BaseException, exchange: Exchange[T]) -> bool:
    """Return whether the SDK itself raised this error, and about this call.

    Otherwise it may still be a `KratyError`: a signal handler may make another call, and that
    call may fail.
    """
    if error is exchange.error:
        return True
    # The channel raises a plain one to say why it sent nothing.
    return type(error) is KratyError and not exchange.interrupt().ambiguous


def _report_foreign(exchange: Exchange[T], error: BaseException, hook: RequestHook | None) -> None:
    """Report a foreign exception. If it is the error of another call, raise this call's own."""
    _report_interruption(exchange, error, hook)
    if isinstance(error, KratyError):
        raise exchange.after_other_call(error) from error


def _report_interruption(
    exchange: Exchange[T], interruption: BaseException, hook: RequestHook | None = None
) -> None:
    """Add what is known about the call to a foreign exception that is about to end it.

    A foreign exception is a cancellation, a KeyboardInterrupt, or one that the caller's hooks,
    custom transports or signal handlers raise. The platform may have received the request, and
    only the SDK knows the idempotency key if it generated it.
    """
    forget_locals(interruption)
    call = exchange.interrupt()
    # Not with `setattr`: a class may reject unknown attributes.
    vars(interruption)["kraty_call"] = call
    if sys.version_info >= (3, 11):  # pragma: no branch: Python 3.10 has no notes
        interruption.add_note(f"while calling Kraty: {describe(call)}")
    info = exchange.describe_interruption(interruption, time.monotonic())
    if hook is not None and info is not None:
        _call_hook(hook, info)


def _advance(exchange: Exchange[T], outcome: Outcome, hook: RequestHook | None) -> Step[T]:
    """Decide what to do after an attempt, and report the attempt to the hook."""
    now = time.monotonic()
    step = exchange.advance(outcome, now=now, wall=time.time())
    if hook is not None:
        _call_hook(hook, exchange.describe(outcome, step, now))
    if isinstance(step, Sleep):
        _log.info("%s", exchange.describe_retry(step))
    return step


def _call_hook(hook: RequestHook, info: RequestInfo) -> None:
    try:
        hook(info)
    except Exception:
        # A failing hook must not fail the call.
        _log.exception("on_request raised an exception; the call continues")
