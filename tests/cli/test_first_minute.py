"""What a new user tries first: help, examples, completion, raw requests and `-v`."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import pytest
from click.shell_completion import ShellComplete

from kraty_admin import KratyAdmin, __version__
from kraty_admin.cli import main
from kraty_admin.cli._app import app
from kraty_admin.cli._help import SECTIONS, Command, Documented
from kraty_admin.cli._state import State
from kraty_admin.emulator import Emulator, Fault
from kraty_server_api.commands import COMMANDS

from .testkit import LIVE_KEY, PATIENCE, RUN


def leaves(group: click.Group = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Command]]:
    for name, each in group.commands.items():
        if isinstance(each, click.Group):
            yield from leaves(each, (*path, name))
        else:
            assert isinstance(each, Command)
            yield " ".join((*path, name)), each


def test_every_command_has_examples_that_parse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each command has examples, which parse and stand in its help."""
    monkeypatch.chdir(tmp_path)
    for name in ("body.json", "users.csv", "users.jsonl"):
        Path(name).write_text("{}")
    for path, command in leaves():
        assert command.examples, path
        for example in command.examples:
            words = shlex.split(example)
            prefix = ["kraty-admin", *path.split()]
            assert prefix == words[: len(prefix)]
            root = click.Context(app, obj=State(arguments=[]), **app.context_settings)
            context = command.make_context(path, words[len(prefix) :], parent=root)
            shown = context.get_help().replace(" \\\n      ", " ")
            assert f"\n  {example}" in shown


