"""`kraty-admin webhooks`: to find out why a delivery was refused. Nothing is sent."""

from __future__ import annotations

import os
from typing import Final

import click

from kraty_admin.webhooks import construct_event, sign_webhook

from ._failures import refusal
from ._state import INPUT, State, common, read_bytes

__all__ = ["webhooks"]

_VARIABLE: Final = "KRATY_WEBHOOK_SECRET"


@click.group(no_args_is_help=False)
@common
def webhooks() -> None:
    """Verify and sign webhooks, without the network."""


def _secret(state: State, variable: str) -> str:
    secret = os.environ.get(variable)
    if not secret:
        raise refusal(f"there is no secret: set the variable {variable}")
    state.out.hide(secret)
    return secret


@webhooks.command("verify")
@click.option(
    "--secret-env",
    "variables",
    multiple=True,
    default=[_VARIABLE],
    show_default=True,
    metavar="NAME",
    help="The variable that holds the endpoint's secret. Repeat it while one is being rotated.",
)
@click.option(
    "--header", required=True, metavar="TEXT", help="The delivery's X-Signature: t=...,v1=..."
)
@click.option(
    "--tolerance",
    type=float,
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How old the delivery may be; inf for any age.",
)
@click.argument("body", type=INPUT, metavar="FILE|-")
@common
@click.pass_obj
def verify(
    state: State, variables: tuple[str, ...], header: str, tolerance: float, body: str
) -> None:
    """Verify a delivery and print its event.

    FILE holds the body as it arrived, byte for byte. A body that is not genuine or not fresh makes
    the exit status 1, and the reason is told.
    """
    secrets = [_secret(state, each) for each in variables]
    state.out.result(
        construct_event(
            raw_body=read_bytes(body),
            signature_header=header,
            secret=secrets,
            tolerance_seconds=tolerance,
        )
    )


@webhooks.command("sign")
@click.option(
    "--secret-env",
    "variable",
    default=_VARIABLE,
    show_default=True,
    metavar="NAME",
    help="The variable that holds the endpoint's secret.",
)
@click.option(
    "--timestamp", type=int, metavar="UNIX", help="When it claims to have been sent. Default: now."
)
@click.argument("body", type=INPUT, metavar="FILE|-")
@common
@click.pass_obj
def sign(state: State, variable: str, timestamp: int | None, body: str) -> None:
    """Sign a body as Kraty does, and print the X-Signature header to send it with."""
    header = sign_webhook(
        raw_body=read_bytes(body), secret=_secret(state, variable), timestamp=timestamp
    )
    if state.out.as_json:
        state.out.document(header)
    else:
        state.out.line(header)
