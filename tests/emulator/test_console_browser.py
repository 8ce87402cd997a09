"""The console in a headless Chromium, if one is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kraty_admin import RetryConfig
from kraty_admin.emulator import Emulator
from loopback import Seen, response, serving

from .browser import CHROMIUM, Browser, Tab

pytestmark = [
    pytest.mark.once,
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: chromium)"),
]

IMG = "<img onerror=alert(1) src=x>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start one browser for all tests of this file."""
    started = Browser(tmp_path_factory.mktemp("chromium"))
    yield started
    started.close()


@pytest.fixture
def kraty() -> Iterator[Emulator]:
    """Start an emulator, so that no page of another test listens to it."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def page(browser: Browser, kraty: Emulator) -> Iterator[Tab]:
    """Open the console, and wait until it is live."""
    tab = browser.open(f"{kraty.base_url}/")
    tab.wait("document.querySelector('#link').textContent === 'live'")
    yield tab
    tab.close()


def test_a_lost_answer_shows_one_mint_for_three_tries(kraty: Emulator, page: Tab) -> None:
    """A button loses two answers, and the console shows three tries of one mint."""
    assert "No requests yet" in page.text("#start")
    page.click("[data-lose='2']")
    page.wait("document.querySelector('#strip').innerText.includes('2 left')")
    with kraty.client(retry=RetryConfig(initial_delay=0)) as client:
        client.wallet.credit("player_42", "gold", amount=500, idempotency_key="receipt_1")
        page.wait("document.querySelector('.verdict')?.innerText === '3 tries, 1 mint'")
        card = page.text("article.group")
        assert ("wallet.credit", True, 2, 2, True) == (
            card.split()[0],
            "key receipt_1" in card,
            card.count("answer lost"),
            card.count("replayed"),
            "ledger #1 +500 gold player_42" in card,
        )
        # What a person should see at once if it ever happens: the key was forgotten.
        kraty.clock.advance(25 * 3600)
        client.wallet.credit("player_42", "gold", amount=500, idempotency_key="receipt_1")
    page.wait("document.querySelector('.verdict').innerText === '4 tries, 2 mints'")
    assert "more than once" in page.text(".alarm")
    page.click("#reset")
    page.click("#ask-yes")
    page.wait("!document.querySelector('#start').hidden")
    assert ([], 0) == (kraty.requests, kraty.balance("player_42", "gold"))


def test_a_player_called_markup_is_text(kraty: Emulator, page: Tab) -> None:
    """Markup in names, reasons, keys and bodies is shown as text in each view."""
    with kraty.client() as client:
        client.wallet.credit(IMG, "gold", amount=5, reason=IMG, idempotency_key=IMG)
        entry = {"type": "currency", "currencyKey": "gold", "amount": 1}
        client.grants.create(IMG, entries=[entry], source_ref_id=IMG, idempotency_key=IMG)
        client.lobbies.push("game_1", "quick_brawl", key=IMG, external_player_ids=[IMG])
    for view in ("requests", "players", "ledger", "grants", "lobbies"):
        page.run(f"location.hash = '{view}'")
        page.wait(f"document.querySelector('#{view}').innerText.includes({IMG!r})")
    page.click("nav a[href='#players']")
    page.wait("document.querySelector('#player-list a')")
    page.click("#player-list a")
    page.wait(f"document.querySelector('#player h3')?.innerText === {IMG!r}")
    # The only image is the console's own.
    assert ["/_emulator/console.svg"] == page.run(
        "[...document.images].map((each) => new URL(each.src).pathname)"
    )
    assert [] == page.dialogs()
    # Even if the script made a mistake, the policy would refuse it.
    assert "TypeError" == page.run(
        "(() => { try { document.body.innerHTML = '<b>x</b>'; }"
        " catch (error) { return error.name; } })()"
    )


def test_a_replay_button_delivers_again(kraty: Emulator, page: Tab) -> None:
    """A click delivers the event again, and the new attempt appears with its signature."""
    received: list[Seen] = []

    def receive(seen: Seen) -> bytes:
        received.append(seen)
        return response(200)

    with serving(receive) as receiver, kraty.client() as client:
        kraty.webhooks.register(receiver.url, "whsec_local", events=["wallet.changed"])
        client.wallet.credit("player_42", "gold", amount=5)
        page.click("nav a[href='#webhooks']")
        page.wait("document.querySelectorAll('#delivery-list .tries li').length === 1")
        page.click("#delivery-list button")
        page.wait("document.querySelectorAll('#delivery-list .tries li').length === 2")
        page.click("#delivery-list li:last-child summary")
        shown = page.text("#delivery-list li:last-child pre")
        assert [False, True] == [shown == seen.headers["x-signature"] for seen in received]


def test_a_page_on_another_port_controls_nothing(kraty: Emulator, browser: Browser) -> None:
    """No fetch, form, frame or stream of another origin changes or reads anything."""
    with kraty.client() as client:
        client.wallet.credit("player_42", "gold", amount=5)
    html = response(200, b"<!doctype html><title>x</title>", content_type="text/html")
    with serving(lambda _: html) as elsewhere:
        tab = browser.open(f"{elsewhere.url}/")
        target = f"{kraty.base_url}/_emulator"
        read = "(url, options) => fetch(url, options).then((a) => a.text(), (e) => e.name)"
        for path, options in (
            ("reset", "{method: 'POST'}"),
            (
                "faults",
                "{method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}",
            ),
            ("faults", "{method: 'DELETE'}"),
            ("ledger", "{}"),
            ("reset", "{method: 'POST', credentials: 'include'}"),
        ):
            assert "TypeError" == tab.run(f"({read})('{target}/{path}', {options})")
        # A page may send these without asking, and sees nothing of the answer.
        for options in ("{method: 'POST', mode: 'no-cors'}", "{mode: 'no-cors'}"):
            assert "" == tab.run(f"({read})('{target}/reset', {options})")
        assert "error" == tab.run(
            f"new Promise((done) => {{ const stream = new EventSource('{target}/changes');"
            " stream.onopen = () => done('open'); stream.onerror = () => done('error'); })"
        )
        tab.run(
            "new Promise((done) => { const frame = document.createElement('iframe');"
            f" frame.name = 'frame'; frame.src = '{kraty.base_url}/'; frame.onload = done;"
            " document.body.append(frame); })"
        )
        tab.run(
            "new Promise((done) => { const form = document.createElement('form');"
            f" form.method = 'post'; form.action = '{target}/reset'; form.target = 'frame';"
            " document.body.append(form);"
            " document.querySelector('iframe').onload = done; form.submit(); })"
        )
        tab.close()
    # All of them have reached the emulator by now: the browser has its answers.
    assert 5 == kraty.balance("player_42", "gold")


def test_everything_has_a_name_and_fits_a_phone(kraty: Emulator, page: Tab) -> None:
    """Each control has a name for screen readers, and no view is wider than a phone."""
    with kraty.client() as client:
        client.wallet.credit("x" * 60, "gold", amount=5, idempotency_key="k" * 100)
    roles = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "spinbutton"}
    for view in page.run("[...document.querySelectorAll('nav a')].map((each) => each.hash)"):
        page.run(f"location.hash = '{view}'")
        page.wait(f"!document.querySelector('section{view}').hidden")
        page.look(390, 844)
        assert 390 == page.run("document.documentElement.scrollWidth"), view
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        controls = [
            node["name"]["value"] for node in nodes if node.get("role", {}).get("value") in roles
        ]
        assert len(controls) > 8
        assert "" not in controls, view


def test_the_console_reports_when_the_emulator_has_gone(browser: Browser, tmp_path: Path) -> None:
    """The console shows that the emulator has gone, and reconnects when it is back."""
    database = tmp_path / "kraty.sqlite3"
    with Emulator(database=database) as first:
        port = int(first.base_url.rpartition(":")[2])
        tab = browser.open(f"{first.base_url}/#ledger")
        tab.wait("document.querySelector('#link').textContent === 'live'")
    tab.wait("document.querySelector('#link').textContent === 'not connected'")
    with Emulator(database=database, port=port) as second, second.client() as client:
        client.wallet.credit("player_42", "gold", amount=5)
        tab.wait("document.querySelector('#ledger').innerText.includes('player_42')")
        tab.wait("document.querySelector('#link').textContent === 'live'")
        tab.close()
