"""What waits for one model version, shared fairly between those who wait.

Requests of one principal keep their order. Between principals the queue goes round
by rows (deficit round robin, Shreedhar and Varghese 1995): each turn earns a principal
``quantum`` rows, so that one with a hundred times the requests of another gets no more
than its share while the other waits. A row of many bytes counts as several.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from penstock_common.errors import PenstockError

T = TypeVar("T")
R = TypeVar("R")


#: Bytes of a request that count as much as a row in its principal's turns, if that is more than its rows do.
_ROW_BYTES = 64 * 1024
#: Requests of each principal among which others of a bundle's kind are looked for.
_LOOK_AHEAD = 256


class Waiting(Generic[T, R]):
    """One request in the queue or under way."""

    __slots__ = ("arrived", "deadline", "future", "item", "kind", "principal", "rows", "size", "turn_rows", "weight")

    def __init__(
        self,
        item: T,
        rows: int,
        size: int,
        deadline: float,
        future: asyncio.Future[R],
        arrived: float,
        kind: Hashable = None,
        work: int = 0,
    ) -> None:
        self.item = item
        self.rows = rows
        self.size = size  # bytes in memory
        self.weight = max(size, work)  # bytes that count in a bundle and for turns
        self.turn_rows = max(rows, self.weight // _ROW_BYTES)  # what it takes of its principal's turn
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
    """One principal's requests."""

    __slots__ = ("credit", "principal", "rows", "turn_rows", "waiting")

    def __init__(self, principal: str, quantum: int) -> None:
        self.principal = principal
        self.waiting: deque[Waiting[T, R]] = deque()
        self.credit = quantum  # rows that may still leave in this turn
        self.rows = 0
        self.turn_rows = 0

    def rows_within(self, turn_rows: int) -> int:
        """About how many rows leave in turns that are worth ``turn_rows``."""
        return min(self.rows, -(-turn_rows * self.rows // self.turn_rows))


class FairQueue(Generic[T, R]):
    """Requests of several principals.

    Args:
        quantum: rows that a principal's turn is worth.
    """

    def __init__(self, quantum: int = 16) -> None:
        self._quantum = quantum
        self._lines: dict[str, _Line[T, R]] = {}
        self._turns: deque[_Line[T, R]] = deque()
        self.rows = 0
        self.size = 0  # bytes

    def __bool__(self) -> bool:
        return bool(self._turns)

    def push(self, waiting: Waiting[T, R], principal: str) -> None:
        line = self._lines.get(principal)
        if line is None:
            line = self._lines[principal] = _Line(principal, self._quantum)
            self._turns.append(line)
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
        if not self._turns or (self.rows + rows <= max_rows and self.size + size <= max_size):
            return True
        if self.rows + rows > 2 * max_rows or self.size + size > 2 * max_size:
            return False
        line = self._lines.get(principal)
        shares = len(self._lines) + (line is None)
        own_rows, own_size = (line.rows, sum([w.size for w in line.waiting])) if line else (0, 0)
        return (own_rows + rows) * shares <= max_rows and (own_size + size) * shares <= max_size

    def rows_ahead(self, principal: str, rows: int) -> int:
        """About how many rows leave before a request of ``rows`` that the principal would push now.

        All its own, and of each other principal what its turns are worth until then.
        """
        line = self._lines.get(principal)
        own = line.rows if line else 0
        if len(self._lines) == (line is not None):  # nobody else waits
            return own
        turns = own + rows + self._quantum
        return own + sum(other.rows_within(turns) for other in self._turns if other is not line)

    def take(self, max_rows: int, max_weight: int, now: float) -> list[Waiting[T, R]]:
        """The next bundle of live requests of one kind; one that is larger than the bounds travels alone.

        The request whose turn it is decides the kind. Others of that kind may leave with it before those that wait
        longer for another bundle, which does not delay these: they could not have used the room.
        """
        bundle: list[Waiting[T, R]] = []
        rows = weight = 0
        kind: Hashable = None
        while self._turns:
            line = self._turns[0]
            waiting = line.waiting[0]
            if waiting.alive(now):
                if bundle and (rows + waiting.rows > max_rows or weight + waiting.weight > max_weight):
                    break
                if waiting.kind is not kind:
                    if bundle and waiting.kind != kind:
                        self._gather(bundle, max_rows - rows, max_weight - weight, now)
                        break
                    kind = waiting.kind
                if waiting.turn_rows > line.credit and len(self._turns) > 1:
                    line.credit += self._quantum
                    self._turns.rotate(-1)
                    continue
                bundle.append(waiting)
                rows += waiting.rows
                weight += waiting.weight
                line.credit = line.credit - waiting.turn_rows if line.credit > waiting.turn_rows else 0
            self._drop_first(line)
        return bundle

    def _gather(self, bundle: list[Waiting[T, R]], max_rows: int, max_weight: int, now: float) -> None:
        """Move requests of the bundle's kind from behind others into it, one a turn; their principals owe the rows."""
        kind = bundle[0].kind
        ready = deque([(line, _of_kind(line.waiting, kind)) for line in self._turns])
        taken: dict[str, set[int]] = {}
        while ready and max_rows > 0:
            line, found = ready.popleft()
            waiting = next(found, None)
            if waiting is None or waiting.rows > max_rows or waiting.weight > max_weight:
                continue
            taken.setdefault(line.principal, set()).add(id(waiting))
            if waiting.alive(now):
                bundle.append(waiting)
                max_rows -= waiting.rows
                max_weight -= waiting.weight
                line.credit -= waiting.turn_rows
            ready.append((line, found))
        for principal, gone in taken.items():
            line = self._lines[principal]
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
            self._turns.remove(line)
            del self._lines[line.principal]

    def take_of(self, principal: str, max_rows: int, max_weight: int, now: float) -> list[Waiting[T, R]]:
        """The next live requests of one principal and kind, out of its turn; one that is larger than the bounds travels alone."""
        bundle: list[Waiting[T, R]] = []
        rows = weight = 0
        line = self._lines.get(principal)
        while line is not None and line.waiting:
            waiting = line.waiting[0]
            if waiting.alive(now):
                if bundle and waiting.kind != bundle[0].kind:
                    break
                if bundle and (rows + waiting.rows > max_rows or weight + waiting.weight > max_weight):
                    break
                bundle.append(waiting)
                rows += waiting.rows
                weight += waiting.weight
            self._drop_first(line)
        return bundle

    def expire(self, now: float) -> float:
        """Answer those whose time is up.

        Returns:
            The earliest deadline of the others; infinity if nobody waits.
        """
        earliest = float("inf")
        for line in list(self._turns):
            alive = [waiting for waiting in line.waiting if waiting.alive(now)]
            earliest = min([earliest, *[waiting.deadline for waiting in alive]])
            self._keep(line, alive)
        return earliest

    def _drop_first(self, line: _Line[T, R]) -> None:
        """Remove the first request of a line."""
        waiting = line.waiting.popleft()
        line.rows -= waiting.rows
        line.turn_rows -= waiting.turn_rows
        self.rows -= waiting.rows
        self.size -= waiting.size
        if not line.waiting:
            self._turns.remove(line)  # at once if it is the line whose turn it is
            del self._lines[line.principal]


def _of_kind(waiting: Iterable[Waiting[T, R]], kind: Hashable) -> Iterator[Waiting[T, R]]:
    return (one for one in islice(waiting, _LOOK_AHEAD) if one.kind == kind)


def deadline_exceeded() -> PenstockError:
    return PenstockError(
        504,
        "deadline-exceeded",
        "The time allowed for this request passed before the model answered; allow more time or send fewer rows.",
    )
