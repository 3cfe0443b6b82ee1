"""Which loads may start: a few at a time, those of small models first, and none that would not fit into memory."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock_inference.runners.memory import available_bytes
from penstock_inference.runners.process import LoadFailedError

#: A load reads the file into memory and makes the weights of it, so for a moment it needs about twice the files.
_TIMES_FILES = 2
#: What a process needs for itself, whatever it loads.
_PROCESS_BYTES = 64 * 2**20
#: Left to the server whatever the models take.
_RESERVE_BYTES = 128 * 2**20


class LoadGate:
    """Admits loads.

    Args:
        parallel: how many loads may run at a time.
        model_bytes: that each model's process may take; 0 for what there is when it is loaded.
    """

    def __init__(self, parallel: int, model_bytes: int) -> None:
        self._free = parallel
        self._model_bytes = model_bytes
        self._expected_bytes = 0  # by the loads that run
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap: the smallest first
        self._count = itertools.count()

    @asynccontextmanager
    async def admitted(self, file_bytes: int, *, at_once: bool) -> AsyncIterator[int]:
        """Wait for a turn; give the bytes of memory that the process may take.

        Args:
            file_bytes: the size of the version's files.
            at_once: do not wait: the version was loaded before.

        Raises:
            LoadFailedError: it would not fit.
        """
        needed = _TIMES_FILES * file_bytes + _PROCESS_BYTES
        if not at_once:
            await self._turn(needed)
        try:
            bound = self._bound(needed)
            self._expected_bytes += needed
            try:
                yield bound
            finally:
                self._expected_bytes -= needed
        finally:
            if not at_once:
                self._next()

    def _bound(self, needed: int) -> int:
        free = available_bytes() - self._expected_bytes - _RESERVE_BYTES
        bound = min(free, self._model_bytes) if self._model_bytes else free
        if needed > bound:
            limit = " by PENSTOCK_INFERENCE_MODEL_MEMORY_BYTES" if bound == self._model_bytes else ""
            raise LoadFailedError(
                f"needs about {needed // 2**20} MB of memory to load; {max(0, bound) // 2**20} MB are available{limit}"
            )
        return self._model_bytes or free

    async def _turn(self, needed: int) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (needed, next(self._count), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()
            raise

    def _next(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
