"""What needs no server: imports, decoding, verifying, encoding. Each against its plain twin."""

from __future__ import annotations

import hmac
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from measure import ratio
from others import VERIFIERS

__all__ = [
    "compare",
    "export_bytes",
    "further_client",
    "idle_client",
    "import_times",
    "regenerating",
    "typed_dates",
    "typed_export",
    "verifying",
]

_IMPORT: Final = """
import sys, time
sys.modules["click"] = None  # a command line that production does not have
started = time.process_time()
import {module}
print(time.process_time() - started)
"""

_CLIENTS: Final = """
from kraty_admin import KratyAdmin
from worker import resident

clients = [KratyAdmin(api_key="bench.secret") for _ in range(10)]
before = resident()
clients += [KratyAdmin(api_key="bench.secret") for _ in range(200)]
print((resident() - before) / 200 / 1024)
"""

_BY_HAND: Final = """
import httpcore, httpx  # httpx imports httpcore when it makes a client
from worker import resident

client = httpx.Client()
print(resident() / 1024)
"""

_IDLE: Final = """
import httpcore, httpx
from worker import resident
from kraty_admin import KratyAdmin

client = KratyAdmin(api_key="bench.secret")
print(resident() / 1024)
"""

_MOMENT: Final = "2026-06-08T12:00:00.000Z"


def import_times(modules: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of processor time for each import in a fresh interpreter, by rounds.

    Those that are not installed are left out.

    From bytecode, as on a server; not every installer and environment writes it.
    """
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(rounds + 1):
            for module in modules:
                done = subprocess.run(
                    [sys.executable, "-c", _IMPORT.format(module=module)],
                    check=False,
                    capture_output=True,
                    text=True,
                    env=environment,
                )
                if not done.returncode:
                    taken.setdefault(module, []).append(float(done.stdout) * 1000)
    # The first round has written the bytecode.
    return {module: times[1:] for module, times in taken.items()}


def further_client() -> float:
    """Return the MiB that each client of the default address takes after the first ten."""
    return _run(_CLIENTS)


def idle_client() -> float:
    """MiB of memory that a client of the default address takes beyond an `httpx.Client`.

    Both have read the certificates. The client of the races has not, since it speaks HTTP.
    """
    return median(_run(_IDLE) - _run(_BY_HAND) for _ in range(5))


def _run(program: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    return float(done.stdout)


def compare(ours: Callable[[], object], theirs: Callable[[], object], rounds: int = 25) -> float:
    """Return the ratio of our processor time to theirs; the two take turns."""
    times: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for each, taken in zip((ours, theirs), times, strict=True):
            started = time.process_time()
            each()
            taken.append(time.process_time() - started)
    return ratio(times[0][1:], times[1][1:])


def export_bytes(rows: int = 1000) -> bytes:
    """Return an export's answer: five lists of so many rows."""
    row: dict[str, object] = {
        "itemKey": "health_potion",
        "economyKey": "gold",
        "quantity": 3,
        "balance": 3,
        "metadata": {},
        "id": "x",
        "eventId": "evt_1",
        "status": "closed",
        "createdAt": _MOMENT,
        "updatedAt": _MOMENT,
    }
    player = {
        "id": "ply_1",
        "externalPlayerId": "player_42",
        "studioId": "studio_1",
        "gameId": "game_1",
        "firstSeenAt": _MOMENT,
        "lastSeenAt": _MOMENT,
    }
    lists = {
        name: [row] * rows for name in ("attempts", "grants", "inventory", "wallet", "lobbies")
    }
    data: dict[str, object] = {"schemaVersion": 1, "exportedAt": _MOMENT, "player": player, **lists}
    return json.dumps({"data": data}).encode()


def typed_export(raw: bytes) -> Any:
    """Return the answer as the SDK makes it from the bytes."""
    from kraty_server_api.models import PlayerExport

    return PlayerExport(json.loads(raw)["data"])


def typed_dates(raw: bytes) -> int:
    """Return the typed answer after reading a date of every lobby."""
    return len([lobby.created_at for lobby in typed_export(raw).lobbies])


def verifying(calls: int = 500) -> dict[str, float]:
    """Return how much more processor time verifying a webhook of 1 KB takes than each of these."""
    from kraty_admin import sign_webhook, verify_webhook

    body, secret = b"x" * 1024, "whsec_bench"
    header = sign_webhook(raw_body=body, secret=secret)

    def verify() -> None:
        for _ in range(calls):
            assert verify_webhook(raw_body=body, signature_header=header, secret=secret)

    def repeated(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(calls):
                call()

        return run

    def digest() -> None:
        for _ in range(calls):
            hmac.digest(secret.encode(), b"1780920000." + body, "sha256")

    others = {name: repeated(make(body)) for name, make in VERIFIERS.items()}
    return {
        name: compare(verify, theirs) for name, theirs in ({"hmac.digest": digest} | others).items()
    }


def regenerating() -> float:
    """Return the seconds that `make regen` takes; not a number if it cannot run."""
    command = ["make", "--directory", str(Path(__file__).resolve().parent.parent), "regen"]
    seconds = float("nan")
    for _ in range(2):
        started = time.perf_counter()
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return float("nan")
        seconds = time.perf_counter() - started
    return seconds
