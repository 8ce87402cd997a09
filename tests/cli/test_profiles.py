"""Profiles: which key and server they choose, and what the configuration file must not hold."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

import pytest

from kraty_admin.cli import main
from kraty_admin.cli._profiles import load_profile, profiles_file
from kraty_admin.cli._state import State
from kraty_admin.emulator import Emulator

from .testkit import LIVE_KEY, TEST_KEY, write_key

PING: Final = ("ping", "--json")


def configure(text: str) -> Path:
    """Write the configuration file; `{here}` is the current folder."""
    file = profiles_file()
    file.parent.mkdir(exist_ok=True)
    file.write_text(text.replace("{here}", str(Path.cwd())))
    return file


@pytest.fixture
def profile(kraty: Emulator) -> Path:
    """Write a profile `live` with a key file, beside the test key in the environment."""
    write_key(LIVE_KEY, "live.key")
    return configure(
        f'[profiles.live]\nkey_file = "{{here}}/live.key"\nbase_url = "{kraty.base_url}"\n'
    )


@pytest.mark.usefixtures("profile")
def test_the_option_chooses_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    """`--profile` wins over the key in the environment."""
    assert 0 == main(["--profile", "live", *PING])
    assert '"environment": "live"' in capsys.readouterr().out


@pytest.mark.usefixtures("profile")
def test_the_variable_chooses_the_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """KRATY_PROFILE chooses the key, unless the environment names a second one."""
    monkeypatch.setenv("KRATY_PROFILE", "live")
    assert 2 == main(PING)
    assert "KRATY_PROFILE and KRATY_SERVER_KEY both name a key" in capsys.readouterr().err
    monkeypatch.delenv("KRATY_SERVER_KEY")
    assert 0 == main(PING)
    assert '"environment": "live"' in capsys.readouterr().out


@pytest.mark.usefixtures("profile")
def test_prompts_name_the_profile(capsys: pytest.CaptureFixture[str]) -> None:
    """The question names the profile and the environment."""
    assert 2 == main(["--profile", "live", "wallet", "credit", "p", "gold", "5"])
    assert "(profile live, live environment, studio studio_1" in capsys.readouterr().err


def test_a_profile_names_a_variable(
    kraty: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile takes its key from the variable that it names, and a missing one is reported."""
    configure(f'[profiles.ci]\nkey_env = "CI_KEY"\nbase_url = "{kraty.base_url}"\n')
    assert 2 == main(["--profile", "ci", *PING])
    assert "the profile 'ci' names CI_KEY, which is not set" in capsys.readouterr().err
    monkeypatch.setenv("CI_KEY", LIVE_KEY)
    assert 0 == main(["--profile", "ci", *PING])
    assert 3 == main(["--profile", "ci", "players", "get", LIVE_KEY])
    assert LIVE_KEY not in capsys.readouterr().err


@pytest.mark.usefixtures("kraty")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param([], "https://api.kraty.io", id="not that of the environment"),
        pytest.param(["--base-url", "http://127.0.0.1:9"], "http://127.0.0.1:9", id="the option"),
    ],
)
def test_a_profile_without_a_server(
    options: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile without a server uses the platform's, not the one that a variable names."""
    write_key(LIVE_KEY)
    configure('[profiles.live]\nkey_file = "{here}/key"\n')
    seen: list[str] = []

    original = State.client

    def client(state: State) -> object:
        seen.append(original(state).base_url)
        raise KeyboardInterrupt

    monkeypatch.setattr(State, "client", client)
    assert 130 == main(["--profile", "live", *options, "ping"])
    assert [expected] == seen


@pytest.mark.usefixtures("kraty")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no profile 'live'; it has: none"),
        ("[profiles.test]\nkey_env = 'A'", "has no profile 'live'; it has: test"),
        ("[profiles", "is not TOML"),
        ("profiles.live = 5", "must be a table: [profiles.live]"),
        (f"[profiles.live]\nkey = '{LIVE_KEY}'", "contains a key in profiles.live.key"),
        (f"[profiles.live]\nkey_env = '{LIVE_KEY}'", "contains a key in profiles.live.key_env"),
        (f"key = '{LIVE_KEY}'", "contains a key in key"),
        (f"[profiles.live]\n# {LIVE_KEY}\nkey_env = 'A'", "contains a key in a comment"),
        ("[profiles.live]\napi_key = 'canary'", "unknown setting 'api_key'"),
        ("[profiles.live]\nkey_env = 5", "key_env must be text"),
        ("[profiles.live]\nbase_url = 'https://x'", "must have either key_file or key_env"),
        ("[profiles.live]\nkey_env = 'A'\nkey_file = 'b'", "either key_file or key_env"),
        ("[profiles.live]\nkey_file = 'nowhere'", "nowhere': No such file"),
    ],
    ids=str,
)
def test_configurations_that_are_wrong(
    text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message for a wrong configuration names the fault, and never shows a key."""
    configure(text)
    assert 2 == main(["--profile", "live", "ping"])
    err = capsys.readouterr().err
    assert message in err
    assert "canary" not in err


@pytest.mark.usefixtures("kraty")
def test_no_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """Without the file, the message says where it belongs."""
    assert 2 == main(["--profile", "live", "ping"])
    assert f"from {profiles_file()}: No such file" in capsys.readouterr().err


@pytest.mark.usefixtures("profile")
def test_two_keys_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A key file beside a profile is a usage error."""
    assert 2 == main(["--profile", "live", "--key-file", "live.key", "ping"])
    assert "--key-file and the profile 'live' both name a key" in capsys.readouterr().err


@pytest.mark.usefixtures("profile")
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620])
def test_a_key_file_that_others_can_read(mode: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A key file that others can read or replace is refused, with the command that fixes it."""
    Path("live.key").chmod(mode)
    for options in (["--profile", "live"], ["--key-file", "live.key"]):
        assert 2 == main([*options, "ping"])
        err = capsys.readouterr().err
        assert "other users of this machine can read or replace the key in" in err
        assert "run chmod 600 " in err


@pytest.mark.usefixtures("kraty")
def test_a_pipe_is_a_key_file() -> None:
    """A pipe can be the key file, and its mode is not checked."""
    os.mkfifo("pipe", 0o644)
    writer = threading.Thread(target=Path("pipe").write_text, args=[TEST_KEY])
    writer.start()
    assert 0 == main(["--key-file", "pipe", "ping"])
    writer.join()


def test_paths_of_key_files(kraty: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a profile, `~` is the home folder, and other relative paths begin at the configuration
    file."""
    monkeypatch.setenv("HOME", "/home/ann")
    configure("[profiles.a]\nkey_file = '~/key'\n[profiles.b]\nkey_file = 'key'")
    assert Path("/home/ann/key") == load_profile("a").key_file
    assert profiles_file().parent / "key" == load_profile("b").key_file
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert Path("/home/ann/.config/kraty-admin/config.toml") == profiles_file()
