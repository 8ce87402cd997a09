"""`kraty-admin emulator`, run as a process."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import httpx
import pytest

from kraty_admin.cli import _emulator, main
from kraty_admin.cli._emulator import _serve  # pyright: ignore[reportPrivateUsage]
from kraty_admin.emulator import Emulator
from kraty_admin.emulator._log import DroppingHandler, _JsonFormatter  # pyright: ignore[reportPrivateUsage]

from .forks import PATIENCE, Forks

PIPE: Final = 4096
"""Bytes that a pipe to the command holds, if they can be limited, so that few lines fill it."""


class Running:
    """`kraty-admin emulator` in a process, on a free port."""

    def __init__(self, forks: Forks, *arguments: str) -> None:
        self._forks = forks
        output, out = os.pipe()
        errors, err = os.pipe()
        if sys.platform == "linux":
            fcntl.fcntl(errors, fcntl.F_SETPIPE_SZ, PIPE)
        self._output, self._errors = os.fdopen(output), os.fdopen(errors)
        nothing = os.open(os.devnull, os.O_RDONLY)
        command = ["emulator", "--port", "0", *arguments]
        self.process = forks.start(command, [nothing, out, err], os.environ)
        self.ready: dict[str, str] = json.loads(self._output.readline())
        self.url = self.ready["base_url"]
        self.headers = {"Authorization": f"Bearer {self.ready['api_key']}"}
        self._status: int | None = None

    def log(self) -> str:
        """Return what the process writes to standard error, until its end."""
        return self._errors.read()

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the process by a signal, if it still runs, and return its exit status."""
        if self._status is None:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(self.process, number)
            self._status = self._forks.wait()
        return self._status

    def close(self) -> None:
        """End the process, which writes no second line to standard output."""
        with self._output, self._errors:
            self.end()
            assert "" == self._output.read()


@contextmanager
def command(forks: Forks, *arguments: str) -> Generator[Running, None, None]:
    """Start the emulator in a process, and yield it when it is ready."""
    with closing(Running(forks, *arguments)) as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_it_prints_its_address_and_stops_on_a_signal(forks: Forks, number: signal.Signals) -> None:
    """The command prints one line of JSON when ready, logs to standard error, and exits with 0 on a
    signal."""
    with command(forks) as running:
        assert {"base_url", "api_key"} == running.ready.keys()
        url = f"{running.url}/server/v1/ping"
        assert httpx.get(url, headers=running.headers, trust_env=False).json()["ok"] is True
        assert 0 == running.end(number)
        err = running.log()
    assert "GET /server/v1/ping 200" in err
    assert running.ready["api_key"] not in err
    assert "Traceback" not in err


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_full_pipe_stops_neither_answers_nor_the_end(forks: Forks, log_format: str) -> None:
    """A process whose standard error nobody reads still answers, and stops on a signal."""
    path = f"/server/v1/players/{'x' * 128}"
    with command(forks, "--log-format", log_format) as running:
        with httpx.Client(base_url=running.url, headers=running.headers, trust_env=False) as http:
            # Some 200 bytes each. Where a pipe cannot be limited, it holds 64 KiB.
            for _ in range(60 if sys.platform == "linux" else 600):
                assert http.get(path, timeout=5).status_code == 404
        assert 0 == running.end()


