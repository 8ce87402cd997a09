"""What `make demo` prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_demo_shows_one_mint_for_three_tries() -> None:
    """The purchase flow runs over real HTTP and prints the outcome of each step."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "purchase_flow.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.sub(r"http://\S+|grt_\w+", "*", done.stdout).split("\n") == [
        "ready      * key krt_emulator_game1.***, game game_1",
        "",
        "try 1      no answer came, it may have taken effect: True",
        "tries 2-3  the client's own retry: 2 attempts, and an answer",
        "replayed   None: which of the attempts took effect is not known",
        "balance    500 gold after three tries: one mint",
        "",
        "alert      idempotency_conflict: this key was used before, with other arguments",
        "balance    500 gold, as before",
        "",
        "grant      201, replayed False, *…",
        "grant      200, replayed True, *…",
        "snapshot   750 gold, {'legendary_box': 2, 'starter_chest': 1}, 1 grant",
        "revoke     starter_chest: 0 left",
        "revoke     409 conflict: there is none to take, {'available': 0, 'requested': 1}",
        "",
        "webhook    wallet.changed evt_1: verified",
        "forged     refused: no_match",
        "",
        "look       make demo-console shows all of this in a browser",
        "",
    ]
