"""The pages of the admin show intents, and let a person decide about them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connections, transaction
from django.test import Client

from kraty_admin import outbox as core
from kraty_admin.contrib.django import outbox
from kraty_admin.contrib.django.models import InboxEvent, OutboxIntent
from kraty_admin.emulator import Emulator

LIST = "/admin/kraty/outboxintent/"


def client_of(name: str, *permissions: str) -> Client:
    """Return the browser of a member of staff with these permissions."""
    user, _ = User.objects.get_or_create(username=name, is_staff=True)
    user.user_permissions.set(  # pyright: ignore[reportUnknownMemberType]  # its stubs
        Permission.objects.filter(codename__in=permissions)
    )
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def browser(default_shop: sa.Engine) -> Client:
    """Return the browser of a person who may decide."""
    return client_of("ann", "view_outboxintent", "change_outboxintent", "view_inboxevent")


def record(
    key: str, state: str = "pending", player: str = "player_42", using: str = "default"
) -> int:
    """Record a credit, and set its state; return its id."""
    with transaction.atomic(using):
        intent = outbox.into(using).wallet.credit(player, "gold", amount=500, idempotency_key=key)
    if state != "pending":
        stopped = {"stopped_ms": 2, "first_sent_ms": 1, "error": '{"message": "no answer"}'}
        OutboxIntent.objects.using(using).filter(pk=intent.id).update(state=state, **stopped)
    return intent.id


def test_the_list(browser: Client) -> None:
    """The list shows each intent, with few queries."""
    for number in range(3):
        record(f"receipt_{number}", player=f"player_{number}")
    with connections["default"].execute_wrapper(count := Count()):
        page = browser.get(LIST).content.decode()
    for number in range(3):
        assert f"receipt_{number}" in page
        assert f"player_{number}" in page
    assert count.queries <= 6


class Count:
    """Counts queries."""

    def __init__(self) -> None:
        self.queries = 0

    def __call__(self, execute: Callable[..., object], *call: object) -> object:
        self.queries += 1
        return execute(*call)


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        pytest.param("state__exact=unknown", ["receipt_2"], id="state"),
        pytest.param("operation=wallet.credit", ["receipt_1", "receipt_2"], id="operation"),
        pytest.param("operation=players.ban", [], id="another operation"),
        pytest.param("q=receipt_1", ["receipt_1"], id="key"),
        pytest.param("q=receipt", [], id="part of a key"),
        pytest.param("q=player_2", ["receipt_2"], id="player"),
        pytest.param("q=wallet.", ["receipt_1", "receipt_2"], id="start of an operation"),
    ],
)
def test_filters_and_search(browser: Client, query: str, keys: list[str]) -> None:
    """Filters and the search find intents by state, operation, key and player."""
    record("receipt_1", player="player_1")
    record("receipt_2", "unknown", player="player_2")
    page = browser.get(f"{LIST}?{query}").content.decode()
    assert keys == [key for key in ("receipt_1", "receipt_2") if f">{key}<" in page]


def test_one_intent(browser: Client) -> None:
    """The page of an intent shows its content, and allows no change, addition or deletion."""
    number = record("receipt_1")
    page = browser.get(f"{LIST}{number}/change/").content.decode()
    assert "/players/player_42/wallet/gold/credit" in page
    assert "&quot;amount&quot;: 500" in page
    assert "decide/" not in page  # it is pending
    assert "<textarea" not in page
    assert browser.post(f"{LIST}{number}/change/").status_code == 403
    assert browser.get(f"{LIST}add/").status_code == 403
    assert browser.post(f"{LIST}{number}/delete/", {"post": "yes"}).status_code == 403
    assert OutboxIntent.objects.count() == 1


@pytest.mark.parametrize(
    ("state", "action", "after"),
    [
        pytest.param("unknown", "applied", "done", id="applied"),
        pytest.param("unknown", "send-again", "pending", id="send again"),
        pytest.param("unknown", "abandon", "abandoned", id="abandon"),
        pytest.param("refused", "retry", "pending", id="retry"),
    ],
)
def test_a_decision(
    browser: Client, default_shop: sa.Engine, state: str, action: str, after: str
) -> None:
    """A decision changes the intent, and is stored with who and why, also in Django's history."""
    number = record("receipt_1", state)
    assert "../decide/" in browser.get(f"{LIST}{number}/change/").content.decode()
    decide = f"{LIST}{number}/decide/"
    assert f'value="{action}"' in browser.get(decide).content.decode()
    data = {"action": action, "why": "seen in the ledger", "confirmed": "on"}
    page = browser.post(decide, data, follow=True).content.decode()
    assert f"Intent {number} is now {after}." in page
    intent = core.find(default_shop)[0]
    assert intent.state == after
    note = intent.notes[0]
    assert (action, "ann", "seen in the ledger") == (note["action"], note["by"], note["why"])
    history = browser.get(f"{LIST}{number}/history/").content.decode()
    assert f"{action}: seen in the ledger" in history


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"action": "applied", "why": "x"}, id="not confirmed"),
        pytest.param({"action": "applied", "why": " ", "confirmed": "on"}, id="no reason"),
        pytest.param({"action": "retry", "why": "x", "confirmed": "on"}, id="not of this state"),
        pytest.param({"why": "x", "confirmed": "on"}, id="no action"),
        pytest.param({}, id="nothing"),
    ],
)
def test_a_decision_that_is_incomplete(browser: Client, data: dict[str, str]) -> None:
    """An incomplete decision shows the form again, and changes nothing."""
    number = record("receipt_1", "unknown")
    answer = browser.post(f"{LIST}{number}/decide/", data)
    assert answer.status_code == 200
    assert OutboxIntent.objects.get().state == "unknown"


