"""Find parts of a contract that cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from document import RefError, is_array, is_object, look_up, misused, step

from .contract import Node, show
from .rules import ContractError

# Keywords of a schema that hold another one, a list of them, or a map of them.
ONE = (
    *("items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "not"),
    *("if", "then", "else", "contains", "propertyNames", "contentSchema"),
)
LISTS = ("allOf", "oneOf", "anyOf", "prefixItems")
MAPS = ("properties", "patternProperties", "dependentSchemas", "$defs")

Todo = tuple[Any, str, bool]
"""A value, its place, and whether it is a schema."""


def check(document: Node) -> None:
    """Check the references and schemas of the whole document.

    Raises:
        ContractError: A part cannot be read. The message names the place.
    """
    sound: set[str] = set()
    todo: list[Todo] = [(document, "#", False)]
    while todo:
        value, place, is_schema = todo.pop()
        if is_object(value):
            ref = value.get("$ref")
            if isinstance(ref, str):
                try:
                    _follow(document, ref, sound)
                except ContractError as error:
                    raise ContractError(f"{error}, at {place}") from None
            todo += _of_schema(value, place) if is_schema else _around(value, place)
        elif is_schema and not isinstance(value, bool):
            raise ContractError(f"expected an object where there is {_short(value)}, at {place}")
        elif is_array(value):
            todo += ((each, place + step(i), False) for i, each in enumerate(value))


def _follow(document: Node, ref: str, sound: set[str]) -> None:
    """Check that a reference has a target and does not lead back to itself."""
    chain: list[str] = []
    following: object = ref
    while isinstance(following, str) and following not in sound:
        if following in chain:
            raise ContractError(f"$ref {ref} leads back to itself")
        chain.append(following)
        try:
            target = look_up(document, following)
        except RefError as error:
            raise ContractError(str(error)) from None
        following = target.get("$ref") if is_object(target) else None
    sound.update(chain)


def _around(value: Node, place: str) -> Iterator[Todo]:
    for key, each in value.items():
        here = place + step(key)
        if key == "schemas" and place == "#/components" and is_object(each):
            yield from ((inner, here + step(name), True) for name, inner in each.items())
        elif key not in ("example", "examples") and not key.startswith("x-"):
            yield each, here, key == "schema"


def _of_schema(value: Node, place: str) -> Iterator[Todo]:
    for keyword in misused(value):
        problem = f"{keyword} cannot be {_short(value[keyword])}"
        raise ContractError(f"{problem}, at {place}")
    for key in value.keys() & {*ONE, *LISTS, *MAPS}:
        each, here = value[key], place + step(key)
        if key in ONE:
            yield each, here, True
        elif key in LISTS and is_array(each):
            yield from ((inner, here + step(i), True) for i, inner in enumerate(each))
        elif key in MAPS and is_object(each):
            yield from ((inner, here + step(name), True) for name, inner in each.items())


def _short(value: object) -> str:
    return show(value)[:60]
