"""The contract is complete, and its examples fit its schemas.

`make lint-contract` and `make regen SPEC=...` check that it is valid OpenAPI.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import jsonschema_rs
import pytest

from contract import CONTRACT, OPERATIONS, resolved
from kraty_admin._bulk._plan import LARGEST
from kraty_admin._settings import API_ROOT, DEFAULT_BASE_URL
from kraty_admin.cli._app import app


def media() -> Iterator[tuple[str, Any]]:
    """Yield the JSON bodies of the contract that have an example, with a name.

    The build step demands one for each request and each successful answer.
    """
    holders = {
        f"webhook {n}": item["post"]["requestBody"] for n, item in CONTRACT["webhooks"].items()
    }
    for name, operation in OPERATIONS.items():
        holders[f"{name} request"] = operation.get("requestBody", {})
        holders |= {f"{name} {status}": each for status, each in operation["responses"].items()}
    for name, holder in holders.items():
        body = resolved(holder).get("content", {}).get("application/json", {})
        if "example" in body:
            yield name, body


def test_the_client_calls_the_paths_of_the_contract() -> None:
    """The contract's paths are below the root that the client calls, so that an adopted contract of
    another version of the API does not call this one."""
    assert [DEFAULT_BASE_URL + API_ROOT] == [each["url"] for each in CONTRACT["servers"]]


def test_every_event_name_has_a_webhook() -> None:
    """The contract describes each event name that its enumeration lists."""
    names = CONTRACT["components"]["schemas"]["WebhookEventName"]["enum"]
    assert sorted(CONTRACT["webhooks"]) == sorted(names)


@pytest.mark.parametrize(("name", "body"), [pytest.param(n, b, id=n) for n, b in media()])
def test_an_example_fits_its_schema(name: str, body: Any) -> None:
    """The example of a body fits the body's schema."""
    schema = {**body["schema"], "components": CONTRACT["components"]}
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(body["example"])


def test_amounts_stay_within_what_javascript_counts_exactly() -> None:
    """Each amount and quantity that a caller sends is bounded to 1 … 2**53 - 1."""
    schemas = CONTRACT["components"]["schemas"]
    places = [
        (name, field)
        for name, schema in schemas.items()
        for field in ("amount", "quantity")
        if field in schema.get("properties", {}) and name not in ("ItemAdjustment", "ItemHolding")
    ]
    assert len(places) >= 7
    for name, field in places:
        bounds = schemas[name]["properties"][field]
        assert (bounds["minimum"], bounds["maximum"]) == (1, 2**53 - 1)


def test_imports_send_as_many_rows_as_the_contract_allows() -> None:
    """A call of an import holds as many rows as the contract allows, by default too."""
    schemas = CONTRACT["components"]["schemas"]
    names = [f"Migrate{what}Request" for what in ("Players", "Wallet", "Inventory")]
    assert {LARGEST} == {schemas[name]["properties"]["rows"]["maxItems"] for name in names}
    command = app.get_command(click.Context(app), "migrate")
    assert command is not None
    assert [LARGEST] == [each.default for each in command.params if each.name == "chunk_size"]


def test_rate_limit_headers_are_described() -> None:
    """Each operation describes four headers of a 429, and three of a success."""
    for operation in OPERATIONS.values():
        assert "429" in operation["responses"]
        for status, response in operation["responses"].items():
            headers = set(resolved(response).get("headers", {}))
            counted = {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}
            if status == "429":
                assert headers == counted | {"Retry-After"}
            elif status.startswith("2"):
                assert headers == counted
