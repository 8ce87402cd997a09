"""The description of a command of the command line: plain data, a row for each operation."""

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
    """What people type: `PLAYER` by position, or `source-ref-id` for an option."""
    kind: Kind
    """What it holds. `texts` is a list of strings; `list`, `object` and `json` are JSON."""
    doc: str
    positional: bool = False
    required: bool = False
    nullable: bool = False
    """Whether null means something else than leaving it out."""
    default: Any = None
    """What is sent if it is left out; `None` if nothing is."""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


class CommandRow(NamedTuple):
    """The command for one operation."""

    operation: str
    """The SDK's method, such as `wallet.credit`."""
    path: tuple[str, ...]
    """What people type after `kraty-admin`."""
    group: str
    """The section of the help in which it is listed."""
    confirm: Literal["never", "live", "always"]
    """When a person is asked first: with a live key, or with a test key too."""
    help: tuple[str, ...]
    """Its paragraphs; the first is the summary."""
    examples: tuple[str, ...]
    """Whole command lines."""
    arguments: tuple[ArgumentRow, ...]
    """All arguments but the idempotency key; those by position first, in their order."""
    writes: bool
    """Whether it may change something."""
    key_lifetime: KeyLifetime | None
    """How long the platform keeps the idempotency key; `None` if it sends none."""
