"""The coalescer: what a caller may rely on, whatever its neighbours do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_common.errors import PenstockError
from penstock_gateway.dataplane.coalescer import Coalescer


class Server:
    """Doubles each number; calls wait until they are let go."""

    def __init__(self) -> None:
        self.bundles: list[list[int]] = []
        self.deadlines: list[float] = []
        self.gates: list[asyncio.Future[None]] = []
        self.bad: set[int] = set()
        self.open = False
        self.called = asyncio.Event()

    async def send(self, items: Sequence[int], deadline: float) -> list[int]:
        self.bundles.append(list(items))
        self.deadlines.append(deadline)
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        self.called.set()
        if not self.open:
            await gate
        if self.bad & set(items):
            raise PenstockError(422, "bad-row", f"bad: {self.bad & set(items)}")
        return [2 * item for item in items]

    async def calls(self, count: int) -> None:
        """Wait until that many calls were made."""
        while len(self.bundles) < count:
            self.called.clear()
            await asyncio.wait_for(self.called.wait(), 5)

    def let_go(self, index: int) -> None:
        self.gates[index].set_result(None)

    def let_all_go(self) -> None:
        self.open = True
        for gate in self.gates:
            if not gate.done():
                gate.set_result(None)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def blames(err: Exception) -> bool:
    return isinstance(err, PenstockError) and err.status == 422


def coalescer(server: Server, **kwargs: object) -> Coalescer[int, int]:
    return Coalescer(server.send, blames_item=blames, **kwargs)  # type: ignore[arg-type]


SOON = 30.0


def later() -> float:
    return time.monotonic() + SOON


async def idle(c: Coalescer[int, int]) -> None:
    """Wait until nothing is queued or under way."""
    async with asyncio.timeout(10):
        while c.queued or c.outstanding:
            await asyncio.sleep(0)


async def test_a_cancelled_item_leaves_its_neighbours_answered() -> None:
    """An item cancelled while it waits is not sent; the others of its bundle are answered."""
    server = Server()
    c = coalescer(server, max_outstanding=1)
    first = c.submit(1, 1, later())
    await server.calls(1)
    waiting = [c.submit(n, 1, later()) for n in (2, 3, 4)]
    waiting[1].cancel()
    server.let_all_go()
    assert await asyncio.gather(first, waiting[0], waiting[2]) == [2, 4, 8]
    assert server.bundles == [[1], [2, 4]]


async def test_an_item_cancelled_under_way_leaves_its_neighbours_answered() -> None:
    """Cancelling an item that was already sent neither cancels the call nor leaves others pending."""
    server = Server()
    c = coalescer(server)
    futures = [c.submit(n, 1, later()) for n in (1, 2, 3)]
    await server.calls(1)
    futures[0].cancel()
    server.let_all_go()
    assert await asyncio.gather(*futures[1:]) == [4, 6]


async def test_a_lone_item_leaves_at_once() -> None:
    """With a free slot nothing waits for company."""
    server = Server()
    server.open = True
    c = coalescer(server)
    assert await c.submit(7, 1, later()) == 14
    assert server.bundles == [[7]]


async def test_items_of_one_turn_share_a_bundle() -> None:
    """What arrives in the same turn of the event loop leaves together, though a slot was free for the first."""
    server = Server()
    server.open = True
    c = coalescer(server)
    assert await asyncio.gather(*[c.submit(n, 1, later()) for n in range(5)]) == [0, 2, 4, 6, 8]
    assert server.bundles == [[0, 1, 2, 3, 4]]


async def test_at_most_so_many_calls_are_outstanding() -> None:
    """With both slots taken the rest waits, and leaves together when one frees."""
    server = Server()
    c = coalescer(server, max_outstanding=2, max_weight=64)
    a = c.submit(1, 1, later())
    await server.calls(1)
    b = c.submit(2, 1, later())
    await server.calls(2)
    rest = [c.submit(n, 1, later()) for n in (3, 4, 5)]
    assert (c.outstanding, c.queued) == (2, 3)
    server.let_go(0)
    await server.calls(3)
    assert server.bundles == [[1], [2], [3, 4, 5]]
    server.let_all_go()
    assert await asyncio.gather(a, b, *rest) == [2, 4, 6, 8, 10]


async def test_a_bundle_is_no_heavier_than_allowed() -> None:
    """Weights add up to max_weight at most; a heavier item travels alone."""
    server = Server()
    server.open = True
    c = coalescer(server, max_outstanding=1, max_weight=4)
    futures = [c.submit(n, w, later()) for n, w in ((1, 2), (2, 2), (3, 1), (4, 9), (5, 1))]
    await asyncio.gather(*futures)
    assert server.bundles == [[1, 2], [3], [4], [5]]


async def test_a_bad_row_fails_alone() -> None:
    """A bundle refused for one row's fault is sent again row by row: one error, the rest answered."""
    server = Server()
    server.open = True
    server.bad = {3}
    c = coalescer(server, max_outstanding=1)
    results = await asyncio.gather(*[c.submit(n, 1, later()) for n in range(1, 6)], return_exceptions=True)
    assert [r for i, r in enumerate(results) if i != 2] == [2, 4, 8, 10]
    assert isinstance(results[2], PenstockError)
    assert results[2].detail == "bad: {3}"
    assert server.bundles == [[1, 2, 3, 4, 5], [1], [2], [3], [4], [5]]


