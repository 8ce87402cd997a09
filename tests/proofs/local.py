"""A local Kraty in a process of its own, with its state in a file."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

__all__ = ["Local", "local"]

_PATIENCE = 60.0
"""Seconds until a process is taken to hang."""


class Local:
    """The process, and what its database says.

    The ledger is read from the file, past all that the emulator tells about itself.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self._database = folder / "kraty.sqlite3"
        self._log = folder / "emulator.log"
        self._options = options
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it; after a `kill` on the same port and with the same state."""
        command = [sys.executable, "-m", "kraty_admin.emulator", "--port", str(self.port)]
        command += ["--database", str(self._database), *self._options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the emulator did not start: {self._log.read_text()[-2000:]}")
        ready = json.loads(line)
        self.base_url: str = ready["base_url"]
        self.api_key: str = ready["api_key"]
        self.port = int(self.base_url.rpartition(":")[2])

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Ask it to end."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        self._process.send_signal(number)
        self._process.wait(_PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def ledger(self) -> dict[str, list[tuple[str, str, int]]]:
        """Each idempotency key with what was posted under it: player, key and delta."""
        found: dict[str, list[tuple[str, str, int]]] = {}
        with closing(sqlite3.connect(self._database)) as database:
            for key, player, what, delta in database.execute(
                "SELECT idempotency_key, external_id, key, delta FROM ledger"
                " JOIN players ON players.id = player_id ORDER BY number"
            ):
                found.setdefault(key, []).append((player, what, delta))
        return found


@contextmanager
def local(folder: Path, *options: str) -> Iterator[Local]:
    """Run one; options are those of the command line."""
    kraty = Local(folder, *options)
    try:
        yield kraty
    finally:
        kraty.close()
