"""Tests as Django runs them: `python manage.py test`."""

from django.core.management import call_command
from django.test import TransactionTestCase, override_settings

from kraty_admin.emulator import Emulator


class PurchaseTest(TransactionTestCase):
    """Purchases against a local Kraty."""

    def test_a_receipt_that_comes_twice(self) -> None:
        """A receipt that comes twice pays the player once."""
        with (
            Emulator() as kraty,
            override_settings(KRATY={"API_KEY": kraty.api_key, "BASE_URL": kraty.base_url}),
        ):
            call_command("kraty_outbox", "set-up")
            for _ in range(2):
                body = {"receipt_id": "receipt_1", "player": "player_42"}
                answer = self.client.post("/buy", body, content_type="application/json")
                self.assertEqual(202, answer.status_code)
                call_command("kraty_outbox", "--once")
            self.assertEqual(500, kraty.balance("player_42", "gold"))
