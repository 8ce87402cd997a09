"""Commands made from rows: which arguments they take, and how they call the SDK."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from golden_api.commands import COMMANDS as GOLDEN

from kraty_admin.cli import _app, main
from kraty_admin.cli._commands import call_commands
from kraty_admin.cli._failures import OutputError
from kraty_admin.cli._output import Output
from kraty_admin.cli._state import State
from kraty_admin.emulator import Emulator
from kraty_server_api import lifetimes
from kraty_server_api.command import ArgumentRow, CommandRow
from kraty_server_api.commands import COMMANDS

ROW = CommandRow(
    operation="boards.submit",
    path=("boards", "submit"),
    group="more",
    confirm="live",
    help=("Submit a score.",),
    examples=("kraty-admin boards submit p 5",),
    arguments=(
        ArgumentRow("player", "PLAYER", "text", "Who.", positional=True, required=True),
        ArgumentRow("value", "VALUE", "number", "The score.", positional=True, required=True),
        ArgumentRow("level", "level", "integer", "The level.", minimum=1, maximum=9),
        ArgumentRow("note", "note", "text", "A note.", nullable=True),
        ArgumentRow("mode", "mode", "choice", "How.", choices=("set", "add"), default="set"),
        ArgumentRow("final", "final", "flag", "Whether it is the last."),
        ArgumentRow("tags", "tag", "texts", "Tags."),
        ArgumentRow("rows", "rows", "list", "Rows."),
        ArgumentRow("extra", "extra", "object", "More."),
        ArgumentRow("any", "any", "json", "Anything.", nullable=True),
    ),
    writes=True,
    key_lifetime=None,
)
Run = Callable[..., "tuple[int, Any, str]"]


@pytest.fixture
def submit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs `boards submit`, and returns its status, the call's arguments and
    errors."""
    calls: list[dict[str, Any]] = []

    def record(**arguments: object) -> list[object]:
        calls.append(arguments)
        return []

    kraty = SimpleNamespace(boards=SimpleNamespace(submit=record))

    def client(state: State) -> nullcontext[SimpleNamespace]:
        return nullcontext(kraty)

    monkeypatch.setattr(State, "client", client)
    (group,) = call_commands([ROW])
    monkeypatch.setitem(_app.app.commands, "boards", group)

    def run(*arguments: str) -> tuple[int, Any, str]:
        calls.clear()
        status = main(["boards", "submit", *arguments, "--yes"])
        return status, calls[0] if calls else None, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param("", {}, id="what is left out is left to the SDK"),
        pytest.param("--level 9 --final --mode add", {"level": 9, "final": True, "mode": "add"}),
        pytest.param("--no-final", {"final": False}, id="a flag that is off"),
        pytest.param("--note x", {"note": "x"}, id="text where null is allowed"),
        pytest.param("--clear-note --clear-any", {"note": None, "any": None}, id="null"),
        pytest.param("--any null", {}, id="null in JSON is left out"),
        pytest.param("--any 5", {"any": 5}, id="any JSON"),
        pytest.param("--tag a --tag b", {"tags": ("a", "b")}, id="a list of texts"),
        pytest.param("--rows '[1]' --extra @extra.json", {"rows": [1], "extra": {"a": 1}}),
    ],
)
def test_arguments(submit: Run, tmp_path: Path, arguments: str, expected: dict[str, Any]) -> None:
    """The method is called with the arguments that were passed and the defaults, and no others."""
    file = tmp_path / "extra.json"
    file.write_text('{"a": 1}')
    arguments = arguments.replace("@extra.json", f"@{file}")
    status, called, err = submit("p", "2.5", *shlex.split(arguments))
    assert (0, "") == (status, err)
    assert {"player": "p", "value": 2.5, "mode": "set", **expected} == called


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param("p x", "'VALUE': 'x' is not a number such as 2.5", id="no number"),
        pytest.param("p 1 --level 0", "'--level': it must be at least 1, not 0", id="too small"),
        pytest.param("p 1 --level -3", "it must be at least 1, not -3", id="negative option"),
        pytest.param("p 1 --level 10", "it must be at most 9, not 10", id="too large"),
        pytest.param("p 1 --level 1.5", "'1.5' is not a whole number", id="no whole number"),
        pytest.param("p 1 --note x --clear-note", "either --note or --clear-note", id="both"),
        pytest.param("p 1 --rows {}", "it must be a JSON array", id="no list"),
        pytest.param("p 1 --extra []", "it must be a JSON object", id="no object"),
        pytest.param("p 1 --extra x", "it is not JSON", id="no JSON"),
        pytest.param(
            "p 1 --extra @no.json", "cannot read 'no.json': No such file or directory", id="no file"
        ),
        pytest.param("p -5 --lvl 3", "extra arguments", id="an unknown option"),
    ],
)
def test_refusals(submit: Run, arguments: str, message: str) -> None:
    """A wrong argument is named in the message, and nothing is sent."""
    status, called, err = submit(*shlex.split(arguments))
    assert (2, None) == (status, called)
    assert message in err


