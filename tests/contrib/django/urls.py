"""The URLs of the tests' project."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import Group
from django.urls import path

from kraty_admin.contrib.django import webhook
from kraty_admin.models import WebhookEvent

__all__ = ["urlpatterns"]


@webhook
def receive(event: WebhookEvent) -> None:
    """Create a group for each event."""
    Group.objects.create(name=event.id)


urlpatterns = [path("admin/", admin.site.urls), path("hook", receive)]
