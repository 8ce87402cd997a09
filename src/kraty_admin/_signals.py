"""How commands react to Ctrl-C, SIGTERM and a closed terminal, which sends SIGHUP."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

__all__ = [
    "INTERRUPTED",
    "handling",
    "interrupt_on_termination",
    "stop_on_signals",
    "terminations",
    "write_in_handler",
]

INTERRUPTED: Final = 130
"""The exit status that shells give a program that Ctrl-C ended."""


def terminations() -> list[int]:
    """Return SIGTERM and SIGHUP, without those that this platform lacks or this process ignores."""
    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    return [each for each in numbers if each and signal.getsignal(each) != signal.SIG_IGN]


@contextmanager
def interrupt_on_termination() -> Generator[None, None, None]:
    """Let SIGTERM and SIGHUP raise `KeyboardInterrupt`, as Ctrl-C does.

    They would otherwise end the process before it could say that a call may have taken effect, and
    under which key. A signal that is ignored or has a handler is left alone.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    taken = [each for each in terminations() if signal.getsignal(each) == signal.SIG_DFL]
    with handling(on_signal, taken):
        yield


@contextmanager
def stop_on_signals() -> Generator[threading.Event, None, None]:
    """Set an event at the first SIGINT, SIGTERM or SIGHUP; end the process at once at the second.

    Commands that run an outbox worker use it. The second signal does not raise an exception,
    because the worker would first wait for the calls in flight.
    """
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            write_in_handler(
                "\nEnded at once. In a few minutes, a worker sends the calls in flight again under "
                "their keys.\n"
            )
            os._exit(INTERRUPTED)
        write_in_handler(
            "\nStopping after the calls in flight. Press Ctrl-C again to end at once.\n"
        )
        # This cannot hang, because the worker polls the event and never waits on it.
        stop.set()

    with handling(on_signal, [signal.SIGINT, *terminations()]):
        yield stop


@contextmanager
def handling(
    on_signal: Callable[[int, FrameType | None], None], numbers: Iterable[int]
) -> Generator[None, None, None]:
    """Handle these signals with `on_signal`, and restore their handlers at the end.

    Outside the main thread, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        numbers = ()  # Python lets no other thread set handlers
    before = {each: signal.signal(each, on_signal) for each in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_in_handler(text: str) -> None:
    """Write to standard error from a signal's handler.

    It bypasses `sys.stderr`, because the code that the signal interrupted may be writing to it.
    """
    with suppress(OSError):
        os.write(2, text.encode(errors="backslashreplace"))
