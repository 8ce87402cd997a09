"""The installed package: metadata, licence, commands."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

from kraty_admin import __version__

DISTRIBUTION = importlib.metadata.distribution("kraty-admin")


def test_the_metadata_names_licence_authors_and_pages() -> None:
    """Package indexes and licence scanners read them."""
    metadata = DISTRIBUTION.metadata
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Author"] == "the kraty-admin authors"
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL") or [])
    assert {"Homepage", "Documentation", "REST API"} == set(urls)
    assert all(url.startswith("https://") for url in urls.values())


def test_the_licence_is_installed() -> None:
    """The text of the licence goes with every copy of the code."""
    files = [file for file in DISTRIBUTION.files or [] if file.name == "LICENSE"]
    assert len(files) == 1
    text = files[0].read_text()
    assert "MIT License" in text
    assert "the kraty-admin authors" in text


def test_the_package_runs_as_a_module() -> None:
    """`python -m kraty_admin` is the `kraty-admin` command."""
    command = [sys.executable, "-m", "kraty_admin", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (0, f"kraty-admin, version {__version__}\n") == (done.returncode, done.stdout)
