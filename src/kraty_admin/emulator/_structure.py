"""Convert JSON to attrs classes, with errors that name the member."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import attrs
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn
from dateutil import parser

from kraty_server_api.decoding import is_array, is_object

from ._json import no_constant

__all__ = ["parse_json", "structure"]

T = TypeVar("T")

_NAMES: Final[Sequence[tuple[type | tuple[type, ...], str]]] = (
    (bool, "a boolean"),
    ((int, float), "a number"),
    (str, "a string"),
    (list, "an array"),
)

_converter: Final = Converter()


def parse_json(raw: bytes) -> Any:
    """Parse JSON strictly.

    Raises:
        ValueError: It is not JSON, an object has a duplicate member, or it is nested too deeply.
    """
    try:
        return json.loads(raw, object_pairs_hook=_object, parse_constant=no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def structure(value: Any, kind: type[T], where: str) -> T:
    """Build an attrs instance from parsed JSON.

    Args:
        where: The name of the value, for messages.

    Raises:
        ValueError: A member is invalid. The message names each invalid member.
    """
    try:
        return _converter.structure(value, kind)
    except (BaseValidationError, OverflowError, TypeError, ValueError) as error:
        parts = (text.rpartition(" @ ") for text in transform_error(error, where, _message))
        raise ValueError("; ".join(f"{path}: {message}" for message, _, path in parts)) from None


def _message(error: BaseException, kind: type | None) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        known = ", ".join(field.name for field in attrs.fields(error.cl) if field.init)
        unknown = ", ".join(sorted(map(repr, error.extra_fields)))
        return f"has no member {unknown}; it may have {known}"
    return "is missing" if isinstance(error, KeyError) else str(error)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the member {twice!r} twice")
    return members


def _exactly(name: str, *kinds: type) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if type(value) not in kinds:
            raise TypeError(f"must be {name}, not {_named(value)}")
        return value

    return hook


def _moment(value: Any, _: Any) -> datetime:
    if not isinstance(value, str):
        raise TypeError(f"must be a time such as '2026-06-08T12:00:00Z', not {_named(value)}")
    try:
        return parser.isoparse(value)
    except (OverflowError, ValueError):
        raise ValueError(f"must be a time such as '2026-06-08T12:00:00Z', not {value!r}") from None


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _literal_hook(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    # The class checks which strings are allowed, with a better message.
    return _exactly("a string", str)


def _is_sequence(kind: Any) -> bool:
    return get_origin(kind) is Sequence


def _sequence_hook(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    members: Any = list[get_args(kind)[0]]  # type: ignore[misc]  # a type that is known at run time

    def hook(value: Any, _: Any) -> Any:
        if not is_array(value):
            raise TypeError(f"must be an array, not {_named(value)}")
        return tuple(converter.structure(value, members))

    return hook


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is Mapping


def _mapping_hook(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    members: Any = dict[get_args(kind)]  # type: ignore[misc]  # a type that is known at run time

    def hook(value: Any, _: Any) -> Any:
        return converter.structure(_an_object(value), members)

    return hook


def _class_hook(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    build = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

    def hook(value: Any, _: Any) -> Any:
        return build(_an_object(value), kind)

    return hook


def _an_object(value: Any) -> Mapping[str, Any]:
    if not is_object(value):
        raise TypeError(f"must be an object, not {_named(value)}")
    return value


def _named(value: object) -> str:
    """Return the JSON name of a value's type. The value itself may be long or secret."""
    for kind, name in _NAMES:
        if isinstance(value, kind):
            return name
    return "null" if value is None else "an object"


_converter.register_structure_hook(str, _exactly("a string", str))
_converter.register_structure_hook(bool, _exactly("a boolean", bool))
_converter.register_structure_hook(int, _exactly("a whole number", int))
_converter.register_structure_hook(float, _exactly("a number", int, float))
_converter.register_structure_hook(datetime, _moment)
_converter.register_structure_hook_factory(_is_literal, _literal_hook)
_converter.register_structure_hook_factory(_is_sequence, _sequence_hook)
_converter.register_structure_hook_factory(_is_mapping, _mapping_hook)
_converter.register_structure_hook_factory(attrs.has, _class_hook)
