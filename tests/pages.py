"""The code blocks of the README, CONTRIBUTING and docs/, and how a reader runs them.

The language of a fence says what becomes of a block:

- `python` runs as printed.
- `sh` runs line by line. `kraty-admin` runs in this process; `NOT_RUN` lists what tests do not
  run, and why.
- `text` is what the block before it prints; `...` stands for anything.
- `py` is part of a program in `examples/`, which needs a framework; `make examples` runs its tests.
- The languages in `DATA` are not run. A block is parsed if `DATA` has a parser for its language.

A page tells a story unless `docs/blocks/` has checks for it: its blocks run from top to bottom, as
a reader does it who types everything in one directory.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import sqlalchemy as sa

from kraty_admin import KratyAdmin, cli
from kraty_admin.emulator import Emulator

__all__ = ["BLOCKS", "DATA", "NOT_RUN", "PAGES", "ROOT", "Block", "Story", "is_run", "name_of"]

ROOT: Final = Path(__file__).parent.parent

PAGES: Final = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]

NOT_RUN: Final[Mapping[str, str]] = {
    ".": "activates an environment",
    "docker": "needs Docker",
    "export": "sets what the environment of the test has set",
    "make": "is what runs these tests",
    "pip": "installs; the tests of the wheel do that",
    "pytest": "runs the tests of another project",
    "python manage.py": "is a project of Django; the tests of examples/django_shop run it",
    "python3": "makes an environment",
    "uvicorn": "serves until it is stopped; the tests call the receiver without a server",
    "kraty-admin emulator": "serves until it is stopped; tests/emulator starts it",
}
"""Commands in blocks that no test of the pages runs, and why."""

DATA: Final[Mapping[str, Callable[[str], object] | None]] = {
    "json": json.loads,
    "csv": None,
    "ini": None,
    "mermaid": None,
    "py": None,
    "sql": None,
    "toml": None,
    "tree": None,
}


@attrs.frozen
class Block:
    """A code block."""

    page: str
    name: str
    """The heading above it, and its place there among the blocks of its language."""
    language: str
    code: str
    line: int


def name_of(page: Path) -> str:
    """Return the name of a page in tests: its path below `docs/`."""
    top = ROOT / "docs"
    return page.relative_to(top if page.is_relative_to(top) else ROOT).as_posix()


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield all blocks of a page, whatever their language."""
    heading, counts = "", dict[str, int]()
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^#+ ([^\n]+)$|^```([^\n]*)\n(.*?)^```$", text, re.M | re.S):
        if match[1]:
            heading, counts = match[1], {}
        else:
            count = counts[match[2]] = counts.get(match[2], 0) + 1
            line = text.count("\n", 0, match.start()) + 1
            what = "" if match[2] == "python" else f"{match[2]} "
            yield Block(name_of(page), f"{heading} {what}{count}", match[2], match[3], line)


CLOSED: Final = (KratyAdmin, sa.Engine)
"""What a program leaves open when it ends."""

BLOCKS: Final = [block for page in PAGES for block in blocks_of(page)]


@attrs.define
class Story:
    """A reader who works through a page in an empty directory, with a local Kraty."""

    emulator: Emulator
    names: dict[str, Any] = attrs.field(factory=lambda: {"__name__": "__main__"})
    printed: str = ""
    """What the last block has printed."""
    opened: list[KratyAdmin | sa.Engine] = attrs.field(factory=list[KratyAdmin | sa.Engine])

    def run(self, block: Block) -> None:
        """Do what the reader does with a block."""
        if block.language == "python":
            self.printed = self._printed_by(self._python, block)
        elif block.language == "sh":
            self.printed = self._printed_by(self._shell, block)
        elif block.language == "text":
            checker = doctest.OutputChecker()
            assert checker.check_output(block.code, self.printed, doctest.ELLIPSIS), (
                f"{block.page}, line {block.line}: the page shows\n{block.code}\n"
                f"and this was printed:\n{self.printed}"
            )
        elif (parse := DATA[block.language]) is not None:
            parse(block.code)

    def close(self) -> None:
        """Close what the blocks opened, as the end of the reader's program does."""
        for value in self.opened:
            value.close() if isinstance(value, KratyAdmin) else value.dispose()

    @staticmethod
    def _printed_by(run: Callable[[Block], None], block: Block) -> str:
        # Not a StringIO: the command line writes bytes, too.
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with contextlib.redirect_stdout(printed):
            run(block)
        printed.seek(0)
        return printed.read()

    def _python(self, block: Block) -> None:
        text = "\n" * block.line + block.code
        # Not with the `from __future__` of this module.
        before = {name for name in self.names if name.startswith("test_")}
        exec(compile(text, str(ROOT / "docs" / block.page), "exec", dont_inherit=True), self.names)
        # Now, because a later block may give the name to something else.
        self.opened += [each for each in self.names.values() if isinstance(each, CLOSED)]
        for name in [name for name in self.names if name.startswith("test_")]:
            if name not in before:  # a test for pytest, with the fixture of the emulator
                self.emulator.reset()
                self.names[name](self.emulator)

    def _shell(self, block: Block) -> None:
        for words in commands(block):
            if is_not_run(words):
                continue
            assert words[0] == "kraty-admin", f"{block.page}: no test runs {words}; see NOT_RUN"
            status = cli.main(words[1:])
            assert status == 0, f"{block.page}: status {status} of {words}"


def commands(block: Block) -> list[list[str]]:
    """Return the words of each command of a shell block."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def is_not_run(words: list[str]) -> bool:
    """Return whether tests of pages do not run a command."""
    return words[0] in NOT_RUN or " ".join(words[:2]) in NOT_RUN


def is_run(block: Block) -> bool:
    """Return whether a test has to run something in a block."""
    if block.language == "sh":
        return not all(is_not_run(words) for words in commands(block))
    return block.language not in DATA
