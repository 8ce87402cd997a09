"""A view that verifies webhooks, and handles each event once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connections, transaction
from django.db.transaction import TransactionManagementError
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.test import AsyncClient, RequestFactory, override_settings

from kraty_admin import sign_webhook
from kraty_admin.contrib.django import inbox, webhook
from kraty_admin.models import WebhookEvent

pytestmark = pytest.mark.usefixtures("emulator")  # for the settings

BODY = json.dumps({"id": "evt_1", "eventName": "grant.created", "data": {}}).encode()


def deliver(
    view: Callable[[HttpRequest], HttpResponse],
    *,
    secret: str = "whsec_test",
    signature: str | None = None,
) -> int:
    """Deliver an event; return the status of the answer."""
    if signature is None:
        signature = sign_webhook(raw_body=BODY, secret=secret)
    request = RequestFactory(enforce_csrf_checks=True).post(
        "/kraty/webhook",
        BODY,
        content_type="application/json",
        headers={"X-Signature": signature},
    )
    return view(request).status_code


def test_an_event_is_handled_once(using: str) -> None:
    """A second delivery is answered like the first, and not handled."""
    events: list[WebhookEvent] = []

    @webhook(using=using)
    def receive(event: WebhookEvent) -> None:
        events.append(event)
        Group.objects.using(using).create(name=event.id)

    assert [204, 204] == [deliver(receive), deliver(receive)]
    assert [event.event_name for event in events] == ["grant.created"]
    assert Group.objects.using(using).count() == 1


def test_a_handler_that_fails(using: str) -> None:
    """The changes of a handler that fails are rolled back, and the next delivery is handled."""
    failures = [ValueError("not now")]

    @webhook(using=using)
    def receive(event: WebhookEvent) -> None:
        Group.objects.using(using).create(name=event.id)
        if failures:
            raise failures.pop()

    with pytest.raises(ValueError, match="not now"):  # which Django answers with a 500
        deliver(receive)
    assert not Group.objects.using(using).exists()
    assert deliver(receive) == 204
    assert Group.objects.using(using).count() == 1


@webhook
def unreachable(event: WebhookEvent) -> None:
    """A handler that must not be called."""
    raise AssertionError(event)


@pytest.mark.parametrize(
    ("secret", "signature"),
    [
        pytest.param("whsec_other", None, id="another secret"),
        pytest.param("whsec_test", "t=1,v1=00", id="too old"),
        pytest.param("whsec_test", "", id="no signature"),
    ],
)
def test_a_delivery_that_is_not_genuine(
    caplog: pytest.LogCaptureFixture, secret: str, signature: str | None
) -> None:
    """A delivery that does not verify is answered with 401 and logged, and not handled."""
    assert deliver(unreachable, secret=secret, signature=signature) == 401
    assert "webhook rejected: " in caplog.text


def test_without_a_token_of_a_form() -> None:
    """Django's check for forged forms does not apply: a delivery holds no token, but a
    signature."""
    request = RequestFactory().post("/hook")
    assert (
        CsrfViewMiddleware(lambda _: HttpResponse()).process_view(request, unreachable, (), {})
        is None
    )


def test_another_method() -> None:
    """A request that is not a POST is answered with 405."""
    assert unreachable(RequestFactory().get("/kraty/webhook")).status_code == 405


def test_a_secret_that_is_being_rotated(default: str) -> None:
    """Deliveries signed with any of the secrets are accepted."""

    @webhook
    def receive(event: WebhookEvent) -> None: ...

    with override_settings(KRATY={"WEBHOOK_SECRET": ["whsec_new", "whsec_test"]}):
        assert deliver(receive) == 204


def test_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing secret is an error of the configuration, and the variable can provide it."""
    with override_settings(KRATY={}):
        with pytest.raises(ImproperlyConfigured, match="WEBHOOK_SECRET"):
            deliver(unreachable)
        monkeypatch.setenv("KRATY_WEBHOOK_SECRET", "whsec_other")
        assert deliver(unreachable) == 401


def test_an_asynchronous_handler() -> None:
    """An asynchronous handler is refused at once, since it could not use the transaction."""

    async def receive(event: WebhookEvent) -> None: ...

    with pytest.raises(TypeError, match="must be a plain function"):
        webhook(receive)


def test_under_asgi(default: str) -> None:
    """Under ASGI, Django runs the view in a thread, and the event is handled."""

    async def server() -> int:
        answer = await AsyncClient().post(
            "/hook",
            BODY,
            content_type="application/json",
            headers={"X-Signature": sign_webhook(raw_body=BODY, secret="whsec_test")},
        )
        await sync_to_async(connections.close_all)()  # those of the thread
        return answer.status_code

    assert asyncio.run(server()) == 204
    assert Group.objects.filter(name="evt_1").count() == 1


def test_a_view_of_ones_own(using: str) -> None:
    """`inbox.once` needs a transaction, and accepts an event once."""
    event = WebhookEvent(json.loads(BODY))
    with pytest.raises(TransactionManagementError):
        inbox.once(event, using)
    with transaction.atomic(using=using):
        assert inbox.once(event, using)
        assert not inbox.once(event, using)


def test_a_handler_that_hides_an_error_of_the_database(using: str) -> None:
    """If the transaction cannot be committed any more, the delivery counts as failed, although the
    handler returned."""
    Group.objects.using(using).create(name="there already")

    @webhook(using=using)
    def receive(event: WebhookEvent) -> None:
        Group.objects.using(using).create(name=event.id)
        with suppress(IntegrityError):
            Group.objects.using(using).create(name="there already")

    with pytest.raises(TransactionManagementError):  # which Django answers with a 500
        deliver(receive)
    assert 1 == Group.objects.using(using).count()
