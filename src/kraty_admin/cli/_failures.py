"""The one place that turns errors into exit statuses and advice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import attrs
import click

from kraty_admin._call._idempotency import trusted_for
from kraty_admin._signals import INTERRUPTED
from kraty_admin.errors import (
    CallInfo,
    KratyError,
    KratyKeyExpiredError,
    KratyNetworkError,
    KratyServerError,
    WebhookVerificationError,
)
from kraty_server_api.operation import KeyLifetime

__all__ = [
    "CONFLICT",
    "EXIT_STATUSES",
    "FAILED",
    "INTERRUPTED",
    "NETWORK",
    "NOT_FOUND",
    "SOME_FAILED",
    "UNWRITTEN",
    "USAGE",
    "Advice",
    "Cause",
    "CommandError",
    "Failure",
    "OutputError",
    "Write",
    "after_effect",
    "command_line",
    "failure_of",
    "refusal",
]

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
CONFLICT: Final = 4
NETWORK: Final = 5
SOME_FAILED: Final = 6
UNWRITTEN: Final = 7

EXIT_STATUSES: Final = """\b
Exit statuses:
  0    success, also if the reader of the output closed it early
  1    the server rejected the call or failed, or you answered no
  2    usage error; nothing was sent
  3    not found
  4    conflict: the player's state does not allow it, or the
       idempotency key was used for something else or is too old
  5    network error: no answer arrived
  6    an import is finished, but some rows failed or were
       duplicates (in a dry run: would fail or be duplicates);
       or `outbox run --once` is finished, but some calls were
       refused or are unknown
  7    the command took effect, but its result could not be
       written. Standard error has the result. Do not run it again
  130  interrupted
"""


class Cause(NamedTuple):
    """The error that caused a failure."""

    code: str
    """The server's code, or the name of an exception."""
    message: str


class Advice(NamedTuple):
    """What to do about a failure."""

    text: str = ""
    command: Sequence[str] = ()
    """The words of the command to run next; empty if there is none."""
    limit: str = ""
    """How long the platform keeps the key, and so how long the command may be repeated."""


@attrs.define
class Write:
    """The write of a run: one call that changes something."""

    key: str
    """Its idempotency key."""
    given: bool
    """Whether the user passed the key. Otherwise it is new."""
    lifetime: KeyLifetime
    """How long the platform keeps the key."""
    arguments: Sequence[str]
    """The arguments that the user typed after `kraty-admin`."""
    has_age_option: bool = False
    """Whether the command has the option --first-tried-at."""
    attempts: int = 0
    """How many attempts of it have ended."""


@attrs.frozen(kw_only=True)
class Failure:
    """Why a command failed, for people and for programs."""

    exit_status: int
    code: str
    """What went wrong, for programs: the server's code, or one of the command's own."""
    message: str
    status: int | None = None
    """The HTTP status, if the server answered."""
    request_id: str | None = None
    idempotency_key: str | None = None
    ambiguous: bool = False
    retryable: bool = False
    """Whether running the command again may help."""
    attempts: int = 0
    first_sent_at: datetime | None = None
    """When the first attempt of the call began, if one did."""
    cause: Cause | None = None
    """The error that caused it, if it is known."""
    took_effect: bool = False
    """Whether the command had taken effect before it failed."""
    result: object = None
    """The result of a command that took effect."""
    facts: tuple[str, ...] = ()
    """Details for people, each on its own line."""
    why: str = ""
    """The likely cause, and what to check."""
    advice: Advice = attrs.field(factory=Advice)
    """What to do about it."""
    usage: str = ""
    """The usage of the command, for a usage error."""


