"""What only a game client can create, and the backend's calls that build on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from kraty_admin import KratyAdmin, KratyServerError
from kraty_admin.emulator import DEFAULT_WORLD, Emulator, Event


@pytest.fixture
def client(kraty: Emulator) -> Iterator[KratyAdmin]:
    with kraty.client() as client:
        yield client


class TestAttempts:
    """Progress of attempts."""

    def test_values_are_set_and_added_to(self, kraty: Emulator, client: KratyAdmin) -> None:
        """`set` replaces a value, `increment` adds to it, and the score is the sum of all."""
        attempt_id = kraty.game_client.start_attempt("p", "quick_brawl")
        report = client.events.report_progress
        report("p", "quick_brawl", attempt_id, mode="set", metrics={"kills": 3, "gems": 0.5})
        progress = report("p", "quick_brawl", attempt_id, mode="increment", metrics={"kills": 2})

        assert {"kills": 5, "gems": 0.5} == progress.attempt.metrics
        assert (5.5, "in_progress") == (progress.attempt.score, progress.attempt.status)
        assert [] == progress.milestones_fired

    def test_an_event_that_was_disabled(self, tmp_path: Path) -> None:
        """An attempt of an event that is disabled later makes no more progress."""
        path = str(tmp_path / "kraty.sqlite3")
        with Emulator(database=path) as kraty:
            attempt_id = kraty.game_client.start_attempt("p", "quick_brawl")
        (first, *others) = DEFAULT_WORLD.games
        events = [Event(key="quick_brawl", enabled=False)]
        world = attrs.evolve(DEFAULT_WORLD, games=[attrs.evolve(first, events=events), *others])
        with Emulator(database=path, world=world) as kraty:
            report = kraty.client().events.report_progress
            with pytest.raises(KratyServerError) as refused:
                report("p", "quick_brawl", attempt_id, mode="set", metric_value=1)
        assert (409, "event_disabled") == (refused.value.status, refused.value.code)

    def test_a_repeat_adds_nothing(self, kraty: Emulator, client: KratyAdmin) -> None:
        """A repeat with the same key returns the first answer; another body is refused."""
        attempt_id = kraty.game_client.start_attempt("p", "quick_brawl")

        def report(value: float) -> Any:
            return client.events.progress(
                *("p", "quick_brawl", attempt_id),
                mode="increment",
                metric_value=value,
                idempotency_key="match_1",
            )

        assert report(2) == report(2)
        with pytest.raises(KratyServerError) as refused:
            report(3)
        assert refused.value.is_idempotency_conflict

    def test_an_attempt_is_finished_once(self, kraty: Emulator, client: KratyAdmin) -> None:
        """A second finish returns the first outcome, and a later report is refused."""
        attempt_id = kraty.game_client.start_attempt("p", "quick_brawl")
        first = client.events.finish("p", "quick_brawl", attempt_id)
        again = client.events.finish("p", "quick_brawl", attempt_id)

        assert ("completed", "completed") == (first.outcome, first.attempt.status)
        assert first == again
        with pytest.raises(KratyServerError) as refused:
            client.events.progress("p", "quick_brawl", attempt_id, mode="set", metric_value=1)
        assert refused.value.is_conflict

    def test_an_attempt_expires(self, kraty: Emulator, client: KratyAdmin) -> None:
        """An attempt that is finished after the event's duration has expired."""
        attempt_id = kraty.game_client.start_attempt("p", "quick_brawl")
        kraty.clock.advance(timedelta(hours=1).total_seconds())

        assert "expired" == client.events.finish("p", "quick_brawl", attempt_id).outcome

    @pytest.mark.parametrize(
        ("event", "attempt", "values", "code"),
        [
            pytest.param("nothing", None, {"metric_value": 1}, "not_found", id="event"),
            pytest.param("weekly_ladder", None, {"metric_value": 1}, "not_found", id="other event"),
            pytest.param("quick_brawl", "att_0", {"metric_value": 1}, "not_found", id="attempt"),
            pytest.param("quick_brawl", None, {}, "validation_failed", id="no value"),
            pytest.param(
                *("quick_brawl", None, {"metric_value": 1, "metrics": {"k": 1}}),
                *("validation_failed",),
                id="both",
            ),
        ],
    )
    def test_refused(
        self,
        kraty: Emulator,
        client: KratyAdmin,
        event: str,
        attempt: str | None,
        values: dict[str, Any],
        code: str,
    ) -> None:
        """A report that names nothing, or has no value or two, is refused and changes nothing."""
        attempt_id = kraty.game_client.start_attempt("p", "quick_brawl")
        with pytest.raises(KratyServerError) as refused:
            client.events.progress("p", event, attempt or attempt_id, mode="set", **values)
        assert code == refused.value.code
        assert [{}] == [each["metrics"] for each in client.players.get("p").recent_attempts or []]

    def test_a_sum_stays_finite(self, kraty: Emulator, client: KratyAdmin) -> None:
        """Numbers whose sum is infinite are refused, since JSON cannot hold it."""
        attempt_id = kraty.game_client.start_attempt("p", "quick_brawl")
        report = client.events.progress
        report("p", "quick_brawl", attempt_id, mode="set", metric_value=1e308)
        with pytest.raises(KratyServerError) as refused:
            report("p", "quick_brawl", attempt_id, mode="increment", metric_value=1e308)
        assert "validation_failed" == refused.value.code
        with pytest.raises(KratyServerError) as refused:
            report("p", "quick_brawl", attempt_id, mode="set", metrics={"a": 1e308, "b": 1e308})
        assert "validation_failed" == refused.value.code
        assert math.isfinite(client.events.finish("p", "quick_brawl", attempt_id).attempt.score)

    def test_merged_and_erased(self, kraty: Emulator, client: KratyAdmin) -> None:
        """A merge moves attempts and drops scores, and an erasure counts both."""
        kraty.game_client.start_attempt("guest", "quick_brawl")
        client.leaderboards.submit_score("guest", "all_time", 5)
        client.wallet.credit("p", "gold", amount=1)
        merged = client.players.merge("guest", "p")
        assert (1, 1) == (merged.counts.attempts_reassigned, merged.counts.leaderboards_scrubbed)
        client.leaderboards.submit_score("p", "all_time", 5)
        erased = client.players.delete("p")
        assert (1, 1) == (erased.attempts_anonymized, erased.leaderboards_scrubbed)


