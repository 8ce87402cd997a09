"""The commands that make one call each: thin functions over the SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from kraty_server_api.decoding import is_array, is_object
from kraty_server_api.model import Model
from kraty_server_api.models import DeletionReason, GrantKind, GrantSourceKind

from ._files import write_privately
from ._output import to_json
from ._state import INPUT, State, common, key_options, read_bytes

__all__ = ["grants", "inventory", "lobbies", "ping", "players", "wallet"]

F = TypeVar("F", bound=Callable[..., Any])

# Not `int`, which would read "1_000", and digits of other scripts, as numbers too.
_DIGITS: Final = re.compile(r"[0-9]{1,16}")


def _whole(text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise click.BadParameter(f"{text!r} is not a whole number such as 500")
    return int(text)


def _number(context: click.Context, parameter: click.Parameter, text: str) -> int:
    return _whole(text)


def _json_object(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> dict[str, Any] | None:
    if text is None:
        return None
    value: object = _parse(text)
    if not is_object(value):
        raise click.BadParameter('it must be a JSON object, such as {"ticket": "T-1"}')
    return value


def _parse(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"it is not JSON: {error}") from None
    return value


def _done(state: State, result: Model) -> None:
    """Print the result of a write."""
    if result.replayed:
        state.out.say("Already applied earlier with this key; nothing changed.")
    state.done(result)


def _adjustment(operation: str) -> Callable[[F], F]:
    """The options of a command that changes a balance or a holding."""
    reason = click.option("--reason", metavar="TEXT", help="Why; kept in the ledger.")
    source = click.option(
        "--source-ref-id", metavar="ID", help="What it is for, such as a receipt id; kept too."
    )
    key = key_options(operation, fulfils=True)
    return lambda function: reason(source(key(function)))


@click.command()
@common
@click.pass_obj
def ping(state: State) -> None:
    """Check that Kraty answers, and see which game and environment the key is for."""
    with state.client() as kraty:
        answer = kraty.health.ping()
        state.learn(kraty, answer)
    state.out.result(answer)


@click.group(no_args_is_help=False)
@common
def players() -> None:
    """Look players up, export, erase, ban and merge them."""


@players.command("get")
@click.argument("player")
@click.option(
    "--limit", type=int, metavar="N", help="How many of the newest grants, attempts and lobbies."
)
@common
@click.pass_obj
def get_player(state: State, player: str, limit: int | None) -> None:
    """Show a player's balances, items, and newest grants, attempts and lobbies.

    PLAYER is your own id of the player. Changes nothing.
    """
    with state.client() as kraty:
        state.out.result(kraty.players.get(player, limit=limit))


@players.command("export")
@click.argument("player")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE|-",
    help="Write it there, readable for you alone. Default: standard output.",
)
@common
@click.pass_obj
def export_player(state: State, player: str, output: Path | None) -> None:
    """Export all that is known of a player, as JSON (GDPR Article 15)."""
    with state.client() as kraty:
        bundle = kraty.players.export(player)
    if str(output) == "-":
        output = None
    if output is not None:
        write_privately(output, to_json(bundle, indent=2) + b"\n")
        state.out.say(f"Written to {output}")
    if output is None or state.out.as_json:
        state.out.document(bundle)


@players.command("delete")
@click.argument("player")
@click.option(
    "--reason",
    type=click.Choice(["gdpr_erasure", "studio_request", "test"]),
    help="The legal basis.",
)
@key_options("players.delete")
@common
@click.pass_obj
def delete_player(
    state: State, player: str, reason: DeletionReason | None, idempotency_key: str | None
) -> None:
    """Erase a player (GDPR Article 17). It cannot be undone.

    Attempts, lobbies and leaderboard entries become anonymous; ledgers stay for audits.
    """
    with state.client() as kraty:
        state.confirm(kraty, f"Erase player {player!r} for good", always=True)
        key = state.key(idempotency_key)
        _done(state, kraty.players.delete(player, reason=reason, idempotency_key=key))


@players.command("ban")
@click.argument("player")
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept for audits.")
@key_options("players.ban")
@common
@click.pass_obj
def ban_player(state: State, player: str, reason: str, idempotency_key: str | None) -> None:
    """Ban a player from the game. What the player has stays, and `unban` lifts it."""
    with state.client() as kraty:
        state.confirm(kraty, f"Ban player {player!r}")
        key = state.key(idempotency_key)
        _done(state, kraty.players.ban(player, reason=reason, idempotency_key=key))


@players.command("unban")
@click.argument("player")
@key_options("players.unban")
@common
@click.pass_obj
def unban_player(state: State, player: str, idempotency_key: str | None) -> None:
    """Lift a player's ban."""
    with state.client() as kraty:
        key = state.key(idempotency_key)
        _done(state, kraty.players.unban(player, idempotency_key=key))


