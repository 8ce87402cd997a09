"""Expressions that check an argument, and sentences that document its bounds."""

from __future__ import annotations

import re

from .types import (
    Alternatives,
    Choice,
    Entries,
    Flag,
    Items,
    Number,
    Object,
    Text,
    Value,
    is_text,
    literal,
)


def compiles(pattern: str) -> bool:
    """Return whether Python understands a pattern, which the contract writes for ECMAScript."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _keywords(**values: str | float | None) -> str:
    stated = {name: value for name, value in values.items() if value is not None}
    return "".join(f", {name}={literal(value)}" for name, value in stated.items())


def check(value: Value, name: str, label: str) -> str:
    """Return the expression that checks an argument and returns its wire value.

    Args:
        value: The contract's description of the value. The caller handles `null`.
        name: The variable.
        label: A Python expression for the argument's name in messages.
    """
    match value.kind:
        case Choice(values=values):
            comma = "," if len(values) == 1 else ""
            return f"_checks.one_of({label}, {name}, ({', '.join(map(literal, values))}{comma}))"
        case Text(format="date-time"):
            return f"_checks.timestamp({label}, {name})"
        case Text(format="date"):
            return f"_checks.day({label}, {name})"
        case Text() as text:
            pattern = text.pattern
            bounds = _keywords(
                min_length=text.min_length,
                max_length=text.max_length,
                pattern=pattern if pattern and compiles(pattern) else None,
            )
            return f"_checks.string({label}, {name}{bounds})"
        case Number() as number:
            function = "integer" if number.is_integer else "number"
            bounds = _keywords(minimum=number.minimum, maximum=number.maximum)
            return f"_checks.{function}({label}, {name}{bounds})"
        case Flag():
            return f"_checks.boolean({label}, {name})"
        case Items() as items:
            bounds = _keywords(min_items=items.min_items, max_items=items.max_items)
            array = f"_checks.array({label}, {name}{bounds})"
            if isinstance(items.item.kind, Text | Choice) and _is_text(items.item):
                # Strings in arrays are checked here, but dicts only by the server.
                item = check(items.item, "_item", f"f'{name}[{{_i}}]'")
                return f"[{item} for _i, _item in enumerate({array})]"
            return array
        case Entries() | Object():
            return f"_checks.mapping({label}, {name})"
        case Alternatives(branches=branches) if all(
            isinstance(branch.kind, Entries | Object) for branch in branches
        ):
            return f"_checks.mapping({label}, {name})"
        case Alternatives() if is_text(value):
            return f"_checks.string({label}, {name})"
        case _:
            return name


def _is_text(value: Value) -> bool:
    if value.nullable:
        return False
    return not isinstance(value.kind, Choice) or value.kind.kind == "str"


def form_doc(value: Value) -> str:
    """Return a sentence about the accepted types of a time; empty for any other value."""
    match value.kind:
        case Text(format="date-time"):
            return " An aware `datetime`, or text in RFC 3339 with an offset."
        case Text(format="date"):
            return " A `date`, or text such as `2026-06-08`."
        case _:
            return ""


def bounds_doc(value: Value) -> str:
    """Return a sentence about the bounds of a value; empty if there are none."""
    match value.kind:
        case Text() as text:
            low, high, unit = text.min_length, text.max_length, " characters"
        case Items() as items:
            low, high, unit = items.min_items, items.max_items, " items"
        case Number() as number:
            return _range(number.minimum, number.maximum, "")
        case _:
            return ""
    pattern = ""
    if isinstance(value.kind, Text) and value.kind.pattern and not compiles(value.kind.pattern):
        pattern = f" The server checks that it matches `{value.kind.pattern}`."
    if low == 1:
        at_most = f", at most {_number(high)}{unit}" if high is not None else ""
        return f" Not empty{at_most}.{pattern}"
    return _range(low, high, unit) + pattern


def _range(low: float | None, high: float | None, unit: str) -> str:
    if low is not None and high is not None:
        return f" From {low} to {_number(high)}{unit}."
    if low is not None:
        return f" At least {low}{unit}."
    return f" At most {_number(high)}{unit}." if high is not None else ""


def _number(value: float) -> str:
    return "2**53-1" if value == 2**53 - 1 else f"{value:,}"
