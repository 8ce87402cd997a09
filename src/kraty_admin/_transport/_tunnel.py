"""How to ask a proxy for a connection to a server."""

from __future__ import annotations

import base64
import ipaddress
import ssl
from collections.abc import Generator
from typing import Any, cast

import httpcore
import httpx

__all__ = ["Tunnel", "socks5"]


class Tunnel:
    """A proxy: its address, and what a connection through it needs.

    This class's repr does not show the proxy's password.
    """

    def __init__(self, proxy: httpx.Proxy, ssl_context: ssl.SSLContext) -> None:
        url = proxy.url
        self.host = url.raw_host.decode("ascii")
        self.is_socks = url.scheme.startswith("socks")
        self.port = url.port or {"https": 443, "http": 80}.get(url.scheme, 1080)
        self.ssl_context = ssl_context if url.scheme == "https" else None
        """How to speak TLS to the proxy itself; `None` for plain text."""
        self.auth = proxy.raw_auth
        """User and password, or `None`."""
        self.origin = httpcore.Origin(url.raw_scheme, url.raw_host, self.port)

    def request(self, host: str, port: int, timeout: float | None) -> httpcore.Request:
        """Return the CONNECT request to an HTTP proxy."""
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        headers = [(b"Host", target.encode("ascii")), (b"Accept", b"*/*")]
        if self.auth is not None:
            headers.append(
                (b"Proxy-Authorization", b"Basic " + base64.b64encode(b":".join(self.auth)))
            )
        return httpcore.Request(
            b"CONNECT",
            httpcore.URL(
                scheme=self.origin.scheme,
                host=self.origin.host,
                port=self.port,
                target=target.encode("ascii"),
            ),
            headers=headers,
            extensions={"timeout": {"read": timeout, "write": timeout}},
        )

    def check(self, response: httpcore.Response) -> None:
        """Check the response to `request`.

        Raises:
            httpcore.ProxyError: The proxy refused.
        """
        if not 200 <= response.status <= 299:
            extensions: dict[str, bytes] = cast("Any", response).extensions
            reason = extensions.get("reason_phrase", b"").decode("ascii", "ignore")
            raise httpcore.ProxyError(f"{response.status} {reason}".rstrip())


def socks5(
    host: str, port: int, auth: tuple[bytes, bytes] | None
) -> Generator[tuple[bytes, int], bytes, None]:
    """Perform the handshake of RFC 1928 and RFC 1929, without I/O.

    It yields the bytes to send and how many bytes to receive next, and takes those bytes.

    Raises:
        httpcore.ProxyError: The proxy refused, or does not speak SOCKS 5.
    """
    method = 0 if auth is None else 2
    version, accepted = yield bytes([5, 1, method]), 2
    if version != 5:
        raise httpcore.ProxyError("the proxy does not speak SOCKS 5")
    if accepted != method:
        raise httpcore.ProxyError(
            "the SOCKS proxy requires another kind of authentication than the one offered"
        )
    if auth is not None:
        user, password = auth
        _, status = yield (
            bytes([1, len(user)]) + user + bytes([len(password)]) + password,
            2,
        )
        if status != 0:
            raise httpcore.ProxyError("the SOCKS proxy refused the user or the password")
    version, status, _, kind = yield b"\5\1\0" + _address(host) + port.to_bytes(2, "big"), 4
    if version != 5 or status != 0:
        raise httpcore.ProxyError(f"the SOCKS proxy refused the connection with {status}")
    # The rest is the proxy's own address. It has to be read, but is not needed.
    length = 4 if kind == 1 else 16 if kind == 4 else (yield b"", 1)[0]
    yield b"", length + 2


def _address(host: str) -> bytes:
    try:
        packed = ipaddress.ip_address(host).packed
    except ValueError:
        return bytes([3, len(host)]) + host.encode("ascii")
    return bytes([1 if len(packed) == 4 else 4]) + packed
