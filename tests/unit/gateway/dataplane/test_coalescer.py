"""The coalescer: what a caller may rely on, whatever its neighbours do."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_common.errors import PenstockError
from penstock_gateway.dataplane.coalescer import Coalescer


class Server:
    """Doubles each number; calls wait until they are released."""

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

    def release(self, index: int) -> None:
        self.gates[index].set_result(None)

    def release_all(self) -> None:
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


def submit(
    c: Coalescer[int, int], item: int, deadline: float, *, rows: int = 1, size: int = 1, principal: str = "ann"
) -> asyncio.Future[int]:
    return c.submit(item, rows, size, principal, deadline)


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
    c = coalescer(server, max_outstanding=lambda: 1)
    first = submit(c, 1, later())
    await server.calls(1)
    waiting = [submit(c, n, later()) for n in (2, 3, 4)]
    waiting[1].cancel()
    server.release_all()
    assert await asyncio.gather(first, waiting[0], waiting[2]) == [2, 4, 8]
    assert server.bundles == [[1], [2, 4]]


async def test_an_item_cancelled_under_way_leaves_its_neighbours_answered() -> None:
    """Cancelling an item that was already sent neither cancels the call nor leaves others pending."""
    server = Server()
    c = coalescer(server)
    futures = [submit(c, n, later()) for n in (1, 2, 3)]
    await server.calls(1)
    futures[0].cancel()
    server.release_all()
    assert await asyncio.gather(*futures[1:]) == [4, 6]


async def test_a_lone_item_leaves_at_once() -> None:
    """With a free slot nothing waits for company."""
    server = Server()
    server.open = True
    c = coalescer(server)
    assert await submit(c, 7, later()) == 14
    assert server.bundles == [[7]]


async def test_items_of_one_turn_share_a_bundle() -> None:
    """What arrives in the same turn of the event loop leaves together, though a slot was free for the first."""
    server = Server()
    server.open = True
    c = coalescer(server)
    assert await asyncio.gather(*[submit(c, n, later()) for n in range(5)]) == [0, 2, 4, 6, 8]
    assert server.bundles == [[0, 1, 2, 3, 4]]


async def test_at_most_so_many_calls_are_outstanding() -> None:
    """With both slots taken the rest waits, and leaves together when one frees."""
    server = Server()
    c = coalescer(server, max_outstanding=lambda: 2, max_rows=64)
    a = submit(c, 1, later())
    await server.calls(1)
    b = submit(c, 2, later())
    await server.calls(2)
    rest = [submit(c, n, later()) for n in (3, 4, 5)]
    assert (c.outstanding, c.queued) == (2, 3)
    server.release(0)
    await server.calls(3)
    assert server.bundles == [[1], [2], [3, 4, 5]]
    server.release_all()
    assert await asyncio.gather(a, b, *rest) == [2, 4, 6, 8, 10]


async def test_a_bundle_has_no_more_rows_than_allowed() -> None:
    """Rows add up to max_rows at most; a larger item travels alone."""
    server = Server()
    server.open = True
    c = coalescer(server, max_outstanding=lambda: 1, max_rows=4)
    futures = [submit(c, n, later(), rows=w) for n, w in ((1, 2), (2, 2), (3, 1), (4, 9), (5, 1))]
    await asyncio.gather(*futures)
    assert server.bundles == [[1, 2], [3], [4], [5]]


async def test_a_bad_row_fails_alone() -> None:
    """A bundle refused for one row's fault is halved until that row stands alone: one error, the rest answered."""
    server = Server()
    server.open = True
    server.bad = {3}
    c = coalescer(server, max_outstanding=lambda: 1)
    results = await asyncio.gather(*[submit(c, n, later()) for n in range(1, 6)], return_exceptions=True)
    assert [r for i, r in enumerate(results) if i != 2] == [2, 4, 8, 10]
    assert isinstance(results[2], PenstockError)
    assert results[2].detail == "bad: {3}"
    assert server.bundles == [[1, 2, 3, 4, 5], [1, 2, 3], [4, 5], [1, 2], [3]]


