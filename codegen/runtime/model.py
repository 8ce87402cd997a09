"""Results: dicts as the server sent them, with typed properties and details of the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

__all__ = ["Model", "ResponseInfo", "attach", "whole_schema"]

T = TypeVar("T")
M = TypeVar("M", bound="Model")


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
    """The key that every attempt sent; `None` if the call has none, such as a read."""


class Model(dict[str, Any]):
    """A JSON object: the dict as the server sent it, with typed and documented properties.

    Properties decode their value when they are read, so a missing or unknown field never
    makes a call fail. Reading a required field that is missing or null raises
    `AttributeError`. Reading a time that cannot be parsed raises `ValueError`.

    Reading never changes the dict. It holds only plain JSON values, so a strict serialiser
    accepts `dict(result)`. A property that returns models makes new ones on each read, as
    shallow copies. So change a result by key: after `grant["contents"]["note"] = "seen"`, the
    note is in `grant.contents`. But `grant.contents["note"] = "seen"` changes only a copy.
    """

    _http: ResponseInfo | None = None
    _replayed: bool | None = None

    @property
    def http(self) -> ResponseInfo:
        """Status, headers, request id, attempts and key of the call that returned this.

        Raises:
            AttributeError: No call returned this: it is a part of a result, or you made it.
        """
        if self._http is None:
            raise AttributeError(f"this {type(self).__name__} is not the result of a call")
        return self._http

    @property
    def replayed(self) -> bool | None:
        """Whether an earlier call with the same idempotency key had taken effect already.

        `None` if that is unknown. Either the answer does not show it, or an earlier attempt of
        this same call got no definite answer, and may be the one that took effect.
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
        # Not cached: a separate cache would miss changes by key, and decoded values in the dict
        # would no longer be plain JSON.
        try:
            return decode(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{type(self).__name__}: {key!r}: {error}") from None

    @classmethod
    def _json_schema(cls) -> dict[str, Any]:
        """Return the contract's JSON Schema of this object."""
        return {"type": "object"}

    # Pydantic 2 calls these two methods, so a model can be the return type of a FastAPI route or
    # a field of a pydantic model. They accept whatever the server sent: if a new field or value
    # made an answer invalid, the caller would not learn that money has moved.

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls._from_object,
            # With its own ref, an OpenAPI document lists the model once, by its name.
            ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}",
            serialization=core_schema.plain_serializer_function_ser_schema(dict),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return cls._json_schema()

    @classmethod
    def _from_object(cls: type[M], value: object) -> M:
        if isinstance(value, cls):
            return value
        if isinstance(value, dict):
            return cls(cast("dict[str, Any]", value))
        raise ValueError(f"a {cls.__name__} is an object, not {type(value).__name__}")


def whole_schema(
    name: str, schemas: Mapping[str, dict[str, Any]], inside: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return a new JSON Schema of a model, with the schemas of inner models inlined.

    Args:
        name: The model.
        schemas: All models' schemas. A `$ref` holds the name of another model.
        inside: The models around this one. A model inside itself becomes a plain object.
    """

    def copied(value: Any) -> Any:
        if isinstance(value, list):
            return [copied(each) for each in cast("list[object]", value)]
        if not isinstance(value, dict):
            return value
        found = {key: copied(each) for key, each in cast("dict[str, Any]", value).items()}
        ref = found.get("$ref")
        if not isinstance(ref, str):  # a field may have this name
            return found
        del found["$ref"]
        return whole_schema(ref, schemas, inside | {name}) | found

    if name in inside:
        return {"type": "object", "title": name}
    return {"title": name, **copied(schemas[name])}


def attach(model: Model, http: ResponseInfo, replayed: bool | None) -> None:
    """Attach details of the call to its result, outside the dict."""
    model._attach(http, replayed)  # pyright: ignore[reportPrivateUsage]  # wire names rule out a public method
