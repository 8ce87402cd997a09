"""Turning the rows of another platform into the contract's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, cast

from ._options import ReadOptions
from ._presets import preset_for
from ._readers import parse_json
from ._rows import UNREADABLE, Item, Kind, Read, Row, Unreadable, excerpt
from ._validate import Field, fields

__all__ = ["RowMapping", "make_mapping", "parse_map"]

_DEFAULT: Final = ReadOptions()

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,400}")
_EXACT: Final = 2**53 - 1
"""Beyond this a float may stand for several whole numbers."""

_ABSENT: Final = object()


def parse_map(pairs: Iterable[str]) -> dict[str, str]:
    """The columns of a mapping as a command line gives them.

    Args:
        pairs: Such as `externalPlayerId=PlayFabId`, or `economyKey==gold` for a constant.

    Raises:
        ValueError: One is not of that form, or names a field that was named before.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, source = pair.partition("=")
        if not (name and equals and source):
            raise ValueError(
                f"{pair!r} is no mapping: write field=column, such as externalPlayerId=PlayFabId,"
                " or field==text for a constant"
            )
        if name in columns:
            raise ValueError(f"{pair!r} maps {name} again: it is {columns[name]!r} already")
        columns[name] = source
    return columns


class RowMapping:
    """Turns an item of one source into one or more items with the contract's fields."""

    def __init__(self, convert: Callable[[Read], list[Item]]) -> None:
        self._convert = convert
        self.notes: list[str] = []
        """What the user should know about the mapping, in sentences; complete when all is read."""

    def __call__(self, item: Read) -> list[Item]:
        """Map an item of the source.

        Raises:
            ValueError: The first row of the source does not fit the mapping or the preset.
        """
        return self._convert(item)


def make_mapping(
    kind: Kind,
    columns: Mapping[str, str] | None = None,
    preset: str | None = None,
    options: ReadOptions = _DEFAULT,
) -> RowMapping:
    """What turns a row of a source into rows as the contract has them: none, one or several.

    It is for one source: the columns are looked up in the first row that it is given.

    Args:
        kind: The kind of rows to make.
        columns: For each field of the contract, the column that it comes from. A dotted
            path goes into objects, also those that a cell holds as JSON; a column
            whose name is the path itself comes first. `=gold` stands for the text
            `gold` on every row. `contextSnapshot.country` and `parameters.level` name
            members to build those objects of. Columns that are not named stay behind.
        preset: A platform whose exports are understood as they are; `columns` then
            override single fields.
        options: Which rows and ids are taken.

    Returns:
        The mapping. It passes on what is unreadable. Without columns and a preset,
        rows keep their fields. In all cases text becomes a number or an object where the
        contract wants one and the text is one, and an optional field is left out where its
        value is null or empty text.

    Raises:
        ValueError: The contract lacks such a field, a field that it requires has no
            column, or there is no such preset. The mapping raises it for the first row:
            there is no such column.
    """
    wire = fields(kind)
    targets = _targets(kind, columns or {})
    convert_preset = None if preset is None else preset_for(preset, kind)
    if targets and convert_preset is None:
        _check_complete(kind, targets)
    unchecked = True

    def to_wire(item: Read) -> list[Item]:
        nonlocal unchecked
        if isinstance(item, Unreadable):
            return [item]
        number, source, count, _ = item
        if unchecked:
            _check_columns(targets, source)
            if convert_preset is not None:
                convert_preset.check(source, {target.name for target in targets})
            unchecked = False
        if convert_preset is not None:
            try:
                rows = convert_preset.rows(source)
            except ValueError as error:
                return [_unreadable(number, str(error), source)._replace(source=count)]
        else:
            rows = [dict[str, Any]()] if targets else [source]
        return [Row(number, _converted(wire, _filled(row, targets, source)), count) for row in rows]

    return RowMapping(to_wire)


def _unreadable(number: int, message: str, source: Mapping[str, Any]) -> Unreadable:
    return Unreadable(number, UNREADABLE, message, excerpt(json.dumps(source, default=str)))


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
        raise ValueError(f"{kind} rows have no field {name!r}: there are {allowed}")


def _check_complete(kind: Kind, targets: Iterable[_Target]) -> None:
    mapped = {target.path[0] for target in targets}
    lacking = [
        name for name, field in fields(kind).items() if field.required and name not in mapped
    ]
    if lacking:
        raise ValueError(
            f"{kind} rows need {' and '.join(lacking)}: map a column to each, or a constant"
            f" such as {lacking[0]}==text"
        )


def _check_columns(targets: Iterable[_Target], source: Mapping[str, Any]) -> None:
    for target in targets:
        if target.constant is None and not _has_column(source, target.source):
            column = target.source
            raise ValueError(f"no column {column!r}: there are {', '.join(map(str, source))}")


def _has_column(source: Mapping[str, Any], path: str) -> bool:
    # What is within an object may differ from row to row; the column itself may not.
    return path in source or any(path.startswith(f"{name}.") for name in source)


def _filled(
    row: Mapping[str, Any], targets: Iterable[_Target], source: Mapping[str, Any]
) -> dict[str, Any]:
    """A row with the values of the columns that were asked for."""
    filled = dict(row)
    for name, path, column, constant in targets:
        value = constant if constant is not None else _look_up(source, column)
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
    """What a path leads to: the longest name that there is goes first."""
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


def _converted(wire: Mapping[str, Field], row: Mapping[str, Any]) -> dict[str, Any]:
    converted: dict[str, Any] = {}
    for name, value in row.items():
        field = wire.get(name)
        if field is None:
            converted[name] = value
        elif field.required or (value is not None and value != ""):
            converted[name] = _CONVERSIONS[field.type](value)
    return converted


def _to_whole(value: object) -> object:
    if isinstance(value, str):
        text = value.strip()
        return int(text) if _WHOLE.fullmatch(text) else value
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value


def _to_text(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:
            return value  # of too many digits
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
