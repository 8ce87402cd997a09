"""A shop behind gunicorn, whose client is made and warmed before the workers are forked.

`/PLAYER/NUMBER` buys that one of the player's purchases; `?meet` waits until all workers
are at such a request.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from kraty_admin import KratyAdmin

from .shop import purchases, warm

__all__ = ["app"]

kraty = KratyAdmin()
warm(kraty)

# Made before the fork, as the client, so that the workers share it.
meeting = multiprocessing.get_context("fork").Barrier(int(os.environ["PROOF_WORKERS"]))


def app(
    environ: Mapping[str, object],
    start_response: Callable[[str, list[tuple[str, str]]], object],
) -> Iterable[bytes]:
    """Buy, and respond with the answer."""
    player, number = map(int, str(environ["PATH_INFO"]).strip("/").split("/"))
    (purchase,) = islice(purchases(player), number, number + 1)
    if environ["QUERY_STRING"] == "meet":
        meeting.wait(60.0)
    answer = purchase.buy(kraty, purchase.key)
    report = {
        "process": os.getpid(),
        "answer": answer,
        "replayed": answer.replayed,
        "attempts": answer.http.attempts,
    }
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps(report).encode()]
