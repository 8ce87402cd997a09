"""`kraty-admin webhooks`: verify and sign deliveries. Nothing is sent."""

from __future__ import annotations

import os
from typing import Final

import click

from kraty_admin.webhooks import construct_event, sign_webhook

from ._failures import refusal
from ._help import Group
from ._state import INPUT, State, json_option, read_bytes

__all__ = ["webhooks"]

_VARIABLE: Final = "KRATY_WEBHOOK_SECRET"


@click.group(cls=Group, section="webhooks")
def webhooks() -> None:
    """Verify and sign webhooks, without the network."""


def _secret(state: State, variable: str) -> str:
    secret = os.environ.get(variable)
    if not secret:
        raise refusal(f"there is no secret: set the variable {variable}")
    state.out.hide(secret)
    return secret


@webhooks.command(
    "verify", examples=['kraty-admin webhooks verify --header "t=...,v1=..." body.json']
)
@click.option(
    "--secret-env",
    "variables",
    multiple=True,
    default=[_VARIABLE],
    show_default=True,
    metavar="NAME",
    help="The variable that holds the endpoint's secret. While you rotate it, repeat the option "
    "for the old and the new one.",
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
    help="How old the delivery may be. inf accepts any age.",
)
@click.argument("body", type=INPUT, metavar="FILE|-")
@json_option
@click.pass_obj
def verify(
    state: State, variables: tuple[str, ...], header: str, tolerance: float, body: str
) -> None:
    """Verify a delivery and print its event.

    FILE holds the body as it arrived, byte for byte. If the signature is wrong or the delivery too
    old, the exit status is 1 and standard error has the reason.
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


@webhooks.command(
    "sign",
    short_help="Sign a body, and print the X-Signature header.",
    examples=["kraty-admin webhooks sign body.json"],
)
@click.option(
    "--secret-env",
    "variable",
    default=_VARIABLE,
    show_default=True,
    metavar="NAME",
    help="The variable that holds the endpoint's secret.",
)
@click.option("--timestamp", type=int, metavar="UNIX", help="Timestamp to sign. Default: now.")
@click.argument("body", type=INPUT, metavar="FILE|-")
@json_option
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
