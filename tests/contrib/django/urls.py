"""The URLs of the tests' project."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import path

from kraty_admin.contrib.django import webhook
from kraty_admin.contrib.django.admin import OutboxIntentAdmin
from kraty_admin.contrib.django.models import OutboxIntent
from kraty_admin.models import WebhookEvent

__all__ = ["urlpatterns"]


@webhook
def receive(event: WebhookEvent) -> None:
    """Create a group for each event."""
    Group.objects.create(name=event.id)


class OtherIntentAdmin(OutboxIntentAdmin):
    """Shows another database, in the way that Django's documentation describes."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxIntent]:
        """Select the intents of that database."""
        return super().get_queryset(request).using("memory")


other_site = admin.AdminSite("other")
other_site.register(OutboxIntent, OtherIntentAdmin)  # pyright: ignore[reportUnknownMemberType]  # its stubs

urlpatterns = [
    path("admin/", admin.site.urls),
    path("other/", other_site.urls),
    path("hook", receive),
]
