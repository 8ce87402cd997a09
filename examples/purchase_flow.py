"""A purchase from receipt to refund, against a local Kraty: `make demo`.

The network fails at the worst moment, the job is run again, and a second receipt is
forged. The player is credited once. With `--keep-open` (`make demo-console`) the local Kraty
stays, so that a browser can show what has happened.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import httpx

from kraty_admin import (
    KratyAdmin,
    KratyNetworkError,
    KratyServerError,
    RetryConfig,
    WebhookVerificationError,
    construct_event,
    derive_key,
    fulfil_once,
    sign_webhook,
)

RECEIPT = "apple_receipt_abc"
SECRET = "whsec_demo"  # noqa: S105 -- of a webhook that nobody sends


def lose_next_answer(base_url: str) -> None:
    """Let the local Kraty do the next credit, and break the connection before it answers."""
    lost = {"faults": [{"kind": "drop"}], "operation": "wallet.credit"}
    httpx.post(f"{base_url}/_emulator/faults", json=lost, trust_env=False).raise_for_status()


def say(title: str, text: str) -> None:
    print(f"{title:<10} {text}", flush=True)


def balance(kraty: KratyAdmin) -> int:
    wallet = kraty.players.get("player_42").wallet
    return sum(holding.balance for holding in wallet if holding.economy_key == "gold")


def purchase(base_url: str, api_key: str) -> None:
    """The flow; prints what happens."""
    with KratyAdmin(api_key=api_key, base_url=base_url, retry=RetryConfig(attempts=1)) as kraty:
        ping = kraty.health.ping()
        say("ready", f"{base_url}, key {ping.api_key.prefix}.***, game {ping.api_key.game_id}")
        print()
        credit(kraty)
        grant_and_take_back(kraty)
    webhook()


def credit(kraty: KratyAdmin) -> None:
    """One receipt, three tries, one mint."""
    key = derive_key("iap", RECEIPT)
    lose_next_answer(kraty.base_url)
    try:
        kraty.wallet.credit("player_42", "gold", amount=500, idempotency_key=key)
    except KratyNetworkError as error:
        say("try 1", f"no answer came, it may have taken effect: {error.ambiguous}")

    lose_next_answer(kraty.base_url)
    retrying = kraty.with_options(retry=RetryConfig(attempts=2, initial_delay=0))
    wallet = retrying.wallet.credit("player_42", "gold", amount=500, idempotency_key=key)
    say("tries 2-3", f"the client's own retry: {wallet.http.attempts} attempts, and an answer")
    say("replayed", f"{wallet.replayed}: which of the attempts took effect is not known")
    say("balance", f"{wallet.balance} gold after three tries: one mint")

    def alert(error: KratyServerError) -> None:
        say("alert", f"{error.code}: this key was used before, with other arguments")

    print()
    try:
        with fulfil_once("iap", RECEIPT, on_conflict=alert) as same_key:
            kraty.wallet.credit("player_42", "gold", amount=9_999, idempotency_key=same_key)
    except KratyServerError:
        say("balance", f"{balance(kraty)} gold, as before")


def grant_and_take_back(kraty: KratyAdmin) -> None:
    """A mixed grant, twice with one key; then a look at the player, and a chargeback."""
    print()
    for _ in range(2):
        grant = kraty.grants.create(
            "player_42",
            idempotency_key="bundle_1",
            entries=[
                {"type": "currency", "currencyKey": "gold", "amount": 250},
                {"type": "item", "itemKey": "starter_chest", "quantity": 1},
                {"type": "crate", "crateItemKey": "legendary_box", "quantity": 2},
            ],
            source_ref_id=RECEIPT,
        )
        say("grant", f"{grant.http.status}, replayed {grant.replayed}, {grant.id[:12]}…")
    snapshot = kraty.players.get("player_42")
    items = {holding.item_key: holding.quantity for holding in snapshot.inventory}
    say("snapshot", f"{balance(kraty)} gold, {items}, {len(snapshot.recent_grants)} grant")
    item = kraty.inventory.revoke(
        "player_42", "starter_chest", quantity=1, reason="chargeback", idempotency_key="cb_1"
    )
    say("revoke", f"starter_chest: {item.quantity} left")
    try:
        kraty.inventory.revoke("player_42", "starter_chest", quantity=1, idempotency_key="cb_2")
    except KratyServerError as error:
        say("revoke", f"{error.status} {error.code}: there is none to take, {error.details}")


def webhook() -> None:
    """A delivery as the platform signs it, and the same one tampered with."""
    print()
    body = json.dumps({"id": "evt_1", "eventName": "wallet.changed", "data": {"balance": 500}})
    header = sign_webhook(raw_body=body, secret=SECRET)
    event = construct_event(raw_body=body, signature_header=header, secret=SECRET)
    say("webhook", f"{event.event_name} {event.id}: verified")
    try:
        construct_event(raw_body=body.replace("500", "501"), signature_header=header, secret=SECRET)
    except WebhookVerificationError as error:
        say("forged", f"refused: {error.reason}")


def main() -> None:
    """Start an emulator of our own, run the flow, and stop it, or keep it open."""
    is_kept = sys.argv[1:] == ["--keep-open"]
    command = [sys.executable, "-m", "kraty_admin.emulator", "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as emulator:
        try:
            line = emulator.stdout.readline() if emulator.stdout else ""
            if not line:
                sys.exit(f"the emulator did not start: {emulator.communicate()[1]}")
            ready = json.loads(line)
            purchase(ready["base_url"], ready["api_key"])
            print()
            if is_kept:
                # The local Kraty stops with this process, however that is ended.
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                say("look", f"{ready['base_url']}/ in a browser; Ctrl-C stops it")
                emulator.wait()
            else:
                say("look", "make demo-console shows all of this in a browser")
        except KeyboardInterrupt:
            print()
        finally:
            emulator.terminate()
            emulator.communicate()


if __name__ == "__main__":
    main()
