"""Import a data set on two Dask workers, one of which is killed in the middle of a file.

The argument is a folder to write to. The program prints the outcome as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from kraty_admin.bulk import ImportReport, ImportStoppedError, import_dataset
from kraty_admin.emulator import Emulator, Fault

FILES, ROWS, CHUNK = 4, 300, 50
PATIENCE = 60.0


def main(folder: Path) -> None:
    """Run both parts on one cluster, and print what came of them."""
    distributed: Any = import_module("distributed")
    with Emulator() as kraty:
        # Workers inherit the environment, so the key need not be an argument of a task.
        os.environ["KRATY_SERVER_KEY"] = kraty.api_key
        with (
            distributed.LocalCluster(
                n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            client.wait_for_workers(2, timeout=PATIENCE)
            found = {**kill(kraty, client, folder), **stop(kraty, client, folder)}
    sys.stdout.write(json.dumps(found))


def kill(kraty: Emulator, client: Any, folder: Path) -> dict[str, Any]:
    """Kill a worker whose chunk was committed but not answered."""
    for number in range(FILES):
        lines = [f"p_{number}_{row},gold,{row + 1}" for row in range(ROWS)]
        header = "externalPlayerId,economyKey,amount"
        (folder / f"part-{number}.csv").write_text("\n".join([header, *lines, ""]))
    # Each worker has one call in flight, so of two calls that hang each worker has one.
    kraty.faults.add(Fault("stall", seconds=5), operation="migrate.wallet", skip=2, times=2)
    client.run(import_module, "kraty_admin.bulk")  # so that they begin at about the same time
    pids: dict[str, int] = client.run(os.getpid)
    victim = sorted(pids.values())[0]
    seen: list[int] = []

    def strike() -> None:
        # Two calls that passed, and two that hang after their commit.
        while len(kraty.ledger) < 4 * CHUNK:
            time.sleep(0.01)
        seen.append(len(kraty.ledger))
        os.kill(victim, signal.SIGKILL)

    # A daemon, so that a program that fails ends.
    killer = threading.Thread(target=strike, daemon=True)
    killer.start()
    report = import_dataset(
        {"base_url": kraty.base_url},
        folder / "part-*.csv",
        kind="wallet",
        scheduler=client,
        in_flight=1,
        chunk_size=CHUNK,
    )
    killer.join(PATIENCE)
    client.wait_for_workers(2, timeout=PATIENCE)
    alive = client.run(os.getpid)
    postings = Counter((entry.external_player_id, entry.delta) for entry in kraty.ledger)
    due = {(f"p_{number}_{row}", row + 1) for number in range(FILES) for row in range(ROWS)}
    return {
        "report": asdict(report),
        "at the kill": seen,
        "killed": victim not in alive.values(),
        "exact": postings == Counter(due),
    }


def stop(kraty: Emulator, client: Any, folder: Path) -> dict[str, Any]:
    """Import with a missing file, then with a rejected key, then with both fixed."""
    missing = folder / "none.csv"

    def run(name: str) -> ImportReport | ImportStoppedError:
        try:
            return import_dataset(
                {"base_url": kraty.base_url},
                [folder / name, missing],
                kind="wallet",
                scheduler=client.scheduler.address,
                journal_dir=folder / "journals",
                failures_dir=folder / "failures",
                chunk_size=CHUNK,
            )
        except ImportStoppedError as error:
            return error

    def facts(outcome: ImportReport | ImportStoppedError) -> dict[str, Any]:
        if isinstance(outcome, ImportReport):
            return asdict(outcome)
        cause = type(outcome.__cause__).__name__
        return {"error": str(outcome), "cause": cause, **asdict(outcome.report)}

    stopped = run("part-0.csv")
    kraty.faults.add(Fault("status", status=401, when="before"), times=None)
    refused = run("part-1.csv")
    kraty.faults.clear()
    missing.write_text("externalPlayerId,economyKey,amount\nlate,gold,7\n")
    fixed = run("part-1.csv")
    written = [*(folder / "journals").iterdir(), *(folder / "failures").iterdir()]
    return {
        "stopped": facts(stopped),
        "refused": facts(refused),
        "fixed": facts(fixed),
        "files": sorted(path.name for path in written),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
