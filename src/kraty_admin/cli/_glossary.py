"""The glossary, for the help topic and for docs/glossary.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["GLOSSARY"]

GLOSSARY: Final[Mapping[str, str]] = {
    "ack": (
        "To acknowledge a grant: `grants.ack` marks it as claimed from your server, so that no "
        "game client has to claim it."
    ),
    "ambiguous": (
        "A call is ambiguous if it failed but may have taken effect, for example because its "
        "answer was lost. Every error says so in `ambiguous`."
    ),
    "answer": "What the server returns to one request: a result or an error.",
    "API key": (
        "The secret of a client, such as `krt_live_a1b2.secret`. The SDK needs one with the "
        "permission set `server_integration`. Only the part before the dot may be shown. It is "
        "not an idempotency key."
    ),
    "attempt": (
        "One request of a call; the SDK may make several, and each carries the same idempotency "
        "key and the same body. The methods of `events` use the word for something else: a "
        "player's try at an event of the game."
    ),
    "body": (
        "The JSON of a request. Each attempt of a call sends the same bytes, and Kraty compares "
        "the body with that of an earlier call under the same key."
    ),
    "call": "One use of a method, with all its attempts and waits.",
    "chargeback": (
        "The player's bank reverses the payment for a purchase. You then take back what the player "
        "got, with `wallet.debit` or `inventory.revoke`."
    ),
    "chunk": "The rows that an import sends in one call: 1,000 unless you set `chunk_size`.",
    "claim": (
        "To accept a grant, by the game client or with `grants.ack`. Of an outbox worker: to "
        "reserve an intent, so that no other worker sends it."
    ),
    "conflict": (
        "Kraty has seen the idempotency key before, with another body: the error "
        "`idempotency_conflict`. Retrying cannot fix it. The plain error `conflict` means "
        "something else: the state does not allow the call, for example because a balance is too "
        "low."
    ),
    "contract": (
        "The file openapi.server.json: an OpenAPI document that describes every request and "
        "answer of Kraty's server API. The methods of the SDK are generated from it."
    ),
    "control totals": (
        "The sums of all amounts of an import, for each currency and item, to compare with the "
        "books of the other platform."
    ),
    "crate": "An item that the player opens in the game, to get what is inside.",
    "credit, debit": "To add currency to a player's wallet, and to take it away.",
    "deadline": (
        "How many seconds a whole call may take, with all attempts and waits. A `timeout` limits "
        "one step of one attempt."
    ),
    "definite answer": (
        "An answer of Kraty that says whether the call took effect: a result or a rejection."
    ),
    "delivery": (
        "One attempt of Kraty to send a webhook to your server. If you do not answer with 2xx, "
        "Kraty sends the webhook again, with the same `id`."
    ),
    "dry run": "A check of all rows of an import that sends nothing.",
    "emulator": "The local Kraty of this package, for tests and development.",
    "envelope": (
        'The JSON object around the content: `{"data": ...}` around results, `{"error": ...}` '
        "around errors, and the fields around a webhook's `data`."
    ),
    "event": (
        "Two things. In the game: something that players take part in, such as a tournament; "
        "`kraty.events` has the methods for these. In webhooks: something that happened, such as "
        "`wallet.changed`."
    ),
    "external player id": (
        "Your own id of a player, such as `player_42`: the first argument of most methods. Kraty's "
        "own id of the player is `player.id`. It is called `external_player_id` in Python, "
        "`externalPlayerId` in JSON, and `externalId` in paths of the contract."
    ),
    "failures file": (
        "The file to which an import writes the rows that failed, with the reason. Fix them there, "
        "and import that file."
    ),
    "fault": (
        "A failure that you make the emulator simulate, such as a lost answer, to see what your "
        "code does."
    ),
    "fill_bots": "An argument of `lobbies.push`: whether bots take the free places of the lobby.",
    "fulfil": "To give a player what was bought.",
    "grant": (
        "A bundle of currencies, items and crates that `grants.create` gives to a player, all of "
        "it or nothing. Despite its name, `inventory.grant` does not create a grant: it adds one "
        "kind of item."
    ),
    "idempotency key": (
        "A text that names one change, such as the id of a receipt. Kraty recognises a second call "
        "with the same key and does not make the change again. It forgets most keys after 24 hours."
    ),
    "inbox": "A table in your database that remembers which webhooks were handled.",
    "intent": "A call that was recorded in the outbox.",
    "journal": (
        "The file in which an import records its progress. With it you can resume the import, "
        "even after a crash."
    ),
    "key": (
        "An idempotency key, an API key, or the name of a currency, item, event or leaderboard, as "
        "in `economy_key`. The word before it says which."
    ),
    "kind": (
        "Of a grant: `reward` or `crate`. Of an import: players, wallet or inventory. Of a fault: "
        "what fails."
    ),
    "lease": (
        "How long an intent is reserved for the outbox worker that has claimed it. If that worker "
        "is lost, another one takes the intent when the lease ends."
    ),
    "ledger": (
        "The list of all changes of balances and items. No method of the server API returns it."
    ),
    "lifetime of a key": "How long Kraty recognises an idempotency key.",
    "live key, test key": (
        "An API key of the live environment or of a test environment. `health.ping` says which "
        "one yours is."
    ),
    "lobby": (
        "A group of players who take part in an event of the game together. `lobbies.push` creates "
        "one whose players your own matchmaker has put together."
    ),
    "make-good": "What support gives to a player to make up for a problem.",
    "merge": "To move everything of one player to another, for example when a guest signs in.",
    "mint": "To create new currency or items, instead of taking them from a player or account.",
    "operation": (
        "What one method of the API does, such as `wallet.credit`. Errors and logs name it in "
        "`operation`."
    ),
    "outbox": (
        "A table in your database for calls to Kraty, with workers that send them. You record a "
        "call in the transaction of the purchase."
    ),
    "partition": "One of several files of an import, each imported by its own process.",
    "platform": "Kraty itself: the server that the SDK calls.",
    "preset": "A ready-made mapping for the exports of another platform, such as PlayFab.",
    "push": "To create a lobby in Kraty from players that you have put together elsewhere.",
    "rate limit": (
        "How many requests an API key may make in a minute. Kraty rejects further requests with "
        "the status 429."
    ),
    "receipt": "What a store gives you for a purchase. Its id makes a good idempotency key.",
    "repeat, retry": (
        "The SDK retries: it makes another attempt within one call. You repeat: you make the call "
        "again, under the same key."
    ),
    "replayed": (
        "A call that Kraty recognised by its key is replayed: it changes nothing and returns the "
        "earlier result. `result.replayed` says so where the answer shows it."
    ),
    "resource": "A group of methods, such as `kraty.wallet`.",
    "retry budget": (
        "How many retries a client may still spend. Each successful call gives one back. The "
        "budget keeps retries from making an outage worse."
    ),
    "retryable": "An error is retryable if repeating the call may help.",
    "server_integration": (
        "The permission set of an API key that may call the server API, and so may mint. A game "
        "client's key has another permission set, `client_sdk`."
    ),
    "share": (
        "An argument of imports: how many of them run at a time with one API key. Each uses only "
        "its part of the rate limit."
    ),
    "sign": (
        "To prove who sent a webhook, with a secret. The SDK checks the signature in the header "
        "`X-Signature`."
    ),
    "soft ban": (
        "A ban that keeps the player's balance, items and scores. The player cannot play until you "
        "lift it."
    ),
    "source_ref_id": (
        "An id from your own system, such as that of a receipt. Kraty keeps it with the change. "
        "It counts when Kraty compares bodies, but it does not make a call idempotent."
    ),
    "studio": "The company that makes the game: a customer of Kraty, with one or more games.",
    "timeout": "How many seconds one step of an attempt may take: connecting, one read, one write.",
    "unknown": (
        "The state of an intent whose call may have taken effect, and whose key Kraty may have "
        "forgotten. A person decides what to do."
    ),
    "wire name": (
        "The name of a field in JSON, such as `economyKey`. Its Python name is `economy_key`."
    ),
    "worker": "A process that sends the calls of an outbox.",
    "world": "The games, catalogs and API keys that an emulator starts with.",
}
"""Each word with its meaning, in alphabetical order. Backquotes mark code."""