async def test_a_bad_row_costs_its_neighbours_few_calls() -> None:
    """Among 64 rows one bad one is found in 2 x 6 calls more, not in 64."""
    server = Server()
    server.open = True
    server.bad = {17}
    c = coalescer(server, max_outstanding=lambda: 1)
    results = await asyncio.gather(*[submit(c, n, later()) for n in range(64)], return_exceptions=True)
    assert sum(isinstance(r, PenstockError) for r in results) == 1
    assert len(server.bundles) == 13


async def test_a_failure_that_is_nobodys_fault_is_not_sent_again() -> None:
    """An unavailable upstream fails the whole bundle at once."""

    async def send(items: Sequence[int], deadline: float) -> list[int]:
        calls.append(len(items))
        raise PenstockError(503, "upstream-unavailable", "away")

    calls: list[int] = []
    c: Coalescer[int, int] = Coalescer(send, blames_item=blames)
    results = await asyncio.gather(*[submit(c, n, later()) for n in range(3)], return_exceptions=True)
    assert [getattr(r, "status", None) for r in results] == [503, 503, 503]
    assert calls == [3]


async def test_each_caller_gets_an_error_of_its_own() -> None:
    """A shared error would collect the frames of all its callers, and keep their requests alive."""

    async def send(items: Sequence[int], deadline: float) -> list[int]:
        raise PenstockError(503, "upstream-unavailable", "away", headers={"Retry-After": "1"}, extra={"a": 1})

    c: Coalescer[int, int] = Coalescer(send, blames_item=blames)
    first, second = await asyncio.gather(submit(c, 1, later()), submit(c, 2, later()), return_exceptions=True)
    assert isinstance(first, PenstockError)
    assert isinstance(second, PenstockError)
    assert first is not second
    assert first.problem() == second.problem()
    assert first.headers == second.headers == {"Retry-After": "1"}


async def test_the_next_bundle_goes_out_after_a_failure() -> None:
    """Whatever a call raises, its slot is freed and the queue goes on."""
    fail = True

    async def send(items: Sequence[int], deadline: float) -> list[int]:
        if fail:
            raise RuntimeError("a defect")
        return list(items)

    c: Coalescer[int, int] = Coalescer(send, blames_item=blames, max_outstanding=lambda: 1)
    with pytest.raises(RuntimeError):
        await submit(c, 1, later())
    fail = False
    assert await submit(c, 2, later()) == 2


async def test_a_wrong_number_of_results_is_an_error_for_all() -> None:
    """Nobody is left waiting, and nobody gets another's answer, when results and items disagree in number."""

    async def send(items: Sequence[int], deadline: float) -> list[int]:
        return [1]

    c: Coalescer[int, int] = Coalescer(send, blames_item=blames)
    results = await asyncio.gather(submit(c, 1, later()), submit(c, 2, later()), return_exceptions=True)
    assert all(isinstance(r, RuntimeError) for r in results)


async def test_a_bundles_deadline_is_its_latest_items() -> None:
    """The call has as much time as the most patient of those it serves."""
    server = Server()
    server.open = True
    c = coalescer(server)
    now = time.monotonic()
    await asyncio.gather(submit(c, 1, now + 20), submit(c, 2, now + 10), submit(c, 3, now + 30))
    assert server.deadlines == [now + 30]


async def test_an_impatient_item_is_answered_in_time_and_disturbs_nobody() -> None:
    """An item under way whose time is up gets 504 at once; its bundle goes on, and is not sent again."""
    server = Server()
    c = coalescer(server)
    hasty = submit(c, 1, time.monotonic() + 0.02)
    patient = [submit(c, n, later()) for n in (2, 3)]
    await server.calls(1)
    with pytest.raises(PenstockError) as caught:
        await asyncio.wait_for(hasty, 5)
    assert caught.value.status == 504
    assert not any(future.done() for future in patient)
    server.release_all()
    assert await asyncio.gather(*patient) == [4, 6]
    assert server.bundles == [[1, 2, 3]]


