"""Docstrings and the command line state how long the key of each write lasts."""

from __future__ import annotations

import inspect
import re
from typing import Final

import click
import pytest

from kraty_admin import KratyAdmin, KratyAdminAsync
from kraty_admin.cli._app import app
from kraty_server_api.lifetimes import KEY_LIFETIMES

DOCUMENTED: Final = {
    "grants.ack": ("not_needed", None),
    "grants.create": ("permanent", None),
    "inventory.grant": ("day", 24),
    "inventory.revoke": ("day", 24),
    "lobbies.push": ("while_indexed", 24),
    "players.ban": ("state", 24),
    "players.delete": ("state", 24),
    "players.merge": ("state", 24),
    "players.unban": ("state", 24),
    "wallet.credit": ("day", 24),
    "wallet.debit": ("day", 24),
}
"""What the platform's documents say, and no more than they say."""

every_write = pytest.mark.parametrize("operation", sorted(KEY_LIFETIMES))


def words(text: str | None) -> str:
    """Return the text without its line breaks."""
    return " ".join((text or "").split())


def test_each_write_has_the_documented_lifetime() -> None:
    """Each write's key has its documented lifetime, or 24 hours if none is documented."""
    assert {name: DOCUMENTED.get(name, ("undocumented", 24)) for name in KEY_LIFETIMES} == {
        name: (lifetime.name, lifetime.repeat_within_hours)
        for name, lifetime in KEY_LIFETIMES.items()
    }
    assert DOCUMENTED.keys() < KEY_LIFETIMES.keys()


@pytest.mark.parametrize("client", [KratyAdmin, KratyAdminAsync], ids=["sync", "async"])
@every_write
def test_docstrings(operation: str, client: type[KratyAdmin] | type[KratyAdminAsync]) -> None:
    """The docstring of each write states how long its key lasts."""
    resource, _, method = operation.partition(".")
    facade = getattr(client(api_key="a.b"), resource)
    lifetime = KEY_LIFETIMES[operation]
    assert lifetime.doc in words(inspect.getdoc(getattr(facade, method)))


@every_write
def test_help_of_the_command_line(operation: str) -> None:
    """The help of each command that writes states how long its key lasts."""
    lifetime = KEY_LIFETIMES[operation]
    resource, _, name = operation.partition(".")
    group = app.commands[resource]
    command = group.commands[name.replace("_", "-")] if isinstance(group, click.Group) else group
    with click.Context(command, terminal_width=1_000, max_content_width=1_000) as context:
        said = words(command.get_help(context))
        has_limit = any("--first-tried-at" in each.opts for each in command.params)
    if resource == "migrate":
        assert "How long the platform keeps the keys of rows is not documented." in said
    else:
        assert lifetime.doc in said
        assert (lifetime.repeat_within_hours is not None) is has_limit


@every_write
def test_the_sentence_names_the_limit(operation: str) -> None:
    """The sentence about a key's lifetime names the limit in hours, if there is one."""
    lifetime = KEY_LIFETIMES[operation]
    hours = re.findall(r"(\d+) hours", lifetime.doc)
    expected = [] if lifetime.repeat_within_hours is None else [str(lifetime.repeat_within_hours)]
    assert expected == hours
