"""The messages and exit statuses of commands, which depend on what was sent, not on what could be
printed."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import click
import pytest

from kraty_admin import CallInfo, KratyError, KratyServerError
from kraty_admin._call._game import Game
from kraty_admin._settings import DEFAULT_BASE_URL
from kraty_admin.bulk import ImportStoppedError
from kraty_admin.cli import _known_keys, main
from kraty_admin.cli._failures import after_effect, command_line, failure_of
from kraty_admin.cli._migrate import _stopped  # pyright: ignore[reportPrivateUsage]
from kraty_admin.cli._output import shell_line
from kraty_admin.emulator import Emulator, Fault

from .forks import Forks, read_all
from .testkit import LIVE_KEY, PATIENCE, TEST_KEY

CREDIT: Final = ["wallet", "credit", "p", "gold", "5"]
WRITES: Final = (
    CREDIT,
    ["wallet", "debit", "p", "gold", "5"],
    ["inventory", "grant", "p", "health_potion", "5"],
    ["inventory", "revoke", "p", "health_potion", "5"],
    ["grants", "create", "p", "--entry", "currency:gold:5"],
    ["players", "ban", "p", "--reason", "bot"],
    ["players", "unban", "p"],
    ["players", "merge", "guest", "p", "--yes"],
    ["players", "delete", "p", "--yes"],
    ["lobbies", "push", "game_1", "quick_brawl", "--key", "m1", "--player", "p"],
    ["request", "POST", "/players/p/unban"],
)


class Broken(io.RawIOBase):
    """A file whose every write fails."""

    def __init__(self, number: int) -> None:
        self._number = number

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(self._number, os.strerror(self._number))


@pytest.fixture
def player(kraty: Emulator) -> Emulator:
    """Give two players currency and items, and return the emulator."""
    with kraty.client() as client:
        for name in ("p", "guest"):
            client.wallet.credit(name, "gold", amount=50)
            client.inventory.grant(name, "health_potion", quantity=50)
    return kraty


@pytest.fixture
def broken() -> Iterator[pytest.MonkeyPatch]:
    """Return a patch for a standard output that fails, and undo it before pytest writes."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def break_output(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let every write to standard output fail with this error number."""
    patch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Broken(number), 1)))


