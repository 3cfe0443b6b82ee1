"""Order within a principal, turns between principals, and room for those who have little in the queue."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock_common.fair_queue import FairQueue, Waiting

FOREVER = 1e9


def waiting(item: int, rows: int = 1, size: int = 1, deadline: float = FOREVER) -> Waiting[int, int]:
    return Waiting(item, rows, size, deadline, asyncio.get_running_loop().create_future(), 0.0)


def take(queue: FairQueue[int, int], rows: int = 10, size: int = 1000) -> list[int]:
    return [w.item for w in queue.take(rows, size, now=0.0)]


async def test_one_principal_is_served_in_order() -> None:
    """Alone in the queue, a principal fills whole bundles."""
    queue: FairQueue[int, int] = FairQueue()
    for n in range(12):
        queue.push(waiting(n), "ann")
    assert take(queue) == list(range(10))
    assert take(queue) == [10, 11]
    assert (queue.rows, queue.size, bool(queue)) == (0, 0, False)


async def test_turns_are_counted_in_rows() -> None:
    """One who sends large requests gets as many rows as one who sends small ones."""
    queue: FairQueue[int, int] = FairQueue()
    for _ in range(50):
        queue.push(waiting(1, rows=8), "large")
        queue.push(waiting(2, rows=1), "small")
        queue.push(waiting(2, rows=1), "small")
    rows: Counter[int] = Counter()
    for _ in range(10):
        for w in queue.take(16, 1000, now=0.0):
            rows[w.item] += w.rows
    assert 0.7 < rows[1] / rows[2] < 1.4


async def test_who_has_just_had_rows_comes_after_those_who_have_not() -> None:
    """Also if the queue was empty in between: bob's first request does not wait for ann's second."""
    queue: FairQueue[int, int] = FairQueue()
    queue.push(waiting(1, rows=8), "ann")
    assert take(queue) == [1]
    queue.push(waiting(2, rows=8), "ann")
    queue.push(waiting(3), "bob")
    assert take(queue, rows=8) == [3]
    assert take(queue, rows=8) == [2]


async def test_nobody_saves_up_rows_while_absent() -> None:
    """Bob was away while ann had a hundred rows; from then on they have as many each."""
    queue: FairQueue[int, int] = FairQueue()
    queue.push(waiting(0), "bob")
    for _ in range(100):
        queue.push(waiting(1), "ann")
    while queue:
        take(queue)
    for _ in range(20):
        queue.push(waiting(1), "ann")
        queue.push(waiting(2), "bob")
    assert Counter(take(queue)) == {1: 5, 2: 5}


async def test_many_who_come_once_are_not_remembered_without_end() -> None:
    """A queue that a thousand times a thousand principals have used once is no larger than after a few thousand."""
    queue: FairQueue[int, int] = FairQueue()
    for n in range(5000):
        queue.push(waiting(n), str(n))
        assert take(queue) == [n]
    assert len(queue._ahead) <= 1000 and not queue._due


async def test_requests_taken_before_they_are_due_count() -> None:
    """Two rows that bob got at once are two that ann gets before his next."""
    queue: FairQueue[int, int] = FairQueue()
    for n in range(4):
        queue.push(waiting(n), "ann")
        queue.push(waiting(10 + n), "bob")
    assert [w.item for w in queue.take_of("bob", 2, 1000, now=0.0)] == [10, 11]
    assert take(queue) == [0, 1, 12, 2, 13, 3]


async def test_a_full_queue_has_room_for_who_has_less_than_a_share() -> None:
    """Ann, who fills it, is refused; bob is admitted up to half of the bound, and nobody beyond twice the bound."""
    queue: FairQueue[int, int] = FairQueue()
    assert queue.admits("ann", 100, 1, max_rows=8, max_size=80)  # it is empty
    for n in range(8):
        assert queue.admits("ann", 1, 10, max_rows=8, max_size=80)
        queue.push(waiting(n, 1, 10), "ann")
    assert not queue.admits("ann", 1, 10, max_rows=8, max_size=80)
    for n in range(4):
        assert queue.admits("bob", 1, 10, max_rows=8, max_size=80)
        queue.push(waiting(n, 1, 10), "bob")
    assert not queue.admits("bob", 1, 10, max_rows=8, max_size=80)
    assert queue.admits("eve", 2, 20, max_rows=8, max_size=80)
    assert not queue.admits("eve", 2, 50, max_rows=8, max_size=80)
    queue.push(waiting(0, 4, 40), "eve")
    assert not queue.admits("dan", 1, 10, max_rows=8, max_size=80)


async def test_who_has_little_in_the_queue_does_not_wait_for_all_of_it() -> None:
    """Ahead of a request are its principal's own rows and, of each other's, at most as many and one request."""
    queue: FairQueue[int, int] = FairQueue()
    assert queue.rows_ahead("ann") == 0
    for n in range(100):
        queue.push(waiting(n), "ann")
    assert (queue.rows_ahead("ann"), queue.rows_ahead("bob")) == (100, 1)
    queue.push(waiting(200, rows=3), "bob")
    assert (queue.rows_ahead("ann"), queue.rows_ahead("bob")) == (103, 3 + 4)
    queue.push(waiting(201), "bob")
    assert take(queue, rows=15).index(201) <= 5


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.sampled_from(["good", "gone", "late"])), max_size=60
    ),
    st.integers(1, 12),
)
def test_every_live_request_leaves_once_and_in_order(pushed: list[tuple[str, int, str]], max_rows: int) -> None:
    """Whatever the mixture: bundles keep their bound, the dead are left out, nothing is lost or repeated."""

    async def scenario() -> None:
        queue: FairQueue[int, int] = FairQueue()
        owners: dict[int, str] = {}
        for n, (principal, rows, kind) in enumerate(pushed):
            entry = waiting(n, rows, deadline=-1.0 if kind == "late" else FOREVER)
            queue.push(entry, principal)
            if kind == "gone":
                entry.future.cancel()
            owners[n] = principal
        left: list[int] = []
        while queue:
            bundle = queue.take(max_rows, 1000, now=0.0)
            assert len(bundle) == 1 or sum(w.rows for w in bundle) <= max_rows
            left += [w.item for w in bundle]
        assert sorted(left) == [n for n, (_, _, kind) in enumerate(pushed) if kind == "good"]
        for principal in "abc":
            mine = [n for n in left if owners[n] == principal]
            assert mine == sorted(mine)
        assert (queue.rows, queue.size) == (0, 0)

    asyncio.run(scenario())


async def test_expire_answers_the_late_and_frees_their_room() -> None:
    """The late get 504, the cancelled are dropped, and the next deadline is reported."""
    queue: FairQueue[int, int] = FairQueue()
    late, gone, patient = waiting(1, 2, 10, 5.0), waiting(2, 3, 10, 50.0), waiting(3, 4, 10, 20.0)
    for entry in (late, gone, patient):
        queue.push(entry, "ann")
    gone.future.cancel()
    assert queue.expire(10.0) == 20.0
    assert getattr(late.future.exception(), "status", None) == 504
    assert (queue.rows, queue.size) == (4, 10)
    assert queue.expire(30.0) == float("inf")
    assert not queue
    patient.future.exception()


def of_kind(item: int, kind: str, rows: int = 1) -> Waiting[int, int]:
    made = waiting(item, rows)
    made.kind = kind
    return made


async def test_only_one_kind_leaves_at_a_time() -> None:
    """The first decides which; others of its kind leave with it from behind those of another, which are next."""
    queue: FairQueue[int, int] = FairQueue()
    for n in range(6):
        queue.push(of_kind(n, "ab"[n % 2]), "ann")
    assert take(queue) == [0, 2, 4]
    assert (queue.rows, queue.size) == (3, 3)
    assert take(queue) == [1, 3, 5]
    assert (queue.rows, queue.size, bool(queue)) == (0, 0, False)


async def test_who_waits_first_is_never_overtaken_twice() -> None:
    """One of another kind leads the next bundle, however many of the first kind keep coming."""
    queue: FairQueue[int, int] = FairQueue()
    queue.push(of_kind(0, "a"), "ann")
    queue.push(of_kind(1, "b"), "ann")
    for n in range(2, 40):
        queue.push(of_kind(n, "a"), "ann")
    assert take(queue) == [0, *range(2, 11)]
    assert take(queue)[0] == 1


async def test_a_bundle_of_one_kind_keeps_its_bounds() -> None:
    """In rows; what does not fit stays, in its order."""
    queue: FairQueue[int, int] = FairQueue()
    for n, (kind, rows) in enumerate([("a", 4), ("b", 1), ("a", 5), ("a", 5), ("a", 1)]):
        queue.push(of_kind(n, kind, rows), "ann")
    assert take(queue) == [0, 2]
    assert take(queue) == [1]
    assert take(queue) == [3, 4]


async def test_those_of_a_kind_leave_by_turns() -> None:
    """One who has many of a kind does not take all the room in a bundle of another's that she may join."""
    queue: FairQueue[int, int] = FairQueue()
    queue.push(of_kind(0, "a"), "ann")
    queue.push(of_kind(1, "b"), "ann")
    for n in range(2, 40):
        queue.push(of_kind(n, "a"), "ann")
    for n in range(100, 104):
        queue.push(of_kind(n, "a"), "bob")
    assert set(take(queue)) >= {100, 101, 102, 103}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "y", "z"]), st.integers(1, 4)), max_size=40))
