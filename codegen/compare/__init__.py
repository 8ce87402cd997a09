"""List what changed between two contracts, and which of it breaks a caller.

    make compare OLD=... NEW=...
    python -m compare OLD NEW [--json | --markdown]

Exit status: 0 when nothing breaks, 1 when something does, 2 when the arguments or the files
cannot be used.

A change is judged by what the caller does with the value. Callers *send* parameters and
request bodies: they break when less is accepted than before. They *read* responses and
webhook deliveries: they break when less is promised than before. So one edit of a shared
schema may break its senders and suit its readers. `RULES` is the whole policy, a row per
kind of change.

Each pair of schemas is compared once. A change of a component is listed once for each
operation and direction that reaches it, at the shortest way into it. What people get counts
these as the uses of the component, and has one line for all of them.

Where thousands of operations reach the same thousands of schemas, that list would have no end.
After 20 million steps, a component that another operation has listed is not listed again. The
operation then has one line for each direction, which says whether such schemas break it.

The time grows with the contract, some 12 seconds for 12 MB, except for unions that hold unions:
each of them is all alternatives within, and these are compared with each other. Two hundred
unions that all lead to each other take seconds; thousands of them have no end.

A reader is taken to be this SDK, which passes unknown enum values, fields and union tags
through; new ones are therefore listed and break nobody. Wording (titles, descriptions,
examples, tags, extensions) is not compared at all, nor are callbacks, links and what a
webhook's receiver answers.
"""

from __future__ import annotations

from .operations import compare
from .rules import RULES, Change, ContractError

__all__ = ["RULES", "Change", "ContractError", "compare"]
