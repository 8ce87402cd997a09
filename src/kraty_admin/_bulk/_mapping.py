"""Turn the rows of another platform into rows of the contract."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, cast
from unicodedata import category

from kraty_server_api import checks

from ._json_rows import parse_json
from ._options import ReadOptions
from ._presets import Left, Preset, is_zero, preset_for
from ._rows import AMOUNT_FIELDS, INVALID, Item, Kind, LeftOut, Read, Row, Unreadable, listed
from ._validate import fields
from ._values import SCALARS, plain

__all__ = ["RowMapping", "make_mapping", "parse_map"]

_DEFAULT: Final = ReadOptions()

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,400}")
_EXACT: Final = 2**53 - 1
"""Above this, a float may stand for several whole numbers."""

_SHORT: Final = 19
"""Numbers with fewer characters need no pattern."""

_ABSENT: Final = object()


def parse_map(pairs: Iterable[str]) -> dict[str, str]:
    """Parse a mapping in the form of the command line's `--map`.

    Args:
        pairs: Texts such as `externalPlayerId=PlayFabId`, or `economyKey==gold` for a constant.

    Returns:
        The mapping, for the argument `mapping` of imports.

    Raises:
        ValueError: A pair has another form, or two pairs name the same field.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, source = pair.partition("=")
        if not (name and equals and source):
            raise ValueError(
                f"{pair!r} is not a mapping: write field=column, such as"
                " externalPlayerId=PlayFabId, or field==text for a constant"
            )
        if name in columns:
            raise ValueError(f"{pair!r} maps {name} a second time, after {columns[name]!r}")
        columns[name] = source
    return columns


def make_mapping(
    kind: Kind,
    columns: Mapping[str, str] | None = None,
    preset: str | None = None,
    options: ReadOptions = _DEFAULT,
) -> RowMapping:
    """Return a mapping from the rows of a source to rows of the contract.

    A mapping is for one source: it looks the columns up in the first row that it is called with.

    Args:
        kind: The kind of rows to make.
        columns: For each field of the contract, the column that it comes from. A dotted
            path leads into objects, even into a cell that holds an object as JSON. A column
            whose name is the path itself has precedence. `=gold` means the text `gold` on
            every row. Fields such as `contextSnapshot.country` and `parameters.level` build
            an object from its members. Other columns are ignored.
        preset: A platform whose exports need no columns; `columns` then override single
            fields.
        options: Which rows and ids to import, and which keys to rename.

    Returns:
        The mapping. Without columns and a preset, rows keep their fields. In all cases, values
        that JSON lacks are converted. Text becomes a number or an object if the contract
        wants one and the text is one. An optional field is left out if its value is null or
        empty text.

    Raises:
        ValueError: The contract has no such field, a field that it requires has no column,
            there is no such preset, or an option does not apply. The mapping raises it when
            the first row lacks a column.
    """
    targets = _targets(kind, columns or {})
    known = None if preset is None else preset_for(preset, kind)
    if known is not None:
        _check_override(kind, known.name, targets)
    elif targets:
        _check_complete(kind, targets)
    _check_options(kind, options, known, {target.name for target in targets})
    return RowMapping(kind, targets, known, options)


def _check_override(kind: Kind, preset: str, targets: Sequence[_Target]) -> None:
    """Refuse a column whose value would go into all rows made from one row of the source."""
    for target in targets:
        if target.path[0] in AMOUNT_FIELDS.get(kind, ()):
            raise ValueError(
                f"{target.name} cannot be mapped: the preset {preset} reads it from the export,"
                " where a player may have several. To rename one, pass rename={'GO': 'gold'}"
                " (--rename GO=gold). To import only some, pass only={'GO'} (--only GO)"
            )


