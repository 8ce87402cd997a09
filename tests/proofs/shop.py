"""A shop with an outbox: whatever is killed, each committed purchase is paid out once.

The shop, its two workers and the platform are killed at random moments while three in ten calls
fail. The platform does not answer for 48 hours, then the workers are away for 25 hours, and all
receipts come again after each. The clocks of the database and of the platform are set ahead; no
time passes. The ledger in the platform's file is the judge.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from datetime import timedelta
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Final

import attrs
import sqlalchemy as sa
from sqlalchemy.orm import Session

from kraty_admin import KratyAdmin, outbox
from postgres import MISSING, postgres

from .chaos import audit
from .figures import Figure
from .local import Local
from .programs.ahead import Ahead
from .programs.selling import SLOTS, Base, Sale, connect, play, wanted
from .programs.shop import Posting, Purchase

__all__ = ["prove_order", "prove_postgresql", "prove_sqlite"]

_PATIENCE: Final = 120.0
"""Seconds until something is taken to hang."""

_CONTEXT: Final = get_context("forkserver")
# The processes are forked from one that has imported all this already: most of a start is that.
_CONTEXT.set_forkserver_preload(["proofs.__main__", "proofs.programs.selling"])

_WORKERS: Final = ("worker 1", "worker 2")
_VICTIMS: Final = ("shop", "platform", *_WORKERS)

_RATE: Final = 0.3
_SECONDS: Final = 0.02
"""How long a stall or a delay lasts."""

_HOUR: Final = 3600.0

_REPEATS: Final = timedelta(hours=23)
"""For how long after its first send the outbox repeats a call whose key is forgotten."""


class Platform(Local):
    """An emulator whose clock is ahead of the machine's from its first answer on."""

    program: ClassVar[str] = "proofs.programs.emulating"

    def __init__(self, folder: Path) -> None:
        (folder / "chaos.json").write_text('{"rate": 0}')
        super().__init__(folder, str(folder))

    def start(self) -> None:
        """Start the emulator, with the clock and the faults of the files."""
        super().start()
        self.answers = True

    def kill(self) -> None:
        """End the emulator at once."""
        super().kill()
        self.answers = False

    def freeze(self) -> None:
        """Stop answering, while connections are still accepted."""
        self._process.send_signal(signal.SIGSTOP)
        self.answers = False


@attrs.frozen
class _Running:
    """A process, and the pipe on which it says that it has begun."""

    process: ForkServerProcess
    begun: Connection

    def wait_until_begun(self) -> None:
        """Return once it works."""
        if not self.begun.poll(_PATIENCE):
            raise TimeoutError("a process does not begin")


