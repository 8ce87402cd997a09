"""The state that all commands share: global options, the client, keys and confirmations."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeVar
from uuid import uuid4

import attrs
import click
from dateutil.parser import isoparse

from kraty_admin import KratyAdmin
from kraty_admin._call._game import Game, game_of
from kraty_admin._call._idempotency import check_key_age
from kraty_admin._settings import DEFAULT_BASE_URL
from kraty_admin.errors import KratyError
from kraty_admin.telemetry import RequestInfo
from kraty_server_api.lifetimes import KEY_LIFETIMES
from kraty_server_api.operation import KeyLifetime

from ._failures import FAILED, Advice, CommandError, Write, failure_of, refusal
from ._known_keys import recall, remember
from ._output import Output, is_terminal
from ._profiles import Profile, load_profile, read_key_file

__all__ = [
    "INPUT",
    "State",
    "fields_option",
    "json_option",
    "key_options",
    "read_bytes",
    "standard_input",
    "verbose_option",
    "yes_option",
]

INPUT: Final = click.Path(exists=True, dir_okay=False, allow_dash=True)
"""A file to read, or - for standard input."""

F = TypeVar("F", bound=Callable[..., Any])


@attrs.define
class State:
    """One run of the command."""

    arguments: Sequence[str]
    """The arguments of the command line."""
    out: Output = attrs.field(factory=Output)
    base_url: str | None = None
    """The server; `None` if `--base-url` was not passed."""
    key_file: Path | None = None
    profile: str | None = None
    """The name of the profile; `None` for none."""
    profile_is_variable: bool = False
    """Whether the profile comes from KRATY_PROFILE, rather than from `--profile`."""
    timeout: float | None = None
    deadline: float | None = None
    yes: bool = False
    """Whether `--yes` confirms all questions."""
    verbose: bool = False
    """Whether each attempt is reported."""
    write: Write | None = None
    """The write of this run, from just before it is sent."""
    effect: object = None
    """The result of the change that this run made; `None` before."""
    has_sent: bool = False
    """Whether anything was sent, apart from the ping that asks which game the key is for."""
    check_age: Callable[[], None] | None = None
    """Raises an error if the key that the user passed is too old; `None` if its age is unknown."""
    exit_status: int = 0
    """The exit status if the result is written, or if its reader has closed the pipe."""
    _key: str = attrs.field(default="", init=False)
    """The API key of the client."""

    def client(self) -> KratyAdmin:
        """Return a client with the global options. The caller has to close it.

        Raises:
            CommandError: The key is missing or cannot be read.
            TypeError, ValueError: The key or an option is invalid.
        """
        self._key, base_url = self._find_key()
        return KratyAdmin(
            api_key=self._key,
            base_url=base_url,
            timeout=self.timeout,
            deadline=self.deadline,
            on_request=self._attempted,
        )

    def _attempted(self, attempt: RequestInfo) -> None:
        if self.verbose:
            self.out.say(_described(attempt))
        self.has_sent = self.has_sent or attempt.operation != "health.ping"
        if self.write is not None and attempt.idempotency_key == self.write.key:
            self.write.attempts += 1

    def _find_key(self) -> tuple[str, str | None]:
        """Return the API key, and the base URL if it is not the SDK's default."""
        profile = self._load_profile()
        file = self.key_file if profile is None else profile.key_file
        if file is not None:
            key = read_key_file(file)
        else:
            variable = profile and profile.key_env
            key = os.environ.get(variable or "KRATY_SERVER_KEY", "")
            if not key:
                raise refusal(
                    f"the profile {profile.name!r} names {variable}, which is not set"
                    if profile
                    else "no API key: set KRATY_SERVER_KEY, or pass --key-file or --profile"
                )
        self.out.hide(key)
        if self.base_url is None and profile is not None:
            # Ignore KRATY_BASE_URL, because it could send the profile's key to another server.
            return key, profile.base_url or DEFAULT_BASE_URL
        return key, self.base_url

    def _load_profile(self) -> Profile | None:
        if self.profile is None:
            return None
        if self.key_file is not None:
            raise refusal(
                f"--key-file and the profile {self.profile!r} both name a key: pass one of them"
            )
        profile = load_profile(self.profile)
        other = "KRATY_SERVER_KEY"
        if self.profile_is_variable and other in os.environ and profile.key_env != other:
            raise refusal(
                f"KRATY_PROFILE and {other} both name a key: unset one of them, or pass --profile"
            )
        return profile

    def key(self, given: str | None, lifetime: KeyLifetime, *, has_age_option: bool = False) -> str:
        """Return the idempotency key of the write that is about to be sent.

        If the user passed none, it is created here, so that it is known even if the call fails.

        Args:
            given: The key that the user passed, if any.
            lifetime: How long the platform keeps the key.
            has_age_option: Whether the command has the option --first-tried-at.

        Raises:
            KratyKeyExpiredError: The key has become too old, for example because the user took
                hours to confirm.
        """
        if self.check_age is not None:
            self.check_age()
        self.write = Write(
            str(uuid4()) if given is None else given,
            given=given is not None,
            lifetime=lifetime,
            arguments=self.arguments,
            has_age_option=has_age_option,
        )
        return self.write.key

    def done(self, result: object) -> None:
        """Print the result of a command that has changed something.

        From now on, the command counts as having taken effect, even if printing fails.
        """
        self.effect = result
        self.out.result(result)

    def confirm(self, kraty: KratyAdmin, what: str, *, always: bool = False) -> None:
        """Ask for confirmation before a change, unless the key is a test key.

        Args:
            kraty: A client, to ask which environment, studio and game the key is for, unless an
                earlier run has remembered it.
            what: What will happen, such as "Credit 500 gold to player 'p'".
            always: Ask even with a test key, for example before something is erased.

        Raises:
            CommandError: There is no terminal to ask on, or the answer was no.
        """
        if self.yes:
            return
        game = recall(self._key, kraty.base_url) or self._ask_game(kraty)
        if game.environment == "test" and not always:
            return
        if game.environment is None and game.studio_id is None:
            where = "Kraty did not say which game the key is for"
        else:
            named = "all games" if game.game_id is None else f"game {game.game_id}"
            studio = game.studio_id or "unknown"
            where = f"{game.environment or 'unknown'} environment, studio {studio}, {named}"
        if self.profile is not None:
            where = f"profile {self.profile}, {where}"
        self.ask(f"{what} ({where})")

    def learn(self, kraty: KratyAdmin, answer: Mapping[str, Any]) -> Game:
        """Return which game the key is for, according to a ping's answer, and remember it."""
        game = game_of(answer)
        if game.environment is not None:
            remember(self._key, kraty.base_url, game)
        return game

    def _ask_game(self, kraty: KratyAdmin) -> Game:
        try:
            return self.learn(kraty, kraty.health.ping())
        except KratyError as error:
            why = failure_of(error, None)
            raise CommandError(
                f"cannot find out which game the key is for: {error.message}",
                code=why.code,
                exit_status=why.exit_status,
                why=why.why,
                advice=Advice("Nothing was changed."),
                cause=error,
            ) from error

    def ask(self, what: str) -> None:
        """Ask for confirmation, unless `--yes` was passed.

        Args:
            what: What will happen, without a question mark.

        Raises:
            CommandError: There is no terminal to ask on, or the answer was no.
        """
        if self.yes:
            return
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise refusal(f"there is no terminal to ask on; use --yes to confirm: {what}")
        self.out.ask(f"{what}? [y/N] ")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError(
                "you answered no; nothing was changed", code="declined", exit_status=FAILED
            )


