"""The game's backend calls `buy`; Kraty calls `kraty_webhook`."""

import json

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from kraty_admin import derive_key
from kraty_admin.contrib.django import outbox, webhook
from kraty_admin.models import WebhookEvent
from kraty_admin.outbox import OutboxConflictError
from shop.models import BalanceChange, Purchase

GOLD = 500


@csrf_exempt
@require_POST
def buy(request: HttpRequest) -> HttpResponseBase:
    """Store a purchase and what it pays out, together or not at all."""
    body = json.loads(request.body)
    receipt_id: str = body["receipt_id"]
    player: str = body["player"]
    # Your own code verifies the receipt with the store, and the player's session, here.
    try:
        with transaction.atomic():
            Purchase.objects.get_or_create(
                receipt_id=receipt_id, defaults={"player": player, "gold": GOLD}
            )
            intent = outbox.into().wallet.credit(
                player,
                "gold",
                amount=GOLD,
                reason="iap",
                idempotency_key=derive_key("iap", receipt_id),
            )
    except OutboxConflictError:
        return JsonResponse({"error": "this receipt is another player's"}, status=409)
    return JsonResponse({"state": intent.state}, status=202)


@webhook
def kraty_webhook(event: WebhookEvent) -> None:
    """Remember what happened to the gold of a player."""
    if event.event_name == "wallet.changed":
        BalanceChange.objects.create(
            player=event.data["externalPlayerId"], gold=event.data["delta"]
        )