async def test_a_failure_that_is_nobodys_fault_is_not_sent_again() -> None:
    """An unavailable upstream fails the whole bundle at once."""

    async def send(items: Sequence[int], deadline: float) -> list[int]:
        calls.append(len(items))
        raise PenstockError(503, "upstream-unavailable", "away")

    calls: list[int] = []
    c: Coalescer[int, int] = Coalescer(send, blames_item=blames)
    results = await asyncio.gather(*[c.submit(n, 1, later()) for n in range(3)], return_exceptions=True)
    assert [getattr(r, "status", None) for r in results] == [503, 503, 503]
    assert calls == [3]


async def test_the_next_bundle_goes_out_after_a_failure() -> None:
    """Whatever a call raises, its slot is freed and the queue goes on."""
    fail = True

    async def send(items: Sequence[int], deadline: float) -> list[int]:
        if fail:
            raise RuntimeError("a defect")
        return list(items)

    c: Coalescer[int, int] = Coalescer(send, blames_item=blames, max_outstanding=1)
    with pytest.raises(RuntimeError):
        await c.submit(1, 1, later())
    fail = False
    assert await c.submit(2, 1, later()) == 2


async def test_a_wrong_number_of_results_is_an_error_for_all() -> None:
    """Nobody is left waiting, and nobody gets another's answer, when results and items disagree in number."""

    async def send(items: Sequence[int], deadline: float) -> list[int]:
        return [1]

    c: Coalescer[int, int] = Coalescer(send, blames_item=blames)
    results = await asyncio.gather(c.submit(1, 1, later()), c.submit(2, 1, later()), return_exceptions=True)
    assert all(isinstance(r, RuntimeError) for r in results)


async def test_a_bundles_deadline_is_its_earliest_items() -> None:
    """The call carries the earliest deadline of those it serves."""
    server = Server()
    server.open = True
    c = coalescer(server)
    now = time.monotonic()
    await asyncio.gather(c.submit(1, 1, now + 20), c.submit(2, 1, now + 10), c.submit(3, 1, now + 30))
    assert server.deadlines == [now + 10]


async def test_a_late_item_does_not_hold_or_fail_the_others() -> None:
    """When a bundle's deadline passes, only the item whose time is up gets 504; the rest is sent again."""
    clock = Clock()
    bundles: list[list[int]] = []

    async def send(items: Sequence[int], deadline: float) -> list[int]:
        bundles.append(list(items))
        if len(bundles) == 1:
            clock.now = deadline
            raise PenstockError(504, "deadline-exceeded", "late")
        return list(items)

    c: Coalescer[int, int] = Coalescer(send, blames_item=blames, clock=clock)
    results = await asyncio.gather(
        c.submit(1, 1, clock.now + 5), c.submit(2, 1, clock.now + 50), c.submit(3, 1, clock.now + 50),
        return_exceptions=True,
    )  # fmt: skip
    assert getattr(results[0], "status", None) == 504
    assert results[1:] == [2, 3]
    assert bundles == [[1, 2, 3], [2, 3]]


async def test_an_item_whose_time_is_up_in_the_queue_is_answered_then() -> None:
    """504 comes when the deadline passes, though the calls under way go on."""
    server = Server()
    c = coalescer(server, max_outstanding=1)
    first = c.submit(1, 1, later())
    await server.calls(1)
    patient = c.submit(2, 1, later())
    hasty = c.submit(3, 1, time.monotonic() + 0.01)
    with pytest.raises(PenstockError) as caught:
        await asyncio.wait_for(hasty, 5)
    assert caught.value.status == 504
    assert not first.done()
    assert c.queued == 1
    server.let_all_go()
    assert await asyncio.gather(first, patient) == [2, 4]


