"""What the pages say of other files is true, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pages import PAGES, ROOT, name_of

from .testkit import block_named


def test_the_function_of_the_page_is_the_one_that_runs() -> None:
    """The page's AWS Lambda function is the one of `examples/`, whose tests run it."""
    program = ROOT / "examples" / "lambda_handler" / "handler.py"
    assert program.read_text(encoding="utf-8") == block_named("frameworks.md", "AWS Lambda 1").code


def anchors(page: Path) -> set[str]:
    """Return the fragments of a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [pytest.param(page, id=name_of(page)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    """Each link is absolute, or leads to a file and heading of the repository."""
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        assert not fragment or fragment in anchors(target), link


def test_the_architecture_names_files_that_exist() -> None:
    """Each path of the page on architecture exists."""
    roots = [ROOT, ROOT / "src" / "kraty_admin", ROOT / "generated" / "kraty_server_api"]
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`([\w./]+(?:\.py|\.yaml|\.json|/))`", text)
    assert len(paths) > 20
    assert [path for path in paths if not any((root / path).exists() for root in roots)] == []


def test_the_architecture_names_code_that_exists() -> None:
    """Each name in the page's table of rules stands in the file that the table gives."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, _, rules = text.partition("\n| rule | where |\n")
    rows = re.findall(r"^\|.*\|.*\|$", rules.partition("\n\n")[0], re.MULTILINE)[1:]
    found = [
        (name, path)
        for row in rows
        for names, path in re.findall(r"((?:`\w+`[^`;]*)+)`([\w/]+\.py)`", row)
        for name in re.findall(r"`(\w+)`", names)
    ]
    assert len(found) > len(rows)
    for name, path in found:
        assert name in (ROOT / "src" / "kraty_admin" / path).read_text(encoding="utf-8"), path


def test_the_supported_versions_are_those_of_the_package() -> None:
    """docs/versioning.md names the Pythons of the classifiers, and the lowest httpx and
    SQLAlchemy."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text = (ROOT / "docs" / "versioning.md").read_text(encoding="utf-8")
    *others, last = re.findall(r"Programming Language :: Python :: (3\.\d+)", settings)
    assert f"| Python | {', '.join(others)} and {last}. " in text
    for package, name in [("httpx", "httpx | "), ("sqlalchemy", "SQLAlchemy ")]:
        lowest = re.findall(rf'"{package}>=([\d.]+)', settings)[0]
        assert f"{name}{lowest} or later" in text


def test_the_messages_of_troubleshooting_are_those_of_the_code() -> None:
    """Each message that docs/troubleshooting.md quotes stands in the code, apart from its variable
    parts."""
    sources = [
        path.read_text(encoding="utf-8")
        for folder in ("src", "generated")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    # Adjacent literals are one text, and `{{` is a brace.
    code = re.sub(r"\"\s*\n\s*f?\"", "", "\n".join(sources)).replace("{{", "{")
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    # Not codes with their status, and not what SQLite says.
    messages = [said for said in re.findall(r"^\| `([^`]{14,})`", text, re.M) if said[:3] > "9"]
    messages.remove("database is locked")
    assert len(messages) > 15
    parts = [part.strip() for said in messages for part in said.split("…")]
    assert [part for part in parts if part not in code] == []


def test_the_readme_works_outside_the_repository() -> None:
    """Package indexes show it alone: it links to nothing beside it, and names files that exist.

    Of a picture they show the text, so there is one.
    """
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[([^]]+)\]\(([^)]+)\)", text)
    assert [name for _, name in pictures] == ["docs/console.png"]
    links = {*re.findall(r"\]\(([^)]+)\)", text)} - {name for _, name in pictures}
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert (ROOT / "docs" / "console.png").stat().st_size < 150_000
    named = re.findall(r"^\| ([\w/]+\.md) \|", text, re.M)
    assert len(named) >= 9
    assert [name for name in named if not (ROOT / name).is_file()] == []
    assert "\nmake test " in text  # what CI reads it for
