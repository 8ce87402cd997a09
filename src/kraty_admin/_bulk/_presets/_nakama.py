"""Nakama: its table of users, and the accounts that its console exports.

Verified against code of Heroic Labs: the table (20180103142001_initial_schema.sql of
heroiclabs/nakama: `id`, `wallet` as JSON, `disable_time`) and the account (`Account` and `User` in
api.proto of heroiclabs/nakama-common: the wallet is text that holds JSON). From documentation only:
an export of the console wraps the account in `account`. Nakama itself has no inventory; each game
stores items as storage objects in its own format.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final

from ._base import (
    Left,
    Made,
    Preset,
    Source,
    as_mapping,
    balance,
    first_of,
    iso,
    of_map,
    player_row,
)

__all__ = ["NAKAMA"]

_IDS: Final = ("id", "user_id")
_MARKS: Final = frozenset({"wallet", "create_time", "disable_time"})
_SYSTEM: Final = "00000000-0000-0000-0000-000000000000"
_NOT_DISABLED: Final = ("1970-01-01", "1969-12-31")
"""The time of users that are not disabled is the start of 1970, in UTC. A database shows it in its
own zone: west of UTC, that is a day earlier."""


def _unwrap(source: Source) -> Source:
    """Take the account out of an export, and merge its user into it."""
    account = as_mapping(source.get("account")) or source
    user = as_mapping(account.get("user"))
    return account if user is None else {**account, **user}


def _left(source: Source, player: object, include: AbstractSet[str]) -> Left | None:
    if str(player) == _SYSTEM:
        return Left("system", "it is the system user, not a player")
    disabled = first_of(source, "disable_time")
    if isinstance(disabled, datetime):
        disabled = disabled.isoformat()
    if disabled is None or str(disabled).startswith(_NOT_DISABLED) or "disabled" in include:
        return None
    return Left("disabled", "disable_time is set")


def _players(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    created = first_of(source, "create_time")
    yield player_row(player, createdAt=iso(created) if isinstance(created, str) else created)


def _wallet(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    for key, amount in of_map(source, "wallet"):
        yield balance(player, key, amount)


NAKAMA: Final = {
    kind: Preset(
        "nakama",
        _IDS,
        _MARKS,
        convert,
        unwrap=_unwrap,
        leave_out=_left,
        includes=frozenset({"disabled"}),
    )
    for kind, convert in (("players", _players), ("wallet", _wallet))
}
