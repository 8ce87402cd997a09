"""Imports: how fast, how much memory, and whether kills leave the ledger as it should be.

python -m proofs.imports [WORD ...]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from kraty_admin import KratyAdmin

from .figures import Figure
from .local import Local, local

__all__ = ["PROOFS", "cluster", "cost", "flat", "kills", "speed", "volume"]

T = TypeVar("T")

_TESTS: Final = Path(__file__).resolve().parent.parent
_PATIENCE: Final = 900.0
"""Seconds until something is taken to hang."""

KINDS: Final = ("players", "wallet", "inventory")
_HEADERS: Final = {
    "players": "externalPlayerId",
    "wallet": "externalPlayerId,economyKey,amount",
    "inventory": "externalPlayerId,itemKey,quantity",
}
_UNKNOWN: Final = 997
"""Every so manyth balance is of a currency that the game does not have."""


def chunked(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of this number of rows."""
    rest = iter(rows)
    while chunk := list(islice(rest, size)):
        yield chunk


def speed(folder: Path, *, chunks: int, latency: float, in_flight: int = 4) -> list[Figure]:
    """Compare an import with a plain loop over chunks, where each request takes its time."""
    size = 10
    with local(folder) as kraty, KratyAdmin(**kraty.options) as client:
        delay = {"kind": "delay", "seconds": latency}
        kraty.control("faults", {"faults": [delay], "times": None})
        took: list[float] = []
        for turn in ("loop", "import"):
            rows = [
                {"externalPlayerId": f"{turn}_{number}", "idempotencyKey": f"{turn}_{number}"}
                for number in range(chunks * size)
            ]
            started = time.monotonic()
            if turn == "loop":
                for chunk in chunked(rows, size):
                    outcome = client.migrate.players(chunk)
                    assert outcome.failed == 0
            else:
                report = client.migrate.import_players(rows, chunk_size=size, in_flight=in_flight)
                assert (report.applied, report.chunks) == (len(rows), chunks)
            took.append(time.monotonic() - started)
    return [
        Figure("chunks", chunks, chunks),
        Figure("seconds of latency added to each request", latency),
        Figure("chunks in flight", in_flight),
        Figure("seconds of the loop", took[0]),
        Figure("seconds of the import", took[1]),
        Figure("times faster", took[0] / took[1]),
        Figure(
            "what the loop takes, of what it might", took[1] * in_flight / took[0], at_most=1 / 0.9
        ),
    ]


def volume(folder: Path, *, sizes: Iterable[int]) -> list[Figure]:
    """Measure imports of players, balances and items: rows per second, and memory."""
    figures: list[Figure] = []
    for size in sizes:
        there = folder / str(size)
        there.mkdir()
        with local(there) as kraty:
            for kind in KINDS:
                source = there / f"{kind}.csv"
                _write(source, kind, size, unknown=0)
                printed = _run(kraty, source, there, kind, 1000)
                more = (printed["peak_kb"] - printed["idle_kb"]) / 1024
                figures += [
                    Figure(f"{kind} of {size:,} applied", printed["applied"], size),
                    Figure(f"{kind} of {size:,}, rows per second", printed["rows_per_second"]),
                    Figure(f"{kind} of {size:,}, MiB above an idle client", more, at_most=40.0),
                ]
    return figures


def kills(folder: Path, *, kills: int, rows: int) -> list[Figure]:
    """Kill the command at random moments, resume it each time, and look at the ledger."""
    random = Random(11)
    source = folder / "wallet.csv"
    _write(source, "wallet", rows, unknown=_UNKNOWN)
    killed = 0
    with local(folder) as kraty:
        while killed < kills:
            with _command(kraty, source) as importing:
                assert importing.stderr is not None
                # Its first line of progress.
                assert "rows/s" in importing.stderr.readline()
                try:
                    importing.wait(random.uniform(0.0, 0.3))
                except subprocess.TimeoutExpired:
                    killed += 1
                importing.kill()
            if importing.returncode >= 0:
                break  # it has ended: nothing is left to be killed
        with _command(kraty, source) as importing:
            output, _ = importing.communicate(timeout=_PATIENCE)
        printed = json.loads(output)
        file = source.with_name("wallet.csv.wallet.failures.jsonl")
        failures = file.read_text(encoding="utf-8").splitlines()
        failed = Counter(json.loads(line)["number"] for line in failures)
        posted = Counter(
            (player, what, delta)
            for posts in kraty.ledger().values()
            for player, what, delta in posts
        )
    unknown = [number for number in range(rows) if number % _UNKNOWN == _UNKNOWN - 1]
    expected = Counter(
        (f"player_{number}", "gold", number % 1000 + 1)
        for number in range(rows)
        if number % _UNKNOWN != _UNKNOWN - 1
    )
    return [
        Figure("imports killed", killed, kills),
        Figure("exit status at the end: some rows failed", importing.returncode, 6),
        Figure("rows", printed["rows"], rows),
        Figure(
            "rows reported as applied or skipped",
            printed["applied"] + printed["skipped"],
            rows - len(unknown),
        ),
        Figure(
            "gold reported as imported",
            printed["totals"]["gold"]["imported"],
            sum(delta for _, _, delta in expected),
        ),
        Figure("rows reported as failed", printed["failed"], len(unknown)),
        Figure("rows in the file of failures", len(failures), len(unknown)),
        # The header is line 1.
        Figure(
            "of them, the right ones", len(failed & Counter(n + 2 for n in unknown)), len(unknown)
        ),
        Figure("postings in the ledger", sum(posted.values()), rows - len(unknown)),
        Figure("missing", sum((expected - posted).values()), 0),
        Figure("double or unknown", sum((posted - expected).values()), 0),
    ]


