"""The platform as an ASGI application, and nothing else."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ._platform import Platform, Request

__all__ = ["build_app"]


def build_app(platform: Platform) -> ASGIApp:
    """An application that passes every request to the platform.

    It is no `Starlette`, whose router works on decoded paths: there, a slash in a
    player's id cannot be told from one that separates segments.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        http = HttpRequest(scope, receive)
        try:
            body = await http.body()
        except ClientDisconnect:
            return
        answer = platform.answer(
            Request(
                method=http.method,
                path=scope["raw_path"],
                query=scope["query_string"].decode("latin-1"),
                authorization=http.headers.get("authorization", ""),
                body=body,
            )
        )
        response = Response(
            answer.body, answer.status, dict(answer.headers), media_type="application/json"
        )
        await response(scope, receive, send)

    return app
