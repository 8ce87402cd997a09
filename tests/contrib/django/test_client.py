"""The setting `KRATY` describes the one client of a process."""

from __future__ import annotations

import os
import runpy
import sys
import threading
import traceback
import warnings
from typing import Any

import django
import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.views.debug import get_exception_reporter_filter

import kraty_admin.contrib.django
from kraty_admin import KratyAdmin
from kraty_admin.contrib.django import _client, get_client  # pyright: ignore[reportPrivateUsage]
from kraty_admin.emulator import Emulator

KEY = "krt_studio.a-secret"


def test_the_client_is_made_once(emulator: Emulator) -> None:
    """All threads get the same client, which uses the setting's address."""
    found: list[KratyAdmin] = []
    ready = threading.Barrier(4)

    def get() -> None:
        ready.wait()
        found.append(get_client())

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(client) for client in found}) == 1
    assert emulator.base_url == get_client().base_url
    get_client().health.ping()


@override_settings(KRATY={"API_KEY": KEY})
def test_two_threads_make_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """If two threads create the client at once, both get one of them, and the other is closed."""
    quicker: list[KratyAdmin] = []
    made: list[KratyAdmin] = []

    def make(**options: Any) -> KratyAdmin:
        monkeypatch.setattr(_client, "KratyAdmin", KratyAdmin)
        quicker.append(get_client())  # what another thread does meanwhile
        made.append(KratyAdmin(**options))
        return made[0]

    monkeypatch.setattr(_client, "KratyAdmin", make)
    assert get_client() is quicker[0]
    assert made[0].is_closed
    assert not quicker[0].is_closed


def test_a_forked_process(emulator: Emulator) -> None:
    """A forked process uses the client with its own connections."""
    get_client().health.ping()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads
        child = os.fork()
    if child == 0:
        try:
            get_client().health.ping()
        except BaseException:
            os._exit(1)
        os._exit(0)
    get_client().health.ping()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_another_setting_in_a_test(emulator: Emulator) -> None:
    """A test that overrides the setting gets a new client, and the earlier one is closed."""
    before = get_client()
    with override_settings(KRATY={"API_KEY": KEY, "BASE_URL": "https://kraty.test"}):
        assert get_client().base_url == "https://kraty.test"
    assert get_client() is not before
    assert before.is_closed
    assert get_client().base_url == emulator.base_url


@override_settings(KRATY={})
def test_the_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that the setting leaves out come from the environment variables."""
    monkeypatch.setenv("KRATY_SERVER_KEY", emulator.api_key)
    monkeypatch.setenv("KRATY_BASE_URL", emulator.base_url)
    with override_settings(KRATY={"DEADLINE": 5}):
        assert emulator.base_url == get_client().base_url
        get_client().health.ping()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param({"API_KEY": KEY, "TIMOUT": 3}, "KRATY has no option TIMOUT", id="unknown"),
        pytest.param({"api_key": KEY}, "KRATY has no option api_key", id="lower case"),
        pytest.param({KEY: "API_KEY"}, "KRATY has no option a key", id="swapped"),
        pytest.param(KEY, "KRATY must be a dict, not a str", id="no dict"),
    ],
)
def test_a_setting_that_is_wrong(value: object, message: str) -> None:
    """A wrong setting is refused by the client and by Django's checks, and no message has the
    key."""
    with override_settings(KRATY=value):
        with pytest.raises(ImproperlyConfigured, match=message) as caught:
            get_client()
        found = checks.run_checks(tags=["kraty"])
    ours = caught.tb.tb_next  # without the frame of this test
    shown = traceback.TracebackException(caught.type, caught.value, ours, capture_locals=True)
    assert KEY not in "".join(shown.format())
    assert ["kraty.E001"] == [each.id for each in found]
    assert [str(caught.value)] == [each.msg for each in found]


@override_settings(KRATY={"API_KEY": KEY, "DEADLINE": 5})
def test_a_setting_that_is_right() -> None:
    """Django's checks accept a correct setting."""
    assert [] == checks.run_checks(tags=["kraty"])


@override_settings(KRATY={"API_KEY": KEY, "DEADLINE": -1})
def test_an_option_that_is_wrong() -> None:
    """The error for a wrong option of the setting names it."""
    with pytest.raises(ValueError, match="deadline"):
        get_client()


@override_settings(KRATY={"API_KEY": KEY, "WEBHOOK_SECRET": "whsec_a-secret"})
def test_the_secrets_are_hidden() -> None:
    """Neither Django's error page nor the client's repr shows the secrets of the setting."""
    shown = str(get_exception_reporter_filter(None).get_safe_settings()["KRATY"])
    assert "a-secret" not in shown
    assert "API_KEY" in shown
    assert "a-secret" not in repr(get_client())


def test_without_django(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Django, or with one that is too old, the import says what is needed."""
    path = kraty_admin.contrib.django.__file__
    with monkeypatch.context() as patch:
        patch.setattr(django, "VERSION", (5, 1))
        with pytest.raises(ImportError, match=r"needs Django 5\.2 or later, not "):
            runpy.run_path(path)
    monkeypatch.setitem(sys.modules, "django", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'kraty-admin\[django\]'") as raised:
        runpy.run_path(path)
    assert "django" == raised.value.name
