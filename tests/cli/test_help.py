"""The help topics and the man pages, which come from the same texts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from kraty_admin import cli
from kraty_admin.cli import main
from kraty_admin.cli._app import app
from kraty_admin.cli._glossary import GLOSSARY
from kraty_admin.cli._help import SECTIONS, Command, Group
from kraty_admin.cli._man import man_pages
from kraty_admin.cli._topics import TOPICS, VARIABLES
from kraty_server_api.commands import COMMANDS

from .testkit import PATIENCE


def text_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what `kraty-admin help` prints, on one line."""
    assert 0 == main(["help", *words])
    return " ".join(capsys.readouterr().out.split())


def test_a_group_lists_the_sections_that_it_has() -> None:
    """A section without commands has no title."""
    group = Group("group")
    for name, section in (("pay", "money"), ("look", "players")):
        group.add_command(Command(name, section=section, help=f"To {name}."))
    lines = group.get_help(click.Context(group)).splitlines()
    assert ["Money and items:", "Players:"] == [
        line for line in lines if line.rstrip(":") in SECTIONS.values()
    ]


@pytest.mark.parametrize("topic", TOPICS)
def test_topics(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each topic is printed in full, and `kraty-admin help` lists it."""
    printed = text_of(capsys, topic)
    summary, text, terms = TOPICS[topic]
    shown = printed.replace("- ", "").replace("-", "")
    for part in (summary, text, *(f"{word} {meaning}" for word, meaning in terms.items())):
        words = [word for word in part.split() if word != "\b"]
        assert " ".join(words).replace("-", "") in shown
    assert topic in text_of(capsys)


def test_the_environment_is_complete() -> None:
    """The topic on the environment lists every variable of Kraty that the command line reads."""
    folder = Path(cli.__file__).parent
    sources = [file.read_text() for file in folder.glob("*.py") if file.name != "_topics.py"]
    used = {name for source in sources for name in re.findall(r"\bKRATY_[A-Z_]*[A-Z]", source)}
    assert {name for name in VARIABLES if name.startswith("KRATY_")} == used


def test_keys_name_every_write(capsys: pytest.CaptureFixture[str]) -> None:
    """The topic on keys names every write."""
    printed = text_of(capsys, "keys")
    writes = [row for row in COMMANDS if row.key_lifetime is not None]
    assert writes
    for row in writes:
        assert " ".join(row.path) in printed


def test_the_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`help COMMAND` prints what `COMMAND --help` does."""
    assert 0 == main(["help", "wallet", "credit"])
    printed = capsys.readouterr().out
    assert 0 == main(["wallet", "credit", "--help"])
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("words", [["nope"], ["wallet", "steal"], ["ping", "keys"]], ids=" ".join)
def test_no_such_topic(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The message for an unknown topic lists the topics."""
    assert 2 == main(["help", *words])
    assert f"no command or topic '{' '.join(words)}'; the topics are" in capsys.readouterr().err


def count(command: click.Command) -> int:
    children = command.commands.values() if isinstance(command, click.Group) else ()
    return 1 + sum(map(count, children))


def test_man_pages(tmp_path: Path) -> None:
    """Each command and topic has a man page, with the options and examples of its help."""
    folder = tmp_path / "man"
    assert 0 == main(["help", "--man-pages", str(folder)])
    assert count(app) + len(TOPICS) == len(list(folder.iterdir()))
    page = (folder / "kraty-admin-wallet-credit.1").read_text().replace("\\-", "-")
    for part in ("\n.B --idempotency-key KEY\n", "\n[OPTIONS] PLAYER CURRENCY AMOUNT\n"):
        assert part in page
    (row,) = (row for row in COMMANDS if row.operation == "wallet.credit")
    for text in (*row.help, *row.examples):
        assert f"\n{text}\n" in page
    topic = (folder / "kraty-admin-exit-codes.7").read_text()
    assert "\n.nf\nExit statuses:\n" in topic
    assert "\n  130  interrupted\n.fi\n" in topic
    glossary = (folder / "kraty-admin-glossary.7").read_text().replace("\\-", "-")
    assert f"\n.TP\n.B mint\n{GLOSSARY['mint']}\n" in glossary


def test_man_pages_show_text_as_it_is() -> None:
    """A full stop, a quote or a backslash of the help is escaped for roff."""

    @click.group()
    def root() -> None:
        r"""'A' \n b."""

    (page,) = (text for name, text in man_pages(root, "root", "1") if name == "root.1")
    assert "\n\\&'A' \\en b.\n" in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_roff_reads_the_man_pages(tmp_path: Path) -> None:
    """groff prints no warning about any man page."""
    assert 0 == main(["help", "--man-pages", str(tmp_path)])
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert "" == done.stderr
