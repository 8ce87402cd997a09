"""Profiles: the configuration file says where each environment's key and server are."""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kraty_server_api.decoding import is_object

from ._failures import refusal
from ._files import cannot_read

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover: Python 3.10
    import tomli as tomllib

__all__ = [
    "LOCATION",
    "Profile",
    "load_profile",
    "profile_names",
    "profiles_file",
    "read_key_file",
]

LOCATION: Final = "~/.config/kraty-admin/config.toml"
"""The path of the configuration file, as the help shows it."""

_TOO_OPEN: Final = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP
"""Modes of a key file that are refused. Its group may read it, so that services can share a key."""

_SETTINGS: Final = ("key_file", "key_env", "base_url")


_KEY: Final = re.compile(r"krt_\w+\.\S")


class Profile(NamedTuple):
    """Where to find the key and the server of one environment."""

    name: str
    key_file: Path | None
    """The file that holds the key; `None` if a variable does."""
    key_env: str | None
    """The variable that holds the key; `None` if a file does."""
    base_url: str | None
    """The server; `None` for production."""


def profiles_file() -> Path:
    """Return the path of the configuration file, which need not exist."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder, "kraty-admin", "config.toml")


def profile_names() -> list[str]:
    """Return the names of all profiles; none if the configuration file cannot be read."""
    try:
        document: object = tomllib.loads(profiles_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    profiles = document.get("profiles") if is_object(document) else None
    return list(profiles) if is_object(profiles) else []


def load_profile(name: str) -> Profile:
    """Return a profile of the configuration file.

    Raises:
        CommandError: There is no such profile, or the file cannot be read or is invalid.
    """
    file = profiles_file()
    try:
        text = file.read_text(encoding="utf-8")
        document: object = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its message contains a position, and at most one character of the file.
        raise refusal(f"{file} is not TOML: {error}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise refusal(f"cannot read profile {name!r} from {file}: {reason}") from None
    for place in [*_keys(document), *(["a comment"] if _KEY.search(text) else [])]:
        raise refusal(
            f"{file} contains a key in {place}: put the key into its own file with mode 600, and "
            "name that file as key_file"
        )
    profiles = document.get("profiles") if is_object(document) else None
    if not is_object(profiles) or name not in profiles:
        known = ", ".join(profiles) if is_object(profiles) and profiles else "none"
        raise refusal(f"{file} has no profile {name!r}; it has: {known}")
    return _profile(name, profiles[name], f"profile {name!r} in {file}", file.parent)


def _profile(name: str, settings: object, where: str, folder: Path) -> Profile:
    if not is_object(settings):
        raise refusal(f"{where} must be a table: [profiles.{name}]")
    for setting, value in settings.items():
        if setting not in _SETTINGS:
            known = ", ".join(_SETTINGS)
            raise refusal(f"{where} has an unknown setting {setting!r}; known are {known}")
        if not isinstance(value, str) or not value:
            raise refusal(f"{where}: {setting} must be text")
    if ("key_file" in settings) == ("key_env" in settings):
        raise refusal(f"{where} must have either key_file or key_env")
    key_file = settings.get("key_file")
    return Profile(
        name=name,
        key_file=None if key_file is None else folder / Path(str(key_file)).expanduser(),
        key_env=settings.get("key_env"),
        base_url=settings.get("base_url"),
    )


def _keys(value: object, place: str = "") -> Iterator[str]:
    """Yield the places of values that look like keys."""
    if is_object(value):
        for name, each in value.items():
            yield from _keys(each, f"{place}.{name}".lstrip("."))
    elif isinstance(value, str) and _KEY.search(value):
        yield place


def read_key_file(file: Path) -> str:
    """Return the key in a file that other users cannot read.

    Raises:
        CommandError: The file cannot be read, or other users can read or change it.
    """
    try:
        with file.open(encoding="utf-8") as stream:
            # A pipe, such as that of `<(pass show key)`, has no mode that matters.
            found = os.fstat(stream.fileno())
            if os.name == "posix" and stat.S_ISREG(found.st_mode) and found.st_mode & _TOO_OPEN:
                raise refusal(
                    f"other users of this machine can read or replace the key in {str(file)!r}: "
                    f"run chmod 600 {shlex.quote(str(file))}"
                )
            return stream.read().strip()
    except (OSError, ValueError) as error:
        raise cannot_read(file, error) from None
