"""Following the registry: each new snapshot is handed over once, even after outages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import REGISTRY

from penstock_common import registry_follow
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_follow import follow
from penstock_common.registry_models import Snapshot

AWAY = httpx.Response(503)


def snapshot(cursor: str) -> httpx.Response:
    return httpx.Response(200, json={"cursor": cursor, "models": []})


class Follower:
    """Follows a registry that gives the listed answers, and is cancelled after them.

    Args:
        failures: the number of calls, from the first one, in which ``on_snapshot`` fails.
    """

    def __init__(self, *answers: httpx.Response, failures: int = 0) -> None:
        self._answers: Iterator[httpx.Response] = iter(answers)
        self._failures = failures
        self.asked: list[tuple[str, float]] = []
        self.seen: list[str] = []
        self.pauses: list[float] = []
        self.reachable: list[float | None] = []

    async def run(self) -> None:
        async with RegistryClient("http://registry", transport=httpx.MockTransport(self._answer)) as client:
            with pytest.raises(asyncio.CancelledError):
                await follow(client, self._on_snapshot, sleep=self._sleep)

    async def _on_snapshot(self, snapshot: Snapshot) -> None:
        self.seen.append(snapshot.cursor)
        if len(self.seen) <= self._failures:
            raise RuntimeError("not loaded")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.asked:
            self.reachable.append(REGISTRY.get_sample_value("penstock_registry_reachable"))
        self.asked.append((request.url.params["cursor"], float(request.url.params["wait"])))
        try:
            return next(self._answers)
        except StopIteration:
            raise asyncio.CancelledError from None

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


async def test_each_new_snapshot_is_handed_over_once() -> None:
    """The same cursor twice is one snapshot; the first call does not wait, the next ones poll with the cursor."""
    follower = Follower(snapshot("a"), snapshot("a"), snapshot("b"))
    await follower.run()
    assert follower.seen == ["a", "b"]
    assert follower.asked == [("", 0.0), ("a", 25.0), ("a", 25.0), ("b", 25.0)]
    assert follower.pauses == []


async def test_the_last_good_state_is_kept_through_an_outage() -> None:
    """Nothing is handed over while the registry is away; afterwards the poll goes on with the same cursor."""
    follower = Follower(snapshot("a"), AWAY, AWAY, snapshot("a"), snapshot("b"))
    await follower.run()
    assert follower.seen == ["a", "b"]
    assert follower.asked == [("", 0.0), ("a", 25.0), ("a", 25.0), ("a", 25.0), ("a", 25.0), ("b", 25.0)]
    assert follower.reachable == [1, 0, 0, 1, 1]


@pytest.mark.parametrize("share", [0.5, 1.0])
async def test_pauses_double_up_to_five_seconds(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Each pause is a random share of twice the one before; the first success resets them."""
    monkeypatch.setattr(registry_follow.random, "uniform", lambda low, high: low if share == 0.5 else high)
    follower = Follower(*[AWAY] * 8, snapshot("a"), AWAY)
    await follower.run()
    whole = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 0.2]
    assert follower.pauses == pytest.approx([share * pause for pause in whole])


async def test_a_snapshot_that_could_not_be_used_is_handed_over_again() -> None:
    """An error of ``on_snapshot`` counts as an outage: after a pause, the same snapshot is handed over again."""
    follower = Follower(snapshot("a"), snapshot("a"), failures=1)
    await follower.run()
    assert follower.seen == ["a", "a"]
    assert len(follower.pauses) == 1
