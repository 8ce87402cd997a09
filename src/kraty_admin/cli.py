"""The `kraty-admin` command."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sqlite3
import sys
from collections.abc import Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from types import FrameType

    from kraty_admin.emulator import Emulator

__all__ = ["main"]

_EMULATOR_EXTRA: Final = frozenset({"jsonschema_rs", "starlette", "uvicorn"})
"""What the extra `emulator` installs, by the names that are imported."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process if left out.

    Returns:
        The exit status: 0 for success, 1 if the work failed, 2 if it could not be
        asked for like this.
    """
    arguments = _parser().parse_args(argv)
    return _emulator(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kraty-admin", description="Tools around Kraty.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    emulator = commands.add_parser(
        "emulator",
        help="run a local Kraty",
        description="Run a local Kraty. When it is ready, one line of JSON on standard "
        "output tells its base_url and an api_key; its log goes to standard error.",
    )
    emulator.add_argument(
        "--port", type=_port, default=4010, help="0 takes a free one (default: %(default)s)"
    )
    emulator.add_argument(
        "--database",
        default=":memory:",
        metavar="FILE",
        help="keep the state in this file (default: in memory, until the end)",
    )
    emulator.add_argument(
        "--world", metavar="FILE", help="the games, catalogs, keys and endpoints, as JSON"
    )
    emulator.add_argument(
        "--seed",
        type=int,
        metavar="NUMBER",
        help="make the same ids on each run, and let the clock stand",
    )
    emulator.add_argument(
        "--requests-per-minute",
        type=int,
        default=600_000,
        metavar="NUMBER",
        help="how many each key has (default: %(default)s)",
    )
    emulator.add_argument(
        "--webhook", metavar="URL", help="deliver webhooks there, besides those of the world"
    )
    emulator.add_argument(
        "--webhook-secret",
        default="whsec_emulator",
        metavar="SECRET",
        help="sign them with this (default: %(default)s)",
    )
    emulator.add_argument(
        "--webhook-backoff",
        type=_seconds,
        metavar="SECONDS,...",
        help="the waits between the attempts to deliver one (default: 5 seconds to 3 hours)",
    )
    return parser


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port, which is 0 to 65535")


def _seconds(text: str) -> list[float]:
    try:
        waits = [float(each) for each in text.split(",")]
    except ValueError:
        waits = [-1.0]
    if not all(0 <= wait <= 86400 for wait in waits):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of waits, from 0 to 86400 s each")
    return waits


def _emulator(arguments: argparse.Namespace) -> int:
    try:
        from kraty_admin.emulator import DEFAULT_WORLD, Emulator, Endpoint, World
        from kraty_admin.emulator._webhooks import BACKOFF
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EMULATOR_EXTRA:
            raise
        sys.stderr.write("The emulator is an extra: pip install 'kraty-admin[emulator]'\n")
        return 2
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        world = DEFAULT_WORLD if arguments.world is None else World.load(arguments.world)
        if arguments.webhook is not None:
            endpoint = Endpoint(url=arguments.webhook, secret=arguments.webhook_secret)
            world = attrs.evolve(world, webhooks=[*world.webhooks, endpoint])
        return _serve(
            Emulator(
                port=arguments.port,
                database=arguments.database,
                world=world,
                seed=arguments.seed,
                requests_per_minute=arguments.requests_per_minute,
                webhook_backoff=arguments.webhook_backoff or BACKOFF,
            )
        )
    except (OSError, ValueError, sqlite3.Error) as error:
        sys.stderr.write(f"The emulator cannot start: {error}\n")
        return 1


def _serve(emulator: Emulator) -> int:
    # Not an `Event`, whose `set` can deadlock when a signal interrupts its `wait`.
    signals: SimpleQueue[int] = SimpleQueue()

    def stop(number: int, frame: FrameType | None) -> None:
        signals.put(number)

    # Before anybody can know that it is ready and send one.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with emulator as kraty:
        ready = {"base_url": kraty.base_url, "api_key": kraty.api_key}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        signals.get()
    return 0
