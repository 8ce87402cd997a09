"""TLS on top of another stream, without I/O."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Generator
from functools import partial
from typing import TypeAlias, TypeVar

import httpcore

__all__ = ["Exchanged", "Layer"]

T = TypeVar("T")

Exchanged: TypeAlias = tuple[bytes, bool]
"""The bytes to send, and whether to receive some afterwards."""


class Layer:
    """One TLS connection. Its operations yield the bytes to send, and take those received.

    Send them empty bytes when the peer has closed the stream below.
    """

    def __init__(self, ssl_context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.object = ssl_context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )

    @property
    def holds_more(self) -> bool:
        """Whether bytes that were received have not been read, such as a part of a record."""
        return bool(self._incoming.pending or self.object.pending())

    def handshake(self) -> Generator[Exchanged, bytes, None]:
        """Perform the TLS handshake, which checks the peer's certificate.

        Raises:
            httpcore.ConnectError: The handshake failed.
        """
        try:
            yield from self._perform(self.object.do_handshake)
        except ssl.SSLError as error:
            # Send the alert that says why.
            yield self._outgoing.read(), False
            raise httpcore.ConnectError(str(error)) from error

    def read(self, max_bytes: int) -> Generator[Exchanged, bytes, bytes]:
        """Read up to `max_bytes` bytes; return none at the end of the stream.

        Raises:
            httpcore.ReadError: The peer violated the TLS protocol.
        """
        try:
            return (yield from self._perform(partial(self.object.read, max_bytes)))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except ssl.SSLError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes) -> Generator[Exchanged, bytes, None]:
        """Write the whole buffer, record by record.

        Raises:
            httpcore.WriteError: The connection has ended.
        """
        view = memoryview(buffer)
        try:
            while view:
                written = yield from self._perform(partial(self.object.write, view))
                view = view[written:]
        except ssl.SSLError as error:
            raise httpcore.WriteError(str(error)) from error

    def _perform(self, step: Callable[[], T]) -> Generator[Exchanged, bytes, T]:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                received = yield self._outgoing.read(), True
                if received:
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
            else:
                if self._outgoing.pending:
                    yield self._outgoing.read(), False
                return result
