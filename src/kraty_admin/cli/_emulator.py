"""`kraty-admin emulator`: a local Kraty. It needs the extra `kraty-admin[emulator]`."""

from __future__ import annotations

import json
import logging
import signal
import sqlite3
import sys
from queue import SimpleQueue
from typing import TYPE_CHECKING

import attrs
import click

from kraty_admin.emulator._extra import MissingExtraError

from ._failures import FAILED, USAGE

if TYPE_CHECKING:
    from types import FrameType

    from kraty_admin.emulator import Emulator

__all__ = ["emulator"]


def _port(context: click.Context, parameter: click.Parameter, text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise click.BadParameter(f"{text!r} is not a port, which is 0 to 65535")


def _waits(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> list[float] | None:
    if text is None:
        return None
    try:
        waits = [float(each) for each in text.split(",")]
    except ValueError:
        waits = [-1.0]
    if not all(0 <= wait <= 86400 for wait in waits):
        raise click.BadParameter(f"{text!r} is not a list of waits, from 0 to 86400 s each")
    return waits


@click.command()
@click.option(
    "--port", default="4010", show_default=True, callback=_port, help="0 takes a free one."
)
@click.option(
    "--database",
    default=":memory:",
    metavar="FILE",
    help="Keep the state in this file. Default: in memory, until the end.",
)
@click.option("--world", metavar="FILE", help="The games, catalogs, keys and endpoints, as JSON.")
@click.option(
    "--seed",
    type=int,
    metavar="NUMBER",
    help="Make the same ids on each run, and let the clock stand.",
)
@click.option(
    "--requests-per-minute",
    type=int,
    default=600_000,
    show_default=True,
    metavar="NUMBER",
    help="How many each key has.",
)
@click.option(
    "--webhook", metavar="URL", help="Deliver webhooks there, besides those of the world."
)
@click.option(
    "--webhook-secret",
    default="whsec_emulator",
    show_default=True,
    metavar="SECRET",
    help="Sign them with this.",
)
@click.option(
    "--webhook-backoff",
    callback=_waits,
    metavar="SECONDS,...",
    help="The waits between the attempts to deliver one. Default: 5 seconds to 3 hours.",
)
@click.pass_context
def emulator(
    context: click.Context,
    port: int,
    database: str,
    world: str | None,
    seed: int | None,
    requests_per_minute: int,
    webhook: str | None,
    webhook_secret: str,
    webhook_backoff: list[float] | None,
) -> None:
    """Run a local Kraty.

    When it is ready, one line of JSON on standard output tells its base_url and an api_key; its log
    goes to standard error.
    """
    try:
        from kraty_admin.emulator import DEFAULT_WORLD, Emulator, Endpoint, World
        from kraty_admin.emulator._webhooks import BACKOFF
    except MissingExtraError as error:
        sys.stderr.write(f"{error}\n")
        context.exit(USAGE)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        worlds = DEFAULT_WORLD if world is None else World.load(world)
        if webhook is not None:
            endpoint = Endpoint(url=webhook, secret=webhook_secret)
            worlds = attrs.evolve(worlds, webhooks=[*worlds.webhooks, endpoint])
        _serve(
            Emulator(
                port=port,
                database=database,
                world=worlds,
                seed=seed,
                requests_per_minute=requests_per_minute,
                webhook_backoff=webhook_backoff or BACKOFF,
            )
        )
    except (OSError, ValueError, sqlite3.Error) as error:
        sys.stderr.write(f"The emulator cannot start: {error}\n")
        context.exit(FAILED)


def _serve(emulator: Emulator) -> None:
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
