"""What a client is made of: its options, checked at construction."""

from __future__ import annotations

import ipaddress
import os
import platform
from math import inf
from typing import Final, NoReturn
from urllib.request import getproxies, proxy_bypass

import attrs
import httpx

from ._retry import RetryConfig
from ._sender import Headers, Hook
from ._version import __version__

__all__ = ["Settings", "Target", "make_settings", "make_target", "proxy_for"]

DEFAULT_BASE_URL: Final = "https://api.kraty.io"
DEFAULT_TIMEOUT: Final = 15.0
DEFAULT_DEADLINE: Final = 120.0
API_ROOT: Final = "/server/v1"


@attrs.frozen(repr=False)
class Target:
    """Where requests go and what they carry. Holds the key, so nothing shows it."""

    root: str
    """The URL that paths are appended to."""
    origin: str
    """The `base_url` that it was made of."""
    key_prefix: str
    """The part of the key that may be shown."""
    headers: Headers

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds a secret and open connections, so it does not pickle")


@attrs.frozen(kw_only=True)
class Settings:
    """What may differ from call to call."""

    timeout: httpx.Timeout | None
    """`None` for the default of each operation."""
    deadline: float
    """Seconds for a whole call, its attempts and waits together."""
    retry: RetryConfig
    on_request: Hook | None

    def timeout_of(self, default: float | None) -> httpx.Timeout:
        """The timeout of a call whose operation has this default."""
        return self.timeout or httpx.Timeout(default or DEFAULT_TIMEOUT)


def make_settings(
    base: Settings | None = None,
    *,
    timeout: float | httpx.Timeout | None = None,
    deadline: float | None = None,
    retry: RetryConfig | None = None,
    on_request: Hook | None = None,
) -> Settings:
    """Settings from arguments; what is left out comes from `base`, or from the defaults."""
    base = base or Settings(
        timeout=None, deadline=DEFAULT_DEADLINE, retry=RetryConfig(), on_request=None
    )
    if retry is not None and not isinstance(retry, RetryConfig):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers err
        raise TypeError(f"retry must be a RetryConfig, not {type(retry).__name__}")
    if on_request is not None and not callable(on_request):
        raise TypeError(f"on_request must be callable, not a {type(on_request).__name__}")
    if on_request is not None and _is_coroutine_function(on_request):
        raise TypeError("on_request must be a plain function: nothing would await its result")
    return Settings(
        timeout=base.timeout if timeout is None else _timeout(timeout),
        deadline=base.deadline if deadline is None else _seconds("deadline", deadline, most=inf),
        retry=base.retry if retry is None else retry,
        on_request=base.on_request if on_request is None else on_request,
    )


def _is_coroutine_function(function: object) -> bool:
    import inspect

    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 -- an instance with an async __call__
    )


def _seconds(name: str, value: object, *, most: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0 < value <= most:
        raise ValueError(f"{name} must be above 0 seconds, and at most {most:g}")
    return float(value)


def _timeout(value: object) -> httpx.Timeout:
    if isinstance(value, httpx.Timeout):
        for phase, seconds in value.as_dict().items():
            if seconds is not None:
                _seconds(f"timeout's {phase}", seconds, most=86_400 * 365)
        return value
    return httpx.Timeout(_seconds("timeout", value, most=86_400 * 365))


def make_target(api_key: str | None, base_url: str | None) -> Target:
    """Key and URL from arguments, or from the environment.

    Raises:
        TypeError, ValueError: One is missing or unusable. The key is never quoted.
    """
    key = _key(api_key)
    url = base_url if base_url is not None else os.environ.get("KRATY_BASE_URL")
    origin = _origin(url or DEFAULT_BASE_URL)
    common = {
        "Accept": "application/json",
        "Authorization": f"Bearer {key}",
        "User-Agent": f"kraty-admin/{__version__} python/{platform.python_version()}",
        "X-Kraty-SDK": f"kraty-admin/{__version__}",
    }
    prefix, dot, _ = key.partition(".")
    return Target(
        root=origin + API_ROOT,
        origin=origin,
        key_prefix=prefix if dot else "",
        headers=Headers(
            httpx.Headers(common), httpx.Headers({**common, "Content-Type": "application/json"})
        ),
    )


def _key(api_key: object) -> str:
    source = "api_key"
    if api_key is None:
        source, api_key = "KRATY_SERVER_KEY", os.environ.get("KRATY_SERVER_KEY")
    if api_key is None:
        raise ValueError("api_key is missing: pass it, or set KRATY_SERVER_KEY")
    if not isinstance(api_key, str):
        raise TypeError(f"{source} must be a str, not {type(api_key).__name__}")
    if not api_key:
        raise ValueError(f"{source} must not be empty")
    if not all("!" <= character <= "~" for character in api_key):
        raise ValueError(
            f"{source} holds a character that no key has; is there a line break at its end?"
        )
    return api_key


def _origin(base_url: object) -> str:
    if not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {type(base_url).__name__}")
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url must be a URL such as {DEFAULT_BASE_URL!r}: {error}") from None
    if url.scheme not in ("https", "http") or not url.host:
        raise ValueError(f"base_url must be a URL such as {DEFAULT_BASE_URL!r}")
    if url.scheme == "http" and not is_loopback(url.host):
        raise ValueError("base_url must be https:// since the key goes with each request")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("base_url must hold no user, query or fragment")
    origin = str(url).rstrip("/")
    if origin.endswith(API_ROOT):
        raise ValueError(f"base_url must not end in {API_ROOT}: that is added")
    return origin


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, where nobody else can listen in."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(origin: str) -> httpx.Proxy | None:
    """The proxy that the environment names for this one host; none for loopback.

    Raises:
        ValueError: The environment names something that is no proxy.
    """
    url = httpx.URL(origin)
    if is_loopback(url.host) or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy:
        return None
    try:
        return httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}")
    except (ValueError, httpx.InvalidURL):
        raise ValueError(
            f"{url.scheme}_proxy or all_proxy in the environment is not a proxy's URL"
        ) from None
