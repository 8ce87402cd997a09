"""Make the command of an operation from its row in the generated table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

import attrs
import click

from kraty_admin import KratyAdmin
from kraty_server_api.command import ArgumentRow, CommandRow
from kraty_server_api.decoding import is_array, is_object
from kraty_server_api.model import Model

from ._help import Command
from ._state import (
    State,
    fields_option,
    json_option,
    key_options,
    read_bytes,
    verbose_option,
    yes_option,
)

__all__ = ["Overrides", "Values", "command_of", "parse_json"]

# Not `int()`, which also accepts "1_000" and digits of other scripts.
_INTEGER: Final = re.compile(r"-?[0-9]{1,16}")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")

_METAVARS: Final[Mapping[str, str]] = {
    "text": "TEXT",
    "texts": "TEXT",
    "integer": "N",
    "number": "NUMBER",
    "time": "TIME",
    "day": "DATE",
    "list": "JSON|@FILE",
    "object": "JSON|@FILE",
    "json": "JSON|@FILE",
}

_FORMS: Final[Mapping[str, str]] = {
    "texts": " Repeat the option for each.",
    "time": " Write it as 2026-06-08T12:00:00Z.",
    "day": " Write it as 2026-06-08.",
}
"""The sentence that an option's help adds, by the kind of its value."""

N = TypeVar("N", int, float)
Values = dict[str, Any]
"""The values of arguments, by their names in the SDK's method."""


def _plain_question(row: CommandRow, arguments: Values) -> str:
    return f"Run {' '.join(row.path)} with {', '.join(map(repr, arguments.values()))}"


@attrs.frozen
class Overrides:
    """The hand-written parts of one command, which its row in the table does not contain."""

    question: Callable[[CommandRow, Values], str] = _plain_question
    """Returns what will happen, for the confirmation."""
    options: Mapping[str, Sequence[click.Parameter]] = attrs.field(
        factory=dict[str, Sequence[click.Parameter]]
    )
    """The parameters that replace the usual option of an argument."""
    prepare: Callable[[Values], None] | None = None
    """Turns the values of those parameters into arguments."""
    show: Callable[[State, KratyAdmin, Any], None] | None = None
    """Prints the result of a read."""


_NO_OVERRIDES: Final = Overrides()


def command_of(row: CommandRow, overrides: Overrides = _NO_OVERRIDES) -> click.Command:
    """Return the command of an operation.

    Args:
        row: The command's name, arguments and texts.
        overrides: The hand-written parts of the command.
    """

    @click.pass_obj
    def callback(state: State, /, **values: Any) -> None:
        _perform(state, row, overrides, values)

    parameters: list[click.Parameter] = []
    for argument in row.arguments:
        parameters += overrides.options.get(argument.name) or _parameters(argument)
    command = Command(
        row.path[-1],
        section=row.group,
        examples=row.examples,
        params=parameters,
        callback=callback,
        help="\n\n".join(row.help),
        short_help=row.help[0],
    )
    verbose_option(command)
    fields_option(command)
    json_option(command)
    if row.confirm != "never":
        yes_option(command)
    if row.key_lifetime is not None:
        key_options(row.operation)(command)
    return command


def _perform(state: State, row: CommandRow, overrides: Overrides, values: Values) -> None:
    """Ask for confirmation if needed, make the call, and print its result."""
    if overrides.prepare is not None:
        overrides.prepare(values)
    arguments = _arguments(row, values)
    with state.client() as kraty:
        if row.confirm != "never":
            question = overrides.question(row, arguments)
            state.confirm(kraty, question, always=row.confirm == "always")
        if row.key_lifetime is not None:
            arguments["idempotency_key"] = state.key(
                values["idempotency_key"],
                row.key_lifetime,
                has_age_option=row.key_lifetime.repeat_within_hours is not None,
            )
        call: Callable[..., object] = attrgetter(row.operation)(kraty)
        result = call(**arguments)
    if overrides.show is not None:
        overrides.show(state, kraty, result)
    elif row.writes:
        if isinstance(result, Model) and result.replayed:
            state.out.say("Already applied earlier with this key; nothing changed.")
        state.done(result)
    else:
        state.out.result(result)


