"""`make bench-emulator`: what the emulator costs, as ratios of one run.

    python benchmarks/emulator_costs.py [--rows N]

Costs are the server's processor time: the clients run in a process of their own. Bare SQLite
is `executemany` of the same rows into the same empty tables, in transactions of 1,000 rows.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final
from unittest import mock

import attrs
from measure import ratio

from kraty_admin.emulator import DEFAULT_WORLD, Emulator
from kraty_admin.emulator._platform import Platform, Request
from kraty_admin.emulator._state import HoldingRow, LedgerRow, NewPlayer, State

KEY: Final = DEFAULT_WORLD.keys[0].token
CREDIT: Final = "/server/v1/players/alice/wallet/gold/credit"
IMPORT: Final = "/server/v1/migrate/wallet"
BATCH: Final = 1000
CALLS: Final = 1000
ROUNDS: Final = 15
NOW: Final = 1_780_920_000_000

numbers = count()
"""Numbers of keys and players, so that no call repeats another one."""


@attrs.frozen
class Target:
    """A ratio, and the most that it may be."""

    what: str
    measured: float
    at_most: float

    @property
    def holds(self) -> bool:
        return self.measured <= self.at_most


def request(path: str, body: Mapping[str, Any]) -> Request:
    return Request(
        method="POST",
        path=path.encode(),
        authorization=f"Bearer {KEY}",
        body=json.dumps(body, separators=(",", ":")).encode(),
    )


def credit_calls(calls: int) -> list[Request]:
    return [
        request(CREDIT, {"amount": 1, "reason": "iap", "idempotencyKey": f"k{next(numbers)}"})
        for _ in range(calls)
    ]


def import_calls(calls: int) -> list[Request]:
    return [request(IMPORT, {"rows": [_row() for _ in range(BATCH)]}) for _ in range(calls)]


def _row() -> dict[str, Any]:
    number = next(numbers)
    return {
        "externalPlayerId": f"p_{number}",
        "economyKey": "gold",
        "amount": 1500,
        "idempotencyKey": f"p_{number}:gold",
    }


def cpu(work: Callable[[], object]) -> float:
    """Return the processor time of some work in this process, in microseconds."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e6


def answer_all(platform: Platform, requests: list[Request]) -> None:
    for each in requests:
        answer = platform.answer(each)
        assert answer.status == 200, answer.body


# --- a credit, with and without sockets --------------------------------------------------


@contextmanager
def served(parser: str) -> Generator[tuple[Emulator, subprocess.Popen[str]]]:
    """Yield an emulator with this parser of HTTP, and a client in another process."""
    without = {"httptools": None, "uvicorn.protocols.http.httptools_impl": None}
    with mock.patch.dict(sys.modules, without if parser == "h11" else {}):
        emulator = Emulator()
        emulator.start()
    command = [sys.executable, __file__, "--client", emulator.base_url]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield emulator, client
    finally:
        client.communicate()
        emulator.close()


def over_http(client: subprocess.Popen[str]) -> float:
    """Return what a credit costs the server, in microseconds."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(f"{next(numbers)}\n")
    started = time.process_time()
    client.stdin.flush()
    assert client.stdout.readline() == "done\n"
    return (time.process_time() - started) * 1e6 / CALLS


def run_client(url: str) -> None:
    """Send prepared credits over one connection; the parent process counts the time."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock, sock.makefile("rb") as answers:
        for line in sys.stdin:
            heads = (
                f"POST {CREDIT} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {KEY}\r\n"
                "Accept: application/json\r\nContent-Type: application/json\r\n"
                f"User-Agent: bench\r\nContent-Length: {len(body)}\r\n\r\n{body}"
                for number in range(CALLS)
                for body in [
                    f'{{"amount":1,"reason":"iap","idempotencyKey":"h{line.strip()}:{number}"}}'
                ]
            )
            for raw in [head.encode() for head in heads]:
                sock.sendall(raw)
                _read_answer(answers)
            print("done", flush=True)


def _read_answer(answers: Any) -> None:
    assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
    length = 0
    while (header := answers.readline()) != b"\r\n":
        name, _, value = header.partition(b":")
        if name == b"content-length":
            length = int(value)
    answers.read(length)


def race_credits() -> Iterator[Target]:
    inside: list[float] = []
    times: dict[str, list[float]] = {"h11": [], "httptools": []}
    with (
        closing(State(":memory:")) as state,
        served("h11") as (_, h11),
        served("httptools") as (_, httptools),
    ):
        platform = Platform(state)
        answer_all(platform, credit_calls(CALLS))
        for _ in range(ROUNDS):
            requests = credit_calls(CALLS)
            inside.append(cpu(lambda: answer_all(platform, requests)) / CALLS)  # noqa: B023
            times["h11"].append(over_http(h11))
            times["httptools"].append(over_http(httptools))
    print(f"| a credit without sockets | {median(inside):.0f} us |")
    for parser, taken in times.items():
        print(f"| a credit over HTTP, {parser} | {median(taken):.0f} us |")
    fast = times["httptools"]
    yield Target("a credit over HTTP to the same without sockets", ratio(fast, inside), 3)
    yield Target("httptools to h11", ratio(fast, times["h11"]), 0.8)


