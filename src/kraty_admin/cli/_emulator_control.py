"""`kraty-admin emulator requests` and its siblings, which inspect and control an emulator.

They use the endpoints below `/_emulator/`, without an API key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import click
import httpx

from kraty_server_api.decoding import is_object

from ._failures import FAILED, NETWORK, Advice, CommandError, refusal
from ._help import Command
from ._state import State, json_option

__all__ = ["COMMANDS"]

_DEFAULT_URL: Final = "http://127.0.0.1:4010"

_WHERE: Final = Advice("Start one with kraty-admin emulator, or pass its URL with --url.")

_url_option = click.option(
    "--url",
    metavar="URL",
    help="URL of the emulator. Default: --base-url, the variable KRATY_BASE_URL, or"
    f" {_DEFAULT_URL}.",
)

_limit_option = click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    metavar="NUMBER",
    help="How many to show, from the newest.",
)


class _Control:
    """A client of the control endpoints of a running emulator."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http = http
        self._url = url

    def check(self) -> None:
        """Check that the server is an emulator, before anything else is sent to it.

        Raises:
            CommandError: Nothing answers, or the server is not an emulator.
        """
        answer = self._send("GET", "ready", None, None)
        if answer.status_code != 200 or _parsed(answer) != {"ok": True}:
            raise CommandError(
                f"{self._url} is not an emulator",
                code="not_an_emulator",
                exit_status=FAILED,
                advice=_WHERE,
            )

    def get(self, name: str, **query: str | int) -> Any:
        """GET an endpoint, and return its answer."""
        return self._result(self._send("GET", name, query, None))

    def post(self, name: str, body: Mapping[str, object]) -> Any:
        """POST to an endpoint, and return its answer."""
        return self._result(self._send("POST", name, None, body))

    def delete(self, name: str) -> Any:
        """DELETE at an endpoint, and return its answer."""
        return self._result(self._send("DELETE", name, None, None))

    def _send(
        self,
        method: str,
        name: str,
        query: Mapping[str, str | int] | None,
        body: Mapping[str, object] | None,
    ) -> httpx.Response:
        url = f"{self._url}/_emulator/{name}"
        try:
            return self._http.request(method, url, params=query, json=body)
        except httpx.InvalidURL as error:
            raise refusal(f"--url is not a URL: {error}") from None
        except httpx.HTTPError as error:
            raise CommandError(
                f"no emulator answers at {self._url}: {error}",
                code="network",
                exit_status=NETWORK,
                advice=_WHERE,
            ) from None

    def _result(self, answer: httpx.Response) -> Any:
        value = _parsed(answer)
        if answer.status_code == 200:
            return value
        error = value.get("error") if is_object(value) else None
        message = error.get("message") if is_object(error) else None
        reason = message or f"status {answer.status_code}"
        raise refusal(f"the emulator rejected the request: {reason}")