@pytest.mark.parametrize(
    "path",
    [[], *([name] for name, each in app.commands.items() if isinstance(each, click.Group))],
    ids=str,
)
def test_no_summary_is_cut_off(path: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """In 80 columns, no summary of a command is cut off."""
    assert 0 == main([*path, "--help"])
    assert not re.findall("(?m)^  .*[.]{3}$", capsys.readouterr().out)


def test_the_commands_are_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists each command once, in a section, and the sections in their order."""
    assert 0 == main(["--help"])
    out = capsys.readouterr().out
    places = [out.index(f"\n{title}:\n") for title in SECTIONS.values()]
    assert sorted(places) == places
    for name, command in app.commands.items():
        assert isinstance(command, Documented)
        assert command.section in SECTIONS
        assert 1 == out.count(f"\n  {name} ")


PRINT_NO_RESULT: Final = {"help", "completion"}
"""The commands that print only text."""

ASK: Final = {"migrate", "request", "outbox resolve", "outbox purge"}
"""The commands written by hand that ask for confirmation."""


def test_common_options_have_a_meaning() -> None:
    """Only commands that ask have `--yes`, only those with a result `--json`, only those with parts
    `--fields`."""
    rows = {" ".join(row.path): row for row in COMMANDS}
    found = {path: {each.name for each in command.params} for path, command in leaves()}
    assert ASK | PRINT_NO_RESULT <= found.keys()
    for path, options in found.items():
        row = rows.get(path)
        asks = path in ASK if row is None else row.confirm != "never"
        assert asks == ("yes" in options), path
        assert (path not in PRINT_NO_RESULT) == ("json" in options), path
        has_parts = row is not None and path != "players export"
        assert has_parts == ("fields" in options), path


def test_what_asks_is_known() -> None:
    """The hand-written commands that ask for confirmation are exactly those of `ASK`."""
    asking = {
        path
        for path, command in leaves()
        if path not in {" ".join(row.path) for row in COMMANDS}
        and re.search(r"\bstate\.(ask|confirm)\(", inspect.getsource(unwrapped(command)))
    }
    assert asking == ASK


def test_the_page_says_what_asks() -> None:
    """docs/cli.md names the commands that ask always, and those that ask with a live key."""
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    listed = {
        when: re.findall("`(.+?)`", line)
        for when in ("always", "with a live key")
        for line in page.splitlines()
        if line.startswith(f"| {when} |")
    }
    expected = {"always": ASK - {"migrate", "request"}, "with a live key": {"migrate", "request"}}
    for row in COMMANDS:
        if row.confirm != "never" and row.examples:  # those of the imports are not in the table
            when = "always" if row.confirm == "always" else "with a live key"
            path = " ".join(row.path)
            expected[when].add(path if path in listed[when] else row.path[0])
    assert expected == {when: set(commands) for when, commands in listed.items()}


def unwrapped(command: click.Command) -> Callable[..., object]:
    """Return the function of a command, without `click.pass_obj` around it."""
    assert command.callback is not None
    function: Callable[..., object] = inspect.unwrap(command.callback)
    return function


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("wallet credit p gold -5", "'AMOUNT': it must be at least 1, not -5"),
        ("emulator --port 99999", "'--port': it must be a whole number from 0 to 65535"),
        ("emulator --port -1", "'--port': it must be a whole number from 0 to 65535"),
        ("migrate wallet no.csv", "'no.csv' does not exist"),
        ("grants create p --metadata @no.json", "cannot read 'no.json': No such file"),
        ("ping --yes", "No such option"),
        ("webhooks sign --yes x", "No such option"),
        ("completion --json", "No such option"),
        ("ping --fields a,,b", "'a,,b' is not a list of names"),
        ("emulator requests --url http://h:port", "--url is not a URL"),
    ],
    ids=str,
)
def test_mistakes(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake in the arguments is named in the message."""
    assert 2 == main(arguments.split())
    assert message in capsys.readouterr().err


def test_attempts(kraty: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """`-v` before or after the command reports each attempt, and the wait before the next."""
    kraty.faults.add(Fault("status", status=503), operation="health.ping", times=1)
    assert 0 == main(["ping", "-v", "--json"])
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"GET {kraty.base_url}/server/v1/ping: attempt 1, 503, ")
    assert "; next attempt in " in first
    assert ": attempt 2, 200, ok after " in second
    assert 0 == main(["-v", "ping"])
    assert 1 == capsys.readouterr().err.count("attempt")
    assert 0 == main(["ping"])
    assert "" == capsys.readouterr().err


def test_requests(kraty: Emulator, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An endpoint without a command is called with a body, a query and a key."""
    body = tmp_path / "body.json"
    body.write_text('{"amount": 5}')
    credit = ["request", "post", "/players/p/wallet/gold/credit", "--body", f"@{body}", "--json"]
    assert 0 == main([*credit, "--idempotency-key", "r1"])
    assert 5 == json.loads(capsys.readouterr().out)["balance"]
    assert "r1" == kraty.ledger[0].idempotency_key
    body.write_text('{"amount": 5, "idempotencyKey": "r1"}')
    assert 0 == main(credit)
    assert 5 == kraty.balance("p", "gold")
    assert 0 == main(["request", "GET", "/players/p", "--query", "limit=1"])
    assert "gold" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("GET players", "path must begin with /"),
        ("GET /players/p --body {}", "body must be left out"),
        ("GET /players/p --idempotency-key k", "idempotency_key must be left out"),
        ("POST /players/p --body []", "it must be a JSON object"),
        ("GET /players/p --query limit", "is not NAME=VALUE"),
        ("GET /players/p --query a=1 --query a=2", "'a' is given twice"),
        ("HEAD /players/p", "is not one of"),
    ],
    ids=str,
)
def test_requests_that_cannot_be_sent(
    kraty: Emulator, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    """A request that cannot be sent is refused with the reason, and nothing is sent."""
    assert 2 == main(["request", *arguments.split()])
    assert message in capsys.readouterr().err
    assert [] == list(kraty.requests)


def test_a_request_with_a_live_key_asks(
    kraty: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a live key, a request other than GET asks first; its lost answer is reported with the
    key."""
    with KratyAdmin(api_key=LIVE_KEY) as client:
        client.wallet.credit("p", "gold", amount=1)
    monkeypatch.setenv("KRATY_SERVER_KEY", LIVE_KEY)
    assert 0 == main(["request", "GET", "/players/p"])
    unban = ["request", "POST", "/players/p/unban"]
    assert 2 == main(unban)
    assert "Send POST /players/p/unban (live environment" in capsys.readouterr().err
    assert 0 == main([*unban, "--yes"])
    kraty.faults.add(Fault("drop"), operation="players.unban", times=None)
    capsys.readouterr()
    assert 5 == main(["--deadline", "0.3", *unban, "--yes", "--json"])
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["ambiguous"]
    assert error["idempotency_key"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(
    shell: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The completion script is printed, or installed where the shell looks for it."""
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert 0 == main(["completion"])
    text = capsys.readouterr().out
    assert f"_KRATY_ADMIN_COMPLETE={shell}_complete" in text
    assert 0 == main(["completion", shell, "--install"])
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert text.strip() == file.read_text().strip()
    assert str(file) in capsys.readouterr().err


def test_completion_of_an_unknown_shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message for an unknown shell lists the known ones."""
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert 2 == main(["completion"])
    assert "pass the shell: bash, zsh or fish" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        pytest.param(["--profile"], "l", ["live", "local"], id="profiles"),
        pytest.param(["help"], "k", ["keys"], id="topics"),
        pytest.param(["help"], "wa", ["wallet"], id="commands"),
        pytest.param(["help", "wallet"], "c", ["credit"], id="commands of a group"),
        pytest.param(["help", "keys"], "", [], id="nothing"),
    ],
)
def test_values_are_completed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    incomplete: str,
    expected: list[str],
) -> None:
    """Names of profiles, topics and commands are completed without a request."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "kraty-admin").mkdir()
    profiles = "[profiles.live]\n[profiles.local]\n[profiles.ci]\n"
    (tmp_path / "kraty-admin" / "config.toml").write_text(profiles)
    completion = ShellComplete(app, {}, "kraty-admin", "_KRATY_ADMIN_COMPLETE")
    found = completion.get_completions(words, incomplete)
    assert expected == sorted(each.value for each in found)
    (tmp_path / "kraty-admin" / "config.toml").write_text("[")
    assert [] == completion.get_completions(["--profile"], "")


def test_the_module_is_the_command() -> None:
    """`python -m kraty_admin` does what `kraty-admin` does."""
    command = [sys.executable, "-m", "kraty_admin", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (0, f"kraty-admin, version {__version__}\n") == (done.returncode, done.stdout)


def test_completion_completes() -> None:
    """The shell gets the commands of a group that begin with the word."""
    words = {"COMP_WORDS": "kraty-admin wallet cr", "COMP_CWORD": "2"}
    variables = {**os.environ, **words, "_KRATY_ADMIN_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env=variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert "plain,credit" == done.stdout.strip()