def test_dropped_lines_are_counted() -> None:
    """Log lines that do not fit in the pipe are dropped, and the log says how many."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    full = 0
    with suppress(BlockingIOError):
        while True:
            full += os.write(write, b"x")
    os.set_blocking(write, True)
    handler = DroppingHandler(write, lines=2)
    for _ in range(10):
        handler.handle(logging.makeLogRecord({"msg": "a line"}))
    with os.fdopen(read, "rb") as pipe:
        pipe.read(full)
        handler.close()
        os.close(write)
        log = pipe.read().decode()
    shown = log.count("a line\n")
    assert 2 <= shown <= 3
    assert f"({10 - shown} lines were dropped" in log


def test_a_reader_that_is_gone() -> None:
    """Lines for a pipe without a reader are dropped without an error."""
    read, write = os.pipe()
    os.close(read)
    handler = DroppingHandler(write, lines=2)
    for _ in range(9):
        handler.handle(logging.makeLogRecord({"msg": "a line"}))
    handler.close()
    os.close(write)


def test_an_exception_as_json() -> None:
    """A log line as JSON has the traceback of its exception as a member."""
    try:
        raise LookupError("by design")
    except LookupError:
        record = logging.makeLogRecord({"msg": "it failed", "exc_info": sys.exc_info()})
    line = json.loads(_JsonFormatter().format(record))
    assert "it failed" == line["message"]
    assert line["exception"].endswith("LookupError: by design")


def test_quiet_logs_no_requests(forks: Forks) -> None:
    """With `--quiet`, requests are not logged."""
    with command(forks, "--quiet") as running:
        httpx.get(f"{running.url}/server/v1/ping", trust_env=False)
        running.end()
        assert "" == running.log()


def test_log_lines_as_json(forks: Forks) -> None:
    """With `--log-format json`, each line is an object with the facts of the request."""
    with command(forks, "--log-format", "json") as running:
        answer = httpx.get(f"{running.url}/server/v1/players/{'x' * 500}", trust_env=False)
        running.end()
        err = running.log()
    (line,) = err.splitlines()
    logged = json.loads(line)
    assert set(logged) == {
        *("time", "level", "message", "method", "path", "operation", "status"),
        *("request_id", "fault"),
    }
    assert ("info", "GET", "players.get", 401) == tuple(
        logged[name] for name in ("level", "method", "operation", "status")
    )
    assert answer.headers["X-Request-Id"] == logged["request_id"]
    assert len(logged["path"]) < 250


def test_a_closed_standard_output_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator runs without a ready line if standard output is closed."""
    monkeypatch.setattr(sys, "stdout", None)
    signals = SimpleQueue[int]()
    signals.put(signal.SIGTERM)
    state = tmp_path / "state.kraty"
    _serve(Emulator(), signals, import_=None, export_on_exit=str(state), replay=None)
    assert state.is_file()


def test_a_taken_port_is_one_clear_line(capfd: pytest.CaptureFixture[str]) -> None:
    """A port in use is reported in one line, and the status is 1."""
    with Emulator() as emulator:
        port = emulator.base_url.rpartition(":")[2]
        assert 1 == main(["emulator", "--port", port])
    written = capfd.readouterr()
    assert "" == written.out
    assert written.err.startswith(f"The emulator cannot start: port {port} is in use")
    assert 1 == written.err.count("\n")


@pytest.mark.parametrize("name", ["missing/kraty.sqlite3", "notes.txt", "", "taken.sqlite3"])
def test_a_bad_database_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """A file that cannot be used is reported in one line that names it; the status is 1."""
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("not a database" * 100)
    with Emulator(database="taken.sqlite3"):
        assert 1 == main(["emulator", "--port", "0", "--database", name])
    written = capfd.readouterr()
    assert "" == written.out
    assert written.err.startswith("The emulator cannot start: ")
    assert name in written.err
    assert written.err.count("\n") == 1


