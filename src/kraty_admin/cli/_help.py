"""The commands and groups of commands, with examples and sections in their help."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from ._failures import USAGE

__all__ = ["SECTIONS", "Command", "Documented", "Group"]

SECTIONS: Final[Mapping[str, str]] = {
    "money": "Money and items",
    "players": "Players",
    "lobbies": "Lobbies, events and leaderboards",
    "imports": "Imports",
    "webhooks": "Webhooks",
    "outbox": "Outbox",
    "local": "Local Kraty",
    "more": "More",
}
"""The sections of the root command's help, in order."""


_WORD: Final = r"""(?:[^\s"']|"[^"]*"|'[^']*')+"""
_WORDS: Final = re.compile(rf"--[a-z-]+ (?!-){_WORD}|{_WORD}")
"""A word of a shell command with its quotes, or an option with its value."""


class Documented(click.Command):
    """A command with a section in the root command's help, and examples in its own."""

    def __init__(
        self, *arguments: Any, section: str = "more", examples: Sequence[str] = (), **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.section = section
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then the epilog."""
        if self.examples:
            with formatter.section("Examples"):
                indent = " " * formatter.current_indent
                for example in self.examples:
                    for line in _shell_lines(example, formatter.width - len(indent)):
                        formatter.write(f"{indent}{line}\n")
        super().format_epilog(ctx, formatter)


class Command(Documented):
    """A command that accepts a negative number as an argument."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line. click takes `-5` for an option, but here it is an argument."""
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption as error:
            if not re.fullmatch(r"-[0-9.]", error.option_name):
                raise
        ctx.ignore_unknown_options = True
        return super().parse_args(ctx, list(args))


def _shell_lines(command: str, width: int) -> list[str]:
    """Break a command line between words, with backslashes, so that a shell can read it."""
    lines = [""]
    for word in _WORDS.findall(command):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return lines


class Group(Documented, click.Group):
    """A group that shows its help if no command follows, unless it can run without one."""

    command_class = Command

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # `parse_args` shows the help instead, because not all versions of click exit with 2.
        super().__init__(*arguments, no_args_is_help=False, **options)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, in sections if they belong to several."""
        by_section: dict[str, list[click.Command]] = {}
        for command in self.commands.values():
            by_section.setdefault(_section(command), []).append(command)
        if len(by_section) == 1:
            super().format_commands(ctx, formatter)
            return
        width = max(len(name) for name in self.commands)
        limit = formatter.width - width - 6
        for section, title in SECTIONS.items():
            commands = by_section.get(section, [])
            if commands:
                with formatter.section(title):
                    # Padded, so that the descriptions of all sections are aligned.
                    formatter.write_dl(
                        [
                            (str(each.name).ljust(width), each.get_short_help_str(limit))
                            for each in commands
                        ]
                    )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line. Without arguments, show the help and exit with 2."""
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            # Not with 0: in a script, an argument may be missing because a variable is empty.
            click.echo(ctx.get_help(), err=True)
            ctx.exit(USAGE)
        return super().parse_args(ctx, args)


def _section(command: click.Command) -> str:
    section = command.section if isinstance(command, Documented) else "more"
    return section if section in SECTIONS else "more"
