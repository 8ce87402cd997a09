"""Other SDKs, each with a small write of its own API, which get the same answers."""

# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# Their packages are in the benchmark's environment, not in the one that is checked.

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def stripe(url: str) -> Callable[[], object]:
    """Call stripe-python: its core is written by hand, its resources are generated."""
    from stripe import StripeClient

    client = StripeClient("sk_test_1", base_addresses={"api": url})
    return lambda: client.v1.customers.create(
        {"name": "player_42", "metadata": {"amount": "500"}},
        {"idempotency_key": "receipt_1"},
    )


def openai(url: str) -> Callable[[], object]:
    """Call openai-python, which Stainless generates."""
    from openai import OpenAI

    client = OpenAI(api_key="bench", base_url=f"{url}/v1")
    return lambda: client.moderations.create(input="player_42")


def svix(url: str) -> Callable[[], object]:
    """Call svix, which is generated around a thin core."""
    from svix.api import ApplicationIn, Svix, SvixOptions

    client = Svix("testsk_1", SvixOptions(server_url=url))
    return lambda: client.application.create(ApplicationIn(name="player_42"))


def stock(url: str) -> Callable[[], object]:
    """Call what openapi-python-client generates from our contract by default."""
    folder = Path(tempfile.mkdtemp())
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    command += ["--path", str(_ROOT / "openapi.server.json"), "--output-path"]
    subprocess.run([*command, str(folder / "stock_client")], check=True, capture_output=True)
    sys.path.insert(0, str(folder))
    from stock_client import AuthenticatedClient
    from stock_client.api.inventory import credit_wallet
    from stock_client.models import AdjustWalletRequest

    client = AuthenticatedClient(base_url=f"{url}/server/v1", token="bench.secret")  # noqa: S106
    return lambda: credit_wallet.sync(
        "player_42",
        "gold",
        client=client,
        body=AdjustWalletRequest(amount=500, idempotency_key="receipt_1"),
    )


def stripe_verifies(body: bytes) -> Callable[[], object]:
    """Verify with stripe-python, which checks the age only if given a tolerance."""
    from stripe import WebhookSignature

    header = WebhookSignature.generate_signature_header(body.decode(), "whsec_bench")
    return lambda: WebhookSignature.verify_header(body, header, "whsec_bench", tolerance=300)


def svix_verifies(body: bytes) -> Callable[[], object]:
    """Verify with svix, whose secret was decoded beforehand."""
    from svix.webhooks import Webhook

    webhook = Webhook("whsec_" + "MfKQ" * 8)
    headers = _standard_headers(webhook, body, "svix")
    return lambda: webhook.verify(body, headers)


def standard_verifies(body: bytes) -> Callable[[], object]:
    """Verify with standardwebhooks, whose secret was decoded beforehand, without parsing the
    body."""
    from standardwebhooks import Webhook

    webhook = Webhook("whsec_" + "MfKQ" * 8)
    headers = _standard_headers(webhook, body, "webhook")
    return lambda: webhook.verify(body, headers, json_parse=False)


def _standard_headers(webhook, body: bytes, prefix: str) -> dict[str, str]:
    now = datetime.now(timezone.utc)
    return {
        f"{prefix}-id": "msg_1",
        f"{prefix}-timestamp": str(int(now.timestamp())),
        f"{prefix}-signature": webhook.sign("msg_1", now, body.decode()),
    }


VERIFIERS = {
    "stripe": stripe_verifies,
    "svix": svix_verifies,
    "standardwebhooks": standard_verifies,
}

OTHERS = {
    "openapi-python-client, stock": stock,
    "stripe-python": stripe,
    "openai-python (Stainless)": openai,
    "svix": svix,
}
