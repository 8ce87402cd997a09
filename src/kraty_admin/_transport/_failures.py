"""Exceptions of an attempt: whose code raised them, and removing the API key from them."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import TracebackType
from typing import Final, TypeVar

import httpx

from ..errors import KratyError

__all__ = ["as_of_httpx", "forget_locals", "is_network_failure", "without_frames"]

E = TypeVar("E", bound=Exception)

_STACK: Final = frozenset(
    {
        *("httpx", "httpcore", "httpx2", "httpcore2", "h11", "h2", "hpack", "hyperframe"),
        *("anyio", "asyncio", "uvloop", "sniffio", "trio", "gevent", "eventlet", "selectors"),
        *("socksio", "socket", "ssl", "truststore", "encodings", "idna", "zlib", "brotli"),
        *("concurrent", "threading"),
    }
)
"""Top-level packages that a request passes through, whether they are installed or not."""

_NOT_THE_CALLERS: Final = _STACK | sys.stdlib_module_names
"""The same, plus the standard library, which those packages call with parts of a request."""

_FAMILIES: Final = ("httpx", "httpcore", "httpx2", "httpcore2")
"""Packages whose exceptions report a network failure, whichever code raises them."""

_OURS: Final = __name__.rpartition(".")[0]


def is_network_failure(error: Exception, *, over_transport: bool = False) -> bool:
    """Return whether the HTTP stack raised this error, rather than the caller's code.

    The caller's code also runs within a call: hooks, custom transports and signal
    handlers. The module of the innermost frame tells them apart. An exception of the caller's
    own class is never a network failure, whatever the frame: gevent's timeouts, for example,
    raise it in the middle of the stack. The exceptions of httpx, httpcore and their forks
    always count as network failures, because custom transports and mocks raise them to report
    one.

    Args:
        error: The exception that was raised.
        over_transport: Whether it passed through the caller's transport, which may raise the
            exceptions of its sockets. Then any ConnectionError counts too, and any OSError
            whose class is Python's own. A plain TimeoutError is such an OSError, so a
            signal handler should raise its own class of exception.
    """
    if isinstance(error, KratyError):
        return False  # the caller's code made another call, and that call failed
    if any(kind.__module__ in _FAMILIES for kind in type(error).__mro__):
        return True
    if over_transport and isinstance(error, OSError) and _is_of_sockets(type(error)):
        return True
    traceback = error.__traceback__
    return (
        traceback is not None
        and _is_of(_NOT_THE_CALLERS, type(error).__module__)
        and _is_in(_STACK, _innermost(traceback))
    )


def _is_of_sockets(kind: type[OSError]) -> bool:
    return issubclass(kind, ConnectionError) or kind.__module__ in ("builtins", "socket", "ssl")


def _innermost(traceback: TracebackType) -> TracebackType:
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback


def _is_in(packages: frozenset[str], traceback: TracebackType) -> bool:
    return _is_of(packages, str(traceback.tb_frame.f_globals.get("__name__", "")))


def _is_of(packages: frozenset[str], module: str) -> bool:
    return module.partition(".")[0] in packages or module.startswith(_OURS)


def forget_locals(error: BaseException) -> None:
    """Clear the local variables in an exception's frames, except in the caller's code.

    They hold the request with the API key, and error trackers record local variables. The
    traceback itself stays as it is.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        traceback = one.__traceback__
        while traceback is not None:
            if _is_in(_NOT_THE_CALLERS, traceback):
                # A frame that still runs cannot be cleared. It is the sender's, without a key.
                with suppress(RuntimeError):
                    traceback.tb_frame.clear()
            traceback = traceback.tb_next


def as_of_httpx(error: Exception) -> Exception:
    """Convert an error of httpcore or httpx2 to httpx's class of the same name.

    Their classes do not inherit from httpx's. An error without such a class is returned as
    it is.
    """
    for kind in type(error).__mro__:
        same = getattr(httpx, kind.__name__, None)
        if (
            kind.__module__ in _FAMILIES
            and kind.__module__ != "httpx"
            and isinstance(same, type)
            and issubclass(same, (httpx.RequestError, httpx.InvalidURL))
        ):
            return same(str(error))
    return error


def without_frames(error: E) -> E:
    """Remove an exception's references to frames, because their locals hold the API key."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
