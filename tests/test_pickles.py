"""Pickles of 0.1.0 still load, as of tasks and caches that outlive an update.

`data/pickles-0.1.0.json` holds results and errors as 0.1.0 pickled them, base64 by protocol. The
results name `kraty_server_api.models` and `kraty_server_api.types`.
"""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from typing import Any, Final

import pytest

from kraty_admin import KratyNetworkError, RequestInfo, ResponseInfo
from kraty_admin.bulk import ImportReport, ImportStoppedError
from kraty_admin.models import (
    CurrencyRewardEntry,
    Grant,
    GrantContents,
    Model,
    PlayerProfile,
    WebhookEvent,
)

DATA: Final[dict[str, dict[str, str]]] = json.loads(
    (Path(__file__).parent / "data" / "pickles-0.1.0.json").read_text(encoding="utf-8")
)
GRANT: Final = {
    "id": "grt_1",
    "kind": "reward",
    "contents": {
        "entries": [
            {"type": "currency", "currencyKey": "gold", "amount": 500},
            {"type": "voucher"},
        ]
    },
    "status": "pending",
    "createdAt": "2026-06-08T12:00:00.000Z",
}
PROFILE: Final = {
    "player": {"id": "ply_1", "externalPlayerId": "player_42"},
    "wallet": [{"economyKey": "gold", "balance": 500}],
}
EVENT: Final = {"id": "evt_1", "eventName": "grant.created", "data": {"grantId": "grt_1"}}


@pytest.fixture(name="old", params=sorted(DATA))
def load_old(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the objects in the pickles of a protocol, by name."""
    pickles = {name: base64.b64decode(text) for name, text in DATA[request.param].items()}
    assert b"kraty_server_api" in pickles["grant"]
    return {name: pickle.loads(data) for name, data in pickles.items()}


@pytest.mark.parametrize(
    ("name", "cls", "wire"),
    [
        pytest.param("grant", Grant, GRANT, id="grant"),
        pytest.param("grant after it was read", Grant, GRANT, id="grant that was read"),
        pytest.param("profile after it was read", PlayerProfile, PROFILE, id="profile"),
        pytest.param("request", Model, {"rank": 1}, id="result of request"),
        pytest.param("event", WebhookEvent, EVENT, id="event"),
    ],
)
def test_a_result_loads(
    old: dict[str, Any], name: str, cls: type[Model], wire: dict[str, Any]
) -> None:
    """A result that 0.1.0 pickled has its type and content, and pickles again."""
    result = old[name]

    assert cls is type(result)
    assert wire == result
    again = pickle.loads(pickle.dumps(result))
    assert (cls, wire) == (type(again), again)


@pytest.mark.parametrize("name", ["grant", "grant after it was read"])
def test_a_result_that_loads_is_as_good(old: dict[str, Any], name: str) -> None:
    """A result that 0.1.0 pickled has its properties, `http` and `replayed`."""
    grant: Grant = old[name]

    assert GrantContents is type(grant.contents)
    entries = grant.contents.entries or []
    assert [CurrencyRewardEntry, dict] == [type(entry) for entry in entries]
    assert 2026 == grant.created_at.year
    assert ("req_1", "receipt_1") == (grant.http.request_id, grant.http.idempotency_key)
    assert (True if name == "grant" else None) is grant.replayed


def test_details_of_a_call_load(old: dict[str, Any]) -> None:
    """A `ResponseInfo` and a `RequestInfo` that 0.1.0 pickled load as today's classes."""
    response, request = old["response info"], old["request info"]

    assert ResponseInfo is type(response)
    assert (200, "req_1", 1, "receipt_1") == (
        *(response.status, response.request_id, response.attempts, response.idempotency_key),
    )
    assert RequestInfo is type(request)
    assert ("POST", "grants.create", 12.5, True) == (
        *(request.method, request.operation, request.duration_ms, request.ok),
    )


def test_a_report_of_an_import_loads(old: dict[str, Any]) -> None:
    """An import report that 0.1.0 pickled equals today's."""
    expected = ImportReport(
        read=2, rows=2, applied=1, failed=1, chunks=1, seconds=0.5, rows_per_second=4.0
    )
    assert expected == old["import report"]


# Without protocol 0: it restores a `CallInfo` as the shorter tuple that it was in 0.1.0.
@pytest.mark.parametrize("old", ["2", "5"], indirect=True)
def test_errors_load(old: dict[str, Any]) -> None:
    """An error that 0.1.0 pickled has every property, even those that 0.1.0 did not know."""
    network, stopped = old["network error"], old["stopped import"]

    assert KratyNetworkError is type(network)
    assert ("ReadTimeout", "receipt_1", True, None) == (
        *(network.cause_name, network.idempotency_key, network.ambiguous, network.first_sent_at),
    )
    assert ImportStoppedError is type(stopped)
    assert (2, False, None) == (stopped.report.rows, stopped.retryable, stopped.first_sent_at)
