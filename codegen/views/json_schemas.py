"""Describe the server's objects in JSON Schema, for users who publish OpenAPI documents."""

from __future__ import annotations

from typing import Final

from document import Json

from .types import (
    Alternatives,
    Choice,
    Entries,
    Flag,
    Items,
    Kind,
    Null,
    Number,
    Object,
    ObjectSchema,
    Text,
    Value,
)

_TYPES: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def json_schema(schema: ObjectSchema) -> Json:
    """Return an object's schema. Its references to other objects are the names of their models."""
    fields = [field for field in schema.fields if not field.value.write_only]
    return _without_blanks(
        type="object",
        description=schema.doc,
        properties={field.wire: _value(field.value) for field in fields},
        required=[field.wire for field in fields if field.required],
        additionalProperties=schema.extra and _value(schema.extra),
    )


def _value(value: Value) -> Json:
    found = _kind(value.kind)
    if value.nullable and found:
        found = {"anyOf": [found, {"type": "null"}]}
    return found | _without_blanks(
        description=value.doc, deprecated=value.deprecated, readOnly=value.read_only
    )


def _kind(kind: Kind) -> Json:
    match kind:
        case Text():
            return _without_blanks(
                type="string",
                format=kind.format,
                minLength=kind.min_length,
                maxLength=kind.max_length,
                pattern=kind.pattern,
            )
        case Number():
            return _without_blanks(
                type="integer" if kind.is_integer else "number",
                minimum=kind.minimum,
                maximum=kind.maximum,
            )
        case Flag():
            return {"type": "boolean"}
        case Choice():
            return _without_blanks(type=_TYPES.get(kind.kind), enum=list(kind.values))
        case Items():
            return _without_blanks(
                type="array",
                items=_value(kind.item),
                minItems=kind.min_items,
                maxItems=kind.max_items,
            )
        case Entries():
            return {
                "type": "object",
                "additionalProperties": _value(kind.value) or True,
            }
        case Object():
            return {"$ref": kind.name}
        case Alternatives():
            return {"anyOf": [_value(branch) for branch in kind.branches]}
        case Null():
            return {"type": "null"}
        case _:
            return {}


def _without_blanks(**keywords: object) -> Json:
    """Return the keywords with a meaning. Zero is kept, because it may be a limit."""
    return {
        name: value
        for name, value in keywords.items()
        if value is not None and value is not False and value not in ("", [], {})
    }
