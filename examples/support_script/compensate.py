"""Compensate a player for a support ticket. If in doubt whether it worked, run it again.

    python compensate.py TICKET-123 player_42 --gold 500 --item starter_chest=2

The ticket is the idempotency key of a grant. Kraty keeps the keys of grants permanently, so
each ticket pays out once, also if a colleague runs the same command next week. A ticket that
was paid with other contents is refused.

Ask Kraty, or find out with a test key, when your grants pay: docs/tasks/choosing.md says how.
"""

from __future__ import annotations

import argparse
import sys
from typing import TypeAlias

from kraty_admin import KratyAdmin, KratyNetworkError, KratyServerError, derive_key
from kraty_admin.params import CurrencyRewardEntryParam, ItemRewardEntryParam

Entry: TypeAlias = CurrencyRewardEntryParam | ItemRewardEntryParam

DONE, FAILED, TRY_AGAIN = 0, 1, 75


def item(text: str) -> tuple[str, int]:
    """Read an option such as `starter_chest=2`."""
    key, _, quantity = text.partition("=")
    return key, int(quantity or 1)


def compensate(kraty: KratyAdmin, ticket: str, player: str, entries: list[Entry]) -> int:
    """Create the ticket's grant; return the exit status."""
    try:
        grant = kraty.grants.create(
            player,
            entries=entries,
            source_ref_id=ticket,
            idempotency_key=derive_key("ticket", ticket),
        )
    except (KratyNetworkError, KratyServerError) as error:
        if isinstance(error, KratyServerError) and error.code == "idempotency_conflict":
            print(f"{ticket} was paid before, with other contents: {error}", file=sys.stderr)
        elif error.ambiguous or error.retryable:
            print(f"no answer; run the same command again: {error}", file=sys.stderr)
            return TRY_AGAIN
        else:
            # An earlier run without an answer may have paid.
            print(f"{ticket} was not paid by this run: {error}", file=sys.stderr)
        return FAILED
    # `replayed` is None if an earlier attempt of this run may have been the one that paid.
    already = ", which had been created before" if grant.replayed else ""
    print(f"{ticket}: grant {grant.id}{already}")
    return DONE


def main() -> int:
    """Read the command line, and compensate."""
    parser = argparse.ArgumentParser(description="Compensate a player for a support ticket.")
    parser.add_argument("ticket")
    parser.add_argument("player")
    parser.add_argument("--gold", type=int, default=0)
    parser.add_argument("--item", type=item, action="append", default=[], metavar="ITEM=QUANTITY")
    options = parser.parse_args()
    entries: list[Entry] = [
        {"type": "item", "itemKey": key, "quantity": quantity} for key, quantity in options.item
    ]
    if options.gold:
        entries.append({"type": "currency", "currencyKey": "gold", "amount": options.gold})
    if not entries:
        parser.error("pass --gold or --item")
    with KratyAdmin() as kraty:
        return compensate(kraty, options.ticket, options.player, entries)


if __name__ == "__main__":
    sys.exit(main())
