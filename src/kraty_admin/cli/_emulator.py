"""`kraty-admin emulator`: a local Kraty. It needs the extra `kraty-admin[emulator]`."""

from __future__ import annotations

import errno
import json
import shlex
import signal
import sqlite3
import sys
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import attrs
import click

from kraty_admin._signals import terminations
from kraty_admin.emulator._extra import MissingExtraError

from ._emulator_control import COMMANDS
from ._failures import FAILED, USAGE
from ._help import Group

if TYPE_CHECKING:
    from types import FrameType

    from kraty_admin.emulator import Emulator
    from kraty_admin.emulator._log import LogFormat

__all__ = ["emulator"]

_STDERR = 2
"""The file descriptor of standard error."""


def _port(context: click.Context, parameter: click.Parameter, text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise click.BadParameter(f"it must be a whole number from 0 to 65535, not {text!r}")


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


@click.group(
    cls=Group,
    invoke_without_command=True,
    section="local",
    examples=[
        "kraty-admin emulator",
        "kraty-admin emulator --port 0 --database kraty.sqlite3 --quiet",
    ],
)
@click.option(
    "--port",
    default="4010",
    show_default=True,
    callback=_port,
    metavar="PORT",
    help="The port to listen on. 0 picks a free one.",
)
@click.option(
    "--database",
    default=":memory:",
    metavar="FILE",
    help="Keep the state in this file. Default: in memory only.",
)
@click.option(
    "--import",
    "import_",
    metavar="FILE",
    help="Start with the state in this file, written by --export-on-exit or --database.",
)
@click.option(
    "--export-on-exit",
    metavar="FILE",
    help="When the emulator is stopped, write its state to this file.",
)
@click.option(
    "--replay",
    metavar="FILE",
    help="First repeat the requests in this file, written by pytest with --kraty-sessions.",
)
@click.option(
    "--world", metavar="FILE", help="JSON file with games, catalogs, API keys and webhooks."
)
@click.option(
    "--seed",
    type=int,
    metavar="NUMBER",
    help="Give the same ids on every run, with the clock stopped.",
)
@click.option(
    "--requests-per-minute",
    type=int,
    default=600_000,
    show_default=True,
    metavar="NUMBER",
    help="Rate limit of each API key.",
)
@click.option("--webhook", metavar="URL", help="Also deliver webhooks to this URL.")
@click.option(
    "--webhook-secret",
    default="whsec_emulator",
    show_default=True,
    metavar="SECRET",
    help="Sign the webhooks of --webhook with this secret.",
)
@click.option(
    "--webhook-backoff",
    callback=_waits,
    metavar="SECONDS,...",
    help="Waits between attempts to deliver a webhook. Default: 5 seconds to 3 hours.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="IPv4 address to listen on. One that other machines can reach needs --expose-control.",
)
@click.option(
    "--expose-control",
    is_flag=True,
    help="Accept a --host that other machines can reach. They can then call the API with the "
    "published keys, and read, reset and control the emulator.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Also serve requests for this host name, such as the name of a container. Repeat the "
    "option for each.",
)
@click.option("--quiet", is_flag=True, help="Log warnings and errors only.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the log lines.",
)
@click.pass_context
def emulator(
    context: click.Context,
    port: int,
    database: str,
    import_: str | None,
    export_on_exit: str | None,
    replay: str | None,
    world: str | None,
    seed: int | None,
    requests_per_minute: int,
    webhook: str | None,
    webhook_secret: str,
    webhook_backoff: list[float] | None,
    host: str,
    expose_control: bool,
    allow_hosts: tuple[str, ...],
    quiet: bool,
    log_format: LogFormat,
) -> None:
    """Run a local Kraty.

    When the emulator is ready, it prints its address and an API key: as text on a terminal, and as
    one line of JSON elsewhere. The log goes to standard error. Log lines are dropped if nothing
    reads them.

    The commands below inspect and control a running emulator.
    """
    if context.invoked_subcommand is not None:
        return
    if import_ is not None and database != ":memory:" and Path(database).exists():
        raise click.UsageError(f"--import would replace the state of {database}; delete it first")
    if replay is not None and (import_ is not None or database != ":memory:"):
        raise click.UsageError("--replay starts with an empty state: no --import, no --database")
    signals = _catch_signals()
    try:
        from kraty_admin.emulator import DEFAULT_WORLD, Emulator, Endpoint, World
        from kraty_admin.emulator._log import log_to
        from kraty_admin.emulator._session import Session
        from kraty_admin.emulator._webhooks import BACKOFF
    except MissingExtraError as error:
        sys.stderr.write(f"{error}\n")
        context.exit(USAGE)
    try:
        with log_to(_STDERR, log_format=log_format, quiet=quiet):
            if replay is not None:
                seed = Session.load(replay).seed
            worlds = DEFAULT_WORLD if world is None else World.load(world)
            if webhook is not None:
                endpoint = Endpoint(url=webhook, secret=webhook_secret)
                worlds = attrs.evolve(worlds, webhooks=[*worlds.webhooks, endpoint])
            _serve(
                Emulator(
                    host=host,
                    expose_control=expose_control,
                    allow_hosts=allow_hosts,
                    port=port,
                    database=database,
                    world=worlds,
                    seed=seed,
                    requests_per_minute=requests_per_minute,
                    webhook_backoff=webhook_backoff or BACKOFF,
                ),
                signals,
                import_,
                export_on_exit,
                replay,
            )
    except (OSError, ValueError, sqlite3.Error) as error:
        reason = str(error)
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            reason = f"port {port} is in use, perhaps by another emulator: stop it or use --port 0"
        sys.stderr.write(f"The emulator cannot start: {reason}\n")
        context.exit(FAILED)


for _command in COMMANDS:
    emulator.add_command(_command)


def _catch_signals() -> SimpleQueue[int]:
    """Return a queue that receives SIGINT, SIGTERM and SIGHUP."""
    # Not an `Event`, whose `set` can deadlock when a signal interrupts its `wait`.
    signals: SimpleQueue[int] = SimpleQueue()

    def stop(number: int, frame: FrameType | None) -> None:
        signals.put(number)

    for number in (signal.SIGINT, *terminations()):
        signal.signal(number, stop)
    return signals


def _ready(kraty: Emulator, *, for_people: bool) -> str:
    if not for_people:
        return json.dumps({"base_url": kraty.base_url, "api_key": kraty.api_key}) + "\n"
    return f"""A local Kraty is running at {kraty.base_url}
Open that address in a browser to see what happens in it.

  export KRATY_BASE_URL={shlex.quote(kraty.base_url)}
  export KRATY_SERVER_KEY={shlex.quote(kraty.api_key)}

Ctrl-C stops it.
"""


def _serve(
    emulator: Emulator,
    signals: SimpleQueue[int],
    import_: str | None,
    export_on_exit: str | None,
    replay: str | None,
) -> None:
    with emulator as kraty:
        if replay is not None:
            for each in kraty.replay(replay):
                sys.stderr.write(
                    f"Request {each.number} of {replay} got another answer than before:"
                    f" {each.replayed}, not {each.recorded}\n"
                )
        if import_ is not None:
            kraty.load(import_)
        # `sys.stdout` is None if the parent has closed the descriptor.
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
            sys.stdout.write(_ready(kraty, for_people=sys.stdout.isatty()))
            sys.stdout.flush()
        signals.get()
        if export_on_exit is not None:
            try:
                kraty.save(export_on_exit)
            except OSError as error:
                raise click.ClickException(f"the state was not exported: {error}") from None
