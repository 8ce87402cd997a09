"""Notify instrumentation of the start and the end of calls and of attempts.

`on_request` reports an attempt when it has ended, which is enough for logs and counters.
A span also needs the start, because it has to be current in between. An observer belongs to
a sender, which a client shares with those that its `with_options` returns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Protocol

from .._call._exchange import Exchange
from ..telemetry import RequestHook, RequestInfo

__all__ = ["CallObserver", "ObservedCall", "Observer"]

_log: Final = logging.getLogger("kraty_admin")


class CallObserver(Protocol):
    """Observes one call. All its methods run in the thread or task that makes the call."""

    def attempt_began(self) -> None:
        """An attempt is about to be made."""
        ...

    def attempt_ended(self, info: RequestInfo) -> None:
        """The attempt has an answer, has failed or was interrupted."""
        ...

    def call_ended(self, error: BaseException | None) -> None:
        """The call returns, or raises this error; no attempt is in progress."""
        ...


class Observer(Protocol):
    """Observes the calls of a sender."""

    def call_began(self, exchange: Exchange[Any]) -> CallObserver:
        """Return an observer for this call, before its first attempt."""
        ...


class ObservedCall:
    """Notifies an observer of one call, and logs any exception that the observer raises.

    Such an exception must not fail the call, which may have paid out by then.

    Args:
        observer: The observer.
        exchange: The call.
        hook: The client's hook.
        interrupted: Called with an interruption, such as a KeyboardInterrupt, that arrives while
            the observer is notified of the end. The call's result or error is lost then.
    """

    def __init__(
        self,
        observer: Observer,
        exchange: Exchange[Any],
        hook: RequestHook | None,
        interrupted: Callable[[BaseException], None],
    ) -> None:
        self._observer = observer
        self._exchange = exchange
        self._hook = hook
        self._interrupted = interrupted
        self._call: CallObserver | None = None

    def __enter__(self) -> ObservedCall:
        try:
            self._call = self._observer.call_began(self._exchange)
        except Exception:
            _log.exception("instrumentation raised an exception; the call continues without it")
        return self

    def attempt_began(self) -> None:
        """Notify the observer before an attempt."""
        if self._call is not None:
            _notify(self._call.attempt_began)

    def attempt_ended(self, info: RequestInfo) -> None:
        """Call the client's hook, then notify the observer. The sender uses this as its hook."""
        try:
            if self._hook is not None:
                self._hook(info)
        finally:
            # After the hook, so that what the hook logs belongs to the attempt's span.
            if self._call is not None:
                _notify(self._call.attempt_ended, info)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._call is None:
            return
        try:
            _notify(self._call.call_ended, exc)
        except BaseException as interruption:
            self._interrupted(interruption)
            raise


def _notify(method: Callable[..., None], *arguments: object) -> None:
    try:
        method(*arguments)
    except Exception:
        _log.exception("instrumentation raised an exception; the call continues")
