"""The installed package: metadata, licence and commands."""

from __future__ import annotations

import importlib.metadata
import re

from packaging.requirements import Requirement

DISTRIBUTION = importlib.metadata.distribution("kraty-admin")


def names(needs: list[Requirement], extra: str) -> set[str]:
    """Return the requirements of an extra that hold for this Python."""
    return {
        need.name
        for need in needs
        if need.marker and not need.marker.evaluate() and need.marker.evaluate({"extra": extra})
    } - {"kraty-admin"}


def test_the_metadata_names_licence_authors_and_pages() -> None:
    """The metadata names licence, authors and pages, for package indexes and licence scanners."""
    metadata = DISTRIBUTION.metadata
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Author"] == "the kraty-admin authors"
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL") or [])
    assert {"Homepage", "Documentation", "REST API"} == set(urls)
    assert all(url.startswith("https://") for url in urls.values())


def test_the_description_stands_alone() -> None:
    """The description for a package index has no relative links, pictures or make targets."""
    description = (DISTRIBUTION.read_text("METADATA") or "").partition("\n\n")[2]
    assert "pip install 'kraty-admin[outbox]'" in description
    assert "<!--" not in description
    assert not re.search(r"\bmake \w|pip install \.", description)
    links: list[str] = re.findall(r"\]\(([^)]*)\)", description)
    assert len(links) > 3
    assert [] == [link for link in links if not link.startswith(("https://", "#"))]


def test_the_extra_all_has_every_other() -> None:
    """The extra `all` has the requirements of every other extra."""
    needs = [Requirement(text) for text in DISTRIBUTION.requires or []]
    named = {
        extra: names(needs, extra) for extra in DISTRIBUTION.metadata.get_all("Provides-Extra", [])
    }
    everything = named.pop("all")
    assert len(named) > 5
    assert everything == set().union(*named.values())


def test_the_licence_is_installed() -> None:
    """The text of the licence is installed with the package."""
    files = [file for file in DISTRIBUTION.files or [] if file.name == "LICENSE"]
    assert len(files) == 1
    text = files[0].read_text()
    assert "MIT License" in text
    assert "the kraty-admin authors" in text
