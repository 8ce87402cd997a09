"""Remember on disk which game each API key is for, so that a confirmation needs no request.

The platform never moves a key to another game, so its answer stays true. An emulator's answer does
not: the next emulator may use the same key and port for another game.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from kraty_admin._call._game import Game
from kraty_server_api.decoding import is_array

from ._files import write_privately

__all__ = ["recall", "remember"]


def recall(key: str, base_url: str) -> Game | None:
    """Return which game a key is for; `None` if it is not remembered."""
    if not _lasts(base_url):
        return None
    try:
        found: object = json.loads(_file(key, base_url).read_bytes())
    except (OSError, ValueError, RecursionError, RuntimeError):
        return None
    if not is_array(found) or len(found) != len(Game._fields):
        return None
    texts = [each if isinstance(each, str) else None for each in found]
    return Game(*texts)


def remember(key: str, base_url: str, game: Game) -> None:
    """Remember which game a key is for, unless it is an emulator's. Disk errors are ignored."""
    if not _lasts(base_url):
        return
    with contextlib.suppress(OSError, RuntimeError):
        file = _file(key, base_url)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_privately(file, json.dumps(game).encode())


def _lasts(base_url: str) -> bool:
    """Return whether an answer stays true; the client allows http:// for emulators only."""
    return base_url.startswith("https://")


def _file(key: str, base_url: str) -> Path:
    # A hash, because the key itself must not be on disk. Keys are random, so no one can find one
    # by guessing.
    name = hashlib.sha256(f"{key}\n{base_url}".encode()).hexdigest()
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder, "kraty-admin", "keys", f"{name}.json")
