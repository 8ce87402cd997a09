"""Prepare a release: check everything, build, and stop before anything is published.

`make release` runs it. It never uploads: it ends with a list of what a person does next.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from packaging.version import InvalidVersion, Version

import artefacts

__all__ = ["StopError", "check_changelog", "check_tree", "check_version", "prepare"]

ROOT: Final = Path(__file__).resolve().parent.parent
CHECKS: Final = ("bash", ".ci/run")
"""What has to pass before a change lands, and before a release."""

NEXT: Final = """
{dist} holds what is to be published. Nothing has been uploaded. What you do next:

1. Read the section {version} of CHANGELOG.md once more, as someone who upgrades.
2. Try the wheel against the real platform with a test key: a credit, its repeat, a webhook.
3. Tag this commit, and push the tag:
     git tag --sign v{version} --message 'kraty-admin {version}'
     git push origin v{version}
4. Upload exactly the two files below to the package index, with an account of your own.
5. Install the version from the index into a fresh environment, and compare the hashes.
6. Publish SHA256SUMS and the SBOM together with the section of the changelog.

{sums}"""


class StopError(Exception):
    """The release stops here."""


def _git(root: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    if done.returncode:
        raise StopError(f"git {arguments[0]} fails: {done.stderr.strip()}")
    return done.stdout


def check_tree(root: Path) -> None:
    """Check that each file is committed, so that the artefacts belong to a commit.

    Raises:
        StopError: A file is changed or new, or this is no git checkout.
    """
    if changed := _git(root, "status", "--porcelain").splitlines():
        listed = "\n".join(changed)
        raise StopError(f"these files are not committed:\n{listed}")


def check_version(root: Path) -> str:
    """Check that the version is new, and written as package indexes write it."""
    (file,) = root.glob("src/*/_version.py")
    found = re.search(r'^__version__ = "(.*)"$', file.read_text(encoding="utf-8"), re.MULTILINE)
    text = found[1] if found else ""
    try:
        version = Version(text)
    except InvalidVersion:
        raise StopError(f"{file.relative_to(root)} holds no version: {text!r}") from None
    if str(version) != text or version.is_devrelease or version.local:
        raise StopError(f"a release is not called {text}, but like 0.2.0 or 0.2.0rc1")
    released: list[Version] = []
    for tag in _git(root, "tag", "--list", "v*").split():
        with suppress(InvalidVersion):  # a tag of something else
            released.append(Version(tag[1:]))
    if released and version <= max(released):
        raise StopError(f"{version} is not newer than {max(released)}, which is tagged")
    return text


def check_changelog(root: Path, version: str) -> None:
    """Check that CHANGELOG.md begins with this version, and that nothing is left to be moved.

    Raises:
        StopError: A fragment is left, or the newest section is not that of the version.
    """
    fragments = sorted(path.name for path in root.glob("changes/*.*.md"))
    if fragments:
        raise StopError(
            f"changes/ still holds {', '.join(fragments)}: run make changelog VERSION={version}"
        )
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    _, _, after = text.partition("\n## Unreleased\n")
    date = re.escape(version) + r" \(\d{4}-\d{2}-\d{2}\)"
    if not re.match(rf"\s*## {date}\n\s*[^#\s]", after):
        raise StopError(
            f'the line after "## Unreleased" in CHANGELOG.md is not "## {version} (<date>)" with'
            f" text below it: run make changelog VERSION={version}"
        )


def _check(root: Path, command: Sequence[str]) -> None:
    if subprocess.run(command, cwd=root, check=False).returncode:
        raise StopError(f"{' '.join(command)} fails")


def _build(root: Path, dist: Path, folder: Path) -> artefacts.Artefacts:
    """Build from a fresh clone of the commit, and compare with a build from this checkout."""
    clone = folder / "clone"
    _git(root, "clone", "--quiet", "--no-hardlinks", str(root), str(clone))
    try:
        built = artefacts.build(clone, dist)
        artefacts.check(built, clone, folder)
        here = artefacts.build(root, folder / "here")
    except artefacts.ArtefactsError as error:
        raise StopError(str(error)) from None
    if artefacts.digests(built) != artefacts.digests(here):
        raise StopError("a fresh clone and this checkout make different bytes")
    return built


def _write_sbom(root: Path, wheel: Path, version: str, file: Path, folder: Path) -> None:
    """Write what the package and all of its extras install today, as CycloneDX.

    Raises:
        StopError: The environment cannot be made, or the tool fails.
    """
    venv = folder / "sbom"
    python = venv / "bin" / "python"
    project = folder / "pyproject.toml"
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    # The tool reads the version from here, where only the build backend knows it.
    text, count = re.subn(r"^dynamic = .*$", f'version = "{version}"', text, flags=re.MULTILINE)
    if count != 1:
        raise StopError('pyproject.toml has no line "dynamic = ..."')
    project.write_text(text, encoding="utf-8")
    tool = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(project)]
    tool += ["--mc-type", "library", "--output-reproducible", "--validate"]
    for command in (
        [artefacts.UV, "venv", "--quiet", "--python", sys.executable, str(venv)],
        [artefacts.UV, "pip", "install", "--quiet", "--python", str(python), f"{wheel}[all]"],
        [*tool, "--of", "JSON", "--output-file", str(file), str(python)],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise StopError(f"the SBOM cannot be made: {done.stderr}")


def prepare(root: Path, checks: Sequence[str] = CHECKS) -> str:
    """Check, build, and write what a release consists of into dist/.

    Args:
        root: The checkout.
        checks: The command that must pass before anything is built.

    Returns:
        What a person does next, with the SHA-256 of each file.

    Raises:
        StopError: Something is wrong. dist/ is empty then, or as it was.
    """
    check_tree(root)
    version = check_version(root)
    check_changelog(root, version)
    _check(root, checks)
    check_tree(root)  # the checks may have written something
    dist = root / "dist"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = folder / "dist"
        built = _build(root, made, folder)
        sbom = made / f"{built.wheel.name.split('-')[0]}-{version}.cdx.json"
        _write_sbom(root, built.wheel, version, sbom, folder)
        sums = "".join(
            f"{digest}  {file}\n"
            for file, digest in sorted(artefacts.digests([*built, sbom]).items())
        )
        (made / "SHA256SUMS").write_text(sums, encoding="utf-8")
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir()
        for file in (*built, sbom, made / "SHA256SUMS"):
            shutil.copy(file, dist)
    return NEXT.format(dist=dist, version=version, sums=sums)


def main() -> int:
    """Prepare a release of this checkout; return the exit status."""
    try:
        print(prepare(ROOT))
    except StopError as stop:
        print(f"the release stops: {stop}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
