"""The lines of a batch that are under way, and the answers that wait for an earlier line's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, NamedTuple

from penstock_gateway.batches.answered_line import AnsweredLine

#: Lines, and bytes of requests and answers, beyond which no line is added before the oldest is answered.
_MOST_LINES = 64
_MOST_BYTES = 2 * 1024 * 1024


class _Slot(NamedTuple):
    task: asyncio.Task[AnsweredLine]
    size: int  # bytes of the request


class LineWindow:
    """Answers come out in the order in which their lines went in."""

    def __init__(self) -> None:
        self._slots: deque[_Slot] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def is_full(self) -> bool:
        return len(self._slots) >= _MOST_LINES or self._bytes >= _MOST_BYTES

    def add(self, answer: Coroutine[Any, Any, AnsweredLine], size: int) -> None:
        """Start to answer a line of ``size`` bytes."""
        task = asyncio.create_task(answer)
        task.add_done_callback(self._count)
        self._slots.append(_Slot(task, size))
        self._bytes += size

    async def oldest(self) -> AnsweredLine | None:
        """Remove the oldest line once it is answered; its answer, or None if it was cancelled.

        Raises:
            Exception: what answering it has raised.
        """
        slot = self._slots[0]
        await asyncio.wait([slot.task])  # while it is among those that ``cancel`` cancels
        self._slots.popleft()
        self._bytes -= slot.size
        if slot.task.cancelled():
            return None
        answer = slot.task.result()
        self._bytes -= len(answer.line)
        return answer

    def cancel(self) -> None:
        """Stop answering the lines that have no answer yet."""
        for slot in self._slots:
            slot.task.cancel()

    def _count(self, task: asyncio.Task[AnsweredLine]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._bytes += len(task.result().line)
