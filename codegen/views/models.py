"""Turn the schemas that operations use into models, enumerations and the types of dicts."""

from __future__ import annotations

import keyword
from collections.abc import Iterable

import attrs

from document import Json

from .annotations import answer, argument
from .json_schemas import json_schema
from .names import python_name
from .types import (
    Alternatives,
    Choice,
    ChoiceSchema,
    Entries,
    Items,
    Object,
    ObjectSchema,
    Schemas,
    Value,
    literal,
)


@attrs.frozen
class EnumView:
    name: str
    values: list[str]
    doc: str


@attrs.frozen
class FieldView:
    name: str
    wire: str
    annotation: str
    doc: str
    required: bool = True
    decoder: str = ""
    is_union: bool = False
    is_identifier: bool = True


@attrs.frozen
class ModelView:
    name: str
    doc: str
    fields: list[FieldView]
    json_schema: Json


@attrs.frozen
class ParamsView:
    name: str
    doc: str
    required: list[FieldView]
    optional: list[FieldView]


def reachable(roots: Iterable[Value], schemas: Schemas, *, sent: bool) -> tuple[set[str], set[str]]:
    """Return the names of the objects and choices that values refer to, directly or indirectly.

    Args:
        roots: The values.
        schemas: All schemas.
        sent: Whether the caller sends the values. If so, read-only fields are left out;
            otherwise, write-only fields are.
    """
    objects: set[str] = set()
    choices: set[str] = set()
    queue = list(roots)
    while queue:
        match queue.pop().kind:
            case Alternatives() as union:
                queue.extend(union.branches)
            case Items(item=item):
                queue.append(item)
            case Entries(value=value):
                queue.append(value)
            case Choice(name=str(name)):
                choices.add(name)
            case Object(name=name) if name not in objects:
                objects.add(name)
                schema = schemas.objects[name]
                queue.extend(
                    field.value
                    for field in schema.fields
                    if not (field.value.read_only if sent else field.value.write_only)
                )
                if schema.extra is not None:
                    queue.append(schema.extra)
            case _:
                pass
    return objects, choices


def enum_view(choice: ChoiceSchema) -> EnumView:
    """Return the view of an enumeration."""
    values = sorted(map(literal, choice.values))
    return EnumView(choice.name, values, choice.doc or "An enumeration of the contract.")


def model_view(schema: ObjectSchema, schemas: Schemas) -> ModelView:
    """Return the view of an object that the server sends."""
    fields: list[FieldView] = []
    for field in schema.fields:
        if field.value.write_only:
            continue
        annotation, decoder = answer(field.value, schemas)
        required = field.required and not field.value.nullable and annotation != "Any"
        if not required and annotation != "Any":
            annotation += " | None"
        fields.append(
            FieldView(
                name=python_name(field.wire, [view.name for view in fields]),
                wire=literal(field.wire),
                annotation=annotation,
                doc=field.value.words.strip() or f"The contract's `{field.wire}`.",
                required=required,
                decoder=decoder,
                is_union=decoder.startswith("decoding.as_tagged"),
            )
        )
    doc = schema.doc or "An object of the contract."
    return ModelView(schema.name, doc, fields, json_schema(schema))


def params_view(schema: ObjectSchema) -> ParamsView:
    """Return the view of an object that the caller passes inside an argument."""
    fields = [
        FieldView(
            name=field.wire,
            wire=literal(field.wire),
            annotation=argument(field.value, models="", params="", nested=True),
            doc=field.value.words.strip() or f"The contract's `{field.wire}`.",
            required=field.required,
            is_identifier=field.wire.isidentifier() and not keyword.iskeyword(field.wire),
        )
        for field in schema.fields
        if not field.value.read_only
    ]
    return ParamsView(
        name=f"{schema.name}Param",
        doc=schema.doc or "An object of the contract.",
        required=[field for field in fields if field.required],
        optional=[field for field in fields if not field.required],
    )
