"""What a person sees on a terminal of three widths: `golden/` has files that a person has read.

After an intended change, run `python -m cli.test_screens` in `tests/`, and read the files again.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import tempfile
import termios
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import pytest

from kraty_admin.cli._output import _table as table  # pyright: ignore[reportPrivateUsage]
from kraty_admin.cli._output import pick, tab_lines, to_json
from kraty_admin.cli._player_profile import _local as local  # pyright: ignore[reportPrivateUsage]
from kraty_admin.cli._player_profile import contents_of, profile_view
from kraty_admin.emulator import Emulator

from .forks import Forks, read_all

GOLDEN: Final = Path(__file__).parent / "golden"
WIDTHS: Final = (80, 100, 160)


def screen(forks: Forks, arguments: list[str], width: int, environment: Mapping[str, str]) -> str:
    """Return what a command shows on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    variables = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "TZ": "CET-1CEST,M3.5.0,M10.5.0/3"}
    for name in ("COLUMNS", "LINES", "FORCE_COLOR"):
        variables.pop(name, None)
    forks.start(arguments, [theirs] * 3, {**variables, **environment})
    said = read_all(ours).decode().replace("\r\n", "\n")
    assert 0 == forks.wait()
    return said


def screens(forks: Forks) -> dict[str, str]:
    """Return the profile of a player with every kind of content at each width, by the name of its
    file."""
    with Emulator(seed=7) as kraty, tempfile.TemporaryDirectory() as cache:
        kraty.clock.set(datetime(2026, 6, 8, 12, tzinfo=timezone.utc))
        client = kraty.client()
        client.wallet.credit("player_42", "gold", amount=1_250_500)
        client.wallet.credit("player_42", "gems", amount=20)
        client.inventory.grant("player_42", "health_potion", quantity=3)
        client.grants.create(
            "player_42",
            idempotency_key="r1",
            source_ref_id="apple_receipt_abc",
            entries=[
                {"type": "currency", "currencyKey": "gold", "amount": 500},
                {"type": "item", "itemKey": "starter_chest", "quantity": 1},
                {"type": "crate", "crateItemKey": "legendary_box", "quantity": 2},
            ],
        )
        kraty.clock.advance(3600)
        grant = client.grants.create(
            "player_42",
            idempotency_key="r2",
            entries=[{"type": "currency", "currencyKey": "gems", "amount": 5}],
            source_kind="admin",
        )
        client.grants.ack("player_42", grant.id)
        kraty.game_client.start_attempt("player_42", "quick_brawl")
        variables = {
            "KRATY_BASE_URL": kraty.base_url,
            "KRATY_SERVER_KEY": kraty.api_key,
            "XDG_CACHE_HOME": cache,
        }
        return {
            f"players_get_{width}.txt": screen(
                forks, ["players", "get", "player_42"], width, variables
            )
            for width in WIDTHS
        }


def test_a_profile_at_three_widths(forks: Forks) -> None:
    """Each screen equals the file that a person has read, and fits the terminal."""
    for name, shown in screens(forks).items():
        width = int(name.partition(".")[0].rpartition("_")[2])
        assert max(map(len, shown.splitlines())) <= width
        assert (GOLDEN / name).read_text(encoding="utf-8") == shown, name


def test_a_profile_for_a_pipe() -> None:
    """In a pipe, texts are not shortened or padded, and numbers and times are exact."""
    profile = {
        "player": {"externalPlayerId": "a\tb\n", "createdAt": "2026-06-08T12:00:00.000Z"},
        "wallet": [{"economyKey": "gold", "balance": 1_250_500}],
        "recentGrants": [{"id": "grt_1", "contents": None, "createdAt": "2026-01-01"}],
    }

    assert [
        "player\ta\\tb\\n\n",
        "created\t2026-06-08T12:00:00.000Z\n",
        "balances\tgold\t1250500\n",
        "grants\t2026-01-01\t\t\t\t\tgrt_1\n",
    ] == list(tab_lines(profile_view(profile, None)))


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        pytest.param({"entries": []}, "", id="nothing"),
        pytest.param({"entries": [{"type": "new"}]}, "?", id="new kind"),
        pytest.param({"entries": [{"itemKey": "box", "quantity": "x"}]}, "box", id="no number"),
        pytest.param("text", "", id="no object"),
    ],
)
def test_contents_that_are_unknown(contents: object, expected: str) -> None:
    """A grant with unknown contents is shown as far as it can be understood."""
    assert expected == contents_of(contents)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(["a"], 1, id="one field"),
        pytest.param(["a", "b.c"], {"a": 1, "b.c": [2, 3]}, id="a path through a list"),
        pytest.param(["x", "a.y"], {"x": None, "a.y": None}, id="not there"),
    ],
)
def test_fields(fields: list[str], expected: object) -> None:
    """One field is printed alone, several as an object; a missing one is null."""
    assert expected == pick({"a": 1, "b": [{"c": 2}, {"c": 3}]}, fields)


def test_a_list_of_plain_values_for_programs() -> None:
    """In a pipe, each value of a plain list is one line."""
    assert ["a\n", "2\n"] == list(tab_lines(["a", 2]))


def test_a_table_of_objects_within_objects() -> None:
    """Each object has a table with its path as the title; a plain value stands alone."""
    value: object = {"a": 1, "b": {"c": {"d": 2, "e": {}}, "f": []}}
    lines = [line.split() for line in table(value, None).splitlines()]
    assert [["a", "1"], [], ["b.c"], ["d", "2"], ["e", "{}"]] == lines[:5]
    assert ["b.f:", "none"] == lines[-1]
    assert "5\n" == table(5, None)


def test_half_of_an_emoji_is_escaped() -> None:
    """A lone surrogate, which UTF-8 cannot hold, is printed as an escape of JSON."""
    assert b'{"a":"\xc3\xab"}' == to_json({"a": "\xeb"}).replace(b" ", b"")
    assert {"a": "\ud83d"} == json.loads(to_json({"a": "\ud83d"}))


def test_a_time_that_is_none_stays_as_it_is() -> None:
    """A profile shows a text that is no time as the platform sent it."""
    profile = {"player": {"externalPlayerId": "p", "createdAt": "yesterday"}}
    assert "created\tyesterday\n" in list(tab_lines(profile_view(profile, None)))
    assert "yesterday" == local(profile["player"]["createdAt"])


def main() -> None:
    """Write the files."""
    with closing(Forks()) as forks:
        found = screens(forks)
    for name, shown in found.items():
        (GOLDEN / name).write_text(shown, encoding="utf-8")


if __name__ == "__main__":
    main()
