"""The one place that prints: results to standard output, everything else to standard error."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO, TypeAlias, TypeGuard

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from kraty_server_api.decoding import is_array, is_object

from ._failures import Failure, OutputError

__all__ = [
    "Output",
    "View",
    "clean",
    "console_on",
    "is_terminal",
    "shell_line",
    "to_json",
]

# Characters that could move the cursor, recolour the screen or reverse the text: names and
# metadata come from players. Lone surrogates cannot be written at all.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_UNFOLDED: Final = frozenset({"created", "started", "status"})
"""Columns that stay on one line, because people read them at a glance."""

_SHORTEST_SECRET: Final = 8
"""Shorter texts are not masked: they are not keys, and could be part of many words."""


View: TypeAlias = Callable[[Any, "int | None"], object]
"""Turns a result into what people see. The int is the terminal's width; `None` for a pipe."""


class Output:
    """Prints results, messages and errors."""

    def __init__(self) -> None:
        self.as_json = False
        """Whether to print results and errors as JSON, for programs."""
        self.fields: Sequence[str] = ()
        """The parts of a result to print; empty for all."""
        self._secrets: list[str] = []

    def hide(self, secret: str) -> None:
        """Mask this text in everything that goes to standard error."""
        if len(secret) >= _SHORTEST_SECRET:
            self._secrets.append(secret)

    def result(self, value: object, view: View | None = None) -> None:
        """Print a result: as JSON, as tables on a terminal, or as lines with tabs.

        Args:
            value: The result, as the server sent it.
            view: Turns it into what people see.
        """
        if self.fields:
            value, view = pick(value, self.fields), None
        if self.as_json:
            self.document(value)
            return
        on_terminal = is_terminal(sys.stdout)
        if view is not None:
            value = view(value, console_on(sys.stdout).width if on_terminal else None)
        text = _table(value, sys.stdout) if on_terminal else "".join(tab_lines(value))
        self.line(text, end="")

    def document(self, value: object) -> None:
        """Print a value as one JSON document."""
        self.parts([to_json(value) + b"\n"])

    def parts(self, parts: Iterable[bytes]) -> None:
        """Print a document piece by piece.

        Raises:
            OutputError: Standard output cannot be written.
        """
        for part in parts:
            with _standard_output() as stream:
                # Bytes, whatever the encoding of the terminal: JSON is UTF-8.
                stream.flush()
                stream.buffer.write(part)
                stream.buffer.flush()

    def line(self, text: str, *, end: str = "\n") -> None:
        """Print a line to standard output.

        Raises:
            OutputError: Standard output cannot be written.
        """
        with _standard_output() as stream:
            stream.write(text + end)
            stream.flush()

    def say(self, text: str, *, style: str = "", label: str = "") -> None:
        """Print lines to standard error, without secrets and control characters.

        Args:
            text: The lines.
            style: How a terminal shows them, such as `dim`.
            label: A text before the first line, in red on a terminal.
        """
        for line in self._without_secrets(text).splitlines():
            if label:
                _write_error(label, "bold red")
                _write_error(" ")
                label = ""
            _write_error(clean(line), style)
            _write_error("\n")

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def ask(self, question: str) -> None:
        """Print a question to standard error; the answer is typed after it."""
        _write_error(clean(question))

    def fail(self, failure: Failure) -> None:
        """Print the error of a command."""
        if self.as_json:
            error: dict[str, object] = {
                "code": failure.code,
                "message": self._without_secrets(failure.message),
                "status": failure.status,
                "request_id": failure.request_id,
                "idempotency_key": failure.idempotency_key,
                "ambiguous": failure.ambiguous,
                "retryable": failure.retryable,
                "attempts": failure.attempts,
                "first_sent_at": failure.first_sent_at and failure.first_sent_at.isoformat(),
                "cause": failure.cause and failure.cause._asdict(),
                "took_effect": failure.took_effect,
                "command": shlex.join(failure.advice.command) or None,
            }
            if failure.took_effect:
                error["result"] = failure.result
            self.say(to_json({"error": error}, ascii_only=True).decode())
            return
        self.say(failure.usage)
        self.say(failure.message, label="Error:")
        self.say("\n".join(f"  {fact}" for fact in failure.facts), style="dim")
        advice = failure.advice
        self.say("\n".join(filter(None, [failure.why, advice.text])))
        self.say(f"  {shell_line(advice.command)}" if advice.command else "", style="bold")
        self.say(advice.limit)
        if failure.took_effect:
            self.say(_table(failure.result, None))


def pick(value: object, fields: Sequence[str]) -> object:
    """Return parts of a result: by name, or by path such as `player.id`.

    One part is returned alone, several as an object. A part that does not exist is `None`.
    """
    found = {field: _part(value, field.split(".")) for field in fields}
    return found if len(found) > 1 else next(iter(found.values()))


def _part(value: object, path: Sequence[str]) -> object:
    for step in path:
        if is_array(value):
            value = [_part(each, [step]) for each in value]
        else:
            value = value.get(step) if is_object(value) else None
    return value


def tab_lines(value: object) -> Iterator[str]:
    """Yield a result as lines for other programs, with a tab between two values.

    A list of objects begins with a line of names. An object has one line for each member. A
    list inside an object has one line for each row, which begins with the list's name.
    """
    if is_object(value) and len(value) == 1:
        only = next(iter(value.values()))
        value = only if _is_rows(only) else value
    if value and _is_rows(value):
        names = _names(value)
        yield _tabs(names)
        for row in value:
            yield _tabs([row.get(name) for name in names])
    elif is_array(value):
        for each in value:
            yield _tabs([each])
    elif is_object(value):
        yield from _tab_members("", value)
    else:
        yield _tabs([value])


