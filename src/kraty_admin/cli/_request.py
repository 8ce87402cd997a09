"""`kraty-admin request`: call an endpoint that has no command."""

from __future__ import annotations

from typing import Any, Final

import click

from kraty_admin._call._idempotency import KEY_FIELD
from kraty_server_api.decoding import is_object
from kraty_server_api.lifetimes import UNDOCUMENTED

from ._help import Command
from ._rows import parse_json
from ._state import State, json_option, verbose_option, yes_option

__all__ = ["request"]

_KEYED: Final = ("POST", "PUT", "PATCH")


def _body(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> dict[str, Any] | None:
    if text is None:
        return None
    value = parse_json(text)
    if not is_object(value):
        raise click.BadParameter('it must be a JSON object, such as {"value": 5}')
    return value


def _query(
    context: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE")
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice; the API takes one value for it")
        found[name] = value
    return found or None


@click.command(
    cls=Command,
    section="more",
    examples=[
        "kraty-admin request GET /players/player_42 --query limit=3",
        'kraty-admin request POST /players/player_42/ban --body \'{"reason": "bot"}\' --yes',
        "kraty-admin request POST /players/player_42/unban --body @body.json",
    ],
)
@click.argument(
    "method", type=click.Choice(["GET", *_KEYED, "DELETE"], case_sensitive=False), metavar="METHOD"
)
@click.argument("path")
@click.option(
    "--body",
    callback=_body,
    metavar="JSON|@FILE",
    help="The body as JSON, or @ and the name of a file that holds it. @- is standard input.",
)
@click.option(
    "--query",
    multiple=True,
    callback=_query,
    metavar="NAME=VALUE",
    help="A query parameter. Repeat the option for each.",
)
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="The idempotency key of a POST, PUT or PATCH, unless the body has one. Default: a new "
    "random key.",
)
@verbose_option
@json_option
@yes_option
@click.pass_obj
def request(
    state: State,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    query: dict[str, str] | None,
    idempotency_key: str | None,
) -> None:
    """Call an endpoint that has no command.

    METHOD is GET, POST, PUT, PATCH or DELETE. PATH is the path below /server/v1. Percent-encode
    the ids in it. With a live key, everything but GET asks for confirmation.

    The command does not know how long Kraty keeps the idempotency key of such a call. Do not
    repeat it more than 23 hours after the first try.
    """
    method = method.upper()
    in_body = (body or {}).get(KEY_FIELD)
    with state.client() as kraty:
        if method != "GET":
            state.confirm(kraty, f"Send {method} {path}")
        key = idempotency_key
        if method in _KEYED:
            # If the body's key is not text, the SDK rejects it.
            key = state.key(
                in_body if key is None and isinstance(in_body, str) else key, UNDOCUMENTED
            )
        result = kraty.request(method, path, body=body, query=query, idempotency_key=key)
    if method == "GET":
        state.out.result(result)
    else:
        state.done(result)
