"""A PostgreSQL server for tests, in a temporary folder and on a socket in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypedDict

import psycopg

__all__ = ["MISSING", "is_installed", "postgres"]

MISSING: Final = "PostgreSQL's initdb and postgres are not installed"

_PATIENCE: Final = 60.0
"""Seconds until the server is taken to hang."""


class _As(TypedDict, total=False):
    """The user that a process runs as, as arguments for `subprocess`."""

    user: int
    group: int
    extra_groups: list[int]


def is_installed() -> bool:
    """Return whether `postgres` can run a server."""
    return _programs() is not None


@contextmanager
def postgres(*, fsync: bool = False) -> Generator[str | None]:
    """Run a server; yields SQLAlchemy's URL of its database, or `None` where there is none.

    Args:
        fsync: Whether commits wait for the disk. The tests never cut its power.
    """
    programs = _programs()
    if programs is None:
        yield None
        return
    # Not in a folder of pytest's: the path of a socket may have 107 bytes at most, and the
    # user of the server cannot enter that folder.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        user = _user(folder)
        _initialise(programs, folder, user)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "fsync": "on" if fsync else "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(folder / "data"), *options]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **user)
        try:
            _wait_until_ready(folder, server)
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)  # it ends its sessions and then itself
            server.wait(_PATIENCE)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path | None:
    """Find the newest server, on the path or where Debian installs it."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    return folders[-1].parent if folders else None


def _version(initdb: Path) -> float:
    name = initdb.parent.parent.name
    return float(name) if name.replace(".", "", 1).isdigit() else 0.0


def _user(folder: Path) -> _As:
    """Choose the user of the server, which refuses to be root, and hand it the folder."""
    if os.geteuid() != 0:
        return {}
    import pwd  # only where there is a root

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL refuses root, and there is no user postgres or nobody")


def _initialise(programs: Path, folder: Path, user: _As) -> None:
    command: Sequence[str] = [
        *(str(programs / "initdb"), "-D", str(folder / "data"), "--username=postgres"),
        *("--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **user)
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed: {done.stderr[-2000:]}")


def _wait_until_ready(folder: Path, server: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > give_up:
                log = (folder / "log").read_text(errors="replace")
                raise RuntimeError(f"PostgreSQL did not start: {log[-2000:]}") from error
            time.sleep(0.02)
        else:
            return
