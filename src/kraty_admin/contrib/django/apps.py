"""The app's configuration, which Django reads when it starts."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from ._client import check_settings

__all__ = ["KratyConfig"]


class KratyConfig(AppConfig):
    """The app `kraty`."""

    name = "kraty_admin.contrib.django"
    label = "kraty"
    verbose_name = "Kraty"

    def ready(self) -> None:
        """Register the check of the settings."""
        checks.register(_check, "kraty")


def _check(**_: Any) -> list[checks.CheckMessage]:
    try:
        check_settings()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="kraty.E001")]
    return []
