"""What tests in other languages and processes steer an emulator with: `/_emulator/`.

Its JSON has the names of the Python side. It is open to whoever reaches the port, which
is this machine only.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import attrs
from dateutil import parser
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from kraty_server_api.decoding import is_object

from ._clock import Clock, SeededIds
from ._faults import fault_of
from ._platform import Platform, SeenRequest
from ._state import LedgerEntry
from ._webhooks import Webhooks
from ._wire import Connections

__all__ = ["Controls", "build_control"]

Members = Mapping[str, Any]
Act = Callable[[Members], object]


@attrs.frozen(kw_only=True)
class Controls:
    """What there is to steer."""

    platform: Platform
    clock: Clock
    webhooks: Webhooks
    connections: Connections
    ids: SeededIds | None
    """The source of ids, if it can begin again."""
    game_id: str
    """The game that is looked at."""
    requests_per_minute: int
    """How many each key has at first."""

    def ledger(self, external_player_id: str | None = None) -> list[LedgerEntry]:
        """The ledger's entries, oldest first; those of one player if asked for."""
        return self.platform.state.ledger.entries(self.game_id, external_player_id)

    def reset(self) -> None:
        """Be as at first; in the server's thread, in one step, so that nothing comes between."""
        self.connections.cut()
        self.platform.faults.reset()
        self.clock.reset()
        if self.ids is not None:
            self.ids.reset()
        self.platform.reset()
        self.platform.requests_per_minute = self.requests_per_minute
        self.webhooks.reset()


def build_control(controls: Controls) -> ASGIApp:
    """The application behind `/_emulator/`."""
    platform, clock, webhooks = controls.platform, controls.clock, controls.webhooks
    faults = platform.faults

    def shown_clock() -> object:
        return {"now": clock.now, "is_running": clock.is_running}

    def shown_faults() -> object:
        return {"rules": faults.rules, "struck": faults.struck}

    def ready(_: Members) -> object:
        return {"ok": True}

    def set_clock(members: Members) -> object:
        match members:
            case {"set": str() as moment, **rest} if not rest:
                clock.set(parser.isoparse(moment))
            case {"advance": int() | float() as seconds, **rest} if not rest:
                clock.advance(seconds)
            case {"run": True, **rest} if not rest:
                clock.run()
            case _:
                raise ValueError(
                    'the clock takes {"set": <time>}, {"advance": <seconds>} or {"run": true}'
                )
        return shown_clock()

    def add_faults(members: Members) -> object:
        options = dict(members)
        each: list[Any] = options.pop("faults", [])
        faults.add(*[fault_of(fields) for fields in each], **options)
        return shown_faults()

    def set_chaos(members: Members) -> object:
        faults.chaos(**members)
        return shown_faults()

    def clear_faults(_: Members) -> object:
        faults.clear()
        return shown_faults()

    def set_rate_limit(members: Members) -> object:
        platform.requests_per_minute = int(members["requests_per_minute"])
        return {"requests_per_minute": platform.requests_per_minute}

    def register(members: Members) -> object:
        webhooks.register(**members)
        return {"ok": True}

    def replay(members: Members) -> object:
        webhooks.replay(str(members["event_id"]))
        return {"ok": True}

    def ledger(query: Members) -> object:
        return controls.ledger(query.get("external_player_id"))

    def reset(_: Members) -> object:
        controls.reset()
        return {"ok": True}

    gets: dict[str, Act] = {
        "ready": ready,
        "clock": lambda _: shown_clock(),
        "faults": lambda _: shown_faults(),
        "ledger": ledger,
        "requests": lambda _: platform.seen(),
        "deliveries": lambda _: webhooks.log,
    }
    posts: dict[str, Act] = {
        "clock": set_clock,
        "faults": add_faults,
        "chaos": set_chaos,
        "rate_limit": set_rate_limit,
        "webhooks": register,
        "replay": replay,
    }
    routes = [Route(f"/{name}", _get(act), methods=["GET"]) for name, act in gets.items()]
    routes += [Route(f"/{name}", _post(act), methods=["POST"]) for name, act in posts.items()]
    routes.append(Route("/faults", _get(clear_faults), methods=["DELETE"]))
    routes.append(Route("/reset", _get(reset), methods=["POST"]))
    return Starlette(routes=[Mount("/_emulator", routes=routes)])


def _get(act: Act) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return _Json(act(request.query_params))

    return endpoint


def _post(act: Act) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            members = json.loads(await request.body())
            if not is_object(members):
                raise ValueError("the body must be an object")
            return _Json(act(members))
        except (KeyError, TypeError) as error:
            return _refused(f"a member is missing, unknown or of another type: {error}")
        except (OverflowError, ValueError) as error:
            return _refused(str(error))

    return endpoint


def _refused(message: str) -> Response:
    envelope = {"error": {"code": "validation_failed", "message": message}}
    return _Json(envelope, status_code=400)


class _Json(JSONResponse):
    """JSON of what the Python side shows."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, SeenRequest):
        return {
            **attrs.asdict(value, recurse=False),
            "body": value.body.decode(errors="replace"),
            "idempotency_key": value.idempotency_key,
        }
    if isinstance(value, datetime):
        return value.isoformat()
    return attrs.asdict(value, recurse=False)