def error_in(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the error that standard error holds as JSON."""
    return json.loads(capsys.readouterr().err.splitlines()[-1])["error"]


class TestUnwritten:
    """Commands whose result cannot be written."""

    @pytest.mark.parametrize("arguments", WRITES, ids=" ".join)
    def test_a_write_that_took_effect_says_so(
        self,
        player: Emulator,
        capsys: pytest.CaptureFixture[str],
        broken: pytest.MonkeyPatch,
        arguments: list[str],
    ) -> None:
        """A write whose result does not fit on the disk exits with 7, and the error holds key and
        result."""
        break_output(broken, errno.ENOSPC)

        assert 7 == main([*arguments, "--json"])
        error = error_in(capsys)
        keys = [seen.idempotency_key for seen in player.requests if seen.idempotency_key]
        assert (True, True) == (error["took_effect"], error["ambiguous"])
        assert (keys[-1], 1) == (error["idempotency_key"], error["attempts"])
        assert "it took effect, but the result cannot be written" in error["message"]
        assert error["result"]

    def test_people_read_the_result_on_standard_error(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str], broken: pytest.MonkeyPatch
    ) -> None:
        """If standard output is full, standard error has the key, the result and the advice not to
        run again."""
        break_output(broken, errno.ENOSPC)

        assert 7 == main(CREDIT)
        err = capsys.readouterr().err
        assert f"idempotency key: {kraty.ledger[0].idempotency_key}" in err
        assert "Do not run it again." in err
        assert "balance" in err

    @pytest.mark.parametrize("arguments", WRITES, ids=" ".join)
    def test_a_reader_that_is_gone(
        self,
        player: Emulator,
        capsys: pytest.CaptureFixture[str],
        broken: pytest.MonkeyPatch,
        arguments: list[str],
    ) -> None:
        """A write whose result has no reader succeeds, and standard error has the key."""
        break_output(broken, errno.EPIPE)

        assert 0 == main(arguments)
        keys = [seen.idempotency_key for seen in player.requests if seen.idempotency_key]
        assert f"It took effect. Idempotency key: {keys[-1]}\n" == capsys.readouterr().err

    @pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 1), (errno.EPIPE, 0)])
    def test_a_read_changes_nothing(
        self,
        player: Emulator,
        capsys: pytest.CaptureFixture[str],
        broken: pytest.MonkeyPatch,
        number: int,
        status: int,
    ) -> None:
        """A read that cannot be shown fails on a full disk, and succeeds if its reader has left."""
        break_output(broken, number)

        assert status == main(["players", "get", "p"])
        err = capsys.readouterr().err
        assert ("Error: the result cannot be written" in err) == bool(status)
        assert "took effect" not in err

    @pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 7), (errno.EPIPE, 6)])
    def test_an_import(
        self,
        kraty: Emulator,
        capsys: pytest.CaptureFixture[str],
        broken: pytest.MonkeyPatch,
        number: int,
        status: int,
    ) -> None:
        """An import whose report cannot be written is applied, and the status still reflects failed
        rows."""
        Path("w.csv").write_text("externalPlayerId,economyKey,amount\np,gold,5\np,none,5\n")
        break_output(broken, number)

        assert status == main(["--json", "migrate", "wallet", "w.csv"])
        assert 5 == kraty.balance("p", "gold")
        if status == 7:
            result = error_in(capsys)["result"]
            assert (1, 1) == (result["applied"], result["failed"])

    def test_a_closed_standard_error(self, kraty: Emulator, forks: Forks) -> None:
        """A command whose messages have no reader still does its work."""
        for _ in range(2):  # the second is said to be a repeat
            reader, writer = os.pipe()
            command = [*CREDIT, "--idempotency-key", "r"]
            forks.start(command, [None, writer, None], os.environ)
            assert b"balance" in read_all(reader)
            assert 0 == forks.wait()
        assert 5 == kraty.balance("p", "gold")


def interruption(call: CallInfo) -> KeyboardInterrupt:
    """Return what Ctrl-C raises within this call."""
    error = KeyboardInterrupt()
    vars(error)["kraty_call"] = call
    return error


class TestSent:
    """Errors after something was sent, which are not usage errors."""

    def test_a_defect_after_the_answer(
        self,
        kraty: Emulator,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """An unexpected error after a write is reported as ambiguous, with its key."""

        def fail(*arguments: object) -> None:
            raise TypeError("a defect")

        monkeypatch.setattr("kraty_admin.cli._state.State.done", fail)

        assert 1 == main([*CREDIT, "--json"])
        error = error_in(capsys)
        assert ("failed", True, 1) == (error["code"], error["ambiguous"], error["attempts"])
        assert kraty.ledger[0].idempotency_key == error["idempotency_key"]
        assert {"code": "TypeError", "message": "a defect"} == error["cause"]

    def test_a_defect_after_the_answer_to_a_read(
        self, player: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An unexpected error after a read exits with 1, not as a usage error."""

        def fail(*arguments: object) -> None:
            raise ValueError("a defect")

        monkeypatch.setattr("kraty_admin.cli._output.tab_lines", fail)

        assert 1 == main(["players", "get", "p"])
        assert "Error: ValueError: a defect" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("attempts", "advice"), [(0, "Nothing was sent."), (1, "Nothing was changed.")]
    )
    def test_an_interruption_without_effect(
        self,
        kraty: Emulator,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        attempts: int,
        advice: str,
    ) -> None:
        """The error of an interrupted write reports the call's own facts, and so does the
        advice."""

        def interrupted(*arguments: object, idempotency_key: str, **options: object) -> None:
            raise interruption(
                CallInfo(idempotency_key=idempotency_key, attempts=attempts, ambiguous=False)
            )

        monkeypatch.setattr("kraty_server_api.resources.wallet.Wallet.credit", interrupted)

        assert 130 == main([*CREDIT, "--json"])
        error = error_in(capsys)
        assert (False, attempts) == (error["ambiguous"], error["attempts"])
        assert 130 == main(CREDIT)
        assert advice in capsys.readouterr().err

    def test_an_interrupted_write_without_a_key(
        self, kraty: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A DELETE has no key, so after Ctrl-C the error warns of a repeat."""

        def interrupted(*arguments: object, **options: object) -> None:
            raise interruption(CallInfo(method="DELETE", ambiguous=True))

        monkeypatch.setattr("kraty_admin.KratyAdmin.request", interrupted)
        command = ["request", "DELETE", "/players/p"]
        assert 130 == main([*command, "--json"])
        assert error_in(capsys)["ambiguous"]
        assert 130 == main(command)
        assert "a repeat may take effect a second time" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("call", "ambiguous"),
        [
            pytest.param(CallInfo(method="DELETE", ambiguous=True), True, id="without a key"),
            pytest.param(CallInfo(idempotency_key="k", ambiguous=True), False, id="with a key"),
            pytest.param(CallInfo(method="GET", ambiguous=False), False, id="read"),
        ],
    )
    def test_an_interruption_of_another_command(self, call: CallInfo, ambiguous: bool) -> None:
        """Ctrl-C in a command that is no single write warns only of a write without a key."""
        failure = failure_of(interruption(call), None)
        assert (130, ambiguous) == (failure.exit_status, failure.ambiguous)
        assert ambiguous == ("a second time" in failure.advice.text)

    def test_an_interruption_after_the_effect(self) -> None:
        """Ctrl-C after a command took effect exits with 130, and the error says that it did."""
        failure = after_effect(failure_of(KeyboardInterrupt(), None), {"balance": 5}, None)
        assert (130, True) == (failure.exit_status, failure.took_effect)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_terminated_write(self, kraty: Emulator, forks: Forks, number: int) -> None:
        """A write that is terminated says, as after Ctrl-C, how to repeat it under its key."""
        kraty.faults.add(Fault("delay", seconds=PATIENCE), operation="wallet.credit")
        errors, theirs = os.pipe()
        process = forks.start([*CREDIT, "--json"], [None, None, theirs], os.environ)
        ends_at = time.monotonic() + PATIENCE
        while not kraty.ledger and time.monotonic() < ends_at:
            time.sleep(0.01)
        os.kill(process, number)
        error = json.loads(read_all(errors))["error"]
        assert 130 == forks.wait()
        assert ("interrupted", True) == (error["code"], error["ambiguous"])
        assert kraty.ledger[0].idempotency_key == error["idempotency_key"]
        assert error["idempotency_key"] in error["command"]

    def test_an_interruption_by_another_call(
        self, kraty: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What is known about a call with another key says nothing about this write."""

        def interrupted(*arguments: object, **options: object) -> None:
            raise interruption(CallInfo(idempotency_key="another", ambiguous=False))

        monkeypatch.setattr("kraty_server_api.resources.wallet.Wallet.credit", interrupted)
        assert 130 == main([*CREDIT, "--json"])
        assert error_in(capsys)["ambiguous"]

    def test_in_another_thread(self, kraty: Emulator) -> None:
        """A command runs in a thread that cannot set handlers of signals."""
        with ThreadPoolExecutor(1) as pool:
            assert 0 == pool.submit(main, CREDIT).result()

    def test_signals_are_as_before(self, kraty: Emulator) -> None:
        """After a run in this process, SIGTERM does what it did before; if it was ignored, it
        stays so."""
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            assert 0 == main(CREDIT)
            assert signal.SIG_IGN is signal.getsignal(signal.SIGTERM)
        finally:
            signal.signal(signal.SIGTERM, before)
        assert 0 == main(CREDIT)
        assert before is signal.getsignal(signal.SIGTERM)


def test_closed_descriptors_are_no_files_of_the_user(kraty: Emulator) -> None:
    """Output to a closed standard error does not end up in a file that was opened later."""
    Path("w.csv").write_text("externalPlayerId,economyKey,amount\np,gold,x\n")
    program = "import os\nfrom kraty_admin.cli import main\nmain(['migrate', 'wallet', 'w.csv'])\n"
    program += "os.write(2, b'intruder')"
    command = ["/bin/sh", "-c", 'exec "$@" 0<&- 2>&-', "sh", sys.executable, "-c", program]
    subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)

    assert Path("w.csv.wallet.failures.jsonl").exists()
    assert [] == [each for each in Path.cwd().iterdir() if b"intruder" in each.read_bytes()]