@pytest.mark.parametrize("port", ["-1", "65536", "http", "٤٠١٠"])
def test_a_port_is_a_number(capsys: pytest.CaptureFixture[str], port: str) -> None:
    """A wrong port exits with status 2 and the reason."""
    assert main(["emulator", f"--port={port}"]) == 2
    assert "it must be a whole number from 0 to 65535" in capsys.readouterr().err


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command, the help lists the commands."""
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["cattrs", "uvicorn", "jsonschema_rs"])
def test_without_the_extra_it_says_what_to_install(package: str) -> None:
    """Without a package of the extra, an import raises an error that names both. The command prints
    what to install, and exits with status 2."""
    code = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "try:\n"
        "    from kraty_admin.emulator import Emulator\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error.name, error, sep=': ')\n"
        "from kraty_admin.cli import main\n"
        "sys.exit(main(['emulator']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    advice = f"kraty_admin.emulator needs {package}: pip install 'kraty-admin[emulator]'\n"
    assert (2, f"{package}: {advice}", advice) == (done.returncode, done.stdout, done.stderr)


def test_another_package_that_is_missing() -> None:
    """The error for another missing module does not suggest the extra."""
    code = (
        "import sys\n"
        "sys.modules['kraty_admin.emulator._wire'] = None\n"
        "from kraty_admin.emulator import Emulator\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert "ModuleNotFoundError: " in done.stderr
    assert "pip install" not in done.stderr


@pytest.mark.once
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing to kill with")
def test_a_kill_loses_nothing_that_was_acknowledged(forks: Forks, tmp_path: Path) -> None:
    """After SIGKILL under load, every acknowledged credit is in the ledger, and no key is twice."""
    database = str(tmp_path / "kraty.sqlite3")
    acknowledged: list[str] = []
    enough = threading.Event()

    def load(running: Running, worker: int) -> None:
        with httpx.Client(headers=running.headers, trust_env=False, timeout=PATIENCE) as http:
            for number in range(100_000):
                key = f"{worker}:{number}"
                body = {"amount": 1, "idempotencyKey": key}
                try:
                    http.post(f"{running.url}{PATH}", json=body).raise_for_status()
                except httpx.TransportError:
                    return
                acknowledged.append(key)
                if len(acknowledged) >= 300:
                    enough.set()

    with command(forks, "--database", database) as running:
        workers = [threading.Thread(target=load, args=(running, number)) for number in range(4)]
        for worker in workers:
            worker.start()
        drain = threading.Thread(target=running.log)
        drain.start()
        assert enough.wait(PATIENCE)
        assert -signal.SIGKILL == running.end(signal.SIGKILL)
        for worker in [*workers, drain]:
            worker.join(PATIENCE)

    with Emulator(database=database) as emulator:
        keys = [entry.idempotency_key for entry in emulator.ledger]
        assert set(acknowledged) <= set(keys)
        assert len(set(keys)) == len(keys)
        assert len(keys) <= len(acknowledged) + len(workers)
        assert emulator.balance("alice", "gold") == len(keys)
        repeat = {"amount": 1, "idempotencyKey": acknowledged[-1]}
        answer = httpx.post(
            f"{emulator.base_url}{PATH}",
            json=repeat,
            headers={"Authorization": f"Bearer {emulator.api_key}"},
            trust_env=False,
        )
        assert answer.json()["data"]["applied"] is False


PATH = "/server/v1/players/alice/wallet/gold/credit"


def test_a_state_is_imported_and_exported(forks: Forks, tmp_path: Path) -> None:
    """A state can be imported at the start and exported at the end of a run."""
    first, second = str(tmp_path / "first.kraty"), str(tmp_path / "second.kraty")
    with Emulator() as emulator:
        emulator.client().wallet.credit("alice", "gold", amount=5)
        emulator.save(first)
    with command(forks, "--import", first, "--export-on-exit", second) as running:
        answer = httpx.post(
            f"{running.url}{PATH}", json={"amount": 6}, headers=running.headers, trust_env=False
        )
        assert answer.is_success
        assert 0 == running.end()
    with Emulator() as emulator:
        emulator.load(second)
        assert 11 == emulator.balance("alice", "gold")


def test_a_session_is_replayed(forks: Forks, tmp_path: Path) -> None:
    """`--replay` starts the emulator with the requests of a session, and its seed."""
    path = str(tmp_path / "session.jsonl")
    with Emulator(seed=7) as emulator:
        emulator.client().wallet.credit("alice", "gold", amount=5, idempotency_key="k")
        emulator.save_session(path)
    with command(forks, "--replay", path) as running:
        url = f"{running.url}/_emulator/requests"
        (seen,) = httpx.get(url, trust_env=False).json()
    assert "k" == seen["idempotency_key"]


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an emulator in this process stop as soon as it is ready."""
    signals: SimpleQueue[int] = SimpleQueue()
    signals.put(signal.SIGTERM)
    monkeypatch.setattr(_emulator, "_catch_signals", lambda: signals)


@pytest.mark.usefixtures("stopped")
def test_the_log_is_as_before() -> None:
    """A command that has ended leaves the levels and handlers of the log as they were."""

    def now() -> list[object]:
        return [
            (logger.level, [*logger.handlers])
            for logger in (logging.getLogger(), logging.getLogger("kraty_admin.emulator"))
        ]

    before = now()
    assert 0 == main(["emulator", "--port", "0"])
    assert before == now()


