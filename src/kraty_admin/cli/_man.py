"""Man pages, made from the commands and the help topics."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from ._help import Documented
from ._topics import TOPICS

__all__ = ["man_pages"]


def man_pages(root: click.Group, name: str, version: str) -> Iterator[tuple[str, str]]:
    """Yield the file name and the text of each page.

    Args:
        root: The root command.
        name: The name of the root command.
        version: The version that each page shows.
    """
    for path, context in _contexts(root, name):
        page = path.replace(" ", "-")
        yield f"{page}.1", _command_page(path, context, version)
    for topic, (summary, text, terms) in TOPICS.items():
        page = f"{name}-{topic}"
        lines = [_title(page, 7, version), *_name(page, summary), *_text("DESCRIPTION", text)]
        for term, meaning in terms.items():
            lines += [".TP", f".B {_escaped(term)}", _escaped(meaning)]
        yield f"{page}.7", "\n".join(lines) + "\n"


def _contexts(
    command: click.Command, path: str, parent: click.Context | None = None
) -> Iterator[tuple[str, click.Context]]:
    context = click.Context(
        command,
        parent=parent,
        info_name=path.rpartition(" ")[2],
        **command.context_settings,
    )
    yield path, context
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _contexts(each, f"{path} {name}", context)


def _command_page(path: str, context: click.Context, version: str) -> str:
    command = context.command
    page = path.replace(" ", "-")
    lines = [_title(page, 1, version), *_name(page, command.get_short_help_str(limit=200))]
    lines += [".SH SYNOPSIS", f".B {_escaped(path)}"]
    lines.append(_escaped(" ".join(command.collect_usage_pieces(context))))
    lines += _text("DESCRIPTION", inspect.cleandoc(command.help or ""))
    lines.append(".SH OPTIONS")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            lines += [".TP", f".B {_escaped(record[0])}", _escaped(record[1])]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for name, each in command.commands.items():
            lines += [".TP", f".BR {_escaped(f'{page}-{name}')} (1)"]
            lines.append(_escaped(each.get_short_help_str(limit=200)))
    if isinstance(command, Documented) and command.examples:
        lines += [".SH EXAMPLES", ".nf", *map(_escaped, command.examples), ".fi"]
    if command.epilog:
        lines += _text("NOTES", command.epilog)
    return "\n".join(lines) + "\n"


def _title(page: str, section: int, version: str) -> str:
    return f'.TH "{_escaped(page.upper())}" "{section}" "" "kraty-admin {version}"'


def _name(page: str, summary: str) -> list[str]:
    return [".SH NAME", _escaped(f"{page} - {summary.rstrip('.')}")]


def _text(heading: str, text: str) -> Iterator[str]:
    """Yield a section. A paragraph that begins with a line `\\b` keeps its lines."""
    yield f".SH {heading}"
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield ".PP"
        lines = paragraph.split("\n")
        if lines[0] == "\b":
            yield ".nf"
            yield from map(_escaped, lines[1:])
            yield ".fi"
        else:
            yield _escaped(" ".join(paragraph.split()))


def _escaped(text: str) -> str:
    """Escape one line of text for roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