def cluster(folder: Path) -> list[Figure]:
    """Import on two workers of dask, one of which is killed in the middle of a file."""
    if find_spec("distributed") is None:
        return [Figure("SKIPPED: dask is not installed", 0)]
    program = _TESTS / "bulk" / "programs" / "dataset.py"
    command = [sys.executable, str(program), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
    printed: dict[str, Any] = json.loads(done.stdout)
    report = printed["report"]
    return [
        Figure("workers killed", int(printed["killed"]), 1),
        Figure("rows", report["rows"], 1200),
        Figure("rows that had been applied by the one that was killed", report["skipped"]),
        Figure("rows that failed", report["failed"], 0),
        Figure("the ledger is exact", str(printed["exact"]), "True"),
    ]


def _write(path: Path, kind: str, rows: int, *, unknown: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(_HEADERS[kind] + "\n")
        for number in range(rows):
            if kind == "players":
                file.write(f"player_{number}\n")
            elif kind == "wallet":
                odd = unknown and number % unknown == unknown - 1
                file.write(f"player_{number},{'silver' if odd else 'gold'},{number % 1000 + 1}\n")
            else:
                file.write(f"player_{number},health_potion,{number % 5 + 1}\n")


def _start(
    kraty: Local, source: Path, folder: Path, kind: str, chunk_size: int
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "proofs.programs.importing"]
    command += [str(source), str(folder), kind, str(chunk_size)]
    environment = {
        **os.environ,
        "KRATY_BASE_URL": kraty.base_url,
        "KRATY_SERVER_KEY": kraty.api_key,
    }
    return subprocess.Popen(command, cwd=_TESTS, env=environment, stdout=subprocess.PIPE, text=True)


def _command(kraty: Local, source: Path) -> subprocess.Popen[str]:
    """Start the command; it resumes if it was started before."""
    program = "import sys; from kraty_admin.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "migrate", "wallet", source.name]
    command += ["--chunk-size", "50", "--json", "--yes"]
    if source.with_name(f"{source.name}.wallet.journal").exists():
        command.append("--resume")
    environment = {
        **os.environ,
        "KRATY_BASE_URL": kraty.base_url,
        "KRATY_SERVER_KEY": kraty.api_key,
    }
    return subprocess.Popen(
        command,
        cwd=source.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def cost(folder: Path, *, sizes: Mapping[int, float], turns: int = 3) -> list[Figure]:
    """Compare the client's CPU time for balances with the least that an importer has to do.

    Both run against a server that answers at once. The quickest run of each counts.

    Args:
        folder: Where to keep files.
        sizes: How many rows, and how many times the least an import may take.
        turns: How often each runs.
    """
    figures: list[Figure] = []
    for size, at_most in sizes.items():
        source = folder / f"{size}.csv"
        _write(source, "wallet", size, unknown=0)
        least = [_alone("floor", source, folder) for _ in range(turns)]
        imports = [_alone("import", source, folder) for _ in range(turns)]
        complete = sum(each["applied"] == size for each in imports)
        floor = min(each["seconds"] for each in least)
        took = min(each["seconds"] for each in imports)
        figures += [
            Figure("imports whose rows were all applied", complete, turns),
            Figure(f"{size:,} rows, microseconds of CPU a row: the least", floor / size * 1e6),
            Figure(f"{size:,} rows, microseconds of CPU a row: an import", took / size * 1e6),
            Figure(f"{size:,} rows, rows per second of CPU", round(size / took)),
            Figure(f"{size:,} rows, times the least", took / floor, at_most=at_most),
        ]
    return figures


def flat(folder: Path, *, sizes: Iterable[int]) -> list[Figure]:
    """Measure the memory of imports of different lengths, against the same server."""
    figures: list[Figure] = []
    for size in sizes:
        source = folder / f"{size}.csv"
        _write(source, "wallet", size, unknown=0)
        done = _alone("import", source, folder)
        source.unlink()
        figures += [
            Figure(f"{size:,} rows: applied", int(done["applied"]), size),
            Figure(f"{size:,} rows: MiB above an idle client", done["mib"], at_most=40.0),
            Figure(f"{size:,} rows: microseconds of CPU a row", done["seconds"] / size * 1e6),
        ]
    return figures


def _alone(what: str, source: Path, folder: Path) -> dict[str, float]:
    """Run the program that imports into a server that answers at once."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "proofs.programs.import_cost", what, str(source), scratch]
        done = subprocess.run(
            command, cwd=_TESTS, capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _run(kraty: Local, source: Path, folder: Path, kind: str, chunk_size: int) -> dict[str, Any]:
    """Import to the end; return what the command printed."""
    with _start(kraty, source, folder, kind, chunk_size) as importing:
        output, _ = importing.communicate(timeout=_PATIENCE)
    printed: dict[str, Any] = json.loads(output.splitlines()[-1])
    return printed


PROOFS: Final[Mapping[str, Callable[[Path], list[Figure]]]] = {
    "An import next to a loop": partial(speed, chunks=200, latency=0.1),
    "An import killed and resumed": partial(kills, kills=50, rows=100_000),
    "An import on two workers of dask, one killed": cluster,
    "CPU of an import next to the least that it has to do": partial(
        cost, sizes={300_000: 3.5, 1_000_000: 4.0}
    ),
    "Memory of the client alone": partial(flat, sizes=(1_000_000, 10_000_000)),
    "Millions of rows": partial(volume, sizes=(100_000, 1_000_000)),
}

if __name__ == "__main__":
    from .__main__ import main

    sys.exit(main(sys.argv[1:], PROOFS))