async def test_an_expired_item_is_never_sent() -> None:
    """An item whose time is up when its bundle is packed is answered 504 and left out."""
    server = Server()
    server.open = True
    c = coalescer(server)
    results = await asyncio.gather(
        c.submit(1, 1, time.monotonic() - 1), c.submit(2, 1, later()), return_exceptions=True
    )
    assert getattr(results[0], "status", None) == 504
    assert server.bundles == [[2]]


async def test_a_full_queue_refuses_at_once() -> None:
    """Back-pressure: 503 with Retry-After and the counter, and those who wait are not disturbed."""
    server = Server()
    c = coalescer(server, max_outstanding=1, max_queued=2)
    first = c.submit(1, 1, later())
    await server.calls(1)
    waiting = [c.submit(2, 1, later()), c.submit(3, 1, later())]
    with pytest.raises(PenstockError) as caught:
        c.submit(4, 1, later())
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "1")
    assert caught.value.extra == {"queued": 2, "limit": 2}
    server.let_all_go()
    assert await asyncio.gather(first, *waiting) == [2, 4, 6]


async def test_cancelled_items_give_their_place_back() -> None:
    """The room of cancelled items is free again once their turn has come."""
    server = Server()
    c = coalescer(server, max_outstanding=1, max_queued=2)
    first = c.submit(1, 1, later())
    await server.calls(1)
    for future in [c.submit(2, 1, later()), c.submit(3, 1, later())]:
        future.cancel()
    server.let_all_go()
    await first
    await idle(c)
    assert c.queued == 0
    assert await c.submit(4, 1, later()) == 8


async def test_everything_submitted_is_answered_in_the_end() -> None:
    """Once nothing is queued or under way, every future is done."""
    server = Server()
    server.open = True
    c = coalescer(server, max_outstanding=1, max_weight=2)
    futures = [c.submit(n, 1, later()) for n in range(7)]
    await idle(c)
    assert all(f.done() for f in futures)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["good", "bad", "cancelled", "expired"]), st.integers(1, 5)), min_size=1, max_size=40
    ),
    st.integers(1, 3),
    st.integers(1, 8),
)
def test_any_mixture_gives_each_its_own_answer(items: list[tuple[str, int]], outstanding: int, weight: int) -> None:
    """Whatever mixture is submitted: good items get their own result, bad ones their own error, none is left."""

    async def scenario() -> None:
        server = Server()
        server.bad = {n for n, (kind, _) in enumerate(items) if kind == "bad"}
        server.open = True
        c = coalescer(server, max_outstanding=outstanding, max_weight=weight)
        futures = []
        for n, (kind, w) in enumerate(items):
            future = c.submit(n, w, time.monotonic() - 1 if kind == "expired" else later())
            if kind == "cancelled":
                future.cancel()
            futures.append(future)
            if n % 3 == 0:
                await asyncio.sleep(0)
        await idle(c)
        for n, ((kind, _), future) in enumerate(zip(items, futures, strict=True)):
            if kind == "cancelled":
                assert future.cancelled()
            elif kind == "good":
                assert future.result() == 2 * n
            else:
                assert getattr(future.exception(), "status", None) == {"bad": 422, "expired": 504}[kind]
        assert c.queued == 0

    asyncio.run(scenario())


async def test_a_burst_that_is_read_over_several_turns_leaves_together() -> None:
    """Two in one turn wait for those of the next turns; the first turn without a new one sends them all."""
    server = Server()
    c = coalescer(server, max_outstanding=1)
    futures = [c.submit(0, 1, later())]
    for i in range(1, 5):
        futures.append(c.submit(i, 1, later()))
        await asyncio.sleep(0)
    await server.calls(1)
    assert server.bundles == [[0, 1, 2, 3, 4]]
    server.let_all_go()
    assert await asyncio.gather(*futures) == [0, 2, 4, 6, 8]


async def test_a_stream_without_end_does_not_hold_a_bundle_back() -> None:
    """However long new items keep arriving, a bundle leaves after a bounded number of turns."""
    server = Server()
    server.open = True
    c = coalescer(server, max_outstanding=1, max_weight=10_000)
    futures = [c.submit(0, 1, later())]
    while not server.bundles:
        assert len(futures) < 100
        futures.append(c.submit(len(futures), 1, later()))
        await asyncio.sleep(0)
    await asyncio.gather(*futures)
