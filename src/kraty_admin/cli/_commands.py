"""The commands that make one call each, from the generated table and a few overrides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from kraty_admin import KratyAdmin
from kraty_server_api.command import CommandRow
from kraty_server_api.commands import COMMANDS
from kraty_server_api.decoding import is_array, is_object

from ._files import write_privately
from ._help import Group
from ._output import to_json
from ._player_profile import contents_of, profile_view
from ._rows import Overrides, Values, command_of, parse_json
from ._state import INPUT, State

__all__ = ["call_commands"]

_DIGITS: Final = re.compile(r"[0-9]{1,16}")


def _export_command(row: CommandRow) -> click.Command:
    command = command_of(row)
    # No --fields: the law requires the whole document.
    command.params = [each for each in command.params if each.name != "fields"]
    command.params.append(
        click.Option(
            ["-o", "--output"],
            type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
            metavar="FILE|-",
            help="Write to this file, which only you can read. Default: standard output.",
        )
    )
    command.callback = _export_player
    return command


@click.pass_obj
def _export_player(state: State, external_player_id: str, output: Path | None) -> None:
    with state.client() as kraty:
        bundle = kraty.players.export(external_player_id)
    if str(output) == "-":
        output = None
    if output is not None:
        write_privately(output, to_json(bundle, indent=2) + b"\n")
        state.out.say(f"Written to {output}")
    if output is None or state.out.as_json:
        state.out.document(bundle)


def _entry(text: str) -> Mapping[str, Any]:
    """Parse an entry such as `currency:gold:500`; the key may contain colons."""
    kind, _, rest = text.partition(":")
    key, _, number = rest.rpartition(":")
    if not key or not _DIGITS.fullmatch(number):
        raise click.BadParameter(
            f"{text!r} is not an entry such as currency:gold:500, item:chest:1 or crate:starter:1"
        )
    if kind == "currency":
        return {"type": "currency", "currencyKey": key, "amount": int(number)}
    if kind == "item":
        return {"type": "item", "itemKey": key, "quantity": int(number)}
    if kind == "crate":
        return {"type": "crate", "crateItemKey": key, "quantity": int(number)}
    raise click.BadParameter(f"{text!r} must begin with currency:, item: or crate:")


def _entries(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> list[Mapping[str, Any]]:
    return [_entry(text) for text in texts]


def _entries_file(
    context: click.Context, parameter: click.Parameter, name: str | None
) -> list[Mapping[str, Any]]:
    if name is None:
        return []
    value = parse_json(f"@{name}")
    if not is_array(value):
        raise click.BadParameter("it must hold a JSON array of entries")
    entries: list[Mapping[str, Any]] = []
    for each in value:
        if not is_object(each):
            raise click.BadParameter("each of its entries must be a JSON object")
        entries.append(each)
    return entries


def _join_entries(values: Values) -> None:
    values["entries"] += values.pop("more")
    if not values["entries"]:
        raise click.UsageError("there is nothing to pay out: pass --entry or --entries-file")


_ENTRIES: Final = (
    click.Option(
        ["entries", "--entry"],
        multiple=True,
        callback=_entries,
        metavar="TYPE:KEY:NUMBER",
        help="What to pay out: currency:gold:500, item:chest:1 or crate:starter:1. Repeat the "
        "option for more.",
    ),
    click.Option(
        ["more", "--entries-file"],
        type=INPUT,
        callback=_entries_file,
        metavar="FILE|-",
        help="More entries, as a JSON array in the form of the API.",
    ),
)


def _show_game(state: State, kraty: KratyAdmin, answer: Mapping[str, Any]) -> None:
    state.learn(kraty, answer)
    state.out.result(answer)


def _show_profile(state: State, kraty: KratyAdmin, profile: Mapping[str, Any]) -> None:
    state.out.result(profile, profile_view)


def _asks(template: str) -> Overrides:
    """Return the override of a question: a template, filled with the SDK's arguments."""
    return Overrides(question=lambda row, values: template.format(**values))


_OVERRIDES: Final[Mapping[str, Overrides]] = {
    "health.ping": Overrides(show=_show_game),
    "players.get": Overrides(show=_show_profile),
    "wallet.credit": _asks("Credit {amount} {economy_key} to player {external_player_id!r}"),
    "wallet.debit": _asks("Debit {amount} {economy_key} from player {external_player_id!r}"),
    "inventory.grant": _asks(
        "Give {quantity} of item {item_key!r} to player {external_player_id!r}"
    ),
    "inventory.revoke": _asks(
        "Take {quantity} of item {item_key!r} from player {external_player_id!r}"
    ),
    "grants.create": Overrides(
        question=lambda row, values: (
            f"Grant {contents_of(values)} to player {values['external_player_id']!r}"
        ),
        options={"entries": _ENTRIES},
        prepare=_join_entries,
    ),
    "leaderboards.submit_score": _asks(
        "Submit the score {value} of player {external_player_id!r} to leaderboard {key!r}"
    ),
    "events.report_progress": _asks(
        "Report progress of player {external_player_id!r} in event {event_key!r}"
    ),
    "events.finish": _asks(
        "Finish the attempt of player {external_player_id!r} in event {event_key!r}"
    ),
    "players.ban": _asks("Ban player {external_player_id!r}"),
    "players.delete": _asks("Erase player {external_player_id!r} permanently"),
    "players.merge": _asks(
        "Merge player {from_external_player_id!r} into player {to_external_player_id!r} permanently"
    ),
}

_BY_HAND: Final = frozenset({"migrate.players", "migrate.wallet", "migrate.inventory"})
"""The operations whose commands are in another module."""

_GROUPS: Final[Mapping[str, str]] = {
    "players": "Look up, export, erase, ban and merge players.",
    "wallet": "Credit and debit the currencies of players.",
    "inventory": "Give items to players, and take them back.",
    "grants": "Pay out currencies, items and crates together.",
    "leaderboards": "Submit the scores of players.",
    "events": "Report the progress of players in events.",
    "lobbies": "Create lobbies for your own matchmaker, and show them.",
}
"""The help texts of the groups of commands."""


def call_commands(rows: Sequence[CommandRow] = COMMANDS) -> Iterator[click.Command]:
    """Yield the groups and commands for rows of the generated table."""
    groups: dict[str, Group] = {}
    for row in rows:
        if row.operation in _BY_HAND:
            continue
        if row.operation == "players.export":
            command = _export_command(row)
        else:
            command = command_of(row, _OVERRIDES.get(row.operation, Overrides()))
        if len(row.path) == 1:
            yield command
            continue
        name = row.path[0]
        if name not in groups:
            usual = f"Call the methods of the SDK's `{name}`."
            groups[name] = Group(name, section=row.group, help=_GROUPS.get(name, usual))
        groups[name].add_command(command)
    yield from groups.values()
