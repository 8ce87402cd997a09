"""List the changes between two contracts, and which of them break callers.

    make compare OLD=... NEW=...
    python -m compare OLD NEW [--json | --markdown]

Exit status: 0 if no change breaks callers, 1 if one does, 2 if the arguments or the files cannot
be used.

Whether a change breaks callers depends on what they do with the value. Callers *send* parameters
and request bodies: they break if the server accepts less than before. They *read* responses and
webhook deliveries: they break if the server promises less than before. So one edit of a shared
schema may break its senders but not its readers. `RULES` is the whole policy, with a row for each
kind of change.

Each pair of schemas is compared once. A change of a component is listed once for each operation
and direction that reaches it, at the shortest path to it. The reports for people count these uses,
and have one line for each component.

If thousands of operations reached the same thousands of schemas, that list would be endless. So
after 20 million steps, a component that another operation has listed is not listed again.
Instead, the operation has one line for each direction, which says whether such schemas break it.

The time grows linearly with the contract, about 12 seconds for 12 MB, except for unions that
contain unions. These are expanded to all alternatives inside, which are compared with each other.
Two hundred unions that all refer to each other take seconds; thousands would not finish.

Readers are assumed to use this SDK, which passes unknown enum values, fields and union tags
through. So new ones are listed, but break no caller. Wording (titles, descriptions, examples,
tags, extensions) is not compared. Neither are callbacks, links and the answers to webhooks.
"""

from __future__ import annotations

from .operations import compare
from .rules import RULES, Change, ContractError

__all__ = ["RULES", "Change", "ContractError", "compare"]
