"""Presets for the exports of other platforms, which read their documented formats.

A preset turns a player in an export into rows. It drops personal data: of a profile, it keeps only
the country, the platform, the sign-in providers and dates.

Nothing is dropped silently. Balances and quantities of zero are left out and counted. So are things
whose meaning an import would change, unless the user includes them: items that expire, rented
items, banned and disabled players. A row of an unknown format fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .._rows import Kind
from ._accelbyte import ACCELBYTE
from ._base import Left, Made, Preset, is_zero
from ._firebase import FIREBASE
from ._gamesparks import GAMESPARKS
from ._lootlocker import LOOTLOCKER
from ._nakama import NAKAMA
from ._playfab import PLAYFAB
from ._unity import UNITY

__all__ = ["PRESETS", "Left", "Made", "Preset", "is_zero", "preset_for"]

PRESETS: Final[Mapping[str, Mapping[str, Preset]]] = {
    "playfab": PLAYFAB,
    "firebase": FIREBASE,
    "lootlocker": LOOTLOCKER,
    "nakama": NAKAMA,
    "unity": UNITY,
    "gamesparks": GAMESPARKS,
    "accelbyte": ACCELBYTE,
}
"""The presets, by platform and kind of row."""


def preset_for(name: str, kind: Kind) -> Preset:
    """Return the preset of a platform for a kind of row.

    Raises:
        ValueError: There is no such preset.
    """
    presets = PRESETS.get(name)
    if presets is None:
        raise ValueError(f"there is no preset {name!r}; the presets are {', '.join(PRESETS)}")
    if kind not in presets:
        raise ValueError(f"the preset {name} has no {kind}, only {' and '.join(presets)}")
    return presets[kind]