async def test_a_call_that_nobody_waits_for_is_cancelled() -> None:
    """Once every item of a bundle is expired, its call ends and its slot is free."""
    server = Server()
    c = coalescer(server, max_outstanding=lambda: 1)
    hasty = [submit(c, n, time.monotonic() + 0.02) for n in (1, 2)]
    await server.calls(1)
    next_one = submit(c, 3, later())
    await asyncio.wait(hasty, timeout=5)
    await server.calls(2)
    assert server.gates[0].cancelled()
    server.release_all()
    assert await next_one == 6


async def test_who_left_takes_no_room_until_the_deadline() -> None:
    """With a server that hangs, the rows, bytes and call of callers who left are free long before their deadlines."""
    server = Server()
    c = coalescer(server, max_outstanding=lambda: 1, max_queued_rows=3, max_queued_size=30)
    deadline = time.monotonic() + 3600
    for _ in range(3):
        left = [submit(c, 1, deadline, size=10)]
        await server.calls(1)
        left += [submit(c, item, deadline, size=10) for item in (2, 3, 4)]
        with pytest.raises(PenstockError, match="already wait"):
            submit(c, 5, deadline, size=10)
        for future in left:
            future.cancel()
        async with asyncio.timeout(60):
            while c.queued or c.outstanding:
                await asyncio.sleep(0.01)
        server.bundles.clear()


async def test_a_cancelled_call_keeps_no_item() -> None:
    """gRPC's calls keep the error that ended them; the items are free all the same, without the collector of cycles."""

    class Item: ...

    kept: list[BaseException] = []

    async def send(items: Sequence[Item], deadline: float) -> list[int]:
        try:
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as err:
            kept.append(err)
            raise

    c: Coalescer[Item, int] = Coalescer(send, blames_item=blames)
    item = Item()
    left = weakref.ref(item)
    future = c.submit(item, 1, 1, "ann", later())
    del item
    async with asyncio.timeout(60):
        while not c.outstanding:
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # the call itself begins
        future.cancel()
        while c.outstanding:
            await asyncio.sleep(0.01)
    assert kept
    assert left() is None


async def test_many_impatient_items_cost_the_patient_nothing() -> None:
    """However many deadlines pass while a bundle is under way, no row is sent twice."""
    server = Server()
    c = coalescer(server, max_outstanding=lambda: 1)
    now = time.monotonic()
    futures = [submit(c, n, now + 0.002 * n) for n in range(1, 33)]
    patient = submit(c, 99, later())
    await server.calls(1)
    await asyncio.wait(futures, timeout=5)
    server.release_all()
    assert await patient == 198
    assert sum(map(len, server.bundles)) <= 33


async def test_a_bundle_has_no_more_bytes_than_allowed() -> None:
    """Sizes add up to max_size at most; a larger item travels alone."""
    server = Server()
    server.open = True
    c = coalescer(server, max_outstanding=lambda: 1, max_size=100)
    sizes = ((1, 60), (2, 40), (3, 70), (4, 300), (5, 10))
    await asyncio.gather(*[submit(c, n, later(), size=size) for n, size in sizes])
    assert server.bundles == [[1, 2], [3], [4], [5]]


async def test_a_queue_full_of_bytes_refuses_at_once() -> None:
    """Few rows may hold many bytes: the queue is bounded in both, and the refusal names both."""
    server = Server()
    c = coalescer(server, max_outstanding=lambda: 1, max_queued_size=100)
    first = submit(c, 1, later(), size=90)
    await server.calls(1)
    second = submit(c, 2, later(), size=90)
    with pytest.raises(PenstockError, match="90 bytes"):
        submit(c, 3, later(), size=90)
    server.release_all()
    assert await asyncio.gather(first, second) == [2, 4]


async def test_a_flood_does_not_close_the_queue_for_others() -> None:
    """One principal that has filled the queue is refused; another still gets its share of it."""
    server = Server()
    c = coalescer(server, max_outstanding=lambda: 1, max_queued_rows=10)
    first = submit(c, 0, later())
    await server.calls(1)
    flood = [submit(c, n, later(), principal="flood") for n in range(1, 11)]
    with pytest.raises(PenstockError, match="already wait"):
        submit(c, 11, later(), principal="flood")
    small = submit(c, 1001, later(), principal="small")
    server.release_all()
    assert await small == 2002
    await asyncio.gather(first, *flood)


