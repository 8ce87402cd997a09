"""The admin: purchases, and their refunds."""

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from kraty_admin import derive_key
from kraty_admin.contrib.django import outbox
from shop.models import Purchase


@admin.register(Purchase)
class PurchaseAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in its stubs only
    """Purchases."""

    list_display = ("receipt_id", "player", "gold", "refunded_at")
    search_fields = ("receipt_id", "player")
    actions = ("refund",)

    @admin.action(description="Take the gold back", permissions=["change"])
    def refund(self, request: HttpRequest, purchases: QuerySet[Purchase]) -> None:
        """Mark purchases as refunded, and record that the gold goes."""
        for purchase in purchases.filter(refunded_at=None):
            with transaction.atomic():
                purchase.refunded_at = timezone.now()
                purchase.save()
                # Two colleagues who do this at the same time share the key, so it is one debit.
                # The outbox sends it after the credit: a player's intents keep their order.
                outbox.into().wallet.debit(
                    purchase.player,
                    "gold",
                    amount=purchase.gold,
                    reason="refund",
                    idempotency_key=derive_key("refund", purchase.receipt_id),
                )
            messages.success(request, f"The refund of {purchase} is on its way.")
