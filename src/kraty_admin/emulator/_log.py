"""The log of `kraty-admin emulator`, which never makes the server wait.

A parent process may read only the first line and never read standard error, whose pipe then
fills up. So lines go through a queue to a thread, and are dropped when the queue is full.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, Literal

__all__ = ["DroppingHandler", "LogFormat", "log_to"]

LogFormat = Literal["text", "json"]

_LINES: Final = 10_000
"""How many lines wait for a slow reader."""

_PATIENCE: Final = 0.5
"""How many seconds to wait for the last lines to be written."""


@contextmanager
def log_to(file: int, *, log_format: LogFormat, quiet: bool) -> Generator[None, None, None]:
    """Send the process's log to a file descriptor.

    Args:
        file: The descriptor, such as that of standard error.
        log_format: `text` for lines of text, `json` for one JSON object on each line.
        quiet: Whether to log only warnings and errors, not each request.
    """
    handler = DroppingHandler(file)
    handler.setFormatter(
        _JsonFormatter()
        if log_format == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    root, emulator = logging.getLogger(), logging.getLogger("kraty_admin.emulator")
    levels = root.level, emulator.level
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    emulator.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        root.setLevel(levels[0])
        emulator.setLevel(levels[1])
        root.removeHandler(handler)
        handler.close()


class DroppingHandler(logging.Handler):
    """Writes to a file descriptor in a thread, and drops lines rather than wait."""

    def __init__(self, file: int, *, lines: int = _LINES) -> None:
        super().__init__()
        self._file = file
        self._lines: queue.Queue[bytes] = queue.Queue(lines)
        self._dropped = 0
        # A daemon thread that uses `os.write`: it may be blocked when the process ends, and must
        # not hold a lock that the interpreter needs then.
        threading.Thread(target=self._write, name="kraty-emulator-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line."""
        try:
            self._lines.put_nowait(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Give the thread a moment to write what is queued."""
        give_up = time.monotonic() + _PATIENCE
        while self._lines.unfinished_tasks and time.monotonic() < give_up:
            time.sleep(0.005)
        super().close()

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            dropped, self._dropped = self._dropped, 0
            if dropped:
                line = b"(%d lines were dropped: nothing reads them)\n%b" % (dropped, line)
            try:
                while line:
                    line = line[os.write(self._file, line) :]
            except OSError:
                return  # the reader has closed the pipe
            finally:
                self._lines.task_done()


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        members: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "members", {}),
        }
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return json.dumps(members, ensure_ascii=False)
