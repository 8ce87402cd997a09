"""Checks of the blocks of sdk.md."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from kraty_admin import CallInfo, KratyAdmin, KratyNetworkError, KratyServerError, RetryConfig
from pages import Block

from ..testkit import Reader, Recorder, block_named, checks, receives


@checks("sdk.md", "Quickstart 1")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    assert reader.emulator.balance("player_42", "gold") == 1000
    assert reader.emulator.quantity("player_42", "starter_chest") == 2
    assert reader.emulator.quantity("player_42", "legendary_box") == 2
    assert names["kraty"].is_closed


@checks("sdk.md", "Quickstart 2")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    assert reader.emulator.balance("player_42", "gold") == 500
    assert names["kraty"].is_closed


@checks("sdk.md", "Resources 1")
@checks("sdk.md", "Resources 2")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    named = set(re.findall(r"^kraty\.(\w+)", block.code, re.MULTILINE))
    assert len(named) > 2
    assert named <= reader.kraty.__dict__.keys()


@checks("sdk.md", "Idempotency 1")
def _(reader: Reader, block: Block) -> None:
    alert = Recorder()
    reader.names.update(receipt_id="r_1", alert_ops=alert)
    reader.run(block)
    reader.run(block)
    assert reader.emulator.balance("p", "gold") == 500
    assert alert.calls == []
    reader.names["receipt_id"] = "r_2"
    reader.kraty.wallet.credit("p", "gold", amount=1, idempotency_key="r_2")
    reader.run(block)
    assert alert.calls == [("", (), {"receipt_id": "r_2"})]


@checks("sdk.md", "Grants 1")
def _(reader: Reader, block: Block) -> None:
    reader.names["receipt_body"] = "MIIT"
    names = reader.run(block)
    assert names["grant"].contents.entries[1].currency_key == "gems"
    assert reader.emulator.balance("player_42", "gems") == 50


@checks("sdk.md", "Grants 2")
def _(reader: Reader, block: Block) -> None:
    reader.names["receipt_body"] = "MIIT"
    reader.run(block_named("sdk.md", "Grants 1"))
    reader.run(block)
    (grant,) = reader.kraty.players.get("player_42").recent_grants
    assert (grant.status, grant.acked_by) == ("claimed", "server_api")
    assert reader.emulator.balance("player_42", "gold") == 500


@checks("sdk.md", "Items 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    assert reader.emulator.quantity("player_42", "health_potion") == 0
    assert len(reader.emulator.ledger) == 2


@checks("sdk.md", "Currencies 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    assert reader.emulator.balance("p", "gold") == 400


@checks("sdk.md", "Lobbies 1")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    assert names["lobby"].participant_count == 3


@checks("sdk.md", "Lobbies 2")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block_named("sdk.md", "Lobbies 1"))
    names["lobby_id"] = names["lobby"]["id"]
    reader.run(block)
    assert names["lobby"].mode == "lobby_matched"


@checks("sdk.md", "Leaderboards and events 1")
def _(reader: Reader, block: Block) -> None:
    names = reader.run(block)
    assert (1250.5, 1) == (names["place"].score, names["place"].rank)


@checks("sdk.md", "Leaderboards and events 2")
def _(reader: Reader, block: Block) -> None:
    client = reader.emulator.game_client
    reader.names["attempt_id"] = client.start_attempt("player_42", "quick_brawl")
    names = reader.run(block)
    assert {"kills": 2} == names["progress"].attempt.metrics
    assert "completed" == names["finished"].outcome


@checks("sdk.md", "Identity and friends 1")
def _(reader: Reader, block: Block) -> None:
    reader.emulator.game_client.befriend("player_42", "player_43")
    reader.run(block)
    (friend,) = reader.kraty.players.friends("player_43")
    assert {"name": "Boo", "avatar": None, "country": None} == friend.display_identity


@checks("sdk.md", "Players 1")
def _(reader: Reader, block: Block) -> None:
    reader.kraty.wallet.credit("player_42", "gold", amount=5)
    names = reader.run(block)
    assert names["snap"].wallet[0].balance == 5


@checks("sdk.md", "Players 2")
def _(reader: Reader, block: Block) -> None:
    assert reader.run(block)["out"]["status"] == "no_op_never_existed"
    reader.kraty.wallet.credit("player_42", "gold", amount=5)
    assert reader.run(block)["out"]["status"] == "erased"


@checks("sdk.md", "Players 3")
def _(reader: Reader, block: Block) -> None:
    with pytest.raises(KratyServerError) as caught:
        reader.run(block)
    assert caught.value.is_not_found
    reader.kraty.wallet.credit("player_42", "gold", amount=5)
    reader.run(block)
    exported = json.loads(Path("player-42-export.json").read_text())
    assert exported["player"]["externalPlayerId"] == "player_42"


@checks("sdk.md", "Players 4")
def _(reader: Reader, block: Block) -> None:
    reader.kraty.wallet.credit("player_42", "gold", amount=5)
    reader.run(block)
    assert reader.kraty.players.unban("player_42").applied is False


@checks("sdk.md", "Bulk import 1")
def _(reader: Reader, block: Block) -> None:
    reader.run(block)
    assert reader.emulator.balance("p_1", "gold") == 1500
    assert reader.emulator.quantity("p_1", "starter_chest") == 1
    assert reader.run(block)["out"]["skipped"] == 2


@checks("sdk.md", "Bulk import 2")
def _(reader: Reader, block: Block) -> None:
    rows: list[dict[str, str]] = [
        {"externalPlayerId": f"p_{n}", "idempotencyKey": f"p_{n}"} for n in range(1500)
    ]
    del rows[1200]["externalPlayerId"]
    collect = Recorder()
    reader.names.update(all_players=rows, collect_for_retry=collect)
    assert reader.run(block)["out"]["applied"] == 499
    assert collect.calls[0][1][0][0]["rowIndex"] == 200


@checks("sdk.md", "Retries 1")
def _(reader: Reader, block: Block) -> None:
    kraty = reader.run(block)["kraty"]
    assert kraty is not reader.kraty
    assert kraty.base_url == reader.emulator.base_url


class Elided:
    """A client whose `grants.create` accepts the `...` of the page, and raises."""

    def __init__(self, failure: KratyServerError | KratyNetworkError) -> None:
        self.failure = failure
        self.grants = self

    def create(self, external_player_id: str, rest: object) -> None:
        assert (external_player_id, rest) == ("player_42", ...)
        raise self.failure


@checks("sdk.md", "Errors 1")
def _(reader: Reader, block: Block) -> None:
    # `...` leaves arguments out, so the test runs only the part that distinguishes the errors.
    codes = ["idempotency_conflict", "not_found", "forbidden", "rate_limited", "conflict"]
    failures: list[KratyServerError | KratyNetworkError] = [
        KratyServerError("no", code=code, status=400) for code in codes
    ]
    failures.append(KratyNetworkError("no", original_cause=OSError("down")))
    for failure in failures:
        reader.names["kraty"] = Elided(failure)
        reader.run(block)


@checks("sdk.md", "When something else ends a call 1")
def _(reader: Reader, block: Block) -> None:
    """The facts are there when a hook of the reader's own fails."""

    def fail(answer: object) -> None:
        raise LookupError("a bug")

    hooks: Any = {"response": [fail]}
    with (
        httpx.Client(event_hooks=hooks) as http_client,
        KratyAdmin(http_client=http_client) as kraty,
        contextlib.redirect_stdout(io.StringIO()) as said,
    ):
        reader.names["kraty"] = kraty
        with pytest.raises(LookupError) as raised:
            reader.run(block)
    call: CallInfo = vars(raised.value)["kraty_call"]
    assert f"wallet.credit {call.idempotency_key} {call.first_sent_at}\n" == said.getvalue()
    assert reader.emulator.balance("player_42", "gold") == 500


@checks("sdk.md", "Webhooks 1")
def _(reader: Reader, block: Block) -> None:
    receives(reader.run(block)["app"])


@checks("sdk.md", "Telemetry 1")
def _(reader: Reader, block: Block) -> None:
    metrics = Recorder()
    reader.names["metrics"] = metrics
    kraty = reader.run(block)["kraty"]
    once = kraty.with_options(retry=RetryConfig(attempts=1))
    with pytest.raises(KratyServerError):
        once.health.ping()  # the page's key is "..."
    url = f"kraty_server.{reader.emulator.base_url}/server/v1/ping"
    assert [call[1][0] for call in metrics.calls] == [url, "kraty_server.error.401"]


@checks("sdk.md", "Async 1")
def _(reader: Reader, block: Block) -> None:
    fulfil = reader.run(block)["fulfill_iap"]
    asyncio.run(fulfil(SimpleNamespace(player_id="p", id="r_1")))
    assert reader.emulator.balance("p", "gold") == 500


@checks("sdk.md", "Async 2")
def _(reader: Reader, block: Block) -> None:
    lines = Recorder()
    reader.names["print"] = lines
    asyncio.run(reader.run(block)["main"]())
    assert lines.calls == [("", (500,), {})]
