"""The error if the extra `kraty-admin[emulator]` is not installed."""

from __future__ import annotations

from typing import Final

__all__ = ["MissingExtraError"]

_PACKAGES: Final = frozenset({"cattrs", "jsonschema_rs", "uvicorn"})
"""The packages of the extra, by the names under which they are imported."""


class MissingExtraError(ModuleNotFoundError):
    """A package that the emulator needs is not installed."""

    @classmethod
    def of(cls, missing: ModuleNotFoundError) -> ModuleNotFoundError:
        """Return an error that names the extra, if the missing package belongs to it.

        Any other error is returned as it is.
        """
        package = (missing.name or "").partition(".")[0]
        if package not in _PACKAGES:
            return missing
        return cls(
            f"kraty_admin.emulator needs {package}: pip install 'kraty-admin[emulator]'",
            name=package,
        )
