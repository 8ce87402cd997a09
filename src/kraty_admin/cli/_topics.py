"""The help topics, about what all commands have in common. `help` and the man pages show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from kraty_server_api.commands import COMMANDS

from ._failures import EXIT_STATUSES
from ._glossary import GLOSSARY
from ._profiles import LOCATION

__all__ = ["TOPICS", "VARIABLES", "Topic"]


class Topic(NamedTuple):
    """One topic."""

    summary: str
    text: str
    """Paragraphs, as click formats them: one that begins with a line `\\b` keeps its lines."""
    terms: Mapping[str, str] = MappingProxyType({})
    """Words and what they mean, below the text."""


VARIABLES: Final[Mapping[str, str]] = {
    "KRATY_SERVER_KEY": "The API key, if neither --key-file nor a profile names one.",
    "KRATY_BASE_URL": "The server. Default: production. With a profile, it is ignored.",
    "KRATY_PROFILE": "The profile, if there is no --profile.",
    "KRATY_WEBHOOK_SECRET": "The secret of `webhooks`.",
    "KRATY_OUTBOX_URL": "The database of `outbox`.",
    "KRATY_SQL_URL": "The database of `migrate --sql`.",
    "NO_COLOR": "If it is not empty, there are no colours.",
    "TERM": "If it is dumb, there are no colours and no progress bar.",
    "XDG_CONFIG_HOME": "The folder with kraty-admin/config.toml. Default: ~/.config.",
    "XDG_CACHE_HOME": "The folder to remember each API key's game in. Default: ~/.cache.",
    "XDG_DATA_HOME": "The folder for bash and zsh completions. Default: ~/.local/share.",
}
"""The environment variables that the command reads, and what each sets."""


def _table(rows: Mapping[str, str]) -> str:
    """Format two columns as lines that click does not wrap."""
    width = max(map(len, rows))
    return "\b\n" + "\n".join(f"{name.ljust(width)}  {text}" for name, text in rows.items())


def _lifetimes() -> Iterator[str]:
    """Yield how long the platform keeps keys, with the commands that this applies to."""
    by_doc: dict[str, list[str]] = {}
    for row in COMMANDS:
        if row.key_lifetime is not None:
            by_doc.setdefault(row.key_lifetime.doc, []).append(" ".join(row.path))
    for doc, commands in by_doc.items():
        yield f"{', '.join(commands)}: {doc}"


_FORMATTING: Final = """
Results go to standard output: as tables on a terminal, as lines with tabs elsewhere, and with
--json as one JSON document. Prompts, progress and errors go to standard error.

JSON has the values as the platform sent them, always in UTF-8. In tables and lines, control
characters are escaped, because names and metadata come from players.

Lines with tabs: a list begins with a line of column names. An object has one line for each
member, which begins with the member's name. A list inside an object has one line for each row,
which begins with the list's name. Numbers are exact.

--fields selects parts of a result. One part is printed without its name, several with their
names.

With --json, the last line of standard error is the error as JSON. Its members `ambiguous`,
`retryable`, `idempotency_key` and `command` say whether to repeat the command, and how.

Colours appear only on a terminal, and not if NO_COLOR is set or TERM is dumb.
"""

_API_KEYS: Final = f"""
The API key comes from --key-file, from a profile, or from KRATY_SERVER_KEY. There is no option
for the key itself, because everyone on the machine can read a command's options. A key file
that all users of the machine can read, or that others can change, is refused.

A profile is a table in {LOCATION}. It says where the API key is. It must
not hold the key itself:

\b
    [profiles.live]
    key_file = "~/keys/kraty-live"
    [profiles.ci]
    key_env = "KRATY_CI_KEY"
    base_url = "http://127.0.0.1:4010"

An idempotency key names one change. Pass the id of the receipt, refund or ticket, so that the
platform recognises a second run. Without --idempotency-key, each run gets a new random key, and a
second run takes effect again. How long the platform keeps such a key depends on the command:
"""

TOPICS: Final[Mapping[str, Topic]] = {
    "exit-codes": Topic(
        "What the exit status of a command means",
        f"A script can decide by the status alone.\n\n{EXIT_STATUSES}",
    ),
    "environment": Topic(
        "The variables that kraty-admin reads",
        f"Options take precedence over variables.\n\n{_table(VARIABLES)}",
    ),
    "formatting": Topic("What goes to standard output and standard error", _FORMATTING.strip()),
    "keys": Topic(
        "API keys, profiles and idempotency keys",
        "\n\n".join([_API_KEYS.strip(), *_lifetimes()]),
    ),
    "glossary": Topic(
        "The words of help texts and messages",
        "The pages of the documentation use the same words.",
        GLOSSARY,
    ),
}
"""The topics, by the word to type after `kraty-admin help`."""