def _check_options(
    kind: Kind, options: ReadOptions, preset: Preset | None, mapped: AbstractSet[str]
) -> None:
    if kind == "players":
        for name in ("rename", "only", "skip_zero"):
            if getattr(options, name):
                raise ValueError(f"{name} applies to balances and items, not to players")
    if options.id_column is not None:
        if preset is None:
            raise ValueError("id_column applies to presets: map externalPlayerId to the column")
        if "externalPlayerId" in mapped:
            raise ValueError(
                "id_column and a mapping of externalPlayerId both name a column: pass one of them"
            )
    allowed = frozenset[str]() if preset is None else preset.includes
    for name in sorted(frozenset(options.include) - allowed):
        what = (
            "only presets leave out"
            if preset is None
            else f"the preset {preset.name} leaves out no"
        )
        raise ValueError(f"include={name!r} does not apply: {what} such rows")


class RowMapping:
    """Turns a row of one source into one or more items with the contract's fields."""

    def __init__(
        self,
        kind: Kind,
        targets: Sequence[_Target],
        preset: Preset | None,
        options: ReadOptions,
    ) -> None:
        self._kind: Kind = kind
        self._targets = targets
        self._preset = preset
        self._options = options
        self._include = frozenset(options.include)
        # In most mappings, each field comes from a whole column or a constant.
        self._is_plain = bool(targets) and all(len(target.path) == 1 for target in targets)
        wire = fields(kind)
        self._convert = {name: _CONVERSIONS[field.type] for name, field in wire.items()}
        self._convert_text = {
            name: _CONVERSIONS[field.type] for name, field in wire.items() if field.type != "string"
        }
        self._optional = frozenset(name for name, field in wire.items() if not field.required)
        self._key, self._amount = AMOUNT_FIELDS.get(kind, ("", ""))
        self._selects = bool(options.rename or options.only is not None or options.skip_zero)
        self._id_column: str | None = None
        self._unchecked = True
        self._unused = {*options.rename, *(options.only or ())}
        self._notes: list[str] = []

    @property
    def notes(self) -> list[str]:
        """Notes for the user about the mapping. They are complete when all rows are read."""
        unused = [
            f"{name!r} is in rename or only, but no row has it" for name in sorted(self._unused)
        ]
        return self._notes + unused

    def __call__(self, item: Read) -> list[Item]:
        """Map a row of the source.

        Raises:
            ValueError: The first row of the source does not fit the mapping or the preset.
        """
        if isinstance(item, Unreadable):
            # Without its text, because the line may hold fields that the preset drops, such as a
            # password's hash.
            return [item if self._preset is None else item._replace(text="", layout=None)]
        if item.mapped:
            return [self._finished(item, item.row)]
        if self._preset is not None:
            return self._of_preset(item, self._preset)
        if self._unchecked:
            self._check(item.row)
        source = item.row
        if self._is_plain:
            row: dict[str, Any] = {}
            for name, _, column, constant in self._targets:
                if constant is not None:
                    row[name] = constant
                elif column in source:
                    row[name] = source[column]
                else:
                    found = _look_up(source, column)
                    if found is not _ABSENT:
                        row[name] = found
        else:
            row = _filled({}, self._targets, source) if self._targets else source
        return [self._selected(item, row) if self._selects else self._finished(item, row)]

    # Presets

    def _of_preset(self, item: Row, preset: Preset) -> list[Item]:
        try:
            source = preset.unwrap(item.row)
        except RecursionError:
            return [_failed(item, _TOO_DEEP, None)]
        if self._unchecked:
            self._check_preset(source, preset)
        column = self._id_column
        player = None if column is None else source.get(column)
        if column is not None and (player is None or player == ""):
            message = f"{column!r}, the column of the players' ids, is empty"
            return [_failed(item, message, None)]
        try:
            made = preset.made(source, player, self._include)
        except ValueError as error:
            return [_failed(item, str(error), self._only_id(player))]
        except RecursionError:
            return [_failed(item, _TOO_DEEP, None)]
        if not made:
            return [LeftOut(item.number, "nothing", _NOTHING[self._kind], item.source)]
        return [
            LeftOut(item.number, each.reason, each.message, item.source)
            if isinstance(each, Left)
            else self._selected(item, _filled(each, self._targets, source))
            for each in made
        ]

    def _only_id(self, player: object) -> dict[str, Any] | None:
        """Return the part of a row for the failures file, if the preset does not understand it."""
        # Not for players: a row with only an id would be valid, and imported without being fixed.
        return None if self._kind == "players" or player is None else {_PLAYER: _to_text(player)}

    def _check_preset(self, source: Mapping[str, Any], preset: Preset) -> None:
        _check_columns(self._targets, source)
        self._unchecked = False
        if any(target.name == _PLAYER for target in self._targets):
            return
        wanted = self._options.id_column
        if wanted is not None:
            if wanted not in source:
                raise ValueError(f"Column {wanted!r} not found. {_has(source)}")
            self._id_column = wanted
            return
        there = [name for name in preset.ids if name in source]
        if not there:
            advice = f". {preset.advice}" if preset.advice else ""
            raise ValueError(
                f"No column for the player's id: the preset {preset.name} looks for"
                f" {', '.join(preset.ids)}. {_has(source)}. Name one with id_column="
                f" (--id-column){advice}"
            )
        filled = [name for name in there if source[name] not in (None, "")]
        chosen, *others = [*filled, *(name for name in there if name not in filled)]
        self._id_column = chosen
        more = f"; {', '.join(others)} could hold them too: see id_column" if others else ""
        self._notes.append(f"the players' ids come from the column {chosen}{more}")

    # Other sources

    def _check(self, source: Mapping[str, Any]) -> None:
        self._unchecked = False
        _check_columns(self._targets, source)
        if self._targets:
            return
        lacking = _lacking(self._kind, source)
        if lacking:
            raise ValueError(
                f"{self._kind} rows need {' and '.join(lacking)}. {_has(source)}. Say which column"
                f" holds {'it' if len(lacking) == 1 else 'each'}: {_suggested(lacking, source)}"
            )

    # Rows

    def _selected(self, item: Row, row: dict[str, Any]) -> Item:
        """Return the item of a row, unless an option leaves it out."""
        key = row.get(self._key)
        if isinstance(key, str):
            self._unused.discard(key)
            if self._options.only is not None and key not in self._options.only:
                message = f"{key!r} is not in only"
                return LeftOut(item.number, "not_selected", message, item.source)
            if key in self._options.rename:
                row = {**row, self._key: self._options.rename[key]}
        if self._options.skip_zero and is_zero(row.get(self._amount)):
            return LeftOut(item.number, "zero", f"{self._amount} is zero", item.source)
        return self._finished(item, row)

    def _finished(self, item: Row, row: Mapping[str, Any]) -> Item:
        """Convert a row's fields and check its id. Return the item."""
        converted: dict[str, Any] = {}
        for name, value in row.items():
            if type(value) is str:
                if not value and name in self._optional:
                    continue
                convert = self._convert_text.get(name)
            else:
                if type(value) not in SCALARS:
                    try:
                        value = plain(value)
                    except ValueError as error:
                        return _failed(item, f"{name} {error}", None)
                    except RecursionError:
                        return _failed(item, f"{name} is nested too deeply", None)
                if (value is None or value == "") and name in self._optional:
                    continue
                convert = self._convert.get(name)
            converted[name] = value if convert is None else convert(value)
        player = converted.get(_PLAYER)
        if isinstance(player, str) and _COMMON_ID.fullmatch(player) is None:
            problem = self._odd(player)
            if problem is not None:
                return _failed(item, problem, converted)
        return Row(item.number, converted, item.source)

    def _odd(self, player: str) -> str | None:
        try:
            checks.identifier(_PLAYER, player)
        except ValueError as error:
            return str(error)
        if self._options.allow_odd_ids:
            return None
        why = odd_id(player)
        return (
            why
            and f"{_PLAYER} {why}; to import it anyway, pass allow_odd_ids=True (--allow-odd-ids)"
        )


