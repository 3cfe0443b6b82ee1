"""The bytes of bodies in flight."""

from __future__ import annotations

import asyncio

import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.edge.body_budget import BodyBudget


def refused(budget: BodyBudget, key: str, size: int) -> tuple[int, str]:
    with pytest.raises(PenstockError) as caught:
        budget.take(key, size)
    return caught.value.status, caught.value.extra["bound"]


def test_a_key_has_its_share() -> None:
    """A key over its bound is refused with 429, and others are not."""
    budget = BodyBudget(100, 60, 4)
    budget.take("a", 60)
    assert refused(budget, "a", 1) == (429, "max_bodies_bytes_per_key")
    budget.take("b", 40)


def test_all_together_have_a_bound() -> None:
    """Once the sum is reached even a new key is refused, with 503."""
    budget = BodyBudget(100, 60, 4)
    budget.take("a", 60)
    budget.take("b", 40)
    assert refused(budget, "c", 1) == (503, "max_bodies_bytes")


def test_what_ends_makes_room() -> None:
    """A request gives back all that it held, once, whatever it was refused meanwhile."""
    budget = BodyBudget(100, 60, 4)
    hold = budget.hold("a")
    hold.take(50)
    hold.take(10)
    with pytest.raises(PenstockError):
        hold.take(1)
    assert budget.held == 60
    hold.release()
    hold.release()
    assert budget.held == 0
    budget.take("a", 60)


async def waiting(budget: BodyBudget, key: str, size: int, seconds: float = 60.0) -> asyncio.Task[None]:
    """A body that has asked for room, and waits if there is none."""
    task = asyncio.create_task(budget.wait(key, size, seconds))
    await asyncio.sleep(0)
    return task


async def settled() -> None:
    """After the turns of the event loop that a grant needs."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture
def budget() -> BodyBudget:
    """Room for 1,000,000 bytes, 600,000 of one key; larger bodies than 64 kB wait in their order."""
    return BodyBudget(1_000_000, 600_000, 4)


async def test_a_body_without_room_waits_for_those_before_it(budget: BodyBudget) -> None:
    """It is let in when they end, in the order of arrival."""
    budget.take("a", 500_000)
    second, third = await waiting(budget, "a", 400_000), await waiting(budget, "a", 100_000)
    assert not second.done() and not third.done()
    budget.give_back("a", 500_000)
    await settled()
    assert second.done() and third.done()
    assert budget.held == 500_000


async def test_a_key_at_its_bound_holds_up_only_itself(budget: BodyBudget) -> None:
    """Another key's body passes those that wait for their own key's room."""
    budget.take("a", 600_000)
    own, other = await waiting(budget, "a", 100_000), await waiting(budget, "b", 100_000)
    assert not own.done() and other.done()
    budget.give_back("a", 600_000)
    await own


async def test_a_large_body_is_not_passed_by_smaller_ones(budget: BodyBudget) -> None:
    """While all room is taken, the first in line is let in first; only a small body, which is here already, passes."""
    budget.take("a", 600_000)
    large, smaller = await waiting(budget, "b", 500_000), await waiting(budget, "c", 100_000)
    small = await waiting(budget, "d", 1000)
    assert (large.done(), smaller.done(), small.done()) == (False, False, True)
    budget.give_back("a", 600_000)
    await asyncio.gather(large, smaller)


@pytest.mark.parametrize(("key", "refusal"), [("a", (429, "too-many-body-bytes")), ("b", (503, "bodies-full"))])
async def test_a_body_waits_no_longer_than_it_may(budget: BodyBudget, key: str, refusal: tuple[int, str]) -> None:
    """Then it is refused as if it had not waited, and those behind it are looked at."""
    budget.take("a", 600_000)
    budget.take("c", 300_000)
    late = await waiting(budget, key, 200_000, seconds=0)
    behind = await waiting(budget, "b", 100_000)
    with pytest.raises(PenstockError) as caught:
        await late
    assert (caught.value.status, caught.value.code) == refusal
    await behind


async def test_who_waited_for_its_own_bodies_is_told_so(budget: BodyBudget) -> None:
    """Also if they end at the moment at which its time is up, so that there is room again."""
    budget.take("a", 600_000)
    task = await waiting(budget, "a", 200_000, seconds=0)
    await asyncio.sleep(0)  # its time is up
    budget.give_back("a", 600_000)
    with pytest.raises(PenstockError) as caught:
        await task
    assert (caught.value.status, caught.value.extra["bound"]) == (429, "max_bodies_bytes_per_key")


async def test_only_so_many_wait(budget: BodyBudget) -> None:
    """Half of them of one key; more are refused at once."""
    budget.take("a", 600_000)
    tasks = [await waiting(budget, "a", 100_000) for _ in range(2)]
    with pytest.raises(PenstockError, match="max_bodies_bytes_per_key"):
        await budget.wait("a", 100_000, 60.0)
    budget.take("b", 400_000)
    tasks += [await waiting(budget, key, 100_000) for key in ("b", "c")]
    with pytest.raises(PenstockError, match="max_bodies_bytes ="):
        await budget.wait("d", 100_000, 60.0)
    for task in tasks:
        task.cancel()


async def test_who_stops_waiting_is_no_longer_let_in(budget: BodyBudget) -> None:
    """Also if there is room in the moment between the end of its time and its leaving the line."""
    budget.take("a", 600_000)
    leaver, next_one = await waiting(budget, "a", 600_000), await waiting(budget, "a", 100_000)
    leaver.cancel()
    budget.give_back("a", 600_000)
    await next_one
    assert leaver.cancelled()
    assert budget.held == 100_000


async def test_who_stops_waiting_holds_nothing(budget: BodyBudget) -> None:
    """Whether its turn has not come, or has come in the moment in which it stops."""
    budget.take("a", 600_000)
    leaver, next_one = await waiting(budget, "a", 600_000), await waiting(budget, "a", 100_000)
    budget.give_back("a", 600_000)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    await next_one
    assert budget.held == 100_000
