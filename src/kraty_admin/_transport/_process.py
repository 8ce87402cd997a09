"""Which process and event loop this is, and what belongs to one process alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ..errors import KratyError

if TYPE_CHECKING:
    import asyncio

__all__ = ["PerProcess", "running_loop", "this_process"]

T = TypeVar("T")


class _Descent:
    """How many forks lie between the first process and this one."""

    def __init__(self) -> None:
        self.forks = 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.forks += 1


_descent: Final = _Descent()


def this_process() -> tuple[int, int]:
    """Identify this process across forks.

    The process id alone is not enough: the first process of a container and its child in
    its own container both have number 1.
    """
    return os.getpid(), _descent.forks


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of the code that calls this.

    Raises:
        KratyError: No event loop of asyncio is running, as under trio.
    """
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise KratyError("KratyAdminAsync runs on asyncio, and here no asyncio loop runs") from None


class PerProcess(Generic[T]):
    """A value that each process makes for itself when it first needs it.

    A fork that used its parent's connections would receive the parent's responses.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        # Without a lock, which a fork could inherit from a thread that holds it. The
        # parent's value is kept, not closed: the parent still uses it.
        self._each: dict[tuple[int, int], T] = {}

    def get(self) -> T:
        """Return this process's value; make it if necessary."""
        mine = self._each.get(this_process())
        return self._each.setdefault(this_process(), self._make()) if mine is None else mine

    def peek(self) -> T | None:
        """Return this process's value; `None` if there is none yet."""
        return self._each.get(this_process())
