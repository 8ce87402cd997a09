"""Kraty's server-side SDK: currencies, items, lobbies, players and webhooks of one game.

```python
from kraty_admin import KratyAdmin

with KratyAdmin() as kraty:
    kraty.wallet.credit("player_42", "gold", amount=500, idempotency_key="receipt_1")
```

`KratyAdminAsync` has the same methods for asyncio.
"""

import importlib
import typing

from kraty_server_api.errors import ErrorCode
from kraty_server_api.model import ResponseInfo
from kraty_server_api.unset import UNSET, Unset

from ._call._idempotency import derive_key, fulfil_once
from ._call._retry import RetryConfig
from ._client import KratyAdmin, KratyAdminAsync
from ._version import __version__
from .errors import (
    CallInfo,
    KratyClosedError,
    KratyError,
    KratyKeyExpiredError,
    KratyNetworkError,
    KratyResponseError,
    KratyServerError,
    WebhookVerificationError,
)
from .telemetry import RequestHook, RequestInfo

if typing.TYPE_CHECKING:
    from .webhooks import construct_event, sign_webhook, verify_webhook
else:
    # Hidden from type checkers: with it, they would not report names that do not exist.
    def __getattr__(name):
        """Import the webhook functions on first use, since many programs receive no webhooks."""
        if name != "webhooks" and name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        webhooks = importlib.import_module(f"{__name__}.webhooks")
        if name == "webhooks":
            return webhooks
        globals()[name] = getattr(webhooks, name)
        _set_public_module([name])
        return globals()[name]


__all__ = [
    "UNSET",
    "CallInfo",
    "ErrorCode",
    "KratyAdmin",
    "KratyAdminAsync",
    "KratyClosedError",
    "KratyError",
    "KratyKeyExpiredError",
    "KratyNetworkError",
    "KratyResponseError",
    "KratyServerError",
    "RequestHook",
    "RequestInfo",
    "ResponseInfo",
    "RetryConfig",
    "Unset",
    "WebhookVerificationError",
    "__version__",
    "construct_event",
    "derive_key",
    "fulfil_once",
    "sign_webhook",
    "verify_webhook",
]


def _set_public_module(names: list[str]) -> None:
    """Make tracebacks, reprs and pickles name the public module, not a private one."""
    private = (f"{__name__}.", "kraty_server_api.")
    for name in names:
        public = globals()[name]
        if getattr(public, "__module__", "").startswith(private):
            public.__module__ = __name__


_set_public_module([name for name in __all__ if name in globals()])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
