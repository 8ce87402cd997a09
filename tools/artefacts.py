"""Build the sdist and the wheel, and check what is in them.

The wheel is built from the sdist, with the versions of the build backend that the lock names.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import ZipFile

__all__ = ["UV", "Artefacts", "ArtefactsError", "build", "check", "digests", "metadata", "unpack"]

UV: Final = str(Path(sys.executable).parent / "uv")
MADE: Final = frozenset({"PKG-INFO"})
"""What the build adds to the sdist."""


class ArtefactsError(Exception):
    """The sdist or the wheel is not as it should be."""


class Artefacts(NamedTuple):
    """The two files that a release uploads."""

    sdist: Path
    wheel: Path


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file, by its name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def build(source: Path, folder: Path) -> Artefacts:
    """Build both from a source tree, the wheel from the sdist.

    Raises:
        ArtefactsError: The build fails.
    """
    # Not isolated: an isolated build takes whichever backend is the newest that day, and its
    # version is written into the wheel.
    command = [UV, "build", "--quiet", "--no-build-isolation", "--python", sys.executable]
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix}
    done = subprocess.run(
        [*command, "--out-dir", folder, source],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ArtefactsError(f"the build fails:\n{done.stdout}{done.stderr}")
    return Artefacts(next(folder.glob("*.tar.gz")), next(folder.glob("*.whl")))


def metadata(wheel: Path) -> Message:
    """Return the metadata of a wheel by name, such as `Requires-Dist`."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpack an sdist, and return the folder that it holds."""
    with tarfile.open(sdist) as archive:
        if sys.version_info >= (3, 12):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)  # noqa: S202  # we have just built it
    return folder / sdist.name.removesuffix(".tar.gz")


def check(artefacts: Artefacts, source: Path, folder: Path) -> None:
    """Check the metadata, the contents, and that a build from the sdist has the same bytes.

    Args:
        artefacts: What has been built.
        source: What they were built from. The contents are compared with what git lists
            there, if it is a checkout.
        folder: Where to unpack the sdist and to build again.

    Raises:
        ArtefactsError: A check fails.
    """
    twine = [sys.executable, "-m", "twine", "check", "--strict", *map(str, artefacts)]
    done = subprocess.run(twine, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ArtefactsError(f"twine check fails:\n{done.stdout}{done.stderr}")
    unpacked = unpack(artefacts.sdist, folder / "sdist")
    if (source / ".git").exists():
        _check_contents(source, unpacked)
    again = digests(build(unpacked, folder / "again"))
    for name, digest in digests(artefacts).items():
        if again.get(name) != digest:
            raise ArtefactsError(f"{name} has other bytes when it is built again from the sdist")


def _check_contents(source: Path, unpacked: Path) -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    # Git also lists what has been deleted but not committed.
    tracked = {name for name in listed.stdout.split("\0") if name and (source / name).is_file()}
    packed = {
        path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()
    } - MADE
    missing, surplus = sorted(tracked - packed), sorted(packed - tracked)
    if missing:
        raise ArtefactsError(f"the sdist lacks {', '.join(missing)}")
    if surplus:
        raise ArtefactsError(f"git ignores what the sdist has: {', '.join(surplus)}")
