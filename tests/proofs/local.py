"""A local Kraty in its own process, with its state in a file."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, TypedDict

import httpx

__all__ = ["Local", "Options", "local"]

_PATIENCE: Final = 60.0
"""Seconds until a process is taken to hang."""

_TESTS: Final = Path(__file__).resolve().parent.parent


class Options(TypedDict):
    """The arguments of a client of the local Kraty."""

    base_url: str
    api_key: str


class Local:
    """A process that serves a local Kraty, and its database. The ledger is read from the file, not
    through what the emulator reports."""

    program: ClassVar[str] = "kraty_admin.emulator"
    """The module that is run."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._database = folder / "kraty.sqlite3"
        self._log = folder / "emulator.log"
        self._options = options
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start the process; after a `kill`, on the same port and with the same state."""
        command = [sys.executable, "-m", self.program, "--port", str(self.port)]
        command += ["--database", str(self._database), *self._options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=_TESTS, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the emulator did not start: {self._log.read_text()[-2000:]}")
        ready = json.loads(line)
        self.base_url: str = ready["base_url"]
        self.api_key: str = ready["api_key"]
        self.port = int(self.base_url.rpartition(":")[2])

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Ask the process to end."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        self._process.send_signal(number)
        self._process.wait(_PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def options(self) -> Options:
        """Return what a client needs to talk to the local Kraty."""
        return {"base_url": self.base_url, "api_key": self.api_key}

    def control(self, what: str, members: Mapping[str, object] | None = None) -> None:
        """Send a command to the emulator's control."""
        url = f"{self.base_url}/_emulator/{what}"
        httpx.post(url, json=members or {}, trust_env=False).raise_for_status()

    def look(self, what: str) -> Any:
        """Return what the emulator's control shows."""
        url = f"{self.base_url}/_emulator/{what}"
        return httpx.get(url, trust_env=False).raise_for_status().json()

    def clear_faults(self) -> None:
        """Remove all faults."""
        url = f"{self.base_url}/_emulator/faults"
        httpx.delete(url, trust_env=False).raise_for_status()

    def events(self) -> list[str]:
        """Return the ids of all events that webhooks deliver, in their order."""
        return [row[0] for row in self._rows("SELECT id FROM events ORDER BY number")]

    def wait_until_delivered(self, timeout: float) -> None:
        """Wait until no delivery is pending any more."""
        give_up = time.monotonic() + timeout
        while self._rows("SELECT 1 FROM deliveries WHERE status = 'pending' LIMIT 1"):
            if time.monotonic() > give_up:
                raise TimeoutError("deliveries are still pending")
            time.sleep(0.05)

    def ledger(self) -> dict[str, list[tuple[str, str, int]]]:
        """Return the postings by idempotency key: player, key and delta."""
        found: dict[str, list[tuple[str, str, int]]] = {}
        for key, player, what, delta in self._rows(
            "SELECT idempotency_key, external_id, key, delta FROM ledger"
            " JOIN players ON players.id = player_id ORDER BY number"
        ):
            found.setdefault(key, []).append((player, what, delta))
        return found

    def _rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self._database)) as database:
            return database.execute(query).fetchall()


@contextmanager
def local(folder: Path, *options: str) -> Generator[Local]:
    """Run a local Kraty with these options of the command line."""
    kraty = Local(folder, *options)
    try:
        yield kraty
    finally:
        kraty.close()
