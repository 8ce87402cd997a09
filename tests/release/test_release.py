"""`make release` stops at each fault, and never publishes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import artefacts
import release
from release import StopError

pytestmark = pytest.mark.once

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "small-shop"
dynamic = ["version"]
description = "A package for a test."
readme = "README.md"
requires-python = ">=3.10"
license = "MIT"

[project.optional-dependencies]
all = []

[tool.hatch.version]
path = "src/small_shop/_version.py"

[tool.hatch.build.targets.sdist]
exclude = ["/PKG-INFO"]
"""
CHANGELOG = """# Changelog

## Unreleased

## 1.2.0 (2026-11-26)

- It sells.

## 1.1.0 (2026-10-01)

- The first.
"""
PASS = (sys.executable, "-c", "")
FAIL = (sys.executable, "-c", "raise SystemExit(3)")


class Checkout:
    """A small project under git, ready to be released as 1.2.0."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("pyproject.toml", PROJECT)
        self.write("README.md", "# small-shop\n")
        self.write("CHANGELOG.md", CHANGELOG)
        self.write("changes/README.md", "# Fragments\n")
        self.write("src/small_shop/__init__.py", "")
        self.version("1.2.0")
        self.write(".gitignore", "dist/\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()
        self.git("tag", "v1.1.0")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def version(self, text: str) -> None:
        self.write("src/small_shop/_version.py", f'__version__ = "{text}"\n')

    def git(self, *arguments: str) -> None:
        settings = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.com",
            "-c",
            "tag.gpgSign=false",
        ]
        command = ["git", *settings, "-c", "commit.gpgSign=false", *arguments]
        subprocess.run(command, cwd=self.root, check=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):  # as git sets them for hooks
        monkeypatch.delenv(name, raising=False)
    return Checkout(tmp_path / "shop")


@pytest.mark.long
def test_a_release_is_built_hashed_and_left_to_a_person(checkout: Checkout) -> None:
    """A release leaves artefacts, SBOM and hashes in dist/, and says how to publish them."""
    text = release.prepare(checkout.root, PASS)
    dist = checkout.root / "dist"
    names = ["small_shop-1.2.0-py3-none-any.whl", "small_shop-1.2.0.cdx.json"]
    names.append("small_shop-1.2.0.tar.gz")
    assert sorted([*names, "SHA256SUMS"]) == sorted(path.name for path in dist.iterdir())
    sums = (dist / "SHA256SUMS").read_text()
    digests = artefacts.digests(dist / name for name in names)
    assert {f"{digest}  {name}" for name, digest in digests.items()} == set(sums.splitlines())
    assert "Nothing has been uploaded" in text
    assert "git tag --sign v1.2.0" in text
    assert sums in text
    sbom = (dist / "small_shop-1.2.0.cdx.json").read_text()
    component = json.loads(sbom)["metadata"]["component"]
    assert ("small-shop", "1.2.0") == (component["name"], component["version"])
    assert str(checkout.root.parent) not in sbom
    assert "file:" not in sbom


def change(name: str, text: str) -> Callable[[Checkout], None]:
    """Return a fault: the file has this text, and the change is committed."""

    def spoil(checkout: Checkout) -> None:
        checkout.write(name, text)
        checkout.commit()

    return spoil


def leave(name: str) -> Callable[[Checkout], None]:
    """Return a fault: the file is written, and not committed."""

    def spoil(checkout: Checkout) -> None:
        checkout.write(name, "# not committed\n")

    return spoil


def version(text: str) -> Callable[[Checkout], None]:
    return change("src/small_shop/_version.py", f'__version__ = "{text}"\n')


def tagged(text: str, *tags: str) -> Callable[[Checkout], None]:
    """Return a fault: this is the version, and the commit has these tags."""

    def spoil(checkout: Checkout) -> None:
        version(text)(checkout)
        for tag in tags:
            checkout.git("tag", tag)

    return spoil


FAULTS = [
    pytest.param(leave("README.md"), "README.md", id="changed file"),
    pytest.param(leave("new.py"), r"\?\? new.py", id="new file"),
    pytest.param(version("1.1.0"), "not newer than 1.1.0", id="version of a tag"),
    pytest.param(version("1.0.9"), "not newer than 1.1.0", id="older version"),
    pytest.param(tagged("1.2.0.post1", "v1.2.0.post1"), "not newer than", id="post-release"),
    pytest.param(tagged("1.2.1", "v1.2nd", "v1.3"), "not newer than 1.3", id="tag of no version"),
    pytest.param(version("next"), "holds no version: 'next'", id="no version"),
    pytest.param(version("1.2"), r'not "## 1.2 \(<date>\)"', id="other version than the changelog"),
    pytest.param(version("1.2.0.dev1"), "is not called 1.2.0.dev1", id="development version"),
    pytest.param(version("v1.2.0"), "is not called v1.2.0", id="not as indexes write it"),
    pytest.param(
        change("changes/+sale.cli.md", "It sells more.\n"), r"holds \+sale.cli.md", id="fragment"
    ),
    pytest.param(
        change("CHANGELOG.md", CHANGELOG.replace("1.2.0 (2026-11-26)", "1.2.0")),
        "make changelog VERSION=1.2.0",
        id="changelog without a date",
    ),
    pytest.param(
        change("CHANGELOG.md", CHANGELOG.replace("Unreleased\n", "Unreleased\n\n- It waits.\n")),
        "make changelog VERSION=1.2.0",
        id="changelog with unreleased text",
    ),
    pytest.param(
        change("CHANGELOG.md", CHANGELOG.replace("- It sells.\n", "")),
        "make changelog VERSION=1.2.0",
        id="changelog without text",
    ),
    pytest.param(
        change("pyproject.toml", PROJECT.replace('"A package', "A package")),
        "the build fails",
        id="does not build",
    ),
    pytest.param(
        change("pyproject.toml", PROJECT.replace('readme = "README.md"\n', "")),
        "twine check fails",
        id="no description",
    ),
    pytest.param(
        change("pyproject.toml", PROJECT.replace('"/PKG-INFO"', '"/PKG-INFO", "/CHANGELOG.md"')),
        "the sdist lacks CHANGELOG.md",
        id="file missing from the sdist",
    ),
    pytest.param(
        change("pyproject.toml", PROJECT.replace("/PKG-INFO", "/nothing")),
        "other bytes",
        id="not reproducible",
    ),
    pytest.param(
        change("pyproject.toml", PROJECT.replace('dynamic = ["version"]', 'version = "1.2.0"')),
        'no line "dynamic',
        id="no version for the SBOM",
    ),
]


@pytest.mark.parametrize(("spoil", "reason"), FAULTS)
def test_a_fault_stops_the_release(
    checkout: Checkout, spoil: Callable[[Checkout], None], reason: str
) -> None:
    """A fault stops the release with its reason, and dist/ stays as it was."""
    checkout.write("dist/old.whl", "")
    spoil(checkout)
    with pytest.raises(StopError, match=reason):
        release.prepare(checkout.root, PASS)
    assert ["old.whl"] == [path.name for path in (checkout.root / "dist").iterdir()]


def test_checks_that_fail_stop_the_release(checkout: Checkout) -> None:
    """Checks that fail stop the release before anything is built."""
    with pytest.raises(StopError, match=f"^{re.escape(' '.join(FAIL))} fails$"):
        release.prepare(checkout.root, FAIL)
    assert not (checkout.root / "dist").exists()


def test_checks_that_write_files_stop_the_release(checkout: Checkout) -> None:
    """Checks that leave files which are not committed stop the release."""
    write = (sys.executable, "-c", "open('left.txt', 'w')")
    with pytest.raises(StopError, match=r"\?\? left.txt"):
        release.prepare(checkout.root, write)


def test_no_checkout_stops_the_release(tmp_path: Path) -> None:
    """A folder without git history stops the release."""
    with pytest.raises(StopError, match="git status fails"):
        release.prepare(tmp_path, PASS)


def test_the_checks_are_those_of_a_change() -> None:
    """A release runs the checks that each change has to pass."""
    assert ("bash", ".ci/run") == release.CHECKS
    assert (release.ROOT / release.CHECKS[1]).is_file()
