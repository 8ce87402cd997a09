"""`manage.py kraty_outbox`: send the recorded calls, as `kraty-admin outbox` does."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime, timezone
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS
from sqlalchemy.exc import DBAPIError

from kraty_admin import KratyError, outbox
from kraty_admin._signals import stop_on_signals
from kraty_admin.contrib.django import get_client
from kraty_admin.contrib.django.outbox import engine
from kraty_admin.outbox._store import still_open

__all__ = ["Command"]

_SOME_FAILED = 6
"""The exit status of `run --once` if intents were refused or became unknown. `kraty-admin outbox`
uses the same."""


class Command(BaseCommand):
    """Sends recorded calls, sets up the outbox, or shows its status."""

    help = (
        "Sends the calls that the project recorded. SIGTERM or Ctrl-C stops after the calls in "
        "flight; a second one stops at once. `set-up` records which game the outbox is for: run "
        "it after `migrate`."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "action",
            nargs="?",
            choices=["run", "set-up", "status"],
            default="run",
            help="run: send recorded calls. set-up: record the game. status: count the intents. "
            "Default: run.",
        )
        parser.add_argument(
            "--database",
            default=DEFAULT_DB_ALIAS,
            metavar="ALIAS",
            help="The alias in DATABASES of the database with the tables. Default: default.",
        )
        parser.add_argument(
            "--once", action="store_true", help="Send what is due, then exit, for use with cron."
        )
        parser.add_argument(
            "--limit", type=int, metavar="N", help="With --once: send at most N intents."
        )
        parser.add_argument(
            "--seconds",
            type=float,
            metavar="SECONDS",
            help="With --once: start no call after this many seconds. Default: 300.",
        )
        parser.add_argument(
            "--in-flight",
            type=int,
            default=4,
            metavar="N",
            help="How many intents to send at a time. Default: 4.",
        )
        parser.add_argument(
            "--add-target",
            action="store_true",
            help="With set-up: allow this game in a database that is for another game.",
        )

    def handle(
        self,
        *args: Any,
        action: str,
        database: str,
        once: bool,
        limit: int | None,
        seconds: float | None,
        in_flight: int,
        add_target: bool,
        **options: Any,
    ) -> None:
        """Run the action."""
        if not once and (limit is not None or seconds is not None):
            raise CommandError("--limit and --seconds need --once")
        database_engine = engine(database)
        try:
            if action == "set-up":
                target = outbox.set_up(database_engine, get_client(), add_target=add_target)
                self.stdout.write(f"The outbox is for {target}.")
            elif action == "status":
                self._status(outbox.status(database_engine))
            elif once:
                drain = outbox.drain if seconds is None else partial(outbox.drain, seconds=seconds)
                with stop_on_signals() as stop:
                    report = drain(
                        get_client(), database_engine, in_flight=in_flight, limit=limit, stop=stop
                    )
                self._report(report)
                if report.stopped_by == "empty" and (
                    words := still_open(outbox.status(database_engine))
                ):
                    self.stdout.write(words)
                if report.refused or report.unknown:
                    raise CommandError(
                        "intents were refused or became unknown: look at them in the admin",
                        returncode=_SOME_FAILED,
                    )
            else:
                self.stdout.write("Sending recorded calls until SIGTERM or Ctrl-C.")
                with stop_on_signals() as stop:
                    self._report(
                        outbox.run(get_client(), database_engine, stop=stop, in_flight=in_flight)
                    )
        except KratyError as error:
            raise CommandError(str(error)) from error
        except DBAPIError as error:
            # Not the whole error, because it contains the statement and its values.
            raise CommandError(
                f"the database failed: {error.orig}. If its tables are missing, run migrate"
            ) from error
        finally:
            database_engine.dispose()

    def _report(self, report: outbox.DrainReport) -> None:
        counts = report._asdict()
        self.stdout.write(", ".join(f"{name}: {value}" for name, value in counts.items()))

    def _status(self, status: outbox.OutboxStatus) -> None:
        for state, count in sorted(status.counts.items()):
            self.stdout.write(f"{state}: {count}")
        now = datetime.now(timezone.utc)
        for name, moment in (
            ("oldest open", status.oldest_open),
            ("oldest unknown", status.oldest_unknown),
        ):
            if moment is not None:
                self.stdout.write(f"{name}: {(now - moment).total_seconds():.0f} s")