class TestScores:
    """Scores on leaderboards."""

    def test_the_highest_score_counts(self, client: KratyAdmin) -> None:
        """A player's highest score counts, equal scores share a rank, and segments rank apart."""
        submit = client.leaderboards.submit_score
        ranks = [
            submit("a", "all_time", 10).rank,
            submit("b", "all_time", 20.5).rank,
            submit("c", "all_time", 20.5).rank,
            submit("b", "all_time", 3).rank,
            submit("a", "all_time", 3, segment="PT").rank,
        ]

        assert [1, 1, 1, 1, 1] == ranks
        lower = submit("a", "all_time", 5)
        assert (10, 3) == (lower.score, lower.rank)

    @pytest.mark.parametrize(
        ("key", "code"), [("season_pass", "score_not_supported"), ("nothing", "not_found")]
    )
    def test_refused(self, client: KratyAdmin, key: str, code: str) -> None:
        """A leaderboard that takes no scores, or does not exist, refuses one."""
        with pytest.raises(KratyServerError) as refused:
            client.leaderboards.submit_score("p", key, 1)
        assert (400 if "score" in code else 404, code) == (refused.value.status, refused.value.code)
        assert refused.value.is_score_not_supported == ("score" in code)


class TestSocial:
    """Identities, friends, requests and blocks."""

    def test_an_avatar_is_kept_or_removed(self, client: KratyAdmin) -> None:
        """An avatar that is left out stays, and `None` removes it."""
        client.wallet.credit("p", "gold", amount=1)
        name = client.players.set_identity
        shown = [
            name("p", name="Bo", avatar="fox"),
            name("p", name="Boo"),
            name("p", name="Boo", avatar=None),
        ]

        assert [
            {"name": "Bo", "avatar": "fox"},
            {"name": "Boo", "avatar": "fox"},
            {"name": "Boo"},
        ] == [each.synthetic_identity for each in shown]
        with pytest.raises(KratyServerError) as refused:
            name("nobody", name="Bo")
        assert refused.value.is_not_found

    def test_friends(self, kraty: Emulator, client: KratyAdmin) -> None:
        """Both players see the friendship, which replaces the request between them."""
        asked = kraty.game_client.request_friendship("a", "b")
        (outgoing,) = client.players.friend_requests("a").outgoing
        (incoming,) = client.players.friend_requests("b").incoming
        assert (asked, "b") == (outgoing.request_id, outgoing.player.external_player_id)
        assert (asked, "a") == (incoming.request_id, incoming.player.external_player_id)

        client.players.set_identity("b", name="Bo")
        kraty.game_client.befriend("a", "b")
        assert {"incoming": [], "outgoing": []} == client.players.friend_requests("a")
        (friend,) = client.players.friends("a")
        assert friend.display_identity is not None
        assert ("b", "Bo") == (friend.external_player_id, friend.display_identity.name)
        (other,) = client.players.friends("b")
        assert (None, False) == (other.display_identity, other.online)

    def test_blocks(self, kraty: Emulator, client: KratyAdmin) -> None:
        """Only the player who blocks sees the block, and an erased player is in no list."""
        kraty.game_client.block("a", "b")
        kraty.game_client.block("a", "b")
        assert ["b"] == [each.external_player_id for each in client.players.blocks("a")]
        assert [] == client.players.blocks("b")
        client.players.delete("b")
        assert [] == client.players.blocks("a")

    @pytest.mark.parametrize("call", ["friends", "friend_requests", "blocks"])
    def test_nobody(self, client: KratyAdmin, call: str) -> None:
        """The lists of a player who does not exist are not found."""
        with pytest.raises(KratyServerError) as refused:
            getattr(client.players, call)("nobody")
        assert refused.value.is_not_found


