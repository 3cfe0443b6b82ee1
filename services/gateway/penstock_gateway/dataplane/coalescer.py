"""Natural batching: what waits leaves together, nothing waits for a timer.

At most ``max_outstanding`` calls are under way. An item that finds a free slot
leaves at the end of the event loop's turn. Several in one turn are the head of a
burst, which is read over several turns and would otherwise be cut into small
bundles: they leave at the first turn that brings nothing new. The others queue and
leave together when a slot frees. So an idle system adds no latency, and the busier
it gets the larger the bundles grow.

What the callers may rely on:

* A cancelled item is dropped and harms no other.
* An item is answered no later than its deadline. A bundle is sent with the
  earliest deadline of its items; if that passes, the items with time left are
  sent again without the late one.
* A bundle that fails for a reason that could be one item's fault is sent again
  item by item, so that none shares another's fate.
* The queue is bounded; a full one refuses at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from penstock_common.errors import PenstockError

T = TypeVar("T")
R = TypeVar("R")

#: Sends items (with the bundle's deadline, on the coalescer's clock) and returns one result for each, in order.
Send = Callable[[Sequence[T], float], Awaitable[Sequence[R]]]


#: Turns of the event loop that a bundle may wait for more to arrive; tens of microseconds each.
_MOST_TURNS = 16


class _Waiting(Generic[T, R]):
    __slots__ = ("alone", "deadline", "future", "item", "weight")

    def __init__(self, item: T, weight: int, deadline: float, future: asyncio.Future[R]) -> None:
        self.item = item
        self.weight = weight
        self.deadline = deadline
        self.future = future
        self.alone = False


class Coalescer(Generic[T, R]):
    """Packs items that may share a call.

    Args:
        send: makes the call. Raising ``PenstockError`` 504 means the deadline passed.
        blames_item: whether an error of a bundle could be one item's fault.
        max_outstanding: calls under way at most (2 keeps the server busy while one answer travels).
        max_weight: weight of one bundle at most; a heavier item travels alone.
        max_queued: weight that may wait; beyond it ``submit`` refuses.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        send: Send[T, R],
        *,
        blames_item: Callable[[Exception], bool],
        max_outstanding: int = 2,
        max_weight: int = 64,
        max_queued: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._blames_item = blames_item
        self._max_outstanding = max_outstanding
        self._max_weight = max_weight
        self._max_queued = max_queued
        self._clock = clock
        self._queue: deque[_Waiting[T, R]] = deque()
        self._queued = 0
        self._flush_due = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")
        self._calls: set[asyncio.Task[None]] = set()

    @property
    def queued(self) -> int:
        """Weight that waits."""
        return self._queued

    @property
    def outstanding(self) -> int:
        """Calls under way."""
        return len(self._calls)

    def submit(self, item: T, weight: int, deadline: float) -> asyncio.Future[R]:
        """Queue one item.

        Returns:
            A future of its result. Cancelling it drops the item. It fails with
            ``PenstockError`` 504 ``deadline-exceeded`` when ``deadline`` passes.

        Raises:
            PenstockError: 503 ``overloaded`` if the queue is full.
        """
        if self._queued + weight > self._max_queued and self._queued:
            raise PenstockError(
                503,
                "overloaded",
                f"{self._queued} rows already wait for this model and {self._max_queued} may; try again shortly.",
                headers={"Retry-After": "1"},
                extra={"queued": self._queued, "limit": self._max_queued},
            )
        loop = asyncio.get_running_loop()
        entry: _Waiting[T, R] = _Waiting(item, weight, deadline, loop.create_future())
        self._queue.append(entry)
        self._queued += weight
        if len(self._calls) < self._max_outstanding:
            self._flush_soon()
        elif deadline < self._alarm_at:
            self._set_alarm(loop, deadline)
        return entry.future

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush_when_settled, self._queued, _MOST_TURNS)

    def _flush_when_settled(self, seen: int, turns: int) -> None:
        """Flush once a turn of the loop brings nothing new, for a burst is read over several turns."""
        if seen < self._queued < self._max_weight and turns:
            asyncio.get_running_loop().call_soon(self._flush_when_settled, self._queued, turns - 1)
        else:
            self._flush()

    def _flush(self) -> None:
        self._flush_due = False
        while self._queue and len(self._calls) < self._max_outstanding:
            bundle = self._take()
            if bundle:
                call = asyncio.create_task(self._call(bundle))
                self._calls.add(call)
        if self._queue:
            self._arm()

    def _take(self) -> list[_Waiting[T, R]]:
        """The next bundle: live entries from the front, as many as fit."""
        now = self._clock()
        bundle: list[_Waiting[T, R]] = []
        weight = 0
        while self._queue:
            entry = self._queue[0]
            if entry.future.done():  # cancelled by its caller
                self._pop()
            elif entry.deadline <= now:
                self._pop()
                entry.future.set_exception(_too_late())
            elif bundle and (entry.alone or bundle[0].alone or weight + entry.weight > self._max_weight):
                break
            else:
                self._pop()
                bundle.append(entry)
                weight += entry.weight
        return bundle

    def _pop(self) -> None:
        self._queued -= self._queue.popleft().weight

    async def _call(self, bundle: list[_Waiting[T, R]]) -> None:
        try:
            results = await self._send([e.item for e in bundle], min([e.deadline for e in bundle]))
            if len(results) != len(bundle):
                raise RuntimeError(f"{len(bundle)} items were sent, {len(results)} results came back")
        except Exception as err:  # any failure is the callers' to hear
            self._settle_failure(bundle, err)
        else:
            for entry, result in zip(bundle, results, strict=True):
                if not entry.future.done():
                    entry.future.set_result(result)
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._calls.discard(task)
            if self._queue:
                self._flush_soon()

    def _settle_failure(self, bundle: list[_Waiting[T, R]], err: Exception) -> None:
        now = self._clock()
        late = isinstance(err, PenstockError) and err.status == 504
        again: list[_Waiting[T, R]] = []
        for entry in bundle:
            if entry.future.done():
                continue
            if entry.deadline <= now:
                entry.future.set_exception(_too_late())
            elif len(bundle) > 1 and late:
                again.append(entry)
            elif len(bundle) > 1 and self._blames_item(err):
                entry.alone = True
                again.append(entry)
            else:
                entry.future.set_exception(err)
        # They have waited longest, so they go first.
        self._queue.extendleft(reversed(again))
        self._queued += sum(e.weight for e in again)

    def _arm(self) -> None:
        deadline = min(e.deadline for e in self._queue)
        if deadline < self._alarm_at:
            self._set_alarm(asyncio.get_running_loop(), deadline)

    def _set_alarm(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = loop.call_later(max(0.0, deadline - self._clock()), self._ring)

    def _ring(self) -> None:
        """Answer the queued entries whose time is up; the calls under way have deadlines of their own."""
        self._alarm = None
        self._alarm_at = float("inf")
        now = self._clock()
        alive: deque[_Waiting[T, R]] = deque()
        for entry in self._queue:
            if entry.future.done():
                self._queued -= entry.weight
            elif entry.deadline <= now:
                self._queued -= entry.weight
                entry.future.set_exception(_too_late())
            else:
                alive.append(entry)
        self._queue = alive
        if alive:
            self._arm()


def _too_late() -> PenstockError:
    return PenstockError(
        504,
        "deadline-exceeded",
        "The time allowed for this request passed before the model answered; allow more time or send fewer rows.",
    )
