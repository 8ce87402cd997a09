"""Python types and decoders for the contract's values, as source."""

from __future__ import annotations

from collections.abc import Iterable

from .types import (
    Alternatives,
    Anything,
    Choice,
    Entries,
    Flag,
    Items,
    Null,
    Number,
    Object,
    Schemas,
    Text,
    Value,
    is_text,
    literal,
)


def answer(
    value: Value, schemas: Schemas, *, models: str = "", module: str = "decoding"
) -> tuple[str, str]:
    """Return annotation and decoder of a value that the server sends, ignoring `null`.

    Args:
        value: The contract's description of the value.
        schemas: All schemas.
        models: Prefix of names from the models module.
        module: The name of the module of decoders.
    """
    annotation, decoder = _answer(value, schemas, models)
    return annotation, decoder.replace("decoding.", f"{module}.")


def _answer(value: Value, schemas: Schemas, models: str) -> tuple[str, str]:
    match value.kind:
        case Flag():
            return "bool", "decoding.as_bool"
        case Number(is_integer=True):
            return "int", "decoding.as_int"
        case Number():
            return "float", "decoding.as_float"
        case Text(format="date-time"):
            return "datetime", "decoding.as_datetime"
        case Text(format="date"):
            return "date", "decoding.as_date"
        case Choice() as choice if choice.kind != "Any":
            name = f"{models}{choice.name} | " if choice.name and choice.kind != "bool" else ""
            return f"{name}{choice.kind}", f"decoding.as_{choice.kind}"
        case Items() as items:
            inner, decoder = _answer(items.item, schemas, models)
            if items.item.nullable and inner != "Any":
                inner = f"{inner} | None"
            return f"list[{inner}]", f"decoding.as_list({decoder})"
        case Entries() as entries:
            inner, decoder = _answer(entries.value, schemas, models)
            if entries.value.nullable and inner != "Any":
                inner = f"{inner} | None"
            return f"dict[str, {inner}]", f"decoding.as_map({decoder})"
        case Object(name=name):
            return f"{models}{name}", f"decoding.as_model({models}{name})"
        case Alternatives() as union:
            return _answer_union(union, schemas, models)
        case Text():
            return "str", "decoding.as_str"
        case _:
            return "Any", "decoding.as_any"


def _answer_union(union: Alternatives, schemas: Schemas, models: str) -> tuple[str, str]:
    if is_text(Value(union)):
        joined = " | ".join(_answer(branch, schemas, models)[0] for branch in union.branches)
        return " | ".join(dict.fromkeys(joined.split(" | "))), "decoding.as_str"
    names = [branch.kind.name for branch in union.branches if isinstance(branch.kind, Object)]
    tagged = schemas.tagged.get(frozenset(names), union)
    if len(names) < len(union.branches) or tagged.tag is None:
        return "Any", "decoding.as_any"
    table = ", ".join(f"{literal(value)}: {models}{name}" for value, name in tagged.models.items())
    joined = " | ".join([*(models + name for name in names), "dict[str, Any]"])
    return joined, f"decoding.as_tagged({literal(tagged.tag)}, {{{table}}})"


def argument(value: Value, *, models: str, params: str, nested: bool = False) -> str:
    """Return the annotation of a value that the caller passes, ignoring `null` at the top.

    Args:
        value: The contract's description of the value.
        models: Prefix of names from the models module.
        params: Prefix of names from the params module.
        nested: Whether it is inside a dict argument, which is sent unchanged.
    """
    parts = _parts(value, models=models, params=params, nested=nested)
    if nested and value.nullable:
        parts.append("None")
    return "Any" if "Any" in parts else " | ".join(dict.fromkeys(parts))


def _parts(value: Value, *, models: str, params: str, nested: bool) -> list[str]:
    match value.kind:
        case Flag():
            return ["bool"]
        case Number() as number:
            return ["int" if number.is_integer else "float"]
        case Text(format="date-time") if not nested:
            return ["datetime", "str"]
        case Text(format="date") if not nested:
            return ["date", "str"]
        case Choice() as choice:
            return [_choice(choice, models)]
        case Items() as items:
            inner = argument(items.item, models=models, params=params, nested=True)
            return [f"Sequence[{inner}]"]
        case Entries() as entries:
            inner = argument(entries.value, models=models, params=params, nested=True)
            return [f"Mapping[str, {inner}]"]
        case Object(name=name):
            # Every object may also be a plain dict.
            return [f"{params}{name}Param", "Mapping[str, Any]"]
        case Alternatives() as union:
            each = [
                _parts(branch, models=models, params=params, nested=nested)
                + (["None"] if nested and branch.nullable else [])
                for branch in union.branches
            ]
            return _plain_last(part for parts in each for part in parts)
        case Anything():
            return ["Any"]
        case Null():
            return [] if nested else ["None"]
        case Text():
            return ["str"]


def _plain_last(parts: Iterable[str]) -> list[str]:
    found = list(dict.fromkeys(parts))
    plain = [part for part in found if part == "Mapping[str, Any]"]
    return [part for part in found if part not in plain] + plain


def _choice(choice: Choice, models: str) -> str:
    if choice.name is not None:
        return f"{models}{choice.name}"
    if any(isinstance(value, float) for value in choice.values):
        return "float"
    return f"Literal[{', '.join(map(literal, choice.values))}]"
