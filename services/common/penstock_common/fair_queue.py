"""What waits for one model version, shared fairly between those who wait.

Requests of one principal keep their order. Between principals the next is of the one
that has had the fewest rows (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM
1996), so that one with a hundred times the requests of another gets no more than its
share while the other waits. Nobody saves up rows while absent; but who has just had
some comes after those who have not, also if nobody waited in between. A row of
many bytes counts as several.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from heapq import heappop, heappush, heapreplace
from itertools import count, islice
from typing import Generic, TypeVar

from penstock_common.errors import PenstockError

T = TypeVar("T")
R = TypeVar("R")


#: Bytes of a request that count as much as a row in its principal's turns, if that is more than its rows do.
_ROW_BYTES = 64 * 1024
#: Requests of each principal among which others of a bundle's kind are looked for.
_LOOK_AHEAD = 256

#: Principals without a request of which the queue knows when their next one is due; beyond it, all are due at once.
_MOST_REMEMBERED = 1000


class Waiting(Generic[T, R]):
    """One request in the queue or under way."""

    __slots__ = ("arrived", "deadline", "future", "item", "kind", "principal", "rows", "size", "turn_rows")

    def __init__(
        self,
        item: T,
        rows: int,
        size: int,
        deadline: float,
        future: asyncio.Future[R],
        arrived: float,
        kind: Hashable = None,
    ) -> None:
        self.item = item
        self.rows = rows
        self.size = size  # bytes
        self.turn_rows = max(rows, size // _ROW_BYTES)  # what it takes of its principal's turn
        self.deadline = deadline
        self.future = future
        self.arrived = arrived
        self.kind = kind  # requests of different kinds never leave together
        self.principal = ""  # whose turn it takes; set by the queue

    def alive(self, now: float) -> bool:
        """Whether its caller still waits; answers 504 if the deadline has passed."""
        if self.future.done():
            return False
        if self.deadline <= now:
            self.future.set_exception(deadline_exceeded())
            return False
        return True


class _Line(Generic[T, R]):
    """One principal's requests; the first of them is due at ``start``, see ``FairQueue``."""

    __slots__ = ("principal", "rows", "start", "turn_rows", "waiting")

    def __init__(self, principal: str, start: int) -> None:
        self.principal = principal
        self.start = start
        self.waiting: deque[Waiting[T, R]] = deque()
        self.rows = 0
        self.turn_rows = 0

    def rows_within(self, turn_rows: int) -> int:
        """About how many rows leave in turns that are worth ``turn_rows``."""
        return min(self.rows, -(-turn_rows * self.rows // self.turn_rows))


class FairQueue(Generic[T, R]):
    """Requests of several principals, each of which is due at a time that is counted in rows.

    The time is that of the newest request to leave. The next request of its principal is due as many rows later as
    it had. One who had nothing here is due at once, before all who have had their share.
    """

    def __init__(self) -> None:
        self._now = 0
        self._lines: dict[str, _Line[T, R]] = {}
        self._due: list[tuple[int, int, _Line[T, R]]] = []  # a heap; an entry counts if the line still starts then
        self._entries = count()  # who came first, of two that are due at the same time
        self._ahead: dict[str, int] = {}  # when the next request of those who have none is due
        self.rows = 0
        self.size = 0  # bytes

    def __bool__(self) -> bool:
        return bool(self._lines)

    def push(self, waiting: Waiting[T, R], principal: str) -> None:
        line = self._lines.get(principal)
        if line is None:
            line = self._lines[principal] = _Line(principal, self._start(principal))
            heappush(self._due, (line.start, next(self._entries), line))
        waiting.principal = principal
        line.waiting.append(waiting)
        line.rows += waiting.rows
        line.turn_rows += waiting.turn_rows
        self.rows += waiting.rows
        self.size += waiting.size

    def admits(self, principal: str, rows: int, size: int, max_rows: int, max_size: int) -> bool:
        """Whether a request may join those that wait, if ``max_rows`` and ``max_size`` may.

        An empty queue admits any. A full one still admits, up to twice the bounds, a principal that has less in it
        than its equal share: one that fills the queue does not close it for the others.
        """
        if not self._lines or (self.rows + rows <= max_rows and self.size + size <= max_size):
            return True
        if self.rows + rows > 2 * max_rows or self.size + size > 2 * max_size:
            return False
        line = self._lines.get(principal)
        shares = len(self._lines) + (line is None)
        own_rows, own_size = (line.rows, sum([w.size for w in line.waiting])) if line else (0, 0)
        return (own_rows + rows) * shares <= max_rows and (own_size + size) * shares <= max_size

    def rows_ahead(self, principal: str) -> int:
        """About how many rows leave before a request that the principal would push now.

        All its own, and of each other principal what is due before it.
        """
        line = self._lines.get(principal)
        own = line.rows if line else 0
        due = line.start + line.turn_rows if line else self._start(principal)
        return own + sum(
            other.rows_within(due - other.start + other.waiting[0].turn_rows)
            for other in self._lines.values()
            if other is not line and other.start <= due
        )

    def take(self, max_rows: int, max_size: int, now: float) -> list[Waiting[T, R]]:
        """The next bundle of live requests of one kind; one that is larger than the bounds travels alone.

        The request that is due first decides the kind. Others of that kind may leave with it before those that wait
        longer for another bundle, which does not delay these: they could not have used the room.
        """
        bundle: list[Waiting[T, R]] = []
        rows = size = 0
        kind: Hashable = None
        while self._lines:
            start, _, line = self._due[0]
            if start != line.start or not line.waiting:
                heappop(self._due)
                continue
            waiting = line.waiting[0]
            if waiting.alive(now):
                if bundle and (rows + waiting.rows > max_rows or size + waiting.size > max_size):
                    break
                if waiting.kind is not kind:
                    if bundle and waiting.kind != kind:
                        self._gather(bundle, max_rows - rows, max_size - size, now)
                        break
                    kind = waiting.kind
                bundle.append(waiting)
                rows += waiting.rows
                size += waiting.size
                self._now = start
                line.start = start + waiting.turn_rows
                heapreplace(self._due, (line.start, next(self._entries), line))
            self._drop_first(line)
        return bundle

    def _gather(self, bundle: list[Waiting[T, R]], max_rows: int, max_size: int, now: float) -> None:
        """Move requests of the bundle's kind from behind others into it, one a turn; their principals owe the rows."""
        kind = bundle[0].kind
        ready = deque([(line, _of_kind(line.waiting, kind)) for line in self._lines.values()])
        taken: dict[str, set[int]] = {}
        while ready and max_rows > 0:
            line, found = ready.popleft()
            waiting = next(found, None)
            if waiting is None or waiting.rows > max_rows or waiting.size > max_size:
                continue
            taken.setdefault(line.principal, set()).add(id(waiting))
            if waiting.alive(now):
                bundle.append(waiting)
                max_rows -= waiting.rows
                max_size -= waiting.size
                line.start += waiting.turn_rows
            ready.append((line, found))
        for principal, gone in taken.items():
            line = self._lines[principal]
            heappush(self._due, (line.start, next(self._entries), line))
            self._keep(line, [waiting for waiting in line.waiting if id(waiting) not in gone])

    def _keep(self, line: _Line[T, R], waiting: list[Waiting[T, R]]) -> None:
        """Let these be what waits in a line, in their order."""
        if len(waiting) == len(line.waiting):
            return
        rows = sum([w.rows for w in waiting])
        self.rows -= line.rows - rows
        self.size -= sum([w.size for w in line.waiting]) - sum([w.size for w in waiting])
        line.rows = rows
        line.turn_rows = sum([w.turn_rows for w in waiting])
        line.waiting = deque(waiting)
        if not waiting:
            self._leave(line)

    def take_of(self, principal: str, max_rows: int, max_size: int, now: float) -> list[Waiting[T, R]]:
        """The next bundle of one principal's live requests, of one kind, due or not; one that is too large travels alone."""
        bundle: list[Waiting[T, R]] = []
        rows = size = 0
        line = self._lines.get(principal)
        while line is not None and line.waiting:
            waiting = line.waiting[0]
            if waiting.alive(now):
                if bundle and waiting.kind != bundle[0].kind:
                    break
                if bundle and (rows + waiting.rows > max_rows or size + waiting.size > max_size):
                    break
                bundle.append(waiting)
                rows += waiting.rows
                size += waiting.size
                line.start += waiting.turn_rows
            self._drop_first(line)
        if line is not None and line.waiting and rows:
            heappush(self._due, (line.start, next(self._entries), line))
        return bundle

    def expire(self, now: float) -> float:
        """Answer those whose time is up.

        Returns:
            The earliest deadline of the others; infinity if nobody waits.
        """
        earliest = float("inf")
        for line in list(self._lines.values()):
            alive = [waiting for waiting in line.waiting if waiting.alive(now)]
            earliest = min([earliest, *[waiting.deadline for waiting in alive]])
            self._keep(line, alive)
        return earliest

    def _start(self, principal: str) -> int:
        """When a request of a principal is due that has none here."""
        start = self._ahead.get(principal, 0)
        return start if start > self._now else self._now

    def _drop_first(self, line: _Line[T, R]) -> None:
        """Remove the first request of a line."""
        waiting = line.waiting.popleft()
        line.rows -= waiting.rows
        line.turn_rows -= waiting.turn_rows
        self.rows -= waiting.rows
        self.size -= waiting.size
        if not line.waiting:
            self._leave(line)

    def _leave(self, line: _Line[T, R]) -> None:
        """Remove an empty line, but not what its principal has had before its time."""
        del self._lines[line.principal]
        if not self._lines:
            self._due.clear()
        if len(self._ahead) >= _MOST_REMEMBERED:
            self._ahead.clear()
        self._ahead[line.principal] = line.start


def _of_kind(waiting: Iterable[Waiting[T, R]], kind: Hashable) -> Iterator[Waiting[T, R]]:
    return (one for one in islice(waiting, _LOOK_AHEAD) if one.kind == kind)


def deadline_exceeded() -> PenstockError:
    return PenstockError(
        504,
        "deadline-exceeded",
        "The time allowed for this request passed before the model answered; allow more time or send fewer rows.",
    )