def _failed(item: Row, message: str, row: dict[str, Any] | None) -> Unreadable:
    return Unreadable(item.number, INVALID, message, "", item.source, row)


_TOO_DEEP: Final = "the row is nested too deeply"
_PLAYER: Final = "externalPlayerId"
_NOTHING: Final[Mapping[str, str]] = {
    "players": "there is no player",
    "wallet": "the player has no balances",
    "inventory": "the player has no items",
}


# Ids

_COMMON_ID: Final = re.compile(
    r"(?!(?:null|none|nil|nan|nat|na|undefined)$)[A-Za-z0-9_-]+", re.IGNORECASE
)
"""Ids that need no closer look."""

_MISSING: Final = frozenset(
    {"null", "none", "nil", "nan", "nat", "na", "n/a", "#n/a", "<na>", "<null>", "(null)", "\\n"}
    | {"undefined", "-"}
    # The errors of a spreadsheet. It takes an id that begins with - or = for a formula.
    | {"#name?", "#ref!", "#value!", "#num!", "#null!", "#div/0!"}
)
_SCIENTIFIC: Final = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+)[eE][+-]?\d+|[+-]?\d+[eE]\+\d+")
_DECIMAL: Final = re.compile(r"[+-]?\d+\.0*")
_FORMULA: Final = re.compile(r'="[^"]*"')
"""A formula that keeps a spreadsheet from reading a text as a number."""


