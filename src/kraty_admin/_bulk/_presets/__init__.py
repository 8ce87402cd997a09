"""The exports of other platforms, read by their documented shapes.

A preset makes rows of what an export says of a player. It takes no personal data along: of a
profile only the country, the platform, the way of signing in and dates.

Nothing is dropped silently. Balances and quantities of zero are left out and counted. So is what
would change its meaning, unless it is included on request: items that expire, rented items, banned
and disabled players. What is not of a known shape fails.
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
"""By platform and kind of row."""


def preset_for(name: str, kind: Kind) -> Preset:
    """Return the preset of a platform for a kind of row.

    Raises:
        ValueError: There is none.
    """
    presets = PRESETS.get(name)
    if presets is None:
        raise ValueError(f"no preset {name!r}: there are {', '.join(PRESETS)}")
    if kind not in presets:
        raise ValueError(f"the preset {name} has no {kind}: there are {', '.join(presets)}")
    return presets[kind]
