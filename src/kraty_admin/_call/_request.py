"""The operation behind `kraty.request`, which calls an endpoint that has no method."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import httpx

from kraty_server_api.decoding import is_object
from kraty_server_api.model import Model
from kraty_server_api.operation import LONGEST_PATH, Operation

from ._idempotency import KEY_FIELD

__all__ = ["Query", "raw_operation"]

Query: TypeAlias = Mapping[str, str | int | float | bool | None]
"""Query parameters; those that are `None` are left out."""

_PATH: Final = r"/[!-~]*"


def raw_operation(
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    query: Query | None,
    idempotency_key: str | None,
) -> Operation[Any]:
    """Describe a call to an endpoint that has no method; the arguments are those of `request`.

    Raises:
        TypeError, ValueError: An argument is invalid.
    """
    from kraty_server_api import checks  # most programs never need it

    verb = checks.one_of("method", method, ("GET", "POST", "PUT", "PATCH", "DELETE"))
    target = checks.string("path", path, max_length=LONGEST_PATH)
    if not re.fullmatch(_PATH, target) or "?" in target or "#" in target or "//" in target:
        raise ValueError(
            "path must begin with / and be percent-encoded, without a query, a fragment or //"
        )
    if any(unquote(segment) in (".", "..") for segment in target.split("/")):
        raise ValueError("path must not contain a . or .. segment")
    wire: dict[str, Any] | None = None
    if body is not None:
        if verb in ("GET", "DELETE"):
            raise ValueError(f"body must be left out for {verb}")
        wire = dict(checks.mapping("body", body))
    if idempotency_key is not None:
        if verb in ("GET", "DELETE"):
            raise ValueError(f"idempotency_key must be left out for {verb}")
        key = checks.string("idempotency_key", idempotency_key, min_length=1)
        if wire is not None and wire.get(KEY_FIELD, key) != key:
            raise ValueError("idempotency_key differs from the body's idempotencyKey")
        wire = {**(wire or {}), KEY_FIELD: key}
    return Operation(
        name=f"request {verb} {path}",
        method=str(verb),
        path=httpx.URL(target).raw_path.decode("ascii") + _query(query),
        body=wire,
        result=_unwrapped,
        enveloped=False,
        may_be_empty=True,
    )


def _query(query: Query | None) -> str:
    from kraty_server_api import checks

    if query is None:
        return ""
    for name, value in checks.mapping("query", query).items():
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
            raise TypeError(f"query must have names of type str, not {type(name).__name__}")
        if value is not None:
            checks.scalar(f"query's {name}", value)
    return checks.query(query)


def _unwrapped(payload: dict[str, Any]) -> Any:
    data = payload["data"] if payload.keys() == {"data"} else payload
    return Model(data) if is_object(data) else data
