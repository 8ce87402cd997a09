"""A warmed client that is forked: no crossed answer, and a ledger that is exact.

By hand beside busy threads, by gunicorn that loads the app before it forks, and by
Celery's prefork pool, where tasks are sent twice and workers die after they have bought.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import islice
from pathlib import Path
from typing import Final

import attrs

from .figures import Figure
from .local import Local, local
from .programs.shop import STEPS, Posting, Tally, purchases

__all__ = ["celery", "forked", "gunicorn", "prove"]

_PATIENCE: Final = 60.0
"""Seconds until something is taken to hang."""

_GRACE: Final = 15.0
"""Seconds that a program gets to end."""

_TESTS: Final = Path(__file__).resolve().parent.parent

_CHILDREN: Final = 8
_THREADS: Final = 4
_WORKERS: Final = 4
_BUYERS: Final = 8
"""Who buys at a time at gunicorn; more than there are workers."""


def prove(folder: Path, *, calls: int, requests: int, jobs: int) -> list[Figure]:
    """Run the three proofs, in folders below this one."""
    return [
        *forked(folder / "fork", calls=calls),
        *gunicorn(folder / "gunicorn", requests=requests),
        *celery(folder / "celery", jobs=jobs),
    ]


def forked(folder: Path, *, calls: int) -> list[Figure]:
    """Fork 8 children beside 4 busy threads; each of the 12 makes so many calls or more."""
    with _kraty(folder) as kraty:
        command = [sys.executable, "-m", "proofs.programs.forking"]
        ended = subprocess.run(
            [*command, str(_CHILDREN), str(_THREADS), str(calls)],
            cwd=_TESTS,
            env=_environment(kraty),
            capture_output=True,
            text=True,
            timeout=3 * _PATIENCE,
            check=False,
        )
        if ended.returncode:
            raise RuntimeError(f"the forking program failed: {ended.stderr[-2000:]}")
        tallies = [Tally(**tally) for tally in json.loads(ended.stdout)]
        threads, children = tallies[:_THREADS], tallies[_THREADS:]
        # The threads go on until the last child is done; only they know how far they came.
        bought = {tally.player: tally.made for tally in threads}
        bought |= {_THREADS + number: calls for number in range(_CHILDREN)}
        return _named(
            "fork",
            Figure("processes", len({tally.process for tally in tallies}), 1 + _CHILDREN),
            Figure("calls of the threads, meanwhile", sum(tally.fresh for tally in threads)),
            Figure(
                "calls of the children that took effect",
                sum(tally.fresh for tally in children),
                _CHILDREN * calls,
            ),
            *_answers(tallies),
            *_ledger(kraty, bought),
        )


def gunicorn(folder: Path, *, requests: int) -> list[Figure]:
    """Serve with 4 workers of a preloaded app; each of 8 buyers sends so many requests."""
    with _kraty(folder) as kraty, socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port: int = listener.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "--preload", "--no-control-socket"]
        command += ["--workers", str(_WORKERS), "--bind", f"fd://{listener.fileno()}"]
        command += ["--timeout", "120", "proofs.programs.web:app"]
        with _running(folder, command, _environment(kraty), listener.fileno()):
            listener.close()  # so that no call waits for a server that has ended
            with ThreadPoolExecutor(_BUYERS) as threads:
                buyers = [threads.submit(_buy, port, n, requests) for n in range(_BUYERS)]
                tallies = [tally for buyer in buyers for tally in buyer.result()]
        return _named(
            "gunicorn",
            Figure("workers that served", len({tally.process for tally in tallies}), _WORKERS),
            Figure(
                "calls that took effect",
                sum(tally.fresh for tally in tallies),
                _BUYERS * requests,
            ),
            *_answers(tallies),
            *_ledger(kraty, dict.fromkeys(range(_BUYERS), requests)),
        )


def celery(folder: Path, *, jobs: int) -> list[Figure]:
    """Run so many tasks in 4 prefork workers.

    The first of them meet, so that all workers are at it. Of the others every third is
    sent twice, and at every fifth its worker dies when it has bought, so it runs again.
    """
    twice = [job for job in range(_WORKERS, jobs) if job % 3 == 0]
    dying = [job for job in range(_WORKERS, jobs) if job % 3 and job % 5 == 0]
    orders = [(job, "meet" if job < _WORKERS else "") for job in range(jobs) if job not in dying]
    orders += [(job, "") for job in twice] + [(job, "die") for job in dying]
    reader, writer = os.pipe()
    with _kraty(folder) as kraty:
        environment = _environment(kraty)
        environment |= {"PROOF_ORDERS": json.dumps(orders), "PROOF_REPORTS": str(writer)}
        command = [sys.executable, "-m", "celery", "--app", "proofs.programs.tasks", "worker"]
        command += ["--pool", "prefork", "--concurrency", str(_WORKERS), "--loglevel", "INFO"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        with _running(folder, command, environment, writer):
            os.close(writer)  # so that no read waits for a worker that has ended
            tallies = [Tally(**json.loads(line)) for line in _lines(reader, len(orders))]
        os.close(reader)
        met = {tally.process for tally in tallies if tally.player < _WORKERS}
        again = len(twice) + len(dying)
        return _named(
            "Celery",
            Figure("workers at once", len(met), _WORKERS),
            Figure(
                "tasks run again, their worker killed after it had bought",
                sum(tally.replayed == len(STEPS) for tally in tallies if tally.player in dying),
                len(dying),
            ),
            Figure("runs that came to their end", len(tallies), len(orders)),
            # Those of a worker that died took effect too, but were not reported.
            Figure(
                "calls reported as having taken effect",
                sum(tally.fresh for tally in tallies),
                (jobs - len(dying)) * len(STEPS),
            ),
            Figure(
                "calls reported as repeats",
                sum(tally.replayed for tally in tallies),
                again * len(STEPS),
            ),
            *_answers(tallies),
            *_ledger(kraty, dict.fromkeys(range(jobs), len(STEPS))),
        )


def _buy(port: int, player: int, requests: int) -> list[Tally]:
    """Send what this player buys, one after the other; a tally for each answer."""
    tallies: list[Tally] = []
    for number, purchase in enumerate(islice(purchases(player), requests)):
        meet = "?meet" if number == 0 and player < _WORKERS else ""
        try:
            with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
                connection.request("POST", f"/{player}/{number}{meet}")
                answer = connection.getresponse()
                status, body = answer.status, answer.read()
        except (OSError, HTTPException) as error:
            status, body = 0, repr(error).encode()
        if status != 200:
            trouble = f"{purchase.reference}: {status} {body[:200]!r}"
            return [*tallies, Tally(trouble=trouble)]
        report = json.loads(body)
        tally = Tally(process=report["process"], player=player)
        tally.add(
            purchase, report["answer"], replayed=report["replayed"], attempts=report["attempts"]
        )
        tallies.append(tally)
    return tallies


def _lines(reader: int, count: int) -> list[bytes]:
    """Return `count` lines, or those that arrived before the writers hung or ended."""
    data = b""
    while data.count(b"\n") < count:
        ready, _, _ = select.select([reader], [], [], _PATIENCE)
        chunk = os.read(reader, 65_536) if ready else b""
        if not chunk:
            break
        data += chunk
    return data.splitlines()


def _answers(tallies: Sequence[Tally]) -> list[Figure]:
    trouble = [tally.trouble for tally in tallies if tally.trouble]
    return [
        Figure("answers that were another call's", sum(tally.crossed for tally in tallies), 0),
        Figure("calls that took a second attempt", sum(tally.retried for tally in tallies), 0),
        Figure("trouble", trouble[0] if trouble else "none", "none"),
    ]


def _ledger(kraty: Local, bought: Mapping[int, int]) -> list[Figure]:
    """Return what the ledger says, and what it has to say, given how much each player bought."""
    owed: dict[str, Sequence[Posting]] = {
        purchase.key: purchase.postings
        for player, calls in bought.items()
        for purchase in islice(purchases(player), calls)
    }
    found = kraty.ledger()
    return [
        Figure("receipts", len(owed)),
        Figure("receipts missing", len(owed.keys() - found.keys()), 0),
        Figure(
            "receipts posted twice or otherwise",
            sum(owed.get(key) != postings for key, postings in found.items()),
            0,
        ),
        Figure("sum of the ledger", _sum(found.values()), _sum(owed.values())),
    ]


def _sum(receipts: Iterable[Sequence[Posting]]) -> int:
    return sum(delta for postings in receipts for _, _, delta in postings)


def _named(part: str, *figures: Figure) -> list[Figure]:
    return [attrs.evolve(figure, what=f"{part}: {figure.what}") for figure in figures]


@contextmanager
def _kraty(folder: Path) -> Generator[Local, None, None]:
    folder.mkdir(parents=True, exist_ok=True)
    with local(folder) as kraty:
        yield kraty


def _environment(kraty: Local) -> dict[str, str]:
    return {
        **os.environ,
        "KRATY_BASE_URL": kraty.base_url,
        "KRATY_SERVER_KEY": kraty.api_key,
        "PROOF_WORKERS": str(_WORKERS),
    }


@contextmanager
def _running(
    folder: Path, command: Sequence[str], environment: Mapping[str, str], inherited: int
) -> Generator[None, None, None]:
    """Run a program that inherits a file, with its workers, and have it end."""
    with (folder / "program.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=_TESTS,
            env=environment,
            pass_fds=[inherited],
            start_new_session=True,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            # With its workers, which would not notice. How others shut down is not our proof.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
