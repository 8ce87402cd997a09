"""The command line: each command against a local Kraty, and how each run ends."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shlex
import stat
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from kraty_admin import KratyAdmin, __version__
from kraty_admin._call._idempotency import check_key_age
from kraty_admin.cli import main
from kraty_admin.cli._files import write_privately
from kraty_admin.emulator import Emulator, Fault

from .forks import Forks, read_all
from .testkit import CLIENT_KEY, LIVE_KEY, PATIENCE, RUN, SECRET, TEST_KEY, write_key


class Done(NamedTuple):
    """The status and the output of one run of the command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return standard output, parsed as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """Return the error that standard error holds as JSON."""
        return json.loads(self.err)["error"]


class Command:
    """Runs the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], emulator: Emulator) -> None:
        self.capsys = capsys
        self.emulator = emulator

    def __call__(self, *arguments: str) -> Done:
        self.capsys.readouterr()
        status = main(arguments)
        out, err = self.capsys.readouterr()
        done = Done(status, out, err)
        assert "canary" not in done.out + done.err
        assert "Traceback" not in done.err
        assert "\x1b" not in done.out + done.err
        return done


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], kraty: Emulator) -> Command:
    return Command(capsys, kraty)


class Person(io.StringIO):
    """Standard input at which a person types."""

    def isatty(self) -> bool:
        return True


def yes(stream: object) -> bool:
    return True


def ping(health: object) -> dict[str, bool]:
    return {"ok": True}


def at_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    """Let a person at a terminal type this."""
    monkeypatch.setattr(sys, "stdin", Person(typed))
    monkeypatch.setattr("kraty_admin.cli._state.is_terminal", yes)


class TestCommands:
    """What each command does, and what it prints."""

    def test_ping(self, command: Command) -> None:
        """Ping shows the key's environment, as a table and as JSON."""
        assert command("ping", "--json").json["apiKey"]["environment"] == "test"
        table = command("ping")
        assert (table.status, table.err) == (0, "")
        assert "apiKey.environment\ttest" in table.out

    def test_players_get(self, command: Command, kraty: Emulator) -> None:
        """A player is printed as a table for each list, or as the JSON of the result."""
        client = kraty.client()
        client.wallet.credit("p", "gold", amount=500)
        done = command("players", "get", "p", "--limit", "3")
        assert "balances\tgold\t500" in done.out.splitlines()
        assert done.out.startswith("player\tp\n")
        assert command("--json", "players", "get", "p").out == (
            json.dumps(client.players.get("p"), ensure_ascii=False) + "\n"
        )

    def test_players_export(self, command: Command, kraty: Emulator) -> None:
        """An export goes to a file that only its owner can read, or to standard output."""
        kraty.client().wallet.credit("p", "gold", amount=500)
        done = command("players", "export", "p", "-o", "p.json")
        assert (done.status, done.out) == (0, "")
        assert json.loads(Path("p.json").read_bytes())["player"]["externalPlayerId"] == "p"
        assert stat.S_IMODE(Path("p.json").stat().st_mode) == 0o600
        assert command("players", "export", "p").json["schemaVersion"]
        assert command("players", "export", "p", "-o", "-").json["schemaVersion"]
        assert command("players", "export", "p", "-o", "p.json", "--json").json["wallet"]
        assert [path.name for path in Path.cwd().iterdir()] == ["p.json"]

    def test_players_ban_and_unban(self, command: Command) -> None:
        """A ban records its reason, and unbanning a player twice reports that nothing changed."""
        command("wallet", "credit", "p", "gold", "1")
        assert command("players", "ban", "p", "--reason", "bot", "--json").json["reason"] == "bot"
        assert command("players", "unban", "p", "--json").json["applied"] is True
        assert "applied\tfalse\n" in command("players", "unban", "p").out

    def test_players_merge_and_delete(self, command: Command, kraty: Emulator) -> None:
        """`--yes`, before or after the command, confirms a merge and an erasure."""
        for player in ("guest", "p"):
            command("wallet", "credit", player, "gold", "5")
        merged = command("players", "merge", "guest", "p", "--yes", "--json")
        assert merged.json["status"] == "merged"
        assert kraty.balance("p", "gold") == 10
        erased = command("--yes", "players", "delete", "p", "--reason", "test", "--json")
        assert erased.json["status"] == "erased"

    @pytest.mark.parametrize(
        "arguments",
        [
            pytest.param(["--idempotency-key", "r1"], id="the user's key"),
            pytest.param([], id="a generated key"),
        ],
    )
    def test_wallet(self, command: Command, kraty: Emulator, arguments: list[str]) -> None:
        """A wallet is credited and debited, with a key of the user's or a generated one."""
        done = command("wallet", "credit", "p", "gold", "500", "--reason", "iap", *arguments)
        assert done.status == 0
        assert command("wallet", "debit", "p", "gold", "200", "--json").json["balance"] == 300
        first = kraty.ledger[0]
        assert (first.delta, bool(first.idempotency_key)) == (500, True)
        assert not arguments or first.idempotency_key == "r1"

    def test_a_repeat_is_said_to_be_one(self, command: Command, kraty: Emulator) -> None:
        """A repeat prints its result and says that nothing changed."""
        credit = ("wallet", "credit", "p", "gold", "500", "--idempotency-key", "r1")
        command(*credit)
        again = command(*credit)
        assert again.status == 0
        assert "Already applied earlier with this key; nothing changed." in again.err
        assert kraty.balance("p", "gold") == 500

    def test_inventory(self, command: Command, kraty: Emulator) -> None:
        """Items are granted and revoked."""
        grant = command("inventory", "grant", "p", "health_potion", "3", "--source-ref-id", "T-1")
        assert grant.status == 0
        revoked = command("inventory", "revoke", "p", "health_potion", "1", "--json")
        assert revoked.json["quantity"] == 2
        assert kraty.quantity("p", "health_potion") == 2

    def test_grants(self, command: Command, kraty: Emulator) -> None:
        """A grant takes entries from options and from a file, and can be acknowledged."""
        entry = {"type": "item", "itemKey": "health_potion", "quantity": 2}
        Path("entries.json").write_text(json.dumps([entry]))
        grant = command(
            *("grants", "create", "p", "--json", "--entry", "currency:gold:500"),
            *("--entry", "item:starter_chest:1", "--entry", "crate:legendary_box:1"),
            *("--entries-file", "entries.json", "--metadata", '{"ticket": "T-1"}'),
            *("--idempotency-key", "r1", "--source-kind", "api", "--source-ref-id", "r1"),
            *("--expires-at", "2099-01-01T00:00:00Z", "--kind", "reward"),
        ).json
        assert [each["type"] for each in grant["contents"]["entries"]] == [
            *("currency", "item", "crate", "item")
        ]
        assert grant["sourceRefId"] == "r1"
        assert kraty.quantity("p", "health_potion") == 2
        assert command("grants", "ack", "p", grant["id"], "--json").json["status"] == "claimed"

    def test_entries_from_standard_input(
        self, command: Command, kraty: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Entries are read from standard input, and the key in `--entry` may hold a colon."""
        text = b'[{"type": "currency", "currencyKey": "gold", "amount": 7}]'
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        assert command("grants", "create", "p", "--entries-file", "-").status == 0
        assert kraty.balance("p", "gold") == 7
        refused = command("grants", "create", "p", "--entry", "item:a:b:1", "--json")
        assert "This game has no item a:b." == refused.error["message"]

    def test_lobbies(self, command: Command) -> None:
        """A lobby is pushed and read."""
        lobby = command(
            *("lobbies", "push", "game_1", "quick_brawl", "--key", "m1", "--player", "a"),
            *("--player", "b", "--capacity", "4", "--no-fill-bots", "--metadata", "{}", "--json"),
        ).json
        assert (lobby["capacity"], lobby["participantCount"]) == (4, 2)
        read = command("lobbies", "read", "game_1", lobby["id"], "--json").json
        assert read["id"] == lobby["id"]

    def test_webhooks(self, command: Command) -> None:
        """A body verifies with the header that was signed for it, until the body changes."""
        body = '{"id": "evt_1", "eventName": "grant.created", "data": {"amount": 5}}'
        Path("body").write_text(body)
        header = command("webhooks", "sign", "body").out.strip()
        verify = ("webhooks", "verify", "--header", header)
        assert "data.amount\t5" in command(*verify, "body").out
        assert command(*verify, "body", "--json").json == json.loads(body)
        assert (
            command("webhooks", "sign", "body", "--json", "--timestamp", "7").json[:6] == "t=7,v1"
        )
        Path("body").write_text(body + " ")
        refused = command(*verify, "body", "--json")
        assert (refused.status, refused.out, refused.error["code"]) == (1, "", "no_match")
        assert command(*verify, "body", "--secret-env", "NOWHERE").status == 2

    def test_webhooks_age(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        """An old delivery verifies if `--tolerance` allows it, with any of the secrets."""
        monkeypatch.setenv("OLD_SECRET", "whsec_canary-of-an-older-one")
        Path("body").write_text("{}")
        sign = ("webhooks", "sign", "body", "--timestamp", "7", "--secret-env", "OLD_SECRET")
        secrets = ("--secret-env", "KRATY_WEBHOOK_SECRET", "--secret-env", "OLD_SECRET")
        verify = ("webhooks", "verify", *secrets, "--header", command(*sign).out.strip(), "body")
        assert command(*verify, "--json").error["code"] == "too_old"
        assert command(*verify, "--tolerance", "inf").status == 0


class TestStatuses:
    """The status and the message with which a run ends."""

    @pytest.mark.parametrize(
        ("status", "code", "arguments"),
        [
            pytest.param(3, "not_found", ["players", "get", "nobody"], id="not found"),
            pytest.param(4, "conflict", ["wallet", "debit", "p", "gold", "5"], id="conflict"),
            pytest.param(
                *(1, "invalid_metric", ["inventory", "grant", "p", "nothing", "1"]), id="refused"
            ),
            pytest.param(2, "usage", ["wallet", "credit", "p", "gold", "0"], id="by the SDK"),
            pytest.param(2, "usage", ["wallet", "credit", "p", "gold", "1_0"], id="no number"),
            pytest.param(
                2, "usage", ["wallet", "credit", "p", "gold", "\u0665"], id="other digits"
            ),
            pytest.param(2, "usage", ["wallet", "credit", "p", "gold"], id="too few"),
            pytest.param(2, "usage", ["wallet", "steal"], id="no such command"),
            pytest.param(2, "usage", ["ping", "--key", "x"], id="no such option"),
            pytest.param(2, "usage", ["--timeout", "-1", "ping"], id="timeout"),
            pytest.param(2, "usage", ["--deadline", "nan", "ping"], id="deadline"),
            pytest.param(2, "usage", ["--base-url", "ftp://x", "ping"], id="base URL"),
            pytest.param(2, "usage", ["--key-file", "nowhere", "ping"], id="key file"),
            pytest.param(2, "usage", ["grants", "create", "p"], id="no entries"),
            pytest.param(2, "usage", ["grants", "create", "p", "--entry", "gold:5"], id="entry"),
            pytest.param(
                *(2, "usage", ["grants", "create", "p", "--entry", "gem:x:5"]), id="entry's type"
            ),
            pytest.param(
                2, "usage", ["grants", "create", "p", "--metadata", "[]"], id="metadata no object"
            ),
            pytest.param(
                2, "usage", ["grants", "create", "p", "--metadata", "{"], id="metadata no JSON"
            ),
            pytest.param(
                *(2, "usage", ["wallet", "credit", "p", "gold", "5", "--idempotency-key", ""]),
                id="empty key",
            ),
        ],
    )
    def test_errors(self, command: Command, status: int, code: str, arguments: list[str]) -> None:
        """An error is a message for people, and with `--json` an object that always has the same
        members."""
        failed = command(*arguments)
        assert (failed.status, failed.out) == (status, "")
        assert "Error: " in failed.err
        done = command(*arguments, "--json")
        assert (done.status, done.out) == (status, "")
        assert done.error["code"] == code
        assert list(done.error) == [
            *("code", "message", "status", "request_id", "idempotency_key", "ambiguous"),
            *("retryable", "attempts", "first_sent_at", "cause", "took_effect", "command"),
        ]

    @pytest.mark.parametrize("text", ["{}", "[1]", "[", '["a"]', "\udcff"])
    def test_malformed_entries(self, command: Command, text: str) -> None:
        """A file of malformed entries is a usage error."""
        Path("entries.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        assert command("grants", "create", "p", "--entries-file", "entries.json").status == 2

    @pytest.mark.parametrize(
        ("key", "status", "why"),
        [
            ("krt_live_x.canary-nobody-knows", 401, "Check the API key"),
            (CLIENT_KEY, 403, "server_integration"),
        ],
    )
    def test_keys_that_are_refused(self, command: Command, key: str, status: int, why: str) -> None:
        """The message for a refused key says what to check, and does not show the key."""
        write_key(key)
        refused = command("--key-file", "key", "ping")
        assert refused.status == 1
        assert why in refused.err
        assert command("--key-file", "key", "ping", "--json").error["status"] == status

    def test_the_key_file_comes_first(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The key file is preferred to the variable, and a file that is not text is refused."""
        write_key(LIVE_KEY)
        done = command("--key-file", "key", "ping", "--json")
        assert done.json["apiKey"]["environment"] == "live"
        Path("key").write_bytes(b"canary\xff")
        assert command("--key-file", "key", "ping").status == 2
        monkeypatch.delenv("KRATY_SERVER_KEY")
        assert "set KRATY_SERVER_KEY" in command("ping").err

    def test_a_key_in_a_message_is_hidden(self, command: Command, kraty: Emulator) -> None:
        """A key is not printed, even if it was typed as an argument."""
        done = command("players", "get", TEST_KEY)
        assert done.status == 3
        refused = command("wallet", "credit", "p", TEST_KEY, "1")
        assert refused.status == 1
        assert "***" in refused.err
        assert "***" in command(TEST_KEY).err
        assert "***" in command("ping", TEST_KEY, "--json").error["message"]

    def test_a_conflict_of_keys(self, command: Command) -> None:
        """The message of a key conflict says to check what happened."""
        command("wallet", "credit", "p", "gold", "1", "--idempotency-key", "r1")
        credit = ("wallet", "credit", "p", "gold", "2", "--idempotency-key", "r1")
        done = command(*credit)
        assert done.status == 4
        assert "Find out what the earlier request did" in done.err
        assert command(*credit, "--json").error["idempotency_key"] == "r1"

    def test_what_a_script_stores(self, command: Command, kraty: Emulator) -> None:
        """A script can repeat a failed command with the key and the time of its error."""
        kraty.faults.add(Fault("drop"), operation="wallet.credit", times=None)
        credit = ("wallet", "credit", "p", "gold", "5")
        before = datetime.now(timezone.utc)
        error = command("--deadline", "0.3", *credit, "--json").error
        assert before <= datetime.fromisoformat(error["first_sent_at"])
        assert error["retryable"] is True
        kraty.faults.clear()
        stored = ("--first-tried-at", error["first_sent_at"])
        done = command(*credit, *stored, "--idempotency-key", error["idempotency_key"])
        assert (0, 5) == (done.status, kraty.balance("p", "gold"))
        refused = command("players", "get", "unknown", "--json").error
        assert refused["retryable"] is False
        assert command("players", "gt", "--json").error["first_sent_at"] is None

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            pytest.param("2026-06-08T12:00:00", "has no time zone", id="no time zone"),
            pytest.param("2026-06-08", "has no time zone", id="a day"),
            pytest.param("", "is not a time such as 2026", id="empty"),
            pytest.param("yesterday", "is not a time such as 2026", id="a word"),
            pytest.param("2026-06-08T12:00:00+25:00", "is not a time such as", id="no such zone"),
            pytest.param("9999-12-31T24:00:00Z", "is not a time such as", id="too late to hold"),
            pytest.param("9999-12-31T23:00:00Z", "is in the future", id="the future"),
        ],
    )
    def test_a_first_try_that_is_no_time(
        self, command: Command, kraty: Emulator, text: str, said: str
    ) -> None:
        """A value of `--first-tried-at` that is not a past time with a zone is refused, and nothing
        is sent."""
        credit = ("wallet", "credit", "p", "gold", "5", "--idempotency-key", "r")
        done = command(*credit, "--first-tried-at", text)
        assert (2, []) == (done.status, kraty.requests)
        assert said in done.err

    @pytest.mark.parametrize("key_first", [True, False], ids=["key first", "time first"])
    def test_a_first_try_long_ago(self, command: Command, kraty: Emulator, key_first: bool) -> None:
        """A key that was first tried long ago is refused before anything is sent, whatever the
        options' order."""
        options = [("--idempotency-key", "r"), ("--first-tried-at", "2026-01-01T00:00:00Z")]
        if not key_first:
            options.reverse()
        done = command("wallet", "debit", "p", "gold", "5", *options[0], *options[1])
        assert (4, []) == (done.status, kraty.requests)
        assert "Nothing was sent." in done.err

    def test_a_first_try_without_its_key(self, command: Command, kraty: Emulator) -> None:
        """`--first-tried-at` without a key is a usage error, since a new key was never tried."""
        done = command("wallet", "credit", "p", "gold", "5", "--first-tried-at", "2026-01-01T00Z")
        assert (2, []) == (done.status, kraty.requests)
        assert "it needs --idempotency-key" in done.err

    def test_a_key_that_expires_during_the_question(
        self, command: Command, kraty: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The age of a key is checked again after the confirmation, which may take hours."""
        now = datetime.now(timezone.utc)

        def check(key: str, **facts: Any) -> None:
            check_key_age(key, **facts, now=now)

        def answered_late(*arguments: object, **options: object) -> None:
            nonlocal now
            now += timedelta(hours=9)

        monkeypatch.setattr("kraty_admin.cli._state.check_key_age", check)
        monkeypatch.setattr("kraty_admin.cli._state.State.confirm", answered_late)
        first = (
            "--idempotency-key",
            "r",
            "--first-tried-at",
            (now - timedelta(hours=20)).isoformat(),
        )
        done = command("wallet", "credit", "p", "gold", "5", *first)
        assert (4, []) == (done.status, kraty.requests)
        assert "Nothing was sent." in done.err

    def test_no_answer(self, command: Command, kraty: Emulator) -> None:
        """The error of a lost answer says that the write may have taken effect, and has the key to
        repeat it with."""
        kraty.faults.add(Fault("drop"), operation="wallet.credit", times=None)
        credit = ("--deadline", "0.3", "wallet", "credit", "p", "gold", "5")
        error = command(*credit, "--json").error
        assert (error["code"], error["ambiguous"]) == ("network_error", True)
        (entry,) = kraty.ledger
        assert entry.idempotency_key == error["idempotency_key"]
        kraty.faults.clear()
        assert command(*credit, "--idempotency-key", error["idempotency_key"]).status == 0
        assert kraty.balance("p", "gold") == 5

    def test_a_proxy_that_hides_the_answer(self, command: Command, kraty: Emulator) -> None:
        """After a proxy's 403 in the place of the answer, the command to repeat has the key."""
        hidden = Fault("status", when="after", status=403, html=True)
        kraty.faults.add(hidden, operation="wallet.credit")
        failed = command("wallet", "credit", "p", "gold", "5")
        assert failed.status == 1
        assert "It may have taken effect. Repeat the command" in failed.err
        assert "permission set" not in failed.err  # it is not Kraty's 403
        (entry,) = kraty.ledger
        assert f"--idempotency-key {entry.idempotency_key}" in failed.err

    @pytest.mark.parametrize("status", [404, 409])
    def test_a_status_of_a_proxy(self, command: Command, kraty: Emulator, status: int) -> None:
        """A 404 or 409 that is not Kraty's says nothing about the player, so the exit status is
        neither "not found" nor "conflict"."""
        kraty.faults.add(Fault("status", status=status, html=True), operation="players.get")
        assert command("players", "get", "p").status == 1

    def test_connection_refused(self, command: Command) -> None:
        """After a refused connection, the message says that nothing was changed."""
        nowhere = ("--base-url", "http://127.0.0.1:9", "--deadline", "0.3", "--yes")
        failed = command(*nowhere, "wallet", "credit", "p", "gold", "5")
        assert failed.status == 5
        assert "Nothing was changed. To try again, within 23 hours:\n" in failed.err
        given = command(*nowhere, "wallet", "credit", "p", "gold", "5", "--idempotency-key", "r")
        assert "It does not tell you whether an earlier call with the same key" in given.err

    def test_a_failing_server(self, command: Command, kraty: Emulator) -> None:
        """A server that fails or limits the rate ends the command with status 1 and the time to
        wait."""
        late = {"Retry-After": "90"}  # so that it is not retried
        failing = Fault("status", status=503, headers=late)
        kraty.faults.add(failing, operation="players.get", times=None)
        done = command("players", "get", "p")
        assert done.status == 1
        assert "The server asks to wait 90 s before the next attempt." in done.err
        kraty.faults.clear()
        busy = Fault("status", status=429, headers=late, when="before")
        kraty.faults.add(busy, operation="players.get", times=None)
        done = command("players", "get", "p")
        assert done.status == 1
        assert "Try again in 90 s" in done.err

    def test_a_file_that_cannot_be_written(self, command: Command) -> None:
        """A file that cannot be written ends the command with status 1 and one line."""
        command("wallet", "credit", "p", "gold", "5")
        done = command("players", "export", "p", "-o", "nowhere/p.json")
        assert (done.status, done.err.count("\n")) == (1, 1)

    def test_a_file_that_cannot_be_replaced(self, tmp_path: Path) -> None:
        """The temporary file, which may hold personal data, is removed if the target cannot be
        replaced."""
        (tmp_path / "p.json").mkdir()
        with pytest.raises(OSError, match=r"p\.json"):
            write_privately(tmp_path / "p.json", b"secret")
        assert ["p.json"] == [path.name for path in tmp_path.iterdir()]

    def test_an_interrupted_write(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        """After an interrupted write, the message prints the command that repeats it with its
        key."""

        def interrupted(*arguments: object, **options: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("kraty_server_api.resources.wallet.Wallet.credit", interrupted)
        credit = ("wallet", "credit", "p", "gold", "5", "--idempotency-key", "r 1")
        done = command(*credit)
        assert done.status == 130
        repeat = shlex.join(["kraty-admin", *credit])
        assert f"until it succeeds, within 23 hours of the first try:\n  {repeat}\n" in done.err
        assert command(*credit, "--json").error["ambiguous"] is True

    def test_help(self, command: Command) -> None:
        """The help lists the exit statuses, and is printed if the subcommand is missing."""
        done = command("--help")
        assert done.status == 0
        for status in ("0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "130"):
            assert f"\n    {status}" in done.out
        assert "receipt" in command("wallet", "credit", "--help").out
        for arguments in ([], ["players"]):
            done = command(*arguments)
            assert (2, "") == (done.status, done.out)
            assert command(*arguments, "--help").out == done.err
        assert command("--version").out.strip().endswith(__version__)


ERASING: Final = (["players", "delete", "p"], ["players", "merge", "guest", "p"])
MINTING: Final = (
    ["wallet", "credit", "p", "gold", "7"],
    ["wallet", "debit", "p", "gold", "7"],
    ["inventory", "grant", "p", "health_potion", "7"],
    ["inventory", "revoke", "p", "health_potion", "7"],
    ["grants", "create", "p", "--entry", "currency:gold:7"],
    ["players", "ban", "p", "--reason", "x"],
)


def writes(kraty: Emulator) -> int:
    return sum(seen.idempotency_key is not None for seen in kraty.requests)


class TestConfirmation:
    """Which commands ask for confirmation, and what they ask."""

    @pytest.fixture
    def live(self, monkeypatch: pytest.MonkeyPatch, kraty: Emulator) -> None:
        with KratyAdmin(api_key=LIVE_KEY) as client:
            for player in ("p", "guest"):
                client.wallet.credit(player, "gold", amount=100)
                client.inventory.grant(player, "health_potion", quantity=100)
        monkeypatch.setenv("KRATY_SERVER_KEY", LIVE_KEY)

    @pytest.mark.parametrize("arguments", [*ERASING, *MINTING], ids=" ".join)
    @pytest.mark.usefixtures("live")
    def test_a_live_key(
        self,
        command: Command,
        kraty: Emulator,
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
    ) -> None:
        """A change with a live key is refused without a terminal, and asks a person at one."""
        before = writes(kraty)
        refused = command(*arguments, "--json")
        assert (refused.status, refused.error["code"]) == (2, "usage")
        assert "use --yes" in refused.error["message"]
        at_terminal(monkeypatch, "n\n")
        declined = command(*arguments)
        assert (declined.status, declined.out) == (1, "")
        at_terminal(monkeypatch, "")
        assert command(*arguments, "--json").status == 1
        assert writes(kraty) == before
        for word in (
            *arguments[2:3],
            "live environment",
            "studio studio_1",
            "game game_1",
            "[y/N]",
        ):
            assert word in declined.err
        if arguments in MINTING[:5]:
            assert "7 " in declined.err
        at_terminal(monkeypatch, "y\n")
        assert command(*arguments).status == 0
        assert writes(kraty) == before + 1

    @pytest.mark.parametrize("arguments", [*ERASING, *MINTING], ids=" ".join)
    @pytest.mark.usefixtures("live")
    def test_yes(self, command: Command, kraty: Emulator, arguments: list[str]) -> None:
        """`--yes` before or after the command skips the question."""
        before = len(kraty.requests)
        assert command("--yes", *arguments).status == 0
        assert command(*arguments, "--yes").status in (0, 3)  # who was erased is not found
        assert len(kraty.requests) == before + 2

    @pytest.mark.parametrize("arguments", ERASING, ids=" ".join)
    def test_what_erases_is_confirmed_with_a_test_key_too(
        self,
        command: Command,
        kraty: Emulator,
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
    ) -> None:
        """Commands that erase a player ask for confirmation even with a test key."""
        assert command(*arguments).status == 2
        at_terminal(monkeypatch, "no\n")
        declined = command(*arguments)
        assert declined.status == 1
        assert "test environment" in declined.err
        assert writes(kraty) == 0

    def test_a_key_of_an_unknown_kind_is_no_test_key(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A key of an unknown environment is treated as a live key."""
        monkeypatch.setattr("kraty_server_api.resources.health.Health.ping", ping)
        assert command("wallet", "credit", "p", "gold", "7").status == 2

    @pytest.mark.usefixtures("live")
    def test_a_question_that_cannot_be_asked(self, command: Command, kraty: Emulator) -> None:
        """A write is not sent if the ping that names the key's game fails."""
        before = writes(kraty)
        failing = Fault("status", status=500, headers={"Retry-After": "90"})  # not retried
        kraty.faults.add(failing, operation="health.ping", times=None)
        done = command("wallet", "credit", "p", "gold", "7")
        assert done.status == 1
        assert "idempotency" not in done.err
        assert writes(kraty) == before


class TestProcess:
    """What only a separate process can show."""

    def test_at_a_terminal(self, kraty: Emulator, forks: Forks) -> None:
        """At a terminal, the command asks for confirmation and shows the result in colours."""
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color"}
        for name in ("NO_COLOR", "FORCE_COLOR"):
            environment.pop(name, None)
        forks.start(["players", "delete", "p"], [theirs] * 3, environment)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 1000)
        os.write(ours, b"yes\n")
        said += read_all(ours)
        assert forks.wait() == 0
        assert b"no_op_never_existed" in said
        assert b"\x1b[" in said

    def test_a_command_that_nobody_waited_for(self, forks: Forks) -> None:
        """The id of a process is no status of an earlier one, whose test failed."""
        for _ in range(2):
            files = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
            assert 1 < forks.start(["--version"], files, os.environ)
        assert 0 == forks.wait()

    @pytest.mark.parametrize("package", ["click", "rich"])
    def test_without_the_extra_it_says_what_to_install(self, package: str) -> None:
        """Without the extra, the command prints what to install and exits with status 2."""
        code = f"import sys\nsys.modules[{package!r}] = None\n{RUN}"
        done = subprocess.run(
            [sys.executable, "-c", code, "ping"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "The command line is an extra: pip install 'kraty-admin[cli]'\n"


def test_text_that_the_terminal_cannot_show(
    kraty: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text that the terminal cannot show is escaped; JSON is always UTF-8."""
    kraty.client().wallet.credit("Zoë", "gold", amount=5)
    ban = ["players", "ban", "Zoë", "--reason", "a\x1b[31mb"]
    written: list[bytes] = []
    for arguments in (ban, [*ban, "--json"]):
        buffer = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
            assert main(arguments) == 0
            written.append(buffer.getvalue())
    table, document = written
    assert b"Zo\\xeb" in table
    assert b"a\\x1b[31mb" in table
    assert json.loads(document.decode())["reason"] == "a\x1b[31mb"
    assert "Zoë".encode() in document


def test_the_page_runs_as_printed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command of docs/cli.md succeeds, one after the other."""
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    monkeypatch.setenv("KRATY_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("KRATY_OUTBOX_URL", "sqlite:///shop.sqlite3")
    write_key(TEST_KEY)
    Path("body.json").write_text('{"id": "evt_1", "eventName": "grant.created", "data": {}}')
    header = command("webhooks", "sign", "body.json").out.strip()
    text = page.read_text(encoding="utf-8").replace("\\\n", " ").replace("t=...,v1=...", header)
    rows = re.search(r"^```csv\n(.*?)^```$", text, re.M | re.S)
    assert rows is not None
    Path("users.csv").write_text(rows[1])
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
        for line in block.splitlines()
        if line.startswith("kraty-admin ") and " emulator" not in line
    ]
    assert len(lines) > 10
    for line in lines:
        done = command(*shlex.split(line, comments=True)[1:])
        assert (line, done.status) == (line, 0), done.err