def test_a_second_decision(browser: Client) -> None:
    """The page of an intent that needs no decision says so."""
    number = record("receipt_1", "done")
    page = browser.get(f"{LIST}{number}/decide/", follow=True).content.decode()
    assert "There is nothing to decide: the intent is done." in page


def test_a_content_that_was_purged(browser: Client) -> None:
    """A decision that the outbox refuses is shown as an error."""
    number = record("receipt_1", "refused")
    OutboxIntent.objects.update(body=None)
    data = {"action": "retry", "why": "x", "confirmed": "on"}
    page = browser.post(f"{LIST}{number}/decide/", data, follow=True).content.decode()
    assert "it must be `refused`, and not purged" in page
    assert OutboxIntent.objects.get().state == "refused"


def test_one_who_may_only_look(default_shop: sa.Engine) -> None:
    """A person without the permission to change cannot decide."""
    browser = client_of("bob", "view_outboxintent")
    number = record("receipt_1", "unknown")
    assert "decide/" not in browser.get(f"{LIST}{number}/change/").content.decode()
    data = {"action": "applied", "why": "x", "confirmed": "on"}
    assert browser.post(f"{LIST}{number}/decide/", data).status_code == 403
    assert OutboxIntent.objects.get().state == "unknown"


def test_a_decision_in_another_database(
    browser: Client, emulator: Emulator, new_engine: Callable[[str], sa.Engine]
) -> None:
    """A decision changes the intent that was shown, and not that of another database."""
    call_command("migrate", "kraty", database="memory", verbosity=0)
    core.set_up(new_engine("memory"), emulator.client())
    number = record("elsewhere", "unknown", using="memory")
    OutboxIntent.objects.filter(pk=record("here", "unknown")).update(id=number)
    page = f"/other/kraty/outboxintent/{number}"
    assert "elsewhere" in browser.get(f"{page}/change/").content.decode()
    browser.post(f"{page}/decide/", {"action": "abandon", "why": "refunded", "confirmed": "on"})
    assert "abandoned" == OutboxIntent.objects.using("memory").get(pk=number).state
    assert "unknown" == OutboxIntent.objects.get(pk=number).state


def test_an_intent_that_does_not_exist(browser: Client) -> None:
    """The decision about an unknown intent is not found."""
    assert browser.get(f"{LIST}99/decide/").status_code == 404


def test_the_webhooks(browser: Client) -> None:
    """Handled webhooks are listed, and cannot be changed."""
    InboxEvent.objects.create(event_id="evt_1", event_name="grant.created", received_ms=1)
    page = browser.get("/admin/kraty/inboxevent/").content.decode()
    assert "evt_1" in page
    assert "Jan. 1, 1970" in page
    one = browser.get("/admin/kraty/inboxevent/evt_5F1/change/").content.decode()
    assert "evt_1 | View handled webhook" in one
    assert browser.post("/admin/kraty/inboxevent/evt_5F1/change/", {}).status_code == 403