def attempts(client: KratyAdmin) -> list[Any]:
    return client.players.get("a").recent_attempts or []


def friends(client: KratyAdmin) -> list[Any]:
    return list(client.players.friends("b"))


def requests(client: KratyAdmin) -> list[Any]:
    return list(client.players.friend_requests("b").incoming)


def blocks(client: KratyAdmin) -> list[Any]:
    return list(client.players.blocks("a"))


class TestControl:
    """The same, created over HTTP."""

    @pytest.mark.parametrize(
        ("name", "body", "seen"),
        [
            pytest.param(
                "attempts",
                {"external_player_id": "a", "event_key": "quick_brawl"},
                attempts,
                id="attempt",
            ),
            pytest.param(
                "friendships",
                {"external_player_id": "a", "other_external_player_id": "b"},
                friends,
                id="friendship",
            ),
            pytest.param(
                "friend_requests",
                {"external_player_id": "a", "other_external_player_id": "b"},
                requests,
                id="request",
            ),
            pytest.param(
                "blocks",
                {"external_player_id": "a", "other_external_player_id": "b"},
                blocks,
                id="block",
            ),
        ],
    )
    def test_by_http(
        self,
        kraty: Emulator,
        client: KratyAdmin,
        name: str,
        body: dict[str, str],
        seen: Callable[[KratyAdmin], list[Any]],
    ) -> None:
        """A control call creates the object, and an empty id is refused."""
        url = f"{kraty.base_url}/_emulator/{name}"
        assert 200 == httpx.post(url, json=body).status_code
        assert 1 == len(seen(client))
        refused = httpx.post(url, json={**body, "external_player_id": ""})
        assert 400 == refused.status_code
        assert "must not be empty" in refused.text

    def test_mistakes(self, kraty: Emulator) -> None:
        """A wrong argument is a ValueError that says what is wrong."""
        with pytest.raises(ValueError, match="no event 'x'; it has: quick_brawl, "):
            kraty.game_client.start_attempt("a", "x")
        with pytest.raises(ValueError, match="both are 'a'"):
            kraty.game_client.befriend("a", "a")
