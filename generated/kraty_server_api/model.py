# Copied by `make regen` from codegen/runtime/model.py.
# Do not edit: change that file instead.
"""Results: dicts as the server sent them, with typed properties and details of the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

__all__ = ["Model", "ResponseInfo", "attach"]

T = TypeVar("T")


class ResponseInfo(NamedTuple):
    """The HTTP details of a result."""

    status: int
    """The HTTP status."""
    headers: Mapping[str, str]
    """The answer's headers, with names in lower case."""
    request_id: str | None
    """The server's id of the answer, if it sent one."""
    attempts: int
    """How many attempts the call took."""
    idempotency_key: str | None
    """The key that every attempt sent; `None` for a read."""


class Model(dict[str, Any]):
    """A JSON object: the dict as the server sent it, with typed and documented properties.

    Properties decode their value when they are read, so a missing or unknown field never
    makes a call fail. Reading a required field that is missing or null raises
    `AttributeError`.

    Reading never changes the dict. It holds only plain JSON values, so a strict serialiser
    accepts `dict(result)`. A property that returns models makes new ones on each read, as
    shallow copies. So change a result by key: `grant["contents"]["note"] = "seen"` shows in
    `grant.contents`, but `grant.contents["note"] = "seen"` changes only the copy.
    """

    _http: ResponseInfo | None = None
    _replayed: bool | None = None

    @property
    def http(self) -> ResponseInfo:
        """Status, headers, request id, attempts and key of the call that returned this."""
        if self._http is None:
            raise AttributeError(f"this {type(self).__name__} is not the result of a call")
        return self._http

    @property
    def replayed(self) -> bool | None:
        """Whether an earlier call with the same idempotency key had taken effect already.

        `None` if that is unknown: the response does not say, or an earlier attempt of this
        same call got no clear answer and may have been the one that took effect.
        """
        return self._replayed

    def _attach(self, http: ResponseInfo, replayed: bool | None) -> None:
        self._http = http
        self._replayed = replayed

    def _read(self, key: str, decode: Callable[[Any], T]) -> T:
        value = self.get(key)
        if value is None:
            what = "is null" if key in self else "is missing"
            raise AttributeError(f"{type(self).__name__}: {key!r} {what} in the server's answer")
        return self._decode(key, value, decode)

    def _read_optional(self, key: str, decode: Callable[[Any], T]) -> T | None:
        value = self.get(key)
        return None if value is None else self._decode(key, value, decode)

    def _decode(self, key: str, value: object, decode: Callable[[Any], T]) -> T:
        # Not cached: a cache beside the dict would miss changes by key, and decoded values in
        # the dict would change it for its other readers.
        try:
            return decode(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{type(self).__name__}: {key!r}: {error}") from None


def attach(model: Model, http: ResponseInfo, replayed: bool | None) -> None:
    """Attach details of the call to its result, outside the dict."""
    model._attach(http, replayed)  # pyright: ignore[reportPrivateUsage]  # wire names rule out a public method
