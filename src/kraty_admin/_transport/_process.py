"""Identify the current process and event loop, and keep a separate value per process."""

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
    """Counts the forks between the first process and this one."""

    def __init__(self) -> None:
        self.forks = 0
        if hasattr(os, "register_at_fork"):  # pragma: no branch: Windows does not fork
            os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.forks += 1


_descent: Final = _Descent()


def this_process() -> tuple[int, int]:
    """Identify this process across forks.

    The process id alone is not enough: a process and its child both have id 1 if each is the
    first process of its container.
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
        raise KratyError(
            "KratyAdminAsync needs asyncio, but no event loop of asyncio is running here"
        ) from None


class PerProcess(Generic[T]):
    """A value that each process creates for itself on first use, such as its connections.

    A child process that used its parent's connections could receive the parent's responses.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        # No lock, because a fork could inherit one that another thread holds. The parent's
        # value is kept, not closed: the parent still uses it.
        self._each: dict[tuple[int, int], T] = {}

    def get(self) -> T:
        """Return this process's value; create it if there is none yet."""
        mine = self._each.get(this_process())
        return self._each.setdefault(this_process(), self._make()) if mine is None else mine

    def peek(self) -> T | None:
        """Return this process's value; `None` if there is none yet."""
        return self._each.get(this_process())