@players.command("merge")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="INTO")
@key_options("players.merge")
@common
@click.pass_obj
def merge_players(state: State, source: str, target: str, idempotency_key: str | None) -> None:
    """Fold one player into another. It cannot be undone.

    What FROM has goes to INTO, and FROM is no more.
    """
    with state.client() as kraty:
        state.confirm(kraty, f"Fold player {source!r} into player {target!r} for good", always=True)
        key = state.key(idempotency_key)
        _done(state, kraty.players.merge(source, target, idempotency_key=key))


@click.group(no_args_is_help=False)
@common
def wallet() -> None:
    """Give players currency and take it from them."""


@wallet.command("credit")
@click.argument("player")
@click.argument("currency")
@click.argument("amount", callback=_number)
@_adjustment("wallet.credit")
@common
@click.pass_obj
def credit(
    state: State,
    player: str,
    currency: str,
    amount: int,
    reason: str | None,
    source_ref_id: str | None,
    idempotency_key: str | None,
) -> None:
    """Add AMOUNT of CURRENCY to a player's wallet.

    Pass the receipt id as --idempotency-key, so that a second run is recognised.
    """
    with state.client() as kraty:
        state.confirm(kraty, f"Credit {amount} {currency} to player {player!r}")
        result = kraty.wallet.credit(
            player,
            currency,
            amount=amount,
            reason=reason,
            source_ref_id=source_ref_id,
            idempotency_key=state.key(idempotency_key),
        )
    _done(state, result)


@wallet.command("debit")
@click.argument("player")
@click.argument("currency")
@click.argument("amount", callback=_number)
@_adjustment("wallet.debit")
@common
@click.pass_obj
def debit(
    state: State,
    player: str,
    currency: str,
    amount: int,
    reason: str | None,
    source_ref_id: str | None,
    idempotency_key: str | None,
) -> None:
    """Take AMOUNT of CURRENCY from a player's wallet. Refused if the balance is too low.

    Pass the id of the refund as --idempotency-key, so that a second run is recognised.
    """
    with state.client() as kraty:
        state.confirm(kraty, f"Debit {amount} {currency} from player {player!r}")
        result = kraty.wallet.debit(
            player,
            currency,
            amount=amount,
            reason=reason,
            source_ref_id=source_ref_id,
            idempotency_key=state.key(idempotency_key),
        )
    _done(state, result)


@click.group(no_args_is_help=False)
@common
def inventory() -> None:
    """Give players items and take them away."""


@inventory.command("grant")
@click.argument("player")
@click.argument("item")
@click.argument("quantity", callback=_number)
@_adjustment("inventory.grant")
@common
@click.pass_obj
def grant_item(
    state: State,
    player: str,
    item: str,
    quantity: int,
    reason: str | None,
    source_ref_id: str | None,
    idempotency_key: str | None,
) -> None:
    """Give a player QUANTITY of ITEM.

    Pass the receipt id as --idempotency-key, so that a second run is recognised.
    """
    with state.client() as kraty:
        state.confirm(kraty, f"Give {quantity} of item {item!r} to player {player!r}")
        result = kraty.inventory.grant(
            player,
            item,
            quantity=quantity,
            reason=reason,
            source_ref_id=source_ref_id,
            idempotency_key=state.key(idempotency_key),
        )
    _done(state, result)


@inventory.command("revoke")
@click.argument("player")
@click.argument("item")
@click.argument("quantity", callback=_number)
@_adjustment("inventory.revoke")
@common
@click.pass_obj
def revoke_item(
    state: State,
    player: str,
    item: str,
    quantity: int,
    reason: str | None,
    source_ref_id: str | None,
    idempotency_key: str | None,
) -> None:
    """Take QUANTITY of ITEM from a player. Refused if the player holds fewer.

    Pass the id of the chargeback as --idempotency-key, so that a second run is recognised.
    """
    with state.client() as kraty:
        state.confirm(kraty, f"Take {quantity} of item {item!r} from player {player!r}")
        result = kraty.inventory.revoke(
            player,
            item,
            quantity=quantity,
            reason=reason,
            source_ref_id=source_ref_id,
            idempotency_key=state.key(idempotency_key),
        )
    _done(state, result)


@click.group(no_args_is_help=False)
@common
def grants() -> None:
    """Pay out currencies, items and crates together."""


def _entry(text: str) -> Mapping[str, Any]:
    """An entry such as `currency:gold:500`; the key may hold colons itself."""
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
    raise click.BadParameter(f"{text!r} is none of currency:..., item:... and crate:...")


