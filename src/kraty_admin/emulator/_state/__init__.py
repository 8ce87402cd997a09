"""The emulator's memory: a module for each resource, which stores rows and knows no rules.

Times are milliseconds since the epoch, and values of columns that hold JSON are JSON text.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from ._answers import Answers, KeyedAnswer
from ._attempts import Attempt, Attempts
from ._database import Database
from ._deliveries import (
    COLLECTED,
    Deliveries,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    Due,
    EventRow,
)
from ._grants import Grant, Grants
from ._ledger import Holding, HoldingRow, Kind, Ledger, LedgerEntry, LedgerRow
from ._lobbies import Lobbies, Lobby
from ._players import NewPlayer, Player, Players
from ._scores import Scores
from ._social import Identity, Other, Social

__all__ = [
    "COLLECTED",
    "Attempt",
    "Deliveries",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryStatus",
    "Due",
    "EventRow",
    "Grant",
    "Holding",
    "HoldingRow",
    "Identity",
    "KeyedAnswer",
    "Kind",
    "LedgerEntry",
    "LedgerRow",
    "Lobby",
    "NewPlayer",
    "Other",
    "Player",
    "State",
]


class State:
    """The tables of one database."""

    def __init__(self, path: str) -> None:
        """Open the database; `:memory:` keeps it in memory.

        Raises:
            ValueError: The file cannot be opened, is used by another emulator, or belongs to
                another program or version. The message names the file.
        """
        self.database: Final = Database(path)
        self.players: Final = Players(self.database)
        self.ledger: Final = Ledger(self.database)
        self.grants: Final = Grants(self.database)
        self.lobbies: Final = Lobbies(self.database)
        self.scores: Final = Scores(self.database)
        self.attempts: Final = Attempts(self.database)
        self.social: Final = Social(self.database)
        self.answers: Final = Answers(self.database)
        self.deliveries: Final = Deliveries(self.database)

    def transaction(self) -> AbstractContextManager[None]:
        """Commit a block as a whole, or roll it back if it raises."""
        return self.database.transaction()

    @property
    def is_empty(self) -> bool:
        """Whether no call has changed anything. Every change creates or needs a player."""
        return self.database.one("SELECT 1 FROM players LIMIT 1") is None

    def reset(self) -> None:
        """Delete everything."""
        self.database.reset()

    def close(self) -> None:
        """Close the database. A second call does nothing."""
        self.database.close()
