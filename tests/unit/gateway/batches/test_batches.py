"""Batches in SQLite and PostgreSQL: whose they are, and which gateway works on which."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.batches.batch_record import Status
from penstock_gateway.batches.batches import LeaseLostError
from tests.unit.gateway.batches.working import Clock, Working, requests, working


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def one(database_url: str, tmp_path: Path, clock: Clock) -> Working:
    return working(database_url, tmp_path / "files", clock=clock)


@pytest.fixture
def two(one: Working, database_url: str, tmp_path: Path, clock: Clock) -> Working:
    """Another gateway with the same database and store."""
    return Working(database_url, tmp_path / "files", "two", clock)


async def test_a_batch_belongs_to_the_key_that_made_it(one: Working, two: Working) -> None:
    """Any gateway shows it to that key; for any other one there is none of that id, and it cannot cancel it."""
    batch = await one.create(requests(1))
    assert await two.batches.show("ann", batch.id) == batch
    for refused in (
        lambda: one.batches.show("bob", batch.id),
        lambda: one.batches.cancel("bob", batch.id),
        lambda: one.batches.find("bob", batch.id, 10),
        lambda: one.batches.show("ann", "batch_1\0"),
    ):
        with pytest.raises(PenstockError) as caught:
            await refused()
        assert (caught.value.status, caught.value.code) == (404, "unknown-batch")
    assert (await one.batches.show("ann", batch.id)).status is Status.VALIDATING


async def test_batches_are_listed_page_by_page(one: Working, clock: Clock) -> None:
    """The newest first, and those that were made at the same time too."""
    made = [(await one.create(requests(1))).id for _ in range(3)]
    clock.now += 1
    made.append((await one.create(requests(1))).id)
    await one.create(requests(1), "bob")
    seen: list[str] = []
    while page := await one.batches.find("ann", seen[-1] if seen else None, 2):
        seen += [batch.id for batch in page]
    assert seen[0] == made[3]
    assert sorted(seen) == sorted(made)


async def test_one_gateway_works_on_a_batch(one: Working, two: Working, clock: Clock) -> None:
    """As long as it renews its lease; then another one takes it, and the first changes nothing any more."""
    batch = await one.create(requests(1))
    mine = await one.claim()
    assert mine.id == batch.id
    clock.now += 2
    mine = await one.batches.renew(mine)
    clock.now += 2
    assert await two.batches.claim(()) is None
    clock.now += 1.1
    theirs = await two.claim()
    for refused in (lambda: one.batches.renew(mine), lambda: one.batches.reload(mine)):
        with pytest.raises(LeaseLostError):
            await refused()
    mine.progress.total = 7
    assert not await one.batches.write_progress(mine)
    assert not await one.batches.move(mine, Status.FAILED)
    await one.batches.release(mine, 0.0)
    assert await two.batches.renew(theirs) == theirs
    assert (await two.batches.show("ann", batch.id)).progress.total == 0


async def test_keys_take_turns(one: Working, clock: Clock) -> None:
    """New batches are validated first; then the one that has waited longest is taken, and one of each key at a time."""
    for principal in ("ann", "ann", "bob"):
        batch = await one.in_progress(await one.create(requests(1), principal))
        clock.now += 1
        await one.batches.release(batch, 0.0)
    taken = await one.claim()
    assert taken.principal == "ann"
    busy = await one.batches.claim({"ann"})
    assert busy is not None and busy.principal == "bob"
    assert await one.batches.claim({"ann", "bob"}) is None
    new = await one.create(requests(1), "ann")
    first = await one.batches.claim({"ann", "bob"})
    assert first is not None and first.id == new.id
    clock.now += 1
    await one.batches.renew(first)
    await one.batches.release(taken, 0.0)
    other = await one.claim()
    assert (other.principal, other.id != taken.id) == ("ann", True)  # its turn comes before another one of the first


async def test_what_has_failed_is_left_alone_for_a_while(one: Working, clock: Clock) -> None:
    """Such as a batch whose store was away."""
    batch = await one.create(requests(1))
    await one.batches.release(await one.claim(), 10.0)
    clock.now += 9
    assert await one.batches.claim(()) is None
    clock.now += 1.1
    assert (await one.claim()).id == batch.id


async def test_a_batch_that_is_over_cannot_be_cancelled(one: Working) -> None:
    """The refusal has its status; to cancel one twice is no error."""
    done = await one.work(await one.create(requests(1)))
    with pytest.raises(PenstockError, match="is completed") as caught:
        await one.batches.cancel("ann", done.id)
    assert (caught.value.status, caught.value.code) == (409, "batch-is-over")
    again = await one.create(requests(1))
    first = await one.batches.cancel("ann", again.id)
    assert await one.batches.cancel("ann", again.id) == first


async def test_a_key_has_so_many_batches(one: Working) -> None:
    """Those of other keys are not counted."""
    file_id = await one.upload(requests(1))
    order = (await one.create(requests(1))).order
    for _ in range(one.bounds.max_batches_per_key - 1):
        await one.batches.create("ann", order)
    with pytest.raises(PenstockError) as caught:
        await one.batches.create("ann", order)
    assert (caught.value.status, caught.value.extra["bound"]) == (413, "max_batches_per_key")
    await one.create(requests(1), "bob")
    assert file_id
