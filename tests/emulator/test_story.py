"""One purchase story, as each of the vendor's SDKs sends it.

The Node SDK sends what it is given. The vendor's Python SDK and this one add a grant's
defaults. All add a key to every POST. The results have to be the same.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from .testkit import OTHER_GAME_KEY, Api

GOLD = {"type": "currency", "currencyKey": "gold", "amount": 500}
CHEST = {"type": "item", "itemKey": "starter_chest", "quantity": 1}
CRATE = {"type": "crate", "crateItemKey": "legendary_box", "quantity": 2}
NODE: dict[str, str] = {}
PYTHON = {"kind": "reward", "sourceKind": "api"}


@attrs.frozen
class Step:
    """A call of the story, and what its answer shows."""

    path: str
    body: dict[str, Any] | None
    status: int
    shows: dict[str, Any]
    key: str | None = None

    def request_body(self, defaults: dict[str, str], stamp: int) -> bytes | None:
        """Return the bytes that an SDK sends; `stamp` numbers the keys that it generates."""
        if self.body is None:
            return None
        added = defaults if self.path.endswith("/grants") else {}
        stamped = {"idempotencyKey": f"stamp-{stamp}"}
        members = {**stamped, **added, **self.body}
        return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()


BUY = {"idempotencyKey": "apple_receipt_abc", "entries": [GOLD, CHEST, CRATE]}
CREDIT = {"amount": 500, "reason": "iap", "idempotencyKey": "apple_receipt_abc"}
LOBBY = {"key": "matchmaker_lobby_123", "externalPlayerIds": ["alice", "bob"], "capacity": 4}
ROW = {"externalPlayerId": "p_1", "economyKey": "gold", "amount": 1500, "idempotencyKey": "p_1"}
ALICE = "/players/alice"
PUSH = "/games/game_1/events/quick_brawl/lobbies"

STORY = [
    Step("/ping", None, 200, {}),
    Step(f"{ALICE}/wallet/gold/credit", CREDIT, 200, {"balance": 500, "applied": True}),
    Step(f"{ALICE}/wallet/gold/credit", CREDIT, 200, {"balance": 500, "applied": False}),
    Step(f"{ALICE}/wallet/gold/credit", {**CREDIT, "amount": 1}, 409, {}),
    Step(f"{ALICE}/grants", BUY, 201, {"kind": "reward", "status": "pending"}),
    Step(f"{ALICE}/grants", BUY, 200, {"kind": "reward", "sourceKind": "api"}),
    Step(f"{ALICE}/wallet/gold/debit", {"amount": 100}, 200, {"balance": 900}),
    Step(f"{ALICE}/wallet/gold/debit", {"amount": 1000}, 409, {}),
    Step(f"{ALICE}/inventory/legendary_box/revoke", {"quantity": 3}, 409, {}),
    Step(f"{ALICE}/wallet/moonstone/credit", {"amount": 1}, 400, {}),
    Step(PUSH, LOBBY, 201, {"status": "active", "participantCount": 2}),
    Step(PUSH, LOBBY, 201, {"status": "active", "participantCount": 2}),
    Step(PUSH, LOBBY, 403, {}, key=OTHER_GAME_KEY),
    Step(f"{ALICE}/ban", {"reason": "fraud"}, 200, {"applied": True}),
    Step(f"{ALICE}/ban", {"reason": "fraud"}, 200, {"applied": False}),
    Step(f"{ALICE}/unban", {}, 200, {"applied": True}),
    Step(f"{ALICE}/unban", {}, 200, {"applied": False}),
    Step("/migrate/wallet", {"rows": [ROW]}, 200, {"applied": 1, "skipped": 0}),
    Step("/migrate/wallet", {"rows": [ROW]}, 200, {"applied": 0, "skipped": 1}),
    Step("/players/p_1/merge-into/alice", {}, 200, {"status": "merged"}),
    Step("/players/p_1/merge-into/alice", {}, 200, {"status": "no_op_already_merged"}),
    Step(ALICE, None, 200, {"summary": {"attempts": 0, "grants": 1, "lobbies": 1}}),
    Step(f"{ALICE}/delete", {"reason": "gdpr_erasure"}, 200, {"status": "erased"}),
    Step(f"{ALICE}/delete", {"reason": "gdpr_erasure"}, 200, {"status": "no_op_already_erased"}),
    Step("/players/nobody/delete", {}, 200, {"status": "no_op_never_existed"}),
    Step(f"{ALICE}/export", None, 404, {}),
]


@pytest.mark.parametrize(
    "tellers",
    [
        pytest.param([NODE], id="Node"),
        pytest.param([PYTHON], id="Python"),
        pytest.param([NODE, PYTHON], id="Node and Python in turn"),
        pytest.param([PYTHON, NODE], id="Python and Node in turn"),
    ],
)
@pytest.mark.parametrize("same_stamp", [False, True], ids=["another key", "the same key"])
def test_every_sdk_gets_the_same_story(
    api: Api, tellers: list[dict[str, str]], same_stamp: bool
) -> None:
    """Results and refusals do not depend on the SDK, or on the keys that it adds to each POST."""
    codes = {400: "invalid_metric", 403: "forbidden", 404: "not_found"}
    stamps: dict[str, int] = {}
    for number, step in enumerate(STORY):
        stamp = stamps.setdefault(step.path, number) if same_stamp else number
        body = step.request_body(tellers[number % len(tellers)], stamp)
        method = "GET" if body is None else "POST"
        keyed = {} if step.key is None else {"key": step.key}
        reply = api.send(method, step.path, body, **keyed)
        assert step.status == reply.status, (number, step, reply)
        if step.status < 300 and step.path != "/ping":
            assert step.shows == {name: reply.data[name] for name in step.shows}
        elif step.status in codes:
            assert codes[step.status] == reply.error[1]
    expected = [("gold", 500), ("gold", 500), ("starter_chest", 1), ("legendary_box", 2)]
    assert [*expected, ("gold", -100), ("gold", 1500)] == api.deltas()
