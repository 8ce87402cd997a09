"""Each block of each page is run, or its language says why not; see `pages.py`."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from kraty_admin.emulator import Emulator
from pages import BLOCKS, DATA, NOT_RUN, PAGES, ROOT, Block, Story, commands, is_run, name_of

from .blocks import CHECKS
from .testkit import OUTBOX, block_named

ELSEWHERE = {
    ("cli.md", "sh"): "cli/test_commands.py",
    ("outbox.md", "sh"): "cli/test_outbox.py",
    ("imports.md", "python"): "bulk/test_partition.py",
    ("testing.md", "text"): "test_plugin.py",
}
"""Where the blocks of a language of a page run that need a program or a cluster around them."""

CHECKED = {page for page, _ in CHECKS} | {page for page, _ in ELSEWHERE}
STORIES = {
    name: blocks
    for page in PAGES
    if (name := name_of(page)) not in CHECKED
    and (blocks := [block for block in BLOCKS if block.page == name])
}
"""The pages that are run from top to bottom."""


@pytest.fixture
def story(
    server: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    """Return a reader with an empty directory, and the environment that the pages describe."""
    server.reset()
    monkeypatch.setenv("KRATY_BASE_URL", server.base_url)
    monkeypatch.setenv("KRATY_SERVER_KEY", server.api_key)
    monkeypatch.setenv("KRATY_WEBHOOK_SECRET", "whsec_docs")
    monkeypatch.setenv("KRATY_OUTBOX_URL", "sqlite:///shop.sqlite3")
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp("home")))
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(Story(server)) as story:
        yield story


@pytest.mark.parametrize("page", [pytest.param(page, id=page) for page in STORIES])
def test_a_page_runs_as_printed(story: Story, page: str) -> None:
    """The blocks of a page run from top to bottom, and print what the page shows."""
    for block in STORIES[page]:
        story.run(block)


def test_a_reader_goes_from_page_to_page(story: Story) -> None:
    """The pages of tasks also work one after the other, with one emulator and one directory."""
    story.run(block_named("getting-started.md", "3. Make a call 1"))
    for name in (OUTBOX, "Options and other endpoints 2", "Import 1"):
        story.run(block_named("README.md", name))
    for page, blocks in STORIES.items():
        for block in blocks if page.startswith("tasks/") else []:
            story.run(block)
    with contextlib.closing(sqlite3.connect("shop.sqlite3")) as db:
        other = "SELECT operation, state FROM kraty_outbox_intents WHERE state != 'done'"
        # Only refunds.md has a call that Kraty refuses.
        assert [("wallet.debit", "refused")] == db.execute(other).fetchall()


def test_no_block_is_left_out() -> None:
    """Each block that can run has a check, is part of a story, or runs in another test."""
    left_out = [
        block
        for block in BLOCKS
        if is_run(block)
        and block.page not in STORIES
        and (block.page, block.name) not in CHECKS
        and (block.page, block.language) not in ELSEWHERE
    ]
    assert [] == left_out
    for (page, _), test in ELSEWHERE.items():
        assert page in (ROOT / "tests" / test).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{block.page} {block.name}")
        for block in BLOCKS
        if block.language == "py"
    ],
)
def test_a_py_block_is_part_of_an_example(block: Block) -> None:
    """Each block of language `py` is part of a program in `examples/`, which `make examples`
    runs."""
    programs = (ROOT / "examples").rglob("*.py")
    assert any(block.code in program.read_text(encoding="utf-8") for program in programs)


def test_the_reasons_for_not_running_are_needed() -> None:
    """Each reason for not running something belongs to a command or language that the pages use."""
    used = {block.language for block in BLOCKS}
    assert set(DATA) <= used
    words = [each for block in BLOCKS if block.language == "sh" for each in commands(block)]
    first = {each[0] for each in words} | {" ".join(each[:2]) for each in words}
    assert set(NOT_RUN) <= first


@pytest.mark.parametrize(
    ("block", "said"),
    [
        pytest.param(("python", "1 / 0"), "division", id="python that fails"),
        pytest.param(("sh", "kraty-admin players nothing"), "status 2", id="command that fails"),
        pytest.param(("sh", "rm -r x"), "see NOT_RUN", id="unknown command"),
        pytest.param(("text", "hello"), "was printed", id="other output"),
        pytest.param(("json", "{"), "Expecting", id="data that is not"),
    ],
)
def test_a_fault_of_a_block_is_found(story: Story, block: tuple[str, str], said: str) -> None:
    """A block that does not work as printed fails the test of its page."""
    language, code = block
    with pytest.raises(Exception, match=said):
        story.run(Block("page.md", "Heading 1", language, code, 1))
