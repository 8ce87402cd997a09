"""The container's files and the command line agree. No container engine is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from kraty_admin import KratyAdmin
from kraty_admin._settings import EMULATOR_KEYS
from kraty_admin.cli._emulator import emulator
from kraty_admin.emulator import DEFAULT_WORLD, Emulator

FOLDER = Path(__file__).parent.parent.parent / "examples" / "docker"


def instruction(name: str) -> list[str]:
    """Return the arguments of an instruction of the Dockerfile, which is written as JSON."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    (found,) = re.findall(rf"^{name} (\[.*\])$", text, re.MULTILINE)
    arguments: list[str] = json.loads(found)
    return arguments


def options() -> dict[str, Any]:
    """Return the options of the container's command, as the command line parses them."""
    command, subcommand, *arguments = [*instruction("ENTRYPOINT"), *instruction("CMD")]
    assert ("kraty-admin", "emulator") == (command, subcommand)
    return emulator.make_context("emulator", arguments).params


def compose() -> dict[str, Any]:
    """Return the services of the compose file."""
    services: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return services


def test_the_container_is_reached_by_its_name() -> None:
    """The shop's URL, the allowed host and the ports agree."""
    shop: dict[str, str] = compose()["shop"]["environment"]
    given = options()
    url = urlsplit(shop["KRATY_BASE_URL"])
    assert url.hostname in given["allow_hosts"]
    assert url.hostname in compose()
    assert url.port == given["port"]
    assert [f"127.0.0.1:{url.port}:{url.port}"] == compose()["kraty"]["ports"]
    with KratyAdmin(api_key=shop["KRATY_SERVER_KEY"], base_url=shop["KRATY_BASE_URL"]) as client:
        assert shop["KRATY_BASE_URL"] == client.base_url


def test_its_flags_start_an_emulator() -> None:
    """The container's options start an emulator on all interfaces, which needs `expose_control`."""
    given = options()
    host, allowed = given["host"], given["allow_hosts"]
    exposed = Emulator(host=host, expose_control=given["expose_control"], allow_hosts=allowed)
    with exposed as kraty, kraty.client() as client:
        assert client.health.ping().ok
        assert "http://127.0.0.1:" == kraty.base_url[:17]
    with pytest.raises(ValueError, match="expose_control"):
        Emulator(host=host, allow_hosts=allowed)


def test_its_health_is_asked_at_its_port() -> None:
    """The health check requests the emulator's own page at the container's port."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert f"http://127.0.0.1:{options()['port']}/_emulator/ready" in text


def test_the_published_keys_are_those_of_the_default_world() -> None:
    """The keys that the SDK sends to any host over `http://` are those of the default world."""
    assert EMULATOR_KEYS == {key.token for key in DEFAULT_WORLD.keys}
