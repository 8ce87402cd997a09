"""The mark of methods whose operation the contract deprecates."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["deprecated"]

if TYPE_CHECKING:
    from typing_extensions import deprecated
else:
    # Type checkers bring their own `typing_extensions`. At run time nothing is needed, since a
    # warning on each call of a server would only fill its log.
    def deprecated(message, /):
        """Return a decorator that leaves the method as it is."""
        return lambda method: method
