"""The emulator with its clock ahead and its faults on before it answers anything.

    python -m proofs.programs.emulating --port PORT --database FILE FOLDER

Both are read from files in the folder, so that a platform that was killed comes back with them.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from kraty_admin.emulator import Emulator
from proofs.programs.ahead import Ahead

__all__ = ["main"]


def main(port: int, database: str, folder: Path) -> None:
    """Serve until it is killed."""
    emulator = Emulator(port=port, database=database)
    emulator.clock.advance(Ahead(folder).ms / 1000)
    faults = json.loads((folder / "chaos.json").read_text())
    emulator.faults.chaos(**faults, seed=os.getpid())
    with emulator as kraty:
        print(json.dumps({"base_url": kraty.base_url, "api_key": kraty.api_key}), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[2]), sys.argv[4], Path(sys.argv[5]))