async def test_a_flood_does_not_starve_a_small_caller() -> None:
    """With a hundred times the requests in the queue, one principal leaves the other its turn in the next bundle."""
    server = Server()
    c = coalescer(server, max_outstanding=lambda: 1, max_rows=32)
    first = [submit(c, 0, later())]
    await server.calls(1)
    first.append(submit(c, 2000, later(), principal="other"))  # gets the extra call
    await server.calls(2)
    flood = [submit(c, n, later(), principal="flood") for n in range(1, 201)]
    small = [submit(c, n, later(), principal="small") for n in (1001, 1002)]
    server.release(0)
    server.release(1)
    await server.calls(3)
    assert {1001, 1002} < set(server.bundles[2])
    server.release_all()
    await asyncio.gather(*first, *flood, *small)
    sent = [n for bundle in server.bundles[2:] for n in bundle if n < 1000]
    assert sent == sorted(sent)


async def test_who_has_nothing_under_way_does_not_wait_for_the_others() -> None:
    """While all calls are taken, one more is made for such a principal; then all take their turns."""
    server, deadline = Server(), time.monotonic() + SOON
    c = coalescer(server, max_outstanding=lambda: 1, max_rows=2)
    futures = [submit(c, 1, deadline, principal="flood")]
    await server.calls(1)
    futures += [submit(c, item, deadline, principal="flood") for item in (2, 3, 4)]
    futures += [submit(c, item, deadline, principal="small") for item in (5, 6, 7)]
    await server.calls(2)
    assert server.bundles == [[1], [5, 6]]
    futures.append(submit(c, 8, deadline, principal="other"))
    futures.append(submit(c, 9, deadline, principal="small"))
    await asyncio.sleep(0)
    assert c.outstanding == 2
    server.release_all()
    assert await asyncio.gather(*futures) == [2 * item for item in range(1, 10)]


async def test_an_extra_call_is_not_made_for_whom_has_left() -> None:
    """A request that is cancelled at once makes no call."""
    server, deadline = Server(), time.monotonic() + SOON
    c = coalescer(server, max_outstanding=lambda: 1)
    first = submit(c, 1, deadline, principal="flood")
    await server.calls(1)
    submit(c, 2, deadline, principal="small").cancel()
    await asyncio.sleep(0)
    server.release_all()
    assert await first == 2
    assert server.bundles == [[1]]


async def test_the_bound_follows_the_servers() -> None:
    """More calls go out as soon as the bound grows, and none beyond it."""
    server = Server()
    bound = 1
    c = coalescer(server, max_outstanding=lambda: bound, max_rows=1)
    futures = [submit(c, n, later()) for n in range(6)]
    await server.calls(1)
    bound = 4
    futures.append(submit(c, 6, later()))
    await server.calls(4)
    assert c.outstanding == 4
    server.release_all()
    assert await asyncio.gather(*futures) == [0, 2, 4, 6, 8, 10, 12]


async def test_an_item_whose_time_is_up_in_the_queue_is_answered_then() -> None:
    """504 comes when the deadline passes, though the calls under way go on."""
    server = Server()
    c = coalescer(server, max_outstanding=lambda: 1)
    first = submit(c, 1, later())
    await server.calls(1)
    patient = submit(c, 2, later())
    hasty = submit(c, 3, time.monotonic() + 0.01)
    with pytest.raises(PenstockError) as caught:
        await asyncio.wait_for(hasty, 5)
    assert caught.value.status == 504
    assert not first.done()
    assert c.queued == 1
    server.release_all()
    assert await asyncio.gather(first, patient) == [2, 4]


async def test_an_expired_item_is_never_sent() -> None:
    """An item whose time is up when its bundle is packed is answered 504 and left out."""
    server = Server()
    server.open = True
    c = coalescer(server)
    results = await asyncio.gather(submit(c, 1, time.monotonic() - 1), submit(c, 2, later()), return_exceptions=True)
    assert getattr(results[0], "status", None) == 504
    assert server.bundles == [[2]]


