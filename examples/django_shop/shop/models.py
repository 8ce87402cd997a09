"""What the shop remembers besides the outbox."""

# The types of fields come from a plugin of mypy, which this example does not use.
# mypy: disable-error-code="var-annotated, no-any-return"

from django.db import models


class Purchase(models.Model):
    """A receipt that was paid for in the store."""

    receipt_id = models.CharField(max_length=100, primary_key=True)
    player = models.CharField(max_length=100)
    gold = models.IntegerField()
    refunded_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.receipt_id


class BalanceChange(models.Model):
    """A change of a player's gold that Kraty has reported."""

    player = models.CharField(max_length=100)
    gold = models.IntegerField()