def odd_id(player: str) -> str | None:
    """Return why an id is likely a mistake in an export, to follow the field's name.

    Returns:
        The reason; `None` if the id looks right.
    """
    if player != player.strip():
        return "begins or ends with white space"
    if "Cf" in (category(player[0]), category(player[-1])):
        # Such as the byte order mark of a file that was appended to another.
        return "begins or ends with an invisible character"
    if player.casefold() in _MISSING:
        return "is a text that programs write for a missing value"
    if _SCIENTIFIC.fullmatch(player):
        return "is a number in scientific notation, which loses digits: export ids as text"
    if _DECIMAL.fullmatch(player):
        return "is a number with a decimal point: export ids as text"
    if _FORMULA.fullmatch(player):
        return "is a formula of a spreadsheet: export ids as text"
    return None


# Columns


class _Target(NamedTuple):
    name: str
    path: tuple[str, ...]
    source: str
    constant: str | None


def _targets(kind: Kind, columns: Mapping[str, str]) -> list[_Target]:
    targets: list[_Target] = []
    for name, source in columns.items():
        path = tuple(name.split("."))
        _check_target(kind, name, path)
        if not source:
            raise ValueError(f"{name} is mapped to a column without a name")
        constant = source[1:] if source.startswith("=") else None
        targets.append(_Target(name, path, source, constant))
    for one in targets:
        for other in targets:
            if len(one.path) < len(other.path) and one.path == other.path[: len(one.path)]:
                raise ValueError(f"{one.name} and {other.name} are both mapped: map one of them")
    return targets


def _check_target(kind: Kind, name: str, path: tuple[str, ...]) -> None:
    wire = fields(kind)
    field = wire.get(path[0])
    if field is None or (len(path) > 1 and field.type != "object") or not all(path):
        allowed = ", ".join(
            f"{each} (or {each}.<member>)" if wire[each].type == "object" else each for each in wire
        )
        raise ValueError(f"{kind} rows have no field {name!r}; the fields are {allowed}")


def _check_complete(kind: Kind, targets: Iterable[_Target]) -> None:
    lacking = _lacking(kind, {target.path[0] for target in targets})
    if lacking:
        raise ValueError(
            f"{kind} rows need {' and '.join(lacking)}: map a column to each, or a constant"
            f" such as {lacking[0]}==text"
        )


def _lacking(kind: Kind, names: Container[str]) -> list[str]:
    """Return the fields that rows of this kind require and that are not among the names."""
    return [name for name, field in fields(kind).items() if field.required and name not in names]


def _check_columns(targets: Iterable[_Target], source: Mapping[str, Any]) -> None:
    for target in targets:
        if target.constant is None and not _has_column(source, target.source):
            joined = _delimiter_within(source)
            close = [] if joined else get_close_matches(target.source, map(str, source), 1)
            hint = f" Try {_as_map(target.name, close[0])}." if close else ""
            raise ValueError(f"Column {target.source!r} not found. {_has(source)}.{hint}")


