"""The proxy that the environment names, and checks of hosts."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx

from ._secret import Secret

__all__ = ["has_address", "is_loopback", "proxy_for"]

# What sockets and TLS accept. Without this check, a bad host would fail in the middle of a
# call. The pattern is compiled on use, because compiling it at import time is noticeably slow.
_HOST: Final = r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?|[0-9a-f.]*:[0-9a-f:.]*"


def has_address(url: httpx.URL) -> bool:
    """Return whether a URL names a host and port that may exist."""
    host = url.raw_host.decode("ascii")
    return re.fullmatch(_HOST, host) is not None and (url.port is None or 0 < url.port < 65536)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, so that no one else can eavesdrop."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(origin: str) -> httpx.Proxy | None:
    """Return the proxy that the environment names for this URL; `None` if there is none.

    Loopback addresses and hosts in `NO_PROXY` are reached directly.

    Raises:
        ValueError: The environment names something that is not a proxy.
    """
    url = httpx.URL(origin)
    port = url.port or (443 if url.scheme == "https" else 80)
    # NO_PROXY may name a host with or without a port.
    if is_loopback(url.host) or proxy_bypass(url.host) or proxy_bypass(f"{url.host}:{port}"):
        return None
    named = _named_proxy(url.scheme)
    if not named.given:
        return None
    proxy = _proxy(named)
    if proxy is None:
        raise ValueError(f"{url.scheme}_proxy or all_proxy in the environment is not a proxy's URL")
    return proxy


def _named_proxy(scheme: str) -> Secret:
    proxies = getproxies()
    return Secret(proxies.get(scheme) or proxies.get("all"))


def _proxy(named: Secret) -> httpx.Proxy | None:
    url = str(named.given)
    try:
        proxy = httpx.Proxy(url if "://" in url else f"http://{url}")
    except (ValueError, httpx.InvalidURL):
        return None
    return proxy if has_address(proxy.url) else None
