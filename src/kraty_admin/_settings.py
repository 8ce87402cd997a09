"""The options of a client, checked at construction."""

from __future__ import annotations

import codecs
import enum
import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from math import inf
from typing import Final, NoReturn, TypeVar, cast

import httpx

from ._call._callbacks import check_plain
from ._call._retry import YEAR, RetryConfig
from ._transport._prepared import Prepared
from ._transport._proxy import has_address, is_loopback
from ._transport._secret import Secret
from ._version import __version__
from .telemetry import RequestHook

__all__ = [
    "UNCHANGED",
    "ServerAccess",
    "Settings",
    "Unchanged",
    "make_access",
    "make_settings",
]

DEFAULT_BASE_URL: Final = "https://api.kraty.io"
DEFAULT_TIMEOUT: Final = 15.0
DEFAULT_DEADLINE: Final = 120.0
API_ROOT: Final = "/server/v1"
_PHASES: Final = ("connect", "read", "write")


T = TypeVar("T")


class Unchanged(enum.Enum):
    """The type of `UNCHANGED`, the default of options for which `None` has a meaning."""

    UNCHANGED = "UNCHANGED"

    def __repr__(self) -> str:
        return self.value


UNCHANGED: Final = Unchanged.UNCHANGED


class ServerAccess:
    """URL and headers of a client's requests. They include the key, so no repr shows them."""

    def __init__(
        self,
        *,
        root: str,
        origin: str,
        key_prefix: str,
        key_id: str,
        prepared: Prepared,
        prepared_whole: Prepared,
    ) -> None:
        self.root = root
        """The URL that paths are appended to."""
        self.origin = origin
        """The base URL, without the API's root."""
        self.key_prefix = key_prefix
        """The part of the key that may be shown."""
        self.key_id = key_id
        """Identifies the key without revealing it: its prefix, or a hash if it has no prefix."""
        self.prepared = prepared
        """Common headers without Host, for a caller's client, which adds its own."""
        self.prepared_whole = prepared_whole
        """Common headers with Host, for our own connections."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds a secret and open connections, so it cannot be pickled")


class Settings:
    """The options that `with_options` can change."""

    def __init__(
        self,
        *,
        timeout: httpx.Timeout | None,
        deadline: float,
        retry: RetryConfig,
        on_request: RequestHook | None,
    ) -> None:
        self.timeout: Final = timeout
        """`None` for the default of each operation."""
        self.deadline: Final = deadline
        """Seconds for a whole call, including retries and waits."""
        self.retry: Final = retry
        self.on_request: Final = on_request

    def timeout_of(self, default: float | None) -> Mapping[str, float | None]:
        """Return the timeout of each phase, for an operation with this default."""
        if self.timeout is not None:
            return self.timeout.as_dict()
        # A call waits for a connection until its deadline, unless the caller limits that.
        return {**dict.fromkeys(_PHASES, default or DEFAULT_TIMEOUT), "pool": None}


DEFAULTS: Final = Settings(
    timeout=None, deadline=DEFAULT_DEADLINE, retry=RetryConfig(), on_request=None
)


def make_settings(
    base: Settings = DEFAULTS,
    *,
    timeout: float | httpx.Timeout | Unchanged | None = UNCHANGED,
    deadline: float | Unchanged | None = UNCHANGED,
    retry: RetryConfig | Unchanged | None = UNCHANGED,
    on_request: RequestHook | Unchanged | None = UNCHANGED,
) -> Settings:
    """Build settings from arguments.

    `None` selects an option's default, and `UNCHANGED` its value in `base`.
    """
    return Settings(
        timeout=_chosen(timeout, base.timeout, DEFAULTS.timeout, _timeout),
        deadline=_chosen(deadline, base.deadline, DEFAULTS.deadline, _deadline),
        retry=_chosen(retry, base.retry, DEFAULTS.retry, _retry),
        on_request=_chosen(on_request, base.on_request, DEFAULTS.on_request, _hook),
    )


def _chosen(value: object, unchanged: T, default: T, check: Callable[[object], T]) -> T:
    if value is UNCHANGED:
        return unchanged
    return default if value is None else check(value)


def _retry(value: object) -> RetryConfig:
    if not isinstance(value, RetryConfig):
        raise TypeError(f"retry must be a RetryConfig, not {type(value).__name__}")
    return value


def _hook(value: object) -> RequestHook:
    check_plain("on_request", value)
    return cast("RequestHook", value)


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0 < value <= YEAR:
        raise ValueError(f"{name} must be above 0 seconds, and at most a year")
    return float(value)


def _deadline(value: object) -> float:
    return inf if value == inf else _seconds("deadline", value)


def _timeout(value: object) -> httpx.Timeout:
    if not isinstance(value, httpx.Timeout):
        return httpx.Timeout(_seconds("timeout", value), pool=None)
    for phase, seconds in value.as_dict().items():
        if seconds is not None:
            _seconds(f"timeout's {phase}", seconds)
    # Copied, because the caller may change it later.
    return httpx.Timeout(value)


def make_access(api_key: Secret, base_url: str | None, *, keep_alive: bool = True) -> ServerAccess:
    """Return how to reach the server, from the arguments or the environment.

    Args:
        api_key: The key. If it holds `None`, `KRATY_SERVER_KEY` is used.
        base_url: The URL. If it is `None`, `KRATY_BASE_URL` or else the default is used.
        keep_alive: Whether a connection may be used for more than one call.

    Raises:
        TypeError, ValueError: Key or URL are missing or invalid. No message quotes the key.
    """
    key = _key(api_key)
    if base_url is None:
        base_url = os.environ.get("KRATY_BASE_URL") or DEFAULT_BASE_URL
    origin = _origin(base_url, key)
    # Loaded here, not by the first connection: if the process forks while another thread is
    # importing the codec, the child waits for that import forever.
    codecs.lookup("idna")
    root = httpx.URL(origin + API_ROOT)
    prefix = str(key.given).split(".")[0] if "." in str(key.given) else ""
    connection = {} if keep_alive else {"Connection": "close"}
    return ServerAccess(
        root=str(root),
        origin=origin,
        key_prefix=prefix,
        key_id=prefix or hashlib.sha256(str(key.given).encode()).hexdigest()[:16],
        prepared=_prepare(root, key, connection),
        prepared_whole=_prepare(root, key, {"Host": root.netloc.decode("ascii"), **connection}),
    )


def _prepare(root: httpx.URL, key: Secret, first: Mapping[str, str]) -> Prepared:
    python = ".".join(map(str, sys.version_info[:3]))
    without_body = httpx.Headers(
        {
            **first,
            "Accept": "application/json",
            "Authorization": f"Bearer {key.given}",
            "User-Agent": f"kraty-admin/{__version__} python/{python}",
            "X-Kraty-SDK": f"kraty-admin/{__version__}",
        }
    )
    with_body = without_body.copy()
    with_body["Content-Type"] = "application/json"
    return Prepared(root, without_body, with_body)


def _key(key: Secret) -> Secret:
    source = "api_key"
    if key.given is None:
        source, key = "KRATY_SERVER_KEY", Secret(os.environ.get("KRATY_SERVER_KEY"))
    if key.given is None:
        raise ValueError("api_key is missing: pass it, or set KRATY_SERVER_KEY")
    if not isinstance(key.given, str):
        raise TypeError(f"{source} must be a str, not {type(key.given).__name__}")
    if not key.given:
        raise ValueError(f"{source} must not be empty")
    if not re.fullmatch(_KEY, key.given):
        raise ValueError(
            f"{source} contains a character that is not allowed in a key; is there a line break"
            " at its end?"
        )
    if re.search(_UNEXPANDED, key.given):
        raise ValueError(
            f"{source} contains a quote or ${{, which are not allowed in a key; was it read from"
            " a file with its quotes, or from a template whose variable was not filled in?"
        )
    return key


# Compiled when they are used, not when the package is imported.
_KEY: Final = r"[!-~]+"
_UNEXPANDED: Final = r"[\"'`]|\$\{"


EMULATOR_KEYS: Final = frozenset(
    {
        "krt_emulator_game1.not-a-secret",
        "krt_emulator_client1.not-a-secret",
        "krt_emulator_game2.not-a-secret",
    }
)
"""The emulator's published keys. No other server accepts them, so they need no TLS."""


def _origin(base_url: object, key: Secret) -> str:
    if not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {type(base_url).__name__}")
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url must be a URL such as {DEFAULT_BASE_URL!r}: {error}") from None
    if url.scheme not in ("https", "http") or not has_address(url):
        raise ValueError(f"base_url must be a URL such as {DEFAULT_BASE_URL!r}")
    if url.scheme == "http" and not is_loopback(url.host) and key.given not in EMULATOR_KEYS:
        raise ValueError(
            "base_url must be https://, since each request carries the key; http:// is accepted"
            " only for loopback addresses, or with one of the emulator's own keys"
        )
    # The text is searched too, because `url` does not show an empty query or fragment.
    if url.userinfo or "?" in base_url or "#" in base_url:
        raise ValueError("base_url must not contain a user, a query or a fragment")
    origin = str(url).rstrip("/")
    if origin.endswith(API_ROOT):
        raise ValueError(f"base_url must not end in {API_ROOT}: the SDK adds it")
    return origin