async def test_all_of_every_kind_leave_once(requests: list[tuple[str, str, int]]) -> None:
    """Whatever comes leaves, in bundles of one kind within the bounds, and the counts end at nothing."""
    queue: FairQueue[int, int] = FairQueue()
    for n, (principal, kind, rows) in enumerate(requests):
        queue.push(of_kind(n, kind, rows), principal)
    left: list[int] = []
    while queue:
        bundle = queue.take(6, 1000, now=0.0)
        assert len({w.kind for w in bundle}) == 1
        assert sum(w.rows for w in bundle) <= 6
        left += [w.item for w in bundle]
    assert sorted(left) == list(range(len(requests)))
    assert (queue.rows, queue.size) == (0, 0)


async def test_many_bytes_count_as_rows_in_a_turn() -> None:
    """A row of a megabyte is followed by sixteen small ones of another principal."""
    queue: FairQueue[int, int] = FairQueue()
    for item in range(4):
        queue.push(waiting(item, size=1024 * 1024), "large")
    for item in range(10, 74):
        queue.push(waiting(item), "small")
    order = [item for _ in range(68) for item in take(queue, rows=1, size=10**9)]
    assert [order.index(item) for item in range(4)] == [0, 17, 34, 51]


async def test_few_rows_of_many_bytes_leave_before_a_small_one() -> None:
    """Of what another has waiting, as many rows are ahead as its turns are worth in bytes."""
    queue: FairQueue[int, int] = FairQueue()
    for item in range(10):
        queue.push(waiting(item, size=8 * 1024 * 1024), "large")
    assert queue.rows_ahead("small") == 1
    for item in range(100, 200):
        queue.push(waiting(item), "other")
    assert queue.rows_ahead("small") == 1 + 1
    assert queue.rows_ahead("other") == 100 + 2
