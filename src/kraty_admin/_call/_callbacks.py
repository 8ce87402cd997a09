"""Check the functions of the caller that the SDK calls and whose results it ignores."""

from __future__ import annotations

import inspect

__all__ = ["check_plain"]


def check_plain(name: str, value: object) -> None:
    """Check that a value can be called and returns nothing to await.

    Raises:
        TypeError: It cannot be called, or is a coroutine function. Its calls would be lost.
    """
    if not callable(value):
        raise TypeError(f"{name} must be callable, not a {type(value).__name__}")
    if _is_coroutine_function(value):
        raise TypeError(f"{name} must be a plain function: nothing would await its result")


def _is_coroutine_function(value: object) -> bool:
    """Return whether a call of this value returns a coroutine."""
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(
        getattr(value, "__call__", None)  # noqa: B004 -- an instance with an async __call__
    )
