"""What went wrong in an attempt: whose exception it is, and what it must not keep."""

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
"""Top-level packages through which a request goes, installed or not."""

_NOT_THE_CALLERS: Final = _STACK | sys.stdlib_module_names
"""The same, and the standard library, which the stack calls with a request's parts."""

_FAMILIES: Final = ("httpx", "httpcore", "httpx2", "httpcore2")
"""Packages whose exceptions report a failure of the network, whichever code raises them."""

_OURS: Final = __name__.rpartition(".")[0]


def is_network_failure(error: Exception, *, over_transport: bool = False) -> bool:
    """Return whether the HTTP stack raised this, and not code of the caller's.

    Code of the caller's runs within a call too: hooks, custom transports and signal
    handlers. The module of the innermost frame distinguishes them. Only the exceptions of
    httpx and its kin count wherever they were raised, since raising them is how a custom
    transport or a mock reports a failure.

    Args:
        error: What was raised.
        over_transport: Whether it passed through a transport of the caller's, which may
            let the exceptions of its sockets out. Those of Python's classes and any
            ConnectionError then count too. A plain TimeoutError is one of them, so a
            signal handler should raise its own class of exception. A KratyError counts as
            well: code of the caller's made another call, which failed.
    """
    if isinstance(error, KratyError):
        return over_transport
    if any(kind.__module__ in _FAMILIES for kind in type(error).__mro__):
        return True
    if over_transport and isinstance(error, OSError) and _is_of_sockets(type(error)):
        return True
    traceback = error.__traceback__
    return traceback is not None and _is_in(_STACK, _innermost(traceback))


def _is_of_sockets(kind: type[OSError]) -> bool:
    return issubclass(kind, ConnectionError) or kind.__module__ in ("builtins", "socket", "ssl")


def _innermost(traceback: TracebackType) -> TracebackType:
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback


def _is_in(packages: frozenset[str], traceback: TracebackType) -> bool:
    module = str(traceback.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in packages or module.startswith(_OURS)


def forget_locals(error: BaseException) -> None:
    """Clear the local variables of the stack's frames that an exception keeps.

    They hold the request as it is sent, with the API key, and error trackers record local
    variables. Frames of the caller's code stay as they are, and so does the traceback.
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
                # Those that still run are the sender's own, which hold no key.
                with suppress(RuntimeError):
                    traceback.tb_frame.clear()
            traceback = traceback.tb_next


def as_of_httpx(error: Exception) -> Exception:
    """Return the same error as an exception of httpx; itself if httpx has no such class.

    httpcore and httpx2 have classes of the same names, which do not inherit from httpx's.
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
    """Remove from an exception what refers to frames, whose locals hold the API key."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