class CommandError(Exception):
    """Ends the command with its own status, code and advice."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        exit_status: int,
        why: str = "",
        advice: Advice | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.exit_status = exit_status
        self.why = why
        """The likely cause, and what to check."""
        self.advice = advice or Advice()
        self.cause = cause
        """The failed call behind it, if there is one."""


class OutputError(Exception):
    """A result cannot be written to standard output."""

    def __init__(self, reason: str, *, reader_gone: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reader_gone = reader_gone
        """Whether the reader has closed the pipe, as `head` does when it has read enough."""


def refusal(message: str) -> CommandError:
    """Return the error of a command that was used wrongly; nothing was sent."""
    return CommandError(message, code="usage", exit_status=USAGE)


def failure_of(error: BaseException, write: Write | None, *, sent: bool = False) -> Failure:
    """Turn an error into what the person who ran the command needs to know.

    Args:
        error: The exception that was raised.
        write: The write that was in progress; `None` if none was.
        sent: Whether anything was sent, apart from the ping that asks which game the key is for.
    """
    if isinstance(error, KratyServerError | KratyNetworkError):
        return _of_call(error, write)
    if isinstance(error, CommandError):
        return _of_command(error, write)
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return _of_interruption(error, write)
    if isinstance(error, KratyKeyExpiredError):
        return Failure(
            exit_status=CONFLICT,
            code="key_expired",
            message=error.message,
            idempotency_key=error.idempotency_key,
        )
    if isinstance(error, WebhookVerificationError):
        return Failure(exit_status=FAILED, code=error.reason, message=error.message)
    if isinstance(error, OutputError):
        message = f"the result cannot be written to standard output: {error.reason}"
        return Failure(exit_status=FAILED, code="output_error", message=message)
    # Once something was sent, an error is no longer a usage error.
    if write is not None and write.attempts:
        return Failure(
            exit_status=FAILED,
            code="failed",
            message=f"{type(error).__name__}: {error}",
            idempotency_key=write.key,
            ambiguous=True,
            attempts=write.attempts,
            cause=_cause(error),
            advice=_repeat_ambiguous(write, None),
        )
    if isinstance(error, click.UsageError):
        context = error.ctx
        usage = ""
        if context is not None:
            usage = f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n\n"
        return Failure(exit_status=USAGE, code="usage", message=error.format_message(), usage=usage)
    if isinstance(error, KratyError):
        return Failure(exit_status=FAILED, code="failed", message=str(error))
    if isinstance(error, OSError):
        return Failure(exit_status=FAILED, code="os_error", message=str(error))
    if isinstance(error, click.ClickException):
        return Failure(exit_status=error.exit_code, code="failed", message=error.format_message())
    if sent:
        message = f"{type(error).__name__}: {error}"
        return Failure(exit_status=FAILED, code="failed", message=message, cause=_cause(error))
    return Failure(exit_status=USAGE, code="usage", message=str(error))


def after_effect(failure: Failure, result: object, write: Write | None) -> Failure:
    """Return the failure of a command that had already taken effect.

    Args:
        failure: The failure after that.
        result: The result, which the user has not seen.
        write: The write, if the command sent one with a key.
    """
    interrupted = failure.exit_status == INTERRUPTED
    return Failure(
        exit_status=INTERRUPTED if interrupted else UNWRITTEN,
        code=failure.code,
        message=f"it took effect, but {failure.message}",
        idempotency_key=None if write is None else write.key,
        ambiguous=True,  # for a script that does not know `took_effect`
        attempts=0 if write is None else write.attempts,
        cause=failure.cause,
        took_effect=True,
        result=result,
        facts=() if write is None else (f"idempotency key: {write.key}",),
        advice=Advice("It took effect. Do not run it again. The result:"),
    )


def _of_command(error: CommandError, write: Write | None) -> Failure:
    cause = error.cause
    if isinstance(cause, KratyServerError | KratyNetworkError):
        return attrs.evolve(
            _of_call(cause, None),
            exit_status=error.exit_status,
            code=error.code,
            message=error.message,
            why=error.why,
            advice=error.advice,
        )
    return Failure(
        exit_status=error.exit_status,
        code=error.code,
        message=error.message,
        idempotency_key=None if write is None else write.key,
        why=error.why,
        advice=error.advice,
        cause=None if cause is None else _cause(cause),
    )


def _of_interruption(error: BaseException, write: Write | None) -> Failure:
    # click raises an Abort while it handles the interruption.
    call = getattr(error.__context__ or error, "kraty_call", None)
    call = call if isinstance(call, CallInfo) else None
    failure = Failure(exit_status=INTERRUPTED, code="interrupted", message="interrupted")
    if write is None:
        if call is None or not call.ambiguous or call.idempotency_key is not None:
            return failure
        return attrs.evolve(
            failure,
            ambiguous=True,
            attempts=call.attempts,
            first_sent_at=call.first_sent_at,
            advice=Advice(_WITHOUT_KEY),
        )
    if call is not None and call.idempotency_key != write.key:
        call = None
    ambiguous = True if call is None else call.ambiguous
    attempts = write.attempts if call is None else call.attempts
    first_sent_at = None if call is None else call.first_sent_at
    harmless = Advice("Nothing was changed." if attempts else "Nothing was sent.")
    return attrs.evolve(
        failure,
        idempotency_key=write.key,
        ambiguous=ambiguous,
        attempts=attempts,
        first_sent_at=first_sent_at,
        advice=_repeat_ambiguous(write, first_sent_at) if ambiguous else harmless,
    )


def _of_call(error: KratyServerError | KratyNetworkError, write: Write | None) -> Failure:
    served = error if isinstance(error, KratyServerError) else None
    return Failure(
        exit_status=NETWORK if served is None else _exit_status(served),
        code="network_error" if served is None else served.code,
        message=error.message,
        status=None if served is None else served.status,
        request_id=error.request_id,
        idempotency_key=error.idempotency_key,
        ambiguous=error.ambiguous,
        retryable=error.retryable,
        attempts=error.attempts,
        first_sent_at=error.first_sent_at,
        cause=_cause(error),
        facts=tuple(_facts(error)),
        why=_why(error),
        advice=_repeat(error, write),
    )


def _cause(error: BaseException) -> Cause:
    if isinstance(error, KratyServerError):
        return Cause(error.code, error.message)
    if isinstance(error, KratyNetworkError):
        return Cause(error.cause_name or "network_error", error.message)
    return Cause(type(error).__name__, str(error))


def _facts(error: KratyServerError | KratyNetworkError) -> Iterator[str]:
    call = error.call
    tries = "1 attempt" if call.attempts == 1 else f"{call.attempts} attempts"
    yield f"call: {call.operation or f'{call.method} {call.url}'}, {tries}"
    if isinstance(error, KratyServerError):
        yield f"answer: {error.code} (HTTP {error.status})"
    if call.request_id is not None:
        yield f"request id: {call.request_id}"
    if call.idempotency_key is not None:
        yield f"idempotency key: {call.idempotency_key}"


def _exit_status(error: KratyServerError) -> int:
    if error.is_internal_error:
        return FAILED  # also if a proxy answered with 404 or 409, which says nothing about a player
    if error.is_not_found or error.status == 404:
        return NOT_FOUND
    if error.is_conflict or error.is_idempotency_conflict or error.status == 409:
        return CONFLICT
    return FAILED


_UNREACHED: Final = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"})
"""httpx's exceptions that are raised before a request is sent, by name."""