def _entries(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> list[Mapping[str, Any]]:
    return [_entry(text) for text in texts]


def _entries_file(
    context: click.Context, parameter: click.Parameter, name: str | None
) -> list[Mapping[str, Any]]:
    if name is None:
        return []
    try:
        text = read_bytes(name).decode("utf-8")
    except ValueError:
        raise click.BadParameter("it is not text in UTF-8") from None
    value = _parse(text)
    if not is_array(value):
        raise click.BadParameter("it must hold a JSON array of entries")
    entries: list[Mapping[str, Any]] = []
    for each in value:
        if not is_object(each):
            raise click.BadParameter("each of its entries must be a JSON object")
        entries.append(each)
    return entries


def _summary(entries: Sequence[Mapping[str, Any]]) -> str:
    """What will be paid out, for the confirmation."""
    parts: list[str] = []
    for entry in entries:
        names = ("currencyKey", "itemKey", "crateItemKey")
        key = next((entry[name] for name in names if name in entry), "?")
        parts.append(f"{entry.get('amount', entry.get('quantity', '?'))} {key}")
    return ", ".join(parts)


@grants.command("create")
@click.argument("player")
@click.option(
    "--entry",
    "entries",
    multiple=True,
    callback=_entries,
    metavar="TYPE:KEY:NUMBER",
    help="What to pay out: currency:gold:500, item:chest:1, crate:starter:1. Repeat it for more.",
)
@click.option(
    "--entries-file",
    "more",
    type=INPUT,
    callback=_entries_file,
    metavar="FILE|-",
    help="More entries, as a JSON array in the form of the API.",
)
@click.option("--kind", type=click.Choice(["reward", "crate"]), default="reward", show_default=True)
@click.option(
    "--source-kind",
    type=click.Choice(["api", "admin"]),
    default="admin",
    show_default=True,
    help="Who asks for it: a program, or a person.",
)
@click.option("--source-ref-id", metavar="ID", help="What it is for, such as a receipt id.")
@click.option("--expires-at", metavar="TIME", help="When it lapses if nobody claims it (RFC 3339).")
@click.option(
    "--metadata", callback=_json_object, metavar="JSON", help="An object that stays with the grant."
)
@key_options("grants.create", fulfils=True)
@common
@click.pass_obj
def create_grant(
    state: State,
    player: str,
    entries: list[Mapping[str, Any]],
    more: list[Mapping[str, Any]],
    kind: GrantKind,
    source_kind: GrantSourceKind,
    source_ref_id: str | None,
    expires_at: str | None,
    metadata: dict[str, Any] | None,
    idempotency_key: str | None,
) -> None:
    """Pay out currencies, items and crates to a player, all of it or nothing.

    Pass the receipt id as --idempotency-key, so that a second run is recognised.
    """
    whole = [*entries, *more]
    if not whole:
        raise click.UsageError("there is nothing to pay out: pass --entry or --entries-file")
    with state.client() as kraty:
        state.confirm(kraty, f"Grant {_summary(whole)} to player {player!r}")
        result = kraty.grants.create(
            player,
            idempotency_key=state.key(idempotency_key),
            entries=whole,
            kind=kind,
            source_kind=source_kind,
            expires_at=expires_at,
            source_ref_id=source_ref_id,
            metadata=metadata,
        )
    _done(state, result)


@grants.command("ack")
@click.argument("player")
@click.argument("grant")
@key_options("grants.ack")
@common
@click.pass_obj
def ack_grant(state: State, player: str, grant: str, idempotency_key: str | None) -> None:
    """Claim a grant for a player who has already been given what it holds.

    GRANT is the grant's id.
    """
    with state.client() as kraty:
        key = state.key(idempotency_key)
        _done(state, kraty.grants.ack(player, grant, idempotency_key=key))


@click.group(no_args_is_help=False)
@common
def lobbies() -> None:
    """Push lobbies from a matchmaker of your own, and read them."""


@lobbies.command("push")
@click.argument("game")
@click.argument("event")
@click.option("--key", required=True, metavar="ID", help="Your id of the lobby.")
@click.option(
    "--player", "players", multiple=True, required=True, metavar="ID", help="Repeat it for each."
)
@click.option("--capacity", type=int, metavar="N", help="How many participants fit.")
@click.option("--fill-bots/--no-fill-bots", default=None, help="Whether bots take free places.")
@click.option(
    "--metadata", callback=_json_object, metavar="JSON", help="An object that stays with the lobby."
)
@key_options("lobbies.push")
@common
@click.pass_obj
def push_lobby(
    state: State,
    game: str,
    event: str,
    key: str,
    players: tuple[str, ...],
    capacity: int | None,
    fill_bots: bool | None,
    metadata: dict[str, Any] | None,
    idempotency_key: str | None,
) -> None:
    """Host a lobby of players who were matched elsewhere.

    GAME is the game's id, EVENT the event's key.
    """
    with state.client() as kraty:
        result = kraty.lobbies.push(
            game,
            event,
            key=key,
            external_player_ids=players,
            capacity=capacity,
            fill_bots=fill_bots,
            metadata=metadata,
            idempotency_key=state.key(idempotency_key),
        )
    _done(state, result)


@lobbies.command("read")
@click.argument("game")
@click.argument("lobby")
@common
@click.pass_obj
def read_lobby(state: State, game: str, lobby: str) -> None:
    """Show a lobby. GAME and LOBBY are ids."""
    with state.client() as kraty:
        state.out.result(kraty.lobbies.read(game, lobby))
