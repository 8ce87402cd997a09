"""`kraty-admin help`: the help of a command or a topic, and the man pages."""

from __future__ import annotations

from pathlib import Path

import click

from kraty_admin import __version__

from ._failures import refusal
from ._help import Command
from ._man import man_pages
from ._state import State
from ._topics import TOPICS

__all__ = ["help_command"]

_TOPICS = "\n".join(f"  {name.ljust(11)}  {topic.summary}" for name, topic in TOPICS.items())


def _complete_word(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    command: click.Command | None = context.find_root().command
    words: tuple[str, ...] = context.params.get("words") or ()
    for word in words:
        command = command.commands.get(word) if isinstance(command, click.Group) else None
    found = [*command.commands] if isinstance(command, click.Group) else []
    return [each for each in (*found, *(() if words else TOPICS)) if each.startswith(incomplete)]


@click.command(
    "help",
    cls=Command,
    section="more",
    examples=[
        "kraty-admin help exit-codes",
        "kraty-admin help wallet credit",
        "kraty-admin help --man-pages man",
    ],
    help=f"""Show the help of a command or a topic.

\b
Topics:
{_TOPICS}
""",
)
@click.argument("words", nargs=-1, metavar="[TOPIC|COMMAND...]", shell_complete=_complete_word)
@click.option(
    "--man-pages",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write a man page for each command and topic into this folder.",
)
@click.pass_context
def help_command(context: click.Context, words: tuple[str, ...], folder: Path | None) -> None:
    """Show the help of a command or a topic; the decorator has the text."""
    state = context.ensure_object(State)
    root = context.find_root()
    if folder is not None:
        _write_man_pages(state, root, folder)
    elif len(words) == 1 and words[0] in TOPICS:
        topic = TOPICS[words[0]]
        formatter = root.make_formatter()
        formatter.write_heading(topic.summary)
        with formatter.indentation():
            formatter.write_text(topic.text)
            if topic.terms:
                formatter.write_paragraph()
                formatter.write_dl(list(topic.terms.items()), col_max=20)
        state.out.line(formatter.getvalue().rstrip("\n"))
    else:
        state.out.line(_context_of(root, words).get_help())


def _context_of(root: click.Context, words: tuple[str, ...]) -> click.Context:
    context = root
    for word in words:
        command = context.command
        found = command.commands.get(word) if isinstance(command, click.Group) else None
        if found is None:
            topics = ", ".join(TOPICS)
            raise refusal(
                f"there is no command or topic {' '.join(words)!r}; the topics are {topics}"
            )
        context = click.Context(found, parent=context, info_name=word)
    return context


def _write_man_pages(state: State, root: click.Context, folder: Path) -> None:
    if not isinstance(root.command, click.Group):  # pragma: no cover: for type checkers
        raise TypeError("the root command must be a group")
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, text in man_pages(root.command, str(root.info_name), __version__):
        (folder / name).write_text(text, encoding="utf-8")
        count += 1
    state.out.say(f"{count} man pages written to {folder}. Read one with: man -l {folder}/NAME")
