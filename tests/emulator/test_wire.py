"""What happens on connections at moments that no client can choose."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kraty_admin.emulator import Fault
from kraty_admin.emulator import _wire as wire
from kraty_admin.emulator._changes import Changes
from kraty_admin.emulator._platform import Answer
from kraty_admin.emulator._wire import Connections

PATIENCE = 20.0


class Transport(asyncio.Transport):
    """A transport of a client at this address."""

    def get_extra_info(self, name: str, default: object = None) -> tuple[str, int]:
        return "127.0.0.1", 50_000


def test_an_address_that_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that ends late does not take the place of the next one from its address."""
    monkeypatch.setattr(wire, "_http_protocol", lambda: asyncio.Protocol)
    connections = Connections()
    kind = connections.protocol()
    first, second = kind(), kind()
    transports = Transport(), Transport()
    for protocol, transport in zip((first, second), transports, strict=True):
        protocol.connection_made(transport)
    scope: Any = {"client": ("127.0.0.1", 50_000)}
    first.connection_lost(None)
    assert transports[1] is connections.of(scope)
    second.connection_lost(None)
    assert connections.of(scope) is None


def test_a_connection_that_ends_before_its_fault() -> None:
    """A fault for a connection that has ended does nothing, and waits for nothing."""

    async def receive() -> Any:
        raise AssertionError

    answer = Answer(status=200, headers={}, body=b"")
    asyncio.run(wire._break(None, receive, answer, Fault("stall", seconds=600)))  # pyright: ignore[reportPrivateUsage]


def test_what_comes_before_the_end_of_a_connection() -> None:
    """A wait for the end of a connection ignores the messages that come before it."""
    messages: list[Any] = [{"type": "http.disconnect"}, {"type": "http.request"}]

    async def receive() -> Any:
        return messages.pop()

    assert asyncio.run(wire._pause(receive, PATIENCE))  # pyright: ignore[reportPrivateUsage]
    assert [] == messages


def test_a_page_that_leaves_at_once() -> None:
    """A page that cannot be sent its first message is no longer counted as a reader."""
    changes = Changes()

    async def receive() -> Any:
        await asyncio.sleep(PATIENCE)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the connection was closed")

    with pytest.raises(OSError, match="closed"):
        asyncio.run(wire._stream(changes, receive, send))  # pyright: ignore[reportPrivateUsage]
    assert not changes._readers  # pyright: ignore[reportPrivateUsage]


def test_a_wake_up_without_news() -> None:
    """A reader that is woken without news waits for the next news."""

    async def main() -> tuple[list[Any], list[Any]]:
        with Changes().reader() as reader:
            reader.notify("settings")
            reader._is_news.set()  # pyright: ignore[reportPrivateUsage]
            first = await reader.next()  # before the loop has set it again
            waiting = asyncio.ensure_future(reader.next())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not waiting.done()
            reader.notify("reset")
            return first, await asyncio.wait_for(waiting, PATIENCE)

    assert (["settings"], ["reset"]) == asyncio.run(main())


def test_an_absolute_target_without_httptools() -> None:
    """The host of the target counts, as HTTP demands, and not that of the header."""
    headers = {b"host": b"other"}
    scope: dict[str, Any] = {"raw_path": b"HTTP://127.0.0.1:8080/server/v1/ping"}
    for _ in range(2):
        wire._to_origin_form(scope, headers)  # pyright: ignore[reportPrivateUsage]
        assert (b"127.0.0.1:8080", b"/server/v1/ping") == (headers[b"host"], scope["raw_path"])