def _arguments(row: CommandRow, values: Values) -> Values:
    """Return the arguments of the SDK's method, without those that were left out."""
    found: Values = {}
    for each in row.arguments:
        value = values[each.name]
        is_left_out = value is None or value == ()
        is_cleared = each.nullable and values[f"clear_{each.name}"]
        if is_cleared and not is_left_out:
            raise click.UsageError(f"pass either --{each.shown} or --clear-{each.shown}")
        if is_cleared or not is_left_out:
            found[each.name] = None if is_cleared else value
    return found


def _parameters(row: ArgumentRow) -> list[click.Parameter]:
    """Return the parameters of the command line for an argument."""
    reads = {
        "integer": _integer,
        "number": _number,
        "list": _json,
        "object": _json,
        "json": _json,
    }.get(row.kind)
    read = None if reads is None else _reader(row, reads)
    choice = click.Choice(row.choices) if row.kind == "choice" else None
    if row.positional:
        several = -1 if row.kind == "texts" else 1
        kind = click.BOOL if row.kind == "flag" else choice
        return [
            click.Argument([row.name], type=kind, callback=read, metavar=row.shown, nargs=several)
        ]
    option = click.Option(
        [row.name, f"--{row.shown}/--no-{row.shown}" if row.kind == "flag" else f"--{row.shown}"],
        type=choice,
        callback=read,
        metavar=_METAVARS.get(row.kind),
        multiple=row.kind == "texts",
        required=row.required,
        default=row.default,
        show_default=row.default is not None,
        help=row.doc + _FORMS.get(row.kind, ""),
    )
    if not row.nullable:
        return [option]
    clear = click.Option(
        [f"clear_{row.name}", f"--clear-{row.shown}"],
        is_flag=True,
        help=f"Send null instead of a value for --{row.shown}.",
    )
    return [option, clear]


def _reader(
    row: ArgumentRow, read: Callable[[ArgumentRow, str], object]
) -> Callable[[click.Context, click.Parameter, Any], object]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> object:
        # A default has been parsed already.
        return read(row, value) if isinstance(value, str) else value

    return callback


def _integer(row: ArgumentRow, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise click.BadParameter(f"{text!r} is not a whole number such as 500")
    return _within(row, int(text))


def _number(row: ArgumentRow, text: str) -> int | float:
    if not _NUMBER.fullmatch(text):
        raise click.BadParameter(f"{text!r} is not a number such as 2.5")
    return _within(row, int(text) if _INTEGER.fullmatch(text) else float(text))


def _within(row: ArgumentRow, value: N) -> N:
    if row.minimum is not None and value < row.minimum:
        raise click.BadParameter(f"it must be at least {row.minimum}, not {value}")
    if row.maximum is not None and value > row.maximum:
        raise click.BadParameter(f"it must be at most {row.maximum}, not {value}")
    return value


def _json(row: ArgumentRow, text: str) -> object:
    value = parse_json(text)
    if row.kind == "object" and not is_object(value):
        raise click.BadParameter('it must be a JSON object, such as {"ticket": "T-1"}')
    if row.kind == "list" and not is_array(value):
        raise click.BadParameter("it must be a JSON array, such as [1, 2]")
    return value


def parse_json(text: str) -> object:
    """Return a JSON value; `@FILE` reads it from a file, `@-` from standard input.

    Raises:
        click.BadParameter: The file cannot be read, or the text is not JSON.
    """
    if text.startswith("@"):
        text = _read(text[1:])
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"it is not JSON: {error}") from None
    return value


def _read(name: str) -> str:
    try:
        return read_bytes(name).decode()
    except OSError as error:
        raise click.BadParameter(f"cannot read {name!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{name!r} is not text in UTF-8") from None
