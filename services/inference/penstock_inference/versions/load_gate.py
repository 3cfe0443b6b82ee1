"""Which loads may start: a few at a time, those that need little memory first, and none that does not fit."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from penstock_inference.runners.memory import Memory, read_memory
from penstock_inference.runners.process import LoadFailedError
from penstock_inference.versions.memory_needs import Need

#: Left to the server whatever the models take.
_RESERVE_BYTES = 128 * 2**20


class NoRoomError(LoadFailedError):
    """A load does not fit into the memory that is available now; it may once other versions are unloaded."""


class LoadGate:
    """Admits loads.

    Args:
        parallel: how many loads may run at a time.
        model_bytes: that each model's process may take; 0 for what there is when it is loaded.
        read: returns the memory as it is now.
    """

    def __init__(self, parallel: int, model_bytes: int, read: Callable[[], Memory] = read_memory) -> None:
        self._parallel = parallel
        self._model_bytes = model_bytes
        self._read = read
        self._running = 0
        self._expected_bytes = 0  # by the loads that run
        self._waiting: list[tuple[int, int, Need, asyncio.Future[int]]] = []  # a heap: the smallest need first
        self._count = itertools.count()

    @asynccontextmanager
    async def admitted(self, need: Need, *, at_once: bool) -> AsyncIterator[int]:
        """Wait for a turn; give the bytes of memory that the process may take.

        A load that does not fit waits for those that run, since what they leave is not known before.

        Args:
            at_once: do not wait: this process replaces one that has ended.

        Raises:
            NoRoomError: it does not fit beside the versions that are loaded.
            LoadFailedError: it does not fit into the pod.
        """
        self._check_possible(need)
        bound = self._begin(need) if at_once else await self._turn(need)
        try:
            yield bound
        finally:
            self._end(need)

    def fits(self, need: Need) -> bool:
        """Return whether a load would fit now."""
        return need.bytes <= self._free()

    def _check_possible(self, need: Need) -> None:
        if self._model_bytes and need.bytes > self._model_bytes:
            raise LoadFailedError(
                f"needs about {_mb(need.bytes)} ({need.source}); PENSTOCK_INFERENCE_MODEL_MEMORY_BYTES allows a model "
                f"{_mb(self._model_bytes)}",
                permanent=True,
            )
        limit = self._read().limit
        if need.bytes > limit - _RESERVE_BYTES:
            raise LoadFailedError(
                f"needs about {_mb(need.bytes)} of memory ({need.source}) and can never be loaded here: the limit is "
                f"{_mb(limit)}, of which {_mb(_RESERVE_BYTES)} are the server's; give the pod more memory",
                permanent=True,
            )

    def _free(self) -> int:
        return self._read().available - self._expected_bytes - _RESERVE_BYTES

    async def _turn(self, need: Need) -> int:
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (need.bytes, next(self._count), need, turn))
        self._admit()
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn has just come
                self._end(need)
            raise

    def _admit(self) -> None:
        """Let loads begin, the smallest first: if that does not fit, none does."""
        while self._waiting and self._running < self._parallel:
            _, _, need, turn = self._waiting[0]
            if not turn.done():  # else it was cancelled
                try:
                    turn.set_result(self._begin(need))
                except NoRoomError as err:
                    if self._running:
                        return
                    turn.set_exception(err)
            heapq.heappop(self._waiting)

    def _begin(self, need: Need) -> int:
        free = self._free()
        if need.bytes > free:
            raise NoRoomError(
                f"needs about {_mb(need.bytes)} of memory ({need.source}); {_mb(max(0, free))} of "
                f"{_mb(self._read().limit)} are available; it is loaded as soon as others are unloaded"
            )
        self._running += 1
        self._expected_bytes += need.bytes
        return self._model_bytes or free

    def _end(self, need: Need) -> None:
        self._running -= 1
        self._expected_bytes -= need.bytes
        self._admit()


def _mb(size: int) -> str:
    return f"{size // 2**20} MB"