class Scene:
    """The processes, their clocks and the studio's database."""

    def __init__(self, folder: Path, url: str) -> None:
        self.killed: Counter[str] = Counter()
        self._folder = folder
        self._url = url
        self._random = Random(12)
        self._running: dict[str, _Running] = {}
        self.clock = Ahead(folder)
        self.clock.set(0)
        self.engine = connect(url)
        self.platform = Platform(folder)

    def prepare(self) -> None:
        """Create the tables."""
        Base.metadata.create_all(self.engine)
        with KratyAdmin(**self.platform.options) as kraty:
            outbox.set_up(self.engine, kraty)

    def start(self, name: str) -> None:
        """Start the shop, a worker or the platform."""
        if name == "platform":
            self.platform.start()
            return
        begun, tell = _CONTEXT.Pipe(duplex=False)
        role = name.partition(" ")[0]
        process = _CONTEXT.Process(
            target=play, args=(role, self._folder, self._url, self.platform.options, tell)
        )
        process.start()
        tell.close()
        self._running[name] = _Running(process, begun)

    def kill(self, name: str) -> None:
        """End one of the processes at once."""
        self.killed[name.partition(" ")[0]] += 1
        if name == "platform":
            self.platform.kill()
            return
        process = self._running.pop(name).process
        process.kill()
        process.join(_PATIENCE)
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"the {name} ended before it was killed: {self._messages()}")

    def run(self, name: str) -> None:
        """Run a program to its end."""
        self.start(name)
        process = self._running[name].process
        process.join(_PATIENCE)
        if process.exitcode != 0:
            raise RuntimeError(f"{name} failed: {self._messages()}")
        del self._running[name]

    def _messages(self) -> str:
        return (self._folder / "programs.log").read_text(errors="replace")[-3000:]

    def kill_often(self, times: int, among: Sequence[str] = _VICTIMS) -> None:
        """Kill processes at random moments, and start another of the same kind after each."""
        for _ in range(times):
            name = self._random.choice(among)
            if name in self._running:
                self._running[name].wait_until_begun()
            time.sleep(self._random.uniform(0, 0.3))
            self.kill(name)
            if self._random.random() < 0.5:
                # So that leases end, also of workers that are well.
                self.advance(self._random.uniform(0, 90))
            self.start(name)

    def advance(self, seconds: float) -> None:
        """Set all clocks ahead."""
        self.clock.set(self.clock.ms + round(seconds * 1000))
        if self.platform.answers:  # otherwise it reads the file when it is started
            self.platform.control("clock", {"advance": seconds})

    def trouble(self, rate: float) -> None:
        """Let so many calls fail, from 0 to 1, also at a platform that is to be started."""
        chaos = {"rate": rate, "seconds": _SECONDS}
        (self._folder / "chaos.json").write_text(json.dumps(chaos))
        if self.platform.answers:
            self.platform.control("chaos", chaos)

    def count(self, *conditions: sa.ColumnElement[bool]) -> int:
        """Count intents."""
        query = sa.select(sa.func.count()).select_from(INTENTS).where(*conditions)
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one()

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        give_up = time.monotonic() + _PATIENCE
        while not is_so():
            if time.monotonic() > give_up:
                states = outbox.status(self.engine).counts
                raise TimeoutError(f"waited in vain; intents: {states}; {self._messages()}")
            time.sleep(0.02)

    def drain(self) -> None:
        """Wait until no intent is open, and let leases and waits pass meanwhile."""

        def is_empty() -> bool:
            self.advance(2.0)
            return self.count(OPEN) == 0

        self.wait_until(is_empty)

    def sales(self) -> tuple[dict[str, Purchase], set[str]]:
        """Return the committed purchases by their keys, and the keys of what was rolled back."""
        with Session(self.engine) as session:
            sold = {(row[0], row[1]) for row in session.execute(sa.select(Sale.lane, Sale.number))}
        committed: dict[str, Purchase] = {}
        rolled_back: set[str] = set()
        for lane in {lane for lane, _ in sold}:
            end = max(number for each, number in sold if each == lane) + 1
            for number, purchase in enumerate(islice(wanted(lane), end)):
                if (lane, number) in sold:
                    committed[purchase.key] = purchase
                else:
                    rolled_back.add(purchase.key)
        return committed, rolled_back

    def close(self) -> None:
        """End all processes."""
        for running in self._running.values():
            running.process.kill()
            running.process.join(_PATIENCE)
        self.engine.dispose()
        self.platform.close()


INTENTS: Final = outbox.Tables().intents
OPEN: Final = INTENTS.c.stopped_ms.is_(None)
SENDING: Final = INTENTS.c.state == "sending"
IN_DOUBT: Final = sa.and_(OPEN, INTENTS.c.first_sent_ms.is_not(None))


def prove_sqlite(folder: Path, *, kills: int) -> list[Figure]:
    """Prove it with SQLite as the studio's database, with this number of kills."""
    return _prove(folder, f"sqlite:///{folder / 'studio.sqlite3'}", kills)


def prove_postgresql(folder: Path, *, kills: int) -> list[Figure]:
    """Prove it with PostgreSQL as the studio's database, with this number of kills."""
    with postgres() as url:
        if url is None:
            return [Figure(f"SKIPPED: {MISSING}", 0)]
        return _prove(folder, url, kills)