def _tab_members(title: str, members: Mapping[str, object]) -> Iterator[str]:
    for name, each in members.items():
        path = f"{title}.{name}" if title else name
        if is_object(each) and each:
            yield from _tab_members(path, each)
        elif _is_rows(each):
            for row in each:
                yield _tabs([path, *row.values()])
        else:
            yield _tabs([path, each])


def _tabs(values: Iterable[object]) -> str:
    return "\t".join(_plain(each) for each in values) + "\n"


def _plain(value: object) -> str:
    """Return a value as text without tabs and line ends; an empty text for null."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else to_json(value).decode()
    return clean(text)


def to_json(value: object, *, indent: int | None = None, ascii_only: bool = False) -> bytes:
    """Return a value as JSON in UTF-8, with the order of its members kept."""
    try:
        return json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:  # a lone surrogate, such as half of an emoji
        return json.dumps(value, indent=indent).encode()


@contextmanager
def _standard_output() -> Generator[TextIO, None, None]:
    stream = sys.stdout
    # It is None if the parent has closed the descriptor.
    if stream is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise OutputError("it is closed", reader_gone=False)
    try:
        yield stream
    except OSError as error:
        # Otherwise Python would try to write the rest again at exit, and report another error.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        reason = error.strerror or str(error)
        raise OutputError(reason, reader_gone=isinstance(error, BrokenPipeError)) from error


def _write_error(text: str, style: str = "") -> None:
    """Write to standard error. A failure to do so cannot be reported anywhere."""
    with suppress(OSError):
        if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]
            sys.stderr.write(_in_style(text, style) if style else text)
            sys.stderr.flush()


def _in_style(text: str, style: str) -> str:
    """Return text with the codes of a style, if standard error supports them."""
    written = io.StringIO()
    console_on(sys.stderr, file=written).print(Text(text, style), soft_wrap=True, end="")
    return written.getvalue()


def clean(text: str) -> str:
    """Escape a text's control characters, so that a terminal only shows them."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shell_line(words: Sequence[str]) -> str:
    """Return a command that can be copied from standard error into a shell."""
    return " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    encoding: str = getattr(sys.stderr, "encoding", None) or "ascii"
    if clean(word) == word and word.encode(encoding, "replace").decode(encoding) == word:
        return shlex.quote(word)
    # `clean` would change the word, for example to another idempotency key. bash and zsh decode
    # the bytes in these quotes.
    return f"$'{''.join(map(_escaped, word.encode('utf-8', 'surrogateescape')))}'"


def _escaped(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}"


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is an open terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def console_on(stream: TextIO | None, *, file: TextIO | None = None) -> Console:
    """Return a console that colours and folds lines on terminals only.

    Args:
        stream: The stream that decides about width and colours.
        file: The stream to write to. Default: `stream`.
    """
    terminal = is_terminal(stream)
    return Console(
        file=file or stream,
        force_terminal=terminal,
        color_system="auto" if terminal and not os.environ.get("NO_COLOR") else None,
        width=None if terminal else 100_000,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _table(value: object, stream: TextIO | None) -> str:
    """Return a result as tables for people, with the width of this stream."""
    text = io.StringIO()
    console = console_on(stream, file=text)
    if _is_rows(value):
        console.print(_list_section("", value))
    elif is_object(value):
        for number, section in enumerate(_sections("", value)):
            if number:
                console.print()
            console.print(section)
    else:
        console.print(_cell(value))
    # rich fills the last column of a table with spaces.
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _sections(title: str, members: Mapping[str, object]) -> Iterator[Group]:
    """Yield an object's plain members as one table, then its objects and lists with titles."""
    plain = {name: each for name, each in members.items() if not _is_nested(each)}
    if plain:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for name, each in plain.items():
            table.add_row(Text(clean(name)), _cell(each))
        yield Group(Text(title, style="bold"), table) if title else Group(table)
    for name, each in members.items():
        path = clean(f"{title}.{name}" if title else name)
        if is_object(each) and each:
            yield from _sections(path, each)
        elif _is_rows(each):
            yield _list_section(path, each)


def _is_nested(value: object) -> bool:
    """Return whether a member gets its own table."""
    return _is_rows(value) or (is_object(value) and bool(value))


def _is_rows(value: object) -> TypeGuard[list[dict[str, Any]]]:
    """Return whether this is a list of objects; an empty list is one."""
    return is_array(value) and all(is_object(each) for each in value)


def _names(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the names of all columns, in order of first appearance: rows may differ."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _list_section(title: str, rows: Sequence[Mapping[str, object]]) -> Group:
    if not rows:
        return Group(Text(f"{title}: none" if title else "none", style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
    names = [name for name in _names(rows) if any(row.get(name) is not None for row in rows)]
    for name in names:
        is_number = all(isinstance(row.get(name), int) for row in rows)
        table.add_column(
            Text(clean(name)),
            overflow="fold",
            justify="right" if is_number else "left",
            no_wrap=name in _UNFOLDED,
        )
    for row in rows:
        table.add_row(*[_cell(row.get(name)) for name in names])
    return Group(Text(title, style="bold"), table) if title else Group(table)


def _cell(value: object) -> Text:
    if value is None:
        return Text("-")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}")
    return Text(clean(value if isinstance(value, str) else to_json(value).decode()))