def _delimiter_within(source: Mapping[str, Any]) -> str | None:
    """Return the delimiter in the name of the only column; `None` if there is none."""
    alone = str(next(iter(source))) if len(source) == 1 else ""
    return next((each for each in (";", "\t", "|", ",") if each in alone), None)


def _has(source: Mapping[str, Any]) -> str:
    """List the columns, or say which delimiter to pass if they were not separated."""
    found = _delimiter_within(source)
    if found is not None:
        return (
            f"The source has one column, whose name contains {found!r}: pass delimiter={found!r}"
            f" (--delimiter {found!r})"
        )
    return f"The source has {listed(source)}"


def _as_map(name: str, column: str) -> str:
    return f"mapping={{{name!r}: {column!r}}} (--map {shlex.quote(f'{name}={column}')})"


_USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    "externalPlayerId": ("playerid", "userid", "uid", "accountid", "playfabid", "localid", "id"),
    "economyKey": ("currency", "currencycode", "currencyid", "economy"),
    "amount": ("balance", "amount", "value", "coins", "gold"),
    "itemKey": ("item", "itemid", "itemcode", "sku"),
    "quantity": ("count", "qty", "amount", "quantity"),
}
"""Frequent names of columns, in lower case and without punctuation."""


def _suggested(fields: Iterable[str], source: Mapping[str, Any]) -> str:
    """Return the options to type, with the most likely columns."""
    plain_names = {re.sub(r"\W|_", "", str(name)).casefold(): str(name) for name in source}
    options: list[str] = []
    for field in fields:
        likely = next(
            (plain_names[name] for name in _USUAL[field] if name in plain_names), "COLUMN"
        )
        options.append(f"--map {shlex.quote(f'{field}={likely}')}")
    return f"mapping= ({' '.join(options)})"


def _has_column(source: Mapping[str, Any], path: str) -> bool:
    # The members of an object may differ from row to row, but not the columns.
    return path in source or any(path.startswith(f"{name}.") for name in source)


def _filled(
    row: Mapping[str, Any], targets: Iterable[_Target], source: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a row with the values of the mapped columns."""
    filled = {**row}
    for name, path, column, constant in targets:
        if constant is not None:
            value: object = constant
        elif column in source:
            value = source[column]
        else:
            value = _look_up(source, column)
        if len(path) == 1:
            if value is _ABSENT:
                filled.pop(name, None)
            else:
                filled[name] = value
        elif value is not _ABSENT and value is not None and value != "":
            _put(filled, path, value)
    return filled


def _put(row: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    within = row
    for name in path[:-1]:
        inner: object = within.get(name)
        # A copy: the object may be the source's own.
        within[name] = dict(cast("dict[str, Any]", inner)) if isinstance(inner, dict) else {}
        within = within[name]
    within[path[-1]] = value


def _look_up(source: object, path: str) -> object:
    """Return the value at a path. The longest name that exists has precedence."""
    members = _as_object(source)
    if members is None:
        return _ABSENT
    if path in members:
        return members[path]
    end = path.rfind(".")
    while end > 0:
        name = path[:end]
        if name in members:
            found = _look_up(members[name], path[end + 1 :])
            if found is not _ABSENT:
                return found
        end = path.rfind(".", 0, end)
    return _ABSENT


def _as_object(value: object) -> dict[str, Any] | None:
    if isinstance(value, str):
        if not value.lstrip().startswith("{"):
            return None
        try:
            value = parse_json(value)
        except ValueError:
            return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


# Values


def _to_whole(value: object) -> object:
    if isinstance(value, str):
        if len(value) < _SHORT and value.isdecimal() and value.isascii():
            return int(value)
        text = value.strip()
        return int(text) if _WHOLE.fullmatch(text) else value
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value


def _to_text(value: object) -> object:
    if type(value) is str:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:
            return value  # it has too many digits
    return value


def _to_object(value: object) -> object:
    if not isinstance(value, str):
        return value
    members = _as_object(value)
    return value if members is None else members


_CONVERSIONS: Final[Mapping[str, Callable[[object], object]]] = {
    "integer": _to_whole,
    "string": _to_text,
    "object": _to_object,
}
