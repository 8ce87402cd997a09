"""requirements-dev.lock fits pyproject.toml, which is checked without a network."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


class Pin(NamedTuple):
    """An entry of the lock: a version for some environments, and the hashes of its files."""

    name: str
    version: str
    marker: Marker | None
    hashes: list[str]


def pins() -> list[Pin]:
    """Return the lock's entries; fail at a line that is neither an entry nor a hash."""
    found: list[Pin] = []
    for line in LOCK.splitlines():
        text = line.removesuffix("\\").strip()
        if digest := re.fullmatch(r"--hash=sha256:([0-9a-f]{64})", text):
            found[-1].hashes.append(digest[1])
            continue
        requirement, _, marker = text.partition(" ; ")
        name, version = requirement.split("==")
        found.append(Pin(name, version, Marker(marker) if marker else None, []))
    return found


def requirements() -> list[Requirement]:
    """Return the requirements of pyproject.toml, in all extras and in the group `dev`."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    texts: list[str] = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        texts += extra
    groups = ["dev"]
    for group in groups:  # which grows by those that are included
        for each in project["dependency-groups"][group]:
            if isinstance(each, str):
                texts.append(each)
            else:
                groups.append(each["include-group"])
    found = [Requirement(text) for text in texts]
    assert "httpx" in {each.name for each in found}
    return [each for each in found if each.name != "kraty-admin"]


def test_each_entry_has_hashes() -> None:
    """Each entry of the lock has a hash, without which pip would not check its files."""
    assert len(pins()) > 100
    assert [] == [pin.name for pin in pins() if not pin.hashes]


def test_the_lock_names_no_place() -> None:
    """The lock contains no URL, so each machine installs from its own index."""
    assert "//" not in LOCK


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_fits_what_pyproject_asks_for(python: str) -> None:
    """The lock has one version that satisfies each requirement: if not, run `make lock`."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": "linux",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    wrong: list[str] = []
    locked = pins()
    for requirement in requirements():
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        versions = [
            pin.version
            for pin in locked
            if pin.name == canonicalize_name(requirement.name)
            and (pin.marker is None or pin.marker.evaluate(environment))
        ]
        if len(versions) != 1 or not requirement.specifier.contains(versions[0]):
            wrong.append(f"{requirement}: {versions}")
    assert [] == wrong