def _prove(folder: Path, url: str, kills: int) -> list[Figure]:
    during = max(1, kills // 10)  # of the outage
    scene = Scene(folder, url)
    with ExitStack() as stack:
        stack.callback(scene.close)
        scene.prepare()
        for name in ("shop", *_WORKERS):
            scene.start(name)
        scene.trouble(_RATE)
        scene.kill_often((kills - during) // 2)
        figures = _let_platform_go_silent(scene, during)
        scene.kill_often(kills - sum(scene.killed.values()) - len(_WORKERS))
        repeated = _deliver_late(scene)
        sales, rolled_back = scene.sales()
        return [
            *(Figure(f"kills of a {name}", times) for name, times in scene.killed.items()),
            Figure("kills in all", sum(scene.killed.values()), kills),
            Figure("hours by the clocks", round(scene.clock.ms / 1000 / _HOUR)),
            Figure("purchases committed", len(sales)),
            *figures,
            *repeated,
            *_judge(scene, sales, rolled_back),
            *_decide(scene, sales),
        ]


def prove_order(folder: Path, *, workers: int, sales: int) -> list[Figure]:
    """Let several workers send, and compare the order in which each player was paid."""
    (folder / "sqlite").mkdir()
    figures = [Figure("workers", workers), Figure("sends at a time", workers * SLOTS)]
    figures += _order(folder / "sqlite", f"sqlite:///{folder / 'studio.sqlite3'}", workers, sales)
    with postgres() as url:
        if url is None:
            return [*figures, Figure(f"PostgreSQL: SKIPPED: {MISSING}", 0)]
        (folder / "postgresql").mkdir()
        return figures + _order(folder / "postgresql", url, workers, sales)


def _order(folder: Path, url: str, workers: int, sales: int) -> list[Figure]:
    scene = Scene(folder, url)
    with ExitStack() as stack:
        stack.callback(scene.close)
        scene.prepare()
        scene.trouble(_RATE)
        for name in ("shop", *(f"worker {number}" for number in range(workers))):
            scene.start(name)
        scene.wait_until(lambda: scene.count() >= sales)
        _close_shop(scene)
        scene.drain()
        found = _judge(scene, *scene.sales())
        return [
            attrs.evolve(figure, what=f"{folder.name}: {figure.what}")
            for figure in found
            if not figure.what.startswith(("unknown", "of them"))
        ]


def _let_platform_go_silent(scene: Scene, kills: int) -> list[Figure]:
    """Bring about an outage of 48 hours: no answers, then frozen, then gone."""
    # All that is in doubt afterwards is in doubt because of the outage.
    scene.trouble(0)
    _close_shop(scene)
    scene.drain()
    scene.start("shop")
    scene.wait_until(lambda: scene.count(SENDING) > 0)
    lost = _lost_answers(scene)
    silent = [{"kind": "stall", "when": when, "seconds": 60} for when in ("after", "before")]
    scene.platform.control("faults", {"faults": silent, "times": None})
    # So that some of the calls have taken effect, and none of them can know.
    scene.wait_until(lambda: _lost_answers(scene) >= lost + 2)
    scene.platform.freeze()
    # Each call ends, and each worker finds that no ping is answered.
    scene.wait_until(lambda: scene.count(SENDING) == 0)
    scene.kill_often(kills, ["shop", *_WORKERS])
    scene.kill("platform")
    scene.advance(48 * _HOUR)
    in_doubt, waiting = scene.count(IN_DOUBT), scene.count(OPEN, ~IN_DOUBT)
    scene.trouble(_RATE)
    scene.start("platform")
    return [
        Figure("sends at a time", SLOTS * len(_WORKERS)),
        Figure("the outage: left in doubt", in_doubt, at_most=SLOTS * len(_WORKERS)),
        Figure("the outage: any left in doubt", str(in_doubt > 0), "True"),
        Figure("the outage: recorded and not begun", waiting),
    ]


def _lost_answers(scene: Scene) -> int:
    """Count the calls that have taken effect although a fault struck them."""
    requests = scene.platform.look("requests")
    return sum(each["effect"] == "done" and each["fault"] is not None for each in requests)


def _deliver_late(scene: Scene) -> list[Figure]:
    """Stop all workers for 25 hours, and send all receipts again after that and 30 days later."""
    for name in _WORKERS:
        scene.kill(name)
    left = scene.count(IN_DOUBT)
    scene.advance(25 * _HOUR)
    for name in _WORKERS:
        scene.start(name)
    _close_shop(scene)
    scene.run("again")
    scene.drain()
    recorded, posted = scene.count(), len(scene.platform.ledger())
    scene.advance(30 * 24 * _HOUR)
    scene.run("again")
    scene.drain()
    return [
        Figure("workers away for 25 hours: left in doubt", left),
        Figure("receipts after 30 days: recorded again", scene.count() - recorded, 0),
        Figure("receipts after 30 days: posted", len(scene.platform.ledger()) - posted, 0),
    ]


def _close_shop(scene: Scene) -> None:
    scene.kill("shop")
    scene.killed["shop"] -= 1  # not one at a random moment


def _judge(scene: Scene, sales: Mapping[str, Purchase], rolled_back: Set[str]) -> list[Figure]:
    """Compare the ledger with the purchases and the intents."""
    ledger = scene.platform.ledger()
    intents = {intent.idempotency_key: intent for intent in outbox.find(scene.engine, limit=None)}
    done = {key for key, intent in intents.items() if intent.state == "done"}
    unknown = {key: intent for key, intent in intents.items() if intent.state == "unknown"}
    known = sales.keys() & intents.keys() - unknown.keys()
    order = [key for key in ledger if key in known]
    return [
        Figure("intents", len(intents), len(sales)),
        Figure("intents that are done or unknown", len(done) + len(unknown), len(sales)),
        Figure("committed and not minted", len(sales.keys() - unknown.keys() - ledger.keys()), 0),
        Figure("minted twice or otherwise", _wrong(ledger, sales), 0),
        Figure("minted without a purchase", len(ledger.keys() - sales.keys()), 0),
        Figure("purchases rolled back", len(rolled_back)),
        Figure("of them, minted", len(rolled_back & ledger.keys()), 0),
        Figure("out of their player's order", _out_of_order(order, sales, intents), 0),
        Figure("unknown", len(unknown)),
        Figure("of them, minted", len(unknown.keys() & ledger.keys())),
        Figure("unknown without a recorded send", sum(map(_was_not_sent, unknown.values())), 0),
        Figure("unknown with a definite answer", sum(map(_is_answered, unknown.values())), 0),
        Figure("unknown whose key is still good", sum(map(_may_repeat, unknown.values())), 0),
    ]


def _wrong(ledger: Mapping[str, Sequence[Posting]], sales: Mapping[str, Purchase]) -> int:
    return sum(
        key in sales and sorted(postings) != sorted(sales[key].postings)
        for key, postings in ledger.items()
    )


def _out_of_order(
    keys: Sequence[str],
    sales: Mapping[str, Purchase],
    intents: Mapping[str, outbox.Intent[Any]],
) -> int:
    """Count the keys, in the order of the ledger, that follow a later intent of their player."""
    latest: dict[str, int] = {}
    wrong = 0
    for key in keys:
        player, number = sales[key].player, intents[key].id
        wrong += number < latest.get(player, 0)
        latest[player] = max(number, latest.get(player, 0))
    return wrong


def _was_not_sent(intent: outbox.Intent[Any]) -> bool:
    return intent.attempts == 0 or intent.first_sent_at is None


def _is_answered(intent: outbox.Intent[Any]) -> bool:
    return intent.result is not None or not (intent.error or {"ambiguous": True})["ambiguous"]


def _may_repeat(intent: outbox.Intent[Any]) -> bool:
    if intent.operation == "grants.create" or intent.first_sent_at is None:
        return True
    assert intent.stopped_at is not None
    return intent.stopped_at - intent.first_sent_at < _REPEATS


def _decide(scene: Scene, sales: Mapping[str, Purchase]) -> list[Figure]:
    """Decide about what is unknown by the ledger, as a person would, and judge again."""
    ledger = scene.platform.ledger()
    scene.trouble(0)
    with scene.clock.database():
        for intent in outbox.find(scene.engine, state="unknown", limit=None):
            outbox.resolve(
                scene.engine,
                intent.id,
                "applied" if intent.idempotency_key in ledger else "send-again",
                by="judge",
                why="the ledger says so",
            )
    scene.drain()
    figures = audit(scene.platform.ledger(), sales)
    return [
        Figure(f"after the decisions: {each.what}", each.measured, each.expected)
        for each in figures
    ]