@pytest.mark.usefixtures("stopped")
def test_a_session_that_goes_another_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A replay names each request whose answer differs from that of the session."""
    path = tmp_path / "session.jsonl"
    with Emulator(seed=7) as emulator:
        emulator.client().wallet.credit("alice", "gold", amount=5, idempotency_key="k")
        emulator.save_session(path)
    path.write_text(path.read_text().replace('"status": 200', '"status": 404'))
    assert 0 == main(["emulator", "--port", "0", "--replay", str(path)])
    err = capsys.readouterr().err
    assert f"Request 1 of {path} got another answer than before: 200" in err


@pytest.mark.usefixtures("stopped")
def test_a_state_that_cannot_be_exported(capsys: pytest.CaptureFixture[str]) -> None:
    """If the state cannot be exported, the status is 1 and the message names the file."""
    assert 1 == main(["emulator", "--port", "0", "--export-on-exit", "nowhere/state.kraty"])
    err = capsys.readouterr().err
    assert "the state was not exported: " in err
    assert "nowhere/state.kraty" in err


def test_an_import_replaces_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--import` with a `--database` that exists is refused, before anything is opened."""
    (tmp_path / "kraty.sqlite3").write_text("")
    arguments = ["--import", "x", "--database", str(tmp_path / "kraty.sqlite3")]
    assert 2 == main(["emulator", *arguments])
    assert "--import would replace the state" in capsys.readouterr().err


def test_a_world_of_ones_own(forks: Forks, tmp_path: Path) -> None:
    """A world, a seed and a rate limit can be set by option, and a seed makes runs equal."""
    world = tmp_path / "world.json"
    world.write_text(
        '{"games": [{"id": "g"}], "keys": [{"id": "k", "token": "a.b", "game_id": "g"}]}'
    )
    options = ["--world", str(world), "--seed", "7", "--requests-per-minute", "2"]
    runs: list[object] = []
    for _ in range(2):
        with (
            command(forks, *options) as running,
            httpx.Client(base_url=running.url, trust_env=False) as client,
        ):
            assert running.ready["api_key"] == "a.b"
            answers = [client.get("/server/v1/ping", headers=running.headers) for _ in range(3)]
            assert [200, 200, 429] == [answer.status_code for answer in answers]
            runs.append([(answer.headers.raw, answer.content) for answer in answers])
    assert runs[0] == runs[1]


def test_webhooks_by_flag(forks: Forks) -> None:
    """Webhooks set by option are delivered and retried after the given waits."""
    with Emulator() as receiver:
        url = f"{receiver.base_url}/hooks"
        options = ["--webhook", url, "--webhook-secret", "s", "--webhook-backoff", "0.01,0.02"]
        with command(forks, *options) as running:
            httpx.post(f"{running.url}{PATH}", headers=running.headers, json={"amount": 5})
            while True:
                log = httpx.get(f"{running.url}/_emulator/deliveries").json()
                if all(delivery["status"] == "failed" for delivery in log):
                    break
        assert [[404] * 3] * 2 == [[a["status"] for a in each["attempts"]] for each in log]
        assert 6 == len(receiver.requests)


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        pytest.param(["--webhook-backoff", "1,x"], 2, "not a list of waits", id="waits"),
        pytest.param(["--webhook-backoff", "-1"], 2, "not a list of waits", id="negative wait"),
        pytest.param(["--seed", "x"], 2, "not a valid integer", id="seed"),
        pytest.param(["--requests-per-minute", "0"], 1, "at least 1", id="budget"),
        pytest.param(["--webhook", "http://a.b/"], 1, "URLs on this machine", id="endpoint"),
        pytest.param(["--world", "nowhere.json"], 1, "nowhere.json", id="world"),
        pytest.param(["--world", os.devnull], 1, os.devnull, id="no world"),
        pytest.param(["--host", "0.0.0.0"], 1, "--expose-control", id="exposed"),
        pytest.param(["--log-format", "xml"], 2, "xml", id="log format"),
        pytest.param(["--replay", "s", "--import", "x"], 2, "an empty state", id="replay"),
    ],
)
def test_options_that_do_not_fit(
    capfd: pytest.CaptureFixture[str], arguments: list[str], status: int, why: str
) -> None:
    """A wrong option is reported on standard error without a traceback."""
    assert status == main(["emulator", "--port", "0", *arguments])
    written = capfd.readouterr()
    assert "" == written.out
    assert why in written.err
    assert "Traceback" not in written.err
