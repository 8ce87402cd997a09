# Copied by `make regen` from codegen/runtime/read_options.py.
# Do not edit: change that file instead.
"""How to read a source and select its rows: one class of options for all imports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from . import checks

__all__ = ["Format", "Inclusion", "Quoting", "ReadOptions"]

Format = Literal["csv", "tsv", "jsonl", "json", "parquet"]
"""The format of a file."""

Quoting = Literal["csv", "none"]
"""Whether quotes enclose cells, or are plain characters."""

Inclusion = Literal["expiring", "rentals", "banned", "disabled"]
"""The kinds of rows that a preset leaves out unless you include them."""


# Not an attrs class: then every client would import attrs, which takes 1 MiB.
@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read a source, and which of its rows to import.

    All fields are optional. An option that does not apply to the source is refused when the
    source is opened, so that no option is ignored silently.

    Raises:
        TypeError, ValueError: A value has the wrong type, or is not allowed.
    """

    format: Format | None = None
    """The format of the file. Default: according to its suffix. An open file needs this option."""

    delimiter: str | None = None
    """The character between two cells: one ASCII character.

    Default: a comma in CSV, a tab in TSV.
    """

    encoding: str | None = None
    """The encoding of a text file, by its name in Python.

    Default: that of the byte order mark at the start of the file, or else UTF-8.
    """

    quoting: Quoting | None = None
    """`"csv"`: quotes enclose cells, as in RFC 4180. `"none"`: a quote is a plain character.

    Default: `"csv"` for CSV. In TSV, quotes are plain characters by default, and a file with a
    cell that begins and ends with a quote is refused until you choose.
    """

    multiline: bool = False
    """Whether a quoted cell may contain lines that look like rows.

    By default, such a cell fails, because a stray quote looks the same and would swallow rows. A
    line looks like a row if it has at least as many delimiters as the header.
    """

    rows: str | None = None
    """The path to the rows in a `.json` document, usually of a list, such as
    `data.PlayerProfiles`.

    With `users.*`, the rows are the members of the object `users`; with `*`, those of the whole
    document. The column `@key` then has the name of each member. The path of an object without
    `*` is one row. `.` is the whole document. Default: the only list in the document, or the only
    place that fits the preset.
    """

    id_column: str | None = None
    """The column that holds the player's id, instead of the preset's choice."""

    allow_odd_ids: bool = False
    """Whether to accept ids such as `NULL`, `7.65612E+16` or ` p2`, which are likely mistakes."""

    rename: Mapping[str, str] = field(default_factory=dict[str, str])
    """New names of currencies or items: `{"GO": "gold"}`. Others keep their names."""

    only: Collection[str] | None = None
    """The currencies or items to import, by their names in the source. Others are left out, and
    counted."""

    include: Collection[str] = frozenset()
    """Kinds of rows that presets leave out by default, and that you want to import.

    `"expiring"`: items and balances that expire; they become permanent. `"rentals"`: rented
    items; they become owned. `"banned"` and `"disabled"`: players, balances and items in that
    state; they are imported without it.
    """

    skip_zero: bool = False
    """Whether to leave out rows whose amount or quantity is zero. Presets always do."""

    limit: int | None = None
    """Read at most this many rows of the source, from its start: 1 or more. `None` for all."""

    def __post_init__(self) -> None:
        # Copied, because the caller may change its own collections later. `__setattr__` of a
        # frozen dataclass raises, so this calls that of `object`.
        object.__setattr__(self, "rename", _dict(self.rename))
        object.__setattr__(self, "only", None if self.only is None else _set("only", self.only))
        object.__setattr__(self, "include", _set("include", self.include))
        _one_of("format", self.format, get_args(Format))
        _one_of("quoting", self.quoting, get_args(Quoting))
        for name in ("delimiter", "encoding", "rows", "id_column"):
            _text(name, getattr(self, name))
        for name in ("multiline", "allow_odd_ids", "skip_zero"):
            checks.boolean(name, getattr(self, name))
        _delimiter(self.delimiter)
        _encoding(self.encoding)
        for name in (*self.rename, *self.rename.values()):
            _key("rename", name)
        if self.only is not None and not self.only:
            raise ValueError("only must not be empty: name the currencies or items to import")
        for name in self.only or ():
            _key("only", name)
        for name in self.include:
            _one_of("include", name, get_args(Inclusion))
        if self.limit is not None:
            checks.integer("limit", self.limit, minimum=1)


def _dict(value: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
        raise TypeError(f"rename must be a mapping, not {type(value).__name__}")
    return dict(value)


def _set(name: str, value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers may pass anything
        raise TypeError(f"{name} must be a collection of str, not {type(value).__name__}")  # pyright: ignore[reportUnknownArgumentType]  # of any type
    return frozenset(value)


def _one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def _text(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if value == "":
        raise ValueError(f"{name} must not be empty")


def _key(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must hold str, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not hold an empty name")


def _delimiter(value: str | None) -> None:
    if value is not None and (len(value) != 1 or value in '"\r\n\0' or not value.isascii()):
        raise ValueError(
            "delimiter must be one ASCII character such as ';', neither a quote nor a line end,"
            f" not {value!r}"
        )


def _encoding(value: str | None) -> None:
    if value is None:
        return
    try:
        # Codecs such as base64 are refused too, because they do not decode bytes to text.
        b"a".decode(value, "replace")
    except LookupError:
        raise ValueError(
            f"encoding must be one that Python knows, such as 'utf-16' or 'cp1252', not {value!r}"
        ) from None