def _described(attempt: RequestInfo) -> str:
    outcome = attempt.error or "ok"
    status = "no answer" if attempt.status is None else str(attempt.status)
    took = "" if attempt.duration_ms is None else f" after {attempt.duration_ms:.0f} ms"
    again = "" if attempt.retry_in is None else f"; next attempt in {attempt.retry_in:.2f} s"
    return (
        f"{attempt.method} {attempt.url}: attempt {attempt.attempt}, {status}, {outcome}"
        f"{took}{again}"
    )


def _state(context: click.Context) -> State:
    state = context.find_object(State)
    assert state is not None  # noqa: S101 -- `run` gives one to the root command
    return state


def _turn_on_json(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        _state(context).out.as_json = True


def _turn_on_yes(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        _state(context).yes = True


def _turn_on_verbose(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        _state(context).verbose = True


json_option = click.option(
    "--json",
    is_flag=True,
    is_eager=True,  # so that errors in other options are JSON too
    expose_value=False,
    callback=_turn_on_json,
    help="Print results and errors as JSON.",
)


def _choose_fields(context: click.Context, parameter: click.Parameter, text: str | None) -> None:
    if text is None:
        return
    fields = [each.strip() for each in text.split(",")]
    if not all(fields):
        raise click.BadParameter(f"{text!r} is not a list of names such as player.id,wallet")
    _state(context).out.fields = fields


fields_option = click.option(
    "--fields",
    metavar="NAME,...",
    expose_value=False,
    callback=_choose_fields,
    help="Print only these parts of the result, by their names in the JSON, such as "
    "player.id,wallet.",
)
yes_option = click.option(
    "--yes",
    is_flag=True,
    expose_value=False,
    callback=_turn_on_yes,
    help="Do not ask for confirmation.",
)


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_turn_on_verbose,
    help="Report each attempt, and the wait before the next, on standard error.",
)


def standard_input() -> IO[bytes]:
    """Return standard input, to be read as bytes.

    Raises:
        CommandError: It is closed.
    """
    # It is None if the parent has closed the descriptor.
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise refusal("standard input is closed, so nothing can be read from it")
    return sys.stdin.buffer


def read_bytes(name: str) -> bytes:
    """Read all bytes of an `INPUT`.

    Raises:
        CommandError: The name is `-`, and standard input is closed.
        OSError: The file cannot be read.
    """
    return standard_input().read() if name == "-" else Path(name).read_bytes()


_TIME_EXAMPLE: Final = "2026-06-08T12:00:00Z"


def key_options(operation: str) -> Callable[[F], F]:
    """Add the options of a command that sends an idempotency key.

    Args:
        operation: The method that the command calls, such as `wallet.credit`.
    """
    lifetime = KEY_LIFETIMES[operation]
    key = click.option(
        "--idempotency-key",
        metavar="KEY",
        is_eager=True,  # parsed first, because `--first-tried-at` needs it
        help=f"Names this one change, such as the id of a receipt, refund or ticket. "
        f"{lifetime.doc} Default: a new random key for each run.",
    )
    if lifetime.repeat_within_hours is None:
        return key
    first_tried_at = click.option(
        "--first-tried-at",
        metavar="TIME",
        expose_value=False,
        callback=_check_age_for(operation),
        help=f"When you first ran this with the key, such as {_TIME_EXAMPLE}. If that was "
        f"{lifetime.repeat_within_hours - 1} or more hours ago, the command sends nothing and "
        "exits with 4.",
    )
    return lambda function: key(first_tried_at(function))


def _check_age_for(operation: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def check(context: click.Context, parameter: click.Parameter, text: str | None) -> None:
        if text is None:
            return
        key = context.params.get("idempotency_key")
        if key is None:
            raise click.BadParameter(
                "it needs --idempotency-key: a new random key cannot have been tried before"
            )
        try:
            moment = isoparse(text)
        except (ValueError, OverflowError):  # the latter for the end of the year 9999
            raise click.BadParameter(f"{text!r} is not a time such as {_TIME_EXAMPLE}") from None
        if moment.tzinfo is None:
            raise click.BadParameter(f"{text!r} has no time zone; write it as {_TIME_EXAMPLE}")

        def check_age() -> None:
            check_key_age(key, operation=operation, first_tried_at=moment)

        check_age()
        _state(context).check_age = check_age

    return check