# --- ledgers and imports, small and large ------------------------------------------------


def bare_rows() -> tuple[Sequence[tuple[Any, ...]], ...]:
    """Return the rows of a batch, as an import has them."""
    players: list[NewPlayer] = []
    holdings: list[HoldingRow] = []
    entries: list[LedgerRow] = []
    keys: list[tuple[str, str, str, str]] = []
    for _ in range(BATCH):
        number = next(numbers)
        player = f"ply_{NOW:012x}{number:020x}"
        key = f"b_{number}:gold"
        players.append(NewPlayer(player, "game_1", f"b_{number}", NOW, NOW, NOW))
        holdings.append(HoldingRow(player, "currency", "gold", 1500, "{}", NOW, NOW))
        entry = LedgerRow(
            game_id="game_1",
            player_id=player,
            kind="currency",
            key="gold",
            delta=1500,
            operation="migrate.wallet",
            reason=None,
            source_ref_id=None,
            idempotency_key=key,
            parameters=None,
            at=NOW,
        )
        entries.append(entry)
        keys.append(("game_1", "migrateWallet", key, f"{number:064x}"))
    return players, holdings, entries, keys


def bare(state: State, calls: int) -> float:
    """Return what a row costs SQLite alone, in microseconds."""
    db = state.database.connection
    batches = [bare_rows() for _ in range(calls)]

    def insert() -> None:
        for tables in batches:
            db.execute("BEGIN IMMEDIATE")
            for table, rows in zip(BARE, tables, strict=True):
                db.executemany(table, rows)
            db.execute("COMMIT")

    return cpu(insert) / calls / BATCH


def _insert(table: str, columns: tuple[str, ...]) -> str:
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608


BARE: Final = (
    _insert("players", NewPlayer._fields),
    _insert("holdings", HoldingRow._fields),
    _insert("ledger", LedgerRow._fields),
    _insert("migrated_rows", ("game_id", "operation", "idempotency_key", "fingerprint")),
)


def imported(state: State, calls: int) -> float:
    """Return what a row costs an import, in microseconds."""
    platform, requests = Platform(state), import_calls(calls)
    return cpu(lambda: answer_all(platform, requests)) / calls / BATCH


def ledger_of_one(state: State) -> float:
    """Return what one player's ledger costs, in microseconds; alice has twenty entries."""
    taken = [cpu(lambda: state.ledger.page("game_1", "alice", limit=BATCH)) for _ in range(50)]
    return median(taken)


def race_sizes(name: str, path: Path | None, rows: int, at_most: float) -> Iterator[Target]:
    """Compare costs in one database as it grows; in memory without a path."""

    def fresh() -> State:
        if path is None:
            return State(":memory:")
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        return State(str(path))

    calls, alone, ours = 10, list[float](), list[float]()
    for _ in range(5):
        with closing(fresh()) as state:
            alone.append(bare(state, calls))
        with closing(fresh()) as state:
            ours.append(imported(state, calls))
    with closing(fresh()) as state:
        answer_all(Platform(state), credit_calls(20))
        bare(state, 1)
        small = ledger_of_one(state)
        filled = [bare(state, calls) for _ in range(rows // BATCH // calls)]
        large = ledger_of_one(state)
        grown = median([imported(state, calls) for _ in range(5)])
    empty, sqlite = median(ours), median(alone)
    print(f"| a bare row, {name} | {sqlite:.1f} us; {median(filled[-5:]):.1f} us at {rows:,} |")
    print(f"| an imported row, {name} | {empty:.1f} us; {grown:.1f} us at {rows:,} |")
    print(f"| one player's ledger, {name} | {small:.0f} us; {large:.0f} us at {rows:,} |")
    yield Target(f"an imported row to a bare one, {name}", empty / sqlite, at_most)
    yield Target(f"an imported row at {rows:,} rows to one at none, {name}", grown / empty, 2)
    yield Target(f"one player's ledger at {rows:,} rows to that at 1,000, {name}", large / small, 2)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000, help="at least 10,000")
    parser.add_argument("--client")
    options = parser.parse_args()
    if options.client:
        run_client(options.client)
        return 0
    print("| cost | server's CPU |\n| --- | ---: |")
    targets = list(race_credits())
    targets += race_sizes("memory", None, options.rows, 4)
    with tempfile.TemporaryDirectory() as folder:
        targets += race_sizes("file", Path(folder) / "kraty.sqlite3", options.rows, 3)
    print("\n| ratio | measured | target | |\n| --- | ---: | ---: | --- |")
    for target in targets:
        mark = "" if target.holds else "missed"
        print(f"| {target.what} | {target.measured:.2f} | {target.at_most} | {mark} |")
    return 0 if all(target.holds for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
