"""Results as the return types of FastAPI routes, and as fields of pydantic models."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from golden_api import models as golden
from pydantic import BaseModel, TypeAdapter, ValidationError

from kraty_admin import KratyAdmin, models
from kraty_admin.emulator import Emulator
from kraty_admin.models import Friend, Grant, PlayerProfile, WalletAdjustment

MODELS = [getattr(models, name) for name in models.__all__]
RESULTS = [each for each in MODELS if isinstance(each, type) and each is not models.Model]

# A new field, a new value of an enumeration, and a required field that is missing.
ODD: dict[str, Any] = {
    "applied": True,
    "balance": None,
    "bonus": {"new": [1, None]},
    "status": "of tomorrow",
}


class Receipt(BaseModel):
    """A response model of the studio's, which holds a result."""

    receipt_id: str
    wallet: WalletAdjustment
    grants: list[Grant] = []
    friend: Friend | None = None


def application(result: Any) -> FastAPI:
    app = FastAPI()
    adjustment: WalletAdjustment = result

    @app.get("/one")
    def one() -> WalletAdjustment:
        return adjustment

    @app.get("/many")
    async def many() -> list[WalletAdjustment]:
        return [result, result]

    @app.get("/perhaps")
    def perhaps(really: bool) -> WalletAdjustment | None:
        return result if really else None

    @app.get("/either")
    def either() -> Grant | WalletAdjustment:
        return adjustment

    @app.get("/nested")
    def nested() -> Receipt:
        return Receipt(receipt_id="r_1", wallet=result, grants=[Grant(ODD)])

    @app.get("/profile")
    def profile() -> PlayerProfile:
        return PlayerProfile({"wallet": [ODD]})

    return app


def test_a_result_is_the_response(kraty_emulator: Emulator) -> None:
    """A route that returns a result answers with its JSON."""
    with KratyAdmin() as kraty:
        result = kraty.wallet.credit("player_42", "gold", amount=5, idempotency_key="r")
    assert dict(result) == TestClient(application(result)).get("/one").json()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/one", ODD, id="alone"),
        pytest.param("/many", [ODD, ODD], id="list"),
        pytest.param("/perhaps?really=1", ODD, id="optional"),
        pytest.param("/perhaps?really=0", None, id="optional and missing"),
        pytest.param("/either", ODD, id="union"),
        pytest.param(
            "/nested",
            {"receipt_id": "r_1", "wallet": ODD, "grants": [ODD], "friend": None},
            id="in a model",
        ),
        pytest.param("/profile", {"wallet": [ODD]}, id="nested results"),
    ],
)
@pytest.mark.parametrize("kind", [WalletAdjustment, dict])
def test_odd_results_pass_as_they_came(path: str, expected: object, kind: type) -> None:
    """A result with new or odd values does not make the response fail."""
    response = TestClient(application(kind(ODD))).get(path)
    assert (200, expected) == (response.status_code, response.json())


def test_the_openapi_page_shows_the_contract() -> None:
    """FastAPI's OpenAPI document shows results with their fields, texts and nested results."""
    document = TestClient(application(ODD)).get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert {"WalletAdjustment", "Grant", "PlayerProfile", "Receipt"} <= schemas.keys()
    answers = document["paths"]["/one"]["get"]["responses"]["200"]["content"]["application/json"]
    assert {"$ref": "#/components/schemas/WalletAdjustment"} == answers["schema"]
    wallet = schemas["WalletAdjustment"]
    assert "integer" == wallet["properties"]["balance"]["type"]
    assert wallet["properties"]["balance"]["description"]
    assert "applied" in wallet["required"]
    grants = schemas["PlayerProfile"]["properties"]["recentGrants"]
    assert "Grant" == grants["items"]["title"]
    assert ["claimed", "expired", "pending"] == sorted(
        grants["items"]["properties"]["status"]["enum"]
    )


def test_every_result_has_a_schema(kraty_emulator: Emulator) -> None:
    """Each result has a valid schema without references, which accepts the emulator's answer."""
    for model in RESULTS:
        schema = TypeAdapter(model).json_schema(mode="serialization")
        (whole,) = schema["$defs"].values() if "$defs" in schema else [schema]
        assert model.__name__ == whole["title"]
        assert whole["properties"]
        jsonschema_rs.meta.validate(whole)
        assert "'$ref'" not in str(whole)
    with KratyAdmin() as kraty:
        kraty.wallet.credit("player_42", "gold", amount=5)
        profile = kraty.players.get("player_42")
    validator = jsonschema_rs.validator_for(TypeAdapter(PlayerProfile).json_schema())
    validator.validate(dict(profile))
    assert not validator.is_valid({**profile, "wallet": "much"})


def test_a_result_that_holds_itself() -> None:
    """In the schema of a recursive result, the inner one is any object."""
    schema = TypeAdapter(golden.Tree).json_schema()
    assert {"type": "object", "title": "Tree"} == schema["properties"]["children"]["items"]
    ping = TypeAdapter(golden.Ping).json_schema()
    assert "Ping" == ping["properties"]["pong"]["properties"]["ping"]["title"]


def test_a_field_of_a_pydantic_model_keeps_its_class() -> None:
    """A result stays the object it was, JSON becomes a result, and anything else is refused."""
    result = WalletAdjustment(ODD)
    receipt = Receipt(receipt_id="r", wallet=result)
    assert receipt.wallet is result
    again = Receipt.model_validate_json(receipt.model_dump_json())
    assert (WalletAdjustment, ODD) == (type(again.wallet), again.wallet)
    assert dict is type(receipt.model_dump()["wallet"])
    with pytest.raises(ValidationError, match="a WalletAdjustment is an object, not list"):
        Receipt.model_validate({"receipt_id": "r", "wallet": []})
