"""What a method returns: the result of its operation, in or without an envelope."""

from __future__ import annotations

import attrs

from document import Node, RawOperation, RefusedError
from media import JSON, json_media

from .annotations import answer
from .surface import WRITES, Row
from .types import (
    Choice,
    Entries,
    Flag,
    Items,
    Number,
    Object,
    Schemas,
    Text,
    Value,
    literal,
)


@attrs.frozen
class Result:
    """What a call returns."""

    model: str
    doc: str
    enveloped: bool = False
    may_be_empty: bool = False
    is_object: bool = True
    """Whether the model is an object of the contract; `Model` is not."""
    annotation: str = ""
    """The annotation and decoder of a result that is not an object, or of the unwrapped field."""
    decode: str = ""
    plain: Value | None = None
    """What it is, if it is no object."""
    media: str = JSON
    """The value of `Accept`."""

    @property
    def roots(self) -> list[Value]:
        """What has to be generated for it."""
        if self.plain is not None:
            return [self.plain]
        return [Value(Object(self.model))] if self.is_object else []


def unwrapped(result: Result, row: Row, schemas: Schemas) -> Result:
    """Return the result, or the field that the row unwraps."""
    if row.unwrap is None:
        return result
    fields = schemas.objects[result.model].fields if result.is_object else []
    for field in fields:
        if field.wire == row.unwrap:
            if field.value.nullable or not field.required:
                # The call would fail although it took effect.
                raise RefusedError(
                    "surface.yaml",
                    f"the field {row.unwrap} to unwrap may be null or missing",
                    "Do not unwrap it.",
                )
            annotation, decoder = answer(
                field.value, schemas, models="_models.", module="_decoding"
            )
            return attrs.evolve(
                result,
                doc=field.value.doc or result.doc,
                annotation=annotation,
                decode=f"_decoding.as_field({literal(field.wire)}, {decoder})",
            )
    raise RefusedError(
        "surface.yaml", f"the result has no field {row.unwrap} to unwrap", "Name one that it has."
    )


def result_of(raw: RawOperation, name: str, schemas: Schemas) -> Result:
    """Return the result that all successes of an operation have."""
    responses = list(raw.node.entries("responses"))
    successes = [(status, node.follow()) for status, node in responses if status[:1] == "2"]
    if not successes:
        raise raw.node.refuse("no success is documented", "Document a 2xx response.")
    found: Result | None = None
    may_be_empty = False
    for status, response in successes:
        if not response.get("content"):
            may_be_empty = True
            continue
        result = _read_result(response, f"{name}Response{status}", schemas)
        if found is not None and result != found:
            raise response.refuse(
                f"this success is {result.model}, another is {found.model}",
                "Give all successes the same schema.",
            )
        found = result
    if found is None:
        doc = "`Model`: empty, with the details of the call in `http`."
        return Result("Model", doc, may_be_empty=True, is_object=False)
    if found.plain is not None and (may_be_empty or raw.method in WRITES):
        raise raw.node.refuse(
            "a success that is not an object is not supported for writes, whose results an "
            "outbox keeps, nor beside one without a body",
            "Wrap it in an object.",
        )
    return attrs.evolve(found, may_be_empty=may_be_empty)


def _read_result(response: Node, name: str, schemas: Schemas) -> Result:
    media = json_media(response)
    if media is None:
        kinds = ", ".join(response.get("content", {}))
        raise response.refuse(f"a success of {kinds} is not supported", f"Offer {JSON} as well.")
    if "schema" not in media.node:
        raise media.node.refuse("the success has no schema", "Give it one.")
    found = _read_schema(media.node.child("schema"), name, schemas)
    return attrs.evolve(found, media=media.name)


def _read_schema(schema: Node, name: str, schemas: Schemas) -> Result:
    value = schemas.read(schema, name)
    schemas.finish()
    enveloped = False
    nullable = value.nullable
    if isinstance(value.kind, Object):
        fields = schemas.objects[value.kind.name].fields
        if [field.wire for field in fields] == ["data"]:
            value, enveloped = fields[0].value, True
            nullable = nullable or value.nullable
    kind = _json_kind(value)
    if nullable or (kind is None and not isinstance(value.kind, Object | Entries)):
        raise schema.refuse(
            "a success of several kinds, or that may be null, is not supported",
            "Wrap it in an object.",
        )
    if isinstance(value.kind, Object):
        model = value.kind.name
        doc = schemas.objects[model].doc
        return Result(model, f"`{model}`: {doc}".rstrip(": "), enveloped)
    if isinstance(value.kind, Entries):
        doc = f"`Model`: {value.doc or 'An object.'}"
        return Result("Model", doc, enveloped, is_object=False)
    annotation, decoder = answer(value, schemas, models="_models.", module="_decoding")
    return Result(
        annotation,
        value.doc or "The answer.",
        enveloped,
        is_object=False,
        annotation=annotation,
        decode=f"_decoding.as_answer({kind}, {decoder})",
        plain=value,
    )


def _json_kind(value: Value) -> str | None:
    """Return the first argument of `decoding.as_answer`; `None` if the value has several kinds."""
    match value.kind:
        case Items():
            return "list"
        case Text():
            return "str"
        case Number():
            return "float"
        case Flag():
            return "bool"
        case Choice(kind="int"):
            return "float"
        case Choice(kind="str" | "float" | "bool" as kind):
            return kind
        case _:
            return None