def test_a_list_is_a_table(kraty: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """A result that is a list is printed as a table with a header, or as JSON."""
    for player in ("a", "b"):
        kraty.client().wallet.credit(player, "gold", amount=1)
    kraty.game_client.befriend("a", "b")
    assert 0 == main(["players", "friends", "a"])
    head, row = capsys.readouterr().out.splitlines()
    assert ["externalPlayerId", "b"] == [head.split()[0], row.split()[0]]
    assert 0 == main(["players", "blocks", "a"])
    assert "" == capsys.readouterr().out
    assert 0 == main(["players", "blocks", "a", "--json"])
    assert "[]\n" == capsys.readouterr().out


def test_a_negative_number_is_an_argument(submit: Run) -> None:
    """A negative number needs no `--` before it."""
    assert -5 == submit("p", "-5")[1]["value"]


def test_a_row_asks_with_a_plain_question(submit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write without a question of its own asks a generic one."""
    asked: list[str] = []

    def confirm(state: State, kraty: object, what: str, *, always: bool) -> None:
        asked.append(what)

    monkeypatch.setattr(State, "confirm", confirm)
    submit("p", "7")
    assert ["Run boards submit with 'p', 7, 'set'"] == asked


def test_every_golden_row_becomes_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command of the golden contract, which has every kind of argument, has a help."""
    # Its keys last as long as one of Kraty's.
    monkeypatch.setattr(
        "kraty_admin.cli._state.KEY_LIFETIMES",
        {row.operation: lifetimes.DAY for row in GOLDEN},
    )
    kinds = {argument.kind for row in GOLDEN for argument in row.arguments}
    assert {"text", "integer", "flag", "choice", "list", "object"} <= kinds
    groups = list(call_commands(GOLDEN))
    for group in groups:
        monkeypatch.setitem(_app.app.commands, str(group.name), group)
    for row in GOLDEN:
        assert 0 == main([*row.path, "--help"]), row


def test_a_write_without_a_key_has_taken_effect(
    submit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write without a key whose result cannot be written exits with 7, like any other."""

    def fail(output: Output, value: object) -> None:
        raise OutputError("no space left", reader_gone=False)

    monkeypatch.setattr(Output, "result", fail)
    assert 7 == submit("p", "7")[0]


def test_every_write_is_marked() -> None:
    """Each row with a key is a write, and a DELETE without one is a write that asks."""
    for row in (*COMMANDS, *GOLDEN):
        assert row.writes or row.key_lifetime is None
    (drop,) = (row for row in GOLDEN if row.operation == "things.del_")
    assert (True, None, "live") == (drop.writes, drop.key_lifetime, drop.confirm)


def test_every_operation_has_an_example() -> None:
    """Only the imports, whose commands are written by hand, have no example in the table."""
    bare = [row.operation for row in COMMANDS if not row.examples]
    assert ["migrate.players", "migrate.wallet", "migrate.inventory"] == bare


def test_the_examples_run(kraty: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """Each example of the table succeeds, one after the other."""
    client = kraty.client()
    for player in ("player_41", "player_43", "guest_7"):
        client.wallet.credit(player, "gold", amount=1)
    ids = {"ATTEMPT": kraty.game_client.start_attempt("player_42", "quick_brawl")}
    for row in COMMANDS:
        for example in row.examples:
            words = [ids.get(word, word) for word in shlex.split(example)]
            words += [] if row.confirm == "never" else ["--yes"]
            words += [] if "-o" in words else ["--json"]
            assert (example, 0) == (example, main(words[1:]))
            out = capsys.readouterr().out
            if row.operation in ("grants.create", "lobbies.push"):
                ids[{"g": "GRANT", "l": "LOBBY"}[row.operation[0]]] = json.loads(out)["id"]
