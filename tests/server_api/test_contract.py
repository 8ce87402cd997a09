"""The contract itself: valid, complete, and true to its own examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from contract import CONTRACT, OPERATIONS, resolved


def media() -> Iterator[tuple[str, Any]]:
    """Every JSON body of the contract, with a name."""
    for name, operation in OPERATIONS.items():
        if "requestBody" in operation:
            yield f"{name} request", operation["requestBody"]["content"]["application/json"]
        for status, response in operation["responses"].items():
            yield f"{name} {status}", resolved(response)["content"]["application/json"]
    for name, item in CONTRACT["webhooks"].items():
        yield f"webhook {name}", item["post"]["requestBody"]["content"]["application/json"]


def test_it_is_a_valid_openapi_document() -> None:
    """The validator of the OpenAPI initiative's schemas has nothing to say."""
    validator = pytest.importorskip("openapi_spec_validator", reason="a tool of `make setup`")
    validator.validate(CONTRACT)


def test_it_holds_every_documented_webhook() -> None:
    """The known events, in the envelope's enumeration and on their own."""
    names = CONTRACT["components"]["schemas"]["WebhookEventName"]["enum"]
    assert sorted(CONTRACT["webhooks"]) == sorted(names)


@pytest.mark.parametrize(("name", "body"), [pytest.param(n, b, id=n) for n, b in media()])
def test_an_example_fits_its_schema(name: str, body: Any) -> None:
    """Every body has an example, and the example is what the schema says."""
    schema = {**body["schema"], "components": CONTRACT["components"]}
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(body["example"])


def test_amounts_stay_within_what_javascript_counts_exactly() -> None:
    """Each amount and quantity that a caller sends is from 1 to 2**53 - 1."""
    schemas = CONTRACT["components"]["schemas"]
    places = [
        (name, field)
        for name, schema in schemas.items()
        for field in ("amount", "quantity")
        if field in schema.get("properties", {}) and name not in ("ItemAdjustment", "ItemHolding")
    ]
    assert len(places) == 7
    for name, field in places:
        bounds = schemas[name]["properties"][field]
        assert (bounds["minimum"], bounds["maximum"]) == (1, 2**53 - 1)


def test_rate_limit_headers_are_described() -> None:
    """Every 429 has the four headers, every success the three that count."""
    for operation in OPERATIONS.values():
        for status, response in operation["responses"].items():
            headers = set(resolved(response).get("headers", {}))
            counted = {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}
            if status == "429":
                assert headers == counted | {"Retry-After"}
            elif status.startswith("2"):
                assert headers == counted
