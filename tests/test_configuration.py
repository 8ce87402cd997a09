"""docs/configuration.md lists the options of the code, with the same defaults."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Final

from kraty_admin import KratyAdmin, KratyAdminAsync, RetryConfig
from kraty_admin._settings import DEFAULT_BASE_URL, DEFAULT_DEADLINE, DEFAULT_TIMEOUT
from kraty_admin._transport._body import LIMIT
from kraty_admin._transport._own import CONNECTIONS
from kraty_server_api.operations.migration import migrate_wallet

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """Return the table below a heading: the cells of each row by the code in the first."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table: dict[str, list[str]] = {}
    for line in re.findall(r"^\| (`.+) \|$", section, re.M):
        cells = re.split(r"\s*\|\s*", line)
        for name in re.findall(r"`(\w+)`", cells[0]):
            table[name] = cells
    return table


def test_the_options_of_a_client() -> None:
    """Each option of both clients has a row, with its default and whether it can change."""
    table = rows("The client")
    options = inspect.signature(KratyAdmin).parameters

    assert list(options) == list(inspect.signature(KratyAdminAsync).parameters)
    assert list(options) == list(table)
    assert str(options["retry_budget"].default) == table["retry_budget"][1]
    assert (
        f"{DEFAULT_TIMEOUT:g}, and {migrate_wallet([]).timeout:g} for `migrate`"
        == (table["timeout"][1])
    )
    assert f"{DEFAULT_DEADLINE:g}" == table["deadline"][1]
    assert f"`{DEFAULT_BASE_URL}`" in table["base_url"][1]
    changeable = list(inspect.signature(KratyAdmin.with_options).parameters)[1:]
    assert changeable == [name for name, cells in table.items() if cells[3] == "yes"]


def test_the_fields_of_retries() -> None:
    """Each field of `RetryConfig` has a row with its default."""
    defaults = {field.name: str(field.default) for field in fields(RetryConfig)}

    assert defaults == {name: cells[1] for name, cells in rows("Retries").items()}


def test_the_fixed_limits() -> None:
    """The page names the limits of the code that cannot be set."""
    limits = f"at most {CONNECTIONS} connections, and a response has at most {LIMIT >> 20} MiB"

    assert limits in PAGE


def test_the_variables_of_the_environment() -> None:
    """The page has a row for each variable that the code reads, and no other."""
    # Not the variable that the example of a profile names.
    named = r'(?<!key_env = )"(KRATY_[A-Z_]+|XDG_[A-Z_]+|NO_COLOR|SSL_CERT_[A-Z]+)"'
    read = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(named, path.read_text(encoding="utf-8"))
    }
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}  # read by urllib

    assert read | proxies == set(rows("The environment"))
