# Copied by `make regen` from codegen/runtime/command.py.
# Do not edit: change that file instead.
"""The description of a command of the command line, as plain data."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from .operation import KeyLifetime

__all__ = ["ArgumentRow", "CommandRow", "Kind"]

# fmt: off
Kind = Literal[
    "text", "texts", "integer", "number", "flag", "choice", "time", "day", "list", "object", "json"
]
# fmt: on


class ArgumentRow(NamedTuple):
    """One argument of a command."""

    name: str
    """The argument of the SDK's method, such as `source_ref_id`."""
    shown: str
    """The name on the command line: `PLAYER` by position, or `source-ref-id` for an option."""
    kind: Kind
    """The type of its value. `texts` is a list of strings; `list`, `object` and `json` are JSON."""
    doc: str
    positional: bool = False
    required: bool = False
    nullable: bool = False
    """Whether the value may be null, which differs from leaving it out."""
    default: Any = None
    """The value to send if it is left out; `None` to send nothing."""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


class CommandRow(NamedTuple):
    """The command for one operation."""

    operation: str
    """The SDK's method, such as `wallet.credit`."""
    path: tuple[str, ...]
    """The words to type after `kraty-admin`."""
    group: str
    """The section of the help that lists the command."""
    confirm: Literal["never", "live", "always"]
    """When to ask for confirmation: `live` is with a live key, `always` also with a test key."""
    help: tuple[str, ...]
    """The paragraphs of the help; the first is the summary."""
    examples: tuple[str, ...]
    """Whole command lines."""
    arguments: tuple[ArgumentRow, ...]
    """All arguments but the idempotency key; positional ones first, in their order."""
    writes: bool
    """Whether the command may change something."""
    key_lifetime: KeyLifetime | None
    """How long the platform keeps the idempotency key; `None` if the command sends none."""
