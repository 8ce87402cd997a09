"""Runs commands as processes, without the start of an interpreter for each.

A server imports everything once, and forks for each run. Such a process takes 0.03 s, and one that
a shell starts 0.4 s.
"""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final

from kraty_admin.cli import main

PATIENCE: Final = 30
"""Seconds after which a command that should be quick has failed."""

_LIMIT: Final = 1 << 20
"""The longest request, in bytes."""


def read_all(reader: int) -> bytes:
    """Return what comes out of a pipe or a terminal until its other end is closed."""
    said = b""
    with suppress(OSError):  # how Linux says that a terminal is closed
        while data := os.read(reader, 4096):
            said += data
    os.close(reader)
    return said


def read_until(reader: int, awaited: bytes) -> bytes:
    """Return what comes out of a pipe or a terminal, at least until `awaited` is in it."""
    said = b""
    while awaited not in said:
        said += os.read(reader, 1000)
    return said


class Forks:
    """Starts commands, one at a time."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._is_awaited = False

    def start(
        self, arguments: Sequence[str], files: Sequence[int | None], environment: Mapping[str, str]
    ) -> int:
        """Start a command, and return the id of its process.

        Args:
            arguments: What follows `kraty-admin`.
            files: Standard input, output and error; `None` for one that is closed. They are
                closed here.
            environment: All of its variables.
        """
        if self._is_awaited:
            # A test failed before it waited. Its command's status would be taken for an id.
            self.wait()
        request = {
            "arguments": arguments,
            "is_open": [each is not None for each in files],
            "environment": dict(environment),
            "folder": str(Path.cwd()),
        }
        sent = [each for each in files if each is not None]
        socket.send_fds(self._socket, [json.dumps(request).encode()], sent)
        for each in set(sent):
            os.close(each)
        self._is_awaited = True
        return int(self._socket.recv(_LIMIT))

    def wait(self) -> int:
        """Wait for the command that was started last, and return its exit status."""
        self._is_awaited = False
        return int(self._socket.recv(_LIMIT))

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self._server.wait()


def _serve(connection: socket.socket) -> None:
    while True:
        data, files, _, _ = socket.recv_fds(connection, _LIMIT, 3)
        if not data:
            return
        process = os.fork()
        if not process:
            connection.close()
            _become(json.loads(data), files)
        for each in files:
            os.close(each)
        connection.send(str(process).encode())
        _, status = os.waitpid(process, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: dict[str, Any], files: list[int]) -> None:
    """Turn this process into that of one command."""
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    left = list(files)
    for number, is_open in enumerate(request["is_open"]):
        if is_open:
            os.dup2(left[0], number)
            os.close(left.pop(0))
        else:
            os.close(number)
    # As Python does at its start: a stream that is closed is no stream.
    sys.stdin, sys.stdout, sys.stderr = (
        _stream(number) if is_open else None for number, is_open in enumerate(request["is_open"])
    )
    # As a shell starts a process. In the server, coverage handles it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(PATIENCE)  # which ends the process
    if request["arguments"][:1] == ["emulator"]:
        warnings.simplefilter("error")  # it runs for days, so it must not leave anything open
    sys.exit(main(request["arguments"]))


def _stream(number: int) -> IO[str]:
    return os.fdopen(
        number,
        "w" if number else "r",
        encoding=os.environ.get("PYTHONIOENCODING", "utf-8"),
        errors="backslashreplace" if number == 2 else "strict",
        closefd=False,
    )


def _import_everything() -> None:
    """Import what calls and the emulator need, so that no fork has to: one call is made, which
    fails."""
    import_module("kraty_admin.emulator._server")
    os.environ["KRATY_SERVER_KEY"] = "krt_emulator_game1.not-a-secret"
    with redirect_stderr(io.StringIO()):
        main(["--base-url", "http://127.0.0.1:9", "--deadline", "0.01", "ping"])
    # Otherwise each fork would copy most of the memory when it looks for garbage at its end.
    gc.freeze()


if __name__ == "__main__":
    _import_everything()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _serve(connection)
