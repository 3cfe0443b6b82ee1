"""Natural batching: what waits leaves together, and nothing waits for a timer.

A bounded number of calls is under way. An item that finds a free slot leaves at the
end of the event loop's turn. Several in one turn are the head of a burst, which is
read over several turns and would otherwise be cut into small bundles: they leave at
the first turn that brings nothing new. The others queue and leave together when a slot
becomes free. So an idle system adds no latency, and the busier it gets the larger the
bundles grow.

What the callers may rely on:

* A cancelled item is dropped, within ``_SWEEP_SECONDS``, and harms no other.
* An item is answered no later than its deadline (and ``_EXPIRY_PRECISION``). A bundle
  travels with the latest deadline of its items, so an impatient one cannot end it for
  the others. A call that nobody waits for any more is cancelled.
* A bundle that fails for a reason that could be one item's fault is sent again in two
  halves, and so on, until the item stands alone: none shares another's fate.
* Items of different kinds never share a call; the first that waits decides whose turn it is.
* A principal that has nothing under way need not wait for the calls of the others: while all calls are taken,
  one more is made for it. It then takes its turn in the pod, behind the run of the moment and not behind
  those that are on their way.
* The queue is bounded in rows and bytes; a full one refuses at once, except for a
  principal that has less than its share in it. Principals take turns; see ``fair_queue``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from penstock_common.errors import PenstockError
from penstock_common.fair_queue import FairQueue, Waiting
from penstock_gateway.edge.bounds import over_bound
from penstock_gateway.edge.problem import drop_frames

T = TypeVar("T")
R = TypeVar("R")

#: Sends items (with the bundle's deadline, on the coalescer's clock) and returns one result for each, in order.
Send = Callable[[Sequence[T], float], Awaitable[Sequence[R]]]

#: Turns of the event loop that a bundle may wait for more to arrive; tens of microseconds each.
_MOST_TURNS = 16
#: Seconds between two looks at the deadlines, which walk over all that waits: at least, and at most while anybody
#: waits, so that those who left soon free their place. A callback on each future would tax every request.
_EXPIRY_PRECISION = 0.01
_SWEEP_SECONDS = 0.25


class Coalescer(Generic[T, R]):
    """Packs items that may share a call.

    Args:
        send: makes the call.
        observe_wait: told how long the first item of each bundle has waited, in seconds.
        blames_item: whether an error of a bundle could be one item's fault.
        max_outstanding: calls that may be under way now; two for each busy server keep it busy while answers travel.
        max_rows: rows of one bundle at most; a larger item travels alone.
        max_size: bytes of one bundle at most; a larger item travels alone.
        max_queued_rows: rows that may wait; beyond it ``submit`` refuses.
        max_queued_size: bytes that may wait; beyond it ``submit`` refuses.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        send: Send[T, R],
        *,
        blames_item: Callable[[Exception], bool],
        observe_wait: Callable[[float], None] = lambda _: None,
        max_outstanding: Callable[[], int] = lambda: 2,
        max_rows: int = 64,
        max_size: int = 16 * 1024 * 1024,
        max_queued_rows: int = 4096,
        max_queued_size: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._blames_item = blames_item
        self._observe_wait = observe_wait
        self._max_outstanding = max_outstanding
        self._max_rows = max_rows
        self._max_size = max_size
        self._max_queued_rows = max_queued_rows
        self._max_queued_size = max_queued_size
        self._clock = clock
        self._queue: FairQueue[T, R] = FairQueue()
        self._halves: deque[list[Waiting[T, R]]] = deque()
        self._calls: dict[asyncio.Task[None], list[Waiting[T, R]]] = {}
        self._under_way: dict[str, int] = {}  # calls that hold requests of a principal
        self._extra_call_due = False
        self._flush_due = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")

    @property
    def queued(self) -> int:
        """Rows that wait."""
        return self._queue.rows + sum(waiting.rows for half in self._halves for waiting in half)

    @property
    def outstanding(self) -> int:
        """Calls under way."""
        return len(self._calls)

    def submit(
        self, item: T, rows: int, size: int, principal: str, deadline: float, kind: Hashable = None
    ) -> asyncio.Future[R]:
        """Queue one item.

        Args:
            size: bytes of its request or of its expected answer, whichever is larger.
            principal: whose turn it takes.
            kind: items share a call only if theirs are equal.

        Returns:
            A future of its result. Cancelling it drops the item. It fails with
            ``PenstockError`` 504 ``deadline-exceeded`` when ``deadline`` passes.

        Raises:
            PenstockError: 503 ``overloaded`` if the queue is full.
        """
        if not self._queue.admits(principal, rows, size, self._max_queued_rows, self._max_queued_size):
            raise self._overloaded(rows)
        return self._push(item, rows, size, principal, deadline, kind)

    def submit_all(
        self, items: Sequence[tuple[T, int]], size: int, principal: str, deadline: float, kind: Hashable = None
    ) -> list[asyncio.Future[R]]:
        """Queue several items, each with its rows, or none of them; as ``submit`` does with ``size`` of all."""
        rows = sum([own for _, own in items])
        if not self._queue.admits(principal, rows, size, self._max_queued_rows, self._max_queued_size):
            raise self._overloaded(rows)
        return [self._push(item, own, size * own // rows, principal, deadline, kind) for item, own in items]

    def _push(
        self, item: T, rows: int, size: int, principal: str, deadline: float, kind: Hashable
    ) -> asyncio.Future[R]:
        queue = self._queue
        loop = asyncio.get_running_loop()
        waiting: Waiting[T, R] = Waiting(item, rows, size, deadline, loop.create_future(), self._clock(), kind)
        queue.push(waiting, principal)
        if deadline < self._alarm_at:
            self._set_alarm(deadline)
        calls = self._max_outstanding() - len(self._calls)
        if calls > 0:
            self._flush_soon()
        elif calls == 0 and principal not in self._under_way and not self._extra_call_due:
            self._extra_call_due = True
            loop.call_soon(self._make_extra_call, principal)
        return waiting.future

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush_when_settled, self._queue.rows, _MOST_TURNS)

    def _flush_when_settled(self, seen: int, turns: int) -> None:
        """Flush once a turn of the loop brings nothing new, for a burst is read over several turns."""
        if seen < self._queue.rows < self._max_rows and turns:
            asyncio.get_running_loop().call_soon(self._flush_when_settled, self._queue.rows, turns - 1)
        else:
            self._flush()

    def _flush(self) -> None:
        self._flush_due = False
        while (self._halves or self._queue) and len(self._calls) < self._max_outstanding():
            bundle = self._take()
            if bundle:
                self._start(bundle)

    def _make_extra_call(self, principal: str) -> None:
        """Send what one principal has in the queue although all calls are taken."""
        self._extra_call_due = False
        bundle = self._queue.take_of(principal, self._max_rows, self._max_size, self._clock())
        if bundle:
            self._start(bundle)

    def _start(self, bundle: list[Waiting[T, R]]) -> None:
        self._observe_wait(self._clock() - bundle[0].arrived)
        for principal in {waiting.principal for waiting in bundle}:
            self._under_way[principal] = self._under_way.get(principal, 0) + 1
        self._calls[asyncio.create_task(self._call(bundle))] = bundle

    def _take(self) -> list[Waiting[T, R]]:
        """The next bundle; halves of a failed one have waited longest, so they go first."""
        now = self._clock()
        if self._halves:
            return [waiting for waiting in self._halves.popleft() if waiting.alive(now)]
        return self._queue.take(self._max_rows, self._max_size, now)

    async def _call(self, bundle: list[Waiting[T, R]]) -> None:
        try:
            results = await self._send([w.item for w in bundle], max([w.deadline for w in bundle]))
            if len(results) != len(bundle):
                raise RuntimeError(f"{len(bundle)} items were sent, {len(results)} results came back")
        except asyncio.CancelledError as err:
            # Nobody waits any more. The call under way keeps this error, whose frames keep the call and the bundle.
            drop_frames(err)
        except Exception as err:  # any failure is the callers' to hear
            self._settle_failure(bundle, err)
        else:
            for waiting, result in zip(bundle, results, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(result)
        finally:
            task = asyncio.current_task()
            assert task is not None
            del self._calls[task]
            for principal in {waiting.principal for waiting in bundle}:
                self._under_way[principal] -= 1
                if not self._under_way[principal]:
                    del self._under_way[principal]
            if self._queue or self._halves:
                self._flush_soon()

    def _settle_failure(self, bundle: list[Waiting[T, R]], err: Exception) -> None:
        now = self._clock()
        alive = [waiting for waiting in bundle if waiting.alive(now)]
        if len(bundle) > 1 and self._blames_item(err):
            middle = (len(alive) + 1) // 2
            self._halves.extend(half for half in (alive[:middle], alive[middle:]) if half)
            return
        for waiting in alive:
            waiting.future.set_exception(err.copy() if isinstance(err, PenstockError) else err)

    def _set_alarm(self, deadline: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        now = self._clock()
        self._alarm_at = min(deadline, now + _SWEEP_SECONDS)
        delay = max(_EXPIRY_PRECISION, self._alarm_at - now)
        self._alarm = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        """Answer those whose time is up, whether they wait or are under way, and drop those who left."""
        now = self._clock()
        earliest = self._queue.expire(now)
        for bundle in [*self._halves, *self._calls.values()]:
            deadlines = [waiting.deadline for waiting in bundle if waiting.alive(now)]
            earliest = min([earliest, *deadlines])
        for task, bundle in self._calls.items():
            if all(waiting.future.done() for waiting in bundle):
                task.cancel()
        self._alarm = None
        self._alarm_at = float("inf")
        if earliest < float("inf"):
            self._set_alarm(earliest)

    def _overloaded(self, more_rows: int) -> PenstockError:
        queue = self._queue
        too_many_rows = queue.rows + more_rows > self._max_queued_rows
        bound, limit = (
            ("max_queue_rows", self._max_queued_rows) if too_many_rows else ("max_queue_bytes", self._max_queued_size)
        )
        text = f"{queue.rows} rows ({queue.size} bytes) already wait for this model; try again shortly."
        refusal = over_bound(503, "overloaded", bound, limit, text)
        refusal.extra["queued"] = queue.rows
        return refusal
