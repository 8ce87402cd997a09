"""The settings, and the client that they describe."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from kraty_admin import KratyAdmin

__all__ = ["check_settings", "get_client", "webhook_secret"]

_SETTING: Final = "KRATY"
_SECRET: Final = "WEBHOOK_SECRET"  # noqa: S105 -- its name
_OPTIONS: Final = {name.upper(): name for name in inspect.signature(KratyAdmin).parameters}
"""The client's arguments, by their names in the setting."""

_made: dict[str, KratyAdmin] = {}
"""The client, under the key "KRATY"; empty until it is made."""


def get_client() -> KratyAdmin:
    """Return the client that the setting `KRATY` describes, the same one on each call.

    The first call makes it. Threads share it, and a forked process opens its own connections.
    Do not close it.

    `KRATY` is a dict. Its keys are the names of the arguments of `KratyAdmin` in capitals, and
    `WEBHOOK_SECRET`. An option that is left out has the value from the environment or the
    default of `KratyAdmin`.

    Raises:
        ImproperlyConfigured: The setting is not a dict, or has an unknown option.
        TypeError, ValueError: An option is invalid or missing. No message quotes the API key.
    """
    client = _made.get(_SETTING)
    if client is None:
        new = KratyAdmin(**_client_options())
        # Atomic. Not a lock, because a fork could inherit one that another thread holds.
        client = _made.setdefault(_SETTING, new)
        if client is not new:
            new.close()
    return client


def webhook_secret() -> str | Sequence[str]:
    """Return the secret of the webhooks, or several while one is being rotated.

    Raises:
        ImproperlyConfigured: There is no secret, or `KRATY` is invalid; see `get_client`.
    """
    secret = _values().get(_SECRET) or os.environ.get("KRATY_WEBHOOK_SECRET")
    if not secret:
        raise ImproperlyConfigured(
            f"there is no webhook secret: set {_SETTING}['{_SECRET}'], or the variable "
            "KRATY_WEBHOOK_SECRET"
        )
    return cast("str | Sequence[str]", secret)  # construct_event checks it


def check_settings() -> None:
    """Check the setting's type and its options, without making a client.

    Raises:
        ImproperlyConfigured: It is not a dict, or has an unknown option.
    """
    # Not raised there: trackers of errors record the locals of frames, and the setting has secrets.
    problem = _problem(getattr(settings, _SETTING, {}))
    if problem is not None:
        raise ImproperlyConfigured(problem)


def _problem(values: object) -> str | None:
    """Return what is wrong with the setting."""
    if not isinstance(values, Mapping):
        return f"{_SETTING} must be a dict, not a {type(values).__name__}"
    known = {*_OPTIONS, _SECRET}
    for name in cast("Mapping[object, object]", values):
        if name not in known:
            # Show only an identifier: anything else may be a secret in the wrong place.
            shown = name if isinstance(name, str) and name.isidentifier() else "a key"
            return f"{_SETTING} has no option {shown}; the options are {', '.join(sorted(known))}"
    return None


def _values() -> Mapping[str, Any]:
    check_settings()
    return cast("Mapping[str, Any]", getattr(settings, _SETTING, {}))


def _client_options() -> dict[str, Any]:
    return {_OPTIONS[name]: value for name, value in _values().items() if name in _OPTIONS}


def _forget(*, setting: str, **_: object) -> None:
    """Drop the client when a test overrides the setting."""
    if setting == _SETTING and (client := _made.pop(_SETTING, None)):
        client.close()


setting_changed.connect(_forget)  # pyright: ignore[reportUnknownMemberType]  # its stubs