def _why(error: KratyServerError | KratyNetworkError) -> str:
    if isinstance(error, KratyNetworkError):
        host = urlsplit(error.call.url).netloc
        if error.ambiguous:
            return f"{host} may have received the request, but no answer arrived."
        if error.cause_name in _UNREACHED:
            return f"{host} could not be reached. Check the base URL and the network."
        return f"{host} was reached, but did not answer."
    if error.status == 401:
        return (
            "Check the API key, and that it belongs to this server. "
            "It comes from --key-file, the profile or KRATY_SERVER_KEY."
        )
    if error.status == 403 and not error.is_internal_error:
        return (
            "The API key needs the permission set server_integration, and must belong to this game."
        )
    if error.is_idempotency_conflict:
        return (
            "This key was already used with different arguments. The earlier request stands; "
            "this one was not applied. Find out what the earlier request did before you choose "
            "another key."
        )
    if error.is_conflict:
        return (
            "The player's state does not allow it. Check balances and items: "
            "kraty-admin players get PLAYER"
        )
    if error.status == 429:
        wait = "a minute" if error.retry_after is None else f"{error.retry_after:g} s"
        return f"Too many requests. Try again in {wait}."
    if error.retry_after is not None:
        return f"The server asks to wait {error.retry_after:g} s before the next attempt."
    return ""


def _repeat(error: KratyServerError | KratyNetworkError, write: Write | None) -> Advice:
    """Advise whether and how to repeat a call that failed."""
    if write is None or error.idempotency_key != write.key:
        is_keyless_write = error.idempotency_key is None and error.call.method != "GET"
        return Advice(_WITHOUT_KEY) if error.ambiguous and is_keyless_write else Advice()
    if error.ambiguous:
        return _repeat_ambiguous(write, error.first_sent_at)
    if isinstance(error, KratyServerError) and error.is_idempotency_conflict:
        return Advice()
    harmless = _HARMLESS_SO_FAR if write.given else "Nothing was changed."
    if not error.retryable:
        refused = "" if write.given else " The same command would fail again."
        return Advice(f"{harmless}{refused}")
    return Advice(
        f"{harmless} To try again{_in_time(write)}:",
        _repeating(write, error.first_sent_at),
        write.lifetime.doc if write.given else "",
    )


_HARMLESS_SO_FAR: Final = (
    "This call changed nothing. It does not tell you whether an earlier call with the same key "
    "took effect."
)

_WITHOUT_KEY: Final = (
    "It may have taken effect. It has no idempotency key, so a repeat may take effect a second "
    "time. Find out whether it took effect before you run it again."
)


def _repeat_ambiguous(write: Write, first_sent_at: datetime | None) -> Advice:
    return Advice(
        f"It may have taken effect. Repeat the command until it succeeds{_in_time(write)}:",
        _repeating(write, first_sent_at),
        write.lifetime.doc,
    )


def _in_time(write: Write) -> str:
    trusted = trusted_for(write.lifetime)
    if trusted is None:
        return ""
    first = " of the first try" if write.given else ""
    return f", within {trusted // timedelta(hours=1)} hours{first}"


def _repeating(write: Write, first_sent_at: datetime | None) -> Sequence[str]:
    """Return the words of the command that repeats a write under its key."""
    if write.given:
        # Only the user knows when this key was first tried.
        return command_line(write.arguments)
    options = ["--idempotency-key", write.key]
    if first_sent_at is not None and write.has_age_option:
        # Rounded down, so that the command is refused too early rather than too late.
        moment = first_sent_at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        options += ["--first-tried-at", moment]
    return command_line(write.arguments, *options)


def command_line(arguments: Sequence[str], *options: str) -> Sequence[str]:
    """Return the words of a whole command.

    Args:
        arguments: The arguments that the user typed after `kraty-admin`.
        options: Options to add.
    """
    # Words after a -- are not options.
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    return ["kraty-admin", *arguments[:end], *options, *arguments[end:]]
