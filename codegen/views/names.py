"""Turn wire names into Python names."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable
from typing import Final

# Names that annotations in the generated modules use. A function, class or argument with such
# a name would change their meaning.
TYPE_NAMES: Final = frozenset(
    [
        *("str", "int", "float", "bool", "list", "dict", "tuple", "date", "datetime"),
        *("Any", "Literal", "Mapping", "Sequence"),
    ]
)

# Names that a property of a model must not have: Python's keywords, those of the base class,
# and those that annotations and decorators in the class body use.
RESERVED: Final = frozenset(
    [
        *(*keyword.kwlist, *dir(dict), *TYPE_NAMES),
        *("http", "replayed", "property", "classmethod", "decoding"),
    ]
)

# Names of the generated modules and of their imports.
RESERVED_CLASSES: Final = frozenset(
    [
        *keyword.kwlist,
        *TYPE_NAMES,
        *dir(builtins),
        *("Model", "TypedDict", "annotations", "decoding"),
    ]
)
RESERVED_ARGUMENTS: Final = frozenset([*keyword.kwlist, *TYPE_NAMES, "self", "enumerate"])
RESERVED_FUNCTIONS: Final = frozenset(
    [*keyword.kwlist, *dir(builtins), *TYPE_NAMES, "annotations", "Operation"]
)
RESERVED_MODULES: Final = frozenset([*keyword.kwlist, "models", "params"])

_WORDS: Final = re.compile(r"[^. _-]+")


def _split(wire: str) -> list[str]:
    text = "".join(c for c in wire if c.isidentifier() or c.isdecimal() or c in ". _-")
    if any(c.isupper() for c in text):
        text = " ".join(re.split("([A-Z]?[a-z]+)", text))
    return _WORDS.findall(text)


def snake_case(wire: str) -> str:
    """Return a name in snake_case, which may be empty or begin with a digit."""
    return "_".join(_split(wire)).lower()


def pascal_case(wire: str) -> str:
    """Return a name in PascalCase, which may be empty or begin with a digit."""
    return "".join(word if word.isupper() else word.capitalize() for word in _split(wire))


def identifier(name: str, prefix: str, taken: Iterable[str]) -> str:
    """Return a name that is an identifier, with an underscore where it is taken.

    Args:
        name: The name.
        prefix: The text before a name that is empty or begins with a digit.
        taken: Names that are used for something else.
    """
    if not name:
        name = prefix
    elif not name.isidentifier() and not keyword.iskeyword(name):
        name = f"{prefix}_{name}" if prefix.islower() else f"{prefix}{name}"
    used = frozenset(taken)
    while name in used:
        name += "_"
    return name


def python_name(wire: str, taken: Iterable[str]) -> str:
    """Return the name of a model's property."""
    return identifier(snake_case(wire), "field", [*RESERVED, *taken])


def class_name(wire: str) -> str:
    """Return the name of a model or an enumeration."""
    return identifier(pascal_case(wire), "Schema", RESERVED_CLASSES)


def argument_name(wire: str) -> str:
    """Return the name of an argument."""
    return identifier(snake_case(wire), "field", RESERVED_ARGUMENTS)


def function_name(operation_id: str) -> str:
    """Return the name of an operation's function."""
    return identifier(snake_case(operation_id), "operation", RESERVED_FUNCTIONS)


def module_name(tag: str) -> str:
    """Return the name of the module of a tag's operations."""
    return identifier(snake_case(tag), "tag", RESERVED_MODULES)
