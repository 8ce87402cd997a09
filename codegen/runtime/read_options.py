"""How a source is read and how its rows are selected: one class of options for all imports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from . import checks

__all__ = ["Format", "Inclusion", "Quoting", "ReadOptions"]

Format = Literal["csv", "tsv", "jsonl", "json", "parquet"]
"""How a file is written."""

Quoting = Literal["csv", "none"]
"""Whether quotes enclose cells, or are plain characters."""

Inclusion = Literal["expiring", "rentals", "banned", "disabled"]
"""What a preset leaves out unless it is asked for."""


# Not a class of attrs: every client would load it, which takes 1 MiB.
@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a source is read, and which of its rows are imported.

    All fields are optional. An option that does not apply to the source is refused when the
    source is opened, so that no option is ignored silently.

    Raises:
        TypeError, ValueError: A value is of the wrong type or not allowed.
    """

    format: Format | None = None
    """How the file is written. Default: what its suffix says. Standard input needs it."""

    delimiter: str | None = None
    """The character between two cells: one ASCII character.

    Default: a comma in CSV, a tab in TSV.
    """

    encoding: str | None = None
    """The encoding of a text file, as Python names it.

    Default: UTF-8, or what the byte order mark at the start of the file says.
    """

    quoting: Quoting | None = None
    """`"csv"`: quotes enclose cells, as in RFC 4180. `"none"`: a quote is a plain character.

    Default: `"csv"` for CSV. In TSV quotes are plain characters by default, and a cell that
    begins and ends with a quote is refused until you choose.
    """

    multiline: bool = False
    """Whether a quoted cell may hold lines that look like rows.

    By default, a quoted cell fails if one of its lines has as many delimiters as the header:
    a stray quote would otherwise swallow rows.
    """

    rows: str | None = None
    """Where a `.json` document holds its rows: the path of a list, such as `data.PlayerProfiles`.

    `users.*` means the members of the object `users`, and `*` those of the document; the
    name of each member is then the column `@key`. The path of an object without `*` is one
    row; `.` is the whole document. Default: the only list that the document holds.
    """

    id_column: str | None = None
    """The column that holds the player's id, instead of the preset's choice."""

    allow_odd_ids: bool = False
    """Whether to accept ids such as `NULL`, `7.65612E+16` or ` p2`, which are likely mistakes."""

    rename: Mapping[str, str] = field(default_factory=dict[str, str])
    """New names of currencies or items: `{"GO": "gold"}`. Others keep their names."""

    only: Collection[str] | None = None
    """The currencies or items to import, as the source names them. Others are left out, counted."""

    include: Collection[str] = frozenset()
    """What presets import only on request.

    `"expiring"`: items and balances with an expiration, as permanent ones. `"rentals"`: rented
    items, as owned ones. `"banned"` and `"disabled"`: players, balances and items in that state,
    as if they were in good standing.
    """

    skip_zero: bool = False
    """Whether to leave out rows whose amount or quantity is zero. Presets always do."""

    limit: int | None = None
    """Read at most this many rows of the source, from its start."""

    def __post_init__(self) -> None:
        # Copies: the caller may change its own. A frozen instance takes them only this way.
        object.__setattr__(self, "rename", _dict(self.rename))
        object.__setattr__(self, "only", None if self.only is None else _set("only", self.only))
        object.__setattr__(self, "include", _set("include", self.include))
        _one_of("format", self.format, get_args(Format))
        _one_of("quoting", self.quoting, get_args(Quoting))
        for name in ("delimiter", "encoding", "rows", "id_column"):
            _text(name, getattr(self, name))
        for name in ("multiline", "allow_odd_ids", "skip_zero"):
            _flag(name, getattr(self, name))
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


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")


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
        # Codecs such as base64 are refused too: they do not make text of bytes.
        b"a".decode(value, "replace")
    except LookupError:
        raise ValueError(
            f"encoding must be one that Python knows, such as 'utf-16' or 'cp1252', not {value!r}"
        ) from None
