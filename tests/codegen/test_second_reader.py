"""Our build step and openapi-python-client read the contract alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from contract import OPERATIONS
from views import PackageView, package_view

pytest.importorskip("openapi_python_client", reason="openapi-python-client needs Python 3.11")

from openapi_python_client.config import Config, ConfigFile, MetaType
from openapi_python_client.parser import GeneratorData
from openapi_python_client.parser.openapi import Endpoint
from openapi_python_client.parser.properties import ModelProperty
from openapi_python_client.parser.properties.protocol import PropertyProtocol

ROOT: Final = Path(__file__).resolve().parents[2]
CONTRACT: Final = ROOT / "openapi.server.json"

Fields = dict[str, bool]
"""The fields of an object by their names, and whether each is required."""


@pytest.fixture(scope="module")
def theirs() -> GeneratorData:
    """Return the contract as openapi-python-client reads it."""
    config = Config.from_sources(
        ConfigFile(literal_enums=True), MetaType("none"), CONTRACT, "utf-8", True, None
    )
    data = GeneratorData.from_dict(json.loads(CONTRACT.read_bytes()), config=config)
    assert isinstance(data, GeneratorData)
    return data


@pytest.fixture(scope="module")
def ours() -> PackageView:
    """Return the contract as the build step reads it."""
    surface: Any = YAML(typ="safe", pure=True).load(ROOT / "codegen" / "surface.yaml")  # pyright: ignore[reportUnknownMemberType]  # ruamel leaves its stream untyped
    return package_view(json.loads(CONTRACT.read_bytes()), surface)


def fields(properties: Sequence[PropertyProtocol] | None) -> Fields:
    """Return the names of properties, each with whether it is required."""
    return {each.name.get_untrusted_value(): each.required for each in properties or []}


def body(endpoint: Endpoint) -> Fields | None:
    """Return the fields of a request's body; `None` if it has none."""
    if not endpoint.bodies:
        return None
    prop = endpoint.bodies[0].prop
    assert isinstance(prop, ModelProperty)
    return fields(prop.required_properties) | fields(prop.optional_properties)


def test_requests(theirs: GeneratorData, ours: PackageView) -> None:
    """Both readers find the same method, parameters and body fields for each operation."""
    expected = {
        (endpoint.method.upper(), str(endpoint.name)): (
            set(fields(endpoint.path_parameters)),
            set(fields(endpoint.query_parameters)),
            None if (found := body(endpoint)) is None else set(found),
        )
        for collection in theirs.endpoint_collections_by_tag.values()
        for endpoint in collection.endpoints
    }
    # Path parameters are the arguments that neither the query nor the body takes.
    actual = {
        (view.http_method, view.function): (
            {json.loads(each.wire) for each in view.arguments}
            - {json.loads(each.wire) for each in [*view.query, *(view.body or [])]},
            {json.loads(each.wire) for each in view.query},
            None if view.body is None else {json.loads(each.wire) for each in view.body},
        )
        for view in ours.operations
    }

    assert len(OPERATIONS) == len(expected)
    assert expected == actual


def test_results(theirs: GeneratorData, ours: PackageView) -> None:
    """Both readers find the same fields for each model of a result."""
    known = {
        str(model.class_info.name): set(fields(model.required_properties))
        | set(fields(model.optional_properties))
        for model in theirs.models
    }
    models = {view.name: {json.loads(field.wire) for field in view.fields} for view in ours.models}

    assert len(models) > 20
    assert {name: known[name] for name in models} == models


def test_enums(theirs: GeneratorData, ours: PackageView) -> None:
    """Both readers find the same values for each enumeration."""
    known = {
        str(enum.class_info.name): {str(value) for value in enum.values} for enum in theirs.enums
    }
    enums = {view.name: {json.loads(value) for value in view.values} for view in ours.enums}

    assert enums
    assert {name: known[name] for name in enums} == enums