def _parsed(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


@contextmanager
def _control(state: State, url: str | None) -> Generator[_Control, None, None]:
    set_by_environment = os.environ.get("KRATY_BASE_URL")
    where = (url or state.base_url or set_by_environment or _DEFAULT_URL).rstrip("/")
    # Without the environment's proxies, because the emulator usually runs on this machine.
    with httpx.Client(timeout=10, trust_env=False) as http:
        control = _Control(http, where)
        control.check()
        yield control


@click.command(
    "requests", cls=Command, section="local", examples=["kraty-admin emulator requests --limit 50"]
)
@_limit_option
@_url_option
@json_option
@click.pass_obj
def requests(state: State, limit: int, url: str | None) -> None:
    """Show the newest requests, with faults and effects, oldest first."""
    with _control(state, url) as control:
        newest = control.get("requests", order="newest", limit=limit)
    found = [each for each in reversed(newest) if is_object(each)]
    rows = [
        {
            "operation": each["operation"] or f"{each['method']} {each['path']}",
            "key": each["idempotency_key"],
            "attempt": each["attempt"],
            "fault": _fault_text(each["fault"]),
            "status": "no answer" if each["status"] is None else each["status"],
            "effect": each["effect"],
        }
        for each in found
    ]
    state.out.result({"requests": found if state.out.as_json else rows})


@click.command(
    "ledger",
    cls=Command,
    section="local",
    examples=["kraty-admin emulator ledger --player player_42"],
)
@click.option("--player", metavar="ID", help="Show the entries of this player only.")
@_limit_option
@_url_option
@json_option
@click.pass_obj
def ledger(state: State, player: str | None, limit: int, url: str | None) -> None:
    """Show the newest changes of balances and items, oldest first."""
    chosen = {} if player is None else {"external_player_id": player}
    with _control(state, url) as control:
        newest = control.get("ledger", order="newest", limit=limit, **chosen)
    found = [each for each in reversed(newest) if is_object(each)]
    names = ("number", "external_player_id", "key", "delta", "operation", "idempotency_key")
    rows = [{name: each[name] for name in names} for each in found]
    state.out.result({"ledger": found if state.out.as_json else rows})


@click.command(
    "faults",
    cls=Command,
    section="local",
    examples=[
        "kraty-admin emulator faults",
        "kraty-admin emulator faults drop --operation wallet.credit",
        "kraty-admin emulator faults --clear",
    ],
)
@click.argument("kind", required=False, metavar="[KIND]")
@click.option(
    "--operation", metavar="NAME", help="Only calls of this operation, such as wallet.credit."
)
@click.option(
    "--when",
    type=click.Choice(["before", "after"]),
    default="after",
    show_default=True,
    help="Whether the fault happens before the call takes effect, or after.",
)
@click.option(
    "--status", type=int, metavar="NUMBER", help="For status: the HTTP status, from 400 to 599."
)
@click.option(
    "--seconds", type=float, metavar="SECONDS", help="For stall, drip and delay: how long."
)
@click.option(
    "--times", type=int, default=1, show_default=True, metavar="NUMBER", help="How many calls fail."
)
@click.option("--clear", is_flag=True, help="Remove all faults first.")
@_url_option
@json_option
@click.pass_obj
def faults(
    state: State,
    kind: str | None,
    operation: str | None,
    when: str,
    status: int | None,
    seconds: float | None,
    times: int,
    clear: bool,
    url: str | None,
) -> None:
    """Show the faults that are set, and those that have happened. With KIND, add one.

    Kinds are status, drop, reset, stall, truncate, invalid_json, content_type, drip and delay.
    """
    fault = {"kind": kind, "when": when, "status": status, "seconds": seconds}
    with _control(state, url) as control:
        if clear:
            control.delete("faults")
        if kind is not None:
            given = {name: value for name, value in fault.items() if value is not None}
            body = {"faults": [given], "operation": operation, "times": times}
            control.post("faults", body)
        found = control.get("faults")
    rows = [
        {
            "operation": each["operation"] or "any",
            "faults": ", ".join(_fault_text(fault) or "none" for fault in each["faults"]),
            "skip": each["skip"],
            "times": "always" if each["times"] is None else each["times"],
            "drawn": each["drawn"],
        }
        for each in found["rules"]
    ]
    state.out.result(found if state.out.as_json else {**found, "rules": rows})


@click.command(
    "clock",
    cls=Command,
    section="local",
    examples=["kraty-admin emulator clock"],
)
@click.option("--set", "at", metavar="TIME", help="Set the time, such as 2026-06-08T12:00:00Z.")
@click.option(
    "--advance", type=float, metavar="SECONDS", help="Move the clock; negative to go back."
)
@click.option("--run", is_flag=True, help="Let a stopped clock run.")
@_url_option
@json_option
@click.pass_obj
def clock(state: State, at: str | None, advance: float | None, run: bool, url: str | None) -> None:
    """Show the emulator's clock, or set it."""
    wishes: dict[str, object] = {"set": at, "advance": advance, "run": run or None}
    wishes = {name: value for name, value in wishes.items() if value is not None}
    with _control(state, url) as control:
        state.out.result(control.post("clock", wishes) if wishes else control.get("clock"))


@click.command(
    "trigger", cls=Command, section="local", examples=["kraty-admin emulator trigger player.banned"]
)
@click.argument("event_name", metavar="EVENT")
@click.option("--player", metavar="ID", help="The id of the player in the sample data.")
@click.option("--data", metavar="JSON", help="The data of the event, instead of sample data.")
@_url_option
@json_option
@click.pass_obj
def trigger(
    state: State, event_name: str, player: str | None, data: str | None, url: str | None
) -> None:
    """Send a sample webhook, such as player.banned."""
    body: dict[str, object] = {"event_name": event_name}
    if player is not None:
        body["external_player_id"] = player
    if data is not None:
        try:
            body["data"] = json.loads(data)
        except ValueError as error:
            raise refusal(f"--data is not JSON: {error}") from None
    with _control(state, url) as control:
        state.out.result(control.post("trigger", body))


def _fault_text(fault: object) -> str | None:
    if not is_object(fault):
        return None
    kind = f"status {fault['status']}" if fault["kind"] == "status" else fault["kind"]
    return f"{kind}, {fault['when']} the commit"


COMMANDS: Final = (requests, ledger, faults, clock, trigger)