class TestAdvice:
    """The advice after a failure."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            pytest.param(
                ["wallet", "debit", "p", "gold", "500"],
                "Check balances and items: kraty-admin players get PLAYER",
                id="conflict",
            ),
            pytest.param(["wallet", "credit", "p", "none", "5"], "would fail again", id="refused"),
        ],
    )
    def test_what_a_repeat_cannot_change(
        self,
        player: Emulator,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        said: str,
    ) -> None:
        """The advice after a permanent refusal does not say to repeat the command."""
        assert main(arguments) in (1, 4)
        err = capsys.readouterr().err
        assert said in err
        assert "try again" not in err.lower()
        assert "--idempotency-key" not in err

    def test_a_host_that_cannot_be_reached(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The error names the host, each detail on a line, and the command to repeat."""
        nowhere = ("--base-url", "http://127.0.0.1:9", "--deadline", "0.3", "--yes")

        assert 5 == main([*nowhere, *CREDIT])
        lines = capsys.readouterr().err.splitlines()
        assert any(line.startswith("  call: wallet.credit, ") for line in lines)
        assert any(line.startswith("  idempotency key: ") for line in lines)
        assert "127.0.0.1:9 could not be reached. Check the base URL and the network." in lines
        assert lines[-2].endswith("To try again, within 23 hours:")
        again = shlex.split(lines[-1])
        assert ["kraty-admin", *nowhere, *CREDIT, "--idempotency-key"] == again[:-3]
        assert "--first-tried-at" == again[-2]

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            pytest.param(
                ["wallet", "credit", "it's p", "gold", "5", "--reason", "a b"],
                ["--idempotency-key", "KEY", "--first-tried-at", "TIME"],
                id="a new key",
            ),
            pytest.param(
                ["wallet", "credit", "--idempotency-key", "r 1", "it's p", "gold", "5"],
                [],
                id="the user's key, whose first try is not known",
            ),
            pytest.param(
                ["request", "POST", "/players/it%27s%20p/wallet/gold/credit", "--body={}"],
                ["--idempotency-key", "KEY"],
                id="no option for the time",
            ),
            pytest.param(
                ["grants", "create", "it's p", "--entry", "currency:gold:5"],
                ["--idempotency-key", "KEY"],
                id="a permanent key",
            ),
        ],
    )
    def test_the_command_that_repeats(
        self,
        kraty: Emulator,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        expected: list[str],
    ) -> None:
        """The command to repeat is printed in full, and running it after a lost answer does not pay
        twice."""
        arguments = [each.replace("{}", '{"amount": 5}') for each in arguments]
        kraty.faults.add(Fault("drop"), operation="wallet.credit", times=None)
        kraty.faults.add(Fault("drop"), operation="grants.create", times=None)
        assert 5 == main(["--yes", "--deadline", "0.3", *arguments])
        err = capsys.readouterr().err
        before, _, after = err.partition("\n  kraty-admin ")
        assert "It may have taken effect. Repeat the command until it succeeds" in before
        again = shlex.split(after.splitlines()[0])
        (entry,) = kraty.ledger
        known = {"KEY": entry.idempotency_key, "TIME": again[-1]}
        added = [known.get(each, each) for each in expected]
        assert ["--yes", "--deadline", "0.3", *arguments, *added] == again

        kraty.faults.clear()
        assert 0 == main(again)
        assert 5 == kraty.balance("it's p", "gold")

    @pytest.mark.parametrize(
        ("arguments", "is_limited"),
        [
            pytest.param(CREDIT, True, id="a key for a day"),
            pytest.param(["request", "POST", "/players/p/unban"], True, id="not known"),
            pytest.param(
                ["grants", "create", "p", "--entry", "currency:gold:5"], False, id="permanent"
            ),
            pytest.param(["grants", "ack", "p", "g"], False, id="not needed"),
        ],
    )
    def test_the_limit_of_a_key(
        self,
        kraty: Emulator,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        is_limited: bool,
    ) -> None:
        """The advice names a time limit if the key has one, and only then."""
        kraty.faults.add(Fault("drop", when="before"), times=None)
        assert 5 == main(["--yes", "--deadline", "0.3", *arguments])
        err = capsys.readouterr().err
        assert is_limited == ("hours" in err)
        assert is_limited == ("within 23 hours:\n" in err)

    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            pytest.param(Fault("drop"), "was reached, but did not answer.", id="dropped"),
            pytest.param(None, "could not be reached. Check the base URL", id="refused"),
        ],
    )
    def test_a_read_without_an_answer(
        self,
        kraty: Emulator,
        capsys: pytest.CaptureFixture[str],
        fault: Fault | None,
        expected: str,
    ) -> None:
        """The advice is to check the network only if the server could not be reached."""
        server = [] if fault else ["--base-url", "http://127.0.0.1:9"]
        if fault:
            kraty.faults.add(fault, times=None)
        assert 5 == main([*server, "--deadline", "0.3", "players", "get", "p"])
        assert expected in capsys.readouterr().err

    def test_a_secret_in_the_command(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An API key among the arguments is masked in the command to repeat."""
        kraty.faults.add(Fault("drop"), times=None)
        assert 5 == main(["--yes", "--deadline", "0.3", "wallet", "credit", TEST_KEY, "gold", "5"])
        err = capsys.readouterr().err
        assert "kraty-admin --yes --deadline 0.3 wallet credit *** gold 5 " in err
        assert TEST_KEY not in err

    def test_a_write_without_a_key(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """After a lost answer of a DELETE, which has no key, no command to repeat is printed."""
        kraty.faults.add(Fault("drop"), times=None)
        assert 5 == main(["--yes", "--deadline", "0.3", "request", "DELETE", "/players/p"])
        err = capsys.readouterr().err
        assert err.endswith("Find out whether it took effect before you run it again.\n")

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            pytest.param("a", "kraty-admin a --x 1", id="at the end"),
            pytest.param("a -- -b", "kraty-admin a --x 1 -- -b", id="before a --"),
        ],
    )
    def test_where_options_are_added(self, words: str, expected: str) -> None:
        """An option is added before `--`, after which it would be an argument."""
        assert expected.split() == command_line(words.split(), "--x", "1")

    def test_words_that_the_terminal_cannot_show(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A printed command is quoted so that a shell reads the same words, whatever the
        encoding."""
        words = ["a b", "it's", "Zo\u00eb", "tab\tand\nline", "\\", "'\x1b", "\udcff"]
        for encoding in ("ascii", "utf-8"):
            stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
            monkeypatch.setattr(sys, "stderr", stream)
            line = shell_line(words)
            assert (encoding == "utf-8") == ("Zo\u00eb" in line)
            assert (encoding == "ascii") == line.isascii()
            assert line.isprintable()
            printed = subprocess.run(
                ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True
            )
            assert [os.fsencode(each) for each in words] == printed.stdout.split(b"\0")[:-1]

    def test_an_import_that_stopped(
        self, kraty: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The JSON error of a stopped import has the facts of the call that stopped it."""
        Path("w.csv").write_text("externalPlayerId,economyKey,amount\np,gold,5\n")
        kraty.faults.add(Fault("drop"), operation="migrate.wallet", times=None)

        deadline = ("--deadline", "0.5", "--json")
        assert 5 == main([*deadline, "migrate", "wallet", "w.csv", "--patience", "0"])
        error = error_in(capsys)
        assert ("import_stopped", True) == (error["code"], error["ambiguous"])
        assert error["attempts"] >= 1
        assert error["idempotency_key"]
        assert error["cause"]["code"] not in ("", "network_error")

    @pytest.mark.parametrize("cause", [KratyError("the client is closed"), None])
    def test_an_import_that_no_call_stopped(self, cause: KratyError | None) -> None:
        """The message of an import that no call stopped is the import's own."""
        stopped = ImportStoppedError("the import stopped", cause=cause)
        stopped.__cause__ = cause
        made = _stopped(stopped, ["kraty-admin", "migrate"])
        assert ("the import stopped", 1) == (made.message, made.exit_status)

    def test_a_usage_error_outside_of_a_command(self) -> None:
        """A usage error outside of a command has no line of usage."""
        failure = failure_of(click.UsageError("no"), None)
        assert (2, "no", "") == (failure.exit_status, failure.message, failure.usage)

    def test_a_defect_before_anything_was_sent(
        self, kraty: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A defect before anything was sent ends the command with its traceback."""

        def fail(*arguments: object) -> None:
            raise AttributeError("a defect")

        monkeypatch.setattr("kraty_admin.cli._state.State.client", fail)
        with pytest.raises(AttributeError, match="a defect"):
            main(["ping"])


@pytest.mark.parametrize(
    ("status", "code", "exit_status"),
    [
        pytest.param(404, "not_found", 3, id="404"),
        pytest.param(404, "grant_gone", 3, id="404 with a newer code"),
        pytest.param(400, "not_found", 3, id="not_found with another status"),
        pytest.param(404, "internal_error", 1, id="a proxy's 404"),
        pytest.param(409, "conflict", 4, id="409"),
        pytest.param(409, "player_frozen", 4, id="409 with a newer code"),
        pytest.param(422, "conflict", 4, id="conflict with another status"),
        pytest.param(422, "idempotency_conflict", 4, id="idempotency conflict"),
        pytest.param(409, "internal_error", 1, id="a proxy's 409"),
        pytest.param(422, "validation_failed", 1, id="another rejection"),
    ],
)
def test_exit_statuses_of_answers(status: int, code: str, exit_status: int) -> None:
    """An answer's code or status decides the exit status, unless it comes from a proxy."""
    assert (
        exit_status == failure_of(KratyServerError("m", status=status, code=code), None).exit_status
    )


class TestKnownKeys:
    """The cache of which game a key is for."""

    @pytest.fixture
    def live(self, kraty: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
        """Return an emulator with a live key, whose answers are cached like the platform's."""
        monkeypatch.setenv("KRATY_SERVER_KEY", LIVE_KEY)
        monkeypatch.setattr(_known_keys, "_lasts", bool)
        return kraty

    def pings(self, kraty: Emulator) -> int:
        return sum(seen.operation == "health.ping" for seen in kraty.requests)

    def test_the_second_question_needs_no_request(
        self, live: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The game of a key is cached in a private file, which does not hold the key."""
        for _ in range(2):
            assert 2 == main(CREDIT)
            assert "live environment, studio studio_1, game game_1" in capsys.readouterr().err
        assert 1 == self.pings(live)

        (file,) = Path(os.environ["XDG_CACHE_HOME"]).rglob("*.json")
        assert (0o600, 0o700) == tuple(
            stat.S_IMODE(each.stat().st_mode) for each in (file, file.parent)
        )
        assert LIVE_KEY.encode() not in file.read_bytes()
        assert LIVE_KEY not in str(file)

    @pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"\xff", b"[" * 100_000])
    def test_a_damaged_file_is_no_answer(self, live: Emulator, damage: bytes) -> None:
        """A damaged cache file is ignored and replaced."""
        main(CREDIT)
        (file,) = Path(os.environ["XDG_CACHE_HOME"]).rglob("*.json")
        file.write_bytes(damage)
        for _ in range(2):
            assert 2 == main(CREDIT)
        assert 2 == self.pings(live)

    def test_another_key_is_asked_about(
        self, live: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The answer for a test key is not used for a live key."""
        monkeypatch.setenv("KRATY_SERVER_KEY", TEST_KEY)
        assert 0 == main(CREDIT)
        monkeypatch.setenv("KRATY_SERVER_KEY", LIVE_KEY)
        assert 2 == main(CREDIT)
        assert 2 == self.pings(live)

    def test_without_a_folder(self, live: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        """A command works if the cache folder cannot be created."""
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
        for _ in range(2):
            assert 2 == main(CREDIT)
        assert 2 == self.pings(live)

    def test_the_next_emulator_on_a_port_may_be_another(
        self, kraty: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An emulator's answer is not cached, since the next one at its address may be another."""
        monkeypatch.setenv("KRATY_SERVER_KEY", LIVE_KEY)
        for _ in range(2):
            assert 2 == main(CREDIT)
        assert 2 == self.pings(kraty)
        assert [] == list(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.json"))
        game = Game("test", "studio_1", "game_1")
        for url, expected in (("http://127.0.0.1:4010", None), (DEFAULT_BASE_URL, game)):
            _known_keys.remember(LIVE_KEY, url, game)
            assert expected == _known_keys.recall(LIVE_KEY, url)

    def test_yes_asks_nothing(self, live: Emulator) -> None:
        """With `--yes`, the write is the only request."""
        assert 0 == main(["--yes", *CREDIT])
        assert ["wallet.credit"] == [seen.operation for seen in live.requests]

    def test_a_failing_question_is_not_a_failing_write(
        self, live: Emulator, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """If the game of the key cannot be found out, the error says so and that nothing was
        changed."""
        fault = Fault("status", status=403, code="forbidden")
        live.faults.add(fault, operation="health.ping", times=None)

        assert 1 == main([*CREDIT, "--json"])
        error = error_in(capsys)
        assert "cannot find out which game the key is for: " in error["message"]
        assert (None, False) == (error["idempotency_key"], error["ambiguous"])
        assert "forbidden" == error["cause"]["code"]
        assert 1 == main(CREDIT)
        assert "Nothing was changed." in capsys.readouterr().err


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


class TestColour:
    """The colours of errors."""

    REFUSED: Final = ["wallet", "debit", "p", "gold", "500"]

    @pytest.fixture(autouse=True)
    def _terminal(self, kraty: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm-256color")

    def test_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal, the error's label is red and its details are dim."""
        monkeypatch.setattr(sys, "stderr", Terminal())
        assert 4 == main(self.REFUSED)
        assert isinstance(sys.stderr, Terminal)
        first, call, *_ = sys.stderr.getvalue().splitlines()
        assert first.startswith("\x1b[1;31mError:\x1b[0m ")
        assert call.startswith("\x1b[2m  call: wallet.debit")
        assert call.endswith("\x1b[0m")

    def test_the_command_to_repeat(self, kraty: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal, the command to repeat is bold and on one line."""
        kraty.faults.add(Fault("drop"), times=None)
        monkeypatch.setattr(sys, "stderr", Terminal())
        assert 5 == main(["--yes", "--deadline", "0.3", *CREDIT, "--reason", "x" * 200])
        assert isinstance(sys.stderr, Terminal)
        (line,) = (each for each in sys.stderr.getvalue().splitlines() if "x" * 200 in each)
        assert line.startswith("\x1b[1m  kraty-admin --yes ")

    @pytest.mark.parametrize(
        ("name", "value"),
        [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "unknown")],
        ids=["NO_COLOR", "dumb", "unknown"],
    )
    def test_colours_that_are_not_wanted(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        """Errors have no colours if NO_COLOR is set or the terminal has none."""
        monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stderr", Terminal())
        assert 4 == main(self.REFUSED)
        assert isinstance(sys.stderr, Terminal)
        assert "Error: " in sys.stderr.getvalue()
        assert "\x1b" not in sys.stderr.getvalue()

    @pytest.mark.parametrize("name", ["FORCE_COLOR", "COLORTERM"])
    def test_a_pipe(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """A pipe gets no colours, whatever the environment says."""
        monkeypatch.setenv(name, "truecolor")
        assert 4 == main(self.REFUSED)
        assert "\x1b" not in capsys.readouterr().err