async def test_a_full_queue_refuses_at_once() -> None:
    """Back-pressure: 503 with Retry-After and the counter, and those who wait are not disturbed."""
    server = Server()
    c = coalescer(server, max_outstanding=lambda: 1, max_queued_rows=2)
    first = submit(c, 1, later())
    await server.calls(1)
    waiting = [submit(c, 2, later()), submit(c, 3, later())]
    with pytest.raises(PenstockError) as caught:
        submit(c, 4, later())
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "1")
    assert caught.value.extra == {"bound": "max_queue_rows", "limit": 2, "queued": 2}
    server.release_all()
    assert await asyncio.gather(first, *waiting) == [2, 4, 6]


@pytest.mark.parametrize("how", ["cancelled", "expired"])
async def test_who_stops_waiting_gives_their_place_back(how: str) -> None:
    """Once their turn has come, the queue takes as many rows as before the cancelled or expired ones: no more, no less."""
    server, clock = Server(), Clock()
    c = coalescer(server, max_outstanding=lambda: 1, max_queued_rows=2, clock=clock)
    first = submit(c, 1, clock.now + SOON)
    await server.calls(1)
    stopping = [submit(c, n, clock.now + 1) for n in (2, 3)]
    if how == "cancelled":
        for future in stopping:
            future.cancel()
    else:
        clock.now += 2
    server.release(0)
    await asyncio.gather(first, *stopping, return_exceptions=True)
    await idle(c)
    under_way = submit(c, 4, clock.now + SOON)
    await server.calls(2)
    waiting = [submit(c, n, clock.now + SOON) for n in (5, 6)]
    with pytest.raises(PenstockError) as caught:
        submit(c, 7, clock.now + SOON)
    assert caught.value.extra == {"bound": "max_queue_rows", "limit": 2, "queued": 2}
    server.release_all()
    assert await asyncio.gather(under_way, *waiting) == [8, 10, 12]


async def test_everything_submitted_is_answered_in_the_end() -> None:
    """Once nothing is queued or under way, every future is done."""
    server = Server()
    server.open = True
    c = coalescer(server, max_outstanding=lambda: 1, max_rows=2)
    futures = [submit(c, n, later()) for n in range(7)]
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
        c = coalescer(server, max_outstanding=lambda: outstanding, max_rows=weight)
        futures = []
        for n, (kind, w) in enumerate(items):
            future = submit(c, n, time.monotonic() - 1 if kind == "expired" else later(), rows=w, principal=str(n % 4))
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

    asyncio.run(scenario())


async def test_a_burst_that_is_read_over_several_turns_leaves_together() -> None:
    """Two in one turn wait for those of the next turns; the first turn without a new one sends them all."""
    server = Server()
    c = coalescer(server, max_outstanding=lambda: 1)
    futures = [submit(c, 0, later())]
    for i in range(1, 5):
        futures.append(submit(c, i, later()))
        await asyncio.sleep(0)
    await server.calls(1)
    assert server.bundles == [[0, 1, 2, 3, 4]]
    server.release_all()
    assert await asyncio.gather(*futures) == [0, 2, 4, 6, 8]


async def test_a_stream_without_end_does_not_hold_a_bundle_back() -> None:
    """However long new items keep arriving, a bundle leaves after a bounded number of turns."""
    server = Server()
    server.open = True
    c = coalescer(server, max_outstanding=lambda: 1, max_rows=10_000)
    futures = [submit(c, 0, later())]
    while not server.bundles:
        assert len(futures) < 100
        futures.append(submit(c, len(futures), later()))
        await asyncio.sleep(0)
    await asyncio.gather(*futures)


async def test_items_of_different_kinds_never_share_a_call() -> None:
    """Those of one kind leave together, whatever waits between them."""
    server = Server()
    c = coalescer(server, max_outstanding=lambda: 1)
    first = submit(c, 0, later())
    await server.calls(1)
    others = [c.submit(n, 1, 1, "ann", later(), ("shape", n % 2)) for n in range(1, 5)]
    server.release_all()
    assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8]
    assert server.bundles == [[0], [1, 3], [2, 4]]
