"""Check the built pages: `make docs` runs this after it has built them.

The builder itself refuses a link to a page or heading that does not exist. It does not see what
this checks: that a reader without a network misses nothing, that links to other files work, that
each page is in the navigation and has a title and a description of its own, and that the reference
has every public name.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parent.parent

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""What a browser fetches by itself, by tag."""

UNDOCUMENTED = {"kraty_admin.cli.main"}
"""What starts the command `kraty-admin`, which has a page of its own."""


class _Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = {""}
        self.documented: set[str] = set()
        self.has_broken_table = "<p>|" in text
        self.has_mermaid = False
        self.heads = re.findall(r'<title>.*?</title>|<meta name="description".*?>', text)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors.update(given[name] for name in ("id", "name") if name in given)
        if "doc-heading" in given.get("class", "").split():
            self.documented.add(given.get("id", ""))
        self.has_mermaid |= "mermaid" in given.get("class", "").split()
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif (name := LOADED.get(tag)) in given and given.get("rel") != "canonical":
            self.fetched.append(given[name])


def problems(site: Path, pages: Path, navigation: str, surface: str) -> Iterator[str]:
    """Yield what is wrong with a built site, a sentence each.

    Args:
        site: The folder with the built pages.
        pages: The folder with their sources.
        navigation: The text of the configuration, which lists the pages.
        surface: The record of the public surface, tests/surface/public.txt.
    """
    site = site.resolve()
    found = {path: _Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in found.items():
        here = path.relative_to(site)
        if page.has_mermaid:
            yield f"{here}: a Mermaid diagram is drawn by a script from another host; use an SVG"
        if page.has_broken_table:
            yield f"{here}: a table is shown as text; is there an empty line in it?"
        for url in page.fetched:
            if urlsplit(url).netloc:
                yield f"{here}: the browser fetches {url}"
        if here.name == "404.html":
            continue  # its links start at the root of a host
        for url in [*page.links, *page.fetched]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                yield f"{here}: {url} leads nowhere"
            elif target.suffix == ".html" and parts.fragment not in found[target].anchors:
                yield f"{here}: {url} leads to no heading"
    heads = Counter(
        head for path, page in found.items() if path.name != "404.html" for head in page.heads
    )
    for head, pages_with_it in heads.items():
        if pages_with_it > 1:
            yield f"{pages_with_it} pages have {head}"
    listed = re.findall('"([^"]+)"', navigation)
    for source in sorted(pages.rglob("*.md")):
        if (name := source.relative_to(pages).as_posix()) not in listed:
            yield f"{name} is not in the navigation of zensical.toml"
    public = dict(re.findall(r"^((?:kraty_admin|pytest_)[\w.]*): (.*)$", surface, re.M))
    yield from _undocumented(site, public)
    modules = {name.rpartition(".")[0] for name in public} - set(public)
    for page in found.values():
        for name in sorted(page.documented - set(public)):
            if name.rpartition(".")[0] in modules:
                yield f"the reference has {name}, which is not public"


def _undocumented(site: Path, public: dict[str, str]) -> Iterator[str]:
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    documented = {line.split()[0] for line in zlib.decompress(inventory).decode().splitlines()}
    # A member is documented where its class is defined, which may be a private module.
    members = {".".join(name.split(".")[-2:]) for name in documented}
    for name, what in public.items():
        *rest, last = name.split(".")
        if what.startswith("the same as") or last == "__init__" or name in UNDOCUMENTED:
            continue
        if rest[1:2] in (["KratyAdmin"], ["KratyAdminAsync"]) and len(rest) == 3:
            is_there = f"{rest[-1].capitalize()}.{last}" in members  # a resource's method
        elif rest[-1][:1].isupper():
            is_there = f"{rest[-1]}.{last}" in members
        else:
            is_there = name in documented
        if not is_there:
            yield f"the reference does not have {name}"


def main() -> None:
    """Check the folder `site`, and end with an error if something is wrong."""
    wrong = list(
        problems(
            ROOT / "site",
            ROOT / "docs",
            (ROOT / "zensical.toml").read_text("utf-8"),
            (ROOT / "tests/surface/public.txt").read_text("utf-8"),
        )
    )
    print("\n".join(wrong or ["site/ is complete; open site/index.html"]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
