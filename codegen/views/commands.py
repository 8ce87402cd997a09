"""The rows of the command line: the names, arguments and texts of its commands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from document import RefusedError

from .surface import Row
from .types import Choice, Entries, Flag, Items, Number, Object, Text, Value, is_text, literal

KEY: Final = "idempotencyKey"
"""The field of the idempotency key. No row lists it, because every write has its option."""

OPTIONS: Final = (
    "help",
    "verbose",
    "json",
    "fields",
    "yes",
    "idempotency-key",
    "first-tried-at",
)
"""The options that commands have in addition to their arguments."""


@attrs.frozen
class CommandArgumentView:
    name: str
    shown: str
    kind: str
    doc: str
    positional: bool
    required: bool
    nullable: bool
    default: str
    """A Python literal."""
    choices: Sequence[str]
    minimum: float | None
    maximum: float | None


@attrs.frozen
class CommandView:
    path: Sequence[str]
    group: str
    confirm: str
    help: Sequence[str]
    examples: Sequence[str]
    arguments: Sequence[CommandArgumentView]
    writes: bool


@attrs.frozen
class MethodArgument:
    """The parts of a method's argument that the command line needs."""

    wire: str
    location: str
    name: str
    value: Value
    doc: str
    required: bool
    nullable: bool
    default: object
    """The value that is sent if it is left out, according to the surface."""


def command_view(
    row: Row, summary: str, description: str, taken: Sequence[MethodArgument], *, writes: bool
) -> CommandView:
    """Return the row of an operation.

    Raises:
        RefusedError: The row's `cli` names an argument that the operation does not have.
    """
    settings = row.cli
    wires = [each.wire for each in taken]
    arguments = {
        each.wire if wires.count(each.wire) == 1 else f"{each.location}.{each.wire}": each
        for each in taken
        if each.wire != KEY
    }
    for setting in ("positional", "names", "defaults"):
        for wire in settings.get(setting, ()):
            if wire not in arguments:
                raise RefusedError(
                    "surface.yaml",
                    f"cli: {setting} names {wire}, but the arguments are {', '.join(arguments)}",
                    "Correct it.",
                )
    in_path = [wire for wire, each in arguments.items() if each.location == "path"]
    positional: Sequence[str] = settings.get("positional", in_path)
    missing = [wire for wire in in_path if wire not in positional]
    if missing:
        raise RefusedError(
            "surface.yaml",
            f"cli: positional leaves out {', '.join(missing)} of the path",
            "Name all arguments of the path.",
        )
    options = [wire for wire in arguments if wire not in positional]
    views = [
        _argument(wire, arguments[wire], settings, positional=wire in positional)
        for wire in (*positional, *options)
    ]
    _check_shown(views)
    words = [row.resource, row.method]
    return CommandView(
        path=settings.get("command", " ".join(words).replace("_", "-")).split(),
        group=settings.get("group", "more"),
        confirm=settings.get("confirm", "live" if writes else "never"),
        help=list(paragraphs(settings.get("help") or f"{summary}\n\n{description}")),
        examples=settings.get("examples", ()),
        arguments=views,
        writes=writes,
    )


def paragraphs(text: str) -> Iterator[str]:
    """Yield each paragraph on one line. An item of a list is a paragraph."""
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*+]|[0-9]+[.)])\s)", text.strip()):
        yield " ".join(paragraph.split())


def _argument(
    wire: str, each: MethodArgument, settings: Mapping[str, Any], *, positional: bool
) -> CommandArgumentView:
    default = settings.get("defaults", {}).get(wire, each.default)
    short = re.sub(r"^external_|_(id|key)$", "", each.name).upper()
    usual = short if positional else each.name.replace("_", "-")
    shown = settings.get("names", {}).get(wire, usual)
    number = each.value.kind if isinstance(each.value.kind, Number) else None
    choices = each.value.kind.values if isinstance(each.value.kind, Choice) else ()
    kind = _kind(each)
    return CommandArgumentView(
        name=each.name,
        shown=shown,
        kind=kind,
        doc=each.doc,
        positional=positional,
        required=positional or (each.required and default is None),
        nullable=each.nullable and not positional,
        default="None" if default is None else literal(default),
        choices=[str(value) for value in choices] if kind == "choice" else (),
        minimum=None if number is None else number.minimum,
        maximum=None if number is None else number.maximum,
    )


def _kind(each: MethodArgument) -> str:
    match each.value.kind:
        case Text(format="date-time"):
            return "time"
        case Text(format="date"):
            return "day"
        case Text():
            return "text"
        case Number(is_integer=is_integer):
            return "integer" if is_integer else "number"
        case Flag():
            return "flag"
        case Choice(values=values) if all(isinstance(value, str) for value in values):
            return "choice"
        case Items(item=item) if isinstance(item.kind, Text) and not item.nullable:
            return "texts"
        case Items():
            return "list"
        case Entries() | Object():
            return "object"
        case _:
            return "text" if is_text(each.value) else "json"


def _check_shown(views: Sequence[CommandArgumentView]) -> None:
    taken: set[str] = set(OPTIONS)
    for view in views:
        if view.shown in taken:
            raise RefusedError(
                "surface.yaml",
                f"cli: {view.shown} of the argument {view.name} is used already",
                "Give it another name in `names`.",
            )
        taken.add(view.shown)
