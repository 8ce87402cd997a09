"""The one place that turns errors into exit statuses and advice."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import Final

import attrs
import click

from kraty_admin.errors import (
    KratyError,
    KratyKeyExpiredError,
    KratyNetworkError,
    KratyServerError,
    WebhookVerificationError,
)

__all__ = [
    "CONFLICT",
    "EXIT_STATUSES",
    "FAILED",
    "INTERRUPTED",
    "NETWORK",
    "NOT_FOUND",
    "SOME_FAILED",
    "USAGE",
    "CommandError",
    "Failure",
    "failure_of",
    "refusal",
]

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
CONFLICT: Final = 4
NETWORK: Final = 5
SOME_FAILED: Final = 6
INTERRUPTED: Final = 130

EXIT_STATUSES: Final = """\b
Exit statuses:
  0    it was done
  1    the server refused or failed, or you declined
  2    the command was not right; nothing was sent
  3    not found
  4    conflict: the state does not allow it, or the idempotency key
       was used before for something else, or may have expired
  5    network: no answer came
  6    an import is finished, and some of its rows failed or were
       duplicates (after a dry run: would fail or be duplicates);
       or a run of the outbox is finished, and some calls were
       refused or are unknown
  130  interrupted
"""


@attrs.frozen(kw_only=True)
class Failure:
    """Why a command failed, as it is told to people and to programs."""

    exit_status: int
    code: str
    """What went wrong, for programs: the server's code, or one of ours."""
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
    text: str = ""
    """What people read in place of the message."""
    why: str = ""
    """What it may come from."""
    advice: str = ""
    """What to do about it."""
    usage: str = ""
    """How the command is to be used, if that was the mistake."""


class CommandError(Exception):
    """The command ends here, with a status, a code and advice of its own."""

    def __init__(self, message: str, *, code: str, exit_status: int, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.exit_status = exit_status
        self.advice = advice


def refusal(message: str) -> CommandError:
    """What ends a command that could not be asked for like this; nothing was sent."""
    return CommandError(message, code="usage", exit_status=USAGE)


def failure_of(error: BaseException, *, key: str | None, key_given: bool) -> Failure:
    """What an error means for the one who ran the command.

    Args:
        error: What was raised.
        key: The idempotency key of the write that was under way; `None` if none was.
        key_given: Whether that key was asked for, rather than made for this call.
    """
    if isinstance(error, KratyServerError | KratyNetworkError):
        return _of_call(error, key=key, key_given=key_given)
    if isinstance(error, click.UsageError):
        context = error.ctx
        usage = ""
        if context is not None:
            usage = f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n\n"
        return Failure(exit_status=USAGE, code="usage", message=error.format_message(), usage=usage)
    if isinstance(error, CommandError):
        return Failure(
            exit_status=error.exit_status,
            code=error.code,
            message=error.message,
            idempotency_key=key,
            advice=error.advice,
        )
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Failure(
            exit_status=INTERRUPTED,
            code="interrupted",
            message="interrupted",
            idempotency_key=key,
            ambiguous=key is not None,
            advice="" if key is None else _repeat_ambiguous(key),
        )
    if isinstance(error, KratyKeyExpiredError):
        return Failure(
            exit_status=CONFLICT,
            code="key_expired",
            message=error.message,
            idempotency_key=error.idempotency_key,
        )
    if isinstance(error, WebhookVerificationError):
        return Failure(exit_status=FAILED, code=error.reason, message=error.message)
    if isinstance(error, KratyError):
        return Failure(exit_status=FAILED, code="failed", message=str(error))
    if isinstance(error, OSError):
        return Failure(exit_status=FAILED, code="os_error", message=str(error))
    if isinstance(error, click.ClickException):
        return Failure(exit_status=error.exit_code, code="failed", message=error.format_message())
    return Failure(exit_status=USAGE, code="usage", message=str(error))


def _of_call(
    error: KratyServerError | KratyNetworkError, *, key: str | None, key_given: bool
) -> Failure:
    served = error if isinstance(error, KratyServerError) else None
    # A key of the call's own tells that the write itself failed, not the question whether
    # the key is a live one before it.
    sent = error.idempotency_key is not None
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
        text=str(error),
        why=_why(served),
        advice=_repeat(error, key_given=key_given) if sent else "",
    )


def _exit_status(error: KratyServerError) -> int:
    if error.is_not_found or error.status == 404:
        return NOT_FOUND
    if error.is_conflict or error.is_idempotency_conflict or error.status == 409:
        return CONFLICT
    return FAILED


def _why(error: KratyServerError | None) -> str:
    if error is None:
        return "No answer came. Are the base URL and the network right?"
    if error.status == 401:
        return (
            "Is the key right, and is it one for this base URL? "
            "It comes from --key-file or KRATY_SERVER_KEY."
        )
    if error.status == 403:
        return (
            "The key must have the permission set server_integration, "
            "and belong to the game that it is used for."
        )
    if error.is_idempotency_conflict:
        return (
            "This key was already used with different arguments. The earlier request stands; "
            "this one was not applied. Find out what the earlier request did before you choose "
            "another key."
        )
    if error.status == 429:
        wait = "a minute" if error.retry_after is None else f"{error.retry_after:g} s"
        return f"Too many requests. Try again in {wait}."
    return ""


def _repeat(error: KratyServerError | KratyNetworkError, *, key_given: bool) -> str:
    """How to repeat a write that failed."""
    key = error.idempotency_key or ""
    if error.ambiguous:
        return _repeat_ambiguous(key)
    if isinstance(error, KratyServerError) and error.is_idempotency_conflict:
        return ""
    if key_given:
        return (
            "This call had no effect. It does not tell you whether an earlier one under the same "
            f"key took effect. If you repeat it, {_IN_TIME}"
        )
    return f"It had no effect. To try again: --idempotency-key {shlex.quote(key)}"


def _repeat_ambiguous(key: str) -> str:
    return (
        f"It may have taken effect. Repeat it with --idempotency-key {shlex.quote(key)} until it "
        f"succeeds, and {_IN_TIME}"
    )


# True of every operation, also of those whose keys last longer.
_IN_TIME: Final = (
    "do so within 23 hours of the first try: later, the platform may have forgotten the key, and a "
    "repeat could take effect a second time."
)
