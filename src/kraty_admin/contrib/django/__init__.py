"""A Django app: record calls in Django's transactions, send them, and manage them in the admin.

    # settings.py
    INSTALLED_APPS = [..., "kraty_admin.contrib.django"]
    KRATY = {"API_KEY": os.environ["KRATY_SERVER_KEY"]}

    # views.py
    from kraty_admin.contrib.django import outbox

    with transaction.atomic():
        Purchase.objects.create(receipt_id=receipt.id, player="player_42")
        outbox.into().wallet.credit(
            "player_42", "gold", amount=500, idempotency_key=derive_key("iap", receipt.id)
        )

`manage.py kraty_outbox` sends the recorded calls, the admin shows them, and `webhook` turns a
function into a view that handles each event once. See docs/django.md.

This app needs the extra `django`: `pip install 'kraty-admin[django]'`. It works with Django 5.2
and later, on PostgreSQL and SQLite.
"""

from __future__ import annotations

try:
    import django as _django
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "kraty_admin.contrib.django needs django: pip install 'kraty-admin[django]'",
        name=_missing.name,
    ) from None

if _django.VERSION < (5, 2):
    raise ImportError(
        f"kraty_admin.contrib.django needs Django 5.2 or later, not {_django.__version__}"
    )

from ._client import get_client
from ._webhook import webhook

__all__ = ["get_client", "webhook"]

for _public in (get_client, webhook):
    _public.__module__ = __name__
