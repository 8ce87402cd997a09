"""The root command: the global options, the commands, and how each run ends."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from kraty_admin import __version__
from kraty_admin._signals import interrupt_on_termination
from kraty_admin.errors import KratyError

from ._commands import call_commands
from ._completion import completion
from ._emulator import emulator
from ._failures import EXIT_STATUSES, CommandError, OutputError, after_effect, failure_of
from ._help import Group
from ._help_command import help_command
from ._migrate import migrate
from ._outbox import outbox_group
from ._profiles import LOCATION, profile_names
from ._request import request
from ._state import State, json_option, verbose_option, yes_option
from ._topics import TOPICS
from ._webhooks import webhooks

__all__ = ["app", "run"]


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    _open_standard_files()
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show must not end in a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    state = State(arguments=arguments)
    # Before the arguments are parsed, because an error message may quote a key among them.
    state.out.hide(os.environ.get("KRATY_SERVER_KEY", ""))
    try:
        with interrupt_on_termination():
            status: object = app.main(
                list(arguments), prog_name="kraty-admin", standalone_mode=False, obj=state
            )
    except SystemExit:  # click raises this if the reader of a help text has closed the pipe
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return _failed(state, error)
    return status if isinstance(status, int) else 0


_EXPECTED: Final = (
    *(click.ClickException, click.Abort, KeyboardInterrupt, CommandError, OutputError),
    *(KratyError, OSError, TypeError, ValueError),
)


def _open_standard_files() -> None:
    """Open standard streams that the parent closed, so that no other file gets their number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _failed(state: State, error: BaseException) -> int:
    """Report why a run failed, and return its exit status, which depends on what was sent."""
    if isinstance(error, OutputError) and error.reader_gone:
        if state.effect is not None:
            key = "" if state.write is None else f" Idempotency key: {state.write.key}"
            state.out.say(f"It took effect.{key}")
        return state.exit_status
    if not isinstance(error, _EXPECTED) and state.write is None and state.effect is None:
        raise error
    if isinstance(error, click.UsageError) and "--json" in state.arguments:
        state.out.as_json = True  # the error may have come before that option was read
    failure = failure_of(error, state.write, sent=state.has_sent)
    if state.effect is not None:
        failure = after_effect(failure, state.effect, state.write)
    state.out.fail(failure)
    return failure.exit_status


def _complete_profile(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    return [name for name in profile_names() if name.startswith(incomplete)]


@click.group(
    cls=Group,
    epilog=f"{EXIT_STATUSES}\n\nHelp topics: {', '.join(TOPICS)}. Show one with `kraty-admin help "
    "TOPIC`.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--base-url",
    metavar="URL",
    envvar="KRATY_BASE_URL",
    show_envvar=True,
    help="URL of the server. Default: the production platform.",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the API key from this file. Default: the variable KRATY_SERVER_KEY. There is no "
    "option for the key itself, because everyone on the machine can read a command's options.",
)
@click.option(
    "--profile",
    metavar="NAME",
    envvar="KRATY_PROFILE",
    show_envvar=True,
    shell_complete=_complete_profile,
    help=f"Take the API key and the server from this profile in {LOCATION}.",
)
@click.option(
    "--timeout",
    type=float,
    metavar="SECONDS",
    help="How long one step of an attempt may take. Default: 15, or 60 for migrate.",
)
@click.option(
    "--deadline",
    type=float,
    metavar="SECONDS",
    help="How long a call may take, with all its retries. Default: 120.",
)
@click.version_option(__version__, prog_name="kraty-admin")
@verbose_option
@json_option
@yes_option
@click.pass_context
def app(
    context: click.Context,
    base_url: str | None,
    key_file: Path | None,
    profile: str | None,
    timeout: float | None,
    deadline: float | None,
) -> None:
    """Work with the players of your game on Kraty: balances, items, bans, exports and imports.

    Results go to standard output: as tables on a terminal, as lines with tabs elsewhere, and with
    --json as one JSON document. Prompts, progress and errors go to standard error.

    `players delete`, `players merge`, `outbox resolve` and `outbox purge` always ask for
    confirmation. With a live key, so do `players ban`, `migrate`, `request`, and commands that
    change balances, items, scores or progress.
    """
    state = context.ensure_object(State)
    if context.get_parameter_source("base_url") is ParameterSource.COMMANDLINE:
        state.base_url = base_url  # the SDK reads the variable
    state.key_file = key_file
    state.profile = profile
    state.profile_is_variable = (
        context.get_parameter_source("profile") is ParameterSource.ENVIRONMENT
    )
    state.timeout = timeout
    state.deadline = deadline


for _command in (
    *call_commands(),
    *(migrate, outbox_group, webhooks, emulator, request, completion, help_command),
):
    app.add_command(_command)
