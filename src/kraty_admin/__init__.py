"""Kraty's server-side SDK: currencies, items, lobbies, players and webhooks of one game.

from kraty_admin import KratyAdmin

with KratyAdmin() as kraty:
    kraty.wallet.credit("player_42", "gold", amount=500, idempotency_key="receipt_1")
"""

from ._client import KratyAdmin, KratyAdminAsync
from ._idempotency import derive_key, fulfil_once
from ._retry import RetryConfig
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
from .telemetry import RequestInfo
from .webhooks import construct_event, sign_webhook, verify_webhook

__all__ = [
    "CallInfo",
    "KratyAdmin",
    "KratyAdminAsync",
    "KratyClosedError",
    "KratyError",
    "KratyKeyExpiredError",
    "KratyNetworkError",
    "KratyResponseError",
    "KratyServerError",
    "RequestInfo",
    "RetryConfig",
    "WebhookVerificationError",
    "__version__",
    "construct_event",
    "derive_key",
    "fulfil_once",
    "sign_webhook",
    "verify_webhook",
]


def _claim(names: list[str]) -> None:
    """Have tracebacks, reprs and pickles name what people import, not where it is kept."""
    for name in names:
        public = globals()[name]
        if getattr(public, "__module__", "").startswith(f"{__name__}."):
            public.__module__ = __name__


_claim(__all__)
