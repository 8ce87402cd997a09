"""Mark methods whose operation is deprecated in the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["deprecated"]

if TYPE_CHECKING:
    from typing_extensions import deprecated
else:
    # Type checkers have their own `typing_extensions`. At run time the mark does nothing: a
    # warning on each call would only fill the log of a server.
    def deprecated(message, /):
        """Return a decorator that leaves the method as it is."""
        return lambda method: method
