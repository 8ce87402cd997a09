"""Firebase: users of Authentication, and documents of Firestore and the Realtime Database.

Verified against code and documents:
- `firebase auth:export`, as JSON and as CSV without a header: accountExporter.ts of
  firebase/firebase-tools.
- Firestore: `{"path", "data"}` by line (firestore-backfire), `__collections__` (README of
  node-firestore-import-export), `document_id` and `data` (firestore-bigquery-export).
- Realtime Database: an export keeps the tree of the database.

Firebase itself has no balances or items. This preset assumes that a document holds them as a map
under one of the names below. For other names, use a mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from csv import reader
from typing import Any, Final

from .._delimited import Headerless
from .._json_rows import KEY
from ._base import (
    Left,
    Made,
    Preset,
    Source,
    as_list,
    as_mapping,
    balance,
    first_of,
    holding,
    milliseconds,
    of_map,
    player_row,
    text_of,
)

__all__ = ["FIREBASE"]

# The document's name comes first, because its fields may hold ids of other things.
_IDS: Final = (KEY, "localId", "uid", "userId", "id")
_BALANCES: Final = ("wallet", "balances", "currencies")
_ITEMS: Final = ("inventory", "items")
_MARKS: Final = frozenset(
    {*_BALANCES, *_ITEMS, "localId", "createdAt", "providerUserInfo", "customAttributes"}
)


def _unwrap(source: Source) -> Source:
    """Remove what the tools for Firestore put around a document."""
    if "data" not in source:
        return source
    key = first_of(source, "document_id")
    path = text_of(source, "path", "document_name")
    if key is None and path is not None:
        key = path.rpartition("/")[2]
    data = as_mapping(source["data"])
    return source if key is None or data is None else {**data, KEY: key}


def _disabled(source: Source, player: object, include: AbstractSet[str]) -> Left | None:
    if source.get("disabled") not in (True, "true") or "disabled" in include:
        return None
    return Left("disabled", "the user is disabled")


def _players(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    """Read a user of Authentication. Of `customAttributes`, only country and platform are used."""
    attributes = as_mapping(source.get("customAttributes")) or {}
    providers = [text_of(each, "providerId") for each in as_list(source, "providerUserInfo")]
    yield player_row(
        player,
        country=text_of(attributes, "country"),
        platform=text_of(attributes, "platform"),
        createdAt=milliseconds(first_of(source, "createdAt")),
        lastLoginAt=milliseconds(first_of(source, "lastSignedInAt")),
        providers=[name for name in (providers or _csv_providers(source)) if name] or None,
    )


def _csv_providers(source: Source) -> list[str | None]:
    return [name for name in _PROVIDERS if first_of(source, f"{name}.rawId") is not None]


def _wallet(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    """Read a map from currency to balance."""
    for key, amount in _map(source, _BALANCES, _ITEMS):
        yield balance(player, key, amount)


def _inventory(source: Source, player: object, include: AbstractSet[str]) -> Iterator[Made]:
    """Read a map from item to quantity."""
    for key, quantity in _map(source, _ITEMS, _BALANCES):
        yield holding(player, key, quantity)


def _map(source: Source, names: Sequence[str], others: Sequence[str]) -> list[tuple[str, Any]]:
    # The Realtime Database does not store empty maps. So if another map exists, a missing one
    # is empty.
    if not any(name in source for name in names) and any(name in source for name in others):
        return []
    return of_map(source, *names)


# The CSV of auth:export

_PROVIDERS: Final = ("google.com", "facebook.com", "twitter.com", "github.com")
_PROVIDER: Final = ("rawId", "email", "displayName", "photoUrl")
_COLUMNS: Final = (
    *("localId", "email", "emailVerified", "passwordHash", "salt", "displayName", "photoUrl"),
    *(f"{provider}.{name}" for provider in _PROVIDERS for name in _PROVIDER),
    *("createdAt", "lastSignedInAt", "phoneNumber", "disabled", "customAttributes"),
)
_CLAIMS: Final = re.compile(r'(.*),"(\{.*\})",', re.DOTALL)
_BEGINNING: Final = re.compile(r"[^,]+,[^,]*,(?:true|false),")


def _fits(line: str) -> bool:
    return _BEGINNING.match(line) is not None and len(_split(line)) == len(_COLUMNS)


def _split(line: str) -> list[str]:
    """Return the cells of a line.

    Only a name with a comma is enclosed in quotes, and quotes within a name are not doubled. So a
    name may begin with a plain quote. The claims are quoted as in CSV.
    """
    found = _CLAIMS.fullmatch(line)
    if found is not None:
        head, claims = found[1], found[2].replace('""', '"')
    else:
        head, _, end = line.rpartition(",")
        head, _, claims = head.rpartition(",")
        if end or claims:
            return [line]
    cells = head.split(",")
    if len(cells) > len(_COLUMNS) - 1:
        cells = next(reader([head]))
    return [*cells, claims]


_HEADERLESS: Final = Headerless(_COLUMNS, _fits, _split)

FIREBASE: Final = {
    kind: Preset(
        "firebase",
        _IDS,
        _MARKS,
        convert,
        unwrap=_unwrap,
        leave_out=_disabled,
        headerless=_HEADERLESS if kind == "players" else None,
        includes=frozenset({"disabled"}),
    )
    for kind, convert in (("players", _players), ("wallet", _wallet), ("inventory", _inventory))
}
