"""The tools of the pages: `check_site.py` finds faults, and drawings are up to date."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

from check_site import problems
from pictures import PICTURES, ROOT

SURFACE = """\
kraty_admin.Thing: class
kraty_admin.Thing.part: property str
kraty_admin.KratyAdmin.wallet.credit: def () -> None
kraty_admin.cli.main: def () -> int
"""
NAMES = ["kraty_admin.Thing", "kraty_admin.Thing.part", "kraty_server_api.Wallet.credit"]


def write_site(folder: Path, html: str, names: list[str]) -> list[str]:
    """Write a site of one page, and return the problems found in it."""
    lines = "".join(f"{name} py:class 1 x -\n" for name in names).encode()
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site/objects.inv").write_bytes(b"# 1\n# 2\n# 3\n# 4\n" + zlib.compress(lines))
    (folder / "site/page.html").write_text(html, encoding="utf-8")
    (folder / "site/picture.svg").touch()
    (folder / "docs").mkdir()
    (folder / "docs/page.md").touch()
    return list(problems(folder / "site", folder / "docs", 'nav = ["page.md"]', SURFACE))


@pytest.mark.once
@pytest.mark.parametrize(
    ("html", "found"),
    [
        pytest.param('<h1 id="a">A</h1><a href="#a">a</a><img src="picture.svg">', None, id="fine"),
        pytest.param('<a href="https://kraty.io">Kraty</a>', None, id="link to another host"),
        pytest.param('<a href="gone.html">x</a>', "leads nowhere", id="dead link"),
        pytest.param('<a href="page.html#gone">x</a>', "leads to no heading", id="no heading"),
        pytest.param('<img src="gone.png">', "leads nowhere", id="dead picture"),
        pytest.param('<script src="//unpkg.com/x"></script>', "fetches //unpkg", id="script"),
        pytest.param('<pre class="a mermaid"></pre>', "Mermaid", id="mermaid"),
        pytest.param("<p>| a | b |</p>", "shown as text", id="table with an empty line"),
        pytest.param(
            '<h2 id="kraty_admin.helper" class="doc doc-heading"></h2>',
            "not public",
            id="not public",
        ),
    ],
)
def test_a_fault_of_a_page_is_found(tmp_path: Path, html: str, found: str | None) -> None:
    """Dead links and files of another host are reported, and links to other hosts are not."""
    wrong = write_site(tmp_path, html, NAMES)
    assert (0 if found is None else 1) == len(wrong)
    assert (found or "") in "".join(wrong)


@pytest.mark.once
def test_a_title_that_two_pages_have_is_found(tmp_path: Path) -> None:
    """Two pages with the same title are reported; the page for what is not found may repeat one."""
    (tmp_path / "site").mkdir()
    for name in ("first", "second", "404"):
        (tmp_path / f"site/{name}.html").write_text("<title>Errors</title>", encoding="utf-8")
    assert ["2 pages have <title>Errors</title>"] == write_site(tmp_path, "", NAMES)


@pytest.mark.once
@pytest.mark.parametrize("left_out", NAMES)
def test_a_public_name_without_an_entry_is_found(tmp_path: Path, left_out: str) -> None:
    """A class, member or method of a resource without an entry in the reference is reported."""
    wrong = write_site(tmp_path, "", [name for name in NAMES if name != left_out])
    assert 1 == len(wrong)
    assert left_out.rpartition(".")[2] in wrong[0]


@pytest.mark.once
def test_a_page_outside_the_navigation_is_found(tmp_path: Path) -> None:
    """A page that is not in the navigation is reported."""
    (tmp_path / "docs/tasks").mkdir(parents=True)
    (tmp_path / "docs/tasks/lost.md").touch()
    (tmp_path / "site").mkdir()
    (tmp_path / "site/objects.inv").write_bytes(b"# 1\n# 2\n# 3\n# 4\n" + zlib.compress(b""))
    wrong = list(problems(tmp_path / "site", tmp_path / "docs", 'nav = ["page.md"]', ""))
    assert ["tasks/lost.md is not in the navigation of zensical.toml"] == wrong


@pytest.mark.once
@pytest.mark.parametrize("name", PICTURES)
def test_a_drawing_is_current(name: str) -> None:
    """Each drawing is the one that `make pictures` would write."""
    assert PICTURES[name]() == (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.once
@pytest.mark.parametrize("name", PICTURES)
def test_a_drawing_can_be_read_on_a_phone(name: str) -> None:
    """No drawing is so wide that a phone would make its words too small to read."""
    width = re.search(r'<svg [^>]* width="(\d+)"', PICTURES[name]())
    assert width is not None
    assert 480 >= int(width[1])
