"""Actions of a game client, which a server key cannot do on the real platform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID

from ._state import Attempt, Player, State
from ._world import Game

__all__ = ["GameClient"]


class GameClient:
    """Acts as a client of the first key's game: starts attempts, makes friends, blocks players.

    A player that does not exist is created. No webhooks are sent.
    """

    def __init__(
        self, state: State, game: Game, clock: Callable[[], float], new_uuid: Callable[[], UUID]
    ) -> None:
        self._state: Final = state
        self._game = game
        self._clock = clock
        self._new_uuid = new_uuid

    def start_attempt(self, external_player_id: str, event_key: str) -> str:
        """Start a player's attempt at an event; return its id.

        Raises:
            ValueError: The game has no such event, or the player's id is empty.
        """
        event = self._game.event(event_key)
        if event is None:
            known = ", ".join(each.key for each in self._game.events) or "none"
            raise ValueError(f"the game has no event {event_key!r}; it has: {known}")
        with self._state.transaction():
            player, now = self._player(external_player_id), self._now()
            attempt = Attempt(
                id=f"att_{self._new_uuid().hex}",
                event_key=event_key,
                player_id=player.id,
                started_at=now,
                ends_at=now + event.duration * 1000,
                completed_at=None,
                metrics="{}",
            )
            self._state.attempts.add(attempt)
        return attempt.id

    def befriend(self, external_player_id: str, other_external_player_id: str) -> None:
        """Make two players friends. This also answers friend requests between them.

        Raises:
            ValueError: Both ids are the same, or one is empty.
        """
        with self._state.transaction():
            player, other = self._two(external_player_id, other_external_player_id)
            self._state.social.befriend(player.id, other.id, self._now())

    def request_friendship(self, external_player_id: str, other_external_player_id: str) -> str:
        """Let the first player send the second one a friend request; return the request's id.

        Raises:
            ValueError: It is the same player twice, or an id is empty.
        """
        request_id = f"frq_{self._new_uuid().hex}"
        with self._state.transaction():
            player, other = self._two(external_player_id, other_external_player_id)
            self._state.social.ask(request_id, player.id, other.id, self._now())
        return request_id

    def block(self, external_player_id: str, other_external_player_id: str) -> None:
        """Let the first player block the second one.

        Raises:
            ValueError: It is the same player twice, or an id is empty.
        """
        with self._state.transaction():
            player, other = self._two(external_player_id, other_external_player_id)
            self._state.social.block(player.id, other.id, self._now())

    def _two(self, one: str, other: str) -> tuple[Player, Player]:
        if one == other:
            raise ValueError(f"the two players must differ, but both are {one!r}")
        return self._player(one), self._player(other)

    def _player(self, external_id: str) -> Player:
        if not external_id:
            raise ValueError("a player's id must not be empty")
        players, now = self._state.players, self._now()
        known = players.see(self._game.id, external_id, now)
        if known is not None:
            return known
        return players.add(f"ply_{self._new_uuid().hex}", self._game.id, external_id, now)

    def _now(self) -> int:
        return round(self._clock() * 1000)
