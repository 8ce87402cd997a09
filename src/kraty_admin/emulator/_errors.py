"""Errors of the API, and their envelope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

__all__ = ["STATUS", "EmulatedError", "Problem", "idempotency_conflict", "invalid"]

STATUS: Final[Mapping[str, int]] = {
    "unauthenticated": 401,
    "session_invalid": 401,
    "forbidden": 403,
    "tenant_mismatch": 403,
    "player_banned": 403,
    "not_found": 404,
    "validation_failed": 400,
    "invalid_metric": 400,
    "unknown_item": 400,
    "score_not_supported": 400,
    "conflict": 409,
    "idempotency_conflict": 409,
    "event_disabled": 409,
    "rate_limited": 429,
    "internal_error": 500,
}
"""The status of each code, unless the operation uses another."""


class Problem(TypedDict):
    """A part of a request that violates the contract."""

    path: str
    message: str


class EmulatedError(Exception):
    """Rejects a request. If it is raised inside a transaction, the transaction is rolled back."""

    def __init__(
        self,
        code: str,
        message: str,
        details: Any = None,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        """One of the contract's codes."""
        self.message = message
        """The message, for people."""
        self.details = details
        """Details, as JSON; `None` for none."""
        self.status = STATUS[code] if status is None else status
        """The HTTP status."""
        self.headers: Mapping[str, str] = {} if headers is None else headers
        """Headers of this error only, such as `Retry-After`."""

    def envelope(self) -> dict[str, Any]:
        """Return the body of the answer."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"error": error}


def invalid(problems: Sequence[Problem]) -> EmulatedError:
    """Return the error for a request that violates the contract."""
    shown = [f"{each['path']}: {each['message']}".lstrip(": ") for each in problems[:3]]
    if len(problems) > len(shown):
        shown.append("...")
    return EmulatedError("validation_failed", "; ".join(shown), {"fields": list(problems)})


def idempotency_conflict(key: str) -> EmulatedError:
    """Return the error for a key that was used for another request."""
    return EmulatedError(
        "idempotency_conflict", f"The idempotency key {key} was used for another request."
    )
